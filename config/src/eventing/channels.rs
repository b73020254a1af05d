//! `default-ch-webhook`: the channel that a Channel, Sequence or Parallel gets that does not say which.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/apis/messaging/config/channel_defaults.go`.

use std::collections::BTreeMap;

use api::messaging::ChannelTemplate;
use serde_json::Value;

use crate::{Error, read::yaml};

/// Name of the ConfigMap.
pub const NAME: &str = "default-ch-webhook";

/// The values of `default-ch-webhook`.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    /// What holds in all other namespaces.
    pub cluster: Option<ChannelTemplate>,
    pub namespaces: BTreeMap<String, ChannelTemplate>,
}

impl Default for Channels {
    fn default() -> Self {
        Channels { cluster: Some(in_memory()), namespaces: BTreeMap::new() }
    }
}

impl Channels {
    /// Reads the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Channels, Error> {
        let Some(text) = data.get("default-ch-config") else { return Ok(Channels::default()) };
        let read = yaml(text)?;
        let mut channels = Channels { cluster: None, namespaces: BTreeMap::new() };
        if let Some(cluster) = read.get("clusterDefault").filter(|it| !it.is_null()) {
            channels.cluster = Some(template(cluster)?);
        }
        for (namespace, value) in
            read.get("namespaceDefaults").and_then(Value::as_object).into_iter().flatten()
        {
            if !value.is_null() {
                channels.namespaces.insert(namespace.clone(), template(value)?);
            }
        }
        Ok(channels)
    }

    /// The channel of `namespace`.
    pub fn template(&self, namespace: &str) -> Option<&ChannelTemplate> {
        self.namespaces.get(namespace).or(self.cluster.as_ref())
    }
}

/// The channel that there always is.
pub(super) fn in_memory() -> ChannelTemplate {
    ChannelTemplate {
        api_version: Some("messaging.knative.dev/v1".to_string()),
        kind: Some("InMemoryChannel".to_string()),
        spec: None,
    }
}

pub(super) fn template(value: &Value) -> Result<ChannelTemplate, Error> {
    serde_json::from_value(value.clone())
        .map_err(|why| Error::new(format!("Failed to parse the entry: {why}")))
}
