//! Accepts connections and serves them: HTTP/1.1 and HTTP/2 on one port, plain or in TLS. The protocol is
//! told by how a client begins, also where TLS has agreed on one.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use crate::{
    body::Body,
    drain,
    h1::{head, server},
    hop::{Reply, plain},
    stream::Stream,
    tls,
};

/// Largest list of headers in HTTP/2; hyper's own 16 KiB is less than browsers and Go clients send.
pub const H2_HEADER_LIST: u32 = head::LIMIT as u32;
/// What opens an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one HTTP/2 connection at once, as Go's server has it.
const H2_STREAMS: u32 = 250;
/// Wait after `accept` failed, usually for want of file descriptors, before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What answers requests: a function of a request and the client's address.
///
/// Each request has a path as its target and names its host in the `Host` header (HTTP/1.0 may not),
/// whatever the version; it has no hop-by-hop headers, except `Upgrade` where another protocol is
/// asked for.
pub type Handler = Arc<dyn Fn(Request<Body>, SocketAddr) -> Reply + Send + Sync>;

/// How patient a server is, how much it takes on, and whether it is spoken to in TLS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest time from a head's first byte to its last, and from accepting to the first byte.
    pub head_timeout: Duration,
    /// Longest time between requests.
    pub idle_timeout: Duration,
    /// Longest time for which a client takes nothing of a response.
    pub write_timeout: Duration,
    /// Most connections at once; more wait in the listener's backlog.
    pub connections: usize,
    /// Absent on a port for plain HTTP.
    pub tls: Option<tls::Server>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            // As upstream: `ReadHeaderTimeout: 1 * time.Minute`.
            head_timeout: Duration::from_secs(60),
            // Longer than the pools of common proxies keep connections, so that they close first.
            idle_timeout: Duration::from_secs(330),
            write_timeout: Duration::from_secs(300),
            // About 20 KiB each with their buffers: 200 MB at the worst.
            connections: 10_000,
            tls: None,
        }
    }
}

/// Threads that carry connections, each with a runtime of its own.
///
/// A request then stays on one core, from the client's socket to the container's: nothing is handed
/// from thread to thread, and no thread is woken for another's work. What a handler waits for may
/// come from anywhere.
pub struct Shards {
    threads: Vec<Shard>,
    next: AtomicUsize,
}

struct Shard {
    /// Dropped to end the thread.
    work: Option<mpsc::UnboundedSender<Work>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Shards {
    /// Starts `count` threads; at least one.
    pub fn start(count: usize) -> io::Result<Shards> {
        let threads = (0..count.max(1)).map(|number| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // Bounded by the connections that servers admit: each is one piece of work.
            let (work, mut arriving) = mpsc::unbounded_channel::<Work>();
            let thread = std::thread::Builder::new().name(format!("proxy-{number}"));
            let thread = thread.spawn(move || {
                runtime.block_on(async {
                    while let Some(work) = arriving.recv().await {
                        work();
                    }
                });
                // Connections are drained by their servers; what is left here has no owner any more.
                runtime.shutdown_background();
            })?;
            Ok(Shard { work: Some(work), thread: Some(thread) })
        });
        Ok(Shards { threads: threads.collect::<io::Result<_>>()?, next: AtomicUsize::new(0) })
    }

    /// Runs `work` in the runtime of the thread whose turn it is.
    fn run(&self, work: Work) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        if let Some(thread) = &self.threads[turn].work {
            let _ = thread.send(work); // A thread ends only when its sender is dropped.
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        for shard in &mut self.threads {
            shard.work = None;
        }
        for shard in &mut self.threads {
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join(); // A panic of a thread was reported when it happened.
            }
        }
    }
}

/// Serves the connections that `listener` accepts on this runtime, until `drain` is closed; returns when the last of
/// them has ended. Each open connection is counted in `drain`.
///
/// Once closed, idle connections are closed at once and others after the request under way.
pub async fn serve(
    listener: TcpListener,
    handler: Handler,
    settings: Settings,
    drain: drain::Count,
) {
    accept(listener, handler, settings, drain, None).await;
}

/// As [`serve`], with the connections spread over `shards`.
pub async fn serve_on(
    shards: Arc<Shards>,
    listener: TcpListener,
    handler: Handler,
    settings: Settings,
    drain: drain::Count,
) {
    accept(listener, handler, settings, drain, Some(shards)).await;
}

async fn accept(
    listener: TcpListener,
    handler: Handler,
    settings: Settings,
    drain: drain::Count,
    shards: Option<Arc<Shards>>,
) {
    let settings = Arc::new(settings);
    let places = Arc::new(Semaphore::new(settings.connections));
    let mut closed = pin!(drain.closed());
    // Said once, not each time that it is tried again.
    let mut failing = false;
    loop {
        let accepting = async {
            let place =
                places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut closed => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                failing = false;
                let entry = drain.enter();
                let (handler, settings, drain) = (handler.clone(), settings.clone(), drain.clone());
                // Owned by `drain`, which is told to end it and waits for it.
                let carry = async move |stream| {
                    connection(stream, from, &handler, &settings, &drain).await;
                    drop((entry, place));
                };
                let Some(shards) = &shards else {
                    tokio::spawn(carry(stream));
                    continue;
                };
                // A socket belongs to the runtime that polls it.
                let Ok(stream) = stream.into_std() else { continue };
                shards.run(Box::new(move || {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        tokio::spawn(carry(stream));
                    }
                }));
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "accept a connection");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drain.empty().await;
}

/// Serves one connection in the protocol that it opens with.
async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    handler: &Handler,
    settings: &Settings,
    drain: &drain::Count,
) {
    let _ = stream.set_nodelay(true); // A connection that cannot be tuned still works.
    let mut told = None;
    let mut stream = match &settings.tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            // On the heap: a plain connection does not carry the room for it.
            let greeting = Box::pin(tls.shake_hands(stream, from));
            let stream = tokio::select! {
                () = drain.closed() => return,
                stream = greeting => stream,
            };
            match stream {
                Some(stream) => {
                    told = tls.session(&stream).map(|session| telling(session, handler));
                    Stream::Tls(Box::new(stream))
                }
                None => return,
            }
        }
    };
    let handler = told.as_ref().unwrap_or(handler);
    let mut read = BytesMut::with_capacity(8 * 1024);
    let opening = async {
        loop {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) if read.starts_with(PREFACE) => return Some(Version::HTTP_2),
                Ok(_) if PREFACE.starts_with(&read) => {}
                Ok(_) => return Some(Version::HTTP_11),
            }
        }
    };
    let version = tokio::select! {
        () = drain.closed() => return,
        version = tokio::time::timeout(settings.head_timeout, opening) => version,
    };
    match version {
        Ok(Some(Version::HTTP_2)) => h2(stream, read, from, handler, settings, drain).await,
        Ok(Some(_)) => server::serve(stream, read, from, handler, settings, drain).await,
        Ok(None) | Err(_) => {}
    }
}

/// Gives each request of a connection what its handshake has led to.
fn telling(session: Arc<tls::Session>, handler: &Handler) -> Handler {
    let handler = handler.clone();
    Arc::new(move |mut request, from| {
        request.extensions_mut().insert(session.clone());
        handler(request, from)
    })
}

async fn h2(
    stream: Stream,
    read: BytesMut,
    from: SocketAddr,
    handler: &Handler,
    settings: &Settings,
    drain: &drain::Count,
) {
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
        let request = request.map(Body::new);
        let reply = match normal(request) {
            Ok(request) => handler(request, from),
            Err(why) => {
                let response = plain(StatusCode::BAD_REQUEST, why.into());
                Box::pin(async move { response })
            }
        };
        async move {
            let mut response = reply.await;
            // These have no meaning in HTTP/2, and hyper refuses some of them.
            for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
                response.headers_mut().remove(name);
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                response =
                    plain(StatusCode::BAD_GATEWAY, "the service switched protocols unasked".into());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(H2_HEADER_LIST)
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // A client that has vanished without a word is noticed, and its streams end.
        .keep_alive_interval(settings.head_timeout)
        .keep_alive_timeout(settings.head_timeout)
        .serve_connection(TokioIo::new(Rewound { read, stream }), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.closed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %from, "an HTTP/2 connection ended");
    }
}

/// A request of HTTP/2 as [`Handler`] wants it.
fn normal(mut request: Request<Body>) -> Result<Request<Body>, &'static str> {
    if request.method() == http::Method::CONNECT {
        return Err("this is not a forward proxy");
    }
    let uri = std::mem::take(request.uri_mut());
    match uri.authority() {
        Some(authority) => {
            let host = HeaderValue::from_str(authority.as_str());
            let host = host.map_err(|_| "the authority is malformed")?;
            request.headers_mut().insert(header::HOST, host);
        }
        None if request.headers().get_all(header::HOST).iter().count() == 1 => {}
        None => return Err("a request needs one authority"),
    }
    *request.uri_mut() = match uri.into_parts().path_and_query {
        Some(path) => path.into(),
        None => http::Uri::from_static("/"),
    };
    join_cookies(request.headers_mut());
    Ok(request)
}

/// HTTP/2 may cut the cookies into many fields; HTTP/1.1 knows one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let header::Entry::Occupied(cookies) = headers.entry(header::COOKIE) else { return };
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let joined: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&joined.join(&b"; "[..]));
    let joined = joined.expect("valid values and a separator are a valid value");
    headers.insert(header::COOKIE, joined);
}

/// A socket that gives back what was read from it.
struct Rewound {
    read: BytesMut,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
