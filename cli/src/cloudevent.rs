//! Events of the CloudEvents SDK in HTTP messages.
//!
//! Pure: values to headers and bytes, and back.
//! Source: CloudEvents HTTP protocol binding. The SDK's own binding would bring all of `futures` 0.1 with it.

use cloudevents::{
    Event, EventBuilder, EventBuilderV10,
    event::SpecVersion,
    message::{BinaryDeserializer, BinarySerializer, Error, MessageAttributeValue, Result},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers and body of an event in binary mode. Values that no header can hold are an error.
pub fn binary(event: Event) -> Result<(HeaderMap, Vec<u8>)> {
    BinaryDeserializer::deserialize_binary(event, Headers(HeaderMap::new()))
}

/// The event in a message, in binary mode or as one JSON object.
pub fn read(headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Event> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if kind.is_some_and(|it| it.starts_with("application/cloudevents+json")) {
        return Ok(serde_json::from_slice(body)?);
    }
    let mut builder = EventBuilderV10::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = value.to_str()?;
        builder = match name {
            "specversion" => builder,
            "id" => builder.id(value),
            "type" => builder.ty(value),
            "source" => builder.source(value),
            "subject" => builder.subject(value),
            "time" => builder.time(value),
            _ => builder.extension(name, value),
        };
    }
    if !body.is_empty() {
        builder = builder.data(kind.unwrap_or("application/json"), body.to_vec());
    }
    Ok(builder.build()?)
}

/// Takes an event's attributes as headers.
struct Headers(HeaderMap);

impl Headers {
    fn with(mut self, name: &str, value: &str) -> Result<Headers> {
        let name = match name {
            "datacontenttype" => header::CONTENT_TYPE,
            _ => HeaderName::try_from(format!("ce-{name}")).map_err(other)?,
        };
        self.0.insert(name, HeaderValue::from_str(value).map_err(other)?);
        Ok(self)
    }
}

impl BinarySerializer<(HeaderMap, Vec<u8>)> for Headers {
    fn set_spec_version(self, version: SpecVersion) -> Result<Headers> {
        self.with("specversion", version.as_str())
    }

    fn set_attribute(self, name: &str, value: MessageAttributeValue) -> Result<Headers> {
        self.with(name, &value.to_string())
    }

    fn set_extension(self, name: &str, value: MessageAttributeValue) -> Result<Headers> {
        self.with(name, &value.to_string())
    }

    fn end_with_data(self, bytes: Vec<u8>) -> Result<(HeaderMap, Vec<u8>)> {
        Ok((self.0, bytes))
    }

    fn end(self) -> Result<(HeaderMap, Vec<u8>)> {
        Ok((self.0, Vec::new()))
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other { source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let event = EventBuilderV10::new()
            .id("1")
            .ty("t")
            .source("/s")
            .subject("x")
            .time("2026-01-31T12:00:00Z")
            .extension("priority", "high")
            .data("application/json", br#"{"a":1}"#.to_vec())
            .build()
            .unwrap();
        let (headers, body) = binary(event.clone()).unwrap();
        assert_eq!(headers["ce-priority"], "high");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(read(&headers, &body).unwrap(), event);
        let mut structured = HeaderMap::new();
        let kind = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
        structured.insert(header::CONTENT_TYPE, kind);
        let json = serde_json::to_vec(&event).unwrap();
        let again = read(&structured, &json).unwrap();
        assert!(again.iter().eq(event.iter()));
        assert!(read(&HeaderMap::new(), b"{}").is_err());
    }
}
