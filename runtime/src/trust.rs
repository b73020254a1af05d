//! Whom the platform's own parts trust in TLS with each other, and what those show that take requests for pods.
//!
//! They trust the authority of the platform's own certificate and those of ConfigMaps with a label, and follow both
//! while `system-internal-tls` is on; before it is on for the first time, nothing is watched.
//! Source: knative/serving `pkg/activator/certificate/cache.go`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ::config::Config;
use api::keys::networking::TRUST_BUNDLE;
use futures::{StreamExt, stream::select};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{ResourceExt, runtime::watcher};
use proxy::tls::{Certificate, Shown, client::Client};
use tokio::sync::watch;

use crate::cluster::{Cluster, raw};

/// Name of the Secret with the platform's own certificate, in its namespace.
pub const CERTIFICATE: &str = "routing-serving-certs";

/// TLS between the platform's own parts, as it is now. Clones share it.
#[derive(Clone, Default)]
pub struct Trust {
    /// Shakes hands with those who serve.
    pub client: Client,
    /// What those who route show; nothing while it is off.
    pub shown: Shown,
    enabled: Arc<AtomicBool>,
}

/// What was read.
#[derive(Default)]
struct Known {
    authority: String,
    certificate: Option<Certificate>,
    bundles: BTreeMap<String, Vec<String>>,
    /// Those of the list in progress.
    listed: BTreeMap<String, Vec<String>>,
}

enum News {
    Secret(watcher::Event<Secret>),
    Bundle(watcher::Event<ConfigMap>),
    Failed(watcher::Error),
}

impl Trust {
    /// Whether the platform's own parts are to speak TLS with each other.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }
}

/// Follows what the cluster says in `namespace`, until the cluster stops.
pub fn follow(
    cluster: &Cluster,
    namespace: &str,
    mut config: watch::Receiver<Arc<Config>>,
) -> Trust {
    let trust = Trust::default();
    let (followed, client) = (trust.clone(), cluster.client().clone());
    let namespace = namespace.to_owned();
    let is_wanted = |config: &Arc<Config>| config.network.system_internal_tls;
    trust.enabled.store(is_wanted(&config.borrow()), Ordering::Relaxed);
    cluster.spawn(async move {
        let trust = followed;
        // It fails only when the configuration is not followed any more.
        if config.wait_for(is_wanted).await.is_err() {
            return;
        }
        let named = watcher::Config::default().fields(&format!("metadata.name={CERTIFICATE}"));
        let labelled = watcher::Config::default().labels(TRUST_BUNDLE);
        let secrets = raw::watch_kind::<Secret>(client.clone(), Some(&namespace), named);
        let bundles = raw::watch_kind::<ConfigMap>(client, Some(&namespace), labelled);
        let mut news = std::pin::pin!(select(
            secrets.map(|it| it.map_or_else(News::Failed, News::Secret)),
            bundles.map(|it| it.map_or_else(News::Failed, News::Bundle)),
        ));
        let mut known = Known::default();
        loop {
            let enabled = is_wanted(&config.borrow_and_update());
            trust.enabled.store(enabled, Ordering::Relaxed);
            known.tell(&trust, enabled);
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return },
                event = news.next() => match event {
                    Some(event) => known.take(event),
                    None => return,
                },
            }
        }
    });
    trust
}

impl Known {
    fn take(&mut self, news: News) {
        match news {
            News::Secret(watcher::Event::Apply(it) | watcher::Event::InitApply(it)) => {
                self.read(&it);
            }
            // As long as it is not made anew, the one of before is better than none.
            News::Secret(_) => {}
            News::Bundle(watcher::Event::Init) => self.listed.clear(),
            News::Bundle(watcher::Event::InitApply(it)) => {
                self.listed.insert(it.name_any(), texts(it));
            }
            News::Bundle(watcher::Event::InitDone) => {
                self.bundles = std::mem::take(&mut self.listed);
            }
            News::Bundle(watcher::Event::Apply(it)) => {
                self.bundles.insert(it.name_any(), texts(it));
            }
            News::Bundle(watcher::Event::Delete(it)) => {
                self.bundles.remove(&it.name_any());
            }
            News::Failed(error) => {
                tracing::warn!(%error, "watch of whom to trust failed; trying again");
            }
        }
    }

    fn read(&mut self, secret: &Secret) {
        let part = |name: &str| {
            secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0)
        };
        if !part("ca.crt").is_empty() {
            self.authority = String::from_utf8_lossy(part("ca.crt")).into_owned();
        }
        match Certificate::read(part("tls.crt"), part("tls.key")) {
            Ok(certificate) => self.certificate = Some(certificate),
            Err(error) => {
                let secret = CERTIFICATE;
                tracing::warn!(secret, %error, "the certificate of before is shown");
            }
        }
    }

    fn tell(&self, trust: &Trust, enabled: bool) {
        trust.shown.set(self.certificate.clone().filter(|_| enabled));
        let of = |(name, texts): (&String, &Vec<String>)| -> Vec<(String, String)> {
            texts.iter().map(|text| (format!("ConfigMap {name}"), text.clone())).collect()
        };
        let own = (format!("Secret {CERTIFICATE}"), self.authority.clone());
        let own = Some(own).filter(|(_, text)| !text.is_empty());
        let all = own.into_iter().chain(self.bundles.iter().flat_map(of));
        let (names, texts): (Vec<String>, Vec<String>) = all.unzip();
        let (count, unread) = trust.client.trust(texts);
        for at in unread {
            let from = &names[at];
            tracing::warn!(from, "no certificate of an authority can be read: it is passed over");
        }
        tracing::debug!(count, enabled, "authorities that are trusted");
    }
}

fn texts(map: ConfigMap) -> Vec<String> {
    map.data.unwrap_or_default().into_values().collect()
}
