//! What an EventTransform may say.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1alpha1/eventtransform_validation.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::{
    Seen,
    destination::{Namespaces, optional},
};
use crate::admission::look::{flag, get};

const NO_CERTIFICATES: &str = "CACerts for the sink is not supported for JSONata transformations, to \
     propagate CA trust bundles use labeled ConfigMaps: \
     https://knative.dev/docs/eventing/features/transport-encryption/#configure-additional-ca-trust-bundles";

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let has_jsonata = get(spec, "jsonata").is_some();
    if !has_jsonata {
        errors.push(FieldError::missing_one_of(&["jsonata"]));
    }
    let sink = get(spec, "sink");
    errors.also(optional(spec, "sink", Namespaces::Only(seen.namespace), seen.config));
    if has_jsonata && sink.is_some_and(|sink| get(sink, "CACerts").is_some()) {
        errors.push(FieldError::new(NO_CERTIFICATES, &["CACerts"]).via("sink"));
    }
    if let Some(reply) = get(spec, "reply") {
        if sink.is_none() {
            errors.push(FieldError::new("reply is set without spec.sink", &[""]).via("reply"));
        } else if get(reply, "jsonata").is_some() && flag(reply, "discard") == Some(true) {
            errors.push(FieldError::multiple_one_of(&["jsonata", "discard"]).via("reply"));
        }
    }
    if let Some((_, old)) = seen.old {
        let had_jsonata = get(old, "jsonata").is_some();
        let why = match (had_jsonata, has_jsonata) {
            (false, true) => {
                "jsonata transformation cannot be changed to a different transformation type. "
            }
            (true, false) => "transformation type cannot be changed to a jsonata transformation. ",
            _ => return errors.via("spec"),
        };
        let text = format!(
            "Transformations types are immutable, {why}Suggestion: create a new transformation, migrate \
             services to the new one, and delete this transformation."
        );
        errors.push(FieldError::new(text, &[]));
    }
    errors.via("spec")
}
