//! The embedded API server alone: `apiserver [--port N] [--data DIR]`. Prints its URL, its token and its kubeconfig.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use local::api::{Api, Options};
use local::serve;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut port, mut data) = (0, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--port" => port = value.parse().context("read the port")?,
            "--data" => data = Some(PathBuf::from(value)),
            other => anyhow::bail!("unknown argument {other}: use --port N and --data DIR"),
        }
    }
    if let Some(directory) = &data {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("make {}", directory.display()))?;
    }
    let mut options = Options::in_memory(runtime::clock::Clock::start());
    options.data = data.clone();
    let api = Api::open(options)?;
    let certificate = serve::Certificate::open(data.as_deref())?;
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .context("bind the API's port")?;
    let address = listener.local_addr().context("read the API's port")?;
    println!("url: https://{address}");
    println!("token: {}", api.admin_token());
    if let Some(directory) = &data {
        let path = directory.join("kubeconfig");
        serve::private_file(&path, &serve::kubeconfig(&api, &certificate, address))?;
        println!("kubeconfig: {}", path.display());
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let ending = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            ending.cancel();
        }
    });
    serve::serve(api, &certificate, listener, stop).await;
    Ok(())
}
