//! Asks all gateways whether they serve an Ingress: it is ready only when the last of them does, since a client may meet
//! any of them.
//!
//! Source: knative/networking `pkg/status/status.go`.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use api::{headers, networking::Ingress};
use http::{Request, header};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use proxy::{
    body::Body,
    hop::{Protocol, Upstream},
};
use runtime::cluster::{Cluster, Key};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    ack::SERVICES,
    services::{Services, Target},
    table::{self, Visibility},
};

/// How long gateways are asked before the status says which of them lag behind; then they are asked again.
const ROUND: Duration = Duration::from_secs(3);
/// Longest wait for one answer: a gateway says it from memory.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two attempts: news of a change reaches all gateways within milliseconds, or something is wrong.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The port of the gateway's Services.
const PORT: IntOrString = IntOrString::Int(80);

/// The gateways of a cluster.
pub struct Peers {
    services: Services,
    upstream: Arc<dyn Upstream>,
    /// Where the gateway's Services are.
    namespace: String,
    known: Mutex<HashMap<Key, Known>>,
}

/// What is known of one version of an Ingress.
struct Known {
    hash: String,
    /// Gateways that did not serve it when they were last asked; none before that.
    missing: Option<Vec<SocketAddr>>,
    is_asked: bool,
}

/// What to ask all gateways.
pub struct Question {
    key: Key,
    hash: String,
    host: String,
    service: &'static str,
}

impl Question {
    /// Whether they serve the Ingress as it is; nothing when it has no host.
    pub fn of(ingress: &Ingress) -> Option<Question> {
        let sites = table::sites(ingress).ok()?;
        let outside = sites.iter().find(|it| it.visibility == Visibility::External);
        let (site, service) = match outside {
            Some(site) => (site, SERVICES[0]),
            None => (sites.first()?, SERVICES[1]),
        };
        let (hash, host) = (table::hash(ingress), site.host.to_string());
        Some(Question { key: Key::of(ingress), hash, host, service })
    }
}

impl Peers {
    /// The gateways behind [`SERVICES`] in `namespace`, which are asked by `upstream`.
    pub fn new(cluster: &Cluster, namespace: &str, upstream: Arc<dyn Upstream>) -> Peers {
        Peers {
            services: Services::new(cluster, upstream.clone(), None),
            upstream,
            namespace: namespace.to_owned(),
            known: Mutex::default(),
        }
    }

    /// Waits until it is known where the gateways are.
    pub async fn synced(&self) {
        self.services.synced().await;
    }

    /// The gateways that do not serve it yet, where that is known, and whether it is time to [`Peers::ask`].
    pub fn missing(&self, question: &Question) -> (Option<Vec<SocketAddr>>, bool) {
        let mut known = self.known.lock();
        let of = known.get(&question.key).filter(|it| it.hash == question.hash);
        let missing = of.and_then(|it| it.missing.clone());
        let is_asked = of.is_some_and(|it| it.is_asked);
        if is_asked || missing.as_ref().is_some_and(Vec::is_empty) {
            return (missing, false);
        }
        let hash = question.hash.clone();
        let now = Known { hash, missing: missing.clone(), is_asked: true };
        known.insert(question.key.clone(), now);
        (missing, true)
    }

    /// Forgets what is settled.
    pub fn forget(&self, key: &Key) {
        self.known.lock().remove(key);
    }

    /// Asks until all gateways serve it, or for a while.
    pub async fn ask(&self, question: Question) {
        let end = Instant::now() + ROUND;
        let mut pause = FIRST_PAUSE;
        let missing = loop {
            let missing = self.ask_once(&question).await;
            if missing.is_empty() || Instant::now() + pause > end {
                break missing;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        // Another version may be asked for by now, or none.
        if let Some(known) = self.known.lock().get_mut(&question.key)
            && known.hash == question.hash
        {
            known.missing = Some(missing);
            known.is_asked = false;
        }
    }

    /// The gateways that do not serve it. Those that are not ready take no requests, and need not.
    async fn ask_once(&self, question: &Question) -> Vec<SocketAddr> {
        let target = self.services.target(&self.namespace, question.service, &PORT);
        let Target::Endpoints(gateways, _) = target else { return Vec::new() };
        // As many as there are gateways, which are few.
        let mut answers = JoinSet::new();
        for at in gateways {
            let request = Request::get("/")
                .header(header::HOST, &question.host)
                .header(header::USER_AGENT, "Knative-Ingress-Probe")
                .header(headers::PROBE, headers::PROBE_ANY)
                .header(headers::HASH, "override")
                .body(Body::empty())
                .expect("hosts of the table are header values");
            let (upstream, hash) = (self.upstream.clone(), question.hash.clone());
            answers.spawn(async move {
                let answer = upstream.send(at, Protocol::Http1, request);
                let serves = match tokio::time::timeout(ANSWER, answer).await {
                    Ok(Ok(response)) => {
                        let found = response.headers().get(headers::HASH);
                        found.is_some_and(|it| it.as_bytes() == hash.as_bytes())
                    }
                    _ => false,
                };
                (!serves).then_some(at)
            });
        }
        let mut missing = Vec::new();
        while let Some(answer) = answers.join_next().await {
            // One that panicked is asked again.
            missing.extend(answer.ok().flatten());
        }
        missing.sort();
        missing
    }
}
