//! ResourceQuotas: a namespace has no more than its status says it may have.
//!
//! Source: k8s.io/apiserver `pkg/admission/plugin/resourcequota`, k8s.io/kubernetes `pkg/quota/v1/evaluator/core`.

use serde_json::{Value, json};

use super::Server;
use super::status::{Refusal, Status};
use crate::kinds::Kind;
use crate::schema::quantity;

/// A resource that is asked for beyond what is there: its name, what is asked for, used and allowed.
type Over = (String, i64, i64, i64);

/// Another writer may be faster; the quota is then read again.
const ATTEMPTS: usize = 10;

/// What a new object uses: names of quota resources with thousandths.
fn usage(kind: &Kind, object: &Value) -> Vec<(String, i64)> {
    let counted = if kind.group.is_empty() {
        format!("count/{}", kind.plural)
    } else {
        format!("count/{}.{}", kind.plural, kind.group)
    };
    let mut used = vec![(counted, 1000)];
    if !kind.group.is_empty() {
        return used;
    }
    match &*kind.plural {
        plural @ ("configmaps"
        | "secrets"
        | "services"
        | "persistentvolumeclaims"
        | "replicationcontrollers"
        | "resourcequotas") => {
            used.push((plural.to_owned(), 1000));
            match object["spec"]["type"].as_str().filter(|_| plural == "services") {
                Some("NodePort") => used.push(("services.nodeports".into(), 1000)),
                Some("LoadBalancer") => used.push(("services.loadbalancers".into(), 1000)),
                _ => {}
            }
        }
        "pods" => {
            used.push(("pods".into(), 1000));
            for container in object["spec"]["containers"].as_array().into_iter().flatten() {
                for (field, prefix) in [("requests", "requests."), ("limits", "limits.")] {
                    for (resource, amount) in
                        container["resources"][field].as_object().into_iter().flatten()
                    {
                        let text =
                            amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
                        let amount = quantity::parse(&text)
                            .map(quantity::Amount::thousandths)
                            .unwrap_or_default();
                        used.push((format!("{prefix}{resource}"), amount));
                        if field == "requests" {
                            used.push((resource.clone(), amount));
                        }
                    }
                }
            }
        }
        _ => {}
    }
    let mut sums: Vec<(String, i64)> = Vec::new();
    for (name, amount) in used {
        match sums.iter_mut().find(|(one, _)| *one == name) {
            Some((_, sum)) => *sum += amount,
            None => sums.push((name, amount)),
        }
    }
    sums
}

fn amount(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    quantity::parse(&text).map(quantity::Amount::thousandths).unwrap_or_default()
}

fn shown(thousandths: i64) -> String {
    quantity::canonical(&format!("{thousandths}m")).unwrap_or_default()
}

/// Refuses a new object that is too much, or counts it.
pub fn before_create(
    server: &Server,
    kind: &Kind,
    object: &Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() || server.store.count("/resourcequotas") == 0 {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let used = usage(kind, object);
    let Ok(page) = server.store.list("/resourcequotas", namespace, None) else { return Ok(()) };
    for quota in page.objects {
        count(server, kind, object, name, &quota.key, &used, dry_run)?;
    }
    Ok(())
}

fn count(
    server: &Server,
    kind: &Kind,
    object: &Value,
    name: &str,
    key: &str,
    used: &[(String, i64)],
    dry_run: bool,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Status::forbidden(&kind.group, &kind.plural, name, &why));
    for _ in 0..ATTEMPTS {
        let Some(quota) = server.store.get("/resourcequotas", key) else { return Ok(()) };
        let mut value = quota.value();
        let hard = value["status"]["hard"].clone();
        if let Some(missing) = unsaid(kind, object, &hard) {
            return refuse(format!("failed quota: {}: must specify {missing}", quota.name()));
        }
        let mut over: Vec<Over> = Vec::new();
        let mut changed = false;
        for (resource, more) in used {
            let Some(most) = hard.get(resource) else { continue };
            let before = amount(&value["status"]["used"][resource]);
            if before + more > amount(most) {
                over.push((resource.clone(), *more, before, amount(most)));
            }
            if !value["status"]["used"].is_object() {
                value["status"]["used"] = json!({});
            }
            value["status"]["used"][resource] = shown(before + more).into();
            changed = true;
        }
        if !over.is_empty() {
            over.sort();
            let list = |pick: fn(&Over) -> i64| {
                over.iter()
                    .map(|one| format!("{}={}", one.0, shown(pick(one))))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            let (requested, used, limited) =
                (list(|one| one.1), list(|one| one.2), list(|one| one.3));
            return refuse(format!(
                "exceeded quota: {}, requested: {requested}, used: {used}, limited: {limited}",
                quota.name()
            ));
        }
        if !changed
            || dry_run
            || server.store.update("/resourcequotas", key, &mut value, quota.revision).is_ok()
        {
            return Ok(());
        }
    }
    Err(Status::conflict("", "resourcequotas", key, super::create::CHANGED))
}

/// The compute resources that a quota limits and a pod's containers do not say.
fn unsaid(kind: &Kind, pod: &Value, hard: &Value) -> Option<String> {
    if !kind.group.is_empty() || &*kind.plural != "pods" {
        return None;
    }
    let mut missing: Vec<(String, Vec<&str>)> = Vec::new();
    for name in hard.as_object().into_iter().flatten().map(|(name, _)| name) {
        let (field, resource) = match name.split_once('.') {
            Some((field @ ("requests" | "limits"), resource)) => (field, resource),
            _ if matches!(name.as_str(), "cpu" | "memory") => ("requests", name.as_str()),
            _ => continue,
        };
        let silent: Vec<&str> = pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|container| container["resources"][field].get(resource).is_none())
            .filter_map(|container| container["name"].as_str())
            .collect();
        if !silent.is_empty() {
            missing.push((name.clone(), silent));
        }
    }
    missing.sort();
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.join(",")))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
