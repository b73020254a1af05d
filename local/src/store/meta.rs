//! What the store knows of an object besides its bytes.
//!
//! Pure: reads values and bytes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Labels, sorted by key.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
}

/// The labels in a serialized object; none when it cannot be read.
pub fn labels(body: &[u8]) -> Labels {
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    envelope.and_then(|envelope| envelope.metadata.labels).unwrap_or_default().into_iter().collect()
}

/// The labels of an object.
pub fn labels_of(value: &Value) -> Labels {
    let Some(labels) = value["metadata"]["labels"].as_object() else { return Box::default() };
    let mut labels: Vec<(Box<str>, Box<str>)> = labels
        .iter()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect();
    labels.sort();
    labels.into()
}
