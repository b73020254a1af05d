//! The objects below a PodAutoscaler: ServerlessService, its two Services, the public Endpoints.
//!
//! Pure: objects in, objects out.
//! Source: knative/serving `pkg/reconciler/autoscaling/resources/sks.go`,
//! `pkg/reconciler/serverlessservice/resources/services.go`.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    autoscaling::PodAutoscaler,
    keys,
    names::child_name,
    networking::{ServerlessService, ServerlessServiceSpec},
};
use k8s_openapi::{
    api::{
        core::v1::{
            EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Service,
            ServicePort, ServiceSpec,
        },
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use runtime::plan;

use crate::path::{self, Mode};

/// The Service in the system's namespace whose Endpoints are the activators.
pub const ACTIVATOR_SERVICE: &str = "activator-service";
/// Names the Service that an EndpointSlice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Ports on which queue and activator take HTTP/1.1, HTTP/2 without TLS, and both with TLS.
const HTTP: i32 = 8012;
const HTTP2: i32 = 8013;
const HTTPS: i32 = 8112;

/// The name of the Service whose endpoints are a revision's pods.
pub fn private_name(revision: &str) -> String {
    child_name(revision, "-private")
}

/// The projection of the choice of way; the same name as `autoscaler`. No activators means all of them.
pub fn serverless(autoscaler: &PodAutoscaler, mode: Mode, activators: u32) -> ServerlessService {
    let meta = &autoscaler.metadata;
    let annotations = meta.annotations.clone().map(|mut annotations| {
        annotations.remove(keys::autoscaling::METRIC);
        annotations
    });
    let target = &autoscaler.spec.scale_target_ref;
    ServerlessService {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: annotations.filter(|it| !it.is_empty()),
            owner_references: Some(vec![plan::owner(autoscaler)]),
            ..ObjectMeta::default()
        },
        spec: ServerlessServiceSpec {
            mode: Some(mode.name().to_owned()),
            num_activators: Some(i32::try_from(activators).unwrap_or(i32::MAX))
                .filter(|count| *count > 0),
            object_ref: ObjectReference {
                api_version: target.api_version.clone(),
                kind: target.kind.clone(),
                name: target.name.clone(),
                ..ObjectReference::default()
            },
            protocol_type: autoscaler.spec.protocol_type.clone(),
        },
        status: None,
    }
}

/// The Service that selects the revision's pods.
pub fn private_service(
    serverless: &ServerlessService,
    selector: BTreeMap<String, String>,
) -> Service {
    let name = private_name(serverless.metadata.name.as_deref().unwrap_or_default());
    let protocol = Protocol::of(serverless);
    let named = |name: &str, port: i32| ServicePort {
        target_port: Some(IntOrString::String(name.to_owned())),
        ..port_of(name, port, port)
    };
    let ports = vec![
        ServicePort {
            app_protocol: protocol.app(),
            ..port_of(protocol.name(), 80, protocol.target())
        },
        port_of("https", 443, HTTPS),
        named("http-autometric", 9090),
        named("http-usermetric", 9091),
        // Where a mesh balances by Service port, this makes it listen on the pod's port.
        port_of(&format!("{}-istio", protocol.name()), protocol.target(), protocol.target()),
    ];
    Service {
        metadata: child(serverless, name, "Private"),
        spec: Some(ServiceSpec {
            ports: Some(ports),
            selector: Some(selector),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service that requests are sent to; its Endpoints are [`public_endpoints`].
pub fn public_service(serverless: &ServerlessService) -> Service {
    let protocol = Protocol::of(serverless);
    let ports = vec![
        ServicePort {
            app_protocol: protocol.app(),
            ..port_of(protocol.name(), protocol.port(), protocol.target())
        },
        port_of("https", 443, HTTPS),
    ];
    let name = serverless.metadata.name.clone().unwrap_or_default();
    Service {
        metadata: child(serverless, name, "Public"),
        spec: Some(ServiceSpec { ports: Some(ports), ..ServiceSpec::default() }),
        status: None,
    }
}

/// The Endpoints of the public Service with these subsets.
pub fn public_endpoints(serverless: &ServerlessService, subsets: Vec<EndpointSubset>) -> Endpoints {
    let name = serverless.metadata.name.clone().unwrap_or_default();
    Endpoints {
        metadata: child(serverless, name, "Public"),
        subsets: Some(subsets).filter(|it| !it.is_empty()),
    }
}

/// The chosen activators, at the ports that the revision's protocol takes.
pub fn activator_subsets(
    serverless: &ServerlessService,
    activators: &Endpoints,
    count: u32,
) -> Vec<EndpointSubset> {
    let subsets = activators.subsets.as_deref().unwrap_or_default();
    let addresses = subsets.iter().flat_map(|it| it.addresses.iter().flatten());
    let mut all: Vec<&str> = addresses.map(|it| it.ip.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    let target = serverless.metadata.name.as_deref().unwrap_or_default();
    let chosen = path::subset(&all, count as usize, target);
    let everyone = chosen.len() == all.len();
    subsets
        .iter()
        .filter_map(|subset| {
            let mut addresses = subset.addresses.clone().unwrap_or_default();
            addresses.retain(|it| chosen.contains(&it.ip.as_str()));
            let ports = filter_ports(serverless, subset.ports.as_deref().unwrap_or_default());
            (everyone || !addresses.is_empty()).then(|| EndpointSubset {
                addresses: Some(addresses).filter(|it| !it.is_empty()),
                not_ready_addresses: subset.not_ready_addresses.clone(),
                ports: Some(ports),
            })
        })
        .collect()
}

/// The revision's pods, at the ports that take requests. Addresses are sorted.
pub fn pod_subsets(
    serverless: &ServerlessService,
    slices: &[impl AsRef<EndpointSlice>],
) -> Vec<EndpointSubset> {
    let mut ready = Vec::new();
    let mut not_ready = Vec::new();
    let mut ports: Vec<EndpointPort> = Vec::new();
    for slice in slices.iter().map(AsRef::as_ref) {
        for endpoint in slice.endpoints.iter().flatten() {
            let is_ready = endpoint.conditions.as_ref().is_none_or(|it| it.ready.unwrap_or(true));
            let list = if is_ready { &mut ready } else { &mut not_ready };
            list.extend(endpoint.addresses.first().map(|ip| EndpointAddress {
                ip: ip.clone(),
                hostname: endpoint.hostname.clone(),
                node_name: endpoint.node_name.clone(),
                target_ref: endpoint.target_ref.clone(),
            }));
        }
        if ports.is_empty() {
            let all = slice.ports.iter().flatten().filter_map(|it| {
                Some(EndpointPort {
                    app_protocol: it.app_protocol.clone(),
                    name: it.name.clone(),
                    port: it.port?,
                    protocol: it.protocol.clone(),
                })
            });
            ports = filter_ports(serverless, &all.collect::<Vec<_>>());
        }
    }
    if ready.is_empty() && not_ready.is_empty() {
        return Vec::new();
    }
    let sorted = |mut list: Vec<EndpointAddress>| {
        list.sort_by(|a, b| a.ip.cmp(&b.ip));
        Some(list).filter(|it| !it.is_empty())
    };
    vec![EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(not_ready),
        ports: Some(ports).filter(|it| !it.is_empty()),
    }]
}

/// Pods that are ready, of all slices of a private Service.
pub fn ready_pods(slices: &[impl AsRef<EndpointSlice>]) -> u32 {
    let endpoints = slices.iter().flat_map(|it| it.as_ref().endpoints.iter().flatten());
    let ready = endpoints.filter(|it| {
        it.conditions.as_ref().is_none_or(|conditions| {
            conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
        })
    });
    u32::try_from(ready.count()).unwrap_or(u32::MAX)
}

/// Names of the pods, of all slices of a private Service.
pub fn pod_names(slices: &[impl AsRef<EndpointSlice>]) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|it| it.as_ref().endpoints.iter().flatten());
    endpoints.filter_map(|it| it.target_ref.as_ref()?.name.clone()).collect()
}

/// Activators that are ready.
pub fn ready_activators(activators: Option<&Endpoints>) -> usize {
    let subsets = activators.and_then(|it| it.subsets.as_deref()).unwrap_or_default();
    subsets.iter().map(|it| it.addresses.as_ref().map_or(0, Vec::len)).sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    H2c,
}

impl Protocol {
    fn of(serverless: &ServerlessService) -> Protocol {
        if serverless.spec.protocol_type == "h2c" { Protocol::H2c } else { Protocol::Http1 }
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Http1 => "http",
            Protocol::H2c => "http2",
        }
    }

    /// Port of the public Service.
    fn port(self) -> i32 {
        match self {
            Protocol::Http1 => 80,
            Protocol::H2c => 81,
        }
    }

    /// Port of queue and activator.
    fn target(self) -> i32 {
        match self {
            Protocol::Http1 => HTTP,
            Protocol::H2c => HTTP2,
        }
    }

    fn app(self) -> Option<String> {
        (self == Protocol::H2c).then(|| "kubernetes.io/h2c".to_owned())
    }
}

fn port_of(name: &str, port: i32, target: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        protocol: Some("TCP".to_owned()),
        port,
        target_port: Some(IntOrString::Int(target)),
        ..ServicePort::default()
    }
}

fn filter_ports(serverless: &ServerlessService, ports: &[EndpointPort]) -> Vec<EndpointPort> {
    let target = Protocol::of(serverless).target();
    let is_wanted = |port: &&EndpointPort| port.port == target || port.port == HTTPS;
    ports.iter().filter(is_wanted).cloned().collect()
}

fn child(serverless: &ServerlessService, name: String, service_type: &str) -> ObjectMeta {
    let meta = &serverless.metadata;
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(
        keys::networking::SERVERLESS_SERVICE.to_owned(),
        meta.name.clone().unwrap_or_default(),
    );
    labels.insert(keys::networking::SERVICE_TYPE.to_owned(), service_type.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: meta.namespace.clone(),
        labels: Some(labels),
        annotations: meta.annotations.clone(),
        owner_references: Some(vec![plan::owner(serverless)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        conditions::{self, Facts},
        policy::policy,
    };

    /// What Knative's controllers made, as recorded.
    fn cases() -> Vec<Value> {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/knative-cases/serving-reconcile.json"
        ));
        serde_json::from_str(text).unwrap()
    }

    fn strip(mut object: Value) -> Value {
        let meta = object["metadata"].as_object_mut().unwrap();
        for name in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
            meta.remove(name);
        }
        object
    }

    /// What the API server fills in.
    fn strip_service(object: Value) -> Value {
        let mut object = strip(object);
        object.as_object_mut().unwrap().remove("status");
        let spec = object["spec"].as_object_mut().unwrap();
        spec.retain(|name, _| ["ports", "selector"].contains(&name.as_str()));
        object
    }

    fn without_times(mut status: Value) -> Value {
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition.as_object_mut().unwrap().remove("lastTransitionTime");
        }
        status.as_object_mut().unwrap().remove("observedGeneration");
        status.as_object_mut().unwrap().remove("desiredScale");
        status
    }

    #[test]
    fn children_and_status_are_as_recorded() {
        let mut compared = 0;
        for case in cases() {
            let objects = case["then"].as_array().unwrap();
            let find = |api: &str, kind: &str, namespace: &Value, name: &str| {
                let found = objects.iter().find(|it| {
                    it["kind"] == kind
                        && it["apiVersion"] == api
                        && it["metadata"]["namespace"] == *namespace
                        && it["metadata"]["name"] == name
                });
                found.cloned().unwrap_or_default()
            };
            let mut config = config::Config::default();
            for step in case["steps"].as_array().unwrap() {
                let path = step["request"]["path"].as_str().unwrap_or_default();
                if let Some((_, name)) = path.split_once("knative-serving/configmaps/")
                    && name == config::autoscaler::NAME
                {
                    let data = step["request"]["body"]["data"].clone();
                    config.read(name, &serde_json::from_value(data).unwrap_or_default()).unwrap();
                }
            }
            for object in objects.iter().filter(|it| it["kind"] == "PodAutoscaler") {
                let autoscaler: PodAutoscaler = serde_json::from_value(untimed(object)).unwrap();
                let name = autoscaler.metadata.name.clone().unwrap();
                let namespace = &object["metadata"]["namespace"];
                let recorded = find(
                    "networking.internal.knative.dev/v1alpha1",
                    "ServerlessService",
                    namespace,
                    &name,
                );
                if recorded.is_null() {
                    continue; // Of another class.
                }
                let about = format!("{} {name}", case["name"]);
                let policy = policy(&autoscaler, &config);
                let ready = autoscaler.status.as_ref().unwrap().actual_scale.unwrap() as u32;
                let count = path::activators(ready, &policy);
                let made = serverless(&autoscaler, Mode::Proxy, count);
                let mut expected = strip(recorded.clone());
                let status = expected.as_object_mut().unwrap().remove("status").unwrap();
                assert_eq!(serde_json::to_value(&made).unwrap(), expected, "{about}");

                let mut parent: ServerlessService =
                    serde_json::from_value(untimed(&recorded)).unwrap();
                parent.status = None;
                let private = private_name(&name);
                let facts = Facts {
                    wanted: None,
                    ready_pods: ready,
                    private_service: Some(&private),
                    public_service: Some(&name),
                    blocked: None,
                };
                let now = jiff::Timestamp::UNIX_EPOCH;
                let found = conditions::serverless_status(&parent, Mode::Proxy, &facts, now);
                let found = serde_json::to_value(found).unwrap();
                assert_eq!(without_times(found), without_times(status), "{about}");
                let mut fresh = autoscaler.clone();
                fresh.status = None;
                let found = conditions::status(&fresh, &facts, &policy, now);
                let found = without_times(serde_json::to_value(found).unwrap());
                // A revision that went idle or was scaled since had a past that is not recorded.
                assert_eq!(found, without_times(object["status"].clone()), "{about}");

                let recorded = find("v1", "Service", namespace, &private);
                let selector =
                    serde_json::from_value(recorded["spec"]["selector"].clone()).unwrap();
                let made = serde_json::to_value(private_service(&parent, selector)).unwrap();
                assert_eq!(strip_service(made), strip_service(recorded), "{about} private");
                let recorded = find("v1", "Service", namespace, &name);
                let made = serde_json::to_value(public_service(&parent)).unwrap();
                assert_eq!(strip_service(made), strip_service(recorded), "{about} public");

                let recorded = find("v1", "Endpoints", namespace, &name);
                let subset = &recorded["subsets"][0];
                let mut activators = serde_json::json!({ "subsets": [subset] });
                activators["subsets"][0]["ports"] = serde_json::json!([
                    {"name": "http2", "port": 8013, "protocol": "TCP"},
                    {"name": "http", "port": 8012, "protocol": "TCP"},
                    {"name": "https", "port": 8112, "protocol": "TCP"},
                    {"name": "http-metrics", "port": 9090, "protocol": "TCP"}]);
                let activators: Endpoints = serde_json::from_value(activators).unwrap();
                let subsets = activator_subsets(&parent, &activators, count);
                let made = serde_json::to_value(public_endpoints(&parent, subsets)).unwrap();
                assert_eq!(strip(made), strip(recorded), "{about} endpoints");
                compared += 1;
            }
        }
        assert!(compared > 60, "only {compared}");
    }

    /// Without the placeholders that stand for times and numbers.
    fn untimed(object: &Value) -> Value {
        let mut object = object.clone();
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.remove("creationTimestamp");
        meta.remove("generation");
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("observedGeneration");
            for condition in status["conditions"].as_array_mut().unwrap() {
                condition.as_object_mut().unwrap().remove("lastTransitionTime");
            }
        }
        object
    }
}
