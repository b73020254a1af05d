//! The certificates of the platform's own parts: one for those who route, and one in each namespace for its queues.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/revision/resources/certificate.go`, `config/core/300-knativecertificate.yaml`.

use api::{
    keys::networking::{CERTIFICATE_CLASS, CERTIFICATE_TYPE},
    networking::{Certificate, CertificateSpec},
    queue,
};
use config::Config;
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use proxy::tls::client::{COMMON, ROUTING, of_namespace};
use runtime::{
    plan::{Plan, is_controlled_by, is_left_over, owner},
    trust,
};

use crate::{
    certificate,
    metadata::{self, Map, name},
};

/// What such a certificate is for.
pub const SYSTEM_INTERNAL: &str = "system-internal";

/// What a namespace has.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Whether it is the platform's own.
    pub is_system: bool,
    /// Whether there are revisions in it.
    pub has_revisions: bool,
    /// Finds its Certificates by name, whoever owns them.
    pub certificate: &'a dyn Fn(&str) -> Option<std::sync::Arc<Certificate>>,
}

/// Whether an object of that name may be such a certificate, or its Secret.
pub fn is_one(its_name: &str) -> bool {
    [queue::CERTIFICATE, trust::CERTIFICATE].contains(&its_name)
}

/// Whether a Secret has a certificate and its key.
pub fn is_whole(secret: &Secret) -> bool {
    let has = |key: &str| {
        secret.data.as_ref().and_then(|it| it.get(key)).is_some_and(|it| !it.0.is_empty())
    };
    has("tls.crt") && has("tls.key")
}

/// Adds what to do about the certificates of a namespace. They stay when they are wanted no more: pods may mount them.
pub fn plan(namespace: &Namespace, seen: Seen, config: &Config, plan: &mut Plan) {
    if !config.network.system_internal_tls || metadata::is_deleted(&namespace.metadata) {
        return;
    }
    let its_name = name(&namespace.metadata);
    let mut wanted = Vec::new();
    if seen.is_system {
        wanted.push((trust::CERTIFICATE, ROUTING.to_owned()));
    }
    if seen.has_revisions {
        wanted.push((queue::CERTIFICATE, of_namespace(its_name)));
    }
    for (certificate, host) in wanted {
        let found = (seen.certificate)(certificate);
        let is_others =
            |it: &Certificate| !is_controlled_by(it, namespace) && !is_left_over(it, namespace);
        if found.as_deref().is_some_and(is_others) {
            // Upstream's manifests have the platform's own, without an owner: it is as good.
            continue;
        }
        let made = made(namespace, certificate, host, config);
        let placed = certificate::place(namespace, "*v1.Namespace", made, found.as_deref(), plan);
        if let Err(why) = placed {
            plan.error = Some(why);
        }
    }
}

fn made(namespace: &Namespace, its_name: &str, host: String, config: &Config) -> Certificate {
    let class = [(CERTIFICATE_CLASS, &*config.network.certificate_class)];
    Certificate {
        metadata: ObjectMeta {
            name: Some(its_name.to_owned()),
            namespace: namespace.metadata.name.clone(),
            labels: Some(metadata::with(Map::new(), [(CERTIFICATE_TYPE, SYSTEM_INTERNAL)])),
            annotations: Some(metadata::with(Map::new(), class)),
            owner_references: Some(vec![owner(namespace)]),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec {
            // Clients of before know the second alone.
            dns_names: vec![host, COMMON.to_owned()],
            domain: None,
            secret_name: its_name.to_owned(),
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn namespace(its_name: &str) -> Namespace {
        let meta = json!({"name": its_name, "uid": "u1"});
        serde_json::from_value(json!({ "metadata": meta })).unwrap()
    }

    fn planned(
        its_name: &str,
        is_system: bool,
        has_revisions: bool,
        found: &[Arc<Certificate>],
        config: &Config,
    ) -> Plan {
        let namespace = namespace(its_name);
        let find = |wanted: &str| found.iter().find(|it| name(&it.metadata) == wanted).cloned();
        let seen = Seen { is_system, has_revisions, certificate: &find };
        let mut plan = Plan::about(&namespace);
        super::plan(&namespace, seen, config, &mut plan);
        plan
    }

    fn on() -> Config {
        let mut config = Config::default();
        config.network.system_internal_tls = true;
        config
    }

    #[test]
    fn routers_and_the_queues_of_each_namespace_have_a_certificate() {
        for (its_name, is_system, has_revisions, config, expected) in [
            ("team", false, true, Config::default(), &[][..]),
            ("team", false, false, on(), &[]),
            ("team", false, true, on(), &["team/serving-certs kn-user-team"]),
            (
                "knative-serving",
                true,
                false,
                on(),
                &["knative-serving/routing-serving-certs kn-routing"],
            ),
            (
                "knative-serving",
                true,
                true,
                on(),
                &[
                    "knative-serving/routing-serving-certs kn-routing",
                    "knative-serving/serving-certs kn-user-knative-serving",
                ],
            ),
        ] {
            let plan = planned(its_name, is_system, has_revisions, &[], &config);
            let made: Vec<Certificate> =
                plan.writes.iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect();
            let keys = plan.writes.iter().zip(&made).map(|(write, made)| {
                assert_eq!(made.spec.dns_names[1], "data-plane.knative.dev");
                assert_eq!(made.spec.secret_name, name(&made.metadata));
                let type_ = metadata::get(&made.metadata.labels, CERTIFICATE_TYPE);
                assert_eq!(type_, "system-internal");
                format!("{} {}", write.key, made.spec.dns_names[0])
            });
            assert_eq!(keys.collect::<Vec<_>>(), expected, "{its_name}");
        }
    }

    #[test]
    fn a_certificate_of_another_is_left_alone_and_one_of_ours_is_as_wanted() {
        let made = |config: &Config| {
            let plan = planned("team", false, true, &[], config);
            let mut made: Certificate = serde_json::from_str(&plan.writes[0].body).unwrap();
            made.metadata.resource_version = Some("1".to_owned());
            made
        };
        let own = made(&on());
        let planned = |found: Certificate, config: &Config| {
            let plan = planned("team", false, true, &[Arc::new(found)], config);
            assert_eq!(plan.error, None);
            plan.writes.iter().map(|it| format!("{:?}", it.verb)).collect::<Vec<_>>()
        };
        assert_eq!(planned(own.clone(), &on()), [""; 0]);
        let mut elsewhere = on();
        elsewhere.network.certificate_class = "elsewhere".to_owned();
        assert_eq!(planned(own.clone(), &elsewhere), ["Replace"]);
        let mut others = own;
        others.metadata.owner_references = None;
        assert_eq!(planned(others, &elsewhere), [""; 0]);
    }
}
