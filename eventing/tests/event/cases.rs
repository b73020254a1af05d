//! Tables: what is taken and what it becomes, what is refused and in which words.

use api::cesql::Value;
use bytes::Bytes;
use eventing::event::{
    Damaged, ERROR_CODE, ERROR_DATA, ERROR_DESTINATION, Event, HOPS, Rejected, SpecVersion, decode,
    encode,
};
use http::HeaderMap;

use super::{envelope, headers};

const MINIMAL: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "1")];

/// The smallest event with other headers; one with the value `-` is left out.
fn with(others: &[(&str, &str)]) -> HeaderMap {
    let kept = MINIMAL.iter().filter(|it| !others.iter().any(|other| other.0 == it.0));
    headers(kept.chain(others.iter().filter(|it| it.1 != "-")).copied())
}

/// The members of the smallest event, and others.
fn object(others: &str) -> String {
    format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"1"{others}}}"#)
}

fn shown(event: &Event) -> Vec<(String, Value<'_>)> {
    event.attributes().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_binary_event_leaves_as_it_came() {
    let mut came = with(&[
        ("content-type", "Application/JSON; charset=UTF-8"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-time", "2018-04-05T03:56:24+02:00"),
        ("ce-dataschema", "http://localhost"),
        ("ce-anything", "kept \"as\" it is \u{e9} %zz"),
        ("x-request-id", "7"),
        ("x-b3-traceid", "a"),
        ("x-b3-traceid", "b"),
        ("knative-anything", "c"),
        ("traceparent", "d"),
        ("tracestate", "e"),
        ("baggage", "f"),
        ("retry-after", "3"),
    ]);
    let mut sent = came.clone();
    sent.extend(headers([("accept", "*/*"), ("x-b3traceid", "g"), ("ce-knativebrokerttl", "12")]));
    let body = br#" {"b": 1.10, "a":12345678901234567890123} "#;
    let event = decode::one(&sent, body, None).expect("it is good");
    assert_eq!(event.hops(), Some(12));
    assert_eq!(event.attribute(HOPS), None);
    assert_eq!(event.attribute("specversion"), Some(Value::String("1.0")));
    assert_eq!(event.attribute("subject"), Some(Value::String("Euro%20%E2%82%AC")));
    assert_eq!((event.kind(), event.source(), event.id()), ("t", "/s", "1"));

    let event = Event::stored(event.stored_bytes().clone()).expect("it is what was stored");
    let mut left = headers([("x-request-id", "another"), ("content-type", "another")]);
    let data = encode::binary(&event, &mut left);
    encode::passed(&event, &mut left);
    assert_eq!(left, came);
    assert_eq!(data, Bytes::from_static(body));
    encode::hops(&event, &mut left);
    came.extend(headers([("ce-knativebrokerttl", "12")]));
    assert_eq!(left, came);
}

#[test]
fn what_says_how_a_message_carries_events_is_read_without_regard_to_case() {
    use decode::Mode::{Batched, Binary, Structured};
    let cases = [
        ("application/cloudevents+json", Some(Structured)),
        ("Application/CloudEvents+JSON;charset=utf-8", Some(Structured)),
        (" application/cloudevents+json ; x=y", Some(Structured)),
        ("application/cloudevents-batch+json", Some(Batched)),
        ("APPLICATION/cloudevents-batch+json; x", Some(Batched)),
        ("application/cloudevents+avro", None),
        ("application/cloudevents", None),
        ("application/json", None),
    ];
    for (content_type, wanted) in cases {
        let alone = headers([("content-type", content_type)]);
        assert_eq!(decode::mode(&alone), wanted, "{content_type}");
        let both = with(&[("content-type", content_type)]);
        assert_eq!(decode::mode(&both), wanted.or(Some(Binary)), "{content_type}");
    }
    assert_eq!(decode::mode(&HeaderMap::new()), None);
}

#[test]
fn an_envelope_wins_over_headers() {
    let mut came = envelope();
    came.extend(with(&[("ce-id", "2"), ("ce-extra", "x")]));
    let event = decode::one(&came, object("").as_bytes(), None).expect("it is good");
    assert_eq!((event.id(), event.attribute("extra")), ("1", None));
}

#[test]
fn an_event_within_an_event_is_not_taken_for_it() {
    let inner = object("").replace("\"1\"", "\"inner\"");
    for content_type in ["Application/CloudEvents+JSON; a=b", "application/cloudevents-batch+json"]
    {
        let members = format!(r#","datacontenttype":"{content_type}","data":{inner}"#);
        let outer =
            decode::one(&envelope(), object(&members).as_bytes(), None).expect("it is good");
        let mut left = HeaderMap::new();
        let body = encode::binary(&outer, &mut left);
        assert_eq!(left, envelope(), "{content_type}");
        assert_eq!(decode::one(&left, &body, None), Ok(outer), "{content_type}");
    }
}

#[test]
fn an_envelope_keeps_types_and_the_text_of_its_data() {
    // Members; the attribute x; the data; the headers x and content-type that leave; the members that leave.
    type Case<'a> = (&'a str, Option<Value<'a>>, Option<&'a [u8]>, [&'a str; 2], &'a str);
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("", None, None, ["-", "-"], ""),
        (r#","x":"a""#, Some(Value::String("a")), None, ["a", "-"], r#","x":"a""#),
        (r#","X":"a""#, Some(Value::String("a")), None, ["a", "-"], r#","x":"a""#),
        (r#","\u0078":"\u20ac%\n\"""#, Some(Value::String("€%\n\"")), None, ["%E2%82%AC%25%0A%22", "-"], r#","x":"€%\n\"""#),
        (r#","x":" a""#, Some(Value::String(" a")), None, ["%20a", "-"], r#","x":" a""#),
        (r#","x":"a b%20\"c""#, Some(Value::String("a b%20\"c")), None, ["a b%20\"c", "-"], r#","x":"a b%20\"c""#),
        (r#","x":true"#, Some(Value::Boolean(true)), None, ["true", "-"], r#","x":true"#),
        (r#","x":false"#, Some(Value::Boolean(false)), None, ["false", "-"], r#","x":false"#),
        (r#","x":0"#, Some(Value::Integer(0)), None, ["0", "-"], r#","x":0"#),
        (r#","x":-0"#, Some(Value::Integer(0)), None, ["0", "-"], r#","x":0"#),
        (r#","x":-2147483648"#, Some(Value::Integer(i32::MIN)), None, ["-2147483648", "-"], r#","x":-2147483648"#),
        (r#","x":1.5e1"#, Some(Value::Integer(15)), None, ["15", "-"], r#","x":15"#),
        (r#","x":null,"data":null"#, None, Some(b"null"), ["-", "application/json"], r#","data":null"#),
        (r#","x":"""#, Some(Value::String("")), None, ["", "-"], r#","x":"""#),
        (r#","data": {"b": 1.10, "a":12345678901234567890123} "#, None, Some(br#"{"b": 1.10, "a":12345678901234567890123}"#),
            ["-", "application/json"], r#","data":{"b": 1.10, "a":12345678901234567890123}"#),
        (r#","data":"text\n""#, None, Some(br#""text\n""#), ["-", "application/json"], r#","data":"text\n""#),
        (r#","data":"\ud800","datacontenttype":"a/vnd.b+JSON;c=d""#, None, Some(br#""\ud800""#),
            ["-", "a/vnd.b+JSON;c=d"], r#","datacontenttype":"a/vnd.b+JSON;c=d","data":"\ud800""#),
        (r#","datacontenttype":"text/json","data":[1]"#, None, Some(b"[1]"), ["-", "text/json"], r#","datacontenttype":"text/json","data":[1]"#),
        (r#","data":"line\n\u20ac","datacontenttype":"text/plain""#, None, Some("line\n€".as_bytes()),
            ["-", "text/plain"], r#","datacontenttype":"text/plain","data":"line\n€""#),
        (r#","datacontenttype":"text/plain","data":"""#, None, Some(b""), ["-", "text/plain"], r#","datacontenttype":"text/plain","data":"""#),
        (r#","datacontenttype":"text/plain","data":null"#, None, None, ["-", "text/plain"], r#","datacontenttype":"text/plain""#),
        (r#","data_base64":"AP8=""#, None, Some(&[0, 0xff]), ["-", "-"], r#","data_base64":"AP8=""#),
        (r#","data_base64":"AP8","datacontenttype":"a/b""#, None, Some(&[0, 0xff]), ["-", "a/b"], r#","datacontenttype":"a/b","data_base64":"AP8=""#),
        (r#","data_base64":"MQ==","datacontenttype":"application/json""#, None, Some(b"1"),
            ["-", "application/json"], r#","datacontenttype":"application/json","data_base64":"MQ==""#),
        (r#","data_base64":null"#, None, None, ["-", "-"], ""),
        (r#","data_base64":"MQ==","data":null"#, None, Some(b"1"), ["-", "-"], r#","data_base64":"MQ==""#),
        (r#","data_base64":null,"data":1"#, None, Some(b"1"), ["-", "application/json"], r#","data":1"#),
    ];
    for (members, x, data, left, structured) in cases {
        let event = decode::one(&envelope(), object(members).as_bytes(), None)
            .unwrap_or_else(|why| panic!("{members}: {why}"));
        assert_eq!(event.attribute("x"), *x, "{members}");
        assert_eq!(event.data().as_deref(), *data, "{members}");
        let mut headers = HeaderMap::new();
        assert_eq!(encode::binary(&event, &mut headers), data.unwrap_or_default(), "{members}");
        let have = ["ce-x", "content-type"]
            .map(|it| headers.get(it).map_or("-", |it| it.to_str().expect("it is ASCII")));
        assert_eq!(have, *left, "{members}");
        let text = String::from_utf8(encode::structured(&event)).expect("JSON is UTF-8");
        assert_eq!(text, object(structured), "{members}");
        let again = decode::one(&envelope(), text.as_bytes(), None).expect("it is good");
        assert_eq!(again, event, "{members}");
    }
}

#[test]
fn data_of_a_binary_event_is_put_into_an_envelope_as_what_it_is() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("application/json", br#"{"a": 1.10}"#, r#""data":{"a": 1.10}"#),
        ("application/json", b"{", r#""data_base64":"ew==""#),
        ("application/json", b"\"\xff\"", r#""data_base64":"Iv8i""#),
        ("-", b"17", r#""data":17"#),
        ("-", b"text", r#""data_base64":"dGV4dA==""#),
        ("text/plain", "é\"".as_bytes(), r#""data":"é\"""#),
        ("text/plain; charset=UTF-8", "é".as_bytes(), r#""data":"é""#),
        ("text/plain;charset=\"us-ascii\"", b"e", r#""data":"e""#),
        ("text/plain; charset=latin1", b"e", r#""data":"e""#),
        ("text/plain; charset=latin1", "é".as_bytes(), r#""data_base64":"w6k=""#),
        ("image/png", b"\x89PNG", r#""data_base64":"iVBORw==""#),
    ];
    for (content_type, body, wanted) in cases {
        let came = with(&[("content-type", content_type)]);
        let event = decode::one(&came, body, None).expect("it is good");
        let text = String::from_utf8(encode::structured(&event)).expect("JSON is UTF-8");
        assert!(text.ends_with(&format!(",{wanted}}}")), "{content_type}: {text}");
        let again = decode::one(&envelope(), text.as_bytes(), None).expect("it is good");
        assert_eq!(again.data().as_deref(), Some(*body), "{content_type}");
    }
    let event = decode::one(&with(&[("content-type", "a/b")]), b"", None).expect("it is good");
    assert_eq!(event.data(), None, "an empty body is no data");
}

#[test]
fn an_event_of_version_0_3_stays_one() {
    let came = with(&[
        ("ce-specversion", "0.3"),
        ("ce-schemaurl", "/schema"),
        ("ce-dataschema", "an extension"),
        ("content-type", "text/plain"),
    ]);
    let event = decode::one(&came, b"text", None).expect("it is good");
    assert_eq!(event.spec_version(), SpecVersion::V03);
    let mut left = HeaderMap::new();
    encode::binary(&event, &mut left);
    assert_eq!(left, came);

    #[rustfmt::skip]
    let cases: &[(&str, &[u8], &str)] = &[
        (r#","data":{"a":1}"#, br#"{"a":1}"#, r#","data":{"a":1}"#),
        (r#","data":"AP8=","datacontentencoding":"base64""#, &[0, 0xff], r#","datacontentencoding":"base64","data":"AP8=""#),
        (r#","datacontenttype":"a/b","data":"text""#, b"text", r#","datacontenttype":"a/b","data":"text""#),
    ];
    let of_0_3 = |members: &str| object(members).replace("1.0", "0.3");
    for (members, data, wanted) in cases {
        let event = decode::one(&envelope(), of_0_3(members).as_bytes(), None).expect("it is good");
        assert_eq!(event.data().as_deref(), Some(*data), "{members}");
        assert_eq!(String::from_utf8(encode::structured(&event)), Ok(of_0_3(wanted)), "{members}");
    }
    let binary = decode::one(&with(&[("ce-specversion", "0.3")]), &[0, 0xff], None);
    let text = encode::structured(&binary.expect("it is good"));
    let wanted = of_0_3(r#","datacontentencoding":"base64","data":"AP8=""#);
    assert_eq!(String::from_utf8(text), Ok(wanted), "an envelope of 0.3 has no data_base64");
}

#[test]
fn hops_are_read_as_upstream_reads_them() {
    let cases: [(&str, Option<u8>); 9] = [
        ("255", Some(255)),
        ("1", Some(1)),
        ("0", Some(0)),
        ("-4", Some(0)),
        ("300", Some(255)),
        ("1.9", Some(1)),
        ("99999999999", None),
        ("many", None),
        ("NaN", None),
    ];
    for (text, wanted) in cases {
        let came = with(&[("ce-knativebrokerttl", text)]);
        let event = decode::one(&came, b"", None).expect("it is good");
        assert_eq!(event.hops(), wanted, "{text}");
        let members = format!(r#","knativebrokerttl":"{text}""#);
        let event = decode::one(&envelope(), object(&members).as_bytes(), None);
        assert_eq!(event.expect("it is good").hops(), wanted, "{text}");
    }
    let event = decode::one(&with(&[]), b"data", None).expect("it is good");
    assert_eq!(event.hops(), None);
    let kept = event.clone();
    let event = event.with_hops(Some(7));
    assert_eq!((event.hops(), kept.hops()), (Some(7), None), "the other one is left alone");
    assert_eq!(event.with_hops(None), kept);
}

#[test]
fn the_time_of_arrival_is_ours() {
    let now = "2026-11-22T07:08:09.12Z".parse().expect("a time");
    let came = with(&[("ce-knativearrivaltime", "yesterday")]);
    let text = |event: &Event| event.attribute("knativearrivaltime").map(|it| format!("{it:?}"));
    let ours = Some(r#"String("2026-11-22T07:08:09.12Z")"#.to_owned());
    assert_eq!(text(&decode::one(&came, b"", Some(now)).expect("it is good")), ours);
    let theirs = Some(r#"String("yesterday")"#.to_owned());
    assert_eq!(text(&decode::one(&came, b"", None).expect("it is good")), theirs);
    let members = object(r#","knativearrivaltime":7"#);
    let event = decode::one(&envelope(), members.as_bytes(), Some(now)).expect("it is good");
    assert_eq!(text(&event), ours);
}

#[test]
fn attributes_are_added_changed_and_removed() {
    let came = with(&[("x-request-id", "7"), ("ce-a", "1"), ("ce-knativebrokerttl", "3")]);
    let event = decode::one(&came, b"data", None).expect("it is good");
    let letter = event
        .with(&[
            (ERROR_DESTINATION, Value::String("http://a")),
            (ERROR_CODE, Value::Integer(500)),
            (ERROR_DATA, Value::String("AAAA")),
            ("a", Value::Boolean(true)),
        ])
        .expect("it is good");
    assert_eq!(
        shown(&letter)[4..],
        [
            (ERROR_DESTINATION.to_owned(), Value::String("http://a")),
            (ERROR_CODE.to_owned(), Value::Integer(500)),
            (ERROR_DATA.to_owned(), Value::String("AAAA")),
            ("a".to_owned(), Value::Boolean(true)),
        ]
    );
    assert_eq!(letter.data(), event.data());
    assert_eq!(letter.hops(), event.hops());
    assert!(letter.passed().eq([("x-request-id", &b"7"[..])]));
    Event::stored(letter.stored_bytes().clone()).expect("it can be stored");
    let back = letter.without(&[ERROR_DESTINATION, ERROR_CODE, ERROR_DATA]).expect("it is good");
    assert_eq!(back.with(&[("a", Value::String("1"))]), Ok(event.clone()));

    let sentence = |it: Result<Event, Rejected>| it.expect_err("it is not good").to_string();
    assert_eq!(sentence(event.without(&["id"])), "the attribute id is missing");
    assert_eq!(
        sentence(event.with(&[("Id", Value::Integer(1))])),
        "the attribute Id is no attribute's: names are of the letters a to z and digits, and not data (it is \"1\")"
    );
    assert_eq!(
        sentence(event.with(&[("specversion", Value::String("0.3"))])),
        "the attribute specversion cannot be changed (it is \"0.3\")"
    );
    let ours = [("id", "1"), ("type", "t"), ("source", "/s")].map(|it| (it.0, Value::String(it.1)));
    let ours = Event::new(&ours, Some(b"data")).expect("it is good");
    assert_eq!((ours.kind(), ours.data()), ("t", Some(Bytes::from_static(b"data"))));
}

#[test]
fn what_is_no_event_is_refused_with_a_sentence() {
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("ce-specversion", "-")], "this is no CloudEvent: it has neither a header ce-specversion nor the content-type application/cloudevents+json"),
        (&[("ce-specversion", "-"), ("content-type", "application/cloudevents+avro")],
            "this is no CloudEvent: it has neither a header ce-specversion nor the content-type application/cloudevents+json"),
        (&[("content-type", "application/cloudevents-batch+json")],
            "one event is expected here, and the header content-type says that there is a batch of them"),
        (&[("ce-specversion", "2.0")], "the header ce-specversion must be 1.0 or 0.3 (it is \"2.0\")"),
        (&[("ce-specversion", "1.0"), ("ce-specversion", "1.0")], "the header ce-specversion is there twice"),
        (&[("ce-id", "-")], "the header ce-id is missing"),
        (&[("ce-source", "-")], "the header ce-source is missing"),
        (&[("ce-type", "-")], "the header ce-type is missing"),
        (&[("ce-id", "")], "the header ce-id must not be empty"),
        (&[("ce-type", " \t")], "the header ce-type must not be empty (it is \" \\t\")"),
        (&[("ce-source", " ")], "the header ce-source must not be empty (it is \" \")"),
        (&[("ce-subject", "")], "the header ce-subject must not be empty"),
        (&[("ce-id", "1"), ("ce-id", "2")], "the header ce-id is there twice"),
        (&[("content-type", "a/b"), ("content-type", "a/c")], "the header content-type is there twice"),
        (&[("content-type", ""), ("content-type", "application/cloudevents+json")], "the header content-type is there twice"),
        (&[("ce-datacontenttype", "a/b")], "the header ce-datacontenttype must not be there: content-type says it"),
        (&[("content-type", "a/b/c")], "the header content-type is no media type (it is \"a/b/c\")"),
        (&[("ce-data", "x")], "the header ce-data is no attribute's: names are of the letters a to z and digits, and not data (it is \"x\")"),
        (&[("ce-a-b", "x")], "the header ce-a-b is no attribute's: names are of the letters a to z and digits, and not data (it is \"x\")"),
        (&[("ce-", "x")], "the header ce- is no attribute's: names are of the letters a to z and digits, and not data (it is \"x\")"),
        (&[("ce-time", "yesterday")], "the header ce-time is no time as RFC 3339 has it (it is \"yesterday\")"),
        (&[("ce-dataschema", "/relative")], "the header ce-dataschema is no absolute URI: it lacks a scheme (it is \"/relative\")"),
        (&[("ce-specversion", "0.3"), ("ce-schemaurl", "")], "the header ce-schemaurl must not be empty"),
        (&[("ce-specversion", "0.3"), ("ce-datacontentencoding", "gzip")], "the header ce-datacontentencoding must be base64 (it is \"gzip\")"),
    ];
    for (others, wanted) in cases {
        let refused = decode::one(&with(others), b"", None).expect_err(wanted);
        assert_eq!(refused.to_string(), *wanted);
    }
    let mut odd = with(&[]);
    odd.insert("ce-x", http::HeaderValue::from_bytes(b"\xff").expect("a value"));
    let refused = decode::one(&odd, b"", None).expect_err("it is not UTF-8");
    assert_eq!(refused.to_string(), "the header ce-x is not UTF-8");
}

#[test]
fn what_is_no_envelope_is_refused_with_a_sentence() {
    let members = |others: &str| object(others).into_bytes();
    let without = |name: &str, with: &str| object("").replace(name, with).into_bytes();
    #[rustfmt::skip]
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the body is not what its content-type says: EOF while parsing a value at line 1 column 0"),
        (b"{\"a\":\xff}".to_vec(), "the body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 5"),
        (b"[]".to_vec(), "the body is not what its content-type says: invalid type: sequence, expected an event, which is an object at line 1 column 0"),
        (b"{} {}".to_vec(), "the body is not what its content-type says: trailing characters at line 1 column 4"),
        (b"{\"a\":1,}".to_vec(), "the body is not what its content-type says: trailing comma at line 1 column 8"),
        (b"{}".to_vec(), "the member \"specversion\" is missing"),
        (without("1.0", "1.1"), "the member \"specversion\" must be 1.0 or 0.3 (it is \"1.1\")"),
        (without("\"1.0\"", "1.0"), "the member \"specversion\" must be a string"),
        (without("\"id\"", "\"ix\""), "the member \"id\" is missing"),
        (without("\"1\"", "null"), "the member \"id\" is missing"),
        (without("\"1\"", "\"\""), "the member \"id\" must not be empty"),
        (without("\"1\"", "1"), "the member \"id\" must be a string (it is \"1\")"),
        (members(r#","specversion":"1.0""#), "the member \"specversion\" is there twice"),
        (members(r#","id":"2""#), "the member \"id\" is there twice"),
        (members(r#","Id":"2""#), "the member \"id\" is there twice"),
        (members(r#","data":1,"data":2"#), "the member \"data\" is there twice"),
        (members(r#","data":1,"data_base64":"AA==""#), "the members \"data\" and \"data_base64\" are both there"),
        (members(r#","data_base64":"A""#), "the member \"data_base64\" is not Base64: Invalid input length: 1"),
        (members(r#","data_base64":7"#), "the member \"data_base64\" must be a string"),
        (members(r#","datacontenttype":"text/plain","data":{}"#), "the member \"data\" must be a string, for \"datacontenttype\" says that it is not JSON"),
        (members(r#","x":1.5"#), "the member \"x\" is a number that is no integer of 32 bits (it is 1.5)"),
        (members(r#","x":2147483648"#), "the member \"x\" is a number that is no integer of 32 bits (it is 2147483648)"),
        (members(r#","x":1e400"#), "the member \"x\" is a number that is no integer of 32 bits (it is 1e400)"),
        (members(r#","x":{}"#), "the member \"x\" must be a string, a boolean or an integer, as all attributes"),
        (members(r#","x":"\ud800""#), "the member \"x\" has an escape that is no character"),
        (members(r#","a_b":"x""#), "the member \"a_b\" is no attribute's: names are of the letters a to z and digits, and not data (it is \"x\")"),
        (members(r#","":"x""#), "the member \"\" is no attribute's: names are of the letters a to z and digits, and not data (it is \"x\")"),
        (members(r#","time":"2018-04-05""#), "the member \"time\" is no time as RFC 3339 has it (it is \"2018-04-05\")"),
    ];
    for (body, wanted) in cases {
        let refused = decode::one(&envelope(), &body, None).expect_err(wanted);
        assert_eq!(refused.to_string(), *wanted);
    }
    let deep = "[".repeat(100_000);
    let refused = decode::one(&envelope(), members(&format!(",\"data\":{deep}")).as_slice(), None);
    refused.expect_err("it does not end");
    let deep = format!(",\"data\":{deep}{}", "]".repeat(100_000));
    decode::one(&envelope(), members(&deep).as_slice(), None).expect("depth is the consumer's");
}

#[test]
fn values_of_the_core_are_checked() {
    let good_and_bad: [(&str, &[&str], &[&str]); 4] = [
        (
            "ce-time",
            &[
                "2018-04-05T03:56:24Z",
                "2018-04-05t03:56:24z",
                "2018-04-05T03:56:24.123456789012+23:59",
                "2020-02-29T23:59:60-00:00",
                "0000-01-01T00:00:00Z",
            ],
            &[
                "",
                "2018-04-05",
                "2018-04-05T03:56Z",
                "2018-04-05 03:56:24Z",
                "2018-04-05T03:56:24",
                "2018-04-05T03:56:24.Z",
                "2018-04-05T03:56:24+0200",
                "2018-04-05T03:56:24+24:00",
                "2019-02-29T03:56:24Z",
                "2018-13-05T03:56:24Z",
                "2018-00-05T03:56:24Z",
                "2018-04-31T03:56:24Z",
                "2018-04-05T24:56:24Z",
                "2018-04-05T03:60:24Z",
                "2018-04-05T03:56:61Z",
                "2018-04-05T03:56:24Z ",
                "12018-04-05T03:56:24Z",
                "2018-04-05T03:56:24é",
            ],
        ),
        (
            "ce-source",
            &[
                "a",
                "/a b?c%#d",
                "//host:80/a",
                "//host:",
                "http://u:p@[::1]:80/a%20b",
                "urn:a:b",
                "?a:b",
                "a/b:c",
                "é",
            ],
            &["a b:c", ":a", "1a:b", "/%2", "/%zz", "#%2", "//host:a", "//[::1", "//[::1]a"],
        ),
        (
            "ce-dataschema",
            &["http://a", "urn:x", "a+b-c.d:e"],
            &["", "a", "//a", "/a:b", "http://a:b"],
        ),
        (
            "content-type",
            &[
                "a/b",
                "text",
                "a/b;",
                "a/b; c=d",
                "a/b ;c=\"d;\\\"e\" ; f=g",
                "application/vnd.a+json;charset=utf-8",
            ],
            &[
                "/",
                "a/",
                "/b",
                "a b/c",
                "a/b c",
                "a/b;c",
                "a/b;=d",
                "a/b;c=",
                "a/b;c=\"d",
                "a/b;c=d e",
            ],
        ),
    ];
    for (name, good, bad) in good_and_bad {
        for value in good {
            let event = decode::one(&with(&[(name, value)]), b"", None);
            assert!(event.is_ok(), "{name}: {value}: {event:?}");
        }
        for value in bad {
            let event = decode::one(&with(&[(name, value), ("ce-extra", "x")]), b"", None);
            // An empty content type is none.
            assert!(
                event.is_err() || name == "content-type" && value.is_empty(),
                "{name}: {value}"
            );
        }
    }
    decode::one(&with(&[("content-type", "")]), b"", None).expect("an empty one says nothing");
}

#[test]
fn an_event_has_bounds() {
    let names: Vec<String> = (0..200).map(|it| format!("ce-x{it}")).collect();
    let many = |count: usize| {
        let others: Vec<_> = names[..count].iter().map(|it| (it.as_str(), "x")).collect();
        decode::one(&with(&others), b"", None)
    };
    assert!(many(77).is_ok());
    assert_eq!(
        many(78).expect_err("it is too much").to_string(),
        "the event has more than 80 attributes"
    );
    let long = "x".repeat(70_000);
    let cases = [
        ("ce-x", 60_000, None),
        (
            "ce-x",
            61_500,
            Some(
                "the attributes are 61517 bytes long, and at most 61440 are taken: put into the data what is long",
            ),
        ),
        (
            "ce-x",
            66_000,
            Some(
                "the header ce-x is too long: at most 65535 bytes are taken (it is \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\")",
            ),
        ),
        ("knative-x", 8000, None),
        (
            "knative-x",
            9000,
            Some(
                "the headers that go along with the event (knative-*, x-b3-*, tracing) are more than 32, or longer than 8192 bytes",
            ),
        ),
        ("accept", 70_000, None),
    ];
    for (name, length, wanted) in cases {
        let event = decode::one(&with(&[(name, &long[..length])]), b"", None);
        assert_eq!(event.err().map(|it| it.to_string()).as_deref(), wanted, "{name} {length}");
    }
    let name = format!("ce-{}", "a".repeat(129));
    let refused = decode::one(&with(&[(&name, "x")]), b"", None).expect_err("it is too long");
    assert!(refused.to_string().ends_with("has too long a name (it is \"x\")"), "{refused}");
    let members: String = (0..300).map(|it| format!(",\"x{it}\":null")).collect();
    let refused = decode::one(&envelope(), object(&members).as_bytes(), None);
    let refused = refused.expect_err("it is too much").to_string();
    assert!(refused.contains("an event has too many members at line 1"), "{refused}");

    // What a dead letter adds finds room.
    let largest = decode::one(&with(&[("ce-x", &long[..60_000])]), b"", None).expect("it is good");
    largest.with(&[(ERROR_DATA, Value::String(&long[..1024]))]).expect("there is room");
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let batched = headers([
        ("content-type", "Application/CloudEvents-Batch+JSON; charset=utf-8"),
        ("traceparent", "d"),
        ("accept", "*/*"),
    ]);
    let two = format!("[{}, {} ]", object(r#","data":1"#), object(r#","x":true"#));
    let events = decode::batch(&batched, two.as_bytes(), None).expect("it is good");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].data(), Some(Bytes::from_static(b"1")));
    assert_eq!(events[1].attribute("x"), Some(Value::Boolean(true)));
    assert!(events.iter().all(|it| it.passed().eq([("traceparent", &b"d"[..])])));
    assert_eq!(decode::batch(&batched, &encode::batch(&events), None), Ok(events));
    assert_eq!(decode::batch(&batched, b"[]", None), Ok(Vec::new()));
    assert_eq!(encode::batch(&[]), b"[]");

    let one = decode::batch(&with(&[]), b"data", None).expect("one event is a batch of one");
    assert_eq!(one[0].data(), Some(Bytes::from_static(b"data")));

    let bad = format!("[{},{}]", object(""), object(r#","x":1.5"#));
    #[rustfmt::skip]
    let cases: [(&str, &str); 3] = [
        (&bad, "event 1 of the batch (the first is 0): the member \"x\" is a number that is no integer of 32 bits (it is 1.5)"),
        ("{}", "the body is not what its content-type says: invalid type: map, expected a batch of events, which is an array at line 1 column 0"),
        ("[{}, 7]", "the body is not what its content-type says: invalid type: integer `7`, expected an event, which is an object at line 1 column 6"),
    ];
    for (body, wanted) in cases {
        let refused = decode::batch(&batched, body.as_bytes(), None).expect_err(wanted);
        assert_eq!(refused.to_string(), wanted);
    }
    let long = format!("[{}]", vec!["{}"; 5001].join(","));
    let refused = decode::batch(&batched, long.as_bytes(), None).expect_err("it is too much");
    assert!(refused.to_string().contains("a batch has at most 5000 events"), "{refused}");
}

#[test]
fn stored_bytes_are_read_strictly() {
    let event = decode::one(&with(&[("x-request-id", "7")]), b"data", None).expect("it is good");
    let good = event.stored_bytes();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        Event::stored(bytes.into())
    };
    assert_eq!(changed(0, 2), Err(Damaged::Format(2)));
    assert_eq!(
        Damaged::Format(2).to_string(),
        "the stored event has format 2, which this release does not know: use the release that wrote it"
    );
    let damaged = |why| Err(Damaged::Record(why));
    assert_eq!(Event::stored(Bytes::new()), damaged("it is shorter than the head of one"));
    assert_eq!(changed(1, 0x80), damaged("it has unknown flags"));
    assert_eq!(changed(1, 0), damaged("it has data and says that it has none"));
    assert_eq!(changed(3, 4), damaged("its attributes are cut off"));
    assert_eq!(changed(7, 1), damaged("its parts are out of order"));
    assert_eq!(changed(12, 2), damaged("type, source and id are not the first attributes"));
    assert_eq!(changed(13, 200), damaged("its attributes are cut off"));
    let cut = good.slice(..good.len() - 5);
    assert_eq!(Event::stored(cut), damaged("its parts are out of order"));
}
