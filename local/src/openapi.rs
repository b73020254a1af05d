//! OpenAPI documents of what is served: version 3 for each group and version, version 2 for old clients.
//!
//! Pure: kinds in, documents out.
//! Source: k8s.io/kube-openapi; the shapes are those that `kubectl explain` and client-side validation read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::schema::{ListType, Node, Schema, Type};

pub mod binary;

/// What the fields of built-in types are for: a type, then its fields, each with its text.
const DESCRIPTIONS: &str = include_str!("schema/descriptions.txt");

/// Which version of OpenAPI a document has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    Three,
}

impl Version {
    fn reference(self, name: &str) -> String {
        match self {
            Version::Two => format!("#/definitions/{name}"),
            Version::Three => format!("#/components/schemas/{name}"),
        }
    }
}

/// A kind with the schema that its definition gives it, for custom kinds.
pub struct Served {
    pub kind: Arc<Kind>,
    /// `openAPIV3Schema`.
    pub custom: Option<Value>,
}

/// The document of one group and version.
pub fn document(served: &[Served]) -> Value {
    let schemas = schemas(served, Version::Three);
    let paths: Map<String, Value> =
        served.iter().flat_map(|one| paths(one, Version::Three)).collect();
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths, "components": {"schemas": schemas}})
}

/// The document of everything, for clients that know no better.
pub fn old_document(served: &[Served]) -> Value {
    let schemas = schemas(served, Version::Two);
    let paths: Map<String, Value> =
        served.iter().flat_map(|one| paths(one, Version::Two)).collect();
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths, "definitions": schemas})
}

/// The name of a kind's schema.
fn name_of(kind: &Kind) -> String {
    match kind.schema().root().name {
        Some(name) if !kind.is_custom() => name.to_owned(),
        _ => {
            let mut parts: Vec<&str> = kind.group.split('.').collect();
            parts.reverse();
            format!("{}.{}.{}", parts.join("."), kind.version, kind.kind)
        }
    }
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "kind": kind.kind, "version": kind.version})
}

fn schemas(served: &[Served], version: Version) -> Map<String, Value> {
    let mut out = Map::new();
    let mut writer = Writer { version, wanted: BTreeSet::new(), descriptions: descriptions() };
    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let Some(first) = served.first() else { return out };
    let library = first.kind.schema().library().clone();
    writer.wanted.insert(META);
    let mut extensions: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in served {
        let name = name_of(&one.kind);
        extensions.entry(name.clone()).or_default().push(gvk(&one.kind));
        match &one.custom {
            Some(schema) => drop(out.insert(name, custom(schema, version))),
            None => {
                if let Some(name) = one.kind.schema().root().name {
                    writer.wanted.insert(name);
                }
            }
        }
    }
    let mut done: BTreeSet<&'static str> = BTreeSet::new();
    while let Some(name) = writer.wanted.iter().find(|name| !done.contains(*name)).copied() {
        done.insert(name);
        let Some(schema) = Schema::builtin(&library, name) else { continue };
        let value = writer.named(name, schema.root());
        out.insert(name.to_owned(), value);
    }
    for (name, kinds) in extensions {
        if let Some(schema) = out.get_mut(&name) {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
    }
    out
}

/// Texts by type and field; that of the type itself has no field.
type Descriptions = HashMap<&'static str, HashMap<&'static str, &'static str>>;

/// The texts of the built-in types and fields.
fn descriptions() -> Descriptions {
    let mut texts: Descriptions = HashMap::new();
    let mut kind = "";
    for line in DESCRIPTIONS.lines() {
        match line.strip_prefix(' ') {
            Some(field) => {
                let (name, text) = field.split_once(' ').unwrap_or((field, ""));
                texts.entry(kind).or_default().insert(name, text);
            }
            None => {
                let (name, text) = line.split_once(' ').unwrap_or((line, ""));
                kind = name;
                texts.entry(kind).or_default().insert("", text);
            }
        }
    }
    texts
}

struct Writer {
    version: Version,
    /// Types that are referred to.
    wanted: BTreeSet<&'static str>,
    descriptions: Descriptions,
}

impl Writer {
    fn description(&self, kind: &'static str, field: &str) -> Option<String> {
        let text = self.descriptions.get(&kind)?.get(field)?;
        (!text.is_empty()).then(|| text.replace("\\n", "\n"))
    }

    /// The schema of a named type.
    fn named(&mut self, name: &'static str, node: Node<'_>) -> Value {
        let mut out = self.shape(node, Some(name));
        if let Some(text) = self.description(name, "") {
            out["description"] = text.into();
        }
        out
    }

    /// The schema of a place: a reference, or what stands there.
    fn place(&mut self, node: Node<'_>) -> Value {
        match node.shape().name {
            Some(name) if node.edge.refers.is_some() => {
                self.wanted.insert(name);
                let reference = json!({"$ref": self.version.reference(name)});
                if self.version == Version::Three {
                    json!({"allOf": [reference]})
                } else {
                    reference
                }
            }
            _ => self.shape(node, None),
        }
    }

    fn shape(&mut self, node: Node<'_>, owner: Option<&'static str>) -> Value {
        let mut out = match node.kind {
            Type::Any => json!({}),
            Type::Object => json!({"type": "object"}),
            Type::Array => json!({"type": "array"}),
            Type::String | Type::Quantity => json!({"type": "string"}),
            Type::Boolean => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Number => json!({"type": "number", "format": "double"}),
            Type::IntOrString => json!({"type": "string", "format": "int-or-string"}),
            Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
        };
        let mut properties = Map::new();
        for (name, field) in node.properties() {
            let mut schema = self.place(field);
            if let Some(text) = owner.and_then(|owner| self.description(owner, name)) {
                schema["description"] = text.into();
            }
            let patch = field.patch();
            if patch.merge || patch.retain_keys {
                let strategy = [(patch.merge, "merge"), (patch.retain_keys, "retainKeys")];
                let strategy: Vec<&str> =
                    strategy.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
                schema["x-kubernetes-patch-strategy"] = strategy.join(",").into();
            }
            if let Some(key) = &patch.merge_key {
                schema["x-kubernetes-patch-merge-key"] = (&**key).into();
            }
            properties.insert(name.to_owned(), schema);
        }
        if !properties.is_empty() {
            out["properties"] = Value::Object(properties);
        }
        // Upstream never demands metadata; the types here have it always.
        let required: Vec<Value> = node
            .required
            .iter()
            .filter(|name| &***name != "metadata")
            .map(|it| (&**it).into())
            .collect();
        if !required.is_empty() {
            out["required"] = required.into();
        }
        if let Some(items) = node.items() {
            out["items"] = self.place(items);
        }
        if let Some(values) = node.additional() {
            out["additionalProperties"] = self.place(values);
        }
        match node.list_type() {
            ListType::Map(keys) => {
                out["x-kubernetes-list-type"] = "map".into();
                out["x-kubernetes-list-map-keys"] =
                    keys.iter().map(|key| Value::from(&**key)).collect();
            }
            ListType::Set => out["x-kubernetes-list-type"] = "set".into(),
            ListType::Atomic if node.kind == Type::Array => {
                out["x-kubernetes-list-type"] = "atomic".into()
            }
            ListType::Atomic => {}
        }
        if node.kind == Type::Object && node.is_atomic() {
            out["x-kubernetes-map-type"] = "atomic".into();
        }
        out
    }
}

/// The schema of a custom kind, with what every object has.
fn custom(schema: &Value, version: Version) -> Value {
    let mut out = readable(schema, version);
    if !out["properties"].is_object() {
        out["properties"] = json!({});
    }
    let text = |text: &str| json!({"type": "string", "description": text});
    out["properties"]["apiVersion"] = text(
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    );
    out["properties"]["kind"] = text(
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    );
    let meta =
        json!({"$ref": version.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")});
    let description = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    out["properties"]["metadata"] = match version {
        Version::Two => json!({"$ref": meta["$ref"], "description": description}),
        Version::Three => json!({"allOf": [meta], "description": description}),
    };
    out["type"] = "object".into();
    out
}

/// A custom schema as clients may read it: version 2 has no words for half of it.
fn readable(schema: &Value, version: Version) -> Value {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let preserves = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let mut out = Map::new();
    for (key, value) in map {
        let kept = match (key.as_str(), version) {
            (
                "allOf"
                | "anyOf"
                | "oneOf"
                | "not"
                | "nullable"
                | "default"
                | "x-kubernetes-validations",
                Version::Two,
            ) => continue,
            ("type" | "items" | "properties", Version::Two) if preserves => continue,
            ("properties", _) => {
                let fields = value.as_object().into_iter().flatten();
                Value::Object(
                    fields
                        .map(|(name, schema)| (name.clone(), readable(schema, version)))
                        .collect(),
                )
            }
            ("items" | "additionalProperties" | "not", _) => readable(value, version),
            ("allOf" | "anyOf" | "oneOf", _) => {
                value.as_array().into_iter().flatten().map(|one| readable(one, version)).collect()
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), kept);
    }
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
        && version == Version::Three
        && !map.contains_key("anyOf")
    {
        out.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    Value::Object(out)
}

/// The paths of a kind with the operations that clients look for.
fn paths(served: &Served, version: Version) -> Vec<(String, Value)> {
    let kind = &served.kind;
    let base = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let collection = if kind.namespaced {
        format!("{base}/namespaces/{{namespace}}/{}", kind.plural)
    } else {
        format!("{base}/{}", kind.plural)
    };
    let mut collection_item = Map::new();
    let mut object_item = Map::new();
    for (verb, method, action) in [
        ("list", "get", "list"),
        ("create", "post", "post"),
        ("deletecollection", "delete", "deletecollection"),
    ] {
        if kind.verbs.contains(&verb) {
            collection_item.insert(method.into(), operation(kind, verb, action, version));
        }
    }
    for (verb, method, action) in [
        ("get", "get", "get"),
        ("update", "put", "put"),
        ("patch", "patch", "patch"),
        ("delete", "delete", "delete"),
    ] {
        if kind.verbs.contains(&verb) {
            object_item.insert(method.into(), operation(kind, verb, action, version));
        }
    }
    let object = format!("{collection}/{{name}}");
    [(collection, collection_item), (object, object_item)]
        .into_iter()
        .filter(|(_, item)| !item.is_empty())
        .map(|(path, item)| (path, Value::Object(item)))
        .collect()
}

fn operation(kind: &Kind, verb: &str, action: &str, version: Version) -> Value {
    let parameter = |name: &str| match version {
        Version::Two => json!({"name": name, "in": "query", "type": "string", "uniqueItems": true}),
        Version::Three => {
            json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
        }
    };
    let names: &[&str] = match verb {
        "create" | "update" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" | "deletecollection" => {
            &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"]
        }
        "list" => &[
            "allowWatchBookmarks",
            "continue",
            "fieldSelector",
            "labelSelector",
            "limit",
            "resourceVersion",
            "resourceVersionMatch",
            "sendInitialEvents",
            "timeoutSeconds",
            "watch",
        ],
        _ => &[],
    };
    let parameters: Vec<Value> = names.iter().map(|name| parameter(name)).collect();
    let mut operation = json!({
        "operationId": operation_id(kind, verb), "parameters": parameters, "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(kind),
    });
    if verb == "patch" && version == Version::Two {
        let mut types = vec!["application/json-patch+json", "application/merge-patch+json"];
        // Clients choose by this list, and custom kinds have no strategy.
        if !kind.is_custom() {
            types.push("application/strategic-merge-patch+json");
        }
        types.push("application/apply-patch+yaml");
        operation["consumes"] = json!(types);
    }
    operation
}

/// Such as `createAppsV1NamespacedDeployment`.
fn operation_id(kind: &Kind, verb: &str) -> String {
    let capital = |text: &str| {
        let mut letters = text.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    let verb = match verb {
        "get" => "read",
        "update" => "replace",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let group = if kind.group.is_empty() {
        "Core".to_owned()
    } else {
        kind.group.trim_end_matches(".k8s.io").split('.').map(capital).collect()
    };
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    format!("{verb}{group}{}{scope}{}", capital(&kind.version), kind.kind)
}
