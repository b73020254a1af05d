//! Makes a document into an object of a built-in kind, as Go's decoder makes it into a struct: fields of the wrong
//! type are errors, unknown ones are dropped and told, nulls and empty values that Go would not write are dropped.
//!
//! Pure: values in, values out.
//! Source: Go's `encoding/json` as sigs.k8s.io/json has it, and the types' own `UnmarshalJSON`.

use serde_json::{Map, Number, Value};

use super::{Node, Type, quantity};

/// A decoded object.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// The paths of fields the type does not have (`spec.containers[0].imagee`), by name within an object.
    pub unknown: Vec<String>,
}

/// Decodes `document` as the type at `node`. The error is the text after `cannot be handled as a Pod: `.
pub fn decode(document: Value, node: Node<'_>) -> Result<Decoded, String> {
    let mut decoder = Decoder { unknown: Vec::new(), path: Vec::new() };
    let value = decoder.value(document, node, "")?;
    Ok(Decoded { value: value.unwrap_or(Value::Null), unknown: decoder.unknown })
}

struct Decoder {
    unknown: Vec<String>,
    path: Vec<Step>,
}

enum Step {
    Field(String),
    /// A key of a map: part of paths of unknown fields, not of type errors.
    Key(String),
    Index(usize),
}

impl Decoder {
    /// None stands for Go's zero value that is not written. `owner` is the innermost struct's name.
    fn value(
        &mut self,
        value: Value,
        node: Node<'_>,
        owner: &str,
    ) -> Result<Option<Value>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let wrong = |decoder: &Decoder, value: &Value| Err(decoder.mismatch(value, node, owner));
        match (node.kind, value) {
            (Type::Any, value) => Ok(Some(value)),
            (Type::Object, Value::Object(fields)) => self.object(fields, node, owner).map(Some),
            (Type::Array, Value::Array(items)) => self.list(items, node, owner).map(Some),
            (Type::String, Value::String(text)) => Ok(Some(Value::String(text))),
            (Type::Boolean, value @ Value::Bool(_)) => Ok(Some(value)),
            (Type::Int32, Value::Number(number)) => match whole(&number) {
                Some(whole) if i32::try_from(whole).is_ok() => Ok(Some(whole.into())),
                _ => wrong(self, &Value::Number(number)),
            },
            (Type::Int64, Value::Number(number)) => match whole(&number) {
                Some(whole) => Ok(Some(whole.into())),
                None => wrong(self, &Value::Number(number)),
            },
            (Type::Number, value @ Value::Number(_)) => Ok(Some(value)),
            (Type::IntOrString, Value::String(text)) => Ok(Some(Value::String(text))),
            (Type::IntOrString, Value::Number(number)) => match whole(&number) {
                Some(whole) if i32::try_from(whole).is_ok() => Ok(Some(whole.into())),
                _ => Err(format!(
                    "json: cannot unmarshal number {number} into Go value of type int32"
                )),
            },
            (Type::IntOrString, value) => Err(format!(
                "json: cannot unmarshal {} into Go value of type int32",
                described(&value)
            )),
            (Type::Quantity, Value::String(text)) => match quantity::canonical(text.trim()) {
                Ok(canonical) => Ok(Some(canonical.into())),
                Err(error) => Err(error),
            },
            (Type::Quantity, Value::Number(number)) => {
                match quantity::canonical(&number.to_string()) {
                    Ok(canonical) => Ok(Some(canonical.into())),
                    Err(error) => Err(error),
                }
            }
            (Type::Quantity, _) => Err(quantity::MALFORMED.to_owned()),
            (Type::Time, Value::String(text)) => time(&text, false).map(Some),
            (Type::MicroTime, Value::String(text)) => time(&text, true).map(Some),
            (Type::Time | Type::MicroTime, value) => Err(format!(
                "json: cannot unmarshal {} into Go value of type string",
                described(&value)
            )),
            (Type::Bytes, Value::String(text)) => bytes(&text).map(Some),
            (_, value) => wrong(self, &value),
        }
    }

    fn object(
        &mut self,
        fields: Map<String, Value>,
        node: Node<'_>,
        owner: &str,
    ) -> Result<Value, String> {
        let mut made = Map::new();
        let is_struct =
            !node.properties.is_empty() || (node.name.is_some() && node.additional.is_none());
        if !is_struct {
            let Some(values) = node.additional() else { return Ok(Value::Object(fields)) };
            for (key, value) in fields {
                self.path.push(Step::Key(key));
                let value = self.value(value, values, owner)?;
                let Some(Step::Key(key)) = self.path.pop() else { unreachable!("pushed above") };
                made.insert(key, value.unwrap_or_else(|| zero(values)));
            }
            return Ok(Value::Object(made));
        }
        let name = node.name.map_or(owner, short_name);
        for (key, value) in fields {
            self.path.push(Step::Field(key));
            let field = match self.path.last() {
                Some(Step::Field(key)) => node.property(key),
                _ => None,
            };
            let value = match field {
                Some(field) => self.value(value, field, name)?,
                None => {
                    self.unknown.push(self.shown());
                    None
                }
            };
            let Some(Step::Field(key)) = self.path.pop() else { unreachable!("pushed above") };
            if let (Some(value), Some(field)) = (value, node.property(&key))
                && is_written(&value, node, &key, field)
            {
                // Empty lists do not survive being stored: they come back as nothing.
                let empty = value.as_array().is_some_and(Vec::is_empty);
                made.insert(key, if empty { Value::Null } else { value });
            }
        }
        fill(&mut made, node);
        Ok(Value::Object(made))
    }

    fn list(&mut self, items: Vec<Value>, node: Node<'_>, owner: &str) -> Result<Value, String> {
        let Some(of) = node.items() else { return Ok(Value::Array(items)) };
        let mut made = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            self.path.push(Step::Index(at));
            let item = self.value(item, of, owner)?;
            self.path.pop();
            made.push(item.unwrap_or_else(|| zero(of)));
        }
        Ok(Value::Array(made))
    }

    fn mismatch(&self, value: &Value, node: Node<'_>, owner: &str) -> String {
        let fields: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let found = match (value, node.kind) {
            (Value::Number(number), Type::Int32 | Type::Int64) => format!("number {number}"),
            _ => described(value).to_owned(),
        };
        let wanted = go_type(node);
        if fields.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{} of type {wanted}",
            fields.join(".")
        )
    }

    fn shown(&self) -> String {
        let mut shown = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) | Step::Key(name) => {
                    if !shown.is_empty() {
                        shown.push('.');
                    }
                    shown.push_str(name);
                }
                Step::Index(at) => shown.push_str(&format!("[{at}]")),
            }
        }
        shown
    }
}

/// Go's zero value as it is written.
pub fn zero(node: Node<'_>) -> Value {
    match node.kind {
        Type::String => "".into(),
        Type::Boolean => false.into(),
        Type::Int32 | Type::Int64 | Type::Number | Type::IntOrString => 0.into(),
        Type::Quantity => "0".into(),
        Type::Object if node.additional.is_none() && !node.preserve_unknown => {
            let mut made = Map::new();
            fill(&mut made, node);
            Value::Object(made)
        }
        _ => Value::Null,
    }
}

/// Adds the fields that Go writes even when they are empty.
fn fill(made: &mut Map<String, Value>, node: Node<'_>) {
    for (name, field) in node.properties() {
        // A pointer is left out when it is absent, required or not.
        let needed =
            node.required.iter().any(|required| **required == *name) && !field.edge.optional;
        if (field.edge.always || needed) && !made.contains_key(name) {
            made.insert(name.to_owned(), zero(field));
        }
    }
}

/// Go leaves out empty lists, maps and texts, unless the field is marked as always written.
fn is_written(value: &Value, node: Node<'_>, name: &str, field: Node<'_>) -> bool {
    let empty = match value {
        Value::String(text) => text.is_empty() && !field.edge.empty_counts,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => {
            // A type with a name and no fields is a struct behind a pointer: its being there counts.
            let is_map = field.additional.is_some() || field.preserve_unknown;
            fields.is_empty() && is_map && field.name.is_none()
        }
        Value::Bool(value) => !value && !field.edge.empty_counts,
        Value::Number(number) => number.as_i64() == Some(0) && !field.edge.empty_counts,
        _ => false,
    };
    !empty || field.edge.always || node.required.iter().any(|required| **required == *name)
}

fn whole(number: &Number) -> Option<i64> {
    // Go parses the digits as an integer: 1e3 and 1.0 are refused, as are numbers beyond 64 bits.
    number.as_i64()
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn short_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

/// The type as Go's reflection names it: `[]v1.Container`, `map[string]string`.
fn go_type(node: Node<'_>) -> String {
    if let Some(name) = node.name {
        let mut parts = name.rsplit('.');
        let (kind, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        return format!("{version}.{kind}");
    }
    match node.kind {
        Type::String => "string".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Array => {
            format!("[]{}", node.items().map_or_else(|| "interface {}".to_owned(), go_type))
        }
        Type::Object => match node.additional() {
            Some(values) if values.kind == Type::Quantity => "v1.ResourceList".to_owned(),
            Some(values) => format!("map[string]{}", go_type(values)),
            None => "map[string]interface {}".to_owned(),
        },
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Any => "interface {}".to_owned(),
    }
}

/// RFC 3339 to UTC, with whole seconds or with microseconds.
fn time(text: &str, micro: bool) -> Result<Value, String> {
    if text.is_empty() {
        return Err(unparsable(text, text));
    }
    let parsed: jiff::Timestamp = text.parse().map_err(|_| unparsable(text, text))?;
    let formatted = if micro {
        parsed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
    } else {
        parsed.strftime("%Y-%m-%dT%H:%M:%SZ")
    };
    Ok(formatted.to_string().into())
}

fn unparsable(text: &str, rest: &str) -> String {
    format!(
        "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{rest}\" as \"2006\""
    )
}

/// Base64 with line breaks allowed, rewritten without them.
fn bytes(text: &str) -> Result<Value, String> {
    let mut digits = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if digits % 4 >= 2 && padding < 2 => {
                digits += 1;
                padding += 1;
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return Err(format!("illegal base64 data at input byte {at}")),
        }
    }
    if digits % 4 != 0 {
        return Err(format!("illegal base64 data at input byte {}", text.len() - digits % 4));
    }
    Ok(text.replace(['\r', '\n'], "").into())
}
