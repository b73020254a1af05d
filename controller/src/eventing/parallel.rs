//! Parallel: branches that all get each event, unless their filter says no.
//!
//! Pure: [`plan`] decides on what was seen. One channel takes the events; each branch has another one behind its filter.
//! Source: knative/eventing `pkg/reconciler/parallel`, `pkg/apis/flows/v1/parallel_lifecycle.go`.

use std::sync::Arc;

use api::{
    condition::{Condition, FALSE, READY, Set, TRUE},
    duck::{Addressable, marks},
    flows::{
        ADDRESSABLE, BranchStatus, CHANNELS_READY, FLOW, FlowChannel, FlowSubscription, Parallel,
        ParallelStatus, SUBSCRIPTIONS_READY,
    },
    messaging::{Subscription, SubscriptionSpec},
};
use jiff::Timestamp;
use runtime::{plan::Plan, tracker::object::Object};

use super::flow::{self, Seen};
use crate::metadata::{is_deleted, name, namespace};

const CONDITIONS: Set = FLOW;

/// What to do about a Parallel.
pub fn plan(parallel: &Parallel, seen: Seen, now: Timestamp) -> Plan {
    if is_deleted(&parallel.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(parallel);
    let before = parallel.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = parallel.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(parallel, seen, &mut status, &mut plan, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(parallel, parallel.status.as_ref(), &status);
    plan
}

/// Name of the channel that takes the events.
pub fn ingress_name(parallel: &str) -> String {
    format!("{parallel}-kn-parallel")
}

/// Name of the channel of a branch, and of the Subscription to it.
pub fn branch_name(parallel: &str, branch: usize) -> String {
    format!("{parallel}-kn-parallel-{branch}")
}

/// Name of the Subscription that leads into a branch.
pub fn filter_name(parallel: &str, branch: usize) -> String {
    format!("{parallel}-kn-parallel-filter-{branch}")
}

fn reconcile(
    parallel: &Parallel,
    seen: Seen,
    status: &mut ParallelStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let template = parallel.spec.channel_template.as_ref();
    let own = name(&parallel.metadata);
    let branches = 0..parallel.spec.branches.len();
    let mut channel_names = vec![ingress_name(own)];
    channel_names.extend(branches.clone().map(|it| branch_name(own, it)));
    let mut channels = Vec::new();
    for its_name in &channel_names {
        let channel = flow::channel(parallel, template, its_name, seen.lookup, plan);
        let channel = channel.inspect_err(|why| {
            let (conditions, reason) = (&mut status.conditions, "ChannelsNotReady");
            CONDITIONS.mark_false(conditions, CHANNELS_READY, reason, why, now);
        })?;
        channels.push(channel);
    }
    status.branch_statuses.resize_with(branches.len(), BranchStatus::default);
    take_channels(parallel, &channel_names, &channels, status, now);

    let (mut filters, mut subscribers, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for branch in branches {
        let filter = (filter_name(own, branch), filter_spec(parallel, branch));
        let subscriber = (branch_name(own, branch), subscriber_spec(parallel, branch));
        let mut subscribe = |(its_name, spec): (String, SubscriptionSpec)| {
            let found = flow::subscribe(flow::wanted(parallel, &its_name, spec), seen, plan);
            names.push(its_name);
            found
        };
        filters.push(subscribe(filter));
        subscribers.push(subscribe(subscriber));
    }
    take_subscriptions(parallel, &filters, &subscribers, status, now);
    flow::sweep(parallel, template, &channel_names, &names, seen, plan);
    marks::no_policies(CONDITIONS, &mut status.conditions, now);
    Ok(())
}

/// The Subscription that leads into a branch: to its filter, whose answers go on, or straight to its channel.
fn filter_spec(parallel: &Parallel, branch: usize) -> SubscriptionSpec {
    let template = parallel.spec.channel_template.as_ref();
    let own = name(&parallel.metadata);
    let into = flow::channel_destination(
        template,
        &branch_name(own, branch),
        namespace(&parallel.metadata),
    );
    let filter = parallel.spec.branches[branch].filter.clone();
    let (subscriber, reply) = match filter {
        Some(filter) => (filter, Some(into)),
        None => (into, None),
    };
    SubscriptionSpec {
        channel: flow::channel_reference(template, &ingress_name(own)),
        delivery: None,
        reply,
        subscriber: Some(subscriber),
    }
}

/// The Subscription of a branch's subscriber.
fn subscriber_spec(parallel: &Parallel, branch: usize) -> SubscriptionSpec {
    let template = parallel.spec.channel_template.as_ref();
    let its = &parallel.spec.branches[branch];
    SubscriptionSpec {
        channel: flow::channel_reference(template, &branch_name(name(&parallel.metadata), branch)),
        delivery: its.delivery.clone(),
        reply: its.reply.clone().or_else(|| parallel.spec.reply.clone()),
        subscriber: Some(its.subscriber.clone()),
    }
}

fn take_channels(
    parallel: &Parallel,
    names: &[String],
    channels: &[Option<Arc<Object>>],
    status: &mut ParallelStatus,
    now: Timestamp,
) {
    let (template, own) = (parallel.spec.channel_template.as_ref(), namespace(&parallel.metadata));
    let address = |place: usize| -> Option<Addressable> {
        channels[place].as_ref()?.status.as_ref()?.address.clone()
    };
    let of = |place: usize| FlowChannel {
        channel: flow::channel_object(template, &names[place], own),
        ready: addressable(address(place).is_some()),
    };
    status.ingress_channel_status = of(0);
    for (branch, its) in status.branch_statuses.iter_mut().enumerate() {
        its.filter_channel_status = of(branch + 1);
    }
    let conditions = &mut status.conditions;
    status.address = address(0);
    if status.address.is_some() {
        CONDITIONS.mark_true(conditions, ADDRESSABLE, now);
    } else {
        let (reason, message) = ("emptyAddress", "addressable is nil");
        CONDITIONS.mark_false(conditions, ADDRESSABLE, reason, message, now);
    }
    if (0..channels.len()).all(|it| address(it).is_some()) {
        CONDITIONS.mark_true(conditions, CHANNELS_READY, now);
    } else {
        let (reason, message) =
            ("ChannelsNotReady", "Channels are not ready yet, or there are none");
        CONDITIONS.mark_false(conditions, CHANNELS_READY, reason, message, now);
    }
}

fn take_subscriptions(
    parallel: &Parallel,
    filters: &[Option<Arc<Subscription>>],
    subscribers: &[Option<Arc<Subscription>>],
    status: &mut ParallelStatus,
    now: Timestamp,
) {
    let (own, space) = (name(&parallel.metadata), namespace(&parallel.metadata));
    let of = |its_name: String, found: &Option<Arc<Subscription>>| FlowSubscription {
        ready: flow::ready(found.as_deref()).cloned().unwrap_or_default(),
        subscription: flow::subscription_object(&its_name, space),
    };
    for (branch, its) in status.branch_statuses.iter_mut().enumerate() {
        its.filter_subscription_status = of(filter_name(own, branch), &filters[branch]);
        its.subscriber_subscription_status = of(branch_name(own, branch), &subscribers[branch]);
    }
    status.auth = None;
    let is_ready = |it: &BranchStatus| {
        it.filter_subscription_status.ready.is_true()
            && it.subscriber_subscription_status.ready.is_true()
    };
    let conditions = &mut status.conditions;
    if !filters.is_empty() && status.branch_statuses.iter().all(is_ready) {
        CONDITIONS.mark_true(conditions, SUBSCRIPTIONS_READY, now);
    } else {
        let (reason, message) =
            ("SubscriptionsNotReady", "Subscriptions are not ready yet, or there are none");
        CONDITIONS.mark_false(conditions, SUBSCRIPTIONS_READY, reason, message, now);
    }
}

/// Whether a channel takes events, as the status of a Parallel says it.
fn addressable(is_there: bool) -> Condition {
    let text = |it: &str| (!is_there).then(|| it.to_owned());
    Condition {
        last_transition_time: None,
        message: text("Channel is not addressable"),
        reason: text("NotAddressable"),
        severity: None,
        status: if is_there { TRUE } else { FALSE }.to_owned(),
        type_: READY.to_owned(),
    }
}
