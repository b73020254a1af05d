//! The client's side of one connection: one request out, one response in.
//!
//! Nothing runs by itself: whoever polls the response, head or body, also moves what is left of the
//! request. So a response may begin before its request has ended, and an upgraded connection is just
//! a request and a response that both go on.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use tokio::{
    io::AsyncWrite,
    time::{Duration, Instant, Sleep},
};

use super::{
    chunk::{Decoder, Step},
    head::{self, Framing},
    wire::{Outgoing, Wire},
};
use crate::{body::Body, stream::Stream};

/// How long a request that expects `100 Continue` waits for it before its body is sent anyway.
/// Source: Go's `http.DefaultTransport`, `ExpectContinueTimeout`.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Most interim responses before the final one; a server needs one or two.
const INTERIM: usize = 16;

/// A connection on which no request is under way.
pub struct Connection {
    wire: Wire<Stream>,
    out: Outgoing,
    /// When it was last used.
    pub since: Instant,
    /// Whether it has carried a request.
    pub used: bool,
}

/// Takes a connection back when its response has been read to the end.
pub trait Home: Send + Sync {
    /// Keeps `connection` for another request.
    fn keep(self: Arc<Self>, connection: Box<Connection>);
}

/// What is left of a response, and of the request that it answers.
pub struct ResponseBody {
    /// Absent once the response has ended.
    exchange: Option<Exchange>,
    home: Option<Arc<dyn Home>>,
    half_closed: bool,
}

/// Why there is no response.
pub struct Failure {
    /// What happened.
    pub cause: io::Error,
    /// Whether the request can be sent once more without harm, and is as it was.
    pub repeatable: bool,
    /// Whether some byte of the request may have arrived.
    pub sent: bool,
}

struct Exchange {
    connection: Box<Connection>,
    request: Option<Body>,
    framing: Framing,
    /// Bytes of a request with a length that are still to come from `request`.
    left: u64,
    /// The body waits for `100 Continue` or for another protocol to begin.
    held_back: bool,
    /// The request could not be written to its end.
    broken: Option<io::Error>,
    /// The request's own source failed: nobody waits for the response any more.
    abandoned: bool,
    response: Decoder,
    keep_alive: bool,
    raw: bool,
}

impl Connection {
    /// A connection on a new socket.
    pub fn new(stream: Stream, now: Instant) -> Connection {
        let _ = stream.socket().set_nodelay(true); // A connection that cannot be tuned still works.
        Connection {
            wire: Wire::new(stream, BytesMut::new()),
            out: Outgoing::default(),
            since: now,
            used: false,
        }
    }

    /// Whether the other side has closed it, or said something unasked.
    pub fn is_stale(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.wire.eof || self.wire.poll_fill(&mut cx).is_ready()
    }

    /// Gives back the memory that an idle connection does not need.
    pub fn rest(&mut self) {
        self.wire.release();
    }
}

/// Sends `request` over `connection` and waits for the head of its response.
///
/// The body is taken out of the request, which otherwise stays as it is. `home` gets the connection
/// back when the response's body has been read. After a failure the request is whole again if no byte
/// of a response came and it can be repeated: it was not sent at all, or has no body and a method that
/// may be repeated.
pub async fn send(
    connection: Box<Connection>,
    request: &mut Request<Body>,
    home: Option<Arc<dyn Home>>,
) -> Result<Response<Body>, Failure> {
    let body = std::mem::take(request.body_mut());
    let asker = body.asker();
    let request: &mut Request<Body> = request;
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let framing = match body.exact() {
        _ if upgrade => Framing::Upgrade,
        Some(0) => {
            // Servers may insist on a length where a body is usual.
            let usual = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
            if usual { Framing::Length(0) } else { Framing::Absent }
        }
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let expects = matches!(framing, Framing::Length(1..) | Framing::Chunked)
        && request
            .headers()
            .get(header::EXPECT)
            .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let to_head = request.method() == Method::HEAD;
    let mut exchange = Exchange {
        connection,
        request: Some(body),
        framing,
        left: if let Framing::Length(length) = framing { length } else { u64::MAX },
        held_back: upgrade || expects,
        broken: None,
        abandoned: false,
        response: Decoder::Done,
        keep_alive: true,
        raw: false,
    };
    if !upgrade && matches!(framing, Framing::Absent | Framing::Length(0)) {
        // There is nothing to take out, and who tries again asks for the same client.
        *request.body_mut() = exchange.request.take().unwrap_or_default();
    }
    head::write_request(exchange.connection.out.text(), request, framing);
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    let mut interim = 0;
    let mut begun = false;

    let found = poll_fn(|cx| {
        loop {
            let sent = exchange.poll_send(&mut begun, cx);
            if exchange.abandoned
                && let Some(error) = exchange.broken.take()
            {
                return Poll::Ready(Err(error));
            }
            if expects && exchange.held_back && sent.is_ready() {
                let patience =
                    patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(CONTINUE_TIMEOUT)));
                if patience.as_mut().poll(cx).is_ready() {
                    exchange.held_back = false;
                    continue;
                }
            }
            match exchange.poll_head(to_head, cx) {
                Poll::Ready(Ok(head))
                    if head.response.status() == StatusCode::SWITCHING_PROTOCOLS =>
                {
                    if !upgrade {
                        let cause = "the other side switched protocols unasked";
                        return Poll::Ready(Err(io::Error::other(cause)));
                    }
                    exchange.held_back = false;
                    exchange.raw = true;
                    return Poll::Ready(Ok(head));
                }
                Poll::Ready(Ok(head)) if head.response.status().is_informational() => {
                    interim += 1;
                    if interim > INTERIM {
                        return Poll::Ready(Err(io::Error::other("too many interim responses")));
                    }
                    if head.response.status() == StatusCode::CONTINUE && !upgrade {
                        exchange.held_back = false;
                    } else if let Some(asker) = &asker {
                        asker.tell(head.response.status(), head.response.headers());
                    }
                }
                found => return found,
            }
        }
    })
    .await;

    let head = match found {
        Ok(head) => head,
        Err(cause) => return Err(exchange.failed(request, cause, begun)),
    };
    exchange.response = head.body;
    exchange.keep_alive = head.keep_alive;
    if exchange.held_back {
        // Answered without wanting the body, which the other side may or may not still expect.
        exchange.request = None;
        exchange.keep_alive &= upgrade;
    }
    let mut body = ResponseBody { exchange: Some(exchange), home, half_closed: false };
    Ok(head.response.map(|()| match body.at_once() {
        Some(bytes) => Body::full(bytes),
        None => Body::response(body),
    }))
}

impl Exchange {
    /// Writes what there is to write of the request; ready when nothing is left, or when the rest must
    /// wait for the response's head.
    fn poll_send(&mut self, begun: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Connection { wire, out, .. } = &mut *self.connection;
            // The head and what there is of the body leave in one write.
            let idle = out.is_empty();
            if (idle || !*begun) && !self.held_back && self.broken.is_none() {
                if let Some(body) = &mut self.request {
                    match Pin::new(body).poll_frame(cx) {
                        Poll::Pending if idle => return Poll::Pending,
                        Poll::Pending => {}
                        Poll::Ready(frame) => {
                            *begun = true;
                            self.take_frame(frame);
                            continue;
                        }
                    }
                } else if idle {
                    return Poll::Ready(());
                }
            } else if idle || self.broken.is_some() {
                return Poll::Ready(());
            }
            match out.poll_write(&mut wire.stream, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    // A response may have come before: it is read, and the connection not kept.
                    self.broken = Some(error);
                    self.request = None;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Puts a piece of the request where it will be written.
    fn take_frame(&mut self, frame: Option<io::Result<Frame<Bytes>>>) {
        let out = &mut self.connection.out;
        let chunked = self.framing == Framing::Chunked;
        match frame {
            None => {
                self.request = None;
                if chunked {
                    if !out.put_end(b"0\r\n\r\n") {
                        self.broken = Some(io::Error::other("a body ended before it was written"));
                    }
                } else if matches!(self.framing, Framing::Length(_)) && self.left > 0 {
                    self.broken = Some(io::ErrorKind::UnexpectedEof.into());
                    self.abandoned = true;
                }
            }
            Some(Err(error)) => {
                self.request = None;
                self.broken = Some(error);
                self.abandoned = true;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(mut data) => {
                    if chunked {
                        let last = self.request.as_ref().is_some_and(|body| body.is_end_stream());
                        out.put_chunk(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                        if last {
                            self.request = None;
                        }
                    } else {
                        data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                        self.left -=
                            if self.framing == Framing::Upgrade { 0 } else { data.len() as u64 };
                        out.put(data, b"");
                        if self.left == 0 {
                            self.request = None;
                        }
                    }
                }
                Err(frame) => {
                    self.request = None;
                    if chunked {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        out.put_trailers(&trailers);
                    }
                }
            },
        }
    }

    fn poll_head(
        &mut self,
        to_head: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<head::ResponseHead>> {
        let wire = &mut self.connection.wire;
        let mut seen = 0;
        loop {
            if let Some(end) = head::end(&wire.read, seen) {
                let head = wire.read.split_to(end).freeze();
                let head = head::response(&head, to_head);
                return Poll::Ready(
                    head.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad)),
                );
            }
            seen = wire.read.len();
            if seen > head::LIMIT {
                let cause = "the response's headers are too large";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, cause)));
            }
            match std::task::ready!(wire.poll_fill(cx)) {
                Ok(0) => {
                    let cause = self.broken.take();
                    return Poll::Ready(Err(
                        cause.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
                    ));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn failed(self, request: &mut Request<Body>, cause: io::Error, begun: bool) -> Failure {
        let unanswered = self.connection.wire.read.is_empty();
        let unsent = self.connection.out.is_untouched();
        let safe = matches!(
            *request.method(),
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::TRACE
                | Method::PUT
                | Method::DELETE
        );
        let repeatable = !begun && unanswered && (unsent || safe);
        if let Some(body) = self.request {
            *request.body_mut() = body;
        }
        Failure { cause, repeatable, sent: !unsent }
    }
}

impl ResponseBody {
    /// How many bytes are left, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match &self.exchange {
            None => Some(0),
            Some(exchange) if exchange.raw => None,
            // The end of a response whose request goes on is only seen by polling.
            Some(exchange) => exchange.response.remaining().filter(|left| *left > 0),
        }
    }

    /// The whole body, if it has been read already and the request has been written.
    fn at_once(&mut self) -> Option<Bytes> {
        let exchange = self.exchange.as_mut()?;
        let length = usize::try_from(exchange.response.remaining()?).ok()?;
        let Connection { wire, out, .. } = &mut *exchange.connection;
        if exchange.raw || exchange.request.is_some() || !out.is_empty() || wire.read.len() < length
        {
            return None;
        }
        let bytes = wire.read.split_to(length).freeze();
        exchange.response = Decoder::Done;
        self.end();
        Some(bytes)
    }

    /// The next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        let mut begun = true;
        let sent = exchange.poll_send(&mut begun, cx).is_ready();
        if exchange.abandoned
            && let Some(error) = exchange.broken.take()
        {
            self.exchange = None;
            return Poll::Ready(Some(Err(error)));
        }
        if exchange.raw && sent && exchange.request.is_none() {
            // The client has closed its half. Failing to pass that on ends the response below.
            let _ = Pin::new(&mut exchange.connection.wire.stream).poll_shutdown(cx);
        }
        if self.half_closed {
            if sent {
                self.exchange = None;
                return Poll::Ready(None);
            }
            return Poll::Pending;
        }
        loop {
            let wire = &mut exchange.connection.wire;
            match exchange.response.step(&mut wire.read, wire.eof) {
                Ok(Step::Data(data)) => {
                    if exchange.response.is_done() && sent {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Trailers(trailers)) => {
                    self.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Step::End) if exchange.raw && !sent => {
                    self.half_closed = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(http::HeaderMap::new()))));
                }
                Ok(Step::End) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Ok(Step::More) => match std::task::ready!(wire.poll_fill(cx)) {
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Err(bad) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, bad);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// Gives the connection back if another request can use it.
    fn end(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let Exchange { mut connection, request, broken, keep_alive, .. } = exchange;
        let clean = request.is_none()
            && broken.is_none()
            && keep_alive
            && connection.out.is_empty()
            && connection.wire.read.is_empty()
            && !connection.wire.eof;
        if clean && let Some(home) = self.home.take() {
            connection.used = true;
            home.keep(connection);
        }
    }
}
