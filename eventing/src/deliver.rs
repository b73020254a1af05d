//! One try to deliver one event: a request, an answer, and perhaps an event in it.
//!
//! Source: knative/specs `specs/eventing/data-plane.md`; knative/eventing `pkg/kncloudevents/event_dispatcher.go` and
//! `pkg/broker/filter/filter_handler.go`.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use proxy::body::Body;

use crate::{
    event::{Event, decode, encode},
    log::{Boxed, RECORD_LIMIT},
    policy::Failure,
};

/// Says that the sender takes an event in the answer.
const PREFER: HeaderName = HeaderName::from_static("prefer");
const REPLY: HeaderValue = HeaderValue::from_static("reply");
/// Says for which namespace an event is delivered.
const NAMESPACE: HeaderName = HeaderName::from_static("kn-namespace");
/// What is kept of the answer of who did not take an event: in Base64 it fits into the 1024 characters that the
/// attribute may have.
pub const DATA_LIMIT: usize = 768;

/// Sends requests to wherever events go. There is always an answer or a reason why there is none.
pub trait Courier: Send + Sync + 'static {
    /// Sends `request`, whose target is a path, to `to`.
    fn send(&self, to: &Target, request: Request<Body>) -> Boxed<io::Result<Response<Body>>>;
}

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As people wrote it or an object told it.
    pub url: Arc<str>,
    /// Of the scheme `https` or `http`.
    pub in_tls: bool,
    /// Name or address.
    pub host: Arc<str>,
    /// Port, that of the scheme where the URL has none.
    pub port: u16,
    /// As the header `Host` has it.
    authority: HeaderValue,
    path: http::uri::PathAndQuery,
    /// Authorities to trust besides the system's, in PEM.
    pub ca_certs: Option<Arc<str>>,
    /// Why nothing can be sent there.
    problem: Option<Arc<str>>,
}

/// How data and attributes are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Attributes in headers.
    #[default]
    Binary,
    /// One JSON object.
    Json,
}

/// How an event is sent.
#[derive(Clone, Debug)]
pub struct Manner<'a> {
    /// On whose behalf.
    pub namespace: &'a str,
    /// In what form.
    pub format: Format,
    /// Longest time until all of the answer is there.
    pub timeout: Duration,
    /// What an answer may hold.
    pub answer: Answers,
}

/// What becomes of the body of a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// An event in it is wanted, and anything else is a failure.
    EventOrNothing,
    /// An event in it is wanted, anything else is passed over.
    Event,
    /// It is passed over.
    Nothing,
}

impl Target {
    /// The target of an absolute URL; the error says what is wrong with it.
    pub fn new(url: &str, ca_certs: Option<&str>) -> Result<Target, String> {
        Ok(Target { ca_certs: ca_certs.map(Into::into), ..parts(url)? })
    }

    /// The target of any text. To one that is no good URL each try to send fails and says why, so that events for it go
    /// the way of all that cannot be delivered.
    pub fn lenient(url: &str, ca_certs: Option<&str>) -> Target {
        Target::new(url, ca_certs).unwrap_or_else(|problem| Target {
            url: url.into(),
            in_tls: false,
            host: "".into(),
            port: 0,
            authority: HeaderValue::from_static(""),
            path: http::uri::PathAndQuery::from_static("/"),
            ca_certs: None,
            problem: Some(problem.into()),
        })
    }
}

fn parts(url: &str) -> Result<Target, String> {
    let fail = |why: &str| format!("{url:?} is no URL that events can be sent to: {why}");
    let uri: http::Uri = url.parse().map_err(|it| fail(&format!("{it}")))?;
    let in_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(other) => return Err(fail(&format!("its scheme is {other}, not http or https"))),
        None => return Err(fail("it does not begin with http:// or https://")),
    };
    let host = uri.host().filter(|it| !it.is_empty()).ok_or_else(|| fail("it has no host"))?;
    let authority = uri.authority().map_or("", |it| it.as_str());
    // A user in it is not for `Host`.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let path = uri.path_and_query().cloned();
    Ok(Target {
        url: url.into(),
        in_tls,
        host: host.trim_matches(['[', ']']).into(),
        port: uri.port_u16().unwrap_or(if in_tls { 443 } else { 80 }),
        authority: authority.parse().map_err(|_| fail("its host has odd letters"))?,
        path: path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
        ca_certs: None,
        problem: None,
    })
}

/// Sends `event` to `to`; returns the event in the answer, if there is one. The error is for people and for the
/// event's dead letter.
pub async fn offer(
    courier: &dyn Courier,
    to: &Target,
    event: &Event,
    manner: &Manner<'_>,
) -> Result<Option<Event>, Failure> {
    if let Some(problem) = &to.problem {
        return Err(silent(to, problem.to_string()));
    }
    let sent = courier.send(to, request(to, event, manner));
    let answered = async {
        let response = sent.await.map_err(|it| silent(to, it.to_string()))?;
        answer(to, response, manner.answer).await
    };
    match tokio::time::timeout(manner.timeout, answered).await {
        Ok(answered) => answered,
        Err(_) => Err(silent(to, format!("no answer within {:?}", manner.timeout))),
    }
}

fn request(to: &Target, event: &Event, manner: &Manner<'_>) -> Request<Body> {
    let mut headers = HeaderMap::new();
    let body = match manner.format {
        Format::Binary => encode::binary(event, &mut headers),
        Format::Json => {
            let json = HeaderValue::from_static(encode::STRUCTURED);
            headers.insert(header::CONTENT_TYPE, json);
            Bytes::from(encode::structured(event))
        }
    };
    encode::passed(event, &mut headers);
    headers.insert(header::HOST, to.authority.clone());
    if let Ok(namespace) = HeaderValue::from_str(manner.namespace) {
        headers.insert(NAMESPACE, namespace);
    }
    if manner.answer != Answers::Nothing {
        headers.insert(PREFER, REPLY);
    }
    let mut request = Request::post(to.path.clone());
    if let Some(own) = request.headers_mut() {
        *own = headers;
    }
    request.body(Body::full(body)).expect("method, path and headers were checked before")
}

async fn answer(
    to: &Target,
    response: Response<Body>,
    wanted: Answers,
) -> Result<Option<Event>, Failure> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        let code = Some(head.status.as_u16());
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(seconds);
        let data = beginning(body).await;
        return Err(Failure { destination: to.url.to_string(), code, data, retry_after });
    }
    let bad = |what: String| Failure {
        destination: to.url.to_string(),
        code: Some(502),
        data: what.into_bytes(),
        retry_after: None,
    };
    if wanted == Answers::Nothing {
        return Ok(None);
    }
    let mode = decode::mode(&head.headers);
    if mode.is_none() && (wanted == Answers::Event || body.exact() == Some(0)) {
        return Ok(None);
    }
    let body = Limited::new(body, RECORD_LIMIT).collect().await;
    let body = body.map_err(|it| bad(format!("read the answer: {it}")))?.to_bytes();
    match mode {
        None if body.is_empty() => Ok(None),
        None => Err(bad("the answer has a body and is no CloudEvent".to_owned())),
        Some(_) => {
            let event = decode::one(&head.headers, &body, None);
            event.map(Some).map_err(|it| bad(format!("the event in the answer: {it}")))
        }
    }
}

/// The beginning of a body, which may never end.
async fn beginning(mut body: Body) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < DATA_LIMIT {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Some(bytes) = frame.data_ref() {
            data.extend_from_slice(&bytes[..bytes.len().min(DATA_LIMIT - data.len())]);
        }
    }
    data
}

/// The time that a `Retry-After` asks for in seconds.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn silent(to: &Target, why: String) -> Failure {
    let mut data = why.into_bytes();
    data.truncate(DATA_LIMIT);
    Failure { destination: to.url.to_string(), code: None, data, retry_after: None }
}
