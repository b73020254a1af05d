//! Which request goes where: the routing table that Ingress objects describe.
//!
//! Pure: objects in, table out. A table changes by the sites of one Ingress at a time, so that one
//! change does not rebuild the others.
//! Source: knative/networking `pkg/apis/networking/v1alpha1/ingress_types.go`, `pkg/ingress`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::Arc,
};

use api::{
    headers,
    keys::networking as keys,
    networking::{HttpIngressPath, Ingress, IngressBackendSplit, IngressRule, IngressTls},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use proxy::hop::{Destination, Protocol};
use runtime::cluster::Key;
use sha2::{Digest, Sha256};

/// Hosts and what is behind them.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By host; of several sites for one host the first serves. Not empty.
    hosts: HashMap<Box<str>, Vec<Arc<Site>>>,
}

/// Who may reach a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Clients outside the cluster, and inside.
    External,
    /// Clients inside the cluster.
    ClusterLocal,
}

/// One host of one Ingress.
#[derive(Debug, PartialEq)]
pub struct Site {
    /// In lower case, without a port.
    pub host: Box<str>,
    /// Who may reach it.
    pub visibility: Visibility,
    /// The most specific first.
    pub paths: Arc<[Path]>,
    /// Whether clients outside are sent to HTTPS.
    pub redirect: bool,
    /// The Secret with the certificate that clients are shown; none without TLS.
    pub secret: Option<Key>,
    /// The hash of the Ingress, by which probers know which version is served.
    pub hash: HeaderValue,
    /// Decides between sites of one host: the Ingress that was there first wins.
    rank: (Option<Timestamp>, String, String),
}

/// Some requests of a site.
#[derive(Debug, PartialEq)]
pub struct Path {
    /// What the path begins with.
    pub prefix: String,
    /// Headers that must have these values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that are set.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// The host that the backend sees.
    pub rewrite_host: Option<HeaderValue>,
    /// Where the requests go, by weight.
    pub splits: Vec<Split>,
}

/// A share of the requests.
#[derive(Debug, PartialEq)]
pub struct Split {
    /// Its weight among the splits.
    pub percent: u32,
    /// Headers that are set.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Where it goes.
    pub to: To,
}

/// What is behind a split.
#[derive(Debug, PartialEq)]
pub enum To {
    /// A revision, whose requests are counted and held while it has no pod.
    Revision(Destination),
    /// Any other Service.
    Service { namespace: Arc<str>, name: Arc<str>, port: IntOrString },
}

/// What is wrong with an Ingress.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A header that HTTP does not allow.
    #[error("invalid header {0:?}: {1:?}")]
    Header(String, String),
    /// A path without splits, or whose splits have no weight.
    #[error("the path {0:?} leads nowhere")]
    Nowhere(String),
}

/// The table of all `ingresses`; what is wrong with one of them leaves that one out.
pub fn table<'a>(ingresses: impl IntoIterator<Item = &'a Ingress>) -> Table {
    let mut table = Table::default();
    for ingress in ingresses {
        table.add(&sites(ingress).unwrap_or_default());
    }
    table
}

/// Whether our gateway serves `ingress`.
pub fn is_ours(ingress: &Ingress) -> bool {
    let annotations = ingress.annotations();
    let class = annotations.get(keys::INGRESS_CLASS);
    class
        .or_else(|| annotations.get(keys::INGRESS_CLASS_TWIN))
        .is_some_and(|it| it == keys::WEFT_CLASS)
}

/// The sites of one Ingress; none for one that is not ours.
pub fn sites(ingress: &Ingress) -> Result<Vec<Arc<Site>>, Problem> {
    if !is_ours(ingress) {
        return Ok(Vec::new());
    }
    let namespace: Arc<str> = ingress.namespace().unwrap_or_default().into();
    let hash = HeaderValue::from_str(&hash(ingress)).expect("hexadecimal digits");
    let redirect = ingress.spec.http_option.as_deref() == Some("Redirected");
    let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut sites = Vec::new();
    for rule in &ingress.spec.rules {
        let paths = paths(rule, &namespace)?;
        let visibility = match rule.visibility.as_deref() {
            Some("ClusterLocal") => Visibility::ClusterLocal,
            _ => Visibility::External,
        };
        for host in &rule.hosts {
            sites.push(Arc::new(Site {
                host: host.to_ascii_lowercase().into(),
                visibility,
                paths: paths.clone(),
                redirect: redirect && visibility == Visibility::External,
                secret: secret(&ingress.spec.tls, host, visibility, &namespace),
                hash: hash.clone(),
                rank: (created, namespace.to_string(), ingress.name_any()),
            }));
        }
    }
    Ok(sites)
}

/// The Secrets with the certificates of one Ingress; none for one that is not ours.
pub fn secrets(ingress: &Ingress) -> Vec<Key> {
    if ingress.spec.tls.is_empty() {
        return Vec::new();
    }
    let sites = sites(ingress).unwrap_or_default();
    let mut secrets: Vec<Key> = sites.iter().filter_map(|site| site.secret.clone()).collect();
    secrets.sort_unstable();
    secrets.dedup();
    secrets
}

/// The hash of an Ingress's wish. Source: knative/networking `pkg/ingress`, `ComputeHash`.
pub fn hash(ingress: &Ingress) -> String {
    let mut sum = Sha256::new();
    sum.update(api::go::json(&ingress.spec).expect("a spec is plain data"));
    sum.update(ingress.namespace().unwrap_or_default());
    sum.update(ingress.name_any());
    sum.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a string cannot fail.
        text
    })
}

/// The host that a `Host` header names: without a port and a dot at the end.
pub fn host(header: &[u8]) -> Option<&str> {
    let host = std::str::from_utf8(header).ok()?;
    let host = match host.rfind(':') {
        // Colons within brackets belong to an address of version 6.
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

impl Table {
    /// Adds sites.
    pub fn add(&mut self, sites: &[Arc<Site>]) {
        for site in sites {
            let claims = self.hosts.entry(site.host.clone()).or_default();
            let place = claims.partition_point(|other| other.rank <= site.rank);
            claims.insert(place, site.clone());
        }
    }

    /// Takes away sites that were added.
    pub fn remove(&mut self, sites: &[Arc<Site>]) {
        for site in sites {
            let Some(claims) = self.hosts.get_mut(&site.host) else { continue };
            if let Some(place) = claims.iter().position(|other| Arc::ptr_eq(other, site)) {
                claims.remove(place);
            }
            if claims.is_empty() {
                self.hosts.remove(&site.host);
            }
        }
    }

    /// The site that serves `host` to clients of `visibility`.
    pub fn find(&self, host: &str, visibility: Visibility) -> Option<&Arc<Site>> {
        let claims = match self.hosts.get(host) {
            Some(claims) => claims,
            // Clients write hosts in lower case, so this is rarely reached.
            None if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.hosts.get(host.to_ascii_lowercase().as_str())?
            }
            None => return None,
        };
        claims.iter().find(|site| {
            visibility == Visibility::ClusterLocal || site.visibility == Visibility::External
        })
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

impl Site {
    /// The most specific path that fits.
    pub fn find(&self, path: &str, headers: &HeaderMap) -> Option<&Path> {
        self.paths.iter().find(|candidate| {
            path.starts_with(&candidate.prefix)
                && candidate.headers.iter().all(|(name, value)| headers.get(name) == Some(value))
        })
    }
}

/// The Secret for `host`: of the first entry that names it, else, for clients outside, of the first that names no host.
fn secret(
    entries: &[IngressTls],
    host: &str,
    visibility: Visibility,
    namespace: &str,
) -> Option<Key> {
    let names = |entry: &&IngressTls| entry.hosts.iter().any(|it| it.eq_ignore_ascii_case(host));
    let is_outside = visibility == Visibility::External;
    let for_all = |entry: &&IngressTls| is_outside && entry.hosts.is_empty();
    let entry = entries.iter().find(names).or_else(|| entries.iter().find(for_all))?;
    let name = entry.secret_name.as_deref().filter(|it| !it.is_empty())?;
    let of = entry.secret_namespace.as_deref().filter(|it| !it.is_empty());
    Some(Key::new(of.unwrap_or(namespace), name))
}

fn paths(rule: &IngressRule, namespace: &Arc<str>) -> Result<Arc<[Path]>, Problem> {
    let described = rule.http.as_ref().map_or(&[][..], |http| &http.paths);
    let mut paths = Vec::with_capacity(described.len());
    for path in described {
        paths.push(self::path(path, namespace)?);
    }
    // A stable sort: of two that are equally specific the first in the Ingress wins.
    paths.sort_by_key(|path| std::cmp::Reverse((path.prefix.len(), path.headers.len())));
    Ok(paths.into())
}

fn path(path: &HttpIngressPath, namespace: &Arc<str>) -> Result<Path, Problem> {
    let prefix = match path.path.as_deref() {
        None | Some("") => "/".to_owned(),
        Some(prefix) if prefix.starts_with('/') => prefix.to_owned(),
        Some(prefix) => format!("/{prefix}"),
    };
    let matches = path.headers.iter().flatten();
    let matches = matches.map(|(name, value)| header(name, &value.exact));
    // A single split may leave its percent out; of several, those that do get nothing.
    let unsaid = if path.splits.len() == 1 { 100 } else { 0 };
    let splits = path.splits.iter().map(|split| self::split(split, unsaid, namespace));
    let splits: Vec<Split> = splits.collect::<Result<_, _>>()?;
    if splits.iter().all(|split| split.percent == 0) {
        return Err(Problem::Nowhere(prefix));
    }
    let rewrite_host = match path.rewrite_host.as_deref() {
        None | Some("") => None,
        Some(host) => Some(header("host", host)?.1),
    };
    Ok(Path {
        prefix,
        headers: matches.collect::<Result<_, _>>()?,
        set: set(path.append_headers.as_ref())?,
        rewrite_host,
        splits,
    })
}

fn split(split: &IngressBackendSplit, unsaid: u32, namespace: &Arc<str>) -> Result<Split, Problem> {
    let namespace = match split.service_namespace.as_str() {
        "" => namespace.clone(),
        other => other.into(),
    };
    let set = set(split.append_headers.as_ref())?;
    let value = |wanted| {
        set.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| value.to_str().ok())
    };
    let to = match value(headers::REVISION) {
        Some(revision) => To::Revision(Destination {
            namespace: value(headers::NAMESPACE).map_or(namespace, Arc::from),
            service: revision.into(),
            port: match &split.service_port {
                IntOrString::Int(port) => u16::try_from(*port).unwrap_or(80),
                IntOrString::String(_) => 80,
            },
            // The next hop knows what the revision speaks.
            protocol: Protocol::Http1,
        }),
        None => To::Service {
            namespace,
            name: split.service_name.as_str().into(),
            port: split.service_port.clone(),
        },
    };
    let percent = split.percent.map_or(unsaid, |percent| u32::try_from(percent).unwrap_or(0));
    Ok(Split { percent, set, to })
}

fn set(
    headers: Option<&BTreeMap<String, String>>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    headers.into_iter().flatten().map(|(name, value)| header(name, value)).collect()
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(Problem::Header(name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(name: &str, created: &str, rules: Value) -> Ingress {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "creationTimestamp": created,
                "annotations": {"networking.knative.dev/ingress.class": keys::WEFT_CLASS}},
            "spec": {"rules": rules},
        }))
        .expect("an Ingress")
    }

    fn rule(host: &str, visibility: &str, paths: Value) -> Value {
        json!({"hosts": [host], "visibility": visibility, "http": {"paths": paths}})
    }

    /// A path that leads to the Service `to`.
    fn to(to: &str, mut path: Value) -> Value {
        path["splits"] = json!([{"percent": 100, "serviceName": to, "servicePort": 80}]);
        path
    }

    fn name(path: Option<&Path>) -> Option<&str> {
        match &path?.splits[0].to {
            To::Service { name, .. } => Some(name),
            To::Revision(destination) => Some(&destination.service),
        }
    }

    #[test]
    fn the_most_specific_path_wins() {
        let paths = json!([
            to("root", json!({})),
            to("tagged", json!({"headers": {"Knative-Serving-Tag": {"exact": "blue"}}})),
            to("a", json!({"path": "/a"})),
            to("ab", json!({"path": "/a/b"})),
            to("a-twice", json!({"path": "/a"})),
        ]);
        let table =
            table(&[ingress("i", "2026-01-01T00:00:00Z", json!([rule("h", "ExternalIP", paths)]))]);
        let site = table.find("h", Visibility::External).expect("a site");
        for (path, tag, wanted) in [
            ("/", None, "root"),
            ("/x", None, "root"),
            ("/", Some("blue"), "tagged"),
            ("/", Some("green"), "root"),
            ("/a", None, "a"),
            ("/a", Some("blue"), "a"),
            ("/abc", None, "a"),
            ("/a/b/c", None, "ab"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(tag) = tag {
                headers.insert(headers::TAG, HeaderValue::from_static(tag));
            }
            assert_eq!(name(site.find(path, &headers)), Some(wanted), "{path} {tag:?}");
        }
    }

    #[test]
    fn hosts_are_seen_by_those_who_may() {
        let table = table(&[ingress(
            "i",
            "2026-01-01T00:00:00Z",
            json!([
                rule("Out.example", "ExternalIP", json!([to("out", json!({}))])),
                rule("in.ns.svc", "ClusterLocal", json!([to("in", json!({}))])),
            ]),
        )]);
        for (found, external, local) in [
            ("out.example", true, true),
            ("OUT.example", true, true),
            ("in.ns.svc", false, true),
            ("other", false, false),
            ("example", false, false),
        ] {
            assert_eq!(table.find(found, Visibility::External).is_some(), external, "{found}");
            assert_eq!(table.find(found, Visibility::ClusterLocal).is_some(), local, "{found}");
        }
    }

    #[test]
    fn the_older_ingress_keeps_its_host() {
        let site = |name: &str, created: &str| {
            sites(&ingress(
                name,
                created,
                json!([rule("h", "ExternalIP", json!([to(name, json!({}))]))]),
            ))
            .expect("sites")
        };
        let (old, new) = (site("old", "2026-01-01T00:00:00Z"), site("new", "2026-01-02T00:00:00Z"));
        let mut table = Table::default();
        let serves = |table: &Table| {
            let site = table.find("h", Visibility::External)?;
            name(site.find("/", &HeaderMap::new())).map(str::to_owned)
        };
        table.add(&new);
        assert_eq!(serves(&table).as_deref(), Some("new"));
        table.add(&old);
        assert_eq!(serves(&table).as_deref(), Some("old"));
        table.remove(&old);
        assert_eq!(serves(&table).as_deref(), Some("new"));
        table.remove(&new);
        assert!(table.is_empty());
    }

    /// The percents of the first path's splits.
    fn shares(ingress: &Ingress) -> Vec<u32> {
        let sites = sites(ingress).expect("sites");
        sites[0].paths[0].splits.iter().map(|it| it.percent).collect()
    }

    #[test]
    fn tells_revisions_from_services_and_leaves_other_classes_alone() {
        let mut object = ingress(
            "i",
            "2026-01-01T00:00:00Z",
            json!([rule(
                "h",
                "ExternalIP",
                json!([{
                "appendHeaders": {"A": "1"}, "rewriteHost": "r",
                "splits": [
                    {"percent": 90, "serviceName": "svc", "serviceNamespace": "other", "servicePort": "http"},
                    {"percent": 10, "serviceName": "rev", "servicePort": 80, "appendHeaders": {
                        "Knative-Serving-Revision": "rev-1", "Knative-Serving-Namespace": "ns"}},
                ]}])
            )]),
        );
        let found = sites(&object).expect("sites");
        let path = &found[0].paths[0];
        assert_eq!(path.set, [(HeaderName::from_static("a"), HeaderValue::from_static("1"))]);
        assert_eq!(path.rewrite_host.as_ref().expect("a host"), "r");
        let service = To::Service {
            namespace: "other".into(),
            name: "svc".into(),
            port: IntOrString::String("http".into()),
        };
        assert_eq!((path.splits[0].percent, &path.splits[0].to), (90, &service));
        let To::Revision(revision) = &path.splits[1].to else { panic!("a revision") };
        assert_eq!((&*revision.namespace, &*revision.service, revision.port), ("ns", "rev-1", 80));

        let splits = &mut object.spec.rules[0].http.as_mut().expect("paths").paths[0].splits;
        splits[1].percent = None;
        assert_eq!(shares(&object), [90, 0]);
        let splits = &mut object.spec.rules[0].http.as_mut().expect("paths").paths[0].splits;
        splits.remove(0);
        assert_eq!(shares(&object), [100]);
        object.spec.rules[0].http.as_mut().expect("paths").paths[0].splits.clear();
        assert_eq!(sites(&object), Err(Problem::Nowhere("/".into())));
        object.metadata.annotations = None;
        assert_eq!(sites(&object), Ok(Vec::new()));
    }

    #[test]
    fn each_host_has_the_secret_of_its_entry() {
        let paths = || json!([to("a", json!({}))]);
        let mut object = ingress(
            "i",
            "2026-01-01T00:00:00Z",
            json!([
                rule("a", "ExternalIP", paths()),
                rule("B", "", paths()),
                rule("c", "ExternalIP", paths()),
                rule("in", "ClusterLocal", paths()),
            ]),
        );
        for (tls, wanted) in [
            (json!([]), [None; 4]),
            (
                json!([{"hosts": ["b", "in"], "secretName": "s", "secretNamespace": "o"}]),
                [None, Some("o/s"), None, Some("o/s")],
            ),
            // Without a namespace it is the Ingress's, without hosts it is for those of the world that no other names.
            (
                json!([{"secretName": "rest"}, {"hosts": ["c"], "secretName": "s"}, {"hosts": ["c"], "secretName": "t"}]),
                [Some("ns/rest"), Some("ns/rest"), Some("ns/s"), None],
            ),
            (json!([{"hosts": ["a"]}, {"hosts": ["c"], "secretName": ""}]), [None; 4]),
        ] {
            object.spec.tls = serde_json::from_value(tls.clone()).expect("TLS");
            let sites = sites(&object).expect("sites");
            let found: Vec<_> =
                sites.iter().map(|it| it.secret.as_ref().map(Key::to_string)).collect();
            assert_eq!(found, wanted.map(|it| it.map(str::to_owned)), "{tls}");
            let mut all: Vec<_> = found.into_iter().flatten().collect();
            all.dedup();
            let told: Vec<_> = secrets(&object).iter().map(Key::to_string).collect();
            assert_eq!(told, all, "{tls}");
        }
        object.metadata.annotations = None;
        assert!(secrets(&object).is_empty());
    }

    #[test]
    fn reads_hosts_as_clients_write_them() {
        for (header, wanted) in [
            ("a.example", Some("a.example")),
            ("a.example:8080", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a.example.:80", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
        ] {
            assert_eq!(host(header.as_bytes()), wanted, "{header:?}");
        }
        assert_eq!(host(b"\xff"), None);
    }

    /// Probers compute the hash themselves, from the text that Go's encoder writes.
    #[test]
    fn the_hash_is_upstreams() {
        let spec = concat!(
            r#"{"tls":[{"hosts":["a.example.com"],"secretName":"s","secretNamespace":"ns"}],"#,
            r#""rules":[{"hosts":["a.example.com"],"visibility":"ExternalIP","http":{"paths":[{"path":"/p","#,
            r#""rewriteHost":"b","headers":{"K-Tag":{"exact":"t\u003cu"}},"splits":[{"serviceNamespace":"ns","#,
            r#""serviceName":"a","servicePort":80,"percent":100,"appendHeaders":{"A":"\u0026"}}],"#,
            r#""appendHeaders":{"B":"c"}}]}}],"httpOption":"Enabled"}"#,
        );
        let named = |more: &str| {
            let text = format!(r#"{{"metadata":{{"name":"i","namespace":"ns"}},"spec":{more}}}"#);
            serde_json::from_str::<Ingress>(&text).unwrap()
        };
        assert_eq!(api::go::json(&named(spec).spec).unwrap(), spec);
        let sum = "dd98cd0f24122f4deecb01c3b81460940c371737eda08d7976d12bc31918ef95";
        assert_eq!(hash(&named(spec)), sum);
        // What says nothing is not in the text.
        let split = r#"{"splits":[{"serviceName":"a","serviceNamespace":"","servicePort":1,"percent":0,"appendHeaders":{}}],"path":""}"#;
        let least = format!(
            r#"{{"rules":[{{"visibility":"","http":{{"paths":[{split}]}}}}],"httpOption":""}}"#
        );
        assert_eq!(
            api::go::json(&named(&least).spec).unwrap(),
            r#"{"rules":[{"http":{"paths":[{"splits":[{"serviceNamespace":"","serviceName":"a","servicePort":1}]}]}}]}"#
        );
    }

    #[test]
    fn the_hash_follows_the_wish() {
        let rules = |host| json!([rule(host, "ExternalIP", json!([to("a", json!({}))]))]);
        let first = ingress("i", "2026-01-01T00:00:00Z", rules("a"));
        let again = ingress("i", "2026-02-02T00:00:00Z", rules("a"));
        let other = ingress("i", "2026-01-01T00:00:00Z", rules("b"));
        let renamed = ingress("j", "2026-01-01T00:00:00Z", rules("a"));
        assert_eq!(hash(&first).len(), 64);
        assert_eq!(hash(&first), hash(&again));
        assert_ne!(hash(&first), hash(&other));
        assert_ne!(hash(&first), hash(&renamed));
    }
}
