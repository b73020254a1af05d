//! The functions that templates can call.
//!
//! Pure: values only. Source: Go's `text/template/funcs.go`.

use std::borrow::Cow;

use api::go::{format_float, quote};

use super::Value;

/// Whether a value counts as true.
pub fn truth(value: &Value<'_>) -> bool {
    match value {
        Value::Missing => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Map(map) => !map.is_empty(),
        Value::Struct(..) => true,
    }
}

/// A value as it is printed.
pub fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "<no value>".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format_float(*value),
        Value::Text(text) => text.to_string(),
        Value::Map(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("map[{}]", pairs.join(" "))
        }
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
        "and" => {
            short(1)?;
            let stop = arguments.iter().position(|value| !truth(value));
            Ok(arguments[stop.unwrap_or(arguments.len() - 1)].clone())
        }
        "or" => {
            short(1)?;
            let stop = arguments.iter().position(truth);
            Ok(arguments[stop.unwrap_or(arguments.len() - 1)].clone())
        }
        "not" => {
            short(1)?;
            Ok(Value::Bool(!truth(&arguments[0])))
        }
        "eq" => {
            short(2)?;
            let first = shown(&arguments[0]);
            Ok(Value::Bool(arguments[1..].iter().any(|value| shown(value) == first)))
        }
        "ne" => {
            short(2)?;
            Ok(Value::Bool(shown(&arguments[0]) != shown(&arguments[1])))
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
            short(2)?;
            let Value::Map(map) = &arguments[0] else {
                return Err("error calling index: can't index item of this type".to_string());
            };
            let found = map.get(&shown(&arguments[1]));
            Ok(Value::Text(found.map_or(Cow::Borrowed(""), |text| Cow::Borrowed(text.as_str()))))
        }
        "len" => {
            short(1)?;
            match &arguments[0] {
                Value::Text(text) => Ok(Value::Int(text.len() as i64)),
                Value::Map(map) => Ok(Value::Int(map.len() as i64)),
                _ => Err("error calling len: len of this type".to_string()),
            }
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

fn escaped(arguments: &[Value<'_>], escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::new();
    for letter in arguments.iter().map(shown).collect::<String>().chars() {
        escape(letter, &mut out);
    }
    out
}

/// `%s`, `%v`, `%d` and `%q`; flags and widths are left as they are.
fn printf(format: &str, arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') | None => out.push('%'),
            Some('q') => out.push_str(&next.next().map_or(String::new(), |v| quote(&shown(v)))),
            Some('s' | 'v' | 'd') => out.push_str(&next.next().map(shown).unwrap_or_default()),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
        }
    }
    out
}
