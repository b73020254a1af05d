//! What runs ApiServerSources: a watch for each of their kinds and namespaces.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use api::{
    eventing::v1beta2::EventType,
    sources::{ApiServerSource, ApiVersionKindSelector},
};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Namespace,
};
use kube::{
    Api,
    api::{ListParams, PostParams, WatchParams},
    core::{DynamicObject, GroupVersionKind, WatchEvent},
    discovery::{self, Scope},
};
use parking_lot::Mutex;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    plan::Plan,
    queue::Queue,
    reconcile::{Controller, Reconcile},
    selector,
    tracker::{ObjectKind, References},
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Change, Need, Seen, VERBS, event, missing, need, plan};
use crate::{
    deliver::{Courier, Target},
    filter::{self, Filter},
    source::send::send,
};

/// Watches of all sources together: each holds a connection and the memory of one.
const WATCHES: usize = 1024;
/// How long it counts that a service account may see something. What it may is not watched: this is when a permission that
/// was taken away is noticed.
const ALLOWED_FOR: Duration = Duration::from_secs(600);
/// How long it counts that it may not.
const DENIED_FOR: Duration = Duration::from_secs(30);
/// Wait before a watch begins again that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Keeps the statuses of ApiServerSources and sends their events, until the cluster stops. It must run in one process of a
/// cluster at a time.
pub async fn run(cluster: Cluster, recorder: Recorder, courier: Arc<dyn Courier>) {
    let mut controller = Controller::new(&cluster);
    let sources = controller.plans::<ApiServerSource>();
    let event_types = controller.on_owned::<EventType>("ApiServerSource");
    let all = sources.clone();
    let namespaces = controller.on_change::<Namespace>(move |change, plan| {
        let labels = |it: Option<&Arc<Namespace>>| it.map(|it| it.metadata.labels.clone());
        if labels(change.old) != labels(change.new) {
            let selects = |it: &Arc<ApiServerSource>| it.spec.namespace_selector.is_some();
            all.all().iter().filter(|it| selects(it)).for_each(|it| plan(Key::of(&**it)));
        }
    });
    let shared = Arc::new(Sources {
        references: References::new(&cluster, controller.queue()),
        queue: controller.queue().clone(),
        slots: Arc::new(Semaphore::new(WATCHES)),
        cluster,
        sources,
        namespaces,
        event_types,
        courier,
        answers: Mutex::default(),
        running: Mutex::default(),
    });
    controller.run(Plans(shared), recorder).await;
}

struct Plans(Arc<Sources>);

struct Sources {
    cluster: Cluster,
    sources: Cache<ApiServerSource>,
    namespaces: Cache<Namespace>,
    event_types: Cache<EventType>,
    references: References,
    queue: Arc<Queue<Key>>,
    courier: Arc<dyn Courier>,
    slots: Arc<Semaphore>,
    /// What the API said of the permissions of each source, and when.
    answers: Mutex<HashMap<Key, (Need, String, Timestamp)>>,
    running: Mutex<HashMap<Key, Running>>,
}

/// The watches of a source.
struct Running {
    source: Arc<ApiServerSource>,
    /// Ends them.
    _stop: DropGuard,
}

impl Reconcile for Plans {
    type Need = Need;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Need> {
        let own = &self.0;
        let Some(source) = own.sources.at(key) else {
            own.answers.lock().remove(key);
            own.running.lock().remove(key);
            return own.references.plan(key, |_| Plan::nothing());
        };
        own.run(key, &source, now);
        own.references.plan(key, |lookup| {
            let uid = source.metadata.uid.as_deref().unwrap_or_default();
            let running = own.running.lock().get(key).is_some_and(|it| is_of(&it.source, &source));
            let seen = Seen {
                lookup,
                namespaces: &|| own.namespaces_of(&source),
                missing: &|need| own.answer(need, now),
                running,
                event_types: &own.event_types.owned_by(uid),
            };
            let mut plan = plan(&source, seen, now);
            if let Some((_, missing, _)) = own.answers.lock().get(key) {
                plan.again_after(if missing.is_empty() { ALLOWED_FOR } else { DENIED_FOR });
            }
            plan
        })
    }

    fn fetch(self: Arc<Self>, need: Need) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let own = &self.0;
            let said = match own.ask(&need).await {
                Ok(denied) => missing(&need, &denied),
                // Nothing is watched that may not be.
                Err(error) => format!("be asked about: {error}"),
            };
            let answer = (need.clone(), said, own.cluster.now());
            own.answers.lock().insert(need.source, answer);
        })
    }
}

impl Sources {
    fn namespaces_of(&self, source: &ApiServerSource) -> Vec<String> {
        let picks = source.spec.namespace_selector.clone().unwrap_or_default();
        let all = self.namespaces.all();
        let labels = |it: &Arc<Namespace>| it.metadata.labels.clone().unwrap_or_default();
        let picked = all.iter().filter(|it| selector::picks(&picks, &labels(it)));
        let mut names: Vec<String> = picked.filter_map(|it| it.metadata.name.clone()).collect();
        names.sort();
        names
    }

    /// What is missing, if that was asked not long ago.
    fn answer(&self, need: &Need, now: Timestamp) -> Option<String> {
        let answers = self.answers.lock();
        let (asked, missing, at) = answers.get(&need.source)?;
        let holds = if missing.is_empty() { ALLOWED_FOR } else { DENIED_FOR };
        let age = Duration::try_from(now.duration_since(*at)).unwrap_or_default();
        (asked == need && age < holds).then(|| missing.clone())
    }

    /// The verbs that are not allowed, by the place of what was asked.
    async fn ask(&self, need: &Need) -> kube::Result<Vec<Vec<&'static str>>> {
        let reviews: Api<SubjectAccessReview> = Api::all(self.cluster.client().clone());
        let mut all = Vec::new();
        for (group, resource, namespace) in &need.asked {
            let mut denied = Vec::new();
            for verb in VERBS {
                let attributes = ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(resource.clone()),
                    namespace: Some(namespace.clone()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                };
                let review = SubjectAccessReview {
                    spec: SubjectAccessReviewSpec {
                        resource_attributes: Some(attributes),
                        user: Some(need.user.clone()),
                        ..SubjectAccessReviewSpec::default()
                    },
                    ..SubjectAccessReview::default()
                };
                let said = reviews.create(&PostParams::default(), &review).await?;
                if !said.status.is_some_and(|it| it.allowed) {
                    denied.push(verb);
                }
            }
            all.push(denied);
        }
        Ok(all)
    }

    /// Begins and ends the watches of a source, as its status and its permissions are.
    fn run(self: &Arc<Self>, key: &Key, source: &Arc<ApiServerSource>, now: Timestamp) {
        let mut running = self.running.lock();
        let namespaces = source.status.as_ref().map(|it| it.namespaces.clone()).unwrap_or_default();
        let is_allowed =
            self.answer(&need(source, &namespaces), now).is_some_and(|it| it.is_empty());
        if running.get(key).is_some_and(|it| is_of(&it.source, source)) && is_allowed {
            return;
        }
        running.remove(key);
        let status = source.status.as_ref().map(|it| &it.source);
        let Some(uri) = status.and_then(|it| it.sink_uri.as_deref()) else { return };
        if !is_allowed || source.metadata.deletion_timestamp.is_some() {
            return;
        }
        let certs = status.and_then(|it| it.sink_ca_certs.as_deref());
        let target = match Target::new(uri, certs) {
            Ok(target) => target,
            Err(why) => return tracing::warn!(source = %key, "ApiServerSource: {why}"),
        };
        let stop = CancellationToken::new();
        let filter = filter::compile(None, &source.spec.filters).filter;
        for resource in &source.spec.resources {
            let watch = Watch {
                of: self.clone(),
                source: source.clone(),
                resource: resource.clone(),
                namespaces: namespaces.clone(),
                target: target.clone(),
                filter: filter.clone(),
            };
            let stop = stop.clone();
            self.cluster.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = watch.run() => {}
                }
            });
        }
        running.insert(key.clone(), Running { source: source.clone(), _stop: stop.drop_guard() });
        self.queue.add(key.clone());
    }
}

/// Whether the watches for one state of a source are those for another.
fn is_of(one: &ApiServerSource, other: &ApiServerSource) -> bool {
    let sink = |it: &ApiServerSource| {
        let status = it.status.as_ref();
        let source = status.map(|it| (it.source.sink_uri.clone(), it.source.sink_ca_certs.clone()));
        (source, status.map(|it| it.namespaces.clone()))
    };
    one.metadata.uid == other.metadata.uid && one.spec == other.spec && sink(one) == sink(other)
}

/// The watches of one kind for one source.
struct Watch {
    of: Arc<Sources>,
    source: Arc<ApiServerSource>,
    resource: ApiVersionKindSelector,
    namespaces: Vec<String>,
    target: Target,
    filter: Filter,
}

impl Watch {
    async fn run(self) {
        let client = self.of.cluster.client().clone();
        let kind = ObjectKind::new(&self.resource.api_version, &self.resource.kind);
        let name = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
        let (resource, capabilities) = loop {
            match discovery::pinned_kind(&client, &name).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(?kind, %error, "ApiServerSource: look for a kind; trying again");
                    tokio::time::sleep(AFTER_FAILURE * 5).await;
                }
            }
        };
        let is_everywhere = self.source.spec.namespace_selector.as_ref().is_some_and(|it| {
            it.match_labels.iter().flatten().count() + it.match_expressions.iter().flatten().count()
                == 0
        });
        let apis: Vec<Api<DynamicObject>> = if capabilities.scope == Scope::Cluster || is_everywhere
        {
            vec![Api::all_with(client, &resource)]
        } else {
            let one = |it: &String| Api::namespaced_with(client.clone(), it, &resource);
            self.namespaces.iter().map(one).collect()
        };
        let watches = apis.into_iter().map(|api| self.follow(api, &kind));
        futures::future::join_all(watches).await;
    }

    /// Follows one list, for ever; what is there at the beginning is no news.
    async fn follow(&self, api: Api<DynamicObject>, kind: &ObjectKind) {
        let Ok(_slot) = self.of.slots.clone().try_acquire_owned() else {
            tracing::warn!(
                source = ?self.source.metadata.name,
                "ApiServerSource: {WATCHES} watches run already; one is left out"
            );
            return;
        };
        let picks = self.resource.selector.as_ref().map(selector::query).unwrap_or_default();
        let mut version: Option<String> = None;
        loop {
            let from = match version.take() {
                Some(version) => version,
                None => {
                    let params = ListParams::default().labels(&picks).limit(1);
                    let list = api.list_metadata(&params).await;
                    match list.map(|it| it.metadata.resource_version) {
                        Ok(found) => found.unwrap_or_default(),
                        Err(error) => {
                            self.failed(kind, &error).await;
                            continue;
                        }
                    }
                }
            };
            match self.events(&api, kind, &picks, from).await {
                Ok(seen) => version = Some(seen),
                Err(error) => self.failed(kind, &error).await,
            }
        }
    }

    /// Sends what happens until the watch ends; returns the version up to which it has seen all.
    async fn events(
        &self,
        api: &Api<DynamicObject>,
        kind: &ObjectKind,
        picks: &str,
        from: String,
    ) -> kube::Result<String> {
        let mut version = from;
        let params = WatchParams::default().labels(picks);
        let mut events = api.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            let (change, object) = match event {
                WatchEvent::Added(object) => (Change::Add, object),
                WatchEvent::Modified(object) => (Change::Update, object),
                WatchEvent::Deleted(object) => (Change::Delete, object),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            if let Some(seen) = &object.metadata.resource_version {
                version.clone_from(seen);
            }
            match to_raw_value(&object) {
                Ok(object) => self.tell(kind, &object, change).await,
                Err(error) => tracing::warn!(?kind, %error, "ApiServerSource: write an object"),
            }
        }
        Ok(version)
    }

    /// Sends the event of a change. One after the other, so that they come in order, and so that a slow sink slows the
    /// watch down and fills no memory.
    async fn tell(&self, kind: &ObjectKind, object: &RawValue, change: Change) {
        let (id, now) = (Uuid::new_v4().to_string(), self.of.cluster.now());
        let event = match event(&self.source, (kind, object), change, &id, now) {
            Ok(Some(event)) if self.filter.check(&event).passes => event,
            Ok(_) => return,
            Err(why) => return tracing::warn!(?kind, "ApiServerSource: {why}"),
        };
        let namespace = self.source.metadata.namespace.as_deref().unwrap_or_default();
        if let Err(failure) = send(&*self.of.courier, &self.target, namespace, &event).await {
            tracing::warn!(
                source = ?self.source.metadata.name,
                destination = failure.destination,
                code = ?failure.code,
                "an event of the API was not taken"
            );
        }
    }

    async fn failed(&self, kind: &ObjectKind, error: &kube::Error) {
        tracing::debug!(?kind, %error, "ApiServerSource: a watch failed; it begins again");
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}
