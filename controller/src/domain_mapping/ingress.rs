//! The Ingress of a DomainMapping: its host is another name of a host that has a place already.
//!
//! Pure: a target and the configuration in, an object out.
//! Source: knative/serving `pkg/reconciler/domainmapping/resources/ingress.go`.

use std::collections::BTreeMap;

use api::{
    keys::serving,
    names::child_name,
    networking::{
        HttpIngressPath, HttpIngressRule, Ingress, IngressBackendSplit, IngressRule, IngressSpec,
        IngressTls,
    },
    serving::DomainMapping,
};
use config::Config;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use runtime::plan::owner;

use super::target::Target;
use crate::metadata::{self, name, namespace, uid};

/// Tells the container which host the client asked for, though the request goes by another.
const ORIGINAL_HOST: &str = "K-Original-Host";
/// The port of the Service behind the host.
const PORT: i32 = 80;

/// Name of a DomainMapping's Ingress: its own, as far as that is short enough.
pub fn ingress_name(mapping: &DomainMapping) -> String {
    child_name(name(&mapping.metadata), "")
}

/// The Ingress of a DomainMapping.
pub fn ingress(
    mapping: &DomainMapping,
    target: &Target,
    tls: Option<IngressTls>,
    config: &Config,
) -> Result<Ingress, String> {
    let meta = &mapping.metadata;
    let host = name(meta).to_owned();
    let path = HttpIngressPath {
        rewrite_host: Some(target.host.clone()),
        splits: vec![IngressBackendSplit {
            append_headers: Some(BTreeMap::from([(ORIGINAL_HOST.to_owned(), host.clone())])),
            percent: Some(100),
            service_name: target.service.clone(),
            service_namespace: namespace(meta).to_owned(),
            service_port: IntOrString::Int(PORT),
        }],
        ..HttpIngressPath::default()
    };
    let rule = IngressRule {
        hosts: vec![host],
        http: Some(HttpIngressRule { paths: vec![path] }),
        visibility: Some("ExternalIP".to_owned()),
    };
    let labels = metadata::with(
        meta.labels.clone().unwrap_or_default(),
        [
            (serving::DOMAIN_MAPPING_UID, uid(meta)),
            (serving::DOMAIN_MAPPING_NAMESPACE, namespace(meta)),
        ],
    );
    Ok(Ingress {
        metadata: ObjectMeta {
            name: Some(ingress_name(mapping)),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(crate::ingress::annotations(meta, config)),
            owner_references: Some(vec![owner(mapping)]),
            ..ObjectMeta::default()
        },
        spec: IngressSpec {
            http_option: crate::ingress::http_option(meta, config)?,
            rules: vec![rule],
            tls: tls.into_iter().collect(),
        },
        status: None,
    })
}
