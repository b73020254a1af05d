//! The CustomResourceDefinitions of all kinds, made from their shapes.
//!
//! Pure: values only.

use std::collections::BTreeMap;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
        CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
        CustomResourceSubresourceStatus, CustomResourceSubresources, CustomResourceValidation,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::shape::{Struct, schema};

mod eventing;
mod serving;

/// A kind, as its CRD says it.
struct Kind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    is_cluster_wide: bool,
    /// Labels by which others find kinds that they can use: `duck.knative.dev/…`.
    ducks: &'static [&'static str],
    /// The events that a source sends, as JSON; none for kinds that do not say it.
    event_types: Option<&'static str>,
    /// The version in which objects are kept.
    version: &'static str,
    columns: &'static [Column],
    /// Columns that are shown to those who ask for more.
    wide_columns: &'static [Column],
    doc: &'static str,
    spec: &'static Struct,
    /// Whether fields of the spec that the shape does not have come as far as admission.
    is_open: bool,
    status: Option<&'static Struct>,
    /// Versions in which objects can be read and written, too.
    views: &'static [View],
}

/// A version in which objects are not kept.
struct View {
    version: &'static str,
    columns: &'static [Column],
    spec: &'static Struct,
    /// What people are told who use it, when they should not.
    deprecation: Option<&'static str>,
}

/// Name, type and path.
type Column = (&'static str, &'static str, &'static str);

/// What most kinds have.
const PLAIN: Kind = Kind {
    group: "",
    kind: "",
    plural: "",
    short_names: &[],
    categories: &[],
    is_cluster_wide: false,
    ducks: &[],
    event_types: None,
    version: "",
    columns: &[],
    wide_columns: &[],
    doc: "",
    spec: &Struct { go: "", fields: &[] },
    is_open: false,
    status: None,
    views: &[],
};

const URL: Column = ("URL", "string", ".status.url");
const READY: Column = ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status");
const REASON: Column = ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason");
const NETWORKING: &str = "networking.internal.knative.dev";

/// On a CRD: the events that a source sends.
const EVENT_TYPES: &str = crate::keys::eventing::EVENT_TYPES;

const ADDRESSABLE: &str = "duck.knative.dev/addressable";

/// All CRDs, in the order in which they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    serving::KINDS.iter().chain(&eventing::KINDS).map(definition).collect()
}

fn definition(kind: &Kind) -> CustomResourceDefinition {
    let texts = |texts: &[&str]| {
        (!texts.is_empty()).then(|| texts.iter().map(|text| (*text).to_string()).collect())
    };
    let is_eventing = eventing::GROUPS.contains(&kind.group);
    let product = if is_eventing { "knative-eventing" } else { "knative-serving" };
    let component = if kind.group == NETWORKING { Some("networking") } else { None };
    let labels = [
        ("app.kubernetes.io/name", product),
        ("app.kubernetes.io/version", "devel"),
        ("knative.dev/crd-install", "true"),
    ]
    .into_iter()
    .chain(component.map(|component| ("app.kubernetes.io/component", component)))
    .chain(kind.ducks.iter().map(|duck| (*duck, "true")));
    let kept = CustomResourceDefinitionVersion {
        storage: true,
        ..version(kind, kind.version, kind.columns, kind.spec)
    };
    let views = kind.views.iter().map(|view| CustomResourceDefinitionVersion {
        deprecated: view.deprecation.map(|_| true),
        deprecation_warning: view.deprecation.map(str::to_string),
        ..version(kind, view.version, view.columns, view.spec)
    });
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", kind.plural, kind.group)),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect::<BTreeMap<_, _>>(),
            ),
            annotations: kind
                .event_types
                .map(|types| BTreeMap::from([(EVENT_TYPES.to_string(), types.to_string())])),
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
            versions: std::iter::once(kept).chain(views).collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn version(
    kind: &Kind,
    name: &str,
    columns: &[Column],
    spec: &'static Struct,
) -> CustomResourceDefinitionVersion {
    CustomResourceDefinitionVersion {
        name: name.to_string(),
        served: true,
        storage: false,
        subresources: Some(CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        additional_printer_columns: (!columns.is_empty()).then(|| {
            let wide = kind.wide_columns.iter().map(|it| column(it, Some(1)));
            columns.iter().map(|it| column(it, None)).chain(wide).collect()
        }),
        schema: Some(CustomResourceValidation {
            open_api_v3_schema: Some(schema::object(kind.doc, spec, kind.is_open, kind.status)),
        }),
        ..CustomResourceDefinitionVersion::default()
    }
}

fn column((name, type_, path): &Column, priority: Option<i32>) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: (*name).to_string(),
        type_: (*type_).to_string(),
        json_path: (*path).to_string(),
        priority,
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
