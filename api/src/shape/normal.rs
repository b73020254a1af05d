//! Brings a value into the form that Go's decoding and encoding give it.
//!
//! Pure: values only. Source: Go's `encoding/json`, as upstream's webhooks use it.

use serde_json::{Map, Value};

use super::{Kind, Struct};
use crate::{
    go::{quote, url},
    quantity::Amount,
};

/// What becomes of fields that a shape does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They are left out, as Serving's webhooks do.
    Ignored,
    /// They are an error, as for Eventing's.
    Denied,
}

/// The value as Go would write it: what is unknown or empty left out, what is always written put in,
/// quantities canonical. `field` is the key under which the holder has it.
pub fn normal(
    shape: &'static Struct,
    field: &str,
    value: &Value,
    unknown: Unknown,
) -> Result<Value, String> {
    // A spec's or status' holder is named like it, without that word.
    let holder = shape.name().trim_end_matches("Spec").trim_end_matches("Status");
    let mut at = At { names: vec![field.to_string()], holder, unknown };
    structure(shape, value, &mut at)
}

/// Where decoding is, for errors.
struct At {
    names: Vec<String>,
    holder: &'static str,
    unknown: Unknown,
}

impl At {
    fn mismatch(&self, value: &Value, go: &str) -> String {
        self.wrong(kind_name(value), go)
    }

    fn wrong(&self, what: &str, go: &str) -> String {
        let field = self.names.join(".");
        let holder = self.holder;
        format!("json: cannot unmarshal {what} into Go struct field {holder}.{field} of type {go}")
    }
}

fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn structure(shape: &'static Struct, value: &Value, at: &mut At) -> Result<Value, String> {
    let empty = Map::new();
    let given = match value {
        Value::Object(given) => given,
        Value::Null => &empty,
        _ => return Err(at.mismatch(value, shape.go)),
    };
    let mut out = Map::new();
    // In the order of the keys, which is that of the bytes that a webhook gets: the first error counts.
    for (key, value) in given {
        let Some((field, way)) = shape.find(key) else {
            match at.unknown {
                Unknown::Ignored => continue,
                Unknown::Denied => return Err(format!("json: unknown field {}", quote(key))),
            }
        };
        let depth = at.names.len();
        let holder = std::mem::replace(&mut at.holder, shape.name());
        at.names.extend(way.into_iter().map(String::from));
        at.names.push(key.clone());
        let value = any(&field.kind, value, at)?;
        at.names.truncate(depth);
        at.holder = holder;
        out.insert(key.clone(), value);
    }
    finish(shape, &mut out);
    Ok(Value::Object(out))
}

/// Puts in what is always written and takes out what is empty.
fn finish(shape: &'static Struct, out: &mut Map<String, Value>) {
    for field in shape.fields {
        if field.is_embedded() {
            if let Kind::Struct(inner) = field.kind {
                finish(inner, out);
            }
            continue;
        }
        // Structures are written even when they are empty.
        let is_structure =
            matches!(field.kind, Kind::Struct(_) | Kind::Quantity | Kind::IntOrString);
        if field.keeps_empty || is_structure {
            if out.get(field.json).is_none_or(Value::is_null) {
                out.insert(field.json.to_string(), zero(&field.kind));
            }
        } else if out.get(field.json).is_some_and(|value| is_zero(&field.kind, value)) {
            out.remove(field.json);
        }
    }
}

/// What Go writes for a value that was never set.
fn zero(kind: &Kind) -> Value {
    match kind {
        Kind::Text(_) | Kind::Url => Value::from(""),
        Kind::Bool => Value::from(false),
        Kind::Int32 | Kind::Int64 | Kind::Int | Kind::IntOrString => Value::from(0),
        Kind::Quantity => Value::from("0"),
        Kind::Any | Kind::List(_) | Kind::Map(..) | Kind::Pointer(_) => Value::Null,
        Kind::Struct(shape) => {
            let mut out = Map::new();
            finish(shape, &mut out);
            Value::Object(out)
        }
    }
}

/// Whether Go leaves out a normalised value under `omitempty`.
fn is_zero(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null) => true,
        (Kind::Text(_), Value::String(text)) => text.is_empty(),
        (Kind::Bool, Value::Bool(value)) => !value,
        (Kind::Int32 | Kind::Int64 | Kind::Int, Value::Number(number)) => {
            number.as_i64() == Some(0)
        }
        (Kind::Map(..), Value::Object(map)) => map.is_empty(),
        (Kind::List(_), Value::Array(list)) => list.is_empty(),
        _ => false,
    }
}

fn any(kind: &Kind, value: &Value, at: &mut At) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match kind {
        Kind::Any => Ok(value.clone()),
        Kind::Text(go) => match value {
            Value::String(_) => Ok(value.clone()),
            _ => Err(at.mismatch(value, go)),
        },
        Kind::Url => match value {
            Value::String(text) => url::parse(text).map(|_| value.clone()),
            _ => {
                let what = kind_name(value);
                Err(format!("json: cannot unmarshal {what} into Go value of type string"))
            }
        },
        Kind::Bool => match value {
            Value::Bool(_) => Ok(value.clone()),
            _ => Err(at.mismatch(value, "bool")),
        },
        Kind::Int32 | Kind::Int64 | Kind::Int => {
            let Value::Number(number) = value else {
                return Err(at.mismatch(value, &kind.go()));
            };
            let fits = |wide: &i64| !matches!(kind, Kind::Int32) || i32::try_from(*wide).is_ok();
            match number.as_i64().filter(fits) {
                Some(number) => Ok(Value::from(number)),
                None => Err(at.wrong(&format!("number {number}"), &kind.go())),
            }
        }
        Kind::Quantity => {
            let text = match value {
                Value::String(text) => text.trim().to_string(),
                other => other.to_string(),
            };
            Ok(Value::from(Amount::parse(&text)?.canonical()))
        }
        Kind::IntOrString => match value {
            Value::String(_) => Ok(value.clone()),
            Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(value.clone())
            }
            Value::Number(number) => {
                Err(format!("json: cannot unmarshal number {number} into Go value of type int32"))
            }
            other => {
                let what = kind_name(other);
                Err(format!("json: cannot unmarshal {what} into Go value of type int32"))
            }
        },
        Kind::List(item) => match value {
            Value::Array(items) => {
                let items: Result<Vec<Value>, String> =
                    items.iter().map(|value| element(item, value, at)).collect();
                Ok(Value::Array(items?))
            }
            _ => Err(at.mismatch(value, &kind.go())),
        },
        Kind::Map(go, item) => match value {
            Value::Object(map) => {
                let mut out = Map::new();
                for (key, value) in map {
                    out.insert(key.clone(), element(item, value, at)?);
                }
                Ok(Value::Object(out))
            }
            _ => Err(at.mismatch(value, go)),
        },
        Kind::Struct(shape) => structure(shape, value, at),
        Kind::Pointer(inner) => any(inner, value, at),
    }
}

/// An element of a list or map: never left out.
fn element(kind: &Kind, value: &Value, at: &mut At) -> Result<Value, String> {
    let value = any(kind, value, at)?;
    Ok(if value.is_null() { zero(kind) } else { value })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shape::serving::{REVISION_SPEC, SERVICE_SPEC};

    #[test]
    fn values_take_the_form_that_go_gives_them() {
        for (given, wanted) in [
            (
                json!({"template": {"spec": {"containers": [{"image": "a", "tty": false, "nope": 1}]}}}),
                json!({"template": {"metadata": {}, "spec": {
                    "containers": [{"name": "", "image": "a", "resources": {}}]}}}),
            ),
            (json!({}), json!({"template": {"metadata": {}, "spec": {"containers": null}}})),
            (
                json!({"template": {"spec": {"containers": [], "hostNetwork": false,
                    "enableServiceLinks": false, "timeoutSeconds": 0}}, "traffic": []}),
                json!({"template": {"metadata": {}, "spec": {"containers": [],
                    "enableServiceLinks": false, "timeoutSeconds": 0}}}),
            ),
            (
                json!({"template": {"spec": {"containers": [{"name": "c", "resources":
                    {"limits": {"cpu": "1000m", "memory": 1024}}, "ports": [{}],
                    "readinessProbe": {"httpGet": {"path": "/"}}}]}}}),
                json!({"template": {"metadata": {}, "spec": {"containers": [{"name": "c",
                    "resources": {"limits": {"cpu": "1", "memory": "1024"}}, "ports": [{"containerPort": 0}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 0}}}]}}}),
            ),
        ] {
            assert_eq!(normal(&SERVICE_SPEC, "spec", &given, Unknown::Ignored), Ok(wanted));
        }
    }

    #[test]
    fn wrong_types_are_said_as_go_does() {
        let go = "Go struct field";
        for (given, error) in [
            (
                json!("x"),
                format!(
                    "json: cannot unmarshal string into {go} Revision.spec of type v1.RevisionSpec"
                ),
            ),
            (
                json!({"containers": "x"}),
                format!(
                    "json: cannot unmarshal string into {go} RevisionSpec.spec.PodSpec.containers of type []v1.Container"
                ),
            ),
            (
                json!({"containers": [{"image": 5}]}),
                format!(
                    "json: cannot unmarshal number into {go} Container.spec.PodSpec.containers.image of type string"
                ),
            ),
            (
                json!({"containerConcurrency": 1.5}),
                format!(
                    "json: cannot unmarshal number 1.5 into {go} RevisionSpec.spec.containerConcurrency of type int64"
                ),
            ),
            (
                json!({"containers": [{"ports": [{"containerPort": "80"}]}]}),
                format!(
                    "json: cannot unmarshal string into {go} ContainerPort.spec.PodSpec.containers.ports.containerPort of type int32"
                ),
            ),
            (
                json!({"containers": [{"resources": {"limits": {"cpu": "x"}}}]}),
                crate::quantity::WRONG_FORMAT.to_string(),
            ),
        ] {
            assert_eq!(normal(&REVISION_SPEC, "spec", &given, Unknown::Ignored), Err(error));
        }
    }
}
