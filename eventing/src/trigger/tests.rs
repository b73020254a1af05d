//! When a Trigger is ready.

use serde_json::{Value, json};

use super::*;

/// Plans a Trigger of a Broker, in a namespace with a Service `sink` and PingSources, and tells of the conditions that do
/// not hold, with their reasons.
fn planned(over: Value, broker: Option<Value>, registered: bool) -> Vec<String> {
    let mut trigger = json!({
        "metadata": { "name": "t", "namespace": "ns", "generation": 1, "annotations": {} },
        "spec": { "broker": "b", "subscriber": { "uri": "http://a.b" } },
    });
    for (key, value) in over["spec"].as_object().into_iter().flatten() {
        trigger["spec"][key] = value.clone();
    }
    if let Some(dependency) = over["dependency"].as_str() {
        let reference = json!({ "apiVersion": "sources.knative.dev/v1", "kind": "PingSource", "name": dependency });
        trigger["metadata"]["annotations"]["knative.dev/dependency"] = json!(reference.to_string());
    }
    let trigger: Trigger = serde_json::from_value(trigger).unwrap();
    let broker: Option<Broker> = broker.map(|it| serde_json::from_value(it).unwrap());
    let lookup = Lookup {
        object: &|kind, key| {
            let metadata = json!({ "name": key.name, "namespace": key.namespace, "generation": 2 });
            let status = |observed: i64, ready: &str| {
                let ready = json!({ "type": "Ready", "status": ready, "reason": "Because" });
                json!({ "observedGeneration": observed, "conditions": [ready] })
            };
            let status = match (&*kind.kind, &*key.name) {
                ("Service", "sink") => json!({}),
                ("PingSource", "ready") => status(2, "True"),
                ("PingSource", "failed") => status(2, "False"),
                ("PingSource", "behind") => status(1, "True"),
                ("PingSource", "new") => json!({ "observedGeneration": 2 }),
                _ => return Found::Missing,
            };
            let object = json!({ "metadata": metadata, "status": status });
            Found::Here(Object::read(&object.to_string()).unwrap().into())
        },
        objects: &|_, _| Vec::new(),
    };
    let seen = Seen { broker: broker.as_ref(), lookup, registered };
    let plan = plan(&trigger, &broker_key(&trigger), seen, Timestamp::UNIX_EPOCH);
    let patch: Value = serde_json::from_str(&plan.status.unwrap().body).unwrap();
    let status: TriggerStatus = serde_json::from_value(patch["status"].clone()).unwrap();
    let waiting = status.conditions.iter().filter(|it| !it.is_true() && it.type_ != READY);
    waiting.map(|it| format!("{} {} {}", it.type_, it.status, it.reason())).collect()
}

fn broker(ready: &str) -> Option<Value> {
    Some(json!({
        "metadata": {
            "name": "b", "namespace": "ns", "generation": 1,
            "annotations": { "eventing.knative.dev/broker.class": "MTChannelBasedBroker" },
        },
        "spec": {},
        "status": {
            "observedGeneration": 1,
            "conditions": [{ "type": "Ready", "status": ready, "reason": "Because" }],
        },
    }))
}

#[test]
fn a_trigger_says_what_it_waits_for() {
    let check = |over: Value, broker: Option<Value>, registered, waits: &[&str]| {
        assert_eq!(planned(over.clone(), broker, registered), waits, "{over}");
    };
    let rest = [
        "DeadLetterSinkResolved Unknown ",
        "DependencyReady Unknown ",
        "OIDCIdentityCreated Unknown ",
        "SubscriberResolved Unknown ",
        "SubscriptionReady Unknown ",
    ];
    let before = |first| [&[first][..], &rest].concat();
    check(json!({}), broker("True"), true, &[]);
    check(json!({}), None, true, &before("BrokerReady False BrokerDoesNotExist"));
    check(json!({}), broker("False"), true, &before("BrokerReady False Because"));
    check(
        json!({}),
        broker("True"),
        false,
        &["SubscriptionReady Unknown SubscriptionNotConfigured"],
    );
    let sink =
        |name: &str| json!({ "ref": { "apiVersion": "v1", "kind": "Service", "name": name } });
    check(json!({ "spec": { "subscriber": sink("sink") } }), broker("True"), true, &[]);
    check(
        json!({ "spec": { "subscriber": sink("nope") } }),
        broker("True"),
        true,
        &[
            "DeadLetterSinkResolved Unknown ",
            "DependencyReady Unknown ",
            "OIDCIdentityCreated Unknown ",
            "SubscriberResolved False Unable to get the Subscriber's URI",
            "SubscriptionReady Unknown ",
        ],
    );
    for (dependency, said) in [
        ("failed", "DependencyReady False Because"),
        ("behind", "DependencyReady Unknown GenerationNotEqual"),
        ("new", "DependencyReady Unknown DependencyNotConfigured"),
        ("nope", "DependencyReady False DependencyDoesNotExist"),
    ] {
        check(json!({ "dependency": dependency }), broker("True"), true, &[said]);
    }
    check(json!({ "dependency": "ready" }), broker("True"), true, &[]);
}
