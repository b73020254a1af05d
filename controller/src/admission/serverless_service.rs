//! What a ServerlessService may say.
//!
//! Pure: values only.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/serverlessservice_validation.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::{
    Seen, annotations,
    look::{number, text},
    metadata, reference,
};

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors =
        annotations::networking(metadata::annotations(seen.metadata)).via("annotations");
    if *spec == json!({"objectRef": {}, "protocolType": ""}) {
        errors.push(FieldError::missing(&["spec"]));
        return errors;
    }
    let mut wrong = FieldErrors::none();
    match text(spec, "mode") {
        "Serve" | "Proxy" => {}
        "" => wrong.push(FieldError::missing(&["mode"])),
        other => wrong.push(FieldError::invalid_value(other, "mode")),
    }
    let activators = number(spec, "numActivators").unwrap_or_default();
    if activators < 0 {
        wrong.push(FieldError::invalid_value(activators, "numActivators"));
    }
    wrong.also(reference::validate(&spec["objectRef"]).via("objectRef"));
    wrong.also(reference::protocol(spec));
    errors.also(wrong.via("spec"));
    errors
}
