//! What a queue measures of requests, if it is asked to; read at its port for metrics.
//!
//! A request finds its numbers among those that requests like it had before, so that it makes no text of labels.
//! Source: knative/serving `pkg/queue/request_metric.go`, `routetag_handler.go`, `sharedmain/otel.go`;
//! OpenTelemetry's `otelhttp`, without the address of the server: clients choose that as they like.

use std::{borrow::Cow, time::Duration};

use api::queue::{CONTAINER, Settings};
use http::{HeaderMap, HeaderName, Request, Version};
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry};

use crate::{
    body::Body,
    exposition::{self, BYTES, SECONDS},
};

/// Kinds of requests that are told apart; tags are what clients ask for, so those beyond this many are one kind.
const KINDS: usize = 256;

const TAG: HeaderName = HeaderName::from_static(api::headers::TAG);
const DEFAULT_ROUTE: HeaderName = HeaderName::from_static(api::headers::DEFAULT_ROUTE);
const UNDEFINED: &str = "kn:undefined";

/// Why making metrics cannot fail: their names are constants of ours.
const VALID: &str = "metric names are valid and unique";

/// The metrics of one queue.
pub(super) struct RequestMetrics {
    registry: Registry,
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    invocation: HistogramVec,
    depth: Option<IntGauge>,
    left_out: Option<IntCounter>,
    kinds: Mutex<Vec<(Kind, Whole)>>,
    codes: Mutex<Vec<(u16, Histogram)>>,
}

/// A request that is measured.
pub(super) struct Measured {
    method: &'static str,
    version: &'static str,
    tag: Cow<'static, str>,
    size: Option<u64>,
}

#[derive(PartialEq)]
struct Kind {
    method: &'static str,
    version: &'static str,
    tag: Cow<'static, str>,
    code: u16,
}

/// The numbers of one kind.
struct Whole {
    duration: Histogram,
    request_size: Histogram,
    response_size: Histogram,
}

impl RequestMetrics {
    pub(super) fn new(settings: &Settings) -> RequestMetrics {
        let registry = Registry::new();
        let histograms = |name: &str, help: &str, labels: &[&str], bounds: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            let metric = HistogramVec::new(options, labels).expect(VALID);
            registry.register(Box::new(metric.clone())).expect(VALID);
            metric
        };
        let labels = [
            "http_request_method",
            "http_response_status_code",
            "kn_route_tag",
            "network_protocol_name",
            "network_protocol_version",
            "url_scheme",
        ];
        let whole = |what: &str, help: &str, bounds| {
            histograms(&format!("http_server_{what}"), help, &labels, bounds)
        };
        let depth = (settings.container_concurrency > 0).then(|| {
            let help = "Number of current requests in the queue";
            let gauge = IntGauge::new("kn_serving_queue_depth", help).expect(VALID);
            registry.register(Box::new(gauge.clone())).expect(VALID);
            gauge
        });
        let left_out = (!settings.request_log_template.is_empty()).then(|| {
            let help = "Lines left out of the request log, as it was not written fast enough";
            let name = "kn_serving_request_log_left_out_total";
            let counter = IntCounter::new(name, help).expect(VALID);
            registry.register(Box::new(counter.clone())).expect(VALID);
            counter
        });
        RequestMetrics {
            duration: whole(
                "request_duration_seconds",
                "Duration of HTTP server requests.",
                SECONDS,
            ),
            request_size: whole(
                "request_body_size_bytes",
                "Size of HTTP server request bodies.",
                BYTES,
            ),
            response_size: whole(
                "response_body_size_bytes",
                "Size of HTTP server response bodies.",
                BYTES,
            ),
            invocation: histograms(
                "kn_serving_invocation_duration_seconds",
                "The duration of task execution",
                &["http_response_status_code"],
                SECONDS,
            ),
            depth,
            left_out,
            kinds: Mutex::default(),
            codes: Mutex::default(),
            registry,
        }
    }

    pub(super) fn begin(&self, request: &Request<Body>) -> Measured {
        Measured {
            method: exposition::method(request.method()),
            version: match request.version() {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
            tag: route_tag(request.headers()),
            size: request.body().exact(),
        }
    }

    /// Takes that a request has ended, with its response.
    pub(super) fn ended(&self, request: Measured, code: u16, size: u64, latency: Duration) {
        let Measured { method, version, tag, size: sent } = request;
        let mut kind = Kind { method, version, tag, code };
        let mut kinds = self.kinds.lock();
        let mut known = kinds.iter().position(|(known, _)| *known == kind);
        if known.is_none() && kinds.len() >= KINDS {
            kind = Kind { method: "_OTHER", tag: Cow::Borrowed(UNDEFINED), ..kind };
            known = kinds.iter().position(|(known, _)| *known == kind);
        }
        let at = known.unwrap_or_else(|| {
            let code = code.to_string();
            let labels = [kind.method, &code, &kind.tag, "http", version, "http"];
            let whole = Whole {
                duration: self.duration.with_label_values(&labels),
                request_size: self.request_size.with_label_values(&labels),
                response_size: self.response_size.with_label_values(&labels),
            };
            kinds.push((kind, whole));
            kinds.len() - 1
        });
        let whole = &kinds[at].1;
        whole.duration.observe(latency.as_secs_f64());
        if let Some(sent) = sent {
            whole.request_size.observe(sent as f64);
        }
        whole.response_size.observe(size as f64);
    }

    /// Takes that the container has answered with this code, to the end.
    pub(super) fn invoked(&self, code: u16, latency: Duration) {
        let mut codes = self.codes.lock();
        let at = codes.iter().position(|(known, _)| *known == code).unwrap_or_else(|| {
            let histogram = self.invocation.with_label_values(&[&code.to_string()]);
            codes.push((code, histogram));
            codes.len() - 1
        });
        codes[at].1.observe(latency.as_secs_f64());
    }

    /// The text for Prometheus; `in_flight` requests are in the queue, `left_out` are missing in its log.
    pub(super) fn text(&self, settings: &Settings, in_flight: usize, left_out: u64) -> String {
        if let Some(depth) = &self.depth {
            depth.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        }
        if let Some(counter) = &self.left_out {
            counter.inc_by(left_out - counter.get().min(left_out));
        }
        let names = [&settings.service, &settings.configuration, &settings.revision];
        let service = names.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str);
        let target = [
            ("k8s_container_name", CONTAINER),
            ("k8s_namespace_name", &*settings.namespace),
            ("k8s_pod_name", &*settings.pod),
            ("kn_configuration_name", &*settings.configuration),
            ("kn_revision_name", &*settings.revision),
            ("kn_service_name", &*settings.service),
            ("service_instance_id", &*settings.pod),
            ("service_name", service),
            ("service_version", env!("CARGO_PKG_VERSION")),
        ];
        let target: Vec<_> = target.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let old = settings.opencensus_names.then_some(exposition::OF_QUEUE);
        exposition::text(self.registry.gather(), &target, old)
    }
}

/// The tag by which a request was routed, if tags were looked at.
fn route_tag(headers: &HeaderMap) -> Cow<'static, str> {
    let word = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let (tag, default) = (word(TAG), word(DEFAULT_ROUTE));
    match (tag, default) {
        (b"", b"") => Cow::Borrowed("kn:disabled"),
        (b"", _) => Cow::Borrowed("kn:default"),
        (_, b"true") => Cow::Borrowed(UNDEFINED),
        (tag, _) => Cow::Owned(String::from_utf8_lossy(tag).into_owned()),
    }
}
