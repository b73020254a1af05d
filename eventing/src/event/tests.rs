//! The codec, through its front door.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Event, SpecVersion, Value, decode, encode};

fn headers(of: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in of {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

const MINIMAL: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "1")];

#[test]
fn a_binary_event_leaves_as_it_came() {
    let mut came = headers(&MINIMAL);
    came.extend(headers(&[
        ("content-type", "Application/JSON; charset=UTF-8"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-time", "2018-04-05T03:56:24+02:00"),
        ("ce-anything", "kept \"as\" it is \u{e9}"),
        ("x-request-id", "7"),
        ("accept", "dropped"),
        ("ce-knativebrokerttl", "12"),
    ]));
    let body = br#"{"b": 1.10, "a":12345678901234567890123}"#;
    let event = decode::one(&came, body, None).expect("good");
    assert_eq!(event.hops(), Some(12));
    assert_eq!(event.attribute("type"), Some(Value::String("t")));
    assert_eq!(event.attribute("knativebrokerttl"), None);
    let event = Event::stored(event.stored_bytes().clone()).expect("what was stored");

    let mut left = HeaderMap::new();
    let data = encode::binary(&event, &mut left);
    encode::passed(&event, &mut left);
    came.remove("accept");
    came.remove("ce-knativebrokerttl");
    assert_eq!(left, came);
    assert_eq!(data, Bytes::from_static(body));
}

#[test]
fn a_structured_event_keeps_types_and_the_text_of_its_data() {
    let body = br#"{"specversion":"1.0","type":"t","source":"/s","id":"1","flag":true,"count":-3,
        "word":"a\u20acb","data": {"b": 1.10, "a":12345678901234567890123}}"#;
    let came = headers(&[("Content-Type", "Application/CloudEvents+JSON; charset=utf-8")]);
    let event = decode::one(&came, body, None).expect("good");
    assert_eq!(event.spec_version(), SpecVersion::V1);
    assert_eq!(event.attribute("flag"), Some(Value::Boolean(true)));
    assert_eq!(event.attribute("count"), Some(Value::Integer(-3)));
    assert_eq!(event.attribute("word"), Some(Value::String("a€b")));
    let data = br#"{"b": 1.10, "a":12345678901234567890123}"#;
    assert_eq!(event.data().as_deref(), Some(&data[..]));

    let mut left = HeaderMap::new();
    assert_eq!(encode::binary(&event, &mut left), &data[..]);
    assert_eq!(left["ce-word"], "a%E2%82%ACb");
    assert_eq!(left["content-type"], "application/json");
    let again = decode::one(&came, &encode::structured(&event), None).expect("good");
    assert_eq!(again, event);
}
