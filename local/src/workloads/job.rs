//! Job → Pods that run to their end, counted once each.
//!
//! Pure: `plan` sees a Job and its pods. Finished pods keep a finalizer until they are counted in the status, so that
//! no pod is lost and none is counted twice.
//! Source: kubernetes `pkg/controller/job/job_controller.go`; completion mode Indexed and failure policies are left out.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{JobCondition, JobStatus, UncountedTerminatedPods},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;

use super::{
    objects::{Job, Phase, Pod, later},
    replica_set::pod_of,
    resources::{Kind, Note, Part, Plan, Write, status_patch},
};

/// Holds a pod until its end is in the Job's status.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The first pause after a failed pod; it doubles with each failure up to [`LONGEST_PAUSE_S`]. Upstream's figures.
const FIRST_PAUSE_S: i64 = 10;
const LONGEST_PAUSE_S: i64 = 600;

/// What to write so that `job` has its pods, or its status counts them.
pub fn plan(job: &Job, pods: &[&Pod], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if has(&job.status, "Complete") || has(&job.status, "Failed") {
        release(&mut plan, job, pods);
        expire(&mut plan, job, now);
        return plan;
    }
    if job.meta.deleted.is_some() {
        release(&mut plan, job, pods);
        return plan;
    }
    let tally = Tally::new(job, pods);
    let mut status = tally.status.clone();
    status.start_time = status.start_time.or_else(|| (!job.spec.is_suspended).then_some(Time(now)));
    let active: Vec<&&Pod> = pods.iter().filter(|pod| pod.is_active()).collect();
    let end = ending(job, &status, &tally, now);
    if let Some(end) = &end {
        for pod in &active {
            plan.writes.push(Write::delete(Kind::Pod, &pod.meta));
        }
        let is_done = active.is_empty() && tally.to_release.is_empty() && tally.is_counted();
        if is_done {
            finish(&mut plan, &mut status, end, now);
        }
    } else if job.spec.is_suspended {
        plan.writes.extend(active.iter().map(|pod| Write::delete(Kind::Pod, &pod.meta)));
    } else {
        let succeeded = status.succeeded.unwrap_or(0) + tally.uncounted_succeeded();
        let wanted = match job.spec.completions {
            Some(completions) => job.spec.parallelism.min((completions - succeeded).max(0)),
            None if succeeded > 0 => active.len() as i32,
            None => job.spec.parallelism,
        };
        let missing = wanted - active.len() as i32;
        if missing > 0 {
            start(&mut plan, job, pods, missing, now);
        }
        for pod in active.iter().take((-missing).max(0) as usize) {
            plan.writes.push(Write::delete(Kind::Pod, &pod.meta));
        }
    }
    if let (Some(deadline_s), Some(started), None) = (job.spec.deadline_s, &status.start_time, &end)
    {
        plan.again_at(later(started.0, deadline_s));
    }
    for pod in &tally.to_release {
        plan.writes.push(unhold(pod));
    }
    let deleting = pods.iter().filter(|pod| pod.is_live() && pod.meta.deleted.is_some()).count();
    status.terminating = Some(deleting as i32);
    status.active = Some(active.len() as i32).filter(|it| *it > 0);
    status.ready = Some(active.iter().filter(|pod| pod.is_ready).count() as i32);
    if status != job.status {
        let mut body = status_patch(&status, &["active", "conditions"]);
        for list in ["succeeded", "failed"] {
            // A merge patch empties a list only when it says so.
            let uncounted = &mut body["status"]["uncountedTerminatedPods"];
            let value = uncounted[list].take();
            uncounted[list] = value;
        }
        let (resource, key) = (Kind::Job.resource(), job.meta.key.clone());
        plan.status = Some(Write::Merge { resource, key, part: Part::Status, body });
    }
    plan
}

/// Finished pods on their way into the status: named there, then let go, then counted.
struct Tally<'a> {
    status: JobStatus,
    /// Named in the stored status, and still held.
    to_release: Vec<&'a Pod>,
}

impl<'a> Tally<'a> {
    fn new(job: &Job, pods: &[&'a Pod]) -> Self {
        let mut status = job.status.clone();
        let named = status.uncounted_terminated_pods.take().unwrap_or_default();
        let succeeded: BTreeSet<String> = named.succeeded.into_iter().flatten().collect();
        let failed: BTreeSet<String> = named.failed.into_iter().flatten().collect();
        let held = |uid: &String| pods.iter().find(|pod| *pod.meta.uid == **uid && is_held(pod));
        let mut to_release = Vec::new();
        let mut count = |uids: BTreeSet<String>, total: &mut Option<i32>| {
            let mut left = Vec::new();
            for uid in uids {
                match held(&uid) {
                    Some(pod) => {
                        to_release.push(*pod);
                        left.push(uid);
                    }
                    None => *total = Some(total.unwrap_or(0) + 1),
                }
            }
            left
        };
        let mut succeeded_left = count(succeeded, &mut status.succeeded);
        let mut failed_left = count(failed, &mut status.failed);
        for pod in pods.iter().filter(|pod| is_held(pod)) {
            let uid = pod.meta.uid.to_string();
            let is_new = !succeeded_left.contains(&uid) && !failed_left.contains(&uid);
            match pod.phase {
                Phase::Succeeded if is_new => succeeded_left.push(uid),
                Phase::Failed if is_new => failed_left.push(uid),
                _ => {}
            }
        }
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: Some(succeeded_left).filter(|it| !it.is_empty()),
            failed: Some(failed_left).filter(|it| !it.is_empty()),
        });
        Self { status, to_release }
    }

    fn uncounted(&self, of: fn(&UncountedTerminatedPods) -> &Option<Vec<String>>) -> i32 {
        let named = self.status.uncounted_terminated_pods.as_ref();
        named.and_then(|it| of(it).as_ref()).map_or(0, |it| it.len() as i32)
    }

    fn uncounted_succeeded(&self) -> i32 {
        self.uncounted(|it| &it.succeeded)
    }

    fn uncounted_failed(&self) -> i32 {
        self.uncounted(|it| &it.failed)
    }

    fn is_counted(&self) -> bool {
        self.uncounted_succeeded() == 0 && self.uncounted_failed() == 0
    }
}

/// Why a Job is over.
struct End {
    condition: &'static str,
    reason: &'static str,
    message: &'static str,
}

fn ending(job: &Job, status: &JobStatus, tally: &Tally, now: Timestamp) -> Option<End> {
    let failed = status.failed.unwrap_or(0) + tally.uncounted_failed();
    let succeeded = status.succeeded.unwrap_or(0) + tally.uncounted_succeeded();
    let started = status.start_time.as_ref().map(|it| it.0);
    let is_late = job.spec.deadline_s.zip(started).is_some_and(|(s, from)| later(from, s) <= now);
    let is_complete = match job.spec.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && status.active.unwrap_or(0) == 0,
    };
    if failed > job.spec.backoff_limit {
        return Some(End {
            condition: "Failed",
            reason: "BackoffLimitExceeded",
            message: "Job has reached the specified backoff limit",
        });
    }
    if is_late && !is_complete {
        return Some(End {
            condition: "Failed",
            reason: "DeadlineExceeded",
            message: "Job was active longer than specified deadline",
        });
    }
    is_complete.then_some(End {
        condition: "Complete",
        reason: "CompletionsReached",
        message: "Reached expected number of succeeded pods",
    })
}

fn finish(plan: &mut Plan, status: &mut JobStatus, end: &End, now: Timestamp) {
    let is_complete = end.condition == "Complete";
    let first = if is_complete { "SuccessCriteriaMet" } else { "FailureTarget" };
    let conditions = status.conditions.get_or_insert_default();
    for kind in [first, end.condition] {
        conditions.push(JobCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(end.reason.into()),
            message: Some(end.message.into()),
            last_probe_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
        });
    }
    if is_complete {
        status.completion_time = Some(Time(now));
        plan.notes.push(Note::normal("Completed", "Job completed".into()));
    } else {
        plan.notes.push(Note { is_warning: true, reason: end.reason, message: end.message.into() });
    }
}

/// Makes pods, later if some failed lately.
fn start(plan: &mut Plan, job: &Job, pods: &[&Pod], missing: i32, now: Timestamp) {
    let failures = pods.iter().filter(|pod| pod.phase == Phase::Failed).count() as i32;
    let last =
        pods.iter().filter(|pod| pod.phase == Phase::Failed).map(|pod| pod.meta.created).max();
    if let Some(last) = last.filter(|_| failures > 0) {
        let pause = FIRST_PAUSE_S << (failures - 1).min(6);
        let due = later(last, pause.min(LONGEST_PAUSE_S));
        if due > now {
            plan.again_at(due);
            return;
        }
    }
    let Some(text) = &job.template.text else {
        plan.needs_template = true;
        return;
    };
    let mut body = pod_of(text, Kind::Job, &job.meta);
    body["metadata"]["finalizers"] = json!([TRACKING]);
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &*job.meta.uid),
        ("batch.kubernetes.io/job-name", &*job.meta.key.name),
    ] {
        body["metadata"]["labels"][key] = json!(value);
    }
    let create = Write::Create {
        resource: Kind::Pod.resource(),
        namespace: job.meta.key.namespace.clone(),
        body,
    };
    plan.writes.extend(vec![create; missing as usize]);
}

/// Lets go of pods that nobody will count any more.
fn release(plan: &mut Plan, job: &Job, pods: &[&Pod]) {
    let is_deleted = job.meta.deleted.is_some();
    let over = pods.iter().filter(|pod| is_held(pod) && (is_deleted || !pod.is_live()));
    plan.writes.extend(over.map(|pod| unhold(pod)));
}

fn expire(plan: &mut Plan, job: &Job, now: Timestamp) {
    let ended = job.status.conditions.iter().flatten();
    let ended = ended.filter(|it| matches!(&*it.type_, "Complete" | "Failed"));
    let ended = ended.filter_map(|it| it.last_transition_time.as_ref()).map(|it| it.0).max();
    let (Some(ttl_s), Some(ended), None) = (job.spec.ttl_s, ended, job.meta.deleted) else {
        return;
    };
    let due = later(ended, ttl_s);
    if due > now {
        plan.again_at(due);
        return;
    }
    plan.writes.push(Write::delete(Kind::Job, &job.meta));
}

fn unhold(pod: &Pod) -> Write {
    let left: Vec<_> = pod.meta.finalizers.iter().filter(|it| *it != TRACKING).collect();
    Write::Merge {
        resource: Kind::Pod.resource(),
        key: pod.meta.key.clone(),
        part: Part::Main,
        body: json!({"metadata": {"uid": &*pod.meta.uid, "finalizers": left}}),
    }
}

fn is_held(pod: &Pod) -> bool {
    pod.meta.finalizers.iter().any(|it| it == TRACKING)
}

fn has(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|it| it.type_ == kind && it.status == "True")
}
