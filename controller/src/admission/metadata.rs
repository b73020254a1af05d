//! Names, and who made an object and changed it last.
//!
//! Pure: values only.
//! Source: knative.dev/pkg `apis/metadata_validation.go`, knative/serving `metadata_validation.go`.

use std::collections::BTreeMap;

use api::{
    field_error::{FieldError, FieldErrors},
    keys::serving::{CREATOR, GROUP, LAST_MODIFIER},
    names::{dns_label_errors, dns_label_prefix_errors},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Annotations, Seen};

/// The annotations of an object.
pub fn annotations(metadata: &ObjectMeta) -> &BTreeMap<String, String> {
    const NONE: &BTreeMap<String, String> = &BTreeMap::new();
    metadata.annotations.as_ref().unwrap_or(NONE)
}

/// A name must be a DNS-1035 label, as hosts and services are named after it.
pub fn names(metadata: &ObjectMeta) -> Option<FieldError> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let prefix = metadata.generate_name.as_deref().unwrap_or_default();
    if !prefix.is_empty() {
        let wrong = dns_label_prefix_errors(prefix);
        if !wrong.is_empty() {
            let text = format!("not a DNS 1035 label prefix: [{}]", wrong.join(" "));
            return Some(FieldError::new(text, &["generateName"]));
        }
    }
    if !name.is_empty() {
        let wrong = dns_label_errors(name);
        if !wrong.is_empty() {
            let text = format!("not a DNS 1035 label: [{}]", wrong.join(" "));
            return Some(FieldError::new(text, &["name"]));
        }
    }
    (prefix.is_empty() && name.is_empty())
        .then(|| FieldError::new("name or generateName is required", &["name"]))
}

/// A label that names an owner must be true.
pub fn owner_label(metadata: &ObjectMeta, label: &str, kind: &str) -> Option<FieldError> {
    let name = metadata.labels.as_ref()?.get(label)?;
    let owners = metadata.owner_references.iter().flatten();
    let is_true = owners.into_iter().any(|owner| owner.kind == kind && owner.name == *name);
    (!is_true).then(|| FieldError::missing(&[label]))
}

/// Writes who makes the object, or who changes its spec.
pub fn set_user(seen: &Seen<'_>, spec: &Value, annotations: &mut Annotations) {
    set_user_of(GROUP, seen, spec, annotations);
}

/// [`set_user`] in annotations of a group.
pub fn set_user_of(group: &str, seen: &Seen<'_>, spec: &Value, annotations: &mut Annotations) {
    if seen.old.is_none() {
        annotations.insert(format!("{group}/creator"), seen.user.to_string());
    }
    if seen.old.is_none_or(|(_, old)| old != spec) {
        annotations.insert(format!("{group}/lastModifier"), seen.user.to_string());
    }
}

/// Whether an object has owners; then they say who made it.
pub fn has_owners(metadata: &ObjectMeta) -> bool {
    metadata.owner_references.is_some()
}

/// Nobody may say otherwise who made the object, nor who changed it last when it is not changed.
pub fn check_user(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let Some((old_metadata, old_spec)) = seen.old else { return errors };
    let (old, new) = (annotations(old_metadata), annotations(seen.metadata));
    if old.get(CREATOR) != new.get(CREATOR) {
        errors.push(FieldError::new("annotation value is immutable", &[CREATOR]));
    }
    if old_spec == spec && old.get(LAST_MODIFIER) != new.get(LAST_MODIFIER) {
        let was = new.get(LAST_MODIFIER).map_or("", String::as_str);
        errors.push(FieldError::invalid_value(was, LAST_MODIFIER));
    }
    errors
}
