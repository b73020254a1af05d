//! JSON to protobuf.
//!
//! Pure: value in, bytes out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{MAGIC, Message, message, message_of};

/// Writes an object in its envelope; none when its kind has no protobuf form.
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
    let known = message_of(api_version, kind)?;
    let mut raw = Vec::new();
    object(value.as_object()?, known, &mut raw);
    let mut meta = Vec::new();
    part(1, api_version.as_bytes(), &mut meta);
    part(2, kind.as_bytes(), &mut meta);
    let mut out = MAGIC.to_vec();
    part(1, &meta, &mut out);
    part(2, &raw, &mut out);
    part(3, b"", &mut out);
    part(4, b"", &mut out);
    Some(out)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn part(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn number(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3, out);
    varint(value, out);
}

fn object(map: &Map<String, Value>, known: Message, out: &mut Vec<u8>) {
    for field in known.fields() {
        if let Some(inline) = field.code.strip_prefix('^') {
            if let Some(known) = message(inline) {
                let mut below = Vec::new();
                object(map, known, &mut below);
                part(field.number, &below, out);
            }
            continue;
        }
        let Some(found) = map.get(field.name) else { continue };
        if let Some(code) = field.code.strip_prefix('[') {
            for item in found.as_array().into_iter().flatten() {
                value(field.number, item, code, out);
            }
        } else if let Some(code) = field.code.strip_prefix('{') {
            for (key, item) in found.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                part(1, key.as_bytes(), &mut entry);
                value(2, item, code, &mut entry);
                part(field.number, &entry, out);
            }
        } else {
            value(field.number, found, field.code, out);
        }
    }
}

fn value(at: u32, value: &Value, code: &str, out: &mut Vec<u8>) {
    let text = || value.as_str().unwrap_or_default();
    match code {
        _ if value.is_null() => {}
        "s" => part(at, text().as_bytes(), out),
        "y" => part(at, &STANDARD.decode(text()).unwrap_or_default(), out),
        "b" => number(at, u64::from(value == true), out),
        "i" => number(at, value.as_i64().unwrap_or_default() as u64, out),
        "d" => {
            varint(u64::from(at) << 3 | 1, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
        "q" => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut below = Vec::new();
            part(1, shown.as_bytes(), &mut below);
            part(at, &below, out);
        }
        "x" => {
            let mut below = Vec::new();
            number(1, u64::from(value.is_string()), &mut below);
            number(2, value.as_i64().unwrap_or_default() as u64, &mut below);
            part(3, text().as_bytes(), &mut below);
            part(at, &below, out);
        }
        "t" | "u" => {
            let mut below = Vec::new();
            if let Ok(moment) = text().parse::<Timestamp>() {
                number(1, moment.as_second() as u64, &mut below);
                number(2, moment.subsec_nanosecond() as u64, &mut below);
            }
            part(at, &below, out);
        }
        "o" => {
            let mut below = Vec::new();
            part(1, value.to_string().as_bytes(), &mut below);
            part(at, &below, out);
        }
        "=s" => {
            let mut below = Vec::new();
            for item in value.as_array().into_iter().flatten() {
                part(1, item.as_str().unwrap_or_default().as_bytes(), &mut below);
            }
            part(at, &below, out);
        }
        _ => {
            let known = code.strip_prefix('@').and_then(message);
            if let (Some(known), Some(map)) = (known, value.as_object()) {
                let mut below = Vec::new();
                object(map, known, &mut below);
                part(at, &below, out);
            }
        }
    }
}
