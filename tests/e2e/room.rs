//! What a namespace and a node have room for: quotas, and pods that wait until there is room.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tests::{
    eventually::eventually,
    platform::{Platform, Settings},
};

/// Above the longest pause between two attempts to make a pod.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until what is at `pointer` of an object is as wanted.
async fn becomes(platform: &Platform, object: &str, pointer: &str, wanted: Value) {
    eventually(PATIENCE, &format!("{object}{pointer} is {wanted}"), || async {
        let found = platform.object(object).await?;
        match found.pointer(pointer) {
            Some(found) if *found == wanted => anyhow::Ok(()),
            found => bail!("it is {found:?}"),
        }
    })
    .await;
}

/// The status, reason and message of a condition.
async fn condition(platform: &Platform, object: &str, kind: &str) -> Result<[String; 3]> {
    let found = platform.object(object).await?;
    let mut conditions = found["status"]["conditions"].as_array().into_iter().flatten();
    let Some(it) = conditions.find(|it| it["type"] == kind) else {
        bail!("{object} has no condition {kind}: {}", found["status"])
    };
    Ok(["status", "reason", "message"].map(|key| it[key].as_str().unwrap_or_default().to_owned()))
}

/// A Service whose container asks for some CPU.
fn service(name: &str, cpu: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: {name}}}
spec:
  template:
    spec:
      containers:
      - image: weft.dev/samples/hello
        resources: {{requests: {{cpu: {cpu}}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_no_more_than_its_quota() {
    let platform = Platform::start().await;
    let kubectl = platform.kubectl();
    let quota = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {configmaps: 2, requests.cpu: 100m, count/services.serving.knative.dev: 1}}
";
    platform.apply(quota).await;
    // The namespace's own certificate is counted.
    let none = json!({
        "configmaps": "1", "requests.cpu": "0", "count/services.serving.knative.dev": "0",
    });
    becomes(&platform, "quota small", "/status/used", none).await;
    kubectl.run("create configmap one").await.ok();
    let refused = kubectl.run("create configmap two").await.err();
    let wanted = "configmaps \"two\" is forbidden: exceeded quota: small, requested: configmaps=1, \
                  used: configmaps=2, limited: configmaps=2";
    assert!(refused.contains(wanted), "{refused}");
    kubectl.run("delete configmap one").await.ok();
    becomes(&platform, "quota small", "/status/used/configmaps", json!("1")).await;
    kubectl.run("create configmap two").await.ok();

    // A Service's pod is too much: its revision says so, and starts when there is more.
    platform.apply(&service("hello", "200m")).await;
    let wanted = "is forbidden: exceeded quota: small, requested: requests.cpu=225m, \
                  used: requests.cpu=0, limited: requests.cpu=100m";
    eventually(PATIENCE, "the revision says why it has no pod", || async {
        let found = condition(&platform, "revision hello-00001", "ResourcesAvailable").await?;
        let [status, reason, message] = &found;
        if (&**status, &**reason) != ("False", "FailedCreate") || !message.contains(wanted) {
            bail!("it says {found:?}");
        }
        anyhow::Ok(())
    })
    .await;
    eventually(PATIENCE, "the service says so", || async {
        match condition(&platform, "ksvc hello", "ConfigurationsReady").await? {
            [status, reason, _] if (&*status, &*reason) == ("False", "RevisionFailed") => Ok(()),
            found => bail!("it says {found:?}"),
        }
    })
    .await;
    eventually(PATIENCE, "an event says so too", || async {
        let events = kubectl.run("get events --field-selector reason=FailedCreate").await.ok();
        if events.contains("Error creating: pods") { Ok(()) } else { bail!("{events}") }
    })
    .await;
    let refused = kubectl.run_words(&["apply", "-f", "-"], &service("second", "1m")).await.err();
    assert!(refused.contains("exceeded quota: small, requested: count/services"), "{refused}");
    let patch = r#"{"spec":{"hard":{"requests.cpu":"1"}}}"#;
    kubectl.run_words(&["patch", "quota", "small", "-p", patch], "").await.ok();
    platform.ready("hello").await;
    becomes(&platform, "quota small", "/status/used/requests.cpu", json!("225m")).await;

    // What is gone is not counted.
    kubectl.run("delete ksvc hello").await.ok();
    becomes(&platform, "quota small", "/status/used/requests.cpu", json!("0")).await;
    let table = kubectl.run("get quota small").await.ok();
    assert!(table.contains("requests.cpu: 0/1"), "{table}");
}

/// A pod that asks for some CPU; the rest goes into its spec.
fn pod(name: &str, cpu: &str, rest: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: weft.dev/samples/hello, resources: {{requests: {{cpu: '{cpu}'}}}}}}
  {rest}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_wait_until_the_node_has_room() {
    let platform = Platform::start().await;
    let kubectl = platform.kubectl();
    let nodes = platform.object("nodes").await.unwrap();
    let cpu = nodes["items"][0]["status"]["allocatable"]["cpu"].as_str().unwrap().to_owned();

    platform.apply(&service("huge", "50000m")).await;
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    eventually(PATIENCE, "the revision says that there is no room", || async {
        let found = condition(&platform, "revision huge-00001", "Ready").await?;
        if found != ["False", "Unschedulable", full].map(str::to_owned) {
            bail!("it says {found:?}");
        }
        let [status, _, message] = condition(&platform, "ksvc huge", "ConfigurationsReady").await?;
        if status != "False" || !message.contains("Insufficient cpu") {
            bail!("the Service says {message}");
        }
        anyhow::Ok(())
    })
    .await;
    let table = kubectl.run("get pods -l serving.knative.dev/service=huge --no-headers").await.ok();
    assert!(table.contains("Pending"), "{table}");
    kubectl.run("delete ksvc huge").await.ok();

    let two = [pod("first", &cpu, ""), pod("second", &cpu, "")].join("---");
    platform.apply(&two).await;
    becomes(&platform, "pod first", "/status/phase", json!("Running")).await;
    eventually(PATIENCE, "the second waits", || async {
        let found = condition(&platform, "pod second", "PodScheduled").await?;
        if found != ["False", "Unschedulable", full].map(str::to_owned) {
            bail!("it says {found:?}");
        }
        let events = kubectl.run("get events --field-selector reason=FailedScheduling").await.ok();
        if !events.contains(full) {
            bail!("{events}");
        }
        anyhow::Ok(())
    })
    .await;
    kubectl.run("delete pod first").await.ok();
    becomes(&platform, "pod second", "/status/phase", json!("Running")).await;
    let scheduled = condition(&platform, "pod second", "PodScheduled").await.unwrap();
    assert_eq!(scheduled, ["True", "", ""].map(str::to_owned));

    // What the node is decides too, also when it changes.
    platform.apply(&pod("picky", "0", "nodeSelector: {disk: fast}")).await;
    let wanted = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    eventually(PATIENCE, "the picky one waits", || async {
        match condition(&platform, "pod picky", "PodScheduled").await? {
            [_, _, message] if message == wanted => anyhow::Ok(()),
            found => bail!("it says {found:?}"),
        }
    })
    .await;
    kubectl.run("label nodes --all disk=fast").await.ok();
    becomes(&platform, "pod picky", "/status/phase", json!("Running")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_above_the_limit_wait_for_the_others_to_end() {
    let arguments = ["--max-pods", "1"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Settings { arguments, ..Settings::default() }).await;
    let nodes = platform.object("nodes").await.unwrap();
    for offer in ["capacity", "allocatable"] {
        assert_eq!(nodes["items"][0]["status"][offer]["pods"], "1");
    }
    platform.apply(&pod("first", "0", "")).await;
    becomes(&platform, "pod first", "/status/phase", json!("Running")).await;
    platform.apply(&service("hello", "1m")).await;
    eventually(PATIENCE, "the revision says that there is no place", || async {
        let found = condition(&platform, "revision hello-00001", "Ready").await?;
        let full = "0/1 nodes are available: 1 Too many pods.";
        if found != ["False", "Unschedulable", full].map(str::to_owned) {
            bail!("it says {found:?}");
        }
        anyhow::Ok(())
    })
    .await;
    platform.kubectl().run("delete pod first").await.ok();
    platform.ready("hello").await;
}
