//! The codec of events, through its front door.

use http::{HeaderMap, HeaderName, HeaderValue};

#[path = "event/cases.rs"]
mod cases;
#[path = "event/properties.rs"]
mod properties;
#[path = "event/sdk.rs"]
mod sdk;
#[path = "event/second_opinion.rs"]
mod second_opinion;

/// Headers from names and values, in their order.
fn headers<'a>(of: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in of {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

/// The headers of an envelope.
fn envelope() -> HeaderMap {
    headers([("content-type", "application/cloudevents+json")])
}
