//! The hosts of a Route.
//!
//! Pure: names and the configuration in, hosts out.
//! Source: knative/serving `pkg/reconciler/route/domains`.

use api::{
    keys::networking::{CLUSTER_LOCAL, VISIBILITY},
    serving::Route,
};
use config::{
    Config,
    domain::{CLUSTER_DOMAIN, CLUSTER_LOCAL_DOMAIN},
    network::HostParts,
};

use crate::metadata::{name, namespace};

/// Who can reach a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Pods of the cluster.
    ClusterLocal,
    /// Everybody.
    External,
}

/// The name that stands for a tag of a Route: in hosts, and as the name of its placeholder Service.
pub fn host_name(route: &Route, tag: &str, config: &Config) -> Result<String, String> {
    let route_name = name(&route.metadata);
    if tag.is_empty() {
        return Ok(route_name.to_owned());
    }
    config
        .network
        .tag_name(tag, route_name)
        .map_err(|why| format!("domain name error: error executing the TagTemplate: {why}"))
}

/// The host of a tag of a Route, as those see it who can reach it.
pub fn host(
    route: &Route,
    tag: &str,
    visibility: Visibility,
    config: &Config,
) -> Result<String, String> {
    let host_name = host_name(route, tag, config)?;
    let mut labels = route.metadata.labels.clone().unwrap_or_default();
    let host = match visibility {
        Visibility::ClusterLocal => {
            format!("{host_name}.{}.{CLUSTER_LOCAL_DOMAIN}", namespace(&route.metadata))
        }
        Visibility::External => {
            labels.remove(VISIBILITY);
            let parts = HostParts {
                name: &host_name,
                namespace: namespace(&route.metadata),
                domain: config.domain.lookup(&labels),
                annotations: &route.metadata.annotations.clone().unwrap_or_default(),
                labels: &labels,
            };
            config.network.host(parts).map_err(|why| {
                format!("domain name error: error executing the DomainTemplate: {why}")
            })?
        }
    };
    check(&host)?;
    Ok(host)
}

/// All names of a host inside the cluster, sorted.
pub fn expanded(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    if let Some(short) = host.strip_suffix(CLUSTER_DOMAIN).and_then(|it| it.strip_suffix('.')) {
        names.push(short.to_owned());
        names.extend(short.strip_suffix(".svc").map(str::to_owned));
    }
    names.sort();
    names
}

/// The most that anybody can see of a Route without labels on its placeholders.
pub fn visibility(route: &Route, config: &Config) -> Visibility {
    let labels = route.metadata.labels.clone().unwrap_or_default();
    if config.domain.lookup(&labels) == CLUSTER_LOCAL_DOMAIN {
        return Visibility::ClusterLocal;
    }
    Visibility::External
}

/// The URL of a host; hosts outside the cluster carry the gateway's port where it is not the
/// scheme's own.
pub fn url(host: &str, visibility: Visibility, config: &Config) -> String {
    match visibility {
        Visibility::ClusterLocal => format!("http://{host}"),
        Visibility::External => outside(&config.network.default_external_scheme, host, config),
    }
}

/// The URL of a host outside the cluster that has no certificate.
pub fn plain_url(host: &str, config: &Config) -> String {
    outside("http", host, config)
}

/// The URL of a host outside the cluster that has a certificate.
pub fn secure_url(host: &str, config: &Config) -> String {
    outside("https", host, config)
}

fn outside(scheme: &str, host: &str, config: &Config) -> String {
    let port = match scheme {
        "https" => config.network.external_https_port,
        _ => config.network.external_port,
    };
    match port {
        None => format!("{scheme}://{host}"),
        Some(port) => format!("{scheme}://{host}:{port}"),
    }
}

/// Whether labels make what they are on visible in the cluster only.
pub fn is_local(labels: &Option<crate::metadata::Map>) -> bool {
    crate::metadata::get(labels, VISIBILITY) == CLUSTER_LOCAL
}

/// Source: k8s.io/apimachinery `IsFullyQualifiedDomainName`.
fn check(host: &str) -> Result<(), String> {
    let invalid = |why: &str| {
        Err(format!(
            "domain name error: invalid domain name \"{host}\": url: Invalid value: \"{host}\": {why}"
        ))
    };
    if host.is_empty() {
        return Err("domain name error: invalid domain name \"\": url: Required value".to_owned());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 {
        return invalid("must be no more than 253 characters");
    }
    let is_label = |label: &str| {
        let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|it| is_edge(*it))
            && bytes.last().is_some_and(|it| is_edge(*it))
            && bytes.iter().all(|it| is_edge(*it) || *it == b'-')
    };
    if !name.split('.').all(is_label) {
        return invalid(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        );
    }
    if name.split('.').count() < 3 {
        return invalid("should be a domain with at least three segments separated by dots");
    }
    Ok(())
}
