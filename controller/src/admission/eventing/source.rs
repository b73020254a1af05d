//! What the sources may say: PingSource, ApiServerSource, ContainerSource and SinkBinding.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/sources/v1`, knative.dev/pkg `apis/duck/v1/source_types.go`,
//! `tracker/interface.go`.

use api::{
    cron::{Schedule, Wrong},
    field_error::{FieldError, FieldErrors},
    go::decode,
    names::{dns_1123_label_errors, identifier_errors, qualified_name_errors},
};
use base64::{DecodeError, Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    Annotations, Seen,
    destination::{Namespaces, destination, fill},
    filters,
};
use crate::admission::look::{get, list, list_mut, text};

/// What every source must have right.
fn source(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = destination(&spec["sink"], Namespaces::Any, seen.config).via("sink");
    let extensions = spec.pointer("/ceOverrides/extensions").and_then(Value::as_object);
    for name in extensions.into_iter().flatten().map(|(name, _)| name) {
        let why = if name.is_empty() {
            "keys MUST NOT be empty"
        } else if !name.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
            "keys are expected to be alphanumeric"
        } else {
            continue;
        };
        // Upstream tells one of them.
        let error = FieldError::invalid_key(name, "").with_details(why);
        errors.push(error.via("extensions").via("ceOverrides"));
        break;
    }
    errors
}

pub fn default_ping(_: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    if text(spec, "schedule").is_empty() {
        spec["schedule"] = "* * * * *".into();
    }
}

pub fn validate_ping(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = source(seen, spec);
    match Schedule::parse(text(spec, "schedule"), text(spec, "timezone")) {
        Ok(_) => {}
        Err(Wrong::Schedule(why)) => errors.push(FieldError::invalid_value(why, "schedule")),
        Err(Wrong::Zone(why)) => errors.push(FieldError::invalid_value(why, "timezone")),
    }
    let (data, encoded) = (text(spec, "data"), text(spec, "dataBase64"));
    let is_json = text(spec, "contentType") == "application/json";
    let most = seen.config.eventing.ping.data_max_size;
    let too_long = |value: &str, field: &str| {
        let length = value.len();
        let most = most.filter(|most| usize::try_from(*most).is_ok_and(|most| most < length))?;
        let why = format!("the {field} length of {length} bytes exceeds limit set at {most}.");
        Some(FieldError::invalid_value(why, field))
    };
    let not_an_object = |text: &str, field: &str| {
        let why = object(text).err()?;
        is_json.then(|| FieldError::invalid_value(why, field))
    };
    if !data.is_empty() && !encoded.is_empty() {
        errors.push(FieldError::multiple_one_of(&["data", "dataBase64"]));
    } else if !encoded.is_empty() {
        errors.also(too_long(encoded, "dataBase64"));
        match from_base64(encoded) {
            Err(at) => {
                let why = format!("illegal base64 data at input byte {at}");
                errors.push(FieldError::invalid_value(why, "dataBase64"));
            }
            Ok(bytes) => errors.also(not_an_object(&String::from_utf8_lossy(&bytes), "dataBase64")),
        }
    } else if !data.is_empty() {
        errors.also(too_long(data, "data"));
        errors.also(not_an_object(data, "data"));
    }
    errors.via("spec")
}

/// Why a text is no JSON object, in Go's words.
fn object(text: &str) -> Result<(), String> {
    let what = match decode::value(text)? {
        Value::Object(_) | Value::Null => return Ok(()),
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"))
}

/// Data out of base64; the error is the place that is wrong.
fn from_base64(text: &str) -> Result<Vec<u8>, usize> {
    let text: String = text.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    BASE64_STANDARD.decode(&text).map_err(|why| match why {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
        // Go points at the four letters that are not complete.
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            text.len().saturating_sub(1) / 4 * 4
        }
    })
}

pub fn default_api_server(_: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    for (field, value) in [("mode", "Reference"), ("serviceAccountName", "default")] {
        if text(spec, field).is_empty() {
            spec[field] = value.into();
        }
    }
}

pub fn validate_api_server(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = source(seen, spec);
    let mode = text(spec, "mode");
    if !matches!(mode, "Reference" | "Resource") {
        errors.push(FieldError::invalid_value(mode, "mode"));
    }
    let resources = list(spec, "resources");
    if resources.is_empty() {
        errors.push(FieldError::missing(&["resources"]));
    }
    for (index, resource) in resources.iter().enumerate() {
        errors.also(version_and_kind(resource).via_field_index("resources", index));
    }
    if let Some(owner) = get(spec, "owner") {
        errors.also(version_and_kind(owner).via("owner"));
    }
    let its_filters = list(spec, "filters");
    if seen.config.eventing.features.api_server_source_filters {
        errors.also(filters::validate(its_filters).via("filters"));
    } else if !its_filters.is_empty() {
        let why = "Filters is not empty but the NewAPIServerFilters feature is disabled.";
        errors.push(FieldError::new(why, &[]));
    }
    errors.via("spec")
}

fn version_and_kind(value: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let version = text(value, "apiVersion");
    if version.matches('/').count() > 1 {
        errors.push(FieldError::invalid_value(version, "apiVersion"));
    }
    if text(value, "kind").trim().is_empty() {
        errors.push(FieldError::missing(&["kind"]));
    }
    errors
}

pub fn default_container(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    let name = seen.metadata.name.as_deref().unwrap_or_default();
    let Some(pod) = spec.pointer_mut("/template/spec") else { return };
    if get(pod, "containers").is_none() {
        pod["containers"] = Value::Array(Vec::new());
    }
    for (index, container) in list_mut(pod, "containers").iter_mut().enumerate() {
        if text(container, "name").is_empty() {
            container["name"] = format!("{name}-{index}").into();
        }
    }
}

pub fn validate_container(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = source(seen, spec);
    let containers = spec.pointer("/template/spec").map_or(&[][..], |pod| list(pod, "containers"));
    if containers.is_empty() {
        errors.push(FieldError::missing(&["containers"]));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if text(container, field).is_empty() {
                let error = FieldError::missing(&[field]);
                errors.push(error.via_index(index).via("containers"));
            }
        }
    }
    errors.via("spec")
}

pub fn default_binding(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    if text(&spec["subject"], "namespace").is_empty() && !seen.namespace.is_empty() {
        spec["subject"]["namespace"] = seen.namespace.into();
    }
    fill(spec, "sink", seen.namespace);
}

pub fn validate_binding(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let subject = &spec["subject"];
    let mut errors = source(seen, spec);
    errors.also(validate_subject(subject).via("subject"));
    let mut errors = errors.via("spec");
    let namespace = text(subject, "namespace");
    if !namespace.is_empty() && namespace != seen.namespace {
        errors.push(FieldError::invalid_value(namespace, "spec.subject.namespace"));
    }
    errors
}

fn validate_subject(subject: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let checks = [
        ("apiVersion", qualified_name_errors as fn(&str) -> Vec<String>),
        ("kind", identifier_errors),
        ("namespace", dns_1123_label_errors),
    ];
    let check = |field: &str, wrong: fn(&str) -> Vec<String>| {
        let wrong = wrong(text(subject, field));
        (!wrong.is_empty()).then(|| FieldError::invalid_value(wrong.join(", "), field))
    };
    for (field, wrong) in checks {
        if text(subject, field).is_empty() {
            errors.push(FieldError::missing(&[field]));
        } else {
            errors.also(check(field, wrong));
        }
    }
    match (get(subject, "selector"), text(subject, "name")) {
        (Some(_), name) if !name.is_empty() => {
            errors.push(FieldError::multiple_one_of(&["selector", "name"]));
        }
        (Some(selector), _) => errors.also(validate_selector(selector)),
        (None, "") => errors.push(FieldError::missing_one_of(&["selector", "name"])),
        (None, _) => errors.also(check("name", dns_1123_label_errors)),
    }
    errors
}

/// Source: kubernetes/apimachinery `meta/v1/helpers.go`, `LabelSelectorAsSelector`.
fn validate_selector(selector: &Value) -> Option<FieldError> {
    let operators = ["In", "NotIn", "Exists", "DoesNotExist"];
    let wrong = list(selector, "matchExpressions")
        .iter()
        .map(|requirement| text(requirement, "operator"))
        .find(|operator| !operators.contains(operator))?;
    let why = format!("{} is not a valid label selector operator", api::go::quote(wrong));
    Some(FieldError::invalid_value(why, "selector"))
}
