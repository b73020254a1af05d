//! How this process reaches the pods: sockets made in their networks, and the queues that it runs for them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as Socket},
    sync::{Arc, OnceLock},
};

use http::{Request, Response};
use parking_lot::{Mutex, RwLock};
use proxy::{
    body::Body,
    drain,
    hop::{Boxed, Dial, Protocol, SendError, Upstream},
    queue::{Queue, role},
    serve,
    tls::Shown,
    upstream::{self, Peer, Pool},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::node::network::PodNetwork;

/// One pod, its queue if it has one, and connections to its other ports.
pub struct Reach {
    pub door: Arc<Door>,
    pub queue: OnceLock<Arc<Queue>>,
    /// What the queue shows to those who call it in TLS; unset where it takes no TLS.
    pub shown: OnceLock<Shown>,
    /// Set while the queue also listens on its ports; closed with the pod.
    listening: OnceLock<drain::Count>,
    /// The same, of its port for metrics.
    measuring: OnceLock<drain::Count>,
    /// Connections to ports that are not the queue's, by port: as many as ports that others know of.
    peers: Mutex<HashMap<u16, Arc<Peer>>>,
}

/// The way to one pod's ports.
pub struct Door {
    pub address: Ipv4Addr,
    /// None in host mode: then the pod's address is a name only, and its ports are the machine's.
    pub network: Option<Arc<PodNetwork>>,
    /// In host mode, the machine's port that a container was given in place of the one its pod names.
    given: Mutex<HashMap<u16, u16>>,
}

impl Reach {
    /// A pod in a network of its own.
    pub fn isolated(network: PodNetwork) -> Self {
        Self::new(network.address, Some(Arc::new(network)))
    }

    /// A pod on the machine's network, known to this process by `address`.
    pub fn on_host(address: Ipv4Addr) -> Self {
        Self::new(address, None)
    }

    fn new(address: Ipv4Addr, network: Option<Arc<PodNetwork>>) -> Self {
        let door = Arc::new(Door { address, network, given: Mutex::default() });
        Self {
            door,
            queue: OnceLock::new(),
            shown: OnceLock::new(),
            listening: OnceLock::new(),
            measuring: OnceLock::new(),
            peers: Mutex::default(),
        }
    }

    /// Makes the queue, if there is one, listen on its ports in the pod's network too: for connections that
    /// do not come from this process's own gateway. Stays open from the first call to the pod's end.
    pub fn open_queue(&self) -> io::Result<()> {
        let (Some(queue), Some(network)) = (self.queue.get(), &self.door.network) else {
            return Ok(());
        };
        if self.listening.get().is_some() {
            return Ok(());
        }
        let mut listeners = Vec::new();
        let plain = serve::Settings::default();
        let mut ports =
            vec![(api::queue::HTTP_PORT, plain.clone()), (api::queue::H2C_PORT, plain.clone())];
        if let Some(shown) = self.shown.get() {
            let server = role::server(shown.clone(), queue.settings());
            ports.push((api::queue::TLS_PORT, serve::Settings { tls: Some(server), ..plain }));
        }
        for (port, settings) in ports {
            let listener =
                network.visit(|| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
            listener.set_nonblocking(true)?;
            listeners.push((TcpListener::from_std(listener)?, settings));
        }
        let drain = drain::Count::default();
        if self.listening.set(drain.clone()).is_err() {
            // Another connection opened it meanwhile.
            return Ok(());
        }
        for (listener, settings) in listeners {
            let queue = queue.clone();
            let handler: serve::Handler =
                Arc::new(move |request, from| queue.handle_from(request, from));
            tokio::spawn(serve::serve(listener, handler, settings, drain.clone()));
        }
        Ok(())
    }

    /// Makes the queue, if it measures requests, listen on its port for metrics in the pod's network. Pods that share
    /// the machine's network have no address at which that could be asked.
    pub fn open_metrics(&self) -> io::Result<()> {
        let (Some(queue), Some(network)) = (self.queue.get(), &self.door.network) else {
            return Ok(());
        };
        if !queue.settings().request_metrics {
            return Ok(());
        }
        let port = api::queue::METRICS_PORT;
        let listener =
            network.visit(|| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let drain = drain::Count::default();
        if self.measuring.set(drain.clone()).is_err() {
            return Ok(());
        }
        let queue = queue.clone();
        let handler: serve::Handler = Arc::new(move |request, _| queue.answer_metrics(&request));
        tokio::spawn(serve::serve(listener, handler, serve::Settings::default(), drain));
        Ok(())
    }

    /// Ends what is kept open for the pod.
    pub fn close(&self) {
        self.peers.lock().clear();
        if let Some(measuring) = self.measuring.get() {
            measuring.close();
        }
        if let Some(listening) = self.listening.get() {
            listening.close();
        }
    }
}

impl Door {
    /// In host mode, the machine's port that stands for `port`: a free one, the same for the pod's life.
    pub fn give_port(&self, port: u16) -> io::Result<u16> {
        if let Some(given) = self.given.lock().get(&port) {
            return Ok(*given);
        }
        // Free a moment later still, unless someone asks the kernel for this very number.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        self.given.lock().insert(port, free);
        Ok(free)
    }

    /// Connects to `port` on the pod's own address, as its neighbours would.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match &self.network {
            None => self.dial(port).await,
            Some(network) => {
                let socket = TcpSocket::from_std_stream(network.visit(new_socket)?);
                socket.connect(SocketAddr::from((self.address, port))).await
            }
        }
    }

    /// Sends requests to `port` of the pod over connections of its own.
    pub fn peer(self: &Arc<Self>, port: u16, settings: upstream::Settings) -> Arc<Peer> {
        let door = self.clone();
        Peer::new(settings, move || {
            let door = door.clone();
            Box::pin(async move { door.connect(port).await })
        })
    }
}

impl Dial for Door {
    fn dial(&self, port: u16) -> Boxed<io::Result<TcpStream>> {
        let socket = self.network.as_ref().map(|network| network.visit(new_socket));
        let port = self.given.lock().get(&port).copied().unwrap_or(port);
        Box::pin(async move {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            match socket {
                None => TcpStream::connect(address).await,
                Some(socket) => TcpSocket::from_std_stream(socket?).connect(address).await,
            }
        })
    }
}

/// A TCP socket of the calling thread's network namespace, not connected yet.
pub fn new_socket() -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    Ok(Socket::from(socket))
}

/// A pod whose queue runs: from here on it can be asked whether it is ready.
pub struct Queued<'a> {
    pub settings: &'a api::queue::Settings,
    pub address: Ipv4Addr,
    pub pod_uid: &'a str,
}

/// Told of each queue when it begins to run (true), and when it takes no more requests.
pub type Listener = Box<dyn Fn(&Queued, bool) + Send + Sync>;

/// The pods of the node by address; sends requests to them without leaving the process where they have a
/// queue.
pub struct Pods {
    by_address: RwLock<HashMap<IpAddr, Arc<Reach>>>,
    listener: OnceLock<Listener>,
    /// For addresses that are not of this node's pods.
    others: Pool,
}

impl Pods {
    /// No pods yet.
    pub fn new() -> Self {
        Self {
            by_address: RwLock::default(),
            listener: OnceLock::new(),
            others: Pool::new(upstream::Settings::default()),
        }
    }

    /// Makes a pod reachable.
    pub fn add(&self, pod: Arc<Reach>) {
        self.by_address.write().insert(pod.door.address.into(), pod);
    }

    /// Requests for the pod fail from now on, unsent.
    pub fn remove(&self, pod: &Reach) {
        self.by_address.write().remove(&pod.door.address.into());
    }

    /// Tells `listener` of queues from now on. Of all calls, the first counts.
    pub fn on_queue(&self, listener: impl Fn(&Queued, bool) + Send + Sync + 'static) {
        // Set once, when the platform is put together.
        let _ = self.listener.set(Box::new(listener));
    }

    /// Passes on that a queue began to run, or ended.
    pub fn tell(&self, queue: &Queued, runs: bool) {
        if let Some(listener) = self.listener.get() {
            listener(queue, runs);
        }
    }

    /// The pod with that address.
    pub fn get(&self, address: IpAddr) -> Option<Arc<Reach>> {
        self.by_address.read().get(&address).cloned()
    }
}

impl Default for Pods {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream for Pods {
    fn send(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        let Some(pod) = self.get(to.ip()) else {
            return self.others.send(to, protocol, request);
        };
        if let Some(queue) = pod.queue.get()
            && matches!(to.port(), api::queue::HTTP_PORT | api::queue::H2C_PORT)
        {
            let reply = queue.handle(request);
            return Box::pin(async move { Ok(reply.await) });
        }
        let peer = {
            let mut peers = pod.peers.lock();
            let new = || pod.door.peer(to.port(), upstream::Settings::default());
            peers.entry(to.port()).or_insert_with(new).clone()
        };
        Box::pin(async move { peer.send(protocol, request).await })
    }

    fn probe(&self, to: SocketAddr) -> Boxed<bool> {
        let Some(pod) = self.get(to.ip()) else {
            return self.others.probe(to);
        };
        match pod.queue.get() {
            Some(queue) => queue.probe(),
            None => Box::pin(async move { pod.door.connect(to.port()).await.is_ok() }),
        }
    }

    fn dial(&self, to: SocketAddr) -> Boxed<io::Result<TcpStream>> {
        let Some(pod) = self.get(to.ip()) else {
            return self.others.dial(to);
        };
        Box::pin(async move {
            pod.open_queue()?;
            pod.door.connect(to.port()).await
        })
    }
}
