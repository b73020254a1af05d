//! What is wrong with a field of an object, in the words and the order Kubernetes uses.
//!
//! Pure: values in, values out.
//! Source: k8s.io/apimachinery `pkg/util/validation/field/errors.go`, `pkg/api/errors/errors.go` (`NewInvalid`).

use serde_json::{Value, json};

/// One invalid field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub reason: Reason,
    /// The path as Kubernetes writes it: `spec.containers[0].name`. Empty for the whole object.
    pub field: String,
    /// What follows the path and a colon: `Invalid value: "x": must be …`.
    pub message: String,
}

/// The kinds of field errors, by the names `details.causes[].reason` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl Reason {
    /// The name in a cause.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotFound => "FieldValueNotFound",
            Reason::Required => "FieldValueRequired",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::Internal => "InternalError",
        }
    }
}

impl FieldError {
    fn new(reason: Reason, field: impl Into<String>, message: String) -> FieldError {
        FieldError { reason, field: field.into(), message }
    }

    /// The value is absent.
    pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(Reason::Required, field, with_detail("Required value".to_owned(), detail))
    }

    /// The value is malformed.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
        let message = with_detail(format!("Invalid value: {}", shown(value)), detail);
        FieldError::new(Reason::Invalid, field, message)
    }

    /// The value is malformed; `shown` is put as it is, for values Kubernetes shows in Go's own form.
    pub fn invalid_shown(field: impl Into<String>, shown: &str, detail: &str) -> FieldError {
        let message = with_detail(format!("Invalid value: {shown}"), detail);
        FieldError::new(Reason::Invalid, field, message)
    }

    /// The value has the wrong type.
    pub fn wrong_type(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
        let message = with_detail(format!("Invalid value: {}", shown(value)), detail);
        FieldError::new(Reason::TypeInvalid, field, message)
    }

    /// The value is not one of a fixed set. `supported` is shown in the order given.
    pub fn not_supported(
        field: impl Into<String>,
        value: &Value,
        supported: &[&str],
    ) -> FieldError {
        let mut message = format!("Unsupported value: {}", shown(value));
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|value| quote(value)).collect();
            message += &format!(": supported values: {}", quoted.join(", "));
        }
        FieldError::new(Reason::NotSupported, field, message)
    }

    /// The value may not be set, or not be changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(Reason::Forbidden, field, with_detail("Forbidden".to_owned(), detail))
    }

    /// The value is there already.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError::new(Reason::Duplicate, field, format!("Duplicate value: {}", shown(value)))
    }

    /// What the value names does not exist.
    pub fn not_found(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError::new(Reason::NotFound, field, format!("Not found: {}", shown(value)))
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> FieldError {
        let message = format!("Too long: may not be more than {max} bytes");
        FieldError::new(Reason::TooLong, field, message)
    }

    /// The list has more than `max` elements.
    pub fn too_many(field: impl Into<String>, found: usize, max: usize) -> FieldError {
        let noun = if max == 1 { "item" } else { "items" };
        let message = format!("Too many: {found}: must have at most {max} {noun}");
        FieldError::new(Reason::TooMany, field, message)
    }

    /// Something else went wrong at this field.
    pub fn internal(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(Reason::Internal, field, format!("Internal error: {detail}"))
    }

    /// The path and the message.
    pub fn text(&self) -> String {
        let field = if self.field.is_empty() { "<nil>" } else { &self.field };
        format!("{field}: {}", self.message)
    }
}

/// Several errors as one text: alone as it is, together in brackets, repeated ones once.
pub fn text_of(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.text();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// The `Status` of an object refused for its fields (422).
pub fn invalid_status(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Value {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let causes: Vec<Value> = errors
        .iter()
        .map(|error| {
            json!({"reason": error.reason.name(), "message": error.message, "field": error.text_field()})
        })
        .collect();
    let mut details = json!({"kind": kind});
    if !name.is_empty() {
        details["name"] = name.into();
    }
    if !group.is_empty() {
        details["group"] = group.into();
    }
    if !causes.is_empty() {
        details["causes"] = causes.into();
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{qualified} {} is invalid: {}", quote(name), text_of(errors)),
        "reason": "Invalid", "details": details, "code": 422,
    })
}

impl FieldError {
    fn text_field(&self) -> &str {
        if self.field.is_empty() { "<nil>" } else { &self.field }
    }
}

/// A text in quotes as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A value as Kubernetes shows it in an error.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

fn with_detail(message: String, detail: &str) -> String {
    if detail.is_empty() { message } else { format!("{message}: {detail}") }
}
