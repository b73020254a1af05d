//! When an InMemoryChannel is ready.

use api::condition::{READY, find};
use runtime::tracker::Found;
use serde_json::{Value, json};

use super::*;

fn channel() -> InMemoryChannel {
    serde_json::from_value(json!({
        "metadata": { "name": "c", "namespace": "ns", "uid": "1", "generation": 1 },
        "spec": { "subscribers": [
            { "uid": "a", "generation": 1, "subscriberUri": "http://a" },
            { "uid": "b", "generation": 2, "subscriberUri": "http://b" },
        ] },
    }))
    .unwrap()
}

fn planned(registered: bool, service: Option<&Service>) -> (Plan, Value) {
    let lookup = Lookup { object: &|_, _| Found::Missing, objects: &|_, _| Vec::new() };
    let seen = Seen {
        lookup,
        registered,
        subscribed: &|it| it.uid.as_deref() == Some("a"),
        service,
        system_namespace: "sys",
    };
    let plan = plan(&channel(), seen, Timestamp::UNIX_EPOCH);
    let patch: Value = serde_json::from_str(&plan.status.as_ref().unwrap().body).unwrap();
    (plan, patch["status"].clone())
}

#[test]
fn a_channel_is_ready_when_its_log_is_open_and_its_service_is_there() {
    let ready = |status: &Value| {
        let status: ChannelStatus = serde_json::from_value(status.clone()).unwrap();
        find(&status.conditions, READY).unwrap().status.clone()
    };
    let (plan, status) = planned(true, None);
    assert_eq!((plan.writes.len(), &*ready(&status)), (1, "Unknown"));
    let mut service: Service = serde_json::from_str(&plan.writes[0].body).unwrap();
    let (plan, status) = planned(true, Some(&service));
    assert_eq!((plan.writes.len(), &*ready(&status)), (0, "True"));
    assert_eq!(status["address"]["url"], "http://c-kn-channel.ns.svc.cluster.local");
    assert_eq!(
        status["subscribers"],
        json!([
            { "uid": "a", "observedGeneration": 1, "ready": "True" },
            { "uid": "b", "observedGeneration": 2, "ready": "Unknown" },
        ])
    );
    assert_eq!(ready(&planned(false, Some(&service)).1), "Unknown");
    service.metadata.owner_references = None;
    let (plan, status) = planned(true, Some(&service));
    assert_eq!(ready(&status), "False");
    assert!(plan.error.unwrap().contains("does not own Service"));
}
