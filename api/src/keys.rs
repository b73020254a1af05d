//! Labels, annotations and the values that have a meaning.

/// Labels and annotations of Serving.
pub mod serving {
    pub const GROUP: &str = "serving.knative.dev";
    pub const SERVICE: &str = "serving.knative.dev/service";
    pub const SERVICE_UID: &str = "serving.knative.dev/serviceUID";
    pub const CONFIGURATION: &str = "serving.knative.dev/configuration";
    pub const CONFIGURATION_UID: &str = "serving.knative.dev/configurationUID";
    pub const CONFIGURATION_GENERATION: &str = "serving.knative.dev/configurationGeneration";
    pub const REVISION: &str = "serving.knative.dev/revision";
    pub const REVISION_UID: &str = "serving.knative.dev/revisionUID";
    pub const ROUTE: &str = "serving.knative.dev/route";
    pub const ROUTE_NAMESPACE: &str = "serving.knative.dev/routeNamespace";
    pub const ROUTES: &str = "serving.knative.dev/routes";
    pub const ROUTING_STATE: &str = "serving.knative.dev/routingState";
    pub const ROUTING_STATE_MODIFIED: &str = "serving.knative.dev/routingStateModified";
    pub const NO_GC: &str = "serving.knative.dev/no-gc";
    pub const CREATOR: &str = "serving.knative.dev/creator";
    pub const LAST_MODIFIER: &str = "serving.knative.dev/lastModifier";
    pub const ROLLOUT_DURATION: &str = "serving.knative.dev/rollout-duration";
    pub const ROLLOUT_DURATION_TWIN: &str = "serving.knative.dev/rolloutDuration";
    pub const PROGRESS_DEADLINE: &str = "serving.knative.dev/progress-deadline";
    pub const DEPLOYMENT_HASH: &str = "serving.knative.dev/deployment-hash";
    pub const DOMAIN_MAPPING_UID: &str = "serving.knative.dev/domainMappingUID";
    pub const DOMAIN_MAPPING_NAMESPACE: &str = "serving.knative.dev/domainMappingNamespace";
}

/// Labels and annotations of networking.
pub mod networking {
    pub const GROUP: &str = "networking.internal.knative.dev";
    pub const INGRESS_CLASS: &str = "networking.knative.dev/ingress.class";
    pub const INGRESS_CLASS_TWIN: &str = "networking.knative.dev/ingress-class";
    pub const CERTIFICATE_CLASS: &str = "networking.knative.dev/certificate.class";
    pub const CERTIFICATE_CLASS_TWIN: &str = "networking.knative.dev/certificate-class";
    pub const CERTIFICATE_TYPE: &str = "networking.knative.dev/certificate-type";
    /// On a Secret: the UID of the Certificate that it was made for.
    pub const CERTIFICATE_UID: &str = "networking.internal.knative.dev/certificate-uid";
    /// On a Certificate for all hosts of a namespace: the domain that they are under.
    pub const WILDCARD_DOMAIN: &str = "networking.knative.dev/wildcardDomain";
    /// On a ConfigMap: it has certificates of authorities that the platform's own parts trust.
    pub const TRUST_BUNDLE: &str = "networking.knative.dev/trust-bundle";
    /// The class of certificates that cert-manager provides, and Knative's default.
    pub const CERT_MANAGER_CLASS: &str = "cert-manager.certificate.networking.knative.dev";
    /// The class of certificates that Weft issues itself.
    pub const WEFT_CERTIFICATE_CLASS: &str = "weft.certificate.networking.knative.dev";
    /// Spellings of the annotation by which an object wants no certificate.
    pub const DISABLE_TLS: &[&str] = &[
        "networking.knative.dev/disableAutoTLS",
        "networking.knative.dev/disable-auto-tls",
        "networking.knative.dev/disable-external-domain-tls",
    ];
    /// Spellings of the annotation that says what becomes of plain HTTP.
    pub const HTTP_PROTOCOL: &[&str] =
        &["networking.knative.dev/httpOption", "networking.knative.dev/http-protocol"];
    pub const VISIBILITY: &str = "networking.knative.dev/visibility";
    pub const CLUSTER_LOCAL: &str = "cluster-local";
    pub const INGRESS: &str = "networking.internal.knative.dev/ingress";
    pub const SERVERLESS_SERVICE: &str = "networking.internal.knative.dev/serverlessservice";
    pub const SERVICE_TYPE: &str = "networking.internal.knative.dev/serviceType";
    pub const ROLLOUT: &str = "networking.internal.knative.dev/rollout";
    pub const TAG_TO_HOST: &str = "networking.internal.knative.dev/tag-to-host";
    /// The ingress class of Weft's own gateway.
    pub const WEFT_CLASS: &str = "weft.ingress.networking.knative.dev";
}

/// Annotations that steer the autoscaler; each may have a camel-case twin, and the first wins.
pub mod autoscaling {
    pub const GROUP: &str = "autoscaling.knative.dev";
    pub const INTERNAL_GROUP: &str = "autoscaling.internal.knative.dev";
    pub const CLASS: &str = "autoscaling.knative.dev/class";
    pub const KPA_CLASS: &str = "kpa.autoscaling.knative.dev";
    pub const HPA_CLASS: &str = "hpa.autoscaling.knative.dev";
    pub const METRIC: &str = "autoscaling.knative.dev/metric";
    pub const CONCURRENCY: &str = "concurrency";
    pub const RPS: &str = "rps";
    pub const TARGET: &[&str] = &["autoscaling.knative.dev/target"];
    pub const TARGET_UTILIZATION: &[&str] = &[
        "autoscaling.knative.dev/target-utilization-percentage",
        "autoscaling.knative.dev/targetUtilizationPercentage",
    ];
    pub const TARGET_BURST_CAPACITY: &[&str] = &[
        "autoscaling.knative.dev/target-burst-capacity",
        "autoscaling.knative.dev/targetBurstCapacity",
    ];
    pub const MIN_SCALE: &[&str] =
        &["autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"];
    pub const MAX_SCALE: &[&str] =
        &["autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"];
    pub const INITIAL_SCALE: &[&str] =
        &["autoscaling.knative.dev/initial-scale", "autoscaling.knative.dev/initialScale"];
    pub const ACTIVATION_SCALE: &[&str] = &["autoscaling.knative.dev/activation-scale"];
    pub const SCALE_DOWN_DELAY: &[&str] =
        &["autoscaling.knative.dev/scale-down-delay", "autoscaling.knative.dev/scaleDownDelay"];
    pub const RETENTION: &[&str] = &[
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
        "autoscaling.knative.dev/scaleToZeroPodRetentionPeriod",
    ];
    pub const WINDOW: &[&str] = &["autoscaling.knative.dev/window"];
    pub const PANIC_WINDOW_PERCENTAGE: &[&str] = &[
        "autoscaling.knative.dev/panic-window-percentage",
        "autoscaling.knative.dev/panicWindowPercentage",
    ];
    pub const PANIC_THRESHOLD_PERCENTAGE: &[&str] = &[
        "autoscaling.knative.dev/panic-threshold-percentage",
        "autoscaling.knative.dev/panicThresholdPercentage",
    ];
    pub const AGGREGATION: &[&str] = &[
        "autoscaling.knative.dev/metric-aggregation-algorithm",
        "autoscaling.knative.dev/metricAggregationAlgorithm",
    ];
}

/// Labels and annotations of Eventing.
pub mod eventing {
    pub const GROUP: &str = "eventing.knative.dev";
    pub const MESSAGING_GROUP: &str = "messaging.knative.dev";
    pub const FLOWS_GROUP: &str = "flows.knative.dev";
    pub const SOURCES_GROUP: &str = "sources.knative.dev";
    pub const SINKS_GROUP: &str = "sinks.knative.dev";

    /// On a Broker: which engine it has.
    pub const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
    /// The class of Brokers in Knative's default; all classes are one engine here.
    pub const MT_CHANNEL_BROKER_CLASS: &str = "MTChannelBasedBroker";
    /// On what belongs to a Broker: the Broker's name.
    pub const BROKER: &str = "eventing.knative.dev/broker";
    pub const BROKER_EVERYTHING: &str = "eventing.knative.dev/brokerEverything";
    /// On a channel: `cluster` or `namespace`.
    pub const SCOPE: &str = "eventing.knative.dev/scope";
    /// On a namespace or Trigger: `enabled` or `disabled`; whether a Broker `default` is made for it.
    pub const INJECTION: &str = "eventing.knative.dev/injection";
    /// On a Trigger: an object that must be ready first, as JSON.
    pub const DEPENDENCY: &str = "knative.dev/dependency";
    /// On the ServiceAccounts of senders.
    pub const OIDC: &str = "eventing.knative.dev/oidc";
    /// On EventTypes made for a source: its name.
    pub const SOURCE_NAME: &str = "eventing.knative.dev/sourceName";

    pub const CREATOR: &str = "eventing.knative.dev/creator";
    pub const LAST_MODIFIER: &str = "eventing.knative.dev/lastModifier";
    pub const MESSAGING_CREATOR: &str = "messaging.knative.dev/creator";
    pub const MESSAGING_LAST_MODIFIER: &str = "messaging.knative.dev/lastModifier";
    pub const SOURCES_CREATOR: &str = "sources.knative.dev/creator";
    pub const SOURCES_LAST_MODIFIER: &str = "sources.knative.dev/lastModifier";

    /// On a channel: which version of subscribers it has.
    pub const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";
    /// On a channel: `true` answers before the subscribers have the event.
    pub const ASYNC_HANDLER: &str = "messaging.knative.dev/async-handler";
    /// On the Service of a channel.
    pub const MESSAGING_ROLE: &str = "messaging.knative.dev/role";

    /// In the status of a Broker: where its channel is, for tools that ask.
    pub const CHANNEL_ADDRESS: &str = "knative.dev/channelAddress";
    pub const CHANNEL_API_VERSION: &str = "knative.dev/channelAPIVersion";
    pub const CHANNEL_KIND: &str = "knative.dev/channelKind";
    pub const CHANNEL_NAME: &str = "knative.dev/channelName";

    /// On the CRD of a source: the events that it sends, as JSON.
    pub const EVENT_TYPES: &str = "registry.knative.dev/eventTypes";
    /// On an ApiServerSource: `true` believes that its permissions are enough.
    pub const SKIP_PERMISSIONS_CHECK: &str =
        "features.knative.dev/apiserversource-skip-permissions-check";
    /// On the Job and the Secret of an event: the name of the JobSink.
    pub const JOB_SINK_NAME: &str = "sinks.knative.dev/job-sink-name";
    /// On the Job and the Secret of an event: which event.
    pub const JOB_SINK_ID: &str = "sinks.knative.dev/job-sink-id";
    /// On a namespace or an object: `true` lets SinkBindings change what is there.
    pub const BINDINGS_INCLUDE: &str = "bindings.knative.dev/include";
    /// On a namespace or an object: `true` keeps SinkBindings off.
    pub const BINDINGS_EXCLUDE: &str = "bindings.knative.dev/exclude";

    /// On a Trigger or Subscription: `key` sends events of one key one after the other, `none` all at once.
    pub const ORDER: &str = "eventing.weft.dev/order";
    /// On a Trigger or Subscription: the attribute that is the key of an event; `partitionkey` where it is not said.
    pub const ORDER_KEY: &str = "eventing.weft.dev/order-key";
    /// What Knative's broker for Kafka calls it: `ordered` or `unordered`.
    pub const KAFKA_ORDER: &str = "kafka.eventing.knative.dev/delivery.order";
    /// On a Trigger or Subscription: events that may be in flight at once.
    pub const IN_FLIGHT: &str = "eventing.weft.dev/in-flight";
    /// On a Trigger or Subscription: for how long an event with the same source and id is left out.
    pub const DEDUPLICATE: &str = "eventing.weft.dev/deduplicate";
    /// On a Trigger or Subscription: `true` keeps its events until it is gone.
    pub const PAUSED: &str = "eventing.weft.dev/paused";
    /// On a Trigger or Subscription: where it begins, `earliest`, `latest`, an offset or a time.
    pub const START: &str = "eventing.weft.dev/start";
    /// On a Broker or channel: for how long its events are kept.
    pub const RETENTION_AGE: &str = "eventing.weft.dev/retention-age";
    /// On a Broker or channel: how many bytes of events are kept.
    pub const RETENTION_BYTES: &str = "eventing.weft.dev/retention-bytes";
}
