//! Counts what a role does, for Prometheus. A registry belongs to one platform.

use std::sync::Arc;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Metrics of one platform. Clones share them. A name is registered once; asking again for it is a
/// bug in the caller.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Registry>,
}

/// Why registering cannot fail: names are constants of ours.
const UNIQUE: &str = "metric names are valid and unique";

impl Metrics {
    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let metric = IntCounter::new(name, help).expect(UNIQUE);
        self.register(metric)
    }

    /// A counter for each combination of labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let metric = IntCounterVec::new(Opts::new(name, help), labels).expect(UNIQUE);
        self.register(metric)
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let metric = IntGauge::new(name, help).expect(UNIQUE);
        self.register(metric)
    }

    /// A number that goes up and down, for each combination of labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect(UNIQUE);
        self.register(metric)
    }

    /// A fraction that goes up and down.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        let metric = Gauge::new(name, help).expect(UNIQUE);
        self.register(metric)
    }

    /// A fraction that goes up and down, for each combination of labels.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let metric = GaugeVec::new(Opts::new(name, help), labels).expect(UNIQUE);
        self.register(metric)
    }

    /// A distribution; `bounds` are the upper bounds of its buckets, growing.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        let metric = Histogram::with_opts(options).expect(UNIQUE);
        self.register(metric)
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
        let metric = HistogramVec::new(options, labels).expect(UNIQUE);
        self.register(metric)
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("a Vec takes all that is written");
        String::from_utf8(text).expect("the text format is UTF-8")
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> M {
        self.registry.register(Box::new(metric.clone())).expect(UNIQUE);
        metric
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
}
