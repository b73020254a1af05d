//! Which events came lately, so that one that comes again can be left out.
//!
//! Pure: the caller tells the date.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::{event::Event, log::Offset};

/// Events that are remembered, at most: about 10 MB. The oldest are forgotten before their time is over.
pub const LIMIT: usize = 200_000;

/// Events that came within a window of time.
#[derive(Debug)]
pub struct Recent {
    window_ms: i64,
    /// Oldest first, with the date.
    order: VecDeque<(u128, i64)>,
    /// The first event of each identity.
    first: HashMap<u128, Offset>,
}

impl Recent {
    /// None so far.
    pub fn new(window: Duration) -> Recent {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Recent { window_ms, order: VecDeque::new(), first: HashMap::new() }
    }

    /// Whether this is the first event of its `source` and `id` within the window, or that one once more.
    pub fn is_first(&mut self, event: &Event, offset: Offset, now_ms: i64) -> bool {
        while let Some((oldest, time_ms)) = self.order.front().copied() {
            if now_ms.saturating_sub(time_ms) <= self.window_ms && self.order.len() < LIMIT {
                break;
            }
            self.order.pop_front();
            self.first.remove(&oldest);
        }
        let identity = identity(event);
        let first = *self.first.entry(identity).or_insert_with(|| {
            self.order.push_back((identity, now_ms));
            offset
        });
        first == offset
    }
}

/// What two events share that are the same: wide enough that others never do.
fn identity(event: &Event) -> u128 {
    let mut halves = [0_u64; 2];
    for (salt, half) in halves.iter_mut().enumerate() {
        let mut hasher = DefaultHasher::new();
        (salt, event.source(), event.id()).hash(&mut hasher);
        *half = hasher.finish();
    }
    u128::from(halves[0]) << 64 | u128::from(halves[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;

    fn event(source: &str, id: &str) -> Event {
        let text = |it| Value::String(it);
        Event::new(&[("type", text("t")), ("source", text(source)), ("id", text(id))], None)
            .unwrap()
    }

    #[test]
    fn an_event_is_known_for_the_window() {
        let mut recent = Recent::new(Duration::from_secs(1));
        for (source, id, offset, now_ms, wanted) in [
            ("/a", "1", 0, 0, true),
            ("/a", "1", 1, 500, false),
            ("/a", "1", 0, 600, true), // The same, tried again.
            ("/b", "1", 2, 700, true), // Identity is of both.
            ("/a", "2", 3, 700, true),
            ("/a", "1", 4, 1000, false),
            ("/a", "1", 5, 1001, true),
            ("/a", "1", 6, 1002, false),
        ] {
            let found = recent.is_first(&event(source, id), offset, now_ms);
            assert_eq!(found, wanted, "{source} {id} at {now_ms}");
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut recent = Recent::new(Duration::from_secs(3600));
        for number in 0..LIMIT + 10 {
            let event = event("/a", &number.to_string());
            assert!(recent.is_first(&event, number as Offset, 0));
        }
        assert!(recent.order.len() <= LIMIT && recent.first.len() <= LIMIT);
        assert!(recent.is_first(&event("/a", "0"), 1 << 40, 0), "the oldest is forgotten");
    }
}
