//! Metrics as Prometheus reads them: under the names that OpenTelemetry's exporter gives them, and if wanted also under
//! those that Knative had before, with the labels and units of that time.
//!
//! Pure: families in, text out.
//! Source: Knative 1.18 and before, OpenCensus's Prometheus exporter; since then, OpenTelemetry's.

use http::Method;
use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

/// Upper bounds of durations, in seconds. Source: knative/serving `pkg/queue/request_metric.go`.
pub const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Upper bounds of bodies, in bytes. Source: OpenTelemetry's default for histograms.
pub const BYTES: &[f64] = &[
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0,
    10000.0,
];

/// A metric that had another name.
pub struct Old {
    pub new: &'static str,
    pub old: &'static str,
    /// What counted its observations, where that was a metric of its own.
    pub count: &'static str,
    /// Units of old in one of new: durations were in milliseconds.
    pub scale: f64,
}

/// What was called otherwise in the metrics of a queue.
pub const OF_QUEUE: &[Old] = &[
    timed(
        "http_server_request_duration_seconds",
        "revision_request_latencies",
        "revision_request_count",
    ),
    timed(
        "kn_serving_invocation_duration_seconds",
        "revision_app_request_latencies",
        "revision_app_request_count",
    ),
    same("kn_serving_queue_depth", "revision_queue_depth"),
];

/// What was called otherwise in the metrics of the other roles.
pub const OF_ROLES: &[Old] = &[
    timed(
        "http_server_request_duration_seconds",
        "activator_request_latencies",
        "activator_request_count",
    ),
    same("kn_revision_request_concurrency", "activator_request_concurrency"),
    same("kn_activator_stats_conn_reachable", "activator_reachable"),
    same("kn_revision_pods_desired", "autoscaler_desired_pods"),
    same("kn_revision_pods_requested", "autoscaler_requested_pods"),
    same("kn_revision_pods_count", "autoscaler_actual_pods"),
    same("kn_revision_pods_not_ready_count", "autoscaler_not_ready_pods"),
    same("kn_revision_pods_pending_count", "autoscaler_pending_pods"),
    same("kn_revision_pods_terminating_count", "autoscaler_terminating_pods"),
    same("kn_revision_capacity_excess", "autoscaler_excess_burst_capacity"),
    same("kn_revision_panic_mode", "autoscaler_panic_mode"),
    same("kn_revision_concurrency_stable", "autoscaler_stable_request_concurrency"),
    same("kn_revision_concurrency_panic", "autoscaler_panic_request_concurrency"),
    same("kn_revision_concurrency_target", "autoscaler_target_concurrency_per_pod"),
    same("kn_revision_rps_stable_per_second", "autoscaler_stable_requests_per_second"),
    same("kn_revision_rps_panic_per_second", "autoscaler_panic_requests_per_second"),
    same("kn_revision_rps_target_per_second", "autoscaler_target_requests_per_second"),
    same("kn_workqueue_depth", "controller_work_queue_depth"),
    timed(
        "kn_workqueue_process_duration_seconds",
        "controller_reconcile_latency",
        "controller_reconcile_count",
    ),
];

const fn timed(new: &'static str, old: &'static str, count: &'static str) -> Old {
    Old { new, old, count, scale: 1000.0 }
}

const fn same(new: &'static str, old: &'static str) -> Old {
    Old { new, old, count: "", scale: 1.0 }
}

/// The text of `families` and of what they are measured on, which is `target`: labels of `target_info`. With `old` also
/// under those names; labels of `target` were each metric's own then.
pub fn text(
    mut families: Vec<MetricFamily>,
    target: &[(&str, &str)],
    old: Option<&[Old]>,
) -> String {
    for it in old.unwrap_or_default() {
        let Some(new) = families.iter().find(|family| family.name() == it.new) else { continue };
        let renamed = before(new, it, target);
        if !it.count.is_empty() {
            families.push(counts(&renamed, it.count));
        }
        families.push(renamed);
    }
    if !target.is_empty() {
        let labels = target.iter().map(|(name, value)| label(name, value)).collect();
        let mut one = Gauge::default();
        one.set_value(1.0);
        let mut metric = Metric::from_gauge(one);
        metric.set_label(labels);
        let mut info = MetricFamily::default();
        info.set_name("target_info".to_owned());
        info.set_help("Target metadata".to_owned());
        info.set_field_type(MetricType::GAUGE);
        info.set_metric(vec![metric]);
        families.push(info);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).expect("a Vec takes all that is written");
    String::from_utf8(text).expect("the text format is UTF-8")
}

/// Methods that everybody knows by name; clients may invent others.
pub fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// A family as it was before.
fn before(new: &MetricFamily, names: &Old, target: &[(&str, &str)]) -> MetricFamily {
    let scale = names.scale;
    let metrics = new.get_metric().iter().map(|metric| {
        let mut metric = metric.clone();
        let mut labels: Vec<LabelPair> = Vec::new();
        for it in metric.get_label() {
            labels.push(label(old_label(it.name()), it.value()));
            if it.name() == "http_response_status_code" {
                let class = it.value().get(..1).unwrap_or_default();
                labels.push(label("response_code_class", &format!("{class}xx")));
            }
        }
        for (name, value) in target {
            let old = old_label(name);
            // The rest is of OpenTelemetry alone.
            if old != *name && labels.iter().all(|it| it.name() != old) {
                labels.push(label(old, value));
            }
        }
        metric.set_label(labels);
        if new.get_field_type() == MetricType::HISTOGRAM {
            let from = metric.get_histogram().clone();
            let mut to = Histogram::default();
            to.set_sample_count(from.get_sample_count());
            to.set_sample_sum(from.get_sample_sum() * scale);
            let buckets = from.get_bucket().iter().map(|from| {
                let mut to = Bucket::default();
                to.set_cumulative_count(from.cumulative_count());
                to.set_upper_bound(from.upper_bound() * scale);
                to
            });
            to.set_bucket(buckets.collect());
            metric.set_histogram(to);
        }
        metric
    });
    let mut old = MetricFamily::default();
    old.set_name(names.old.to_owned());
    old.set_help(new.help().to_owned());
    old.set_field_type(new.get_field_type());
    old.set_metric(metrics.collect());
    old
}

/// How often each of the histograms observed something.
fn counts(histograms: &MetricFamily, name: &str) -> MetricFamily {
    let metrics = histograms.get_metric().iter().map(|from| {
        let mut counter = Counter::default();
        counter.set_value(from.get_histogram().get_sample_count() as f64);
        let mut metric = Metric::from_label(from.get_label().to_vec());
        metric.set_counter(counter);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(histograms.help().to_owned());
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(metrics.collect());
    family
}

fn old_label(new: &str) -> &str {
    match new {
        "kn_service_name" => "service_name",
        "kn_configuration_name" => "configuration_name",
        "kn_revision_name" => "revision_name",
        "kn_route_tag" => "route_tag",
        "k8s_namespace_name" => "namespace_name",
        "k8s_pod_name" => "pod_name",
        "k8s_container_name" => "container_name",
        "http_response_status_code" => "response_code",
        // Of a work queue.
        "name" => "reconciler",
        other => other,
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, Registry};

    use super::*;

    #[test]
    fn old_names_have_the_units_and_labels_of_their_time() {
        let registry = Registry::new();
        let options = HistogramOpts::new("kn_serving_invocation_duration_seconds", "How long.")
            .buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(options, &["http_response_status_code"]).expect("valid");
        registry.register(Box::new(histogram.clone())).expect("new");
        histogram.with_label_values(&["404"]).observe(0.75);
        let target =
            [("service_name", "hello"), ("kn_revision_name", "hello-1"), ("k8s_pod_name", "p")];
        let new = text(registry.gather(), &target, None);
        for line in [
            "kn_serving_invocation_duration_seconds_bucket{http_response_status_code=\"404\",le=\"0.5\"} 0\n",
            "kn_serving_invocation_duration_seconds_bucket{http_response_status_code=\"404\",le=\"1\"} 1\n",
            "kn_serving_invocation_duration_seconds_sum{http_response_status_code=\"404\"} 0.75\n",
            "target_info{service_name=\"hello\",kn_revision_name=\"hello-1\",k8s_pod_name=\"p\"} 1\n",
        ] {
            assert!(new.contains(line), "{line} is not in {new}");
        }
        assert!(!new.contains("revision_app"), "{new}");
        let both = text(registry.gather(), &target, Some(OF_QUEUE));
        assert!(
            both.starts_with(new.split("# HELP target_info").next().expect("a part")),
            "{both}"
        );
        let labels = "response_code=\"404\",response_code_class=\"4xx\",\
                      revision_name=\"hello-1\",pod_name=\"p\"";
        for line in [
            format!("revision_app_request_count{{{labels}}} 1\n"),
            format!("revision_app_request_latencies_bucket{{{labels},le=\"500\"}} 0\n"),
            format!("revision_app_request_latencies_bucket{{{labels},le=\"1000\"}} 1\n"),
            format!("revision_app_request_latencies_sum{{{labels}}} 750\n"),
        ] {
            assert!(both.contains(&line), "{line} is not in {both}");
        }
    }
}
