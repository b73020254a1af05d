//! JSON patch, with the habits of the library that Kubernetes uses: `replace` adds, and indices may count from the end.
//!
//! Pure: values in, values out.
//! Source: RFC 6902; github.com/evanphx/json-patch v4.

use serde_json::Value;

/// More operations are refused.
pub const MOST_OPERATIONS: usize = 10_000;

/// Why a patch was not applied.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not a list of operations.
    Malformed(String),
    /// An operation does not fit the value.
    Unfit,
}

/// Applies a patch, wholly or not at all: on failure the value is to be thrown away.
pub fn apply(value: &mut Value, patch: &Value) -> Result<(), Error> {
    let Some(operations) = patch.as_array() else {
        return Err(Error::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            go_kind(patch)
        )));
    };
    for operation in operations {
        let Some(operation) = operation.as_object() else {
            return Err(Error::Malformed(format!(
                "json: cannot unmarshal {} into Go value of type jsonpatch.Operation",
                go_kind(operation)
            )));
        };
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let path = text("path").ok_or(Error::Unfit)?;
        match text("op").ok_or(Error::Unfit)? {
            "add" => add(value, path, operation.get("value").cloned().ok_or(Error::Unfit)?)?,
            "replace" => {
                replace(value, path, operation.get("value").cloned().ok_or(Error::Unfit)?)?
            }
            "remove" => drop(remove(value, path)?),
            "move" => {
                let moved = remove(value, text("from").ok_or(Error::Unfit)?)?;
                add(value, path, moved)?;
            }
            "copy" => {
                // What is not there is copied as null.
                let copied =
                    find(value, text("from").ok_or(Error::Unfit)?).cloned().unwrap_or(Value::Null);
                add(value, path, copied)?;
            }
            "test" => {
                let wanted = operation.get("value").unwrap_or(&Value::Null);
                if find(value, path).unwrap_or(&Value::Null) != wanted {
                    return Err(Error::Unfit);
                }
            }
            _ => return Err(Error::Unfit),
        }
    }
    Ok(())
}

/// What Go's decoder calls a value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn steps(path: &str) -> Result<Vec<String>, Error> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let path = path.strip_prefix('/').ok_or(Error::Unfit)?;
    Ok(path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// An index of a list; negative ones count from the end.
fn index(step: &str, length: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    let index = if index < 0 { index + length as i64 } else { index };
    usize::try_from(index).ok()
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).ok()?.iter().try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(index(step, list.len())?),
        _ => None,
    })
}

/// The container that a path ends in, and the last step.
fn parent<'a>(value: &'a mut Value, path: &str) -> Result<Option<(&'a mut Value, String)>, Error> {
    let mut steps = steps(path)?;
    let Some(last) = steps.pop() else { return Ok(None) };
    let mut at = value;
    for step in steps {
        at = match at {
            Value::Object(map) => map.get_mut(&step).ok_or(Error::Unfit)?,
            Value::Array(list) => {
                let index = index(&step, list.len()).ok_or(Error::Unfit)?;
                list.get_mut(index).ok_or(Error::Unfit)?
            }
            _ => return Err(Error::Unfit),
        };
    }
    Ok(Some((at, last)))
}

fn add(value: &mut Value, path: &str, new: Value) -> Result<(), Error> {
    match parent(value, path)? {
        None => *value = new,
        Some((Value::Object(map), key)) => drop(map.insert(key, new)),
        Some((Value::Array(list), step)) if step == "-" => list.push(new),
        Some((Value::Array(list), step)) => {
            // Counting from the end, -1 is the place behind the last.
            let index = index(&step, list.len() + 1)
                .filter(|index| *index <= list.len())
                .ok_or(Error::Unfit)?;
            list.insert(index, new);
        }
        Some(_) => return Err(Error::Unfit),
    }
    Ok(())
}

fn replace(value: &mut Value, path: &str, new: Value) -> Result<(), Error> {
    match parent(value, path)? {
        None => *value = new,
        Some((Value::Object(map), key)) => drop(map.insert(key, new)),
        Some((Value::Array(list), step)) => {
            let index = index(&step, list.len()).ok_or(Error::Unfit)?;
            *list.get_mut(index).ok_or(Error::Unfit)? = new;
        }
        Some(_) => return Err(Error::Unfit),
    }
    Ok(())
}

fn remove(value: &mut Value, path: &str) -> Result<Value, Error> {
    match parent(value, path)? {
        Some((Value::Object(map), key)) => map.remove(&key).ok_or(Error::Unfit),
        Some((Value::Array(list), step)) => {
            let index =
                index(&step, list.len()).filter(|index| *index < list.len()).ok_or(Error::Unfit)?;
            Ok(list.remove(index))
        }
        _ => Err(Error::Unfit),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[track_caller]
    fn check(target: &str, patch: &str, expected: Option<&str>) {
        let mut value: Value = serde_json::from_str(target).unwrap();
        let result = super::apply(&mut value, &serde_json::from_str(patch).unwrap());
        let expected: Option<Value> = expected.map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(result.ok().map(|()| value), expected, "{target} {patch}");
    }

    #[test]
    fn operations_do_what_they_say() {
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2}]"#, Some(r#"{"a":1,"b":2}"#));
        check(
            r#"{"l":[1,2]}"#,
            r#"[{"op":"add","path":"/l/1","value":9}]"#,
            Some(r#"{"l":[1,9,2]}"#),
        );
        check(
            r#"{"l":[1,2]}"#,
            r#"[{"op":"add","path":"/l/-","value":9}]"#,
            Some(r#"{"l":[1,2,9]}"#),
        );
        check(r#"{"l":[1,2]}"#, r#"[{"op":"add","path":"/l/3","value":9}]"#, None);
        check(r#"{"l":[1,2]}"#, r#"[{"op":"remove","path":"/l/0"}]"#, Some(r#"{"l":[2]}"#));
        check(r#"{"l":[1,2]}"#, r#"[{"op":"remove","path":"/l/-"}]"#, None);
        check(
            r#"{"l":[1,2]}"#,
            r#"[{"op":"replace","path":"/l/-1","value":7}]"#,
            Some(r#"{"l":[1,7]}"#),
        );
        check(r#"{}"#, r#"[{"op":"replace","path":"/a","value":7}]"#, Some(r#"{"a":7}"#));
        check(r#"{}"#, r#"[{"op":"add","path":"/a/b","value":7}]"#, None);
        check(r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/b"}]"#, Some(r#"{"b":1}"#));
        check(r#"{"a":1}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, Some(r#"{"a":1,"b":1}"#));
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, None);
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/n","value":null}]"#, Some(r#"{"a":1}"#));
        check(
            r#"{"a/b":1,"t~x":1}"#,
            r#"[{"op":"remove","path":"/a~1b"},{"op":"remove","path":"/t~0x"}]"#,
            Some("{}"),
        );
        check(r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{}}]"#, Some("{}"));
        check("{}", r#"[{"op":"nope","path":"/a"}]"#, None);
        check("{}", r#"{"op":"add"}"#, None);
    }
}
