//! PingSource, ApiServerSource, ContainerSource, SinkBinding and IntegrationSource, as people write them.
//!
//! Source: knative/eventing `pkg/apis/sources/v1`, `v1alpha1`.

use k8s_openapi::{
    api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Set,
    duck::{CloudEventOverrides, Destination, SourceStatus},
    eventing::Filter,
};

/// The conditions of a PingSource.
pub const PING_SOURCE: Set = Set { dependents: &[SINK_PROVIDED, DEPLOYED, OIDC_IDENTITY_CREATED] };
/// The conditions of an ApiServerSource.
pub const API_SERVER_SOURCE: Set =
    Set { dependents: &[SINK_PROVIDED, DEPLOYED, SUFFICIENT_PERMISSIONS, OIDC_IDENTITY_CREATED] };
/// The conditions of a ContainerSource.
pub const CONTAINER_SOURCE: Set = Set { dependents: &[SINK_BINDING_READY, RECEIVE_ADAPTER_READY] };
/// The conditions of a SinkBinding.
pub const SINK_BINDING: Set = Set {
    dependents: &[
        SINK_BINDING_AVAILABLE,
        SINK_PROVIDED,
        OIDC_IDENTITY_CREATED,
        OIDC_TOKEN_SECRET_CREATED,
        TRUST_BUNDLE_PROPAGATED,
    ],
};
/// The conditions of an IntegrationSource.
pub const INTEGRATION_SOURCE: Set = Set { dependents: &[CONTAINER_SOURCE_READY] };

pub const CONTAINER_SOURCE_READY: &str = "ContainerSourceReady";
pub const DEPLOYED: &str = "Deployed";
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";
pub const OIDC_TOKEN_SECRET_CREATED: &str = "OIDCTokenSecretCreated";
pub const RECEIVE_ADAPTER_READY: &str = "ReceiveAdapterReady";
pub const SINK_BINDING_AVAILABLE: &str = "SinkBindingAvailable";
pub const SINK_BINDING_READY: &str = "SinkBindingReady";
pub const SINK_PROVIDED: &str = "SinkProvided";
pub const SUFFICIENT_PERMISSIONS: &str = "SufficientPermissions";
pub const TRUST_BUNDLE_PROPAGATED: &str = "TrustBundlePropagated";

/// What a PingSource wants: the same event again and again, at set times.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sources.knative.dev",
    version = "v1",
    kind = "PingSource",
    status = "SourceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct PingSourceSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The event's data, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Instead of `data`: any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// When, as cron has it, perhaps with seconds before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default)]
    pub sink: Destination,
    /// A name of the time zone database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// What an ApiServerSource wants: an event for each change of some objects.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sources.knative.dev",
    version = "v1",
    kind = "ApiServerSource",
    status = "ApiServerSourceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ApiServerSourceSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// `Reference` (what the object is called) or `Resource` (all of it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Namespaces to watch; the source's own where absent, all when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Only objects that are owned by one of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ApiVersionKind>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ApiVersionKindSelector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    #[serde(default)]
    pub sink: Destination,
}

/// A kind of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersionKind {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
}

/// Objects of a kind, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersionKindSelector {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What is known of an ApiServerSource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiServerSourceStatus {
    /// Those that it watches; sorted, `""` alone is all.
    #[serde(default)]
    pub namespaces: Vec<String>,
    #[serde(flatten)]
    pub source: SourceStatus,
}

/// What a ContainerSource wants: a container that sends events to where `K_SINK` says.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sources.knative.dev",
    version = "v1",
    kind = "ContainerSource",
    status = "SourceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSourceSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
    #[serde(default)]
    pub sink: Destination,
    #[serde(default)]
    pub template: PodTemplateSpec,
}

/// What a SinkBinding wants: `K_SINK` in the containers of some objects.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sources.knative.dev",
    version = "v1",
    kind = "SinkBinding",
    status = "SinkBindingStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct SinkBindingSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
    #[serde(default)]
    pub sink: Destination,
    #[serde(default)]
    pub subject: Subject,
}

/// Objects of a kind in a namespace: one by its name, or some by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What is known of a SinkBinding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkBindingStatus {
    /// The Secret with the token that goes along with events.
    #[serde(default, rename = "oidcTokenSecretName", skip_serializing_if = "Option::is_none")]
    pub oidc_token_secret_name: Option<String>,
    #[serde(flatten)]
    pub source: SourceStatus,
}

/// What an IntegrationSource wants: events out of another system.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sources.knative.dev",
    version = "v1alpha1",
    kind = "IntegrationSource",
    status = "SourceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationSourceSpec {
    /// A queue, bucket or table of AWS; its settings become the container's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
    #[serde(default)]
    pub sink: Destination,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplateSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
}

/// Messages at a steady pace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    #[serde(default)]
    pub content_type: String,
    #[serde(default)]
    pub message: String,
    /// Milliseconds from one to the next.
    #[serde(default)]
    pub period: i64,
    /// How many; without end where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_count: Option<i64>,
}
