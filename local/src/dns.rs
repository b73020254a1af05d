//! The cluster's name server, for pods: names of Services are answered here, all others by the machine's own
//! name servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use runtime::cluster::{Cluster, cache::Cache};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::dns::{
    message::{Answer, Query},
    names::{Found, Kind, Names},
};

pub mod message;
pub mod names;

/// Queries in work at once; more are not read until one is done, and clients ask again.
const AT_ONCE: usize = 512;
/// Wait for the machine's name server, each of them.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest message over UDP that is taken from clients or other servers.
const LARGEST: usize = 4096;
/// Idle time of a client's TCP connection.
const IDLE: Duration = Duration::from_secs(10);
/// The label of a slice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// How names are answered.
pub struct Settings {
    /// `cluster.local`.
    pub domain: String,
    /// Where the gateway takes requests for Knative's hosts.
    pub gateway: Ipv4Addr,
    /// Whom to ask for names that are not the cluster's.
    pub forward_to: Vec<SocketAddr>,
}

/// The name servers in the text of a `resolv.conf`.
pub fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|it| it.trim().parse::<IpAddr>().ok());
    addresses.map(|it| SocketAddr::new(it, 53)).collect()
}

/// Answers on both sockets until `stop` is cancelled.
pub async fn serve(
    cluster: &Cluster,
    settings: Settings,
    udp: UdpSocket,
    tcp: TcpListener,
    stop: CancellationToken,
) {
    let server = Arc::new(Server {
        services: cluster.cache(),
        slices: cluster.cache(),
        pods: cluster.cache(),
        udp,
        settings,
        places: Arc::new(Semaphore::new(AT_ONCE)),
    });
    tokio::select! {
        () = server.clone().datagrams() => {}
        () = server.connections(tcp) => {}
        () = stop.cancelled() => {}
    }
}

struct Server {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    pods: Cache<Pod>,
    settings: Settings,
    udp: UdpSocket,
    places: Arc<Semaphore>,
}

impl Server {
    async fn datagrams(self: Arc<Self>) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            let (length, from) = match self.udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An answer to a client that has gone comes back as an error.
                    tracing::debug!(%error, "receive a DNS query");
                    continue;
                }
            };
            let (server, query) = (self.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                if let Some(answer) = server.answer(&query, from.ip(), false).await {
                    // A client that has gone needs no answer.
                    let _ = server.udp.send_to(&answer, from).await;
                }
                drop(place);
            });
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        // Ends when the client does or says nothing for a while.
                        let _ = server.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept a DNS connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let from = stream.peer_addr()?.ip();
        loop {
            let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
            let mut query = vec![0; usize::from(length)];
            tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
            let Some(answer) = self.answer(&query, from, true).await else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
        }
    }

    /// The answer to a query; none to what is no query.
    async fn answer(&self, bytes: &[u8], from: IpAddr, stream: bool) -> Option<Vec<u8>> {
        let query = Query::read(bytes)?;
        let found = names::find(&query.name, &self.settings.domain, self);
        let answer = match found {
            Found::Foreign if self.is_own_name(&query.name, from) => match from {
                IpAddr::V4(address) => Answer::Addresses(vec![address]),
                IpAddr::V6(_) => Answer::Addresses(Vec::new()),
            },
            Found::Foreign => {
                return self.forward(bytes, stream).await.or_else(|| Some(query.failed()));
            }
            Found::Missing => Answer::Missing,
            Found::Addresses(addresses) => Answer::Addresses(addresses),
            Found::Alias(name) => {
                // Most clients expect the alias's addresses in the same answer.
                let asked = query.asking_for(&name);
                let addresses =
                    self.forward(&asked, stream).await.map(|it| message::addresses(&it));
                Answer::Alias(name, addresses.unwrap_or_default())
            }
        };
        Some(query.answer(&answer))
    }

    /// Whether the pod at `from` asks for its own host name, as programs do that look themselves up.
    fn is_own_name(&self, name: &str, from: IpAddr) -> bool {
        if name.contains('.') {
            return false;
        }
        let from = from.to_string();
        self.pods.all().iter().any(|pod| {
            let hostname = pod.spec.as_ref().and_then(|it| it.hostname.as_ref());
            let own = hostname.or(pod.metadata.name.as_ref());
            own.is_some_and(|own| own.get(..63).unwrap_or(own) == name)
                && pod.status.as_ref().and_then(|it| it.pod_ip.as_ref()) == Some(&from)
        })
    }

    /// The answer of the first of the machine's name servers that gives one.
    async fn forward(&self, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        for server in &self.settings.forward_to {
            let asked = async {
                if stream { ask_by_stream(*server, query).await } else { ask(*server, query).await }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "forward a DNS query"),
                Err(_) => tracing::debug!(%server, "a name server does not answer"),
            }
        }
        None
    }
}

async fn ask(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        // Something else with another number may have been on its way.
        if answer[..length].get(..2) == query.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

impl Names for Server {
    fn service(&self, namespace: &str, name: &str) -> Option<Kind> {
        let service = self.services.get(namespace, name)?;
        let spec = service.spec.as_ref();
        let labels = service.metadata.labels.as_ref();
        if labels.is_some_and(|it| it.contains_key(api::keys::serving::ROUTE)) {
            // What a Route is known by in the cluster: its requests go to the gateway.
            return Some(Kind::At(self.settings.gateway));
        }
        if let Some(target) = spec.and_then(|it| it.external_name.as_ref())
            && spec.and_then(|it| it.type_.as_deref()) == Some("ExternalName")
        {
            return Some(Kind::Alias(target.to_ascii_lowercase()));
        }
        match spec.and_then(|it| it.cluster_ip.as_deref()) {
            Some("None") => Some(Kind::Pods),
            address => Some(address?.parse().map_or(Kind::Pods, Kind::At)),
        }
    }

    fn pods(&self, namespace: &str, service: &str) -> Vec<(Option<String>, Ipv4Addr)> {
        let unready_too = self.services.get(namespace, service).is_some_and(|it| {
            it.spec.as_ref().and_then(|it| it.publish_not_ready_addresses) == Some(true)
        });
        let mut found = Vec::new();
        for slice in self.slices.labelled(namespace, SERVICE_LABEL, service) {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|it| it.ready) != Some(false);
                if ready || unready_too {
                    let addresses = endpoint.addresses.iter().filter_map(|it| it.parse().ok());
                    found.extend(addresses.map(|it| (endpoint.hostname.clone(), it)));
                }
            }
        }
        found
    }
}
