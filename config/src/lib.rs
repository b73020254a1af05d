//! Every knob of the platform: Knative's ConfigMaps and the environment, read into types.
//!
//! Each ConfigMap has a module with a structure whose `Default` is what holds when the ConfigMap is
//! absent or empty, and a file `config/NAME.yaml` that is installed and documents each key. Tests keep
//! the two equal. Those of Eventing are in [`eventing`] and `config/eventing`.

pub mod autoscaler;
pub mod certmanager;
pub mod defaults;
pub mod deployment;
pub mod domain;
pub mod env;
pub mod eventing;
pub mod features;
pub mod gc;
pub mod install;
pub mod leader_election;
pub mod logging;
pub mod network;
pub mod observability;
mod read;

use std::collections::BTreeMap;

/// Namespace of the ConfigMaps, unless the environment names another.
pub const SYSTEM_NAMESPACE: &str = "knative-serving";

/// Namespace of Eventing's ConfigMaps, unless the environment names another.
pub const EVENTING_NAMESPACE: &str = "knative-eventing";

/// Everything that is configured in ConfigMaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub autoscaler: autoscaler::Autoscaler,
    pub certmanager: certmanager::CertManager,
    pub defaults: defaults::Defaults,
    pub deployment: deployment::Deployment,
    pub domain: domain::Domains,
    pub eventing: eventing::Eventing,
    pub features: features::Features,
    pub gc: gc::Gc,
    pub leader_election: leader_election::LeaderElection,
    pub logging: logging::Logging,
    pub network: network::Network,
    pub observability: observability::Observability,
}

/// Why a ConfigMap cannot be used, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl Config {
    /// Reads the ConfigMap `name` of Serving's namespace over what was there; names that are not ours change nothing.
    /// On an error nothing has changed, so that the last good configuration stays in force.
    pub fn read(&mut self, name: &str, data: &BTreeMap<String, String>) -> Result<(), Error> {
        match name {
            autoscaler::NAME => self.autoscaler = autoscaler::Autoscaler::parse(data)?,
            certmanager::NAME => self.certmanager = certmanager::CertManager::parse(data)?,
            defaults::NAME => self.defaults = defaults::Defaults::parse(data)?,
            deployment::NAME => self.deployment = deployment::Deployment::parse(data)?,
            domain::NAME => self.domain = domain::Domains::parse(data)?,
            features::NAME => self.features = features::Features::parse(data)?,
            gc::NAME => self.gc = gc::Gc::parse(data)?,
            leader_election::NAME => {
                self.leader_election = leader_election::LeaderElection::parse(data)?;
            }
            logging::NAME => self.logging = logging::Logging::parse(data)?,
            network::NAME => self.network = network::Network::parse(data)?,
            observability::NAME => {
                self.observability = observability::Observability::parse(data)?;
            }
            _ => {}
        }
        Ok(())
    }
}
