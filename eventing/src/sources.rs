//! Starts the sources that run in this process.

use std::sync::Arc;

use runtime::{cluster::Cluster, events::Recorder};

use crate::{deliver::Courier, source::ping};

/// Keeps the statuses of sources and sends their events, until the cluster stops. It must run in one process of a cluster
/// at a time: what two of them see, they both tell.
pub fn start(cluster: &Cluster, recorder: &Recorder, courier: &Arc<dyn Courier>) {
    let named = |component| (cluster.clone(), recorder.named(component), courier.clone());
    let (its, recorder, courier) = named("pingsource-controller");
    cluster.spawn(ping::run::run(its, recorder, courier));
}
