//! The spec of a revision, and the template that it comes from.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/serving/v1/revision_{defaults,validation}.go`.

use std::collections::{BTreeMap, HashSet};

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
    names::{child_name, dns_label_errors, dns_label_prefix_errors},
    shape::{
        diff::short_diff,
        serving::{REVISION_SPEC, REVISION_TEMPLATE},
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::{
    Seen, annotations,
    look::{get, has, list, list_mut, number, text},
    pod, probe, scaling, security,
};

/// Whether the spec is that of an object or of a template in one.
#[derive(Clone, Copy, PartialEq)]
pub enum Parent {
    None,
    /// The object whose metadata is seen; containers may be named after it.
    Holder,
}

/// Fills in the spec of a revision.
pub fn default(seen: &Seen<'_>, spec: &mut Value, parent: Parent) {
    let defaults = &seen.config.defaults;
    let timeout = match number(spec, "timeoutSeconds") {
        None | Some(0) => defaults.revision_timeout_seconds,
        Some(timeout) => timeout,
    };
    spec["timeoutSeconds"] = timeout.into();
    for (field, seconds) in [
        ("idleTimeoutSeconds", defaults.revision_idle_timeout_seconds),
        ("responseStartTimeoutSeconds", defaults.revision_response_start_timeout_seconds),
    ] {
        if !has(spec, field) && seconds != 0 && seconds < timeout {
            spec[field] = seconds.into();
        }
    }
    if !has(spec, "containerConcurrency") {
        spec["containerConcurrency"] = defaults.container_concurrency.into();
    }

    let nobody = ObjectMeta::default();
    let parent = if parent == Parent::Holder { seen.metadata } else { &nobody };
    let taken: HashSet<String> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| list(spec, field))
        .map(|container| text(container, "name").to_string())
        .collect();
    name_containers(list_mut(spec, "containers"), &taken, &defaults.container_name(parent));
    name_containers(
        list_mut(spec, "initContainers"),
        &taken,
        &defaults.init_container_name(parent),
    );

    let writable: HashSet<String> = list(spec, "volumes")
        .iter()
        .filter(|volume| {
            ["emptyDir", "persistentVolumeClaim", "ephemeral"].iter().any(|kind| has(volume, kind))
        })
        .map(|volume| text(volume, "name").to_string())
        .collect();
    let is_only = list(spec, "containers").len() == 1;
    for container in list_mut(spec, "containers") {
        default_resources(seen, container);
        probe::default(container, is_only || !list(container, "ports").is_empty());
        for mount in list_mut(container, "volumeMounts") {
            if !writable.contains(text(mount, "name")) {
                mount["readOnly"] = true.into();
            }
        }
    }
    if seen.is_new
        && !has(spec, "enableServiceLinks")
        && !list(spec, "containers").is_empty()
        && let Some(links) = defaults.enable_service_links
    {
        spec["enableServiceLinks"] = links.into();
    }
    security::default(seen.config, spec);
}

/// Names those without a name: the usual name, or that and a number where there are several.
fn name_containers(containers: &mut [Value], taken: &HashSet<String>, usual: &str) {
    let are_several = containers.len() > 1;
    let mut next = 0;
    for container in containers {
        if !text(container, "name").is_empty() {
            continue;
        }
        let mut name = usual.to_string();
        if are_several || taken.contains(&name) {
            loop {
                name = child_name(usual, &format!("-{next}"));
                next += 1;
                if !taken.contains(&name) {
                    break;
                }
            }
        }
        container["name"] = name.into();
    }
}

/// Resources that are configured and that the container does not name.
fn default_resources(seen: &Seen<'_>, container: &mut Value) {
    let configured = seen.config.defaults.resources();
    for (field, configured) in [("requests", configured.requests), ("limits", configured.limits)] {
        for (resource, quantity) in configured.unwrap_or_default() {
            let resources = &mut container["resources"];
            if !resources[field].is_object() {
                resources[field] = Value::Object(Map::new());
            }
            if resources[field].get(&resource).is_none() {
                resources[field][&resource] = json!(quantity.0);
            }
        }
    }
}

/// Everything that is wrong with a template.
pub fn validate_template(seen: &Seen<'_>, template: &Value) -> FieldErrors {
    let mut errors = validate(seen, &template["spec"]).via("spec");
    let metadata = &template["metadata"];
    let given: BTreeMap<String, String> = get(metadata, "annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
        .collect();
    let mut wrong = scaling::check(&given, &seen.config.autoscaler);
    wrong.also(annotations::networking(&given));
    wrong.also(annotations::queue_resources(&given));
    wrong.also(annotations::progress_deadline(&given));
    errors.also(wrong.via("metadata.annotations"));
    errors.also(name(seen, text(metadata, "name"), text(metadata, "generateName")));
    errors
}

/// Everything that is wrong with the spec of a revision.
pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = pod::validate(seen.config, spec);
    let most = seen.config.defaults.max_revision_timeout_seconds;
    if let Some(timeout) = number(spec, "timeoutSeconds")
        && timeout != 0
        && (timeout < 0 || timeout > most)
    {
        errors.push(FieldError::out_of_bounds(timeout, 0, most, "timeoutSeconds"));
    }
    if let Some(concurrency) = number(spec, "containerConcurrency") {
        errors.also(check_concurrency(seen, concurrency));
    }
    errors
}

/// A limit of concurrency must be in the configured bounds.
pub fn check_concurrency(seen: &Seen<'_>, concurrency: i64) -> Option<FieldError> {
    let defaults = &seen.config.defaults;
    let least = i64::from(!defaults.allow_container_concurrency_zero);
    let most = defaults.container_concurrency_max_limit;
    (!(least..=most).contains(&concurrency))
        .then(|| FieldError::out_of_bounds(concurrency, least, most, "containerConcurrency"))
}

/// The name of a revision begins with its holder's.
fn name(seen: &Seen<'_>, name: &str, prefix: &str) -> Option<FieldError> {
    if !prefix.is_empty() {
        let wrong = dns_label_prefix_errors(prefix);
        if !wrong.is_empty() {
            let why = format!("not a DNS 1035 label prefix: [{}]", wrong.join(" "));
            return Some(FieldError::invalid_value(why, "metadata.generateName"));
        }
    }
    if name.is_empty() {
        return None;
    }
    let wrong = dns_label_errors(name);
    if !wrong.is_empty() {
        let why = format!("not a DNS 1035 label: [{}]", wrong.join(" "));
        return Some(FieldError::invalid_value(why, "metadata.name"));
    }
    let holder = seen.metadata.name.as_deref().unwrap_or_default();
    if holder.is_empty() && seen.metadata.generate_name.as_deref().is_some_and(|n| !n.is_empty()) {
        return Some(FieldError::disallowed(&["metadata.name"]));
    }
    let wanted = format!("{holder}-");
    (!name.starts_with(&wanted)).then(|| {
        let why = format!("{} must have prefix {}", quote(name), quote(&wanted));
        FieldError::invalid_value(why, "metadata.name")
    })
}

/// A template that keeps its name must stay the same.
pub fn name_change(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let Some((_, old)) = seen.old else { return FieldErrors::none() };
    let (old, new) = (&old["template"], &spec["template"]);
    let name = text(&new["metadata"], "name");
    if name.is_empty() || name != text(&old["metadata"], "name") {
        return FieldErrors::none();
    }
    let changes = short_diff("*v1.RevisionTemplateSpec", &REVISION_TEMPLATE, old, new);
    if changes.is_empty() {
        return FieldErrors::none();
    }
    FieldError::new(
        "Saw the following changes without a name change (-old +new)",
        &["metadata.name"],
    )
    .with_details(changes)
    .into()
}

/// A revision must stay the same.
pub fn changed(old: &Value, new: &Value) -> Option<FieldError> {
    let changes = short_diff("v1.RevisionSpec", &REVISION_SPEC, old, new);
    (!changes.is_empty()).then(|| {
        FieldError::new("Immutable fields changed (-old +new)", &["spec"]).with_details(changes)
    })
}
