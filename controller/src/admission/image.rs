//! Whether a text names an image.
//!
//! Pure: values only.
//! Source: google/go-containerregistry `pkg/name`, weak validation.

/// Whether `text` is `[registry/]repository[:tag]` or `[registry/]repository[:tag]@sha256:…`.
pub fn is_reference(text: &str) -> bool {
    is_tagged(text) || is_digest(text)
}

fn is_tagged(text: &str) -> bool {
    match text.rsplit_once(':') {
        // A colon before a slash is a registry's port.
        Some((base, tag)) if !tag.contains('/') => {
            (tag.is_empty() || is_tag(tag)) && is_repository(base)
        }
        _ => is_repository(text),
    }
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn is_digest(text: &str) -> bool {
    let mut parts = text.split('@');
    let (Some(base), Some(digest), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_sum = digest.strip_prefix("sha256:").is_some_and(|sum| {
        sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    is_sum && (is_tagged(base) || is_repository(base))
}

fn is_repository(text: &str) -> bool {
    let (registry, repository) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => (first, rest),
        _ => ("", text),
    };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    (2..=255).contains(&repository.len()) && repository.bytes().all(letter) && is_registry(registry)
}

/// A host and perhaps a port.
fn is_registry(text: &str) -> bool {
    let host_end = if text.starts_with('[') { text.find(']').map_or(0, |end| end + 1) } else { 0 };
    let (host, port) = match text[host_end..].find(':') {
        Some(colon) => {
            let (host, port) = text.split_at(host_end + colon);
            (host, &port[1..])
        }
        None => (text, ""),
    };
    let letter =
        |b: u8| b.is_ascii_alphanumeric() || b >= 0x80 || b"-_.~!$&'()*+,;=[]:".contains(&b);
    host.bytes().all(letter) && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_text() {
        let sum = "0123456789abcdef".repeat(4);
        for text in [
            "hello".to_string(),
            "example.com/hello:v1".to_string(),
            "localhost:5000/a/b".to_string(),
            "ghcr.io/x/y".to_string(),
            format!("example.com/hello@sha256:{sum}"),
            format!("example.com/hello:v1@sha256:{sum}"),
            "example.com/hello:".to_string(),
        ] {
            assert!(is_reference(&text), "{text}");
        }
        for text in
            ["", "::", "UPPER/x:::", "example.com/b:1", "a b", "x@sha256:12", "a:b c", "x@y"]
        {
            assert!(!is_reference(text), "{text}");
        }
    }
}
