//! The controllers against the API server of the same process.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Endpoints, Pod, Service},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use local::{
    api::{self, Options},
    workloads,
};
use runtime::clock::Clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Nothing here takes a tenth of it.
const BOUND: Duration = Duration::from_secs(20);

async fn start() -> (Client, workloads::Handle) {
    let clock = Clock::start();
    let client = api::Api::open(Options::in_memory(clock)).unwrap().client();
    let handle = workloads::start(client.clone(), clock, "certificate".into());
    (client, handle)
}

/// Waits for an object of a kind that satisfies `is_it`.
async fn wait_for<K>(client: &Client, is_it: impl Fn(&K) -> bool) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    let found = async {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Apply(it) | Event::InitApply(it) if is_it(&it) => return it,
                _ => {}
            }
        }
    };
    timeout(BOUND, found).await.expect("the object comes in time")
}

fn deployment(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 60,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "app"}]},
            },
        },
    })
}

async fn create<K>(client: &Client, object: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_deployment_has_its_pod_and_its_endpoint_at_once() {
    let (client, handle) = start().await;
    create::<Service>(
        &client,
        json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
    )
    .await;
    create::<Deployment>(&client, deployment(0)).await;
    wait_for(&client, |it: &Endpoints| it.metadata.name.as_deref() == Some("web")).await;
    wait_for(&client, |it: &Deployment| {
        it.status.as_ref().is_some_and(|status| status.observed_generation == Some(1))
    })
    .await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let scaled = Instant::now();
    let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch("web", &PatchParams::default(), &patch).await.unwrap();
    let pod = wait_for(&client, |_: &Pod| true).await;
    println!("pod after {:?}", scaled.elapsed());

    let name = pod.metadata.name.unwrap();
    let told = Instant::now();
    let status = json!({"status": {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]}});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let endpoints = wait_for(&client, |it: &Endpoints| it.subsets.is_some()).await;
    println!("endpoint after {:?}", told.elapsed());
    let subset = &endpoints.subsets.unwrap()[0];
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap()[0].ip, "10.1.0.1");

    let since = "2026-01-01T00:00:00Z";
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    wait_for(&client, |it: &Deployment| {
        it.status.as_ref().is_some_and(|status| status.available_replicas == Some(1))
    })
    .await;
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deployments_settle() {
    let (client, handle) = start().await;
    let begun = Instant::now();
    for at in 0..200 {
        let mut object = deployment(1);
        object["metadata"]["name"] = json!(format!("web-{at}"));
        object["spec"]["selector"]["matchLabels"]["app"] = json!(format!("web-{at}"));
        object["spec"]["template"]["metadata"]["labels"]["app"] = json!(format!("web-{at}"));
        create::<Deployment>(&client, object).await;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let all = async {
        let mut seen = std::collections::BTreeSet::new();
        let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()));
        while seen.len() < 200 {
            if let Event::Apply(it) | Event::InitApply(it) = events.next().await.unwrap().unwrap() {
                seen.insert(it.metadata.name.unwrap());
            }
        }
    };
    timeout(BOUND, all).await.expect("each has its pod");
    println!("200 pods after {:?}", begun.elapsed());
    let pods: Api<Pod> = Api::namespaced(client, "default");
    assert_eq!(pods.list(&Default::default()).await.unwrap().items.len(), 200, "and no more");
    handle.shutdown().await;
}
