//! PingSource: the same event again and again, at set times.
//!
//! Pure: [`plan`] decides on what was seen; [`due`] makes the event. What runs is in [`run`].
//! Source: knative/eventing `pkg/reconciler/pingsource/pingsource.go`, `pkg/adapter/mtping/runner.go`.

use std::sync::Arc;

use api::{
    condition::Set,
    cron::{Schedule, Wrong},
    duck::{CloudEventAttributes, SourceStatus, marks},
    eventing::v1beta2::EventType,
    sources::{DEPLOYED, PING_SOURCE, PingSource},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use runtime::{cluster::Key, finalizer, plan::Plan, tracker::Lookup};

use super::{resolve_sink, send::overrides, tell_of_types};
use crate::event::{Event, Rejected, Value};

pub mod run;

const CONDITIONS: Set = PING_SOURCE;
const FINALIZER: &str = "pingsources.sources.knative.dev";
/// The type of the events.
const TYPE: &str = "dev.knative.sources.ping";
/// The version that the owner references of EventTypes name.
const API_VERSION: &str = "sources.knative.dev/v1beta2";
/// What the kind's CRD says of its events.
const DESCRIBED: [(&str, &str); 1] =
    [(TYPE, "CloudEvent type for fixed payloads on a specified cron schedule")];

/// What there is around a PingSource.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its sink.
    pub lookup: Lookup<'a>,
    /// Whether its schedule is taken in, with the sink of its status.
    pub running: bool,
    /// The EventTypes that it controls.
    pub event_types: &'a [Arc<EventType>],
}

/// What to do about a PingSource.
pub fn plan(source: &PingSource, seen: Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::about(source);
    if source.metadata.deletion_timestamp.is_some() {
        plan.writes.extend(finalizer::release(source, FINALIZER));
        return plan;
    }
    plan.writes.extend(finalizer::hold(source, FINALIZER));
    let before = source.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = source.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    reconcile(source, seen, &mut status, &mut plan, now);
    let sink = (API_VERSION, &source.spec.sink);
    tell_of_types(source, sink, &status.ce_attributes, &DESCRIBED, seen.event_types, &mut plan);
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(source, Some(&before), &status);
    plan
}

fn reconcile(
    source: &PingSource,
    seen: Seen,
    status: &mut SourceStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    marks::no_identity(CONDITIONS, &mut status.conditions, now);
    let key = Key::of(source);
    let sink = (&source.spec.sink, &*key.namespace);
    if !resolve_sink(CONDITIONS, sink, seen.lookup, status, plan, now) {
        return;
    }
    let conditions = &mut status.conditions;
    if seen.running {
        CONDITIONS.mark_true(conditions, DEPLOYED, now);
    } else {
        let (reason, message) = ("DeploymentUnavailable", "The schedule is being taken in.");
        CONDITIONS.mark_unknown(conditions, DEPLOYED, reason, message, now);
    }
    status.ce_attributes =
        vec![CloudEventAttributes { source: Some(source_of(&key)), type_: Some(TYPE.to_owned()) }];
}

/// When the events of a source are due.
pub fn schedule(source: &PingSource) -> Result<Schedule, Wrong> {
    // Admission fills in a schedule where there is none.
    let schedule = source.spec.schedule.as_deref().unwrap_or("* * * * *");
    Schedule::parse(schedule, source.spec.timezone.as_deref().unwrap_or_default())
}

/// The event that is due now.
pub fn due(source: &PingSource, id: &str, now: Timestamp) -> Result<Event, Rejected> {
    let spec = &source.spec;
    let (from, time) = (source_of(&Key::of(source)), now.to_string());
    let data = match (spec.data_base64.as_deref(), spec.data.as_deref()) {
        (Some(text), _) if !text.is_empty() => BASE64_STANDARD.decode(text).ok(),
        (_, Some(text)) if !text.is_empty() => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    let overrides = overrides(spec.ce_overrides.as_ref());
    let mut attributes: Vec<(&str, Value)> = vec![
        ("id", Value::String(id)),
        ("source", Value::String(&from)),
        ("type", Value::String(TYPE)),
        ("time", Value::String(&time)),
    ];
    let content_type = spec.content_type.as_deref().filter(|it| !it.is_empty());
    if let Some(content_type) = content_type.filter(|_| data.is_some()) {
        attributes.push(("datacontenttype", Value::String(content_type)));
    }
    attributes.extend(overrides.iter().map(|(name, value)| (&**name, Value::String(value))));
    Event::new(&attributes, data.as_deref())
}

fn source_of(key: &Key) -> String {
    format!("/apis/v1/namespaces/{}/pingsources/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests;
