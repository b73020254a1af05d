//! `config-imc-event-dispatcher`: connections that are kept to those who get events of channels.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/channel/event_dispatcher.go`.

use std::collections::BTreeMap;

use crate::{Error, read::Data};

/// Name of the ConfigMap.
pub const NAME: &str = "config-imc-event-dispatcher";

/// The values of `config-imc-event-dispatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatcher {
    /// Connections that wait for their next request.
    pub max_idle_connections: i32,
    /// The same, to one host.
    pub max_idle_connections_per_host: i32,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Dispatcher { max_idle_connections: 1000, max_idle_connections_per_host: 100 }
    }
}

impl Dispatcher {
    /// Reads the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Dispatcher, Error> {
        let mut read = Dispatcher::default();
        Data(data).i32("MaxIdleConnections", &mut read.max_idle_connections)?;
        Data(data).i32("MaxIdleConnectionsPerHost", &mut read.max_idle_connections_per_host)?;
        Ok(read)
    }
}
