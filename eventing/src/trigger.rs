//! Trigger: events of a Broker, as far as its filter lets them, for a subscriber.
//!
//! Pure: [`plan`] decides on what was seen. What is a Subscription elsewhere is a cursor in the Broker's log here.
//! Source: knative/eventing `pkg/reconciler/broker/trigger/trigger.go`, `pkg/apis/eventing/v1/trigger_lifecycle.go`.

use std::sync::Arc;

use api::{
    condition::{Condition, FALSE, READY, Set, TRUE, find},
    duck::marks,
    eventing::{
        BROKER_READY, Broker, DEAD_LETTER_SINK_RESOLVED, DEPENDENCY_READY, SUBSCRIBER_RESOLVED,
        SUBSCRIPTION_READY, TRIGGER, Trigger, TriggerStatus,
    },
    go::quote,
    keys::eventing,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use runtime::{
    cluster::Key,
    plan::Plan,
    resolve::{self, not_found},
    tracker::{Found, Lookup, ObjectKind, object::Object},
};

use crate::broker::{self, NO_DEAD_LETTER_SINK};

const CONDITIONS: Set = TRIGGER;
const NO_SUBSCRIBER: &str = "Unable to get the Subscriber's URI";

/// What there is around a Trigger.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The Broker of [`broker_key`].
    pub broker: Option<&'a Broker>,
    /// Finds its subscriber, its dead letter sink and what it depends on.
    pub lookup: Lookup<'a>,
    /// Whether the dispatcher has it, as its status says it, in the Broker's log.
    pub registered: bool,
}

/// The Broker whose events a Trigger wants. Whether it may be one of another namespace was asked when the Trigger was made.
pub fn broker_key(trigger: &Trigger) -> Key {
    let own = trigger.metadata.namespace.as_deref().unwrap_or_default();
    match &trigger.spec.broker_ref {
        Some(reference) => Key::new(resolve::namespace_of(reference, own), &reference.name),
        None => Key::new(own, trigger.spec.broker.as_deref().unwrap_or_default()),
    }
}

/// What to do about a Trigger of that Broker.
pub fn plan(trigger: &Trigger, broker: &Key, seen: Seen, now: Timestamp) -> Plan {
    if trigger.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    if seen.broker.is_some_and(|it| !broker::is_ours(it)) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(trigger);
    let before = trigger.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = trigger.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(trigger, broker, seen, &mut status, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(trigger, Some(&before), &status);
    plan
}

fn reconcile(
    trigger: &Trigger,
    broker: &Key,
    seen: Seen,
    status: &mut TriggerStatus,
    now: Timestamp,
) -> Result<(), String> {
    let conditions = &mut status.conditions;
    let Some(found) = seen.broker else {
        let message = format!("Broker {} does not exist", quote(&broker.name));
        CONDITIONS.mark_false(conditions, BROKER_READY, "BrokerDoesNotExist", &message, now);
        return Ok(());
    };
    let of_broker = found.status.as_ref().and_then(|it| find(&it.conditions, READY));
    let unknown = ("BrokerNotConfigured", "Broker has not yet been reconciled.");
    follow(conditions, BROKER_READY, of_broker, unknown, now);
    let observed = found.status.as_ref().and_then(|it| it.observed_generation);
    if !of_broker.is_some_and(Condition::is_true) || observed != found.metadata.generation {
        return Ok(());
    }

    let namespace = trigger.metadata.namespace.as_deref().unwrap_or_default();
    let subscriber = resolve::destination(&trigger.spec.subscriber, namespace, seen.lookup);
    let resolved = subscriber.as_ref().ok();
    status.subscriber_uri = resolved.and_then(|it| it.url.clone());
    status.subscriber_ca_certs = resolved.and_then(|it| it.ca_certs.clone());
    status.subscriber_audience = resolved.and_then(|it| it.audience.clone());
    if let Err(problem) = subscriber {
        let (type_, why) = (SUBSCRIBER_RESOLVED, problem.to_string());
        CONDITIONS.mark_false(&mut status.conditions, type_, NO_SUBSCRIBER, &why, now);
        return Err(why);
    }
    CONDITIONS.mark_true(&mut status.conditions, SUBSCRIBER_RESOLVED, now);
    dead_letters(trigger, found, seen.lookup, status, now)?;

    let conditions = &mut status.conditions;
    marks::no_identity(CONDITIONS, conditions, now);
    if seen.registered {
        CONDITIONS.mark_true(conditions, SUBSCRIPTION_READY, now);
    } else {
        let (reason, message) =
            ("SubscriptionNotConfigured", "Subscription has not yet been reconciled.");
        CONDITIONS.mark_unknown(conditions, SUBSCRIPTION_READY, reason, message, now);
    }
    dependency(trigger, seen.lookup, conditions, now)
}

/// Where what the subscriber does not take goes: what the Trigger says, else what its Broker says.
fn dead_letters(
    trigger: &Trigger,
    broker: &Broker,
    lookup: Lookup,
    status: &mut TriggerStatus,
    now: Timestamp,
) -> Result<(), String> {
    let own = trigger.spec.delivery.as_ref().and_then(|it| it.dead_letter_sink.as_ref());
    let of_broker = broker.spec.delivery.as_ref().and_then(|it| it.dead_letter_sink.as_ref());
    status.dead_letter_sink_uri = None;
    status.dead_letter_sink_ca_certs = None;
    status.dead_letter_sink_audience = None;
    let conditions = &mut status.conditions;
    if let Some(own) = own {
        let namespace = trigger.metadata.namespace.as_deref().unwrap_or_default();
        let address = resolve::destination(own, namespace, lookup).map_err(|problem| {
            let (type_, why) = (DEAD_LETTER_SINK_RESOLVED, problem.to_string());
            CONDITIONS.mark_false(conditions, type_, NO_DEAD_LETTER_SINK, &why, now);
            why
        })?;
        status.dead_letter_sink_uri = address.url;
        status.dead_letter_sink_ca_certs = address.ca_certs;
        status.dead_letter_sink_audience = address.audience;
    } else if of_broker.is_some() {
        let said = broker.status.as_ref().filter(|it| it.dead_letter_sink_uri.is_some());
        let Some(said) = said else {
            let name = broker.metadata.name.as_deref().unwrap_or_default();
            let reason = format!("Broker {name} didn't set status.deadLetterSinkURI");
            CONDITIONS.mark_false(conditions, DEAD_LETTER_SINK_RESOLVED, &reason, "", now);
            return Err(format!("broker {name} didn't set status.deadLetterSinkURI"));
        };
        status.dead_letter_sink_uri = said.dead_letter_sink_uri.clone();
        status.dead_letter_sink_ca_certs = said.dead_letter_sink_ca_certs.clone();
        status.dead_letter_sink_audience = said.dead_letter_sink_audience.clone();
    } else {
        marks::no_dead_letter_sink(CONDITIONS, conditions, now);
        return Ok(());
    }
    CONDITIONS.mark_true(conditions, DEAD_LETTER_SINK_RESOLVED, now);
    Ok(())
}

/// Whether the object that the Trigger waits for is ready.
fn dependency(
    trigger: &Trigger,
    lookup: Lookup,
    conditions: &mut Vec<Condition>,
    now: Timestamp,
) -> Result<(), String> {
    const TYPE: &str = DEPENDENCY_READY;
    let annotations = trigger.metadata.annotations.as_ref();
    let Some(written) = annotations.and_then(|it| it.get(eventing::DEPENDENCY)) else {
        CONDITIONS.mark_true(conditions, TYPE, now);
        return Ok(());
    };
    let reference: ObjectReference = serde_json::from_str(written).map_err(|error| {
        let message = format!(
            "Unable to unmarshal objectReference from dependency annotation of trigger: {error}"
        );
        CONDITIONS.mark_false(conditions, TYPE, "ReferenceError", &message, now);
        format!("getting object ref from dependency annotation {}: {error}", quote(written))
    })?;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let kind = ObjectKind::new(&text(&reference.api_version), &text(&reference.kind));
    let namespace = trigger.metadata.namespace.as_deref().unwrap_or_default();
    let key = Key::new(namespace, &text(&reference.name));
    let failed =
        |why: &str| Err(format!("propagating dependency readiness: getting the dependency: {why}"));
    let found: Arc<Object> = match (lookup.object)(&kind, &key) {
        Found::Here(object) => object,
        Found::Missing => {
            let why = not_found(&kind, &key.name);
            let message = format!("Dependency does not exist: {why}");
            CONDITIONS.mark_false(conditions, TYPE, "DependencyDoesNotExist", &message, now);
            return failed(&why);
        }
        Found::Hidden(why) => {
            let message = format!("Failed to get dependency: {why}");
            CONDITIONS.mark_unknown(conditions, TYPE, "DependencyGetFailed", &message, now);
            return failed(&why);
        }
    };
    let observed = found.status.as_ref().map(|it| it.observed_generation).unwrap_or_default();
    if found.generation != observed {
        let message = format!(
            "The dependency's metadata.generation, \"{}\", is not equal to its \
             status.observedGeneration, \"{observed}\".",
            found.generation
        );
        CONDITIONS.mark_unknown(conditions, TYPE, "GenerationNotEqual", &message, now);
        return Ok(());
    }
    let unknown = ("DependencyNotConfigured", "Dependency has not yet been reconciled.");
    follow(conditions, TYPE, found.ready(), unknown, now);
    Ok(())
}

/// Says of `type_` what another object says of itself; `unknown` is the reason and the message where it says nothing.
fn follow(
    conditions: &mut Vec<Condition>,
    type_: &str,
    of: Option<&Condition>,
    unknown: (&str, &str),
    now: Timestamp,
) {
    let Some(of) = of else {
        return CONDITIONS.mark_unknown(conditions, type_, unknown.0, unknown.1, now);
    };
    match &*of.status {
        TRUE => CONDITIONS.mark_true(conditions, type_, now),
        FALSE => CONDITIONS.mark_false(conditions, type_, of.reason(), of.message(), now),
        _ => CONDITIONS.mark_unknown(conditions, type_, of.reason(), of.message(), now),
    }
}

#[cfg(test)]
mod tests;
