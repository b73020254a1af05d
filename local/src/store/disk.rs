//! The store's files: a snapshot, and logs of what came after it.
//!
//! `N.snapshot` holds every object at revision N and was renamed into place when it was whole; `N.log` holds the writes
//! after revision N. A write is handed to the kernel before it is answered, so that it survives the process, and synced
//! within 100 ms, so that a power cut loses no more than that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::Object;
use super::frame::{self, Record};

/// How long a write may wait for its sync.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// A log shorter than this is not worth rewriting: it is read in a few milliseconds.
const COMPACT_FROM: u64 = 16 << 20;

/// Why the files cannot be used. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the directory.
    #[error(
        "the data directory {0} is in use by another run: stop that one, or choose another directory"
    )]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error(
        "{doing} {path}: {source}: check the disk's space and the permissions of the data directory"
    )]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file has been altered or the disk has lost data.
    #[error(
        "the store file {path} is damaged at byte {at}: restore it from a backup, or move the data directory away to start empty"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        at: usize,
    },
    /// An earlier failure left the file in a state that could not be repaired.
    #[error(
        "the store is read-only since a write to {0} failed: free space or repair the disk, then start again"
    )]
    Broken(PathBuf),
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// What the writer's thread is to do. Each thing is there at most once: a second sync while one waits adds nothing.
#[derive(Default)]
struct Desk {
    orders: Mutex<Orders>,
    bell: Condvar,
}

#[derive(Default)]
struct Orders {
    sync: Option<Arc<File>>,
    snapshot: Option<Snapshot>,
    closed: bool,
}

struct Snapshot {
    revision: u64,
    objects: Vec<(Arc<str>, Arc<Object>)>,
    /// Takes the snapshot's length when it is written; all ones until then.
    done: Arc<AtomicU64>,
}

/// The open log.
pub struct Log {
    directory: PathBuf,
    path: PathBuf,
    file: Arc<File>,
    /// Bytes of whole records in `file`.
    length: u64,
    /// The size of the snapshot under the log.
    snapshot: Arc<AtomicU64>,
    compacting: bool,
    broken: bool,
    buffer: Vec<u8>,
    desk: Arc<Desk>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Held for its lock.
    _lock: File,
}

impl Log {
    /// Takes the directory and reads what is in it, oldest first.
    pub fn open(directory: &Path) -> Result<(Log, Vec<Record>), Error> {
        fs::create_dir_all(directory).map_err(io("make the data directory", directory))?;
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse(directory.to_owned())),
            Err(fs::TryLockError::Error(source)) => {
                return Err(Error::Io { doing: "lock", path: lock_path, source });
            }
        }
        let files = Files::find(directory)?;
        let mut records = Vec::new();
        let mut snapshot_length = 0;
        let base = files.snapshots.last().copied();
        if let Some(revision) = base {
            let path = directory.join(format!("{revision}.snapshot"));
            let (found, end, whole) = read_file(&path)?;
            if !whole {
                return Err(Error::Damaged { path, at: end });
            }
            snapshot_length = end as u64;
            records.extend(found);
        }
        let logs: Vec<u64> = files
            .logs
            .iter()
            .copied()
            .filter(|revision| base.is_none_or(|base| *revision >= base))
            .collect();
        let mut open_at = (base.unwrap_or(0), 0);
        for (index, revision) in logs.iter().enumerate() {
            let path = directory.join(format!("{revision}.log"));
            let (found, end, whole) = read_file(&path)?;
            if !whole && index + 1 != logs.len() {
                return Err(Error::Damaged { path, at: end });
            }
            records.extend(found);
            open_at = (*revision, end as u64);
        }
        let path = directory.join(format!("{}.log", open_at.0));
        let file = open_log(&path)?;
        file.set_len(open_at.1).map_err(io("cut the torn end of", &path))?;
        sync_directory(directory)?;
        for stale in files.snapshots.iter().filter(|revision| Some(**revision) != base) {
            remove(&directory.join(format!("{stale}.snapshot")));
        }
        for stale in files.logs.iter().filter(|revision| !logs.contains(revision)) {
            remove(&directory.join(format!("{stale}.log")));
        }
        let desk = Arc::new(Desk::default());
        let (home, inbox) = (directory.to_owned(), desk.clone());
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || work(&home, &inbox));
        let thread = thread.map_err(io("start the writer of", &path))?;
        let log = Log {
            directory: directory.to_owned(),
            path,
            file: Arc::new(file),
            length: open_at.1,
            snapshot: Arc::new(AtomicU64::new(snapshot_length)),
            compacting: false,
            broken: false,
            buffer: Vec::new(),
            desk,
            thread: Some(thread),
            _lock: lock,
        };
        Ok((log, records))
    }

    /// Hands a record to the kernel. On failure the file is as it was before.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken(self.path.clone()));
        }
        self.buffer.clear();
        frame::write(record, &mut self.buffer);
        if let Err(source) = (&*self.file).write_all(&self.buffer) {
            // What was written of the record must go, or the next record would stand behind rubble.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(Error::Io { doing: "write to", path: self.path.clone(), source });
        }
        self.length += self.buffer.len() as u64;
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        self.desk.orders.lock().sync = Some(self.file.clone());
        self.desk.bell.notify_one();
        Ok(())
    }

    /// Whether the log has grown past the use of its records.
    pub fn wants_compaction(&mut self) -> bool {
        let snapshot = self.snapshot.load(Ordering::Acquire);
        if self.compacting && snapshot != u64::MAX {
            self.compacting = false;
        }
        !self.compacting
            && !self.broken
            && self.length > COMPACT_FROM.max(snapshot.saturating_mul(2))
    }

    /// Begins a new log and lets the writer's thread write the snapshot under it. A failure leaves the old files in use.
    pub fn compact(&mut self, revision: u64, objects: Vec<(Arc<str>, Arc<Object>)>) {
        let path = self.directory.join(format!("{revision}.log"));
        let Ok(file) = open_log(&path) else { return };
        // The log before this one must be whole on disk before anything is written to the next.
        if self.file.sync_data().is_err() || sync_directory(&self.directory).is_err() {
            return;
        }
        self.snapshot.store(u64::MAX, Ordering::Release);
        self.compacting = true;
        self.desk.orders.lock().snapshot =
            Some(Snapshot { revision, objects, done: self.snapshot.clone() });
        self.desk.bell.notify_one();
        self.path = path;
        self.file = Arc::new(file);
        self.length = 0;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.desk.orders.lock().closed = true;
        self.desk.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends when it has done what is ordered; a panic there has been reported by itself.
            let _ = thread.join();
        }
        if self.file.sync_data().is_err() {
            tracing::warn!(path = %self.path.display(), "the last sync of the store failed");
        }
    }
}

fn work(directory: &Path, desk: &Desk) {
    loop {
        let mut orders = desk.orders.lock();
        while orders.sync.is_none() && orders.snapshot.is_none() {
            if orders.closed {
                return;
            }
            desk.bell.wait(&mut orders);
        }
        let snapshot = orders.snapshot.take();
        drop(orders);
        if let Some(snapshot) = snapshot {
            match write_snapshot(directory, snapshot.revision, &snapshot.objects) {
                Ok(length) => snapshot.done.store(length, Ordering::Release),
                Err(error) => {
                    tracing::error!(%error, "compaction of the store failed; the logs stay in use");
                    snapshot.done.store(COMPACT_FROM, Ordering::Release);
                }
            }
        }
        // Writes of the next moments are covered by the same sync.
        std::thread::sleep(SYNC_EVERY / 2);
        let file = desk.orders.lock().sync.take();
        if let Some(Err(error)) = file.map(|file| file.sync_data()) {
            tracing::error!(%error, "sync of the store failed");
        }
    }
}

fn write_snapshot(
    directory: &Path,
    revision: u64,
    objects: &[(Arc<str>, Arc<Object>)],
) -> Result<u64, Error> {
    let temporary = directory.join("snapshot.tmp");
    let path = directory.join(format!("{revision}.snapshot"));
    let mut file = io::BufWriter::new(File::create(&temporary).map_err(io("make", &temporary))?);
    let mut buffer = Vec::new();
    let mut length = 0;
    // The revision itself is kept even when its object is gone.
    let mark = Record { revision, resource: "".into(), key: "".into(), body: None };
    frame::write(&mark, &mut buffer);
    for (resource, object) in objects {
        let body = Some(object.body.clone());
        let record = Record {
            revision: object.revision,
            resource: (&**resource).into(),
            key: (&*object.key).into(),
            body,
        };
        frame::write(&record, &mut buffer);
        length += buffer.len() as u64;
        file.write_all(&buffer).map_err(io("write", &temporary))?;
        buffer.clear();
    }
    length += buffer.len() as u64;
    file.write_all(&buffer).map_err(io("write", &temporary))?;
    let file = file.into_inner().map_err(|error| Error::Io {
        doing: "write",
        path: temporary.clone(),
        source: error.into_error(),
    })?;
    file.sync_all().map_err(io("sync", &temporary))?;
    fs::rename(&temporary, &path).map_err(io("rename into place", &path))?;
    sync_directory(directory)?;
    let files = Files::find(directory)?;
    for stale in files.snapshots.iter().filter(|stale| **stale < revision) {
        remove(&directory.join(format!("{stale}.snapshot")));
    }
    for stale in files.logs.iter().filter(|stale| **stale < revision) {
        remove(&directory.join(format!("{stale}.log")));
    }
    Ok(length)
}

struct Files {
    snapshots: Vec<u64>,
    logs: Vec<u64>,
}

impl Files {
    fn find(directory: &Path) -> Result<Files, Error> {
        let mut files = Files { snapshots: Vec::new(), logs: Vec::new() };
        for entry in fs::read_dir(directory).map_err(io("read the data directory", directory))? {
            let name = entry.map_err(io("read the data directory", directory))?.file_name();
            let Some((revision, kind)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(revision) = revision.parse() else { continue };
            match kind {
                "snapshot" => files.snapshots.push(revision),
                "log" => files.logs.push(revision),
                _ => {}
            }
        }
        files.snapshots.sort_unstable();
        files.logs.sort_unstable();
        Ok(files)
    }
}

/// The records of a file, where they end, and whether that is the end of the file.
fn read_file(path: &Path) -> Result<(Vec<Record>, usize, bool), Error> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io("read", path))?;
    let bytes = Bytes::from(bytes);
    let mut records = Vec::new();
    let mut at = 0;
    loop {
        match frame::read(&bytes, at) {
            frame::Read::Record(record, next) => {
                records.push(record);
                at = next;
            }
            frame::Read::End => return Ok((records, at, true)),
            frame::Read::Torn => return Ok((records, at, false)),
            frame::Read::Damaged => return Err(Error::Damaged { path: path.to_owned(), at }),
        }
    }
}

fn open_log(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).append(true).open(path).map_err(io("open", path))
}

fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(io("sync the data directory", directory))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a stale store file stays");
    }
}
