//! EventType: tells which events can be had from an object.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/eventing `pkg/reconciler/eventtype/eventtype.go`.

use api::{
    condition::Set,
    duck::KReference,
    eventing::{EVENT_TYPE, EventTypeStatus, REFERENCE_EXISTS, v1beta2::EventType},
};
use jiff::Timestamp;
use runtime::{
    plan::Plan,
    resolve::{self, Problem},
    tracker::Lookup,
};

use crate::metadata::{is_deleted, namespace};

const CONDITIONS: Set = EVENT_TYPE;

/// What to do about an EventType.
pub fn plan(event_type: &EventType, lookup: Lookup, now: Timestamp) -> Plan {
    if is_deleted(&event_type.metadata) {
        return Plan::nothing();
    }
    let mut plan = Plan::about(event_type);
    let before = event_type.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = event_type.metadata.generation;
    CONDITIONS.begin(&mut status.conditions, generation, before.observed_generation, now);
    status.observed_generation = generation;
    plan.error = reconcile(event_type, lookup, &mut status, now).err();
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(event_type, Some(&before), &status);
    plan
}

fn reconcile(
    event_type: &EventType,
    lookup: Lookup,
    status: &mut EventTypeStatus,
    now: Timestamp,
) -> Result<(), String> {
    const TYPE: &str = REFERENCE_EXISTS;
    let conditions = &mut status.conditions;
    let reference = event_type.spec.reference.as_ref();
    let Some(reference) = reference.filter(|it| **it != KReference::default()) else {
        CONDITIONS.mark_true_because(
            conditions,
            TYPE,
            "ReferenceNotSet",
            "spec.reference is not set",
            now,
        );
        return Ok(());
    };
    let own = namespace(&event_type.metadata);
    let problem = match resolve::object(reference, own, lookup) {
        Ok(_) => {
            CONDITIONS.mark_true(conditions, TYPE, now);
            return Ok(());
        }
        Err(problem) => problem,
    };
    let space = resolve::namespace_of(reference, own);
    let why = format!("failed to get object {space}/{}: {problem}", reference.name);
    match problem {
        Problem::Missing(_) => {
            let (reason, message) =
                ("ResourceDoesNotExist", "Resource in spec.reference does not exist");
            CONDITIONS.mark_false(conditions, TYPE, reason, message, now);
        }
        Problem::Wrong(_) => {
            let message = format!("Failed to get reference: {why}");
            CONDITIONS.mark_unknown(conditions, TYPE, "ReferenceGetFailed", &message, now);
        }
    }
    Err(why)
}
