//! `config-features` of Eventing: what can be switched on and off.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/apis/feature`.

use std::collections::BTreeMap;

use crate::Error;

/// Name of the ConfigMap.
pub const NAME: &str = "config-features";

/// What follows the label in the key of a node selector.
const NODE_SELECTOR: &str = "apiserversources-nodeselector-";

/// The values of `config-features`. A flag whose value is not `enabled` is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Whether a reference may have a group instead of an API version.
    pub kreference_group: bool,
    /// Whether `config-kreference-mapping` counts.
    pub kreference_mapping: bool,
    /// Whether a delivery may have `retryAfterMax`.
    pub delivery_retry_after: bool,
    /// Whether a delivery may have `timeout`.
    pub delivery_timeout: bool,
    /// Whether EventTypes are made of the events that come.
    pub event_type_auto_create: bool,
    /// Whether senders must say who they are.
    pub authentication_oidc: bool,
    /// Whether Triggers and Subscriptions may refer to other namespaces.
    pub cross_namespace_event_links: bool,
    /// Whether an ApiServerSource may have filters.
    pub api_server_source_filters: bool,
    pub transport_encryption: TransportEncryption,
    pub default_authorization: Authorization,
    /// Where the keys are by which senders' tokens are checked.
    pub oidc_discovery_base_url: String,
    /// Longest wait of a RequestReply that does not say it, an ISO 8601 duration.
    pub request_reply_default_timeout: String,
    /// Labels of the nodes that run the pods of ApiServerSources.
    pub api_server_source_node_selector: BTreeMap<String, String>,
}

/// Whether events travel in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportEncryption {
    #[default]
    Disabled,
    /// Both ways are open.
    Permissive,
    /// There is no other way.
    Strict,
}

/// Who may send events to an object that no policy speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    AllowAll,
    DenyAll,
    /// Who is in the object's namespace.
    #[default]
    AllowSameNamespace,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            kreference_group: false,
            kreference_mapping: false,
            delivery_retry_after: false,
            delivery_timeout: true,
            event_type_auto_create: false,
            authentication_oidc: false,
            cross_namespace_event_links: false,
            api_server_source_filters: false,
            transport_encryption: TransportEncryption::Disabled,
            default_authorization: Authorization::AllowSameNamespace,
            oidc_discovery_base_url: "https://kubernetes.default.svc".to_string(),
            request_reply_default_timeout: "PT30S".to_string(),
            api_server_source_node_selector: BTreeMap::new(),
        }
    }
}

impl Features {
    /// Reads the flags. Like upstream it takes any value, so this never fails, and has the shape of the others.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Features, Error> {
        let mut read = Features::default();
        for (key, flag) in [
            ("kreference-group", &mut read.kreference_group),
            ("kreference-mapping", &mut read.kreference_mapping),
            ("delivery-retryafter", &mut read.delivery_retry_after),
            ("delivery-timeout", &mut read.delivery_timeout),
            ("eventtype-auto-create", &mut read.event_type_auto_create),
            ("authentication-oidc", &mut read.authentication_oidc),
            ("cross-namespace-event-links", &mut read.cross_namespace_event_links),
            ("new-apiserversource-filters", &mut read.api_server_source_filters),
        ] {
            if let Some(text) = data.get(key) {
                *flag = text.eq_ignore_ascii_case("enabled");
            }
        }
        let word = |key: &str| data.get(key).map(|text| text.to_ascii_lowercase());
        match word("transport-encryption").as_deref() {
            Some("permissive") => read.transport_encryption = TransportEncryption::Permissive,
            Some("strict") => read.transport_encryption = TransportEncryption::Strict,
            _ => {}
        }
        match word("default-authorization-mode").as_deref() {
            Some("allow-all") => read.default_authorization = Authorization::AllowAll,
            Some("deny-all") => read.default_authorization = Authorization::DenyAll,
            _ => {}
        }
        for (key, text) in [
            ("oidc-discovery-base-url", &mut read.oidc_discovery_base_url),
            ("requestreply-default-timeout", &mut read.request_reply_default_timeout),
        ] {
            if let Some(value) = data.get(key) {
                text.clone_from(value);
            }
        }
        for (key, value) in data {
            if let Some(label) = key.strip_prefix(NODE_SELECTOR) {
                let value = value.trim().to_string();
                read.api_server_source_node_selector.insert(label.to_string(), value);
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_upstream_reads_them() {
        let data = [
            ("delivery-timeout", "maybe"),
            ("delivery-retryafter", "Enabled"),
            ("kreference-group", "allowed"),
            ("transport-encryption", "Strict"),
            ("default-authorization-mode", "foo"),
            ("apiserversources-nodeselector-disk", " ssd "),
        ]
        .map(|(key, value)| (key.to_string(), value.to_string()));
        let wanted = Features {
            delivery_timeout: false,
            delivery_retry_after: true,
            transport_encryption: TransportEncryption::Strict,
            api_server_source_node_selector: [("disk".to_string(), "ssd".to_string())].into(),
            ..Features::default()
        };
        assert_eq!(Features::parse(&data.into()), Ok(wanted));
    }
}
