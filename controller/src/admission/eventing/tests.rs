//! What the recorded cases do not have: other settings, Weft's annotations, who may do what.

use config::Config;
use kube::core::{DynamicObject, admission::AdmissionRequest};
use serde_json::{Value, json};

use crate::admission::{access, default, job, review};

/// A request of `user` about an object in the namespace `a`, which is new or was `old`.
fn request(user: &str, object: &Value, old: Option<&Value>) -> AdmissionRequest<DynamicObject> {
    let version = object["apiVersion"].as_str().expect("objects have versions");
    let (group, version) = version.split_once('/').expect("kinds of Eventing have groups");
    let kind = json!({"group": group, "version": version, "kind": object["kind"]});
    let mut object = object.clone();
    object["metadata"]["namespace"] = "a".into();
    serde_json::from_value(json!({
        "uid": "u", "kind": kind,
        "resource": {"group": group, "version": version, "resource": "things"},
        "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
        "userInfo": {"username": user}, "namespace": "a", "name": "", "dryRun": false,
        "object": object, "oldObject": old,
    }))
    .expect("this is a request")
}

fn object(kind: &str, annotations: Value, spec: Value) -> Value {
    let version = match kind {
        "Broker" | "Trigger" => "eventing.knative.dev/v1",
        "EventPolicy" => "eventing.knative.dev/v1alpha1",
        "Channel" | "InMemoryChannel" | "Subscription" => "messaging.knative.dev/v1",
        "JobSink" => "sinks.knative.dev/v1alpha1",
        _ => "sources.knative.dev/v1",
    };
    let metadata = json!({"name": "x", "annotations": annotations});
    json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
}

fn trigger(annotations: Value, more: Value) -> Value {
    let mut spec = json!({"broker": "b", "subscriber": {"uri": "http://x"}});
    for (field, value) in more.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    object("Trigger", annotations, spec)
}

/// Eventing's ConfigMap `name` with one key.
fn with(name: &str, key: &str, value: &str) -> Config {
    let mut config = Config::default();
    let data = [(key.to_string(), value.to_string())].into();
    config.eventing.read(name, &data).expect("the data is good");
    config
}

/// What is filled into a spec.
#[track_caller]
fn filled(config: &Config, object: &Value) -> Value {
    let response = default(&request("ann", object, None), config);
    assert!(response.allowed, "{}", response.result.message);
    let patch: Value = serde_json::from_slice(&response.patch.unwrap_or_default())
        .expect("something is filled in");
    let operations = patch.as_array().expect("a patch is a list");
    let spec = operations.iter().find(|it| it["path"] == "/spec");
    spec.map_or_else(|| object["spec"].clone(), |it| it["value"].clone())
}

/// The denial of an object; nothing when it is allowed.
#[track_caller]
fn check(config: &Config, object: &Value, wanted: &str) {
    check_change(config, "ann", object, None, wanted);
}

#[track_caller]
fn check_change(config: &Config, user: &str, object: &Value, old: Option<&Value>, wanted: &str) {
    let response = review(&request(user, object, old), config);
    let message = response.result.message.strip_prefix("validation failed: ").unwrap_or_default();
    assert_eq!((response.allowed, message), (wanted.is_empty(), wanted));
}

#[test]
fn defaults_are_those_of_the_namespace_and_the_class() {
    let config = with(
        "config-br-defaults",
        "default-br-config",
        "clusterDefault: {brokerClass: Big, apiVersion: v1, kind: ConfigMap, name: big, delivery: {retry: 3, timeout: PT1S}}
namespaceDefaults: {a: {brokerClass: Small, apiVersion: v1, kind: ConfigMap, name: small}}",
    );
    let found = filled(&config, &object("Broker", json!({}), json!({})));
    let small = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "small", "namespace": "a"});
    assert_eq!(found, json!({"config": small}));
    // A timeout is no default.
    let found = filled(
        &config,
        &object("Broker", json!({"eventing.knative.dev/broker.class": "Big"}), json!({})),
    );
    assert_eq!(found["delivery"], json!({"retry": 3}));

    let config = with(
        "default-ch-webhook",
        "default-ch-config",
        "namespaceDefaults: {a: {apiVersion: x/v1, kind: Own, spec: {size: 3}}}",
    );
    let found = filled(&config, &object("Channel", json!({}), json!({})));
    let own = json!({"apiVersion": "x/v1", "kind": "Own", "spec": {"size": 3}});
    assert_eq!(found["channelTemplate"], own);
}

#[test]
fn a_broker_may_have_to_keep_its_configuration_in_its_namespace() {
    let config = with(
        "config-br-defaults",
        "default-br-config",
        "clusterDefault: {brokerClass: Big, disallowDifferentNamespaceConfig: true}",
    );
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "b"});
    let broker = object("Broker", json!({}), json!({"config": reference}));
    check(
        &config,
        &broker,
        "mismatched namespaces: spec.config.namespace\nparent namespace: \"a\" does not match ref: \"b\"",
    );
    check(&Config::default(), &broker, "");
}

#[test]
fn filters_are_checked_to_the_last() {
    let config = Config::default();
    for (filters, wanted) in [
        (json!([{"exact": {"type": "a"}, "cesql": "TRUE"}]), TWO_DIALECTS),
        (
            json!([{"not": {"all": [{"prefix": {"A": "b"}}]}}]),
            "invalid key name \"A\": spec.filters[0].not.all[0].prefix[A]\nAttribute name must start with a letter \
             and can only contain lowercase alphanumeric",
        ),
        // The index of a later filter comes before, as upstream has it.
        (
            json!([{"exact": {"A": "b"}}, {}]),
            "invalid key name \"A\": spec.filters[1][0].exact[A]\nAttribute name must start with a letter and can \
             only contain lowercase alphanumeric",
        ),
        (
            json!([{"cesql": "type ="}]),
            "invalid value: type =: spec.filters[0].cesql\nparse error: syntax error: column 7: expected an \
             attribute, a value, a function or `(`, found the end",
        ),
        (json!([{"any": [{"cesql": "type = 'a'"}, {"not": {"suffix": {"source": "b"}}}]}]), ""),
    ] {
        check(&config, &trigger(json!({}), json!({"filters": filters})), wanted);
    }
}

const TWO_DIALECTS: &str = "multiple dialects found, filters can have only one dialect set: ";

#[test]
fn our_own_annotations_are_checked() {
    let config = Config::default();
    for (kind, key, value, wanted) in [
        ("Trigger", "order", "key", ""),
        ("Trigger", "order", "strict", "key or none"),
        ("Trigger", "in-flight", "0", "a number from 1 to 10000"),
        ("Trigger", "paused", "yes", "true or false"),
        ("Broker", "retention-age", "1h", "an ISO 8601 duration above 0, such as PT1H or P7D"),
        ("Broker", "retention-age", "PT1H", ""),
        ("Channel", "retention-bytes", "x", "a number of bytes above 0, such as 500Mi"),
    ] {
        let key = format!("eventing.weft.dev/{key}");
        let annotations = json!({ &key: value });
        let object = match kind {
            "Trigger" => trigger(annotations, json!({})),
            _ => object(kind, annotations, json!({})),
        };
        let wanted = match wanted {
            "" => String::new(),
            _ => format!("invalid value: {value}: metadata.annotations[{key}]\nexpected {wanted}"),
        };
        check(&config, &object, &wanted);
    }
}

#[test]
fn subscribers_are_written_by_controllers_only() {
    let config = Config::default();
    let old = object("InMemoryChannel", json!({}), json!({}));
    let spec = json!({"subscribers": [{"uid": "1", "subscriberUri": "http://x"}]});
    let new = object("InMemoryChannel", json!({}), spec);
    for (user, is_allowed) in [
        ("ann", false),
        ("system:serviceaccount:knative-eventing:eventing-controller", true),
        ("system:serviceaccount:knative-serving:weft-controller", true),
        ("system:weft", true),
    ] {
        let response = review(&request(user, &new, Some(&old)), &config);
        assert_eq!(response.allowed, is_allowed, "{user}");
        let text = format!(
            "validation failed: Channel.Spec.Subscribers changed by user {user} which was not the \
             system:serviceaccount:knative-eventing:eventing-controller service account: spec.subscribers\n"
        );
        assert!(
            is_allowed || response.result.message.starts_with(&text),
            "{}",
            response.result.message
        );
    }
    let spec = json!({"subscribers": [{"uid": "1"}]});
    check(
        &config,
        &object("InMemoryChannel", json!({}), spec),
        "missing field(s): spec.subscribable.subscriber[0].replyURI, \
         spec.subscribable.subscriber[0].subscriberURI\nexpected at least one of, got none",
    );
}

#[test]
fn who_looks_into_another_namespace_is_asked_for() {
    let reference = |namespace: &str| json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b", "namespace": namespace});
    let spec = |namespace: &str| json!({"brokerRef": reference(namespace), "subscriber": {"uri": "http://x"}});
    let on = with("config-features", "cross-namespace-event-links", "enabled");
    for (config, namespace, is_asked) in
        [(&on, "other", true), (&on, "a", false), (&Config::default(), "other", false)]
    {
        let trigger = object("Trigger", json!({}), spec(namespace));
        let question = access(&request("ann", &trigger, None), config);
        assert_eq!(question.is_some(), is_asked, "{namespace}");
        let Some((what, denial)) = question else { continue };
        assert_eq!(
            (what.verb.as_deref(), what.group.as_deref(), what.resource.as_deref()),
            (Some("knsubscribe"), Some("eventing.knative.dev"), Some("brokers"))
        );
        assert_eq!(
            denial,
            "validation failed: user ann is not authorized to get target resource in namespace: other: \
             spec.BrokerNamespace"
        );
    }
}

#[test]
fn the_job_of_a_sink_is_tried() {
    let container = json!({"name": "c", "image": "i"});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let sink = object("JobSink", json!({}), json!({"job": {"spec": {"template": template}}}));
    let found = filled(&Config::default(), &sink);
    let container = &found["job"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "K_EXECUTION_MODE", "value": "batch"}]));
    let job = job(&request("ann", &sink, None)).expect("there is a job to try");
    assert_eq!(job["metadata"]["generateName"], "x");
    assert_eq!(job["kind"], "Job");
}
