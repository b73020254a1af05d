//! Sends requests to Services that are not revisions, through their endpoints.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Request, Response, StatusCode};
use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use parking_lot::Mutex;
use proxy::{
    body::Body,
    hop::{Protocol, SendError, Upstream, plain},
    tls::client::Identity,
    upstream::Secured,
};
use runtime::{
    cluster::{Cluster, cache::Cache},
    trust::Trust,
};

/// The label by which endpoint slices name their Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Endpoints that are tried for one request: one may have gone away just now, hardly three.
const ATTEMPTS: usize = 3;

/// The Services of a cluster and how busy their endpoints are.
pub struct Services {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    upstream: Arc<dyn Upstream>,
    /// For those who are called in TLS and must show who they are.
    secured: Option<(Trust, Secured)>,
    /// Requests in flight by address; those without any are absent.
    busy: Arc<Busy>,
}

type Busy = Mutex<HashMap<SocketAddr, usize>>;

/// Where a Service leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// To these endpoints, which are ready.
    Endpoints(Vec<SocketAddr>, Protocol),
    /// To another name.
    Alias(String, u16),
    /// Nowhere: there is no such Service or port.
    Unknown,
}

/// A request in flight to an address, until dropped.
struct Sent {
    busy: Arc<Busy>,
    to: SocketAddr,
}

impl Services {
    /// Follows the Services of `cluster`. Queues and activators are called in TLS where `trust` says so.
    pub fn new(cluster: &Cluster, upstream: Arc<dyn Upstream>, trust: Option<Trust>) -> Services {
        let secured = trust.map(|it| {
            let secured = Secured::new(it.client.clone(), upstream.clone());
            (it, secured)
        });
        Services {
            secured,
            services: cluster.cache(),
            slices: cluster.cache(),
            upstream,
            busy: Arc::default(),
        }
    }

    /// Waits until the Services and their endpoints are known.
    pub async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
    }

    /// Where `port` of the Service leads.
    pub fn target(&self, namespace: &str, name: &str, port: &IntOrString) -> Target {
        let Some(service) = self.services.get(namespace, name) else { return Target::Unknown };
        let slices = self.slices.labelled(namespace, SERVICE_NAME, name);
        target(&service, &slices, port)
    }

    /// Sends `request` to the endpoint with the fewest requests in flight, and to the next where one
    /// takes no connection. `turn` decides between those that are equally busy. With an identity the
    /// endpoint must show in TLS that it has it.
    pub async fn send(
        &self,
        mut endpoints: Vec<SocketAddr>,
        protocol: Protocol,
        identity: Option<Identity>,
        mut request: Request<Body>,
        turn: usize,
    ) -> Response<Body> {
        for _ in 0..ATTEMPTS {
            let Some(sent) = self.take(&mut endpoints, turn) else {
                return text(StatusCode::SERVICE_UNAVAILABLE, "the service has no ready endpoint");
            };
            let sending = match (&identity, &self.secured) {
                (Some(who), Some((_, secured))) => secured.send(sent.to, who, protocol, request),
                _ => self.upstream.send(sent.to, protocol, request),
            };
            match sending.await {
                Ok(response) => return response.map(|body| body.holding(sent)),
                Err(SendError::NotSent { request: again, cause }) => {
                    tracing::debug!(to = %sent.to, %cause, "an endpoint takes no connection");
                    request = *again;
                }
                Err(SendError::Lost { cause }) => {
                    tracing::debug!(to = %sent.to, %cause, "an endpoint does not answer");
                    let why = "the service closed the connection before it answered";
                    return text(StatusCode::BAD_GATEWAY, why);
                }
            }
        }
        text(StatusCode::BAD_GATEWAY, "no endpoint of the service accepts connections")
    }

    /// Who the endpoints of a revision of `namespace` must be, if they are called in TLS.
    pub fn identity(&self, namespace: &str) -> Option<Identity> {
        let (trust, _) = self.secured.as_ref()?;
        trust.is_enabled().then(|| Identity::queue_or_activator(namespace))
    }

    fn take(&self, endpoints: &mut Vec<SocketAddr>, turn: usize) -> Option<Sent> {
        let mut busy = self.busy.lock();
        let at = least(endpoints.iter().map(|to| busy.get(to).copied().unwrap_or(0)), turn)?;
        let to = endpoints.swap_remove(at);
        *busy.entry(to).or_default() += 1;
        Some(Sent { busy: self.busy.clone(), to })
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut busy = self.busy.lock();
        if let Some(count) = busy.get_mut(&self.to) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.to);
            }
        }
    }
}

/// The index of the least count; of several, the one whose turn it is.
fn least(counts: impl ExactSizeIterator<Item = usize> + Clone, turn: usize) -> Option<usize> {
    let length = counts.len();
    let least = counts.clone().min()?;
    let equal = counts.clone().filter(|count| *count == least).count();
    let chosen = turn % equal;
    let found = counts.enumerate().filter(|(_, count)| *count == least).nth(chosen);
    debug_assert!(length > 0);
    found.map(|(index, _)| index)
}

/// Where `port` of `service` leads, by its slices.
fn target(service: &Service, slices: &[Arc<EndpointSlice>], port: &IntOrString) -> Target {
    let Some(spec) = &service.spec else { return Target::Unknown };
    if spec.type_.as_deref() == Some("ExternalName") {
        let port = match port {
            IntOrString::Int(port) => u16::try_from(*port).ok().filter(|port| *port > 0),
            IntOrString::String(_) => None,
        };
        let name = spec.external_name.clone().unwrap_or_default();
        return Target::Alias(name, port.unwrap_or(80));
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let wanted = |candidate: &&ServicePort| match port {
        IntOrString::Int(number) => candidate.port == *number,
        IntOrString::String(name) => candidate.name.as_deref() == Some(name),
    };
    let Some(port) = ports.iter().find(wanted) else { return Target::Unknown };
    let name = port.name.as_deref().unwrap_or_default();
    let h2c = matches!(name, "h2c" | "http2" | "http2-h2c")
        || matches!(port.app_protocol.as_deref(), Some("kubernetes.io/h2c"));
    let mut endpoints = Vec::new();
    for slice in slices {
        let numbers = slice.ports.iter().flatten();
        let named = numbers.filter(|port| port.name.as_deref().unwrap_or_default() == name);
        let Some(number) = named.filter_map(|port| port.port).next() else { continue };
        let Ok(number) = u16::try_from(number) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            // Absent means ready (the API's own words).
            if conditions.and_then(|it| it.ready).unwrap_or(true) {
                let addresses = endpoint.addresses.iter();
                let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
                endpoints.extend(addresses.map(|address| SocketAddr::new(address, number)));
            }
        }
    }
    let protocol = if h2c { Protocol::H2c } else { Protocol::Http1 };
    Target::Endpoints(endpoints, protocol)
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    plain(status, text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_least_busy_is_chosen_and_equals_take_turns() {
        for (counts, turn, wanted) in [
            (&[][..], 0, None),
            (&[5], 3, Some(0)),
            (&[2, 1, 3], 0, Some(1)),
            (&[1, 1, 1], 0, Some(0)),
            (&[1, 1, 1], 4, Some(1)),
            (&[1, 0, 0], 1, Some(2)),
        ] {
            assert_eq!(least(counts.iter().copied(), turn), wanted, "{counts:?} {turn}");
        }
    }

    #[test]
    fn a_port_leads_to_its_ready_endpoints() {
        let service = |spec: Value| -> Service {
            serde_json::from_value(json!({"spec": spec})).expect("a Service")
        };
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "h2c", "port": 8081}],
            "endpoints": [
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
            ],
        }))
        .expect("a slice");
        let plain = service(json!({"ports": [
            {"name": "http", "port": 80}, {"name": "h2c", "port": 81}, {"name": "none", "port": 82}]}));
        let alias = service(json!({"type": "ExternalName", "externalName": "other.example"}));
        let addresses =
            |port: u16| vec![([10, 0, 0, 1], port).into(), ([10, 0, 0, 3], port).into()];
        for (service, port, wanted) in [
            (&plain, IntOrString::Int(80), Target::Endpoints(addresses(8080), Protocol::Http1)),
            (
                &plain,
                IntOrString::String("http".into()),
                Target::Endpoints(addresses(8080), Protocol::Http1),
            ),
            (&plain, IntOrString::Int(81), Target::Endpoints(addresses(8081), Protocol::H2c)),
            (&plain, IntOrString::Int(82), Target::Endpoints(Vec::new(), Protocol::Http1)),
            (&plain, IntOrString::Int(83), Target::Unknown),
            (&alias, IntOrString::Int(8080), Target::Alias("other.example".into(), 8080)),
            (&alias, IntOrString::String("http".into()), Target::Alias("other.example".into(), 80)),
        ] {
            assert_eq!(target(service, &[Arc::new(slice.clone())], &port), wanted, "{port:?}");
        }
    }
}
