//! Starts the sources that run in this process.

use std::sync::Arc;

use runtime::{cluster::Cluster, events::Recorder};

use crate::{
    deliver::Courier,
    source::{api_server, ping},
};

/// Keeps the statuses of sources and sends their events, until the cluster stops. It must run in one process of a cluster
/// at a time: what two of them see, they both tell.
pub fn start(cluster: &Cluster, recorder: &Recorder, courier: &Arc<dyn Courier>) {
    let pings = recorder.named("pingsource-controller");
    cluster.spawn(ping::run::run(cluster.clone(), pings, courier.clone()));
    let changes = recorder.named("apiserversource-controller");
    cluster.spawn(api_server::run::run(cluster.clone(), changes, courier.clone()));
}
