//! Strategic merge patch: lists merge by the key that their kind's schema names.
//!
//! Pure: values in, values out.
//! Source: k8s.io/apimachinery `pkg/util/strategicpatch/patch.go`.

use serde_json::{Map, Value};

use crate::schema::Node;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";
/// A mistake of the client, where all others count as the server's.
pub const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";

/// Merges a patch into an object. The error is upstream's text.
pub fn merge(target: &mut Value, patch: &Value, node: Option<Node<'_>>) -> Result<(), String> {
    let Value::Object(patch) = patch else { return Err("patch is not an object".to_owned()) };
    let original = std::mem::take(target);
    let Value::Object(original) = original else {
        return Err("the object is not a map".to_owned());
    };
    *target = Value::Object(merge_map(original, patch.clone(), node)?);
    Ok(())
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    node: Option<Node<'_>>,
) -> Result<Map<String, Value>, String> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            Some("merge") => merge_map(original, patch, node),
            other => {
                let shown = other.map_or_else(|| format!("%!s(int64={directive})"), str::to_owned);
                patch.insert(DIRECTIVE.to_owned(), directive);
                Err(format!(
                    "unknown patch type: {shown} in map: {}",
                    go_text(&Value::Object(patch))
                ))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    let mut orders = Vec::new();
    let mut deletions = Vec::new();
    patch.retain(|key, value| {
        if let Some(field) = key.strip_prefix(SET_ORDER) {
            orders.push((field.to_owned(), value.take()));
            false
        } else if let Some(field) = key.strip_prefix(DELETE_FROM) {
            deletions.push((field.to_owned(), value.take()));
            false
        } else {
            true
        }
    });
    for (field, value) in deletions {
        let Value::Array(gone) = value else {
            return Err("invalid list in $deleteFromPrimitiveList".to_owned());
        };
        if let Some(Value::Array(list)) = original.get_mut(&field) {
            list.retain(|item| !gone.contains(item));
        }
    }
    for (field, order) in orders {
        let Value::Array(order) = order else {
            let shown = if order.is_null() { "%!s(<nil>)".to_owned() } else { go_text(&order) };
            return Err(format!("expected a []interface {{}}, but received a {shown}"));
        };
        let place = node.and_then(|node| node.field(&field));
        let key = merge_key(place);
        let new = match patch.get(&field) {
            None => None,
            Some(Value::Array(_)) => match patch.remove(&field) {
                Some(Value::Array(list)) => Some(list),
                _ => None,
            },
            // Null, or another type: the ordinary way.
            Some(_) => continue,
        };
        if let Some(new) = &new {
            check_order(new, &order, key)?;
        }
        let old = match original.remove(&field) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let server_order = old.clone();
        let merged = match new {
            Some(new) => merge_list(old, new, place)?,
            None => old,
        };
        if merged.is_empty() && server_order.is_empty() {
            continue;
        }
        let (listed, others): (Vec<Value>, Vec<Value>) =
            merged.into_iter().partition(|item| order.iter().any(|one| same(item, one, key)));
        original.insert(field, Value::Array(ordered(listed, others, &order, &server_order, key)));
    }
    for (key, value) in patch {
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let place = node.and_then(|node| node.field(&key));
        let merged = match (original.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                Value::Object(merge_map(old, new, place)?)
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                if place.is_some_and(|place| place.patch().merge) {
                    Value::Array(merge_list(old, new, place)?)
                } else {
                    Value::Array(new)
                }
            }
            (_, value) => without_directives(value)?,
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// A value as Go prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let mut fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

fn merge_key<'a>(place: Option<Node<'a>>) -> Option<&'a str> {
    place.and_then(|place| place.patch().merge_key.as_deref())
}

fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), String> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return Err(BAD_RETAIN_KEYS.to_owned());
    };
    let listed = |key: &str| keys.iter().any(|one| one.as_str() == Some(key));
    for key in patch.keys() {
        let field =
            key.strip_prefix(SET_ORDER).or_else(|| key.strip_prefix(DELETE_FROM)).unwrap_or(key);
        if !patch[key].is_null() && !listed(field) {
            return Err(BAD_RETAIN_KEYS.to_owned());
        }
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) if a.is_object() => a.get(key).is_some() && same_key(a.get(key), b.get(key)),
        _ => a == b,
    }
}

fn same_key(a: Option<&Value>, b: Option<&Value>) -> bool {
    // Upstream compares the printed values.
    let text = |value: Option<&Value>| {
        value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    text(a) == text(b)
}

fn check_order(new: &[Value], order: &[Value], key: Option<&str>) -> Result<(), String> {
    let mut at = 0;
    for item in new {
        if item.get(DIRECTIVE).and_then(Value::as_str).is_some() {
            continue;
        }
        while at < order.len() && !same(item, &order[at], key) {
            at += 1;
        }
        if at == order.len() {
            let show = |list: &[Value]| Value::Array(list.to_vec()).to_string();
            return Err(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                show(new),
                show(order)
            ));
        }
        at += 1;
    }
    Ok(())
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    place: Option<Node<'_>>,
) -> Result<Vec<Value>, String> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let objects = |list: &[Value]| list.iter().filter(|item| item.is_object()).count();
    let count = objects(&original) + objects(&patch);
    if count > 0 && count < original.len() + patch.len() {
        let show = |list: &[Value]| go_text(&Value::Array(list.to_vec()));
        return Err(format!(
            "list element types are not identical: [{} {}]",
            show(&original),
            show(&patch)
        ));
    }
    let sample = patch.first().or(original.first());
    if !sample.is_some_and(Value::is_object) {
        let mut merged = original.clone();
        for item in &patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        let (mine, others) = merged.into_iter().partition(|item| patch.contains(item));
        return Ok(ordered(mine, others, &patch, &original, None));
    }
    let Some(key) = merge_key(place) else {
        return Err("cannot merge lists without merge key for type".to_owned());
    };
    let mut merged = original.clone();
    let mut wanted = Vec::new();
    let mut replace = false;
    for item in patch {
        let Value::Object(map) = &item else {
            return Err("the element of the list is not a map".to_owned());
        };
        match map.get(DIRECTIVE).and_then(Value::as_str) {
            None if map.contains_key(DIRECTIVE) => return Err("$patch is not a string".to_owned()),
            None => wanted.push(item),
            Some("delete") => {
                let value = map.get(key).ok_or_else(|| missing_key(map, key))?;
                merged.retain(|old| !same_key(old.get(key), Some(value)));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err("merging lists cannot yet be specified in the patch".to_owned());
            }
            Some(other) => {
                return Err(format!("unknown patch type: {other} in map: {}", go_text(&item)));
            }
        }
    }
    if replace {
        return Ok(wanted);
    }
    let items = place.and_then(|place| place.items());
    for item in &wanted {
        let Value::Object(map) = item else { continue };
        let value = map.get(key).ok_or_else(|| missing_key(map, key))?;
        match merged.iter_mut().find(|old| same_key(old.get(key), Some(value))) {
            Some(Value::Object(old)) => {
                let old_map = std::mem::take(old);
                *old = merge_map(old_map, map.clone(), items)?;
            }
            _ => merged.push(without_directives(item.clone())?),
        }
    }
    let (mine, others) =
        merged.into_iter().partition(|item| wanted.iter().any(|one| same(item, one, Some(key))));
    Ok(ordered(mine, others, &wanted, &original, Some(key)))
}

fn missing_key(map: &Map<String, Value>, key: &str) -> String {
    format!(
        "map: {} does not contain declared merge key: {key}",
        go_text(&Value::Object(map.clone()))
    )
}

/// The patch's elements in the patch's order, the others where the server had them before those.
fn ordered(
    mut mine: Vec<Value>,
    mut others: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| order.iter().position(|one| same(item, one, key));
    mine.sort_by_key(|item| place(patch_order, item).unwrap_or(usize::MAX));
    others.sort_by_key(|item| place(server_order, item).unwrap_or(usize::MAX));
    let mut merged = Vec::with_capacity(mine.len() + others.len());
    let (mut mine, mut others) = (mine.into_iter().peekable(), others.into_iter().peekable());
    loop {
        match (others.peek(), mine.peek()) {
            (Some(other), Some(one)) => {
                let before = matches!((place(server_order, other), place(server_order, one)), (Some(a), Some(b)) if a < b);
                merged.extend(if before { others.next() } else { mine.next() });
            }
            (Some(_), None) => merged.extend(others.next()),
            (None, _) => match mine.next() {
                Some(item) => merged.push(item),
                None => return merged,
            },
        }
    }
}

/// What a patch adds where nothing was: without its nulls and directives.
fn without_directives(value: Value) -> Result<Value, String> {
    Ok(match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if value.is_null()
                    || key == DIRECTIVE
                    || key == RETAIN_KEYS
                    || key.starts_with(DELETE_FROM)
                    || key.starts_with(SET_ORDER)
                {
                    continue;
                }
                out.insert(key, without_directives(value)?);
            }
            Value::Object(out)
        }
        Value::Array(list) => {
            let kept = list.into_iter().filter(|item| item.get(DIRECTIVE).is_none());
            Value::Array(kept.map(without_directives).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests;
