//! The rows of kinds that need more than a few fields.
//!
//! Pure: an object in, cells out.
//! Source: Kubernetes' `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, images, moment, names, or_none, selector_text, span};
use crate::kinds::walk::{entries, flag, has, int, list, text};

pub(super) fn node(node: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&node["spec"], &node["status"]);
    let ready =
        list(status, "conditions").iter().find(|condition| text(condition, "type") == "Ready");
    let mut words = vec![match ready.map(|condition| text(condition, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if flag(spec, "unschedulable") {
        words.push("SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in entries(&node["metadata"], "labels") {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.push(value.as_str().unwrap_or(""));
        }
    }
    roles.sort_unstable();
    let address = |kind: &str| {
        let found = list(status, "addresses").iter().find(|address| text(address, "type") == kind);
        or_none(found.map_or("", |address| text(address, "address")))
    };
    let info = &status["nodeInfo"];
    let or_unknown = |field: &str| match text(info, field) {
        "" => "<unknown>".to_owned(),
        known => known.to_owned(),
    };
    let kernel = match text(info, "architecture") {
        "" => or_unknown("kernelVersion"),
        architecture => format!("{} ({architecture})", or_unknown("kernelVersion")),
    };
    vec![
        node["metadata"]["name"].clone(),
        words.join(",").into(),
        or_none(&roles.join(",")),
        age,
        text(info, "kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown("osImage").into(),
        kernel.into(),
        or_unknown("containerRuntimeVersion").into(),
    ]
}

pub(super) fn service(service: &Value, age: Value) -> Vec<Value> {
    let spec = &service["spec"];
    let kind = text(spec, "type");
    let internal = match list(spec, "clusterIPs").first().and_then(Value::as_str) {
        Some(first) => first,
        None => match text(spec, "clusterIP") {
            "" => "<none>",
            ip => ip,
        },
    };
    let externals: Vec<&str> = list(spec, "externalIPs").iter().filter_map(Value::as_str).collect();
    let external = match kind {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let mut found: Vec<&str> = list(&service["status"]["loadBalancer"], "ingress")
                .iter()
                .map(|ingress| match text(ingress, "ip") {
                    "" => text(ingress, "hostname"),
                    ip => ip,
                })
                .collect();
            found.extend(&externals);
            if found.is_empty() { "<pending>".to_owned() } else { found.join(",") }
        }
        _ if externals.is_empty() => "<none>".to_owned(),
        _ => externals.join(","),
    };
    let ports: Vec<String> = list(spec, "ports")
        .iter()
        .map(|port| match int(port, "nodePort").unwrap_or(0) {
            0 => format!("{}/{}", port["port"], text(port, "protocol")),
            node => format!("{}:{node}/{}", port["port"], text(port, "protocol")),
        })
        .collect();
    vec![
        service["metadata"]["name"].clone(),
        kind.into(),
        internal.into(),
        external.into(),
        or_none(&ports.join(",")),
        age,
        super::map_text(&spec["selector"]).into(),
    ]
}

/// The first three addresses with their ports, and how many more there are.
pub(super) fn endpoints(object: &Value) -> String {
    let mut found: Vec<String> = Vec::new();
    let mut count = 0;
    for subset in list(object, "subsets") {
        let addresses = list(subset, "addresses");
        let ports = list(subset, "ports");
        for address in addresses {
            let ip = text(address, "ip");
            let each: Vec<String> = if ports.is_empty() {
                vec![ip.to_owned()]
            } else {
                ports.iter().map(|port| join(ip, &port["port"])).collect()
            };
            for one in each {
                count += 1;
                if found.len() < 3 {
                    found.push(one);
                }
            }
        }
    }
    match count {
        0 => "<none>".to_owned(),
        count if count > found.len() => {
            format!("{} + {} more...", found.join(","), count - found.len())
        }
        _ => found.join(","),
    }
}

fn join(ip: &str, port: &Value) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(super) fn slice(object: &Value, age: Value) -> Vec<Value> {
    let some = |all: Vec<String>| match all.len() {
        0 => "<unset>".to_owned(),
        count if count > 3 => format!("{} + {} more...", all[..3].join(","), count - 3),
        _ => all.join(","),
    };
    let ports = list(object, "ports").iter().map(|port| match int(port, "port") {
        Some(number) => number.to_string(),
        None => match text(port, "name") {
            "" => "*".to_owned(),
            name => name.to_owned(),
        },
    });
    let addresses =
        list(object, "endpoints").iter().flat_map(|endpoint| list(endpoint, "addresses"));
    let addresses = addresses.filter_map(|address| Some(address.as_str()?.to_owned()));
    vec![
        object["metadata"]["name"].clone(),
        text(object, "addressType").into(),
        some(ports.collect()).into(),
        some(addresses.collect()).into(),
        age,
    ]
}

pub(super) fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let happened = moment(&event["eventTime"]);
    let first = moment(&event["firstTimestamp"]).or(happened);
    let series = &event["series"];
    let last =
        moment(&series["lastObservedTime"]).or_else(|| moment(&event["lastTimestamp"])).or(first);
    let ago = |when: Option<Timestamp>| {
        json!(when.map_or_else(|| "<unknown>".to_owned(), |then| age(now, then)))
    };
    let object = &event["involvedObject"];
    let subject = match text(object, "name") {
        "" => text(object, "kind").to_lowercase(),
        name => format!("{}/{name}", text(object, "kind").to_lowercase()),
    };
    let source = &event["source"];
    let component = match text(source, "component") {
        "" => text(event, "reportingComponent"),
        component => component,
    };
    let host = match text(source, "host") {
        "" => text(event, "reportingInstance"),
        host => host,
    };
    let source =
        if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let count = int(series, "count").or_else(|| int(event, "count")).unwrap_or(0).max(1);
    vec![
        ago(last),
        text(event, "type").into(),
        text(event, "reason").into(),
        subject.into(),
        text(object, "fieldPath").into(),
        source.into(),
        text(event, "message").trim().into(),
        ago(first),
        count.to_string().into(),
        event["metadata"]["name"].clone(),
    ]
}

pub(super) fn job(job: &Value, now: Timestamp, age: Value) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let succeeded = int(status, "succeeded").unwrap_or(0);
    let completions = match (int(spec, "completions"), int(spec, "parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = match (moment(&status["startTime"]), moment(&status["completionTime"])) {
        (None, _) => String::new(),
        (Some(start), end) => span(end.unwrap_or(now).as_second() - start.as_second()),
    };
    let is = |kind: &str| {
        list(status, "conditions")
            .iter()
            .any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    let word = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if has(&job["metadata"], "deletionTimestamp") {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let template = &spec["template"]["spec"];
    vec![
        job["metadata"]["name"].clone(),
        word.into(),
        completions.into(),
        duration.into(),
        age,
        names(template),
        images(template),
        selector_text(&spec["selector"]),
    ]
}

pub(super) fn autoscaler(object: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let metrics = list(spec, "metrics");
    let mut shown: Vec<String> = Vec::new();
    for (at, metric) in metrics.iter().take(2).enumerate() {
        let current = list(status, "currentMetrics").get(at).unwrap_or(&Value::Null);
        shown.push(metric_text(metric, current));
    }
    let targets = match (metrics.len(), shown.as_slice()) {
        (0, _) => match int(spec, "targetCPUUtilizationPercentage") {
            Some(percent) => match int(status, "currentCPUUtilizationPercentage") {
                Some(now) => format!("cpu: {now}%/{percent}%"),
                None => format!("cpu: <unknown>/{percent}%"),
            },
            None => "<none>".to_owned(),
        },
        (count, shown) if count > 2 => format!("{} + {} more...", shown.join(", "), count - 2),
        (_, shown) => shown.join(", "),
    };
    let least =
        int(spec, "minReplicas").map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
    vec![
        object["metadata"]["name"].clone(),
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        targets.into(),
        least.into(),
        int(spec, "maxReplicas").unwrap_or(0).into(),
        int(status, "currentReplicas").unwrap_or(0).into(),
        age,
    ]
}

fn metric_text(metric: &Value, current: &Value) -> String {
    let kind = text(metric, "type");
    let field = kind[..1.min(kind.len())].to_lowercase() + kind.get(1..).unwrap_or("");
    let (wanted, found) = (&metric[&field], &current[&field]["current"]);
    let target = &wanted["target"];
    let amount =
        |object: &Value, field: &str| object.get(field).and_then(Value::as_str).map(str::to_owned);
    let unknown = || "<unknown>".to_owned();
    match kind {
        "Resource" | "ContainerResource" => {
            let name = text(wanted, "name");
            match int(target, "averageUtilization") {
                Some(percent) => {
                    let now = int(found, "averageUtilization")
                        .map_or_else(unknown, |now| format!("{now}%"));
                    format!("{name}: {now}/{percent}%")
                }
                None => {
                    let now = amount(found, "averageValue").unwrap_or_else(unknown);
                    format!("{name}: {now}/{}", amount(target, "averageValue").unwrap_or_default())
                }
            }
        }
        _ => {
            let (field, suffix) = if has(target, "averageValue") {
                ("averageValue", " (avg)")
            } else {
                ("value", "")
            };
            let suffix = if kind == "Pods" { "" } else { suffix };
            let now = amount(found, field).unwrap_or_else(unknown);
            format!("{now}/{}{suffix}", amount(target, field).unwrap_or_default())
        }
    }
}

pub(super) fn ingress(ingress: &Value, age: Value) -> Vec<Value> {
    let spec = &ingress["spec"];
    let class = or_none(text(spec, "ingressClassName"));
    let hosts: Vec<&str> = list(spec, "rules")
        .iter()
        .map(|rule| text(rule, "host"))
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = match hosts.len() {
        0 => "*".to_owned(),
        count if count > 3 => format!("{} + {} more...", hosts[..3].join(","), count - 3),
        _ => hosts.join(","),
    };
    let addresses: Vec<&str> = list(&ingress["status"]["loadBalancer"], "ingress")
        .iter()
        .map(|address| match text(address, "ip") {
            "" => text(address, "hostname"),
            ip => ip,
        })
        .collect();
    let ports = if list(spec, "tls").is_empty() { "80" } else { "80, 443" };
    vec![
        ingress["metadata"]["name"].clone(),
        class,
        hosts.into(),
        addresses.join(",").into(),
        ports.into(),
        age,
    ]
}

fn modes(object: &Value, field: &str) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or("") {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    list(object, field).iter().map(short).collect::<Vec<_>>().join(",")
}

pub(super) fn claim(claim: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let deleted = has(&claim["metadata"], "deletionTimestamp");
    let phase = if deleted { "Terminating" } else { text(status, "phase") };
    let bound = !text(spec, "volumeName").is_empty();
    let (capacity, modes) = if bound {
        (
            status["capacity"]["storage"].as_str().unwrap_or("0").to_owned(),
            modes(status, "accessModes"),
        )
    } else {
        (String::new(), String::new())
    };
    let or_unset =
        |text: &str| if text.is_empty() { "<unset>".to_owned() } else { text.to_owned() };
    vec![
        claim["metadata"]["name"].clone(),
        phase.into(),
        text(spec, "volumeName").into(),
        capacity.into(),
        modes.into(),
        text(spec, "storageClassName").into(),
        or_unset(text(spec, "volumeAttributesClassName")).into(),
        age,
        or_unset(text(spec, "volumeMode")).into(),
    ]
}

pub(super) fn volume(volume: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let claim = match text(&spec["claimRef"], "name") {
        "" => String::new(),
        name => format!("{}/{name}", text(&spec["claimRef"], "namespace")),
    };
    let or_unset =
        |text: &str| if text.is_empty() { "<unset>".to_owned() } else { text.to_owned() };
    vec![
        volume["metadata"]["name"].clone(),
        text(&spec["capacity"], "storage").into(),
        modes(spec, "accessModes").into(),
        text(spec, "persistentVolumeReclaimPolicy").into(),
        if has(&volume["metadata"], "deletionTimestamp") {
            "Terminating".into()
        } else {
            text(status, "phase").into()
        },
        claim.into(),
        text(spec, "storageClassName").into(),
        or_unset(text(spec, "volumeAttributesClassName")).into(),
        text(status, "reason").into(),
        age,
        or_unset(text(spec, "volumeMode")).into(),
    ]
}

pub(super) fn quota(quota: &Value, age: Value) -> Vec<Value> {
    let status = &quota["status"];
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in entries(status, "hard") {
        let used = status["used"][name].as_str().unwrap_or("0");
        let one = format!("{name}: {used}/{}", hard.as_str().unwrap_or("0"));
        if name.starts_with("limits") { limits.push(one) } else { requests.push(one) }
    }
    vec![
        quota["metadata"]["name"].clone(),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age,
    ]
}

pub(super) fn binding(binding: &Value, age: Value) -> Vec<Value> {
    let role = &binding["roleRef"];
    let of = |kind: &str| {
        let subjects =
            list(binding, "subjects").iter().filter(|subject| text(subject, "kind") == kind);
        let names = subjects.map(|subject| match (kind, text(subject, "namespace")) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => {
                format!("{namespace}/{}", text(subject, "name"))
            }
            _ => text(subject, "name").to_owned(),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        binding["metadata"]["name"].clone(),
        format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
        age,
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}
