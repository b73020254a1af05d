//! `config-kreference-mapping`: URLs of kinds that have no address.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/kreferencemapping`.

use std::collections::BTreeMap;

use crate::{Error, install::EXAMPLE};

/// Name of the ConfigMap.
pub const NAME: &str = "config-kreference-mapping";

/// The values of `config-kreference-mapping`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    /// Templates of URLs, by `Kind.version.group`.
    pub templates: BTreeMap<String, String>,
}

impl Mapping {
    /// Reads the ConfigMap. Like upstream it takes any text; has the shape of the others.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Mapping, Error> {
        let mut templates = data.clone();
        templates.remove(EXAMPLE);
        Ok(Mapping { templates })
    }
}
