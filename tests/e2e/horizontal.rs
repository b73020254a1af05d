//! Pods scaled by what they use, and what `kubectl top` says of them.

use std::time::Duration;

use anyhow::{Result, bail};
use tests::{
    eventually::eventually,
    kubectl::Version,
    platform::{Platform, Settings},
};

/// Two looks of a HorizontalPodAutoscaler and a pod's start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service of which each pod uses far more than it requests.
const BUSY: &str = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: busy}
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/class: hpa.autoscaling.knative.dev
        autoscaling.knative.dev/metric: cpu
        autoscaling.knative.dev/target: '50'
        autoscaling.knative.dev/min-scale: '1'
        autoscaling.knative.dev/max-scale: '2'
    spec:
      containers:
      - image: weft.dev/samples/hello
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 10m}}
      - name: burner
        image: dev.local/sh
        args: [-c, 'while :; do i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; sleep 0.1; done']
        resources: {requests: {cpu: 10m}}
";

const IDLE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: dev.local/sh, args: [-c, 'sleep 1000'], resources: {requests: {cpu: 100m}}}
";

fn with_shell() -> Settings {
    Settings::images(&["dev.local/sh=/bin/sh"])
}

/// Fails unless the command prints the text, however it is spaced.
async fn prints(platform: &Platform, version: Version, command: &str, wanted: &str) -> Result<()> {
    let printed = platform.kubectl_of(version).run(command).await.result();
    let printed = printed.map_err(anyhow::Error::msg)?;
    let flat = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.contains(wanted) { Ok(()) } else { bail!("{command} prints {printed}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_of_the_class_hpa_gets_a_second_pod() {
    let platform = Platform::start_with(with_shell()).await;
    platform.apply(BUSY).await;
    platform.apply(IDLE).await;
    let kubectl = platform.kubectl();
    kubectl.run("wait ksvc/busy --for=condition=Ready --timeout=60s").await.ok();
    kubectl.run("autoscale deployment idle --cpu-percent=80 --min=1 --max=3").await.ok();
    eventually(PATIENCE, "two pods are wanted", || async {
        let hpa = platform.object("hpa busy-00001").await?;
        let status = &hpa["status"];
        if status["desiredReplicas"] != 2 {
            bail!("{status}");
        }
        let pa = platform.object("podautoscaler busy-00001").await?;
        if pa["status"]["desiredScale"] == 2 { Ok(()) } else { bail!("{}", pa["status"]) }
    })
    .await;
    let events = "events --field-selector=involvedObject.name=busy-00001,reason=SuccessfulRescale";
    eventually(PATIENCE, "the event of the change", || async {
        let list = platform.object(events).await?;
        let message = &list["items"][0]["message"];
        let wanted =
            "New size: 2; reason: cpu resource utilization (percentage of request) above target";
        if message == wanted { Ok(()) } else { bail!("{message}") }
    })
    .await;
    eventually(PATIENCE, "two pods are ready", || async {
        let target = platform.object("deployment busy-00001-deployment").await?;
        let ready = &target["status"]["readyReplicas"];
        if *ready == 2 { Ok(()) } else { bail!("{ready}") }
    })
    .await;
    let explain = platform.weft(&["explain", "busy"]).output().unwrap();
    let explained = String::from_utf8(explain.stdout).unwrap();
    for part in [
        "busy-00001\n",
        " % (",
        "target 50 % of what the pods request",
        "wanted 2, from 1 to 2",
        "next: ",
    ] {
        assert!(explained.contains(part), "{part:?} is not in {explained}");
    }
    for version in Version::ALL {
        let shown = "Deployment/busy-00001-deployment cpu: ";
        let what = "the use of a busy service";
        eventually(PATIENCE, what, || prints(&platform, version, "get hpa busy-00001", shown))
            .await;
        eventually(PATIENCE, "the use of an idle deployment", || {
            prints(&platform, version, "get hpa idle", "Deployment/idle cpu: 0%/80% 1 3 1")
        })
        .await;
        for command in ["top pods", "top nodes", "top pods --containers"] {
            let wanted = if command == "top nodes" { "weft" } else { "busy-00001-deployment-" };
            prints(&platform, version, command, wanted).await.unwrap();
        }
    }
    let hpa = platform.object("hpa idle").await.unwrap();
    let conditions = hpa["status"]["conditions"].as_array().unwrap();
    let active = conditions.iter().find(|it| it["type"] == "ScalingActive").unwrap();
    assert_eq!(active["reason"], "ValidMetricFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_users_pods_are_measured_too() {
    let settings = Settings { ordinary_user: true, ..with_shell() };
    let platform = Platform::start_with(settings).await;
    platform.apply(IDLE).await;
    let kubectl = platform.kubectl();
    kubectl.run("rollout status deployment/idle --timeout=60s").await.ok();
    eventually(PATIENCE, "the pod is measured", || {
        prints(&platform, Version::ALL[1], "top pods", "NAME CPU(cores) MEMORY(bytes) idle-")
    })
    .await;
    let printed = kubectl.run("top pods --no-headers").await.ok();
    let memory = printed.split_whitespace().nth(2).unwrap();
    assert_ne!(memory, "0Mi", "a shell takes some memory");
}
