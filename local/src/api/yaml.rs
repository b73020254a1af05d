//! YAML in and out, as sigs.k8s.io/yaml has it: through JSON, keys sorted.
//!
//! Pure: text and values.

use serde_json::Value;

/// Writes a value with sorted keys.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 || !out.is_empty() && !out.ends_with("- ") {
                    pad(indent, out);
                }
                scalar(key, out, indent);
                out.push(':');
                under(&map[key], indent, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, item) in list.iter().enumerate() {
                if at > 0 || !out.ends_with("- ") {
                    pad(indent, out);
                }
                out.push_str("- ");
                match item {
                    Value::Object(map) if !map.is_empty() => block(item, indent + 2, out),
                    Value::Array(list) if !list.is_empty() => block(item, indent + 2, out),
                    other => {
                        leaf(other, out, indent);
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            leaf(other, out, indent);
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn under(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        other => {
            out.push(' ');
            leaf(other, out, indent);
            out.push('\n');
        }
    }
}

fn leaf(value: &Value, out: &mut String, indent: usize) {
    match value {
        Value::String(text) => scalar(text, out, indent),
        other => out.push_str(&other.to_string()),
    }
}

fn scalar(text: &str, out: &mut String, indent: usize) {
    if text.contains('\n')
        && text.chars().all(|letter| letter == '\n' || letter == '\t' || !letter.is_control())
        && !text.starts_with([' ', '\n'])
    {
        let keep = match (text.ends_with('\n'), text.ends_with("\n\n")) {
            (_, true) => "|+",
            (true, _) => "|",
            _ => "|-",
        };
        out.push_str(keep);
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            out.push('\n');
            if !line.is_empty() {
                pad(indent + 2, out);
                out.push_str(line);
            }
        }
        return;
    }
    if plain(text) { out.push_str(text) } else { out.push_str(&Value::from(text).to_string()) }
}

/// Whether a text reads back as itself without quotes.
fn plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    if text.ends_with([' ', ':'])
        || text.starts_with(' ')
        || text.contains(": ")
        || text.contains(" #")
    {
        return false;
    }
    if text.chars().any(|letter| letter.is_control()) {
        return false;
    }
    if "!&*{}[],#|>@`\"'%=".contains(first)
        || (matches!(first, '-' | '?' | ':')
            && text[1..].chars().next().is_none_or(|next| next == ' '))
    {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | "null"
            | "~"
            | ".nan"
            | ".inf"
            | "-.inf"
            | "+.inf"
            | "<<"
            | "---"
    ) {
        return false;
    }
    // Numbers, times and whatever else begins like one are quoted.
    let digits = text.trim_start_matches(['-', '+', '.']);
    let numeric = digits.starts_with(|letter: char| letter.is_ascii_digit())
        && text.chars().all(|letter| {
            letter.is_ascii_hexdigit()
                || matches!(letter, '.' | '-' | '+' | '_' | ':' | 'x' | 'o' | 'T' | 'Z' | ' ')
        });
    if numeric
        && (text.parse::<f64>().is_ok()
            || is_time(text)
            || text.starts_with("0x")
            || text.starts_with("0o")
            || sexagesimal(text)
            || text.contains('_'))
    {
        return false;
    }
    true
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[..4].iter().all(u8::is_ascii_digit)
}

fn sexagesimal(text: &str) -> bool {
    text.contains(':')
        && text
            .split(':')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads one YAML document (or JSON, which YAML contains). Also tells keys that came twice.
pub fn read(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = |duplicates| {
        serde_saphyr::options! { legacy_octal_numbers: true, duplicate_keys: duplicates }
    };
    match serde_saphyr::from_str_with_options::<Value>(
        text,
        options(serde_saphyr::options::DuplicateKeyPolicy::Error),
    ) {
        Ok(value) => Ok((value, Vec::new())),
        Err(first) => {
            let value = serde_saphyr::from_str_with_options::<Value>(
                text,
                options(serde_saphyr::options::DuplicateKeyPolicy::LastWins),
            )
            .map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))?;
            Ok((value, vec![duplicate(text, &first.to_string())]))
        }
    }
}

/// The line of a key that came twice, as go-yaml words it.
fn duplicate(text: &str, error: &str) -> String {
    let mut seen: Vec<(usize, &str)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, _)) = line.trim_start().split_once(':') else { continue };
        seen.retain(|(depth, _)| *depth <= indent);
        if seen.contains(&(indent, key)) {
            return format!("line {}: key {key:?} already set in map", at + 1);
        }
        seen.push((indent, key));
    }
    error.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn values_are_written_as_kubernetes_writes_them() {
        let value = json!({"kind": "X", "l": [{"b": 1, "a": "1"}, "x", []], "e": {}, "t": "true", "m": "a\nb\n", "d": "2020-01-01T00:00:00Z", "v": "v1", "n": null});
        let expected = "d: \"2020-01-01T00:00:00Z\"\ne: {}\nkind: X\nl:\n- a: \"1\"\n  b: 1\n- x\n- []\nm: |\n  a\n  b\n\"n\": null\nt: \"true\"\nv: v1\n";
        assert_eq!(super::write(&value), expected);
        assert_eq!(super::read(expected).unwrap().0, value);
    }

    #[test]
    fn a_key_that_comes_twice_is_told() {
        let (value, duplicates) = super::read("data:\n  k: \"1\"\n  k: \"2\"\n").unwrap();
        assert_eq!(value, json!({"data": {"k": "2"}}));
        assert_eq!(duplicates, ["line 3: key \"k\" already set in map"]);
        assert!(super::read("a: [").is_err());
    }
}
