//! What Triggers and channels say of their subscribers, in the words of the dispatcher.
//!
//! Pure: objects to values.

use std::{collections::BTreeMap, time::Duration};

use api::{
    duck::{self, DeliverySpec},
    eventing::{Broker, Trigger, options},
    messaging::InMemoryChannel,
    period::Period,
};
use runtime::cluster::Key;

use crate::{
    deliver::{Format, Target},
    filter::{self, Filter},
    policy::{Backoff, Policy, TRY_LIMIT},
    subscriber::{Reply, Start, Subscriber},
    topic::Retention,
};

type Annotations = BTreeMap<String, String>;

/// Events under way to one subscriber at a time where nothing else is asked for: as many as a Knative Service takes
/// by default before it is scaled up.
const IN_FLIGHT: usize = 100;

/// The subscriber that a Trigger of a Broker is.
pub fn trigger(trigger: &Trigger, broker: &Broker) -> Subscriber {
    let spec = &trigger.spec;
    let none = Annotations::new();
    let (options, _) = options::subscriber(trigger.metadata.annotations.as_ref().unwrap_or(&none));
    let status = trigger.status.clone().unwrap_or_default();
    // What a Trigger says replaces all that its Broker says.
    let own = spec.delivery.as_ref().filter(|it| **it != DeliverySpec::default());
    let delivery = own.or(broker.spec.delivery.as_ref());
    let target = |url: Option<&str>, ca: Option<&str>| Some(Target::lenient(url?, ca));
    Subscriber {
        name: trigger.metadata.uid.clone().unwrap_or_default(),
        label: Key::of(trigger).to_string(),
        namespace: trigger.metadata.namespace.clone().unwrap_or_default(),
        filter: filter::compile(spec.filter.as_ref(), &spec.filters).filter,
        target: target(status.subscriber_uri.as_deref(), status.subscriber_ca_certs.as_deref()),
        reply: Reply::Topic,
        dead_letter_sink: target(
            status.dead_letter_sink_uri.as_deref(),
            status.dead_letter_sink_ca_certs.as_deref(),
        ),
        policy: policy(delivery),
        format: format(delivery),
        in_flight: options.in_flight.map_or(IN_FLIGHT, usize::from),
        order_key: options.order_key,
        deduplicate: options.deduplicate,
        paused: options.is_paused,
        start: start(options.start),
    }
}

/// A subscriber of a channel, as the channel's spec has it, with the annotations of its Subscription.
pub fn subscriber(
    channel: &InMemoryChannel,
    subscriber: &duck::Subscriber,
    annotations: &Annotations,
) -> Subscriber {
    let (options, _) = options::subscriber(annotations);
    let own = subscriber.delivery.as_ref();
    let delivery = own.or(channel.spec.delivery.as_ref());
    let target = |url: &Option<String>, ca: &Option<String>| {
        Some(Target::lenient(url.as_deref()?, ca.as_deref()))
    };
    let reply = target(&subscriber.reply_uri, &subscriber.reply_ca_certs);
    let its = target(&subscriber.subscriber_uri, &subscriber.subscriber_ca_certs);
    // Without a subscriber the events themselves are the answer.
    let (target, reply) = match (its, reply) {
        (Some(its), Some(reply)) => (Some(its), Reply::To(reply)),
        (Some(its), None) => (Some(its), Reply::Nothing),
        (None, reply) => (reply, Reply::Nothing),
    };
    let namespace = channel.metadata.namespace.clone().unwrap_or_default();
    let name = subscriber.name.as_deref().unwrap_or_default();
    Subscriber {
        name: subscriber.uid.clone().unwrap_or_default(),
        label: format!("{namespace}/{name}"),
        namespace,
        filter: Filter::everything(),
        target,
        reply,
        dead_letter_sink: dead_letter_sink(channel, own),
        policy: policy(delivery),
        format: format(delivery),
        in_flight: options.in_flight.map_or(IN_FLIGHT, usize::from),
        order_key: options.order_key,
        deduplicate: options.deduplicate,
        paused: options.is_paused,
        start: start(options.start),
    }
}

/// How long a topic keeps its events, by the annotations of its object.
pub fn retention(annotations: &Annotations) -> Retention {
    let (options, _) = options::retention(annotations);
    let usual = Retention::default();
    Retention { age: options.age.unwrap_or(usual.age), bytes: options.bytes.unwrap_or(usual.bytes) }
}

fn start(start: Option<options::Start>) -> Start {
    match start {
        None | Some(options::Start::Latest) => Start::Latest,
        Some(options::Start::Earliest) => Start::Earliest,
        Some(options::Start::Offset(offset)) => Start::Offset(offset),
        Some(options::Start::At(time)) => Start::Time(time.as_millisecond()),
    }
}

fn dead_letter_sink(channel: &InMemoryChannel, own: Option<&DeliverySpec>) -> Option<Target> {
    if let Some(own) = own {
        let sink = own.dead_letter_sink.as_ref()?;
        return Some(Target::lenient(sink.uri.as_deref()?, sink.ca_certs.as_deref()));
    }
    let status = channel.status.as_ref()?;
    let ca_certs = status.dead_letter_sink_ca_certs.as_deref();
    Some(Target::lenient(status.dead_letter_sink_uri.as_deref()?, ca_certs))
}

/// What a delivery spec asks for. What cannot be read is as if it were not there; admission lets none in.
pub fn policy(delivery: Option<&DeliverySpec>) -> Policy {
    let Some(delivery) = delivery else { return Policy::default() };
    let time = |text: &Option<String>| text.as_deref().and_then(duration);
    let delay = time(&delivery.backoff_delay);
    Policy {
        retries: delivery.retry.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
        backoff: match (delivery.backoff_policy.as_deref(), delay) {
            (Some("linear"), Some(_)) => Backoff::Linear,
            (Some("exponential"), Some(_)) => Backoff::Exponential,
            _ => Backoff::None,
        },
        delay: delay.unwrap_or_default(),
        timeout: time(&delivery.timeout).filter(|it| !it.is_zero()).unwrap_or(TRY_LIMIT),
        retry_after_most: time(&delivery.retry_after_max),
    }
}

fn format(delivery: Option<&DeliverySpec>) -> Format {
    match delivery.and_then(|it| it.format.as_deref()) {
        Some("json") => Format::Json,
        _ => Format::Binary,
    }
}

/// An ISO 8601 duration; nothing if it is none, or less than nothing.
fn duration(text: &str) -> Option<Duration> {
    let period = Period::parse(text).ok().filter(|it| !it.is_negative())?;
    Some(period.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(yaml: serde_json::Value) -> Policy {
        policy(Some(&serde_json::from_value(yaml).unwrap()))
    }

    #[test]
    fn a_delivery_spec_is_a_policy() {
        let ms = Duration::from_millis;
        let usual = serde_json::json!({"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"});
        let wanted = Policy {
            retries: 10,
            backoff: Backoff::Exponential,
            delay: ms(200),
            ..Policy::default()
        };
        assert_eq!(delivery(usual), wanted);
        let all = serde_json::json!({"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT1M",
            "timeout": "PT5S", "retryAfterMax": "PT0S"});
        let wanted = Policy {
            retries: 1,
            backoff: Backoff::Linear,
            delay: ms(60_000),
            timeout: ms(5_000),
            retry_after_most: Some(Duration::ZERO),
        };
        assert_eq!(delivery(all), wanted);
        let no_delay = serde_json::json!({"retry": 3, "backoffPolicy": "linear"});
        assert_eq!(delivery(no_delay), Policy { retries: 3, ..Policy::default() });
        assert_eq!(policy(None), Policy::default());
    }
}
