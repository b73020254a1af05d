//! Control groups: the limits of containers, and a way to end whatever a container started.
//!
//! Moving a process into a group waits about 10 ms for the kernel, so it is done beside the start, not in
//! it: at once for containers with limits, a second later for the others, most of which never need it.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Container;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move, mount_remount};

use crate::node::{
    environment::thousandths,
    process::started_ticks,
    run::PodContext,
    usage::{Counters, Version},
};

/// Wait before a container without limits gets its group.
const LATER: Duration = Duration::from_secs(1);
/// Jobs that wait for the thread: a few for each of the most pods that one machine runs.
const WAITING: usize = 4096;
/// Rounds of looking for processes that a moved one had started before it was moved.
const ROUNDS: usize = 3;

/// How the machine's groups are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    /// Where the unified hierarchy is; it ends groups, and sets limits where it has the controllers.
    unified: Option<PathBuf>,
    /// Version 1 controllers, where they set the limits.
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    /// Whether the unified hierarchy sets limits.
    unified_limits: bool,
}

/// The groups of one platform.
pub struct Groups {
    layout: Option<Layout>,
    /// The platform's folder in each hierarchy.
    name: String,
    jobs: mpsc::SyncSender<Job>,
}

#[derive(Debug)]
enum Job {
    Add { group: String, pid: i32, ticks: u64, limits: Limits },
    Remove { group: String },
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    cpu_milli: Option<u64>,
    cpu_request_milli: Option<u64>,
}

impl Groups {
    /// Groups below a folder called `name`, which must be this platform's alone: what is in it is ended and
    /// removed first. The second value says what limits cannot be set, and why.
    pub fn open(name: &str) -> (Self, Option<String>) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let (mut layout, mut warning) = (Some(layout(&mounts)), None);
        if let Err(error) = layout.as_mut().map_or(Ok(()), |layout| prepare(layout, name)) {
            warning = Some(format!("limits on CPU and memory are not enforced: {error}"));
            layout = None;
        }
        if let Some(layout) = &layout
            && layout.memory.is_none()
            && !layout.unified_limits
        {
            warning = Some(
                "limits on memory are not enforced: no memory controller can be used here"
                    .to_owned(),
            );
        }
        let (jobs, work) = mpsc::sync_channel(WAITING);
        let groups = Self { layout: layout.clone(), name: name.to_owned(), jobs };
        if let Some(layout) = layout {
            let name = name.to_owned();
            let thread = std::thread::Builder::new().name("weft-cgroups".to_owned());
            let started = thread.spawn(move || work_off(&layout, &name, &work));
            if let Err(error) = started {
                warning = Some(format!("limits on CPU and memory are not enforced: {error}"));
            }
        }
        (groups, warning)
    }

    /// The group of a container whose limits can be set, to be shown to it.
    pub fn group(&self, pod: &PodContext, container: &Container) -> Option<Group> {
        let layout = self.layout.clone()?;
        let limits = limits(container);
        let can_limit = layout.unified_limits || layout.memory.is_some() || layout.cpu.is_some();
        let path = Path::new(&self.name).join(group_name(pod, container));
        (can_limit && limits != Limits::default()).then_some(Group { layout, path, limits })
    }

    /// Where the kernel counts what a container uses, once it is in its group.
    pub fn counters(&self, pod: &PodContext, container: &Container) -> Counters {
        let Some(layout) = &self.layout else { return Counters::default() };
        let place = |root: &PathBuf| root.join(&self.name).join(group_name(pod, container));
        let unified = layout.unified.as_ref().map(place);
        Counters {
            // Processor time is counted without any controller.
            cpu: unified.as_ref().map(|it| it.join("cpu.stat")),
            memory: match &layout.memory {
                Some(memory) => Some((place(memory), Version::One)),
                None => unified.map(|it| (it, Version::Unified)),
            },
        }
    }

    /// Puts a container's process, and what it starts, into a group of its own, soon.
    pub fn add(&self, pod: &PodContext, container: &Container, pid: i32) {
        if self.layout.is_none() {
            return;
        }
        let Some(ticks) = started_ticks(pid) else { return };
        let group = group_name(pod, container);
        self.tell(Job::Add { group, pid, ticks, limits: limits(container) });
    }

    /// Ends what is left in a container's group and removes it.
    pub fn remove(&self, pod: &PodContext, container: &Container) {
        if self.layout.is_some() {
            self.tell(Job::Remove { group: group_name(pod, container) });
        }
    }

    /// Whether the kernel ended a process of the container because it used too much memory.
    pub fn ran_out_of_memory(&self, pod: &PodContext, container: &Container) -> bool {
        let Some(layout) = &self.layout else { return false };
        if limits(container).memory_bytes.is_none() {
            return false;
        }
        let group = group_name(pod, container);
        let (root, file) = match (&layout.memory, &layout.unified) {
            (Some(memory), _) => (memory, "memory.oom_control"),
            (None, Some(unified)) => (unified, "memory.events"),
            (None, None) => return false,
        };
        let text =
            fs::read_to_string(root.join(&self.name).join(group).join(file)).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        lines.any(|count| count.trim() != "0")
    }

    /// Ends every process in the platform's groups and removes them.
    pub fn close(&self) {
        if let Some(layout) = &self.layout {
            clear(layout, &self.name);
        }
    }

    fn tell(&self, job: Job) {
        if let Err(error) = self.jobs.try_send(job) {
            tracing::warn!(%error, "too many containers start at once to give each its control group");
        }
    }
}

impl Layout {
    /// The same as seen where the machine's root is `folder`.
    fn below(&self, folder: &Path) -> Self {
        let below = |place: &Option<PathBuf>| {
            let place = place.as_deref()?;
            Some(folder.join(place.strip_prefix("/").unwrap_or(place)))
        };
        Self {
            unified: below(&self.unified),
            memory: below(&self.memory),
            cpu: below(&self.cpu),
            ..*self
        }
    }
}

/// The group of one container with limits.
pub struct Group {
    layout: Layout,
    /// Below the root of each hierarchy.
    path: PathBuf,
    limits: Limits,
}

impl Group {
    /// Makes the group and mounts it at `place` in the calling thread's mount namespace, for reading only. The machine's
    /// root is at `machine` there, and `staging` is a folder that nobody needs any more.
    pub fn show(&self, machine: &Path, staging: &Path, place: &Path) -> io::Result<()> {
        let layout = self.layout.below(machine);
        let read_only =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let make = |root| make(&layout, root, &self.path, self.limits);
        if layout.unified_limits
            && let Some(unified) = &layout.unified
        {
            mount_bind(make(unified)?, place)?;
            return Ok(mount_remount(place, MountFlags::BIND | read_only, "")?);
        }
        mount("tmpfs", staging, "tmpfs", MountFlags::empty(), c"mode=755,size=64k")?;
        for (name, root) in [("memory", &layout.memory), ("cpu", &layout.cpu)] {
            let Some(root) = root else { continue };
            let folder = staging.join(name);
            fs::create_dir(&folder)?;
            mount_bind(make(root)?, &folder)?;
            mount_remount(&folder, MountFlags::BIND | read_only, "")?;
        }
        mount_move(staging, place)?;
        Ok(mount_remount(place, MountFlags::BIND | read_only, "")?)
    }
}

fn group_name(pod: &PodContext, container: &Container) -> String {
    format!("{}_{}", pod.uid(), container.name)
}

fn limits(container: &Container) -> Limits {
    let resources = container.resources.as_ref();
    let read = |values: Option<&std::collections::BTreeMap<_, _>>, name: &str| {
        let milli = values.and_then(|it| it.get(name)).and_then(thousandths)?;
        u64::try_from(milli).ok()
    };
    let limits = resources.and_then(|it| it.limits.as_ref());
    let requests = resources.and_then(|it| it.requests.as_ref());
    Limits {
        memory_bytes: read(limits, "memory").map(|it| it / 1000),
        cpu_milli: read(limits, "cpu"),
        cpu_request_milli: read(requests, "cpu"),
    }
}

/// Reads the layout from the text of `/proc/mounts`.
fn layout(mounts: &str) -> Layout {
    let mut found = Layout { unified: None, memory: None, cpu: None, unified_limits: false };
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, place, kind, options, ..] = fields.as_slice() else { continue };
        let has = |controller| options.split(',').any(|it| it == controller);
        match *kind {
            "cgroup2" => found.unified = Some(PathBuf::from(place)),
            "cgroup" if has("memory") => found.memory = Some(PathBuf::from(place)),
            "cgroup" if has("cpu") => found.cpu = Some(PathBuf::from(place)),
            _ => {}
        }
    }
    found.unified_limits = found.memory.is_none() && found.unified.is_some();
    found
}

/// The hierarchies in use.
fn roots(layout: &Layout) -> impl Iterator<Item = &PathBuf> {
    [&layout.unified, &layout.memory, &layout.cpu].into_iter().flatten()
}

/// Makes the platform's folders, empty.
fn prepare(layout: &mut Layout, name: &str) -> io::Result<()> {
    clear(layout, name);
    let told = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    if roots(layout).next().is_none() {
        return Err(io::Error::other("no control groups are mounted"));
    }
    for root in roots(layout) {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(|error| told(&path, error))?;
    }
    if layout.unified_limits
        && let Some(unified) = &layout.unified
    {
        // The root's own processes do not hinder it, and those of another group would: then no limits.
        let enabled = [unified.clone(), unified.join(name)]
            .iter()
            .all(|group| fs::write(group.join("cgroup.subtree_control"), "+cpu +memory").is_ok());
        layout.unified_limits = enabled;
    }
    Ok(())
}

/// Ends every process in the platform's groups and removes the groups.
fn clear(layout: &Layout, name: &str) {
    for root in roots(layout) {
        let platform = root.join(name);
        for group in fs::read_dir(&platform).into_iter().flatten().flatten() {
            if group.path().is_dir() {
                end(&group.path());
            }
        }
        let _ = fs::remove_dir(platform);
    }
}

/// Kills what is in the group and removes it, once the kernel lets go of it.
fn end(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_err() {
        for pid in members(group) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
    // A killed process leaves its group within milliseconds.
    for _ in 0..100 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
    tracing::warn!(group = %group.display(), "a control group does not become empty");
}

fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The thread's work: additions without limits wait a while, and are forgotten when the container ends first.
fn work_off(layout: &Layout, name: &str, jobs: &mpsc::Receiver<Job>) {
    let mut waiting: VecDeque<Job> = VecDeque::new();
    loop {
        let job = if waiting.is_empty() {
            jobs.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(LATER)
        };
        match job {
            Ok(Job::Add { group, pid, ticks, limits }) if limits != Limits::default() => {
                add(layout, name, &group, (pid, ticks), limits);
            }
            Ok(job @ Job::Add { .. }) => waiting.push_back(job),
            Ok(Job::Remove { group }) => {
                waiting
                    .retain(|job| !matches!(job, Job::Add { group: other, .. } if *other == group));
                for root in roots(layout) {
                    let group = root.join(name).join(&group);
                    if group.exists() {
                        end(&group);
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // One at a time: each holds up starts of processes on the machine for a moment.
                if let Some(Job::Add { group, pid, ticks, limits }) = waiting.pop_front() {
                    add(layout, name, &group, (pid, ticks), limits);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Makes a group in one hierarchy, unless it is there, and sets its limits as far as the kernel takes them.
fn make(layout: &Layout, root: &Path, group: &Path, limits: Limits) -> io::Result<PathBuf> {
    let path = root.join(group);
    fs::create_dir_all(&path)?;
    for (file, value) in files(layout, root, limits) {
        if let Err(error) = fs::write(path.join(file), &value) {
            tracing::warn!(group = %path.display(), file, value, %error, "set a limit");
        }
    }
    Ok(path)
}

/// Makes the container's group, sets its limits, and moves the process and its children there.
fn add(layout: &Layout, name: &str, group: &str, (pid, ticks): (i32, u64), limits: Limits) {
    let any = limits != Limits::default();
    for root in roots(layout) {
        let is_unified = Some(root) == layout.unified.as_ref();
        if !any && !is_unified && layout.unified.is_some() {
            continue;
        }
        let path = match make(layout, root, &Path::new(name).join(group), limits) {
            Ok(path) => path,
            Err(error) => {
                tracing::warn!(group, root = %root.display(), %error, "make a control group");
                continue;
            }
        };
        if started_ticks(pid) == Some(ticks) {
            // A process that ends meanwhile needs no group.
            let _ = fs::write(path.join("cgroup.procs"), pid.to_string());
            for _ in 0..ROUNDS {
                let here = members(&path);
                let strays: Vec<i32> = here
                    .iter()
                    .flat_map(|it| children(*it))
                    .filter(|it| !here.contains(it))
                    .collect();
                if strays.is_empty() {
                    break;
                }
                for stray in strays {
                    let _ = fs::write(path.join("cgroup.procs"), stray.to_string());
                }
            }
        }
    }
}

/// The processes that a process has started itself.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|it| it.parse().ok()).collect()
}

/// The files of a group that set `limits` in one hierarchy.
fn files(layout: &Layout, root: &Path, limits: Limits) -> Vec<(&'static str, String)> {
    const PERIOD_US: u64 = 100_000;
    let is = |place: &Option<PathBuf>| place.as_deref() == Some(root);
    let mut files = Vec::new();
    // Source: kubernetes `pkg/kubelet/cm/helpers_linux.go`, `MilliCPUToShares`, `MilliCPUToQuota`.
    let shares = |milli: u64| (milli * 1024 / 1000).clamp(2, 262_144);
    let quota = |milli: u64| (milli * PERIOD_US / 1000).max(1000);
    if is(&layout.unified) && layout.unified_limits {
        files.extend(limits.memory_bytes.map(|it| ("memory.max", it.to_string())));
        files.extend(limits.cpu_milli.map(|it| ("cpu.max", format!("{} {PERIOD_US}", quota(it)))));
        let weight = |milli| (1 + ((shares(milli) - 2) * 9999) / 262_142).to_string();
        files.extend(limits.cpu_request_milli.map(|it| ("cpu.weight", weight(it))));
    }
    if is(&layout.memory) {
        files.extend(limits.memory_bytes.map(|it| ("memory.limit_in_bytes", it.to_string())));
    }
    if is(&layout.cpu) {
        files.extend(limits.cpu_request_milli.map(|it| ("cpu.shares", shares(it).to_string())));
        if let Some(milli) = limits.cpu_milli {
            files.push(("cpu.cfs_period_us", PERIOD_US.to_string()));
            files.push(("cpu.cfs_quota_us", quota(milli).to_string()));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "cgroup /c/cpu cgroup rw,relatime,cpu 0 0
cgroup /c/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /c/memory cgroup rw,relatime,memory 0 0
cgroup /c/unified cgroup2 rw,relatime 0 0";
    const UNIFIED: &str = "cgroup2 /c cgroup2 rw,nosuid,nsdelegate 0 0";
    const OLD: &str = "cgroup /c/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /c/memory cgroup rw,memory 0 0";

    #[test]
    fn limits_go_where_the_machine_has_its_controllers() {
        check(
            HYBRID,
            "memory/memory.limit_in_bytes=1048576 cpu/cpu.shares=25 cpu/cpu.cfs_period_us=100000 cpu/cpu.cfs_quota_us=50000",
        );
        check(UNIFIED, "/memory.max=1048576 /cpu.max=50000 100000 /cpu.weight=1");
        check(
            OLD,
            "memory/memory.limit_in_bytes=1048576 cpu,cpuacct/cpu.shares=25 cpu,cpuacct/cpu.cfs_period_us=100000 cpu,cpuacct/cpu.cfs_quota_us=50000",
        );
        check("", "");
    }

    #[track_caller]
    fn check(mounts: &str, expected: &str) {
        let container = serde_json::json!({"name": "c", "resources": {
            "limits": {"cpu": "500m", "memory": "1Mi"}, "requests": {"cpu": "25m"}}});
        let limits = limits(&serde_json::from_value(container).unwrap());
        let layout = layout(mounts);
        let found = roots(&layout).flat_map(|root| {
            let place = root.strip_prefix("/c").unwrap().display().to_string();
            let files = files(&layout, root, limits);
            files.into_iter().map(move |(file, value)| format!("{place}/{file}={value}"))
        });
        assert_eq!(found.collect::<Vec<_>>().join(" "), expected);
    }
}
