//! ContainerSource: a container of one's own that sends events to where it is told.
//!
//! Pure: [`plan`] decides on what was seen. It is a Deployment and the SinkBinding that tells it.
//! Source: knative/eventing `pkg/reconciler/containersource`, `pkg/apis/sources/v1/container_lifecycle.go`.

use api::{
    condition::{READY, Set, find},
    duck::SourceStatus,
    names::child_name,
    sources::{
        CONTAINER_SOURCE, ContainerSource, RECEIVE_ADAPTER_READY, SINK_BINDING_READY, SinkBinding,
        SinkBindingSpec, Subject,
    },
};
use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use runtime::{
    plan::{Event, Plan, Write, is_controlled_by, owner},
    resolve,
    tracker::Lookup,
};

use super::{follow, sink_binding};
use crate::metadata::{is_deleted, name, namespace, with};

const CONDITIONS: Set = CONTAINER_SOURCE;

/// What there is around a ContainerSource.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its sink.
    pub lookup: Lookup<'a>,
    /// The SinkBinding of [`binding_name`].
    pub binding: Option<&'a SinkBinding>,
    /// The Deployment of [`deployment_name`].
    pub deployment: Option<&'a Deployment>,
    /// Whether a write is known to change nothing: see [`runtime::cluster::Cluster::is_futile`].
    pub is_futile: &'a dyn Fn(&Write) -> bool,
}

/// Name of the Deployment of a source.
pub fn deployment_name(source: &ContainerSource) -> String {
    child_name(name(&source.metadata), "-deployment")
}

/// Name of the SinkBinding of a source.
pub fn binding_name(source: &ContainerSource) -> String {
    child_name(name(&source.metadata), "-sinkbinding")
}

/// What to do about a ContainerSource.
pub fn plan(source: &ContainerSource, seen: Seen, now: Timestamp) -> Plan {
    if is_deleted(&source.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(source);
    let before = source.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = source.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(source, seen, &mut status, &mut plan, now).err();
    if plan.error.is_none() {
        let key = format!("{}/{}", namespace(&source.metadata), name(&source.metadata));
        plan.normal("ContainerSourceReconciled", format!("ContainerSource reconciled: \"{key}\""));
    }
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(source, Some(&before), &status);
    plan
}

fn reconcile(
    source: &ContainerSource,
    seen: Seen,
    status: &mut SourceStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    // The Deployment first, so that the binding finds it; and bound from the beginning, so that no container runs in vain.
    let wanted = deployment(source, seen.lookup);
    let its_name = deployment_name(source);
    match seen.deployment {
        None => {
            let message = format!("Deployment created \"{its_name}\"");
            let write = Write::create(&wanted).with_context("creating new Deployment");
            let event = Event::normal("ContainerSourceDeploymentCreated", message);
            plan.writes.push(write.with_event(event));
        }
        Some(found) if !is_controlled_by(found, source) => {
            let own = name(&source.metadata);
            return Err(format!(
                "deployment \"{its_name}\" is not owned by ContainerSource \"{own}\""
            ));
        }
        Some(found) => {
            if let Some(changed) = with_template(found, &wanted) {
                let message = format!("Deployment updated \"{its_name}\"");
                let event = Event::normal("ContainerSourceDeploymentUpdated", message);
                update(&changed, event, seen, plan);
            }
            adapter(found, &its_name, status, now);
        }
    }

    let wanted = binding(source);
    let its_name = binding_name(source);
    match seen.binding {
        None => {
            let message = format!("SinkBinding created \"{its_name}\"");
            let write = Write::create(&wanted).with_context("creating new SinkBinding");
            let event = Event::normal("ContainerSourceSinkBindingCreated", message);
            plan.writes.push(write.with_event(event));
        }
        Some(found) if !is_controlled_by(found, source) => {
            let own = name(&source.metadata);
            return Err(format!(
                "SinkBinding \"{its_name}\" is not owned by ContainerSource \"{own}\""
            ));
        }
        Some(found) => {
            if found.spec != wanted.spec {
                let changed = SinkBinding { spec: wanted.spec, ..found.clone() };
                let message = format!("SinkBinding updated \"{its_name}\"");
                let event = Event::normal("ContainerSourceSinkBindingUpdated", message);
                update(&changed, event, seen, plan);
            }
            let said = found.status.as_ref().map(|it| &it.source);
            let said = said.cloned().unwrap_or_default();
            let ready = find(&said.conditions, READY).cloned();
            *status = SourceStatus {
                conditions: std::mem::take(&mut status.conditions),
                observed_generation: status.observed_generation,
                ..said
            };
            let conditions = &mut status.conditions;
            follow(CONDITIONS, conditions, SINK_BINDING_READY, ready.as_ref(), ("", ""), now);
        }
    }
    Ok(())
}

fn update<K: runtime::cluster::Kind>(changed: &K, event: Event, seen: Seen, plan: &mut Plan) {
    let write = Write::replace(changed);
    if !(seen.is_futile)(&write) {
        plan.writes.push(write.with_event(event));
    }
}

/// Whether the container runs, as its Deployment says it.
fn adapter(found: &Deployment, its_name: &str, status: &mut SourceStatus, now: Timestamp) {
    let said = found.status.as_ref().and_then(|it| it.conditions.as_ref());
    let available = said.into_iter().flatten().find(|it| it.type_.as_deref() == Some("Available"));
    let conditions = &mut status.conditions;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let Some(available) = available else {
        let message = format!("The Deployment '{its_name}' is unavailable.");
        let (type_, reason) = (RECEIVE_ADAPTER_READY, "DeploymentUnavailable");
        return CONDITIONS.mark_unknown(conditions, type_, reason, &message, now);
    };
    let (reason, message) = (text(&available.reason), text(&available.message));
    match available.status.as_deref().unwrap_or_default() {
        "True" => CONDITIONS.mark_true(conditions, RECEIVE_ADAPTER_READY, now),
        "False" => {
            CONDITIONS.mark_false(conditions, RECEIVE_ADAPTER_READY, &reason, &message, now);
        }
        _ => CONDITIONS.mark_unknown(conditions, RECEIVE_ADAPTER_READY, &reason, &message, now),
    }
}

/// The Deployment with the template that is wanted; nothing where it has that. The variables of the binding, which are not
/// the source's to set, stay as they are.
fn with_template(found: &Deployment, wanted: &Deployment) -> Option<Deployment> {
    let value = |it: &Deployment| {
        serde_json::to_value(&it.spec.template).expect("a template is plain data")
    };
    let (old, new) = (value(found), value(wanted));
    if contains(&old, &new) {
        return None;
    }
    let mut changed = found.clone();
    changed.spec.template = wanted.spec.template.clone();
    Some(changed)
}

/// Whether all that is wanted is there; what the API has filled in, and what a binding has added, may be there as well.
fn contains(found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let is_nothing = wanted.as_object().is_some_and(serde_json::Map::is_empty);
            is_nothing || found.get(key).is_some_and(|it| contains(it, wanted))
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            let is_named = |it: &Value| it["name"].is_string();
            if wanted.iter().all(is_named) {
                // Containers, variables and the like are told apart by their names.
                return wanted.iter().all(|it| {
                    found.iter().any(|old| old["name"] == it["name"] && contains(old, it))
                });
            }
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| contains(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

fn binding(source: &ContainerSource) -> SinkBinding {
    let own = namespace(&source.metadata);
    let mut sink = source.spec.sink.clone();
    if let Some(reference) = &mut sink.reference {
        // As admission would fill it in.
        reference.namespace = Some(resolve::namespace_of(reference, own).to_owned());
    }
    SinkBinding {
        metadata: ObjectMeta {
            name: Some(binding_name(source)),
            namespace: source.metadata.namespace.clone(),
            owner_references: Some(vec![owner(source)]),
            ..ObjectMeta::default()
        },
        spec: SinkBindingSpec {
            ce_overrides: source.spec.ce_overrides.clone(),
            sink,
            subject: Subject {
                api_version: Some("apps/v1".to_owned()),
                kind: Some("Deployment".to_owned()),
                name: Some(deployment_name(source)),
                namespace: Some(own.to_owned()),
                selector: None,
            },
        },
        status: None,
    }
}

fn deployment(source: &ContainerSource, lookup: Lookup) -> Deployment {
    let mut template = source.spec.template.clone();
    let sink = resolve::destination(&source.spec.sink, namespace(&source.metadata), lookup);
    if let Ok(sink) = sink {
        let mut pod = serde_json::to_value(&template.spec).expect("a pod's spec is plain data");
        sink_binding::bind(&mut pod, &binding(source), &sink);
        template.spec = serde_json::from_value(pod).expect("variables do not change what it is");
    }
    let meta = template.metadata.get_or_insert_default();
    let own = [
        ("sources.knative.dev/containerSource", name(&source.metadata)),
        ("sources.knative.dev/source", "container-source-controller"),
    ];
    let labels = with(meta.labels.take().unwrap_or_default(), own);
    meta.labels = Some(labels.clone());
    Deployment {
        metadata: ObjectMeta {
            name: Some(deployment_name(source)),
            namespace: source.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![owner(source)]),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            selector: LabelSelector { match_labels: Some(labels), match_expressions: None },
            template,
            ..DeploymentSpec::default()
        },
        status: None,
    }
}
