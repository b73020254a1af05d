//! Sends requests to addresses over connections that it keeps.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, Version, header, uri::PathAndQuery};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    body::Body,
    hop::{Boxed, Protocol, SendError, Upstream},
};

/// Connections to any number of addresses.
#[derive(Clone)]
pub struct Pool {
    settings: Arc<Settings>,
}

/// How a pool connects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        // A pod's address answers within the round trip of one cluster network, or not at all.
        Settings { connect_timeout: Duration::from_secs(1) }
    }
}

impl Pool {
    /// A pool without connections.
    pub fn new(settings: Settings) -> Pool {
        Pool { settings: Arc::new(settings) }
    }
}

impl Upstream for Pool {
    fn send(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let settings = self.settings.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(settings.connect_timeout, TcpStream::connect(to));
            let stream = match connecting
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(stream) => stream,
                Err(cause) => return Err(SendError::NotSent { request: Box::new(request), cause }),
            };
            exchange(stream, protocol, request).await
        })
    }

    fn probe(&self, to: SocketAddr) -> Boxed<bool> {
        let request = Request::get("/healthz")
            .header(header::HOST, to.to_string())
            .header(header::USER_AGENT, "Knative-Activator-Probe")
            .header(api::headers::PROBE, api::headers::PROBE_QUEUE)
            .body(Body::empty())
            .expect("these parts are valid");
        let answer = self.send(to, Protocol::Http1, request);
        Box::pin(async move { answer.await.is_ok_and(|response| response.status() == 200) })
    }
}

/// Sends `request` over `stream` and waits for the head of its response.
pub async fn exchange(
    stream: TcpStream,
    protocol: Protocol,
    mut request: Request<Body>,
) -> Result<Response<Body>, SendError> {
    let _ = stream.set_nodelay(true); // A connection that cannot be tuned still works.
    let io = TokioIo::new(stream);
    let lost = |cause| SendError::Lost { cause: io::Error::other(cause) };
    match protocol {
        Protocol::Http1 => {
            if let Some(path) = request.uri().path_and_query() {
                *request.uri_mut() = PathAndQuery::clone(path).into();
            }
            *request.version_mut() = Version::HTTP_11;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(io).await.map_err(lost)?;
            tokio::spawn(connection.with_upgrades());
            Ok(sender.send_request(request).await.map_err(lost)?.map(Body::new))
        }
        Protocol::H2c => {
            *request.version_mut() = Version::HTTP_2;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(lost)?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await.map_err(lost)?.map(Body::new))
        }
    }
}
