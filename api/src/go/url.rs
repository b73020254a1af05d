//! URLs as Go reads them: what is wrong with one, and what it begins with.
//!
//! Pure: values only. Source: Go's `net/url`, `Parse`.

use super::quote;

/// A URL, or a part of one, cut where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// Empty for one that is relative.
    pub scheme: &'a str,
    /// With its port; empty where there is none.
    pub host: &'a str,
}

impl Url<'_> {
    /// Whether it stands alone.
    pub fn is_absolute(&self) -> bool {
        !self.scheme.is_empty()
    }
}

/// Reads a URL; the error is Go's.
pub fn parse(text: &str) -> Result<Url<'_>, String> {
    cut(text).map_err(|why| format!("parse {}: {why}", quote(text)))
}

fn cut(text: &str) -> Result<Url<'_>, String> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_string());
    }
    let whole = text.split_once('#').map_or(text, |(before, _)| before);
    let (scheme, rest) = scheme(whole)?;
    let path = rest.split_once('?').map_or(rest, |(before, _)| before);
    if !path.starts_with('/') && scheme.is_empty() {
        let first = path.split('/').next().unwrap_or_default();
        if first.contains(':') {
            return Err("first path segment in URL cannot contain colon".to_string());
        }
    }
    let mut host = "";
    let mut escaped = path;
    if let Some(after) = path.strip_prefix("//") {
        let end = after.find('/').unwrap_or(after.len());
        let authority = &after[..end];
        host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        port(host)?;
        if let Some(bad) = host.chars().find(|letter| " <>\"^`{|}\\".contains(*letter)) {
            return Err(format!("invalid character {} in host name", quote(&bad.to_string())));
        }
        escaped = &after[end..];
    }
    escapes(escaped)?;
    Ok(Url { scheme, host })
}

/// The scheme and what follows its colon.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_string()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn port(host: &str) -> Result<(), String> {
    let after = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, after)) => after,
            None => return Err("missing ']' in host".to_string()),
        },
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let is_port = after.is_empty()
        || after.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if is_port { Ok(()) } else { Err(format!("invalid port {} after host", quote(after))) }
}

/// A percent sign begins two hexadecimal digits.
fn escapes(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape: String = rest[at..].chars().take(3).collect();
        let is_right = escape.len() == 3 && escape[1..].bytes().all(|b| b.is_ascii_hexdigit());
        if !is_right {
            return Err(format!("invalid URL escape {}", quote(&escape)));
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_go_reads_them() {
        for (text, found) in [
            ("", Ok(("", ""))),
            ("http://a.b:80/c?d=:", Ok(("http", "a.b:80"))),
            ("http://u:p@[::1]:8080", Ok(("http", "[::1]:8080"))),
            ("/a:b/%41", Ok(("", ""))),
            ("a/b:c", Ok(("", ""))),
            ("urn:x", Ok(("urn", ""))),
            ("::", Err("parse \"::\": missing protocol scheme")),
            ("1a:b", Err("parse \"1a:b\": first path segment in URL cannot contain colon")),
            ("http://a:b", Err("parse \"http://a:b\": invalid port \":b\" after host")),
            ("http://a b", Err("parse \"http://a b\": invalid character \" \" in host name")),
            ("/%zz", Err("parse \"/%zz\": invalid URL escape \"%zz\"")),
            ("a\n", Err("parse \"a\\n\": net/url: invalid control character in URL")),
        ] {
            let parsed = parse(text).map(|url| (url.scheme, url.host));
            assert_eq!(parsed, found.map_err(str::to_string), "{text}");
        }
    }
}
