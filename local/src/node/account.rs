//! What a pod's programs need to call the API as their service account: a token, the API's certificate, the namespace.
//!
//! The files of an account are one folder that all its pods see, so that a pod that starts has nothing to wait for. The
//! kubelet projects the same files for each pod apart; programs see no difference.

use std::{collections::HashMap, fs, io, path::PathBuf, time::Duration};

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::node::{Shared, run::PodContext};

/// Where client libraries look for the files.
pub const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long tokens live: programs read the file again when theirs has ended, at the latest.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Tokens are replaced when half their life is over, so that none ends in somebody's hands.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// The accounts whose pods have run, by UID: as many as somebody has made.
pub struct Accounts {
    folder: PathBuf,
    known: tokio::sync::Mutex<HashMap<String, Account>>,
}

#[derive(Clone)]
struct Account {
    namespace: String,
    name: String,
    folder: PathBuf,
}

impl Accounts {
    /// Keeps files below `folder`; those of an earlier run go.
    pub fn open(folder: PathBuf) -> io::Result<Accounts> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&folder)?,
        }
        Ok(Accounts { folder, known: Default::default() })
    }
}

/// The folder for the pod's account, named by the account's UID; none when the pod or the account does not want it, and
/// when there is no such account.
pub async fn folder(pod: &PodContext) -> Result<Option<PathBuf>, String> {
    let spec = pod.pod.spec.as_ref();
    let wanted = spec.and_then(|it| it.automount_service_account_token);
    if wanted == Some(false) {
        return Ok(None);
    }
    let name = spec.and_then(|it| it.service_account_name.as_deref()).unwrap_or("default");
    let api: Api<ServiceAccount> =
        Api::namespaced(pod.node.cluster.client().clone(), pod.namespace());
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| format!("read service account \"{name}\": {error}"))?;
    let Some(found) = found else { return Ok(None) };
    if wanted.or(found.automount_service_account_token) == Some(false) {
        return Ok(None);
    }
    let accounts = &pod.node.accounts;
    let uid = found.metadata.uid.unwrap_or_default();
    let mut known = accounts.known.lock().await;
    if let Some(account) = known.get(&uid) {
        return Ok(Some(account.folder.clone()));
    }
    let account = Account {
        namespace: pod.namespace().to_owned(),
        name: name.to_owned(),
        folder: accounts.folder.join(&uid),
    };
    let failed = |error: io::Error| format!("{}: {error}", account.folder.display());
    fs::create_dir_all(&account.folder).map_err(failed)?;
    fs::write(account.folder.join("ca.crt"), &pod.node.settings.certificate).map_err(failed)?;
    fs::write(account.folder.join("namespace"), &account.namespace).map_err(failed)?;
    let token = token(&pod.node, &account).await;
    let token = token.map_err(|error| format!("failed to fetch token: {error}"))?;
    account.keep(&token).map_err(failed)?;
    let folder = account.folder.clone();
    known.insert(uid, account);
    Ok(Some(folder))
}

/// Replaces tokens before they end, for as long as the node runs.
pub async fn renew(node: std::sync::Arc<Shared>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let known = node.accounts.known.lock().await.clone();
        for (uid, account) in known {
            match token(&node, &account).await {
                Ok(token) => {
                    if let Err(error) = account.keep(&token) {
                        tracing::error!(%error, name = account.name, "keep a token");
                    }
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    // Nobody may call as an account that is gone; its pods keep a folder with a token of no use.
                    node.accounts.known.lock().await.remove(&uid);
                }
                Err(error) => tracing::error!(%error, name = account.name, "renew a token"),
            }
        }
    }
}

async fn token(node: &Shared, account: &Account) -> Result<String, kube::Error> {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": LIFE.as_secs()},
    });
    let api: Api<ServiceAccount> =
        Api::namespaced(node.cluster.client().clone(), &account.namespace);
    let answer: TokenRequest =
        api.create_subresource("token", &account.name, &PostParams::default(), &request).await?;
    Ok(answer.status.and_then(|it| it.token).unwrap_or_default())
}

impl Account {
    /// Puts a token in the place of the one before, at no moment half of it.
    fn keep(&self, token: &str) -> io::Result<()> {
        let new = self.folder.join(".token");
        fs::write(&new, token)?;
        fs::rename(new, self.folder.join("token"))
    }
}
