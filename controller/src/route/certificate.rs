//! The Certificates of a Route: one for each of its hosts outside the cluster, and one for all names of each inside.
//!
//! Pure: objects and the configuration in, decisions out.
//! Source: knative/serving `pkg/reconciler/route/route.go`, `externalDomainTLS` and `clusterLocalDomainTLS`;
//! `pkg/reconciler/route/resources/certificate.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::{
    condition,
    keys::{networking::CERTIFICATE_TYPE, serving},
    networking::{Certificate, IngressTls},
    serving::{Address, Route, RouteStatus},
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

/// The domain of hosts inside the cluster, as their certificates say it.
const INSIDE: &str = CLUSTER_LOCAL_DOMAIN;
/// What the name of a certificate for hosts inside the cluster ends with.
const LOCAL: &str = "-local";

/// What a certificate says of its Route. The last says most, and of several certificates that is said.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    NotEnabled(&'static str),
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
    let secured = Secured::default();
    let mut turn = Turn { route, traffic, seen, config, status, plan, now, secured };
    let mut word = turn.outside(visibilities)?;
    if config.network.cluster_local_domain_tls {
        word = word.max(turn.inside()?);
    }
    let secured = turn.secured;
    let (conditions, type_) = (&mut status.conditions, CERTIFICATE_PROVISIONED);
    match word {
        Word::NotEnabled(why) => {
            CONDITIONS.mark_true_because(conditions, type_, "TLSNotEnabled", why, now);
        }
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
    Ok(secured)
}

/// One look at a Route: what is known, and what becomes of it.
struct Turn<'a> {
    route: &'a Route,
    traffic: &'a Traffic,
    seen: Seen<'a>,
    config: &'a Config,
    status: &'a mut RouteStatus,
    plan: &'a mut Plan,
    now: Timestamp,
    secured: Secured,
}

impl Turn<'_> {
    /// Sees to the certificates of the hosts outside the cluster.
    fn outside(&mut self, visibilities: &BTreeMap<String, Visibility>) -> Result<Word, String> {
        let (route, config) = (self.route, self.config);
        if !certificate::is_wanted(&route.metadata, config) {
            return Ok(Word::NotEnabled("external-domain-tls is not enabled"));
        }
        let hosts = hosts(route, self.traffic, visibilities, config)?;
        let orphans = orphans(self.seen.certificates, EXTERNAL_DOMAIN, |it| hosts.contains_key(it));
        self.plan.writes.extend(orphans);
        if hosts.is_empty() {
            return Ok(Word::NotEnabled("TLS is not enabled for cluster-local"));
        }
        let under = config.domain.lookup(&route.metadata.labels.clone().unwrap_or_default());
        let wildcards = (self.seen.wildcards)(under);
        let mut word = Word::Ready;
        for (host, tag) in &hosts {
            let its_name = certificate_name(route, tag);
            let (found, standing) = match wildcards.iter().find(|it| covers(it, host)) {
                Some(wildcard) => (Some(wildcard.clone()), certificate::standing(wildcard)),
                None => {
                    let hosts = vec![host.clone()];
                    let purpose = EXTERNAL_DOMAIN;
                    self.place(Order { its_name: &its_name, purpose, hosts, under })?
                }
            };
            let known = found.as_ref().map_or(&*its_name, |it| name(&it.metadata)).to_owned();
            if standing == Standing::Ready {
                let found = found.expect("what is ready is there");
                set_url(self.status, host, &domain::secure_url(host, config));
                if found
                    .status
                    .as_ref()
                    .is_some_and(|it| condition::is_true(&it.conditions, "Renewing"))
                {
                    self.secured.challenges.extend(certificate::challenges(&found));
                }
                self.secured.tls.push(entry(&found, vec![host.clone()]));
                continue;
            }
            if let Standing::Waiting(challenges) = standing {
                self.secured.challenges.extend(challenges);
            }
            let said = if config.network.http_protocol == HttpProtocol::Enabled {
                set_url(self.status, host, &domain::plain_url(host, config));
                Word::Downgrade(format!("Certificate {known} is not ready downgrade HTTP."))
            } else {
                set_url(self.status, host, &domain::secure_url(host, config));
                unready(&known, found.as_deref())
            };
            word = word.max(said);
        }
        self.secured.challenges.sort_by(|one, other| one.url.cmp(&other.url));
        Ok(word)
    }

    /// Sees to the certificates of the hosts inside the cluster. The Route's own address and URL have `https` as soon
    /// as there is one for them; until then, and beside it, they are served in plain HTTP.
    fn inside(&mut self) -> Result<Word, String> {
        let (route, purpose) = (self.route, certificate::CLUSTER_LOCAL_DOMAIN);
        let (mut used, mut word) = (BTreeSet::new(), Word::Ready);
        for tag in self.traffic.hosts.keys() {
            let host = domain::host(route, tag, Visibility::ClusterLocal, self.config)?;
            let names = domain::expanded(&host);
            used.extend(names.iter().cloned());
            let its_name = certificate_name(route, tag) + LOCAL;
            let hosts = names.clone();
            let order = Order { its_name: &its_name, purpose, hosts, under: INSIDE };
            let (found, standing) = self.place(order)?;
            if standing != Standing::Ready {
                word = word.max(unready(&its_name, found.as_deref()));
                continue;
            }
            if tag.is_empty() {
                let url = format!("https://{host}");
                set_url(self.status, &host, &url);
                self.status.address = Some(Address { url: Some(url) });
            }
            self.secured.tls.push(entry(&found.expect("what is ready is there"), names));
        }
        let orphans = orphans(self.seen.certificates, purpose, |it| used.contains(it));
        self.plan.writes.extend(orphans);
        Ok(word)
    }

    /// Orders a certificate where it is not there, and says how far it is.
    fn place(&mut self, order: Order) -> Result<(Option<Arc<Certificate>>, Standing), String> {
        let Order { its_name, purpose, hosts, under } = order;
        let (route, label) = (self.route, (serving::ROUTE, name(&self.route.metadata)));
        let under = Some(under.to_owned());
        let wanted =
            certificate::certificate(route, its_name, label, purpose, hosts, under, self.config);
        let found = (self.seen.certificate)(its_name);
        let standing = certificate::place(route, "*v1.Route", wanted, found.as_deref(), self.plan);
        let standing = standing.inspect_err(|_| {
            let message = format!("There is an existing certificate {its_name} that we don't own.");
            CONDITIONS.mark_false(
                &mut self.status.conditions,
                CERTIFICATE_PROVISIONED,
                "CertificateNotOwned",
                &message,
                self.now,
            );
        })?;
        Ok((found, standing))
    }
}

/// A certificate of a Route's own.
struct Order<'a> {
    its_name: &'a str,
    purpose: &'a str,
    hosts: Vec<String>,
    /// The domain that the hosts are under.
    under: &'a str,
}

/// How the Ingress names a certificate.
fn entry(found: &Certificate, hosts: Vec<String>) -> IngressTls {
    IngressTls {
        hosts,
        secret_name: Some(found.spec.secret_name.clone()),
        secret_namespace: found.metadata.namespace.clone(),
    }
}

/// What a certificate says that is not ready.
fn unready(known: &str, found: Option<&Certificate>) -> Word {
    let reason = found
        .and_then(|it| it.status.as_ref())
        .and_then(|it| condition::find(&it.conditions, condition::READY)?.reason.clone());
    let reason = reason.unwrap_or_default();
    match found.is_some_and(certificate::is_failed) {
        true => Word::Failed(format!("Certificate {known} fails to be provisioned: {reason}")),
        false => Word::NotReady(format!("Certificate {known} is not ready: {reason}")),
    }
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

/// Takes away the certificates for a purpose that are for hosts which are no more.
fn orphans(
    found: &[Arc<Certificate>],
    purpose: &str,
    is_used: impl Fn(&String) -> bool,
) -> Vec<Write> {
    let is_orphan = |it: &&Arc<Certificate>| {
        metadata::get(&it.metadata.labels, CERTIFICATE_TYPE) == purpose
            && !metadata::is_deleted(&it.metadata)
            && !it.spec.dns_names.iter().any(&is_used)
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
