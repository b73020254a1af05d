//! Service: a Configuration and a Route of its name, and what both say, together.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/service`.

use api::{
    condition::{self, Set},
    keys::serving,
    serving::{
        Configuration, ConfigurationSpec, ConfigurationStatus, Revision, Route, RouteSpec,
        RouteStatus, Service, ServiceStatus, TrafficTarget,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::plan::{Event, Plan, Write, is_controlled_by, is_left_over, owner};

use crate::metadata::{self, LAST_APPLIED, name, uid};

/// The conditions of a Service.
pub const CONDITIONS: Set = Set { dependents: &[CONFIGURATIONS_READY, ROUTES_READY] };
const CONFIGURATIONS_READY: &str = "ConfigurationsReady";
const ROUTES_READY: &str = "RoutesReady";

/// What there is of a Service's children.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Whether a write is known to change nothing: see [`runtime::cluster::Cluster::is_futile`].
    pub is_futile: &'a dyn Fn(&Write) -> bool,
    /// The Configuration of the Service's name.
    pub configuration: Option<&'a Configuration>,
    /// The Route of the Service's name.
    pub route: Option<&'a Route>,
    /// The Revision that the template names, if it names one.
    pub named_revision: Option<&'a Revision>,
}

/// What to do about a Service.
pub fn plan(service: &Service, seen: Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::about(service);
    if metadata::is_deleted(&service.metadata) {
        return plan;
    }
    let before = service.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (service.metadata.generation, status.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);

    reconcile(service, seen, &mut status, &mut plan, now);

    status.observed_generation = generation;
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(service, Some(&before), &status);
    plan
}

fn reconcile(
    service: &Service,
    seen: Seen,
    status: &mut ServiceStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    let service_name = name(&service.metadata);
    let template_name = service.spec.template.metadata.name.as_deref().unwrap_or_default();
    let is_observed = match seen.configuration {
        None => {
            let event =
                Event::normal("Created", format!("Created Configuration \"{service_name}\""));
            let failed = Event::warning(
                "CreationFailed",
                format!("Failed to create Configuration \"{service_name}\""),
            );
            plan.writes.push(
                Write::create(&configuration(service, None))
                    .with_event(event)
                    .with_failure(failed)
                    .with_context("failed to create Configuration"),
            );
            false
        }
        Some(found) if !is_controlled_by(found, service) => {
            let message = format!(
                "There is an existing Configuration \"{service_name}\" that we do not own."
            );
            let conditions = &mut status.conditions;
            CONDITIONS.mark_false(conditions, CONFIGURATIONS_READY, "NotOwned", &message, now);
            plan.error = Some(format!(
                "service: \"{service_name}\" does not own configuration: \"{service_name}\""
            ));
            return;
        }
        Some(found) => {
            let wanted = configuration(service, Some(found));
            let mut is_same_spec = found.spec == wanted.spec;
            if !is_same_spec || !is_same_metadata(&found.metadata, &wanted.metadata) {
                let mut changed = found.clone();
                changed.spec = wanted.spec;
                changed.metadata.labels = wanted.metadata.labels;
                changed.metadata.annotations = wanted.metadata.annotations;
                let write = Write::replace(&changed);
                if (seen.is_futile)(&write) {
                    is_same_spec = true;
                } else {
                    plan.writes.push(write.with_context("failed to reconcile Configuration"));
                }
            }
            let found_status = found.status.as_ref();
            is_same_spec
                && found_status
                    .is_some_and(|it| it.observed_generation == found.metadata.generation)
        }
    };
    if is_observed {
        let found = seen.configuration.and_then(|it| it.status.as_ref());
        take_configuration(status, found.expect("what is observed has a status"), now);
    } else {
        CONDITIONS.mark_unknown(
            &mut status.conditions,
            CONFIGURATIONS_READY,
            "OutOfDate",
            "The Configuration is still working to reflect the latest desired specification.",
            now,
        );
        // The route must not point at a revision of a name that may turn out to be taken.
        if !template_name.is_empty() {
            return;
        }
    }
    if let (Some(configuration), Some(revision)) = (seen.configuration, seen.named_revision)
        && !template_name.is_empty()
        && !crate::configuration::is_its_revision(configuration, revision)
    {
        let message = format!(
            "The revision name \"{template_name}\" is taken by a conflicting Revision, so traffic \
             will not be migrated"
        );
        let conditions = &mut status.conditions;
        CONDITIONS.mark_false(conditions, ROUTES_READY, "RevisionNameTaken", &message, now);
        return;
    }
    reconcile_route(service, seen, status, plan, now);
}

fn reconcile_route(
    service: &Service,
    seen: Seen,
    status: &mut ServiceStatus,
    plan: &mut Plan,
    now: Timestamp,
) {
    let service_name = name(&service.metadata);
    let wanted = route(service);
    let is_observed = match seen.route {
        None => {
            let event = Event::normal("Created", format!("Created Route \"{service_name}\""));
            let failed = Event::warning(
                "CreationFailed",
                format!("Failed to create Route \"{service_name}\""),
            );
            plan.writes.push(
                Write::create(&wanted)
                    .with_event(event)
                    .with_failure(failed)
                    .with_context("failed to create Route"),
            );
            false
        }
        Some(found) if is_left_over(found, service) => false,
        Some(found) if !is_controlled_by(found, service) => {
            let message =
                format!("There is an existing Route \"{service_name}\" that we do not own.");
            CONDITIONS.mark_false(&mut status.conditions, ROUTES_READY, "NotOwned", &message, now);
            plan.error =
                Some(format!("service: \"{service_name}\" does not own route: \"{service_name}\""));
            return;
        }
        Some(found) => {
            let mut is_same_spec = found.spec == wanted.spec;
            if !is_same_spec || !is_same_metadata(&found.metadata, &wanted.metadata) {
                let mut changed = found.clone();
                changed.spec = wanted.spec.clone();
                changed.metadata.labels = wanted.metadata.labels.clone();
                changed.metadata.annotations = wanted.metadata.annotations.clone();
                let write = Write::replace(&changed);
                if (seen.is_futile)(&write) {
                    is_same_spec = true;
                } else {
                    plan.writes.push(write.with_context("failed to reconcile Route"));
                }
            }
            let found_status = found.status.as_ref();
            is_same_spec
                && found_status
                    .is_some_and(|it| it.observed_generation == found.metadata.generation)
        }
    };
    if !is_observed {
        CONDITIONS.mark_unknown(
            &mut status.conditions,
            ROUTES_READY,
            "OutOfDate",
            "The Route is still working to reflect the latest desired specification.",
            now,
        );
        return;
    }
    let found =
        seen.route.and_then(|it| it.status.as_ref()).expect("what is observed has a status");
    // A route without revisions fails as its configuration does. Who waits is told the cause first; the status that says
    // so leads to the next plan.
    let before = service.status.as_ref().map_or(&[][..], |it| &it.conditions);
    let is_cause = condition::is_false(&status.conditions, CONFIGURATIONS_READY)
        && !condition::is_false(before, CONFIGURATIONS_READY);
    if is_cause && condition::is_false(&found.conditions, condition::READY) {
        return;
    }
    take_route(status, found, now);
    let is_ready = condition::is_true(&status.conditions, ROUTES_READY);
    if is_ready && !is_migrated(&wanted.spec.traffic, &found.traffic, service_name, seen) {
        CONDITIONS.mark_unknown(
            &mut status.conditions,
            ROUTES_READY,
            "TrafficNotMigrated",
            "Traffic is not yet migrated to the latest revision.",
            now,
        );
    }
}

fn take_configuration(status: &mut ServiceStatus, from: &ConfigurationStatus, now: Timestamp) {
    status.latest_created_revision_name = from.latest_created_revision_name.clone();
    status.latest_ready_revision_name = from.latest_ready_revision_name.clone();
    take_ready(&mut status.conditions, CONFIGURATIONS_READY, &from.conditions, now);
}

fn take_route(status: &mut ServiceStatus, from: &RouteStatus, now: Timestamp) {
    status.url = from.url.clone();
    status.address = from.address.clone();
    status.traffic = from.traffic.clone();
    take_ready(&mut status.conditions, ROUTES_READY, &from.conditions, now);
}

/// Says of `type_` what a child says of its `Ready`.
fn take_ready(
    conditions: &mut Vec<condition::Condition>,
    type_: &str,
    child: &[condition::Condition],
    now: Timestamp,
) {
    let Some(ready) = condition::find(child, condition::READY) else { return };
    match ready.status.as_str() {
        condition::TRUE => CONDITIONS.mark_true(conditions, type_, now),
        condition::FALSE => {
            CONDITIONS.mark_false(conditions, type_, ready.reason(), ready.message(), now);
        }
        _ => CONDITIONS.mark_unknown(conditions, type_, ready.reason(), ready.message(), now),
    }
}

/// Whether the traffic that the Route reports is what the Service wants now.
fn is_migrated(
    wanted: &[TrafficTarget],
    found: &[TrafficTarget],
    configuration: &str,
    seen: Seen,
) -> bool {
    let latest_ready = seen
        .configuration
        .and_then(|it| it.status.as_ref())
        .and_then(|it| it.latest_ready_revision_name.clone());
    let is_same = |(wanted, found): (&TrafficTarget, &TrafficTarget)| {
        let (configuration_name, revision_name) =
            if wanted.configuration_name.as_deref() == Some(configuration) {
                (None, latest_ready.clone())
            } else {
                (wanted.configuration_name.clone(), wanted.revision_name.clone())
            };
        configuration_name == found.configuration_name
            && revision_name == found.revision_name
            && wanted.tag == found.tag
            && wanted.percent == found.percent
    };
    wanted.len() == found.len() && wanted.iter().zip(found).all(is_same)
}

fn is_same_metadata(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    metadata::same(&one.labels, &other.labels)
        && metadata::same(&one.annotations, &other.annotations)
}

/// The Configuration of a Service; it keeps the routes that the one that exists names.
fn configuration(service: &Service, existing: Option<&Configuration>) -> Configuration {
    let service_name = name(&service.metadata);
    let labels = metadata::with(
        service.metadata.labels.clone().unwrap_or_default(),
        [(serving::SERVICE, service_name), (serving::SERVICE_UID, uid(&service.metadata))],
    );
    let is_excluded = |key: &str| {
        [LAST_APPLIED, serving::ROLLOUT_DURATION, serving::ROLLOUT_DURATION_TWIN].contains(&key)
    };
    let mut routes = existing
        .map(|it| metadata::list(&it.metadata.annotations, serving::ROUTES))
        .unwrap_or_default();
    routes.insert(service_name.to_owned());
    let annotations = metadata::with(
        metadata::without(&service.metadata.annotations, is_excluded),
        [(serving::ROUTES, metadata::joined(&routes).as_str())],
    );
    Configuration {
        metadata: child(service, labels, annotations),
        spec: ConfigurationSpec { template: service.spec.template.clone() },
        status: None,
    }
}

/// The Route of a Service.
fn route(service: &Service) -> Route {
    let service_name = name(&service.metadata);
    let labels = metadata::with(
        service.metadata.labels.clone().unwrap_or_default(),
        [(serving::SERVICE, service_name)],
    );
    let annotations = metadata::without(&service.metadata.annotations, |key| key == LAST_APPLIED);
    let mut traffic = service.spec.traffic.clone();
    for target in &mut traffic {
        if target.revision_name.as_deref().unwrap_or_default().is_empty() {
            target.configuration_name = Some(service_name.to_owned());
        }
    }
    Route {
        metadata: child(service, labels, annotations),
        spec: RouteSpec { traffic },
        status: None,
    }
}

fn child(service: &Service, labels: metadata::Map, annotations: metadata::Map) -> ObjectMeta {
    ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: metadata::some(labels),
        annotations: metadata::some(annotations),
        owner_references: Some(vec![owner(service)]),
        ..ObjectMeta::default()
    }
}
