//! What a DomainMapping leads to: the Kubernetes Service behind the address of what it names.
//!
//! Pure: objects in, a name or a reason out.
//! Source: knative/serving `pkg/reconciler/domainmapping/reconciler.go`, knative.dev/pkg `resolver`.

use std::sync::Arc;

use api::{
    duck::KReference,
    go::quote,
    serving::{Address, DomainMapping, Route, Service},
};
use config::domain::CLUSTER_LOCAL_DOMAIN;
use k8s_openapi::api::core::v1 as core;

use crate::metadata::namespace;

/// Finds objects by namespace and name.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Knative Services.
    pub service: &'a dyn Fn(&str, &str) -> Option<Arc<Service>>,
    /// Routes.
    pub route: &'a dyn Fn(&str, &str) -> Option<Arc<Route>>,
    /// Kubernetes Services.
    pub plain: &'a dyn Fn(&str, &str) -> Option<Arc<core::Service>>,
}

/// A Kubernetes Service of the mapping's namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name in the cluster's DNS.
    pub host: String,
    /// Its name.
    pub service: String,
}

/// Why a DomainMapping leads nowhere.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// What it names has no address, or is not there.
    #[error("{0}")]
    NoAddress(String),
    /// It has one, of which a domain cannot be another name.
    #[error("resolved URI {0}")]
    WrongAddress(String),
}

impl Problem {
    /// What is said before the text where it is not shown with its condition.
    pub fn context(&self) -> String {
        match self {
            Problem::NoAddress(_) => "resolving reference: ".to_owned(),
            Problem::WrongAddress(_) => String::new(),
        }
    }
}

/// What `mapping` leads to.
pub fn target(mapping: &DomainMapping, lookup: Lookup) -> Result<Target, Problem> {
    let own = namespace(&mapping.metadata);
    let url = address(&mapping.spec.reference, own, lookup).map_err(Problem::NoAddress)?;
    let (host, path) = crate::ingress::parts(&url);
    let wrong = |why: &str| Err(Problem::WrongAddress(format!("{} {why}", quote(&url))));
    if !path.strip_suffix('/').unwrap_or(path).is_empty() {
        return wrong("contains a path");
    }
    let labels = host.strip_suffix(CLUSTER_LOCAL_DOMAIN).and_then(|it| it.strip_suffix('.'));
    let labels: Vec<&str> = labels.map(|it| it.split('.').collect()).unwrap_or_default();
    let [service, namespace] = labels[..] else {
        return wrong(&format!(
            "must be of the form {{name}}.{{namespace}}.{CLUSTER_LOCAL_DOMAIN}"
        ));
    };
    if namespace != own {
        return wrong("must be in same namespace as DomainMapping");
    }
    Ok(Target { host: host.to_owned(), service: service.to_owned() })
}

/// Terms of an index of what DomainMappings of a namespace name.
pub fn references(mapping: &DomainMapping) -> Vec<String> {
    vec![mapping.spec.reference.name.clone()]
}

/// The URL at which what `reference` names is called.
fn address(reference: &KReference, own: &str, lookup: Lookup) -> Result<String, String> {
    let given = reference.namespace.as_deref().filter(|it| !it.is_empty());
    let (namespace, name) = (given.unwrap_or(own), reference.name.as_str());
    let version = reference.api_version.as_deref().unwrap_or_default();
    let missing = |resource: &str| {
        let name = quote(name);
        format!("failed to get object {namespace}/{}: {resource} {name} not found", reference.name)
    };
    let address = match (version, reference.kind.as_str()) {
        ("serving.knative.dev/v1", "Service") => {
            let found = (lookup.service)(namespace, name);
            let found = found.ok_or_else(|| missing("services.serving.knative.dev"))?;
            found.status.as_ref().and_then(|it| it.address.clone())
        }
        ("serving.knative.dev/v1", "Route") => {
            let found = (lookup.route)(namespace, name);
            let found = found.ok_or_else(|| missing("routes.serving.knative.dev"))?;
            found.status.as_ref().and_then(|it| it.address.clone())
        }
        ("v1", "Service") => {
            (lookup.plain)(namespace, name).ok_or_else(|| missing("services"))?;
            let url = format!("http://{name}.{namespace}.{CLUSTER_LOCAL_DOMAIN}");
            return Ok(url);
        }
        (version, kind) => {
            return Err(format!(
                "failed to get lister for {kind} of {version}: a domain leads to a Service or a \
                 Route of serving.knative.dev/v1, or to a Service of v1"
            ));
        }
    };
    let described = || {
        format!(
            "Kind = {}, Namespace = {namespace}, Name = {name}, APIVersion = {version}, Group = {}, \
             Address = {}",
            reference.kind,
            reference.group.as_deref().unwrap_or_default(),
            reference.address.as_deref().unwrap_or_default()
        )
    };
    let Some(Address { url }) = address else {
        return Err(format!("address not set for {}", described()));
    };
    if let Some(named) = reference.address.as_deref().filter(|it| !it.is_empty()) {
        // These kinds have one address, which has no name.
        return Err(format!("address with name {} not found for {}", quote(named), described()));
    }
    match url {
        None => Err(format!("URL missing in address of {}", described())),
        Some(url) if crate::ingress::parts(&url).0.is_empty() => {
            Err(format!("hostname missing in address of {}", described()))
        }
        Some(url) => Ok(url),
    }
}
