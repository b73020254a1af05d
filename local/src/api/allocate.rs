//! Addresses and ports of Services.
//!
//! What is taken is read from the stored Services, so that nothing can leak or be lost.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::Server;
use super::status::{Cause, Refusal, Status};
use crate::kinds::Kind;
use crate::store::Object;

/// Ports of nodes that Services may have.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// The network that Services take their addresses from.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    base: u32,
    size: u32,
}

impl Network {
    /// A network by its first address and the length of its prefix.
    pub fn new(base: Ipv4Addr, prefix: u8) -> Network {
        let size = 1u32.checked_shl(32 - u32::from(prefix.clamp(1, 32))).unwrap_or(0);
        Network { base: u32::from(base), size }
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size.saturating_sub(1)
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "services"
}

/// What each Service has, in the order of their keys: read from its text once for each of its revisions.
#[derive(Default)]
pub struct Known(Mutex<Vec<Has>>);

/// What one Service has.
struct Has {
    key: Arc<str>,
    revision: u64,
    uid: String,
    address: Option<Ipv4Addr>,
    ports: Vec<u64>,
}

impl Has {
    fn of(object: &Object) -> Has {
        let value = object.value();
        let spec = &value["spec"];
        let ports = spec["ports"].as_array().into_iter().flatten();
        let ports = ports.filter_map(|port| port["nodePort"].as_u64());
        Has {
            key: object.key.clone(),
            revision: object.revision,
            uid: value["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            address: spec["clusterIP"].as_str().and_then(|it| it.parse().ok()),
            ports: ports.chain(spec["healthCheckNodePort"].as_u64()).collect(),
        }
    }
}

/// What all Services but one have.
struct Taken<'a> {
    services: MutexGuard<'a, Vec<Has>>,
    but: String,
}

impl Taken<'_> {
    fn others(&self) -> impl Iterator<Item = &Has> {
        self.services.iter().filter(|it| it.uid != self.but)
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.others().any(|it| it.address == Some(address))
    }

    fn ports(&self) -> HashSet<u64> {
        self.others().flat_map(|it| &it.ports).copied().collect()
    }
}

/// What all Services but `service` have.
fn taken<'a>(server: &'a Server, service: &Value) -> Taken<'a> {
    let but = service["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let mut services = server.allocated.0.lock();
    let Ok(page) = server.store.list("/services", "", None) else {
        return Taken { services, but };
    };
    let mut before = std::mem::take(&mut *services).into_iter().peekable();
    let now = page.objects.iter().map(|object| {
        while before.next_if(|it| it.key < object.key).is_some() {}
        let known = before.next_if(|it| it.key == object.key);
        known.filter(|it| it.revision == object.revision).unwrap_or_else(|| Has::of(object))
    });
    *services = now.collect();
    Taken { services, but }
}

/// Gives a new Service what it needs.
pub fn before_create(server: &Server, kind: &Kind, value: &mut Value) -> Result<(), Refusal> {
    if !is_service(kind) {
        return Ok(());
    }
    give(server, value)
}

/// Gives a changed Service what it needs now; it keeps what it has.
pub fn before_update(
    server: &Server,
    kind: &Kind,
    new: &mut Value,
    old: &Value,
) -> Result<(), Refusal> {
    if !is_service(kind) {
        return Ok(());
    }
    let was_headless = old["spec"]["type"] == "ExternalName";
    if new["spec"]["type"] != "ExternalName" && !was_headless {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if new["spec"].get(field).is_none_or(|value| value.as_str() == Some(""))
                && let Some(value) = old["spec"].get(field)
            {
                new["spec"][field] = value.clone();
            }
        }
    }
    if new["spec"]["type"] == "ExternalName" && !was_headless {
        let same = |field: &str| new["spec"].get(field) == old["spec"].get(field);
        if let Some(spec) = new["spec"].clone().as_object_mut() {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if same(field) {
                    spec.remove(field);
                }
            }
            new["spec"] = Value::Object(spec.clone());
        }
    }
    if needs_ports(new) {
        let before: Vec<Value> = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            let unset = port["nodePort"].as_u64().unwrap_or(0) == 0;
            let same = before
                .iter()
                .find(|one| one["port"] == port["port"] && one["protocol"] == port["protocol"]);
            if let Some(number) = same.filter(|_| unset).and_then(|one| one["nodePort"].as_u64()) {
                port["nodePort"] = number.into();
            }
        }
    } else {
        let before: HashSet<u64> = old["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|port| port["nodePort"].as_u64())
            .collect();
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_u64().is_some_and(|number| before.contains(&number))
                && let Some(port) = port.as_object_mut()
            {
                port.remove("nodePort");
            }
        }
    }
    give(server, new)
}

fn needs_ports(value: &Value) -> bool {
    match value["spec"]["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => value["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn give(server: &Server, value: &mut Value) -> Result<(), Refusal> {
    let spec = &value["spec"];
    if !spec.is_object() || spec["type"] == "ExternalName" {
        return Ok(());
    }
    let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    let wants_address = address.is_empty();
    let wants_ports = needs_ports(value)
        && value["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|port| port["nodePort"].as_u64().unwrap_or(0) == 0);
    if wants_address || wants_ports {
        let taken = taken(server, value);
        let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
        let seed = crc32c::crc32c(format!("{}/{}", text("namespace"), text("name")).as_bytes());
        if wants_address {
            let address = free_address(&server.network, &taken, seed)
                .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?
                .to_string();
            value["spec"]["clusterIP"] = address.clone().into();
            value["spec"]["clusterIPs"] = json!([address]);
        }
        if wants_ports {
            let mut ports = taken.ports();
            for port in value["spec"]["ports"].as_array_mut().into_iter().flatten() {
                if port["nodePort"].as_u64().unwrap_or(0) == 0 {
                    let number = free_port(&ports, seed).ok_or_else(|| {
                        Status::internal("failed to allocate a nodePort: range is full")
                    })?;
                    ports.insert(number);
                    port["nodePort"] = number.into();
                }
            }
        }
    }
    let address = value["spec"]["clusterIP"].clone();
    if value["spec"].get("clusterIPs").is_none() {
        value["spec"]["clusterIPs"] = json!([address]);
    }
    if value["spec"].get("ipFamilies").is_none() {
        value["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    if value["spec"].get("ipFamilyPolicy").is_none() {
        let open = address == "None"
            && value["spec"]["selector"].as_object().is_none_or(|selector| selector.is_empty());
        let policy = if open { "RequireDualStack" } else { "SingleStack" };
        value["spec"]["ipFamilyPolicy"] = policy.into();
        if open {
            value["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        }
    }
    Ok(())
}

/// The search begins at a place that the Service's name decides, so that a trial and the real thing find the same.
fn free_address(network: &Network, taken: &Taken<'_>, seed: u32) -> Option<Ipv4Addr> {
    // The lower part is left to addresses that are asked for by name.
    let begin = 256.min(network.size / 16).max(1);
    let span = network.size.checked_sub(begin + 1)?;
    let start = seed % span.max(1);
    (0..span)
        .map(|step| Ipv4Addr::from(network.base + begin + (start + step) % span))
        .find(|address| !taken.has_address(*address))
}

fn free_port(taken: &HashSet<u64>, seed: u32) -> Option<u64> {
    let (first, span) = (u64::from(*NODE_PORTS.start()), NODE_PORTS.len() as u64);
    let start = u64::from(seed) % span;
    (0..span).map(|step| first + (start + step) % span).find(|port| !taken.contains(port))
}

/// What is wrong with the addresses and ports that a Service asks for.
pub fn validate(server: &Server, kind: &Kind, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    if !is_service(kind) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let spec = &value["spec"];
    let unchanged = |field: &str| old.is_some_and(|old| old["spec"].get(field) == spec.get(field));
    let address = spec["clusterIP"].as_str().unwrap_or_default();
    if !matches!(address, "" | "None")
        && !unchanged("clusterIP")
        && spec["type"] != "ExternalName"
        && let Ok(parsed) = address.parse::<Ipv4Addr>()
    {
        let network = &server.network;
        if !network.contains(parsed) {
            let text = format!(
                "failed to allocate IP {address}: the provided network does not match the current range"
            );
            causes.push(Cause::invalid("spec.clusterIPs", &json!([address]), &text));
        } else if taken(server, value).has_address(parsed) {
            let text = format!("failed to allocate IP {address}: provided IP is already allocated");
            causes.push(Cause::invalid("spec.clusterIPs", &json!([address]), &text));
        }
    }
    if needs_ports(value) {
        let known: HashSet<u64> = old
            .map(|old| {
                old["spec"]["ports"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|port| port["nodePort"].as_u64())
                    .collect()
            })
            .unwrap_or_default();
        for (index, port) in spec["ports"].as_array().into_iter().flatten().enumerate() {
            let Some(number) =
                port["nodePort"].as_u64().filter(|number| *number != 0 && !known.contains(number))
            else {
                continue;
            };
            let field = format!("spec.ports[{index}].nodePort");
            if !u16::try_from(number).is_ok_and(|number| NODE_PORTS.contains(&number)) {
                let text = format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    NODE_PORTS.start(),
                    NODE_PORTS.end()
                );
                causes.push(Cause::invalid(&field, &json!(number), &text));
            } else if taken(server, value).ports().contains(&number) {
                causes.push(Cause::invalid(
                    &field,
                    &json!(number),
                    "provided port is already allocated",
                ));
            }
        }
    }
    causes
}
