//! What may be stored, and what is filled in before it is: Knative's webhooks as functions.
//!
//! Pure: a request and the configuration in, an answer out. The same functions serve the embedded API
//! server, which calls them, and a webhook, which a real one calls.
//! Source: knative.dev/pkg `webhook/resourcesemantics`, knative/serving `cmd/webhook`, knative/eventing `cmd/webhook`.

mod annotations;
mod certificate;
mod config_map;
mod container;
mod domain_mapping;
mod eventing;
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
    convert,
    duck::KReference,
    field_error::FieldErrors,
    keys::eventing::{GROUP, MESSAGING_GROUP, SINKS_GROUP},
    serving::RevisionSpec,
    shape::{
        self, Struct,
        normal::{Unknown, normal},
    },
};
use config::Config;
use k8s_openapi::{
    api::authorization::v1::ResourceAttributes, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{
    DynamicObject, GroupVersionKind,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
    response::StatusSummary,
};
use serde_json::{Value, json};

use crate::revision::deployment;

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
    unknown: Unknown,
    /// Fills in the spec and may change the annotations.
    default: fn(&Seen<'_>, &mut Value, &mut Annotations),
    /// Writes labels that follow from the filled in spec.
    label: fn(&Seen<'_>, &Value, &mut Labels),
    validate: fn(&Seen<'_>, &Value) -> FieldErrors,
    /// The group of the annotations that say who made and who changed the object; none where `default` writes them.
    user_group: Option<&'static str>,
    /// The version of the request, where the rules are those of another.
    view: Option<&'static str>,
}

impl Rules {
    fn eventing(
        group: &'static str,
        shape: &'static Struct,
        default: fn(&Seen<'_>, &mut Value, &mut Annotations),
        validate: fn(&Seen<'_>, &Value) -> FieldErrors,
    ) -> Rules {
        let unknown = Unknown::Denied;
        let user_group = Some(group);
        Rules { shape, unknown, default, label: no_label, validate, user_group, view: None }
    }

    /// The spec of an object, as the rules want to see it.
    fn decode(&self, object: &DynamicObject) -> Result<Value, String> {
        let mut spec = object.data["spec"].clone();
        if let Some(view) = self.view {
            convert::event_type_spec(&mut spec, view, KEPT);
        }
        normal(self.shape, "spec", &spec, self.unknown)
    }
}

/// The version whose rules hold for views of it.
const KEPT: &str = "v1beta2";

type Annotations = std::collections::BTreeMap<String, String>;
type Labels = std::collections::BTreeMap<String, String>;

fn rules(kind: &GroupVersionKind) -> Option<Rules> {
    let rules = |shape, default, validate| {
        let unknown = Unknown::Ignored;
        Some(Rules {
            shape,
            unknown,
            default,
            label: no_label,
            validate,
            user_group: None,
            view: None,
        })
    };
    let GroupVersionKind { group, version, kind } = kind;
    use shape::{autoscaling as a, networking as n, serving as s};
    match (&**group, &**kind) {
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
        _ => eventing::rules(group, version, kind),
    }
}

/// Writes no label.
fn no_label(_: &Seen<'_>, _: &Value, _: &mut Labels) {}

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

/// Applies a patch that [`default`] made, which only adds `spec`, labels and annotations.
fn apply(object: &mut DynamicObject, patch: &[u8]) {
    let operations: Vec<Value> =
        serde_json::from_slice(patch).expect("the patch is what this module wrote");
    for mut operation in operations {
        let value = operation["value"].take();
        match operation["path"].as_str() {
            Some("/spec") => object.data["spec"] = value,
            Some("/metadata/labels") => {
                object.metadata.labels = serde_json::from_value(value).expect("labels are texts");
            }
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
    let Some(rules) = rules(&request.kind) else { return allowed };
    let decode = |object: &DynamicObject, which: &str| {
        rules
            .decode(object)
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
    if let Some(group) = rules.user_group {
        metadata::set_user_of(group, &seen, &spec, &mut annotations);
    }
    let labels_before = object.metadata.labels.clone().unwrap_or_default();
    let mut labels = labels_before.clone();
    (rules.label)(&seen, &spec, &mut labels);
    if let Some(view) = rules.view {
        convert::event_type_spec(&mut spec, KEPT, view);
    }

    let mut patch = Vec::new();
    if spec != object.data["spec"] {
        patch.push(json!({"op": "add", "path": "/spec", "value": spec}));
    }
    if annotations != before {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    }
    if labels != labels_before {
        patch.push(json!({"op": "add", "path": "/metadata/labels", "value": labels}));
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
        return match config_map::check(object, namespace(request, &object.metadata)) {
            Ok(()) => allowed,
            Err(why) => denied(request, format!("validation failed: {why}")),
        };
    }
    let Some(rules) = rules(&request.kind) else { return allowed };
    let decode = |object: &DynamicObject, which: &str| {
        rules.decode(object).map_err(|why| {
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

/// The pod that a Service or Configuration would lead to, for trying whether it could be made. A Configuration that a
/// Service has made is not tried again.
/// Source: knative/serving `pkg/webhook/validate_unstructured.go`.
pub fn pod(request: &AdmissionRequest<DynamicObject>, config: &Config) -> Option<Value> {
    let object = writes(request)?;
    let its_service = crate::metadata::get(&object.metadata.labels, api::keys::serving::SERVICE);
    let is_tried = match &*request.kind.kind {
        "Service" => true,
        "Configuration" => its_service.is_empty(),
        _ => false,
    };
    if !is_tried || request.kind.group != "serving.knative.dev" {
        return None;
    }
    let spec = object.data.get("spec")?.get("template")?.get("spec")?;
    let spec: RevisionSpec = serde_json::from_value(spec.clone()).ok()?;
    let pod = deployment::sample(spec, namespace(request, &object.metadata), config);
    Some(serde_json::to_value(pod).expect("objects are plain data"))
}

/// The job that a JobSink makes, for trying whether it could be made.
/// Source: knative/eventing `pkg/apis/sinks/v1alpha1/job_sink_validation.go`.
pub fn job(request: &AdmissionRequest<DynamicObject>) -> Option<Value> {
    let object = writes(request)?;
    if request.kind.group != SINKS_GROUP || request.kind.kind != "JobSink" {
        return None;
    }
    let mut job = object.data.get("spec")?.get("job")?.clone();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    job["apiVersion"] = "batch/v1".into();
    job["kind"] = "Job".into();
    if !job["metadata"].is_object() {
        job["metadata"] = json!({});
    }
    job["metadata"]["generateName"] = name.into();
    job["metadata"]["namespace"] = namespace(request, &object.metadata).into();
    Some(job)
}

/// What else the author must be allowed to do: to subscribe to a Broker or a channel of another namespace. With it comes the
/// denial of who may not.
/// Source: knative/eventing `pkg/crossnamespace/validation.go`.
pub fn access(
    request: &AdmissionRequest<DynamicObject>,
    config: &Config,
) -> Option<(ResourceAttributes, String)> {
    let object = writes(request)?;
    let field = match (&*request.kind.group, &*request.kind.kind) {
        (GROUP, "Trigger") => "brokerRef",
        (MESSAGING_GROUP, "Subscription") => "channel",
        _ => return None,
    };
    if !config.eventing.features.cross_namespace_event_links {
        return None;
    }
    let reference: KReference =
        serde_json::from_value(object.data.get("spec")?.get(field)?.clone()).ok()?;
    let other = reference.namespace.filter(|other| !other.is_empty())?;
    if other == namespace(request, &object.metadata) {
        return None;
    }
    let version = reference.api_version.unwrap_or_default();
    let group = reference.group.filter(|group| !group.is_empty());
    let group = group.unwrap_or_else(|| version.split('/').next().unwrap_or_default().to_string());
    let user = request.user_info.username.as_deref().unwrap_or_default();
    let kind = &reference.kind;
    let denial = format!(
        "validation failed: user {user} is not authorized to get target resource in namespace: {other}: \
         spec.{kind}Namespace"
    );
    let right = ResourceAttributes {
        verb: Some("knsubscribe".to_string()),
        group: Some(group),
        resource: Some(format!("{}s", kind.to_lowercase())),
        namespace: Some(other),
        name: Some(reference.name),
        ..ResourceAttributes::default()
    };
    Some((right, denial))
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

#[cfg(test)]
mod tests {
    use config::features::{Flag, SecurePodDefaults};

    use super::*;

    /// A request of `ann` about an object in the namespace `a`, which is new or was `old`.
    fn request(object: &Value, old: Option<&Value>) -> AdmissionRequest<DynamicObject> {
        let (group, version) = object["apiVersion"]
            .as_str()
            .and_then(|version| version.split_once('/'))
            .unwrap_or(("", "v1"));
        let kind = json!({"group": group, "version": version, "kind": object["kind"]});
        serde_json::from_value(json!({
            "uid": "u", "kind": kind,
            "resource": {"group": group, "version": version, "resource": "things"},
            "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
            "userInfo": {"username": "ann"}, "namespace": "a", "name": "", "dryRun": false,
            "object": object, "oldObject": old,
        }))
        .expect("this is a request")
    }

    fn serving(kind: &str, metadata: Value, spec: Value) -> Value {
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": kind, "metadata": metadata, "spec": spec
        })
    }

    fn service(name: &str, pod: Value) -> Value {
        serving("Service", json!({ "name": name }), json!({"template": {"spec": pod}}))
    }

    /// The object with what is filled in.
    #[track_caller]
    fn filled(config: &Config, object: &Value, old: Option<&Value>) -> Value {
        let mut request = request(object, old);
        let response = default(&request, config);
        assert!(response.allowed, "{}", response.result.message);
        let object = request.object.as_mut().expect("it has an object");
        if let Some(patch) = &response.patch {
            apply(object, patch);
        }
        serde_json::to_value(&*object).expect("objects are plain data")
    }

    /// The lines of the denial of an object, filled in first; none when it is allowed.
    #[track_caller]
    fn check(config: &Config, object: &Value, old: Option<&Value>, wanted: &[&str]) {
        let response = review(&request(object, old), config);
        let lines: Vec<&str> = response.result.message.lines().collect();
        assert_eq!((response.allowed, &lines[..]), (wanted.is_empty(), wanted));
    }

    #[test]
    fn containers_get_what_is_configured() {
        let mut config = Config::default();
        let data = [("container-name-template", "{{.Name}}-box"), ("revision-cpu-limit", "1000m")]
            .map(|(key, value)| (key.to_string(), value.to_string()));
        config.read("config-defaults", &data.into()).expect("the data is good");
        let given = service(
            "hello",
            json!({"containers": [{"image": "a/bc", "ports": [{"containerPort": 80}]},
                {"image": "d/ef", "name": "side", "livenessProbe": {"grpc": {"port": 5}}}],
                "enableServiceLinks": true}),
        );
        let found = filled(&config, &given, None);
        let resources = json!({"limits": {"cpu": "1"}});
        assert_eq!(
            found["spec"]["template"]["spec"],
            json!({"containerConcurrency": 0, "enableServiceLinks": true, "timeoutSeconds": 300,
                "containers": [
                    {"image": "a/bc", "name": "hello-box-0", "ports": [{"containerPort": 80}],
                        "readinessProbe": {"successThreshold": 1, "tcpSocket": {"port": 0}},
                        "resources": resources},
                    {"image": "d/ef", "name": "side", "resources": resources,
                        "livenessProbe": {"grpc": {"port": 5, "service": ""}}}]})
        );
        // What is filled in stays when it is filled in again.
        assert_eq!(filled(&config, &found, Some(&found)), found);
    }

    #[test]
    fn only_a_change_of_the_spec_has_a_modifier() {
        let config = Config::default();
        let made =
            filled(&config, &service("hello", json!({"containers": [{"image": "a/bc"}]})), None);
        let mut old = made.clone();
        let modifier = "serving.knative.dev/lastModifier";
        old["metadata"]["annotations"][modifier] = "bob".into();
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"x": "y"});
        let mut changed = old.clone();
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "a/cd".into();
        for (new, wanted) in [(&labelled, "bob"), (&changed, "ann")] {
            let found = filled(&config, new, Some(&old));
            assert_eq!(found["metadata"]["annotations"][modifier], wanted);
            check(&config, &found, Some(&old), &[]);
        }
        let mut forged = old.clone();
        forged["metadata"]["annotations"][modifier] = "eve".into();
        check(
            &config,
            &forged,
            Some(&old),
            &[
                "validation failed: invalid value: eve: metadata.annotations.serving.knative.dev/lastModifier",
            ],
        );
        // A configured default that changes is no change of the object.
        let mut later = Config::default();
        later.defaults.container_concurrency = 5;
        let mut bare = old.clone();
        bare["spec"]["template"]["spec"]["containerConcurrency"].take();
        let found = filled(&later, &bare, Some(&bare));
        assert_eq!(found["metadata"]["annotations"][modifier], "bob");
    }

    #[test]
    fn flags_open_and_close() {
        let mut config = Config::default();
        let several = service(
            "hello",
            json!({"containers": [{"image": "a/bc", "ports": [{"containerPort": 80}]},
                {"image": "d/ef", "readinessProbe": {"exec": {}, "periodSeconds": 1}}]}),
        );
        let probe = "spec.template.spec.containers[1].readinessProbe";
        let fields = format!(
            "validation failed: must not set the field(s): {probe}, {probe}.failureThreshold, \
             {probe}.periodSeconds, {probe}.successThreshold, {probe}.timeoutSeconds"
        );
        check(&config, &several, None, &[&fields]);
        config.features.multi_container_probing = Flag::Enabled;
        check(&config, &several, None, &[]);
        config.features.multi_container = Flag::Disabled;
        let off = "validation failed: multi-container is off, but found 2 containers: ";
        check(&config, &several, None, &[off]);

        let pod = json!({"containers": [{"image": "a/bc"}], "initContainers": [{"image": "d/ef",
            "lifecycle": {"preStop": {}}}]});
        config.features.podspec_init_containers = Flag::Enabled;
        check(
            &config,
            &service("hello", pod),
            None,
            &[
                "validation failed: field not allowed in an init container: \
                 spec.template.spec.containers[0].lifecycle",
                "must not set the field(s): spec.template.spec.containers[0].lifecycle",
            ],
        );

        config.features.secure_pod_defaults = SecurePodDefaults::AllowRootBounded;
        let secure = service("hello", json!({"containers": [{"image": "a/bc"}]}));
        let response = review(&request(&secure, None), &config);
        assert_eq!((response.allowed, response.warnings), (true, None));
    }

    #[test]
    fn names_and_owners_are_checked() {
        let config = Config::default();
        let pod = json!({"containers": [{"image": "a/bc"}]});
        let named = |metadata: Value| {
            let template = json!({"template": {"metadata": {"name": "x-1"}, "spec": pod}});
            serving("Service", metadata, template)
        };
        check(
            &config,
            &named(json!({"generateName": "x-"})),
            None,
            &["validation failed: must not set the field(s): spec.template.metadata.name"],
        );
        check(&config, &named(json!({"name": "x"})), None, &[]);
        check(
            &config,
            &serving(
                "Route",
                json!({"name": "r", "labels": {"serving.knative.dev/service": "s"}}),
                json!({"traffic": [{"configurationName": "c", "percent": 100}]}),
            ),
            None,
            &["validation failed: missing field(s): metadata.labels.serving.knative.dev/service"],
        );
        let mapping = |name: &str| {
            json!({"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
                "metadata": {"name": name},
                "spec": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": "b"}}})
        };
        check(
            &config,
            &mapping("x"),
            None,
            &[
                "validation failed: invalid name \"x\": name: Invalid value: \"x\": should be a domain \
                 with at least two segments separated by dots: metadata.name",
                "mismatched namespaces: spec.ref.namespace",
                "parent namespace: \"a\" does not match ref: \"b\"",
            ],
        );
    }

    #[test]
    fn config_maps_are_checked_and_others_left_alone() {
        let config = Config::default();
        let map = |name: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"min-non-active-revisions": "-1"}})
        };
        check(
            &config,
            &map("config-gc"),
            None,
            &["validation failed: min-non-active-revisions must be non-negative, was: -1"],
        );
        check(&config, &map("mine"), None, &[]);
    }

    #[test]
    fn status_is_its_controllers_own() {
        let object = service("NOT A NAME", json!("no pod"));
        let mut request = request(&object, Some(&object));
        request.sub_resource = Some("status".to_string());
        assert!(review(&request, &Config::default()).allowed);
    }
}
