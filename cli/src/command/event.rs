//! `weft event`: send events, watch them pass, show them to triggers once more, and look after those that nobody took.

use anyhow::{Context, anyhow, bail};
use eventing::ingress::BROKERS;
use http::Method;
use kube::Client;

use crate::{args, connect};

mod dead;
mod replay;
mod send;
mod tail;

pub async fn run(command: args::event::Event) -> anyhow::Result<()> {
    match command {
        args::event::Event::Send(it) => send::run(it).await,
        args::event::Event::Tail(it) => tail::run(it).await,
        args::event::Event::Replay(it) => replay::run(it).await,
        args::event::Event::Dead(it) => dead::run(it).await,
    }
}

/// What accepts events, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A broker: its namespace and name.
    Broker(&'a str, &'a str),
    /// A channel: its namespace and name.
    Channel(&'a str, &'a str),
}

impl<'a> Named<'a> {
    /// `NAME`, `NAMESPACE/NAME`, and the same behind `broker:` or `channel:`.
    pub fn parse(text: &'a str) -> anyhow::Result<Named<'a>> {
        let (kind, name) = text.split_once(':').unwrap_or(("broker", text));
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let fits = |it: &str| {
            !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.".contains(&it))
        };
        if !fits(namespace) || !fits(name) {
            bail!(
                "{text:?} names nothing that takes events: write NAME, NAMESPACE/NAME or channel:NAME"
            );
        }
        match kind {
            "broker" => Ok(Named::Broker(namespace, name)),
            "channel" => Ok(Named::Channel(namespace, name)),
            _ => bail!("{kind:?} takes no events: write broker:NAME, channel:NAME, or a URL"),
        }
    }

    fn path(self) -> String {
        match self {
            Named::Broker(namespace, name) => format!("/brokers/{namespace}/{name}"),
            Named::Channel(namespace, name) => format!("/channels/{namespace}/{name}"),
        }
    }

    fn namespace(self) -> &'a str {
        match self {
            Named::Broker(namespace, _) | Named::Channel(namespace, _) => namespace,
        }
    }
}

/// Host and path by which the gateway knows a broker or a channel; `own` is Eventing's namespace.
pub fn address(named: Named<'_>, own: &str) -> (String, String) {
    match named {
        Named::Broker(namespace, name) => {
            (format!("{BROKERS}.{own}.svc.cluster.local"), format!("/{namespace}/{name}"))
        }
        Named::Channel(namespace, name) => {
            (format!("{name}-kn-channel.{namespace}.svc.cluster.local"), "/".to_owned())
        }
    }
}

/// Asks those who keep events of a cluster; `path` is one of theirs.
pub async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<http::Response<kube::client::Body>> {
    let service = service(BROKERS, "admin");
    through_api(client, http::Request::builder().method(method), &format!("{service}{path}"), body)
        .await
}

/// Asks, and reads the answer.
async fn told<T: serde::de::DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<T> {
    let answer = ask(client, method, path, body).await?;
    let bytes = answer.into_body().collect_bytes().await.context("read the answer")?;
    serde_json::from_slice(&bytes).context("read the answer")
}

/// The path of a Service of Eventing's behind the Kubernetes API.
fn service(name: &str, port: &str) -> String {
    let namespace = config::env::eventing_namespace();
    format!("/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy")
}

/// Sends a request through the Kubernetes API. An answer that refuses is an error with its text.
async fn through_api(
    client: &Client,
    request: http::request::Builder,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<http::Response<kube::client::Body>> {
    let request = request.uri(path).body(body.into()).context("make the request")?;
    let answer = client.send(request).await.context("ask through the Kubernetes API")?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let bytes = answer.into_body().collect_bytes().await.unwrap_or_default();
    Err(refused(status, &bytes))
}

/// A refusal in the words of who refused.
fn refused(status: http::StatusCode, body: &[u8]) -> anyhow::Error {
    // The API itself answers with an object.
    let object: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = object.as_ref().and_then(|it| it["message"].as_str());
    let text = String::from_utf8_lossy(body);
    let text = message.unwrap_or(text.trim());
    match text.is_empty() {
        true => anyhow!("answered {status}"),
        false => anyhow!("answered {}: {text}", status.as_u16()),
    }
}

/// A client of the cluster, and the topic's path.
async fn open(topic: &args::event::Topic) -> anyhow::Result<(Client, String)> {
    let path = Named::parse(&topic.topic)?.path();
    Ok((connect::cluster(&topic.cluster).await?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_with_and_without_kind_and_namespace() {
        for (text, wanted) in [
            ("default", Some(Named::Broker("default", "default"))),
            ("shop/orders", Some(Named::Broker("shop", "orders"))),
            ("broker:shop/orders", Some(Named::Broker("shop", "orders"))),
            ("channel:mails", Some(Named::Channel("default", "mails"))),
            ("channel:shop/mails", Some(Named::Channel("shop", "mails"))),
            ("queue:mails", None),
            ("", None),
            ("a/b/c", None),
            ("a b", None),
            ("channel:", None),
        ] {
            assert_eq!(Named::parse(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_the_other_side_says() {
        let code = http::StatusCode::NOT_FOUND;
        for (body, wanted) in [
            ("there is no broker ns/b\n", "answered 404: there is no broker ns/b"),
            (r#"{"kind": "Status", "message": "nobody there"}"#, "answered 404: nobody there"),
            ("", "answered 404 Not Found"),
        ] {
            assert_eq!(refused(code, body.as_bytes()).to_string(), wanted);
        }
    }
}
