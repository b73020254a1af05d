//! The part of a revision's spec that is a pod's.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/serving/{fieldmask,k8s_validation}.go`.

use std::collections::HashSet;

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
    names::dns_subdomain_errors,
};
use config::{Config, features::SecurePodDefaults};
use serde_json::Value;

use super::{
    container::{self, Place, Port},
    look::{disallowed, flag, get, list, number, text},
    security, volume,
};

/// Everything that is wrong with the pod of a revision.
pub fn validate(config: &Config, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed(spec, &allowed(config, spec)));
    errors
        .also(security::validate_pod(config, get(spec, "securityContext")).via("securityContext"));
    let containers = list(spec, "containers");
    let init_containers = list(spec, "initContainers");
    for (field, containers) in [("containers", containers), ("initContainers", init_containers)] {
        for (index, container) in containers.iter().enumerate() {
            let warnings = security::warn(config, spec, container);
            errors.also(warnings.via("securityContext").via_field_index(field, index));
        }
    }

    let mounted: HashSet<&str> = init_containers
        .iter()
        .chain(containers)
        .flat_map(|container| list(container, "volumeMounts"))
        .map(|mount| text(mount, "name"))
        .collect();
    let volumes = list(spec, "volumes");
    errors.also(volume::validate(config, volumes, &mounted).via("volumes"));
    errors.also(init(config, init_containers, containers, volumes));

    let (port, wrong) = port(containers);
    errors.also(FieldErrors::from(wrong).via("containers[*]"));
    match containers {
        [] => errors.push(FieldError::missing(&["containers"])),
        [only] => errors.also(
            container::validate(config, only, volumes, Place::Only(&port))
                .via_field_index("containers", 0),
        ),
        _ => errors.also(several(config, containers, volumes, &port)),
    }
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() {
        for why in dns_subdomain_errors(account) {
            let error = FieldError::invalid_value(account, "serviceAccountName");
            errors.push(error.with_details(why));
        }
    }
    errors
}

/// The fields that a pod may have: the common ones, and those whose flags are on.
fn allowed(config: &Config, spec: &Value) -> Vec<&'static str> {
    let features = &config.features;
    let mut allowed = vec![
        // Those of the revision itself.
        "containerConcurrency",
        "timeoutSeconds",
        "responseStartTimeoutSeconds",
        "idleTimeoutSeconds",
        // Those of the pod.
        "serviceAccountName",
        "containers",
        "volumes",
        "imagePullSecrets",
        "enableServiceLinks",
    ];
    if flag(spec, "automountServiceAccountToken") == Some(false) {
        allowed.push("automountServiceAccountToken");
    }
    for (flag, field) in [
        (features.podspec_affinity, "affinity"),
        (features.podspec_topologyspreadconstraints, "topologySpreadConstraints"),
        (features.podspec_hostaliases, "hostAliases"),
        (features.podspec_nodeselector, "nodeSelector"),
        (features.podspec_runtimeclassname, "runtimeClassName"),
        (features.podspec_tolerations, "tolerations"),
        (features.podspec_securitycontext, "securityContext"),
        (features.podspec_shareprocessnamespace, "shareProcessNamespace"),
        (features.podspec_priorityclassname, "priorityClassName"),
        (features.podspec_schedulername, "schedulerName"),
        (features.podspec_init_containers, "initContainers"),
        (features.podspec_dnspolicy, "dnsPolicy"),
        (features.podspec_dnsconfig, "dnsConfig"),
        (features.podspec_hostipc, "hostIPC"),
        (features.podspec_hostpid, "hostPID"),
        (features.podspec_hostnetwork, "hostNetwork"),
    ] {
        if flag.is_on() {
            allowed.push(field);
        }
    }
    if features.secure_pod_defaults != SecurePodDefaults::Disabled {
        allowed.push("securityContext");
    }
    allowed
}

/// The one port of all containers, and what is wrong with how often it is said.
fn port(containers: &[Value]) -> (Port, Option<FieldError>) {
    let ports = || containers.iter().flat_map(|container| list(container, "ports"));
    let last = containers.iter().rev().find_map(|container| list(container, "ports").first());
    let mut port = Port { name: "http".to_string() };
    if let Some(name) = last.map(|port| text(port, "name")).filter(|name| !name.is_empty()) {
        port.name = name.to_string();
    }
    let wrong = match ports().count() {
        0 if containers.len() > 1 => Some(FieldError::missing(&["ports"])),
        0 | 1 => None,
        _ => Some(
            FieldError::new("more than one container port is set", &["ports"])
                .with_details("Only a single port is allowed across all containers"),
        ),
    };
    (port, wrong)
}

fn several(config: &Config, containers: &[Value], volumes: &[Value], port: &Port) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if config.features.multi_container != config::features::Flag::Enabled {
        let count = containers.len();
        let why = format!("multi-container is off, but found {count} containers");
        return FieldError::new(why, &[]).into();
    }
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let name = text(container, "name");
        if !names.insert(name) {
            let why = format!("duplicate container name {}", quote(name));
            errors.push(FieldError::new(why, &["name"]));
            // As upstream, which puts what it found so far under this container.
            errors = errors.via_field_index("containers", index);
        }
        let place =
            if list(container, "ports").is_empty() { Place::Beside } else { Place::Serving(port) };
        let found = container::validate(config, container, volumes, place);
        errors.also(found.via_field_index("containers", index));
    }
    errors
}

fn init(config: &Config, containers: &[Value], others: &[Value], volumes: &[Value]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if containers.is_empty() {
        return errors;
    }
    if config.features.podspec_init_containers != config::features::Flag::Enabled {
        let count = containers.len();
        let why = format!(
            "pod spec support for init-containers is off, but found {count} init containers"
        );
        return FieldError::new(why, &[]).into();
    }
    for (index, container) in containers.iter().enumerate() {
        let name = text(container, "name");
        if others.iter().any(|other| text(other, "name") == name) {
            let why = format!("duplicate container name {}", quote(name));
            errors.push(FieldError::new(why, &["name"]));
            errors = errors.via_field_index("containers", index);
        }
        let found = container::validate(config, container, volumes, Place::Before);
        errors.also(found.via_field_index("containers", index));
    }
    errors
}

/// Whether a user or group has a number that there can be.
pub fn check_id(value: &Value, field: &str) -> Option<FieldError> {
    let id = number(value, field)?;
    let range = 0..=i64::from(i32::MAX);
    (!range.contains(&id)).then(|| FieldError::out_of_bounds(id, 0, i32::MAX, field))
}
