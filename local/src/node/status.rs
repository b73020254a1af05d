//! The status of a pod, as clients of kubelet know it.
//!
//! Pure: from the containers' states and what is known of the pod to the object.
//! Source: kubernetes `pkg/kubelet/status/generate.go`, `pkg/kubelet/kubelet_pods.go`.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::node::machine::{Container, Ended, Kind, Machine, Phase, State};

/// What the status tells besides the containers' states.
pub struct Facts<'a> {
    /// The pod's address; absent until it has one.
    pub pod_ip: Option<String>,
    pub host_ip: &'a str,
    /// When the node first saw the pod.
    pub started: Timestamp,
    /// The image ID of a container's image; empty for one that is not known.
    pub image_id: &'a dyn Fn(&str) -> String,
}

/// The status of `pod`, whose containers stand as in `machine`. Conditions of others are kept, and times of
/// transition where nothing changed.
pub fn status(pod: &Pod, machine: &Machine, facts: &Facts, now: Timestamp) -> PodStatus {
    let before = pod.status.as_ref();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let phase = machine.phase();
    let over = matches!(phase, Phase::Succeeded | Phase::Failed);
    let container = |container: &Container| container_status(container, uid, facts);
    let (main, init): (Vec<_>, Vec<_>) =
        machine.containers.iter().partition(|it| it.kind == Kind::Main);

    let mut conditions =
        vec![condition("PodReadyToStartContainers", facts.pod_ip.is_some() && !over)];
    let waiting = names(init.iter().filter(|it| match it.kind {
        Kind::Init => !it.ready(),
        _ => !it.started,
    }));
    let initialized = match phase {
        Phase::Succeeded => completed("Initialized", true),
        _ if machine.initialized() => condition("Initialized", true),
        _ => PodCondition {
            reason: Some("ContainersNotInitialized".to_owned()),
            message: Some(format!("containers with incomplete status: [{waiting}]")),
            ..condition("Initialized", false)
        },
    };
    conditions.push(initialized);
    let unready = names(
        init.iter()
            .filter(|it| it.kind == Kind::Sidecar && it.started)
            .chain(main.iter())
            .filter(|it| !it.ready()),
    );
    let gates_open =
        pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten()).all(|gate| {
            let mut known = before.iter().flat_map(|it| it.conditions.iter().flatten());
            known.any(|it| it.type_ == gate.condition_type && it.status == "True")
        });
    for name in ["Ready", "ContainersReady"] {
        conditions.push(match phase {
            Phase::Succeeded => completed(name, false),
            Phase::Failed => {
                PodCondition { reason: Some("PodFailed".to_owned()), ..condition(name, false) }
            }
            _ if !unready.is_empty() => PodCondition {
                reason: Some("ContainersNotReady".to_owned()),
                message: Some(format!("containers with unready status: [{unready}]")),
                ..condition(name, false)
            },
            _ if name == "Ready" && !gates_open => PodCondition {
                reason: Some("ReadinessGatesNotReady".to_owned()),
                ..condition(name, false)
            },
            _ => condition(name, machine.initialized()),
        });
    }
    conditions.push(condition("PodScheduled", true));

    // As it comes back from the API: else the same status would look new, and be written again.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let known: Vec<PodCondition> =
        before.and_then(|before| before.conditions.clone()).unwrap_or_default();
    for condition in &mut conditions {
        let same =
            known.iter().find(|it| it.type_ == condition.type_ && it.status == condition.status);
        condition.last_transition_time =
            same.and_then(|it| it.last_transition_time.clone()).or(Some(Time(now)));
        condition.observed_generation = pod.metadata.generation;
    }
    for other in known {
        if conditions.iter().all(|it| it.type_ != other.type_) {
            conditions.push(other);
        }
    }

    let pod_ips = facts.pod_ip.clone().map(|ip| vec![PodIP { ip }]);
    PodStatus {
        phase: Some(format!("{phase:?}")),
        conditions: Some(conditions),
        container_statuses: Some(main.into_iter().map(container).collect()),
        init_container_statuses: (!init.is_empty())
            .then(|| init.into_iter().map(container).collect()),
        host_ip: Some(facts.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.to_owned() }]),
        pod_ip: facts.pod_ip.clone(),
        pod_ips,
        start_time: Some(Time(facts.started)),
        qos_class: before
            .and_then(|before| before.qos_class.clone())
            .or_else(|| Some(quality_of_service(pod).to_owned())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn condition(name: &str, holds: bool) -> PodCondition {
    PodCondition {
        type_: name.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        ..PodCondition::default()
    }
}

fn completed(name: &str, holds: bool) -> PodCondition {
    PodCondition { reason: Some("PodCompleted".to_owned()), ..condition(name, holds) }
}

fn names<'a>(containers: impl Iterator<Item = &'a &'a Container>) -> String {
    containers.map(|it| it.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn container_status(container: &Container, uid: &str, facts: &Facts) -> ContainerStatus {
    let id = |attempt: u32| format!("weft://{uid}/{}/{attempt}", container.name);
    let ended = |ended: &Ended| ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: ended.started.map(|_| id(ended.attempt)),
            exit_code: ended.code,
            signal: ended.signal,
            reason: Some(ended.reason.clone()),
            message: ended.message.clone(),
            started_at: Some(Time(ended.started.unwrap_or(ended.finished))),
            finished_at: Some(Time(ended.finished)),
        }),
        ..ContainerState::default()
    };
    let waiting = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    };
    let (state, running) = match &container.state {
        State::Waiting { reason, message } => (waiting(reason, message.clone()), false),
        State::Starting => (waiting("ContainerCreating", None), false),
        State::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(Time(*since)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, true)
        }
        State::Ended(run) => (ended(run), false),
    };
    let ran = match &container.state {
        State::Running { .. } => Some(container.restarts),
        State::Ended(run) => run.started.map(|_| run.attempt),
        _ => container.last.as_ref().filter(|it| it.started.is_some()).map(|it| it.attempt),
    };
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: if ran.is_some() { (facts.image_id)(&container.image) } else { String::new() },
        container_id: ran.map(id),
        ready: container.ready(),
        restart_count: container.restarts as i32,
        started: Some(running && container.started),
        state: Some(state),
        last_state: container.last.as_ref().map(ended),
        ..ContainerStatus::default()
    }
}

/// The class that requests and limits put the pod in.
pub fn quality_of_service(pod: &Pod) -> &'static str {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let main = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut any = false;
    let mut guaranteed = true;
    for container in init.iter().chain(main) {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|it| it.limits.as_ref());
        let requests = resources.and_then(|it| it.requests.as_ref());
        for name in ["cpu", "memory"] {
            let limit = limits.and_then(|it| it.get(name));
            let request = requests.and_then(|it| it.get(name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|it| Some(it) == limit);
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::machine::Event;

    #[test]
    fn tells_what_is_not_ready_and_keeps_times() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "readinessProbe": {}}]},
        }))
        .unwrap();
        let mut machine = Machine::new(&pod, now);
        check(&mut pod, &machine, now, "Pending", "False ContainersNotReady [a b]");
        machine.decide(now);
        machine.happened(Event::Started { index: 0 }, now);
        machine.happened(Event::Started { index: 1 }, now);
        let later = now + std::time::Duration::from_secs(5);
        check(&mut pod, &machine, later, "Running", "False ContainersNotReady [b]");
        assert_eq!(transition(&pod), Some(now));
        machine.happened(Event::Readiness { index: 1, ready: true }, now);
        check(&mut pod, &machine, later, "Running", "True");
        assert_eq!(transition(&pod), Some(later));
        let statuses = pod.status.unwrap().container_statuses.unwrap();
        assert_eq!(statuses[0].image_id, "id of x");
        assert_eq!(statuses[0].container_id.as_deref(), Some("weft://u/a/0"));
    }

    fn transition(pod: &Pod) -> Option<Timestamp> {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions.iter().find(|it| it.type_ == "Ready")?;
        ready.last_transition_time.as_ref().map(|it| it.0)
    }

    #[track_caller]
    fn check(pod: &mut Pod, machine: &Machine, now: Timestamp, phase: &str, ready: &str) {
        let image_id = |image: &str| format!("id of {image}");
        let facts = Facts {
            pod_ip: Some("10.0.0.2".to_owned()),
            host_ip: "10.0.0.1",
            started: now,
            image_id: &image_id,
        };
        let found = status(pod, machine, &facts, now);
        assert_eq!(found.phase.as_deref(), Some(phase));
        let conditions = found.conditions.as_ref().unwrap();
        let condition = conditions.iter().find(|it| it.type_ == "Ready").unwrap();
        let unready = condition.message.as_deref().and_then(|it| it.split_once(": "));
        let parts = [
            Some(condition.status.as_str()),
            condition.reason.as_deref(),
            unready.map(|(_, names)| names),
        ];
        assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>().join(" "), ready);
        pod.status = Some(found);
    }

    #[test]
    fn requests_and_limits_make_the_class() {
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "25m"}}), "Burstable"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        ] {
            let pod: Pod = serde_json::from_value(
                json!({"spec": {"containers": [{"name": "a", "resources": resources}]}}),
            )
            .unwrap();
            assert_eq!(quality_of_service(&pod), class);
        }
    }
}
