//! What a HorizontalPodAutoscaler does with a revision, in words.
//!
//! Pure: an object in, what people read out.

use std::fmt;

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition as Condition, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus,
};
use serde::Serialize;

/// How a revision of the class `hpa` stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Horizontal {
    /// What is measured, and its figure and target.
    pub metrics: Vec<Metric>,
    /// Pods there are.
    pub pods: i32,
    /// Pods that are wanted.
    pub wanted: i32,
    pub least: i32,
    /// None is no limit.
    pub most: Option<i32>,
    pub conditions: Vec<Condition>,
    /// What somebody can do.
    pub next: String,
}

/// One thing that is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    pub name: String,
    pub target: String,
    /// None while it was not measured.
    pub now: Option<String>,
}

impl Horizontal {
    /// Reads the object that scales a revision.
    pub fn of(autoscaler: &HorizontalPodAutoscaler) -> Horizontal {
        let spec = &autoscaler.spec;
        let status = autoscaler.status.clone().unwrap_or_default();
        let measured = status.current_metrics.unwrap_or_default();
        let metrics = spec.metrics.iter().flatten().enumerate();
        let metrics: Vec<Metric> =
            metrics.filter_map(|(at, spec)| metric(spec, measured.get(at))).collect();
        let conditions = status.conditions.unwrap_or_default();
        let most = Some(spec.max_replicas).filter(|most| *most < i32::MAX);
        let next = next(&conditions, &metrics, most);
        Horizontal {
            pods: status.current_replicas.unwrap_or_default(),
            wanted: status.desired_replicas,
            least: spec.min_replicas.unwrap_or(1),
            most,
            metrics,
            conditions,
            next,
        }
    }
}

impl fmt::Display for Horizontal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  scaled by a HorizontalPodAutoscaler: class hpa, never to zero")?;
        for Metric { name, target, now } in &self.metrics {
            let now = now.as_deref().unwrap_or("not measured");
            writeln!(f, "  {name}: {now}, target {target}")?;
        }
        let most = self.most.map_or_else(|| "any number".to_owned(), |most| most.to_string());
        let Horizontal { pods, wanted, least, .. } = self;
        writeln!(f, "  pods: {pods}, wanted {wanted}, from {least} to {most}")?;
        for it in &self.conditions {
            let text = |it: &Option<String>| it.clone().unwrap_or_default();
            let (reason, message) = (text(&it.reason), text(&it.message));
            writeln!(f, "  {} {}: {reason}: {message}", it.type_, it.status)?;
        }
        write!(f, "  next: {}", self.next)
    }
}

/// What a metric of the spec says, and the figure that belongs to it.
fn metric(spec: &MetricSpec, status: Option<&MetricStatus>) -> Option<Metric> {
    let (name, target, now) = if let Some(it) = &spec.resource {
        let now = status.and_then(|it| it.resource.as_ref()).map(|it| &it.current);
        (it.name.clone(), &it.target, now)
    } else if let Some(it) = &spec.pods {
        let now = status.and_then(|it| it.pods.as_ref()).map(|it| &it.current);
        (it.metric.name.clone(), &it.target, now)
    } else {
        // A revision's autoscaler has no others.
        return None;
    };
    Some(Metric { name, target: aim(target), now: now.and_then(figure) })
}

fn aim(target: &MetricTarget) -> String {
    match (target.average_utilization, &target.average_value) {
        (Some(percent), _) => format!("{percent} % of what the pods request"),
        (None, Some(value)) => format!("{} a pod", value.0),
        (None, None) => "none".to_owned(),
    }
}

fn figure(value: &MetricValueStatus) -> Option<String> {
    match (value.average_utilization, &value.average_value) {
        (Some(percent), Some(value)) => Some(format!("{percent} % ({} a pod)", value.0)),
        (Some(percent), None) => Some(format!("{percent} %")),
        (None, Some(value)) => Some(format!("{} a pod", value.0)),
        (None, None) => None,
    }
}

fn next(conditions: &[Condition], metrics: &[Metric], most: Option<i32>) -> String {
    let of = |kind: &str| conditions.iter().find(|it| it.type_ == kind);
    let reason = |it: &Condition| it.reason.clone().unwrap_or_default();
    let (able, active, limited) = (of("AbleToScale"), of("ScalingActive"), of("ScalingLimited"));
    if conditions.is_empty() {
        return "wait: nobody has looked at it yet; a cluster looks every 15 s".to_owned();
    }
    if able.is_some_and(|it| it.status == "False") {
        return "see why the Deployment cannot be scaled: kubectl describe deployment".to_owned();
    }
    if let Some(it) = active.filter(|it| it.status == "False") {
        return match reason(it).as_str() {
            "ScalingDisabled" => {
                "the Deployment has 0 replicas, which turns this off: scale it to 1 by hand"
                    .to_owned()
            }
            "FailedGetPodsMetric" => format!(
                "install an adapter that serves {} at custom.metrics.k8s.io, or take cpu or memory \
                 for autoscaling.knative.dev/metric",
                metrics.first().map_or("the metric", |it| it.name.as_str())
            ),
            _ => "check that each container requests what is measured \
                  (spec.template.spec.containers[].resources.requests) and that kubectl top pods \
                  answers; new pods have no figures for some seconds"
                .to_owned(),
        };
    }
    match limited.filter(|it| it.status == "True").map(reason).as_deref() {
        Some("TooManyReplicas") => match most {
            Some(most) => {
                format!("it wants more than {most} pods: raise autoscaling.knative.dev/max-scale")
            }
            None => "it wants more pods than there may be".to_owned(),
        },
        _ => "nothing: it follows the target".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(spec: Value, status: Value, wanted: &str) {
        let object = json!({ "metadata": { "name": "a" }, "spec": spec, "status": status });
        let object: HorizontalPodAutoscaler = serde_json::from_value(object).unwrap();
        assert_eq!(Horizontal::of(&object).to_string(), wanted);
    }

    fn spec(metric: Value, most: i64) -> Value {
        let target = json!({ "kind": "Deployment", "name": "a" });
        json!({ "scaleTargetRef": target, "maxReplicas": most, "metrics": [metric] })
    }

    fn cpu() -> Value {
        let target = json!({ "type": "Utilization", "averageUtilization": 50 });
        json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } })
    }

    #[test]
    fn says_what_is_measured_and_what_to_do_next() {
        let current = json!({ "averageUtilization": 90, "averageValue": "9m" });
        let figures =
            json!([{ "type": "Resource", "resource": { "name": "cpu", "current": current } }]);
        let limited = json!({ "type": "ScalingLimited", "status": "True",
            "reason": "TooManyReplicas", "message": "the desired count is more than the maximum" });
        check(
            spec(cpu(), 2),
            json!({ "currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": figures,
                "conditions": [limited] }),
            "  scaled by a HorizontalPodAutoscaler: class hpa, never to zero\n  \
             cpu: 90 % (9m a pod), target 50 % of what the pods request\n  \
             pods: 2, wanted 2, from 1 to 2\n  \
             ScalingLimited True: TooManyReplicas: the desired count is more than the maximum\n  \
             next: it wants more than 2 pods: raise autoscaling.knative.dev/max-scale",
        );
        check(
            spec(cpu(), i64::from(i32::MAX)),
            json!({ "desiredReplicas": 0 }),
            "  scaled by a HorizontalPodAutoscaler: class hpa, never to zero\n  \
             cpu: not measured, target 50 % of what the pods request\n  \
             pods: 0, wanted 0, from 1 to any number\n  \
             next: wait: nobody has looked at it yet; a cluster looks every 15 s",
        );
    }

    #[test]
    fn each_hindrance_has_a_way_out() {
        let target = json!({ "type": "AverageValue", "averageValue": "10" });
        let pods =
            json!({ "type": "Pods", "pods": { "metric": { "name": "queue" }, "target": target } });
        for (metric, kind, status, reason, part) in [
            (cpu(), "AbleToScale", "False", "FailedGetScale", "kubectl describe deployment"),
            (cpu(), "ScalingActive", "False", "FailedGetResourceMetric", "resources.requests"),
            (cpu(), "ScalingActive", "False", "ScalingDisabled", "scale it to 1"),
            (pods, "ScalingActive", "False", "FailedGetPodsMetric", "adapter that serves queue at"),
            (cpu(), "ScalingActive", "True", "ValidMetricFound", "nothing: it follows"),
            (cpu(), "ScalingLimited", "True", "TooFewReplicas", "nothing: it follows"),
        ] {
            let condition = json!({ "type": kind, "status": status, "reason": reason });
            let object = json!({ "spec": spec(metric, 5),
                "status": { "desiredReplicas": 1, "conditions": [condition] } });
            let object: HorizontalPodAutoscaler = serde_json::from_value(object).unwrap();
            let next = Horizontal::of(&object).next;
            assert!(next.contains(part), "{reason}: {next}");
        }
    }
}
