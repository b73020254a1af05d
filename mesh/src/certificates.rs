//! The certificates that Ingresses name: Secrets of the type `kubernetes.io/tls`, as they are now.
//!
//! A Secret is read when its host is first asked for, and again when it has changed: nobody waits for
//! certificates that nobody uses, and a new one is shown from the next handshake on.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use api::networking::Ingress;
use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use proxy::tls::{Certificate, Unusable};
use runtime::cluster::{Cluster, Key, cache::Cache};

use crate::table;

/// The Secrets that can hold a certificate; of the others this process sees nothing.
const SELECTOR: &str = "type=kubernetes.io/tls";

/// The certificates of a cluster. Clones share them.
#[derive(Clone)]
pub struct Certificates {
    secrets: Cache<Secret>,
    /// What was read of the Secrets that were asked for; a Secret that changes is forgotten.
    read: Arc<Mutex<HashMap<Key, Result<Certificate, Unusable>>>>,
}

/// Why there is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// There is no Secret of that name, or one of another type.
    #[error("there is none of the type kubernetes.io/tls")]
    Missing,
    /// The Secret has no certificate that can be shown.
    #[error("{0}")]
    Unusable(#[from] Unusable),
}

/// Which Ingresses use a Secret. Clones share it.
#[derive(Clone, Default)]
pub struct Users {
    users: Arc<Mutex<HashMap<Key, BTreeSet<Key>>>>,
}

impl Certificates {
    /// Follows the Secrets of `cluster`.
    pub fn new(cluster: &Cluster) -> Certificates {
        let secrets = cluster.cache_where::<Secret>(SELECTOR);
        let certificates = Certificates { secrets, read: Arc::default() };
        let read = certificates.read.clone();
        certificates.on_change(move |secret| {
            read.lock().remove(secret);
        });
        certificates
    }

    /// Waits until the Secrets are known.
    pub async fn synced(&self) {
        self.secrets.synced().await;
    }

    /// The certificate in a Secret.
    pub fn find(&self, secret: &Key) -> Result<Certificate, Flaw> {
        // Held until it is kept: a change of the Secret meanwhile is heard of after that.
        let mut read = self.read.lock();
        let certificate = match read.get(secret) {
            Some(certificate) => certificate.clone(),
            None => {
                let object = self.secrets.at(secret).ok_or(Flaw::Missing)?;
                read.entry(secret.clone()).or_insert(self::read(&object)).clone()
            }
        };
        Ok(certificate?)
    }

    /// Tells `changed` the key of each Secret that changes, and of all that are here already.
    pub fn on_change(&self, changed: impl Fn(&Key) + Send + Sync + 'static) {
        self.secrets.on_change(move |change| changed(&Key::of(&**change.last())));
    }
}

fn read(secret: &Secret) -> Result<Certificate, Unusable> {
    let part = |name: &str| {
        secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0)
    };
    Certificate::read(part("tls.crt"), part("tls.key"))
}

impl Users {
    /// Follows `ingresses`.
    pub fn of(ingresses: &Cache<Ingress>) -> Users {
        let users = Users::default();
        let follower = users.clone();
        ingresses.on_change(move |change| {
            let mut users = follower.users.lock();
            let key = Key::of(&**change.last());
            for secret in change.old.into_iter().flat_map(|old| table::secrets(old)) {
                if let Some(of_secret) = users.get_mut(&secret) {
                    of_secret.remove(&key);
                    if of_secret.is_empty() {
                        users.remove(&secret);
                    }
                }
            }
            for secret in change.new.into_iter().flat_map(|new| table::secrets(new)) {
                users.entry(secret).or_default().insert(key.clone());
            }
        });
        users
    }

    /// The Ingresses that use `secret`, by name.
    pub fn find(&self, secret: &Key) -> Vec<Key> {
        self.users.lock().get(secret).into_iter().flatten().cloned().collect()
    }
}
