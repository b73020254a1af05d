//! What objects use of the ResourceQuotas of their namespace.
//!
//! Pure: from objects to quantities.
//! Source: k8s.io/kubernetes `pkg/quota/v1/evaluator/core`, k8s.io/apiserver `pkg/quota/v1/generic`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use crate::{
    demand,
    schema::quantity::{self, Amount},
};

/// Amounts by the name of a quota's resource.
pub type Usage = BTreeMap<String, Amount>;

/// Group and plural of a kind of objects.
pub type Counted = (String, String);

/// Kinds of which a quota counts objects by their plural alone.
const PLAIN: &[&str] = &[
    "configmaps",
    "secrets",
    "services",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "pods",
];
/// Between a storage class and what a quota allows of it.
const CLASS: &str = ".storageclass.storage.k8s.io/";

/// The kinds of objects that a quota's resources are used by.
pub fn counted<'a>(hard: impl Iterator<Item = &'a String>) -> BTreeSet<Counted> {
    let kind = |name: &'a String| {
        if let Some(name) = name.strip_prefix("count/") {
            let (plural, group) = name.split_once('.').unwrap_or((name, ""));
            return (group.to_owned(), plural.to_owned());
        }
        let plural = match name.as_str() {
            "services.nodeports" | "services.loadbalancers" => "services",
            "requests.storage" => "persistentvolumeclaims",
            name if name.contains(CLASS) => "persistentvolumeclaims",
            name if PLAIN.contains(&name) => name,
            _ => "pods",
        };
        (String::new(), plural.to_owned())
    };
    hard.map(kind).collect()
}

/// What an object uses, of whatever quotas there may be.
pub fn usage(group: &str, plural: &str, object: &Value) -> Usage {
    let name = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let mut used = Usage::from([(format!("count/{name}"), whole(1))]);
    if !group.is_empty() || !PLAIN.contains(&plural) || plural == "pods" && is_over(object) {
        return used;
    }
    used.insert(plural.to_owned(), whole(1));
    match (plural, object["spec"]["type"].as_str()) {
        ("services", Some("NodePort")) => {
            used.insert("services.nodeports".into(), whole(ports(object)));
        }
        ("services", Some("LoadBalancer")) => {
            used.insert("services.loadbalancers".into(), whole(1));
            let are_open = object["spec"]["allocateLoadBalancerNodePorts"] != false;
            let ports = if are_open { ports(object) } else { 0 };
            used.insert("services.nodeports".into(), whole(ports));
        }
        ("persistentvolumeclaims", _) => claim(object, &mut used),
        ("pods", _) => pod(object, &mut used),
        _ => {}
    }
    used
}

/// Whether a quota is about the object, by its scopes.
pub fn applies(quota: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let scopes = spec["scopes"].as_array().into_iter().flatten();
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let mut all = scopes
        .filter_map(|scope| Some((scope.as_str()?, &Value::Null)))
        .chain(selected.filter_map(|it| Some((it["scopeName"].as_str()?, it))))
        .peekable();
    if all.peek().is_none() {
        return true;
    }
    if !group.is_empty() || plural != "pods" {
        // Only pods have scopes; no other object is in one.
        return false;
    }
    all.all(|(scope, expression)| is_in_scope(object, scope, expression))
}

fn is_in_scope(pod: &Value, scope: &str, expression: &Value) -> bool {
    let ends = pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|it| it >= 0);
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => asks_for_nothing(pod),
        "NotBestEffort" => !asks_for_nothing(pod),
        "PriorityClass" => {
            let class = pod["spec"]["priorityClassName"].as_str();
            let values = expression["values"].as_array().into_iter().flatten();
            let is_named = values.filter_map(Value::as_str).any(|it| Some(it) == class);
            match expression["operator"].as_str() {
                Some("In") => is_named,
                Some("NotIn") => !is_named,
                Some("DoesNotExist") => class.is_none(),
                _ => class.is_some(),
            }
        }
        _ => false,
    }
}

fn asks_for_nothing(pod: &Value) -> bool {
    let lists = ["initContainers", "containers"];
    let mut all = lists.iter().flat_map(|it| pod["spec"][it].as_array().into_iter().flatten());
    let asks = |container: &Value| {
        ["requests", "limits"].iter().any(|field| {
            ["cpu", "memory"]
                .iter()
                .any(|it| amount(&container["resources"][field][it]) > Amount::ZERO)
        })
    };
    !all.any(asks)
}

fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn pod(pod: &Value, used: &mut Usage) {
    // A pod that does not parse was refused before it came here.
    let spec = serde_json::from_value::<PodSpec>(pod["spec"].clone()).unwrap_or_default();
    for (name, amount) in demand::requests(&spec, &|_| false) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in demand::limits(&spec) {
        used.insert(format!("limits.{name}"), amount);
    }
}

fn claim(claim: &Value, used: &mut Usage) {
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    let storage = (!asked.is_null()).then(|| amount(asked));
    used.extend(storage.map(|it| ("requests.storage".to_owned(), it)));
    let class = claim["spec"]["storageClassName"].as_str().filter(|it| !it.is_empty());
    if let Some(class) = class {
        used.insert(format!("{class}{CLASS}persistentvolumeclaims"), whole(1));
        used.extend(storage.map(|it| (format!("{class}{CLASS}requests.storage"), it)));
    }
}

fn ports(service: &Value) -> usize {
    service["spec"]["ports"].as_array().map_or(0, Vec::len)
}

fn whole(count: usize) -> Amount {
    quantity::parse(&count.to_string()).unwrap_or(Amount::ZERO)
}

/// The amount of a quantity in an object; zero when there is none.
pub fn amount(quantity: &Value) -> Amount {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    quantity::parse(&text).unwrap_or(Amount::ZERO)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_use_what_they_are_and_ask_for() {
        #[track_caller]
        fn check(group: &str, plural: &str, object: Value, expected: Value) {
            let used = usage(group, plural, &object);
            let used: Value =
                used.into_iter().map(|(name, it)| (name, json!(it.to_string()))).collect();
            assert_eq!(used, expected, "{plural} {object}");
        }
        check("", "configmaps", json!({}), json!({"count/configmaps": "1", "configmaps": "1"}));
        check("apps", "deployments", json!({}), json!({"count/deployments.apps": "1"}));
        let container = json!({"name": "c", "resources": {
            "requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "1"},
        }});
        check(
            "",
            "pods",
            json!({"spec": {"containers": [container, container]}}),
            json!({
                "count/pods": "1", "pods": "1", "cpu": "400m", "requests.cpu": "400m",
                "memory": "2Gi", "requests.memory": "2Gi", "limits.cpu": "2",
            }),
        );
        check(
            "",
            "pods",
            json!({"spec": {"containers": [container]}, "status": {"phase": "Succeeded"}}),
            json!({"count/pods": "1"}),
        );
        check(
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
            json!({
                "count/services": "1", "services": "1",
                "services.loadbalancers": "1", "services.nodeports": "2",
            }),
        );
        check(
            "",
            "persistentvolumeclaims",
            json!({"spec": {
                "storageClassName": "standard", "resources": {"requests": {"storage": "2Gi"}},
            }}),
            json!({
                "count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1",
                "requests.storage": "2Gi",
                "standard.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
                "standard.storageclass.storage.k8s.io/requests.storage": "2Gi",
            }),
        );
    }

    #[test]
    fn a_quota_names_the_kinds_that_it_counts() {
        let check = |name: &str, group: &str, plural: &str| {
            let found = counted([name.to_owned()].iter());
            assert_eq!(found, BTreeSet::from([(group.to_owned(), plural.to_owned())]), "{name}");
        };
        check("requests.cpu", "", "pods");
        check("pods", "", "pods");
        check("secrets", "", "secrets");
        check("services.nodeports", "", "services");
        check("requests.storage", "", "persistentvolumeclaims");
        check("fast.storageclass.storage.k8s.io/requests.storage", "", "persistentvolumeclaims");
        check("count/services.serving.knative.dev", "serving.knative.dev", "services");
        check("count/pods", "", "pods");
    }

    #[test]
    fn a_quota_with_scopes_is_about_some_pods() {
        let check = |spec: Value, pod: Value, expected: bool| {
            let quota = json!({ "spec": spec });
            let pod = json!({ "spec": pod });
            assert_eq!(applies(&quota, "", "pods", &pod), expected, "{quota} {pod}");
            assert!(!applies(&quota, "", "secrets", &json!({})), "{quota}");
        };
        let idle = json!({"containers": [{"name": "c"}]});
        let busy = json!({
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}],
            "activeDeadlineSeconds": 5, "priorityClassName": "high",
        });
        check(json!({"scopes": ["BestEffort"]}), idle.clone(), true);
        check(json!({"scopes": ["BestEffort"]}), busy.clone(), false);
        check(json!({"scopes": ["Terminating", "NotBestEffort"]}), busy.clone(), true);
        check(json!({"scopes": ["NotTerminating"]}), busy.clone(), false);
        let class = |operator: &str| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]},
            ]}})
        };
        check(class("In"), busy.clone(), true);
        check(class("NotIn"), busy, false);
        check(class("Exists"), idle.clone(), false);
        check(class("NotIn"), idle, true);
    }
}
