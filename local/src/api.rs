//! The API server: one request in, one answer out.
//!
//! [`Api`] is a tower service. In the process it is given to `kube::Client::new`; [`crate::serve`] puts it on a port.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use parking_lot::RwLock;
use runtime::clock::Clock;

use crate::figures::Figures;
use crate::kinds::Registry;
use crate::logs::Logs;
use crate::store::{self, Store};
use answer::{Body, Style};
use query::Query;
use status::{Refusal, Status};
use user::User;

pub mod admit;
mod allocate;
pub mod answer;
mod authorize;
mod call;
mod claims;
mod create;
mod definitions;
mod delete;
mod discovery;
mod health;
mod limits;
mod namespaces;
mod negotiate;
mod openapi;
mod path;
mod pods;
pub mod proxied;
pub mod query;
mod quota;
mod read;
mod recent;
mod reviews;
mod roles;
mod scale;
pub mod status;
pub mod tokens;
mod update;
mod usage;
pub mod user;
mod view;
mod watch;
mod yaml;

/// The longest request body, as upstream.
const LONGEST_BODY: usize = 3 << 20;

/// How the API server is set up.
pub struct Options {
    /// Where objects are kept; without it they live as long as the process.
    pub data: Option<PathBuf>,
    /// Tells the time.
    pub clock: Clock,
    /// Addresses of Services come from here: the network and the length of its prefix.
    pub service_network: (Ipv4Addr, u8),
}

impl Options {
    /// An API server that keeps nothing.
    pub fn in_memory(clock: Clock) -> Options {
        Options { data: None, clock, service_network: (Ipv4Addr::new(10, 96, 0, 0), 16) }
    }
}

/// The API server, as one user sees it. Cloning is cheap; all clones are the same server.
#[derive(Clone)]
pub struct Api {
    server: Arc<Server>,
    user: Arc<User>,
    /// Objects are told without their managed fields.
    is_slim: bool,
}

/// What all clones share.
pub struct Server {
    pub(crate) store: Store,
    pub(crate) recent: recent::Recent,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) tokens: tokens::Tokens,
    pub(crate) network: allocate::Network,
    pub(crate) allocated: allocate::Known,
    pub(crate) admission: RwLock<Option<admit::Admission>>,
    pub(crate) logs: RwLock<Option<Arc<dyn Logs>>>,
    pub(crate) services: RwLock<Option<proxied::Services>>,
    pub(crate) figures: RwLock<Option<Arc<dyn Figures>>>,
}

impl Api {
    /// Opens the store and serves what is in it.
    pub fn open(options: Options) -> Result<Api, store::disk::Error> {
        let store = match &options.data {
            Some(directory) => Store::open(&directory.join("store"))?,
            None => Store::in_memory(),
        };
        let (network, prefix) = options.service_network;
        let tokens = tokens::Tokens::open(options.data.as_deref())?;
        let server = Server {
            store,
            recent: recent::Recent::default(),
            registry: Registry::new(),
            clock: options.clock,
            tokens,
            network: allocate::Network::new(network, prefix),
            allocated: allocate::Known::default(),
            admission: RwLock::new(None),
            logs: RwLock::new(None),
            services: RwLock::new(None),
            figures: RwLock::new(None),
        };
        definitions::load(&server);
        namespaces::begin(&server);
        roles::begin(&server);
        Ok(Api { server: Arc::new(server), user: Arc::new(User::platform()), is_slim: false })
    }

    /// A client in this process, as the platform itself. It sees objects without their managed fields, which are half
    /// of what there is to read, and which controllers have no use for.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(Api { is_slim: true, ..self.clone() }, "default")
    }

    /// The same server as another user sees it.
    pub fn as_user(&self, user: User) -> Api {
        Api { server: self.server.clone(), user: Arc::new(user), is_slim: self.is_slim }
    }

    /// The newest revision of the store.
    pub fn revision(&self) -> u64 {
        self.server.store.revision()
    }

    /// The token that makes its bearer an administrator.
    pub fn admin_token(&self) -> &str {
        self.server.tokens.admin()
    }

    /// Sets what is asked before Knative's objects are stored.
    pub fn set_admission(&self, admission: admit::Admission) {
        *self.server.admission.write() = Some(admission);
    }

    /// Sets who gives the output of containers.
    pub fn set_logs(&self, logs: Arc<dyn Logs>) {
        *self.server.logs.write() = Some(logs);
    }

    /// Sets who measures what pods and nodes use.
    pub fn set_figures(&self, figures: Arc<dyn Figures>) {
        *self.server.figures.write() = Some(figures);
    }

    /// Sets who answers for the platform's own Services.
    pub fn set_services(&self, services: proxied::Services) {
        *self.server.services.write() = Some(services);
    }

    /// Who makes a request: the bearer of its token. None when that is nobody known, and when there is no token
    /// for a path that is not open to everyone.
    pub fn identify(&self, path: &str, authorization: Option<&str>) -> Option<User> {
        let Some(header) = authorization else {
            return is_open(path).then(User::anonymous);
        };
        let token =
            header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "))?.trim();
        self.server.tokens.user(token, self.server.clock.now(), &self.server.store)
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let has_body = !matches!(parts.method, Method::GET | Method::HEAD);
        let body = if has_body {
            Limited::new(body, LONGEST_BODY).collect().await.map(|body| body.to_bytes())
        } else {
            Ok(Bytes::new())
        };
        let style = plain_style(&parts);
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (parts.method.clone(), parts.uri.clone(), tokio::time::Instant::now()));
        let response = match body {
            Ok(body) => self
                .answer(parts, body)
                .await
                .unwrap_or_else(|refusal| answer::refusal(style, &refusal)),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                answer::refusal(style, &Status::too_large(&format!("limit is {LONGEST_BODY}")))
            }
            Err(_) => {
                answer::refusal(style, &Status::bad_request("the request's body ended early"))
            }
        };
        if let Some((method, uri, begin)) = asked {
            let (status, took) = (response.status().as_u16(), begin.elapsed());
            tracing::debug!(%method, %uri, status, ?took, "answered");
        }
        response
    }

    async fn answer(&self, parts: Parts, body: Bytes) -> Result<Response<Body>, Refusal> {
        let server = &*self.server;
        let path = parts.uri.path();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let style = plain_style(&parts);
        if health::is_health(path) {
            return Ok(health::answer(path, &query));
        }
        let user = authorize::impersonated(server, &self.user, &parts, &query)?;
        let target = path::parse(path);
        authorize::check(server, &user, &parts, &query, target.as_ref())?;
        let target = match target {
            Some(target) if !target.resource.is_empty() => target,
            other => return discovery::answer(server, &parts, &query, other.as_ref(), style),
        };
        if proxied::is_proxied(&target) {
            let services = server.services.read().clone();
            return proxied::answer(services, target, parts, body).await;
        }
        match call::Call::find(server, user, target, parts, query, body)? {
            call::Found::Nothing(response) => Ok(response),
            call::Found::Call(mut call) => {
                call.form.is_slim = self.is_slim;
                let result = call.run(&self.server).await;
                let mut response =
                    result.unwrap_or_else(|refusal| answer::refusal(call.style(), &refusal));
                answer::warn(&mut response, &call.warnings);
                Ok(response)
            }
        }
    }
}

/// Whether a path is answered without a token, as kube-apiserver answers it where all else needs one: load balancers
/// and clients ask for health and version before they log in.
fn is_open(path: &str) -> bool {
    health::is_health(path) || path.trim_end_matches('/') == "/version"
}

/// The form of an answer that is not an object: from what the client accepts and the query.
fn plain_style(parts: &Parts) -> Style {
    let accept = parts
        .headers
        .get(http::header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let form = negotiate::choose(accept, || true, |_| true).unwrap_or_default();
    Style { encoding: form.encoding, pretty: call::pretty(parts) || form.pretty }
}

impl<B> tower::Service<Request<B>> for Api
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
            let response = api.handle(request).await;
            if writes {
                // A caller in this process would go on without a pause, and who waits for the news would wait for it.
                tokio::task::yield_now().await;
            }
            Ok(response)
        })
    }
}

/// A name in the store: `group/plural`.
pub(crate) fn resource_of(kind: &crate::kinds::Kind) -> String {
    format!("{}/{}", kind.storage.group, kind.storage.plural)
}

/// A key in the store.
pub(crate) fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// A time as Kubernetes writes it.
pub(crate) fn seconds(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
