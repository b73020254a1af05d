//! HorizontalPodAutoscalers, PodDisruptionBudgets, roles, priorities and events on their way in.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/{autoscaling,policy,rbac,scheduling,core}` defaults and validation.

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::workload::{immutable, int_or_percent};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, each, fill, has, int, list, text};
use crate::kinds::{meta, names};

pub(super) const AUTOSCALER: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        fill(spec, "minReplicas", 1);
        if list(spec, "metrics").is_empty() && !has(spec, "targetCPUUtilizationPercentage") {
            spec["metrics"] = json!([{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }]);
        }
        if has(spec, "behavior") {
            let behavior = child(spec, "behavior");
            let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
            let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
            let up = child(behavior, "scaleUp");
            fill(up, "stabilizationWindowSeconds", 0);
            fill(up, "selectPolicy", "Max");
            fill(up, "policies", json!([pods, percent]));
            let down = child(behavior, "scaleDown");
            fill(down, "selectPolicy", "Max");
            fill(down, "policies", json!([percent]));
        }
    },
    prepare_create: |object| {
        object["status"] = json!({"desiredReplicas": 0, "currentMetrics": null})
    },
    validate: validate_autoscaler,
    validate_update: |new, _| validate_autoscaler(new),
    ..PLAIN
};

/// The same objects as version 1 shows them.
pub(super) const AUTOSCALER_V1: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        fill(spec, "minReplicas", 1);
        fill(spec, "targetCPUUtilizationPercentage", 80);
    },
    prepare_create: |object| object["status"] = json!({"currentReplicas": 0, "desiredReplicas": 0}),
    validate: validate_autoscaler,
    validate_update: |new, _| validate_autoscaler(new),
    ..PLAIN
};

pub(super) const BUDGET: Strategy = Strategy {
    prepare_create: |object| {
        object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    },
    validate: validate_budget,
    validate_update: |new, _| validate_budget(new),
    ..PLAIN
};

pub(super) const ROLE: Strategy = Strategy {
    validate: validate_namespaced_role,
    validate_update: |new, _| validate_namespaced_role(new),
    ..PLAIN
};

pub(super) const CLUSTER_ROLE: Strategy =
    Strategy { validate: validate_role, validate_update: |new, _| validate_role(new), ..PLAIN };

pub(super) const BINDING: Strategy = Strategy {
    default: |object| {
        if let Some(role) = crate::kinds::walk::child_if(object, "roleRef") {
            fill(role, "apiGroup", RBAC);
        }
        for subject in each(object, "subjects") {
            if matches!(text(subject, "kind"), "User" | "Group") {
                fill(subject, "apiGroup", RBAC);
            }
        }
    },
    validate: validate_binding,
    validate_update: |new, old| {
        let mut errors = validate_binding(new);
        if new["roleRef"] != old["roleRef"] {
            let role = &new["roleRef"];
            let shown = format!(
                "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
                role["apiGroup"], role["kind"], role["name"]
            );
            errors.push(FieldError::invalid_shown("roleRef", &shown, "cannot change roleRef"));
        }
        errors
    },
    ..PLAIN
};

pub(super) const PRIORITY_CLASS: Strategy = Strategy {
    default: |object| fill(object, "preemptionPolicy", "PreemptLowerPriority"),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        if new["value"] != old["value"] {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        if new["preemptionPolicy"] != old["preemptionPolicy"] {
            errors.push(immutable("preemptionPolicy", &new["preemptionPolicy"]));
        }
        errors
    },
    ..PLAIN
};

pub(super) const STORAGE_CLASS: Strategy = Strategy {
    default: |object| {
        fill(object, "reclaimPolicy", "Delete");
        fill(object, "volumeBindingMode", "Immediate");
    },
    validate: |object| {
        let empty = text(object, "provisioner").is_empty();
        empty.then(|| FieldError::required("provisioner", "")).into_iter().collect()
    },
    ..PLAIN
};

pub(super) const REVISION: Strategy = Strategy {
    validate_update: |new, old| {
        let changed = new["data"] != old["data"];
        changed.then(|| immutable("data", &new["data"])).into_iter().collect()
    },
    ..PLAIN
};

pub(super) const EVENT: Strategy = Strategy { validate: validate_event, ..PLAIN };

const RBAC: &str = "rbac.authorization.k8s.io";

fn validate_autoscaler(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let (least, most) =
        (int(spec, "minReplicas").unwrap_or(1), int(spec, "maxReplicas").unwrap_or(0));
    if least < 1 {
        errors.push(FieldError::invalid(
            "spec.minReplicas",
            &least.into(),
            "must be greater than or equal to 1",
        ));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &most.into(),
            "must be greater than 0",
        ));
    }
    if most < least {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &most.into(),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    let target = &spec["scaleTargetRef"];
    for field in ["kind", "name"] {
        let value = text(target, field);
        if value.is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{field}"), ""));
        } else {
            for wrong in names::path_segment(value) {
                errors.push(FieldError::invalid(
                    format!("spec.scaleTargetRef.{field}"),
                    &value.into(),
                    &wrong,
                ));
            }
        }
    }
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        let kind = text(metric, "type");
        let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        if kind.is_empty() {
            errors.push(FieldError::required(
                format!("spec.metrics[{index}].type"),
                "must specify a metric source type",
            ));
        } else if !known.contains(&kind) {
            errors.push(FieldError::not_supported(
                format!("spec.metrics[{index}].type"),
                &kind.into(),
                &known,
            ));
        }
    }
    errors
}

fn validate_budget(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        errors.push(FieldError::invalid_shown(
            "spec",
            &spec.to_string(),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        errors.extend(int_or_percent(spec, "spec", field));
    }
    errors.extend(meta::label_selector(&spec["selector"], "spec.selector"));
    errors
}

fn validate_namespaced_role(object: &Value) -> Vec<FieldError> {
    rules(object, true)
}

fn validate_role(object: &Value) -> Vec<FieldError> {
    rules(object, false)
}

fn rules(object: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(object, "rules").iter().enumerate() {
        let path = format!("rules[{index}]");
        if list(rule, "verbs").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !list(rule, "nonResourceURLs").is_empty() {
            if namespaced {
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if !list(rule, "apiGroups").is_empty() || !list(rule, "resources").is_empty() {
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if list(rule, "resources").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
    errors
}

fn validate_binding(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = &object["roleRef"];
    if text(role, "apiGroup") != RBAC {
        errors.push(FieldError::not_supported("roleRef.apiGroup", &role["apiGroup"], &[RBAC]));
    }
    let kinds: &[&str] = if has(&object["metadata"], "namespace") {
        &["ClusterRole", "Role"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported("roleRef.kind", &text(role, "kind").into(), kinds));
    }
    if text(role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (index, subject) in list(object, "subjects").iter().enumerate() {
        let path = format!("subjects[{index}]");
        let name = text(subject, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let group = text(subject, "apiGroup");
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    for wrong in names::subdomain(name) {
                        errors.push(FieldError::invalid(
                            format!("{path}.name"),
                            &name.into(),
                            &wrong,
                        ));
                    }
                }
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(
                        format!("{path}.apiGroup"),
                        &group.into(),
                        &[""],
                    ));
                }
                if text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if group != RBAC {
                    errors.push(FieldError::not_supported(
                        format!("{path}.apiGroup"),
                        &group.into(),
                        &[RBAC],
                    ));
                }
            }
            other => errors.push(FieldError::not_supported(
                format!("{path}.kind"),
                &other.into(),
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
    errors
}

/// An event is in the namespace of what it is about.
fn validate_event(object: &Value) -> Vec<FieldError> {
    let about = text(&object["involvedObject"], "namespace");
    let here = text(&object["metadata"], "namespace");
    if about == here || (about.is_empty() && here == "default") || !has(object, "involvedObject") {
        return Vec::new();
    }
    vec![FieldError::invalid(
        "involvedObject.namespace",
        &about.into(),
        "does not match event.namespace",
    )]
}
