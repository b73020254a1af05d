//! The configuration as it is now, from the ConfigMaps in the system's namespace.

use std::{collections::BTreeSet, sync::Arc};

use ::config::Config;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, runtime::watcher};
use tokio::sync::watch;

use crate::{
    cluster::{Cluster, raw},
    events::Recorder,
    plan,
};

/// Follows the ConfigMaps in `namespace`; returns once the first list of them is read. Endless when
/// the API never answers; the caller bounds it.
///
/// A ConfigMap that cannot be read leaves what was there in force, and an event on it says why.
pub async fn watch(
    cluster: &Cluster,
    namespace: &str,
    recorder: &Recorder,
) -> watch::Receiver<Arc<Config>> {
    let (sender, receiver) = watch::channel(Arc::new(Config::default()));
    let (listed, mut is_listed) = watch::channel(false);
    let mut events = raw::watch_kind::<ConfigMap>(
        cluster.client().clone(),
        Some(namespace),
        watcher::Config::default(),
    );
    let recorder = recorder.clone();
    cluster.spawn(async move {
        let mut current = Config::default();
        // What the list in progress has named, and what was there before it.
        let (mut named, mut known) = (BTreeSet::new(), BTreeSet::new());
        let mut listing = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    listing = true;
                    named.clear();
                }
                Ok(watcher::Event::InitApply(map)) => {
                    named.insert(map.name_any());
                    read(&mut current, &map, &recorder);
                }
                Ok(watcher::Event::InitDone) => {
                    listing = false;
                    for name in known.difference(&named) {
                        forget(&mut current, name);
                    }
                    known.clone_from(&named);
                }
                Ok(watcher::Event::Apply(map)) => {
                    known.insert(map.name_any());
                    read(&mut current, &map, &recorder);
                }
                Ok(watcher::Event::Delete(map)) => {
                    known.remove(&map.name_any());
                    forget(&mut current, &map.name_any());
                }
                Err(error) => tracing::warn!(%error, "watch of ConfigMaps failed; trying again"),
            }
            if !listing {
                sender.send_if_modified(|before| {
                    let is_other = **before != current;
                    if is_other {
                        *before = Arc::new(current.clone());
                    }
                    is_other
                });
                listed.send_replace(true);
            }
        }
    });
    // Fails only when the cluster stops; then nobody needs the configuration.
    let _ = is_listed.wait_for(|listed| *listed).await;
    receiver
}

fn read(current: &mut Config, map: &ConfigMap, recorder: &Recorder) {
    let name = map.name_any();
    let data = map.data.clone().unwrap_or_default();
    if let Err(error) = current.read(&name, &data) {
        tracing::warn!(%name, %error, "the old configuration stays in force");
        let message = format!("The old configuration stays in force: {error}");
        recorder.record(&plan::reference(map), &plan::Event::warning("InvalidConfig", message));
    }
}

/// An absent ConfigMap means the defaults.
fn forget(current: &mut Config, name: &str) {
    if let Err(error) = current.read(name, &Default::default()) {
        tracing::warn!(%name, %error, "deleted, but its defaults are not complete");
    }
}
