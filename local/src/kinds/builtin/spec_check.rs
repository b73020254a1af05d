//! What must hold for pods and pod templates.
//!
//! Pure: values in, errors out.
//! Source: Kubernetes' `pkg/apis/core/validation/validation.go`, `ValidatePodSpec`.

use serde_json::Value;

use super::{container_check, volume_check};
use crate::kinds::meta;
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{entries, flag, has, int, list, text};

/// A pod: its metadata is checked elsewhere.
pub(super) fn pod(pod: &Value) -> Vec<FieldError> {
    spec(&pod["spec"], "spec")
}

/// A pod template: the labels and annotations of its metadata, and its spec.
pub(super) fn template(template: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = meta::labels(&template["metadata"], "labels", &format!("{path}.labels"));
    for (key, _) in entries(&template["metadata"], "annotations") {
        for wrong in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(
                format!("{path}.annotations"),
                &key.as_str().into(),
                &wrong,
            ));
        }
    }
    errors.extend(spec(&template["spec"], &format!("{path}.spec")));
    errors
}

fn spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let at = |field: &str| format!("{path}.{field}");
    let mut errors = volume_check::volumes(spec, path);
    errors.extend(container_check::all(spec, path));
    one_of(&mut errors, spec, path, "restartPolicy", &["Always", "OnFailure", "Never"]);
    one_of(
        &mut errors,
        spec,
        path,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    errors.extend(meta_map(spec, "nodeSelector", &at("nodeSelector")));
    if let Some(seconds) = int(spec, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = names::in_range(1, i64::from(i32::MAX));
        errors.push(FieldError::invalid(at("activeDeadlineSeconds"), &seconds.into(), &detail));
    }
    for (field, check) in [
        ("serviceAccountName", names::subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
        ("priorityClassName", names::subdomain),
        ("runtimeClassName", names::subdomain),
    ] {
        let value = text(spec, field);
        if !value.is_empty() {
            let wrong = check(value);
            errors.extend(
                wrong.iter().map(|wrong| FieldError::invalid(at(field), &value.into(), wrong)),
            );
        }
    }
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let ip = text(alias, "ip");
        for wrong in names::ip(ip) {
            errors.push(FieldError::invalid(
                at(&format!("hostAliases[{index}].ip")),
                &ip.into(),
                &wrong,
            ));
        }
        for (name_index, name) in list(alias, "hostnames").iter().enumerate() {
            for wrong in names::subdomain(name.as_str().unwrap_or("")) {
                let field = at(&format!("hostAliases[{index}].hostnames[{name_index}]"));
                errors.push(FieldError::invalid(field, name, &wrong));
            }
        }
    }
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            errors.push(FieldError::required(at(&format!("imagePullSecrets[{index}].name")), ""));
        }
    }
    errors.extend(tolerations(spec, path));
    errors.extend(spread(spec, path));
    errors.extend(affinity(&spec["affinity"], &at("affinity")));
    errors.extend(security_context(&spec["securityContext"], &at("securityContext")));
    errors.extend(dns_config(spec, path));
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        errors.push(FieldError::invalid(
            at("shareProcessNamespace"),
            &true.into(),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    errors
}

/// A field whose value, if given, is one of a few.
pub(super) fn one_of(
    errors: &mut Vec<FieldError>,
    object: &Value,
    path: &str,
    field: &str,
    supported: &[&str],
) {
    let value = text(object, field);
    if value.is_empty() {
        errors.push(FieldError::required(format!("{path}.{field}"), ""));
    } else if !supported.contains(&value) {
        errors.push(FieldError::not_supported(format!("{path}.{field}"), &value.into(), supported));
    }
}

fn meta_map(object: &Value, field: &str, path: &str) -> Vec<FieldError> {
    meta::labels(object, field, path)
}

/// A user or group number.
pub(super) fn id(errors: &mut Vec<FieldError>, object: &Value, path: &str, field: &str) {
    if let Some(number) = int(object, field)
        && !(0..=i64::from(i32::MAX)).contains(&number)
    {
        let detail = names::in_range(0, i64::from(i32::MAX));
        errors.push(FieldError::invalid(format!("{path}.{field}"), &number.into(), &detail));
    }
}

/// A seccomp profile.
pub(super) fn seccomp(errors: &mut Vec<FieldError>, context: &Value, path: &str) {
    let profile = &context["seccompProfile"];
    if profile.is_null() {
        return;
    }
    let path = format!("{path}.seccompProfile");
    let kind = text(profile, "type");
    let file = text(profile, "localhostProfile");
    match kind {
        "" => errors.push(FieldError::required(
            format!("{path}.type"),
            "type is required when seccompProfile is set",
        )),
        "Localhost" if file.is_empty() => errors.push(FieldError::required(
            format!("{path}.localhostProfile"),
            "must be set when seccomp type is Localhost",
        )),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {
            if kind != "Localhost" && !file.is_empty() {
                errors.push(FieldError::invalid(
                    format!("{path}.localhostProfile"),
                    &file.into(),
                    "can only be set when seccomp type is Localhost",
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            format!("{path}.type"),
            &other.into(),
            &["Localhost", "RuntimeDefault", "Unconfined"],
        )),
    }
}

fn security_context(context: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&mut errors, context, path, field);
    }
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        if group.as_i64().is_some_and(|number| !(0..=i64::from(i32::MAX)).contains(&number)) {
            let detail = names::in_range(0, i64::from(i32::MAX));
            errors.push(FieldError::invalid(
                format!("{path}.supplementalGroups[{index}]"),
                group,
                &detail,
            ));
        }
    }
    seccomp(&mut errors, context, path);
    let policy = text(context, "fsGroupChangePolicy");
    if !policy.is_empty() && !["OnRootMismatch", "Always"].contains(&policy) {
        errors.push(FieldError::not_supported(
            format!("{path}.fsGroupChangePolicy"),
            &policy.into(),
            &["Always", "OnRootMismatch"],
        ));
    }
    errors
}

fn tolerations(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = format!("{path}.tolerations[{index}]");
        let (key, value, effect) =
            (text(toleration, "key"), text(toleration, "value"), text(toleration, "effect"));
        let operator = text(toleration, "operator");
        if !key.is_empty() {
            for wrong in names::qualified_name(key) {
                errors.push(FieldError::invalid(format!("{path}.key"), &key.into(), &wrong));
            }
        } else if operator != "Exists" {
            errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &operator.into(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
            errors.push(FieldError::invalid(
                format!("{path}.effect"),
                &effect.into(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "" | "Equal" => {
                for wrong in names::label_value(value) {
                    errors.push(FieldError::invalid(
                        format!("{path}.operator"),
                        &value.into(),
                        &wrong,
                    ));
                }
            }
            "Exists" if !value.is_empty() => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &value.into(),
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" => {}
            other => errors.push(FieldError::not_supported(
                format!("{path}.operator"),
                &other.into(),
                &["Equal", "Exists"],
            )),
        }
        if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            errors.push(FieldError::not_supported(
                format!("{path}.effect"),
                &effect.into(),
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            ));
        }
    }
    errors
}

fn spread(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(
                format!("{path}.maxSkew"),
                &skew.into(),
                "must be greater than zero",
            ));
        }
        if text(constraint, "topologyKey").is_empty() {
            errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
        }
        let policy = text(constraint, "whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&policy) {
            errors.push(FieldError::not_supported(
                format!("{path}.whenUnsatisfiable"),
                &policy.into(),
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
        errors.extend(meta::label_selector(
            &constraint["labelSelector"],
            &format!("{path}.labelSelector"),
        ));
    }
    errors
}

fn affinity(affinity: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let required = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if !required.is_null() {
        let path = format!("{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        if list(required, "nodeSelectorTerms").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.nodeSelectorTerms"),
                "must have at least one node selector term",
            ));
        }
        for (index, term) in list(required, "nodeSelectorTerms").iter().enumerate() {
            errors.extend(node_term(term, &format!("{path}.nodeSelectorTerms[{index}]")));
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = list(&affinity[kind], "requiredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in terms.iter().enumerate() {
            let path =
                format!("{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]");
            errors.extend(meta::label_selector(
                &term["labelSelector"],
                &format!("{path}.labelSelector"),
            ));
            if text(term, "topologyKey").is_empty() {
                errors
                    .push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
            }
        }
    }
    errors
}

fn node_term(term: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = list(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &other.into(),
                "not a valid selector operator",
            )),
        }
        let key = text(requirement, "key");
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), &key.into(), &wrong));
        }
    }
    errors
}

fn dns_config(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let config = &spec["dnsConfig"];
    let servers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        errors.push(FieldError::required(
            if config.is_null() {
                format!("{path}.dnsConfig")
            } else {
                format!("{path}.dnsConfig.nameservers")
            },
            &if config.is_null() {
                "must provide `dnsConfig` when `dnsPolicy` is None".to_owned()
            } else {
                "must provide at least one DNS nameserver when `dnsPolicy` is None".to_owned()
            },
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        for wrong in names::ip(server.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(
                format!("{path}.dnsConfig.nameservers[{index}]"),
                server,
                &wrong,
            ));
        }
    }
    errors
}
