//! Records events about objects, so that `kubectl describe` and `kubectl events` show them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event as CoreEvent, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;

use crate::{clock::Clock, cluster::Cluster, plan::Event};

/// Events that may wait to be written; more are dropped, because they must not slow their cause down.
const WAITING: usize = 4096;
/// Events that are remembered, so that the same one again only counts up. Source: client-go's cache.
const REMEMBERED: usize = 4096;

/// Records events in the name of one component. Clones share what they remember.
#[derive(Clone)]
pub struct Recorder {
    component: &'static str,
    clock: Clock,
    sender: mpsc::Sender<Record>,
}

struct Record {
    component: &'static str,
    about: ObjectReference,
    event: Event,
    at: Timestamp,
}

/// What was written of an event before.
struct Written {
    name: String,
    count: i32,
}

impl Recorder {
    /// Starts to record; ends with the cluster.
    pub fn start(cluster: &Cluster, component: &'static str) -> Recorder {
        let (sender, receiver) = mpsc::channel(WAITING);
        cluster.spawn(write_all(cluster.clone(), receiver));
        Recorder { component, clock: cluster.clock(), sender }
    }

    /// The same recorder in the name of another component.
    pub fn named(&self, component: &'static str) -> Recorder {
        Recorder { component, ..self.clone() }
    }

    /// Who records.
    pub fn component(&self) -> &'static str {
        self.component
    }

    /// Records that `event` happened to `about`. Never waits; drops the event when too many wait.
    pub fn record(&self, about: &ObjectReference, event: &Event) {
        self.record_at(about, event, self.clock.now());
    }

    /// The same of an event that happened at another moment.
    pub fn record_at(&self, about: &ObjectReference, event: &Event, at: Timestamp) {
        let (about, event) = (about.clone(), event.clone());
        let record = Record { component: self.component, about, event, at };
        if self.sender.try_send(record).is_err() {
            tracing::debug!("event dropped: too many wait");
        }
    }
}

async fn write_all(cluster: Cluster, mut receiver: mpsc::Receiver<Record>) {
    let mut written: HashMap<u64, Written> = HashMap::new();
    let mut order: VecDeque<u64> = VecDeque::new();
    while let Some(record) = receiver.recv().await {
        let namespace = record.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<CoreEvent> = Api::namespaced(cluster.client().clone(), &namespace);
        let identity = identity(&record);
        let result = match written.get_mut(&identity) {
            Some(before) => count_up(&api, before, record.at).await,
            None => Ok(false),
        };
        let result = match result {
            Ok(true) => Ok(()),
            // New, or the event was removed meanwhile.
            Ok(false) => {
                let event = core_event(&record, &namespace);
                let name = event.metadata.name.clone().unwrap_or_default();
                let made = api.create(&PostParams::default(), &event).await;
                if made.is_ok() && written.insert(identity, Written { name, count: 1 }).is_none() {
                    order.push_back(identity);
                }
                made.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            // Typical when the namespace is being deleted.
            tracing::debug!(reason = record.event.reason, %error, "event not recorded");
        }
        while order.len() > REMEMBERED {
            written.remove(&order.pop_front().expect("longer than the bound"));
        }
    }
}

/// Says whether the event was still there.
async fn count_up(
    api: &Api<CoreEvent>,
    before: &mut Written,
    now: Timestamp,
) -> Result<bool, kube::Error> {
    before.count = before.count.saturating_add(1);
    let patch = serde_json::json!({ "count": before.count, "lastTimestamp": Time(now) });
    match api.patch(&before.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn identity(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.component.hash(&mut hasher);
    (&record.about.kind, &record.about.namespace, &record.about.name, &record.about.uid)
        .hash(&mut hasher);
    (record.event.warning, record.event.reason, &record.event.message).hash(&mut hasher);
    hasher.finish()
}

fn core_event(record: &Record, namespace: &str) -> CoreEvent {
    let about = record.about.name.as_deref().unwrap_or("unknown");
    // Two events of objects of one name in one nanosecond differ in what they say, and of whom: a few bits of that
    // would be the same for some of them now and then, and the second event would be lost.
    let name = format!("{about}.{:x}.{:016x}", record.at.as_nanosecond(), identity(record));
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: record.about.clone(),
        reason: Some(record.event.reason.to_owned()),
        message: Some(record.event.message.clone()),
        type_: Some(if record.event.warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(record.at)),
        last_timestamp: Some(Time(record.at)),
        source: Some(EventSource { component: Some(record.component.to_owned()), host: None }),
        reporting_component: Some(record.component.to_owned()),
        ..CoreEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// More than sixteen bits can tell apart.
    const EVENTS: usize = 70_000;

    #[test]
    fn events_of_one_moment_have_names_of_their_own() {
        let record = |number: usize| Record {
            component: "c",
            about: ObjectReference { name: Some("hello".to_owned()), ..Default::default() },
            event: Event::normal("Created", number.to_string()),
            at: Timestamp::UNIX_EPOCH,
        };
        let names: HashSet<String> = (0..EVENTS)
            .filter_map(|number| core_event(&record(number), "default").metadata.name)
            .collect();
        assert_eq!(names.len(), EVENTS);
    }
}
