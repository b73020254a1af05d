//! Objects of one version as another version of their kind has them.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/{v1beta1,v1beta2}/eventtype_conversion.go`. PingSource's
//! versions differ in their name alone.

use serde_json::{Map, Value, json};

use crate::keys::eventing::GROUP;

/// The version that EventTypes are kept in, and that others are converted by.
const HUB: &str = "v1beta2";

/// Whether versions of the kind differ in more than their name.
pub fn is_known(group: &str, plural: &str) -> bool {
    group == GROUP && plural == "eventtypes"
}

/// Converts the spec of an EventType; versions that do not exist stay as they are.
pub fn event_type_spec(spec: &mut Value, from: &str, to: &str) {
    if from == to {
        return;
    }
    match from {
        "v1beta1" => old_to_hub(spec),
        "v1beta3" => new_to_hub(spec),
        HUB => {}
        _ => return,
    }
    match to {
        "v1beta1" => {
            fields(spec).remove("broker");
        }
        "v1beta3" => hub_to_new(spec),
        _ => {}
    }
}

fn fields(spec: &mut Value) -> &mut Map<String, Value> {
    if !spec.is_object() {
        *spec = json!({});
    }
    spec.as_object_mut().expect("it has just been made one")
}

fn old_to_hub(spec: &mut Value) {
    let fields = fields(spec);
    let broker = fields.remove("broker").filter(|broker| broker.as_str() != Some(""));
    if let Some(broker) = broker
        && fields.get("reference").is_none_or(Value::is_null)
    {
        let reference =
            json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": broker});
        fields.insert("reference".to_string(), reference);
    }
}

fn hub_to_new(spec: &mut Value) {
    let old = std::mem::take(fields(spec));
    let mut attributes = vec![
        json!({"name": "specversion", "required": true}),
        json!({"name": "id", "required": true}),
    ];
    for (name, key, is_required) in
        [("type", "type", true), ("source", "source", true), ("schemadata", "schema", false)]
    {
        let value = old.get(key).filter(|value| value.as_str().is_some_and(|it| !it.is_empty()));
        if let Some(value) = value {
            attributes.push(json!({"name": name, "required": is_required, "value": value}));
        } else if is_required {
            attributes.push(json!({"name": name, "required": true}));
        }
    }
    shared(&old, fields(spec));
    spec["attributes"] = attributes.into();
}

fn new_to_hub(spec: &mut Value) {
    let new = std::mem::take(fields(spec));
    shared(&new, fields(spec));
    spec["type"] = "".into();
    for attribute in new.get("attributes").and_then(Value::as_array).into_iter().flatten() {
        let key = match attribute["name"].as_str() {
            Some("type") => "type",
            Some("source") => "source",
            Some("schemadata") => "schema",
            _ => continue,
        };
        if attribute["value"].as_str().is_some_and(|value| !value.is_empty()) {
            spec[key] = attribute["value"].clone();
        }
    }
}

/// What both have.
fn shared(from: &Map<String, Value>, to: &mut Map<String, Value>) {
    for key in ["reference", "description"] {
        if let Some(value) = from.get(key) {
            to.insert(key.to_string(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_keep_what_both_versions_have() {
        let reference =
            json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"});
        let attributes = json!([
            {"name": "specversion", "required": true},
            {"name": "id", "required": true},
            {"name": "type", "required": true, "value": "t"},
            {"name": "source", "required": true},
            {"name": "schemadata", "required": false, "value": "http://s"},
        ]);
        for (from, to, given, wanted) in [
            (
                "v1beta2",
                "v1beta3",
                json!({"type": "t", "schema": "http://s", "schemaData": "{}", "description": "d"}),
                json!({"attributes": attributes, "description": "d"}),
            ),
            (
                "v1beta3",
                "v1beta2",
                json!({"attributes": attributes, "reference": reference}),
                json!({"type": "t", "schema": "http://s", "reference": reference}),
            ),
            (
                "v1beta1",
                "v1beta2",
                json!({"type": "t", "broker": "b"}),
                json!({"type": "t", "reference": reference}),
            ),
            ("v1beta2", "v1beta1", json!({"type": "t", "broker": "b"}), json!({"type": "t"})),
            ("v1beta3", "v1beta2", json!({"attributes": [{"name": "foo"}]}), json!({"type": ""})),
        ] {
            let mut spec = given;
            event_type_spec(&mut spec, from, to);
            assert_eq!(spec, wanted, "{from} {to}");
        }
    }
}
