//! Pure: the newest records of a log, held in memory for those who read as fast as others append.

use std::collections::VecDeque;

use super::{Batch, Offset, Record};

/// The newest records, one behind the other.
#[derive(Default)]
pub struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Tail {
    /// Reads from `from` on, about `most` bytes; nothing if that record is not held.
    pub fn read(&self, from: Offset, most: usize) -> Option<Batch> {
        let first = self.records.front()?.offset;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut taken = 0;
        let records = self.records.iter().skip(skipped).take_while(|it| {
            let more = taken == 0 || taken + it.bytes.len() <= most;
            taken += it.bytes.len();
            more
        });
        let records: Vec<_> = records.cloned().collect();
        let next = records.last()?.offset + 1;
        Some(Batch { records, next, damaged: 0 })
    }

    /// Takes the next record, and lets go of the oldest so that at most `most` bytes are held. What was held before a
    /// gap goes.
    pub fn push(&mut self, record: Record, most: usize) {
        if self.records.back().is_some_and(|it| it.offset + 1 != record.offset) {
            self.records.clear();
            self.bytes = 0;
        }
        self.bytes += record.bytes.len();
        self.records.push_back(record);
        while self.bytes > most {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Lets go of what is before `before`.
    pub fn release(&mut self, before: Offset) {
        while self.records.front().is_some_and(|it| it.offset < before) {
            self.bytes -= self.records.pop_front().map_or(0, |it| it.bytes.len());
        }
        if self.records.is_empty() {
            self.records.shrink_to(0);
        }
    }
}
