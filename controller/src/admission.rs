//! What may be stored, and what is filled in before it is: Knative's webhooks as functions.
//!
//! Pure: a request and the configuration in, an answer out. The same functions serve the embedded API
//! server, which calls them, and a webhook, which a real one calls.
//! Source: knative.dev/pkg `webhook/resourcesemantics`, knative/serving `cmd/webhook`.

mod annotations;
mod certificate;
mod config_map;
mod container;
mod domain_mapping;
mod image;
mod ingress;
mod look;
mod metadata;
mod metric;
mod pod;
mod pod_autoscaler;
mod probe;
mod reference;
mod revision;
mod scaling;
mod security;
mod serverless_service;
mod serving;
mod traffic;
mod volume;

use api::{
    field_error::FieldErrors,
    shape::{self, Struct, normal::normal},
};
use config::Config;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
    response::StatusSummary,
};
use serde_json::{Value, json};

/// Name of the webhook that fills in, in the texts of its denials.
pub const DEFAULTING: &str = "webhook.serving.knative.dev";
/// Name of the webhook that checks objects, in the texts of its denials.
pub const VALIDATION: &str = "validation.webhook.serving.knative.dev";
/// Name of the webhook that checks ConfigMaps, in the texts of its denials.
pub const CONFIG_VALIDATION: &str = "config.webhook.serving.knative.dev";

/// What the rules of a kind look at.
#[derive(Clone, Copy)]
struct Seen<'a> {
    config: &'a Config,
    /// Who asks.
    user: &'a str,
    metadata: &'a ObjectMeta,
    /// Of the request; objects in a new namespace may not carry it themselves yet.
    namespace: &'a str,
    /// Whether the object is new.
    is_new: bool,
    /// The object as it was, when it is changed: its metadata and its normalised spec.
    old: Option<(&'a ObjectMeta, &'a Value)>,
}

/// The rules of a kind. Specs are normalised before any of them sees one.
struct Rules {
    shape: &'static Struct,
    /// Fills in the spec and may change the annotations.
    default: fn(&Seen<'_>, &mut Value, &mut Annotations),
    validate: fn(&Seen<'_>, &Value) -> FieldErrors,
}

type Annotations = std::collections::BTreeMap<String, String>;

fn rules(group: &str, kind: &str) -> Option<Rules> {
    let rules = |shape, default, validate| Some(Rules { shape, default, validate });
    use shape::{autoscaling as a, networking as n, serving as s};
    match (group, kind) {
        ("serving.knative.dev", "Service") => {
            rules(&s::SERVICE_SPEC, serving::default_service, serving::validate_service)
        }
        ("serving.knative.dev", "Configuration") => rules(
            &s::CONFIGURATION_SPEC,
            serving::default_configuration,
            serving::validate_configuration,
        ),
        ("serving.knative.dev", "Revision") => {
            rules(&s::REVISION_SPEC, serving::default_revision, serving::validate_revision)
        }
        ("serving.knative.dev", "Route") => {
            rules(&s::ROUTE_SPEC, serving::default_route, serving::validate_route)
        }
        ("serving.knative.dev", "DomainMapping") => {
            rules(&s::DOMAIN_MAPPING_SPEC, domain_mapping::default, domain_mapping::validate)
        }
        ("autoscaling.internal.knative.dev", "PodAutoscaler") => {
            rules(&a::POD_AUTOSCALER_SPEC, pod_autoscaler::default, pod_autoscaler::validate)
        }
        ("autoscaling.internal.knative.dev", "Metric") => {
            rules(&a::METRIC_SPEC, nothing, metric::validate)
        }
        ("networking.internal.knative.dev", "Ingress") => {
            rules(&n::INGRESS_SPEC, ingress::default, ingress::validate)
        }
        ("networking.internal.knative.dev", "ServerlessService") => {
            rules(&n::SERVERLESS_SERVICE_SPEC, nothing, serverless_service::validate)
        }
        ("networking.internal.knative.dev", "Certificate") => {
            rules(&n::CERTIFICATE_SPEC, nothing, certificate::validate)
        }
        _ => None,
    }
}

/// Fills in nothing.
fn nothing(_: &Seen<'_>, _: &mut Value, _: &mut Annotations) {}

/// Fills in and then checks: for a caller that asks once.
pub fn review(request: &AdmissionRequest<DynamicObject>, config: &Config) -> AdmissionResponse {
    let mut filled = default(request, config);
    if !filled.allowed {
        return filled;
    }
    let mut request = request.clone();
    if let (Some(patch), Some(object)) = (&filled.patch, &mut request.object) {
        apply(object, patch);
    }
    let mut checked = validate(&request, config);
    checked.patch = None;
    if checked.allowed {
        filled.warnings = checked.warnings;
        return filled;
    }
    checked
}

/// Applies a patch that [`default`] made, which only adds `spec` and annotations.
fn apply(object: &mut DynamicObject, patch: &[u8]) {
    let operations: Vec<Value> =
        serde_json::from_slice(patch).expect("the patch is what this module wrote");
    for mut operation in operations {
        let value = operation["value"].take();
        match operation["path"].as_str() {
            Some("/spec") => object.data["spec"] = value,
            _ => {
                object.metadata.annotations =
                    serde_json::from_value(value).expect("annotations are texts");
            }
        }
    }
}

/// Fills in what the author of an object left out; the answer's patch says what.
pub fn default(request: &AdmissionRequest<DynamicObject>, config: &Config) -> AdmissionResponse {
    let allowed = AdmissionResponse::from(request);
    let Some(object) = writes(request) else { return allowed };
    let Some(rules) = rules(&request.kind.group, &request.kind.kind) else { return allowed };
    let decode = |object: &DynamicObject, which: &str| {
        normal(rules.shape, "spec", &object.data["spec"])
            .map_err(|why| format!("mutation failed: cannot decode incoming {which} object: {why}"))
    };
    let mut spec = match decode(object, "new") {
        Ok(spec) => spec,
        Err(why) => return denied(request, why),
    };
    let user = request.user_info.username.as_deref().unwrap_or_default();
    let namespace = namespace(request, &object.metadata);
    let old = match request.old_object.as_ref().filter(|_| is_update(request)) {
        None => None,
        Some(old) => match decode(old, "old") {
            Err(why) => return denied(request, why),
            // What would be filled in today, so that a change of the configuration is no change of the
            // object. On its own it is neither new nor changed.
            Ok(mut spec) => {
                let metadata = &old.metadata;
                let seen = Seen { config, user, metadata, namespace, is_new: false, old: None };
                (rules.default)(&seen, &mut spec, &mut Annotations::new());
                Some((metadata, spec))
            }
        },
    };
    let seen = Seen {
        config,
        user,
        metadata: &object.metadata,
        namespace,
        is_new: !is_update(request),
        old: old.as_ref().map(|(metadata, spec)| (*metadata, spec)),
    };
    let before = object.metadata.annotations.clone().unwrap_or_default();
    let mut annotations = before.clone();
    (rules.default)(&seen, &mut spec, &mut annotations);

    let mut patch = Vec::new();
    if spec != object.data["spec"] {
        patch.push(json!({"op": "add", "path": "/spec", "value": spec}));
    }
    if annotations != before {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    }
    if patch.is_empty() {
        return allowed;
    }
    let patch = serde_json::from_value(Value::Array(patch)).expect("these are patch operations");
    allowed.with_patch(patch).expect("patch operations are plain data")
}

/// Checks an object as it is to be stored.
pub fn validate(request: &AdmissionRequest<DynamicObject>, config: &Config) -> AdmissionResponse {
    let mut allowed = AdmissionResponse::from(request);
    let Some(object) = writes(request) else { return allowed };
    if request.kind.group.is_empty() && request.kind.kind == "ConfigMap" {
        return match config_map::check(object) {
            Ok(()) => allowed,
            Err(why) => denied(request, format!("validation failed: {why}")),
        };
    }
    let Some(rules) = rules(&request.kind.group, &request.kind.kind) else { return allowed };
    let decode = |object: &DynamicObject, which: &str| {
        normal(rules.shape, "spec", &object.data["spec"]).map_err(|why| {
            format!("decoding request failed: cannot decode incoming {which} object: {why}")
        })
    };
    let spec = match decode(object, "new") {
        Ok(spec) => spec,
        Err(why) => return denied(request, why),
    };
    let old = match request.old_object.as_ref().filter(|_| is_update(request)) {
        None => None,
        Some(old) => match decode(old, "old") {
            Ok(spec) => Some((&old.metadata, spec)),
            Err(why) => return denied(request, why),
        },
    };
    let seen = Seen {
        config,
        user: request.user_info.username.as_deref().unwrap_or_default(),
        metadata: &object.metadata,
        namespace: namespace(request, &object.metadata),
        is_new: !is_update(request),
        old: old.as_ref().map(|(metadata, spec)| (*metadata, spec)),
    };
    let errors = (rules.validate)(&seen, &spec);
    let warnings = errors.warnings();
    let warnings = (!warnings.is_empty()).then_some(warnings);
    match errors.text() {
        None => {
            allowed.warnings = warnings;
            allowed
        }
        Some(text) => {
            let mut denial = denied(request, format!("validation failed: {text}"));
            denial.warnings = warnings;
            denial
        }
    }
}

/// The object, when the request creates or changes one; status is its controller's own business.
fn writes(request: &AdmissionRequest<DynamicObject>) -> Option<&DynamicObject> {
    let is_write = matches!(request.operation, Operation::Create | Operation::Update);
    let is_whole = request.sub_resource.as_deref().unwrap_or_default().is_empty();
    request.object.as_ref().filter(|_| is_write && is_whole)
}

fn is_update(request: &AdmissionRequest<DynamicObject>) -> bool {
    request.operation == Operation::Update
}

fn namespace<'a>(
    request: &'a AdmissionRequest<DynamicObject>,
    metadata: &'a ObjectMeta,
) -> &'a str {
    metadata.namespace.as_deref().or(request.namespace.as_deref()).unwrap_or_default()
}

fn denied(request: &AdmissionRequest<DynamicObject>, why: String) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    response.allowed = false;
    response.result.status = Some(StatusSummary::Failure);
    response.result.code = 400;
    response.result.reason = "BadRequest".to_string();
    response.result.message = why;
    response
}
