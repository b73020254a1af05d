//! The client before registries that a test plays.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use proxy::{
    body::Body,
    drain,
    serve::{Handler, Settings, serve},
    tls,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// Waits are bounded: what takes longer than this will never come.
const WAIT: Duration = Duration::from_secs(10);
const SUM: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a registry was asked, as `METHOD path authorization`.
type Asked = Arc<Mutex<Vec<String>>>;

/// Starts a registry that answers a line of [`Asked`].
async fn play(
    tls: Option<tls::Server>,
    answer: impl Fn(&str, SocketAddr) -> http::response::Builder + Send + Sync + 'static,
) -> (SocketAddr, Asked) {
    play_with_bodies(tls, move |line, at| (answer(line, at), "")).await
}

async fn play_with_bodies(
    tls: Option<tls::Server>,
    answer: impl Fn(&str, SocketAddr) -> (http::response::Builder, &'static str) + Send + Sync + 'static,
) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, asked) = (listener.local_addr().unwrap(), Asked::default());
    let heard = asked.clone();
    let handler: Handler = Arc::new(move |request: Request<Body>, _| {
        let pass = request.headers().get(header::AUTHORIZATION);
        let pass = pass.map_or("-", |it| it.to_str().unwrap());
        let line = format!("{} {} {pass}", request.method(), request.uri());
        let (head, body) = answer(&line, at);
        heard.lock().push(line);
        Box::pin(async move { head.body(Body::full(body)).unwrap() })
    });
    let settings = Settings { tls, ..Settings::default() };
    tokio::spawn(serve(listener, handler, settings, drain::Count::default()));
    (at, asked)
}

fn status(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

fn found() -> http::response::Builder {
    status(200).header("docker-content-digest", SUM)
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:secret")))
}

/// A keyring with one secret a place and user.
fn keyring(entries: &[(&str, &str)]) -> Keyring {
    let mut ring = Keyring::default();
    for (place, user) in entries {
        let config = json!({ "auths": { *place: { "username": user, "password": "secret" } } });
        ring.add(Form::DockerConfigJson, config.to_string().as_bytes()).unwrap();
    }
    ring
}

async fn ask(image: &str, keyring: &Keyring) -> Result<String, String> {
    ask_believing(&Trust::new([]), image, keyring, WAIT).await
}

async fn ask_believing(
    trust: &Trust,
    image: &str,
    keyring: &Keyring,
    patience: Duration,
) -> Result<String, String> {
    let image = Reference::parse(image).unwrap();
    Asking { trust, image: &image, until: Instant::now() + patience }.ask(keyring).await
}

#[tokio::test]
async fn an_open_registry_is_asked_once() {
    let (at, asked) = play(None, |_, _| found()).await;
    assert_eq!(ask(&format!("{at}/team/app:v1"), &Keyring::default()).await.unwrap(), SUM);
    assert_eq!(*asked.lock(), ["GET /v2/ -", "HEAD /v2/team/app/manifests/v1 -"]);
}

#[tokio::test]
async fn tokens_are_had_with_the_credentials_that_are_good_for_them() {
    let (good, bad) = (basic("good"), basic("bad"));
    let told = good.clone();
    let (at, asked) = play_with_bodies(None, move |line, at| {
        let challenge = format!(r#"Bearer realm="http://{at}/token",service="here""#);
        let closed = || status(401).header(header::WWW_AUTHENTICATE, &challenge);
        match line.split(' ').collect::<Vec<_>>()[..] {
            [_, path, "Basic", word] if path.starts_with("/token") => {
                match format!("Basic {word}") == told {
                    true => (status(200), r#"{"access_token": "abc", "expires_in": 300}"#),
                    false => (status(401), r#"{"details": "incorrect username or password"}"#),
                }
            }
            ["HEAD", _, "Bearer", "abc"] => (found(), ""),
            _ => (closed(), ""),
        }
    })
    .await;
    let (host, team) = (at.to_string(), format!("{at}/team"));
    let ring = keyring(&[(&host, "good"), (&team, "bad")]);
    assert_eq!(ask(&format!("{at}/team/app:v1"), &ring).await.unwrap(), SUM);
    let token = "GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=here";
    assert_eq!(
        *asked.lock(),
        [
            "GET /v2/ -",
            &format!("{token} {bad}"),
            "GET /v2/ -",
            &format!("{token} {good}"),
            "HEAD /v2/team/app/manifests/v1 Bearer abc",
        ]
    );
    let refused = ask(&format!("{at}/team/app:v1"), &keyring(&[(&host, "bad")])).await.unwrap_err();
    assert_eq!(
        refused,
        format!(
            "GET http://{at}/token?scope=repository%3Ateam%2Fapp%3Apull&service=here: unexpected \
             status code 401 Unauthorized: {{\"details\": \"incorrect username or password\"}}"
        )
    );
}

#[tokio::test]
async fn a_token_for_more_is_had_when_it_is_asked_for() {
    let (at, asked) = play_with_bodies(None, |line, at| {
        let closed = |more: &str| {
            let challenge = format!(r#"Bearer realm="http://{at}/token"{more}"#);
            status(401).header(header::WWW_AUTHENTICATE, challenge)
        };
        match line.split(' ').collect::<Vec<_>>()[..] {
            [_, path, ..] if path.contains("more") => (status(200), r#"{"token": "large"}"#),
            [_, path, ..] if path.starts_with("/token") => (status(200), r#"{"token": "small"}"#),
            ["HEAD", _, "Bearer", "large"] => (found(), ""),
            ["HEAD", ..] => (closed(r#",scope="more""#), ""),
            _ => (closed(""), ""),
        }
    })
    .await;
    assert_eq!(ask(&format!("{at}/app"), &Keyring::default()).await.unwrap(), SUM);
    let asked = asked.lock();
    let token = "GET /token?scope=more&scope=repository%3Aapp%3Apull&service= -";
    assert!(asked.iter().any(|it| it == token), "{asked:?}");
}

#[tokio::test]
async fn identities_are_exchanged_for_tokens() {
    let (at, asked) = play_with_bodies(None, |line, at| {
        let challenge = format!(r#"Bearer realm="http://{at}/token",service="s""#);
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["POST", "/token", ..] => (status(200), r#"{"access_token": "abc"}"#),
            ["HEAD", _, "Bearer", "abc"] => (found(), ""),
            _ => (status(401).header(header::WWW_AUTHENTICATE, challenge), ""),
        }
    })
    .await;
    let config = json!({ "auths": { at.to_string(): { "identitytoken": "me" } } }).to_string();
    let mut ring = Keyring::default();
    ring.add(Form::DockerConfigJson, config.as_bytes()).unwrap();
    assert_eq!(ask(&format!("{at}/app"), &ring).await.unwrap(), SUM);
    assert_eq!(asked.lock()[1], "POST /token -");
}

#[tokio::test]
async fn user_and_password_go_to_the_registry_alone() {
    let (other, elsewhere) = play(None, |_, _| found()).await;
    let pass = basic("me");
    let (at, asked) = play(None, move |line, _| match line.ends_with(&pass) {
        true => status(307).header(header::LOCATION, format!("http://{other}/there?token=x")),
        false => status(401).header(header::WWW_AUTHENTICATE, "Basic realm=\"r\""),
    })
    .await;
    let ring = keyring(&[(&at.to_string(), "me")]);
    assert_eq!(ask(&format!("{at}/app"), &ring).await.unwrap(), SUM);
    assert_eq!(asked.lock()[1], format!("HEAD /v2/app/manifests/latest {}", basic("me")));
    assert_eq!(*elsewhere.lock(), ["HEAD /there?token=x -"]);
}

#[tokio::test]
async fn failures_are_told_as_upstream_tells_them() {
    let (at, _) =
        play(None, |line, _| status(if line.contains("/v2/ ") { 200 } else { 404 })).await;
    let missing = ask(&format!("{at}/missing:v1"), &Keyring::default()).await.unwrap_err();
    assert_eq!(
        missing,
        format!(
            "HEAD http://{at}/v2/missing/manifests/v1: unexpected status code 404 Not Found (HEAD \
             responses have no body, use GET for details)"
        )
    );

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = ask(&format!("{free}/app"), &Keyring::default()).await.unwrap_err();
    let why = format!("dial tcp {free}: connect: connection refused");
    let both = ["https", "http"].map(|it| format!("Get \"{it}://{free}/v2/\": {why}")).join("; ");
    assert_eq!(refused, both);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/app", silent.local_addr().unwrap());
    let patience = HEAD_START + Duration::from_millis(100);
    let late = ask_believing(&Trust::new([]), &image, &Keyring::default(), patience).await;
    assert!(late.unwrap_err().contains("context deadline exceeded"));
}

#[tokio::test]
async fn the_sum_of_the_manifest_counts_where_its_head_does_not_tell() {
    for head in [200, 405] {
        let (at, asked) = play_with_bodies(None, move |line, _| match line {
            _ if line.starts_with("HEAD") => (status(head), ""),
            _ => (status(200), "{}"),
        })
        .await;
        let digest = ask(&format!("{at}/app"), &Keyring::default()).await.unwrap();
        let sum = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(digest, sum);
        assert_eq!(asked.lock()[2], "GET /v2/app/manifests/latest -");
    }
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let turn = Mutex::new(0);
    let (at, asked) = play(None, move |line, _| {
        *turn.lock() += usize::from(line.starts_with("HEAD"));
        match *turn.lock() {
            1 | 2 => status(429).header(header::RETRY_AFTER, "0"),
            _ => found(),
        }
    })
    .await;
    assert_eq!(ask(&format!("{at}/app"), &Keyring::default()).await.unwrap(), SUM);
    assert_eq!(asked.lock().len(), 4);

    // Longer than anybody waits: told at once.
    let (at, asked) = play(None, |line, _| match line.starts_with("HEAD") {
        true => status(429).header(header::RETRY_AFTER, "3600"),
        false => status(200),
    })
    .await;
    let busy = ask(&format!("{at}/app"), &Keyring::default()).await.unwrap_err();
    assert!(busy.contains("unexpected status code 429 Too Many Requests"), "{busy}");
    assert_eq!(asked.lock().len(), 2);
}

#[tokio::test]
async fn authorities_of_ones_own_are_believed() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate = tls::Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
    let server = tls::Server::new(move |_| Some(certificate.clone()));
    let (at, asked) = play(Some(server), |_, _| found()).await;
    let image = format!("localhost:{}/app", at.port());

    let trust = Trust::new([b"no certificate".as_slice(), chain.as_bytes()]);
    let ring = Keyring::default();
    assert_eq!(ask_believing(&trust, &image, &ring, WAIT).await.unwrap(), SUM);
    assert_eq!(asked.lock().len(), 2);
    let unknown = ask(&image, &ring).await.unwrap_err();
    assert!(unknown.contains("x509: certificate signed by unknown authority"), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn many_images_take_turns() {
    let client = Client::new(
        tower::service_fn(|_: Request<kube::client::Body>| async {
            Ok::<_, io::Error>(Response::new(kube::client::Body::empty()))
        }),
        "default",
    );
    let (registries, start) = (Registries::new(client), Instant::now());
    for _ in 0..BURST {
        registries.turn().await;
    }
    assert!(start.elapsed() < PAUSE * 2);
    for _ in 0..10 {
        registries.turn().await;
    }
    assert!(start.elapsed() >= PAUSE * 9, "{:?}", start.elapsed());
}
