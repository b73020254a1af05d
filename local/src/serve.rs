//! The API on a port: TLS with a certificate of this data directory, bearer tokens, a kubeconfig.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::api::answer::{self, Style};
use crate::api::status::Status;

/// Connections at once; kubectl and a few controllers need a handful each.
const MOST_CONNECTIONS: usize = 1000;
/// A client that does not finish its handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client that does not finish its headers in this time is let go.
const HEADERS: Duration = Duration::from_secs(30);

/// What to do about a certificate that cannot be used.
const MAKE_AGAIN: &str =
    "remove tls.crt and tls.key from the data directory to have them made again";
/// What clients call the API: on the machine, and in pods by its Service's names and address.
const NAMES: [&str; 8] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    SERVICE_ADDRESS,
    "127.0.0.1",
    "::1",
];
/// The address of the Service `kubernetes`: the first of the Services' network, as upstream.
pub const SERVICE_ADDRESS: &str = "10.96.0.1";

/// The certificate of a server.
pub struct Certificate {
    pem: String,
    config: Arc<rustls::ServerConfig>,
}

impl Certificate {
    /// Reads the certificate of a directory, or makes one for this machine; without a directory one that is not kept.
    pub fn open(directory: Option<&Path>) -> anyhow::Result<Certificate> {
        let made = || -> anyhow::Result<(String, String)> {
            let names: Vec<String> = NAMES.map(str::to_owned).into();
            let made = rcgen::generate_simple_self_signed(names)
                .context("make the API server's certificate")?;
            Ok((made.cert.pem(), made.signing_key.serialize_pem()))
        };
        let (pem, key) = match directory {
            None => made()?,
            Some(directory) => {
                let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
                match (std::fs::read_to_string(&certificate), std::fs::read_to_string(&key)) {
                    // One that an older version made may lack a name by which clients call today.
                    (Ok(pem), Ok(key)) if has_all_names(&pem)? => (pem, key),
                    _ => {
                        let (pem, text) = made()?;
                        private_file(&key, &text)?;
                        private_file(&certificate, &pem)?;
                        (pem, text)
                    }
                }
            }
        };
        let der = CertificateDer::from(pem_body(&pem)?);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pem_body(&key)?));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .with_context(|| format!("use the API server's certificate: {MAKE_AGAIN}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Certificate { pem, config: Arc::new(config) })
    }

    /// The certificate itself, as PEM: what clients trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

fn has_all_names(pem: &str) -> anyhow::Result<bool> {
    let der = CertificateDer::from(pem_body(pem)?);
    let certificate = rustls::server::ParsedCertificate::try_from(&der)
        .with_context(|| format!("read the API server's certificate: {MAKE_AGAIN}"))?;
    Ok(NAMES.into_iter().all(|name| {
        let name = rustls::pki_types::ServerName::try_from(name);
        name.is_ok_and(|name| rustls::client::verify_server_name(&certificate, &name).is_ok())
    }))
}

fn pem_body(pem: &str) -> anyhow::Result<Vec<u8>> {
    let text: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let read = || format!("read the API server's certificate: {MAKE_AGAIN}");
    STANDARD.decode(text.trim()).with_context(read)
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn private_file(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| format!("write {}", temporary.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}

/// A kubeconfig for the administrator.
pub fn kubeconfig(api: &Api, certificate: &Certificate, address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    let server = SocketAddr::new(host, address.port());
    let authority = STANDARD.encode(&certificate.pem);
    let token = api.admin_token();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: weft\nclusters:\n- name: weft\n  cluster:\n    server: https://{server}\n    certificate-authority-data: {authority}\ncontexts:\n- name: weft\n  context:\n    cluster: weft\n    user: admin\n    namespace: default\nusers:\n- name: admin\n  user:\n    token: {token}\n"
    )
}

/// Serves until told to stop; then open requests have a moment to end.
pub async fn serve(
    api: Api,
    certificate: &Certificate,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(certificate.config.clone());
    let places = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files: waiting a moment lets some go.
                    tracing::warn!(%error, "accept a connection to the API");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(
                limit = MOST_CONNECTIONS,
                "a connection to the API is refused: too many are open"
            );
            continue;
        };
        let (api, acceptor, stop) = (api.clone(), acceptor.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            // Small answers are not to wait for more.
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
            let service = service_fn(move |request| {
                let api = api.clone();
                async move { Ok::<_, std::convert::Infallible>(answer_request(&api, request).await) }
            });
            let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
            // Tokens and selectors make long headers; Go's client takes and sends more than hyper's 16 KiB.
            server.http2().timer(TokioTimer::new()).max_header_list_size(64 << 10);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A broken connection is the client's affair.
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn answer_request(
    api: &Api,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<answer::Body> {
    let authorization =
        request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match api.identify(request.uri().path(), authorization) {
        Some(user) => api.as_user(user).handle(request).await,
        None => answer::refusal(Style::default(), &Status::unauthorized()),
    }
}
