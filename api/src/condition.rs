//! Conditions: what a controller says of an object, and how `Ready` follows from the others.
//!
//! Source: knative.dev/pkg `apis/condition_set.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// One statement about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When `status`, `reason` or `message` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// One word for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Empty for conditions that `Ready` depends on, `Info` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The condition's name.
    #[serde(rename = "type")]
    pub type_: String,
}
