//! The addresses of Services, for pods: connections to them are taken in the router and passed on to a ready
//! endpoint, by this process.
//!
//! Every address of the Services' range is local in the router, so one listener for each port number that
//! any Service has is enough, and no packet filter is needed. TCP only: name servers are the one use of UDP
//! that pods commonly have, and they have one in [`crate::dns`].

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as StdStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use parking_lot::RwLock;
use runtime::cluster::{Key, cache::Cache};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

use crate::node::{Shared, reach};

/// Connections at once through all Services; more wait in the listeners' backlogs. Each takes two
/// descriptors and 16 KiB while bytes move.
const AT_ONCE: usize = 2048;
/// The label of a slice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Listens for all Services until `stop` is cancelled.
pub async fn serve(node: Arc<Shared>, stop: CancellationToken) {
    let services: Cache<Service> = node.cluster.cache();
    let relay = Arc::new(Relay {
        slices: node.cluster.cache(),
        services: services.clone(),
        owners: RwLock::default(),
        turn: AtomicUsize::new(0),
        places: Arc::new(Semaphore::new(AT_ONCE)),
        node,
    });
    let mut changes = services.changes();
    let mut known = Known::default();
    let mut listeners: HashMap<u16, AbortHandle> = HashMap::new();
    loop {
        let keys = tokio::select! {
            keys = changes.next() => keys,
            () = stop.cancelled() => break,
        };
        for key in keys {
            let seen = services.at(&key).and_then(|it| address_and_ports(&it));
            let before = known.set(&key, seen.clone());
            let mut owners = relay.owners.write();
            if let Some((address, _)) = before {
                owners.remove(&address);
            }
            if let Some((address, _)) = seen {
                owners.insert(address, key);
            }
        }
        listeners.retain(|port, listener| {
            let wanted = known.ports.contains_key(port);
            if !wanted {
                listener.abort();
            }
            wanted
        });
        for port in known.ports.keys() {
            if listeners.contains_key(port) {
                continue;
            }
            match relay.clone().listen(*port) {
                Ok(listener) => drop(listeners.insert(*port, listener)),
                Err(error) => tracing::warn!(port, %error, "listen for Services"),
            }
        }
    }
    listeners.into_values().for_each(|it| it.abort());
}

/// The Services that have an address, and how many of them use each port.
#[derive(Default)]
struct Known {
    services: HashMap<Key, (Ipv4Addr, Vec<u16>)>,
    ports: BTreeMap<u16, usize>,
}

impl Known {
    /// Puts what is known of a Service in place of what was, which is given back.
    fn set(
        &mut self,
        key: &Key,
        now: Option<(Ipv4Addr, Vec<u16>)>,
    ) -> Option<(Ipv4Addr, Vec<u16>)> {
        for port in now.iter().flat_map(|it| &it.1) {
            *self.ports.entry(*port).or_default() += 1;
        }
        let before = match now {
            Some(now) => self.services.insert(key.clone(), now),
            None => self.services.remove(key),
        };
        for port in before.iter().flat_map(|it| &it.1) {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                }
            }
        }
        before
    }
}

fn address_and_ports(service: &Service) -> Option<(Ipv4Addr, Vec<u16>)> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.as_deref()?.parse().ok()?;
    let ports = spec.ports.iter().flatten().filter(|it| tcp(it));
    Some((address, ports.filter_map(|it| u16::try_from(it.port).ok()).collect()))
}

fn tcp(port: &ServicePort) -> bool {
    port.protocol.as_deref().is_none_or(|it| it == "TCP")
}

struct Relay {
    node: Arc<Shared>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    /// The Service that has an address.
    owners: RwLock<HashMap<Ipv4Addr, Key>>,
    /// Grows with each connection, so that they go round the endpoints.
    turn: AtomicUsize,
    places: Arc<Semaphore>,
}

impl Relay {
    fn listen(self: Arc<Self>, port: u16) -> io::Result<AbortHandle> {
        let Some(network) = &self.node.network else {
            return Err(io::Error::other("no router in host mode"));
        };
        let listener = network.listen(Ipv4Addr::UNSPECIFIED, port)?;
        Ok(tokio::spawn(self.accept(listener)).abort_handle())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let relay = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = relay.pass_on(stream).await {
                            tracing::debug!(%error, "pass on a connection to a Service");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept a connection to a Service");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Dropping the stream where there is no endpoint is what a client sees as a refused connection.
    async fn pass_on(&self, mut stream: TcpStream) -> io::Result<()> {
        const BUFFER: usize = 8 << 10;
        let SocketAddr::V4(asked) = stream.local_addr()? else { return Ok(()) };
        let endpoints = self.endpoints(*asked.ip(), asked.port());
        // The first answer counts; each endpoint is tried once.
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..endpoints.len() {
            let to = endpoints[(first + offset) % endpoints.len()];
            if let Ok(mut other) = self.connect(to).await {
                let _ = stream.set_nodelay(true); // A connection that cannot be tuned still works.
                let _ = other.set_nodelay(true);
                let copied = tokio::io::copy_bidirectional_with_sizes(
                    &mut stream,
                    &mut other,
                    BUFFER,
                    BUFFER,
                );
                return copied.await.map(drop);
            }
        }
        Ok(())
    }

    /// The ready endpoints behind a Service's address and port.
    fn endpoints(&self, address: Ipv4Addr, port: u16) -> Vec<SocketAddr> {
        let Some(key) = self.owners.read().get(&address).cloned() else { return Vec::new() };
        let Some(service) = self.services.at(&key) else { return Vec::new() };
        let mut ports = service.spec.iter().flat_map(|it| it.ports.iter().flatten());
        let Some(port) = ports.find(|it| tcp(it) && it.port == i32::from(port)) else {
            return Vec::new();
        };
        let slices = self.slices.labelled(&key.namespace, SERVICE_LABEL, &key.name);
        slices.iter().flat_map(|slice| behind(slice, port)).collect()
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let (Some(network), IpAddr::V4(address)) = (&self.node.network, to.ip()) else {
            return TcpStream::connect(to).await;
        };
        if !network.range.contains(address) {
            // Not a pod of this node: something on the machine or beyond.
            return TcpStream::connect(to).await;
        }
        if let Some(pod) = self.node.pods.get(to.ip()) {
            pod.open_queue()?;
        }
        let socket: StdStream = network.visit(reach::new_socket)?;
        TcpSocket::from_std_stream(socket).connect(to).await
    }
}

/// The ready addresses of a slice for one port of its Service.
fn behind(slice: &EndpointSlice, port: &ServicePort) -> Vec<SocketAddr> {
    let name = port.name.as_deref().unwrap_or_default();
    let mut ports = slice.ports.iter().flatten();
    let found =
        ports.find(|it| it.name.as_deref().unwrap_or_default() == name).and_then(|it| it.port);
    let number = match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        _ => Some(port.port),
    };
    let Some(number) = found.or(number).and_then(|it| u16::try_from(it).ok()) else {
        return Vec::new();
    };
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|it| it.conditions.as_ref().and_then(|it| it.ready) != Some(false));
    let addresses = ready.flat_map(|it| &it.addresses).filter_map(|it| it.parse::<IpAddr>().ok());
    addresses.map(|it| SocketAddr::new(it, number)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn counts_the_ports_that_services_use() {
        let mut known = Known::default();
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        let at = |last: u8, ports: &[u16]| Some((Ipv4Addr::new(10, 96, 0, last), ports.to_vec()));
        known.set(&a, at(1, &[80, 443]));
        known.set(&b, at(2, &[80]));
        assert_eq!(known.ports, BTreeMap::from([(80, 2), (443, 1)]));
        known.set(&a, at(1, &[80]));
        assert_eq!(known.ports, BTreeMap::from([(80, 2)]));
        known.set(&a, None);
        known.set(&b, None);
        assert!(known.ports.is_empty() && known.services.is_empty());
    }

    #[test]
    fn finds_what_is_behind_a_port() {
        let slice = json!({"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]},
        ]});
        check(
            &slice,
            json!({"name": "http", "port": 80, "targetPort": "web"}),
            "10.0.0.1:8080 10.0.0.3:8080",
        );
        check(
            &slice,
            json!({"name": "other", "port": 80, "targetPort": 81}),
            "10.0.0.1:81 10.0.0.3:81",
        );
        check(&json!({"addressType": "IPv4", "endpoints": []}), json!({"port": 80}), "");
    }

    #[track_caller]
    fn check(slice: &Value, port: Value, expected: &str) {
        let slice = serde_json::from_value(slice.clone()).unwrap();
        let found = behind(&slice, &serde_json::from_value(port).unwrap());
        assert_eq!(found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "), expected);
    }
}
