//! What containers see of the file system besides the machine's own.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;

use crate::node::{namespace::Namespace, run::PodContext};

/// The mounts of all pods.
#[derive(Default)]
pub struct Volumes {}

impl Volumes {
    /// Forgets a pod's mounts.
    pub fn remove(&self, _pod: &PodContext) {}
}

/// The file system for one run of a container; none for the machine's own.
pub async fn mounts(
    pod: &PodContext,
    container: &Container,
    _attempt: u32,
) -> Result<Option<Arc<Namespace>>, String> {
    for mount in container.volume_mounts.iter().flatten() {
        let message = format!("volume {} cannot be mounted at {}", mount.name, mount.mount_path);
        pod.event(Some(&container.name), true, "FailedMount", message);
    }
    Ok(None)
}
