//! What a Broker may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1/broker_{defaults,validation}.go`.

use api::{
    duck::DeliverySpec,
    eventing::options::retention,
    field_error::{FieldError, FieldErrors},
    keys::eventing::BROKER_CLASS,
    shape::eventing::BROKER_SPEC,
};
use serde_json::Value;

use super::{
    Annotations, Seen,
    destination::{Namespaces, delivery, fill_delivery, fill_reference, reference},
    mistakes, text_diff, unchanged,
};
use crate::admission::{
    look::{get, text},
    metadata::annotations,
};

pub fn default(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    let brokers = &seen.config.eventing.brokers;
    let class = annotations
        .get(BROKER_CLASS)
        .or_else(|| seen.metadata.annotations.as_ref()?.get(BROKER_CLASS));
    // Upstream looks for the kind of a configuration among the classes.
    let key = match get(spec, "config") {
        Some(config) => text(config, "kind"),
        None => class.map_or("", String::as_str),
    };
    if let Some(settings) = brokers.settings(seen.namespace, key) {
        if get(spec, "config").is_none()
            && let Some(config) = &settings.config
        {
            spec["config"] = serde_json::to_value(config).expect("references are plain data");
        }
        if get(spec, "delivery").is_none()
            && let Some(DeliverySpec {
                backoff_delay, backoff_policy, dead_letter_sink, retry, ..
            }) = settings.delivery.clone()
        {
            let delivery = DeliverySpec {
                backoff_delay,
                backoff_policy,
                dead_letter_sink,
                retry,
                ..DeliverySpec::default()
            };
            spec["delivery"] = serde_json::to_value(delivery).expect("deliveries are plain data");
        }
    }
    fill_reference(spec, "config", seen.namespace);
    fill_delivery(spec, seen.namespace);
    if !annotations.contains_key(BROKER_CLASS)
        && let Some(class) = brokers.class(seen.namespace)
    {
        annotations.insert(BROKER_CLASS.to_string(), class.to_string());
    }
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let config = seen.config;
    let class =
        |annotations: &Annotations| annotations.get(BROKER_CLASS).cloned().unwrap_or_default();
    let own = class(annotations(seen.metadata));
    let mut errors = FieldErrors::none();
    if own.is_empty() {
        errors.push(FieldError::missing(&[BROKER_CLASS]));
    }
    let namespaces = if config.eventing.brokers.keeps_to_its_namespace(seen.namespace) {
        Namespaces::Only(seen.namespace)
    } else {
        Namespaces::Any
    };
    if let Some(value) = get(spec, "config") {
        errors.also(reference(value, namespaces, config).via("config").via("spec"));
    }
    errors.also(delivery(spec, namespaces, config).via("spec"));
    errors.also(mistakes(retention(annotations(seen.metadata)).1));
    if let Some((metadata, old)) = seen.old {
        let before = class(annotations(metadata));
        // What was changed in the spec is told alone.
        if let Some(changed) = unchanged("v1.BrokerSpec", &BROKER_SPEC, &["delivery"], old, spec) {
            errors.push(changed);
        } else if before != own {
            let error =
                FieldError::new("Immutable annotations changed (-old +new)", &["annotations"]);
            errors.push(error.with_details(text_diff(&before, &own)));
        }
    }
    errors
}
