//! What is planned for a DomainMapping, case by case.

use std::sync::Arc;

use api::{
    condition,
    serving::{Route, Service},
};
use config::network::HttpProtocol;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use super::*;

const HOST: &str = "mine.example.org";
const ADDRESS: &str = "http://hello.ns.svc.cluster.local";

/// What there is besides the mapping.
#[derive(Clone)]
struct Around {
    /// The namespace that the host is claimed for.
    claim: Option<&'static str>,
    /// The address of the Knative Service `hello`, which is there.
    address: Option<&'static str>,
    certificate: Option<Certificate>,
    ingress: Option<Ingress>,
    config: Config,
}

impl Default for Around {
    fn default() -> Self {
        let config = Config::default();
        let (claim, address) = (Some("ns"), Some(ADDRESS));
        Around { claim, address, certificate: None, ingress: None, config }
    }
}

fn moment() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

/// The mapping of `HOST` to the Knative Service `hello`, with `over` put over it.
fn mapping(over: Value) -> DomainMapping {
    let mut object = json!({
        "metadata": {"name": HOST, "namespace": "ns", "uid": "u1", "generation": 1,
            "resourceVersion": "5", "finalizers": [FINALIZER]},
        "spec": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}},
    });
    merge(&mut object, over);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, over: Value) {
    match over {
        Value::Object(over) if into.is_object() => {
            for (key, value) in over {
                merge(&mut into[key], value);
            }
        }
        other => *into = other,
    }
}

fn planned(mapping: &DomainMapping, around: &Around) -> Plan {
    let claim = around.claim.map(|namespace| ClusterDomainClaim {
        metadata: ObjectMeta { name: Some(HOST.to_owned()), ..ObjectMeta::default() },
        spec: ClusterDomainClaimSpec { namespace: namespace.to_owned() },
    });
    let is_hello = |namespace: &str, name: &str| (namespace, name) == ("ns", "hello");
    let lookup = Lookup {
        service: &|namespace, name| {
            let mut service = Service::default();
            let address = around.address.map(|url| Address { url: Some(url.to_owned()) });
            service.status.get_or_insert_default().address = address;
            is_hello(namespace, name).then(|| Arc::new(service))
        },
        route: &|namespace, name| {
            let mut route = Route::default();
            let address = around.address.map(|url| Address { url: Some(url.to_owned()) });
            route.status.get_or_insert_default().address = address;
            is_hello(namespace, name).then(|| Arc::new(route))
        },
        plain: &|namespace, name| {
            is_hello(namespace, name).then(|| Arc::new(core::Service::default()))
        },
    };
    let (certificate, ingress) = (around.certificate.as_ref(), around.ingress.as_ref());
    let seen = Seen { claim: claim.as_ref(), lookup, certificate, ingress };
    plan(mapping, seen, &around.config, moment())
}

/// The status after the first plan, which is written as a whole.
fn status(plan: &Plan) -> DomainMappingStatus {
    let written: Value = serde_json::from_str(&plan.status.as_ref().unwrap().body).unwrap();
    serde_json::from_value(written["status"].clone()).unwrap()
}

/// The Ingress that the plan makes.
fn made(plan: &Plan) -> Ingress {
    let write = plan.writes.iter().find(|it| it.kind == "Ingress").unwrap();
    serde_json::from_str(&write.body).unwrap()
}

fn writes(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(|it| format!("{:?} {}", it.verb, it.kind)).collect()
}

/// `True`, or the word and the reason.
fn said(status: &DomainMappingStatus, type_: &str) -> String {
    let it = condition::find(&status.conditions, type_).unwrap();
    format!("{} {}", it.status, it.reason()).trim_end().to_owned()
}

#[test]
fn a_host_has_to_be_claimed_first() {
    let not_own = format!("namespace \"ns\" does not own ClusterDomainClaim for \"{HOST}\"");
    let none = format!(
        "no ClusterDomainClaim found for domain \"{HOST}\" (and autocreate-cluster-domain-claims \
         property is not true)"
    );
    let taken = "False DomainAlreadyClaimed";
    for (autocreate, claim, made, says, error) in [
        (false, Some("ns"), Some("Create Ingress"), "True", None),
        (true, Some("ns"), Some("Create Ingress"), "True", None),
        (false, Some("other"), None, taken, Some(&not_own)),
        (true, Some("other"), None, taken, Some(&not_own)),
        (false, None, None, taken, Some(&none)),
        (true, None, Some("Create ClusterDomainClaim"), "Unknown", None),
    ] {
        let mut around = Around { claim, ..Around::default() };
        around.config.network.autocreate_cluster_domain_claims = autocreate;
        let plan = planned(&mapping(json!({})), &around);
        let made: Vec<String> = made.into_iter().map(str::to_owned).collect();
        assert_eq!(writes(&plan), made, "{autocreate} {claim:?}");
        let status = status(&plan);
        assert_eq!(said(&status, DOMAIN_CLAIMED), says, "{autocreate} {claim:?}");
        assert_eq!(plan.error.as_ref(), error, "{autocreate} {claim:?}");
        assert_eq!(status.observed_generation, Some(1));
        assert_eq!(status.url.as_deref(), Some("http://mine.example.org"));
        assert_eq!(status.address.unwrap().url, status.url);
        if claim.is_none() && autocreate {
            let claim: Value = serde_json::from_str(&plan.writes[0].body).unwrap();
            assert_eq!(claim["metadata"], json!({"name": HOST}));
            assert_eq!(claim["spec"], json!({"namespace": "ns"}));
        }
    }
}

#[test]
fn who_loses_the_host_stops_to_take_its_requests() {
    let mapping = mapping(json!({}));
    let mut around = Around::default();
    let ingress = made(&planned(&mapping, &around));
    around.ingress = Some(ingress.clone());
    around.claim = Some("other");
    assert_eq!(writes(&planned(&mapping, &around)), ["Delete Ingress"]);
    // A claim that is not there is nobody's: its requests go nowhere else.
    around.claim = None;
    assert_eq!(writes(&planned(&mapping, &around)), [""; 0]);
    let mut others = ingress;
    others.metadata.owner_references.as_mut().unwrap()[0].uid = "u2".to_owned();
    around.ingress = Some(others);
    around.claim = Some("other");
    assert_eq!(writes(&planned(&mapping, &around)), [""; 0]);
}

#[test]
fn a_mapping_that_ends_gives_back_what_was_made_for_it() {
    let ended = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    for (autocreate, claim, done) in [
        (true, Some("ns"), &["Delete ClusterDomainClaim", "Merge DomainMapping"][..]),
        (true, Some("other"), &["Merge DomainMapping"]),
        (true, None, &["Merge DomainMapping"]),
        (false, Some("ns"), &["Merge DomainMapping"]),
    ] {
        let mut around = Around { claim, ..Around::default() };
        around.config.network.autocreate_cluster_domain_claims = autocreate;
        let plan = planned(&mapping(ended.clone()), &around);
        assert_eq!(writes(&plan), done, "{autocreate} {claim:?}");
        let last = plan.writes.last().unwrap();
        let patch = json!({"metadata": {"finalizers": [], "resourceVersion": "5"}});
        assert_eq!(serde_json::from_str::<Value>(&last.body).unwrap(), patch);
        assert!(plan.status.is_none());
    }
    let mut released = mapping(ended);
    released.metadata.finalizers = Some(vec!["another".to_owned()]);
    assert!(planned(&released, &Around::default()).is_settled());
}

#[test]
fn holds_on_before_anything_else() {
    let mut new = mapping(json!({}));
    new.metadata.finalizers = Some(vec!["another".to_owned()]);
    let plan = planned(&new, &Around::default());
    assert_eq!(writes(&plan), ["Merge DomainMapping", "Create Ingress"]);
    let patch = json!({"metadata": {"finalizers": ["another", FINALIZER], "resourceVersion": "5"}});
    assert_eq!(serde_json::from_str::<Value>(&plan.writes[0].body).unwrap(), patch);
    let event = plan.writes[0].event.as_ref().unwrap();
    assert_eq!(
        (event.reason, event.message.as_str()),
        ("FinalizerUpdate", "Updated \"mine.example.org\" finalizers")
    );
}

#[test]
fn leads_to_a_service_of_its_namespace_and_to_nothing_else() {
    let check = |reference: Value, address: Option<&'static str>, expected: Result<&str, &str>| {
        let mapping = mapping(json!({"spec": {"ref": reference}}));
        let plan = planned(&mapping, &Around { address, ..Around::default() });
        let status = status(&plan);
        match expected {
            Ok(service) => {
                assert_eq!(said(&status, REFERENCE_RESOLVED), "True");
                assert_eq!(plan.error, None);
                let rules = made(&plan).spec.rules;
                let path = &rules[0].http.as_ref().unwrap().paths[0];
                assert_eq!(path.splits[0].service_name, service);
                let host = format!("{service}.ns.svc.cluster.local");
                assert_eq!(path.rewrite_host.as_ref(), Some(&host));
            }
            Err(error) => {
                assert_eq!(plan.error.as_deref(), Some(error));
                let message = error.strip_prefix("resolving reference: ").unwrap_or(error);
                for type_ in [REFERENCE_RESOLVED, condition::READY] {
                    assert_eq!(said(&status, type_), "False ResolveFailed");
                    let found = condition::find(&status.conditions, type_).unwrap();
                    assert_eq!(found.message(), message);
                }
                assert_eq!(said(&status, INGRESS_READY), "Unknown IngressNotConfigured");
                assert_eq!(writes(&plan), [""; 0]);
            }
        }
    };
    let named = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "name": name});
    let service = || json!({});
    check(service(), Some(ADDRESS), Ok("hello"));
    check(service(), Some("https://hello.ns.svc.cluster.local/"), Ok("hello"));
    check(service(), Some("http://its-route.ns.svc.cluster.local"), Ok("its-route"));
    check(named("serving.knative.dev/v1", "Route", "hello"), Some(ADDRESS), Ok("hello"));
    check(named("v1", "Service", "hello"), None, Ok("hello"));
    for (version, kind, resource) in [
        ("serving.knative.dev/v1", "Service", "services.serving.knative.dev"),
        ("serving.knative.dev/v1", "Route", "routes.serving.knative.dev"),
        ("v1", "Service", "services"),
    ] {
        let why = format!(
            "resolving reference: failed to get object ns/nope: {resource} \"nope\" not found"
        );
        check(named(version, kind, "nope"), None, Err(&why));
    }
    check(
        json!({"namespace": "ns"}),
        None,
        Err(
            "resolving reference: address not set for Kind = Service, Namespace = ns, Name = hello, \
             APIVersion = serving.knative.dev/v1, Group = , Address = ",
        ),
    );
    check(
        json!({"address": "web"}),
        Some(ADDRESS),
        Err(
            "resolving reference: address with name \"web\" not found for Kind = Service, Namespace = \
             ns, Name = hello, APIVersion = serving.knative.dev/v1, Group = , Address = web",
        ),
    );
    check(
        service(),
        Some("http://"),
        Err(
            "resolving reference: hostname missing in address of Kind = Service, Namespace = ns, Name \
             = hello, APIVersion = serving.knative.dev/v1, Group = , Address = ",
        ),
    );
    check(
        named("messaging.knative.dev/v1", "Channel", "hello"),
        None,
        Err(
            "resolving reference: failed to get lister for Channel of messaging.knative.dev/v1: a \
             domain leads to a Service or a Route of serving.knative.dev/v1, or to a Service of v1",
        ),
    );
    check(
        service(),
        Some("http://hello.ns.svc.cluster.local/path"),
        Err("resolved URI \"http://hello.ns.svc.cluster.local/path\" contains a path"),
    );
    for url in [
        "http://hello.ns.example.com",
        "http://hello.svc.cluster.local",
        "http://notsvc.cluster.local",
        "http://hello.ns.svc.cluster.local:8080",
    ] {
        let why = format!(
            "resolved URI \"{url}\" must be of the form {{name}}.{{namespace}}.svc.cluster.local"
        );
        check(service(), Some(url), Err(&why));
    }
    check(
        service(),
        Some("http://hello.other.svc.cluster.local"),
        Err("resolved URI \"http://hello.other.svc.cluster.local\" must be in same namespace as \
             DomainMapping"),
    );
}

#[test]
fn the_ingress_gives_its_host_another_name() {
    let over = json!({"metadata": {
        "labels": {"team": "red"},
        "annotations": {"mine": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}}});
    let found = made(&planned(&mapping(over), &Around::default()));
    let expected = json!({
        "apiVersion": "networking.internal.knative.dev/v1alpha1",
        "kind": "Ingress",
        "metadata": {
            "name": HOST,
            "namespace": "ns",
            "labels": {"team": "red", "serving.knative.dev/domainMappingUID": "u1",
                "serving.knative.dev/domainMappingNamespace": "ns"},
            "annotations": {"mine": "1",
                "networking.knative.dev/ingress.class": "weft.ingress.networking.knative.dev"},
            "ownerReferences": [{"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
                "name": HOST, "uid": "u1", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "httpOption": "Enabled",
            "rules": [{"hosts": [HOST], "visibility": "ExternalIP", "http": {"paths": [{
                "rewriteHost": "hello.ns.svc.cluster.local",
                "splits": [{"percent": 100, "serviceName": "hello", "serviceNamespace": "ns",
                    "servicePort": 80, "appendHeaders": {"K-Original-Host": HOST}}]}]}}],
        },
    });
    assert_eq!(serde_json::to_value(&found).unwrap(), expected);

    let long = format!("{}.example.org", "a".repeat(60));
    let found = made(&planned(
        &mapping(json!({"metadata": {"name": long}})),
        &Around { claim: Some("ns"), ..Around::default() },
    ));
    assert_eq!(found.metadata.name.unwrap().len(), 63);
    assert_eq!(found.spec.rules[0].hosts, [long]);
}

#[test]
fn class_and_plain_http_follow_annotations_and_then_the_configuration() {
    let twin = json!({"networking.knative.dev/ingress-class": "theirs"});
    let own = json!({"networking.knative.dev/ingress.class": "theirs"});
    for (annotations, class) in
        [(json!({}), "weft.ingress.networking.knative.dev"), (own, "theirs"), (twin, "theirs")]
    {
        let over = json!({"metadata": {"annotations": annotations}});
        let found = made(&planned(&mapping(over), &Around::default()));
        let found = found.metadata.annotations.unwrap();
        assert_eq!(found["networking.knative.dev/ingress.class"], class);
        assert!(!found.contains_key("networking.knative.dev/ingress-class"));
    }
    let key = "networking.knative.dev/http-protocol";
    for (annotation, configured, option) in [
        (None, HttpProtocol::Enabled, Ok(Some("Enabled"))),
        (None, HttpProtocol::Redirected, Ok(Some("Redirected"))),
        (None, HttpProtocol::Disabled, Ok(None)),
        (Some("Enabled"), HttpProtocol::Redirected, Ok(Some("Enabled"))),
        (Some("redirected"), HttpProtocol::Enabled, Ok(Some("Redirected"))),
        (Some("Off"), HttpProtocol::Enabled, Err("incorrect http-protocol annotation: off")),
    ] {
        let mut around = Around::default();
        around.config.network.http_protocol = configured;
        let annotations = annotation.map_or(json!({}), |it| json!({ key: it }));
        let plan = planned(&mapping(json!({"metadata": {"annotations": annotations}})), &around);
        match option {
            Ok(option) => assert_eq!(made(&plan).spec.http_option.as_deref(), option),
            Err(why) => assert_eq!(plan.error.as_deref(), Some(why)),
        }
    }
}

#[test]
fn a_certificate_of_ones_own_makes_it_https() {
    let mut around = Around::default();
    around.config.network.external_port = Some(8080);
    let plan = planned(&mapping(json!({})), &around);
    assert_eq!(status(&plan).url.as_deref(), Some("http://mine.example.org:8080"));
    assert_eq!(said(&status(&plan), CERTIFICATE_PROVISIONED), "True TLSNotEnabled");

    let plan = planned(&mapping(json!({"spec": {"tls": {"secretName": "cert"}}})), &around);
    let status = status(&plan);
    assert_eq!(status.url.as_deref(), Some("https://mine.example.org"));
    assert_eq!(status.address.as_ref().unwrap().url, status.url);
    assert_eq!(said(&status, CERTIFICATE_PROVISIONED), "True CertificateExternallyProvided");
    let tls = serde_json::to_value(made(&plan).spec.tls).unwrap();
    let expected = json!([{"hosts": [HOST], "secretName": "cert", "secretNamespace": "ns"}]);
    assert_eq!(tls, expected);
}

#[test]
fn is_ready_when_its_ingress_is_and_then_left_alone() {
    let mut around = Around::default();
    let first = planned(&mapping(json!({})), &around);
    let mut served = made(&first);
    served.metadata.generation = Some(1);
    served.metadata.resource_version = Some("7".to_owned());
    let waiting = "Unknown IngressNotConfigured";
    assert_eq!(said(&status(&first), condition::READY), waiting);
    for (ingress, says) in [
        (
            json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}),
            "True",
        ),
        (
            json!({"observedGeneration": 0, "conditions": [{"type": "Ready", "status": "True"}]}),
            waiting,
        ),
        (json!({"observedGeneration": 1}), waiting),
        (
            json!({"observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "False", "reason": "Broke"}]}),
            "False Broke",
        ),
        (
            json!({"observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "Unknown", "reason": "Waits"}]}),
            "Unknown Waits",
        ),
    ] {
        served.status = Some(serde_json::from_value(ingress).unwrap());
        around.ingress = Some(served.clone());
        let plan = planned(&mapping(json!({})), &around);
        assert_eq!(writes(&plan), [""; 0]);
        let status = status(&plan);
        assert_eq!(said(&status, INGRESS_READY), says);
        assert_eq!(said(&status, condition::READY), says);

        let mut settled = mapping(json!({}));
        settled.status = Some(status);
        assert!(planned(&settled, &around).is_settled());
        // Another target: the old one is no longer what is wished for.
        settled.metadata.generation = Some(2);
        settled.metadata.labels = Some([("team".to_owned(), "red".to_owned())].into());
        settled.spec.tls = Some(api::serving::SecretTls { secret_name: "cert".to_owned() });
        let plan = planned(&settled, &around);
        assert_eq!(writes(&plan), ["Replace Ingress"]);
        let body = plan.status.unwrap().body;
        assert!(body.contains("IngressNotConfigured") || says == waiting, "{body}");
        assert!(body.contains("\"observedGeneration\":2"), "{body}");
    }
}

/// With certificates for hosts, and `certificate` for this one.
fn with_tls(http_protocol: HttpProtocol, certificate: Option<Certificate>) -> Around {
    let mut around = Around { certificate, ..Around::default() };
    around.config.network.external_domain_tls = true;
    around.config.network.http_protocol = http_protocol;
    around
}

/// The Certificate that is made first.
fn ordered() -> Certificate {
    let plan = planned(&mapping(json!({})), &with_tls(HttpProtocol::Enabled, None));
    assert_eq!(writes(&plan), ["Create Certificate"]);
    let event = plan.writes[0].event.as_ref().unwrap();
    assert_eq!(event.message, "Created Certificate ns/mine.example.org");
    let mut made: Certificate = serde_json::from_str(&plan.writes[0].body).unwrap();
    made.metadata.generation = Some(1);
    made.metadata.resource_version = Some("9".to_owned());
    made
}

#[test]
fn orders_a_certificate_where_hosts_have_them() {
    let made = ordered();
    let labels = serde_json::to_value(&made.metadata.labels).unwrap();
    let expected = json!({"serving.knative.dev/domainMappingUID": HOST,
        "networking.knative.dev/certificate-type": "external-domain"});
    assert_eq!(labels, expected);
    let class = "cert-manager.certificate.networking.knative.dev";
    let annotations = json!({"networking.knative.dev/certificate.class": class});
    assert_eq!(serde_json::to_value(&made.metadata.annotations).unwrap(), annotations);
    let spec = json!({"dnsNames": [HOST], "domain": HOST, "secretName": HOST});
    assert_eq!(serde_json::to_value(&made.spec).unwrap(), spec);

    let around = with_tls(HttpProtocol::Enabled, None);
    for (key, value, refuses) in [
        ("networking.knative.dev/disableAutoTLS", "true", true),
        ("networking.knative.dev/disable-external-domain-tls", "T", true),
        ("networking.knative.dev/disable-external-domain-tls", "false", false),
        ("networking.knative.dev/disable-auto-tls", "maybe", false),
    ] {
        let over = json!({"metadata": {"annotations": { key: value }}});
        let plan = planned(&mapping(over), &around);
        let makes = if refuses { "Create Ingress" } else { "Create Certificate" };
        assert_eq!(writes(&plan), [makes], "{key}={value}");
    }

    // The API may refuse it.
    let plan = planned(&mapping(json!({})), &around);
    let write = (plan.status_after_failure.unwrap())("no").unwrap();
    let message = "Certificate mine.example.org failed to be provisioned.";
    assert!(write.body.contains("CertificateProvisionFailed"), "{}", write.body);
    assert!(write.body.contains(message), "{}", write.body);

    let mut others = ordered();
    others.metadata.owner_references = None;
    let plan = planned(&mapping(json!({})), &with_tls(HttpProtocol::Enabled, Some(others)));
    assert_eq!(said(&status(&plan), CERTIFICATE_PROVISIONED), "False CertificateNotOwned");
    let why = "notowned: owner: mine.example.org with Type *v1beta1.DomainMapping does not own \
               Certificate: \"mine.example.org\"";
    assert_eq!(plan.error.as_deref(), Some(why));
    assert_eq!(writes(&plan), [""; 0]);
}

#[test]
fn is_secure_when_its_certificate_is_there() {
    let ready =
        json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]});
    let stale =
        json!({"observedGeneration": 0, "conditions": [{"type": "Ready", "status": "True"}]});
    let (open, shut) = (HttpProtocol::Enabled, HttpProtocol::Redirected);
    let (downgrade, not_ready) = ("True HTTPDowngrade", "Unknown CertificateNotReady");
    for (protocol, found, says, scheme, is_secure) in [
        (open, &ready, "True", "https", true),
        (shut, &ready, "True", "https", true),
        (open, &stale, downgrade, "http", false),
        (shut, &stale, not_ready, "https", false),
        (open, &json!({}), downgrade, "http", false),
        (shut, &json!({}), not_ready, "https", false),
    ] {
        let mut certificate = ordered();
        certificate.status = Some(serde_json::from_value(found.clone()).unwrap());
        let plan = planned(&mapping(json!({})), &with_tls(protocol, Some(certificate)));
        let status = status(&plan);
        assert_eq!(said(&status, CERTIFICATE_PROVISIONED), says);
        assert_eq!(status.url, Some(format!("{scheme}://{HOST}")));
        let tls = serde_json::to_value(made(&plan).spec.tls).unwrap();
        let own = json!([{"hosts": [HOST], "secretName": HOST, "secretNamespace": "ns"}]);
        assert_eq!(tls, if is_secure { own } else { json!([]) }, "{protocol:?} {found}");
    }
    let mut changed = ordered();
    changed.spec.dns_names.clear();
    let plan = planned(&mapping(json!({})), &with_tls(open, Some(changed)));
    assert_eq!(writes(&plan), ["Replace Certificate", "Create Ingress"]);
}

#[test]
fn answers_the_challenges_of_its_certificate() {
    let mut certificate = ordered();
    let challenge = |host: &str, path: &str| {
        json!({"url": format!("http://{host}/.well-known/acme-challenge/{path}"),
            "serviceName": "solver", "serviceNamespace": "certs", "servicePort": 8090})
    };
    let challenges =
        json!([challenge(HOST, "two"), challenge("example.org", "short"), challenge(HOST, "one")]);
    let status = json!({ "http01Challenges": challenges });
    certificate.status = Some(serde_json::from_value(status).unwrap());
    let around = with_tls(HttpProtocol::Enabled, Some(certificate));
    let rules = made(&planned(&mapping(json!({})), &around)).spec.rules;
    let mut described = Vec::new();
    for rule in &rules {
        for path in &rule.http.as_ref().unwrap().paths {
            let place = format!("{}{}", rule.hosts[0], path.path.as_deref().unwrap_or_default());
            described.push((place, path.splits[0].service_name.as_str()));
        }
    }
    let expected = [
        ("mine.example.org/.well-known/acme-challenge/two", "solver"),
        ("mine.example.org/.well-known/acme-challenge/one", "solver"),
        ("mine.example.org", "hello"),
        ("example.org/.well-known/acme-challenge/short", "solver"),
    ];
    let expected = expected.map(|(place, service)| (place.to_owned(), service));
    assert_eq!(described, expected);
}
