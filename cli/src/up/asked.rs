//! What the platform's own Services answer through the Kubernetes API: metrics, decisions of the autoscaler, events.

use std::sync::Arc;

use autoscaler::drive::Autoscaler;
use eventing::{
    admin::Admin,
    ingress::{BROKERS, CHANNELS, Ingress},
};
use http::{HeaderValue, Method, Request, Response, header};
use local::api::proxied::{Asked, Services};
use proxy::{body::Body, hop::Reply};
use runtime::metrics::Metrics;

use super::events::HERE;

/// Services by whose name the API shows the metrics of this process, which has all roles.
const METERED: [&str; 3] = ["autoscaler", "activator-service", "controller"];
/// The port of the Service of Brokers at which people ask of events; the others take events in.
const ADMIN: &str = "admin";

/// Who is asked.
pub struct Parts {
    /// Namespace of Serving's own objects.
    pub system: String,
    /// Namespace of Eventing's own objects.
    pub eventing: Arc<str>,
    /// Of this process.
    pub metrics: Metrics,
    /// Explains its decisions.
    pub autoscaler: Autoscaler,
    /// Takes events in.
    pub ingress: Arc<Ingress>,
    /// Tells of events.
    pub admin: Arc<Admin>,
}

/// Answers by these parts.
pub fn services(parts: Parts) -> Services {
    Arc::new(move |asked, request| {
        if *asked.namespace == *parts.eventing && [BROKERS, CHANNELS].contains(&asked.service) {
            return Some(events(&parts, asked, request));
        }
        if asked.namespace != parts.system || request.method() != Method::GET {
            return None;
        }
        let path = request.uri().path();
        if path == "/metrics" && METERED.contains(&asked.service) {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            return Some(at_once(kind, parts.metrics.text().into()));
        }
        let (namespace, revision) = path.strip_prefix("/explain/")?.split_once('/')?;
        if asked.service != "autoscaler" {
            return None;
        }
        let entries = serde_json::to_vec(&parts.autoscaler.explain(namespace, revision)).ok()?;
        Some(at_once(HeaderValue::from_static("application/json"), entries))
    })
}

fn events(parts: &Parts, asked: Asked<'_>, mut request: Request<Body>) -> Reply {
    if asked.port == Some(ADMIN) {
        return parts.admin.answer(request);
    }
    let host = format!("{}.{}.svc", asked.service, parts.eventing);
    if let Ok(host) = HeaderValue::try_from(host) {
        request.headers_mut().insert(header::HOST, host);
    }
    parts.ingress.answer(request, HERE)
}

fn at_once(kind: HeaderValue, text: Vec<u8>) -> Reply {
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Box::pin(std::future::ready(response))
}
