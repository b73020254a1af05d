//! Where events come in by HTTP: Brokers by path, channels by host or by path.
//!
//! Source: knative/eventing `pkg/broker/ingress/ingress_handler.go`, `pkg/channel/message_receiver.go`.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use proxy::{
    body::Body,
    hop::{Reply, plain},
    serve::Handler,
};
use runtime::clock::Clock;

use crate::{
    dispatcher::{Dispatcher, Kind},
    event::{Event, decode},
    log::AppendError,
};

/// How often an event may pass a broker before it is taken for one that goes in circles.
const HOPS: u8 = 255;
/// The Service of Brokers.
pub const BROKERS: &str = "broker-ingress";
/// The Service of channels.
pub const CHANNELS: &str = "imc-dispatcher";
/// What the name of a channel's own Service ends with.
const CHANNEL_SUFFIX: &str = "-kn-channel";
/// Largest body of a request where nothing else is said: far above what brokers elsewhere take (Kafka's 1 MiB), and a
/// thousandth of a small machine's memory for each request.
pub const BODY_LIMIT: usize = 16 << 20;

const ALLOWED: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// Takes events in.
pub struct Ingress {
    dispatcher: Arc<Dispatcher>,
    clock: Clock,
    /// Namespace of Eventing's own objects.
    namespace: Arc<str>,
    /// Largest body.
    limit: usize,
}

/// Why a request is not taken.
#[derive(Debug)]
struct Refusal {
    code: StatusCode,
    /// What is wrong, and where.
    text: String,
}

/// Whom a host is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host<'a> {
    /// All Brokers, by path.
    Brokers,
    /// All channels, by path.
    Channels,
    /// One channel: its namespace and name.
    Channel(&'a str, &'a str),
}

impl Ingress {
    /// Takes events in for the topics of `dispatcher`: bodies of `limit` bytes at most.
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        clock: Clock,
        namespace: Arc<str>,
        limit: usize,
    ) -> Arc<Ingress> {
        Arc::new(Ingress { dispatcher, clock, namespace, limit })
    }

    /// Whether requests to a host are for this.
    pub fn serves(&self, host: &str) -> bool {
        whom(host, &self.namespace).is_some()
    }

    /// What answers requests.
    pub fn handler(self: &Arc<Self>) -> Handler {
        let ingress = self.clone();
        Arc::new(move |request, from| ingress.answer(request, from))
    }

    /// Answers one request.
    pub fn answer(self: &Arc<Self>, request: Request<Body>, _: SocketAddr) -> Reply {
        let ingress = self.clone();
        Box::pin(async move {
            match ingress.take(request).await {
                Ok(response) => response,
                Err(refusal) => refusal.into(),
            }
        })
    }

    async fn take(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        match head.method {
            Method::POST => {}
            Method::OPTIONS => return Ok(options()),
            other => return Err(not_allowed(&other)),
        }
        let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
        let host = head.headers.get(header::HOST).and_then(|it| it.to_str().ok());
        let (kind, namespace, name) = match whom(host.unwrap_or_default(), &self.namespace) {
            Some(Host::Channel(namespace, name)) => match path {
                "/" | "" => (Kind::Channel, namespace, name),
                _ => {
                    return Err(refuse(
                        StatusCode::NOT_FOUND,
                        format!("a channel takes events at the path /, not at {path}"),
                    ));
                }
            },
            Some(Host::Channels) => {
                let (namespace, name) = named(path, "channel")?;
                (Kind::Channel, namespace, name)
            }
            Some(Host::Brokers) | None => {
                let (namespace, name) = named(path, "broker")?;
                (Kind::Broker, namespace, name)
            }
        };
        if body.exact().is_some_and(|length| length > self.limit as u64) {
            return Err(self.too_large());
        }
        let body = match Limited::new(body, self.limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(self.too_large()),
            Err(error) => {
                return Err(refuse(StatusCode::BAD_REQUEST, format!("read the body: {error}")));
            }
        };
        let now = self.clock.now();
        let arrival = (kind == Kind::Broker).then_some(now);
        let mut events = decode::batch(&head.headers, &body, arrival)
            .map_err(|why| refuse(StatusCode::BAD_REQUEST, why.to_string()))?;
        let Some(opened) = self.dispatcher.topic(kind, namespace, name) else {
            let what = if kind == Kind::Broker { "broker" } else { "channel" };
            let text = format!(
                "there is no {what} {name} in the namespace {namespace}, or it is not ready yet"
            );
            return Err(refuse(StatusCode::NOT_FOUND, text));
        };
        if kind == Kind::Broker {
            events = events.into_iter().map(hop).collect::<Result<_, _>>()?;
        }
        if events.is_empty() {
            return Ok(accepted());
        }
        match opened.topic.publish(events).await {
            Ok(_) => Ok(accepted()),
            Err(error) => Err(not_kept(&error)),
        }
    }

    fn too_large(&self) -> Refusal {
        let limit = self.limit;
        let text = format!("the body has more than the {limit} bytes that are taken here");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

/// Whom a host is for: a name of one of the Services, with or without the cluster's domain and a port.
fn whom<'a>(host: &'a str, own: &str) -> Option<Host<'a>> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let (service, rest) = host.split_once('.')?;
    let (namespace, domain) = rest.split_once('.')?;
    // The cluster's domain may be any.
    if domain != "svc" && !domain.starts_with("svc.") {
        return None;
    }
    match service {
        BROKERS if namespace == own => Some(Host::Brokers),
        CHANNELS if namespace == own => Some(Host::Channels),
        _ => Some(Host::Channel(namespace, service.strip_suffix(CHANNEL_SUFFIX)?)),
    }
}

/// The namespace and the name in a path.
fn named<'a>(path: &'a str, what: &str) -> Result<(&'a str, &'a str), Refusal> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.is_empty() {
        let text = format!("events are sent to /NAMESPACE/NAME of a {what}");
        return Err(refuse(StatusCode::NOT_FOUND, text));
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    match inner.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace, name))
        }
        _ => {
            let text = format!("the path {path} is not /NAMESPACE/NAME of a {what}");
            Err(refuse(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Counts one more broker that an event passes.
fn hop(event: Event) -> Result<Event, Refusal> {
    let hops = match event.hops() {
        None => HOPS,
        Some(hops) => hops.saturating_sub(1),
    };
    if hops == 0 {
        let text = "the event has passed too many brokers: its knativebrokerttl is used up";
        return Err(refuse(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    Ok(event.with_hops(Some(hops)))
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// What senders ask before they send.
/// Source: CloudEvents `http-webhook.md`, as upstream answers it.
fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, ALLOWED);
    headers.insert("webhook-allowed-origin", HeaderValue::from_static("*"));
    headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    response
}

fn not_allowed(method: &Method) -> Refusal {
    let text = format!("events are sent with POST, not with {method}");
    refuse(StatusCode::METHOD_NOT_ALLOWED, text)
}

fn not_kept(error: &AppendError) -> Refusal {
    let code = match error {
        AppendError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        AppendError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        AppendError::Busy { .. } | AppendError::Full(_) | AppendError::Closed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    refuse(code, format!("the event was not kept: {error}"))
}

fn refuse(code: StatusCode, text: String) -> Refusal {
    Refusal { code, text }
}

impl From<Refusal> for Response<Body> {
    fn from(Refusal { code, mut text }: Refusal) -> Response<Body> {
        text.push('\n');
        let mut response = plain(code, text);
        let headers = response.headers_mut();
        match code {
            StatusCode::METHOD_NOT_ALLOWED => headers.insert(header::ALLOW, ALLOWED),
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => None,
        };
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_say_whom_a_request_is_for() {
        let own = "knative-eventing";
        let channel = Some(Host::Channel("ns", "c"));
        for (host, wanted) in [
            ("broker-ingress.knative-eventing.svc.cluster.local", Some(Host::Brokers)),
            ("broker-ingress.knative-eventing.svc.cluster.local:8080", Some(Host::Brokers)),
            ("broker-ingress.knative-eventing.svc", Some(Host::Brokers)),
            ("broker-ingress.other.svc.cluster.local", None),
            ("imc-dispatcher.knative-eventing.svc.my.domain", Some(Host::Channels)),
            ("c-kn-channel.ns.svc.cluster.local", channel.clone()),
            ("c-kn-channel.ns.svc", channel),
            ("c-kn-channel.ns.example.com", None),
            ("hello.default.svc.cluster.local", None),
            ("hello.default.localhost", None),
            ("127.0.0.1:8080", None),
            ("", None),
        ] {
            assert_eq!(whom(host, own), wanted, "{host}");
        }
    }

    #[test]
    fn paths_name_brokers() {
        let code = |path| named(path, "broker").map_err(|it| it.code.as_u16());
        assert_eq!(code("/ns/b"), Ok(("ns", "b")));
        assert_eq!(code("/ns/b/"), Ok(("ns", "b")));
        assert_eq!(code("/ns/b?x=1"), Ok(("ns", "b?x=1")));
        assert_eq!(code("/"), Err(404));
        assert_eq!(code("/ns"), Err(400));
        assert_eq!(code("/ns/"), Err(400));
        assert_eq!(code("/ns/b/c"), Err(400));
    }
}
