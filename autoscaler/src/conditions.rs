//! What the status of a PodAutoscaler and of its ServerlessService says.
//!
//! Pure: facts in, status out.
//! Source: knative/serving `pkg/reconciler/autoscaling/{kpa/kpa.go,hpa/hpa.go}`,
//! `pkg/reconciler/serverlessservice/serverlessservice.go`.

use api::{
    autoscaling::{PodAutoscaler, PodAutoscalerStatus},
    condition::{self, Condition, Set},
    networking::{ServerlessService, ServerlessServiceStatus},
};
use jiff::Timestamp;

use crate::{
    path::Mode,
    policy::Policy,
    zero::{Activity, Standing},
};

/// What was seen below a PodAutoscaler.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Pods wanted; none while nothing is known.
    pub wanted: Option<u32>,
    /// Pods that are ready.
    pub ready_pods: u32,
    /// The private Service, once it exists.
    pub private_service: Option<&'a str>,
    /// The public Service, once it exists.
    pub public_service: Option<&'a str>,
    /// What is in the way of the ServerlessService.
    pub blocked: Option<Blocked<'a>>,
}

/// An object with a name that we need and an owner that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked<'a> {
    pub kind: &'static str,
    pub name: &'a str,
}

/// What a HorizontalPodAutoscaler says of its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods that there are.
    pub current: i32,
    /// Pods that are wanted.
    pub desired: i32,
}

/// What keeps a HorizontalPodAutoscaler from doing its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindered {
    /// An object of that kind and name is somebody else's.
    NotOwned(&'static str, String),
    /// An object of that kind and name could not be made.
    NotCreated(&'static str, String),
}

const ACTIVE: &str = "Active";
const INITIALIZED: &str = "ScaleTargetInitialized";
const SERVICE_READY: &str = "SKSReady";
const ENDPOINTS: &str = "EndpointsPopulated";
const ACTIVATOR: &str = "ActivatorEndpointsPopulated";

const AUTOSCALER: Set = Set { dependents: &[ACTIVE, INITIALIZED, SERVICE_READY] };
const SERVERLESS: Set = Set { dependents: &[ENDPOINTS] };

const NOT_READY: &str = "K8s Service is not ready";

/// Where `autoscaler` stands. Whose condition was never set has just begun to activate.
pub fn standing(
    autoscaler: &PodAutoscaler,
    proxied_since: Option<Timestamp>,
    path_proven: bool,
    now: Timestamp,
) -> Standing {
    let conditions =
        autoscaler.status.as_ref().map(|it| it.conditions.as_slice()).unwrap_or_default();
    let active = condition::find(conditions, ACTIVE);
    let activity = match active {
        Some(it) if it.is_true() => Activity::Active,
        Some(it) if it.is_false() => Activity::Inactive,
        _ => Activity::Activating,
    };
    let since = active.and_then(|it| it.last_transition_time.as_ref()).map_or(now, |it| it.0);
    Standing {
        activity,
        since,
        initialized: condition::is_true(conditions, INITIALIZED),
        proxied_since,
        path_proven,
    }
}

/// The status that `autoscaler` should have.
pub fn status(
    autoscaler: &PodAutoscaler,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> PodAutoscalerStatus {
    let before = autoscaler.status.clone().unwrap_or_default();
    let generation = autoscaler.metadata.generation;
    let mut status = before.clone();
    let conditions = &mut status.conditions;
    AUTOSCALER.begin(conditions, generation, before.observed_generation, now);

    if let Some(name) = facts.private_service {
        status.metrics_service_name = Some(name.to_owned());
    }
    if let Some(name) = facts.public_service {
        status.service_name = Some(name.to_owned());
    }
    match (facts.blocked, facts.private_service) {
        (Some(Blocked { kind, name }), _) => {
            let text = format!("Resource {name} of type {kind} is not owned by SKS");
            AUTOSCALER.mark_unknown(conditions, SERVICE_READY, "NotReady", &text, now);
        }
        (None, None) => {
            let text = "No Private Service Name";
            AUTOSCALER.mark_unknown(conditions, SERVICE_READY, "NotReady", text, now);
        }
        (None, Some(_)) if facts.ready_pods > 0 => {
            AUTOSCALER.mark_true(conditions, SERVICE_READY, now);
        }
        (None, Some(_)) => {
            AUTOSCALER.mark_unknown(conditions, SERVICE_READY, "NotReady", NOT_READY, now);
        }
    }

    status.actual_scale = Some(i32::try_from(facts.ready_pods).unwrap_or(i32::MAX));
    match facts.wanted {
        Some(wanted) => status.desired_scale = Some(i32::try_from(wanted).unwrap_or(i32::MAX)),
        // Unknown after a restart: what was known stays.
        None if before.desired_scale.is_some_and(|it| it >= 0) => {}
        None => status.desired_scale = Some(-1),
    }

    mark_active(&mut status, facts, policy, now);
    status.observed_generation = generation;
    AUTOSCALER.end(&mut status.conditions, &before.conditions);
    status
}

/// The status that `autoscaler` should have when a HorizontalPodAutoscaler scales its target; `scale` is what that
/// one counts and wants. Such a target is always active.
pub fn horizontal_status(
    autoscaler: &PodAutoscaler,
    facts: &Facts,
    scale: Result<Counts, Hindered>,
    policy: &Policy,
    now: Timestamp,
) -> PodAutoscalerStatus {
    let before = autoscaler.status.clone().unwrap_or_default();
    let generation = autoscaler.metadata.generation;
    let mut status = before.clone();
    let conditions = &mut status.conditions;
    AUTOSCALER.begin(conditions, generation, before.observed_generation, now);
    match scale {
        Err(Hindered::NotOwned(kind, name)) => {
            let text = format!("There is an existing {kind} \"{name}\" that we do not own.");
            AUTOSCALER.mark_false(conditions, ACTIVE, "NotOwned", &text, now);
        }
        Err(Hindered::NotCreated(kind, name)) => {
            let text = format!("Failed to create {kind} \"{name}\".");
            AUTOSCALER.mark_false(conditions, ACTIVE, "FailedCreate", &text, now);
        }
        Ok(counts) => {
            status.metrics_service_name = facts.private_service.map(str::to_owned);
            status.service_name = facts.public_service.map(str::to_owned);
            if facts.ready_pods > 0 && facts.private_service.is_some() && facts.blocked.is_none() {
                AUTOSCALER.mark_true(conditions, SERVICE_READY, now);
                let least = i32::try_from(policy.min_scale.max(policy.initial_scale));
                if counts.current >= least.unwrap_or(i32::MAX) {
                    AUTOSCALER.mark_true(conditions, INITIALIZED, now);
                }
            } else {
                let text = "SKS Services are not ready yet";
                AUTOSCALER.mark_unknown(conditions, SERVICE_READY, "NotReady", text, now);
            }
            AUTOSCALER.mark_true(conditions, ACTIVE, now);
            status.desired_scale = Some(counts.desired);
            status.actual_scale = Some(counts.current);
        }
    }
    status.observed_generation = generation;
    AUTOSCALER.end(&mut status.conditions, &before.conditions);
    status
}

/// The status that `serverless` should have when `ready_pods` are behind it.
pub fn serverless_status(
    serverless: &ServerlessService,
    mode: Mode,
    facts: &Facts,
    now: Timestamp,
) -> ServerlessServiceStatus {
    let before = serverless.status.clone().unwrap_or_default();
    let generation = serverless.metadata.generation;
    let mut status = before.clone();
    let conditions = &mut status.conditions;
    SERVERLESS.begin(conditions, generation, before.observed_generation, now);
    let is_served = facts.ready_pods > 0;
    if let Some(Blocked { kind, name }) = facts.blocked {
        let text = format!("Resource {name} of type {kind} is not owned by SKS");
        SERVERLESS.mark_false(conditions, ENDPOINTS, "NotOwned", &text, now);
    } else if is_served {
        SERVERLESS.mark_true(conditions, ENDPOINTS, now);
    } else {
        SERVERLESS.mark_unknown(conditions, ENDPOINTS, "NoHealthyBackends", NOT_READY, now);
    }
    // Reason and message are the same for both, as upstream writes them.
    let text = "Revision is backed by Activator";
    if !is_served || mode == Mode::Proxy {
        SERVERLESS.mark_true_because(conditions, ACTIVATOR, ACTIVATOR, text, now);
    } else {
        SERVERLESS.mark_false(conditions, ACTIVATOR, ACTIVATOR, text, now);
    }
    status.private_service_name = facts.private_service.map(str::to_owned);
    status.service_name = facts.public_service.map(str::to_owned);
    status.observed_generation = generation;
    SERVERLESS.end(&mut status.conditions, &before.conditions);
    status
}

/// | wanted  | ready  | least | before     | after      |
/// |---------|--------|-------|------------|------------|
/// | 0       | any    | > 0   | activating | inactive, timed out |
/// | 0       | any    | any   | any        | inactive   |
/// | any     | any    | 0     | any        | inactive   |
/// | some    | < least|       | any        | activating |
/// | some    | enough |       | any        | active     |
/// | unknown | < least|       | inactive   | inactive   |
/// | unknown | < least|       | else       | activating |
/// | unknown | enough |       | inactive   | inactive   |
/// | unknown | enough |       | else       | active     |
fn mark_active(status: &mut PodAutoscalerStatus, facts: &Facts, policy: &Policy, now: Timestamp) {
    let conditions = &mut status.conditions;
    let initialized = condition::is_true(conditions, INITIALIZED);
    let least = policy.min_scale.max(if initialized { 1 } else { policy.initial_scale });
    let enough = facts.ready_pods >= least;
    if enough && status.service_name.is_some() {
        AUTOSCALER.mark_true(conditions, INITIALIZED, now);
    }
    let is = |check: fn(&Condition) -> bool| condition::find(conditions, ACTIVE).is_some_and(check);
    let (activating, inactive) = (is(Condition::is_unknown), is(Condition::is_false));
    let goes_on = facts.wanted.is_some_and(|it| it > 0) || !inactive;
    if facts.wanted == Some(0) || least == 0 {
        if activating && least > 0 {
            let text = "The target could not be activated.";
            AUTOSCALER.mark_false(conditions, ACTIVE, "TimedOut", text, now);
        } else {
            mark_idle(conditions, now);
        }
    } else if !enough && goes_on {
        let text = "Requests to the target are being buffered as resources are provisioned.";
        AUTOSCALER.mark_unknown(conditions, ACTIVE, "Queued", text, now);
    } else if !enough {
        mark_idle(conditions, now);
    } else if goes_on {
        AUTOSCALER.mark_true(conditions, ACTIVE, now);
    }
}

fn mark_idle(conditions: &mut Vec<Condition>, now: Timestamp) {
    let text = "The target is not receiving traffic.";
    AUTOSCALER.mark_false(conditions, ACTIVE, "NoTraffic", text, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn facts(wanted: Option<u32>, ready_pods: u32) -> Facts<'static> {
        Facts {
            wanted,
            ready_pods,
            private_service: Some("hello-00001-private"),
            public_service: Some("hello-00001"),
            blocked: None,
        }
    }

    /// `type=status/reason` of the conditions, in order.
    fn words(conditions: &[Condition]) -> String {
        let words: Vec<String> = conditions
            .iter()
            .map(|it| match it.reason() {
                "" => format!("{}={}", it.type_, it.status),
                reason => format!("{}={}/{reason}", it.type_, it.status),
            })
            .collect();
        words.join(" ")
    }

    /// Takes a PodAutoscaler through rows of what is wanted and ready; compares its conditions.
    #[track_caller]
    fn check(policy: &Policy, rows: &[(Option<u32>, u32, &str, i32)]) {
        let mut autoscaler = PodAutoscaler::default();
        autoscaler.metadata.generation = Some(1);
        for (second, (wanted, ready, expected, desired)) in rows.iter().enumerate() {
            let status = status(&autoscaler, &facts(*wanted, *ready), policy, at(second as i64));
            assert_eq!(words(&status.conditions), *expected, "row {second}");
            assert_eq!(status.desired_scale, Some(*desired), "row {second}");
            autoscaler.status = Some(status);
        }
    }

    const STARTING: &str = "Active=Unknown/Queued Ready=Unknown/Queued \
        SKSReady=Unknown/NotReady ScaleTargetInitialized=Unknown";
    const UP: &str = "Active=True Ready=True SKSReady=True ScaleTargetInitialized=True";
    const IDLE: &str = "Active=False/NoTraffic Ready=False/NoTraffic \
        SKSReady=Unknown/NotReady ScaleTargetInitialized=True";

    #[test]
    fn a_revision_starts_serves_goes_to_zero_and_comes_back() {
        check(
            &Policy::default(),
            &[
                (None, 0, STARTING, -1),
                (None, 1, UP, -1),
                (Some(1), 1, UP, 1),
                (None, 1, UP, 1),
                (
                    Some(0),
                    1,
                    "Active=False/NoTraffic Ready=False/NoTraffic SKSReady=True \
                    ScaleTargetInitialized=True",
                    0,
                ),
                (Some(0), 0, IDLE, 0),
                (None, 0, IDLE, 0),
                (
                    Some(2),
                    0,
                    "Active=Unknown/Queued Ready=Unknown/Queued \
                    SKSReady=Unknown/NotReady ScaleTargetInitialized=True",
                    2,
                ),
                (Some(2), 1, UP, 2),
            ],
        );
    }

    #[test]
    fn the_initial_scale_must_be_reached_once() {
        let policy = Policy { initial_scale: 3, ..Policy::default() };
        check(
            &policy,
            &[
                (
                    Some(3),
                    2,
                    "Active=Unknown/Queued Ready=Unknown/Queued SKSReady=True \
                    ScaleTargetInitialized=Unknown",
                    3,
                ),
                (Some(3), 3, UP, 3),
                (Some(1), 1, UP, 1),
            ],
        );
    }

    #[test]
    fn an_initial_scale_of_zero_is_idle_at_once() {
        let policy = Policy { initial_scale: 0, ..Policy::default() };
        check(&policy, &[(None, 0, IDLE, -1), (None, 0, IDLE, -1)]);
    }

    #[test]
    fn a_revision_that_did_not_start_timed_out() {
        check(
            &Policy::default(),
            &[
                (None, 0, STARTING, -1),
                (
                    Some(0),
                    0,
                    "Active=False/TimedOut Ready=False/TimedOut \
                    SKSReady=Unknown/NotReady ScaleTargetInitialized=Unknown",
                    0,
                ),
            ],
        );
    }

    #[test]
    fn what_says_the_same_keeps_its_time() {
        let mut autoscaler = PodAutoscaler::default();
        autoscaler.metadata.generation = Some(1);
        let policy = Policy::default();
        let first = status(&autoscaler, &facts(Some(1), 1), &policy, at(0));
        autoscaler.status = Some(first.clone());
        autoscaler.metadata.generation = Some(2);
        let second = status(&autoscaler, &facts(Some(1), 1), &policy, at(9));
        assert_eq!(second.conditions, first.conditions);
        assert_eq!(second.observed_generation, Some(2));
        let standing = standing(&autoscaler, None, false, at(9));
        assert_eq!((standing.activity, standing.since), (Activity::Active, at(0)));
    }

    #[test]
    fn a_serverless_service_says_who_is_behind_it() {
        let mut serverless = ServerlessService::default();
        serverless.metadata.generation = Some(1);
        for (mode, ready, expected) in [
            (
                Mode::Proxy,
                0,
                "ActivatorEndpointsPopulated=True/ActivatorEndpointsPopulated \
                EndpointsPopulated=Unknown/NoHealthyBackends Ready=Unknown/NoHealthyBackends",
            ),
            (
                Mode::Proxy,
                1,
                "ActivatorEndpointsPopulated=True/ActivatorEndpointsPopulated \
                EndpointsPopulated=True Ready=True",
            ),
            (
                Mode::Serve,
                1,
                "ActivatorEndpointsPopulated=False/ActivatorEndpointsPopulated \
                EndpointsPopulated=True Ready=True",
            ),
            (
                Mode::Serve,
                0,
                "ActivatorEndpointsPopulated=True/ActivatorEndpointsPopulated \
                EndpointsPopulated=Unknown/NoHealthyBackends Ready=Unknown/NoHealthyBackends",
            ),
        ] {
            let status = serverless_status(&serverless, mode, &facts(None, ready), at(0));
            assert_eq!(words(&status.conditions), expected);
            assert_eq!(status.private_service_name.as_deref(), Some("hello-00001-private"));
            serverless.status = Some(status);
        }
        let blocked = Some(Blocked { kind: "Service", name: "hello-00001" });
        let status = serverless_status(
            &serverless,
            Mode::Proxy,
            &Facts { blocked, ..facts(None, 1) },
            at(1),
        );
        let ready = condition::find(&status.conditions, "Ready").unwrap();
        assert_eq!(ready.reason(), "NotOwned");
        assert_eq!(ready.message(), "Resource hello-00001 of type Service is not owned by SKS");
    }
}
