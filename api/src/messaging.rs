//! Channel, InMemoryChannel and Subscription, as people write them.
//!
//! Source: knative/eventing `pkg/apis/messaging/v1`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Set},
    duck::{
        Addressable, AppliedPolicy, AuthStatus, DeliverySpec, Destination, KReference, Subscriber,
        SubscriberStatus,
    },
};

/// The conditions of a Channel.
pub const CHANNEL: Set = Set {
    dependents: &[
        BACKING_CHANNEL_READY,
        ADDRESSABLE,
        DEAD_LETTER_SINK_RESOLVED,
        EVENT_POLICIES_READY,
    ],
};
/// The conditions of an InMemoryChannel; [`DISPATCHER_READY`] is one more, on which nothing depends.
pub const IN_MEMORY_CHANNEL: Set = Set {
    dependents: &[
        SERVICE_READY,
        ENDPOINTS_READY,
        ADDRESSABLE,
        CHANNEL_SERVICE_READY,
        DEAD_LETTER_SINK_RESOLVED,
        EVENT_POLICIES_READY,
    ],
};
/// The conditions of a Subscription.
pub const SUBSCRIPTION: Set = Set {
    dependents: &[REFERENCES_RESOLVED, ADDED_TO_CHANNEL, CHANNEL_READY, OIDC_IDENTITY_CREATED],
};

pub const ADDED_TO_CHANNEL: &str = "AddedToChannel";
pub const ADDRESSABLE: &str = "Addressable";
pub const BACKING_CHANNEL_READY: &str = "BackingChannelReady";
pub const CHANNEL_READY: &str = "ChannelReady";
pub const CHANNEL_SERVICE_READY: &str = "ChannelServiceReady";
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
pub const DISPATCHER_READY: &str = "DispatcherReady";
pub const ENDPOINTS_READY: &str = "EndpointsReady";
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";
pub const REFERENCES_RESOLVED: &str = "ReferencesResolved";
pub const SERVICE_READY: &str = "ServiceReady";

/// What a Channel wants: a channel of the kind that its template says.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "Channel",
    status = "ChannelStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ChannelSpec {
    /// The channel behind it, which has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_template: Option<ChannelTemplate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// Written by the controller only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<Subscriber>,
}

/// A channel to make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelTemplate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its spec, whatever that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
}

/// What an InMemoryChannel wants.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "InMemoryChannel",
    status = "ChannelStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct InMemoryChannelSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// Written by the controller only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<Subscriber>,
}

/// What is known of a Channel or an InMemoryChannel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The channel behind it; a Channel has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<KReference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_audience: Option<String>,
    #[serde(default, rename = "deadLetterSinkCACerts", skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<SubscriberStatus>,
}

/// What a Subscription wants: a channel's events for a subscriber, and where its answers go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "Subscription",
    status = "SubscriptionStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct SubscriptionSpec {
    #[serde(default)]
    pub channel: KReference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// Where the subscriber's answers go, or the events themselves where there is no subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Destination>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<Destination>,
}

/// What is known of a Subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default)]
    pub physical_subscription: PhysicalSubscription,
}

/// A Subscription's destinations, resolved to URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhysicalSubscription {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_audience: Option<String>,
    #[serde(default, rename = "deadLetterSinkCACerts", skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_audience: Option<String>,
    #[serde(default, rename = "replyCACerts", skip_serializing_if = "Option::is_none")]
    pub reply_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    #[serde(default, rename = "subscriberCACerts", skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
}
