//! The queue: the last hop before the user container, which limits, times, counts and probes.
//!
//! It is a library, so that a node can hold the queues of all its pods in one process; the queue
//! role serves the same [`Queue`] on ports.
//! Source: knative/serving `pkg/queue`, `cmd/queue`.

pub mod certificate;
mod ended;
pub mod load;
mod metrics;
pub mod request_log;
pub mod role;

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use api::{headers, queue::Settings};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use self::{
    ended::Pending,
    load::{Load, Taken},
    metrics::RequestMetrics,
    request_log::{Lines, RequestLog},
};
use crate::{
    body::Body,
    breaker::Breaker,
    drain,
    hop::{Boxed, Dial, Protocol, Reply, plain},
    probe::{self, Language},
    timeout,
    upstream::{self, Failed},
};

/// Requests that may wait for the container, for each that it takes. Source: upstream's `QueueDepth`.
const DEPTH: usize = 10;
/// How long a request waits for a container that takes no connections. One that ended is started again at once, and one
/// that ended twice after 10 s, as kubelet has it; then it needs a moment.
const RESTART: Duration = Duration::from_secs(15);
/// Between two attempts to connect meanwhile; the time between them grows with the wait.
const FIRST_ATTEMPT: Duration = Duration::from_millis(10);
const LAST_ATTEMPT: Duration = Duration::from_millis(250);
/// After how many seconds a client that was refused for want of room may well find some.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const REVISION: HeaderName = HeaderName::from_static(headers::REVISION);
const NAMESPACE: HeaderName = HeaderName::from_static(headers::NAMESPACE);
const PROXY_REQUEST: HeaderName = HeaderName::from_static(headers::PROXY_REQUEST);
const ORIGINAL_HOST: HeaderName = HeaderName::from_static(headers::ORIGINAL_HOST);
const PROBE: HeaderName = HeaderName::from_static(headers::PROBE);
const HASH: HeaderName = HeaderName::from_static(headers::HASH);
const PASSTHROUGH_LB: HeaderName = HeaderName::from_static(headers::PASSTHROUGH_LB);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The queue of one pod.
pub struct Queue {
    settings: Settings,
    limits: timeout::Limits,
    language: Language,
    dial: Arc<dyn Dial>,
    app: Arc<upstream::Peer>,
    breaker: Option<Breaker>,
    in_flight: drain::Count,
    load: Arc<Counted>,
    log: Option<Arc<RequestLog>>,
    metrics: Option<Arc<RequestMetrics>>,
    /// The run of the readiness probe that is under way, if one is.
    probing: Mutex<Option<watch::Receiver<Option<bool>>>>,
}

struct Counted {
    begun: Instant,
    load: Mutex<Load>,
}

/// The container's part of a request that is measured, until dropped.
struct Invoked {
    metrics: Arc<RequestMetrics>,
    begun: Instant,
    code: u16,
}

/// A request in flight, until dropped.
struct Flight {
    counted: Arc<Counted>,
    proxied: bool,
    /// None once the client speaks another protocol with the container: that ends when one of them ends it, and the
    /// container does when it is told to stop, which it is after a drain.
    entry: Option<drain::Entry>,
}

impl Queue {
    /// A queue that reaches its pod's containers by `dial`, and writes no request log.
    pub fn new(settings: Settings, dial: Arc<dyn Dial>) -> Arc<Queue> {
        Queue::build(settings, dial, None)
    }

    /// A queue, and the lines of its request log if its settings want one: the caller writes them.
    pub fn logging(settings: Settings, dial: Arc<dyn Dial>) -> (Arc<Queue>, Option<Lines>) {
        let (log, lines) = request_log::open(&settings).unzip();
        (Queue::build(settings, dial, log), lines)
    }

    fn build(settings: Settings, dial: Arc<dyn Dial>, log: Option<Arc<RequestLog>>) -> Arc<Queue> {
        let app = upstream::Peer::new(upstream::Settings::default(), {
            let (dial, port) = (dial.clone(), settings.user_port);
            move || dial.dial(port)
        });
        let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
        let concurrency = settings.container_concurrency as usize;
        Arc::new(Queue {
            limits: timeout::Limits {
                total: seconds(settings.timeout_s),
                response_start: seconds(settings.response_start_timeout_s),
                idle: seconds(settings.idle_timeout_s),
            },
            language: match settings.user_h2c {
                true => Language::told(Protocol::H2c),
                false if settings.detect_h2c => Language::to_learn(),
                false => Language::told(Protocol::Http1),
            },
            breaker: (concurrency > 0).then(|| Breaker::new(concurrency, DEPTH * concurrency)),
            in_flight: drain::Count::default(),
            load: Arc::new(Counted { begun: Instant::now(), load: Mutex::default() }),
            log,
            metrics: settings.request_metrics.then(|| Arc::new(RequestMetrics::new(&settings))),
            probing: Mutex::default(),
            settings,
            dial,
            app,
        })
    }

    /// How the queue was set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request of this process, probes included.
    pub fn handle(self: &Arc<Self>, request: Request<Body>) -> Reply {
        self.take(request, None)
    }

    /// Answers one request that `from` sent, probes included.
    pub fn handle_from(self: &Arc<Self>, request: Request<Body>, from: SocketAddr) -> Reply {
        self.take(request, Some(from))
    }

    fn take(self: &Arc<Self>, request: Request<Body>, from: Option<SocketAddr>) -> Reply {
        if self.log.is_none() && self.metrics.is_none() {
            return self.answer(request);
        }
        let pending = Pending::begin(self, &request, from);
        let reply = self.answer(request);
        match pending {
            None => reply,
            Some(pending) => Box::pin(async move { pending.answered(reply.await) }),
        }
    }

    fn answer(self: &Arc<Self>, mut request: Request<Body>) -> Reply {
        let queue = self.clone();
        if is_probe(request.headers()) {
            return Box::pin(async move { queue.answer_probe(request).await });
        }
        // Counted from here, so that a reply that is not polled yet holds up a drain.
        let flight = self.enter(request.headers());
        Box::pin(async move {
            let forwarding = pin!(queue.forward(&mut request, flight));
            timeout::limit(queue.limits, "request timeout", forwarding).await
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
        Box::pin(async move { queue.ready().await })
    }

    /// Requests in flight, those that wait included.
    pub fn in_flight(&self) -> usize {
        self.in_flight.in_flight()
    }

    /// What the pod carried since the last call.
    pub fn take_load(&self) -> Taken {
        self.load.load.lock().take(self.load.begun.elapsed())
    }

    /// What Prometheus reads; none when requests are not measured.
    pub fn metrics(&self) -> Option<String> {
        let metrics = self.metrics.as_ref()?;
        Some(metrics.text(&self.settings, self.in_flight(), self.left_out()))
    }

    /// Answers Prometheus at `/metrics`.
    pub fn answer_metrics(&self, request: &Request<Body>) -> Reply {
        let response = match self.metrics() {
            Some(text) if request.uri().path() == "/metrics" => {
                let mut response = Response::new(Body::full(text));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "only /metrics is known here".into()),
        };
        Box::pin(async move { response })
    }

    /// Lines that were left out of the request log, as it was not written fast enough.
    pub fn left_out(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.left_out())
    }

    /// Requests that ever arrived.
    pub fn arrived(&self) -> u64 {
        self.load.load.lock().total()
    }

    fn enter(&self, headers: &HeaderMap) -> Flight {
        let proxied = headers.get(PROXY_REQUEST).is_some_and(|by| by == "activator");
        self.load.load.lock().enter(proxied, self.load.begun.elapsed());
        Flight { counted: self.load.clone(), proxied, entry: Some(self.in_flight.enter()) }
    }

    /// The way of one request. Read it from top to bottom.
    async fn forward(&self, request: &mut Request<Body>, mut flight: Flight) -> Response<Body> {
        prepare(request.headers_mut());
        let place = match &self.breaker {
            None => None,
            Some(breaker) => match breaker.enter().await {
                Ok(place) => Some(place),
                Err(full) => {
                    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, full.to_string());
                    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
                    return response;
                }
            },
        };
        let mut invoked = self.metrics.as_ref().map(Invoked::begin);
        let mut refused_since = None;
        let answer = loop {
            match self.app.exchange(self.protocol(request), request).await {
                Err(Failed::NotSent(cause)) => {
                    // On the heap, or each request would make room for it.
                    if !Box::pin(self.restart(&mut refused_since)).await {
                        break Err(Failed::NotSent(cause));
                    }
                }
                answer => break answer,
            }
        };
        match answer {
            Ok(response) => {
                if let Some(invoked) = &mut invoked {
                    invoked.code = response.status().as_u16();
                }
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    flight.entry = None;
                }
                // Nothing more can be in flight when all of the response is here.
                if response.body().is_whole() {
                    return response;
                }
                response.map(|body| body.holding((flight, place, invoked)))
            }
            Err(Failed::NotSent(cause)) => {
                tracing::debug!(revision = self.settings.revision, %cause, "connect to the container");
                let port = self.settings.user_port;
                let why = format!("the container does not accept connections on port {port}");
                plain(StatusCode::BAD_GATEWAY, why)
            }
            // What a container had got when it ended may be why it ended.
            Err(Failed::Lost(cause) | Failed::Repeatable(cause)) => {
                tracing::debug!(revision = self.settings.revision, %cause, "wait for the container");
                let why = "the container closed the connection before it answered";
                plain(StatusCode::BAD_GATEWAY, why.into())
            }
        }
    }

    /// Waits a moment for a container that takes no connections since then, or since now; false when it is not to be
    /// waited for any longer. What it never got is not lost with it.
    async fn restart(&self, since: &mut Option<Instant>) -> bool {
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        if self.in_flight.is_closed() || waited >= RESTART {
            return false;
        }
        tokio::time::sleep(waited.clamp(FIRST_ATTEMPT, LAST_ATTEMPT)).await;
        true
    }

    /// What to speak with the container about this request.
    fn protocol(&self, request: &Request<Body>) -> Protocol {
        match self.language.get() {
            // Who wants another protocol asks in HTTP/1.1, which a container that was not told to speak HTTP/2 knows too.
            Some(Protocol::H2c)
                if self.settings.user_h2c || !request.headers().contains_key(header::UPGRADE) =>
            {
                Protocol::H2c
            }
            _ => Protocol::Http1,
        }
    }

    async fn answer_probe(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        match request.headers().get(PROBE).map(HeaderValue::as_bytes) {
            Some(b"probe") => {
                let mut response = Response::new(Body::empty());
                if let Some(hash) = request.headers().get(HASH) {
                    response.headers_mut().insert(HASH, hash.clone());
                }
                response
            }
            None | Some(b"queue") => {
                if self.in_flight.is_closed() {
                    return plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down".into());
                }
                if self.ready().await {
                    plain(StatusCode::OK, "queue".into())
                } else {
                    plain(StatusCode::SERVICE_UNAVAILABLE, "queue not ready".into())
                }
            }
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let why = format!("unexpected probe header value: {other}");
                plain(StatusCode::BAD_REQUEST, why)
            }
        }
    }

    async fn ready(self: &Arc<Self>) -> bool {
        if self.in_flight.is_closed() {
            return false;
        }
        let mut answer = {
            let mut probing = self.probing.lock();
            match &*probing {
                Some(answer) => answer.clone(),
                None => {
                    let (tell, answer) = watch::channel(None);
                    *probing = Some(answer.clone());
                    let queue = self.clone();
                    // Bounded by the probe's own timeout. Apart from those who ask, since the first
                    // of them may leave while others wait.
                    tokio::spawn(async move {
                        let ready = queue.run_probes().await;
                        *queue.probing.lock() = None;
                        let _ = tell.send(Some(ready)); // Nobody may be waiting any more.
                    });
                    answer
                }
            }
        };
        let found = answer.wait_for(Option::is_some).await;
        found.is_ok_and(|ready| *ready == Some(true))
    }

    async fn run_probes(&self) -> bool {
        for readiness in &self.settings.readiness {
            let (port, dial) = (self.settings.user_port, &*self.dial);
            if !probe::passes(readiness, port, &self.language, dial).await {
                return false;
            }
        }
        true
    }
}

impl Invoked {
    fn begin(metrics: &Arc<RequestMetrics>) -> Invoked {
        // What a container that does not answer is said to have answered.
        let code = StatusCode::BAD_GATEWAY.as_u16();
        Invoked { metrics: metrics.clone(), begun: Instant::now(), code }
    }
}

impl Drop for Invoked {
    fn drop(&mut self) {
        self.metrics.invoked(self.code, self.begun.elapsed());
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.counted.load.lock().leave(self.proxied, self.counted.begun.elapsed());
    }
}

/// Whether a request is a question to the queue, and no load.
fn is_probe(headers: &HeaderMap) -> bool {
    headers.contains_key(PROBE)
        || headers.get(header::USER_AGENT).is_some_and(|agent| {
            let agent = agent.as_bytes();
            agent.first().is_some_and(|first| matches!(first, b'k' | b'K'))
                && headers::PROBER_AGENTS.iter().any(|known| agent.starts_with(known.as_bytes()))
        })
}

/// Takes out what hops said to each other, and adds what applications expect of a proxy.
fn prepare(headers: &mut HeaderMap) {
    headers.remove(REVISION);
    headers.remove(NAMESPACE);
    headers.remove(HASH);
    headers.remove(PASSTHROUGH_LB);
    if let Some(host) = headers.remove(ORIGINAL_HOST) {
        headers.insert(header::HOST, host);
    }
    if headers.contains_key(FORWARDED_FOR) && !headers.contains_key(header::FORWARDED) {
        forwarded(headers);
    }
}

/// Says in the standard's words what the `X-Forwarded-` headers say.
/// Source: knative/serving `pkg/queue/forwarded_shim.go`.
fn forwarded(headers: &mut HeaderMap) {
    let known = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut pairs = Vec::new();
    for client in known(FORWARDED_FOR).unwrap_or_default().split(',').map(str::trim) {
        // An address of version 6 has colons, and is then bracketed and quoted (RFC 7239 §6).
        let quoted = client.contains(':') && !client.starts_with('[');
        pairs.push(if quoted { format!("for=\"[{client}]\"") } else { format!("for={client}") });
    }
    let mut value = pairs.join(", ");
    if let Some(host) = known(FORWARDED_HOST).filter(|host| !host.is_empty()) {
        value.push_str(&format!(";host={host}"));
    }
    if let Some(proto) = known(FORWARDED_PROTO).filter(|proto| !proto.is_empty()) {
        value.push_str(&format!(";proto={proto}"));
    }
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(header::FORWARDED, value);
    }
}

#[cfg(test)]
mod tests;
