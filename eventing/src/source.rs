//! Sources that run in this process: they make events of what happens, and send them to a sink.
//!
//! Pure: what their statuses say alike, and the EventTypes that tell of their events.
//! Source: knative/eventing `pkg/reconciler/pingsource`, `pkg/reconciler/source/duck`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    condition::Set,
    duck::{CloudEventAttributes, Destination, KReference, SourceStatus},
    eventing::v1beta2::{EventType, EventTypeSpec},
    go,
    keys::eventing,
    names::hex_sum,
    sources::SINK_PROVIDED,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use runtime::{
    cluster::Kind,
    plan::{Plan, Write, is_controlled_by, owner},
    resolve,
    tracker::Lookup,
};
use serde::Serialize;

pub mod api_server;
pub mod ping;
pub mod send;

/// Resolves the sink of a source, and says in the status and by an event where it leads nowhere. Returns whether it leads
/// somewhere.
fn resolve_sink<N>(
    conditions: Set,
    (sink, namespace): (&Destination, &str),
    lookup: Lookup,
    status: &mut SourceStatus,
    plan: &mut Plan<N>,
    now: Timestamp,
) -> bool {
    match resolve::destination(sink, namespace, lookup) {
        Ok(address) => {
            status.sink_uri = address.url;
            status.sink_ca_certs = address.ca_certs;
            status.sink_audience = address.audience;
            conditions.mark_true(&mut status.conditions, SINK_PROVIDED, now);
            true
        }
        Err(_) => {
            conditions.mark_false(&mut status.conditions, SINK_PROVIDED, "NotFound", "", now);
            plan.warn("SinkNotFound", format!("Sink not found: {}", printed(sink, namespace)));
            false
        }
    }
}

/// A destination as upstream prints it.
fn printed(sink: &Destination, namespace: &str) -> String {
    #[derive(Serialize)]
    struct Printed<'a> {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Reference<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        uri: Option<&'a str>,
        #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
        ca_certs: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        audience: Option<&'a str>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Reference<'a> {
        kind: &'a str,
        namespace: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        api_version: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<&'a str>,
    }
    let reference = sink.reference.as_ref().map(|it| Reference {
        kind: &it.kind,
        namespace: resolve::namespace_of(it, namespace),
        name: &it.name,
        api_version: it.api_version.as_deref(),
        group: it.group.as_deref(),
        address: it.address.as_deref(),
    });
    let printed = Printed {
        reference,
        uri: sink.uri.as_deref(),
        ca_certs: sink.ca_certs.as_deref(),
        audience: sink.audience.as_deref(),
    };
    go::json(&printed).unwrap_or_default()
}

/// Makes the EventTypes that tell of a source's events be there, and no others; `described` are the types that the source's
/// kind knows, with what they are. There are none where the sink is no object.
fn tell_of_types<K: Kind, N>(
    source: &K,
    (api_version, sink): (&str, &Destination),
    attributes: &[CloudEventAttributes],
    described: &[(&str, &str)],
    found: &[Arc<EventType>],
    plan: &mut Plan<N>,
) {
    let wanted: Vec<EventType> = match &sink.reference {
        Some(sink) => attributes
            .iter()
            .filter(|it| it.type_.as_deref().is_some_and(|it| !it.is_empty()))
            .map(|it| event_type(source, api_version, sink, it, described))
            .collect(),
        None => Vec::new(),
    };
    for old in found.iter().filter(|it| is_controlled_by(&***it, source)) {
        // Its name follows from the rest; what the API fills in may differ.
        let same = |it: &EventType| {
            it.metadata.name == old.metadata.name && it.spec.reference == old.spec.reference
        };
        if !wanted.iter().any(same) && old.metadata.deletion_timestamp.is_none() {
            plan.writes.push(Write::delete(&**old));
        }
    }
    for new in wanted {
        if !found.iter().any(|it| it.metadata.name == new.metadata.name) {
            plan.writes.push(Write::create(&new).with_context("create an EventType"));
        }
    }
}

fn event_type<K: Kind>(
    source: &K,
    api_version: &str,
    sink: &KReference,
    attributes: &CloudEventAttributes,
    described: &[(&str, &str)],
) -> EventType {
    let meta = source.meta();
    let type_ = attributes.type_.clone().unwrap_or_default();
    let from = attributes.source.clone().unwrap_or_default();
    let description = described.iter().find(|(its, _)| *its == type_);
    let uid = meta.uid.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let label = (eventing::SOURCE_NAME.to_owned(), meta.name.clone().unwrap_or_default());
    let owner = OwnerReference { api_version: api_version.to_owned(), ..owner(source) };
    EventType {
        metadata: ObjectMeta {
            name: Some(hex_sum(&format!("{type_}{from}{uid}"))),
            namespace: meta.namespace.clone(),
            labels: Some(BTreeMap::from([label])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: EventTypeSpec {
            description: description.map(|(_, what)| (*what).to_owned()),
            reference: Some(KReference {
                namespace: Some(resolve::namespace_of(sink, namespace).to_owned()),
                ..sink.clone()
            }),
            source: Some(from),
            type_,
            ..EventTypeSpec::default()
        },
        status: None,
    }
}
