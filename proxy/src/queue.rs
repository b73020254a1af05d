//! The queue: the last hop before the user container, which limits, times, counts and probes.
//!
//! It is a library, so that a node can hold the queues of all its pods in one process; the queue
//! role serves the same [`Queue`] on ports.
//! Source: knative/serving `pkg/queue`, `cmd/queue`.

use std::sync::Arc;

use api::queue::Settings;
use http::{Request, Response, StatusCode, header};

use crate::{
    body::Body,
    drain,
    hop::{Boxed, Dial, Protocol, Reply, SendError},
    upstream,
};

/// The queue of one pod.
pub struct Queue {
    settings: Settings,
    dial: Arc<dyn Dial>,
    app: Arc<upstream::Peer>,
    in_flight: drain::Count,
}

impl Queue {
    /// A queue that reaches its pod's containers by `dial`.
    pub fn new(settings: Settings, dial: Arc<dyn Dial>) -> Arc<Queue> {
        let app = upstream::Peer::new(upstream::Settings::default(), {
            let (dial, port) = (dial.clone(), settings.user_port);
            move || dial.dial(port)
        });
        Arc::new(Queue { settings, dial, app, in_flight: drain::Count::default() })
    }

    /// How the queue was set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request, probes included.
    pub fn handle(self: &Arc<Self>, request: Request<Body>) -> Reply {
        let queue = self.clone();
        let entry = self.in_flight.enter();
        Box::pin(async move {
            let protocol = if queue.settings.user_h2c { Protocol::H2c } else { Protocol::Http1 };
            match queue.app.send(protocol, request).await {
                Ok(response) => response.map(|body| body.holding(entry)),
                Err(SendError::NotSent { .. }) => {
                    text(StatusCode::BAD_GATEWAY, "the container does not accept connections")
                }
                Err(SendError::Lost { .. }) => {
                    text(StatusCode::BAD_GATEWAY, "the container closed the connection")
                }
            }
        })
    }

    /// From now on answers probes with 503; done when nothing is in flight. Requests that still
    /// arrive are served.
    pub fn drain(self: &Arc<Self>) -> Boxed<()> {
        let queue = self.clone();
        self.in_flight.close();
        Box::pin(async move { queue.in_flight.empty().await })
    }

    /// Whether the user container is ready now; all who ask at the same time share one run.
    pub fn probe(self: &Arc<Self>) -> Boxed<bool> {
        let queue = self.clone();
        Box::pin(async move {
            !queue.in_flight.is_closed() && queue.dial.dial(queue.settings.user_port).await.is_ok()
        })
    }
}

/// A short plain-text answer.
fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Body::full(text))
        .expect("these parts are valid")
}
