//! The configuration as it is now, from the ConfigMaps in the system's namespaces.

use std::{collections::BTreeSet, sync::Arc};

use ::config::Config;
use futures::{StreamExt, stream::select_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, runtime::watcher};
use tokio::sync::watch;

use crate::{
    cluster::{Cluster, raw},
    events::Recorder,
    plan,
};

/// A product that has its own namespace of ConfigMaps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Product {
    Serving,
    Eventing,
}

/// What is known of the ConfigMaps of a namespace.
#[derive(Default)]
struct Namespace {
    /// What the list in progress has named.
    named: BTreeSet<String>,
    known: BTreeSet<String>,
    is_listing: bool,
    /// Whether the API has said what there is, or that it does not.
    has_answer: bool,
}

/// Follows the ConfigMaps in `namespace`, and for those who look at them Eventing's in `eventing_namespace`; returns once
/// the first lists of them are read. Endless when the API never answers; the caller bounds it.
///
/// A ConfigMap that cannot be read leaves what was there in force, and an event on it says why.
pub async fn watch(
    cluster: &Cluster,
    namespace: &str,
    eventing_namespace: Option<&str>,
    recorder: &Recorder,
) -> watch::Receiver<Arc<Config>> {
    let (sender, receiver) = watch::channel(Arc::new(Config::default()));
    let (listed, mut is_listed) = watch::channel(false);
    let events = |namespace: &str, product: Product| {
        let client = cluster.client().clone();
        raw::watch_kind::<ConfigMap>(client, Some(namespace), watcher::Config::default())
            .map(move |event| (product, event))
            .boxed()
    };
    let mut events = select_all(
        [
            Some(events(namespace, Product::Serving)),
            eventing_namespace.map(|namespace| events(namespace, Product::Eventing)),
        ]
        .into_iter()
        .flatten(),
    );
    let recorder = recorder.clone();
    let has_eventing = eventing_namespace.is_some();
    cluster.spawn(async move {
        let mut current = Config::default();
        let mut serving = Namespace::default();
        let mut eventing = Namespace { has_answer: !has_eventing, ..Namespace::default() };
        while let Some((product, event)) = events.next().await {
            let state = match product {
                Product::Serving => &mut serving,
                Product::Eventing => &mut eventing,
            };
            match event {
                Ok(watcher::Event::Init) => {
                    state.is_listing = true;
                    state.named.clear();
                }
                Ok(watcher::Event::InitApply(map)) => {
                    state.named.insert(map.name_any());
                    read(&mut current, product, &map, &recorder);
                }
                Ok(watcher::Event::InitDone) => {
                    state.is_listing = false;
                    state.has_answer = true;
                    for name in state.known.difference(&state.named) {
                        forget(&mut current, product, name);
                    }
                    state.known.clone_from(&state.named);
                }
                Ok(watcher::Event::Apply(map)) => {
                    state.known.insert(map.name_any());
                    read(&mut current, product, &map, &recorder);
                }
                Ok(watcher::Event::Delete(map)) => {
                    state.known.remove(&map.name_any());
                    forget(&mut current, product, &map.name_any());
                }
                Err(error) => {
                    tracing::warn!(%error, "watch of ConfigMaps failed; trying again");
                    // Who may not look at Eventing's has the defaults until it may.
                    state.has_answer |= product == Product::Eventing;
                }
            }
            let is_listing = serving.is_listing || eventing.is_listing;
            if !is_listing && serving.has_answer && eventing.has_answer {
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

fn read(current: &mut Config, product: Product, map: &ConfigMap, recorder: &Recorder) {
    let name = map.name_any();
    let data = map.data.clone().unwrap_or_default();
    let result = match product {
        Product::Serving => current.read(&name, &data),
        Product::Eventing => current.eventing.read(&name, &data),
    };
    if let Err(error) = result {
        tracing::warn!(%name, %error, "the old configuration stays in force");
        let message = format!("The old configuration stays in force: {error}");
        recorder.record(&plan::reference(map), &plan::Event::warning("InvalidConfig", message));
    }
}

/// An absent ConfigMap means the defaults.
fn forget(current: &mut Config, product: Product, name: &str) {
    let result = match product {
        Product::Serving => current.read(name, &Default::default()),
        Product::Eventing => current.eventing.read(name, &Default::default()),
    };
    if let Err(error) = result {
        tracing::warn!(%name, %error, "deleted, but its defaults are not complete");
    }
}
