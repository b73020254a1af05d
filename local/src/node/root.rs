//! The root of a container's file system: the machine's system folders for reading, files of the container's own for
//! the rest, and what the container mounts.
//!
//! One mount namespace, the template, holds what all containers of a node see alike; each run of a container gets a
//! namespace that is made from it. Needs root; as an ordinary user containers see the machine's files.
//!
//! Source: opencontainers/runtime-spec `config-linux.md` (default file systems, masked and read-only paths).

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use crate::node::{
    cgroup::Group,
    devices,
    namespace::{self, Namespace},
    spare::{self, Spares},
    thread::Threads,
};

/// The machine's folders that programs are built upon.
const SYSTEM: [&str; 11] =
    ["bin", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "opt", "sbin", "usr"];
/// Folders of a container's own, with their permissions.
const OWN: [(&str, u32); 9] = [
    ("home", 0o755),
    ("mnt", 0o755),
    ("root", 0o755),
    ("run", 0o755),
    ("srv", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];
/// What in `/proc` belongs to the whole machine: programs read it.
const MACHINES_OWN: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// Where a layer of the container's own would hide what is mounted there.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The machine's root within a container's while that is put together.
const MACHINE: &str = "/.machine";
/// Nothing there is a program or a device.
const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// A container's own files.
const FILES: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID);
const READ_ONLY: MountFlags = MountFlags::BIND.union(MountFlags::RDONLY);

/// What all containers of a node see of the machine, and roots that are ready to be finished.
pub struct Template {
    /// Whether `/proc` can be mounted here, as containers need for seeing only their own processes.
    own_processes: bool,
    /// A folder that a container's root does not need while it is put together.
    staging: PathBuf,
    /// Namespaces as [`bare`] makes them.
    spare: Spares<Namespace>,
}

/// What one run of a container is in.
pub struct Root {
    mounts: Namespace,
    /// Whether the container sees its own processes only.
    own_processes: bool,
    /// Holds its first process, once that has started.
    first: OnceLock<OwnedFd>,
}

/// What one container sees besides.
#[derive(Default)]
pub struct Additions {
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// Its limits, to be shown to it.
    pub group: Option<Group>,
    pub read_only: bool,
    /// Whether it sees processes of others, as the pod's containers do that share theirs.
    pub shares_processes: bool,
    /// The most that its files can take; none for half of the machine's memory.
    pub size_bytes: Option<u64>,
}

/// A file or folder of the machine, and where the container sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    /// An absolute path; made where it is not there.
    pub target: PathBuf,
    pub read_only: bool,
}

impl Template {
    /// Puts the template together; it needs two folders in `folder`.
    pub async fn make(threads: &Threads, folder: &Path) -> io::Result<Arc<Self>> {
        let (place, root) = (folder.join("template"), folder.join("root"));
        fs::create_dir_all(&place)?;
        fs::create_dir_all(&root)?;
        let from = place.clone();
        let (namespace, own_processes) = threads
            .run(move || {
                let namespace = namespace::new_mount()?;
                Ok((namespace, assemble(&from)?))
            })
            .await?;
        let (places, spare) = spare::spares();
        let staging = Path::new(MACHINE).join(place.strip_prefix("/").unwrap_or(&place));
        std::thread::Builder::new().name("weft-roots".to_owned()).spawn(move || {
            let ready = namespace::detach_file_system();
            places.fill("a container's root", || {
                ready.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
                namespace.enter()?;
                bare(&place, &root)
            });
        })?;
        Ok(Arc::new(Self { own_processes, staging, spare }))
    }

    /// A root for one run of a container.
    pub async fn root(
        self: &Arc<Self>,
        threads: &Threads,
        additions: Additions,
    ) -> io::Result<Arc<Root>> {
        let mounts = self.spare.take().await?;
        let staging = self.staging.clone();
        let own_processes = self.own_processes && !additions.shares_processes;
        let finished = threads.run(move || {
            mounts.enter()?;
            additions.make(&staging)?;
            Ok(Root { mounts, own_processes, first: OnceLock::new() })
        });
        Ok(Arc::new(finished.await?))
    }
}

/// A root with what all containers see, in a mount namespace of its own, made from the template at `place` upon the empty
/// folder `root`. The machine's files are still there, at [`MACHINE`].
fn bare(place: &Path, root: &Path) -> io::Result<Namespace> {
    let namespace = namespace::new_mount()?;
    mount("tmpfs", root, "tmpfs", FILES, c"mode=755")?;
    for (name, mode) in OWN {
        let folder = root.join(name);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    }
    symlink("../run", root.join("var/run"))?;
    for entry in fs::read_dir(place)? {
        let (from, to) = {
            let entry = entry?;
            (entry.path(), root.join(entry.file_name()))
        };
        if from.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::create_dir(&to)?;
            mount_bind_recursive(&from, &to)?;
        }
    }
    devices::share_memory(&root.join("dev"))?;
    let machine = root.join(&MACHINE[1..]);
    fs::create_dir(&machine)?;
    rustix::process::pivot_root(root, &machine)?;
    Ok(namespace)
}

impl Additions {
    /// Finishes the root that the calling thread is in.
    fn make(&self, staging: &Path) -> io::Result<()> {
        if let Some(size) = self.size_bytes {
            let options = CString::new(format!("size={size}")).expect("no zero in it");
            mount_remount("/", FILES, options.as_c_str())?;
        }
        if let Some(group) = &self.group {
            group.show(MACHINE.as_ref(), staging, "/sys/fs/cgroup".as_ref()).map_err(|error| {
                io::Error::other(format!("mount the container's control group: {error}"))
            })?;
        }
        for mount in &self.mounts {
            mount.make().map_err(|error| {
                io::Error::other(format!("mount {}: {error}", mount.target.display()))
            })?;
        }
        unmount(MACHINE, UnmountFlags::DETACH)?;
        fs::remove_dir(MACHINE)?;
        if self.read_only {
            mount_remount("/", READ_ONLY | FILES, "")?;
        }
        Ok(())
    }
}

impl Root {
    /// Moves the calling thread into it; what that starts is among the container's processes. Gives whether it is the
    /// first of them, which is to call [`show_processes`].
    pub fn enter(&self) -> io::Result<bool> {
        self.mounts.enter()?;
        if !self.own_processes {
            return Ok(false);
        }
        match self.first.get() {
            Some(first) => namespace::join_processes(first).map(|()| false),
            None => namespace::new_processes().map(|()| true),
        }
    }

    /// Takes note of the container's first process; `handle` is its pidfd.
    pub fn started(&self, handle: OwnedFd) {
        // Another that was first is as good: all are in one namespace.
        let _ = self.first.set(handle);
    }
}

/// Mounts `/proc` for the namespace of processes that the calling process is in.
pub fn show_processes() -> io::Result<()> {
    let place = Path::new("/proc");
    mount("proc", place, "proc", QUIET, None)?;
    guard(place)
}

/// Keeps a container from what in `processes`, a mounted `/proc`, is the whole machine's.
fn guard(processes: &Path) -> io::Result<()> {
    for name in MACHINES_OWN {
        let path = processes.join(name);
        if path.exists() {
            mount_bind(&path, &path)?;
            mount_remount(&path, READ_ONLY | QUIET, "")?;
        }
    }
    let memory = processes.join("kcore");
    if memory.exists() { Ok(mount_bind("/dev/null", memory)?) } else { Ok(()) }
}

impl Mount {
    /// What may be written to, seen at `target`; the source is to be said.
    pub fn at(target: impl Into<PathBuf>) -> Self {
        Self { source: PathBuf::new(), target: target.into(), read_only: false }
    }

    /// `path` of the machine, seen at the same place, for reading.
    pub fn same(path: PathBuf) -> Self {
        Self { source: path.clone(), target: path, read_only: true }
    }

    /// In a root that is put together, with the machine's at [`MACHINE`].
    fn make(&self) -> io::Result<()> {
        let relative = self.source.strip_prefix("/").unwrap_or(&self.source);
        let source = Path::new(MACHINE).join(relative);
        let made = place(&self.target, source.is_dir());
        if let Err(error) = made {
            let read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            let above = self.target.ancestors().find(|it| it.exists());
            let is_file = |it: &&Path| !KERNELS.iter().any(|kernel| it.starts_with(kernel));
            let (true, Some(above)) = (read_only, above.filter(is_file)) else { return Err(error) };
            cover(above)?;
            place(&self.target, source.is_dir())?;
        }
        mount_bind_recursive(&source, &self.target)?;
        if self.read_only {
            mount_remount(&self.target, READ_ONLY, "")?;
        }
        Ok(())
    }
}

/// Makes sure that something can be mounted upon `target`.
fn place(target: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if !target.exists() { fs::write(target, "") } else { Ok(()) }
}

/// Lays a layer of the container's own over a folder of the machine that cannot be written to.
fn cover(folder: &Path) -> io::Result<()> {
    let told = |error: rustix::io::Errno| {
        io::Error::other(format!("lay an overlay upon {}: {error}", folder.display()))
    };
    // Upon the machine's folder of the same name: this namespace needs it no more, and the overlay keeps what it has.
    let layer = Path::new(MACHINE).join(folder.strip_prefix("/").unwrap_or(folder));
    mount("tmpfs", &layer, "tmpfs", MountFlags::empty(), c"mode=755").map_err(told)?;
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    fs::set_permissions(&upper, fs::metadata(folder)?.permissions())?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        folder.display(),
        upper.display(),
        work.display()
    );
    let options = CString::new(options)?;
    mount("overlay", folder, "overlay", MountFlags::NODEV, options.as_c_str()).map_err(told)
}

/// Puts the template together at `place`, an empty folder, in a mount namespace of its own. Gives whether `/proc` can
/// be mounted.
fn assemble(place: &Path) -> io::Result<bool> {
    let told = |what: &'static str| {
        move |error: io::Error| io::Error::other(format!("mount {what} for containers: {error}"))
    };
    mount("tmpfs", place, "tmpfs", MountFlags::NODEV, c"mode=755")?;
    for name in SYSTEM {
        let (from, to) = (Path::new("/").join(name), place.join(name));
        if from.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if from.is_dir() {
            fs::create_dir(&to)?;
            mount_bind(&from, &to)?;
            mount_remount(&to, READ_ONLY, "")?;
        }
    }
    let devices = place.join("dev");
    fs::create_dir(&devices)?;
    devices::make(&devices).map_err(told("/dev"))?;

    let processes = place.join("proc");
    fs::create_dir(&processes)?;
    // Other users' processes cannot be seen, where the kernel knows how to hide them.
    let mounted = mount("proc", &processes, "proc", QUIET, c"hidepid=invisible").is_ok();
    if !mounted {
        mount_bind_recursive("/proc", &processes).map_err(|it| told("/proc")(it.into()))?;
    }
    guard(&processes)?;

    let kernel = place.join("sys");
    fs::create_dir(&kernel)?;
    mount_bind_recursive("/sys", &kernel).map_err(|it| told("/sys")(it.into()))?;
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for path in below.filter(|it| it.starts_with(&kernel)) {
        mount_remount(path, READ_ONLY | QUIET, "")?;
    }
    Ok(mounted)
}

/// What of the machine an image's program needs besides the system's folders: the folder that it is in, or the one
/// above where that is laid out as a prefix (`bin`, `lib`); the file alone where the folder is everybody's or `user`
/// may not enter it.
pub fn home_of(program: &Path, user: u32) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let mut parts = program.components().skip(1);
    let first = parts.next()?.as_os_str();
    if SYSTEM.iter().any(|it| first == *it) {
        return None;
    }
    let folder = program.parent()?;
    let prefix = folder.parent().filter(|it| folder.ends_with("bin") && it.join("lib").is_dir());
    let folder = prefix.unwrap_or(folder);
    let alone = folder.components().count() <= 2
        || !fs::metadata(folder).is_ok_and(|it| {
            let mode = it.permissions().mode();
            user == 0 || mode & 0o001 != 0 || (it.uid() == user && mode & 0o100 != 0)
        });
    Some(if alone { program } else { folder }.to_owned())
}
