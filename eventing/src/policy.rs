//! How often and when an event is offered again to who did not take it.
//!
//! Pure: an outcome and a policy in, a decision out.
//! Source: knative/eventing `pkg/kncloudevents/retries.go`; `Retry-After` as in its `message_sender.go`.

use std::time::Duration;

/// Longest wait between two tries: a subscriber that comes back is found within this time, however often it failed.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);
/// Longest time of one try where nothing else is asked for: as long as a Knative Service may take at most.
pub const TRY_LIMIT: Duration = Duration::from_secs(600);

/// How one subscriber's events are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries after the first.
    pub retries: u32,
    /// How the wait before each of them grows.
    pub backoff: Backoff,
    /// What it grows by.
    pub delay: Duration,
    /// Longest time of one try.
    pub timeout: Duration,
    /// Longest wait that a subscriber may ask for; absent, it is not asked.
    pub retry_after_most: Option<Duration>,
}

/// How waits grow with the number of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// There are none.
    None,
    /// By the delay each: nothing before the first repetition, one delay before the second, and so on.
    Linear,
    /// Doubling: one delay before the first repetition, two before the second, four before the third.
    Exponential,
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who was asked, as a URL.
    pub destination: String,
    /// The status that it answered, if it answered.
    pub code: Option<u16>,
    /// The beginning of its answer, or what went wrong.
    pub data: Vec<u8>,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this time.
    Again(Duration),
    /// It would not help.
    GiveUp,
}

impl Default for Policy {
    /// What holds where nothing is asked for: one try.
    fn default() -> Policy {
        Policy {
            retries: 0,
            backoff: Backoff::None,
            delay: Duration::ZERO,
            timeout: TRY_LIMIT,
            retry_after_most: None,
        }
    }
}

/// What to do after `failures` failures in a row, of which `last` is the last; at least one.
pub fn after(policy: &Policy, failures: u32, last: &Failure) -> Next {
    if failures > policy.retries || !may_help(last.code) {
        return Next::GiveUp;
    }
    let before = failures.saturating_sub(1);
    let wait = match policy.backoff {
        Backoff::None => Duration::ZERO,
        Backoff::Linear => policy.delay.saturating_mul(before),
        Backoff::Exponential => {
            policy.delay.saturating_mul(2_u32.checked_pow(before).unwrap_or(u32::MAX))
        }
    };
    let asked = match (policy.retry_after_most, last.retry_after, last.code) {
        (Some(most), Some(asked), Some(429 | 503)) => asked.min(most),
        _ => Duration::ZERO,
    };
    Next::Again(wait.max(asked).min(WAIT_LIMIT.max(asked)))
}

/// Whether another try may succeed after such an answer.
pub fn may_help(code: Option<u16>) -> bool {
    match code {
        None | Some(404 | 408 | 409 | 429) => true,
        Some(code) => code >= 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn failure(code: u16, retry_after: Option<Duration>) -> Failure {
        let code = (code > 0).then_some(code);
        Failure { destination: String::new(), code, data: Vec::new(), retry_after }
    }

    #[track_caller]
    fn check(backoff: Backoff, waits_ms: &[u32]) {
        let retries = u32::try_from(waits_ms.len()).unwrap();
        let policy = Policy { retries, backoff, delay: 200 * MS, ..Policy::default() };
        for (at, wait) in waits_ms.iter().enumerate() {
            let failures = u32::try_from(at).unwrap() + 1;
            let next = after(&policy, failures, &failure(500, None));
            assert_eq!(next, Next::Again(*wait * MS), "after {failures}");
        }
        assert_eq!(after(&policy, retries + 1, &failure(500, None)), Next::GiveUp);
    }

    #[test]
    fn waits_grow_as_upstream_has_them() {
        check(Backoff::None, &[0, 0, 0]);
        check(Backoff::Linear, &[0, 200, 400, 600]);
        check(Backoff::Exponential, &[200, 400, 800, 1600, 3200, 6400, 12_800, 25_600]);
        check(Backoff::Linear, &[]);
    }

    #[test]
    fn a_wait_has_a_limit() {
        let policy = Policy {
            retries: 100,
            backoff: Backoff::Exponential,
            delay: 200 * MS,
            ..Policy::default()
        };
        assert_eq!(after(&policy, 60, &failure(0, None)), Next::Again(WAIT_LIMIT));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let policy = Policy { retries: 1, ..Policy::default() };
        for code in [0, 404, 408, 409, 429, 500, 502, 503, 599] {
            assert_eq!(after(&policy, 1, &failure(code, None)), Next::Again(Duration::ZERO));
        }
        for code in [300, 307, 400, 401, 403, 405, 413, 422] {
            assert_eq!(after(&policy, 1, &failure(code, None)), Next::GiveUp, "{code}");
        }
    }

    #[test]
    fn a_subscriber_may_ask_for_more_time() {
        let asked = |most: Option<u32>, code, asked: u32| {
            let policy = Policy {
                retries: 9,
                backoff: Backoff::Linear,
                delay: 100 * MS,
                retry_after_most: most.map(|it| it * MS),
                ..Policy::default()
            };
            after(&policy, 2, &failure(code, Some(asked * MS)))
        };
        let again = |ms: u32| Next::Again(ms * MS);
        assert_eq!(asked(None, 503, 1000), again(100), "nobody allows it");
        assert_eq!(asked(Some(0), 503, 1000), again(100), "it is ignored");
        assert_eq!(asked(Some(5000), 503, 1000), again(1000));
        assert_eq!(asked(Some(500), 429, 1000), again(500));
        assert_eq!(asked(Some(500), 429, 20), again(100), "never less than the policy's");
        assert_eq!(asked(Some(500), 500, 1000), again(100), "only with these two codes");
    }
}
