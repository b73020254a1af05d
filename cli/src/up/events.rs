//! Events in one process with the gateway: what is sent to the platform's own hosts never leaves it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use eventing::{
    courier::Network,
    deliver::{Courier, Target},
    ingress::Ingress,
    job_sink::serve::JobSinks,
};
use http::{Request, Response, header};
use mesh::gateway::Gateway;
use proxy::{body::Body, hop::Boxed, serve::Handler};

/// Who requests of our own come from, as far as anybody asks.
pub const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Sends events: to a broker, channel or JobSink of this process, to what the gateway serves, to Services of the cluster, and
/// out into the network.
#[derive(Clone)]
pub struct Ways {
    ingress: Arc<OnceLock<Arc<Ingress>>>,
    job_sinks: Arc<JobSinks>,
    gateway: Arc<Gateway>,
    network: Network,
}

impl Ways {
    /// All ways but that to brokers and channels, which [`Ways::open`] opens.
    pub fn new(gateway: &Arc<Gateway>, network: Network, job_sinks: &Arc<JobSinks>) -> Ways {
        let (gateway, job_sinks) = (gateway.clone(), job_sinks.clone());
        Ways { ingress: Arc::default(), job_sinks, gateway, network }
    }

    /// Opens the way to brokers and channels.
    pub fn open(&self, ingress: &Arc<Ingress>) {
        // There is one for all time.
        let _ = self.ingress.set(ingress.clone());
    }
}

impl Courier for Ways {
    fn send(&self, to: &Target, request: Request<Body>) -> Boxed<io::Result<Response<Body>>> {
        if to.in_tls {
            return self.network.send(to, request);
        }
        if let Some(ingress) = self.ingress.get().filter(|it| it.serves(&to.host)) {
            let answer = ingress.answer(request, HERE);
            return Box::pin(async move { Ok(answer.await) });
        }
        if self.job_sinks.serves(&to.host) {
            let answer = self.job_sinks.answer(request);
            return Box::pin(async move { Ok(answer.await) });
        }
        match self.gateway.call(to.port, request) {
            Ok(answer) => Box::pin(async move { Ok(answer.await) }),
            Err(request) => self.network.send(to, *request),
        }
    }
}

/// Answers requests for brokers and channels by `ingress`, those for JobSinks by `job_sinks`, all others by `others`.
pub fn before(ingress: &Arc<Ingress>, job_sinks: &Arc<JobSinks>, others: Handler) -> Handler {
    let (ingress, job_sinks) = (ingress.clone(), job_sinks.clone());
    Arc::new(move |request, from| {
        let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
        match host.unwrap_or_default() {
            host if ingress.serves(host) => ingress.answer(request, from),
            host if job_sinks.serves(host) => job_sinks.answer(request),
            _ => others(request, from),
        }
    })
}
