//! The gateway before a backend that a test plays.

use std::net::IpAddr;

use http_body_util::BodyExt;
use proxy::hop::{Destination, SendError};
use runtime::clock::Clock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::peers::{Peers, Question};

/// Answers with what it was asked.
struct Mirror;

impl Backend for Mirror {
    fn send(&self, to: &Destination, request: Request<Body>) -> Reply {
        let place = format!("revision {}/{}", to.namespace, to.service);
        at_once(describe(place, &request))
    }
}

impl Upstream for Mirror {
    fn send(
        &self,
        to: SocketAddr,
        _: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let answer = if to.port() == 1 {
            let cause = std::io::ErrorKind::ConnectionRefused.into();
            Err(SendError::NotSent { request: Box::new(request), cause })
        } else {
            Ok(describe(format!("endpoint {to}"), &request))
        };
        Box::pin(std::future::ready(answer))
    }

    fn probe(&self, _: SocketAddr) -> Boxed<bool> {
        Box::pin(std::future::ready(true))
    }
}

fn describe(place: String, request: &Request<Body>) -> Response<Body> {
    let mut lines: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
        .collect();
    lines.sort();
    Response::new(Body::full(format!("{place} {}", lines.join(" "))))
}

/// A gateway in a cluster whose API has nothing: tests put objects into its caches.
async fn gateway() -> (Cluster, Arc<Gateway>) {
    let (cluster, gateway, _) = gateway_and_secrets().await;
    (cluster, gateway)
}

/// A gateway, and where the news of Secrets come from: a cache of some of them is filled by its watch.
async fn gateway_and_secrets() -> (Cluster, Arc<Gateway>, mpsc::UnboundedSender<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let api = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let receiver = receiver.clone();
        async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
                "metadata": {"resourceVersion": "1"}});
            let body = match is_watch {
                false => Body::full(list.to_string()),
                true if request.uri().path() == "/api/v1/secrets" => {
                    assert!(
                        request
                            .uri()
                            .to_string()
                            .contains("fieldSelector=type%3Dkubernetes.io%2Ftls")
                    );
                    let receiver: mpsc::UnboundedReceiver<Value> =
                        receiver.lock().take().expect("one watch");
                    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
                        let event: Value = receiver.recv().await?;
                        // Its parts come in the order in which a Kubernetes API sends them.
                        let (kind, object) = (&event["type"], &event["object"]);
                        let line = format!("{{\"type\":{kind},\"object\":{object}}}\n");
                        let frame = http_body::Frame::data(bytes::Bytes::from(line));
                        Some((Ok::<_, std::io::Error>(frame), receiver))
                    });
                    Body::new(http_body_util::StreamBody::new(lines))
                }
                true => std::future::pending().await,
            };
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        }
    });
    let client = kube::Client::new(api, "default");
    let cluster = Cluster::new(client, Clock::start(), CancellationToken::new());
    let gateway = Gateway::new(&cluster, Some(Arc::new(Mirror)), Arc::new(Mirror), None);
    gateway.synced().await;
    (cluster, gateway, sender)
}

fn put(cluster: &Cluster, version: u32, spec: Value) {
    let object = json!({
        "metadata": {"name": "i", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string(),
            "annotations": {"networking.knative.dev/ingress.class": api::keys::networking::WEFT_CLASS}},
        "spec": spec,
    });
    cluster.wrote(serde_json::from_value::<Ingress>(object).expect("an Ingress"));
}

fn revision(name: &str, percent: u32) -> Value {
    json!({"percent": percent, "serviceName": name, "servicePort": 80, "appendHeaders": {
        "Knative-Serving-Revision": name, "Knative-Serving-Namespace": "ns"}})
}

async fn ask(gateway: &Arc<Gateway>, door: Door, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("valid");
    let from = "10.9.8.7:65".parse().expect("an address");
    let response = gateway.handler(door)(request, from).await;
    let status = response.status().as_u16();
    let mut text = response
        .headers()
        .get(HASH)
        .map_or(String::new(), |hash| format!("hash={} ", hash.to_str().expect("text")));
    if let Some(location) = response.headers().get(header::LOCATION) {
        text.push_str(location.to_str().expect("text"));
    }
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    text.push_str(std::str::from_utf8(&body).expect("text"));
    (status, text)
}

const EXTERNAL: Door = Door::Plain { https: HTTPS };
const LOCAL: Door = Door::Inside;

#[tokio::test]
async fn sets_headers_and_trusts_none_of_the_clients() {
    let (cluster, gateway) = gateway().await;
    put(
        &cluster,
        2,
        json!({"rules": [
            {"hosts": ["a.example"], "http": {"paths": [
                {"appendHeaders": {"x-set": "gateway"}, "splits": [revision("r1", 100)]}]}},
            {"hosts": ["in.ns.svc.cluster.local"], "visibility": "ClusterLocal", "http": {"paths": [
                {"splits": [revision("r1", 100)]}]}},
        ]}),
    );
    let seen = "revision ns/r1 host=a.example:80 knative-serving-namespace=ns \
                knative-serving-revision=r1 x-forwarded-for=10.9.8.7 x-forwarded-proto=http x-set=gateway";
    let forged = [
        ("host", "a.example:80"),
        ("x-set", "client"),
        ("knative-serving-revision", "other"),
        ("k-proxy-request", "activator"),
        ("k-original-host", "b"),
    ];
    assert_eq!(ask(&gateway, EXTERNAL, &forged).await, (200, seen.to_owned()));
    let through =
        [("host", "a.example"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")];
    let (_, text) = ask(&gateway, EXTERNAL, &through).await;
    assert!(text.contains("x-forwarded-for=1.1.1.1, 10.9.8.7 x-forwarded-proto=https"), "{text}");
    let claimed = [("host", "a.example"), ("x-forwarded-proto", "http")];
    let (_, text) = ask(&gateway, Door::Tls, &claimed).await;
    assert!(text.contains("x-forwarded-proto=https"), "{text}");

    for (door, host, status) in [
        (EXTERNAL, "in.ns.svc.cluster.local", 404),
        (LOCAL, "in.ns.svc.cluster.local", 200),
        (LOCAL, "a.example", 200),
        (EXTERNAL, "other.example", 404),
        (Door::Tls, "a.example", 200),
        (Door::Tls, "in.ns.svc.cluster.local", 404),
    ] {
        assert_eq!(ask(&gateway, door, &[("host", host)]).await.0, status, "{door:?} {host}");
    }
    let (_, text) = ask(&gateway, EXTERNAL, &[("host", "other.example")]).await;
    assert!(text.contains("\"other.example\""), "{text}");
}

#[tokio::test]
async fn tells_probers_what_it_serves() {
    let (cluster, gateway) = gateway().await;
    put(
        &cluster,
        2,
        json!({"rules": [{"hosts": ["a"], "http": {"paths": [
        {"splits": [revision("r1", 100)]}]}}]}),
    );
    let hash = table::hash(&cluster.cache::<Ingress>().get("ns", "i").expect("the Ingress"));
    for (headers, wanted) in [
        (
            &[("host", "a"), ("k-network-probe", "probe"), ("k-network-hash", "override")][..],
            format!("hash={hash} "),
        ),
        (&[("host", "a"), ("k-network-probe", "probe"), ("k-network-hash", "x")], "hash=x ".into()),
        (&[("host", "a"), ("k-network-probe", "probe")], String::new()),
    ] {
        assert_eq!(ask(&gateway, EXTERNAL, headers).await, (200, wanted));
    }
    // Without a probe the hash travels on.
    for (sent, wanted) in [("override", hash.as_str()), ("other", "other")] {
        let (_, text) = ask(&gateway, EXTERNAL, &[("host", "a"), ("k-network-hash", sent)]).await;
        assert!(text.contains(&format!("k-network-hash={wanted}")), "{text}");
    }
}

#[tokio::test]
async fn follows_changes_and_splits() {
    let (cluster, gateway) = gateway().await;
    let spec = |host: &str, splits: Value| {
        json!({"rules": [
        {"hosts": [host], "http": {"paths": [{"splits": splits}]}}]})
    };
    put(&cluster, 2, spec("a", json!([revision("r1", 90), revision("r2", 10)])));
    let mut second = 0;
    for _ in 0..1000 {
        let (_, text) = ask(&gateway, EXTERNAL, &[("host", "a")]).await;
        second += u32::from(text.starts_with("revision ns/r2"));
    }
    assert!((70..130).contains(&second), "{second} of 1000");
    put(&cluster, 3, spec("b", json!([revision("r3", 100)])));
    assert_eq!(ask(&gateway, EXTERNAL, &[("host", "a")]).await.0, 404);
    assert!(ask(&gateway, EXTERNAL, &[("host", "b")]).await.1.starts_with("revision ns/r3"));
    // A mistake leaves what was there.
    put(&cluster, 4, spec("c", json!([])));
    assert!(ask(&gateway, EXTERNAL, &[("host", "b")]).await.1.starts_with("revision ns/r3"));
    let mut redirected = spec("b", json!([revision("r3", 100)]));
    redirected["httpOption"] = json!("Redirected");
    put(&cluster, 5, redirected);
    for (door, wanted) in
        [(EXTERNAL, (301, "https://b/")), (Door::Plain { https: 8443 }, (301, "https://b:8443/"))]
    {
        let (status, text) = ask(&gateway, door, &[("host", "b")]).await;
        assert_eq!((status, &*text), wanted, "{door:?}");
    }
    for door in [Door::Tls, LOCAL] {
        assert_eq!(ask(&gateway, door, &[("host", "b")]).await.0, 200, "{door:?}");
    }
}

#[tokio::test]
async fn reaches_other_services_and_other_hosts() {
    let (cluster, gateway) = gateway().await;
    let alone = Gateway::new(&cluster, None, Arc::new(Mirror), None);
    let to = |name: &str| json!([{"percent": 100, "serviceName": name, "servicePort": 80}]);
    put(
        &cluster,
        2,
        json!({"rules": [
            {"hosts": ["plain"], "http": {"paths": [{"splits": to("plain")}]}},
            {"hosts": ["absent"], "http": {"paths": [{"splits": to("absent")}]}},
            {"hosts": ["mine.example"], "http": {"paths": [{
                "rewriteHost": "route", "appendHeaders": {"K-Original-Host": "mine.example"},
                "splits": to("route")}]}},
            {"hosts": ["route"], "visibility": "ClusterLocal", "http": {"paths": [
                {"splits": [revision("r1", 100)]}]}},
            {"hosts": ["round"], "http": {"paths": [{"rewriteHost": "round", "splits": to("route")}]}},
        ]}),
    );
    let service = |name: &str, spec: Value| {
        let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name,
            "resourceVersion": "2"}, "spec": spec});
        cluster.wrote(
            serde_json::from_value::<k8s_openapi::api::core::v1::Service>(object)
                .expect("a Service"),
        );
    };
    service("plain", json!({"ports": [{"name": "http", "port": 80}]}));
    service("route", json!({"type": "ExternalName", "externalName": "gateway.invalid"}));
    service("r1", json!({"ports": [{"name": "http", "port": 80}]}));
    // Two slices, since one has one set of ports: the endpoint at port 1 takes no connection.
    for (name, of, port) in [("bad", "plain", 1), ("good", "plain", 8080), ("r1", "r1", 8012)] {
        let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name,
                "resourceVersion": "2", "labels": {"kubernetes.io/service-name": of}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["10.0.0.1"]}]});
        cluster.wrote(
            serde_json::from_value::<k8s_openapi::api::discovery::v1::EndpointSlice>(object)
                .expect("a slice"),
        );
    }
    for _ in 0..4 {
        let (status, text) = ask(&gateway, EXTERNAL, &[("host", "plain")]).await;
        assert!(status == 200 && text.starts_with("endpoint 10.0.0.1:8080"), "{status} {text}");
    }
    let (status, text) = ask(&gateway, EXTERNAL, &[("host", "absent")]).await;
    assert!(status == 503 && text.contains("ns/absent"), "{status} {text}");
    let (status, text) = ask(&gateway, EXTERNAL, &[("host", "mine.example")]).await;
    let seen = text.starts_with("revision ns/r1") && text.contains("k-original-host=mine.example");
    assert!(status == 200 && seen, "{status} {text}");
    assert_eq!(ask(&gateway, EXTERNAL, &[("host", "round")]).await.0, 508);
    // Where others hold requests, a revision is a Service like any.
    let (status, text) = ask(&alone, EXTERNAL, &[("host", "mine.example")]).await;
    let seen = text.starts_with("endpoint 10.0.0.1:8012") && text.contains("revision=r1");
    assert!(status == 200 && seen, "{status} {text}");
}

/// A certificate for `host` in a Secret of that name, and what its clients trust.
fn certificate(host: &str, name: &str, version: u32) -> (Value, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let data = |text: String| k8s_openapi::ByteString(text.into_bytes());
    let secret = json!({
        "metadata": {"name": name, "namespace": "certs", "uid": name, "resourceVersion": version.to_string()},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": data(made.cert.pem()), "tls.key": data(made.signing_key.serialize_pem())},
    });
    (secret, roots)
}

/// What the port for TLS answers to a client of `host` with these roots; nothing without a handshake.
async fn ask_tls(to: SocketAddr, host: &str, roots: &rustls::RootCertStore) -> Option<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.expect("connect");
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an orderly end");
    Some(text)
}

/// Waits until the port for TLS answers such a client, or does not.
async fn until(to: SocketAddr, host: &str, roots: &rustls::RootCertStore, answers: bool) {
    let waiting = async {
        while ask_tls(to, host, roots).await.is_some() != answers {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await;
    waited.unwrap_or_else(|_| panic!("{host}: answers should be {answers}"));
}

#[tokio::test]
async fn shows_the_certificates_of_the_secrets_as_they_are_now() {
    let (cluster, gateway, secrets) = gateway_and_secrets().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let to = listener.local_addr().expect("an address");
    let inside = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let inside_to = inside.local_addr().expect("an address");
    for (listener, door) in [(listener, Door::Tls), (inside, Door::InsideTls)] {
        let settings = proxy::serve::Settings {
            tls: Some(gateway.tls(door)),
            ..proxy::serve::Settings::default()
        };
        let handler = gateway.handler(door);
        tokio::spawn(proxy::serve::serve(listener, handler, settings, Default::default()));
    }
    let rule = |host: &str, visibility: &str| json!({"hosts": [host], "visibility": visibility, "http": {"paths": [{"splits": [revision("r1", 100)]}]}});
    put(
        &cluster,
        2,
        json!({
            "httpOption": "Redirected",
            "rules": [
                rule("a.example", "ExternalIP"),
                rule("b.example", "ExternalIP"),
                rule("plain.example", "ExternalIP"),
                rule("in.example", "ClusterLocal"),
            ],
            "tls": [
                {"hosts": ["A.example"], "secretName": "a", "secretNamespace": "certs"},
                {"hosts": ["b.example", "in.example"], "secretName": "b", "secretNamespace": "certs"},
            ],
        }),
    );
    let (a, trusts_a) = certificate("a.example", "a", 1);
    let (b, trusts_b) = certificate("b.example", "b", 1);
    // There is no certificate yet.
    assert_eq!(ask_tls(to, "a.example", &trusts_a).await, None);
    for secret in [&a, &b] {
        secrets.send(json!({"type": "ADDED", "object": secret})).expect("it is watched");
    }
    until(to, "a.example", &trusts_a, true).await;
    until(to, "b.example", &trusts_b, true).await;
    let text = ask_tls(to, "a.example", &trusts_a).await.expect("an answer");
    let seen = "x-forwarded-proto=https";
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(seen), "{text}");
    for (host, roots) in [
        ("a.example", &trusts_b),
        ("plain.example", &trusts_a),
        // The cluster's own hosts are not told to the world.
        ("in.example", &trusts_b),
        ("unknown.example", &trusts_a),
    ] {
        assert_eq!(ask_tls(to, host, roots).await, None, "{host}");
    }
    // Who is inside is shown both kinds.
    let (local, trusts_local) = certificate("in.example", "b", 2);
    secrets.send(json!({"type": "MODIFIED", "object": local})).expect("it is watched");
    until(inside_to, "in.example", &trusts_local, true).await;
    until(inside_to, "a.example", &trusts_a, true).await;
    let text = ask_tls(inside_to, "in.example", &trusts_local).await.expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(seen), "{text}");

    // Another certificate takes over without a restart; one that is broken or gone is shown no more.
    let (a, trusts_new) = certificate("a.example", "a", 2);
    secrets.send(json!({"type": "MODIFIED", "object": a})).expect("it is watched");
    until(to, "a.example", &trusts_new, true).await;
    assert_eq!(ask_tls(to, "a.example", &trusts_a).await, None);
    let (mut a, _) = certificate("a.example", "a", 3);
    a["data"]["tls.key"] = b["data"]["tls.key"].clone();
    secrets.send(json!({"type": "MODIFIED", "object": a})).expect("it is watched");
    until(to, "a.example", &trusts_new, false).await;
    secrets.send(json!({"type": "DELETED", "object": b})).expect("it is watched");
    until(to, "b.example", &trusts_b, false).await;
}

#[tokio::test]
async fn the_status_follows_the_secret() {
    let (cluster, gateway, secrets) = gateway_and_secrets().await;
    let certificates = gateway.certificates();
    let users = crate::certificates::Users::of(&cluster.cache());
    let spec = |tls: Value| json!({"rules": [{"hosts": ["a"], "http": {"paths": [{"splits": [revision("r1", 100)]}]}}], "tls": tls});
    let (front, _) = certificate("a", "front", 1);
    let key = Key::new("certs", "front");
    put(&cluster, 2, spec(json!([{"secretName": "front", "secretNamespace": "certs"}])));
    assert_eq!(users.find(&key), [Key::new("ns", "i")]);
    assert_eq!(certificates.find(&key).err(), Some(crate::certificates::Flaw::Missing));
    let (sender, mut changed) = mpsc::unbounded_channel();
    certificates.on_change(move |secret| sender.send(secret.clone()).expect("the test listens"));
    secrets.send(json!({"type": "ADDED", "object": front})).expect("it is watched");
    assert_eq!(changed.recv().await, Some(key.clone()));
    assert!(certificates.find(&key).is_ok());
    put(&cluster, 3, spec(json!([])));
    assert!(users.find(&key).is_empty());
}

/// The Ingresses of a Route and of a DomainMapping that leads to it, as the controller makes them.
#[tokio::test]
async fn a_domain_leads_through_its_route_to_the_revision() {
    let (cluster, gateway) = gateway().await;
    let ingress = |name: &str, version: u32, spec: Value| {
        let object = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name,
                "resourceVersion": version.to_string(),
                "annotations": {"networking.knative.dev/ingress.class": api::keys::networking::WEFT_CLASS}},
            "spec": spec,
        });
        cluster.wrote(serde_json::from_value::<Ingress>(object).expect("an Ingress"));
    };
    let hosts = ["hello.ns", "hello.ns.svc", "hello.ns.svc.cluster.local"];
    let route = |revision_name: &str| {
        let paths = json!([{"splits": [revision(revision_name, 100)]}]);
        json!({"httpOption": "Enabled", "rules": [
            {"hosts": hosts, "visibility": "ClusterLocal", "http": {"paths": paths}},
            {"hosts": ["hello.ns.example.com"], "visibility": "ExternalIP", "http": {"paths": paths}},
        ]})
    };
    let domain = |target: &str, option: &str| {
        json!({"httpOption": option, "rules": [{
            "hosts": ["mine.example.org"], "visibility": "ExternalIP", "http": {"paths": [{
                "rewriteHost": format!("{target}.ns.svc.cluster.local"),
                "splits": [{"appendHeaders": {"K-Original-Host": "mine.example.org"}, "percent": 100,
                    "serviceName": target, "serviceNamespace": "ns", "servicePort": 80}]}]}}]})
    };
    ingress("hello", 2, route("hello-00001"));
    ingress("mine.example.org", 2, domain("hello", "Enabled"));
    let mine = [("host", "mine.example.org:8080")];
    let (status, text) = ask(&gateway, EXTERNAL, &mine).await;
    assert!(status == 503 && text.contains("ns/hello"), "without its name: {status} {text}");

    // The Route's placeholder, which points at the gateway.
    let placeholder = json!({
        "metadata": {"name": "hello", "namespace": "ns", "uid": "s", "resourceVersion": "2"},
        "spec": {"type": "ExternalName", "externalName": "gateway-internal.invalid"}});
    cluster.wrote(
        serde_json::from_value::<k8s_openapi::api::core::v1::Service>(placeholder)
            .expect("a Service"),
    );
    for visibility in [EXTERNAL, LOCAL] {
        let (status, text) = ask(&gateway, visibility, &mine).await;
        assert_eq!(status, 200, "{text}");
        let expected = "revision ns/hello-00001 host=hello.ns.svc.cluster.local \
                        k-original-host=mine.example.org knative-serving-namespace=ns \
                        knative-serving-revision=hello-00001 x-forwarded-for=10.9.8.7 \
                        x-forwarded-proto=http";
        assert_eq!(text, expected);
    }
    // A prober of the domain hears the hash of the domain's Ingress, and so does who asks beyond it.
    let object = cluster.cache::<Ingress>().get("ns", "mine.example.org").expect("the Ingress");
    let hash = table::hash(&object);
    let probe = [mine[0], ("k-network-probe", "probe"), ("k-network-hash", "override")];
    assert_eq!(ask(&gateway, EXTERNAL, &probe).await, (200, format!("hash={hash} ")));
    let (_, text) = ask(&gateway, EXTERNAL, &[mine[0], ("k-network-hash", "override")]).await;
    assert!(text.contains(&format!("k-network-hash={hash}")), "{text}");

    // The domain follows the Route wherever it leads, and is taken elsewhere by itself.
    ingress("hello", 3, route("hello-00002"));
    let (_, text) = ask(&gateway, EXTERNAL, &mine).await;
    assert!(text.starts_with("revision ns/hello-00002"), "{text}");
    ingress("mine.example.org", 3, domain("hello", "Redirected"));
    let secure = "https://mine.example.org/".to_owned();
    assert_eq!(ask(&gateway, EXTERNAL, &mine).await, (301, secure));
    ingress("mine.example.org", 4, domain("other", "Enabled"));
    assert_eq!(ask(&gateway, EXTERNAL, &mine).await.0, 503);
    assert_eq!(ask(&gateway, EXTERNAL, &[("host", "hello.ns.example.com")]).await.0, 200);
}

/// Two gateways, each with its own view of the cluster, by the last number of their addresses.
struct Two([Arc<Gateway>; 2]);

impl Upstream for Two {
    fn send(
        &self,
        to: SocketAddr,
        _: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let IpAddr::V4(ip) = to.ip() else { unreachable!("they have addresses of version 4") };
        let gateway = self.0[usize::from(ip.octets()[3]) - 1].clone();
        Box::pin(async move { Ok(gateway.handler(EXTERNAL)(request, to).await) })
    }

    fn probe(&self, _: SocketAddr) -> Boxed<bool> {
        Box::pin(std::future::ready(true))
    }
}

#[tokio::test(start_paused = true)]
async fn all_gateways_are_asked_whether_they_serve_an_ingress() {
    let ((cluster, first), (other, second)) = (gateway().await, gateway().await);
    let peers = Peers::new(&cluster, "system", Arc::new(Two([first, second])));
    peers.synced().await;
    let spec = |name: &str| {
        json!({"rules": [{"hosts": ["a"], "visibility": "ExternalIP",
            "http": {"paths": [{"splits": [revision(name, 100)]}]}}]})
    };
    put(&cluster, 1, spec("one"));
    put(&other, 1, spec("one"));
    let question = |cluster: &Cluster| {
        let ingress = cluster.cache::<Ingress>().get("ns", "i").expect("the Ingress");
        Question::of(&ingress).expect("it has a host")
    };
    // Nobody knows where gateways are: this is the only one.
    assert_eq!(peers.missing(&question(&cluster)), (None, true));
    assert_eq!(peers.missing(&question(&cluster)), (None, false), "it is being asked");
    peers.ask(question(&cluster)).await;
    assert_eq!(peers.missing(&question(&cluster)), (Some(Vec::new()), false));

    let named =
        json!({"name": "weft-gateway", "namespace": "system", "uid": "s", "resourceVersion": "1"});
    let service = json!({"metadata": named, "spec": {"ports": [{"name": "http", "port": 80}]}});
    cluster.wrote(
        serde_json::from_value::<k8s_openapi::api::core::v1::Service>(service).expect("a Service"),
    );
    let labels = json!({"kubernetes.io/service-name": "weft-gateway"});
    let slice = json!({
        "metadata": {"name": "weft-gateway-x", "namespace": "system", "uid": "e", "resourceVersion": "1",
            "labels": labels},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
        ],
    });
    cluster.wrote(
        serde_json::from_value::<k8s_openapi::api::discovery::v1::EndpointSlice>(slice)
            .expect("a slice"),
    );
    // A change that the second has not seen: it stands in its way as long as that lasts.
    put(&cluster, 2, spec("two"));
    assert_eq!(peers.missing(&question(&cluster)), (None, true));
    peers.ask(question(&cluster)).await;
    let late: SocketAddr = ([10, 0, 0, 2], 8080).into();
    assert_eq!(peers.missing(&question(&cluster)), (Some(vec![late]), true));
    let asking = peers.ask(question(&cluster));
    let seeing = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        put(&other, 2, spec("two"));
    };
    let begin = tokio::time::Instant::now();
    tokio::join!(asking, seeing);
    assert_eq!(peers.missing(&question(&cluster)), (Some(Vec::new()), false));
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "it is asked again soon");
    // What is settled is forgotten.
    peers.forget(&Key::new("ns", "i"));
    assert_eq!(peers.missing(&question(&cluster)), (None, true));
}
