//! What makes the objects of Eventing be planned that are not the broker's own: channels, flows, sources and sinks.
//!
//! Each kind has a module whose `plan` decides; here is what they read.

use std::sync::Arc;

use api::{
    condition::{Condition, FALSE, Set, TRUE},
    flows::{Parallel, Sequence},
    messaging::Subscription,
};
use jiff::Timestamp;
use runtime::{
    cluster::{Cluster, Key, Kind},
    events::Recorder,
    plan::{Plan, Write},
    reconcile::{Controller, PlanFn},
    tracker::{Lookup, References},
};

pub mod channel;
pub mod event_type;
pub mod flow;
pub mod parallel;
#[cfg(test)]
mod sample;
pub mod sequence;
pub mod subscription;
pub mod template;

/// Runs all controllers of Eventing until the cluster stops.
pub async fn run(cluster: Cluster, recorder: Recorder) {
    let named = |component| (cluster.clone(), recorder.named(component));
    tokio::join!(
        with_references(named("subscription-controller"), subscription::plan),
        with_references(named("channel-controller"), channel::plan),
        with_references(named("eventtype-controller"), event_type::plan),
        flows(named("sequence-controller"), "Sequence", |it: &Sequence, seen, now| {
            sequence::plan(it, seen, now)
        }),
        flows(named("parallel-controller"), "Parallel", |it: &Parallel, seen, now| {
            parallel::plan(it, seen, now)
        }),
    );
}

/// Plans a kind whose objects follow from themselves and what they refer to.
async fn with_references<K: Kind>(
    (cluster, recorder): (Cluster, Recorder),
    plan: fn(&K, Lookup, Timestamp) -> Plan,
) {
    let mut controller = Controller::new(&cluster);
    let objects = controller.plans::<K>();
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| match objects.at(key) {
            Some(object) => plan(&object, lookup, now),
            None => Plan::nothing(),
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

/// Plans Sequences or Parallels.
async fn flows<K: Kind>(
    (cluster, recorder): (Cluster, Recorder),
    kind: &'static str,
    plan: fn(&K, flow::Seen, Timestamp) -> Plan,
) {
    let mut controller = Controller::new(&cluster);
    let flows = controller.plans::<K>();
    let subscriptions = controller.on_owned::<Subscription>(kind);
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(flow) = flows.at(key) else { return Plan::nothing() };
            let uid = flow.meta().uid.as_deref().unwrap_or_default();
            let own: Vec<Arc<Subscription>> = subscriptions.owned_by(uid);
            let seen = flow::Seen {
                lookup,
                subscriptions: &own,
                subscription: &|name| subscriptions.get(&key.namespace, name),
                is_futile: &|write: &Write| cluster.is_futile(write),
            };
            plan(&flow, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

/// Says of `type_` what another object says of itself; `unknown` is the reason and the message where it says nothing.
fn follow(
    set: Set,
    conditions: &mut Vec<Condition>,
    type_: &str,
    of: Option<&Condition>,
    unknown: (&str, &str),
    now: Timestamp,
) {
    let Some(of) = of else {
        return set.mark_unknown(conditions, type_, unknown.0, unknown.1, now);
    };
    match &*of.status {
        TRUE => set.mark_true(conditions, type_, now),
        FALSE => set.mark_false(conditions, type_, of.reason(), of.message(), now),
        _ => set.mark_unknown(conditions, type_, of.reason(), of.message(), now),
    }
}
