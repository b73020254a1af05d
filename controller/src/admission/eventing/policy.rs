//! What an EventPolicy may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1alpha1/eventpolicy_{defaults,validation}.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::{Annotations, Seen, destination::fill_reference, filters};
use crate::admission::look::{get, list, list_mut, text};

pub fn default(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    for from in list_mut(spec, "from") {
        fill_reference(from, "ref", seen.namespace);
    }
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    if seen.is_new && !seen.config.eventing.features.authentication_oidc {
        return FieldError::new("oidc-authentication feature not enabled", &[]).into();
    }
    let mut errors = FieldErrors::none();
    for (index, from) in list(spec, "from").iter().enumerate() {
        let (reference, sub) = (get(from, "ref"), get(from, "sub").and_then(Value::as_str));
        let mut its = one_of(reference.is_some(), sub, "sub");
        its.also(named(reference));
        // A star is right at the end only.
        if let Some(sub) = sub.filter(|sub| sub.find('*').is_some_and(|at| at + 1 < sub.len())) {
            let error = FieldError::invalid_value(sub, "sub");
            its.push(error.with_details("'*' is only allowed as suffix"));
        }
        errors.also(its.via_field_index("from", index));
    }
    for (index, to) in list(spec, "to").iter().enumerate() {
        let (reference, selector) = (get(to, "ref"), get(to, "selector"));
        let mut its = one_of(reference.is_some(), selector.map(|_| "selector"), "selector");
        its.also(named(reference));
        errors.also(its.via_field_index("to", index));
    }
    errors.also(filters::validate(list(spec, "filters")).via("filters"));
    errors.via("spec")
}

/// There is a reference or the other, and not both.
fn one_of(has_reference: bool, other: Option<&str>, name: &str) -> FieldErrors {
    match (has_reference, other) {
        (false, None | Some("")) => FieldError::missing_one_of(&["ref", name]).into(),
        (true, Some(_)) => FieldError::multiple_one_of(&["ref", name]).into(),
        _ => FieldErrors::none(),
    }
}

fn named(reference: Option<&Value>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for field in ["kind", "apiVersion", "name"] {
        if reference.is_some_and(|reference| text(reference, field).is_empty()) {
            errors.push(FieldError::missing(&[field]).via("ref"));
        }
    }
    errors
}
