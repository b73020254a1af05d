//! Counts the requests of one revision, for the reports to the autoscaler.
//!
//! Pure: a moment is the time since some beginning that the caller chose.
//! Source: knative/serving `pkg/networking/stats/request.go`, `pkg/activator/handler/concurrency_reporter.go`.

use std::time::Duration;

/// Requests in flight, averaged over time, and requests that arrived, since the last report.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: u32,
    arrived: u64,
    /// Requests in flight times the seconds that they were, up to `changed`.
    request_seconds: f64,
    changed: Duration,
    since: Duration,
    /// Requests that were reported when they arrived.
    early: u32,
    /// Whether reports are made.
    busy: bool,
}

/// What there is to report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Requests in flight, averaged since the last report.
    pub concurrency: f64,
    /// Requests that arrived since the last report.
    pub requests: f64,
    /// Whether nothing happened: no further report is made until a request arrives.
    pub idle: bool,
}

impl Load {
    /// Counts a request that arrives at `now`. True when it is the first after an idle time: it is to
    /// be reported at once, as one request in flight.
    pub fn enter(&mut self, now: Duration) -> bool {
        let first = !self.busy;
        if first {
            *self = Load { busy: true, since: now, changed: now, early: 1, ..Load::default() };
        }
        self.pass(now);
        self.in_flight += 1;
        self.arrived += 1;
        first
    }

    /// Counts that a request ends at `now`.
    pub fn leave(&mut self, now: Duration) {
        self.pass(now);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// What to report at `now`; begins anew. What was reported early is left out.
    pub fn take(&mut self, now: Duration) -> Taken {
        self.pass(now);
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        let concurrency = if seconds > 0.0 { self.request_seconds / seconds } else { 0.0 };
        let idle = self.in_flight == 0 && self.arrived == 0 && self.request_seconds == 0.0;
        let early = f64::from(std::mem::take(&mut self.early));
        let taken = Taken {
            concurrency: (concurrency - early).max(0.0),
            requests: (self.arrived as f64 - early).max(0.0),
            idle,
        };
        self.busy = !idle;
        self.request_seconds = 0.0;
        self.arrived = 0;
        self.since = now;
        taken
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn pass(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.changed).as_secs_f64();
        self.request_seconds += f64::from(self.in_flight) * seconds;
        self.changed = self.changed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn averages_what_is_in_flight_over_time() {
        let mut load = Load::default();
        assert!(load.enter(at(0)));
        let first = load.take(at(0));
        assert_eq!((first.concurrency, first.requests, first.idle), (0.0, 0.0, false));
        assert!(!load.enter(at(500)));
        load.leave(at(750));
        assert_eq!(load.take(at(1000)), Taken { concurrency: 1.25, requests: 1.0, idle: false });
        assert_eq!(load.take(at(2000)), Taken { concurrency: 1.0, requests: 0.0, idle: false });
        load.leave(at(2500));
        assert_eq!(load.take(at(3000)), Taken { concurrency: 0.5, requests: 0.0, idle: false });
        assert_eq!(load.take(at(4000)), Taken { concurrency: 0.0, requests: 0.0, idle: true });
    }

    #[test]
    fn the_first_request_is_reported_once() {
        let mut load = Load::default();
        assert!(load.enter(at(0)));
        load.enter(at(0));
        assert_eq!(load.take(at(1000)), Taken { concurrency: 1.0, requests: 1.0, idle: false });
        load.leave(at(1000));
        load.leave(at(1000));
        assert!(load.take(at(2000)).idle);
        assert!(load.enter(at(5000)), "it is the first again");
        load.leave(at(5100));
        // A short request counts as one for its second, which was reported early.
        assert_eq!(load.take(at(6000)), Taken { concurrency: 0.0, requests: 0.0, idle: false });
        assert!(load.take(at(7000)).idle);
    }
}
