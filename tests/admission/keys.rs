//! Every key of Knative's ConfigMaps: what it takes and denies, and that somebody reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use config::install;
use serde_json::{Value, json};
use tests::parts;

use super::{CONFIG_MAPS, Server};

const DENIED: &str = "admission webhook \"config.webhook.serving.knative.dev\" denied the request: validation failed: ";
/// Keys that are Weft's own.
const OURS: &[&str] = &[
    config::network::EXTERNAL_PORT,
    config::network::EXTERNAL_HTTPS_PORT,
    config::observability::OPENCENSUS_NAMES,
];
/// The crates that act on the configuration.
const ROLES: &[&str] =
    &["activator", "autoscaler", "cli", "controller", "local", "mesh", "proxy", "runtime"];

/// A key, and what is known of it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    good: String,
    bad: Option<String>,
    /// How the denial ends.
    why: Option<String>,
    /// Words of a role's sources.
    read: Option<String>,
    /// Why nobody reads it.
    nothing: Option<String>,
}

fn keys() -> BTreeMap<String, BTreeMap<String, Key>> {
    let file = parts::root().join("tests/admission/keys.yaml");
    let text = fs::read_to_string(file).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_key_is_checked() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    for (map, keys) in keys() {
        for (key, it) in keys {
            let change = async |value: &str| {
                let path = format!("{CONFIG_MAPS}/{map}?dryRun=All");
                let headers = json!({ "content-type": "application/merge-patch+json" });
                let body = json!({ "data": { &key: value } }).to_string();
                server.ask("PATCH", &path, "kn-admin", &headers, Some(body)).await
            };
            let answer = change(&it.good).await;
            if answer.status != 200 || answer.body["data"][&key] != it.good {
                wrong.push(format!("{map} {key}={}: {}", it.good, answer.body));
            }
            let Some((bad, why)) = it.bad.zip(it.why) else { continue };
            let answer = change(&bad).await;
            let message = answer.body["message"].as_str().unwrap_or_default();
            let is_denied = message.starts_with(DENIED) && message.ends_with(&why);
            if answer.status != 400 || !is_denied {
                wrong.push(format!("{map} {key}={bad}: {}, not …{why}", answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_is_read_or_has_a_reason_not_to_be() {
    let mut sources = String::new();
    for role in ROLES {
        read(&parts::root().join(role).join("src"), &mut sources);
    }
    let keys = keys();
    let mut wrong = Vec::new();
    for (map, keys) in &keys {
        for (key, it) in keys {
            match (&it.read, &it.nothing) {
                (Some(words), None) if sources.contains(words) => {}
                (None, Some(reason)) if !reason.is_empty() => {}
                _ => wrong.push(format!("{map} {key} is not read")),
            }
        }
    }
    // Nor is anything documented for people that is not in the list.
    for map in install::config_maps() {
        let name = map.metadata.name.unwrap();
        let example = &map.data.unwrap()[install::EXAMPLE];
        let shown: Option<BTreeMap<String, Value>> = serde_saphyr::from_str(example).unwrap();
        let known: BTreeSet<&str> = keys[&name].keys().map(String::as_str).collect();
        for key in shown.unwrap_or_default().keys().map(String::as_str) {
            if !known.contains(key) && !OURS.contains(&key) {
                wrong.push(format!("{name} documents {key}, which is not in the list"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Adds the sources of a folder, without those of tests.
fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, sources);
        } else if !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push_str(text.split("\n#[cfg(test)]\nmod tests {").next().unwrap());
        }
    }
}

/// What a flag opens.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Flag {
    /// Fields of a pod's spec, over those of one container.
    pod: serde_json::Map<String, Value>,
    /// What is said while the flag is off.
    says: String,
}

#[tokio::test]
async fn every_flag_opens_and_closes_something_at_once() {
    let server = Server::start().await;
    let text = fs::read_to_string(parts::root().join("tests/admission/flags.yaml")).unwrap();
    let flags: BTreeMap<String, Flag> = serde_saphyr::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for (flag, it) in &flags {
        let mut pod = json!({ "containers": [{ "image": "dev.local/app" }] });
        for (field, value) in &it.pod {
            pod[field] = value.clone();
        }
        let service = json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": { "name": "flagged" },
            "spec": { "template": { "spec": pod } },
        });
        for state in ["Disabled", "Enabled"] {
            let mut data = json!({ flag: state });
            if flag == "kubernetes.podspec-persistent-volume-write" {
                data["kubernetes.podspec-persistent-volume-claim"] = json!("Enabled");
            }
            let headers = json!({ "content-type": "application/merge-patch+json" });
            let path = format!("{CONFIG_MAPS}/config-features");
            let body = json!({ "data": data }).to_string();
            let answer = server.ask("PATCH", &path, "kn-admin", &headers, Some(body)).await;
            assert_eq!(answer.status, 200, "{flag}: {}", answer.body);
            server.reload().await;
            let path = "/apis/serving.knative.dev/v1/namespaces/kn-a/services";
            let body = Some(service.to_string());
            let answer = server.ask("POST", path, "kn-admin", &json!({}), body).await;
            let message = answer.body["message"].as_str().unwrap_or_default();
            let is_right = match state {
                "Enabled" => answer.status == 201,
                _ => answer.status == 400 && message.contains(&it.says),
            };
            if !is_right {
                wrong.push(format!("{flag} {state}: {} {message}", answer.status));
            }
            let path = format!("{path}/flagged");
            server.ask("DELETE", &path, "kn-admin", &json!({}), None).await;
        }
    }
    // What the others change is no denial.
    let shapes = [
        "secure-pod-defaults",
        "tag-header-based-routing",
        "autodetect-http2",
        "queueproxy.mount-podinfo",
        "queueproxy.resource-defaults",
    ];
    for flag in keys()["config-features"].keys() {
        if !flags.contains_key(flag) && !shapes.contains(&flag.as_str()) {
            wrong.push(format!("{flag} is not tried"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
