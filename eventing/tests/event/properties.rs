//! What holds for every event.

use api::cesql::Value;
use bytes::Bytes;
use eventing::event::{Event, HOPS, decode, encode};
use http::HeaderMap;
use proptest::{collection, option, prelude::*, sample::select};

use super::{envelope, headers};

/// An attribute's value, with memory of its own.
#[derive(Clone, Debug)]
pub enum Owned {
    String(String),
    Boolean(bool),
    Integer(i32),
}

impl Owned {
    pub fn value(&self) -> Value<'_> {
        match self {
            Owned::String(text) => Value::String(text),
            Owned::Boolean(it) => Value::Boolean(*it),
            Owned::Integer(it) => Value::Integer(*it),
        }
    }
}

const CORE: [&str; 11] = [
    "id",
    "type",
    "source",
    "subject",
    "time",
    "specversion",
    "dataschema",
    "datacontenttype",
    "knativebrokerttl",
    "knativearrivaltime",
    "data",
];

pub fn attributes(text: &'static str) -> impl Strategy<Value = Vec<(String, Owned)>> {
    let value = prop_oneof![
        3 => text.prop_map(Owned::String),
        1 => any::<bool>().prop_map(Owned::Boolean),
        1 => any::<i32>().prop_map(Owned::Integer),
    ];
    let extensions = collection::btree_map("[a-z0-9]{1,20}", value, 0..6);
    let core = (
        "[!-~]([ -~]{0,20}[!-~])?",
        "/[a-z0-9/]{0,20}",
        "[!-~]{1,20}",
        option::of("[!-~]{1,20}"),
        option::of(select(&["2018-04-05T03:56:24Z", "2026-11-22T07:08:09.5+02:00"][..])),
        option::of(select(&["application/json", "text/plain", "image/png", "a/b+json"][..])),
    );
    (core, extensions).prop_map(|((kind, source, id, subject, time, content_type), extensions)| {
        let string = |name: &str, text: &str| (name.to_owned(), Owned::String(text.to_owned()));
        let mut all = vec![string("type", &kind), string("source", &source), string("id", &id)];
        all.extend(subject.map(|it| string("subject", &it)));
        all.extend(time.map(|it| string("time", it)));
        all.extend(content_type.map(|it| string("datacontenttype", it)));
        all.extend(extensions.into_iter().filter(|it| !CORE.contains(&&*it.0)));
        all
    })
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(prop_oneof![
        collection::vec(any::<u8>(), 0..40),
        "\\PC{0,20}".prop_map(String::into_bytes),
        select(&["{\"a\": 1.10}", "[]", "\"\"", "null", "-0.50e3"][..]).prop_map(|it| it.into()),
    ])
}

pub fn event(attributes: &[(String, Owned)], data: Option<&[u8]>) -> Event {
    let attributes: Vec<_> = attributes.iter().map(|it| (&*it.0, it.1.value())).collect();
    Event::new(&attributes, data).expect("it is good")
}

fn any_event() -> impl Strategy<Value = Event> {
    (attributes("\\PC{0,20}"), data(), option::of(any::<u8>()))
        .prop_map(|(attributes, data, hops)| event(&attributes, data.as_deref()).with_hops(hops))
}

/// Failures are shown with their input; no file is left.
pub fn random() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Asks an event for everything.
fn used(event: &Event) {
    for (name, _) in event.attributes() {
        assert!(event.attribute(name).is_some());
    }
    assert!([event.kind(), event.source(), event.id()].len() == 3 && event.data() == event.data());
    let mut headers = HeaderMap::new();
    let data = encode::binary(event, &mut headers);
    encode::passed(event, &mut headers);
    encode::hops(event, &mut headers);
    assert_eq!(data, event.data().unwrap_or_default());
    let text = encode::structured(event);
    serde_json::from_slice::<serde_json::Value>(&text).expect("an envelope is JSON");
    event.passed().for_each(|it| assert!(!it.0.is_empty()));
    let _ = event.with(&[("a", Value::Integer(1))]);
    let _ = event.clone().with_hops(Some(1));
}

proptest! {
    #![proptest_config(random())]

    #[test]
    fn an_envelope_is_read_as_it_was_written(event in any_event()) {
        let again = decode::one(&envelope(), &encode::structured(&event), None).expect("it is good");
        prop_assert!(again.attributes().eq(event.attributes()), "{again:?}");
        // Blanks around a JSON text are not the text's.
        let data = |event: &Event| event.data().map(|it| it.trim_ascii().to_vec());
        prop_assert_eq!(data(&again), data(&event));
        let batched = headers([("content-type", encode::BATCH)]);
        let batch = encode::batch(&[event.clone(), event]);
        let both = decode::batch(&batched, &batch, None).expect("it is good");
        prop_assert_eq!(both, [again.clone(), again]);
    }

    #[test]
    fn headers_are_read_as_they_were_written(event in any_event()) {
        let mut came = HeaderMap::new();
        let body = encode::binary(&event, &mut came);
        encode::hops(&event, &mut came);
        prop_assert_eq!(&body, &event.data().unwrap_or_default());
        let again = decode::one(&came, &body, None).expect("it is good");
        prop_assert_eq!(again.hops(), event.hops());
        for (name, value) in event.attributes() {
            let text = match again.attribute(name) {
                Some(Value::String(text)) => text,
                other => panic!("{name} is {other:?}"),
            };
            match value {
                Value::Boolean(it) => prop_assert_eq!(text, it.to_string()),
                Value::Integer(it) => prop_assert_eq!(text, it.to_string()),
                Value::String(it) if text == it => {}
                // What no header can hold is encoded, and nothing else.
                Value::String(it) => {
                    let odd = |it: char| !(' '..='~').contains(&it);
                    prop_assert!(it.contains(odd) || it.trim_matches(' ') != it, "{it:?}");
                    prop_assert_eq!(decoded(text), it.as_bytes());
                }
            }
        }
        // From here on nothing changes any more.
        let mut left = HeaderMap::new();
        let data = encode::binary(&again, &mut left);
        encode::hops(&again, &mut left);
        prop_assert_eq!(&left, &came);
        prop_assert_eq!(decode::one(&left, &data, None), Ok(again));
    }

    #[test]
    fn what_was_stored_is_read_and_damage_does_no_harm(
        event in any_event(),
        changes in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let good = event.stored_bytes();
        let again = Event::stored(Bytes::copy_from_slice(good)).expect("it is what was stored");
        prop_assert_eq!(&again, &event);
        used(&again);
        let mut bytes = good.to_vec();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Ok(event) = Event::stored(bytes.into()) {
            used(&event);
        }
        for end in 0..good.len() {
            if let Ok(event) = Event::stored(good.slice(..end)) {
                used(&event);
            }
        }
    }

    #[test]
    fn what_is_added_can_be_removed(event in any_event(), text in "\\PC{0,20}") {
        let more = event.with(&[("zzzadded", Value::String(&text))]).expect("it is good");
        prop_assert_eq!(more.attribute("zzzadded"), Some(Value::String(&text)));
        prop_assert_eq!(more.attribute(HOPS), None);
        prop_assert_eq!(more.without(&["zzzadded"]), Ok(event));
    }
}

/// One bit in each byte, one after the other.
#[test]
fn every_bit_of_a_stored_event_can_break() {
    let came = headers([
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example"),
        ("ce-source", "/s"),
        ("ce-id", "1"),
        ("ce-subject", "é"),
        ("content-type", "text/plain"),
        ("knative-x", "y"),
    ]);
    let event = decode::one(&came, b"data", None).expect("it is good");
    let event = event.with(&[("n", Value::Integer(-7)), ("b", Value::Boolean(true))]);
    let good = event.expect("it is good").stored_bytes().to_vec();
    let mut broken = 0;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            match Event::stored(bytes.into()) {
                Ok(event) => used(&event),
                Err(_) => broken += 1,
            }
        }
    }
    assert!(broken > good.len(), "most damage to the structure is seen: {broken}");
}

/// The plainest reading of percent-encoding.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&digits, 16).expect("two digits follow"));
            }
            _ => out.push(byte),
        }
    }
    out
}
