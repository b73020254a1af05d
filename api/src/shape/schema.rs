//! The structural schema of a shape, for CRDs.
//!
//! Pure: values only.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::{Default, Field, Kind, ListType, Presence, Struct};

/// What Kubernetes accepts as a quantity.
const QUANTITY: &str = "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$";

/// The schema of an object whose spec and status have these shapes; `is_open` keeps any field of the spec.
pub fn object(
    doc: &str,
    spec: &'static Struct,
    is_open: bool,
    status: Option<&'static Struct>,
) -> JSONSchemaProps {
    let spec = JSONSchemaProps {
        x_kubernetes_preserve_unknown_fields: is_open.then_some(true),
        ..structure(spec)
    };
    let mut properties = std::collections::BTreeMap::from([
        ("apiVersion".to_string(), typed("string")),
        ("kind".to_string(), typed("string")),
        ("metadata".to_string(), typed("object")),
        ("spec".to_string(), described(spec, "What is wanted.")),
    ]);
    if let Some(status) = status {
        properties
            .insert("status".to_string(), described(structure(status), "What is known of it."));
    }
    JSONSchemaProps { properties: Some(properties), ..described(typed("object"), doc) }
}

fn structure(shape: &Struct) -> JSONSchemaProps {
    let mut properties = std::collections::BTreeMap::new();
    let mut required = Vec::new();
    collect(shape, &mut properties, &mut required);
    required.sort();
    JSONSchemaProps {
        properties: (!properties.is_empty()).then_some(properties),
        required: (!required.is_empty()).then_some(required),
        ..typed("object")
    }
}

fn collect(
    shape: &Struct,
    properties: &mut std::collections::BTreeMap<String, JSONSchemaProps>,
    required: &mut Vec<String>,
) {
    for field in shape.fields {
        if field.is_embedded() {
            if let Kind::Struct(inner) = field.kind {
                collect(inner, properties, required);
            }
        } else if field.schema.presence != Presence::Hidden {
            if field.schema.is_required {
                required.push(field.json.to_string());
            }
            properties.insert(field.json.to_string(), of_field(field));
        }
    }
}

fn of_field(field: &Field) -> JSONSchemaProps {
    let mut schema = match (field.schema.presence, &field.kind) {
        (Presence::Open, Kind::List(_)) => list(open()),
        (Presence::Open, _) => open(),
        (Presence::FullAndOpen, kind) => {
            JSONSchemaProps { x_kubernetes_preserve_unknown_fields: Some(true), ..of_kind(kind) }
        }
        (Presence::FullWithOpenItems, Kind::List(item)) => list(JSONSchemaProps {
            x_kubernetes_preserve_unknown_fields: Some(true),
            ..of_kind(item)
        }),
        (_, kind) => of_kind(kind),
    };
    match field.schema.list {
        ListType::Unsaid => {}
        ListType::Atomic => schema.x_kubernetes_list_type = Some("atomic".to_string()),
        ListType::ByKey(key) => {
            schema.x_kubernetes_list_type = Some("map".to_string());
            schema.x_kubernetes_list_map_keys = Some(vec![key.to_string()]);
        }
    }
    // Elements that only name another object are taken or left as a whole.
    if let (Kind::List(Kind::Struct(shape)), Some(JSONSchemaPropsOrArray::Schema(items))) =
        (&field.kind, schema.items.as_mut())
        && shape.go == "v1.LocalObjectReference"
    {
        items.x_kubernetes_map_type = Some("atomic".to_string());
    }
    if field.schema.is_atomic_map {
        schema.x_kubernetes_map_type = Some("atomic".to_string());
    }
    schema.default = field.schema.default.map(|default| {
        JSON(match default {
            Default::Text(text) => Value::from(text),
            Default::Number(number) => Value::from(number),
            Default::Flag(flag) => Value::from(flag),
        })
    });
    described(schema, field.doc)
}

fn of_kind(kind: &Kind) -> JSONSchemaProps {
    match kind {
        Kind::Text(_) | Kind::Url => typed("string"),
        Kind::Bool => typed("boolean"),
        Kind::Int32 => formatted("integer", "int32"),
        Kind::Int64 => formatted("integer", "int64"),
        Kind::Int => typed("integer"),
        Kind::Quantity => {
            JSONSchemaProps { pattern: Some(QUANTITY.to_string()), ..int_or_string() }
        }
        Kind::IntOrString => int_or_string(),
        Kind::Any => open(),
        Kind::List(item) => list(of_kind(item)),
        Kind::Map(_, item) => JSONSchemaProps {
            additional_properties: Some(JSONSchemaPropsOrBool::Schema(Box::new(of_kind(item)))),
            ..typed("object")
        },
        Kind::Struct(shape) => structure(shape),
        Kind::Pointer(inner) => of_kind(inner),
    }
}

fn typed(type_: &str) -> JSONSchemaProps {
    JSONSchemaProps { type_: Some(type_.to_string()), ..JSONSchemaProps::default() }
}

fn formatted(type_: &str, format: &str) -> JSONSchemaProps {
    JSONSchemaProps { format: Some(format.to_string()), ..typed(type_) }
}

fn open() -> JSONSchemaProps {
    JSONSchemaProps { x_kubernetes_preserve_unknown_fields: Some(true), ..typed("object") }
}

fn list(items: JSONSchemaProps) -> JSONSchemaProps {
    JSONSchemaProps {
        items: Some(JSONSchemaPropsOrArray::Schema(Box::new(items))),
        ..typed("array")
    }
}

fn int_or_string() -> JSONSchemaProps {
    JSONSchemaProps {
        any_of: Some(vec![typed("integer"), typed("string")]),
        x_kubernetes_int_or_string: Some(true),
        ..JSONSchemaProps::default()
    }
}

fn described(mut schema: JSONSchemaProps, doc: &str) -> JSONSchemaProps {
    schema.description = (!doc.is_empty()).then(|| doc.to_string());
    schema
}
