//! Says in an Ingress's status that it is served, and where.
//!
//! The gateway changes its table while the cache tells of a change, and a plan is made after that: so
//! a generation that is planned is a generation that is served.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/ingress_lifecycle.go`.

use api::{
    condition,
    networking::{Ingress, IngressStatus, LoadBalancerIngress, LoadBalancerStatus},
};
use jiff::Timestamp;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    plan::Plan,
    reconcile::{Controller, PlanFn},
};

use crate::{
    certificates::{Certificates, Flaw, Users},
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
/// was made, with its certificates.
pub fn start(cluster: &Cluster, domains: Domains, certificates: Certificates, recorder: Recorder) {
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
    let known = certificates.clone();
    let plan = PlanFn(move |key: &Key, now| match ingresses.at(key) {
        Some(ingress) => plan(&ingress, &domains, |secret| known.find(secret).err(), now),
        None => Plan::nothing(),
    });
    cluster.spawn(async move {
        certificates.synced().await;
        controller.run(plan, recorder).await;
    });
}

/// What is to be written about `ingress`, which is served. `flaw` says what is wrong with the
/// certificate in a Secret. Without it the hosts are still served in plain HTTP.
pub fn plan(
    ingress: &Ingress,
    domains: &Domains,
    flaw: impl Fn(&Key) -> Option<Flaw>,
    now: Timestamp,
) -> Plan {
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
                None => CONDITIONS.mark_true(conditions, LOAD_BALANCER_READY, now),
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
        let domains = Domains::new("knative-serving", "cluster.local");
        let now = Timestamp::from_second(1000).expect("a moment");
        let mut object = ingress(api::keys::networking::WEFT_CLASS, 100);
        let write = plan(&object, &domains, sound, now).status.expect("a status");
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
        assert!(plan(&object, &domains, sound, later).is_settled());
    }

    #[test]
    fn says_what_is_wrong_and_does_not_touch_others() {
        let domains = Domains::new("knative-serving", "cluster.local");
        let now = Timestamp::from_second(1000).expect("a moment");
        let broken = ingress(api::keys::networking::WEFT_CLASS, 0);
        let write = plan(&broken, &domains, sound, now).status.expect("a status");
        assert!(write.body.contains("leads nowhere"), "{}", write.body);
        assert!(plan(&ingress("istio", 100), &domains, sound, now).is_settled());
    }

    #[test]
    fn names_the_secret_that_lacks_a_certificate() {
        let domains = Domains::new("knative-serving", "cluster.local");
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
            let write = plan(&object, &domains, of, now).status.expect("a status");
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
