//! Serves the routing table: route, set headers, hand on.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use api::{headers, networking::Ingress};
use arc_swap::ArcSwap;
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use proxy::{
    body::Body,
    hop::{Backend, Boxed, Protocol, Reply, Upstream, plain},
    serve::Handler,
    tls,
};
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    trust::Trust,
};

use crate::{
    certificates::Certificates,
    pick,
    services::{Services, Target},
    table::{self, Path, Site, Table, To, Visibility},
};

/// Parts of the table, each replaced by itself: a change copies one part in this many.
const PARTS: usize = 256;
/// Sites that one request may pass through. A domain leads to a route, and a route to revisions.
const SITES: usize = 4;

const REVISION: HeaderName = HeaderName::from_static(headers::REVISION);
const NAMESPACE: HeaderName = HeaderName::from_static(headers::NAMESPACE);
const PROXY_REQUEST: HeaderName = HeaderName::from_static(headers::PROXY_REQUEST);
const ORIGINAL_HOST: HeaderName = HeaderName::from_static(headers::ORIGINAL_HOST);
const PASSTHROUGH_LB: HeaderName = HeaderName::from_static(headers::PASSTHROUGH_LB);
const PROBE: HeaderName = HeaderName::from_static(headers::PROBE);
const HASH: HeaderName = HeaderName::from_static(headers::HASH);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The port of URLs that begin with `https` and name none.
pub const HTTPS: u16 = 443;

/// Where requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Plain HTTP from clients outside the cluster. Those who shall come in TLS are sent to this port.
    Plain { https: u16 },
    /// TLS from clients outside the cluster.
    Tls,
    /// Plain HTTP from clients inside the cluster.
    Inside,
    /// TLS from clients inside the cluster.
    InsideTls,
}

/// The gateway of a cluster.
pub struct Gateway {
    routes: Routes,
    certificates: Certificates,
    ingresses: Cache<Ingress>,
    /// Takes requests for revisions; none for their Services' endpoints.
    backend: Option<Arc<dyn Backend>>,
    services: Services,
    /// Counts requests that are split, for want of randomness.
    draws: AtomicU64,
}

/// The table as it changes. Readers never wait.
struct Routes {
    parts: Vec<ArcSwap<Table>>,
    hasher: RandomState,
    /// What each Ingress has in the table. Held while the table changes.
    sites: Mutex<HashMap<Key, Vec<Arc<Site>>>>,
}

impl Gateway {
    /// A gateway for the Ingresses of `cluster`. Requests for revisions go to `backend`, those for
    /// other Services to their endpoints by `upstream`; without a backend all go to endpoints, to those of
    /// revisions in TLS where `trust` says so.
    pub fn new(
        cluster: &Cluster,
        backend: Option<Arc<dyn Backend>>,
        upstream: Arc<dyn Upstream>,
        trust: Option<Trust>,
    ) -> Arc<Gateway> {
        let ingresses = cluster.cache::<Ingress>();
        let gateway = Arc::new(Gateway {
            routes: Routes::new(),
            certificates: Certificates::new(cluster),
            ingresses: ingresses.clone(),
            backend,
            services: Services::new(cluster, upstream, trust),
            draws: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&gateway);
        ingresses.on_change(move |change| {
            let Some(gateway) = weak.upgrade() else { return };
            let key = Key::of(&**change.last());
            let sites = match change.new {
                None => Vec::new(),
                Some(ingress) => match table::sites(ingress) {
                    Ok(sites) => sites,
                    Err(problem) => {
                        // What was served before goes on: a mistake must not take a service away.
                        tracing::warn!(ingress = %key, %problem, "keep the routes as they were");
                        return;
                    }
                },
            };
            gateway.routes.set(key, sites);
        });
        gateway
    }

    /// Waits until the table is complete.
    pub async fn synced(&self) {
        self.ingresses.synced().await;
        self.services.synced().await;
        self.certificates.synced().await;
    }

    /// Whether the table is complete.
    pub fn is_synced(&self) -> bool {
        self.ingresses.is_synced()
    }

    /// What answers requests on a listener.
    pub fn handler(self: &Arc<Self>, door: Door) -> Handler {
        let gateway = self.clone();
        Arc::new(move |request, from| gateway.answer(door, request, from))
    }

    /// What shakes hands on the listeners of a door: with the certificate of the Ingress that serves the host to the
    /// clients of that door.
    pub fn tls(self: &Arc<Self>, door: Door) -> tls::Server {
        let gateway = self.clone();
        tls::Server::new(move |host| {
            let site = gateway.routes.find(host, door.visibility())?;
            // What is wrong with it stands in the status of the Ingress.
            gateway.certificates.find(site.secret.as_ref()?).ok()
        })
    }

    /// The certificates of the hosts.
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Sends a request of the platform's own to the host that it names: to what is served here, else to the Service of
    /// that name in the cluster, at `port`. Gives the request back if there is neither.
    pub fn call(
        self: &Arc<Self>,
        port: u16,
        request: Request<Body>,
    ) -> Result<Reply, Box<Request<Body>>> {
        if let Some(site) = self.site(Visibility::ClusterLocal, request.headers()) {
            return Ok(self.pass(&site, request, SITES));
        }
        let host = request.headers().get(header::HOST).and_then(|it| table::host(it.as_bytes()));
        let Some((name, namespace)) = host.and_then(service_name) else {
            return Err(Box::new(request));
        };
        match self.services.target(namespace, name, &IntOrString::Int(port.into())) {
            Target::Endpoints(endpoints, protocol) => {
                let gateway = self.clone();
                let turn = self.draws.fetch_add(1, Ordering::Relaxed) as usize;
                Ok(Box::pin(async move {
                    gateway.services.send(endpoints, protocol, None, request, turn).await
                }))
            }
            Target::Alias(..) | Target::Unknown => Err(Box::new(request)),
        }
    }

    /// The way of one request. Read it from top to bottom.
    fn answer(self: &Arc<Self>, door: Door, mut request: Request<Body>, from: SocketAddr) -> Reply {
        let Some(site) = self.site(door.visibility(), request.headers()) else {
            return at_once(unknown_host(request.headers(), self.is_synced()));
        };
        if request.headers().get(PROBE).is_some_and(|probe| probe == headers::PROBE_ANY) {
            return at_once(echo(&site, request.headers()));
        }
        if site.redirect
            && let Door::Plain { https } = door
        {
            return at_once(to_https(&site, https, &request));
        }
        // These are said between hops; a client's word for them is worth nothing.
        for name in [REVISION, NAMESPACE, PROXY_REQUEST, ORIGINAL_HOST, PASSTHROUGH_LB] {
            request.headers_mut().remove(name);
        }
        forwarded(request.headers_mut(), from, door);
        self.pass(&site, request, SITES)
    }

    /// Hands `request` to what is behind `site`.
    fn pass(self: &Arc<Self>, site: &Site, mut request: Request<Body>, sites_left: usize) -> Reply {
        let Some(path) = site.find(request.uri().path(), request.headers()) else {
            let why = format!("the host {:?} has nothing at {:?}", site.host, request.uri().path());
            return at_once(plain(StatusCode::NOT_FOUND, why));
        };
        let split = match &path.splits[..] {
            [only] => only,
            splits => {
                let random = pick::scramble(self.draws.fetch_add(1, Ordering::Relaxed));
                let weights = splits.iter().map(|split| split.percent);
                let chosen = pick::weighted(weights, random);
                &splits[chosen.expect("the table has no path without a weight")]
            }
        };
        let headers = request.headers_mut();
        for (name, value) in path.set.iter().chain(&split.set) {
            headers.insert(name.clone(), value.clone());
        }
        if headers.get(HASH).is_some_and(|hash| hash == "override") {
            headers.insert(HASH, site.hash.clone());
        }
        if let Some(host) = &path.rewrite_host {
            headers.insert(header::HOST, host.clone());
        }
        let mut identity = None;
        let (namespace, name, port) = match (&split.to, &self.backend) {
            (To::Revision(destination), Some(backend)) => {
                return backend.send(destination, request);
            }
            (To::Revision(to), None) => {
                if to.port == HTTPS {
                    identity = self.services.identity(&to.namespace);
                }
                (&to.namespace, &to.service, &IntOrString::Int(to.port.into()))
            }
            (To::Service { namespace, name, port }, _) => (namespace, name, port),
        };
        match self.services.target(namespace, name, port) {
            Target::Unknown => at_once(plain(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("there is no Service {namespace}/{name} with that port"),
            )),
            Target::Endpoints(endpoints, protocol) => {
                let turn = self.draws.fetch_add(1, Ordering::Relaxed) as usize;
                // Its name does not tell what is behind a port for TLS: both are taken there.
                let protocol = match identity.is_some() && request.version() == Version::HTTP_2 {
                    true => Protocol::H2c,
                    false => protocol,
                };
                let gateway = self.clone();
                Box::pin(async move {
                    gateway.services.send(endpoints, protocol, identity, request, turn).await
                })
            }
            Target::Alias(alias, port) => self.alias(path, alias, port, request, sites_left),
        }
    }

    /// Follows a Service that is another name: of one of our own hosts, or of one somewhere else.
    fn alias(
        self: &Arc<Self>,
        path: &Path,
        alias: String,
        port: u16,
        request: Request<Body>,
        sites_left: usize,
    ) -> Reply {
        if path.rewrite_host.is_some()
            && let Some(site) = self.site(Visibility::ClusterLocal, request.headers())
        {
            if sites_left == 0 {
                let why = "the hosts lead to each other in a circle".to_owned();
                return at_once(plain(StatusCode::LOOP_DETECTED, why));
            }
            return self.pass(&site, request, sites_left - 1);
        }
        let gateway = self.clone();
        Box::pin(async move {
            match tokio::net::lookup_host((alias.as_str(), port)).await {
                Ok(found) => {
                    let endpoints = found.collect();
                    gateway.services.send(endpoints, Protocol::Http1, None, request, 0).await
                }
                Err(error) => {
                    tracing::debug!(alias, %error, "resolve the external name of a Service");
                    let why = format!("the external name {alias:?} cannot be resolved");
                    plain(StatusCode::BAD_GATEWAY, why)
                }
            }
        })
    }

    fn site(&self, visibility: Visibility, headers: &HeaderMap) -> Option<Arc<Site>> {
        let host = table::host(headers.get(header::HOST)?.as_bytes())?;
        self.routes.find(host, visibility)
    }
}

/// The name and the namespace in the name that a Service has in the cluster's DNS.
fn service_name(host: &str) -> Option<(&str, &str)> {
    let (name, rest) = host.split_once('.')?;
    let (namespace, domain) = rest.split_once('.')?;
    (domain == "svc" || domain.starts_with("svc.")).then_some((name, namespace))
}

impl Door {
    fn visibility(self) -> Visibility {
        match self {
            Door::Plain { .. } | Door::Tls => Visibility::External,
            Door::Inside | Door::InsideTls => Visibility::ClusterLocal,
        }
    }
}

impl Routes {
    fn new() -> Routes {
        Routes {
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::new(),
            sites: Mutex::default(),
        }
    }

    fn find(&self, host: &str, visibility: Visibility) -> Option<Arc<Site>> {
        self.parts[self.part(host)].load().find(host, visibility).cloned()
    }

    /// Gives the Ingress `key` these sites in place of those that it had.
    fn set(&self, key: Key, new: Vec<Arc<Site>>) {
        let mut sites = self.sites.lock();
        let old = sites.remove(&key).unwrap_or_default();
        let mut changed: Vec<usize> =
            old.iter().chain(&new).map(|site| self.part(&site.host)).collect();
        changed.sort_unstable();
        changed.dedup();
        for part in changed {
            let of_part = |sites: &[Arc<Site>]| -> Vec<Arc<Site>> {
                sites.iter().filter(|site| self.part(&site.host) == part).cloned().collect()
            };
            let mut table = Table::clone(&self.parts[part].load());
            // In one step for readers: the host is never without a site in between.
            table.remove(&of_part(&old));
            table.add(&of_part(&new));
            self.parts[part].store(Arc::new(table));
        }
        if !new.is_empty() {
            sites.insert(key, new);
        }
    }

    fn part(&self, host: &str) -> usize {
        // Without regard to case, since `Table::find` has none either.
        let lower = |byte: u8| byte.to_ascii_lowercase();
        let sum = host.bytes().fold(self.hasher.hash_one(0u8), |sum, byte| {
            (sum ^ u64::from(lower(byte))).wrapping_mul(0x0000_0100_0000_01B3)
        });
        (sum >> 32) as usize % PARTS
    }
}

fn at_once(response: Response<Body>) -> Reply {
    let ready: Boxed<Response<Body>> = Box::pin(std::future::ready(response));
    ready
}

/// Says which version of the Ingress is served. Source: knative/networking `pkg/http/probe`.
fn echo(site: &Site, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    if let Some(hash) = headers.get(HASH) {
        let hash = if hash == "override" { &site.hash } else { hash };
        response.headers_mut().insert(HASH, hash.clone());
    }
    response
}

fn to_https(site: &Site, port: u16, request: &Request<Body>) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut response = plain(StatusCode::MOVED_PERMANENTLY, String::new());
    let location = match port {
        HTTPS => format!("https://{}{path}", site.host),
        port => format!("https://{}:{port}{path}", site.host),
    };
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn unknown_host(headers: &HeaderMap, synced: bool) -> Response<Body> {
    if !synced {
        let mut response = plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway does not know its routes yet".into(),
        );
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    }
    let why = match headers.get(header::HOST).and_then(|host| table::host(host.as_bytes())) {
        None => "the request names no host: add a Host header".to_owned(),
        Some(host) => format!(
            "no service has the host {host:?} here: `kubectl get ksvc -A` lists the hosts that there are\n"
        ),
    };
    plain(StatusCode::NOT_FOUND, why)
}

/// Says for whom the request is made, and how it came, as every proxy does.
fn forwarded(headers: &mut HeaderMap, from: SocketAddr, door: Door) {
    let mut value = BytesMut::with_capacity(48);
    if let Some(before) = headers.get(FORWARDED_FOR) {
        value.extend_from_slice(before.as_bytes());
        value.extend_from_slice(b", ");
    }
    let mut writer = value.writer();
    // Writing to memory cannot fail.
    let _ = match from {
        SocketAddr::V4(from) => write!(writer, "{}", from.ip()),
        SocketAddr::V6(from) => write!(writer, "{}", from.ip().to_canonical()),
    };
    if let Ok(value) = HeaderValue::from_maybe_shared(writer.into_inner().freeze()) {
        headers.insert(FORWARDED_FOR, value);
    }
    if matches!(door, Door::Tls | Door::InsideTls) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    } else if !headers.contains_key(FORWARDED_PROTO) {
        // A proxy before this one may have taken TLS off.
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

#[cfg(test)]
mod tests;
