//! The whole way of a request, in one process: gateway, activator, queue and an application, joined as
//! they are in `weft up`, and with sockets between them as on a cluster.
//!
//! What HTTP can do besides one request and one response has to survive all of it.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use activator::serve::{Activator, Settings};
use api::{networking::Ingress, serving::Revision};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh::gateway::{Door, Gateway, HTTPS};
use proxy::{
    body::Body,
    drain,
    hop::{Boxed, Dial, Protocol, SendError, Upstream},
    queue::Queue,
    serve::{Handler, serve},
    upstream::Pool,
};
use runtime::{admin::Readiness, clock::Clock, cluster::Cluster};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

/// Waits are bounded: what takes longer than this will never come.
const PATIENCE: Duration = Duration::from_secs(20);
/// The address that the cluster knows the pod by; nobody connects to it.
const POD: &str = "10.0.0.1";

/// How the parts are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Gateway, activator and queue call each other.
    OneProcess,
    /// The queue listens on a port, as beside a container on a cluster.
    QueueApart,
    /// So does the activator, for gateways that are not ours.
    ActivatorApart,
}

const SHAPES: [Shape; 3] = [Shape::OneProcess, Shape::QueueApart, Shape::ActivatorApart];

/// The application's port, inside the pod.
struct App(SocketAddr);

impl Dial for App {
    fn dial(&self, _: u16) -> Boxed<io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

/// The pod: its queue as a library, or at an address.
enum Pod {
    Here(Arc<Queue>),
    At(SocketAddr, Pool),
}

impl Upstream for Pod {
    fn send(
        &self,
        _: SocketAddr,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        match self {
            Pod::Here(queue) => {
                let reply = queue.handle(request);
                Box::pin(async move { Ok(reply.await) })
            }
            Pod::At(at, pool) => pool.send(*at, protocol, request),
        }
    }

    fn probe(&self, _: SocketAddr) -> Boxed<bool> {
        Box::pin(std::future::ready(true))
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

async fn start(handler: Handler) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(serve(listener, handler, Default::default(), drain::Count::default()));
    address
}

/// Where clients connect.
async fn chain(app: SocketAddr, protocol: Protocol, shape: Shape) -> SocketAddr {
    let is_h2c = protocol == Protocol::H2c;
    let settings = api::queue::Settings {
        user_port: 8080,
        user_h2c: is_h2c,
        container_concurrency: 10,
        timeout_s: 300,
        ..Default::default()
    };
    let queue = Queue::new(settings, Arc::new(App(app)));
    let pod = match shape {
        Shape::OneProcess => Pod::Here(queue),
        Shape::QueueApart | Shape::ActivatorApart => {
            let at = start(Arc::new(move |request, _| queue.handle(request))).await;
            Pod::At(at, Pool::new(Default::default()))
        }
    };
    let upstream: Arc<dyn Upstream> = Arc::new(pod);
    let cluster = cluster();
    let (sender, config) = watch::channel(Arc::default());
    // Lives as long as the test.
    std::mem::forget(sender);
    let activator = Activator::start(
        &cluster,
        config,
        upstream.clone(),
        Arc::new(|_| {}),
        Settings::new("activator"),
    );
    let gateway = Gateway::new(&cluster, Some(Arc::new(activator.clone())), upstream, None);
    gateway.synced().await;
    cluster.cache::<Revision>().synced().await;
    cluster.cache::<EndpointSlice>().synced().await;
    objects(&cluster, is_h2c);
    let handler = match shape {
        Shape::ActivatorApart => {
            let readiness = Readiness::default();
            readiness.set(true);
            activator::role::handler(activator, readiness, "cluster.local")
        }
        Shape::OneProcess | Shape::QueueApart => gateway.handler(Door::Plain { https: HTTPS }),
    };
    start(handler).await
}

/// A cluster whose API has nothing; objects are put into its caches.
fn cluster() -> Cluster {
    let api = tower::service_fn(|request: Request<kube::client::Body>| async move {
        if request.uri().query().is_some_and(|query| query.contains("watch=")) {
            std::future::pending::<()>().await;
        }
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
            "metadata": {"resourceVersion": "1"}});
        let body = kube::client::Body::from(list.to_string().into_bytes());
        Ok::<_, Infallible>(Response::new(body))
    });
    let client = kube::Client::new(api, "default");
    Cluster::new(client, Clock::start(), CancellationToken::new())
}

fn objects(cluster: &Cluster, is_h2c: bool) {
    let meta =
        |name: &str| json!({"name": name, "namespace": "ns", "uid": name, "resourceVersion": "2"});
    let mut ingress = json!({"metadata": meta("hello"), "spec": {"rules": [{"hosts": ["hello"],
        "visibility": "ExternalIP", "http": {"paths": [{"splits": [{"percent": 100,
            "serviceName": "hello-00001", "serviceNamespace": "ns",
            "servicePort": if is_h2c { 81 } else { 80 }, "appendHeaders": {
                "Knative-Serving-Revision": "hello-00001", "Knative-Serving-Namespace": "ns"}}]}]}}]}});
    ingress["metadata"]["annotations"] =
        json!({api::keys::networking::INGRESS_CLASS: api::keys::networking::WEFT_CLASS});
    let revision = json!({"metadata": meta("hello-00001"),
        "spec": {"containerConcurrency": 10, "timeoutSeconds": 300,
            "containers": [{"name": "user-container", "image": "hello"}]}});
    let (name, port) = if is_h2c { ("http2", 8013) } else { ("http", 8012) };
    let mut slice = json!({"metadata": meta("hello-00001-private-x"), "addressType": "IPv4",
        "endpoints": [{"addresses": [POD], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": "pod", "uid": "pod"}}],
        "ports": [{"name": name, "port": port, "protocol": "TCP"}]});
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "hello-00001-private"});
    cluster.wrote(serde_json::from_value::<Ingress>(ingress).expect("an Ingress"));
    cluster.wrote(serde_json::from_value::<Revision>(revision).expect("a Revision"));
    cluster.wrote(serde_json::from_value::<EndpointSlice>(slice).expect("an EndpointSlice"));
}

/// What one side of a connection does next.
#[derive(Clone, Copy)]
enum Step {
    /// Reads until this has come.
    Until(&'static str),
    Say(&'static str),
}
use Step::{Say, Until};

async fn play(who: &str, stream: &mut TcpStream, steps: &[Step]) {
    for step in steps {
        match step {
            Say(text) => stream.write_all(text.as_bytes()).await.expect("the other side is there"),
            Until(end) => {
                let mut text = Vec::new();
                while !text.ends_with(end.as_bytes()) {
                    let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
                    let so_far = || {
                        format!(
                            "{who} waits for {end:?} after {:?}",
                            String::from_utf8_lossy(&text)
                        )
                    };
                    let read = read.unwrap_or_else(|_| panic!("{}", so_far()));
                    let byte = read.unwrap_or_else(|error| panic!("{error}: {}", so_far()));
                    text.push(byte);
                }
            }
        }
    }
}

/// Plays a client and an application against each other, with the platform between them.
async fn check(about: &str, client: &[Step], app: &'static [Step]) {
    for shape in SHAPES {
        let (listener, address) = listen().await;
        let about = format!("{about}, {shape:?}");
        let name = format!("the application ({about})");
        let playing = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection comes");
            play(&name, &mut stream, app).await;
        });
        let to = chain(address, Protocol::Http1, shape).await;
        let mut stream = TcpStream::connect(to).await.expect("the gateway listens");
        play(&format!("the client ({about})"), &mut stream, client).await;
        playing.await.expect("the application has played its part");
    }
}

/// The headers of all requests; the activator's port wants to be told the revision.
const TO: &str =
    "Host: hello\r\nKnative-Serving-Namespace: ns\r\nKnative-Serving-Revision: hello-00001\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_client_may_go_on_when_the_application_says_so() {
    let head = [
        Say("POST / HTTP/1.1\r\n"),
        Say(TO),
        Say("Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
    ];
    let wants = [
        Until("HTTP/1.1 100 Continue\r\n\r\n"),
        Say("body"),
        Until("HTTP/1.1 200 OK\r\n"),
        Until("\r\n\r\nok"),
    ];
    check(
        "wanted",
        &[&head[..], &wants].concat(),
        &[
            Until("expect: 100-continue\r\n"),
            Until("\r\n\r\n"),
            Say("HTTP/1.1 100 Continue\r\n\r\n"),
            Until("body"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
    )
    .await;
    // The first line would be another if the client had been told to go on.
    let refused = [Until("\r\n"), Until("\r\n\r\nno")];
    check(
        "refused",
        &[&head[..], &refused].concat(),
        &[Until("\r\n\r\n"), Say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")],
    )
    .await;
}

#[tokio::test]
async fn early_hints_reach_the_client_before_the_response() {
    let client = [
        Say("POST / HTTP/1.1\r\n"),
        Say(TO),
        Say("Content-Length: 2\r\n\r\n"),
        Until("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"),
        Say("go"),
        Until("HTTP/1.1 200 OK\r\n"),
        Until("\r\n\r\nok"),
    ];
    check(
        "with a body",
        &client,
        &[
            Until("\r\n\r\n"),
            Say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"),
            Until("go"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
    )
    .await;
    let client = [
        Say("GET / HTTP/1.1\r\n"),
        Say(TO),
        Say("\r\n"),
        Until("HTTP/1.1 103 Early Hints\r\n\r\n"),
        Until("HTTP/1.1 200 OK\r\n"),
        Until("\r\n\r\nok"),
    ];
    check(
        "without",
        &client,
        &[
            Until("\r\n\r\n"),
            Say("HTTP/1.1 103 Early Hints\r\n\r\n"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
    )
    .await;
}

#[tokio::test]
async fn both_sides_stream_at_once() {
    let client = [
        Say("POST / HTTP/1.1\r\n"),
        Say(TO),
        Say(CHUNKED),
        Say("5\r\nfirst\r\n"),
        Until("HTTP/1.1 200 OK\r\n"),
        Until("3\r\none\r\n"),
        Say("6\r\nsecond\r\n"),
        Until("3\r\ntwo\r\n"),
        Say("0\r\n\r\n"),
        Until("0\r\n\r\n"),
    ];
    check(
        "chunks in turn",
        &client,
        &[
            Until("first\r\n"),
            Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"),
            Until("second\r\n"),
            Say("3\r\ntwo\r\n"),
            Until("0\r\n\r\n"),
            Say("0\r\n\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let client = [
        Say("POST / HTTP/1.1\r\nTE: trailers\r\nTrailer: Sum\r\n"),
        Say(TO),
        Say(CHUNKED),
        Say("4\r\nbody\r\n0\r\nSum: 1\r\n\r\n"),
        Until("HTTP/1.1 200 OK\r\n"),
        Until("2\r\nok\r\n0\r\ntotal: 2\r\n\r\n"),
    ];
    check(
        "of chunked bodies",
        &client,
        &[
            Until("0\r\nsum: 1\r\n\r\n"),
            Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Total\r\n\r\n"),
            Say("2\r\nok\r\n0\r\nTotal: 2\r\n\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_carries_anything_both_ways() {
    let client = [
        Say("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: parrot\r\n"),
        Say(TO),
        Say("\r\n"),
        Until("HTTP/1.1 101 Switching Protocols\r\n"),
        Until("\r\n\r\nhello"),
        Say("hello yourself"),
        Until("bye"),
    ];
    check(
        "both speak",
        &client,
        &[
            Until("upgrade: parrot\r\n"),
            Until("\r\n\r\n"),
            Say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: parrot\r\n\r\nhello"),
            Until("hello yourself"),
            Say("bye"),
        ],
    )
    .await;
}

/// Answers each piece of a request's body with the same piece, and its trailers with the same trailers.
fn echo() -> Handler {
    Arc::new(|request: Request<Body>, _| {
        let response = Response::builder()
            .header("seen-expect", request.headers().get("expect").is_some().to_string())
            .body(Body::new(request.into_body()))
            .expect("valid");
        Box::pin(std::future::ready(response))
    })
}

#[tokio::test]
async fn http2_streams_both_ways_with_trailers() {
    for shape in SHAPES {
        for expects in [false, true] {
            let app = start(echo()).await;
            let to = chain(app, Protocol::H2c, shape).await;
            let (sender, mut receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
            let frames = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
            let body = Body::new(StreamBody::new(frames));
            let mut request = Request::post("http://hello/")
                .header("host", "hello")
                .header("knative-serving-namespace", "ns")
                .header("knative-serving-revision", "hello-00001")
                .header("te", "trailers");
            if expects {
                request = request.header("expect", "100-continue");
            }
            let request = request.body(body).expect("valid");
            let exchange = async {
                let sending = Pool::new(Default::default());
                let response = sending.send(to, Protocol::H2c, request).await;
                let response = response.map_err(SendError::into_cause).expect("an answer");
                assert_eq!(response.status(), 200, "{shape:?}");
                assert_eq!(response.version(), http::Version::HTTP_2);
                let mut body = response.into_body();
                for piece in ["one", "two"] {
                    let data = Bytes::from(piece);
                    sender.send(Ok(Frame::data(data))).await.expect("it is read");
                    let frame = body.frame().await.expect("more comes").expect("whole");
                    assert_eq!(frame.into_data().expect("data"), piece, "{shape:?}");
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().expect("valid"));
                sender.send(Ok(Frame::trailers(trailers))).await.expect("it is read");
                drop(sender);
                let frame = body.frame().await.expect("trailers come").expect("whole");
                assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], "0");
            };
            let done = tokio::time::timeout(PATIENCE, exchange).await;
            done.unwrap_or_else(|_| panic!("nothing more comes: {shape:?}, expects {expects}"));
        }
    }
}
