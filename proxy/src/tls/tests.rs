//! The TLS port before clients that a test plays.

use std::{collections::HashMap, io};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::{
    body::Body,
    drain,
    serve::{Handler, Settings, serve},
};

/// Waits are bounded: what takes longer than this will never come.
const WAIT: Duration = Duration::from_secs(10);

/// A certificate as a Secret has it.
struct Made {
    chain: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make(host: &str) -> Made {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    Made {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

impl Made {
    fn read(&self) -> Certificate {
        let read = Certificate::read(self.chain.as_bytes(), self.key.as_bytes());
        read.expect("what was made can be read")
    }
}

type Table = Arc<Mutex<HashMap<String, Certificate>>>;

/// Where a port for TLS listens that answers with `handler`.
async fn start(handler: Handler, tls: Server) -> (SocketAddr, drain::Count) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (settings, drain) =
        (Settings { tls: Some(tls), ..Settings::default() }, drain::Count::default());
    tokio::spawn(serve(listener, handler, settings, drain.clone()));
    (address, drain)
}

fn by_table(table: &Table) -> Server {
    let table = table.clone();
    Server::new(move |host| table.lock().get(host).cloned())
}

/// Shakes hands as `host`'s client that trusts only `trusted`.
async fn dial(
    to: SocketAddr,
    host: &str,
    trusted: &Made,
    protocols: &[&str],
) -> io::Result<client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let stream = TcpStream::connect(to).await?;
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(WAIT, shaking).await.expect("an end of the handshake")
}

/// All that comes until the server ends the connection; an error if it does not say goodbye.
async fn read_all(stream: &mut client::TlsStream<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    tokio::time::timeout(WAIT, stream.read_to_string(&mut text)).await.expect("the end")?;
    Ok(text)
}

async fn ask(stream: &mut client::TlsStream<TcpStream>, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    read_all(stream).await
}

/// Answers with the protocol's version and the host.
fn tell() -> Handler {
    Arc::new(|request, _| {
        let host = request.headers()[header::HOST].to_str().expect("text").to_owned();
        let text = format!("{:?} {host}", request.version());
        Box::pin(async move { Response::new(Body::full(text)) })
    })
}

fn echo() -> Handler {
    Arc::new(|request, _| Box::pin(async move { Response::new(request.into_body()) }))
}

const CLOSING: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn shows_each_host_its_certificate_and_speaks_what_the_client_likes() {
    let (a, b) = (make("a.example"), make("b.example"));
    let table: Table = Arc::default();
    table.lock().extend([("a.example".into(), a.read()), ("b.example".into(), b.read())]);
    let (address, _) = start(tell(), by_table(&table)).await;
    for (host, trusted, offered, chosen) in [
        ("a.example", &a, &["h2", "http/1.1"][..], Some("h2")),
        ("A.example", &a, &["http/1.1"], Some("http/1.1")),
        ("b.example", &b, &["http/1.1", "h2"], Some("h2")),
        ("b.example", &b, &[], None),
    ] {
        let mut stream = dial(address, host, trusted, offered).await.expect("a handshake");
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, chosen.map(str::as_bytes), "{host} {offered:?}");
        if chosen == Some("h2") {
            let stream = TokioIo::new(stream);
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .expect("HTTP/2");
            tokio::spawn(connection);
            let request = Request::get("https://x/").body(Full::<Bytes>::default()).expect("valid");
            let response = sender.send_request(request).await.expect("a response");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(body, "HTTP/2.0 x");
        } else {
            let answer = ask(&mut stream, CLOSING).await.expect("an orderly end");
            assert!(answer.ends_with("\r\n\r\nHTTP/1.1 x"), "{answer}");
        }
    }
    // Each is shown its own: whoever trusts only the other's ends the handshake.
    dial(address, "a.example", &b, &[]).await.expect_err("the certificate of another host");
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_handshake_on() {
    let (old, new) = (make("a.example"), make("a.example"));
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), old.read());
    let (address, _) = start(tell(), by_table(&table)).await;
    let mut before = dial(address, "a.example", &old, &[]).await.expect("a handshake");
    table.lock().insert("a.example".into(), new.read());
    dial(address, "a.example", &old, &[]).await.expect_err("the old certificate is gone");
    let mut after = dial(address, "a.example", &new, &[]).await.expect("a handshake");
    for stream in [&mut before, &mut after] {
        let answer = ask(stream, CLOSING).await.expect("both connections work");
        assert!(answer.ends_with("HTTP/1.1 x"), "{answer}");
    }
    table.lock().clear();
    dial(address, "a.example", &new, &[]).await.expect_err("there is no certificate any more");
}

#[tokio::test]
async fn those_who_cannot_shake_hands_are_let_go() {
    let made = make("a.example");
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), made.read());
    let (address, drain) = start(tell(), by_table(&table)).await;
    for (host, protocols) in
        [("b.example", &[][..]), ("127.0.0.1", &[]), ("a.example", &["acme-tls/1"])]
    {
        dial(address, host, &made, protocols).await.expect_err(host);
    }
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"\0", b""]
    {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(bytes).await.expect("write");
        stream.shutdown().await.expect("shutdown");
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer)).await.expect("the end");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let mut stream = dial(address, "a.example", &made, &[]).await.expect("a handshake");
    ask(&mut stream, CLOSING).await.expect("the others are served");

    // One that says nothing has the time of a handshake and no more.
    let mut silent = TcpStream::connect(address).await.expect("connect");
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).await.expect("it is closed");
    assert!(nothing.is_empty() && begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
    // It left no connection behind.
    drain.close();
    drain.empty().await;
}

#[tokio::test]
async fn handshakes_wait_for_their_turn() {
    let made = make("a.example");
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), made.read());
    let server = Server { turns: Arc::new(Semaphore::new(1)), ..by_table(&table) };
    let turns = server.turns.clone();
    let (address, _) = start(tell(), server).await;
    let slow = TcpStream::connect(address).await.expect("connect");
    tokio::time::timeout(WAIT, async {
        while turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it has the only turn");
    let waiting = tokio::spawn(async move {
        let mut stream = dial(address, "a.example", &made, &[]).await?;
        ask(&mut stream, CLOSING).await
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(slow);
    let answer = waiting.await.expect("no panic").expect("its turn came");
    assert!(answer.ends_with("HTTP/1.1 x"), "{answer}");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_whole() {
    let made = make("a.example");
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), made.read());
    let (address, _) = start(echo(), by_table(&table)).await;
    let bytes: Bytes = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    for protocol in ["h2", "http/1.1"] {
        let stream = dial(address, "a.example", &made, &[protocol]).await.expect("a handshake");
        let stream = TokioIo::new(stream);
        let body = Full::new(bytes.clone());
        let request = Request::post("https://x/").header(header::HOST, "x").body(body);
        let request = request.expect("valid");
        let response = if protocol == "h2" {
            let shaking = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = shaking.await.expect("HTTP/2");
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            let mut request = request;
            *request.uri_mut() = http::Uri::from_static("/");
            sender.send_request(request).await
        };
        let body = response.expect("a response").into_body().collect();
        let body = tokio::time::timeout(WAIT, body).await.expect("in time").expect("a body");
        assert!(body.to_bytes() == bytes, "{protocol}");
    }
}

#[tokio::test]
async fn asks_for_a_body_and_carries_an_upgraded_connection() {
    let made = make("a.example");
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), made.read());
    let handler: Handler = Arc::new(|request, _| {
        Box::pin(async move {
            if !request.headers().contains_key(header::UPGRADE) {
                let body = request.into_body().collect().await.expect("a body");
                return Response::new(Body::full(body.to_bytes()));
            }
            let mut response = Response::new(request.into_body());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::UPGRADE, "echo".parse().expect("valid"));
            response
        })
    });
    let (address, _) = start(handler, by_table(&table)).await;
    let mut stream = dial(address, "a.example", &made, &["http/1.1"]).await.expect("a handshake");
    let expect = async |stream: &mut client::TlsStream<TcpStream>, wanted: &str| {
        let mut text = vec![0; wanted.len()];
        let reading = tokio::time::timeout(WAIT, stream.read_exact(&mut text)).await;
        reading.expect("in time").expect("all of it");
        assert_eq!(String::from_utf8_lossy(&text), wanted);
    };
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    expect(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"hi").await.expect("write");
    expect(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    let granted =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
    expect(&mut stream, granted).await;
    for text in ["one", "another"] {
        stream.write_all(text.as_bytes()).await.expect("write");
        expect(&mut stream, text).await;
    }
    // The client's goodbye passes through and comes back.
    stream.shutdown().await.expect("shutdown");
    assert_eq!(read_all(&mut stream).await.expect("an orderly end"), "");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_no_orderly_end() {
    let made = make("a.example");
    let table: Table = Arc::default();
    table.lock().insert("a.example".into(), made.read());
    let handler: Handler = Arc::new(|_, _| {
        let frames = [
            Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
            Err(io::Error::other("gone")),
        ];
        let body = Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames)));
        Box::pin(async move { Response::new(body) })
    });
    let (address, _) = start(handler, by_table(&table)).await;
    // A client of HTTP/1.0 knows the end of the body by the end of the connection alone.
    let mut stream = dial(address, "a.example", &made, &[]).await.expect("a handshake");
    let error = ask(&mut stream, "GET / HTTP/1.0\r\nHost: x\r\n\r\n").await.expect_err("a cut");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn says_what_is_wrong_with_a_certificate_and_nothing_of_what_is_in_it() {
    let (a, b) = (make("a.example"), make("b.example"));
    let cut = &a.key[..a.key.len() / 2];
    let no_certificate = a.key.replace("PRIVATE KEY", "CERTIFICATE");
    let no_key = a.chain.replace("CERTIFICATE", "PRIVATE KEY");
    for (chain, key, wanted) in [
        (&*a.chain, &*a.key, None),
        (&format!("{}{}", a.chain, b.chain), &a.key, None),
        ("", &a.key, Some(Unusable::Chain)),
        ("-----BEGIN CERTIFICATE-----\n", &a.key, Some(Unusable::Chain)),
        (&a.key, &a.key, Some(Unusable::Chain)),
        (&no_certificate, &a.key, Some(Unusable::Certificate)),
        (&a.chain, "", Some(Unusable::Key)),
        (&a.chain, cut, Some(Unusable::Key)),
        (&a.chain, &no_key, Some(Unusable::KindOfKey)),
        (&a.chain, &b.key, Some(Unusable::Mismatch)),
    ] {
        let read = Certificate::read(chain.as_bytes(), key.as_bytes());
        assert_eq!(read.as_ref().err().copied(), wanted, "{chain}\n{key}");
        let shown = format!("{read:?}");
        assert!(shown.len() < 30, "{shown}");
    }
}

#[test]
fn limits_leave_something_of_each_kind() {
    let all = aws_lc_rs::default_provider();
    let of_tls13 = all.cipher_suites.iter().filter(|it| it.tls13().is_some()).count();
    for (limits, versions, suites, curves) in [
        (["", "", "", ""], &[0x0304][..], None, all.kx_groups.len()),
        (["1.2", "", "", ""], &[0x0304, 0x0303], None, all.kx_groups.len()),
        (["1.2", "1.2", "", ""], &[0x0303], None, all.kx_groups.len()),
        (["1.3", "1.2", "", ""], &[0x0304], None, all.kx_groups.len()),
        (
            [
                "1.2",
                "1.3",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "X25519,CurveP256",
            ],
            &[0x0304, 0x0303],
            Some(of_tls13 + 2),
            2,
        ),
        (["", "", "unknown", "unknown"], &[0x0304], None, all.kx_groups.len()),
    ] {
        let [min_version, max_version, cipher_suites, curve_preferences] =
            limits.map(str::to_owned);
        let limits = TlsLimits { min_version, max_version, cipher_suites, curve_preferences };
        let (provider, found) = limited(&limits);
        let found: Vec<u16> = found.iter().map(|it| it.version.into()).collect();
        assert_eq!(found, versions, "{limits:?}");
        let expected = suites.unwrap_or(all.cipher_suites.len());
        assert_eq!(provider.cipher_suites.len(), expected, "{limits:?}");
        assert_eq!(provider.kx_groups.len(), curves, "{limits:?}");
        Server::showing(Shown::default(), &limits);
    }
}
