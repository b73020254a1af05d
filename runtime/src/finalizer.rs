//! Keeps an object until what has to be done at its end is done.
//!
//! Pure: an object in, a write out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::{
    cluster::Kind,
    plan::{Event, Write},
};

/// Whether `finalizer` keeps the object.
pub fn holds(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|it| it == finalizer)
}

/// Makes `finalizer` keep `object`; nothing where it does.
pub fn hold<K: Kind>(object: &K, finalizer: &str) -> Option<Write> {
    let meta = object.meta();
    let mut all = meta.finalizers.clone().unwrap_or_default();
    all.push(finalizer.to_owned());
    (!holds(meta, finalizer)).then(|| set(object, &all))
}

/// Lets `object` go; nothing where `finalizer` does not keep it.
pub fn release<K: Kind>(object: &K, finalizer: &str) -> Option<Write> {
    let meta = object.meta();
    let mut rest = meta.finalizers.clone().unwrap_or_default();
    rest.retain(|it| it != finalizer);
    holds(meta, finalizer).then(|| set(object, &rest))
}

fn set<K: Kind>(object: &K, finalizers: &[String]) -> Write {
    // The version, since a list is replaced as a whole: another's finalizer must not be lost.
    let version = &object.meta().resource_version;
    let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
    let name = object.meta().name.as_deref().unwrap_or_default();
    let message = format!("Updated \"{name}\" finalizers");
    Write::merge(object, &patch).with_event(Event::normal("FinalizerUpdate", message))
}
