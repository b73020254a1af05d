//! What a pod's containers should do next, from what has happened to them.
//!
//! Pure: the pod's worker reports what happens and performs what is decided.
//! Source: kubernetes `pkg/kubelet/kuberuntime` (`computePodActions`, back-off) and `pkg/kubelet/status`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;

/// First wait before a container that ended is started again; the very first restart waits for nothing.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// Longest such wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// A container that ran this long starts without a wait again.
const STEADY: Duration = Duration::from_secs(600);
/// Wait before something that is missing (a ConfigMap, say) is looked for again.
const CONFIG_RETRY: Duration = Duration::from_secs(2);

/// The part that a container has in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that stays: it must have started before the next one starts.
    Sidecar,
    Main,
}

/// When containers that ended start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// One run of a container that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    /// Absent when it never ran.
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
    /// Which run of the container this was, from 0.
    pub attempt: u32,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Waiting {
        reason: String,
        message: Option<String>,
    },
    /// The worker was told to start it.
    Starting,
    Running {
        since: Timestamp,
    },
    Ended(Ended),
}

/// One container of the pod.
#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub kind: Kind,
    pub state: State,
    /// The run before the one that `state` tells of.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: u32,
    /// The startup probe passed, or there is none; true only while it runs.
    pub started: bool,
    /// The readiness probe's last answer; true where there is none.
    probed_ready: bool,
    has_startup_probe: bool,
    has_readiness_probe: bool,
    runs: u32,
    back_off: Duration,
    retry_at: Option<Timestamp>,
    stopping: bool,
}

/// What the worker reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// The container's process runs.
    Started { index: usize },
    /// It cannot run now; a later try may do better.
    Blocked { index: usize, reason: String, message: String, back_off: bool },
    /// Its process ended, or could not be started at all.
    Ended { index: usize, ended: Ended },
    /// The readiness probe's answer changed.
    Readiness { index: usize, ready: bool },
    /// The startup probe passed.
    StartupPassed { index: usize },
    /// What blocked the container may be over: try again without further wait.
    Retry { index: usize },
    /// A liveness or startup probe failed for good: the container must go.
    Unhealthy { index: usize },
    /// The pod is to end.
    Delete,
}

/// What the worker does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start the container's process; `attempt` counts from 0.
    Start { index: usize, attempt: u32 },
    /// End it within the grace period.
    Stop { index: usize },
    /// Every container of a pod that is to end has ended.
    Finish,
}

/// The phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// The containers of one pod.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Init containers and sidecars in order, then the main ones in order.
    pub containers: Vec<Container>,
    restart: Restart,
    deleting: bool,
    finished: bool,
}

impl Container {
    fn new(container: &k8s::Container, kind: Kind) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            kind,
            state: State::Waiting {
                reason: if kind == Kind::Main { "ContainerCreating" } else { "PodInitializing" }
                    .to_owned(),
                message: None,
            },
            last: None,
            restarts: 0,
            started: false,
            probed_ready: container.readiness_probe.is_none(),
            has_startup_probe: container.startup_probe.is_some(),
            has_readiness_probe: container.readiness_probe.is_some(),
            runs: 0,
            back_off: Duration::ZERO,
            retry_at: None,
            stopping: false,
        }
    }

    /// Whether it may serve.
    pub fn ready(&self) -> bool {
        match &self.state {
            State::Running { .. } => self.started && self.probed_ready,
            State::Ended(ended) => self.kind == Kind::Init && ended.code == 0,
            _ => false,
        }
    }

    fn alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    fn succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.code == 0)
    }
}

impl Machine {
    /// The containers of `pod`, none of them running: of a pod that this node ran before (its processes
    /// ended with the node's), the status tells how often they have been started.
    pub fn new(pod: &k8s::Pod, now: Timestamp) -> Self {
        let spec = pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let main = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let init_kind = |container: &k8s::Container| match container.restart_policy.as_deref() {
            Some("Always") => Kind::Sidecar,
            _ => Kind::Init,
        };
        let containers = init
            .iter()
            .map(|it| Container::new(it, init_kind(it)))
            .chain(main.iter().map(|it| Container::new(it, Kind::Main)));
        let mut containers: Vec<_> = containers.collect();
        if let Some(status) = &pod.status {
            let known = [&status.init_container_statuses, &status.container_statuses];
            for known in known.into_iter().flatten().flatten() {
                if let Some(container) = containers.iter_mut().find(|it| it.name == known.name) {
                    recall(container, known, now);
                }
            }
        }
        let restart = match spec.and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        Self { containers, restart, deleting: false, finished: false }
    }

    /// Takes note of what happened.
    pub fn happened(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Delete => self.deleting = true,
            Event::Started { index } => {
                let container = &mut self.containers[index];
                if matches!(container.state, State::Starting) {
                    container.state = State::Running { since: now };
                    container.started = !container.has_startup_probe;
                    container.probed_ready = !container.has_readiness_probe;
                }
            }
            Event::Blocked { index, reason, message, back_off } => {
                let container = &mut self.containers[index];
                let wait = if back_off {
                    container.back_off = longer(container.back_off);
                    container.back_off
                } else {
                    CONFIG_RETRY
                };
                container.retry_at = now.checked_add(wait).ok();
                container.state = State::Waiting { reason, message: Some(message) };
                // Nothing ran: the next try is not another run.
                container.runs = container.runs.saturating_sub(1);
            }
            Event::Ended { index, ended } => {
                let container = &mut self.containers[index];
                let ran = ended.started.map_or(Duration::ZERO, |started| {
                    Duration::try_from(ended.finished.duration_since(started)).unwrap_or_default()
                });
                if ran >= STEADY {
                    container.back_off = Duration::ZERO;
                }
                container.state = State::Ended(ended);
                container.started = false;
                container.probed_ready = !container.has_readiness_probe;
                container.stopping = false;
            }
            Event::Readiness { index, ready } => self.containers[index].probed_ready = ready,
            Event::StartupPassed { index } => self.containers[index].started = true,
            Event::Retry { index } => {
                if matches!(self.containers[index].state, State::Waiting { .. }) {
                    self.containers[index].retry_at = None;
                }
            }
            Event::Unhealthy { index } => {
                // `decide` sees a running container that should stop.
                self.containers[index].started = false;
                self.containers[index].retry_at = Some(now);
            }
        }
    }

    /// What to do now. Told once each: a second call decides nothing new until something happened or
    /// [`Machine::wake_at`] has come.
    pub fn decide(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        let over = self.deleting || self.ended_for_good();
        if over {
            let main_alive =
                self.containers.iter().any(|it| it.kind != Kind::Sidecar && it.alive());
            for (index, container) in self.containers.iter_mut().enumerate() {
                // Sidecars serve the others to the end.
                let may_stop = container.kind != Kind::Sidecar || !main_alive;
                if may_stop && container.alive() && !container.stopping {
                    container.stopping = true;
                    actions.push(Action::Stop { index });
                }
            }
            if self.deleting && !self.finished && !self.containers.iter().any(Container::alive) {
                self.finished = true;
                actions.push(Action::Finish);
            }
            return actions;
        }
        for index in 0..self.containers.len() {
            self.advance(index, now, &mut actions);
            let container = &self.containers[index];
            let passed = match container.kind {
                Kind::Init => container.succeeded(),
                Kind::Sidecar => container.started,
                Kind::Main => true,
            };
            if !passed {
                break;
            }
        }
        actions
    }

    /// When [`Machine::decide`] has something to do although nothing happens.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.deleting {
            return None;
        }
        let waiting = self.containers.iter().filter(|it| matches!(it.state, State::Waiting { .. }));
        waiting.filter_map(|it| it.retry_at).min()
    }

    /// The pod's phase.
    pub fn phase(&self) -> Phase {
        if self.ended_for_good() || self.finished {
            let failed = self.containers.iter().any(|it| {
                it.kind != Kind::Sidecar
                    && matches!(&it.state, State::Ended(ended) if ended.code != 0)
            });
            let any_ran = self.containers.iter().any(|it| matches!(it.state, State::Ended(_)));
            return match (any_ran, failed) {
                (_, true) => Phase::Failed,
                (true, false) => Phase::Succeeded,
                (false, false) => Phase::Pending,
            };
        }
        let mut main = self.containers.iter().filter(|it| it.kind == Kind::Main);
        if self.initialized() && main.all(|it| it.runs > 0 && !first_start(it)) {
            Phase::Running
        } else {
            Phase::Pending
        }
    }

    /// Whether the init containers have done their part.
    pub fn initialized(&self) -> bool {
        self.containers.iter().all(|it| match it.kind {
            Kind::Init => it.succeeded(),
            Kind::Sidecar => it.started || matches!(it.state, State::Ended(_)),
            Kind::Main => true,
        })
    }

    /// Whether the pod was told to end.
    pub fn deleting(&self) -> bool {
        self.deleting
    }

    /// Whether nothing will ever run again: the main containers have ended, or an init container failed.
    fn ended_for_good(&self) -> bool {
        let again = |container: &Container| match (&container.state, self.restart) {
            (State::Ended(_), Restart::Always) => true,
            (State::Ended(ended), Restart::OnFailure) => ended.code != 0,
            (State::Ended(_), Restart::Never) => false,
            _ => true,
        };
        let init_failed = self.containers.iter().any(|it| {
            it.kind == Kind::Init
                && self.restart == Restart::Never
                && matches!(&it.state, State::Ended(ended) if ended.code != 0)
        });
        let mut main = self.containers.iter().filter(|it| it.kind == Kind::Main);
        init_failed || !main.any(again)
    }

    /// Starts, restarts or stops one container, if it is time.
    fn advance(&mut self, index: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let restart = match self.containers[index].kind {
            Kind::Sidecar => Restart::Always,
            // An init container that failed is tried again also where main ones would always be.
            Kind::Init if self.restart == Restart::Always => Restart::OnFailure,
            _ => self.restart,
        };
        let container = &mut self.containers[index];
        if let State::Ended(ended) = &container.state {
            let again = match restart {
                Restart::Always => true,
                Restart::OnFailure => ended.code != 0,
                Restart::Never => false,
            };
            if !again {
                return;
            }
            let wait = container.back_off;
            container.back_off = longer(container.back_off);
            container.retry_at = ended.finished.checked_add(wait).ok();
            container.last = Some(ended.clone());
            let seconds = wait.as_secs();
            container.state = State::Waiting {
                reason: "CrashLoopBackOff".to_owned(),
                message: Some(format!(
                    "back-off {} restarting failed container={}",
                    if seconds >= 60 {
                        format!("{}m{}s", seconds / 60, seconds % 60)
                    } else {
                        format!("{seconds}s")
                    },
                    container.name
                )),
            };
        }
        match &container.state {
            State::Waiting { .. } if container.retry_at.is_none_or(|at| at <= now) => {
                container.retry_at = None;
                container.state = State::Starting;
                container.restarts = container.restarts.max(container.runs);
                actions.push(Action::Start { index, attempt: container.runs });
                container.runs += 1;
            }
            // An unhealthy one: see `Event::Unhealthy`.
            State::Running { .. } if container.retry_at.is_some() && !container.stopping => {
                container.retry_at = None;
                container.stopping = true;
                actions.push(Action::Stop { index });
            }
            _ => {}
        }
    }
}

/// Whether the container is being started for the first time, or waits for that.
fn first_start(container: &Container) -> bool {
    container.last.is_none() && matches!(container.state, State::Starting | State::Waiting { .. })
}

fn longer(back_off: Duration) -> Duration {
    (back_off * 2).clamp(FIRST_BACK_OFF, LONGEST_BACK_OFF)
}

/// Takes over from the status what happened before this node's process started.
fn recall(container: &mut Container, known: &k8s::ContainerStatus, now: Timestamp) {
    let read = |ended: &k8s::ContainerStateTerminated| Ended {
        code: ended.exit_code,
        signal: ended.signal,
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone(),
        started: ended.started_at.as_ref().map(|it| it.0),
        finished: ended.finished_at.as_ref().map_or(now, |it| it.0),
        attempt: known.restart_count as u32,
    };
    container.restarts = known.restart_count as u32;
    container.runs = known.restart_count as u32;
    let state = known.state.as_ref();
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        container.state = State::Ended(read(ended));
        container.runs += 1;
    } else if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        container.runs += 1;
        container.state = State::Ended(Ended {
            code: 137,
            signal: None,
            reason: "ContainerStatusUnknown".to_owned(),
            message: Some("the container ended when the node stopped".to_owned()),
            started: running.started_at.as_ref().map(|it| it.0),
            finished: now,
            attempt: known.restart_count as u32,
        });
    }
    if let Some(ended) = known.last_state.as_ref().and_then(|state| state.terminated.as_ref()) {
        container.last = Some(read(ended));
        container.runs = container.runs.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_containers_start_together_and_restart_with_growing_waits() {
        let mut pod = Scene::new(r#"{"containers":[{"name":"a"},{"name":"b"}]}"#);
        pod.expect("start a0, start b0");
        pod.event(Event::Started { index: 0 });
        assert_eq!(pod.machine.phase(), Phase::Pending);
        pod.event(Event::Started { index: 1 });
        assert_eq!(pod.machine.phase(), Phase::Running);
        pod.expect("");
        for (attempt, wait) in [(1, 0), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300)] {
            pod.ends(0, 1);
            if wait > 0 {
                pod.expect("");
                pod.later(wait - 1);
                pod.expect("");
                pod.later(1);
            }
            pod.expect(&format!("start a{attempt}"));
            pod.event(Event::Started { index: 0 });
            assert_eq!(pod.machine.containers[0].restarts, attempt);
        }
        pod.later(STEADY.as_secs());
        pod.ends(0, 0);
        pod.expect("start a8");
    }

    #[test]
    fn init_containers_run_one_by_one_and_sidecars_stay() {
        let mut pod = Scene::new(
            r#"{"initContainers":[{"name":"one"},{"name":"side","restartPolicy":"Always"}],
                "containers":[{"name":"main"}]}"#,
        );
        pod.expect("start one0");
        pod.event(Event::Started { index: 0 });
        pod.expect("");
        pod.ends(0, 0);
        pod.expect("start side0");
        assert!(!pod.machine.initialized());
        pod.event(Event::Started { index: 1 });
        pod.expect("start main0");
        assert!(pod.machine.initialized());
        pod.event(Event::Started { index: 2 });
        pod.event(Event::Delete);
        pod.expect("stop main");
        pod.ends(2, 0);
        pod.expect("stop side");
        pod.ends(1, 0);
        pod.expect("finish");
        pod.expect("");
    }

    #[test]
    fn jobs_end_and_their_sidecars_with_them() {
        let mut pod = Scene::new(
            r#"{"restartPolicy":"OnFailure","containers":[{"name":"main"}],
                "initContainers":[{"name":"side","restartPolicy":"Always"}]}"#,
        );
        pod.expect("start side0");
        pod.event(Event::Started { index: 0 });
        pod.expect("start main0");
        pod.event(Event::Started { index: 1 });
        pod.ends(1, 3);
        pod.expect("start main1");
        pod.event(Event::Started { index: 1 });
        pod.ends(1, 0);
        pod.expect("stop side");
        assert_eq!(pod.machine.phase(), Phase::Succeeded);
    }

    #[test]
    fn an_init_container_that_fails_ends_a_pod_that_never_restarts() {
        let mut pod = Scene::new(
            r#"{"restartPolicy":"Never","initContainers":[{"name":"i"}],
                "containers":[{"name":"main"}]}"#,
        );
        pod.expect("start i0");
        pod.ends(0, 1);
        pod.expect("");
        assert_eq!(pod.machine.phase(), Phase::Failed);
    }

    #[test]
    fn an_unknown_image_waits_and_is_no_restart() {
        let mut pod = Scene::new(r#"{"containers":[{"name":"a"}]}"#);
        pod.expect("start a0");
        let blocked = |pod: &mut Scene| {
            pod.event(Event::Blocked {
                index: 0,
                reason: "ErrImagePull".to_owned(),
                message: "not known".to_owned(),
                back_off: true,
            });
        };
        blocked(&mut pod);
        pod.expect("");
        assert_eq!(pod.machine.phase(), Phase::Pending);
        pod.later(10);
        pod.expect("start a0");
        blocked(&mut pod);
        pod.later(10);
        pod.expect("");
        pod.event(Event::Retry { index: 0 });
        pod.expect("start a0");
        pod.event(Event::Started { index: 0 });
        assert_eq!(pod.machine.containers[0].restarts, 0);
    }

    #[test]
    fn an_unhealthy_container_is_stopped_and_started_again() {
        let mut pod =
            Scene::new(r#"{"containers":[{"name":"a","startupProbe":{},"readinessProbe":{}}]}"#);
        pod.expect("start a0");
        pod.event(Event::Started { index: 0 });
        assert!(!pod.machine.containers[0].ready());
        pod.event(Event::StartupPassed { index: 0 });
        pod.event(Event::Readiness { index: 0, ready: true });
        assert!(pod.machine.containers[0].ready());
        pod.event(Event::Unhealthy { index: 0 });
        pod.expect("stop a");
        pod.expect("");
        pod.ends(0, 137);
        assert!(!pod.machine.containers[0].ready());
        pod.expect("start a1");
    }

    #[test]
    fn a_pod_from_before_the_node_stopped_is_started_again() {
        let mut pod = Scene::of(
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running",
                "containerStatuses":[{"name":"a","image":"","imageID":"","ready":true,
                "restartCount":2,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}"#,
        );
        pod.expect("start a3");
        pod.event(Event::Started { index: 0 });
        assert_eq!(pod.machine.containers[0].restarts, 3);
        assert_eq!(pod.machine.containers[0].last.as_ref().unwrap().code, 137);
    }

    struct Scene {
        machine: Machine,
        now: Timestamp,
    }

    impl Scene {
        fn new(spec: &str) -> Self {
            Self::of(&format!(r#"{{"spec":{spec}}}"#))
        }

        fn of(pod: &str) -> Self {
            let now = "2026-02-01T00:00:00Z".parse().unwrap();
            Self { machine: Machine::new(&serde_json::from_str(pod).unwrap(), now), now }
        }

        fn event(&mut self, event: Event) {
            self.machine.happened(event, self.now);
        }

        fn ends(&mut self, index: usize, code: i32) {
            let ended = Ended {
                code,
                signal: None,
                reason: "Error".to_owned(),
                message: None,
                started: match self.machine.containers[index].state {
                    State::Running { since } => Some(since),
                    _ => None,
                },
                finished: self.now,
                attempt: 0,
            };
            self.event(Event::Ended { index, ended });
        }

        fn later(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        #[track_caller]
        fn expect(&mut self, expected: &str) {
            let name = |index: usize| self.machine.containers[index].name.clone();
            let actions = self.machine.clone().decide(self.now);
            let found: Vec<String> = actions
                .iter()
                .map(|action| match action {
                    Action::Start { index, attempt } => format!("start {}{attempt}", name(*index)),
                    Action::Stop { index } => format!("stop {}", name(*index)),
                    Action::Finish => "finish".to_owned(),
                })
                .collect();
            assert_eq!(found.join(", "), expected);
            self.machine.decide(self.now);
        }
    }
}
