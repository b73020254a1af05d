//! A gRPC echo: `weft.samples.Echo/Say` answers a message, `/Stream` answers each of a stream.
//!
//! ```proto
//! package weft.samples;
//! message Text { string text = 1; }
//! service Echo {
//!   rpc Say(Text) returns (Text);
//!   rpc Stream(stream Text) returns (stream Text);
//! }
//! ```
//!
//! Messages go back as they came, so the wire format of gRPC over HTTP/2 is all there is to it.
//! Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::{any, post},
};
use bytes::Bytes;
use http_body::Frame;

/// gRPC's code of an unknown method.
const UNIMPLEMENTED: &str = "12";

pub fn router() -> Router {
    Router::new()
        .route("/weft.samples.Echo/Say", post(echo))
        .route("/weft.samples.Echo/Stream", post(echo))
        .fallback(any(async || {
            let mut response = grpc_response(Body::empty());
            let headers = response.headers_mut();
            headers.insert("grpc-status", HeaderValue::from_static(UNIMPLEMENTED));
            headers.insert(
                "grpc-message",
                HeaderValue::from_static("call weft.samples.Echo/Say or /Stream"),
            );
            response
        }))
}

async fn echo(request: Request) -> Response {
    grpc_response(Body::new(Echo { messages: request.into_body(), done: false }))
}

fn grpc_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The request's frames, then the trailers that say that all went well.
struct Echo {
    messages: Body,
    done: bool,
}

impl http_body::Body for Echo {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.messages).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            // The end, or trailers, which a gRPC client does not send.
            Poll::Ready(_) => {
                self.done = true;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
