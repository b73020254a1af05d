//! Annotations that are not about scaling: roll-outs, deadlines, the queue's resources, networking.
//!
//! Pure: values only.
//! Source: knative/serving `metadata_validation.go`, `revision_validation.go`; knative/networking
//! `metadata_validation.go`.

use std::collections::BTreeMap;

use api::{
    field_error::{FieldError, FieldErrors},
    go::{SECOND, format_float, parse_duration, parse_float},
    keys::{autoscaling, serving},
    quantity::Amount,
};

type Annotations = BTreeMap<String, String>;

/// The first of several keys that is there, with its value.
pub fn first<'a>(annotations: &'a Annotations, keys: &[&'a str]) -> Option<(&'a str, &'a str)> {
    keys.iter().find_map(|key| Some((*key, annotations.get(*key)?.as_str())))
}

/// Annotations about scaling belong to the template of revisions.
pub fn no_scaling(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for key in annotations.keys().filter(|key| key.starts_with(autoscaling::GROUP)) {
        errors.push(FieldError::invalid_key(key, "").with_details(
            "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work",
        ));
    }
    errors
}

/// The time that traffic takes to move.
pub fn rollout(annotations: &Annotations) -> Option<FieldError> {
    let keys = [serving::ROLLOUT_DURATION, serving::ROLLOUT_DURATION_TWIN];
    whole_seconds(annotations, &keys, "rollout-duration")
}

/// The time in which a revision must become ready.
pub fn progress_deadline(annotations: &Annotations) -> Option<FieldError> {
    whole_seconds(annotations, &[serving::PROGRESS_DEADLINE], "progress-deadline")
}

fn whole_seconds(annotations: &Annotations, keys: &[&str], name: &str) -> Option<FieldError> {
    let (key, text) = keys.iter().find_map(|key| Some((*key, annotations.get(*key)?.as_str())))?;
    if text.is_empty() {
        return None;
    }
    match parse_duration(text) {
        Err(_) => Some(FieldError::invalid_value(text, key)),
        Ok(nanos) if nanos % SECOND != 0 => {
            Some(FieldError::new(format!("{name}={text} is not at second precision"), &[key]))
        }
        Ok(nanos) if nanos < 0 => {
            Some(FieldError::new(format!("{name}={text} must be positive"), &[key]))
        }
        Ok(_) => None,
    }
}

/// Annotations of networking that exist.
const NETWORKING: [&str; 9] = [
    "networking.knative.dev/ingress.class",
    "networking.knative.dev/ingress-class",
    "networking.knative.dev/certificate.class",
    "networking.knative.dev/certificate-class",
    "networking.knative.dev/disableAutoTLS",
    "networking.knative.dev/disable-auto-tls",
    "networking.knative.dev/disable-external-domain-tls",
    "networking.knative.dev/httpOption",
    "networking.knative.dev/http-protocol",
];

/// Other annotations of networking are mistakes.
pub fn networking(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for key in annotations.keys() {
        if key.starts_with("networking.knative.dev") && !NETWORKING.contains(&key.as_str()) {
            errors.push(FieldError::invalid_key(key, ""));
        }
    }
    errors
}

/// The queue's share of a container's resources (which is out of date), and its own.
pub fn queue_resources(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let percentage = first(
        annotations,
        &[
            "queue.sidecar.serving.knative.dev/resource-percentage",
            "queue.sidecar.serving.knative.dev/resourcePercentage",
        ],
    );
    if let Some((key, text)) = percentage {
        errors.push(
            FieldError::new(
                "Queue proxy resource percentage annotation is deprecated. Please use the available \
                 annotations to explicitly set resource values per service",
                &[],
            )
            .as_warning(),
        );
        match parse_float(text) {
            Err(_) => errors.push(FieldError::invalid_value(text, "").via_key(key)),
            Ok(value) if !(0.1..=100.0).contains(&value) => errors
                .push(FieldError::out_of_bounds(format_float(value), 0.1, 100, "").via_key(key)),
            Ok(_) => {}
        }
    }
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        for side in ["request", "limit"] {
            let key = format!("queue.sidecar.serving.knative.dev/{resource}-resource-{side}");
            if let Some(text) = annotations.get(&key)
                && Amount::parse(text).is_err()
            {
                errors.push(FieldError::invalid_value(text, "").via_key(&key));
            }
        }
    }
    errors
}
