//! Revision: a Deployment and a PodAutoscaler, and what they and the pods say.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/revision`, `pkg/apis/serving/v1/revision_lifecycle.go`.

use std::sync::Arc;

use api::{
    autoscaling::{PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus, ScaleTargetRef},
    condition::{self, Condition, READY, Set},
    keys::{autoscaling, serving},
    names::child_name,
    serving::{Revision, RevisionStatus},
};
use config::Config;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        core::v1::{Container, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use runtime::plan::{Plan, Write, is_controlled_by, is_left_over, owner, status_write};

use crate::metadata::{self, name, namespace, uid};

pub mod deployment;
pub mod digest;
pub mod queue_container;
pub mod registry;

/// The conditions of a Revision; `Active` is information.
pub const CONDITIONS: Set = Set { dependents: &[RESOURCES_AVAILABLE, CONTAINER_HEALTHY] };
const RESOURCES_AVAILABLE: &str = "ResourcesAvailable";
const CONTAINER_HEALTHY: &str = "ContainerHealthy";
const ACTIVE: &str = "Active";

const DEPLOYING: &str = "Deploying";
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// What there is of a Revision's children, and what is known of its images.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The Deployment of the Revision's name for it, whoever owns it.
    pub deployment: Option<&'a Deployment>,
    /// Any one of the Deployment's pods.
    pub pod: Option<&'a Pod>,
    /// The PodAutoscaler of the Revision's name, whoever owns it.
    pub autoscaler: Option<&'a PodAutoscaler>,
    /// The digests of the images.
    pub digests: &'a digest::Answers,
    /// Whether the queues of its namespace have a certificate; it matters where they are to speak TLS.
    pub has_certificate: bool,
    /// Namespace of the platform's own objects.
    pub system_namespace: &'a str,
}

/// What to do about a Revision.
pub fn plan(
    revision: &Revision,
    seen: Seen,
    config: &Config,
    now: Timestamp,
) -> Plan<digest::Question> {
    let mut plan = Plan::about(revision);
    if metadata::is_deleted(&revision.metadata) {
        return plan;
    }
    let before = revision.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (revision.metadata.generation, status.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);
    status.observed_generation = generation;

    reconcile(revision, seen, config, &mut status, &mut plan, now);

    CONDITIONS.end(&mut status.conditions, &before.conditions);
    let creates_deployment = seen.deployment.is_none() && !plan.writes.is_empty();
    if creates_deployment {
        // The new objects lead to a new plan, which says all that this one could.
        let revision = revision.clone();
        let write = status_write(&revision, Some(&before), &status);
        plan.status = None;
        if write.is_some() {
            plan.status_after_failure =
                Some(Box::new(move |_| status_write(&revision, Some(&before), &status)));
        }
        return plan;
    }
    if !is_ready(revision) && condition::is_true(&status.conditions, READY) {
        plan.normal("RevisionReady", "Revision becomes ready upon all resources being ready");
    }
    plan.set_status(revision, Some(&before), &status);
    plan
}

/// Whether the Revision takes requests: ready, and not because of what it was before.
pub fn is_ready(revision: &Revision) -> bool {
    says(revision, condition::TRUE)
}

/// Whether the Revision has failed.
pub fn is_failed(revision: &Revision) -> bool {
    says(revision, condition::FALSE)
}

fn says(revision: &Revision, word: &str) -> bool {
    revision.status.as_ref().is_some_and(|status| {
        status.observed_generation == revision.metadata.generation
            && condition::find(&status.conditions, READY).is_some_and(|it| it.status == word)
    })
}

/// Name of the Revision's Deployment.
pub fn deployment_name(revision: &Revision) -> String {
    child_name(name(&revision.metadata), "-deployment")
}

/// The container that serves: the only one, or the one with a port.
pub fn serving_container(revision: &Revision) -> Option<&Container> {
    match revision.spec.pod.containers.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|it| it.ports.as_ref().is_some_and(|it| !it.is_empty())),
    }
}

/// Whether the serving container speaks HTTP/2 without TLS.
pub fn is_h2c(revision: &Revision) -> bool {
    let ports = serving_container(revision).and_then(|it| it.ports.as_deref());
    ports.and_then(<[_]>::first).is_some_and(|it| it.name.as_deref() == Some("h2c"))
}

/// The moment as annotations carry it.
pub fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn reconcile(
    revision: &Revision,
    seen: Seen,
    config: &Config,
    status: &mut RevisionStatus,
    plan: &mut Plan<digest::Question>,
    now: Timestamp,
) {
    let template = &config.observability.logging_revision_url_template;
    status.log_url = (!template.is_empty())
        .then(|| template.replace("${REVISION_UID}", uid(&revision.metadata)));

    match digest::resolve(revision, status, seen.digests) {
        digest::Resolution::Known => {}
        digest::Resolution::Asked(questions) => {
            plan.need = questions;
            mark_resolving(status, now);
            return;
        }
        digest::Resolution::Failed(message) => {
            if condition::find(&status.conditions, RESOURCES_AVAILABLE)
                .is_some_and(|it| it.is_unknown())
            {
                mark_resolving(status, now);
            }
            let conditions = &mut status.conditions;
            CONDITIONS.mark_false(conditions, CONTAINER_HEALTHY, "ContainerMissing", &message, now);
            plan.error = Some(message);
            return;
        }
    }
    if reconcile_deployment(revision, seen, config, status, plan, now) {
        reconcile_autoscaler(revision, seen, config, status, plan, now);
    }
}

fn mark_resolving(status: &mut RevisionStatus, now: Timestamp) {
    let conditions = &mut status.conditions;
    CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, "ResolvingDigests", "", now);
}

/// Says whether to go on.
fn reconcile_deployment(
    revision: &Revision,
    seen: Seen,
    config: &Config,
    status: &mut RevisionStatus,
    plan: &mut Plan<digest::Question>,
    now: Timestamp,
) -> bool {
    let its_name = deployment_name(revision);
    let wanted = deployment::deployment(revision, status, config, seen.system_namespace);
    let lacks_certificate = config.network.system_internal_tls && !seen.has_certificate;
    if lacks_certificate && seen.deployment.is_none() {
        let its_namespace = namespace(&revision.metadata);
        let message = format!(
            "Waiting for the certificate in Secret {its_namespace}/{} that system-internal-tls needs.",
            api::queue::CERTIFICATE
        );
        let (conditions, reason) = (&mut status.conditions, "CertificateNotReady");
        CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, reason, &message, now);
        return false;
    }
    let Some(found) = seen.deployment else {
        let conditions = &mut status.conditions;
        CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, DEPLOYING, "", now);
        CONDITIONS.mark_unknown(conditions, CONTAINER_HEALTHY, DEPLOYING, "", now);
        let context = format!("failed to create deployment \"{its_name}\"");
        plan.writes.push(Write::create(&wanted).with_context(context));
        return true;
    };
    if is_left_over(found, revision) {
        let conditions = &mut status.conditions;
        CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, DEPLOYING, "", now);
        return false;
    }
    if !is_controlled_by(found, revision) {
        mark_not_owned(status, "Deployment", &its_name, now);
        plan.error = Some(format!(
            "revision: \"{}\" does not own Deployment: \"{its_name}\"",
            name(&revision.metadata)
        ));
        return false;
    }
    // Without its certificate a new pod would not start; what runs goes on until then.
    if !lacks_certificate && let Some(changed) = deployment::changed(found, wanted) {
        let context = format!("failed to update deployment \"{its_name}\"");
        plan.writes.push(Write::replace(&changed).with_context(context));
    }
    let healthy = condition::find(&status.conditions, CONTAINER_HEALTHY);
    if healthy.is_some_and(|it| it.is_unknown() && it.reason().is_empty()) {
        CONDITIONS.mark_unknown(&mut status.conditions, CONTAINER_HEALTHY, DEPLOYING, "", now);
    }
    let none = DeploymentStatus::default();
    let found_status = found.status.as_ref().unwrap_or(&none);
    take_deployment(status, found_status, now);
    let replicas = found.spec.replicas.unwrap_or(1);
    if replicas > 0
        && found_status.available_replicas.unwrap_or_default() == 0
        && let Some(pod) = seen.pod
    {
        take_pod(status, pod, has_timed_out(found_status), config, now);
    }
    if found_status.ready_replicas.unwrap_or_default() > 0 {
        CONDITIONS.mark_true(&mut status.conditions, CONTAINER_HEALTHY, now);
    }
    true
}

/// Source: knative/serving `pkg/apis/serving/k8s_lifecycle.go`, `TransformDeploymentStatus`.
fn take_deployment(status: &mut RevisionStatus, from: &DeploymentStatus, now: Timestamp) {
    const PROGRESSING: &str = "Progressing";
    const REPLICA_SETS: &str = "ReplicaSetReady";
    let set = Set { dependents: &[PROGRESSING, REPLICA_SETS] };
    let mut conditions: Vec<Condition> = Vec::new();
    set.initialize(&mut conditions, now);
    set.mark_true(&mut conditions, REPLICA_SETS, now);
    set.mark_unknown(&mut conditions, PROGRESSING, DEPLOYING, "", now);
    let find = |type_: &str| {
        from.conditions.iter().flatten().find(|it| it.type_.as_deref() == Some(type_))
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(it) = find("Progressing") {
        let (reason, message) = (text(&it.reason), text(&it.message));
        match it.status.as_deref().unwrap_or_default() {
            condition::TRUE => set.mark_true(&mut conditions, PROGRESSING, now),
            condition::FALSE => {
                set.mark_false(&mut conditions, PROGRESSING, &reason, &message, now);
            }
            _ => set.mark_unknown(&mut conditions, PROGRESSING, &reason, &message, now),
        }
    }
    if let Some(it) = find("ReplicaFailure") {
        let (reason, message) = (text(&it.reason), text(&it.message));
        match it.status.as_deref().unwrap_or_default() {
            condition::TRUE => {
                set.mark_false(&mut conditions, REPLICA_SETS, &reason, &message, now);
            }
            condition::FALSE => set.mark_true(&mut conditions, REPLICA_SETS, now),
            _ => set.mark_unknown(&mut conditions, REPLICA_SETS, &reason, &message, now),
        }
    }
    let ready = condition::find(&conditions, READY).expect("was initialized");
    let (reason, message) = (ready.reason(), ready.message());
    let ours = &mut status.conditions;
    match ready.status.as_str() {
        condition::TRUE => CONDITIONS.mark_true(ours, RESOURCES_AVAILABLE, now),
        condition::FALSE => CONDITIONS.mark_false(ours, RESOURCES_AVAILABLE, reason, message, now),
        _ => CONDITIONS.mark_unknown(ours, RESOURCES_AVAILABLE, reason, message, now),
    }
}

fn has_timed_out(status: &DeploymentStatus) -> bool {
    status.conditions.iter().flatten().any(|it| {
        it.type_.as_deref() == Some("Progressing")
            && it.status.as_deref() == Some(condition::FALSE)
            && it.reason.as_deref() == Some(DEADLINE_EXCEEDED)
    })
}

/// Says why no pod is available: all pods are alike, so any one tells.
fn take_pod(
    status: &mut RevisionStatus,
    pod: &Pod,
    has_timed_out: bool,
    config: &Config,
    now: Timestamp,
) {
    let Some(pod_status) = &pod.status else { return };
    let conditions = &mut status.conditions;
    if !config.deployment.pod_is_always_schedulable
        && let Some(it) = pod_status
            .conditions
            .iter()
            .flatten()
            .find(|it| it.type_ == "PodScheduled" && it.status == condition::FALSE)
    {
        let reason = it.reason.as_deref().unwrap_or_default();
        let message = it.message.as_deref().unwrap_or_default();
        CONDITIONS.mark_false(conditions, RESOURCES_AVAILABLE, reason, message, now);
    }
    for container in pod_status.container_statuses.iter().flatten() {
        if container.name == api::queue::CONTAINER {
            continue;
        }
        let terminated = container.last_state.as_ref().and_then(|it| it.terminated.as_ref());
        let waiting = container.state.as_ref().and_then(|it| it.waiting.as_ref());
        if let Some(it) = terminated {
            let said = it.message.as_deref().unwrap_or_default();
            let message = if it.exit_code == 0 && said.is_empty() {
                "Container failed with: container exited with no error".to_owned()
            } else {
                format!("Container failed with: {said}")
            };
            let reason = format!("ExitCode{}", it.exit_code);
            CONDITIONS.mark_false(conditions, CONTAINER_HEALTHY, &reason, &message, now);
            return;
        }
        if let Some(it) = waiting
            && has_timed_out
        {
            let reason = it.reason.as_deref().unwrap_or_default();
            let message = it.message.as_deref().unwrap_or_default();
            CONDITIONS.mark_false(conditions, RESOURCES_AVAILABLE, reason, message, now);
            return;
        }
    }
}

fn mark_not_owned(status: &mut RevisionStatus, kind: &str, its_name: &str, now: Timestamp) {
    let message = format!("There is an existing {kind} \"{its_name}\" that we do not own.");
    let conditions = &mut status.conditions;
    CONDITIONS.mark_false(conditions, RESOURCES_AVAILABLE, "NotOwned", &message, now);
}

fn reconcile_autoscaler(
    revision: &Revision,
    seen: Seen,
    config: &Config,
    status: &mut RevisionStatus,
    plan: &mut Plan<digest::Question>,
    now: Timestamp,
) {
    let its_name = name(&revision.metadata);
    let Some(found) = seen.autoscaler else {
        let mut wanted = autoscaler(revision, status, seen.deployment);
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        let class = &config.autoscaler.pod_autoscaler_class;
        if !class.is_empty() {
            annotations.entry(autoscaling::CLASS.to_owned()).or_insert_with(|| class.clone());
        }
        let context = format!("failed to create PA \"{its_name}\"");
        plan.writes.push(Write::create(&wanted).with_context(context));
        if seen.deployment.is_some() {
            take_autoscaler(status, &PodAutoscalerStatus::default(), now);
        }
        return;
    };
    if is_left_over(found, revision) {
        return;
    }
    if !is_controlled_by(found, revision) {
        mark_not_owned(status, "PodAutoscaler", its_name, now);
        plan.error =
            Some(format!("revision: \"{its_name}\" does not own PodAutoscaler: \"{its_name}\""));
        return;
    }
    take_autoscaler(status, found.status.as_ref().unwrap_or(&Default::default()), now);

    let wanted = autoscaler(revision, status, seen.deployment);
    let annotations = synced_annotations(&found.metadata.annotations, &wanted.metadata.annotations);
    let is_same = metadata::same(&found.metadata.annotations, &annotations);
    if !is_same || found.spec != wanted.spec {
        let mut changed = found.clone();
        changed.spec = wanted.spec;
        changed.metadata.annotations = annotations;
        let context = format!("failed to update PA \"{its_name}\"");
        plan.writes.push(Write::replace(&changed).with_context(context));
    }
}

/// The annotations of a PodAutoscaler: those about scaling are the Revision's, but for the two that
/// admission fills in.
fn synced_annotations(
    found: &Option<metadata::Map>,
    wanted: &Option<metadata::Map>,
) -> Option<metadata::Map> {
    let is_filled_in = |key: &str| key == autoscaling::CLASS || key == autoscaling::METRIC;
    let is_scaling = |key: &str| key.starts_with(autoscaling::GROUP) && !is_filled_in(key);
    metadata::union(&metadata::some(metadata::without(found, is_scaling)), wanted)
}

/// Source: knative/serving `RevisionStatus.PropagateAutoscalerStatus`.
fn take_autoscaler(status: &mut RevisionStatus, from: &PodAutoscalerStatus, now: Timestamp) {
    status.actual_replicas = from.actual_scale.filter(|it| *it >= 0);
    status.desired_replicas = from.desired_scale.filter(|it| *it >= 0);
    let conditions = &mut status.conditions;
    let is_unavailable = condition::is_false(conditions, RESOURCES_AVAILABLE)
        || condition::is_false(conditions, CONTAINER_HEALTHY);
    let Some(ready) = condition::find(&from.conditions, READY) else {
        CONDITIONS.mark_unknown(conditions, ACTIVE, DEPLOYING, "", now);
        if !is_unavailable {
            CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, DEPLOYING, "", now);
        }
        return;
    };
    let is_initialized = condition::is_true(&from.conditions, "ScaleTargetInitialized");
    let has_service = from.service_name.as_deref().is_some_and(|it| !it.is_empty());
    if is_initialized && !is_unavailable {
        CONDITIONS.mark_true(conditions, RESOURCES_AVAILABLE, now);
        CONDITIONS.mark_true(conditions, CONTAINER_HEALTHY, now);
    }
    // So it is with an initial scale of 0.
    if condition::is_true(conditions, RESOURCES_AVAILABLE) && (!has_service || !is_initialized) {
        CONDITIONS.mark_unknown(conditions, RESOURCES_AVAILABLE, DEPLOYING, "", now);
    }
    match ready.status.as_str() {
        condition::TRUE => CONDITIONS.mark_true(conditions, ACTIVE, now),
        condition::FALSE => {
            // Scaled to zero without ever having reached the initial scale.
            if !is_initialized && !is_unavailable && has_service {
                let message = "Initial scale was never achieved";
                let reason = DEADLINE_EXCEEDED;
                CONDITIONS.mark_false(conditions, RESOURCES_AVAILABLE, reason, message, now);
            }
            CONDITIONS.mark_false(conditions, ACTIVE, ready.reason(), ready.message(), now);
        }
        _ => CONDITIONS.mark_unknown(conditions, ACTIVE, ready.reason(), ready.message(), now),
    }
}

/// The PodAutoscaler of a Revision, without what admission fills in.
fn autoscaler(
    revision: &Revision,
    status: &RevisionStatus,
    deployment: Option<&Deployment>,
) -> PodAutoscaler {
    PodAutoscaler {
        metadata: ObjectMeta {
            name: revision.metadata.name.clone(),
            namespace: Some(namespace(&revision.metadata).to_owned()),
            labels: Some(deployment::labels(revision)),
            annotations: metadata::some(metadata::without(
                &revision.metadata.annotations,
                deployment::stays_on_revision,
            )),
            owner_references: Some(vec![owner(revision)]),
            ..ObjectMeta::default()
        },
        spec: PodAutoscalerSpec {
            container_concurrency: revision.spec.container_concurrency.filter(|it| *it != 0),
            protocol_type: if is_h2c(revision) { "h2c" } else { "http1" }.to_owned(),
            reachability: reachability(revision, status, deployment).map(str::to_owned),
            scale_target_ref: ScaleTargetRef {
                api_version: Some("apps/v1".to_owned()),
                kind: Some("Deployment".to_owned()),
                name: Some(deployment_name(revision)),
            },
        },
        status: None,
    }
}

fn reachability(
    revision: &Revision,
    status: &RevisionStatus,
    deployment: Option<&Deployment>,
) -> Option<&'static str> {
    let has_failed = [RESOURCES_AVAILABLE, CONTAINER_HEALTHY]
        .iter()
        .any(|type_| condition::is_false(&status.conditions, type_));
    let wants_pods = deployment.and_then(|it| it.spec.replicas).is_some_and(|it| it > 0);
    let ready_pods = deployment.and_then(|it| it.status.as_ref()?.ready_replicas).unwrap_or(0);
    if has_failed && wants_pods && ready_pods == 0 {
        return Some("Unreachable");
    }
    match metadata::get(&revision.metadata.labels, serving::ROUTING_STATE) {
        "active" => Some("Reachable"),
        "reserve" => Some("Unreachable"),
        _ => None,
    }
}

/// Keeps what plans hold of a Revision's pods small: any one pod tells.
pub fn any_pod(pods: &[Arc<Pod>]) -> Option<&Pod> {
    pods.first().map(|it| &**it)
}
