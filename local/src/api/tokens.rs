//! Who bears which token: the administrator's, and those of service accounts.
//!
//! A service account's token is a JSON web token signed with a key of this data directory; nobody else can check it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::{self, Body};
use super::call::Call;
use super::query;
use super::seconds;
use super::status::{Refusal, Status};
use super::user::User;
use super::{Server, resource_of, view};
use crate::store::{Store, disk};

/// The audience of tokens that name none.
pub const AUDIENCE: &str = "https://kubernetes.default.svc";
/// Seconds that a token lives when the request does not say.
const LIFE: i64 = 3600;

/// The secrets of this server.
pub struct Tokens {
    admin: String,
    key: Vec<u8>,
}

impl Tokens {
    /// Reads the secrets from a directory, or makes them.
    pub fn open(directory: Option<&Path>) -> Result<Tokens, disk::Error> {
        let secret = |name: &str| match directory {
            None => Ok(random()),
            Some(directory) => kept(&directory.join(name)),
        };
        Ok(Tokens { admin: secret("token")?, key: secret("service-account.key")?.into_bytes() })
    }

    /// The administrator's token.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Who bears a token that is made for this API.
    pub fn user(&self, token: &str, now: Timestamp, store: &Store) -> Option<User> {
        self.bearer(token, &[AUDIENCE], now, store).map(|(user, _)| user)
    }

    /// Who bears a token, and those of `audiences` that it is made for; nobody if it is for none of them.
    pub fn bearer<'a>(
        &self,
        token: &str,
        audiences: &[&'a str],
        now: Timestamp,
        store: &Store,
    ) -> Option<(User, Vec<&'a str>)> {
        // Digests are compared, so that the time taken tells nothing of the token.
        if Sha256::digest(token.as_bytes()) == Sha256::digest(self.admin.as_bytes()) {
            return Some((User::admin(), audiences.to_vec()));
        }
        let claims = self.claims(token)?;
        let made_for = claims["aud"].as_array()?;
        let is_for = |it: &&&str| made_for.iter().any(|of| of.as_str() == Some(**it));
        let audiences: Vec<_> = audiences.iter().filter(is_for).copied().collect();
        if audiences.is_empty() {
            return None;
        }
        if claims["exp"].as_i64()? < now.as_second() {
            return None;
        }
        let account = &claims["kubernetes.io"];
        let (namespace, name) =
            (account["namespace"].as_str()?, account["serviceaccount"]["name"].as_str()?);
        let uid = account["serviceaccount"]["uid"].as_str()?;
        let found = store.get("/serviceaccounts", &format!("{namespace}/{name}"))?;
        if found.value()["metadata"]["uid"] != uid {
            return None;
        }
        let mut user = service_account(namespace, name);
        user.uid = uid.to_owned();
        let id = format!("JTI={}", claims["jti"].as_str().unwrap_or_default());
        user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![id]);
        Some((user, audiences))
    }

    /// The claims of a token that this server has signed.
    pub fn claims(&self, token: &str) -> Option<Value> {
        let (content, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if Sha256::digest(&signature) != Sha256::digest(hmac(&self.key, content.as_bytes())) {
            return None;
        }
        let (_, claims) = content.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let content = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(hmac(&self.key, content.as_bytes()));
        format!("{content}.{signature}")
    }
}

/// The user of a service account.
pub fn service_account(namespace: &str, name: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ],
        ..User::default()
    }
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], content: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |byte: u8| block.map(|one| one ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(content).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

fn random() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// A secret in a file that only its owner can read.
fn kept(path: &Path) -> Result<String, disk::Error> {
    let failed = |doing: &'static str| {
        let path = path.to_owned();
        move |source| disk::Error::Io { doing, path, source }
    };
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let secret = random();
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("write"))?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&temporary, path).map_err(failed("write"))?;
    Ok(secret)
}

/// Answers a token request of a service account.
pub fn request(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = query::write_options(&call.query, "CreateOptions")?;
    let server: &Server = call.server;
    let object =
        server.store.get(&resource_of(&call.kind), &call.key()).ok_or_else(|| call.not_found())?;
    let account = view::value_of(&call.kind, &object);
    let (mut value, _) = call.body_value("TokenRequest")?;
    let life = value["spec"]["expirationSeconds"].as_i64().unwrap_or(LIFE);
    if life < 600 {
        let cause = super::status::Cause::invalid(
            "spec.expirationSeconds",
            &json!(life),
            "may not specify a duration less than 10 minutes",
        );
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]));
    }
    let audiences = value["spec"]["audiences"]
        .as_array()
        .filter(|list| !list.is_empty())
        .cloned()
        .unwrap_or_else(|| vec![AUDIENCE.into()]);
    let end = call.now + SignedDuration::from_secs(life);
    let claims = json!({
        "aud": audiences, "exp": end.as_second(), "iat": call.now.as_second(), "nbf": call.now.as_second(),
        "iss": AUDIENCE, "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": {
            "namespace": call.path.namespace,
            "serviceaccount": {"name": call.path.name, "uid": account["metadata"]["uid"]},
        },
        "sub": format!("system:serviceaccount:{}:{}", call.path.namespace, call.path.name),
    });
    let token = if options.dry_run { String::new() } else { server.tokens.sign(&claims) };
    let bound = value["spec"]["boundObjectRef"].take();
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.path.name, "namespace": call.path.namespace, "uid": account["metadata"]["uid"], "creationTimestamp": seconds(call.now)},
        "spec": {"audiences": audiences, "expirationSeconds": life, "boundObjectRef": bound},
        "status": {"token": token, "expirationTimestamp": seconds(end)},
    });
    Ok(answer::value(201, call.style(), &answer))
}
