//! Services that this process answers for itself, reached as through the API server's proxy.
//!
//! `…/services/NAME:PORT/proxy/PATH` is how clients reach a Service without being in its network; the platform's own
//! roles have no pods here that could be dialled, so they are asked directly.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use proxy::hop::Reply;

use super::{
    answer::Body,
    path::Path,
    status::{Refusal, Status},
};

/// Answers requests to a Service; none for one that it does not know.
pub type Services =
    Arc<dyn Fn(Asked<'_>, Request<proxy::body::Body>) -> Option<Reply> + Send + Sync>;

/// Whom a request is for, whose own target is the path behind the Service.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Its name.
    pub service: &'a str,
    /// Name or number of its port, if it is said.
    pub port: Option<&'a str>,
}

/// Whether a request goes to a Service rather than to the object of that name.
pub fn is_proxied(path: &Path) -> bool {
    path.group.is_empty()
        && path.resource == "services"
        && path.subresource.first().is_some_and(|it| it == "proxy")
}

/// Answers such a request.
pub async fn answer(
    services: Option<Services>,
    path: Path,
    parts: Parts,
    body: Bytes,
) -> Result<Response<Body>, Refusal> {
    // The name may carry a scheme before it and a port behind it.
    let mut words = path.name.split(':');
    let (service, port) = match (words.next(), words.next(), words.next()) {
        (Some("http" | "https"), Some(name), port) => (name, port),
        (Some(name), port, _) => (name, port),
        (None, ..) => ("", None),
    };
    let asked = Asked { namespace: &path.namespace, service, port };
    let reply = services.and_then(|services| services(asked, request(&parts, body)?));
    let Some(reply) = reply else {
        return Err(Status::other(
            503,
            "ServiceUnavailable",
            format!("no endpoints available for service {:?}", path.name),
            None,
        ));
    };
    let (mut head, body) = reply.await.into_parts();
    // A body that breaks off ends; clients of streams see it by what is missing.
    let pieces = body.into_data_stream().scan((), |(), it| std::future::ready(it.ok()));
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(Response::from_parts(head, Body::Stream(pieces.boxed())))
}

/// The request as the Service gets it: behind `/proxy`, and without who asks.
fn request(parts: &Parts, body: Bytes) -> Option<Request<proxy::body::Body>> {
    let target = parts.uri.path_and_query()?.as_str();
    // Behind `/api/v1/namespaces/NAMESPACE/services/NAME`, where any name may be `proxy`.
    let (at, _) = target.match_indices('/').nth(6)?;
    let rest = target[at..].strip_prefix("/proxy")?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut request = Request::new(proxy::body::Body::full(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = rest.parse::<Uri>().ok()?;
    *request.headers_mut() = parts.headers.clone();
    for secret in [header::AUTHORIZATION, header::HOST] {
        request.headers_mut().remove(secret);
    }
    Some(request)
}
