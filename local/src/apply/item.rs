//! How values are told apart in apply: what a place is, and how an element of a list is named.
//!
//! Pure: values and schemas.
//! Source: sigs.k8s.io/structured-merge-diff `typed`.

use serde_json::{Map, Value};

use crate::schema::{ListType, Node, Type};

/// What apply takes a value for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    Leaf,
    /// Fields that have their own owners.
    Map,
    /// Elements that have their own owners.
    List,
}

/// What a value at a place is. Where there is no schema, objects are maps and lists are one value.
pub fn shape(value: &Value, node: Option<Node<'_>>) -> Shape {
    match value {
        Value::Object(_) if node.is_some_and(|node| node.is_atomic()) => Shape::Leaf,
        Value::Object(_) => Shape::Map,
        Value::Array(_) if node.is_some_and(|node| *node.list_type() != ListType::Atomic) => {
            Shape::List
        }
        _ => Shape::Leaf,
    }
}

/// The step to a field.
pub fn field(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// The step to an element of a list that is a set or a map. The error is upstream's text after the path.
pub fn element(item: &Value, list: Node<'_>) -> Result<Box<str>, String> {
    let ListType::Map(keys) = list.list_type() else {
        if item.is_object() || item.is_array() {
            return Err("associative list without keys has an element that's an explicit null or a map type".to_owned());
        }
        return Ok(format!("v:{item}").into());
    };
    if !item.is_object() {
        return Err("associative list with keys may not have non-map elements".to_owned());
    }
    let mut found = Map::new();
    let mut names: Vec<&str> = keys.iter().map(|key| &**key).collect();
    names.sort_unstable();
    for key in &names {
        let default = || key_default(list, key);
        if let Some(value) = item.get(*key).cloned().or_else(default) {
            found.insert((*key).to_owned(), value);
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    let fields: Vec<String> = names
        .iter()
        .filter_map(|key| found.get(*key).map(|value| format!("{}:{value}", Value::from(*key))))
        .collect();
    Ok(format!("k:{{{}}}", fields.join(",")).into())
}

/// The value of a key that an element leaves out. Built-in types have those of their Go types.
fn key_default(list: Node<'_>, key: &str) -> Option<Value> {
    let items = list.items()?;
    let place = items.property(key)?;
    if let Some(default) = place.edge.default.as_ref().or(place.default.as_ref()) {
        return Some(default.clone());
    }
    items.name?;
    match key {
        "protocol" => Some("TCP".into()),
        _ if !items.required.iter().any(|one| **one == *key) => None,
        _ => match place.kind {
            Type::String => Some("".into()),
            Type::Int32 | Type::Int64 => Some(0.into()),
            _ => None,
        },
    }
}

/// The place of a field.
pub fn field_node<'a>(node: Option<Node<'a>>, name: &str) -> Option<Node<'a>> {
    node.and_then(|node| node.field(name))
}

/// The place of an element.
pub fn item_node(node: Option<Node<'_>>) -> Option<Node<'_>> {
    node.and_then(|node| node.items())
}
