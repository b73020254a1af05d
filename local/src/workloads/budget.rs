//! PodDisruptionBudget → its status: how many of its pods may go.
//!
//! Pure: `plan` sees a budget and the pods of its namespace.
//! Source: kubernetes `pkg/controller/disruption/disruption.go`.

use jiff::Timestamp;
use k8s_openapi::{
    api::policy::v1::PodDisruptionBudgetStatus,
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};

use super::{
    deployment::scaled,
    objects::{Budget, Pod},
    resources::{Kind, Part, Plan, Write, status_patch},
    selector,
};

/// What to write so that the status of `budget` counts its pods. `wanted` is how many pods the owners of those pods
/// want in all.
pub fn plan(budget: &Budget, pods: &[&Pod], wanted: i32, now: Timestamp) -> Plan {
    let is_mine = |pod: &&&Pod| {
        let selector = budget.selector.as_ref();
        pod.is_live() && selector.is_some_and(|it| selector::matches(it, &pod.meta.labels))
    };
    let mine: Vec<&&Pod> = pods.iter().filter(is_mine).collect();
    let count = mine.len() as i32;
    let (expected, desired) = match (&budget.min_available, &budget.max_unavailable) {
        (Some(IntOrString::Int(least)), _) => (count, *least),
        (Some(share), _) => (wanted, scaled(share, wanted, f64::ceil)),
        (None, Some(most)) => (wanted, (wanted - scaled(most, wanted, f64::ceil)).max(0)),
        (None, None) => (count, 0),
    };
    let healthy =
        mine.iter().filter(|pod| pod.is_ready && pod.meta.deleted.is_none()).count() as i32;
    let allowed = if count == 0 { 0 } else { (healthy - desired).max(0) };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        observed_generation: Some(budget.meta.generation),
        ..budget.status.clone()
    };
    let (state, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|it| it.type_ == "DisruptionAllowed");
    if known.is_none_or(|at| conditions[at].status != state || conditions[at].reason != reason) {
        if let Some(at) = known {
            conditions.remove(at);
        }
        conditions.push(Condition {
            type_: "DisruptionAllowed".into(),
            status: state.into(),
            reason: reason.into(),
            message: String::new(),
            observed_generation: Some(budget.meta.generation),
            last_transition_time: Time(now),
        });
    }
    let mut plan = Plan::default();
    if status != budget.status {
        plan.status = Some(Write::Merge {
            resource: Kind::Budget.resource(),
            key: budget.meta.key.clone(),
            part: Part::Status,
            body: status_patch(&status, &[]),
        });
    }
    plan
}
