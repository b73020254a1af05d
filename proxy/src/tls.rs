//! TLS before HTTP: certificates by the name that a client asks for, and handshakes within bounds.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use api::queue::TlsLimits;
use parking_lot::RwLock;
use rustls::{
    NamedGroup, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::{TlsAcceptor, TlsStream};

pub mod client;

/// A client that has not finished its handshake in this time is let go, its wait for a turn included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once: a tenth of the connections of a server, since each computes and most of its time
/// waits for the client. Who comes when all are under way waits for a turn.
const HANDSHAKES: usize = 1_000;

/// What a server shows, and the key that proves it. Clones share it; it never shows its key.
#[derive(Clone)]
pub struct Certificate(Arc<CertifiedKey>);

/// Why a certificate cannot be used. Says nothing of what is in it, since it may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No certificate in it, or a broken one.
    #[error("the certificate is not in PEM")]
    Chain,
    /// No key in it, or a broken one.
    #[error("the private key is not in PEM, or is encrypted")]
    Key,
    /// Neither RSA, ECDSA nor Ed25519, or of an odd size.
    #[error("the private key is of no kind that can be used")]
    KindOfKey,
    /// Not X.509 version 3.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The key is of another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// A certificate that a server shows to whoever comes, as it is now; none before there is one. Clones share it.
#[derive(Clone, Default)]
pub struct Shown(Arc<RwLock<Option<Certificate>>>);

/// What two sides agreed on in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// 0x0303 is TLS 1.2, and 0x0304 is TLS 1.3.
    pub version: u16,
    /// The number of the cipher suite.
    pub suite: u16,
    /// The protocol that was agreed on; empty is none.
    pub protocol: String,
    /// The name that the client asked for; empty is none.
    pub server_name: String,
    /// Whether they had agreed before, and went on with that.
    pub is_resumed: bool,
}

/// Shakes hands with clients. Clones share their bounds.
#[derive(Clone)]
pub struct Server {
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
    /// Whether requests carry their [`Session`] as an extension.
    pub tells: bool,
}

/// Finds certificates by a client's wish.
struct Named<F>(F);

impl Certificate {
    /// Reads a certificate, with those that vouch for it after it, and its key: as the Secrets of the
    /// type `kubernetes.io/tls` have them.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Certificate, Unusable> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| Unusable::Chain)?;
        if chain.is_empty() {
            return Err(Unusable::Chain);
        }
        // The parser's own words may quote the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Unusable::Mismatch,
            rustls::Error::InvalidCertificate(_) => Unusable::Certificate,
            _ => Unusable::KindOfKey,
        })?;
        Ok(Certificate(Arc::new(certified)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl Shown {
    /// Shows `certificate` from the next handshake on; whether it is another one than before.
    pub fn set(&self, certificate: Option<Certificate>) -> bool {
        let mut shown = self.0.write();
        let is_same = match (&*shown, &certificate) {
            (Some(before), Some(now)) => before.0.cert == now.0.cert,
            (before, now) => before.is_none() && now.is_none(),
        };
        *shown = certificate;
        !is_same
    }

    /// What is shown now.
    pub fn get(&self) -> Option<Certificate> {
        self.0.read().clone()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Session {
    fn of(stream: &TlsStream<TcpStream>) -> Session {
        let (_, agreed) = stream.get_ref();
        let name = match stream {
            TlsStream::Server(stream) => stream.get_ref().1.server_name().unwrap_or_default(),
            TlsStream::Client(_) => "",
        };
        Session {
            version: agreed.protocol_version().map_or(0, u16::from),
            suite: agreed.negotiated_cipher_suite().map_or(0, |suite| suite.suite().into()),
            protocol: String::from_utf8_lossy(agreed.alpn_protocol().unwrap_or_default()).into(),
            server_name: name.to_owned(),
            is_resumed: agreed.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }
}

impl Server {
    /// A server with the certificates that `find` has for the hosts of clients, asked anew for each
    /// handshake. A client that names no host, or one without a certificate, is refused: whatever it
    /// were shown, it would not trust.
    pub fn new(find: impl Fn(&str) -> Option<Certificate> + Send + Sync + 'static) -> Server {
        let (provider, versions) = (aws_lc_rs::default_provider(), rustls::DEFAULT_VERSIONS);
        Server::resolving(Named(move |name: Option<&str>| find(name?)), provider, versions)
    }

    /// A server that shows one certificate whatever a client asks for: the platform's own parts know whom they call by
    /// other means. `limits` that leave nothing are passed over.
    pub fn showing(shown: Shown, limits: &TlsLimits) -> Server {
        let (provider, versions) = limited(limits);
        Server::resolving(Named(move |_: Option<&str>| shown.get()), provider, &versions)
    }

    fn resolving(
        resolver: impl ResolvesServerCert + 'static,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Server {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("the provider has suites of these versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Server {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            turns: Arc::new(Semaphore::new(HANDSHAKES)),
            tells: false,
        }
    }

    /// What the handshake of `stream` has led to, if requests are to carry that.
    pub fn session(&self, stream: &TlsStream<TcpStream>) -> Option<Arc<Session>> {
        self.tells.then(|| Arc::new(Session::of(stream)))
    }

    /// Shakes hands; none with a client that cannot or does not in time. There is nothing to tell it
    /// that it could read, and nobody else is concerned.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Option<TlsStream<TcpStream>> {
        let shaking = async {
            let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
            self.acceptor.accept(stream).await
        };
        match tokio::time::timeout(PATIENCE, shaking).await {
            Ok(Ok(stream)) => Some(stream.into()),
            Ok(Err(error)) => {
                tracing::debug!(%error, %from, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!(%from, "a TLS handshake took too long");
                None
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl<F: Fn(Option<&str>) -> Option<Certificate> + Send + Sync> ResolvesServerCert for Named<F> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some((self.0)(hello.server_name())?.0)
    }
}

impl<F> fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Named")
    }
}

/// What is left of all that there is; of a kind of which nothing would be left, all of it. Suites are those of TLS 1.2,
/// as Go has it: of 1.3 there are only good ones.
fn limited(limits: &TlsLimits) -> (CryptoProvider, Vec<&'static SupportedProtocolVersion>) {
    let mut provider = aws_lc_rs::default_provider();
    let words = |text: &str| -> Vec<String> {
        text.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
    };
    let suites = words(&limits.cipher_suites);
    let is_tls13 = |it: &rustls::SupportedCipherSuite| it.tls13().is_some();
    let named = |it: &rustls::SupportedCipherSuite| {
        it.suite().as_str().is_some_and(|name| suites.iter().any(|it| it == name))
    };
    if provider.cipher_suites.iter().any(|it| !is_tls13(it) && named(it)) {
        provider.cipher_suites.retain(|it| is_tls13(it) || named(it));
    }
    let curves: Vec<NamedGroup> =
        words(&limits.curve_preferences).iter().filter_map(|it| curve(it)).collect();
    if provider.kx_groups.iter().any(|it| curves.contains(&it.name())) {
        provider.kx_groups.retain(|it| curves.contains(&it.name()));
    }
    // Upstream's default is 1.3 alone.
    let least = if limits.min_version == "1.2" { 0x0303 } else { 0x0304 };
    let most = if limits.max_version == "1.2" { 0x0303 } else { 0x0304 };
    let fits = |it: &&&SupportedProtocolVersion| {
        let version = u16::from(it.version);
        least <= version && version <= most
    };
    let mut versions: Vec<_> = rustls::ALL_VERSIONS.iter().filter(fits).copied().collect();
    if versions.is_empty() {
        versions = vec![&rustls::version::TLS13];
    }
    (provider, versions)
}

/// A curve by its name in Go.
fn curve(name: &str) -> Option<NamedGroup> {
    Some(match name {
        "X25519" => NamedGroup::X25519,
        "CurveP256" => NamedGroup::secp256r1,
        "CurveP384" => NamedGroup::secp384r1,
        "CurveP521" => NamedGroup::secp521r1,
        "X25519MLKEM768" => NamedGroup::X25519MLKEM768,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
