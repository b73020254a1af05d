//! Sequence: subscribers one after the other, each with the answer of the one before.
//!
//! Pure: [`plan`] decides on what was seen. Before each step is a channel, and a Subscription whose answers go to the next.
//! Source: knative/eventing `pkg/reconciler/sequence`, `pkg/apis/flows/v1/sequence_lifecycle.go`.

use std::sync::Arc;

use api::{
    condition::{Condition, READY, Set, UNKNOWN},
    duck::{Addressable, marks},
    flows::{
        ADDRESSABLE, CHANNELS_READY, FLOW, FlowChannel, FlowSubscription, SUBSCRIPTIONS_READY,
        Sequence, SequenceStatus,
    },
    messaging::{Subscription, SubscriptionSpec},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::{
    plan::{Plan, whole_seconds},
    tracker::object::Object,
};

use super::flow::{self, Seen};
use crate::metadata::{is_deleted, name, namespace};

const CONDITIONS: Set = FLOW;

/// What to do about a Sequence.
pub fn plan(sequence: &Sequence, seen: Seen, now: Timestamp) -> Plan {
    if is_deleted(&sequence.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(sequence);
    let before = sequence.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = sequence.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(sequence, seen, &before, &mut status, &mut plan, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(sequence, sequence.status.as_ref(), &status);
    plan
}

/// Name of the channel before a step, and of the Subscription to it.
pub fn child_name(sequence: &str, step: usize) -> String {
    format!("{sequence}-kn-sequence-{step}")
}

fn reconcile(
    sequence: &Sequence,
    seen: Seen,
    before: &SequenceStatus,
    status: &mut SequenceStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let template = sequence.spec.channel_template.as_ref();
    let steps = 0..sequence.spec.steps.len();
    let names: Vec<String> =
        steps.clone().map(|it| child_name(name(&sequence.metadata), it)).collect();
    let mut channels = Vec::new();
    for its_name in &names {
        let channel = flow::channel(sequence, template, its_name, seen.lookup, plan);
        let channel = channel.inspect_err(|why| {
            let (conditions, reason) = (&mut status.conditions, "ChannelsNotReady");
            CONDITIONS.mark_unknown(conditions, CHANNELS_READY, reason, why, now);
        })?;
        channels.push(channel);
    }
    take_channels(sequence, &names, &channels, before, status, now);

    let wanted =
        steps.map(|step| flow::wanted(sequence, &names[step], spec(sequence, &names, step)));
    let found: Vec<_> = wanted.map(|it| flow::subscribe(it, seen, plan)).collect();
    take_subscriptions(sequence, &names, &found, before, status, now);
    flow::sweep(sequence, template, &names, &names, seen, plan);
    marks::no_policies(CONDITIONS, &mut status.conditions, now);
    Ok(())
}

/// The Subscription of a step.
fn spec(sequence: &Sequence, names: &[String], step: usize) -> SubscriptionSpec {
    let template = sequence.spec.channel_template.as_ref();
    let its = &sequence.spec.steps[step];
    let next = names
        .get(step + 1)
        .map(|it| flow::channel_destination(template, it, namespace(&sequence.metadata)));
    SubscriptionSpec {
        channel: flow::channel_reference(template, &names[step]),
        delivery: its.delivery.clone(),
        reply: next.or_else(|| sequence.spec.reply.clone()),
        subscriber: Some(its.destination.clone()),
    }
}

fn take_channels(
    sequence: &Sequence,
    names: &[String],
    channels: &[Option<Arc<Object>>],
    before: &SequenceStatus,
    status: &mut SequenceStatus,
    now: Timestamp,
) {
    let conditions = &mut status.conditions;
    let first = channels.first().and_then(Option::as_ref);
    let address = first.and_then(|it| it.status.as_ref()?.address.clone());
    let address = address.filter(|it| it.url.is_some());
    if address.is_some() {
        CONDITIONS.mark_true(conditions, ADDRESSABLE, now);
    } else {
        let (reason, message) = ("emptyAddress", "addressable is nil");
        CONDITIONS.mark_unknown(conditions, ADDRESSABLE, reason, message, now);
    }
    status.address = Addressable { name: None, ..address.unwrap_or_default() };

    let (template, own) = (sequence.spec.channel_template.as_ref(), namespace(&sequence.metadata));
    let of = |(place, its_name): (usize, &String)| {
        let ready = channels[place].as_ref().and_then(|it| it.ready());
        let old = before.channel_statuses.get(place).map(|it| &it.ready);
        FlowChannel {
            channel: flow::channel_object(template, its_name, own),
            ready: said("Channel does not have Ready condition", ready, old, now),
        }
    };
    status.channel_statuses = names.iter().enumerate().map(of).collect();
    let mut readies = status.channel_statuses.iter().map(|it| it.ready.is_true());
    if !names.is_empty() && readies.all(|it| it) {
        CONDITIONS.mark_true(conditions, CHANNELS_READY, now);
    } else {
        let (reason, message) =
            ("ChannelsNotReady", "Channels are not ready yet, or there are none");
        CONDITIONS.mark_unknown(conditions, CHANNELS_READY, reason, message, now);
    }
}

fn take_subscriptions(
    sequence: &Sequence,
    names: &[String],
    found: &[Option<Arc<Subscription>>],
    before: &SequenceStatus,
    status: &mut SequenceStatus,
    now: Timestamp,
) {
    let own = namespace(&sequence.metadata);
    let of = |(place, its_name): (usize, &String)| {
        let ready = flow::ready(found[place].as_deref());
        let old = before.subscription_statuses.get(place).map(|it| &it.ready);
        FlowSubscription {
            ready: said("Subscription does not have Ready condition", ready, old, now),
            subscription: flow::subscription_object(its_name, own),
        }
    };
    status.subscription_statuses = names.iter().enumerate().map(of).collect();
    status.auth = None;
    let mut readies = status.subscription_statuses.iter().map(|it| it.ready.is_true());
    let conditions = &mut status.conditions;
    if !names.is_empty() && readies.all(|it| it) {
        CONDITIONS.mark_true(conditions, SUBSCRIPTIONS_READY, now);
    } else {
        let (reason, message) =
            ("SubscriptionsNotReady", "Subscriptions are not ready yet, or there are none");
        CONDITIONS.mark_unknown(conditions, SUBSCRIPTIONS_READY, reason, message, now);
    }
}

/// What a child says of itself, or that it says nothing, since when that is so.
fn said(
    nothing: &str,
    ready: Option<&Condition>,
    old: Option<&Condition>,
    now: Timestamp,
) -> Condition {
    if let Some(ready) = ready {
        return ready.clone();
    }
    let silent = Condition {
        last_transition_time: Some(Time(whole_seconds(now))),
        message: Some(nothing.to_owned()),
        reason: Some("NoReady".to_owned()),
        severity: None,
        status: UNKNOWN.to_owned(),
        type_: READY.to_owned(),
    };
    old.filter(|it| it.says_the_same(&silent)).cloned().unwrap_or(silent)
}

#[cfg(test)]
mod tests;
