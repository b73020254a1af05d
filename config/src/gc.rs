//! `config-gc`: which old revisions are deleted.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/gc/config.go`.

use std::{collections::BTreeMap, time::Duration};

use api::go;

use crate::{
    Error,
    read::{Data, span},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-gc";

/// The values of `config-gc`; absent is `disabled`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gc {
    /// Age below which a revision is kept.
    pub retain_since_create_time: Option<Duration>,
    /// Time without a route below which a revision is kept.
    pub retain_since_last_active_time: Option<Duration>,
    /// Revisions without a route that are kept whatever their age; at least 0.
    pub min_non_active_revisions: i64,
    /// Revisions without a route above which the oldest go whatever their age.
    pub max_non_active_revisions: Option<i64>,
}

impl Default for Gc {
    fn default() -> Self {
        Gc {
            retain_since_create_time: Some(Duration::from_secs(48 * 3600)),
            retain_since_last_active_time: Some(Duration::from_secs(15 * 3600)),
            min_non_active_revisions: 20,
            max_non_active_revisions: Some(1000),
        }
    }
}

impl Gc {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Gc, Error> {
        let data = Data(data);
        let mut read = Gc::default();
        data.i64("min-non-active-revisions", &mut read.min_non_active_revisions)
            .map_err(|why| Error::new(format!("failed to parse data: {why}")))?;
        for (key, value) in [
            ("retain-since-create-time", &mut read.retain_since_create_time),
            ("retain-since-last-active-time", &mut read.retain_since_last_active_time),
        ] {
            or_disabled(data, key, value, |text| match go::parse_duration(text)? {
                nanos if nanos < 0 => Err("must be non-negative".to_string()),
                nanos => Ok(span(nanos)),
            })?;
        }
        or_disabled(
            data,
            "max-non-active-revisions",
            &mut read.max_non_active_revisions,
            |text| {
                let most = i64::MAX;
                i64::try_from(go::parse_uint(text, 64)?)
                    .map_err(|_| format!("value should be lower than {most}"))
            },
        )?;
        let (min, max) = (read.min_non_active_revisions, read.max_non_active_revisions);
        if min < 0 {
            return Err(Error::new(format!(
                "min-non-active-revisions must be non-negative, was: {min}"
            )));
        }
        if let Some(max) = max
            && min > max
        {
            return Err(Error::new(format!(
                "min-non-active-revisions({min}) must be <= max-non-active-revisions({max})"
            )));
        }
        Ok(read)
    }
}

fn or_disabled<T>(
    data: Data<'_>,
    key: &str,
    value: &mut Option<T>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(), Error> {
    match data.get(key).map(str::trim) {
        None | Some("") => {}
        Some(text) if text.eq_ignore_ascii_case("disabled") => *value = None,
        Some(text) => {
            *value = Some(
                parse(text).map_err(|why| Error::new(format!("failed to parse {key}: {why}")))?,
            );
        }
    }
    Ok(())
}
