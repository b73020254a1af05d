//! Scales on the embedded cluster: activator, autoscaler, API and workload controllers together, with
//! pods that are only made believe.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use activator::serve::{Activator, Settings};
use api::serving::Revision;
use autoscaler::drive::{self, Autoscaler};
use http::{Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use proxy::{
    body::Body,
    hop::{Backend, Boxed, Destination, Protocol, SendError, Upstream},
};
use runtime::{clock::Clock, cluster::Cluster, config as live, events::Recorder, metrics::Metrics};
use serde_json::json;
use tests::eventually::eventually;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a pod takes from being seen to answering.
const START: Duration = Duration::from_millis(5);
/// Far more than anything here takes on a busy machine, unoptimised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses that answer.
#[derive(Default)]
struct Pods {
    up: Mutex<BTreeSet<IpAddr>>,
    next: AtomicU32,
}

struct PodsUpstream(Arc<Pods>);

impl Upstream for PodsUpstream {
    fn send(
        &self,
        to: SocketAddr,
        _: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let is_up = self.0.up.lock().contains(&to.ip());
        Box::pin(async move {
            if is_up {
                return Ok(Response::new(Body::full("hello")));
            }
            let cause = io::ErrorKind::ConnectionRefused.into();
            Err(SendError::NotSent { request: Box::new(request), cause })
        })
    }

    fn probe(&self, to: SocketAddr) -> Boxed<bool> {
        let is_up = self.0.up.lock().contains(&to.ip());
        Box::pin(std::future::ready(is_up))
    }
}

struct Platform {
    cluster: Cluster,
    activator: Activator,
    autoscaler: Autoscaler,
    stop: CancellationToken,
    _workloads: local::workloads::Handle,
}

impl Platform {
    async fn start() -> Platform {
        let clock = Clock::start();
        let server = local::api::Api::open(local::api::Options::in_memory(clock))
            .expect("a store in memory opens");
        let client = server.client();
        let stop = CancellationToken::new();
        let cluster = Cluster::new(client.clone(), clock, stop.clone());
        for name in ["knative-serving", "ns"] {
            let namespace: Namespace =
                serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect(name);
        }
        for definition in api::crd::crds() {
            let api = Api::all(client.clone());
            api.create(&PostParams::default(), &definition).await.expect("a definition");
        }
        let workloads = local::workloads::start(client.clone(), clock, String::new());
        let recorder = Recorder::start(&cluster, "test");
        let config = live::watch(&cluster, "knative-serving", None, &recorder).await;
        let autoscaler = Autoscaler::start(
            &cluster,
            config.clone(),
            &recorder,
            &Metrics::default(),
            drive::Settings {
                system_namespace: "knative-serving".to_owned(),
                path: drive::Path::Here,
            },
        );
        let pods = Arc::new(Pods::default());
        let reports = autoscaler.reports();
        let activator = Activator::start(
            &cluster,
            config,
            Arc::new(PodsUpstream(pods.clone())),
            Arc::new(move |report| reports.send(report)),
            Settings::new("activator"),
        );
        run_pods(&cluster, pods);
        Platform { cluster, activator, autoscaler, stop, _workloads: workloads }
    }

    /// Makes what the controller makes of a Service: Revision, Deployment, PodAutoscaler.
    async fn revision(&self, name: &str, annotations: serde_json::Value) {
        let client = self.cluster.client();
        let revision = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"containers": [{"name": "user-container", "image": "hello"}]},
        });
        let revision: Revision = serde_json::from_value(revision).expect("a revision");
        let revisions: Api<Revision> = Api::namespaced(client.clone(), "ns");
        let revision = revisions.create(&PostParams::default(), &revision).await.expect("made");
        let owner = runtime::plan::owner(&revision);
        let labels = json!({"serving.knative.dev/revisionUID": owner.uid});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": format!("{name}-deployment"), "namespace": "ns",
                "ownerReferences": [owner]},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [
                    {"name": "user-container", "image": "hello"},
                    {"name": "queue-proxy", "image": "queue", "ports": [
                        {"name": "queue-port", "containerPort": 8012},
                        {"name": "http-autometric", "containerPort": 9090},
                        {"name": "http-usermetric", "containerPort": 9091},
                        {"name": "https-port", "containerPort": 8112}]}]}}},
        });
        let deployment: Deployment = serde_json::from_value(deployment).expect("a deployment");
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "ns");
        deployments.create(&PostParams::default(), &deployment).await.expect("made");
        let autoscaler = json!({
            "apiVersion": "autoscaling.internal.knative.dev/v1alpha1", "kind": "PodAutoscaler",
            "metadata": {"name": name, "namespace": "ns", "annotations": annotations,
                "ownerReferences": [owner]},
            "spec": {"protocolType": "http1", "reachability": "Reachable", "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": format!("{name}-deployment")}},
        });
        let autoscaler = serde_json::from_value(autoscaler).expect("a pod autoscaler");
        let autoscalers: Api<api::autoscaling::PodAutoscaler> =
            Api::namespaced(client.clone(), "ns");
        autoscalers.create(&PostParams::default(), &autoscaler).await.expect("made");
    }

    /// Sends a request; how long the answer took.
    async fn ask(&self, name: &str) -> Duration {
        let to = Destination {
            namespace: "ns".into(),
            service: name.into(),
            port: 80,
            protocol: Protocol::Http1,
        };
        let began = Instant::now();
        let answer = self.activator.send(&to, Request::new(Body::empty()));
        let response = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        assert_eq!(response.status(), 200);
        let text = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(text, "hello");
        began.elapsed()
    }

    async fn scale(&self, name: &str) -> (Option<i32>, Option<i32>) {
        let client = self.cluster.client().clone();
        let autoscalers: Api<api::autoscaling::PodAutoscaler> = Api::namespaced(client, "ns");
        let status = autoscalers.get(name).await.expect("it is there").status.unwrap_or_default();
        (status.desired_scale, status.actual_scale)
    }

    /// Waits until the revision's PodAutoscaler says that nothing is left to be made.
    async fn settled(&self, name: &str) {
        let services: Api<k8s_openapi::api::core::v1::Endpoints> =
            Api::namespaced(self.cluster.client().clone(), "ns");
        eventually(PATIENCE, "the public Endpoints", || async {
            let found = services.get_opt(name).await.expect("the API answers");
            found.is_some().then_some(()).ok_or_else(|| format!("no Endpoints {name}"))
        })
        .await;
    }
}

/// Gives each pod an address, has it answer a moment later, calls it ready after that, and lets it go.
fn run_pods(cluster: &Cluster, pods: Arc<Pods>) {
    let cache = cluster.cache::<Pod>();
    let cluster = cluster.clone();
    cache.on_change(move |change| {
        let Some(pod) = change.new.cloned() else { return };
        let is_new = change.old.is_none();
        let ends = pod.metadata.deletion_timestamp.is_some()
            && change.old.is_none_or(|old| old.metadata.deletion_timestamp.is_none());
        if !is_new && !ends {
            return;
        }
        let pods = pods.clone();
        let client = cluster.client().clone();
        cluster.spawn(async move {
            let name = pod.metadata.name.clone().expect("pods have names");
            let api: Api<Pod> = Api::namespaced(client, "ns");
            if ends {
                let ip = pod.status.as_ref().and_then(|it| it.pod_ip.as_deref());
                if let Some(ip) = ip.and_then(|ip| ip.parse().ok()) {
                    pods.up.lock().remove(&ip);
                }
                // It may be gone already.
                let _ = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
                return;
            }
            let number = pods.next.fetch_add(1, Ordering::Relaxed);
            let ip = IpAddr::from([10, 1, (number / 250) as u8, (number % 250) as u8 + 1]);
            let status = |ready: &str| {
                Patch::Merge(
                    json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": ready}]}}),
                )
            };
            let parameters = PatchParams::default();
            // Where the pod is deleted meanwhile, nothing is left to say.
            let _ = api.patch_status(&name, &parameters, &status("False")).await;
            tokio::time::sleep(START).await;
            pods.up.lock().insert(ip);
            let _ = api.patch_status(&name, &parameters, &status("True")).await;
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_at_zero_brings_a_pod_and_the_pod_goes_again() {
    let platform = Platform::start().await;
    let annotations = json!({"autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
        "autoscaling.knative.dev/window": "6s"});
    platform.revision("hello-00001", annotations).await;
    platform.settled("hello-00001").await;
    let cold = platform.ask("hello-00001").await;
    let warm = platform.ask("hello-00001").await;
    println!("cold {:?} beyond the pod's own start, warm {warm:?}", cold.saturating_sub(START));
    eventually(PATIENCE, "the scale", || async {
        let scale = platform.scale("hello-00001").await;
        if scale == (Some(1), Some(1)) { Ok(()) } else { Err(format!("{scale:?}")) }
    })
    .await;
    // Six seconds of silence, then a grace in which requests go through the activator.
    eventually(Duration::from_secs(60), "zero", || async {
        let scale = platform.scale("hello-00001").await;
        if scale == (Some(0), Some(0)) { Ok(()) } else { Err(format!("{scale:?}")) }
    })
    .await;
    for entry in platform.autoscaler.explain("ns", "hello-00001") {
        println!("{entry}");
    }
    let again = platform.ask("hello-00001").await;
    println!("cold again {:?}", again.saturating_sub(START));
    platform.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_wake_up_at_once() {
    const COUNT: usize = 25;
    let platform = Arc::new(Platform::start().await);
    for number in 0..COUNT {
        platform.revision(&format!("hello-{number:05}"), json!({})).await;
    }
    platform.settled(&format!("hello-{:05}", COUNT - 1)).await;
    let asked: Vec<_> = (0..COUNT)
        .map(|number| {
            let platform = platform.clone();
            tokio::spawn(async move { platform.ask(&format!("hello-{number:05}")).await })
        })
        .collect();
    let mut took = Vec::new();
    for answer in asked {
        took.push(answer.await.expect("answered"));
    }
    took.sort();
    println!("of {COUNT} at once: median {:?}, last {:?}", took[COUNT / 2], took[COUNT - 1]);
    platform.stop.cancel();
}
