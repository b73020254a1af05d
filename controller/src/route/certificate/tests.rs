//! What becomes of a Route whose hosts are to have certificates.

use serde_json::{Value, json};

use super::*;
use crate::route::traffic::{Lookup, Target};

const HOST: &str = "app.ns.example.com";

/// A Route with a tag, and what there is of certificates.
struct Around {
    route: Route,
    config: Config,
    found: Vec<Certificate>,
    wildcards: Vec<Certificate>,
}

/// What was decided.
struct Decided {
    secured: Result<Secured, String>,
    status: RouteStatus,
    writes: Vec<String>,
}

fn around() -> Around {
    let route = json!({
        "metadata": {"name": "app", "namespace": "ns", "uid": "u1", "generation": 1},
        "spec": {"traffic": []},
    });
    let mut config = Config::default();
    let domains = BTreeMap::from([("example.com".to_owned(), String::new())]);
    config.domain = config::domain::Domains::parse(&domains).unwrap();
    config.network.external_domain_tls = true;
    let route = serde_json::from_value(route).unwrap();
    Around { route, config, found: Vec::new(), wildcards: Vec::new() }
}

fn secured(around: &Around, tags: &[&str], local: &[&str]) -> Decided {
    secured_from(around, tags, local, Some(format!("http://{HOST}")))
}

fn secured_from(around: &Around, tags: &[&str], local: &[&str], url: Option<String>) -> Decided {
    let target = Target {
        revision: "app-1".to_owned(),
        configuration: None,
        tag: String::new(),
        percent: 100,
        latest: None,
        is_h2c: false,
    };
    let tags = tags.iter().chain([&""]);
    let hosts = tags.clone().map(|it| ((*it).to_owned(), vec![target.clone()])).collect();
    let traffic = Traffic { hosts, targets: Vec::new() };
    let visibilities = tags.map(|it| {
        let is_local = local.contains(it);
        let seen_by = if is_local { Visibility::ClusterLocal } else { Visibility::External };
        ((*it).to_owned(), seen_by)
    });
    let all: Vec<_> = around.found.iter().cloned().map(Arc::new).collect();
    let wildcards: Vec<_> = around.wildcards.iter().cloned().map(Arc::new).collect();
    let seen = Seen {
        lookup: Lookup { configuration: &|_| None, revision: &|_| None },
        service: &|_| None,
        placeholders: &[],
        endpoints: &|_| None,
        certificate: &|its_name| all.iter().find(|it| name(&it.metadata) == its_name).cloned(),
        certificates: &all,
        wildcards: &|_| wildcards.clone(),
        ingress: None,
    };
    let mut status = RouteStatus { url, ..RouteStatus::default() };
    let mut plan = Plan::about(&around.route);
    let secured = secure(
        &around.route,
        &traffic,
        &visibilities.collect(),
        seen,
        &around.config,
        &mut status,
        &mut plan,
        Timestamp::UNIX_EPOCH,
    );
    let writes = plan.writes.iter().map(|it| format!("{:?} {}", it.verb, it.key.name)).collect();
    Decided { secured, status, writes }
}

impl Around {
    /// The certificate for the names of a tag inside the cluster as it is ordered, with a status.
    fn with_local(self, tag: &str, status: Value) -> Around {
        let host = domain::host(&self.route, tag, Visibility::ClusterLocal, &self.config).unwrap();
        let its_name = certificate_name(&self.route, tag) + "-local";
        let hosts = domain::expanded(&host);
        let (purpose, under) = ("cluster-local-domain", "svc.cluster.local");
        self.with_order(Order { its_name: &its_name, purpose, hosts, under }, status)
    }

    /// The certificate of a tag as it is ordered, with a status.
    fn with(self, tag: &str, status: Value) -> Around {
        let its_name = certificate_name(&self.route, tag);
        let host = domain::host(&self.route, tag, Visibility::External, &self.config).unwrap();
        let (purpose, under) = (EXTERNAL_DOMAIN, "example.com");
        self.with_order(Order { its_name: &its_name, purpose, hosts: vec![host], under }, status)
    }

    fn with_order(mut self, order: Order, status: Value) -> Around {
        let Order { its_name, purpose, hosts, under } = order;
        let label = (serving::ROUTE, "app");
        let under = Some(under.to_owned());
        let (route, config) = (&self.route, &self.config);
        let mut made =
            certificate::certificate(route, its_name, label, purpose, hosts, under, config);
        made.metadata.generation = Some(1);
        made.metadata.resource_version = Some("1".to_owned());
        made.status = Some(serde_json::from_value(status).unwrap());
        self.found.push(made);
        self
    }
}

fn ready(status: &str, reason: &str) -> Value {
    let condition = json!({"type": "Ready", "status": status, "reason": reason});
    json!({"observedGeneration": 1, "conditions": [condition]})
}

fn said(decided: &Decided) -> String {
    let found = condition::find(&decided.status.conditions, CERTIFICATE_PROVISIONED).unwrap();
    format!("{} {} {}", found.status, found.reason(), found.message()).trim().to_owned()
}

#[test]
fn the_condition_and_the_url_follow_the_certificate() {
    let downgrade = "True HTTPDowngrade Certificate route-u1 is not ready downgrade HTTP.";
    let waits = "Unknown CertificateNotReady Certificate route-u1 is not ready: Slow";
    let failed =
        "False CertificateProvisionFailed Certificate route-u1 fails to be provisioned: Slow";
    let (open, shut) = (HttpProtocol::Enabled, HttpProtocol::Redirected);
    for (protocol, status, says, scheme, tls) in [
        (open, "True", "True", "https", 1),
        (shut, "True", "True", "https", 1),
        (open, "Unknown", downgrade, "http", 0),
        (open, "False", downgrade, "http", 0),
        (shut, "Unknown", waits, "https", 0),
        (shut, "False", failed, "https", 0),
    ] {
        let reason = if status == "True" { "" } else { "Slow" };
        let mut around = around().with("", ready(status, reason));
        around.config.network.http_protocol = protocol;
        let decided = secured(&around, &[], &[]);
        assert_eq!(said(&decided), says, "{protocol:?} {status}");
        assert_eq!(decided.status.url, Some(format!("{scheme}://{HOST}")));
        assert_eq!(decided.secured.unwrap().tls.len(), tls);
        assert_eq!(decided.writes, [""; 0]);
    }
}

#[test]
fn each_host_outside_has_a_certificate() {
    let decided = secured(&around(), &["blue", "inside"], &["inside"]);
    // The sum of "blue", as zlib has it.
    assert_eq!(decided.writes, ["Create route-u1", "Create route-u1-69140905"]);
    assert!(said(&decided).starts_with("True HTTPDowngrade"));

    let mut off = around();
    off.config.network.external_domain_tls = false;
    let decided = secured(&off, &["blue"], &[]);
    assert_eq!(decided.writes, [""; 0]);
    assert_eq!(said(&decided), "True TLSNotEnabled external-domain-tls is not enabled");

    let decided = secured(&around(), &[], &[""]);
    assert_eq!(decided.writes, [""; 0]);
    assert_eq!(said(&decided), "True TLSNotEnabled TLS is not enabled for cluster-local");
}

fn local(external: bool) -> Around {
    let mut around = around();
    around.config.network.external_domain_tls = external;
    around.config.network.cluster_local_domain_tls = true;
    around
}

#[test]
fn each_host_inside_has_a_certificate_for_all_its_names() {
    let decided = secured(&local(false), &["blue"], &["blue"]);
    assert_eq!(decided.writes, ["Create route-u1-local", "Create route-u1-69140905-local"]);
    let says = "Unknown CertificateNotReady Certificate route-u1-local is not ready:";
    assert_eq!(said(&decided), says);

    let around = local(false).with_local("", ready("True", ""));
    let made = &around.found[0];
    let hosts = ["app.ns", "app.ns.svc", "app.ns.svc.cluster.local"];
    assert_eq!(made.spec.dns_names, hosts);
    assert_eq!(made.spec.secret_name, "route-u1-local");
    let type_ = metadata::get(&made.metadata.labels, CERTIFICATE_TYPE);
    assert_eq!(type_, "cluster-local-domain");
    let decided = secured(&around, &[], &[]);
    assert_eq!((decided.writes, said(&secured(&around, &[], &[]))), (vec![], "True".to_owned()));
    let tls = decided.secured.unwrap().tls;
    assert_eq!((&*tls[0].hosts, tls.len()), (&hosts.map(str::to_owned)[..], 1));
    assert_eq!(tls[0].secret_name.as_deref(), Some("route-u1-local"));
    // The host outside is another matter.
    assert_eq!(decided.status.url, Some(format!("http://{HOST}")));
    let address = decided.status.address.and_then(|it| it.url);
    assert_eq!(address.as_deref(), Some("https://app.ns.svc.cluster.local"));
}

#[test]
fn the_url_of_a_route_inside_follows_its_certificate() {
    let url = |scheme: &str| Some(format!("{scheme}://app.ns.svc.cluster.local"));
    for (status, scheme, says) in [
        ("True", "https", "True"),
        (
            "Unknown",
            "http",
            "Unknown CertificateNotReady Certificate route-u1-local is not ready: Why",
        ),
        (
            "False",
            "http",
            "False CertificateProvisionFailed Certificate route-u1-local fails to be provisioned: Why",
        ),
    ] {
        let around = local(true).with_local("", ready(status, "Why"));
        let decided = secured_from(&around, &[], &[""], url("http"));
        assert_eq!(decided.status.url, url(scheme), "{status}");
        assert_eq!(said(&decided), says);
    }
}

#[test]
fn the_worst_of_both_sides_is_said() {
    let around = local(true).with("", ready("True", "")).with_local("", ready("Unknown", "Slow"));
    let decided = secured(&around, &[], &[]);
    assert!(said(&decided).starts_with("Unknown CertificateNotReady Certificate route-u1-local"));
    assert_eq!(decided.status.url, Some(format!("https://{HOST}")));
    let around = local(true).with("", ready("True", "")).with_local("", ready("True", ""));
    let decided = secured(&around, &[], &[]);
    assert_eq!((&*said(&decided), decided.secured.unwrap().tls.len()), ("True", 2));
    // A tag that is gone takes its certificate with it, that of the other side stays.
    let around = around.with_local("blue", ready("True", ""));
    assert_eq!(secured(&around, &[], &[]).writes, ["Delete route-u1-69140905-local"]);
}

#[test]
fn certificates_of_hosts_that_are_no_more_go() {
    let around = around().with("", ready("True", "")).with("blue", ready("True", ""));
    assert_eq!(secured(&around, &["blue"], &[]).writes, [""; 0]);
    let decided = secured(&around, &[], &[]);
    assert_eq!(decided.writes, ["Delete route-u1-69140905"]);
    assert_eq!(said(&decided), "True");
}

#[test]
fn a_certificate_of_all_hosts_spares_others() {
    let mut around = around();
    let wildcard = json!({
        "metadata": {"name": "all", "namespace": "ns", "generation": 1},
        "spec": {"dnsNames": ["*.ns.example.com"], "secretName": "all-hosts"},
        "status": ready("True", ""),
    });
    around.wildcards.push(serde_json::from_value(wildcard).unwrap());
    let decided = secured(&around, &["blue"], &[]);
    assert_eq!(decided.writes, [""; 0]);
    let tls = decided.secured.unwrap().tls;
    assert!(tls.iter().all(|it| it.secret_name.as_deref() == Some("all-hosts")), "{tls:?}");
    let hosts: Vec<_> = tls.into_iter().flat_map(|it| it.hosts).collect();
    assert_eq!(hosts, [HOST, "blue-app.ns.example.com"]);
    assert_eq!(decided.status.url, Some(format!("https://{HOST}")));
}

#[test]
fn a_certificate_of_another_is_not_taken() {
    let mut around = around().with("", ready("True", ""));
    around.found[0].metadata.owner_references = None;
    let decided = secured(&around, &[], &[]);
    let why = "notowned: owner: app with Type *v1.Route does not own Certificate: \"route-u1\"";
    assert_eq!(decided.secured, Err(why.to_owned()));
    let says = "There is an existing certificate route-u1 that we don't own.";
    assert_eq!(said(&decided), format!("False CertificateNotOwned {says}"));
}
