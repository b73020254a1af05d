//! Measures appends to logs in files and in JetStream beside bare publishing to JetStream, in one run.
//!
//! `tests/bench/append.py` starts the servers and runs this: the arguments are a folder, the URL of a server that writes
//! to disk when it likes, and that of one that does before it acknowledges.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use async_nats::jetstream;
use bytes::Bytes;
use eventing::log::{
    Durability, Keep, Layout, Log, Store,
    file::Files,
    jetstream::{JetStream, Settings},
};
use futures::{StreamExt, stream::FuturesUnordered};
use runtime::clock::Clock;
use tokio::time::Instant;

/// A usual event.
const BYTES: usize = 512;
const IN_FLIGHT: [usize; 3] = [1, 32, 256];
/// Each figure is the median of so many.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1000);
/// As a topic has it for its events.
const LAYOUT: Layout = Layout { segment_bytes: 32 << 20, tail_bytes: 4 << 20 };

type Anything = Box<dyn Error + Send + Sync>;

/// What is appended to.
enum Target {
    Log(Arc<dyn Log>, Durability),
    Bare(Box<jetstream::Context>),
}

impl Target {
    async fn append(&self, record: Bytes) -> Result<(), Anything> {
        match self {
            Target::Log(log, durability) => {
                log.append(vec![record], *durability).await?;
            }
            Target::Bare(context) => {
                context.publish("bare", record).await?.await?;
            }
        }
        Ok(())
    }

    /// Forgets what was appended, so that each round begins with little.
    async fn forget(&self) -> Result<(), Anything> {
        match self {
            Target::Log(log, _) => {
                // Who asks for the end is told of appends from then on, which has its price.
                let end = *log.end().borrow();
                log.trim(end, Keep::NOTHING).await?;
            }
            Target::Bare(context) => {
                context.get_stream("bare").await?.purge().await?;
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, lazy, eager] = &arguments[..] else {
        return Err("usage: append FOLDER URL URL; tests/bench/append.py gives them".into());
    };
    let files = Files::open(Path::new(folder), Clock::start())?;
    let file = files.open("log", LAYOUT).await?;
    // Before the answer: how the records are safe from the loss of power, or from that of the process only.
    let kinds = [("on disk", Durability::Disk, eager), ("in the system", Durability::System, lazy)];
    println!("appends of {BYTES} bytes each second, median of {ROUNDS} rounds\n");
    println!(
        "{:<14}{:>10}{:>12}{:>12}{:>12}{:>14}{:>14}",
        "kept", "in flight", "JetStream", "log there", "log in file", "there/bare", "file/bare"
    );
    for (name, durability, url) in kinds {
        let store = JetStream::connect(Settings::new(vec![url.clone()])).await?;
        let targets = [
            Target::Bare(Box::new(bare(url).await?)),
            Target::Log(store.open("log", LAYOUT).await?, durability),
            Target::Log(file.clone(), durability),
        ];
        for target in &targets {
            target.forget().await?;
        }
        for in_flight in IN_FLIGHT {
            let mut rates = [const { Vec::new() }; 3];
            // Side by side, since the machine is not the same from one second to the next.
            for _ in 0..ROUNDS {
                for (target, rates) in targets.iter().zip(&mut rates) {
                    rates.push(rate(target, in_flight).await?);
                    target.forget().await?;
                }
            }
            let [bare, there, file] = rates.map(median);
            println!(
                "{name:<14}{in_flight:>10}{bare:>12.0}{there:>12.0}{file:>12.0}{:>14.2}{:>14.2}",
                there / bare,
                file / bare
            );
        }
    }
    Ok(())
}

async fn bare(url: &str) -> Result<jetstream::Context, Anything> {
    let context = jetstream::new(async_nats::connect(url).await?);
    context.create_stream("bare").await?;
    Ok(context)
}

/// Appends each second, with `in_flight` of them at a time.
async fn rate(target: &Target, in_flight: usize) -> Result<f64, Anything> {
    let record = Bytes::from(vec![7; BYTES]);
    let begun = Instant::now();
    let mut flights: FuturesUnordered<_> =
        (0..in_flight).map(|_| target.append(record.clone())).collect();
    let mut count = 0_u32;
    while let Some(done) = flights.next().await {
        done?;
        count += 1;
        if begun.elapsed() < ROUND {
            flights.push(target.append(record.clone()));
        }
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
