//! The formats and patterns of texts.
//!
//! Pure: texts in, answers out.
//! Source: k8s.io/apiextensions-apiserver `pkg/apiserver/validation/formats.go`, k8s.io/kube-openapi `pkg/validation/strfmt`.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;

use super::Rules;

/// The most memory that a compiled pattern may take: patterns come from whoever may define kinds.
const LARGEST: usize = 1 << 20;

/// Whether a text matches the pattern of these rules. A pattern that cannot be compiled matches everything:
/// definitions with such patterns are refused.
pub fn matches(rules: &Rules, pattern: &str, text: &str) -> bool {
    let compiled = rules.compiled.get_or_init(|| compile(pattern).ok());
    compiled.as_ref().is_none_or(|regex| regex.is_match(text))
}

/// A pattern in Go's syntax, which is nearly that of the regex crate.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(LARGEST).build()
}

/// Whether a text has a format. Formats that are not known hold for every text.
pub fn has(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => is_date_time(text),
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(ip, bits)| {
            let bits: Option<u8> = bits.parse().ok();
            let v4 = ip.parse::<Ipv4Addr>().is_ok() && bits.is_some_and(|bits| bits <= 32);
            v4 || (ip.parse::<Ipv6Addr>().is_ok() && bits.is_some_and(|bits| bits <= 128))
        }),
        "uri" => {
            text.split_once(':').is_some_and(|(scheme, rest)| {
                let letters = scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
                scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && letters
                    && !rest.contains(' ')
            }) || text.starts_with('/')
        }
        "email" => text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !text.contains(' ')
        }),
        "hostname" => {
            let part = |part: &str| {
                !part.is_empty()
                    && part.len() <= 63
                    && !part.starts_with('-')
                    && !part.ends_with('-')
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            text.len() <= 253 && text.trim_end_matches('.').split('.').all(part)
        }
        "mac" => {
            let parts: Vec<&str> = text.split([':', '-']).collect();
            parts.len() == 6
                && parts
                    .iter()
                    .all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
        }
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(format, text),
        "byte" => is_base64(text),
        "duration" => is_duration(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        _ => true,
    }
}

fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ');
    shape && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_uuid(format: &str, text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let version = match format {
        "uuid3" => Some(b'3'),
        "uuid4" => Some(b'4'),
        "uuid5" => Some(b'5'),
        _ => None,
    };
    digits.len() == 32
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && version.is_none_or(|version| digits.as_bytes()[12] == version)
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Go's durations, and those in words (`3 days`).
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim().trim_start_matches(['+', '-']);
    if rest.is_empty() {
        return false;
    }
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        rest = rest[digits..].trim_start();
        let unit = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let known = [
            "ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "sec", "secs", "second", "seconds",
            "min", "mins", "minute", "minutes", "hr", "hrs", "hour", "hours", "day", "days",
            "week", "weeks", "milli", "millis", "micro", "micros", "nano", "nanos",
        ];
        if !known.contains(&&rest[..unit]) {
            return false;
        }
        rest = rest[unit..].trim_start();
    }
    true
}
