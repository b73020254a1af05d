//! The settings of a pod's queue: what the controller writes into the pod and the queue role reads.

use k8s_openapi::api::core::v1::Probe;
use serde::{Deserialize, Serialize};

/// Name of the environment variable of the queue's container that carries [`Settings`] as JSON.
pub const ENV: &str = "QUEUE_SETTINGS";
/// Name of the queue's container in a revision's pod.
pub const CONTAINER: &str = "queue-proxy";

/// Port on which the queue takes HTTP/1.1 requests.
pub const HTTP_PORT: u16 = 8012;
/// Port on which the queue takes h2c requests.
pub const H2C_PORT: u16 = 8013;
/// Port on which the queue takes requests in TLS, if it has a certificate.
pub const TLS_PORT: u16 = 8112;
/// Port on which the queue answers `/wait-for-drain`.
pub const ADMIN_PORT: u16 = 8022;
/// Port on which the queue answers the autoscaler's scrapes.
pub const STAT_PORT: u16 = 9090;

/// Port on which the queue tells its metrics to Prometheus, if it measures requests.
pub const METRICS_PORT: u16 = 9091;

/// Where the queue's certificate and key are, as files of the Secret [`CERTIFICATE`].
pub const CERTIFICATES: &str = "/var/lib/knative/certs";
/// Name of the Secret, one in each namespace, with the certificate of its queues.
pub const CERTIFICATE: &str = "serving-certs";

/// How one pod's queue treats its requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Namespace of the revision.
    pub namespace: String,
    /// The revision that the pod belongs to.
    pub revision: String,
    /// The revision's Configuration; empty when it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// The Service that owns the Configuration; empty when it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The pod's name; empty until the downward API or the node knows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The pod's address; empty until the downward API or the node knows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// Port of the user container.
    pub user_port: u16,
    /// True when the user container speaks HTTP/2 without TLS, as its port's name `h2c` says.
    pub user_h2c: bool,
    /// Whether to find out by readiness probes over HTTP if the user container speaks HTTP/2.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detect_h2c: bool,
    /// Most requests that the user container serves at once; 0 is no limit.
    pub container_concurrency: u32,
    /// Longest time for a whole request, in seconds; 0 is no limit.
    pub timeout_s: u64,
    /// Longest time until a response begins, in seconds; 0 is no limit.
    pub response_start_timeout_s: u64,
    /// Longest time in which a response does not move, in seconds; 0 is no limit.
    pub idle_timeout_s: u64,
    /// Readiness probes, all of which must pass; a port of 0 is the user port. An absent
    /// `periodSeconds`, or 0, asks for the fastest answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness: Vec<Probe>,
    /// Where load reports are pushed: an `http://host:port` of the autoscaler. Empty when they are scraped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub report_to: String,
    /// Template of a line for each request; empty writes none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_log_template: String,
    /// Whether probes are logged too.
    pub log_probes: bool,
    /// Whether requests are measured for Prometheus.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub request_metrics: bool,
    /// Whether metrics have their names of OpenCensus too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub opencensus_names: bool,
    /// What it may agree on in TLS.
    #[serde(skip_serializing_if = "TlsLimits::is_default")]
    pub tls: TlsLimits,
    /// Where the queue role listens; others than the usual only where pods share a network.
    #[serde(skip_serializing_if = "Ports::is_default")]
    pub ports: Ports,
}

/// What a server of TLS may agree on with its clients, in words of `config-deployment`; empty is what is best.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsLimits {
    /// `1.2` or `1.3`; empty is 1.3.
    pub min_version: String,
    /// `1.2` or `1.3`.
    pub max_version: String,
    /// Names of suites between commas.
    pub cipher_suites: String,
    /// Go's names of curves between commas.
    pub curve_preferences: String,
}

impl TlsLimits {
    fn is_default(&self) -> bool {
        *self == TlsLimits::default()
    }
}

/// The ports of the queue role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ports {
    pub http: u16,
    pub h2c: u16,
    pub tls: u16,
    pub admin: u16,
    pub stat: u16,
    pub metrics: u16,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports {
            http: HTTP_PORT,
            h2c: H2C_PORT,
            tls: TLS_PORT,
            admin: ADMIN_PORT,
            stat: STAT_PORT,
            metrics: METRICS_PORT,
        }
    }
}

impl Ports {
    fn is_default(&self) -> bool {
        *self == Ports::default()
    }
}
