//! The row of a pod: how many containers are ready, and one word for how it is.
//!
//! Pure: an object and the time in, cells out.
//! Source: Kubernetes' `pkg/printers/internalversion/printers.go`, `printPod`.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, age_of, moment, or_none};
use crate::kinds::walk::{flag, has, int, list, text};

pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecars: Vec<&str> = list(spec, "initContainers")
        .iter()
        .filter(|container| text(container, "restartPolicy") == "Always")
        .map(|container| text(container, "name"))
        .collect();
    let is_sidecar = |status: &Value| sidecars.contains(&text(status, "name"));
    let mut total = list(spec, "containers").len() + sidecars.len();
    let mut ready = 0;
    let (mut restarts, mut restarted) = (0, None);
    let (mut sidecar_restarts, mut sidecar_restarted) = (0, None);
    let mut word = match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        reason => reason.to_owned(),
    };
    if list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated")
    {
        word = "SchedulingGated".to_owned();
    }
    let mut initializing = false;
    for (at, container) in list(status, "initContainerStatuses").iter().enumerate() {
        restarts += int(container, "restartCount").unwrap_or(0);
        restarted = restarted.max(ended(container));
        if is_sidecar(container) {
            sidecar_restarts += int(container, "restartCount").unwrap_or(0);
            sidecar_restarted = sidecar_restarted.max(ended(container));
        }
        let (terminated, waiting) =
            (&container["state"]["terminated"], &container["state"]["waiting"]);
        if !terminated.is_null() && int(terminated, "exitCode") == Some(0) {
            continue;
        }
        if is_sidecar(container) && flag(container, "started") {
            ready += usize::from(flag(container, "ready"));
            continue;
        }
        word = if !terminated.is_null() {
            match text(terminated, "reason") {
                "" => format!("Init:{}", exit_word(terminated)),
                reason => format!("Init:{reason}"),
            }
        } else if !matches!(text(waiting, "reason"), "" | "PodInitializing") {
            format!("Init:{}", text(waiting, "reason"))
        } else {
            format!("Init:{at}/{}", list(spec, "initContainers").len())
        };
        initializing = true;
        break;
    }
    let initialized = list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "Initialized" && text(c, "status") == "True");
    if !initializing || initialized {
        restarts = sidecar_restarts;
        restarted = sidecar_restarted;
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            restarts += int(container, "restartCount").unwrap_or(0);
            restarted = restarted.max(ended(container));
            let (terminated, waiting) =
                (&container["state"]["terminated"], &container["state"]["waiting"]);
            if !text(waiting, "reason").is_empty() {
                word = text(waiting, "reason").to_owned();
            } else if !terminated.is_null() {
                word = match text(terminated, "reason") {
                    "" => exit_word(terminated),
                    reason => reason.to_owned(),
                };
            } else if flag(container, "ready") && has(&container["state"], "running") {
                running = true;
                ready += 1;
            }
        }
        if word == "Completed" && running {
            let is_ready = list(status, "conditions")
                .iter()
                .any(|c| text(c, "type") == "Ready" && text(c, "status") == "True");
            word = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if has(&pod["metadata"], "deletionTimestamp") {
        if text(status, "reason") == "NodeLost" {
            word = "Unknown".to_owned();
        } else if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
            word = "Terminating".to_owned();
        }
    }
    let restarts = match restarted {
        Some(moment) if restarts != 0 => format!("{restarts} ({} ago)", age(now, moment)),
        _ => restarts.to_string(),
    };
    let ip = match list(status, "podIPs").first() {
        Some(first) => text(first, "ip"),
        None => text(status, "podIP"),
    };
    total = total.max(ready);
    vec![
        pod["metadata"]["name"].clone(),
        format!("{ready}/{total}").into(),
        word.into(),
        restarts.into(),
        age_of(pod, now).into(),
        or_none(ip),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        gates(pod),
    ]
}

/// When a container's last run ended.
fn ended(container: &Value) -> Option<Timestamp> {
    moment(&container["lastState"]["terminated"]["finishedAt"])
}

fn exit_word(terminated: &Value) -> String {
    match int(terminated, "signal").unwrap_or(0) {
        0 => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

fn gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| {
        list(&pod["status"], "conditions")
            .iter()
            .any(|c| text(c, "type") == text(gate, "conditionType") && text(c, "status") == "True")
    });
    format!("{}/{}", open.count(), gates.len()).into()
}
