//! The activator on ports of its own, for gateways that are not ours: who a request is for, probes.
//!
//! Source: knative/serving `cmd/activator/main.go`, `pkg/activator/handler`.

use std::{net::SocketAddr, sync::Arc};

use api::headers;
use http::{Request, Response, StatusCode, header};
use proxy::{
    body::Body,
    hop::{Backend, Destination, Protocol, Reply},
    serve::Handler,
};
use runtime::admin::Readiness;

use crate::serve::{Activator, plain};

/// What an activator's probe answers.
const NAME: &str = headers::PROBE_ACTIVATOR;

/// What serves the ports of the activator. `readiness` is what it tells the kubelet.
pub fn handler(activator: Activator, readiness: Readiness, cluster_domain: &str) -> Handler {
    let domain: Arc<str> = cluster_domain.into();
    Arc::new(move |request: Request<Body>, _: SocketAddr| {
        if let Some(answer) = answer_probe(&request, &readiness) {
            return Box::pin(std::future::ready(answer)) as Reply;
        }
        match destination(&request, &domain) {
            Some(to) => activator.send(&to, request),
            None => Box::pin(std::future::ready(nobody())),
        }
    })
}

fn answer_probe(request: &Request<Body>, readiness: &Readiness) -> Option<Response<Body>> {
    let text = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let agent = text(header::USER_AGENT.as_str()).unwrap_or_default();
    if agent.starts_with("kube-probe/") || text("k-kubelet-probe").is_some() {
        return Some(match readiness.is_ready() {
            true => plain(StatusCode::OK, String::new()),
            false => plain(StatusCode::INTERNAL_SERVER_ERROR, "not ready\n".to_owned()),
        });
    }
    match text(headers::PROBE)? {
        "" => None,
        NAME => Some(plain(StatusCode::OK, NAME.to_owned())),
        headers::PROBE_ANY => Some(match request.headers().get(headers::HASH) {
            Some(hash) if !hash.is_empty() => {
                let mut answer = plain(StatusCode::OK, String::new());
                answer.headers_mut().insert(headers::HASH, hash.clone());
                answer
            }
            _ => {
                let text = "a probe request must contain a non-empty \"K-Network-Hash\" header\n";
                plain(StatusCode::BAD_REQUEST, text.to_owned())
            }
        }),
        other => {
            let text = format!("unexpected probe header value: {}\n", api::go::quote(other));
            Some(plain(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// The revision that the gateway's headers name, else the one that the host names.
fn destination(request: &Request<Body>, domain: &str) -> Option<Destination> {
    let text = |name: &str| {
        request.headers().get(name).and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty())
    };
    let (namespace, service) = match (text(headers::NAMESPACE), text(headers::REVISION)) {
        (Some(namespace), Some(revision)) => (namespace, revision),
        _ => {
            let host = text(header::HOST.as_str())?;
            let host = host.split(':').next().unwrap_or(host);
            let mut parts = host.splitn(4, '.');
            let (revision, namespace) = (parts.next()?, parts.next()?);
            (parts.next()? == "svc" && parts.next()? == domain).then_some((namespace, revision))?
        }
    };
    Some(Destination {
        namespace: namespace.into(),
        service: service.into(),
        port: 80,
        // The endpoints of the revision say what its pods speak.
        protocol: Protocol::Http1,
    })
}

fn nobody() -> Response<Body> {
    let text = "Error getting active endpoint: revision.serving.knative.dev \"\" not found\n";
    plain(StatusCode::NOT_FOUND, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn probes_are_answered_here() {
        let ready = Readiness::default();
        ready.set(true);
        let check = |headers: &[(&str, &str)], readiness: &Readiness, expected: Option<u16>| {
            let found = answer_probe(&request(headers), readiness);
            assert_eq!(found.map(|it| it.status().as_u16()), expected, "{headers:?}");
        };
        check(&[("user-agent", "curl/8")], &ready, None);
        check(&[("user-agent", "kube-probe/1.36")], &ready, Some(200));
        check(&[("user-agent", "kube-probe/1.36")], &Readiness::default(), Some(500));
        check(&[("k-network-probe", "activator")], &ready, Some(200));
        check(&[("k-network-probe", "queue")], &ready, Some(400));
        check(&[("k-network-probe", "probe")], &ready, Some(400));
        check(&[("k-network-probe", "probe"), ("k-network-hash", "abc")], &ready, Some(200));
    }

    #[test]
    fn headers_name_the_revision_and_else_the_host_does() {
        let check = |headers: &[(&str, &str)], expected: Option<(&str, &str)>| {
            let found = destination(&request(headers), "cluster.local");
            let found = found.as_ref().map(|it| (&*it.namespace, &*it.service));
            assert_eq!(found, expected, "{headers:?}");
        };
        let named = [("knative-serving-namespace", "ns"), ("knative-serving-revision", "hello-1")];
        check(&named, Some(("ns", "hello-1")));
        check(&[("host", "hello-1.ns.svc.cluster.local:80")], Some(("ns", "hello-1")));
        check(&[named[0], ("host", "hello-2.other.svc.cluster.local")], Some(("other", "hello-2")));
        check(&[("host", "hello.ns.example.com")], None);
        check(&[], None);
    }
}
