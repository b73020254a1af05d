//! The scale subresource of built-in and custom kinds.

use http::Response;
use serde_json::{Value, json};

use super::answer::{self, Body};
use super::call::Call;
use super::query;
use super::status::{Cause, Refusal, Status};
use super::update::Written;
use super::{update, view};
use crate::apply::managed;
use crate::kinds::ScalePaths;
use crate::patch;

/// Answers get, replace and patch of a scale.
pub fn answer(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let kind = call.kind.clone();
    let paths = kind
        .subresource("scale")
        .and_then(|scale| scale.scale.clone())
        .ok_or_else(Status::no_such_resource)?;
    let old = update::current(call)?;
    let value = &*old.value;
    let scale = scale_of(value, &paths);
    if call.method == http::Method::GET || call.method == http::Method::HEAD {
        // Built-in kinds leave out a zero; what a custom one does not say is not known to be one.
        if kind.is_custom() && at(value, &paths.spec_replicas).is_none() {
            let path = dotted(&paths.spec_replicas);
            return Err(Status::internal(format!(
                "the spec replicas field {path:?} does not exist"
            )));
        }
        return Ok(answer::value(200, call.style(), &scale));
    }
    let patching = call.method == http::Method::PATCH;
    let options =
        query::write_options(&call.query, if patching { "PatchOptions" } else { "UpdateOptions" })?;
    let content_type = call
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let new = if patching {
        patched(call, scale.clone(), &content_type)?
    } else {
        call.body_value("Scale")?.0
    };
    let new = crate::schema::decode::decode(
        new,
        crate::schema::Schema::builtin(
            call.server.registry.library(),
            "io.k8s.api.autoscaling.v1.Scale",
        )
        .ok_or_else(Status::no_such_resource)?
        .root(),
    )
    .map_err(|error| {
        Status::bad_request(format!(
            "Scale in version \"v1\" cannot be handled as a Scale: {error}"
        ))
    })?
    .value;
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    if name != call.path.name {
        let text = if name.is_empty() {
            format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.path.name
            )
        } else {
            format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.path.name
            )
        };
        return Err(Status::bad_request(text));
    }
    let replicas = new["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 && kind.is_custom() {
        let path = dotted(&paths.spec_replicas);
        let cause = Cause::invalid(&path, &json!(replicas), "should be a non-negative integer");
        return Err(Status::invalid(&kind.group, &kind.kind, &call.path.name, vec![cause]));
    }
    if replicas < 0 {
        let cause =
            Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &call.path.name, vec![cause]));
    }
    let manager = call.manager(options.field_manager.as_deref());
    let mut changed = value.clone();
    set(&mut changed, &paths.spec_replicas, replicas.into());
    changed["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].clone();
    let apply = content_type.starts_with("application/apply-patch");
    if apply {
        let applier = managed::Applier {
            manager: &manager,
            subresource: "scale",
            force: options.force.unwrap_or(false),
            now: call.now,
        };
        managed::apply_field(&kind, value, &mut changed, &paths.spec_replicas, &applier)
            .map_err(|error| update::apply_refusal(call, error))?;
    }
    let own = |old: &Value, new: &mut Value, now| {
        if !apply {
            managed::on_update(&kind, Some(old), new, &manager, "scale", now);
        }
    };
    let subresource = std::mem::take(&mut call.path.subresource);
    let written = update::replace(call, &old, changed, &options, own);
    call.path.subresource = subresource;
    let written = written?;
    let value = match written {
        Written::Stored(object) => view::value_of(&kind, &object),
        Written::Value(value) => value,
    };
    Ok(answer::value(200, call.style(), &scale_of(&value, &paths)))
}

fn patched(call: &Call<'_>, mut scale: Value, content_type: &str) -> Result<Value, Refusal> {
    let media_type = content_type.split(';').next().unwrap_or_default();
    if media_type.starts_with("application/apply-patch") {
        let (value, _) =
            super::yaml::read(&String::from_utf8_lossy(&call.body)).map_err(Status::bad_request)?;
        patch::merge::merge(&mut scale, &value);
        return Ok(scale);
    }
    let body = crate::json::parse(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?
        .value;
    match media_type {
        "application/json-patch+json" => {
            patch::json::apply(&mut scale, &body).map_err(|_| Status::rejected())?
        }
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            patch::merge::merge(&mut scale, &body)
        }
        _ => {
            return Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
    }
    Ok(scale)
}

/// What is at a place of an object.
fn at<'a>(object: &'a Value, path: &[Box<str>]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(&**step))
}

/// A path as definitions write it: `.spec.replicas`.
fn dotted(path: &[Box<str>]) -> String {
    path.iter().map(|step| format!(".{step}")).collect()
}

/// The scale of an object.
pub fn scale_of(object: &Value, paths: &ScalePaths) -> Value {
    let get = |path: &[Box<str>]| at(object, path);
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": get(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0)},
    });
    if let Some(replicas) =
        get(&paths.spec_replicas).and_then(Value::as_i64).filter(|replicas| *replicas != 0)
    {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = paths.selector.as_deref().and_then(get);
    match selector {
        Some(Value::String(text)) if !text.is_empty() => {
            scale["status"]["selector"] = text.as_str().into()
        }
        Some(Value::Object(_)) => {
            if let Some(text) = selector.map(selector_text).filter(|text| !text.is_empty()) {
                scale["status"]["selector"] = text.into();
            }
        }
        _ => {}
    }
    if metadata["namespace"].is_null()
        && let Some(map) = scale["metadata"].as_object_mut()
    {
        map.remove("namespace");
    }
    scale
}

/// A label selector's object in its serialized form.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

fn set(object: &mut Value, path: &[Box<str>], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = object;
    for step in parents {
        if !at[&**step].is_object() {
            at[&**step] = json!({});
        }
        at = &mut at[&**step];
    }
    at[&**last] = value;
}
