//! Deployment → ReplicaSets: rollouts, scaling, history, and the status that tells how it goes.
//!
//! Pure: `plan` sees a Deployment and its ReplicaSets and says what to write.
//! Source: kubernetes `pkg/controller/deployment` (`sync.go`, `rolling.go`, `recreate.go`, `progress.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};
use serde_json::{Map, Value, json};

use super::{
    objects::{Deployment, ReplicaSet, TEMPLATE_HASH, later},
    resources::{Kind, Note, Part, Plan, Write, controller_reference, status_patch, status_wait},
    selector,
};

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

/// What a Deployment's plan looks at besides the Deployment.
pub struct Seen<'a> {
    /// The ReplicaSets that the Deployment controls.
    pub sets: Vec<&'a ReplicaSet>,
    /// ReplicaSets of the namespace that nobody controls.
    pub orphans: Vec<&'a ReplicaSet>,
    /// Whether pods of a ReplicaSet are still there and have not finished.
    pub has_pods: &'a dyn Fn(&ReplicaSet) -> bool,
    /// What the last attempt to carry out the plan failed with.
    pub failure: Option<&'a str>,
}

/// What to write so that `deployment` moves one step towards its spec, or its status tells where it is.
pub fn plan(deployment: &Deployment, seen: &Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if deployment.meta.deleted.is_some() {
        let view = View::new(deployment, seen);
        plan.status = view.status_write(view.status(now));
        return plan;
    }
    plan.writes = claims(deployment, seen);
    if !plan.writes.is_empty() {
        return plan;
    }
    let view = View::new(deployment, seen);
    if deployment.is_paused || view.is_scaling() {
        view.scale(&mut plan);
        if deployment.is_paused && plan.writes.is_empty() {
            view.trim_history(&mut plan);
        }
        if plan.writes.is_empty() {
            plan.status = view.status_write(view.pause_noted(view.status(now), now));
        }
        return plan;
    }
    let may_create = deployment.rolling.is_some() || view.old_is_gone(seen);
    if may_create && view.follow_template(&mut plan) {
        return plan;
    }
    match deployment.rolling {
        Some(_) => view.roll(&mut plan),
        None => view.recreate(&mut plan, seen),
    }
    if plan.writes.is_empty() && view.is_complete(&view.status(now)) {
        view.trim_history(&mut plan);
    }
    if plan.writes.is_empty() || seen.failure.is_some() {
        view.report_progress(&mut plan, seen, now);
    }
    plan
}

/// Takes over matching ReplicaSets that nobody controls, lets go of those that match no more.
fn claims(deployment: &Deployment, seen: &Seen) -> Vec<Write> {
    let matches = |set: &ReplicaSet| selector::matches(&deployment.selector, &set.meta.labels);
    let own = |set: &ReplicaSet, owners: Value| Write::Merge {
        resource: Kind::ReplicaSet.resource(),
        key: set.meta.key.clone(),
        part: Part::Main,
        body: json!({"metadata": {"uid": &*set.meta.uid, "ownerReferences": owners}}),
    };
    let adopted = seen.orphans.iter().filter(|set| set.meta.deleted.is_none() && matches(set));
    let adopted = adopted.map(|set| {
        own(
            set,
            selector::owners_with(
                &set.meta,
                controller_reference(Kind::Deployment, &deployment.meta),
            ),
        )
    });
    let released = seen.sets.iter().filter(|set| !matches(set));
    let released =
        released.map(|set| own(set, selector::owners_without(&set.meta, &deployment.meta.uid)));
    adopted.chain(released).collect()
}

/// A Deployment with its ReplicaSets told apart: the one of its template, and the others, oldest first.
struct View<'a> {
    deployment: &'a Deployment,
    new: Option<&'a ReplicaSet>,
    old: Vec<&'a ReplicaSet>,
    /// Wanted replicas beyond the spec while rolling.
    surge: i32,
    /// Replicas that may be missing while rolling.
    unavailable: i32,
}

impl<'a> View<'a> {
    fn new(deployment: &'a Deployment, seen: &Seen<'a>) -> Self {
        let mut old = seen.sets.clone();
        old.sort_by(|a, b| (a.meta.created, &a.meta.key).cmp(&(b.meta.created, &b.meta.key)));
        let at = old.iter().position(|set| set.template.digest == deployment.template.digest);
        let new = at.map(|at| old.remove(at));
        let (surge, unavailable) = bounds(deployment);
        Self { deployment, new, old, surge, unavailable }
    }

    fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.new.into_iter().chain(self.old.iter().copied())
    }

    /// True when an active ReplicaSet was last sized for another number of replicas.
    fn is_scaling(&self) -> bool {
        let wanted = self.deployment.replicas.to_string();
        let mut active = self.all().filter(|set| set.replicas > 0);
        active.any(|set| set.meta.annotations.get(DESIRED).is_some_and(|it| *it != wanted))
    }

    /// Sizes for a changed number of replicas, without moving the rollout on.
    fn scale(&self, plan: &mut Plan) {
        let wanted = self.deployment.replicas;
        let active: Vec<_> = self.all().filter(|set| set.replicas > 0).collect();
        let only = match active[..] {
            [] => self.new.or(self.old.last().copied()),
            [only] => Some(only),
            _ => None,
        };
        if let Some(only) = only {
            if only.replicas != wanted {
                self.resize(plan, only, wanted);
            }
            return;
        }
        let is_saturated = self.new.is_some_and(|set| {
            set.replicas == wanted
                && set.meta.annotations.get(DESIRED).is_some_and(|it| *it == wanted.to_string())
                && set.status.available_replicas.unwrap_or(0) == wanted
        });
        if is_saturated {
            for set in self.old.iter().filter(|set| set.replicas > 0) {
                self.resize(plan, set, 0);
            }
        } else if self.deployment.rolling.is_some() {
            self.scale_in_proportion(plan, active);
        }
    }

    /// Spreads the change over the active ReplicaSets by their sizes; what rounding leaves goes to the largest.
    fn scale_in_proportion(&self, plan: &mut Plan, mut active: Vec<&'a ReplicaSet>) {
        let wanted = self.deployment.replicas;
        let total: i32 = active.iter().map(|set| set.replicas).sum();
        let allowed = if wanted > 0 { wanted + self.surge } else { 0 };
        let change = allowed - total;
        active.sort_by(|a, b| {
            let by_age = a.meta.created.cmp(&b.meta.created);
            let by_age = if change > 0 { by_age.reverse() } else { by_age };
            b.replicas.cmp(&a.replicas).then(by_age)
        });
        let mut left = change;
        let mut sizes: Vec<i32> = active.iter().map(|set| set.replicas).collect();
        for (set, size) in active.iter().zip(&mut sizes) {
            if left == 0 {
                break;
            }
            let sized_for = set.meta.annotations.get(MAX).and_then(|it| it.parse::<i32>().ok());
            let sized_for = sized_for.filter(|it| *it > 0).unwrap_or(wanted + self.surge).max(1);
            let share = f64::from(set.replicas) * f64::from(allowed) / f64::from(sized_for);
            let share = share.round() as i32 - set.replicas;
            let share = if left > 0 { share.min(left).max(0) } else { share.max(left).min(0) };
            *size += share;
            left -= share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + left).max(0);
        }
        for (set, size) in active.into_iter().zip(sizes) {
            self.resize(plan, set, size);
        }
    }

    /// Makes the ReplicaSet of the template, or brings its annotations and the Deployment's up to date. True when it
    /// wrote something that the rest of the plan must wait for.
    fn follow_template(&self, plan: &mut Plan) -> bool {
        let next = self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        let Some(new) = self.new else {
            return self.create(plan, next);
        };
        let mut annotations = Map::new();
        for (key, value) in copied_annotations(self.deployment) {
            if new.meta.annotations.get(key) != Some(value) {
                annotations.insert(key.clone(), json!(value));
            }
        }
        let current = revision(new);
        if current < next {
            annotations.insert(REVISION.to_owned(), json!(next.to_string()));
            if current > 0 {
                let history = new.meta.annotations.get(REVISION_HISTORY);
                let history = history.map_or_else(String::new, |it| format!("{it},"));
                annotations
                    .insert(REVISION_HISTORY.to_owned(), json!(format!("{history}{current}")));
            }
        }
        let mut body = Map::new();
        if !annotations.is_empty() {
            body.insert("metadata".into(), json!({ "annotations": annotations }));
        }
        if new.min_ready_s != self.deployment.min_ready_s {
            body.insert("spec".into(), json!({"minReadySeconds": self.deployment.min_ready_s}));
        }
        if !body.is_empty() {
            plan.writes.push(Write::Merge {
                resource: Kind::ReplicaSet.resource(),
                key: new.meta.key.clone(),
                part: Part::Main,
                body: Value::Object(body),
            });
        }
        let told = self.deployment.meta.annotations.get(REVISION);
        if current >= next && told.is_none_or(|it| *it != current.to_string()) {
            // Through the status, as upstream: the generation counts changes by users only.
            plan.writes.push(Write::Merge {
                resource: Kind::Deployment.resource(),
                key: self.deployment.meta.key.clone(),
                part: Part::Status,
                body: json!({"metadata": {"annotations": {REVISION: current.to_string()}}}),
            });
        }
        !plan.writes.is_empty()
    }

    fn create(&self, plan: &mut Plan, revision: i64) -> bool {
        let deployment = self.deployment;
        let Some(text) = &deployment.template.text else {
            plan.needs_template = true;
            return true;
        };
        let collisions = deployment.status.collision_count.unwrap_or(0);
        let hash = template_hash(deployment.template.digest, collisions);
        let mut template: Value = serde_json::from_str(text).unwrap_or_default();
        template["metadata"]["labels"][TEMPLATE_HASH] = json!(hash);
        let mut selector = json!(deployment.selector);
        selector["matchLabels"][TEMPLATE_HASH] = json!(hash);
        let size = self.new_size(0);
        let name = format!("{}-{hash}", deployment.meta.key.name);
        let mut annotations: BTreeMap<&str, String> =
            copied_annotations(deployment).map(|(key, value)| (&**key, value.clone())).collect();
        annotations.insert(REVISION, revision.to_string());
        annotations.insert(DESIRED, deployment.replicas.to_string());
        annotations.insert(MAX, (deployment.replicas + self.surge).to_string());
        let mut spec = json!({"replicas": size, "selector": selector, "template": template});
        if deployment.min_ready_s > 0 {
            spec["minReadySeconds"] = json!(deployment.min_ready_s);
        }
        plan.writes.push(Write::Create {
            resource: Kind::ReplicaSet.resource(),
            namespace: deployment.meta.key.namespace.clone(),
            body: json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "labels": template["metadata"]["labels"],
                    "annotations": annotations,
                    "ownerReferences": [controller_reference(Kind::Deployment, &deployment.meta)],
                },
                "spec": spec,
            }),
        });
        if size > 0 {
            plan.notes.push(Note::normal(
                "ScalingReplicaSet",
                format!("Scaled up replica set {name} from 0 to {size}"),
            ));
        }
        true
    }

    /// How many replicas the new ReplicaSet may have now that it has `current`.
    fn new_size(&self, current: i32) -> i32 {
        let wanted = self.deployment.replicas;
        if self.deployment.rolling.is_none() {
            return wanted;
        }
        let total: i32 = self.all().map(|set| set.replicas).sum();
        let room = wanted + self.surge - total;
        if room <= 0 { current } else { current + room.min(wanted - current) }
    }

    fn roll(&self, plan: &mut Plan) {
        let Some(new) = self.new else { return };
        let wanted = self.deployment.replicas;
        let size = if new.replicas > wanted { wanted } else { self.new_size(new.replicas) };
        if size != new.replicas {
            self.resize(plan, new, size);
            return;
        }
        let total: i32 = self.all().map(|set| set.replicas).sum();
        let least = wanted - self.unavailable;
        let missing = new.replicas - new.status.available_replicas.unwrap_or(0);
        let mut spare = total - least - missing;
        if spare <= 0 || self.old.iter().all(|set| set.replicas == 0) {
            return;
        }
        // Pods that never became available go first; nobody misses them.
        let mut sizes: Vec<i32> = self.old.iter().map(|set| set.replicas).collect();
        for (set, size) in self.old.iter().zip(&mut sizes) {
            let unhealthy = *size - set.status.available_replicas.unwrap_or(0);
            let gone = unhealthy.max(0).min(spare);
            *size -= gone;
            spare -= gone;
        }
        let available: i32 = self.all().map(|set| set.status.available_replicas.unwrap_or(0)).sum();
        let mut spare = available - least;
        for size in &mut sizes {
            let gone = (*size).min(spare.max(0));
            *size -= gone;
            spare -= gone;
        }
        for (set, size) in self.old.iter().zip(sizes) {
            if size != set.replicas {
                self.resize(plan, set, size);
            }
        }
    }

    fn recreate(&self, plan: &mut Plan, seen: &Seen) {
        for set in self.old.iter().filter(|set| set.replicas > 0) {
            self.resize(plan, set, 0);
        }
        let Some(new) = self.new.filter(|_| plan.writes.is_empty() && self.old_is_gone(seen))
        else {
            return;
        };
        if new.replicas != self.deployment.replicas {
            self.resize(plan, new, self.deployment.replicas);
        }
    }

    /// True when no pod of an older template runs.
    fn old_is_gone(&self, seen: &Seen) -> bool {
        self.old
            .iter()
            .all(|set| set.replicas == 0 && set.status.replicas == 0 && !(seen.has_pods)(set))
    }

    fn resize(&self, plan: &mut Plan, set: &ReplicaSet, size: i32) {
        let desired = self.deployment.replicas.to_string();
        let max = (self.deployment.replicas + self.surge).to_string();
        let told = |key, value: &String| set.meta.annotations.get(key) == Some(value);
        if size == set.replicas && told(DESIRED, &desired) && told(MAX, &max) {
            return;
        }
        plan.writes.push(Write::Merge {
            resource: Kind::ReplicaSet.resource(),
            key: set.meta.key.clone(),
            part: Part::Main,
            body: json!({
                "metadata": {"annotations": {DESIRED: desired, MAX: max}},
                "spec": {"replicas": size},
            }),
        });
        if size != set.replicas {
            let direction = if size > set.replicas { "up" } else { "down" };
            let (name, from) = (&set.meta.key.name, set.replicas);
            plan.notes.push(Note::normal(
                "ScalingReplicaSet",
                format!("Scaled {direction} replica set {name} from {from} to {size}"),
            ));
        }
    }

    /// Deletes the oldest settled ReplicaSets beyond the history limit.
    fn trim_history(&self, plan: &mut Plan) {
        let Some(limit) = self.deployment.history_limit else { return };
        let kept: Vec<_> = self.old.iter().filter(|set| set.meta.deleted.is_none()).collect();
        let mut by_revision = kept;
        by_revision.sort_by_key(|set| (revision(set), set.meta.created));
        let surplus = by_revision.len().saturating_sub(limit.max(0) as usize);
        for set in by_revision.into_iter().take(surplus) {
            let is_settled = set.status.replicas == 0
                && set.replicas == 0
                && set.status.observed_generation.unwrap_or(0) >= set.meta.generation;
            if is_settled {
                plan.writes.push(Write::delete(Kind::ReplicaSet, &set.meta));
            }
        }
    }

    fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.deployment.replicas;
        status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
            && status.observed_generation.unwrap_or(0) >= self.deployment.meta.generation
    }

    /// The numbers, and the condition Available; the other conditions as they are.
    fn status(&self, now: Timestamp) -> DeploymentStatus {
        let counted = |count: i32| (count != 0).then_some(count);
        let available: i32 = self.all().map(|set| set.status.available_replicas.unwrap_or(0)).sum();
        let wanted: i32 = self.all().map(|set| set.replicas).sum();
        let before = &self.deployment.status;
        let mut status = DeploymentStatus {
            observed_generation: Some(self.deployment.meta.generation),
            replicas: counted(self.all().map(|set| set.status.replicas).sum()),
            updated_replicas: counted(self.new.map_or(0, |set| set.status.replicas)),
            ready_replicas: counted(
                self.all().map(|set| set.status.ready_replicas.unwrap_or(0)).sum(),
            ),
            available_replicas: counted(available),
            unavailable_replicas: counted((wanted - available).max(0)),
            terminating_replicas: Some(
                self.all().map(|set| set.status.terminating_replicas.unwrap_or(0)).sum(),
            ),
            collision_count: before.collision_count,
            conditions: before.conditions.clone(),
        };
        let is_available = available >= self.deployment.replicas - self.unavailable;
        let (state, reason, message) = if is_available {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        set_condition(&mut status, condition("Available", state, reason, message.into(), now));
        status
    }

    /// Tells in the condition Progressing that a rollout stands still because somebody paused it, or goes on.
    fn pause_noted(&self, mut status: DeploymentStatus, now: Timestamp) -> DeploymentStatus {
        let current = progressing(&self.deployment.status);
        let reason = current.and_then(|it| it.reason.as_deref());
        if self.deployment.deadline_s.is_none() || reason == Some("ProgressDeadlineExceeded") {
            return status;
        }
        let is_told = reason == Some("DeploymentPaused");
        if self.deployment.is_paused && !is_told {
            let message = "Deployment is paused".to_owned();
            set_condition(
                &mut status,
                condition("Progressing", "Unknown", "DeploymentPaused", message, now),
            );
        }
        status
    }

    fn report_progress(&self, plan: &mut Plan, seen: &Seen, now: Timestamp) {
        let deployment = self.deployment;
        let before = &deployment.status;
        let mut status = self.status(now);
        let resumed =
            progressing(before).is_some_and(|it| it.reason.as_deref() == Some("DeploymentPaused"));
        if resumed {
            let message = "Deployment is resumed".to_owned();
            set_condition(
                &mut status,
                condition("Progressing", "Unknown", "DeploymentResumed", message, now),
            );
        }
        let current = progressing(&status).cloned();
        let is_settled = status.replicas == status.updated_replicas
            && current
                .as_ref()
                .is_some_and(|it| it.reason.as_deref() == Some("NewReplicaSetAvailable"));
        match deployment.deadline_s {
            None => remove_condition(&mut status, "Progressing"),
            Some(_) if is_settled => {}
            Some(deadline_s) => {
                let subject = match self.new {
                    Some(set) => format!("ReplicaSet \"{}\"", set.meta.key.name),
                    None => format!("Deployment \"{}\"", deployment.meta.key.name),
                };
                let due = current
                    .as_ref()
                    .filter(|it| it.reason.as_deref() != Some("NewReplicaSetAvailable"))
                    .and_then(|it| it.last_update_time.as_ref())
                    .map(|it| later(it.0, deadline_s));
                if self.is_complete(&status) {
                    let message = format!("{subject} has successfully progressed.");
                    set_condition(
                        &mut status,
                        condition("Progressing", "True", "NewReplicaSetAvailable", message, now),
                    );
                } else if current.is_none() || has_progressed(before, &status) {
                    let message = format!("{subject} is progressing.");
                    let mut progress =
                        condition("Progressing", "True", "ReplicaSetUpdated", message, now);
                    if let Some(current) = current.filter(|it| it.status.as_deref() == Some("True"))
                    {
                        progress.last_transition_time = current.last_transition_time;
                    }
                    remove_condition(&mut status, "Progressing");
                    set_condition(&mut status, progress);
                    plan.again_at(later(now, deadline_s + 1));
                } else if due.is_some_and(|due| due < now) {
                    let message = format!("{subject} has timed out progressing.");
                    set_condition(
                        &mut status,
                        condition("Progressing", "False", "ProgressDeadlineExceeded", message, now),
                    );
                } else if let Some(due) = due {
                    plan.again_at(later(due, 1));
                }
            }
        }
        let failed = self.all().flat_map(|set| set.status.conditions.iter().flatten());
        let failed = failed.into_iter().find(|it| {
            it.type_.as_deref() == Some("ReplicaFailure") && it.status.as_deref() == Some("True")
        });
        match (seen.failure, failed) {
            (_, Some(failed)) => {
                let reason = failed.reason.as_deref().unwrap_or_default();
                let message = failed.message.clone().unwrap_or_default();
                let mut it = condition("ReplicaFailure", "True", reason, message, now);
                it.last_transition_time = failed.last_transition_time.clone();
                it.last_update_time = failed.last_transition_time.clone();
                set_condition(&mut status, it);
            }
            (Some(failure), None) => {
                let message = format!("Failed to create new replica set: {failure}");
                set_condition(
                    &mut status,
                    condition("ReplicaFailure", "True", "ReplicaSetCreateError", message, now),
                );
            }
            (None, None) => remove_condition(&mut status, "ReplicaFailure"),
        }
        let before = &self.deployment.status;
        plan.status_wait = status_wait(
            self.deployment.replicas,
            [before.ready_replicas, status.ready_replicas],
            [before.available_replicas, status.available_replicas],
            [before.observed_generation, status.observed_generation],
        );
        plan.status = self.status_write(status);
    }

    fn status_write(&self, status: DeploymentStatus) -> Option<Write> {
        if status == self.deployment.status {
            return None;
        }
        let keys = [
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "conditions",
        ];
        Some(Write::Merge {
            resource: Kind::Deployment.resource(),
            key: self.deployment.meta.key.clone(),
            part: Part::Status,
            body: status_patch(&status, &keys),
        })
    }
}

/// `maxSurge` rounded up and `maxUnavailable` rounded down, in pods; never both zero.
fn bounds(deployment: &Deployment) -> (i32, i32) {
    let Some(rolling) = &deployment.rolling else { return (0, 0) };
    let replicas = deployment.replicas;
    let surge = scaled(&rolling.max_surge, replicas, f64::ceil);
    let unavailable = scaled(&rolling.max_unavailable, replicas, f64::floor);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (surge, if replicas == 0 { 0 } else { unavailable.min(replicas) })
}

/// A number of pods, or the percentage of `whole` rounded by `round`.
pub fn scaled(value: &IntOrString, whole: i32, round: fn(f64) -> f64) -> i32 {
    match value {
        IntOrString::Int(pods) => *pods,
        IntOrString::String(text) => {
            let percent: f64 = text.trim_end_matches('%').parse().unwrap_or(0.0);
            round(percent * f64::from(whole) / 100.0) as i32
        }
    }
}

fn revision(set: &ReplicaSet) -> i64 {
    set.meta.annotations.get(REVISION).and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// The Deployment's annotations that its ReplicaSets carry too.
fn copied_annotations(deployment: &Deployment) -> impl Iterator<Item = (&String, &String)> {
    let own = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX, ROLLBACK];
    deployment.meta.annotations.iter().filter(move |(key, _)| !own.contains(&key.as_str()))
}

fn progressing(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.iter().flatten().find(|it| it.type_.as_deref() == Some("Progressing"))
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |it: Option<i32>| it.unwrap_or(0);
    let old = |it: &DeploymentStatus| count(it.replicas) - count(it.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Replaces the condition of that type, unless state and reason are the same.
fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    if let Some(at) = conditions.iter().position(|it| it.type_ == new.type_) {
        if conditions[at].status == new.status && conditions[at].reason == new.reason {
            return;
        }
        let current = conditions.remove(at);
        if current.status == new.status {
            new.last_transition_time = current.last_transition_time;
        }
    }
    conditions.push(new);
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|it| it.type_.as_deref() != Some(kind));
    }
}

/// The value of [`TEMPLATE_HASH`]: up to ten letters without vowels, so that no word appears by chance.
fn template_hash(digest: u64, collisions: i32) -> String {
    let digest = digest.wrapping_add(collisions.unsigned_abs().into());
    let folded = (digest >> 32) as u32 ^ digest as u32;
    let letters = b"bcdfghjklmnpqrstvwxz2456789";
    folded
        .to_string()
        .bytes()
        .map(|it| char::from(letters[usize::from(it) % letters.len()]))
        .collect()
}
