//! Objects of any kind that others refer to, followed for as long as somebody does.
//!
//! A watch of a kind begins when the first object refers to one of the kind and ends when nobody does. Of what it brings
//! only that is kept which matters to those who refer to it, and only when that changes are they planned again.
//! Source: knative.dev/pkg `tracker`, `apis/duck`.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use futures::StreamExt;
use kube::{
    core::ApiResource,
    runtime::watcher::{self, Event},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    cluster::{
        Cluster, Key,
        raw::{self, Raw},
    },
    plan::Plan,
    queue::Queue,
};

pub mod object;

use object::Object;

/// Kinds that are watched at a time because something refers to them: each costs a connection and memory, and who may write
/// a reference could name any kind. A cluster has a few dozen that can take events.
const KINDS: usize = 64;

/// A kind of objects, as a reference names it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKind {
    /// Group and version, or the version alone for the core group.
    pub api_version: String,
    /// The name of the kind.
    pub kind: String,
}

/// What is seen of the object that a reference names.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is there.
    Here(Arc<Object>),
    /// It is not, nor perhaps its kind.
    Missing,
    /// The API does not let this process see it; why.
    Hidden(String),
}

/// Finds what objects refer to.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The object of a kind with that key.
    pub object: &'a dyn Fn(&ObjectKind, &Key) -> Found,
    /// The objects of a kind in a namespace, by name.
    pub objects: &'a dyn Fn(&ObjectKind, &str) -> Vec<Arc<Object>>,
}

/// The references of the objects that one controller plans. Clones share them.
#[derive(Clone)]
pub struct References {
    cluster: Cluster,
    controller: usize,
}

/// What is followed in a process: see [`References`].
#[derive(Default)]
pub(crate) struct State {
    kinds: HashMap<ObjectKind, Followed>,
    /// What each object referred to when it was planned last.
    looked_up: HashMap<Referrer, BTreeSet<Place>>,
    /// Where each controller's keys are planned.
    queues: Vec<Arc<Queue<Key>>>,
}

/// An object that refers to others: its controller and its key.
type Referrer = (usize, Key);
/// What is referred to; with an empty name all of a namespace.
type Place = (ObjectKind, Key);

struct Followed {
    objects: BTreeMap<Key, Arc<Object>>,
    sight: Sight,
    referrers: HashMap<Key, HashSet<Referrer>>,
    /// Ends the watch.
    _watch: Option<DropGuard>,
}

/// How far a watch has come.
enum Sight {
    /// Nothing is known yet.
    Waiting,
    /// What is not here does not exist.
    Clear,
    /// Nothing can be seen, and why.
    Hidden(String),
}

impl ObjectKind {
    /// The kind of that name in a group and version such as `apps/v1`.
    pub fn new(api_version: &str, kind: &str) -> ObjectKind {
        ObjectKind { api_version: api_version.to_owned(), kind: kind.to_owned() }
    }

    /// The group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// The kind's name in paths, guessed from its own as everybody does.
    /// Source: Kubernetes `apimachinery/pkg/api/meta/restmapper.go`, `UnsafeGuessKindToResource`.
    pub fn plural(&self) -> String {
        let single = self.kind.to_lowercase();
        if single.ends_with("endpoints") {
            return single;
        }
        match single.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None if single.ends_with('s') => format!("{single}es"),
            None => format!("{single}s"),
        }
    }

    /// The plural and the group, as errors of the API name a kind.
    pub fn resource(&self) -> String {
        match self.group() {
            "" => self.plural(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// The kind as a client of the API wants it.
    pub fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group().to_owned(),
            version: self.version().to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural(),
        }
    }
}

impl fmt::Debug for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version, self.kind)
    }
}

impl References {
    /// The references of the objects whose keys `queue` holds.
    pub fn new(cluster: &Cluster, queue: &Arc<Queue<Key>>) -> References {
        let mut state = cluster.tracked().lock();
        state.queues.push(queue.clone());
        References { cluster: cluster.clone(), controller: state.queues.len() - 1 }
    }

    /// Plans the object `key`, and again whenever something changes that `plan` looked up; what it looked up the last time
    /// and not now is let go. While something that it looked up is not known yet, nothing is planned.
    pub fn plan<N>(&self, key: &Key, plan: impl FnOnce(Lookup) -> Plan<N>) -> Plan<N> {
        let referrer = (self.controller, key.clone());
        let looked_up = RefCell::new(BTreeSet::new());
        let is_known = Cell::new(true);
        let look_up = |kind: &ObjectKind, key: &Key| {
            let mut state = self.cluster.tracked().lock();
            looked_up.borrow_mut().insert((kind.clone(), key.clone()));
            let followed = state.follow(&self.cluster, kind, key, &referrer);
            let objects: Vec<Arc<Object>> = match &*key.name {
                "" => {
                    let of = |it: &&Arc<Object>| it.key.namespace == key.namespace;
                    followed.objects.values().filter(of).cloned().collect()
                }
                _ => followed.objects.get(key).cloned().into_iter().collect(),
            };
            let hidden = match &followed.sight {
                Sight::Waiting => {
                    is_known.set(false);
                    None
                }
                Sight::Clear => None,
                Sight::Hidden(why) => Some(why.clone()),
            };
            (objects, hidden)
        };
        let lookup = Lookup {
            object: &|kind, key| match look_up(kind, key) {
                (_, Some(why)) => Found::Hidden(why),
                (mut objects, None) => objects.pop().map_or(Found::Missing, Found::Here),
            },
            objects: &|kind, namespace| look_up(kind, &Key::new(namespace, "")).0,
        };
        let plan = plan(lookup);
        self.cluster.tracked().lock().settle(referrer, looked_up.into_inner());
        if is_known.get() { plan } else { Plan::nothing() }
    }
}

impl State {
    /// Notes that `referrer` refers to a place, and begins to watch its kind if nobody does yet.
    fn follow(
        &mut self,
        cluster: &Cluster,
        kind: &ObjectKind,
        key: &Key,
        referrer: &Referrer,
    ) -> &mut Followed {
        let is_full = self.kinds.len() >= KINDS;
        let followed = self.kinds.entry(kind.clone()).or_insert_with(|| {
            let mut followed = Followed {
                objects: BTreeMap::new(),
                sight: Sight::Waiting,
                referrers: HashMap::new(),
                _watch: None,
            };
            if is_full {
                followed.sight = Sight::Hidden(format!(
                    "objects of {KINDS} kinds are referred to already; refer to fewer kinds"
                ));
            } else {
                let stop = CancellationToken::new();
                followed._watch = Some(stop.clone().drop_guard());
                cluster.spawn(watch(cluster.clone(), kind.clone(), stop));
            }
            followed
        });
        followed.referrers.entry(key.clone()).or_default().insert(referrer.clone());
        followed
    }

    /// Lets go what `referrer` does not refer to any more.
    fn settle(&mut self, referrer: Referrer, looked_up: BTreeSet<Place>) {
        let before = self.looked_up.remove(&referrer).unwrap_or_default();
        for (kind, key) in before.difference(&looked_up) {
            let Some(followed) = self.kinds.get_mut(kind) else { continue };
            if let Some(referrers) = followed.referrers.get_mut(key) {
                referrers.remove(&referrer);
                if referrers.is_empty() {
                    followed.referrers.remove(key);
                }
            }
            if followed.referrers.is_empty() {
                self.kinds.remove(kind);
            }
        }
        if !looked_up.is_empty() {
            self.looked_up.insert(referrer, looked_up);
        }
    }

    /// Takes in what is seen of an object, and plans those who refer to it if it is something new to them.
    fn saw(&mut self, kind: &ObjectKind, key: &Key, object: Option<Object>) {
        let Some(followed) = self.kinds.get_mut(kind) else { return };
        match object {
            Some(object) => {
                let object = Arc::new(object);
                // The answer to a write may have come first.
                if followed.objects.get(key).is_some_and(|it| object.is_older_than(it)) {
                    return;
                }
                let before = followed.objects.insert(key.clone(), object.clone());
                if before.is_some_and(|it| it.says_the_same(&object)) {
                    return;
                }
            }
            None => {
                if followed.objects.remove(key).is_none() {
                    return;
                }
            }
        }
        let all = Key::new(&key.namespace, "");
        for referrers in [key, &all].into_iter().filter_map(|it| followed.referrers.get(it)) {
            plan_again(&self.queues, referrers);
        }
    }

    /// Takes in how far a watch has come, and plans all who refer to the kind if that is new.
    fn sees(&mut self, kind: &ObjectKind, sight: Sight) {
        let Some(followed) = self.kinds.get_mut(kind) else { return };
        let is_news = match (&followed.sight, &sight) {
            (Sight::Clear, Sight::Clear) => false,
            (Sight::Hidden(before), Sight::Hidden(now)) => before != now,
            _ => true,
        };
        followed.sight = sight;
        if is_news {
            for referrers in followed.referrers.values() {
                plan_again(&self.queues, referrers);
            }
        }
    }

    /// The objects of a kind that are not among those listed.
    fn left_over(&self, kind: &ObjectKind, listed: &HashSet<Key>) -> Vec<Key> {
        let keys = self.kinds.get(kind).into_iter().flat_map(|it| it.objects.keys());
        keys.filter(|it| !listed.contains(*it)).cloned().collect()
    }
}

/// Shows an object that this process has just changed to those who refer to it, before the watch brings it. One that is
/// not there yet, or not any more, is left to the watch.
pub(crate) fn wrote(cluster: &Cluster, text: &str) -> serde_json::Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Type {
        api_version: String,
        kind: String,
    }
    let Type { api_version, kind } = serde_json::from_str(text)?;
    let object = Object::read(text)?;
    let (kind, key) = (ObjectKind { api_version, kind }, object.key.clone());
    let mut state = cluster.tracked().lock();
    let known = state.kinds.get(&kind).and_then(|it| it.objects.get(&key));
    if known.is_some_and(|it| it.uid == object.uid) {
        state.saw(&kind, &key, Some(object));
    }
    Ok(())
}

fn plan_again(queues: &[Arc<Queue<Key>>], referrers: &HashSet<Referrer>) {
    for (controller, key) in referrers {
        queues[*controller].add(key.clone());
    }
}

/// Follows a kind until nobody refers to it.
async fn watch(cluster: Cluster, kind: ObjectKind, stop: CancellationToken) {
    let config = watcher::Config::default();
    let mut events = raw::watch(cluster.client().clone(), &kind.api_resource(), None, config);
    let mut listed = HashSet::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        let Some(event) = event else { return };
        let mut state = cluster.tracked().lock();
        // A new watch of the kind may have begun between this one's end and its being told.
        if stop.is_cancelled() {
            return;
        }
        let take = |state: &mut State, raw: &Raw, is_there: bool| {
            let object = Object::read(raw.text());
            let object =
                object.inspect_err(|error| tracing::warn!(?kind, %error, "read an object"));
            let object = object.ok()?;
            let key = object.key.clone();
            state.saw(&kind, &key, is_there.then_some(object));
            Some(key)
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(raw)) => listed.extend(take(&mut state, &raw, true)),
            Ok(Event::Apply(raw)) => drop(take(&mut state, &raw, true)),
            Ok(Event::Delete(raw)) => drop(take(&mut state, &raw, false)),
            Ok(Event::InitDone) => {
                for key in state.left_over(&kind, &listed) {
                    state.saw(&kind, &key, None);
                }
                listed = HashSet::new();
                state.sees(&kind, Sight::Clear);
            }
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                if status.code == 404 =>
            {
                tracing::debug!(?kind, "something refers to a kind that does not exist");
                state.sees(&kind, Sight::Clear);
            }
            Err(error) => {
                tracing::warn!(?kind, %error, "watch failed; trying again");
                if let Some(Followed { sight: Sight::Waiting | Sight::Hidden(_), .. }) =
                    state.kinds.get(&kind)
                {
                    state.sees(&kind, Sight::Hidden(error.to_string()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
