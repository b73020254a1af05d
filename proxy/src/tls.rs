//! TLS before HTTP: certificates by the name that a client asks for, and handshakes within bounds.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

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

/// Shakes hands with clients. Clones share their bounds.
#[derive(Clone)]
pub struct Server {
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
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

impl Server {
    /// A server with the certificates that `find` has for the hosts of clients, asked anew for each
    /// handshake. A client that names no host, or one without a certificate, is refused: whatever it
    /// were shown, it would not trust.
    pub fn new(find: impl Fn(&str) -> Option<Certificate> + Send + Sync + 'static) -> Server {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Named(find)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Server {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            turns: Arc::new(Semaphore::new(HANDSHAKES)),
        }
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
            Ok(Ok(stream)) => Some(stream),
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

impl<F: Fn(&str) -> Option<Certificate> + Send + Sync> ResolvesServerCert for Named<F> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some((self.0)(hello.server_name()?)?.0)
    }
}

impl<F> fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Named")
    }
}

#[cfg(test)]
mod tests;
