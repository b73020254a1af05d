//! Carries plans out: one loop for all kinds of objects.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use ::config::Config;
use futures::FutureExt;
use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::{
    cluster::{
        Cluster, Key, Kind,
        cache::{Cache, Change},
    },
    events::Recorder,
    plan::{Event, Plan, Verb, Write, controller_of},
    queue::Queue,
};

/// Plans that one controller carries out at a time. Planning is quick; a write waits for the API.
const WORKERS: usize = 2;
/// Times that one object is planned again at once because a needed fact came at once.
const REPLANS: usize = 8;
/// Facts that one controller fetches at a time: each may hold a connection for seconds.
const FETCHES: usize = 100;

/// Plans objects of one kind. Implementations read caches and call a pure function.
pub trait Reconcile: Send + Sync + 'static {
    /// A fact that only I/O gives.
    type Need: Send + 'static;

    /// The plan for the object with that key, which may be gone.
    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Self::Need>;

    /// Fetches a fact and keeps it where [`Reconcile::plan`] finds it. Must end on its own, also when
    /// the fact cannot be had: then that is the fact.
    fn fetch(self: Arc<Self>, need: Self::Need) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A controller in the making: which changes lead to which plans.
pub struct Controller {
    cluster: Cluster,
    queue: Arc<Queue<Key>>,
    synced: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A [`Reconcile`] that needs no facts from I/O.
pub struct PlanFn<F>(pub F);

impl<F> Reconcile for PlanFn<F>
where
    F: Fn(&Key, Timestamp) -> Plan + Send + Sync + 'static,
{
    type Need = Infallible;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan {
        (self.0)(key, now)
    }

    fn fetch(self: Arc<Self>, need: Infallible) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match need {}
    }
}

impl Controller {
    /// A controller that plans nothing yet.
    pub fn new(cluster: &Cluster) -> Controller {
        Controller { cluster: cluster.clone(), queue: Arc::default(), synced: Vec::new() }
    }

    /// Keys added here are planned.
    pub fn queue(&self) -> &Arc<Queue<Key>> {
        &self.queue
    }

    /// The cache of a kind that plans read; nothing is planned before it is synced.
    pub fn reads<K: Kind>(&mut self) -> Cache<K> {
        let cache = self.cluster.cache::<K>();
        let synced = cache.clone();
        self.synced.push(Box::pin(async move { synced.synced().await }));
        cache
    }

    /// Plans each object of a kind that changes.
    pub fn plans<K: Kind>(&mut self) -> Cache<K> {
        self.on_change::<K>(|change, plan| plan(Key::of(&**change.last())))
    }

    /// Plans the controlling owner, of kind `owner`, of each object that changes.
    pub fn on_owned<K: Kind>(&mut self, owner: &'static str) -> Cache<K> {
        self.on_change::<K>(move |change, plan| {
            for object in change.old.into_iter().chain(change.new) {
                let meta = object.meta();
                if let Some(owner) = controller_of(meta, owner) {
                    plan(Key::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name));
                }
            }
        })
    }

    /// Plans the keys that `keys` passes on for each object that changes. It runs while the cache
    /// waits, so it must be quick.
    pub fn on_change<K: Kind>(
        &mut self,
        keys: impl Fn(&Change<K>, &mut dyn FnMut(Key)) + Send + Sync + 'static,
    ) -> Cache<K> {
        let cache = self.reads::<K>();
        let queue = self.queue.clone();
        cache.on_change(move |change| keys(change, &mut |key| queue.add(key)));
        cache
    }

    /// Plans all objects of a kind whenever the configuration changes.
    pub fn on_config<K: Kind>(&mut self, mut config: watch::Receiver<Arc<Config>>) {
        let (cache, queue) = (self.reads::<K>(), self.queue.clone());
        self.cluster.spawn(async move {
            config.mark_unchanged();
            while config.changed().await.is_ok() {
                for object in cache.all() {
                    queue.add(Key::of(&*object));
                }
            }
        });
    }

    /// Plans until the cluster stops.
    pub async fn run<R: Reconcile>(self, reconcile: R, recorder: Recorder) {
        for synced in self.synced {
            synced.await;
        }
        self.queue.measure(self.cluster.metrics(), recorder.component());
        let worker = Arc::new(Worker {
            cluster: self.cluster,
            queue: self.queue,
            recorder,
            reconcile: Arc::new(reconcile),
            fetches: TaskTracker::new(),
            slots: Arc::new(Semaphore::new(FETCHES)),
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let worker = worker.clone();
                tokio::spawn(async move {
                    while let Err(error) = tokio::spawn(worker.clone().run()).await {
                        // A bug in a plan. Its key stays taken, so the plan is not tried again.
                        tracing::error!(%error, "a plan panicked");
                    }
                })
            })
            .collect();
        for worker in workers {
            // It ends when the cluster stops; what panics is inside.
            let _ = worker.await;
        }
        worker.fetches.close();
        worker.fetches.wait().await;
    }
}

struct Worker<R> {
    cluster: Cluster,
    queue: Arc<Queue<Key>>,
    recorder: Recorder,
    reconcile: Arc<R>,
    fetches: TaskTracker,
    slots: Arc<Semaphore>,
}

impl<R: Reconcile> Worker<R> {
    async fn run(self: Arc<Self>) {
        let stop = self.cluster.stop().clone();
        loop {
            let key = tokio::select! {
                () = stop.cancelled() => return,
                key = self.queue.next() => key,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.work(&key) => {}
            }
            self.queue.done(&key);
        }
    }

    async fn work(self: &Arc<Self>, key: &Key) {
        let plan = self.settle_needs(key).await;
        let (mut failed, mut is_news) = (None, false);
        for write in &plan.writes {
            match send(&self.cluster, write).await {
                Ok(outcome) => {
                    self.record(&plan, write.event.as_ref());
                    is_news |= outcome == Outcome::FirstFutile;
                }
                Err(error) => {
                    failed = Some(self.report(&plan, write, &error));
                    break;
                }
            }
        }
        let instead = match (&failed, &plan.status_after_failure) {
            (Some(text), Some(status)) => Some(status(text)),
            _ => None,
        };
        let status = instead.as_ref().map_or(plan.status.as_ref(), Option::as_ref);
        if let Some(write) = status
            && let Err(error) = send(&self.cluster, write).await
        {
            failed = Some(self.report(&plan, write, &error));
        }
        if failed.is_none() {
            for event in &plan.events {
                self.record(&plan, Some(event));
            }
        }
        if let Some(error) = &plan.error {
            self.record(&plan, Some(&Event::warning("InternalError", error.clone())));
        }
        if failed.is_some() {
            self.queue.add_failed(key.clone());
        } else {
            self.queue.succeed(key);
        }
        if is_news {
            // Nothing changed, so nothing else leads to the plan that knows so.
            self.queue.add(key.clone());
        }
        if let Some(again) = plan.again {
            self.queue.add_after(key.clone(), again);
        }
    }

    /// Plans until nothing is needed that comes at once; what takes longer is fetched meanwhile.
    async fn settle_needs(self: &Arc<Self>, key: &Key) -> Plan<R::Need> {
        for _ in 0..REPLANS {
            let mut plan = self.reconcile.plan(key, self.cluster.now());
            if plan.need.is_empty() {
                return plan;
            }
            let mut waits = false;
            for need in std::mem::take(&mut plan.need) {
                let mut fetch = self.reconcile.clone().fetch(need);
                if (&mut fetch).now_or_never().is_some() {
                    continue;
                }
                waits = true;
                let (worker, key) = (self.clone(), key.clone());
                self.fetches.spawn(async move {
                    let stop = worker.cluster.stop().clone();
                    let fetched = async {
                        // The semaphore is never closed.
                        let _slot = worker.slots.acquire().await;
                        fetch.await;
                        worker.queue.add(key);
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = fetched => {}
                    }
                });
            }
            if waits {
                return plan;
            }
        }
        tracing::warn!(%key, kind = %self.recorder.component(), "facts keep being needed");
        Plan::nothing()
    }

    fn record(&self, plan: &Plan<R::Need>, event: Option<&Event>) {
        if let Some(event) = event {
            self.recorder.record(&plan.about, event);
        }
    }

    /// Conflicts only mean that the cache is behind; all else is news. Returns the API's text.
    fn report(&self, plan: &Plan<R::Need>, write: &Write, error: &kube::Error) -> String {
        let text = match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
                tracing::debug!(write = %write.key, kind = write.kind, "conflict; planning again");
                return status.message.clone();
            }
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        };
        if let Some(event) = &write.failure {
            let message = format!("{}: {text}", event.message);
            self.record(plan, Some(&Event { message, ..event.clone() }));
        }
        let message = match &*write.context {
            "" => text.clone(),
            context => format!("{context}: {text}"),
        };
        tracing::warn!(about = ?plan.about.name, kind = write.kind, "{message}");
        self.record(plan, Some(&Event::warning("InternalError", message)));
        text
    }
}

/// What a write that succeeded did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, or its object is gone.
    Done,
    /// For the first time it turned out to change nothing: see [`Cluster::is_futile`].
    FirstFutile,
}

/// Carries out one write and shows its result to the cache of the kind. Deleting or patching what is
/// gone succeeds.
pub async fn send(cluster: &Cluster, write: &Write) -> Result<Outcome, kube::Error> {
    let requests = kube::core::Request::new(&write.path);
    let (name, body) = (&*write.key.name, || write.body.clone().into_bytes());
    let patch = || {
        let value: serde_json::Value =
            serde_json::from_str(&write.body).expect("a patch is written as JSON");
        Patch::Merge(value)
    };
    let request = match write.verb {
        Verb::Create => requests.create(&PostParams::default(), body()),
        Verb::Replace => requests.replace(name, &PostParams::default(), body()),
        Verb::Merge => requests.patch(name, &PatchParams::default(), &patch()),
        Verb::MergeStatus => {
            requests.patch_subresource("status", name, &PatchParams::default(), &patch())
        }
        Verb::Delete => {
            let preconditions = write
                .uid
                .clone()
                .map(|uid| Preconditions { uid: Some(uid), resource_version: None });
            let params = DeleteParams { preconditions, ..DeleteParams::background() };
            requests.delete(name, &params)
        }
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    match cluster.client().request_text(request).await {
        Ok(text) => {
            if write.verb == Verb::Delete {
                return Ok(Outcome::Done);
            }
            match (write.accept)(cluster, &text) {
                Ok(version) if write.verb == Verb::Replace && version == write.version => {
                    let is_first = cluster.was_futile(write);
                    Ok(if is_first { Outcome::FirstFutile } else { Outcome::Done })
                }
                Ok(_) => Ok(Outcome::Done),
                Err(error) => {
                    tracing::debug!(kind = write.kind, %error, "unreadable answer to a write");
                    Ok(Outcome::Done)
                }
            }
        }
        Err(kube::Error::Api(status)) if is_gone(write.verb, &status) => {
            tracing::debug!(kind = write.kind, key = %write.key, "gone before it was written");
            Ok(Outcome::Done)
        }
        Err(error) => Err(error),
    }
}

fn is_gone(verb: Verb, status: &kube::core::Status) -> bool {
    status.is_not_found() && matches!(verb, Verb::Delete | Verb::Merge | Verb::MergeStatus)
}
