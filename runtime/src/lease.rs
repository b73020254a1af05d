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

/// Who leads, as far as this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Nobody yet, or nobody any more.
    Nobody,
    /// This process.
    Here,
    /// The process of that identity.
    Elsewhere(String),
}

/// A process that runs for a lease.
pub struct Campaign {
    api: Api<Lease>,
    name: String,
    identity: String,
    leader: watch::Receiver<Leader>,
}

/// Longest time to give the lease back: who waits for it would take it anyway.
const RESIGN: Duration = Duration::from_secs(3);

impl Campaign {
    /// Runs for the lease `name` in `namespace` under the name `identity` until the cluster stops.
    pub fn start(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        identity: &str,
        times: Times,
    ) -> Campaign {
        let (sender, leader) = watch::channel(Leader::Nobody);
        let api: Api<Lease> = Api::namespaced(cluster.client().clone(), namespace);
        let campaign =
            Campaign { api, name: name.to_owned(), identity: identity.to_owned(), leader };
        let (api, name, identity) =
            (campaign.api.clone(), campaign.name.clone(), campaign.identity.clone());
        let clock = cluster.clock();
        cluster.spawn(async move {
            let mut seen: Option<Seen> = None;
            let mut renewed = Instant::now();
            loop {
                let attempt = hold(&api, &name, &identity, times, &mut seen, clock.now());
                // An attempt that hangs must not keep a leader that cannot renew.
                let bound = times.retry.max(times.renew / 2);
                let held = match tokio::time::timeout(bound, attempt).await {
                    Ok(Ok(held)) => Some(held),
                    Ok(Err(error)) => {
                        tracing::warn!(lease = %name, %error, "could not renew the lease");
                        None
                    }
                    Err(_) => None,
                };
                let leads = *sender.borrow() == Leader::Here;
                let now = match (held, &seen) {
                    (Some(true), _) => {
                        renewed = Instant::now();
                        Leader::Here
                    }
                    // It cannot be said who leads; what was known holds for a while.
                    (None, _) if renewed.elapsed() < times.renew => sender.borrow().clone(),
                    (Some(false), Some(seen)) if !seen.holder.is_empty() => {
                        Leader::Elsewhere(seen.holder.clone())
                    }
                    _ => Leader::Nobody,
                };
                if leads && now != Leader::Here {
                    tracing::warn!(lease = %name, "lost the lease");
                }
                sender.send_if_modified(|before| {
                    let is_news = *before != now;
                    *before = now;
                    is_news
                });
                tokio::time::sleep(times.retry).await;
            }
        });
        campaign
    }

    /// Who leads. It never says [`Leader::Here`] while another holds the lease.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.clone()
    }

    /// Waits until this process leads; false when the cluster stops before that.
    pub async fn won(&self) -> bool {
        self.leader.clone().wait_for(|it| *it == Leader::Here).await.is_ok()
    }

    /// Waits until this process, which led, no longer does; never when the cluster stops before that.
    pub async fn lost(&self) {
        if self.leader.clone().wait_for(|it| *it != Leader::Here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the lease back, so that nobody has to wait until it is over. To be called after the cluster
    /// has stopped, when this process does nothing any more.
    pub async fn resign(self) {
        let give_back = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(false) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(false) };
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(false);
            }
            spec.holder_identity = Some(String::new());
            taken(self.api.replace(&self.name, &PostParams::default(), &lease).await)
        };
        match tokio::time::timeout(RESIGN, give_back).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(lease = %self.name, %error, "give the lease back"),
            Err(_) => tracing::warn!(lease = %self.name, "give the lease back: no answer"),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use http::{Request, Response};
    use kube::{Client, client::Body};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;

    const TIMES: Times = Times {
        lease: Duration::from_secs(60),
        renew: Duration::from_secs(40),
        retry: Duration::from_secs(10),
    };

    /// An API that knows one Lease.
    #[derive(Clone, Default)]
    struct OneLease(Arc<Mutex<Option<Value>>>);

    impl OneLease {
        async fn answer(self, request: Request<Body>) -> Response<Body> {
            let (head, body) = request.into_parts();
            let new: Value =
                serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
            let mut stored = self.0.lock();
            let (code, reason) = match (head.method.as_str(), &*stored) {
                ("GET", None) => (404, "NotFound"),
                ("POST", Some(_)) => (409, "AlreadyExists"),
                ("PUT", Some(old))
                    if old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"] =>
                {
                    (409, "Conflict")
                }
                ("POST" | "PUT", old) => {
                    let version = |it: &Value| -> Option<u64> {
                        it["metadata"]["resourceVersion"].as_str()?.parse().ok()
                    };
                    let last = old.as_ref().and_then(version).unwrap_or_default();
                    let mut new = new;
                    new["metadata"]["resourceVersion"] = json!((last + 1).to_string());
                    *stored = Some(new);
                    (200, "")
                }
                _ => (200, ""),
            };
            let answer = match code {
                200 => stored.clone().unwrap_or_default(),
                code => json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "metadata": {}, "message": reason, "reason": reason, "code": code}),
            };
            let body = Body::from(answer.to_string().into_bytes());
            Response::builder().status(code).body(body).unwrap()
        }

        /// A process that runs for it.
        fn process(&self, identity: &str) -> (Cluster, Campaign) {
            let api = self.clone();
            let service = tower::service_fn(move |request| {
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.answer(request).await) }
            });
            let stop = CancellationToken::new();
            let cluster = Cluster::new(Client::new(service, "default"), Clock::start(), stop);
            let campaign = Campaign::start(&cluster, "system", "role", identity, TIMES);
            (cluster, campaign)
        }
    }

    /// Seconds until `what` happens.
    async fn after(what: impl Future) -> u64 {
        let began = Instant::now();
        what.await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_another_follows_when_it_says_nothing_any_more() {
        let api = OneLease::default();
        let (first, one) = api.process("one");
        assert!(one.won().await);
        let (_second, two) = api.process("two");
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(*two.leader().borrow(), Leader::Elsewhere("one".to_owned()));
        first.stop().cancel();
        let waited = after(two.won()).await;
        assert!((51..=70).contains(&waited), "a lease and a try: {waited}");
        let lease = api.0.lock().clone().unwrap();
        assert_eq!(lease["spec"]["holderIdentity"], "two");
        assert_eq!(lease["spec"]["leaseTransitions"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_in_order_gives_the_lease_back() {
        let api = OneLease::default();
        let (first, one) = api.process("one");
        assert!(one.won().await);
        let (_second, two) = api.process("two");
        tokio::time::sleep(Duration::from_secs(15)).await;
        first.stop().cancel();
        first.stopped().await;
        one.resign().await;
        assert!(after(two.won()).await <= 10, "the next try takes it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_leads_no_more_before_another_does() {
        let api = OneLease::default();
        let (_first, one) = api.process("one");
        assert!(one.won().await);
        // Somebody breaks in: the lease is another's from now on.
        api.0.lock().as_mut().unwrap()["spec"]["holderIdentity"] = json!("three");
        assert!(after(one.lost()).await <= 10);
        assert_eq!(*one.leader().borrow(), Leader::Elsewhere("three".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_campaign_ends_with_its_process() {
        let api = OneLease::default();
        let (_first, one) = api.process("one");
        assert!(one.won().await);
        let (second, two) = api.process("two");
        tokio::time::sleep(Duration::from_secs(15)).await;
        second.stop().cancel();
        assert!(!two.won().await);
        // It holds nothing that it could give back.
        two.resign().await;
        assert_eq!(api.0.lock().as_ref().unwrap()["spec"]["holderIdentity"], "one");
    }
}
