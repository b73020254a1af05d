//! Runs the autoscaler: takes reports, decides in time, carries the decisions out.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use api::{autoscaling::PodAutoscaler, keys, load::Report, networking::ServerlessService};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntGauge};
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    metrics::{Metrics, REVISION, Readings},
    plan::Plan,
    queue::Queue,
    reconcile::{Controller, Reconcile},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use crate::{
    decide::TICK,
    decider::Decider,
    explain::{Entry, Histories},
    horizontal, objects,
    path::Mode,
    plan::{Known, Outcome, Seen, plan},
    policy::{Metric, Policy, policy},
};

/// Asks whether a request to the revision's public Service reaches an activator; the port is that of
/// the Service.
pub type Prove = Arc<dyn Fn(Key, u16) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Who knows that the data path reaches the activator, before the last pod goes.
#[derive(Clone)]
pub enum Path {
    /// The gateway of this process passes every request through the activator of this process.
    Here,
    /// Somebody else routes requests: ask.
    Probed(Prove),
}

/// How an autoscaler works.
#[derive(Clone)]
pub struct Settings {
    /// Namespace of the activators' Service.
    pub system_namespace: String,
    /// Who knows about the data path.
    pub path: Path,
}

/// Takes load reports of this process. Clones send to the same autoscaler.
#[derive(Clone)]
pub struct Reports {
    sender: mpsc::Sender<Report>,
}

/// Scales the targets of all PodAutoscalers of the class `kpa`, and has those of the class `hpa` scaled. Clones share everything.
#[derive(Clone)]
pub struct Autoscaler {
    shared: Arc<Shared>,
    reports: Reports,
}

struct Shared {
    cluster: Cluster,
    config: watch::Receiver<Arc<config::Config>>,
    settings: Settings,
    autoscalers: Cache<PodAutoscaler>,
    targets: Cache<Deployment>,
    horizontals: Cache<HorizontalPodAutoscaler>,
    serverless: Cache<ServerlessService>,
    services: Cache<Service>,
    endpoints: Cache<Endpoints>,
    slices: Cache<EndpointSlice>,
    queue: Arc<Queue<Key>>,
    /// Of revisions that have pods or load.
    deciders: Mutex<HashMap<Key, Decider>>,
    /// Wakes the tick when the first of them appears.
    more: Notify,
    histories: Mutex<Histories>,
    counts: Counts,
}

struct Counts {
    /// Revisions that are decided on in each tick.
    active: IntGauge,
    decisions: IntCounter,
    dropped: IntCounter,
    tick: Histogram,
}

/// Reports that may wait to be taken. Source: upstream's channel of stats. One holds all revisions of
/// a reporter, and the next says the same anew, so a lost one costs a second's data.
const WAITING: usize = 1000;
/// Revisions decided on while the deciders are locked: a cold start must not wait for thousands.
const BATCH: usize = 256;
/// Time between two attempts to see that a request reaches the activator, and their number.
/// Source: upstream's `probePeriod` and `probeTimeout`.
const PROVE_PERIOD: Duration = Duration::from_secs(1);
const PROVE_ATTEMPTS: usize = 45;
/// Bounds of the distribution of what one tick costs, in seconds.
const TICK_BOUNDS: &[f64] = &[0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5];

impl Reports {
    /// Hands a report over. Never waits; drops it when too many wait.
    pub fn send(&self, report: Report) {
        if self.sender.try_send(report).is_err() {
            tracing::warn!("load report dropped: the autoscaler does not keep up");
        }
    }
}

impl Autoscaler {
    /// Starts to scale, until the cluster stops.
    pub fn start(
        cluster: &Cluster,
        config: watch::Receiver<Arc<config::Config>>,
        recorder: &Recorder,
        metrics: &Metrics,
        settings: Settings,
    ) -> Autoscaler {
        let mut controller = Controller::new(cluster);
        let activators = Key::new(&settings.system_namespace, objects::ACTIVATOR_SERVICE);
        let autoscalers = controller.plans::<PodAutoscaler>();
        let every = autoscalers.clone();
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            config: config.clone(),
            settings,
            horizontals: controller.on_owned::<HorizontalPodAutoscaler>("PodAutoscaler"),
            serverless: controller.on_owned::<ServerlessService>("PodAutoscaler"),
            services: controller.on_owned::<Service>("ServerlessService"),
            endpoints: controller.on_change::<Endpoints>(move |change, plan| {
                let endpoints = &**change.last();
                if Key::of(endpoints) == activators {
                    every.all().iter().for_each(|it| plan(Key::of(&**it)));
                } else if let Some(key) = parent(endpoints) {
                    plan(key);
                }
            }),
            slices: controller.on_change::<EndpointSlice>(|change, plan| {
                if let Some(key) = parent(&**change.last()) {
                    plan(key);
                }
            }),
            // The target has the PodAutoscaler's own owner, and that has its name.
            targets: controller.on_owned::<Deployment>("Revision"),
            autoscalers,
            queue: controller.queue().clone(),
            deciders: Mutex::default(),
            more: Notify::new(),
            histories: Mutex::default(),
            counts: Counts::new(metrics),
        });
        let weak = Arc::downgrade(&shared);
        metrics.read(move |readings| {
            if let Some(shared) = weak.upgrade() {
                shared.read(readings);
            }
        });
        let (sender, receiver) = mpsc::channel(WAITING);
        let recorder = recorder.named("autoscaler");
        cluster.spawn(controller.run(Scaler(shared.clone()), recorder));
        let (receiver, collected) = (Arc::new(tokio::sync::Mutex::new(receiver)), shared.clone());
        cluster.keep(move || collect(collected.clone(), receiver.clone()));
        let ticked = shared.clone();
        cluster.keep(move || tick(ticked.clone()));
        let following = shared.clone();
        cluster.keep(move || follow(following.clone(), config.clone()));
        Autoscaler { shared, reports: Reports { sender } }
    }

    /// Takes load reports.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// The last decisions for a revision with their reasons, oldest first.
    pub fn explain(&self, namespace: &str, revision: &str) -> Vec<Entry> {
        self.shared.histories.lock().of(&Key::new(namespace, revision))
    }

    /// Revisions that have pods or load, and so cost something.
    pub fn active(&self) -> usize {
        self.shared.deciders.lock().len()
    }
}

impl Counts {
    fn new(metrics: &Metrics) -> Counts {
        Counts {
            active: metrics.gauge(
                "weft_autoscaler_active_revisions",
                "Revisions with pods or load, which are decided on in each tick.",
            ),
            decisions: metrics.counter(
                "weft_autoscaler_decisions_total",
                "Decisions that asked for another number of pods or another way of requests.",
            ),
            dropped: metrics.counter(
                "weft_autoscaler_unknown_reports_total",
                "Loads reported of revisions that have no PodAutoscaler of our class.",
            ),
            tick: metrics.histogram(
                "weft_autoscaler_tick_seconds",
                "Time that one tick takes for all revisions together.",
                TICK_BOUNDS,
            ),
        }
    }
}

struct Scaler(Arc<Shared>);

impl Reconcile for Scaler {
    /// Whether a request reaches the activator.
    type Need = Key;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Key> {
        let shared = &self.0;
        let autoscaler = shared.autoscalers.at(key);
        let class = autoscaler.as_deref().map(|it| class(it, &shared.config.borrow()));
        if class != Some(Class::Kpa) {
            shared.deciders.lock().remove(key);
            shared.histories.lock().forget(key);
        }
        match (autoscaler, class) {
            (Some(it), _) if it.metadata.deletion_timestamp.is_some() => Plan::nothing(),
            (Some(it), Some(Class::Kpa)) => shared.plan(key, &it, now),
            (Some(it), Some(Class::Hpa)) => {
                let policy = policy(&it, &shared.config.borrow());
                horizontal::plan(&it, &shared.see(key, &it), &policy, now)
            }
            _ => Plan::nothing(),
        }
    }

    fn fetch(self: Arc<Self>, need: Key) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let proven = self.0.prove(&need).await;
            if let Some(decider) = self.0.deciders.lock().get_mut(&need) {
                decider.path_proven = proven;
                decider.proving = false;
            }
        })
    }
}

impl Shared {
    /// What there is to tell of each revision.
    /// Source: knative/serving `pkg/autoscaler/scaling/metrics.go`, `pkg/reconciler/autoscaling/kpa/metrics.go`.
    fn read(&self, readings: &mut Readings) {
        let config = self.config.borrow().clone();
        for autoscaler in self.autoscalers.all() {
            if class(&autoscaler, &config) != Class::Kpa {
                continue;
            }
            let key = Key::of(&*autoscaler);
            let label = |name: &str| autoscaler.labels().get(name).map_or("", String::as_str);
            let values = [
                &*key.namespace,
                label(keys::serving::CONFIGURATION),
                &*key.name,
                label(keys::serving::SERVICE),
            ];
            let labels: Vec<_> = REVISION.into_iter().zip(values).collect();
            let mut tell = |name, help, value| readings.gauge(name, help, &labels, value);

            let name = autoscaler.spec.scale_target_ref.name.as_deref();
            if let Some(target) = name.and_then(|name| self.targets.get(&key.namespace, name)) {
                let wanted = target.spec.replicas.unwrap_or(1);
                let status = target.status.as_ref();
                let ready = status.and_then(|it| it.ready_replicas).unwrap_or(0);
                let all = status.and_then(|it| it.replicas).unwrap_or(0);
                let ending = status.and_then(|it| it.terminating_replicas).unwrap_or(0);
                for (name, help, pods) in [
                    (
                        "kn_revision_pods_requested",
                        "Number of pods autoscaler requested from Kubernetes",
                        wanted,
                    ),
                    (
                        "kn_revision_pods_count",
                        "Number of pods that are allocated currently",
                        ready,
                    ),
                    (
                        "kn_revision_pods_not_ready_count",
                        "Number of pods that are not ready currently",
                        (all - ready).max(0),
                    ),
                    (
                        "kn_revision_pods_terminating_count",
                        "Number of pods that are terminating currently",
                        ending,
                    ),
                ] {
                    tell(name, help, f64::from(pods));
                }
            }
            let deciders = self.deciders.lock();
            let decision = deciders.get(&key).and_then(|it| it.decision()).copied();
            drop(deciders);
            let at_rest =
                autoscaler.status.as_ref().and_then(|it| it.desired_scale).unwrap_or(0).max(0);
            let desired = decision.map_or(f64::from(at_rest), |it| f64::from(it.pods));
            let help = "Number of pods the autoscaler wants to allocate";
            tell("kn_revision_pods_desired", help, desired);
            // At rest there is no load of which to tell.
            let Some(decision) = decision else { continue };
            let reason = decision.reason;
            let excess = f64::from(decision.excess_burst_capacity);
            let help = "Excess burst capacity observed over the stable window";
            tell("kn_revision_capacity_excess", help, excess);
            let help = "If greater than 0 the autoscaler is in panic mode";
            tell("kn_revision_panic_mode", help, f64::from(u8::from(reason.panicking)));
            let [stable, panic, target] = match policy(&autoscaler, &config).metric {
                Metric::Rate => [
                    "kn_revision_rps_stable_per_second",
                    "kn_revision_rps_panic_per_second",
                    "kn_revision_rps_target_per_second",
                ],
                Metric::Concurrency => [
                    "kn_revision_concurrency_stable",
                    "kn_revision_concurrency_panic",
                    "kn_revision_concurrency_target",
                ],
            };
            tell(stable, "Average per pod over the stable window", reason.observed.stable);
            tell(panic, "Average per pod over the panic window", reason.observed.panic);
            tell(target, "The load that each pod should carry", reason.target);
        }
    }

    fn plan(&self, key: &Key, autoscaler: &PodAutoscaler, now: Timestamp) -> Plan<Key> {
        let policy = policy(autoscaler, &self.config.borrow());
        let seen = self.see(key, autoscaler);
        let ready_pods = objects::ready_pods(&seen.pods);
        let names = objects::pod_names(&seen.pods);
        let mut deciders = self.deciders.lock();
        if let Some(decider) = deciders.get_mut(key) {
            decider.update(policy.clone(), ready_pods);
        }
        let decider = deciders.get(key);
        let known = Known {
            wanted: decider.and_then(|it| it.decision()).map(|it| it.pods),
            excess_burst_capacity: decider.map_or_else(
                || crate::path::initial_excess_burst_capacity(&policy),
                Decider::excess_burst_capacity,
            ),
            proxied_since: decider.and_then(|it| it.proxied_since),
            path_proven: matches!(self.settings.path, Path::Here)
                || decider.is_some_and(|it| it.path_proven),
            costs: decider.map(|it| it.changed_costs(&names)).unwrap_or_default(),
        };
        let decision = decider.and_then(|it| it.decision()).copied();
        let costs = known.costs.clone();
        let (mut plan, outcome) = plan::<Key>(autoscaler, &seen, &known, &policy, now);
        if decision.is_some() || decider.is_some() {
            let entry = Entry::new(now, policy.metric, decision.as_ref(), &outcome);
            self.histories.lock().record(key, entry);
        }
        if let Some(wait) = decider.and_then(|it| it.status_wait(now)) {
            plan.status = None;
            plan.again = Some(plan.again.map_or(wait, |it| it.min(wait)));
        }
        if outcome.at_rest {
            if deciders.get(key).is_some_and(Decider::is_idle) {
                deciders.remove(key);
            }
        } else {
            let count = deciders.len();
            let decider = deciders
                .entry(key.clone())
                .or_insert_with(|| Decider::new(policy, ready_pods, now));
            if outcome.costs_written {
                decider.wrote_costs(&costs, &names);
            }
            self.keep_path(decider, key, &outcome, &mut plan, now);
            if count == 0 {
                self.more.notify_one();
            }
        }
        self.counts.active.set(deciders.len() as i64);
        plan
    }

    /// Remembers since when requests go through the activator, and asks for the proof that they do.
    fn keep_path(
        &self,
        decider: &mut Decider,
        key: &Key,
        outcome: &Outcome,
        plan: &mut Plan<Key>,
        now: Timestamp,
    ) {
        match outcome.mode {
            Mode::Proxy => decider.proxied_since.get_or_insert(now),
            Mode::Serve => {
                decider.proxied_since = None;
                decider.path_proven = false;
                return;
            }
        };
        if outcome.scale.pods.is_none_or(|pods| pods > 0) {
            decider.path_proven = false;
        } else if outcome.scale.held == Some(crate::zero::Held::PathNotProven) && !decider.proving {
            decider.proving = true;
            plan.need.push(key.clone());
        }
    }

    fn see(&self, key: &Key, autoscaler: &PodAutoscaler) -> Seen {
        let private = objects::private_name(&key.name);
        let system = &self.settings.system_namespace;
        let target = &autoscaler.spec.scale_target_ref;
        let is_deployment = target.kind.as_deref() == Some("Deployment");
        Seen {
            target: target
                .name
                .as_deref()
                .filter(|_| is_deployment)
                .and_then(|name| self.targets.get(&key.namespace, name)),
            horizontal: self.horizontals.at(key),
            serverless: self.serverless.at(key),
            private_service: self.services.get(&key.namespace, &private),
            public_service: self.services.at(key),
            public_endpoints: self.endpoints.at(key),
            pods: self.slices.labelled(&key.namespace, objects::SERVICE_NAME, &private),
            activators: self.endpoints.get(system, objects::ACTIVATOR_SERVICE),
        }
    }

    async fn prove(&self, key: &Key) -> bool {
        let Path::Probed(prove) = &self.settings.path else { return true };
        let autoscaler = self.autoscalers.at(key);
        let is_h2c = autoscaler.is_some_and(|it| it.spec.protocol_type == "h2c");
        let port = if is_h2c { 81 } else { 80 };
        for _ in 0..PROVE_ATTEMPTS {
            if prove(key.clone(), port).await {
                return true;
            }
            tokio::time::sleep(PROVE_PERIOD).await;
        }
        false
    }

    /// Takes a report; decides at once for revisions that have load and no pod.
    fn take(&self, report: &Report, now: Timestamp) {
        for load in &report.revisions {
            let key = Key::new(&load.namespace, &load.revision);
            let mut deciders = self.deciders.lock();
            if !deciders.contains_key(&key) {
                let found = self.autoscalers.at(&key);
                let found = found.filter(|it| class(it, &self.config.borrow()) == Class::Kpa);
                let (Some(autoscaler), true) = (&found, load.concurrency > 0.0) else {
                    if found.is_none() {
                        self.counts.dropped.inc();
                    }
                    continue;
                };
                let policy: Policy = policy(autoscaler, &self.config.borrow());
                let private = objects::private_name(&key.name);
                let pods = self.slices.labelled(&key.namespace, objects::SERVICE_NAME, &private);
                let decider = Decider::new(policy, objects::ready_pods(&pods), now);
                deciders.insert(key.clone(), decider);
                if deciders.len() == 1 {
                    self.more.notify_one();
                }
            }
            let decider = deciders.get_mut(&key).expect("it was there or was put there");
            if decider.record(&report.reporter, load, now) && decider.decide(now) {
                self.counts.decisions.inc();
                self.queue.add(key);
            }
        }
    }

    /// Decides for all revisions that have pods or load.
    fn decide_all(&self) {
        let now = self.cluster.now();
        let keys: Vec<Key> = self.deciders.lock().keys().cloned().collect();
        for batch in keys.chunks(BATCH) {
            let mut deciders = self.deciders.lock();
            for key in batch {
                if deciders.get_mut(key).is_some_and(|it| it.decide(now)) {
                    self.counts.decisions.inc();
                    self.queue.add(key.clone());
                }
            }
        }
    }
}

/// Nobody else receives.
async fn collect(shared: Arc<Shared>, receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<Report>>>) {
    // Reports of revisions that are not known yet would be lost; they wait in the channel.
    shared.autoscalers.synced().await;
    while let Some(report) = receiver.lock().await.recv().await {
        shared.take(&report, shared.cluster.now());
    }
}

/// Decides every two seconds while there is something to decide; sleeps otherwise.
async fn tick(shared: Arc<Shared>) {
    loop {
        if shared.deciders.lock().is_empty() {
            shared.more.notified().await;
        }
        let mut next = Instant::now();
        while !shared.deciders.lock().is_empty() {
            next += TICK;
            tokio::time::sleep_until(next).await;
            let began = Instant::now();
            shared.decide_all();
            shared.counts.tick.observe(began.elapsed().as_secs_f64());
        }
    }
}

/// Plans everything anew when the configuration changes.
async fn follow(shared: Arc<Shared>, mut config: watch::Receiver<Arc<config::Config>>) {
    while config.changed().await.is_ok() {
        for autoscaler in shared.autoscalers.all() {
            shared.queue.add(Key::of(&*autoscaler));
        }
    }
}

/// Who scales the target of a PodAutoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// We, by its requests.
    Kpa,
    /// A HorizontalPodAutoscaler that we make.
    Hpa,
    /// Somebody else: not even its status is ours.
    Other,
}

/// The class of the PodAutoscaler; one without has the configured one.
fn class(autoscaler: &PodAutoscaler, config: &config::Config) -> Class {
    let class = autoscaler.annotations().get(keys::autoscaling::CLASS);
    match &**class.unwrap_or(&config.autoscaler.pod_autoscaler_class) {
        keys::autoscaling::KPA_CLASS => Class::Kpa,
        keys::autoscaling::HPA_CLASS => Class::Hpa,
        _ => Class::Other,
    }
}

/// The key of the PodAutoscaler above an object that carries its ServerlessService's name.
fn parent<K: ResourceExt>(object: &K) -> Option<Key> {
    let name = object.labels().get(keys::networking::SERVERLESS_SERVICE)?;
    Some(Key::new(object.namespace().as_deref().unwrap_or_default(), name))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use api::load::{PodLoad, RevisionLoad};
    use kube::client::Body;
    use runtime::{clock::Clock, plan::merge_patch};
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// A Kubernetes API of a few verbs: objects by path. Caches learn of writes from their answers.
    #[derive(Clone, Default)]
    struct Api {
        objects: Arc<Mutex<BTreeMap<String, Value>>>,
        writes: Arc<Mutex<Vec<String>>>,
    }

    impl Api {
        async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
            let (head, body) = request.into_parts();
            let path = head.uri.path().to_owned();
            if head.uri.query().is_some_and(|it| it.contains("watch=")) {
                std::future::pending::<()>().await;
            }
            let body: Value =
                serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
            let value = match head.method.as_str() {
                "GET" => json!({"kind": "List", "apiVersion": "v1", "items": [],
                    "metadata": {"resourceVersion": "1"}}),
                "POST" => {
                    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                    self.put(&format!("{path}/{name}"), body)
                }
                "PATCH" => {
                    let path = path.trim_end_matches("/status");
                    let old = self.objects.lock().get(path).cloned().unwrap_or_default();
                    let mut new = old.clone();
                    merge(&mut new, &body);
                    if merge_patch(&old, &new).is_none() { old } else { self.put(path, new) }
                }
                "PUT" => self.put(&path, body),
                "DELETE" => self.objects.lock().remove(&path).unwrap_or_default(),
                method => panic!("{method} {path}"),
            };
            if head.method != "GET" {
                let name = path.rsplit_once("/namespaces/ns/").map_or("", |(_, rest)| rest);
                self.writes.lock().push(format!("{} {name}", head.method));
            }
            http::Response::new(Body::from(value.to_string().into_bytes()))
        }

        fn put(&self, path: &str, mut object: Value) -> Value {
            let version = self.writes.lock().len() + 100;
            let meta = &mut object["metadata"];
            meta["resourceVersion"] = json!((version * 10).to_string());
            if meta["uid"].is_null() {
                meta["uid"] = json!(format!("uid-of-{path}"));
                meta["generation"] = json!(1);
            }
            self.objects.lock().insert(path.to_owned(), object.clone());
            object
        }
    }

    fn merge(value: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *value = patch.clone();
            return;
        };
        if !value.is_object() {
            *value = json!({});
        }
        for (key, change) in patch {
            if change.is_null() {
                value.as_object_mut().unwrap().remove(key);
            } else {
                merge(value.as_object_mut().unwrap().entry(key).or_insert(Value::Null), change);
            }
        }
    }

    struct Platform {
        api: Api,
        cluster: Cluster,
        autoscaler: Autoscaler,
        version: u64,
    }

    const PREFIX: &str =
        "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/ns/podautoscalers";

    impl Platform {
        /// An autoscaler and one revision, `hello-00001`, with these annotations and replicas.
        async fn start(annotations: &[(&str, &str)], replicas: i32, ready: &[u8]) -> Platform {
            Platform::start_with(Path::Here, annotations, replicas, ready).await
        }

        async fn start_with(
            path: Path,
            annotations: &[(&str, &str)],
            replicas: i32,
            ready: &[u8],
        ) -> Platform {
            let api = Api::default();
            let service = api.clone();
            let client = kube::Client::new(
                tower::service_fn(move |request| {
                    let api = service.clone();
                    async move { Ok::<_, Infallible>(api.answer(request).await) }
                }),
                "default",
            );
            let date = "2026-11-21T08:00:00Z".parse().unwrap();
            let cluster = Cluster::new(client, Clock::start_at(date), CancellationToken::new());
            let (sender, config) = watch::channel(Arc::default());
            // Lives as long as the test.
            std::mem::forget(sender);
            let autoscaler = Autoscaler::start(
                &cluster,
                config,
                &Recorder::start(&cluster, "test"),
                &Metrics::default(),
                Settings { system_namespace: "knative-serving".to_owned(), path },
            );
            let mut platform = Platform { api, cluster, autoscaler, version: 1_000_000 };
            cluster_synced(&platform.cluster).await;
            platform.activators(&[9]);
            platform.target(replicas);
            platform.pods(ready);
            platform.revision(annotations);
            platform.settle().await;
            platform
        }

        fn revision(&mut self, annotations: &[(&str, &str)]) {
            let annotations: BTreeMap<String, &str> = annotations
                .iter()
                .map(|(name, value)| (format!("autoscaling.knative.dev/{name}"), *value))
                .collect();
            let object = self.api.put(&format!("{PREFIX}/hello-00001"), json!({
                "apiVersion": "autoscaling.internal.knative.dev/v1alpha1", "kind": "PodAutoscaler",
                "metadata": {"name": "hello-00001", "namespace": "ns", "annotations": annotations},
                "spec": {"protocolType": "http1", "reachability": "Reachable", "scaleTargetRef":
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-00001-deployment"}},
            }));
            self.cluster.wrote(serde_json::from_value::<PodAutoscaler>(object).unwrap());
        }

        fn target(&mut self, replicas: i32) {
            let path = "/apis/apps/v1/namespaces/ns/deployments/hello-00001-deployment";
            let labels = json!({"serving.knative.dev/revisionUID": "u"});
            let object = self.api.put(path, json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "hello-00001-deployment", "namespace": "ns", "ownerReferences":
                    [{"apiVersion": "serving.knative.dev/v1", "kind": "Revision",
                      "name": "hello-00001", "uid": "r", "controller": true}]},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}}},
            }));
            self.cluster.wrote(serde_json::from_value::<Deployment>(object).unwrap());
        }

        /// Sets the ready pods, by the last byte of their addresses.
        fn pods(&mut self, ready: &[u8]) {
            self.version += 1;
            let endpoints: Vec<Value> = ready
                .iter()
                .map(|byte| {
                    json!({"addresses": [format!("10.0.0.{byte}")], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": format!("pod-{byte}")}})
                })
                .collect();
            let slice = json!({
                "metadata": {"name": "hello-00001-private-x", "namespace": "ns", "uid": "s",
                    "resourceVersion": self.version.to_string(), "labels": {
                        "kubernetes.io/service-name": "hello-00001-private",
                        "networking.internal.knative.dev/serverlessservice": "hello-00001"}},
                "addressType": "IPv4", "endpoints": endpoints,
                "ports": [{"name": "http", "port": 8012, "protocol": "TCP"},
                    {"name": "http-autometric", "port": 9090, "protocol": "TCP"}],
            });
            self.cluster.wrote(serde_json::from_value::<EndpointSlice>(slice).unwrap());
        }

        fn activators(&mut self, bytes: &[u8]) {
            self.version += 1;
            let addresses: Vec<Value> =
                bytes.iter().map(|byte| json!({"ip": format!("10.1.0.{byte}")})).collect();
            let endpoints = json!({
                "metadata": {"name": "activator-service", "namespace": "knative-serving", "uid": "a",
                    "resourceVersion": self.version.to_string()},
                "subsets": [{"addresses": addresses, "ports": [
                    {"name": "http", "port": 8012}, {"name": "http2", "port": 8013}]}],
            });
            self.cluster.wrote(serde_json::from_value::<Endpoints>(endpoints).unwrap());
        }

        fn report(&self, concurrency: f64) {
            self.autoscaler.reports().send(Report {
                reporter: "activator".to_owned(),
                revisions: vec![RevisionLoad {
                    namespace: "ns".to_owned(),
                    revision: "hello-00001".to_owned(),
                    concurrency,
                    requests: concurrency,
                    ..RevisionLoad::default()
                }],
            });
        }

        /// Lets everything that can run do so.
        async fn settle(&self) {
            self.pass(1).await;
        }

        async fn pass(&self, milliseconds: u64) {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }

        fn object(&self, path: &str) -> Value {
            self.api.objects.lock().get(path).cloned().unwrap_or_default()
        }

        fn replicas(&self) -> i64 {
            let path = "/apis/apps/v1/namespaces/ns/deployments/hello-00001-deployment";
            self.object(path)["spec"]["replicas"].as_i64().unwrap()
        }

        /// The condition `Active`: status and reason.
        fn active(&self) -> String {
            let object = self.object(&format!("{PREFIX}/hello-00001"));
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let active = conditions.into_iter().find(|it| it["type"] == "Active").unwrap();
            let word = |name: &str| active[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("status"), word("reason")).trim_end().to_owned()
        }

        fn serverless(&self) -> Value {
            self.object(
                "/apis/networking.internal.knative.dev/v1alpha1/namespaces/ns/serverlessservices/hello-00001",
            )
        }

        /// The addresses behind the public Service.
        fn public(&self) -> Vec<String> {
            let endpoints = self.object("/api/v1/namespaces/ns/endpoints/hello-00001");
            let addresses = endpoints["subsets"][0]["addresses"].as_array().cloned();
            addresses
                .into_iter()
                .flatten()
                .map(|it| it["ip"].as_str().unwrap().to_owned())
                .collect()
        }
    }

    async fn cluster_synced(cluster: &Cluster) {
        cluster.cache::<PodAutoscaler>().synced().await;
        cluster.cache::<Deployment>().synced().await;
        cluster.cache::<HorizontalPodAutoscaler>().synced().await;
        cluster.cache::<ServerlessService>().synced().await;
        cluster.cache::<Service>().synced().await;
        cluster.cache::<Endpoints>().synced().await;
        cluster.cache::<EndpointSlice>().synced().await;
    }

    #[tokio::test(start_paused = true)]
    async fn makes_what_a_new_revision_needs_and_settles() {
        let mut platform = Platform::start(&[("metric", "concurrency")], 1, &[]).await;
        assert_eq!(platform.active(), "Unknown Queued");
        assert_eq!(platform.public(), ["10.1.0.9"]);
        platform.pods(&[1]);
        platform.settle().await;
        assert_eq!(platform.active(), "True");
        let serverless = platform.serverless();
        assert_eq!(
            serverless["spec"],
            json!({"mode": "Proxy", "numActivators": 4,
            "objectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-00001-deployment"},
            "protocolType": "http1"})
        );
        assert_eq!(serverless["metadata"]["annotations"], Value::Null);
        let private = platform.object("/api/v1/namespaces/ns/services/hello-00001-private");
        assert_eq!(private["spec"]["selector"], json!({"serving.knative.dev/revisionUID": "u"}));
        let status = &platform.object(&format!("{PREFIX}/hello-00001"))["status"];
        assert_eq!(status["desiredScale"], -1);
        assert_eq!(status["metricsServiceName"], "hello-00001-private");
        let writes = platform.api.writes.lock().len();
        platform.pass(5000).await;
        assert_eq!(platform.api.writes.lock().len(), writes, "a settled revision costs no write");
    }

    #[tokio::test(start_paused = true)]
    async fn goes_to_zero_and_comes_back_at_once() {
        let mut platform = Platform::start(&[], 1, &[1]).await;
        platform.pass(58_000).await;
        assert_eq!((platform.replicas(), platform.active().as_str()), (1, "True"));
        platform.pass(6000).await;
        assert_eq!((platform.replicas(), platform.active().as_str()), (0, "False NoTraffic"));
        platform.pods(&[]);
        platform.pass(3000).await;
        assert_eq!(platform.autoscaler.active(), 0, "a revision at zero costs nothing");
        let writes = platform.api.writes.lock().len();

        platform.report(1.0);
        platform.settle().await;
        assert_eq!((platform.replicas(), platform.active().as_str()), (1, "False NoTraffic"));
        platform.pass(1000).await;
        assert_eq!((platform.replicas(), platform.active().as_str()), (1, "Unknown Queued"));
        let written = platform.api.writes.lock()[writes].clone();
        assert_eq!(written, "PATCH deployments/hello-00001-deployment", "nothing comes before it");
        platform.pods(&[2]);
        platform.settle().await;
        assert_eq!(platform.active(), "True");
        let words: Vec<String> = platform
            .autoscaler
            .explain("ns", "hello-00001")
            .iter()
            .map(|it| it.to_string())
            .collect();
        assert!(words.last().unwrap().contains("asks for 1"), "{words:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leads_to_panic_and_the_activator_leaves_when_pods_can_take_it() {
        let mut platform =
            Platform::start(&[("target", "10"), ("target-burst-capacity", "20")], 0, &[]).await;
        platform.report(1.0);
        platform.settle().await;
        platform.pods(&[1]);
        platform.pass(1000).await;
        platform.report(50.0);
        platform.pass(2000).await;
        assert_eq!(platform.replicas(), 4, "25.5 in flight on average, at 7 a pod");
        assert_eq!(platform.serverless()["spec"]["mode"], "Proxy");
        platform.pods(&[1, 2, 3, 4, 5, 6, 7, 8]);
        platform.pass(2000).await;
        assert_eq!(platform.serverless()["spec"]["mode"], "Serve");
        assert_eq!(platform.public().len(), 8);
        platform.pods(&[]);
        platform.settle().await;
        assert_eq!(platform.public(), ["10.1.0.9"], "without pods there is only the activator");
    }

    #[tokio::test(start_paused = true)]
    async fn several_pods_stay_over_a_restart() {
        let platform = Platform::start(&[], 5, &[1, 2, 3, 4, 5]).await;
        platform.pass(30_000).await;
        assert_eq!(platform.replicas(), 5);
        platform.pass(40_000).await;
        assert!(platform.replicas() < 5);
    }

    #[tokio::test(start_paused = true)]
    async fn says_which_pods_are_busy_before_it_shrinks() {
        let platform = Platform::start(&[], 4, &[1, 2, 3, 4]).await;
        for _ in 0..70 {
            let busy = [("pod-2", 3), ("pod-9", 1)];
            platform.autoscaler.reports().send(Report {
                reporter: "activator".to_owned(),
                revisions: vec![RevisionLoad {
                    namespace: "ns".to_owned(),
                    revision: "hello-00001".to_owned(),
                    concurrency: 3.0,
                    busy_pods: busy
                        .map(|(pod, in_flight)| PodLoad { pod: pod.to_owned(), in_flight })
                        .into(),
                    ..RevisionLoad::default()
                }],
            });
            platform.pass(1000).await;
        }
        let writes = platform.api.writes.lock().clone();
        let place = |text: &str| writes.iter().position(|it| it == text);
        let cost = place("PATCH pods/pod-2").expect("it is busy");
        assert!(Some(cost) < place("PATCH deployments/hello-00001-deployment"), "{writes:?}");
        assert_eq!(place("PATCH pods/pod-1"), None, "it is idle");
        assert_eq!(place("PATCH pods/pod-9"), None, "it is not there");
        let pod = platform.object("/api/v1/namespaces/ns/pods/pod-2");
        let annotations = &pod["metadata"]["annotations"];
        assert_eq!(annotations["controller.kubernetes.io/pod-deletion-cost"], "3");
    }

    #[tokio::test(start_paused = true)]
    async fn stays_within_the_bounds_of_its_annotations() {
        let platform = Platform::start(&[("min-scale", "2"), ("max-scale", "3")], 1, &[1]).await;
        platform.report(1000.0);
        platform.settle().await;
        assert_eq!(platform.replicas(), 3);
        platform.pass(200_000).await;
        assert_eq!(platform.replicas(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_pod_waits_until_a_request_reaches_the_activator() {
        let proven = Arc::new(Mutex::new(false));
        let answer = proven.clone();
        let prove: Prove = Arc::new(move |key, port| {
            assert_eq!((key.to_string().as_str(), port), ("ns/hello-00001", 80));
            let answer = *answer.lock();
            Box::pin(async move { answer })
        });
        let platform = Platform::start_with(Path::Probed(prove), &[], 1, &[1]).await;
        platform.pass(120_000).await;
        assert_eq!((platform.replicas(), platform.active().as_str()), (1, "False NoTraffic"));
        *proven.lock() = true;
        platform.pass(3000).await;
        assert_eq!(platform.replicas(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn other_classes_are_left_alone() {
        let platform = Platform::start(&[("class", "keda.example.com")], 1, &[1]).await;
        platform.report(100.0);
        platform.pass(10_000).await;
        assert!(platform.api.writes.lock().is_empty());
        assert_eq!(platform.autoscaler.active(), 0);
    }

    const HORIZONTAL: &str =
        "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers/hello-00001";
    const HPA: &[(&str, &str)] = &[
        ("class", "hpa.autoscaling.knative.dev"),
        ("metric", "cpu"),
        ("target", "70"),
        ("min-scale", "1"),
    ];

    impl Platform {
        /// Writes the HorizontalPodAutoscaler's counts, as Kubernetes does.
        fn counted(&self, current: i32, desired: i32) {
            let mut object = self.object(HORIZONTAL);
            object["status"] = json!({"currentReplicas": current, "desiredReplicas": desired});
            let object = self.api.put(HORIZONTAL, object);
            self.cluster.wrote(serde_json::from_value::<HorizontalPodAutoscaler>(object).unwrap());
        }

        /// `type=status/reason` of the PodAutoscaler's conditions.
        fn conditions(&self) -> String {
            let object = self.object(&format!("{PREFIX}/hello-00001"));
            let words = object["status"]["conditions"].as_array().into_iter().flatten().map(|it| {
                let word = |name: &str| it[name].as_str().unwrap_or_default();
                format!("{}={}/{}", word("type"), word("status"), word("reason"))
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_of_the_class_hpa_is_scaled_by_kubernetes() {
        let mut platform = Platform::start(HPA, 1, &[]).await;
        let made = platform.object(HORIZONTAL);
        assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
        assert_eq!(
            platform.conditions(),
            "Active=True/ Ready=Unknown/NotReady SKSReady=Unknown/NotReady ScaleTargetInitialized=Unknown/"
        );
        let serverless = platform.serverless();
        assert_eq!(
            (&serverless["spec"]["mode"], &serverless["spec"]["numActivators"]),
            (&json!("Serve"), &Value::Null)
        );
        assert_eq!(platform.public(), ["10.1.0.9"], "without pods there is only the activator");
        platform.pods(&[1]);
        platform.settle().await;
        assert!(platform.conditions().contains("Ready=Unknown/ "), "{}", platform.conditions());
        assert_eq!(platform.public(), ["10.0.0.1"]);
        platform.counted(1, 4);
        platform.settle().await;
        assert_eq!(
            platform.conditions(),
            "Active=True/ Ready=True/ SKSReady=True/ ScaleTargetInitialized=True/"
        );
        let status = &platform.object(&format!("{PREFIX}/hello-00001"))["status"];
        assert_eq!((&status["actualScale"], &status["desiredScale"]), (&json!(1), &json!(4)));
        let writes = platform.api.writes.lock().len();
        platform.report(100.0);
        platform.pass(200_000).await;
        assert_eq!(platform.api.writes.lock().len(), writes, "a settled revision costs no write");
        assert_eq!((platform.replicas(), platform.autoscaler.active()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_that_changes_its_class_loses_the_objects_of_the_other() {
        let mut platform = Platform::start(HPA, 1, &[1]).await;
        assert!(platform.object(HORIZONTAL).is_object());
        platform.pods(&[1]);
        platform.settle().await;
        platform.revision(&[("class", "kpa.autoscaling.knative.dev")]);
        platform.settle().await;
        let writes = platform.api.writes.lock().clone();
        assert!(
            writes.iter().any(|it| it == "DELETE horizontalpodautoscalers/hello-00001"),
            "{writes:?}"
        );
        platform.pass(70_000).await;
        assert_eq!(platform.replicas(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_horizontal_autoscaler_that_is_somebody_elses_is_not_taken() {
        let mut platform = Platform::start(&[("class", "other.example.com")], 1, &[1]).await;
        let object = json!({"metadata": {"name": "hello-00001", "namespace": "ns", "uid": "x",
            "resourceVersion": "7"}, "spec": {"maxReplicas": 1, "scaleTargetRef":
            {"kind": "Deployment", "name": "web"}}});
        platform.cluster.wrote(serde_json::from_value::<HorizontalPodAutoscaler>(object).unwrap());
        // The versions of this API's objects are counted in writes.
        platform.api.writes.lock().push("PUT horizontalpodautoscalers/hello-00001".to_owned());
        platform.revision(HPA);
        platform.settle().await;
        assert_eq!(platform.object(HORIZONTAL), Value::Null);
        let object = platform.object(&format!("{PREFIX}/hello-00001"));
        let active = object["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["type"] == "Active");
        assert_eq!(
            (&active.unwrap()["reason"], &active.unwrap()["message"]),
            (
                &json!("NotOwned"),
                &json!(
                    "There is an existing HorizontalPodAutoscaler \"hello-00001\" that we do not own."
                )
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_is_somebody_elses_is_not_taken() {
        let mut platform = Platform::start(&[], 1, &[1]).await;
        platform.version += 1;
        let service = json!({"metadata": {"name": "hello-00001", "namespace": "ns", "uid": "other",
            "resourceVersion": platform.version.to_string(), "labels":
                {"networking.internal.knative.dev/serverlessservice": "hello-00001"}}, "spec": {}});
        let before = platform.api.writes.lock().len();
        platform.cluster.wrote(serde_json::from_value::<Service>(service).unwrap());
        platform.pods(&[1, 2]);
        platform.settle().await;
        let status = &platform.serverless()["status"];
        let ready =
            status["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Ready");
        assert_eq!(
            ready.unwrap()["message"],
            "Resource hello-00001 of type Service is not owned by SKS"
        );
        let writes = platform.api.writes.lock()[before..].to_vec();
        assert!(!writes.iter().any(|it| it == "PATCH services/hello-00001"), "{writes:?}");
    }
}
