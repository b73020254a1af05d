//! Looks into normalised values, where what is absent is empty.
//!
//! Pure: values only.

use api::field_error::FieldError;
use serde_json::Value;

/// The text of a field; empty when it is absent.
pub fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list; none when it is absent.
pub fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The elements of a list, to be changed; none when it is absent.
pub fn list_mut<'v>(value: &'v mut Value, field: &str) -> &'v mut [Value] {
    value.get_mut(field).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The number in a field that may be absent.
pub fn number(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

/// The truth value in a field that may be absent.
pub fn flag(value: &Value, field: &str) -> Option<bool> {
    value.get(field).and_then(Value::as_bool)
}

/// The value of a field, unless it is absent.
pub fn get<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    value.get(field).filter(|value| !value.is_null())
}

/// Whether a field is there.
pub fn has(value: &Value, field: &str) -> bool {
    get(value, field).is_some()
}

/// Whether a field says something: not absent, `false`, 0, nothing or an empty list.
pub fn says(value: &Value, field: &str) -> bool {
    match value.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(_) | Value::Bool(true)) => true,
    }
}

/// The error about fields that are there but not among `allowed`.
pub fn disallowed(value: &Value, allowed: &[&str]) -> Option<FieldError> {
    let found: Vec<&str> = value
        .as_object()?
        .iter()
        .filter(|(field, value)| !allowed.contains(&field.as_str()) && !value.is_null())
        .map(|(field, _)| field.as_str())
        .collect();
    (!found.is_empty()).then(|| FieldError::disallowed(&found))
}
