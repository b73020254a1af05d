//! JSONPath: a path to a place leads there, however it is written, and no path takes long.

use local::schema::path;
use serde_json::Value;
use tests::random::{Random, cases};

/// A way to a place of the value, and what is there.
fn way<'a>(random: &mut Random, mut value: &'a Value) -> (String, &'a Value) {
    let mut text = String::new();
    loop {
        if random.once_in(6) {
            return (text, value);
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                let at = random.below(map.len());
                let (key, below) = map.iter().nth(at).unwrap();
                if key.is_empty() || random.once_in(2) {
                    let mark = *random.pick(&['\'', '"']);
                    text += &format!("[{mark}{}{mark}]", key.replace('\\', "\\\\"));
                } else {
                    let special =
                        ['.', '[', ']', ' ', ')', '=', '!', '<', '>', '{', '}', '\\', '*'];
                    text.push('.');
                    for letter in key.chars() {
                        if special.contains(&letter) {
                            text.push('\\');
                        }
                        text.push(letter);
                    }
                }
                value = below;
            }
            Value::Array(list) if !list.is_empty() => {
                let at = random.below(list.len());
                let index = match random.below(3) {
                    0 => format!("[{at}]"),
                    1 => format!("[-{}]", list.len() - at),
                    _ => format!("[{at}:{}]", at + 1),
                };
                text += &index;
                value = &list[at];
            }
            _ => return (text, value),
        }
    }
}

#[test]
fn a_path_leads_to_its_place() {
    cases("paths", |random| {
        let value = random.json(5);
        let (text, place) = way(random, &value);
        let text = match random.below(3) {
            0 => format!("{{{text}}}"),
            1 => format!("${text}"),
            _ => text,
        };
        let found = path::parse(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert_eq!(found.find(&value), [place], "{text:?} in {value}");

        let damaged = random.damaged(text.as_bytes());
        if let Ok(found) = path::parse(&String::from_utf8_lossy(&damaged)) {
            found.find(&value);
        }
    });
}

#[test]
fn no_path_takes_long() {
    let mut deep = Value::Null;
    for _ in 0..60 {
        deep = serde_json::json!({"a": deep, "l": [1, {"a": 2}, [3]]});
    }
    cases("long_paths", |random| {
        let pieces = [
            "..",
            "..a",
            "..*",
            ".*",
            "[*]",
            "[0:]",
            "[::0]",
            "[::1]",
            "[-1]",
            "['a','l',*]",
            ".a",
            "@",
            "[?(@..a==1)]",
            "[?(@.l[?(@.a)])]",
            "[?(@.a>'x')]",
            "[9223372036854775807]",
            "[-9223372036854775808:9223372036854775807:9223372036854775807]",
            "[0:9:-1]",
        ];
        let text: String = (0..random.below(200)).map(|_| *random.pick(&pieces)).collect();
        if let Ok(path) = path::parse(&text) {
            // A walk that is cut short has no more than it looked at.
            assert!(path.find(&deep).len() < 10_000_000, "{text}");
        }
    });
}
