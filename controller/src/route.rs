//! Route: an Ingress that splits its hosts over Revisions, and Services that keep its names.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/route`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{
    condition::{self, READY, Set},
    keys::{networking, serving},
    networking::{Certificate, Ingress},
    serving::{Address, Route, RouteStatus, TrafficTarget},
};
use config::{Config, domain::CLUSTER_LOCAL_DOMAIN};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use runtime::plan::{Event, Plan, Write, is_controlled_by, is_left_over};

use crate::{
    ingress::INGRESS_READY,
    metadata::{self, name, namespace},
};

pub mod certificate;
pub mod domain;
pub mod ingress;
pub mod placeholder;
pub mod rollout;
pub mod traffic;

use domain::Visibility;
use rollout::Rollout;
use traffic::{Lookup, Target, Traffic};

/// The conditions of a Route.
pub const CONDITIONS: Set =
    Set { dependents: &[TRAFFIC_ASSIGNED, INGRESS_READY, CERTIFICATE_PROVISIONED] };
const TRAFFIC_ASSIGNED: &str = "AllTrafficAssigned";
const CERTIFICATE_PROVISIONED: &str = "CertificateProvisioned";

/// What there is around a Route.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds what the traffic refers to.
    pub lookup: Lookup<'a>,
    /// Kubernetes Services of the namespace by name, whoever owns them.
    pub service: &'a dyn Fn(&str) -> Option<Arc<Service>>,
    /// Kubernetes Services that are labelled with the Route's name.
    pub placeholders: &'a [Arc<Service>],
    /// Endpoints of placeholders by name.
    pub endpoints: &'a dyn Fn(&str) -> Option<Arc<Endpoints>>,
    /// Certificates of the namespace by name, whoever owns them.
    pub certificate: &'a dyn Fn(&str) -> Option<Arc<Certificate>>,
    /// Certificates that are labelled with the Route's name.
    pub certificates: &'a [Arc<Certificate>],
    /// Certificates for all hosts of the namespace under a domain.
    pub wildcards: &'a dyn Fn(&str) -> Vec<Arc<Certificate>>,
    /// The Ingress of the Route's name.
    pub ingress: Option<&'a Ingress>,
}

/// What to do about a Route.
pub fn plan(route: &Route, seen: Seen, config: &Config, now: Timestamp) -> Plan {
    let mut plan = Plan::about(route);
    if metadata::is_deleted(&route.metadata) {
        return plan;
    }
    let before = route.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (route.metadata.generation, status.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);
    status.observed_generation = generation;
    if generation != observed {
        // An error on the way must not leave the old generation's word.
        crate::ingress::mark_not_configured(CONDITIONS, &mut status.conditions, now);
    }

    if let Err(error) = reconcile(route, seen, config, &mut status, &mut plan, now) {
        plan.error = Some(error);
    }

    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(route, Some(&before), &status);
    plan
}

/// Whether the Route serves its present generation.
pub fn is_ready(route: &Route) -> bool {
    says(route, condition::TRUE)
}

/// Whether the Route has failed to serve its present generation.
pub fn is_failed(route: &Route) -> bool {
    says(route, condition::FALSE)
}

fn says(route: &Route, word: &str) -> bool {
    route.status.as_ref().is_some_and(|status| {
        status.observed_generation == route.metadata.generation
            && condition::find(&status.conditions, READY).is_some_and(|it| it.status == word)
    })
}

fn reconcile(
    route: &Route,
    seen: Seen,
    config: &Config,
    status: &mut RouteStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    let Some((traffic, visibilities)) = assign(route, seen, config, status, now)? else {
        return Ok(());
    };
    let host =
        format!("{}.{}.{CLUSTER_LOCAL_DOMAIN}", name(&route.metadata), namespace(&route.metadata));
    status.address = Some(Address { url: Some(format!("http://{host}")) });

    check_placeholders(route, &traffic, seen, config, status, now)?;
    let secured =
        certificate::secure(route, &traffic, &visibilities, seen, config, status, plan, now)?;
    let standing = seen.ingress.map(|it| standing(route, it, config));
    let (rollout, again) = rollout::rollout(&traffic, standing, now);
    if let Some(again) = again {
        plan.again_after(again);
    }
    let wanted = ingress::ingress(route, &traffic, &rollout, &visibilities, &secured, config)?;

    place_placeholders(route, &traffic, seen, config, plan)?;
    let is_observed = crate::ingress::place(route, &wanted, seen.ingress, plan);
    if !rollout.is_done() {
        CONDITIONS.mark_unknown(
            &mut status.conditions,
            INGRESS_READY,
            "RolloutInProgress",
            "A gradual rollout of the latest revision(s) is in progress.",
            now,
        );
        status.traffic = moving(&traffic, &rollout, &status.traffic);
    } else if is_observed {
        let found = seen.ingress.expect("what is observed is there");
        crate::ingress::take(CONDITIONS, &mut status.conditions, found, now);
    } else {
        crate::ingress::mark_not_configured(CONDITIONS, &mut status.conditions, now);
    }
    Ok(())
}

/// Where the rollout of a Route stands, as its Ingress tells.
fn standing<'a>(route: &Route, ingress: &'a Ingress, config: &Config) -> rollout::Standing<'a> {
    let keys = [serving::ROLLOUT_DURATION, serving::ROLLOUT_DURATION_TWIN];
    let own = metadata::first(&route.metadata.annotations, &keys);
    let own = own.and_then(|text| api::go::parse_duration(text).ok());
    let own = own.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
    let said = |conditions: &[condition::Condition], type_| condition::is_true(conditions, type_);
    let is_served = ingress.status.as_ref().is_some_and(|it| {
        it.observed_generation == ingress.metadata.generation && said(&it.conditions, READY)
    });
    let was_served = route.status.as_ref().is_some_and(|it| said(&it.conditions, INGRESS_READY));
    rollout::Standing {
        annotation: metadata::get(&ingress.metadata.annotations, networking::ROLLOUT),
        is_news: is_served && !was_served,
        duration: own.filter(|it| it.as_secs() > 0).unwrap_or(config.network.rollout_duration),
    }
}

/// What the status reports while traffic moves: each Revision that has a share of a target.
fn moving(traffic: &Traffic, rollout: &Rollout, reported: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let shares = |(target, reported): (&Target, &TrafficTarget)| {
        let of_share = |(revision, percent): (&str, i64)| TrafficTarget {
            revision_name: Some(revision.to_owned()),
            percent: Some(percent),
            ..reported.clone()
        };
        let shares = rollout.of("", target).filter(|_| target.percent > 0);
        match shares {
            None => vec![reported.clone()],
            Some(shares) => {
                let shares = shares.iter().map(|it| (it.revision_name.as_str(), it.percent));
                shares.map(of_share).collect()
            }
        }
    };
    traffic.targets.iter().zip(reported).flat_map(shares).collect()
}

/// Resolves the traffic and says so; nothing when a target is not there or not ready.
#[allow(clippy::type_complexity)] // Named, the pair would be an idea of its own.
fn assign(
    route: &Route,
    seen: Seen,
    config: &Config,
    status: &mut RouteStatus,
    now: Timestamp,
) -> Result<Option<(Traffic, BTreeMap<String, Visibility>)>, String> {
    let resolved = traffic::traffic(route, seen.lookup);
    let (visibilities, url) = match hosts(route, seen, config) {
        Ok(hosts) => hosts,
        Err(why) => {
            let conditions = &mut status.conditions;
            CONDITIONS.mark_false(conditions, TRAFFIC_ASSIGNED, "ErrorConfig", &why, now);
            return Err(why);
        }
    };
    status.url = Some(url);
    let traffic = match resolved {
        Ok(traffic) => traffic,
        Err(it) => {
            let conditions = &mut status.conditions;
            if it.is_failure {
                CONDITIONS.mark_false(conditions, TRAFFIC_ASSIGNED, &it.reason, &it.message, now);
            } else {
                CONDITIONS.mark_unknown(conditions, TRAFFIC_ASSIGNED, &it.reason, &it.message, now);
            }
            return Ok(None);
        }
    };
    let reported: Result<Vec<TrafficTarget>, String> =
        traffic.targets.iter().map(|it| report(route, it, &visibilities, config)).collect();
    status.traffic = reported?;
    CONDITIONS.mark_true(&mut status.conditions, TRAFFIC_ASSIGNED, now);
    Ok(Some((traffic, visibilities)))
}

/// Who sees the host of each tag, and the URL of the Route's own.
fn hosts(
    route: &Route,
    seen: Seen,
    config: &Config,
) -> Result<(BTreeMap<String, Visibility>, String), String> {
    let most = domain::visibility(route, config);
    let tags = route.spec.traffic.iter().filter_map(|it| it.tag.clone());
    let mut visibilities = BTreeMap::new();
    for tag in tags.chain([String::new()]) {
        let placeholder = domain::host_name(route, &tag, config)?;
        let is_local = seen
            .placeholders
            .iter()
            .find(|it| name(&it.metadata) == placeholder)
            .is_some_and(|it| domain::is_local(&it.metadata.labels));
        visibilities.insert(tag, if is_local { Visibility::ClusterLocal } else { most });
    }
    let visibility = visibilities[""];
    let url = domain::url(&domain::host(route, "", visibility, config)?, visibility, config);
    Ok((visibilities, url))
}

/// A target as the status tells it.
fn report(
    route: &Route,
    target: &Target,
    visibilities: &BTreeMap<String, Visibility>,
    config: &Config,
) -> Result<TrafficTarget, String> {
    let url = if target.tag.is_empty() {
        None
    } else {
        let visibility = visibilities[&target.tag];
        let host = domain::host(route, &target.tag, visibility, config)?;
        Some(domain::url(&host, visibility, config))
    };
    Ok(TrafficTarget {
        tag: Some(target.tag.clone()).filter(|tag| !tag.is_empty()),
        revision_name: Some(target.revision.clone()),
        percent: Some(target.percent),
        latest_revision: target.latest,
        url,
        configuration_name: None,
    })
}

/// Names that others took cannot be kept.
fn check_placeholders(
    route: &Route,
    traffic: &Traffic,
    seen: Seen,
    config: &Config,
    status: &mut RouteStatus,
    now: Timestamp,
) -> Result<(), String> {
    for tag in traffic.hosts.keys() {
        let its_name = domain::host_name(route, tag, config)?;
        let is_taken = |kind: &str, noun: &str, status: &mut RouteStatus| {
            let message = format!(
                "There is an existing placeholder {noun} \"{its_name}\" that we do not own."
            );
            CONDITIONS.mark_false(&mut status.conditions, INGRESS_READY, "NotOwned", &message, now);
            Err(format!("route: \"{}\" does not own {kind}: \"{its_name}\"", name(&route.metadata)))
        };
        let is_others = |it: &Service| !is_controlled_by(it, route) && !is_left_over(it, route);
        if (seen.service)(&its_name).is_some_and(|it| is_others(&it)) {
            return is_taken("Service", "Service", status);
        }
        if (seen.endpoints)(&its_name).is_some_and(|it| !is_controlled_by(&*it, route)) {
            return is_taken("Endpoints", "Endpoint", status);
        }
    }
    Ok(())
}

/// Makes the placeholder of each host, points it at the gateway as soon as one serves, and takes away
/// those of hosts that are no more.
fn place_placeholders(
    route: &Route,
    traffic: &Traffic,
    seen: Seen,
    config: &Config,
    plan: &mut Plan,
) -> Result<(), String> {
    let mut kept = Vec::new();
    for tag in traffic.hosts.keys() {
        let its_name = domain::host_name(route, tag, config)?;
        let found = (seen.service)(&its_name);
        if found.as_ref().is_some_and(|it| is_left_over(&**it, route)) {
            // It comes anew once it is gone.
            kept.push(its_name);
            continue;
        }
        let is_private = found.as_ref().is_some_and(|it| domain::is_local(&it.metadata.labels));
        let place = seen
            .ingress
            .and_then(|ingress| placeholder::serving(route, tag, ingress, is_private, config));
        match (&found, &place) {
            (None, place) => {
                let service = match place {
                    Some(place) => place.service.clone(),
                    None => placeholder::waiting(route, tag, config)?,
                };
                let event =
                    Event::normal("Created", format!("Created placeholder service \"{its_name}\""));
                let failure = Event::warning(
                    "CreationFailed",
                    format!("Failed to create placeholder service \"{its_name}\""),
                );
                plan.writes.push(
                    Write::create(&service)
                        .with_event(event)
                        .with_failure(failure)
                        .with_context("failed to create placeholder service"),
                );
            }
            (Some(found), Some(place)) => {
                if let Some(changed) = placeholder::changed(found, &place.service) {
                    plan.writes.push(Write::replace(&changed));
                } else if placeholder::must_be_replaced(found, &place.service) {
                    plan.writes.push(Write::delete(&**found));
                    plan.writes.push(Write::create(&place.service));
                }
            }
            (Some(_), None) => {}
        }
        if let Some(place) = &place {
            place_endpoints((seen.endpoints)(&its_name), place, plan);
        }
        kept.push(its_name);
    }
    for service in seen.placeholders {
        let its_name = name(&service.metadata);
        if kept.iter().any(|it| it == its_name) || metadata::is_deleted(&service.metadata) {
            continue;
        }
        plan.writes.push(Write::delete(&**service).with_context("failed to delete Service"));
        if let Some(endpoints) = (seen.endpoints)(its_name) {
            plan.writes.push(Write::delete(&*endpoints).with_context("failed to delete Endpoints"));
        }
    }
    Ok(())
}

fn place_endpoints(found: Option<Arc<Endpoints>>, place: &placeholder::Place, plan: &mut Plan) {
    match (found, &place.endpoints) {
        (None, Some(wanted)) => plan.writes.push(Write::create(wanted)),
        (Some(found), Some(wanted)) if found.subsets != wanted.subsets => {
            let mut changed = (*found).clone();
            changed.subsets = wanted.subsets.clone();
            plan.writes.push(Write::replace(&changed));
        }
        (Some(found), None) => plan.writes.push(Write::delete(&*found)),
        _ => {}
    }
}
