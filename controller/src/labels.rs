//! Says on Revisions and Configurations which Routes use them, and whether any does.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/labeler`.

use std::{collections::BTreeSet, sync::Arc};

use api::{
    keys::serving,
    serving::{Configuration, Revision, Route},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{
    cluster::Kind,
    finalizer,
    plan::{Plan, Write, controller_of},
};
use serde_json::{Map, Value, json};

use crate::{
    metadata::{self, name, namespace},
    revision,
    route::{self, traffic::Lookup},
};

/// Keeps a Route until nothing says that it is used by it.
const FINALIZER: &str = "routes.serving.knative.dev";
const ACTIVE: &str = "active";
const RESERVE: &str = "reserve";

/// What there is around a Route.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds what the traffic refers to.
    pub lookup: Lookup<'a>,
    /// Revisions that say that they are used by the Route.
    pub revisions: &'a [Arc<Revision>],
    /// Configurations that say so.
    pub configurations: &'a [Arc<Configuration>],
}

/// What to do about the words on others that tell of a Route.
pub fn plan(route: &Route, seen: Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::about(route);
    if metadata::is_deleted(&route.metadata) {
        if finalizer::holds(&route.metadata, FINALIZER) {
            release(route, seen, &mut plan, now);
            plan.writes.extend(finalizer::release(route, FINALIZER));
        }
        return plan;
    }
    plan.writes.extend(finalizer::hold(route, FINALIZER));
    let (revisions, configurations) = used(route, seen.lookup);
    // What was used stays so until the new traffic is in force.
    if route::is_ready(route) || route::is_failed(route) {
        let (revisions, configurations) = (&revisions, &configurations);
        let is_old = |it: &&Arc<Revision>| {
            !revisions.contains(name(&it.metadata)) && !is_unannounced(it, seen.lookup)
        };
        for it in seen.revisions.iter().filter(is_old) {
            clear_revision(route, it, &mut plan, now);
        }
        let is_old = |it: &&Arc<Configuration>| {
            !configurations.contains(name(&it.metadata)) && !is_of_same_service(route, it)
        };
        for it in seen.configurations.iter().filter(is_old) {
            clear_configuration(route, it, &mut plan);
        }
    }
    let context = |its_name: &str| {
        let namespace = namespace(&route.metadata);
        format!("failed to add route annotation to Namespace={namespace} Name=\"{its_name}\"")
    };
    for its_name in &revisions {
        if let Some(it) = (seen.lookup.revision)(its_name) {
            let patch = revision_patch(&it.metadata, with(&it.metadata, route), now);
            plan.writes.extend(merge(&*it, patch).map(|it| it.with_context(context(its_name))));
        }
    }
    for its_name in &configurations {
        if let Some(it) = (seen.lookup.configuration)(its_name) {
            let patch = routes_patch(&it.metadata, &with(&it.metadata, route));
            plan.writes.extend(merge(&*it, patch).map(|it| it.with_context(context(its_name))));
        }
    }
    plan
}

/// Terms of an index of what says which Routes use it.
pub fn routes_of(meta: &ObjectMeta) -> Vec<String> {
    metadata::list(&meta.annotations, serving::ROUTES).into_iter().collect()
}

/// Names of the Revisions and Configurations that a Route uses, in its wishes and in fact. The newest
/// Revision of a Configuration that is followed counts before it is ready, so that it is not scaled
/// down while it becomes so.
fn used(route: &Route, lookup: Lookup) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut revisions, mut configurations) = (BTreeSet::new(), BTreeSet::new());
    let reported = route.status.iter().flat_map(|status| &status.traffic);
    for target in reported.chain(&route.spec.traffic) {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let mut configuration = given(&target.configuration_name);
        if let Some(its_name) = given(&target.revision_name) {
            let Some(found) = (lookup.revision)(&its_name) else { continue };
            revisions.insert(its_name);
            if let Some(owner) = controller_of(&found.metadata, "Configuration") {
                configuration = Some(owner.name.clone());
            }
        }
        let Some(its_name) = configuration else { continue };
        let Some(found) = (lookup.configuration)(&its_name) else { continue };
        configurations.insert(its_name);
        let newest = found.status.as_ref().and_then(|it| given(&it.latest_created_revision_name));
        if target.latest_revision == Some(true) {
            revisions.extend(newest);
        }
    }
    (revisions, configurations)
}

/// Whether a Revision is so new that its Configuration does not tell of it yet.
fn is_unannounced(revision: &Revision, lookup: Lookup) -> bool {
    let label = |key| metadata::get(&revision.metadata.labels, key);
    let Some(configuration) = (lookup.configuration)(label(serving::CONFIGURATION)) else {
        return false;
    };
    let newest =
        configuration.status.as_ref().and_then(|it| it.latest_created_revision_name.as_deref());
    let generation = configuration.metadata.generation.unwrap_or_default().to_string();
    label(serving::CONFIGURATION_GENERATION) == generation
        && newest != Some(name(&revision.metadata))
}

/// Whether one Service has both: then it says itself that its Route uses its Configuration, wherever the
/// traffic goes, and taking that back would have the two write in turn for ever.
fn is_of_same_service(route: &Route, configuration: &Configuration) -> bool {
    let service = |meta| controller_of(meta, "Service").map(|it| &it.uid);
    let of_route = service(&route.metadata);
    of_route.is_some() && of_route == service(&configuration.metadata)
}

/// Takes the Route's name from everything.
fn release(route: &Route, seen: Seen, plan: &mut Plan, now: Timestamp) {
    for it in seen.configurations {
        clear_configuration(route, it, plan);
    }
    for it in seen.revisions {
        clear_revision(route, it, plan, now);
    }
}

fn clear_revision(route: &Route, it: &Arc<Revision>, plan: &mut Plan, now: Timestamp) {
    if metadata::get(&it.metadata.labels, serving::ROUTING_STATE) != ACTIVE {
        return;
    }
    let patch = revision_patch(&it.metadata, without(&it.metadata, route), now);
    plan.writes.extend(merge(&**it, patch).map(|write| remove_context(write, &it.metadata)));
}

fn clear_configuration(route: &Route, it: &Arc<Configuration>, plan: &mut Plan) {
    let patch = routes_patch(&it.metadata, &without(&it.metadata, route));
    plan.writes.extend(merge(&**it, patch).map(|write| remove_context(write, &it.metadata)));
}

fn remove_context(write: Write, meta: &ObjectMeta) -> Write {
    write.with_context(format!("failed to remove route annotation to /, Kind= \"{}\"", name(meta)))
}

fn with(meta: &ObjectMeta, route: &Route) -> BTreeSet<String> {
    let mut routes = metadata::list(&meta.annotations, serving::ROUTES);
    routes.insert(name(&route.metadata).to_owned());
    routes
}

fn without(meta: &ObjectMeta, route: &Route) -> BTreeSet<String> {
    let mut routes = metadata::list(&meta.annotations, serving::ROUTES);
    routes.remove(name(&route.metadata));
    routes
}

/// The change of metadata that names `routes`.
fn routes_patch(meta: &ObjectMeta, routes: &BTreeSet<String>) -> Map<String, Value> {
    let mut annotations = Map::new();
    if metadata::list(&meta.annotations, serving::ROUTES) != *routes {
        let value = if routes.is_empty() { Value::Null } else { json!(metadata::joined(routes)) };
        annotations.insert(serving::ROUTES.to_owned(), value);
    }
    let mut patch = Map::new();
    if !annotations.is_empty() {
        patch.insert("annotations".to_owned(), Value::Object(annotations));
    }
    patch
}

/// The same for a Revision, which also says whether it is used, and since when.
fn revision_patch(
    meta: &ObjectMeta,
    routes: BTreeSet<String>,
    now: Timestamp,
) -> Map<String, Value> {
    let mut patch = routes_patch(meta, &routes);
    let state = if routes.is_empty() { RESERVE } else { ACTIVE };
    if metadata::get(&meta.labels, serving::ROUTING_STATE) != state {
        patch.insert("labels".to_owned(), json!({ serving::ROUTING_STATE: state }));
        let annotations = patch.entry("annotations").or_insert_with(|| json!({}));
        annotations[serving::ROUTING_STATE_MODIFIED] = json!(revision::stamp(now));
    }
    patch
}

fn merge<K: Kind>(object: &K, patch: Map<String, Value>) -> Option<Write> {
    (!patch.is_empty()).then(|| Write::merge(object, &json!({ "metadata": patch })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object<K: serde::de::DeserializeOwned>(service: Option<&str>, mut object: Value) -> K {
        if let Some(uid) = service {
            object["metadata"]["ownerReferences"] = json!([{"apiVersion": "serving.knative.dev/v1",
                "kind": "Service", "name": "hello", "uid": uid, "controller": true}]);
        }
        object["metadata"]["namespace"] = json!("ns");
        serde_json::from_value(object).unwrap()
    }

    /// What is written about the Configuration `hello`, which says that the Route `hello` uses it, when
    /// that names a Revision that is not there. Both are of the Services of these UIDs.
    #[track_caller]
    fn check(route: Option<&str>, configuration: Option<&str>, expected: &[&str]) {
        let route: Route = object(
            route,
            json!({
                "metadata": {"name": "hello", "generation": 1,
                    "finalizers": ["routes.serving.knative.dev"]},
                "spec": {"traffic": [{"revisionName": "hello-00009", "percent": 100}]},
                "status": {"observedGeneration": 1,
                    "conditions": [{"type": "Ready", "status": "False"}]},
            }),
        );
        let configuration: Arc<Configuration> = Arc::new(object(
            configuration,
            json!({
                "metadata": {"name": "hello",
                    "annotations": {"serving.knative.dev/routes": "hello"}},
                "spec": {"template": {"spec": {"containers": []}}},
            }),
        ));
        let lookup =
            Lookup { configuration: &|_| Some(configuration.clone()), revision: &|_| None };
        let all = [configuration.clone()];
        let seen = Seen { lookup, revisions: &[], configurations: &all };
        let plan = plan(&route, seen, Timestamp::UNIX_EPOCH);
        let bodies: Vec<&str> = plan.writes.iter().map(|it| it.body.as_str()).collect();
        assert_eq!(bodies, expected);
    }

    #[test]
    fn a_service_and_its_route_agree_on_its_configuration() {
        check(Some("one"), Some("one"), &[]);
        let cleared = r#"{"metadata":{"annotations":{"serving.knative.dev/routes":null}}}"#;
        check(Some("one"), Some("other"), &[cleared]);
        check(Some("one"), None, &[cleared]);
        check(None, None, &[cleared]);
    }
}
