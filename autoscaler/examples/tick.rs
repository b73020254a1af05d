//! Measures one tick of the autoscaler for many revisions under load: what it takes in and what it decides.

use std::time::Duration;

use api::load::{PodLoad, RevisionLoad};
use autoscaler::{decider::Decider, policy};
use jiff::Timestamp;
use tokio::time::Instant;

const REVISIONS: usize = 10_000;
/// Ticks before those that count: more than a stable window.
const BEFORE: u32 = 45;
const TICKS: u32 = 60;
/// Seconds between two ticks.
const PERIOD_S: i64 = 2;
/// The bar for one tick.
const BAR: Duration = Duration::from_millis(50);

fn main() -> anyhow::Result<()> {
    let moment = |tick: u32| Timestamp::from_second(1_000_000_000 + i64::from(tick) * PERIOD_S);
    let policy = policy::policy(&Default::default(), &Default::default());
    let begin = moment(0)?;
    let mut deciders: Vec<Decider> =
        (0..REVISIONS).map(|_| Decider::new(policy.clone(), 3, begin)).collect();
    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    for tick in 1..=BEFORE + TICKS {
        let now = moment(tick)?;
        let begun = Instant::now();
        for (number, decider) in deciders.iter_mut().enumerate() {
            // Each has a curve of its own, so that decisions differ.
            let concurrency = ((tick as usize + number) % 97) as f64 * 3.0;
            let busy_pods = vec![PodLoad { pod: "pod".to_owned(), in_flight: 3 }];
            let load = RevisionLoad { concurrency, busy_pods, ..RevisionLoad::default() };
            decider.record("activator", &load, now);
            decider.decide(now);
        }
        if tick > BEFORE {
            let took = begun.elapsed();
            longest = longest.max(took);
            total += took;
        }
    }
    let wanted: u64 =
        deciders.iter().filter_map(Decider::decision).map(|it| u64::from(it.pods)).sum();
    let mean = total / TICKS;
    println!(
        "{REVISIONS} revisions, {wanted} pods wanted: a tick takes {:.1} ms, the longest {:.1} ms  bar {} ms: {}",
        mean.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
        BAR.as_millis(),
        if mean <= BAR { "met" } else { "MISSED" },
    );
    Ok(())
}
