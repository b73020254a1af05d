//! Logs in memory, for who needs none after the process: what is appended is as durable as the process.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::clock::Clock;
use tokio::sync::watch;

use super::{AppendError, Batch, Boxed, Durability, Keep, Layout, Log, Offset, Record, Store};

/// Logs in memory. Clones share them.
#[derive(Clone)]
pub struct Memory {
    clock: Clock,
    logs: Arc<Mutex<BTreeMap<String, Arc<MemoryLog>>>>,
}

/// One log.
struct MemoryLog {
    clock: Clock,
    records: Mutex<VecDeque<Record>>,
    end: watch::Sender<Offset>,
}

impl Memory {
    /// No logs.
    pub fn new(clock: Clock) -> Memory {
        Memory { clock, logs: Arc::default() }
    }
}

impl Store for Memory {
    fn open(&self, name: &str, _: Layout) -> Boxed<io::Result<Arc<dyn Log>>> {
        let new = || {
            let (records, end) = (Mutex::default(), watch::Sender::new(0));
            Arc::new(MemoryLog { clock: self.clock, records, end })
        };
        let log = self.logs.lock().entry(name.to_owned()).or_insert_with(new).clone();
        Box::pin(std::future::ready(Ok(log as Arc<dyn Log>)))
    }

    fn names(&self) -> Boxed<io::Result<Vec<String>>> {
        let names = self.logs.lock().keys().cloned().collect();
        Box::pin(std::future::ready(Ok(names)))
    }

    fn remove(&self, name: &str) -> Boxed<io::Result<()>> {
        self.logs.lock().remove(name);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Log for MemoryLog {
    fn append(&self, new: Vec<Bytes>, _: Durability) -> Boxed<Result<Offset, AppendError>> {
        let mut records = self.records.lock();
        let first = *self.end.borrow();
        let now = self.clock.now().as_millisecond();
        let time_ms = records.back().map_or(now, |it| it.time_ms.max(now));
        let mut offset = first;
        for bytes in new {
            records.push_back(Record { offset, time_ms, bytes });
            offset += 1;
        }
        self.end.send_replace(offset);
        Box::pin(std::future::ready(Ok(first)))
    }

    fn read(&self, from: Offset, most: usize) -> Boxed<io::Result<Batch>> {
        let records = self.records.lock();
        let mut taken = 0;
        let wanted = records.iter().skip(records.partition_point(|it| it.offset < from));
        let wanted = wanted.take_while(|it| {
            let more = taken == 0 || taken + it.bytes.len() <= most;
            taken += it.bytes.len();
            more
        });
        let records: Vec<_> = wanted.cloned().collect();
        let next = records.last().map_or(from, |it| it.offset + 1);
        Box::pin(std::future::ready(Ok(Batch { records, next, damaged: 0 })))
    }

    fn end(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    fn start(&self) -> Offset {
        self.records.lock().front().map_or(*self.end.borrow(), |it| it.offset)
    }

    fn at(&self, time_ms: i64) -> Boxed<io::Result<Offset>> {
        let records = self.records.lock();
        let found = records.iter().find(|it| it.time_ms >= time_ms).map(|it| it.offset);
        Box::pin(std::future::ready(Ok(found.unwrap_or(*self.end.borrow()))))
    }

    fn bytes(&self) -> u64 {
        self.records.lock().iter().map(|it| it.bytes.len() as u64).sum()
    }

    fn release(&self, _: Offset) {}

    fn trim(&self, before: Offset, keep: Keep) -> Boxed<io::Result<()>> {
        let mut records = self.records.lock();
        let mut bytes: u64 = records.iter().map(|it| it.bytes.len() as u64).sum();
        while let Some(oldest) = records.front() {
            let is_kept = bytes <= keep.bytes && oldest.time_ms >= keep.since_ms;
            if oldest.offset >= before || is_kept {
                break;
            }
            bytes -= oldest.bytes.len() as u64;
            records.pop_front();
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::suite;

    #[tokio::test(start_paused = true)]
    async fn memory() {
        suite::run(async |clock| Memory::new(clock)).await;
    }
}
