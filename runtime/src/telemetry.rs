//! Sets up what the process says: text for people, with colour on a terminal, or JSON for machines.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// One line of text an event; coloured when standard error is a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends events to standard error from now on. `filter` is a list such as `info,mesh=debug`. To be
/// called once, by `main`: where events go is the one thing that is the process's and not a
/// platform's.
pub fn start(format: Format, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("read the log filter {filter:?}, for instance info,mesh=debug"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal();
            lines.with_ansi(colour).with_target(false).compact().try_init()
        }
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
