//! Broker: takes events at an address and keeps them in a log, from which Triggers pick.
//!
//! Pure: [`plan`] decides on what was seen. There is no channel and no Subscription beneath a Broker; its conditions are
//! those that tools know from the one that has them.
//! Source: knative/eventing `pkg/reconciler/broker/broker.go`, `pkg/apis/eventing/v1/broker_lifecycle_mt.go`.

use api::{
    condition::Set,
    duck::{KReference, marks},
    eventing::{
        ADDRESSABLE, Broker, BrokerStatus, DEAD_LETTER_SINK_RESOLVED, EVENT_POLICIES_READY,
        FILTER_READY, INGRESS_READY, TRIGGER_CHANNEL_READY,
    },
    keys::eventing,
};
use config::domain::CLUSTER_LOCAL_DOMAIN;
use jiff::Timestamp;
use kube::Resource;
use runtime::{
    cluster::Key,
    plan::Plan,
    resolve::{self, Problem},
    tracker::Lookup,
};

/// The conditions of a Broker of this engine; what becomes of dead letters is said, but nothing depends on it.
/// Source: knative/eventing `pkg/reconciler/broker/controller.go`.
pub const CONDITIONS: Set = Set {
    dependents: &[
        INGRESS_READY,
        TRIGGER_CHANNEL_READY,
        FILTER_READY,
        ADDRESSABLE,
        EVENT_POLICIES_READY,
    ],
};

/// The classes of Brokers that this engine serves: those that people have, so that what they wrote works as it is.
const CLASSES: [&str; 5] =
    [eventing::MT_CHANNEL_BROKER_CLASS, "Kafka", "KafkaNamespaced", "RabbitMQBroker", "Weft"];

/// The reason of a dead letter sink that leads nowhere, of Brokers and Triggers.
pub(crate) const NO_DEAD_LETTER_SINK: &str = "Unable to get the dead letter sink's URI";

/// What there is around a Broker.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its configuration and its dead letter sink.
    pub lookup: Lookup<'a>,
    /// Whether its log is open, so that an event sent to its address is kept.
    pub registered: bool,
    /// Namespace of the platform's own objects of Eventing.
    pub system_namespace: &'a str,
}

/// Whether a Broker is of a class that this engine serves; others are left alone.
pub fn is_ours(broker: &Broker) -> bool {
    let class = broker.meta().annotations.as_ref().and_then(|it| it.get(eventing::BROKER_CLASS));
    class.is_some_and(|class| CLASSES.contains(&class.as_str()))
}

/// Where events for a Broker are sent.
pub fn address(broker: &Key, system_namespace: &str) -> String {
    let Key { namespace, name } = broker;
    format!("http://broker-ingress.{system_namespace}.{CLUSTER_LOCAL_DOMAIN}/{namespace}/{name}")
}

/// What to do about a Broker.
pub fn plan(broker: &Broker, seen: Seen, now: Timestamp) -> Plan {
    if !is_ours(broker) || broker.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let mut plan = Plan::about(broker);
    let before = broker.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = broker.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(broker, seen, &mut status, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(broker, Some(&before), &status);
    plan
}

fn reconcile(
    broker: &Broker,
    seen: Seen,
    status: &mut BrokerStatus,
    now: Timestamp,
) -> Result<(), String> {
    let key = Key::of(broker);
    let conditions = &mut status.conditions;
    if let Err(why) = configured(broker.spec.config.as_ref(), &key, seen.lookup) {
        let message = format!("Error on setting up the ChannelTemplate: {why}");
        let reason = "ChannelTemplateFailed";
        CONDITIONS.mark_false(conditions, TRIGGER_CHANNEL_READY, reason, &message, now);
        return Err(why);
    }
    if !seen.registered {
        let message = "The broker's log is being opened.";
        let (type_, reason) = (TRIGGER_CHANNEL_READY, "ChannelNotReady");
        CONDITIONS.mark_unknown(conditions, type_, reason, message, now);
        return Ok(());
    }
    for type_ in [TRIGGER_CHANNEL_READY, FILTER_READY, INGRESS_READY] {
        CONDITIONS.mark_true(conditions, type_, now);
    }

    let sink = broker.spec.delivery.as_ref().and_then(|it| it.dead_letter_sink.as_ref());
    let sink = sink.map(|it| resolve::destination(it, &key.namespace, seen.lookup)).transpose();
    let dead_letters = sink.as_ref().ok().and_then(Option::as_ref);
    status.dead_letter_sink_uri = dead_letters.and_then(|it| it.url.clone());
    status.dead_letter_sink_ca_certs = dead_letters.and_then(|it| it.ca_certs.clone());
    status.dead_letter_sink_audience = dead_letters.and_then(|it| it.audience.clone());
    match sink {
        Ok(Some(_)) => CONDITIONS.mark_true(conditions, DEAD_LETTER_SINK_RESOLVED, now),
        Ok(None) => marks::no_dead_letter_sink(CONDITIONS, conditions, now),
        Err(problem) => {
            let (type_, why) = (DEAD_LETTER_SINK_RESOLVED, problem.to_string());
            CONDITIONS.mark_false(conditions, type_, NO_DEAD_LETTER_SINK, &why, now);
            return Err(why);
        }
    }

    status.address = Some(api::duck::Addressable {
        name: Some("http".to_owned()),
        url: Some(address(&key, seen.system_namespace)),
        ..Default::default()
    });
    CONDITIONS.mark_true(conditions, ADDRESSABLE, now);
    marks::no_policies(CONDITIONS, conditions, now);
    Ok(())
}

/// Whether the configuration that a Broker names is there; what it says is about the channel that there is not.
fn configured(config: Option<&KReference>, key: &Key, lookup: Lookup) -> Result<(), String> {
    let Some(config) = config else { return Ok(()) };
    if config.kind != "ConfigMap" {
        return Err(
            "Broker.Spec.Config configuration not supported, only [kind: ConfigMap, apiVersion: v1]"
                .to_owned(),
        );
    }
    if config.namespace.as_deref().unwrap_or_default().is_empty() || config.name.is_empty() {
        return Err("Broker.Spec.Config name and namespace are required".to_owned());
    }
    let config = KReference { api_version: Some("v1".to_owned()), ..config.clone() };
    match resolve::object(&config, &key.namespace, lookup) {
        Ok(_) => Ok(()),
        // As the client for one kind says it.
        Err(Problem::Missing(_)) => {
            Err(format!("configmap {} not found", api::go::quote(&config.name)))
        }
        Err(Problem::Wrong(why)) => Err(why),
    }
}

#[cfg(test)]
mod tests;
