//! Elects one leader among the processes of a role, by a Lease object.
//!
//! Source: client-go `tools/leaderelection`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use tokio::{sync::watch, time::Instant};

use crate::cluster::Cluster;

/// When a lease is taken, kept and given up. Each is longer than the next.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A lease that was not renewed for so long may be taken by others.
    pub lease: Duration,
    /// A leader that could not renew for so long stops to lead.
    pub renew: Duration,
    /// Time between attempts.
    pub retry: Duration,
}

/// What was seen of a lease, and since when by this process's clock: other machines' clocks may be
/// wrong, so only changes count.
struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    since: Instant,
}

/// Runs for the lease `name` in `namespace` under the name `identity` until the cluster stops. The
/// value says whether this process leads; it never turns true while another holds the lease.
pub fn campaign(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    identity: &str,
    times: Times,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let api: Api<Lease> = Api::namespaced(cluster.client().clone(), namespace);
    let (cluster_clone, name, identity) = (cluster.clone(), name.to_owned(), identity.to_owned());
    cluster.spawn(async move {
        let mut seen: Option<Seen> = None;
        let mut renewed = Instant::now();
        loop {
            let attempt = hold(&api, &name, &identity, times, &mut seen, cluster_clone.now());
            // An attempt that hangs must not keep a leader that cannot renew.
            let held = match tokio::time::timeout(times.retry.max(times.renew / 2), attempt).await {
                Ok(Ok(held)) => Some(held),
                Ok(Err(error)) => {
                    tracing::warn!(lease = %name, %error, "could not renew the lease");
                    None
                }
                Err(_) => None,
            };
            match held {
                Some(true) => {
                    renewed = Instant::now();
                    sender.send_replace(true);
                }
                Some(false) => {
                    sender.send_replace(false);
                }
                None if renewed.elapsed() >= times.renew => {
                    sender.send_replace(false);
                }
                None => {}
            }
            tokio::time::sleep(times.retry).await;
        }
    });
    receiver
}

/// Takes or renews the lease where that is allowed; says whether it is held now.
async fn hold(
    api: &Api<Lease>,
    name: &str,
    identity: &str,
    times: Times,
    seen: &mut Option<Seen>,
    now: Timestamp,
) -> Result<bool, kube::Error> {
    let spec = |transitions: i32, acquired: Option<MicroTime>| LeaseSpec {
        acquire_time: acquired.or(Some(MicroTime(now))),
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(times.lease.as_secs() as i32),
        lease_transitions: Some(transitions),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let Some(mut lease) = api.get_opt(name).await? else {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec(0, None)) };
        return taken(api.create(&PostParams::default(), &lease).await);
    };
    let old = lease.spec.take().unwrap_or_default();
    let holder = old.holder_identity.clone().unwrap_or_default();
    let renewed = old.renew_time.as_ref().map(|time| time.0);
    let transitions = old.lease_transitions.unwrap_or_default();
    if holder == identity {
        lease.spec = Some(spec(transitions, old.acquire_time));
        return taken(api.replace(name, &PostParams::default(), &lease).await);
    }
    let is_same = seen.as_ref().is_some_and(|it| it.holder == holder && it.renewed == renewed);
    if !is_same {
        *seen = Some(Seen { holder: holder.clone(), renewed, since: Instant::now() });
    }
    let is_over = seen.as_ref().is_some_and(|it| it.since.elapsed() >= times.lease);
    if !holder.is_empty() && !is_over {
        return Ok(false);
    }
    lease.spec = Some(spec(transitions + 1, None));
    taken(api.replace(name, &PostParams::default(), &lease).await)
}

/// Losing a race is no error.
fn taken(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
