//! Follows a request to its end, where its line of the log is written and its numbers are added.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{
    Queue, is_probe,
    metrics::{Measured, RequestMetrics},
    request_log::{Entry, RequestLog},
};
use crate::body::Body;

/// A request that is being answered; told of when dropped.
pub(super) struct Pending {
    begun: Instant,
    code: u16,
    size: u64,
    log: Option<(Arc<RequestLog>, Box<Entry>)>,
    metrics: Option<(Arc<RequestMetrics>, Measured)>,
}

/// A response's body that is counted.
struct Counted {
    body: Body,
    pending: Pending,
}

impl Pending {
    /// None when nothing is to be told of the request.
    pub(super) fn begin(
        queue: &Queue,
        request: &Request<Body>,
        from: Option<SocketAddr>,
    ) -> Option<Pending> {
        let log = queue.log.as_ref().and_then(|log| Some((log.clone(), log.begin(request, from)?)));
        let metrics = queue.metrics.as_ref().filter(|_| !is_probe(request.headers()));
        let metrics = metrics.map(|metrics| (metrics.clone(), metrics.begin(request)));
        if log.is_none() && metrics.is_none() {
            return None;
        }
        // When the client leaves before there is an answer; upstream's proxy then finds its context cancelled.
        let code = StatusCode::BAD_GATEWAY.as_u16();
        Some(Pending { begun: Instant::now(), code, size: 0, log, metrics })
    }

    /// Notes the response; it is told of when all of it has been sent.
    pub(super) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.code = response.status().as_u16();
        if response.body().is_whole() {
            self.size = response.body().exact().unwrap_or_default();
            return response;
        }
        response.map(|body| Body::new(Counted { body, pending: self }))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let (code, size, latency) = (self.code, self.size, self.begun.elapsed());
        if let Some((log, entry)) = self.log.take() {
            log.ended(entry, code, size, latency);
        }
        if let Some((metrics, measured)) = self.metrics.take() {
            metrics.ended(measured, code, size, latency);
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.pending.size += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
