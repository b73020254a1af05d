//! Issues the certificates of our class, with an authority of the platform's own.
//!
//! The authority is made when the first certificate is wanted, and kept in a Secret: who trusts its `ca.crt` trusts
//! every host. A certificate lives for [`LIFE`] and is replaced when a third of that is left; connections that are
//! open go on with the old one, and the next handshake shows the new.
//! Source: knative/serving `pkg/reconciler/certificate`, and cert-manager's own defaults.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::config::Config;
use api::{
    condition::{READY, Set},
    keys::networking::CERTIFICATE_UID,
    networking::{Certificate, CertificateStatus},
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
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
    Options, certificate,
    metadata::{self, name, namespace, uid},
};

pub mod authority;

use authority::Pair;

/// Name of the authority's Secret in the platform's namespace, as upstream's is called.
pub const AUTHORITY: &str = "knative-selfsigned-ca";
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
    /// The Secret of the authority.
    pub authority: Option<&'a Secret>,
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
        authority: Pair,
    },
}

/// A certificate that was made, or why it cannot be.
#[derive(Clone)]
pub struct Issued {
    pair: Result<Pair, String>,
    hosts: Vec<String>,
    /// The certificate of the authority that vouches for it.
    authority: String,
    not_after: Timestamp,
}

/// Plans Certificates.
pub struct Issuer {
    certificates: Cache<Certificate>,
    secrets: Cache<Secret>,
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
    let Some(authority) = seen.authority else {
        match seen.made {
            None => plan.need.push(Need::Authority),
            Some(made) => plan.writes.push(store_authority(made, seen.system_namespace)),
        }
        return;
    };
    let Some(authority) = pair(authority) else {
        let message = format!(
            "The Secret {}/{AUTHORITY} has no certificate and key; delete it to have it made anew.",
            seen.system_namespace
        );
        CONDITIONS.mark_false(&mut status.conditions, READY, "AuthorityUnusable", &message, now);
        return;
    };
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
            && it.authority == authority.chain
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

/// Whether the certificate of a Secret is of the present authority.
fn is_vouched_for(secret: &Secret, authority: &Pair) -> bool {
    let data = secret.data.as_ref();
    data.and_then(|it| it.get(CA)).is_some_and(|it| it.0 == authority.chain.as_bytes())
}

/// The certificate and the key in the authority's Secret.
fn pair(secret: &Secret) -> Option<Pair> {
    let part = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    let pair = Pair { chain: part(CHAIN)?, key: part(KEY)? };
    pair.is_usable().then_some(pair)
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
        config: watch::Receiver<Arc<Config>>,
        clock: Clock,
        options: &Options,
    ) -> Issuer {
        let system_namespace = options.system_namespace.clone();
        let classes = options.certificate_classes;
        let made = Mutex::default();
        Issuer { certificates, secrets, config, system_namespace, classes, clock, made }
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
        let authority = self.secrets.get(&self.system_namespace, AUTHORITY);
        let secret = self.secrets.get(&key.namespace, &certificate.spec.secret_name);
        let mut made = self.made.lock();
        if authority.is_some() {
            made.authority = None;
        }
        let seen = Seen {
            authority: authority.as_deref(),
            secret: secret.as_deref(),
            made: made.authority.as_ref(),
            issued: made.issued.get(key),
            system_namespace: &self.system_namespace,
        };
        let plan = plan(&certificate, seen, now);
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

fn issue(hosts: Vec<String>, authority: Pair, now: Timestamp) -> Issued {
    // As certificates and Kubernetes have it.
    let not_after = whole_seconds(now) + LIFE;
    let pair = authority::leaf(&authority, &hosts, now, not_after);
    let pair = pair.map_err(|error| error.to_string());
    Issued { pair, hosts, authority: authority.chain, not_after }
}

#[cfg(test)]
mod tests;
