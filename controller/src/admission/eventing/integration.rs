//! What an IntegrationSource and an IntegrationSink may say.
//!
//! Pure: values only.
//! Source: knative/eventing `pkg/apis/{sources,sinks}/v1alpha1/integration*_validation.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::Value;

use super::Seen;
use crate::admission::look::{get, text};

pub fn validate_source(_: &Seen<'_>, spec: &Value) -> FieldErrors {
    let services =
        [("s3", "s3", "arn"), ("sqs", "sqs", "arn"), ("ddbStreams", "ddb-streams", "table")];
    validate(spec, "source", get(spec, "timer").is_some(), &services)
}

pub fn validate_sink(_: &Seen<'_>, spec: &Value) -> FieldErrors {
    let services = [("s3", "s3", "arn"), ("sqs", "sqs", "arn"), ("sns", "sns", "arn")];
    validate(spec, "sink", get(spec, "log").is_some(), &services)
}

/// There is one end, and it has what it needs. `services` are the fields of AWS's, what errors call them, and what each
/// must say beside its region.
fn validate(
    spec: &Value,
    what: &str,
    has_other: bool,
    services: &[(&str, &str, &str)],
) -> FieldErrors {
    let aws = get(spec, "aws");
    let service = |field: &str| aws.and_then(|aws| get(aws, field));
    let count = services.iter().filter(|(field, ..)| service(field).is_some()).count()
        + usize::from(has_other);
    let mut errors = FieldErrors::none();
    match count {
        0 => {
            let text = format!("at least one {what} type must be specified");
            errors.push(FieldError::new(text, &["spec"]));
        }
        1 => {}
        _ => {
            let text = format!("only one {what} type can be set");
            errors.push(FieldError::new(text, &["spec"]));
        }
    }
    let Some(aws) = aws.filter(|_| count == 1 && !has_other) else { return errors.via("spec") };
    let auth = &aws["auth"];
    let secret = auth.pointer("/secret/ref").map_or("", |reference| text(reference, "name"));
    if secret.is_empty() && text(auth, "serviceAccountName").is_empty() {
        errors.push(FieldError::missing(&["aws.auth.secret.ref.name"]));
    }
    for (field, called, needed) in services {
        let Some(service) = service(field) else { continue };
        for needed in [needed, "region"] {
            if text(service, needed).is_empty() {
                errors.push(FieldError::missing(&[&format!("aws.{called}.{needed}")]));
            }
        }
    }
    errors.via("spec")
}
