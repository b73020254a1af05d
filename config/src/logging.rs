//! `config-logging`: how much each role writes to its log.
//!
//! Pure: data in, values out. Source: knative.dev/pkg `logging/config.go`.

use std::collections::BTreeMap;

use crate::Error;

/// Name of the ConfigMap.
pub const NAME: &str = "config-logging";

/// The values of `config-logging`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logging {
    /// Knative's JSON for its own logger; kept for those who set it, its `level` counts here.
    pub zap_logger_config: String,
    /// Levels by role: `controller`, `autoscaler`, `queueproxy`, `webhook`, `activator` …
    pub loglevel: BTreeMap<String, Level>,
}

/// From how bad on a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    /// Also what Knative calls `dpanic`, `panic` and `fatal`.
    Error,
}

impl Logging {
    /// Reads the ConfigMap; a level that is none is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Logging, Error> {
        let mut read = Logging::default();
        if let Some(json) = data.get("zap-logger-config") {
            read.zap_logger_config.clone_from(json);
        }
        for (key, text) in data {
            if let Some(role) = key.strip_prefix("loglevel.")
                && !role.is_empty()
                && !text.is_empty()
            {
                let level = level(text)
                    .ok_or_else(|| Error::new(format!("invalid logging level: {text}")))?;
                read.loglevel.insert(role.to_string(), level);
            }
        }
        Ok(read)
    }

    /// The level of the roles that have none of their own: that in Knative's JSON; none where that says nothing.
    pub fn general(&self) -> Option<Level> {
        let json: serde_json::Value = serde_json::from_str(&self.zap_logger_config).ok()?;
        level(json.get("level")?.as_str()?)
    }
}

impl Level {
    /// Its name in a filter of log lines.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

fn level(text: &str) -> Option<Level> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Some(Level::Debug),
        "" | "info" => Some(Level::Info),
        "warn" | "warning" => Some(Level::Warn),
        "error" | "dpanic" | "panic" | "fatal" => Some(Level::Error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_levels_and_there_is_a_general_one() {
        let data = BTreeMap::from([
            ("zap-logger-config".to_string(), "{\"level\": \"warn\"}".to_string()),
            ("loglevel.activator".to_string(), "debug".to_string()),
        ]);
        let logging = Logging::parse(&data).expect("the data is good");
        assert_eq!(logging.loglevel["activator"], Level::Debug);
        assert_eq!(logging.general(), Some(Level::Warn));
        assert_eq!(Logging::default().general(), None);
    }
}
