//! A Kubernetes API and what this process has seen of it: one client, one cache a kind.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{clock::Clock, metrics::Metrics, plan::Write, tracker};

pub mod cache;
pub mod connect;
pub mod index;
pub mod raw;

use cache::Cache;

/// A kind of objects that can be cached and written: k8s-openapi's and those derived in `api`.
pub trait Kind:
    Resource<DynamicType = ()>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()>
        + Clone
        + fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Where an object is among those of its kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for kinds without namespaces.
    pub namespace: Arc<str>,
    /// Unique in the namespace.
    pub name: Arc<str>,
}

/// Wait before a task that panicked begins again: one that always panics costs little, and the log can be read.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// A Kubernetes API with this process's caches. Clones share everything.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

/// Caches of different kinds, by kind and selection.
type Caches = HashMap<(TypeId, Selection), Arc<dyn Any + Send + Sync>>;

/// Which objects of a kind a cache has; an empty selector picks all.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Selection {
    labels: &'static str,
    fields: &'static str,
}

struct Shared {
    client: Client,
    clock: Clock,
    metrics: Metrics,
    caches: Mutex<Caches>,
    /// Sums of writes that were carried out and changed nothing.
    futile: Mutex<HashSet<u64>>,
    /// What objects refer to.
    tracked: Mutex<tracker::State>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Futile writes that are remembered. There is one for each object whose defaults have changed since
/// it was made; who is forgotten is written once more.
const FUTILE: usize = 4096;

impl Key {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object that has a name.
    pub fn of<K: Resource>(object: &K) -> Key {
        let meta = object.meta();
        Key::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Cluster {
    /// The API behind `client`. Watches run until `stop` is cancelled.
    pub fn new(client: Client, clock: Clock, stop: CancellationToken) -> Cluster {
        let tasks = TaskTracker::new();
        Cluster {
            shared: Arc::new(Shared {
                client,
                clock,
                metrics: Metrics::default(),
                caches: Mutex::default(),
                futile: Mutex::default(),
                tracked: Mutex::default(),
                tasks,
                stop,
            }),
        }
    }

    /// The client, for what caches do not do.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// What is measured of this process's work.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The date now.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Cancelled when the process ends.
    pub fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }

    /// Runs a task until it ends or the cluster stops; [`Cluster::stopped`] waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs what `make` makes, a task that others count on, until it ends or the cluster stops. One that panics is made
    /// anew: a bug that one object brings out must not end the work for all.
    pub fn keep<F>(&self, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(async move {
            // Ends the task with this one.
            let mut task = JoinSet::new();
            task.spawn(make());
            while let Some(Err(error)) = task.join_next().await {
                tracing::error!(%error, "a task panicked; it begins again");
                tokio::time::sleep(AFTER_PANIC).await;
                task.spawn(make());
            }
        });
    }

    /// Waits until the cluster is told to stop and its tasks have ended.
    pub async fn stopped(&self) {
        self.shared.stop.cancelled().await;
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The cache of all objects of a kind, in all namespaces. The first call starts to watch.
    pub fn cache<K: Kind>(&self) -> Cache<K> {
        self.picked(Selection::default())
    }

    /// The cache of the objects of a kind that a label selector picks, in all namespaces: for kinds of
    /// which others than Knative have many.
    pub fn selected<K: Kind>(&self, selector: &'static str) -> Cache<K> {
        self.picked(Selection { labels: selector, fields: "" })
    }

    /// As [`Cluster::selected`], with a field selector: for what this process should not even see.
    pub fn cache_where<K: Kind>(&self, selector: &'static str) -> Cache<K> {
        self.picked(Selection { labels: "", fields: selector })
    }

    fn picked<K: Kind>(&self, selection: Selection) -> Cache<K> {
        let mut caches = self.shared.caches.lock();
        let cache = caches.entry((TypeId::of::<K>(), selection)).or_insert_with(|| {
            let cache = Cache::<K>::new();
            let Selection { labels, fields } = selection;
            let (watched, client) = (cache.clone(), self.client().clone());
            self.keep(move || watched.clone().watch(client.clone(), labels, fields));
            Arc::new(cache)
        });
        cache.downcast_ref::<Cache<K>>().expect("caches are filed under their kind").clone()
    }

    /// Puts an object that this process has just written into the cache of its kind, where that runs:
    /// readers see it before the watch brings it.
    pub fn wrote<K: Kind>(&self, object: K) {
        if let Some(cache) = self.started::<K>() {
            cache.wrote(object);
        }
    }

    /// Whether this very write was carried out before and changed nothing, because the API fills in
    /// what it leaves out. Its object is as it should be.
    pub fn is_futile(&self, write: &Write) -> bool {
        self.shared.futile.lock().contains(&write.sum())
    }

    /// Remembers a write that changed nothing; says whether that is news.
    pub(crate) fn was_futile(&self, write: &Write) -> bool {
        let mut futile = self.shared.futile.lock();
        if futile.len() >= FUTILE {
            futile.clear();
        }
        futile.insert(write.sum())
    }

    /// What is followed because objects refer to it.
    pub(crate) fn tracked(&self) -> &Mutex<tracker::State> {
        &self.shared.tracked
    }

    fn started<K: Kind>(&self) -> Option<Cache<K>> {
        let caches = self.shared.caches.lock();
        caches.get(&(TypeId::of::<K>(), Selection::default()))?.downcast_ref::<Cache<K>>().cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kept_task_begins_again_when_it_panics_and_ends_with_the_cluster() {
        let nothing = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
        });
        let client = Client::new(nothing, "default");
        let cluster = Cluster::new(client, Clock::start(), CancellationToken::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let (counted, begun) = (runs.clone(), Arc::new(tokio::sync::Notify::new()));
        let told = begun.clone();
        cluster.keep(move || {
            let (run, told) = (counted.fetch_add(1, Ordering::Relaxed), told.clone());
            async move {
                assert!(run == 2, "the first two runs fail");
                told.notify_one();
                std::future::pending::<()>().await;
            }
        });
        begun.notified().await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        cluster.stop().cancel();
        cluster.stopped().await;
    }
}
