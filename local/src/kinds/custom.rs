//! The kinds that CustomResourceDefinitions define.
//!
//! Pure: definitions in, kinds out.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Kind, ScalePaths, Source, Storage, Subresource};
use crate::schema::builtin::Library;
use crate::schema::path::{self, Path};
use crate::schema::{Schema, structural};

/// What a definition says of one version.
pub(super) struct Facts {
    columns: Vec<PrinterColumn>,
    /// The `openAPIV3Schema`, read when it is first needed.
    schema: Value,
    /// Fields for selectors, with the path to each.
    selectable: Vec<(Box<str>, Option<Path>)>,
}

struct PrinterColumn {
    column: Column,
    /// None where the path makes no sense: the cell stays empty.
    path: Option<Path>,
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
                deprecation: deprecation(version, &group, &name, &kind),
                needs_version: true,
                source: Source::Custom(Facts {
                    columns: columns(&version["additionalPrinterColumns"]),
                    schema: version["schema"]["openAPIV3Schema"].clone(),
                    selectable: selectable(&version["selectableFields"]),
                }),
                schema: OnceLock::new(),
                library: Arc::clone(library),
            }
        })
        .collect()
}

/// The text of a deprecated version: its own, or the usual one.
fn deprecation(version: &Value, group: &str, name: &str, kind: &str) -> Option<Box<str>> {
    if version["deprecated"] != true {
        return None;
    }
    let own = version["deprecationWarning"].as_str().map(Into::into);
    Some(own.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated").into()))
}

fn selectable(fields: &Value) -> Vec<(Box<str>, Option<Path>)> {
    let paths =
        fields.as_array().into_iter().flatten().filter_map(|field| field["jsonPath"].as_str());
    paths.map(|text| (text.trim_start_matches('.').into(), path::parse(text).ok())).collect()
}

/// The columns of a definition, or the age alone.
fn columns(value: &Value) -> Vec<PrinterColumn> {
    let text = |value: &Value| -> Box<str> { value.as_str().unwrap_or_default().into() };
    let column = |one: &Value| {
        let description = match text(&one["description"]) {
            own if !own.is_empty() => own,
            _ => format!(
                "Custom resource definition column (in JSONPath format): {}",
                text(&one["jsonPath"])
            )
            .into(),
        };
        let priority =
            one["priority"].as_i64().and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0);
        let column = Column {
            name: text(&one["name"]),
            kind: text(&one["type"]),
            format: text(&one["format"]),
            description,
            priority,
        };
        PrinterColumn { column, path: path::parse(&text(&one["jsonPath"])).ok() }
    };
    match value.as_array() {
        Some(list) if !list.is_empty() => list.iter().map(column).collect(),
        _ => {
            let age = serde_json::json!({
                "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": super::builtin::CREATED,
            });
            vec![column(&age)]
        }
    }
}

impl Facts {
    pub(super) fn schema(&self, library: &Arc<Library>) -> Schema {
        structural::schema(&self.schema, library)
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let name = Column {
            name: "Name".into(),
            kind: "string".into(),
            format: "name".into(),
            description: super::builtin::NAME.into(),
            priority: 0,
        };
        std::iter::once(name).chain(self.columns.iter().map(|one| one.column.clone())).collect()
    }

    pub(super) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cells = self.columns.iter().map(|one| {
            let found = one.path.as_ref().map(|path| path.find(object)).unwrap_or_default();
            found.first().map_or(Value::Null, |value| cell(&one.column.kind, value, now))
        });
        std::iter::once(object["metadata"]["name"].clone()).chain(cells).collect()
    }

    pub(super) fn selectable(&self, object: &Value, field: &str) -> Option<String> {
        let (_, path) = self.selectable.iter().find(|(name, _)| **name == *field)?;
        let found = path.as_ref().and_then(|path| path.find(object).first().copied());
        Some(match found {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        })
    }
}

/// A value as a cell of its column's type; null where it has another type.
///
/// Source: k8s.io/apiextensions-apiserver `pkg/registry/customresource/tableconvertor`.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => Value::Null,
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            match number.as_i64().or(number.as_f64().map(|n| n as i64)) {
                Some(whole) => whole.into(),
                None => Value::Null,
            }
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(moment) => super::builtin::table::age(now, moment).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
