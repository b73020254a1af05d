//! ResourceQuotas: a namespace has no more than its status says it may have.
//!
//! Source: k8s.io/apiserver `pkg/admission/plugin/resourcequota`.

use serde_json::{Value, json};

use super::Server;
use super::status::{Refusal, Status};
use crate::kinds::Kind;
use crate::{quota, schema::quantity::Amount};

/// A resource that is asked for beyond what is there: its name, what is asked for, used and allowed.
type Over = (String, Amount, Amount, Amount);

/// Another writer may be faster; the quota is then read again.
const ATTEMPTS: usize = 10;

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
    let used = quota::usage(&kind.group, &kind.plural, object);
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
    used: &quota::Usage,
    dry_run: bool,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Status::forbidden(&kind.group, &kind.plural, name, &why));
    for _ in 0..ATTEMPTS {
        let Some(quota) = server.store.get("/resourcequotas", key) else { return Ok(()) };
        let mut value = quota.value();
        if !quota::applies(&value, &kind.group, &kind.plural, object) {
            return Ok(());
        }
        let hard = value["status"]["hard"].clone();
        if let Some(missing) = unsaid(kind, object, &hard) {
            return refuse(format!("failed quota: {}: must specify {missing}", quota.name()));
        }
        let mut over: Vec<Over> = Vec::new();
        let mut changed = false;
        for (resource, more) in used {
            let Some(most) = hard.get(resource) else { continue };
            let before = quota::amount(&value["status"]["used"][resource]);
            let most = quota::amount(most);
            let after = before.plus(*more);
            if after > most && *more > Amount::ZERO {
                over.push((resource.clone(), *more, before, most));
            }
            if !value["status"]["used"].is_object() {
                value["status"]["used"] = json!({});
            }
            value["status"]["used"][resource] = after.to_string().into();
            changed = true;
        }
        if !over.is_empty() {
            let list = |pick: fn(&Over) -> Amount| {
                over.iter()
                    .map(|one| format!("{}={}", one.0, pick(one)))
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
            Some((field @ ("requests" | "limits"), resource @ ("cpu" | "memory"))) => {
                (field, resource)
            }
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
