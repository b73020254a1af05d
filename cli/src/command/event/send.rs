//! `weft event send`: makes events and sends them, one after the other or at a rate.

use std::{io::Read, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use cloudevents::{AttributesReader, Data, Event, EventBuilder, EventBuilderV10};
use controller::revision::registry::authorities;
use eventing::{
    courier::Network,
    deliver::{Courier, Target},
    ingress::{BROKERS, CHANNELS},
};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use proxy::body::Body;
use runtime::clock::Clock;

use super::{Named, address, refused, service, through_api};
use crate::{args::event::Send, cloudevent, connect};

/// Longest wait for an answer: a service may begin at zero.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is read of an answer, for the sentence in it.
const ANSWER_LIMIT: usize = 64 << 10;
/// The type of events as one JSON object.
const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

pub async fn run(send: Send) -> anyhow::Result<()> {
    let data = data(&send)?;
    let way = Way::open(&send).await?;
    let clock = Clock::start();
    let mut beat = send.rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / rate)));
    for number in 1..=send.count {
        if let Some(beat) = &mut beat {
            beat.tick().await;
        }
        let id = match (&send.id, send.count) {
            (Some(id), 1) => id.clone(),
            (Some(id), _) => format!("{id}-{number}"),
            (None, _) => uuid::Uuid::new_v4().to_string(),
        };
        let event = event(&send, id, data.clone(), &clock.now().to_string())?;
        let id = event.id().to_owned();
        let request = request(event, send.structured)?;
        let status = way.send(request).await.with_context(|| {
            let sent = number - 1;
            format!(
                "send the event {id} to {} ({sent} of {} were accepted)",
                send.target, send.count
            )
        })?;
        println!("{} {id} {} {}", status.as_u16(), send.kind, send.target);
    }
    Ok(())
}

/// The data and its type.
fn data(send: &Send) -> anyhow::Result<Option<(Vec<u8>, String)>> {
    let bytes = match send.data.as_deref().or(send.text.as_deref()) {
        None => return Ok(None),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
            bytes
        }
        Some(text) => match text.strip_prefix('@') {
            Some(path) => std::fs::read(path).with_context(|| format!("read {path}"))?,
            None => text.as_bytes().to_vec(),
        },
    };
    let kind = match &send.datacontenttype {
        Some(kind) => kind.clone(),
        None if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() => {
            "application/json".to_owned()
        }
        None if std::str::from_utf8(&bytes).is_ok() => "text/plain; charset=utf-8".to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    Ok(Some((bytes, kind)))
}

fn event(
    send: &Send,
    id: String,
    data: Option<(Vec<u8>, String)>,
    now: &str,
) -> anyhow::Result<Event> {
    let time = send.time.as_deref().unwrap_or(now);
    let mut builder = EventBuilderV10::new().id(id).ty(&send.kind).source(&send.source).time(time);
    if let Some(subject) = &send.subject {
        builder = builder.subject(subject);
    }
    for (name, value) in &send.extensions {
        builder = builder.extension(name, value.as_str());
    }
    if let Some((bytes, kind)) = data {
        // In one JSON object data is to be readable where it can be.
        let is_json = kind.split(';').next().is_some_and(|it| it.trim().ends_with("json"));
        let data = match send.structured {
            true if is_json => match serde_json::from_slice(&bytes) {
                Ok(value) => Data::Json(value),
                Err(error) => bail!("the data is to be {kind} and is no JSON: {error}"),
            },
            true => String::from_utf8(bytes)
                .map_or_else(|it| Data::Binary(it.into_bytes()), Data::String),
            false => Data::Binary(bytes),
        };
        builder = builder.data(kind, data);
    }
    builder.build().context("make the event")
}

/// The event as a request without a target.
fn request(event: Event, structured: bool) -> anyhow::Result<Request<Bytes>> {
    if structured {
        let json = serde_json::to_vec(&event).context("write the event as JSON")?;
        let mut request = Request::new(Bytes::from(json));
        request.headers_mut().insert(header::CONTENT_TYPE, STRUCTURED);
        return Ok(request);
    }
    let (headers, body) = cloudevent::binary(event)
        .context("write the event's attributes as headers; --structured takes all letters")?;
    let mut request = Request::new(body.into());
    *request.headers_mut() = headers;
    Ok(request)
}

/// How requests reach the target.
enum Way {
    /// Straight to an address, with another host's name where it is the gateway.
    Address { network: Network, to: Target, host: Option<HeaderValue>, path: String },
    /// Through the Kubernetes API.
    Api { client: Client, path: String },
}

impl Way {
    async fn open(send: &Send) -> anyhow::Result<Way> {
        if send.target.starts_with("http://") || send.target.starts_with("https://") {
            let uri: http::Uri = send.target.parse().context("read the URL")?;
            let path = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
            let authority = uri.authority().map_or("", |it| it.as_str());
            let authority = authority.rsplit('@').next().unwrap_or_default();
            let host = HeaderValue::try_from(authority).context("read the URL's host")?;
            // Such names mean this machine whatever the resolver knows, as in browsers.
            let is_here = uri.host().is_some_and(|it| it.ends_with(".localhost"));
            let to = match is_here && uri.scheme_str() == Some("http") {
                true => format!("http://127.0.0.1:{}/", uri.port_u16().unwrap_or(80)),
                false => send.target.clone(),
            };
            let to = Target::new(&to, None).map_err(anyhow::Error::msg)?;
            let network = Network::new(&authorities::read().concat());
            return Ok(Way::Address { network, to, host: Some(host), path });
        }
        let named = Named::parse(&send.target)?;
        let own = config::env::eventing_namespace();
        if send.cluster.kubeconfig.is_some() {
            let client = connect::cluster(&send.cluster).await?;
            let (name, namespace, topic) = match named {
                Named::Broker(namespace, name) => (BROKERS, namespace, name),
                Named::Channel(namespace, name) => (CHANNELS, namespace, name),
            };
            let path = format!("{}/{namespace}/{topic}", service(name, "http"));
            return Ok(Way::Api { client, path });
        }
        let gateway = connect::running(&send.cluster.place)?.http_addr;
        let (host, path) = address(named, &own);
        Ok(Way::Address {
            network: Network::new(&[]),
            to: Target::new(&format!("http://{gateway}/"), None).map_err(anyhow::Error::msg)?,
            host: Some(HeaderValue::try_from(host).context("make the host's name")?),
            path,
        })
    }

    /// Sends one request; who refuses it is an error.
    async fn send(&self, request: Request<Bytes>) -> anyhow::Result<StatusCode> {
        match self {
            Way::Api { client, path } => {
                let (head, body) = request.into_parts();
                let mut builder = Request::post("/");
                for (name, value) in &head.headers {
                    builder = builder.header(name, value);
                }
                let answer = through_api(client, builder, path, body.to_vec()).await?;
                Ok(answer.status())
            }
            Way::Address { network, to, host, path } => {
                let (mut head, body) = request.into_parts();
                head.method = http::Method::POST;
                head.uri = path.parse().context("make the path")?;
                if let Some(host) = host {
                    head.headers.insert(header::HOST, host.clone());
                }
                let request = Request::from_parts(head, Body::full(body));
                let answered = async {
                    let answer = network.send(to, request).await?;
                    let (head, body) = answer.into_parts();
                    let body = Limited::new(body, ANSWER_LIMIT).collect().await;
                    let body = body.map(|it| it.to_bytes()).unwrap_or_default();
                    anyhow::Ok((head.status, body))
                };
                let answered = tokio::time::timeout(PATIENCE, answered).await;
                let (status, body) =
                    answered.with_context(|| format!("no answer within {PATIENCE:?}"))??;
                match status.is_success() {
                    true => Ok(status),
                    false => Err(refused(status, &body)),
                }
            }
        }
    }
}
