//! How pods find the Kubernetes API: the Service `kubernetes`, its endpoints and its address.
//!
//! Source: kubernetes `pkg/controlplane/controller/kubernetesservice`.

use std::net::Ipv4Addr;

use anyhow::Context;
use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use super::services::apply;

/// The namespace of the API's Service, and its name.
const NAME: (&str, &str) = ("default", "kubernetes");
/// Where pods reach the API behind its Service's port.
pub const PORT: u16 = 6443;

/// Installs the Service by which pods find the API, without endpoints yet.
pub async fn install(client: &Client) -> anyhow::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAME.0);
    if services.get_opt(NAME.1).await.context("read the API's Service")?.is_some() {
        return Ok(());
    }
    let mut service: Service = object(json!({
        "metadata": {"name": NAME.1, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": local::serve::SERVICE_ADDRESS,
            "ports": [{"name": "https", "port": 443, "targetPort": PORT}],
        },
    }));
    match services.create(&PostParams::default(), &service).await {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            // Another Service was there first. Pods find the API by its name all the same.
            tracing::warn!(address = local::serve::SERVICE_ADDRESS, "{}", status.message);
            service.spec.get_or_insert_default().cluster_ip = None;
            let created = services.create(&PostParams::default(), &service).await;
            created.map(drop).context("install the API's Service")
        }
        created => created.map(drop).context("install the API's Service"),
    }
}

/// Tells pods that the API is at [`PORT`] of this address; it may be another one in each run.
pub async fn publish(client: &Client, address: Ipv4Addr) -> anyhow::Result<()> {
    let port = json!({"name": "https", "port": PORT, "protocol": "TCP"});
    // The slice is written here, under the name that upstream gives it, and not mirrored.
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let endpoints = json!({
        "metadata": {"name": NAME.1, "labels": labels},
        "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
    });
    apply::<Endpoints>(client, NAME.0, NAME.1, endpoints).await?;
    let slice = json!({
        "metadata": {"name": NAME.1, "labels": {"kubernetes.io/service-name": NAME.1}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [port],
    });
    apply::<EndpointSlice>(client, NAME.0, NAME.1, slice).await
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("it is written as its type has it")
}
