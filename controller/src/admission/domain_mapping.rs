//! What a DomainMapping may say.
//!
//! Pure: values only.
//! Source: knative/serving `pkg/apis/serving/v1beta1/domainmapping_{defaults,validation}.go`.

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
    names::{dns_1123_label_errors, dns_subdomain_errors},
};
use config::domain::CLUSTER_DOMAIN;
use serde_json::Value;

use super::{
    Annotations, Seen,
    look::text,
    metadata::{check_user, set_user},
};

pub fn default(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    if text(&spec["ref"], "namespace").is_empty() && !seen.namespace.is_empty() {
        spec["ref"]["namespace"] = seen.namespace.into();
    }
    set_user(seen, spec, annotations);
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::none();
    if seen.metadata.generate_name.as_deref().is_some_and(|name| !name.is_empty()) {
        metadata.push(FieldError::disallowed(&["generateName"]));
    }
    let name = seen.metadata.name.as_deref().unwrap_or_default();
    if let Some(why) = not_a_domain(name) {
        let text = format!("invalid name {}: {why}", quote(name));
        metadata.push(FieldError::new(text, &["name"]));
    }
    if name.ends_with(&format!(".{CLUSTER_DOMAIN}")) {
        let text = format!(
            "invalid name {}: must not be a subdomain of cluster local domain {}",
            quote(name),
            quote(CLUSTER_DOMAIN)
        );
        metadata.push(FieldError::new(text, &["name"]));
    }
    metadata.also(check_user(seen, spec).via("annotations"));
    let mut errors = metadata.via("metadata");
    errors.also(reference(seen, &spec["ref"]).via("spec.ref"));
    errors
}

/// Why `name` is no fully qualified domain name.
fn not_a_domain(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("name: Required value".to_string());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let invalid =
        |value: &str, why: &str| Some(format!("name: Invalid value: {}: {why}", quote(value)));
    let wrong = dns_subdomain_errors(name);
    if !wrong.is_empty() {
        return invalid(name, &wrong.join(","));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return invalid(name, why);
    }
    let wrong: Vec<String> = name
        .split('.')
        .filter_map(|label| {
            let wrong = dns_1123_label_errors(label);
            if wrong.is_empty() { None } else { invalid(label, &wrong.join(",")) }
        })
        .collect();
    match &wrong[..] {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(format!("[{}]", wrong.join(", "))),
    }
}

fn reference(seen: &Seen<'_>, reference: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if !text(reference, "group").is_empty() {
        errors.push(FieldError::disallowed(&["group"]));
    }
    for field in ["name", "apiVersion", "kind"] {
        if text(reference, field).is_empty() {
            errors.push(FieldError::missing(&[field]));
        }
    }
    let namespace = text(reference, "namespace");
    if !namespace.is_empty() && !seen.namespace.is_empty() && namespace != seen.namespace {
        let details = format!(
            "parent namespace: {} does not match ref: {}",
            quote(seen.namespace),
            quote(namespace)
        );
        let error = FieldError::new("mismatched namespaces", &["namespace"]);
        errors.push(error.with_details(details));
    }
    errors
}
