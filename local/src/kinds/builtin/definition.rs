//! CustomResourceDefinitions on their way in.
//!
//! Pure: values in, values out.
//! Source: k8s.io/apiextensions-apiserver `pkg/apis/apiextensions/{v1/defaults.go,validation/validation.go}`.

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::structural_check;
use super::workload::immutable;
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, fill, flag, has, list, text};

pub(super) const DEFINITION: Strategy =
    Strategy { default, validate, validate_update, warnings, ..PLAIN };

/// Formats nobody checks.
fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let versions = list(&new["spec"], "versions").iter();
    let mut unknown: Vec<String> = Vec::new();
    for version in versions {
        structural_check::unknown_formats(&version["schema"]["openAPIV3Schema"], 0, &mut unknown);
    }
    unknown.sort();
    unknown.dedup();
    unknown.iter().map(|format| format!("unrecognized format {format:?}")).collect()
}

fn default(object: &mut Value) {
    let spec = child(object, "spec");
    let names = child(spec, "names");
    let kind = text(names, "kind").to_owned();
    if !kind.is_empty() {
        fill(names, "singular", kind.to_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
    let conversion = child(spec, "conversion");
    fill(conversion, "strategy", "None");
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if flag(version, "deprecated") && version["deprecationWarning"] == "" {
            crate::kinds::walk::remove(version, "deprecationWarning");
        }
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let (group, plural) = (text(spec, "group"), text(&spec["names"], "plural"));
    let name = text(&object["metadata"], "name");
    if name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid(
            "metadata.name",
            &name.into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else {
        for wrong in names::subdomain(group) {
            errors.push(FieldError::invalid("spec.group", &group.into(), &wrong));
        }
        if !group.contains('.') {
            errors.push(FieldError::invalid(
                "spec.group",
                &group.into(),
                "should be a domain with at least one dot",
            ));
        }
    }
    let scope = text(spec, "scope");
    if !["Cluster", "Namespaced"].contains(&scope) {
        errors.push(if scope.is_empty() {
            FieldError::required("spec.scope", "")
        } else {
            FieldError::not_supported("spec.scope", &scope.into(), &["Cluster", "Namespaced"])
        });
    }
    if flag(spec, "preserveUnknownFields") {
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            "must be false in order to use defaults in the schema",
        ));
    }
    errors.extend(all_versions(spec));
    errors.extend(names_of(&spec["names"], "spec.names"));
    errors.extend(conversion(&spec["conversion"]));
    errors
}

fn all_versions(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let versions = list(spec, "versions");
    let stored = versions.iter().filter(|version| flag(version, "storage")).count();
    let mut seen: Vec<&str> = Vec::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(version, "name");
        unique &= !seen.contains(&name);
        seen.push(name);
        for wrong in names::label_1035(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
        }
        // What holds for the only version is said of the whole, as older definitions had it there.
        let at = if versions.len() == 1 { "spec".to_owned() } else { path.clone() };
        let schema = &version["schema"]["openAPIV3Schema"];
        let schema_path = if versions.len() == 1 {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            format!("{path}.schema.openAPIV3Schema")
        };
        if schema.is_null() {
            errors.push(FieldError::required(
                if versions.len() == 1 {
                    schema_path
                } else {
                    format!("{path}.schema.openAPIV3Schema")
                },
                "schemas are required",
            ));
        } else {
            errors.extend(structural_check::root(schema, &schema_path));
        }
        for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            errors.extend(column_of(column, &format!("{at}.additionalPrinterColumns[{index}]")));
        }
        errors.extend(scale_of(&version["subresources"], &format!("{at}.subresources")));
        if has(version, "deprecationWarning") && !flag(version, "deprecated") {
            errors.push(FieldError::invalid(
                format!("{path}.deprecationWarning"),
                &version["deprecationWarning"],
                "can only be set for deprecated versions",
            ));
        }
        for (index, field) in list(version, "selectableFields").iter().enumerate() {
            let path = format!("{at}.selectableFields[{index}].jsonPath");
            if text(field, "jsonPath").is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !simple_path(text(field, "jsonPath")) {
                errors.push(FieldError::invalid(path, &field["jsonPath"], "is an invalid path"));
            }
        }
    }
    if !unique {
        errors.push(FieldError::invalid(
            "spec.versions",
            &json!(seen),
            "must contain unique version names",
        ));
    }
    if stored != 1 {
        let shown: Vec<String> = versions.iter().map(Value::to_string).collect();
        errors.push(FieldError::invalid_shown(
            "spec.versions",
            &format!("[{}]", shown.join(",")),
            "must have exactly one version marked as storage version",
        ));
    }
    errors
}

fn names_of(names: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |field: &str, value: &str| {
        if value.is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
            return;
        }
        let mixed = matches!(field, "kind" | "listKind");
        let wrong =
            if mixed { names::label_1035(&value.to_lowercase()) } else { names::label_1035(value) };
        for wrong in wrong {
            let detail = if mixed {
                format!("may have mixed case, but should otherwise match: {wrong}")
            } else {
                wrong
            };
            errors.push(FieldError::invalid(format!("{path}.{field}"), &value.into(), &detail));
        }
    };
    for field in ["plural", "singular", "kind", "listKind"] {
        check(field, text(names, field));
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(names, field).iter().enumerate() {
            let text = name.as_str().unwrap_or("");
            for wrong in names::label_1035(text) {
                errors.push(FieldError::invalid(format!("{path}.{field}[{index}]"), name, &wrong));
            }
        }
    }
    if text(names, "kind") == text(names, "listKind") && !text(names, "kind").is_empty() {
        errors.push(FieldError::invalid(
            format!("{path}.listKind"),
            &names["listKind"],
            "kind and listKind may not be the same",
        ));
    }
    errors
}

fn conversion(conversion: &Value) -> Vec<FieldError> {
    let webhook = &conversion["webhook"];
    match text(conversion, "strategy") {
        "None" if !webhook.is_null() => vec![FieldError::forbidden(
            "spec.conversion.webhook",
            "should not be set when strategy is not set to Webhook",
        )],
        "None" => Vec::new(),
        "Webhook" if webhook["clientConfig"].is_null() => vec![FieldError::required(
            "spec.conversion.webhookClientConfig",
            "required when strategy is set to Webhook",
        )],
        "Webhook" if list(webhook, "conversionReviewVersions").is_empty() => {
            vec![FieldError::required("spec.conversion.conversionReviewVersions", "")]
        }
        "Webhook" => Vec::new(),
        "" => vec![FieldError::required("spec.conversion.strategy", "")],
        other => {
            vec![FieldError::not_supported(
                "spec.conversion.strategy",
                &other.into(),
                &["None", "Webhook"],
            )]
        }
    }
}

fn column_of(column: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    let types = ["boolean", "date", "integer", "number", "string"];
    let kind = text(column, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(
            format!("{path}.type"),
            &format!("must be one of {}", types.join(",")),
        ));
    } else if !types.contains(&kind) {
        let detail = format!("must be one of {}", types.join(","));
        errors.push(FieldError::invalid(format!("{path}.type"), &kind.into(), &detail));
    }
    let formats = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let format = text(column, "format");
    if !format.is_empty() && !formats.contains(&format) {
        let detail = format!("must be one of {}", formats.join(","));
        errors.push(FieldError::invalid(format!("{path}.format"), &format.into(), &detail));
    }
    let place = text(column, "jsonPath");
    if place.is_empty() {
        errors.push(FieldError::required(format!("{path}.JSONPath"), ""));
    } else if !place.starts_with('.') {
        errors.push(FieldError::invalid(
            format!("{path}.JSONPath"),
            &place.into(),
            "must be a simple json path starting with .",
        ));
    }
    errors
}

/// Fields alone: what can be written as well as read.
fn simple_path(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    path.strip_prefix('.').is_some_and(|rest| rest.split('.').all(part))
}

fn scale_of(subresources: &Value, path: &str) -> Vec<FieldError> {
    let scale = &subresources["scale"];
    if scale.is_null() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let fields = [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."][..], true),
        ("labelSelectorPath", &[".spec.", ".status."][..], false),
    ];
    for (field, below, required) in fields {
        let place = text(scale, field);
        let path = format!("{path}.scale.{field}");
        if place.is_empty() {
            if required {
                errors.push(FieldError::required(path, ""));
            }
        } else if !simple_path(place) {
            errors.push(FieldError::invalid(
                path,
                &place.into(),
                "must be a simple json path without array notation",
            ));
        } else if !below.iter().any(|prefix| place.starts_with(prefix)) {
            let detail = match below {
                [one] => format!("should be a json path under {}", one.trim_end_matches('.')),
                _ => "should be a json path under either .spec or .status".to_owned(),
            };
            errors.push(FieldError::invalid(path, &place.into(), &detail));
        }
    }
    errors
}

fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, before) = (&new["spec"], &old["spec"]);
    let mut fixed = Vec::new();
    let established = list(&old["status"], "conditions").iter().any(|condition| {
        text(condition, "type") == "Established" && text(condition, "status") == "True"
    });
    if established {
        for field in ["group", "scope"] {
            if spec[field] != before[field] {
                fixed.push(immutable(&format!("spec.{field}"), &spec[field]));
            }
        }
        for field in ["kind", "plural"] {
            if spec["names"][field] != before["names"][field] {
                fixed.push(immutable(&format!("spec.names.{field}"), &spec["names"][field]));
            }
        }
    }
    let mut errors = validate(new);
    if !fixed.is_empty() {
        // The name follows the group and the plural: one mistake is told once.
        errors.retain(|error| error.field != "metadata.name");
    }
    let stored = list(&old["status"], "storedVersions");
    for version in stored.iter().filter_map(Value::as_str) {
        if !list(spec, "versions").iter().any(|known| text(known, "name") == version) {
            errors.push(FieldError::invalid(
                format!("status.storedVersions[{}]", stored.iter().position(|one| one == version).unwrap_or(0)),
                &version.into(),
                "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions",
            ));
            if let Some(error) = errors.last_mut() {
                error.message =
                    error.message.replace("; v1 was", &format!("; {version} was")).replace(
                        "in v1 and removes v1",
                        &format!("in {version} and removes {version}"),
                    );
            }
        }
    }
    fixed.extend(errors);
    fixed
}
