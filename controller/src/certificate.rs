//! What Routes and DomainMappings do alike with their Certificates: order them, and see how far they are.
//!
//! Pure: objects and the configuration in, decisions out.
//! Source: knative/serving `pkg/reconciler/accessor/networking`, `pkg/reconciler/route/resources/certificate.go`.

use api::{
    condition,
    go::{parse_bool, quote},
    keys::networking::{CERTIFICATE_CLASS, CERTIFICATE_CLASS_TWIN, CERTIFICATE_TYPE, DISABLE_TLS},
    networking::{Certificate, CertificateSpec, CertificateStatus, Challenge, IngressTls},
};
use config::Config;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{
    cluster::Kind,
    plan::{Event, Plan, Write, is_controlled_by, is_left_over, owner},
};

use crate::{
    ingress::is_excluded,
    metadata::{self, Map, name, namespace},
};

/// What a certificate for hosts outside the cluster is for.
pub const EXTERNAL_DOMAIN: &str = "external-domain";
/// What a certificate for hosts inside the cluster is for.
pub const CLUSTER_LOCAL_DOMAIN: &str = "cluster-local-domain";

/// How far a certificate is.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is being made, and is there only after this plan.
    New,
    /// Whoever provides it has to be shown that the hosts are ours.
    Waiting(Vec<Challenge>),
    /// It is in its Secret.
    Ready,
}

/// What hosts have for HTTPS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secured {
    /// The certificates that are there.
    pub tls: Vec<IngressTls>,
    /// What has to be answered for there to be more.
    pub challenges: Vec<Challenge>,
}

/// Whether hosts get certificates, and their owner does not refuse.
pub fn is_wanted(owner: &ObjectMeta, config: &Config) -> bool {
    let refuses = metadata::first(&owner.annotations, DISABLE_TLS).unwrap_or_default();
    // Admission has refused what says neither yes nor no.
    config.network.external_domain_tls && !parse_bool(refuses).unwrap_or(false)
}

/// The Certificate of `owner` for `hosts`, kept in a Secret of the same name. `label` says whose it is,
/// and `purpose` what it is for.
pub fn certificate<O: Kind>(
    owner: &O,
    its_name: &str,
    label: (&str, &str),
    purpose: &str,
    hosts: Vec<String>,
    domain: Option<String>,
    config: &Config,
) -> Certificate {
    let meta = owner.meta();
    let class = class(meta, config);
    let mut annotations = metadata::with(Map::new(), [(CERTIFICATE_CLASS, class)]);
    annotations.extend(metadata::without(&meta.annotations, is_excluded));
    Certificate {
        metadata: ObjectMeta {
            name: Some(its_name.to_owned()),
            namespace: meta.namespace.clone(),
            labels: Some(metadata::with(Map::new(), [label, (CERTIFICATE_TYPE, purpose)])),
            annotations: Some(annotations),
            owner_references: Some(vec![self::owner(owner)]),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec { dns_names: hosts, domain, secret_name: its_name.to_owned() },
        status: None,
    }
}

/// Who provides the certificates of an object.
pub fn class<'a>(meta: &'a ObjectMeta, config: &'a Config) -> &'a str {
    let own = metadata::first(&meta.annotations, &[CERTIFICATE_CLASS, CERTIFICATE_CLASS_TWIN]);
    own.filter(|it| !it.is_empty()).unwrap_or(&config.network.certificate_class)
}

/// Makes a Certificate of `owner` as wanted and says how far it is; what is wrong where the one of that
/// name is another's. `type_` is what Go calls the owner.
pub fn place<O: Kind>(
    owner: &O,
    type_: &str,
    wanted: Certificate,
    found: Option<&Certificate>,
    plan: &mut Plan,
) -> Result<Standing, String> {
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
    if is_left_over(found, owner) {
        // It comes anew once it is gone.
        return Ok(Standing::Waiting(Vec::new()));
    }
    if !is_controlled_by(found, owner) {
        return Err(format!(
            "notowned: owner: {} with Type {type_} does not own Certificate: {}",
            name(owner.meta()),
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
    Ok(if is_same { standing(found) } else { Standing::Waiting(challenges(found)) })
}

/// How far a Certificate is.
pub fn standing(found: &Certificate) -> Standing {
    match observed(found).is_some_and(|it| condition::is_true(&it.conditions, condition::READY)) {
        true => Standing::Ready,
        false => Standing::Waiting(challenges(found)),
    }
}

/// Whether whoever provides a Certificate has given up.
pub fn is_failed(found: &Certificate) -> bool {
    observed(found).is_some_and(|it| condition::is_false(&it.conditions, condition::READY))
}

/// What has to be answered for a Certificate.
pub fn challenges(found: &Certificate) -> Vec<Challenge> {
    let mut challenges = found.status.clone().unwrap_or_default().challenges;
    challenges.sort_by(|one, other| one.url.cmp(&other.url));
    challenges
}

/// The status, where it is of the present generation.
fn observed(found: &Certificate) -> Option<&CertificateStatus> {
    let is_present = |it: &&CertificateStatus| it.observed_generation == found.metadata.generation;
    found.status.as_ref().filter(is_present)
}
