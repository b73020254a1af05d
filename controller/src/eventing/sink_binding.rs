//! SinkBinding: tells the containers of some objects where to send their events.
//!
//! Pure: [`plan`] decides on what was seen, [`bind`] and [`unbind`] change a pod template.
//! Source: knative/eventing `pkg/reconciler/sinkbinding`, `pkg/apis/sources/v1/sinkbinding_lifecycle.go`; knative.dev/pkg
//! `webhook/psbinding`.

use std::sync::Arc;

use api::{
    condition::Set,
    duck::{Addressable, marks},
    go,
    sources::{
        SINK_BINDING, SINK_BINDING_AVAILABLE, SINK_PROVIDED, SinkBinding, SinkBindingStatus,
        Subject, TRUST_BUNDLE_PROPAGATED,
    },
};
use jiff::Timestamp;
use runtime::{
    cluster::Key,
    finalizer,
    plan::{Plan, Write},
    resolve::{self, not_found},
    selector,
    tracker::{Found, Lookup, ObjectKind, object::Object},
};
use serde_json::{Value, json};

use crate::metadata::{is_deleted, namespace};

const CONDITIONS: Set = SINK_BINDING;
const FINALIZER: &str = "sinkbindings.sources.knative.dev";
/// The variables that a binding sets.
const VARIABLES: [&str; 3] = ["K_SINK", "K_CA_CERTS", "K_CE_OVERRIDES"];

/// A subject as a whole, which only the API has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// Of which binding.
    pub binding: Key,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its place.
    pub key: Key,
    /// The generation that was seen; an older answer will not do.
    pub generation: i64,
}

/// What there is around a SinkBinding.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its sink and its subjects.
    pub lookup: Lookup<'a>,
    /// `spec.template.spec` of a subject, of that generation; nothing where it was not asked for yet.
    pub pod: &'a dyn Fn(&Object) -> Option<Arc<Value>>,
}

/// What to do about a SinkBinding.
pub fn plan(binding: &SinkBinding, seen: Seen, now: Timestamp) -> Plan<Need> {
    let mut plan = Plan::about(binding);
    if is_deleted(&binding.metadata) {
        if finalizer::holds(&binding.metadata, FINALIZER) {
            let subjects = subjects(binding, seen.lookup).unwrap_or_default();
            change(binding, &subjects, seen, &mut plan, unbind);
            if plan.need.is_empty() {
                plan.writes.extend(finalizer::release(binding, FINALIZER).map(silent));
            }
        }
        return plan;
    }
    plan.writes.extend(finalizer::hold(binding, FINALIZER).map(silent));
    let before = binding.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let conditions = &mut status.source.conditions;
    CONDITIONS.initialize(conditions, now);
    plan.error = reconcile(binding, seen, &mut status, &mut plan, now).err();
    if plan.error.is_none() {
        status.source.observed_generation = binding.metadata.generation;
    }
    CONDITIONS.end(&mut status.source.conditions, &before.source.conditions);
    plan.set_status(binding, Some(&before), &status);
    plan
}

fn reconcile(
    binding: &SinkBinding,
    seen: Seen,
    status: &mut SinkBindingStatus,
    plan: &mut Plan<Need>,
    now: Timestamp,
) -> Result<(), String> {
    let own = namespace(&binding.metadata);
    let conditions = &mut status.source.conditions;
    let subjects = subjects(binding, seen.lookup).inspect_err(|why| {
        let (type_, reason) = (SINK_BINDING_AVAILABLE, "SubjectMissing");
        CONDITIONS.mark_false(conditions, type_, reason, why, now);
    })?;
    CONDITIONS.mark_true(conditions, TRUST_BUNDLE_PROPAGATED, now);
    let sink = resolve::destination(&binding.spec.sink, own, seen.lookup).map_err(|why| {
        let message = format!("Addressable could not be extracted from destination: {why}");
        CONDITIONS.mark_false(conditions, SINK_PROVIDED, "NoAddressable", &message, now);
        why.to_string()
    })?;
    CONDITIONS.mark_true(conditions, SINK_PROVIDED, now);
    marks::no_identity(CONDITIONS, conditions, now);
    marks::no_token(CONDITIONS, conditions, now);

    let set = |pod: &mut Value| bind(pod, binding, &sink);
    let is_bound = change(binding, &subjects, seen, plan, set);
    status.source.sink_uri = sink.url.clone();
    status.source.sink_ca_certs = sink.ca_certs.clone();
    status.source.sink_audience = sink.audience.clone();
    if is_bound {
        CONDITIONS.mark_true(&mut status.source.conditions, SINK_BINDING_AVAILABLE, now);
    }
    Ok(())
}

/// The write without its event: of the finalizers of bindings nobody is told.
fn silent(mut write: Write) -> Write {
    write.event = None;
    write
}

/// The objects that a binding is about; the error says which one is missing.
fn subjects(binding: &SinkBinding, lookup: Lookup) -> Result<Vec<Arc<Object>>, String> {
    let (kind, space) = place(&binding.spec.subject, namespace(&binding.metadata));
    let subject = &binding.spec.subject;
    if let Some(name) = subject.name.as_deref().filter(|it| !it.is_empty()) {
        return match (lookup.object)(&kind, &Key::new(space, name)) {
            Found::Here(object) => Ok(vec![object]),
            Found::Missing => Err(not_found(&kind, name)),
            Found::Hidden(why) => Err(why),
        };
    }
    let mut all = (lookup.objects)(&kind, space);
    let picks = subject.selector.clone().unwrap_or_default();
    all.retain(|it| !it.is_deleted && selector::picks(&picks, &it.labels));
    Ok(all)
}

/// Kind and namespace of what a binding of `own` is about.
fn place<'a>(subject: &'a Subject, own: &'a str) -> (ObjectKind, &'a str) {
    let text = |it: &'a Option<String>| it.as_deref().unwrap_or_default();
    let kind = ObjectKind::new(text(&subject.api_version), text(&subject.kind));
    (kind, subject.namespace.as_deref().filter(|it| !it.is_empty()).unwrap_or(own))
}

/// Changes the pods of all subjects; returns whether all of them are as they should be.
fn change(
    binding: &SinkBinding,
    subjects: &[Arc<Object>],
    seen: Seen,
    plan: &mut Plan<Need>,
    change: impl Fn(&mut Value),
) -> bool {
    let (kind, _) = place(&binding.spec.subject, namespace(&binding.metadata));
    let mut is_done = true;
    for subject in subjects {
        let Some(pod) = (seen.pod)(subject) else {
            plan.need.push(Need {
                binding: Key::of(binding),
                kind: kind.clone(),
                key: subject.key.clone(),
                generation: subject.generation,
            });
            is_done = false;
            continue;
        };
        let mut changed = (*pod).clone();
        change(&mut changed);
        if changed == *pod {
            continue;
        }
        is_done = false;
        let mut patch = json!({});
        for list in ["initContainers", "containers"] {
            if changed[list] != pod[list] {
                patch[list] = changed[list].clone();
            }
        }
        let patch = json!({ "spec": { "template": { "spec": patch } } });
        let context = format!("failed binding subject {}", subject.key.name);
        plan.writes.push(Write::merge_any(&kind, subject, patch).with_context(context));
    }
    is_done
}

/// Sets the variables in all containers of a pod's spec.
pub fn bind(pod: &mut Value, binding: &SinkBinding, sink: &Addressable) {
    unbind(pod);
    let overrides = binding.spec.ce_overrides.as_ref();
    let overrides = overrides.and_then(|it| go::json(it).ok());
    // As the API keeps it: an empty value is none.
    let overrides = match overrides {
        Some(overrides) => json!({ "name": "K_CE_OVERRIDES", "value": overrides }),
        None => json!({ "name": "K_CE_OVERRIDES" }),
    };
    let mut variables = vec![json!({ "name": "K_SINK", "value": sink.url })];
    variables.extend(sink.ca_certs.iter().map(|it| json!({ "name": "K_CA_CERTS", "value": it })));
    variables.push(overrides);
    for container in containers(pod) {
        if let Some(all) = container.entry("env").or_insert_with(|| json!([])).as_array_mut() {
            all.extend(variables.iter().cloned());
        }
    }
}

/// Takes the variables out of all containers of a pod's spec.
pub fn unbind(pod: &mut Value) {
    for container in containers(pod) {
        let Some(Value::Array(variables)) = container.get_mut("env") else { continue };
        variables.retain(|it| !VARIABLES.iter().any(|name| it["name"] == *name));
        if variables.is_empty() {
            container.remove("env");
        }
    }
}

fn containers(pod: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    let pod = pod.as_object_mut();
    let lists = pod.into_iter().flat_map(|it| it.iter_mut());
    let lists = lists.filter(|(name, _)| matches!(name.as_str(), "containers" | "initContainers"));
    lists.flat_map(|(_, it)| it.as_array_mut()).flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_can_be_set_changed_and_taken_away() {
        let binding = |over: Value| -> SinkBinding {
            let spec = json!({ "sink": {}, "subject": {}, "ceOverrides": over });
            serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap()
        };
        let sink = |url: &str, certs: Option<&str>| Addressable {
            url: Some(url.to_owned()),
            ca_certs: certs.map(str::to_owned),
            ..Addressable::default()
        };
        let plain = json!({
            "containers": [{ "name": "a" }, { "name": "b", "env": [{ "name": "X", "value": "1" }] }],
            "initContainers": [{ "name": "i" }],
        });
        let names = |pod: &Value, container: usize| -> Vec<String> {
            let all = pod["containers"][container]["env"].as_array().unwrap();
            all.iter().map(|it| format!("{}={}", it["name"], it["value"])).collect()
        };
        let mut pod = plain.clone();
        bind(&mut pod, &binding(Value::Null), &sink("http://a", None));
        assert_eq!(names(&pod, 0), ["\"K_SINK\"=\"http://a\"", "\"K_CE_OVERRIDES\"=null"]);
        assert_eq!(pod["initContainers"][0]["env"][0]["value"], "http://a");
        let once = pod.clone();
        bind(&mut pod, &binding(Value::Null), &sink("http://a", None));
        assert_eq!(pod, once);
        let over = json!({ "extensions": { "x": "y" } });
        bind(&mut pod, &binding(over), &sink("http://b", Some("pem")));
        assert_eq!(
            names(&pod, 1),
            [
                "\"X\"=\"1\"",
                "\"K_SINK\"=\"http://b\"",
                "\"K_CA_CERTS\"=\"pem\"",
                "\"K_CE_OVERRIDES\"=\"{\\\"extensions\\\":{\\\"x\\\":\\\"y\\\"}}\"",
            ]
        );
        unbind(&mut pod);
        assert_eq!(pod, plain);
    }
}
