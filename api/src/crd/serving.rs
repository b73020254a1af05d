//! The kinds of Serving and of networking, as their CRDs say them.
//!
//! Pure: tables. Source: knative/serving `config/core/300-resources`, knative/networking `config`.

use super::{ADDRESSABLE, Kind, NETWORKING, PLAIN, READY, REASON, URL};
use crate::shape::{autoscaling, networking, serving};

const SERVING: &str = "serving.knative.dev";
const AUTOSCALING: &str = "autoscaling.internal.knative.dev";

const PODSPECABLE: &str = "duck.knative.dev/podspecable";

const LATEST_CREATED: (&str, &str, &str) =
    ("LatestCreated", "string", ".status.latestCreatedRevisionName");
const LATEST_READY: (&str, &str, &str) =
    ("LatestReady", "string", ".status.latestReadyRevisionName");

pub static KINDS: [Kind; 11] = [
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Service",
        plural: "services",
        short_names: &["kservice", "ksvc"],
        categories: &["all", "knative", "serving"],
        ducks: &[ADDRESSABLE, PODSPECABLE],
        columns: &[URL, LATEST_CREATED, LATEST_READY, READY, REASON],
        doc: "A program that runs when it is called, with a URL.",
        spec: &serving::SERVICE_SPEC,
        status: Some(&serving::SERVICE_STATUS),
        ..PLAIN
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Configuration",
        plural: "configurations",
        short_names: &["config", "cfg"],
        categories: &["all", "knative", "serving"],
        ducks: &[PODSPECABLE],
        columns: &[LATEST_CREATED, LATEST_READY, READY, REASON],
        doc: "The newest state of a program, and through its Revisions its history.",
        spec: &serving::CONFIGURATION_SPEC,
        status: Some(&serving::CONFIGURATION_STATUS),
        ..PLAIN
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Revision",
        plural: "revisions",
        short_names: &["rev"],
        categories: &["all", "knative", "serving"],
        columns: &[
            ("Config Name", "string", ".metadata.labels['serving\\.knative\\.dev/configuration']"),
            (
                "Generation",
                "string",
                ".metadata.labels['serving\\.knative\\.dev/configurationGeneration']",
            ),
            READY,
            REASON,
            ("Actual Replicas", "integer", ".status.actualReplicas"),
            ("Desired Replicas", "integer", ".status.desiredReplicas"),
        ],
        doc: "One state of a program, for ever.",
        spec: &serving::REVISION_SPEC,
        status: Some(&serving::REVISION_STATUS),
        ..PLAIN
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Route",
        plural: "routes",
        short_names: &["rt"],
        categories: &["all", "knative", "serving"],
        ducks: &[ADDRESSABLE],
        columns: &[URL, READY, REASON],
        doc: "A URL, and which Revisions take its requests.",
        spec: &serving::ROUTE_SPEC,
        status: Some(&serving::ROUTE_STATUS),
        ..PLAIN
    },
    Kind {
        group: SERVING,
        version: "v1beta1",
        kind: "DomainMapping",
        plural: "domainmappings",
        short_names: &["dm"],
        categories: &["all", "knative", "serving"],
        columns: &[URL, READY, REASON],
        doc: "A host name of its own for something that has a URL.",
        spec: &serving::DOMAIN_MAPPING_SPEC,
        status: Some(&serving::DOMAIN_MAPPING_STATUS),
        ..PLAIN
    },
    Kind {
        group: AUTOSCALING,
        version: "v1alpha1",
        kind: "PodAutoscaler",
        plural: "podautoscalers",
        short_names: &["kpa", "pa"],
        categories: &["knative-internal", "autoscaling"],
        columns: &[
            ("DesiredScale", "integer", ".status.desiredScale"),
            ("ActualScale", "integer", ".status.actualScale"),
            READY,
            REASON,
        ],
        doc: "What the autoscaler is asked to scale, and what it made of it.",
        spec: &autoscaling::POD_AUTOSCALER_SPEC,
        status: Some(&autoscaling::POD_AUTOSCALER_STATUS),
        ..PLAIN
    },
    Kind {
        group: AUTOSCALING,
        version: "v1alpha1",
        kind: "Metric",
        plural: "metrics",
        categories: &["knative-internal", "autoscaling"],
        columns: &[READY, REASON],
        doc: "What Knative's autoscaler collects of a Revision.",
        spec: &autoscaling::METRIC_SPEC,
        status: Some(&autoscaling::METRIC_STATUS),
        ..PLAIN
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "Ingress",
        plural: "ingresses",
        short_names: &["kingress", "king"],
        categories: &["knative-internal", "networking"],
        columns: &[READY, REASON],
        doc: "Hosts and paths, and the services that take their requests.",
        spec: &networking::INGRESS_SPEC,
        status: Some(&networking::INGRESS_STATUS),
        ..PLAIN
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "ServerlessService",
        plural: "serverlessservices",
        short_names: &["sks"],
        categories: &["knative-internal", "networking"],
        columns: &[
            ("Mode", "string", ".spec.mode"),
            ("Activators", "integer", ".spec.numActivators"),
            ("ServiceName", "string", ".status.serviceName"),
            ("PrivateServiceName", "string", ".status.privateServiceName"),
            READY,
            REASON,
        ],
        doc: "The services of a Revision, and whether requests pass the activator.",
        spec: &networking::SERVERLESS_SERVICE_SPEC,
        status: Some(&networking::SERVERLESS_SERVICE_STATUS),
        ..PLAIN
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "Certificate",
        plural: "certificates",
        short_names: &["kcert"],
        categories: &["knative-internal", "networking"],
        columns: &[READY, REASON],
        doc: "A certificate that is wanted for some names.",
        spec: &networking::CERTIFICATE_SPEC,
        status: Some(&networking::CERTIFICATE_STATUS),
        ..PLAIN
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "ClusterDomainClaim",
        plural: "clusterdomainclaims",
        short_names: &["cdc"],
        categories: &["knative-internal", "networking"],
        is_cluster_wide: true,
        doc: "Which namespace may use a domain.",
        spec: &networking::CLUSTER_DOMAIN_CLAIM_SPEC,
        status: None,
        ..PLAIN
    },
];
