//! The network of the pods, for a node that runs as root: a namespace for each pod, joined by a router.
//!
//! The router is a network namespace too. In it live a bridge that the pods hang on, the address ranges of
//! Services (every address of them is local there, so that a listener made in the router gets what pods send
//! to any Service), and one link to the machine, by which pods reach the internet. Everything goes when its
//! last holder goes: after a `kill -9` the kernel has removed router, pods and links as soon as the pods'
//! processes are gone. Two platforms have two routers and never see each other.

use std::{collections::HashSet, fs, io, net::Ipv4Addr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
};

use crate::node::{
    namespace::{self, Kind, Namespace},
    netlink::{self, Masquerade, Range, Socket},
    spare::{self, Places, Spares},
};

/// Addresses of one platform: /20, 4,094 of them. They are given out in a circle, so that an address is not
/// used again while someone may still hold an old endpoint.
const PREFIX: u8 = 20;
/// The first of them for pods; those before it are the router's.
const FIRST_POD: u32 = 3;
/// Platforms on one machine: 10.244.0.0 to 10.251.240.0 in steps of /20.
const PLATFORMS: u32 = 128;
const FIRST: u32 = u32::from_be_bytes([10, 244, 0, 0]);

/// The network of one platform.
pub struct Network {
    /// The addresses of the pods.
    pub range: Range,
    /// The router's address on the bridge: the pods' name server and way to the gateway.
    pub router: Ipv4Addr,
    /// An address of the router that pods and the machine reach: what clients outside the cluster call.
    pub outside: Ipv4Addr,
    /// Whether packets from pods leave the machine.
    pub internet: Result<(), String>,
    home: Arc<Namespace>,
    router_namespace: Namespace,
    spare: Spares<PodNetwork>,
    _masquerade: Option<Masquerade>,
}

/// The namespaces and the address of one pod; they go when this is dropped and the last process has ended.
pub struct PodNetwork {
    pub address: Ipv4Addr,
    network: Namespace,
    hostname: Namespace,
    home: Arc<Namespace>,
    taken: Arc<Mutex<HashSet<u32>>>,
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.address.into());
    }
}

impl PodNetwork {
    /// Moves the calling thread into the pod's network and host name, which becomes `hostname`.
    pub fn enter(&self, hostname: &str) -> io::Result<()> {
        self.network.enter()?;
        self.hostname.enter()?;
        Ok(rustix::system::sethostname(hostname.as_bytes())?)
    }

    /// Runs `act`, which makes sockets, in the pod's network.
    pub fn visit<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.network.visit(&self.home, act)
    }
}

impl Network {
    /// Builds the router; fails where the process may not (not root, or namespaces are switched off).
    /// Pods can reach every address of `services` in the router.
    pub async fn start(services: Range) -> io::Result<Self> {
        let (tell, built) = oneshot::channel();
        std::thread::Builder::new().name("weft-network".to_owned()).spawn(move || {
            match Builder::new(services) {
                Err(error) => drop(tell.send(Err(error))),
                Ok((mut builder, network, places)) => {
                    if tell.send(Ok(network)).is_ok() {
                        places.fill("a pod's network", || builder.pod());
                    }
                }
            }
        })?;
        built.await.map_err(|_| io::Error::other("the network thread ended"))?
    }

    /// A pod's network, made ahead or now.
    pub async fn pod(&self) -> io::Result<PodNetwork> {
        self.spare.take().await
    }

    /// Runs `act`, which makes sockets, in the router.
    pub fn visit<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.router_namespace.visit(&self.home, act)
    }
}

impl Network {
    /// Listens on `port` of an address of the router. Listening on one address and on all addresses of a port
    /// go together; the former is preferred.
    pub fn listen(&self, address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
        /// Connections that wait to be accepted, as the kernel's own limit has it.
        const BACKLOG: u32 = 4096;
        let socket = self.visit(TcpSocket::new_v4)?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind((address, port).into())?;
        socket.listen(BACKLOG)
    }
}

/// What the network thread keeps.
struct Builder {
    links: Socket,
    bridge: u32,
    range: Range,
    home: Arc<Namespace>,
    taken: Arc<Mutex<HashSet<u32>>>,
    last: u32,
}

impl Builder {
    fn new(services: Range) -> io::Result<(Self, Network, Places<PodNetwork>)> {
        let home = Arc::new(Namespace::current(Kind::Network)?);
        let mut machine = Socket::route()?;
        let in_use = machine.ranges_in_use()?;

        let router_namespace = namespace::new_network()?;
        let mut links = Socket::route()?;
        let loopback = links.link_index("lo")?;
        links.set_up(loopback)?;
        set("net/ipv4/ip_forward", "1")?;
        quiet_ipv6();
        let (range, name) = join(&mut machine, &router_namespace, &in_use)?;
        let address = |offset: u32| Ipv4Addr::from(u32::from(range.address) + offset);
        let router = address(1);
        // As container networks have it: locally administered, with the address in it.
        let [a, b, c, d] = router.octets();
        links.add_bridge("pods", [0x0a, 0x58, a, b, c, d])?;
        let bridge = links.link_index("pods")?;
        links.add_address(bridge, Range { address: router, prefix: PREFIX })?;
        let front = address(2);
        links.add_address(bridge, Range { address: front, prefix: 32 })?;
        links.add_local_range(services, loopback)?;

        // The last four addresses are the link between router and machine.
        let size = 1u32 << (32 - PREFIX);
        let (outside, inside) = (address(size - 3), address(size - 2));
        let uplink = links.link_index("uplink")?;
        links.set_up(uplink)?;
        links.add_address(uplink, Range { address: inside, prefix: 30 })?;
        // Pods take the machine's end of the link for a neighbour on their bridge: the router answers for it.
        set("net/ipv4/conf/pods/proxy_arp", "1")?;
        let everything = Range { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };
        links.add_route(everything, outside)?;
        let outer = machine.link_index(&name)?;
        machine.add_address(outer, Range { address: outside, prefix: 30 })?;
        machine.add_route(range, inside)?;
        let translated = home.visit(&home, || {
            // Forwarding is a switch of the whole machine; without it nothing leaves.
            let on = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|it| it.trim() == "1");
            if !on {
                set("net/ipv4/ip_forward", "1")?;
            }
            netlink::masquerade(&name, range)
        });
        router_namespace.enter()?;
        let (masquerade, internet) = match translated {
            Ok(masquerade) => (Some(masquerade), Ok(())),
            Err(error) => (None, Err(format!("translate the pods' addresses: {error}"))),
        };

        let taken = Arc::new(Mutex::new(HashSet::new()));
        let (places, spare) = spare::spares();
        let last = FIRST_POD - 1;
        let builder = Self { links, bridge, range, home: home.clone(), taken, last };
        let network = Network {
            range,
            router,
            outside: front,
            internet,
            home,
            router_namespace,
            spare,
            _masquerade: masquerade,
        };
        Ok((builder, network, places))
    }

    fn pod(&mut self) -> io::Result<PodNetwork> {
        let address = self.free_address()?;
        let network = namespace::new_network()?;
        let hostname = namespace::new_hostname()?;
        let made = PodNetwork {
            address,
            network,
            hostname,
            home: self.home.clone(),
            taken: self.taken.clone(),
        };
        let mut links = Socket::route()?;
        links.set_up(1)?;
        quiet_ipv6();
        // As container engines do: a process that is not root may listen on any port of its own network.
        set("net/ipv4/ip_unprivileged_port_start", "0")?;
        let port = format!("pod{}", u32::from(address) - u32::from(self.range.address));
        self.links.add_pair(&port, Some(self.bridge), "eth0", made.network.fd())?;
        let link = links.link_index("eth0")?;
        links.set_up(link)?;
        links.add_address(link, Range { address, prefix: PREFIX })?;
        let router = Ipv4Addr::from(u32::from(self.range.address) + 1);
        links.add_route(Range { address: Ipv4Addr::UNSPECIFIED, prefix: 0 }, router)?;
        Ok(made)
    }

    /// The next address after the last one given out.
    fn free_address(&mut self) -> io::Result<Ipv4Addr> {
        let last = (1u32 << (32 - PREFIX)) - 5;
        let base = u32::from(self.range.address);
        let mut taken = self.taken.lock();
        for _ in 0..last {
            self.last = if self.last >= last { FIRST_POD } else { self.last + 1 };
            if taken.insert(base + self.last) {
                return Ok(Ipv4Addr::from(base + self.last));
            }
        }
        Err(io::Error::other("every address of the pods' range is in use"))
    }
}

/// Links machine and router; the link's name on the machine is the claim on a range. Gives both.
fn join(machine: &mut Socket, router: &Namespace, in_use: &[Range]) -> io::Result<(Range, String)> {
    for platform in 0..PLATFORMS {
        let address = Ipv4Addr::from(FIRST + (platform << (32 - PREFIX)));
        let range = Range { address, prefix: PREFIX };
        if in_use.iter().any(|other| other.overlaps(range)) {
            continue;
        }
        let name = format!("weft{platform}");
        match machine.add_pair(&name, None, "uplink", router.fd()) {
            Ok(()) => return Ok((range, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("every range for pods in 10.244.0.0/14 and 10.248.0.0/14 is in use"))
}

/// Links made after this have no IPv6: each would send neighbour discovery that nobody answers. The loopback
/// link keeps it, so that programs which listen on `[::]` work.
fn quiet_ipv6() {
    // Absent where the kernel has no IPv6: then there is nothing to switch off.
    let _ = set("net/ipv6/conf/default/disable_ipv6", "1");
}

/// Writes a kernel setting of the calling thread's network namespace.
fn set(name: &str, value: &str) -> io::Result<()> {
    let file = format!("/proc/sys/{name}");
    fs::write(&file, value)
        .map_err(|error| io::Error::new(error.kind(), format!("write {file}: {error}")))
}
