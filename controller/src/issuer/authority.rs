//! Makes certificates: an authority's, and those that it vouches for.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

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

impl Pair {
    /// Whether the key can sign.
    pub fn is_usable(&self) -> bool {
        !self.chain.is_empty() && KeyPair::from_pem(&self.key).is_ok()
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

/// Makes a certificate for `hosts` for which `authority`, made by [`authority`], vouches.
pub fn leaf(
    authority: &Pair,
    hosts: &[String],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&authority.key)?);
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
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { chain: certificate.pem(), key: key.serialize_pem() })
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
