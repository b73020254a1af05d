//! What a Certificate may say.
//!
//! Pure: values only.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/certificate_validation.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::{
    Seen,
    look::{list, text},
};

pub fn validate(_: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let names: Vec<&str> =
        list(spec, "dnsNames").iter().map(|name| name.as_str().unwrap_or_default()).collect();
    if names.is_empty() {
        errors.push(FieldError::missing(&["dnsNames"]));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            let error = FieldError::invalid_value(name, "");
            errors.push(error.via_index(index).via("dnsNames"));
        }
    }
    if text(spec, "secretName").is_empty() {
        errors.push(FieldError::missing(&["secretName"]));
    }
    let domain = text(spec, "domain");
    let is_within = |name: &str| {
        name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if !domain.is_empty() && !names.is_empty() && !names.iter().any(|name| is_within(name)) {
        errors.push(FieldError::invalid_value(
            "domain",
            "domain must be a suffix of, or match exactly, at least one entry in dnsNames",
        ));
    }
    errors.via("spec")
}
