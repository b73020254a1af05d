//! Whether the rules in a custom resource's schema can be compiled and say something.
//!
//! Pure: values in, errors out.
//! Source: k8s.io/apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`, `pkg/apiserver/schema/cel/compilation.go`.

use serde_json::Value;

use crate::json::go_text;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{entries, list, text};
use crate::schema::cel;

/// The rules at a place and below it.
pub(super) fn rules(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        one(rule, schema, &format!("{path}.x-kubernetes-validations[{index}]"), &mut errors);
    }
    for (name, shape) in entries(schema, "properties") {
        errors.extend(rules(shape, &format!("{path}.properties[{name}]")));
    }
    if schema["items"].is_object() {
        errors.extend(rules(&schema["items"], &format!("{path}.items")));
    }
    if schema["additionalProperties"].is_object() {
        errors.extend(rules(
            &schema["additionalProperties"],
            &format!("{path}.additionalProperties"),
        ));
    }
    errors
}

fn one(rule: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let expression = text(rule, "rule").trim();
    let reasons =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if expression.is_empty() {
        errors.push(FieldError::required(format!("{path}.rule"), "rule is not specified"));
        return;
    }
    let message = text(rule, "message");
    if rule.get("message").is_some_and(Value::is_string)
        && !message.is_empty()
        && message.trim().is_empty()
    {
        errors.push(FieldError::invalid(
            format!("{path}.message"),
            &message.into(),
            "message must be non-empty if specified",
        ));
    } else if message.trim().contains('\n') {
        errors.push(FieldError::invalid(
            format!("{path}.message"),
            &message.into(),
            "must not contain line breaks",
        ));
    } else if message.is_empty() && expression.contains('\n') {
        errors.push(FieldError::required(
            format!("{path}.message"),
            "message must be specified if rule contains line breaks",
        ));
    }
    if let Some(reason) = rule.get("reason").and_then(Value::as_str)
        && !reasons.contains(&reason)
    {
        errors.push(FieldError::not_supported(format!("{path}.reason"), &reason.into(), &reasons));
    }
    let field = text(rule, "fieldPath");
    if !field.is_empty() && !is_path(field, schema) {
        errors.push(FieldError::invalid(
            format!("{path}.fieldPath"),
            &field.into(),
            "must be a valid path",
        ));
    }
    if let Err(error) = cel::compile(expression) {
        let detail = format!("compilation failed: {error}");
        errors.push(FieldError::invalid_shown(format!("{path}.rule"), &shown(rule), &detail));
    } else if let Some(wrong) = wrong_reference(expression, schema) {
        let detail = format!("compilation failed: {wrong}");
        errors.push(FieldError::invalid_shown(format!("{path}.rule"), &shown(rule), &detail));
    } else if field_type(expression, schema).is_some_and(|kind| kind != "boolean") {
        let detail = "cel expression must evaluate to a bool";
        errors.push(FieldError::invalid_shown(format!("{path}.rule"), &shown(rule), detail));
    }
    let computed = text(rule, "messageExpression").trim();
    if !computed.is_empty() {
        let path = format!("{path}.messageExpression");
        if let Err(error) = cel::compile(computed) {
            let detail = format!("messageExpression compilation failed: {error}");
            errors.push(FieldError::invalid_shown(path, &shown(rule), &detail));
        } else if field_type(computed, schema).is_some_and(|kind| kind != "string") {
            let detail = "messageExpression must evaluate to a string";
            errors.push(FieldError::invalid_shown(path, &shown(rule), detail));
        }
    }
}

/// Whether a path leads through the schema's properties.
fn is_path(path: &str, schema: &Value) -> bool {
    let Some(rest) = path.strip_prefix('.') else { return path.starts_with('[') };
    rest.split('.').try_fold(schema, |place, name| place["properties"].get(name)).is_some()
}

/// The type of an expression that is nothing but a field of `self`.
fn field_type<'a>(expression: &str, schema: &'a Value) -> Option<&'a str> {
    let rest = expression.strip_prefix("self.")?;
    let place = rest.split('.').try_fold(schema, |place, name| place["properties"].get(name))?;
    place["type"].as_str()
}

/// The first field of `self` that the schema does not have, with the place where it is named.
fn wrong_reference(expression: &str, schema: &Value) -> Option<String> {
    if text(schema, "type") != "object" || schema["properties"].is_null() {
        return None;
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return None;
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in expression.match_indices("self.") {
        if expression[..at].chars().next_back().is_some_and(|c| word(c) || c == '.') {
            continue;
        }
        let rest = &expression[at + 5..];
        let name = &rest[..rest.find(|c: char| !word(c)).unwrap_or(rest.len())];
        let called = rest[name.len()..].starts_with('(');
        let always = matches!(name, "metadata" | "kind" | "apiVersion");
        if !called
            && !name.is_empty()
            && !name.starts_with("__")
            && !always
            && schema["properties"].get(name).is_none()
        {
            let column = at + 5;
            return Some(format!(
                "ERROR: <input>:1:{column}: undefined field '{name}'\n | {expression}\n | {}^",
                ".".repeat(column - 1)
            ));
        }
    }
    None
}

/// A rule as Go writes it: its own names in its own order, `<`, `>` and `&` escaped.
fn shown(rule: &Value) -> String {
    let quoted = |field: &str| go_text(&Value::from(text(rule, field)));
    let or_null = |field: &str| {
        rule.get(field).filter(|value| !value.is_null()).map_or("null".to_owned(), Value::to_string)
    };
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        quoted("rule"),
        quoted("message"),
        quoted("messageExpression"),
        or_null("reason"),
        quoted("fieldPath"),
        or_null("optionalOldSelf")
    )
}
