//! The kinds that CustomResourceDefinitions define.
//!
//! Pure: definitions in, kinds out.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Kind, ScalePaths, Source, Storage, Subresource};
use crate::schema::builtin::Library;
use crate::schema::{Schema, Shape};

/// What a definition says of one version.
pub(super) struct Facts {
    columns: Vec<(Column, String)>,
}

const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The served kinds of a definition.
pub(super) fn kinds(definition: &Value, library: &Arc<Library>) -> Vec<Kind> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| -> Box<str> { value.as_str().unwrap_or_default().into() };
    let list = |value: &Value| -> Vec<Box<str>> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one.as_str()?.into()))
            .collect()
    };
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let storage = versions
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| text(&version["name"]))
        .unwrap_or_default();
    let (group, plural, kind) =
        (text(&spec["group"]), text(&names["plural"]), text(&names["kind"]));
    let or = |value: &Value, other: String| -> Box<str> {
        value.as_str().filter(|text| !text.is_empty()).map_or(other.into(), Into::into)
    };
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| {
            let name = text(&version["name"]);
            let itself = |sub: &str| Subresource {
                name: sub.into(),
                group: group.clone(),
                version: name.clone(),
                kind: kind.clone(),
                verbs: vec!["get", "patch", "update"],
                scale: None,
            };
            let mut subresources = Vec::new();
            if version["subresources"]["status"].is_object() {
                subresources.push(itself("status"));
            }
            let scale = &version["subresources"]["scale"];
            if scale.is_object() {
                let path = |value: &Value| -> Vec<Box<str>> {
                    value
                        .as_str()
                        .unwrap_or_default()
                        .split('.')
                        .filter(|step| !step.is_empty())
                        .map(Into::into)
                        .collect()
                };
                let paths = ScalePaths {
                    spec_replicas: path(&scale["specReplicasPath"]),
                    status_replicas: path(&scale["statusReplicasPath"]),
                    selector: scale["labelSelectorPath"]
                        .as_str()
                        .map(|_| path(&scale["labelSelectorPath"])),
                };
                subresources.push(Subresource {
                    group: "autoscaling".into(),
                    version: "v1".into(),
                    kind: "Scale".into(),
                    scale: Some(paths),
                    ..itself("scale")
                });
            }
            Kind {
                group: group.clone(),
                version: name.clone(),
                kind: kind.clone(),
                list_kind: or(&names["listKind"], format!("{kind}List")),
                plural: plural.clone(),
                singular: or(&names["singular"], kind.to_lowercase()),
                short_names: list(&names["shortNames"]),
                categories: list(&names["categories"]),
                namespaced: spec["scope"] == "Namespaced",
                verbs: VERBS.to_vec(),
                subresources,
                storage: Storage {
                    group: group.clone(),
                    plural: plural.clone(),
                    version: storage.clone(),
                },
                has_generation: true,
                needs_version: true,
                source: Source::Custom(Facts {
                    columns: columns(&version["additionalPrinterColumns"]),
                }),
                schema: OnceLock::new(),
                library: Arc::clone(library),
            }
        })
        .collect()
}

fn columns(value: &Value) -> Vec<(Column, String)> {
    let text = |value: &Value| -> Box<str> { value.as_str().unwrap_or_default().into() };
    let column = |one: &Value| {
        let column = Column {
            name: text(&one["name"]),
            kind: text(&one["type"]),
            format: text(&one["format"]),
            description: text(&one["description"]),
            priority: one["priority"]
                .as_i64()
                .and_then(|priority| i32::try_from(priority).ok())
                .unwrap_or(0),
        };
        (column, text(&one["jsonPath"]).to_string())
    };
    match value.as_array() {
        Some(list) if !list.is_empty() => list.iter().map(column).collect(),
        _ => {
            let age = Column {
                name: "Age".into(),
                kind: "date".into(),
                format: "".into(),
                description: "".into(),
                priority: 0,
            };
            vec![(age, ".metadata.creationTimestamp".to_owned())]
        }
    }
}

impl Facts {
    pub(super) fn schema(&self, library: &Arc<Library>) -> Schema {
        Schema::own(library, Shape { preserve_unknown: true, ..Shape::default() })
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let name = Column {
            name: "Name".into(),
            kind: "string".into(),
            format: "name".into(),
            description: "".into(),
            priority: 0,
        };
        std::iter::once(name).chain(self.columns.iter().map(|(column, _)| column.clone())).collect()
    }

    pub(super) fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let cells = self.columns.iter().map(|(_, path)| {
            let found = path
                .trim_start_matches('.')
                .split('.')
                .try_fold(object, |value, step| value.get(step));
            found.cloned().unwrap_or(Value::Null)
        });
        std::iter::once(object["metadata"]["name"].clone()).chain(cells).collect()
    }
}
