//! What pods and pod templates leave out, and what a new pod starts with.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/pod/strategy.go`,
//! `plugin/pkg/admission/{defaulttolerationseconds,priority}`.

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::{pod_update, pod_warnings, spec_check};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{
    child, child_if, each, entries, fill, flag, has, int, keep, list, remove, text,
};
use crate::schema::quantity;

pub(super) const POD: Strategy = Strategy {
    default: default_pod,
    prepare_create,
    prepare_update,
    prepare_status,
    validate: validate_pod,
    validate_update: pod_update::validate,
    warnings: pod_warnings::of_pod,
    ..PLAIN
};

pub(super) const POD_TEMPLATE: Strategy = Strategy {
    default: |object| {
        if let Some(template) = child_if(object, "template") {
            default_template(template);
        }
    },
    validate: |object| spec_check::template(&object["template"], "template"),
    ..PLAIN
};

/// A pod template's defaults: those of its spec.
pub(super) fn default_template(template: &mut Value) {
    child(template, "metadata");
    default_spec(child(template, "spec"));
}

fn default_pod(pod: &mut Value) {
    let spec = child(pod, "spec");
    fill(spec, "enableServiceLinks", true);
    let on_host = flag(spec, "hostNetwork");
    for field in ["containers", "initContainers"] {
        for container in each(spec, field) {
            limits_to_requests(container);
            if on_host {
                host_ports(container);
            }
        }
    }
    default_spec(spec);
}

/// What is limited but not requested is requested as much as it is limited.
fn limits_to_requests(container: &mut Value) {
    let limits: Vec<(String, Value)> = entries(&container["resources"], "limits")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if limits.is_empty() {
        return;
    }
    let requests = child(child(container, "resources"), "requests");
    for (name, limit) in limits {
        if !has(requests, &name) {
            requests[name] = limit;
        }
    }
}

fn host_ports(container: &mut Value) {
    for port in each(container, "ports") {
        if int(port, "hostPort").unwrap_or(0) == 0
            && let Some(number) = port.get("containerPort").cloned()
        {
            port["hostPort"] = number;
        }
    }
}

fn default_spec(spec: &mut Value) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    child(spec, "securityContext");
    // Two names of one field: the old one follows the new one.
    let account = [text(spec, "serviceAccountName"), text(spec, "serviceAccount")]
        .into_iter()
        .find(|name| !name.is_empty());
    if let Some(account) = account.map(str::to_owned) {
        spec["serviceAccountName"] = account.clone().into();
        spec["serviceAccount"] = account.into();
    }
    for volume in each(spec, "volumes") {
        default_volume(volume);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, field) {
            default_container(container);
        }
    }
    for constraint in each(spec, "topologySpreadConstraints") {
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.get(policy).is_some_and(Value::is_null) {
                remove(constraint, policy);
            }
        }
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    for port in each(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for env in each(container, "env") {
        if let Some(from) = child_if(env, "valueFrom") {
            default_field_ref(from);
            if let Some(resource) = child_if(from, "resourceFieldRef") {
                fill(resource, "divisor", "0");
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child_if(container, probe) {
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                if int(probe, field).unwrap_or(0) == 0 {
                    probe[field] = value.into();
                }
            }
            default_handler(probe);
            if let Some(grpc) = child_if(probe, "grpc")
                && !has(grpc, "service")
            {
                grpc["service"] = "".into();
            }
        }
    }
    if let Some(lifecycle) = child_if(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = child_if(lifecycle, hook) {
                default_handler(hook);
            }
        }
    }
}

fn default_handler(handler: &mut Value) {
    if let Some(get) = child_if(handler, "httpGet") {
        fill(get, "path", "/");
        fill(get, "scheme", "HTTP");
    }
}

fn default_field_ref(from: &mut Value) {
    if let Some(field) = child_if(from, "fieldRef") {
        fill(field, "apiVersion", "v1");
    }
}

fn default_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|fields| {
        !fields.iter().any(|(name, value)| name != "name" && !value.is_null())
    }) {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = child_if(volume, source) {
            fill(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = child_if(volume, "hostPath")
        && !has(path, "type")
    {
        path["type"] = "".into();
    }
    if let Some(api) = child_if(volume, "downwardAPI") {
        default_downward(api);
    }
    if let Some(projected) = child_if(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = child_if(source, "serviceAccountToken") {
                fill(token, "expirationSeconds", 3600);
            }
            if let Some(api) = child_if(source, "downwardAPI") {
                default_downward(api);
            }
        }
    }
}

fn default_downward(api: &mut Value) {
    for item in each(api, "items") {
        default_field_ref(item);
        if let Some(resource) = child_if(item, "resourceFieldRef") {
            fill(resource, "divisor", "0");
        }
    }
}

/// What is tagged `latest`, or not at all, is always pulled.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

fn prepare_create(pod: &mut Value) {
    let class = qos_class(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
    let spec = child(pod, "spec");
    remove(spec, "ephemeralContainers");
    not_negative(spec);
    tolerate_broken_nodes(spec);
    let priority = match text(spec, "priorityClassName") {
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        _ => 0,
    };
    fill(spec, "priority", priority);
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
}

fn prepare_update(new: &mut Value, old: &Value) {
    let spec = child(new, "spec");
    not_negative(spec);
    // Containers that help debugging come by their own subresource.
    keep(spec, &old["spec"], "ephemeralContainers");
    // Admission fills these on create; a client that leaves them out does not mean to take them away.
    for field in ["priority", "preemptionPolicy"] {
        if !has(spec, field) {
            keep(spec, &old["spec"], field);
        }
    }
    if list(spec, "tolerations").is_empty() {
        keep(spec, &old["spec"], "tolerations");
    } else {
        tolerate_broken_nodes(spec);
    }
}

fn prepare_status(new: &mut Value, old: &Value) {
    let status = child(new, "status");
    // The class is decided once.
    keep(status, &old["status"], "qosClass");
}

fn validate_pod(pod: &Value) -> Vec<FieldError> {
    spec_check::pod(pod)
}

fn not_negative(spec: &mut Value) {
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
}

/// Pods wait five minutes on a node that went away, unless they say otherwise.
fn tolerate_broken_nodes(spec: &mut Value) {
    let keys = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    let missing: Vec<&str> = keys
        .into_iter()
        .filter(|key| {
            !list(spec, "tolerations").iter().any(|toleration| {
                let same_key =
                    text(toleration, "key") == *key || text(toleration, "key").is_empty();
                same_key && matches!(text(toleration, "effect"), "" | "NoExecute")
            })
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(tolerations) = spec["tolerations"].as_array_mut() else { return };
    for key in missing {
        tolerations
            .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
    }
}

/// `Guaranteed` when all limits are given and requested, `BestEffort` when nothing is said, else `Burstable`.
///
/// Source: `pkg/apis/core/v1/helper/qos/qos.go`.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    let mut said = false;
    let mut guaranteed = true;
    for field in ["containers", "initContainers"] {
        for container in list(spec, field) {
            let resources = &container["resources"];
            for name in ["cpu", "memory"] {
                let amount = |kind: &str| {
                    let given =
                        resources[kind][name].as_str().and_then(|text| quantity::parse(text).ok());
                    given.filter(|amount| *amount > quantity::Amount::ZERO)
                };
                let (limit, request) = (amount("limits"), amount("requests"));
                said |= limit.is_some() || request.is_some();
                guaranteed &= limit.is_some() && (request.is_none() || request == limit);
            }
        }
    }
    match (said, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
