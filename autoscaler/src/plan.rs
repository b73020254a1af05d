//! What a PodAutoscaler of the class `kpa` needs: the scale of its target, the objects below it, its status.
//!
//! Pure: what was seen in, a plan out.
//! Source: knative/serving `pkg/reconciler/autoscaling/kpa/kpa.go`,
//! `pkg/reconciler/serverlessservice/serverlessservice.go`.

use std::{collections::BTreeMap, sync::Arc};

use api::{autoscaling::PodAutoscaler, networking::ServerlessService};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Endpoints, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use runtime::{
    cluster::Kind,
    plan::{Plan, Write, is_controlled_by, merge_patch},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    conditions::{self, Blocked, Facts},
    objects,
    path::{self, Mode},
    policy::Policy,
    zero::{self, Scale},
};

/// What was seen around a PodAutoscaler. Children are those of its name.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is scaled.
    pub target: Option<Arc<Deployment>>,
    pub horizontal: Option<Arc<HorizontalPodAutoscaler>>,
    pub serverless: Option<Arc<ServerlessService>>,
    pub private_service: Option<Arc<Service>>,
    pub public_service: Option<Arc<Service>>,
    pub public_endpoints: Option<Arc<Endpoints>>,
    /// The slices of the private Service: the pods.
    pub pods: Vec<Arc<EndpointSlice>>,
    /// The Endpoints of the activators.
    pub activators: Option<Arc<Endpoints>>,
}

/// What is known of a revision's load and of the way of its requests.
#[derive(Clone, Debug)]
pub struct Known {
    /// Pods that the load asks for; none when nothing is known of it.
    pub wanted: Option<u32>,
    /// The room of the ready pods for a burst.
    pub excess_burst_capacity: i32,
    /// Since when requests go through the activator; none when they do not.
    pub proxied_since: Option<Timestamp>,
    /// Whether a request is known to reach the activator.
    pub path_proven: bool,
    /// Pods by name, with what it now costs to delete them: the requests that they have in flight.
    /// Only those whose cost has changed.
    pub costs: Vec<(String, u32)>,
}

/// What was decided on the way to the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The scale, within its bounds.
    pub scale: Scale,
    /// The way that requests should take.
    pub mode: Mode,
    /// Pods that are ready.
    pub ready_pods: u32,
    /// Whether no pod exists or is asked for: nothing happens until a request comes.
    pub at_rest: bool,
    /// Whether the costs of deleting pods are written.
    pub costs_written: bool,
}

/// What tells Kubernetes which pods of a set it may delete first: those that cost least.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The plan for `autoscaler`, and what was decided for it.
pub fn plan<N>(
    autoscaler: &PodAutoscaler,
    seen: &Seen,
    known: &Known,
    policy: &Policy,
    now: Timestamp,
) -> (Plan<N>, Outcome) {
    let mut plan = Plan::about(autoscaler);
    let standing = conditions::standing(autoscaler, known.proxied_since, known.path_proven, now);
    let scale = zero::scale(known.wanted, &standing, policy, now);
    let ready_pods = objects::ready_pods(&seen.pods);
    let mode = path::mode(scale.pods, policy.min_scale, known.excess_burst_capacity);
    let activators = path::activators(ready_pods, policy);
    plan.again = scale.again;

    // First what a cold start waits for.
    let replicas = seen.target.as_ref().map(|it| it.spec.replicas.unwrap_or(1));
    let pods = scale.pods.filter(|_| scale.apply).map(|it| i32::try_from(it).unwrap_or(i32::MAX));
    // A shrinking set loses its idle pods first. Without any pod there is nothing to choose.
    let costs_written = pods.is_some_and(|it| it > 0 && replicas.is_some_and(|now| it < now));
    if costs_written {
        plan.writes.extend(known.costs.iter().map(|(pod, cost)| {
            let namespace = autoscaler.metadata.namespace.clone();
            let metadata =
                ObjectMeta { name: Some(pod.clone()), namespace, ..ObjectMeta::default() };
            let annotations =
                json!({"metadata": {"annotations": {DELETION_COST: cost.to_string()}}});
            Write::merge(&Pod { metadata, ..Pod::default() }, &annotations)
                .with_context(format!("failed to say what it costs to delete pod {pod}"))
        }));
    }
    if let (Some(target), Some(pods)) = (&seen.target, pods)
        && replicas != Some(pods)
    {
        let name = target.metadata.name.as_deref().unwrap_or_default();
        plan.writes.push(
            Write::merge(&**target, &json!({"spec": {"replicas": pods}}))
                .with_context(format!("failed to apply scale {pods} to scale target {name}")),
        );
    }

    // One that is left of another class would set the same scale.
    if let Some(horizontal) = &seen.horizontal
        && is_controlled_by(&**horizontal, autoscaler)
    {
        plan.writes.push(Write::delete(&**horizontal).with_context("failed to delete HPA"));
    }
    let way = Way { mode, activators, wanted: scale.pods };
    let (facts, _) = plan_serverless(&mut plan, autoscaler, seen, way, now);
    let status = conditions::status(autoscaler, &facts, policy, now);
    plan.set_status(autoscaler, autoscaler.status.as_ref(), &status);
    let at_rest = standing.activity == zero::Activity::Inactive
        && replicas.unwrap_or(0) == 0
        && pods.unwrap_or(0) == 0
        && ready_pods == 0;
    (plan, Outcome { scale, mode, ready_pods, at_rest, costs_written })
}

/// Which way requests take, and why.
pub(crate) struct Way {
    pub mode: Mode,
    /// Activators on the way; 0 is all.
    pub activators: u32,
    /// Pods wanted; none while nothing is known.
    pub wanted: Option<u32>,
}

/// Plans the ServerlessService of `autoscaler` and what is below it. The second value is false when there is one
/// that is somebody else's.
pub(crate) fn plan_serverless<'s, N>(
    plan: &mut Plan<N>,
    autoscaler: &PodAutoscaler,
    seen: &'s Seen,
    Way { mode, activators, wanted }: Way,
    now: Timestamp,
) -> (Facts<'s>, bool) {
    let mut facts = Facts {
        wanted,
        ready_pods: objects::ready_pods(&seen.pods),
        private_service: None,
        public_service: None,
        blocked: None,
    };
    let desired = objects::serverless(autoscaler, mode, activators);
    let Some(serverless) = &seen.serverless else {
        plan.writes.push(Write::create(&desired).with_context("error creating SKS"));
        return (facts, true);
    };
    if !is_controlled_by(&**serverless, autoscaler) {
        let name = serverless.metadata.name.as_deref().unwrap_or_default();
        plan.error = Some(format!("error reconciling SKS: PA: {name} does not own SKS: {name}"));
        return (facts, false);
    }
    replace_spec(plan, &**serverless, &serverless.spec, &desired.spec);
    let below = Below { serverless, desired: &desired, activators, mode };
    below.plan(plan, seen, &mut facts);
    let status = conditions::serverless_status(serverless, mode, &facts, now);
    let (old, new) = (to_value(&serverless.status), to_value(&status));
    if let Some(patch) = merge_patch(&old, &new) {
        plan.writes.push(Write::merge_status(&**serverless, &patch));
    }
    (facts, true)
}

/// The objects below a ServerlessService that exists.
struct Below<'a> {
    serverless: &'a ServerlessService,
    /// The same, as it is about to be.
    desired: &'a ServerlessService,
    activators: u32,
    mode: Mode,
}

impl Below<'_> {
    fn plan<'s, N>(&self, plan: &mut Plan<N>, seen: &'s Seen, facts: &mut Facts<'s>) {
        let serverless = self.serverless;
        // Children carry the protocol that the ServerlessService is about to have.
        let parent = ServerlessService { spec: self.desired.spec.clone(), ..serverless.clone() };
        match (&seen.private_service, selector(seen)) {
            // Without the target nobody knows the selector; its appearance leads back here.
            (None, None) => return,
            (None, Some(selector)) => {
                let service = objects::private_service(&parent, selector);
                plan.writes.push(create(&service, "failed to create private K8s Service"));
            }
            (Some(service), _) if !is_controlled_by(&**service, serverless) => {
                return self.not_owned(plan, facts, "Service", name(&**service));
            }
            (Some(service), selector) => {
                facts.private_service = Some(name(&**service));
                let old = service.spec.clone().unwrap_or_default();
                let selector = selector.or_else(|| old.selector.clone()).unwrap_or_default();
                let wanted = objects::private_service(&parent, selector).spec.unwrap_or_default();
                if old.ports != wanted.ports || old.selector != wanted.selector {
                    let patch =
                        json!({"spec": {"ports": wanted.ports, "selector": wanted.selector}});
                    plan.writes.push(
                        Write::merge(&**service, &patch)
                            .with_context("failed to update private K8s Service"),
                    );
                }
            }
        }
        match &seen.public_service {
            None => {
                let service = objects::public_service(&parent);
                plan.writes.push(create(&service, "failed to create public K8s Service"));
            }
            Some(service) if !is_controlled_by(&**service, serverless) => {
                return self.not_owned(plan, facts, "Service", name(&**service));
            }
            Some(service) => {
                facts.public_service = Some(name(&**service));
                let old = service.spec.clone().unwrap_or_default();
                let wanted = objects::public_service(&parent).spec.unwrap_or_default();
                if old.ports != wanted.ports
                    || old.selector.as_ref().is_some_and(|it| !it.is_empty())
                {
                    let patch = json!({"spec": {"ports": wanted.ports, "selector": null}});
                    plan.writes.push(
                        Write::merge(&**service, &patch)
                            .with_context("failed to update public K8s Service"),
                    );
                }
            }
        }
        let subsets = self.subsets(&parent, seen, facts.ready_pods);
        match &seen.public_endpoints {
            None => {
                let endpoints = objects::public_endpoints(&parent, subsets);
                plan.writes.push(create(&endpoints, "failed to create public K8s Endpoints"));
            }
            Some(endpoints) if !is_controlled_by(&**endpoints, serverless) => {
                self.not_owned(plan, facts, "Endpoints", name(&**endpoints));
            }
            Some(endpoints) if endpoints.subsets.as_deref().unwrap_or_default() != subsets => {
                let patch = json!({ "subsets": subsets });
                plan.writes.push(
                    Write::merge(&**endpoints, &patch)
                        .with_context("failed to update public K8s Endpoints"),
                );
            }
            Some(_) => {}
        }
    }

    /// Where the public Service leads.
    fn subsets(
        &self,
        parent: &ServerlessService,
        seen: &Seen,
        ready_pods: u32,
    ) -> Vec<k8s_openapi::api::core::v1::EndpointSubset> {
        let ready_activators = objects::ready_activators(seen.activators.as_deref());
        match (path::possible(self.mode, ready_pods as usize, ready_activators), &seen.activators) {
            (Mode::Proxy, Some(activators)) => {
                objects::activator_subsets(parent, activators, self.activators)
            }
            _ => objects::pod_subsets(parent, &seen.pods),
        }
    }

    fn not_owned<'s, N>(
        &self,
        plan: &mut Plan<N>,
        facts: &mut Facts<'s>,
        kind: &'static str,
        name: &'s str,
    ) {
        facts.blocked = Some(Blocked { kind, name });
        let owner = self.serverless.metadata.name.as_deref().unwrap_or_default();
        plan.error = Some(format!("SKS: {owner} does not own {kind}: {name}"));
    }
}

/// The labels by which the target knows its pods.
fn selector(seen: &Seen) -> Option<BTreeMap<String, String>> {
    seen.target.as_ref()?.spec.selector.match_labels.clone()
}

fn create<K: Kind>(object: &K, context: &str) -> Write {
    Write::create(object).with_context(context)
}

fn replace_spec<K: Kind, N, S: Serialize>(plan: &mut Plan<N>, object: &K, old: &S, new: &S) {
    if let Some(patch) = merge_patch(&to_value(old), &to_value(new)) {
        plan.writes.push(
            Write::merge(object, &json!({ "spec": patch })).with_context("error updating SKS"),
        );
    }
}

fn to_value<S: Serialize>(part: &S) -> serde_json::Value {
    serde_json::to_value(part).expect("objects are plain data")
}

fn name<K: Kind>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}
