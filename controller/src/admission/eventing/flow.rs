//! What a Sequence and a Parallel may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/flows/v1/{sequence,parallel}_{defaults,validation}.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::{
    Annotations, Seen,
    channel::{fill_template, template},
    destination::{Namespaces, delivery, destination, fill, fill_reference, optional, printed},
};
use crate::admission::look::{get, list, list_mut};

pub fn default_sequence(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    fill_template(seen, spec);
    for step in list_mut(spec, "steps") {
        fill_reference(step, "ref", seen.namespace);
    }
    fill(spec, "reply", seen.namespace);
}

pub fn default_parallel(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    fill_template(seen, spec);
    for branch in list_mut(spec, "branches") {
        for field in ["filter", "subscriber", "reply"] {
            fill(branch, field, seen.namespace);
        }
    }
    fill(spec, "reply", seen.namespace);
}

pub fn validate_sequence(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let steps = list(spec, "steps");
    if steps.is_empty() {
        errors.push(FieldError::missing(&["steps"]));
    }
    for (index, step) in steps.iter().enumerate() {
        let mut its = destination(step, Namespaces::Any, seen.config);
        its.also(delivery(step, Namespaces::Any, seen.config));
        if its.is_empty() {
            continue;
        }
        // Upstream prints the step; where that is an address in its memory, what is wrong says more.
        match printed(step).filter(|_| get(step, "delivery").is_none()) {
            Some(text) => {
                let value = format!("{{{text} <nil>}}");
                errors.push(FieldError::invalid_value(value, &format!("steps[{index}]")));
            }
            None => errors.also(its.via_field_index("steps", index)),
        }
    }
    errors.also(template(spec));
    errors.also(optional(spec, "reply", Namespaces::Any, seen.config));
    errors.via("spec")
}

pub fn validate_parallel(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let branches = list(spec, "branches");
    if branches.is_empty() {
        errors.push(FieldError::missing(&["branches"]));
    }
    for (index, branch) in branches.iter().enumerate() {
        for field in ["filter", "subscriber", "reply"] {
            let its = match field {
                "subscriber" => {
                    destination(&branch[field], Namespaces::Any, seen.config).via(field)
                }
                _ => optional(branch, field, Namespaces::Any, seen.config),
            };
            if its.is_empty() {
                continue;
            }
            let has_more =
                ["filter", "reply", "delivery"].iter().any(|field| get(branch, field).is_some());
            match printed(&branch["subscriber"]).filter(|_| !has_more) {
                Some(text) => {
                    let value = format!("{{<nil> {text} <nil> <nil>}}");
                    let path = format!("branches.{field}[{index}]");
                    errors.push(FieldError::invalid_value(value, &path));
                }
                None => errors.also(its.via_field_index("branches", index)),
            }
        }
    }
    let its_template = template(spec);
    let has_template = get(spec, "channelTemplate").is_some();
    errors.also(its_template);
    if has_template {
        errors.also(optional(spec, "reply", Namespaces::Any, seen.config));
    }
    errors.via("spec")
}
