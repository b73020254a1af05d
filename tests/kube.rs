//! The embedded API server against the recorded behaviour of Kubernetes.
//!
//! `kube-cases/known-differences.txt` lists the cases that do not pass, with the reason; the list is exact.

use std::{collections::BTreeSet, path::PathBuf};

use local::{
    api::{Api, Options},
    serve::{Certificate, serve},
    workloads,
};
use runtime::clock::Clock;
use serde_json::Value;
use tests::{
    kubectl::Version,
    parts,
    replay::{self, Outcome, Replay},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The areas that count for the bar.
const CORE: [&str; 6] = ["crud", "listwatch", "patch", "ssa", "crd", "errors"];

/// An API server on a port of its own, in this process.
struct Server {
    address: String,
    token: String,
    stop: CancellationToken,
    workloads: Option<workloads::Handle>,
}

impl Server {
    async fn start(with_controllers: bool) -> Server {
        let clock = Clock::start();
        let api = Api::open(Options::in_memory(clock)).unwrap();
        let certificate = Certificate::open(None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let token = api.admin_token().to_owned();
        let stop = CancellationToken::new();
        let workloads =
            with_controllers.then(|| workloads::start(api.client(), clock, "certificate".into()));
        let until = stop.clone();
        tokio::spawn(async move { serve(api, &certificate, listener, until).await });
        Server { address, token, stop, workloads }
    }

    async fn replay(
        &self,
        name: &'static str,
        files: &'static [&'static str],
        kubectl: Option<PathBuf>,
    ) -> Outcome {
        let (server, token) = (self.address.clone(), self.token.clone());
        let with_controllers = self.workloads.is_some();
        let run = move || {
            let (server, token) = (&*server, &*token);
            replay::run(&Replay { server, token, files, kubectl, with_controllers, name })
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn stop(self) {
        if let Some(workloads) = self.workloads {
            workloads.shutdown().await;
        }
        self.stop.cancel();
    }
}

fn check(outcome: &Outcome, replayed: &BTreeSet<String>) {
    let list = parts::root().join("tests/kube-cases/known-differences.txt");
    replay::compare(outcome, &replay::known(&list), replayed);
}

fn needs<'a>(case: &'a Value, what: &str) -> &'a str {
    case[what].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_the_recorded_server() {
    let files = &[
        "discovery.json",
        "crud.json",
        "listwatch.json",
        "patch.json",
        "ssa.json",
        "crd.json",
        "errors.json",
        "auth.json",
        "webhooks.json",
    ];
    let server = Server::start(false).await;
    let outcome = server.replay("requests", files, None).await;
    server.stop().await;
    let share = outcome.share(&CORE);
    println!("{:.1} % of {}", share * 100.0, CORE.join(", "));
    assert!(share >= 0.95, "{:.1} % of {} pass", share * 100.0, CORE.join(", "));
    check(&outcome, &replay::cases(files, |case| needs(case, "needs") != "controllers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_as_the_recorded_controllers() {
    let files = &["controllers.json"];
    let server = Server::start(true).await;
    let outcome = server.replay("controllers", files, None).await;
    server.stop().await;
    check(&outcome, &replay::cases(files, |_| true));
}

#[tokio::test(flavor = "multi_thread")]
async fn satisfies_the_oldest_kubectl() {
    sessions("kubectl-1.20", "1.20", Version::Oldest.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn satisfies_a_current_kubectl() {
    sessions("kubectl-1.32", "1.32", parts::part("kubectl-1.32")).await;
}

/// Replays the recorded sessions of one version, those that need controllers with controllers.
async fn sessions(name: &'static str, version: &str, kubectl: PathBuf) {
    let files = &["kubectl.json"];
    let server = Server::start(false).await;
    let outcome = server.replay(name, files, Some(kubectl.clone())).await;
    server.stop().await;
    let plain = |case: &Value| needs(case, "kubectl") == version && needs(case, "needs").is_empty();
    check(&outcome, &replay::cases(files, plain));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolls_out_for_kubectl() {
    let files = &["kubectl.json"];
    let server = Server::start(true).await;
    let kubectl = Version::Oldest.path();
    let outcome = server.replay("rollout", files, Some(kubectl)).await;
    server.stop().await;
    let rollout =
        |case: &Value| needs(case, "kubectl") == "1.20" && needs(case, "needs") == "controllers";
    let rollout = replay::cases(files, rollout);
    let outcome = Outcome {
        failures: outcome.failures.into_iter().filter(|(name, _)| rollout.contains(name)).collect(),
        ..outcome
    };
    check(&outcome, &rollout);
}
