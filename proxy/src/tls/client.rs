//! TLS to the platform's own parts: whom a client trusts, and who the other side must be.
//!
//! Source: knative/serving `pkg/activator/certificate`; knative/networking `pkg/certificates`.

use std::{collections::HashMap, fmt, io, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{hop::Protocol, stream::Stream};

/// The name that all of the platform's own certificates have, and that clients ask for.
pub const COMMON: &str = "data-plane.knative.dev";
/// The name of those who route: activators.
pub const ROUTING: &str = "kn-routing";
/// Longest label of a name in the DNS, beyond which no certificate can have it.
const LONGEST_LABEL: usize = 63;

/// Whom a client expects: a certificate with one of these names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(Arc<[ServerName<'static>]>);

/// Shakes hands with servers, of which it believes those that its authorities vouch for. Clones share what they trust.
#[derive(Clone)]
pub struct Client {
    trusted: Arc<RwLock<Trusted>>,
}

/// Whom a client trusts at present, and what was made of that.
struct Trusted {
    roots: Arc<RootCertStore>,
    /// The texts from which the roots were read, so that the same ones change nothing.
    read: Vec<String>,
    /// By identity and protocol; as many as namespaces that are called, twice.
    configs: HashMap<(Identity, Protocol), Arc<ClientConfig>>,
}

/// Checks that a certificate has any of some names.
struct AnyOf {
    names: Identity,
    verifier: Arc<WebPkiServerVerifier>,
}

/// The name of those who serve the pods of a namespace.
pub fn of_namespace(namespace: &str) -> String {
    format!("kn-user-{}", namespace.to_ascii_lowercase())
}

impl Identity {
    /// A queue in `namespace`.
    pub fn queue(namespace: &str) -> Identity {
        Identity::any_of(&[&of_namespace(namespace)])
    }

    /// A queue in `namespace`, or an activator in its place.
    pub fn queue_or_activator(namespace: &str) -> Identity {
        Identity::any_of(&[&of_namespace(namespace), ROUTING])
    }

    /// Whoever has one of `names`. Where one is too long for a certificate, which a namespace's may be, the name that
    /// all have stands in for it.
    fn any_of(names: &[&str]) -> Identity {
        let name = |text: &str| {
            let text = if text.len() > LONGEST_LABEL { COMMON } else { text };
            ServerName::try_from(text.to_owned()).expect("namespaces are labels of the DNS")
        };
        Identity(names.iter().map(|it| name(it)).collect())
    }
}

impl Default for Client {
    /// A client that trusts nobody yet.
    fn default() -> Client {
        let roots = Arc::new(RootCertStore::empty());
        let trusted = Trusted { roots, read: Vec::new(), configs: HashMap::new() };
        Client { trusted: Arc::new(RwLock::new(trusted)) }
    }
}

impl Client {
    /// Trusts the authorities in these texts, each some certificates in PEM, from the next handshake on, and nobody
    /// else. Returns how many there are, and which texts have none that can be read.
    pub fn trust(&self, texts: Vec<String>) -> (usize, Vec<usize>) {
        let mut trusted = self.trusted.write();
        let mut roots = RootCertStore::empty();
        let mut unread = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let certificates = CertificateDer::pem_slice_iter(text.as_bytes());
            let added = certificates.flatten().filter(|it| roots.add(it.clone()).is_ok()).count();
            if added == 0 {
                unread.push(at);
            }
        }
        let count = roots.len();
        if trusted.read != texts {
            *trusted = Trusted { roots: Arc::new(roots), read: texts, configs: HashMap::new() };
        }
        (count, unread)
    }

    /// Shakes hands over `stream` with a server that must be `who`.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        who: &Identity,
        protocol: Protocol,
    ) -> io::Result<Stream> {
        let config = self.config(who, protocol)?;
        let _ = stream.set_nodelay(true); // A connection that cannot be tuned still works.
        let name = ServerName::try_from(COMMON).expect("it is a name");
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    fn config(&self, who: &Identity, protocol: Protocol) -> io::Result<Arc<ClientConfig>> {
        let key = (who.clone(), protocol);
        if let Some(config) = self.trusted.read().configs.get(&key) {
            return Ok(config.clone());
        }
        let mut trusted = self.trusted.write();
        if trusted.roots.is_empty() {
            return Err(io::Error::other("no authority of the platform's own is known yet"));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = trusted.roots.clone();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has the suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyOf { names: who.clone(), verifier }))
            .with_no_client_auth();
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::H2c => vec![b"h2".to_vec()],
        };
        let config = Arc::new(config);
        trusted.configs.insert(key, config.clone());
        Ok(config)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyOf").field(&self.names).finish()
    }
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut last = Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in self.names.0.iter() {
            let verify = self.verifier.verify_server_cert(
                end_entity,
                intermediates,
                name,
                ocsp_response,
                now,
            );
            match verify {
                Ok(verified) => return Ok(verified),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
