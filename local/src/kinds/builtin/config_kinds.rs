//! ConfigMaps, Secrets, Namespaces, ServiceAccounts, quotas and ranges on their way in.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation/validation.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::resource_check;
use super::strategy::{PLAIN, Strategy};
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, each, entries, fill, has, keep, list, remove, text};
use crate::schema::quantity;

/// The most that the data of a ConfigMap or Secret may weigh.
const DATA: usize = 1024 * 1024;

pub(super) const CONFIG_MAP: Strategy =
    Strategy { validate: validate_config_map, validate_update: update_config_map, ..PLAIN };

pub(super) const SECRET: Strategy = Strategy {
    default: default_secret,
    validate: validate_secret,
    validate_update: update_secret,
    warnings: |new, old| {
        let data = |object: &Value| object["data"].clone();
        let certificate = data(new)["tls.crt"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let changed = old.is_none_or(|old| data(old) != data(new));
        let bad = certificate
            .is_some_and(|bytes| !bytes.windows(11).any(|window| window == b"-----BEGIN "));
        if text(new, "type") == "kubernetes.io/tls" && changed && bad {
            return vec!["tls: failed to find any PEM data in certificate input".to_owned()];
        }
        Vec::new()
    },
    ..PLAIN
};

pub(super) const NAMESPACE: Strategy = Strategy {
    default: |object| {
        let metadata = child(object, "metadata");
        let name = text(metadata, "name").to_owned();
        if !name.is_empty() {
            child(metadata, "labels")["kubernetes.io/metadata.name"] = name.into();
        }
    },
    prepare_create: |object| {
        object["status"] = json!({"phase": "Active"});
        let spec = child(object, "spec");
        let mut finalizers = list(spec, "finalizers").to_vec();
        if !finalizers.contains(&json!("kubernetes")) {
            finalizers.push("kubernetes".into());
        }
        spec["finalizers"] = finalizers.into();
    },
    prepare_update: |new, old| {
        let before = &old["spec"];
        keep(child(new, "spec"), before, "finalizers");
    },
    validate_status: |new, _| {
        let (phase, deleted) =
            (text(&new["status"], "phase"), has(&new["metadata"], "deletionTimestamp"));
        let wrong = match (deleted, phase) {
            (false, "Active") | (true, "Terminating") => return Vec::new(),
            (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
            (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        };
        vec![FieldError::invalid("status.Phase", &phase.into(), wrong)]
    },
    ..PLAIN
};

pub(super) const SERVICE_ACCOUNT: Strategy = Strategy {
    // Secrets are named, nothing more.
    prepare_create: |object| each(object, "secrets").for_each(only_name),
    prepare_update: |object, _| each(object, "secrets").for_each(only_name),
    ..PLAIN
};

pub(super) const LIMIT_RANGE: Strategy = Strategy {
    default: |object| {
        for limit in each(child(object, "spec"), "limits") {
            if text(limit, "type") != "Container" {
                continue;
            }
            // A maximum is the default limit, a default limit the default request, and so is a minimum.
            for (from, to) in
                [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
            {
                let found: Vec<(String, Value)> = entries(limit, from)
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                for (name, value) in found {
                    let map = child(limit, to);
                    if !has(map, &name) {
                        map[name] = value;
                    }
                }
            }
        }
    },
    validate: resource_check::limit_range,
    validate_update: |new, _| resource_check::limit_range(new),
    ..PLAIN
};

pub(super) const RESOURCE_QUOTA: Strategy = Strategy {
    validate: resource_check::quota,
    validate_update: |new, _| resource_check::quota(new),
    prepare_create: |object| object["status"] = json!({}),
    ..PLAIN
};

pub(super) const NODE: Strategy = Strategy {
    default: |object| {
        let status = child(object, "status");
        let capacity: Vec<(String, Value)> = entries(status, "capacity")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !capacity.is_empty() && !has(status, "allocatable") {
            let allocatable = child(status, "allocatable");
            for (name, value) in capacity {
                allocatable[name] = value;
            }
        }
    },
    prepare_create: |object| {
        // Nodes are born not ready; whoever watches them takes the taint away.
        let spec = child(object, "spec");
        let mut taints = list(spec, "taints").to_vec();
        let key = "node.kubernetes.io/not-ready";
        if !taints
            .iter()
            .any(|taint| text(taint, "key") == key && text(taint, "effect") == "NoSchedule")
        {
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
            spec["taints"] = taints.into();
        }
    },
    ..PLAIN
};

pub(super) const CLAIM: Strategy = Strategy {
    default: |object| fill(child(object, "spec"), "volumeMode", "Filesystem"),
    prepare_create: |object| {
        object["status"] = json!({"phase": "Pending"});
        protect(object, "kubernetes.io/pvc-protection");
    },
    validate: |object| {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        if list(spec, "accessModes").is_empty() {
            errors.push(FieldError::required(
                "spec.accessModes",
                "at least 1 access mode is required",
            ));
        }
        for mode in list(spec, "accessModes") {
            let known = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
            if !mode.as_str().is_some_and(|mode| known.contains(&mode)) {
                errors.push(FieldError::not_supported("spec.accessModes", mode, &known));
            }
        }
        let storage = &spec["resources"]["requests"]["storage"];
        match storage.as_str().map(quantity::parse) {
            None => errors.push(FieldError::required("spec.resources[storage]", "")),
            Some(Ok(amount)) if amount <= quantity::Amount::ZERO => {
                errors.push(FieldError::invalid(
                    "spec.resources[storage]",
                    storage,
                    "must be greater than zero",
                ))
            }
            Some(_) => {}
        }
        errors
    },
    validate_update: update_claim,
    ..PLAIN
};

pub(super) const VOLUME: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
    },
    prepare_create: |object| {
        object["status"] = json!({"phase": "Pending"});
        protect(object, "kubernetes.io/pv-protection");
    },
    ..PLAIN
};

/// Keeps an object until its user lets go of it.
fn protect(object: &mut Value, finalizer: &str) {
    let metadata = child(object, "metadata");
    let mut finalizers = list(metadata, "finalizers").to_vec();
    if !finalizers.contains(&json!(finalizer)) {
        finalizers.push(finalizer.into());
        metadata["finalizers"] = finalizers.into();
    }
}

/// A claim asks for the same as before; only more of it once it is bound, and what was left open may be said.
fn update_claim(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = (CLAIM.validate)(new);
    let is_bound = text(&old["status"], "phase") == "Bound";
    let (asked, mut before) = (&new["spec"], old["spec"].clone());
    // What was left open may be said once. An empty class is a choice, an empty name is none.
    let open = [
        ("volumeName", text(&before, "volumeName").is_empty()),
        ("storageClassName", !has(&before, "storageClassName")),
    ];
    for (field, _) in open.into_iter().filter(|(field, is_open)| *is_open && has(asked, field)) {
        before[field] = asked[field].clone();
    }
    if is_bound {
        if has(asked, "volumeAttributesClassName") {
            before["volumeAttributesClassName"] = asked["volumeAttributesClassName"].clone();
        }
        child(&mut before, "resources")["requests"] = asked["resources"]["requests"].clone();
        let amount = |value: &Value| value.as_str().and_then(|it| quantity::parse(it).ok());
        let requested = |spec: &Value| amount(&spec["resources"]["requests"]["storage"]);
        // Volumes that somebody made may have more than was asked for.
        let is_less = requested(asked) < requested(&old["spec"]);
        if is_less && requested(asked) < amount(&old["status"]["capacity"]["storage"]) {
            errors.push(FieldError::forbidden(
                "spec.resources.requests.storage",
                "field can not be less than status.capacity",
            ));
        }
    }
    if *asked != before {
        errors.push(FieldError::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
    errors
}

fn only_name(secret: &mut Value) {
    if let Some(fields) = secret.as_object_mut() {
        fields.retain(|key, _| key == "name");
    }
}

fn keys(object: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, _) in entries(object, field) {
        for wrong in names::config_key(key) {
            errors.push(FieldError::invalid(
                format!("{field}[{key}]"),
                &key.as_str().into(),
                &wrong,
            ));
        }
    }
    errors
}

fn validate_config_map(object: &Value) -> Vec<FieldError> {
    let mut errors = keys(object, "data");
    for (key, _) in entries(object, "data") {
        if object["binaryData"].get(key).is_some() {
            errors.push(FieldError::invalid(
                format!("data[{key}]"),
                &key.as_str().into(),
                &format!("duplicate of key present in binaryData: {key}"),
            ));
        }
    }
    errors.extend(keys(object, "binaryData"));
    let weight: usize =
        entries(object, "data").map(|(_, value)| value.as_str().map_or(0, str::len)).sum::<usize>()
            + entries(object, "binaryData").map(|(_, value)| decoded_length(value)).sum::<usize>();
    if weight > DATA {
        errors.push(FieldError::too_long("", DATA));
    }
    errors
}

fn decoded_length(value: &Value) -> usize {
    let text = value.as_str().unwrap_or("");
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count()
}

fn update_config_map(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = immutable_data(new, old, &["data", "binaryData"]);
    errors.extend(validate_config_map(new));
    errors
}

fn immutable_data(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old["immutable"] == true {
        let detail = "field is immutable when `immutable` is set";
        if new["immutable"] != true {
            errors.push(FieldError::forbidden("immutable", detail));
        }
        for field in fields {
            if new.get(field) != old.get(field) {
                errors.push(FieldError::forbidden(*field, detail));
            }
        }
    }
    errors
}

/// Text given as it is joins the encoded data and wins.
fn default_secret(object: &mut Value) {
    let plain = remove(object, "stringData");
    if let Some(plain) = plain.as_ref().and_then(Value::as_object)
        && !plain.is_empty()
    {
        let data = child(object, "data");
        for (key, value) in plain {
            data[key] = STANDARD.encode(value.as_str().unwrap_or("")).into();
        }
    }
    fill(object, "type", "Opaque");
}

fn validate_secret(object: &Value) -> Vec<FieldError> {
    let mut errors = keys(object, "data");
    let weight: usize = entries(object, "data").map(|(_, value)| decoded_length(value)).sum();
    if weight > DATA {
        errors.push(FieldError::too_long("data", DATA));
    }
    let data = &object["data"];
    let mut require = |key: &str| {
        if !has(data, key) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    };
    match text(object, "type") {
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        "kubernetes.io/basic-auth" if !has(data, "username") && !has(data, "password") => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            errors.push(FieldError::required("data[ssh-privatekey]", ""));
        }
        "kubernetes.io/dockerconfigjson" => errors.extend(is_json(data, ".dockerconfigjson")),
        "kubernetes.io/dockercfg" => errors.extend(is_json(data, ".dockercfg")),
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if object["metadata"]["annotations"][name].as_str().unwrap_or("").is_empty() {
                errors.push(FieldError::required(format!("metadata.annotations[{name}]"), ""));
            }
        }
        _ => {}
    }
    errors
}

fn is_json(data: &Value, key: &str) -> Option<FieldError> {
    let path = format!("data[{key}]");
    let Some(text) = data.get(key).and_then(Value::as_str) else {
        return Some(FieldError::required(path, ""));
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    if serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_ok() {
        return None;
    }
    let wrong = match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        None => "unexpected end of JSON input".to_owned(),
        Some(b'{') => "invalid character in JSON input".to_owned(),
        Some(other) => {
            format!("invalid character '{}' looking for beginning of value", char::from(*other))
        }
    };
    Some(FieldError::invalid(path, &"<secret contents redacted>".into(), &wrong))
}

fn update_secret(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(new, "type") != text(old, "type") {
        errors.push(super::workload::immutable("type", &new["type"]));
    }
    errors.extend(immutable_data(new, old, &["data"]));
    errors.extend(validate_secret(new));
    errors
}
