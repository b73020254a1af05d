//! A queue of keys to work on: each key once, one worker a key, later where asked, and ever later
//! for keys that fail.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};
use proxy::exposition::SECONDS;
use tokio::{sync::Notify, time::Instant};

use crate::metrics::Metrics;

/// First delay after a failure. Source: client-go `DefaultControllerRateLimiter`.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// Longest delay between failures: a key that keeps failing costs one attempt in that time.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Keys to work on. Holds each key at most once waiting and once delayed, so it is as bounded as
/// the set of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    more: Notify,
    counts: OnceLock<Counts>,
}

/// What is measured of a queue. Source: knative.dev/pkg `observability/metrics/k8s/workqueue.go`.
struct Counts {
    adds: IntCounter,
    retries: IntCounter,
    waited: Histogram,
    worked: Histogram,
}

struct State<K> {
    /// With the moments since when they wait.
    ready: VecDeque<(K, Instant)>,
    /// The same keys as `ready`.
    queued: HashSet<K>,
    /// Keys that a worker holds, and since when.
    active: HashMap<K, Instant>,
    /// Active keys that were added again meanwhile.
    again: HashSet<K>,
    delayed: BTreeSet<(Instant, K)>,
    /// The same keys as `delayed`, with their times.
    due: HashMap<K, Instant>,
    /// How often a key failed in a row.
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// An empty queue.
    pub fn new() -> Queue<K> {
        Queue {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                queued: HashSet::new(),
                active: HashMap::new(),
                again: HashSet::new(),
                delayed: BTreeSet::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
            }),
            more: Notify::new(),
            counts: OnceLock::new(),
        }
    }

    /// Adds a key, at once. A key that waits already stays where it is; one that a worker holds
    /// comes again when the worker is done.
    pub fn add(&self, key: K) {
        if self.state.lock().add(key, Instant::now()) {
            self.count(|counts| counts.adds.inc());
            self.more.notify_one();
        }
    }

    /// Adds a key after a time. The earlier time counts when it is delayed already.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.state.lock().delay(key, Instant::now() + delay);
        // A worker may sleep until a later time than this one.
        self.more.notify_one();
    }

    /// Adds a key that failed, after a time that doubles with each failure in a row; says how long.
    pub fn add_failed(&self, key: K) -> Duration {
        let delay = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = (FIRST_DELAY * 2u32.saturating_pow(*failures)).min(LONGEST_DELAY);
            *failures = failures.saturating_add(1).min(20); // 2^20 × 5 ms is past the longest.
            delay
        };
        self.count(|counts| counts.retries.inc());
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of a key.
    pub fn succeed(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// Waits for a key that no worker holds. The caller must give it back with [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let more = self.more.notified();
            let until = {
                let mut state = self.state.lock();
                state.wake(Instant::now());
                if let Some((key, since)) = state.take() {
                    if !state.ready.is_empty() {
                        self.more.notify_one();
                    }
                    self.count(|counts| counts.waited.observe(since.elapsed().as_secs_f64()));
                    return key;
                }
                state.delayed.first().map(|(time, _)| *time)
            };
            match until {
                Some(time) => {
                    tokio::select! {
                        () = more => {}
                        () = tokio::time::sleep_until(time) => {}
                    }
                }
                None => more.await,
            }
        }
    }

    /// Takes a key back from its worker.
    pub fn done(&self, key: &K) {
        let mut state = self.state.lock();
        if let Some(since) = state.active.remove(key) {
            self.count(|counts| counts.worked.observe(since.elapsed().as_secs_f64()));
        }
        if state.again.remove(key) && state.add(key.clone(), Instant::now()) {
            self.count(|counts| counts.adds.inc());
            drop(state);
            self.more.notify_one();
        }
    }

    fn count(&self, count: impl FnOnce(&Counts)) {
        if let Some(counts) = self.counts.get() {
            count(counts);
        }
    }

    /// Keys that wait to be worked on now.
    pub fn depth(&self) -> usize {
        self.state.lock().ready.len()
    }
}

impl<K: Clone + Eq + Hash + Ord + Send + Sync + 'static> Queue<K> {
    /// Measures the queue from now on, as `name`. Of all calls, the first counts.
    pub fn measure(self: &Arc<Self>, metrics: &Metrics, name: &str) {
        const LABELS: &[&str] = &["name"];
        let counter = |metric: &str, help: &str| {
            metrics.counters(metric, help, LABELS).with_label_values(&[name])
        };
        let histogram = |metric: &str, help: &str| {
            metrics.histograms(metric, help, LABELS, SECONDS).with_label_values(&[name])
        };
        let counts = Counts {
            adds: counter("kn_workqueue_adds_total", "Number of items added to the queue"),
            retries: counter(
                "kn_workqueue_retries_total",
                "Number of items that come again after a failure",
            ),
            waited: histogram(
                "kn_workqueue_queue_duration_seconds",
                "How long an item stays in the queue",
            ),
            worked: histogram(
                "kn_workqueue_process_duration_seconds",
                "How long the work on an item takes",
            ),
        };
        if self.counts.set(counts).is_err() {
            return;
        }
        let (queue, name) = (Arc::downgrade(self), name.to_owned());
        metrics.read(move |readings| {
            let Some(queue) = queue.upgrade() else { return };
            let state = queue.state.lock();
            let working = state.active.values().map(|since| since.elapsed().as_secs_f64());
            let (all, longest) =
                working.fold((0.0, 0.0), |(all, longest), it| (all + it, it.max(longest)));
            for (metric, help, value) in [
                (
                    "kn_workqueue_depth",
                    "Number of current items in the queue",
                    state.ready.len() as f64,
                ),
                (
                    "kn_workqueue_unfinished_work_seconds",
                    "Time that the work under way has taken, over all of it",
                    all,
                ),
                (
                    "kn_workqueue_longest_running_processor_seconds",
                    "Time that the longest work under way has taken",
                    longest,
                ),
            ] {
                readings.gauge(metric, help, &[("name", name.as_str())], value);
            }
        });
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    /// Says whether a worker should look.
    fn add(&mut self, key: K, now: Instant) -> bool {
        if self.active.contains_key(&key) {
            self.again.insert(key);
            return false;
        }
        if !self.queued.insert(key.clone()) {
            return false;
        }
        self.ready.push_back((key, now));
        true
    }

    fn delay(&mut self, key: K, time: Instant) {
        if let Some(before) = self.due.get(&key) {
            if *before <= time {
                return;
            }
            self.delayed.remove(&(*before, key.clone()));
        }
        self.due.insert(key.clone(), time);
        self.delayed.insert((time, key));
    }

    fn wake(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(time, _)| *time <= now) {
            let (_, key) = self.delayed.pop_first().expect("looked at just now");
            self.due.remove(&key);
            self.add(key, now);
        }
    }

    fn take(&mut self) -> Option<(K, Instant)> {
        let (key, since) = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.active.insert(key.clone(), Instant::now());
        Some((key, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_each_key_to_one_worker_at_a_time() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert_eq!(queue.next().await, "b");
        assert!(soon(&queue).await.is_none(), "a is held");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_earlier_of_two_times() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        queue.done(&"a");
        assert!(soon(&queue).await.is_none(), "the later times are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn doubles_the_delay_of_failures_up_to_a_bound() {
        let queue = Queue::new();
        let delays: Vec<u128> = (0..16).map(|_| queue.add_failed("a").as_millis()).collect();
        assert_eq!(delays[..4], [5, 10, 20, 40]);
        assert_eq!(delays[15], 60_000);
        queue.succeed(&"a");
        assert_eq!(queue.add_failed("a").as_millis(), 5);
    }

    async fn soon<K: Clone + Eq + Hash + Ord>(queue: &Queue<K>) -> Option<K> {
        tokio::time::timeout(Duration::from_secs(60), queue.next()).await.ok()
    }
}
