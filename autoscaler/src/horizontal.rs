//! What a PodAutoscaler of the class `hpa` needs: a HorizontalPodAutoscaler that scales its target, the objects
//! below it, its status.
//!
//! Pure: what was seen in, a plan out.
//! Source: knative/serving `pkg/reconciler/autoscaling/hpa/{hpa.go,resources/hpa.go}`.

use api::{autoscaling::PodAutoscaler, keys, quantity::Amount};
use jiff::Timestamp;
use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
        HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
        MetricTarget, PodsMetricSource, ResourceMetricSource,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use runtime::plan::{self, Plan, Write, is_controlled_by};

use crate::{
    conditions::{Counts, Facts, Hindered, horizontal_status},
    path::Mode,
    plan::{Seen, Way, plan_serverless},
    policy::{Policy, parse_duration},
};

const KIND: &str = "HorizontalPodAutoscaler";
/// Activators of a revision that is always there: all of them, for the moments in which it has no pod.
const ACTIVATORS: u32 = 0;

/// The plan for `autoscaler`.
pub fn plan<N>(
    autoscaler: &PodAutoscaler,
    seen: &Seen,
    policy: &Policy,
    now: Timestamp,
) -> Plan<N> {
    let mut plan = Plan::about(autoscaler);
    let desired = horizontal(autoscaler, policy);
    let name = desired.metadata.name.clone().unwrap_or_default();
    let before = autoscaler.status.as_ref();
    let none = Facts {
        wanted: None,
        ready_pods: 0,
        private_service: None,
        public_service: None,
        blocked: None,
    };
    match &seen.horizontal {
        None => {
            plan.writes.push(Write::create(&desired).with_context("failed to create HPA"));
            let hindered = Err(Hindered::NotCreated(KIND, name.clone()));
            let status = horizontal_status(autoscaler, &none, hindered, policy, now);
            let (autoscaler, before) = (autoscaler.clone(), before.cloned());
            plan.status_after_failure =
                Some(Box::new(move |_| plan::status_write(&autoscaler, before.as_ref(), &status)));
        }
        Some(found) if !is_controlled_by(&**found, autoscaler) => {
            plan.error = Some(format!("PodAutoscaler: \"{name}\" does not own HPA: \"{name}\""));
            let hindered = Err(Hindered::NotOwned(KIND, name));
            let status = horizontal_status(autoscaler, &none, hindered, policy, now);
            plan.set_status(autoscaler, before, &status);
            return plan;
        }
        Some(found) => {
            let is_same = found.spec == as_stored(&desired.spec)
                && found.metadata.labels == desired.metadata.labels
                && found.metadata.annotations == desired.metadata.annotations;
            if !is_same {
                let mut changed = (**found).clone();
                changed.metadata.labels = desired.metadata.labels;
                changed.metadata.annotations = desired.metadata.annotations;
                changed.spec = desired.spec;
                changed.status = None;
                plan.writes.push(Write::replace(&changed).with_context("failed to update HPA"));
            }
        }
    }
    let way = Way { mode: Mode::Serve, activators: ACTIVATORS, wanted: None };
    let (facts, is_ours) = plan_serverless(&mut plan, autoscaler, seen, way, now);
    let scale = if is_ours {
        let status = seen.horizontal.as_ref().and_then(|it| it.status.as_ref());
        Ok(status.map_or_else(Counts::default, |it| Counts {
            current: it.current_replicas.unwrap_or(0),
            desired: it.desired_replicas,
        }))
    } else {
        Err(Hindered::NotOwned("ServerlessService", name))
    };
    let status = horizontal_status(autoscaler, &facts, scale, policy, now);
    plan.set_status(autoscaler, before, &status);
    plan
}

/// The HorizontalPodAutoscaler of `autoscaler`, with its name, labels and annotations.
pub fn horizontal(autoscaler: &PodAutoscaler, policy: &Policy) -> HorizontalPodAutoscaler {
    let meta = &autoscaler.metadata;
    let target = &autoscaler.spec.scale_target_ref;
    let replicas = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    HorizontalPodAutoscaler {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![plan::owner(autoscaler)]),
            ..ObjectMeta::default()
        },
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: target.api_version.clone(),
                kind: target.kind.clone().unwrap_or_default(),
                name: target.name.clone().unwrap_or_default(),
            },
            min_replicas: Some(replicas(policy.min_scale)).filter(|least| *least > 0),
            max_replicas: policy.max_scale.map_or(i32::MAX, replicas),
            metrics: metric(autoscaler).map(|it| vec![it]),
            behavior: behavior(autoscaler),
        },
        status: None,
    }
}

/// What is to be measured; none without a target, which leaves it to the API's default.
fn metric(autoscaler: &PodAutoscaler) -> Option<MetricSpec> {
    let target: f64 = annotation(autoscaler, keys::autoscaling::TARGET)?.parse().ok()?;
    let name = annotation(autoscaler, &[keys::autoscaling::METRIC]).unwrap_or("cpu");
    let of_resource = |target| MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: name.to_owned(), target }),
        ..MetricSpec::default()
    };
    let average = |text: String| MetricTarget {
        type_: "AverageValue".to_owned(),
        // All digits: what is read is what was written.
        average_value: Amount::parse(&text).ok().map(|it| Quantity(it.canonical())),
        ..MetricTarget::default()
    };
    // Parts of a unit do not count, as upstream has it.
    let whole = target as i64;
    Some(match name {
        "cpu" => of_resource(MetricTarget {
            type_: "Utilization".to_owned(),
            average_utilization: Some(target.ceil() as i32),
            ..MetricTarget::default()
        }),
        "memory" => of_resource(average(format!("{whole}Mi"))),
        _ => MetricSpec {
            type_: "Pods".to_owned(),
            pods: Some(PodsMetricSource {
                metric: MetricIdentifier { name: name.to_owned(), selector: None },
                target: average(whole.to_string()),
            }),
            ..MetricSpec::default()
        },
    })
}

/// The window of the PodAutoscaler is the time for which a change must be wanted, up and down.
fn behavior(autoscaler: &PodAutoscaler) -> Option<HorizontalPodAutoscalerBehavior> {
    let window = parse_duration(annotation(autoscaler, keys::autoscaling::WINDOW)?)?;
    let rules = HPAScalingRules {
        stabilization_window_seconds: Some(i32::try_from(window.as_secs()).unwrap_or(i32::MAX)),
        ..HPAScalingRules::default()
    };
    Some(HorizontalPodAutoscalerBehavior { scale_up: Some(rules.clone()), scale_down: Some(rules) })
}

/// `spec` as the API keeps it, with all that it fills in.
/// Source: kubernetes `pkg/apis/autoscaling/v2/defaults.go`.
fn as_stored(spec: &HorizontalPodAutoscalerSpec) -> HorizontalPodAutoscalerSpec {
    let mut spec = spec.clone();
    spec.min_replicas.get_or_insert(1);
    spec.metrics.get_or_insert_with(|| {
        vec![MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricSource {
                name: "cpu".to_owned(),
                target: MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(80),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        }]
    });
    let policy = |type_: &str, value| HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds: 15,
    };
    let fill = |rules: &mut Option<HPAScalingRules>, policies| {
        let rules = rules.get_or_insert_default();
        rules.select_policy.get_or_insert_with(|| "Max".to_owned());
        rules.policies.get_or_insert(policies);
    };
    if let Some(behavior) = &mut spec.behavior {
        fill(&mut behavior.scale_up, vec![policy("Pods", 4), policy("Percent", 100)]);
        fill(&mut behavior.scale_down, vec![policy("Percent", 100)]);
    }
    spec
}

fn annotation<'a>(autoscaler: &'a PodAutoscaler, names: &[&str]) -> Option<&'a str> {
    let annotations = autoscaler.metadata.annotations.as_ref()?;
    names.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::policy;

    /// The spec made for these annotations, without their common prefix and without what is the same in all.
    #[track_caller]
    fn check(annotations: &[(&str, &str)], expected: Value) {
        let mut autoscaler = PodAutoscaler::new("hello-00001", Default::default());
        autoscaler.spec.scale_target_ref = api::autoscaling::ScaleTargetRef {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("Deployment".to_owned()),
            name: Some("hello-00001-deployment".to_owned()),
        };
        let annotations = annotations
            .iter()
            .map(|(name, value)| (format!("autoscaling.knative.dev/{name}"), value.to_string()));
        autoscaler.metadata.annotations = Some(annotations.collect());
        autoscaler.metadata.labels = Some([("app".to_owned(), "hello-00001".to_owned())].into());
        autoscaler.metadata.uid = Some("u".to_owned());
        let policy = policy(&autoscaler, &config::Config::default());
        let made = horizontal(&autoscaler, &policy);
        assert_eq!(made.metadata.name, autoscaler.metadata.name);
        assert_eq!(made.metadata.labels, autoscaler.metadata.labels);
        assert_eq!(made.metadata.annotations, autoscaler.metadata.annotations);
        assert!(is_controlled_by(&made, &autoscaler));
        let mut spec = serde_json::to_value(made.spec).unwrap();
        let target = spec.as_object_mut().unwrap().remove("scaleTargetRef").unwrap();
        assert_eq!(
            target,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-00001-deployment"})
        );
        assert_eq!(
            spec,
            expected,
            "{annotations:?}",
            annotations = autoscaler.metadata.annotations
        );
    }

    fn resource(name: &str, target: Value) -> Value {
        json!([{"type": "Resource", "resource": {"name": name, "target": target}}])
    }

    fn pods(name: &str, value: &str) -> Value {
        json!([{"type": "Pods", "pods": {"metric": {"name": name},
            "target": {"type": "AverageValue", "averageValue": value}}}])
    }

    #[test]
    fn the_spec_follows_from_the_annotations() {
        const MOST: i32 = i32::MAX;
        check(&[], json!({"maxReplicas": MOST}));
        check(&[("min-scale", "5")], json!({"minReplicas": 5, "maxReplicas": MOST}));
        check(&[("min-scale", "0"), ("max-scale", "5")], json!({"maxReplicas": 5}));
        let percent = |it: i32| json!({"type": "Utilization", "averageUtilization": it});
        let amount = |it: &str| json!({"type": "AverageValue", "averageValue": it});
        for (metric, target, metrics) in [
            ("cpu", "50", resource("cpu", percent(50))),
            ("cpu", "1982.4", resource("cpu", percent(1983))),
            ("memory", "50", resource("memory", amount("50Mi"))),
            ("memory", "2048", resource("memory", amount("2Gi"))),
            ("memory", "50.9", resource("memory", amount("50Mi"))),
            ("customMetric", "50", pods("customMetric", "50")),
            ("rps", "2000", pods("rps", "2k")),
            ("concurrency", "7.9", pods("concurrency", "7")),
        ] {
            check(
                &[("metric", metric), ("target", target)],
                json!({"maxReplicas": MOST, "metrics": metrics}),
            );
        }
        check(
            &[("target", "70")],
            json!({"maxReplicas": MOST, "metrics": resource("cpu", percent(70))}),
        );
        let rules = json!({"stabilizationWindowSeconds": 90});
        check(
            &[("window", "1m30s")],
            json!({"maxReplicas": MOST, "behavior": {"scaleUp": rules, "scaleDown": rules}}),
        );
    }
}
