//! CustomResourceDefinitions: what the server does with them besides storing them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Server;
use super::seconds;
use super::status::Cause;
use crate::kinds::Kind;
use crate::store::Object;

const RESOURCE: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

fn is_definition(kind: &Kind) -> bool {
    &*kind.group == "apiextensions.k8s.io" && &*kind.plural == "customresourcedefinitions"
}

/// Serves what the store's definitions define.
pub fn load(server: &Server) {
    let Ok(page) = server.store.list(RESOURCE, "", None) else { return };
    for object in page.objects {
        serve(server, &object.value());
    }
}

fn serve(server: &Server, definition: &Value) {
    server.registry.define(definition);
}

/// Prepares a new definition: its conditions are known at once.
pub fn prepare_create(kind: &Kind, value: &mut Value) {
    if is_definition(kind) {
        value["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored_versions(value, &[])});
    }
}

/// The storage versions so far.
fn stored_versions(value: &Value, before: &[Value]) -> Vec<Value> {
    let mut versions = before.to_vec();
    for version in value["spec"]["versions"].as_array().into_iter().flatten() {
        if version["storage"] == true && !versions.contains(&version["name"]) {
            versions.push(version["name"].clone());
        }
    }
    versions
}

/// Prepares a changed definition.
pub fn prepare_update(
    _server: &Server,
    kind: &Kind,
    subresource: &str,
    new: &mut Value,
    old: &Value,
) {
    if is_definition(kind) && subresource.is_empty() {
        let before = old["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
        new["status"]["storedVersions"] = stored_versions(new, &before).into();
    }
}

/// What is wrong with a new definition beside the others.
pub fn validate_create(_server: &Server, _kind: &Kind, _value: &Value) -> Vec<Cause> {
    Vec::new()
}

/// What is wrong with a changed definition beside the others.
pub fn validate_update(_server: &Server, _kind: &Kind, _new: &Value, _old: &Value) -> Vec<Cause> {
    Vec::new()
}

/// A definition that is to go says so.
pub fn mark(kind: &Kind, value: &mut Value, now: Timestamp) {
    if is_definition(kind) {
        set_condition(
            value,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            now,
        );
    }
}

fn set_condition(
    value: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if !value["status"]["conditions"].is_array() {
        value["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = value["status"]["conditions"].as_array_mut() else { return };
    let condition = json!({"type": kind, "status": status, "lastTransitionTime": seconds(now), "reason": reason, "message": message});
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(one)
            if one["status"] == status && one["reason"] == reason && one["message"] == message => {}
        Some(one) => *one = condition,
        None => conditions.push(condition),
    }
}

/// Follows a definition's writes: names are accepted, the kind is served, its end is carried out.
pub fn after_write(server: &Server, kind: &Kind, object: &Object) {
    if !is_definition(kind) {
        return;
    }
    let value = object.value();
    if value["metadata"].get("deletionTimestamp").is_some() {
        return end(server, object, value);
    }
    serve(server, &value);
    let mut next = value.clone();
    let now = server.clock.now();
    let names = &value["spec"]["names"];
    next["status"]["acceptedNames"] = names.clone();
    set_condition(&mut next, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
    set_condition(
        &mut next,
        "Established",
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
        now,
    );
    let mut finalizers = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        finalizers.push(CLEANUP.into());
        next["metadata"]["finalizers"] = finalizers.into();
    }
    if next != value {
        // Another writer may have been faster; its write comes here too.
        let _ = server.store.update(RESOURCE, &object.key, &mut next, object.revision);
    }
}

/// Deletes the objects of a definition that is to go, then lets it go when none is held.
fn end(server: &Server, object: &Object, mut value: Value) {
    let (group, plural) = (
        value["spec"]["group"].as_str().unwrap_or_default(),
        value["spec"]["names"]["plural"].as_str().unwrap_or_default(),
    );
    let resource = format!("{group}/{plural}");
    let Ok(page) = server.store.list(&resource, "", None) else { return };
    let mut left = 0;
    for instance in page.objects {
        let state = instance.value();
        let held = state["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if !held {
            // A concurrent write keeps it; the next change of the definition tries again.
            left += usize::from(
                server.store.delete(&resource, &instance.key, instance.revision).is_err(),
            );
            continue;
        }
        left += 1;
        if state["metadata"].get("deletionTimestamp").is_none() {
            let mut marked = state;
            marked["metadata"]["deletionTimestamp"] = seconds(server.clock.now()).into();
            marked["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            let _ = server.store.update(&resource, &instance.key, &mut marked, instance.revision);
        }
    }
    if left > 0 {
        return;
    }
    let mut finalizers = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != CLEANUP);
    let result = if finalizers.is_empty() {
        server.store.delete(RESOURCE, &object.key, object.revision)
    } else {
        value["metadata"]["finalizers"] = finalizers.into();
        server.store.update(RESOURCE, &object.key, &mut value, object.revision)
    };
    if result.is_ok() {
        server.registry.undefine(object.name());
    }
}

/// Follows deletions: the last object of a definition that is to go lets it go.
pub fn after_delete(server: &Server, kind: &Kind, object: &Object) {
    if is_definition(kind) {
        server.registry.undefine(object.name());
        return;
    }
    if !kind.is_custom() {
        return;
    }
    let name = format!("{}.{}", kind.plural, kind.group);
    if let Some(definition) = server.store.get(RESOURCE, &name) {
        let value = definition.value();
        if value["metadata"].get("deletionTimestamp").is_some() {
            end(server, &definition, value);
        }
    }
}
