//! `config-observability` of Eventing: what of Serving's has a meaning there, and reports of failed sources.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/observability/configmap`.

use std::collections::BTreeMap;

use crate::{Error, observability, read::Data};

/// Name of the ConfigMap.
pub const NAME: &str = observability::NAME;

/// The values of `config-observability`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observability {
    /// Metrics, traces and profiles.
    pub shared: observability::Observability,
    /// Whether a source that cannot send says so in a Kubernetes event.
    pub reports_sink_errors: bool,
}

impl Observability {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Observability, Error> {
        let shared = observability::Observability::parse(data)?;
        let mut read = Observability { shared, reports_sink_errors: false };
        Data(data).bool("sink-event-error-reporting.enable", &mut read.reports_sink_errors)?;
        Ok(read)
    }
}
