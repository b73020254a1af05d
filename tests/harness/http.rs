//! A small HTTP/1.1 client: one connection a request, or one that is kept.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// No answer of a test takes longer, cold starts on a busy machine included.
const LONGEST: Duration = Duration::from_secs(60);

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, if the answer is 200.
    pub fn ok(self) -> Result<String> {
        match self.status {
            StatusCode::OK => Ok(self.text()),
            status => bail!("{status}: {}", self.text()),
        }
    }
}

/// A connection to a gateway.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> Result<Connection> {
        let stream = timeout(LONGEST, TcpStream::connect(to)).await?;
        let stream = stream.with_context(|| format!("connect to {to}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(Connection { sender })
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        timeout(LONGEST, exchange).await.context("no answer in time")?
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Result<Reply> {
        let request = Request::get(path).header("host", host).body(Full::default())?;
        self.send(request).await
    }
}

/// Sends one GET on a connection of its own.
pub async fn get(to: SocketAddr, host: &str, path: &str) -> Result<Reply> {
    Connection::open(to).await?.get(host, path).await
}

/// Sends bytes as they are and returns all that comes back until the server closes, or `wait` has passed.
pub async fn raw(to: SocketAddr, bytes: &[u8], wait: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A server that keeps the connection open has said what it says.
    let _ = timeout(wait, stream.read_to_end(&mut answer)).await;
    Ok(answer)
}
