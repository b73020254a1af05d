//! The objects of the embedded cluster: what is, what was until recently, and what is on disk.
//!
//! One lock guards everything. An object is its serialized JSON (without `kind` and `apiVersion`, which the reader's
//! version decides) and the little that selecting needs. A write is in the log before it is answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

pub mod disk;
pub mod frame;
pub mod meta;

/// Events kept for each resource, so that a watcher that lags or reconnects finds what it missed. Kubernetes keeps 100
/// to 100,000; a client of one machine reconnects within seconds.
const HISTORY_EVENTS: usize = 2_000;
/// Bytes of history kept for each resource; the old state of an event is shared with the event before it.
/// Some twenty resources are in use, so all of it is a few tens of megabytes at most.
const HISTORY_BYTES: usize = 1 << 20;

/// One stored state of one object.
#[derive(Debug)]
pub struct Object {
    /// `namespace/name`, or `name` for kinds of the cluster.
    pub key: Arc<str>,
    /// The revision that wrote this state; also `metadata.resourceVersion` inside `body`.
    pub revision: u64,
    /// JSON without `kind` and `apiVersion`.
    pub body: Bytes,
    /// The object's labels, sorted by key.
    pub labels: meta::Labels,
    /// Where `body` holds the managed fields, with their name and the comma after them; empty without any.
    pub fields: Range<usize>,
}

impl Object {
    /// The object's name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The object's namespace; empty for kinds of the cluster.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object as a value, without `kind` and `apiVersion`.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the store serialized this itself")
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It has another state.
    Modified,
    /// It is gone; the event's object is its last state at the revision of the deletion.
    Deleted,
}

/// One change with the state before it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The new state.
    pub object: Arc<Object>,
    /// The state before; absent when `change` is `Added`.
    pub before: Option<Arc<Object>>,
}

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Create of a key that is taken.
    #[error("{0} exists")]
    Exists(Arc<str>),
    /// The key is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// The object has another revision than the writer has seen.
    #[error("{0} was changed")]
    Changed(String),
    /// The history does not reach back so far; carries the oldest revision that it knows.
    #[error("revision is older than the history, which begins at {0}")]
    TooOld(u64),
    /// The disk refused; nothing was written.
    #[error("{0}")]
    Disk(#[from] disk::Error),
}

/// One page of objects at one revision.
#[derive(Debug)]
pub struct Page {
    /// Sorted by key.
    pub objects: Vec<Arc<Object>>,
    /// The revision at which this was the state.
    pub revision: u64,
}

/// The store; shared by cloning the `Arc` around it.
pub struct Store {
    state: Mutex<State>,
}

struct State {
    revision: u64,
    resources: HashMap<Arc<str>, Resource>,
    log: Option<disk::Log>,
    /// The revision at which this process began: no history from before it.
    began: u64,
}

struct Resource {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    history: VecDeque<Event>,
    history_bytes: usize,
    /// The history knows every event after this revision.
    floor: u64,
    news: watch::Sender<u64>,
}

impl Resource {
    fn new(floor: u64) -> Resource {
        Resource {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            floor,
            news: watch::Sender::new(0),
        }
    }

    fn record(&mut self, event: Event) {
        let revision = event.object.revision;
        self.history_bytes += event.object.body.len();
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS
            || (self.history_bytes > HISTORY_BYTES && self.history.len() > 1)
        {
            if let Some(old) = self.history.pop_front() {
                self.history_bytes -= old.object.body.len();
                self.floor = old.object.revision;
            }
        }
        self.news.send_replace(revision);
    }
}

impl Store {
    /// A store that lives as long as the process.
    pub fn in_memory() -> Store {
        Store {
            state: Mutex::new(State {
                revision: 1,
                resources: HashMap::new(),
                log: None,
                began: 1,
            }),
        }
    }

    /// Opens or makes the store in a directory.
    ///
    /// Fails when another process has it open, when the directory cannot be written, or when a file is damaged in the
    /// middle; a record cut short at the very end, as a crash leaves it, is dropped.
    pub fn open(directory: &Path) -> Result<Store, disk::Error> {
        let (log, found) = disk::Log::open(directory)?;
        let mut resources: HashMap<Arc<str>, Resource> = HashMap::new();
        let mut revision = 1;
        for record in found {
            revision = revision.max(record.revision);
            let resource = match resources.get_mut(&*record.resource) {
                Some(resource) => resource,
                None => resources
                    .entry(Arc::from(&*record.resource))
                    .or_insert_with(|| Resource::new(1)),
            };
            match record.body {
                Some(body) => {
                    let key: Arc<str> = Arc::from(&*record.key);
                    let (labels, fields) = meta::read(&body);
                    let object = Arc::new(Object {
                        key: key.clone(),
                        revision: record.revision,
                        body,
                        labels,
                        fields,
                    });
                    resource.objects.insert(key, object);
                }
                None => drop(resource.objects.remove(&*record.key)),
            }
        }
        for resource in resources.values_mut() {
            resource.floor = revision;
        }
        Ok(Store {
            state: Mutex::new(State { revision, resources, log: Some(log), began: revision }),
        })
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    /// One object.
    pub fn get(&self, resource: &str, key: &str) -> Option<Arc<Object>> {
        self.state.lock().resources.get(resource)?.objects.get(key).cloned()
    }

    /// How many objects a resource has.
    pub fn count(&self, resource: &str) -> usize {
        self.state.lock().resources.get(resource).map_or(0, |resource| resource.objects.len())
    }

    /// All objects of a resource in a namespace (all namespaces when empty) now, or as they were at a past revision.
    pub fn list(&self, resource: &str, namespace: &str, at: Option<u64>) -> Result<Page, Error> {
        let state = self.state.lock();
        let revision = at.unwrap_or(state.revision);
        let Some(resource) = state.resources.get(resource) else {
            return Ok(Page { objects: Vec::new(), revision });
        };
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let current = range(&resource.objects, &prefix);
        if revision >= state.revision
            || resource.history.back().is_none_or(|last| last.object.revision <= revision)
                && revision >= resource.floor
        {
            return Ok(Page { objects: current.cloned().collect(), revision });
        }
        if revision < resource.floor {
            return Err(Error::TooOld(resource.floor));
        }
        let mut past: BTreeMap<Arc<str>, Arc<Object>> =
            current.map(|object| (object.key.clone(), object.clone())).collect();
        for event in
            resource.history.iter().rev().take_while(|event| event.object.revision > revision)
        {
            if !event.object.key.starts_with(&prefix) {
                continue;
            }
            match &event.before {
                Some(before) => past.insert(before.key.clone(), before.clone()),
                None => past.remove(&event.object.key),
            };
        }
        Ok(Page { objects: past.into_values().collect(), revision })
    }

    /// The events of a resource after a revision, up to `limit` of them, and the revision up to which nothing is missing.
    pub fn events(
        &self,
        resource: &str,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Event>, u64), Error> {
        let state = self.state.lock();
        let Some(resource) = state.resources.get(resource) else {
            return Ok((Vec::new(), state.revision.max(after)));
        };
        if after < resource.floor {
            return Err(Error::TooOld(resource.floor));
        }
        let begin = resource.history.partition_point(|event| event.object.revision <= after);
        let events: Vec<Event> = resource.history.iter().skip(begin).take(limit).cloned().collect();
        let complete = begin + events.len() == resource.history.len();
        let reached = if complete {
            state.revision.max(after)
        } else {
            events.last().map_or(after, |last| last.object.revision)
        };
        Ok((events, reached))
    }

    /// Tells of each change of a resource, by its revision.
    pub fn news(&self, resource: &str) -> watch::Receiver<u64> {
        let mut state = self.state.lock();
        let began = state.began;
        if let Some(resource) = state.resources.get(resource) {
            return resource.news.subscribe();
        }
        state
            .resources
            .entry(Arc::from(resource))
            .or_insert_with(|| Resource::new(began))
            .news
            .subscribe()
    }

    /// Stores a new object; sets `metadata.resourceVersion` in it.
    pub fn create(
        &self,
        resource: &str,
        key: &str,
        value: &mut Value,
    ) -> Result<Arc<Object>, Error> {
        self.write(resource, key, value, None)
    }

    /// Stores another state of an object that still has the revision `seen`; sets `metadata.resourceVersion` in it.
    pub fn update(
        &self,
        resource: &str,
        key: &str,
        value: &mut Value,
        seen: u64,
    ) -> Result<Arc<Object>, Error> {
        self.write(resource, key, value, Some(seen))
    }

    fn write(
        &self,
        resource: &str,
        key: &str,
        value: &mut Value,
        seen: Option<u64>,
    ) -> Result<Arc<Object>, Error> {
        let labels = meta::labels_of(value);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let began = state.began;
        let revision = state.revision + 1;
        let before =
            state.resources.get(resource).and_then(|resource| resource.objects.get(key)).cloned();
        match (&before, seen) {
            (Some(before), None) => return Err(Error::Exists(before.key.clone())),
            (None, Some(_)) => return Err(Error::Missing(key.into())),
            (Some(before), Some(seen)) if before.revision != seen => {
                return Err(Error::Changed(key.into()));
            }
            _ => {}
        }
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let (body, fields) = meta::write(value);
        if let Some(log) = &mut state.log {
            log.append(&frame::Record {
                revision,
                resource: resource.into(),
                key: key.into(),
                body: Some(body.clone()),
            })?;
        }
        state.revision = revision;
        let name: Arc<str> =
            before.as_ref().map_or_else(|| Arc::from(key), |before| before.key.clone());
        let object = Arc::new(Object { key: name.clone(), revision, body, labels, fields });
        let resource = resource_mut(&mut state.resources, resource, began);
        resource.objects.insert(name, object.clone());
        let change = if before.is_some() { Change::Modified } else { Change::Added };
        resource.record(Event { change, object: object.clone(), before });
        self.compact_when_worth_it(state);
        Ok(object)
    }

    /// Removes an object that still has the revision `seen`. Returns its last state at the revision of the deletion.
    pub fn delete(&self, resource: &str, key: &str, seen: u64) -> Result<Arc<Object>, Error> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let began = state.began;
        let revision = state.revision + 1;
        let before =
            state.resources.get(resource).and_then(|resource| resource.objects.get(key)).cloned();
        let before = before.ok_or_else(|| Error::Missing(key.into()))?;
        if before.revision != seen {
            return Err(Error::Changed(key.into()));
        }
        if let Some(log) = &mut state.log {
            log.append(&frame::Record {
                revision,
                resource: resource.into(),
                key: key.into(),
                body: None,
            })?;
        }
        state.revision = revision;
        let last = restamped(&before, revision);
        let resource = resource_mut(&mut state.resources, resource, began);
        resource.objects.remove(key);
        resource.record(Event {
            change: Change::Deleted,
            object: last.clone(),
            before: Some(before),
        });
        self.compact_when_worth_it(state);
        Ok(last)
    }

    fn compact_when_worth_it(&self, state: &mut State) {
        let Some(log) = &mut state.log else { return };
        if !log.wants_compaction() {
            return;
        }
        let objects: Vec<(Arc<str>, Arc<Object>)> = state
            .resources
            .iter()
            .flat_map(|(name, resource)| {
                resource.objects.values().map(|object| (name.clone(), object.clone()))
            })
            .collect();
        log.compact(state.revision, objects);
    }
}

/// The same state under another revision, as the last event of an object shows it.
pub fn restamped(object: &Object, revision: u64) -> Arc<Object> {
    let mut value = object.value();
    value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    let (body, fields) = meta::write(&value);
    let (key, labels) = (object.key.clone(), object.labels.clone());
    Arc::new(Object { key, revision, body, labels, fields })
}

fn resource_mut<'a>(
    resources: &'a mut HashMap<Arc<str>, Resource>,
    name: &str,
    began: u64,
) -> &'a mut Resource {
    if !resources.contains_key(name) {
        resources.insert(Arc::from(name), Resource::new(began));
    }
    resources.get_mut(name).expect("inserted above")
}

fn range<'a>(
    objects: &'a BTreeMap<Arc<str>, Arc<Object>>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a Arc<Object>> {
    objects
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, object)| object)
}

#[cfg(test)]
mod tests;
