//! The HTTP headers by which gateway, activator, queue and probers know each other.
//!
//! Source: knative/networking `pkg/http/header`, knative/serving `pkg/activator`, `pkg/queue`.

/// Name of the revision that a request is for; set by the gateway, removed before the container.
pub const REVISION: &str = "knative-serving-revision";
/// Namespace of that revision; set and removed with [`REVISION`].
pub const NAMESPACE: &str = "knative-serving-namespace";
/// Tag that a client asks for when tag header routing is on, and that a tagged host implies.
pub const TAG: &str = "knative-serving-tag";
/// `true` on a request that no tag matched.
pub const DEFAULT_ROUTE: &str = "knative-serving-default-route";
/// `activator` on a request that the activator has already counted.
pub const PROXY_REQUEST: &str = "k-proxy-request";
/// The host that the client named, where a hop had to put another into `Host`.
pub const ORIGINAL_HOST: &str = "k-original-host";
/// Who a probe is for: `queue`, `activator` or `probe` (any hop answers).
pub const PROBE: &str = "k-network-probe";
/// The hash of the Ingress that a gateway serves, echoed to probes.
pub const HASH: &str = "k-network-hash";
/// Asks a mesh not to balance this request again.
pub const PASSTHROUGH_LB: &str = "k-passthrough-lb";

/// Value of [`PROBE`] that the queue answers.
pub const PROBE_QUEUE: &str = "queue";
/// Value of [`PROBE`] that the activator answers.
pub const PROBE_ACTIVATOR: &str = "activator";
/// Value of [`PROBE`] that any hop answers.
pub const PROBE_ANY: &str = "probe";

/// Beginnings of the `User-Agent` of kubelets and of our own probers: such requests are no load.
pub const PROBER_AGENTS: &[&str] = &[
    "kube-probe/",
    "Knative-Activator-Probe",
    "Knative-Queue-Proxy-Probe",
    "Knative-Autoscaling-Probe",
    "Knative-Ingress-Probe",
];
