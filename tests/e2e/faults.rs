//! Parts that end without a word while requests come: what no container had got is answered all the same, and scaling
//! goes on.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Result, ensure};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tests::{
    cluster::{Cluster, SYSTEM},
    eventually::eventually,
    machine::may_isolate,
    platform::{Platform, new_home},
};

use super::roles::{self, PATIENCE};

/// Requests that are always under way; one that a container had got when it ended may be lost, so at most so many are.
const LOOPS: usize = 4;
/// What is said of a request that a container had got.
const HAD_GOT: &str = "closed the connection";

/// Requests one after the other in each loop, until told to end.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answered: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

impl Load {
    /// Runs the loops with `ask`, which sends one request.
    async fn run(&self, loops: usize, ask: impl AsyncFn() -> Result<(u16, String)>) {
        let one = async || {
            while !self.is_over.load(Ordering::Relaxed) {
                match ask().await {
                    Ok((200, _)) => _ = self.answered.fetch_add(1, Ordering::Relaxed),
                    Ok((status, text)) => self.lost.lock().push(format!("{status}: {text}")),
                    Err(error) => self.lost.lock().push(format!("{error:#}")),
                }
            }
        };
        join_all((0..loops).map(|_| one())).await;
    }

    /// Waits until each loop had several more answers, and panics if more were lost than `may_be`.
    async fn goes_on(&self, after: &str, may_be: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually(PATIENCE, &format!("requests are answered after {after}"), || async {
            let lost = self.lost.lock().clone();
            assert!(lost.len() <= may_be, "lost after {after}: {lost:?}");
            let more = self.answered.load(Ordering::Relaxed) - before;
            ensure!(more >= 10 * LOOPS, "{more} are");
            Ok(())
        })
        .await;
        let lost = std::mem::take(&mut *self.lost.lock());
        assert!(lost.iter().all(|it| it.contains(HAD_GOT)), "lost after {after}: {lost:?}");
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A Service that takes as long as it is asked to, and gets a pod for each four requests.
const SLOW: &str = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: slow}
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/target: '4'}
    spec:
      containers:
      - image: weft.dev/samples/slow
";

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_killed_costs_no_request_that_it_had_not_got() {
    let platform = Platform::start().await;
    platform.apply(SLOW).await;
    platform.ready("slow").await;
    let host = platform.host("slow").await;
    let load = Load::default();
    let ask = async || {
        let reply = platform.get(&host, "/?sleep=20").await?;
        Ok((reply.status.as_u16(), reply.text()))
    };
    let faults = async {
        load.goes_on("the start", 0).await;
        for restarts in 1..=2 {
            let killed = platform.processes().into_iter().find(|it| it.contains(" sample slow"));
            let killed = killed.expect("the container is a process");
            let pid = killed.split(' ').next().and_then(|it| it.parse().ok());
            kill_process(pid.and_then(Pid::from_raw).expect("a number"), Signal::KILL).unwrap();
            eventually(PATIENCE, "the container is started again", || async {
                let pods = platform.object("pods -l serving.knative.dev/service=slow").await?;
                let statuses = pods["items"].as_array().into_iter().flatten();
                let mut statuses = statuses.flat_map(|it| {
                    it["status"]["containerStatuses"].as_array().into_iter().flatten()
                });
                let is_back = statuses.any(|it| {
                    it["name"] == "user-container"
                        && it["restartCount"].as_u64() >= Some(restarts)
                        && it["ready"] == true
                });
                ensure!(is_back, "{}", pods["items"][0]["status"]["containerStatuses"]);
                anyhow::Ok(())
            })
            .await;
            load.goes_on("the container's end", LOOPS).await;
        }
        load.end();
    };
    tokio::join!(load.run(LOOPS, ask), faults);
    platform.at_zero("slow").await;
    platform.get(&host, "/").await.unwrap().ok().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_scaling_go_on_whatever_role_ends() {
    if !may_isolate() {
        println!("no namespaces are allowed here: pods have no network of their own");
        return;
    }
    let cluster = Cluster::start(new_home(), roles::CONFIG).await;
    roles::tell(&cluster, story(&cluster)).await;
    cluster.stop().await;
}

async fn story(cluster: &Cluster) {
    roles::install(cluster, 2, &[]).await;
    cluster.kubectl().run_with("apply -f -", SLOW).await.ok();
    cluster.kubectl().run("wait ksvc/slow --for=condition=Ready --timeout=90s").await.ok();
    let to = roles::gateway(cluster, "gateway").await.expect("there is a gateway");
    let load = Load::default();
    let faults = async {
        load.goes_on("the start", 0).await;

        roles::kill(cluster, "weft-autoscaler").await;
        load.goes_on("the autoscaler's end", 0).await;
        scales_up(cluster, to).await;
        load.goes_on("the scale-up", 0).await;

        end_pod(cluster, SYSTEM, "app=activator").await;
        load.goes_on("the activator's end", 0).await;

        roles::kill(cluster, "conductor").await;
        load.goes_on("the controller's end", 0).await;

        end_pod(cluster, "default", "serving.knative.dev/service=slow").await;
        load.goes_on("a pod's end", LOOPS).await;

        cluster.lose_api().await;
        load.goes_on("the API's end", 0).await;
        // For so long that leaders end too.
        let before = restarts(cluster).await.expect("the node's API answers");
        eventually(PATIENCE, "both leaders end", || async {
            let now = restarts(cluster).await?;
            ensure!(now >= before + 2, "{now} ends, {before} before");
            Ok(())
        })
        .await;
        load.goes_on("the leaders' end", 0).await;
        cluster.find_api().await;
        load.goes_on("the API's return", 0).await;
        scales_up(cluster, to).await;
        load.goes_on("the second scale-up", 0).await;
        load.end();
    };
    let ask = async || cluster.get(to, HOST, "/?sleep=20").await;
    tokio::join!(load.run(LOOPS, ask), faults);
    eventually(PATIENCE, "slow goes to zero", || async {
        let pods = cluster.pods("default", "serving.knative.dev/service=slow").await?;
        ensure!(pods.is_empty(), "it has {} pods", pods.len());
        Ok(())
    })
    .await;
    let (status, text) = cluster.get(to, HOST, "/").await.expect("the gateway answers");
    assert_eq!(status, 200, "{text}");
}

const HOST: &str = "slow.default.example.com";

/// Sends far more than the pods should have until there are more of them.
async fn scales_up(cluster: &Cluster, to: SocketAddr) {
    let burst = Load::default();
    let ask = async || cluster.get(to, HOST, "/?sleep=500").await;
    let more = async {
        eventually(PATIENCE, "there are several pods", || async {
            let pods = cluster.pods("default", "serving.knative.dev/service=slow").await?;
            ensure!(pods.len() >= 2, "there is {}", pods.len());
            Ok(())
        })
        .await;
        burst.end();
    };
    tokio::join!(burst.run(20, ask), more);
    assert_eq!(*burst.lost.lock(), [""; 0], "lost while it scaled");
}

/// How often controllers and autoscalers were started again.
async fn restarts(cluster: &Cluster) -> Result<i32> {
    let pods = cluster.pods(SYSTEM, "app in (controller,autoscaler)").await?;
    let statuses = pods.iter().flat_map(|it| it.status.iter());
    let containers = statuses.flat_map(|it| it.container_statuses.iter().flatten());
    Ok(containers.map(|it| it.restart_count).sum())
}

/// Ends a pod at once, without a word to it, and waits until another is ready in its place.
async fn end_pod(cluster: &Cluster, namespace: &str, labels: &str) {
    let before = cluster.pods(namespace, labels).await.expect("the API answers");
    let name = before.first().and_then(|it| it.metadata.name.clone()).expect("there is a pod");
    let pods: Api<Pod> = Api::namespaced(cluster.client().clone(), namespace);
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await.expect("it is there");
    eventually(PATIENCE, &format!("another pod is ready in place of {name}"), || async {
        let now = cluster.pods(namespace, labels).await?;
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
            let mut ready = conditions.filter(|it| it.type_ == "Ready");
            pod.metadata.name.as_ref() != Some(&name) && ready.any(|it| it.status == "True")
        };
        ensure!(now.iter().any(is_ready), "there are {}", now.len());
        Ok(())
    })
    .await;
}
