//! Metric, which only Knative's own autoscaler reads.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/autoscaling/v1alpha1/metric_validation.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::{
    Seen,
    metadata::{annotations, names},
    scaling,
};

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(
        scaling::check(annotations(seen.metadata), &seen.config.autoscaler).via("annotations"),
    );
    let mut errors = metadata.via("metadata");
    if *spec == json!({"stableWindow": 0, "panicWindow": 0, "scrapeTarget": ""}) {
        errors.push(FieldError::missing(&["spec"]));
    }
    errors
}
