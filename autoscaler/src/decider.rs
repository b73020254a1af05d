//! The load of one revision and the decisions that follow from it.
//!
//! Pure: the caller says when. Only revisions with pods or load have a decider.

use std::{mem, time::Duration};

use api::load::RevisionLoad;
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
    /// Since when requests go through the activator.
    pub proxied_since: Option<Timestamp>,
    /// Whether a request was seen to reach the activator since the revision became inactive.
    pub path_proven: bool,
    /// Whether somebody is trying to see one.
    pub proving: bool,
}

/// How late a report may be: silence counts only from before it. Reports come each second.
const LATENESS: Duration = Duration::from_secs(2);

impl Decider {
    /// A decider for a revision found with `ready_pods`, of whose load nothing is known.
    pub fn new(policy: Policy, ready_pods: u32, now: Timestamp) -> Decider {
        Decider {
            stable: Window::new(policy.aggregation, policy.stable_window),
            panic: Window::new(policy.aggregation, policy.panic_window),
            state: decide::State::found(ready_pods, now),
            decision: None,
            ready_pods,
            // Reporters speak each second, so a panic window without a word is silence.
            silent_from: now + policy.panic_window,
            proxied_since: None,
            path_proven: false,
            proving: false,
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
    pub fn record(&mut self, load: &RevisionLoad, now: Timestamp) -> bool {
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
        before.is_none_or(|before| {
            let has_room = |it: Decision| it.excess_burst_capacity >= 0;
            before.pods != decision.pods || has_room(before) != has_room(decision)
        })
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
        assert!(decider.record(&load(1.0), at(5)));
        assert!(decider.decide(at(5)));
        assert_eq!(pods(&decider), Some(1));
        assert!(!decider.record(&load(200.0), at(900)));
    }

    #[test]
    fn silence_is_no_load_only_after_a_while() {
        let mut decider = Decider::new(Policy::default(), 3, at(0));
        for second in [0, 2, 4] {
            assert!(!decider.decide(at(second * 1000)));
        }
        assert_eq!(pods(&decider), None, "a report may still come");
        assert!(decider.decide(at(6000)));
        assert_eq!(pods(&decider), Some(3), "three pods were found: they stay for a window");
        assert!(decider.decide(at(61_000)));
        assert_eq!(pods(&decider), Some(1));
    }

    #[test]
    fn load_that_ends_leaves_the_windows() {
        let mut decider = Decider::new(Policy::default(), 1, at(0));
        for second in 0..60 {
            decider.record(&load(140.0), at(second * 1000 + 500));
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
            decider.record(&load(140.0), at(second * 1000 + 900));
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
        decider.record(&seen, at(0));
        decider.decide(at(0));
        assert_eq!(decider.decision().unwrap().reason.observed.stable, 200.0);
    }

    #[test]
    fn another_window_keeps_the_load() {
        let mut decider = Decider::new(Policy::default(), 1, at(0));
        decider.record(&load(70.0), at(0));
        let policy = Policy { stable_window: Duration::from_secs(30), ..Policy::default() };
        decider.update(policy, 2);
        decider.decide(at(0));
        let observed = decider.decision().unwrap().reason.observed;
        assert_eq!((observed.stable, observed.ready_pods), (70.0, 2));
    }
}
