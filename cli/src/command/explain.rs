//! `weft explain`: the last scaling decisions of a service and why they were taken.

use anyhow::Context;
use api::{autoscaling::PodAutoscaler, keys::autoscaling};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, Client, ResourceExt};

use crate::{
    args::{self, Output},
    connect,
};

mod horizontal;

use horizontal::Horizontal;

/// Prints the decisions for the latest ready revision and for every other that has traffic; for revisions that a
/// HorizontalPodAutoscaler scales, how it stands with that.
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
        let namespace = &explain.target.namespace;
        let class = class(&client, namespace, &revision).await?;
        if class != autoscaling::KPA_CLASS {
            let text = match (explain.output, &*class) {
                (output, autoscaling::HPA_CLASS) => {
                    told_by_horizontal(&client, namespace, &revision, output).await?
                }
                (Output::Json, _) => "[]".to_owned(),
                (Output::Text, _) => {
                    format!("  scaled by the class {class}, which says why itself")
                }
            };
            match explain.output {
                Output::Json => println!("{text}"),
                Output::Text => println!("{revision}\n{text}"),
            }
            continue;
        }
        let path = format!(
            "/api/v1/namespaces/knative-serving/services/autoscaler:8080/proxy/explain/{namespace}/{revision}"
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

/// The class of autoscaler that a revision has.
async fn class(client: &Client, namespace: &str, revision: &str) -> anyhow::Result<String> {
    let all: Api<PodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let found = all.get_opt(revision).await.context("read the revision's PodAutoscaler")?;
    let annotations = found.and_then(|it| it.metadata.annotations).unwrap_or_default();
    let class = annotations.get(autoscaling::CLASS).cloned();
    Ok(class.unwrap_or_else(|| autoscaling::KPA_CLASS.to_owned()))
}

async fn told_by_horizontal(
    client: &Client,
    namespace: &str,
    revision: &str,
    output: Output,
) -> anyhow::Result<String> {
    let all: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let found = all.get_opt(revision).await;
    let Some(found) = found.context("read the revision's HorizontalPodAutoscaler")? else {
        return Ok(match output {
            Output::Json => "null".to_owned(),
            Output::Text => {
                format!(
                    "  no HorizontalPodAutoscaler yet: kubectl describe podautoscaler {revision}"
                )
            }
        });
    };
    let told = Horizontal::of(&found);
    Ok(match output {
        Output::Json => serde_json::to_string(&told).context("write the answer as JSON")?,
        Output::Text => told.to_string(),
    })
}
