//! Protobuf to JSON.
//!
//! Pure: bytes in, value out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{MAGIC, Message, message, message_of};

/// Messages within messages beyond this are refused: reading is recursive.
const DEEPEST: usize = 100;

/// Reads an object in its envelope.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let Some(bytes) = bytes.strip_prefix(&MAGIC) else {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned());
    };
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) =
        (String::new(), String::new(), &[]);
    for field in fields(bytes)? {
        match field {
            (1, Wire::Bytes(bytes)) => {
                for field in fields(bytes)? {
                    match field {
                        (1, Wire::Bytes(text)) => {
                            api_version = String::from_utf8_lossy(text).into_owned()
                        }
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let Some(known) = message_of(&api_version, &kind) else {
        return Err(format!("no kind {kind:?} is registered for version {api_version:?}"));
    };
    let mut map = Map::new();
    object(raw, known, &mut map, 0)?;
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
    Ok(Value::Object(map))
}

#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or("unexpected EOF")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("proto: integer overflow".to_owned())
}

fn fields(bytes: &[u8]) -> Result<Vec<(u32, Wire<'_>)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let key = varint(bytes, &mut at)?;
        let number = (key >> 3) as u32;
        let mut take = |length: usize| {
            let part = bytes.get(at..at.saturating_add(length)).ok_or("unexpected EOF")?;
            at += length;
            Ok::<&[u8], String>(part)
        };
        let wire = match key & 7 {
            0 => Wire::Number(varint(bytes, &mut at)?),
            1 => {
                Wire::Fixed(u64::from_le_bytes(take(8)?.try_into().map_err(|_| "unexpected EOF")?))
            }
            2 => {
                let length = varint(bytes, &mut at)?;
                let length = usize::try_from(length).map_err(|_| "unexpected EOF")?;
                let part = bytes.get(at..at.saturating_add(length)).ok_or("unexpected EOF")?;
                at += length;
                Wire::Bytes(part)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(
                take(4)?.try_into().map_err(|_| "unexpected EOF")?,
            ))),
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        found.push((number, wire));
    }
    Ok(found)
}

fn object(
    bytes: &[u8],
    known: Message,
    map: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEEPEST {
        return Err("exceeded max depth".to_owned());
    }
    for (number, wire) in fields(bytes)? {
        let Some(field) = known.fields().find(|field| field.number == number) else { continue };
        if let Some(inline) = field.code.strip_prefix('^') {
            if let (Wire::Bytes(bytes), Some(known)) = (wire, message(inline)) {
                object(bytes, known, map, depth + 1)?;
            }
            continue;
        }
        if let Some(code) = field.code.strip_prefix('[') {
            let item = value(wire, code, depth)?.unwrap_or(Value::Null);
            match map.entry(field.name).or_insert_with(|| json!([])) {
                Value::Array(list) => list.push(item),
                _ => return Err("proto: a list and a value share a field".to_owned()),
            }
            continue;
        }
        if let Some(code) = field.code.strip_prefix('{') {
            let Wire::Bytes(bytes) = wire else { continue };
            let (mut key, mut entry) = (String::new(), None);
            for part in fields(bytes)? {
                match part {
                    (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                    (2, wire) => entry = value(wire, code, depth)?,
                    _ => {}
                }
            }
            let empty = if code == "s" { Value::from("") } else { Value::Null };
            if let Value::Object(entries) = map.entry(field.name).or_insert_with(|| json!({})) {
                entries.insert(key, entry.unwrap_or(empty));
            }
            continue;
        }
        if let Some(value) = value(wire, field.code, depth)? {
            map.insert(field.name.into(), value);
        }
    }
    Ok(())
}

/// None for what JSON leaves out.
fn value(wire: Wire<'_>, code: &str, depth: usize) -> Result<Option<Value>, String> {
    Ok(match (code, wire) {
        ("s", Wire::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned().into()),
        ("y", Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        ("b", Wire::Number(number)) => Some((number != 0).into()),
        ("i", Wire::Number(number)) => Some((number as i64).into()),
        ("d", Wire::Fixed(bits)) => Some(f64::from_bits(bits).into()),
        ("q", Wire::Bytes(bytes)) => fields(bytes)?.into_iter().find_map(|field| match field {
            (1, Wire::Bytes(text)) => Some(String::from_utf8_lossy(text).into_owned().into()),
            _ => None,
        }),
        ("x", Wire::Bytes(bytes)) => Some(int_or_string(bytes)?),
        ("t" | "u", Wire::Bytes(bytes)) => time(bytes, code)?,
        ("o", Wire::Bytes(bytes)) => fields(bytes)?.into_iter().find_map(|field| match field {
            (1, Wire::Bytes(json)) => serde_json::from_slice(json).ok(),
            _ => None,
        }),
        ("=s", Wire::Bytes(bytes)) => {
            let items = fields(bytes)?.into_iter().filter_map(|field| match field {
                (1, Wire::Bytes(text)) => {
                    Some(Value::from(String::from_utf8_lossy(text).into_owned()))
                }
                _ => None,
            });
            Some(items.collect())
        }
        (code, Wire::Bytes(bytes)) => {
            let Some(known) = code.strip_prefix('@').and_then(message) else { return Ok(None) };
            let mut map = Map::new();
            object(bytes, known, &mut map, depth + 1)?;
            Some(Value::Object(map))
        }
        _ => return Err("proto: wrong wireType".to_owned()),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut kind, mut number, mut text) = (0, 0i64, String::new());
    for field in fields(bytes)? {
        match field {
            (1, Wire::Number(one)) => kind = one,
            (2, Wire::Number(one)) => number = one as i64,
            (3, Wire::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
    }
    Ok(if kind == 1 { text.into() } else { number.into() })
}

fn time(bytes: &[u8], code: &str) -> Result<Option<Value>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0i64, 0i32);
    for field in fields(bytes)? {
        match field {
            (1, Wire::Number(number)) => seconds = number as i64,
            (2, Wire::Number(number)) => nanos = number as i32,
            _ => {}
        }
    }
    let moment = Timestamp::new(seconds, nanos).map_err(|_| "proto: a time out of range")?;
    let format = if code == "u" { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(moment.strftime(format).to_string().into()))
}
