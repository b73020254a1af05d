//! URLs: their parts, and one relative to another.
//!
//! Pure: text in, text out; what is written stays as it was written.
//! Source: Go's `net/url`, `URL.Parse` and `URL.ResolveReference`; RFC 3986.

use std::fmt;

/// The parts of a URL, as they were written. A part that is absent is empty, since none of those who write URLs here tells
/// `?` from nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Url<'a> {
    /// `http`, without the colon.
    pub scheme: &'a str,
    /// Host and port, and what stands before an `@`.
    pub authority: &'a str,
    /// With its slash where there is an authority.
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// Without the hash.
    pub fragment: &'a str,
}

impl<'a> Url<'a> {
    /// Takes a URL, or a part of one, apart.
    pub fn of(text: &'a str) -> Url<'a> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, after)) if is_scheme(scheme) => (scheme, after),
            _ => ("", rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        Url { scheme, authority, path, query, fragment }
    }

    /// Whether it stands for itself: has a scheme.
    pub fn is_absolute(&self) -> bool {
        !self.scheme.is_empty()
    }

    /// The host, without user and port.
    pub fn host(&self) -> &'a str {
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Where `reference` leads from here.
    pub fn join(&self, reference: &str) -> String {
        let reference = Url::of(reference);
        if reference.is_absolute() || !reference.authority.is_empty() {
            let scheme = if reference.is_absolute() { reference.scheme } else { self.scheme };
            let path = without_dots(reference.path);
            return Url { scheme, path: &path, ..reference }.to_string();
        }
        let is_empty = reference.path.is_empty() && reference.query.is_empty();
        let path = match reference.path {
            "" => self.path.to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => {
                let folder = self.path.rfind('/').map_or("", |end| &self.path[..=end]);
                format!("{folder}{path}")
            }
        };
        let url = Url {
            path: &without_dots(&path),
            query: if is_empty { self.query } else { reference.query },
            fragment: match reference.fragment {
                "" if is_empty => self.fragment,
                fragment => fragment,
            },
            ..*self
        };
        url.to_string()
    }
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.authority.is_empty() {
            write!(f, "//{}", self.authority)?;
        }
        f.write_str(self.path)?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        if !self.fragment.is_empty() {
            write!(f, "#{}", self.fragment)?;
        }
        Ok(())
    }
}

fn is_scheme(text: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.');
    text.starts_with(|it: char| it.is_ascii_alphabetic()) && text.bytes().all(is_part)
}

/// A path without `.` and `..`, and with a slash in front; nothing stays nothing.
fn without_dots(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut kept: Vec<&str> = Vec::new();
    let parts = path.strip_prefix('/').unwrap_or(path).split('/');
    let mut ends_in_folder = false;
    for part in parts {
        ends_in_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    if ends_in_folder {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_joined_as_go_does_it() {
        check("http://a.b/x/y", "z", "http://a.b/x/z");
        check("http://a.b", "z", "http://a.b/z");
        check("http://a.b", "/z?q=1", "http://a.b/z?q=1");
        check("http://a.b/x/y?q#f", "", "http://a.b/x/y?q#f");
        check("http://a.b/x/y?q", "?r", "http://a.b/x/y?r");
        check("http://a.b/x/y", "../z", "http://a.b/z");
        check("http://a.b/x/y", "../../../z/.", "http://a.b/z/");
        check("http://a.b/x/y/", "./z/..", "http://a.b/x/y/");
        check("http://a.b:80/x", "//c/d", "http://c/d");
        check("http://a.b/x", "https://c", "https://c");
    }

    #[test]
    fn a_url_has_parts() {
        let url = Url::of("http://me@a.b:80/x?q=1#f");
        assert_eq!((url.scheme, url.host(), url.path), ("http", "a.b", "/x"));
        assert_eq!((url.query, url.fragment), ("q=1", "f"));
        assert!(!Url::of("/x:y").is_absolute() && !Url::of("x/y").is_absolute());
        assert_eq!(Url::of("http:///x").host(), "");
    }

    #[track_caller]
    fn check(base: &str, reference: &str, joined: &str) {
        assert_eq!(Url::of(base).join(reference), joined);
    }
}
