//! What must hold for requests and limits of resources.
//!
//! Pure: values in, errors out.
//! Source: Kubernetes' `pkg/apis/core/validation/validation.go`, `ValidateContainerResourceRequirements`.

use serde_json::Value;

use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{entries, text};
use crate::schema::quantity;

/// Requests and limits of a container.
pub(super) fn requirements(resources: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for kind in ["limits", "requests"] {
        for (name, amount) in entries(resources, kind) {
            let one = format!("{path}.{kind}[{name}]");
            errors.extend(resource_name(name, &one, true));
            errors.extend(not_negative(amount, &one));
            if kind == "requests" {
                errors.extend(within_limit(resources, name, amount, path));
            }
        }
    }
    errors
}

fn within_limit(resources: &Value, name: &str, request: &Value, path: &str) -> Option<FieldError> {
    let limit = resources["limits"].get(name)?.as_str()?;
    let over = quantity::compare(request.as_str()?, limit) == std::cmp::Ordering::Greater;
    let detail = format!("must be less than or equal to {name} limit of {limit}");
    over.then(|| FieldError::invalid(format!("{path}.requests"), request, &detail))
}

/// A quantity that must be zero or more.
pub(super) fn not_negative(amount: &Value, path: &str) -> Vec<FieldError> {
    let negative = amount
        .as_str()
        .and_then(|text| quantity::parse(text).ok())
        .is_some_and(|a| a.is_negative());
    if negative {
        return vec![FieldError::invalid(path, amount, "must be greater than or equal to 0")];
    }
    Vec::new()
}

/// The name of a resource; containers know a few plain ones.
pub(super) fn resource_name(name: &str, path: &str, in_container: bool) -> Vec<FieldError> {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        return wrong.iter().map(|wrong| FieldError::invalid(path, &name.into(), wrong)).collect();
    }
    if name.contains('/') {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let standard = ["cpu", "memory", "ephemeral-storage", "storage"];
    if in_container && !(standard[..3].contains(&name) || name.starts_with("hugepages-")) {
        errors.push(FieldError::invalid(
            path,
            &name.into(),
            "must be a standard resource for containers",
        ));
    }
    errors
}

/// The limits of a LimitRange.
///
/// Source: `ValidateLimitRange`.
pub(super) fn limit_range(range: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, limit) in crate::kinds::walk::list(&range["spec"], "limits").iter().enumerate() {
        let path = format!("spec.limits[{index}]");
        let kind = text(limit, "type");
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        }
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), &kind.into()));
        }
        seen.push(kind);
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if entries(limit, field).next().is_some() {
                    errors.push(FieldError::forbidden(
                        format!("{path}.{field}"),
                        "may not be specified when `type` is 'Pod'",
                    ));
                }
            }
        }
        let amount = |field: &str, name: &str| limit[field][name].as_str();
        let mut all: Vec<&String> = ["max", "min", "default", "defaultRequest"]
            .iter()
            .flat_map(|field| entries(limit, field).map(|(name, _)| name))
            .collect();
        all.sort();
        all.dedup();
        let pairs = [
            ("min", "max", "min"),
            ("min", "defaultRequest", "defaultRequest"),
            ("defaultRequest", "max", "defaultRequest"),
            ("defaultRequest", "default", "defaultRequest"),
            ("min", "default", "default"),
            ("default", "max", "default"),
        ];
        for name in all {
            for (less, more, blamed) in pairs {
                let (Some(a), Some(b)) = (amount(less, name), amount(more, name)) else { continue };
                if quantity::compare(a, b) == std::cmp::Ordering::Greater {
                    let words = |field: &str| match field {
                        "defaultRequest" => "default request".to_owned(),
                        other => other.to_owned(),
                    };
                    let blamed_value = amount(blamed, name).unwrap_or("");
                    errors.push(FieldError::invalid(
                        format!("{path}.{blamed}[{name}]"),
                        &blamed_value.into(),
                        &format!(
                            "{} value {a} is greater than {} value {b}",
                            words(less),
                            words(more)
                        ),
                    ));
                }
            }
        }
    }
    errors
}

/// The hard limits of a ResourceQuota.
pub(super) fn quota(quota: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, amount) in entries(&quota["spec"], "hard") {
        let path = format!("spec.hard[{name}]");
        errors.extend(resource_name(name, &path, false));
        errors.extend(not_negative(amount, &path));
    }
    errors
}
