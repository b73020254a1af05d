//! Describes kinds in OpenAPI documents: what `kubectl explain` reads and what old clients validate against.
//!
//! Pure: kinds in, documents out. Made when asked for; nothing of it is kept.
//! Source: k8s.io/kube-openapi, the documents of a kube-apiserver.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{ListType, Node, Shape, Type};
use crate::kinds::Kind;

pub mod wire;

/// The descriptions of the built-in types. `local/tests/builtin_types.rs` writes them.
const DESCRIPTIONS: &str = include_str!("descriptions.txt");

/// Which of the two forms a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0: one document for everything.
    V2,
    /// OpenAPI 3.0: a document for each group and version.
    V3,
}

/// The document of some kinds: all there are, or those of one group and version.
pub fn document(kinds: &[Arc<Kind>], form: Form) -> Value {
    let mut writer = Writer { form, descriptions: descriptions(), done: BTreeMap::new(), waiting: Vec::new() };
    let mut paths = Map::new();
    for kind in kinds {
        writer.kind(kind);
        add_paths(&mut paths, kind, form);
    }
    writer.referred(kinds);
    let schemas: Map<String, Value> = writer.done.into_iter().collect();
    let info = json!({"title": "Kubernetes", "version": "v1.36.0"});
    match form {
        Form::V2 => json!({"swagger": "2.0", "info": info, "paths": paths, "definitions": schemas}),
        Form::V3 => json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}),
    }
}

/// The name of a kind's schema: that of its Go type, or of its group from the back.
pub fn name(kind: &Kind) -> String {
    if let Some(name) = kind.schema().root().name {
        return name.to_owned();
    }
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

type Descriptions = HashMap<&'static str, (&'static str, HashMap<&'static str, &'static str>)>;

fn descriptions() -> Descriptions {
    let mut all: Descriptions = HashMap::new();
    let mut current = "";
    for line in DESCRIPTIONS.lines() {
        let (name, text) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
        if line.starts_with(' ') {
            if let Some((_, fields)) = all.get_mut(current) {
                fields.insert(name, text);
            }
        } else {
            current = name;
            all.insert(name, (text, HashMap::new()));
        }
    }
    all
}

struct Writer {
    form: Form,
    descriptions: Descriptions,
    done: BTreeMap<String, Value>,
    /// Names of types that are referred to and not yet written.
    waiting: Vec<&'static str>,
}

impl Writer {
    fn kind(&mut self, kind: &Kind) {
        let gvk = json!([{"group": kind.group, "kind": kind.kind, "version": kind.version}]);
        let mut schema = match kind.written_schema() {
            Some(written) => self.custom(written),
            None => self.named(kind.schema().root()),
        };
        schema["x-kubernetes-group-version-kind"] = gvk;
        self.done.insert(name(kind), schema);
    }

    /// Writes what was referred to, and what that refers to.
    fn referred(&mut self, kinds: &[Arc<Kind>]) {
        let Some(library) = kinds.first().map(|kind| Arc::clone(kind.schema().library())) else { return };
        while let Some(name) = self.waiting.pop() {
            if self.done.contains_key(name) {
                continue;
            }
            let Some(schema) = super::Schema::builtin(&library, name) else { continue };
            let written = self.named(schema.root());
            self.done.insert(name.to_owned(), written);
        }
    }

    /// A named built-in type.
    fn named(&mut self, node: Node<'_>) -> Value {
        let full = node.name.unwrap_or("");
        let described = self.descriptions.get(full).map_or("", |(text, _)| text);
        let mut schema = self.shape(node, node.shape());
        if !described.is_empty() {
            schema["description"] = unescaped(described).into();
        }
        let mut properties = Map::new();
        for (field, child) in node.properties() {
            let text = self.descriptions.get(full).and_then(|(_, fields)| fields.get(field)).copied().unwrap_or("");
            let mut written = self.reference(child);
            if !text.is_empty() {
                written["description"] = unescaped(text).into();
            }
            properties.insert(field.to_owned(), written);
        }
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        if !node.required.is_empty() {
            schema["required"] = node.required.iter().map(|field| Value::from(&**field)).collect();
        }
        schema
    }

    /// A place that may refer to a named type.
    fn reference(&mut self, node: Node<'_>) -> Value {
        let mut written = match node.edge.refers.and(node.name) {
            Some(name) => {
                self.waiting.push(name);
                match self.form {
                    Form::V2 => json!({"$ref": format!("#/definitions/{name}")}),
                    Form::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
                }
            }
            None => self.shape(node, node.shape()),
        };
        let patch = node.patch();
        if patch.merge || patch.retain_keys {
            let words = [(patch.merge, "merge"), (patch.retain_keys, "retainKeys")];
            let strategy: Vec<&str> = words.into_iter().filter(|(given, _)| *given).map(|(_, word)| word).collect();
            written["x-kubernetes-patch-strategy"] = strategy.join(",").into();
        }
        if let Some(key) = &patch.merge_key {
            written["x-kubernetes-patch-merge-key"] = (**key).into();
        }
        written
    }

    fn shape(&mut self, node: Node<'_>, shape: &Shape) -> Value {
        let mut written = match shape.kind {
            Type::Any => json!({}),
            Type::Object => json!({"type": "object"}),
            Type::Array => json!({"type": "array"}),
            Type::String => json!({"type": "string"}),
            Type::Boolean => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Number => json!({"type": "number", "format": "double"}),
            Type::Quantity => json!({"type": "string"}),
            Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::IntOrString => match self.form {
                Form::V2 => json!({"type": "string", "format": "int-or-string"}),
                Form::V3 => json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
            },
        };
        if let Some(items) = node.items() {
            written["items"] = self.reference(items);
            match &shape.list_type {
                ListType::Atomic => written["x-kubernetes-list-type"] = "atomic".into(),
                ListType::Set => written["x-kubernetes-list-type"] = "set".into(),
                ListType::Map(keys) => {
                    written["x-kubernetes-list-type"] = "map".into();
                    written["x-kubernetes-list-map-keys"] = keys.iter().map(|key| Value::from(&**key)).collect();
                }
            }
        }
        if let Some(values) = node.additional() {
            written["additionalProperties"] = self.reference(values);
        }
        if shape.atomic {
            written["x-kubernetes-map-type"] = "atomic".into();
        }
        written
    }

    /// A custom kind's schema as it was written, with what every resource has.
    fn custom(&mut self, written: &Value) -> Value {
        const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let mut schema = self.adjusted(written, 0);
        if !schema.is_object() {
            schema = json!({});
        }
        let preserves = written["x-kubernetes-preserve-unknown-fields"] == true;
        // Old clients refuse fields they cannot find: they are told nothing rather than too little.
        if self.form == Form::V2 && preserves {
            schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        }
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        let described = |writer: &Writer, field: &str| {
            let fields = writer.descriptions.get("io.k8s.api.core.v1.Pod").map(|(_, fields)| fields);
            unescaped(fields.and_then(|fields| fields.get(field)).copied().unwrap_or(""))
        };
        for field in ["apiVersion", "kind"] {
            schema["properties"][field] = json!({"type": "string", "description": described(self, field)});
        }
        self.waiting.push(META);
        let text = described(self, "metadata");
        schema["properties"]["metadata"] = match self.form {
            Form::V2 => json!({"description": text, "$ref": format!("#/definitions/{META}")}),
            Form::V3 => json!({"description": text, "allOf": [{"$ref": format!("#/components/schemas/{META}")}]}),
        };
        schema["type"] = "object".into();
        schema
    }

    fn adjusted(&self, schema: &Value, depth: usize) -> Value {
        let Some(fields) = schema.as_object().filter(|_| depth < 100) else { return json!({}) };
        let mut made = Map::new();
        let either = fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
        for (name, value) in fields {
            let value = match name.as_str() {
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    let adjusted = properties.map(|(name, value)| (name.clone(), self.adjusted(value, depth + 1)));
                    Value::Object(adjusted.collect())
                }
                "items" | "additionalProperties" if value.is_object() => self.adjusted(value, depth + 1),
                // Swagger 2.0 knows neither these nor nulls.
                "anyOf" | "oneOf" | "not" | "nullable" if self.form == Form::V2 => continue,
                "type" if either => continue,
                _ => value.clone(),
            };
            made.insert(name.clone(), value);
        }
        if either && self.form == Form::V3 {
            made.entry("anyOf").or_insert_with(|| json!([{"type": "integer"}, {"type": "string"}]));
        }
        Value::Object(made)
    }
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\\\", "\\")
}

/// The paths of a kind, as far as clients read them: who takes which parameters.
fn add_paths(paths: &mut Map<String, Value>, kind: &Kind, form: Form) {
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let place = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}/{}{place}/{}", kind.version, kind.plural);
    let item = format!("{collection}/{{name}}");
    let mut add = |path: &str, method: &str, action: &str, verb: &str| {
        if !kind.verbs.iter().any(|known| *known == verb) {
            return;
        }
        paths.entry(path.to_owned()).or_insert_with(|| json!({}))[method] = operation(kind, action, verb, form);
    };
    add(&collection, "get", "list", "list");
    add(&collection, "post", "post", "create");
    add(&item, "get", "get", "get");
    add(&item, "put", "put", "update");
    add(&item, "patch", "patch", "patch");
    add(&item, "delete", "delete", "delete");
}

fn operation(kind: &Kind, action: &str, verb: &str, form: Form) -> Value {
    let writes = matches!(verb, "create" | "update" | "patch");
    let mut names: Vec<&str> = if writes { vec!["dryRun", "fieldManager", "fieldValidation"] } else { Vec::new() };
    if verb == "patch" {
        names.push("force");
    }
    if verb == "delete" {
        names.push("dryRun");
    }
    let parameters: Vec<Value> = names
        .iter()
        .map(|name| {
            let kind = if *name == "force" { "boolean" } else { "string" };
            match form {
                Form::V2 => json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}),
                Form::V3 => json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}),
            }
        })
        .collect();
    let capital = |text: &str| {
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let does = match verb {
        "list" => "list",
        "create" => "create",
        "get" => "read",
        "update" => "replace",
        other => other,
    };
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    json!({
        "operationId": format!("{does}{}{}{scope}{}", capital(group), capital(&kind.version), kind.kind),
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    })
}
