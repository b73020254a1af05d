//! What a Subscription may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/messaging/v1/subscription_{defaults,validation}.go`.

use api::{
    eventing::options::subscriber,
    field_error::{FieldError, FieldErrors},
    shape::messaging::SUBSCRIPTION_SPEC,
};
use serde_json::Value;

use super::{
    Annotations, Seen,
    destination::{Namespaces, delivery, destination, fill, fill_delivery, reference},
    mistakes,
    trigger::ONLY_OWN,
    unchanged,
};
use crate::admission::{
    look::{get, text},
    metadata::annotations,
};

pub fn default(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    fill(spec, "subscriber", seen.namespace);
    fill(spec, "reply", seen.namespace);
    fill_delivery(spec, seen.namespace);
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = its(seen, spec).via("spec");
    errors.also(mistakes(subscriber(annotations(seen.metadata)).1));
    if let Some((_, old)) = seen.old {
        let free = ["subscriber", "reply", "delivery"];
        let root = "v1.SubscriptionSpec";
        errors.also(unchanged(root, &SUBSCRIPTION_SPEC, &free, old, spec));
    }
    errors
}

fn its(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let config = seen.config;
    let channel = &spec["channel"];
    let fields = ["kind", "namespace", "name", "apiVersion", "group"];
    if fields.iter().all(|field| text(channel, field).is_empty())
        && get(channel, "address").is_none()
    {
        let error = FieldError::missing(&["channel"]);
        return error.with_details("the Subscription must reference a channel").into();
    }
    let mut errors = reference(channel, Namespaces::Any, config).via("channel");
    if !config.eventing.features.cross_namespace_event_links
        && !text(channel, "namespace").is_empty()
    {
        let error = FieldError::disallowed(&["namespace"]).with_details(ONLY_OWN);
        errors.push(error.via("channel"));
    }
    let said = |field: &str| {
        get(spec, field).filter(|it| it.as_object().is_some_and(|fields| !fields.is_empty()))
    };
    match said("subscriber") {
        None => {
            let error = FieldError::missing(&["subscriber"]);
            errors.push(error.with_details("the Subscription must reference a subscriber"));
        }
        Some(value) => {
            errors.also(destination(value, Namespaces::Any, config).via("subscriber"));
        }
    }
    if let Some(value) = said("reply") {
        errors.also(destination(value, Namespaces::Any, config).via("reply"));
    }
    errors.also(delivery(spec, Namespaces::Any, config));
    errors
}
