//! Configuration: one Revision for each generation of its template, and which of them is the latest.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/configuration`.

use std::sync::Arc;

use api::{
    condition::{self, READY, Set},
    keys::serving,
    names::child_name,
    serving::{Configuration, ConfigurationStatus, Revision},
};
use jiff::Timestamp;
use runtime::plan::{Event, Plan, Write, is_controlled_by, owner, status_write};

use crate::{
    metadata::{self, name, uid},
    revision,
};

/// The conditions of a Configuration.
pub const CONDITIONS: Set = Set { dependents: &[] };

/// What there is of a Configuration's Revisions.
#[derive(Clone, Copy, Default)]
pub struct Seen<'a> {
    /// The Revision that the template names, if it names one, whoever owns it.
    pub named: Option<&'a Arc<Revision>>,
    /// Revisions labelled with the Configuration's name.
    pub revisions: &'a [Arc<Revision>],
}

/// What to do about a Configuration.
pub fn plan(configuration: &Configuration, seen: Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::about(configuration);
    if metadata::is_deleted(&configuration.metadata) {
        return plan;
    }
    let before = configuration.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (configuration.metadata.generation, status.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);
    status.observed_generation = generation;

    match latest(configuration, seen) {
        Latest::Missing => {
            create(configuration, &before, status, &mut plan, now);
            return plan;
        }
        Latest::Taken(name) => {
            let why = format!("revisions.serving.knative.dev \"{name}\" already exists");
            mark_creation_failed(&mut status, &why, now);
        }
        Latest::Created(revision) => {
            follow(configuration, seen, revision, &mut status, &mut plan, now);
        }
    }
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(configuration, Some(&before), &status);
    plan
}

enum Latest<'a> {
    Created(&'a Arc<Revision>),
    Missing,
    Taken(&'a str),
}

/// The Revision of the Configuration's generation.
fn latest<'a>(configuration: &'a Configuration, seen: Seen<'a>) -> Latest<'a> {
    if let Some(wanted) = template_name(configuration) {
        return match seen.named {
            None => Latest::Missing,
            Some(revision) if is_its_revision(configuration, revision) => Latest::Created(revision),
            Some(_) => Latest::Taken(wanted),
        };
    }
    let generation = configuration.metadata.generation;
    let found = seen.revisions.iter().find(|it| generation_of(it) == generation);
    found.map_or(Latest::Missing, Latest::Created)
}

/// Whether a Revision of the name that the template gives is the one that the template means.
pub fn is_its_revision(configuration: &Configuration, revision: &Revision) -> bool {
    is_controlled_by(revision, configuration)
        && (generation_of(revision) == configuration.metadata.generation
            || revision.spec == configuration.spec.template.spec)
}

/// What the status says follows from the new Revision, so it is left to the next plan.
fn create(
    configuration: &Configuration,
    before: &ConfigurationStatus,
    mut status: ConfigurationStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    let made = revision(configuration, now);
    let event = Event::normal("Created", format!("Created Revision \"{}\"", name(&made.metadata)));
    plan.writes.push(
        Write::create(&made)
            .with_event(event)
            .with_failure(Event::warning("CreationFailed", "Failed to create Revision"))
            .with_context("failed to create Revision"),
    );
    let (configuration, before) = (configuration.clone(), before.clone());
    status.conditions.retain(|it| it.type_ == READY);
    plan.status_after_failure = Some(Box::new(move |why| {
        let mut status = status.clone();
        mark_creation_failed(&mut status, why, now);
        CONDITIONS.end(&mut status.conditions, &before.conditions);
        status_write(&configuration, Some(&before), &status)
    }));
}

fn mark_creation_failed(status: &mut ConfigurationStatus, why: &str, now: Timestamp) {
    let message = format!("Revision creation failed with message: {why}.");
    CONDITIONS.mark_false(&mut status.conditions, READY, "RevisionFailed", &message, now);
}

/// Says of the Configuration what its latest Revision says.
fn follow(
    configuration: &Configuration,
    seen: Seen,
    latest: &Arc<Revision>,
    status: &mut ConfigurationStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    let latest_name = name(&latest.metadata);
    let ready_name = status.latest_ready_revision_name.clone().unwrap_or_default();
    status.latest_created_revision_name = Some(latest_name.to_owned());
    if ready_name != latest_name {
        CONDITIONS.mark_unknown(&mut status.conditions, READY, "", "", now);
    }
    let ready = latest.status.as_ref().and_then(|it| condition::find(&it.conditions, READY));
    match ready {
        Some(ready) if ready.is_true() && ready_name.is_empty() => {
            plan.normal("ConfigurationReady", "Configuration becomes ready");
        }
        Some(ready) if ready.is_false() => {
            let before = configuration.status.as_ref();
            let before = before.and_then(|it| condition::find(&it.conditions, READY).cloned());
            let message =
                format!("Revision \"{latest_name}\" failed with message: {}.", ready.message());
            CONDITIONS.mark_false(&mut status.conditions, READY, "RevisionFailed", &message, now);
            let after = condition::find(&status.conditions, READY);
            let is_news =
                !before.as_ref().zip(after).is_some_and(|(old, new)| old.says_the_same(new));
            if is_news && latest_name == ready_name {
                let message = format!("Latest ready revision \"{latest_name}\" has failed");
                plan.warn("LatestReadyFailed", message);
            } else if is_news {
                let message = format!("Latest created revision \"{latest_name}\" has failed");
                plan.warn("LatestCreatedFailed", message);
            }
        }
        _ => {}
    }
    let Some(ready) = latest_ready(configuration, seen, latest, &ready_name) else { return };
    let new_name = name(&ready.metadata);
    status.latest_ready_revision_name = Some(new_name.to_owned());
    if new_name == latest_name {
        CONDITIONS.mark_true(&mut status.conditions, READY, now);
    }
    if new_name != ready_name {
        let message = format!("LatestReadyRevisionName updated to \"{new_name}\"");
        plan.normal("LatestReadyUpdate", message);
    }
}

/// The newest ready Revision; none that is older than the one of that honour, while that exists.
fn latest_ready<'a>(
    configuration: &Configuration,
    seen: Seen<'a>,
    latest: &'a Arc<Revision>,
    ready_name: &str,
) -> Option<&'a Arc<Revision>> {
    let named = template_name(configuration);
    let current = configuration.metadata.generation.unwrap_or_default();
    let oldest = seen
        .revisions
        .iter()
        .find(|it| name(&it.metadata) == ready_name)
        .map(|it| generation_of(it).unwrap_or(current));
    let is_candidate = |revision: &Revision| {
        let generation = generation_of(revision);
        oldest.is_none_or(|oldest| {
            generation.is_some_and(|it| (oldest..=current).contains(&it))
                || (named.is_some() && generation == generation_of(latest))
        })
    };
    let is_named = |revision: &Revision| named == Some(name(&revision.metadata));
    seen.revisions
        .iter()
        .filter(|it| is_candidate(it) && revision::is_ready(it))
        .max_by_key(|it| (is_named(it), generation_of(it)))
}

/// The generation of its Configuration that a Revision was made of.
fn generation_of(revision: &Revision) -> Option<i64> {
    metadata::get(&revision.metadata.labels, serving::CONFIGURATION_GENERATION).parse().ok()
}

/// The name that people gave to the next Revision.
pub fn template_name(configuration: &Configuration) -> Option<&str> {
    configuration.spec.template.metadata.name.as_deref().filter(|name| !name.is_empty())
}

/// The Revision of the Configuration's generation, new.
fn revision(configuration: &Configuration, now: Timestamp) -> Revision {
    let template = &configuration.spec.template;
    let mut meta = template.metadata.clone();
    let owner_name = name(&configuration.metadata);
    let generation = configuration.metadata.generation.unwrap_or_default();
    meta.namespace = configuration.metadata.namespace.clone();
    if template_name(configuration).is_none() {
        meta.name = Some(child_name(owner_name, &format!("-{generation:05}")));
    }

    let annotations = meta.annotations.get_or_insert_default();
    let given = &configuration.metadata.annotations;
    if let Some(modifier) = metadata::first(given, &[serving::LAST_MODIFIER]) {
        annotations.insert(serving::CREATOR.to_owned(), modifier.to_owned());
    }
    // Pending until the route's reconciler has seen it, unless a route is known already.
    let mut state = "pending";
    if let Some(routes) = metadata::first(given, &[serving::ROUTES]) {
        annotations.insert(serving::ROUTES.to_owned(), routes.to_owned());
        state = "active";
    }
    annotations.insert(serving::ROUTING_STATE_MODIFIED.to_owned(), revision::stamp(now));

    let labels = meta.labels.get_or_insert_default();
    labels.insert(serving::ROUTING_STATE.to_owned(), state.to_owned());
    let of_configuration = |key| metadata::get(&configuration.metadata.labels, key);
    for (key, value) in [
        (serving::CONFIGURATION, owner_name),
        (serving::SERVICE, of_configuration(serving::SERVICE)),
        (serving::CONFIGURATION_GENERATION, generation.to_string().as_str()),
        (serving::CONFIGURATION_UID, uid(&configuration.metadata)),
        (serving::SERVICE_UID, of_configuration(serving::SERVICE_UID)),
    ] {
        if !value.is_empty() {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    meta.owner_references.get_or_insert_default().push(owner(configuration));
    Revision { metadata: meta, spec: template.spec.clone(), status: None }
}
