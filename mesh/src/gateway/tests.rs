//! The gateway before a backend that a test plays.

use http_body_util::BodyExt;
use proxy::hop::{Destination, SendError};
use runtime::clock::Clock;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;

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
    let api = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
        if request.uri().query().is_some_and(|query| query.contains("watch=")) {
            std::future::pending::<()>().await;
        }
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
            "metadata": {"resourceVersion": "1"}});
        let body = kube::client::Body::from(list.to_string().into_bytes());
        Ok::<_, std::convert::Infallible>(http::Response::new(body))
    });
    let client = kube::Client::new(api, "default");
    let cluster = Cluster::new(client, Clock::start(), CancellationToken::new());
    let gateway = Gateway::new(&cluster, Arc::new(Mirror), Arc::new(Mirror));
    gateway.synced().await;
    (cluster, gateway)
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

async fn ask(
    gateway: &Arc<Gateway>,
    visibility: Visibility,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("valid");
    let from = "10.9.8.7:65".parse().expect("an address");
    let response = gateway.handler(visibility)(request, from).await;
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

const EXTERNAL: Visibility = Visibility::External;
const LOCAL: Visibility = Visibility::ClusterLocal;

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

    for (visibility, host, status) in [
        (EXTERNAL, "in.ns.svc.cluster.local", 404),
        (LOCAL, "in.ns.svc.cluster.local", 200),
        (LOCAL, "a.example", 200),
        (EXTERNAL, "other.example", 404),
    ] {
        assert_eq!(
            ask(&gateway, visibility, &[("host", host)]).await.0,
            status,
            "{visibility:?} {host}"
        );
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
    assert_eq!(ask(&gateway, EXTERNAL, &[("host", "b")]).await, (301, "https://b/".to_owned()));
}

#[tokio::test]
async fn reaches_other_services_and_other_hosts() {
    let (cluster, gateway) = gateway().await;
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
    // Two slices, since one has one set of ports: the endpoint at port 1 takes no connection.
    for (name, port) in [("bad", 1), ("good", 8080)] {
        let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name,
                "resourceVersion": "2", "labels": {"kubernetes.io/service-name": "plain"}},
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
}
