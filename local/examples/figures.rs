//! Measures the API server in one process: create, create-to-watch latency, many watchers, memory.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use local::api::{Api as Server, Options};
use tokio::time::Instant;

/// Objects of the memory figure: about what 1,000 Knative Services make.
const OBJECTS: usize = 15_000;
/// Watchers of the fan-out figure.
const WATCHERS: usize = 200;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

fn object(name: &str) -> anyhow::Result<ConfigMap> {
    let text = "x".repeat(1500);
    Ok(serde_json::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": name, "serving.knative.dev/service": name}},
        "data": {"k": text},
    }))?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::open(Options::in_memory(runtime::clock::Clock::start()))?;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let params = PostParams::default();
    for turn in 0..100 {
        maps.create(&params, &object(&format!("warm-{turn}"))?).await?;
    }

    let mut latencies: Vec<Duration> = Vec::new();
    let mut events = maps.watch(&WatchParams::default(), "0").await?.boxed();
    for _ in 0..100 {
        events.next().await;
    }
    for turn in 0..500 {
        let begin = Instant::now();
        maps.create(&params, &object(&format!("seen-{turn}"))?).await?;
        match events.next().await {
            Some(Ok(WatchEvent::Added(_))) => latencies.push(begin.elapsed()),
            other => anyhow::bail!("an unexpected event: {other:?}"),
        }
    }
    drop(events);
    latencies.sort();
    println!("create and seen by a watch: p50 {:?}, p99 {:?}", latencies[250], latencies[495]);

    let before = resident_kib();
    let begin = Instant::now();
    for turn in 0..OBJECTS {
        maps.create(&params, &object(&format!("many-{turn}"))?).await?;
    }
    println!("{OBJECTS} creates: {:?} each", begin.elapsed() / OBJECTS as u32);
    println!(
        "{OBJECTS} objects: {} MiB resident ({} before)",
        resident_kib() / 1024,
        before / 1024
    );

    let begin = Instant::now();
    let list = maps.list(&Default::default()).await?;
    println!("list of {}: {:?}", list.items.len(), begin.elapsed());
    drop(list);

    let mut watchers = tokio::task::JoinSet::new();
    let ready = std::sync::Arc::new(tokio::sync::Barrier::new(WATCHERS + 1));
    for _ in 0..WATCHERS {
        let (maps, ready) = (maps.clone(), ready.clone());
        let revision = server.revision().to_string();
        watchers.spawn(async move {
            let mut events = maps.watch(&WatchParams::default(), &revision).await?.boxed();
            ready.wait().await;
            for _ in 0..100 {
                events.next().await;
            }
            anyhow::Ok(())
        });
    }
    ready.wait().await;
    let begin = Instant::now();
    for turn in 0..100 {
        maps.create(&params, &object(&format!("fan-{turn}"))?).await?;
    }
    let created = begin.elapsed();
    while let Some(result) = watchers.join_next().await {
        result??;
    }
    println!(
        "100 creates beside {WATCHERS} watchers: {:?} each, all seen after {:?}",
        created / 100,
        begin.elapsed()
    );
    Ok(())
}
