//! How commands reach a cluster: the platform of the data directory, or any kubeconfig.

use std::path::Path;

use anyhow::{Context, bail};
use kube::{Api, Client};

use crate::{
    args::{Place, Target, event::Cluster},
    place::{self, Running},
};

/// A client of the cluster that `target` means.
///
/// # Errors
/// When no kubeconfig was named and no platform runs from the data directory.
pub async fn client(target: &Target) -> anyhow::Result<Client> {
    open(target.kubeconfig.as_deref(), &target.place).await
}

/// A client of that cluster.
///
/// # Errors
/// As [`client`].
pub async fn cluster(cluster: &Cluster) -> anyhow::Result<Client> {
    open(cluster.kubeconfig.as_deref(), &cluster.place).await
}

/// The platform that runs from the data directory.
///
/// # Errors
/// When none does.
pub fn running(place: &Place) -> anyhow::Result<Running> {
    let data_dir = place::data_dir(place)?;
    let Some(running) = place::running(&data_dir)? else {
        bail!(
            "no platform runs from {}; start one with `weft up`, or name a cluster with --kubeconfig",
            data_dir.display()
        );
    };
    Ok(running)
}

async fn open(kubeconfig: Option<&Path>, place: &Place) -> anyhow::Result<Client> {
    if let Some(kubeconfig) = kubeconfig {
        return runtime::cluster::connect::client(Some(kubeconfig)).await;
    }
    running(place)?;
    let data_dir = place::data_dir(place)?;
    runtime::cluster::connect::client(Some(&place::kubeconfig(&data_dir))).await
}

/// The Service that `target` names.
///
/// # Errors
/// When there is none; the text lists the Services of the namespace.
pub async fn service(client: &Client, target: &Target) -> anyhow::Result<api::serving::Service> {
    let services: Api<api::serving::Service> = Api::namespaced(client.clone(), &target.namespace);
    if let Some(service) = services.get_opt(&target.service).await.context("read the service")? {
        return Ok(service);
    }
    let found = services.list(&Default::default()).await.context("list the services")?;
    let names: Vec<&str> =
        found.items.iter().filter_map(|service| service.metadata.name.as_deref()).collect();
    let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    bail!("no service {:?} in namespace {:?}: {known}", target.service, target.namespace)
}
