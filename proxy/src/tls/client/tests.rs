//! Clients of the platform's own parts before servers with all kinds of certificates.

use std::{net::SocketAddr, time::Duration};

use api::queue::TlsLimits;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::net::TcpListener;

use super::*;
use crate::{
    body::Body,
    drain,
    hop::SendError,
    serve,
    tls::{Certificate, Server, Session, Shown},
    upstream::{Pool, Secured},
};

/// Waits are bounded: what takes longer than this will never come.
const WAIT: Duration = Duration::from_secs(10);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(authority: &Authority, names: &[&str]) -> Certificate {
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    Certificate::read(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// A server that tells how it was asked, and what it shows.
async fn start(limits: &TlsLimits) -> (SocketAddr, Shown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let shown = Shown::default();
    let mut server = Server::showing(shown.clone(), limits);
    server.tells = true;
    let handler: serve::Handler = Arc::new(|request, _| {
        let session: &Arc<Session> = request.extensions().get().expect("it came in TLS");
        let probe = request.headers().get(api::headers::PROBE).map(|it| it.to_str().unwrap());
        let text = format!(
            "{:?} {:x} {} {} {}",
            request.version(),
            session.version,
            session.protocol,
            session.server_name,
            probe.unwrap_or_default()
        );
        Box::pin(async move { Response::new(Body::full(text)) })
    });
    let settings = serve::Settings { tls: Some(server), ..serve::Settings::default() };
    tokio::spawn(serve::serve(listener, handler, settings, drain::Count::default()));
    (to, shown)
}

/// What the server answers; nothing where the request was not sent.
async fn ask(way: &Secured, to: SocketAddr, who: &Identity, protocol: Protocol) -> Option<String> {
    let request = Request::get("/").header(header::HOST, "x").body(Body::empty()).unwrap();
    let answer = way.send(to, who, protocol, request);
    match tokio::time::timeout(WAIT, answer).await.expect("an end") {
        Ok(response) => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Some(String::from_utf8(body.to_vec()).unwrap())
        }
        Err(SendError::NotSent { request, .. }) => {
            assert_eq!(request.uri().path(), "/", "it can be sent elsewhere");
            None
        }
        Err(SendError::Lost { cause }) => panic!("{cause}"),
    }
}

fn way(texts: &[&str]) -> (Secured, Client) {
    let client = Client::default();
    client.trust(texts.iter().map(|it| (*it).to_owned()).collect());
    let pool = Arc::new(Pool::new(crate::upstream::Settings::default()));
    (Secured::new(client.clone(), pool), client)
}

#[tokio::test]
async fn only_who_has_the_name_and_is_vouched_for_gets_requests() {
    let (ours, others) = (authority(), authority());
    let (to, shown) = start(&TlsLimits::default()).await;
    let long = "n".repeat(63);
    let queue = ["kn-user-team", COMMON];
    for (by, names, who, is_right) in [
        (&ours, &queue[..], Identity::queue("team"), true),
        (&ours, &queue, Identity::queue("other"), false),
        (&ours, &queue, Identity::queue_or_activator("team"), true),
        (&ours, &[ROUTING, COMMON], Identity::queue_or_activator("team"), true),
        (&ours, &[ROUTING, COMMON], Identity::queue("team"), false),
        (&ours, &[COMMON], Identity::queue("team"), false),
        (&ours, &[COMMON], Identity::queue(&long), true),
        (&others, &queue, Identity::queue("team"), false),
    ] {
        let (way, _) = way(&[&ours.pem()]);
        shown.set(Some(issued(by, names)));
        let answer = ask(&way, to, &who, Protocol::Http1).await;
        let expected = format!("HTTP/1.1 304 http/1.1 {COMMON} ");
        assert_eq!(answer, is_right.then_some(expected), "{names:?} {who:?}");
        let answer = ask(&way, to, &who, Protocol::H2c).await;
        let expected = format!("HTTP/2.0 304 h2 {COMMON} ");
        assert_eq!(answer, is_right.then_some(expected), "{names:?} {who:?}");
        assert_eq!(way.probe(to, &who).await, is_right);
    }
    // Who has nothing to show takes no requests.
    let (way, _) = way(&[&ours.pem()]);
    shown.set(None);
    assert_eq!(ask(&way, to, &Identity::queue("team"), Protocol::Http1).await, None);
}

#[tokio::test]
async fn an_authority_is_changed_while_connections_last() {
    let (before, after) = (authority(), authority());
    let (to, shown) = start(&TlsLimits::default()).await;
    let who = Identity::queue("team");
    let names = ["kn-user-team", COMMON];
    shown.set(Some(issued(&before, &names)));
    let (kept, client) = way(&[&before.pem()]);
    assert!(ask(&kept, to, &who, Protocol::Http1).await.is_some());

    // The connection that there is goes on; a new one is not believed before its authority is.
    assert!(shown.set(Some(issued(&after, &names))));
    assert!(ask(&kept, to, &who, Protocol::Http1).await.is_some());
    assert_eq!(ask(&kept, to, &who, Protocol::H2c).await, None);
    let (fresh, _) = way(&[&before.pem()]);
    assert_eq!(ask(&fresh, to, &who, Protocol::Http1).await, None);

    let both = vec![format!("{}{}", before.pem(), after.pem()), "nothing".to_owned()];
    assert_eq!(client.trust(both), (2, vec![1]));
    assert!(ask(&kept, to, &who, Protocol::H2c).await.is_some());
    client.trust(Vec::new());
    assert!(ask(&kept, to, &who, Protocol::Http1).await.is_some());
    let elsewhere = Identity::queue_or_activator("team");
    assert_eq!(ask(&kept, to, &elsewhere, Protocol::Http1).await, None, "nobody is trusted");
}

#[test]
fn the_same_certificate_is_no_news() {
    let authority = authority();
    let (one, other) = (issued(&authority, &["a"]), issued(&authority, &["a"]));
    let shown = Shown::default();
    for (certificate, is_news) in
        [(None, false), (Some(&one), true), (Some(&one), false), (Some(&other), true), (None, true)]
    {
        assert_eq!(shown.set(certificate.cloned()), is_news);
        assert_eq!(shown.get().is_some(), certificate.is_some());
    }
}
