//! Label selectors over what the controllers remember, and lists of owners.
//!
//! Pure: no more than matching and editing.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::objects::{Meta, Owner};

/// True when `labels` satisfy `selector`. An empty selector matches nothing here: a controller never owns everything.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let rules = selector.match_expressions.iter().flatten();
    if pairs.clone().next().is_none() && rules.clone().next().is_none() {
        return false;
    }
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && rules.into_iter().all(|rule| {
            let value = labels.get(&rule.key);
            let listed = || rule.values.iter().flatten().any(|it| Some(it) == value);
            match rule.operator.as_str() {
                "In" => value.is_some() && listed(),
                "NotIn" => value.is_none() || !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// True when `labels` have all the pairs of a Service's selector, which must not be empty.
pub fn has_all(labels: &BTreeMap<String, String>, pairs: &BTreeMap<String, String>) -> bool {
    !pairs.is_empty() && pairs.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The owner references of an object with one more.
pub fn owners_with(meta: &Meta, owner: Value) -> Value {
    let mut owners: Vec<Value> = meta.owners.iter().map(reference).collect();
    owners.push(owner);
    Value::Array(owners)
}

/// The owner references of an object without those to `uid`.
pub fn owners_without(meta: &Meta, uid: &str) -> Value {
    meta.owners.iter().filter(|owner| &*owner.uid != uid).map(reference).collect()
}

/// An owner as it is written in an object.
pub fn reference(owner: &Owner) -> Value {
    let mut it = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": &*owner.uid,
    });
    if owner.is_controller {
        it["controller"] = json!(true);
    }
    if owner.blocks_deletion {
        it["blockOwnerDeletion"] = json!(true);
    }
    it
}
