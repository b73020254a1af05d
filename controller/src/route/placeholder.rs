//! The Kubernetes Services that keep a Route's names: they point at the gateway once it serves.
//!
//! Pure: a Route and its Ingress in, objects out.
//! Source: knative/serving `pkg/reconciler/route/resources/service.go`.

use api::{
    keys::{networking::VISIBILITY, serving},
    networking::{Ingress, LoadBalancerIngress},
    serving::Route,
};
use config::Config;
use k8s_openapi::{
    api::core::v1::{
        EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service, ServicePort, ServiceSpec,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use runtime::plan::owner;

use super::domain::{self, Visibility};
use crate::metadata::{self, name};

const PORT_NAME: &str = "http2";
const H2C: &str = "kubernetes.io/h2c";
const EXTERNAL_NAME: &str = "ExternalName";
const CLUSTER_IP: &str = "ClusterIP";
/// `clusterIP` of a Service whose name resolves to its endpoints.
const HEADLESS: &str = "None";

/// Where a placeholder points.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The Service.
    pub service: Service,
    /// The endpoints of a Service that points at an address.
    pub endpoints: Option<Endpoints>,
}

/// The placeholder of a tag before any gateway serves the Route.
pub fn waiting(route: &Route, tag: &str, config: &Config) -> Result<Service, String> {
    let visibility = if domain::is_local(&route.metadata.labels) {
        Visibility::ClusterLocal
    } else {
        Visibility::External
    };
    let host = domain::host(route, tag, visibility, config)?;
    let metadata = meta(route, &domain::host_name(route, tag, config)?);
    Ok(Service { metadata, spec: Some(external(&host)), status: None })
}

/// The placeholder of a tag that points at the gateway; nothing while the Ingress names none.
/// `is_private` says that people asked for the tag to be seen in the cluster only.
pub fn serving(
    route: &Route,
    tag: &str,
    ingress: &Ingress,
    is_private: bool,
    config: &Config,
) -> Option<Place> {
    let status = ingress.status.as_ref()?;
    let private = status.private_load_balancer.as_ref();
    let has_private = private.is_some_and(|it| !it.ingress.is_empty());
    let balancer =
        if is_private || has_private { private } else { status.public_load_balancer.as_ref() };
    // More than one address cannot be told in one Service.
    let [balancer] = balancer?.ingress.as_slice() else { return None };
    let metadata = meta(route, &domain::host_name(route, tag, config).ok()?);
    let (spec, address) = spec(balancer)?;
    let endpoints = address.map(|address| Endpoints {
        metadata: metadata.clone(),
        subsets: Some(vec![EndpointSubset {
            addresses: Some(vec![EndpointAddress { ip: address, ..Default::default() }]),
            not_ready_addresses: None,
            ports: Some(vec![EndpointPort {
                name: Some(PORT_NAME.to_owned()),
                port: 80,
                protocol: Some("TCP".to_owned()),
                app_protocol: Some(H2C.to_owned()),
            }]),
        }]),
    });
    Some(Place { service: Service { metadata, spec: Some(spec), status: None }, endpoints })
}

/// `found` as it should become, where it is otherwise than `wanted`. Labels and annotations of others
/// stay. Nothing also where only a new object can be as wanted: see [`must_be_replaced`].
pub fn changed(found: &Service, wanted: &Service) -> Option<Service> {
    let labels = metadata::union(&found.metadata.labels, &wanted.metadata.labels);
    let annotations = metadata::union(&found.metadata.annotations, &wanted.metadata.annotations);
    let (Some(from), Some(to)) = (&found.spec, &wanted.spec) else { return None };
    let is_same = from.type_ == to.type_
        && from.external_name == to.external_name
        && from.ports.as_deref().map(ports) == to.ports.as_deref().map(ports)
        && to.cluster_ip.as_ref().is_none_or(|it| Some(it) == from.cluster_ip.as_ref())
        && metadata::same(&labels, &found.metadata.labels)
        && metadata::same(&annotations, &found.metadata.annotations);
    if is_same || must_be_replaced(found, wanted) {
        return None;
    }
    let mut changed = found.clone();
    changed.metadata.labels = labels;
    changed.metadata.annotations = annotations;
    let mut spec = to.clone();
    if spec.type_ == from.type_ && spec.type_.as_deref() == Some(CLUSTER_IP) {
        spec.cluster_ip = from.cluster_ip.clone();
        spec.cluster_ips = from.cluster_ips.clone();
    }
    changed.spec = Some(spec);
    Some(changed)
}

/// Whether Kubernetes forbids the change: an address of a Service cannot be given back or changed.
pub fn must_be_replaced(found: &Service, wanted: &Service) -> bool {
    let (Some(from), Some(to)) = (&found.spec, &wanted.spec) else { return false };
    if from.type_ != to.type_ {
        return from.type_.as_deref() != Some(EXTERNAL_NAME);
    }
    let is_headless = |it: &ServiceSpec| it.cluster_ip.as_deref() == Some(HEADLESS);
    from.type_.as_deref() == Some(CLUSTER_IP) && is_headless(from) != is_headless(to)
}

/// What tells ports apart; the API fills in the rest.
fn ports(ports: &[ServicePort]) -> Vec<(Option<&str>, i32, Option<&str>)> {
    ports.iter().map(|it| (it.name.as_deref(), it.port, it.app_protocol.as_deref())).collect()
}

/// An address comes before names: resolvers treat aliases in ways that surprise.
fn spec(balancer: &LoadBalancerIngress) -> Option<(ServiceSpec, Option<String>)> {
    let given = |text: &Option<String>| text.clone().filter(|it| !it.is_empty());
    if let Some(ip) = given(&balancer.ip) {
        let spec = ServiceSpec {
            type_: Some(CLUSTER_IP.to_owned()),
            cluster_ip: Some(HEADLESS.to_owned()),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        };
        return Some((spec, Some(ip)));
    }
    if let Some(host) = given(&balancer.domain_internal).or_else(|| given(&balancer.domain)) {
        return Some((external(&host), None));
    }
    if balancer.mesh_only == Some(true) {
        let port = ServicePort {
            name: Some("http".to_owned()),
            port: 80,
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        };
        let spec = ServiceSpec {
            type_: Some(CLUSTER_IP.to_owned()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        };
        return Some((spec, None));
    }
    None
}

fn external(host: &str) -> ServiceSpec {
    ServiceSpec {
        type_: Some(EXTERNAL_NAME.to_owned()),
        external_name: Some(host.to_owned()),
        session_affinity: Some("None".to_owned()),
        ports: Some(vec![port()]),
        ..ServiceSpec::default()
    }
}

fn port() -> ServicePort {
    ServicePort {
        name: Some(PORT_NAME.to_owned()),
        app_protocol: Some(H2C.to_owned()),
        port: 80,
        target_port: Some(IntOrString::Int(80)),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn meta(route: &Route, host_name: &str) -> ObjectMeta {
    // Who wants one tag to be private labels its placeholder, so the Route's label stays away.
    let labels = metadata::with(
        metadata::without(&route.metadata.labels, |key| key == VISIBILITY),
        [(serving::ROUTE, name(&route.metadata))],
    );
    ObjectMeta {
        name: Some(host_name.to_owned()),
        namespace: route.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: metadata::some(metadata::without(&route.metadata.annotations, |key| {
            key == metadata::LAST_APPLIED
        })),
        owner_references: Some(vec![owner(route)]),
        ..ObjectMeta::default()
    }
}
