//! Says in an Ingress's status that it is served, and where.
//!
//! The gateway changes its table while the cache tells of a change, and a plan is made after that: so
//! a generation that is planned is a generation that is served. Where there are several gateways, all are asked.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/ingress_lifecycle.go`.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use api::{
    condition,
    networking::{Ingress, IngressStatus, LoadBalancerIngress, LoadBalancerStatus},
};
use jiff::Timestamp;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    plan::Plan,
    reconcile::{Controller, Reconcile},
};

use crate::{
    certificates::{Certificates, Flaw, Users},
    peers::{Peers, Question},
    table,
};

/// The gateway's Service for clients outside the cluster, and the one for those inside.
pub const SERVICES: [&str; 2] = ["weft-gateway", "weft-gateway-internal"];
const NETWORK_CONFIGURED: &str = "NetworkConfigured";
const LOAD_BALANCER_READY: &str = "LoadBalancerReady";
const CONDITIONS: condition::Set =
    condition::Set { dependents: &[LOAD_BALANCER_READY, NETWORK_CONFIGURED] };

/// Names under which clients in the cluster reach the gateway's listeners.
#[derive(Clone, Debug)]
pub struct Domains {
    /// The listener for hosts that the world may see.
    pub public: String,
    /// The listener for hosts that the cluster may see.
    pub private: String,
}

impl Domains {
    /// The names of the gateway's Services in `namespace`.
    pub fn new(namespace: &str, cluster_domain: &str) -> Domains {
        let [public, private] =
            SERVICES.map(|name| format!("{name}.{namespace}.svc.{cluster_domain}"));
        Domains { public, private }
    }
}

/// Writes the status of each Ingress of ours, until the cluster stops. To be called after the gateway
/// was made, with its certificates, and with its peers unless it is the only one there can be.
pub fn start(
    cluster: &Cluster,
    domains: Domains,
    certificates: Certificates,
    peers: Option<Peers>,
    recorder: Recorder,
) {
    // Before anything is planned: a Secret that comes later then finds its Ingress.
    let users = Users::of(&cluster.cache::<Ingress>());
    let mut controller = Controller::new(cluster);
    let ingresses: Cache<Ingress> = controller.plans::<Ingress>();
    let queue = controller.queue().clone();
    certificates.on_change(move |secret| {
        for user in users.find(secret) {
            queue.add(user);
        }
    });
    let writer = Writer { ingresses, domains, certificates, peers };
    cluster.spawn(async move {
        writer.certificates.synced().await;
        if let Some(peers) = &writer.peers {
            peers.synced().await;
        }
        controller.run(writer, recorder).await;
    });
}

/// Writes the statuses.
struct Writer {
    ingresses: Cache<Ingress>,
    domains: Domains,
    certificates: Certificates,
    peers: Option<Peers>,
}

impl Reconcile for Writer {
    /// Which gateways serve an Ingress.
    type Need = Question;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Question> {
        let ingress = self.ingresses.at(key);
        let question = match (&self.peers, ingress.as_deref()) {
            // What has been said of this version stands.
            (Some(_), Some(it)) if !is_said(it) => Question::of(it),
            _ => None,
        };
        let (Some(peers), Some(question)) = (&self.peers, question) else {
            if let Some(peers) = &self.peers {
                peers.forget(key);
            }
            return ingress.map_or_else(Plan::nothing, |it| self.about(&it, &[], now));
        };
        let (missing, is_to_ask) = peers.missing(&question);
        let mut plan = match (ingress, missing) {
            (Some(it), Some(missing)) => self.about(&it, &missing, now),
            // Most often the answer comes at once, and nothing is to be said before.
            _ => Plan::nothing(),
        };
        plan.need.extend(is_to_ask.then_some(question));
        plan
    }

    fn fetch(self: Arc<Self>, need: Question) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Some(peers) = &self.peers {
                peers.ask(need).await;
            }
        })
    }
}

impl Writer {
    fn about(&self, ingress: &Ingress, missing: &[SocketAddr], now: Timestamp) -> Plan<Question> {
        let flaw = |secret: &Key| self.certificates.find(secret).err();
        plan(ingress, &self.domains, flaw, missing, now)
    }
}

/// Whether the status says that this version is served.
fn is_said(ingress: &Ingress) -> bool {
    let Some(status) = &ingress.status else { return false };
    status.observed_generation == ingress.metadata.generation
        && condition::is_true(&status.conditions, LOAD_BALANCER_READY)
}

/// What is to be written about `ingress`, which is served but by the gateways that are `missing`. `flaw` says what is
/// wrong with the certificate in a Secret. Without it the hosts are still served in plain HTTP.
pub fn plan<N>(
    ingress: &Ingress,
    domains: &Domains,
    flaw: impl Fn(&Key) -> Option<Flaw>,
    missing: &[SocketAddr],
    now: Timestamp,
) -> Plan<N> {
    let mut plan = Plan::about(ingress);
    if !table::is_ours(ingress) || ingress.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let before = ingress.status.clone().unwrap_or_default();
    let mut status = IngressStatus {
        annotations: before.annotations.clone(),
        conditions: before.conditions.clone(),
        observed_generation: before.observed_generation,
        ..IngressStatus::default()
    };
    let conditions = &mut status.conditions;
    let generation = ingress.metadata.generation;
    CONDITIONS.begin(conditions, generation, before.observed_generation, now);
    match table::sites(ingress) {
        Ok(_) => {
            CONDITIONS.mark_true(conditions, NETWORK_CONFIGURED, now);
            let mut flaws = table::secrets(ingress).into_iter();
            match flaws.find_map(|secret| Some((flaw(&secret)?, secret))) {
                None if missing.is_empty() => {
                    CONDITIONS.mark_true(conditions, LOAD_BALANCER_READY, now);
                }
                None => mark_missing(conditions, missing, now),
                Some((flaw, secret)) => mark_flaw(conditions, &secret, flaw, now),
            }
            status.public_load_balancer = Some(at(&domains.public));
            status.private_load_balancer = Some(at(&domains.private));
        }
        Err(problem) => {
            let message = problem.to_string();
            CONDITIONS.mark_false(conditions, NETWORK_CONFIGURED, "InvalidIngress", &message, now);
        }
    }
    CONDITIONS.end(conditions, &before.conditions);
    status.observed_generation = generation;
    plan.set_status(ingress, ingress.status.as_ref(), &status);
    plan
}

fn mark_missing(
    conditions: &mut Vec<condition::Condition>,
    missing: &[SocketAddr],
    now: Timestamp,
) {
    let missing: Vec<String> = missing.iter().map(SocketAddr::to_string).collect();
    let message =
        format!("Waiting for load balancer to be ready: not served yet by {}", missing.join(", "));
    CONDITIONS.mark_unknown(conditions, LOAD_BALANCER_READY, "Uninitialized", &message, now);
}

/// A Secret that is not there may still come; one that is there and cannot be used needs somebody.
fn mark_flaw(conditions: &mut Vec<condition::Condition>, secret: &Key, flaw: Flaw, now: Timestamp) {
    match flaw {
        Flaw::Missing => {
            let message = format!("waiting for the Secret {secret} with a certificate: {flaw}");
            let reason = "SecretNotFound";
            CONDITIONS.mark_unknown(conditions, LOAD_BALANCER_READY, reason, &message, now);
        }
        Flaw::Unusable(_) => {
            let message = format!("the certificate in the Secret {secret} cannot be used: {flaw}");
            let reason = "InvalidSecret";
            CONDITIONS.mark_false(conditions, LOAD_BALANCER_READY, reason, &message, now);
        }
    }
}

fn at(domain: &str) -> LoadBalancerStatus {
    let ingress =
        LoadBalancerIngress { domain_internal: Some(domain.to_owned()), ..Default::default() };
    LoadBalancerStatus { ingress: vec![ingress] }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// All certificates are as they should be.
    fn sound(_: &Key) -> Option<Flaw> {
        None
    }

    /// As the only gateway.
    fn planned(ingress: &Ingress, flaw: impl Fn(&Key) -> Option<Flaw>, now: Timestamp) -> Plan {
        plan(ingress, &Domains::new("knative-serving", "cluster.local"), flaw, &[], now)
    }

    fn ingress(class: &str, percent: i64) -> Ingress {
        serde_json::from_value(json!({
            "metadata": {"name": "i", "namespace": "ns", "generation": 2, "uid": "u",
                "annotations": {"networking.knative.dev/ingress.class": class}},
            "spec": {"rules": [{"hosts": ["h"], "http": {"paths": [
                {"splits": [{"percent": percent, "serviceName": "s", "servicePort": 80}]}]}}]},
        }))
        .expect("an Ingress")
    }

    #[test]
    fn a_served_ingress_is_ready_and_then_left_alone() {
        let now = Timestamp::from_second(1000).expect("a moment");
        let mut object = ingress(api::keys::networking::WEFT_CLASS, 100);
        let write = planned(&object, sound, now).status.expect("a status");
        let written: Value = serde_json::from_str(&write.body).expect("JSON");
        let status: IngressStatus =
            serde_json::from_value(written["status"].clone()).expect("a status");
        let types: Vec<_> =
            status.conditions.iter().map(|it| (it.type_.as_str(), it.is_true())).collect();
        assert_eq!(
            types,
            [("LoadBalancerReady", true), ("NetworkConfigured", true), ("Ready", true)]
        );
        assert_eq!(status.observed_generation, Some(2));
        assert_eq!(
            written["status"]["publicLoadBalancer"],
            json!({"ingress": [{"domainInternal": "weft-gateway.knative-serving.svc.cluster.local"}]})
        );
        object.status = Some(status);
        let later = Timestamp::from_second(2000).expect("a moment");
        assert!(planned(&object, sound, later).is_settled());
    }

    #[test]
    fn says_what_is_wrong_and_does_not_touch_others() {
        let now = Timestamp::from_second(1000).expect("a moment");
        let broken = ingress(api::keys::networking::WEFT_CLASS, 0);
        let write = planned(&broken, sound, now).status.expect("a status");
        assert!(write.body.contains("leads nowhere"), "{}", write.body);
        assert!(planned(&ingress("istio", 100), sound, now).is_settled());
    }

    #[test]
    fn names_the_gateways_that_lag_behind() {
        let now = Timestamp::from_second(1000).expect("a moment");
        let object = ingress(api::keys::networking::WEFT_CLASS, 100);
        let late: Vec<SocketAddr> =
            vec![([10, 0, 0, 2], 8080).into(), ([10, 0, 0, 3], 8080).into()];
        let domains = Domains::new("knative-serving", "cluster.local");
        let plan: Plan = plan(&object, &domains, sound, &late, now);
        let written: Value =
            serde_json::from_str(&plan.status.expect("a status").body).expect("JSON");
        let status: IngressStatus =
            serde_json::from_value(written["status"].clone()).expect("a status");
        let ready = condition::find(&status.conditions, "Ready").expect("a condition");
        let message =
            "Waiting for load balancer to be ready: not served yet by 10.0.0.2:8080, 10.0.0.3:8080";
        assert_eq!(
            (ready.status.as_str(), ready.reason(), ready.message()),
            ("Unknown", "Uninitialized", message)
        );
        assert!(condition::is_true(&status.conditions, NETWORK_CONFIGURED));
    }

    #[test]
    fn names_the_secret_that_lacks_a_certificate() {
        let now = Timestamp::from_second(1000).expect("a moment");
        let mut object = ingress(api::keys::networking::WEFT_CLASS, 100);
        object.spec.tls = serde_json::from_value(json!([
            {"hosts": ["h"], "secretName": "front", "secretNamespace": "certs"},
            {"hosts": ["elsewhere"], "secretName": "unused", "secretNamespace": "certs"},
        ]))
        .expect("TLS");
        let unusable = Flaw::Unusable(proxy::tls::Unusable::Mismatch);
        for (flaw, wanted) in [
            (None, ("True", "", "")),
            (
                Some(Flaw::Missing),
                (
                    "Unknown",
                    "SecretNotFound",
                    "waiting for the Secret certs/front with a certificate: there is none of the type \
                     kubernetes.io/tls",
                ),
            ),
            (
                Some(unusable),
                (
                    "False",
                    "InvalidSecret",
                    "the certificate in the Secret certs/front cannot be used: the private key does not \
                     belong to the certificate",
                ),
            ),
        ] {
            let of = |secret: &Key| {
                assert_eq!(*secret, Key::new("certs", "front"));
                flaw
            };
            let write = planned(&object, of, now).status.expect("a status");
            let written: Value = serde_json::from_str(&write.body).expect("JSON");
            let status: IngressStatus =
                serde_json::from_value(written["status"].clone()).expect("a status");
            for type_ in [LOAD_BALANCER_READY, "Ready"] {
                let found = condition::find(&status.conditions, type_).expect("a condition");
                let found = (found.status.as_str(), found.reason(), found.message());
                assert_eq!(found, wanted, "{type_}");
            }
            assert!(condition::is_true(&status.conditions, NETWORK_CONFIGURED));
            // Plain HTTP is served there all the same.
            assert!(status.public_load_balancer.is_some());
        }
    }
}
