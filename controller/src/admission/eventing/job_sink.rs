//! What a JobSink may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/sinks/v1alpha1/job_sink_{defaults,validation}.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::{Annotations, Seen};
use crate::admission::look::{get, list, list_mut, text};

/// Tells a container that it runs once, for one event.
const EXECUTION_MODE: &str = "K_EXECUTION_MODE";

pub fn default(_: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    let Some(pod) = spec.pointer_mut("/job/spec/template/spec") else { return };
    for field in ["containers", "initContainers"] {
        for container in list_mut(pod, field) {
            let variables = list(container, "env");
            if variables.iter().any(|variable| text(variable, "name") == EXECUTION_MODE) {
                continue;
            }
            let mut variables = variables.to_vec();
            variables.push(json!({"name": EXECUTION_MODE, "value": "batch"}));
            container["env"] = variables.into();
        }
    }
}

/// The job itself is tried by the API server.
pub fn validate(_: &Seen<'_>, spec: &Value) -> FieldErrors {
    let has_job = get(spec, "job").is_some();
    (!has_job).then(|| FieldError::missing_one_of(&["job"]).via("spec")).into()
}
