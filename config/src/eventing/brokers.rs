//! `config-br-defaults`: the class, the configuration and the delivery of Brokers that do not say theirs.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/apis/config/defaults.go`.

use std::collections::BTreeMap;

use api::{
    duck::{DeliverySpec, KReference},
    keys::eventing::MT_CHANNEL_BROKER_CLASS,
};
use serde_json::Value;

use super::broker_channel;
use crate::{EVENTING_NAMESPACE, Error, read::yaml};

/// Name of the ConfigMap.
pub const NAME: &str = "config-br-defaults";

/// The values of `config-br-defaults`.
#[derive(Clone, Debug, PartialEq)]
pub struct Brokers {
    /// What holds in all other namespaces.
    pub cluster: Option<Defaults>,
    pub namespaces: BTreeMap<String, Defaults>,
}

/// What holds for the Brokers of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// The class of Brokers that name none.
    pub class: Option<String>,
    /// What Brokers get whose class is not in `classes`.
    pub settings: Option<Settings>,
    pub classes: BTreeMap<String, Settings>,
    /// Whether the configuration of a Broker must be in its own namespace.
    pub keeps_to_its_namespace: bool,
}

/// What a Broker gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub config: Option<KReference>,
    pub delivery: Option<DeliverySpec>,
}

impl Default for Brokers {
    fn default() -> Self {
        let config = KReference {
            api_version: Some("v1".to_string()),
            kind: "ConfigMap".to_string(),
            name: broker_channel::NAME.to_string(),
            namespace: Some(EVENTING_NAMESPACE.to_string()),
            ..KReference::default()
        };
        let delivery = DeliverySpec {
            retry: Some(10),
            backoff_policy: Some("exponential".to_string()),
            backoff_delay: Some("PT0.2S".to_string()),
            ..DeliverySpec::default()
        };
        let cluster = Defaults {
            class: Some(MT_CHANNEL_BROKER_CLASS.to_string()),
            settings: Some(Settings { config: Some(config), delivery: Some(delivery) }),
            ..Defaults::default()
        };
        Brokers { cluster: Some(cluster), namespaces: BTreeMap::new() }
    }
}

impl Brokers {
    /// Reads the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Brokers, Error> {
        let Some(text) = data.get("default-br-config") else { return Ok(Brokers::default()) };
        let read = yaml(text)?;
        let mut brokers = Brokers { cluster: None, namespaces: BTreeMap::new() };
        if let Some(cluster) = read.get("clusterDefault").filter(|it| !it.is_null()) {
            brokers.cluster = Some(defaults(cluster)?);
        }
        for (namespace, value) in
            read.get("namespaceDefaults").and_then(Value::as_object).into_iter().flatten()
        {
            if !value.is_null() {
                brokers.namespaces.insert(namespace.clone(), defaults(value)?);
            }
        }
        Ok(brokers)
    }

    /// What a Broker of `class` gets in `namespace`; an empty class is that of the namespace.
    pub fn settings(&self, namespace: &str, class: &str) -> Option<&Settings> {
        let own = self.namespaces.get(namespace);
        let class = match own.and_then(|own| own.class.as_deref()) {
            Some(default) if class.is_empty() => default,
            _ => class,
        };
        if let Some(own) = own.filter(|_| !class.is_empty()) {
            if let Some(settings) = own.classes.get(class) {
                return Some(settings);
            }
            if own.class.as_deref() == Some(class) && own.settings.is_some() {
                return own.settings.as_ref();
            }
        }
        let cluster = self.cluster.as_ref()?;
        let settings = cluster.settings.as_ref()?;
        Some(cluster.classes.get(class).unwrap_or(settings))
    }

    /// The class of a Broker in `namespace` that names none.
    pub fn class(&self, namespace: &str) -> Option<&str> {
        let own = self.namespaces.get(namespace).and_then(|own| own.class.as_deref());
        own.or_else(|| self.cluster.as_ref()?.class.as_deref())
    }

    /// Whether the configuration of a Broker must be in its own `namespace`.
    pub fn keeps_to_its_namespace(&self, namespace: &str) -> bool {
        [self.namespaces.get(namespace), self.cluster.as_ref()]
            .into_iter()
            .flatten()
            .any(|defaults| defaults.keeps_to_its_namespace)
    }
}

fn defaults(value: &Value) -> Result<Defaults, Error> {
    let mut classes = BTreeMap::new();
    for (class, value) in
        value.get("brokerClasses").and_then(Value::as_object).into_iter().flatten()
    {
        classes.extend(settings(value)?.map(|settings| (class.clone(), settings)));
    }
    Ok(Defaults {
        class: value
            .get("brokerClass")
            .and_then(Value::as_str)
            .filter(|it| !it.is_empty())
            .map(str::to_string),
        settings: settings(value)?,
        classes,
        keeps_to_its_namespace: value["disallowDifferentNamespaceConfig"] == true,
    })
}

/// The settings among other fields; none where there is no field of theirs.
fn settings(value: &Value) -> Result<Option<Settings>, Error> {
    let wrong = |why: serde_json::Error| Error::new(format!("Failed to parse the entry: {why}"));
    let has = |field: &str| value.get(field).is_some_and(|it| !it.is_null());
    let mut settings = Settings::default();
    if ["kind", "name", "namespace", "apiVersion", "group", "address"].into_iter().any(has) {
        settings.config = Some(serde_json::from_value(value.clone()).map_err(wrong)?);
    }
    if has("delivery") {
        settings.delivery = Some(serde_json::from_value(value["delivery"].clone()).map_err(wrong)?);
    }
    Ok((settings != Settings::default()).then_some(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_comes_before_the_cluster_and_a_class_before_both() {
        let text = "
clusterDefault:
  brokerClass: Big
  name: big
  brokerClasses:
    Other: {name: other}
namespaceDefaults:
  a: {brokerClass: Small, name: small, disallowDifferentNamespaceConfig: true}
  b: {brokerClass: Bare}
  c: {name: nobody, brokerClasses: {Big: {name: own-big}}}
";
        let data = [("default-br-config".to_string(), text.to_string())].into();
        let brokers = Brokers::parse(&data).expect("it is right");
        for (namespace, class, wanted) in [
            ("x", "", "big"),
            ("x", "Other", "other"),
            ("x", "Unknown", "big"),
            ("a", "", "small"),
            ("a", "Small", "small"),
            ("a", "Other", "other"),
            ("b", "", "big"),
            ("c", "Big", "own-big"),
            ("c", "", "big"),
        ] {
            let found = brokers.settings(namespace, class).and_then(|it| it.config.as_ref());
            assert_eq!(found.map(|it| it.name.as_str()), Some(wanted), "{namespace} {class}");
        }
        assert_eq!(brokers.class("a"), Some("Small"));
        assert_eq!(brokers.class("c"), Some("Big"));
        assert!(brokers.keeps_to_its_namespace("a"));
        assert!(!brokers.keeps_to_its_namespace("b"));
    }
}
