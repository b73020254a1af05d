//! Nanoseconds of the codec beside those of the SDK of the CloudEvents project, for a usual event of 1 KiB.
//!
//! `cargo bench -p eventing --bench event`. Ratios hold on other machines as well, nanoseconds do not.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use eventing::event::{ERROR_CODE, ERROR_DATA, ERROR_DESTINATION, Event, Value, decode, encode};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

#[path = "../tests/event/sdk.rs"]
mod sdk;

/// Rounds of each measure, of which the best counts: others run on the machine too.
const ROUNDS: usize = 2000;
/// How long a round is, at least: far longer than the clock's step, far shorter than a turn of the processor's.
const ROUND: Duration = Duration::from_micros(100);

/// Nanoseconds of one call.
fn measured<T>(of: impl Fn() -> T) -> f64 {
    let round = |count: u32| {
        let begun = Instant::now();
        (0..count).for_each(|_| drop(black_box(of())));
        begun.elapsed()
    };
    let mut count = 1;
    while round(count) < ROUND {
        count *= 2;
    }
    let best = (0..ROUNDS).map(|_| round(count)).min().expect("there are rounds");
    best.as_nanos() as f64 / f64::from(count)
}

fn compare(what: &str, ours: f64, theirs: f64) {
    println!("{what:<34}{ours:>8.0} ns{theirs:>10.0} ns{:>8.1} times", theirs / ours);
}

fn main() {
    let fields = [
        ("host", "broker-ingress.knative-eventing.svc.cluster.local"),
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.order.created"),
        ("ce-source", "/orders/eu"),
        ("ce-id", "6f1c1c9e-6d0b-4a0e-9d8e-7a3a3a3a3a3a"),
        ("ce-time", "2026-11-22T07:08:09.123456Z"),
        ("ce-subject", "order-17"),
        ("ce-tenant", "acme"),
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let came: HeaderMap = fields.map(field).into_iter().collect();
    let item = r#"{"sku":"a-17","count":3,"price":12.50,"note":"wrapped"}"#;
    let body = format!(r#"{{"items":[{}]}}"#, [item; 18].join(",")).into_bytes();
    let envelope = HeaderValue::from_static(encode::STRUCTURED);
    let envelope: HeaderMap = [(http::header::CONTENT_TYPE, envelope)].into_iter().collect();
    let now = "2026-11-22T07:08:09.123456789Z".parse().ok();

    let event = decode::one(&came, &body, None).expect("it is good");
    let text = encode::structured(&event);
    let theirs = sdk::read(&came, body.clone()).expect("it is good");
    println!("{:<34}{:>11}{:>13}", format!("{} bytes of data", body.len()), "ours", "the SDK's");
    compare(
        "from headers",
        measured(|| decode::one(&came, &body, None)),
        measured(|| sdk::read(&came, body.clone())),
    );
    // What it takes to make a copy of the SDK's event, which writing uses up, does not count.
    let copied = measured(|| theirs.clone());
    compare(
        "to headers",
        measured(|| {
            let mut headers = HeaderMap::new();
            (encode::binary(&event, &mut headers), headers)
        }),
        measured(|| sdk::written(theirs.clone())) - copied,
    );
    compare(
        "from an envelope",
        measured(|| decode::one(&envelope, &text, None)),
        measured(|| serde_json::from_slice::<cloudevents::Event>(&text)),
    );
    compare(
        "to an envelope",
        measured(|| encode::structured(&event)),
        measured(|| serde_json::to_vec(&theirs)),
    );
    let alone = |what: &str, nanoseconds: f64| println!("{what:<34}{nanoseconds:>8.1} ns");
    alone("from headers, with the arrival", measured(|| decode::one(&came, &body, now)));
    let stored: Bytes = event.stored_bytes().clone();
    alone("from the store", measured(|| Event::stored(stored.clone())));
    alone("the type", measured(|| black_box(&event).kind().len()));
    alone("an extension", measured(|| black_box(&event).attribute("tenant").is_some()));
    let letter = [
        (ERROR_DESTINATION, Value::String("http://a.default.svc.cluster.local")),
        (ERROR_CODE, Value::Integer(500)),
        (ERROR_DATA, Value::String("AAAA")),
    ];
    alone("a dead letter", measured(|| event.with(&letter)));
}
