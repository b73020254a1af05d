//! How fast and how far a scale may change: stabilization windows, policies, bounds.
//!
//! Pure: what was recommended and done before is in [`Memory`].
//! Source: kubernetes `pkg/controller/podautoscaler/horizontal.go`.

use api::quantity::Amount;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// How long a smaller scale must have been wanted. Upstream's default.
const STABILIZATION_S: i32 = 300;
/// How far the ratio of use to target may be from 1 without a change. Upstream's default.
const TOLERANCE: f64 = 0.1;
/// Growth in one step without rules: as a factor, and at least to that many.
const GROWTH: i32 = 2;
const GROWTH_LEAST: i32 = 4;
/// The longest window and period that the API takes: what is older is forgotten.
const LONGEST_S: i64 = 3600;
/// Recommendations and changes that are kept: a quarter of a minute apart for the longest window, twice over.
const KEPT: usize = 512;

/// Fewest and most replicas.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub least: i32,
    pub most: i32,
}

/// How far a ratio may be from 1.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

/// What was recommended and done before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    recommended: Vec<(Timestamp, i32)>,
    /// By how much the scale changed: more when positive.
    changes: Vec<(Timestamp, i32)>,
}

/// What is left of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limited {
    pub replicas: i32,
    /// Reason and message where earlier recommendations hold it back.
    pub stabilized: Option<(&'static str, &'static str)>,
    /// Whether a limit applies, with reason and message.
    pub limited: (bool, &'static str, &'static str),
}

const LOWER: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const HIGHER: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: (bool, &str, &str) =
    (false, "DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (bool, &str, &str) =
    (true, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (bool, &str, &str) =
    (true, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_FAST: (bool, &str, &str) = (
    true,
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const TOO_FAST_DOWN: (bool, &str, &str) = (
    true,
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);

/// The tolerances of an autoscaler.
pub fn tolerance(behavior: Option<&HorizontalPodAutoscalerBehavior>) -> Tolerance {
    let of = |rules: Option<&HPAScalingRules>| {
        let text = rules.and_then(|it| it.tolerance.as_ref());
        let amount = text.and_then(|it| Amount::parse(&it.0).ok());
        amount.map_or(TOLERANCE, |it| it.milli() as f64 / 1000.0)
    };
    Tolerance {
        up: of(behavior.and_then(|it| it.scale_up.as_ref())),
        down: of(behavior.and_then(|it| it.scale_down.as_ref())),
    }
}

impl Memory {
    /// The scale that was found first counts as recommended.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// Brings a recommendation within what earlier ones, policies and bounds allow, and remembers it.
    pub fn limit(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        current: i32,
        wanted: i32,
        bounds: Bounds,
        now: Timestamp,
    ) -> Limited {
        let limited = match behavior {
            None => self.limit_plainly(current, wanted, bounds, now),
            Some(behavior) => self.limit_by(behavior, current, wanted, bounds, now),
        };
        keep(&mut self.recommended, (now, wanted));
        limited
    }

    /// Remembers that the scale was changed.
    pub fn rescaled(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        from: i32,
        to: i32,
        now: Timestamp,
    ) {
        // Without rules nobody reads it.
        if behavior.is_some() {
            keep(&mut self.changes, (now, to - from));
        }
    }

    fn limit_plainly(&self, current: i32, wanted: i32, bounds: Bounds, now: Timestamp) -> Limited {
        let recent = within(&self.recommended, STABILIZATION_S, now);
        let stable = recent.fold(wanted, i32::max);
        let stabilized = (stable != wanted).then_some(HIGHER);
        let fastest = current.saturating_mul(GROWTH).max(GROWTH_LEAST);
        let (most, limit) =
            if bounds.most > fastest { (fastest, TOO_FAST) } else { (bounds.most, TOO_MANY) };
        let (replicas, limited) = if stable < bounds.least {
            (bounds.least, TOO_FEW)
        } else if stable > most {
            (most, limit)
        } else {
            (stable, WITHIN)
        };
        Limited { replicas, stabilized, limited }
    }

    fn limit_by(
        &self,
        behavior: &HorizontalPodAutoscalerBehavior,
        current: i32,
        wanted: i32,
        bounds: Bounds,
        now: Timestamp,
    ) -> Limited {
        let empty = HPAScalingRules::default();
        let up = behavior.scale_up.as_ref().unwrap_or(&empty);
        let down = behavior.scale_down.as_ref().unwrap_or(&empty);
        let lowest = within(&self.recommended, up.stabilization_window_seconds.unwrap_or(0), now)
            .fold(wanted, i32::min);
        let window = down.stabilization_window_seconds.unwrap_or(STABILIZATION_S);
        let highest = within(&self.recommended, window, now).fold(wanted, i32::max);
        let stable = current.max(lowest).min(highest);
        let why = if wanted >= current { LOWER } else { HIGHER };
        let stabilized = (stable != wanted).then_some(why);
        let (replicas, limited) = if stable > current {
            let fastest = self.fastest(up, current, now).max(current);
            let (most, limit) =
                if bounds.most > fastest { (fastest, TOO_FAST) } else { (bounds.most, TOO_MANY) };
            if stable > most { (most, limit) } else { (stable, WITHIN) }
        } else if stable < current {
            let fastest = self.fastest_down(down, current, now).min(current);
            let (least, limit) = if bounds.least < fastest {
                (fastest, TOO_FAST_DOWN)
            } else {
                (bounds.least, TOO_FEW)
            };
            if stable < least { (least, limit) } else { (stable, WITHIN) }
        } else {
            (stable, WITHIN)
        };
        Limited { replicas, stabilized, limited }
    }

    /// The most replicas that the policies for growth allow now.
    fn fastest(&self, rules: &HPAScalingRules, current: i32, now: Timestamp) -> i32 {
        let proposed = rules.policies.iter().flatten().map(|policy| {
            let began = self.at_begin(policy.period_seconds, current, now);
            match &*policy.type_ {
                "Pods" => began.saturating_add(policy.value),
                // Rounded up: a growth of less than one pod would never come.
                _ => (f64::from(began) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => proposed.min().unwrap_or(i32::MAX),
            _ => proposed.max().unwrap_or(i32::MIN),
        }
    }

    /// The fewest replicas that the policies for shrinking allow now.
    fn fastest_down(&self, rules: &HPAScalingRules, current: i32, now: Timestamp) -> i32 {
        let proposed = rules.policies.iter().flatten().map(|policy| {
            let began = self.at_begin(policy.period_seconds, current, now);
            match &*policy.type_ {
                "Pods" => began.saturating_sub(policy.value),
                _ => (f64::from(began) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            // The smallest change leaves the most.
            Some("Min") => proposed.max().unwrap_or(i32::MIN),
            _ => proposed.min().unwrap_or(i32::MAX),
        }
    }

    /// Replicas at the beginning of a period that ends now.
    fn at_begin(&self, period_s: i32, current: i32, now: Timestamp) -> i32 {
        current - within(&self.changes, period_s, now).sum::<i32>()
    }
}

/// The values of the last seconds.
fn within(
    all: &[(Timestamp, i32)],
    seconds: i32,
    now: Timestamp,
) -> impl Iterator<Item = i32> + '_ {
    let from = now.saturating_sub(SignedDuration::from_secs(seconds.into()));
    let from = from.unwrap_or(Timestamp::MIN);
    all.iter().filter(move |(at, _)| *at > from).map(|(_, value)| *value)
}

fn keep(all: &mut Vec<(Timestamp, i32)>, (now, value): (Timestamp, i32)) {
    let from = now.saturating_sub(SignedDuration::from_secs(LONGEST_S));
    let from = from.unwrap_or(Timestamp::MIN);
    all.retain(|(at, _)| *at > from);
    if all.len() >= KEPT {
        all.remove(0);
    }
    all.push((now, value));
}
