//! Probes of containers.
//!
//! Pure: values only. Source: knative/serving `k8s_validation.go`, `v1/revision_defaults.go`.

use api::field_error::{FieldError, FieldErrors};
use config::{Config, features::Flag};
use serde_json::{Map, Value, json};

use super::{
    container::Port,
    look::{get, has, number, text},
};

/// How a probe asks, in the order in which upstream looks.
const HANDLERS: [&str; 4] = ["httpGet", "tcpSocket", "exec", "grpc"];

/// Fills in the probes of a container. The one that takes requests is asked by connecting to it, unless
/// it says otherwise.
pub fn default(container: &mut Value, is_asked: bool) {
    if is_asked {
        if !has(container, "readinessProbe") {
            container["readinessProbe"] = Value::Object(Map::new());
        }
        let probe = &mut container["readinessProbe"];
        if !HANDLERS.iter().any(|handler| has(probe, handler)) {
            probe["tcpSocket"] = json!({"port": 0});
        }
    }
    if has(container, "readinessProbe") {
        let probe = &mut container["readinessProbe"];
        let mut at_least = |field: &str, value: i64| {
            if number(probe, field).unwrap_or_default() == 0 {
                probe[field] = value.into();
            }
        };
        at_least("successThreshold", 1);
        if number(&container["readinessProbe"], "periodSeconds").unwrap_or_default() != 0 {
            let probe = &mut container["readinessProbe"];
            for (field, value) in [("failureThreshold", 3), ("timeoutSeconds", 1)] {
                if number(probe, field).unwrap_or_default() == 0 {
                    probe[field] = value.into();
                }
            }
        }
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(grpc) = container.get_mut(probe).and_then(|probe| probe.get_mut("grpc"))
            && !has(grpc, "service")
        {
            grpc["service"] = "".into();
        }
    }
}

/// Everything that is wrong with the probes of the container that takes requests.
pub fn validate_serving(container: &Value, port: &Port) -> FieldErrors {
    probes(container, Some(port))
}

/// Everything that is wrong with the probes of one that takes none.
pub fn validate_beside(config: &Config, container: &Value) -> FieldErrors {
    if config.features.multi_container_probing == Flag::Enabled {
        return probes(container, None);
    }
    let mut errors = FieldErrors::none();
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let said: Vec<&str> = get(container, field)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        if !said.is_empty() {
            // How it asks is one field upstream, which has no key: the error is about the probe itself.
            let mut names: Vec<&str> = said
                .iter()
                .map(|field| if HANDLERS.contains(field) { "" } else { field })
                .collect();
            names.sort_unstable();
            names.dedup();
            errors.also(FieldError::disallowed(&names).via(field));
        }
    }
    errors
}

fn probes(container: &Value, port: Option<&Port>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(container, field) else { continue };
        let mut wrong = handler(probe, port);
        if field == "readinessProbe" {
            wrong.also(readiness(probe));
        }
        errors.also(wrong.via(field));
    }
    errors
}

fn handler(probe: &Value, port: Option<&Port>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut found = Vec::new();
    for name in HANDLERS {
        let Some(handler) = get(probe, name) else { continue };
        found.push(if name == "grpc" { "gRPC" } else { name });
        // As upstream, which puts what it found so far under this handler.
        errors = errors.via(name);
        if name == "httpGet" || name == "tcpSocket" {
            errors.also(handler_port(handler, port).map(|error| error.via(name)));
        }
    }
    match found.len() {
        0 => errors.push(FieldError::missing_one_of(&HANDLERS)),
        1 => {}
        _ => errors.push(FieldError::multiple_one_of(&found)),
    }
    errors
}

/// A port by name must be the container's; a container without one must say which it means.
fn handler_port(handler: &Value, port: Option<&Port>) -> Option<FieldError> {
    let name = text(handler, "port");
    match port {
        Some(port) if !name.is_empty() && name != port.name => {
            let error = FieldError::invalid_value(name, "port");
            Some(error.with_details("Probe port must match container port"))
        }
        None if name.is_empty() && number(handler, "port").unwrap_or_default() == 0 => {
            let error = FieldError::invalid_value("0", "port");
            Some(error.with_details("Probe port must be specified"))
        }
        _ => None,
    }
}

fn readiness(probe: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let value = |field: &str| number(probe, field).unwrap_or_default();
    let mut at_least = |field: &str, least: i64| {
        if value(field) < least {
            errors.push(FieldError::out_of_bounds(value(field), least, i32::MAX, field));
        }
    };
    at_least("periodSeconds", 0);
    at_least("initialDelaySeconds", 0);
    at_least("successThreshold", 1);
    if value("periodSeconds") != 0 {
        at_least("timeoutSeconds", 1);
        at_least("failureThreshold", 1);
        return errors;
    }
    // Without a period the queue asks all the time, by its own rules.
    for field in ["failureThreshold", "timeoutSeconds"] {
        if value(field) != 0 {
            let why = format!("{field} is disallowed when periodSeconds is zero");
            errors.push(FieldError::new(why, &[field]));
        }
    }
    errors
}
