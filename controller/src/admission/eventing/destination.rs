//! References, destinations and deliveries.
//!
//! Pure: values only.
//! Source: knative.dev/pkg `apis/duck/v1/{destination,knative_reference}.go`, knative/eventing `pkg/apis/duck/v1`.

use api::{
    field_error::{FieldError, FieldErrors},
    go::{quote, url},
    period::Period,
};
use config::Config;
use serde_json::Value;
use x509_parser::pem::parse_x509_pem;

use crate::admission::look::{get, number, text};

/// Into which namespaces references may lead.
#[derive(Clone, Copy)]
pub enum Namespaces<'a> {
    Any,
    Only(&'a str),
}

/// Fills in the namespace of the reference in the destination in `field`, where there is one.
pub fn fill(holder: &mut Value, field: &str, namespace: &str) {
    if let Some(destination) = holder.get_mut(field) {
        fill_reference(destination, "ref", namespace);
    }
}

/// Fills in the namespace of the reference in `field`, where there is one.
pub fn fill_reference(holder: &mut Value, field: &str, namespace: &str) {
    if let Some(reference) = holder.get_mut(field).filter(|it| it.is_object())
        && text(reference, "namespace").is_empty()
        && !namespace.is_empty()
    {
        reference["namespace"] = namespace.into();
    }
}

/// Fills in the namespace of the dead letter sink, where there is one.
pub fn fill_delivery(spec: &mut Value, namespace: &str) {
    if let Some(delivery) = spec.get_mut("delivery") {
        fill(delivery, "deadLetterSink", namespace);
    }
}

/// Everything that is wrong with a reference.
pub fn reference(value: &Value, namespaces: Namespaces<'_>, config: &Config) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let (group, version) = (text(value, "group"), text(value, "apiVersion"));
    for field in ["name", "kind"] {
        if text(value, field).is_empty() {
            errors.push(FieldError::missing(&[field]));
        }
    }
    if config.eventing.features.kreference_group {
        if version.is_empty() && group.is_empty() {
            errors.push(FieldError::missing(&["apiVersion"]));
            errors.push(FieldError::missing(&["group"]));
        }
        if !version.is_empty() && !group.is_empty() && !version.starts_with(group) {
            let why =
                "both apiVersion and group are specified and they refer to different API groups";
            let error = FieldError::new(why, &["apiVersion", "group"]);
            errors.push(error.with_details("Only one of them must be specified"));
        }
    } else {
        if !group.is_empty() {
            errors.push(FieldError::disallowed(&["group"]));
        }
        if version.is_empty() {
            errors.push(FieldError::missing(&["apiVersion"]));
        }
    }
    let namespace = text(value, "namespace");
    if let Namespaces::Only(own) = namespaces
        && !namespace.is_empty()
        && !own.is_empty()
        && namespace != own
    {
        let details =
            format!("parent namespace: {} does not match ref: {}", quote(own), quote(namespace));
        let error = FieldError::new("mismatched namespaces", &["namespace"]);
        errors.push(error.with_details(details));
    }
    errors
}

/// Everything that is wrong with the destination in `field`; one that is absent is right.
pub fn optional(
    holder: &Value,
    field: &str,
    namespaces: Namespaces<'_>,
    config: &Config,
) -> FieldErrors {
    match get(holder, field) {
        Some(value) => destination(value, namespaces, config).via(field),
        None => FieldErrors::none(),
    }
}

/// Everything that is wrong with a destination.
pub fn destination(value: &Value, namespaces: Namespaces<'_>, config: &Config) -> FieldErrors {
    let uri = get(value, "uri").and_then(Value::as_str);
    let parts = uri.and_then(|uri| url::parse(uri).ok());
    let is_absolute = parts.is_some_and(|parts| parts.is_absolute());
    match (get(value, "ref"), uri) {
        (None, None) => FieldError::new("expected at least one, got none", &["ref", "uri"]).into(),
        (Some(_), Some(_)) if is_absolute => FieldError::new(
            "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present",
            &["[apiVersion, kind, name]", "ref", "uri"],
        )
        .into(),
        (None, Some(_)) if !is_absolute || parts.is_some_and(|parts| parts.host.is_empty()) => {
            let why = "Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent";
            FieldError::invalid_value(why, "uri").into()
        }
        (Some(value), None) => reference(value, namespaces, config).via("ref"),
        (_, Some(_)) => get(value, "CACerts")
            .and_then(Value::as_str)
            .and_then(not_a_certificate)
            .map(|why| FieldError::invalid_value(why, "caCert"))
            .into(),
    }
}

/// Why a text is no certificate in PEM; what follows the first is not looked at.
fn not_a_certificate(text: &str) -> Option<&'static str> {
    const INVALID: &str = "CA Cert provided is invalid";
    let Ok((_, block)) = parse_x509_pem(text.as_bytes()) else { return Some(INVALID) };
    if block.label != "CERTIFICATE" {
        return Some("CA Cert provided is not a certificate");
    }
    block.parse_x509().err().map(|_| INVALID)
}

/// Everything that is wrong with the delivery of `holder`; one that is absent is right.
pub fn delivery(holder: &Value, namespaces: Namespaces<'_>, config: &Config) -> FieldErrors {
    let Some(delivery) = get(holder, "delivery") else { return FieldErrors::none() };
    let features = &config.eventing.features;
    let mut errors = optional(delivery, "deadLetterSink", namespaces, config);
    if let Some(retry) = number(delivery, "retry")
        && retry < 0
    {
        errors.push(FieldError::invalid_value(retry, "retry"));
    }
    let said = |field: &str| get(delivery, field).and_then(Value::as_str);
    for (field, is_on, is_wrong) in [
        ("timeout", features.delivery_timeout, Period::is_zero as fn(Period) -> bool),
        ("backoffDelay", true, |_| false),
        ("retryAfterMax", features.delivery_retry_after, Period::is_negative),
    ] {
        match said(field) {
            None => {}
            Some(_) if !is_on => errors.push(FieldError::disallowed(&[field])),
            Some(text) if Period::parse(text).is_ok_and(|period| !is_wrong(period)) => {}
            Some(text) => errors.push(FieldError::invalid_value(text, field)),
        }
    }
    for (field, words) in
        [("backoffPolicy", ["exponential", "linear"]), ("format", ["binary", "json"])]
    {
        if let Some(text) = said(field).filter(|text| !words.contains(text)) {
            errors.push(FieldError::invalid_value(text, field));
        }
    }
    errors.via("delivery")
}

/// A destination as Go prints it; none where Go prints where in its memory a part of it is.
pub fn printed(value: &Value) -> Option<String> {
    if get(value, "CACerts").is_some() || get(value, "audience").is_some() {
        return None;
    }
    let reference = match get(value, "ref") {
        None => "<nil>".to_string(),
        Some(reference) => format!(
            "Kind = {}, Namespace = {}, Name = {}, APIVersion = {}, Group = {}, Address = {}",
            text(reference, "kind"),
            text(reference, "namespace"),
            text(reference, "name"),
            text(reference, "apiVersion"),
            text(reference, "group"),
            text(reference, "address"),
        ),
    };
    Some(format!("{{{reference} {} <nil> <nil>}}", text(value, "uri")))
}
