//! Reads the schema of a CustomResourceDefinition's version.
//!
//! Pure: values in, shapes out. What is not understood is left out: definitions are checked elsewhere.

use std::sync::Arc;

use serde_json::Value;

use super::builtin::Library;
use super::{ListType, Rules, Schema, Shape, Type};

/// Deeper schemas are cut: every walk over them is recursive.
const DEEPEST: usize = 100;

/// The schema of a version, from its `openAPIV3Schema`.
pub fn schema(props: &Value, library: &Arc<Library>) -> Schema {
    let mut root = shape(props, 0);
    root.kind = Type::Object;
    // Metadata is typed whatever the schema says of it.
    of_resource(&mut root, library);
    Schema::own(library, root)
}

/// What every resource has.
fn of_resource(shape: &mut Shape, library: &Library) {
    let string = || Shape { kind: Type::String, ..Shape::default() };
    let meta = library.find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let metadata = Shape { kind: Type::Object, refers: meta, ..Shape::default() };
    for (name, fixed) in [("apiVersion", string()), ("kind", string()), ("metadata", metadata)] {
        match shape.properties.binary_search_by(|(key, _)| (**key).cmp(name)) {
            Ok(at) => shape.properties[at].1 = fixed,
            Err(at) => shape.properties.insert(at, (name.into(), fixed)),
        }
    }
    embedded(shape, library);
}

fn embedded(shape: &mut Shape, library: &Library) {
    let below = shape.properties.iter_mut().map(|(_, shape)| shape);
    let below = below.chain(shape.items.as_deref_mut()).chain(shape.additional.as_deref_mut());
    for child in below {
        if child.embedded_resource {
            child.embedded_resource = false;
            of_resource(child, library);
            child.embedded_resource = true;
        } else {
            embedded(child, library);
        }
    }
}

/// One place and all below it.
pub fn shape(props: &Value, depth: usize) -> Shape {
    let mut shape = Shape::default();
    let Some(fields) = props.as_object() else { return shape };
    if depth > DEEPEST {
        shape.preserve_unknown = true;
        return shape;
    }
    let below = |value: &Value| shape_below(value, depth);
    let mut rules = Rules::default();
    let mut ruled = false;
    for (name, value) in fields {
        match name.as_str() {
            "type" => {
                shape.kind = match value.as_str().unwrap_or("") {
                    "object" => Type::Object,
                    "array" => Type::Array,
                    "string" => Type::String,
                    "boolean" => Type::Boolean,
                    "integer" => Type::Int64,
                    "number" => Type::Number,
                    _ => Type::Any,
                };
            }
            "properties" => {
                let entries = value.as_object().into_iter().flatten();
                shape.properties =
                    entries.map(|(name, value)| (name.as_str().into(), below(value))).collect();
                shape.properties.sort_by(|a, b| a.0.cmp(&b.0));
            }
            "items" => shape.items = Some(Box::new(below(value))),
            "additionalProperties" => match value {
                Value::Bool(false) | Value::Null => {}
                Value::Bool(true) => {
                    shape.additional =
                        Some(Box::new(Shape { preserve_unknown: true, ..Shape::default() }));
                }
                value => shape.additional = Some(Box::new(below(value))),
            },
            "required" => shape.required = texts(value),
            "default" => shape.default = Some(value.clone()),
            "nullable" => shape.nullable = value == true,
            "x-kubernetes-preserve-unknown-fields" => shape.preserve_unknown = value == true,
            "x-kubernetes-embedded-resource" => shape.embedded_resource = value == true,
            "x-kubernetes-int-or-string" => {
                if value == true {
                    shape.kind = Type::IntOrString;
                }
            }
            "x-kubernetes-list-type" => match value.as_str() {
                Some("set") => shape.list_type = ListType::Set,
                Some("map") => {
                    shape.list_type = ListType::Map(texts(&props["x-kubernetes-list-map-keys"]))
                }
                _ => {}
            },
            "x-kubernetes-map-type" => shape.atomic = value == "atomic",
            _ => ruled |= add_rule(&mut rules, name, value, depth),
        }
    }
    if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        shape.kind = Type::IntOrString;
    }
    if ruled {
        shape.rules = Some(Box::new(rules));
    }
    shape
}

fn shape_below(value: &Value, depth: usize) -> Shape {
    shape(value, depth + 1)
}

fn add_rule(rules: &mut Rules, name: &str, value: &Value, depth: usize) -> bool {
    let count = || value.as_u64();
    let shapes =
        || value.as_array().into_iter().flatten().map(|value| shape_below(value, depth)).collect();
    match name {
        "description" => rules.description = value.as_str().map(str::to_owned),
        "title" => rules.title = value.as_str().map(str::to_owned),
        "format" => rules.format = value.as_str().map(str::to_owned),
        "pattern" => rules.pattern = value.as_str().map(str::to_owned),
        "enum" => rules.enumeration = value.as_array().cloned().unwrap_or_default(),
        "minimum" => rules.minimum = value.as_f64(),
        "maximum" => rules.maximum = value.as_f64(),
        "exclusiveMinimum" => rules.exclusive_minimum = value == true,
        "exclusiveMaximum" => rules.exclusive_maximum = value == true,
        "multipleOf" => rules.multiple_of = value.as_f64(),
        "minLength" => rules.min_length = count(),
        "maxLength" => rules.max_length = count(),
        "minItems" => rules.min_items = count(),
        "maxItems" => rules.max_items = count(),
        "uniqueItems" => rules.unique_items = value == true,
        "minProperties" => rules.min_properties = count(),
        "maxProperties" => rules.max_properties = count(),
        "allOf" => rules.all_of = shapes(),
        "anyOf" => rules.any_of = shapes(),
        "oneOf" => rules.one_of = shapes(),
        "not" => rules.not = Some(Box::new(shape_below(value, depth))),
        "x-kubernetes-validations" => {
            rules.validations = value.as_array().cloned().unwrap_or_default()
        }
        _ => return false,
    }
    true
}

fn texts(value: &Value) -> Vec<Box<str>> {
    value.as_array().into_iter().flatten().filter_map(|one| Some(one.as_str()?.into())).collect()
}
