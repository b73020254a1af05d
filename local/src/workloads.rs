//! The controller manager of the embedded cluster: what makes a Deployment into pods, pods into endpoints, and takes
//! away what nobody owns.
//!
//! It speaks to the API server as any client does. Plans are pure functions of what was seen; `engine` feeds them.

use kube::Client;
use runtime::clock::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod budget;
mod deployment;
mod endpoints;
mod engine;
mod feed;
mod horizontal;
mod job;
mod namespaces;
mod objects;
mod owners;
mod replica_set;
mod requests;
mod resources;
pub(crate) mod selector;
#[cfg(test)]
mod sim;
mod world;

/// The running controllers. Dropping it stops them without waiting.
pub struct Handle {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Handle {
    /// Stops the controllers and waits until nothing of theirs is on its way.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("the workload controllers do not panic");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the controllers. `root_certificate` is the PEM text by which pods know the API server; every namespace gets
/// it as the ConfigMap `kube-root-ca.crt`.
pub fn start(client: Client, clock: Clock, root_certificate: String) -> Handle {
    let stop = CancellationToken::new();
    let task = tokio::spawn(engine::run(client, clock, root_certificate, stop.clone()));
    Handle { stop, task: Some(task) }
}
