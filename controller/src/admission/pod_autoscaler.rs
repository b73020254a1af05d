//! What a PodAutoscaler may say.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/autoscaling/v1alpha1/pa_*.go`.

use api::{
    field_error::{FieldError, FieldErrors},
    keys::autoscaling as keys,
};
use serde_json::{Value, json};

use super::{
    Annotations, Seen,
    look::number,
    metadata::{annotations, names},
    reference, revision, scaling,
};

pub fn default(seen: &Seen<'_>, _: &mut Value, annotations: &mut Annotations) {
    let class = annotations
        .entry(keys::CLASS.to_string())
        .or_insert_with(|| seen.config.autoscaler.pod_autoscaler_class.clone());
    let metric = match class.as_str() {
        keys::KPA_CLASS => keys::CONCURRENCY,
        keys::HPA_CLASS => "cpu",
        _ => "",
    };
    annotations.entry(keys::METRIC.to_string()).or_insert_with(|| metric.to_string());
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(
        scaling::check(annotations(seen.metadata), &seen.config.autoscaler).via("annotations"),
    );
    let mut errors = metadata.via("metadata");
    if *spec == json!({"protocolType": "", "scaleTargetRef": {}}) {
        errors.push(FieldError::missing(&["spec"]));
        return errors;
    }
    let mut wrong = reference::validate(&spec["scaleTargetRef"]).via("scaleTargetRef");
    let concurrency = number(spec, "containerConcurrency").unwrap_or_default();
    wrong.also(revision::check_concurrency(seen, concurrency));
    wrong.also(reference::protocol(spec));
    errors.also(wrong.via("spec"));
    errors
}
