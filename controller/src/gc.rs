//! Deletes Revisions that no Route has used for long, and those that are too many.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/gc`.

use std::{sync::Arc, time::Duration};

use api::{
    keys::serving,
    serving::{Configuration, Revision},
};
use config::gc::Gc;
use jiff::Timestamp;
use runtime::plan::{Plan, Write};

use crate::metadata::{self, name};

/// Which of a Configuration's Revisions to delete.
pub fn plan(
    configuration: &Configuration,
    revisions: &[Arc<Revision>],
    config: &Gc,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::about(configuration);
    let keep = usize::try_from(config.min_non_active_revisions).unwrap_or_default();
    let most = config.max_non_active_revisions.and_then(|it| usize::try_from(it).ok());
    let is_off = most.is_none()
        && config.retain_since_create_time.is_none()
        && config.retain_since_last_active_time.is_none();
    if is_off || revisions.len() <= keep || metadata::is_deleted(&configuration.metadata) {
        return plan;
    }
    let mut unused: Vec<&Arc<Revision>> =
        revisions.iter().filter(|it| !is_in_use(it, configuration)).collect();
    unused.sort_by_key(|it| (last_used(it), name(&it.metadata).to_owned()));
    let may_go = unused.len().saturating_sub(keep);

    let (stale, rest): (Vec<_>, Vec<_>) =
        unused.into_iter().partition(|it| is_stale(it, config, now));
    let mut gone: Vec<_> = stale.iter().take(may_go).copied().collect();
    if gone.len() < may_go
        && let Some(most) = most
    {
        gone.extend(rest.iter().take(rest.len().saturating_sub(most)));
    }
    plan.writes = gone
        .into_iter()
        .filter(|it| !metadata::is_deleted(&it.metadata))
        .map(|it| Write::delete(&**it).with_context("failed to delete stale revision"))
        .collect();
    plan
}

/// The latest that is ready, what people asked to keep, and what is not known to be unused.
fn is_in_use(revision: &Revision, configuration: &Configuration) -> bool {
    let latest = configuration.status.as_ref();
    let latest = latest.and_then(|it| it.latest_ready_revision_name.as_deref());
    latest == Some(name(&revision.metadata))
        || metadata::get(&revision.metadata.annotations, serving::NO_GC)
            .eq_ignore_ascii_case("true")
        || metadata::get(&revision.metadata.labels, serving::ROUTING_STATE) != "reserve"
}

fn is_stale(revision: &Revision, config: &Gc, now: Timestamp) -> bool {
    let is_past = |since: Timestamp, limit: Option<Duration>| {
        let age = now.duration_since(since);
        limit.is_none_or(|limit| age >= jiff::SignedDuration::try_from(limit).unwrap_or_default())
    };
    let has_limit =
        config.retain_since_create_time.is_some() || config.retain_since_last_active_time.is_some();
    has_limit
        && is_past(created(revision), config.retain_since_create_time)
        && is_past(last_used(revision), config.retain_since_last_active_time)
}

fn created(revision: &Revision) -> Timestamp {
    revision.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |it| it.0)
}

fn last_used(revision: &Revision) -> Timestamp {
    metadata::get(&revision.metadata.annotations, serving::ROUTING_STATE_MODIFIED)
        .parse()
        .unwrap_or_else(|_| created(revision))
}
