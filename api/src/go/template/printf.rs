//! The verbs of `printf` that templates use.
//!
//! Pure: a format and values in, text out. Source: Go's `fmt`.

use super::{Value, functions::shown};
use crate::go::quote;

/// Widest field that a format can ask for: a template is not to fill the memory.
const WIDEST: usize = 1024;

/// `%` and what is between it and the verb.
#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `format` with its verbs replaced: `v s q d x X f F e g t`, with flags, width and precision.
pub fn printf(format: &str, arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = letters.next_if(|it| "-+ 0#".contains(*it)) {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                // Says how numbers of other bases are marked.
                _ => {}
            }
        }
        flags.width = number(&mut letters);
        if letters.next_if_eq(&'.').is_some() {
            flags.precision = Some(number(&mut letters));
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match next.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => flags.write(verb, value, &mut out),
            },
        }
    }
    out
}

fn number(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut found = 0;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        let digit = digit as usize - '0' as usize;
        found = WIDEST.min(found * 10 + digit);
    }
    found
}

impl Flags {
    fn write(&self, verb: char, value: &Value<'_>, out: &mut String) {
        let text = match (verb, value) {
            ('v', Value::Float(_)) if self.precision.is_some() => self.float('g', value),
            ('v', _) => Some(shown(value)),
            ('s', Value::Text(text)) => Some(self.cut(text)),
            ('s', Value::List(_) | Value::Map(_) | Value::Lists(..)) => Some(shown(value)),
            ('s', Value::Struct(..) | Value::Object(_)) => Some(shown(value)),
            ('q', Value::Text(text)) => Some(quote(&self.cut(text))),
            ('t', Value::Bool(_)) => Some(shown(value)),
            ('d', Value::Int(number)) => Some(self.signed(*number >= 0, number.to_string())),
            ('x', Value::Int(number)) => Some(self.signed(*number >= 0, hex(*number))),
            ('X', Value::Int(number)) => {
                Some(self.signed(*number >= 0, hex(*number).to_uppercase()))
            }
            ('x', Value::Text(text)) => {
                Some(text.bytes().map(|byte| format!("{byte:02x}")).collect())
            }
            ('f' | 'F' | 'e' | 'g', Value::Float(_)) => self.float(verb, value),
            _ => None,
        };
        let Some(text) = text else {
            let kind = match value {
                Value::Nil(kind) => kind,
                Value::Bool(_) => "bool",
                Value::Int(_) => "int",
                Value::Float(_) => "float64",
                Value::Text(_) => "string",
                _ => {
                    out.push_str(&format!("%!{verb}({value})"));
                    return;
                }
            };
            out.push_str(&format!("%!{verb}({kind}={value})"));
            return;
        };
        let missing = self.width.saturating_sub(text.chars().count());
        let is_number = matches!(value, Value::Int(_) | Value::Float(_));
        if self.minus {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zero && is_number {
            let digits = text.trim_start_matches(['-', '+', ' ']);
            out.push_str(&text[..text.len() - digits.len()]);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(&text);
        }
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    fn signed(&self, positive: bool, text: String) -> String {
        match positive {
            true if self.plus => format!("+{text}"),
            true if self.space => format!(" {text}"),
            _ => text,
        }
    }

    fn float(&self, verb: char, value: &Value<'_>) -> Option<String> {
        let Value::Float(number) = *value else { return None };
        let text = match verb {
            'e' => {
                let text = format!("{number:.*e}", self.precision.unwrap_or(6));
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                format!("{digits}e{sign}{exponent:0>2}")
            }
            'g' => match self.precision {
                None => shown(value),
                Some(precision) => {
                    // So many digits that count, and no zeros after them.
                    let text = format!("{number:.*e}", precision.max(1) - 1);
                    shown(&Value::Float(text.parse().ok()?))
                }
            },
            _ => format!("{number:.*}", self.precision.unwrap_or(6)),
        };
        Some(self.signed(number >= 0.0, text))
    }
}

fn hex(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:x}", number.unsigned_abs())
}
