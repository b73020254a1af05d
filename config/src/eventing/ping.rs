//! `config-ping-defaults`: how much data PingSources may send.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/apis/sources/config/ping_defaults.go`.

use std::collections::BTreeMap;

use crate::{Error, read::Data};

/// Name of the ConfigMap.
pub const NAME: &str = "config-ping-defaults";

/// The values of `config-ping-defaults`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ping {
    /// Most bytes of data, before base64 is taken off; without limit where absent.
    pub data_max_size: Option<u64>,
}

impl Ping {
    /// Reads the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Ping, Error> {
        let mut size = -1;
        Data(data).i64("dataMaxSize", &mut size)?;
        Data(data).i64("data-max-size", &mut size)?;
        Ok(Ping { data_max_size: u64::try_from(size).ok() })
    }
}
