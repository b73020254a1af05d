//! Service and Pods → Endpoints and EndpointSlices; Endpoints that people write → EndpointSlices.
//!
//! Pure: `plan` sees one Service and says what to write. A pod appears as soon as it has an address: not ready at first,
//! which the activator needs in order to probe it, and terminating at last.
//! Source: kubernetes `pkg/controller/endpoint`, `staging/src/k8s.io/endpointslice`, `pkg/controller/endpointslicemirroring`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointPort, EndpointSubset, ObjectReference, ServicePort},
        discovery::v1 as discovery,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};

use super::{
    objects::{Endpoints, Key, Pod, Service, Slice, digest},
    resources::{Kind, Part, Plan, Write, controller_reference},
    selector,
};

/// Tells Endpoints that are made here from those that somebody writes.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The Service that an EndpointSlice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";
const MIRROR_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Most endpoints in one slice. Upstream's default.
const SLICE_SIZE: usize = 100;

/// What there is for one Service name.
pub struct Seen<'a> {
    pub service: Option<&'a Service>,
    pub endpoints: Option<&'a Endpoints>,
    /// The slices that carry the Service's name.
    pub slices: Vec<&'a Slice>,
    /// The pods of the namespace; only asked for a Service with a selector.
    pub pods: &'a dyn Fn() -> Vec<&'a Pod>,
}

/// What to write so that Endpoints and slices of the Service called `key` tell its pods.
pub fn plan(key: &Key, seen: &Seen) -> Plan {
    let mut plan = Plan::default();
    match seen.service {
        Some(service) if service.meta.deleted.is_some() || service.is_external_name => {}
        Some(service) if service.selector.is_empty() => mirror(&mut plan, key, seen, service),
        Some(service) => publish(&mut plan, key, seen, service),
        None => {
            if let Some(endpoints) = seen.endpoints.filter(|it| it.subsets.is_none()) {
                plan.writes.push(Write::delete(Kind::Endpoints, &endpoints.meta));
            }
            let mirrored = seen.slices.iter().filter(|slice| is_by(slice, MIRROR_CONTROLLER));
            plan.writes.extend(mirrored.map(|slice| Write::delete(Kind::Slice, &slice.meta)));
        }
    }
    plan
}

fn publish(plan: &mut Plan, key: &Key, seen: &Seen, service: &Service) {
    let mut pods: Vec<&Pod> = (seen.pods)();
    pods.retain(|pod| {
        pod.is_live()
            && !pod.ips.is_empty()
            && selector::has_all(&pod.meta.labels, &service.selector)
    });
    pods.sort_by(|a, b| a.meta.key.cmp(&b.meta.key));

    let subsets = subsets(service, &pods);
    let mut labels = service.meta.labels.clone();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if service.is_headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    match seen.endpoints {
        None => plan.writes.push(Write::Create {
            resource: Kind::Endpoints.resource(),
            namespace: key.namespace.clone(),
            body: json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": &*key.name, "labels": labels},
                "subsets": subsets,
            }),
        }),
        Some(now) if now.digest != digest(&subsets) || now.meta.labels != labels => {
            let removed = now.meta.labels.keys().filter(|it| !labels.contains_key(*it));
            let mut labels_patch = json!(labels);
            for key in removed {
                labels_patch[key] = Value::Null;
            }
            plan.writes.push(Write::Merge {
                resource: Kind::Endpoints.resource(),
                key: key.clone(),
                part: Part::Main,
                body: json!({"metadata": {"labels": labels_patch}, "subsets": subsets}),
            });
        }
        Some(_) => {}
    }

    let mut groups: BTreeMap<Vec<u8>, Group> = BTreeMap::new();
    for pod in &pods {
        let ports = slice_ports(service, pod);
        let place = serde_json::to_vec(&ports).unwrap_or_default();
        let group = groups.entry(place).or_insert_with(|| Group { ports, endpoints: Vec::new() });
        group.endpoints.extend(endpoint(service, pod));
    }
    groups.retain(|_, group| !group.endpoints.is_empty());
    if groups.is_empty() {
        // Readers tell "no pods" from "not known yet" by an empty slice.
        groups.insert(Vec::new(), Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    let mut labels = service.meta.labels.clone();
    if service.is_headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let owner = controller_reference(Kind::Service, &service.meta);
    let family = if service.is_ipv6 { "IPv6" } else { "IPv4" };
    let parts =
        groups.into_values().flat_map(Group::in_parts).map(|group| (family, group)).collect();
    reconcile_slices(plan, key, seen, SLICE_CONTROLLER, labels, owner, parts);
}

fn mirror(plan: &mut Plan, key: &Key, seen: &Seen, service: &Service) {
    let own = |it: &&Endpoints| {
        it.meta.deleted.is_none()
            && it.meta.labels.get(SKIP_MIRROR).is_none_or(|value| value != "true")
            && !it.meta.annotations.contains_key("control-plane.alpha.kubernetes.io/leader")
    };
    let endpoints = seen.endpoints.filter(own);
    let mut parts = Vec::new();
    for subset in endpoints.and_then(|it| it.subsets.as_ref()).into_iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(mirrored_port).collect();
        for family in ["IPv4", "IPv6"] {
            let of_family = |it: &&EndpointAddress| it.ip.contains(':') == (family == "IPv6");
            let ready = subset.addresses.iter().flatten().filter(of_family);
            let not_ready = subset.not_ready_addresses.iter().flatten().filter(of_family);
            let ready = ready.map(|it| mirrored(it, true));
            let all: Vec<_> = ready.chain(not_ready.map(|it| mirrored(it, false))).collect();
            if !all.is_empty() {
                let group = Group { ports: ports.clone(), endpoints: all };
                parts.extend(group.in_parts().map(|group| (family, group)));
            }
        }
    }
    let owner = match endpoints {
        Some(endpoints) => controller_reference(Kind::Endpoints, &endpoints.meta),
        None => controller_reference(Kind::Service, &service.meta),
    };
    let labels = endpoints.map(|it| it.meta.labels.clone()).unwrap_or_default();
    reconcile_slices(plan, key, seen, MIRROR_CONTROLLER, labels, owner, parts);
    // A Service that had a selector before leaves slices of the other controller behind.
    let stale = seen.slices.iter().filter(|slice| is_by(slice, SLICE_CONTROLLER));
    plan.writes.extend(stale.map(|slice| Write::delete(Kind::Slice, &slice.meta)));
}

/// Endpoints with the same ports.
struct Group {
    ports: Vec<discovery::EndpointPort>,
    endpoints: Vec<discovery::Endpoint>,
}

impl Group {
    /// The group in pieces that fit in a slice; a piece for an empty group too.
    fn in_parts(self) -> impl Iterator<Item = Group> {
        let Group { ports, mut endpoints } = self;
        let mut is_done = false;
        std::iter::from_fn(move || {
            if is_done {
                return None;
            }
            let rest = endpoints.split_off(endpoints.len().min(SLICE_SIZE));
            is_done = rest.is_empty();
            let part = std::mem::replace(&mut endpoints, rest);
            Some(Group { ports: ports.clone(), endpoints: part })
        })
    }
}

/// Makes the slices of one controller hold `parts`, changing as few as it can.
fn reconcile_slices(
    plan: &mut Plan,
    key: &Key,
    seen: &Seen,
    controller: &str,
    mut labels: BTreeMap<String, String>,
    owner: Value,
    parts: Vec<(&str, Group)>,
) {
    labels.insert(SLICE_MANAGED_BY.to_owned(), controller.to_owned());
    labels.insert(SERVICE_NAME.to_owned(), key.name.to_string());
    let mut free: Vec<&Slice> =
        seen.slices.iter().copied().filter(|it| is_by(it, controller)).collect();
    free.sort_by(|a, b| a.meta.key.cmp(&b.meta.key));
    let mut waiting = Vec::new();
    for (family, group) in parts {
        let endpoints = Some(group.endpoints).filter(|it| !it.is_empty());
        let ports = Some(group.ports).filter(|it| !it.is_empty());
        let wanted = slice_digest(family, &endpoints, &ports);
        let same = |slice: &&Slice| slice.digest == wanted && slice.meta.labels == labels;
        match free.iter().position(same) {
            Some(at) => drop(free.remove(at)),
            None => waiting.push((family, endpoints, ports)),
        }
    }
    for (family, endpoints, ports) in waiting {
        let body = json!({
            "addressType": family,
            // Never null: readers of this list do not expect it.
            "endpoints": endpoints.unwrap_or_default(),
            "ports": ports.unwrap_or_default(),
        });
        if free.is_empty() {
            let mut body = body;
            body["apiVersion"] = json!("discovery.k8s.io/v1");
            body["kind"] = json!("EndpointSlice");
            body["metadata"] = json!({
                "generateName": format!("{}-", key.name),
                "labels": labels,
                "ownerReferences": [owner],
            });
            let namespace = key.namespace.clone();
            plan.writes.push(Write::Create { resource: Kind::Slice.resource(), namespace, body });
        } else {
            let slice = free.remove(0);
            let mut body = body;
            body["metadata"] = json!({"labels": labels});
            for gone in slice.meta.labels.keys().filter(|it| !labels.contains_key(*it)) {
                body["metadata"]["labels"][gone] = Value::Null;
            }
            plan.writes.push(Write::Merge {
                resource: Kind::Slice.resource(),
                key: slice.meta.key.clone(),
                part: Part::Main,
                body,
            });
        }
    }
    plan.writes.extend(free.into_iter().map(|slice| Write::delete(Kind::Slice, &slice.meta)));
}

/// A digest of what a slice says, with and without empty lists the same.
pub fn slice_digest(
    family: &str,
    endpoints: &Option<Vec<discovery::Endpoint>>,
    ports: &Option<Vec<discovery::EndpointPort>>,
) -> u64 {
    let endpoints = endpoints.as_deref().unwrap_or_default();
    digest(&(family, endpoints, ports.as_deref().unwrap_or_default()))
}

fn endpoint(service: &Service, pod: &Pod) -> Option<discovery::Endpoint> {
    let is_terminating = pod.meta.deleted.is_some();
    let is_serving = pod.is_ready;
    let is_ready = service.publishes_not_ready || (is_serving && !is_terminating);
    Some(discovery::Endpoint {
        addresses: vec![address_of(service, pod)?],
        conditions: Some(discovery::EndpointConditions {
            ready: Some(is_ready),
            serving: Some(is_serving),
            terminating: Some(is_terminating),
        }),
        hostname: hostname(service, pod),
        node_name: pod.node.as_deref().map(str::to_owned),
        target_ref: Some(target(pod)),
        ..discovery::Endpoint::default()
    })
}

fn mirrored(address: &EndpointAddress, is_ready: bool) -> discovery::Endpoint {
    discovery::Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(discovery::EndpointConditions {
            ready: Some(is_ready),
            ..discovery::EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..discovery::Endpoint::default()
    }
}

fn mirrored_port(port: &EndpointPort) -> discovery::EndpointPort {
    discovery::EndpointPort {
        // Without a name the empty one, as the API server would fill in.
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn slice_ports(service: &Service, pod: &Pod) -> Vec<discovery::EndpointPort> {
    let port = |port: &ServicePort| {
        Some(discovery::EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(port, pod)?),
            protocol: Some(protocol(port)),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.ports.iter().filter_map(port).collect()
}

/// The Endpoints of `pods`, one subset for each set of ports.
fn subsets(service: &Service, pods: &[&Pod]) -> Vec<EndpointSubset> {
    let mut groups: BTreeMap<Vec<u8>, EndpointSubset> = BTreeMap::new();
    for pod in pods {
        let is_ready = service.publishes_not_ready || pod.is_ready;
        if pod.meta.deleted.is_some() && !service.publishes_not_ready {
            continue;
        }
        let Some(ip) = address_of(service, pod) else { continue };
        let ports: Vec<EndpointPort> = service
            .ports
            .iter()
            .filter_map(|port| {
                Some(EndpointPort {
                    name: port.name.clone(),
                    port: target_port(port, pod)?,
                    protocol: Some(protocol(port)),
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        if ports.is_empty() && !service.ports.is_empty() {
            continue;
        }
        let address = EndpointAddress {
            ip,
            hostname: hostname(service, pod),
            node_name: pod.node.as_deref().map(str::to_owned),
            target_ref: Some(target(pod)),
        };
        let place = serde_json::to_vec(&ports).unwrap_or_default();
        let subset = groups.entry(place).or_insert_with(|| EndpointSubset {
            ports: Some(ports).filter(|it| !it.is_empty()),
            ..EndpointSubset::default()
        });
        let list = if is_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    for subset in groups.values_mut() {
        for list in [&mut subset.addresses, &mut subset.not_ready_addresses] {
            list.iter_mut().for_each(|it| it.sort_by(|a, b| a.ip.cmp(&b.ip)));
        }
    }
    groups.into_values().collect()
}

fn address_of(service: &Service, pod: &Pod) -> Option<String> {
    pod.ips.iter().find(|ip| ip.contains(':') == service.is_ipv6).map(|ip| ip.to_string())
}

fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let subdomain = pod.subdomain.as_deref()?;
    let is_here = service.is_headless && subdomain == &*service.meta.key.name;
    pod.hostname.as_deref().filter(|_| is_here).map(str::to_owned)
}

fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: Some(pod.meta.key.namespace.to_string()),
        name: Some(pod.meta.key.name.to_string()),
        uid: Some(pod.meta.uid.to_string()),
        ..ObjectReference::default()
    }
}

/// The number of the pod's port that `port` leads to; `None` when the pod has no port of that name.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let wanted = protocol(port);
            let mut named = pod.ports.iter();
            named.find(|(own, protocol, _)| **own == **name && **protocol == *wanted).map(|it| it.2)
        }
    }
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.clone().unwrap_or_else(|| "TCP".into())
}

fn is_by(slice: &Slice, controller: &str) -> bool {
    slice.meta.labels.get(SLICE_MANAGED_BY).is_some_and(|it| it == controller)
}
