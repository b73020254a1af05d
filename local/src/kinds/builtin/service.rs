//! Services on their way in. Addresses and node ports are given out by the server.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/service/storage/storage.go`,
//! `pkg/apis/core/validation/validation.go`, `ValidateService`.

use serde_json::{Value, json};

use super::container_check;
use super::strategy::{PLAIN, Strategy};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, each, fill, flag, has, int, list, remove, text};
use crate::kinds::{meta, names};

pub(super) const SERVICE: Strategy = Strategy {
    default,
    prepare_create: |object| object["status"] = json!({"loadBalancer": {}}),
    prepare_update,
    validate,
    validate_update,
    ..PLAIN
};

fn default(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            remove(spec, "sessionAffinityConfig");
        }
        "ClientIP" => {
            fill(child(child(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800)
        }
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        fill(port, "protocol", "TCP");
        if matches!(&port["targetPort"], Value::Null)
            || port["targetPort"] == 0
            || port["targetPort"] == ""
        {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    // The first of the addresses has a name of its own.
    let first = list(spec, "clusterIPs").first().and_then(Value::as_str).unwrap_or("").to_owned();
    let single = text(spec, "clusterIP").to_owned();
    if single.is_empty() && !first.is_empty() {
        spec["clusterIP"] = first.into();
    } else if !single.is_empty() && first.is_empty() {
        spec["clusterIPs"] = json!([single]);
    }
}

/// A client that leaves addresses and node ports out keeps those that there are.
fn prepare_update(new: &mut Value, old: &Value) {
    let (before, kind) = (&old["spec"], text(&new["spec"], "type").to_owned());
    let spec = child(new, "spec");
    let was = text(before, "type");
    if kind == "ExternalName" {
        if was != "ExternalName" && text(spec, "clusterIP") == text(before, "clusterIP") {
            remove(spec, "clusterIP");
            remove(spec, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            remove(spec, field);
        }
    } else if was != "ExternalName" {
        if text(spec, "clusterIP").is_empty() && has(before, "clusterIP") {
            spec["clusterIP"] = before["clusterIP"].clone();
            if list(spec, "clusterIPs").is_empty() {
                spec["clusterIPs"] = before["clusterIPs"].clone();
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !has(spec, field) && has(before, field) {
                spec[field] = before[field].clone();
            }
        }
    }
    let takes_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if takes_ports(&kind) && takes_ports(was) {
        for port in each(spec, "ports") {
            if int(port, "nodePort").unwrap_or(0) == 0 {
                let same = list(before, "ports").iter().find(|old| {
                    old["port"] == port["port"]
                        && old["protocol"] == port["protocol"]
                        && has(old, "nodePort")
                });
                if let Some(same) = same {
                    port["nodePort"] = same["nodePort"].clone();
                }
            }
        }
    }
    if !takes_ports(&kind) && takes_ports(was) {
        for port in each(spec, "ports") {
            let unchanged =
                list(before, "ports").iter().any(|old| old["nodePort"] == port["nodePort"]);
            if unchanged {
                remove(port, "nodePort");
            }
        }
        if spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy") {
            remove(spec, "externalTrafficPolicy");
        }
    }
    if kind != "LoadBalancer" && was == "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if spec.get(field) == before.get(field) {
                remove(spec, field);
            }
        }
        new["status"] = json!({"loadBalancer": {}});
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let ports = list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            &"None".into(),
            &format!("may not be set to 'None' for {kind} services"),
        )),
        "ExternalName" => {
            if !list(spec, "clusterIPs").is_empty() {
                errors.push(FieldError::forbidden(
                    "spec.clusterIPs",
                    "may not be set for ExternalName services",
                ));
            }
            let name = text(spec, "externalName").trim_end_matches('.').to_owned();
            if name.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else {
                for wrong in names::subdomain(&name) {
                    errors.push(FieldError::invalid(
                        "spec.externalName",
                        &name.as_str().into(),
                        &wrong,
                    ));
                }
            }
        }
        _ => {}
    }
    let named = ports.len() > 1;
    let mut seen_names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        errors.extend(one_port(port, &path, named, &mut seen_names));
    }
    for (index, port) in ports.iter().enumerate() {
        let same =
            |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if ports[..index].iter().any(|other| same(&other)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port["protocol"], port["port"]
            );
            let mut error = FieldError::duplicate(format!("spec.ports[{index}]"), &"".into());
            error.message = error.message.replace("\"\"", &shown);
            errors.push(error);
        }
    }
    errors.extend(meta::labels(spec, "selector", "spec.selector"));
    if !["None", "ClientIP"].contains(&text(spec, "sessionAffinity")) {
        errors.push(FieldError::not_supported(
            "spec.sessionAffinity",
            &spec["sessionAffinity"],
            &["ClientIP", "None"],
        ));
    }
    if text(spec, "sessionAffinity") == "ClientIP" {
        let seconds =
            int(&spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds").unwrap_or(0);
        if !(1..=86400).contains(&seconds) {
            errors.push(FieldError::invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                &seconds.into(),
                &names::in_range(1, 86400),
            ));
        }
    }
    for (index, ip) in list(spec, "clusterIPs").iter().enumerate() {
        let text = ip.as_str().unwrap_or("");
        if text != "None" {
            for wrong in names::ip(text) {
                errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), ip, &wrong));
            }
        }
    }
    for (index, ip) in list(spec, "externalIPs").iter().enumerate() {
        for wrong in names::ip(ip.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(format!("spec.externalIPs[{index}]"), ip, &wrong));
        }
    }
    if !["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].contains(&kind) {
        errors.push(FieldError::not_supported(
            "spec.type",
            &kind.into(),
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    errors.extend(policies(spec, kind));
    errors
}

fn one_port<'a>(
    port: &'a Value,
    path: &str,
    named: bool,
    seen: &mut Vec<&'a str>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(port, "name");
    if name.is_empty() {
        if named {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
    } else {
        for wrong in names::label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
    }
    let number = int(port, "port").unwrap_or(0);
    for wrong in names::port_number(number) {
        errors.push(FieldError::invalid(format!("{path}.port"), &number.into(), &wrong));
    }
    let protocol = text(port, "protocol");
    if protocol.is_empty() {
        errors.push(FieldError::required(format!("{path}.protocol"), ""));
    } else if !["SCTP", "TCP", "UDP"].contains(&protocol) {
        errors.push(FieldError::not_supported(
            format!("{path}.protocol"),
            &protocol.into(),
            &["SCTP", "TCP", "UDP"],
        ));
    }
    errors.extend(container_check::port(&port["targetPort"], &format!("{path}.targetPort")));
    let application = text(port, "appProtocol");
    if !application.is_empty() {
        for wrong in names::qualified_name(application) {
            errors.push(FieldError::invalid(
                format!("{path}.appProtocol"),
                &application.into(),
                &wrong,
            ));
        }
    }
    errors
}

fn policies(spec: &Value, kind: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let external = text(spec, "externalTrafficPolicy");
    let reachable =
        matches!(kind, "NodePort" | "LoadBalancer") || !list(spec, "externalIPs").is_empty();
    if !external.is_empty() {
        if !reachable {
            errors.push(FieldError::invalid(
                "spec.externalTrafficPolicy",
                &external.into(),
                "may only be set for externally-accessible services",
            ));
        } else if !["Cluster", "Local"].contains(&external) {
            errors.push(FieldError::not_supported(
                "spec.externalTrafficPolicy",
                &external.into(),
                &["Cluster", "Local"],
            ));
        }
    }
    let internal = text(spec, "internalTrafficPolicy");
    if !internal.is_empty() && !["Cluster", "Local"].contains(&internal) {
        errors.push(FieldError::not_supported(
            "spec.internalTrafficPolicy",
            &internal.into(),
            &["Cluster", "Local"],
        ));
    }
    if kind != "LoadBalancer" {
        if flag(spec, "allocateLoadBalancerNodePorts") {
            errors.push(FieldError::forbidden(
                "spec.allocateLoadBalancerNodePorts",
                "may only be used when `type` is 'LoadBalancer'",
            ));
        }
        if has(spec, "loadBalancerClass") {
            errors.push(FieldError::forbidden(
                "spec.loadBalancerClass",
                "may only be used when `type` is 'LoadBalancer'",
            ));
        }
        if kind != "NodePort" {
            for (index, port) in list(spec, "ports").iter().enumerate() {
                if int(port, "nodePort").unwrap_or(0) != 0 {
                    errors.push(FieldError::forbidden(
                        format!("spec.ports[{index}].nodePort"),
                        "may not be used when `type` is 'ClusterIP'",
                    ));
                }
            }
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    let headless_without_selector = text(spec, "clusterIP") == "None" && !has(spec, "selector");
    if kind != "ExternalName" && !headless_without_selector {
        match policy {
            "RequireDualStack" => errors.push(FieldError::invalid(
                "spec.ipFamilyPolicy",
                &policy.into(),
                "this cluster is not configured for dual-stack services",
            )),
            "" | "SingleStack" | "PreferDualStack" => {}
            other => errors.push(FieldError::not_supported(
                "spec.ipFamilyPolicy",
                &other.into(),
                &["SingleStack", "PreferDualStack", "RequireDualStack"],
            )),
        }
        for (index, family) in list(spec, "ipFamilies").iter().enumerate() {
            let path = format!("spec.ipFamilies[{index}]");
            match family.as_str().unwrap_or("") {
                "IPv4" => {}
                "IPv6" => {
                    errors.push(FieldError::invalid(path, family, "not configured on this cluster"))
                }
                _ => errors.push(FieldError::not_supported(path, family, &["IPv4", "IPv6"])),
            }
        }
    }
    errors
}

fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, before) = (&new["spec"], &old["spec"]);
    let addressed =
        |spec: &Value| text(spec, "type") != "ExternalName" && !text(spec, "clusterIP").is_empty();
    if addressed(spec) && addressed(before) && text(spec, "clusterIP") != text(before, "clusterIP")
    {
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            &spec["clusterIP"],
            "may not change once set",
        ));
    }
    let class = "loadBalancerClass";
    if text(spec, "type") == "LoadBalancer"
        && text(before, "type") == "LoadBalancer"
        && spec.get(class) != before.get(class)
    {
        errors.push(FieldError::invalid(
            "spec.loadBalancerClass",
            &spec[class],
            "may not change once set",
        ));
    }
    errors.extend(validate(new));
    errors
}
