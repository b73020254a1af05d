//! What the store knows of an object besides its bytes.
//!
//! Pure: reads values and bytes.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Labels, sorted by key.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

/// The name that managed fields have in an object's metadata.
const FIELDS: &str = "managedFields";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, borrow)]
    metadata: Metadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(default)]
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(default, borrow)]
    managed_fields: Option<&'a RawValue>,
}

/// The labels in the bytes of an object, and where its managed fields are; none when it cannot be read.
pub fn read(body: &[u8]) -> (Labels, Range<usize>) {
    let Ok(Envelope { metadata }) = serde_json::from_slice::<Envelope>(body) else {
        return (Labels::default(), 1..1);
    };
    let fields = metadata.managed_fields.map_or(1..1, |fields| {
        let begin = fields.get().as_ptr().addr() - body.as_ptr().addr();
        with_name(body, begin..begin + fields.get().len())
    });
    (metadata.labels.unwrap_or_default().into_iter().collect(), fields)
}

/// The bytes of an object, and where its managed fields are in them.
pub fn write(object: &Value) -> (Bytes, Range<usize>) {
    let mut out = Vec::with_capacity(1024);
    let mut found = 1..1;
    write_fields(object, &mut out, |name, value, out| {
        if name != "metadata" || !value.is_object() {
            return write_value(value, out);
        }
        write_fields(value, out, |name, value, out| {
            let begin = out.len();
            write_value(value, out);
            if name == FIELDS {
                found = begin..out.len();
            }
        });
    });
    let found = if found.is_empty() { found } else { with_name(&out, found) };
    // A copy: the buffer is up to twice as long, and objects stay.
    (Bytes::copy_from_slice(&out), found)
}

/// The place of a value with its name and the comma after it; empty when another field does not follow: all objects
/// have names, which come later.
fn with_name(body: &[u8], value: Range<usize>) -> Range<usize> {
    let begin = value.start - FIELDS.len() - "\"\":".len();
    if body.get(value.end) == Some(&b',') { begin..value.end + 1 } else { 1..1 }
}

fn write_fields(
    object: &Value,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&str, &Value, &mut Vec<u8>),
) {
    out.push(b'{');
    for (index, (name, value)) in object.as_object().into_iter().flatten().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name).expect("text serializes");
        out.push(b':');
        write(name, value, out);
    }
    out.push(b'}');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a JSON value serializes");
}

/// The labels of an object.
pub fn labels_of(value: &Value) -> Labels {
    let Some(labels) = value["metadata"]["labels"].as_object() else { return Box::default() };
    let mut labels: Vec<(Box<str>, Box<str>)> = labels
        .iter()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect();
    labels.sort();
    labels.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(object: Value, without: &str) {
        let (body, fields) = write(&object);
        assert_eq!(body, serde_json::to_vec(&object).unwrap());
        assert_eq!(read(&body).1, fields);
        let left = [&body[..fields.start], &body[fields.end..]].concat();
        assert_eq!(String::from_utf8(left).unwrap(), without);
    }

    #[test]
    fn managed_fields_are_found() {
        let fields = json!([{"manager": "a\"},", "fieldsV1": {"f:a": {}}}]);
        check(
            json!({"data": {"managedFields": [1]}, "metadata": {"labels": {"a": "b"}, "managedFields": fields, "name": "n"}, "spec": {}}),
            r#"{"data":{"managedFields":[1]},"metadata":{"labels":{"a":"b"},"name":"n"},"spec":{}}"#,
        );
        check(json!({"metadata": {"name": "n"}}), r#"{"metadata":{"name":"n"}}"#);
        check(json!({"metadata": {"managedFields": []}}), r#"{"metadata":{"managedFields":[]}}"#);
        check(json!({"metadata": null, "spec": 1}), r#"{"metadata":null,"spec":1}"#);
    }
}
