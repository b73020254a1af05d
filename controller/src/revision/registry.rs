//! Asks the registries of images which bytes their tags name.
//!
//! Source: knative/serving `pkg/reconciler/revision/resolve.go`, google/go-containerregistry `pkg/v1/remote`.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use config::Config;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client};
use parking_lot::Mutex;
use proxy::fetch::{Trust, fetch};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use super::digest::{Question, Resolver};
use crate::image::{Reference, Which, is_digest};

mod answer;
pub mod authorities;
mod keyring;

use answer::{Bearer, Challenge, origin, redirected, refusal, shown};
use keyring::{Credential, Form, Keyring};

/// How we call ourselves.
const AGENT: &str = concat!("weft/", env!("CARGO_PKG_VERSION"), " (serving)");
/// Every kind of manifest there is: which of them a tag names is not our business.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v1+json,\
    application/vnd.docker.distribution.manifest.v1+prettyjws,\
    application/vnd.docker.distribution.manifest.v2+json,\
    application/vnd.oci.image.manifest.v1+json,\
    application/vnd.docker.distribution.manifest.list.v2+json,\
    application/vnd.oci.image.index.v1+json";
/// Largest answer that is read: registries refuse larger manifests.
const LARGEST: usize = 4 << 20;
/// Head start that HTTPS has before plain HTTP where that may be meant.
const HEAD_START: Duration = Duration::from_millis(300);
/// Waits before a request is sent again that may succeed then.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Longest chain of redirects, as Go's client has it.
const REDIRECTS: usize = 10;
/// Images that are asked for at once without a wait, and the pause between more of them: a cluster that starts anew
/// must not look like an attack. Source: knative/serving `pkg/reconciler/revision/controller.go`.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// The registries of the world, asked with the pull secrets of those who ask. Clones share their bounds.
#[derive(Clone)]
pub struct Registries {
    client: Client,
    trust: Arc<OnceLock<Trust>>,
    /// When the next image would be asked for, were there no bursts.
    next: Arc<Mutex<Option<Instant>>>,
}

/// Why there is no digest.
#[derive(Debug)]
struct Failed {
    /// For the status of who asks.
    text: String,
    /// Whether other credentials may help.
    is_denied: bool,
}

/// One image of one question.
struct Asking<'a> {
    trust: &'a Trust,
    image: &'a Reference,
    /// When it must have ended.
    until: Instant,
}

impl Registries {
    /// Registries that are asked with the secrets that `client` finds, and believed as this machine believes.
    pub fn new(client: Client) -> Registries {
        Registries { client, trust: Arc::default(), next: Arc::default() }
    }

    async fn digest(&self, question: Question, config: &Config) -> Result<Option<String>, String> {
        let text = &question.image;
        let image = Reference::parse(text)
            .map_err(|why| format!("failed to parse image name {text:?} into a tag: {why}"))?;
        if let Which::Digest(_) = image.which {
            return Ok(Some(text.clone()));
        }
        if config.deployment.registries_skipping_tag_resolving.contains(&image.registry) {
            return Ok(None);
        }
        self.turn().await;
        let until = Instant::now() + config.deployment.digest_resolution_timeout;
        let keyring = timeout_at(until, self.keyring(&question)).await;
        let keyring = keyring.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        let keyring =
            keyring.map_err(|why| format!("failed to initialize authentication: {why}"))?;
        let trust = self.trust.get_or_init(|| {
            let authorities = authorities::read();
            Trust::new(authorities.iter().map(Vec::as_slice))
        });
        let digest = Asking { trust, image: &image, until }.ask(&keyring).await?;
        Ok(Some(format!("{}@{digest}", image.name())))
    }

    /// Waits until one more image may be asked for.
    async fn turn(&self) {
        let at = {
            let (mut next, now) = (self.next.lock(), Instant::now());
            let at = next.unwrap_or(now).max(now);
            *next = Some(at + PAUSE);
            at
        };
        tokio::time::sleep_until(at.checked_sub(PAUSE * BURST).unwrap_or_else(Instant::now)).await;
    }

    /// The credentials of the pull secrets of who asks, and of its service account. Those that are not there are
    /// nobody's.
    async fn keyring(&self, question: &Question) -> Result<Keyring, String> {
        let namespace = &question.revision.namespace;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = match question.service_account.as_str() {
            "" => "default",
            name => name,
        };
        let account = accounts.get_opt(account).await.map_err(|error| error.to_string())?;
        let of_account = account.into_iter().flat_map(|it| it.image_pull_secrets).flatten();
        let names = question.pull_secrets.iter().cloned().chain(of_account.map(|it| it.name));
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut keyring = Keyring::default();
        for name in names {
            let secret = secrets.get_opt(&name).await.map_err(|error| error.to_string())?;
            let Some(secret) = secret else {
                tracing::warn!(%namespace, secret = %name, "there is no such pull secret; it is passed over");
                continue;
            };
            let form = secret.type_.as_deref().and_then(Form::of);
            let held = form.and_then(|form| Some((form, secret.data.as_ref()?.get(form.key())?)));
            if let Some((form, text)) = held.filter(|(_, text)| !text.0.is_empty()) {
                let added = keyring.add(form, &text.0);
                added.map_err(|why| format!("secret {namespace}/{name}: {why}"))?;
            }
        }
        Ok(keyring)
    }
}

impl Resolver for Registries {
    fn resolve(
        &self,
        question: Question,
        config: Arc<Config>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>> {
        let registries = self.clone();
        Box::pin(async move { registries.digest(question, &config).await })
    }
}

impl Failed {
    fn new(text: impl Into<String>) -> Failed {
        Failed { text: text.into(), is_denied: false }
    }

    /// The refusal that an answer is.
    fn of(method: &Method, url: &str, answer: &Response<Bytes>) -> Failed {
        let (status, body) = (answer.status(), answer.body());
        let text = refusal(method == Method::HEAD, status, body);
        Failed {
            text: format!("{method} {}: {text}", shown(url)),
            is_denied: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
        }
    }
}

impl Asking<'_> {
    /// The digest, asked for with each credential until one is good enough. The first refusal tells most.
    async fn ask(&self, keyring: &Keyring) -> Result<String, String> {
        let nobody = Credential::default();
        let mut credentials = keyring.find(&self.image.name());
        if credentials.is_empty() {
            credentials.push(&nobody);
        }
        let mut first: Option<Failed> = None;
        for credential in credentials {
            match self.ask_as(credential).await {
                Ok(digest) => return Ok(digest),
                Err(failed) => {
                    let is_denied = failed.is_denied;
                    first.get_or_insert(failed);
                    if !is_denied {
                        break;
                    }
                }
            }
        }
        Err(first.expect("somebody has asked").text)
    }

    async fn ask_as(&self, credential: &Credential) -> Result<String, Failed> {
        let (scheme, challenge) = self.greet().await?;
        let Which::Tag(tag) = &self.image.which else {
            return Err(Failed::new("the image is pinned already"));
        };
        let Reference { registry, repository, .. } = self.image;
        let url = format!("{scheme}://{registry}/v2/{repository}/manifests/{tag}");
        let mut scopes = vec![format!("repository:{repository}:pull")];
        let mut pass = self.pass(&challenge, &scopes, credential).await?;

        let mut answer = self.send(Method::HEAD, &url, pass.as_deref()).await?;
        if let Challenge::Bearer(bearer) = &challenge
            && answer.status() == StatusCode::UNAUTHORIZED
            && let Ok(Challenge::Bearer(Bearer { scope: Some(scope), .. })) = told(&answer)
        {
            // What it wants besides goes first, since some read only one.
            if !scopes.contains(&scope) {
                scopes.insert(0, scope);
            }
            pass = Some(self.token(bearer, &scopes, credential).await?);
            answer = self.send(Method::HEAD, &url, pass.as_deref()).await?;
        }
        let is_head_unknown = answer.status() == StatusCode::METHOD_NOT_ALLOWED;
        if answer.status() != StatusCode::OK && !is_head_unknown {
            return Err(Failed::of(&Method::HEAD, &url, &answer));
        }
        let digest = answer.headers().get("docker-content-digest");
        if let Some(digest) = digest.filter(|_| !is_head_unknown) {
            let digest = digest.to_str().unwrap_or_default();
            if !is_digest(digest) {
                return Err(Failed::new(format!("HEAD {url}: cannot parse hash: {digest:?}")));
            }
            return Ok(digest.to_owned());
        }
        // It does not tell: the sum of the manifest is the digest.
        let answer = self.send(Method::GET, &url, pass.as_deref()).await?;
        if answer.status() != StatusCode::OK {
            return Err(Failed::of(&Method::GET, &url, &answer));
        }
        let sum: String =
            Sha256::digest(answer.body()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{sum}"))
    }

    /// Finds out how the registry is spoken to. Where it may have no TLS, both ways are tried and the first that
    /// works is taken.
    async fn greet(&self) -> Result<(&'static str, Challenge), Failed> {
        let secure = self.greet_in("https");
        if !self.image.may_be_plain() {
            return secure.await;
        }
        let plain = async {
            sleep(HEAD_START).await;
            self.greet_in("http").await
        };
        let both =
            |first: Failed, second: Failed| Failed::new(format!("{}; {}", first.text, second.text));
        let (mut secure, mut plain) = (std::pin::pin!(secure), std::pin::pin!(plain));
        tokio::select! {
            answer = &mut secure => match answer {
                Ok(answer) => Ok(answer),
                // No head start for who has fallen.
                Err(first) => self.greet_in("http").await.map_err(|second| both(first, second)),
            },
            answer = &mut plain => match answer {
                Ok(answer) => Ok(answer),
                Err(second) => secure.await.map_err(|first| both(first, second)),
            },
        }
    }

    async fn greet_in(&self, scheme: &'static str) -> Result<(&'static str, Challenge), Failed> {
        let url = format!("{scheme}://{}/v2/", self.image.registry);
        let answer = self.send(Method::GET, &url, None).await?;
        match answer.status() {
            StatusCode::OK => Ok((scheme, Challenge::Open)),
            StatusCode::UNAUTHORIZED => Ok((scheme, told(&answer).map_err(Failed::new)?)),
            _ => Err(Failed::of(&Method::GET, &url, &answer)),
        }
    }

    /// The value of `Authorization` that meets a challenge, if the credential has one.
    async fn pass(
        &self,
        challenge: &Challenge,
        scopes: &[String],
        credential: &Credential,
    ) -> Result<Option<String>, Failed> {
        match challenge {
            Challenge::Bearer(bearer) => self.token(bearer, scopes, credential).await.map(Some),
            Challenge::Open | Challenge::Basic => {
                let token = credential.token().map(|it| format!("Bearer {it}"));
                Ok(token.or_else(|| credential.basic()))
            }
        }
    }

    /// A token, as `Authorization` carries it.
    async fn token(
        &self,
        bearer: &Bearer,
        scopes: &[String],
        credential: &Credential,
    ) -> Result<String, Failed> {
        if let Some(token) = credential.token() {
            return Ok(format!("Bearer {token}"));
        }
        let mut exchanged = None;
        if let Some(identity) = credential.identity() {
            let form = answer::token_form(bearer, scopes, identity, AGENT);
            let answer = self.send_form(&bearer.realm, form).await?;
            // Who does not know the exchange may yet know users.
            if answer.status() != StatusCode::NOT_FOUND {
                exchanged = Some((Method::POST, bearer.realm.clone(), answer));
            }
        }
        let (method, url, answer) = match exchanged {
            Some(exchanged) => exchanged,
            None => {
                let url = answer::token_url(bearer, scopes);
                let answer = self.send(Method::GET, &url, credential.basic().as_deref()).await?;
                (Method::GET, url, answer)
            }
        };
        if answer.status() != StatusCode::OK {
            return Err(Failed::of(&method, &url, &answer));
        }
        // Never with the answer's text, which may be a secret.
        let token = answer::token(answer.body()).ok_or_else(|| {
            Failed::new(format!("no token in bearer response of {}", shown(&url)))
        })?;
        Ok(format!("Bearer {token}"))
    }

    /// Sends a request and follows redirects; what it is authorized by goes to the host that it is for, and to no
    /// other.
    async fn send(
        &self,
        method: Method,
        url: &str,
        pass: Option<&str>,
    ) -> Result<Response<Bytes>, Failed> {
        let (home, mut url) = (origin(url), url.to_owned());
        for _ in 0..=REDIRECTS {
            let mut request = Request::builder().method(method.clone()).uri(&url);
            request = request.header(header::ACCEPT, MANIFESTS);
            if let Some(pass) = pass.filter(|_| origin(&url) == home) {
                let mut value = HeaderValue::from_str(pass)
                    .map_err(|_| Failed::new("the credentials are no text for a header"))?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            let request = request.body(Bytes::new());
            let request =
                request.map_err(|error| Failed::new(format!("parse {url:?}: {error}")))?;
            let answer = self.send_patiently(&request, &url).await?;
            let location = answer.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
            match location
                .filter(|_| matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308))
            {
                Some(location) => url = redirected(&url, location),
                None => return Ok(answer),
            }
        }
        Err(Failed::new(format!(
            "{} {:?}: stopped after {REDIRECTS} redirects",
            titled(&method),
            shown(&url)
        )))
    }

    async fn send_form(&self, url: &str, form: String) -> Result<Response<Bytes>, Failed> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form));
        let request = request.map_err(|error| Failed::new(format!("parse {url:?}: {error}")))?;
        self.send_patiently(&request, url).await
    }

    /// Sends a request, and again a little later where that may help and there is time.
    async fn send_patiently(
        &self,
        request: &Request<Bytes>,
        url: &str,
    ) -> Result<Response<Bytes>, Failed> {
        let mut waits = WAITS.into_iter();
        loop {
            let mut once = request.clone();
            once.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
            let sent = timeout_at(self.until, fetch(self.trust, once, LARGEST)).await;
            let sent = sent.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "context deadline exceeded"))
            });
            if let Some(wait) = waits.next()
                && let Some(wait) = retry_after(&sent, wait)
                && Instant::now() + wait < self.until
            {
                sleep(wait).await;
                continue;
            }
            let method = titled(request.method());
            return sent.map_err(|why| Failed::new(format!("{method} {:?}: {why}", shown(url))));
        }
    }
}

/// How the registry wants to be asked, as it has told.
fn told(answer: &Response<Bytes>) -> Result<Challenge, String> {
    let values = answer.headers().get_all(header::WWW_AUTHENTICATE);
    answer::challenge(values.iter().filter_map(|it| it.to_str().ok()))
}

/// How long to wait before what was sent in vain is sent again; nothing where it would be in vain again.
fn retry_after(sent: &io::Result<Response<Bytes>>, wait: Duration) -> Option<Duration> {
    match sent {
        Ok(answer) => match answer.status().as_u16() {
            429 | 503 => {
                let told = answer.headers().get(header::RETRY_AFTER);
                let told = told.and_then(|it| it.to_str().ok()?.trim().parse().ok());
                Some(told.map_or(wait, Duration::from_secs))
            }
            // The last two are nginx's and Cloudflare's own.
            408 | 500 | 502 | 504 | 499 | 522 => Some(wait),
            _ => None,
        },
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
        )
        .then_some(wait),
    }
}

/// The method as Go's client begins its errors.
fn titled(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
