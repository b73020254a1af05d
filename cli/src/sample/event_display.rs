//! Prints the events that it gets, and answers each as it is told to.
//!
//! `REPLY_TYPE`, and perhaps `REPLY_SOURCE`, make the answer an event: the same data with that type and source. `STATUS`
//! is what every event is answered with instead of 202, for example 500 to see what becomes of events that nobody takes.

use std::fmt::Write;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use cloudevents::{AttributesReader, Data, Event, EventBuilder, EventBuilderV10};

use crate::cloudevent;

#[derive(Clone, Default)]
struct Settings {
    reply_type: Option<String>,
    reply_source: Option<String>,
    status: Option<StatusCode>,
}

pub fn router() -> Router {
    let settings = Settings {
        reply_type: config::env::text("REPLY_TYPE"),
        reply_source: config::env::text("REPLY_SOURCE"),
        status: config::env::text("STATUS").and_then(|it| it.parse().ok()),
    };
    Router::new().fallback(post(move |headers: HeaderMap, body: Bytes| {
        let answer = answer(&settings, &headers, &body);
        async move { answer }
    }))
}

fn answer(settings: &Settings, headers: &HeaderMap, body: &[u8]) -> Response {
    let event = match cloudevent::read(headers, body) {
        Ok(event) => event,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("this is no event: {error}\n"))
                .into_response();
        }
    };
    println!("{}", text(&event));
    if let Some(status) = settings.status {
        return (status, format!("told to answer {status}\n")).into_response();
    }
    let Some(kind) = &settings.reply_type else { return StatusCode::ACCEPTED.into_response() };
    let source = settings.reply_source.clone().unwrap_or_else(|| "event-display".to_owned());
    let reply = EventBuilderV10::from(event).ty(kind).source(source).build();
    let reply = reply.map_err(anyhow::Error::from).and_then(|it| Ok(cloudevent::binary(it)?));
    match reply {
        Ok((headers, body)) => (StatusCode::OK, headers, body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The event for people.
fn text(event: &Event) -> String {
    let mut text = format!("event {} of type {}\n", event.id(), event.ty());
    for (name, value) in event.iter() {
        let _ = writeln!(text, "  {name}: {value}"); // Into memory.
    }
    let data = match event.data() {
        None => return text,
        Some(Data::Json(value)) => serde_json::to_string_pretty(value).unwrap_or_default(),
        Some(Data::String(text)) => text.clone(),
        Some(Data::Binary(bytes)) => match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        },
    };
    for line in data.lines() {
        let _ = writeln!(text, "    {line}"); // As above.
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let pairs =
            [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-type", "t"), ("ce-source", "/s")];
        pairs
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn events_are_answered_as_it_is_told() {
        let quiet = Settings::default();
        assert_eq!(answer(&quiet, &headers(), b"{}").status(), StatusCode::ACCEPTED);
        assert_eq!(answer(&quiet, &HeaderMap::new(), b"{}").status(), StatusCode::BAD_REQUEST);
        let status = Some(StatusCode::BAD_GATEWAY);
        let failing = Settings { status, ..Settings::default() };
        assert_eq!(answer(&failing, &headers(), b"{}").status(), StatusCode::BAD_GATEWAY);
        let reply_type = Some("u".to_owned());
        let replying = Settings { reply_type, ..Settings::default() };
        let reply = answer(&replying, &headers(), b"{}");
        assert_eq!(reply.status(), StatusCode::OK);
        for (name, value) in [("ce-type", "u"), ("ce-source", "event-display"), ("ce-id", "7")] {
            assert_eq!(reply.headers()[name], value);
        }
    }

    #[test]
    fn events_are_printed_with_their_data() {
        let event = cloudevent::read(&headers(), br#"{"a":1}"#).unwrap();
        let text = text(&event);
        for part in ["event 7 of type t\n", "  source: ", "    {\n      \"a\": 1\n    }\n"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
