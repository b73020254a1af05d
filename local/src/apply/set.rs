//! Sets of field paths.
//!
//! Pure: values.
//! Source: sigs.k8s.io/structured-merge-diff `fieldpath`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::Node;

/// A set of paths. A step is written as in `fieldsV1`: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(BTreeMap<Box<str>, Entry>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// The path that ends here is in the set.
    member: bool,
    below: Set,
}

impl Set {
    /// Reads `fieldsV1`; none when it is not one.
    pub fn parse(fields: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (step, below) in fields.as_object()? {
            if step == "." {
                continue;
            }
            if !matches!(step.get(..2), Some("f:" | "k:" | "v:" | "i:")) {
                return None;
            }
            let map = below.as_object()?;
            let member = map.is_empty() || map.contains_key(".");
            set.0.insert(step.as_str().into(), Entry { member, below: Set::parse(below)? });
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut map = Map::new();
        for (step, entry) in &self.0 {
            let mut below = entry.below.write();
            if entry.member && !entry.below.is_empty() {
                below["."] = Value::Object(Map::new());
            }
            map.insert(step.to_string(), below);
        }
        Value::Object(map)
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|entry| !entry.member && entry.below.is_empty())
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Box<str>]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut at = self;
        for step in parents {
            at = &mut at.0.entry(step.clone()).or_default().below;
        }
        at.0.entry(last.clone()).or_default().member = true;
    }

    /// Takes a path away.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Some(entry) = self.0.get_mut(*first) else { return };
        if rest.is_empty() {
            entry.member = false;
        } else {
            entry.below.remove(rest);
        }
        if !entry.member && entry.below.is_empty() {
            self.0.remove(*first);
        }
    }

    /// Takes a path and all below it away.
    pub fn remove_all(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.0.remove(*last)),
            [first, rest @ ..] => {
                let Some(entry) = self.0.get_mut(*first) else { return };
                entry.below.remove_all(rest);
                if !entry.member && entry.below.is_empty() {
                    self.0.remove(*first);
                }
            }
        }
    }

    /// Keeps only what is below the steps that `keep` takes.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|step, _| keep(step));
    }

    /// Whether a step is in it.
    pub fn has(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|entry| entry.member)
    }

    /// What is below a step.
    pub fn below(&self, step: &str) -> Option<&Set> {
        self.0.get(step).map(|entry| &entry.below).filter(|below| !below.is_empty())
    }

    /// The paths in either.
    pub fn union(&mut self, other: &Set) {
        for (step, entry) in &other.0 {
            let mine = self.0.entry(step.clone()).or_default();
            mine.member |= entry.member;
            mine.below.union(&entry.below);
        }
    }

    /// The paths in both.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut both = Set::default();
        for (step, entry) in &self.0 {
            let Some(one) = other.0.get(step) else { continue };
            let entry = Entry {
                member: entry.member && one.member,
                below: entry.below.intersection(&one.below),
            };
            if entry.member || !entry.below.0.is_empty() {
                both.0.insert(step.clone(), entry);
            }
        }
        both
    }

    /// The paths that are not in the other.
    pub fn difference(&self, other: &Set) -> Set {
        let mut rest = Set::default();
        for (step, entry) in &self.0 {
            let entry = match other.0.get(step) {
                None => entry.clone(),
                Some(one) => Entry {
                    member: entry.member && !one.member,
                    below: entry.below.difference(&one.below),
                },
            };
            if entry.member || !entry.below.0.is_empty() {
                rest.0.insert(step.clone(), entry);
            }
        }
        rest
    }

    /// The same with the fields of structs that lead to its paths.
    pub fn with_named_fields(&self, node: Option<Node<'_>>) -> Set {
        let mut named = Set::default();
        for (step, entry) in &self.0 {
            let (is_field, below) = match step.strip_prefix("f:") {
                Some(name) => (
                    node.is_some_and(|node| node.property(name).is_some()),
                    node.and_then(|node| node.field(name)),
                ),
                None => (false, node.and_then(|node| node.items())),
            };
            let member = entry.member || is_field && !entry.below.is_empty();
            named.0.insert(
                step.clone(),
                Entry { member, below: entry.below.with_named_fields(below) },
            );
        }
        named
    }

    /// Its paths in order, as errors show them: `.spec.ports[port=80,protocol="TCP"].name`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        for (step, entry) in &self.0 {
            let path = format!("{prefix}{}", step_text(step));
            if entry.member {
                paths.push(path.clone());
            }
            entry.below.collect(&path, paths);
        }
    }
}

/// Takes the paths of a set out of `fieldsV1` where it stands, and looks at nothing else in it.
pub fn take_out(fields: &mut Map<String, Value>, paths: &Set) {
    for (step, taken) in &paths.0 {
        let Some(below) = fields.get_mut(step.as_ref()).and_then(Value::as_object_mut) else {
            continue;
        };
        // A path that ends here is written as an empty object, or as a dot beside what is below it.
        let is_member = (below.is_empty() || below.contains_key(".")) && !taken.member;
        below.remove(".");
        take_out(below, &taken.below);
        match (is_member, below.is_empty()) {
            (false, true) => drop(fields.remove(step.as_ref())),
            (true, false) => drop(below.insert(".".to_owned(), Value::Object(Map::new()))),
            (true, true) | (false, false) => {}
        }
    }
}

/// A step as errors show it.
pub fn step_text(step: &str) -> String {
    let (kind, rest) = step.split_at(2);
    match kind {
        "f:" => format!(".{rest}"),
        "v:" => format!("[={rest}]"),
        "i:" => format!("[{rest}]"),
        _ => {
            let keys: Value = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Set, take_out};

    fn set(value: Value) -> Set {
        Set::parse(&value).unwrap()
    }

    #[test]
    fn sets_are_read_and_written() {
        let value = json!({"f:data": {".": {}, "f:k": {}}, "f:spec": {"f:l": {"k:{\"name\":\"a\"}": {".": {}, "f:v": {}}}}});
        assert_eq!(set(value.clone()).write(), value);
        assert_eq!(
            set(value).paths(),
            [".data", ".data.k", ".spec.l[name=\"a\"]", ".spec.l[name=\"a\"].v"]
        );
        assert!(Set::parse(&json!({"data": {}})).is_none());
    }

    #[test]
    fn sets_are_combined() {
        let a = json!({"f:a": {}, "f:m": {".": {}, "f:x": {}, "f:y": {}}});
        let b = json!({"f:m": {"f:x": {}}, "f:b": {}});
        assert_eq!(
            set(a.clone()).intersection(&set(b.clone())).write(),
            json!({"f:m": {"f:x": {}}})
        );
        assert_eq!(
            set(a.clone()).difference(&set(b.clone())).write(),
            json!({"f:a": {}, "f:m": {".": {}, "f:y": {}}})
        );
        let mut both = set(a.clone());
        both.union(&set(b));
        assert_eq!(
            both.write(),
            json!({"f:a": {}, "f:b": {}, "f:m": {".": {}, "f:x": {}, "f:y": {}}})
        );
        assert!(set(a.clone()).difference(&set(a)).is_empty());
    }

    #[test]
    fn paths_are_taken_out_where_they_stand() {
        let whole =
            json!({"f:a": {}, "f:m": {".": {}, "f:x": {}, "f:y": {"f:z": {}}}, "f:n": {"f:o": {}}});
        for paths in [
            json!({}),
            json!({"f:a": {}, "f:absent": {}}),
            json!({"f:a": {"f:below": {}}}),
            json!({"f:m": {}}),
            json!({"f:m": {"f:x": {}, "f:y": {"f:z": {}}}}),
            json!({"f:m": {"f:y": {".": {}, "f:z": {}}}, "f:n": {"f:o": {}}}),
            whole.clone(),
        ] {
            let mut left = whole.clone();
            take_out(left.as_object_mut().unwrap(), &set(paths.clone()));
            assert_eq!(left, set(whole.clone()).difference(&set(paths.clone())).write(), "{paths}");
        }
    }
}
