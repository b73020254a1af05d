//! Endpoints, EndpointSlices, Ingresses and Leases on their way in.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/{core,discovery,networking,coordination}/validation/validation.go`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::workload::immutable;
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, each, fill, has, int, list, text};

pub(super) const ENDPOINTS: Strategy = Strategy {
    default: |object| {
        for subset in each(object, "subsets") {
            for port in each(subset, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    },
    validate: validate_endpoints,
    validate_update: |new, _| validate_endpoints(new),
    ..PLAIN
};

pub(super) const SLICE: Strategy = Strategy {
    default: |object| {
        for port in each(object, "ports") {
            fill(port, "protocol", "TCP");
            if !has(port, "name") {
                port["name"] = "".into();
            }
        }
    },
    validate: validate_slice,
    validate_update: |new, old| {
        let mut errors = validate_slice(new);
        if new["addressType"] != old["addressType"] {
            errors.retain(|error| !error.field.starts_with("endpoints"));
            errors.push(immutable("addressType", &new["addressType"]));
        }
        errors
    },
    warnings: |new, _| {
        if text(new, "addressType") == "FQDN" {
            return vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()];
        }
        Vec::new()
    },
    ..PLAIN
};

pub(super) const INGRESS: Strategy = Strategy {
    prepare_create: |object| object["status"] = json!({"loadBalancer": {}}),
    validate: validate_ingress,
    validate_update: |new, _| validate_ingress(new),
    ..PLAIN
};

pub(super) const NETWORK_POLICY: Strategy = Strategy {
    default: |object| {
        let spec = child(object, "spec");
        for (rules, ports) in [("ingress", "ports"), ("egress", "ports")] {
            for rule in each(spec, rules) {
                for port in each(rule, ports) {
                    fill(port, "protocol", "TCP");
                }
            }
        }
        if list(spec, "policyTypes").is_empty() {
            let egress = !list(spec, "egress").is_empty();
            spec["policyTypes"] =
                if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        }
    },
    ..PLAIN
};

pub(super) const LEASE: Strategy =
    Strategy { validate: validate_lease, validate_update: |new, _| validate_lease(new), ..PLAIN };

fn validate_endpoints(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, subset) in list(object, "subsets").iter().enumerate() {
        let path = format!("subsets[{index}]");
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.push(FieldError::required(
                path.clone(),
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (index, address) in list(subset, field).iter().enumerate() {
                let path = format!("{path}.{field}[{index}].ip");
                let ip = text(address, "ip");
                let wrong = names::ip(ip);
                if wrong.is_empty() {
                    errors.extend(special(ip, &path));
                }
                errors.extend(
                    wrong.iter().map(|wrong| FieldError::invalid(path.clone(), &ip.into(), wrong)),
                );
            }
        }
        let several = list(subset, "ports").len() > 1;
        for (index, port) in list(subset, "ports").iter().enumerate() {
            let path = format!("{path}.ports[{index}]");
            let name = text(port, "name");
            if name.is_empty() {
                if several {
                    errors.push(FieldError::required(format!("{path}.name"), ""));
                }
            } else {
                for wrong in names::label(name) {
                    errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
                }
            }
            let number = int(port, "port").unwrap_or(0);
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(format!("{path}.port"), &number.into(), &wrong));
            }
            errors.extend(protocol(port, &path));
        }
    }
    errors
}

fn protocol(port: &Value, path: &str) -> Option<FieldError> {
    let protocol = text(port, "protocol");
    let known = ["SCTP", "TCP", "UDP"];
    (!known.contains(&protocol))
        .then(|| FieldError::not_supported(format!("{path}.protocol"), &protocol.into(), &known))
}

/// Addresses that are no place in a network.
fn special(ip: &str, path: &str) -> Vec<FieldError> {
    let Ok(parsed) = ip.parse::<IpAddr>() else { return Vec::new() };
    let link_local = match parsed {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let multicast = match parsed {
        IpAddr::V4(v4) => v4.octets()[0] == 224 && v4.octets()[1] == 0 && v4.octets()[2] == 0,
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let mut errors = Vec::new();
    let mut say = |wrong: &str| errors.push(FieldError::invalid(path, &ip.into(), wrong));
    if parsed.is_unspecified() {
        say(&format!("may not be unspecified ({ip})"));
    }
    // Pods that share the machine's network have addresses of 127.0.0.0/8 beyond those that programs use themselves.
    let is_pod = matches!(parsed, IpAddr::V4(v4) if v4.is_loopback() && v4.octets()[1] != 0);
    if parsed.is_loopback() && !is_pod {
        say("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        say("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        say("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
    errors
}

fn validate_slice(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(object, "addressType");
    let known = ["FQDN", "IPv4", "IPv6"];
    if kind.is_empty() {
        errors.push(FieldError::required("addressType", ""));
    } else if !known.contains(&kind) {
        errors.push(FieldError::not_supported("addressType", &kind.into(), &known));
    }
    if list(object, "endpoints").len() > 1000 {
        errors.push(FieldError::too_many("endpoints", list(object, "endpoints").len(), 1000));
    }
    for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
        let path = format!("endpoints[{index}].addresses");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(path.clone(), "must contain at least 1 address"));
        } else if addresses.len() > 100 {
            errors.push(FieldError::too_many(path.clone(), addresses.len(), 100));
        }
        for (index, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or("");
            let one = format!("{path}[{index}]");
            match kind {
                "IPv4" if text.parse::<std::net::Ipv4Addr>().is_err() => {
                    errors.push(FieldError::invalid(
                        path.clone(),
                        address,
                        "must be an IPv4 address",
                    ));
                    errors.extend(special(text, &one));
                }
                "IPv6" if text.parse::<std::net::Ipv6Addr>().is_err() => {
                    errors.push(FieldError::invalid(
                        path.clone(),
                        address,
                        "must be an IPv6 address",
                    ));
                    errors.extend(special(text, &one));
                }
                "IPv4" | "IPv6" => errors.extend(special(text, &one)),
                "FQDN" => {
                    for wrong in names::subdomain(text) {
                        errors.push(FieldError::invalid(path.clone(), address, &wrong));
                    }
                }
                _ => {}
            }
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, port) in list(object, "ports").iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            for wrong in names::label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
            }
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        errors.extend(protocol(port, &path));
    }
    errors
}

fn validate_ingress(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let default = &spec["defaultBackend"];
    if list(spec, "rules").is_empty() && default.is_null() {
        errors.push(FieldError::invalid(
            "spec",
            &"".into(),
            "either `defaultBackend` or `rules` must be specified",
        ));
        // Kubernetes shows the list of rules it found.
        if let Some(error) = errors.last_mut() {
            error.message = error.message.replacen("\"\"", "[]", 1);
        }
    }
    if !default.is_null() {
        errors.extend(backend(default, "spec.defaultBackend"));
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        let host = text(rule, "host");
        if !host.is_empty() {
            if host.parse::<IpAddr>().is_ok() {
                errors.push(FieldError::invalid(
                    format!("{path}.host"),
                    &host.into(),
                    "must be a DNS name, not an IP address",
                ));
            } else {
                let wrong = if host.contains('*') {
                    names::wildcard_subdomain(host)
                } else {
                    names::subdomain(host)
                };
                errors.extend(
                    wrong.iter().map(|wrong| {
                        FieldError::invalid(format!("{path}.host"), &host.into(), wrong)
                    }),
                );
            }
        }
        if has(rule, "http") && list(&rule["http"], "paths").is_empty() {
            errors.push(FieldError::required(format!("{path}.http.paths"), ""));
        }
        for (index, http) in list(&rule["http"], "paths").iter().enumerate() {
            let path = format!("{path}.http.paths[{index}]");
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            let place = text(http, "path");
            match http.get("pathType").and_then(Value::as_str) {
                None | Some("") => {
                    errors.push(FieldError::required(
                        format!("{path}.pathType"),
                        "pathType must be specified",
                    ));
                }
                Some("Exact" | "Prefix") if !place.starts_with('/') => {
                    errors.push(FieldError::invalid(
                        format!("{path}.path"),
                        &place.into(),
                        "must be an absolute path",
                    ))
                }
                Some(kind) if !kinds.contains(&kind) => {
                    errors.push(FieldError::not_supported(
                        format!("{path}.pathType"),
                        &kind.into(),
                        &kinds,
                    ));
                }
                Some(_) => {}
            }
            errors.extend(backend(&http["backend"], &format!("{path}.backend")));
        }
    }
    errors
}

fn backend(backend: &Value, path: &str) -> Vec<FieldError> {
    let service = &backend["service"];
    if service.is_null() {
        if has(backend, "resource") {
            return Vec::new();
        }
        return vec![FieldError::invalid(
            path,
            &"".into(),
            "resource or service backend is required",
        )];
    }
    let mut errors = Vec::new();
    let name = text(service, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.service.name"), ""));
    } else {
        for wrong in names::label_1035(name) {
            errors.push(FieldError::invalid(format!("{path}.service.name"), &name.into(), &wrong));
        }
    }
    let port = &service["port"];
    let (named, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
    match (named.is_empty(), number) {
        (true, 0) => errors.push(FieldError::required(path, "port name or number is required")),
        (false, 0) => {
            for wrong in names::port_name(named) {
                errors.push(FieldError::invalid(
                    format!("{path}.service.port.name"),
                    &named.into(),
                    &wrong,
                ));
            }
        }
        (true, number) => {
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(
                    format!("{path}.service.port.number"),
                    &number.into(),
                    &wrong,
                ));
            }
        }
        (false, _) => errors.push(FieldError::invalid(
            path,
            &"".into(),
            "cannot set both port name & port number",
        )),
    }
    errors
}

fn validate_lease(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if let Some(seconds) = int(spec, "leaseDurationSeconds")
        && seconds <= 0
    {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &seconds.into(),
            "must be greater than 0",
        ));
    }
    if let Some(count) = int(spec, "leaseTransitions")
        && count < 0
    {
        errors.push(FieldError::invalid(
            "spec.leaseTransitions",
            &count.into(),
            "must be greater than or equal to 0",
        ));
    }
    if spec["holderIdentity"] == "" {
        errors.push(FieldError::invalid("spec.holderIdentity", &"".into(), "must not be empty"));
    }
    errors
}
