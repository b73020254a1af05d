//! Makes certificates: an authority's, and those that it vouches for. Knows which authorities can be used.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use x509_parser::pem::parse_x509_pem;

/// How long an authority is good for: those who trust it do so by hand.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long before it was made a certificate is good: clocks of clients may be behind.
const BEFORE: Duration = Duration::from_secs(60 * 60);
/// Name of the authority, as upstream's own is called.
const NAME: &str = "knative.dev";
/// Longest common name that X.509 allows.
const LONGEST_NAME: usize = 63;

/// A certificate and its private key, both in PEM. It never shows its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub chain: String,
    /// The key.
    pub key: String,
}

/// Who vouches for certificates. It never shows its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, and its key.
    pub pair: Pair,
    /// The certificate that clients trust: its own, or that of who vouches for it.
    pub trusted: String,
    /// When its own certificate ends.
    pub not_after: Timestamp,
}

/// Why an authority cannot be used. Says nothing of what is in it, since it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not in PEM, encrypted, or of an odd kind.
    #[error("its key cannot be read")]
    Key,
    /// Not in PEM, or not X.509.
    #[error("its certificate cannot be read")]
    Certificate,
    /// The key is of another certificate.
    #[error("its key does not belong to its certificate")]
    Mismatch,
    /// It says of itself that it does not vouch for others.
    #[error("its certificate is not one of an authority")]
    NoAuthority,
    /// Before its time, or after it.
    #[error("its certificate is good from {0} to {1} only")]
    Time(Timestamp, Timestamp),
}

impl Authority {
    /// An authority that can be used at `now`. `trusted` is empty where its own certificate is trusted.
    pub fn new(pair: Pair, trusted: String, now: Timestamp) -> Result<Authority, Unusable> {
        let key = KeyPair::from_pem(&pair.key).map_err(|_| Unusable::Key)?;
        let (_, read) = parse_x509_pem(pair.chain.as_bytes()).map_err(|_| Unusable::Certificate)?;
        let read = read.parse_x509().map_err(|_| Unusable::Certificate)?;
        if read.public_key().raw != key.subject_public_key_info() {
            return Err(Unusable::Mismatch);
        }
        let may_sign = read.key_usage().map(|it| it.is_none_or(|it| it.value.key_cert_sign()));
        if !read.is_ca() || !may_sign.map_err(|_| Unusable::Certificate)? {
            return Err(Unusable::NoAuthority);
        }
        let moment = |seconds| Timestamp::from_second(seconds).map_err(|_| Unusable::Certificate);
        let validity = read.validity();
        let from = moment(validity.not_before.timestamp())?;
        let to = moment(validity.not_after.timestamp())?;
        if now < from || to <= now {
            return Err(Unusable::Time(from, to));
        }
        let trusted = if trusted.is_empty() { pair.chain.clone() } else { trusted };
        Ok(Authority { pair, trusted, not_after: to })
    }
}

/// Makes an authority that is good from `now` on.
pub fn authority(now: Timestamp) -> Result<Pair, rcgen::Error> {
    let mut params = authority_params();
    span(&mut params, now, now + LIFE);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { chain: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a certificate for `hosts` for which `authority` vouches; those that clients need besides come after it.
pub fn leaf(
    authority: &Authority,
    hosts: &[String],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::from_pem(&authority.pair.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.pair.chain, key)?;
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(first) = hosts.first().filter(|it| it.len() <= LONGEST_NAME) {
        params.distinguished_name.push(DnType::CommonName, first.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    span(&mut params, now, not_after);
    let key = KeyPair::generate()?;
    let mut chain = params.signed_by(&key, &issuer)?.pem();
    if authority.trusted != authority.pair.chain {
        chain.push_str(&authority.pair.chain);
    }
    Ok(Pair { chain, key: key.serialize_pem() })
}

/// Of certificates in PEM the first `most` that are good at `now`, each once.
pub fn good(certificates: &str, most: usize, now: Timestamp) -> String {
    let mut kept: Vec<&str> = Vec::new();
    const END: &str = "-----END CERTIFICATE-----";
    for one in certificates.split_inclusive(END).map(str::trim).filter(|it| it.ends_with(END)) {
        let read = parse_x509_pem(one.as_bytes()).ok();
        let read = read.as_ref().and_then(|(_, pem)| pem.parse_x509().ok());
        let is_good = read.is_some_and(|it| now.as_second() < it.validity().not_after.timestamp());
        if is_good && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept.truncate(most);
    kept.iter().map(|it| format!("{it}\n")).collect()
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn span(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let at = |moment: Timestamp| {
        let since = u64::try_from(moment.as_second()).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since)
    };
    params.not_before = at(now - BEFORE);
    params.not_after = at(not_after);
}
