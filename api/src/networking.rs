//! Ingress (what the mesh routes), ClusterDomainClaim, Certificate (what others provide) and
//! ServerlessService (written for others, never read).
//!
//! The fields stand in upstream's order, and what upstream leaves out is left out: the hash of an Ingress is made of
//! its text (`mesh::table::hash`), and others compute it too.
//! Source: knative/networking `pkg/apis/networking/v1alpha1`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// Hosts and where their requests go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.internal.knative.dev",
    version = "v1alpha1",
    kind = "Ingress",
    status = "IngressStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<IngressTls>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<IngressRule>,
    /// `Enabled` or `Redirected`.
    #[serde(default, skip_serializing_if = "is_blank")]
    pub http_option: Option<String>,
}

/// Whether a text says nothing.
fn is_blank(text: &Option<String>) -> bool {
    text.as_deref().unwrap_or_default().is_empty()
}

/// The certificate for some hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "is_blank")]
    pub secret_name: Option<String>,
    #[serde(default, skip_serializing_if = "is_blank")]
    pub secret_namespace: Option<String>,
}

/// Some hosts that share their paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// `ExternalIP` or `ClusterLocal`.
    #[serde(default, skip_serializing_if = "is_blank")]
    pub visibility: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpIngressRule>,
}

/// The paths of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpIngressRule {
    #[serde(default)]
    pub paths: Vec<HttpIngressPath>,
}

/// Which requests, changed how, split over which services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpIngressPath {
    /// Prefix of the path; absent matches all.
    #[serde(default, skip_serializing_if = "is_blank")]
    pub path: Option<String>,
    /// The `Host` that the backend sees.
    #[serde(default, skip_serializing_if = "is_blank")]
    pub rewrite_host: Option<String>,
    /// Headers that must have these values.
    #[serde(default, skip_serializing_if = "says_nothing")]
    pub headers: Option<BTreeMap<String, HeaderMatch>>,
    /// The percents add to 100.
    #[serde(default)]
    pub splits: Vec<IngressBackendSplit>,
    /// Headers that are set, before the split.
    #[serde(default, skip_serializing_if = "says_nothing")]
    pub append_headers: Option<BTreeMap<String, String>>,
}

/// Whether a map says nothing.
fn says_nothing<T>(map: &Option<BTreeMap<String, T>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

/// A header's required value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeaderMatch {
    pub exact: String,
}

/// One share of a path's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressBackendSplit {
    #[serde(default)]
    pub service_namespace: String,
    pub service_name: String,
    #[serde(default = "no_port")]
    pub service_port: IntOrString,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub percent: Option<i64>,
    /// Headers that are set, after the split.
    #[serde(default, skip_serializing_if = "says_nothing")]
    pub append_headers: Option<BTreeMap<String, String>>,
}

fn is_zero(percent: &Option<i64>) -> bool {
    percent.unwrap_or(0) == 0
}

fn no_port() -> IntOrString {
    IntOrString::Int(0)
}

/// What the mesh made of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_load_balancer: Option<LoadBalancerStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_load_balancer: Option<LoadBalancerStatus>,
}

/// Where a gateway listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerStatus {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// One address of a gateway; one of the fields is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_internal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_only: Option<bool>,
}

/// Which namespace may use a host: the claim's name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.internal.knative.dev",
    version = "v1alpha1",
    kind = "ClusterDomainClaim",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDomainClaimSpec {
    /// The namespace.
    #[serde(default)]
    pub namespace: String,
}

/// A certificate to be made, and kept in a Secret, by whoever provides its class.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.internal.knative.dev",
    version = "v1alpha1",
    kind = "Certificate",
    status = "CertificateStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// The hosts; one may begin with `*.`.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// What all hosts end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where the certificate and its key will be.
    #[serde(default)]
    pub secret_name: String,
}

/// What is known of a Certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What the hosts must answer, so that an authority believes that they are ours.
    #[serde(default, rename = "http01Challenges", skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
    /// When the certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A URL that an authority will ask for, and the Service that knows the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    #[serde(default)]
    pub service_name: String,
    #[serde(default)]
    pub service_namespace: String,
    #[serde(default = "no_port")]
    pub service_port: IntOrString,
    #[serde(default)]
    pub url: String,
}

/// The two Services of a revision and which of them requests take.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.internal.knative.dev",
    version = "v1alpha1",
    kind = "ServerlessService",
    status = "ServerlessServiceStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ServerlessServiceSpec {
    /// `Serve` (straight to the pods) or `Proxy` (through the activator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Activators that carry the revision in `Proxy` mode; 0 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_activators: Option<i32>,
    pub object_ref: ObjectReference,
    /// `http1` or `h2c`.
    pub protocol_type: String,
}

/// The names of the two Services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerlessServiceStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_service_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
}
