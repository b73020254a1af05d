//! What is wrong with a value beside the schema of a custom resource.
//!
//! Pure: a value and a schema in, errors out.
//! Source: k8s.io/kube-openapi `pkg/validation/validate`, k8s.io/apiextensions-apiserver `pkg/apiserver/validation`.

use serde_json::Value;

use super::formats;
use super::{ListType, Node, Rules, Type};
use crate::kinds::problem::{FieldError, shown};

/// All errors of `value`, at `path`. Parts that are as they were in `old` are not looked at.
pub fn validate(value: &Value, old: Option<&Value>, node: Node<'_>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(value, old, node, path, &mut errors);
    errors
}

fn check(
    value: &Value,
    old: Option<&Value>,
    node: Node<'_>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    // Named types are built in: their own decoder has checked them.
    if node.name.is_some() || old == Some(value) || (value.is_null() && node.edge.nullable) {
        return;
    }
    if !has_type(value, node.kind) {
        let (found, wanted) = (json_type(value), type_name(node.kind));
        let detail = format!("{} in body must be of type {wanted}: \"{found}\"", path);
        errors.push(FieldError::wrong_type(path, &found.into(), &detail));
        if node.kind == Type::Int64 && value.is_number() {
            let format = node.rules.as_deref().and_then(|rules| rules.format.as_deref());
            errors.push(unplaced(&wrong_number(path, format)));
        }
        return;
    }
    if let Some(rules) = node.rules.as_deref() {
        check_rules(value, node, rules, path, errors);
    }
    match value {
        Value::Object(fields) => {
            for name in &node.required {
                if !fields.contains_key(&**name) {
                    errors.push(FieldError::required(join(path, name), ""));
                }
            }
            for (name, value) in fields {
                if let Some(child) = node.field(name) {
                    check(
                        value,
                        old.and_then(|old| old.get(name)),
                        child,
                        &join(path, name),
                        errors,
                    );
                }
            }
            if node.embedded_resource {
                for name in ["apiVersion", "kind"] {
                    if fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                        errors.push(FieldError::required(join(path, name), "must not be empty"));
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = node.items() {
                for (at, item) in items.iter().enumerate() {
                    check(
                        item,
                        old.and_then(|old| old.get(at)),
                        of,
                        &format!("{path}[{at}]"),
                        errors,
                    );
                }
            }
            repeated(items, node, path, errors);
        }
        _ => {}
    }
}

fn check_rules(
    value: &Value,
    node: Node<'_>,
    rules: &Rules,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let name = path;
    let mut say = |wrong: String| {
        errors.push(FieldError::invalid(path, value, &format!("{name} in body {wrong}")))
    };
    if let Some(number) = value.as_f64() {
        if let Some(least) = rules.minimum {
            if rules.exclusive_minimum && number <= least {
                say(format!("should be greater than {least}"));
            } else if number < least {
                say(format!("should be greater than or equal to {least}"));
            }
        }
        if let Some(most) = rules.maximum {
            if rules.exclusive_maximum && number >= most {
                say(format!("should be less than {most}"));
            } else if number > most {
                say(format!("should be less than or equal to {most}"));
            }
        }
        if let Some(unit) = rules.multiple_of
            && unit > 0.0
        {
            let quotient = number / unit;
            if (quotient - quotient.round()).abs() > f64::EPSILON * quotient.abs().max(1.0) {
                say(format!("should be a multiple of {unit}"));
            }
        }
        let bounds = match rules.format.as_deref() {
            Some("int32") => Some(f64::from(i32::MIN)..=f64::from(i32::MAX)),
            Some("uint32") => Some(0.0..=f64::from(u32::MAX)),
            _ => None,
        };
        if bounds.is_some_and(|bounds| !bounds.contains(&number)) && node.kind == Type::Int64 {
            errors.push(unplaced(&wrong_number(path, rules.format.as_deref())));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if let Some(most) = rules.max_length.filter(|most| length > *most) {
            errors.push(FieldError::too_long(path, most as usize));
        }
        let mut say = |wrong: String| {
            errors.push(FieldError::invalid(path, value, &format!("{name} in body {wrong}")))
        };
        if let Some(least) = rules.min_length.filter(|least| length < *least) {
            say(format!("should be at least {least} chars long"));
        }
        if let Some(pattern) = &rules.pattern
            && !formats::matches(rules, pattern, text)
        {
            say(format!("should match '{pattern}'"));
        }
        if let Some(format) = rules.format.as_deref()
            && !formats::has(format, text)
        {
            let detail = format!("{name} in body must be of type {format}: {}", shown(value));
            errors.push(FieldError::wrong_type(path, value, &detail));
        }
    }
    let sizes = match value {
        Value::Array(items) => {
            Some((items.len() as u64, rules.min_items, rules.max_items, "items"))
        }
        Value::Object(fields) => {
            Some((fields.len() as u64, rules.min_properties, rules.max_properties, "properties"))
        }
        _ => None,
    };
    if let Some((count, least, most, what)) = sizes {
        if let Some(most) = most.filter(|most| count > *most) {
            errors.push(FieldError::too_many(path, count as usize, most as usize));
        }
        if let Some(least) = least.filter(|least| count < *least) {
            let detail = format!("{name} in body should have at least {least} {what}");
            errors.push(FieldError::invalid(path, value, &detail));
        }
    }
    if !rules.enumeration.is_empty() && !rules.enumeration.iter().any(|one| same(one, value)) {
        let supported: Vec<String> = rules
            .enumeration
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        errors.push(FieldError::not_supported(path, value, &supported));
    }
    combined(value, node, rules, path, errors);
}

fn combined(
    value: &Value,
    node: Node<'_>,
    rules: &Rules,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let name = path;
    let each = |shapes: &[super::Shape]| -> Vec<Vec<FieldError>> {
        shapes.iter().map(|shape| validate(value, None, node.beside(shape), path)).collect()
    };
    if !rules.any_of.is_empty() {
        let found = each(&rules.any_of);
        if found.iter().all(|errors| !errors.is_empty()) {
            errors.push(unplaced(&format!("\"{name}\" must validate at least one schema (anyOf)")));
            errors.extend(found.into_iter().next().unwrap_or_default());
        }
    }
    if !rules.one_of.is_empty() {
        let found = each(&rules.one_of);
        let valid = found.iter().filter(|errors| errors.is_empty()).count();
        if valid != 1 {
            let count = if valid == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {valid} valid alternatives")
            };
            errors.push(unplaced(&format!(
                "\"{name}\" must validate one and only one schema (oneOf). {count}"
            )));
            if valid == 0 {
                errors.extend(found.into_iter().next().unwrap_or_default());
            }
        }
    }
    if !rules.all_of.is_empty() {
        let found = each(&rules.all_of);
        let valid = found.iter().filter(|errors| errors.is_empty()).count();
        if valid < found.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            errors.extend(found.into_iter().flatten());
            errors
                .push(unplaced(&format!("\"{name}\" must validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &rules.not
        && validate(value, None, node.beside(not), path).is_empty()
    {
        errors.push(unplaced(&format!("\"{name}\" must not validate the schema (not)")));
    }
}

fn repeated(items: &[Value], node: Node<'_>, path: &str, errors: &mut Vec<FieldError>) {
    match node.list_type() {
        ListType::Atomic => {}
        ListType::Set => {
            for (at, item) in items.iter().enumerate() {
                if items[..at].contains(item) {
                    errors.push(FieldError::duplicate(format!("{path}[{at}]"), item));
                }
            }
        }
        ListType::Map(keys) => {
            let key = |item: &Value| -> Value {
                let named = keys
                    .iter()
                    .filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
                Value::Object(named.collect())
            };
            let all: Vec<Value> = items.iter().map(key).collect();
            for (at, key) in all.iter().enumerate() {
                if all[..at].contains(key) {
                    errors.push(FieldError::duplicate(format!("{path}[{at}]"), key));
                }
            }
        }
    }
}

/// An error without a place of its own.
fn unplaced(text: &str) -> FieldError {
    FieldError::invalid("", &"".into(), text)
}

fn wrong_number(path: &str, format: Option<&str>) -> String {
    match format {
        Some(format) => {
            format!("Checked value must be of type integer with format {format} in {path}")
        }
        None => format!("Checked value must be of type integer (default format) in {path}"),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

fn has_type(value: &Value, kind: Type) -> bool {
    match kind {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Int32 | Type::Int64 => is_whole(value),
        Type::Number => value.is_number(),
        Type::IntOrString => value.is_string() || is_whole(value),
        Type::Quantity | Type::Time | Type::MicroTime | Type::Bytes => true,
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Object => "object",
        Type::Array => "array",
        Type::Boolean => "boolean",
        Type::Int32 | Type::Int64 => "integer",
        Type::Number => "number",
        Type::IntOrString => "integer,string",
        _ => "string",
    }
}
