//! What must hold for the containers of a pod.
//!
//! Pure: values in, errors out.
//! Source: Kubernetes' `pkg/apis/core/validation/validation.go`, `validateContainers`.

use serde_json::Value;

use super::{resource_check, spec_check, volume_check};
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{flag, has, int, list, text};

/// Init containers, containers and ephemeral containers.
pub(super) fn all(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volumes: Vec<&str> = list(spec, "volumes")
        .iter()
        .filter(|v| volume_check::is_one(v))
        .map(|v| text(v, "name"))
        .collect();
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let path = format!("{path}.{field}[{index}]");
            let name = text(container, "name");
            if name.is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else {
                for wrong in names::label(name) {
                    errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
                }
                if seen.contains(&name) {
                    errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
                }
                seen.push(name);
            }
            errors.extend(one(spec, container, &path, &volumes));
            let restarts = text(container, "restartPolicy") == "Always";
            if field == "initContainers" && !restarts {
                for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                    if has(container, probe) {
                        errors.push(FieldError::forbidden(
                            format!("{path}.{probe}"),
                            "may not be set for init containers without restartPolicy=Always",
                        ));
                    }
                }
                if has(container, "lifecycle") {
                    errors.push(FieldError::forbidden(
                        format!("{path}.lifecycle"),
                        "may not be set for init containers without restartPolicy=Always",
                    ));
                }
            }
        }
    }
    errors
}

fn one(spec: &Value, container: &Value, path: &str, volumes: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            &image.into(),
            "must not have leading or trailing whitespace",
        ));
    }
    spec_check::one_of(
        &mut errors,
        container,
        path,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
    );
    spec_check::one_of(
        &mut errors,
        container,
        path,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    );
    errors.extend(ports(spec, container, path));
    errors.extend(env(container, path));
    errors.extend(mounts(container, path, volumes));
    errors.extend(resource_check::requirements(
        &container["resources"],
        &format!("{path}.resources"),
    ));
    for (field, single) in
        [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)]
    {
        if has(container, field) {
            errors.extend(probe(&container[field], &format!("{path}.{field}"), single));
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if !handler.is_null() {
            errors.extend(handlers(handler, &format!("{path}.lifecycle.{hook}")));
        }
    }
    let context = &container["securityContext"];
    if !context.is_null() {
        errors.extend(security_context(context, &format!("{path}.securityContext")));
    }
    errors
}

fn ports(spec: &Value, container: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if !wrong.is_empty() {
                let named = wrong
                    .iter()
                    .map(|wrong| FieldError::invalid(format!("{path}.name"), &name.into(), wrong));
                errors.extend(named);
            } else if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            seen.push(name);
        }
        let number = int(port, "containerPort").unwrap_or(0);
        if number == 0 {
            errors.push(FieldError::required(format!("{path}.containerPort"), ""));
        } else {
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(
                    format!("{path}.containerPort"),
                    &number.into(),
                    &wrong,
                ));
            }
        }
        let host = int(port, "hostPort").unwrap_or(0);
        if host != 0 {
            for wrong in names::port_number(host) {
                errors.push(FieldError::invalid(format!("{path}.hostPort"), &host.into(), &wrong));
            }
            if flag(spec, "hostNetwork") && host != number {
                errors.push(FieldError::invalid(
                    format!("{path}.hostPort"),
                    &host.into(),
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
        spec_check::one_of(&mut errors, port, &path, "protocol", &["SCTP", "TCP", "UDP"]);
    }
    errors
}

fn env(container: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            for wrong in names::env_name(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
            }
        }
        if has(variable, "valueFrom") {
            errors.extend(value_from(variable, &format!("{path}.valueFrom")));
        }
    }
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            for wrong in names::env_name(prefix) {
                errors.push(FieldError::invalid(format!("{path}.prefix"), &prefix.into(), &wrong));
            }
        }
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|kind| has(source, kind)).collect();
        match given.as_slice() {
            [] => errors.push(FieldError::invalid(
                path,
                &"".into(),
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            [kind] => {
                let name = text(&source[*kind], "name");
                if name.is_empty() {
                    errors.push(FieldError::required(format!("{path}.{kind}.name"), ""));
                } else {
                    for wrong in names::subdomain(name) {
                        errors.push(FieldError::invalid(
                            format!("{path}.{kind}.name"),
                            &name.into(),
                            &wrong,
                        ));
                    }
                }
            }
            _ => errors.push(FieldError::invalid(
                path,
                &"".into(),
                "may not have more than one field specified at a time",
            )),
        }
    }
    errors
}

fn value_from(variable: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let from = &variable["valueFrom"];
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| has(from, kind)).collect();
    for kind in &given {
        let (source, path) = (&from[*kind], format!("{path}.{kind}"));
        match *kind {
            "fieldRef" => errors.extend(field_ref(source, &path, ENV_FIELDS)),
            "resourceFieldRef" if text(source, "resource").is_empty() => {
                errors.push(FieldError::required(format!("{path}.resource"), ""));
            }
            "configMapKeyRef" | "secretKeyRef" => {
                if text(source, "name").is_empty() {
                    errors.push(FieldError::required(format!("{path}.name"), ""));
                }
                let key = text(source, "key");
                if key.is_empty() {
                    errors.push(FieldError::required(format!("{path}.key"), ""));
                } else {
                    for wrong in names::config_key(key) {
                        errors.push(FieldError::invalid(
                            format!("{path}.key"),
                            &key.into(),
                            &wrong,
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    match given.len() {
        0 => errors.push(FieldError::invalid(
            path,
            &"".into(),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        )),
        1 if !text(variable, "value").is_empty() => {
            errors.push(FieldError::invalid(path, &"".into(), "may not be specified when `value` is not empty"));
        }
        1 => {}
        _ => errors.push(FieldError::invalid(
            path,
            &"".into(),
            "may not have more than one field specified at a time",
        )),
    }
    errors
}

/// The fields of a pod that an environment variable may name.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The fields of a pod that a volume may name.
pub(super) const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// A reference to a field of the pod.
pub(super) fn field_ref(source: &Value, path: &str, supported: &[&str]) -> Vec<FieldError> {
    let field = text(source, "fieldPath");
    let subject = format!("{path}.fieldPath");
    if text(source, "apiVersion").is_empty() {
        return vec![FieldError::required(format!("{path}.apiVersion"), "")];
    }
    if field.is_empty() {
        return vec![FieldError::required(subject, "")];
    }
    if let Some((map, key)) = field.strip_suffix("']").and_then(|field| field.split_once("['")) {
        return match map {
            "metadata.annotations" | "metadata.labels" => {
                let wrong = names::qualified_name(&key.to_lowercase());
                wrong
                    .iter()
                    .map(|wrong| FieldError::invalid(subject.clone(), &key.into(), wrong))
                    .collect()
            }
            _ => vec![FieldError::invalid(subject, &field.into(), "does not support subscript")],
        };
    }
    let known = ENV_FIELDS.contains(&field) || VOLUME_FIELDS.contains(&field);
    if !known {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        return vec![FieldError::invalid(subject, &field.into(), &detail)];
    }
    if !supported.contains(&field) {
        return vec![FieldError::not_supported(subject, &field.into(), supported)];
    }
    Vec::new()
}

fn mounts(container: &Value, path: &str, volumes: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(&name) {
            errors.push(FieldError::not_found(format!("{path}.name"), &name.into()));
        }
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        } else if seen.contains(&place) {
            errors.push(FieldError::invalid(
                format!("{path}.mountPath"),
                &place.into(),
                "must be unique",
            ));
        }
        seen.push(place);
        for field in ["subPath", "subPathExpr"] {
            let sub = text(mount, field);
            if sub.starts_with('/') {
                errors.push(FieldError::invalid(
                    format!("{path}.{field}"),
                    &sub.into(),
                    "must be a relative path",
                ));
            }
            if sub.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(
                    format!("{path}.{field}"),
                    &sub.into(),
                    "must not contain '..'",
                ));
            }
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            errors.push(FieldError::invalid(
                format!("{path}.subPathExpr"),
                &mount["subPathExpr"],
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
    }
    errors
}

fn probe(probe: &Value, path: &str, single_success: bool) -> Vec<FieldError> {
    let mut errors = handlers(probe, path);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(number) = int(probe, field)
            && number < 0
        {
            errors.push(FieldError::invalid(
                format!("{path}.{field}"),
                &number.into(),
                "must be greater than or equal to 0",
            ));
        }
    }
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds")
        && seconds <= 0
    {
        errors.push(FieldError::invalid(
            format!("{path}.terminationGracePeriodSeconds"),
            &seconds.into(),
            "must be greater than 0",
        ));
    }
    if single_success && int(probe, "successThreshold").unwrap_or(1) != 1 {
        errors.push(FieldError::invalid(
            format!("{path}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
    errors
}

/// Exactly one way to act.
fn handlers(handler: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut found = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = &handler[kind];
        if action.is_null() {
            continue;
        }
        let path = format!("{path}.{kind}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" if list(action, "command").is_empty() => {
                errors.push(FieldError::required(format!("{path}.command"), ""));
            }
            "httpGet" => {
                if text(action, "path").is_empty() {
                    errors.push(FieldError::required(format!("{path}.path"), ""));
                }
                errors.extend(port(&action["port"], &format!("{path}.port")));
                spec_check::one_of(&mut errors, action, &path, "scheme", &["HTTP", "HTTPS"]);
                for (index, header) in list(action, "httpHeaders").iter().enumerate() {
                    let name = text(header, "name");
                    for wrong in names::header_name(name) {
                        let field = format!("{path}.httpHeaders[{index}].name");
                        errors.push(FieldError::invalid(field, &name.into(), &wrong));
                    }
                }
            }
            "tcpSocket" => errors.extend(port(&action["port"], &format!("{path}.port"))),
            "grpc" => errors.extend(port(&action["port"], &format!("{path}.port"))),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

/// A port's number or name.
pub(super) fn port(value: &Value, path: &str) -> Vec<FieldError> {
    let wrong = match value {
        Value::String(name) => names::port_name(name),
        other => names::port_number(other.as_i64().unwrap_or(0)),
    };
    let shown = if value.is_null() { &Value::from(0) } else { value };
    wrong.iter().map(|wrong| FieldError::invalid(path, shown, wrong)).collect()
}

fn security_context(context: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["runAsUser", "runAsGroup"] {
        spec_check::id(&mut errors, context, path, field);
    }
    spec_check::seccomp(&mut errors, context, path);
    if let Some(mount) = context.get("procMount").and_then(Value::as_str)
        && !["Default", "Unmasked"].contains(&mount)
    {
        errors.push(FieldError::not_supported(
            format!("{path}.procMount"),
            &mount.into(),
            &["Default", "Unmasked"],
        ));
    }
    if context["allowPrivilegeEscalation"] == false {
        let added = list(&context["capabilities"], "add");
        if flag(context, "privileged") {
            errors.push(FieldError::invalid_shown(
                path,
                &shown(context),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ));
        }
        if added.iter().any(|name| name == "CAP_SYS_ADMIN") {
            errors.push(FieldError::invalid_shown(
                path,
                &shown(context),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            ));
        }
    }
    errors
}

/// The context as Kubernetes' internal type is written: Go's names in Go's order.
fn shown(context: &Value) -> String {
    let fields = [
        "capabilities",
        "privileged",
        "seLinuxOptions",
        "windowsOptions",
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "procMount",
        "seccompProfile",
        "appArmorProfile",
    ];
    let written: Vec<String> = fields
        .iter()
        .map(|field| {
            let name = match *field {
                "seLinuxOptions" => "SELinuxOptions".to_owned(),
                other => other[..1].to_uppercase() + &other[1..],
            };
            let value = context.get(field).unwrap_or(&Value::Null);
            let value = match value {
                Value::Object(parts) => {
                    let parts: Vec<String> = parts
                        .iter()
                        .map(|(key, value)| {
                            format!("\"{}{}\":{value}", key[..1].to_uppercase(), &key[1..])
                        })
                        .collect();
                    format!("{{{}}}", parts.join(","))
                }
                other => other.to_string(),
            };
            format!("\"{name}\":{value}")
        })
        .collect();
    format!("{{{}}}", written.join(","))
}
