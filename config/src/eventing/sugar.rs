//! `config-sugar`: which namespaces and Triggers get a Broker `default` by themselves.
//!
//! Pure: data in, values out. Source: knative/eventing `pkg/apis/sugar/sugar.go`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::{Error, read::yaml};

/// Name of the ConfigMap.
pub const NAME: &str = "config-sugar";

/// The values of `config-sugar`. No selector picks nothing, an empty one everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sugar {
    pub namespaces: Option<LabelSelector>,
    pub triggers: Option<LabelSelector>,
}

impl Sugar {
    /// Reads and checks the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Sugar, Error> {
        Ok(Sugar {
            namespaces: selector(data.get("namespace-selector"))?,
            triggers: selector(data.get("trigger-selector"))?,
        })
    }
}

fn selector(text: Option<&String>) -> Result<Option<LabelSelector>, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let what = match yaml(text)? {
        Value::Null => return Ok(None),
        value @ Value::Object(_) => {
            return serde_json::from_value(value).map(Some).map_err(|why| {
                Error::new(format!("error unmarshaling JSON: while decoding JSON: {why}"))
            });
        }
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(Error::new(format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type \
         v1.LabelSelector"
    )))
}
