//! `weft up`: the whole platform in one process.

pub mod api_service;
pub mod apply;
pub mod asked;
pub mod detach;
pub mod events;
pub mod greet;
pub mod install;
pub mod platform;
pub mod services;

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, bail};
use runtime::telemetry::Levels;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{args, command, place};
use greet::Greeting;
use platform::{Platform, Settings};

/// Gateway addresses that are tried when none was asked for.
const GATEWAYS: [&str; 2] = ["127.0.0.1:80", "127.0.0.1:8080"];
/// The same for HTTPS.
const SECURE_GATEWAYS: [&str; 2] = ["127.0.0.1:443", "127.0.0.1:8443"];

/// Runs until SIGINT or SIGTERM, then ends the pods and leaves the objects for the next start.
pub async fn run(up: args::Up, json: bool, levels: Levels) -> anyhow::Result<()> {
    let begun = Instant::now();
    if up.detached {
        // A session of its own, so that the terminal it was started from may close.
        rustix::process::setsid().context("leave the terminal")?;
    }
    // Heard from now on, so that a stop during the start is a stop too.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let data_dir = place::data_dir(&up.place)?;
    prepare(&data_dir)?;
    let gateway = listen_gateway(up.http_addr).await?;
    let secure_gateway = listen_secure_gateway(up.https_addr).await?;
    let api = listen(up.api_addr, "--api-addr").await?;
    let (api_addr, http_addr) = (api.local_addr()?, gateway.local_addr()?);
    let https_addr = secure_gateway.as_ref().map(TcpListener::local_addr).transpose()?;
    let settings = Settings {
        data_dir: data_dir.clone(),
        api,
        gateway,
        secure_gateway,
        images: up.images,
        host_network: up.host_network,
        max_pods: up.max_pods,
    };
    let platform = Platform::start(settings).await?;
    platform.follow(levels);
    let kubeconfig = place::kubeconfig(&data_dir);
    greet::print(
        &Greeting {
            api_addr,
            http_addr,
            https_addr,
            kubeconfig: &kubeconfig,
            pods: platform.pods(),
            took: begun.elapsed(),
        },
        json,
    );
    place::write(&data_dir, &place::Running::here(api_addr, http_addr, https_addr))?;
    for file in &up.apply {
        // The platform stays up: the manifest can be mended and applied again.
        if let Err(error) = apply::apply(platform.client(), file, json).await {
            command::complain(&error, json);
        }
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    place::clear(&data_dir);
    platform.shutdown().await;
    Ok(())
}

/// Makes the data directory, which nobody else may read: it holds the token. One that its owner has sealed stays so.
fn prepare(data_dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::Access;
    fs::create_dir_all(data_dir)
        .and_then(|()| Ok(rustix::fs::access(data_dir, Access::WRITE_OK | Access::EXEC_OK)?))
        .and_then(|()| fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)))
        .with_context(|| {
            format!(
                "prepare the data directory {}; name another with --data-dir",
                data_dir.display()
            )
        })
}

async fn listen_gateway(wanted: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = wanted {
        return listen(address, "--http-addr").await;
    }
    if let Some(listener) = first_free(GATEWAYS).await {
        return Ok(listener);
    }
    bail!(
        "open the gateway: neither {} can be bound; name another address with --http-addr",
        GATEWAYS.join(" nor ")
    )
}

/// As [`listen_gateway`]; but who asked for no address can do without, since few services have certificates.
async fn listen_secure_gateway(wanted: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    if let Some(address) = wanted {
        return listen(address, "--https-addr").await.map(Some);
    }
    Ok(first_free(SECURE_GATEWAYS).await)
}

/// Listens on the first address that can be bound.
async fn first_free(addresses: [&str; 2]) -> Option<TcpListener> {
    for address in addresses {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Some(listener);
        }
    }
    None
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "listen on {address}: name another address with {option}, or end what listens there"
        )
    })
}
