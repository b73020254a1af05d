//! What runs PingSources: one clock for all of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{cron::Schedule, eventing::v1beta2::EventType, sources::PingSource};
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::{
    cluster::{Cluster, Key},
    events::Recorder,
    plan::{Plan, reference},
    queue::Queue,
    reconcile::{Controller, PlanFn},
    tracker::References,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{Seen, due, plan, schedule};
use crate::{
    deliver::{Courier, Target},
    source::send::send,
};

/// Events that are on their way at a time: each holds a connection. What is due while so many are is left out, since it
/// would only come later and later.
const IN_FLIGHT: usize = 512;
/// Events of one schedule are sent within this time, so that those of many do not come at once.
/// Source: knative/eventing `pkg/adapter/mtping/runner.go`.
const SPREAD: Duration = Duration::from_millis(500);
/// Longest wait until the schedules are looked at again: the date at which one is due may be beyond what a timer can wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Keeps the statuses of PingSources and sends their events, until the cluster stops. It must run in one process of a
/// cluster at a time.
pub async fn run(cluster: Cluster, recorder: Recorder, courier: Arc<dyn Courier>) {
    let mut controller = Controller::new(&cluster);
    let sources = controller.plans::<PingSource>();
    let event_types = controller.on_owned::<EventType>("PingSource");
    let references = References::new(&cluster, controller.queue());
    let taken: Taken = Arc::default();
    let clock =
        tick(cluster.clone(), controller.queue().clone(), taken.clone(), courier, recorder.clone());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(source) = sources.at(key) else { return Plan::nothing() };
            let uid = source.metadata.uid.as_deref().unwrap_or_default();
            let seen = Seen {
                lookup,
                running: taken.lock().get(key).is_some_and(|it| it.is_of(&source)),
                event_types: &event_types.owned_by(uid),
            };
            plan(&source, seen, now)
        })
    };
    tokio::join!(controller.run(PlanFn(plan), recorder), clock);
}

/// The schedules that are taken in.
type Taken = Arc<Mutex<HashMap<Key, Entry>>>;

struct Entry {
    source: Arc<PingSource>,
    target: Target,
    schedule: Schedule,
    next: Option<Timestamp>,
}

impl Entry {
    /// Nothing where the source cannot run yet.
    fn new(source: &Arc<PingSource>, now: Timestamp) -> Option<Entry> {
        let status = source.status.as_ref()?;
        let uri = status.sink_uri.as_deref()?;
        let name = &source.metadata.name;
        let target = Target::new(uri, status.sink_ca_certs.as_deref());
        let target = target.inspect_err(|why| tracing::warn!(?name, "PingSource: {why}")).ok()?;
        let schedule = schedule(source);
        let schedule =
            schedule.inspect_err(|why| tracing::warn!(?name, "PingSource: {why}")).ok()?;
        let next = schedule.next(now);
        Some(Entry { source: source.clone(), target, schedule, next })
    }

    /// Whether this is the schedule of a source as it is now, with the sink that its status has.
    fn is_of(&self, source: &PingSource) -> bool {
        let uri = |it: &PingSource| it.status.as_ref().and_then(|it| it.sink_uri.clone());
        let certs = |it: &PingSource| it.status.as_ref().and_then(|it| it.sink_ca_certs.clone());
        let own = &self.source;
        own.metadata.uid == source.metadata.uid
            && own.spec == source.spec
            && uri(own) == uri(source)
            && certs(own) == certs(source)
    }
}

/// Takes schedules in and sends what is due.
async fn tick(
    cluster: Cluster,
    queue: Arc<Queue<Key>>,
    taken: Taken,
    courier: Arc<dyn Courier>,
    recorder: Recorder,
) {
    let sources = cluster.cache::<PingSource>();
    let mut changes = sources.changes();
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    loop {
        let next = taken.lock().values().filter_map(|it| it.next).min();
        let wait = next.map_or(LONGEST_WAIT, |next| {
            let wait = next.duration_since(cluster.now());
            Duration::try_from(wait).unwrap_or_default().min(LONGEST_WAIT)
        });
        tokio::select! {
            () = cluster.stop().cancelled() => return,
            keys = changes.next() => {
                for key in keys {
                    let source = sources.at(&key).filter(|it| it.metadata.deletion_timestamp.is_none());
                    take(&taken, &key, source.as_ref(), cluster.now(), &queue);
                }
            }
            () = sleep_until(Instant::now() + wait) => {
                for (source, target) in due_now(&taken, cluster.now()) {
                    let Ok(slot) = slots.clone().try_acquire_owned() else {
                        tracing::warn!(source = ?source.metadata.name, "too many pings are on their way; left one out");
                        continue;
                    };
                    let (courier, recorder, now) = (courier.clone(), recorder.clone(), cluster.now());
                    cluster.spawn(async move {
                        ping(&source, &target, &*courier, &recorder, now).await;
                        drop(slot);
                    });
                }
            }
        }
    }
}

fn take(
    taken: &Taken,
    key: &Key,
    source: Option<&Arc<PingSource>>,
    now: Timestamp,
    queue: &Queue<Key>,
) {
    let mut taken = taken.lock();
    if source.is_some_and(|it| taken.get(key).is_some_and(|old| old.is_of(it))) {
        return;
    }
    taken.remove(key);
    if let Some(entry) = source.and_then(|it| Entry::new(it, now)) {
        taken.insert(key.clone(), entry);
        queue.add(key.clone());
    }
}

/// The sources whose events are due; each is due again at its next moment.
fn due_now(taken: &Taken, now: Timestamp) -> Vec<(Arc<PingSource>, Target)> {
    let mut due = Vec::new();
    for entry in taken.lock().values_mut().filter(|it| it.next.is_some_and(|it| it <= now)) {
        due.push((entry.source.clone(), entry.target.clone()));
        entry.next = entry.schedule.next(now);
    }
    due
}

async fn ping(
    source: &PingSource,
    target: &Target,
    courier: &dyn Courier,
    recorder: &Recorder,
    now: Timestamp,
) {
    let id = Uuid::new_v4();
    let event = match due(source, &id.to_string(), now) {
        Ok(event) => event,
        Err(why) => {
            tracing::warn!(source = ?source.metadata.name, "PingSource: {why}");
            return;
        }
    };
    // An identifier is as good as any other random number.
    let share = f64::from(id.as_fields().0) / f64::from(u32::MAX);
    tokio::time::sleep(SPREAD.mul_f64(share)).await;
    let namespace = source.metadata.namespace.as_deref().unwrap_or_default();
    if let Err(failure) = send(courier, target, namespace, &event).await {
        let code = failure.code.map_or("no answer".to_owned(), |it| it.to_string());
        tracing::warn!(source = ?source.metadata.name, destination = failure.destination, code, "a ping was not taken");
        let message = format!("event {id} was not taken by {}: {code}", failure.destination);
        let lost = runtime::plan::Event::warning("EventNotSent", message);
        recorder.record(&reference(source), &lost);
    }
}
