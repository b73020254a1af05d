//! Takes requests for revisions: finds the revision, waits for a pod, sends, counts.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use api::{headers, load, serving};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use parking_lot::{Mutex, RwLock};
use proxy::{
    body::Body,
    exposition,
    hop::{Backend, Destination, Reply, SendError, Upstream},
};
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    metrics::{REVISION as REVISION_LABELS, Readings},
    trust::Trust,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    backends::Seen,
    discover,
    revision::{Address, Flight, Full, Revision},
    telling::Told,
    way::Way,
};

/// Takes load reports. Must not wait: it is called on the path of a request.
pub type Sink = Arc<dyn Fn(load::Report) + Send + Sync>;

/// Holds requests until a pod can take them. Clones share everything.
#[derive(Clone)]
pub struct Activator {
    shared: Arc<Shared>,
}

/// How an activator works.
#[derive(Clone)]
pub struct Settings {
    /// The name under which it reports load: its pod's.
    pub reporter: String,
    /// Most requests that wait for one revision. Each holds a connection and its head, not its body:
    /// some tens of kilobytes.
    pub waiting: usize,
    /// Whom it trusts where queues are called in TLS; none where nothing of it can be on a wire.
    pub trust: Option<Trust>,
}

struct Shared {
    settings: Settings,
    cluster: Cluster,
    config: watch::Receiver<Arc<config::Config>>,
    revisions: Cache<serving::Revision>,
    slices: Cache<EndpointSlice>,
    way: Arc<Way>,
    sink: Sink,
    told: Told,
    /// Revisions with requests, by namespace and name, in shards so that cores do not meet.
    live: [RwLock<Names>; SHARDS],
    /// The same, by the key of their private Services.
    by_service: Mutex<HashMap<Key, Weak<Revision>>>,
    /// The same, to report.
    busy: Mutex<Vec<Arc<Revision>>>,
    /// Pods that run although no endpoint tells so yet, by the key of the private Service that they will be behind.
    /// Held while a revision takes its pods, so that it never takes older news after newer.
    expected: Mutex<Expected>,
    /// Wakes the reporter when the first of them becomes busy.
    more: Notify,
}

type Expected = HashMap<Key, Vec<Seen<Address>>>;
type Names = HashMap<Arc<str>, HashMap<Arc<str>, Arc<Revision>>>;

/// Enough that two of a machine's cores seldom want the same one.
const SHARDS: usize = 16;
/// Source: upstream's queue depth.
const WAITING: usize = 10_000;
/// Pods that one request tries: a connection refused means a pod that goes, and pods do not all go.
const ATTEMPTS: usize = 10;
/// Time between reports. Source: upstream's `reportInterval`.
const REPORT: Duration = Duration::from_secs(1);
/// When a client that was refused should come again: the next decision has been taken by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");
/// Longest wait for the first list of revisions, when a request comes while this process starts.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

const PROXY_REQUEST: HeaderName = HeaderName::from_static(headers::PROXY_REQUEST);
const ACTIVATOR: HeaderValue = HeaderValue::from_static(headers::PROBE_ACTIVATOR);
const REVISION: HeaderName = HeaderName::from_static(headers::REVISION);
const NAMESPACE: HeaderName = HeaderName::from_static(headers::NAMESPACE);

impl Settings {
    /// The usual settings for an activator of that name.
    pub fn new(reporter: impl Into<String>) -> Settings {
        Settings { reporter: reporter.into(), waiting: WAITING, trust: None }
    }
}

impl Activator {
    /// Starts to follow revisions and their endpoints, and to report load to `sink`, until the
    /// cluster stops.
    pub fn start(
        cluster: &Cluster,
        config: watch::Receiver<Arc<config::Config>>,
        upstream: Arc<dyn Upstream>,
        sink: Sink,
        mut settings: Settings,
    ) -> Activator {
        let trust = settings.trust.take();
        let shared = Arc::new(Shared {
            settings,
            cluster: cluster.clone(),
            config,
            revisions: cluster.cache(),
            slices: cluster.cache(),
            way: Arc::new(Way::new(upstream, trust)),
            sink,
            told: Told::new(cluster.metrics()),
            live: Default::default(),
            by_service: Mutex::default(),
            expected: Mutex::default(),
            busy: Mutex::default(),
            more: Notify::new(),
        });
        // The cache outlives nothing of ours: it would keep the activator and be kept by it.
        let weak = Arc::downgrade(&shared);
        shared.slices.on_change(move |change| {
            if let Some(shared) = weak.upgrade() {
                shared.endpoints_changed(change.last());
            }
        });
        let weak = Arc::downgrade(&shared);
        shared.revisions.on_change(move |change| {
            if let (Some(shared), None) = (weak.upgrade(), &change.new) {
                shared.told.forget(&Key::of(&**change.last()));
            }
        });
        let weak = Arc::downgrade(&shared);
        cluster.metrics().read(move |readings| {
            if let Some(shared) = weak.upgrade() {
                shared.read(readings);
            }
        });
        let reported = shared.clone();
        cluster.keep(move || report(reported.clone()));
        Activator { shared }
    }

    /// Takes that a pod of a revision runs, or runs no more, from whoever knows it before its endpoint does. The pod
    /// is asked whether it is ready, as one with an endpoint is. Does nothing once the activator is gone.
    pub fn expect(&self) -> impl Fn(&Key, Seen<Address>, bool) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move |revision, pod, runs| {
            let Some(shared) = shared.upgrade() else { return };
            let service = Key::new(&revision.namespace, &discover::private_service(&revision.name));
            {
                let mut expected = shared.expected.lock();
                let pods = expected.entry(service.clone()).or_default();
                pods.retain(|it| it.uid != pod.uid);
                if runs {
                    pods.push(pod);
                }
                if pods.is_empty() {
                    expected.remove(&service);
                }
            }
            shared.observe_service(&service);
        }
    }

    /// Requests in flight, those that wait included.
    pub fn in_flight(&self) -> usize {
        self.shared.busy.lock().iter().map(|it| it.in_flight() as usize).sum()
    }

    /// Requests that wait for a pod.
    pub fn waiting(&self) -> usize {
        self.shared.busy.lock().iter().map(|it| it.waiting()).sum()
    }

    /// Revisions that have, or had a moment ago, requests in flight.
    pub fn revisions(&self) -> usize {
        self.shared.busy.lock().len()
    }
}

impl Backend for Activator {
    fn send(&self, to: &Destination, request: Request<Body>) -> Reply {
        let arrived = Instant::now();
        let method = exposition::method(request.method());
        match self.shared.enter(&to.namespace, &to.service, method, arrived) {
            Entered::Flight(flight) => {
                Box::pin(forward(self.shared.clone(), flight, request, arrived))
            }
            Entered::Full => Box::pin(std::future::ready(full())),
            Entered::Unknown if self.shared.revisions.is_synced() => {
                Box::pin(std::future::ready(unknown(&to.service)))
            }
            Entered::Unknown => {
                let (activator, to) = (self.clone(), to.clone());
                Box::pin(async move {
                    let synced = activator.shared.revisions.synced();
                    match tokio::time::timeout(SYNC_TIMEOUT, synced).await {
                        Ok(()) => activator.send(&to, request).await,
                        Err(_) => busy("the revisions are not known yet"),
                    }
                })
            }
        }
    }
}

enum Entered {
    Flight(Flight),
    Full,
    Unknown,
}

impl Shared {
    fn enter(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        method: &'static str,
        arrived: Instant,
    ) -> Entered {
        // A revision may retire between the two steps; it does so once in a second at most.
        for _ in 0..ATTEMPTS {
            let found = self.find(namespace, name);
            let Some(revision) = found.or_else(|| self.make(namespace, name)) else {
                return Entered::Unknown;
            };
            let Some((entered, first)) = revision.enter(method, arrived) else {
                self.forget(&revision);
                continue;
            };
            if first {
                self.first(&revision);
            }
            return match entered {
                Ok(flight) => Entered::Flight(flight),
                Err(Full) => Entered::Full,
            };
        }
        Entered::Full
    }

    /// What there is to tell of the requests in flight.
    fn read(&self, readings: &mut Readings) {
        for revision in self.busy.lock().iter() {
            let values = &revision.told().labels;
            let labels: Vec<_> =
                REVISION_LABELS.iter().copied().zip(values.iter().map(String::as_str)).collect();
            let (all, waiting) = (f64::from(revision.in_flight()), revision.waiting() as f64);
            for (name, help, value) in [
                (
                    "kn_revision_request_concurrency",
                    "Concurrent requests that are routed to the activator",
                    all,
                ),
                (
                    "kn_revision_request_queued",
                    "Requests that wait in the activator for a pod",
                    waiting,
                ),
                (
                    "kn_revision_request_active",
                    "Requests that the activator has sent to pods",
                    (all - waiting).max(0.0),
                ),
            ] {
                readings.gauge(name, help, &labels, value);
            }
        }
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Revision>> {
        self.shard(name).read().get(namespace)?.get(name).cloned()
    }

    /// Looks the revision up in the cluster.
    fn make(self: &Arc<Self>, namespace: &str, name: &str) -> Option<Arc<Revision>> {
        let object = self.revisions.get(namespace, name)?;
        let timeout = self.config.borrow().defaults.revision_timeout_seconds;
        let told = self.told.of(&Key::new(namespace, name), &object);
        let facts = discover::facts(&object, Duration::from_secs(timeout.max(1) as u64));
        let key = Key::new(namespace, name);
        let service = Key::new(namespace, &discover::private_service(name));
        let revision = {
            let mut names = self.shard(name).write();
            let names = names.entry(key.namespace.clone()).or_default();
            if let Some(revision) = names.get(name) {
                return Some(revision.clone());
            }
            let revision = Arc::new(Revision::new(key.clone(), facts, self.settings.waiting, told));
            names.insert(key.name.clone(), revision.clone());
            revision
        };
        self.by_service.lock().insert(service.clone(), Arc::downgrade(&revision));
        // From here on changes of endpoints find the revision; what was there before is read now.
        self.observe(&revision, &service);
        Some(revision)
    }

    fn forget(&self, revision: &Arc<Revision>) {
        let Key { namespace, name } = &revision.key;
        let mut shard = self.shard(name).write();
        if let Some(names) = shard.get_mut(namespace)
            && names.get(name).is_some_and(|it| Arc::ptr_eq(it, revision))
        {
            names.remove(name);
            if names.is_empty() {
                shard.remove(namespace);
            }
            let service = Key::new(namespace, &discover::private_service(name));
            self.by_service.lock().remove(&service);
        }
    }

    fn shard(&self, name: &str) -> &RwLock<Names> {
        let sum = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        &self.live[sum % SHARDS]
    }

    /// Runs while the cache waits.
    fn endpoints_changed(self: &Arc<Self>, slice: &EndpointSlice) {
        let Some(name) = slice.labels().get(discover::SERVICE_NAME) else { return };
        let Some(namespace) = slice.metadata.namespace.as_deref() else { return };
        self.observe_service(&Key::new(namespace, name));
    }

    fn observe_service(self: &Arc<Self>, service: &Key) {
        let revision = self.by_service.lock().get(service).and_then(Weak::upgrade);
        match revision {
            Some(revision) => self.observe(&revision, service),
            // Without requests too, a pod is expected only until its endpoint is there.
            None if !self.expected.lock().contains_key(service) => {}
            None => drop(self.see(service, &mut self.expected.lock())),
        }
    }

    fn observe(self: &Arc<Self>, revision: &Arc<Revision>, service: &Key) {
        let mut expected = self.expected.lock();
        let all = self.see(service, &mut expected);
        revision.observe(&all, &self.way, &self.cluster);
    }

    /// The pods behind a private Service, and those that are expected there.
    fn see(&self, service: &Key, expected: &mut Expected) -> Vec<Seen<Address>> {
        let slices =
            self.slices.labelled(&service.namespace, discover::SERVICE_NAME, &service.name);
        let mut all = discover::endpoints(slices.iter().map(|it| &**it));
        if let Some(pods) = expected.get_mut(service) {
            pods.retain(|pod| all.iter().all(|it| it.uid != pod.uid));
            all.extend_from_slice(pods);
            if pods.is_empty() {
                expected.remove(service);
            }
        }
        all
    }

    /// Reports the first request after an idle time at once: the revision may have no pod.
    fn first(&self, revision: &Arc<Revision>) {
        let mut busy = self.busy.lock();
        busy.push(revision.clone());
        if busy.len() == 1 {
            self.more.notify_one();
        }
        drop(busy);
        tracing::debug!(revision = %revision.key, "busy");
        (self.sink)(load::Report {
            reporter: self.settings.reporter.clone(),
            revisions: vec![load_of(&revision.key, 1.0, 1.0)],
        });
    }
}

/// The way of one request. Read it from top to bottom.
async fn forward(
    shared: Arc<Shared>,
    mut flight: Flight,
    mut request: Request<Body>,
    arrived: Instant,
) -> Response<Body> {
    let facts = flight.revision().facts;
    let ends = arrived + facts.timeout;
    let starts = facts.response_start.map_or(ends, |it| ends.min(arrived + it));
    request.headers_mut().insert(PROXY_REQUEST, ACTIVATOR);
    request.headers_mut().remove(REVISION);
    request.headers_mut().remove(NAMESPACE);

    for attempt in 1.. {
        let address = match flight.address() {
            Some(address) => address,
            None => {
                flight.held();
                match tokio::time::timeout_at(starts, flight.wait()).await {
                    Ok(address) => {
                        flight.released();
                        tracing::debug!(revision = %flight.revision().key, at = %address.at, waited = ?arrived.elapsed(), "held, now sent");
                        address
                    }
                    Err(_) => {
                        flight.code = StatusCode::GATEWAY_TIMEOUT;
                        return timed_out();
                    }
                }
            }
        };
        let sent = shared.way.send(address, || flight.revision().identity(), request);
        match tokio::time::timeout_at(starts, sent).await {
            // From here on the queue beside the container keeps the time.
            Ok(Ok(response)) => {
                flight.code = response.status();
                return response.map(|body| body.holding(flight));
            }
            Ok(Err(SendError::NotSent { request: given_back, cause })) => {
                tracing::debug!(revision = %flight.revision().key, at = %address.at, %cause, attempt,
                    "pod takes no connection");
                if attempt == ATTEMPTS {
                    return failed("no pod of the revision accepts connections");
                }
                request = *given_back;
                if flight.refused(&shared.way, &shared.cluster).is_err() {
                    flight.code = StatusCode::SERVICE_UNAVAILABLE;
                    return full();
                }
            }
            Ok(Err(SendError::Lost { cause })) => {
                tracing::debug!(revision = %flight.revision().key, at = %address.at, %cause, "pod does not answer");
                return failed("the pod closed the connection before it answered");
            }
            Err(_) => {
                flight.code = StatusCode::GATEWAY_TIMEOUT;
                return timed_out();
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// Reports load once a second while there is some; sleeps otherwise.
async fn report(shared: Arc<Shared>) {
    loop {
        if shared.busy.lock().is_empty() {
            shared.more.notified().await;
        }
        let mut next = Instant::now();
        while !shared.busy.lock().is_empty() {
            next += REPORT;
            tokio::time::sleep_until(next).await;
            // A late report is not made up for: two in one second would count as twice the load.
            next = next.max(Instant::now() - REPORT / 10);
            let busy = shared.busy.lock().clone();
            let mut revisions = Vec::with_capacity(busy.len());
            for revision in &busy {
                let taken = revision.take_load();
                let load = load_of(&revision.key, taken.concurrency, taken.requests);
                revisions.push(load::RevisionLoad { busy_pods: revision.busy_pods(), ..load });
                if taken.idle {
                    // Out of the list first: whoever comes now makes a new one.
                    shared.busy.lock().retain(|it| !Arc::ptr_eq(it, revision));
                    shared.forget(revision);
                }
            }
            (shared.sink)(load::Report { reporter: shared.settings.reporter.clone(), revisions });
        }
    }
}

fn load_of(key: &Key, concurrency: f64, requests: f64) -> load::RevisionLoad {
    load::RevisionLoad {
        namespace: key.namespace.to_string(),
        revision: key.name.to_string(),
        concurrency,
        requests,
        ..load::RevisionLoad::default()
    }
}

fn unknown(name: &str) -> Response<Body> {
    // Source: knative/serving `pkg/activator/handler/context_handler.go`, in Kubernetes' words.
    let text = format!(
        "Error getting active endpoint: revision.serving.knative.dev \"{name}\" not found\n"
    );
    plain(StatusCode::NOT_FOUND, text)
}

fn timed_out() -> Response<Body> {
    plain(StatusCode::GATEWAY_TIMEOUT, "activator request timeout".to_owned())
}

fn failed(why: &str) -> Response<Body> {
    plain(StatusCode::BAD_GATEWAY, format!("{why}\n"))
}

fn full() -> Response<Body> {
    busy("pending request queue full")
}

fn busy(text: &str) -> Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n"));
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

pub(crate) fn plain(status: StatusCode, text: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Body::full(text))
        .expect("these parts are valid")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io,
        net::{IpAddr, SocketAddr},
    };

    use http_body_util::BodyExt;
    use proxy::hop::{Boxed, Protocol};
    use runtime::clock::Clock;
    use serde_json::json;
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Pods in memory: which listen, which are ready, and when a response may end.
    #[derive(Default)]
    struct Pods {
        state: Mutex<PodsState>,
        /// A permit ends one response.
        end: Option<Arc<Semaphore>>,
    }

    #[derive(Default)]
    struct PodsState {
        listening: BTreeSet<IpAddr>,
        ready: BTreeSet<IpAddr>,
        /// Requests in flight and the most at a time, by pod.
        in_flight: HashMap<IpAddr, (usize, usize)>,
        probes: usize,
        headers: Option<http::HeaderMap>,
    }

    struct End(Arc<Pods>, IpAddr);

    impl Drop for End {
        fn drop(&mut self) {
            self.0.state.lock().in_flight.get_mut(&self.1).unwrap().0 -= 1;
        }
    }

    struct PodsUpstream(Arc<Pods>);

    impl Upstream for PodsUpstream {
        fn send(
            &self,
            to: SocketAddr,
            _: Protocol,
            request: Request<Body>,
        ) -> Boxed<Result<Response<Body>, SendError>> {
            let pods = self.0.clone();
            Box::pin(async move {
                {
                    let mut state = pods.state.lock();
                    if !state.listening.contains(&to.ip()) {
                        let cause = io::ErrorKind::ConnectionRefused.into();
                        return Err(SendError::NotSent { request: Box::new(request), cause });
                    }
                    state.headers = Some(request.headers().clone());
                    let (now, most) = state.in_flight.entry(to.ip()).or_default();
                    *now += 1;
                    *most = (*most).max(*now);
                }
                let end = End(pods.clone(), to.ip());
                if let Some(may_end) = &pods.end {
                    may_end.acquire().await.unwrap().forget();
                }
                drop(end);
                Ok(Response::new(Body::full(to.ip().to_string())))
            })
        }

        fn probe(&self, to: SocketAddr) -> Boxed<bool> {
            let mut state = self.0.state.lock();
            state.probes += 1;
            let ready = state.ready.contains(&to.ip());
            Box::pin(std::future::ready(ready))
        }
    }

    struct Platform {
        cluster: Cluster,
        activator: Activator,
        pods: Arc<Pods>,
        reports: Arc<Mutex<Vec<load::Report>>>,
        version: u64,
    }

    impl Platform {
        async fn start(end: Option<Arc<Semaphore>>) -> Platform {
            // Lists are empty, watches say nothing: the tests put objects into the caches.
            let api = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
                if request.uri().query().is_some_and(|it| it.contains("watch=")) {
                    std::future::pending::<()>().await;
                }
                let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
                    "metadata": {"resourceVersion": "1"}});
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                    list.to_string().into_bytes(),
                )))
            });
            let client = kube::Client::new(api, "default");
            let cluster = Cluster::new(client, Clock::start(), CancellationToken::new());
            let pods = Arc::new(Pods { end, ..Pods::default() });
            let reports = Arc::new(Mutex::new(Vec::new()));
            let (_, config) = watch::channel(Arc::default());
            let sink = reports.clone();
            let activator = Activator::start(
                &cluster,
                config,
                Arc::new(PodsUpstream(pods.clone())),
                Arc::new(move |report| sink.lock().push(report)),
                Settings { waiting: 3, ..Settings::new("activator-1") },
            );
            cluster.cache::<serving::Revision>().synced().await;
            cluster.cache::<EndpointSlice>().synced().await;
            Platform { cluster, activator, pods, reports, version: 10 }
        }

        fn revision(&mut self, name: &str, concurrency: u32, timeout_s: u32) {
            self.version += 1;
            let revision = json!({
                "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
                "metadata": {"name": name, "namespace": "ns", "uid": name,
                    "resourceVersion": self.version.to_string()},
                "spec": {"containers": [], "containerConcurrency": concurrency,
                    "timeoutSeconds": timeout_s},
            });
            self.cluster.wrote(serde_json::from_value::<serving::Revision>(revision).unwrap());
        }

        /// Sets the endpoints: `r`eady, `n`ot ready, `t`erminating, and the last byte of the address.
        fn endpoints(&mut self, name: &str, text: &str) {
            self.version += 1;
            let endpoints: Vec<_> = text
                .split_whitespace()
                .map(|word| {
                    let (state, byte) = word.split_at(1);
                    json!({"addresses": [format!("10.0.0.{byte}")],
                        "conditions": {"ready": state == "r", "terminating": state == "t"},
                        "targetRef": {"kind": "Pod", "uid": byte, "name": format!("pod-{byte}")}})
                })
                .collect();
            let slice = json!({
                "metadata": {"name": format!("{name}-x"), "namespace": "ns", "uid": name,
                    "resourceVersion": self.version.to_string(),
                    "labels": {"kubernetes.io/service-name": format!("{name}-private")}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8012}],
                "endpoints": endpoints,
            });
            self.cluster.wrote(serde_json::from_value::<EndpointSlice>(slice).unwrap());
        }

        fn listen(&self, byte: u8, ready: bool) {
            let mut state = self.pods.state.lock();
            state.listening.insert(ip(byte));
            if ready {
                state.ready.insert(ip(byte));
            }
        }

        /// Starts a request; its answer is status and body.
        fn ask(&self, name: &str) -> tokio::task::JoinHandle<(u16, String)> {
            let to = Destination {
                namespace: "ns".into(),
                service: name.into(),
                port: 80,
                protocol: Protocol::Http1,
            };
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert(REVISION, HeaderValue::from_static("x"));
            let reply = self.activator.send(&to, request);
            tokio::spawn(async move {
                let response = reply.await;
                let status = response.status().as_u16();
                if status == 503 {
                    assert!(response.headers().contains_key(header::RETRY_AFTER));
                }
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            })
        }

        /// Lets everything that can run do so, and `milliseconds` pass.
        async fn pass(&self, milliseconds: u64) {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
    }

    fn ip(byte: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, byte])
    }

    #[tokio::test(start_paused = true)]
    async fn a_warm_request_goes_straight_to_its_pod() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        platform.endpoints("hello-00001", "r1");
        platform.listen(1, true);
        assert_eq!(platform.ask("hello-00001").await.unwrap(), (200, "10.0.0.1".to_owned()));
        let state = platform.pods.state.lock();
        let headers = state.headers.as_ref().unwrap();
        assert_eq!(headers["k-proxy-request"], "activator");
        assert!(!headers.contains_key(REVISION));
        assert_eq!(state.probes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_that_is_not_there_is_404() {
        let platform = Platform::start(None).await;
        let (status, text) = platform.ask("hello-00001").await.unwrap();
        assert_eq!(status, 404);
        assert_eq!(
            text,
            "Error getting active endpoint: revision.serving.knative.dev \"hello-00001\" not found\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cold_request_waits_for_the_pod_to_answer_its_probe() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        let began = Instant::now();
        let request = platform.ask("hello-00001");
        {
            let reports = platform.reports.lock();
            let first = &reports[0].revisions[0];
            assert_eq!((first.concurrency, first.requests), (1.0, 1.0), "reported at once");
        }
        platform.pass(30).await;
        platform.endpoints("hello-00001", "n1");
        platform.pass(20).await;
        platform.listen(1, true);
        assert_eq!(request.await.unwrap().0, 200);
        let waited = began.elapsed();
        assert!(waited <= Duration::from_millis(53), "found within a probe's period: {waited:?}");
        assert!(platform.pods.state.lock().probes > 5);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_told_of_by_revision() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        let metrics = platform.cluster.metrics().clone();
        let labels = "k8s_namespace_name=\"ns\",kn_configuration_name=\"\",\
                      kn_revision_name=\"hello-00001\",kn_service_name=\"\"";
        let check = |lines: &[String]| {
            let text = metrics.text();
            for line in lines {
                assert!(text.contains(&format!("{line}\n")), "{line} is not in {text}");
            }
        };
        let waiting = [platform.ask("hello-00001"), platform.ask("hello-00001")];
        platform.pass(100).await;
        check(&[
            format!("kn_revision_request_concurrency{{{labels}}} 2"),
            format!("kn_revision_request_queued{{{labels}}} 2"),
            format!("kn_revision_request_active{{{labels}}} 0"),
        ]);
        platform.listen(1, true);
        platform.endpoints("hello-00001", "r1");
        for request in waiting {
            assert_eq!(request.await.unwrap().0, 200);
        }
        assert_eq!(platform.ask("hello-00001").await.unwrap().0, 200);
        let kind =
            format!("http_request_method=\"GET\",http_response_status_code=\"200\",{labels}");
        check(&[
            format!("http_server_request_duration_seconds_count{{{kind}}} 3"),
            // The two were held for a tenth of a second, and of the start it counts once.
            format!("http_server_request_duration_seconds_bucket{{{kind},le=\"0.075\"}} 1"),
            format!("kn_revision_cold_start_duration_seconds_count{{{labels}}} 1"),
            format!("kn_revision_cold_start_duration_seconds_bucket{{{labels},le=\"0.075\"}} 0"),
            format!("kn_revision_cold_start_duration_seconds_bucket{{{labels},le=\"0.25\"}} 1"),
        ]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_expected_takes_requests_before_its_endpoint_is_there() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        let key = Key::new("ns", "hello-00001");
        let pod = |byte: u8| Seen {
            address: Address { at: (ip(byte), 8012).into(), protocol: Protocol::Http1 },
            uid: byte.to_string(),
            name: format!("pod-{byte}"),
            ready: false,
            terminating: false,
        };
        // One before the first request, one after it.
        let expect = platform.activator.expect();
        expect(&key, pod(1), true);
        let request = platform.ask("hello-00001");
        expect(&key, pod(2), true);
        platform.pass(20).await;
        platform.listen(2, true);
        assert_eq!(request.await.unwrap(), (200, "10.0.0.2".to_owned()));
        expect(&key, pod(1), false);

        // Its endpoint says the same again, then counts alone.
        platform.endpoints("hello-00001", "n2");
        assert_eq!(platform.ask("hello-00001").await.unwrap().0, 200);
        assert!(platform.activator.shared.expected.lock().is_empty());
        platform.endpoints("hello-00001", "");
        let request = platform.ask("hello-00001");
        platform.pass(1).await;
        assert_eq!(platform.activator.waiting(), 1);
        request.abort();

        // One of a revision that nobody calls counts no more either once its endpoint is there.
        let idle = Key::new("ns", "idle-00001");
        expect(&idle, pod(3), true);
        assert!(!platform.activator.shared.expected.lock().is_empty());
        platform.endpoints("idle-00001", "n3");
        assert!(platform.activator.shared.expected.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_too_long_is_504() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 2);
        let began = Instant::now();
        let answer = platform.ask("hello-00001").await.unwrap();
        assert_eq!(answer, (504, "activator request timeout".to_owned()));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert_eq!((platform.activator.in_flight(), platform.activator.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_that_wait_are_refused_and_who_leaves_makes_room() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        let waiting: Vec<_> = (0..3).map(|_| platform.ask("hello-00001")).collect();
        platform.pass(1).await;
        let (status, text) = platform.ask("hello-00001").await.unwrap();
        assert_eq!((status, text.as_str()), (503, "pending request queue full\n"));
        waiting[0].abort();
        platform.pass(1).await;
        assert_eq!(platform.activator.waiting(), 2);
        let late = platform.ask("hello-00001");
        platform.pass(1).await;
        platform.endpoints("hello-00001", "r1");
        platform.listen(1, true);
        assert_eq!(late.await.unwrap().0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn no_pod_gets_more_than_its_limit_over_a_flap() {
        let end = Arc::new(Semaphore::new(0));
        let mut platform = Platform::start(Some(end.clone())).await;
        platform.revision("hello-00001", 2, 300);
        platform.endpoints("hello-00001", "r1 r2");
        platform.listen(1, true);
        platform.listen(2, true);
        let requests: Vec<_> = (0..7).map(|_| platform.ask("hello-00001")).collect();
        platform.pass(1).await;
        assert_eq!(platform.activator.waiting(), 3);
        platform.pass(1000).await;
        let busy = platform.reports.lock()[1].revisions[0].busy_pods.clone();
        let busy: Vec<_> = busy.iter().map(|it| (it.pod.as_str(), it.in_flight)).collect();
        assert_eq!(busy, [("pod-1", 2), ("pod-2", 2)]);
        platform.endpoints("hello-00001", "n1 r2");
        platform.endpoints("hello-00001", "r1 r2");
        for _ in 0..7 {
            platform.pass(1).await;
            end.add_permits(1);
        }
        for request in requests {
            assert_eq!(request.await.unwrap().0, 200);
        }
        let state = platform.pods.state.lock();
        assert_eq!((state.in_flight[&ip(1)], state.in_flight[&ip(2)]), ((0, 2), (0, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_takes_no_connection_costs_no_request() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        platform.endpoints("hello-00001", "r1 r2");
        platform.listen(2, true);
        for _ in 0..4 {
            assert_eq!(platform.ask("hello-00001").await.unwrap(), (200, "10.0.0.2".to_owned()));
        }
        platform.listen(1, true);
        platform.pass(20).await;
        let answers = [
            platform.ask("hello-00001").await.unwrap().1,
            platform.ask("hello-00001").await.unwrap().1,
        ];
        assert!(answers.contains(&"10.0.0.1".to_owned()), "it answered its probe: {answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_revision_is_forgotten_and_found_again() {
        let mut platform = Platform::start(None).await;
        platform.revision("hello-00001", 0, 300);
        platform.endpoints("hello-00001", "r1");
        platform.listen(1, true);
        platform.ask("hello-00001").await.unwrap();
        assert_eq!(platform.activator.revisions(), 1);
        platform.pass(3000).await;
        assert_eq!(platform.activator.revisions(), 0);
        let count = platform.reports.lock().len();
        assert_eq!(count, 3, "at once, after its second, and that it is idle");
        platform.pass(60_000).await;
        assert_eq!(platform.reports.lock().len(), count, "nothing is reported of nothing");
        assert_eq!(platform.ask("hello-00001").await.unwrap().0, 200);
        assert_eq!(platform.reports.lock().len(), count + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn reports_the_average_of_what_is_in_flight() {
        let end = Arc::new(Semaphore::new(0));
        let mut platform = Platform::start(Some(end.clone())).await;
        platform.revision("hello-00001", 0, 300);
        platform.endpoints("hello-00001", "r1");
        platform.listen(1, true);
        let requests: Vec<_> = (0..4).map(|_| platform.ask("hello-00001")).collect();
        platform.pass(1500).await;
        end.add_permits(4);
        for request in requests {
            request.await.unwrap();
        }
        platform.pass(600).await;
        let reports = platform.reports.lock();
        let found: Vec<(f64, f64)> = reports
            .iter()
            .map(|it| (it.revisions[0].concurrency, it.revisions[0].requests))
            .collect();
        assert_eq!(found[..2], [(1.0, 1.0), (3.0, 3.0)]);
        assert!((found[2].0 - 2.0).abs() < 0.02, "half a second of four: {found:?}");
    }
}
