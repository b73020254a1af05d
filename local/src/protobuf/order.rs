//! JSON with the fields of structs in the order of their Go types, as upstream shows objects in some errors.
//!
//! Pure: values in, text out.

use serde_json::{Map, Value};

use super::{Message, message, message_of};

/// The text of an object of a kind. Places that `touched` names have been through a map, and their fields are sorted.
pub fn go_json(
    value: &Value,
    (api_version, kind): (&str, &str),
    touched: &dyn Fn(&[String]) -> bool,
) -> String {
    let known = message_of(api_version, kind);
    let mut out = String::new();
    let mut writer = Writer { path: Vec::new(), touched, out: &mut out };
    writer.value(value, known);
    out
}

struct Writer<'a> {
    path: Vec<String>,
    touched: &'a dyn Fn(&[String]) -> bool,
    out: &'a mut String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, known: Option<Message>) {
        match value {
            Value::Object(map) => self.object(map, known),
            Value::Array(list) => {
                self.out.push('[');
                for (at, item) in list.iter().enumerate() {
                    if at > 0 {
                        self.out.push(',');
                    }
                    self.path.push(at.to_string());
                    self.value(item, known);
                    self.path.pop();
                }
                self.out.push(']');
            }
            leaf => self.out.push_str(&leaf.to_string()),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, known: Option<Message>) {
        let mut names: Vec<&String> = map.keys().collect();
        names.sort();
        let mut codes: Vec<(&str, &'static str)> = Vec::new();
        if let Some(known) = known {
            flatten(known, &mut codes);
        }
        let place = |name: &str| codes.iter().position(|(field, _)| *field == name);
        if !(self.touched)(&self.path) && !codes.is_empty() {
            names.sort_by_key(|name| place(name).unwrap_or(usize::MAX));
        }
        self.out.push('{');
        for (at, name) in names.into_iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.out.push_str(&Value::from(name.as_str()).to_string());
            self.out.push(':');
            let code = place(name).map(|at| codes[at].1).unwrap_or_default();
            let below = code.trim_start_matches('[').strip_prefix('@').and_then(message);
            self.path.push(name.clone());
            match (&map[name], code.strip_prefix('{')) {
                // The values of a map, not the map itself, are of the type.
                (Value::Object(entries), Some(code)) => {
                    let below = code.strip_prefix('@').and_then(message);
                    self.out.push('{');
                    for (at, (key, value)) in entries.iter().enumerate() {
                        if at > 0 {
                            self.out.push(',');
                        }
                        self.out.push_str(&Value::from(key.as_str()).to_string());
                        self.out.push(':');
                        self.path.push(key.clone());
                        self.value(value, below);
                        self.path.pop();
                    }
                    self.out.push('}');
                }
                (value, _) => self.value(value, below),
            }
            self.path.pop();
        }
        self.out.push('}');
    }
}

/// The fields of a message with those of the messages that stand in it.
fn flatten(known: Message, out: &mut Vec<(&'static str, &'static str)>) {
    for field in known.fields() {
        match field.code.strip_prefix('^').and_then(message) {
            Some(inline) => flatten(inline, out),
            None => out.push((field.name, field.code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn structs_have_go_s_order_where_no_map_was() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"b": "1", "a": "2"}, "name": "x", "uid": "u"}, "data": {"k": 1}});
        let touched = |path: &[String]| path.is_empty() || path == ["data"];
        let expected = r#"{"apiVersion":"v1","data":{"k":1},"kind":"ConfigMap","metadata":{"name":"x","uid":"u","labels":{"a":"2","b":"1"}}}"#;
        assert_eq!(super::go_json(&value, ("v1", "ConfigMap"), &touched), expected);
    }
}
