//! One request to a server out in the world: over a connection of its own, plain or in TLS, until all of the
//! answer is here.
//!
//! For what is asked now and then. The errors are worded as Go's client words them, since people search for those.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// The authorities whose certificates are believed. Clones share them.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes the certificates in these texts, each of any number in PEM. What cannot be read is passed over, as
    /// the stores of machines hold such.
    pub fn new<'a>(authorities: impl IntoIterator<Item = &'a [u8]>) -> Trust {
        let mut roots = RootCertStore::empty();
        for text in authorities {
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(text).flatten());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }
}

/// Sends `request`, whose target is a whole URL, and returns the answer when all of it is here: `most` bytes of body
/// at the most. It follows no redirects, and waits as long as the caller lets it.
pub async fn fetch(
    trust: &Trust,
    mut request: Request<Bytes>,
    most: usize,
) -> io::Result<Response<Bytes>> {
    let target = std::mem::take(request.uri_mut());
    let in_tls = target.scheme() == Some(&Scheme::HTTPS);
    let (Some(host), Some(authority)) = (target.host(), target.authority()) else {
        return Err(io::Error::other("no Host in request URL"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // Without a user, which has no place in `Host`.
    let named = authority.as_str().rsplit('@').next().unwrap_or_default();
    let named = named.parse().map_err(io::Error::other)?;
    request.headers_mut().insert(header::HOST, named);
    let path = target.path_and_query().map_or("/", |it| it.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(io::Error::other)?;

    let stream = connect(host, target.port_u16().unwrap_or(if in_tls { 443 } else { 80 })).await?;
    if !in_tls {
        return exchange(stream, request, most).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(trust.0.clone());
    let stream = connector.connect(name, stream).await.map_err(in_words_of_tls)?;
    exchange(stream, request, most).await
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => Vec::new(),
    };
    let mut failed = io::Error::other(format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true); // A connection that cannot be tuned still works.
                return Ok(stream);
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                    io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
                    io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
                    _ => error.to_string(),
                };
                failed =
                    io::Error::new(error.kind(), format!("dial tcp {address}: connect: {why}"));
            }
        }
    }
    Err(failed)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Bytes>,
    most: usize,
) -> io::Result<Response<Bytes>> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(in_words_of_http)?;
    let answer = async {
        let response =
            sender.send_request(request.map(Full::new)).await.map_err(in_words_of_http)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return io::Error::other(format!("the answer has more than {most} bytes"));
            }
            match error.downcast::<hyper::Error>() {
                Ok(error) => in_words_of_http(*error),
                Err(error) => io::Error::other(error),
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // All that will come has come, or the reason why nothing does.
        _ = connection => answer.await,
    }
}

fn in_words_of_http(error: hyper::Error) -> io::Error {
    let cause = std::error::Error::source(&error).and_then(|it| it.downcast_ref::<io::Error>());
    if let Some(cause) = cause {
        return io::Error::new(cause.kind(), cause.to_string());
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return io::Error::new(io::ErrorKind::UnexpectedEof, "EOF");
    }
    io::Error::other(error)
}

fn in_words_of_tls(error: io::Error) -> io::Error {
    use rustls::Error;
    let flaw = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    let text = match flaw {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .into()
        }
        Some(Error::InvalidCertificate(flaw)) => {
            format!("tls: failed to verify certificate: x509: {flaw}")
        }
        Some(Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".into(),
        Some(flaw) => format!("tls: {flaw}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".into(),
        None => return error,
    };
    io::Error::new(error.kind(), text)
}
