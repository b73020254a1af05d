//! Averages of a load over the last seconds, in rings of one bucket a second.
//!
//! Pure: the caller says when each value was seen.
//! Source: knative/serving `pkg/autoscaler/aggregation/bucketing.go` and `max/window.go`.

use std::time::Duration;

use jiff::Timestamp;

/// How the seconds of a window weigh in its average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// Each second weighs the same.
    #[default]
    Linear,
    /// Newer seconds weigh more; the weight decays by a factor a second.
    WeightedExponential,
}

/// The sum of what was recorded in each of the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    aggregation: Aggregation,
    /// One bucket a second, indexed by the second modulo their number, which is the window's length.
    buckets: Box<[f64]>,
    /// Sum of all buckets.
    total: f64,
    /// Seconds of the first and the last write; the first is moved up when a whole window was silent.
    written: Option<(i64, i64)>,
    /// Weight of the newest second, where weights decay.
    weight: f64,
}

/// The largest of the values recorded over the last time, in steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Largest {
    step_s: i64,
    /// How many steps back a value counts; at least 1.
    steps: i64,
    /// Step and value, both sorted: steps grow and values shrink. At most one entry a step.
    maxima: std::collections::VecDeque<(i64, u32)>,
}

/// The sum of the weights of a window, when they decay, is at least this.
const WEIGHTS_SUM: f64 = 0.9999;
/// The slowest decay: below it a long window would be close to a simple average.
const SLOWEST_DECAY: f64 = 0.2;
/// Averages are rounded to this part, so that sums of fractions compare well.
const ROUNDING: f64 = 1e6;

impl Window {
    /// An empty window of `length`, rounded up to whole seconds; at least one.
    pub fn new(aggregation: Aggregation, length: Duration) -> Window {
        let seconds = whole_seconds(length);
        Window {
            aggregation,
            buckets: vec![0.0; seconds].into(),
            total: 0.0,
            written: None,
            weight: newest_weight(seconds),
        }
    }

    /// Adds `value` to the second of `now`. A value older than the window is dropped.
    pub fn record(&mut self, now: Timestamp, value: f64) {
        let second = now.as_second();
        let length = self.length();
        let (first, last) = match self.written {
            None => (second, second),
            Some((first, last)) if second > last => {
                if second - last >= length {
                    self.buckets.fill(0.0);
                    self.total = 0.0;
                    (second, second)
                } else {
                    for silent in last + 1..=second {
                        let bucket = self.bucket(silent);
                        self.total -= std::mem::take(&mut self.buckets[bucket]);
                    }
                    (first, second)
                }
            }
            Some((_, last)) if second + length <= last => return,
            Some((first, last)) => (first.min(second), last),
        };
        self.written = Some((first, last));
        let bucket = self.bucket(second);
        self.buckets[bucket] += value;
        self.total += value;
    }

    /// Counts the time up to `until` as silence, where nothing newer was recorded.
    ///
    /// Without it a reporter that has nothing to say is taken for one that has not spoken yet, and
    /// the average stays where it was until the window has passed.
    pub fn pass(&mut self, until: Timestamp) {
        if self.written.is_some_and(|(_, last)| last < until.as_second()) {
            self.record(until, 0.0);
        }
    }

    /// Whether nothing was recorded for longer than the window.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.written.is_none_or(|(_, last)| now.as_second() - last > self.length())
    }

    /// The average at `now`; 0 when the window is empty.
    pub fn average(&self, now: Timestamp) -> f64 {
        match self.aggregation {
            Aggregation::Linear => self.linear(now),
            Aggregation::WeightedExponential => self.weighted(now),
        }
    }

    /// Gives the window another length, keeping the newest seconds that fit.
    pub fn resize(&mut self, length: Duration) {
        let seconds = whole_seconds(length);
        if seconds == self.buckets.len() {
            return;
        }
        let old = std::mem::replace(self, Window::new(self.aggregation, length));
        let Some((first, last)) = old.written else { return };
        let oldest = first.max(last - old.length() + 1).max(last - seconds as i64 + 1);
        for second in oldest..=last {
            let value = old.buckets[old.bucket(second)];
            let bucket = self.bucket(second);
            self.buckets[bucket] = value;
            self.total += value;
        }
        self.written = Some((oldest, last));
    }

    /// Over the seconds from the first write to the last; the silence since then does not count.
    fn linear(&self, now: Timestamp) -> f64 {
        let Some((first, last)) = self.written else { return 0.0 };
        let silence = (now.as_second() - last).max(0);
        if silence >= self.length() {
            return 0.0;
        }
        let left: f64 =
            (last + 1..=last + silence).map(|second| self.buckets[self.bucket(second)]).sum();
        let seconds = (last - first + 1).min(self.length() - silence);
        (((self.total - left) / seconds as f64) * ROUNDING).round() / ROUNDING
    }

    fn weighted(&self, now: Timestamp) -> f64 {
        let Some((_, last)) = self.written else { return 0.0 };
        if self.is_empty(now) {
            return 0.0;
        }
        let decay = 1.0 - self.weight;
        let silence = (now.as_second() - last).max(0);
        let newest = self.weight * decay.powi(silence as i32);
        (0..self.length() - silence)
            .scan(newest, |weight, back| {
                let value = self.buckets[self.bucket(last - back)] * *weight;
                *weight *= decay;
                Some(value)
            })
            .sum()
    }

    fn length(&self) -> i64 {
        self.buckets.len() as i64
    }

    fn bucket(&self, second: i64) -> usize {
        second.rem_euclid(self.length()) as usize
    }
}

impl Largest {
    /// Remembers values for `time`, in steps of `step` (whole seconds, at least one).
    pub fn new(time: Duration, step: Duration) -> Largest {
        let step_s = whole_seconds(step) as i64;
        Largest {
            step_s,
            steps: (whole_seconds(time) as u64).div_ceil(step_s as u64) as i64,
            maxima: std::collections::VecDeque::new(),
        }
    }

    /// Whether values count for `time`, in steps of `step`.
    pub fn covers(&self, time: Duration, step: Duration) -> bool {
        let of_new = Largest::new(time, step);
        (self.step_s, self.steps) == (of_new.step_s, of_new.steps)
    }

    /// Adds `value` and returns the largest that still counts. `now` never goes backwards.
    pub fn record(&mut self, now: Timestamp, value: u32) -> u32 {
        let step = now.as_second().div_euclid(self.step_s);
        // What is smaller and older can never be the largest again.
        while self.maxima.back().is_some_and(|&(_, last)| last <= value) {
            self.maxima.pop_back();
        }
        while self.maxima.front().is_some_and(|&(first, _)| step - first >= self.steps) {
            self.maxima.pop_front();
        }
        if self.maxima.back().is_none_or(|&(last, _)| last != step) {
            self.maxima.push_back((step, value));
        }
        self.maxima.front().map_or(value, |&(_, largest)| largest)
    }
}

fn whole_seconds(length: Duration) -> usize {
    (length.as_secs_f64().ceil() as usize).max(1)
}

fn newest_weight(seconds: usize) -> f64 {
    (1.0 - (1.0 - WEIGHTS_SUM).powf(1.0 / seconds as f64)).max(SLOWEST_DECAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// Records the values at their seconds in a window of `length` and compares its average at `now`.
    #[track_caller]
    fn check(length: u64, writes: &[(i64, f64)], now: i64, expected: f64) {
        let mut window = Window::new(Aggregation::Linear, Duration::from_secs(length));
        for &(second, value) in writes {
            window.record(at(second), value);
        }
        assert_eq!(window.average(at(now)), expected, "{writes:?} at {now}");
    }

    #[test]
    fn averages_over_the_seconds_that_have_data() {
        check(10, &[], 0, 0.0);
        check(10, &[(0, 5.0)], 0, 5.0); //                       one second of data is a whole average
        check(10, &[(0, 5.0), (0, 5.0)], 0, 10.0); //            two reporters in one second add up
        check(10, &[(0, 4.0), (1, 8.0)], 1, 6.0);
        check(10, &[(0, 4.0), (3, 8.0)], 3, 3.0); //             silent seconds between count as 0
        check(10, &[(0, 4.0), (1, 4.0)], 4, 4.0); //             silence at the end does not count
        check(3, &[(0, 9.0), (1, 1.0), (2, 1.0), (3, 1.0)], 3, 1.0); // the oldest falls out
        check(3, &[(0, 9.0), (1, 1.0), (2, 1.0)], 3, 1.0); //    and falls out without a write too
        check(3, &[(0, 9.0)], 3, 0.0); //                        nothing for a whole window
        check(3, &[(0, 9.0), (3, 1.0)], 3, 1.0); //              begins anew after a silent window
        check(10, &[(5, 4.0), (3, 2.0)], 5, 2.0); //             a late report moves the beginning back
        check(3, &[(5, 4.0), (1, 2.0)], 5, 4.0); //              a report from before the window is dropped
        check(3, &[(0, 1.0), (1, 1.0), (2, 2.0)], 2, 1.333333); // rounded to six digits
    }

    #[test]
    fn silence_counts_once_it_is_known() {
        let mut window = Window::new(Aggregation::Linear, Duration::from_secs(10));
        window.pass(at(0));
        assert_eq!(window.written, None, "silence alone is no data");
        window.record(at(0), 10.0);
        window.pass(at(4));
        assert_eq!(window.average(at(4)), 2.0);
        window.pass(at(2));
        assert_eq!(window.average(at(4)), 2.0, "what is known does not change");
        window.pass(at(20));
        assert_eq!(window.average(at(20)), 0.0);
        assert!(!window.is_empty(at(20)));
        assert!(window.is_empty(at(31)));
    }

    #[test]
    fn newer_seconds_weigh_more_when_weights_decay() {
        let mut window = Window::new(Aggregation::WeightedExponential, Duration::from_secs(4));
        // Four seconds: the newest weighs 1 - 0.0001^(1/4) = 0.9.
        for (second, value) in [(0, 10.0), (1, 10.0), (2, 5.0), (3, 5.0)] {
            window.record(at(second), value);
        }
        let expected = 5.0 * 0.9 + 5.0 * 0.09 + 10.0 * 0.009 + 10.0 * 0.0009;
        assert!((window.average(at(3)) - expected).abs() < 1e-9);
        // One silent second later everything weighs a tenth, and the oldest is gone.
        let later = 5.0 * 0.09 + 5.0 * 0.009 + 10.0 * 0.0009;
        assert!((window.average(at(4)) - later).abs() < 1e-9);
        assert_eq!(window.average(at(9)), 0.0);
        let long = Window::new(Aggregation::WeightedExponential, Duration::from_secs(600));
        assert_eq!(long.weight, 0.2);
    }

    #[test]
    fn resizing_keeps_the_newest_seconds() {
        let mut window = Window::new(Aggregation::Linear, Duration::from_secs(6));
        for second in 0..6 {
            window.record(at(second), second as f64);
        }
        window.resize(Duration::from_secs(2));
        assert_eq!(window.average(at(5)), 4.5);
        window.resize(Duration::from_secs(60));
        assert_eq!(window.average(at(5)), 4.5);
        window.record(at(6), 9.0);
        assert_eq!(window.average(at(6)), 6.0);
    }

    #[test]
    fn remembers_the_largest_for_its_time() {
        let mut largest = Largest::new(Duration::from_secs(6), Duration::from_secs(2));
        for (second, value, expected) in [
            (0, 5, 5),
            (2, 3, 5),
            (4, 4, 5),
            (6, 1, 4),
            (8, 1, 4),
            (10, 1, 1),
            (11, 7, 7),
            (11, 2, 7),
        ] {
            assert_eq!(largest.record(at(second), value), expected, "at {second}");
        }
    }
}
