//! Sends load reports to an autoscaler in another process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use api::load::{self, Report};
use http::{Request, Uri, header};
use proxy::{
    body::Body,
    hop::{Protocol, SendError, Upstream},
};
use runtime::cluster::Cluster;
use tokio::sync::mpsc;

use crate::serve::Sink;

/// Reports that may wait: a minute's, at one a second and some at once.
const WAITING: usize = 256;
/// Longest time for one report. The next second's says the same anew.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A sink that posts each report to `url` of an autoscaler, such as
/// `http://autoscaler.knative-serving.svc.cluster.local:8080`. A report that cannot be delivered is
/// tried once more at a new address, then dropped.
pub fn over_http(
    cluster: &Cluster,
    url: &str,
    upstream: Arc<dyn Upstream>,
) -> anyhow::Result<Sink> {
    let uri: Uri = url.parse().with_context(|| format!("read the autoscaler's address {url}"))?;
    ensure!(
        uri.scheme_str() == Some("http"),
        "use a http:// address for the autoscaler, not {url}"
    );
    let Some(authority) = uri.authority().map(|it| it.to_string()) else {
        bail!("name a host in the autoscaler's address {url}");
    };
    let place = match uri.port_u16() {
        Some(_) => authority.clone(),
        None => format!("{authority}:80"),
    };
    let (sender, mut receiver) = mpsc::channel::<Report>(WAITING);
    let reachable = cluster.metrics().gauges(
        "kn_activator_stats_conn_reachable",
        "Whether a peer is reachable from the activator (1 = reachable, 0 = not reachable)",
        &["peer"],
    );
    let errors = cluster.metrics().counters(
        "kn_activator_stats_conn_errors_total",
        "Number of connection errors from the activator",
        &["peer"],
    );
    let (reachable, errors) =
        (reachable.with_label_values(&["autoscaler"]), errors.with_label_values(&["autoscaler"]));
    cluster.spawn(async move {
        let mut known: Option<SocketAddr> = None;
        while let Some(report) = receiver.recv().await {
            let text = serde_json::to_vec(&report).expect("a report is plain data");
            for _ in 0..2 {
                match deliver(&text, &authority, &place, &mut known, &*upstream).await {
                    Ok(()) => {
                        reachable.set(1);
                        break;
                    }
                    Err(error) => {
                        known = None;
                        reachable.set(0);
                        errors.inc();
                        tracing::warn!("report load to {place}: {error:#}");
                    }
                }
            }
        }
    });
    Ok(Arc::new(move |report| {
        if sender.try_send(report).is_err() {
            tracing::warn!("load report dropped: the autoscaler does not keep up");
        }
    }))
}

async fn deliver(
    text: &[u8],
    host: &str,
    place: &str,
    known: &mut Option<SocketAddr>,
    upstream: &dyn Upstream,
) -> anyhow::Result<()> {
    let send = async {
        let to = match *known {
            Some(to) => to,
            None => {
                let mut all = tokio::net::lookup_host(place).await.context("look its name up")?;
                *known.insert(all.next().context("its name has no address")?)
            }
        };
        let request = Request::post(load::PATH)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::full(text.to_vec()))
            .context("make the request")?;
        let response = upstream.send(to, Protocol::Http1, request).await;
        let response = response.map_err(SendError::into_cause)?;
        ensure!(response.status().is_success(), "it answered {}", response.status());
        Ok(())
    };
    tokio::time::timeout(TIMEOUT, send).await.context("it does not answer")?
}
