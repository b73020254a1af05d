//! ConfigMaps of the platform.
//!
//! Pure: values only.

use std::collections::BTreeMap;

use kube::core::DynamicObject;

use super::metadata::annotations;

/// Whether a ConfigMap can be used; those that are not the platform's always can.
pub fn check(object: &DynamicObject) -> Result<(), config::Error> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let data: BTreeMap<String, String> = object
        .data
        .get("data")
        .and_then(|data| serde_json::from_value(data.clone()).ok())
        .unwrap_or_default();
    config::install::check(name, annotations(&object.metadata), &data)
}
