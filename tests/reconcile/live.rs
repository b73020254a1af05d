//! What the keys of the ConfigMaps change in what the controllers make, while they run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{QUIET, paused, platform::Platform};

/// Keys that are set together, and what a Service that is made then has of it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Round {
    /// By ConfigMap.
    set: BTreeMap<String, BTreeMap<String, String>>,
    /// Annotations of the template, and fields of the pod beside its container, as a change needs them.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    pod: serde_json::Map<String, Value>,
    then: Vec<Effect>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    /// The kind of object.
    of: String,
    at: String,
    is: String,
}

/// Lists of the kinds, and what names of objects end with after that of the Service.
const KINDS: &[(&str, &str, &str)] = &[
    ("revision", "/apis/serving.knative.dev/v1/namespaces/live/revisions", "-00001"),
    ("route", "/apis/serving.knative.dev/v1/namespaces/live/routes", ""),
    ("deployment", "/apis/apps/v1/namespaces/live/deployments", "-00001-deployment"),
    (
        "autoscaler",
        "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/live/podautoscalers",
        "-00001",
    ),
    ("ingress", "/apis/networking.internal.knative.dev/v1alpha1/namespaces/live/ingresses", ""),
];

#[test]
fn what_is_configured_takes_effect_without_a_restart() {
    let text = std::fs::read_to_string(tests::parts::root().join("tests/reconcile/live.yaml"));
    let rounds: Vec<Round> = serde_saphyr::from_str(&text.unwrap()).unwrap();
    let wrong = paused().block_on(async {
        let platform = Platform::start("live", &json!({ "name": "live" }), &[]).await;
        let mut wrong = Vec::new();
        // Nobody issues certificates here; pods of queues that speak TLS wait for this one.
        let secret = json!({
            "metadata": { "name": api::queue::CERTIFICATE },
            "type": "kubernetes.io/tls",
            "data": { "tls.crt": "YQ==", "tls.key": "YQ==" },
        });
        platform.create("/api/v1/namespaces/live/secrets", &secret).await;
        make(&platform, "plain", &BTreeMap::new(), &serde_json::Map::new()).await;
        for (at, round) in rounds.iter().enumerate() {
            let before: Vec<bool> = {
                let mut before = Vec::new();
                for effect in &round.then {
                    before.push(says(effect, found(&platform, effect, "plain").await));
                }
                before
            };
            let maps = set(&platform, &round.set).await;
            let name = format!("round-{at}");
            make(&platform, &name, &round.annotations, &round.pod).await;
            for (effect, before) in round.then.iter().zip(before) {
                let now = found(&platform, effect, &name).await;
                if !says(effect, now.clone()) {
                    wrong.push(format!("round {at}: {} of {} is {now:?}", effect.at, effect.of));
                } else if before {
                    wrong.push(format!("round {at}: {} of {} is so anyway", effect.at, effect.of));
                }
            }
            platform
                .delete(&format!("/apis/serving.knative.dev/v1/namespaces/live/services/{name}"))
                .await;
            for (path, data) in maps {
                platform
                    .patch(&path, &json!([{ "op": "replace", "path": "/data", "value": data }]))
                    .await;
            }
            tokio::time::sleep(QUIET).await;
        }
        platform.stop().await;
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn says(effect: &Effect, found: Option<String>) -> bool {
    let Some(found) = found else { return effect.is == "nothing" };
    match effect.is.strip_prefix('…') {
        Some(part) => found.contains(part),
        None => found == effect.is,
    }
}

/// Sets keys and waits until that is known; returns the paths of the ConfigMaps and what they held.
async fn set(
    platform: &Platform,
    maps: &BTreeMap<String, BTreeMap<String, String>>,
) -> Vec<(String, Value)> {
    let mut before = Vec::new();
    for (map, keys) in maps {
        let path = format!("/api/v1/namespaces/knative-serving/configmaps/{map}");
        let mut data = platform.get(&path).await["data"].take();
        if !data.is_object() {
            data = json!({});
        }
        before.push((path.clone(), data.clone()));
        for (key, value) in keys {
            data[key] = json!(value);
        }
        let change = json!([{ "op": "add", "path": "/data", "value": data }]);
        platform.patch(&path, &change).await;
    }
    tokio::time::sleep(QUIET).await;
    before
}

/// Makes a Service and waits until nothing changes any more: paused time, as long as it takes.
async fn make(
    platform: &Platform,
    name: &str,
    annotations: &BTreeMap<String, String>,
    fields: &serde_json::Map<String, Value>,
) {
    let mut pod = json!({
        "containers": [{ "image": "dev.local/app", "ports": [{ "containerPort": 8080 }] }]
    });
    for (field, value) in fields {
        pod[field] = value.clone();
    }
    let service = json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "template": { "metadata": { "annotations": annotations }, "spec": pod },
            "traffic": [{ "latestRevision": true, "percent": 100, "tag": "now" }],
        },
    });
    platform.create("/apis/serving.knative.dev/v1/namespaces/live/services", &service).await;
    tokio::time::sleep(QUIET).await;
}

/// What is there, as text, with NAME for the Service's name.
async fn found(platform: &Platform, effect: &Effect, name: &str) -> Option<String> {
    let (_, path, suffix) = KINDS.iter().find(|it| it.0 == effect.of).unwrap();
    let list = platform.get(path).await;
    let object = format!("{name}{suffix}");
    let items = list["items"].as_array().unwrap();
    let object = items.iter().find(|it| it["metadata"]["name"] == *object)?;
    let value = at(object, &effect.at)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(text.replace(name, "NAME"))
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(' ').try_fold(object, |value, part| match part.strip_prefix("name=") {
        Some(name) => value.as_array()?.iter().find(|it| it["name"] == *name),
        None => match part.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(part),
        },
    })
}
