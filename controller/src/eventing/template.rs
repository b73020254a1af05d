//! Channels that are made from a template, of whatever kind that says.
//!
//! Pure: values in, values out.
//! Source: knative/eventing `pkg/duck/channel.go`.

use api::messaging::ChannelTemplate;
use runtime::{cluster::Kind, plan::owner, tracker::ObjectKind};
use serde_json::{Value, json};

use crate::metadata::namespace;

/// The kind of the channels that a template makes. Admission has filled in a default, so that there is one.
pub fn kind(template: Option<&ChannelTemplate>) -> ObjectKind {
    let text = |it: Option<&String>| it.cloned().unwrap_or_default();
    ObjectKind {
        api_version: text(template.and_then(|it| it.api_version.as_ref())),
        kind: text(template.and_then(|it| it.kind.as_ref())),
    }
}

/// A channel of that name for `owner_of_it`.
pub fn channel<K: Kind>(
    owner_of_it: &K,
    template: Option<&ChannelTemplate>,
    its_name: &str,
) -> Value {
    let kind = kind(template);
    let spec = template.and_then(|it| it.spec.clone()).filter(Value::is_object);
    json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": its_name,
            "namespace": namespace(owner_of_it.meta()),
            "ownerReferences": [owner(owner_of_it)],
        },
        "spec": spec.unwrap_or_else(|| json!({})),
    })
}
