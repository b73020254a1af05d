//! What an EventType may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1beta{1,2}/eventtype_{defaults,validation}.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::{Annotations, Seen, destination::fill_reference};
use crate::admission::look::{get, text};

pub fn default(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    fill_reference(spec, "reference", seen.namespace);
}

pub fn validate(_: &Seen<'_>, spec: &Value) -> FieldErrors {
    let has_type = !text(spec, "type").is_empty();
    (!has_type).then(|| FieldError::missing(&["spec.type"])).into()
}

/// The same of v1beta1.
pub fn validate_oldest(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = validate(seen, spec);
    for field in ["source", "schema"] {
        if get(spec, field).is_some_and(|uri| uri == "") {
            let error = FieldError::invalid_value("", field).via("spec");
            errors.push(error.with_details(format!("{field} URI cannot be empty")));
        }
    }
    errors
}
