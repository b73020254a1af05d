//! The data directory of a platform on this machine, and what is noted there of the one that runs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::args;

/// What a running `weft up` notes for the other commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot, so that a reused pid is not taken for it.
    pub started: u64,
    /// Where the Kubernetes API listens.
    pub api_addr: SocketAddr,
    /// Where the gateway listens.
    pub http_addr: SocketAddr,
    /// Where it listens for HTTPS; nowhere if no address was free.
    #[serde(default)]
    pub https_addr: Option<SocketAddr>,
}

impl Running {
    /// Notes this process.
    pub fn here(
        api_addr: SocketAddr,
        http_addr: SocketAddr,
        https_addr: Option<SocketAddr>,
    ) -> Running {
        let pid = std::process::id();
        Running { pid, started: started(pid).unwrap_or(0), api_addr, http_addr, https_addr }
    }

    /// Whether that very process still runs.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// The data directory that was asked for, or `~/.local/share/weft`.
///
/// # Errors
/// When none was named and there is no home directory.
pub fn data_dir(place: &args::Place) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &place.data_dir {
        return std::path::absolute(dir).with_context(|| format!("resolve {}", dir.display()));
    }
    match config::env::data_home() {
        Some(home) => Ok(home.join("weft")),
        None => bail!("find a data directory: HOME is not set; name one with --data-dir"),
    }
}

/// The kubeconfig that `weft up` writes.
pub fn kubeconfig(data_dir: &Path) -> PathBuf {
    data_dir.join("kubeconfig")
}

/// Where events are kept.
pub fn events(data_dir: &Path) -> PathBuf {
    data_dir.join("events")
}

/// Where what pods write is kept.
pub fn logs(data_dir: &Path) -> PathBuf {
    data_dir.join("logs")
}

/// What the platform that runs from `data_dir` noted, if one runs.
pub fn running(data_dir: &Path) -> anyhow::Result<Option<Running>> {
    let path = note(data_dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    // A note that does not parse is of another version or torn; its process cannot be told.
    let running: Option<Running> = serde_json::from_slice(&text).ok();
    Ok(running.filter(Running::is_alive))
}

/// Notes what runs from `data_dir`, replacing what was there as a whole.
pub fn write(data_dir: &Path, running: &Running) -> anyhow::Result<()> {
    let path = note(data_dir);
    let new = path.with_extension("new");
    let text = serde_json::to_vec_pretty(running).expect("plain values can be written as JSON");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("replace {}", path.display()))
}

/// Removes the note at the end of a run; one that is left is recognised as stale by its process.
pub fn clear(data_dir: &Path) {
    // Nothing depends on it being gone.
    let _ = fs::remove_file(note(data_dir));
}

fn note(data_dir: &Path) -> PathBuf {
    data_dir.join("running.json")
}

/// Start time of a process in clock ticks since boot, or `None` when there is no such process.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold spaces; the fields after it do not.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // A zombie has ended.
    if fields.first() == Some(&"Z") {
        return None;
    }
    // Field 22 of proc(5), and the first after the name is field 3.
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_later_namesake_is_not() {
        let address = "127.0.0.1:1".parse().unwrap();
        let here = Running::here(address, address, None);
        assert!(here.is_alive());
        assert!(!Running { started: here.started + 1, ..here }.is_alive());
    }
}
