//! Subscription: a channel's events for a subscriber, and where its answers go.
//!
//! Pure: [`plan`] decides on what was seen. A Subscription resolves where its events go and writes that into the channel,
//! which serves it from then on.
//! Source: knative/eventing `pkg/reconciler/subscription/subscription.go`.

use std::sync::Arc;

use api::{
    condition::{FALSE, Set, TRUE, is_true},
    duck::{DeliverySpec, Destination, KReference, Subscriber, SubscriberStatus, marks},
    go::quote,
    messaging::{
        ADDED_TO_CHANNEL, CHANNEL_READY, PhysicalSubscription, REFERENCES_RESOLVED, SUBSCRIPTION,
        Subscription, SubscriptionStatus,
    },
};
use jiff::Timestamp;
use runtime::{
    finalizer,
    plan::{Event, Plan, Write, status_write},
    resolve::{self, Problem},
    tracker::{Lookup, ObjectKind, object::Object},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::metadata::{is_deleted, name, namespace};

const CONDITIONS: Set = SUBSCRIPTION;
/// Keeps a Subscription until its channel has forgotten it.
const FINALIZER: &str = "subscriptions.messaging.knative.dev";

const CHANNEL_REFERENCE_FAILED: &str = "ChannelReferenceFailed";
const NOT_MARKED_READY: &str = "SubscriptionNotMarkedReadyByChannel";
const SYNC_FAILED: &str = "PhysicalChannelSyncFailed";

/// The channel that has the subscribers.
struct Physical {
    kind: ObjectKind,
    object: Arc<Object>,
}

/// What to do about a Subscription.
pub fn plan(subscription: &Subscription, lookup: Lookup, now: Timestamp) -> Plan {
    let mut plan = Plan::about(subscription);
    if is_deleted(&subscription.metadata) {
        if finalizer::holds(&subscription.metadata, FINALIZER) {
            end(subscription, lookup, &mut plan);
        }
        return plan;
    }
    plan.writes.extend(finalizer::hold(subscription, FINALIZER));
    let before = subscription.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = subscription.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    if let Err((reason, message)) = reconcile(subscription, lookup, &mut status, &mut plan, now) {
        plan.warn(reason, message);
    }
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(subscription, subscription.status.as_ref(), &status);
    plan
}

/// Takes a Subscription that ends out of its channel, and lets it go.
fn end(subscription: &Subscription, lookup: Lookup, plan: &mut Plan) {
    let was_added =
        subscription.status.as_ref().is_some_and(|it| is_true(&it.conditions, ADDED_TO_CHANNEL));
    match channel(subscription, lookup) {
        Ok(channel) if was_added => {
            let mut subscribers = subscribers(&channel.object);
            let count = subscribers.len();
            subscribers.retain(|it| uid_of(it) != subscription.metadata.uid.as_deref());
            if subscribers.len() < count {
                let message = format!(
                    "Subscription was removed from channel {}",
                    quote(&channel.object.key.name)
                );
                let write = set_subscribers(&channel, subscribers);
                plan.writes.push(write.with_event(Event::normal("SubscriberRemoved", message)));
            }
        }
        Ok(_) | Err(Problem::Missing(_)) => {}
        Err(Problem::Wrong(_)) if !was_added => {}
        Err(Problem::Wrong(why)) => {
            plan.error = Some(why);
            return;
        }
    }
    plan.writes.extend(finalizer::release(subscription, FINALIZER));
}

fn reconcile(
    subscription: &Subscription,
    lookup: Lookup,
    status: &mut SubscriptionStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), (&'static str, String)> {
    marks::no_identity(CONDITIONS, &mut status.conditions, now);
    let channel = channel(subscription, lookup).map_err(|why| {
        let message = format!("Failed to get Spec.Channel or backing channel: {why}");
        let (conditions, reason) = (&mut status.conditions, CHANNEL_REFERENCE_FAILED);
        CONDITIONS.mark_unknown(conditions, REFERENCES_RESOLVED, reason, &message, now);
        (reason, message)
    })?;
    let resolved = resolve_all(subscription, &channel.object, lookup, status);
    resolved.inspect_err(|(reason, message)| {
        let conditions = &mut status.conditions;
        CONDITIONS.mark_false(conditions, REFERENCES_RESOLVED, reason, message, now);
    })?;
    CONDITIONS.mark_true(&mut status.conditions, REFERENCES_RESOLVED, now);

    let wanted = subscriber(subscription, &channel.object, &status.physical_subscription);
    let mut all = subscribers(&channel.object);
    let uid = subscription.metadata.uid.as_deref();
    let place = all.iter().position(|it| uid_of(it) == uid);
    if place.is_none_or(|place| read::<Subscriber>(&all[place]).as_ref() != Some(&wanted)) {
        let value = serde_json::to_value(&wanted).expect("a subscriber is plain data");
        match place {
            Some(place) => all[place] = value,
            None => all.push(value),
        }
        sync(subscription, &channel, all, status, plan, now);
        return Ok(());
    }
    CONDITIONS.mark_true(&mut status.conditions, ADDED_TO_CHANNEL, now);
    let channel_status = channel.object.status.as_deref();
    let says = channel_status.into_iter().flat_map(|it| &it.subscribers);
    let says = says.filter_map(read::<SubscriberStatus>).find(|it| {
        it.uid == subscription.metadata.uid
            && it.observed_generation.unwrap_or_default()
                == subscription.metadata.generation.unwrap_or_default()
    });
    let Some(says) = says else {
        let message = format!(
            "Failed to get subscription status: subscription {} not present in channel {} \
             subscriber's list",
            quote(name(&subscription.metadata)),
            quote(&channel.object.key.name)
        );
        let conditions = &mut status.conditions;
        CONDITIONS.mark_unknown(conditions, CHANNEL_READY, NOT_MARKED_READY, &message, now);
        return Err((NOT_MARKED_READY, message));
    };
    let (conditions, reason) = (&mut status.conditions, NOT_MARKED_READY);
    match says.ready.as_deref() {
        Some(TRUE) => CONDITIONS.mark_true(conditions, CHANNEL_READY, now),
        Some(FALSE) => {
            let message = "Subscription marked by Channel as False";
            CONDITIONS.mark_false(conditions, CHANNEL_READY, reason, message, now);
        }
        _ => {
            let message = "Subscription marked by Channel as Unknown";
            CONDITIONS.mark_unknown(conditions, CHANNEL_READY, reason, message, now);
        }
    }
    Ok(())
}

/// Writes the subscribers into the channel; the Subscription is planned again when they are there.
fn sync(
    subscription: &Subscription,
    channel: &Physical,
    subscribers: Vec<Value>,
    status: &SubscriptionStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    let channel_name = quote(&channel.object.key.name);
    let message = format!("Subscription was synchronized to channel {channel_name}");
    let failure =
        Event::warning(SYNC_FAILED, format!("Failed to synchronize to channel {channel_name}"));
    let write = set_subscribers(channel, subscribers);
    plan.writes
        .push(write.with_event(Event::normal("SubscriberSync", message)).with_failure(failure));
    let (subscription, failed) = (subscription.clone(), status.clone());
    plan.status_after_failure = Some(Box::new(move |why| {
        let mut failed = failed.clone();
        let message = format!("Failed to sync physical Channel: {why}");
        let conditions = &mut failed.conditions;
        CONDITIONS.mark_false(conditions, ADDED_TO_CHANNEL, SYNC_FAILED, &message, now);
        let before = subscription.status.as_ref();
        CONDITIONS.end(conditions, before.map_or(&[], |it| &it.conditions[..]));
        status_write(&subscription, before, &failed)
    }));
}

/// Finds the channel that has the subscribers: the one that is named or, where that is a Channel, the one behind it.
fn channel(subscription: &Subscription, lookup: Lookup) -> Result<Physical, Problem> {
    let own = namespace(&subscription.metadata);
    let named = &subscription.spec.channel;
    let object = resolve::object(named, own, lookup)?;
    let kind = resolve::kind(named);
    if !(kind.group() == "messaging.knative.dev" && kind.kind == "Channel") {
        return Ok(Physical { kind, object });
    }
    let behind = object.status.as_ref().and_then(|it| it.channel.as_ref());
    let behind = behind.and_then(read::<KReference>);
    let is_ready = object.ready().is_some_and(|it| it.is_true());
    let Some(behind) = behind.filter(|_| is_ready) else {
        return Err(Problem::Wrong("channel is not ready.".to_owned()));
    };
    let object = resolve::object(&behind, &object.key.namespace, lookup)?;
    Ok(Physical { kind: resolve::kind(&behind), object })
}

/// Resolves all destinations of a Subscription, in order; those behind the first that leads nowhere stay as they were.
fn resolve_all(
    subscription: &Subscription,
    channel: &Object,
    lookup: Lookup,
    status: &mut SubscriptionStatus,
) -> Result<(), (&'static str, String)> {
    let own = namespace(&subscription.metadata);
    let spec = &subscription.spec;
    let physical = &mut status.physical_subscription;
    let destination = |wanted: &Option<Destination>, reason, field: &str| {
        let wanted = wanted.as_ref().filter(|it| **it != Destination::default());
        let resolved = wanted.map(|it| resolve::destination(it, own, lookup)).transpose();
        let resolved = resolved.map(Option::unwrap_or_default);
        resolved.map_err(|why| (reason, format!("Failed to resolve {field}: {why}")))
    };
    let address = destination(&spec.subscriber, "SubscriberResolveFailed", "spec.subscriber")?;
    physical.subscriber_uri = address.url;
    physical.subscriber_ca_certs = address.ca_certs;
    physical.subscriber_audience = address.audience;
    let address = destination(&spec.reply, "ReplyResolveFailed", "spec.reply")?;
    physical.reply_uri = address.url;
    physical.reply_ca_certs = address.ca_certs;
    physical.reply_audience = address.audience;

    const REASON: &str = "DeadLetterSinkResolveFailed";
    let sink = |it: &DeliverySpec| it.dead_letter_sink.clone();
    let of_channel = delivery_of(channel).as_ref().and_then(sink);
    let own_sink = spec.delivery.as_ref().and_then(sink);
    let (is_own, channel_status) = (own_sink.is_some(), channel.status.as_deref());
    let address = destination(&own_sink, REASON, "spec.delivery.deadLetterSink");
    let address = address.inspect_err(|_| set_dead_letters(physical, None, None, None))?;
    if is_own || of_channel.is_none() {
        set_dead_letters(physical, address.url, address.ca_certs, address.audience);
        return Ok(());
    }
    let said = channel_status.filter(|it| it.dead_letter_sink_uri.is_some()).cloned();
    let said = said.ok_or_else(|| {
        set_dead_letters(physical, None, None, None);
        (REASON, format!("channel {} didn't set status.deadLetterSinkURI", channel.key.name))
    })?;
    set_dead_letters(
        physical,
        said.dead_letter_sink_uri,
        said.dead_letter_sink_ca_certs,
        said.dead_letter_sink_audience,
    );
    Ok(())
}

fn set_dead_letters(
    physical: &mut PhysicalSubscription,
    uri: Option<String>,
    ca_certs: Option<String>,
    audience: Option<String>,
) {
    physical.dead_letter_sink_uri = uri;
    physical.dead_letter_sink_ca_certs = ca_certs;
    physical.dead_letter_sink_audience = audience;
}

/// What the channel is to know of the Subscription.
fn subscriber(
    subscription: &Subscription,
    channel: &Object,
    physical: &PhysicalSubscription,
) -> Subscriber {
    let meta = &subscription.metadata;
    Subscriber {
        auth: None,
        delivery: delivery(subscription, channel, physical),
        generation: meta.generation,
        name: meta.name.clone(),
        reply_audience: physical.reply_audience.clone(),
        reply_ca_certs: physical.reply_ca_certs.clone(),
        reply_uri: physical.reply_uri.clone(),
        subscriber_audience: physical.subscriber_audience.clone(),
        subscriber_ca_certs: physical.subscriber_ca_certs.clone(),
        subscriber_uri: physical.subscriber_uri.clone(),
        uid: meta.uid.clone(),
    }
}

/// How events are delivered: as the Subscription says or, where it says nothing, as the channel does; with the dead letter
/// sink resolved.
fn delivery(
    subscription: &Subscription,
    channel: &Object,
    physical: &PhysicalSubscription,
) -> Option<DeliverySpec> {
    let says = subscription.spec.delivery.clone().or_else(|| delivery_of(channel));
    let says = says.unwrap_or_default();
    let dead_letter_sink = physical.dead_letter_sink_uri.clone().map(|uri| Destination {
        uri: Some(uri),
        ca_certs: physical.dead_letter_sink_ca_certs.clone(),
        audience: physical.dead_letter_sink_audience.clone(),
        reference: None,
    });
    let delivery = DeliverySpec { dead_letter_sink, ..says };
    (delivery != DeliverySpec::default()).then_some(delivery)
}

fn delivery_of(channel: &Object) -> Option<DeliverySpec> {
    read(channel.channel.as_ref()?.delivery.as_ref()?)
}

fn subscribers(channel: &Object) -> Vec<Value> {
    channel.channel.as_ref().map(|it| it.subscribers.clone()).unwrap_or_default()
}

fn set_subscribers(channel: &Physical, subscribers: Vec<Value>) -> Write {
    // An empty list is written as none.
    let subscribers = if subscribers.is_empty() { Value::Null } else { subscribers.into() };
    let patch = json!({ "spec": { "subscribers": subscribers } });
    Write::merge_any(&channel.kind, &channel.object, patch)
}

fn uid_of(subscriber: &Value) -> Option<&str> {
    subscriber["uid"].as_str()
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests;
