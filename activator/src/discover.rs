//! Reads what a Revision and its endpoints say to the activator.
//!
//! Pure: objects in, values out.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use api::serving;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proxy::hop::Protocol;

use crate::{
    backends::Seen,
    revision::{Address, Facts},
};

/// Names the Service that an EndpointSlice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The name of a revision's private Service, whose endpoints are its pods.
pub fn private_service(revision: &str) -> String {
    api::names::child_name(revision, "-private")
}

/// What `revision` says about its requests; `timeout` holds where it says nothing.
pub fn facts(revision: &serving::Revision, timeout: Duration) -> Facts {
    let spec = &revision.spec;
    let seconds = |seconds: Option<i64>| {
        seconds.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0).map(Duration::from_secs)
    };
    let only_kubelet_can_tell = spec.pod.containers.iter().any(|container| {
        let readiness = container.readiness_probe.as_ref();
        container.startup_probe.is_some() || readiness.is_some_and(|probe| probe.exec.is_some())
    });
    Facts {
        limit: spec
            .container_concurrency
            .and_then(|it| u32::try_from(it).ok())
            .filter(|it| *it > 0),
        timeout: seconds(spec.timeout_seconds).unwrap_or(timeout),
        response_start: seconds(spec.response_start_timeout_seconds),
        may_ask: !only_kubelet_can_tell,
    }
}

/// The pods behind the slices of a revision's private Service, each once.
pub fn endpoints<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Vec<Seen<Address>> {
    let mut all: Vec<Seen<Address>> = slices.flat_map(pods).collect();
    all.sort_by(|a, b| (a.address.at, &a.uid).cmp(&(b.address.at, &b.uid)));
    all.dedup_by(|a, b| a.address == b.address && a.uid == b.uid);
    all
}

fn pods(slice: &EndpointSlice) -> Vec<Seen<Address>> {
    let named = |name: &str| {
        let port = slice.ports.as_ref()?.iter().find(|it| it.name.as_deref() == Some(name))?;
        u16::try_from(port.port?).ok()
    };
    let (port, protocol) = match (named("http"), named("http2")) {
        (Some(port), _) => (port, Protocol::Http1),
        (None, Some(port)) => (port, Protocol::H2c),
        (None, None) => return Vec::new(),
    };
    let pod = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        Some(Seen {
            address: Address { at: SocketAddr::new(ip, port), protocol },
            uid: endpoint.target_ref.as_ref().and_then(|it| it.uid.clone()).unwrap_or_default(),
            name: endpoint.target_ref.as_ref().and_then(|it| it.name.clone()).unwrap_or_default(),
            // Absent means ready: endpoints made by hand have no conditions.
            ready: conditions.ready.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
        })
    };
    slice.endpoints.iter().flatten().filter_map(pod).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_revision_tells_limit_timeouts_and_who_may_ask() {
        let check = |spec: serde_json::Value, expected: (Option<u32>, u64, Option<u64>, bool)| {
            let revision: serving::Revision = serde_json::from_value(json!({
                "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
                "metadata": {"name": "hello-00001"}, "spec": spec,
            }))
            .unwrap();
            let found = facts(&revision, Duration::from_secs(300));
            let expected = Facts {
                limit: expected.0,
                timeout: Duration::from_secs(expected.1),
                response_start: expected.2.map(Duration::from_secs),
                may_ask: expected.3,
            };
            assert_eq!(found, expected, "{spec}");
        };
        check(json!({"containers": []}), (None, 300, None, true));
        check(
            json!({"containers": [], "containerConcurrency": 0, "timeoutSeconds": 10}),
            (None, 10, None, true),
        );
        check(
            json!({"containers": [], "containerConcurrency": 2, "responseStartTimeoutSeconds": 5}),
            (Some(2), 300, Some(5), true),
        );
        check(
            json!({"containers": [{"name": "a", "readinessProbe": {"exec": {"command": ["x"]}}}]}),
            (None, 300, None, false),
        );
        check(
            json!({"containers": [{"name": "a", "startupProbe": {"tcpSocket": {"port": 1}}}]}),
            (None, 300, None, false),
        );
    }

    #[test]
    fn slices_tell_the_pods() {
        let slice = |value| serde_json::from_value::<EndpointSlice>(value).unwrap();
        let slices = [
            slice(json!({
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": 8112}, {"name": "http", "port": 8012}],
                "endpoints": [
                    {"addresses": ["10.0.0.2"], "conditions": {"ready": false},
                     "targetRef": {"kind": "Pod", "uid": "b"}},
                    {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                     "targetRef": {"kind": "Pod", "uid": "a"}},
                ],
            })),
            slice(json!({
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8012}],
                "endpoints": [
                    {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "uid": "a"}},
                    {"addresses": ["10.0.0.3"],
                     "conditions": {"ready": false, "serving": true, "terminating": true}},
                ],
            })),
        ];
        let found: Vec<(String, String, bool, bool)> = endpoints(slices.iter())
            .into_iter()
            .map(|it| (it.address.at.to_string(), it.uid, it.ready, it.terminating))
            .collect();
        let expected = [
            ("10.0.0.1:8012", "a", true, false),
            ("10.0.0.2:8012", "b", false, false),
            ("10.0.0.3:8012", "", false, true),
        ];
        let expected = expected.map(|(at, uid, r, t)| (at.to_owned(), uid.to_owned(), r, t));
        assert_eq!(found, expected);
        let h2c = slice(json!({
            "addressType": "IPv6", "ports": [{"name": "http2", "port": 8013}],
            "endpoints": [{"addresses": ["fd00::1"]}],
        }));
        let found = endpoints([&h2c].into_iter());
        assert_eq!(found[0].address.protocol, Protocol::H2c);
        assert_eq!(found[0].address.at.to_string(), "[fd00::1]:8013");
    }
}
