//! Keeps the number of pods within its bounds, and decides when the last pod may go.
//!
//! Pure: the caller reads the status, asks whether the activator is in the path, applies the number.
//! Source: knative/serving `pkg/reconciler/autoscaling/kpa/scaler.go`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// Where a revision stands, as the status of its PodAutoscaler says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// What the condition `Active` says.
    pub activity: Activity,
    /// Since when it says so.
    pub since: Timestamp,
    /// Whether the initial scale was reached once.
    pub initialized: bool,
    /// Since when requests go through the activator; none while they go straight to the pods.
    pub proxied_since: Option<Timestamp>,
    /// Whether a request to the revision is known to reach the activator.
    pub path_proven: bool,
}

/// The condition `Active` of a PodAutoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// True: enough pods are ready.
    Active,
    /// Unknown: pods are wanted and not ready yet.
    Activating,
    /// False: there is no traffic.
    Inactive,
}

/// What to do with the scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Pods wanted, after all bounds; none while nothing is known.
    pub pods: Option<u32>,
    /// Whether the scale target gets this number now.
    pub apply: bool,
    /// When to decide again, if nothing else happens.
    pub again: Option<Duration>,
    /// What changed the number or keeps it from being applied.
    pub held: Option<Held>,
}

/// What keeps a scale from what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// `min-scale`.
    MinScale,
    /// `max-scale`.
    MaxScale,
    /// A new revision first has to reach its `initial-scale`.
    InitialScale,
    /// `enable-scale-to-zero` is off.
    ZeroDisabled,
    /// The revision is still starting, and has time to.
    Starting,
    /// The revision was active for less than its stable window.
    StableWindow,
    /// The last pod goes once the activator has taken over.
    Deactivating,
    /// The data path is not known to reach the activator.
    PathNotProven,
    /// Requests have gone through the activator for less than `scale-to-zero-grace-period`.
    Grace,
    /// The last pod stays for `scale-to-zero-pod-retention-period`.
    Retention,
}

/// How soon to look again after a revision was marked inactive, or its path was not proven.
const SOON: Duration = Duration::from_secs(1);

/// What to do when `wanted` pods were decided; none when nothing is known of the load.
pub fn scale(wanted: Option<u32>, standing: &Standing, policy: &Policy, now: Timestamp) -> Scale {
    if wanted.is_none() && standing.activity != Activity::Activating {
        return Scale { pods: None, apply: false, again: None, held: None };
    }
    let wanted = wanted.unwrap_or(0);
    let (least, least_held) = least(standing, policy);
    let most = policy.max_scale.unwrap_or(u32::MAX);
    let (pods, held) = if wanted < least {
        (least, Some(least_held))
    } else if wanted > most {
        (most, Some(Held::MaxScale))
    } else {
        (wanted, None)
    };
    if pods > 0 {
        return Scale { pods: Some(pods), apply: true, again: None, held };
    }
    if !policy.to_zero {
        return Scale { pods: Some(1), apply: true, again: None, held: Some(Held::ZeroDisabled) };
    }
    to_zero(standing, policy, now)
}

/// Fewest pods now, and what says so.
fn least(standing: &Standing, policy: &Policy) -> (u32, Held) {
    let initial = policy.initial_scale;
    if initial > 1 && !standing.initialized && policy.reachable && initial > policy.min_scale {
        (initial, Held::InitialScale)
    } else {
        (policy.min_scale, Held::MinScale)
    }
}

fn to_zero(standing: &Standing, policy: &Policy, now: Timestamp) -> Scale {
    let zero = |apply, again, held| Scale { pods: Some(0), apply, again, held };
    let lasted =
        |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let age = lasted(standing.since);
    match standing.activity {
        Activity::Activating if age > policy.activation_timeout => zero(true, None, None),
        Activity::Activating => Scale {
            pods: None,
            apply: false,
            again: Some(policy.activation_timeout - age + SOON),
            held: Some(Held::Starting),
        },
        Activity::Active if age >= policy.stable_window => {
            zero(false, Some(SOON), Some(Held::Deactivating))
        }
        Activity::Active => Scale {
            pods: Some(1),
            apply: true,
            again: Some(policy.stable_window - age),
            held: Some(Held::StableWindow),
        },
        Activity::Inactive => {
            // An activator that is always in the path needs no proof.
            if policy.burst_capacity.is_some() && !standing.path_proven {
                return zero(false, Some(SOON), Some(Held::PathNotProven));
            }
            if age >= policy.grace.max(policy.retention) {
                return zero(true, None, None);
            }
            if age < policy.retention {
                return zero(false, Some(policy.retention - age), Some(Held::Retention));
            }
            let proxied = standing.proxied_since.map(lasted).unwrap_or_default();
            if proxied >= policy.grace {
                return zero(true, None, None);
            }
            zero(false, Some(policy.grace - proxied), Some(Held::Grace))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn standing(activity: Activity) -> Standing {
        Standing {
            activity,
            since: at(0),
            initialized: true,
            proxied_since: Some(at(0)),
            path_proven: true,
        }
    }

    /// `(pods, apply, again, held)` for what is wanted `second` seconds after the activity changed.
    #[track_caller]
    fn check(
        wanted: Option<u32>,
        standing: Standing,
        policy: &Policy,
        second: i64,
        expected: (Option<u32>, bool, Option<Duration>, Option<Held>),
    ) {
        let found = scale(wanted, &standing, policy, at(second));
        assert_eq!((found.pods, found.apply, found.again, found.held), expected);
    }

    #[test]
    fn stays_within_the_bounds() {
        let active = standing(Activity::Active);
        let policy = &Policy { min_scale: 2, max_scale: Some(5), ..Policy::default() };
        check(Some(3), active, policy, 0, (Some(3), true, None, None));
        check(Some(1), active, policy, 0, (Some(2), true, None, Some(Held::MinScale)));
        check(Some(0), active, policy, 0, (Some(2), true, None, Some(Held::MinScale)));
        check(Some(9), active, policy, 0, (Some(5), true, None, Some(Held::MaxScale)));
        check(None, active, policy, 0, (None, false, None, None));
        check(None, standing(Activity::Inactive), policy, 0, (None, false, None, None));
        let starting = standing(Activity::Activating);
        check(None, starting, policy, 0, (Some(2), true, None, Some(Held::MinScale)));
    }

    #[test]
    fn a_new_revision_reaches_its_initial_scale_first() {
        let new = Standing { initialized: false, ..standing(Activity::Activating) };
        let policy = &Policy { initial_scale: 3, ..Policy::default() };
        check(Some(1), new, policy, 0, (Some(3), true, None, Some(Held::InitialScale)));
        check(Some(4), new, policy, 0, (Some(4), true, None, None));
        check(Some(1), standing(Activity::Active), policy, 0, (Some(1), true, None, None));
        let unreachable = &Policy { reachable: false, ..policy.clone() };
        check(Some(1), new, unreachable, 0, (Some(1), true, None, None));
        let larger_min = &Policy { min_scale: 4, ..policy.clone() };
        check(Some(1), new, larger_min, 0, (Some(4), true, None, Some(Held::MinScale)));
    }

    #[test]
    fn one_pod_stays_where_zero_is_not_allowed() {
        let policy = &Policy { to_zero: false, ..Policy::default() };
        for activity in [Activity::Active, Activity::Activating, Activity::Inactive] {
            let expected = (Some(1), true, None, Some(Held::ZeroDisabled));
            check(Some(0), standing(activity), policy, 1000, expected);
        }
    }

    #[test]
    fn a_revision_that_does_not_start_is_given_up() {
        let starting = standing(Activity::Activating);
        let policy = &Policy::default(); // 600 s and 30 s
        check(Some(0), starting, policy, 30, (None, false, secs(601), Some(Held::Starting)));
        check(None, starting, policy, 630, (None, false, secs(1), Some(Held::Starting)));
        check(None, starting, policy, 631, (Some(0), true, None, None));
    }

    #[test]
    fn an_active_revision_is_first_marked_inactive() {
        let active = standing(Activity::Active);
        let policy = &Policy::default(); // 60 s
        check(Some(0), active, policy, 20, (Some(1), true, secs(40), Some(Held::StableWindow)));
        check(Some(0), active, policy, 60, (Some(0), false, secs(1), Some(Held::Deactivating)));
    }

    #[test]
    fn the_last_pod_goes_when_the_activator_has_taken_over() {
        let policy = &Policy::default(); // grace 30 s, no retention
        let inactive = standing(Activity::Inactive);
        // Requests have gone through the activator since the revision became inactive.
        check(Some(0), inactive, policy, 10, (Some(0), false, secs(20), Some(Held::Grace)));
        check(Some(0), inactive, policy, 30, (Some(0), true, None, None));
        // They have for long: nothing to wait for.
        let proxied = Standing { proxied_since: Some(at(-100)), ..inactive };
        check(Some(0), proxied, policy, 0, (Some(0), true, None, None));
        // They do not yet.
        let served = Standing { proxied_since: None, ..inactive };
        check(Some(0), served, policy, 5, (Some(0), false, secs(30), Some(Held::Grace)));
        // Nobody has seen one get there.
        let unproven = Standing { path_proven: false, ..inactive };
        check(Some(0), unproven, policy, 90, (Some(0), false, secs(1), Some(Held::PathNotProven)));
        let always = &Policy { burst_capacity: None, ..Policy::default() };
        check(Some(0), unproven, always, 30, (Some(0), true, None, None));
    }

    #[test]
    fn the_last_pod_stays_for_its_retention_time() {
        let policy = &Policy { retention: Duration::from_secs(50), ..Policy::default() };
        let proxied = Standing { proxied_since: Some(at(-100)), ..standing(Activity::Inactive) };
        check(Some(0), proxied, policy, 20, (Some(0), false, secs(30), Some(Held::Retention)));
        check(Some(0), proxied, policy, 50, (Some(0), true, None, None));
    }
}
