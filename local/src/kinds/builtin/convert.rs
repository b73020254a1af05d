//! The kinds that are views of objects kept in another version.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/events/v1/conversion.go`.

use serde_json::{Value, json};

use super::Convert;
use crate::kinds::walk::{child, has, remove, text};

/// autoscaling/v1 of what is kept as autoscaling/v2.
pub(super) const AUTOSCALER_V1: Convert =
    Convert { from_storage: autoscaler_to_v1, to_storage: autoscaler_to_v2 };

/// events.k8s.io/v1 of what is kept as v1.
pub(super) const EVENT: Convert = Convert { from_storage: event_to_new, to_storage: event_to_core };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn is_cpu_use(metric: &Value) -> bool {
    let resource = &metric["resource"];
    text(metric, "type") == "Resource"
        && text(resource, "name") == "cpu"
        && has(&resource["target"], "averageUtilization")
}

fn autoscaler_to_v1(object: &mut Value) {
    let spec = child(object, "spec");
    let metrics = remove(spec, "metrics");
    let metrics = metrics.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut others = Vec::new();
    for metric in metrics {
        if is_cpu_use(metric) && !has(spec, "targetCPUUtilizationPercentage") {
            spec["targetCPUUtilizationPercentage"] =
                metric["resource"]["target"]["averageUtilization"].clone();
        } else {
            others.push(metric.clone());
        }
    }
    let behavior = remove(spec, "behavior");
    let annotations = child(object, "metadata");
    if !others.is_empty() {
        child(annotations, "annotations")[METRICS] = Value::Array(others).to_string().into();
    }
    if let Some(behavior) = behavior {
        child(annotations, "annotations")["autoscaling.alpha.kubernetes.io/behavior"] =
            behavior.to_string().into();
    }
    let status = child(object, "status");
    let conditions = remove(status, "conditions");
    remove(status, "currentMetrics");
    if !has(status, "currentReplicas") {
        status["currentReplicas"] = 0.into();
    }
    if let Some(conditions) =
        conditions.filter(|conditions| conditions.as_array().is_some_and(|list| !list.is_empty()))
    {
        child(child(object, "metadata"), "annotations")[CONDITIONS] = conditions.to_string().into();
    }
}

fn autoscaler_to_v2(object: &mut Value) {
    let mut parsed = |name: &str| -> Option<Value> {
        let annotations = object["metadata"].get_mut("annotations")?;
        let text = remove(annotations, name)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let others = parsed(METRICS);
    let conditions = parsed(CONDITIONS);
    let behavior = parsed("autoscaling.alpha.kubernetes.io/behavior");
    let metadata = child(object, "metadata");
    if metadata.get("annotations").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        remove(metadata, "annotations");
    }
    let spec = child(object, "spec");
    let mut metrics = others.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(target) = remove(spec, "targetCPUUtilizationPercentage") {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
        }));
    }
    if !metrics.is_empty() {
        spec["metrics"] = metrics.into();
    }
    if let Some(behavior) = behavior {
        spec["behavior"] = behavior;
    }
    let status = child(object, "status");
    remove(status, "currentCPUUtilizationPercentage");
    if let Some(conditions) = conditions {
        status["conditions"] = conditions;
    }
    if !has(status, "currentMetrics") {
        status["currentMetrics"] = Value::Null;
    }
}

/// Old name, new name.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn event_to_new(object: &mut Value) {
    for (old, new) in EVENT_FIELDS {
        if let Some(value) = remove(object, old)
            && value != ""
        {
            object[*new] = value;
        }
    }
    if text(object, "reportingInstance").is_empty() {
        remove(object, "reportingInstance");
    }
}

fn event_to_core(object: &mut Value) {
    for (old, new) in EVENT_FIELDS {
        if let Some(value) = remove(object, new) {
            object[*old] = value;
        }
    }
    for (field, empty) in [
        ("involvedObject", json!({})),
        ("source", json!({})),
        ("firstTimestamp", Value::Null),
        ("lastTimestamp", Value::Null),
        ("eventTime", Value::Null),
        ("reportingComponent", json!("")),
        ("reportingInstance", json!("")),
    ] {
        if object.get(field).is_none() {
            object[field] = empty;
        }
    }
}
