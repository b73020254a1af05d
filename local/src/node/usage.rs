//! What containers and the machine use: measured when somebody asks, and never otherwise.
//!
//! CPU time comes from a container's control group where it has one, and else from its processes; usage is the
//! difference between two readings, so a few are kept.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::cluster::Cluster;

use crate::{
    figures::{All, ContainerFigures, Figures, NodeFigures, Span, Usage},
    node::{cgroup::children, process::started_ticks},
};

/// The time over which usage is told where there are readings that far apart. Less than the time between two looks of
/// a HorizontalPodAutoscaler, which leaves out a pod that became ready within it.
const WINDOW: Duration = Duration::from_secs(10);
/// The shortest time over which usage is told: CPU time of processes is counted in hundredths of a second.
const SHORTEST: Duration = Duration::from_secs(1);
/// An older reading says nothing about now.
const LONGEST: Duration = Duration::from_secs(60);
/// Readings kept of one container: they are a second apart and no older than [`LONGEST`].
const READINGS: usize = 64;
/// Processes of one container that are looked at.
const PROCESSES: usize = 1024;

/// The containers that run, and what they have used.
pub struct Meter {
    cluster: Cluster,
    /// The Node's name.
    name: String,
    watched: Mutex<Watched>,
    /// One measures at a time; who waits for it needs no readings of its own.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Watched {
    next: u64,
    containers: BTreeMap<u64, Container>,
    machine: History,
}

/// Which container it is, and where it is counted.
#[derive(Clone)]
struct Container {
    namespace: String,
    pod: String,
    name: String,
    pid: i32,
    ticks: u64,
    counters: Counters,
    history: History,
}

/// The files in which the kernel counts what a group uses; those that are not there are not read.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// `cpu.stat` of the unified hierarchy.
    pub cpu: Option<PathBuf>,
    /// The group's folder in the hierarchy of the memory controller, and which version that is.
    pub memory: Option<(PathBuf, Version)>,
}

/// The version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    Unified,
}

/// A container that is watched until this is dropped.
pub struct Watch {
    meter: Arc<Meter>,
    id: u64,
}

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Group,
    Processes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    at: Timestamp,
    cpu: Duration,
    memory_bytes: u64,
    source: Source,
}

/// Readings of one counter, the oldest first.
#[derive(Clone, Debug, Default)]
struct History(VecDeque<Reading>);

impl Meter {
    /// A meter of the node with that name.
    pub fn new(cluster: Cluster, name: &str) -> Arc<Meter> {
        Arc::new(Meter {
            cluster,
            name: name.to_owned(),
            watched: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Watches a container whose first process has just started. None when that has ended.
    pub fn watch(
        self: &Arc<Meter>,
        [namespace, pod, name]: [&str; 3],
        pid: i32,
        counters: Counters,
    ) -> Option<Watch> {
        let container = Container {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            name: name.to_owned(),
            pid,
            ticks: started_ticks(pid)?,
            counters,
            history: History::default(),
        };
        let mut watched = self.watched.lock();
        watched.next += 1;
        let id = watched.next;
        watched.containers.insert(id, container);
        Some(Watch { meter: self.clone(), id })
    }

    async fn all(self: Arc<Meter>) -> All {
        let _turn = self.turn.lock().await;
        if self.read_all().await {
            tokio::time::sleep(SHORTEST).await;
            self.read_all().await;
        }
        let watched = self.watched.lock();
        let containers = watched.containers.values().filter_map(|it| {
            let (span, usage) = it.history.usage()?;
            Some(ContainerFigures {
                namespace: it.namespace.clone(),
                pod: it.pod.clone(),
                container: it.name.clone(),
                span,
                usage,
            })
        });
        let node = watched.machine.usage();
        let node = node.map(|(span, usage)| NodeFigures { name: self.name.clone(), span, usage });
        All { containers: containers.collect(), nodes: node.into_iter().collect() }
    }

    /// Reads every counter. True when one of them was not read for so long that it must be read again.
    async fn read_all(self: &Arc<Meter>) -> bool {
        let meter = self.clone();
        // Files of the kernel, but many of them.
        let read = tokio::task::spawn_blocking(move || {
            let now = meter.cluster.now();
            let all: Vec<(u64, Container)> = {
                let watched = meter.watched.lock();
                let due = watched.containers.iter().filter(|(_, it)| it.history.is_due(now));
                due.map(|(id, it)| (*id, Container { history: History::default(), ..it.clone() }))
                    .collect()
            };
            let read: Vec<_> =
                all.iter().filter_map(|(id, it)| Some((*id, it.read(now)?))).collect();
            let mut watched = meter.watched.lock();
            for (id, reading) in read {
                if let Some(container) = watched.containers.get_mut(&id) {
                    container.history.add(reading);
                }
            }
            if watched.machine.is_due(now)
                && let Some(reading) = read_machine(now)
            {
                watched.machine.add(reading);
            }
            let mut histories = watched.containers.values().map(|it| &it.history);
            histories.any(History::is_cold) || watched.machine.is_cold()
        });
        read.await.expect("reading files does not panic")
    }
}

impl Figures for Arc<Meter> {
    fn measure(&self) -> Pin<Box<dyn Future<Output = All> + Send>> {
        Box::pin(self.clone().all())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.meter.watched.lock().containers.remove(&self.id);
    }
}

impl Container {
    /// What it has used up to now; none when it has ended.
    fn read(&self, now: Timestamp) -> Option<Reading> {
        if started_ticks(self.pid) != Some(self.ticks) {
            return None;
        }
        let group = self.counters.cpu.as_deref().and_then(|file| field(file, "usage_usec"));
        let memory = self.counters.memory.as_ref().and_then(|(folder, version)| {
            let (used, idle) = match version {
                Version::Unified => ("memory.current", "inactive_file"),
                Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
            };
            let used: u64 = fs::read_to_string(folder.join(used)).ok()?.trim().parse().ok()?;
            let idle = field(&folder.join("memory.stat"), idle).unwrap_or(0);
            Some(used.saturating_sub(idle))
        });
        // What a process took before it was moved into its group is counted elsewhere.
        let (cpu, resident) = processes(self.pid);
        let (cpu, source) = match group {
            Some(micros) => (Duration::from_micros(micros), Source::Group),
            None => (cpu, Source::Processes),
        };
        let memory_bytes = memory.unwrap_or(0).max(resident);
        Some(Reading { at: now, cpu, memory_bytes, source })
    }
}

impl History {
    fn is_due(&self, now: Timestamp) -> bool {
        self.0.back().is_none_or(|last| since(last.at, now) >= SHORTEST)
    }

    fn add(&mut self, reading: Reading) {
        while self.0.len() >= READINGS {
            self.0.pop_front();
        }
        self.0.retain(|it| since(it.at, reading.at) <= LONGEST);
        self.0.push_back(reading);
    }

    /// Whether the last reading has none before it to compare with.
    fn is_cold(&self) -> bool {
        self.usage().is_none()
    }

    /// What was used between the last reading and one before it.
    fn usage(&self) -> Option<(Span, Usage)> {
        let last = self.0.back()?;
        let comparable = self.0.iter().filter(|it| {
            it.source == last.source && it.cpu <= last.cpu && since(it.at, last.at) >= SHORTEST
        });
        let first = comparable.min_by_key(|it| since(it.at, last.at).abs_diff(WINDOW))?;
        let window = since(first.at, last.at);
        let cpu_nano = (last.cpu - first.cpu).as_secs_f64() / window.as_secs_f64() * 1e9;
        let usage = Usage { cpu_nano: cpu_nano as u64, memory_bytes: last.memory_bytes };
        Some((Span { at: last.at, window }, usage))
    }
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// The number behind a word at the beginning of a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.next()?.trim().parse().ok()
}

/// CPU time and resident memory of a process and of those below it.
fn processes(pid: i32) -> (Duration, u64) {
    let mut all = vec![pid];
    let (mut ticks, mut pages) = (0, 0);
    let mut at = 0;
    while let Some(pid) = all.get(at).copied().filter(|_| at < PROCESSES) {
        at += 1;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((used, resident)) = stat(&text) {
            ticks += used;
            pages += resident;
            all.extend(children(pid));
        }
    }
    (from_ticks(ticks), pages * rustix::param::page_size() as u64)
}

/// Ticks used by a process and by those that it has waited for, and its resident pages.
fn stat(text: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything; the fields after it are numbers.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some((ticks, number(21)?))
}

/// What the whole machine uses.
fn read_machine(now: Timestamp) -> Option<Reading> {
    let cpu = fs::read_to_string("/proc/stat").ok()?;
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    Some(Reading {
        at: now,
        cpu: from_ticks(busy(&cpu)?),
        memory_bytes: used_bytes(&memory)?,
        source: Source::Group,
    })
}

/// Ticks in which the machine's processors were busy, from `/proc/stat`.
fn busy(text: &str) -> Option<u64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let fields: Vec<u64> = fields.filter_map(|it| it.parse().ok()).collect();
    // User, nice, system; not idle and waiting; interrupts and what other machines took.
    Some(fields.iter().take(8).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>())
}

/// Memory that programs could not have, from `/proc/meminfo`.
fn used_bytes(text: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(field("MemTotal")?.saturating_sub(field("MemAvailable")?) * 1024)
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings at these seconds, with that many milliseconds of CPU time.
    fn history(readings: &[(i64, u64, Source)]) -> History {
        let mut history = History::default();
        for (second, cpu, source) in readings {
            history.add(Reading {
                at: Timestamp::from_second(*second).unwrap(),
                cpu: Duration::from_millis(*cpu),
                memory_bytes: 7,
                source: *source,
            });
        }
        history
    }

    #[test]
    fn usage_is_told_over_about_ten_seconds() {
        use Source::{Group, Processes};
        let check = |readings: &[(i64, u64, Source)], expected: Option<(u64, u64)>| {
            let found = history(readings).usage();
            let found =
                found.map(|(span, usage)| (span.window.as_secs(), usage.cpu_nano / 1_000_000));
            assert_eq!(found, expected, "{readings:?}");
        };
        check(&[], None);
        check(&[(0, 0, Group)], None);
        check(&[(0, 0, Group), (5, 2500, Group)], Some((5, 500)));
        check(&[(0, 0, Group), (1, 0, Group), (15, 14_000, Group)], Some((14, 1000)));
        check(&[(0, 0, Group), (3, 1000, Group), (15, 7000, Group)], Some((12, 500)));
        // Counted by another, or anew: not comparable.
        check(&[(0, 900, Processes), (15, 1000, Group)], None);
        check(&[(0, 900, Group), (15, 100, Group)], None);
        // Too old.
        check(&[(0, 0, Group), (100, 1000, Group)], None);
        check(&[(0, 0, Group), (100, 1000, Group), (101, 1500, Group)], Some((1, 500)));
    }

    #[test]
    fn the_kernels_files_are_read() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99 1000 55 184";
        assert_eq!(stat(text), Some((100, 55)));
        assert_eq!(busy("cpu  1 2 3 1000 2000 4 5 6 0 0\ncpu0 1"), Some(21));
        assert_eq!(
            used_bytes("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n"),
            Some(61_440)
        );
        let (cpu, memory) = processes(std::process::id() as i32);
        assert!(memory > 1 << 20 && cpu < Duration::from_secs(3600), "{cpu:?} {memory}");
    }
}
