//! The fields of a value, and those in which two values differ.
//!
//! Pure: values and schemas in, sets out.
//! Source: sigs.k8s.io/structured-merge-diff `typed/tofieldset.go`, `typed/compare.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::item::{self, Shape};
use super::set::Set;
use crate::schema::{Node, Type};

/// In which fields two values differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

/// The fields that a value says. The error names the place and is upstream's text.
pub fn fields(value: &Value, node: Option<Node<'_>>) -> Result<Set, String> {
    let mut set = Set::default();
    walk(value, node, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn place(path: &[Box<str>]) -> String {
    path.iter().map(|step| super::set::step_text(step)).collect()
}

/// What is wrong with a value that has not the type of its place.
///
/// Source: sigs.k8s.io/structured-merge-diff `typed/validate.go`.
fn wrong_type(value: &Value, wanted: Type) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let shown = match value {
        Value::String(text) => text.clone(),
        other => crate::patch::strategic::go_text(other),
    };
    match wanted {
        Type::Int32 | Type::Int64 | Type::Number if !value.is_number() => {
            let found = match value {
                Value::Bool(_) => "bool",
                Value::Array(_) => "[]interface {}",
                Value::Object(_) => "map[string]interface {}",
                _ => "string",
            };
            Some(format!("expected numeric (int or float), got {found}"))
        }
        Type::String if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{shown}}}"))
        }
        Type::Boolean if !value.is_boolean() => Some(format!("expected boolean, got &{{{shown}}}")),
        Type::Array if !value.is_array() => Some(format!("expected list, got &{{{shown}}}")),
        Type::Object if !value.is_object() => Some(format!("expected map, got &{{{shown}}}")),
        _ => None,
    }
}

fn walk(
    value: &Value,
    node: Option<Node<'_>>,
    path: &mut Vec<Box<str>>,
    set: &mut Set,
) -> Result<(), String> {
    if let Some(wrong) = node.and_then(|node| wrong_type(value, node.kind)) {
        return Err(format!("{}: {wrong}", place(path)));
    }
    match (item::shape(value, node), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, value) in map {
                path.push(item::field(name));
                let undeclared = |node: &Node<'_>| {
                    !node.properties.is_empty()
                        && !node.preserve_unknown
                        && node.field(name).is_none()
                };
                if node.as_ref().is_some_and(undeclared) {
                    return Err(format!("{}: field not declared in schema", place(path)));
                }
                walk(value, item::field_node(node, name), path, set)?;
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || node.and_then(|node| node.property(name)).is_none() {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::List, Value::Array(list)) => {
            let Some(list_node) = node else { return Ok(()) };
            let mut seen: Vec<Box<str>> = Vec::new();
            for (index, value) in list.iter().enumerate() {
                let step = item::element(value, list_node)
                    .map_err(|error| format!("{}: element {index}: {error}", place(path)))?;
                if seen.contains(&step) {
                    return Err(format!(
                        "{}: duplicate entries for key {}",
                        place(path),
                        super::set::step_text(&step)
                    ));
                }
                seen.push(step.clone());
                path.push(step);
                walk(value, item::item_node(node), path, set)?;
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
    Ok(())
}

/// Compares two values; elements of lists that cannot be told apart count as one value.
pub fn compare(old: &Value, new: &Value, node: Option<Node<'_>>) -> Difference {
    let mut difference = Difference::default();
    let mut walker = Walker { path: Vec::new(), out: &mut difference };
    walker.compare(Some(old), Some(new), node, false);
    difference
}

struct Walker<'a> {
    path: Vec<Box<str>>,
    out: &'a mut Difference,
}

impl Walker<'_> {
    fn compare(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        node: Option<Node<'_>>,
        in_leaf: bool,
    ) {
        if old == new {
            return;
        }
        let shape = |value: Option<&Value>| {
            value.filter(|value| !value.is_null()).map(|value| item::shape(value, node))
        };
        let leaf = match (shape(old), shape(new)) {
            (None, None) => self.leaf(old, new, in_leaf),
            (Some(a), Some(b)) if a != b => {
                // Another type: the old one goes, the new one comes.
                self.visit(old, None, node, a, in_leaf);
                self.visit(None, new, node, b, in_leaf);
                if !in_leaf {
                    self.out.modified.insert(&self.path);
                }
                true
            }
            (Some(shape), _) | (None, Some(shape)) => self.visit(old, new, node, shape, in_leaf),
        };
        if !leaf {
            match (old, new) {
                (None, Some(_)) => self.out.added.insert(&self.path),
                (Some(_), None) => self.out.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Says whether this place is, or is within, one value.
    fn visit(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        node: Option<Node<'_>>,
        shape: Shape,
        in_leaf: bool,
    ) -> bool {
        let is_empty = |value: Option<&Value>| match value {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => true,
        };
        if shape == Shape::Leaf || is_empty(old) && is_empty(new) {
            return self.leaf(old, new, in_leaf);
        }
        if shape == Shape::Map {
            let empty = Map::new();
            let (a, b) = (
                old.and_then(Value::as_object).unwrap_or(&empty),
                new.and_then(Value::as_object).unwrap_or(&empty),
            );
            for (name, value) in a {
                self.path.push(item::field(name));
                self.compare(Some(value), b.get(name), item::field_node(node, name), in_leaf);
                self.path.pop();
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                self.path.push(item::field(name));
                self.compare(None, Some(value), item::field_node(node, name), in_leaf);
                self.path.pop();
            }
            return in_leaf;
        }
        let Some(list) = node else { return self.leaf(old, new, in_leaf) };
        let mut elements: BTreeMap<Box<str>, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for value in old.and_then(Value::as_array).into_iter().flatten() {
            if let Ok(step) = item::element(value, list) {
                elements.entry(step).or_default().0.push(value);
            }
        }
        for value in new.and_then(Value::as_array).into_iter().flatten() {
            if let Ok(step) = item::element(value, list) {
                elements.entry(step).or_default().1.push(value);
            }
        }
        for (step, (a, b)) in elements {
            self.path.push(step);
            match (a.as_slice(), b.as_slice()) {
                ([] | [_], [] | [_]) => self.compare(
                    a.first().copied(),
                    b.first().copied(),
                    item::item_node(node),
                    in_leaf,
                ),
                (a, b) if a != b && !in_leaf => match (a.is_empty(), b.is_empty()) {
                    (true, _) => self.out.added.insert(&self.path),
                    (_, true) => self.out.removed.insert(&self.path),
                    _ => self.out.modified.insert(&self.path),
                },
                _ => {}
            }
            self.path.pop();
        }
        in_leaf
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, in_leaf: bool) -> bool {
        if !in_leaf {
            match (old, new) {
                (None, Some(_)) => self.out.added.insert(&self.path),
                (Some(_), None) => self.out.removed.insert(&self.path),
                (Some(old), Some(new)) if old != new => self.out.modified.insert(&self.path),
                _ => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{compare, fields};
    use crate::kinds::Registry;

    #[track_caller]
    fn check(old: Value, new: Value, added: &[&str], modified: &[&str], removed: &[&str]) {
        let registry = Registry::new();
        let kind = registry.find("apps", "v1", "deployments").unwrap();
        let difference = compare(&old, &new, Some(kind.schema().root()));
        assert_eq!(difference.added.paths(), added);
        assert_eq!(difference.modified.paths(), modified);
        assert_eq!(difference.removed.paths(), removed);
    }

    #[test]
    fn differences_are_fields() {
        check(
            json!({"spec": {"replicas": 1}}),
            json!({"spec": {"replicas": 2}}),
            &[],
            &[".spec.replicas"],
            &[],
        );
        check(
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"a": "1"}}}),
            &[".metadata.labels", ".metadata.labels.a"],
            &[],
            &[],
        );
        let containers =
            |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
        check(
            containers(json!([{"name": "a", "image": "1"}, {"name": "b"}])),
            containers(json!([{"name": "a", "image": "2"}])),
            &[],
            &[".spec.template.spec.containers[name=\"a\"].image"],
            &[
                ".spec.template.spec.containers[name=\"b\"]",
                ".spec.template.spec.containers[name=\"b\"].name",
            ],
        );
        check(
            json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "2"}}}}),
            &[],
            &[".spec.selector"],
            &[],
        );
    }

    #[test]
    fn what_an_applied_object_says() {
        let registry = Registry::new();
        let kind = registry.find("", "v1", "configmaps").unwrap();
        let set =
            fields(&json!({"data": {"k": "v"}, "binaryData": {}}), Some(kind.schema().root()))
                .unwrap();
        assert_eq!(set.write(), json!({"f:binaryData": {}, "f:data": {"f:k": {}}}));
        for (replicas, wrong) in [
            (json!("x"), Some(".spec.replicas: expected numeric (int or float), got string")),
            (
                json!([1]),
                Some(".spec.replicas: expected numeric (int or float), got []interface {}"),
            ),
            (json!(null), None),
            (json!(2), None),
        ] {
            let kind = registry.find("apps", "v1", "deployments").unwrap();
            let said = fields(&json!({"spec": {"replicas": replicas}}), Some(kind.schema().root()));
            assert_eq!(said.err().as_deref(), wrong, "{replicas}");
        }
        let kind = registry.find("", "v1", "services").unwrap();
        let twice = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]}});
        let error = fields(&twice, Some(kind.schema().root())).unwrap_err();
        assert_eq!(error, ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]");
    }
}
