//! JSON merge patch.
//!
//! Pure: values in, values out.
//! Source: RFC 7386; github.com/evanphx/json-patch for the details that Kubernetes inherits.

use serde_json::{Map, Value};

/// Merges a patch into a value: null removes, objects merge, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match (value, target.get_mut(key)) {
            (Value::Null, _) => drop(target.remove(key)),
            (Value::Object(_), Some(old)) => merge(old, value),
            (_, Some(old)) => *old = without_nulls(value),
            (_, None) => drop(target.insert(key.clone(), without_nulls(value))),
        }
    }
}

/// A value that is new to its target brings no nulls of its objects along.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[track_caller]
    fn check(target: &str, patch: &str, expected: &str) {
        let mut value: Value = serde_json::from_str(target).unwrap();
        super::merge(&mut value, &serde_json::from_str(patch).unwrap());
        assert_eq!(value, serde_json::from_str::<Value>(expected).unwrap(), "{target} {patch}");
    }

    #[test]
    fn merges_as_rfc_7386_says() {
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        check(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        check(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
        check(r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
        check(r#"{}"#, r#"{"a":[null,{"b":null}]}"#, r#"{"a":[null,{"b":null}]}"#);
    }
}
