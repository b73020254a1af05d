//! The body of a request or response, streamed and never gathered.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::h1::{
    client::ResponseBody,
    server::{Asker, RequestBody},
};

/// Bytes, then perhaps trailers.
///
/// A body may hold things that must live as long as it does (a place in a limiter, a count of what
/// is in flight): they are dropped with the body, whether it was read to its end or abandoned.
pub struct Body {
    kind: Kind,
    held: Option<Box<Held>>,
}

enum Kind {
    Full(Option<Bytes>),
    /// Nothing, from a client that can be told something before its response.
    None(Asker),
    Request(RequestBody),
    Response(Box<ResponseBody>),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>),
}

struct Held {
    _thing: Box<dyn Any + Send>,
    _next: Option<Box<Held>>,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body { kind: Kind::Full(None), held: None }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body { kind: Kind::Full((!bytes.is_empty()).then_some(bytes)), held: None }
    }

    /// What `stream` yields.
    pub fn new<B, E>(stream: B) -> Body
    where
        B: http_body::Body<Data = Bytes, Error = E> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let stream = http_body_util::BodyExt::map_err(stream, io::Error::other);
        Body { kind: Kind::Stream(Box::pin(stream)), held: None }
    }

    /// What a client sends that sends no body.
    pub(crate) fn none(asker: Asker) -> Body {
        Body { kind: Kind::None(asker), held: None }
    }

    /// Who sends this, where that is a client that can be told something before its response.
    pub(crate) fn asker(&self) -> Option<Asker> {
        match &self.kind {
            Kind::None(asker) => Some(asker.clone()),
            Kind::Request(body) => body.asker(),
            Kind::Full(_) | Kind::Response(_) | Kind::Stream(_) => None,
        }
    }

    /// What a client sends.
    pub(crate) fn request(body: RequestBody) -> Body {
        Body { kind: Kind::Request(body), held: None }
    }

    /// What a server sends.
    pub(crate) fn response(body: ResponseBody) -> Body {
        Body { kind: Kind::Response(Box::new(body)), held: None }
    }

    /// How many bytes will come, where that is known.
    pub fn exact(&self) -> Option<u64> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::None(_) => Some(0),
            Kind::Request(body) => body.remaining(),
            Kind::Response(body) => body.remaining(),
            Kind::Stream(stream) => stream.size_hint().exact(),
        }
    }

    /// Whether all of it is here: nothing will have to be waited for.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Full(_) | Kind::None(_))
    }

    /// The same body, which drops `thing` when it is itself dropped.
    pub fn holding(mut self, thing: impl Any + Send) -> Body {
        self.held = Some(Box::new(Held { _thing: Box::new(thing), _next: self.held.take() }));
        self
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::None(_) => Poll::Ready(None),
            Kind::Request(body) => body.poll_frame(cx),
            Kind::Response(body) => body.poll_frame(cx),
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::None(_) => true,
            Kind::Request(body) => body.remaining() == Some(0),
            Kind::Response(body) => body.remaining() == Some(0),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.exact() {
            Some(exact) => SizeHint::with_exact(exact),
            None => SizeHint::default(),
        }
    }
}
