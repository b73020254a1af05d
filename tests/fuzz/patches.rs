//! Patches: what the difference of two values does to the first makes it the second, whatever else is thrown at it.

use local::{
    kinds::Registry,
    patch::{json, merge, strategic},
    schema::Node,
};
use serde_json::{Map, Value, json};
use tests::random::{Random, cases};

use super::objects;

#[test]
fn json_patches_do_what_the_standard_says() {
    cases("json_patches", |random| {
        let (a, b) = (random.json(4), random.json(4));
        let difference = serde_json::to_value(json_patch::diff(&a, &b)).unwrap();
        let mut made = a.clone();
        json::apply(&mut made, &difference)
            .unwrap_or_else(|error| panic!("{error:?}: {difference} on {a}"));
        assert_eq!(made, b, "{difference} on {a}");

        // Where the standard allows a patch, it does here what it does there.
        let operations: Value = (0..random.below(5)).map(|_| operation(random)).collect();
        let mut mine = a.clone();
        let applied = json::apply(&mut mine, &operations);
        if let Ok(strict) = serde_json::from_value::<json_patch::Patch>(operations.clone()) {
            let mut theirs = a.clone();
            // The other way to call it puts a failed patch back, and panics where that fails.
            if json_patch::patch_unsafe(&mut theirs, &strict).is_ok() {
                assert_eq!(applied, Ok(()), "{operations} on {a}");
                assert_eq!(mine, theirs, "{operations} on {a}");
            }
        }
        // What is no patch at all is told apart.
        let _ = json::apply(&mut a.clone(), &random.json(3));
    });
}

fn operation(random: &mut Random) -> Value {
    let op = *random.pick(&["add", "remove", "replace", "move", "copy", "test", "nonsense"]);
    let mut operation = json!({"op": op, "path": pointer(random)});
    if !random.once_in(8) {
        operation["value"] = random.json(2);
    }
    if !random.once_in(8) {
        operation["from"] = pointer(random).into();
    }
    operation
}

fn pointer(random: &mut Random) -> String {
    let steps =
        ["/a", "/b", "/c", "/0", "/1", "/2", "/-", "/-1", "/a~1b", "/m~0n", "/", "/x.y", "a"];
    (0..random.below(4)).map(|_| *random.pick(&steps)).collect()
}

#[test]
fn merge_patches_do_what_the_standard_says() {
    let recorded = objects::recorded();
    cases("merge_patches", |random| {
        let (a, b) = match random.once_in(2) {
            true => (random.json(4), random.json(4)),
            false => {
                let a = random.pick(&recorded).clone();
                let b = objects::mixed(random, &a, random_of(&recorded, &a));
                (a, b)
            }
        };
        let (mut mine, mut theirs) = (a.clone(), a.clone());
        merge::merge(&mut mine, &b);
        json_patch::merge(&mut theirs, &b);
        assert_eq!(mine, theirs, "{b} on {a}");
        // Nulls cannot be put in by such a patch; without them, the difference of two values leads from one to the other.
        let (a, b) = (without_nulls(a), without_nulls(b));
        let mut made = a.clone();
        let patch = merge_difference(&a, &b);
        merge::merge(&mut made, &patch);
        assert_eq!(made, b, "{patch} on {a}");
    });
}

/// Another of the recorded ones, told by the first so that the borrow of the source is free.
fn random_of<'a>(recorded: &'a [Value], by: &Value) -> &'a Value {
    &recorded[by.to_string().len() % recorded.len()]
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Null => Value::Bool(true),
        other => other,
    }
}

fn merge_difference(a: &Value, b: &Value) -> Value {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return b.clone() };
    let gone = a.keys().filter(|key| !b.contains_key(*key));
    let mut patch: Map<_, _> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, new) in b {
        match a.get(key) {
            Some(old) if old == new => {}
            Some(old) => drop(patch.insert(key.clone(), merge_difference(old, new))),
            None => drop(patch.insert(key.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

#[test]
fn strategic_patches_lead_from_one_object_to_the_other() {
    let registry = Registry::new();
    let kind = registry.find("apps", "v1", "deployments").unwrap();
    let root = kind.schema().root();
    let recorded = objects::recorded();
    cases("strategic_patches", |random| {
        let (a, b) = (objects::deployment(random), objects::deployment(random));
        let patch = strategic_difference(&a, &b, Some(root));
        let mut made = a.clone();
        strategic::merge(&mut made, &patch, Some(root))
            .unwrap_or_else(|error| panic!("{error}: {patch} on {a}"));
        assert_eq!(made, b, "{patch} on {a}");

        // Patches that nobody would send are refused, or change something; no directive is ever stored by a map.
        let odd = objects::mixed(random, &patch, random_of(&recorded, &a));
        let _ = strategic::merge(&mut a.clone(), &odd, Some(root));
        let _ = strategic::merge(&mut a.clone(), &random.json(4), Some(root));
    });
}

/// The patch that kubectl would send: lists with a merge key are told by element, in the order that is wanted.
fn strategic_difference(a: &Value, b: &Value, node: Option<Node<'_>>) -> Value {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return b.clone() };
    let gone = a.keys().filter(|key| !b.contains_key(*key));
    let mut patch: Map<_, _> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (field, new) in b {
        let place = node.and_then(|node| node.field(field));
        let key = place.and_then(|it| it.patch().merge_key.as_deref());
        match (a.get(field), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(_)), Value::Object(_)) => {
                let inner = strategic_difference(&a[field], new, place);
                patch.insert(field.clone(), inner);
            }
            (Some(Value::Array(old)), Value::Array(new))
                if place.is_some_and(|it| it.patch().merge) =>
            {
                let items = place.and_then(|it| it.items());
                list_difference(field, old, new, key, items, &mut patch);
            }
            _ => drop(patch.insert(field.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

fn list_difference(
    field: &str,
    old: &[Value],
    new: &[Value],
    key: Option<&str>,
    items: Option<Node<'_>>,
    patch: &mut Map<String, Value>,
) {
    let Some(key) = key else {
        let gone: Vec<_> = old.iter().filter(|it| !new.contains(it)).cloned().collect();
        let come: Vec<_> = new.iter().filter(|it| !old.contains(it)).cloned().collect();
        if !gone.is_empty() {
            patch.insert(format!("$deleteFromPrimitiveList/{field}"), gone.into());
        }
        if !come.is_empty() {
            patch.insert(field.to_owned(), come.into());
        }
        patch.insert(format!("$setElementOrder/{field}"), new.into());
        return;
    };
    let find =
        |list: &[Value], it: &Value| list.iter().find(|other| other[key] == it[key]).cloned();
    let mut elements = Vec::new();
    for it in new {
        let Some(before) = find(old, it) else {
            elements.push(it.clone());
            continue;
        };
        let mut change = strategic_difference(&before, it, items);
        if change.as_object().is_some_and(|it| !it.is_empty()) {
            change[key] = it[key].clone();
            elements.push(change);
        }
    }
    let gone = old.iter().filter(|it| find(new, it).is_none());
    elements.extend(gone.map(|it| json!({"$patch": "delete", key: it[key]})));
    if !elements.is_empty() {
        patch.insert(field.to_owned(), elements.into());
    }
    let order: Value = new.iter().map(|it| json!({key: it[key]})).collect();
    patch.insert(format!("$setElementOrder/{field}"), order);
}
