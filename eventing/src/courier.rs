//! Sends requests to addresses that the system's resolver knows, in TLS where the URL says so.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use parking_lot::Mutex;
use proxy::{
    body::Body,
    fetch::{self, Trust},
    hop::{Protocol, SendError, Upstream},
    upstream::{Pool, Settings},
};
use tokio::time::Instant;

use crate::{
    deliver::{Courier, Target},
    log::{Boxed, RECORD_LIMIT},
};

/// How long an answer of the resolver is believed: as long as addresses of Services stay at the least.
const RESOLVED_FOR: Duration = Duration::from_secs(5);
/// Names that are remembered: more than subscribers usually have hosts.
const NAMES: usize = 1024;

/// Sends requests out into the network.
#[derive(Clone)]
pub struct Network {
    pool: Arc<dyn Upstream>,
    /// Authorities of the system, in PEM.
    authorities: Arc<[u8]>,
    names: Arc<Mutex<Names>>,
}

/// By host and port.
type Names = HashMap<(Arc<str>, u16), Resolved>;

/// What the resolver said of a name.
#[derive(Clone, Copy, Debug)]
struct Resolved {
    address: SocketAddr,
    until: Instant,
}

impl Network {
    /// Believes certificates of `authorities`, any number in PEM, besides those that a target names.
    pub fn new(authorities: &[u8]) -> Network {
        Network {
            pool: Arc::new(Pool::new(Settings::default())),
            authorities: authorities.into(),
            names: Arc::default(),
        }
    }

    /// An address of a host.
    async fn resolve(&self, to: &Target) -> io::Result<SocketAddr> {
        let key = (to.host.clone(), to.port);
        if let Some(known) = self.names.lock().get(&key)
            && Instant::now() < known.until
        {
            return Ok(known.address);
        }
        let found = tokio::net::lookup_host((&*to.host, to.port)).await;
        let address = found.ok().and_then(|mut it| it.next()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no such host: {}", to.host))
        })?;
        let mut names = self.names.lock();
        if names.len() >= NAMES {
            let now = Instant::now();
            names.retain(|_, it| now < it.until);
        }
        names.insert(key, Resolved { address, until: Instant::now() + RESOLVED_FOR });
        Ok(address)
    }

    async fn plain(&self, to: Target, request: Request<Body>) -> io::Result<Response<Body>> {
        let address = self.resolve(&to).await?;
        match self.pool.send(address, Protocol::Http1, request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                if let SendError::NotSent { .. } = error {
                    // It may have moved.
                    self.names.lock().remove(&(to.host, to.port));
                }
                Err(io::Error::other(error.to_string()))
            }
        }
    }

    async fn in_tls(&self, to: Target, request: Request<Body>) -> io::Result<Response<Body>> {
        use http_body_util::BodyExt;
        let own = to.ca_certs.as_deref().map(str::as_bytes);
        let trust = Trust::new(own.into_iter().chain([&*self.authorities]));
        let (mut head, body) = request.into_parts();
        head.uri = to.url.parse().map_err(io::Error::other)?;
        let body = body.collect().await?.to_bytes();
        let response = fetch::fetch(&trust, Request::from_parts(head, body), RECORD_LIMIT).await?;
        Ok(response.map(Body::full))
    }
}

impl Courier for Network {
    fn send(&self, to: &Target, request: Request<Body>) -> Boxed<io::Result<Response<Body>>> {
        let (network, to) = (self.clone(), to.clone());
        Box::pin(async move {
            match to.in_tls {
                false => network.plain(to, request).await,
                true => network.in_tls(to, request).await,
            }
        })
    }
}
