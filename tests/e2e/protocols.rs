//! What passes from a client to a container and back, besides plain requests.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use tests::{
    http as client, parts,
    platform::Platform,
    stream::{self, Piece, Protocol},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The longest that an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A platform that runs `origin.py` as the Service `origin`, which begins at zero.
pub async fn with_origin() -> Platform {
    let platform = Platform::start().await;
    with_python(&platform);
    platform.apply(&origin("origin", "initial-scale: \"0\"")).await;
    platform.ready("origin").await;
    platform
}

/// Makes `dev.local/python` run Python, with this folder's scripts.
pub fn with_python(platform: &Platform) {
    let scripts = parts::root().join("tests/e2e");
    platform.add_image("dev.local/python", &parts::python(), &scripts);
}

/// A Service that runs `origin.py`; the annotation is one of the autoscaler's.
pub fn origin(name: &str, annotation: &str) -> String {
    let script = parts::root().join("tests/e2e/origin.py");
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{annotations: {{autoscaling.knative.dev/{annotation}}}}}
    spec:
      containers:
      - {{image: dev.local/python, args: ['{}']}}
",
        script.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways_at_once_with_their_trailers() {
    let platform = with_origin().await;
    let host = platform.host("origin").await;
    // The first finds the service at zero.
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (mut sending, body) = stream::body();
        let request =
            stream::post(protocol, &host, "/echo").header("trailer", "x-check").body(body);
        let mut answer =
            stream::send(protocol, platform.gateway(), request.unwrap()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{protocol:?}");
        // Each piece comes back before the next one is sent, so nothing on the way waits for more.
        for piece in ["one", "another", "the third"] {
            sending.data(piece).await.unwrap();
            let back = answer.exactly(piece.len()).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&back), piece, "{protocol:?}");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", HeaderValue::from_static("4711"));
        sending.trailers(trailers.clone()).await.unwrap();
        assert_eq!(answer.next().await.unwrap(), Piece::Trailers(trailers), "{protocol:?}");
    }

    let big = vec![b'x'; 3 << 20];
    let (mut sending, body) = stream::body();
    let request = stream::post(Protocol::Http2, &host, "/echo").body(body).unwrap();
    let answer = stream::send(Protocol::Http2, platform.gateway(), request).await.unwrap();
    let (sent, back) = tokio::join!(
        async move {
            for piece in big.chunks(100_000) {
                sending.data(piece.to_vec()).await?;
            }
            anyhow::Ok(())
        },
        answer.rest()
    );
    sent.unwrap();
    assert_eq!(back.unwrap().0.len(), 3 << 20, "what is larger than any window passes too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_wait_for_leave_to_send() {
    let platform = with_origin().await;
    let host = platform.host("origin").await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(platform.gateway()).await.unwrap();
    stream.write_all(head("/echo").as_bytes()).await.unwrap();
    let leave = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut first = vec![0; leave.len()];
    // Also from zero: the body is wanted when the container is there to want it.
    timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("the leave comes").unwrap();
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(leave));
    stream.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest)).await.expect("an answer comes").unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.contains("hello"), "{rest}");

    // One that refuses does so without the body, and nobody gave leave to send it.
    let refused = client::raw(platform.gateway(), head("/refuse").as_bytes(), PATIENCE).await;
    let refused = String::from_utf8(refused.unwrap()).unwrap();
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_smuggling_reaches_another_service() {
    let platform = with_origin().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let victim = platform.host("origin").await;
    let hello = platform.host("hello").await;
    // It runs, so that one request is enough to be seen.
    platform.get(&victim, "/first").await.unwrap().ok().unwrap();
    let hidden = format!("GET /smuggled HTTP/1.1\r\nHost: {victim}\r\nX: ");
    let length = hidden.len();
    let head = format!("POST / HTTP/1.1\r\nHost: {hello}\r\n");
    let forms = [
        format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!(
            "{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("{head} Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\n{hidden}\n0\r\n\r\n"),
        format!("{head}X: a\rContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Host: {victim}\r\n\r\n"),
        format!("GET /smuggled HTTP/1.1\r\nHost: {hello}\r\nHost: {victim}\r\n\r\n"),
        format!("GET /smuggled HTTP/1.1\r\nHost: {hello}, {victim}\r\n\r\n"),
        format!("GET /smuggled HTTP/1.1\r\nHost: {hello}\r\n Host: {victim}\r\n\r\n"),
        format!("GET /smuggled HTTP/1.1\nHost : {victim}\n\n"),
    ];
    for form in &forms {
        // An honest request follows on the same connection; its own head must not become part of the hidden one.
        let bytes =
            format!("{form}GET /after HTTP/1.1\r\nHost: {hello}\r\nConnection: close\r\n\r\n");
        // A connection that is reset is an answer too.
        let answer =
            client::raw(platform.gateway(), bytes.as_bytes(), Duration::from_secs(3)).await;
        let answer = String::from_utf8_lossy(&answer.unwrap_or_default()).into_owned();
        assert!(!answer.contains("\r\n\r\nok"), "the other service answers {form:?}: {answer}");
    }
    let seen = platform.get(&victim, "/seen").await.unwrap().ok().unwrap();
    assert_eq!(seen, "/first", "requests for another service arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_and_those_that_leave_hold_up_nobody() {
    let platform = with_origin().await;
    let host = platform.host("origin").await;
    let mut slow = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(platform.gateway()).await.unwrap();
        // Half a head, half a body, or an answer that nobody reads.
        let bytes = match at % 3 {
            0 => format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: "),
            1 => format!("POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nx"),
            _ => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        stream.write_all(bytes.as_bytes()).await.unwrap();
        if at % 2 == 0 {
            slow.push(stream);
        }
    }
    for _ in 0..20 {
        let reply = timeout(PATIENCE, platform.get(&host, "/honest")).await;
        reply.expect("an honest client is answered").unwrap().ok().unwrap();
    }
    drop(slow);
}
