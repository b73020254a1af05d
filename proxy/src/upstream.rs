//! Sends requests to addresses over connections that it keeps.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, Uri, Version, header, uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::{Mutex, RwLock};
use tokio::{
    net::TcpStream,
    runtime::{Handle, Id},
    time::Instant,
};

use crate::{
    body::Body,
    h1::client::{self, Connection, Failure, Home},
    hop::{Boxed, Protocol, SendError, Upstream},
    stream::Stream,
    tls::client::{Client, Identity},
};

/// Idle connections to one address that are kept for each runtime. More than this many at once were
/// a burst; a connection costs the other side a file descriptor, and often a thread.
const IDLE_LIMIT: usize = 256;
/// How often idle connections are looked over, while there are any.
const REAP_PERIOD: Duration = Duration::from_secs(15);
/// Connections that are tried for one request which fails on kept ones: the second is always new.
const ATTEMPTS: usize = 2;

/// Connections to any number of addresses.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

/// Connections to one address.
///
/// A connection belongs to the runtime in which it was made, whose thread polls its socket: another
/// runtime makes its own rather than have each wake-up cross threads.
pub struct Peer {
    connect: Connect,
    settings: Settings,
    runtimes: Mutex<Vec<Kept>>,
    reaping: AtomicBool,
}

/// Makes a connection for requests in a protocol.
type Connect = Box<dyn Fn(Protocol) -> Boxed<io::Result<Stream>> + Send + Sync>;

/// Sends requests in TLS to addresses that show who they are.
#[derive(Clone)]
pub struct Secured {
    shared: Arc<SecuredShared>,
}

struct SecuredShared {
    client: Client,
    dial: Arc<dyn Upstream>,
    settings: Settings,
    peers: RwLock<HashMap<(SocketAddr, Identity), Arc<Peer>>>,
}

/// Why [`Peer::exchange`] has no response.
#[derive(Debug)]
pub enum Failed {
    /// Nothing of the request reached the other side.
    NotSent(io::Error),
    /// It may be sent once more without harm, but not here: a connection ended with it, unread or as it was used again,
    /// and there is no new one.
    Repeatable(io::Error),
    /// Some or all of the request was sent, and no response came back.
    Lost(io::Error),
}

struct Shared {
    settings: Settings,
    peers: RwLock<HashMap<SocketAddr, Arc<Peer>>>,
}

struct Kept {
    runtime: Id,
    #[expect(clippy::vec_box, reason = "a connection is handed on many times and is large")]
    idle: Vec<Box<Connection>>,
    h2: Option<http2::SendRequest<Body>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            // An address in the cluster answers within a round trip, or after one lost packet.
            connect_timeout: Duration::from_secs(2),
            // Below the usual 60 s and 75 s of servers, so that they rarely close under us.
            idle_timeout: Duration::from_secs(50),
        }
    }
}

impl Pool {
    /// A pool without connections.
    pub fn new(settings: Settings) -> Pool {
        Pool { shared: Arc::new(Shared { settings, peers: RwLock::default() }) }
    }

    fn peer(&self, to: SocketAddr) -> Arc<Peer> {
        if let Some(peer) = self.shared.peers.read().get(&to) {
            return peer.clone();
        }
        let mut peers = self.shared.peers.write();
        make_room(&mut peers);
        let settings = self.shared.settings.clone();
        peers
            .entry(to)
            .or_insert_with(|| Peer::new(settings, move || Box::pin(TcpStream::connect(to))))
            .clone()
    }
}

/// Addresses come and go with pods: those that nobody uses make room for a new one. The work is in proportion to how
/// often new ones come.
fn make_room<K: Eq + std::hash::Hash>(peers: &mut HashMap<K, Arc<Peer>>) {
    if peers.len().is_power_of_two() {
        peers.retain(|_, peer| Arc::strong_count(peer) > 1 || !peer.is_idle());
    }
}

impl Secured {
    /// Sends what `client` believes, over connections that `dial` makes.
    pub fn new(client: Client, dial: Arc<dyn Upstream>) -> Secured {
        let (settings, peers) = (Settings::default(), RwLock::default());
        Secured { shared: Arc::new(SecuredShared { client, dial, settings, peers }) }
    }

    /// Sends `request` to `to`, which must be `who`: else it is not sent.
    pub fn send(
        &self,
        to: SocketAddr,
        who: &Identity,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let peer = self.peer(to, who);
        Box::pin(async move { peer.send(protocol, request).await })
    }

    /// Asks the queue at `to` whether its pod is ready. No answer is no.
    pub fn probe(&self, to: SocketAddr, who: &Identity) -> Boxed<bool> {
        let answer = self.send(to, who, Protocol::Http1, question(to));
        Box::pin(async move { answer.await.is_ok_and(|response| response.status() == 200) })
    }

    fn peer(&self, to: SocketAddr, who: &Identity) -> Arc<Peer> {
        let key = (to, who.clone());
        if let Some(peer) = self.shared.peers.read().get(&key) {
            return peer.clone();
        }
        let mut peers = self.shared.peers.write();
        make_room(&mut peers);
        let (client, dial, who) =
            (self.shared.client.clone(), self.shared.dial.clone(), who.clone());
        let connect = move |protocol| -> Boxed<io::Result<Stream>> {
            let (client, dialling, who) = (client.clone(), dial.dial(to), who.clone());
            Box::pin(async move { client.shake_hands(dialling.await?, &who, protocol).await })
        };
        let new = || Peer::with(self.shared.settings.clone(), Box::new(connect));
        peers.entry(key).or_insert_with(new).clone()
    }
}

/// What a queue is asked.
fn question(to: SocketAddr) -> Request<Body> {
    Request::get("/healthz")
        .header(header::HOST, to.to_string())
        .header(header::USER_AGENT, "Knative-Activator-Probe")
        .header(api::headers::PROBE, api::headers::PROBE_QUEUE)
        .body(Body::empty())
        .expect("these parts are valid")
}

impl Upstream for Pool {
    fn send(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let peer = self.peer(to);
        Box::pin(async move { peer.send(protocol, request).await })
    }

    fn probe(&self, to: SocketAddr) -> Boxed<bool> {
        let answer = self.send(to, Protocol::Http1, question(to));
        Box::pin(async move { answer.await.is_ok_and(|response| response.status() == 200) })
    }
}

impl Peer {
    /// Connections that `connect` makes.
    pub fn new(
        settings: Settings,
        connect: impl Fn() -> Boxed<io::Result<TcpStream>> + Send + Sync + 'static,
    ) -> Arc<Peer> {
        let plain = move |_| -> Boxed<io::Result<Stream>> {
            let connecting = connect();
            Box::pin(async move { connecting.await.map(Stream::Plain) })
        };
        Peer::with(settings, Box::new(plain))
    }

    fn with(settings: Settings, connect: Connect) -> Arc<Peer> {
        Arc::new(Peer {
            connect,
            settings,
            runtimes: Mutex::default(),
            reaping: AtomicBool::new(false),
        })
    }

    /// Sends `request` and waits for the head of its response.
    pub async fn send(
        self: &Arc<Self>,
        protocol: Protocol,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        match self.exchange(protocol, &mut request).await {
            Ok(response) => Ok(response),
            Err(Failed::NotSent(cause) | Failed::Repeatable(cause)) => {
                Err(SendError::NotSent { request: Box::new(request), cause })
            }
            Err(Failed::Lost(cause)) => Err(SendError::Lost { cause }),
        }
    }

    /// As [`send`](Peer::send), without moving the request, whose body is taken. It is whole again
    /// when it was not sent.
    pub async fn exchange(
        self: &Arc<Self>,
        protocol: Protocol,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, Failed> {
        if protocol == Protocol::H2c {
            // On the heap, or each request of HTTP/1.1 would make room for it.
            return Box::pin(self.exchange_h2c(request)).await;
        }
        let mut was_sent = false;
        let not_now = |cause, was_sent| match was_sent {
            true => Failed::Repeatable(cause),
            false => Failed::NotSent(cause),
        };
        for attempt in 1..=ATTEMPTS {
            let kept = if attempt == 1 { self.idle() } else { None };
            let connection = match kept {
                Some(connection) => connection,
                None => match Box::pin(self.connect(Protocol::Http1)).await {
                    Ok(stream) => Box::new(Connection::new(stream, Instant::now())),
                    Err(cause) => return Err(not_now(cause, was_sent)),
                },
            };
            let used = connection.used;
            let home: Arc<dyn Home> = self.clone();
            match client::send(connection, request, Some(home)).await {
                Ok(response) => return Ok(response),
                // The other side closed a kept connection just when it was used again.
                Err(Failure { repeatable: true, sent, .. }) if used => was_sent |= sent,
                // A reset says that what was sent was not read: the other side ended before it took the connection up.
                Err(Failure { repeatable: true, sent, cause })
                    if !sent || cause.kind() == io::ErrorKind::ConnectionReset =>
                {
                    return Err(not_now(cause, was_sent || sent));
                }
                Err(Failure { cause, .. }) => return Err(Failed::Lost(cause)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn exchange_h2c(&self, request: &mut Request<Body>) -> Result<Response<Body>, Failed> {
        prepare_h2(request);
        for attempt in 1..=ATTEMPTS {
            let mut sender = self.h2().await.map_err(Failed::NotSent)?;
            match sender.try_send_request(std::mem::take(request)).await {
                Ok(response) => return Ok(response.map(Body::new)),
                Err(mut error) => {
                    let given_back = error.take_message();
                    let sent = given_back.is_none();
                    if let Some(again) = given_back {
                        *request = again;
                        if attempt < ATTEMPTS {
                            self.forget_h2();
                            continue;
                        }
                    }
                    let cause = io::Error::other(error.into_error());
                    return Err(if sent { Failed::Lost(cause) } else { Failed::NotSent(cause) });
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn connect(&self, protocol: Protocol) -> io::Result<Stream> {
        let connecting = (self.connect)(protocol);
        tokio::time::timeout(self.settings.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A kept connection that still seems to be open.
    fn idle(&self) -> Option<Box<Connection>> {
        let runtime = Handle::current().id();
        loop {
            let mut connection =
                self.runtimes.lock().iter_mut().find(|kept| kept.runtime == runtime)?.idle.pop()?;
            if !connection.is_stale() {
                return Some(connection);
            }
        }
    }

    async fn h2(&self) -> io::Result<http2::SendRequest<Body>> {
        let runtime = Handle::current().id();
        let known = self
            .runtimes
            .lock()
            .iter()
            .find(|kept| kept.runtime == runtime)
            .and_then(|kept| kept.h2.clone());
        if let Some(sender) = known
            && !sender.is_closed()
        {
            return Ok(sender);
        }
        let stream = self.connect(Protocol::H2c).await?;
        let sender = open_h2(stream).await?;
        let mut runtimes = self.runtimes.lock();
        kept(&mut runtimes, runtime).h2 = Some(sender.clone());
        Ok(sender)
    }

    fn forget_h2(&self) {
        let runtime = Handle::current().id();
        kept(&mut self.runtimes.lock(), runtime).h2 = None;
    }

    fn is_idle(&self) -> bool {
        self.runtimes.lock().iter().all(|kept| {
            kept.idle.is_empty() && kept.h2.as_ref().is_none_or(|sender| sender.is_closed())
        })
    }

    /// Closes what was idle for long or was closed by the other side; ends when nothing is kept.
    async fn reap(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REAP_PERIOD).await;
            let now = Instant::now();
            let mut runtimes = self.runtimes.lock();
            let mut left = 0;
            for kept in &mut *runtimes {
                kept.idle.retain_mut(|connection| {
                    let fresh = now - connection.since < self.settings.idle_timeout;
                    let stays = fresh && !connection.is_stale();
                    connection.rest();
                    stays
                });
                left += kept.idle.len();
            }
            if left == 0 {
                self.reaping.store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl Home for Peer {
    fn keep(self: Arc<Self>, mut connection: Box<Connection>) {
        connection.since = Instant::now();
        {
            let mut runtimes = self.runtimes.lock();
            let kept = kept(&mut runtimes, Handle::current().id());
            if kept.idle.len() < IDLE_LIMIT {
                kept.idle.push(connection);
            }
        }
        if !self.reaping.load(Ordering::Acquire) && !self.reaping.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.reap());
        }
    }
}

fn kept(runtimes: &mut Vec<Kept>, runtime: Id) -> &mut Kept {
    let at = runtimes.iter().position(|kept| kept.runtime == runtime).unwrap_or_else(|| {
        runtimes.push(Kept { runtime, idle: Vec::new(), h2: None });
        runtimes.len() - 1
    });
    &mut runtimes[at]
}

/// Sends one request of HTTP/2 over a connection of its own.
pub async fn over_h2(stream: Stream, mut request: Request<Body>) -> io::Result<Response<Body>> {
    prepare_h2(&mut request);
    let mut sender = open_h2(stream).await?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    // The connection ends with its last sender, which must outlive the response.
    Ok(response.map(|body| Body::new(body).holding(sender)))
}

async fn open_h2(stream: Stream) -> io::Result<http2::SendRequest<Body>> {
    let _ = stream.socket().set_nodelay(true); // A connection that cannot be tuned still works.
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(crate::serve::H2_HEADER_LIST)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends by itself when the last sender is gone or the other side closes.
    tokio::spawn(connection);
    Ok(sender)
}

/// Gives an HTTP/2 request its authority, which a request of ours carries as `Host`. A request that
/// was prepared before stays as it is.
fn prepare_h2(request: &mut Request<Body>) {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::UPGRADE);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(uri::Scheme::HTTP);
    if let Some(host) = request.headers_mut().remove(header::HOST) {
        parts.authority = uri::Authority::from_maybe_shared(host).ok();
    }
    parts.authority = parts.authority.or_else(|| Some(uri::Authority::from_static("localhost")));
    parts.path_and_query =
        parts.path_and_query.or_else(|| Some(uri::PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).expect("a URI of these three parts is whole");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_authority_when_it_is_sent_again() {
        let mut request = Request::get("/a?b").header(header::HOST, "name:80").body(Body::empty());
        let request = request.as_mut().expect("valid");
        for _ in 0..2 {
            prepare_h2(request);
            assert_eq!(request.uri(), "http://name:80/a?b");
            assert!(request.headers().is_empty());
        }
        let mut bare = Request::get("/").body(Body::empty()).expect("valid");
        prepare_h2(&mut bare);
        assert_eq!(bare.uri(), "http://localhost/");
    }

    #[tokio::test]
    async fn a_request_that_nobody_read_may_be_sent_again() {
        use http::Method;
        use tokio::{io::AsyncReadExt, net::TcpListener};

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let to = listener.local_addr().expect("an address");
        let peer = Peer::new(Settings::default(), move || Box::pin(TcpStream::connect(to)));
        // A connection that is closed with something unread in it is reset.
        for (method, reads, may_repeat) in
            [(Method::GET, false, true), (Method::POST, false, false), (Method::GET, true, false)]
        {
            let ends = async {
                let (mut stream, _) = listener.accept().await.expect("accept");
                stream.peek(&mut [0]).await.expect("a request comes");
                if reads {
                    let all = stream.read(&mut [0; 4096]).await.expect("read");
                    assert!(all > 0);
                }
            };
            let mut request =
                Request::builder().method(&method).body(Body::empty()).expect("it is valid");
            let (answer, ()) = tokio::join!(peer.exchange(Protocol::Http1, &mut request), ends);
            let repeatable = matches!(answer, Err(Failed::Repeatable(_)));
            assert_eq!(repeatable, may_repeat, "{method} read: {reads}: {answer:?}");
        }
    }
}
