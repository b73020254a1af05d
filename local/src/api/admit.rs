//! Admission by functions in this process, with the texts of a webhook.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use serde_json::{Value, json};

use super::authorize::{self, Attributes};
use super::call::Call;
use super::create;
use super::path::Path;
use super::query::{FieldValidation, Query, WriteOptions};
use super::status::{Refusal, Status};
use super::user::User;
use crate::kinds::Kind;
use crate::patch;

/// Decides about objects before they are stored.
#[derive(Clone)]
pub struct Admission {
    /// Fills in what the author of an object left out: its patch is applied before the object is checked
    /// against its schema.
    pub default: Decide,
    /// Checks what is to be stored, after the schema.
    pub validate: Decide,
    /// For a dry run of an object, the pod that it would lead to: whether that could be made decides, too.
    pub pod: Preview,
    /// The job that an object would lead to: whether that could be made decides, dry run or not.
    pub job: Preview,
    /// What else the author of an object must be allowed to do.
    pub access: Access,
}

/// One decision.
pub type Decide = Arc<dyn Fn(&AdmissionRequest<DynamicObject>) -> AdmissionResponse + Send + Sync>;

/// A pod or job that is not to be stored; none for objects that lead to none.
pub type Preview = Arc<dyn Fn(&AdmissionRequest<DynamicObject>) -> Option<Value> + Send + Sync>;

/// A right, and the denial of who does not have it; none for objects that need no other right.
pub type Access = Arc<
    dyn Fn(&AdmissionRequest<DynamicObject>) -> Option<(ResourceAttributes, String)> + Send + Sync,
>;

/// The two times at which the platform is asked.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Default,
    Validate,
}

/// The name of the webhook that Knative has for a kind; none when it has none.
fn webhook(kind: &Kind, namespace: &str, phase: Phase) -> Option<&'static str> {
    match (&*kind.group, phase) {
        (
            "serving.knative.dev"
            | "autoscaling.internal.knative.dev"
            | "networking.internal.knative.dev",
            Phase::Default,
        ) => Some("webhook.serving.knative.dev"),
        (
            "serving.knative.dev"
            | "autoscaling.internal.knative.dev"
            | "networking.internal.knative.dev",
            Phase::Validate,
        ) => Some("validation.webhook.serving.knative.dev"),
        // A channel's own controller has its webhook.
        ("messaging.knative.dev", phase) if &*kind.kind == "InMemoryChannel" => Some(match phase {
            Phase::Default => "inmemorychannel.eventing.knative.dev",
            Phase::Validate => "validation.inmemorychannel.eventing.knative.dev",
        }),
        (
            "eventing.knative.dev"
            | "messaging.knative.dev"
            | "sources.knative.dev"
            | "flows.knative.dev"
            | "sinks.knative.dev",
            Phase::Default,
        ) => Some("webhook.eventing.knative.dev"),
        (
            "eventing.knative.dev"
            | "messaging.knative.dev"
            | "sources.knative.dev"
            | "flows.knative.dev"
            | "sinks.knative.dev",
            Phase::Validate,
        ) => Some("validation.webhook.eventing.knative.dev"),
        ("", Phase::Validate) if &*kind.plural == "configmaps" => match namespace {
            "knative-serving" => Some("config.webhook.serving.knative.dev"),
            "knative-eventing" => Some("config.webhook.eventing.knative.dev"),
            _ => None,
        },
        _ => None,
    }
}

/// Asks the platform to fill in an object and applies what it changes. Says whether it changed anything.
pub fn admit(
    call: &mut Call<'_>,
    operation: &str,
    value: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<bool, Refusal> {
    let Some(response) = ask(call, Phase::Default, operation, value, old, dry_run)? else {
        return Ok(false);
    };
    let Some(bytes) = response.patch else { return Ok(false) };
    let operations = serde_json::from_slice(&bytes).map_err(Status::internal)?;
    patch::json::apply(value, &operations).map_err(|error| {
        Status::internal(format!("the platform's own patch does not apply: {error:?}"))
    })?;
    Ok(true)
}

/// Asks the platform whether an object may be stored, or deleted.
pub fn validate(
    call: &mut Call<'_>,
    operation: &str,
    value: &Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Refusal> {
    ask(call, Phase::Validate, operation, value, old, dry_run).map(drop)
}

/// Asks whether the pod could be made that an object of a dry run would lead to.
/// Source: knative/serving `pkg/webhook/podspec_dryrun.go`.
fn try_pod(call: &Call<'_>, pod: Value) -> Result<(), String> {
    try_creation(call, ("", "v1", "pods"), pod).map_err(|why| {
        format!("validation callback failed: dry run failed with {why}: spec.template")
    })
}

/// Asks whether the job could be made that an object would lead to.
/// Source: knative/eventing `pkg/apis/sinks/v1alpha1/job_sink_validation.go`.
fn try_job(call: &Call<'_>, job: Value) -> Result<(), String> {
    try_creation(call, ("batch", "v1", "jobs"), job)
        .map_err(|why| format!("validation failed: {why}: spec.job"))
}

/// Makes an object without storing it; the error says why it could not be made.
fn try_creation(
    call: &Call<'_>,
    (group, version, resource): (&str, &str, &str),
    object: Value,
) -> Result<(), String> {
    let Some(kind) = call.server.registry.find(group, version, resource) else { return Ok(()) };
    let mut creation = Call {
        server: call.server,
        user: User::platform(),
        path: Path {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: call.path.namespace.clone(),
            namespaced: true,
            resource: resource.to_owned(),
            ..Path::default()
        },
        kind: kind.clone(),
        query: Query::default(),
        method: Method::POST,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        now: call.now,
        form: call.form.clone(),
        pretty: false,
        warnings: Vec::new(),
    };
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    creation
        .decoded(&kind, object, Vec::new(), FieldValidation::Strict)
        .and_then(|object| create::insert(&mut creation, object, &options, |_, _| {}))
        .map(drop)
        .map_err(|refusal| refusal.message.clone())
}

/// Whether the author of a request has a right.
fn is_allowed(call: &Call<'_>, right: ResourceAttributes) -> bool {
    let what = Attributes {
        verb: right.verb.unwrap_or_default(),
        group: right.group.unwrap_or_default(),
        resource: right.resource.unwrap_or_default(),
        subresource: right.subresource.unwrap_or_default(),
        namespace: right.namespace.unwrap_or_default(),
        name: right.name.unwrap_or_default(),
        path: String::new(),
    };
    authorize::allowed(call.server, &call.user, &what).is_some()
}

fn ask(
    call: &mut Call<'_>,
    phase: Phase,
    operation: &str,
    value: &Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Option<AdmissionResponse>, Refusal> {
    // What controllers write of an object is theirs.
    if call.subresource() == "status" {
        return Ok(None);
    }
    let Some(name) = webhook(&call.kind, &call.path.namespace, phase) else { return Ok(None) };
    let Some(admission) = call.server.admission.read().clone() else { return Ok(None) };
    let Admission { pod: preview, job, access, .. } = admission.clone();
    let admission = if phase == Phase::Default { admission.default } else { admission.validate };
    let kind = &call.kind;
    let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let gvr = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let subresource = call.subresource();
    let mut request = json!({
        "uid": uuid::Uuid::new_v4().to_string(), "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
        "name": if call.path.name.is_empty() { value["metadata"]["name"].as_str().unwrap_or_default() } else { &call.path.name },
        "namespace": call.path.namespace, "operation": operation,
        "userInfo": {"username": call.user.name, "uid": call.user.uid, "groups": call.user.groups},
        "object": value, "oldObject": old, "dryRun": dry_run,
    });
    if !subresource.is_empty() {
        request["subResource"] = subresource.into();
    }
    let request: AdmissionRequest<DynamicObject> =
        serde_json::from_value(request).map_err(Status::internal)?;
    let response = admission(&request);
    call.warnings.extend(response.warnings.iter().flatten().cloned());
    let pod = (phase == Phase::Validate && dry_run && response.allowed)
        .then(|| preview(&request))
        .flatten();
    if let Some(pod) = pod {
        try_pod(call, pod).map_err(|why| {
            let message = format!("admission webhook {name:?} denied the request: {why}");
            Status::other(400, "BadRequest", message, None)
        })?;
    }
    if response.allowed && phase == Phase::Validate {
        let denial = access(&request)
            .and_then(|(right, denial)| (!is_allowed(call, right)).then_some(denial))
            .or_else(|| try_job(call, job(&request)?).err());
        if let Some(why) = denial {
            let message = format!("admission webhook {name:?} denied the request: {why}");
            return Err(Status::other(400, "BadRequest", message, None));
        }
    }
    if response.allowed {
        return Ok(Some(response));
    }
    let code = Some(response.result.code).filter(|code| (400..600).contains(code)).unwrap_or(400);
    let message =
        format!("admission webhook {name:?} denied the request: {}", response.result.message);
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        409 => "Conflict",
        422 => "Invalid",
        _ => "",
    };
    Err(Status::other(code, reason, message, None))
}
