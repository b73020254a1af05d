//! The shapes of PingSource, ApiServerSource, ContainerSource, SinkBinding and IntegrationSource.
//!
//! Pure: tables. Source: knative/eventing `pkg/apis/sources`, `pkg/apis/common/integration`.

use super::{
    Kind, Struct, TEXT, TEXTS,
    duck::{SOURCE_SPEC, SOURCE_STATUS},
    embedded,
    eventing::{FILTERS, LABEL_SELECTOR},
    field,
    meta::OBJECT_META,
    pod::POD_SPEC,
};

const TEXT_POINTER: Kind = Kind::Pointer(&TEXT);
const SELECTOR: Kind = Kind::Pointer(&Kind::Struct(&LABEL_SELECTOR));

/// What a PingSource wants.
pub static PING_SOURCE_SPEC: Struct = Struct {
    go: "v1.PingSourceSpec",
    fields: &[
        embedded("SourceSpec", &SOURCE_SPEC),
        field("Schedule", "schedule", TEXT)
            .doc("When an event is sent, as cron has it; every minute, where it is left out."),
        field("Timezone", "timezone", TEXT)
            .doc("Time zone of the schedule, such as Europe/Berlin."),
        field("ContentType", "contentType", TEXT).doc("Media type of the data."),
        field("Data", "data", TEXT).doc("Data of the event, as text."),
        field("DataBase64", "dataBase64", TEXT).doc("Data of the event: any bytes, in base64."),
    ],
};

/// What is known of a PingSource.
pub static PING_SOURCE_STATUS: Struct =
    Struct { go: "v1.PingSourceStatus", fields: &[embedded("SourceStatus", &SOURCE_STATUS)] };

/// What an ApiServerSource wants.
pub static API_SERVER_SOURCE_SPEC: Struct = Struct {
    go: "v1.ApiServerSourceSpec",
    fields: &[
        embedded("SourceSpec", &SOURCE_SPEC),
        field("Resources", "resources", Kind::List(&Kind::Struct(&RESOURCE)))
            .needed()
            .doc("The kinds of objects whose changes are sent."),
        field("ResourceOwner", "owner", Kind::Pointer(&Kind::Struct(&VERSION_KIND)))
            .doc("Only objects that one of this kind owns."),
        field("EventMode", "mode", TEXT)
            .doc("Reference (what the object is called) or Resource (all of it)."),
        field("ServiceAccountName", "serviceAccountName", TEXT)
            .doc("Who looks at the objects; the namespace's default, where it is left out."),
        field("NamespaceSelector", "namespaceSelector", SELECTOR)
            .doc("Namespaces to look at; only the source's own, where it is left out."),
        field("Filters", "filters", FILTERS).doc("What all must hold for an event."),
    ],
};

static VERSION_KIND: Struct = Struct {
    go: "v1.APIVersionKind",
    fields: &[field("APIVersion", "apiVersion", TEXT).kept(), field("Kind", "kind", TEXT).kept()],
};

static RESOURCE: Struct = Struct {
    go: "v1.APIVersionKindSelector",
    fields: &[
        field("APIVersion", "apiVersion", TEXT).kept().doc("API version of the objects."),
        field("Kind", "kind", TEXT).kept().doc("Kind of the objects."),
        field("LabelSelector", "selector", SELECTOR).doc("Only objects with these labels."),
    ],
};

/// What is known of an ApiServerSource.
pub static API_SERVER_SOURCE_STATUS: Struct = Struct {
    go: "v1.ApiServerSourceStatus",
    fields: &[
        embedded("SourceStatus", &SOURCE_STATUS),
        field("Namespaces", "namespaces", TEXTS)
            .kept()
            .doc("Namespaces that are looked at; all, when there is one without a name."),
    ],
};

/// What a ContainerSource wants.
pub static CONTAINER_SOURCE_SPEC: Struct = Struct {
    go: "v1.ContainerSourceSpec",
    fields: &[
        embedded("SourceSpec", &SOURCE_SPEC),
        field("Template", "template", Kind::Struct(&POD_TEMPLATE))
            .open()
            .doc("The pod; its containers find the sink's URL in K_SINK."),
    ],
};

/// A pod to make.
pub static POD_TEMPLATE: Struct = Struct {
    go: "v1.PodTemplateSpec",
    fields: &[
        field("ObjectMeta", "metadata", Kind::Struct(&OBJECT_META)),
        field("Spec", "spec", Kind::Struct(&POD_SPEC)),
    ],
};

/// What is known of a ContainerSource.
pub static CONTAINER_SOURCE_STATUS: Struct =
    Struct { go: "v1.ContainerSourceStatus", fields: &[embedded("SourceStatus", &SOURCE_STATUS)] };

/// What a SinkBinding wants.
pub static SINK_BINDING_SPEC: Struct = Struct {
    go: "v1.SinkBindingSpec",
    fields: &[embedded("SourceSpec", &SOURCE_SPEC), embedded("BindingSpec", &BINDING_SPEC)],
};

static BINDING_SPEC: Struct = Struct {
    go: "v1.BindingSpec",
    fields: &[field("Subject", "subject", Kind::Struct(&SUBJECT))
        .doc("The objects whose containers get the sink's URL in K_SINK.")],
};

static SUBJECT: Struct = Struct {
    go: "tracker.Reference",
    fields: &[
        field("APIVersion", "apiVersion", TEXT).doc("API version of the objects."),
        field("Kind", "kind", TEXT).doc("Kind of the objects."),
        field("Namespace", "namespace", TEXT).doc("Namespace of the objects: the binding's own."),
        field("Name", "name", TEXT).doc("Name of the object."),
        field("Selector", "selector", SELECTOR).doc("Instead of name: the objects' labels."),
    ],
};

/// What is known of a SinkBinding.
pub static SINK_BINDING_STATUS: Struct = Struct {
    go: "v1.SinkBindingStatus",
    fields: &[
        embedded("SourceStatus", &SOURCE_STATUS),
        field("OIDCTokenSecretName", "oidcTokenSecretName", TEXT_POINTER),
    ],
};

/// What an IntegrationSource wants.
pub static INTEGRATION_SOURCE_SPEC: Struct = Struct {
    go: "v1alpha1.IntegrationSourceSpec",
    fields: &[
        embedded("SourceSpec", &SOURCE_SPEC),
        field("Aws", "aws", Kind::Pointer(&Kind::Struct(&AWS_SOURCE)))
            .doc("Events out of a service of AWS."),
        field("Timer", "timer", Kind::Pointer(&Kind::Struct(&TIMER)))
            .doc("The same message again and again."),
        field("Template", "template", Kind::Pointer(&Kind::Struct(&POD_TEMPLATE)))
            .open()
            .doc("More of the pod that does it."),
    ],
};

static TIMER: Struct = Struct {
    go: "v1alpha1.Timer",
    fields: &[
        field("Period", "period", Kind::Int)
            .kept()
            .default_number(1000)
            .doc("Milliseconds from one message to the next."),
        field("Message", "message", TEXT).kept().doc("The message."),
        field("ContentType", "contentType", TEXT)
            .kept()
            .default("text/plain")
            .doc("Media type of the message."),
        field("RepeatCount", "repeatCount", Kind::Int).doc("How many messages."),
    ],
};

static AWS_SOURCE: Struct = Struct {
    go: "v1alpha1.Aws",
    fields: &[
        field("S3", "s3", Kind::Pointer(&Kind::Struct(&AWS_S3))).doc("A bucket."),
        field("SQS", "sqs", Kind::Pointer(&Kind::Struct(&AWS_SQS))).doc("A queue."),
        field("DDBStreams", "ddbStreams", Kind::Pointer(&Kind::Struct(&AWS_DDB_STREAMS)))
            .doc("The changes of a table."),
        field("Auth", "auth", Kind::Pointer(&Kind::Struct(&AWS_AUTH))).doc("Who asks AWS."),
    ],
};

/// Who asks AWS.
pub static AWS_AUTH: Struct = Struct {
    go: "v1alpha1.Auth",
    fields: &[
        field("Secret", "secret", Kind::Pointer(&Kind::Struct(&AWS_SECRET))),
        field("AccessKey", "accessKey", TEXT).hidden(),
        field("SecretKey", "secretKey", TEXT).hidden(),
        field("ServiceAccountName", "serviceAccountName", TEXT),
    ],
};

static AWS_SECRET: Struct = Struct {
    go: "v1alpha1.Secret",
    fields: &[field("Ref", "ref", Kind::Pointer(&Kind::Struct(&AWS_SECRET_REFERENCE)))],
};

static AWS_SECRET_REFERENCE: Struct =
    Struct { go: "v1alpha1.SecretReference", fields: &[field("Name", "name", TEXT).required()] };

/// What services of AWS have in common.
pub static AWS_COMMON: Struct = Struct {
    go: "v1alpha1.AWSCommon",
    fields: &[
        field("Region", "region", TEXT),
        field("URIEndpointOverride", "uriEndpointOverride", TEXT),
        field("OverrideEndpoint", "overrideEndpoint", Kind::Bool).kept().default_flag(false),
    ],
};

/// A bucket.
pub static AWS_S3: Struct = Struct {
    go: "v1alpha1.AWSS3",
    fields: &[
        embedded("AWSCommon", &AWS_COMMON),
        field("Arn", "arn", TEXT),
        field("DeleteAfterRead", "deleteAfterRead", Kind::Bool).kept().default_flag(true),
        field("MoveAfterRead", "moveAfterRead", Kind::Bool).kept().default_flag(false),
        field("DestinationBucket", "destinationBucket", TEXT),
        field("DestinationBucketPrefix", "destinationBucketPrefix", TEXT),
        field("DestinationBucketSuffix", "destinationBucketSuffix", TEXT),
        field("AutoCreateBucket", "autoCreateBucket", Kind::Bool).kept().default_flag(false),
        field("Prefix", "prefix", TEXT),
        field("IgnoreBody", "ignoreBody", Kind::Bool).kept().default_flag(false),
        field("ForcePathStyle", "forcePathStyle", Kind::Bool).kept().default_flag(false),
        field("Delay", "delay", Kind::Int).kept().default_number(500),
        field("MaxMessagesPerPoll", "maxMessagesPerPoll", Kind::Int).kept().default_number(10),
    ],
};

/// A queue.
pub static AWS_SQS: Struct = Struct {
    go: "v1alpha1.AWSSQS",
    fields: &[
        embedded("AWSCommon", &AWS_COMMON),
        field("Arn", "arn", TEXT),
        field("DeleteAfterRead", "deleteAfterRead", Kind::Bool).kept().default_flag(true),
        field("AutoCreateQueue", "autoCreateQueue", Kind::Bool).kept().default_flag(false),
        field("Host", "host", TEXT).kept().default("amazonaws.com"),
        field("Protocol", "protocol", TEXT).kept().default("https"),
        field("QueueURL", "queueURL", TEXT),
        field("Greedy", "greedy", Kind::Bool).kept().default_flag(false),
        field("Delay", "delay", Kind::Int).kept().default_number(500),
        field("MaxMessagesPerPoll", "maxMessagesPerPoll", Kind::Int).kept().default_number(1),
        field("WaitTimeSeconds", "waitTimeSeconds", Kind::Int),
        field("VisibilityTimeout", "visibilityTimeout", Kind::Int),
    ],
};

static AWS_DDB_STREAMS: Struct = Struct {
    go: "v1alpha1.AWSDDBStreams",
    fields: &[
        embedded("AWSCommon", &AWS_COMMON),
        field("Table", "table", TEXT),
        field("StreamIteratorType", "streamIteratorType", TEXT).default("FROM_LATEST"),
        field("Delay", "delay", Kind::Int).default_number(500),
    ],
};

/// What is known of an IntegrationSource.
pub static INTEGRATION_SOURCE_STATUS: Struct = Struct {
    go: "v1alpha1.IntegrationSourceStatus",
    fields: &[embedded("SourceStatus", &SOURCE_STATUS)],
};
