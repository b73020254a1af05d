//! `weft down`: ends the platform of a data directory, and its pods with it.

use std::time::Duration;

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};

use crate::{args, place};

/// Longest wait for the end: the pods' default grace of 30 s and a little.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often the process is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

pub async fn run(place: args::Place) -> anyhow::Result<()> {
    let data_dir = place::data_dir(&place)?;
    let Some(running) = place::running(&data_dir)? else {
        println!("no platform runs from {}", data_dir.display());
        return Ok(());
    };
    let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        bail!("stop the platform: its note in {} is damaged", data_dir.display())
    };
    kill_process(pid, Signal::TERM)?;
    let end = tokio::time::Instant::now() + PATIENCE;
    while running.is_alive() {
        if tokio::time::Instant::now() > end {
            bail!(
                "stop the platform: process {} still runs after {} s; end it with `kill -9 {0}`, the next start cleans up",
                running.pid,
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    println!("stopped");
    Ok(())
}
