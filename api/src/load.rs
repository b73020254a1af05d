//! The load report: what activator, gateway and queue tell the autoscaler.
//!
//! Reports are pushed, once a second for a revision with traffic and at once when the first request
//! reaches a revision that has no pod.

use serde::{Deserialize, Serialize};

/// Path at which the autoscaler takes reports: a POST of one [`Report`] as JSON.
pub const PATH: &str = "/load";

/// What one reporter saw since its last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who reports: a pod's name; the same name in each report of one process.
    pub reporter: String,
    /// Revisions with something to say; each at most once.
    pub revisions: Vec<RevisionLoad>,
}

/// Load of one revision as one reporter saw it, over the time since its last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionLoad {
    /// Namespace of the revision.
    pub namespace: String,
    /// Name of the revision.
    pub revision: String,
    /// Requests in flight, averaged over the time since the last report; at least 0.
    pub concurrency: f64,
    /// The part of `concurrency` that another reporter (the activator) counts too.
    pub proxied_concurrency: f64,
    /// Requests that arrived.
    pub requests: f64,
    /// The part of `requests` that another reporter counts too.
    pub proxied_requests: f64,
    /// Pods that have requests of this reporter in flight, each once, by name; empty where the
    /// revision has one pod only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busy_pods: Vec<PodLoad>,
}

/// What one pod has in flight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLoad {
    /// Name of the pod.
    pub pod: String,
    /// Requests in flight at the moment of the report; greater than 0.
    pub in_flight: u32,
}
