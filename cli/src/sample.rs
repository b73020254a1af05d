//! The sample services: small servers whose image is this binary.

mod event_display;
mod grpc;
mod hello;
mod slow;
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;

use crate::args::Sample;

/// Serves a sample on `PORT` until SIGTERM, then lets the requests in flight finish.
pub fn run(sample: Sample) -> anyhow::Result<()> {
    let port = config::env::port().unwrap_or(8080);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listen on port {port}"))?;
        println!("listening on port {port}");
        let router = match sample {
            Sample::Hello => hello::router(),
            Sample::Slow => slow::router(),
            Sample::Grpc => grpc::router(),
            Sample::EventDisplay => event_display::router(),
            Sample::Websocket => websocket::router(),
        };
        serve(listener, router).await
    })
}

async fn serve(listener: TcpListener, router: Router) -> anyhow::Result<()> {
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stopped = async move {
        stop.recv().await;
        println!("told to stop: finishing what is in flight");
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.context("serve")
}
