//! `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::Kind;

/// A field that someone else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Such as `"m1"` or `"m1" using v1`.
    pub with: String,
    /// Such as `.spec.replicas`.
    pub field: String,
}

/// Why apply failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Others own what would change.
    Conflicts(Vec<Conflict>),
    /// The applied object has no place in its schema.
    Invalid(String),
}

/// Records a write.
pub fn on_update(
    _kind: &Kind,
    _old: Option<&Value>,
    _new: &mut Value,
    _manager: &str,
    _subresource: &str,
    _now: Timestamp,
) {
}

/// Records an apply of a scale.
pub fn on_scale_apply(
    _kind: &Kind,
    _old: &Value,
    _new: &mut Value,
    _manager: &str,
    _now: Timestamp,
) {
}

/// Merges an applied object.
pub fn apply(
    _kind: &Kind,
    old: &Value,
    config: &Value,
    _manager: &str,
    _subresource: &str,
    _force: bool,
    _now: Timestamp,
) -> Result<Option<Value>, Error> {
    let mut merged = old.clone();
    crate::patch::merge::merge(&mut merged, config);
    Ok(Some(merged))
}

/// Whether two lists of managed fields differ in more than times.
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    a == b
}
