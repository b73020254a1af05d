//! `weft status`: whether the platform runs, where, and how each service is called.

use std::net::SocketAddr;

use anyhow::Context;
use kube::Api;

use super::event::{Named, address};
use crate::{args, place};

pub async fn run(place: args::Place) -> anyhow::Result<()> {
    let data_dir = place::data_dir(&place)?;
    let Some(running) = place::running(&data_dir)? else {
        println!("no platform runs from {}; start one with `weft up`", data_dir.display());
        return Ok(());
    };
    let kubeconfig = place::kubeconfig(&data_dir);
    println!("weft runs (process {})", running.pid);
    println!("  Kubernetes API  https://{}", running.api_addr);
    println!("  gateway         http://{}", running.http_addr);
    if let Some(address) = running.https_addr {
        println!("                  https://{address}");
    }
    println!("  data            {}", data_dir.display());
    println!("  export KUBECONFIG={}", kubeconfig.display());
    let client = runtime::cluster::connect::client(Some(&kubeconfig)).await?;
    let services: Api<api::serving::Service> = Api::all(client.clone());
    let services = services.list(&Default::default()).await.context("list the services")?.items;
    if services.is_empty() {
        println!("\nno service yet: kubectl apply -f deploy/samples/hello.yaml");
    }
    for service in services {
        println!("\n{}", describe(&service, running.http_addr));
    }
    let brokers: Api<api::eventing::Broker> = Api::all(client);
    for broker in brokers.list(&Default::default()).await.context("list the brokers")? {
        let (namespace, name) = (broker.metadata.namespace, broker.metadata.name);
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        println!("\n{}", sending(&namespace, &name, running.http_addr));
    }
    Ok(())
}

/// A service's name, state and URL, and a curl line that works whatever the resolver knows.
fn describe(service: &api::serving::Service, gateway: SocketAddr) -> String {
    let metadata = &service.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let status = service.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let state = match ready.map(|ready| (ready.status.as_str(), ready.message.as_deref())) {
        Some(("True", _)) => "ready".to_owned(),
        Some(("False", message)) => format!("failed: {}", message.unwrap_or("no reason given")),
        Some((_, Some(message))) => format!("not ready yet: {message}"),
        _ => "not ready yet".to_owned(),
    };
    let mut text = format!("{namespace}/{name}  {state}");
    if let Some(url) = status.url {
        text += &format!("\n  {url}\n  {}", curl(&url, gateway));
    }
    text
}

/// A broker's name, and two lines that send it an event.
fn sending(namespace: &str, name: &str, gateway: SocketAddr) -> String {
    let own = config::env::eventing_namespace();
    let (host, path) = address(Named::Broker(namespace, name), &own);
    let event =
        r#"{"specversion":"1.0","type":"hello","source":"curl","id":"1","data":{"text":"hi"}}"#;
    format!(
        "broker {namespace}/{name}\n  weft event send {namespace}/{name} '{{\"text\": \"hi\"}}' --type hello\n  \
         curl -H 'Host: {host}' http://{gateway}{path} -H 'Content-Type: application/cloudevents+json' -d '{event}'"
    )
}

/// A curl line for `url` that goes to the gateway without asking a resolver.
pub fn curl(url: &str, gateway: SocketAddr) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    format!("curl -H 'Host: {host}' http://{gateway}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_names_the_host_without_scheme_port_and_path() {
        let gateway = "127.0.0.1:8080".parse().unwrap();
        for url in ["http://hello.default.localhost", "http://hello.default.localhost:8080/path"] {
            assert_eq!(
                curl(url, gateway),
                "curl -H 'Host: hello.default.localhost' http://127.0.0.1:8080"
            );
        }
    }
}
