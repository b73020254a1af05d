//! A container: its name, image, environment, ports and mounts.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/serving/k8s_validation.go`.

use std::collections::HashSet;

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
};
use config::{Config, features::Flag};
use serde_json::Value;

use super::{
    look::{disallowed, flag, get, has, list, number, says, text},
    probe, security,
};
use crate::image;

/// The port that requests go to.
pub struct Port {
    /// Its name, `http` where it has none.
    pub name: String,
}

/// What a container is among the others of its pod.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The only one.
    Only(&'a Port),
    /// The one of several that takes requests.
    Serving(&'a Port),
    /// One of several that takes none.
    Beside,
    /// One that runs before the others.
    Before,
}

/// Ports that the queue uses itself.
const RESERVED_PORTS: [i64; 6] = [8012, 8013, 8022, 9090, 9091, 8008];

/// Everything that is wrong with a container.
pub fn validate(
    config: &Config,
    container: &Value,
    volumes: &[Value],
    place: Place<'_>,
) -> FieldErrors {
    let mut errors = match place {
        Place::Only(port) | Place::Serving(port) => probe::validate_serving(container, port),
        Place::Beside => probe::validate_beside(config, container),
        Place::Before => not_before(container),
    };
    errors.also(disallowed(container, ALLOWED));
    let name = text(container, "name");
    if name == "queue-proxy" {
        let why = format!("{} is a reserved container name", quote(name));
        errors.push(FieldError::new(why, &["name"]));
    }
    errors.also(env(config, list(container, "env"), place).via("env"));
    errors.also(env_from(list(container, "envFrom")).via("envFrom"));
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::missing(&["image"]));
    } else if !image::is_reference(image) {
        let details = format!("image: {}, error: could not parse reference: {image}", quote(image));
        let error = FieldError::new("Failed to parse image reference", &["image"]);
        errors.push(error.with_details(details));
    }
    errors.also(ports(list(container, "ports"), place).via("ports"));
    let resources = get(container, "resources");
    let claims = resources.and_then(|resources| disallowed(resources, &["limits", "requests"]));
    errors.also(FieldErrors::from(claims).via("resources"));
    let context = get(container, "securityContext");
    errors.also(security::validate_container(config, context).via("securityContext"));
    let policy = text(container, "terminationMessagePolicy");
    if !["", "File", "FallbackToLogsOnError"].contains(&policy) {
        errors.push(FieldError::invalid_value(policy, "terminationMessagePolicy"));
    }
    errors.also(mounts(config, list(container, "volumeMounts"), volumes).via("volumeMounts"));
    errors
}

const ALLOWED: &[&str] = &[
    "name",
    "args",
    "command",
    "env",
    "workingDir",
    "envFrom",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
];

/// What a container that runs before the others cannot have.
fn not_before(container: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        if has(container, field) {
            errors.push(FieldError::new("field not allowed in an init container", &[field]));
        }
    }
    errors
}

fn env(config: &Config, variables: &[Value], place: Place<'_>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut sources = vec!["configMapKeyRef", "secretKeyRef"];
    if config.features.podspec_fieldref.is_on() {
        sources.extend(["fieldRef", "resourceFieldRef"]);
    }
    for (index, variable) in variables.iter().enumerate() {
        let name = text(variable, "name");
        let is_reserved = match name {
            "K_SERVICE" | "K_CONFIGURATION" | "K_REVISION" => true,
            // Only those that take requests are told where.
            "PORT" => matches!(place, Place::Only(_) | Place::Serving(_)),
            _ => false,
        };
        let mut wrong = FieldErrors::none();
        if name.is_empty() {
            wrong.push(FieldError::missing(&["name"]));
        } else if is_reserved {
            let why = format!("{} is a reserved environment variable", quote(name));
            wrong.push(FieldError::new(why, &["name"]));
        }
        if let Some(from) = get(variable, "valueFrom") {
            wrong.also(FieldErrors::from(disallowed(from, &sources)).via("valueFrom"));
        }
        errors.also(wrong.via_index(index));
    }
    errors
}

fn env_from(sources: &[Value]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, source) in sources.iter().enumerate() {
        let (map, secret) = (has(source, "configMapRef"), has(source, "secretRef"));
        // As upstream, which puts what it found so far under this source.
        if secret {
            errors = errors.via_index(index).via("secretRef");
        }
        if map {
            errors = errors.via_index(index).via("configMapRef");
        }
        let both = ["configMapRef", "secretRef"];
        if map && secret {
            errors.push(FieldError::multiple_one_of(&both));
        } else if !map && !secret {
            errors.push(FieldError::missing_one_of(&both));
        }
    }
    errors
}

fn ports(ports: &[Value], place: Place<'_>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if matches!(place, Place::Before) {
        for port in ports {
            errors.also(port_number(port));
        }
        return errors;
    }
    let Some(port) = ports.first() else { return errors };
    errors.also(port_number(port));
    let protocol = text(port, "protocol");
    if !["", "TCP"].contains(&protocol) {
        errors.push(FieldError::invalid_value(protocol, "protocol"));
    }
    let name = text(port, "name");
    if !["", "h2c", "http1"].contains(&name) {
        let error = FieldError::new(format!("Port name {name} is not allowed"), &[""]);
        errors.push(error.with_details("Name must be empty, or one of: 'h2c', 'http1'"));
    }
    errors
}

fn port_number(port: &Value) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed(port, &["containerPort", "name", "protocol"]));
    let number = number(port, "containerPort").unwrap_or_default();
    if RESERVED_PORTS.contains(&number) {
        let why = format!("{number} is a reserved port");
        let details = format!("{why}, please use a different value");
        errors.push(FieldError::invalid_value(why, "containerPort").with_details(details));
    }
    if !(0..=65535).contains(&number) {
        errors.push(FieldError::out_of_bounds(number, 0, 65535, "containerPort"));
    }
    errors
}

fn mounts(config: &Config, mounts: &[Value], volumes: &[Value]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut seen = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        errors.also(one_mount(config, mount, volumes, &mut seen).via_index(index));
    }
    errors
}

fn one_mount(
    config: &Config,
    mount: &Value,
    volumes: &[Value],
    seen: &mut HashSet<String>,
) -> FieldErrors {
    let mut allowed = vec!["name", "readOnly", "mountPath", "subPath"];
    if config.features.podspec_volumes_mount_propagation.is_on() {
        allowed.push("mountPropagation");
    }
    let mut errors = FieldErrors::from(disallowed(mount, &allowed));
    let name = text(mount, "name");
    // Of several volumes with a name the last counts, as in upstream's map.
    let volume = volumes.iter().rev().find(|volume| text(volume, "name") == name);
    if volume.is_none() {
        errors.push(FieldError::new("volumeMount has no matching volume", &["name"]));
    }
    let path = text(mount, "mountPath");
    let clean = clean_path(path);
    if path.is_empty() {
        errors.push(FieldError::missing(&["mountPath"]));
    } else if ["/", "/dev", "/dev/log"].contains(&clean.as_str()) {
        let why = format!("mountPath {} is a reserved path", quote(&clean));
        errors.push(FieldError::new(why, &["mountPath"]));
    } else if !path.starts_with('/') {
        errors.push(FieldError::invalid_value(path, "mountPath"));
    } else if seen.contains(&clean) {
        let why = format!("{} must be unique", quote(path));
        errors.push(FieldError::invalid_value(why, "mountPath"));
    }
    seen.insert(clean);

    let is_read_only = says(mount, "readOnly");
    let is_writable = volume.is_some_and(|volume| {
        ["emptyDir", "persistentVolumeClaim", "ephemeral"].iter().any(|kind| has(volume, kind))
    });
    if !is_writable && !is_read_only {
        let why = "volume mount should be readOnly for this type of volume";
        errors.push(FieldError::new(why, &["readOnly"]));
    }
    if let Some(propagation) = get(mount, "mountPropagation").and_then(Value::as_str) {
        if config.features.podspec_volumes_mount_propagation != Flag::Enabled {
            let why = format!(
                "Volume Mount Propagation support is disabled, but found volume mount {name} with mount \
                 propagation"
            );
            errors.push(FieldError::new(why, &[]));
        }
        if !["None", "HostToContainer"].contains(&propagation) {
            let why = "mount propagation should be set to None or HostToContainer";
            errors.push(FieldError::new(why, &["mountPropagation"]));
        }
    }
    let claim = volume.and_then(|volume| get(volume, "persistentVolumeClaim"));
    if claim.is_some_and(|claim| flag(claim, "readOnly") == Some(true)) && !is_read_only {
        let why = "volume is readOnly but volume mount is not";
        errors.push(FieldError::new(why, &["readOnly"]));
    }
    errors
}

/// The shortest path that means the same. Source: Go's `path.Clean`.
fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_string(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("/a//b/../c/", "/a/c"),
            ("/..", "/"),
            ("a/..", "."),
            ("../a", "../a"),
            ("/dev/.", "/dev"),
        ] {
            assert_eq!(clean_path(path), clean);
        }
    }

    #[test]
    fn mistakes_are_found() {
        let port = Port { name: "http".to_string() };
        let check = |container: Value, volumes: Value, wanted: &[&str]| {
            let volumes = volumes.as_array().expect("a list").clone();
            let config = Config::default();
            let errors = validate(&config, &container, &volumes, Place::Only(&port));
            let text = errors.text().unwrap_or_default();
            assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
        };
        check(
            json!({"image": "a/bc", "lifecycle": {}, "livenessProbe": {"exec": {}}}),
            json!([]),
            &["must not set the field(s): lifecycle"],
        );
        check(
            json!({"image": "a/bc", "env": [{"name": "K_SERVICE", "valueFrom": {"fieldRef": {}}}]}),
            json!([]),
            &[
                "\"K_SERVICE\" is a reserved environment variable: env[0].name",
                "must not set the field(s): env[0].valueFrom.fieldRef",
            ],
        );
        check(
            json!({"image": "a/bc", "volumeMounts": [
                {"name": "v", "mountPath": "/dev/"}, {"name": "w", "mountPath": "/x", "readOnly": true},
                {"name": "v", "mountPath": "/x/"}]}),
            json!([{"name": "v", "secret": {}}]),
            &[
                "invalid value: \"/x/\" must be unique: volumeMounts[2].mountPath",
                "mountPath \"/dev\" is a reserved path: volumeMounts[0].mountPath",
                "volume mount should be readOnly for this type of volume: volumeMounts[0].readOnly, \
                 volumeMounts[2].readOnly",
                "volumeMount has no matching volume: volumeMounts[1].name",
            ],
        );
    }
}
