//! Services that this process answers for itself, reached as through the API server's proxy.
//!
//! `GET …/services/NAME:PORT/proxy/PATH` is how clients reach a Service without being in its network; the
//! platform's own roles have no pods here that could be dialled, so they are asked directly.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};

use super::{
    answer::{self, Body},
    path::Path,
    status::{Refusal, Status},
};

/// Answers `path` (without a leading slash) of a Service with a type and a text; none for one that it does not know.
pub type Services = Arc<dyn Fn(&str, &str, &str) -> Option<(&'static str, Bytes)> + Send + Sync>;

/// Whether a request goes to a Service rather than to the object of that name.
pub fn is_proxied(path: &Path) -> bool {
    path.group.is_empty()
        && path.resource == "services"
        && path.subresource.first().is_some_and(|it| it == "proxy")
}

/// Answers such a request.
pub fn answer(
    services: Option<&Services>,
    path: &Path,
    method: &Method,
) -> Result<Response<Body>, Refusal> {
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    // The name may carry a scheme before it and a port behind it.
    let mut parts = path.name.split(':');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some("http" | "https"), Some(name), _) => name,
        (Some(name), _, _) => name,
        (None, ..) => "",
    };
    let rest = path.subresource[1..].join("/");
    match services.and_then(|services| services(&path.namespace, name, &rest)) {
        Some((kind, text)) => Ok(answer::bytes(200, kind, text)),
        None => Err(Status::other(
            503,
            "ServiceUnavailable",
            format!("no endpoints available for service {:?}", path.name),
            None,
        )),
    }
}
