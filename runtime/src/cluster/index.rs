//! Finds the objects of a cache by terms of the caller's choice: who refers to this name?

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Key, Kind, cache::Cache};

/// Objects of one kind by namespace and term. Clones share it. Kept current by the cache, before
/// whoever listens to the cache from then on hears of a change.
pub struct Index<K> {
    cache: Cache<K>,
    keys: Arc<Mutex<Terms>>,
}

type Terms = HashMap<(Arc<str>, String), BTreeSet<Key>>;

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Index { cache: self.cache.clone(), keys: self.keys.clone() }
    }
}

impl<K: Kind> Index<K> {
    /// Indexes what is in `cache` and what comes. `terms` may name a term twice.
    pub fn new(cache: &Cache<K>, terms: fn(&K) -> Vec<String>) -> Index<K> {
        let keys: Arc<Mutex<Terms>> = Arc::default();
        let shared = keys.clone();
        cache.on_change(move |change| {
            let mut shared = shared.lock();
            if let Some(old) = change.old {
                let key = Key::of(&**old);
                for term in terms(old) {
                    let place = (key.namespace.clone(), term);
                    if let Some(keys) = shared.get_mut(&place) {
                        keys.remove(&key);
                        if keys.is_empty() {
                            shared.remove(&place);
                        }
                    }
                }
            }
            if let Some(new) = change.new {
                let key = Key::of(&**new);
                for term in terms(new) {
                    shared.entry((key.namespace.clone(), term)).or_default().insert(key.clone());
                }
            }
        });
        Index { cache: cache.clone(), keys }
    }

    /// Keys of the objects of a namespace that have the term, by name.
    pub fn keys(&self, namespace: &str, term: &str) -> Vec<Key> {
        let keys = self.keys.lock();
        let found = keys.get(&(namespace.into(), term.to_owned()));
        found.into_iter().flatten().cloned().collect()
    }

    /// The objects of a namespace that have the term, by name.
    pub fn get(&self, namespace: &str, term: &str) -> Vec<Arc<K>> {
        self.keys(namespace, term).iter().filter_map(|key| self.cache.at(key)).collect()
    }
}
