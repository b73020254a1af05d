//! What is measured of requests, by revision. A request costs a look at a short list and a few additions.
//!
//! Source: knative/serving `pkg/activator/handler/metrics.go`, `metric_handler.go`; the time of cold starts is ours.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{keys, serving};
use http::StatusCode;
use kube::ResourceExt;
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec};
use proxy::exposition::SECONDS;
use runtime::{
    cluster::Key,
    metrics::{Metrics, REVISION},
};

/// What is measured of all revisions.
pub struct Told {
    duration: HistogramVec,
    cold: HistogramVec,
    /// Of revisions that have had requests, until they are deleted.
    revisions: Mutex<HashMap<Key, Arc<OfRevision>>>,
}

/// What is measured of one revision.
pub struct OfRevision {
    /// The values of [`REVISION`].
    pub labels: [String; 4],
    duration: HistogramVec,
    kinds: Mutex<Vec<(&'static str, StatusCode, Histogram)>>,
    /// Absent until there was a cold start.
    cold: Mutex<Option<Histogram>>,
    colds: HistogramVec,
}

impl Told {
    /// Registers what is measured.
    pub fn new(metrics: &Metrics) -> Told {
        let labels =
            [&["http_request_method", "http_response_status_code"][..], &REVISION].concat();
        Told {
            duration: metrics.histograms(
                "http_server_request_duration_seconds",
                "Duration of HTTP server requests.",
                &labels,
                SECONDS,
            ),
            cold: metrics.histograms(
                "kn_revision_cold_start_duration_seconds",
                "Time for which the first request to a revision without pods was held.",
                &REVISION,
                SECONDS,
            ),
            revisions: Mutex::default(),
        }
    }

    /// What is measured of `revision`.
    pub fn of(&self, key: &Key, revision: &serving::Revision) -> Arc<OfRevision> {
        let mut revisions = self.revisions.lock();
        let known = revisions.entry(key.clone()).or_insert_with(|| {
            let label = |name: &str| revision.labels().get(name).cloned().unwrap_or_default();
            Arc::new(OfRevision {
                labels: [
                    key.namespace.to_string(),
                    label(keys::serving::CONFIGURATION),
                    key.name.to_string(),
                    label(keys::serving::SERVICE),
                ],
                duration: self.duration.clone(),
                kinds: Mutex::default(),
                cold: Mutex::default(),
                colds: self.cold.clone(),
            })
        });
        known.clone()
    }

    /// A deleted revision is not told of any more.
    pub fn forget(&self, key: &Key) {
        let Some(told) = self.revisions.lock().remove(key) else { return };
        let labels = told.labels.each_ref().map(String::as_str);
        for (method, code, _) in told.kinds.lock().drain(..) {
            // It was there, unless it was registered anew meanwhile.
            let _ = self.duration.remove_label_values(&whole(method, code, &labels));
        }
        if told.cold.lock().is_some() {
            let _ = self.cold.remove_label_values(&labels);
        }
    }
}

impl OfRevision {
    /// Takes that a request has ended.
    pub fn ended(&self, method: &'static str, code: StatusCode, latency: Duration) {
        let mut kinds = self.kinds.lock();
        let known = kinds.iter().position(|it| it.0 == method && it.1 == code);
        let at = known.unwrap_or_else(|| {
            let labels = self.labels.each_ref().map(String::as_str);
            let histogram = self.duration.with_label_values(&whole(method, code, &labels));
            kinds.push((method, code, histogram));
            kinds.len() - 1
        });
        kinds[at].2.observe(latency.as_secs_f64());
    }

    /// Takes that the first request of a cold start was held for so long.
    pub fn warmed(&self, held: Duration) {
        let mut cold = self.cold.lock();
        let histogram = cold.get_or_insert_with(|| {
            self.colds.with_label_values(&self.labels.each_ref().map(String::as_str))
        });
        histogram.observe(held.as_secs_f64());
    }
}

fn whole(method: &'static str, code: StatusCode, labels: &[&str; 4]) -> [String; 6] {
    let [namespace, configuration, revision, service] = labels.map(str::to_owned);
    [method.to_owned(), code.as_str().to_owned(), namespace, configuration, revision, service]
}
