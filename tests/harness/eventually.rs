//! Assertions about what becomes true, with a bound.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at again. Short, since most become true within milliseconds.
const PAUSE: Duration = Duration::from_millis(25);

/// Tries `attempt` until it succeeds, and panics with `what` and the last error after `bound`.
pub async fn eventually<T, E, F>(bound: Duration, what: &str, mut attempt: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let end = start + bound;
    let mut last = "it never answered".to_owned();
    loop {
        match timeout_at(end, attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
        assert!(Instant::now() < end, "{what}: not within {bound:?}; last: {last}");
        sleep(PAUSE).await;
    }
}

/// Panics when `check` fails at any time during `span`.
pub async fn always<E, F>(span: Duration, what: &str, mut check: impl FnMut() -> F)
where
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(error) = check().await {
            panic!("{what}: {error}");
        }
        sleep(PAUSE).await;
    }
}
