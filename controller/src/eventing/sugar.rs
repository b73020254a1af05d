//! Brokers that namespaces and Triggers get by themselves, where the configuration says so.
//!
//! Pure: what asks for a Broker in, a plan out.
//! Source: knative/eventing `pkg/reconciler/sugar`.

use std::collections::BTreeMap;

use api::eventing::{Broker, Trigger};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use runtime::{
    plan::{Event, Plan, Write},
    selector,
};

use crate::metadata::{is_deleted, name};

/// The Broker of a namespace.
pub const DEFAULT: &str = "default";
const INJECTED: &str = "eventing.knative.dev/injected";
const CREATED: &str = "BrokerCreated";

/// What to do about a namespace; `has_broker` says whether it has the Broker `default`.
pub fn namespace(namespace: &Namespace, picks: Option<&LabelSelector>, has_broker: bool) -> Plan {
    let mut plan = Plan::about(namespace);
    let meta = &namespace.metadata;
    if !has_broker && is_picked(meta, picks) {
        // In the namespace, where people look for it.
        plan.about.namespace.clone_from(&meta.name);
        let event = Event::normal(CREATED, "Default eventing.knative.dev Broker created.");
        let write = Write::create(&broker(name(meta), DEFAULT)).with_event(event);
        plan.writes.push(write.with_context("unable to create Broker"));
    }
    plan
}

/// What to do about a Trigger; `has_broker` says whether the Broker that it names is there.
pub fn trigger(trigger: &Trigger, picks: Option<&LabelSelector>, has_broker: bool) -> Plan {
    let mut plan = Plan::about(trigger);
    let meta = &trigger.metadata;
    let named = trigger.spec.broker.as_deref().filter(|it| !it.is_empty());
    if let Some(named) = named
        && !has_broker
        && is_picked(meta, picks)
    {
        let message = format!("Default eventing.knative.dev Broker \"{named}\" created.");
        let write = Write::create(&broker(crate::metadata::namespace(meta), named));
        let write = write.with_event(Event::normal(CREATED, message));
        plan.writes.push(write.with_context("Unable to create Broker"));
    }
    plan
}

fn is_picked(meta: &ObjectMeta, picks: Option<&LabelSelector>) -> bool {
    let labels = meta.labels.clone().unwrap_or_default();
    !is_deleted(meta) && picks.is_some_and(|it| selector::picks(it, &labels))
}

fn broker(namespace: &str, its_name: &str) -> Broker {
    Broker {
        metadata: ObjectMeta {
            name: Some(its_name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(INJECTED.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        ..Broker::default()
    }
}
