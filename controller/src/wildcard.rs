//! Certificates for all hosts of a namespace, one for each domain: Routes then need none of their own.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/nscert`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    keys::networking::{CERTIFICATE_CLASS, WILDCARD_DOMAIN},
    networking::{Certificate, CertificateSpec},
};
use config::{Config, network::HostParts};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use runtime::plan::{Event, Plan, Write, is_controlled_by, owner};

use crate::{
    certificate,
    metadata::{self, Map, name},
};

/// The kind of domains under which there may be certificates for all hosts.
const WILDCARD: &str = "wildcard";

/// What to do about a namespace, given the certificates in it that are for all hosts of a domain.
pub fn plan(namespace: &Namespace, found: &[Arc<Certificate>], config: &Config) -> Plan {
    let mut plan = Plan::about(namespace);
    if metadata::is_deleted(&namespace.metadata) {
        return plan;
    }
    let selector = config.network.namespace_wildcard_cert_selector.as_ref();
    let is_selected = selector.is_some_and(|it| selects(it, &namespace.metadata.labels));
    let domains = config.domain.iter().filter(|(_, domain)| domain.kind == WILDCARD);
    let domains: Vec<&str> = domains.map(|(name, _)| name).filter(|_| is_selected).collect();
    for domain in &domains {
        if let Err(error) = place(namespace, domain, found, config, &mut plan) {
            plan.error = Some(error);
            return plan;
        }
    }
    for certificate in found.iter().filter(|it| is_controlled_by(&***it, namespace)) {
        let domain = metadata::get(&certificate.metadata.labels, WILDCARD_DOMAIN);
        if !domains.contains(&domain) && !metadata::is_deleted(&certificate.metadata) {
            plan.writes.push(
                Write::delete(&**certificate)
                    .with_event(told("Deleted", "Deleted", certificate))
                    .with_failure(failed("DeleteFailed", "Failed to delete", certificate)),
            );
        }
    }
    plan
}

/// Makes the certificate of a domain, unless there is one for its hosts already.
fn place(
    namespace: &Namespace,
    domain: &str,
    found: &[Arc<Certificate>],
    config: &Config,
    plan: &mut Plan,
) -> Result<(), String> {
    let hosts = all_hosts(namespace, domain, config)?;
    if found.iter().any(|it| it.spec.dns_names.contains(&hosts)) {
        return Ok(());
    }
    let wanted = wanted(namespace, domain, hosts, config);
    let own = found.iter().find(|it| {
        is_controlled_by(&***it, namespace)
            && metadata::get(&it.metadata.labels, WILDCARD_DOMAIN) == domain
    });
    plan.writes.push(match own {
        None => Write::create(&wanted)
            .with_event(told("Created", "Created", &wanted))
            .with_failure(failed("CreationFailed", "Failed to create", &wanted))
            .with_context("failed to create namespace certificate"),
        Some(own) => {
            let mut changed = Certificate::clone(own);
            changed.spec = wanted.spec;
            Write::replace(&changed)
                .with_event(told("Updated", "Updated Spec for", own))
                .with_failure(failed("UpdateFailed", "Failed to update", own))
                .with_context("failed to update namespace certificate")
        }
    });
    Ok(())
}

/// The name that stands for all hosts of a namespace under a domain.
fn all_hosts(namespace: &Namespace, domain: &str, config: &Config) -> Result<String, String> {
    let (none, its_name) = (BTreeMap::new(), name(&namespace.metadata));
    let parts =
        HostParts { name: "*", namespace: its_name, domain, annotations: &none, labels: &none };
    let hosts = config.network.host(parts).map_err(|why| why.to_string());
    let hosts = hosts.and_then(|it| match it.strip_prefix("*.") {
        Some(rest) if !rest.is_empty() => Ok(it),
        _ => Err(format!("invalid DomainTemplate: {it}")),
    });
    hosts.map_err(|why| {
        let template = config.network.domain_template.source();
        format!(
            "failed to apply domain template {template} to domain {domain} and namespace {its_name}: {why}"
        )
    })
}

fn wanted(namespace: &Namespace, domain: &str, hosts: String, config: &Config) -> Certificate {
    let its_name = hosts.trim_start_matches("*.").to_owned();
    let class = certificate::class(&namespace.metadata, config);
    Certificate {
        metadata: ObjectMeta {
            name: Some(its_name.clone()),
            namespace: namespace.metadata.name.clone(),
            labels: Some(metadata::with(Map::new(), [(WILDCARD_DOMAIN, domain)])),
            annotations: Some(metadata::with(Map::new(), [(CERTIFICATE_CLASS, class)])),
            owner_references: Some(vec![owner(namespace)]),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec { dns_names: vec![hosts], domain: None, secret_name: its_name },
        status: None,
    }
}

fn told(reason: &'static str, done: &str, certificate: &Certificate) -> Event {
    let meta = &certificate.metadata;
    let what = format!("{}/{}", metadata::namespace(meta), name(meta));
    Event::normal(reason, format!("{done} Knative Certificate {what}"))
}

fn failed(reason: &'static str, what: &str, certificate: &Certificate) -> Event {
    Event { warning: true, ..told(reason, what, certificate) }
}

/// Whether a selector picks an object with these labels. Source: k8s.io/apimachinery
/// `LabelSelectorAsSelector`.
fn selects(selector: &LabelSelector, labels: &Option<Map>) -> bool {
    let none = Map::new();
    let labels = labels.as_ref().unwrap_or(&none);
    let equal = selector.match_labels.iter().flatten();
    let mut equal = equal.map(|(key, value)| labels.get(key) == Some(value));
    let terms = selector.match_expressions.iter().flatten();
    let mut terms = terms.map(|term| {
        let value = labels.get(&term.key);
        let is_listed = || value.is_some_and(|it| term.values.iter().flatten().any(|v| v == it));
        match term.operator.as_str() {
            "In" => is_listed(),
            "NotIn" => !is_listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal.all(|it| it) && terms.all(|it| it)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(labels: &[(&str, &str)]) -> Namespace {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let meta = json!({"name": "team", "uid": "u1", "labels": labels});
        serde_json::from_value(json!({ "metadata": meta })).unwrap()
    }

    fn config(selector: &str, domains: &[(&str, &str)]) -> Config {
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let network = data(&[("namespace-wildcard-cert-selector", selector)]);
        Config {
            network: config::network::Network::parse(&network).unwrap(),
            domain: config::domain::Domains::parse(&data(domains)).unwrap(),
            ..Config::default()
        }
    }

    fn writes(plan: &Plan) -> Vec<String> {
        plan.writes.iter().map(|it| format!("{:?} {}", it.verb, it.key)).collect()
    }

    /// The certificate that a plan makes.
    fn made(plan: &Plan) -> Arc<Certificate> {
        let mut made: Certificate = serde_json::from_str(&plan.writes[0].body).unwrap();
        made.metadata.resource_version = Some("1".to_owned());
        Arc::new(made)
    }

    #[test]
    fn selected_namespaces_get_a_certificate_for_all_hosts() {
        let domains = &[("example.com", ""), ("inner.org", "selector: {app: inner}")];
        for (selector, labels, is_selected) in [
            ("", &[][..], false),
            ("{}", &[], true),
            ("matchLabels: {tls: all}", &[("tls", "all")], true),
            ("matchLabels: {tls: all}", &[("tls", "none")], false),
            ("matchExpressions: [{key: tls, operator: Exists}]", &[("tls", "x")], true),
            ("matchExpressions: [{key: tls, operator: DoesNotExist}]", &[("tls", "x")], false),
            ("matchExpressions: [{key: tls, operator: In, values: [a, b]}]", &[("tls", "b")], true),
            (
                "matchExpressions: [{key: tls, operator: NotIn, values: [a]}]",
                &[("tls", "a")],
                false,
            ),
        ] {
            let plan = plan(&namespace(labels), &[], &config(selector, domains));
            let wanted = if is_selected { vec!["Create team/team.example.com"] } else { vec![] };
            assert_eq!(writes(&plan), wanted, "{selector} {labels:?}");
        }
    }

    #[test]
    fn a_certificate_goes_with_its_domain() {
        let (namespace, domains) = (namespace(&[]), &[("example.com", "")]);
        let first = plan(&namespace, &[], &config("{}", domains));
        let found = made(&first);
        assert_eq!(found.spec.dns_names, ["*.team.example.com"]);
        assert_eq!(metadata::get(&found.metadata.labels, WILDCARD_DOMAIN), "example.com");
        let found = [found];
        assert!(plan(&namespace, &found, &config("{}", domains)).is_settled());

        let elsewhere = config("{}", &[("example.org", "")]);
        let moved = plan(&namespace, &found, &elsewhere);
        let expected = ["Create team/team.example.org", "Delete team/team.example.com"];
        assert_eq!(writes(&moved), expected);
        let event = moved.writes[1].event.as_ref().unwrap();
        assert_eq!(event.message, "Deleted Knative Certificate team/team.example.com");
        let off = plan(&namespace, &found, &config("", domains));
        assert_eq!(writes(&off), ["Delete team/team.example.com"]);
    }

    #[test]
    fn a_template_must_begin_with_the_name() {
        let template = "{{.Namespace}}-{{.Name}}.{{.Domain}}";
        let mut config = config("{}", &[("example.com", "")]);
        let network = [("namespace-wildcard-cert-selector", "{}"), ("domain-template", template)];
        let network = network.map(|(key, value)| (key.to_owned(), value.to_owned()));
        config.network = config::network::Network::parse(&network.into()).unwrap();
        let plan = plan(&namespace(&[]), &[], &config);
        let why = format!(
            "failed to apply domain template {template} to domain example.com and namespace team: \
             invalid DomainTemplate: team-*.example.com"
        );
        assert_eq!((plan.error, plan.writes.len()), (Some(why), 0));
    }
}
