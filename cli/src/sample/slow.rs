//! Takes time, CPU and memory as the query asks, to watch the autoscaler at work.
//!
//! `/?sleep=500` waits 500 ms, `/?prime=10000` finds the largest prime below 10,000, `/?bloat=50`
//! holds 50 MB; together they run one after another.

use std::{fmt::Write, time::Duration};

use axum::{Router, extract::Query, http::StatusCode, routing::any};
use serde::Deserialize;

/// Most that one request may ask for: ten minutes, the longest timeout of a revision by default.
const SLEEP_MS_MAX: u64 = 600_000;
/// Largest sieve: 100 MB.
const PRIME_MAX: usize = 100_000_000;
/// Most memory a request may hold, in MB.
const BLOAT_MB_MAX: usize = 4_096;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Work {
    sleep: u64,
    prime: usize,
    bloat: usize,
}

pub fn router() -> Router {
    Router::new().fallback(any(work))
}

async fn work(Query(work): Query<Work>) -> Result<String, (StatusCode, String)> {
    if work.sleep > SLEEP_MS_MAX || work.prime > PRIME_MAX || work.bloat > BLOAT_MB_MAX {
        let text = format!(
            "too much: sleep is at most {SLEEP_MS_MAX} (ms), prime {PRIME_MAX}, bloat {BLOAT_MB_MAX} (MB)\n"
        );
        return Err((StatusCode::BAD_REQUEST, text));
    }
    let mut answer = String::new();
    if work.bloat > 0 {
        // Written to, so that the pages are really there.
        let held = vec![1u8; work.bloat << 20];
        let _ = writeln!(answer, "Allocated {} MB.", std::hint::black_box(&held).len() >> 20);
    }
    if work.prime > 0 {
        let limit = work.prime;
        let prime = tokio::task::spawn_blocking(move || largest_prime(limit)).await;
        match prime.ok().flatten() {
            Some(prime) => {
                let _ = writeln!(answer, "The largest prime less than {limit} is {prime}.");
            }
            None => {
                let _ = writeln!(answer, "There is no prime less than {limit}.");
            }
        }
    }
    if work.sleep > 0 {
        tokio::time::sleep(Duration::from_millis(work.sleep)).await;
        let _ = writeln!(answer, "Slept for {} milliseconds.", work.sleep);
    }
    if answer.is_empty() {
        answer.push_str("Ask for work: /?sleep=500&prime=10000&bloat=50\n");
    }
    Ok(answer)
}

/// The largest prime below `limit`, by a sieve.
fn largest_prime(limit: usize) -> Option<usize> {
    let mut composite = vec![false; limit];
    let mut largest = None;
    for candidate in 2..limit {
        if composite[candidate] {
            continue;
        }
        largest = Some(candidate);
        let mut multiple = candidate.saturating_mul(candidate);
        while multiple < limit {
            composite[multiple] = true;
            multiple += candidate;
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_largest_prime_below() {
        for (limit, prime) in [(0, None), (2, None), (3, Some(2)), (10, Some(7)), (100, Some(97))] {
            assert_eq!(largest_prime(limit), prime, "{limit}");
        }
    }
}
