//! The shapes of Sequence and Parallel.
//!
//! Pure: tables. Source: knative/eventing `pkg/apis/flows/v1`.

use super::{
    Kind, Struct, TEXT,
    duck::{ADDRESS, ADDRESSES, AUTH, DELIVERY_FIELD, DESTINATION, DESTINATION_POINTER, POLICIES},
    embedded, field,
    messaging::TEMPLATE_POINTER,
    meta::{
        ADDRESSABLE, ANNOTATIONS, CONDITION, CONDITIONS, OBJECT_REFERENCE, OBSERVED_GENERATION,
    },
};

/// What a Sequence wants.
pub static SEQUENCE_SPEC: Struct = Struct {
    go: "v1.SequenceSpec",
    fields: &[
        field("Steps", "steps", Kind::List(&Kind::Struct(&STEP)))
            .kept()
            .doc("Subscribers; each gets the answer of the one before."),
        field("ChannelTemplate", "channelTemplate", TEMPLATE_POINTER)
            .doc("The channels between the steps."),
        field("Reply", "reply", DESTINATION_POINTER).doc("Who gets the last step's answers."),
    ],
};

static STEP: Struct = Struct {
    go: "v1.SequenceStep",
    fields: &[embedded("Destination", &DESTINATION), DELIVERY_FIELD],
};

/// What is known of a Sequence.
pub static SEQUENCE_STATUS: Struct = Struct {
    go: "v1.SequenceStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field(
            "SubscriptionStatuses",
            "subscriptionStatuses",
            Kind::List(&Kind::Struct(&SUBSCRIPTION)),
        )
        .doc("The Subscriptions, in the order of the steps."),
        field("ChannelStatuses", "channelStatuses", Kind::List(&Kind::Struct(&CHANNEL)))
            .doc("The channels, in the order of the steps."),
        field("Address", "address", Kind::Struct(&ADDRESSABLE)).doc("Takes events."),
        ADDRESSES,
        AUTH,
        POLICIES,
    ],
};

static CHANNEL: Struct = Struct {
    go: "v1.SequenceChannelStatus",
    fields: &[
        field("Channel", "channel", Kind::Struct(&OBJECT_REFERENCE)),
        field("ReadyCondition", "ready", Kind::Struct(&CONDITION)),
    ],
};

static SUBSCRIPTION: Struct = Struct {
    go: "v1.SequenceSubscriptionStatus",
    fields: &[
        field("Subscription", "subscription", Kind::Struct(&OBJECT_REFERENCE)),
        field("ReadyCondition", "ready", Kind::Struct(&CONDITION)),
    ],
};

/// What a Parallel wants.
pub static PARALLEL_SPEC: Struct = Struct {
    go: "v1.ParallelSpec",
    fields: &[
        field("Branches", "branches", Kind::List(&Kind::Struct(&BRANCH)))
            .kept()
            .with_open_items()
            .doc("Subscribers that all get each event, unless their filter says no."),
        field("ChannelTemplate", "channelTemplate", TEMPLATE_POINTER)
            .kept()
            .doc("The channels before the branches and behind their filters."),
        field("Reply", "reply", DESTINATION_POINTER)
            .doc("Who gets the answers of branches without a reply of their own."),
    ],
};

static BRANCH: Struct = Struct {
    go: "v1.ParallelBranch",
    fields: &[
        field("Filter", "filter", DESTINATION_POINTER)
            .doc("Answers with the event that the subscriber gets, or not at all."),
        field("Subscriber", "subscriber", Kind::Struct(&DESTINATION)).doc("Who gets the events."),
        field("Reply", "reply", DESTINATION_POINTER).doc("Who gets the subscriber's answers."),
        DELIVERY_FIELD,
    ],
};

/// What is known of a Parallel. Upstream's CRD prunes the times of its conditions.
pub static PARALLEL_STATUS: Struct = Struct {
    go: "v1.ParallelStatus",
    fields: &[
        OBSERVED_GENERATION,
        field("Conditions", "conditions", Kind::List(&Kind::Struct(&TIMELESS_CONDITION)))
            .doc("What is known of the object; Ready says it in one."),
        ANNOTATIONS,
        field("IngressChannelStatus", "ingressChannelStatus", Kind::Struct(&PARALLEL_CHANNEL))
            .doc("The channel before the branches."),
        field("BranchStatuses", "branchStatuses", Kind::List(&Kind::Struct(&BRANCH_STATUS)))
            .kept()
            .doc("What is behind it, in the order of the branches."),
        ADDRESS,
        ADDRESSES,
        AUTH,
        POLICIES,
    ],
};

static TIMELESS_CONDITION: Struct = Struct {
    go: "apis.Condition",
    fields: &[
        field("Type", "type", Kind::Text("apis.ConditionType")).kept(),
        field("Status", "status", Kind::Text("v1.ConditionStatus")).kept(),
        field("Severity", "severity", Kind::Text("apis.ConditionSeverity")),
        field("LastTransitionTime", "lastTransitionTime", TEXT).hidden(),
        field("Reason", "reason", TEXT),
        field("Message", "message", TEXT),
    ],
};

static BRANCH_STATUS: Struct = Struct {
    go: "v1.ParallelBranchStatus",
    fields: &[
        field(
            "FilterSubscriptionStatus",
            "filterSubscriptionStatus",
            Kind::Struct(&PARALLEL_SUBSCRIPTION),
        ),
        field("FilterChannelStatus", "filterChannelStatus", Kind::Struct(&PARALLEL_CHANNEL)),
        field(
            "SubscriptionStatus",
            "subscriberSubscriptionStatus",
            Kind::Struct(&PARALLEL_SUBSCRIPTION),
        ),
    ],
};

static PARALLEL_CHANNEL: Struct = Struct {
    go: "v1.ParallelChannelStatus",
    fields: &[
        field("Channel", "channel", Kind::Struct(&OBJECT_REFERENCE)),
        field("ReadyCondition", "ready", Kind::Struct(&TIMELESS_CONDITION)).also_open(),
    ],
};

static PARALLEL_SUBSCRIPTION: Struct = Struct {
    go: "v1.ParallelSubscriptionStatus",
    fields: &[
        field("Subscription", "subscription", Kind::Struct(&OBJECT_REFERENCE)),
        field("ReadyCondition", "ready", Kind::Struct(&TIMELESS_CONDITION)),
    ],
};
