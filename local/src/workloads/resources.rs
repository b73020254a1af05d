//! The kinds that the controllers name, and the requests that change objects of any kind.
//!
//! Pure: a [`Write`] is a value; the engine sends it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::objects::{Key, Meta, Uid};

/// A kind of object as it is addressed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(Arc<Names>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names {
    group: Box<str>,
    version: Box<str>,
    plural: Box<str>,
    kind: Box<str>,
    is_namespaced: bool,
}

impl Resource {
    pub fn new(group: &str, version: &str, plural: &str, kind: &str, is_namespaced: bool) -> Self {
        Self(Arc::new(Names {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            kind: kind.into(),
            is_namespaced,
        }))
    }

    pub fn group(&self) -> &str {
        &self.0.group
    }

    pub fn version(&self) -> &str {
        &self.0.version
    }

    pub fn plural(&self) -> &str {
        &self.0.plural
    }

    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    pub fn is_namespaced(&self) -> bool {
        self.0.is_namespaced
    }

    /// `v1`, `apps/v1` and so on.
    pub fn api_version(&self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The path of the collection, in `namespace` when it is not empty and the kind has namespaces.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group().is_empty() { "/api/" } else { "/apis/" };
        let place = match namespace {
            _ if !self.is_namespaced() => String::new(),
            "" => String::new(),
            namespace => format!("namespaces/{namespace}/"),
        };
        format!("{root}{}/{place}{}", self.api_version(), self.plural())
    }
}

/// The kinds with a plan, by their names in a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    Endpoints,
    Slice,
    Deployment,
    ReplicaSet,
    Job,
    Budget,
    Quota,
    Horizontal,
    Definition,
    ServiceAccount,
    ConfigMap,
    Event,
}

impl Kind {
    /// The kinds whose objects are remembered with more than their metadata.
    pub const PLANNED: [Self; 13] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::Endpoints,
        Self::Slice,
        Self::Deployment,
        Self::ReplicaSet,
        Self::Job,
        Self::Budget,
        Self::Quota,
        Self::Horizontal,
        Self::Definition,
    ];

    /// The planned kinds, and those that are only made.
    pub const ALL: [Self; 16] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::Endpoints,
        Self::Slice,
        Self::Deployment,
        Self::ReplicaSet,
        Self::Job,
        Self::Budget,
        Self::Quota,
        Self::Horizontal,
        Self::Definition,
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Event,
    ];

    /// True when objects of `resource` are of this kind.
    pub fn is(self, resource: &Resource) -> bool {
        let (group, plural, ..) = self.names();
        resource.group() == group && resource.plural() == plural
    }

    pub fn resource(self) -> Resource {
        let (group, plural, kind, is_namespaced) = self.names();
        let version = if self == Self::Horizontal { "v2" } else { "v1" };
        Resource::new(group, version, plural, kind, is_namespaced)
    }

    fn names(self) -> (&'static str, &'static str, &'static str, bool) {
        match self {
            Self::Namespace => ("", "namespaces", "Namespace", false),
            Self::Node => ("", "nodes", "Node", false),
            Self::Pod => ("", "pods", "Pod", true),
            Self::Service => ("", "services", "Service", true),
            Self::Endpoints => ("", "endpoints", "Endpoints", true),
            Self::Slice => ("discovery.k8s.io", "endpointslices", "EndpointSlice", true),
            Self::Deployment => ("apps", "deployments", "Deployment", true),
            Self::ReplicaSet => ("apps", "replicasets", "ReplicaSet", true),
            Self::Job => ("batch", "jobs", "Job", true),
            Self::Budget => ("policy", "poddisruptionbudgets", "PodDisruptionBudget", true),
            Self::Quota => ("", "resourcequotas", "ResourceQuota", true),
            Self::Horizontal => {
                ("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true)
            }
            Self::Definition => (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "CustomResourceDefinition",
                false,
            ),
            Self::ServiceAccount => ("", "serviceaccounts", "ServiceAccount", true),
            Self::ConfigMap => ("", "configmaps", "ConfigMap", true),
            Self::Event => ("", "events", "Event", true),
        }
    }
}

/// The part of an object that a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
}

/// One request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Create {
        resource: Resource,
        namespace: Arc<str>,
        body: Value,
    },
    /// A JSON merge patch.
    Merge {
        resource: Resource,
        key: Key,
        part: Part,
        body: Value,
    },
    /// Deletes that very object.
    Delete {
        resource: Resource,
        key: Key,
        uid: Uid,
        with: Deletion,
    },
}

impl Write {
    /// Deletes the object of `meta` as its kind does by default, what depends on it afterwards.
    pub fn delete(kind: Kind, meta: &Meta) -> Self {
        Self::Delete {
            resource: kind.resource(),
            key: meta.key.clone(),
            uid: meta.uid.clone(),
            with: Deletion::Background,
        }
    }
}

/// How an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Its dependents go afterwards.
    Background,
    /// Its dependents go first.
    Foreground,
    /// Its dependents stay.
    Orphan,
    /// At once, without the time to end in peace.
    Force,
}

/// What a controller wants done about one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Independent of each other; sent together.
    pub writes: Vec<Write>,
    /// Sent after `writes` succeeded.
    pub status: Option<Write>,
    /// How much later the status may be written, with what else happens until then.
    pub status_wait: Duration,
    /// Events to record about the object.
    pub notes: Vec<Note>,
    /// When to plan again although nothing happened.
    pub again: Option<jiff::Timestamp>,
    /// The plan cannot be made without the pod template: read the object and plan again.
    pub needs_template: bool,
}

impl Plan {
    /// Plans again at `moment`, or earlier if something else asks for it.
    pub fn again_at(&mut self, moment: jiff::Timestamp) {
        self.again = Some(self.again.map_or(moment, |it| it.min(moment)));
    }
}

/// How long the status of what runs pods may wait while it tells only of pods that are not ready yet: their machine has
/// better to do, and when they are ready most of what there was to tell is not true any more.
const PODS_WAIT: Duration = Duration::from_millis(500);
/// The same where the status also tells that a change was seen, for which `kubectl rollout status` waits.
const CHANGE_WAIT: Duration = Duration::from_millis(100);

/// How long a status may wait that follows another: counts of wanted pods, and before and after of those that are ready
/// and available and of the generation that was seen.
pub fn status_wait(
    wanted: i32,
    ready: [Option<i32>; 2],
    available: [Option<i32>; 2],
    seen: [Option<i64>; 2],
) -> Duration {
    let changes = |[before, after]: [Option<i32>; 2]| after.unwrap_or(0) != before.unwrap_or(0);
    if ready[1].unwrap_or(0) >= wanted || changes(ready) || changes(available) {
        return Duration::ZERO;
    }
    if seen[0] == seen[1] { PODS_WAIT } else { CHANGE_WAIT }
}

/// An event for people, about the object that was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub is_warning: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    pub fn normal(reason: &'static str, message: String) -> Self {
        Self { is_warning: false, reason, message }
    }
}

/// An owner reference to the controller of a new object.
pub fn controller_reference(kind: Kind, owner: &Meta) -> Value {
    let resource = kind.resource();
    json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind(),
        "name": &*owner.key.name,
        "uid": &*owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A status as a merge patch: what `keys` name and the status lacks is removed.
pub fn status_patch(status: &impl serde::Serialize, keys: &[&str]) -> Value {
    let mut status = serde_json::to_value(status).expect("a status has text keys only");
    if let Some(fields) = status.as_object_mut() {
        for key in keys {
            fields.entry(*key).or_insert(Value::Null);
        }
    }
    json!({ "status": status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_waits_for_is_told_at_once() {
        let check = |wanted, ready: [i32; 2], available: [i32; 2], seen: [i64; 2], expected| {
            let found = status_wait(wanted, ready.map(Some), available.map(Some), seen.map(Some));
            assert_eq!(found, expected, "{wanted} {ready:?} {available:?} {seen:?}");
        };
        check(1, [0, 0], [0, 0], [1, 1], PODS_WAIT);
        check(1, [0, 0], [0, 0], [1, 2], CHANGE_WAIT);
        check(3, [2, 1], [2, 1], [1, 1], Duration::ZERO);
        check(3, [2, 2], [2, 2], [1, 1], PODS_WAIT);
        check(3, [1, 2], [1, 1], [1, 1], Duration::ZERO);
        check(3, [2, 2], [1, 2], [1, 1], Duration::ZERO);
        check(0, [1, 0], [1, 0], [1, 2], Duration::ZERO);
        check(1, [2, 2], [2, 2], [1, 2], Duration::ZERO);
    }
}
