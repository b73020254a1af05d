//! What an Ingress may say.
//!
//! Pure: values only.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/ingress_{defaults,validation}.go`.

use api::field_error::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::{
    Annotations, Seen,
    look::{get, has, list, list_mut, number, text},
};

pub fn default(_: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    for rule in list_mut(spec, "rules") {
        if text(rule, "visibility").is_empty() {
            rule["visibility"] = "ExternalIP".into();
        }
        // A rule without `http` is refused by the check; upstream crashes here.
        let Some(http) = rule.get_mut("http") else { continue };
        for path in list_mut(http, "paths") {
            if let [only] = list_mut(path, "splits")
                && number(only, "percent").unwrap_or_default() == 0
            {
                only["percent"] = 100.into();
            }
        }
    }
}

pub fn validate(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    if *spec == json!({}) {
        return FieldError::missing(&["spec"]).into();
    }
    let mut errors = FieldErrors::none();
    if list(spec, "rules").is_empty() {
        errors.push(FieldError::missing(&["rules"]));
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        errors.also(one_rule(seen, rule).via_field_index("rules", index));
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let mut wrong = FieldErrors::none();
        if *tls == json!({}) {
            wrong.push(FieldError::missing(&[""]));
        } else {
            for field in ["secretName", "secretNamespace"] {
                if !has(tls, field) {
                    wrong.push(FieldError::missing(&[field]));
                }
            }
        }
        errors.also(wrong.via_field_index("tls", index));
    }
    let option = text(spec, "httpOption");
    if !["", "Enabled", "Redirected"].contains(&option) {
        errors.push(FieldError::invalid_value(option, "httpOption"));
    }
    errors.via("spec")
}

fn one_rule(seen: &Seen<'_>, rule: &Value) -> FieldErrors {
    let Some(http) = get(rule, "http") else {
        return FieldError::missing(&["http"]).into();
    };
    let paths = list(http, "paths");
    if paths.is_empty() {
        return FieldErrors::from(FieldError::missing(&["paths"])).via("http");
    }
    let mut errors = FieldErrors::none();
    for (index, path) in paths.iter().enumerate() {
        errors.also(one_path(seen, path).via_field_index("paths", index));
    }
    errors.via("http")
}

fn one_path(seen: &Seen<'_>, path: &Value) -> FieldErrors {
    if *path == json!({"splits": null}) {
        return FieldError::missing(&[""]).into();
    }
    let splits = list(path, "splits");
    if splits.is_empty() {
        return FieldError::missing(&["splits"]).into();
    }
    let mut total: i64 = 0;
    for (index, split) in splits.iter().enumerate() {
        let wrong = one_split(seen, split);
        // As upstream, which stops at the first split that is wrong.
        if !wrong.is_empty() {
            return wrong.via_field_index("splits", index);
        }
        total += number(split, "percent").unwrap_or_default();
    }
    if total != 100 && (splits.len() != 1 || total != 0) {
        let why = format!("traffic split percentage must total to 100, but was {total}");
        return FieldError::new(why, &["splits"]).into();
    }
    FieldErrors::none()
}

fn one_split(seen: &Seen<'_>, split: &Value) -> FieldErrors {
    let names = ["serviceNamespace", "serviceName"];
    let has_port = !matches!(split.get("servicePort"), None | Some(Value::Null))
        && split["servicePort"] != json!(0);
    let has_backend = has_port || names.iter().any(|name| !text(split, name).is_empty());
    let mut errors = FieldErrors::none();
    let percent = number(split, "percent").unwrap_or_default();
    if !(0..=100).contains(&percent) {
        errors.push(FieldError::invalid_value(percent, "percent"));
    }
    if !has_backend {
        errors.push(FieldError::missing(&[""]));
        return errors;
    }
    let namespace = text(split, "serviceNamespace");
    if namespace.is_empty() {
        errors.push(FieldError::missing(&["serviceNamespace"]));
    } else if namespace != seen.namespace {
        let why = "service namespace must match ingress namespace";
        errors.push(FieldError::new(why, &["serviceNamespace"]));
    }
    if text(split, "serviceName").is_empty() {
        errors.push(FieldError::missing(&["serviceName"]));
    }
    if !has_port {
        errors.push(FieldError::missing(&["servicePort"]));
    }
    errors
}
