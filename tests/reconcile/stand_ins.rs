//! What stood in for node, gateway, registry and activators in the recording.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use api::networking::Ingress;
use config::Config;
use controller::revision::digest::{Question, Resolver};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use runtime::cluster::{Cluster, Key};
use serde_json::{Value, json};

/// The registry at `registry.local:5000`, and no other.
pub struct Registry {
    digests: HashMap<String, String>,
}

impl Registry {
    /// Knows the digests that occur in the cases.
    pub fn of(cases: &[Value]) -> Registry {
        let mut digests = HashMap::new();
        for case in cases {
            for object in case["then"].as_array().into_iter().flatten() {
                let statuses = object["status"]["containerStatuses"].as_array();
                for status in statuses.into_iter().flatten() {
                    let containers = object["spec"]["containers"].as_array();
                    let its = containers
                        .into_iter()
                        .flatten()
                        .find(|container| container["name"] == status["name"]);
                    if let (Some(digest), Some(container)) = (status["imageDigest"].as_str(), its) {
                        let image = container["image"].as_str().unwrap_or_default();
                        digests.insert(image.to_owned(), digest.to_owned());
                    }
                }
            }
        }
        Registry { digests }
    }
}

impl Resolver for Registry {
    fn resolve(
        &self,
        question: Question,
        _: Arc<Config>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>> {
        let image = question.image;
        let answer = match image.strip_prefix("registry.local:5000/") {
            Some(path) if path.contains("missing") => {
                let (repository, tag) = path.split_once(':').expect("cases name tags");
                Err(format!(
                    "HEAD http://registry.local:5000/v2/{repository}/manifests/{tag}: unexpected \
                     status code 404 Not Found (HEAD responses have no body, use GET for details)"
                ))
            }
            _ => Ok(self.digests.get(&image).cloned()),
        };
        Box::pin(async { answer })
    }
}

/// Reports each pod as ready at once, but for some images; lets go what is deleted.
pub async fn node(cluster: Cluster) {
    let pods = cluster.cache::<Pod>();
    let mut changes = pods.changes();
    let mut address = 0;
    loop {
        for key in changes.next().await {
            let Some(pod) = pods.at(&key) else { continue };
            let api: Api<Pod> = Api::namespaced(cluster.client().clone(), &key.namespace);
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
                // It may be gone by itself.
                let _ = api.delete(&key.name, &now).await;
                continue;
            }
            let phase = pod.status.as_ref().and_then(|it| it.phase.clone());
            if phase.as_deref() == Some("Running") {
                continue;
            }
            address += 1;
            let binding = json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": { "name": &*key.name },
                "target": { "kind": "Node", "name": "node-1" },
            });
            // It may be bound already.
            let _ = api
                .create_subresource::<Value, Value>(
                    "binding",
                    &key.name,
                    &Default::default(),
                    &binding,
                )
                .await;
            let status = running(&pod, address);
            let patch = Patch::Merge(json!({ "status": status }));
            // The pod may be deleted meanwhile.
            let _ = api.patch_status(&key.name, &PatchParams::default(), &patch).await;
        }
    }
}

fn running(pod: &Pod, address: u32) -> Value {
    let mut is_ready = true;
    let containers = pod.spec.as_ref().map(|it| it.containers.clone()).unwrap_or_default();
    let mut statuses = Vec::new();
    for container in containers {
        let image = container.image.unwrap_or_default();
        let (state, last, ready) = if image.contains("crash") {
            let ended = json!({ "exitCode": 3, "message": "boom: configuration missing" });
            let waiting = json!({ "reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container" });
            (json!({ "waiting": waiting }), json!({ "terminated": ended }), false)
        } else if image.contains("imgpull") {
            let waiting = json!({ "reason": "ImagePullBackOff", "message": format!("Back-off pulling image \"{image}\"") });
            (json!({ "waiting": waiting }), json!({}), false)
        } else {
            let running = json!({ "startedAt": "2026-01-01T00:00:00Z" });
            (json!({ "running": running }), json!({}), !image.contains("unready"))
        };
        is_ready &= ready;
        statuses.push(json!({
            "name": container.name, "image": image, "imageID": "", "restartCount": 0,
            "ready": ready, "state": state, "lastState": last,
        }));
    }
    let word = if is_ready { "True" } else { "False" };
    let at = "2026-01-01T00:00:00Z";
    let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status, "lastTransitionTime": at });
    json!({
        "phase": "Running",
        "podIP": format!("10.0.0.{address}"),
        "podIPs": [{ "ip": format!("10.0.0.{address}") }],
        "conditions": [
            condition("PodScheduled", "True"),
            condition("Initialized", "True"),
            condition("ContainersReady", word),
            condition("Ready", word),
        ],
        "containerStatuses": statuses,
    })
}

/// Serves each Ingress at once, but for those whose names say otherwise.
pub async fn gateway(cluster: Cluster) {
    let ingresses = cluster.cache::<Ingress>();
    let mut changes = ingresses.changes();
    loop {
        for key in changes.next().await {
            let Some(ingress) = ingresses.at(&key) else { continue };
            if key.name.contains("hold") || key.namespace.contains("hold") {
                continue;
            }
            let observed = ingress.status.as_ref().and_then(|it| it.observed_generation);
            if observed == ingress.metadata.generation {
                continue;
            }
            let status = served(&key, ingress.metadata.generation, cluster.now());
            let api: Api<Ingress> = Api::namespaced(cluster.client().clone(), &key.namespace);
            let patch = Patch::Merge(json!({ "status": status }));
            // The Ingress may be deleted meanwhile.
            let _ = api.patch_status(&ingress.name_any(), &PatchParams::default(), &patch).await;
        }
    }
}

fn served(key: &Key, generation: Option<i64>, now: jiff::Timestamp) -> Value {
    let fails = key.name.contains("lbfail");
    let at = runtime::plan::whole_seconds(now).to_string();
    let condition = |type_: &str, holds: bool| {
        let mut it = json!({ "type": type_, "lastTransitionTime": at, "status": if holds { "True" } else { "False" } });
        if !holds {
            it["reason"] = json!("GatewayFailed");
            it["message"] = json!("the gateway refused the configuration");
        }
        it
    };
    let balancer = |host: &str| json!({ "ingress": [{ "domainInternal": host }] });
    let conditions = [
        condition("LoadBalancerReady", !fails),
        condition("NetworkConfigured", true),
        condition("Ready", !fails),
    ];
    if fails {
        return json!({ "observedGeneration": generation, "conditions": conditions });
    }
    json!({
        "observedGeneration": generation,
        "conditions": conditions,
        "publicLoadBalancer": balancer("gateway.ingress-system.svc.cluster.local"),
        "privateLoadBalancer": balancer("gateway-internal.ingress-system.svc.cluster.local"),
    })
}

/// Two activators that carry requests.
pub async fn activators(cluster: &Cluster, namespace: &str) {
    use k8s_openapi::api::core::v1::Endpoints;
    let api: Api<Endpoints> = Api::namespaced(cluster.client().clone(), namespace);
    let endpoints = serde_json::from_value(json!({
        "metadata": { "name": "activator-service" },
        "subsets": [{
            "addresses": [{
                "ip": "10.1.0.1",
                "nodeName": "node-1",
                "targetRef": {
                    "kind": "Pod",
                    "namespace": namespace,
                    "name": "activator-954b87f4d-42qg9",
                    "uid": "8a9b5b2e-0f3c-4c6e-9d54-1f7f0a2c3d4e",
                },
            }],
            "ports": [
                { "name": "http", "port": 8012, "protocol": "TCP" },
                { "name": "https", "port": 8112, "protocol": "TCP" },
                { "name": "http2", "port": 8013, "protocol": "TCP" },
            ],
        }],
    }));
    api.create(&Default::default(), &endpoints.expect("endpoints"))
        .await
        .expect("create endpoints");
}
