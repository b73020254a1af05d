//! The Ingress of a Route: a rule for each host, split over Revisions.
//!
//! Pure: traffic and the configuration in, an object out.
//! Source: knative/serving `pkg/reconciler/route/resources/ingress.go`.

use std::collections::BTreeMap;

use api::{
    keys::{
        networking::{ROLLOUT, TAG_TO_HOST},
        serving,
    },
    names::child_name,
    networking::{
        HeaderMatch, HttpIngressPath, HttpIngressRule, Ingress, IngressBackendSplit, IngressRule,
        IngressSpec,
    },
    serving::Route,
};
use config::{Config, features::Flag};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use runtime::plan::owner;

use super::{
    domain::{self, Visibility},
    rollout::Rollout,
    traffic::{Target, Traffic},
};
use crate::{
    certificate::Secured,
    ingress::{answer, parts},
    metadata::{self, name, namespace},
};

/// Ports of a Revision's Service, by what it speaks.
const PORT_HTTP1: i32 = 80;
const PORT_H2C: i32 = 81;
const PORT_TLS: i32 = 443;

const REVISION: &str = "Knative-Serving-Revision";
const NAMESPACE: &str = "Knative-Serving-Namespace";
const TAG: &str = "Knative-Serving-Tag";
const DEFAULT_ROUTE: &str = "Knative-Serving-Default-Route";

/// Name of a Route's Ingress.
pub fn ingress_name(route: &Route) -> String {
    child_name(name(&route.metadata), "")
}

/// The Ingress of a Route. `visibilities` has each host's tag.
pub fn ingress(
    route: &Route,
    traffic: &Traffic,
    rollout: &Rollout,
    visibilities: &BTreeMap<String, Visibility>,
    secured: &Secured,
    config: &Config,
) -> Result<Ingress, String> {
    let mut rules = Vec::new();
    let mut tag_to_host: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (tag, targets) in &traffic.hosts {
        let mut seen_by = vec![Visibility::ClusterLocal];
        if visibilities.get(tag) != Some(&Visibility::ClusterLocal) {
            seen_by.push(Visibility::External);
        }
        for visibility in seen_by {
            let host = domain::host(route, tag, visibility, config)?;
            let (word, hosts) = match visibility {
                Visibility::ClusterLocal => ("ClusterLocal", domain::expanded(&host)),
                Visibility::External => ("ExternalIP", vec![host.clone()]),
            };
            let mut paths = paths(route, traffic, rollout, tag, targets, config);
            if visibility == Visibility::External {
                // Authorities ask from outside.
                let its = secured.challenges.iter().filter(|it| parts(&it.url).0 == host);
                paths.splice(0..0, its.map(answer));
            }
            rules.push(IngressRule {
                hosts,
                http: Some(HttpIngressRule { paths }),
                visibility: Some(word.to_owned()),
            });
            if !tag.is_empty() {
                tag_to_host.entry(tag).or_default().push(host);
            }
        }
    }
    let mut annotations = crate::ingress::annotations(&route.metadata, config);
    annotations
        .entry(ROLLOUT.to_owned())
        .or_insert_with(|| serde_json::to_string(rollout).expect("a rollout is plain data"));
    if !tag_to_host.is_empty() {
        let json = serde_json::to_string(&tag_to_host).expect("names are plain data");
        annotations.insert(TAG_TO_HOST.to_owned(), json);
    }
    let labels = metadata::with(
        route.metadata.labels.clone().unwrap_or_default(),
        [
            (serving::ROUTE, name(&route.metadata)),
            (serving::ROUTE_NAMESPACE, namespace(&route.metadata)),
        ],
    );
    Ok(Ingress {
        metadata: ObjectMeta {
            name: Some(ingress_name(route)),
            namespace: route.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner(route)]),
            ..ObjectMeta::default()
        },
        spec: IngressSpec {
            http_option: crate::ingress::http_option(&route.metadata, config)?,
            rules,
            tls: secured.tls.clone(),
        },
        status: None,
    })
}

/// The paths of one host. With routing by header, the Route's own host has each tag's path too.
fn paths(
    route: &Route,
    traffic: &Traffic,
    rollout: &Rollout,
    tag: &str,
    targets: &[Target],
    config: &Config,
) -> Vec<HttpIngressPath> {
    let path = |tag: &str, targets: &[Target]| HttpIngressPath {
        splits: splits(route, rollout, tag, targets, config),
        ..HttpIngressPath::default()
    };
    let mut own = path(tag, targets);
    if config.features.tag_header_based_routing != Flag::Enabled {
        return vec![own];
    }
    let header =
        |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    if !tag.is_empty() {
        own.append_headers = header(TAG, tag);
        return vec![own];
    }
    own.append_headers = header(DEFAULT_ROUTE, "true");
    let tagged = traffic.hosts.iter().filter(|(tag, _)| !tag.is_empty());
    let by_header = tagged.map(|(tag, targets)| HttpIngressPath {
        headers: Some(BTreeMap::from([(TAG.to_owned(), HeaderMatch { exact: tag.clone() })])),
        ..path(tag, targets)
    });
    by_header.chain([own]).collect()
}

fn splits(
    route: &Route,
    rollout: &Rollout,
    tag: &str,
    targets: &[Target],
    config: &Config,
) -> Vec<IngressBackendSplit> {
    let namespace = namespace(&route.metadata);
    let mut splits = Vec::new();
    for target in targets.iter().filter(|it| it.percent != 0) {
        let port = match (config.network.system_internal_tls, target.is_h2c) {
            (true, _) => PORT_TLS,
            (false, true) => PORT_H2C,
            (false, false) => PORT_HTTP1,
        };
        let mut push = |revision: &str, percent: i64| {
            splits.push(IngressBackendSplit {
                append_headers: Some(BTreeMap::from([
                    (REVISION.to_owned(), revision.to_owned()),
                    (NAMESPACE.to_owned(), namespace.to_owned()),
                ])),
                percent: Some(percent),
                service_name: revision.to_owned(),
                service_namespace: namespace.to_owned(),
                service_port: IntOrString::Int(port),
            });
        };
        match rollout.of(tag, target) {
            None => push(&target.revision, target.percent),
            Some(shares) => {
                shares.iter().for_each(|share| push(&share.revision_name, share.percent));
            }
        }
    }
    splits
}
