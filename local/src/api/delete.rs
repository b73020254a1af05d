//! Delete: at once, or by way of grace and finalizers.

use std::sync::Arc;

use http::{Response, header};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::answer::{self, Body};
use super::call::Call;
use super::create::store_refusal;
use super::query::{self, DeleteOptions, Propagation, Query};
use super::seconds;
use super::status::{Details, Refusal, Status};
use super::update::Written;
use super::{admit, definitions, namespaces, read, resource_of, view};
use crate::kinds::Kind;
use crate::store::{self, Object};

/// A delete is tried again on the newest state so often.
const ATTEMPTS: usize = 10;

/// Answers a delete of one object.
pub fn delete(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let mut options = options(call)?;
    let kind = call.kind.clone();
    if &*kind.group == "batch"
        && &*kind.plural == "jobs"
        && options.propagation.is_none()
        && options.orphan.is_none()
    {
        // The first version of this kind orphaned its pods, and it stays so.
        options.propagation = Some(Propagation::Orphan);
        call.warnings.push("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned());
    }
    for attempt in 1.. {
        let object = call
            .server
            .store
            .get(&resource_of(&kind), &call.key())
            .ok_or_else(|| call.not_found())?;
        match delete_object(call, &object, &options) {
            Ok(deleted) => return Ok(respond(call, &object, deleted)),
            Err(refusal)
                if refusal.code == 409
                    && refusal.reason == "Conflict"
                    && options.revision.is_none()
                    && options.uid.is_none()
                    && attempt < ATTEMPTS => {}
            Err(refusal) => return Err(refusal),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Answers a delete of a collection: the list of what was there.
pub fn delete_collection(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = options(call)?;
    let objects = read::matching(call)?;
    let mut shown = Vec::with_capacity(objects.len());
    for object in objects {
        call.path.name = object.name().to_owned();
        let namespace = std::mem::replace(&mut call.path.namespace, object.namespace().to_owned());
        let result = delete_object(call, &object, &options);
        call.path.namespace = namespace;
        match result {
            Ok(Deleted::Pending(Written::Stored(object))) => shown.push(object),
            Ok(_) => shown.push(object),
            Err(refusal) if refusal.code == 404 => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let mut metadata = json!({"resourceVersion": call.server.store.revision().to_string()});
    if call.kind.is_custom() {
        metadata["continue"] = "".into();
    }
    Ok(view::list(call, shown, metadata))
}

fn options(call: &Call<'_>) -> Result<DeleteOptions, Refusal> {
    if call.body.is_empty() {
        return query::delete_options(&call.query, None);
    }
    let content_type = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let value = match content_type.split(';').next().unwrap_or_default().trim() {
        "application/vnd.kubernetes.protobuf" => {
            crate::protobuf::decode(&call.body).map_err(Status::bad_request)?
        }
        "application/yaml" => {
            super::yaml::read(&String::from_utf8_lossy(&call.body)).map_err(Status::bad_request)?.0
        }
        _ => {
            let document = crate::json::parse(&call.body);
            document
                .map_err(|error| {
                    Status::bad_request(format!(
                        "couldn't get version/kind; json parse error: {error}"
                    ))
                })?
                .value
        }
    };
    let kind = value["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = value["apiVersion"].as_str().unwrap_or("v1");
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    query::delete_options(&Query::default(), Some(&value))
}

/// What became of a deletion.
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Value),
    /// The object is marked, and goes when its finalizers and its grace are over.
    Pending(Written),
}

fn respond(call: &Call<'_>, object: &Object, deleted: Deleted) -> Response<Body> {
    let result = match deleted {
        Deleted::Pending(written) => super::update::respond(call, 200, written),
        Deleted::Gone(value) if returns_object(&call.kind) => view::value(call, 200, value),
        Deleted::Gone(_) => {
            let value = object.value();
            let uid = value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let details = Details {
                name: call.path.name.clone(),
                group: call.kind.group.to_string(),
                kind: call.kind.plural.to_string(),
                uid,
                ..Details::default()
            };
            Ok(answer::status(call.style(), &Status::success(Some(details), 0)))
        }
    };
    result.unwrap_or_else(|refusal| answer::refusal(call.style(), &refusal))
}

/// Kinds whose deletion is answered with the object.
fn returns_object(kind: &Kind) -> bool {
    matches!(
        (&*kind.group, &*kind.plural),
        (
            "",
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
                | "replicationcontrollers"
        ) | ("storage.k8s.io", _)
    )
}

/// Deletes an object, or marks it.
pub fn delete_object(
    call: &mut Call<'_>,
    object: &Arc<Object>,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let kind = call.kind.clone();
    let old = view::value_of(&kind, object);
    preconditions(&kind, &call.path.name, &old, options)?;
    admit::validate(call, "DELETE", &Value::Null, Some(&old), options.dry_run)?;
    let mut new = old.clone();
    let now = call.now;
    let finalizers = finalizers_after(&old, options);
    let grace = grace_of(&kind, &old, options);
    let marked = old["metadata"].get("deletionTimestamp").is_some();
    let remaining = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let shorter = marked && grace < remaining.unwrap_or(0);
    let holds = !finalizers.is_empty() || grace > 0 || namespaces::holds(&kind, &old);
    if !holds && (!marked || shorter || remaining.unwrap_or(0) == 0) {
        if grace == 0 && kind.has_generation && &*kind.plural == "pods" && !marked {
            new["metadata"]["generation"] =
                (old["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
        }
        if &*kind.plural == "pods" && kind.group.is_empty() {
            new["metadata"]["deletionTimestamp"] = old["metadata"]
                .get("deletionTimestamp")
                .cloned()
                .unwrap_or_else(|| seconds(now).into());
            new["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        }
        if options.dry_run {
            return Ok(Deleted::Gone(new));
        }
        if shorter {
            // Its grace ends now: watchers see that before they see it go.
            let mut stored = view::to_stored(&kind, new.clone());
            let resource = resource_of(&kind);
            let marked =
                call.server.store.update(&resource, &object.key, &mut stored, object.revision);
            let marked = marked.map_err(|error| store_refusal(&kind, &call.path.name, &error))?;
            return remove(call, &marked, new).map(Deleted::Gone);
        }
        return remove(call, object, new).map(Deleted::Gone);
    }
    if finalizers.is_empty() {
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("finalizers");
        }
    } else {
        new["metadata"]["finalizers"] = finalizers.into();
    }
    if !marked {
        let time =
            if &*kind.plural == "pods" { now + SignedDuration::from_secs(grace) } else { now };
        new["metadata"]["deletionTimestamp"] = seconds(time).into();
        if !namespaces::is_namespace(&kind) {
            new["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        }
        if let Some(generation) = old["metadata"]["generation"].as_i64() {
            new["metadata"]["generation"] = (generation + 1).into();
        }
    } else if shorter {
        let began: Option<jiff::Timestamp> =
            old["metadata"]["deletionTimestamp"].as_str().and_then(|time| time.parse().ok());
        if let (Some(end), Some(remaining)) = (began, remaining) {
            new["metadata"]["deletionTimestamp"] =
                seconds(end - SignedDuration::from_secs(remaining - grace)).into();
        }
        new["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    }
    namespaces::mark(&kind, &mut new);
    definitions::mark(&kind, &mut new, now);
    if new == old {
        return Ok(Deleted::Pending(Written::Stored(object.clone())));
    }
    if options.dry_run {
        return Ok(Deleted::Pending(Written::Value(new)));
    }
    let mut stored = view::to_stored(&kind, new);
    let key = object.key.clone();
    match call.server.store.update(&resource_of(&kind), &key, &mut stored, object.revision) {
        Ok(object) => {
            definitions::after_write(call.server, &kind, &object);
            Ok(Deleted::Pending(Written::Stored(object)))
        }
        Err(error) => Err(store_refusal(&kind, &call.path.name, &error)),
    }
}

fn preconditions(
    kind: &Kind,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Status::conflict(&kind.group, &kind.kind, name, &why));
    let (uid, revision) = (
        old["metadata"]["uid"].as_str().unwrap_or_default(),
        old["metadata"]["resourceVersion"].as_str().unwrap_or_default(),
    );
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return refuse(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        ));
    }
    if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
        return refuse(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        ));
    }
    Ok(())
}

/// The finalizers with those of the collector that the options ask for.
fn finalizers_after(old: &Value, options: &DeleteOptions) -> Vec<Value> {
    let mut finalizers = old["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let (orphan, foreground) = match (options.propagation, options.orphan) {
        (Some(Propagation::Orphan), _) | (None, Some(true)) => (Some(true), Some(false)),
        (Some(Propagation::Foreground), _) => (Some(false), Some(true)),
        (Some(Propagation::Background), _) | (None, Some(false)) => (Some(false), Some(false)),
        // Nothing is asked: what is there stays.
        (None, None) => (None, None),
    };
    for (name, wanted) in [("orphan", orphan), ("foregroundDeletion", foreground)] {
        let there = finalizers.iter().any(|finalizer| finalizer == name);
        match wanted {
            Some(true) if !there => finalizers.push(name.into()),
            Some(false) if there => finalizers.retain(|finalizer| finalizer != name),
            _ => {}
        }
    }
    finalizers
}

/// Seconds between the wish and the end: only pods on a node that have not finished take time.
fn grace_of(kind: &Kind, old: &Value, options: &DeleteOptions) -> i64 {
    if &*kind.plural != "pods" || !kind.group.is_empty() {
        return 0;
    }
    let default = old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let wanted = options.grace.unwrap_or(default);
    // A negative grace is the shortest that is one.
    let wanted = if wanted < 0 { 1 } else { wanted };
    let assigned = old["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let finished = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let wanted = if !assigned || finished { 0 } else { wanted };
    match old["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .filter(|_| old["metadata"].get("deletionTimestamp").is_some())
    {
        // A grace that runs can only be made shorter.
        Some(running) if options.grace.is_none() || wanted > running => running,
        _ => wanted,
    }
}

fn remove(call: &Call<'_>, object: &Arc<Object>, last: Value) -> Result<Value, Refusal> {
    let kind = &call.kind;
    match call.server.store.delete(&resource_of(kind), &object.key, object.revision) {
        Ok(gone) => {
            definitions::after_delete(call.server, kind, &gone);
            let mut last = last;
            last["metadata"]["resourceVersion"] = gone.revision.to_string().into();
            Ok(last)
        }
        Err(store::Error::Missing(_)) => Err(call.not_found()),
        Err(error) => Err(store_refusal(kind, &call.path.name, &error)),
    }
}

/// Whether an object that is to be written has nothing left that holds it.
pub fn is_finished(kind: &Kind, new: &Value) -> bool {
    new["metadata"].get("deletionTimestamp").is_some()
        && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !namespaces::holds(kind, new)
}

/// Removes an object whose last finalizer a write has taken away.
pub fn finish(
    call: &Call<'_>,
    old: &Arc<Object>,
    new: Value,
    dry_run: bool,
) -> Result<Written, Refusal> {
    if dry_run {
        return Ok(Written::Value(new));
    }
    let mut gone = remove(call, old, new)?;
    // What is answered is the state that was written, at the revision that it replaced.
    gone["metadata"]["resourceVersion"] = old.revision.to_string().into();
    Ok(Written::Value(gone))
}
