//! Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers on their way in.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/apps/v1/defaults.go`, `pkg/apis/apps/validation/validation.go`.

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::{pod, pod_warnings, spec_check};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, each, entries, fill, has, int, keep, list, text};
use crate::kinds::{meta, names};

pub(super) const DEPLOYMENT: Strategy = Strategy {
    default: default_deployment,
    prepare_status: |new, old| keep(child(new, "metadata"), &old["metadata"], "labels"),
    validate: validate_deployment,
    validate_update: |new, old| with_selector(validate_deployment(new), new, old),
    validate_status: deployment_status,
    warnings: pod_warnings::of_template,
    ..PLAIN
};

pub(super) const REPLICA_SET: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        fill(spec, "replicas", 1);
        pod::default_template(child(spec, "template"));
    },
    prepare_create: |object| object["status"] = json!({"replicas": 0}),
    validate: validate_replica_set,
    validate_update: |new, old| with_selector(validate_replica_set(new), new, old),
    validate_status: replica_status,
    warnings: pod_warnings::of_template,
    ..PLAIN
};

pub(super) const REPLICATION_CONTROLLER: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        fill(spec, "replicas", 1);
        let template = child(spec, "template");
        pod::default_template(template);
        let labels = template["metadata"]["labels"].clone();
        if !has(spec, "selector") && labels.is_object() {
            spec["selector"] = labels.clone();
        }
        if !has(child(object, "metadata"), "labels") && labels.is_object() {
            object["metadata"]["labels"] = labels;
        }
    },
    prepare_create: |object| object["status"] = json!({"replicas": 0}),
    validate: |object| {
        let spec = &object["spec"];
        let mut errors = counts(spec, "spec", &["replicas", "minReadySeconds"]);
        if entries(spec, "selector").next().is_none() {
            errors.push(FieldError::required("spec.selector", ""));
        }
        errors.extend(template(spec));
        errors
    },
    warnings: pod_warnings::of_template,
    ..PLAIN
};

pub(super) const STATEFUL_SET: Strategy = Strategy {
    default: default_stateful_set,
    prepare_create: |object| object["status"] = json!({"replicas": 0, "availableReplicas": 0}),
    validate: validate_stateful_set,
    validate_update: stateful_update,
    validate_status: replica_status,
    warnings: pod_warnings::of_template,
    ..PLAIN
};

pub(super) const DAEMON_SET: Strategy = Strategy {
    default: default_daemon_set,
    prepare_create: |object| {
        object["status"] = json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        });
        child(child(object, "metadata"), "annotations")["deprecated.daemonset.template.generation"] =
            "1".into();
    },
    prepare_update: |new, old| {
        let name = "deprecated.daemonset.template.generation";
        let was = old["metadata"]["annotations"][name]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or(1);
        let changed = new["spec"]["template"] != old["spec"]["template"];
        let now = was + i64::from(changed);
        child(child(new, "metadata"), "annotations")[name] = now.to_string().into();
    },
    validate: validate_daemon_set,
    validate_update: |new, old| with_selector(validate_daemon_set(new), new, old),
    warnings: pod_warnings::of_template,
    ..PLAIN
};

fn default_deployment(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    let strategy = child(spec, "strategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
    pod::default_template(child(spec, "template"));
}

fn default_stateful_set(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        fill(child(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    fill(retention, "whenDeleted", "Retain");
    fill(retention, "whenScaled", "Retain");
    for claim in each(spec, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1");
        fill(claim, "kind", "PersistentVolumeClaim");
        fill(child(claim, "spec"), "volumeMode", "Filesystem");
        fill(child(claim, "status"), "phase", "Pending");
    }
    pod::default_template(child(spec, "template"));
}

fn default_daemon_set(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "revisionHistoryLimit", 10);
    let strategy = child(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
    pod::default_template(child(spec, "template"));
}

fn validate_deployment(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = counts(spec, "spec", &["replicas"]);
    errors.extend(selector(spec, "deployment"));
    errors.extend(template(spec));
    errors.extend(always_restarts(spec));
    let strategy = &spec["strategy"];
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "RollingUpdate" if rolling.is_null() => {
            errors.push(FieldError::required("spec.strategy.rollingUpdate", ""));
        }
        "RollingUpdate" => errors.extend(rolling_update(rolling, "spec.strategy.rollingUpdate")),
        "Recreate" if !rolling.is_null() => errors.push(FieldError::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        "Recreate" => {}
        other => {
            let shown = format!("{{\"Type\":\"{other}\",\"RollingUpdate\":null}}");
            let mut error = FieldError::not_supported(
                "spec.strategy",
                &"".into(),
                &["Recreate", "RollingUpdate"],
            );
            error.message = error.message.replacen("\"\"", &shown, 1);
            errors.push(error);
        }
    }
    errors.extend(counts(spec, "spec", &["minReadySeconds", "revisionHistoryLimit"]));
    if let Some(deadline) = int(spec, "progressDeadlineSeconds") {
        errors.extend(counts(spec, "spec", &["progressDeadlineSeconds"]));
        if deadline <= int(spec, "minReadySeconds").unwrap_or(0) {
            errors.push(FieldError::invalid(
                "spec.progressDeadlineSeconds",
                &deadline.into(),
                "must be greater than minReadySeconds",
            ));
        }
    }
    errors
}

fn validate_replica_set(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = counts(spec, "spec", &["replicas", "minReadySeconds"]);
    errors.extend(selector(spec, "replicaset"));
    errors.extend(template(spec));
    errors.extend(always_restarts(spec));
    errors
}

fn validate_stateful_set(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let policy = text(spec, "podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let detail = "must be 'OrderedReady' or 'Parallel'".to_owned();
        errors.push(FieldError::invalid("spec.podManagementPolicy", &policy.into(), &detail));
    }
    match text(&spec["updateStrategy"], "type") {
        "RollingUpdate" | "OnDelete" => {}
        "" => errors.push(FieldError::required("spec.updateStrategy", "")),
        other => errors.push(FieldError::invalid(
            "spec.updateStrategy",
            &json!({"type": other}),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
    errors.extend(counts(spec, "spec", &["replicas", "minReadySeconds"]));
    errors.extend(selector(spec, "statefulset"));
    errors.extend(template(spec));
    errors.extend(always_restarts(spec));
    errors
}

fn validate_daemon_set(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = selector(spec, "daemonset");
    errors.extend(template(spec));
    errors.extend(always_restarts(spec));
    errors.extend(counts(spec, "spec", &["minReadySeconds", "revisionHistoryLimit"]));
    let strategy = &spec["updateStrategy"];
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = &strategy["rollingUpdate"];
            let path = "spec.updateStrategy.rollingUpdate";
            for field in ["maxUnavailable", "maxSurge"] {
                errors.extend(int_or_percent(rolling, path, field));
            }
            if is_zero(rolling, "maxUnavailable") && is_zero(rolling, "maxSurge") {
                errors.push(FieldError::required(
                    format!("{path}.maxUnavailable"),
                    "cannot be 0 when maxSurge is 0",
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            "spec.updateStrategy.type",
            &other.into(),
            &["RollingUpdate", "OnDelete"],
        )),
    }
    errors
}

fn stateful_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate_stateful_set(new);
    let mut munged = new["spec"].clone();
    for field in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ] {
        keep(&mut munged, &old["spec"], field);
    }
    if munged != old["spec"] {
        errors.push(FieldError::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
    }
    errors
}

/// The selector may not change.
fn with_selector(mut errors: Vec<FieldError>, new: &Value, old: &Value) -> Vec<FieldError> {
    if new["spec"]["selector"] != old["spec"]["selector"] {
        errors.push(immutable("spec.selector", &new["spec"]["selector"]));
    }
    errors
}

/// A field that may not change.
pub(super) fn immutable(path: &str, value: &Value) -> FieldError {
    FieldError::invalid(path, value, "field is immutable")
}

/// A selector that is there, is not empty, and picks the pods of the template.
pub(super) fn selector(spec: &Value, kind: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = &spec["selector"];
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else {
        let wrong = meta::label_selector(selector, "spec.selector");
        if !wrong.is_empty() {
            errors.extend(wrong);
            errors.push(FieldError::invalid("spec.selector", selector, "invalid label selector"));
            return errors;
        }
        let empty = entries(selector, "matchLabels").next().is_none()
            && list(selector, "matchExpressions").is_empty();
        if empty {
            let detail = format!("empty selector is invalid for {kind}");
            errors.push(FieldError::invalid("spec.selector", selector, &detail));
            return errors;
        }
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if errors.iter().all(|error| error.field == "spec.selector") && !selects(selector, labels) {
        let shown = if labels.is_null() { &Value::Null } else { labels };
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            shown,
            "`selector` does not match template `labels`",
        ));
    }
    errors
}

/// Whether a label selector picks an object with those labels. Nothing selects nothing.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    entries(selector, "matchLabels").all(|(key, value)| labels.get(key) == Some(value))
        && list(selector, "matchExpressions").iter().all(|requirement| {
            let value = labels.get(text(requirement, "key"));
            let listed = value.is_some_and(|value| list(requirement, "values").contains(value));
            match text(requirement, "operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

pub(super) fn template(spec: &Value) -> Vec<FieldError> {
    spec_check::template(&spec["template"], "spec.template")
}

fn always_restarts(spec: &Value) -> Vec<FieldError> {
    let template = &spec["template"]["spec"];
    let policy = text(template, "restartPolicy");
    let mut errors = Vec::new();
    if policy != "Always" && !policy.is_empty() {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            &policy.into(),
            &["Always"],
        ));
    }
    if has(template, "activeDeadlineSeconds") {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in the pod template is not supported for this workload",
        ));
    }
    errors
}

/// Numbers that must be zero or more.
pub(super) fn counts(object: &Value, path: &str, fields: &[&str]) -> Vec<FieldError> {
    let negative =
        fields.iter().filter_map(|field| int(object, field).filter(|n| *n < 0).map(|n| (field, n)));
    negative
        .map(|(field, number)| {
            FieldError::invalid(
                format!("{path}.{field}"),
                &number.into(),
                "must be greater than or equal to 0",
            )
        })
        .collect()
}

fn rolling_update(rolling: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = int_or_percent(rolling, path, "maxUnavailable");
    errors.extend(int_or_percent(rolling, path, "maxSurge"));
    if is_zero(rolling, "maxUnavailable") && is_zero(rolling, "maxSurge") {
        errors.push(FieldError::invalid(
            format!("{path}.maxUnavailable"),
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    let percent = rolling["maxUnavailable"].as_str().and_then(|text| text.strip_suffix('%'));
    if percent.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(
            format!("{path}.maxUnavailable"),
            &rolling["maxUnavailable"],
            "must not be greater than 100%",
        ));
    }
    errors
}

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(object: &Value, path: &str, field: &str) -> Vec<FieldError> {
    let path = format!("{path}.{field}");
    match &object[field] {
        value @ Value::String(text) => names::percent(text)
            .iter()
            .map(|wrong| FieldError::invalid(path.clone(), value, wrong))
            .collect(),
        value if value.as_i64().is_some_and(|number| number < 0) => {
            vec![FieldError::invalid(path, value, "must be greater than or equal to 0")]
        }
        _ => Vec::new(),
    }
}

fn is_zero(object: &Value, field: &str) -> bool {
    match &object[field] {
        Value::String(text) => text.trim_end_matches('%').parse::<u64>() == Ok(0),
        other => other.as_i64() == Some(0),
    }
}

fn deployment_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let status = &new["status"];
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    let mut errors = counts(status, "status", &fields);
    let number = |field: &str| int(status, field).unwrap_or(0);
    for field in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        if number(field) > number("replicas") {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(
                format!("status.{field}"),
                &number(field).into(),
                detail,
            ));
        }
    }
    if number("availableReplicas") > number("readyReplicas") {
        errors.push(FieldError::invalid(
            "status.availableReplicas",
            &number("availableReplicas").into(),
            "cannot be greater than readyReplicas",
        ));
    }
    errors
}

fn replica_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let status = &new["status"];
    let fields = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
    ];
    let mut errors = counts(status, "status", &fields);
    let number = |field: &str| int(status, field).unwrap_or(0);
    for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if number(field) > number("replicas") {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(
                format!("status.{field}"),
                &number(field).into(),
                detail,
            ));
        }
    }
    errors
}
