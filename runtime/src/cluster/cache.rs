//! What this process has seen of one kind of objects, kept current by a watch.
//!
//! Objects are slim: without `managedFields` and without the copy of the object that `kubectl apply`
//! leaves in an annotation. So an object from a cache may be written back only where the writer owns
//! its annotations.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use futures::StreamExt;
use kube::{Client, ResourceExt, runtime::watcher};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::{Key, Kind, raw};

/// The annotation that is left out.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Deleted objects that are remembered: more than can be deleted while one write is answered.
const BURIED: usize = 256;

/// The objects of a kind. Clones share them.
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

/// An object changed; at least one of the two is there.
pub struct Change<'a, K> {
    /// The object before; absent when it is new.
    pub old: Option<&'a Arc<K>>,
    /// The object now; absent when it was deleted.
    pub new: Option<&'a Arc<K>>,
}

/// Keys of the objects that changed since they were last asked for. Keeps each key once, so it is as
/// bounded as the set of keys, and loses none.
pub struct Changes {
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    keys: Mutex<BTreeSet<Key>>,
    more: Notify,
}

struct Shared<K> {
    state: RwLock<State<K>>,
    /// Told of each change, in the order of changes, while `turn` is held.
    listeners: RwLock<Vec<Listener<K>>>,
    /// Held by who changes the state until all listeners have heard of it.
    turn: Mutex<()>,
    synced: watch::Sender<bool>,
}

type Listener<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
type Names<K> = BTreeMap<Arc<str>, Arc<K>>;
/// By namespace and value of one label.
type LabelIndex = HashMap<(Arc<str>, String), BTreeSet<Key>>;

struct State<K> {
    /// UIDs of the objects deleted last: an answer to a write may come after the news that the object
    /// is gone.
    gone: VecDeque<String>,
    objects: BTreeMap<Arc<str>, Names<K>>,
    /// By UID of the controlling owner.
    owned: HashMap<String, BTreeSet<Key>>,
    /// By label, namespace and value, for labels that somebody asked for.
    labelled: HashMap<&'static str, LabelIndex>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache { shared: self.shared.clone() }
    }
}

impl<K: Kind> Cache<K> {
    pub(super) fn new() -> Cache<K> {
        Cache {
            shared: Arc::new(Shared {
                state: RwLock::new(State {
                    gone: VecDeque::new(),
                    objects: BTreeMap::new(),
                    owned: HashMap::new(),
                    labelled: HashMap::new(),
                }),
                listeners: RwLock::default(),
                turn: Mutex::default(),
                synced: watch::Sender::new(false),
            }),
        }
    }

    /// The object of that name; for kinds without namespaces, `namespace` is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.state.read().get(namespace, name)
    }

    /// The object with that key.
    pub fn at(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// All objects of a namespace, by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        state.objects.get(namespace).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.shared.state.read().objects.is_empty()
    }

    /// Objects whose controlling owner has that UID, by name.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let keys = state.owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| state.get(&key.namespace, &key.name)).collect()
    }

    /// Objects of a namespace whose label has that value, by name. The first question about a label
    /// builds an index of it, so ask for few labels.
    pub fn labelled(&self, namespace: &str, label: &'static str, value: &str) -> Vec<Arc<K>> {
        let find = |state: &State<K>| -> Option<Vec<Arc<K>>> {
            let index = state.labelled.get(label)?;
            let keys = index.get(&(namespace.into(), value.to_owned())).into_iter().flatten();
            Some(keys.filter_map(|key| state.get(&key.namespace, &key.name)).collect())
        };
        if let Some(found) = find(&self.shared.state.read()) {
            return found;
        }
        let mut state = self.shared.state.write();
        state.index(label);
        find(&state).expect("the label is indexed now")
    }

    /// Calls `listener` with each change from now on, and with each object that is here already. It
    /// runs while the cache waits: it must be quick and must not write to the cache.
    pub fn on_change(&self, listener: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let _turn = self.shared.turn.lock();
        for object in self.all() {
            listener(&Change { old: None, new: Some(&object) });
        }
        self.shared.listeners.write().push(Box::new(listener));
    }

    /// Keys of the objects that change from now on, and those of all that are here already.
    pub fn changes(&self) -> Changes {
        let changes = Changes { pending: Arc::default() };
        changes.also(self);
        changes
    }

    /// Waits until the cache holds what the API held when it was started. Endless when the API never
    /// answers; the caller bounds it.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives as long as this cache.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Whether [`Cache::synced`] would return at once.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    pub(super) fn wrote(&self, object: K) {
        let _turn = self.shared.turn.lock();
        let is_gone = {
            let state = self.shared.state.read();
            object.meta().uid.as_ref().is_some_and(|uid| state.gone.contains(uid))
        };
        if !is_gone {
            self.put(object);
        }
    }

    /// Follows the API for ever.
    pub(super) async fn watch(self, client: Client, labels: &str, fields: &str) {
        let mut config = watcher::Config::default();
        if !labels.is_empty() {
            config = config.labels(labels);
        }
        if !fields.is_empty() {
            config = config.fields(fields);
        }
        let mut events = raw::watch_kind::<K>(client, None, config);
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            let _turn = self.shared.turn.lock();
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.insert(Key::of(&object));
                    self.put(object);
                }
                Ok(watcher::Event::InitDone) => {
                    self.keep(&std::mem::take(&mut listed));
                    self.shared.synced.send_replace(true);
                }
                Ok(watcher::Event::Apply(object)) => self.put(object),
                Ok(watcher::Event::Delete(object)) => self.remove(&object),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch failed; trying again");
                }
            }
        }
    }

    /// Stores an object unless the cache has a newer one.
    fn put(&self, mut object: K) {
        slim(&mut object);
        let key = Key::of(&object);
        let new = Arc::new(object);
        let old = {
            let mut state = self.shared.state.write();
            let old = state.get(&key.namespace, &key.name);
            if old.as_ref().is_some_and(|old| !is_newer(&*new, &**old)) {
                return;
            }
            state.put(&key, new.clone());
            old
        };
        self.tell(&Change { old: old.as_ref(), new: Some(&new) });
    }

    fn remove(&self, object: &K) {
        let key = Key::of(object);
        let old = {
            let mut state = self.shared.state.write();
            // A new object of that name may have been written since.
            match state.get(&key.namespace, &key.name) {
                Some(old) if old.meta().uid == object.meta().uid => {
                    state.bury(object.meta().uid.clone());
                    state.remove(&key)
                }
                _ => return,
            }
        };
        self.tell(&Change { old: old.as_ref(), new: None });
    }

    /// Removes what was not listed.
    fn keep(&self, listed: &BTreeSet<Key>) {
        let gone: Vec<Arc<K>> =
            self.all().into_iter().filter(|it| !listed.contains(&Key::of(&**it))).collect();
        for object in gone {
            self.remove(&object);
        }
    }

    fn tell(&self, change: &Change<K>) {
        for listener in self.shared.listeners.read().iter() {
            listener(change);
        }
    }
}

impl<K> Change<'_, K> {
    /// The object now or, when it was deleted, as it was last.
    pub fn last(&self) -> &Arc<K> {
        self.new.or(self.old).expect("a change has one of the two")
    }
}

impl Changes {
    /// Takes keys of another kind's changes too; the key alone does not say of which kind it is.
    pub fn also<K: Kind>(&self, cache: &Cache<K>) {
        let pending = self.pending.clone();
        cache.on_change(move |change| {
            if pending.keys.lock().insert(Key::of(&**change.last())) {
                pending.more.notify_one();
            }
        });
    }

    /// Waits for changes; returns all since the last call, each key once, in order.
    pub async fn next(&mut self) -> BTreeSet<Key> {
        loop {
            let more = self.pending.more.notified();
            let keys = std::mem::take(&mut *self.pending.keys.lock());
            if !keys.is_empty() {
                return keys;
            }
            more.await;
        }
    }
}

impl<K: Kind> State<K> {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.get(namespace)?.get(name).cloned()
    }

    fn put(&mut self, key: &Key, object: Arc<K>) {
        self.remove(key);
        if let Some(uid) = owner_uid(&*object) {
            self.owned.entry(uid.to_owned()).or_default().insert(key.clone());
        }
        for (label, index) in &mut self.labelled {
            if let Some(value) = object.labels().get(*label) {
                let place = (key.namespace.clone(), value.clone());
                index.entry(place).or_default().insert(key.clone());
            }
        }
        self.objects.entry(key.namespace.clone()).or_default().insert(key.name.clone(), object);
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let names = self.objects.get_mut(&key.namespace)?;
        let object = names.remove(&key.name)?;
        if names.is_empty() {
            self.objects.remove(&key.namespace);
        }
        if let Some(uid) = owner_uid(&*object)
            && let Some(keys) = self.owned.get_mut(uid)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(uid);
            }
        }
        for (label, index) in &mut self.labelled {
            if let Some(value) = object.labels().get(*label) {
                let place = (key.namespace.clone(), value.clone());
                if let Some(keys) = index.get_mut(&place) {
                    keys.remove(key);
                    if keys.is_empty() {
                        index.remove(&place);
                    }
                }
            }
        }
        Some(object)
    }

    fn bury(&mut self, uid: Option<String>) {
        self.gone.extend(uid);
        if self.gone.len() > BURIED {
            self.gone.pop_front();
        }
    }

    fn index(&mut self, label: &'static str) {
        let mut index = LabelIndex::new();
        for object in self.objects.values().flat_map(BTreeMap::values) {
            if let Some(value) = object.labels().get(label) {
                let key = Key::of(&**object);
                index.entry((key.namespace.clone(), value.clone())).or_default().insert(key);
            }
        }
        self.labelled.insert(label, index);
    }
}

fn slim<K: Kind>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations
        && annotations.remove(LAST_APPLIED).is_some()
        && annotations.is_empty()
    {
        meta.annotations = None;
    }
}

/// Whether `new` replaces `old`: resource versions of one kind grow.
fn is_newer<K: Kind>(new: &K, old: &K) -> bool {
    let version = |object: &K| object.resource_version()?.parse::<u64>().ok();
    match (version(new), version(old)) {
        (Some(new), Some(old)) => new > old,
        // An API whose versions are no numbers: the watch's order is all there is.
        _ => true,
    }
}

/// UID of the owner that controls the object.
pub fn owner_uid<K: Kind>(object: &K) -> Option<&str> {
    let owners = object.meta().owner_references.as_deref()?;
    owners.iter().find(|it| it.controller == Some(true)).map(|it| it.uid.as_str())
}
