//! What a Trigger may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1/trigger_{defaults,validation}.go`.

use api::{
    eventing::options::subscriber,
    field_error::{FieldError, FieldErrors},
    go::{decode, quote},
    keys::eventing::{BROKER, DEPENDENCY, INJECTION},
};
use serde_json::{Value, json};

use super::{
    Annotations, IMMUTABLE, Seen,
    destination::{Namespaces, delivery, destination, fill, fill_delivery},
    filters, mistakes, text_diff,
};
use crate::admission::{
    Labels,
    look::{get, list, text},
    metadata::annotations,
};

pub fn default(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    if get(spec, "filter").is_none() {
        spec["filter"] = json!({});
    }
    fill(spec, "subscriber", seen.namespace);
    fill_delivery(spec, seen.namespace);
}

/// The label by which a Broker's Triggers are found.
pub fn label(seen: &Seen<'_>, spec: &Value, labels: &mut Labels) {
    let crosses = seen.config.eventing.features.cross_namespace_event_links;
    let broker = match get(spec, "brokerRef").filter(|_| crosses) {
        Some(reference) => text(reference, "name"),
        None => match text(spec, "broker") {
            "" => return,
            broker => broker,
        },
    };
    labels.insert(BROKER.to_string(), broker.to_string());
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let config = seen.config;
    let mut errors = FieldErrors::none();
    let (broker, reference) = (text(spec, "broker"), get(spec, "brokerRef"));
    match (broker.is_empty(), reference) {
        (true, None) => errors.push(FieldError::missing(&["broker"])),
        (false, Some(_)) => errors.push(FieldError::multiple_one_of(&["broker", "brokerRef"])),
        _ => {}
    }
    if let Some(reference) = reference
        && !config.eventing.features.cross_namespace_event_links
        && !text(reference, "namespace").is_empty()
    {
        errors.push(FieldError::disallowed(&["namespace"]).with_details(ONLY_OWN));
    }
    if let Some(filter) = get(spec, "filter") {
        errors.also(filters::attributes(filter, "attributes").via("filter"));
    }
    errors.also(filters::validate(list(spec, "filters")).via("filters"));
    errors.also(destination(&spec["subscriber"], Namespaces::Any, config).via("subscriber"));
    errors.also(delivery(spec, Namespaces::Any, config));
    let mut errors = errors.via("spec");

    let annotations = annotations(seen.metadata);
    if let Some(value) = annotations.get(DEPENDENCY) {
        let path = format!("metadata.annotations[{DEPENDENCY}]");
        errors.also(dependency(value, seen.namespace).via(&path));
    }
    if let Some(value) = annotations.get(INJECTION) {
        let path = format!("metadata.annotations[{INJECTION}]");
        errors.also(FieldErrors::from(injection(value, broker)).via(&path));
    }
    errors.also(mistakes(subscriber(annotations).1));
    if let Some((_, old)) = seen.old {
        let before = text(old, "broker");
        if before != broker {
            let error = FieldError::new(IMMUTABLE, &["spec", "broker"]);
            errors.push(error.with_details(text_diff(before, broker)));
        }
    }
    errors
}

/// Why a reference has no namespace.
pub const ONLY_OWN: &str = "only name, apiVersion and kind are supported fields when \
                            feature.CrossNamespaceEventLinks is disabled";

fn dependency(value: &str, namespace: &str) -> FieldErrors {
    let wrong = |why: String| {
        let text =
            format!("The provided annotation was not a corev1.ObjectReference: {}", quote(value));
        FieldErrors::from(FieldError::new(text, &[""]).with_details(why))
    };
    let reference = match decode::value(value) {
        Err(why) => return wrong(why),
        Ok(Value::Null) => json!({}),
        Ok(reference) => reference,
    };
    if !reference.is_object() {
        let what = match reference {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            _ => "array",
        };
        return wrong(format!(
            "json: cannot unmarshal {what} into Go value of type v1.ObjectReference"
        ));
    }
    let mut errors = FieldErrors::none();
    let own = text(&reference, "namespace");
    if !own.is_empty() && own != namespace {
        let quoted = quote(namespace);
        let text = format!("Namespace must be empty or equal to the trigger namespace {quoted}");
        errors.push(FieldError::new(text, &["namespace"]));
    }
    for field in ["kind", "name", "apiVersion"] {
        if text(&reference, field).is_empty() {
            errors.push(FieldError::missing(&[field]));
        }
    }
    errors
}

fn injection(value: &str, broker: &str) -> Option<FieldError> {
    if !matches!(value, "enabled" | "disabled") {
        let value = quote(value);
        let text = format!(
            "The provided injection annotation value can only be \"enabled\" or \"disabled\", not {value}"
        );
        return Some(FieldError::new(text, &[""]));
    }
    (broker != "default").then(|| {
        let broker = quote(broker);
        let text = format!(
            "The provided injection annotation is only used for default broker, but non-default broker \
             specified here: {broker}"
        );
        FieldError::new(text, &[""])
    })
}
