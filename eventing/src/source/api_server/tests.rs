//! What is made of the changes that a watch tells, and when an ApiServerSource may run.

use api::condition::find;
use runtime::tracker::{Found, object::Object};
use serde_json::Value as Json;

use super::*;

fn source(over: Json) -> ApiServerSource {
    let mut source = json!({
        "metadata": { "name": "s", "namespace": "ns", "uid": "u", "generation": 1, "finalizers": [FINALIZER] },
        "spec": {
            "serviceAccountName": "watcher",
            "resources": [{ "apiVersion": "apps/v1", "kind": "Deployment" }],
            "sink": { "ref": { "apiVersion": "v1", "kind": "Service", "name": "sink" } },
        },
    });
    for (key, value) in over.as_object().unwrap() {
        source["spec"][key] = value.clone();
    }
    serde_json::from_value(source).unwrap()
}

#[test]
fn a_source_is_ready_when_it_may_see_and_sees() {
    let planned = |answer: Option<&str>, running: bool| {
        let lookup = Lookup {
            object: &|_, key| {
                let object =
                    json!({ "metadata": { "name": key.name, "namespace": key.namespace } });
                Found::Here(Object::read(&object.to_string()).unwrap().into())
            },
            objects: &|_, _| Vec::new(),
        };
        let seen = Seen {
            lookup,
            namespaces: &Vec::new,
            missing: &|_| answer.map(str::to_owned),
            running,
            event_types: &[],
        };
        plan(&source(json!({})), seen, Timestamp::UNIX_EPOCH)
    };
    let plan = planned(None, false);
    assert!(plan.status.is_none());
    assert_eq!(plan.need[0].user, "system:serviceaccount:ns:watcher");
    let denied = missing(&plan.need[0], &[vec!["get", "watch"]]);
    assert_eq!(
        denied,
        "get, watch resource \"deployments\" in API group \"apps\" in Namespace \"ns\""
    );
    let ready = |plan: &Plan<Need>| {
        let patch: Json = serde_json::from_str(&plan.status.as_ref().unwrap().body).unwrap();
        let status: ApiServerSourceStatus =
            serde_json::from_value(patch["status"].clone()).unwrap();
        find(&status.source.conditions, "Ready").unwrap().status.clone()
    };
    let plan = planned(Some(&denied), true);
    assert_eq!(ready(&plan), "False");
    assert!(plan.error.unwrap().starts_with("insufficient permissions: User system:"));
    assert_eq!(ready(&planned(Some(""), false)), "Unknown");
    let plan = planned(Some(""), true);
    assert_eq!((ready(&plan).as_str(), plan.writes.len()), ("True", 3));
}

#[test]
fn an_event_tells_of_a_change() {
    let owner =
        json!([{ "apiVersion": "x/v1", "kind": "X", "name": "x", "uid": "1", "controller": true }]);
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "d", "namespace": "ns", "ownerReferences": owner },
    });
    let told = |over: Json| {
        let object = serde_json::value::to_raw_value(&object).unwrap();
        let kind = ObjectKind::new("apps/v1", "Deployment");
        event(&source(over), (&kind, &object), Change::Update, "1", Timestamp::UNIX_EPOCH).unwrap()
    };
    let reference = told(json!({})).unwrap();
    assert_eq!(reference.kind(), "dev.knative.apiserver.ref.update");
    assert_eq!(
        reference.attribute("subject"),
        Some(Value::String("/apis/apps/v1/namespaces/ns/deployments/d"))
    );
    let data: Json = serde_json::from_slice(&reference.data().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({ "kind": "Deployment", "namespace": "ns", "name": "d", "apiVersion": "apps/v1" })
    );
    let whole = told(json!({ "mode": "Resource" })).unwrap();
    assert_eq!(whole.kind(), "dev.knative.apiserver.resource.update");
    assert_eq!(serde_json::from_slice::<Json>(&whole.data().unwrap()).unwrap(), object);
    assert!(told(json!({ "owner": { "apiVersion": "x/v1", "kind": "X" } })).is_some());
    assert!(told(json!({ "owner": { "apiVersion": "x/v1", "kind": "Y" } })).is_none());
}
