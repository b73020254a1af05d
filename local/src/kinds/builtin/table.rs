//! The columns that `kubectl get` shows of the built-in kinds.
//!
//! Pure: an object and the time in, cells out.
//! Source: Kubernetes' `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use serde_json::Value;

/// Columns and the function that fills them.
pub(in crate::kinds) struct Table {
    /// Name, type, priority, description.
    pub(in crate::kinds) columns: &'static [(&'static str, &'static str, i32, &'static str)],
    pub(in crate::kinds) row: fn(&Value, Timestamp) -> Vec<Value>,
}

/// For kinds without columns of their own.
pub(in crate::kinds) const NAME_AND_AGE: Table = Table {
    columns: &[("Name", "string", 0, NAME), ("Created At", "date", 0, CREATED)],
    row: |object, _| {
        vec![object["metadata"]["name"].clone(), object["metadata"]["creationTimestamp"].clone()]
    },
};

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
