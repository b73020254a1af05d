//! A Route's traffic, down to Revisions: who gets what share of which host.
//!
//! Pure: a Route and what it refers to in, targets or the first thing that is wrong out.
//! Source: knative/serving `pkg/reconciler/route/traffic`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    condition::{self, READY},
    keys::serving,
    serving::{Configuration, Revision, Route, TrafficTarget},
};

use crate::{metadata, revision};

/// Finds what a Route refers to, in its namespace.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// A Configuration by name.
    pub configuration: &'a dyn Fn(&str) -> Option<Arc<Configuration>>,
    /// A Revision by name.
    pub revision: &'a dyn Fn(&str) -> Option<Arc<Revision>>,
}

/// A target that is a Revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The Revision.
    pub revision: String,
    /// The Configuration that the Revision is of, where there is one.
    pub configuration: Option<String>,
    /// Gives the target a host of its own; empty for none.
    pub tag: String,
    /// Share of the host's requests, 0 to 100.
    pub percent: i64,
    /// Whether the Configuration's latest is followed.
    pub latest: Option<bool>,
    /// Whether the Revision speaks HTTP/2 without TLS.
    pub is_h2c: bool,
}

/// The traffic of a Route whose targets are all ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Targets by the tag of their host; `""` is the Route's own host. Percents of a host add to 100.
    pub hosts: BTreeMap<String, Vec<Target>>,
    /// The targets in the order of the Route, for its status.
    pub targets: Vec<Target>,
}

/// What keeps a Route's traffic from being assigned.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// False when waiting may help.
    pub is_failure: bool,
    /// One word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Resolves the targets of a Route. Of several obstacles the last failure counts, else the first.
pub fn traffic(route: &Route, lookup: Lookup) -> Result<Traffic, Obstacle> {
    let mut traffic = Traffic::default();
    let mut obstacle: Option<Obstacle> = None;
    for target in &route.spec.traffic {
        match resolve(route, target, lookup) {
            Ok(None) => {}
            Ok(Some(target)) => traffic.add(target),
            Err(found) if obstacle.is_none() || found.is_failure => obstacle = Some(found),
            Err(_) => {}
        }
    }
    if let Some(obstacle) = obstacle {
        return Err(obstacle);
    }
    for targets in traffic.hosts.values_mut() {
        consolidate(targets);
    }
    Ok(traffic)
}

/// Names that a Route refers to, in its wishes and in what it reports: Configurations and Revisions.
pub fn references(route: &Route) -> Vec<String> {
    let reported = route.status.iter().flat_map(|status| &status.traffic);
    let names = |target: &TrafficTarget| {
        [&target.configuration_name, &target.revision_name].map(Clone::clone)
    };
    route.spec.traffic.iter().chain(reported).flat_map(names).flatten().collect()
}

fn resolve(
    route: &Route,
    target: &TrafficTarget,
    lookup: Lookup,
) -> Result<Option<Target>, Obstacle> {
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (found, configuration) = if let Some(name) = given(&target.revision_name) {
        let found = revision(&name, lookup)?;
        check_owner(route, &found, &name)?;
        check_ready(&found, &name)?;
        let configuration = metadata::get(&found.metadata.labels, serving::CONFIGURATION);
        if configuration.is_empty() {
            (found, None)
        } else {
            let configuration = configuration.to_owned();
            find_configuration(&configuration, lookup)?;
            (found, Some(configuration))
        }
    } else if let Some(name) = given(&target.configuration_name) {
        let configuration = find_configuration(&name, lookup)?;
        let status = configuration.status.as_ref();
        let Some(latest) = status.and_then(|it| given(&it.latest_ready_revision_name)) else {
            return Err(no_ready_revision(&configuration, &name));
        };
        let found = revision(&latest, lookup)?;
        check_ready(&found, &latest)?;
        (found, Some(name))
    } else {
        return Ok(None);
    };
    Ok(Some(Target {
        revision: metadata::name(&found.metadata).to_owned(),
        configuration,
        tag: target.tag.clone().unwrap_or_default(),
        percent: target.percent.unwrap_or_default(),
        latest: target.latest_revision,
        is_h2c: revision::is_h2c(&found),
    }))
}

fn revision(name: &str, lookup: Lookup) -> Result<Arc<Revision>, Obstacle> {
    (lookup.revision)(name).ok_or_else(|| missing("Revision", name))
}

fn find_configuration(name: &str, lookup: Lookup) -> Result<Arc<Configuration>, Obstacle> {
    (lookup.configuration)(name).ok_or_else(|| missing("Configuration", name))
}

fn missing(kind: &str, name: &str) -> Obstacle {
    Obstacle {
        is_failure: true,
        reason: format!("{kind}Missing"),
        message: format!("{kind} \"{name}\" referenced in traffic not found."),
    }
}

/// A Service's Route may point at the Service's own Revisions only.
fn check_owner(route: &Route, found: &Revision, name: &str) -> Result<(), Obstacle> {
    let wanted = metadata::get(&route.metadata.labels, serving::SERVICE);
    let service = metadata::get(&found.metadata.labels, serving::SERVICE);
    if wanted.is_empty() || wanted == service {
        return Ok(());
    }
    let message = if service.is_empty() {
        format!("Revision \"{name}\" does not belong to Service \"{wanted}\".")
    } else {
        format!("Revision \"{name}\" belongs to Service \"{service}\", not Service \"{wanted}\".")
    };
    Err(Obstacle { is_failure: true, reason: "RevisionNotOwned".to_owned(), message })
}

fn check_ready(found: &Revision, name: &str) -> Result<(), Obstacle> {
    if revision::is_ready(found) {
        return Ok(());
    }
    let is_failure =
        found.status.as_ref().is_some_and(|it| condition::is_false(&it.conditions, READY));
    let message = if is_failure {
        format!("Revision \"{name}\" failed to become ready.")
    } else {
        format!("Revision \"{name}\" is not yet ready.")
    };
    Err(Obstacle { is_failure, reason: "RevisionMissing".to_owned(), message })
}

fn no_ready_revision(configuration: &Configuration, name: &str) -> Obstacle {
    let is_failure =
        configuration.status.as_ref().is_some_and(|it| condition::is_false(&it.conditions, READY));
    let message = if is_failure {
        format!("Configuration \"{name}\" does not have any ready Revision.")
    } else {
        format!("Configuration \"{name}\" is waiting for a Revision to become ready.")
    };
    Obstacle { is_failure, reason: "RevisionMissing".to_owned(), message }
}

impl Traffic {
    fn add(&mut self, target: Target) {
        let is_same = |it: &&mut Target| {
            it.tag == target.tag && it.revision == target.revision && it.latest == target.latest
        };
        match self.targets.iter_mut().find(is_same) {
            Some(same) => same.percent += target.percent,
            None => self.targets.push(target.clone()),
        }
        if !target.tag.is_empty() {
            self.hosts.entry(target.tag.clone()).or_default().push(target.clone());
        }
        self.hosts.entry(String::new()).or_default().push(target);
    }
}

/// Leaves one target for each Revision of a host.
fn consolidate(targets: &mut Vec<Target>) {
    let mut merged: Vec<Target> = Vec::new();
    for target in targets.drain(..) {
        match merged.iter_mut().find(|it| it.revision == target.revision) {
            Some(same) => same.percent += target.percent,
            None => merged.push(target),
        }
    }
    if let [only] = merged.as_mut_slice() {
        only.percent = 100;
    }
    *targets = merged;
}
