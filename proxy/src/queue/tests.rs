//! The queue before a container that a test plays.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use http_body_util::BodyExt;
use k8s_openapi::{
    api::core::v1::{GRPCAction, HTTPGetAction, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::*;
use crate::serve;

/// Sends all dials to one address and counts them.
struct To(std::net::SocketAddr, AtomicUsize);

impl Dial for To {
    fn dial(&self, _: u16) -> Boxed<io::Result<TcpStream>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Box::pin(TcpStream::connect(self.0))
    }
}

async fn app(handler: serve::Handler) -> Arc<To> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (settings, open) = (serve::Settings::default(), drain::Count::default());
    tokio::spawn(serve::serve(listener, handler, settings, open));
    Arc::new(To(address, AtomicUsize::new(0)))
}

/// Answers with the request's headers, sorted, a line each.
fn mirror() -> serve::Handler {
    Arc::new(|request, _| {
        let mut lines: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().expect("text")))
            .collect();
        lines.sort();
        Box::pin(async move { Response::new(Body::full(lines.concat())) })
    })
}

async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn get(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("valid")
}

#[tokio::test]
async fn shows_the_container_what_the_client_sent() {
    let dial = app(mirror()).await;
    let queue = Queue::new(Settings { user_port: 1, ..Settings::default() }, dial);
    for (sent, seen) in [
        (
            &[
                ("host", "10.0.0.1"),
                ("k-original-host", "hello.example"),
                ("knative-serving-revision", "r"),
                ("knative-serving-namespace", "n"),
                ("k-network-hash", "x"),
                ("k-passthrough-lb", "true"),
                ("k-proxy-request", "activator"),
            ][..],
            "host: hello.example\nk-proxy-request: activator\n",
        ),
        (
            &[
                ("host", "a"),
                ("x-forwarded-for", "1.2.3.4, ::1"),
                ("x-forwarded-host", "b"),
                ("x-forwarded-proto", "https"),
            ],
            "forwarded: for=1.2.3.4, for=\"[::1]\";host=b;proto=https\nhost: a\n\
             x-forwarded-for: 1.2.3.4, ::1\nx-forwarded-host: b\nx-forwarded-proto: https\n",
        ),
        (
            &[("host", "a"), ("forwarded", "for=x"), ("x-forwarded-for", "1.2.3.4")],
            "forwarded: for=x\nhost: a\nx-forwarded-for: 1.2.3.4\n",
        ),
    ] {
        assert_eq!(read(queue.handle(get(sent)).await).await, (200, seen.to_owned()));
    }
}

#[tokio::test]
async fn limits_what_the_container_takes_and_what_waits() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler: serve::Handler = Arc::new({
        let (arrived, go) = (arrived.clone(), go.clone());
        move |_, _| {
            let (arrived, go) = (arrived.clone(), go.clone());
            Box::pin(async move {
                arrived.notify_one();
                go.notified().await;
                Response::new(Body::empty())
            })
        }
    });
    let settings = Settings { user_port: 1, container_concurrency: 1, ..Settings::default() };
    let queue = Queue::new(settings, app(handler).await);
    let mut waiting: Vec<_> = (0..11)
        .map(|_| {
            tokio::spawn({
                let queue = queue.clone();
                async move { read(queue.handle(get(&[("host", "a")])).await).await }
            })
        })
        .collect();
    arrived.notified().await;
    // The other ten have found their place in the line, as the runtime has run them all.
    let refused = queue.handle(get(&[("host", "a")])).await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(read(refused).await, (503, "pending request queue full".to_owned()));
    assert_eq!(queue.in_flight(), 11);
    for answered in 1..=11 {
        go.notify_one();
        if answered < 11 {
            arrived.notified().await;
        }
    }
    for request in waiting.drain(..) {
        assert_eq!(request.await.expect("it ends"), (200, String::new()));
    }
    assert_eq!(queue.in_flight(), 0);
    let taken = queue.take_load();
    assert_eq!(taken.requests, 12.0);
}

/// An address at which nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("an address")
}

#[tokio::test(start_paused = true)]
async fn a_container_that_takes_no_connections_is_waited_for_a_while() {
    let settings = Settings { user_port: 8080, ..Settings::default() };
    let queue = Queue::new(settings.clone(), Arc::new(To(nobody().await, AtomicUsize::new(0))));
    let begin = Instant::now();
    let refused = read(queue.handle(get(&[("host", "a")])).await).await;
    assert_eq!(refused, (502, "the container does not accept connections on port 8080".to_owned()));
    assert!((15..17).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_a_container_never_got_is_not_lost_when_it_starts_again() {
    let at = nobody().await;
    let dialled = Arc::new(To(at, AtomicUsize::new(0)));
    let queue = Queue::new(Settings::default(), dialled.clone());
    let request = Request::post("/").header("host", "a").body(Body::full("what was sent"));
    let request = queue.handle(request.expect("valid"));
    let restart = async {
        while dialled.1.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let listener = TcpListener::bind(at).await.expect("the address is free again");
        let (mut stream, _) = listener.accept().await.expect("it is dialled again");
        let mut text = Vec::new();
        while !text.ends_with(b"what was sent") {
            assert!(stream.read_buf(&mut text).await.expect("read") > 0, "{text:?}");
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        stream.write_all(answer).await.expect("write");
    };
    let (answer, ()) = tokio::join!(request, restart);
    assert_eq!(read(answer).await, (200, "hi".to_owned()));
}

#[tokio::test]
async fn what_a_container_had_got_when_it_ended_is_not_sent_to_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let dialled = Arc::new(To(listener.local_addr().expect("an address"), AtomicUsize::new(0)));
    let queue = Queue::new(Settings::default(), dialled.clone());
    let container = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it is dialled");
        for answer in [&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], b""] {
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut text).await.expect("read") > 0, "{text:?}");
            }
            stream.write_all(answer).await.expect("write");
        }
    });
    assert_eq!(read(queue.handle(get(&[("host", "a")])).await).await.0, 200);
    let begin = Instant::now();
    let (status, text) = read(queue.handle(get(&[("host", "a")])).await).await;
    assert_eq!((status, &*text), (502, "the container closed the connection before it answered"));
    assert!(begin.elapsed() < RESTART, "nobody waits for another");
    assert_eq!(dialled.1.load(Ordering::SeqCst), 2);
    container.await.expect("it ends");
}

#[tokio::test]
async fn explains_what_the_container_did() {
    let settings = Settings { user_port: 8080, ..Settings::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let queue = Queue::new(settings, Arc::new(To(address, AtomicUsize::new(0))));
    let (status, text) = read(queue.handle(get(&[("host", "a")])).await).await;
    assert_eq!(status, 502);
    assert!(text.starts_with("the container closed the connection"), "{text}");
    closing.abort();
}

#[tokio::test]
async fn answers_probes_itself() {
    let dial = app(mirror()).await;
    let readiness = vec![Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(0), host: None }),
        ..Probe::default()
    }];
    let settings = Settings { user_port: 1, readiness, ..Settings::default() };
    let queue = Queue::new(settings, dial);
    let cases = |closed| {
        let (status, text) = if closed { (503, "shutting down") } else { (200, "queue") };
        [
            (("k-network-probe", "queue"), status, text),
            (("user-agent", "kube-probe/1.32"), status, text),
            (("k-network-probe", "probe"), 200, ""),
            (("k-network-probe", "other"), 400, "unexpected probe header value: other"),
        ]
    };
    for (header, status, text) in cases(false) {
        let found = read(queue.handle(get(&[("host", "a"), header])).await).await;
        assert_eq!(found, (status, text.to_owned()), "{header:?}");
    }
    let hashed = get(&[("host", "a"), ("k-network-probe", "probe"), ("k-network-hash", "h")]);
    assert_eq!(queue.handle(hashed).await.headers()[HASH], "h");
    assert!(queue.probe().await);
    queue.drain().await;
    for (header, status, text) in cases(true) {
        let found = read(queue.handle(get(&[("host", "a"), header])).await).await;
        assert_eq!(found, (status, text.to_owned()), "{header:?}");
    }
    assert!(!queue.probe().await);
    assert_eq!(queue.take_load(), Taken::default(), "probes are no load");
}

#[tokio::test]
async fn asks_the_container_in_each_way() {
    let dial = app(Arc::new(|request, _| {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let asked = request.headers().contains_key("x-asked");
            let serving = match path.as_str() {
                "/ready" if asked => return Response::new(Body::empty()),
                "/grpc.health.v1.Health/Check" => {
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    if body.ends_with(b"svc") { 1 } else { 2 }
                }
                _ => return plain(StatusCode::SERVICE_UNAVAILABLE, "no".into()),
            };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let frames = [
                Ok::<_, io::Error>(http_body::Frame::data(vec![0, 0, 0, 0, 2, 8, serving].into())),
                Ok(http_body::Frame::trailers(trailers)),
            ];
            Response::new(Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames))))
        })
    }))
    .await;
    let http = |path: &str, name: &str| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            http_headers: Some(vec![k8s_openapi::api::core::v1::HTTPHeader {
                name: name.into(),
                value: "1".into(),
            }]),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    };
    let grpc = |service: &str| Probe {
        grpc: Some(GRPCAction { service: Some(service.into()), ..GRPCAction::default() }),
        ..Probe::default()
    };
    for (probe, passes) in [
        (http("/ready", "x-asked"), true),
        (http("/ready", "x-other"), false),
        (http("/not", "x-asked"), false),
        (grpc("svc"), true),
        (grpc("other"), false),
        (Probe::default(), true),
    ] {
        let probe = Probe { period_seconds: Some(10), ..probe };
        let language = Language::told(Protocol::Http1);
        let found = probe::passes(&probe, 1, &language, &*dial).await;
        assert_eq!(found, passes, "{probe:?}");
    }
}

#[tokio::test]
async fn an_eager_probe_goes_on_until_the_container_listens() {
    // The port is known before anybody listens on it, as a container's is.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    let dial = Arc::new(To(socket.local_addr().expect("an address"), AtomicUsize::new(0)));
    let readiness = vec![Probe::default()];
    let settings = Settings { user_port: 1, readiness, ..Settings::default() };
    let queue = Queue::new(settings, dial.clone());
    let (first, second) = (tokio::spawn(queue.probe()), tokio::spawn(queue.probe()));
    while dial.1.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    let listener = socket.listen(8).expect("listen");
    assert!(first.await.expect("it ends") && second.await.expect("it ends"));
    // Both shared one run: one connection was made.
    let _ = listener.accept().await.expect("accept");
    let more = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(more.is_err(), "{more:?}");
}

/// Sends a request through a queue with this template and reads what is logged.
async fn logged(template: &str, request: Request<Body>, handler: serve::Handler) -> String {
    let settings = Settings {
        namespace: "ns".into(),
        revision: "rev".into(),
        configuration: "cfg".into(),
        service: "svc".into(),
        pod: "pod".into(),
        pod_ip: "10.0.0.9".into(),
        user_port: 1,
        request_log_template: template.into(),
        ..Settings::default()
    };
    let (queue, lines) = Queue::logging(settings, app(handler).await);
    let from = "192.0.2.7:4711".parse().expect("an address");
    read(queue.handle_from(request, from).await).await;
    drop(queue);
    let mut lines = lines.expect("there is a template");
    lines.next().await.unwrap_or_default()
}

#[tokio::test]
async fn logs_what_was_agreed_on_in_tls() {
    let template = "TLS: {{.Request.TLS}} {{if .Request.TLS}}{{.Request.TLS.Version}}{{end}}";
    let handler: serve::Handler =
        Arc::new(|_, _| Box::pin(async { Response::new(Body::full("hello")) }));
    let mut request = Request::get("/").body(Body::empty()).expect("valid");
    let line =
        logged(template, Request::get("/").body(Body::empty()).expect("valid"), handler.clone());
    assert_eq!(line.await, "TLS: <nil> \n");
    request.extensions_mut().insert(Arc::new(crate::tls::Session {
        version: 0x0304,
        suite: 0x1301,
        protocol: "h2".into(),
        server_name: "data-plane.knative.dev".into(),
        is_resumed: false,
    }));
    let line = logged(template, request, handler).await;
    assert_eq!(line, "TLS: {772 true false 4865 h2 true data-plane.knative.dev [] []} 772\n");
}

#[tokio::test]
async fn logs_each_request_as_the_template_says() {
    let request = || {
        Request::post("/a/b%20c?x=1&y=a%26b&x=2")
            .header("host", "10.0.0.1")
            .header("k-original-host", "hello.example")
            .header("user-agent", "curl/8.0 <x>")
            .header("referer", "http://there/")
            .header("x-request-id", "7")
            .header("accept", "a")
            .header("accept", "b")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .body(Body::full("four"))
            .expect("valid")
    };
    for (template, line) in [
        ("{{.Request.URL}}\n", "/a/b%20c?x=1&y=a%26b&x=2\n"),
        ("{{.Request.ContentLength}}", "4\n"),
        (
            "{{.Revision.Name}}, {{.Revision.Namespace}}, {{.Revision.Service}}, \
             {{.Revision.Configuration}}, {{.Revision.PodName}}, {{.Revision.PodIP}}",
            "rev, ns, svc, cfg, pod, 10.0.0.9\n",
        ),
        ("{{.Response.Code}} {{.Response.Size}}", "201 5\n"),
        (
            "{{.Request.Method}} {{js .Request.RequestURI}}",
            "POST /a/b%20c?x\\u003D1\\u0026y\\u003Da%26b\\u0026x\\u003D2\n",
        ),
        (
            "{{.Request.Host}} {{.Request.RemoteAddr}} {{.Request.Proto}}",
            "hello.example 192.0.2.7:4711 HTTP/1.1\n",
        ),
        (
            "{{js .Request.UserAgent}} {{.Request.Referer}}",
            "curl/8.0 \\u003Cx\\u003E http://there/\n",
        ),
        ("{{.Request.Header.Get \"x-request-id\"}}{{.Request.Header.Get \"no\"}}", "7\n"),
        (
            "{{index .Request.Header \"Accept\"}} {{index .Request.Header \"Accept\" 1}}",
            "[a b] b\n",
        ),
        ("{{.Request.Header.Get \"Host\"}}{{.Request.Header.Get \"K-Original-Host\"}}", "\n"),
        (
            "{{range $name, $values := .Request.Header}}{{$name}};{{end}}",
            "Accept;Referer;Traceparent;User-Agent;X-Request-Id;\n",
        ),
        ("{{.Request.URL.Path}} {{.Request.URL.RawQuery}}", "/a/b c x=1&y=a%26b&x=2\n"),
        (
            "{{.Request.URL.Query.Get \"y\"}} {{.Request.FormValue \"x\"}} {{index .Request.URL.Query \"x\"}}",
            "a&b 1 [1 2]\n",
        ),
        ("{{.TraceID}}", "4bf92f3577b34da6a3ce929d0e0e4736\n"),
        (
            "{{if ge .Response.Code 500}}bad{{else}}{{printf \"%d-%s\" .Response.Code .Request.Method}}{{end}}",
            "201-POST\n",
        ),
    ] {
        let handler: serve::Handler = Arc::new(|_, _| {
            Box::pin(async {
                let mut response = Response::new(Body::full("hello"));
                *response.status_mut() = StatusCode::CREATED;
                response
            })
        });
        assert_eq!(logged(template, request(), handler).await, line, "{template}");
    }
    // The latency is a matter of time.
    let found = logged("{{.Response.Latency}}", request(), mirror()).await;
    let latency: f64 = found.trim_end().parse().expect("a number");
    assert!(latency > 0.0 && latency < 10.0, "{latency}");
    // A mistake that only shows when the template is filled in.
    let found = logged("{{.Request.Something}}", request(), mirror()).await;
    assert!(
        found.starts_with(
            "Invalid request log template: method: POST, response code: 200, latency: "
        ),
        "{found}"
    );
    assert!(found.ends_with("url: /a/b%20c?x=1&y=a%26b&x=2\n"), "{found}");
    // Upstream's own template makes JSON.
    let found = logged(config_like(), request(), mirror()).await;
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["httpRequest"]["requestUrl"], "/a/b%20c?x=1&y=a%26b&x=2");
    assert_eq!(found["httpRequest"]["remoteIp"], "192.0.2.7:4711");
    assert_eq!(found["httpRequest"]["requestSize"], "4");
}

/// What `config-observability` has unless it says otherwise.
fn config_like() -> &'static str {
    r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}"#
}

#[tokio::test]
async fn logs_what_was_asked_for_and_leaves_out_what_does_not_fit() {
    let dial = app(mirror()).await;
    let settings = |template: &str, log_probes| Settings {
        user_port: 1,
        request_log_template: template.into(),
        log_probes,
        ..Settings::default()
    };
    let probe = || get(&[("host", "a"), ("k-network-probe", "probe")]);
    // No template, no log.
    assert!(Queue::logging(settings("", true), dial.clone()).1.is_none());
    for (log_probes, wanted) in [(false, "200 1.1.1.1\n"), (true, "200 \n200 1.1.1.1\n")] {
        let template = "{{.Response.Code}} {{.Request.RemoteAddr}}";
        let (queue, lines) = Queue::logging(settings(template, log_probes), dial.clone());
        read(queue.handle(probe()).await).await;
        let forwarded = get(&[("host", "a"), ("x-forwarded-for", "9.9.9.9, 1.1.1.1")]);
        read(queue.handle(forwarded).await).await;
        assert_eq!(lines.expect("a log").next().await.expect("a line"), wanted);
    }
    // Nobody writes: requests go on, and what is left out is counted.
    let (queue, lines) = Queue::logging(settings("x", true), dial.clone());
    for _ in 0..600 {
        assert_eq!(read(queue.handle(probe()).await).await.0, 200);
    }
    assert_eq!(queue.left_out(), 600 - 512);
    drop(queue);
    let mut lines = lines.expect("a log");
    let mut written = 0;
    while let Some(text) = lines.next().await {
        written += text.lines().count();
    }
    assert_eq!(written, 512);
    // Who leaves before there is an answer is logged too.
    let (queue, lines) = Queue::logging(settings("{{.Response.Code}}", true), {
        app(Arc::new(|_, _| Box::pin(std::future::pending()))).await
    });
    drop(queue.handle(get(&[("host", "a")])));
    assert_eq!(lines.expect("a log").next().await.expect("a line"), "502\n");
}

/// A server that knows HTTP/1.1 alone, and tells in its answer what it was asked.
async fn http1_alone() -> Arc<To> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let count = stream.read(&mut read).await.unwrap_or(0);
                let answer = match read[..count].starts_with(b"PRI ") {
                    true => {
                        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                    }
                    false => {
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nHTTP/1.1"
                    }
                };
                // Who leaves early has heard enough.
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Arc::new(To(address, AtomicUsize::new(0)))
}

#[tokio::test]
async fn finds_out_whether_the_container_speaks_http2() {
    let versions: serve::Handler = Arc::new(|request, _| {
        let text = match request.headers().contains_key("upgrade") {
            true => "upgrade".to_owned(),
            false => format!("{:?}", request.version()),
        };
        Box::pin(async move { Response::new(Body::full(text)) })
    });
    let both = app(versions).await;
    let alone = http1_alone().await;
    let http = Probe {
        http_get: Some(HTTPGetAction { port: IntOrString::Int(0), ..HTTPGetAction::default() }),
        ..Probe::default()
    };
    let tcp = Probe { tcp_socket: Some(TCPSocketAction::default()), ..Probe::default() };
    for (detect_h2c, probe, dial, before, after) in [
        (true, &http, &both, "HTTP/1.1", "HTTP/2.0"),
        (true, &http, &alone, "HTTP/1.1", "HTTP/1.1"),
        (false, &http, &both, "HTTP/1.1", "HTTP/1.1"),
        // A connection tells nothing.
        (true, &tcp, &both, "HTTP/1.1", "HTTP/1.1"),
    ] {
        let settings = Settings {
            user_port: 1,
            detect_h2c,
            readiness: vec![probe.clone()],
            ..Settings::default()
        };
        let queue = Queue::new(settings, dial.clone());
        let asked = read(queue.handle(get(&[("host", "a")])).await).await;
        assert_eq!(asked, (200, before.to_owned()));
        assert!(queue.probe().await && queue.probe().await);
        let asked = read(queue.handle(get(&[("host", "a")])).await).await;
        assert_eq!(asked, (200, after.to_owned()), "{detect_h2c} {probe:?}");
    }
    let settings =
        Settings { user_port: 1, detect_h2c: true, readiness: vec![http], ..Settings::default() };
    let queue = Queue::new(settings, both);
    assert!(queue.probe().await);
    // Asking for another protocol is only possible in HTTP/1.1.
    let upgrade = get(&[("host", "a"), ("upgrade", "websocket")]);
    assert_eq!(read(queue.handle(upgrade).await).await.1, "upgrade");
}

#[tokio::test]
async fn measures_requests_when_asked_to() {
    let handler: serve::Handler = Arc::new(|request, _| {
        Box::pin(async move {
            let found = request.uri().path() != "/none";
            let mut response = Response::new(Body::full("hello"));
            *response.status_mut() = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
            response
        })
    });
    let settings = Settings {
        namespace: "ns".into(),
        revision: "rev".into(),
        configuration: "cfg".into(),
        service: "svc".into(),
        pod: "pod".into(),
        user_port: 1,
        container_concurrency: 2,
        ..Settings::default()
    };
    let dial = app(handler).await;
    assert_eq!(Queue::new(settings.clone(), dial.clone()).metrics(), None);
    let settings = Settings { request_metrics: true, opencensus_names: true, ..settings };
    let queue = Queue::new(settings, dial);
    let tagged = [("host", "a"), ("knative-serving-tag", "blue")];
    for request in [get(&[("host", "a")]), get(&[("host", "a")]), get(&tagged)] {
        assert_eq!(read(queue.handle(request).await).await.0, 200);
    }
    let none = Request::post("/none").header("host", "a").body(Body::full("four")).expect("valid");
    assert_eq!(read(queue.handle(none).await).await.0, 404);
    read(queue.handle(get(&[("host", "a"), ("k-network-probe", "queue")])).await).await;
    let asked = Request::get("/metrics").body(Body::empty()).expect("valid");
    let (status, text) = read(queue.answer_metrics(&asked).await).await;
    assert_eq!(status, 200);
    let whole = |method: &str, code: &str, tag: &str| {
        format!(
            "{{http_request_method=\"{method}\",http_response_status_code=\"{code}\",kn_route_tag=\"{tag}\",\
             network_protocol_name=\"http\",network_protocol_version=\"1.1\",url_scheme=\"http\"}}"
        )
    };
    let (plain, blue) = (whole("GET", "200", "kn:disabled"), whole("GET", "200", "blue"));
    let none = whole("POST", "404", "kn:disabled");
    for line in [
        "kn_serving_invocation_duration_seconds_count{http_response_status_code=\"200\"} 3".into(),
        "kn_serving_invocation_duration_seconds_count{http_response_status_code=\"404\"} 1".into(),
        "kn_serving_queue_depth 0".into(),
        format!("http_server_request_duration_seconds_count{plain} 2"),
        format!("http_server_request_duration_seconds_count{blue} 1"),
        format!("http_server_request_body_size_bytes_sum{none} 4"),
        format!("http_server_response_body_size_bytes_sum{none} 5"),
        "target_info{k8s_container_name=\"queue-proxy\",k8s_namespace_name=\"ns\",k8s_pod_name=\"pod\",\
         kn_configuration_name=\"cfg\",kn_revision_name=\"rev\",kn_service_name=\"svc\",\
         service_instance_id=\"pod\",service_name=\"svc\",service_version=\"0.1.0\"} 1"
            .into(),
        "revision_app_request_count{response_code=\"404\",response_code_class=\"4xx\",\
         container_name=\"queue-proxy\",namespace_name=\"ns\",pod_name=\"pod\",configuration_name=\"cfg\",\
         revision_name=\"rev\",service_name=\"svc\"} 1"
            .into(),
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_speak_another_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let dial = Arc::new(To(listener.local_addr().expect("an address"), AtomicUsize::new(0)));
    let container = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the queue");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a request"));
        }
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer).await.expect("the queue listens");
        stream
    });
    let queue = Queue::new(Settings::default(), dial);
    let asked = get(&[("host", "a"), ("connection", "upgrade"), ("upgrade", "websocket")]);
    let response = queue.handle(asked).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = container.await.expect("no panic");
    let drained = tokio::time::timeout(Duration::from_secs(10), queue.drain());
    drained.await.expect("nothing is waited for");
    // Told to stop, the container says goodbye.
    stream.write_all(b"bye").await.expect("the queue listens");
    drop(stream);
    assert_eq!(read(response).await.1, "bye");
}
