//! Counts what a role does, for Prometheus. A registry belongs to one platform.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use config::Config;
use parking_lot::Mutex;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
    core::Collector,
    proto::{self, LabelPair, Metric, MetricFamily, MetricType},
};
use proxy::exposition;
use tokio::sync::watch;

/// Labels of all that is told of one revision.
pub const REVISION: [&str; 4] =
    ["k8s_namespace_name", "kn_configuration_name", "kn_revision_name", "kn_service_name"];

/// Metrics of one platform. Clones share them. Who asks again for a name gets the same metric.
#[derive(Clone, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    registry: Registry,
    known: Mutex<HashMap<String, Box<dyn Any + Send + Sync>>>,
    readers: Mutex<Vec<Reader>>,
    /// Where the names are configured.
    config: OnceLock<watch::Receiver<Arc<Config>>>,
    /// Labels of `target_info`.
    target: OnceLock<Vec<(&'static str, String)>>,
}

type Reader = Box<dyn Fn(&mut Readings) + Send + Sync>;

/// Numbers that are looked up when somebody reads them, and cost nothing until then.
#[derive(Default)]
pub struct Readings {
    families: BTreeMap<&'static str, (String, BTreeMap<Labels, f64>)>,
}

/// Names and values.
type Labels = Vec<(String, String)>;

/// Why registering cannot fail: names are constants of ours.
const UNIQUE: &str = "metric names are valid and unique";

impl Readings {
    /// A number that goes up and down; what is given for the same labels adds up.
    pub fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let family =
            self.families.entry(name).or_insert_with(|| (help.to_owned(), BTreeMap::new()));
        *family.1.entry(labels.collect()).or_default() += value;
    }

    fn families(self) -> impl Iterator<Item = MetricFamily> {
        self.families.into_iter().map(|(name, (help, values))| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help);
            family.set_field_type(MetricType::GAUGE);
            let metrics = values.into_iter().map(|(labels, value)| {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                let mut metric = Metric::from_gauge(gauge);
                let labels = labels.into_iter().map(|(name, value)| {
                    let mut label = LabelPair::default();
                    label.set_name(name);
                    label.set_value(value);
                    label
                });
                metric.set_label(labels.collect());
                metric
            });
            family.set_metric(metrics.collect());
            family
        })
    }
}

impl Metrics {
    /// Says which role of the platform these are of, and in which of its processes. Of all calls, the first counts.
    pub fn describe(&self, role: &str, instance: &str, config: watch::Receiver<Arc<Config>>) {
        let target = vec![
            ("service_instance_id", instance.to_owned()),
            ("service_name", role.to_owned()),
            ("service_version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        // Both are set once, when the role begins.
        let _ = (self.shared.target.set(target), self.shared.config.set(config));
    }

    /// Calls `reader` each time that somebody reads the metrics.
    pub fn read(&self, reader: impl Fn(&mut Readings) + Send + Sync + 'static) {
        self.shared.readers.lock().push(Box::new(reader));
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.known(name, || IntCounter::new(name, help))
    }

    /// A counter for each combination of labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.known(name, || IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.known(name, || IntGauge::new(name, help))
    }

    /// A number that goes up and down, for each combination of labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.known(name, || IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A fraction that goes up and down.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.known(name, || Gauge::new(name, help))
    }

    /// A fraction that goes up and down, for each combination of labels.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.known(name, || GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A distribution; `bounds` are the upper bounds of its buckets, growing.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.known(name, || Histogram::with_opts(options))
    }

    /// A distribution for each combination of labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.known(name, || HistogramVec::new(options, labels))
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> String {
        let shared = &self.shared;
        let mut readings = Readings::default();
        for reader in shared.readers.lock().iter() {
            reader(&mut readings);
        }
        let mut families = shared.registry.gather();
        families.extend(readings.families());
        let target = shared.target.get().map_or(&[][..], Vec::as_slice);
        let target: Vec<_> = target.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let old = shared.config.get().is_some_and(|it| it.borrow().observability.opencensus_names);
        exposition::text(families, &target, old.then_some(exposition::OF_ROLES))
    }

    fn known<M: Collector + Clone + 'static>(
        &self,
        name: &str,
        make: impl FnOnce() -> prometheus::Result<M>,
    ) -> M {
        let mut known = self.shared.known.lock();
        let metric = known.entry(name.to_owned()).or_insert_with(|| {
            let metric = make().expect(UNIQUE);
            self.shared.registry.register(Box::new(metric.clone())).expect(UNIQUE);
            Box::new(metric)
        });
        metric.downcast_ref::<M>().expect("a name is of one kind of metric").clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_apart() {
        let (one, two) = (Metrics::default(), Metrics::default());
        one.counter("requests_total", "Requests.").inc_by(3);
        two.counter("requests_total", "Requests.").inc();
        assert!(one.text().contains("\nrequests_total 3\n"), "{}", one.text());
        assert!(two.text().contains("\nrequests_total 1\n"), "{}", two.text());
    }

    #[test]
    fn readings_are_looked_up_and_old_names_follow_the_configuration() {
        let metrics = Metrics::default();
        let (sender, config) = watch::channel(Arc::new(Config::default()));
        metrics.describe("autoscaler", "pod-1", config);
        metrics.read(|readings| {
            for (revision, pods) in [("a", 1.0), ("b", 2.0)] {
                let labels = [("kn_revision_name", revision)];
                readings.gauge("kn_revision_pods_desired", "Pods.", &labels, pods);
            }
        });
        let text = metrics.text();
        assert!(text.contains("kn_revision_pods_desired{kn_revision_name=\"b\"} 2\n"), "{text}");
        assert!(
            text.contains("target_info{service_instance_id=\"pod-1\",service_name=\"autoscaler\""),
            "{text}"
        );
        assert!(!text.contains("autoscaler_desired_pods"), "{text}");
        sender.send_modify(|config| {
            Arc::make_mut(config).observability.opencensus_names = true;
        });
        let text = metrics.text();
        let old = "autoscaler_desired_pods{revision_name=\"a\"} 1\n";
        assert!(text.contains(old), "{text}");
    }
}
