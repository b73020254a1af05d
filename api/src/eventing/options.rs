//! Weft's own annotations on Triggers, Subscriptions, Brokers and channels: how events are handed out and kept.
//!
//! Pure: values only.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    keys::eventing::{
        DEDUPLICATE, IN_FLIGHT, KAFKA_ORDER, ORDER, ORDER_KEY, PAUSED, RETENTION_AGE,
        RETENTION_BYTES, START,
    },
    period::Period,
    quantity::Amount,
};

/// The attribute whose equal values mean one key, where no other is named.
pub const PARTITION_KEY: &str = "partitionkey";
/// Most events that one subscriber may have in flight: each holds a request and its data in memory.
pub const MOST_IN_FLIGHT: u16 = 10_000;

/// How a Trigger or a Subscription wants its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriber {
    /// The attribute by which events follow one another; none where their order does not matter.
    pub order_key: Option<String>,
    /// Events in flight at once; 1 to [`MOST_IN_FLIGHT`].
    pub in_flight: Option<u16>,
    /// For how long an event with the same `source` and `id` is left out.
    pub deduplicate: Option<Duration>,
    /// Whether no events are sent for now.
    pub is_paused: bool,
    /// The first event that is sent; where absent, the first that comes after the subscriber.
    pub start: Option<Start>,
}

/// Where a new subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest event that is kept.
    Earliest,
    /// The next event that comes.
    Latest,
    /// The event with this number.
    Offset(u64),
    /// The first event that came at this time or later.
    At(Timestamp),
}

/// How long a Broker or a channel keeps its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    pub bytes: Option<u64>,
}

/// An annotation that cannot be used, and what it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub key: &'static str,
    pub value: String,
    pub wanted: &'static str,
}

type Annotations = BTreeMap<String, String>;

/// Reads how a Trigger or a Subscription wants its events; what is wrong is left out and told.
pub fn subscriber(annotations: &Annotations) -> (Subscriber, Vec<Mistake>) {
    let mut read = Read { annotations, mistakes: Vec::new() };
    let ordered = read.get(ORDER, "key or none", |text| match text {
        "key" => Some(true),
        "none" => Some(false),
        _ => None,
    });
    // The annotation of Knative's broker for Kafka means the same; ours comes first.
    let kafka = read.get(KAFKA_ORDER, "ordered or unordered", |text| match text {
        "ordered" => Some(true),
        "unordered" => Some(false),
        _ => None,
    });
    let key =
        read.get(ORDER_KEY, "the name of an attribute: lower-case letters and digits", |text| {
            is_attribute(text).then(|| text.to_string())
        });
    let is_ordered = ordered.or(kafka).unwrap_or(key.is_some());
    let subscriber = Subscriber {
        order_key: is_ordered.then(|| key.unwrap_or_else(|| PARTITION_KEY.to_string())),
        in_flight: read.get(IN_FLIGHT, "a number from 1 to 10000", |text| {
            text.parse().ok().filter(|count| (1..=MOST_IN_FLIGHT).contains(count))
        }),
        deduplicate: read.get(DEDUPLICATE, A_DURATION, duration),
        is_paused: read
            .get(PAUSED, "true or false", |text| text.parse::<bool>().ok())
            .unwrap_or_default(),
        start: read.get(
            START,
            "earliest, latest, an offset, or a time such as 2024-01-31T12:00:00Z",
            start,
        ),
    };
    (subscriber, read.mistakes)
}

/// Reads how long a Broker or a channel keeps its events; what is wrong is left out and told.
pub fn retention(annotations: &Annotations) -> (Retention, Vec<Mistake>) {
    let mut read = Read { annotations, mistakes: Vec::new() };
    let retention = Retention {
        age: read.get(RETENTION_AGE, A_DURATION, duration),
        bytes: read.get(RETENTION_BYTES, "a number of bytes above 0, such as 500Mi", |text| {
            let bytes = Amount::parse(text).ok()?.value();
            u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
        }),
    };
    (retention, read.mistakes)
}

/// What a duration must be.
const A_DURATION: &str = "an ISO 8601 duration above 0, such as PT1H or P7D";

struct Read<'a> {
    annotations: &'a Annotations,
    mistakes: Vec<Mistake>,
}

impl Read<'_> {
    fn get<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.annotations.get(key)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.mistakes.push(Mistake { key, value: value.clone(), wanted });
        }
        parsed
    }
}

fn duration(text: &str) -> Option<Duration> {
    let period = Period::parse(text).ok()?;
    (!period.is_zero() && !period.is_negative()).then(|| period.duration())
}

fn is_attribute(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
}

fn start(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => match text.parse() {
            Ok(offset) => Some(Start::Offset(offset)),
            Err(_) => text.parse().ok().map(Start::At),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn annotations_say_how_events_are_handed_out() {
        let none = Subscriber::default();
        let by = |key: &str| Subscriber { order_key: Some(key.to_string()), ..none.clone() };
        for (pairs, wanted) in [
            (&[][..], none.clone()),
            (&[(ORDER, "key")], by("partitionkey")),
            (&[(ORDER_KEY, "subject")], by("subject")),
            (&[(ORDER, "none"), (ORDER_KEY, "subject")], none.clone()),
            (&[(KAFKA_ORDER, "ordered")], by("partitionkey")),
            (&[(KAFKA_ORDER, "ordered"), (ORDER, "none")], none.clone()),
            (&[(IN_FLIGHT, "10000")], Subscriber { in_flight: Some(10_000), ..none.clone() }),
            (
                &[(DEDUPLICATE, "PT1M"), (PAUSED, "true")],
                Subscriber {
                    deduplicate: Some(Duration::from_secs(60)),
                    is_paused: true,
                    ..none.clone()
                },
            ),
            (&[(START, "earliest")], Subscriber { start: Some(Start::Earliest), ..none.clone() }),
            (&[(START, "17")], Subscriber { start: Some(Start::Offset(17)), ..none.clone() }),
            (
                &[(START, "1970-01-01T00:00:00Z")],
                Subscriber { start: Some(Start::At(Timestamp::UNIX_EPOCH)), ..none.clone() },
            ),
        ] {
            assert_eq!(subscriber(&annotations(pairs)), (wanted, Vec::new()), "{pairs:?}");
        }
        let kept = Retention { age: Some(Duration::from_secs(3600)), bytes: Some(1 << 30) };
        let pairs = annotations(&[(RETENTION_AGE, "PT1H"), (RETENTION_BYTES, "1Gi")]);
        assert_eq!(retention(&pairs), (kept, Vec::new()));
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (key, value) in [
            (ORDER, "yes"),
            (ORDER_KEY, "Partition-Key"),
            (KAFKA_ORDER, "key"),
            (IN_FLIGHT, "0"),
            (IN_FLIGHT, "10001"),
            (DEDUPLICATE, "1h"),
            (DEDUPLICATE, "PT0S"),
            (PAUSED, "yes"),
            (START, "yesterday"),
        ] {
            let (read, mistakes) = subscriber(&annotations(&[(key, value)]));
            assert_eq!(read, Subscriber::default(), "{key} {value}");
            assert_eq!(mistakes.len(), 1, "{key} {value}");
            assert_eq!((mistakes[0].key, mistakes[0].value.as_str()), (key, value));
        }
        for (key, value) in
            [(RETENTION_AGE, "-PT1S"), (RETENTION_BYTES, "0"), (RETENTION_BYTES, "x")]
        {
            assert_eq!(retention(&annotations(&[(key, value)])).1.len(), 1, "{key} {value}");
        }
    }
}
