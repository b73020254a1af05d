//! The issuer before an API that a test plays, and what it issues before clients.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use proxy::{
    body::Body,
    drain,
    fetch::{Trust, fetch},
    serve, tls,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

fn at(days: i64) -> Timestamp {
    // 2026, so that clients which ask the machine's clock find it good.
    Timestamp::from_second(1_790_000_000 + days * 86_400).unwrap()
}

fn wanted(hosts: &[&str]) -> Certificate {
    let object = json!({
        "apiVersion": "networking.internal.knative.dev/v1alpha1",
        "kind": "Certificate",
        "metadata": {"name": "cert", "namespace": "ns", "uid": "u1", "generation": 1},
        "spec": {"dnsNames": hosts, "secretName": "secret"},
    });
    serde_json::from_value(object).unwrap()
}

/// What there is, as plans change it.
#[derive(Default)]
struct World {
    named: Option<&'static str>,
    authority: Option<Secret>,
    bundle: Option<ConfigMap>,
    events: Vec<String>,
    secret: Option<Secret>,
    made: Option<Pair>,
    issued: Option<Issued>,
    status: CertificateStatus,
    again: Option<Duration>,
    writes: Vec<String>,
}

impl World {
    /// Carries out plans until nothing is left to do.
    fn settle(&mut self, certificate: &Certificate, now: Timestamp) {
        self.writes.clear();
        for _ in 0..10 {
            let mut certificate = certificate.clone();
            certificate.status = Some(self.status.clone());
            let seen = Seen {
                named: self.named,
                authority: self.authority.as_ref(),
                bundle: self.bundle.as_ref(),
                secret: self.secret.as_ref(),
                made: self.made.as_ref(),
                issued: self.issued.as_ref(),
                system_namespace: "system",
            };
            let plan = plan(&certificate, seen, now);
            self.events.extend(plan.events.iter().map(|it| it.reason.to_owned()));
            if plan.is_settled() {
                self.again = plan.again;
                return;
            }
            for write in &plan.writes {
                self.writes.push(format!("{:?} {}", write.verb, write.key));
                if write.kind == "ConfigMap" {
                    let mut bundle: ConfigMap = serde_json::from_str(&write.body).unwrap();
                    bundle.metadata.resource_version = Some("1".to_owned());
                    self.bundle = Some(bundle);
                    continue;
                }
                let mut secret: Secret = serde_json::from_str(&write.body).unwrap();
                secret.metadata.resource_version = Some("1".to_owned());
                match &*write.key.namespace {
                    "system" => self.authority = Some(secret),
                    _ => self.secret = Some(secret),
                }
            }
            if let Some(status) = &plan.status {
                let patch: serde_json::Value = serde_json::from_str(&status.body).unwrap();
                let mut value = serde_json::to_value(&self.status).unwrap();
                for (key, field) in patch["status"].as_object().unwrap() {
                    value[key] = field.clone();
                }
                self.status = serde_json::from_value(value).unwrap();
            }
            for need in plan.need {
                match need {
                    Need::Authority => self.made = Some(authority::authority(now).unwrap()),
                    Need::Leaf { hosts, authority, .. } => {
                        self.issued = Some(issue(hosts, authority, now));
                    }
                }
            }
        }
        panic!("it does not settle: {:?}", self.writes);
    }

    fn says(&self) -> (String, String) {
        let ready = api::condition::find(&self.status.conditions, READY).unwrap();
        (ready.status.clone(), ready.reason().to_owned())
    }

    /// How many authorities are to be trusted, and whether the one of the certificate is.
    fn trusted(&self) -> (usize, bool) {
        let text = &self.bundle.as_ref().unwrap().data.as_ref().unwrap()[CA];
        let own = String::from_utf8(self.part(CA)).unwrap();
        (text.matches("BEGIN CERTIFICATE").count(), text.contains(own.trim()))
    }

    fn part(&self, key: &str) -> Vec<u8> {
        self.secret.as_ref().unwrap().data.as_ref().unwrap()[key].0.clone()
    }
}

fn said(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_certificate_is_issued_and_renewed_before_it_ends() {
    let (mut world, certificate) = (World::default(), wanted(&["a.example.com"]));
    world.settle(&certificate, at(0));
    let expected = [
        "Create system/knative-selfsigned-ca",
        "Create system/knative-ca-bundle",
        "Create ns/secret",
    ];
    assert_eq!(world.writes, expected);
    assert_eq!((world.says(), world.trusted()), (said("True", ""), (1, true)));
    let labels = &world.bundle.as_ref().unwrap().metadata.labels;
    assert_eq!(metadata::get(labels, "networking.knative.dev/trust-bundle"), "true");
    assert_eq!(world.status.not_after, Some(Time(at(90))));
    assert_eq!(world.again, Some(Duration::from_secs(60 * 86_400)));
    let meta = &world.secret.as_ref().unwrap().metadata;
    assert_eq!(metadata::get(&meta.labels, CERTIFICATE_UID), "u1");

    let first = world.part(CHAIN);
    world.settle(&certificate, at(59));
    assert_eq!((world.writes.len(), world.part(CHAIN)), (0, first.clone()));
    world.settle(&certificate, at(60));
    assert_eq!(world.writes, ["Replace ns/secret"]);
    assert_ne!(world.part(CHAIN), first);
    assert_eq!(world.status.not_after, Some(Time(at(150))));
    assert_eq!(world.says(), said("True", ""));
}

#[test]
fn other_hosts_and_another_authority_lead_to_another_certificate() {
    let mut world = World::default();
    world.settle(&wanted(&["a.example.com"]), at(0));
    let first = world.part(CHAIN);
    world.settle(&wanted(&["b.example.com", "*.c.example.com"]), at(0));
    assert_eq!(world.writes, ["Replace ns/secret"]);
    let (second, authority) = (world.part(CHAIN), world.part(CA));
    assert_ne!(first, second);

    (world.authority, world.made) = (None, None);
    let again = wanted(&["b.example.com", "*.c.example.com"]);
    let seen = Seen {
        named: None,
        authority: None,
        bundle: world.bundle.as_ref(),
        secret: world.secret.as_ref(),
        made: None,
        issued: None,
        system_namespace: "system",
    };
    let mut settled = again.clone();
    settled.status = Some(world.status.clone());
    assert!(plan(&settled, seen, at(1)).status.is_none(), "the old one is shown meanwhile");
    world.settle(&again, at(1));
    let expected = [
        "Create system/knative-selfsigned-ca",
        "Replace system/knative-ca-bundle",
        "Replace ns/secret",
    ];
    assert_eq!(world.writes, expected);
    assert_ne!(world.part(CA), authority);
    // Who shows the old one still is believed still, until that has ended.
    assert_eq!(world.trusted(), (2, true));
    // The platform's own is another one before it ends.
    world.made = None;
    world.settle(&again, at(3_500));
    assert!(!world.writes.contains(&"Replace system/knative-selfsigned-ca".to_owned()));
    world.settle(&again, at(3_562));
    let expected = [
        "Replace system/knative-selfsigned-ca",
        "Replace system/knative-ca-bundle",
        "Replace ns/secret",
    ];
    assert_eq!(
        (world.writes.clone(), world.trusted()),
        (expected.map(str::to_owned).to_vec(), (3, true))
    );
    world.made = None;
    world.settle(&again, at(9_000));
    assert_eq!(
        (world.writes.clone(), world.trusted()),
        (expected.map(str::to_owned).to_vec(), (1, true))
    );
}

/// A Secret with an authority: its certificate, its key and, if it is not the one to trust, that.
fn secret_of(pair: &Pair, trusted: Option<&str>) -> Secret {
    let data = [(CHAIN, Some(&*pair.chain)), (KEY, Some(&*pair.key)), (CA, trusted)];
    let data = data
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), ByteString(text?.as_bytes().to_vec()))));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

/// An authority as operators make one, for which another may vouch.
fn operators(ca: rcgen::IsCa, by: Option<&Pair>, days: std::ops::Range<i64>) -> Pair {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Ours");
    params.is_ca = ca;
    let moment = |day| {
        let since = Duration::from_secs(u64::try_from(at(day).as_second()).unwrap());
        rcgen::date_time_ymd(1970, 1, 1) + since
    };
    (params.not_before, params.not_after) = (moment(days.start), moment(days.end));
    let key = rcgen::KeyPair::generate().unwrap();
    let made = match by {
        None => params.self_signed(&key),
        Some(by) => {
            let signer = rcgen::KeyPair::from_pem(&by.key).unwrap();
            let issuer = rcgen::Issuer::from_ca_cert_pem(&by.chain, signer).unwrap();
            params.signed_by(&key, &issuer)
        }
    };
    Pair { chain: made.unwrap().pem(), key: key.serialize_pem() }
}

const VOUCHES: rcgen::IsCa = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);

#[test]
fn an_authority_of_the_operator_vouches_and_a_bad_one_changes_nothing() {
    let certificate = wanted(&["a.example.com"]);
    let mut world = World::default();
    world.settle(&certificate, at(0));
    let own = operators(VOUCHES, None, -1..4000);
    (world.named, world.authority) = (Some("mine"), Some(secret_of(&own, None)));
    world.settle(&certificate, at(0));
    assert_eq!(world.writes, ["Replace system/knative-ca-bundle", "Replace ns/secret"]);
    assert_eq!((world.says(), world.trusted()), (said("True", ""), (2, true)));
    assert_eq!(world.part(CA), own.chain.as_bytes());

    let kept = world.part(CHAIN);
    let other = operators(VOUCHES, None, -1..4000);
    let mixed = Pair { chain: own.chain.clone(), key: other.key.clone() };
    let cut = Pair { chain: own.chain[..99].to_owned(), key: own.key.clone() };
    let keyless = Pair { key: String::new(), ..own.clone() };
    for (found, why) in [
        (None, "there is none of the type kubernetes.io/tls"),
        (Some(secret_of(&mixed, None)), "its key does not belong to its certificate"),
        (Some(secret_of(&cut, None)), "its certificate cannot be read"),
        (Some(secret_of(&keyless, None)), "its key cannot be read"),
        (
            Some(secret_of(&operators(rcgen::IsCa::NoCa, None, -1..4000), None)),
            "its certificate is not one of an authority",
        ),
        (Some(secret_of(&operators(VOUCHES, None, -9..-1), None)), "its certificate is good from"),
        (Some(secret_of(&operators(VOUCHES, None, 1..9), None)), "its certificate is good from"),
    ] {
        (world.authority, world.events) = (found, Vec::new());
        world.settle(&certificate, at(0));
        assert_eq!(world.says(), said("True", "AuthorityUnusable"), "{why}");
        let ready = api::condition::find(&world.status.conditions, READY).unwrap();
        let expected = format!("The authority in Secret system/mine cannot be used: {why}");
        assert!(ready.message().starts_with(&expected), "{}", ready.message());
        assert_eq!(world.events, ["AuthorityUnusable"], "it is told once");
        assert_eq!((world.writes.len(), world.part(CHAIN)), (0, kept.clone()));
        world.settle(&certificate, at(0));
        assert_eq!(world.events.len(), 1);
    }
    // Until it ends.
    world.settle(&certificate, at(90));
    assert_eq!(world.says(), said("False", "AuthorityUnusable"));
    world.authority = Some(secret_of(&other, None));
    world.settle(&certificate, at(90));
    assert_eq!((world.says(), world.part(CA)), (said("True", ""), other.chain.into_bytes()));
}

#[test]
fn each_sort_of_certificates_may_have_an_authority_of_its_own() {
    let mut config = Config::default();
    for (key, type_) in [
        ("clusterLocalIssuerRef", "cluster-local-domain"),
        ("systemInternalIssuerRef", "system-internal"),
        ("issuerRef", "external-domain"),
        ("issuerRef", ""),
    ] {
        let data = BTreeMap::from([(key.to_owned(), "{kind: Secret, name: mine}".to_owned())]);
        config.certmanager = ::config::certmanager::CertManager::parse(&data).unwrap();
        for other in ["cluster-local-domain", "system-internal", "external-domain", ""] {
            let mut certificate = wanted(&["a.example.com"]);
            let labels = certificate.metadata.labels.get_or_insert_default();
            labels.insert(CERTIFICATE_TYPE.to_owned(), other.to_owned());
            let is_external = |it: &str| !it.contains('l') || it == "external-domain";
            let is_same = other == type_ || is_external(other) && is_external(type_);
            assert_eq!(named(&certificate, &config), is_same.then_some("mine"), "{key} {other}");
        }
    }
}

#[test]
fn what_keeps_a_certificate_from_being_issued_is_told() {
    let mut world = World::default();
    world.settle(&wanted(&["bücher.example.com"]), at(0));
    assert_eq!(world.says(), said("False", "IssuingFailed"));
    assert!(world.secret.is_none());
    world.settle(&wanted(&["a.example.com"]), at(0));
    assert_eq!(world.says(), said("True", ""));

    let data = world.authority.as_mut().unwrap().data.as_mut().unwrap();
    data.insert(KEY.to_owned(), ByteString(b"no key".to_vec()));
    world.settle(&wanted(&["a.example.com"]), at(0));
    assert_eq!(world.says(), said("True", "AuthorityUnusable"));
    world.settle(&wanted(&["b.example.com"]), at(0));
    assert_eq!(world.says(), said("False", "AuthorityUnusable"));

    let mut others = World::default();
    others.settle(&wanted(&["a.example.com"]), at(0));
    others.secret.as_mut().unwrap().metadata.owner_references = None;
    others.settle(&wanted(&["b.example.com"]), at(0));
    assert_eq!(others.says(), said("False", "NotOwned"));
    assert_eq!(others.writes, [""; 0]);
}

#[tokio::test]
async fn clients_that_trust_the_authority_trust_what_it_issues() {
    let now = Clock::start().now();
    let mut world = World::default();
    world.settle(&wanted(&["localhost"]), now);
    check_trust(&world).await;
    // Also where another authority vouches for the operator's.
    let root = operators(VOUCHES, None, -200..4000);
    let between = operators(VOUCHES, Some(&root), -200..4000);
    world.named = Some("mine");
    world.authority = Some(secret_of(&between, Some(&root.chain)));
    world.settle(&wanted(&["localhost"]), now);
    assert_eq!(world.part(CA), root.chain.as_bytes());
    check_trust(&world).await;
}

/// Serves with the certificate, to who trusts its authority.
async fn check_trust(world: &World) {
    let now = Clock::start().now();
    let certificate = tls::Certificate::read(&world.part(CHAIN), &world.part(KEY)).unwrap();
    let server = tls::Server::new(move |_| Some(certificate.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: SocketAddr = listener.local_addr().unwrap();
    let handler: serve::Handler =
        Arc::new(|_, _| Box::pin(async { Response::new(Body::full("hello")) }));
    let settings = serve::Settings { tls: Some(server), ..serve::Settings::default() };
    tokio::spawn(serve::serve(listener, handler, settings, drain::Count::default()));

    let ask = |host: &str| Request::get(format!("https://{host}:{}/", to.port()));
    let ca = world.part(CA);
    let trust = Trust::new([ca.as_slice()]);
    let answer = fetch(&trust, ask("localhost").body(Bytes::new()).unwrap(), 100).await.unwrap();
    assert_eq!(answer.body(), "hello");
    let other = authority::authority(now).unwrap();
    let mistrust = Trust::new([other.chain.as_bytes()]);
    fetch(&mistrust, ask("localhost").body(Bytes::new()).unwrap(), 100).await.unwrap_err();
}
