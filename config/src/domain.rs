//! `config-domain`: under which domains routes are reachable.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/reconciler/route/config/domain.go`.

use std::collections::BTreeMap;

use crate::{
    Error, install,
    read::{selection, yaml},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-domain";

/// Domain of the cluster's own names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// Domain of routes that only the cluster can reach.
pub const CLUSTER_LOCAL_DOMAIN: &str = "svc.cluster.local";

/// Domains with the labels that a route needs to be under them; one at least needs none.
#[derive(Clone, Debug, PartialEq)]
pub struct Domains(BTreeMap<String, Domain>);

/// Which routes are under a domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Domain {
    /// Labels that a route must have; none is all routes.
    pub selector: BTreeMap<String, String>,
    /// `wildcard` where certificates for the whole domain may be made.
    pub kind: String,
}

impl Default for Domains {
    fn default() -> Self {
        Domains(BTreeMap::from([(CLUSTER_LOCAL_DOMAIN.to_string(), any_route())]))
    }
}

impl Domains {
    /// Reads the ConfigMap: a key is a domain, its value YAML with a selector, or empty.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Domains, Error> {
        let mut domains = BTreeMap::new();
        let mut has_default = false;
        for (name, text) in data {
            if name == install::EXAMPLE {
                continue;
            }
            let read = selection(&yaml(text)?, "config.domainInternalConfig")?;
            let domain = if read.selector.is_empty() {
                has_default = true;
                any_route()
            } else {
                Domain { selector: read.selector, kind: read.kind }
            };
            domains.insert(name.clone(), domain);
        }
        if !has_default {
            domains.insert(CLUSTER_LOCAL_DOMAIN.to_string(), any_route());
        }
        Ok(Domains(domains))
    }

    /// All domains.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Domain)> {
        self.0.iter().map(|(name, domain)| (name.as_str(), domain))
    }

    /// The domain of a route with these labels: the one whose selector asks for the most, and of several
    /// the first by name. A route labelled cluster-local is under the cluster's own domain.
    pub fn lookup(&self, labels: &BTreeMap<String, String>) -> &str {
        let visibility = labels.get(api::keys::networking::VISIBILITY).map(String::as_str);
        if visibility == Some(api::keys::networking::CLUSTER_LOCAL) {
            return CLUSTER_LOCAL_DOMAIN;
        }
        let mut best: Option<(&str, usize)> = None;
        for (name, domain) in &self.0 {
            let fits = domain.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            if fits && best.is_none_or(|(_, size)| domain.selector.len() > size) {
                best = Some((name, domain.selector.len()));
            }
        }
        best.map_or(CLUSTER_LOCAL_DOMAIN, |(name, _)| name)
    }
}

fn any_route() -> Domain {
    Domain { selector: BTreeMap::new(), kind: "wildcard".to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_domain_wins() {
        let data = BTreeMap::from(
            [
                ("example.com", ""),
                ("b.example.org", "selector:\n  app: shop\n"),
                ("a.example.org", "selector:\n  app: shop\n"),
                ("c.example.org", "selector:\n  app: shop\n  tier: front\n"),
            ]
            .map(|(name, text)| (name.to_string(), text.to_string())),
        );
        let domains = Domains::parse(&data).expect("the data is good");
        for (labels, domain) in [
            (&[][..], "example.com"),
            (&[("app", "shop")], "a.example.org"),
            (&[("app", "shop"), ("tier", "front")], "c.example.org"),
            (&[("networking.knative.dev/visibility", "cluster-local")], CLUSTER_LOCAL_DOMAIN),
        ] {
            let labels =
                labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            assert_eq!(domains.lookup(&labels), domain);
        }
        assert_eq!(Domains::default().lookup(&BTreeMap::new()), CLUSTER_LOCAL_DOMAIN);
    }

    #[test]
    fn what_is_no_selector_is_said() {
        let domain = "config.domainInternalConfig";
        for (text, error) in [
            ("foo", format!("string into Go value of type {domain}")),
            ("[]", format!("array into Go value of type {domain}")),
            (
                "selector: x",
                "string into Go struct field domainInternalConfig.selector of type map[string]string"
                    .to_string(),
            ),
        ] {
            let data = BTreeMap::from([("example.org".to_string(), text.to_string())]);
            let begin = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
            let found = Domains::parse(&data).expect_err(text).to_string();
            assert_eq!(found, format!("{begin} {error}"));
        }
        let data = BTreeMap::from([("a.b".to_string(), "selector: {n: 1}".to_string())]);
        assert!(Domains::parse(&data).is_ok());
    }
}
