//! The Certificates of a Route: one for each of its hosts outside the cluster.
//!
//! Pure: objects and the configuration in, decisions out.
//! Source: knative/serving `pkg/reconciler/route/route.go`, `externalDomainTLS`;
//! `pkg/reconciler/route/resources/certificate.go`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    condition,
    keys::{networking::CERTIFICATE_TYPE, serving},
    networking::{Certificate, IngressTls},
    serving::{Route, RouteStatus},
};
use config::{Config, domain::CLUSTER_LOCAL_DOMAIN, network::HttpProtocol};
use jiff::Timestamp;
use runtime::plan::{Event, Plan, Write};

use super::{
    CERTIFICATE_PROVISIONED, CONDITIONS, Seen,
    domain::{self, Visibility},
    traffic::Traffic,
};
use crate::{
    certificate::{self, EXTERNAL_DOMAIN, Secured, Standing},
    ingress::parts,
    metadata::{self, name, namespace, uid},
};

/// What a certificate says of its Route. The last says most, and of several certificates that is said.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Ready,
    Downgrade(String),
    NotReady(String),
    Failed(String),
}

/// Sees to the certificates of a Route's hosts, and says in the status how far they are and which URLs have them.
#[allow(clippy::too_many_arguments)] // What the reconciler itself has.
pub fn secure(
    route: &Route,
    traffic: &Traffic,
    visibilities: &BTreeMap<String, Visibility>,
    seen: Seen,
    config: &Config,
    status: &mut RouteStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<Secured, String> {
    let not_enabled = |status: &mut RouteStatus, why: &str| {
        let (conditions, reason) = (&mut status.conditions, "TLSNotEnabled");
        CONDITIONS.mark_true_because(conditions, CERTIFICATE_PROVISIONED, reason, why, now);
    };
    if !certificate::is_wanted(&route.metadata, config) {
        not_enabled(status, "external-domain-tls is not enabled");
        return Ok(Secured::default());
    }
    let hosts = hosts(route, traffic, visibilities, config)?;
    plan.writes.extend(orphans(seen.certificates, &hosts));
    if hosts.is_empty() {
        not_enabled(status, "TLS is not enabled for cluster-local");
        return Ok(Secured::default());
    }
    let under = config.domain.lookup(&route.metadata.labels.clone().unwrap_or_default());
    let wildcards = (seen.wildcards)(under);
    let (mut secured, mut word) = (Secured::default(), Word::Ready);
    for (host, tag) in &hosts {
        let its_name = certificate_name(route, tag);
        let (found, standing) = match wildcards.iter().find(|it| covers(it, host)) {
            Some(wildcard) => (Some(wildcard.clone()), certificate::standing(wildcard)),
            None => {
                let label = (serving::ROUTE, name(&route.metadata));
                let (hosts, under) = (vec![host.clone()], Some(under.to_owned()));
                let wanted =
                    certificate::certificate(route, &its_name, label, hosts, under, config);
                let found = (seen.certificate)(&its_name);
                let standing =
                    certificate::place(route, "*v1.Route", wanted, found.as_deref(), plan);
                let standing = standing.inspect_err(|_| {
                    let message =
                        format!("There is an existing certificate {its_name} that we don't own.");
                    CONDITIONS.mark_false(
                        &mut status.conditions,
                        CERTIFICATE_PROVISIONED,
                        "CertificateNotOwned",
                        &message,
                        now,
                    );
                })?;
                (found, standing)
            }
        };
        let known = found.as_ref().map_or(&*its_name, |it| name(&it.metadata)).to_owned();
        if standing == Standing::Ready {
            let found = found.expect("what is ready is there");
            set_url(status, host, &domain::secure_url(host, config));
            if found
                .status
                .as_ref()
                .is_some_and(|it| condition::is_true(&it.conditions, "Renewing"))
            {
                secured.challenges.extend(certificate::challenges(&found));
            }
            secured.tls.push(IngressTls {
                hosts: vec![host.clone()],
                secret_name: Some(found.spec.secret_name.clone()),
                secret_namespace: found.metadata.namespace.clone(),
            });
            continue;
        }
        if let Standing::Waiting(challenges) = standing {
            secured.challenges.extend(challenges);
        }
        let said = if config.network.http_protocol == HttpProtocol::Enabled {
            set_url(status, host, &domain::plain_url(host, config));
            Word::Downgrade(format!("Certificate {known} is not ready downgrade HTTP."))
        } else {
            set_url(status, host, &domain::secure_url(host, config));
            let reason = found
                .as_ref()
                .and_then(|it| it.status.as_ref())
                .and_then(|it| condition::find(&it.conditions, condition::READY)?.reason.clone());
            let reason = reason.unwrap_or_default();
            match found.is_some_and(|it| certificate::is_failed(&it)) {
                true => {
                    Word::Failed(format!("Certificate {known} fails to be provisioned: {reason}"))
                }
                false => Word::NotReady(format!("Certificate {known} is not ready: {reason}")),
            }
        };
        word = word.max(said);
    }
    let (conditions, type_) = (&mut status.conditions, CERTIFICATE_PROVISIONED);
    match word {
        Word::Ready => CONDITIONS.mark_true(conditions, type_, now),
        Word::Downgrade(why) => {
            CONDITIONS.mark_true_because(conditions, type_, "HTTPDowngrade", &why, now);
        }
        Word::NotReady(why) => {
            CONDITIONS.mark_unknown(conditions, type_, "CertificateNotReady", &why, now);
        }
        Word::Failed(why) => {
            CONDITIONS.mark_false(conditions, type_, "CertificateProvisionFailed", &why, now);
        }
    }
    secured.challenges.sort_by(|one, other| one.url.cmp(&other.url));
    Ok(secured)
}

/// The hosts outside the cluster, with their tags.
fn hosts(
    route: &Route,
    traffic: &Traffic,
    visibilities: &BTreeMap<String, Visibility>,
    config: &Config,
) -> Result<BTreeMap<String, String>, String> {
    let is_outside = |tag: &&String| visibilities.get(*tag) != Some(&Visibility::ClusterLocal);
    let mut hosts = BTreeMap::new();
    for tag in traffic.hosts.keys().filter(is_outside) {
        let host = domain::host(route, tag, Visibility::External, config)?;
        if !host.ends_with(CLUSTER_LOCAL_DOMAIN) {
            hosts.insert(host, tag.clone());
        }
    }
    Ok(hosts)
}

/// Takes away the certificates of hosts that are no more.
fn orphans(found: &[Arc<Certificate>], hosts: &BTreeMap<String, String>) -> Vec<Write> {
    let is_orphan = |it: &&Arc<Certificate>| {
        metadata::get(&it.metadata.labels, CERTIFICATE_TYPE) == EXTERNAL_DOMAIN
            && !metadata::is_deleted(&it.metadata)
            && !it.spec.dns_names.iter().any(|host| hosts.contains_key(host))
    };
    let delete = |it: &Arc<Certificate>| {
        let what = format!("{}/{}", namespace(&it.metadata), name(&it.metadata));
        let event = format!("Deleted orphaned Knative Certificate {what}");
        let failure = format!("Failed to delete orphaned Knative Certificate {what}");
        Write::delete(&**it)
            .with_event(Event::normal("Deleted", event))
            .with_failure(Event::warning("DeleteFailed", failure))
    };
    found.iter().filter(is_orphan).map(delete).collect()
}

/// Whether a certificate for all hosts of a domain is for this one.
fn covers(wildcard: &Certificate, host: &str) -> bool {
    let parent = |host: &str| host.split_once('.').map(|(_, parent)| parent.to_owned());
    let wanted = parent(host);
    wanted.is_some() && wildcard.spec.dns_names.iter().any(|it| parent(it) == wanted)
}

/// Says the URL of a host wherever the status tells of that host.
fn set_url(status: &mut RouteStatus, host: &str, url: &str) {
    let targets = status.traffic.iter_mut().map(|it| &mut it.url);
    for told in targets.chain([&mut status.url]) {
        let is_its = told
            .as_deref()
            .is_some_and(|it| parts(it).0.split(':').next().unwrap_or_default() == host);
        if is_its {
            *told = Some(url.to_owned());
        }
    }
}

/// Name of the certificate for the host of a tag.
fn certificate_name(route: &Route, tag: &str) -> String {
    let its_name = format!("route-{}", uid(&route.metadata));
    match tag {
        "" => its_name,
        tag => format!("{its_name}-{}", adler32(tag.as_bytes())),
    }
}

/// The sum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65521;
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % PRIME;
        (a, (b + a) % PRIME)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests;
