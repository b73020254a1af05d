//! Answers on their way out: status, headers, bytes or a stream of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use serde_json::Value;

use super::negotiate::Encoding;
use super::status::{Refusal, Status};

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece: watches, logs, long lists.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Whole(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// JSON, YAML or protobuf.
    pub encoding: Encoding,
    /// JSON over several lines.
    pub pretty: bool,
}

/// An answer with a body of one content type.
pub fn bytes(code: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() = StatusCode::from_u16(code).expect("codes are written as literals");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Plain text.
pub fn text(code: u16, text: &str) -> Response<Body> {
    let mut response =
        bytes(code, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// A path that nobody serves.
pub fn no_page() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// A value.
pub fn value(code: u16, style: Style, value: &Value) -> Response<Body> {
    bytes(code, style.encoding.media_type(), encoded(style, value))
}

/// A status.
pub fn status(style: Style, status: &Status) -> Response<Body> {
    let code = if status.code == 0 { 200 } else { status.code };
    let body = match style.encoding {
        Encoding::Json => json(style, status),
        _ => encoded(style, &serde_json::to_value(status).expect("a status serializes")),
    };
    let mut response = bytes(code, style.encoding.media_type(), body);
    if let Some(seconds) = status.details.as_ref().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code == 401 {
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"kubernetes\""),
        );
    }
    response
}

/// A failure.
pub fn refusal(style: Style, refusal: &Refusal) -> Response<Body> {
    status(style, refusal)
}

fn json(style: Style, value: &impl serde::Serialize) -> Bytes {
    let mut out = Vec::with_capacity(256);
    if style.pretty {
        serde_json::to_writer_pretty(&mut out, value).expect("a JSON value serializes");
    } else {
        serde_json::to_writer(&mut out, value).expect("a JSON value serializes");
        out.push(b'\n');
    }
    out.into()
}

/// The bytes of a value.
pub fn encoded(style: Style, value: &Value) -> Bytes {
    match style.encoding {
        Encoding::Json => json(style, value),
        Encoding::Yaml => super::yaml::write(value).into(),
        // Negotiation offers protobuf only for kinds that have it; lists of their items have it too.
        Encoding::Protobuf => crate::protobuf::encode(value).unwrap_or_default().into(),
    }
}

/// Adds a `Warning` header for each text, as far as the header's bounds allow.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for text in warnings {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, header);
        }
    }
}
