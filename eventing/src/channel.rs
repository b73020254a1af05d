//! InMemoryChannel: takes events at a host of its own and keeps them in a log for its subscribers.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/eventing `pkg/reconciler/inmemorychannel`, `pkg/apis/messaging/v1/in_memory_channel_lifecycle.go`.

use std::collections::BTreeMap;

use api::{
    condition::{Condition, Set, TRUE, UNKNOWN},
    duck::{Addressable, Subscriber, SubscriberStatus, marks},
    keys::eventing,
    messaging::{
        ADDRESSABLE, CHANNEL_SERVICE_READY, ChannelStatus, DEAD_LETTER_SINK_RESOLVED,
        DISPATCHER_READY, ENDPOINTS_READY, IN_MEMORY_CHANNEL, InMemoryChannel, SERVICE_READY,
    },
};
use config::domain::CLUSTER_LOCAL_DOMAIN;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use runtime::{
    cluster::Key,
    plan::{Plan, Write, is_controlled_by, owner},
    resolve,
    tracker::Lookup,
};

const CONDITIONS: Set = IN_MEMORY_CHANNEL;

/// What there is around an InMemoryChannel.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its dead letter sink.
    pub lookup: Lookup<'a>,
    /// Whether its log is open, so that an event sent to its address is kept.
    pub registered: bool,
    /// Whether the dispatcher has a subscriber, as the channel's spec says it, in the channel's log.
    pub subscribed: &'a dyn Fn(&Subscriber) -> bool,
    /// The Service of [`service_name`].
    pub service: Option<&'a Service>,
    /// Namespace of the platform's own objects of Eventing.
    pub system_namespace: &'a str,
}

/// Name of the Service that stands for a channel in the cluster's DNS.
pub fn service_name(channel: &str) -> String {
    format!("{channel}-kn-channel")
}

/// The host at which a channel takes events.
pub fn host(channel: &Key) -> String {
    let service = service_name(&channel.name);
    format!("{service}.{}.{CLUSTER_LOCAL_DOMAIN}", channel.namespace)
}

/// What to do about an InMemoryChannel.
pub fn plan(channel: &InMemoryChannel, seen: Seen, now: Timestamp) -> Plan {
    if channel.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let mut plan = Plan::about(channel);
    let before = channel.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = channel.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(channel, seen, &mut status, &mut plan, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(channel, Some(&before), &status);
    plan
}

fn reconcile(
    channel: &InMemoryChannel,
    seen: Seen,
    status: &mut ChannelStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let key = Key::of(channel);
    status.subscribers = subscribers(channel, seen);
    let conditions = &mut status.conditions;
    if !seen.registered {
        let (type_, reason) = (ENDPOINTS_READY, "DispatcherEndpointsNotReady");
        let message = "The channel's log is being opened.";
        CONDITIONS.mark_unknown(conditions, type_, reason, message, now);
        return Ok(());
    }
    for type_ in [DISPATCHER_READY, SERVICE_READY, ENDPOINTS_READY] {
        CONDITIONS.mark_true(conditions, type_, now);
    }
    service(channel, seen, conditions, plan, now)?;

    let sink = channel.spec.delivery.as_ref().and_then(|it| it.dead_letter_sink.as_ref());
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
            let reason = "Unable to get the DeadLetterSink's URI";
            CONDITIONS.mark_false(conditions, type_, reason, &why, now);
            return Err(format!("Failed to resolve Dead Letter Sink URI: {why}"));
        }
    }

    status.address = Some(Addressable {
        name: Some("http".to_owned()),
        url: Some(format!("http://{}", host(&key))),
        ..Addressable::default()
    });
    CONDITIONS.mark_true(conditions, ADDRESSABLE, now);
    marks::no_policies(CONDITIONS, conditions, now);
    Ok(())
}

/// Which of its subscribers the channel serves.
fn subscribers(channel: &InMemoryChannel, seen: Seen) -> Vec<SubscriberStatus> {
    let all = channel.spec.subscribers.iter();
    let status = |it: &Subscriber| SubscriberStatus {
        uid: it.uid.clone(),
        observed_generation: it.generation,
        ready: Some(if (seen.subscribed)(it) { TRUE } else { UNKNOWN }.to_owned()),
        ..SubscriberStatus::default()
    };
    all.map(status).collect()
}

/// Sees to the Service that stands for the channel.
fn service(
    channel: &InMemoryChannel,
    seen: Seen,
    conditions: &mut Vec<Condition>,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let wanted = wanted_service(channel, seen.system_namespace);
    match seen.service {
        // It is planned again when it is there.
        None => {
            plan.writes.push(Write::create(&wanted).with_context("create the channel's Service"));
            return Ok(());
        }
        Some(found) if !is_controlled_by(found, channel) => {
            let key = Key::of(channel);
            let why = format!(
                "inmemorychannel: {key} does not own Service: {}",
                api::go::quote(&service_name(&key.name))
            );
            let message = format!("Channel Service failed: {why}");
            let reason = "ChannelServiceFailed";
            CONDITIONS.mark_false(conditions, CHANNEL_SERVICE_READY, reason, &message, now);
            return Err(why);
        }
        Some(found) => {
            let external = |it: &Service| it.spec.as_ref().and_then(|it| it.external_name.clone());
            if external(found) != external(&wanted) {
                let mut changed = found.clone();
                changed.spec = wanted.spec;
                plan.writes.push(Write::replace(&changed));
            }
        }
    }
    CONDITIONS.mark_true(conditions, CHANNEL_SERVICE_READY, now);
    Ok(())
}

fn wanted_service(channel: &InMemoryChannel, system_namespace: &str) -> Service {
    let key = Key::of(channel);
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: 80,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(80)),
        ..ServicePort::default()
    };
    let label = (eventing::MESSAGING_ROLE.to_owned(), "in-memory-channel".to_owned());
    Service {
        metadata: ObjectMeta {
            name: Some(service_name(&key.name)),
            namespace: Some(key.namespace.to_string()),
            labels: Some(BTreeMap::from([label])),
            owner_references: Some(vec![owner(channel)]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            external_name: Some(format!(
                "imc-dispatcher.{system_namespace}.{CLUSTER_LOCAL_DOMAIN}"
            )),
            ports: Some(vec![port]),
            session_affinity: Some("None".to_owned()),
            type_: Some("ExternalName".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
