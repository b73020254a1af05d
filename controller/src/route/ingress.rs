//! The Ingress of a Route: a rule for each host, split over Revisions.
//!
//! Pure: traffic and the configuration in, an object out.
//! Source: knative/serving `pkg/reconciler/route/resources/ingress.go`.

use std::collections::BTreeMap;

use api::{
    keys::{
        networking::{INGRESS_CLASS, INGRESS_CLASS_TWIN, ROLLOUT, TAG_TO_HOST},
        serving,
    },
    names::child_name,
    networking::{
        HeaderMatch, HttpIngressPath, HttpIngressRule, Ingress, IngressBackendSplit, IngressRule,
        IngressSpec,
    },
    serving::Route,
};
use config::{Config, features::Flag, network::HttpProtocol};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use runtime::plan::owner;

use super::{
    domain::{self, Visibility},
    rollout::Rollout,
    traffic::{Target, Traffic},
};
use crate::metadata::{self, LAST_APPLIED, name, namespace};

const CERTIFICATE_CLASS_TWIN: &str = "networking.knative.dev/certificate-class";
/// Spellings of the annotation that says what becomes of plain HTTP.
const HTTP_PROTOCOL: &[&str] =
    &["networking.knative.dev/httpOption", "networking.knative.dev/http-protocol"];
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
            rules.push(IngressRule {
                hosts,
                http: Some(HttpIngressRule {
                    paths: paths(route, traffic, rollout, tag, targets, config),
                }),
                visibility: Some(word.to_owned()),
            });
            if !tag.is_empty() {
                tag_to_host.entry(tag).or_default().push(host);
            }
        }
    }
    let mut annotations = metadata::with(
        metadata::Map::new(),
        [
            (INGRESS_CLASS, config.network.ingress_class.as_str()),
            (ROLLOUT, &serde_json::to_string(rollout).expect("a rollout is plain data")),
        ],
    );
    if let Some(class) =
        metadata::first(&route.metadata.annotations, &[INGRESS_CLASS, INGRESS_CLASS_TWIN])
    {
        annotations.insert(INGRESS_CLASS.to_owned(), class.to_owned());
    }
    let is_excluded =
        |key: &str| [LAST_APPLIED, INGRESS_CLASS_TWIN, CERTIFICATE_CLASS_TWIN].contains(&key);
    annotations.extend(metadata::without(&route.metadata.annotations, is_excluded));
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
        spec: IngressSpec { http_option: http_option(route, config)?, rules, tls: Vec::new() },
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

fn http_option(route: &Route, config: &Config) -> Result<Option<String>, String> {
    if let Some(text) =
        metadata::first(&route.metadata.annotations, HTTP_PROTOCOL).filter(|it| !it.is_empty())
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
