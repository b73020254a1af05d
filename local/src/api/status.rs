//! The `Status` that answers a failure, and the few successes that have no object.
//!
//! Pure: builds values.
//! Source: k8s.io/apimachinery `pkg/api/errors`.

use serde::Serialize;
use serde_json::{Value, json};

/// A failure on its way to the client.
pub type Refusal = Box<Status>;

/// `metav1.Status`, in the order in which Kubernetes writes it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Value,
    /// `Success` or `Failure`.
    pub status: &'static str,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// What it went wrong with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

fn is_zero(code: &u16) -> bool {
    *code == 0
}

/// What a status is about.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The group of its kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource or its kind, as upstream has it in each case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The single reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When another attempt may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// One reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    /// A value that is not one of those allowed.
    pub fn unsupported(field: &str, value: &Value, allowed: &[&str]) -> Cause {
        let allowed: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        Cause { reason: "FieldValueNotSupported".into(), message, field: field.into() }
    }

    /// A field that must not be there.
    pub fn forbidden(field: &str, text: &str) -> Cause {
        Cause {
            reason: "FieldValueForbidden".into(),
            message: format!("Forbidden: {text}"),
            field: field.into(),
        }
    }

    /// A value that is not valid.
    pub fn invalid(field: &str, value: &Value, text: &str) -> Cause {
        let message = format!("Invalid value: {value}: {text}");
        Cause { reason: "FieldValueInvalid".into(), message, field: field.into() }
    }

    /// A field that must be there.
    pub fn required(field: &str, text: &str) -> Cause {
        let message = if text.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {text}")
        };
        Cause { reason: "FieldValueRequired".into(), message, field: field.into() }
    }
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    fn failure(
        code: u16,
        reason: &'static str,
        message: String,
        details: Option<Details>,
    ) -> Refusal {
        Box::new(Status {
            kind: "Status",
            api_version: "v1",
            metadata: json!({}),
            status: "Failure",
            message,
            reason,
            details,
            code,
        })
    }

    /// A failure with any code and reason.
    pub fn other(
        code: u16,
        reason: &'static str,
        message: impl Into<String>,
        details: Option<Details>,
    ) -> Refusal {
        Status::failure(code, reason, message.into(), details)
    }

    /// Success without an object.
    pub fn success(details: Option<Details>, code: u16) -> Status {
        Status {
            kind: "Status",
            api_version: "v1",
            metadata: json!({}),
            status: "Success",
            message: String::new(),
            reason: "",
            details,
            code,
        }
    }

    /// 404 of an object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Refusal {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..Details::default()
        };
        Status::failure(
            404,
            "NotFound",
            format!("{} {name:?} not found", qualified(group, resource)),
            Some(details),
        )
    }

    /// 404 of a path.
    pub fn no_such_resource() -> Refusal {
        Status::failure(
            404,
            "NotFound",
            "the server could not find the requested resource".into(),
            Some(Details::default()),
        )
    }

    /// 409 of a create.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Refusal {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..Details::default()
        };
        Status::failure(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", qualified(group, resource)),
            Some(details),
        )
    }

    /// 409 of a write.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Refusal {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..Details::default()
        };
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(group, resource)
        );
        Status::failure(409, "Conflict", message, Some(details))
    }

    /// 422 with its causes.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Refusal {
        let texts: Vec<String> = causes
            .iter()
            .map(|cause| {
                if cause.field.is_empty() {
                    cause.message.clone()
                } else {
                    format!("{}: {}", cause.field, cause.message)
                }
            })
            .fold(Vec::new(), |mut texts, text| {
                if !texts.contains(&text) {
                    texts.push(text);
                }
                texts
            });
        let text = match texts.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Details::default()
        };
        Status::failure(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {text}", qualified(group, kind)),
            Some(details),
        )
    }

    /// 422 of the options of a request.
    pub fn invalid_options(kind: &str, causes: Vec<Cause>) -> Refusal {
        Status::invalid("meta.k8s.io", kind, "", causes)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Status::failure(400, "BadRequest", message.into(), None)
    }

    /// 403 of a resource.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Refusal {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..Details::default()
        };
        let what = if name.is_empty() {
            qualified(group, resource)
        } else {
            format!("{} {name:?}", qualified(group, resource))
        };
        Status::failure(403, "Forbidden", format!("{what} is forbidden: {why}"), Some(details))
    }

    /// 401.
    pub fn unauthorized() -> Refusal {
        Status::failure(401, "Unauthorized", "Unauthorized".into(), None)
    }

    /// 405 of a path.
    pub fn method_not_allowed() -> Refusal {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Status::failure(405, "MethodNotAllowed", message, Some(Details::default()))
    }

    /// 405 of a resource that has not this verb.
    pub fn verb_not_supported(verb: &str, group: &str, resource: &str) -> Refusal {
        let details = Details { group: group.into(), kind: resource.into(), ..Details::default() };
        let message = format!(
            "{verb} is not supported on resources of kind {:?}",
            qualified(group, resource)
        );
        Status::failure(405, "MethodNotAllowed", message, Some(details))
    }

    /// 406.
    pub fn not_acceptable(offers: &[&str]) -> Refusal {
        let message =
            format!("406: Not Acceptable\n\nAvailable representations: {}", offers.join(", "));
        Status::failure(406, "NotAcceptable", message, Some(Details::default()))
    }

    /// 410 of a revision.
    pub fn expired(message: impl Into<String>) -> Refusal {
        Status::failure(410, "Expired", message.into(), None)
    }

    /// 413.
    pub fn too_large(message: &str) -> Refusal {
        Status::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {message}"),
            None,
        )
    }

    /// 415 with what is accepted.
    pub fn unsupported_media_type(message: impl Into<String>) -> Refusal {
        Status::failure(415, "UnsupportedMediaType", message.into(), None)
    }

    /// 422 without more, as a patch that does not fit answers.
    pub fn rejected() -> Refusal {
        let message = "the server rejected our request due to an error in our request".to_owned();
        Status::failure(422, "Invalid", message, Some(Details::default()))
    }

    /// 429 with the seconds to wait.
    pub fn too_many_requests(
        message: impl Into<String>,
        seconds: u32,
        causes: Vec<Cause>,
    ) -> Refusal {
        let retry_after_seconds = (seconds > 0).then_some(seconds);
        Status::failure(
            429,
            "TooManyRequests",
            message.into(),
            Some(Details { retry_after_seconds, causes, ..Details::default() }),
        )
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Refusal {
        let cause = Cause { message: message.to_string(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Status::failure(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
            Some(details),
        )
    }

    /// 504 of a revision that has not come yet.
    pub fn too_large_revision(asked: u64, current: u64) -> Refusal {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            ..Cause::default()
        };
        let details =
            Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Status::failure(504, "Timeout", message, Some(details))
    }
}
