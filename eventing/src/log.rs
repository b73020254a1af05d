//! Where events are kept: append-only logs of records that are on disk before they are acknowledged.
//!
//! A log knows nothing of events: a record is a run of bytes with an offset and a date. What reads, retries and
//! forgets is built on that, so that a store is small and another one can take its place.

use std::{fmt, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

pub mod file;
pub mod jetstream;
pub mod memory;
#[cfg(test)]
mod suite;
mod tail;

/// The place of a record in its log: 0 for the first ever appended, then one more each. None is used twice.
pub type Offset = u64;

/// Largest record. An event is held in memory while it is accepted and while it is delivered; what is larger belongs
/// into a store of objects, with its URL in the event.
pub const RECORD_LIMIT: usize = 64 << 20;

/// A future on the heap.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// When it was appended, in milliseconds since 1970. Never less than that of the record before it.
    pub time_ms: i64,
    /// What was appended.
    pub bytes: Bytes,
}

/// What one read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order of their offsets, which have gaps where records are damaged. Empty at the end of the log.
    pub records: Vec<Record>,
    /// Where to go on: past the last record, or past what is damaged or gone.
    pub next: Offset,
    /// Records that were appended and cannot be read any more; each was also told in the log of the process.
    pub damaged: u64,
}

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the records survive the loss of power.
    Disk,
    /// When they survive the end of this process.
    System,
}

/// Which records stay although nobody needs them: those within both bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of records at the log's end.
    pub bytes: u64,
    /// Records appended at this date or later, in milliseconds since 1970.
    pub since_ms: i64,
}

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Records are forgotten in pieces of about this many bytes.
    pub segment_bytes: u64,
    /// The newest records that are also held in memory, in bytes, for those who read as fast as others append.
    pub tail_bytes: usize,
}

/// Why records were not appended. None of them is in the log, as far as anybody will see.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// More waits to be written than may.
    #[error("the store is busy: {waiting} bytes wait to be written")]
    Busy {
        /// How much waits, in bytes.
        waiting: usize,
    },
    /// The storage is full.
    #[error("the store is full: {0}")]
    Full(Arc<std::io::Error>),
    /// The storage failed otherwise.
    #[error("write to the store: {0}")]
    Failed(Arc<std::io::Error>),
    /// The record is larger than any may be.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// The log or the store is closed.
    #[error("the store is closed")]
    Closed,
}

/// One log. Everything that takes time takes it elsewhere than on the caller's thread.
pub trait Log: Send + Sync + 'static {
    /// Appends `records` one behind the other, all or none; answers the offset of the first.
    fn append(
        &self,
        records: Vec<Bytes>,
        durability: Durability,
    ) -> Boxed<Result<Offset, AppendError>>;

    /// Reads from `from` on: about `most` bytes, at least one record if there is one. What is gone is skipped. Only
    /// records before [`Log::end`] are seen.
    fn read(&self, from: Offset, most: usize) -> Boxed<std::io::Result<Batch>>;

    /// The offset that the next record gets, as it grows. Records before it have been answered for.
    fn end(&self) -> watch::Receiver<Offset>;

    /// The offset of the oldest record that is still there, or the end.
    fn start(&self) -> Offset;

    /// The offset of the first record that was appended at `time_ms` or later, or the end.
    fn at(&self, time_ms: i64) -> Boxed<std::io::Result<Offset>>;

    /// Bytes of the records that are there.
    fn bytes(&self) -> u64;

    /// Says that who reads as fast as others append has read what is before `before`: it need not be held in memory.
    fn release(&self, before: Offset);

    /// Forgets records before `before`, but for those to `keep`; more may stay than must.
    fn trim(&self, before: Offset, keep: Keep) -> Boxed<std::io::Result<()>>;
}

/// Logs by name.
pub trait Store: Send + Sync + 'static {
    /// Opens the log of that name, which may be new. A log is open at most once at a time.
    fn open(&self, name: &str, layout: Layout) -> Boxed<std::io::Result<Arc<dyn Log>>>;

    /// Names of all logs that there are, sorted.
    fn names(&self) -> Boxed<std::io::Result<Vec<String>>>;

    /// Removes a log and its records, which must not be open.
    fn remove(&self, name: &str) -> Boxed<std::io::Result<()>>;
}

impl Keep {
    /// Keeps nothing that is not needed.
    pub const NOTHING: Keep = Keep { bytes: 0, since_ms: i64::MAX };
}

impl fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("start", &self.start()).finish_non_exhaustive()
    }
}
