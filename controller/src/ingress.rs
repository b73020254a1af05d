//! What a Route and a DomainMapping do alike with their Ingress: make it, and say what it says.
//!
//! Pure: objects and the configuration in, decisions out.

use api::{
    condition::{self, Condition, Set},
    keys::networking::{CERTIFICATE_CLASS_TWIN, HTTP_PROTOCOL, INGRESS_CLASS, INGRESS_CLASS_TWIN},
    networking::{Challenge, HttpIngressPath, Ingress, IngressBackendSplit},
};
use config::{Config, network::HttpProtocol};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{
    cluster::Kind,
    plan::{Event, Plan, Write, is_left_over},
};

use crate::metadata::{self, LAST_APPLIED, Map, name};

/// The condition of the owner that tells of its Ingress.
pub const INGRESS_READY: &str = "IngressReady";

/// Makes the Ingress of `owner` as wanted; says whether it was and its status tells of it.
pub fn place<O: Kind>(
    owner: &O,
    wanted: &Ingress,
    found: Option<&Ingress>,
    plan: &mut Plan,
) -> bool {
    let Some(found) = found else {
        let its_name = name(&wanted.metadata);
        plan.writes.push(
            Write::create(wanted)
                .with_event(Event::normal("Created", format!("Created Ingress \"{its_name}\"")))
                .with_failure(Event::warning("CreationFailed", "Failed to create Ingress"))
                .with_context("failed to create Ingress"),
        );
        return false;
    };
    if is_left_over(found, owner) {
        return false;
    }
    let is_same_spec = found.spec == wanted.spec;
    let is_same = is_same_spec
        && metadata::same(&found.metadata.annotations, &wanted.metadata.annotations)
        && metadata::same(&found.metadata.labels, &wanted.metadata.labels);
    if !is_same {
        let mut changed = found.clone();
        changed.spec = wanted.spec.clone();
        changed.metadata.annotations = wanted.metadata.annotations.clone();
        changed.metadata.labels = wanted.metadata.labels.clone();
        plan.writes.push(Write::replace(&changed).with_context("failed to update Ingress"));
    }
    let observed = found.status.as_ref().and_then(|it| it.observed_generation);
    is_same_spec && observed.is_some() && observed == found.metadata.generation
}

/// Says of [`INGRESS_READY`] what an Ingress says of its `Ready`.
pub fn take(set: Set, conditions: &mut Vec<Condition>, found: &Ingress, now: Timestamp) {
    let ready =
        found.status.as_ref().and_then(|it| condition::find(&it.conditions, condition::READY));
    let Some(ready) = ready else { return mark_not_configured(set, conditions, now) };
    let (reason, message) = (ready.reason(), ready.message());
    match ready.status.as_str() {
        condition::TRUE => set.mark_true(conditions, INGRESS_READY, now),
        condition::FALSE => set.mark_false(conditions, INGRESS_READY, reason, message, now),
        _ => set.mark_unknown(conditions, INGRESS_READY, reason, message, now),
    }
}

/// Says that the Ingress is not as wanted yet, or that nobody serves it so yet.
pub fn mark_not_configured(set: Set, conditions: &mut Vec<Condition>, now: Timestamp) {
    set.mark_unknown(
        conditions,
        INGRESS_READY,
        "IngressNotConfigured",
        "Ingress has not yet been reconciled.",
        now,
    );
}

/// The annotations of an owner's Ingress: its class and what the owner hands on.
pub fn annotations(owner: &ObjectMeta, config: &Config) -> Map {
    let class = metadata::first(&owner.annotations, &[INGRESS_CLASS, INGRESS_CLASS_TWIN]);
    let class = class.unwrap_or(&config.network.ingress_class);
    let mut annotations = metadata::with(Map::new(), [(INGRESS_CLASS, class)]);
    annotations.extend(metadata::without(&owner.annotations, is_excluded));
    annotations
}

/// Whether an annotation is not handed on. Source: knative/serving
/// `pkg/reconciler/route/resources/filters.go`.
pub fn is_excluded(key: &str) -> bool {
    [LAST_APPLIED, INGRESS_CLASS_TWIN, CERTIFICATE_CLASS_TWIN].contains(&key)
}

/// What becomes of plain HTTP: the owner's word, else the configuration's.
///
/// Source: knative/serving `pkg/networking/util.go`.
pub fn http_option(owner: &ObjectMeta, config: &Config) -> Result<Option<String>, String> {
    if let Some(text) =
        metadata::first(&owner.annotations, HTTP_PROTOCOL).filter(|it| !it.is_empty())
    {
        return match text.to_ascii_lowercase().as_str() {
            "enabled" => Ok(Some("Enabled".to_owned())),
            "redirected" => Ok(Some("Redirected".to_owned())),
            other => Err(format!("incorrect http-protocol annotation: {other}")),
        };
    }
    Ok(match config.network.http_protocol {
        HttpProtocol::Enabled => Some("Enabled".to_owned()),
        HttpProtocol::Redirected => Some("Redirected".to_owned()),
        HttpProtocol::Disabled => None,
    })
}

/// The path at which an authority asks for the answer to a challenge.
pub fn answer(challenge: &Challenge) -> HttpIngressPath {
    let split = IngressBackendSplit {
        append_headers: None,
        percent: Some(100),
        service_name: challenge.service_name.clone(),
        service_namespace: challenge.service_namespace.clone(),
        service_port: challenge.service_port.clone(),
    };
    HttpIngressPath {
        path: Some(parts(&challenge.url).1.to_owned()),
        splits: vec![split],
        ..HttpIngressPath::default()
    }
}

/// Host, with a port if there is one, and path of a URL.
pub fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (authority, rest.split(['?', '#']).next().unwrap_or_default())
}
