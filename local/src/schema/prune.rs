//! Takes away what a custom resource's schema does not know, and fills in what it has defaults for.
//!
//! Pure: a value is changed beside its schema.
//! Source: k8s.io/apiextensions-apiserver `pkg/apiserver/schema/{pruning,defaulting,objectmeta}`.

use serde_json::{Map, Value};

use super::decode::{Decoded, decode};
use super::{Node, Type};

/// Makes a document into a custom resource: metadata is typed, unknown fields go, whole numbers become integers.
pub fn prune(mut document: Value, node: Node<'_>) -> Result<Decoded, String> {
    let mut unknown = Vec::new();
    resource(&mut document, node, &mut String::new(), &mut unknown)?;
    Ok(Decoded { value: document, unknown })
}

fn resource(
    object: &mut Value,
    node: Node<'_>,
    path: &mut String,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    if let (Some(metadata), Some(typed)) = (object.get_mut("metadata"), node.property("metadata")) {
        let decoded = decode(metadata.take(), typed)?;
        *metadata = if decoded.value.is_null() { serde_json::json!({}) } else { decoded.value };
        let prefix =
            if path.is_empty() { "metadata".to_owned() } else { format!("{path}.metadata") };
        unknown.extend(decoded.unknown.iter().map(|field| format!("{prefix}.{field}")));
    }
    walk(object, node, path, unknown, true)
}

fn walk(
    value: &mut Value,
    node: Node<'_>,
    path: &mut String,
    unknown: &mut Vec<String>,
    is_resource: bool,
) -> Result<(), String> {
    let length = path.len();
    match value {
        Value::Object(fields) => {
            let mut dropped = Vec::new();
            for (key, value) in fields.iter_mut() {
                if is_resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                match node.field(key) {
                    Some(child) if child.shape().embedded_resource => {
                        resource(value, child, path, unknown)?
                    }
                    Some(child) => walk(value, child, path, unknown, false)?,
                    None if node.preserve_unknown => {}
                    None => {
                        unknown.push(path.clone());
                        dropped.push(key.clone());
                    }
                }
                path.truncate(length);
            }
            for key in dropped {
                fields.remove(&key);
            }
        }
        Value::Array(items) => {
            let Some(of) = node.items() else { return Ok(()) };
            for (at, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{at}]"));
                if of.shape().embedded_resource {
                    resource(item, of, path, unknown)?;
                } else {
                    walk(item, of, path, unknown, false)?;
                }
                path.truncate(length);
            }
        }
        Value::Number(number) if matches!(node.kind, Type::Int64 | Type::IntOrString) => {
            // 1.0 is an integer to JSON Schema.
            if let Some(whole) =
                number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15 && !number.is_i64())
            {
                *value = (whole as i64).into();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Fills in defaults, also where a null stands that may not.
pub fn default(value: &mut Value, node: Node<'_>) {
    walk_fields(value, node, &|fields, name, child| {
        let Some(default) = &child.edge.default else { return };
        if fields.get(name).is_none_or(|value| value.is_null() && !child.edge.nullable) {
            fields.insert(name.to_owned(), default.clone());
        }
    });
}

/// Takes away nulls that may not be and that no default replaces: clients mean nothing by them.
pub fn drop_nulls(value: &mut Value, node: Node<'_>) {
    walk_fields(value, node, &|fields, name, child| {
        let stays = child.edge.nullable || child.name.is_some() || child.edge.default.is_some();
        if !stays && fields.get(name).is_some_and(Value::is_null) {
            fields.remove(name);
        }
    });
}

/// Calls `visit` with each declared field of each object, from the outside in; typed objects are left alone.
fn walk_fields(
    value: &mut Value,
    node: Node<'_>,
    visit: &impl Fn(&mut Map<String, Value>, &str, &Node<'_>),
) {
    match value {
        Value::Object(fields) => {
            for (name, child) in node.properties() {
                visit(fields, name, &child);
            }
            for (name, value) in fields.iter_mut() {
                if let Some(child) = node.field(name)
                    && child.name.is_none()
                {
                    walk_fields(value, child, visit);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = node.items() {
                items.iter_mut().for_each(|item| walk_fields(item, of, visit));
            }
        }
        _ => {}
    }
}
