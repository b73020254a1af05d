//! The ConfigMaps of Eventing: in a namespace of their own, and some with names that Serving has, too.

pub mod broker_channel;
pub mod brokers;
pub mod channels;
pub mod dispatcher;
pub mod features;
pub mod install;
pub mod mapping;
pub mod observability;
pub mod ping;
pub mod sugar;

use std::collections::BTreeMap;

use crate::{Error, leader_election, logging};

/// Everything that is configured in Eventing's ConfigMaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Eventing {
    pub broker_channel: broker_channel::BrokerChannel,
    pub brokers: brokers::Brokers,
    pub channels: channels::Channels,
    pub dispatcher: dispatcher::Dispatcher,
    pub features: features::Features,
    pub logging: logging::Logging,
    pub mapping: mapping::Mapping,
    pub observability: observability::Observability,
    pub ping: ping::Ping,
    pub sugar: sugar::Sugar,
}

impl Eventing {
    /// As [`Config::read`](crate::Config::read), for the ConfigMaps in Eventing's namespace.
    pub fn read(&mut self, name: &str, data: &BTreeMap<String, String>) -> Result<(), Error> {
        match name {
            broker_channel::NAME => {
                self.broker_channel = broker_channel::BrokerChannel::parse(data)?;
            }
            brokers::NAME => self.brokers = brokers::Brokers::parse(data)?,
            channels::NAME => self.channels = channels::Channels::parse(data)?,
            dispatcher::NAME => self.dispatcher = dispatcher::Dispatcher::parse(data)?,
            features::NAME => self.features = features::Features::parse(data)?,
            // Work is shared as Serving's ConfigMap says; this one is only checked.
            leader_election::NAME => drop(leader_election::LeaderElection::parse(data)?),
            logging::NAME => self.logging = logging::Logging::parse(data)?,
            mapping::NAME => self.mapping = mapping::Mapping::parse(data)?,
            observability::NAME => {
                self.observability = observability::Observability::parse(data)?;
            }
            ping::NAME => self.ping = ping::Ping::parse(data)?,
            sugar::NAME => self.sugar = sugar::Sugar::parse(data)?,
            _ => {}
        }
        Ok(())
    }
}
