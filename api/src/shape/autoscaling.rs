//! The shapes of PodAutoscaler and Metric.
//!
//! Pure: tables. Source: knative/serving `pkg/apis/autoscaling/v1alpha1`.

use super::{
    INT32_POINTER, Kind, Struct, TEXT, field,
    meta::{ANNOTATIONS, CONDITIONS, LOCAL_REFERENCE, OBSERVED_GENERATION},
};

/// What a PodAutoscaler wants.
pub static POD_AUTOSCALER_SPEC: Struct = Struct {
    go: "v1alpha1.PodAutoscalerSpec",
    fields: &[
        field("ContainerConcurrency", "containerConcurrency", Kind::Int64)
            .doc("Requests that a pod may have in flight; 0 is no limit."),
        field("ScaleTargetRef", "scaleTargetRef", Kind::Struct(&LOCAL_REFERENCE))
            .required()
            .atomic_map()
            .doc("What is scaled."),
        field("Reachability", "reachability", Kind::Text("v1alpha1.ReachabilityType"))
            .doc("Whether a route leads here: Reachable, Unreachable, or empty when unknown."),
        field("ProtocolType", "protocolType", Kind::Text("networking.ProtocolType"))
            .required()
            .doc("http1 or h2c."),
    ],
};

/// What is known of a PodAutoscaler. Upstream requires both names, which its encoder always writes.
pub static POD_AUTOSCALER_STATUS: Struct = Struct {
    go: "v1alpha1.PodAutoscalerStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("ServiceName", "serviceName", TEXT).kept(),
        field("MetricsServiceName", "metricsServiceName", TEXT).kept(),
        field("DesiredScale", "desiredScale", INT32_POINTER).doc("Pods that are wanted."),
        field("ActualScale", "actualScale", INT32_POINTER).doc("Pods that are ready."),
    ],
};

/// What a Metric wants; times are in nanoseconds.
pub static METRIC_SPEC: Struct = Struct {
    go: "v1alpha1.MetricSpec",
    fields: &[
        field("StableWindow", "stableWindow", Kind::Int64).required(),
        field("PanicWindow", "panicWindow", Kind::Int64).required(),
        field("ScrapeTarget", "scrapeTarget", TEXT).required(),
    ],
};

/// What is known of a Metric.
pub static METRIC_STATUS: Struct =
    Struct { go: "v1alpha1.MetricStatus", fields: &[OBSERVED_GENERATION, CONDITIONS, ANNOTATIONS] };
