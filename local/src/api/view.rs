//! Stored objects as a client wants to see them: whole, as rows, or only their metadata.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{self, Body, Style};
use super::call::Call;
use super::negotiate::{Encoding, View};
use super::status::{Refusal, Status};
use crate::kinds::{Column, Kind};
use crate::store::Object;

/// Lists longer than this leave in pieces, so that no second copy of all objects is in memory.
const WHOLE_LIST: usize = 64 << 10;
/// Bytes of one piece of a long list.
const PIECE: usize = 64 << 10;

/// An object in the version of a kind.
pub fn value_of(kind: &Kind, object: &Object) -> Value {
    let mut value = object.value();
    kind.from_storage(&mut value);
    value
}

/// An object in the form in which it is stored.
pub fn to_stored(kind: &Kind, mut value: Value) -> Value {
    kind.to_storage(&mut value);
    if let Some(map) = value.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    value
}

/// What stands before the stored bytes of an object.
fn head(kind: &Kind) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version())
}

/// The JSON of an object with its type; without its managed fields where nobody wants them.
pub fn whole(kind: &Kind, object: &Object, is_slim: bool, out: &mut BytesMut) {
    if !kind.is_kept_otherwise() {
        out.extend_from_slice(head(kind).as_bytes());
        let fields = if is_slim { object.fields.clone() } else { 1..1 };
        out.extend_from_slice(&object.body[1..fields.start]);
        out.extend_from_slice(&object.body[fields.end..]);
    } else {
        out.extend_from_slice(
            &serde_json::to_vec(&value_of(kind, object)).expect("a JSON value serializes"),
        );
    }
}

/// Answers with one stored object.
pub fn object(call: &Call<'_>, code: u16, object: &Object) -> Result<Response<Body>, Refusal> {
    if call.form.view == View::Object && call.form.encoding == Encoding::Json && !call.pretty {
        let mut out = BytesMut::with_capacity(object.body.len() + 128);
        whole(&call.kind, object, call.form.is_slim, &mut out);
        out.extend_from_slice(b"\n");
        return Ok(answer::bytes(code, "application/json", out.freeze()));
    }
    self::value(call, code, value_of(&call.kind, object))
}

/// Answers with one object.
pub fn value(call: &Call<'_>, code: u16, value: Value) -> Result<Response<Body>, Refusal> {
    let value = match call.form.view {
        View::Table { beta } => {
            let mut table = Table::new(call, beta);
            let row = table.row(&call.kind, value.clone(), call.now);
            table
                .finish(vec![row], json!({"resourceVersion": value["metadata"]["resourceVersion"]}))
        }
        View::Metadata { beta } => metadata(value, beta),
        View::MetadataList { .. } => {
            let package = if call.kind.group.is_empty() {
                "core"
            } else {
                call.kind.group.split('.').next().unwrap_or_default()
            };
            let text = format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{})",
                call.kind.kind
            );
            return Err(Status::other(406, "NotAcceptable", text, None));
        }
        _ => value,
    };
    Ok(answer::value(code, call.style(), &value))
}

/// Only the metadata of an object.
pub fn metadata(mut value: Value, beta: bool) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": meta_version(beta), "metadata": value["metadata"].take()})
}

fn meta_version(beta: bool) -> &'static str {
    if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
}

/// Answers with a list.
pub fn list(call: &Call<'_>, objects: Vec<Arc<Object>>, list_metadata: Value) -> Response<Body> {
    let kind = &call.kind;
    match call.form.view {
        View::Table { beta } => {
            let mut table = Table::new(call, beta);
            let rows = objects
                .iter()
                .map(|object| table.row(kind, value_of(kind, object), call.now))
                .collect();
            answer::value(200, call.style(), &table.finish(rows, list_metadata))
        }
        View::Metadata { .. } => {
            let package = if kind.group.is_empty() {
                "core"
            } else {
                kind.group.split('.').next().unwrap_or_default()
            };
            let text = format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{})",
                kind.list_kind
            );
            answer::refusal(call.style(), &Status::other(406, "NotAcceptable", text, None))
        }
        View::MetadataList { beta } => {
            let items: Vec<Value> =
                objects.iter().map(|object| metadata(object.value(), beta)).collect();
            // Upstream's empty list of these is null.
            let items = if items.is_empty() { Value::Null } else { Value::Array(items) };
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": meta_version(beta), "metadata": list_metadata, "items": items});
            answer::value(200, call.style(), &list)
        }
        _ if call.form.encoding == Encoding::Json && !call.pretty => {
            json_list(kind.clone(), objects, &list_metadata, call.form.is_slim)
        }
        _ => {
            let items: Vec<Value> =
                objects.iter().map(|object| item(kind, value_of(kind, object))).collect();
            let list = json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": list_metadata, "items": items});
            answer::value(200, call.style(), &list)
        }
    }
}

/// An item of a list: those of built-in kinds do not say their type.
fn item(kind: &Kind, mut value: Value) -> Value {
    if !kind.is_custom()
        && let Some(map) = value.as_object_mut()
    {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

fn json_list(
    kind: Arc<Kind>,
    objects: Vec<Arc<Object>>,
    list_metadata: &Value,
    is_slim: bool,
) -> Response<Body> {
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{list_metadata},\"items\":[",
        kind.list_kind,
        kind.api_version()
    );
    let mut out = BytesMut::from(head.as_bytes());
    let total: usize = objects.iter().map(|object| object.body.len()).sum();
    let mut rest = objects.into_iter();
    if total <= WHOLE_LIST {
        piece(&kind, &mut rest, is_slim, &mut out, true);
        return answer::bytes(200, "application/json", out.freeze());
    }
    let mut first = true;
    let pieces = std::iter::from_fn(move || {
        if rest.len() == 0 && !first {
            return None;
        }
        let mut piece_out = std::mem::take(&mut out);
        piece(&kind, &mut rest, is_slim, &mut piece_out, first);
        first = false;
        Some(piece_out.freeze())
    });
    let mut response = answer::bytes(200, "application/json", Bytes::new());
    *response.body_mut() = Body::Stream(Box::pin(futures::stream::iter(pieces)));
    response
}

/// Writes items until a piece is full; closes the list after the last.
fn piece(
    kind: &Kind,
    rest: &mut std::vec::IntoIter<Arc<Object>>,
    is_slim: bool,
    out: &mut BytesMut,
    first: bool,
) {
    let mut first = first;
    while out.len() < PIECE {
        let Some(object) = rest.next() else { break };
        if !first {
            out.extend_from_slice(b",");
        }
        first = false;
        // Items of built-in kinds do not say their type.
        if kind.is_custom() || is_slim {
            whole(kind, &object, is_slim, out);
        } else if !kind.is_kept_otherwise() {
            out.extend_from_slice(&object.body);
        } else {
            let value = item(kind, value_of(kind, &object));
            out.extend_from_slice(&serde_json::to_vec(&value).expect("a JSON value serializes"));
        }
    }
    if rest.len() == 0 {
        out.extend_from_slice(b"]}\n");
    }
}

/// A table in the making.
pub struct Table {
    columns: Option<Vec<Column>>,
    include: Include,
    version: &'static str,
}

/// How much of its object a row carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Table {
    /// A table for the kind of a request.
    pub fn new(call: &Call<'_>, beta: bool) -> Table {
        let include = match call.query.text("includeObject") {
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Metadata,
        };
        Table {
            columns: Some(call.kind.columns()),
            include,
            version: if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" },
        }
    }

    /// One row.
    pub fn row(&mut self, kind: &Kind, value: Value, now: Timestamp) -> Value {
        let cells = kind.row(&value, now);
        let conditions = kind.row_conditions(&value);
        let mut row = match self.include {
            Include::Nothing => json!({"cells": cells, "object": null}),
            Include::Object => json!({"cells": cells, "object": value}),
            Include::Metadata => {
                let object = metadata(value, self.version == "meta.k8s.io/v1beta1");
                json!({"cells": cells, "object": object})
            }
        };
        if !conditions.is_empty() {
            row["conditions"] = conditions.into();
        }
        row
    }

    /// The table of rows; the columns are told once.
    pub fn finish(&mut self, rows: Vec<Value>, list_metadata: Value) -> Value {
        let columns = self.columns.take().map(|columns| {
            let columns = columns.iter().map(|column| {
                json!({"name": column.name, "type": column.kind, "format": column.format, "description": column.description, "priority": column.priority})
            });
            Value::Array(columns.collect())
        });
        json!({"kind": "Table", "apiVersion": self.version, "metadata": list_metadata, "columnDefinitions": columns, "rows": rows})
    }
}

/// The bytes of a value in one line, for streams.
pub fn line(value: &Value) -> Bytes {
    answer::encoded(Style::default(), value)
}
