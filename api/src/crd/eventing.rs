//! The kinds of Eventing, as their CRDs say them.
//!
//! Pure: tables. Source: knative/eventing `config/core/resources`, `config/channels/in-memory-channel/resources`.

use super::{ADDRESSABLE, Column, Kind, PLAIN, READY, REASON, View};
use crate::{
    keys::eventing::{FLOWS_GROUP, GROUP, MESSAGING_GROUP, SINKS_GROUP, SOURCES_GROUP},
    shape::{eventing, flows, messaging, sinks, sources},
};

/// All groups of Eventing.
pub const GROUPS: [&str; 5] = [GROUP, MESSAGING_GROUP, FLOWS_GROUP, SOURCES_GROUP, SINKS_GROUP];

const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";
const SOURCE: [&str; 2] = ["duck.knative.dev/source", "eventing.knative.dev/source"];
const BINDING: [&str; 3] =
    ["duck.knative.dev/binding", "duck.knative.dev/source", "eventing.knative.dev/source"];

const ADDRESS: Column = ("URL", "string", ".status.address.url");
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const SINK: Column = ("Sink", "string", ".status.sinkUri");
const SCHEDULE: Column = ("Schedule", "string", ".spec.schedule");
const REFERENCE_NAME: Column = ("Reference Name", "string", ".spec.reference.name");
const REFERENCE_KIND: Column = ("Reference Kind", "string", ".spec.reference.kind");
const DESCRIPTION: Column = ("Description", "string", ".spec.description");

const OLDER_EVENT_TYPE: &[Column] = &[
    ("Type", "string", ".spec.type"),
    ("Source", "string", ".spec.source"),
    ("Schema", "string", ".spec.schema"),
    REFERENCE_NAME,
    REFERENCE_KIND,
    DESCRIPTION,
    READY,
    REASON,
];

const PING_EVENTS: &str = r#"[
  {
    "type": "dev.knative.sources.ping",
    "description": "The data of a PingSource, at the times of its schedule"
  }
]
"#;

const API_SERVER_EVENTS: &str = r#"[
  {
    "type": "dev.knative.apiserver.resource.add",
    "description": "A new object, all of it (mode Resource)"
  },
  {
    "type": "dev.knative.apiserver.resource.delete",
    "description": "An object that was deleted, all of it (mode Resource)"
  },
  {
    "type": "dev.knative.apiserver.resource.update",
    "description": "An object that was changed, all of it (mode Resource)"
  },
  {
    "type": "dev.knative.apiserver.ref.add",
    "description": "What a new object is called (mode Reference)"
  },
  {
    "type": "dev.knative.apiserver.ref.delete",
    "description": "What an object was called that was deleted (mode Reference)"
  },
  {
    "type": "dev.knative.apiserver.ref.update",
    "description": "What an object is called that was changed (mode Reference)"
  }
]
"#;

pub static KINDS: [Kind; 18] = [
    Kind {
        group: GROUP,
        version: "v1",
        kind: "Broker",
        plural: "brokers",
        categories: &["all", "knative", "eventing"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        wide_columns: &[(
            "Class",
            "string",
            ".metadata.annotations.eventing\\.knative\\.dev/broker\\.class",
        )],
        doc: "Takes events and keeps them for its Triggers.",
        spec: &eventing::BROKER_SPEC,
        status: Some(&eventing::BROKER_STATUS),
        ..PLAIN
    },
    Kind {
        group: GROUP,
        version: "v1",
        kind: "Trigger",
        plural: "triggers",
        categories: &["all", "knative", "eventing"],
        columns: &[
            ("Broker", "string", ".spec.broker"),
            ("Subscriber_URI", "string", ".status.subscriberUri"),
            AGE,
            READY,
            REASON,
        ],
        doc: "Sends events of a Broker to a subscriber.",
        spec: &eventing::TRIGGER_SPEC,
        is_open: true,
        status: Some(&eventing::TRIGGER_STATUS),
        ..PLAIN
    },
    Kind {
        group: GROUP,
        version: "v1beta2",
        kind: "EventType",
        plural: "eventtypes",
        categories: &["all", "knative", "eventing"],
        columns: OLDER_EVENT_TYPE,
        doc: "Tells of events that can be had.",
        spec: &eventing::OLDER_EVENT_TYPE_SPEC,
        status: Some(&eventing::EVENT_TYPE_STATUS),
        views: &[
            View {
                version: "v1beta3",
                columns: &[
                    ("Type", "string", ".spec.attributes[?(@.name=='type')].value"),
                    ("Source", "string", ".spec.attributes[?(@.name=='source')].value"),
                    REFERENCE_NAME,
                    REFERENCE_KIND,
                    DESCRIPTION,
                    READY,
                    REASON,
                ],
                spec: &eventing::EVENT_TYPE_SPEC,
                deprecation: None,
            },
            View {
                version: "v1beta1",
                columns: OLDER_EVENT_TYPE,
                spec: &eventing::OLDER_EVENT_TYPE_SPEC,
                deprecation: Some(
                    "eventing.knative.dev/v1beta1 EventType is deprecated; see \
                     https://knative.dev/docs/eventing/event-registry/ for instructions to migrate to \
                     eventing.knative.dev/v1beta2 EventType",
                ),
            },
        ],
        ..PLAIN
    },
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind: "EventPolicy",
        plural: "eventpolicies",
        categories: &["all", "knative", "eventing"],
        columns: &[READY, REASON],
        doc: "Says who may send events to whom.",
        spec: &eventing::EVENT_POLICY_SPEC,
        status: Some(&eventing::EVENT_POLICY_STATUS),
        ..PLAIN
    },
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind: "RequestReply",
        plural: "requestreplies",
        short_names: &["rr"],
        categories: &["all", "knative", "eventing"],
        columns: &[ADDRESS, READY, REASON],
        doc: "Answers a request with an event that replies to it.",
        spec: &eventing::REQUEST_REPLY_SPEC,
        status: Some(&eventing::REQUEST_REPLY_STATUS),
        ..PLAIN
    },
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind: "EventTransform",
        plural: "eventtransforms",
        categories: &["all", "knative", "eventing"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, SINK, READY, REASON],
        doc: "Brings events into another form.",
        spec: &eventing::EVENT_TRANSFORM_SPEC,
        status: Some(&eventing::EVENT_TRANSFORM_STATUS),
        ..PLAIN
    },
    Kind {
        group: MESSAGING_GROUP,
        version: "v1",
        kind: "Channel",
        plural: "channels",
        short_names: &["ch"],
        categories: &["all", "knative", "messaging", "channel"],
        ducks: &[ADDRESSABLE, SUBSCRIBABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Takes events for its Subscriptions, by a channel of the kind that its template says.",
        spec: &messaging::CHANNEL_SPEC,
        status: Some(&messaging::CHANNEL_STATUS),
        ..PLAIN
    },
    Kind {
        group: MESSAGING_GROUP,
        version: "v1",
        kind: "InMemoryChannel",
        plural: "inmemorychannels",
        short_names: &["imc"],
        categories: &["all", "knative", "messaging", "channel"],
        ducks: &[ADDRESSABLE, SUBSCRIBABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Takes events for its subscribers.",
        spec: &messaging::IN_MEMORY_CHANNEL_SPEC,
        status: Some(&messaging::IN_MEMORY_CHANNEL_STATUS),
        ..PLAIN
    },
    Kind {
        group: MESSAGING_GROUP,
        version: "v1",
        kind: "Subscription",
        plural: "subscriptions",
        short_names: &["sub"],
        categories: &["all", "knative", "messaging"],
        columns: &[AGE, READY, REASON],
        doc: "Sends a channel's events to a subscriber, and its answers to where they are wanted.",
        spec: &messaging::SUBSCRIPTION_SPEC,
        status: Some(&messaging::SUBSCRIPTION_STATUS),
        ..PLAIN
    },
    Kind {
        group: FLOWS_GROUP,
        version: "v1",
        kind: "Sequence",
        plural: "sequences",
        categories: &["all", "knative", "flows"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Sends events through subscribers, one after the other.",
        spec: &flows::SEQUENCE_SPEC,
        status: Some(&flows::SEQUENCE_STATUS),
        ..PLAIN
    },
    Kind {
        group: FLOWS_GROUP,
        version: "v1",
        kind: "Parallel",
        plural: "parallels",
        categories: &["all", "knative", "flows"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Sends each event to all of its branches.",
        spec: &flows::PARALLEL_SPEC,
        status: Some(&flows::PARALLEL_STATUS),
        ..PLAIN
    },
    Kind {
        group: SOURCES_GROUP,
        version: "v1",
        kind: "PingSource",
        plural: "pingsources",
        categories: &["all", "knative", "sources"],
        ducks: &SOURCE,
        event_types: Some(PING_EVENTS),
        columns: &[SINK, SCHEDULE, AGE, READY, REASON],
        doc: "Sends the same event at set times.",
        spec: &sources::PING_SOURCE_SPEC,
        status: Some(&sources::PING_SOURCE_STATUS),
        views: &[View {
            version: "v1beta2",
            columns: &[SINK, SCHEDULE, AGE, READY, REASON],
            spec: &sources::PING_SOURCE_SPEC,
            deprecation: Some(
                "sources.knative.dev/v1beta2 PingSource is deprecated; see \
                 https://knative.dev/docs/eventing/sources/ping-source/ for instructions to migrate to \
                 sources.knative.dev/v1 PingSource",
            ),
        }],
        ..PLAIN
    },
    Kind {
        group: SOURCES_GROUP,
        version: "v1",
        kind: "ApiServerSource",
        plural: "apiserversources",
        categories: &["all", "knative", "sources"],
        ducks: &SOURCE,
        event_types: Some(API_SERVER_EVENTS),
        columns: &[SINK, AGE, READY, REASON],
        doc: "Sends an event for each change of some objects.",
        spec: &sources::API_SERVER_SOURCE_SPEC,
        is_open: true,
        status: Some(&sources::API_SERVER_SOURCE_STATUS),
        ..PLAIN
    },
    Kind {
        group: SOURCES_GROUP,
        version: "v1",
        kind: "ContainerSource",
        plural: "containersources",
        categories: &["all", "knative", "sources"],
        ducks: &SOURCE,
        columns: &[SINK, AGE, READY, REASON],
        doc: "Runs a container that sends events.",
        spec: &sources::CONTAINER_SOURCE_SPEC,
        status: Some(&sources::CONTAINER_SOURCE_STATUS),
        ..PLAIN
    },
    Kind {
        group: SOURCES_GROUP,
        version: "v1",
        kind: "SinkBinding",
        plural: "sinkbindings",
        categories: &["all", "knative", "sources", "bindings"],
        ducks: &BINDING,
        columns: &[SINK, AGE, READY, REASON],
        doc: "Tells containers where to send events.",
        spec: &sources::SINK_BINDING_SPEC,
        status: Some(&sources::SINK_BINDING_STATUS),
        ..PLAIN
    },
    Kind {
        group: SOURCES_GROUP,
        version: "v1alpha1",
        kind: "IntegrationSource",
        plural: "integrationsources",
        categories: &["all", "knative", "sources"],
        ducks: &SOURCE,
        columns: &[SINK, AGE, READY, REASON],
        doc: "Sends events out of another system.",
        spec: &sources::INTEGRATION_SOURCE_SPEC,
        status: Some(&sources::INTEGRATION_SOURCE_STATUS),
        ..PLAIN
    },
    Kind {
        group: SINKS_GROUP,
        version: "v1alpha1",
        kind: "JobSink",
        plural: "jobsinks",
        categories: &["all", "knative", "eventing", "sink"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Runs a job for each event.",
        spec: &sinks::JOB_SINK_SPEC,
        status: Some(&sinks::JOB_SINK_STATUS),
        ..PLAIN
    },
    Kind {
        group: SINKS_GROUP,
        version: "v1alpha1",
        kind: "IntegrationSink",
        plural: "integrationsinks",
        categories: &["all", "knative", "eventing", "sink"],
        ducks: &[ADDRESSABLE],
        columns: &[ADDRESS, AGE, READY, REASON],
        doc: "Takes events for another system.",
        spec: &sinks::INTEGRATION_SINK_SPEC,
        status: Some(&sinks::INTEGRATION_SINK_STATUS),
        ..PLAIN
    },
];
