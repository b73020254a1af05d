//! The server's side of one connection.
//!
//! One task carries a connection: it reads a head, polls the handler's reply and writes the response.
//! The request's body reads the same socket when it is polled, so nothing is handed over between tasks.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use tokio::{
    io::AsyncWrite,
    time::{Duration, Instant, Sleep},
};

use super::{
    chunk::{Decoder, Step},
    head::{self, Bad, Framing, RequestHead},
    wire::{Outgoing, Wire},
};
use crate::{
    body::Body,
    drain,
    hop::plain,
    serve::{Handler, Settings},
    stream::Stream,
};

/// Most of a body that is read ahead while nobody asks for it: enough to notice that a client left.
const READ_AHEAD: usize = 64 * 1024;
/// Most of an unwanted body that is read and thrown away to keep a connection.
const DISCARD: usize = 256 * 1024;
/// How long a client that has closed its half is answered. Go and Envoy drop it at once, HAProxy never.
const HALF_CLOSED: Duration = Duration::from_secs(1);
/// How long a connection that ends is read, so that the client sees our last words before a reset.
const LINGER: Duration = Duration::from_millis(500);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The reading half of a request: its body, or the other half of an upgraded connection.
pub struct RequestBody {
    asker: Asker,
    http_11: bool,
}

/// The client of one request, to be told something before the response.
#[derive(Clone)]
pub struct Asker {
    connection: Arc<Mutex<Connection>>,
    /// Which request of the connection it is.
    turn: u64,
}

struct Connection {
    wire: Wire<Stream>,
    body: Decoder,
    /// The client waits for `100 Continue`.
    owes_continue: bool,
    upgrade: Upgrade,
    /// The task that waits for the body, where it is another than the connection's.
    reader: Option<Waker>,
    /// The connection's task, while another may be reading the body.
    owner: Option<Waker>,
    /// What was wrong with the body.
    bad: Option<Bad>,
    /// Requests that the connection has carried.
    turn: u64,
    /// Whether the response to the last of them has not begun.
    awaited: bool,
    /// Interim responses that the socket had no room for.
    early: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    No,
    /// Asked for; bytes that come now belong to the new protocol if it is granted.
    Asked,
    Granted,
}

/// Serves `stream`, of which `read` was read before, until either side ends it.
pub async fn serve(
    stream: Stream,
    read: BytesMut,
    from: SocketAddr,
    handler: &Handler,
    settings: &Settings,
    drain: &drain::Count,
) {
    let connection = Arc::new(Mutex::new(Connection {
        wire: Wire::new(stream, read),
        body: Decoder::Done,
        owes_continue: false,
        upgrade: Upgrade::No,
        reader: None,
        owner: None,
        bad: None,
        turn: 0,
        awaited: false,
        early: Vec::new(),
    }));
    let mut alarm = Alarm::new(settings.head_timeout);
    let mut out = Outgoing::default();
    let mut closed = pin!(drain.closed());
    let mut idle = settings.head_timeout;
    loop {
        let head = poll_fn(|cx| {
            poll_head(&connection, &mut alarm, closed.as_mut(), idle, settings.head_timeout, cx)
        });
        let head = match head.await {
            Next::Request(head) => head,
            Next::Refuse(bad) => {
                let response = plain(bad.status(), bad.to_string());
                let framing = framing(&response, false, true);
                head::write_response(
                    out.text(),
                    response.status(),
                    response.headers(),
                    framing,
                    true,
                );
                let _ = write_body(
                    &connection,
                    &mut out,
                    response.into_body(),
                    framing,
                    &mut alarm,
                    settings,
                )
                .await; // The connection ends here either way.
                return linger(&connection, &mut out).await;
            }
            Next::End => return connection.lock().wire.stream.farewell(),
        };
        idle = settings.idle_timeout;
        match exchange(head, &connection, &mut out, &mut alarm, from, handler, settings, drain)
            .await
        {
            After::Next => {}
            After::Linger => return linger(&connection, &mut out).await,
            After::End => return,
        }
    }
}

/// What comes after a request.
enum After {
    /// Another may.
    Next,
    /// Nothing, but the client may still be sending.
    Linger,
    /// Nothing.
    End,
}

#[expect(clippy::too_many_arguments, reason = "the parts of a connection, borrowed one by one")]
async fn exchange(
    head: Box<RequestHead>,
    connection: &Arc<Mutex<Connection>>,
    out: &mut Outgoing,
    alarm: &mut Alarm,
    from: SocketAddr,
    handler: &Handler,
    settings: &Settings,
    drain: &drain::Count,
) -> After {
    let RequestHead { request, body, keep_alive, expects_continue, upgrade } = *head;
    let to_head = request.method() == Method::HEAD;
    let http_11 = request.version() == http::Version::HTTP_11;
    let has_body = upgrade || !body.is_done();
    let turn = {
        let mut connection = connection.lock();
        connection.turn += 1;
        connection.awaited = true;
        if has_body {
            connection.body = body;
            connection.owes_continue = expects_continue;
            connection.upgrade = if upgrade { Upgrade::Asked } else { Upgrade::No };
        }
        connection.turn
    };
    let request = request.map(|()| {
        let asker = || Asker { connection: connection.clone(), turn };
        match (has_body, http_11) {
            (true, _) => Body::request(RequestBody { asker: asker(), http_11 }),
            (false, true) => Body::none(asker()),
            (false, false) => Body::empty(),
        }
    });

    let mut reply = handler(request, from);
    let response = poll_fn(|cx| {
        if let Poll::Ready(response) = reply.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if poll_left(connection, alarm, cx) { Poll::Ready(None) } else { Poll::Pending }
    });
    let Some(mut response) = response.await else { return After::End };
    drop(reply);
    alarm.unset();
    let (unreadable, upgrade_asked) = {
        let mut connection = connection.lock();
        if let Some(bad) = connection.bad {
            response = plain(bad.status(), bad.to_string());
        }
        // A body that is broken, or that the client may or may not send, cannot be skipped.
        let unreadable = connection.owes_continue || connection.bad.is_some();
        connection.owes_continue = false;
        connection.awaited = false;
        if !connection.early.is_empty() {
            out.text().extend_from_slice(&connection.early);
            connection.early.clear();
        }
        (unreadable, connection.upgrade == Upgrade::Asked)
    };

    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !upgrade_asked {
            response =
                plain(StatusCode::BAD_GATEWAY, "the service switched protocols unasked".into());
        } else {
            head::write_response(out.text(), status, response.headers(), Framing::Upgrade, false);
            let waker = {
                let mut connection = connection.lock();
                connection.upgrade = Upgrade::Granted;
                connection.body = Decoder::Close;
                connection.reader.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            let body = response.into_body();
            let written =
                write_body(connection, out, body, Framing::Upgrade, alarm, settings).await;
            // An upgraded connection ends as its two sides end it.
            if written.is_ok() {
                connection.lock().wire.stream.farewell();
            }
            return After::End;
        }
    }
    if upgrade_asked {
        connection.lock().upgrade = Upgrade::No;
    }

    let framing = framing(&response, to_head, http_11);
    let close = !keep_alive || unreadable || framing == Framing::Close || drain.is_closed();
    let (parts, body) = response.into_parts();
    head::write_response(out.text(), parts.status, &parts.headers, framing, close);
    drop(parts);
    let written = write_body(connection, out, body, framing, alarm, settings).await;
    let mut connection = connection.lock();
    match written {
        Err(_) => After::End,
        Ok(()) if close && connection.body.is_done() => After::Linger,
        Ok(()) if connection.body.is_done() => After::Next,
        Ok(()) if close => After::Linger,
        Ok(()) => {
            if connection.discard_body() {
                After::Next
            } else {
                After::Linger
            }
        }
    }
}

/// How `response` is framed.
fn framing(response: &Response<Body>, to_head: bool, http_11: bool) -> Framing {
    let status = response.status();
    if to_head
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Framing::Absent;
    }
    if let Some(length) = response.body().exact() {
        return Framing::Length(length);
    }
    // A stream may know by its header what it will yield.
    if let Some(length) = response.headers().get(header::CONTENT_LENGTH)
        && let Some(length) = length.to_str().ok().and_then(|length| length.parse().ok())
    {
        return Framing::Length(length);
    }
    if http_11 { Framing::Chunked } else { Framing::Close }
}

/// Writes what waits in `out` and then all of `body`.
async fn write_body(
    connection: &Arc<Mutex<Connection>>,
    out: &mut Outgoing,
    mut body: Body,
    framing: Framing,
    alarm: &mut Alarm,
    settings: &Settings,
) -> io::Result<()> {
    enum Piece {
        Frame(Option<io::Result<Frame<bytes::Bytes>>>),
        NotYet,
        Gone,
    }
    let mut left = match framing {
        Framing::Length(length) => length,
        _ => u64::MAX,
    };
    loop {
        let piece = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Piece::Frame(frame)),
            Poll::Pending if !out.is_empty() => Poll::Ready(Piece::NotYet),
            Poll::Pending if poll_left(connection, alarm, cx) => Poll::Ready(Piece::Gone),
            Poll::Pending => Poll::Pending,
        });
        match piece.await {
            Piece::NotYet => {}
            Piece::Gone => return Err(io::ErrorKind::ConnectionReset.into()),
            Piece::Frame(None) => {
                if framing == Framing::Chunked && !out.put_end(b"0\r\n\r\n") {
                    flush(connection, out, alarm, settings).await?;
                    out.put_end(b"0\r\n\r\n");
                }
                flush(connection, out, alarm, settings).await?;
                // A body shorter than was announced can only be told by ending the connection.
                let short = matches!(framing, Framing::Length(_)) && left > 0;
                return if short { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
            }
            Piece::Frame(Some(Err(error))) => {
                // What came before is the client's, and the broken end must be seen as one.
                flush(connection, out, alarm, settings).await?;
                return Err(error);
            }
            Piece::Frame(Some(Ok(frame))) => match frame.into_data() {
                Ok(mut data) => {
                    if framing == Framing::Absent || data.is_empty() {
                        continue;
                    }
                    if data.len() as u64 > left {
                        data.truncate(left as usize);
                    }
                    left -= if framing == Framing::Chunked { 0 } else { data.len() as u64 };
                    if framing == Framing::Chunked {
                        head::write_chunk_size(out.text(), data.len());
                        let last = body.is_end_stream();
                        out.put(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                        flush(connection, out, alarm, settings).await?;
                        if last {
                            return Ok(());
                        }
                        continue;
                    }
                    out.put(data, b"");
                    if left == 0 {
                        flush(connection, out, alarm, settings).await?;
                        return Ok(());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    flush(connection, out, alarm, settings).await?;
                    if framing == Framing::Upgrade {
                        // The other side has closed its half, and may still listen.
                        poll_fn(|cx| {
                            Pin::new(&mut connection.lock().wire.stream).poll_shutdown(cx)
                        })
                        .await?;
                        continue;
                    }
                    if framing == Framing::Chunked {
                        write_trailers(out, &trailers);
                        flush(connection, out, alarm, settings).await?;
                    }
                    return Ok(());
                }
            },
        }
        flush(connection, out, alarm, settings).await?;
    }
}

fn write_trailers(out: &mut Outgoing, trailers: &HeaderMap) {
    head::write_trailers(out.text(), trailers);
}

/// Writes what waits; gives up on a client that takes nothing for too long.
async fn flush(
    connection: &Arc<Mutex<Connection>>,
    out: &mut Outgoing,
    alarm: &mut Alarm,
    settings: &Settings,
) -> io::Result<()> {
    let mut waiting = false;
    poll_fn(|cx| {
        let written = out.poll_write(&mut connection.lock().wire.stream, cx);
        if written.is_pending() {
            if !waiting {
                waiting = true;
                alarm.set(settings.write_timeout);
            }
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else {
            alarm.unset();
        }
        written
    })
    .await
}

/// Says that nothing follows, and reads a little more: closing a socket with unread bytes resets it,
/// and a reset may overtake the response.
async fn linger(connection: &Arc<Mutex<Connection>>, out: &mut Outgoing) {
    out.clear();
    let ending = poll_fn(|cx| {
        let mut connection = connection.lock();
        let connection = &mut *connection;
        if Pin::new(&mut connection.wire.stream).poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        let mut discarded = 0;
        loop {
            connection.wire.read.clear();
            match connection.wire.poll_fill(cx) {
                Poll::Ready(Ok(count)) if count > 0 && discarded < DISCARD => discarded += count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let _ = tokio::time::timeout(LINGER, ending).await; // Whoever still sends by then is reset.
}

/// What is known of a client.
enum Presence {
    Here,
    /// It has sent a whole request and nothing will follow.
    HalfClosed,
    Gone,
}

/// Whether the client has left. One that has closed its half looks the same as one that left, until
/// something is written to it: it has a moment for its answer, and then its request must not hold a
/// place any longer.
fn poll_left(connection: &Mutex<Connection>, alarm: &mut Alarm, cx: &mut Context<'_>) -> bool {
    let presence = connection.lock().poll_presence(cx);
    match presence {
        Presence::Here => false,
        Presence::Gone => true,
        Presence::HalfClosed => {
            alarm.begin(HALF_CLOSED, false);
            alarm.poll(cx).is_ready()
        }
    }
}

enum Next {
    Request(Box<RequestHead>),
    Refuse(Bad),
    End,
}

fn poll_head<F: Future<Output = ()>>(
    connection: &Mutex<Connection>,
    alarm: &mut Alarm,
    closed: Pin<&mut F>,
    idle_timeout: Duration,
    head_timeout: Duration,
    cx: &mut Context<'_>,
) -> Poll<Next> {
    let mut connection = connection.lock();
    let wire = &mut connection.wire;
    let mut seen = 0;
    loop {
        // Some clients end a body with a line too many (RFC 9112 §2.2).
        while wire.read.starts_with(b"\r\n") {
            bytes::Buf::advance(&mut wire.read, 2);
        }
        if let Some(end) = head::end(&wire.read, seen) {
            let head = wire.read.split_to(end).freeze();
            alarm.unset();
            return Poll::Ready(match head::request(&head) {
                Ok(head) => Next::Request(Box::new(head)),
                Err(bad) => Next::Refuse(bad),
            });
        }
        seen = wire.read.len();
        if seen > head::LIMIT {
            return Poll::Ready(Next::Refuse(Bad::TooLarge));
        }
        match wire.poll_fill(cx) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => break,
        }
    }
    let begun = !wire.read.is_empty();
    alarm.begin(if begun { head_timeout } else { idle_timeout }, begun);
    if alarm.poll(cx).is_ready() {
        return Poll::Ready(if begun {
            Next::Refuse(Bad::Malformed("the request's head took too long"))
        } else {
            Next::End
        });
    }
    if !begun && closed.poll(cx).is_ready() {
        return Poll::Ready(Next::End);
    }
    Poll::Pending
}

impl Connection {
    /// Whether the client is there, while we wait for somebody else. What it sends meanwhile is kept.
    fn poll_presence(&mut self, cx: &mut Context<'_>) -> Presence {
        if self.upgrade == Upgrade::Granted {
            return Presence::Here; // Each half ends by itself.
        }
        if !self.body.is_done() {
            match &mut self.owner {
                Some(owner) => owner.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        let limit = if self.body.is_done() && self.upgrade == Upgrade::No { 1 } else { READ_AHEAD };
        while self.wire.read.len() < limit && !self.wire.eof {
            match self.wire.poll_fill(cx) {
                Poll::Pending => return Presence::Here,
                Poll::Ready(Err(_)) => return Presence::Gone,
                Poll::Ready(Ok(_)) => {
                    if let Some(reader) = self.reader.take() {
                        reader.wake();
                    }
                }
            }
        }
        // Pipelined requests that were sent before the end are still to be answered.
        if !self.wire.eof || (self.body.is_done() && !self.wire.read.is_empty()) {
            Presence::Here
        } else if self.body.is_done() {
            Presence::HalfClosed
        } else {
            Presence::Gone
        }
    }

    /// Throws away what is left of the body, if it is here already; false if it is not.
    fn discard_body(&mut self) -> bool {
        let mut discarded = 0;
        loop {
            match self.body.step(&mut self.wire.read, self.wire.eof) {
                Ok(Step::Data(data)) => discarded += data.len(),
                Ok(Step::End | Step::Trailers(_)) => return true,
                Err(_) => return false,
                Ok(Step::More) => {
                    let mut cx = Context::from_waker(Waker::noop());
                    if !matches!(self.wire.poll_fill(&mut cx), Poll::Ready(Ok(_))) {
                        return false;
                    }
                }
            }
            if discarded > DISCARD {
                return false;
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<bytes::Bytes>>>> {
        if self.upgrade == Upgrade::Asked {
            self.await_turn(cx);
            return Poll::Pending;
        }
        if let Some(bad) = self.bad {
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, bad))));
        }
        if self.owes_continue && !self.body.is_done() {
            self.owes_continue = false;
            self.early.extend_from_slice(CONTINUE);
            self.write_early();
            if !self.early.is_empty() {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
            }
        }
        loop {
            let step = self.body.step(&mut self.wire.read, self.wire.eof);
            // From here on the connection's task is the one that notices when the client leaves.
            if self.body.is_done()
                && let Some(owner) = self.owner.take()
                && !owner.will_wake(cx.waker())
            {
                owner.wake();
            }
            match step {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Step::End) => return Poll::Ready(None),
                Err(bad) => {
                    self.bad = Some(bad);
                    return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, bad))));
                }
                Ok(Step::More) => match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => {
                        self.await_turn(cx);
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Writes interim responses. No response has begun, so nothing else is in the socket's buffer, and
    /// they fit but for a client that reads nothing: what is left goes out before the response. That the
    /// client has gone shows where it is read.
    fn write_early(&mut self) {
        if let Ok(count) = self.wire.stream.try_write(&self.early) {
            self.early.drain(..count);
        }
    }

    fn await_turn(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl RequestBody {
    /// The next piece.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<bytes::Bytes>>>> {
        self.asker.connection.lock().poll_body(cx)
    }

    /// The client, unless it speaks HTTP/1.0 and knows of no interim responses.
    pub fn asker(&self) -> Option<Asker> {
        self.http_11.then(|| self.asker.clone())
    }

    /// How many bytes are left, where that is known; an upgrade's other half is not.
    pub fn remaining(&self) -> Option<u64> {
        let connection = self.asker.connection.lock();
        if connection.upgrade == Upgrade::No { connection.body.remaining() } else { None }
    }
}

impl Asker {
    /// Tells the client an interim response (RFC 9110 §15.2) at once; nothing where its response has
    /// begun.
    pub fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        let mut connection = self.connection.lock();
        if !connection.awaited || connection.turn != self.turn {
            return;
        }
        head::write_response(&mut connection.early, status, headers, Framing::Absent, false);
        connection.write_early();
    }
}

/// One timer for a connection, which is set far more often than it is armed.
///
/// Arming costs a lock and a place in the timer wheel. A deadline is usually later than the one
/// before it, so the timer is left as it is and looks again when it fires.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    deadline: Option<Instant>,
    begun: bool,
}

impl Alarm {
    fn new(first: Duration) -> Alarm {
        Alarm { sleep: Box::pin(tokio::time::sleep(first)), deadline: None, begun: false }
    }

    /// Fires after `span` from now.
    fn set(&mut self, span: Duration) {
        let deadline = Instant::now() + span;
        self.deadline = Some(deadline);
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// As [`set`](Alarm::set), but only when none was set, or when `begun` has become true.
    fn begin(&mut self, span: Duration, begun: bool) {
        if self.deadline.is_none() || (begun && !self.begun) {
            self.begun = begun;
            self.set(span);
        }
    }

    fn unset(&mut self) {
        self.deadline = None;
        self.begun = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= deadline {
                self.deadline = None;
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
