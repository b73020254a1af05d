//! ApiServerSource: an event for each change of some objects of the cluster.
//!
//! Pure: [`plan`] decides on what was seen; [`event`] makes the event of a change. What runs is in [`run`].
//! Source: knative/eventing `pkg/reconciler/apiserversource/apiserversource.go`, `pkg/adapter/apiserver`.

use std::sync::Arc;

use api::{
    condition::Set,
    duck::{CloudEventAttributes, marks},
    eventing::v1beta2::EventType,
    keys::eventing,
    sources::{
        API_SERVER_SOURCE, ApiServerSource, ApiServerSourceStatus, DEPLOYED, SUFFICIENT_PERMISSIONS,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use runtime::{
    cluster::Key,
    finalizer,
    plan::Plan,
    tracker::{Lookup, ObjectKind},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{resolve_sink, send::overrides, tell_of_types};
use crate::event::{Event, Rejected, Value};

pub mod run;

const CONDITIONS: Set = API_SERVER_SOURCE;
const FINALIZER: &str = "apiserversources.sources.knative.dev";
const API_VERSION: &str = "sources.knative.dev/v1";
/// The `source` of the events: the API, by the name that it has in every cluster.
const SOURCE: &str = "https://kubernetes.default.svc";
/// What the service account of a source must be allowed.
pub const VERBS: [&str; 3] = ["get", "list", "watch"];

/// What the kind's CRD says of its events; by mode, sorted.
const DESCRIBED: [(&str, &str); 6] = [
    (
        "dev.knative.apiserver.resource.add",
        "CloudEvent type used for add operations when in Resource mode",
    ),
    (
        "dev.knative.apiserver.resource.delete",
        "CloudEvent type used for delete operations when in Resource mode",
    ),
    (
        "dev.knative.apiserver.resource.update",
        "CloudEvent type used for update operations when in Resource mode",
    ),
    (
        "dev.knative.apiserver.ref.add",
        "CloudEvent type used for add operations when in Reference mode",
    ),
    (
        "dev.knative.apiserver.ref.delete",
        "CloudEvent type used for delete operations when in Reference mode",
    ),
    (
        "dev.knative.apiserver.ref.update",
        "CloudEvent type used for update operations when in Reference mode",
    ),
];

/// Whether a service account may see what a source watches: for the API to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Of which source.
    pub source: Key,
    /// Who asks.
    pub user: String,
    /// Group, resource and namespace, each with all [`VERBS`].
    pub asked: Vec<(String, String, String)>,
}

/// What there is around an ApiServerSource.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its sink.
    pub lookup: Lookup<'a>,
    /// The namespaces that its selector picks; not asked where it has none.
    pub namespaces: &'a dyn Fn() -> Vec<String>,
    /// What is missing for a need, as [`missing`] says it; nothing where it was not asked for yet.
    pub missing: &'a dyn Fn(&Need) -> Option<String>,
    /// Whether its watches have begun, with the sink and the namespaces of its status.
    pub running: bool,
    /// The EventTypes that it controls.
    pub event_types: &'a [Arc<EventType>],
}

/// A change of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Add,
    /// It is not as it was.
    Update,
    /// It is gone.
    Delete,
}

/// What to do about an ApiServerSource.
pub fn plan(source: &ApiServerSource, seen: Seen, now: Timestamp) -> Plan<Need> {
    let mut plan = Plan::about(source);
    if source.metadata.deletion_timestamp.is_some() {
        plan.writes.extend(finalizer::release(source, FINALIZER));
        return plan;
    }
    plan.writes.extend(finalizer::hold(source, FINALIZER));
    let before = source.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (source.metadata.generation, before.source.observed_generation);
    CONDITIONS.begin(&mut status.source.conditions, generation, observed, now);
    status.source.observed_generation = generation;
    plan.error = reconcile(source, seen, &mut status, &mut plan, now).err();
    if !plan.need.is_empty() {
        return plan;
    }
    let sink = (API_VERSION, &source.spec.sink);
    let attributes = &status.source.ce_attributes;
    tell_of_types(source, sink, attributes, &DESCRIBED, seen.event_types, &mut plan);
    CONDITIONS.end(&mut status.source.conditions, &before.source.conditions);
    plan.set_status(source, Some(&before), &status);
    plan
}

fn reconcile(
    source: &ApiServerSource,
    seen: Seen,
    status: &mut ApiServerSourceStatus,
    plan: &mut Plan<Need>,
    now: Timestamp,
) -> Result<(), String> {
    marks::no_identity(CONDITIONS, &mut status.source.conditions, now);
    let key = Key::of(source);
    let sink = (&source.spec.sink, &*key.namespace);
    if !resolve_sink(CONDITIONS, sink, seen.lookup, &mut status.source, plan, now) {
        return Ok(());
    }
    status.namespaces = match source.spec.namespace_selector {
        None => vec![key.namespace.to_string()],
        Some(_) => (seen.namespaces)(),
    };
    let need = need(source, &status.namespaces);
    let Some(missing) = (seen.missing)(&need) else {
        plan.need.push(need);
        return Ok(());
    };
    let conditions = &mut status.source.conditions;
    if missing.is_empty() || skips_check(source) {
        CONDITIONS.mark_true(conditions, SUFFICIENT_PERMISSIONS, now);
    } else {
        let message = format!("User {} cannot {missing}", need.user);
        CONDITIONS.mark_false(conditions, SUFFICIENT_PERMISSIONS, "", &message, now);
        return Err(format!("insufficient permissions: {message}"));
    }
    if seen.running && missing.is_empty() {
        CONDITIONS.mark_true(conditions, DEPLOYED, now);
    } else {
        let (reason, message) = ("DeploymentUnavailable", "The watches are being started.");
        CONDITIONS.mark_unknown(conditions, DEPLOYED, reason, message, now);
    }
    let prefix = if is_reference(source) { ".ref." } else { ".resource." };
    let types = DESCRIBED.iter().filter(|(type_, _)| type_.contains(prefix));
    let attributes = types.map(|(type_, _)| CloudEventAttributes {
        source: Some(SOURCE.to_owned()),
        type_: Some((*type_).to_owned()),
    });
    status.source.ce_attributes = attributes.collect();
    Ok(())
}

/// What the source's service account must be allowed to see.
pub fn need(source: &ApiServerSource, namespaces: &[String]) -> Need {
    let key = Key::of(source);
    let account = source.spec.service_account_name.as_deref().filter(|it| !it.is_empty());
    let mut asked = Vec::new();
    for resource in &source.spec.resources {
        let kind = ObjectKind::new(&resource.api_version, &resource.kind);
        for namespace in namespaces {
            asked.push((kind.group().to_owned(), kind.plural(), namespace.clone()));
        }
    }
    Need {
        user: format!("system:serviceaccount:{}:{}", key.namespace, account.unwrap_or("default")),
        source: key,
        asked,
    }
}

/// What is missing, in upstream's words; `denied` are the verbs that are not allowed, by the place of what was asked.
pub fn missing(need: &Need, denied: &[Vec<&str>]) -> String {
    let one = |((group, resource, namespace), verbs): (&(String, String, String), &Vec<&str>)| {
        let verbs = verbs.join(", ");
        format!(
            "{verbs} resource \"{resource}\" in API group \"{group}\" in Namespace \"{namespace}\""
        )
    };
    let all = need.asked.iter().zip(denied).filter(|(_, verbs)| !verbs.is_empty());
    all.map(one).collect::<Vec<_>>().join(", ")
}

fn skips_check(source: &ApiServerSource) -> bool {
    let annotations = source.metadata.annotations.as_ref();
    annotations
        .and_then(|it| it.get(eventing::SKIP_PERMISSIONS_CHECK))
        .is_some_and(|it| it == "true")
}

fn is_reference(source: &ApiServerSource) -> bool {
    source.spec.mode.as_deref().is_none_or(|it| it != "Resource")
}

/// The event of a change of an object, which is given as JSON; nothing where the source does not want to know of it.
pub fn event(
    source: &ApiServerSource,
    (kind, object): (&ObjectKind, &RawValue),
    change: Change,
    id: &str,
    now: Timestamp,
) -> Result<Option<Event>, Rejected> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        name: String,
        #[serde(default)]
        namespace: String,
        #[serde(default)]
        owner_references: Vec<OwnerReference>,
    }
    let Ok(Object { metadata }) = serde_json::from_str(object.get()) else { return Ok(None) };
    if let Some(wanted) = &source.spec.owner {
        let owner = metadata.owner_references.iter().find(|it| it.controller == Some(true));
        let is_it =
            |it: &OwnerReference| it.api_version == wanted.api_version && it.kind == wanted.kind;
        if !owner.is_some_and(is_it) {
            return Ok(None);
        }
    }
    let (name, namespace) = (metadata.name, metadata.namespace);
    let mode = if is_reference(source) { "ref" } else { "resource" };
    let what = match change {
        Change::Add => "add",
        Change::Update => "update",
        Change::Delete => "delete",
    };
    let type_ = format!("dev.knative.apiserver.{mode}.{what}");
    let (version, plural) = (&kind.api_version, kind.plural());
    let subject = format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}");
    let data = if is_reference(source) {
        json!({
            "kind": kind.kind, "namespace": namespace, "name": name, "apiVersion": version,
        })
        .to_string()
    } else {
        object.get().to_owned()
    };
    let (time, overrides) = (now.to_string(), overrides(source.spec.ce_overrides.as_ref()));
    let mut attributes: Vec<(&str, Value)> = vec![
        ("id", Value::String(id)),
        ("source", Value::String(SOURCE)),
        ("type", Value::String(&type_)),
        ("subject", Value::String(&subject)),
        ("time", Value::String(&time)),
        ("datacontenttype", Value::String("application/json")),
        ("apiversion", Value::String(version)),
        ("kind", Value::String(&kind.kind)),
        ("name", Value::String(&name)),
        ("namespace", Value::String(&namespace)),
    ];
    attributes.retain(|(name, _)| !overrides.iter().any(|(over, _)| over == name));
    attributes.extend(overrides.iter().map(|(name, value)| (&**name, Value::String(value))));
    Event::new(&attributes, Some(data.as_bytes())).map(Some)
}

#[cfg(test)]
mod tests;
