//! Label selectors: which objects are meant.
//!
//! Pure: values in, values out.
//! Source: Kubernetes `apimachinery/pkg/apis/meta/v1/helpers.go`, `apimachinery/pkg/labels/selector.go`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether a selector picks an object with these labels; an empty one picks all.
pub fn picks(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let mut pairs = selector.match_labels.iter().flatten();
    let mut requirements = selector.match_expressions.iter().flatten();
    pairs.all(|(key, value)| labels.get(key) == Some(value))
        && requirements.all(|it| holds(it, labels))
}

/// The selector as a query of the API has it.
pub fn query(selector: &LabelSelector) -> String {
    let pairs = selector.match_labels.iter().flatten();
    let pairs = pairs.map(|(key, value)| format!("{key}={value}"));
    let requirements = selector.match_expressions.iter().flatten().map(|it| {
        let values = it.values.clone().unwrap_or_default().join(",");
        match &*it.operator {
            "In" => format!("{} in ({values})", it.key),
            "NotIn" => format!("{} notin ({values})", it.key),
            "DoesNotExist" => format!("!{}", it.key),
            _ => it.key.clone(),
        }
    });
    pairs.chain(requirements).collect::<Vec<_>>().join(",")
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let is_among = |value: &String| requirement.values.iter().flatten().any(|it| it == value);
    match &*requirement.operator {
        "In" => value.is_some_and(is_among),
        "NotIn" => !value.is_some_and(is_among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // Admission knows no others.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_picks_by_pairs_and_by_requirements() {
        let check = |selector: serde_json::Value, picked: bool, written: &str| {
            let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            assert_eq!(picks(&selector, &labels), picked, "{selector:?}");
            assert_eq!(query(&selector), written);
        };
        let one = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        check(json!({}), true, "");
        check(json!({ "matchLabels": { "a": "1" } }), true, "a=1");
        check(json!({ "matchLabels": { "a": "2" } }), false, "a=2");
        check(one("a", "In", &["1", "2"]), true, "a in (1,2)");
        check(one("b", "NotIn", &["1"]), true, "b notin (1)");
        check(one("a", "NotIn", &["1"]), false, "a notin (1)");
        check(one("a", "Exists", &[]), true, "a");
        check(one("a", "DoesNotExist", &[]), false, "!a");
    }
}
