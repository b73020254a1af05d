//! Installs what a new cluster needs to be the platform: namespaces, definitions, ConfigMaps.
//!
//! It goes through the Kubernetes API as anybody would. What is there already stays as people
//! changed it, but for the definitions, which belong to the version of this binary.

use anyhow::Context;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};

use mesh::gateway::HTTPS;

use super::services::HTTP;

/// Owner of the fields of the definitions.
const MANAGER: &str = "weft";
/// The domain of services on one machine: resolvers and browsers know it as this machine.
const DOMAIN: &str = "localhost";

/// Installs into `namespace`; repeating it changes nothing. URLs will carry the gateway's ports unless they
/// are HTTP's own and HTTPS's.
pub async fn install(
    client: &Client,
    namespace: &str,
    gateway_port: u16,
    secure_port: Option<u16>,
) -> anyhow::Result<()> {
    make_namespace(client, namespace).await?;
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
    // The ports may be others in each run.
    let port = if gateway_port == HTTP { 0 } else { gateway_port };
    let secure_port = secure_port.filter(|it| *it != HTTPS).unwrap_or(0);
    let patch = serde_json::json!({"data": {
        config::network::EXTERNAL_PORT: port.to_string(),
        config::network::EXTERNAL_HTTPS_PORT: secure_port.to_string(),
    }});
    config_maps
        .patch(config::network::NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("set the gateway's ports in config-network")?;
    Ok(())
}

/// Installs Eventing's ConfigMaps into `namespace`; repeating it changes nothing.
pub async fn install_eventing(client: &Client, namespace: &str) -> anyhow::Result<()> {
    make_namespace(client, namespace).await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for mut config_map in config::eventing::install::config_maps() {
        config_map.metadata.namespace = Some(namespace.to_owned());
        create(&config_maps, config_map).await?;
    }
    Ok(())
}

async fn make_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    create(&namespaces, Namespace { metadata, ..Namespace::default() }).await
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
