//! The functions that templates can call.
//!
//! Pure: values only. Source: Go's `text/template/funcs.go`.

use std::borrow::Cow;

use super::{Value, list, owned, printf::printf};
use crate::go::format_float;

/// Whether a value counts as true.
pub fn truth(value: &Value<'_>) -> bool {
    match value {
        Value::Missing | Value::Nil(_) => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.is_empty(),
        Value::Lists(_, lists) => !lists.is_empty(),
        Value::Struct(..) | Value::Object(_) => true,
    }
}

/// A value as it is printed.
pub fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "<no value>".to_string(),
        Value::Nil(_) => "<nil>".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format_float(*value),
        Value::Text(text) => text.to_string(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Map(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Lists(_, lists) => {
            let pairs: Vec<String> =
                lists.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Object(object) => object.shown(),
        Value::Struct(_, fields) => {
            let values: Vec<String> = fields.iter().map(|(_, value)| shown(value)).collect();
            format!("{{{}}}", values.join(" "))
        }
    }
}

/// Calls a function of Go's; the parser has seen that there is such a one.
pub fn call<'v>(name: &str, arguments: Vec<Value<'v>>) -> Result<Value<'v>, String> {
    let short = |want: usize| {
        if arguments.len() < want {
            let count = arguments.len();
            return Err(format!(
                "wrong number of args for {name}: want at least {want} got {count}"
            ));
        }
        Ok(())
    };
    match name {
        "not" => {
            short(1)?;
            Ok(Value::Bool(!truth(&arguments[0])))
        }
        "eq" => {
            short(2)?;
            let (first, others) = arguments.split_first().expect("there are two");
            for other in others {
                if equal(name, first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => {
            short(2)?;
            Ok(Value::Bool(!equal(name, &arguments[0], &arguments[1])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            short(2)?;
            let order = match (&arguments[0], &arguments[1]) {
                (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
                (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
                (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
                _ => {
                    return Err(format!("error calling {name}: incompatible types for comparison"));
                }
            };
            Ok(Value::Bool(match name {
                "lt" => order.is_some_and(|order| order.is_lt()),
                "le" => order.is_some_and(|order| order.is_le()),
                "gt" => order.is_some_and(|order| order.is_gt()),
                _ => order.is_some_and(|order| order.is_ge()),
            }))
        }
        "index" => {
            short(1)?;
            let mut arguments = arguments.into_iter();
            let first = arguments.next().expect("there is one");
            arguments.try_fold(first, |from, by| item(from, &by))
        }
        "slice" => {
            short(1)?;
            slice(&arguments)
        }
        "len" => {
            short(1)?;
            let len = match &arguments[0] {
                Value::Text(text) => text.len(),
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                Value::Lists(_, lists) => lists.len(),
                _ => return Err("error calling len: len of this type".to_string()),
            };
            Ok(Value::Int(len as i64))
        }
        "print" => Ok(Value::Text(Cow::Owned(arguments.iter().map(shown).collect()))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(shown).collect();
            Ok(Value::Text(Cow::Owned(words.join(" ") + "\n")))
        }
        "printf" => {
            short(1)?;
            Ok(Value::Text(Cow::Owned(printf(&shown(&arguments[0]), &arguments[1..]))))
        }
        "html" => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        })))),
        "js" => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| match letter {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", letter as u32)),
            letter if letter.is_control() => {
                out.push_str(&format!("\\u{:04X}", letter as u32));
            }
            letter => out.push(letter),
        })))),
        _ => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| {
            if letter.is_ascii_alphanumeric() || "-_.~".contains(letter) {
                out.push(letter);
            } else if letter == ' ' {
                out.push('+');
            } else {
                let mut buffer = [0; 4];
                for byte in letter.encode_utf8(&mut buffer).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        })))),
    }
}

/// Whether two values of a kind are equal; `nil` has no kind.
fn equal(name: &str, one: &Value<'_>, other: &Value<'_>) -> Result<bool, String> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        (Value::Int(one), Value::Int(other)) => Ok(one == other),
        (Value::Float(one), Value::Float(other)) => Ok(one == other),
        (Value::Text(one), Value::Text(other)) => Ok(one == other),
        (Value::Missing, Value::Missing) => Ok(true),
        (Value::Missing, _) | (_, Value::Missing) => Ok(false),
        _ => Err(format!("error calling {name}: incompatible types for comparison")),
    }
}

fn item<'v>(from: Value<'v>, by: &Value<'_>) -> Result<Value<'v>, String> {
    match (from, by) {
        // What a map does not have is its values' zero.
        (Value::Map(map), Value::Text(key)) => {
            let found = map.get(key.as_ref());
            Ok(Value::Text(found.map_or(Cow::Borrowed(""), |text| Cow::Borrowed(text.as_str()))))
        }
        (Value::Lists(_, lists), Value::Text(key)) => {
            let found = lists.get(key.as_ref());
            Ok(found.map_or_else(|| Value::List(Vec::new()), |values| list(values)))
        }
        (Value::List(mut items), Value::Int(at)) => match usize::try_from(*at) {
            Ok(place) if place < items.len() => Ok(items.swap_remove(place)),
            _ => Err(format!("error calling index: index out of range: {at}")),
        },
        (Value::Text(text), Value::Int(at)) => {
            let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
            let byte = byte.ok_or(format!("error calling index: index out of range: {at}"))?;
            Ok(Value::Int(i64::from(*byte)))
        }
        (Value::Missing, _) => Err("error calling index: index of untyped nil".to_string()),
        (Value::Map(_) | Value::Lists(..) | Value::List(_) | Value::Text(_), by) => {
            Err(format!("error calling index: cannot index slice/array with type of {by}"))
        }
        _ => Err("error calling index: can't index item of this type".to_string()),
    }
}

/// A part of a text or of a list, from one place to before another.
fn slice<'v>(arguments: &[Value<'v>]) -> Result<Value<'v>, String> {
    let len = match &arguments[0] {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        _ => return Err("error calling slice: can't slice item of this type".to_string()),
    };
    let place = |number: usize, otherwise: usize| match arguments.get(number) {
        None => Ok(otherwise),
        Some(Value::Int(at)) => match usize::try_from(*at) {
            Ok(place) if place <= len => Ok(place),
            _ => Err(format!("error calling slice: index out of range: {at}")),
        },
        Some(other) => Err(format!("error calling slice: cannot index with {other}")),
    };
    let (start, end) = (place(1, 0)?, place(2, len)?);
    if start > end {
        return Err(format!("error calling slice: invalid slice index: {start} > {end}"));
    }
    Ok(match &arguments[0] {
        Value::List(items) => Value::List(items[start..end].to_vec()),
        text => owned(String::from_utf8_lossy(&shown(text).as_bytes()[start..end])),
    })
}

fn escaped(arguments: &[Value<'_>], escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::new();
    for letter in arguments.iter().map(shown).collect::<String>().chars() {
        escape(letter, &mut out);
    }
    out
}
