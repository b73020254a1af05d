//! The credentials of pull secrets, and which of them are for an image.
//!
//! Pure: texts in, credentials out. Source: kubernetes `pkg/credentialprovider/keyring.go`, google/go-containerregistry
//! `pkg/authn/kubernetes`.

use std::{collections::BTreeMap, fmt};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

/// Base64 with padding or without, as people write both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Where Docker Hub's images are, whatever its credentials are filed under.
const DOCKER_HUB: &str = "index.docker.io";

/// Who asks a registry. It never shows what it is made of.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    user: String,
    password: String,
    /// Exchanged for tokens by OAuth2.
    identity: String,
    /// A token as it is.
    token: String,
}

/// Credentials by what they are for.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Host with port and path; the longer come first, so that what says more is tried first.
    entries: Vec<(String, Credential)>,
}

/// How a secret holds its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `kubernetes.io/dockerconfigjson`, at `.dockerconfigjson`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`, at `.dockercfg`.
    Dockercfg,
}

/// A secret without credentials that can be read. Says nothing of what is in it, since it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON of the form that the secret's type promises.
    #[error("it is not a Docker configuration")]
    Form,
    /// An `auth` that is not the Base64 of a user and a password.
    #[error("unable to decode auth field: must be formatted as base64(username:password)")]
    Auth,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl Form {
    /// The form of a secret of that type, if it has credentials of registries.
    pub fn of(type_: &str) -> Option<Form> {
        match type_ {
            "kubernetes.io/dockerconfigjson" => Some(Form::DockerConfigJson),
            "kubernetes.io/dockercfg" => Some(Form::Dockercfg),
            _ => None,
        }
    }

    /// Where the secret's data has them.
    pub fn key(self) -> &'static str {
        match self {
            Form::DockerConfigJson => ".dockerconfigjson",
            Form::Dockercfg => ".dockercfg",
        }
    }
}

impl Credential {
    /// The value of `Authorization` that tells user and password, where there are any.
    pub fn basic(&self) -> Option<String> {
        if self.user.is_empty() || self.password.is_empty() {
            return None;
        }
        Some(format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password))))
    }

    /// What is to be exchanged by OAuth2.
    pub fn identity(&self) -> Option<&str> {
        Some(self.identity.as_str()).filter(|it| !it.is_empty())
    }

    /// A token that needs no exchange.
    pub fn token(&self) -> Option<&str> {
        Some(self.token.as_str()).filter(|it| !it.is_empty())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl Keyring {
    /// Adds the credentials of a secret.
    pub fn add(&mut self, form: Form, text: &[u8]) -> Result<(), Unreadable> {
        let entries = match form {
            Form::DockerConfigJson => serde_json::from_slice(text).map(|it: Config| it.auths),
            Form::Dockercfg => serde_json::from_slice(text),
        };
        // The parser's own words may quote a password.
        for (place, entry) in entries.map_err(|_| Unreadable::Form)? {
            self.entries.push((key(&place), credential(entry)?));
        }
        // Stable: of those for the same place the first that was added is tried first.
        self.entries.sort_by(|a, b| b.0.cmp(&a.0));
        Ok(())
    }

    /// The credentials for an image, given its registry and repository as in `host/path`: the best first.
    pub fn find(&self, image: &str) -> Vec<&Credential> {
        let fitting = self.entries.iter().filter(|(place, _)| covers(place, image));
        fitting.map(|(_, credential)| credential).collect()
    }
}

/// What credentials are filed under, without scheme and version of the API.
fn key(place: &str) -> String {
    let rest = ["https://", "http://"].iter().find_map(|it| place.strip_prefix(it));
    let (host, path) = split(rest.unwrap_or(place));
    let versions = ["/v2/", "/v1/"];
    let path = versions.iter().find_map(|it| path.strip_prefix(it)).map_or(path, |it| {
        // The slash stays.
        &path[path.len() - it.len() - 1..]
    });
    let host = match host {
        "docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    };
    match path {
        "/" => host.to_owned(),
        path => format!("{host}{path}"),
    }
}

/// Host with port, and path with its slash.
fn split(place: &str) -> (&str, &str) {
    place.split_at(place.find('/').unwrap_or(place.len()))
}

/// Whether credentials of `place`, whose host may have wildcards in its parts, are for `image`.
fn covers(place: &str, image: &str) -> bool {
    let ((wanted, before), (host, path)) = (split(place), split(image));
    let port = |host: &str| host.rsplit_once(':').map(|(_, port)| port.to_owned());
    let name = |host: &str| host.rsplit_once(':').map_or(host, |it| it.0).to_owned();
    let (wanted_name, name) = (name(wanted), name(host));
    let (globs, parts) = (wanted_name.split('.'), name.split('.'));
    port(wanted) == port(host)
        && path.starts_with(before)
        && globs.clone().count() == parts.clone().count()
        && globs.zip(parts).all(|(glob, part)| fits(glob.as_bytes(), part.as_bytes()))
}

/// Whether `text` fits `glob`, in which `*` is any text and `?` any letter.
fn fits(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        ([b'?', glob @ ..], [_, text @ ..]) => fits(glob, text),
        ([a, glob @ ..], [b, text @ ..]) => a == b && fits(glob, text),
        _ => false,
    }
}

fn credential(entry: Entry) -> Result<Credential, Unreadable> {
    let (mut user, mut password) = (entry.username, entry.password);
    if !entry.auth.is_empty() {
        let decoded = BASE64.decode(entry.auth.trim()).map_err(|_| Unreadable::Auth)?;
        let decoded = String::from_utf8(decoded).map_err(|_| Unreadable::Auth)?;
        let (before, after) = decoded.split_once(':').ok_or(Unreadable::Auth)?;
        (user, password) = (before.to_owned(), after.to_owned());
    }
    Ok(Credential { user, password, identity: entry.identitytoken, token: entry.registrytoken })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str) -> Credential {
        Credential { user: name.to_owned(), password: "secret".to_owned(), ..Default::default() }
    }

    #[test]
    fn the_credentials_of_the_nearest_place_come_first() {
        let entry = |name: &str| json!({ "username": name, "password": "secret" });
        let auth = BASE64.encode("coded:secret");
        let config = json!({ "auths": {
            "https://index.docker.io/v1/": entry("hub"),
            "ghcr.io": entry("anyone"),
            "ghcr.io/team": { "auth": auth },
            "*.example.com": entry("wild"),
            "registry.local:5000": entry("port"),
        }});
        let mut ring = Keyring::default();
        ring.add(Form::DockerConfigJson, config.to_string().as_bytes()).unwrap();
        let old = json!({ "quay.io/v2/": entry("old") }).to_string();
        ring.add(Form::Dockercfg, old.as_bytes()).unwrap();
        for (image, users) in [
            ("index.docker.io/library/nginx", &["hub"][..]),
            ("ghcr.io/team/app", &["coded", "anyone"]),
            ("ghcr.io/other", &["anyone"]),
            ("a.example.com/app", &["wild"]),
            ("a.b.example.com/app", &[]),
            ("registry.local:5000/app", &["port"]),
            ("registry.local/app", &[]),
            ("quay.io/app", &["old"]),
        ] {
            let expected: Vec<_> = users.iter().map(|it| user(it)).collect();
            let found: Vec<_> = ring.find(image).into_iter().cloned().collect();
            assert!(found == expected, "{image}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for (text, flaw) in [
            ("hunter2", Unreadable::Form),
            (r#"{"auths": {"a": {"password": ["hunter2"]}}}"#, Unreadable::Form),
            (r#"{"auths": {"a": {"auth": "aHVudGVyMg=="}}}"#, Unreadable::Auth),
        ] {
            let result = Keyring::default().add(Form::DockerConfigJson, text.as_bytes());
            assert_eq!(result, Err(flaw), "{text}");
            assert!(!flaw.to_string().contains("hunter2"));
        }
        let credential = Credential { password: "hunter2".into(), ..Default::default() };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}
