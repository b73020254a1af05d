//! The shapes of Service, Configuration, Revision, Route and DomainMapping.
//!
//! Pure: tables. Source: knative/serving `pkg/apis/serving/v1`, `v1beta1`.

use super::{
    BOOL_POINTER, INT32_POINTER, INT64_POINTER, Kind, Struct, TEXT, embedded, field,
    meta::{ADDRESSABLE, ANNOTATIONS, CONDITIONS, K_REFERENCE, OBJECT_META, OBSERVED_GENERATION},
    pod::POD_SPEC,
};

/// What a Service wants.
pub static SERVICE_SPEC: Struct = Struct {
    go: "v1.ServiceSpec",
    fields: &[
        embedded("ConfigurationSpec", &CONFIGURATION_SPEC),
        embedded("RouteSpec", &ROUTE_SPEC),
    ],
};

/// What a Configuration wants.
pub static CONFIGURATION_SPEC: Struct = Struct {
    go: "v1.ConfigurationSpec",
    fields: &[field("Template", "template", Kind::Struct(&REVISION_TEMPLATE))
        .kept()
        .doc("The revision to make; each change of it makes another.")],
};

/// Metadata and spec of the Revisions to make.
pub static REVISION_TEMPLATE: Struct = Struct {
    go: "v1.RevisionTemplateSpec",
    fields: &[
        field("ObjectMeta", "metadata", Kind::Struct(&OBJECT_META)).also_open(),
        field("Spec", "spec", Kind::Struct(&REVISION_SPEC)),
    ],
};

/// What a Revision wants.
pub static REVISION_SPEC: Struct = Struct {
    go: "v1.RevisionSpec",
    fields: &[
        embedded("PodSpec", &POD_SPEC),
        field("ContainerConcurrency", "containerConcurrency", INT64_POINTER)
            .doc("Requests that a pod may have in flight; 0 is no limit."),
        field("TimeoutSeconds", "timeoutSeconds", INT64_POINTER)
            .doc("Longest time that a request may take."),
        field("ResponseStartTimeoutSeconds", "responseStartTimeoutSeconds", INT64_POINTER)
            .doc("Longest time until the response begins."),
        field("IdleTimeoutSeconds", "idleTimeoutSeconds", INT64_POINTER)
            .doc("Longest time without a byte of the response."),
    ],
};

/// What a Route wants.
pub static ROUTE_SPEC: Struct = Struct {
    go: "v1.RouteSpec",
    fields: &[field("Traffic", "traffic", Kind::List(&Kind::Struct(&TRAFFIC_TARGET)))
        .doc("Where requests go; the percents add to 100.")],
};

static TRAFFIC_TARGET: Struct = Struct {
    go: "v1.TrafficTarget",
    fields: &[
        field("Tag", "tag", TEXT).doc("Gives the target a host of its own."),
        field("RevisionName", "revisionName", TEXT).doc("The revision that takes the requests."),
        field("ConfigurationName", "configurationName", TEXT)
            .doc("The configuration whose latest ready revision takes the requests."),
        field("LatestRevision", "latestRevision", BOOL_POINTER)
            .doc("Whether the latest ready revision takes the requests."),
        field("Percent", "percent", INT64_POINTER).doc("Share of the requests, 0 to 100."),
        field("URL", "url", TEXT).doc("The URL of the tag; in status only."),
    ],
};

/// What is known of a Service.
pub static SERVICE_STATUS: Struct = Struct {
    go: "v1.ServiceStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        embedded("ConfigurationStatusFields", &CONFIGURATION_STATUS_FIELDS),
        embedded("RouteStatusFields", &ROUTE_STATUS_FIELDS),
    ],
};

static CONFIGURATION_STATUS_FIELDS: Struct = Struct {
    go: "v1.ConfigurationStatusFields",
    fields: &[
        field("LatestReadyRevisionName", "latestReadyRevisionName", TEXT)
            .doc("The newest revision that became ready."),
        field("LatestCreatedRevisionName", "latestCreatedRevisionName", TEXT)
            .doc("The newest revision."),
    ],
};

static ROUTE_STATUS_FIELDS: Struct = Struct {
    go: "v1.RouteStatusFields",
    fields: &[
        field("URL", "url", TEXT).doc("Where the route can be reached."),
        field("Address", "address", Kind::Pointer(&Kind::Struct(&ADDRESSABLE)))
            .doc("Where the route can be reached from inside the cluster."),
        field("Traffic", "traffic", Kind::List(&Kind::Struct(&TRAFFIC_TARGET)))
            .doc("Where requests go now."),
    ],
};

/// What is known of a Configuration.
pub static CONFIGURATION_STATUS: Struct = Struct {
    go: "v1.ConfigurationStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        embedded("ConfigurationStatusFields", &CONFIGURATION_STATUS_FIELDS),
    ],
};

/// What is known of a Revision.
pub static REVISION_STATUS: Struct = Struct {
    go: "v1.RevisionStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("LogURL", "logUrl", TEXT).doc("Where the logs of the revision are."),
        field(
            "ContainerStatuses",
            "containerStatuses",
            Kind::List(&Kind::Struct(&CONTAINER_STATUS)),
        )
        .doc("The image that each container runs."),
        field(
            "InitContainerStatuses",
            "initContainerStatuses",
            Kind::List(&Kind::Struct(&CONTAINER_STATUS)),
        ),
        field("ActualReplicas", "actualReplicas", INT32_POINTER).doc("Pods that are ready."),
        field("DesiredReplicas", "desiredReplicas", INT32_POINTER).doc("Pods that are wanted."),
    ],
};

static CONTAINER_STATUS: Struct = Struct {
    go: "v1.ContainerStatus",
    fields: &[field("Name", "name", TEXT), field("ImageDigest", "imageDigest", TEXT)],
};

/// What is known of a Route.
pub static ROUTE_STATUS: Struct = Struct {
    go: "v1.RouteStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        embedded("RouteStatusFields", &ROUTE_STATUS_FIELDS),
    ],
};

/// What a DomainMapping wants.
pub static DOMAIN_MAPPING_SPEC: Struct = Struct {
    go: "v1beta1.DomainMappingSpec",
    fields: &[
        field("Ref", "ref", Kind::Struct(&K_REFERENCE)).required().doc("What the domain leads to."),
        field("TLS", "tls", Kind::Pointer(&Kind::Struct(&SECRET_TLS)))
            .doc("The certificate of the domain, where there is one already."),
    ],
};

static SECRET_TLS: Struct = Struct {
    go: "v1beta1.SecretTLS",
    fields: &[field("SecretName", "secretName", TEXT).required()],
};

/// What is known of a DomainMapping.
pub static DOMAIN_MAPPING_STATUS: Struct = Struct {
    go: "v1beta1.DomainMappingStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("URL", "url", TEXT),
        field("Address", "address", Kind::Pointer(&Kind::Struct(&ADDRESSABLE))),
    ],
};
