//! `weft up --detach`: starts the platform as a process of its own and returns when it is ready.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{args, place};

/// Longest wait for readiness; a start takes well under a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the note of the new process is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Starts this binary again with the same arguments, without `--detach`, and prints what it printed.
pub fn run(up: &args::Up, json: bool) -> anyhow::Result<()> {
    let data_dir = place::data_dir(&up.place)?;
    if let Some(running) = place::running(&data_dir)? {
        bail!(
            "start the platform: one runs already from {} (process {}); see `weft status`",
            data_dir.display(),
            running.pid
        );
    }
    fs::create_dir_all(&data_dir).with_context(|| format!("create {}", data_dir.display()))?;
    let path = data_dir.join("weft.log");
    let mut log = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut child = Command::new(std::env::current_exe().context("find this program")?)
        .args(arguments)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .context("start the platform")?;
    let mut waited = Duration::ZERO;
    let ready = loop {
        if place::running(&data_dir)?.is_some_and(|running| running.pid == child.id()) {
            break true;
        }
        if child.try_wait()?.is_some() || waited > PATIENCE {
            break false;
        }
        thread::sleep(LOOK);
        waited += LOOK;
    };
    log.rewind()?;
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    if !ready {
        bail!("{}", complaint(&text));
    }
    print!("{text}");
    if !json {
        println!(
            "It stays in the background: `weft status` shows it, `weft down` ends it, {} has its log.",
            path.display()
        );
    }
    Ok(())
}

/// The error that the other process printed, without what this one will print around it.
fn complaint(text: &str) -> String {
    let last = text.trim().lines().last().unwrap_or_default();
    match serde_json::from_str::<serde_json::Value>(last) {
        Ok(line) => line["message"].as_str().unwrap_or(last).to_owned(),
        Err(_) => text.trim().trim_start_matches("weft: ").to_owned(),
    }
}
