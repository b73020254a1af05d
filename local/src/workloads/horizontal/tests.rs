//! Tables of the algorithm; those of counts are upstream's own cases.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    super::objects::{Object, Requests},
    *,
};

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn before(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

fn autoscaler(spec: Value) -> Horizontal {
    let mut object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "ns"}, "spec": {"maxReplicas": 100, "scaleTargetRef":
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    let object: k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler =
        serde_json::from_value(object).unwrap();
    match object.into() {
        Object::Horizontal(it) => it,
        _ => unreachable!(),
    }
}

/// A pod that started a minute ago, and since when it is ready.
fn pod(number: usize, ready: bool, request_milli: Option<i64>) -> Pod {
    let object = json!({"metadata": {"name": format!("pod-{number}"), "namespace": "ns"}, "status": {
        "phase": "Running", "startTime": before(60).to_string(), "conditions": [{"type": "Ready",
        "status": if ready { "True" } else { "False" }, "lastTransitionTime": before(50).to_string()}]}});
    let object: k8s_openapi::api::core::v1::Pod = serde_json::from_value(object).unwrap();
    match object.into() {
        Object::Pod(mut it) => {
            let requests =
                Requests { container: "main".into(), cpu_milli: request_milli, memory_milli: None };
            it.requests = [requests].into();
            it
        }
        _ => unreachable!(),
    }
}

fn figures(number: usize, cpu_milli: i64) -> Figures {
    let usage = [("cpu".to_owned(), cpu_milli), ("memory".to_owned(), cpu_milli << 20)];
    Figures {
        pod: format!("pod-{number}"),
        at: before(1),
        window: Duration::from_secs(10),
        containers: [("main".to_owned(), usage.into())].into(),
    }
}

fn percent(target: i32) -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target":
        {"type": "Utilization", "averageUtilization": target}}}])
}

/// The decision for pods of which each is ready or not, requests so much, and uses so much if that is known.
fn decided(it: &Horizontal, current: i32, pods: &[(bool, Option<i64>, Option<i64>)]) -> Decision {
    let objects: Vec<Pod> = pods.iter().enumerate().map(|(at, it)| pod(at, it.0, it.1)).collect();
    let known = pods.iter().enumerate().filter_map(|(at, it)| Some(figures(at, it.2?)));
    let selector = LabelSelector::default();
    let seen = Seen {
        target: Ok(Target { kind: Kind::Deployment, replicas: current, selector: &selector }),
        pods: objects.iter().collect(),
        figures: Ok(known.collect()),
    };
    decide(it, &seen, Memory::default(), now()).1
}

/// `type=status/reason` of the conditions.
fn words(decision: &Decision) -> String {
    let words =
        decision.conditions.iter().map(|it| format!("{}={}/{}", it.type_, it.is_true, it.reason));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn counts_are_as_upstream_counts() {
    const READY: bool = true;
    const UNREADY: bool = false;
    let check = |current, target, pods: &[(bool, i64, Option<i64>)], replicas, found| {
        let rules = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies":
            [{"type": "Percent", "value": 1000, "periodSeconds": 15}]});
        let it = autoscaler(json!({"metrics": percent(target),
            "behavior": {"scaleUp": rules, "scaleDown": rules}}));
        let pods: Vec<_> = pods.iter().map(|it| (it.0, Some(it.1), it.2)).collect();
        let decision = decided(&it, current, &pods);
        assert_eq!(decision.desired, Some(replicas), "{pods:?}: {decision:?}");
        let value = decision.metrics[0].resource.as_ref().unwrap().current.average_utilization;
        assert_eq!(value, Some(found), "{pods:?}");
    };
    let all = |levels: &[i64]| -> Vec<(bool, i64, Option<i64>)> {
        levels.iter().map(|it| (READY, 1000, Some(*it))).collect()
    };
    check(3, 30, &all(&[300, 500, 700]), 5, 50);
    check(5, 50, &all(&[100, 300, 500, 250, 250]), 3, 28);
    check(
        3,
        100,
        &[(READY, 900, Some(1010)), (READY, 1000, Some(1030)), (READY, 1100, Some(1020))],
        3,
        102,
    );
    // Unready pods count as idle where others are busy, and not at all where they are not.
    let (a, b) = ((READY, 1000, Some(500)), (READY, 1000, Some(700)));
    check(3, 30, &[(UNREADY, 1000, Some(300)), a, b], 4, 60);
    check(
        4,
        50,
        &[(UNREADY, 1000, Some(100)), all(&[100])[0], all(&[100])[0], (READY, 1000, None)],
        3,
        10,
    );
    // Pods without figures count against a change.
    let lost = (READY, 1000, None);
    check(2, 100, &[(READY, 1000, Some(1000)), lost], 2, 100);
    check(2, 100, &[(READY, 1000, Some(1900)), lost], 2, 190);
    check(2, 100, &[(READY, 1000, Some(600)), lost], 2, 60);
    check(3, 50, &[(UNREADY, 1000, Some(100)), (READY, 1000, Some(450)), lost], 3, 45);
    check(3, 50, &[(UNREADY, 1000, Some(100)), (READY, 1000, Some(2000)), lost], 4, 200);
}

#[test]
fn a_use_of_memory_is_compared_with_an_amount() {
    let target = json!({"type": "AverageValue", "averageValue": "500Ki"});
    let it = autoscaler(json!({"metrics":
        [{"type": "Resource", "resource": {"name": "memory", "target": target}}]}));
    // 1 Mi, in thousandths, is what 1000 thousandths of a processor stand for in these figures.
    let decision = decided(&it, 1, &[(true, None, Some(1000))]);
    assert_eq!(decision.rescale, Some(3));
    let value = decision.metrics[0].resource.as_ref().unwrap().current.average_value.clone();
    assert_eq!(value.unwrap().0, "1048576");
    let note = &decision.notes[0];
    assert_eq!(
        (note.reason, &*note.message),
        ("SuccessfulRescale", "New size: 3; reason: memory resource above target")
    );
}

#[test]
fn what_is_missing_is_said() {
    let check =
        |spec: Value, pods: &[(bool, Option<i64>, Option<i64>)], reason: &str, text: &str| {
            let decision = decided(&autoscaler(spec), 1, pods);
            let active = decision.conditions.iter().find(|it| it.type_ == ACTIVE).unwrap();
            assert_eq!((active.is_true, active.reason), (false, reason));
            let text = format!("the HPA was unable to compute the replica count: {text}");
            assert_eq!(active.message, text);
            assert_eq!((decision.rescale, decision.desired), (None, None));
            assert_eq!(decision.notes.last().unwrap().reason, "FailedComputeMetricsReplicas");
        };
    let cpu = || json!({"metrics": percent(50)});
    check(
        cpu(),
        &[(true, Some(100), None)],
        "FailedGetResourceMetric",
        "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API",
    );
    check(
        cpu(),
        &[(true, None, Some(100))],
        "FailedGetResourceMetric",
        "failed to get cpu utilization: missing request for cpu in container main of Pod pod-0",
    );
    check(
        cpu(),
        &[(false, Some(100), Some(100))],
        "FailedGetResourceMetric",
        "failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)",
    );
    check(
        json!({"metrics": [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "target":
            {"type": "AverageValue", "averageValue": "10"}}}]}),
        &[(true, Some(100), Some(100))],
        "FailedGetPodsMetric",
        "unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API \
         (custom.metrics.k8s.io) registered",
    );
}

#[test]
fn bounds_come_before_metrics() {
    let it = autoscaler(json!({"minReplicas": 2, "maxReplicas": 4, "metrics": percent(50)}));
    let check = |current, desired, words_of: &str| {
        let decision = decided(&it, current, &[(true, Some(100), Some(50))]);
        assert_eq!((decision.desired, &*words(&decision)), (Some(desired), words_of));
    };
    check(1, 2, "AbleToScale=true/SucceededRescale");
    check(9, 4, "AbleToScale=true/SucceededRescale");
    check(0, 0, "AbleToScale=true/SucceededGetScale ScalingActive=false/ScalingDisabled");
    check(
        3,
        3,
        "ScalingActive=true/ValidMetricFound AbleToScale=true/ReadyForNewScale \
         ScalingLimited=false/DesiredWithinRange",
    );
}

/// A memory of recommendations and changes, by how many seconds ago.
fn memory(recommended: &[(i64, i32)], changes: &[(i64, i32)]) -> Memory {
    let mut memory = Memory::default();
    let behavior = Default::default();
    for (ago, count) in recommended {
        let bounds = Bounds { least: 0, most: 1000 };
        memory.limit(None, *count, *count, bounds, before(*ago));
    }
    for (ago, change) in changes {
        memory.rescaled(Some(&behavior), 100, 100 + change, before(*ago));
    }
    memory
}

#[test]
fn recommendations_are_held_back() {
    let bounds = Bounds { least: 1, most: 50 };
    let check = |behavior: Value,
                 recommended: &[(i64, i32)],
                 changes: &[(i64, i32)],
                 current,
                 wanted,
                 expected: (i32, &str, &str)| {
        let behavior = serde_json::from_value(behavior).unwrap();
        let behavior: Option<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior> =
            behavior;
        let found =
            memory(recommended, changes).limit(behavior.as_ref(), current, wanted, bounds, now());
        let stabilized = found.stabilized.map_or("", |it| it.0);
        assert_eq!(
            (found.replicas, stabilized, found.limited.1),
            expected,
            "{behavior:?} {recommended:?} {changes:?} {current} {wanted}"
        );
    };
    const WITHIN: &str = "DesiredWithinRange";
    // Without rules.
    check(Value::Null, &[], &[], 10, 12, (12, "", WITHIN));
    check(Value::Null, &[], &[], 10, 30, (20, "", "ScaleUpLimit"));
    check(Value::Null, &[], &[], 1, 30, (4, "", "ScaleUpLimit"));
    check(Value::Null, &[], &[], 40, 60, (50, "", "TooManyReplicas"));
    check(Value::Null, &[(299, 8)], &[], 10, 3, (8, "ScaleDownStabilized", WITHIN));
    check(Value::Null, &[(301, 8)], &[], 10, 3, (3, "", WITHIN));
    check(Value::Null, &[], &[], 3, 0, (1, "", "TooFewReplicas"));
    // With rules, as the API fills them in.
    let rules = |window: i32, policies: Value, select: &str| json!({"stabilizationWindowSeconds": window, "selectPolicy": select, "policies": policies});
    let pods =
        |value: i32, period: i32| json!({"type": "Pods", "value": value, "periodSeconds": period});
    let share = |value: i32, period: i32| json!({"type": "Percent", "value": value, "periodSeconds": period});
    let usual = json!({"scaleUp": rules(0, json!([pods(4, 15), share(100, 15)]), "Max"),
        "scaleDown": rules(300, json!([share(100, 15)]), "Max")});
    check(usual.clone(), &[], &[], 1, 30, (5, "", "ScaleUpLimit"));
    check(usual.clone(), &[], &[], 10, 30, (20, "", "ScaleUpLimit"));
    check(usual.clone(), &[], &[(10, 5)], 10, 30, (10, "", "ScaleUpLimit"));
    check(usual.clone(), &[], &[(16, 5)], 10, 30, (20, "", "ScaleUpLimit"));
    check(usual.clone(), &[(100, 7)], &[], 10, 2, (7, "ScaleDownStabilized", WITHIN));
    check(usual, &[(100, 7)], &[], 3, 2, (3, "ScaleDownStabilized", WITHIN));
    let careful = json!({"scaleUp": rules(60, json!([pods(2, 60), share(10, 60)]), "Min"),
        "scaleDown": rules(0, json!([pods(2, 60), share(50, 60)]), "Min")});
    check(careful.clone(), &[(30, 12)], &[], 10, 30, (11, "ScaleUpStabilized", "ScaleUpLimit"));
    check(careful.clone(), &[(61, 12)], &[], 10, 11, (11, "", WITHIN));
    check(careful.clone(), &[], &[], 10, 1, (8, "", "ScaleDownLimit"));
    check(careful.clone(), &[], &[(30, -2)], 10, 1, (10, "", "ScaleDownLimit"));
    check(careful, &[], &[], 2, 0, (1, "", "TooFewReplicas"));
    let off = json!({"scaleDown": rules(0, json!([share(100, 15)]), "Disabled")});
    check(off, &[], &[], 10, 1, (10, "", "ScaleDownLimit"));
}
