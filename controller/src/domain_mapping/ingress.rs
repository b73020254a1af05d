//! The Ingress of a DomainMapping: its host is another name of a host that has a place already.
//!
//! Pure: a target, its security and the configuration in, an object out.
//! Source: knative/serving `pkg/reconciler/domainmapping/resources/ingress.go`.

use std::collections::BTreeMap;

use api::{
    keys::serving,
    networking::{
        Challenge, HttpIngressPath, HttpIngressRule, Ingress, IngressBackendSplit, IngressRule,
        IngressSpec,
    },
    serving::DomainMapping,
};
use config::Config;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use runtime::plan::owner;

use super::{children_name, target::Target};
use crate::{
    certificate::Secured,
    ingress::{answer, parts},
    metadata::{self, name, namespace, uid},
};

/// Tells the container which host the client asked for, though the request goes by another.
const ORIGINAL_HOST: &str = "K-Original-Host";
/// The port of the Service behind the host.
const PORT: i32 = 80;

/// The Ingress of a DomainMapping.
pub fn ingress(
    mapping: &DomainMapping,
    target: &Target,
    secured: &Secured,
    config: &Config,
) -> Result<Ingress, String> {
    let meta = &mapping.metadata;
    let host = name(meta).to_owned();
    let split = IngressBackendSplit {
        append_headers: Some(BTreeMap::from([(ORIGINAL_HOST.to_owned(), host.clone())])),
        percent: Some(100),
        service_name: target.service.clone(),
        service_namespace: namespace(meta).to_owned(),
        service_port: IntOrString::Int(PORT),
    };
    let path = HttpIngressPath {
        rewrite_host: Some(target.host.clone()),
        splits: vec![split],
        ..HttpIngressPath::default()
    };
    // Authorities may ask a host that is shorter than ours.
    let (own, others): (Vec<&Challenge>, Vec<&Challenge>) =
        secured.challenges.iter().partition(|it| parts(&it.url).0 == host);
    let paths = own.into_iter().rev().map(answer).chain([path]).collect();
    let rule = |host: &str, paths: Vec<HttpIngressPath>| IngressRule {
        hosts: vec![host.to_owned()],
        http: Some(HttpIngressRule { paths }),
        visibility: Some("ExternalIP".to_owned()),
    };
    let others = others.into_iter().map(|it| rule(parts(&it.url).0, vec![answer(it)]));
    let rules = [rule(&host, paths)].into_iter().chain(others).collect();
    let labels = metadata::with(
        meta.labels.clone().unwrap_or_default(),
        [
            (serving::DOMAIN_MAPPING_UID, uid(meta)),
            (serving::DOMAIN_MAPPING_NAMESPACE, namespace(meta)),
        ],
    );
    Ok(Ingress {
        metadata: ObjectMeta {
            name: Some(children_name(mapping)),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(crate::ingress::annotations(meta, config)),
            owner_references: Some(vec![owner(mapping)]),
            ..ObjectMeta::default()
        },
        spec: IngressSpec {
            http_option: crate::ingress::http_option(meta, config)?,
            rules,
            tls: secured.tls.clone(),
        },
        status: None,
    })
}
