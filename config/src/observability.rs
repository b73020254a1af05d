//! `config-observability`: metrics, traces, and the log of requests.
//!
//! Pure: data in, values out. Source: knative/serving and knative.dev/pkg `observability`.

use std::{collections::BTreeMap, time::Duration};

use api::go::{format_duration, quote, template::Template};

use crate::{
    Error,
    read::{Data, span},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-observability";

/// Key of [`Observability::opencensus_names`], which is ours.
pub const OPENCENSUS_NAMES: &str = "metrics.opencensus-names";

/// What a line of the request log looks like unless it is configured.
pub const REQUEST_LOG: &str = r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}"#;

/// The values of `config-observability`.
#[derive(Clone, Debug, PartialEq)]
pub struct Observability {
    pub logging_enable_var_log_collection: bool,
    /// URL of a revision's logs, with `${REVISION_UID}`; empty is none.
    pub logging_revision_url_template: String,
    /// Line of the request log; empty is none.
    pub logging_request_log_template: String,
    pub logging_enable_request_log: bool,
    pub logging_enable_probe_request_log: bool,
    /// Metrics of the platform itself.
    pub metrics: Metrics,
    /// Metrics that queues keep of requests.
    pub request_metrics: Metrics,
    /// Whether metrics have the names of Knative 1.18 and before too.
    pub opencensus_names: bool,
    pub tracing: Tracing,
    pub runtime_profiling: bool,
    pub runtime_export_interval: Duration,
}

/// Where metrics go.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub protocol: MetricsProtocol,
    /// Set with the protocols that push.
    pub endpoint: String,
    /// Time between pushes; 0 is the protocol's own.
    pub export_interval: Duration,
}

/// How metrics leave a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsProtocol {
    None,
    /// They are fetched.
    Prometheus,
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    HttpProtobuf,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    pub protocol: TracingProtocol,
    /// Set with the protocols that push.
    pub endpoint: String,
    /// Share of requests that are traced, 0 to 1.
    pub sampling_rate: f64,
}

/// How traces leave a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracingProtocol {
    None,
    Stdout,
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    HttpProtobuf,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            protocol: MetricsProtocol::None,
            endpoint: String::new(),
            export_interval: Duration::ZERO,
        }
    }
}

impl Default for Observability {
    fn default() -> Self {
        Observability {
            logging_enable_var_log_collection: false,
            logging_revision_url_template: String::new(),
            logging_request_log_template: REQUEST_LOG.to_string(),
            logging_enable_request_log: false,
            logging_enable_probe_request_log: false,
            metrics: Metrics::default(),
            request_metrics: Metrics::default(),
            opencensus_names: false,
            tracing: Tracing {
                protocol: TracingProtocol::None,
                endpoint: String::new(),
                sampling_rate: 0.0,
            },
            runtime_profiling: false,
            runtime_export_interval: Duration::from_secs(15),
        }
    }
}

impl Observability {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Observability, Error> {
        let data = Data(data);
        let mut read = Observability { tracing: tracing(data)?, ..Observability::default() };
        read.metrics =
            metrics(data, ["metrics-protocol", "metrics-endpoint", "metrics-export-interval"])?;
        let mut profiling = "disabled".to_string();
        data.text("runtime-profiling", &mut profiling);
        let mut interval = crate::read::nanos(read.runtime_export_interval);
        data.nanos("runtime-export-interval", &mut interval)?;
        read.runtime_profiling = match profiling.as_str() {
            "enabled" => true,
            "disabled" => false,
            other => {
                return Err(Error::new(format!("unsupported profile setting {}", quote(other))));
            }
        };
        read.runtime_export_interval = positive(interval)?;
        read.request_metrics = metrics(
            data,
            [
                "request-metrics-protocol",
                "request-metrics-endpoint",
                "request-metrics-export-interval",
            ],
        )?;
        data.bool(OPENCENSUS_NAMES, &mut read.opencensus_names)?;
        data.bool(
            "logging.enable-var-log-collection",
            &mut read.logging_enable_var_log_collection,
        )?;
        data.text("logging.revision-url-template", &mut read.logging_revision_url_template);
        data.text("logging.request-log-template", &mut read.logging_request_log_template);
        data.bool("logging.enable-request-log", &mut read.logging_enable_request_log)?;
        data.bool("logging.enable-probe-request-log", &mut read.logging_enable_probe_request_log)?;
        if read.logging_request_log_template.is_empty() && read.logging_enable_request_log {
            return Err(Error::new(
                "\"logging.enable-request-log\" was set to true, but no \
                 \"logging.request-log-template\" was specified",
            ));
        }
        Template::parse("requestLog", &read.logging_request_log_template).map_err(Error::new)?;
        Ok(read)
    }
}

fn metrics(
    data: Data<'_>,
    [protocol_key, endpoint_key, interval_key]: [&str; 3],
) -> Result<Metrics, Error> {
    let mut read = Metrics::default();
    let mut protocol = "none".to_string();
    let mut interval = 0;
    data.text(protocol_key, &mut protocol);
    data.text(endpoint_key, &mut read.endpoint);
    data.nanos(interval_key, &mut interval)?;
    let name = quote(&protocol);
    read.protocol = match protocol.as_str() {
        "none" => MetricsProtocol::None,
        "prometheus" => MetricsProtocol::Prometheus,
        "grpc" => MetricsProtocol::Grpc,
        "http/protobuf" => MetricsProtocol::HttpProtobuf,
        _ => return Err(Error::new(format!("unsupported protocol {name}"))),
    };
    match read.protocol {
        MetricsProtocol::Grpc | MetricsProtocol::HttpProtobuf if read.endpoint.is_empty() => {
            return Err(Error::new(format!("endpoint should be set when protocol is {name}")));
        }
        MetricsProtocol::None if !read.endpoint.is_empty() => {
            return Err(Error::new(format!("endpoint should not be set when protocol is {name}")));
        }
        _ => {}
    }
    read.export_interval = positive(interval)?;
    Ok(read)
}

fn tracing(data: Data<'_>) -> Result<Tracing, Error> {
    let mut protocol = "none".to_string();
    let mut endpoint = String::new();
    let mut sampling_rate = 0.0;
    data.text("tracing-protocol", &mut protocol);
    data.text("tracing-endpoint", &mut endpoint);
    data.f64("tracing-sampling-rate", &mut sampling_rate)?;
    let name = quote(&protocol);
    let protocol = match protocol.as_str() {
        "none" => TracingProtocol::None,
        "stdout" => TracingProtocol::Stdout,
        "grpc" => TracingProtocol::Grpc,
        "http/protobuf" => TracingProtocol::HttpProtobuf,
        _ => return Err(Error::new(format!("unsupported protocol {name}"))),
    };
    match protocol {
        TracingProtocol::Grpc | TracingProtocol::HttpProtobuf if endpoint.is_empty() => {
            return Err(Error::new(format!("endpoint should be set for protocol {name}")));
        }
        TracingProtocol::None | TracingProtocol::Stdout if !endpoint.is_empty() => {
            return Err(Error::new("endpoint should not be set when protocol is 'none'"));
        }
        _ => {}
    }
    if sampling_rate < 0.0 {
        return Err(Error::new(format!(
            "sampling rate {sampling_rate:.6} should be greater or equal to zero"
        )));
    }
    if sampling_rate > 1.0 {
        return Err(Error::new(format!(
            "sampling rate {sampling_rate:.6} should be less than or equal to one"
        )));
    }
    Ok(Tracing { protocol, endpoint, sampling_rate })
}

fn positive(interval: i64) -> Result<Duration, Error> {
    if interval < 0 {
        let was = quote(&format_duration(interval));
        return Err(Error::new(format!("export interval {was} should be greater than zero")));
    }
    Ok(span(interval))
}
