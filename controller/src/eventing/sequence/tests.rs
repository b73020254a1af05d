//! What a Sequence makes and says.

use runtime::plan::Write;
use serde_json::{Value, json};

use super::*;
use crate::eventing::sample::{conditions, with, writes};

fn sequence() -> Sequence {
    let step = |name: &str| json!({ "uri": format!("http://{name}") });
    serde_json::from_value(json!({
        "metadata": { "name": "s", "namespace": "ns", "uid": "u", "generation": 1 },
        "spec": {
            "steps": [step("a"), step("b")],
            "channelTemplate": { "apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel" },
            "reply": { "uri": "http://c" },
        },
    }))
    .unwrap()
}

fn channel(name: &str) -> Value {
    let owner = json!({ "apiVersion": "x", "kind": "Sequence", "name": "s", "uid": "u", "controller": true });
    json!({
        "apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel",
        "metadata": { "name": name, "uid": name, "ownerReferences": [owner] },
        "status": {
            "address": { "name": "http", "url": format!("http://{name}") },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn planned(objects: &[Value], subscriptions: &[Subscription]) -> Plan {
    let all: Vec<Arc<Subscription>> = subscriptions.iter().cloned().map(Arc::new).collect();
    with(objects, |lookup| {
        let seen = Seen {
            lookup,
            subscriptions: &all,
            subscription: &|its| all.iter().find(|it| name(&it.metadata) == its).cloned(),
            is_futile: &|_: &Write| false,
        };
        plan(&sequence(), seen, Timestamp::UNIX_EPOCH)
    })
}

#[test]
fn a_sequence_makes_what_it_needs_and_takes_away_the_rest() {
    let plan = planned(&[], &[]);
    assert_eq!(
        writes(&plan),
        [
            "Create object s-kn-sequence-0",
            "Create object s-kn-sequence-1",
            "Create Subscription s-kn-sequence-0",
            "Create Subscription s-kn-sequence-1",
        ]
    );
    let made = |write: &Write| serde_json::from_str::<Value>(&write.body).unwrap();
    assert_eq!(made(&plan.writes[2])["spec"]["reply"]["ref"]["name"], "s-kn-sequence-1");
    assert_eq!(made(&plan.writes[3])["spec"]["reply"]["uri"], "http://c");

    let subscriptions: Vec<Subscription> = plan.writes[2..]
        .iter()
        .map(|it| {
            let mut made = made(it);
            made["metadata"]["resourceVersion"] = "1".into();
            let ready = json!([{ "type": "Ready", "status": "True" }]);
            made["status"] = json!({ "physicalSubscription": {}, "conditions": ready });
            serde_json::from_value(made).unwrap()
        })
        .collect();
    let channels = [0, 1, 2].map(|it| channel(&format!("s-kn-sequence-{it}")));
    let plan = planned(&channels, &subscriptions);
    assert_eq!(writes(&plan), ["Delete object s-kn-sequence-2"]);
    assert!(conditions(&plan).contains(&"Ready True".to_owned()), "{:?}", conditions(&plan));
}
