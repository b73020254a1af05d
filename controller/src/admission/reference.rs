//! References to objects of the same namespace.
//!
//! Pure: values only. Source: knative/networking `pkg/apis/networking/k8s_validation.go`.

use api::{
    field_error::{FieldError, FieldErrors},
    names::{dns_1123_label_errors, identifier_errors, qualified_name_errors},
};
use serde_json::Value;

use super::look::{disallowed, text};

/// Everything that is wrong with a reference.
pub fn validate(reference: &Value) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed(reference, &["apiVersion", "kind", "name"]));
    for field in ["apiVersion", "kind", "name"] {
        let value = text(reference, field);
        if value.is_empty() {
            errors.push(FieldError::missing(&[field]));
            continue;
        }
        let wrong = match field {
            "apiVersion" => qualified_name_errors(value),
            "kind" => identifier_errors(value),
            _ => dns_1123_label_errors(value),
        };
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_value(wrong.join(", "), field));
        }
    }
    errors
}

/// What is wrong with a protocol.
pub fn protocol(value: &Value) -> Option<FieldError> {
    match text(value, "protocolType") {
        "http1" | "h2c" => None,
        "" => Some(FieldError::missing(&["protocolType"])),
        other => Some(FieldError::invalid_value(other, "protocolType")),
    }
}
