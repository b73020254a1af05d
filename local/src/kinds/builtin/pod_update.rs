//! What may change of a pod.
//!
//! Pure: values in, errors out.
//! Source: Kubernetes' `pkg/apis/core/validation/validation.go`, `ValidatePodUpdate`.

use serde_json::Value;

use super::{internal, spec_check};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{each, int, keep, list, text};

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod in place of another.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = spec_check::pod(new);
    let (spec, before) = (&new["spec"], &old["spec"]);
    for field in ["containers", "initContainers"] {
        if list(spec, field).len() != list(before, field).len() {
            errors.push(FieldError::forbidden(
                format!("spec.{field}"),
                if field == "containers" {
                    "pod updates may not add or remove containers"
                } else {
                    "pod updates may not add or remove init containers"
                },
            ));
            return errors;
        }
    }
    match (int(spec, "activeDeadlineSeconds"), int(before, "activeDeadlineSeconds")) {
        (Some(now), Some(was)) if now > was => errors.push(FieldError::invalid(
            "spec.activeDeadlineSeconds",
            &now.into(),
            &format!("must be less than or equal to previous value of {was}"),
        )),
        (None, Some(_)) => errors.push(FieldError::invalid(
            "spec.activeDeadlineSeconds",
            &Value::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
    let kept = list(before, "tolerations").iter().all(|toleration| {
        list(spec, "tolerations").iter().any(|other| {
            // How long it is tolerated may change.
            let mut other = other.clone();
            keep(&mut other, toleration, "tolerationSeconds");
            other == *toleration
        })
    });
    if !kept {
        errors.push(FieldError::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    let mut munged = spec.clone();
    for field in ["containers", "initContainers"] {
        for (container, was) in each(&mut munged, field).zip(list(before, field)) {
            keep(container, was, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(&mut munged, before, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if int(before, grace).is_some_and(|seconds| seconds < 0) && int(&munged, grace) == Some(1) {
        keep(&mut munged, before, grace);
    }
    let gates = |spec: &Value| {
        list(spec, "schedulingGates")
            .iter()
            .map(|gate| text(gate, "name").to_owned())
            .collect::<Vec<_>>()
    };
    let added: Vec<String> =
        gates(spec).into_iter().filter(|gate| !gates(before).contains(gate)).collect();
    if !added.is_empty() {
        errors.push(FieldError::forbidden(
            "spec.schedulingGates",
            &format!(
                "only deletion is allowed, but found new scheduling gates '{}'",
                added.join(", ")
            ),
        ));
    }
    if munged != *before {
        let difference = internal::spec_difference(before, &munged);
        errors.push(FieldError::forbidden("spec", &format!("{MUTABLE}\n{difference}")));
    }
    errors
}
