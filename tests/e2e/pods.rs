//! What a pod is on this machine: its network, its name service, its end.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tests::{
    eventually::eventually,
    platform::{Platform, Settings},
};

/// Two pods that both bind port 8080 of all addresses.
const TWINS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: twins}
spec:
  replicas: 2
  selector: {matchLabels: {app: twins}}
  template:
    metadata: {labels: {app: twins}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: weft.dev/samples/hello
        env: [{name: PORT, value: '8080'}]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
";

/// Asks a URL once.
fn asker(name: &str, url: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: dev.local/curl, args: [-sS, --max-time, '30', '{url}']}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_has_a_network_of_its_own_where_the_machine_allows_it() {
    if !rustix::process::geteuid().is_root() {
        // As an ordinary user there are no network namespaces; `host_mode_gives_each_pod_a_port` covers that.
        println!("not root: pods share the machine's network");
        return;
    }
    let arguments = ["--image", "dev.local/curl=/usr/bin/curl"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Settings { arguments }).await;
    platform.apply(TWINS).await;
    platform.kubectl().run("rollout status deployment/twins --timeout=60s").await.ok();
    let pods = platform.object("pods -l app=twins").await.unwrap();
    let ip = |it: &Value| it["status"]["podIP"].as_str().map(str::to_owned);
    let ips: BTreeSet<_> = pods["items"].as_array().unwrap().iter().filter_map(ip).collect();
    assert_eq!(ips.len(), 2, "{ips:?}");

    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    says_hello(&platform, "asker", "http://hello.default.svc.cluster.local").await;

    // At zero a revision's own name leads to the activator, which holds the request.
    platform.at_zero("hello").await;
    let addresses = async |what: &str| {
        let endpoints = platform.object(&format!("endpoints {what}")).await.unwrap();
        let ip = |it: &Value| it["ip"].as_str().map(str::to_owned);
        let all = endpoints["subsets"][0]["addresses"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(ip).collect::<Vec<_>>()
    };
    let activators = addresses("activator-service -n knative-serving").await;
    assert_eq!(activators.len(), 1);
    assert_eq!(addresses("hello-00001").await, activators);
    says_hello(&platform, "waker", "http://hello-00001.default.svc.cluster.local").await;
}

/// Has a pod ask `url`, and waits until it prints the answer.
async fn says_hello(platform: &Platform, pod: &str, url: &str) {
    platform.apply(&asker(pod, url)).await;
    eventually(Duration::from_secs(60), &format!("a pod reaches {url}"), || async {
        let text = platform.kubectl().run(&format!("logs {pod}")).await.result()?;
        match text.contains("Hello World!") {
            true => Ok(()),
            false => Err(format!("it printed {text:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_mode_gives_each_pod_a_port() {
    let platform =
        Platform::start_with(Settings { arguments: vec!["--host-network".into()] }).await;
    let manifest = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: '2'}}
    spec:
      containers:
      - {image: weft.dev/samples/hello}
";
    platform.apply(manifest).await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    platform.get(&host, "/").await.unwrap().ok().unwrap();
    assert_eq!(platform.pods("hello").await.unwrap().len(), 2);
    assert!(
        platform.log().contains("host"),
        "it says that pods share the network:\n{}",
        platform.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_its_end_is_killed_after_the_grace() {
    let platform = super::kubectl::with_shell().await;
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - {name: main, image: dev.local/sh, args: [-c, 'trap \"\" TERM; echo up; while true; do sleep 1; done']}
";
    platform.apply(pod).await;
    eventually(Duration::from_secs(30), "it runs", || async {
        let text = platform.kubectl().run("logs deaf").await.result()?;
        if text.contains("up") { Ok(()) } else { Err(text) }
    })
    .await;
    platform.kubectl().run("delete pod deaf --timeout=20s").await.ok();
}
