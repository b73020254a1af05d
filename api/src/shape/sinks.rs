//! The shapes of JobSink and IntegrationSink.
//!
//! Pure: tables. Source: knative/eventing `pkg/apis/sinks/v1alpha1`.

use super::{
    BOOL_POINTER, INT32_POINTER, INT64_POINTER, Kind, Struct, TEXT,
    duck::{ADDRESS, ADDRESSES, POLICIES},
    embedded,
    eventing::{LABEL_SELECTOR, TYPE_META},
    field,
    meta::{ANNOTATIONS, CONDITIONS, OBJECT_META, OBSERVED_GENERATION},
    sources::{AWS_AUTH, AWS_COMMON, AWS_S3, AWS_SQS, POD_TEMPLATE},
};

/// What a JobSink wants.
pub static JOB_SINK_SPEC: Struct = Struct {
    go: "v1alpha1.JobSinkSpec",
    fields: &[field("Job", "job", Kind::Pointer(&Kind::Struct(&JOB)))
        .open()
        .doc("The job that is made for each event, which it finds in a file.")],
};

static JOB: Struct = Struct {
    go: "v1.Job",
    fields: &[
        embedded("TypeMeta", &TYPE_META),
        field("ObjectMeta", "metadata", Kind::Struct(&OBJECT_META)),
        field("Spec", "spec", Kind::Struct(&JOB_SPEC)),
        field("Status", "status", Kind::Struct(&JOB_STATUS)),
    ],
};

static JOB_SPEC: Struct = Struct {
    go: "v1.JobSpec",
    fields: &[
        field("Parallelism", "parallelism", INT32_POINTER),
        field("Completions", "completions", INT32_POINTER),
        field("ActiveDeadlineSeconds", "activeDeadlineSeconds", INT64_POINTER),
        field("PodFailurePolicy", "podFailurePolicy", Kind::Any),
        field("SuccessPolicy", "successPolicy", Kind::Any),
        field("BackoffLimit", "backoffLimit", INT32_POINTER),
        field("BackoffLimitPerIndex", "backoffLimitPerIndex", INT32_POINTER),
        field("MaxFailedIndexes", "maxFailedIndexes", INT32_POINTER),
        field("Selector", "selector", Kind::Pointer(&Kind::Struct(&LABEL_SELECTOR))),
        field("ManualSelector", "manualSelector", BOOL_POINTER),
        field("Template", "template", Kind::Struct(&POD_TEMPLATE)),
        field("TTLSecondsAfterFinished", "ttlSecondsAfterFinished", INT32_POINTER),
        field("CompletionMode", "completionMode", Kind::Pointer(&TEXT)),
        field("Suspend", "suspend", BOOL_POINTER),
        field("PodReplacementPolicy", "podReplacementPolicy", Kind::Pointer(&TEXT)),
        field("ManagedBy", "managedBy", Kind::Pointer(&TEXT)),
    ],
};

static JOB_STATUS: Struct = Struct {
    go: "v1.JobStatus",
    fields: &[
        field("Conditions", "conditions", Kind::List(&Kind::Any)),
        field("StartTime", "startTime", Kind::Any),
        field("CompletionTime", "completionTime", Kind::Any),
        field("Active", "active", Kind::Int32),
        field("Succeeded", "succeeded", Kind::Int32),
        field("Failed", "failed", Kind::Int32),
        field("Terminating", "terminating", INT32_POINTER),
        field("CompletedIndexes", "completedIndexes", TEXT),
        field("FailedIndexes", "failedIndexes", Kind::Pointer(&TEXT)),
        field("UncountedTerminatedPods", "uncountedTerminatedPods", Kind::Any),
        field("Ready", "ready", INT32_POINTER),
    ],
};

/// What is known of a JobSink.
pub static JOB_SINK_STATUS: Struct = Struct {
    go: "v1alpha1.JobSinkStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        ADDRESS,
        ADDRESSES,
        field("JobStatus", "job", Kind::Struct(&JOBS)),
        POLICIES,
    ],
};

static JOBS: Struct = Struct {
    go: "v1alpha1.JobStatus",
    fields: &[field("Selector", "selector", TEXT).doc("Picks the jobs by their labels.")],
};

/// What an IntegrationSink wants.
pub static INTEGRATION_SINK_SPEC: Struct = Struct {
    go: "v1alpha1.IntegrationSinkSpec",
    fields: &[
        field("Aws", "aws", Kind::Pointer(&Kind::Struct(&AWS_SINK)))
            .doc("Events into a service of AWS."),
        field("Log", "log", Kind::Pointer(&Kind::Struct(&LOG))).doc("Events into a log."),
    ],
};

static LOG: Struct = Struct {
    go: "v1alpha1.Log",
    fields: &[
        field("LoggerName", "loggerName", TEXT).default("log-sink"),
        field("Level", "level", TEXT).default("INFO"),
        field("LogMask", "logMask", Kind::Bool).default_flag(false),
        field("Marker", "marker", TEXT),
        field("Multiline", "multiline", Kind::Bool).default_flag(false),
        field("ShowAllProperties", "showAllProperties", Kind::Bool).default_flag(false),
        field("ShowBody", "showBody", Kind::Bool).default_flag(true),
        field("ShowBodyType", "showBodyType", Kind::Bool).default_flag(true),
        field("ShowExchangePattern", "showExchangePattern", Kind::Bool).default_flag(true),
        field("ShowHeaders", "showHeaders", Kind::Bool).default_flag(false),
        field("ShowProperties", "showProperties", Kind::Bool).default_flag(false),
        field("ShowStreams", "showStreams", Kind::Bool).default_flag(false),
        field("ShowCachedStreams", "showCachedStreams", Kind::Bool).default_flag(true),
    ],
};

static AWS_SINK: Struct = Struct {
    go: "v1alpha1.Aws",
    fields: &[
        field("S3", "s3", Kind::Pointer(&Kind::Struct(&AWS_S3))).doc("A bucket."),
        field("SQS", "sqs", Kind::Pointer(&Kind::Struct(&AWS_SQS))).doc("A queue."),
        field("SNS", "sns", Kind::Pointer(&Kind::Struct(&AWS_SNS))).doc("A topic."),
        field("Auth", "auth", Kind::Pointer(&Kind::Struct(&AWS_AUTH))).doc("Who asks AWS."),
    ],
};

static AWS_SNS: Struct = Struct {
    go: "v1alpha1.AWSSNS",
    fields: &[
        embedded("AWSCommon", &AWS_COMMON),
        field("Arn", "arn", TEXT),
        field("AutoCreateTopic", "autoCreateTopic", Kind::Bool).kept().default_flag(false),
    ],
};

/// What is known of an IntegrationSink.
pub static INTEGRATION_SINK_STATUS: Struct = Struct {
    go: "v1alpha1.IntegrationSinkStatus",
    fields: &[OBSERVED_GENERATION, CONDITIONS, ANNOTATIONS, ADDRESS, ADDRESSES, POLICIES],
};
