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
    authority: Option<Secret>,
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
                authority: self.authority.as_ref(),
                secret: self.secret.as_ref(),
                made: self.made.as_ref(),
                issued: self.issued.as_ref(),
                system_namespace: "system",
            };
            let plan = plan(&certificate, seen, now);
            if plan.is_settled() {
                self.again = plan.again;
                return;
            }
            for write in &plan.writes {
                self.writes.push(format!("{:?} {}", write.verb, write.key));
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
    assert_eq!(world.writes, ["Create system/knative-selfsigned-ca", "Create ns/secret"]);
    assert_eq!(world.says(), said("True", ""));
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
        authority: None,
        secret: world.secret.as_ref(),
        made: None,
        issued: None,
        system_namespace: "system",
    };
    let mut settled = again.clone();
    settled.status = Some(world.status.clone());
    assert!(plan(&settled, seen, at(1)).status.is_none(), "the old one is shown meanwhile");
    world.settle(&again, at(1));
    assert_eq!(world.writes, ["Create system/knative-selfsigned-ca", "Replace ns/secret"]);
    assert_ne!(world.part(CA), authority);
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
    let mut world = World::default();
    let now = Clock::start().now();
    world.settle(&wanted(&["localhost"]), now);
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
