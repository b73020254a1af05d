//! Compares an answer with a recorded one that holds placeholders such as `<uid1>`.
//!
//! Pure: values in, the first differences out.

use std::collections::BTreeMap;

use serde_json::Value;

/// What placeholders stand for in one case.
#[derive(Debug, Default)]
pub struct Bindings(BTreeMap<String, String>);

impl Bindings {
    /// Replaces the placeholders that are known.
    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The differences between `recorded` and `found`, which may have `metadata.managedFields` more. Learns what
    /// placeholders stand for.
    pub fn differences(&mut self, recorded: &Value, found: &Value) -> Vec<String> {
        let mut differences = Vec::new();
        self.compare(recorded, found, "", &mut differences);
        differences
    }

    fn compare(&mut self, recorded: &Value, found: &Value, path: &str, out: &mut Vec<String>) {
        match (recorded, found) {
            (Value::Object(recorded), Value::Object(found)) => {
                for (key, value) in recorded {
                    let path = format!("{path}.{key}");
                    match found.get(key) {
                        Some(found) => self.compare(value, found, &path, out),
                        None => out.push(format!("{path}: missing, recorded {value}")),
                    }
                }
                let more = found.iter().filter(|(key, _)| !recorded.contains_key(*key));
                for (key, value) in more.filter(|(key, _)| *key != "managedFields") {
                    out.push(format!("{path}.{key}: not recorded: {value}"));
                }
            }
            (Value::Array(recorded), Value::Array(found)) if recorded.len() == found.len() => {
                if path.ends_with("details.causes") {
                    self.compare_unordered(recorded, found, path, out);
                    return;
                }
                for (at, (recorded, found)) in recorded.iter().zip(found).enumerate() {
                    self.compare(recorded, found, &format!("{path}[{at}]"), out);
                }
            }
            (Value::String(recorded), Value::String(found)) if self.matches(recorded, found) => {}
            _ if recorded == found => {}
            _ => out.push(format!("{path}: {found}, recorded {recorded}")),
        }
    }

    fn compare_unordered(
        &mut self,
        recorded: &[Value],
        found: &[Value],
        path: &str,
        out: &mut Vec<String>,
    ) {
        for it in recorded {
            if !found.iter().any(|found| self.differences(it, found).is_empty()) {
                out.push(format!("{path}: missing {it}"));
            }
        }
    }

    /// True when `found` is `recorded` with values for its placeholders.
    fn matches(&mut self, recorded: &str, found: &str) -> bool {
        let Some((before, name, after)) = placeholder(recorded) else { return recorded == found };
        let Some(rest) = found.strip_prefix(before) else { return false };
        let is_free = name.starts_with("<time")
            || !name.ends_with('>')
            || !name.trim_end_matches('>').ends_with(|it: char| it.is_ascii_digit());
        if let Some(value) = self.0.get(name).filter(|_| !is_free) {
            let value = value.clone();
            return rest.strip_prefix(&*value).is_some_and(|rest| self.matches(after, rest));
        }
        // The value ends where what follows the placeholder begins; the shortest that fits.
        let ends = (1..=rest.len()).filter(|end| rest.is_char_boundary(*end));
        for end in ends {
            let (value, rest) = rest.split_at(end);
            let before = self.0.len();
            if !is_free {
                self.0.insert(name.to_owned(), value.to_owned());
            }
            if self.matches(after, rest) {
                return true;
            }
            if !is_free && self.0.len() > before {
                self.0.remove(name);
            }
        }
        false
    }
}

/// The text before the first placeholder, the placeholder, and the text after it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find('<')?;
    let end = begin + text[begin..].find('>')? + 1;
    let name = &text[begin..end];
    let is_name =
        name[1..name.len() - 1].bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    (is_name && name.len() > 3).then_some((&text[..begin], name, &text[end..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_stand_for_one_value_a_case() {
        let mut bindings = Bindings::default();
        let recorded = json!({"uid": "<uid1>", "name": "a-<uid1>-z", "at": ["<time1>", "<time1>"]});
        let found =
            json!({"uid": "u", "name": "a-u-z", "at": ["now", "later"], "managedFields": 1});
        assert_eq!(bindings.differences(&recorded, &found), [""; 0]);
        let other = json!({"uid": "v", "name": "a-u-z", "at": ["now", "later"]});
        assert_eq!(bindings.differences(&recorded, &other).len(), 1);
        assert_eq!(bindings.fill("/x/<uid1>"), "/x/u");
    }
}
