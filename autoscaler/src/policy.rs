//! What a revision's annotations and the cluster's configuration say about its scale.
//!
//! Pure: annotations and configuration in, one record out.
//! Source: knative/serving `pkg/apis/autoscaling/v1alpha1/pa_lifecycle.go`,
//! `pkg/reconciler/autoscaling/{resources/target.go,kpa/resources/decider.go}`.

use std::{collections::BTreeMap, time::Duration};

use api::{autoscaling::PodAutoscaler, keys};

use crate::window::Aggregation;

/// How a revision scales: by what, how fast, within which bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What is counted.
    pub metric: Metric,
    /// Load that each pod should carry; greater than 0.
    pub target: f64,
    /// Load that one pod can carry; at least the target.
    pub capacity: f64,
    /// Burst that the ready pods must be able to take for the activator to leave the path.
    /// 0: the activator is in the path only while there is no pod. None: it always is.
    pub burst_capacity: Option<f64>,
    /// Load that one activator can carry.
    pub activator_capacity: f64,
    /// Load over capacity of the ready pods at which panic begins.
    pub panic_threshold: f64,
    /// Time over which load is averaged.
    pub stable_window: Duration,
    /// Time over which load is averaged to see a burst.
    pub panic_window: Duration,
    /// How the seconds of a window weigh.
    pub aggregation: Aggregation,
    /// Largest growth in one decision, as a factor of the ready pods; greater than 1.
    pub max_up_rate: f64,
    /// Largest shrinkage in one decision, as a divisor of the ready pods; greater than 1.
    pub max_down_rate: f64,
    /// How long a smaller number must be wanted before it is applied; none is at once.
    pub scale_down_delay: Option<Duration>,
    /// Pods that a revision with any load has at least; 0 and 1 change nothing.
    pub activation_scale: u32,
    /// Pods that a new revision starts with.
    pub initial_scale: u32,
    /// Fewest pods; 0 while no route points at the revision.
    pub min_scale: u32,
    /// Most pods; none is no limit.
    pub max_scale: Option<u32>,
    /// False when no route points at the revision: it may then shrink at once.
    pub reachable: bool,
    /// Whether the last pod may go at all.
    pub to_zero: bool,
    /// How long requests must have gone through the activator before the last pod goes.
    pub grace: Duration,
    /// How long the last pod stays after the last request, whatever the network does.
    pub retention: Duration,
    /// How long a revision may take to become ready before it is given up.
    pub activation_timeout: Duration,
}

/// What is counted of a revision's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// Requests in flight.
    #[default]
    Concurrency,
    /// Requests that arrive in a second.
    Rate,
}

/// Added to the progress deadline before an activation is given up, so that the revision's
/// controller can first say what is wrong with its pods.
const ACTIVATION_BUFFER: Duration = Duration::from_secs(30);
/// The smallest target.
const SMALLEST_TARGET: f64 = 0.01;
/// The part of its capacity that a pod should carry when requests per second are counted.
const RATE_UTILIZATION: f64 = 0.7;

impl Default for Policy {
    /// The policy of a PodAutoscaler without annotations under the default configuration.
    fn default() -> Policy {
        policy(&PodAutoscaler::default(), &config::Config::default())
    }
}

/// The policy of `autoscaler` under `config`. Annotations that do not parse count as absent:
/// admission refuses them, so they can only be older than it.
pub fn policy(autoscaler: &PodAutoscaler, config: &config::Config) -> Policy {
    let annotations = autoscaler.metadata.annotations.as_ref();
    let cluster = &config.autoscaler;
    let number = |names: &[&str]| -> Option<f64> { find(annotations, names)?.parse().ok() };
    let count = |names: &[&str]| -> Option<u32> { find(annotations, names)?.parse().ok() };
    let duration =
        |names: &[&str]| -> Option<Duration> { parse_duration(find(annotations, names)?) };

    let metric = match find(annotations, &[keys::autoscaling::METRIC]) {
        Some(keys::autoscaling::RPS) => Metric::Rate,
        _ => Metric::Concurrency,
    };
    let limit =
        autoscaler.spec.container_concurrency.filter(|limit| *limit > 0).map(|limit| limit as f64);
    let (capacity, utilization) = match metric {
        Metric::Rate => (cluster.requests_per_second_target_default, RATE_UTILIZATION),
        Metric::Concurrency => (
            limit.unwrap_or(cluster.container_concurrency_target_default),
            cluster.container_concurrency_target_percentage / 100.0,
        ),
    };
    let capacity = match (number(keys::autoscaling::TARGET), metric, limit) {
        (Some(target), Metric::Concurrency, Some(limit)) => target.min(limit),
        (Some(target), ..) => target,
        (None, ..) => capacity,
    };
    let utilization = number(keys::autoscaling::TARGET_UTILIZATION)
        .map_or(utilization, |percent| percent / 100.0);

    let stable_window = duration(keys::autoscaling::WINDOW).unwrap_or(cluster.stable_window);
    let panic_percentage = number(keys::autoscaling::PANIC_WINDOW_PERCENTAGE)
        .unwrap_or(cluster.panic_window_percentage);
    let panic_seconds = (stable_window.as_secs_f64() * panic_percentage / 100.0).round().max(1.0);

    let reachable = autoscaler.spec.reachability.as_deref() != Some("Unreachable");
    let initial_scale = count(keys::autoscaling::INITIAL_SCALE)
        .filter(|scale| *scale > 0 || cluster.allow_zero_initial_scale)
        .unwrap_or(cluster.initial_scale as u32);
    let min_scale = count(keys::autoscaling::MIN_SCALE).unwrap_or(cluster.min_scale as u32);
    let max_scale = count(keys::autoscaling::MAX_SCALE).unwrap_or(cluster.max_scale as u32);
    let retention = duration(keys::autoscaling::RETENTION)
        .unwrap_or(cluster.scale_to_zero_pod_retention_period);
    let burst_capacity =
        number(keys::autoscaling::TARGET_BURST_CAPACITY).unwrap_or(cluster.target_burst_capacity);

    Policy {
        metric,
        target: (capacity * utilization).max(SMALLEST_TARGET),
        capacity,
        burst_capacity: (burst_capacity >= 0.0).then_some(burst_capacity),
        activator_capacity: cluster.activator_capacity,
        panic_threshold: number(keys::autoscaling::PANIC_THRESHOLD_PERCENTAGE)
            .unwrap_or(cluster.panic_threshold_percentage)
            / 100.0,
        stable_window,
        panic_window: Duration::from_secs(panic_seconds as u64),
        aggregation: match find(annotations, keys::autoscaling::AGGREGATION) {
            Some("weighted-exponential" | "weightedExponential") => {
                Aggregation::WeightedExponential
            }
            _ => Aggregation::Linear,
        },
        max_up_rate: cluster.max_scale_up_rate,
        max_down_rate: cluster.max_scale_down_rate,
        scale_down_delay: Some(
            duration(keys::autoscaling::SCALE_DOWN_DELAY).unwrap_or(cluster.scale_down_delay),
        )
        .filter(|delay| !delay.is_zero()),
        activation_scale: count(keys::autoscaling::ACTIVATION_SCALE).unwrap_or(0),
        initial_scale,
        min_scale: if reachable { min_scale } else { 0 },
        max_scale: Some(max_scale).filter(|most| *most > 0),
        reachable,
        to_zero: cluster.enable_scale_to_zero,
        grace: cluster.scale_to_zero_grace_period,
        retention: if reachable { retention } else { Duration::ZERO },
        activation_timeout: ACTIVATION_BUFFER
            + duration(&[keys::serving::PROGRESS_DEADLINE])
                .unwrap_or(config.deployment.progress_deadline),
    }
}

/// The value of the first of `names` that is set.
fn find<'a>(annotations: Option<&'a BTreeMap<String, String>>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| annotations?.get(*name)).map(String::as_str)
}

/// A duration as Go writes them: `1h30m`, `2.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    api::go::parse_duration(text).ok()?.try_into().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of a PodAutoscaler with these annotations, without their common prefix.
    fn policy_of(annotations: &[(&str, &str)], concurrency: i64) -> Policy {
        let mut autoscaler = PodAutoscaler::default();
        autoscaler.spec.container_concurrency = Some(concurrency);
        autoscaler.metadata.annotations = Some(
            annotations
                .iter()
                .map(|(name, value)| (format!("autoscaling.knative.dev/{name}"), value.to_string()))
                .collect(),
        );
        policy(&autoscaler, &config::Config::default())
    }

    #[test]
    fn without_annotations_the_configuration_holds() {
        let found = policy_of(&[], 0);
        assert_eq!((found.target, found.capacity), (70.0, 100.0));
        assert_eq!(found.burst_capacity, Some(211.0));
        assert_eq!(found.panic_threshold, 2.0);
        assert_eq!(found.stable_window, Duration::from_secs(60));
        assert_eq!(found.panic_window, Duration::from_secs(6));
        assert_eq!((found.max_up_rate, found.max_down_rate), (1000.0, 2.0));
        assert_eq!((found.min_scale, found.max_scale, found.initial_scale), (0, None, 1));
        assert_eq!((found.grace, found.retention), (Duration::from_secs(30), Duration::ZERO));
        assert_eq!(found.scale_down_delay, None);
        assert_eq!(found.activation_timeout, Duration::from_secs(630));
        assert!(found.reachable && found.to_zero);
    }

    #[test]
    fn the_target_is_a_part_of_what_a_pod_can_carry() {
        let check = |annotations: &[(&str, &str)], concurrency, target, capacity| {
            let found = policy_of(annotations, concurrency);
            assert_eq!((found.target, found.capacity), (target, capacity), "{annotations:?}");
        };
        check(&[], 10, 7.0, 10.0);
        check(&[("target", "5")], 0, 3.5, 5.0);
        check(&[("target", "50")], 10, 7.0, 10.0); // never more than the pod admits
        check(&[("target", "5")], 10, 3.5, 5.0);
        check(&[("target", "0.01")], 0, 0.01, 0.01); // the smallest target
        check(&[("target-utilization-percentage", "50")], 0, 50.0, 100.0);
        check(&[("targetUtilizationPercentage", "50")], 0, 50.0, 100.0);
        check(&[("metric", "rps")], 10, 140.0, 200.0);
        check(&[("metric", "rps"), ("target", "100")], 10, 70.0, 100.0);
    }

    #[test]
    fn annotations_win_in_both_spellings() {
        let found = policy_of(
            &[
                ("min-scale", "2"),
                ("minScale", "9"),
                ("maxScale", "7"),
                ("initial-scale", "3"),
                ("activation-scale", "4"),
                ("scale-down-delay", "1m30s"),
                ("scaleToZeroPodRetentionPeriod", "40s"),
                ("window", "120s"),
                ("panic-window-percentage", "20"),
                ("panicThresholdPercentage", "300"),
                ("target-burst-capacity", "-1"),
                ("metric-aggregation-algorithm", "weightedExponential"),
            ],
            0,
        );
        assert_eq!((found.min_scale, found.max_scale), (2, Some(7)));
        assert_eq!((found.initial_scale, found.activation_scale), (3, 4));
        assert_eq!(found.scale_down_delay, Some(Duration::from_secs(90)));
        assert_eq!(found.retention, Duration::from_secs(40));
        assert_eq!(found.stable_window, Duration::from_secs(120));
        assert_eq!(found.panic_window, Duration::from_secs(24));
        assert_eq!(found.panic_threshold, 3.0);
        assert_eq!(found.burst_capacity, None);
        assert_eq!(found.aggregation, Aggregation::WeightedExponential);
    }

    #[test]
    fn a_zero_initial_scale_needs_leave() {
        assert_eq!(policy_of(&[("initial-scale", "0")], 0).initial_scale, 1);
        let mut config = config::Config::default();
        config.autoscaler.allow_zero_initial_scale = true;
        let mut autoscaler = PodAutoscaler::default();
        autoscaler.metadata.annotations =
            Some([("autoscaling.knative.dev/initial-scale".to_owned(), "0".to_owned())].into());
        assert_eq!(policy(&autoscaler, &config).initial_scale, 0);
    }

    #[test]
    fn an_unreachable_revision_needs_no_pod() {
        let mut autoscaler = PodAutoscaler::default();
        autoscaler.spec.reachability = Some("Unreachable".to_owned());
        autoscaler.metadata.annotations = Some(
            [("min-scale", "2"), ("scale-to-zero-pod-retention-period", "1m")]
                .map(|(name, value)| (format!("autoscaling.knative.dev/{name}"), value.to_owned()))
                .into(),
        );
        let found = policy(&autoscaler, &config::Config::default());
        assert_eq!((found.min_scale, found.retention, found.reachable), (0, Duration::ZERO, false));
    }
}
