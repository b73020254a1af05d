//! Asks whether requests to a revision reach an activator, where others route them.
//!
//! Source: knative/serving `pkg/reconciler/autoscaling/kpa/scaler.go`, `activatorProbe`.

use std::{sync::Arc, time::Duration};

use api::headers;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use proxy::{
    body::Body,
    hop::{Protocol, Upstream},
};
use runtime::cluster::Key;

use crate::drive::Prove;

/// Longest wait for the answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is read: the right one is the activator's name.
const LARGEST: usize = 64;

/// Sends the probe through `upstream` to the public Service's name in `cluster_domain`.
pub fn over_http(upstream: Arc<dyn Upstream>, cluster_domain: &str) -> Prove {
    let domain: Arc<str> = cluster_domain.into();
    Arc::new(move |key: Key, port| {
        let (upstream, domain) = (upstream.clone(), domain.clone());
        Box::pin(async move {
            let host = format!("{}.{}.svc.{domain}", key.name, key.namespace);
            let asked = ask(&host, port, &*upstream);
            matches!(tokio::time::timeout(TIMEOUT, asked).await, Ok(Some(true)))
        })
    })
}

/// None when there is no answer.
async fn ask(host: &str, port: u16, upstream: &dyn Upstream) -> Option<bool> {
    let to = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
    let request = Request::get("/healthz")
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, "Knative-Autoscaling-Probe")
        .header(headers::PROBE, headers::PROBE_ACTIVATOR)
        .body(Body::empty())
        .ok()?;
    let response = upstream.send(to, Protocol::Http1, request).await.ok()?;
    let is_ok = response.status() == StatusCode::OK;
    let text = Limited::new(response.into_body(), LARGEST).collect().await.ok()?.to_bytes();
    Some(is_ok && text == headers::PROBE_ACTIVATOR.as_bytes())
}
