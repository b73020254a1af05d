//! `config-network`: hosts, gateways and certificates.
//!
//! Pure: data in, values out. Source: knative/networking `pkg/config/config.go`.

use std::{collections::BTreeMap, time::Duration};

use api::go::{
    quote,
    template::{Template, Value, text},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    Error,
    read::{Data, yaml},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-network";

/// Key of [`Network::external_port`].
pub const EXTERNAL_PORT: &str = "external-port";

/// Key of [`Network::external_https_port`].
pub const EXTERNAL_HTTPS_PORT: &str = "external-https-port";

/// The values of `config-network`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Class of an Ingress that names none; upstream's default is Istio's, ours is our own gateway's.
    pub ingress_class: String,
    pub certificate_class: String,
    /// Namespaces that get a certificate for all their routes; absent is none.
    pub namespace_wildcard_cert_selector: Option<LabelSelector>,
    /// Host of a route, from [`domain_values`](Network::host).
    pub domain_template: Template,
    /// Name of a tag's host.
    pub tag_template: Template,
    pub external_domain_tls: bool,
    pub cluster_local_domain_tls: bool,
    pub system_internal_tls: bool,
    pub http_protocol: HttpProtocol,
    /// How long traffic takes to move to a new revision; whole seconds, 0 is at once.
    pub rollout_duration: Duration,
    pub autocreate_cluster_domain_claims: bool,
    pub enable_mesh_pod_addressability: bool,
    pub mesh_compatibility_mode: MeshCompatibility,
    /// Scheme of URLs while there are no certificates: `http` or `https`.
    pub default_external_scheme: String,
    /// Port of the gateway as clients reach it; absent where it is the scheme's own. Weft's addition:
    /// `weft up` sets it when port 80 is not to be had.
    pub external_port: Option<u16>,
    /// As [`Network::external_port`], for URLs with `https`.
    pub external_https_port: Option<u16>,
}

/// What a gateway does with plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    Enabled,
    Disabled,
    /// Sends clients to HTTPS.
    Redirected,
}

/// Whether pods are called by their address or through their Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshCompatibility {
    /// Through the Service.
    Enabled,
    /// By address.
    Disabled,
    /// By address, and through the Service where that fails.
    Auto,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            ingress_class: api::keys::networking::WEFT_CLASS.to_string(),
            certificate_class: api::keys::networking::CERT_MANAGER_CLASS.to_string(),
            namespace_wildcard_cert_selector: None,
            domain_template: Template::parse(
                "domain-template",
                "{{.Name}}.{{.Namespace}}.{{.Domain}}",
            )
            .expect("the default is a template"),
            tag_template: Template::parse("tag-template", "{{.Tag}}-{{.Name}}")
                .expect("the default is a template"),
            external_domain_tls: false,
            cluster_local_domain_tls: false,
            system_internal_tls: false,
            http_protocol: HttpProtocol::Enabled,
            rollout_duration: Duration::ZERO,
            autocreate_cluster_domain_claims: false,
            enable_mesh_pod_addressability: false,
            mesh_compatibility_mode: MeshCompatibility::Auto,
            default_external_scheme: "http".to_string(),
            external_port: None,
            external_https_port: None,
        }
    }
}

/// What the host of a route is made of.
#[derive(Clone, Copy, Debug)]
pub struct HostParts<'a> {
    /// The route's name, or what [`Network::tag_name`] made of it and a tag.
    pub name: &'a str,
    pub namespace: &'a str,
    pub domain: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
    pub labels: &'a BTreeMap<String, String>,
}

impl Network {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Network, Error> {
        let data = Data(data);
        let mut read = Network::default();
        let mut domain = read.domain_template.source().to_string();
        let mut tag = read.tag_template.source().to_string();
        let mut rollout = 0;
        let mut internal_encryption = false;
        // The old spellings come first, so that the new ones win.
        for keys in [
            [
                "ingress.class",
                "certificate.class",
                "domainTemplate",
                "tagTemplate",
                "rolloutDuration",
                "autocreateClusterDomainClaims",
                "defaultExternalScheme",
            ],
            [
                "ingress-class",
                "certificate-class",
                "domain-template",
                "tag-template",
                "rollout-duration",
                "autocreate-cluster-domain-claims",
                "default-external-scheme",
            ],
        ] {
            data.text(keys[0], &mut read.ingress_class);
            data.text(keys[1], &mut read.certificate_class);
            data.text(keys[2], &mut domain);
            data.text(keys[3], &mut tag);
            data.i64(keys[4], &mut rollout)?;
            data.bool(keys[5], &mut read.autocreate_cluster_domain_claims)?;
            data.text(keys[6], &mut read.default_external_scheme);
        }
        read.external_port = port(data, EXTERNAL_PORT)?;
        read.external_https_port = port(data, EXTERNAL_HTTPS_PORT)?;
        data.bool("enable-mesh-pod-addressability", &mut read.enable_mesh_pod_addressability)?;
        data.bool("internal-encryption", &mut internal_encryption)?;
        match data.get("mesh-compatibility-mode").map(str::to_ascii_lowercase).as_deref() {
            Some("enabled") => read.mesh_compatibility_mode = MeshCompatibility::Enabled,
            Some("disabled") => read.mesh_compatibility_mode = MeshCompatibility::Disabled,
            _ => {}
        }
        if let Some(text) = data.get("namespace-wildcard-cert-selector") {
            read.namespace_wildcard_cert_selector = serde_json::from_value(yaml(text)?)
                .map_err(|why| Error::new(format!("error unmarshaling JSON: {why}")))?;
        }
        read.rollout_duration = u64::try_from(rollout).map(Duration::from_secs).map_err(|_| {
            Error::new(format!("rollout-duration must be a positive integer, but was {rollout}"))
        })?;
        read.domain_template = Template::parse("domain-template", &domain).map_err(Error::new)?;
        check_domain(&read)?;
        read.tag_template = Template::parse("tag-template", &tag).map_err(Error::new)?;
        read.tag_name("v2", "foo")?;

        let enabled = |key| data.get(key).map(|text| text.eq_ignore_ascii_case("enabled"));
        read.external_domain_tls = enabled("external-domain-tls")
            .or_else(|| enabled("auto-tls"))
            .or_else(|| enabled("autoTLS"))
            .unwrap_or(false);
        let http = data.get("http-protocol").or_else(|| data.get("httpProtocol")).unwrap_or("");
        read.http_protocol = match http.to_ascii_lowercase().as_str() {
            "" | "enabled" => HttpProtocol::Enabled,
            "disabled" => HttpProtocol::Disabled,
            "redirected" => HttpProtocol::Redirected,
            _ => {
                let was = data.get("http-protocol").unwrap_or("");
                return Err(Error::new(format!(
                    "httpProtocol {was} in config-network ConfigMap is not supported"
                )));
            }
        };
        read.system_internal_tls =
            encryption(data, "system-internal-tls")?.unwrap_or(internal_encryption);
        read.cluster_local_domain_tls =
            encryption(data, "cluster-local-domain-tls")?.unwrap_or(false);
        Ok(read)
    }

    /// The host of a route.
    pub fn host(&self, parts: HostParts<'_>) -> Result<String, Error> {
        let parts = Value::Struct(
            "config.DomainTemplateValues",
            vec![
                ("Name", text(parts.name)),
                ("Namespace", text(parts.namespace)),
                ("Domain", text(parts.domain)),
                ("Annotations", Value::Map(parts.annotations)),
                ("Labels", Value::Map(parts.labels)),
            ],
        );
        self.domain_template.render(&parts).map_err(Error::new)
    }

    /// The name that stands for a tag of a route in its host.
    pub fn tag_name(&self, tag: &str, route: &str) -> Result<String, Error> {
        let parts = Value::Struct(
            "config.TagTemplateValues",
            vec![("Name", text(route)), ("Tag", text(tag))],
        );
        self.tag_template.render(&parts).map_err(Error::new)
    }
}

/// Tries the domain template: it must make a host and nothing else of a URL.
fn check_domain(read: &Network) -> Result<(), Error> {
    let none = BTreeMap::new();
    let host = read.host(HostParts {
        name: "foo",
        namespace: "bar",
        domain: "baz.com",
        annotations: &none,
        labels: &none,
    })?;
    let (authority, path) = match host.find(['/', '?', '#']) {
        Some(end) => host.split_at(end),
        None => (host.as_str(), ""),
    };
    let name = authority.rsplit('@').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    if let Some(bad) = authority.chars().find(|letter| " <>\"".contains(*letter)) {
        let url = quote(&format!("https://{host}"));
        let bad = quote(&bad.to_string());
        return Err(Error::new(format!("parse {url}: invalid character {bad} in host name")));
    }
    if name.is_empty() {
        return Err(Error::new("empty hostname"));
    }
    let path = path.split('#').next().unwrap_or_default();
    if !path.is_empty() && path != "/" {
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_string() };
        return Err(Error::new(format!("domain template has url path: {path}")));
    }
    Ok(())
}

/// `Some(true)` for `enabled`, `None` for what says nothing more than the default.
fn encryption(data: Data<'_>, key: &str) -> Result<Option<bool>, Error> {
    let text = data.get(key).unwrap_or("");
    match text.to_ascii_lowercase().as_str() {
        "" | "disabled" => Ok(None),
        "enabled" => Ok(Some(true)),
        _ => Err(Error::new(format!(
            "{key} with value: {} in config-network ConfigMap is not supported",
            quote(text)
        ))),
    }
}

/// A port; 0 is the scheme's own.
fn port(data: Data<'_>, key: &str) -> Result<Option<u16>, Error> {
    let mut port = 0;
    data.i64(key, &mut port)?;
    match u16::try_from(port) {
        Ok(0) => Ok(None),
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(Error::new(format!("{key} = {port}, must be 0 to 65535"))),
    }
}
