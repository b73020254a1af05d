//! The certificates of the queues in this process: those in their namespaces' Secrets, which on other nodes they read
//! from a volume.

use std::sync::OnceLock;

use k8s_openapi::api::core::v1::{Container, Secret};
use proxy::{
    queue::certificate::RELOADED,
    tls::{Certificate, Shown},
};
use runtime::cluster::{Cluster, cache::Cache};
use tokio::sync::{mpsc, watch};

/// The Secrets that can hold a certificate, as others in this process follow them.
const SECRETS: &str = "type=kubernetes.io/tls";

/// The Secrets with the certificates of queues. Nothing is watched before one is wanted.
#[derive(Default)]
pub struct Certificates {
    followed: OnceLock<Followed>,
}

struct Followed {
    secrets: Cache<Secret>,
    /// Counts the changes.
    news: watch::Receiver<u64>,
}

/// Whether a queue is to have a certificate: it mounts one.
pub fn is_wanted(queue: &Container) -> bool {
    let mounts = queue.volume_mounts.iter().flatten();
    mounts.into_iter().any(|it| it.mount_path == api::queue::CERTIFICATES)
}

impl Certificates {
    /// Shows what the Secret of `namespace` has, as it changes, until `told` is gone, and tells the lines for the log.
    /// What cannot be used leaves the old one.
    pub async fn follow(
        &self,
        cluster: &Cluster,
        namespace: &str,
        shown: &Shown,
        told: mpsc::Sender<String>,
    ) {
        let followed = self.followed.get_or_init(|| Followed::new(cluster));
        let mut news = followed.news.clone();
        followed.secrets.synced().await;
        loop {
            news.mark_unchanged();
            if let Some(secret) = followed.secrets.get(namespace, api::queue::CERTIFICATE) {
                match read(&secret) {
                    Ok(certificate) => {
                        let is_news = shown.set(Some(certificate));
                        if is_news && told.send(format!("{RELOADED}\n")).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(
                        namespace,
                        secret = api::queue::CERTIFICATE,
                        %error,
                        "the certificate of before is shown"
                    ),
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = told.closed() => return,
            }
        }
    }
}

impl Followed {
    fn new(cluster: &Cluster) -> Followed {
        let secrets = cluster.cache_where::<Secret>(SECRETS);
        let (sender, news) = watch::channel(0);
        secrets.on_change(move |change| {
            if change.last().metadata.name.as_deref() == Some(api::queue::CERTIFICATE) {
                sender.send_modify(|count| *count += 1);
            }
        });
        Followed { secrets, news }
    }
}

fn read(secret: &Secret) -> Result<Certificate, proxy::tls::Unusable> {
    let part = |name: &str| {
        secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0)
    };
    Certificate::read(part("tls.crt"), part("tls.key"))
}
