//! Installs what a new cluster needs to be the platform: namespace, definitions, ConfigMaps.
//!
//! It goes through the Kubernetes API as anybody would. What is there already stays as people
//! changed it, but for the definitions, which belong to the version of this binary.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::Context;
use api::queue::{H2C_PORT, HTTP_PORT};
use k8s_openapi::{
    api::core::v1::{
        ConfigMap, EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Namespace, Service,
        ServicePort, ServiceSpec,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};

/// Owner of the fields of the definitions.
const MANAGER: &str = "weft";
/// The domain of services on one machine: resolvers and browsers know it as this machine.
const DOMAIN: &str = "localhost";
/// The Service that leads to the activator. Source: knative/serving `config/core/deployments/activator.yaml`.
const ACTIVATOR: &str = "activator-service";
/// The port that URLs need not name.
const HTTP: u16 = 80;

/// Installs into `namespace`; repeating it changes nothing. URLs will carry `gateway_port` unless it is
/// HTTP's own.
pub async fn install(client: &Client, namespace: &str, gateway_port: u16) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
    create(&namespaces, Namespace { metadata, ..Namespace::default() }).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in api::crd::crds() {
        let name = definition.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        definitions
            .patch(&name, &parameters, &Patch::Apply(&definition))
            .await
            .with_context(|| format!("install the definition {name}"))?;
    }
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for mut config_map in config::install::config_maps() {
        config_map.metadata.namespace = Some(namespace.to_owned());
        if config_map.name_any() == config::domain::NAME {
            config_map.data.get_or_insert_default().insert(DOMAIN.to_owned(), String::new());
        }
        create(&config_maps, config_map).await?;
    }
    // The port may be another one in each run.
    let port = if gateway_port == HTTP { 0 } else { gateway_port };
    let patch = serde_json::json!({"data": {config::network::EXTERNAL_PORT: port.to_string()}});
    config_maps
        .patch(config::network::NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("set the gateway's port in config-network")?;
    Ok(())
}

/// Installs the Service of the activator, which answers at `address`; at none where pods cannot reach it.
pub async fn activator(
    client: &Client,
    namespace: &str,
    address: Option<Ipv4Addr>,
) -> anyhow::Result<()> {
    let metadata = || ObjectMeta {
        name: Some(ACTIVATOR.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([("app".to_owned(), "activator".to_owned())])),
        ..ObjectMeta::default()
    };
    let ports = [("http", 80, HTTP_PORT), ("http2", 81, H2C_PORT)];
    let service_port = |(name, port, target): (&str, i32, u16)| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::Int(target.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        ports: Some(ports.into_iter().map(service_port).collect()),
        ..ServiceSpec::default()
    };
    let service = Service { metadata: metadata(), spec: Some(spec), status: None };
    let endpoint_port = |(name, _, port): (&str, i32, u16)| EndpointPort {
        name: Some(name.to_owned()),
        port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    };
    let subset = |address: Ipv4Addr| EndpointSubset {
        addresses: Some(vec![EndpointAddress {
            ip: address.to_string(),
            ..EndpointAddress::default()
        }]),
        ports: Some(ports.into_iter().map(endpoint_port).collect()),
        ..EndpointSubset::default()
    };
    // Applied without subsets, those of an earlier run go.
    let subsets = address.map(|it| vec![subset(it)]);
    let endpoints = Endpoints { metadata: metadata(), subsets };
    let parameters = PatchParams::apply(MANAGER).force();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    services
        .patch(ACTIVATOR, &parameters, &Patch::Apply(&service))
        .await
        .context("install the activator's Service")?;
    let all: Api<Endpoints> = Api::namespaced(client.clone(), namespace);
    all.patch(ACTIVATOR, &parameters, &Patch::Apply(&endpoints))
        .await
        .context("install the activator's Endpoints")?;
    Ok(())
}

/// Creates `object` unless one of that name is there.
async fn create<K>(api: &Api<K>, object: K) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error).with_context(|| format!("install {}", object.name_any())),
    }
}
