//! ReplicaSet → Pods: as many as wanted, and on the way down those first that are missed least.
//!
//! Pure: `plan` sees a ReplicaSet and the pods of its namespace that could be its own.
//! Source: kubernetes `pkg/controller/replicaset/replica_set.go`, `pkg/controller/controller_utils.go`
//! (`ActivePodsWithRanks`).

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};

use super::{
    objects::{Meta, Phase, Pod, ReplicaSet},
    resources::{Kind, Note, Part, Plan, Write, controller_reference, status_patch, status_wait},
    selector,
};

/// A pod with a lower number goes earlier when its ReplicaSet shrinks.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Most pods that one plan makes or deletes; the next plan goes on. Upstream's burst.
const BURST: usize = 500;

/// What a ReplicaSet's plan looks at besides the ReplicaSet.
pub struct Seen<'a> {
    /// The pods that the ReplicaSet controls.
    pub pods: Vec<&'a Pod>,
    /// Pods of the namespace that nobody controls.
    pub orphans: Vec<&'a Pod>,
    /// How many pods it is to have by a write that is on its way.
    pub growing: Option<i32>,
    /// How many pods of related ReplicaSets are on a node; only asked when shrinking.
    pub crowd: &'a dyn Fn(&str) -> usize,
    /// What the last attempt to carry out the plan failed with.
    pub failure: Option<&'a str>,
}

/// What to write so that `set` has its pods, or its status counts them.
pub fn plan(set: &ReplicaSet, seen: &Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let is_kept = set.meta.deleted.is_none();
    if is_kept {
        plan.writes = claims(set, seen);
        if !plan.writes.is_empty() {
            return plan;
        }
    }
    let active: Vec<&Pod> = seen.pods.iter().copied().filter(|pod| pod.is_active()).collect();
    let wanted = set.replicas.max(seen.growing.unwrap_or(0)).max(0) as usize;
    if is_kept && active.len() < wanted {
        grow(&mut plan, set, wanted - active.len());
    } else if is_kept && active.len() > wanted {
        let surplus = active.len() - wanted;
        for pod in victims(active.clone(), seen.crowd).into_iter().take(surplus.min(BURST)) {
            plan.writes.push(Write::delete(Kind::Pod, &pod.meta));
            let name = &pod.meta.key.name;
            plan.notes.push(Note::normal("SuccessfulDelete", format!("Deleted pod: {name}")));
        }
    }
    if plan.writes.is_empty() || seen.failure.is_some() {
        let status = status(&mut plan, set, seen, &active, now);
        if status != set.status {
            let keys = ["readyReplicas", "availableReplicas", "fullyLabeledReplicas", "conditions"];
            let before = &set.status;
            plan.status_wait = status_wait(
                set.replicas,
                [before.ready_replicas, status.ready_replicas],
                [before.available_replicas, status.available_replicas],
                // Nobody waits for that.
                [None, None],
            );
            plan.status = Some(Write::Merge {
                resource: Kind::ReplicaSet.resource(),
                key: set.meta.key.clone(),
                part: Part::Status,
                body: status_patch(&status, &keys),
            });
        }
    }
    plan
}

/// Takes over matching pods that nobody controls, lets go of those that match no more.
fn claims(set: &ReplicaSet, seen: &Seen) -> Vec<Write> {
    let matches = |pod: &Pod| selector::matches(&set.selector, &pod.meta.labels);
    let own = |meta: &Meta, owners: Value| Write::Merge {
        resource: Kind::Pod.resource(),
        key: meta.key.clone(),
        part: Part::Main,
        body: json!({"metadata": {"uid": &*meta.uid, "ownerReferences": owners}}),
    };
    let adopted = seen.orphans.iter().filter(|pod| pod.is_active() && matches(pod)).map(|pod| {
        let owner = controller_reference(Kind::ReplicaSet, &set.meta);
        own(&pod.meta, selector::owners_with(&pod.meta, owner))
    });
    let released = seen.pods.iter().filter(|pod| pod.meta.deleted.is_none() && !matches(pod));
    let released =
        released.map(|pod| own(&pod.meta, selector::owners_without(&pod.meta, &set.meta.uid)));
    adopted.chain(released).collect()
}

fn grow(plan: &mut Plan, set: &ReplicaSet, missing: usize) {
    let Some(text) = &set.template.text else {
        plan.needs_template = true;
        return;
    };
    let body = pod_of(text, Kind::ReplicaSet, &set.meta);
    let create = Write::Create {
        resource: Kind::Pod.resource(),
        namespace: set.meta.key.namespace.clone(),
        body,
    };
    plan.writes = vec![create; missing.min(BURST)];
}

/// A pod of a template, controlled by `owner` and named after it.
pub fn pod_of(template: &str, kind: Kind, owner: &Meta) -> Value {
    let template: Value = serde_json::from_str(template).unwrap_or_default();
    let from = &template["metadata"];
    let mut metadata = json!({
        "generateName": format!("{}-", owner.key.name),
        "ownerReferences": [controller_reference(kind, owner)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if !from[key].is_null() {
            metadata[key] = from[key].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The pods in the order in which they may go.
fn victims<'a>(mut pods: Vec<&'a Pod>, crowd: &dyn Fn(&str) -> usize) -> Vec<&'a Pod> {
    let mut crowds: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &pods {
        if let Some(node) = pod.node.as_deref() {
            crowds.entry(node).or_insert_with(|| crowd(node));
        }
    }
    pods.sort_by_cached_key(|pod| {
        let node = pod.node.as_deref();
        let stage = match pod.phase {
            Phase::Pending => 0,
            Phase::Unknown => 1,
            _ => 2,
        };
        let cost = pod.meta.annotations.get(DELETION_COST);
        let cost: i32 = cost.and_then(|it| it.parse().ok()).unwrap_or(0);
        let neighbours = node.map_or(0, |node| crowds[node]);
        (
            node.is_some(),
            stage,
            pod.is_ready,
            cost,
            Reverse(neighbours),
            Reverse(pod.ready_since),
            Reverse(pod.restarts),
            Reverse(pod.meta.created),
            pod.meta.key.clone(),
        )
    });
    pods
}

fn status(
    plan: &mut Plan,
    set: &ReplicaSet,
    seen: &Seen,
    active: &[&Pod],
    now: Timestamp,
) -> ReplicaSetStatus {
    let counted = |count: usize| (count > 0).then_some(count as i32);
    let labels: Vec<(&String, &String)> = set.selector.match_labels.iter().flatten().collect();
    let is_labelled =
        |pod: &&&Pod| labels.iter().all(|(key, value)| pod.meta.labels.get(*key) == Some(*value));
    let mut available = 0;
    for at in active.iter().filter_map(|pod| pod.available_at(set.min_ready_s)) {
        if set.min_ready_s == 0 || at <= now {
            available += 1;
        } else {
            plan.again_at(at);
        }
    }
    let terminating = seen.pods.iter().filter(|pod| pod.is_live() && pod.meta.deleted.is_some());
    let mut conditions = set.status.conditions.clone().unwrap_or_default();
    let failed = conditions.iter().position(|it| it.type_.as_deref() == Some("ReplicaFailure"));
    match (seen.failure, failed) {
        (Some(failure), None) => {
            let reason = match active.len() as i32 - set.replicas {
                ..0 => "FailedCreate",
                _ => "FailedDelete",
            };
            conditions.push(ReplicaSetCondition {
                type_: Some("ReplicaFailure".into()),
                status: Some("True".into()),
                reason: Some(reason.into()),
                message: Some(failure.into()),
                last_transition_time: Some(Time(now)),
            });
        }
        (None, Some(at)) => {
            conditions.remove(at);
        }
        _ => {}
    }
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: counted(active.iter().filter(is_labelled).count()),
        ready_replicas: counted(active.iter().filter(|pod| pod.is_ready).count()),
        available_replicas: counted(available),
        terminating_replicas: Some(terminating.count() as i32),
        observed_generation: Some(set.meta.generation),
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}
