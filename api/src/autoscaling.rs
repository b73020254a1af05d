//! PodAutoscaler: the record that controller (spec) and autoscaler (status) exchange.
//!
//! Source: knative/serving `pkg/apis/autoscaling/v1alpha1`.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// What is to be scaled.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "autoscaling.internal.knative.dev",
    version = "v1alpha1",
    kind = "PodAutoscaler",
    status = "PodAutoscalerStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct PodAutoscalerSpec {
    /// Requests that one pod may have in flight; absent and 0 are no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_concurrency: Option<i64>,
    /// `http1` or `h2c`.
    pub protocol_type: String,
    /// `""` (not known yet), `Reachable` or `Unreachable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachability: Option<String>,
    /// The object whose `spec.replicas` is set.
    pub scale_target_ref: ScaleTargetRef,
}

/// Names the object to scale, in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What the autoscaler found and decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAutoscalerStatus {
    /// Pods that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_scale: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Pods that are wanted; -1 while nothing is known, as clients expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_scale: Option<i32>,
    /// The private Service, whose endpoints are the revision's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_service_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The public Service, named as the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
}
