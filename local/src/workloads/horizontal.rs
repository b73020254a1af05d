//! HorizontalPodAutoscaler → the scale of its target, from what the target's pods use.
//!
//! Pure: `decide` sees the target, its pods and what they use, and says how many there should be and why; `plan` turns
//! that into writes.
//! Source: kubernetes `pkg/controller/podautoscaler/horizontal.go`.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::autoscaling::v2::{
        HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};
use serde_json::json;

use self::{
    limits::{Bounds, Limited, Memory},
    measured::measure,
};
use super::{
    objects::{Horizontal, Key, Pod, later},
    resources::{Kind, Note, Part, Plan, Write, status_patch},
};

pub mod limits;
pub mod measured;

/// The time between two looks at what pods use. Upstream's default.
pub const PERIOD_S: i64 = 15;

/// What is scaled.
pub struct Target<'a> {
    pub kind: Kind,
    pub replicas: i32,
    pub selector: &'a LabelSelector,
}

/// What one pod uses, as the API tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub pod: String,
    pub at: Timestamp,
    pub window: Duration,
    /// Thousandths of each resource, by container.
    pub containers: BTreeMap<String, BTreeMap<String, i64>>,
}

/// What there is to decide on.
pub struct Seen<'a> {
    /// What is scaled, or why it cannot be.
    pub target: Result<Target<'a>, String>,
    /// The pods that the target's selector chooses.
    pub pods: Vec<&'a Pod>,
    /// What the pods of the namespace use, or why nobody knows.
    pub figures: Result<Vec<Figures>, String>,
}

/// What is remembered of one autoscaler.
#[derive(Debug)]
pub struct Scaler {
    pub memory: Memory,
    pub decision: Decision,
    /// When to look again.
    pub next: Timestamp,
}

/// What was found at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    at: Timestamp,
    /// Replicas of the target; none when they could not be read.
    current: Option<i32>,
    /// Replicas that there should be, where there should be others.
    rescale: Option<i32>,
    /// None leaves what the status says.
    desired: Option<i32>,
    metrics: Vec<MetricStatus>,
    conditions: Vec<Condition>,
    notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    type_: &'static str,
    is_true: bool,
    reason: &'static str,
    message: String,
}

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

impl Decision {
    fn set(&mut self, type_: &'static str, is_true: bool, reason: &'static str, message: String) {
        self.conditions.retain(|it| it.type_ != type_);
        self.conditions.push(Condition { type_, is_true, reason, message });
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.notes.push(Note { is_warning: true, reason, message });
    }
}

/// Decides how many pods the target of `it` should have.
pub fn decide(
    it: &Horizontal,
    seen: &Seen,
    mut memory: Memory,
    now: Timestamp,
) -> (Memory, Decision) {
    let mut decision = Decision { at: now, ..Decision::default() };
    let target = match &seen.target {
        Ok(target) => target,
        Err(error) => {
            let text = "the HPA controller was unable to get the target's current scale";
            decision.set(ABLE, false, "FailedGetScale", format!("{text}: {error}"));
            decision.warn("FailedGetScale", error.clone());
            return (memory, decision);
        }
    };
    let text = "the HPA controller was able to get the target's current scale".to_owned();
    decision.set(ABLE, true, "SucceededGetScale", text);
    let current = target.replicas;
    decision.current = Some(current);
    memory.begin(current, now);
    let bounds = Bounds { least: it.spec.min_replicas.unwrap_or(1), most: it.spec.max_replicas };
    let (desired, reason) = if current == 0 && bounds.least != 0 {
        let text = "scaling is disabled since the replica count of the target is zero".to_owned();
        decision.set(ACTIVE, false, "ScalingDisabled", text);
        (0, String::new())
    } else if current > bounds.most {
        (bounds.most, "Current number of replicas above Spec.MaxReplicas".to_owned())
    } else if current < bounds.least {
        (bounds.least, "Current number of replicas below Spec.MinReplicas".to_owned())
    } else {
        let Some((proposed, metric)) = by_metrics(it, target, seen, &mut decision, now) else {
            return (memory, decision);
        };
        let limited = memory.limit(it.spec.behavior.as_ref(), current, proposed, bounds, now);
        let Limited { replicas, stabilized, limited } = limited;
        let (why, text) =
            stabilized.unwrap_or(("ReadyForNewScale", "recommended size matches current size"));
        decision.set(ABLE, true, why, text.to_owned());
        let (is_limited, why, text) = limited;
        decision.set(LIMITED, is_limited, why, text.to_owned());
        let reason = if proposed > current {
            format!("{metric} above target")
        } else {
            "All metrics below target".to_owned()
        };
        (replicas, reason)
    };
    decision.desired = Some(desired);
    if desired != current {
        decision.rescale = Some(desired);
        let text = "the HPA controller was able to update the target scale to";
        decision.set(ABLE, true, "SucceededRescale", format!("{text} {desired}"));
        let text = format!("New size: {desired}; reason: {reason}");
        decision.notes.push(Note::normal("SuccessfulRescale", text));
        memory.rescaled(it.spec.behavior.as_ref(), current, desired, now);
    }
    (memory, decision)
}

/// The largest number of pods that a metric asks for, and that metric's name. None when too little is known.
fn by_metrics(
    it: &Horizontal,
    target: &Target,
    seen: &Seen,
    decision: &mut Decision,
    now: Timestamp,
) -> Option<(i32, String)> {
    let metrics = it.spec.metrics.as_deref().unwrap_or_default();
    let tolerance = limits::tolerance(it.spec.behavior.as_ref());
    let mut best: Option<(i32, String)> = None;
    let mut failures = Vec::new();
    for metric in metrics {
        let namespace = &it.meta.key.namespace;
        let found = measure(metric, namespace, target.replicas, seen, tolerance, now);
        match found {
            Ok(found) => {
                decision.metrics.push(found.status);
                if best.as_ref().is_none_or(|(replicas, _)| found.replicas > *replicas) {
                    best = Some((found.replicas, found.name));
                }
            }
            Err(failure) => {
                decision.metrics.push(MetricStatus::default());
                decision.warn(failure.reason, failure.text.clone());
                failures.push(failure);
            }
        }
    }
    let first = failures.first();
    let all = failures.len() >= metrics.len();
    let would_shrink = best.as_ref().is_none_or(|(replicas, _)| *replicas < target.replicas);
    if let Some(first) = first.filter(|_| all || would_shrink) {
        let text = format!("the HPA was unable to compute the replica count: {}", first.text);
        decision.set(ACTIVE, false, first.reason, text);
        decision.warn(
            "FailedComputeMetricsReplicas",
            format!(
                "invalid metrics ({} invalid out of {}), first error is: {}: {}",
                failures.len(),
                metrics.len(),
                first.about,
                first.text
            ),
        );
        return None;
    }
    let (replicas, name) = best?;
    let text = format!("the HPA was able to successfully calculate a replica count from {name}");
    decision.set(ACTIVE, true, "ValidMetricFound", text);
    Some((replicas, name))
}

/// What to write so that the target has the replicas that were decided on, and the status says why. `target` is as it
/// is now; `failure` is what the last attempt failed with.
pub fn plan(
    it: &Horizontal,
    scaler: &Scaler,
    target: Option<(Kind, Key, i32)>,
    failure: Option<&str>,
) -> Plan {
    let mut plan = Plan::default();
    plan.again_at(scaler.next);
    let mut decision = scaler.decision.clone();
    let mut last_scale = it.status.last_scale_time.clone();
    if let Some(wanted) = decision.rescale {
        // Who else changed the scale meanwhile wins until the next look.
        if let Some((kind, key, replicas)) = target
            && Some(replicas) == decision.current
        {
            plan.writes.push(Write::Merge {
                resource: kind.resource(),
                key,
                part: Part::Main,
                body: json!({"spec": {"replicas": wanted}}),
            });
            if let Some(error) = failure {
                let text = "the HPA controller was unable to update the target scale";
                decision.set(ABLE, false, "FailedUpdateScale", format!("{text}: {error}"));
                decision.desired = decision.current;
            }
        }
        last_scale = Some(Time(second(decision.at)));
    }
    let mut conditions = it.status.conditions.clone().unwrap_or_default();
    for condition in &decision.conditions {
        set(&mut conditions, condition, decision.at);
    }
    let status = HorizontalPodAutoscalerStatus {
        conditions: Some(conditions),
        current_metrics: Some(decision.metrics).filter(|it| !it.is_empty()),
        current_replicas: decision.current.or(it.status.current_replicas),
        desired_replicas: decision.desired.unwrap_or(it.status.desired_replicas),
        last_scale_time: last_scale,
        observed_generation: it.status.observed_generation,
    };
    if status != it.status {
        plan.status = Some(Write::Merge {
            resource: Kind::Horizontal.resource(),
            key: it.meta.key.clone(),
            part: Part::Status,
            body: status_patch(&status, &["currentMetrics"]),
        });
    }
    // What is written is news; what is found again is not.
    if !plan.writes.is_empty() || plan.status.is_some() {
        plan.notes = decision.notes;
    }
    plan
}

/// When to look at the pods after a look at `now`.
pub fn next(now: Timestamp) -> Timestamp {
    later(now, PERIOD_S)
}

/// Whole seconds, as Kubernetes keeps them.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn set(all: &mut Vec<HorizontalPodAutoscalerCondition>, wanted: &Condition, at: Timestamp) {
    let status = if wanted.is_true { "True" } else { "False" };
    let known = all.iter_mut().find(|it| it.type_ == wanted.type_);
    let condition = match known {
        Some(it) => it,
        None => {
            all.push(HorizontalPodAutoscalerCondition {
                type_: wanted.type_.to_owned(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            all.last_mut().expect("it was just added")
        }
    };
    if condition.status != status {
        condition.status = status.to_owned();
        condition.last_transition_time = Some(Time(second(at)));
    }
    condition.reason = Some(wanted.reason.to_owned());
    condition.message = Some(wanted.message.clone());
}

#[cfg(test)]
mod tests;
