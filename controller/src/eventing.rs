//! What makes the objects of Eventing be planned that are not the broker's own: channels, flows, sources and sinks.
//!
//! Each kind has a module whose `plan` decides; here is what they read.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use ::config::Config;
use api::{
    condition::{Condition, FALSE, Set, TRUE},
    eventing::{Broker, Trigger},
    flows::{Parallel, Sequence},
    messaging::Subscription,
    sinks::JobSink,
    sources::{ContainerSource, SinkBinding},
};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{Api, core::DynamicObject};
use parking_lot::Mutex;
use runtime::{
    cluster::{Cluster, Key, Kind, cache::Cache, index::Index},
    events::Recorder,
    plan::{Plan, Write, controller_of},
    reconcile::{Controller, PlanFn, Reconcile},
    tracker::{Lookup, References, object::Object},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::metadata::namespace;

pub mod channel;
pub mod container_source;
pub mod event_type;
pub mod flow;
pub mod job_sink;
pub mod parallel;
#[cfg(test)]
mod sample;
pub mod sequence;
pub mod sink_binding;
pub mod subscription;
pub mod sugar;
pub mod template;

/// Time until what could not be read is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Runs all controllers of Eventing until the cluster stops; `system_namespace` is that of the platform's own objects of
/// Eventing.
pub async fn run(
    cluster: Cluster,
    recorder: Recorder,
    config: watch::Receiver<Arc<Config>>,
    system_namespace: &'static str,
) {
    let named = |component| (cluster.clone(), recorder.named(component));
    tokio::join!(
        with_references(named("subscription-controller"), subscription::plan),
        with_references(named("channel-controller"), channel::plan),
        with_references(named("eventtype-controller"), event_type::plan),
        flows(named("sequence-controller"), "Sequence", |it: &Sequence, seen, now| {
            sequence::plan(it, seen, now)
        }),
        flows(named("parallel-controller"), "Parallel", |it: &Parallel, seen, now| {
            parallel::plan(it, seen, now)
        }),
        container_sources(named("containersource-controller")),
        sink_bindings(named("sinkbinding-controller")),
        job_sinks(named("jobsink-controller"), system_namespace),
        sugar_of_namespaces(named("namespace-controller"), config.clone()),
        sugar_of_triggers(named("trigger-controller"), config),
    );
}

/// Plans a kind whose objects follow from themselves and what they refer to.
async fn with_references<K: Kind>(
    (cluster, recorder): (Cluster, Recorder),
    plan: fn(&K, Lookup, Timestamp) -> Plan,
) {
    let mut controller = Controller::new(&cluster);
    let objects = controller.plans::<K>();
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| match objects.at(key) {
            Some(object) => plan(&object, lookup, now),
            None => Plan::nothing(),
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

/// Plans Sequences or Parallels.
async fn flows<K: Kind>(
    (cluster, recorder): (Cluster, Recorder),
    kind: &'static str,
    plan: fn(&K, flow::Seen, Timestamp) -> Plan,
) {
    let mut controller = Controller::new(&cluster);
    let flows = controller.plans::<K>();
    let subscriptions = controller.on_owned::<Subscription>(kind);
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(flow) = flows.at(key) else { return Plan::nothing() };
            let uid = flow.meta().uid.as_deref().unwrap_or_default();
            let own: Vec<Arc<Subscription>> = subscriptions.owned_by(uid);
            let seen = flow::Seen {
                lookup,
                subscriptions: &own,
                subscription: &|name| subscriptions.get(&key.namespace, name),
                is_futile: &|write: &Write| cluster.is_futile(write),
            };
            plan(&flow, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn container_sources((cluster, recorder): (Cluster, Recorder)) {
    let mut controller = Controller::new(&cluster);
    let sources = controller.plans::<ContainerSource>();
    let bindings = controller.on_owned::<SinkBinding>("ContainerSource");
    let deployments = cluster.selected::<Deployment>("sources.knative.dev/containerSource");
    let queue = controller.queue().clone();
    deployments.on_change(move |change| {
        let meta = &change.last().metadata;
        if let Some(owner) = controller_of(meta, "ContainerSource") {
            queue.add(Key::new(namespace(meta), &owner.name));
        }
    });
    deployments.synced().await;
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(source) = sources.at(key) else { return Plan::nothing() };
            let binding = bindings.get(&key.namespace, &container_source::binding_name(&source));
            let its_name = container_source::deployment_name(&source);
            let deployment = deployments.get(&key.namespace, &its_name);
            let seen = container_source::Seen {
                lookup,
                binding: binding.as_deref(),
                deployment: deployment.as_deref(),
                is_futile: &|write: &Write| cluster.is_futile(write),
            };
            container_source::plan(&source, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn job_sinks((cluster, recorder): (Cluster, Recorder), system_namespace: &'static str) {
    let mut controller = Controller::new(&cluster);
    let sinks = controller.plans::<JobSink>();
    let plan = move |key: &Key, now: Timestamp| match sinks.at(key) {
        Some(sink) => job_sink::plan(&sink, system_namespace, now),
        None => Plan::nothing(),
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn sugar_of_namespaces(
    (cluster, recorder): (Cluster, Recorder),
    config: watch::Receiver<Arc<Config>>,
) {
    let mut controller = Controller::new(&cluster);
    let namespaces = controller.plans::<Namespace>();
    let brokers = controller.on_change::<Broker>(|change, plan| {
        plan(Key::new("", namespace(&change.last().metadata)));
    });
    controller.on_config::<Namespace>(config.clone());
    let plan = move |key: &Key, _: Timestamp| {
        let Some(namespace) = namespaces.at(key) else { return Plan::nothing() };
        let has_broker = brokers.get(&key.name, sugar::DEFAULT).is_some();
        let config = config.borrow().clone();
        sugar::namespace(&namespace, config.eventing.sugar.namespaces.as_ref(), has_broker)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn sugar_of_triggers(
    (cluster, recorder): (Cluster, Recorder),
    config: watch::Receiver<Arc<Config>>,
) {
    let mut controller = Controller::new(&cluster);
    let triggers = controller.plans::<Trigger>();
    let by_broker = Index::new(&triggers, |it| it.spec.broker.iter().cloned().collect());
    let brokers = controller.on_change::<Broker>(move |change, plan| {
        let broker = Key::of(&**change.last());
        by_broker.keys(&broker.namespace, &broker.name).into_iter().for_each(plan);
    });
    controller.on_config::<Trigger>(config.clone());
    let plan = move |key: &Key, _: Timestamp| {
        let Some(trigger) = triggers.at(key) else { return Plan::nothing() };
        let named = trigger.spec.broker.as_deref().unwrap_or_default();
        let has_broker = brokers.get(&key.namespace, named).is_some();
        let config = config.borrow().clone();
        sugar::trigger(&trigger, config.eventing.sugar.triggers.as_ref(), has_broker)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn sink_bindings((cluster, recorder): (Cluster, Recorder)) {
    let mut controller = Controller::new(&cluster);
    let bindings = SinkBindings {
        bindings: controller.plans::<SinkBinding>(),
        references: References::new(&cluster, controller.queue()),
        cluster,
        pods: Mutex::default(),
    };
    controller.run(bindings, recorder).await;
}

/// Plans SinkBindings, whose subjects are asked for when they are needed: they may be of any kind, and large.
struct SinkBindings {
    bindings: Cache<SinkBinding>,
    references: References,
    cluster: Cluster,
    /// By binding and subject: the generation and the spec of the pods.
    pods: Mutex<HashMap<Key, HashMap<Key, Pod>>>,
}

/// The generation of a subject, and the spec of its pods.
type Pod = (i64, Arc<Value>);

impl Reconcile for SinkBindings {
    type Need = sink_binding::Need;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<sink_binding::Need> {
        self.references.plan(key, |lookup| {
            let Some(binding) = self.bindings.at(key) else {
                self.pods.lock().remove(key);
                return Plan::nothing();
            };
            let pod = |object: &Object| {
                let pods = self.pods.lock();
                let (generation, pod) = pods.get(key)?.get(&object.key)?;
                (*generation >= object.generation).then(|| pod.clone())
            };
            sink_binding::plan(&binding, sink_binding::Seen { lookup, pod: &pod }, now)
        })
    }

    fn fetch(
        self: Arc<Self>,
        need: sink_binding::Need,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let client = self.cluster.client().clone();
            let kind = need.kind.api_resource();
            let api: Api<DynamicObject> = Api::namespaced_with(client, &need.key.namespace, &kind);
            let found = match api.get(&need.key.name).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(subject = %need.key, %error, "read what a SinkBinding is about");
                    tokio::time::sleep(ASK_AGAIN).await;
                    return;
                }
            };
            let pod = found.data["spec"]["template"]["spec"].clone();
            let generation = found.metadata.generation.unwrap_or_default().max(need.generation);
            let mut pods = self.pods.lock();
            pods.entry(need.binding).or_default().insert(need.key, (generation, Arc::new(pod)));
        })
    }
}

/// Says of `type_` what another object says of itself; `unknown` is the reason and the message where it says nothing.
fn follow(
    set: Set,
    conditions: &mut Vec<Condition>,
    type_: &str,
    of: Option<&Condition>,
    unknown: (&str, &str),
    now: Timestamp,
) {
    let Some(of) = of else {
        return set.mark_unknown(conditions, type_, unknown.0, unknown.1, now);
    };
    match &*of.status {
        TRUE => set.mark_true(conditions, type_, now),
        FALSE => set.mark_false(conditions, type_, of.reason(), of.message(), now),
        _ => set.mark_unknown(conditions, type_, of.reason(), of.message(), now),
    }
}
