//! Replace, patch and apply.

use std::sync::Arc;

use http::{Response, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::Body;
use super::call::Call;
use super::create::{self, CHANGED, Inserted, causes, name_of, store_refusal};
use super::query::{self, WriteOptions};
use super::status::{Cause, Refusal, Status};
use super::{
    Server, admit, allocate, authorize, claims, definitions, delete, namespaces, pods, resource_of,
    view,
};
use crate::apply::{last_applied, managed};
use crate::kinds::Kind;
use crate::patch;
use crate::store::{self, Object};

/// A patch that names no revision is tried again on the newest state so often, as upstream.
const PATCH_ATTEMPTS: usize = 5;

/// Answers a replace.
pub fn update(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = query::write_options(&call.query, "UpdateOptions")?;
    let kind = call.kind.clone();
    let (value, duplicates) = call.body_value(&kind.kind)?;
    let value = call.decoded(&kind, value, duplicates, options.validation)?;
    check_name(call, &value)?;
    let manager = call.manager(options.field_manager.as_deref());
    let old = current(call)?;
    let revision = value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    if revision.is_empty() && must_name_revision(&kind) {
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            &json!(0),
            "must be specified for an update",
        );
        return Err(Status::invalid(&kind.group, &kind.plural, &call.path.name, vec![cause]));
    }
    let subresource = call.subresource().to_owned();
    let written = replace(call, &old, value, &options, |old, new, now| {
        managed::on_update(&kind, Some(old), new, &manager, &subresource, now)
    })?;
    respond(call, 200, written)
}

/// Kinds whose writers must say which state they replace.
fn must_name_revision(kind: &Kind) -> bool {
    kind.is_custom()
        || matches!(
            (&*kind.group, &*kind.plural),
            ("apiextensions.k8s.io" | "coordination.k8s.io" | "apiregistration.k8s.io", _)
                | ("policy", "poddisruptionbudgets")
        )
}

/// An object as it is stored, and as its kind's version shows it.
pub struct Current {
    pub object: Arc<Object>,
    pub value: Arc<Value>,
}

impl Current {
    /// Reads a stored object.
    pub fn of(server: &Server, kind: &Kind, object: Arc<Object>) -> Current {
        let recent = server.recent.get(object.revision, &kind.api_version());
        let value = recent.unwrap_or_else(|| Arc::new(view::value_of(kind, &object)));
        Current { object, value }
    }
}

/// The object that the path names.
pub fn current(call: &Call<'_>) -> Result<Current, Refusal> {
    let object = call.server.store.get(&resource_of(&call.kind), &call.key());
    Ok(Current::of(call.server, &call.kind, object.ok_or_else(|| call.not_found())?))
}

/// The body's name must be that of the path.
fn check_name(call: &Call<'_>, value: &Value) -> Result<(), Refusal> {
    let (name, wanted) = (name_of(value), &call.path.name);
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != *wanted {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if !namespace.is_empty() && namespace != call.path.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// What became of a write.
pub enum Written {
    /// This is stored now.
    Stored(Arc<Object>),
    /// This would have been stored, or is what was removed.
    Value(Value),
}

/// Answers with what was written.
pub fn respond(call: &Call<'_>, code: u16, written: Written) -> Result<Response<Body>, Refusal> {
    match written {
        Written::Stored(object) => view::object(call, code, &object),
        Written::Value(value) => view::value(call, code, value),
    }
}

/// Puts a decoded object in the place of a stored one; `own` records who owns its fields.
pub fn replace(
    call: &mut Call<'_>,
    current: &Current,
    mut new: Value,
    options: &WriteOptions,
    own: impl Fn(&Value, &mut Value, Timestamp),
) -> Result<Written, Refusal> {
    let kind = call.kind.clone();
    let server = call.server;
    let Current { object: old_object, value: old } = current;
    create::match_namespace(&kind, &mut new, &call.path.namespace)?;
    let (given_uid, uid) = (
        new["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        old["metadata"]["uid"].as_str().unwrap_or_default(),
    );
    let revision = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !revision.is_empty() && revision != "0" && revision.parse() != Ok(old_object.revision) {
        if revision.parse::<u64>().is_err() {
            return Err(Status::other(
                500,
                "",
                format!("strconv.ParseUint: parsing {revision:?}: invalid syntax"),
                None,
            ));
        }
        return Err(Status::conflict(&kind.group, &kind.plural, &call.path.name, CHANGED));
    }
    let subresource = call.subresource().to_owned();
    if !given_uid.is_empty() && given_uid != uid && call.method == http::Method::PUT {
        let place = super::key_of(&call.path.namespace, &call.path.name);
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given_uid}, UID in object meta: {uid}",
            kind.plural
        );
        return Err(Status::conflict(&kind.group, &kind.plural, &call.path.name, &why));
    }
    call.warnings.extend(crate::kinds::meta::drop_repeated_owners(&mut new));
    kind.default(&mut new);
    own(old, &mut new, call.now);
    keep_metadata(&mut new, old);
    if subresource.is_empty() {
        pods::before_update(&kind, &mut new, old);
        kind.prepare_update(&mut new, old);
        count_annotations(&kind, &mut new, old);
    } else if subresource == "status" {
        kind.prepare_status(&mut new, old);
    } else {
        pods::prepare_subresource(&kind, &subresource, &mut new, old);
    }
    if admit::admit(call, "UPDATE", &mut new, Some(old), options.dry_run)? {
        kind.default_admitted(&mut new);
        if subresource.is_empty() {
            kind.prepare_update(&mut new, old);
        }
    }
    allocate::before_update(server, &kind, &mut new, old)?;
    namespaces::prepare(&kind, &mut new);
    definitions::prepare_update(server, &kind, &subresource, &mut new, old);
    let errors = if subresource == "status" {
        kind.validate_status(&new, old)
    } else if !subresource.is_empty() {
        kind.validate_part(&new, old)
    } else {
        kind.validate_update(&new, old)
    };
    let mut problems = causes(&errors);
    if subresource.is_empty() {
        problems.extend(definitions::validate_update(server, &kind, &new, old));
        problems.extend(allocate::validate(server, &kind, &new, Some(old)));
    }
    if !problems.is_empty() {
        return Err(Status::invalid(&kind.group, &kind.kind, &call.path.name, problems));
    }
    if subresource.is_empty() {
        claims::before_update(server, &kind, &new, old)?;
    }
    admit::validate(call, "UPDATE", &new, Some(old), options.dry_run)?;
    authorize::check_escalation(server, &call.user, &kind, &new)?;
    if subresource.is_empty() {
        call.warnings.extend(kind.warnings(&new, Some(old)));
    }
    if delete::is_finished(&kind, &new) {
        return delete::finish(call, old_object, new, options.dry_run);
    }
    if same(old, &new) {
        return Ok(Written::Stored(old_object.clone()));
    }
    if options.dry_run {
        return Ok(Written::Value(new));
    }
    let name = call.path.name.clone();
    let mut stored = view::to_stored(&kind, new);
    match server.store.update(&resource_of(&kind), &call.key(), &mut stored, old_object.revision) {
        Ok(object) => {
            definitions::after_write(server, &kind, &object);
            kind.from_storage(&mut stored);
            server.recent.put(&object, stored);
            Ok(Written::Stored(object))
        }
        Err(error) => Err(store_refusal(&kind, &name, &error)),
    }
}

/// Whether a write would change nothing; times in managed fields do not count.
fn same(old: &Value, new: &Value) -> bool {
    fn fields_but<'a>(
        object: &'a Value,
        left_out: &'static str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        // From the end: what changes most often, a status, stands there.
        object.as_object().into_iter().flatten().rev().filter(move |(key, _)| *key != left_out)
    }
    let (before, after) = (&old["metadata"], &new["metadata"]);
    fields_but(old, "metadata").eq(fields_but(new, "metadata"))
        && fields_but(before, "managedFields").eq(fields_but(after, "managedFields"))
        && managed::same_but_times(&before["managedFields"], &after["managedFields"])
}

/// A Deployment's annotations go into its ReplicaSets, so that a change of them counts as one of its spec.
fn count_annotations(kind: &Kind, new: &mut Value, old: &Value) {
    let deployment = &*kind.group == "apps" && &*kind.plural == "deployments";
    let generation = &old["metadata"]["generation"];
    if deployment
        && new["metadata"]["generation"] == *generation
        && new["metadata"]["annotations"] != old["metadata"]["annotations"]
    {
        new["metadata"]["generation"] = (generation.as_i64().unwrap_or(0) + 1).into();
    }
}

/// What clients cannot change.
fn keep_metadata(new: &mut Value, old: &Value) {
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
    ] {
        let kept = old["metadata"].get(field).cloned();
        if let Some(metadata) = new["metadata"].as_object_mut() {
            match kept {
                Some(value) => metadata.insert(field.to_owned(), value),
                None => metadata.remove(field),
            };
        }
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if new["metadata"]["uid"].as_str().unwrap_or_default().is_empty() {
        new["metadata"]["uid"] = old["metadata"]["uid"].clone();
    }
}

/// The patches that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patch {
    Json,
    Merge,
    Strategic,
    Apply,
}

const PATCH_TYPES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

/// Answers a patch of any type.
pub fn patch(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let content_type = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let sort = match media_type.as_str() {
        "application/json-patch+json" => Patch::Json,
        "application/merge-patch+json" => Patch::Merge,
        "application/strategic-merge-patch+json" if !call.kind.is_custom() => Patch::Strategic,
        "application/apply-patch+yaml" => Patch::Apply,
        _ => return Err(unknown_patch(call)),
    };
    let options = query::write_options(&call.query, "PatchOptions")?;
    check_options(&options, sort)?;
    if sort == Patch::Apply {
        return apply(call, &options);
    }
    let (body, problems) = patch_body(call, sort)?;
    let manager = call.manager(options.field_manager.as_deref());
    let kind = call.kind.clone();
    let subresource = call.subresource().to_owned();
    for attempt in 1.. {
        let old = current(call)?;
        let mut value = (*old.value).clone();
        patched(call, sort, &mut value, &body)?;
        let names_revision = value["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|revision| revision.parse() != Ok(old.object.revision));
        let patched = Patched { sort, body: &body, problems: &problems };
        let value = decoded_patch(call, &patched, &old.value, value, &options)?;
        check_name(call, &value)?;
        let own = |old: &Value, new: &mut Value, now| {
            managed::on_update(&kind, Some(old), new, &manager, &subresource, now)
        };
        match replace(call, &old, value, &options, own) {
            Ok(written) => return respond(call, 200, written),
            Err(refusal) if refusal.code == 409 && !names_revision && attempt < PATCH_ATTEMPTS => {
                call.warnings.clear()
            }
            Err(refusal) => return Err(refusal),
        }
    }
    unreachable!("the loop ends by returning")
}

fn unknown_patch(call: &Call<'_>) -> Refusal {
    if !call.kind.is_custom() {
        return Status::other(
            415,
            "UnsupportedMediaType",
            "415: Unsupported Media Type",
            Some(super::status::Details::default()),
        );
    }
    let mut offers = vec![PATCH_TYPES[0], PATCH_TYPES[1], PATCH_TYPES[3], PATCH_TYPES[4]];
    if !call.subresource().is_empty() {
        offers.pop();
    }
    Status::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        offers.join(", ")
    ))
}

fn check_options(options: &WriteOptions, sort: Patch) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    if sort == Patch::Apply {
        if options.field_manager.is_none() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
    } else if options.force.is_some() {
        causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid_options("PatchOptions", causes)) }
}

/// A patch, and what strict decoding finds in it.
fn patch_body(call: &Call<'_>, sort: Patch) -> Result<(Value, Vec<String>), Refusal> {
    let document = crate::json::parse(&call.body).map_err(|error| match sort {
        Patch::Strategic => Status::bad_request(error),
        _ => Status::bad_request(format!("error decoding patch: {error}")),
    })?;
    if sort == Patch::Json
        && let Some(operations) = document
            .value
            .as_array()
            .filter(|operations| operations.len() > patch::json::MOST_OPERATIONS)
    {
        let most = patch::json::MOST_OPERATIONS;
        let text = format!(
            "The allowed maximum operations in a JSON patch is {most}, got {}",
            operations.len()
        );
        return Err(Status::too_large(&text));
    }
    let mut problems: Vec<String> = document.duplicates;
    if sort == Patch::Json {
        for (at, operation) in document.value.as_array().into_iter().flatten().enumerate() {
            let fields = operation.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let unknown = fields.filter(|name| !matches!(*name, "op" | "path" | "from" | "value"));
            problems
                .extend(unknown.map(|name| format!("json patch unknown field \"[{at}].{name}\"")));
        }
    }
    Ok((document.value, problems))
}

fn patched(call: &Call<'_>, sort: Patch, value: &mut Value, body: &Value) -> Result<(), Refusal> {
    match sort {
        Patch::Json => patch::json::apply(value, body).map_err(|error| match error {
            patch::json::Error::Malformed(text) => {
                Status::bad_request(format!("error decoding patch: {text}"))
            }
            patch::json::Error::Unfit => Status::rejected(),
        }),
        Patch::Merge => {
            if body.is_null() {
                return Err(Status::bad_request("Invalid JSON Patch"));
            }
            if !body.is_object() {
                return Err(Status::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                    patch::json::go_kind(body)
                )));
            }
            patch::merge::merge(value, body);
            Ok(())
        }
        _ => {
            if !body.is_object() {
                return Err(Status::bad_request(format!(
                    "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                    patch::json::go_kind(body)
                )));
            }
            patch::strategic::merge(value, body, Some(call.kind.schema().root())).map_err(|error| {
                if error == patch::strategic::BAD_RETAIN_KEYS {
                    Status::bad_request(error)
                } else {
                    Status::other(500, "", error, None)
                }
            })
        }
    }
}

/// What made a patched object.
struct Patched<'a> {
    sort: Patch,
    body: &'a Value,
    /// What strict decoding found in the patch.
    problems: &'a [String],
}

impl Patched<'_> {
    /// How upstream shows what did not fit: the patched object, or the patch itself.
    fn shown(&self, kind: &Kind, value: &Value) -> String {
        if self.sort == Patch::Strategic {
            return patch::strategic::go_text(&without_ordered(self.body));
        }
        if kind.is_custom() {
            return value.to_string();
        }
        crate::protobuf::order::go_json(
            value,
            (&kind.api_version(), &kind.kind),
            &|path| match self.sort {
                Patch::Json => {
                    let operations = self.body.as_array().into_iter().flatten();
                    path.is_empty()
                        || operations
                            .filter_map(|operation| operation["path"].as_str())
                            .any(|place| leads_to(place, path))
                }
                _ => path
                    .iter()
                    .try_fold(self.body, |value, step| value.get(step))
                    .is_some_and(Value::is_object),
            },
        )
    }

    fn refusal(&self, kind: &Kind, value: &Value, why: &str) -> Refusal {
        Status::invalid(
            "",
            "",
            "",
            vec![Cause::invalid("patch", &Value::String(self.shown(kind, value)), why)],
        )
    }
}

/// Whether a JSON pointer goes through or to a place below the top.
fn leads_to(pointer: &str, path: &[String]) -> bool {
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    steps.len() > path.len() && steps.iter().zip(path).all(|(a, b)| a == b)
}

/// A strategic patch without the lists that an order came with: they are taken out of it while it is applied.
fn without_ordered(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| {
                !key.starts_with("$setElementOrder/")
                    && !map.contains_key(&format!("$setElementOrder/{key}"))
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), without_ordered(value))).collect())
        }
        other => other.clone(),
    }
}

/// A patched object is decoded as if a client had sent it.
fn decoded_patch(
    call: &mut Call<'_>,
    patched: &Patched<'_>,
    old: &Value,
    value: Value,
    options: &WriteOptions,
) -> Result<Value, Refusal> {
    let kind = call.kind.clone();
    let name = call.path.name.clone();
    let text =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind_name) = (text(&value, "apiVersion"), text(&value, "kind"));
    let wanted = (kind.api_version(), kind.kind.to_string());
    let found = (
        api_version.unwrap_or_else(|| wanted.0.clone()),
        kind_name.unwrap_or_else(|| wanted.1.clone()),
    );
    if found != wanted {
        if kind.is_custom() {
            let (field, found, wanted) = if found.0 == wanted.0 {
                ("kind", found.1, wanted.1)
            } else {
                ("apiVersion", found.0, wanted.0)
            };
            let cause = Cause::invalid(field, &json!(found), &format!("must be {wanted}"));
            return Err(Status::invalid(&kind.group, &kind.kind, &name, vec![cause]));
        }
        let (group, version) = found.0.rsplit_once('/').unwrap_or(("", &found.0));
        let other = call.server.registry.find_kind(group, version, &found.1);
        let why = match other {
            None => format!(
                "no kind {:?} is registered for version {:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
                found.1, found.0
            ),
            Some(other) => crate::schema::decode::decode(value.clone(), other.schema().root())
                .err()
                .unwrap_or_else(|| format!("unable to convert a {} into a {}", found.1, kind.kind)),
        };
        return Err(patched.refusal(&kind, &value, &why));
    }
    let named = |mut value: Value| {
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), wanted.0.clone().into());
            map.insert("kind".into(), wanted.1.clone().into());
        }
        value
    };
    // Made again where it is needed: most patches fit.
    let refusal = |call: &Call<'_>, why: &str| {
        let mut value = old.clone();
        match self::patched(call, patched.sort, &mut value, patched.body) {
            Ok(()) => patched.refusal(&kind, &named(value), why),
            Err(refusal) => refusal,
        }
    };
    let decoded = kind.decode(named(value)).map_err(|error| {
        if kind.is_custom() {
            return Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                kind.kind, kind.version, kind.kind
            ));
        }
        let why = if patched.sort == Patch::Strategic { restored(&error) } else { error };
        refusal(call, &why)
    })?;
    let mut unknown: Vec<String> =
        decoded.unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect();
    unknown.sort();
    let problems: Vec<String> = patched.problems.iter().cloned().chain(unknown).collect();
    if options.validation == query::FieldValidation::Strict && !problems.is_empty() {
        let texts: Vec<String> =
            problems.iter().map(|problem| super::call::problem_text(problem)).collect();
        return Err(refusal(call, &format!("strict decoding error: {}", texts.join(", "))));
    }
    call.strict(&kind, problems, options.validation)?;
    Ok(decoded.value)
}

/// What upstream says when a patched value does not fit into its type.
fn restored(error: &str) -> String {
    let kinds = error
        .strip_prefix("json: cannot unmarshal ")
        .and_then(|rest| Some((rest.split(' ').next()?, rest.rsplit("of type ").next()?)));
    match kinds {
        Some((found, wanted)) if wanted.starts_with("[]") => {
            format!("cannot restore slice from {}", go_type(found))
        }
        Some((found, wanted)) if wanted.starts_with("map[") => {
            format!("cannot restore map from {}", go_type(found))
        }
        Some((found, wanted)) if wanted.contains('.') => {
            format!("cannot restore struct from: {}", go_type(found))
        }
        _ => error.to_owned(),
    }
}

fn go_type(json: &str) -> &str {
    match json {
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        other => other,
    }
}

/// Server-side apply.
fn apply(call: &mut Call<'_>, options: &WriteOptions) -> Result<Response<Body>, Refusal> {
    let kind = call.kind.clone();
    let text = String::from_utf8_lossy(&call.body).into_owned();
    let (value, duplicates) = super::yaml::read(&text)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    let config = apply_config(call, value, duplicates, options)?;
    let manager = options.field_manager.clone().unwrap_or_default();
    let subresource = call.subresource().to_owned();
    let force = options.force.unwrap_or(false);
    for attempt in 1.. {
        let Some(old_object) = call.server.store.get(&resource_of(&kind), &call.key()) else {
            return apply_new(call, config, &manager, &subresource, options);
        };
        let old = Current::of(call.server, &kind, old_object);
        check_applied_revision(call, &config, &old.value)?;
        let merged = last_applied::apply(
            &kind,
            &old.value,
            &config,
            &managed::Applier {
                manager: &manager,
                subresource: &subresource,
                force,
                now: call.now,
            },
        )
        .map_err(|error| apply_refusal(call, error))?;
        let Some(merged) = merged else { return view::object(call, 200, &old.object) };
        let fields = merged["metadata"]["managedFields"].clone();
        let merged = kind.decode(merged).map_err(Status::bad_request)?.value;
        let own = |_: &Value, new: &mut Value, _| {
            if fields.is_null() {
                if let Some(metadata) = new["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                }
            } else {
                new["metadata"]["managedFields"] = fields.clone();
            }
        };
        match replace(call, &old, merged, options, own) {
            Ok(written) => return respond(call, 200, written),
            Err(refusal)
                if refusal.code == 409
                    && refusal.reason == "Conflict"
                    && attempt < PATCH_ATTEMPTS => {}
            Err(refusal) => return Err(refusal),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Checks what is applied as far as it can be checked without the object.
fn apply_config(
    call: &mut Call<'_>,
    mut value: Value,
    duplicates: Vec<String>,
    options: &WriteOptions,
) -> Result<Value, Refusal> {
    let kind = call.kind.clone();
    if !value.is_object() {
        return Err(Status::bad_request(
            "error decoding YAML: the applied document is not an object",
        ));
    }
    let (api_version, name) = (
        value["apiVersion"].as_str().unwrap_or_default().to_owned(),
        value["kind"].as_str().unwrap_or_default().to_owned(),
    );
    if api_version.is_empty() || name.is_empty() {
        let what = if name.is_empty() { "Kind" } else { "apiVersion" };
        return Err(Status::bad_request(format!("Object '{what}' is missing in '{value}'")));
    }
    if kind.is_custom() && (name != *kind.kind || api_version != kind.api_version()) {
        return Err(Status::bad_request(format!(
            "invalid object type: {api_version}, Kind={name}"
        )));
    }
    if name != *kind.kind || api_version != kind.api_version() {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        return Err(Status::bad_request(format!(
            "incorrect version specified in apply patch. Specified patch version: {group}/{version}, expected: {}",
            kind.api_version().replacen("", if kind.group.is_empty() { "/" } else { "" }, 1)
        )))
        .inspect_err(|_| tracing::debug!(%api_version, "apply of another version"));
    }
    let given = &value["metadata"]["managedFields"];
    if given.as_array().is_some_and(|list| !list.is_empty()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("creationTimestamp");
    }
    let name = name_of(&value);
    if !name.is_empty() && name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    let decoded = kind.decode(value.clone()).map_err(|error| {
        Status::other(
            500,
            "",
            format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): {error}",
                call.path.namespace,
                call.path.name,
                kind.api_version(),
                kind.kind
            ),
            None,
        )
    })?;
    // What has no place in the schema is refused in any case.
    if let Err(error) = crate::apply::compare::fields(&value, Some(kind.schema().root())) {
        return Err(apply_refusal(call, managed::Error::Invalid(error)));
    }
    let mut problems = duplicates;
    problems.extend(decoded.unknown.into_iter().map(|path| format!("unknown field {path:?}")));
    call.strict(&kind, problems, options.validation)?;
    create::match_namespace(&kind, &mut value, &call.path.namespace)?;
    value["metadata"]["name"] = call.path.name.clone().into();
    Ok(value)
}

fn check_applied_revision(call: &Call<'_>, config: &Value, old: &Value) -> Result<(), Refusal> {
    let kind = &call.kind;
    let revision = config["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !revision.is_empty()
        && revision != old["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    {
        return Err(Status::conflict(&kind.group, &kind.plural, &call.path.name, CHANGED));
    }
    Ok(())
}

/// Apply of an object that is not there.
fn apply_new(
    call: &mut Call<'_>,
    config: Value,
    manager: &str,
    subresource: &str,
    options: &WriteOptions,
) -> Result<Response<Body>, Refusal> {
    let kind = call.kind.clone();
    if !subresource.is_empty() {
        return Err(call.not_found());
    }
    if let Some(uid) = config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&kind.group, &kind.plural, &call.path.name, &why));
    }
    let empty = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {}});
    let merged = last_applied::apply(
        &kind,
        &empty,
        &config,
        &managed::Applier { manager, subresource: "", force: false, now: call.now },
    )
    .map_err(|error| apply_refusal(call, error))?;
    let merged = merged.unwrap_or_else(|| config.clone());
    let fields = merged["metadata"]["managedFields"].clone();
    let mut decoded = kind.decode(merged).map_err(Status::bad_request)?;
    // A new object has no revision yet, whatever its applier thought.
    if let Some(metadata) = decoded.value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let inserted = create::insert(call, decoded.value, options, |value, _| {
        if !fields.is_null() {
            value["metadata"]["managedFields"] = fields.clone();
        }
    })?;
    match inserted {
        Inserted::Stored(object) => view::object(call, 201, &object),
        Inserted::Tried(value) => view::value(call, 201, value),
    }
}

/// What a failed apply is to the client.
pub fn apply_refusal(call: &Call<'_>, error: managed::Error) -> Refusal {
    let kind = &call.kind;
    match error {
        managed::Error::Conflicts(conflicts) => conflict_status(&conflicts),
        managed::Error::Invalid(text) => {
            let place = format!("/{}", call.path.name);
            let (group, version) = (&kind.group, &kind.version);
            let version =
                if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") };
            let message = format!(
                "failed to create typed patch object ({place}; {version}, Kind={}): {text}",
                kind.kind
            );
            Status::other(500, "", message, None)
        }
    }
}

/// What a conflict of apply looks like to the client.
fn conflict_status(conflicts: &[managed::Conflict]) -> Refusal {
    let causes: Vec<Cause> = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.with),
            field: conflict.field.clone(),
        })
        .collect();
    let mut managers: Vec<(String, Vec<String>)> = Vec::new();
    for conflict in conflicts {
        match managers.iter_mut().find(|(with, _)| *with == conflict.with) {
            Some((_, fields)) => fields.push(conflict.field.clone()),
            None => managers.push((conflict.with.clone(), vec![conflict.field.clone()])),
        }
    }
    managers.sort();
    let count = conflicts.len();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    let text = match managers.as_slice() {
        [(with, fields)] if fields.len() == 1 => {
            format!("Apply failed with {count} {noun}: conflict with {with}: {}", fields[0])
        }
        [(with, fields)] => format!(
            "Apply failed with {count} {noun}: conflicts with {with}:\n- {}",
            fields.join("\n- ")
        ),
        many => {
            let parts: Vec<String> = many
                .iter()
                .map(|(with, fields)| format!("conflicts with {with}:\n- {}", fields.join("\n- ")))
                .collect();
            format!("Apply failed with {count} {noun}: {}", parts.join("\n"))
        }
    };
    Status::other(
        409,
        "Conflict",
        text,
        Some(super::status::Details { causes, ..Default::default() }),
    )
}

/// Whether the store's refusal means that another writer was faster.
pub fn lost_race(error: &store::Error) -> bool {
    matches!(error, store::Error::Changed(_))
}
