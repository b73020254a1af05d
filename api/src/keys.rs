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
