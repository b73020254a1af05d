//! JobSink and IntegrationSink, as people write them.
//!
//! Source: knative/eventing `pkg/apis/sinks/v1alpha1`.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Set},
    duck::{Addressable, AppliedPolicy},
};

/// The conditions of a JobSink.
pub const JOB_SINK: Set = Set { dependents: &[ADDRESSABLE, EVENT_POLICIES_READY] };
/// The conditions of an IntegrationSink.
pub const INTEGRATION_SINK: Set = Set {
    dependents: &[ADDRESSABLE, DEPLOYMENT_READY, EVENT_POLICIES_READY, TRUST_BUNDLE_PROPAGATED],
};

pub const ADDRESSABLE: &str = "Addressable";
pub const DEPLOYMENT_READY: &str = "DeploymentReady";
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";
pub const TRUST_BUNDLE_PROPAGATED: &str = "TrustBundlePropagated";

/// What a JobSink wants: a Job for each event.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sinks.knative.dev",
    version = "v1alpha1",
    kind = "JobSink",
    status = "JobSinkStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct JobSinkSpec {
    /// The Job to make; it finds its event in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
}

/// What is known of a JobSink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSinkStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default)]
    pub job: JobStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
}

/// How to find the Jobs of a JobSink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Picks them by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// What an IntegrationSink wants: events into another system.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sinks.knative.dev",
    version = "v1alpha1",
    kind = "IntegrationSink",
    status = "IntegrationSinkStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct IntegrationSinkSpec {
    /// A queue, bucket or topic of AWS; its settings become the container's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<serde_json::Value>,
    /// The container's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<serde_json::Value>,
}

/// What is known of an IntegrationSink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationSinkStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
}
