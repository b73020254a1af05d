//! Requests and answers that go piece by piece, over HTTP/1.1 or HTTP/2.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

/// No piece of a test takes longer, cold starts on a busy machine included.
const LONGEST: Duration = Duration::from_secs(60);

/// The body of a request whose pieces come later.
pub type Sent = StreamBody<mpsc::Receiver<Result<Frame<Bytes>, Infallible>>>;

/// Where the pieces of a request's body go; the body ends when this is dropped.
pub struct Sending(mpsc::Sender<Result<Frame<Bytes>, Infallible>>);

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Http1,
    /// Without TLS, with prior knowledge.
    Http2,
}

/// A piece of an answer.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// An answer whose body has not been read.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
}

/// The head of a POST to a host behind a gateway, in the form that the protocol wants.
pub fn post(protocol: Protocol, host: &str, path: &str) -> http::request::Builder {
    match protocol {
        Protocol::Http1 => Request::post(path).header("host", host),
        Protocol::Http2 => Request::post(format!("http://{host}{path}")),
    }
}

/// An empty body for now, and where its pieces go.
pub fn body() -> (Sending, Sent) {
    // One piece waits at most: a test goes on when the one before was taken.
    let (sender, receiver) = mpsc::channel(0);
    (Sending(sender), StreamBody::new(receiver))
}

/// Sends a request on a connection of its own; its body may go on meanwhile.
pub async fn send(protocol: Protocol, to: SocketAddr, request: Request<Sent>) -> Result<Answer> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("connect to {to}"))?;
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(stream);
    let response = match protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            timeout(LONGEST, sender.send_request(request)).await
        }
        Protocol::Http2 => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            timeout(LONGEST, sender.send_request(request)).await
        }
    };
    let (parts, body) = response.context("no answer in time")??.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

impl Sending {
    /// Sends a piece of the body, when the one before is on its way.
    pub async fn data(&mut self, data: impl Into<Bytes>) -> Result<()> {
        self.frame(Frame::data(data.into())).await
    }

    /// Ends the body with trailers.
    pub async fn trailers(mut self, trailers: HeaderMap) -> Result<()> {
        self.frame(Frame::trailers(trailers)).await
    }

    async fn frame(&mut self, frame: Frame<Bytes>) -> Result<()> {
        match timeout(LONGEST, self.0.send(Ok(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("the request has ended"),
            Err(_) => bail!("nobody takes the request's body"),
        }
    }
}

impl Answer {
    /// The next piece.
    pub async fn next(&mut self) -> Result<Piece> {
        let frame = timeout(LONGEST, self.body.frame()).await.context("no piece in time")?;
        let Some(frame) = frame.transpose()? else { return Ok(Piece::End) };
        Ok(match frame.into_data() {
            Ok(data) => Piece::Data(data),
            Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
        })
    }

    /// Exactly so many bytes of the body, which may come in several pieces.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.next().await? {
                Piece::Data(data) => bytes.extend_from_slice(&data),
                other => bail!("{other:?} after {} of {count} bytes", bytes.len()),
            }
        }
        if bytes.len() > count {
            bail!("{} bytes came instead of {count}", bytes.len());
        }
        Ok(bytes)
    }

    /// The rest of the body, and the trailers.
    pub async fn rest(mut self) -> Result<(Vec<u8>, HeaderMap)> {
        let mut bytes = Vec::new();
        loop {
            match self.next().await? {
                Piece::Data(data) => bytes.extend_from_slice(&data),
                Piece::Trailers(trailers) => return Ok((bytes, trailers)),
                Piece::End => return Ok((bytes, HeaderMap::new())),
            }
        }
    }
}
