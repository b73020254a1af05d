//! Channel: another name for a channel of the kind that its template says.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/eventing `pkg/reconciler/channel/channel.go`, `pkg/apis/messaging/v1/channel_lifecycle.go`.

use api::{
    condition::Set,
    duck::{KReference, SubscriberStatus, marks},
    messaging::{
        ADDRESSABLE, BACKING_CHANNEL_READY, CHANNEL, Channel, ChannelStatus,
        DEAD_LETTER_SINK_RESOLVED,
    },
};
use jiff::Timestamp;
use runtime::{
    cluster::Key,
    plan::{Plan, Write},
    tracker::{Found, Lookup, object::Object},
};
use serde::Deserialize;

use super::{follow, template};
use crate::metadata::{is_deleted, name};

const CONDITIONS: Set = CHANNEL;

/// What to do about a Channel.
pub fn plan(channel: &Channel, lookup: Lookup, now: Timestamp) -> Plan {
    if is_deleted(&channel.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(channel);
    let before = channel.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = channel.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(channel, lookup, &mut status, &mut plan, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(channel, Some(&before), &status);
    plan
}

fn reconcile(
    channel: &Channel,
    lookup: Lookup,
    status: &mut ChannelStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let key = Key::of(channel);
    let kind = template::kind(channel.spec.channel_template.as_ref());
    let conditions = &mut status.conditions;
    let behind = match (lookup.object)(&kind, &key) {
        Found::Here(object) => Some(object),
        Found::Missing => {
            let template = channel.spec.channel_template.as_ref();
            let mut wanted = template::channel(channel, template, name(&channel.metadata));
            if let Some(delivery) = &channel.spec.delivery {
                wanted["spec"]["delivery"] =
                    serde_json::to_value(delivery).expect("a delivery is plain data");
            }
            plan.writes.push(
                Write::create_any(&kind, &key, &wanted)
                    .with_context("problem reconciling the backing channel"),
            );
            None
        }
        Found::Hidden(why) => {
            let (type_, reason) = (BACKING_CHANNEL_READY, "ChannelFailure");
            CONDITIONS.mark_false(conditions, type_, reason, &why, now);
            return Err(format!("problem reconciling the backing channel: {why}"));
        }
    };
    status.channel = Some(KReference {
        api_version: Some(kind.api_version),
        kind: kind.kind,
        name: key.name.to_string(),
        namespace: Some(key.namespace.to_string()),
        ..KReference::default()
    });
    propagate(behind.as_deref(), status, now);

    let wants_sink = channel.spec.delivery.as_ref().is_some_and(|it| it.dead_letter_sink.is_some());
    let says = behind.as_ref().and_then(|it| it.status.as_deref());
    let says = says.filter(|it| wants_sink && it.dead_letter_sink_uri.is_some());
    status.dead_letter_sink_uri = says.and_then(|it| it.dead_letter_sink_uri.clone());
    status.dead_letter_sink_ca_certs = says.and_then(|it| it.dead_letter_sink_ca_certs.clone());
    status.dead_letter_sink_audience = says.and_then(|it| it.dead_letter_sink_audience.clone());
    let conditions = &mut status.conditions;
    if says.is_some() {
        CONDITIONS.mark_true(conditions, DEAD_LETTER_SINK_RESOLVED, now);
    } else if wants_sink {
        let reason = format!("Backing Channel {} didn't set status.deadLetterSinkURI", key.name);
        CONDITIONS.mark_false(conditions, DEAD_LETTER_SINK_RESOLVED, &reason, "", now);
    } else {
        marks::no_dead_letter_sink(CONDITIONS, conditions, now);
    }
    marks::no_policies(CONDITIONS, conditions, now);
    Ok(())
}

/// Says of the Channel what the one behind it says of itself.
fn propagate(behind: Option<&Object>, status: &mut ChannelStatus, now: Timestamp) {
    let conditions = &mut status.conditions;
    let unknown = ("BackingChannelNotConfigured", "BackingChannel has not yet been reconciled.");
    let ready = behind.and_then(Object::ready);
    follow(CONDITIONS, conditions, BACKING_CHANNEL_READY, ready, unknown, now);
    let says = behind.and_then(|it| it.status.as_deref());
    status.address = says.and_then(|it| it.address.clone());
    let subscribers = says.into_iter().flat_map(|it| &it.subscribers);
    status.subscribers =
        subscribers.filter_map(|it| SubscriberStatus::deserialize(it).ok()).collect();
    if status.address.as_ref().is_some_and(|it| it.url.is_some()) {
        CONDITIONS.mark_true(conditions, ADDRESSABLE, now);
    } else {
        let (reason, message) = ("EmptyHostname", "hostname is the empty string");
        CONDITIONS.mark_false(conditions, ADDRESSABLE, reason, message, now);
    }
}
