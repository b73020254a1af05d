//! The Services by which the platform's own parts are reached: the gateway's two, the activator's, and those of brokers
//! and channels.

use std::net::IpAddr;

use anyhow::Context;
use api::queue::{H2C_PORT, HTTP_PORT, TLS_PORT};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use mesh::gateway::HTTPS;
use serde_json::{Value, json};

/// Owner of the fields of Services and Endpoints.
const MANAGER: &str = "weft";
/// Source: knative/serving `config/core/deployments/activator.yaml`.
const ACTIVATOR: &str = "activator-service";
/// The port that URLs need not name.
pub const HTTP: u16 = 80;

/// A part that answers at one address, which may be another one in each run.
struct Part {
    name: &'static str,
    app: &'static str,
    /// None where nothing inside the cluster could reach it.
    address: Option<IpAddr>,
    /// Name, the Service's port and the port at the address.
    ports: &'static [(&'static str, u16, u16)],
}

/// Installs the Service of the activator, which answers at `address`; at none where pods cannot reach it.
pub async fn activator(
    client: &Client,
    namespace: &str,
    address: Option<IpAddr>,
) -> anyhow::Result<()> {
    let ports = &[("http", 80, HTTP_PORT), ("http2", 81, H2C_PORT), ("https", HTTPS, TLS_PORT)];
    let part = Part { name: ACTIVATOR, app: "activator", address, ports };
    install(client, namespace, &part, json!({})).await
}

/// Installs the Services of brokers, channels and JobSinks, which the gateway answers for at `address`.
pub async fn events(
    client: &Client,
    namespace: &str,
    address: Option<IpAddr>,
) -> anyhow::Result<()> {
    let job_sinks = eventing::job_sink::serve::JOB_SINKS;
    for name in [eventing::ingress::BROKERS, eventing::ingress::CHANNELS, job_sinks] {
        let ports = &[("http", HTTP, HTTP)];
        let part = Part { name, app: name, address, ports };
        install(client, namespace, &part, json!({})).await?;
    }
    Ok(())
}

/// Where the gateway answers.
pub struct Gateway {
    /// Clients outside the cluster call this address.
    pub outside: IpAddr,
    /// They call this port of it in plain HTTP.
    pub http: u16,
    /// And this one in TLS, if any.
    pub https: Option<u16>,
    /// Clients inside call this address at [`HTTP`] and [`HTTPS`]; none in host mode.
    pub inside: Option<IpAddr>,
}

/// Installs the Services of the gateway.
pub async fn gateway(client: &Client, namespace: &str, at: &Gateway) -> anyhow::Result<()> {
    const PORTS: &[(&str, u16, u16)] = &[("http2", HTTP, HTTP), ("https", HTTPS, HTTPS)];
    let [public, private] = mesh::ack::SERVICES;
    let address = at.outside;
    // Pods reach the outer address as everybody does, if they have a network of their own.
    let reached = at.inside.map(|_| address);
    let ports = if at.https.is_some() { PORTS } else { &PORTS[..1] };
    let part = Part { name: public, app: public, address: reached, ports };
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false});
    install(client, namespace, &part, spec).await?;
    let mut shown = json!({"ip": address, "ipMode": "VIP"});
    if at.http != HTTP || at.https.is_some_and(|port| port != HTTPS) {
        let ports = [Some(at.http), at.https].into_iter().flatten();
        shown["ports"] = ports.map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    }
    let status = json!({"status": {"loadBalancer": {"ingress": [shown]}}});
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    services
        .patch_status(public, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .with_context(|| format!("tell the address of the Service {public}"))?;
    let part = Part { name: private, app: private, address: at.inside, ports: PORTS };
    install(client, namespace, &part, json!({})).await
}

async fn install(
    client: &Client,
    namespace: &str,
    part: &Part,
    mut spec: Value,
) -> anyhow::Result<()> {
    let metadata = json!({"name": part.name, "namespace": namespace, "labels": {"app": part.app}});
    let service_port = |&(name, port, target): &(&str, u16, u16)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"});
    spec["ports"] = part.ports.iter().map(service_port).collect();
    apply::<Service>(client, namespace, part.name, json!({"metadata": metadata, "spec": spec}))
        .await?;
    let port = |&(name, _, port): &(&str, u16, u16)| json!({"name": name, "port": port, "protocol": "TCP"});
    let ports: Value = part.ports.iter().map(port).collect();
    let subset = |address: IpAddr| json!({"addresses": [{"ip": address}], "ports": ports});
    let mut endpoints = json!({"metadata": metadata});
    // Applied without subsets, those of an earlier run go.
    if let Some(address) = part.address {
        endpoints["subsets"] = json!([subset(address)]);
    }
    apply::<Endpoints>(client, namespace, part.name, endpoints).await
}

/// Applies the object `name`; its kind need not be written.
pub async fn apply<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    value: Value,
) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let kind = K::kind(&());
    let object: K =
        serde_json::from_value(value).with_context(|| format!("make the {kind} {name}"))?;
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = api.patch(name, &parameters, &Patch::Apply(&object)).await;
    applied.map(drop).with_context(|| format!("install the {kind} {name}"))
}
