//! What is odd about pods that are taken nevertheless.
//!
//! Pure: values in, texts out.
//! Source: Kubernetes' `pkg/api/pod/warnings.go`.

use serde_json::Value;

use crate::kinds::names;
use crate::kinds::walk::{has, list, text};

/// Of a pod.
pub(super) fn of_pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    // Only what a change brings in is worth telling.
    if old.is_some_and(|old| old["spec"] == new["spec"]) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let wrong = names::label(text(&new["metadata"], "name"));
    if old.is_none() && !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    warnings.extend(of_spec(&new["spec"], "spec"));
    warnings
}

/// Of the template of a workload, at `spec.template`.
pub(super) fn of_template(new: &Value, old: Option<&Value>) -> Vec<String> {
    fn template(object: &Value) -> &Value {
        &object["spec"]["template"]["spec"]
    }
    if old.is_some_and(|old| template(old) == template(new)) {
        return Vec::new();
    }
    of_spec(template(new), "spec.template.spec")
}

fn of_spec(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        if !has(constraint, "labelSelector") {
            warnings.push(format!(
                "{path}.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
    for field in ["initContainers", "containers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let path = format!("{path}.{field}[{index}]");
            let mut seen: Vec<&str> = Vec::new();
            for (index, variable) in list(container, "env").iter().enumerate() {
                let name = text(variable, "name");
                if seen.contains(&name) {
                    warnings.push(format!(
                        "{path}.env[{index}]: hides previous definition of \"{name}\", which may be dropped when using apply"
                    ));
                }
                seen.push(name);
            }
        }
    }
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings
                .push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    warnings
}
