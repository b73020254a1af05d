//! The names of images: registry, repository, and tag or digest.
//!
//! Pure: values only.
//! Source: google/go-containerregistry `pkg/name`, weak validation.

/// The registry of names that have none.
const DOCKER_HUB: &str = "index.docker.io";
/// Letters of a repository.
const REPOSITORY: &str = "abcdefghijklmnopqrstuvwxyz0123456789_-./";
/// Letters of a tag.
const TAG: &str = "abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// An image as someone names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// A host and perhaps a port.
    pub registry: String,
    /// The path in the registry, with the `library/` that Docker Hub's own images need not name.
    pub repository: String,
    /// Which of the repository's images.
    pub which: Which,
}

/// One of the images of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// What has this tag now.
    Tag(String),
    /// The one with this sum, as in `sha256:…`.
    Digest(String),
}

impl Reference {
    /// Reads `[registry/]repository[:tag]` or `[registry/]repository[:tag]@sha256:…`; the error says what is wrong
    /// with it as a tag.
    pub fn parse(text: &str) -> Result<Reference, String> {
        digest(text).map_or_else(|| tagged(text), Ok)
    }

    /// The name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Whether its registry may be one that has no TLS: on this machine, or in a network of one's own.
    pub fn may_be_plain(&self) -> bool {
        let registry = self.registry.as_str();
        let host = registry.split(':').next().unwrap_or_default();
        let is_private = host.parse::<std::net::Ipv4Addr>().is_ok_and(|it| it.is_private());
        let without_port = match registry.rsplit_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => registry,
        };
        is_private
            || registry.starts_with("localhost:")
            || without_port.ends_with(".local")
            || without_port.ends_with(".localhost")
            || registry.contains("127.0.0.1")
            || registry.contains("::1")
    }
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit())
}

/// Whether `text` names an image.
pub fn is_reference(text: &str) -> bool {
    Reference::parse(text).is_ok()
}

/// Whether `text` is a digest as registries give them.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|sum| {
        sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn digest(text: &str) -> Option<Reference> {
    let (base, digest) = text.split_once('@').filter(|(_, digest)| is_digest(digest))?;
    // A tag beside the digest says nothing.
    let base = tagged(base).ok()?;
    Some(Reference { which: Which::Digest(digest.to_owned()), ..base })
}

fn tagged(text: &str) -> Result<Reference, String> {
    let (base, tag) = match text.rsplit_once(':') {
        // A colon before a slash is a registry's port.
        Some((base, tag)) if !tag.contains('/') => (base, tag),
        _ => (text, ""),
    };
    if !tag.is_empty() {
        check("tag", tag, TAG, 1, 128)?;
    }
    let tag = if tag.is_empty() { "latest" } else { tag };
    if base.is_empty() {
        return Err("a repository name must be specified".to_owned());
    }
    let (registry, repository) = match base.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => (first, rest),
        _ => ("", base),
    };
    check("repository", repository, REPOSITORY, 2, 255)?;
    if !is_registry(registry) {
        return Err(format!("registries must be valid RFC 3986 URI authorities: {registry}"));
    }
    let registry = if matches!(registry, "" | "docker.io") { DOCKER_HUB } else { registry };
    let is_short = registry == DOCKER_HUB && !repository.contains('/');
    Ok(Reference {
        registry: registry.to_owned(),
        repository: if is_short { format!("library/{repository}") } else { repository.to_owned() },
        which: Which::Tag(tag.to_owned()),
    })
}

fn check(what: &str, text: &str, letters: &str, least: usize, most: usize) -> Result<(), String> {
    if !(least..=most).contains(&text.chars().count()) {
        return Err(format!(
            "{what} must be between {least} and {most} characters in length: {text}"
        ));
    }
    if !text.chars().all(|it| letters.contains(it)) {
        return Err(format!("{what} can only contain the characters `{letters}`: {text}"));
    }
    Ok(())
}

/// Whether it is a host and perhaps a port.
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

    #[test]
    fn defaults_are_filled_in() {
        let sum = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let pinned = format!("quay.io/a/b:v1@{sum}");
        for (text, name, which) in [
            ("nginx", "index.docker.io/library/nginx", "latest"),
            ("docker.io/nginx:1", "index.docker.io/library/nginx", "1"),
            ("me/app", "index.docker.io/me/app", "latest"),
            ("localhost:5000/app:v2", "localhost:5000/app", "v2"),
            ("localhost/app", "index.docker.io/localhost/app", "latest"),
            (&pinned, "quay.io/a/b", &sum),
        ] {
            let read = Reference::parse(text).unwrap();
            let (Which::Tag(it) | Which::Digest(it)) = &read.which;
            assert_eq!((read.name().as_str(), it.as_str()), (name, which), "{text}");
        }
    }

    #[test]
    fn registries_at_home_need_no_tls() {
        for (registry, is_plain) in [
            ("localhost:5000", true),
            ("registry.local", true),
            ("registry.local:5000", true),
            ("kind.localhost:80", true),
            ("127.0.0.1:5000", true),
            ("[::1]:5000", true),
            ("10.1.2.3:5000", true),
            ("172.32.0.1", false),
            ("ghcr.io", false),
            ("registry.local.example.com", false),
        ] {
            let it = Reference::parse(&format!("{registry}/app")).unwrap();
            assert_eq!(it.may_be_plain(), is_plain, "{registry}");
        }
    }
}
