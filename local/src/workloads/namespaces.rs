//! What every namespace has, and what a namespace that goes away says about itself.
//!
//! Pure: bodies and conditions.
//! Source: kubernetes `pkg/controller/namespace/deletion`, `pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::NamespaceCondition, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::{Value, json};

use super::owners::Remaining;

/// The namespaces that exist from the start.
pub const FIRST: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The name of each namespace's own ConfigMap.
pub const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";

/// The finalizer in `spec.finalizers` that stands for this controller.
pub const HOLDER: &str = "kubernetes";

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub fn service_account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
}

/// The ConfigMap by which pods know the API server.
pub fn root_certificate(certificate: &str) -> Value {
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                       endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                       guaranteed across distributions of Kubernetes clusters.";
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOT_CERTIFICATE,
            "annotations": {"kubernetes.io/description": description},
        },
        "data": {"ca.crt": certificate},
    })
}

/// The conditions of a namespace that is being emptied, after `current`. `failure` is what went wrong, if anything did.
pub fn conditions(
    current: &[NamespaceCondition],
    remaining: &Remaining,
    failure: Option<&str>,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let kinds: Vec<String> = remaining
        .kinds
        .iter()
        .map(|((plural, group), count)| format!("{plural}.{group} has {count} resource instances"))
        .collect();
    let finalizers: Vec<String> = remaining
        .finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let content = match kinds.is_empty() {
        true => ("False", "ContentRemoved", "All content successfully removed".to_owned()),
        false => {
            let message = format!("Some resources are remaining: {}", kinds.join(", "));
            ("True", "SomeResourcesRemain", message)
        }
    };
    let held = match finalizers.is_empty() {
        true => (
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        ),
        false => {
            let all = finalizers.join(", ");
            let message = format!("Some content in the namespace has finalizers remaining: {all}");
            ("True", "SomeFinalizersRemain", message)
        }
    };
    let deletion = match failure {
        Some(failure) => {
            let message = format!("Failed to delete all resource types, 1 remaining: {failure}");
            ("True", "ContentDeletionFailed", message)
        }
        None => (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
    };
    let discovered =
        ("False", "ResourcesDiscovered", "All resources successfully discovered".to_owned());
    let parsed =
        ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed".to_owned());
    let all = [
        ("NamespaceDeletionDiscoveryFailure", discovered),
        ("NamespaceDeletionGroupVersionParsingFailure", parsed),
        ("NamespaceDeletionContentFailure", deletion),
        ("NamespaceContentRemaining", content),
        ("NamespaceFinalizersRemaining", held),
    ];
    let condition = |(kind, (status, reason, message)): (&str, (&str, &str, String))| {
        let before = current.iter().find(|it| it.type_ == kind && it.status == status);
        NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: before
                .and_then(|it| it.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    };
    all.into_iter().map(condition).collect()
}
