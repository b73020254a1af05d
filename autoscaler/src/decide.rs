//! Turns the observed load of a revision into the number of pods that it should have.
//!
//! Pure: the caller reads the clock, the windows and the pods, and applies the answer.
//! Source: knative/serving `pkg/autoscaler/scaling/autoscaler.go`, `Scale`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{policy::Policy, window::Largest};

/// What was observed of one revision, at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// The scaled metric over all pods, averaged over the stable window (60 s by default).
    pub stable: f64,
    /// The same, averaged over the panic window (a tenth of the stable window by default).
    pub panic: f64,
    /// Pods that are ready now.
    pub ready_pods: u32,
}

/// What one decision leaves for the next.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// When the load last was over the panic threshold; none when it has calmed down.
    panic_since: Option<Timestamp>,
    /// The most pods wanted since the panic began: while it lasts there are never fewer.
    panic_pods: u32,
    /// What was wanted lately, when decisions to shrink are delayed.
    wanted: Option<Largest>,
}

/// The pods that a revision should have, before its bounds, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Pods wanted.
    pub pods: u32,
    /// Requests that the ready pods could take beyond the present load and the burst that the
    /// policy wants to be ready for; below 0 the activator stays in the path. -1 when it always does.
    pub excess_burst_capacity: i32,
    /// What led here.
    pub reason: Reason,
}

/// Why a decision is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The load that was seen.
    pub observed: Observation,
    /// Load that each pod should carry.
    pub target: f64,
    /// Pods that the stable window alone asks for.
    pub stable_pods: u32,
    /// Pods that the panic window alone asks for.
    pub panic_pods: u32,
    /// Whether the load is, or was within a stable window, over the panic threshold.
    pub panicking: bool,
    /// What changed the number that the windows ask for; the last change, when there are several.
    pub held: Option<Held>,
}

/// What can keep a decision from what the windows ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// One decision may not grow by more than `max-scale-up-rate`.
    ScaleUpRate,
    /// One decision may not shrink by more than `max-scale-down-rate`.
    ScaleDownRate,
    /// A revision that has any load gets at least `activation-scale` pods.
    ActivationScale,
    /// Nothing shrinks during a panic.
    Panic,
    /// A smaller number must have been wanted for `scale-down-delay`.
    ScaleDownDelay,
}

/// How often decisions are made while there is something to decide; a step of the delay, too.
pub const TICK: std::time::Duration = std::time::Duration::from_secs(2);

impl State {
    /// The state of a revision found with `ready_pods`, by an autoscaler without history.
    ///
    /// With more than one pod it begins in panic, so that nothing shrinks before a stable window has
    /// shown what the load is.
    pub fn found(ready_pods: u32, now: Timestamp) -> State {
        State { panic_since: (ready_pods > 1).then_some(now), panic_pods: ready_pods, wanted: None }
    }
}

/// The pods wanted for what was observed, and the state for the next decision.
pub fn decide(
    mut state: State,
    observed: Observation,
    policy: &Policy,
    now: Timestamp,
) -> (State, Decision) {
    let ready = f64::from(observed.ready_pods.max(1));
    // Rounding up is what lets one pod become two when the rate is below 2.
    let most = (policy.max_up_rate * ready).ceil();
    let least = if policy.reachable { (ready / policy.max_down_rate).floor() } else { 0.0 };

    let asked_stable = (observed.stable / policy.target).ceil();
    let asked_panic = (observed.panic / policy.target).ceil();
    let mut held = None;
    let mut pods = |asked: f64| {
        if asked > most {
            held = Some(Held::ScaleUpRate);
        } else if asked < least {
            held = Some(Held::ScaleDownRate);
        }
        let within = asked.max(least).min(most) as u32;
        if asked > 0.0 && within < policy.activation_scale {
            held = Some(Held::ActivationScale);
            return policy.activation_scale;
        }
        within
    };
    // The panic window's limits matter for the reason only when it decides; ask it first.
    let panic_pods = pods(asked_panic);
    let stable_pods = pods(asked_stable);

    if asked_panic / ready >= policy.panic_threshold {
        state.panic_since = Some(now);
    } else if state.panic_since.is_some_and(|since| {
        now.duration_since(since).as_secs_f64() > policy.stable_window.as_secs_f64()
    }) {
        state.panic_since = None;
        state.panic_pods = 0;
    }
    let panicking = state.panic_since.is_some();

    let mut wanted = stable_pods;
    if panicking {
        wanted = wanted.max(panic_pods);
        if wanted < state.panic_pods {
            held = Some(Held::Panic);
        }
        state.panic_pods = state.panic_pods.max(wanted);
        wanted = state.panic_pods;
    }

    match policy.scale_down_delay {
        Some(delay) if policy.reachable => {
            // Another delay begins anew: what was wanted lately is known for the old one only.
            let kept = state.wanted.take().filter(|it| it.covers(delay, TICK));
            let lately = state.wanted.insert(kept.unwrap_or_else(|| Largest::new(delay, TICK)));
            let largest = lately.record(now, wanted);
            if largest > wanted {
                held = Some(Held::ScaleDownDelay);
                wanted = largest;
            }
        }
        _ => state.wanted = None,
    }

    let asked_pods = if panicking { asked_stable.max(asked_panic) } else { asked_stable };
    let reason = Reason {
        observed,
        target: policy.target,
        stable_pods: asked_stable as u32,
        panic_pods: asked_panic as u32,
        panicking,
        held: held.filter(|_| f64::from(wanted) != asked_pods),
    };
    (
        state,
        Decision {
            pods: wanted,
            excess_burst_capacity: excess_burst_capacity(observed, policy),
            reason,
        },
    )
}

/// What the ready pods could take beyond the load of the panic window and the burst to be ready for.
fn excess_burst_capacity(observed: Observation, policy: &Policy) -> i32 {
    match policy.burst_capacity {
        None => -1,
        Some(0.0) => 0,
        Some(burst) => {
            let capacity = f64::from(observed.ready_pods) * policy.capacity;
            (capacity - burst - observed.panic).floor() as i32
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// Target 10 a pod, capacity 100, at most tenfold up and half down, panic at twice the capacity.
    fn policy() -> Policy {
        Policy {
            target: 10.0,
            capacity: 100.0,
            max_up_rate: 10.0,
            max_down_rate: 2.0,
            burst_capacity: Some(101.0),
            ..Policy::default()
        }
    }

    fn load(stable: f64, panic: f64, ready_pods: u32) -> Observation {
        Observation { stable, panic, ready_pods }
    }

    #[track_caller]
    fn check(observed: Observation, policy: &Policy, pods: u32, held: Option<Held>) {
        let (_, decision) = decide(State::default(), observed, policy, at(0));
        assert_eq!((decision.pods, decision.reason.held), (pods, held), "{observed:?}");
    }

    #[test]
    fn grows_and_shrinks_within_the_rates() {
        let policy = &policy();
        //    stable  panic  ready  pods  held by
        check(load(0.0, 0.0, 0), policy, 0, None); //            idle stays idle
        check(load(15.0, 15.0, 0), policy, 2, None);
        check(load(100.0, 100.0, 10), policy, 10, None);
        check(load(5000.0, 5000.0, 1), policy, 10, Some(Held::ScaleUpRate)); // tenfold at most
        check(load(0.0, 0.0, 10), policy, 5, Some(Held::ScaleDownRate)); // half at most
        check(load(0.0, 0.0, 1), policy, 0, None); //            one pod may go
        check(load(5.0, 50.0, 1), policy, 5, None); //           the panic window sees the burst first
        check(load(5.0, 15.0, 1), policy, 2, None); //           exactly the threshold is panic
        check(load(5.0, 15.0, 2), policy, 1, None); //           below the threshold it does not count
    }

    #[test]
    fn one_more_pod_is_always_allowed() {
        let policy = &Policy { target: 1.0, max_up_rate: 1.1, ..policy() };
        check(load(3.0, 0.0, 2), policy, 3, None);
    }

    #[test]
    fn an_unreachable_revision_may_shrink_at_once() {
        check(load(0.0, 0.0, 10), &Policy { reachable: false, ..policy() }, 0, None);
    }

    #[test]
    fn any_load_gets_the_activation_scale() {
        let policy = &Policy { activation_scale: 4, ..policy() };
        check(load(1.0, 1.0, 0), policy, 4, Some(Held::ActivationScale));
        check(load(0.0, 0.0, 1), policy, 0, None);
        check(load(60.0, 60.0, 5), policy, 6, None);
    }

    #[test]
    fn a_panic_lasts_a_stable_window_after_the_threshold_and_never_shrinks() {
        let policy = policy();
        let mut state = State::default();
        for (second, observed, pods, panicking, held) in [
            (0, load(5.0, 100.0, 1), 10, true, None),
            (2, load(10.0, 50.0, 10), 10, true, Some(Held::Panic)),
            (4, load(20.0, 220.0, 10), 22, true, None), // over the threshold again: the panic is renewed
            (60, load(20.0, 20.0, 22), 22, true, Some(Held::Panic)),
            (64, load(20.0, 20.0, 22), 22, true, Some(Held::Panic)), // not yet more than 60 s
            (66, load(20.0, 20.0, 22), 11, false, Some(Held::ScaleDownRate)),
        ] {
            let (next, decision) = decide(state, observed, &policy, at(second));
            assert_eq!(
                (decision.pods, decision.reason.panicking, decision.reason.held),
                (pods, panicking, held),
                "at {second}"
            );
            state = next;
        }
    }

    #[test]
    fn several_pods_found_at_start_stay_for_a_stable_window() {
        let policy = policy();
        let (state, decision) = decide(State::found(7, at(0)), load(0.0, 0.0, 7), &policy, at(2));
        assert_eq!((decision.pods, decision.reason.panicking), (7, true));
        let (_, decision) = decide(state, load(0.0, 0.0, 7), &policy, at(61));
        assert_eq!((decision.pods, decision.reason.panicking), (3, false));
        let (_, decision) = decide(State::found(1, at(0)), load(0.0, 0.0, 1), &policy, at(2));
        assert_eq!((decision.pods, decision.reason.panicking), (0, false));
    }

    #[test]
    fn shrinking_waits_for_the_delay() {
        let policy = Policy {
            scale_down_delay: Some(Duration::from_secs(6)),
            max_down_rate: 10.0,
            ..policy()
        };
        let mut state = State::default();
        for (second, stable, pods, held) in [
            (0, 30.0, 3, None),
            (2, 10.0, 3, Some(Held::ScaleDownDelay)),
            (4, 20.0, 3, Some(Held::ScaleDownDelay)),
            (6, 10.0, 2, Some(Held::ScaleDownDelay)),
            (10, 10.0, 1, None),
        ] {
            let (next, decision) = decide(state, load(stable, stable, 3), &policy, at(second));
            assert_eq!((decision.pods, decision.reason.held), (pods, held), "at {second}");
            state = next;
        }
    }

    #[test]
    fn another_delay_counts_at_once() {
        let delayed = |seconds| Policy {
            scale_down_delay: Some(Duration::from_secs(seconds)),
            max_down_rate: 10.0,
            ..policy()
        };
        let (state, _) = decide(State::default(), load(30.0, 30.0, 3), &delayed(60), at(0));
        let (state, decision) = decide(state, load(10.0, 10.0, 3), &delayed(4), at(2));
        assert_eq!(decision.pods, 1, "of the minute nothing is left");
        let (state, _) = decide(state, load(30.0, 30.0, 3), &delayed(4), at(4));
        let (state, decision) = decide(state, load(10.0, 10.0, 3), &delayed(4), at(6));
        assert_eq!((decision.pods, decision.reason.held), (3, Some(Held::ScaleDownDelay)));
        let (_, decision) = decide(state, load(10.0, 10.0, 3), &delayed(4), at(8));
        assert_eq!(decision.pods, 1);
    }

    #[test]
    fn an_unreachable_revision_does_not_wait_for_the_delay() {
        let delayed = Policy { scale_down_delay: Some(Duration::from_secs(60)), ..policy() };
        let (state, _) = decide(State::default(), load(30.0, 30.0, 3), &delayed, at(0));
        let gone = Policy { reachable: false, ..delayed };
        let (_, decision) = decide(state, load(0.0, 0.0, 3), &gone, at(2));
        assert_eq!(decision.pods, 0);
    }

    #[test]
    fn excess_burst_capacity_is_what_is_left_of_the_ready_pods() {
        for (burst_capacity, observed, expected) in [
            (Some(0.0), load(0.0, 5000.0, 1), 0), //       never in the path
            (None, load(0.0, 0.0, 100), -1),      //            always in the path
            (Some(200.0), load(0.0, 0.0, 0), -200),
            (Some(200.0), load(0.0, 0.0, 2), 0),
            (Some(200.0), load(0.0, 0.5, 2), -1), //       rounded down
            (Some(200.0), load(0.0, 50.0, 10), 750), //    the panic window's load counts
        ] {
            let policy = Policy { burst_capacity, ..policy() };
            let (_, decision) = decide(State::default(), observed, &policy, at(0));
            assert_eq!(decision.excess_burst_capacity, expected, "{burst_capacity:?} {observed:?}");
        }
    }
}
