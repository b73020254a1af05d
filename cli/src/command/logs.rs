//! `weft logs`: the lines of all pods of a service, while pods come and go.

use std::{collections::BTreeMap, pin::pin};

use anyhow::Context;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::watcher,
};
use tokio::task::JoinSet;

use crate::{args, connect};

/// Prints the logs; with `--follow` until interrupted.
pub async fn run(logs: args::Logs) -> anyhow::Result<()> {
    let client = connect::client(&logs.target).await?;
    let service = connect::service(&client, &logs.target).await?;
    let pods: Api<Pod> = Api::namespaced(client, &logs.target.namespace);
    let selector = format!("{}={}", api::keys::serving::SERVICE, service.name_any());
    if logs.follow {
        follow(pods, &selector, &logs).await
    } else {
        print_once(pods, &selector, &logs).await
    }
}

async fn print_once(pods: Api<Pod>, selector: &str, logs: &args::Logs) -> anyhow::Result<()> {
    let found =
        pods.list(&ListParams::default().labels(selector)).await.context("list the pods")?;
    if found.items.is_empty() {
        eprintln!(
            "{} has no pod now; a request starts one, and -f waits for it",
            logs.target.service
        );
    }
    for pod in found.items {
        print_pod(pods.clone(), pod.name_any(), parameters(logs)).await;
    }
    Ok(())
}

async fn follow(pods: Api<Pod>, selector: &str, logs: &args::Logs) -> anyhow::Result<()> {
    let mut events =
        pin!(watcher::watcher(pods.clone(), watcher::Config::default().labels(selector)));
    // One reader a pod, by uid: as many as the service has pods.
    let mut readers = JoinSet::new();
    let mut read: BTreeMap<String, ()> = BTreeMap::new();
    loop {
        let pod = match events.next().await {
            Some(Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => pod,
            Some(Ok(watcher::Event::Delete(pod))) => {
                read.remove(&pod.uid().unwrap_or_default());
                continue;
            }
            Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => continue,
            // The watcher itself starts again after a pause.
            Some(Err(error)) => {
                eprintln!("watch the pods: {error}");
                continue;
            }
            None => return Ok(()),
        };
        let uid = pod.uid().unwrap_or_default();
        if started(&pod, &logs.container) && read.insert(uid, ()).is_none() {
            readers.spawn(print_pod(pods.clone(), pod.name_any(), parameters(logs)));
        }
        while readers.try_join_next().is_some() {}
    }
}

fn parameters(logs: &args::Logs) -> LogParams {
    LogParams {
        container: Some(logs.container.clone()),
        follow: logs.follow,
        tail_lines: logs.tail,
        ..LogParams::default()
    }
}

/// Whether the container has run, so that there is a log to read.
fn started(pod: &Pod, container: &str) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().any(|status| {
        let state = status.state.as_ref();
        status.name == container
            && state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// Prints one pod's lines, each behind the pod's name.
async fn print_pod(pods: Api<Pod>, name: String, parameters: LogParams) {
    let printed = async {
        let mut lines = pods.log_stream(&name, &parameters).await?.lines();
        while let Some(line) = lines.try_next().await? {
            println!("{name}: {line}");
        }
        anyhow::Ok(())
    };
    if let Err(error) = printed.await {
        eprintln!("read the log of {name}: {error}");
    }
}
