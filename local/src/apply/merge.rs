//! The merge of an applied object into the stored one, and the removal of what nobody wants any more.
//!
//! Pure: values and schemas.
//! Source: sigs.k8s.io/structured-merge-diff `typed/merge.go`, `typed/remove.go`.

use serde_json::{Map, Value};

use super::item::{self, Shape};
use super::set::Set;
use crate::schema::Node;

/// The stored value with the applied one on top.
pub fn merge(old: &Value, new: &Value, node: Option<Node<'_>>) -> Value {
    match (item::shape(old, node), item::shape(new, node), old, new) {
        (Shape::Map, Shape::Map, Value::Object(a), Value::Object(b)) => {
            let mut out = a.clone();
            for (name, value) in b {
                let merged = match a.get(name) {
                    Some(old) => merge(old, value, item::field_node(node, name)),
                    None => value.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Shape::List, Shape::List, Value::Array(a), Value::Array(b)) => match node {
            Some(list) => Value::Array(merge_list(a, b, list)),
            None => new.clone(),
        },
        _ => new.clone(),
    }
}

/// Elements of both keep the order of each as far as the two agree; where they do not, the applied order wins.
fn merge_list(old: &[Value], new: &[Value], list: Node<'_>) -> Vec<Value> {
    let steps = |values: &[Value]| -> Vec<Option<Box<str>>> {
        values.iter().map(|value| item::element(value, list).ok()).collect()
    };
    let (old_steps, new_steps) = (steps(old), steps(new));
    let find = |steps: &[Option<Box<str>>], wanted: &Option<Box<str>>| {
        steps.iter().position(|step| wanted.is_some() && step == wanted)
    };
    let merged = |step: &Option<Box<str>>, at: usize| match find(&old_steps, step) {
        Some(before) => merge(&old[before], &new[at], list.items()),
        None => new[at].clone(),
    };
    let mut shared = new_steps.iter().filter(|step| find(&old_steps, step).is_some());
    let mut next_shared = shared.next();
    let mut done: Vec<&Option<Box<str>>> = Vec::new();
    let mut out = Vec::with_capacity(old.len() + new.len());
    let (mut left, mut right) = (0, 0);
    while left < old.len() || right < new.len() {
        if left < old.len() && right < new.len() {
            let step = &old_steps[left];
            if step.is_some() && *step == new_steps[right] {
                done.push(step);
                out.push(merged(step, right));
                left += 1;
                right += 1;
                next_shared = shared.next();
                continue;
            }
            if find(&new_steps, step).is_some() && next_shared.is_some_and(|next| next != step) {
                left += 1;
                continue;
            }
        }
        if left < old.len() {
            let step = &old_steps[left];
            if find(&new_steps, step).is_none() {
                out.push(old[left].clone());
                left += 1;
                continue;
            }
            if done.contains(&step) {
                left += 1;
            }
        }
        if right < new.len() {
            let step = &new_steps[right];
            done.push(step);
            out.push(merged(step, right));
            right += 1;
            if next_shared == Some(step) {
                next_shared = shared.next();
            }
        }
    }
    out
}

/// The value without the fields and elements of a set.
pub fn without(value: &Value, gone: &Set, node: Option<Node<'_>>) -> Value {
    match (item::shape(value, node), value) {
        (Shape::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (name, value) in map {
                let step = item::field(name);
                if gone.has(&step) {
                    continue;
                }
                let kept = match gone.below(&step) {
                    Some(below) => without(value, below, item::field_node(node, name)),
                    None => value.clone(),
                };
                // A map or list whose all members went, goes too.
                let emptied = gone.below(&step).is_some() && is_empty(&kept) && !is_empty(value);
                if !emptied {
                    out.insert(name.clone(), kept);
                }
            }
            Value::Object(out)
        }
        (Shape::List, Value::Array(list)) => {
            let Some(list_node) = node else { return value.clone() };
            let kept = list.iter().filter_map(|item| {
                let Ok(step) = item::element(item, list_node) else { return Some(item.clone()) };
                if gone.has(&step) {
                    return None;
                }
                Some(match gone.below(&step) {
                    Some(below) => without(item, below, item::item_node(node)),
                    None => item.clone(),
                })
            });
            Value::Array(kept.collect())
        }
        _ => value.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::Registry;

    fn containers(names: &[&str]) -> Value {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"template": {"spec": {"containers": list}}}})
    }

    #[track_caller]
    fn check(old: &[&str], new: &[&str], expected: &[&str]) {
        let registry = Registry::new();
        let kind = registry.find("apps", "v1", "deployments").unwrap();
        let merged = super::merge(&containers(old), &containers(new), Some(kind.schema().root()));
        assert_eq!(merged, containers(expected));
    }

    #[test]
    fn elements_keep_their_order() {
        check(&["a", "b"], &["c"], &["a", "b", "c"]);
        check(&["a", "b"], &["b", "a"], &["b", "a"]);
        check(&["a", "b", "c"], &["c"], &["a", "b", "c"]);
        check(&["a", "b", "c"], &["x", "b"], &["a", "x", "b", "c"]);
        check(&[], &["x"], &["x"]);
    }
}
