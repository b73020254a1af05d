//! What the SDK of the CloudEvents project reads of what we write, and we of what it writes.
//!
//! Kept away from what it is known to do differently: it turns times to UTC, completes URLs, rewrites JSON data, and
//! percent-encodes nothing.

use api::cesql::Value;
use cloudevents::{AttributesReader, Data, event::ExtensionValue};
use eventing::event::{Event, decode, encode};
use http::HeaderMap;
use proptest::{option, prelude::*, sample::select};
use serde_json::{Value as Json, json};

use super::{
    envelope,
    properties::{Owned, attributes, event, random},
    sdk,
};

const TIME: &str = "2018-04-05T03:56:24Z";

fn data() -> impl Strategy<Value = Option<Json>> {
    option::of(select(vec![
        json!(null),
        json!(true),
        json!(-7),
        json!("é\n\""),
        json!([1, [2.5], {}]),
        json!({"a": {"b": "c"}, "d": null}),
    ]))
}

/// An event that both understand alike, and its data.
fn common() -> impl Strategy<Value = (Event, Option<Json>)> {
    (attributes("[!-~]{0,20}"), data()).prop_map(|(mut attributes, data)| {
        attributes.retain(|it| it.0 != "datacontenttype" && it.0 != "time");
        attributes.push(("time".to_owned(), Owned::String(TIME.to_owned())));
        if data.is_some() {
            let json = Owned::String("application/json".to_owned());
            attributes.push(("datacontenttype".to_owned(), json));
        }
        let text = data.as_ref().map(Json::to_string);
        (event(&attributes, text.as_ref().map(String::as_bytes)), data)
    })
}

/// That two events say the same, the SDK's with types or all as strings.
fn same(ours: &Event, theirs: &cloudevents::Event, data: Option<&Json>, is_typed: bool) {
    assert_eq!(theirs.specversion().as_str(), ours.spec_version().text());
    for (name, value) in ours.attributes() {
        let core = match name {
            "id" => Some(theirs.id().to_owned()),
            "type" => Some(theirs.ty().to_owned()),
            "source" => Some(theirs.source().to_owned()),
            "subject" => theirs.subject().map(str::to_owned),
            "time" => theirs.time().map(|it| it.to_rfc3339().replace("+00:00", "Z")),
            "datacontenttype" => theirs.datacontenttype().map(str::to_owned),
            "specversion" => Some(theirs.specversion().to_string()),
            _ => None,
        };
        let have = core.map(ExtensionValue::String).or_else(|| theirs.extension(name).cloned());
        let wanted = match value {
            Value::String(text) => ExtensionValue::String(text.to_owned()),
            Value::Boolean(it) if is_typed => ExtensionValue::Boolean(it),
            Value::Integer(it) if is_typed => ExtensionValue::Integer(it.into()),
            Value::Boolean(it) => ExtensionValue::String(it.to_string()),
            Value::Integer(it) => ExtensionValue::String(it.to_string()),
        };
        assert_eq!(have, Some(wanted), "{name} of {theirs}");
    }
    let (count, extensions) = (ours.attributes().count(), theirs.iter_extensions().count());
    assert_eq!(count, extensions + theirs.iter_attributes().count(), "{theirs}");
    let found = theirs.data().map(|it| match it {
        Data::Json(it) => it.clone(),
        Data::String(it) => serde_json::from_str(it).expect("it is JSON"),
        Data::Binary(it) => serde_json::from_slice(it).expect("it is JSON"),
    });
    assert_eq!(found.as_ref(), data);
}

proptest! {
    #![proptest_config(random())]

    #[test]
    fn it_reads_our_envelopes_and_we_its((ours, data) in common()) {
        let text = encode::structured(&ours);
        let theirs: cloudevents::Event = serde_json::from_slice(&text).expect("it is good");
        same(&ours, &theirs, data.as_ref(), true);
        let text = serde_json::to_vec(&theirs).expect("it is good");
        let again = decode::one(&envelope(), &text, None).expect("it is good");
        same(&again, &theirs, data.as_ref(), true);
    }

    #[test]
    fn it_reads_our_headers_and_we_its((ours, data) in common()) {
        let mut headers = HeaderMap::new();
        let body = encode::binary(&ours, &mut headers);
        let theirs = sdk::read(&headers, body.to_vec()).expect("it is good");
        same(&ours, &theirs, data.as_ref(), false);
        let (headers, body) = sdk::written(theirs.clone()).expect("it is good");
        let again = decode::one(&headers, &body, None).expect("it is good");
        let again = again.with(&[("time", Value::String(TIME))]).expect("it is good");
        same(&again, &theirs, data.as_ref(), false);
    }
}
