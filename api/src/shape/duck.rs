//! Shapes that the kinds of Eventing share: references, destinations, delivery, subscribers, sources.
//!
//! Pure: tables. Source: knative.dev/pkg `apis/duck/v1`, knative/eventing `pkg/apis/duck/v1`. What the CRDs hide is pruned
//! there, too: a reference keeps its group and the name of an address only in some places.

use super::{
    Field, INT32_POINTER, Kind, Struct, TEXT, TEXT_MAP, TEXTS, embedded, field,
    meta::{ADDRESSABLE, ANNOTATIONS, CONDITIONS, OBSERVED_GENERATION},
};

const TEXT_POINTER: Kind = Kind::Pointer(&TEXT);

const REF_KIND: Field = field("Kind", "kind", TEXT).kept().doc("Kind of the object.");
const REF_NAMESPACE: Field = field("Namespace", "namespace", TEXT)
    .doc("Namespace of the object; that of who refers to it, where it is left out.");
const REF_NAME: Field = field("Name", "name", TEXT).kept().doc("Name of the object.");
const REF_API_VERSION: Field =
    field("APIVersion", "apiVersion", TEXT).doc("API version of the object.");
const REF_GROUP: Field = field("Group", "group", TEXT).doc("Instead of apiVersion: the API group.");
const REF_ADDRESS: Field =
    field("Address", "address", TEXT_POINTER).doc("Which of the object's addresses, by name.");

/// A reference as most CRDs have it.
pub static REFERENCE: Struct = Struct {
    go: "v1.KReference",
    fields: &[
        REF_KIND,
        REF_NAMESPACE,
        REF_NAME,
        REF_API_VERSION,
        REF_GROUP.hidden(),
        REF_ADDRESS.hidden(),
    ],
};

/// A reference that may name an address.
pub static REFERENCE_WITH_ADDRESS: Struct = Struct {
    go: "v1.KReference",
    fields: &[REF_KIND, REF_NAMESPACE, REF_NAME, REF_API_VERSION, REF_GROUP.hidden(), REF_ADDRESS],
};

/// A reference, all of it.
pub static WHOLE_REFERENCE: Struct = Struct {
    go: "v1.KReference",
    fields: &[REF_KIND, REF_NAMESPACE, REF_NAME, REF_API_VERSION, REF_GROUP, REF_ADDRESS],
};

/// A reference into the same namespace.
pub static OWN_REFERENCE: Struct = Struct {
    go: "v1.KReference",
    fields: &[
        REF_KIND,
        REF_NAMESPACE.hidden(),
        REF_NAME,
        REF_API_VERSION,
        REF_GROUP.hidden(),
        REF_ADDRESS.hidden(),
    ],
};

const URL_POINTER: Kind = Kind::Pointer(&Kind::Url);
const URI: Field =
    field("URI", "uri", URL_POINTER).doc("A URL; relative to the object's where both are there.");
const CA_CERTS: Field =
    field("CACerts", "CACerts", TEXT_POINTER).doc("Authorities to trust there, in PEM.");
const AUDIENCE: Field =
    field("Audience", "audience", TEXT_POINTER).doc("For whom the tokens are made that go along.");
const REFERENCE_POINTER: Kind = Kind::Pointer(&Kind::Struct(&REFERENCE));
const REF: Field = field("Ref", "ref", REFERENCE_POINTER).doc("An object that has an address.");

/// Where events go.
pub static DESTINATION: Struct =
    Struct { go: "v1.Destination", fields: &[REF, URI, CA_CERTS, AUDIENCE] };

/// A destination whose reference keeps anything.
pub static OPEN_DESTINATION: Struct =
    Struct { go: "v1.Destination", fields: &[REF.also_open(), URI, CA_CERTS, AUDIENCE] };

/// A destination whose reference is all there.
pub static WHOLE_DESTINATION: Struct = Struct {
    go: "v1.Destination",
    fields: &[
        field("Ref", "ref", Kind::Pointer(&Kind::Struct(&WHOLE_REFERENCE)))
            .doc("An object that has an address."),
        URI,
        CA_CERTS,
        AUDIENCE,
    ],
};

/// A destination that may be absent.
pub const DESTINATION_POINTER: Kind = Kind::Pointer(&Kind::Struct(&DESTINATION));

/// How events are delivered.
pub static DELIVERY: Struct = Struct {
    go: "v1.DeliverySpec",
    fields: &[
        field("DeadLetterSink", "deadLetterSink", DESTINATION_POINTER)
            .doc("Takes the events that could not be delivered."),
        field("Retry", "retry", INT32_POINTER).doc("How often to try again after the first time."),
        field("Timeout", "timeout", TEXT_POINTER)
            .doc("Longest time of one try, an ISO 8601 duration."),
        field("BackoffPolicy", "backoffPolicy", Kind::Pointer(&Kind::Text("v1.BackoffPolicyType")))
            .doc("linear or exponential."),
        field("BackoffDelay", "backoffDelay", TEXT_POINTER)
            .doc("Wait before trying again, an ISO 8601 duration."),
        field("RetryAfterMax", "retryAfterMax", TEXT_POINTER)
            .doc("Longest wait that a subscriber may ask for, an ISO 8601 duration."),
        field("Format", "format", Kind::Pointer(&Kind::Text("v1.FormatType")))
            .doc("json or binary; as it came, where it is left out."),
    ],
};

const DELIVERY_POINTER: Kind = Kind::Pointer(&Kind::Struct(&DELIVERY));
/// The field of all that deliver.
pub const DELIVERY_FIELD: Field = field("Delivery", "delivery", DELIVERY_POINTER)
    .also_open()
    .doc("How events are delivered, and what becomes of those that cannot be.");

/// The service accounts of a sender.
pub static AUTH_STATUS: Struct = Struct {
    go: "v1.AuthStatus",
    fields: &[
        field("ServiceAccountName", "serviceAccountName", TEXT_POINTER),
        field("ServiceAccountNames", "serviceAccountNames", TEXTS),
    ],
};

const AUTH_POINTER: Kind = Kind::Pointer(&Kind::Struct(&AUTH_STATUS));
/// The field of all that send.
pub const AUTH: Field =
    field("Auth", "auth", AUTH_POINTER).doc("The service accounts by which events are sent.");

static SUBSCRIBER: Struct = Struct {
    go: "v1.SubscriberSpec",
    fields: &[
        field("Name", "name", TEXT_POINTER),
        field("UID", "uid", Kind::Text("types.UID")),
        field("Generation", "generation", Kind::Int64),
        field("SubscriberURI", "subscriberUri", URL_POINTER),
        field("SubscriberCACerts", "subscriberCACerts", TEXT_POINTER),
        field("SubscriberAudience", "subscriberAudience", TEXT_POINTER),
        field("ReplyURI", "replyUri", URL_POINTER),
        field("ReplyCACerts", "replyCACerts", TEXT_POINTER),
        field("ReplyAudience", "replyAudience", TEXT_POINTER),
        DELIVERY_FIELD,
        AUTH,
    ],
};

/// Subscribers, as the spec of a channel has them.
pub const SUBSCRIBERS: Kind = Kind::List(&Kind::Struct(&SUBSCRIBER));

static SUBSCRIBABLE_SPEC: Struct = Struct {
    go: "v1.SubscribableSpec",
    fields: &[field("Subscribers", "subscribers", SUBSCRIBERS)
        .doc("Who gets the events; written by the controller of Subscriptions.")],
};

/// What every channel wants.
pub static CHANNELABLE_SPEC: Struct = Struct {
    go: "v1.ChannelableSpec",
    fields: &[embedded("SubscribableSpec", &SUBSCRIBABLE_SPEC), DELIVERY_FIELD],
};

static SUBSCRIBER_STATUS: Struct = Struct {
    go: "v1.SubscriberStatus",
    fields: &[
        field("UID", "uid", Kind::Text("types.UID")),
        field("ObservedGeneration", "observedGeneration", Kind::Int64),
        field("Ready", "ready", Kind::Text("v1.ConditionStatus")),
        field("Message", "message", TEXT),
        AUTH,
    ],
};

/// What every channel says.
pub static CHANNELABLE_STATUS: Struct = Struct {
    go: "v1.ChannelableStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        ADDRESS,
        ADDRESSES,
        field("Subscribers", "subscribers", Kind::List(&Kind::Struct(&SUBSCRIBER_STATUS)))
            .doc("What became of each subscriber."),
        embedded("DeliveryStatus", &DELIVERY_STATUS),
        POLICIES,
    ],
};

/// Where dead letters go.
pub static DELIVERY_STATUS: Struct = Struct {
    go: "v1.DeliveryStatus",
    fields: &[
        field("DeadLetterSinkURI", "deadLetterSinkUri", TEXT)
            .doc("Takes the events that could not be delivered."),
        field("DeadLetterSinkCACerts", "deadLetterSinkCACerts", TEXT_POINTER),
        field("DeadLetterSinkAudience", "deadLetterSinkAudience", TEXT_POINTER),
    ],
};

const ADDRESS_POINTER: Kind = Kind::Pointer(&Kind::Struct(&ADDRESSABLE));
/// The field of all that take events.
pub const ADDRESS: Field = field("Address", "address", ADDRESS_POINTER).doc("Takes events.");
const ONE_ADDRESS: Kind = Kind::Struct(&ADDRESSABLE);
/// The field of all that take events.
pub const ADDRESSES: Field =
    field("Addresses", "addresses", Kind::List(&ONE_ADDRESS)).doc("All that take events.");

static APPLIED_POLICY: Struct = Struct {
    go: "v1.AppliedEventPolicyRef",
    fields: &[field("APIVersion", "apiVersion", TEXT).kept(), field("Name", "name", TEXT).kept()],
};

const ONE_POLICY: Kind = Kind::Struct(&APPLIED_POLICY);
/// The field of all to which policies apply.
pub const POLICIES: Field = field("Policies", "policies", Kind::List(&ONE_POLICY))
    .doc("The policies that say who may send events.");

static OVERRIDES: Struct = Struct {
    go: "v1.CloudEventOverrides",
    fields: &[field("Extensions", "extensions", TEXT_MAP)
        .doc("Extension attributes; they replace those of the same name.")],
};

/// What every source wants.
pub static SOURCE_SPEC: Struct = Struct {
    go: "v1.SourceSpec",
    fields: &[
        field("Sink", "sink", Kind::Struct(&DESTINATION)).doc("Where the events go."),
        field("CloudEventOverrides", "ceOverrides", Kind::Pointer(&Kind::Struct(&OVERRIDES)))
            .doc("What the source puts into its events."),
    ],
};

static CE_ATTRIBUTES: Struct = Struct {
    go: "v1.CloudEventAttributes",
    fields: &[field("Type", "type", TEXT), field("Source", "source", TEXT)],
};

/// What every source says.
pub static SOURCE_STATUS: Struct = Struct {
    go: "v1.SourceStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("SinkURI", "sinkUri", TEXT).doc("Where the events go."),
        field("CloudEventAttributes", "ceAttributes", Kind::List(&Kind::Struct(&CE_ATTRIBUTES)))
            .doc("The events that are sent."),
        field("SinkCACerts", "sinkCACerts", TEXT_POINTER),
        field("SinkAudience", "sinkAudience", TEXT_POINTER),
        AUTH,
    ],
};
