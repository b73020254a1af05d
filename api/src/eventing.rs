//! Broker, Trigger, EventType, EventPolicy, RequestReply and EventTransform, as people write them.
//!
//! Source: knative/eventing `pkg/apis/eventing/v1`, `v1beta3`, `v1alpha1`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Set},
    duck::{
        Addressable, AppliedPolicy, AuthStatus, CloudEventAttributes, DeliverySpec, Destination,
        KReference,
    },
};

pub mod options;
pub mod v1beta2;

/// The conditions of a Broker.
pub const BROKER: Set = Set {
    dependents: &[
        INGRESS_READY,
        TRIGGER_CHANNEL_READY,
        FILTER_READY,
        ADDRESSABLE,
        DEAD_LETTER_SINK_RESOLVED,
        EVENT_POLICIES_READY,
    ],
};
/// The conditions of a Trigger.
pub const TRIGGER: Set = Set {
    dependents: &[
        BROKER_READY,
        SUBSCRIPTION_READY,
        DEPENDENCY_READY,
        SUBSCRIBER_RESOLVED,
        DEAD_LETTER_SINK_RESOLVED,
        OIDC_IDENTITY_CREATED,
    ],
};
/// The conditions of an EventType.
pub const EVENT_TYPE: Set = Set { dependents: &[REFERENCE_EXISTS] };
/// The conditions of an EventPolicy.
pub const EVENT_POLICY: Set = Set { dependents: &[AUTHENTICATION_ENABLED, SUBJECTS_RESOLVED] };
/// The conditions of a RequestReply.
pub const REQUEST_REPLY: Set =
    Set { dependents: &[TRIGGERS_READY, ADDRESSABLE, EVENT_POLICIES_READY, BROKER_READY] };
/// The conditions of an EventTransform.
pub const EVENT_TRANSFORM: Set =
    Set { dependents: &[TRANSFORMATION_READY, ADDRESSABLE, EVENT_POLICIES_READY] };

pub const ADDRESSABLE: &str = "Addressable";
pub const AUTHENTICATION_ENABLED: &str = "AuthenticationEnabled";
pub const BROKER_READY: &str = "BrokerReady";
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
pub const DEPENDENCY_READY: &str = "DependencyReady";
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";
pub const FILTER_READY: &str = "FilterReady";
pub const INGRESS_READY: &str = "IngressReady";
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";
pub const REFERENCE_EXISTS: &str = "ReferenceExists";
pub const SUBJECTS_RESOLVED: &str = "SubjectsResolved";
pub const SUBSCRIBER_RESOLVED: &str = "SubscriberResolved";
pub const SUBSCRIPTION_READY: &str = "SubscriptionReady";
pub const TRANSFORMATION_READY: &str = "TransformationReady";
pub const TRIGGERS_READY: &str = "TriggersReady";
pub const TRIGGER_CHANNEL_READY: &str = "TriggerChannelReady";

/// What a Broker wants: it takes events, and Triggers pick from them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Broker",
    status = "BrokerStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSpec {
    /// Settings of the Broker's class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<KReference>,
    /// How events are delivered where a Trigger does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What is known of a Broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
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
}

/// What a Trigger wants: events of a Broker for a subscriber.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Trigger",
    status = "TriggerStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerSpec {
    /// A Broker of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// Instead of `broker`: a Broker of any namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_ref: Option<KReference>,
    /// Where absent, the Broker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<AttributesFilter>,
    /// All of them must pass; when there are any, `filter` does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Who gets the events.
    #[serde(default)]
    pub subscriber: Destination,
}

/// The older filter of a Trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesFilter {
    /// Values that attributes must have; empty means any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A filter of the CloudEvents subscriptions API; exactly one dialect is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Filter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Filter>,
    /// An expression of CloudEvents SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cesql: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exact: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Filter>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefix: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suffix: BTreeMap<String, String>,
}

/// What is known of a Trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    #[serde(default, rename = "subscriberCACerts", skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
}

/// What an EventType tells: events that can be had from an object.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1beta3",
    kind = "EventType",
    status = "EventTypeStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeSpec {
    /// Attributes of the events; `type`, `source`, `specversion` and `id` are among them.
    #[serde(default)]
    pub attributes: Vec<EventAttribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The Broker, channel or source that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
}

/// One attribute of a type of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAttribute {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub required: bool,
    /// Its value, or a template of it with `{variables}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What is known of an EventType.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What an EventPolicy allows: who may send which events to whom.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1alpha1",
    kind = "EventPolicy",
    status = "EventPolicyStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct EventPolicySpec {
    /// All of them must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Who may send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<PolicyFrom>,
    /// Where to; all of the namespace, when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<PolicyTo>,
}

/// Objects of the policy's namespace: one by its name, or some by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTo {
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<PolicySelector>,
}

/// Objects of a kind, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySelector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// A sender: an object, or the subject of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyFrom {
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    /// May end in `*`, which stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
}

/// What is known of an EventPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPolicyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The senders' subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What a RequestReply wants: an HTTP request that is answered by an event.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1alpha1",
    kind = "RequestReply",
    plural = "requestreplies",
    status = "RequestReplyStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct RequestReplySpec {
    /// A Broker of the same namespace.
    #[serde(default)]
    pub broker_ref: KReference,
    /// The attribute by which an event says what it replies to.
    #[serde(default)]
    pub correlation_attribute: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// The attribute of the request that a reply repeats.
    #[serde(default)]
    pub reply_attribute: String,
    /// Longest wait for a reply, an ISO 8601 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// What is known of a RequestReply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestReplyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
}

/// What an EventTransform wants: events in another form.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1alpha1",
    kind = "EventTransform",
    status = "EventTransformStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
pub struct EventTransformSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonata: Option<Jsonata>,
    /// What becomes of the sink's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<TransformReply>,
    /// Where the transformed event goes; into the answer, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Destination>,
}

/// A transformation in the language JSONata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jsonata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// What becomes of the answer of an EventTransform's sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformReply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonata: Option<Jsonata>,
}

/// What is known of an EventTransform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTransformStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ce_attributes: Vec<CloudEventAttributes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_audience: Option<String>,
    #[serde(default, rename = "sinkCACerts", skip_serializing_if = "Option::is_none")]
    pub sink_ca_certs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_uri: Option<String>,
}
