//! Events to HTTP messages.
//!
//! Pure: values to bytes.
//! Source: CloudEvents HTTP protocol binding, JSON event format, JSON batch format; sdk-go `event.WriteJson`.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::value::RawValue;

use super::{
    Event, SpecVersion, media,
    record::{self, Kind},
    text,
};

/// The `content-type` of [`structured`].
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The `content-type` of [`batch`].
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Sets the headers of the event in binary mode, and gives the body. Neither values nor data are copied.
///
/// [`Event::hops`] and [`Event::passed`] are not set: see [`hops`] and [`passed`].
///
/// An event whose data is an envelope leaves in structured mode: with the content type of its data, receivers would take
/// that envelope for the event, and get one that no filter has seen.
pub fn binary(event: &Event, headers: &mut HeaderMap) -> Bytes {
    let bytes = event.stored_bytes();
    let mut fields = record::attributes(bytes);
    let content_type = fields.find(|it| it.name == b"datacontenttype");
    if content_type.is_some_and(|it| media::envelope(text(it.value)).is_some()) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
        return structured(event).into();
    }
    headers.reserve(bytes[3] as usize + 2);
    let version = HeaderValue::from_static(event.spec_version().text());
    headers.insert(const { HeaderName::from_static("ce-specversion") }, version);
    if record::notes(bytes).implied_json {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for field in record::attributes(bytes) {
        let name = header_name(field.name);
        let plain = match field.kind {
            Kind::Encoded => None,
            _ => HeaderValue::from_maybe_shared(event.slice(field.place)).ok(),
        };
        let value = plain.unwrap_or_else(|| {
            HeaderValue::from_maybe_shared(Bytes::from(percent_encoded(field.value)))
                .expect("encoded values are of printable letters")
        });
        headers.insert(name, value);
    }
    event.data().unwrap_or_default()
}

/// Sets the headers that go along with the event, instead of others of their names.
pub fn passed(event: &Event, headers: &mut HeaderMap) {
    let mut last = None;
    for field in record::passed(event.stored_bytes()) {
        let name = HeaderName::from_bytes(field.name);
        let value = HeaderValue::from_maybe_shared(event.slice(field.place));
        let (Ok(name), Ok(value)) = (name, value) else { continue };
        match last == Some(field.name) {
            true => drop(headers.append(name, value)),
            false => drop(headers.insert(name, value)),
        }
        last = Some(field.name);
    }
}

/// Sets the header that tells the next broker of [`Event::hops`].
pub fn hops(event: &Event, headers: &mut HeaderMap) {
    if let Some(hops) = event.hops() {
        headers.insert(
            const { HeaderName::from_static("ce-knativebrokerttl") },
            u16::from(hops).into(),
        );
    }
}

/// The event as a JSON object. Data that is JSON stays the text it is.
///
/// Data is a JSON value if its content type says JSON and it is JSON, a string if it is a text of another content type,
/// and Base64 otherwise or if it came as such.
pub fn structured(event: &Event) -> Vec<u8> {
    let bytes = event.stored_bytes();
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 128);
    write_structured(event, &mut out);
    out
}

/// The events as a JSON array.
pub fn batch(events: &[Event]) -> Vec<u8> {
    let size: usize = events.iter().map(|it| it.stored_bytes().len() + 128).sum();
    let mut out = Vec::with_capacity(size + 2);
    out.push(b'[');
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_structured(event, &mut out);
    }
    out.push(b']');
    out
}

fn write_structured(event: &Event, out: &mut Vec<u8>) {
    let bytes = event.stored_bytes();
    out.extend_from_slice(b"{\"specversion\":\"");
    out.extend_from_slice(event.spec_version().text().as_bytes());
    out.push(b'"');
    let mut content_type = None;
    let mut is_encoded = record::notes(bytes).binary;
    for field in record::attributes(bytes) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(field.name);
        out.extend_from_slice(b"\":");
        match field.kind {
            Kind::Plain | Kind::Encoded => write_string(text(field.value), out),
            Kind::Boolean | Kind::Integer => out.extend_from_slice(field.value),
        }
        match field.name {
            b"datacontenttype" => content_type = Some(text(field.value)),
            b"datacontentencoding" => is_encoded |= event.spec_version() == SpecVersion::V03,
            _ => {}
        }
    }
    if let Some(range) = record::data(bytes) {
        write_data(event, &bytes[range], content_type, is_encoded, out);
    }
    out.push(b'}');
}

fn write_data(
    event: &Event,
    data: &[u8],
    content_type: Option<&str>,
    is_encoded: bool,
    out: &mut Vec<u8>,
) {
    if !is_encoded {
        if content_type.is_none_or(media::is_json) {
            if serde_json::from_slice::<&RawValue>(data).is_ok() {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(data);
                return;
            }
        } else if let Ok(text) = std::str::from_utf8(data)
            && (text.is_ascii() || content_type.is_some_and(media::is_utf8))
        {
            out.extend_from_slice(b",\"data\":");
            write_string(text, out);
            return;
        }
    }
    match event.spec_version() {
        SpecVersion::V1 => out.extend_from_slice(b",\"data_base64\":\""),
        SpecVersion::V03 => {
            if event.attribute("datacontentencoding").is_none() {
                out.extend_from_slice(b",\"datacontentencoding\":\"base64\"");
            }
            out.extend_from_slice(b",\"data\":\"");
        }
    }
    let from = out.len();
    out.resize(from + data.len().div_ceil(3) * 4, 0);
    let written = BASE64_STANDARD.encode_slice(data, &mut out[from..]);
    out.truncate(from + written.expect("four letters for each three bytes are enough"));
    out.push(b'"');
}

/// The header of an attribute. Names that are common need not be made anew for each event.
fn header_name(attribute: &[u8]) -> HeaderName {
    match attribute {
        b"datacontenttype" => header::CONTENT_TYPE,
        b"type" => const { HeaderName::from_static("ce-type") },
        b"source" => const { HeaderName::from_static("ce-source") },
        b"id" => const { HeaderName::from_static("ce-id") },
        b"time" => const { HeaderName::from_static("ce-time") },
        b"subject" => const { HeaderName::from_static("ce-subject") },
        b"knativearrivaltime" => const { HeaderName::from_static("ce-knativearrivaltime") },
        b"dataschema" => const { HeaderName::from_static("ce-dataschema") },
        b"schemaurl" => const { HeaderName::from_static("ce-schemaurl") },
        b"datacontentencoding" => const { HeaderName::from_static("ce-datacontentencoding") },
        b"partitionkey" => const { HeaderName::from_static("ce-partitionkey") },
        b"traceparent" => const { HeaderName::from_static("ce-traceparent") },
        b"knativeerrordest" => const { HeaderName::from_static("ce-knativeerrordest") },
        b"knativeerrorcode" => const { HeaderName::from_static("ce-knativeerrorcode") },
        b"knativeerrordata" => const { HeaderName::from_static("ce-knativeerrordata") },
        _ => {
            let mut name = [0; 3 + record::NAME_LIMIT];
            let name = &mut name[..3 + attribute.len()];
            name[..3].copy_from_slice(b"ce-");
            name[3..].copy_from_slice(attribute);
            HeaderName::from_bytes(name).expect("names are of letters and digits")
        }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string in memory can be written to memory");
}

/// The value for a header. Source: HTTP protocol binding §3.1.3.2.
fn percent_encoded(value: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(value.len() * 2);
    for byte in value {
        match byte {
            b'"' | b'%' => {}
            b'!'..=b'~' => {
                out.push(*byte);
                continue;
            }
            _ => {}
        }
        let (high, low) = (byte >> 4, byte & 15);
        out.extend_from_slice(&[b'%', DIGITS[high as usize], DIGITS[low as usize]]);
    }
    out
}
