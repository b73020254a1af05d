//! What the values of attributes must look like.
//!
//! Pure: text to values. Each check gives the end of a sentence that begins with where the value stands.
//! Source: CloudEvents 1.0.2 `spec.md`; where it leaves room, what upstream's SDK (sdk-go `event`, Go's `net/url`,
//! `mime`, `time`) takes.

use super::SpecVersion;

/// The attributes that a version of the specification defines, whose values are strings of a certain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    Type,
    Source,
    Id,
    Subject,
    Time,
    ContentType,
    /// `dataschema` of 1.0.
    Schema,
    /// `schemaurl` of 0.3.
    SchemaUrl,
    /// `datacontentencoding` of 0.3.
    Encoding,
    SpecVersion,
}

impl Core {
    /// What such a name means; nothing if it is an extension's.
    pub fn of(version: SpecVersion, name: &str) -> Option<Core> {
        let core = match name.as_bytes() {
            b"type" => Core::Type,
            b"source" => Core::Source,
            b"id" => Core::Id,
            b"subject" => Core::Subject,
            b"time" => Core::Time,
            b"datacontenttype" => Core::ContentType,
            b"dataschema" if version == SpecVersion::V1 => Core::Schema,
            b"schemaurl" if version == SpecVersion::V03 => Core::SchemaUrl,
            b"datacontentencoding" if version == SpecVersion::V03 => Core::Encoding,
            b"specversion" => Core::SpecVersion,
            _ => return None,
        };
        Some(core)
    }

    /// What is wrong with a value.
    pub fn check(self, value: &str) -> Result<(), &'static str> {
        match self {
            Core::Type | Core::Id | Core::Subject => present(value),
            Core::Source | Core::SchemaUrl => present(value).and_then(|()| uri_reference(value)),
            Core::Time => time(value),
            Core::ContentType => match behind_media_type(value) {
                Some("") => Ok(()),
                _ => Err("is no media type"),
            },
            Core::Schema => absolute_uri(value),
            Core::Encoding => match value.trim() {
                it if it.eq_ignore_ascii_case("base64") => Ok(()),
                _ => Err("must be base64"),
            },
            Core::SpecVersion => Err("cannot be changed"),
        }
    }
}

/// Whether it is the name of an attribute. `data` is the data's.
pub fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(is_letter) && name != "data"
}

fn present(value: &str) -> Result<(), &'static str> {
    let is_present =
        value.starts_with(|it: char| it.is_ascii_graphic()) || !value.trim().is_empty();
    if is_present { Ok(()) } else { Err("must not be empty") }
}

/// The scheme of a URI and what follows it, or nothing where it has none.
fn scheme(value: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let Some(at) = value.find([':', '/', '?', '#']) else { return Ok(None) };
    if value.as_bytes()[at] != b':' {
        return Ok(None);
    }
    let scheme = &value[..at];
    let is_scheme = |it: &str| {
        it.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.'))
    };
    if !scheme.starts_with(|it: char| it.is_ascii_alphabetic()) || !is_scheme(scheme) {
        return Err("is no URI reference: it has a colon behind what is no scheme");
    }
    Ok(Some((scheme, &value[at + 1..])))
}

/// Characters that RFC 3986 wants percent-encoded are let through, as upstream does; nothing here depends on them.
fn uri_reference(value: &str) -> Result<(), &'static str> {
    // The most usual ones need no second look.
    let is_path =
        |it| matches!(it, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_');
    if value.bytes().all(is_path) {
        return Ok(());
    }
    if value.contains(|it: char| it.is_ascii_control()) {
        return Err("is no URI reference: it has a control character");
    }
    let rest = scheme(value)?.map_or(value, |it| it.1);
    let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let path = path.split_once('?').map_or(path, |it| it.0);
    if ![path, fragment].into_iter().all(is_escaped_well) {
        return Err("is no URI reference: a percent sign needs two hexadecimal digits behind it");
    }
    let Some(authority) = path.strip_prefix("//") else { return Ok(()) };
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |it| it.1);
    let port = match host.strip_prefix('[') {
        Some(host) => match host.split_once(']') {
            Some((_, "")) => "",
            Some((_, rest)) => match rest.strip_prefix(':') {
                Some(port) => port,
                None => {
                    return Err(
                        "is no URI reference: it has something else than a port behind the host",
                    );
                }
            },
            None => return Err("is no URI reference: the host lacks a closing bracket"),
        },
        None => host.rsplit_once(':').map_or("", |it| it.1),
    };
    match port.bytes().all(|it| it.is_ascii_digit()) {
        true => Ok(()),
        false => Err("is no URI reference: its port is no number"),
    }
}

fn absolute_uri(value: &str) -> Result<(), &'static str> {
    uri_reference(value)?;
    match scheme(value)? {
        Some(_) => Ok(()),
        None => Err("is no absolute URI: it lacks a scheme"),
    }
}

fn is_escaped_well(value: &str) -> bool {
    value.split('%').skip(1).all(|it| {
        it.as_bytes().first_chunk::<2>().is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit))
    })
}

/// RFC 3339: a date, `T`, a time with or without a fraction, `Z` or an offset.
fn time(value: &str) -> Result<(), &'static str> {
    const WRONG: &str = "is no time as RFC 3339 has it";
    let number = |from: usize, to: usize| -> Result<u32, &'static str> {
        let digits = value.as_bytes().get(from..to).ok_or(WRONG)?;
        digits.iter().try_fold(0, |sum, it| match it {
            b'0'..=b'9' => Ok(sum * 10 + u32::from(it - b'0')),
            _ => Err(WRONG),
        })
    };
    let is_sign =
        |at: usize, signs: &[u8]| value.as_bytes().get(at).is_some_and(|it| signs.contains(it));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let signs = is_sign(4, b"-")
        && is_sign(7, b"-")
        && is_sign(10, b"Tt")
        && is_sign(13, b":")
        && is_sign(16, b":");
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(WRONG),
    };
    // The sixtieth second is a leap second's.
    if !signs || day < 1 || day > days || hour > 23 || minute > 59 || second > 60 {
        return Err(WRONG);
    }
    let mut rest = &value.as_bytes()[19..];
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|it| it.is_ascii_digit()).count();
        if digits == 0 {
            return Err(WRONG);
        }
        rest = &fraction[digits..];
    }
    match rest {
        [b'Z' | b'z'] => Ok(()),
        [b'+' | b'-', _, _, b':', _, _] => {
            let from = value.len() - 5;
            match number(from, from + 2)? < 24 && number(from + 3, from + 5)? < 60 {
                true => Ok(()),
                false => Err(WRONG),
            }
        }
        _ => Err(WRONG),
    }
}

/// What follows a media type and its parameters (RFC 2046); nothing if none is there. A type without a subtype is let
/// through, as upstream does.
fn behind_media_type(value: &str) -> Option<&str> {
    let blanks = [' ', '\t'];
    let mut rest = behind_token(value.trim_start_matches(blanks))?;
    if let Some(subtype) = rest.strip_prefix('/') {
        rest = behind_token(subtype)?;
    }
    loop {
        rest = rest.trim_start_matches(blanks);
        let Some(parameter) = rest.strip_prefix(';') else { return Some(rest) };
        let parameter = parameter.trim_start_matches(blanks);
        if parameter.is_empty() {
            return Some(parameter);
        }
        let behind_name = behind_token(parameter)?.trim_start_matches(blanks);
        let value = behind_name.strip_prefix('=')?.trim_start_matches(blanks);
        rest = match value.strip_prefix('"') {
            Some(quoted) => behind_quote(quoted)?,
            None => behind_token(value)?,
        };
    }
}

fn behind_token(value: &str) -> Option<&str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = value.bytes().position(|it| !is_token(it)).unwrap_or(value.len());
    (end > 0).then(|| &value[end..])
}

/// What follows the closing quote.
fn behind_quote(quoted: &str) -> Option<&str> {
    let mut bytes = quoted.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()?),
            b'"' => return Some(&quoted[at + 1..]),
            _ => {}
        }
    }
    None
}
