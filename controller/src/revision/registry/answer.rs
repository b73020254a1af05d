//! What registries say: how they want to be asked, and why they refuse.
//!
//! Pure: texts in, values out.
//! Source: google/go-containerregistry `pkg/v1/remote/transport`, docker/distribution `registry/client/auth/challenge`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Most of an answer's own text that a refusal quotes: it goes into a status.
const QUOTED: usize = 512;
/// The parameters of URLs that may be shown; others may be signatures or tokens.
const SHOWN: &[&str] = &["scope", "service", "digest", "n", "last"];

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By whoever comes.
    Open,
    /// With user and password.
    Basic,
    /// With a token that somebody else gives out.
    Bearer(Bearer),
}

/// Where tokens are to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearer {
    /// A URL.
    pub realm: String,
    /// What the token is for; may be empty.
    pub service: String,
    /// What has to be allowed; absent where the registry did not say.
    pub scope: Option<String>,
}

/// Reads the values of `WWW-Authenticate`; the first that can be met counts.
pub fn challenge<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Challenge, String> {
    let mut parsed = values.into_iter().map(parameters).filter(|(scheme, _)| !scheme.is_empty());
    let known = parsed.find(|(scheme, _)| matches!(&**scheme, "basic" | "bearer"));
    let Some((scheme, mut parameters)) = known else { return Ok(Challenge::Basic) };
    if scheme == "basic" {
        return Ok(Challenge::Basic);
    }
    let realm = parameters.remove("realm").ok_or("malformed www-authenticate, missing realm")?;
    let service = parameters.remove("service").unwrap_or_default();
    Ok(Challenge::Bearer(Bearer { realm, service, scope: parameters.remove("scope") }))
}

/// The URL at which a token for `scopes` is to be had.
pub fn token_url(bearer: &Bearer, scopes: &[String]) -> String {
    let mut url = bearer.realm.clone();
    for (name, value) in scopes.iter().map(|it| ("scope", it)).chain([("service", &bearer.service)])
    {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", encoded(value)));
    }
    url
}

/// The form with which an identity is exchanged for a token.
pub fn token_form(bearer: &Bearer, scopes: &[String], identity: &str, client: &str) -> String {
    let mut form = format!("client_id={}&grant_type=refresh_token", encoded(client));
    form += &format!("&refresh_token={}&scope={}", encoded(identity), encoded(&scopes.join(" ")));
    if !bearer.service.is_empty() {
        form += &format!("&service={}", encoded(&bearer.service));
    }
    form
}

/// The token in an answer.
pub fn token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let read: Token = serde_json::from_slice(body).ok()?;
    [read.access_token, read.token].into_iter().flatten().find(|it| !it.is_empty())
}

/// What a refusal says, without method and URL.
pub fn refusal(is_head: bool, status: http::StatusCode, body: &[u8]) -> String {
    let errors = serde_json::from_slice::<Value>(body).ok();
    let errors = errors.as_ref().and_then(|it| it["errors"].as_array());
    let told: Vec<String> = errors.into_iter().flatten().map(diagnostic).collect();
    let word = status.canonical_reason().unwrap_or_default();
    let code = format!("unexpected status code {} {word}", status.as_u16());
    match told.as_slice() {
        [one] => one.clone(),
        [] if body.is_empty() && is_head => {
            format!("{code} (HEAD responses have no body, use GET for details)")
        }
        [] if body.is_empty() => code,
        [] => format!("{code}: {}", beginning(&String::from_utf8_lossy(body))),
        several => format!("multiple errors returned: {}", beginning(&several.join("; "))),
    }
}

/// The URL without what must not be shown.
pub fn shown(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if !SHOWN.contains(&name) => format!("{name}=REDACTED"),
        _ => pair.to_owned(),
    });
    format!("{place}?{}", shown.collect::<Vec<_>>().join("&"))
}

/// Where a redirect from `url` leads.
pub fn redirected(url: &str, location: &str) -> String {
    if location.starts_with("https://") || location.starts_with("http://") {
        return location.to_owned();
    }
    let scheme_end = url.find("://").map_or(0, |it| it + 3);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}{rest}", &url[..scheme_end]);
    }
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let host_end = without_query[scheme_end..].find('/').map(|it| it + scheme_end);
    let host_end = host_end.unwrap_or(without_query.len());
    if location.starts_with('/') {
        return format!("{}{location}", &without_query[..host_end]);
    }
    let folder = without_query.rfind('/').filter(|it| *it >= host_end).unwrap_or(host_end);
    format!("{}/{location}", &without_query[..folder])
}

/// Scheme, host and port of a URL: with whom credentials may be shared.
pub fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_owned();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// As Go prints a diagnostic with its detail.
fn diagnostic(error: &Value) -> String {
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let told = format!("{}: {}", text("code"), text("message"));
    match &error["detail"] {
        Value::Null => told,
        detail => format!("{told}; {}", beginning(&printed(detail))),
    }
}

fn printed(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", join(values.iter().map(printed).collect())),
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().collect();
            let pairs = fields.iter().map(|(key, value)| format!("{key}:{}", printed(value)));
            format!("map[{}]", join(pairs.collect()))
        }
        other => other.to_string(),
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Scheme and parameters of one challenge, their names in small letters.
fn parameters(value: &str) -> (String, BTreeMap<String, String>) {
    let is_token = |it: char| it.is_ascii_graphic() && !"\"(),/:;<=>?@[]\\{}".contains(it);
    let token = |text: &'_ str| text.find(|it| !is_token(it)).unwrap_or(text.len());
    let (scheme, mut rest) = value.split_at(token(value));
    let mut found = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = rest.split_at(token(rest));
        let Some(after) = after.strip_prefix('=').filter(|_| !name.is_empty()) else { break };
        let (text, after) = match after.strip_prefix('"') {
            None => {
                let (text, after) = after.split_at(token(after));
                (text.to_owned(), after)
            }
            Some(quoted) => {
                let Some((text, after)) = unquoted(quoted) else { break };
                (text, after)
            }
        };
        found.insert(name.to_ascii_lowercase(), text);
        rest = after;
    }
    (scheme.to_ascii_lowercase(), found)
}

/// The text up to the closing quotation mark, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut read, mut is_escaped) = (String::new(), false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => {
                read.push(letter);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => return Some((read, &text[at + 1..])),
            _ => read.push(letter),
        }
    }
    None
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: &str, scope: Option<&str>| {
            let (realm, service) = (realm.to_owned(), service.to_owned());
            Ok(Challenge::Bearer(Bearer { realm, service, scope: scope.map(str::to_owned) }))
        };
        for (values, expected) in [
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                ][..],
                bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (
                &["Negotiate", r#"BEARER Realm="http://a/\"t\"", service=x"#],
                bearer("http://a/\"t\"", "x", None),
            ),
            (&["Basic realm=\"r\""], Ok(Challenge::Basic)),
            (&["Negotiate"], Ok(Challenge::Basic)),
            (&[], Ok(Challenge::Basic)),
            (&["Bearer service=x"], Err("malformed www-authenticate, missing realm".to_owned())),
        ] {
            assert_eq!(challenge(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn refusals_are_told_as_go_tells_them() {
        let detail = json!([{ "Type": "repository", "Class": "", "Name": "a", "Action": "pull" }]);
        let one = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "authentication required", "detail": detail }] });
        let two =
            json!({ "errors": [{ "code": "A", "message": "a" }, { "code": "B", "message": "b" }] });
        for (is_head, status, body, text) in [
            (
                true,
                404,
                String::new(),
                "unexpected status code 404 Not Found (HEAD responses have no body, use GET for details)",
            ),
            (false, 404, String::new(), "unexpected status code 404 Not Found"),
            (
                false,
                500,
                "oops".to_owned(),
                "unexpected status code 500 Internal Server Error: oops",
            ),
            (
                false,
                401,
                one.to_string(),
                "UNAUTHORIZED: authentication required; [map[Action:pull Class: Name:a Type:repository]]",
            ),
            (false, 401, two.to_string(), "multiple errors returned: A: a; B: b"),
        ] {
            let status = http::StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(is_head, status, body.as_bytes()), text);
        }
    }

    #[test]
    fn urls_are_made_and_shown() {
        let bearer = Bearer { realm: "https://a/t?x=1".into(), service: "s".into(), scope: None };
        let url = token_url(&bearer, &["repository:a/b:pull".to_owned()]);
        assert_eq!(url, "https://a/t?x=1&scope=repository%3Aa%2Fb%3Apull&service=s");
        assert_eq!(
            shown("https://a/b?X-Sig=abc&service=s"),
            "https://a/b?X-Sig=REDACTED&service=s"
        );
        for (location, url) in [
            ("https://b/c", "https://b/c"),
            ("//b/c", "https://b/c"),
            ("/c?d", "https://a:1/c?d"),
            ("c", "https://a:1/v2/c"),
        ] {
            assert_eq!(redirected("https://a:1/v2/b?x=/y", location), url, "{location}");
        }
    }
}
