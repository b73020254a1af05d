//! Reads JSON as a Kubernetes API server does: duplicate keys are noticed, and errors are worded as Go words them.
//!
//! Pure: bytes in, value out.
//! Source: Go's `encoding/json` scanner, sigs.k8s.io/json.

use serde_json::{Map, Number, Value};

/// Deeper documents are refused: the reader and all later walks are recursive.
const DEEPEST: usize = 200;

/// A document.
#[derive(Debug, Default)]
pub struct Document {
    /// Its value. Where a key came twice the later value counts; objects are merged.
    pub value: Value,
    /// Paths of keys that came twice, such as `metadata.labels.a`.
    pub duplicates: Vec<String>,
}

/// Reads one document.
pub fn parse(bytes: &[u8]) -> Result<Document, String> {
    let mut reader = Reader { bytes, at: 0, path: Vec::new(), duplicates: Vec::new(), order: None };
    let value = reader.document()?;
    Ok(Document { value, duplicates: reader.duplicates })
}

/// The paths of all fields of a document in the order in which they stand in it.
pub fn order(bytes: &[u8]) -> Vec<String> {
    let mut reader =
        Reader { bytes, at: 0, path: Vec::new(), duplicates: Vec::new(), order: Some(Vec::new()) };
    // A document that cannot be read has no order to tell.
    let _ = reader.document();
    reader.order.unwrap_or_default()
}

/// A document as Go writes it: keys in order, and what has a meaning in HTML escaped.
pub fn go_text(value: &Value) -> String {
    // These letters stand only within strings.
    let text = value.to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    text.replace('&', "\\u0026").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

enum Step {
    Field(String),
    Index(usize),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step>,
    duplicates: Vec<String>,
    order: Option<Vec<String>>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Value, String> {
        let value = self.value(0)?;
        self.space();
        match self.bytes.get(self.at) {
            None => Ok(value),
            Some(byte) => Err(unexpected(*byte, "after top-level value")),
        }
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self, context: &str, wanted: &[u8]) -> Result<u8, String> {
        self.space();
        match self.bytes.get(self.at) {
            None => Err(END.to_owned()),
            Some(byte) if wanted.contains(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            Some(byte) => Err(unexpected(*byte, context)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("exceeded max depth".to_owned());
        }
        self.space();
        match self.bytes.get(self.at) {
            None => Err(END.to_owned()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(byte) => Err(unexpected(*byte, "looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut map = Map::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            self.next("looking for beginning of object key string", b"\"")?;
            self.at -= 1;
            let key = self.string()?;
            self.next("after object key", b":")?;
            self.path.push(Step::Field(key));
            let path = self.order.is_some().then(|| self.path_text());
            if let (Some(order), Some(path)) = (&mut self.order, path) {
                order.push(path);
            }
            let value = self.value(depth + 1)?;
            let text = match self.path.last() {
                Some(Step::Field(key)) if map.contains_key(key) => Some(self.path_text()),
                _ => None,
            };
            if let Some(Step::Field(key)) = self.path.pop() {
                if let Some(text) = text {
                    self.duplicates.push(text);
                }
                match (map.get_mut(&key), value) {
                    (Some(Value::Object(before)), Value::Object(more)) => before.extend(more),
                    (_, value) => drop(map.insert(key, value)),
                }
            }
            if self.next("after object key:value pair", b",}")? == b'}' {
                return Ok(Value::Object(map));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut list = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::Array(list));
        }
        loop {
            self.path.push(Step::Index(list.len()));
            list.push(self.value(depth + 1)?);
            self.path.pop();
            if self.next("after array element", b",]")? == b']' {
                return Ok(Value::Array(list));
            }
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for (index, wanted) in word.bytes().enumerate() {
            match self.bytes.get(self.at) {
                None => return Err(END.to_owned()),
                Some(byte) if *byte == wanted => self.at += 1,
                Some(byte) => {
                    debug_assert!(index > 0, "the first letter chose the word");
                    return Err(unexpected(
                        *byte,
                        &format!("in literal {word} (expecting {})", quoted(wanted)),
                    ));
                }
            }
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, String> {
        let begin = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        self.digits("in numeric literal")?;
        if leading_zero && self.at - begin > 1 + usize::from(self.bytes[begin] == b'-') {
            return Err(unexpected(
                self.bytes[begin + 1 + usize::from(self.bytes[begin] == b'-')],
                "after top-level value",
            ));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = std::str::from_utf8(&self.bytes[begin..self.at]).expect("digits are ASCII");
        let number: Result<Number, _> = serde_json::from_str(text);
        number.map(Value::Number).map_err(|_| {
            format!("json: cannot unmarshal number {text} into Go value of type float64")
        })
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        match self.bytes.get(self.at) {
            None => return Err(END.to_owned()),
            Some(b'0'..=b'9') => {}
            Some(byte) => return Err(unexpected(*byte, context)),
        }
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, String> {
        let begin = self.at;
        self.at += 1;
        let mut plain = true;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(END.to_owned()),
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    match self.bytes.get(self.at + 1) {
                        None => return Err(END.to_owned()),
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 2
                        }
                        Some(b'u') => {
                            for offset in 2..6 {
                                match self.bytes.get(self.at + offset) {
                                    None => return Err(END.to_owned()),
                                    Some(byte) if byte.is_ascii_hexdigit() => {}
                                    Some(byte) => {
                                        return Err(unexpected(
                                            *byte,
                                            "in \\u hexadecimal character escape",
                                        ));
                                    }
                                }
                            }
                            self.at += 6;
                        }
                        Some(byte) => return Err(unexpected(*byte, "in string escape code")),
                    }
                }
                Some(byte) if *byte < 0x20 => return Err(unexpected(*byte, "in string literal")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let raw = &self.bytes[begin..self.at];
        if plain {
            return Ok(String::from_utf8_lossy(&raw[1..raw.len() - 1]).into_owned());
        }
        let text = String::from_utf8_lossy(raw);
        // Half of a surrogate pair becomes U+FFFD, as in Go.
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| unescaped(&text[1..text.len() - 1])))
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => {
                    text.push('.');
                    text.push_str(name);
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

const END: &str = "unexpected end of JSON input";

fn unexpected(byte: u8, context: &str) -> String {
    format!("invalid character {} {context}", quoted(byte))
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x20..=0x7e => format!("'{}'", byte as char),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        0xa1..=0xff => format!("'{}'", byte as char),
        _ => format!("'\\x{byte:02x}'"),
    }
}

fn unescaped(text: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let mut buffer = [0; 2];
        if letter != '\\' {
            units.extend_from_slice(letter.encode_utf16(&mut buffer));
            continue;
        }
        match letters.next() {
            Some('u') => {
                let hex: String = letters.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
            }
            Some('b') => units.push(8),
            Some('f') => units.push(12),
            Some('n') => units.push(10),
            Some('r') => units.push(13),
            Some('t') => units.push(9),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::{order, parse};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match parse(text.as_bytes()) {
            Ok(document) => format!("{} {:?}", document.value, document.duplicates),
            Err(error) => error,
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn documents_and_errors_are_go_s() {
        check("{}", "{} []");
        check(
            r#" {"a": [1, -2.5e3, true, null, "x\n\u00e9\ud83d\ude00"]} "#,
            "{\"a\":[1,-2500.0,true,null,\"x\\né😀\"]} []",
        );
        check(r#"{"a":{"b":1,"b":2},"a":{"c":3}}"#, r#"{"a":{"b":2,"c":3}} ["a.b", "a"]"#);
        check(r#"{"l":[{"x":1,"x":1}]}"#, r#"{"l":[{"x":1}]} ["l[0].x"]"#);
        check(r#""\ud83d""#, "\"\u{fffd}\" []");
        check("", "unexpected end of JSON input");
        check("{", "unexpected end of JSON input");
        check("{bad", "invalid character 'b' looking for beginning of object key string");
        check("notjson", "invalid character 'o' in literal null (expecting 'u')");
        check("[1 2]", "invalid character '2' after array element");
        check(r#"{"a" 1}"#, "invalid character '1' after object key");
        check(r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair");
        check("{} x", "invalid character 'x' after top-level value");
        check("\u{1f}", r"invalid character '\x1f' looking for beginning of value");
        check(&"[".repeat(1000), "exceeded max depth");
    }

    #[test]
    fn order_is_that_of_the_text() {
        assert_eq!(
            order(br#"{"b":{"z":1,"a":2},"a":[{"q":1}]}"#),
            ["b", "b.z", "b.a", "a", "a[0].q"]
        );
    }
}
