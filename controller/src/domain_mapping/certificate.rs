//! The Certificate of a DomainMapping that names none.
//!
//! Pure: objects and the configuration in, decisions out.
//! Source: knative/serving `pkg/reconciler/accessor/networking`, `pkg/reconciler/route/resources/certificate.go`.

use api::{
    condition,
    go::{parse_bool, quote},
    keys::{
        networking::{CERTIFICATE_CLASS, CERTIFICATE_TYPE, DISABLE_TLS},
        serving,
    },
    networking::{Certificate, CertificateSpec, CertificateStatus, Challenge},
    serving::DomainMapping,
};
use config::Config;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::plan::{Event, Plan, Write, is_controlled_by, is_left_over, owner};

use super::children_name;
use crate::{
    ingress::is_excluded,
    metadata::{self, Map, name, namespace},
};

/// What a certificate is for.
const EXTERNAL_DOMAIN: &str = "external-domain";

/// How far the certificate of a mapping is.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is being made, and is there only after this plan.
    New,
    /// Whoever provides it has to be shown that the hosts are ours.
    Waiting(Vec<Challenge>),
    /// It is in its Secret.
    Ready,
}

/// Whether hosts get certificates, and the mapping does not refuse.
pub fn is_wanted(mapping: &DomainMapping, config: &Config) -> bool {
    let refuses = metadata::first(&mapping.metadata.annotations, DISABLE_TLS).unwrap_or_default();
    // Admission has refused what says neither yes nor no.
    config.network.external_domain_tls && !parse_bool(refuses).unwrap_or(false)
}

/// Makes the Certificate of `mapping` as wanted and says how far it is; what is wrong where the one of
/// that name is another's.
pub fn place(
    mapping: &DomainMapping,
    found: Option<&Certificate>,
    config: &Config,
    plan: &mut Plan,
) -> Result<Standing, String> {
    let wanted = certificate(mapping, config);
    let what = format!("Certificate {}/{}", namespace(&wanted.metadata), name(&wanted.metadata));
    let Some(found) = found else {
        plan.writes.push(
            Write::create(&wanted)
                .with_event(Event::normal("Created", format!("Created {what}")))
                .with_failure(Event::warning("CreationFailed", format!("Failed to create {what}")))
                .with_context("failed to create Certificate"),
        );
        return Ok(Standing::New);
    };
    if is_left_over(found, mapping) {
        // It comes anew once it is gone.
        return Ok(Standing::Waiting(Vec::new()));
    }
    if !is_controlled_by(found, mapping) {
        return Err(format!(
            "notowned: owner: {} with Type *v1beta1.DomainMapping does not own Certificate: {}",
            name(&mapping.metadata),
            quote(name(&found.metadata))
        ));
    }
    let is_same = found.spec == wanted.spec
        && metadata::same(&found.metadata.annotations, &wanted.metadata.annotations)
        && metadata::same(&found.metadata.labels, &wanted.metadata.labels);
    if !is_same {
        let mut changed = found.clone();
        changed.spec = wanted.spec;
        changed.metadata.annotations = wanted.metadata.annotations;
        changed.metadata.labels = wanted.metadata.labels;
        plan.writes.push(
            Write::replace(&changed)
                .with_event(Event::normal("Updated", format!("Updated Spec for {what}")))
                .with_failure(Event::warning("UpdateFailed", format!("Failed to update {what}")))
                .with_context("failed to update Certificate"),
        );
    }
    let is_ready = |status: &CertificateStatus| {
        status.observed_generation == found.metadata.generation
            && condition::is_true(&status.conditions, condition::READY)
    };
    let status = found.status.as_ref();
    if is_same && status.is_some_and(is_ready) {
        return Ok(Standing::Ready);
    }
    let mut challenges = status.map(|it| it.challenges.clone()).unwrap_or_default();
    challenges.sort_by(|one, other| one.url.cmp(&other.url));
    Ok(Standing::Waiting(challenges))
}

fn certificate(mapping: &DomainMapping, config: &Config) -> Certificate {
    let meta = &mapping.metadata;
    let its_name = children_name(mapping);
    let class = config.network.certificate_class.as_str();
    let mut annotations = metadata::with(Map::new(), [(CERTIFICATE_CLASS, class)]);
    annotations.extend(metadata::without(&meta.annotations, is_excluded));
    // The label of the UID has the name: so it is upstream. A label is shorter than a host may be.
    let labels =
        [(serving::DOMAIN_MAPPING_UID, its_name.as_str()), (CERTIFICATE_TYPE, EXTERNAL_DOMAIN)];
    Certificate {
        metadata: ObjectMeta {
            name: Some(its_name.clone()),
            namespace: meta.namespace.clone(),
            labels: Some(metadata::with(Map::new(), labels)),
            annotations: Some(annotations),
            owner_references: Some(vec![owner(mapping)]),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec {
            dns_names: vec![name(meta).to_owned()],
            domain: meta.name.clone(),
            secret_name: its_name,
        },
        status: None,
    }
}
