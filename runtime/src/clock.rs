//! The date: the only place that makes a moment.
//!
//! A moment is the date at start plus what tokio's clock has counted since, so it never runs
//! backwards, and pausing tokio in a test pauses the platform. It misses corrections of the system's
//! clock that step, not those that slew.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the date. Copies tell the same date.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    date: Timestamp,
    since: Instant,
}

impl Clock {
    /// Starts from the system's date. Needs a tokio runtime.
    #[allow(clippy::disallowed_methods)] // Here is where the date comes from.
    pub fn start() -> Clock {
        Clock::start_at(Timestamp::now())
    }

    /// Starts from a date of the caller's.
    pub fn start_at(date: Timestamp) -> Clock {
        Clock { date, since: Instant::now() }
    }

    /// The date now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The date when tokio's clock shows `instant`; the date at start for earlier ones.
    pub fn at(&self, instant: Instant) -> Timestamp {
        let elapsed = instant.saturating_duration_since(self.since);
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        self.date.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_with_tokio() {
        let clock = Clock::start_at(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now().as_millisecond(), 1500);
    }
}
