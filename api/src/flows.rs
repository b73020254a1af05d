//! Sequence and Parallel, as people write them.
//!
//! Source: knative/eventing `pkg/apis/flows/v1`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Set},
    duck::{Addressable, AppliedPolicy, AuthStatus, DeliverySpec, Destination},
    messaging::ChannelTemplate,
};

/// The conditions of a Sequence and of a Parallel.
pub const FLOW: Set =
    Set { dependents: &[CHANNELS_READY, SUBSCRIPTIONS_READY, ADDRESSABLE, EVENT_POLICIES_READY] };

pub const ADDRESSABLE: &str = "Addressable";
pub const CHANNELS_READY: &str = "ChannelsReady";
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";
pub const SUBSCRIPTIONS_READY: &str = "SubscriptionsReady";

/// What a Sequence wants: subscribers one after the other, each with the answer of the one before.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "flows.knative.dev",
    version = "v1",
    kind = "Sequence",
    status = "SequenceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct SequenceSpec {
    /// The channels between the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_template: Option<ChannelTemplate>,
    /// Where the last step's answers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Destination>,
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// A subscriber of a Sequence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    #[serde(flatten)]
    pub destination: Destination,
}

/// What is known of a Sequence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequenceStatus {
    /// The first channel's.
    #[serde(default)]
    pub address: Addressable,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// In the order of the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_statuses: Vec<FlowChannel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
    /// In the order of the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscription_statuses: Vec<FlowSubscription>,
}

/// What is known of a flow's channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowChannel {
    #[serde(default)]
    pub channel: ObjectReference,
    #[serde(default)]
    pub ready: Condition,
}

/// What is known of a flow's Subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowSubscription {
    #[serde(default)]
    pub ready: Condition,
    #[serde(default)]
    pub subscription: ObjectReference,
}

/// What a Parallel wants: branches that all get each event, unless their filter says no.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "flows.knative.dev",
    version = "v1",
    kind = "Parallel",
    status = "ParallelStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ParallelSpec {
    #[serde(default)]
    pub branches: Vec<Branch>,
    /// The channels before the branches and between filters and subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_template: Option<ChannelTemplate>,
    /// Where the answers of branches without a reply of their own go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Destination>,
}

/// A branch of a Parallel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// Answers with the event that the subscriber is to get, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Destination>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Destination>,
    #[serde(default)]
    pub subscriber: Destination,
}

/// What is known of a Parallel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParallelStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// In the order of the branches.
    #[serde(default)]
    pub branch_statuses: Vec<BranchStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default)]
    pub ingress_channel_status: FlowChannel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
}

/// What is known of a branch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BranchStatus {
    #[serde(default)]
    pub filter_channel_status: FlowChannel,
    #[serde(default)]
    pub filter_subscription_status: FlowSubscription,
    #[serde(default)]
    pub subscriber_subscription_status: FlowSubscription,
}
