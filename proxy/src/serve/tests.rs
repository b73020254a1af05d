//! One hop from socket to socket: a client's bytes, the hop, an origin's bytes.

use http_body_util::BodyExt;
use tokio::{io::AsyncWriteExt, task::JoinHandle};

use super::*;
use crate::{
    hop::{Protocol, SendError, Upstream},
    upstream::Pool,
};

/// Waits are bounded: what takes longer than this will never come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Hop {
    address: SocketAddr,
    drain: drain::Count,
    serving: JoinHandle<()>,
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn start(handler: Handler) -> Hop {
    let (listener, address) = listen().await;
    let drain = drain::Count::default();
    let serving = tokio::spawn(serve(listener, handler, Settings::default(), drain.clone()));
    Hop { address, drain, serving }
}

/// A hop that sends all to `origin`.
async fn hop_to(origin: SocketAddr, protocol: Protocol) -> Hop {
    let pool = Pool::new(crate::upstream::Settings::default());
    start(Arc::new(move |request, _| {
        let sending = pool.send(origin, protocol, request);
        Box::pin(async move {
            match sending.await {
                Ok(response) => response,
                Err(SendError::NotSent { .. }) => plain(StatusCode::BAD_GATEWAY, "not sent".into()),
                Err(SendError::Lost { .. }) => plain(StatusCode::BAD_GATEWAY, "lost".into()),
            }
        })
    }))
    .await
}

/// An origin that takes connections one after the other; on each it plays its steps.
fn origin(listener: TcpListener, connections: Vec<Vec<Step>>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        for steps in connections {
            let (mut stream, _) = listener.accept().await.expect("accept");
            for step in steps {
                match step {
                    Step::Until(end) => seen.push(read_until(&mut stream, end).await),
                    Step::Say(text) => stream.write_all(text.as_bytes()).await.expect("write"),
                }
            }
        }
        seen
    })
}

enum Step {
    Until(&'static str),
    Say(&'static str),
}
use Step::{Say, Until};

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let reading = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        let text_so_far = String::from_utf8_lossy(&text);
        text.push(
            reading
                .unwrap_or_else(|_| panic!("nothing more came after {text_so_far:?}"))
                .unwrap_or_else(|error| panic!("{error} after {text_so_far:?}")),
        );
    }
    String::from_utf8(text).expect("text")
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says `request` on a new connection and reads until the hop closes it.
async fn ask(hop: &Hop, request: &str) -> String {
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    stream.write_all(request.as_bytes()).await.expect("write");
    read_all(&mut stream).await
}

#[tokio::test]
async fn carries_requests_and_responses_as_they_are_framed() {
    struct Case {
        request: &'static str,
        origin: Vec<Step>,
        forwarded: &'static str,
        response: &'static str,
    }
    let cases = [
        Case {
            request: "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![
                Until("\r\n\r\n"),
                Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            ],
            forwarded: "GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        },
        Case {
            request: "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![Until("\r\n\r\n"), Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")],
            forwarded: "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n",
        },
        Case {
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![Until("\r\n\r\n"), Say("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n")],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 204 No Content\r\nx: y\r\nconnection: close\r\n\r\n",
        },
        Case {
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![
                Until("\r\n\r\n"),
                Say("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
            ],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
        },
        Case {
            // Chunks and trailers both ways.
            request: "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\
                      Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nsum: 1\r\n\r\n",
            origin: vec![
                Until("sum: 1\r\n\r\n"),
                Say(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: end\r\n\r\n4\r\nwxyz\r\n0\r\nend: 2\r\n\r\n",
                ),
            ],
            forwarded: "POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
                        3\r\nabc\r\n0\r\nsum: 1\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ntrailer: end\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                       4\r\nwxyz\r\n0\r\nend: 2\r\n\r\n",
        },
        Case {
            // A body that ends with the connection becomes chunks.
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![Until("\r\n\r\n"), Say("HTTP/1.0 200 OK\r\n\r\nhello")],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                       5\r\nhello\r\n0\r\n\r\n",
        },
        Case {
            // A client of HTTP/1.0 gets neither chunks nor a kept connection.
            request: "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
            origin: vec![
                Until("\r\n\r\n"),
                Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            ],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
        },
        Case {
            request: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            origin: vec![Until("\r\n\r\n"), Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
            forwarded: "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        },
        Case {
            // Interim responses come before.
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![
                Until("\r\n\r\n"),
                Say(
                    "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                ),
            ],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        },
        Case {
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![Until("\r\n\r\n")],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
                       content-length: 4\r\nconnection: close\r\n\r\nlost",
        },
        Case {
            // An origin that smuggles is not believed.
            request: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            origin: vec![
                Until("\r\n\r\n"),
                Say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            ],
            forwarded: "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            response: "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
                       content-length: 4\r\nconnection: close\r\n\r\nlost",
        },
    ];
    for case in cases {
        let (listener, address) = listen().await;
        let origin = origin(listener, vec![case.origin]);
        let hop = hop_to(address, Protocol::Http1).await;
        assert_eq!(ask(&hop, case.request).await, case.response, "{:?}", case.request);
        assert_eq!(origin.await.expect("the origin ends"), [case.forwarded]);
    }
}

#[tokio::test]
async fn answers_pipelined_requests_in_order_over_kept_connections() {
    let (listener, address) = listen().await;
    let origin = origin(
        listener,
        vec![vec![
            Until("\r\n\r\n"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
            Until("\r\n\r\n"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"),
            Until("\r\n\r\nbody"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let answers = ask(
        &hop,
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n\
         POST /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
    )
    .await;
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(bodies, ["1", "2", "3"], "{answers}");
    assert_eq!(origin.await.expect("the origin ends").len(), 3);
}

#[tokio::test]
async fn sends_again_when_a_kept_connection_was_closed_as_it_was_used() {
    let (listener, address) = listen().await;
    let origin = origin(
        listener,
        vec![
            // Takes the second request and closes without a word, as a server does whose patience
            // ends at that moment.
            vec![
                Until("\r\n\r\n"),
                Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                Until("\r\n\r\n"),
            ],
            vec![Until("\r\n\r\n"), Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
        ],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let answers = ask(
        &hop,
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answers.ends_with("\r\n\r\nok"), "{answers}");
    let seen = origin.await.expect("the origin ends");
    assert_eq!(seen[1], seen[2]);
}

#[tokio::test]
async fn passes_expectations_on() {
    // Wanted: the client is told to go on only when the origin was heard to say so.
    let (listener, address) = listen().await;
    let wanted = origin(
        listener,
        vec![vec![
            Until("\r\n\r\n"),
            Say("HTTP/1.1 100 Continue\r\n\r\n"),
            Until("body"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.expect("write");
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 OK"));
    wanted.await.expect("the origin ends");

    // Not wanted: the client hears so, and is not told to go on.
    let (listener, address) = listen().await;
    let refused = origin(
        listener,
        vec![vec![Until("\r\n\r\n"), Say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let answer = ask(&hop, head).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    refused.await.expect("the origin ends");
}

#[tokio::test]
async fn passes_interim_responses_on() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    // At once: the origin goes on only when the client, who has heard it, does.
    let (listener, address) = listen().await;
    let hinting = origin(
        listener,
        vec![vec![
            Until("\r\n\r\n"),
            Say(HINTS),
            Until("go"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            Until("\r\n\r\n"),
            // Many, and the final one right behind them.
            Say("HTTP/1.1 102 Processing\r\n\r\n"),
            Say(HINTS),
            Say("HTTP/1.1 204 No Content\r\n\r\n"),
            Until("\r\n\r\n"),
            Say(HINTS),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(post.as_bytes()).await.expect("write");
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, HINTS);
    stream.write_all(b"go").await.expect("write");
    assert!(read_until(&mut stream, "\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK"));

    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let first = read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(first, "HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, HINTS);
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));

    // A client of HTTP/1.0 would take it for the response.
    let old = ask(&hop, "GET / HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.1 200 OK") && old.ends_with("old"), "{old}");
    hinting.await.expect("the origin ends");
}

#[tokio::test]
async fn joins_the_halves_of_an_upgraded_connection() {
    let (listener, address) = listen().await;
    let origin = origin(
        listener,
        vec![vec![
            Until("\r\n\r\n"),
            Say(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi",
            ),
            Until("ping"),
            Say("pong"),
            Until("more"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("write");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"
    );
    assert_eq!(read_until(&mut stream, "hi").await, "hi");
    stream.write_all(b"ping").await.expect("write");
    assert_eq!(read_until(&mut stream, "pong").await, "pong");
    stream.write_all(b"more").await.expect("write");
    assert_eq!(read_all(&mut stream).await, "", "the origin's end ends the connection");
    let seen = origin.await.expect("the origin ends");
    assert_eq!(
        seen[0],
        "GET / HTTP/1.1\r\nhost: x\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"
    );
}

#[tokio::test]
async fn keeps_the_connection_when_an_upgrade_is_declined() {
    let (listener, address) = listen().await;
    let origin = origin(
        listener,
        vec![vec![
            Until("\r\n\r\n"),
            Say("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
            Until("\r\n\r\n"),
            Say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let answers = ask(
        &hop,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n\
         GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answers.contains("no") && answers.ends_with("yes"), "{answers}");
    origin.await.expect("the origin ends");
}

#[tokio::test]
async fn streams_both_ways_at_once() {
    let (listener, address) = listen().await;
    let origin = origin(
        listener,
        vec![vec![
            Until("1\r\na\r\n"),
            Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n"),
            Until("1\r\nb\r\n"),
            Say("1\r\nB\r\n"),
            Until("0\r\n\r\n"),
            Say("0\r\n\r\n"),
        ]],
    );
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    read_until(&mut stream, "1\r\nA\r\n").await;
    stream.write_all(b"1\r\nb\r\n").await.expect("write");
    assert_eq!(read_until(&mut stream, "B\r\n").await, "1\r\nB\r\n");
    stream.write_all(b"0\r\n\r\n").await.expect("write");
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
    origin.await.expect("the origin ends");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_behind_the_hop() {
    let (listener, address) = listen().await;
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_until(&mut stream, "\r\n\r\n").await;
        read_all(&mut stream).await
    });
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    // The origin has the request when it waits for the end of the connection.
    tokio::task::yield_now().await;
    drop(stream);
    let seen = tokio::time::timeout(PATIENCE, origin).await.expect("the origin sees the end");
    assert_eq!(seen.expect("the origin ends"), "");
}

#[tokio::test]
async fn refuses_bad_bodies_and_closes() {
    let read_all_handler: Handler = Arc::new(|request, _| {
        Box::pin(async move {
            match request.into_body().collect().await {
                Ok(body) => http::Response::new(Body::full(body.to_bytes())),
                Err(_) => plain(StatusCode::BAD_GATEWAY, "broken".into()),
            }
        })
    });
    let hop = start(read_all_handler).await;
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("\x16\x03\x01\x02\r\n\r\n", "400"),
    ] {
        let answer = ask(&hop, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?} {answer:?}");
        assert!(answer.contains("connection: close"), "{request:?} {answer:?}");
    }
    let mut large = String::from("GET / HTTP/1.1\r\nHost: x\r\n");
    while large.len() <= head::LIMIT {
        large.push_str(&format!("x-{}: {}\r\n", large.len(), "y".repeat(1000)));
    }
    let answer = ask(&hop, &large).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    // What browsers and gateways do send passes.
    let cookie = "c".repeat(64 * 1024);
    let answer = ask(
        &hop,
        &format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_with_its_head_is_refused() {
    let hop = start(Arc::new(|_, _| Box::pin(async { http::Response::new(Body::empty()) }))).await;
    let begun = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("write");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    assert!(begun.elapsed() >= Settings::default().head_timeout);
}

#[tokio::test]
async fn ends_after_the_requests_in_flight() {
    let (begin, began) = tokio::sync::oneshot::channel::<()>();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let both = parking_lot::Mutex::new(Some((begin, finished)));
    let hop = start(Arc::new(move |_, _| {
        let (begin, finished) = both.lock().take().expect("one request");
        Box::pin(async move {
            begin.send(()).expect("the test waits");
            finished.await.expect("the test goes on");
            http::Response::new(Body::full("done"))
        })
    }))
    .await;
    let mut idle = TcpStream::connect(hop.address).await.expect("connect");
    let asking = tokio::spawn({
        let address = hop.address;
        async move {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
            read_all(&mut stream).await
        }
    });
    began.await.expect("the request arrives");
    hop.drain.close();
    assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
    assert!(!hop.serving.is_finished());
    finish.send(()).expect("the handler waits");
    let answer = asking.await.expect("the client ends");
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    tokio::time::timeout(PATIENCE, hop.serving).await.expect("it ends").expect("it does not panic");
}

#[tokio::test]
async fn speaks_http2_on_the_same_port_and_behind_it() {
    // client -h2c-> hop -h2c-> origin, and client -h2c-> hop -http1-> origin.
    for protocol in [Protocol::H2c, Protocol::Http1] {
        let origin = start(Arc::new(move |request: Request<Body>, _| {
            Box::pin(async move {
                let host = request.headers()[header::HOST].clone();
                let cookies = request.headers().get_all(header::COOKIE).iter().count();
                let body = request.into_body().collect().await.expect("a body");
                let sum = body.trailers().map(|trailers| trailers["sum"].clone());
                let mut bytes = body.to_bytes().to_vec();
                bytes.extend_from_slice(host.as_bytes());
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                trailers.insert("sum", sum.expect("trailers came"));
                let frames = [
                    Ok::<_, io::Error>(http_body::Frame::data(bytes::Bytes::from(bytes))),
                    Ok(http_body::Frame::trailers(trailers)),
                ];
                assert_eq!(cookies, 1);
                let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
                http::Response::new(Body::new(body))
            })
        }))
        .await;
        let hop = hop_to(origin.address, protocol).await;
        let client = Pool::new(crate::upstream::Settings::default());
        let mut sums = HeaderMap::new();
        sums.insert("sum", HeaderValue::from_static("3"));
        let frames = [
            Ok::<_, io::Error>(http_body::Frame::data(bytes::Bytes::from_static(b"abc"))),
            Ok(http_body::Frame::trailers(sums)),
        ];
        let request = Request::post("/a")
            .header(header::HOST, "name.example")
            .header(header::TE, "trailers")
            .header(header::COOKIE, "a=1")
            .header(header::COOKIE, "b=2")
            .body(Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames))))
            .expect("valid");
        let response = client.send(hop.address, Protocol::H2c, request).await.expect("a response");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body");
        let trailers = body.trailers().expect("trailers").clone();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["sum"]),
            (&"0".parse().expect("valid"), &"3".parse().expect("valid"))
        );
        assert_eq!(body.to_bytes(), "abcname.example");
    }
}

#[tokio::test]
async fn a_body_of_http1_streams_into_http2() {
    // The body is then polled by another task than the connection's, and must wake it.
    let echo: Handler =
        Arc::new(|request, _| Box::pin(async move { http::Response::new(request.into_body()) }));
    let origin = start(echo).await;
    let hop = hop_to(origin.address, Protocol::H2c).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    for (sent, echoed) in [("1\r\na\r\n", "1\r\na\r\n"), ("2\r\nbc\r\n", "2\r\nbc\r\n")] {
        stream.write_all(sent.as_bytes()).await.expect("write");
        read_until(&mut stream, echoed).await;
    }
    stream.write_all(b"0\r\n\r\n").await.expect("write");
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_whole() {
    let echo: Handler =
        Arc::new(|request, _| Box::pin(async move { http::Response::new(request.into_body()) }));
    let origin = start(echo).await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    for (inner, outer) in [
        (Protocol::Http1, Protocol::Http1),
        (Protocol::H2c, Protocol::Http1),
        (Protocol::Http1, Protocol::H2c),
    ] {
        let hop = hop_to(origin.address, inner).await;
        let client = Pool::new(crate::upstream::Settings::default());
        let request = Request::post("/")
            .header(header::HOST, "x")
            .body(Body::full(bytes.clone()))
            .expect("valid");
        let response = client.send(hop.address, outer, request).await.expect("a response");
        let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
        let body = body.expect("in time").expect("a body").to_bytes();
        assert!(body == bytes, "{inner:?} {outer:?}: {} bytes", body.len());
    }
}

#[test]
fn shards_carry_connections_and_end() {
    let shards = Arc::new(Shards::start(2).expect("threads"));
    let names = Arc::new(parking_lot::Mutex::new(std::collections::BTreeSet::new()));
    let handler: Handler = Arc::new({
        let names = names.clone();
        move |_, _| {
            let name = std::thread::current().name().map(str::to_owned);
            names.lock().insert(name.expect("a name"));
            Box::pin(async { http::Response::new(Body::full("ok")) })
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (listener, address) = listen().await;
        let drain = drain::Count::default();
        let serving =
            serve_on(shards.clone(), listener, handler, Settings::default(), drain.clone());
        let serving = tokio::spawn(serving);
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .expect("write");
            assert!(read_all(&mut stream).await.ends_with("ok"));
        }
        drain.close();
        tokio::time::timeout(PATIENCE, serving).await.expect("it ends").expect("it does not panic");
    });
    drop(shards);
    assert_eq!(names.lock().len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_client_that_closed_its_half_is_answered() {
    let (listener, address) = listen().await;
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_until(&mut stream, "\r\n\r\n").await;
        ask.send(()).expect("the test waits");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("write");
    });
    let hop = hop_to(address, Protocol::Http1).await;
    let mut stream = TcpStream::connect(hop.address).await.expect("connect");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    stream.shutdown().await.expect("shut down");
    asked.await.expect("the origin is asked");
    assert!(read_all(&mut stream).await.ends_with("ok"));
    origin.await.expect("the origin ends");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Pieces of requests in any order, cut anywhere: the server answers in HTTP or closes, the
    /// handler sees no more requests than there are request lines, and nothing panics or hangs.
    #[test]
    fn no_bytes_confuse_the_server(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "GET /", " HTTP/1.1\r\n", "Host: x\r\n", "\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "0\r\n\r\n",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n",
            "Expect: 100-continue\r\n", "Upgrade: y\r\nConnection: upgrade\r\n", "abc", "\n", "\0", "\r", ":",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]), 0..12),
        cut in 0usize..200,
    ) {
        let text = pieces.concat();
        let lines = text.matches(" /").count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (answer, calls) = runtime.expect("a runtime").block_on(async {
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = calls.clone();
            let hop = start(Arc::new(move |request, _| {
                counted.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    let body = request.into_body().collect().await;
                    http::Response::new(Body::full(body.map(|body| body.to_bytes()).unwrap_or_default()))
                })
            }))
            .await;
            let mut stream = TcpStream::connect(hop.address).await.expect("connect");
            let cut = cut.min(text.len());
            // The server may have closed by the second write.
            let _ = stream.write_all(&text.as_bytes()[..cut]).await;
            tokio::task::yield_now().await;
            let _ = stream.write_all(&text.as_bytes()[cut..]).await;
            let _ = stream.shutdown().await;
            (read_all(&mut stream).await, calls.load(Ordering::SeqCst))
        });
        let is_http = answer.is_empty() || answer.starts_with("HTTP/1.1 ") || answer.as_bytes()[0] == 0;
        proptest::prop_assert!(is_http, "{:?} {:?}", text, answer);
        proptest::prop_assert!(calls <= lines, "{} calls for {:?}", calls, text);
    }
}
