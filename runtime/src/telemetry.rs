//! Sets up what the process says: text for people, with colour on a terminal, or JSON for machines.

use std::{io::IsTerminal, sync::Arc};

use ::config::{Config, logging::Logging};
use anyhow::Context;
use tokio::sync::watch;
use tracing_subscriber::{
    EnvFilter,
    reload::{Error, Handle},
};

/// Where the lines of Knative's roles come from, by the roles' names in `config-logging`.
const ROLES: &[(&str, &str)] = &[
    ("controller", "controller"),
    ("webhook", "controller::admission"),
    ("autoscaler", "autoscaler"),
    ("hpaautoscaler", "autoscaler::horizontal"),
    ("activator", "activator"),
    ("queueproxy", "proxy::queue"),
    ("gateway", "mesh"),
];

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// One line of text an event; coloured when standard error is a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which lines are written, and how to change that while the process runs.
#[derive(Clone)]
pub struct Levels {
    /// What the command line asks for.
    asked: Arc<str>,
    set: Arc<dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync>,
}

impl Levels {
    /// Keeps to `config-logging` on top of what the command line asks for, until the configuration ends. Of several
    /// platforms in one process the last word counts, since they write one log.
    pub async fn follow(self, mut config: watch::Receiver<Arc<Config>>) {
        let mut current = self.asked.to_string();
        loop {
            let wanted = filter(&self.asked, &config.borrow_and_update().logging);
            if wanted != current {
                let set = EnvFilter::try_new(&wanted)
                    .map_err(anyhow::Error::from)
                    .and_then(|it| Ok((self.set)(it)?));
                match set {
                    Ok(()) => tracing::info!(levels = wanted, "log levels changed"),
                    Err(error) => tracing::warn!(%error, levels = wanted, "set the log levels"),
                }
                current = wanted;
            }
            if config.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Sends events to standard error from now on. `asked` is a list such as `info,mesh=debug`. To be
/// called once, by `main`: where events go is the one thing that is the process's and not a
/// platform's.
pub fn start(format: Format, asked: &str) -> anyhow::Result<Levels> {
    let filter = EnvFilter::try_new(asked)
        .with_context(|| format!("read the log filter {asked:?}, for instance info,mesh=debug"))?;
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let (started, set) = match format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal();
            let lines = lines.with_ansi(colour).with_target(false).compact();
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let set = setter(lines.reload_handle());
            (lines.try_init(), set)
        }
        Format::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let set = setter(lines.reload_handle());
            (lines.try_init(), set)
        }
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))?;
    Ok(Levels { asked: asked.into(), set })
}

fn setter<S: 'static>(
    handle: Handle<EnvFilter, S>,
) -> Arc<dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync> {
    Arc::new(move |filter| handle.reload(filter))
}

/// The filter for what the command line asks for and what the configuration says: of one role the latter counts.
fn filter(asked: &str, logging: &Logging) -> String {
    let mut filter = asked.to_owned();
    filter.extend(logging.general().into_iter().flat_map(|it| [",", it.name()]));
    for (role, level) in &logging.loglevel {
        let found = ROLES.iter().find(|(name, _)| name == role).map(|(_, target)| *target);
        // Each of Knative's gateways has a controller with a name of its own.
        let target = found.or_else(|| role.starts_with("net-").then_some("mesh"));
        filter.extend(target.into_iter().flat_map(|it| [",", it, "=", level.name()]));
    }
    filter
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn levels_are_those_of_the_configuration() {
        #[track_caller]
        fn check(data: &[(&str, &str)], expected: &str) {
            let data: BTreeMap<String, String> =
                data.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
            let logging = Logging::parse(&data).expect("the data is good");
            let found = filter("info,local=warn", &logging);
            assert_eq!(found, expected);
            EnvFilter::try_new(found).expect("it is a filter");
        }
        check(&[], "info,local=warn");
        check(&[("loglevel.controller", "debug")], "info,local=warn,controller=debug");
        check(&[("loglevel.net-kourier-controller", "error")], "info,local=warn,mesh=error");
        check(&[("loglevel.somebody-else", "debug")], "info,local=warn");
        check(
            &[("zap-logger-config", "{\"level\": \"warn\"}"), ("loglevel.activator", "fatal")],
            "info,local=warn,warn,activator=error",
        );
    }
}
