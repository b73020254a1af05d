//! What holds for the metadata of every kind.
//!
//! Pure: objects in, errors out.
//! Source: k8s.io/apimachinery `pkg/api/validation/objectmeta.go`.

use serde_json::{Value, json};

use super::names;
use super::problem::FieldError;
use super::walk::{entries, has, list, text};

/// The form of a kind's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    Subdomain,
    Label,
    PathSegment,
}

/// The most that all annotations of an object may weigh.
const ANNOTATIONS: usize = 256 * 1024;

/// All that is wrong with the metadata of a new object.
pub fn validate(object: &Value, rule: NameRule, namespaced: bool) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    let check = match rule {
        NameRule::Subdomain => names::subdomain,
        NameRule::Label => names::label,
        NameRule::PathSegment => names::path_segment,
    };
    let generated = text(metadata, "generateName");
    if !generated.is_empty() {
        // What follows the prefix is always alphanumeric, so a trailing dash is fine.
        let prefix = generated.strip_suffix('-').map(|prefix| format!("{prefix}a"));
        let prefix = if rule == NameRule::PathSegment {
            generated
        } else {
            prefix.as_deref().unwrap_or(generated)
        };
        for wrong in check(prefix) {
            errors.push(FieldError::invalid("metadata.generateName", &generated.into(), &wrong));
        }
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        for wrong in check(name) {
            errors.push(FieldError::invalid("metadata.name", &name.into(), &wrong));
        }
    }
    let namespace = text(metadata, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            for wrong in names::label(namespace) {
                errors.push(FieldError::invalid("metadata.namespace", &namespace.into(), &wrong));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    errors.extend(rest(metadata));
    errors
}

/// All that is wrong with the metadata of an object in place of another.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (metadata, before) = (&new["metadata"], &old["metadata"]);
    let mut errors = rest(metadata);
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if has(before, field) && metadata.get(field) != before.get(field) {
            let value = metadata.get(field).cloned().unwrap_or(Value::Null);
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                &value,
                "field is immutable",
            ));
        }
    }
    if has(before, "deletionTimestamp") {
        let known: Vec<&str> =
            list(before, "finalizers").iter().filter_map(Value::as_str).collect();
        let added: Vec<&str> = list(metadata, "finalizers")
            .iter()
            .filter_map(Value::as_str)
            .filter(|f| !known.contains(f))
            .collect();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                &format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", quoted.join(", ")),
            ));
        }
    }
    errors
}

/// Keeps the first of the owners that are named twice. Says what a client should know of it.
pub fn drop_repeated_owners(object: &mut Value) -> Option<String> {
    let owners = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut repeated: Vec<String> = Vec::new();
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            repeated.push(text(&owner, "uid").to_owned());
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    if repeated.is_empty() {
        return None;
    }
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        repeated.join(", ")
    ))
}

/// Finalizers of built-in kinds are well-known ones, or say whose they are.
pub fn standard_finalizers(object: &Value) -> Vec<FieldError> {
    let all = list(&object["metadata"], "finalizers").iter().enumerate();
    let odd = all.filter(|(_, name)| is_short(name.as_str().unwrap_or("")));
    odd.map(|(at, name)| {
        FieldError::invalid(
            format!("metadata.finalizers[{at}]"),
            name,
            "name is neither a standard finalizer name nor is it fully qualified",
        )
    })
    .collect()
}

/// What a client should know of the finalizers of a custom resource.
pub fn finalizer_warnings(object: &Value) -> Vec<String> {
    let all = list(&object["metadata"], "finalizers").iter().filter_map(Value::as_str);
    all.filter(|name| is_short(name))
        .map(|name| {
            format!("metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers")
        })
        .collect()
}

fn is_short(name: &str) -> bool {
    !name.contains('/')
        && !name.contains('.')
        && !matches!(name, "orphan" | "foregroundDeletion" | "kubernetes")
}

/// Labels, annotations, owners and finalizers.
fn rest(metadata: &Value) -> Vec<FieldError> {
    let mut errors = labels(metadata, "labels", "metadata.labels");
    let mut weight = 0;
    for (key, value) in entries(metadata, "annotations") {
        for wrong in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &key.as_str().into(), &wrong));
        }
        weight += key.len() + value.as_str().map_or(0, str::len);
    }
    if weight > ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS));
    }
    errors.extend(owners(metadata));
    errors.extend(finalizers(metadata));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
        && generation < 0
    {
        errors.push(FieldError::invalid(
            "metadata.generation",
            &generation.into(),
            "must be greater than or equal to 0",
        ));
    }
    errors
}

/// The keys and values of a map of labels.
pub fn labels(object: &Value, field: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(object, field) {
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, &key.as_str().into(), &wrong));
        }
        for wrong in names::label_value(value.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(path, value, &wrong));
        }
    }
    errors
}

fn owners(metadata: &Value) -> Vec<FieldError> {
    let path = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for owner in list(metadata, "ownerReferences") {
        let version = text(owner, "apiVersion");
        let (group, version_part) = version.split_once('/').unwrap_or(("", version));
        if version_part.is_empty() || version_part.contains('/') {
            errors.push(FieldError::invalid(
                format!("{path}.apiVersion"),
                &version.into(),
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                errors.push(FieldError::invalid(
                    format!("{path}.{field}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if text(owner, "kind") == "Event" && matches!(version, "v1" | "events.k8s.io/v1") {
            let detail =
                format!("{group}/{version_part}, Kind=Event is disallowed from being an owner");
            errors.push(FieldError::invalid_shown(path, &shown_owner(owner), &detail));
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let all: Vec<String> =
                        list(metadata, "ownerReferences").iter().map(shown_owner).collect();
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(FieldError::invalid_shown(
                        path,
                        &format!("[{}]", all.join(",")),
                        &detail,
                    ));
                }
            }
        }
    }
    errors
}

/// An owner reference with its fields in Go's order.
fn shown_owner(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let shown: Vec<String> = fields
        .iter()
        .filter_map(|field| owner.get(field).map(|value| format!("\"{field}\":{value}")))
        .collect();
    format!("{{{}}}", shown.join(","))
}

fn finalizers(metadata: &Value) -> Vec<FieldError> {
    let path = "metadata.finalizers";
    let mut errors = Vec::new();
    let all: Vec<&str> = list(metadata, "finalizers").iter().filter_map(Value::as_str).collect();
    for name in &all {
        let wrong = names::qualified_name(name);
        if !wrong.is_empty() {
            errors.extend(
                wrong.iter().map(|wrong| FieldError::invalid(path, &(*name).into(), wrong)),
            );
        }
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let shown = format!("[{}]", all.join(" "));
        errors.push(FieldError::invalid(
            path,
            &json!(shown),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    errors
}

/// A label selector as objects hold it.
pub fn label_selector(selector: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(selector, "matchLabels") {
        let path = format!("{path}.matchLabels");
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(path.clone(), &key.as_str().into(), &wrong));
        }
        for wrong in names::label_value(value.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(path.clone(), value, &wrong));
        }
    }
    for (at, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        let values = list(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &other.into(),
                "not a valid selector operator",
            )),
        }
        let key = text(requirement, "key");
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), &key.into(), &wrong));
        }
        for (at, value) in values.iter().enumerate() {
            for wrong in names::label_value(value.as_str().unwrap_or("")) {
                errors.push(FieldError::invalid(format!("{path}.values[{at}]"), value, &wrong));
            }
        }
    }
    errors
}
