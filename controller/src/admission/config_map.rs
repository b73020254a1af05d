//! ConfigMaps of the platform.
//!
//! Pure: values only.

use std::collections::BTreeMap;

use kube::core::DynamicObject;

use super::metadata::annotations;

/// Whether a ConfigMap can be used; those that are not the platform's always can.
pub fn check(object: &DynamicObject, namespace: &str) -> Result<(), config::Error> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let data: BTreeMap<String, String> = object
        .data
        .get("data")
        .and_then(|data| serde_json::from_value(data.clone()).ok())
        .unwrap_or_default();
    let annotations = annotations(&object.metadata);
    // The webhook of each product is asked about its own namespace; this one is named apart.
    if namespace == config::EVENTING_NAMESPACE {
        return config::eventing::install::check(name, annotations, &data);
    }
    config::install::check(name, annotations, &data)
}
