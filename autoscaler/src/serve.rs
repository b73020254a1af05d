//! The autoscaler's port: takes load reports, answers why.

use anyhow::Context;
use api::load::{self, Report};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{drive::Autoscaler, explain::Entry};

/// Largest report that is read: ten thousand revisions at a few hundred bytes each.
const LARGEST_REPORT: usize = 8 << 20;

/// Answers on `listener` until `stop`: a POST at [`load::PATH`] takes a [`Report`],
/// `GET /explain/NAMESPACE/REVISION` gives a list of [`Entry`], oldest first.
pub async fn serve(
    listener: TcpListener,
    autoscaler: Autoscaler,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(listener, routes(autoscaler))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("serve the autoscaler's port")
}

/// The same answers, for a server of the caller's.
pub fn routes(autoscaler: Autoscaler) -> Router {
    Router::new()
        .route(load::PATH, post(report).layer(DefaultBodyLimit::max(LARGEST_REPORT)))
        .route("/explain/{namespace}/{revision}", get(explain))
        .with_state(autoscaler)
}

async fn report(State(autoscaler): State<Autoscaler>, Json(report): Json<Report>) -> StatusCode {
    autoscaler.reports().send(report);
    StatusCode::ACCEPTED
}

async fn explain(
    State(autoscaler): State<Autoscaler>,
    Path((namespace, revision)): Path<(String, String)>,
) -> Json<Vec<Entry>> {
    Json(autoscaler.explain(&namespace, &revision))
}
