//! The columns that `kubectl get` shows of the built-in kinds, and what stands in them.
//!
//! Pure: an object and the time in, cells out.
//! Source: Kubernetes' `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CREATED, NAME};
use crate::kinds::Column;
use crate::kinds::walk::{entries, flag, int, list, text};

mod pods;
mod rest;

/// The columns of every kind that has its own.
const COLUMNS: &str = include_str!("columns.txt");

/// The columns of a kind.
pub(in crate::kinds) fn columns(kind: &str) -> Vec<Column> {
    let mut lines = COLUMNS
        .lines()
        .skip_while(|line| *line != kind)
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .peekable();
    if lines.peek().is_none() {
        return columns("Role");
    }
    lines.filter_map(column).collect()
}

fn column(line: &str) -> Option<Column> {
    let mut parts = line[1..].splitn(4, '|');
    let (name, kind, priority, description) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let description = match description {
        "^" => NAME.to_owned(),
        "@" => CREATED.to_owned(),
        other => other.replace("\\n", "\n"),
    };
    Some(Column {
        name: name.into(),
        kind: kind.into(),
        format: if name == "Name" { "name".into() } else { "".into() },
        description: description.into(),
        priority: priority.parse().ok()?,
    })
}

/// The cells of an object, as many as its kind has columns.
pub(in crate::kinds) fn row(kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let name = object["metadata"]["name"].clone();
    let age = json!(age_of(object, now));
    let number = |object: &Value, field: &str| int(object, field).unwrap_or(0);
    let template = &spec["template"]["spec"];
    match kind {
        "Pod" => pods::row(object, now),
        "Namespace" => vec![name, text(status, "phase").into(), age],
        "Node" => rest::node(object, age),
        "ConfigMap" => {
            let count = entries(object, "data").count() + entries(object, "binaryData").count();
            vec![name, count.into(), age]
        }
        "Secret" => {
            vec![name, text(object, "type").into(), entries(object, "data").count().into(), age]
        }
        "ServiceAccount" => vec![name, age],
        "Service" => rest::service(object, age),
        "Endpoints" => vec![name, rest::endpoints(object).into(), age],
        "EndpointSlice" => rest::slice(object, age),
        "Event" => rest::event(object, now),
        "Deployment" => {
            let ready = format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas"));
            let counts = [number(status, "updatedReplicas"), number(status, "availableReplicas")];
            let selector = selector_text(&spec["selector"]);
            vec![
                name,
                ready.into(),
                counts[0].into(),
                counts[1].into(),
                age,
                names(template),
                images(template),
                selector,
            ]
        }
        "ReplicaSet" | "ReplicationController" => {
            let counts = [
                number(spec, "replicas"),
                number(status, "replicas"),
                number(status, "readyReplicas"),
            ];
            let selector = if kind == "ReplicaSet" {
                selector_text(&spec["selector"])
            } else {
                map_text(&spec["selector"]).into()
            };
            vec![
                name,
                counts[0].into(),
                counts[1].into(),
                counts[2].into(),
                age,
                names(template),
                images(template),
                selector,
            ]
        }
        "StatefulSet" => {
            let ready = format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas"));
            vec![name, ready.into(), age, names(template), images(template)]
        }
        "DaemonSet" => {
            let counts = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ];
            let mut cells = vec![name];
            cells.extend(counts.map(|field| json!(number(status, field))));
            let selector = selector_text(&spec["selector"]);
            cells.extend([
                map_text(&template["nodeSelector"]).into(),
                age,
                names(template),
                images(template),
                selector,
            ]);
            cells
        }
        "Job" => rest::job(object, now, age),
        "CronJob" => {
            let zone = match text(spec, "timeZone") {
                "" => "<none>",
                zone => zone,
            };
            let last = match moment(&status["lastScheduleTime"]) {
                Some(moment) => self::age(now, moment),
                None => "<none>".to_owned(),
            };
            let suspended = if flag(spec, "suspend") { "True" } else { "False" };
            let template = &spec["jobTemplate"]["spec"];
            vec![
                name,
                text(spec, "schedule").into(),
                zone.into(),
                suspended.into(),
                list(status, "active").len().into(),
                last.into(),
                age,
                names(&template["template"]["spec"]),
                images(&template["template"]["spec"]),
                selector_text(&template["selector"]),
            ]
        }
        "HorizontalPodAutoscaler" => rest::autoscaler(object, age),
        "NodeMetrics" | "PodMetrics" => {
            let total = |resource: &str| -> Value {
                let whole = [object];
                let containers = list(object, "containers").iter();
                let amounts =
                    containers.chain(whole.into_iter().filter(|it| it["usage"].is_object()));
                let amounts = amounts.filter_map(|it| it["usage"][resource].as_str());
                amounts
                    .filter_map(|it| api::quantity::Amount::parse(it).ok())
                    .reduce(|a, b| a + b)
                    .map_or(Value::Null, |it| it.canonical().into())
            };
            vec![name, total("cpu"), total("memory"), text(object, "window").into()]
        }
        "PodDisruptionBudget" => {
            let shown = |field: &str| match &spec[field] {
                Value::Null => "N/A".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            vec![
                name,
                shown("minAvailable").into(),
                shown("maxUnavailable").into(),
                number(status, "disruptionsAllowed").into(),
                age,
            ]
        }
        "Ingress" => rest::ingress(object, age),
        "IngressClass" => {
            let parameters = match text(&spec["parameters"], "kind") {
                "" => "<none>".to_owned(),
                kind => format!(
                    "{kind}.{}/{}",
                    text(&spec["parameters"], "apiGroup"),
                    text(&spec["parameters"], "name")
                ),
            };
            vec![name, text(spec, "controller").into(), parameters.into(), age]
        }
        "NetworkPolicy" => vec![name, selector_text(&spec["podSelector"]), age],
        "Lease" => vec![name, text(spec, "holderIdentity").into(), age],
        "PersistentVolumeClaim" => rest::claim(object, age),
        "PersistentVolume" => rest::volume(object, age),
        "ResourceQuota" => rest::quota(object, age),
        "RoleBinding" | "ClusterRoleBinding" => rest::binding(object, age),
        "PriorityClass" => vec![
            name,
            object["value"].clone(),
            flag(object, "globalDefault").into(),
            age,
            text(object, "preemptionPolicy").into(),
        ],
        "StorageClass" => {
            let expands = flag(object, "allowVolumeExpansion");
            let annotations = &object["metadata"]["annotations"];
            let is_default = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"]
                .iter()
                .any(|it| text(annotations, &format!("{it}/is-default-class")) == "true");
            let mark = if is_default { " (default)" } else { "" };
            vec![
                format!("{}{mark}", text(&object["metadata"], "name")).into(),
                text(object, "provisioner").into(),
                text(object, "reclaimPolicy").into(),
                text(object, "volumeBindingMode").into(),
                expands.into(),
                age,
            ]
        }
        "ControllerRevision" => {
            let owner = list(&object["metadata"], "ownerReferences")
                .iter()
                .find(|owner| flag(owner, "controller"));
            let owner = owner.map_or_else(
                || "<none>".to_owned(),
                |owner| {
                    let kind = text(owner, "kind").to_lowercase();
                    match text(owner, "apiVersion").split_once('/') {
                        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
                        None => format!("{kind}/{}", text(owner, "name")),
                    }
                },
            );
            vec![name, owner.into(), object["revision"].clone(), age]
        }
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            vec![name, list(object, "webhooks").len().into(), age]
        }
        "PodTemplate" => {
            let template = &object["template"];
            vec![
                name,
                names(&template["spec"]),
                images(&template["spec"]),
                map_text(&template["metadata"]["labels"]).into(),
            ]
        }
        _ => vec![name, object["metadata"]["creationTimestamp"].clone()],
    }
}

/// How long ago, in the two largest units that say something: `5s`, `3m20s`, `47h`, `2y324d`.
///
/// Source: k8s.io/apimachinery `pkg/util/duration`.
pub(in crate::kinds) fn age(now: Timestamp, then: Timestamp) -> String {
    span(now.as_second() - then.as_second())
}

/// A span of seconds in words.
fn span(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let years = days / 365;
    let pair = |whole: i64, unit: char, rest: i64, small: char| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    match seconds {
        s if s < 120 => format!("{s}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => pair(days, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => pair(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

fn age_of(object: &Value, now: Timestamp) -> String {
    moment(&object["metadata"]["creationTimestamp"])
        .map_or_else(|| "<unknown>".to_owned(), |then| age(now, then))
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A map as `a=b,c=d`.
fn map_text(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A label selector in one line.
fn selector_text(selector: &Value) -> Value {
    let mut parts: Vec<String> = entries(selector, "matchLabels")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    for requirement in list(selector, "matchExpressions") {
        let key = text(requirement, "key");
        let values: Vec<&str> =
            list(requirement, "values").iter().filter_map(Value::as_str).collect();
        parts.push(match text(requirement, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.sort();
    if parts.is_empty() { "<none>".into() } else { parts.join(",").into() }
}

fn names(spec: &Value) -> Value {
    let names: Vec<&str> =
        list(spec, "containers").iter().map(|container| text(container, "name")).collect();
    names.join(",").into()
}

fn images(spec: &Value) -> Value {
    let images: Vec<&str> =
        list(spec, "containers").iter().map(|container| text(container, "image")).collect();
    images.join(",").into()
}

fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_long_ago_as_kubectl_does() {
        for (seconds, said) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10799, "179m"),
            (10800, "3h"),
            (11100, "3h5m"),
            (28800, "8h"),
            (172799, "47h"),
            (172800, "2d"),
            (176400, "2d1h"),
            (691200, "8d"),
            (63072000, "2y"),
            (63158400, "2y1d"),
            (252288000, "8y"),
        ] {
            assert_eq!(span(seconds), said, "{seconds}");
        }
    }

    #[test]
    fn every_kind_has_a_cell_for_each_column() {
        for line in COLUMNS.lines().filter(|line| !line.starts_with([' ', '#'])) {
            let cells = row(line, &json!({}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), columns(line).len(), "{line}");
        }
    }
}
