//! Makes clients of Kubernetes APIs that other processes serve.

use std::path::Path;

use anyhow::Context;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// A client from a kubeconfig file where one is named, else from the environment: `KUBECONFIG`,
/// `~/.kube/config`, or the service account of the pod that this process runs in.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| {
                format!("read {}: name a kubeconfig with --kubeconfig", path.display())
            })?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use {}", path.display()))?
        }
        None => Config::infer()
            .await
            .context("find a Kubernetes API: set KUBECONFIG or name a file with --kubeconfig")?,
    };
    Client::try_from(config).context("set up the client of the Kubernetes API")
}
