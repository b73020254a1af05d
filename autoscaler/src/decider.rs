//! The load of one revision and the decisions that follow from it.
//!
//! Pure: the caller says when. Only revisions with pods or load have a decider.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use api::load::{PodLoad, RevisionLoad};
use jiff::Timestamp;

use crate::{
    decide::{self, Decision, Observation, decide},
    path,
    policy::{Metric, Policy},
    window::Window,
};

/// What is known of one revision's load, and the last decision.
#[derive(Debug)]
pub struct Decider {
    policy: Policy,
    stable: Window,
    panic: Window,
    state: decide::State,
    decision: Option<Decision>,
    ready_pods: u32,
    /// From when on no report means no load.
    silent_from: Timestamp,
    /// Requests in flight by pod, as each reporter said last.
    busy: BTreeMap<String, Vec<PodLoad>>,
    /// What it was last said to cost to delete a pod, where that is more than nothing.
    costs: BTreeMap<String, u32>,
    /// Since when requests go through the activator.
    pub proxied_since: Option<Timestamp>,
    /// Whether a request was seen to reach the activator since the revision became inactive.
    pub path_proven: bool,
    /// Whether somebody is trying to see one.
    pub proving: bool,
    /// Until when the revision's status waits because the revision wakes up.
    woken_until: Option<Timestamp>,
}

/// How late a report may be: silence counts only from before it. Reports come each second.
const LATENESS: Duration = Duration::from_secs(2);
/// How long the status of a revision that wakes up waits at most.
const STATUS_WAIT: Duration = Duration::from_secs(1);
/// Reporters of which it is remembered which pods are busy: a reporter that ends is not heard of.
const REPORTERS: usize = 64;
/// Costs that are written before one decision to shrink: each is a write that the decision waits for.
const COSTS: usize = 100;

impl Decider {
    /// A decider for a revision found with `ready_pods`, of whose load nothing is known.
    pub fn new(policy: Policy, ready_pods: u32, now: Timestamp) -> Decider {
        Decider {
            stable: Window::new(policy.aggregation, policy.stable_window),
            panic: Window::new(policy.aggregation, policy.panic_window),
            state: decide::State::found(ready_pods, now),
            decision: None,
            ready_pods,
            // A revision may rest for long between two requests, and who has just started has missed
            // the last one: only a whole window without a word is no load. Where the activator sees
            // every request and speaks each second, less says as much.
            silent_from: now
                + match policy.burst_capacity {
                    Some(_) => policy.stable_window,
                    None => policy.panic_window,
                },
            busy: BTreeMap::new(),
            costs: BTreeMap::new(),
            proxied_since: None,
            path_proven: false,
            proving: false,
            woken_until: None,
            policy,
        }
    }

    /// Takes what may have changed since the last time. Windows keep what fits.
    pub fn update(&mut self, policy: Policy, ready_pods: u32) {
        self.ready_pods = ready_pods;
        if policy == self.policy {
            return;
        }
        if policy.aggregation != self.policy.aggregation || policy.metric != self.policy.metric {
            self.stable = Window::new(policy.aggregation, policy.stable_window);
            self.panic = Window::new(policy.aggregation, policy.panic_window);
        }
        self.stable.resize(policy.stable_window);
        self.panic.resize(policy.panic_window);
        self.policy = policy;
    }

    /// Takes one reporter's load. True when it must be decided at once, because the revision has load
    /// and is not known to want a pod.
    pub fn record(&mut self, reporter: &str, load: &RevisionLoad, now: Timestamp) -> bool {
        if load.busy_pods.is_empty() {
            self.busy.remove(reporter);
        } else if self.busy.contains_key(reporter) || self.busy.len() < REPORTERS {
            self.busy.insert(reporter.to_owned(), load.busy_pods.clone());
        }
        // What went through the activator was counted there.
        let value = match self.policy.metric {
            Metric::Concurrency => load.concurrency - load.proxied_concurrency,
            Metric::Rate => load.requests - load.proxied_requests,
        };
        self.stable.record(now, value);
        self.panic.record(now, value);
        load.concurrency > 0.0 && self.decision.is_none_or(|decision| decision.pods == 0)
    }

    /// Decides. True when the decision asks for another number of pods or another way of requests.
    pub fn decide(&mut self, now: Timestamp) -> bool {
        let until = now - LATENESS;
        self.stable.pass(until);
        self.panic.pass(until);
        if self.stable.is_empty(now) && now < self.silent_from {
            return false;
        }
        let observed = Observation {
            stable: self.stable.average(now),
            panic: self.panic.average(now),
            ready_pods: self.ready_pods,
        };
        let (state, decision) = decide(mem::take(&mut self.state), observed, &self.policy, now);
        self.state = state;
        let before = self.decision.replace(decision);
        if decision.pods > 0 && before.is_none_or(|it| it.pods == 0) {
            self.woken_until = Some(now + STATUS_WAIT);
        }
        before.is_none_or(|before| {
            let has_room = |it: Decision| it.excess_burst_capacity >= 0;
            before.pods != decision.pods || has_room(before) != has_room(decision)
        })
    }

    /// How long the status may still wait: a revision that wakes up has a ready pod in a moment, and who waits for
    /// that pod would wait for each status written before.
    pub fn status_wait(&self, now: Timestamp) -> Option<Duration> {
        let until = self.woken_until.filter(|_| self.ready_pods == 0)?;
        Duration::try_from(until.duration_since(now)).ok().filter(|it| !it.is_zero())
    }

    /// The last decision; none while nothing is known of the load.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// The room of the ready pods for a burst, as far as it is known.
    pub fn excess_burst_capacity(&self) -> i32 {
        self.decision.map_or_else(
            || path::initial_excess_burst_capacity(&self.policy),
            |decision| decision.excess_burst_capacity,
        )
    }

    /// Requests in flight by pod, over all reporters; those that have none are left out.
    pub fn busy_pods(&self) -> BTreeMap<String, u32> {
        let mut pods = BTreeMap::new();
        for load in self.busy.values().flatten() {
            *pods.entry(load.pod.clone()).or_default() += load.in_flight;
        }
        pods
    }

    /// The pods of `present` whose cost of deletion is not what was written last, with that cost: the
    /// requests that they have in flight.
    pub fn changed_costs(&self, present: &BTreeSet<String>) -> Vec<(String, u32)> {
        let busy = self.busy_pods();
        let idle = self.costs.keys().filter(|pod| !busy.contains_key(*pod));
        let idle: Vec<(String, u32)> = idle.map(|pod| (pod.clone(), 0)).collect();
        let changed = busy.into_iter().filter(|(pod, cost)| self.costs.get(pod) != Some(cost));
        changed.chain(idle).filter(|(pod, _)| present.contains(pod)).take(COSTS).collect()
    }

    /// Remembers which costs were written.
    pub fn wrote_costs(&mut self, costs: &[(String, u32)], present: &BTreeSet<String>) {
        self.costs.retain(|pod, _| present.contains(pod));
        for (pod, cost) in costs {
            match cost {
                0 => drop(self.costs.remove(pod)),
                cost => drop(self.costs.insert(pod.clone(), *cost)),
            }
        }
    }

    /// Whether the load asks for no pod.
    pub fn is_idle(&self) -> bool {
        self.decision.is_none_or(|decision| decision.pods == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
    }

    fn load(concurrency: f64) -> RevisionLoad {
        RevisionLoad { concurrency, requests: concurrency * 10.0, ..RevisionLoad::default() }
    }

    fn pods(decider: &Decider) -> Option<u32> {
        decider.decision().map(|it| it.pods)
    }

    #[test]
    fn the_first_load_is_decided_at_once_and_the_next_waits_for_its_turn() {
        let mut decider = Decider::new(Policy::default(), 0, at(0));
        assert!(decider.record("activator", &load(1.0), at(5)));
        assert!(decider.decide(at(5)));
        assert_eq!(pods(&decider), Some(1));
        assert!(!decider.record("activator", &load(200.0), at(900)));
    }

    #[test]
    fn silence_is_no_load_only_after_a_while() {
        let mut decider = Decider::new(Policy::default(), 3, at(0));
        for second in (0..60).step_by(2) {
            assert!(!decider.decide(at(second * 1000)), "a report may still come");
        }
        assert_eq!(pods(&decider), None);
        assert!(decider.decide(at(60_000)));
        assert_eq!(pods(&decider), Some(3), "three pods were found: they stay for a window");
        assert!(decider.decide(at(62_000)));
        assert_eq!(pods(&decider), Some(1));

        let always = Policy { burst_capacity: None, ..Policy::default() };
        let mut decider = Decider::new(always, 1, at(0));
        assert!(!decider.decide(at(4000)));
        assert!(decider.decide(at(6000)), "the activator sees every request");
        assert_eq!(pods(&decider), Some(0));

        let mut decider = Decider::new(Policy::default(), 1, at(0));
        decider.record("activator", &load(0.0), at(1000));
        assert!(decider.decide(at(2000)), "somebody has said that there is none");
        assert_eq!(pods(&decider), Some(0));
    }

    #[test]
    fn load_that_ends_leaves_the_windows() {
        let mut decider = Decider::new(Policy::default(), 1, at(0));
        for second in 0..60 {
            decider.record("activator", &load(140.0), at(second * 1000 + 500));
        }
        decider.decide(at(60_000));
        assert_eq!(pods(&decider), Some(2));
        // Two pods' load on one pod is panic, which lasts a window after the load has gone.
        for second in (60..132).step_by(2) {
            decider.decide(at(second * 1000));
            assert_eq!(pods(&decider), Some(if second < 124 { 2 } else { 0 }), "at {second}");
        }
        assert!(decider.is_idle());
    }

    #[test]
    fn steady_reports_are_not_diluted_by_the_tick() {
        let mut decider = Decider::new(Policy::default(), 2, at(0));
        for second in 0..120 {
            decider.record("activator", &load(140.0), at(second * 1000 + 900));
            decider.decide(at(second * 1000 + 1100));
            let observed = decider.decision().unwrap().reason.observed;
            assert_eq!((observed.stable, observed.panic), (140.0, 140.0), "at {second}");
        }
    }

    #[test]
    fn counts_what_the_annotation_names_and_nothing_twice() {
        let policy = Policy { metric: Metric::Rate, target: 70.0, ..Policy::default() };
        let mut decider = Decider::new(policy, 1, at(0));
        let seen = RevisionLoad { requests: 300.0, proxied_requests: 100.0, ..load(1.0) };
        decider.record("activator", &seen, at(0));
        decider.decide(at(0));
        assert_eq!(decider.decision().unwrap().reason.observed.stable, 200.0);
    }

    #[test]
    fn another_window_keeps_the_load() {
        let mut decider = Decider::new(Policy::default(), 1, at(0));
        decider.record("activator", &load(70.0), at(0));
        let policy = Policy { stable_window: Duration::from_secs(30), ..Policy::default() };
        decider.update(policy, 2);
        decider.decide(at(0));
        let observed = decider.decision().unwrap().reason.observed;
        assert_eq!((observed.stable, observed.ready_pods), (70.0, 2));
    }

    #[test]
    fn knows_which_pods_are_busy() {
        let mut decider = Decider::new(Policy::default(), 2, at(0));
        let busy = |pods: &[(&str, u32)]| RevisionLoad {
            busy_pods: pods
                .iter()
                .map(|(pod, in_flight)| PodLoad { pod: pod.to_string(), in_flight: *in_flight })
                .collect(),
            ..load(1.0)
        };
        decider.record("one", &busy(&[("a", 2), ("b", 1)]), at(0));
        decider.record("two", &busy(&[("a", 3)]), at(0));
        assert_eq!(decider.busy_pods(), [("a".to_owned(), 5), ("b".to_owned(), 1)].into());
        let present: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let costs = decider.changed_costs(&present);
        assert_eq!(costs, [("a".to_owned(), 5), ("b".to_owned(), 1)]);
        decider.wrote_costs(&costs, &present);
        assert_eq!(decider.changed_costs(&present), []);
        decider.record("one", &busy(&[]), at(1000));
        assert_eq!(decider.busy_pods(), [("a".to_owned(), 3)].into());
        let costs = decider.changed_costs(&present);
        assert_eq!(costs, [("a".to_owned(), 3), ("b".to_owned(), 0)]);
        assert_eq!(decider.changed_costs(&["a".to_owned()].into()), [("a".to_owned(), 3)]);
    }
}
