//! Events: what is taken can be stored, read and sent on, and whatever else comes is refused.

use bytes::Bytes;
use eventing::event::{Event, Value, decode, encode};
use http::{HeaderMap, HeaderName, HeaderValue};
use tests::random::{Random, cases};

/// Names of headers, those that mean something to the codec more often than others.
const NAMES: [&str; 22] = [
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-specversion",
    "ce-time",
    "ce-subject",
    "ce-dataschema",
    "ce-schemaurl",
    "ce-datacontenttype",
    "ce-datacontentencoding",
    "ce-knativebrokerttl",
    "ce-knativearrivaltime",
    "ce-data",
    "ce-",
    "ce-a",
    "ce-a-b",
    "content-type",
    "x-request-id",
    "x-b3-",
    "knative-x",
    "traceparent",
    "accept",
];

const VALUES: [&str; 24] = [
    "1.0",
    "0.3",
    "1",
    "",
    " ",
    "-1",
    "256",
    "1e9",
    "/a",
    "http://a:80/%20",
    "//[::1]:",
    "a:b",
    "%",
    "2018-04-05T03:56:24Z",
    "2018-04-05T03:56:24.5+02:00",
    "base64",
    "application/json",
    "text/plain; charset=\"x\\\"",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "Application/CloudEvents+JSON;x",
    "a/b;c=d;",
    "\u{e9}\t\"",
    "null",
];

fn value(random: &mut Random) -> HeaderValue {
    let text = match random.once_in(4) {
        true => random.text("a:/?#[]@%2é;=\" -T0", 12),
        false => (*random.pick(&VALUES)).to_owned(),
    };
    let bytes = if random.once_in(8) { random.damaged(text.as_bytes()) } else { text.into_bytes() };
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("odd"))
}

fn headers(random: &mut Random) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !random.once_in(4) {
        for (name, value) in [("type", "t"), ("source", "/s"), ("id", "1"), ("specversion", "1.0")]
        {
            let name = HeaderName::try_from(format!("ce-{name}")).expect("a name");
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    for _ in 0..random.below(8) {
        let name = HeaderName::from_static(random.pick::<&str>(&NAMES));
        let value = value(random);
        match random.once_in(8) {
            true => drop(headers.insert(name, value)),
            false => drop(headers.try_append(name, value)),
        }
    }
    headers
}

/// The text of something like an event's object.
fn object(random: &mut Random) -> String {
    let mut members: Vec<String> = Vec::new();
    if !random.once_in(6) {
        let version = random.pick(&["1.0", "1.0", "0.3"]);
        members.push(format!(r#""specversion":"{version}","type":"t","source":"/s","id":"1""#));
    }
    for _ in 0..random.below(6) {
        let name = match random.below(4) {
            0 => "data",
            1 => "data_base64",
            _ => random.pick::<&str>(&NAMES).trim_start_matches("ce-"),
        };
        let value = match random.below(4) {
            0 => format!("{:?}", random.pick(&VALUES)),
            1 => random.pick(&["\"\\u0041\"", "\"\\ud800\"", "\"AAAA\"", "1.50", "-0"]).to_string(),
            _ => random.json(3).to_string(),
        };
        let space = random.pick(&["", " ", "\n"]);
        members.push(format!("{name:?}:{space}{value}"));
    }
    format!("{{{}}}", members.join(","))
}

/// What is taken is stored and sent on, and is the same there.
fn is_whole(event: &Event, shown: &dyn std::fmt::Debug) {
    let again = Event::stored(event.stored_bytes().clone());
    assert_eq!(again.as_ref(), Ok(event), "{shown:?}");
    let mut left = HeaderMap::new();
    let body = encode::binary(event, &mut left);
    encode::passed(event, &mut left);
    encode::hops(event, &mut left);
    let binary = decode::one(&left, &body, None)
        .unwrap_or_else(|why| panic!("{why}: {left:?} of {shown:?}"));
    assert_eq!(binary.hops(), event.hops(), "{shown:?}");
    for (name, value) in event.attributes() {
        let have = binary.attribute(name);
        match value {
            Value::String(text) if text.bytes().any(|it| !it.is_ascii_graphic()) => {}
            Value::String(_) => assert_eq!(have, Some(value), "{shown:?}"),
            // They are texts in headers, and themselves if it had to leave in an envelope.
            Value::Boolean(_) | Value::Integer(_) => {
                let plain = |it: Value<'_>| format!("{it:?}").replace(['"', ')'], "");
                let plain = |it| plain(it).rsplit('(').next().map(str::to_owned);
                assert_eq!(have.and_then(plain), plain(value), "{shown:?}");
            }
        }
    }
    assert!(binary.passed().eq(event.passed()), "{shown:?}");
    assert_eq!(binary.data().unwrap_or_default(), event.data().unwrap_or_default(), "{shown:?}");

    let text = encode::structured(event);
    let shown_text = String::from_utf8_lossy(&text);
    let envelope = HeaderValue::from_static(encode::STRUCTURED);
    let envelope = HeaderMap::from_iter([(http::header::CONTENT_TYPE, envelope)]);
    let structured = decode::one(&envelope, &text, None)
        .unwrap_or_else(|why| panic!("{why}: {shown_text} of {shown:?}"));
    for (name, value) in event.attributes() {
        assert_eq!(structured.attribute(name), Some(value), "{name}: {shown_text} of {shown:?}");
    }
    let data = |event: &Event| event.data().map(|it| it.trim_ascii().to_vec());
    assert_eq!(data(&structured), data(event), "{shown_text} of {shown:?}");
}

#[test]
fn headers_become_an_event_or_are_refused() {
    cases("headers_of_events", |random| {
        let headers = headers(random);
        let body = match random.below(3) {
            0 => object(random).into_bytes(),
            1 => random.json(2).to_string().into_bytes(),
            _ => random.damaged(b"data"),
        };
        let now = random.once_in(2).then_some(jiff::Timestamp::UNIX_EPOCH);
        match decode::one(&headers, &body, now) {
            Ok(event) => {
                is_whole(&event, &(&headers, String::from_utf8_lossy(&body)));
                let arrival = Value::String("1970-01-01T00:00:00Z");
                assert!(now.is_none() || event.attribute("knativearrivaltime") == Some(arrival));
            }
            Err(why) => assert!(!why.to_string().is_empty()),
        }
    });
}

#[test]
fn envelopes_become_events_or_are_refused() {
    cases("envelopes", |random| {
        let one = object(random);
        let text = match random.below(3) {
            0 => one.into_bytes(),
            1 => format!("[{one},{}]", object(random)).into_bytes(),
            _ => random.damaged(format!("[{one}]").as_bytes()),
        };
        let content_type = *random.pick(&[encode::STRUCTURED, encode::BATCH]);
        let headers = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(content_type),
        )]);
        if let Ok(events) = decode::batch(&headers, &text, None) {
            events.iter().for_each(|it| is_whole(it, &String::from_utf8_lossy(&text)));
            // Whoever reads JSON reads it as well.
            serde_json::from_slice::<serde::de::IgnoredAny>(&text).expect("it is JSON");
        }
    });
}

#[test]
fn stored_events_can_be_damaged() {
    cases("stored_events", |random| {
        let event = loop {
            let text = object(random);
            let envelope = HeaderValue::from_static(encode::STRUCTURED);
            let mut headers = headers(random);
            headers.insert(http::header::CONTENT_TYPE, envelope);
            if let Ok(event) = decode::one(&headers, text.as_bytes(), None) {
                break event;
            }
        };
        let damaged = random.damaged(event.stored_bytes());
        let Ok(event) = Event::stored(Bytes::from(damaged)) else { return };
        // It may say anything, and must be one event wherever it is looked at.
        for (name, _) in event.attributes() {
            assert!(event.attribute(name).is_some());
        }
        let mut left = HeaderMap::new();
        encode::binary(&event, &mut left);
        encode::passed(&event, &mut left);
        encode::structured(&event);
        let _ = event.with(&[("a", Value::Boolean(true))]);
        let event = event.with_hops(Some(1));
        assert_eq!(Event::stored(event.stored_bytes().clone()), Ok(event));
    });
}
