//! When a Broker is ready.

use api::condition::{READY, find};
use runtime::tracker::{Found, object::Object};
use serde_json::{Value, json};

use super::*;

/// Plans a Broker in a namespace with a Service `sink`, and tells its address, the condition `Ready` and the error.
fn planned(spec: Value, class: &str, registered: bool) -> Option<(Option<String>, String, String)> {
    let broker: Broker = serde_json::from_value(json!({
        "metadata": {
            "name": "b", "namespace": "ns", "generation": 1,
            "annotations": { "eventing.knative.dev/broker.class": class },
        },
        "spec": spec,
    }))
    .unwrap();
    let lookup = Lookup {
        object: &|kind, key| match (&*kind.kind, &*key.name) {
            ("Service", "sink") | ("ConfigMap", "settings") => {
                let object =
                    json!({ "metadata": { "name": key.name, "namespace": key.namespace } });
                Found::Here(Object::read(&object.to_string()).unwrap().into())
            }
            _ => Found::Missing,
        },
        objects: &|_, _| Vec::new(),
    };
    let seen = Seen { lookup, registered, system_namespace: "sys" };
    let plan = plan(&broker, seen, Timestamp::UNIX_EPOCH);
    let patch: Value = serde_json::from_str(&plan.status?.body).unwrap();
    let status: BrokerStatus = serde_json::from_value(patch["status"].clone()).unwrap();
    let ready = find(&status.conditions, READY).unwrap();
    let said = format!("{} {}", ready.status, ready.reason());
    Some((status.address.and_then(|it| it.url), said, plan.error.unwrap_or_default()))
}

#[test]
fn a_broker_is_ready_when_its_log_is_open_and_all_that_it_names_is_there() {
    let url = Some("http://broker-ingress.sys.svc.cluster.local/ns/b".to_owned());
    let check = |spec: Value, registered, address: &Option<String>, ready: &str, error: &str| {
        let found = planned(spec, "MTChannelBasedBroker", registered);
        assert_eq!(found, Some((address.clone(), ready.to_owned(), error.to_owned())));
    };
    check(json!({}), true, &url, "True ", "");
    check(json!({}), false, &None, "Unknown ChannelNotReady", "");
    let config = |name: &str| json!({ "config": { "apiVersion": "v1", "kind": "ConfigMap", "name": name, "namespace": "ns" } });
    check(config("settings"), true, &url, "True ", "");
    let missing = "configmap \"nope\" not found";
    check(config("nope"), true, &None, "False ChannelTemplateFailed", missing);
    let sink = |name: &str| {
        let reference = json!({ "apiVersion": "v1", "kind": "Service", "name": name });
        json!({ "delivery": { "deadLetterSink": { "ref": reference } } })
    };
    check(sink("sink"), true, &url, "True ", "");
    let missing = "failed to get object ns/nope: services \"nope\" not found";
    check(sink("nope"), true, &None, "Unknown ", missing);
}

#[test]
fn a_broker_of_another_class_is_left_alone() {
    assert_eq!(planned(json!({}), "Other", true), None);
    assert!(planned(json!({}), "Kafka", true).is_some());
}
