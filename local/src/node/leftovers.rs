//! Finds and ends what an earlier run of the platform left behind when it was killed.
//!
//! Each running container has a file in its pod's folder that names its process: number, start and the
//! machine's boot. Networks go by themselves when their last process has ended.

use std::{fs, path::Path};

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::node::process::started_ticks;

const ENDING: &str = "process";

/// What tells this boot of the machine from others; empty where the kernel does not say.
pub fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Notes the process of a container.
pub fn note(folder: &Path, container: &str, pid: i32, boot: &str) {
    let Some(ticks) = started_ticks(pid) else { return };
    let file = folder.join(format!("{container}.{ENDING}"));
    if let Err(error) = fs::write(&file, format!("{pid} {ticks} {boot}")) {
        tracing::warn!(file = %file.display(), %error, "cannot note a process: a crash would leave it running");
    }
}

/// The process has ended.
pub fn forget(folder: &Path, container: &str) {
    let _ = fs::remove_file(folder.join(format!("{container}.{ENDING}")));
}

/// Kills every noted process below `pods` that still runs, with its group, and removes the pods' folders.
/// Gives how many were killed.
pub fn clear(pods: &Path, boot: &str) -> usize {
    let mut killed = 0;
    for pod in fs::read_dir(pods).into_iter().flatten().flatten() {
        for file in fs::read_dir(pod.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|it| it == ENDING)
                && let Ok(note) = fs::read_to_string(file.path())
                && end(&note, boot)
            {
                killed += 1;
            }
        }
        if let Err(error) = fs::remove_dir_all(pod.path()) {
            tracing::warn!(folder = %pod.path().display(), %error, "remove a pod's folder");
        }
    }
    killed
}

/// Kills the process that `note` names; false when it is not the same any more.
fn end(note: &str, boot: &str) -> bool {
    let mut parts = note.split(' ');
    let pid = parts.next().and_then(|it| it.parse().ok());
    let ticks = parts.next().and_then(|it| it.parse::<u64>().ok());
    let (Some(pid), Some(ticks)) = (pid, ticks) else { return false };
    if parts.next() != Some(boot) {
        return false;
    }
    let Some(number) = Pid::from_raw(pid) else { return false };
    // Holding the process first makes the comparison and the kill speak of the same one.
    let Ok(handle) = rustix::process::pidfd_open(number, PidfdFlags::empty()) else { return false };
    if started_ticks(pid) != Some(ticks) {
        return false;
    }
    let _ = rustix::process::kill_process_group(number, Signal::KILL);
    rustix::process::pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::Command,
    };

    use super::*;

    #[test]
    fn ends_the_noted_process_and_no_other() {
        let pods = std::env::temp_dir().join(format!("weft-leftovers-{}", uuid::Uuid::new_v4()));
        let sleeper = || Command::new("/bin/sleep").arg("600").process_group(0).spawn().unwrap();
        let (mut left, mut other) = (sleeper(), sleeper());
        for (pod, note) in [("a", None), ("b", Some(format!("{} 1 {}", other.id(), boot())))] {
            let folder = pods.join(pod);
            fs::create_dir_all(&folder).unwrap();
            match note {
                None => super::note(&folder, "c", left.id() as i32, &boot()),
                Some(note) => fs::write(folder.join("c.process"), note).unwrap(),
            }
        }
        assert_eq!(clear(&pods, &boot()), 1);
        assert_eq!(left.wait().unwrap().signal(), Some(9));
        assert_eq!(other.try_wait().unwrap(), None);
        assert_eq!(fs::read_dir(&pods).unwrap().count(), 0);
        other.kill().unwrap();
        other.wait().unwrap();
        fs::remove_dir_all(pods).unwrap();
    }
}
