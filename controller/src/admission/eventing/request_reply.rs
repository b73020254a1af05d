//! What a RequestReply may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1alpha1/requestreply_{defaults,validation}.go`.

use api::{
    field_error::{FieldError, FieldErrors},
    keys::eventing::BROKER,
    period::Period,
};
use serde_json::Value;

use super::{
    Annotations, Seen,
    destination::{Namespaces, delivery, reference},
};
use crate::admission::{Labels, look::text};

pub fn default(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    let timeout = &*seen.config.eventing.features.request_reply_default_timeout;
    for (field, value) in [
        ("timeout", timeout),
        ("correlationAttribute", "correlationid"),
        ("replyAttribute", "replyid"),
    ] {
        if text(spec, field).is_empty() {
            spec[field] = value.into();
        }
    }
}

/// The label by which what belongs to a Broker is found.
pub fn label(_: &Seen<'_>, spec: &Value, labels: &mut Labels) {
    labels.insert(BROKER.to_string(), text(&spec["brokerRef"], "name").to_string());
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let namespaces = Namespaces::Only(seen.namespace);
    let broker = &spec["brokerRef"];
    let mut its = reference(broker, namespaces, seen.config);
    let kind = text(broker, "kind");
    if !kind.eq_ignore_ascii_case("broker") {
        let error = FieldError::invalid_value(kind, "kind");
        its.push(error.with_details("brokerRef kind must be Broker"));
    }
    if !text(broker, "namespace").is_empty() {
        its.push(FieldError::disallowed(&["namespace"]));
    }
    let mut errors = its.via("brokerRef");
    errors.also(delivery(spec, namespaces, seen.config));
    let timeout = text(spec, "timeout");
    let why = match Period::parse(timeout) {
        Err(why) => Some(why),
        Ok(period) if period.is_negative() || period.is_zero() => {
            Some("timeout must be a positive duration".to_string())
        }
        Ok(_) => None,
    };
    if let Some(why) = why {
        errors.push(FieldError::invalid_value(timeout, "timeout").with_details(why));
    }
    for (field, name) in
        [("correlationAttribute", "correlationattribute"), ("replyAttribute", "replyattribute")]
    {
        let value = text(spec, field);
        // Upstream's list has no `source`, by a slip of the pen.
        if matches!(value, "" | "id" | "course" | "specversion" | "type") {
            errors.push(FieldError::invalid_value(value, name).with_details(format!(
                "{name} must be non-empty and cannot be a core cloudevent attribute (id, type, \
                 specversion, source)"
            )));
        }
    }
    errors.via("spec")
}
