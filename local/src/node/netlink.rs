//! Speaks netlink to the kernel: links, addresses, routes and one address translation rule.
//!
//! Only what the node needs. A [`Socket`] belongs to the network namespace its thread was in when it was
//! made, wherever that thread goes afterwards.

use std::{io, net::Ipv4Addr, os::fd::OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{NETFILTER, SocketAddrNetlink},
    recv, send, socket_with,
};

// Message types and flags, from linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

// Link attributes, from linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// A netlink message under construction.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    fn with(mut self, payload: &[u8]) -> Self {
        self.bytes.extend_from_slice(payload);
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds an attribute whose value is what `fill` adds.
    fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        const NESTED: u16 = 0x8000;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A netlink socket in one network namespace.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// An IPv4 range: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Range {
    /// Whether the two ranges share an address.
    pub fn overlaps(self, other: Range) -> bool {
        let shift = 32 - u32::from(self.prefix.min(other.prefix));
        let cut = |address: Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
        cut(self.address) == cut(other.address)
    }

    /// Whether `address` lies in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.overlaps(Range { address, prefix: 32 })
    }
}

impl Socket {
    /// Opens a socket for links, addresses and routes in the calling thread's network namespace.
    pub fn route() -> io::Result<Self> {
        // Protocol 0 of the family.
        Self::open(None)
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends one message and waits for the kernel's acknowledgement.
    fn request(&mut self, message: Message) -> io::Result<()> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        send(&self.fd, &bytes, SendFlags::empty())?;
        let mut answer = [0u8; 8192];
        loop {
            let (length, _) = recv(&self.fd, &mut answer, RecvFlags::empty())?;
            for part in parts(&answer[..length]) {
                if part.kind == NLMSG_ERROR && part.sequence == self.sequence {
                    return error_of(part.payload);
                }
            }
        }
    }

    /// Asks for all objects of a kind: the payloads of the answers.
    fn dump(&mut self, kind: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let bytes = Message::new(kind, DUMP).with(header).finish(self.sequence);
        send(&self.fd, &bytes, SendFlags::empty())?;
        let mut found = Vec::new();
        let mut answer = vec![0u8; 32 * 1024];
        loop {
            let (length, _) = recv(&self.fd, &mut answer[..], RecvFlags::empty())?;
            for part in parts(&answer[..length]) {
                match part.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => error_of(part.payload)?,
                    _ => found.push(part.payload.to_vec()),
                }
            }
        }
    }

    /// The index of a link, or an error of kind `NotFound`.
    pub fn link_index(&mut self, name: &str) -> io::Result<u32> {
        self.dump(RTM_GETLINK, &link_header(0, 0))?
            .iter()
            .find(|link| {
                link.len() >= 16
                    && attributes(&link[16..]).any(|(kind, value)| {
                        kind == IFLA_IFNAME && value.strip_suffix(&[0]) == Some(name.as_bytes())
                    })
            })
            .map(|link| u32::from_ne_bytes([link[4], link[5], link[6], link[7]]))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no link {name}")))
    }

    /// Every IPv4 range that an address or a route of this namespace covers, the default route excepted.
    pub fn ranges_in_use(&mut self) -> io::Result<Vec<Range>> {
        const AF_INET: u8 = 2;
        const IFA_ADDRESS: u16 = 1;
        const RTA_DST: u16 = 1;
        let mut found = Vec::new();
        for (kind, header_length, attribute) in
            [(RTM_GETADDR, 8, IFA_ADDRESS), (RTM_GETROUTE, 12, RTA_DST)]
        {
            let mut header = vec![0; header_length];
            header[0] = AF_INET;
            for object in self.dump(kind, &header)? {
                if object.len() < header_length || object[0] != AF_INET {
                    continue;
                }
                for (kind, value) in attributes(&object[header_length..]) {
                    if kind == attribute && value.len() == 4 && object[1] > 0 {
                        let address = Ipv4Addr::new(value[0], value[1], value[2], value[3]);
                        found.push(Range { address, prefix: object[1] });
                    }
                }
            }
        }
        Ok(found)
    }

    /// Makes a bridge that is up. Without a hardware address of its own it would have that of one of its ports, and
    /// another whenever ports come and go: neighbours that know the old one reach nobody for half a minute.
    pub fn add_bridge(&mut self, name: &str, hardware_address: [u8; 6]) -> io::Result<()> {
        let message = Message::new(RTM_NEWLINK, ACK | CREATE | EXCL)
            .with(&link_header(0, IFF_UP))
            .text(IFLA_IFNAME, name)
            .attribute(IFLA_ADDRESS, &hardware_address)
            .nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
        self.request(message)
    }

    /// Makes a pair of connected links: `name` here, up (a port of the bridge `master`, if given), and `peer`
    /// in the network namespace `peer_namespace`, not up yet: the kernel opens no end of a pair before both
    /// exist. Fails with `AlreadyExists` when `name` is taken.
    pub fn add_pair(
        &mut self,
        name: &str,
        master: Option<u32>,
        peer: &str,
        peer_namespace: &OwnedFd,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let mut message = Message::new(RTM_NEWLINK, ACK | CREATE | EXCL)
            .with(&link_header(0, IFF_UP))
            .text(IFLA_IFNAME, name);
        if let Some(master) = master {
            message = message.attribute(IFLA_MASTER, &master.to_ne_bytes());
        }
        let message = message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |nested| {
                    nested
                        .with(&link_header(0, 0))
                        .text(IFLA_IFNAME, peer)
                        .attribute(IFLA_NET_NS_FD, &peer_namespace.as_raw_fd().to_ne_bytes())
                })
            })
        });
        self.request(message)
    }

    /// Removes a link, and with it the other end of a pair.
    pub fn remove_link(&mut self, name: &str) -> io::Result<()> {
        let message =
            Message::new(RTM_DELLINK, ACK).with(&link_header(0, 0)).text(IFLA_IFNAME, name);
        self.request(message)
    }

    /// Sets a link up.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(Message::new(RTM_NEWLINK, ACK).with(&link_header(index, IFF_UP)))
    }

    /// Gives a link an address.
    pub fn add_address(&mut self, index: u32, address: Range) -> io::Result<()> {
        const IFA_ADDRESS: u16 = 1;
        const IFA_LOCAL: u16 = 2;
        let octets = address.address.octets();
        let mut header = vec![2, address.prefix, 0, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        let message = Message::new(RTM_NEWADDR, ACK | CREATE | EXCL)
            .with(&header)
            .attribute(IFA_LOCAL, &octets)
            .attribute(IFA_ADDRESS, &octets);
        self.request(message)
    }

    /// Adds a route to `to` by way of `gateway`.
    pub fn add_route(&mut self, to: Range, gateway: Ipv4Addr) -> io::Result<()> {
        const UNIVERSE: u8 = 0;
        let message = route(to, 254, UNIVERSE, 1).attribute(RTA_GATEWAY, &gateway.octets());
        self.request(message)
    }

    /// Makes every address of `range` an address of this namespace, delivered on the link `index`.
    pub fn add_local_range(&mut self, range: Range, index: u32) -> io::Result<()> {
        const HOST: u8 = 254;
        const LOCAL_TABLE: u8 = 255;
        const LOCAL: u8 = 2;
        let message =
            route(range, LOCAL_TABLE, HOST, LOCAL).attribute(RTA_OIF, &index.to_ne_bytes());
        self.request(message)
    }
}

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

fn route(to: Range, table: u8, scope: u8, kind: u8) -> Message {
    const AF_INET: u8 = 2;
    const BOOT: u8 = 3;
    let message = Message::new(RTM_NEWROUTE, ACK | CREATE)
        .with(&[AF_INET, to.prefix, 0, 0, table, BOOT, scope, kind, 0, 0, 0, 0]);
    if to.prefix == 0 { message } else { message.attribute(RTA_DST, &to.address.octets()) }
}

/// `struct ifinfomsg`: only the index and the up flag are ever set.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

struct Part<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages in one datagram.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..16)?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let payload = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Part { kind, sequence, payload })
    })
}

/// The attributes in a payload: kind and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The result that an error message carries; code 0 is an acknowledgement.
fn error_of(payload: &[u8]) -> io::Result<()> {
    let Some(code) = payload.get(..4) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "short netlink answer"));
    };
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

/// Address translation for packets that leave the machine; the kernel removes it when this is dropped,
/// also when the process is killed: the table is owned by the socket.
pub struct Masquerade {
    _owner: Socket,
}

/// Replaces the source of packets from `range` by the machine's own address, in the calling thread's
/// network namespace. `table` is the name of the nftables table, one for each platform.
pub fn masquerade(table: &str, range: Range) -> io::Result<Masquerade> {
    // From linux/netfilter/nf_tables.h and nfnetlink.h.
    const SUBSYSTEM: u16 = 10 << 8;
    const NEWTABLE: u16 = SUBSYSTEM;
    const NEWCHAIN: u16 = SUBSYSTEM | 3;
    const NEWRULE: u16 = SUBSYSTEM | 6;
    const BATCH_BEGIN: u16 = 16;
    const BATCH_END: u16 = 17;
    const OWNED: u32 = 2;
    const POSTROUTING: u32 = 4;
    const SOURCE_NAT: u32 = 100;
    const IPV4: [u8; 4] = [2, 0, 0, 0];
    const BATCH: [u8; 4] = [0, 0, 0, 10];

    let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix)).unwrap_or(0);
    let network = u32::from(range.address) & mask;
    let number = |value: u32| value.to_be_bytes();
    let messages = [
        Message::new(BATCH_BEGIN, 0).with(&BATCH),
        Message::new(NEWTABLE, ACK | CREATE | EXCL)
            .with(&IPV4)
            .text(1, table)
            .attribute(2, &number(OWNED)),
        Message::new(NEWCHAIN, ACK | CREATE)
            .with(&IPV4)
            .text(1, table)
            .text(3, "postrouting")
            .nest(4, |hook| {
                hook.attribute(1, &number(POSTROUTING)).attribute(2, &number(SOURCE_NAT))
            })
            .text(7, "nat"),
        Message::new(NEWRULE, ACK | CREATE | APPEND)
            .with(&IPV4)
            .text(1, table)
            .text(2, "postrouting")
            .nest(4, |rule| {
                // Load the source address, cut it to the network, compare, translate.
                let rule = expression(rule, "payload", |it| {
                    it.attribute(1, &number(1))
                        .attribute(2, &number(1))
                        .attribute(3, &number(12))
                        .attribute(4, &number(4))
                });
                let rule = expression(rule, "bitwise", |it| {
                    it.attribute(1, &number(1))
                        .attribute(2, &number(1))
                        .attribute(3, &number(4))
                        .nest(4, |value| value.attribute(1, &number(mask)))
                        .nest(5, |value| value.attribute(1, &number(0)))
                });
                let rule = expression(rule, "cmp", |it| {
                    it.attribute(1, &number(1))
                        .attribute(2, &number(0))
                        .nest(3, |value| value.attribute(1, &number(network)))
                });
                expression(rule, "masq", |it| it)
            }),
        Message::new(BATCH_END, 0).with(&BATCH),
    ];
    let mut socket = Socket::open(Some(NETFILTER))?;
    let mut bytes = Vec::new();
    let mut to_acknowledge = 0;
    for message in messages {
        socket.sequence += 1;
        let flags = u16::from_ne_bytes([message.bytes[6], message.bytes[7]]);
        to_acknowledge += u32::from(flags & ACK != 0);
        bytes.extend(message.finish(socket.sequence));
    }
    send(&socket.fd, &bytes, SendFlags::empty())?;
    let mut answer = [0u8; 8192];
    while to_acknowledge > 0 {
        let (length, _) = recv(&socket.fd, &mut answer, RecvFlags::empty())?;
        for part in parts(&answer[..length]) {
            if part.kind == NLMSG_ERROR {
                error_of(part.payload)?;
                to_acknowledge -= 1;
            }
        }
    }
    Ok(Masquerade { _owner: socket })
}

fn expression(rule: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    rule.nest(1, |element| element.text(1, name).nest(2, fill))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_when_they_share_an_address() {
        check("10.0.0.0", 8, "10.244.0.0", 20, true);
        check("10.244.0.0", 20, "10.244.16.0", 20, false);
        check("10.244.0.0", 20, "10.244.15.255", 32, true);
        check("192.168.1.4", 24, "192.168.1.0", 25, true);
        check("192.168.1.4", 32, "192.168.1.5", 32, false);
    }

    #[track_caller]
    fn check(left: &str, left_prefix: u8, right: &str, right_prefix: u8, overlap: bool) {
        let left = Range { address: left.parse().unwrap(), prefix: left_prefix };
        let right = Range { address: right.parse().unwrap(), prefix: right_prefix };
        assert_eq!(left.overlaps(right), overlap);
        assert_eq!(right.overlaps(left), overlap);
    }
}
