//! What a reconciler wants done: writes in order, events, and when to look again.
//!
//! Pure: a plan is data. [`crate::reconcile`] carries it out.

use std::{
    convert::Infallible,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    cluster::{Cluster, Key, Kind},
    tracker::{self, ObjectKind, object::Object},
};

/// What should be done about one object. The plan of a settled object is empty.
pub struct Plan<N = Infallible> {
    /// Changes to other objects, carried out in order; the first that fails ends the list.
    pub writes: Vec<Write>,
    /// Changes to the object itself, carried out last, also when `writes` failed: what it says must
    /// follow from what was seen, not from what is planned.
    pub status: Option<Write>,
    /// Carried out in place of `status` when one of `writes` failed, given the API's text.
    pub status_after_failure: Option<AfterFailure>,
    /// Recorded when everything was written.
    pub events: Vec<Event>,
    /// What keeps the object from being as wanted, recorded as an event of reason `InternalError`.
    /// Nothing is retried: a change to what was seen leads to a new plan.
    pub error: Option<String>,
    /// When to plan again though nothing changed.
    pub again: Option<Duration>,
    /// Facts that only I/O gives; the object is planned again when they are there.
    pub need: Vec<N>,
    /// The object, for events.
    pub about: ObjectReference,
}

/// Makes a write of the text of an error.
pub type AfterFailure = Box<dyn Fn(&str) -> Option<Write> + Send + Sync>;

/// What happened to an object, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whether it is bad news.
    pub warning: bool,
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// One request to the API.
pub struct Write {
    /// What is done.
    pub verb: Verb,
    /// The kind of the object.
    pub kind: &'static str,
    /// Where the object is.
    pub key: Key,
    /// JSON: the object, or the merge patch; empty for [`Verb::Delete`].
    pub body: String,
    /// Recorded when the write succeeds.
    pub event: Option<Event>,
    /// Said before the API's text when the write fails: `failed to create deployment "x"`.
    pub context: String,
    /// Recorded with the API's text behind it when the write fails, besides what `context` makes.
    pub failure: Option<Event>,
    pub(crate) path: String,
    pub(crate) uid: Option<String>,
    /// The version that a replacement is of.
    pub(crate) version: Option<String>,
    /// Shows the answer to the cache; returns the object's new version.
    pub(crate) accept: fn(&Cluster, &str) -> serde_json::Result<Option<String>>,
}

/// What a write does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Makes a new object.
    Create,
    /// Replaces the object if it is still the one that was seen.
    Replace,
    /// Changes parts of the object.
    Merge,
    /// Changes parts of the object's status.
    MergeStatus,
    /// Deletes the object if it is still the one that was seen.
    Delete,
}

impl<N> Plan<N> {
    /// A plan that does nothing about `object`.
    pub fn about<K: Kind>(object: &K) -> Plan<N> {
        Plan { about: reference(object), ..Plan::nothing() }
    }

    /// A plan about an object that is not there.
    pub fn nothing() -> Plan<N> {
        Plan {
            writes: Vec::new(),
            status: None,
            status_after_failure: None,
            events: Vec::new(),
            error: None,
            again: None,
            need: Vec::new(),
            about: ObjectReference::default(),
        }
    }

    /// Whether nothing is to be done now.
    pub fn is_settled(&self) -> bool {
        self.writes.is_empty() && self.status.is_none() && self.need.is_empty()
    }

    /// Records good news.
    pub fn normal(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push(Event::normal(reason, message));
    }

    /// Records bad news.
    pub fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push(Event::warning(reason, message));
    }

    /// Asks to be planned again after `delay`, or earlier where that was asked for.
    pub fn again_after(&mut self, delay: Duration) {
        self.again = Some(self.again.map_or(delay, |before| before.min(delay)));
    }

    /// Writes `status` where it differs from the one that `object` has.
    pub fn set_status<K: Kind, S: Serialize + PartialEq + Default>(
        &mut self,
        object: &K,
        before: Option<&S>,
        status: &S,
    ) {
        self.status = status_write(object, before, status);
    }
}

impl Event {
    /// Good news.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Event {
        Event { warning: false, reason, message: message.into() }
    }

    /// Bad news.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Event {
        Event { warning: true, reason, message: message.into() }
    }
}

impl Write {
    /// Makes `object`, which must have a name.
    pub fn create<K: Kind>(object: &K) -> Write {
        Write::new(Verb::Create, object, to_json(object))
    }

    /// Replaces the object from which `object` was made; its `resourceVersion` says which.
    pub fn replace<K: Kind>(object: &K) -> Write {
        debug_assert!(object.meta().resource_version.is_some());
        Write::new(Verb::Replace, object, to_json(object))
    }

    /// Changes parts of `object`: `patch` is a merge patch of the whole object.
    pub fn merge<K: Kind>(object: &K, patch: &Value) -> Write {
        Write::new(Verb::Merge, object, patch.to_string())
    }

    /// Changes parts of the status of `object`: `patch` is a merge patch of the status alone.
    pub fn merge_status<K: Kind>(object: &K, patch: &Value) -> Write {
        let body = serde_json::json!({ "status": patch }).to_string();
        Write::new(Verb::MergeStatus, object, body)
    }

    /// Deletes `object`; what it owns is deleted in the background.
    pub fn delete<K: Kind>(object: &K) -> Write {
        Write::new(Verb::Delete, object, String::new())
    }

    /// Makes `object`, of a kind that is known by its name only; it must have a name and a namespace.
    pub fn create_any(kind: &ObjectKind, key: &Key, object: &Value) -> Write {
        Write::any(Verb::Create, kind, key, object.to_string())
    }

    /// Changes parts of an object of a kind that is known by its name only: `patch` is a merge patch of all of it. It is
    /// refused when the object is not as it was seen any more.
    pub fn merge_any(kind: &ObjectKind, object: &Object, mut patch: Value) -> Write {
        patch["metadata"]["resourceVersion"] = Value::from(object.version.clone());
        Write::any(Verb::Merge, kind, &object.key, patch.to_string())
    }

    /// Deletes an object of a kind that is known by its name only.
    pub fn delete_any(kind: &ObjectKind, object: &Object) -> Write {
        let write = Write::any(Verb::Delete, kind, &object.key, String::new());
        Write { uid: Some(object.uid.clone()), ..write }
    }

    /// Adds the event to record when the write succeeds.
    pub fn with_event(mut self, event: Event) -> Write {
        self.event = Some(event);
        self
    }

    /// Adds what to say when the write fails.
    pub fn with_context(mut self, context: impl Into<String>) -> Write {
        self.context = context.into();
        self
    }

    /// Adds the event to record when the write fails; the API's text is put behind its message.
    pub fn with_failure(mut self, event: Event) -> Write {
        self.failure = Some(event);
        self
    }

    /// Tells this write, of this version of its object, from others.
    pub(crate) fn sum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.path, &self.key, &self.version, &self.body).hash(&mut hasher);
        hasher.finish()
    }

    fn any(verb: Verb, kind: &ObjectKind, key: &Key, body: String) -> Write {
        let kind = kind.api_resource();
        Write {
            verb,
            kind: "object",
            path: kube::core::DynamicObject::url_path(&kind, Some(&key.namespace)),
            key: key.clone(),
            body,
            event: None,
            context: String::new(),
            failure: None,
            uid: None,
            version: None,
            accept: |cluster, text| {
                tracker::wrote(cluster, text)?;
                Ok(None)
            },
        }
    }

    fn new<K: Kind>(verb: Verb, object: &K, body: String) -> Write {
        let key = Key::of(object);
        let namespace = (!key.namespace.is_empty()).then_some(&*key.namespace);
        Write {
            verb,
            kind: kind_name::<K>(),
            path: K::url_path(&(), namespace),
            key,
            body,
            event: None,
            context: String::new(),
            failure: None,
            uid: object.meta().uid.clone(),
            version: object.meta().resource_version.clone(),
            accept: |cluster, text| {
                let object: K = serde_json::from_str(text)?;
                let version = object.meta().resource_version.clone();
                cluster.wrote(object);
                Ok(version)
            },
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {} {}", self.verb, self.kind, self.key, self.body)
    }
}

/// The write that turns the status `before` of `object` into `status`; nothing when they are equal.
pub fn status_write<K: Kind, S: Serialize + PartialEq + Default>(
    object: &K,
    before: Option<&S>,
    status: &S,
) -> Option<Write> {
    let none = S::default();
    let before = before.unwrap_or(&none);
    if before == status {
        return None;
    }
    let value = |status: &S| serde_json::to_value(status).expect("a status is plain data");
    let patch = merge_patch(&value(before), &value(status))?;
    Some(Write::merge_status(object, &patch))
}

/// The reference that events and pod owners carry.
pub fn reference<K: Kind>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        resource_version: meta.resource_version.clone(),
        uid: meta.uid.clone(),
        field_path: None,
    }
}

/// The reference of a child to the object that controls it.
pub fn owner<K: Kind>(object: &K) -> OwnerReference {
    let meta = object.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        block_owner_deletion: Some(true),
        controller: Some(true),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// Whether an object that had the kind and the name of `owner`, and is no more, controls the object:
/// then the garbage collector is about to take it.
pub fn is_left_over<K: Kind, O: Kind>(object: &K, owner: &O) -> bool {
    let found = controller_of(object.meta(), &O::kind(&()));
    found.is_some_and(|it| {
        Some(&it.name) == owner.meta().name.as_ref() && Some(&it.uid) != owner.meta().uid.as_ref()
    })
}

/// Whether `owner` controls the object.
pub fn is_controlled_by<K: Kind, O: Kind>(object: &K, owner: &O) -> bool {
    let uid = crate::cluster::cache::owner_uid(object);
    uid.is_some() && uid == owner.meta().uid.as_deref()
}

/// The owner that controls an object, if it is of that kind.
pub fn controller_of<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    let owners = meta.owner_references.as_deref()?;
    owners.iter().find(|it| it.controller == Some(true) && it.kind == kind)
}

/// The merge patch (RFC 7396) that turns `old` into `new`; nothing when they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(patch))
}

/// The date as Kubernetes keeps it: whole seconds.
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("a part of a valid date")
}

fn to_json<K: Kind>(object: &K) -> String {
    serde_json::to_string(object).expect("objects are plain data")
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_holds_what_differs() {
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null})));
        check(
            json!({"a": {"x": 1, "y": 2}, "l": [1]}),
            json!({"a": {"x": 1, "y": 3}, "l": [1, 2]}),
            Some(json!({"a": {"y": 3}, "l": [1, 2]})),
        );
    }

    #[track_caller]
    fn check(old: Value, new: Value, patch: Option<Value>) {
        assert_eq!(merge_patch(&old, &new), patch);
        if let Some(patch) = patch {
            let mut merged = old;
            apply(&mut merged, &patch);
            assert_eq!(merged, new);
        }
    }

    fn apply(value: &mut Value, patch: &Value) {
        let (Value::Object(value), Value::Object(patch)) = (&mut *value, patch) else {
            *value = patch.clone();
            return;
        };
        for (key, change) in patch {
            match change {
                Value::Null => {
                    value.remove(key);
                }
                _ => apply(value.entry(key).or_insert(Value::Null), change),
            }
        }
    }
}
