//! Every sample as it is: applied, at zero, and woken by a request of its kind.

use std::{collections::BTreeSet, fs};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode};
use tests::{
    parts,
    platform::Platform,
    stream::{self, Piece, Protocol},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// The manifests, in the order in which they are applied.
const SAMPLES: [&str; 7] = [
    "blue-green/1-blue.yaml",
    "blue-green/2-green.yaml",
    "domain-mapping.yaml",
    "grpc.yaml",
    "hello.yaml",
    "slow.yaml",
    "websocket.yaml",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_works_from_zero() {
    let folder = parts::root().join("deploy/samples");
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        if entry.file_name() == "events" {
            continue; // Tried where events are.
        }
        let inside = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        there.extend(inside.map(|it| it.path()));
        there.extend(entry.path().is_file().then(|| entry.path()));
    }
    let listed: BTreeSet<_> = SAMPLES.iter().map(|it| folder.join(it)).collect();
    assert_eq!(there, listed, "each sample is tried here");

    let platform = Platform::start().await;
    for sample in SAMPLES {
        platform.apply_sample(sample).await;
        if sample == "blue-green/1-blue.yaml" {
            // People look at the first before they apply the second.
            platform.ready("colours").await;
        }
    }
    let services = ["colours", "grpc", "hello", "slow", "websocket"];
    for service in services {
        platform.ready(service).await;
    }
    for service in services {
        platform.at_zero(service).await;
    }
    tokio::join!(
        hello(&platform),
        slow(&platform),
        grpc(&platform),
        websocket(&platform),
        colours(&platform)
    );
}

async fn hello(platform: &Platform) {
    let host = platform.host("hello").await;
    assert_eq!(platform.get(&host, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
    let mapped = "greetings.localhost";
    let line = format!("wait dm/{mapped} --for=condition=Ready --timeout=60s");
    platform.kubectl().run(&line).await.ok();
    assert_eq!(platform.get(mapped, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
}

async fn slow(platform: &Platform) {
    let host = platform.host("slow").await;
    let text = platform.get(&host, "/?sleep=50&prime=1000&bloat=5").await.unwrap().ok().unwrap();
    for part in ["Allocated 5 MB.", "less than 1000 is 997.", "Slept for 50 milliseconds."] {
        assert!(text.contains(part), "{text}");
    }
    let refused = platform.get(&host, "/?sleep=999999999").await.unwrap();
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

async fn colours(platform: &Platform) {
    let host = platform.host("colours").await;
    let tagged = platform.get(&format!("green-{host}"), "/").await.unwrap().ok().unwrap();
    assert_eq!(tagged, "Hello Green!\n");
    let mut greens = 0;
    for _ in 0..300 {
        let text = platform.get(&host, "/").await.unwrap().ok().unwrap();
        assert!(["Hello Blue!\n", "Hello Green!\n"].contains(&&*text), "{text}");
        greens += usize::from(text.contains("Green"));
    }
    // A tenth is 30; five deviations to either side.
    assert!((4..=56).contains(&greens), "{greens} of 300 are green");
}

async fn grpc(platform: &Platform) {
    let host = platform.host("grpc").await;
    // Unary, and the first of both finds the service at zero.
    let (reply, status) = call(platform, Protocol::Http2, &host, "Say", &["hi"]).await;
    assert_eq!((reply, status.as_deref()), (messages(&["hi"]), Some("0")));
    let (_, status) = call(platform, Protocol::Http2, &host, "Shout", &["hi"]).await;
    assert_eq!(status.as_deref(), Some("12"), "an unknown method is UNIMPLEMENTED");
    // The container speaks HTTP/2 also to those who do not: trailers and all.
    let (reply, status) = call(platform, Protocol::Http1, &host, "Stream", &["a", "b"]).await;
    assert_eq!((reply, status.as_deref()), (messages(&["a", "b"]), Some("0")));

    // A stream in both directions: each message is answered before the next is sent.
    let (mut sending, body) = stream::body();
    let request = request(Protocol::Http2, &host, "Stream").body(body).unwrap();
    let mut answer = stream::send(Protocol::Http2, platform.gateway(), request).await.unwrap();
    for text in ["one", "two", "three"] {
        let message = messages(&[text]);
        sending.data(message.clone()).await.unwrap();
        assert_eq!(answer.exactly(message.len()).await.unwrap(), message);
    }
    drop(sending);
    let Piece::Trailers(trailers) = answer.next().await.unwrap() else {
        panic!("gRPC ends with trailers")
    };
    assert_eq!(trailers["grpc-status"], "0");
}

fn request(protocol: Protocol, host: &str, method: &str) -> http::request::Builder {
    stream::post(protocol, host, &format!("/weft.samples.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// Sends messages, and gives those that came back and the status.
async fn call(
    platform: &Platform,
    protocol: Protocol,
    host: &str,
    method: &str,
    texts: &[&str],
) -> (Bytes, Option<String>) {
    let (mut sending, body) = stream::body();
    let request = request(protocol, host, method).body(body).unwrap();
    let sent = async move {
        for text in texts {
            // A method that is not there ends the request early.
            let _ = sending.data(messages(&[text])).await;
        }
    };
    let (answer, ()) = tokio::join!(stream::send(protocol, platform.gateway(), request), sent);
    let answer = answer.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let early = answer.headers.get("grpc-status").cloned();
    let (data, trailers) = answer.rest().await.unwrap();
    let status = early.as_ref().or(trailers.get("grpc-status"));
    (data.into(), status.map(|it| it.to_str().unwrap().to_owned()))
}

/// Messages of one text field each, as gRPC frames them.
fn messages(texts: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    for text in texts {
        out.put_u8(0);
        out.put_u32(text.len() as u32 + 2);
        out.put_u8(0x0a);
        out.put_u8(text.len() as u8);
        out.put_slice(text.as_bytes());
    }
    out.freeze()
}

async fn websocket(platform: &Platform) {
    let host = platform.host("websocket").await;
    let mut request = format!("ws://{host}/").into_client_request().unwrap();
    request.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
    let stream = TcpStream::connect(platform.gateway()).await.unwrap();
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let large = Bytes::from(vec![7; 1 << 20]);
    for message in [Message::text("hello"), Message::binary(large), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    socket.close(None).await.unwrap();
    let last = socket.next().await.transpose().unwrap();
    assert!(matches!(last, None | Some(Message::Close(_))), "{last:?}");

    let plain = platform.get(&host, "/").await.unwrap();
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED);
}
