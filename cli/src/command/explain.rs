//! `weft explain`: the last scaling decisions of a service and why they were taken.

use anyhow::Context;
use kube::ResourceExt;

use crate::{
    args::{self, Output},
    connect,
};

/// Prints the decisions for the latest ready revision and for every other that has traffic.
pub async fn run(explain: args::Explain) -> anyhow::Result<()> {
    let client = connect::client(&explain.target).await?;
    let service = connect::service(&client, &explain.target).await?;
    let status = service.status.clone().unwrap_or_default();
    let mut revisions: Vec<String> =
        status.traffic.into_iter().filter_map(|target| target.revision_name).collect();
    revisions.extend(status.latest_created_revision_name);
    revisions.sort();
    revisions.dedup();
    if revisions.is_empty() {
        println!("{} has no revision yet", service.name_any());
    }
    for revision in revisions {
        let path = format!(
            "/api/v1/namespaces/knative-serving/services/autoscaler:8080/proxy/explain/{}/{revision}",
            explain.target.namespace
        );
        let request = http::Request::get(path).body(Vec::new()).expect("a path of plain names");
        let text = client.request_text(request).await.context("ask the autoscaler")?;
        match explain.output {
            Output::Json => println!("{text}"),
            Output::Text => {
                let decisions: Vec<autoscaler::explain::Entry> =
                    serde_json::from_str(&text).context("read the autoscaler's answer")?;
                println!("{revision}");
                if decisions.is_empty() {
                    println!("  nothing decided yet");
                }
                for decision in decisions {
                    println!("  {decision}");
                }
            }
        }
    }
    Ok(())
}
