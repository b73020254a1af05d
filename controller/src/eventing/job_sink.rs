//! JobSink: a Job for each event.
//!
//! Pure: [`plan`] decides on what was seen. Who takes the events and makes the Jobs is in the broker's role.
//! Source: knative/eventing `pkg/reconciler/jobsink/jobsink.go`, `pkg/apis/sinks/v1alpha1/job_sink_lifecycle.go`.

use api::{
    condition::Set,
    duck::{Addressable, marks},
    keys::eventing,
    sinks::{ADDRESSABLE, JOB_SINK, JobSink, JobStatus},
};
use config::domain::CLUSTER_LOCAL_DOMAIN;
use jiff::Timestamp;
use runtime::plan::Plan;

use crate::metadata::{is_deleted, name, namespace};

const CONDITIONS: Set = JOB_SINK;

/// What to do about a JobSink; `system_namespace` is that of the platform's own objects of Eventing.
pub fn plan(sink: &JobSink, system_namespace: &str, now: Timestamp) -> Plan {
    if is_deleted(&sink.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(sink);
    let before = sink.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = sink.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    let (space, own) = (namespace(&sink.metadata), name(&sink.metadata));
    let host = format!("job-sink.{system_namespace}.{CLUSTER_LOCAL_DOMAIN}");
    status.address = Some(Addressable {
        name: Some("http".to_owned()),
        url: Some(format!("http://{host}/{space}/{own}")),
        ..Addressable::default()
    });
    status.job = JobStatus { selector: Some(format!("{}={own}", eventing::JOB_SINK_NAME)) };
    CONDITIONS.mark_true(&mut status.conditions, ADDRESSABLE, now);
    marks::no_policies(CONDITIONS, &mut status.conditions, now);
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(sink, Some(&before), &status);
    plan
}
