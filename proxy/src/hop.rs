//! The shape of one hop: who takes a request, what it is for, and what can go wrong before an answer.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::net::TcpStream;

use crate::body::Body;

/// A future on the heap, as the traits below hand it out.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answer to a request. There is always one: failures are responses with a status.
pub type Reply = Boxed<Response<Body>>;

/// The language of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge; in TLS they agree on it.
    H2c,
}

/// A service in the cluster that a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Namespace of the service.
    pub namespace: Arc<str>,
    /// Name of the service; for a revision, the revision's name.
    pub service: Arc<str>,
    /// Port of the service.
    pub port: u16,
    /// What the service's port speaks.
    pub protocol: Protocol,
}

/// Takes requests that are for a destination: the gateway's next hop.
pub trait Backend: Send + Sync + 'static {
    /// Answers `request`, waiting for a pod if there is none yet.
    fn send(&self, to: &Destination, request: Request<Body>) -> Reply;
}

/// Takes requests for one address.
pub trait Upstream: Send + Sync + 'static {
    /// Sends `request` to `to` as it is: host and headers are the caller's business.
    fn send(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>>;

    /// Asks the queue at `to` whether its pod is ready.
    fn probe(&self, to: SocketAddr) -> Boxed<bool>;

    /// Connects to `to`, for who has to say who it is before requests are sent.
    fn dial(&self, to: SocketAddr) -> Boxed<io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(to))
    }
}

/// Opens connections to the ports of one pod.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `port` on the pod's loopback address.
    fn dial(&self, port: u16) -> Boxed<io::Result<TcpStream>>;
}

/// Why no response came.
#[derive(Debug)]
pub enum SendError {
    /// Nothing of the request reached the other side: it may be sent to another address.
    NotSent {
        /// The request as it was given.
        request: Box<Request<Body>>,
        /// What happened.
        cause: io::Error,
    },
    /// Some or all of the request was sent, and no response came back.
    Lost {
        /// What happened.
        cause: io::Error,
    },
}

/// An answer of our own, as plain text.
pub fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl SendError {
    /// What happened.
    pub fn cause(&self) -> &io::Error {
        match self {
            SendError::NotSent { cause, .. } | SendError::Lost { cause } => cause,
        }
    }

    /// What happened, without the request.
    pub fn into_cause(self) -> io::Error {
        match self {
            SendError::NotSent { cause, .. } | SendError::Lost { cause } => cause,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::NotSent { cause, .. } => write!(f, "connect: {cause}"),
            SendError::Lost { cause } => write!(f, "wait for the response: {cause}"),
        }
    }
}

impl std::error::Error for SendError {}
