//! What a Subscription asks of its channel, and says.

use serde_json::json;

use super::*;
use crate::eventing::sample::{conditions, with, writes};

fn subscription(over: Value) -> Subscription {
    let mut subscription = json!({
        "metadata": {
            "name": "s", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1",
            "finalizers": [FINALIZER],
        },
        "spec": {
            "channel": { "apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "c" },
            "subscriber": { "uri": "http://a.b" },
        },
    });
    json_patch(&mut subscription, &over);
    serde_json::from_value(subscription).unwrap()
}

fn json_patch(value: &mut Value, over: &Value) {
    match over.as_object() {
        Some(over) => over.iter().for_each(|(key, it)| json_patch(&mut value[key], it)),
        None => *value = over.clone(),
    }
}

/// A Channel and the one behind it, which has these subscribers and says this of them.
fn channels(ready: &str, subscribers: Value, says: Value) -> [Value; 2] {
    let reference =
        json!({ "apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "c" });
    [
        json!({
            "apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "metadata": { "name": "c" },
            "status": { "channel": reference, "conditions": [{ "type": "Ready", "status": ready }] },
        }),
        json!({
            "apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel",
            "metadata": { "name": "c", "resourceVersion": "7" },
            "spec": { "subscribers": subscribers, "delivery": { "retry": 3 } },
            "status": { "subscribers": says },
        }),
    ]
}

fn own() -> Value {
    json!({
        "delivery": { "retry": 3 }, "generation": 1, "name": "s", "subscriberUri": "http://a.b", "uid": "u",
    })
}

fn planned(over: Value, objects: &[Value]) -> Plan {
    with(objects, |lookup| plan(&subscription(over), lookup, Timestamp::UNIX_EPOCH))
}

#[test]
fn a_subscription_says_what_it_waits_for() {
    let check = |objects: &[Value], ready: &str, writes_of: &[&str], event: &str| {
        let plan = planned(json!({}), objects);
        assert!(conditions(&plan).contains(&ready.to_owned()), "{ready}: {:?}", conditions(&plan));
        assert_eq!(writes(&plan), writes_of);
        let message = plan.events.first().map(|it| it.message.clone()).unwrap_or_default();
        assert!(message.ends_with(event), "{message}");
    };
    let missing = "channels.messaging.knative.dev \"c\" not found";
    check(&[], "Ready Unknown ChannelReferenceFailed", &[], missing);
    let objects = channels("Unknown", json!([]), json!([]));
    check(&objects, "Ready Unknown ChannelReferenceFailed", &[], "channel is not ready.");
    let objects = channels("True", json!([{ "uid": "other" }]), json!([]));
    check(&objects, "ReferencesResolved True", &["Merge object c"], "");
    let objects = channels("True", json!([own()]), json!([{ "uid": "other", "ready": "True" }]));
    let absent = "subscription \"s\" not present in channel \"c\" subscriber's list";
    check(&objects, "Ready Unknown SubscriptionNotMarkedReadyByChannel", &[], absent);
    let says = json!([{ "uid": "u", "ready": "True", "observedGeneration": 1 }]);
    check(&channels("True", json!([own()]), says), "Ready True", &[], "");
}

#[test]
fn others_stay_in_the_channel_when_a_subscription_comes_and_when_it_goes() {
    let other = json!({ "uid": "other", "unknown": 1 });
    let objects = channels("True", json!([other]), json!([]));
    let body = |plan: &Plan| serde_json::from_str::<Value>(&plan.writes[0].body).unwrap();
    let plan = planned(json!({}), &objects);
    assert_eq!(
        body(&plan),
        json!({
            "metadata": { "resourceVersion": "7" },
            "spec": { "subscribers": [other, own()] },
        })
    );
    let over = json!({
        "metadata": { "deletionTimestamp": "2024-01-01T00:00:00Z" },
        "status": { "conditions": [{ "type": "AddedToChannel", "status": "True" }] },
    });
    let plan = planned(over.clone(), &channels("True", json!([other, own()]), json!([])));
    assert_eq!(writes(&plan), ["Merge object c", "Merge Subscription s"]);
    assert_eq!(body(&plan)["spec"], json!({ "subscribers": [other] }));
    // The channel is gone: nothing is to be done there.
    assert_eq!(writes(&planned(over, &[])), ["Merge Subscription s"]);
}

#[test]
fn delivery_is_the_subscriptions_or_else_the_channels() {
    let delivery = |over: Value| {
        let plan = planned(over, &channels("True", json!([]), json!([])));
        let body: Value = serde_json::from_str(&plan.writes[0].body).unwrap();
        body["spec"]["subscribers"][0]["delivery"].clone()
    };
    assert_eq!(delivery(json!({})), json!({ "retry": 3 }));
    let own = json!({ "spec": { "delivery": { "deadLetterSink": { "uri": "http://d" } } } });
    assert_eq!(delivery(own), json!({ "deadLetterSink": { "uri": "http://d" } }));
}
