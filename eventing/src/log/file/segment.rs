//! One file of a log: the records from one offset on, up to where the next file begins.

use std::{
    collections::HashSet,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::frame::{self, Found, MAGIC};
use crate::log::{Batch, Offset, Record};

/// Distance of the places that are remembered: who looks for an offset reads about this much in vain.
const MARK_EVERY: u64 = 64 << 10;
/// Least that is read at a time: as much as the kernel reads ahead.
const CHUNK: usize = 128 << 10;

/// A file of a log.
pub struct Segment {
    /// Offset of its first record.
    pub base: Offset,
    path: PathBuf,
    file: File,
    /// Bytes of whole records that may be read, with the magic before them.
    readable: AtomicU64,
    /// Where some records lie, sorted. The first is the base.
    marks: Mutex<Vec<Mark>>,
    /// Damaged places that were told of: each is told once.
    told: Mutex<HashSet<Offset>>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: Offset,
    place: u64,
    /// When the record before it was appended at the latest.
    time_ms: i64,
}

/// What is at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The offset that the next record gets.
    pub offset: Offset,
    /// Bytes up to there.
    pub bytes: u64,
    /// When the last record was appended.
    pub time_ms: i64,
}

impl Segment {
    /// The name of the file with the records from `base` on: names sort as offsets do.
    pub fn name(base: Offset) -> String {
        format!("{base:020}.log")
    }

    /// The base of the file of that name, if it is one.
    pub fn base_of(name: &str) -> Option<Offset> {
        name.strip_suffix(".log").filter(|it| it.len() == 20)?.parse().ok()
    }

    /// Makes the file for the records from `base` on; what was in it is gone.
    pub fn create(folder: &Path, base: Offset) -> io::Result<Segment> {
        let path = folder.join(Segment::name(base));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(&MAGIC, 0)?;
        Ok(Segment::of(base, path, file, MAGIC.len() as u64))
    }

    /// Opens the file for the records from `base` on, all of which may be read.
    pub fn open(folder: &Path, base: Offset) -> io::Result<Segment> {
        let path = folder.join(Segment::name(base));
        let file = File::options().read(true).write(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Segment::of(base, path, file, bytes))
    }

    fn of(base: Offset, path: PathBuf, file: File, readable: u64) -> Segment {
        let first = Mark { offset: base, place: MAGIC.len() as u64, time_ms: i64::MIN };
        Segment {
            base,
            path,
            file,
            readable: readable.into(),
            marks: Mutex::new(vec![first]),
            told: Mutex::default(),
        }
    }

    /// The file, for who writes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that may be read.
    pub fn bytes(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Lets records up to `place` be read, of which the last have `offset` and date.
    pub fn publish(&self, next: Offset, place: u64, time_ms: i64) {
        self.mark(next, place, time_ms);
        self.readable.store(place, Ordering::Release);
    }

    /// Finds the end of a file that may have been torn off while it was written, and forgets what is behind.
    pub fn recover(&self) -> io::Result<End> {
        let mut bytes = vec![0; usize::try_from(self.bytes()).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        let mut end = End { offset: self.base, bytes: MAGIC.len() as u64, time_ms: i64::MIN };
        if !bytes.starts_with(&MAGIC) {
            if bytes.iter().any(|it| *it != 0) {
                // Perhaps records are behind a damaged beginning.
                tracing::warn!(file = %self.path.display(), "the beginning of a file of events is damaged");
            }
            self.file.write_all_at(&MAGIC, 0)?;
        }
        let mut place = MAGIC.len();
        loop {
            match frame::at(&bytes, place) {
                Found::Whole(frame) if frame.offset >= end.offset => {
                    place = frame.bytes.end;
                    end = End {
                        offset: frame.offset + 1,
                        bytes: place as u64,
                        time_ms: frame.time_ms.max(end.time_ms),
                    };
                    self.mark(end.offset, end.bytes, end.time_ms);
                }
                // A record behind what is damaged was acknowledged: it stays, and so do those before it.
                _ => {
                    // No more records fit into the rest of the file.
                    let most = end.offset + 1 + (bytes.len() / frame::HEAD) as Offset;
                    match frame::find(&bytes, place + 1, &(end.offset + 1..most)) {
                        Some(found) => place = found,
                        None => break,
                    }
                }
            }
        }
        self.file.set_len(end.bytes)?;
        self.readable.store(end.bytes, Ordering::Release);
        Ok(end)
    }

    /// Reads records of `offsets`, about `most` bytes. `offsets` ends where this segment does, or what may be read.
    /// An empty batch's `next` is past `offsets.start`.
    pub fn read(&self, offsets: Range<Offset>, most: usize) -> io::Result<Batch> {
        let readable = self.bytes();
        let mark = self.mark_before(offsets.start);
        let (mut place, mut expected) = (mark.place, mark.offset);
        let mut batch = Batch { next: offsets.start, ..Batch::default() };
        let mut taken = 0;
        let most = most.max(1);
        let mut wanted = CHUNK.max(most);
        let mut latest = mark.time_ms;
        while batch.records.is_empty() && expected < offsets.end && place < readable {
            let chunk = self.chunk(place, wanted)?;
            let (mut at, before) = (0, place);
            while expected < offsets.end && taken < most {
                let is_cut = chunk.len() - at < frame::HEAD;
                if is_cut && before + (chunk.len() as u64) < readable {
                    break;
                }
                match frame::at(&chunk, at) {
                    Found::Whole(frame) if frame.offset >= expected => {
                        batch.damaged += self.skipped(expected, frame.offset, offsets.start);
                        at = frame.bytes.end;
                        expected = frame.offset + 1;
                        latest = latest.max(frame.time_ms);
                        if frame.offset >= offsets.start && frame.offset < offsets.end {
                            taken += frame.bytes.len();
                            let bytes = chunk.slice(frame.bytes);
                            batch.records.push(Record {
                                offset: frame.offset,
                                time_ms: frame.time_ms,
                                bytes,
                            });
                        }
                    }
                    Found::Partial(length) if before + ((at + length) as u64) <= readable => {
                        wanted = CHUNK.max(most).max(length);
                        break;
                    }
                    _ => match self.find(place + at as u64 + 1, expected + 1..offsets.end)? {
                        Some(found) => {
                            // Its offset tells what is missing.
                            at = 0;
                            place = found;
                            wanted = CHUNK.max(most);
                            break;
                        }
                        None => {
                            batch.damaged += self.skipped(expected, offsets.end, offsets.start);
                            expected = offsets.end;
                        }
                    },
                }
                if at >= chunk.len() {
                    break;
                }
            }
            place += at as u64;
            if expected < offsets.end {
                self.mark(expected, place, latest);
            }
        }
        if expected < offsets.end && place >= readable {
            // The file is shorter than what was written to it.
            batch.damaged += self.skipped(expected, offsets.end, offsets.start);
            expected = offsets.end;
        }
        batch.next = expected.max(offsets.start);
        Ok(batch)
    }

    /// The first offset of `offsets` whose record was appended at `time_ms` or later, or the end of `offsets`.
    pub fn seek(&self, time_ms: i64, offsets: Range<Offset>) -> io::Result<Offset> {
        let earlier = |it: &Mark| it.time_ms < time_ms;
        let mut from = {
            let marks = self.marks.lock();
            marks[marks.partition_point(earlier).saturating_sub(1)].offset.max(offsets.start)
        };
        while from < offsets.end {
            let batch = self.read(from..offsets.end, CHUNK)?;
            if let Some(found) = batch.records.iter().find(|it| it.time_ms >= time_ms) {
                return Ok(found.offset);
            }
            from = batch.next;
        }
        Ok(offsets.end)
    }

    /// Reads about `length` bytes from `place` on.
    fn chunk(&self, place: u64, length: usize) -> io::Result<Bytes> {
        let rest = usize::try_from(self.bytes().saturating_sub(place)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length.min(rest)];
        self.file.read_exact_at(&mut bytes, place)?;
        Ok(bytes.into())
    }

    /// Looks for the next whole record from `place` on: through the rest of the file, which happens once a damage.
    fn find(&self, place: u64, offsets: Range<Offset>) -> io::Result<Option<u64>> {
        let rest = self.chunk(place, usize::MAX)?;
        Ok(frame::find(&rest, 0, &offsets).map(|it| place + it as u64))
    }

    /// Counts the records from `expected` on that were to be before `found` and in what was asked for.
    fn skipped(&self, expected: Offset, found: Offset, asked: Offset) -> u64 {
        if expected < found && self.told.lock().insert(expected) {
            tracing::error!(
                file = %self.path.display(), first = expected, count = found - expected,
                "records are damaged and left out; all others can be read"
            );
        }
        found.saturating_sub(expected.max(asked))
    }

    fn mark(&self, offset: Offset, place: u64, time_ms: i64) {
        let mut marks = self.marks.lock();
        let last = marks.last().expect("the first mark stays");
        if place >= last.place + MARK_EVERY && offset > last.offset {
            marks.push(Mark { offset, place, time_ms });
        }
    }

    fn mark_before(&self, offset: Offset) -> Mark {
        let marks = self.marks.lock();
        marks[marks.partition_point(|it| it.offset <= offset).saturating_sub(1)]
    }
}
