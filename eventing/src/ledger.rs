//! What one subscriber has still to get, in memory: what waits, what is open, and what of that is not written down.
//!
//! Pure: the topic puts in, the subscriber's task takes out, and what changed goes into [`crate::state`].

use std::collections::{BTreeMap, VecDeque};

use crate::{
    event::Event,
    log::Offset,
    state::{Open, Progress, Update},
};

/// Bytes of events that wait or are under way for one subscriber. Who is slower than that reads the log for itself
/// later; a hundred that all are slow take a tenth of a small machine.
pub const HELD_LIMIT: usize = 1 << 20;
/// Events that one subscriber may have open: those it failed to take wait for their next try, and when there are that
/// many the rest stay in the log.
pub const OPEN_LIMIT: usize = 10_000;

/// The account of one subscriber.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Its own place in the log, if it does not keep up with the topic.
    behind: Option<Offset>,
    /// Everything before it was taken in or is not wanted.
    seen: Offset,
    open: BTreeMap<Offset, Entry>,
    queue: VecDeque<(Offset, Event)>,
    /// Bytes of events in the queue and under way.
    held: usize,
    /// Open, and not as it was written down.
    changed: Vec<Offset>,
    /// Written down as open, and done with.
    done: Vec<Offset>,
    is_dirty: bool,
}

#[derive(Debug)]
struct Entry {
    open: Open,
    is_written: bool,
}

impl Ledger {
    /// The account of who has got that far.
    pub fn new(progress: Progress) -> Ledger {
        let entry = |open| Entry { open, is_written: true };
        let open = progress.open.into_iter().map(|(offset, open)| (offset, entry(open)));
        Ledger { behind: progress.behind, open: open.collect(), ..Ledger::default() }
    }

    /// Its own place, if it does not keep up.
    pub fn behind(&self) -> Option<Offset> {
        self.behind
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.held < HELD_LIMIT && self.open.len() < OPEN_LIMIT
    }

    /// Takes in an event that the subscriber wants, from the topic. Without room the subscriber is behind from here on.
    /// Returns whether something changed.
    pub fn take(&mut self, offset: Offset, event: &Event) -> bool {
        if self.behind.is_some() || offset < self.seen {
            return false;
        }
        if self.has_room() {
            self.put(offset, event);
        } else {
            self.behind = Some(offset);
        }
        true
    }

    /// Takes in an event that the subscriber wants and has read for itself. Returns false without room.
    pub fn take_own(&mut self, offset: Offset, event: &Event) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.put(offset, event);
        }
        has_room
    }

    fn put(&mut self, offset: Offset, event: &Event) {
        self.held += event.stored_bytes().len();
        self.queue.push_back((offset, event.clone()));
        self.open.insert(offset, Entry { open: Open::default(), is_written: false });
        self.changed.push(offset);
    }

    /// Moves its own place: everything before was taken in.
    pub fn move_to(&mut self, offset: Offset) {
        self.behind = Some(offset);
    }

    /// From now on the topic hands it what comes from `seen` on.
    pub fn keep_up(&mut self, seen: Offset) {
        self.behind = None;
        self.seen = seen;
    }

    /// Takes the next event to deliver.
    pub fn pop(&mut self) -> Option<(Offset, Event)> {
        let next = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        next
    }

    /// Lets go of the bytes of an event that was taken.
    pub fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// How far an open event is.
    pub fn get(&self, offset: Offset) -> Option<&Open> {
        self.open.get(&offset).map(|it| &it.open)
    }

    /// An open event got further.
    pub fn set(&mut self, offset: Offset, open: Open) {
        if let Some(entry) = self.open.get_mut(&offset) {
            entry.open = open;
            self.changed.push(offset);
        }
    }

    /// An event is done with.
    pub fn finish(&mut self, offset: Offset) {
        if self.open.remove(&offset).is_some_and(|it| it.is_written) {
            self.done.push(offset);
        }
    }

    /// Notes that something changed; whether it had not since the last record.
    pub fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dirty, true)
    }

    /// What changed since the last record.
    pub fn update(&mut self) -> Update {
        self.is_dirty = false;
        let mut update = Update { behind: self.behind, ..Update::default() };
        for offset in self.changed.drain(..) {
            if let Some(entry) = self.open.get_mut(&offset) {
                entry.is_written = true;
                update.open.insert(offset, entry.open.clone());
            }
        }
        update.done = std::mem::take(&mut self.done);
        update
    }

    /// All of it, for a record that needs no other.
    pub fn whole(&mut self) -> Update {
        self.is_dirty = false;
        self.changed.clear();
        self.done.clear();
        let write = |(offset, entry): (&Offset, &mut Entry)| {
            entry.is_written = true;
            (*offset, entry.open.clone())
        };
        let open = self.open.iter_mut().map(write).collect();
        Update { behind: self.behind, open, done: Vec::new() }
    }

    /// The first event that it still needs, where the topic is at `at`.
    pub fn needed(&self, at: Offset) -> Offset {
        let open = self.open.keys().next().copied();
        self.behind.unwrap_or(at).min(open.unwrap_or(Offset::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;

    fn event(bytes: usize) -> Event {
        let text = |it| Value::String(it);
        let attributes = [("type", text("t")), ("source", text("/s")), ("id", text("1"))];
        Event::new(&attributes, Some(&vec![0; bytes])).unwrap()
    }

    fn json(update: &Update) -> String {
        serde_json::to_string(update).unwrap()
    }

    #[test]
    fn what_comes_and_goes_between_records_is_never_written() {
        let mut ledger = Ledger::default();
        assert!(ledger.take(3, &event(1)) && ledger.take(4, &event(1)));
        assert!(ledger.touch() && !ledger.touch());
        assert_eq!(ledger.pop().unwrap().0, 3);
        ledger.finish(3);
        assert_eq!(json(&ledger.update()), r#"{"open":{"4":{}}}"#);
        ledger.finish(4);
        assert!(ledger.touch());
        assert_eq!(json(&ledger.update()), r#"{"done":[4]}"#);
        assert_eq!(json(&ledger.whole()), "{}");
    }

    #[test]
    fn who_has_no_room_is_behind_and_may_catch_up() {
        let mut ledger = Ledger::default();
        assert!(ledger.take(0, &event(HELD_LIMIT)), "a large event alone is taken");
        assert!(ledger.take(1, &event(1)));
        assert_eq!((ledger.behind(), ledger.needed(9)), (Some(1), 0));
        assert!(!ledger.take(2, &event(1)), "it reads for itself");
        assert!(!ledger.take_own(1, &event(1)), "there is no room yet");
        let (_, large) = ledger.pop().unwrap();
        ledger.release(large.stored_bytes().len());
        ledger.finish(0);
        assert_eq!(ledger.needed(9), 1);
        assert!(ledger.take_own(1, &event(1)));
        ledger.move_to(2);
        ledger.keep_up(3);
        assert!(!ledger.take(2, &event(1)), "it has seen that");
        assert!(ledger.take(3, &event(1)));
        assert_eq!(json(&ledger.update()), r#"{"open":{"1":{},"3":{}}}"#);
    }

    #[test]
    fn failures_are_written_down() {
        let progress = r#"{"behind":9,"open":{"5":{"n":1,"due":7}}}"#;
        let mut ledger = Ledger::new(serde_json::from_str(progress).unwrap());
        assert_eq!(ledger.get(5).unwrap().failures, 1);
        ledger.set(5, Open { failures: 2, due_ms: 8, dead: None });
        assert_eq!(json(&ledger.update()), r#"{"behind":9,"open":{"5":{"n":2,"due":8}}}"#);
        ledger.finish(5);
        assert_eq!(json(&ledger.update()), r#"{"behind":9,"done":[5]}"#);
    }
}
