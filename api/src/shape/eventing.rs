//! The shapes of Broker, Trigger, EventType, EventPolicy, RequestReply and EventTransform.
//!
//! Pure: tables. Source: knative/eventing `pkg/apis/eventing`.

use super::{
    BOOL_POINTER, Field, INT32_POINTER, Kind, Struct, TEXT, TEXT_MAP, TEXTS,
    duck::{
        ADDRESS, ADDRESSES, AUTH, DELIVERY_FIELD, DELIVERY_STATUS, DESTINATION, OWN_REFERENCE,
        POLICIES, REFERENCE, REFERENCE_WITH_ADDRESS, SOURCE_STATUS, WHOLE_DESTINATION,
    },
    embedded, field,
    meta::{ANNOTATIONS, CONDITIONS, OBSERVED_GENERATION},
};

const TEXT_POINTER: Kind = Kind::Pointer(&TEXT);

/// What a Broker wants.
pub static BROKER_SPEC: Struct = Struct {
    go: "v1.BrokerSpec",
    fields: &[
        field("Config", "config", Kind::Pointer(&Kind::Struct(&REFERENCE)))
            .doc("Settings of the broker's class."),
        DELIVERY_FIELD,
    ],
};

/// What is known of a Broker.
pub static BROKER_STATUS: Struct = Struct {
    go: "v1.BrokerStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        ADDRESS,
        ADDRESSES,
        embedded("DeliveryStatus", &DELIVERY_STATUS),
        POLICIES,
    ],
};

/// What a Trigger wants.
pub static TRIGGER_SPEC: Struct = Struct {
    go: "v1.TriggerSpec",
    fields: &[
        field("Broker", "broker", TEXT).doc("The broker, in the same namespace."),
        field("BrokerRef", "brokerRef", Kind::Pointer(&Kind::Struct(&REFERENCE)))
            .doc("Instead of broker: one of any namespace."),
        field("Filter", "filter", Kind::Pointer(&Kind::Struct(&TRIGGER_FILTER)))
            .doc("Values that attributes must have."),
        field("Filters", "filters", FILTERS)
            .doc("What all must hold for an event; where there are any, filter does not count."),
        field("Subscriber", "subscriber", Kind::Struct(&DESTINATION)).doc("Who gets the events."),
        DELIVERY_FIELD,
    ],
};

static TRIGGER_FILTER: Struct = Struct {
    go: "v1.TriggerFilter",
    fields: &[field("Attributes", "attributes", Kind::Map("v1.TriggerFilterAttributes", &TEXT))
        .doc("Values that attributes must have; empty is any.")],
};

/// Filters of the CloudEvents subscriptions API.
pub const FILTERS: Kind = Kind::List(&ONE_FILTER);

static ONE_FILTER: Kind = Kind::Struct(&FILTER);

static FILTER: Struct = Struct {
    go: "v1.SubscriptionsAPIFilter",
    fields: &[
        field("All", "all", Kind::List(&ONE_FILTER)).open().doc("All of these filters hold."),
        field("Any", "any", Kind::List(&ONE_FILTER)).open().doc("One of these filters holds."),
        field("Not", "not", Kind::Pointer(&ONE_FILTER)).open().doc("This filter does not hold."),
        field("Exact", "exact", TEXT_MAP).doc("Attributes have these values."),
        field("Prefix", "prefix", TEXT_MAP).doc("Attributes begin with these values."),
        field("Suffix", "suffix", TEXT_MAP).doc("Attributes end with these values."),
        field("CESQL", "cesql", TEXT).doc("An expression of CloudEvents SQL is true."),
    ],
};

/// What is known of a Trigger.
pub static TRIGGER_STATUS: Struct = Struct {
    go: "v1.TriggerStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("SubscriberURI", "subscriberUri", TEXT).doc("Who gets the events."),
        field("SubscriberCACerts", "subscriberCACerts", TEXT_POINTER),
        field("SubscriberAudience", "subscriberAudience", TEXT_POINTER),
        embedded("DeliveryStatus", &DELIVERY_STATUS),
        AUTH,
    ],
};

const EVENT_TYPE_REFERENCE_KIND: Kind = Kind::Pointer(&Kind::Struct(&REFERENCE_WITH_ADDRESS));
const EVENT_TYPE_REFERENCE: Field = field("Reference", "reference", EVENT_TYPE_REFERENCE_KIND)
    .doc("The object that has the events.");
const DESCRIPTION: Field =
    field("Description", "description", TEXT).doc("What the events are, for people.");

/// What an EventType of v1beta3 wants.
pub static EVENT_TYPE_SPEC: Struct = Struct {
    go: "v1beta3.EventTypeSpec",
    fields: &[
        EVENT_TYPE_REFERENCE,
        DESCRIPTION,
        field("Attributes", "attributes", Kind::List(&Kind::Struct(&EVENT_ATTRIBUTE)))
            .kept()
            .doc("Attributes of the events; type, source, specversion and id are among them."),
    ],
};

static EVENT_ATTRIBUTE: Struct = Struct {
    go: "v1beta3.EventAttributeDefinition",
    fields: &[
        field("Name", "name", TEXT).required().doc("Name of the attribute."),
        field("Required", "required", Kind::Bool).kept().doc("Whether each event has it."),
        field("Value", "value", TEXT).doc("Its value, perhaps with {variables}."),
    ],
};

/// What an EventType of the older versions wants.
pub static OLDER_EVENT_TYPE_SPEC: Struct = Struct {
    go: "v1beta2.EventTypeSpec",
    fields: &[
        field("Type", "type", TEXT).kept().doc("Type of the events."),
        field("Source", "source", Kind::Pointer(&Kind::Url)).doc("Source of the events."),
        field("Schema", "schema", Kind::Pointer(&Kind::Url)).doc("Where the data's schema is."),
        field("SchemaData", "schemaData", TEXT).doc("The data's schema."),
        field("Broker", "broker", TEXT)
            .doc("The broker that has the events; reference says it better."),
        EVENT_TYPE_REFERENCE,
        DESCRIPTION,
    ],
};

/// What is known of an EventType.
pub static EVENT_TYPE_STATUS: Struct = Struct {
    go: "v1beta2.EventTypeStatus",
    fields: &[OBSERVED_GENERATION, CONDITIONS, ANNOTATIONS],
};

/// What an EventPolicy wants.
pub static EVENT_POLICY_SPEC: Struct = Struct {
    go: "v1alpha1.EventPolicySpec",
    fields: &[
        field("To", "to", Kind::List(&Kind::Struct(&POLICY_TO)))
            .doc("Who may be sent events; all in the namespace, where it is left out."),
        field("From", "from", Kind::List(&Kind::Struct(&POLICY_FROM))).doc("Who may send them."),
        field("Filters", "filters", FILTERS)
            .doc("Which events: those for which all of these hold."),
    ],
};

static POLICY_TO: Struct = Struct {
    go: "v1alpha1.EventPolicySpecTo",
    fields: &[
        field("Ref", "ref", Kind::Pointer(&Kind::Struct(&POLICY_TO_REFERENCE)))
            .doc("An object of the namespace."),
        field("Selector", "selector", Kind::Pointer(&Kind::Struct(&POLICY_SELECTOR)))
            .doc("Objects of the namespace, by their labels."),
    ],
};

static POLICY_TO_REFERENCE: Struct = Struct {
    go: "v1alpha1.EventPolicyToReference",
    fields: &[
        field("APIVersion", "apiVersion", TEXT),
        field("Kind", "kind", TEXT).kept(),
        field("Name", "name", TEXT).kept(),
    ],
};

static POLICY_SELECTOR: Struct = Struct {
    go: "v1alpha1.EventPolicySelector",
    fields: &[embedded("LabelSelector", &LABEL_SELECTOR), embedded("TypeMeta", &TYPE_META)],
};

/// The kind of an object.
pub static TYPE_META: Struct = Struct {
    go: "v1.TypeMeta",
    fields: &[field("Kind", "kind", TEXT), field("APIVersion", "apiVersion", TEXT)],
};

/// Objects, by their labels.
pub static LABEL_SELECTOR: Struct = Struct {
    go: "v1.LabelSelector",
    fields: &[
        field("MatchLabels", "matchLabels", TEXT_MAP).doc("Labels that objects have."),
        field(
            "MatchExpressions",
            "matchExpressions",
            Kind::List(&Kind::Struct(&SELECTOR_REQUIREMENT)),
        )
        .doc("What else labels are."),
    ],
};

static SELECTOR_REQUIREMENT: Struct = Struct {
    go: "v1.LabelSelectorRequirement",
    fields: &[
        field("Key", "key", TEXT).kept(),
        field("Operator", "operator", Kind::Text("v1.LabelSelectorOperator"))
            .kept()
            .doc("In, NotIn, Exists or DoesNotExist."),
        field("Values", "values", TEXTS),
    ],
};

static POLICY_FROM: Struct = Struct {
    go: "v1alpha1.EventPolicySpecFrom",
    fields: &[
        field("Ref", "ref", Kind::Pointer(&Kind::Struct(&POLICY_FROM_REFERENCE)))
            .doc("An object that sends."),
        field("Sub", "sub", TEXT_POINTER).doc("The subject of tokens; a * at its end is anything."),
    ],
};

static POLICY_FROM_REFERENCE: Struct = Struct {
    go: "v1alpha1.EventPolicyFromReference",
    fields: &[
        field("APIVersion", "apiVersion", TEXT),
        field("Kind", "kind", TEXT).kept(),
        field("Name", "name", TEXT).kept(),
        field("Namespace", "namespace", TEXT),
    ],
};

/// What is known of an EventPolicy.
pub static EVENT_POLICY_STATUS: Struct = Struct {
    go: "v1alpha1.EventPolicyStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("From", "from", TEXTS).doc("The subjects of those that may send."),
    ],
};

/// What a RequestReply wants.
pub static REQUEST_REPLY_SPEC: Struct = Struct {
    go: "v1alpha1.RequestReplySpec",
    fields: &[
        field("BrokerRef", "brokerRef", Kind::Struct(&OWN_REFERENCE))
            .doc("The broker, in the same namespace."),
        field("CorrelationAttribute", "correlationAttribute", TEXT)
            .kept()
            .doc("The attribute by which an event says what it replies to."),
        field("ReplyAttribute", "replyAttribute", TEXT)
            .kept()
            .doc("The attribute of the request that a reply repeats."),
        field("Timeout", "timeout", TEXT_POINTER)
            .doc("Longest wait for a reply, an ISO 8601 duration."),
        DELIVERY_FIELD,
    ],
};

/// What is known of a RequestReply.
pub static REQUEST_REPLY_STATUS: Struct = Struct {
    go: "v1alpha1.RequestReplyStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        ADDRESS,
        ADDRESSES,
        POLICIES,
        field("DesiredReplicas", "desiredReplicas", INT32_POINTER),
        field("ReadyReplicas", "readyReplicas", INT32_POINTER),
    ],
};

/// What an EventTransform wants.
pub static EVENT_TRANSFORM_SPEC: Struct = Struct {
    go: "v1alpha1.EventTransformSpec",
    fields: &[
        field("Sink", "sink", Kind::Pointer(&Kind::Struct(&WHOLE_DESTINATION)))
            .doc("Where the event goes; into the answer, where it is left out."),
        field("Reply", "reply", Kind::Pointer(&Kind::Struct(&TRANSFORM_REPLY)))
            .doc("What becomes of the sink's answer."),
        embedded("EventTransformations", &TRANSFORMATIONS),
    ],
};

static TRANSFORMATIONS: Struct = Struct {
    go: "v1alpha1.EventTransformations",
    fields: &[field("Jsonata", "jsonata", Kind::Pointer(&Kind::Struct(&JSONATA)))
        .doc("A transformation in the language JSONata.")],
};

static JSONATA: Struct = Struct {
    go: "v1alpha1.JsonataEventTransformationSpec",
    fields: &[field("Expression", "expression", TEXT).doc("Makes the new event of the old one.")],
};

static TRANSFORM_REPLY: Struct = Struct {
    go: "v1alpha1.ReplySpec",
    fields: &[
        embedded("EventTransformations", &TRANSFORMATIONS),
        field("Discard", "discard", BOOL_POINTER).doc("Whether the answer is dropped."),
    ],
};

/// What is known of an EventTransform.
pub static EVENT_TRANSFORM_STATUS: Struct = Struct {
    go: "v1alpha1.EventTransformStatus",
    fields: &[
        embedded("SourceStatus", &SOURCE_STATUS),
        ADDRESS,
        ADDRESSES,
        POLICIES,
        field("JsonataTransformationStatus", "jsonata", Kind::Any).open(),
    ],
};
