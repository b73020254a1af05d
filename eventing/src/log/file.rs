//! Logs in files: each is a folder of segments, and one thread writes for all of them.
//!
//! Whatever has been handed in while the disk was busy is written with the next write and made durable with one
//! `fdatasync` for each log: the more is appended at once, the less each append costs.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use runtime::clock::Clock;
use rustix::fs::{FallocateFlags, fallocate};
use std::os::unix::fs::FileExt;
use tokio::sync::{oneshot, watch};

use super::{
    AppendError, Batch, Boxed, Durability, Keep, Layout, Log, Offset, RECORD_LIMIT, Record, Store,
    tail::Tail,
};
use segment::Segment;

mod frame;
mod segment;
#[cfg(test)]
mod tests;

/// Bytes that may wait to be written, over all logs: the disk's work of about a tenth of a second.
const WAITING_LIMIT: usize = 64 << 20;
/// Least and most space that is reserved ahead in a file. Reserved space costs no change of the file's length with
/// each write, which the disk would have to note down as well.
const RESERVE: (u64, u64) = (64 << 10, 8 << 20);
/// What the writer keeps of its buffer between writes.
const BUFFER_KEPT: usize = 1 << 20;
/// How long the writer sleeps at most before it looks whether its store is still there.
const NAP: Duration = Duration::from_secs(60);

/// Logs in a folder. When the last clone and the last log are dropped, the writer ends.
#[derive(Clone)]
pub struct Files {
    folder: Arc<Path>,
    clock: Clock,
    writer: Arc<Writer>,
}

/// The end of the queue to the thread that writes.
struct Writer {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<Append>,
    bytes: usize,
    closed: bool,
}

/// Records on their way.
struct Append {
    log: Arc<Shared>,
    records: Vec<Bytes>,
    /// When they were handed in.
    time_ms: i64,
    durability: Durability,
    done: oneshot::Sender<Result<Offset, AppendError>>,
}

/// One log.
struct FileLog {
    shared: Arc<Shared>,
    clock: Clock,
    writer: Arc<Writer>,
}

struct Shared {
    folder: PathBuf,
    layout: Layout,
    /// Oldest first, never empty; the last is written to.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    tail: Mutex<Tail>,
    end: watch::Sender<Offset>,
    /// Held by the writer while it writes, and by nobody else for long.
    writing: Mutex<Writing>,
}

struct Writing {
    /// Offset of the next record.
    next: Offset,
    /// Where it goes in the last segment.
    place: u64,
    /// Space that is reserved there.
    reserved: u64,
    /// When the last record was appended.
    time_ms: i64,
    /// What is behind `place` is not known: nothing more may be written to this segment.
    broken: bool,
}

impl Files {
    /// Opens the folder, which is made if it is not there. Nobody else may write to it.
    pub fn open(folder: &Path, clock: Clock) -> io::Result<Files> {
        fs::create_dir_all(folder)?;
        let queue = Arc::<Queue>::default();
        let its = queue.clone();
        let thread = std::thread::Builder::new().name("events".to_owned());
        let thread = thread.spawn(move || write_all(&its))?;
        let writer = Arc::new(Writer { queue, thread: Some(thread) });
        Ok(Files { folder: folder.into(), clock, writer })
    }
}

impl Store for Files {
    fn open(&self, name: &str, layout: Layout) -> Boxed<io::Result<Arc<dyn Log>>> {
        let (store, folder) = (self.clone(), self.folder.join(name));
        blocking(move || {
            let shared = Shared::open(folder, layout)?;
            let (clock, writer) = (store.clock, store.writer);
            let log = FileLog { shared: Arc::new(shared), clock, writer };
            Ok(Arc::new(log) as Arc<dyn Log>)
        })
    }

    fn names(&self) -> Boxed<io::Result<Vec<String>>> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut names = Vec::new();
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names.sort();
            Ok(names)
        })
    }

    fn remove(&self, name: &str) -> Boxed<io::Result<()>> {
        let folder = self.folder.join(name);
        blocking(move || fs::remove_dir_all(folder))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic of the thread was reported when it happened.
        }
    }
}

impl Log for FileLog {
    fn append(
        &self,
        records: Vec<Bytes>,
        durability: Durability,
    ) -> Boxed<Result<Offset, AppendError>> {
        if let Some(large) = records.iter().find(|it| it.len() > RECORD_LIMIT) {
            let error = AppendError::TooLarge { bytes: large.len(), limit: RECORD_LIMIT };
            return Box::pin(std::future::ready(Err(error)));
        }
        let (done, answer) = oneshot::channel();
        let bytes: usize = records.iter().map(Bytes::len).sum();
        {
            let mut waiting = self.writer.queue.waiting.lock();
            if waiting.bytes + bytes > WAITING_LIMIT && waiting.bytes > 0 {
                let error = AppendError::Busy { waiting: waiting.bytes };
                return Box::pin(std::future::ready(Err(error)));
            }
            waiting.bytes += bytes;
            // The date is read here: only a thread of the runtime knows it.
            let time_ms = self.clock.now().as_millisecond();
            let log = self.shared.clone();
            waiting.appends.push(Append { log, records, time_ms, durability, done });
        }
        self.writer.queue.wake.notify_one();
        Box::pin(async move { answer.await.unwrap_or(Err(AppendError::Closed)) })
    }

    fn read(&self, from: Offset, most: usize) -> Boxed<io::Result<Batch>> {
        let end = *self.shared.end.borrow();
        if from >= end {
            let batch = Batch { next: from, ..Batch::default() };
            return Box::pin(std::future::ready(Ok(batch)));
        }
        if let Some(batch) = self.shared.tail.lock().read(from, most) {
            return Box::pin(std::future::ready(Ok(batch)));
        }
        let shared = self.shared.clone();
        blocking(move || shared.read(from, end, most))
    }

    fn end(&self) -> watch::Receiver<Offset> {
        self.shared.end.subscribe()
    }

    fn start(&self) -> Offset {
        self.shared.segments.read().front().expect("a log has a segment").base
    }

    fn at(&self, time_ms: i64) -> Boxed<io::Result<Offset>> {
        let shared = self.shared.clone();
        blocking(move || shared.seek(time_ms))
    }

    fn bytes(&self) -> u64 {
        self.shared.segments.read().iter().map(|it| it.bytes()).sum()
    }

    fn release(&self, before: Offset) {
        self.shared.tail.lock().release(before);
    }

    fn trim(&self, before: Offset, keep: Keep) -> Boxed<io::Result<()>> {
        let shared = self.shared.clone();
        blocking(move || shared.trim(before, keep))
    }
}

impl Shared {
    fn open(folder: PathBuf, layout: Layout) -> io::Result<Shared> {
        fs::create_dir_all(&folder)?;
        let mut bases = Vec::new();
        for entry in fs::read_dir(&folder)? {
            bases.extend(entry?.file_name().to_str().and_then(Segment::base_of));
        }
        bases.sort_unstable();
        let mut segments = VecDeque::new();
        for base in &bases {
            segments.push_back(Arc::new(Segment::open(&folder, *base)?));
        }
        if segments.is_empty() {
            segments.push_back(Arc::new(Segment::create(&folder, 0)?));
            sync_folder(&folder)?;
        }
        let last = segments.back().expect("a log has a segment");
        let end = last.recover()?;
        let writing = Writing {
            next: end.offset,
            place: end.bytes,
            reserved: end.bytes,
            time_ms: end.time_ms,
            broken: false,
        };
        Ok(Shared {
            folder,
            layout,
            segments: RwLock::new(segments),
            tail: Mutex::default(),
            end: watch::Sender::new(end.offset),
            writing: Mutex::new(writing),
        })
    }

    /// The segments that have records of `from..end`, each with what of it that is.
    fn within(&self, from: Offset, end: Offset) -> Vec<(Arc<Segment>, std::ops::Range<Offset>)> {
        let segments = self.segments.read();
        let first = segments.partition_point(|it| it.base <= from).saturating_sub(1);
        let next = segments.iter().skip(first + 1).map(|it| it.base).chain([end]);
        let ranges = segments.iter().skip(first).zip(next);
        let ranges = ranges.map(|(it, next)| (it.clone(), from.max(it.base)..next.min(end)));
        ranges.filter(|(_, range)| !range.is_empty()).collect()
    }

    fn read(&self, from: Offset, end: Offset, most: usize) -> io::Result<Batch> {
        let mut damaged = 0;
        let mut next = from;
        for (segment, offsets) in self.within(from, end) {
            let mut from = offsets.start;
            while from < offsets.end {
                let mut batch = segment.read(from..offsets.end, most)?;
                damaged += batch.damaged;
                next = batch.next;
                if !batch.records.is_empty() {
                    batch.damaged = damaged;
                    return Ok(batch);
                }
                from = batch.next;
            }
        }
        Ok(Batch { records: Vec::new(), next, damaged })
    }

    fn seek(&self, time_ms: i64) -> io::Result<Offset> {
        let end = *self.end.borrow();
        for (segment, offsets) in self.within(0, end) {
            let past = offsets.end;
            let found = segment.seek(time_ms, offsets)?;
            if found < past {
                return Ok(found);
            }
        }
        Ok(end)
    }

    fn trim(&self, before: Offset, keep: Keep) -> io::Result<()> {
        loop {
            let oldest = {
                let segments = self.segments.read();
                let Some(next) = segments.get(1) else { return Ok(()) };
                let newer: u64 = segments.iter().skip(1).map(|it| it.bytes()).sum();
                if next.base > before {
                    return Ok(());
                }
                let end = next.base;
                (segments[0].clone(), newer, end)
            };
            let (segment, newer, end) = oldest;
            // A segment stays if all of it is within the bound of bytes and one record within that of time.
            let young = newer + segment.bytes() <= keep.bytes
                && segment.seek(keep.since_ms, segment.base..end)? < end;
            if young {
                return Ok(());
            }
            fs::remove_file(segment.path())?;
            self.segments.write().pop_front();
        }
    }

    /// Writes what belongs to this log of `appends`; nobody can read it yet.
    fn write(&self, appends: &mut [Append], buffer: &mut Vec<u8>) -> Result<Written, AppendError> {
        let mut writing = self.writing.lock();
        buffer.clear();
        let (mut next, mut now) = (writing.next, writing.time_ms);
        for append in &mut *appends {
            // The clock may have been set back since an earlier run.
            now = now.max(append.time_ms);
            append.time_ms = now;
            for record in &append.records {
                frame::push(buffer, next, now, record);
                next += 1;
            }
        }
        let segment = self.make_room(&mut writing, buffer.len() as u64).map_err(failed)?;
        writing.broken = true;
        segment.file().write_all_at(buffer, writing.place).map_err(failed)?;
        if appends.iter().any(|it| it.durability == Durability::Disk) {
            rustix::fs::fdatasync(segment.file()).map_err(|it| failed(it.into()))?;
        }
        writing.broken = false;
        let first = writing.next;
        writing.next = next;
        writing.place += buffer.len() as u64;
        writing.time_ms = now;
        segment.publish(next, writing.place, now);
        Ok(Written { first, next })
    }

    /// The segment to write `length` bytes to, where space is reserved for them.
    fn make_room(&self, writing: &mut Writing, length: u64) -> io::Result<Arc<Segment>> {
        let last = self.segments.read().back().expect("a log has a segment").clone();
        let is_full = writing.place + length > self.layout.segment_bytes;
        let segment = if (is_full || writing.broken) && writing.next > last.base {
            // What was reserved is given back, and what was not acknowledged goes with it.
            last.file().set_len(writing.place)?;
            let new = Arc::new(Segment::create(&self.folder, writing.next)?);
            sync_folder(&self.folder)?;
            self.segments.write().push_back(new.clone());
            (writing.place, writing.reserved) = (new.bytes(), new.bytes());
            new
        } else {
            if writing.broken {
                last.file().set_len(writing.place)?;
                writing.reserved = writing.place;
            }
            last
        };
        writing.broken = false;
        let needed = writing.place + length;
        if needed > writing.reserved {
            let step = writing.place.clamp(RESERVE.0, RESERVE.1);
            let most = self.layout.segment_bytes.max(needed);
            let wanted = (needed + step).min(most);
            match fallocate(segment.file(), FallocateFlags::empty(), 0, wanted) {
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => writing.reserved = wanted,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(segment)
    }

    /// Lets everybody see what was written.
    fn show(&self, appends: Vec<Append>, written: &Written) {
        let mut offset = written.first;
        let mut answers = Vec::with_capacity(appends.len());
        {
            let mut tail = self.tail.lock();
            for append in appends {
                answers.push((append.done, offset));
                for bytes in append.records {
                    let record = Record { offset, time_ms: append.time_ms, bytes };
                    tail.push(record, self.layout.tail_bytes);
                    offset += 1;
                }
            }
        }
        self.end.send_replace(written.next);
        for (done, offset) in answers {
            let _ = done.send(Ok(offset)); // Who appended may have gone; the record stays.
        }
    }
}

/// What one write added to a log.
struct Written {
    first: Offset,
    next: Offset,
}

/// The life of the thread that writes.
fn write_all(queue: &Queue) {
    let mut buffer = Vec::new();
    // Said once, not with each append that is refused meanwhile.
    let mut is_failing = false;
    loop {
        let mut appends = {
            let mut waiting = queue.waiting.lock();
            while waiting.appends.is_empty() {
                if waiting.closed {
                    return;
                }
                queue.wake.wait_for(&mut waiting, NAP);
            }
            std::mem::take(&mut waiting.appends)
        };
        let taken: usize = appends.iter().flat_map(|it| &it.records).map(Bytes::len).sum();
        while let Some(first) = appends.first() {
            // Those of one log in their order, the others after.
            let log = first.log.clone();
            let is_other = |it: &Append| !Arc::ptr_eq(&it.log, &log);
            let others = if appends.iter().any(is_other) {
                appends.extract_if(.., |it| is_other(it)).collect()
            } else {
                Vec::new()
            };
            let mut its = std::mem::replace(&mut appends, others);
            match log.write(&mut its, &mut buffer) {
                Ok(written) => {
                    is_failing = false;
                    log.show(its, &written);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let folder = log.folder.display();
                        tracing::error!(%folder, %error, "events cannot be kept; producers are told");
                    }
                    for append in its {
                        let _ = append.done.send(Err(error.clone())); // As above.
                    }
                }
            }
        }
        buffer.shrink_to(BUFFER_KEPT);
        queue.waiting.lock().bytes -= taken;
    }
}

fn failed(error: io::Error) -> AppendError {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if full.contains(&error.kind()) {
        return AppendError::Full(Arc::new(error));
    }
    AppendError::Failed(Arc::new(error))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Boxed<io::Result<T>> {
    let work = tokio::task::spawn_blocking(work);
    Box::pin(async move { work.await.map_err(io::Error::other)? })
}
