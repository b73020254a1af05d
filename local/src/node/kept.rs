//! The logs of pods that are gone: how many stay, and how they are read beside a platform that runs.
//!
//! A pod's folder `NAMESPACE_POD_UID` holds its labels in `labels.json`, so that a service's pods are found when the
//! API has forgotten them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::node::output;

/// Pods whose logs are kept: a service that comes and goes every minute can be looked at for three hours.
const MOST_PODS: usize = 200;
/// Bytes of all logs that are kept. Chatty pods share what a log that rotates on any machine may take; one pod that
/// writes its all (see [`output`]) still fits several times.
const MOST_BYTES: u64 = 256 << 20;
/// The file with the labels.
const LABELS: &str = "labels.json";

/// The logs of one pod, which may still run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    folder: PathBuf,
    since: SystemTime,
}

/// All logs below `folder`, oldest pod first. Without the folder there are none.
pub fn kept(folder: &Path) -> Vec<Kept> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kept: Vec<Kept> = entries.filter_map(|entry| read(entry.path())).collect();
    kept.sort_by(|a, b| (a.since, &a.folder).cmp(&(b.since, &b.folder)));
    kept
}

fn read(folder: PathBuf) -> Option<Kept> {
    let mut parts = folder.file_name()?.to_str()?.split('_').map(str::to_owned);
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    // The labels are written once, when the pod begins; the folder itself changes with each container.
    let begun = fs::metadata(folder.join(LABELS)).or_else(|_| fs::metadata(&folder));
    let since = begun.and_then(|it| it.modified()).ok()?;
    Some(Kept { namespace, pod, uid, folder, since })
}

/// Notes the labels of the pod whose logs go to `folder`, once.
pub(super) fn note(folder: &Path, labels: Option<&BTreeMap<String, String>>) -> io::Result<()> {
    let text = serde_json::to_vec(&labels).expect("texts are JSON");
    let file = fs::OpenOptions::new().create_new(true).write(true).open(folder.join(LABELS));
    match file {
        Ok(mut file) => io::Write::write_all(&mut file, &text),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the oldest logs beyond the bounds, but for those of pods for which `is_live`.
pub(super) fn prune(folder: &Path, is_live: impl Fn(&Path) -> bool) {
    prune_to(folder, is_live, MOST_PODS, MOST_BYTES);
}

fn prune_to(folder: &Path, is_live: impl Fn(&Path) -> bool, pods: usize, bytes: u64) {
    let mut total = 0;
    for (index, one) in kept(folder).into_iter().rev().enumerate() {
        total += size(&one.folder);
        // The newest stays in any case: it is what one looks for.
        let fits = index == 0 || index < pods && total <= bytes;
        if !fits && !is_live(&one.folder) {
            // What cannot be removed now is tried again when the next pod goes.
            let _ = fs::remove_dir_all(&one.folder);
        }
    }
}

/// Bytes of the files in a folder and those below it.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        Some(if meta.is_dir() { size(&entry.path()) } else { meta.len() })
    });
    sizes.sum()
}

impl Kept {
    /// The pod's labels; none when they were not noted.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let text = fs::read(self.folder.join(LABELS)).unwrap_or_default();
        serde_json::from_slice::<Option<_>>(&text).ok().flatten().unwrap_or_default()
    }

    /// What a container wrote, its last lines alone if `tail` is given. Empty when it never ran.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn text(&self, container: &str, tail: Option<u64>) -> io::Result<String> {
        let mut lines = Vec::new();
        for run in output::runs(&self.folder.join(container)) {
            lines.extend(output::stored(&run)?);
        }
        if let Some(count) = tail {
            lines.drain(..output::start_of_last_lines(&lines, count));
        }
        Ok(String::from_utf8_lossy(&output::plain(&lines)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_logs_are_kept_and_those_of_pods_that_run() {
        // Pods a to e, the oldest first, of 100 bytes each with their labels.
        check(5, 1000, "", "abcde");
        check(2, 1000, "", "de");
        check(2, 1000, "a", "ade");
        check(5, 250, "", "de");
        check(5, 250, "b", "bde");
        check(5, 1, "", "e");
    }

    #[track_caller]
    fn check(pods: usize, bytes: u64, live: &str, left: &str) {
        let folder = std::env::temp_dir().join(format!("weft-kept-{}", uuid::Uuid::new_v4()));
        for (at, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let pod = folder.join(format!("n_{name}_u-{name}"));
            fs::create_dir_all(pod.join("c")).unwrap();
            note(&pod, None).unwrap();
            fs::write(pod.join("c/0.log"), [b'x'; 96]).unwrap();
            let begun = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at as u64);
            fs::File::open(pod.join(LABELS)).unwrap().set_modified(begun).unwrap();
        }
        let is_live = |path: &Path| {
            let name = read(path.to_owned()).unwrap().pod;
            live.contains(&name)
        };
        prune_to(&folder, is_live, pods, bytes);
        let found: String = kept(&folder).into_iter().map(|it| it.pod).collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, left, "{pods} pods, {bytes} bytes, {live:?} live");
    }
}
