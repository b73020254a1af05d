//! How a source sends an event: at once, and a few times more if the sink does not take it.
//!
//! Source: knative/eventing `pkg/adapter/v2`, `pkg/adapter/mtping/runner.go`.

use std::time::Duration;

use api::duck::CloudEventOverrides;

use crate::{
    deliver::{self, Answers, Courier, Format, Manner, Target},
    event::Event,
    policy::{self, Backoff, Failure, Next, Policy},
};

/// How a source's events are sent. All tries together stay below a minute, the shortest time between two events of most
/// schedules.
const POLICY: Policy = Policy {
    retries: 5,
    backoff: Backoff::Exponential,
    delay: Duration::from_millis(50),
    timeout: Duration::from_secs(10),
    retry_after_most: None,
};

/// Sends an event of a source in `namespace`; the failure is that of the last try.
pub async fn send(
    courier: &dyn Courier,
    to: &Target,
    namespace: &str,
    event: &Event,
) -> Result<(), Failure> {
    let manner = Manner {
        namespace,
        format: Format::Binary,
        timeout: POLICY.timeout,
        answer: Answers::Nothing,
    };
    let mut failures = 0;
    loop {
        let failure = match deliver::offer(courier, to, event, &manner).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        failures += 1;
        match policy::after(&POLICY, failures, &failure) {
            Next::Again(wait) => tokio::time::sleep(wait).await,
            Next::GiveUp => return Err(failure),
        }
    }
}

/// Attributes that a source puts into all its events, as pairs.
pub fn overrides(overrides: Option<&CloudEventOverrides>) -> Vec<(String, String)> {
    let extensions = overrides.iter().flat_map(|it| &it.extensions);
    extensions.map(|(name, value)| (name.clone(), value.clone())).collect()
}
