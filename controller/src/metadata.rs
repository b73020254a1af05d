//! Labels and annotations: how they are read, filtered and handed on.
//!
//! Pure: maps in, maps out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// Where `kubectl apply` keeps its copy of an object; never handed on.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The value of a label or annotation; empty where there is none.
pub fn get<'a>(map: &'a Option<Map>, key: &str) -> &'a str {
    map.as_ref().and_then(|map| map.get(key)).map_or("", String::as_str)
}

/// The value of the first of the spellings of a key that is there.
pub fn first<'a>(map: &'a Option<Map>, keys: &[&str]) -> Option<&'a str> {
    let map = map.as_ref()?;
    keys.iter().find_map(|key| map.get(*key)).map(String::as_str)
}

/// The entries whose keys are not excluded.
pub fn without(map: &Option<Map>, is_excluded: impl Fn(&str) -> bool) -> Map {
    let entries = map.iter().flatten().filter(|(key, _)| !is_excluded(key));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// `map` with `entries` put over it.
pub fn with<'a>(mut map: Map, entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Map {
    for (key, value) in entries {
        map.insert(key.to_owned(), value.to_owned());
    }
    map
}

/// `over` put over `under`.
pub fn union(under: &Option<Map>, over: &Option<Map>) -> Option<Map> {
    let mut map = under.clone().unwrap_or_default();
    map.extend(over.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    some(map)
}

/// Nothing for no entries, as Kubernetes keeps it.
pub fn some(map: Map) -> Option<Map> {
    (!map.is_empty()).then_some(map)
}

/// Whether both hold the same; absent is empty.
pub fn same(one: &Option<Map>, other: &Option<Map>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        (None, None) => true,
        (Some(map), None) | (None, Some(map)) => map.is_empty(),
    }
}

/// The parts of an annotation that is a list with commas; sorted, unique.
pub fn list(map: &Option<Map>, key: &str) -> BTreeSet<String> {
    get(map, key).split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The list as such an annotation.
pub fn joined(list: &BTreeSet<String>) -> String {
    list.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Whether the object is on its way out.
pub fn is_deleted(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The object's name; objects from the API have one.
pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The object's namespace; empty where its kind has none.
pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// The object's UID; objects from the API have one.
pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}
