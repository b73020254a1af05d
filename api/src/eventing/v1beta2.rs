//! EventType as the older versions have it, which clients still write.
//!
//! Source: knative/eventing `pkg/apis/eventing/v1beta2`.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::EventTypeStatus;
use crate::duck::KReference;

/// What an EventType tells: events that can be had from an object.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1beta2",
    kind = "EventType",
    status = "EventTypeStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeSpec {
    /// The Broker that has the events; `reference` says it better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    /// Where the schema of the data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The schema of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, rename = "type")]
    pub type_: String,
}
