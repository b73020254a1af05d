//! JSON as Go reads it: the value, or what is wrong in Go's words.
//!
//! Pure: values only. Source: Go's `encoding/json`, `scanner.go`.

use serde_json::Value;

/// Why a text is no JSON.
pub fn syntax_error(text: &str) -> Option<String> {
    let mut scan = Scan { letters: text.chars().peekable() };
    scan.value().and_then(|()| scan.end()).err()
}

/// The value of a JSON text.
pub fn value(text: &str) -> Result<Value, String> {
    match syntax_error(text) {
        Some(why) => Err(why),
        None => serde_json::from_str(text).map_err(|why| why.to_string()),
    }
}

struct Scan<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
}

type Checked = Result<(), String>;

impl Scan<'_> {
    fn space(&mut self) {
        while self.letters.next_if(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n')).is_some() {}
    }

    /// What is said when the next letter is not the right one.
    fn wrong(&mut self, context: &str) -> String {
        match self.letters.peek() {
            None => "unexpected end of JSON input".to_string(),
            Some('\'') => format!("invalid character '\\'' {context}"),
            Some('"') => format!("invalid character '\"' {context}"),
            Some(letter) => {
                let letter: String = letter.escape_debug().collect();
                format!("invalid character '{letter}' {context}")
            }
        }
    }

    fn end(&mut self) -> Checked {
        self.space();
        match self.letters.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("after top-level value")),
        }
    }

    fn value(&mut self) -> Checked {
        self.space();
        match self.letters.peek() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            Some('"') => self.string(),
            Some('-' | '0'..='9') => self.number(),
            Some('t') => self.word("true"),
            Some('f') => self.word("false"),
            Some('n') => self.word("null"),
            _ => Err(self.wrong("looking for beginning of value")),
        }
    }

    fn object(&mut self) -> Checked {
        self.letters.next();
        self.space();
        if self.letters.next_if_eq(&'}').is_some() {
            return Ok(());
        }
        loop {
            self.space();
            if self.letters.peek() != Some(&'"') {
                return Err(self.wrong("looking for beginning of object key string"));
            }
            self.string()?;
            self.space();
            if self.letters.next_if_eq(&':').is_none() {
                return Err(self.wrong("after object key"));
            }
            self.value()?;
            self.space();
            if self.letters.next_if_eq(&'}').is_some() {
                return Ok(());
            }
            if self.letters.next_if_eq(&',').is_none() {
                return Err(self.wrong("after object key:value pair"));
            }
        }
    }

    fn array(&mut self) -> Checked {
        self.letters.next();
        self.space();
        if self.letters.next_if_eq(&']').is_some() {
            return Ok(());
        }
        loop {
            self.value()?;
            self.space();
            if self.letters.next_if_eq(&']').is_some() {
                return Ok(());
            }
            if self.letters.next_if_eq(&',').is_none() {
                return Err(self.wrong("after array element"));
            }
        }
    }

    fn string(&mut self) -> Checked {
        self.letters.next();
        loop {
            match self.letters.peek() {
                None | Some('\0'..='\u{1f}') => return Err(self.wrong("in string literal")),
                Some('"') => {
                    self.letters.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.letters.next();
                    match self.letters.peek() {
                        Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"') => {
                            self.letters.next();
                        }
                        Some('u') => {
                            self.letters.next();
                            for _ in 0..4 {
                                if self.letters.next_if(char::is_ascii_hexdigit).is_none() {
                                    return Err(self.wrong("in \\u hexadecimal character escape"));
                                }
                            }
                        }
                        _ => return Err(self.wrong("in string escape code")),
                    }
                }
                Some(_) => {
                    self.letters.next();
                }
            }
        }
    }

    fn digits(&mut self) -> bool {
        let mut found = false;
        while self.letters.next_if(char::is_ascii_digit).is_some() {
            found = true;
        }
        found
    }

    fn number(&mut self) -> Checked {
        self.letters.next_if_eq(&'-');
        if self.letters.next_if_eq(&'0').is_none() && !self.digits() {
            return Err(self.wrong("in numeric literal"));
        }
        if self.letters.next_if_eq(&'.').is_some() && !self.digits() {
            return Err(self.wrong("after decimal point in numeric literal"));
        }
        if self.letters.next_if(|letter| matches!(letter, 'e' | 'E')).is_some() {
            self.letters.next_if(|letter| matches!(letter, '+' | '-'));
            if !self.digits() {
                return Err(self.wrong("in exponent of numeric literal"));
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Checked {
        for expected in word.chars() {
            if self.letters.next_if_eq(&expected).is_none() {
                return Err(self.wrong(&format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_as_go_tells_them() {
        for (text, wanted) in [
            ("{\"a\": [1, -2.5e3, true, null, \"\\u00e4\"]}", None),
            ("", Some("unexpected end of JSON input")),
            ("{", Some("unexpected end of JSON input")),
            ("abc", Some("invalid character 'a' looking for beginning of value")),
            ("tru", Some("unexpected end of JSON input")),
            ("trux", Some("invalid character 'x' in literal true (expecting 'e')")),
            ("{a}", Some("invalid character 'a' looking for beginning of object key string")),
            ("{\"a\" 1}", Some("invalid character '1' after object key")),
            ("{\"a\":1 \"b\"}", Some("invalid character '\"' after object key:value pair")),
            ("[1 2]", Some("invalid character '2' after array element")),
            ("1 x", Some("invalid character 'x' after top-level value")),
            ("\"\\x\"", Some("invalid character 'x' in string escape code")),
            ("-x", Some("invalid character 'x' in numeric literal")),
        ] {
            assert_eq!(syntax_error(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(value(" 5 "), Ok(5.into()));
    }
}
