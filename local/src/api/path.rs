//! What a path asks for.
//!
//! Pure: text in, parts out.
//! Source: k8s.io/apiserver `pkg/endpoints/request/requestinfo.go`.

/// The parts of a path below `/api/v1` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// The path began with `watch/`.
    pub watch: bool,
    /// Empty for kinds of the cluster and for all namespaces.
    pub namespace: String,
    /// Whether the path has a `namespaces/` part before its resource.
    pub namespaced: bool,
    /// The plural; empty for the version's resource list.
    pub resource: String,
    /// Empty for a collection.
    pub name: String,
    /// What follows the name.
    pub subresource: Vec<String>,
}

/// The parts of a path; none when it is not of a group and version.
pub fn parse(path: &str) -> Option<Path> {
    let mut parts = path.strip_prefix('/')?.trim_end_matches('/').split('/').map(decoded);
    let mut parsed = Path::default();
    match parts.next()?.as_str() {
        "api" => parsed.version = parts.next()?,
        "apis" => {
            parsed.group = parts.next().filter(|group| !group.is_empty())?;
            parsed.version = parts.next()?;
        }
        _ => return None,
    }
    let mut parts = parts.peekable();
    if parts.peek().is_some_and(|part| part == "watch") {
        parts.next();
        parsed.watch = true;
    }
    if parts.peek().is_some_and(|part| part == "namespaces") {
        parts.next();
        let namespace = parts.next();
        match (namespace, parts.peek().map(String::as_str)) {
            (None, _) => {
                parsed.resource = "namespaces".into();
                return Some(parsed);
            }
            // The namespace itself, and what belongs to it.
            (Some(name), None | Some("status" | "finalize")) => {
                parsed.resource = "namespaces".into();
                parsed.name = name;
                parsed.subresource = parts.collect();
                return Some(parsed);
            }
            (Some(namespace), Some(_)) => {
                parsed.namespaced = !namespace.is_empty();
                parsed.namespace = namespace;
            }
        }
    }
    parsed.resource = parts.next().unwrap_or_default();
    parsed.name = parts.next().unwrap_or_default();
    parsed.subresource = parts.collect();
    Some(parsed)
}

fn decoded(part: &str) -> String {
    percent_decoded(part)
}

/// Text without its percent escapes; escapes that are not valid stay.
pub fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let parsed = parse(path).map(|path| {
            format!(
                "{}|{}|{}|{}|{}|{}|{}",
                path.group,
                path.version,
                path.watch,
                path.namespace,
                path.resource,
                path.name,
                path.subresource.join("/")
            )
        });
        assert_eq!(parsed.as_deref().unwrap_or("none"), expected, "{path}");
    }

    #[test]
    fn paths_have_their_parts() {
        check("/api/v1/pods", "|v1|false||pods||");
        check("/api/v1/", "|v1|false||||");
        check("/api/v1/namespaces", "|v1|false||namespaces||");
        check("/api/v1/namespaces/n", "|v1|false||namespaces|n|");
        check("/api/v1/namespaces/n/finalize", "|v1|false||namespaces|n|finalize");
        check("/api/v1/namespaces/n/pods/p/log", "|v1|false|n|pods|p|log");
        check("/api/v1/namespaces//pods", "|v1|false||pods||");
        check("/apis/apps/v1/watch/namespaces/n/deployments/d", "apps|v1|true|n|deployments|d|");
        check(
            "/apis/apps/v1/namespaces/n/deployments/d/nope/deep",
            "apps|v1|false|n|deployments|d|nope/deep",
        );
        check("/apis/g/v1/namespaces/n/widgets/a%3Ab", "g|v1|false|n|widgets|a:b|");
        check("/apis/apps", "none");
        check("/healthz", "none");
    }
}
