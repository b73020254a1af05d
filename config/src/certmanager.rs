//! `config-certmanager`: who vouches for certificates.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/reconciler/certificate/config/cert_manager.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Error,
    read::{Data, yaml},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-certmanager";

/// The values of `config-certmanager`: the Secrets, in the platform's namespace, with authorities of the operator's own.
/// Where there is none the platform makes one itself. Weft's addition: upstream knows cert-manager's issuers alone,
/// which are named here for cert-manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertManager {
    /// For hosts outside the cluster.
    pub external: Option<String>,
    /// For hosts inside.
    pub cluster_local: Option<String>,
    /// For the platform's own parts.
    pub system_internal: Option<String>,
}

impl CertManager {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<CertManager, Error> {
        let data = Data(data);
        Ok(CertManager {
            external: secret(data, "issuerRef")?,
            cluster_local: secret(data, "clusterLocalIssuerRef")?,
            system_internal: secret(data, "systemInternalIssuerRef")?,
        })
    }
}

fn secret(data: Data<'_>, key: &str) -> Result<Option<String>, Error> {
    let Some(text) = data.get(key).filter(|it| !it.trim().is_empty()) else { return Ok(None) };
    let reference = yaml(text)?;
    let part = |name: &str| reference.get(name).and_then(Value::as_str).unwrap_or_default();
    if part("kind") != "Secret" {
        return Ok(None);
    }
    match part("name") {
        "" => Err(Error::new(format!("{key} names no Secret: add its name"))),
        name => Ok(Some(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_authorities_of_ones_own() {
        for (text, expected) in [
            ("", Ok(None)),
            ("kind: Secret\nname: my-ca\n", Ok(Some("my-ca"))),
            ("kind: ClusterIssuer\nname: letsencrypt\n", Ok(None)),
            ("kind: Secret\n", Err("systemInternalIssuerRef names no Secret: add its name")),
        ] {
            let data = BTreeMap::from([("systemInternalIssuerRef".to_owned(), text.to_owned())]);
            let found = CertManager::parse(&data).map(|it| it.system_internal);
            let expected = expected.map(|it| it.map(str::to_owned));
            assert_eq!(found.map_err(|it| it.to_string()), expected.map_err(str::to_owned));
        }
        let data = BTreeMap::from([("issuerRef".to_owned(), "a: [".to_owned())]);
        assert!(CertManager::parse(&data).is_err());
    }
}
