//! When a PingSource is ready, and what it sends.

use api::condition::{READY, find};
use runtime::tracker::{Found, object::Object};
use serde_json::json;

use super::*;

fn source(over: serde_json::Value) -> PingSource {
    let mut source = json!({
        "metadata": { "name": "p", "namespace": "ns", "uid": "u", "generation": 1, "finalizers": [FINALIZER] },
        "spec": {
            "schedule": "*/5 * * * *",
            "sink": { "ref": { "apiVersion": "v1", "kind": "Service", "name": "sink" } },
        },
    });
    for (key, value) in over.as_object().unwrap() {
        source["spec"][key] = value.clone();
    }
    serde_json::from_value(source).unwrap()
}

fn planned(sink: bool, running: bool) -> (Plan, SourceStatus) {
    let lookup = Lookup {
        object: &|_, key| {
            let object = json!({ "metadata": { "name": key.name, "namespace": key.namespace } });
            let object = Object::read(&object.to_string()).unwrap();
            if sink { Found::Here(object.into()) } else { Found::Missing }
        },
        objects: &|_, _| Vec::new(),
    };
    let seen = Seen { lookup, running, event_types: &[] };
    let plan = plan(&source(json!({})), seen, Timestamp::UNIX_EPOCH);
    let patch: serde_json::Value =
        serde_json::from_str(&plan.status.as_ref().unwrap().body).unwrap();
    (plan, serde_json::from_value(patch["status"].clone()).unwrap())
}

#[test]
fn a_source_is_ready_when_its_sink_is_there_and_its_schedule_runs() {
    let check = |sink, running, ready: &str, event_types: usize| {
        let (plan, status) = planned(sink, running);
        let found = find(&status.conditions, READY).unwrap();
        assert_eq!(format!("{} {}", found.status, found.reason()), ready);
        assert_eq!(plan.writes.len(), event_types);
        plan
    };
    check(true, true, "True ", 1);
    check(true, false, "Unknown DeploymentUnavailable", 1);
    let plan = check(false, true, "False NotFound", 0);
    assert_eq!(
        plan.events[0].message,
        "Sink not found: {\"ref\":{\"kind\":\"Service\",\"namespace\":\"ns\",\"name\":\"sink\",\
         \"apiVersion\":\"v1\"}}"
    );
}

#[test]
fn an_event_has_what_the_source_says() {
    let event = |over| due(&source(over), "1", Timestamp::UNIX_EPOCH).unwrap();
    let plain = event(json!({}));
    assert_eq!((plain.kind(), plain.source()), (TYPE, "/apis/v1/namespaces/ns/pingsources/p"));
    assert_eq!(plain.data(), None);
    let json = event(json!({
        "data": "{\"a\":1}",
        "contentType": "application/json",
        "ceOverrides": { "extensions": { "sink": "mine" } },
    }));
    assert_eq!(json.data().unwrap(), "{\"a\":1}");
    assert_eq!(json.attribute("datacontenttype"), Some(Value::String("application/json")));
    assert_eq!(json.attribute("sink"), Some(Value::String("mine")));
    assert_eq!(event(json!({ "dataBase64": "aGk=" })).data().unwrap(), "hi");
}
