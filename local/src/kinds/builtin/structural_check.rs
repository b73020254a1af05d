//! Whether the schema of a custom resource is structural, and makes sense.
//!
//! Pure: values in, errors out.
//! Source: k8s.io/apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`, `pkg/apiserver/schema/validation.go`.

use serde_json::Value;

use super::rule_check;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{entries, flag, has, list, text};
use crate::schema::{Schema, builtin, formats, structural, validate};

/// Deeper schemas are refused: every walk over them is recursive.
const DEEPEST: usize = 100;

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// The schema of a version.
pub(super) fn root(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    match text(schema, "type") {
        "object" => {}
        "" => errors
            .push(FieldError::required(format!("{path}.type"), "must not be empty at the root")),
        other => errors.push(FieldError::invalid(
            format!("{path}.type"),
            &other.into(),
            "must be object at the root",
        )),
    }
    place(schema, path, 0, &mut errors);
    let metadata = &schema["properties"]["metadata"];
    if !metadata.is_null() {
        let allowed = |key: &String| matches!(key.as_str(), "name" | "generateName");
        if entries(metadata, "properties").any(|(key, _)| !allowed(key))
            || has(metadata, "additionalProperties")
        {
            errors.push(FieldError::forbidden(
                format!("{path}.properties[metadata]"),
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
    if errors.is_empty() {
        errors.extend(rule_check::rules(schema, path));
    }
    errors
}

fn place(schema: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) {
    if depth > DEEPEST {
        errors.push(FieldError::forbidden(
            path,
            &format!("schemas may not be deeper than {DEEPEST}"),
        ));
        return;
    }
    let kind = text(schema, "type");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    for (field, detail) in [
        ("$ref", "$ref is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("additionalItems", "additionalItems is not supported"),
        ("id", "id is not supported"),
    ] {
        let given = match &schema[field] {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        if given {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
    if flag(schema, "uniqueItems") {
        errors.push(FieldError::forbidden(
            format!("{path}.uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ));
    }
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(format!("{path}.type"), &kind.into(), TYPES));
    }
    let referred = !text(schema, "$ref").is_empty();
    if kind.is_empty() && depth > 0 && !int_or_string && !preserves && !referred {
        errors.push(FieldError::required(
            format!("{path}.type"),
            "must not be empty for specified object fields",
        ));
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.push(FieldError::invalid(
            format!("{path}.x-kubernetes-preserve-unknown-fields"),
            &false.into(),
            "must be true or undefined",
        ));
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty()
        && let Err(error) = formats::compile(pattern)
    {
        let detail = format!(
            "must be a valid regular expression, but isn't: {}",
            go_regex_error(pattern, &error)
        );
        errors.push(FieldError::invalid(format!("{path}.pattern"), &pattern.into(), &detail));
    }
    if kind == "array" && !has(schema, "items") {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    let additional = &schema["additionalProperties"];
    if entries(schema, "properties").next().is_some()
        && (additional.is_object() || *additional == true)
    {
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        ));
    }
    if depth == 0 && (additional.is_object() || *additional == true) {
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            "must not be used at the root",
        ));
    }
    if *additional == false {
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            "additionalProperties cannot be set to false",
        ));
    }
    if flag(schema, "x-kubernetes-embedded-resource") {
        if kind != "object" {
            errors.push(FieldError::invalid(
                format!("{path}.type"),
                &kind.into(),
                "must be object if x-kubernetes-embedded-resource is true",
            ));
        }
        if entries(schema, "properties").next().is_none() && !preserves {
            errors.push(FieldError::required(
                format!("{path}.properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ));
        }
    }
    lists(schema, path, errors);
    default_of(schema, path, depth, errors);
    for field in ["allOf", "anyOf", "oneOf"] {
        for (index, shape) in list(schema, field).iter().enumerate() {
            junctor(
                shape,
                &format!("{path}.{field}[{index}]"),
                int_or_string && field != "oneOf",
                errors,
            );
        }
    }
    if has(schema, "not") {
        junctor(&schema["not"], &format!("{path}.not"), false, errors);
    }
    for (name, shape) in entries(schema, "properties") {
        place(shape, &format!("{path}.properties[{name}]"), depth + 1, errors);
    }
    if has(schema, "items") {
        place(&schema["items"], &format!("{path}.items"), depth + 1, errors);
    }
    if additional.is_object() {
        place(additional, &format!("{path}.additionalProperties"), depth + 1, errors);
    }
}

/// The formats of texts and numbers that mean nothing here.
pub(super) fn unknown_formats(schema: &Value, depth: usize, unknown: &mut Vec<String>) {
    if depth > DEEPEST {
        return;
    }
    let format = text(schema, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        unknown.push(format.to_owned());
    }
    for (_, shape) in entries(schema, "properties") {
        unknown_formats(shape, depth + 1, unknown);
    }
    for field in ["items", "additionalProperties"] {
        if schema[field].is_object() {
            unknown_formats(&schema[field], depth + 1, unknown);
        }
    }
}

/// The formats that mean something.
const FORMATS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Inside of logical junctors only value validations may stand.
fn junctor(shape: &Value, path: &str, int_or_string: bool, errors: &mut Vec<FieldError>) {
    for field in ["type", "default", "additionalProperties", "nullable", "title", "description"] {
        let given = match &shape[field] {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            _ => true,
        };
        let types =
            int_or_string && field == "type" && matches!(text(shape, field), "integer" | "string");
        if given && !types {
            errors.push(FieldError::forbidden(
                format!("{path}.{field}"),
                "must be empty to be structural",
            ));
        }
    }
    for (name, shape) in entries(shape, "properties") {
        junctor(shape, &format!("{path}.properties[{name}]"), false, errors);
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for (index, shape) in list(shape, field).iter().enumerate() {
            junctor(shape, &format!("{path}.{field}[{index}]"), int_or_string, errors);
        }
    }
}

fn lists(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = text(schema, "x-kubernetes-list-type");
    let keys = list(schema, "x-kubernetes-list-map-keys");
    if !["", "atomic", "set", "map"].contains(&list_type) {
        errors.push(FieldError::not_supported(
            format!("{path}.x-kubernetes-list-type"),
            &list_type.into(),
            &["atomic", "set", "map"],
        ));
    }
    if !keys.is_empty() && list_type != "map" {
        errors.push(FieldError::invalid(
            format!("{path}.x-kubernetes-list-type"),
            &list_type.into(),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
    if list_type != "map" {
        return;
    }
    if keys.is_empty() {
        errors.push(FieldError::required(
            format!("{path}.x-kubernetes-list-map-keys"),
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    let items = &schema["items"];
    if !items.is_null() && text(items, "type") != "object" {
        errors.push(FieldError::invalid(
            format!("{path}.items.type"),
            &text(items, "type").into(),
            "must be object if parent array's x-kubernetes-list-type is map",
        ));
    }
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or("");
        let property = &items["properties"][name];
        if property.is_null() {
            errors.push(FieldError::invalid(
                format!("{path}.x-kubernetes-list-map-keys[{index}]"),
                key,
                "entries must all be names of item properties",
            ));
        } else if !has(property, "default") && !list(items, "required").contains(key) {
            errors.push(FieldError::required(
                format!("{path}.items.properties[{name}].default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
    }
}

/// A default must be valid itself.
fn default_of(schema: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) {
    let Some(default) = schema.get("default").filter(|default| !default.is_null()) else { return };
    let path = format!("{path}.default");
    if depth == 0 {
        errors.push(FieldError::forbidden(path, "must not be set at the root"));
        return;
    }
    // Defaults name no built-in types.
    let shape = structural::shape(schema, 0);
    let bare = Schema::own(&std::sync::Arc::new(builtin::Library::empty()), shape);
    for mut error in validate::validate(default, None, bare.root(), "") {
        error.field =
            if error.field.is_empty() { path.clone() } else { format!("{path}.{}", error.field) };
        errors.push(error);
    }
}

/// The commonest complaint in Go's words; others as the regex crate has them, on one line.
fn go_regex_error(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    if text.contains("unclosed group") {
        return format!("error parsing regexp: missing closing ): `{pattern}`");
    }
    if text.contains("unclosed character class") {
        return format!("error parsing regexp: missing closing ]: `{pattern}`");
    }
    let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
    format!("error parsing regexp: {last}: `{pattern}`")
}
