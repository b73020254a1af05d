//! `config-leader-election`: how replicas of a role share the work.
//!
//! Pure: data in, values out. Source: knative.dev/pkg `leaderelection/config.go`.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Error,
    read::{Data, nanos, span},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-leader-election";

/// Most buckets that work can be split into.
const MAX_BUCKETS: u32 = 10;

/// The values of `config-leader-election`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaderElection {
    /// How long others wait for a leader that says nothing.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long everyone waits between tries.
    pub retry_period: Duration,
    /// Parts that the work is split into, 1 to 10.
    pub buckets: u32,
    /// Other beginnings of lease names, by the usual one.
    pub map_lease_prefix: BTreeMap<String, String>,
}

impl Default for LeaderElection {
    fn default() -> Self {
        LeaderElection {
            lease_duration: Duration::from_secs(60),
            renew_deadline: Duration::from_secs(40),
            retry_period: Duration::from_secs(10),
            buckets: 1,
            map_lease_prefix: BTreeMap::new(),
        }
    }
}

impl LeaderElection {
    /// Reads and checks the ConfigMap; the first mistake is the error. A negative time becomes 0.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<LeaderElection, Error> {
        let data = Data(data);
        let mut read = LeaderElection::default();
        let mut spans = [read.lease_duration, read.renew_deadline, read.retry_period].map(nanos);
        for keys in [
            ["leaseDuration", "renewDeadline", "retryPeriod"],
            ["lease-duration", "renew-deadline", "retry-period"],
        ] {
            for (key, span) in keys.into_iter().zip(&mut spans) {
                data.nanos(key, span)?;
            }
        }
        [read.lease_duration, read.renew_deadline, read.retry_period] = spans.map(span);
        data.u32("buckets", &mut read.buckets)?;
        for (key, value) in data.0 {
            if let Some(prefix) = key.strip_prefix("map-lease-prefix.")
                && !prefix.is_empty()
            {
                read.map_lease_prefix.insert(prefix.to_string(), value.clone());
            }
        }
        if read.buckets < 1 || read.buckets > MAX_BUCKETS {
            return Err(Error::new(format!(
                "buckets: value must be between 1 <= {} <= {MAX_BUCKETS}",
                read.buckets
            )));
        }
        Ok(read)
    }
}
