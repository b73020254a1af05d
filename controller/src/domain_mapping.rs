//! DomainMapping: a host of one's own that leads to a Service or a Route.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/domainmapping`.

use api::{
    condition::Set,
    keys::serving,
    names::child_name,
    networking::{Certificate, ClusterDomainClaim, ClusterDomainClaimSpec, Ingress, IngressTls},
    serving::{Address, DomainMapping, DomainMappingStatus},
};
use config::{Config, network::HttpProtocol};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::finalizer;
use runtime::plan::{Plan, Write, is_controlled_by, status_write};

use crate::{
    certificate::{self, Secured, Standing},
    ingress::INGRESS_READY,
    metadata::{self, name, namespace},
    route::domain::{self, Visibility},
};

pub mod ingress;
pub mod target;

use target::{Lookup, Target};

/// The conditions of a DomainMapping.
pub const CONDITIONS: Set = Set {
    dependents: &[DOMAIN_CLAIMED, REFERENCE_RESOLVED, INGRESS_READY, CERTIFICATE_PROVISIONED],
};
const DOMAIN_CLAIMED: &str = "DomainClaimed";
const REFERENCE_RESOLVED: &str = "ReferenceResolved";
const CERTIFICATE_PROVISIONED: &str = "CertificateProvisioned";

/// Keeps a DomainMapping until its claim is given back.
const FINALIZER: &str = "domainmappings.serving.knative.dev";

/// What there is around a DomainMapping.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The claim of the host, whoever has it.
    pub claim: Option<&'a ClusterDomainClaim>,
    /// Finds what the host leads to.
    pub lookup: Lookup<'a>,
    /// The Certificate of [`children_name`].
    pub certificate: Option<&'a Certificate>,
    /// The Ingress of [`children_name`].
    pub ingress: Option<&'a Ingress>,
}

/// Name of a mapping's Ingress, of its Certificate and of the Secret of that: its own, as far as that is short enough.
pub fn children_name(mapping: &DomainMapping) -> String {
    child_name(name(&mapping.metadata), "")
}

/// What to do about a DomainMapping.
pub fn plan(mapping: &DomainMapping, seen: Seen, config: &Config, now: Timestamp) -> Plan {
    let mut plan = Plan::about(mapping);
    if metadata::is_deleted(&mapping.metadata) {
        if finalizer::holds(&mapping.metadata, FINALIZER) {
            plan.writes.extend(give_back(mapping, seen, config));
            plan.writes.extend(finalizer::release(mapping, FINALIZER));
        }
        return plan;
    }
    plan.writes.extend(finalizer::hold(mapping, FINALIZER));
    let before = mapping.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (mapping.metadata.generation, status.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);
    status.observed_generation = generation;
    if generation != observed {
        // An error on the way must not leave the old generation's word.
        crate::ingress::mark_not_configured(CONDITIONS, &mut status.conditions, now);
    }

    if let Err(error) = reconcile(mapping, seen, config, &mut status, &mut plan, now) {
        plan.error = Some(error);
    }

    CONDITIONS.end(&mut status.conditions, &before.conditions);
    plan.set_status(mapping, Some(&before), &status);
    plan
}

fn reconcile(
    mapping: &DomainMapping,
    seen: Seen,
    config: &Config,
    status: &mut DomainMappingStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), String> {
    set_url(status, domain::url(name(&mapping.metadata), Visibility::External, config));
    if !is_claimed(mapping, seen, config, status, plan, now)? {
        return Ok(());
    }
    let Some(secured) = secure(mapping, seen, config, status, plan, now)? else { return Ok(()) };
    let target = resolve(mapping, seen, status, now)?;
    let wanted = ingress::ingress(mapping, &target, &secured, config)?;
    if crate::ingress::place(mapping, &wanted, seen.ingress, plan) {
        let found = seen.ingress.expect("what is observed is there");
        crate::ingress::take(CONDITIONS, &mut status.conditions, found, now);
    } else {
        crate::ingress::mark_not_configured(CONDITIONS, &mut status.conditions, now);
    }
    Ok(())
}

fn set_url(status: &mut DomainMappingStatus, url: String) {
    status.address = Some(Address { url: Some(url.clone()) });
    status.url = Some(url);
}

/// Whether the namespace has the host. Where nobody has it and claims make themselves, one is made, and
/// the mapping is planned again when it is there.
fn is_claimed(
    mapping: &DomainMapping,
    seen: Seen,
    config: &Config,
    status: &mut DomainMappingStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<bool, String> {
    let (host, namespace) = (name(&mapping.metadata), namespace(&mapping.metadata));
    let why = match seen.claim {
        Some(claim) if claim.spec.namespace == namespace => {
            CONDITIONS.mark_true(&mut status.conditions, DOMAIN_CLAIMED, now);
            return Ok(true);
        }
        Some(_) => {
            // Else it would go on to take the requests of who has the host now.
            let own = seen.ingress.filter(|it| is_controlled_by(*it, mapping));
            plan.writes.extend(own.map(Write::delete));
            format!("namespace \"{namespace}\" does not own ClusterDomainClaim for \"{host}\"")
        }
        None if config.network.autocreate_cluster_domain_claims => {
            let claim = Write::create(&claim(mapping));
            plan.writes.push(claim.with_context("failed to create ClusterDomainClaim"));
            return Ok(false);
        }
        None => format!(
            "no ClusterDomainClaim found for domain \"{host}\" (and \
             autocreate-cluster-domain-claims property is not true)"
        ),
    };
    CONDITIONS.mark_false(
        &mut status.conditions,
        DOMAIN_CLAIMED,
        "DomainAlreadyClaimed",
        "The domain name is already in use by another DomainMapping",
        now,
    );
    Err(why)
}

/// The claim of a DomainMapping; it has no owner, since those of other namespaces could not be one.
fn claim(mapping: &DomainMapping) -> ClusterDomainClaim {
    ClusterDomainClaim {
        metadata: ObjectMeta { name: mapping.metadata.name.clone(), ..ObjectMeta::default() },
        spec: ClusterDomainClaimSpec { namespace: namespace(&mapping.metadata).to_owned() },
    }
}

/// Takes away the claim of a mapping that ends; nothing where it is somebody else's to take away.
fn give_back(mapping: &DomainMapping, seen: Seen, config: &Config) -> Option<Write> {
    let is_own = |it: &&ClusterDomainClaim| it.spec.namespace == namespace(&mapping.metadata);
    let own = seen.claim.filter(is_own);
    own.filter(|_| config.network.autocreate_cluster_domain_claims).map(Write::delete)
}

/// Sees to the certificate of the host, and says in the URL whether there is one. Nothing where it is
/// being made: the mapping is planned again when it is there.
fn secure(
    mapping: &DomainMapping,
    seen: Seen,
    config: &Config,
    status: &mut DomainMappingStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<Option<Secured>, String> {
    const TYPE: &str = CERTIFICATE_PROVISIONED;
    let host = name(&mapping.metadata);
    let with = |secret: &str| Secured {
        tls: vec![IngressTls {
            hosts: vec![host.to_owned()],
            secret_name: Some(secret.to_owned()),
            secret_namespace: mapping.metadata.namespace.clone(),
        }],
        challenges: Vec::new(),
    };
    if let Some(tls) = &mapping.spec.tls {
        let message = "TLS certificate was provided externally";
        let conditions = &mut status.conditions;
        CONDITIONS.mark_true_because(
            conditions,
            TYPE,
            "CertificateExternallyProvided",
            message,
            now,
        );
        set_url(status, domain::secure_url(host, config));
        return Ok(Some(with(&tls.secret_name)));
    }
    if !certificate::is_wanted(&mapping.metadata, config) {
        let message = "external-domain-tls is not enabled";
        let conditions = &mut status.conditions;
        CONDITIONS.mark_true_because(conditions, TYPE, "TLSNotEnabled", message, now);
        return Ok(Some(Secured::default()));
    }

    let its_name = children_name(mapping);
    let mut failed = status.clone();
    // The label of the UID has the name: so it is upstream. A label is shorter than a host may be.
    let label = (serving::DOMAIN_MAPPING_UID, its_name.as_str());
    let (hosts, domain) = (vec![host.to_owned()], mapping.metadata.name.clone());
    let purpose = certificate::EXTERNAL_DOMAIN;
    let wanted =
        certificate::certificate(mapping, &its_name, label, purpose, hosts, domain, config);
    let standing =
        certificate::place(mapping, "*v1beta1.DomainMapping", wanted, seen.certificate, plan)
            .inspect_err(|_| {
                let message =
                    format!("There is an existing certificate {its_name} that we don't own.");
                CONDITIONS.mark_false(
                    &mut status.conditions,
                    TYPE,
                    "CertificateNotOwned",
                    &message,
                    now,
                );
            })?;
    if standing == Standing::Ready {
        CONDITIONS.mark_true(&mut status.conditions, TYPE, now);
        set_url(status, domain::secure_url(host, config));
        return Ok(Some(with(&its_name)));
    }
    let conditions = &mut status.conditions;
    if config.network.http_protocol == HttpProtocol::Enabled {
        let message = format!("Certificate {its_name} is not ready downgrade HTTP.");
        CONDITIONS.mark_true_because(conditions, TYPE, "HTTPDowngrade", &message, now);
        set_url(status, domain::plain_url(host, config));
    } else {
        let message = format!("Certificate {its_name} is not ready.");
        CONDITIONS.mark_unknown(conditions, TYPE, "CertificateNotReady", &message, now);
        set_url(status, domain::secure_url(host, config));
    }
    match standing {
        Standing::Waiting(challenges) => Ok(Some(Secured { tls: Vec::new(), challenges })),
        Standing::New | Standing::Ready => {
            let message = format!("Certificate {its_name} failed to be provisioned.");
            let conditions = &mut failed.conditions;
            CONDITIONS.mark_false(conditions, TYPE, "CertificateProvisionFailed", &message, now);
            let (mapping, before) = (mapping.clone(), mapping.status.clone());
            CONDITIONS.end(conditions, before.as_ref().map_or(&[], |it| &it.conditions[..]));
            plan.status_after_failure =
                Some(Box::new(move |_| status_write(&mapping, before.as_ref(), &failed)));
            Ok(None)
        }
    }
}

/// What the host leads to.
fn resolve(
    mapping: &DomainMapping,
    seen: Seen,
    status: &mut DomainMappingStatus,
    now: Timestamp,
) -> Result<Target, String> {
    let conditions = &mut status.conditions;
    match target::target(mapping, seen.lookup) {
        Ok(target) => {
            CONDITIONS.mark_true(conditions, REFERENCE_RESOLVED, now);
            Ok(target)
        }
        Err(why) => {
            let message = why.to_string();
            CONDITIONS.mark_false(conditions, REFERENCE_RESOLVED, "ResolveFailed", &message, now);
            Err(why.context() + &message)
        }
    }
}

#[cfg(test)]
mod tests;
