//! Namespaces: those that are there from the beginning, what they hold, and how they end.

use serde_json::{Value, json};

use super::Server;
use super::seconds;
use super::status::{Cause, Refusal, Status};
use crate::kinds::Kind;

/// Namespaces of every cluster.
const FIRST: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Whether a kind is Namespace.
pub fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "namespaces"
}

/// Makes the first namespaces where they are missing.
pub fn begin(server: &Server) {
    for name in FIRST {
        if server.store.get("/namespaces", name).is_some() {
            continue;
        }
        let mut value = json!({
            "metadata": {
                "name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": seconds(server.clock.now()),
                "labels": {"kubernetes.io/metadata.name": name},
            },
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        if let Err(error) = server.store.create("/namespaces", name, &mut value) {
            tracing::error!(namespace = name, %error, "a first namespace cannot be stored");
        }
    }
}

/// Whether something may be made in a namespace.
pub fn check_create(
    server: &Server,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<(), Refusal> {
    if !kind.namespaced {
        return Ok(());
    }
    let Some(found) = server.store.get("/namespaces", namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let value = found.value();
    if value["status"]["phase"] == "Terminating"
        || value["metadata"].get("deletionTimestamp").is_some()
    {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut refusal = Status::forbidden(&kind.group, &kind.plural, name, &why);
        if let Some(details) = &mut refusal.details {
            let message = format!("namespace {namespace} is being terminated");
            details.causes = vec![Cause {
                reason: "NamespaceTerminating".into(),
                message,
                field: "metadata.namespace".into(),
            }];
        }
        return Err(refusal);
    }
    Ok(())
}

/// Sets the label that every namespace has.
pub fn prepare(kind: &Kind, value: &mut Value) {
    if is_namespace(kind) {
        let name = value["metadata"]["name"].clone();
        if !name.as_str().unwrap_or_default().is_empty() {
            if !value["metadata"]["labels"].is_object() {
                value["metadata"]["labels"] = json!({});
            }
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
    }
}

/// Whether a namespace's own finalizers hold it.
pub fn holds(kind: &Kind, value: &Value) -> bool {
    is_namespace(kind)
        && value["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// A namespace that is to go says so in its status.
pub fn mark(kind: &Kind, value: &mut Value) {
    if is_namespace(kind) && value["metadata"].get("deletionTimestamp").is_some() {
        value["status"]["phase"] = "Terminating".into();
    }
}
