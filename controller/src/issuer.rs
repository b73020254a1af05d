//! Issues the certificates of our class, with an authority that the operator names or one of the platform's own.
//!
//! The platform's own is made when the first certificate is wanted, and kept in a Secret. Whom to trust is told in a
//! ConfigMap: the authorities of today, and those of before, as long as certificates of theirs may be shown. A
//! certificate lives for [`LIFE`] and is replaced when a third of that is left; connections that are open go on with
//! the old one, and the next handshake shows the new. An authority that cannot be used changes nothing about the
//! certificates that there are.
//! Source: knative/serving `pkg/reconciler/certificate`, and cert-manager's own defaults.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::config::Config;
use api::{
    condition::{READY, Set, find},
    keys::networking::{CERTIFICATE_TYPE, CERTIFICATE_UID, TRUST_BUNDLE},
    networking::{Certificate, CertificateStatus},
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use parking_lot::Mutex;
use runtime::{
    clock::Clock,
    cluster::{Key, cache::Cache},
    plan::{Event, Plan, Write, is_controlled_by, is_left_over, owner, whole_seconds},
    reconcile::Reconcile,
};
use tokio::sync::watch;

use crate::{
    Options, certificate, internal,
    metadata::{self, name, namespace, uid},
};

pub mod authority;

use authority::{Authority, Pair};

/// Name of the authority's Secret in the platform's namespace, as upstream's is called.
pub const AUTHORITY: &str = "knative-selfsigned-ca";
/// Name of the ConfigMap, in the platform's namespace, with the certificates of the authorities to trust.
pub const BUNDLE: &str = "knative-ca-bundle";
/// Authorities in it: those of each sort of certificates, and as many of before.
const MOST_TRUSTED: usize = 6;
/// The Secrets that can hold a certificate; of the others this process sees nothing.
pub const SECRETS: &str = "type=kubernetes.io/tls";
/// How long a certificate is good for, as cert-manager's.
pub const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The conditions of a Certificate.
const CONDITIONS: Set = Set { dependents: &[] };
/// On a Secret: when its certificate ends.
const NOT_AFTER: &str = "weft.dev/certificate-not-after";
/// On a Secret: the hosts of its certificate.
const HOSTS: &str = "weft.dev/certificate-hosts";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";

/// What there is around a Certificate.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The name of the authority's Secret, where it is the operator's.
    pub named: Option<&'a str>,
    /// The Secret of the authority.
    pub authority: Option<&'a Secret>,
    /// The ConfigMap of whom to trust.
    pub bundle: Option<&'a ConfigMap>,
    /// The Secret that the Certificate names, whoever owns it.
    pub secret: Option<&'a Secret>,
    /// An authority that was made and is in no Secret yet.
    pub made: Option<&'a Pair>,
    /// What was issued for the Certificate and is in no Secret yet.
    pub issued: Option<&'a Issued>,
    /// Namespace of the authority's Secret.
    pub system_namespace: &'a str,
}

/// What is to be made.
pub enum Need {
    /// An authority.
    Authority,
    /// A certificate.
    Leaf {
        /// The Certificate that it is for.
        certificate: Key,
        /// Its hosts.
        hosts: Vec<String>,
        /// Who vouches for it.
        authority: Authority,
    },
}

/// A certificate that was made, or why it cannot be.
#[derive(Clone)]
pub struct Issued {
    pair: Result<Pair, String>,
    hosts: Vec<String>,
    /// The certificate that those trust who believe it.
    authority: String,
    not_after: Timestamp,
}

/// Plans Certificates.
pub struct Issuer {
    certificates: Cache<Certificate>,
    secrets: Cache<Secret>,
    bundles: Cache<ConfigMap>,
    config: watch::Receiver<Arc<Config>>,
    system_namespace: Arc<str>,
    classes: &'static [&'static str],
    clock: Clock,
    made: Mutex<Made>,
}

/// What is in no Secret yet: an entry goes when its Secret is seen, or its Certificate is gone.
#[derive(Default)]
struct Made {
    authority: Option<Pair>,
    issued: HashMap<Key, Issued>,
}

/// What to do about a Certificate that is ours to issue.
pub fn plan(certificate: &Certificate, seen: Seen, now: Timestamp) -> Plan<Need> {
    let mut plan = Plan::about(certificate);
    if metadata::is_deleted(&certificate.metadata) {
        return plan;
    }
    let before = certificate.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (generation, observed) = (certificate.metadata.generation, before.observed_generation);
    CONDITIONS.begin(&mut status.conditions, generation, observed, now);
    status.observed_generation = generation;
    reconcile(certificate, seen, &mut status, &mut plan, now);
    CONDITIONS.end(&mut status.conditions, &before.conditions);
    if plan.need.is_empty() {
        plan.set_status(certificate, Some(&before), &status);
    }
    plan
}

fn reconcile(
    certificate: &Certificate,
    seen: Seen,
    status: &mut CertificateStatus,
    plan: &mut Plan<Need>,
    now: Timestamp,
) {
    let its_name = &certificate.spec.secret_name;
    let is_others =
        |it: &&Secret| !is_controlled_by(*it, certificate) && !is_left_over(*it, certificate);
    if seen.secret.filter(is_others).is_some() {
        let message = format!("There is an existing Secret \"{its_name}\" that we do not own.");
        CONDITIONS.mark_false(&mut status.conditions, READY, "NotOwned", &message, now);
        plan.error = Some(format!(
            "knative Certificate {} in namespace {} does not own Secret: {its_name}",
            name(&certificate.metadata),
            namespace(&certificate.metadata),
        ));
        return;
    }
    let its_own = seen.secret.filter(|it| is_controlled_by(*it, certificate));
    let good = its_own.and_then(|it| Some((it, good_until(it, certificate)?)));
    match good.filter(|(_, not_after)| now < *not_after) {
        // Whatever is to be replaced is shown until then.
        Some((_, not_after)) => {
            CONDITIONS.mark_true(&mut status.conditions, READY, now);
            status.not_after = Some(Time(not_after));
        }
        None => {
            let message = "The certificate is being issued.";
            CONDITIONS.mark_unknown(&mut status.conditions, READY, "Issuing", message, now);
            status.not_after = None;
        }
    }
    let authority = match (seen.authority, seen.named) {
        (Some(found), None) if is_ending(found, now) => {
            match seen.made {
                None => plan.need.push(Need::Authority),
                Some(made) => plan.writes.push(replace_authority(found, made)),
            }
            return;
        }
        (Some(found), _) => read_authority(found, now).map_err(|why| why.to_string()),
        (None, Some(_)) => Err("there is none of the type kubernetes.io/tls".to_owned()),
        (None, None) => {
            match seen.made {
                None => plan.need.push(Need::Authority),
                Some(made) => plan.writes.push(store_authority(made, seen.system_namespace)),
            }
            return;
        }
    };
    let authority = match authority {
        Ok(authority) => authority,
        Err(why) => {
            let good = good.map(|(_, not_after)| not_after).filter(|it| now < *it);
            tell_unusable(certificate, &why, good, seen, status, plan, now);
            return;
        }
    };
    plan.writes.extend(trust(&authority, seen, now));
    if let Some((secret, not_after)) = good
        && is_vouched_for(secret, &authority)
        && now < not_after - LIFE / 3
    {
        let left = (not_after - LIFE / 3).duration_since(now);
        plan.again_after(Duration::try_from(left).expect("it is in the future"));
        return;
    }
    let is_wanted = |it: &&Issued| {
        it.hosts == certificate.spec.dns_names
            && it.authority == authority.trusted
            && now < it.not_after - LIFE / 3
    };
    match seen.issued.filter(is_wanted) {
        Some(Issued { pair: Err(why), .. }) => {
            let message = format!("The certificate cannot be issued: {why}.");
            CONDITIONS.mark_false(&mut status.conditions, READY, "IssuingFailed", &message, now);
        }
        Some(issued @ Issued { pair: Ok(pair), .. }) => {
            plan.writes.push(store(certificate, its_own, issued, pair));
        }
        None => plan.need.push(Need::Leaf {
            certificate: Key::of(certificate),
            hosts: certificate.spec.dns_names.clone(),
            authority,
        }),
    }
}

/// When the certificate of a Secret ends; nothing where it is not for the hosts that are wanted.
fn good_until(secret: &Secret, certificate: &Certificate) -> Option<Timestamp> {
    let data = secret.data.as_ref()?;
    let is_whole = [CHAIN, KEY].iter().all(|it| data.get(*it).is_some_and(|it| !it.0.is_empty()));
    let annotations = &secret.metadata.annotations;
    if !is_whole || metadata::get(annotations, HOSTS) != certificate.spec.dns_names.join(",") {
        return None;
    }
    metadata::get(annotations, NOT_AFTER).parse().ok()
}

/// Whether an authority of the platform's own ends before what it would vouch for now, or has ended.
fn is_ending(secret: &Secret, now: Timestamp) -> bool {
    match read_authority(secret, now) {
        Ok(authority) => authority.not_after < now + LIFE,
        Err(authority::Unusable::Time(_, not_after)) => not_after <= now,
        Err(_) => false,
    }
}

/// Says why there is no authority. Certificates that there are go on to be shown.
fn tell_unusable(
    certificate: &Certificate,
    why: &str,
    good_until: Option<Timestamp>,
    seen: Seen,
    status: &mut CertificateStatus,
    plan: &mut Plan<Need>,
    now: Timestamp,
) {
    const REASON: &str = "AuthorityUnusable";
    let (its_name, help) = match seen.named {
        Some(its_name) => (its_name, "mend it, or name another in config-certmanager"),
        None => (AUTHORITY, "delete it to have it made anew"),
    };
    let place = format!("{}/{its_name}", seen.system_namespace);
    let message = format!("The authority in Secret {place} cannot be used: {why}; {help}.");
    let before = certificate.status.as_ref().and_then(|it| find(&it.conditions, READY));
    if before.is_none_or(|it| it.message() != message) {
        plan.warn(REASON, message.clone());
    }
    let conditions = &mut status.conditions;
    match good_until {
        Some(end) => {
            CONDITIONS.mark_true_because(conditions, READY, REASON, &message, now);
            plan.again_after(Duration::try_from(end.duration_since(now)).expect("it is to come"));
        }
        None => CONDITIONS.mark_false(conditions, READY, REASON, &message, now),
    }
}

/// Adds the authority to those to trust, before any certificate of its is shown.
fn trust(authority: &Authority, seen: Seen, now: Timestamp) -> Option<Write> {
    let told = |map: &ConfigMap| map.data.as_ref().and_then(|it| it.get(CA)).cloned();
    let before = seen.bundle.and_then(told).unwrap_or_default();
    if before.contains(authority.trusted.trim()) {
        return None;
    }
    let certificates = format!("{}\n{before}", authority.trusted);
    let text = authority::good(&certificates, MOST_TRUSTED, now);
    let write = match seen.bundle {
        None => {
            let metadata = ObjectMeta {
                name: Some(BUNDLE.to_owned()),
                namespace: Some(seen.system_namespace.to_owned()),
                labels: Some([(TRUST_BUNDLE.to_owned(), "true".to_owned())].into()),
                ..ObjectMeta::default()
            };
            let data = Some([(CA.to_owned(), text)].into());
            Write::create(&ConfigMap { metadata, data, ..ConfigMap::default() })
        }
        Some(found) => {
            let mut changed = found.clone();
            changed.data.get_or_insert_default().insert(CA.to_owned(), text);
            Write::replace(&changed)
        }
    };
    Some(write.with_context("failed to tell whom to trust"))
}

/// Whether the certificate of a Secret is of the present authority.
fn is_vouched_for(secret: &Secret, authority: &Authority) -> bool {
    let data = secret.data.as_ref();
    data.and_then(|it| it.get(CA)).is_some_and(|it| it.0 == authority.trusted.as_bytes())
}

/// The authority in a Secret.
fn read_authority(secret: &Secret, now: Timestamp) -> Result<Authority, authority::Unusable> {
    let part = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|it| it.get(key));
        bytes.map(|it| String::from_utf8_lossy(&it.0).into_owned()).unwrap_or_default()
    };
    Authority::new(Pair { chain: part(CHAIN), key: part(KEY) }, part(CA), now)
}

fn store_authority(made: &Pair, system_namespace: &str) -> Write {
    let metadata = ObjectMeta {
        name: Some(AUTHORITY.to_owned()),
        namespace: Some(system_namespace.to_owned()),
        ..ObjectMeta::default()
    };
    let secret = secret(metadata, made, &made.chain);
    Write::create(&secret).with_context("failed to keep the certificate authority")
}

fn replace_authority(found: &Secret, made: &Pair) -> Write {
    let secret = secret(found.metadata.clone(), made, &made.chain);
    Write::replace(&secret).with_context("failed to renew the certificate authority")
}

fn store(certificate: &Certificate, found: Option<&Secret>, issued: &Issued, pair: &Pair) -> Write {
    let meta = &certificate.metadata;
    let pairs = |pairs: &[(&str, String)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let wanted = ObjectMeta {
        name: Some(certificate.spec.secret_name.clone()),
        namespace: meta.namespace.clone(),
        labels: Some(pairs(&[(CERTIFICATE_UID, uid(meta).to_owned())])),
        annotations: Some(pairs(&[
            (NOT_AFTER, issued.not_after.to_string()),
            (HOSTS, issued.hosts.join(",")),
        ])),
        owner_references: Some(vec![owner(certificate)]),
        ..ObjectMeta::default()
    };
    let what = format!("{}/{}", namespace(meta), certificate.spec.secret_name);
    let write = match found {
        None => Write::create(&secret(wanted, pair, &issued.authority)).with_event(Event::normal(
            "Issued",
            format!("Issued the certificate in Secret {what}"),
        )),
        Some(found) => {
            let mut changed = secret(found.metadata.clone(), pair, &issued.authority);
            let meta = &mut changed.metadata;
            meta.labels.get_or_insert_default().extend(wanted.labels.unwrap_or_default());
            meta.annotations.get_or_insert_default().extend(wanted.annotations.unwrap_or_default());
            let message = format!("Issued the certificate in Secret {what} anew");
            Write::replace(&changed).with_event(Event::normal("Renewed", message))
        }
    };
    write.with_context(format!("failed to keep the certificate in Secret {what}"))
}

fn secret(metadata: ObjectMeta, pair: &Pair, authority: &str) -> Secret {
    let data = [(CHAIN, &*pair.chain), (KEY, &*pair.key), (CA, authority)];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        metadata,
        data: Some(data.into()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    }
}

impl Issuer {
    /// Issues the Certificates of the classes that `options` names.
    pub fn new(
        certificates: Cache<Certificate>,
        secrets: Cache<Secret>,
        bundles: Cache<ConfigMap>,
        config: watch::Receiver<Arc<Config>>,
        clock: Clock,
        options: &Options,
    ) -> Issuer {
        let system_namespace = options.system_namespace.clone();
        let classes = options.certificate_classes;
        let made = Mutex::default();
        Issuer { certificates, secrets, bundles, config, system_namespace, classes, clock, made }
    }
}

impl Reconcile for Issuer {
    type Need = Need;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Need> {
        let config = self.config.borrow().clone();
        let certificate = self.certificates.at(key);
        let ours = certificate
            .filter(|it| self.classes.contains(&certificate::class(&it.metadata, &config)));
        let Some(certificate) = ours else {
            self.made.lock().issued.remove(key);
            return Plan::nothing();
        };
        let named = named(&certificate, &config);
        let authority = self.secrets.get(&self.system_namespace, named.unwrap_or(AUTHORITY));
        let bundle = self.bundles.get(&self.system_namespace, BUNDLE);
        let secret = self.secrets.get(&key.namespace, &certificate.spec.secret_name);
        let mut made = self.made.lock();
        if authority.as_deref().is_some_and(|it| !is_ending(it, now)) {
            made.authority = None;
        }
        let seen = Seen {
            named,
            authority: authority.as_deref(),
            bundle: bundle.as_deref(),
            secret: secret.as_deref(),
            made: made.authority.as_ref(),
            issued: made.issued.get(key),
            system_namespace: &self.system_namespace,
        };
        let plan = plan(&certificate, seen, now);
        for event in plan.events.iter().filter(|it| it.warning) {
            tracing::warn!(certificate = %key, reason = event.reason, "{}", event.message);
        }
        if plan.is_settled() && plan.again.is_some() {
            made.issued.remove(key);
        }
        plan
    }

    fn fetch(self: Arc<Self>, need: Need) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut made = self.made.lock();
        match need {
            Need::Authority => match authority::authority(self.clock.now()) {
                // One that another plan has made meanwhile is as good.
                Ok(pair) => drop(made.authority.get_or_insert(pair)),
                Err(error) => tracing::error!(%error, "make a certificate authority"),
            },
            Need::Leaf { certificate, hosts, authority } => {
                let issued = issue(hosts, authority, self.clock.now());
                made.issued.insert(certificate, issued);
            }
        }
        drop(made);
        Box::pin(std::future::ready(()))
    }
}

/// The operator's own authority for a certificate, if there is one.
pub fn named<'c>(certificate: &Certificate, config: &'c Config) -> Option<&'c str> {
    let of = &config.certmanager;
    let own = match metadata::get(&certificate.metadata.labels, CERTIFICATE_TYPE) {
        certificate::CLUSTER_LOCAL_DOMAIN => &of.cluster_local,
        internal::SYSTEM_INTERNAL => &of.system_internal,
        _ => &of.external,
    };
    own.as_deref()
}

fn issue(hosts: Vec<String>, authority: Authority, now: Timestamp) -> Issued {
    // As certificates and Kubernetes have it.
    let not_after = whole_seconds(now) + LIFE;
    let pair = authority::leaf(&authority, &hosts, now, not_after);
    let pair = pair.map_err(|error| error.to_string());
    Issued { pair, hosts, authority: authority.trusted, not_after }
}

#[cfg(test)]
mod tests;
