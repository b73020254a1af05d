//! `config-br-default-channel`: the channel that Knative's own Brokers are made of.
//!
//! Weft's Brokers have no channel; who refers to this ConfigMap finds it, and nothing follows from it.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/reconciler/broker/config.go`.

use std::collections::BTreeMap;

use api::messaging::ChannelTemplate;

use super::channels::{in_memory, template};
use crate::{Error, read::yaml};

/// Name of the ConfigMap.
pub const NAME: &str = "config-br-default-channel";

/// The values of `config-br-default-channel`.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerChannel {
    pub template: ChannelTemplate,
}

impl Default for BrokerChannel {
    fn default() -> Self {
        BrokerChannel { template: in_memory() }
    }
}

impl BrokerChannel {
    /// Reads the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<BrokerChannel, Error> {
        let Some(text) = data.get("channel-template-spec") else {
            return Ok(BrokerChannel::default());
        };
        Ok(BrokerChannel { template: template(&yaml(text)?)? })
    }
}
