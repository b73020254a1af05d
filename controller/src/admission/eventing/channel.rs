//! What a Channel and an InMemoryChannel may say.
//!
//! Pure: values only.
//! Source: knative/eventing `pkg/apis/messaging/v1/{channel,in_memory_channel}_{defaults,validation}.go`.

use api::{
    eventing::options::retention,
    field_error::{FieldError, FieldErrors},
    keys::eventing::{SCOPE, SUBSCRIBABLE},
    shape::{diff::kind_diff, duck::SUBSCRIBERS, messaging::CHANNEL_SPEC},
};
use serde_json::Value;

use super::{
    Annotations, Seen,
    destination::{Namespaces, delivery, fill_delivery},
    mistakes, unchanged,
};
use crate::admission::{
    look::{get, list, text},
    metadata::annotations,
};

pub fn default(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    subscribable(annotations);
    if get(spec, "channelTemplate").is_some() {
        return;
    }
    fill_template(seen, spec);
    fill_delivery(spec, seen.namespace);
}

pub fn default_in_memory(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    subscribable(annotations);
    fill_delivery(spec, seen.namespace);
}

fn subscribable(annotations: &mut Annotations) {
    annotations.entry(SUBSCRIBABLE.to_string()).or_insert_with(|| "v1".to_string());
}

/// Fills in the channel of those that say none.
pub fn fill_template(seen: &Seen<'_>, spec: &mut Value) {
    if get(spec, "channelTemplate").is_none()
        && let Some(template) = seen.config.eventing.channels.template(seen.namespace)
    {
        spec["channelTemplate"] = serde_json::to_value(template).expect("templates are plain data");
    }
}

/// Everything that is wrong with the template of `spec`.
pub fn template(spec: &Value) -> FieldErrors {
    let Some(template) = get(spec, "channelTemplate") else {
        return FieldError::missing(&["channelTemplate"]).into();
    };
    let mut errors = FieldErrors::none();
    for field in ["kind", "apiVersion"] {
        if text(template, field).is_empty() {
            errors.push(FieldError::missing(&[field]).via("channelTemplate"));
        }
    }
    errors
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = template(spec);
    if !list(spec, "subscribers").is_empty() {
        errors.push(FieldError::disallowed(&["subscribers"]).via("subscribable"));
    }
    errors.also(delivery(spec, Namespaces::Only(seen.namespace), seen.config));
    let mut errors = errors.via("spec");
    errors.also(mistakes(retention(annotations(seen.metadata)).1));
    if let Some((_, old)) = seen.old {
        errors.also(unchanged("v1.ChannelSpec", &CHANNEL_SPEC, &["subscribers"], old, spec));
    }
    errors
}

pub fn validate_in_memory(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, subscriber) in list(spec, "subscribers").iter().enumerate() {
        if get(subscriber, "replyUri").is_none() && get(subscriber, "subscriberUri").is_none() {
            let error = FieldError::missing(&["replyURI", "subscriberURI"])
                .with_details("expected at least one of, got none");
            errors.push(error.via(&format!("subscriber[{index}]")).via("subscribable").via("spec"));
        }
    }
    let annotations = annotations(seen.metadata);
    if let Some(scope) =
        annotations.get(SCOPE).filter(|it| !matches!(&***it, "namespace" | "cluster"))
    {
        let error = FieldError::invalid_value(scope, "")
            .with_details("expected either 'cluster' or 'namespace'");
        errors.push(error.via_key(SCOPE).via("annotations").via("metadata"));
    }
    errors.also(mistakes(retention(annotations).1));
    if let Some((_, old)) = seen.old
        && !may_subscribe(seen.user)
    {
        let diff = kind_diff(&SUBSCRIBERS, old.get("subscribers"), spec.get("subscribers"));
        if !diff.is_empty() {
            let (user, controller) = (seen.user, CONTROLLER);
            let text = format!(
                "Channel.Spec.Subscribers changed by user {user} which was not the {controller} service \
                 account"
            );
            errors.push(FieldError::new(text, &["spec.subscribers"]).with_details(diff));
        }
    }
    errors
}

/// Who writes subscribers into channels, on Knative's own installation.
const CONTROLLER: &str = "system:serviceaccount:knative-eventing:eventing-controller";

/// Whether a user may write subscribers into channels: Knative's controller and Weft's, on a cluster or in one process.
fn may_subscribe(user: &str) -> bool {
    let is_ours = user
        .strip_prefix("system:serviceaccount:")
        .is_some_and(|account| account.ends_with(":weft-controller"));
    user == CONTROLLER || user == "system:weft" || is_ours
}
