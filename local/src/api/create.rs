//! Stores new objects.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::Body;
use super::call::Call;
use super::query::{self, WriteOptions};
use super::status::{Cause, Refusal, Status};
use super::{
    admit, allocate, authorize, claims, definitions, key_of, limits, namespaces, pods, quota,
    resource_of, seconds, view,
};
use crate::apply::managed;
use crate::kinds::Kind;
use crate::kinds::meta;
use crate::kinds::problem::FieldError;
use crate::store::{self, Object};

/// Another name is tried so often when a generated one is taken, as upstream.
const NAME_ATTEMPTS: usize = 8;

/// Answers a create.
pub fn create(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = query::write_options(&call.query, "CreateOptions")?;
    let kind = call.kind.clone();
    let (value, duplicates) = call.body_value(&kind.kind)?;
    let value = call.decoded(&kind, value, duplicates, options.validation)?;
    if kind.is_custom() && !call.path.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    if &*kind.plural == "bindings" && kind.group.is_empty() {
        call.path.name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        return pods::bind_value(call, &value, options.dry_run);
    }
    let manager = call.manager(options.field_manager.as_deref());
    let object = insert(call, value, &options, |value, now| {
        managed::on_update(&kind, None, value, &manager, "", now)
    })?;
    match object {
        Inserted::Stored(object) => view::object(call, 201, &object),
        Inserted::Tried(value) => view::value(call, 201, value),
    }
}

/// What became of a new object.
pub enum Inserted {
    /// It is stored.
    Stored(std::sync::Arc<Object>),
    /// It would have been stored.
    Tried(Value),
}

/// Takes a decoded object into the store; `own` records who owns its fields.
pub fn insert(
    call: &mut Call<'_>,
    mut value: Value,
    options: &WriteOptions,
    own: impl Fn(&mut Value, Timestamp),
) -> Result<Inserted, Refusal> {
    let kind = call.kind.clone();
    let server = call.server;
    match_namespace(&kind, &mut value, &call.path.namespace)?;
    if !value["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::other(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
            None,
        ));
    }
    begin_metadata(&mut value, call.now);
    call.warnings.extend(meta::drop_repeated_owners(&mut value));
    kind.default(&mut value);
    own(&mut value, call.now);
    namespaces::check_create(server, &kind, &call.path.namespace, &name_of(&value))?;
    for attempt in 0.. {
        let mut value = value.clone();
        let generated = generate_name(&mut value);
        allocate::before_create(server, &kind, &mut value)?;
        pods::before_create(server, &kind, &mut value)?;
        limits::before_create(server, &kind, &mut value)?;
        claims::before_create(server, &kind, &mut value);
        let before = admit::admit(call, "CREATE", &mut value, None, options.dry_run)?;
        if before {
            kind.default_admitted(&mut value);
        }
        kind.prepare_create(&mut value);
        namespaces::prepare(&kind, &mut value);
        definitions::prepare_create(&kind, &mut value);
        let name = name_of(&value);
        let mut problems = Vec::new();
        if name.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Status::invalid(&kind.group, &kind.kind, "", vec![cause]));
        }
        problems.extend(causes(&kind.validate_create(&value)));
        problems.extend(definitions::validate_create(server, &kind, &value));
        problems.extend(allocate::validate(server, &kind, &value, None));
        if !problems.is_empty() {
            return Err(Status::invalid(&kind.group, &kind.kind, &name, problems));
        }
        admit::validate(call, "CREATE", &value, None, options.dry_run)?;
        authorize::check_escalation(server, &call.user, &kind, &value)?;
        quota::before_create(server, &kind, &value, options.dry_run)?;
        let key = key_of(&call.path.namespace, &name);
        let resource = resource_of(&kind);
        if attempt == 0 {
            call.warnings.extend(kind.warnings(&value, None));
        }
        if options.dry_run {
            if server.store.get(&resource, &key).is_some() {
                return Err(Status::already_exists(&kind.group, &kind.plural, &name));
            }
            return Ok(Inserted::Tried(value));
        }
        let mut stored = view::to_stored(&kind, value);
        match server.store.create(&resource, &key, &mut stored) {
            Ok(object) => {
                definitions::after_write(server, &kind, &object);
                kind.from_storage(&mut stored);
                server.recent.put(&object, stored);
                return Ok(Inserted::Stored(object));
            }
            Err(store::Error::Exists(_)) if generated && attempt + 1 < NAME_ATTEMPTS => {}
            Err(store::Error::Exists(_)) => {
                return Err(Status::already_exists(&kind.group, &kind.plural, &name));
            }
            Err(error) => return Err(store_refusal(&kind, &name, &error)),
        }
    }
    unreachable!("the loop ends by returning")
}

/// The causes of a 422.
pub fn causes(errors: &[FieldError]) -> Vec<Cause> {
    errors
        .iter()
        .map(|error| Cause {
            reason: error.reason.name().into(),
            message: error.message.clone(),
            field: if error.field.is_empty() { "<nil>".into() } else { error.field.clone() },
        })
        .collect()
}

/// What the store's refusal is to a client.
pub fn store_refusal(kind: &Kind, name: &str, error: &store::Error) -> Refusal {
    match error {
        store::Error::Exists(_) => Status::already_exists(&kind.group, &kind.plural, name),
        store::Error::Missing(_) => Status::not_found(&kind.group, &kind.plural, name),
        store::Error::Changed(_) => Status::conflict(&kind.group, &kind.plural, name, CHANGED),
        other => Status::internal(other),
    }
}

/// What a stale writer reads.
pub const CHANGED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// An object's name.
pub fn name_of(value: &Value) -> String {
    value["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Fills in the namespace of the request, or refuses another one.
pub fn match_namespace(kind: &Kind, value: &mut Value, namespace: &str) -> Result<(), Refusal> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    if kind.namespaced {
        if !given.is_empty() && given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        value["metadata"]["namespace"] = namespace.into();
    } else if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    Ok(())
}

fn begin_metadata(value: &mut Value, now: Timestamp) {
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"]
    {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), seconds(now).into());
}

/// Makes a name from `metadata.generateName` where there is none.
fn generate_name(value: &mut Value) -> bool {
    if !name_of(value).is_empty() {
        return false;
    }
    let Some(base) = value["metadata"]["generateName"].as_str().filter(|base| !base.is_empty())
    else {
        return false;
    };
    let mut base = base.to_owned();
    // 63 less the five letters that follow.
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    base.truncate(end);
    value["metadata"]["name"] = format!("{base}{}", random_letters(5)).into();
    true
}

/// Letters that make no words, as upstream.
pub fn random_letters(count: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    uuid::Uuid::new_v4()
        .as_bytes()
        .iter()
        .take(count)
        .map(|byte| LETTERS[*byte as usize % LETTERS.len()] as char)
        .collect()
}
