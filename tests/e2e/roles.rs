//! Each role by itself, in pods of a cluster that knows nothing of the platform: requests pass from the
//! gateway's process to the queue's, also in TLS, and of the controllers and autoscalers one works at a time.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, api::DeleteParams};
use tests::{
    cluster::{Cluster, SYSTEM, role},
    eventually::eventually,
    machine::may_isolate,
    platform::{Platform, new_home},
};

/// Unoptimised processes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// A request for a host of the Service.
const HOST: &str = "hello.default.example.com";

/// As short as they may be, so that the test sees pods go and leases end.
pub(super) const CONFIG: &[(&str, &[(&str, &str)])] = &[
    ("config-domain", &[("example.com", "")]),
    // The node knows the samples; nobody else does.
    ("config-deployment", &[("registries-skipping-tag-resolving", "weft.dev")]),
    ("config-autoscaler", &[("stable-window", "6s"), ("scale-to-zero-grace-period", "6s")]),
    (
        "config-leader-election",
        &[
            ("lease-duration", "4s"),
            ("renew-deadline", "3s"),
            ("retry-period", "1s"),
            ("map-lease-prefix.weft-controller", "conductor"),
        ],
    ),
    (
        "config-observability",
        &[
            ("logging.enable-request-log", "true"),
            ("request-metrics-protocol", "prometheus"),
            ("logging.request-log-template", "{{.Request.Host}} {{.Response.Code}}"),
        ],
    ),
];

/// The same, with TLS between the roles.
const SECURED: &[(&str, &[(&str, &str)])] = &[
    (
        "config-network",
        &[
            ("system-internal-tls", "enabled"),
            ("certificate-class", "weft.certificate.networking.knative.dev"),
        ],
    ),
    CONFIG[0],
    CONFIG[1],
    CONFIG[2],
    (
        "config-observability",
        &[
            ("logging.enable-request-log", "true"),
            ("logging.request-log-template", "TLS: {{.Request.TLS}}"),
        ],
    ),
];

/// Installs the roles by their manifests, with so many controllers and autoscalers; and others, by their words.
pub(super) async fn install(cluster: &Cluster, replicas: u32, others: &[(&str, &[&str])]) {
    let roles =
        [("controller", replicas), ("autoscaler", replicas), ("activator", 1), ("gateway", 1)];
    for (name, replicas) in roles {
        cluster.install_role(name, replicas).await;
    }
    let kubeconfig = cluster.kubeconfig_of_pods();
    let home = Path::new(&kubeconfig).parent().expect("it is in a folder").display().to_string();
    for (name, words) in others {
        let arguments = [*words, &["--kubeconfig", &kubeconfig, "--log", "info"]].concat();
        let objects = role(name, 1, &home, &arguments, &[("http", 80, 8080)]);
        cluster.kubectl().run_with("apply -f -", &objects.to_string()).await.ok();
    }
    let installed = roles.map(|(name, _)| format!("weft-{name}"));
    let others = others.iter().map(|(name, _)| (*name).to_owned());
    for name in installed.into_iter().chain(others) {
        let line = format!("rollout status deployment/{name} -n {SYSTEM} --timeout=90s");
        cluster.kubectl().run(&line).await.ok();
    }
}

pub(super) async fn gateway(cluster: &Cluster, name: &str) -> anyhow::Result<SocketAddr> {
    let pods = cluster.pods(SYSTEM, &format!("app={name}")).await?;
    let ip = pods.iter().find_map(|it| it.status.as_ref()?.pod_ip.clone());
    Ok(SocketAddr::new(ip.context("the gateway has no address")?.parse()?, 8080))
}

async fn says_hello(cluster: &Cluster) {
    says_hello_at(cluster, "gateway").await;
}

async fn says_hello_at(cluster: &Cluster, name: &str) {
    let to = gateway(cluster, name).await.expect("there is a gateway");
    let (status, text) = cluster.get(to, HOST, "/").await.expect("the gateway answers");
    assert_eq!((status, text.trim()), (200, "Hello World!"));
}

async fn at_zero(cluster: &Cluster) {
    eventually(PATIENCE, "hello goes to zero", || async {
        let pods = cluster.pods("default", "serving.knative.dev/service=hello").await?;
        ensure!(pods.is_empty(), "it has {} pods", pods.len());
        Ok(())
    })
    .await;
}

/// The pod that holds a lease.
pub(super) async fn leader(cluster: &Cluster, lease: &str) -> anyhow::Result<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client().clone(), SYSTEM);
    let spec = leases.get(lease).await?.spec.context("the lease says nothing")?;
    let holder = spec.holder_identity.filter(|it| !it.is_empty()).context("nobody holds it")?;
    Ok(holder.split('_').next().unwrap_or_default().to_owned())
}

/// Ends a pod at once, without a word from it, and waits until another holds its lease.
pub(super) async fn kill(cluster: &Cluster, lease: &str) {
    let before = leader(cluster, lease).await.expect("somebody leads");
    let pods: Api<Pod> = Api::namespaced(cluster.client().clone(), SYSTEM);
    pods.delete(&before, &DeleteParams::default().grace_period(0)).await.expect("it is there");
    eventually(PATIENCE, &format!("another takes the lease {lease}"), || async {
        let now = leader(cluster, lease).await?;
        ensure!(now != before, "{now} holds it still");
        Ok(())
    })
    .await;
}

/// Queues that run as processes, by their command lines and their variables.
fn queues() -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_queue = |path: std::path::PathBuf| {
        let read = |name: &str| std::fs::read(path.join(name)).unwrap_or_default();
        let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|it| it == part);
        has(&read("cmdline"), b"\0queue\0") && has(&read("environ"), b"SERVING_SERVICE=hello\0")
    };
    processes.filter(|it| is_queue(it.path())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_of_the_roles_are_what_the_program_takes() {
    let platform = Platform::start().await;
    let folder = tests::parts::root().join("deploy/roles");
    let folder = folder.to_str().expect("paths are text");
    let words = ["apply", "--dry-run=server", "-o", "json", "-f", folder];
    let accepted = platform.kubectl().run_words(&words, "").await.ok();
    let accepted: serde_json::Value = serde_json::from_str(&accepted).expect("kubectl prints JSON");
    let items = accepted["items"].as_array().expect("a list");
    let mut roles = Vec::new();
    for it in items.iter().filter(|it| it["kind"] == "Deployment") {
        for container in it["spec"]["template"]["spec"]["containers"].as_array().expect("a list") {
            assert_eq!(container["image"], config::deployment::QUEUE_IMAGE);
            let args = container["args"].as_array().expect("they name the role");
            let mut args = args.iter().filter_map(|it| it.as_str());
            let role = args.next().expect("the role comes first");
            let weft =
                std::process::Command::new(tests::parts::weft()).args([role, "--help"]).output();
            let help = weft.expect("weft runs");
            let help = String::from_utf8(help.stdout).expect("help is text");
            for flag in args.filter(|it| it.starts_with("--")) {
                assert!(help.contains(&format!("{flag} ")), "{flag} of {role} is not in {help}");
            }
            roles.push(role.to_owned());
        }
    }
    roles.sort();
    assert_eq!(roles, ["activator", "autoscaler", "controller", "gateway"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_alone_serve_and_a_second_of_each_takes_over() {
    if !may_isolate() {
        // Only who may make networks gives pods addresses at which other processes reach them; what needs no pods is
        // covered by the tests of leases and of each role.
        println!("no namespaces are allowed here: pods have no network of their own");
        return;
    }
    let cluster = Cluster::start(new_home(), CONFIG).await;
    tell(&cluster, story(&cluster)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_speak_tls_with_each_other() {
    if !may_isolate() {
        println!("no namespaces are allowed here: pods have no network of their own");
        return;
    }
    let cluster = Cluster::start(new_home(), SECURED).await;
    tell(&cluster, secured_story(&cluster)).await;
    cluster.stop().await;
}

/// Runs a story to its end; reports what there was where it fails.
pub(super) async fn tell(cluster: &Cluster, story: impl Future<Output = ()>) {
    let told = std::panic::AssertUnwindSafe(story);
    if let Err(panic) = futures::FutureExt::catch_unwind(told).await {
        report(cluster).await;
        std::panic::resume_unwind(panic);
    }
}

/// Waits until the queues have written a text so often.
async fn written(cluster: &Cluster, text: &str, times: usize) {
    let line = "logs -l serving.knative.dev/service=hello -c queue-proxy --tail=-1";
    eventually(PATIENCE, &format!("the queue writes {text:?} {times} times"), || async {
        let log = cluster.kubectl().run(line).await.ok();
        ensure!(log.matches(text).count() >= times, "it wrote {log:?}");
        Ok(())
    })
    .await;
}

async fn secured_story(cluster: &Cluster) {
    // One gateway holds requests itself; the other passes them on to the activator, or to queues.
    install(cluster, 1, &[("edge", &["gateway", "--endpoints-only"])]).await;
    apply_hello(cluster).await;
    for (namespace, secret) in [("default", "serving-certs"), (SYSTEM, "routing-serving-certs")] {
        let line = format!("get secret {secret} -n {namespace} -o name");
        cluster.kubectl().run(&line).await.ok();
    }
    says_hello(cluster).await;
    written(cluster, "TLS: {772 true", 1).await;
    says_hello_at(cluster, "edge").await;
    written(cluster, "TLS: {772 true", 2).await;

    // Another certificate, and then another authority, while the queue runs.
    const RELOADED: &str = "Certificate and/or key have changed on disk and were reloaded.";
    written(cluster, RELOADED, 1).await;
    cluster.kubectl().run("delete secret serving-certs").await.ok();
    says_hello(cluster).await;
    written(cluster, RELOADED, 2).await;
    says_hello(cluster).await;
    let line = format!("delete secret knative-selfsigned-ca -n {SYSTEM}");
    cluster.kubectl().run(&line).await.ok();
    written(cluster, RELOADED, 3).await;
    says_hello(cluster).await;
    says_hello_at(cluster, "edge").await;

    at_zero(cluster).await;
    says_hello_at(cluster, "edge").await;
    at_zero(cluster).await;
    says_hello(cluster).await;
    let line = "logs -l serving.knative.dev/service=hello -c queue-proxy --tail=-1";
    let log = cluster.kubectl().run(line).await.ok();
    assert!(!log.contains("TLS: <nil>"), "all requests came in TLS: {log}");
}

async fn apply_hello(cluster: &Cluster) {
    let samples = tests::parts::root().join("deploy/samples/hello.yaml");
    let words = ["apply", "-f", samples.to_str().expect("paths are text")];
    cluster.kubectl().run_words(&words, "").await.ok();
    let ready = "wait ksvc/hello --for=condition=Ready --timeout=90s";
    cluster.kubectl().run(ready).await.ok();
}

async fn story(cluster: &Cluster) {
    install(cluster, 2, &[]).await;
    apply_hello(cluster).await;
    says_hello(cluster).await;
    assert_eq!(queues(), 1, "the queue is a process of its own here");
    let line = "logs -l serving.knative.dev/service=hello -c queue-proxy";
    eventually(PATIENCE, "the queue writes its log", || async {
        let log = cluster.kubectl().run(line).await.ok();
        ensure!(log.contains(&format!("{HOST} 200\n")), "it wrote {log:?}");
        let pods = cluster.pods("default", "serving.knative.dev/service=hello").await?;
        let ip = pods.iter().find_map(|it| it.status.as_ref()?.pod_ip.clone());
        let at = SocketAddr::new(ip.context("there is no pod")?.parse()?, 9091);
        let (_, text) = cluster.get(at, "hello", "/metrics").await?;
        let name = "kn_serving_invocation_duration_seconds_count";
        ensure!(text.contains(&format!("{name}{{http_response_status_code=\"200\"}}")), "{text}");
        Ok(())
    })
    .await;

    at_zero(cluster).await;
    says_hello(cluster).await;

    kill(cluster, "weft-autoscaler").await;
    says_hello(cluster).await;
    at_zero(cluster).await;
    says_hello(cluster).await;

    kill(cluster, "conductor").await;
    let patch = r#"{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}"#;
    cluster
        .kubectl()
        .run_words(&["patch", "ksvc", "hello", "--type", "merge", "-p", patch], "")
        .await
        .ok();
    let second = "wait ksvc/hello --for=jsonpath={.status.latestReadyRevisionName}=hello-00002 --timeout=90s";
    cluster.kubectl().run(second).await.ok();
    says_hello(cluster).await;
}

pub(super) async fn report(cluster: &Cluster) {
    for line in [
        "get ksvc,route,revision,kpa,king,sks,deploy,pods,svc,endpoints,lease -A -o wide",
        "get events -A --sort-by=.lastTimestamp",
        "logs -n knative-serving -l app=controller --tail=40 --prefix",
        "logs -n knative-serving -l app=autoscaler --tail=40 --prefix",
        "logs -n knative-serving -l app=activator --tail=40 --prefix",
        "logs -n knative-serving -l app=gateway --tail=40 --prefix",
        "logs -l serving.knative.dev/service=hello --all-containers --tail=40 --prefix",
        "get ksvc,revision,kpa -o yaml",
    ] {
        let output = cluster.kubectl().run(line).await;
        eprintln!("== kubectl {line}\n{}", output.result().unwrap_or_else(|error| error));
    }
}
