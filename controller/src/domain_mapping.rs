//! DomainMapping: a host of one's own that leads to a Service or a Route.
//!
//! Pure: [`plan`] decides on what was seen.
//! Source: knative/serving `pkg/reconciler/domainmapping`.

use api::{
    condition::Set,
    networking::{ClusterDomainClaim, ClusterDomainClaimSpec, Ingress, IngressTls},
    serving::{Address, DomainMapping, DomainMappingStatus},
};
use config::Config;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::plan::{Plan, Write, is_controlled_by};

use crate::{
    finalizer,
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
    /// The Ingress of [`ingress::ingress_name`].
    pub ingress: Option<&'a Ingress>,
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
    let tls = tls(mapping, status, now);
    let target = resolve(mapping, seen, status, now)?;
    let wanted = ingress::ingress(mapping, &target, tls, config)?;
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

/// The certificate of the host, where the mapping names one.
fn tls(
    mapping: &DomainMapping,
    status: &mut DomainMappingStatus,
    now: Timestamp,
) -> Option<IngressTls> {
    let conditions = &mut status.conditions;
    let Some(tls) = &mapping.spec.tls else {
        CONDITIONS.mark_true_because(
            conditions,
            CERTIFICATE_PROVISIONED,
            "TLSNotEnabled",
            "external-domain-tls is not enabled",
            now,
        );
        return None;
    };
    CONDITIONS.mark_true_because(
        conditions,
        CERTIFICATE_PROVISIONED,
        "CertificateExternallyProvided",
        "TLS certificate was provided externally",
        now,
    );
    let host = name(&mapping.metadata);
    set_url(status, format!("https://{host}"));
    Some(IngressTls {
        hosts: vec![host.to_owned()],
        secret_name: Some(tls.secret_name.clone()),
        secret_namespace: mapping.metadata.namespace.clone(),
    })
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
