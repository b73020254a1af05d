//! The CustomResourceDefinitions of all kinds, made from their shapes.
//!
//! Pure: values only. Source: knative/serving `config/core/300-resources`, knative/networking `config`.

use std::collections::BTreeMap;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
        CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
        CustomResourceSubresourceStatus, CustomResourceSubresources, CustomResourceValidation,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::shape::{Struct, autoscaling, networking, schema, serving};

/// A kind, as its CRD says it.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    is_cluster_wide: bool,
    /// Labels by which others find kinds that they can use: `duck.knative.dev/…`.
    ducks: &'static [&'static str],
    /// Name, type and path of each column.
    columns: &'static [(&'static str, &'static str, &'static str)],
    doc: &'static str,
    spec: &'static Struct,
    status: Option<&'static Struct>,
}

const URL: (&str, &str, &str) = ("URL", "string", ".status.url");
const READY: (&str, &str, &str) =
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status");
const REASON: (&str, &str, &str) =
    ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason");
const LATEST_CREATED: (&str, &str, &str) =
    ("LatestCreated", "string", ".status.latestCreatedRevisionName");
const LATEST_READY: (&str, &str, &str) =
    ("LatestReady", "string", ".status.latestReadyRevisionName");

const SERVING: &str = "serving.knative.dev";
const AUTOSCALING: &str = "autoscaling.internal.knative.dev";
const NETWORKING: &str = "networking.internal.knative.dev";

const ADDRESSABLE: &str = "duck.knative.dev/addressable";
const PODSPECABLE: &str = "duck.knative.dev/podspecable";

static KINDS: [Kind; 11] = [
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Service",
        plural: "services",
        short_names: &["kservice", "ksvc"],
        categories: &["all", "knative", "serving"],
        is_cluster_wide: false,
        ducks: &[ADDRESSABLE, PODSPECABLE],
        columns: &[URL, LATEST_CREATED, LATEST_READY, READY, REASON],
        doc: "A program that runs when it is called, with a URL.",
        spec: &serving::SERVICE_SPEC,
        status: Some(&serving::SERVICE_STATUS),
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Configuration",
        plural: "configurations",
        short_names: &["config", "cfg"],
        categories: &["all", "knative", "serving"],
        is_cluster_wide: false,
        ducks: &[PODSPECABLE],
        columns: &[LATEST_CREATED, LATEST_READY, READY, REASON],
        doc: "The newest state of a program, and through its Revisions its history.",
        spec: &serving::CONFIGURATION_SPEC,
        status: Some(&serving::CONFIGURATION_STATUS),
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Revision",
        plural: "revisions",
        short_names: &["rev"],
        categories: &["all", "knative", "serving"],
        is_cluster_wide: false,
        ducks: &[],
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
    },
    Kind {
        group: SERVING,
        version: "v1",
        kind: "Route",
        plural: "routes",
        short_names: &["rt"],
        categories: &["all", "knative", "serving"],
        is_cluster_wide: false,
        ducks: &[ADDRESSABLE],
        columns: &[URL, READY, REASON],
        doc: "A URL, and which Revisions take its requests.",
        spec: &serving::ROUTE_SPEC,
        status: Some(&serving::ROUTE_STATUS),
    },
    Kind {
        group: SERVING,
        version: "v1beta1",
        kind: "DomainMapping",
        plural: "domainmappings",
        short_names: &["dm"],
        categories: &["all", "knative", "serving"],
        is_cluster_wide: false,
        ducks: &[],
        columns: &[URL, READY, REASON],
        doc: "A host name of its own for something that has a URL.",
        spec: &serving::DOMAIN_MAPPING_SPEC,
        status: Some(&serving::DOMAIN_MAPPING_STATUS),
    },
    Kind {
        group: AUTOSCALING,
        version: "v1alpha1",
        kind: "PodAutoscaler",
        plural: "podautoscalers",
        short_names: &["kpa", "pa"],
        categories: &["knative-internal", "autoscaling"],
        is_cluster_wide: false,
        ducks: &[],
        columns: &[
            ("DesiredScale", "integer", ".status.desiredScale"),
            ("ActualScale", "integer", ".status.actualScale"),
            READY,
            REASON,
        ],
        doc: "What the autoscaler is asked to scale, and what it made of it.",
        spec: &autoscaling::POD_AUTOSCALER_SPEC,
        status: Some(&autoscaling::POD_AUTOSCALER_STATUS),
    },
    Kind {
        group: AUTOSCALING,
        version: "v1alpha1",
        kind: "Metric",
        plural: "metrics",
        short_names: &[],
        categories: &["knative-internal", "autoscaling"],
        is_cluster_wide: false,
        ducks: &[],
        columns: &[READY, REASON],
        doc: "What Knative's autoscaler collects of a Revision.",
        spec: &autoscaling::METRIC_SPEC,
        status: Some(&autoscaling::METRIC_STATUS),
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "Ingress",
        plural: "ingresses",
        short_names: &["kingress", "king"],
        categories: &["knative-internal", "networking"],
        is_cluster_wide: false,
        ducks: &[],
        columns: &[READY, REASON],
        doc: "Hosts and paths, and the services that take their requests.",
        spec: &networking::INGRESS_SPEC,
        status: Some(&networking::INGRESS_STATUS),
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "ServerlessService",
        plural: "serverlessservices",
        short_names: &["sks"],
        categories: &["knative-internal", "networking"],
        is_cluster_wide: false,
        ducks: &[],
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
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "Certificate",
        plural: "certificates",
        short_names: &["kcert"],
        categories: &["knative-internal", "networking"],
        is_cluster_wide: false,
        ducks: &[],
        columns: &[READY, REASON],
        doc: "A certificate that is wanted for some names.",
        spec: &networking::CERTIFICATE_SPEC,
        status: Some(&networking::CERTIFICATE_STATUS),
    },
    Kind {
        group: NETWORKING,
        version: "v1alpha1",
        kind: "ClusterDomainClaim",
        plural: "clusterdomainclaims",
        short_names: &["cdc"],
        categories: &["knative-internal", "networking"],
        is_cluster_wide: true,
        ducks: &[],
        columns: &[],
        doc: "Which namespace may use a domain.",
        spec: &networking::CLUSTER_DOMAIN_CLAIM_SPEC,
        status: None,
    },
];

/// All CRDs, in the order in which they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    KINDS.iter().map(definition).collect()
}

fn definition(kind: &Kind) -> CustomResourceDefinition {
    let texts = |texts: &[&str]| {
        (!texts.is_empty()).then(|| texts.iter().map(|text| (*text).to_string()).collect())
    };
    let component = if kind.group == NETWORKING { Some("networking") } else { None };
    let labels = [
        ("app.kubernetes.io/name", "knative-serving"),
        ("app.kubernetes.io/version", "devel"),
        ("knative.dev/crd-install", "true"),
    ]
    .into_iter()
    .chain(component.map(|component| ("app.kubernetes.io/component", component)))
    .chain(kind.ducks.iter().map(|duck| (*duck, "true")));
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", kind.plural, kind.group)),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect::<BTreeMap<_, _>>(),
            ),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: kind.group.to_string(),
            names: CustomResourceDefinitionNames {
                kind: kind.kind.to_string(),
                list_kind: Some(format!("{}List", kind.kind)),
                plural: kind.plural.to_string(),
                singular: Some(kind.kind.to_lowercase()),
                short_names: texts(kind.short_names),
                categories: texts(kind.categories),
            },
            scope: if kind.is_cluster_wide { "Cluster" } else { "Namespaced" }.to_string(),
            versions: vec![CustomResourceDefinitionVersion {
                name: kind.version.to_string(),
                served: true,
                storage: true,
                subresources: Some(CustomResourceSubresources {
                    status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
                    scale: None,
                }),
                additional_printer_columns: (!kind.columns.is_empty())
                    .then(|| kind.columns.iter().map(column).collect()),
                schema: Some(CustomResourceValidation {
                    open_api_v3_schema: Some(schema::object(kind.doc, kind.spec, kind.status)),
                }),
                ..CustomResourceDefinitionVersion::default()
            }],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn column(
    (name, type_, path): &(&'static str, &'static str, &'static str),
) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: (*name).to_string(),
        type_: (*type_).to_string(),
        json_path: (*path).to_string(),
        ..CustomResourceColumnDefinition::default()
    }
}

/// The CRDs as files: the name of each and its YAML. `weft crds` prints them; the repository has them in
/// `deploy/crds` for those who install without it.
pub fn manifests() -> Vec<(String, String)> {
    crds()
        .iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().expect("each definition has a name");
            let text = serde_saphyr::to_string(crd).expect("definitions are plain data");
            (format!("{name}.yaml"), text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_deploy_are_not_stale() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let mut files: Vec<String> = std::fs::read_dir(&folder)
            .expect("deploy/crds is there")
            .map(|entry| entry.expect("a file").file_name().into_string().expect("plain names"))
            .collect();
        files.sort();
        let mut manifests = manifests();
        manifests.sort();
        let names: Vec<&String> = manifests.iter().map(|(name, _)| name).collect();
        assert_eq!(
            files.iter().collect::<Vec<_>>(),
            names,
            "`weft crds` prints what they should hold"
        );
        for (name, text) in &manifests {
            let found = std::fs::read_to_string(folder.join(name)).expect("a readable file");
            assert!(found == *text, "{name} is stale: `weft crds` prints what it should hold");
        }
    }

    #[test]
    fn what_is_not_in_the_schema_is_pruned() {
        let crds = crds();
        let service =
            crds.iter().find(|crd| crd.spec.names.kind == "Service").expect("there is a Service");
        let schema = serde_json::to_value(
            &service.spec.versions[0].schema.as_ref().expect("a schema").open_api_v3_schema,
        )
        .expect("schemas are plain data");
        let spec = "/properties/spec/properties/template/properties/spec/properties";
        let at = |path: &str| schema.pointer(&format!("{spec}{path}"));
        let container = "/containers/items/properties";
        for absent in ["/restartPolicy", "/hostname", &format!("{container}/lifecycle")] {
            assert_eq!(at(absent), None, "{absent}");
        }
        assert_eq!(
            at("/affinity"),
            Some(&serde_json::json!({
                "type": "object", "x-kubernetes-preserve-unknown-fields": true
            }))
        );
        assert_eq!(
            at(&format!("{container}/env/x-kubernetes-list-map-keys")),
            Some(&serde_json::json!(["name"]))
        );
        assert_eq!(
            schema.pointer(&format!("{}/required", spec.trim_end_matches("/properties"))),
            Some(&serde_json::json!(["containers"]))
        );
    }
}
