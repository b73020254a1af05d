//! Shapes that many kinds share: metadata, conditions, addresses, references.
//!
//! Pure: tables. Source: kubernetes/apimachinery `meta/v1`, knative.dev/pkg `apis/duck/v1`.

use super::{Field, Kind, Struct, TEXT, TEXT_MAP, TEXTS, field};

/// The metadata of a template. Its CRD names a part of it and keeps the rest.
pub static OBJECT_META: Struct = Struct {
    go: "v1.ObjectMeta",
    fields: &[
        field("Name", "name", TEXT),
        field("GenerateName", "generateName", TEXT).hidden(),
        field("Namespace", "namespace", TEXT),
        field("SelfLink", "selfLink", TEXT).hidden(),
        field("UID", "uid", Kind::Text("types.UID")).hidden(),
        field("ResourceVersion", "resourceVersion", TEXT).hidden(),
        field("Generation", "generation", Kind::Int64).hidden(),
        field("CreationTimestamp", "creationTimestamp", Kind::Any).hidden(),
        field("DeletionTimestamp", "deletionTimestamp", Kind::Any).hidden(),
        field(
            "DeletionGracePeriodSeconds",
            "deletionGracePeriodSeconds",
            Kind::Pointer(&Kind::Int64),
        )
        .hidden(),
        field("Labels", "labels", TEXT_MAP),
        field("Annotations", "annotations", TEXT_MAP),
        field("OwnerReferences", "ownerReferences", Kind::List(&Kind::Any)).hidden(),
        field("Finalizers", "finalizers", TEXTS),
        field("ManagedFields", "managedFields", Kind::List(&Kind::Any)).hidden(),
    ],
};

/// One statement about an object.
pub static CONDITION: Struct = Struct {
    go: "apis.Condition",
    fields: &[
        field("Type", "type", Kind::Text("apis.ConditionType"))
            .required()
            .doc("Name of the condition."),
        field("Status", "status", Kind::Text("v1.ConditionStatus"))
            .required()
            .doc("True, False or Unknown."),
        field("Severity", "severity", Kind::Text("apis.ConditionSeverity"))
            .doc("Empty where Ready depends on the condition, else Info."),
        field("LastTransitionTime", "lastTransitionTime", TEXT)
            .doc("When the condition last changed."),
        field("Reason", "reason", TEXT).doc("One word why."),
        field("Message", "message", TEXT).doc("A sentence why."),
    ],
};

/// What every status has.
pub const OBSERVED_GENERATION: Field =
    field("ObservedGeneration", "observedGeneration", Kind::Int64)
        .doc("The generation of the spec that the status is about.");
const ONE_CONDITION: Kind = Kind::Struct(&CONDITION);
/// What every status has.
pub const CONDITIONS: Field = field("Conditions", "conditions", Kind::List(&ONE_CONDITION))
    .doc("What is known of the object; Ready says it in one.");
/// What every status has.
pub const ANNOTATIONS: Field = field("Annotations", "annotations", TEXT_MAP);

/// Where an object can be called from inside the cluster.
pub static ADDRESSABLE: Struct = Struct {
    go: "v1.Addressable",
    fields: &[
        field("Name", "name", Kind::Pointer(&TEXT)),
        field("URL", "url", TEXT),
        field("CACerts", "CACerts", Kind::Pointer(&TEXT)),
        field("Audience", "audience", Kind::Pointer(&TEXT)),
    ],
};

/// Kubernetes' reference to an object, all of it.
pub static OBJECT_REFERENCE: Struct = Struct {
    go: "v1.ObjectReference",
    fields: &[
        field("Kind", "kind", TEXT),
        field("Namespace", "namespace", TEXT),
        field("Name", "name", TEXT),
        field("UID", "uid", Kind::Text("types.UID")),
        field("APIVersion", "apiVersion", TEXT),
        field("ResourceVersion", "resourceVersion", TEXT),
        field("FieldPath", "fieldPath", TEXT),
    ],
};

/// Kubernetes' reference to an object, as far as a CRD that names one of its own namespace keeps it.
pub static LOCAL_REFERENCE: Struct = Struct {
    go: "v1.ObjectReference",
    fields: &[
        field("Kind", "kind", TEXT),
        field("Namespace", "namespace", TEXT).hidden(),
        field("Name", "name", TEXT),
        field("UID", "uid", Kind::Text("types.UID")).hidden(),
        field("APIVersion", "apiVersion", TEXT),
        field("ResourceVersion", "resourceVersion", TEXT).hidden(),
        field("FieldPath", "fieldPath", TEXT).hidden(),
    ],
};

/// Eventing's and domain mappings' reference to an object.
pub static K_REFERENCE: Struct = Struct {
    go: "v1.KReference",
    fields: &[
        field("Kind", "kind", TEXT).required(),
        field("Namespace", "namespace", TEXT),
        field("Name", "name", TEXT).required(),
        field("APIVersion", "apiVersion", TEXT),
        field("Group", "group", TEXT),
        field("Address", "address", Kind::Pointer(&TEXT)),
    ],
};
