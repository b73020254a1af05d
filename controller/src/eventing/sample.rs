//! A cluster of a few objects, for the tests of plans.

use std::sync::Arc;

use api::condition::Condition;
use runtime::{
    cluster::Key,
    plan::Plan,
    tracker::{Found, Lookup, ObjectKind, object::Object},
};
use serde_json::Value;

/// Calls `plan` with a lookup that finds the objects, which are of the namespace `ns`.
pub fn with<R>(objects: &[Value], plan: impl FnOnce(Lookup) -> R) -> R {
    let read = |it: &Value| {
        let mut it = it.clone();
        it["metadata"]["namespace"] = "ns".into();
        let text = |name: &str| it[name].as_str().expect("an object has a type").to_owned();
        let kind = ObjectKind { api_version: text("apiVersion"), kind: text("kind") };
        (kind, Arc::new(Object::read(&it.to_string()).expect("an object can be read")))
    };
    let objects: Vec<(ObjectKind, Arc<Object>)> = objects.iter().map(read).collect();
    let find = |kind: &ObjectKind, key: &Key| {
        let found = objects.iter().find(|(its, object)| its == kind && object.key == *key);
        found.map_or(Found::Missing, |(_, object)| Found::Here(object.clone()))
    };
    let list = |kind: &ObjectKind, namespace: &str| {
        let of =
            |it: &&(ObjectKind, Arc<Object>)| it.0 == *kind && &*it.1.key.namespace == namespace;
        objects.iter().filter(of).map(|it| it.1.clone()).collect()
    };
    plan(Lookup { object: &find, objects: &list })
}

/// The conditions that a plan writes, as `type status reason`, by type.
pub fn conditions(plan: &Plan) -> Vec<String> {
    let status = plan.status.as_ref().expect("the status changes");
    let patch: Value = serde_json::from_str(&status.body).expect("a patch is JSON");
    let conditions = patch["status"]["conditions"].clone();
    let conditions: Vec<Condition> = serde_json::from_value(conditions).expect("conditions");
    let said = |it: &Condition| format!("{} {} {}", it.type_, it.status, it.reason());
    conditions.iter().map(|it| said(it).trim_end().to_owned()).collect()
}

/// The writes of a plan, as `verb kind name`.
pub fn writes(plan: &Plan) -> Vec<String> {
    let said = |it: &runtime::plan::Write| format!("{:?} {} {}", it.verb, it.kind, it.key.name);
    plan.writes.iter().map(said).collect()
}
