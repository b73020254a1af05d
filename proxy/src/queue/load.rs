//! Counts what one pod carries.
//!
//! Pure: a moment is the time since some beginning that the caller chose.
//! Source: knative/serving `pkg/networking/stats/request.go`.

use std::time::Duration;

/// Requests in flight averaged over time, and requests that arrived, since the last report.
#[derive(Clone, Debug, Default)]
pub struct Load {
    all: Part,
    /// Those that the activator counts too.
    proxied: Part,
    changed: Duration,
    since: Duration,
    total: u64,
}

#[derive(Clone, Debug, Default)]
struct Part {
    in_flight: u32,
    arrived: u64,
    request_seconds: f64,
}

/// What there is to report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    pub concurrency: f64,
    pub proxied_concurrency: f64,
    pub requests: f64,
    pub proxied_requests: f64,
}

impl Load {
    /// Counts a request that arrives at `now`.
    pub fn enter(&mut self, proxied: bool, now: Duration) {
        self.pass(now);
        self.all.in_flight += 1;
        self.all.arrived += 1;
        self.total += 1;
        if proxied {
            self.proxied.in_flight += 1;
            self.proxied.arrived += 1;
        }
    }

    /// Counts that a request ends at `now`.
    pub fn leave(&mut self, proxied: bool, now: Duration) {
        self.pass(now);
        self.all.in_flight = self.all.in_flight.saturating_sub(1);
        if proxied {
            self.proxied.in_flight = self.proxied.in_flight.saturating_sub(1);
        }
    }

    /// What to report at `now`; begins anew.
    pub fn take(&mut self, now: Duration) -> Taken {
        self.pass(now);
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        self.since = now;
        let (concurrency, requests) = self.all.take(seconds);
        let (proxied_concurrency, proxied_requests) = self.proxied.take(seconds);
        Taken { concurrency, proxied_concurrency, requests, proxied_requests }
    }

    /// Requests that ever arrived.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn pass(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.changed).as_secs_f64();
        self.all.request_seconds += f64::from(self.all.in_flight) * seconds;
        self.proxied.request_seconds += f64::from(self.proxied.in_flight) * seconds;
        self.changed = self.changed.max(now);
    }
}

impl Part {
    fn take(&mut self, seconds: f64) -> (f64, f64) {
        let concurrency = if seconds > 0.0 { self.request_seconds / seconds } else { 0.0 };
        self.request_seconds = 0.0;
        (concurrency, std::mem::take(&mut self.arrived) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_over_time_and_tells_the_proxied_apart() {
        let at = Duration::from_millis;
        let mut load = Load::default();
        load.enter(false, at(0));
        load.enter(true, at(500));
        load.leave(false, at(750));
        let taken = load.take(at(1000));
        let wanted = Taken {
            concurrency: 1.25,
            proxied_concurrency: 0.5,
            requests: 2.0,
            proxied_requests: 1.0,
        };
        assert_eq!(taken, wanted);
        load.leave(true, at(1500));
        let taken = load.take(at(2000));
        assert_eq!((taken.concurrency, taken.requests), (0.5, 0.0));
        assert_eq!(load.take(at(3000)), Taken::default());
    }
}
