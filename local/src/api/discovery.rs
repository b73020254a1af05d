//! What is served: versions, groups, resources; also `/version` and the list of paths.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Server;
use super::answer::{self, Body, Style};
use super::negotiate::{self, View};
use super::openapi;
use super::path::Path;
use super::query::Query;
use super::status::{Refusal, Status};
use crate::kinds::{Kind, Subresource, version_order};

/// Answers a path that names no resource.
pub fn answer(
    server: &Server,
    parts: &Parts,
    query: &Query,
    target: Option<&Path>,
    style: Style,
) -> Result<Response<Body>, Refusal> {
    let path = parts.uri.path();
    let kinds = || server.registry.all();
    if path.starts_with("/openapi/") {
        return openapi::answer(server, parts, query);
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Ok(answer::no_page());
    }
    let aggregated = wants_aggregated(parts);
    match path.trim_end_matches('/') {
        "" => Ok(answer::value(200, style, &json!({"paths": root_paths(&kinds())}))),
        "/metrics" => Ok(answer::text(200, &metrics(server, &kinds()))),
        "/version" => Ok(answer::value(200, style, &version())),
        "/api" if aggregated? => Ok(discovery_document(&all_groups(&kinds(), true))),
        "/apis" if wants_aggregated(parts)? => Ok(discovery_document(&all_groups(&kinds(), false))),
        "/api" => {
            let host = parts
                .headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or("localhost");
            let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]);
            Ok(answer::value(
                200,
                style,
                &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}),
            ))
        }
        "/apis" => Ok(answer::value(
            200,
            style,
            &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(&kinds())}),
        )),
        _ => {
            if let Some(target) = target {
                return resources(server, target, style);
            }
            let group = path.strip_prefix("/apis/").map(|group| group.trim_end_matches('/'));
            match group
                .and_then(|group| groups(&kinds()).into_iter().find(|one| one["name"] == group))
            {
                Some(mut group) => {
                    group["kind"] = "APIGroup".into();
                    group["apiVersion"] = "v1".into();
                    Ok(answer::value(200, style, &group))
                }
                None => Ok(answer::no_page()),
            }
        }
    }
}

/// The version that clients see: the Kubernetes release whose behaviour this is.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

/// How much is stored, in Prometheus' text form.
fn metrics(server: &Server, kinds: &[Arc<Kind>]) -> String {
    let mut text = String::from("# TYPE apiserver_storage_objects gauge\n");
    for kind in kinds.iter().filter(|kind| kind.verbs.contains(&"list")) {
        let count = server.store.count(&super::resource_of(kind));
        if count > 0 {
            text.push_str(&format!(
                "apiserver_storage_objects{{group=\"{}\",resource=\"{}\"}} {count}\n",
                kind.group, kind.plural
            ));
        }
    }
    text.push_str(&format!(
        "# TYPE apiserver_storage_revision counter\napiserver_storage_revision {}\n",
        server.store.revision()
    ));
    text
}

fn wants_aggregated(parts: &Parts) -> Result<bool, Refusal> {
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    if !accept.contains("APIGroupDiscoveryList") {
        return Ok(false);
    }
    let form =
        negotiate::choose(accept, || true, |view| view == View::Discovery).map_err(|_| {
            Status::other(
                406,
                "NotAcceptable",
                format!(
                    "only the following media types are accepted: {}",
                    negotiate::ALL.join(", ")
                ),
                None,
            )
        })?;
    Ok(form.view == View::Discovery)
}

fn discovery_document(groups: &[Value]) -> Response<Body> {
    let body = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups});
    let mut response = answer::value(200, Style::default(), &body);
    let content_type = HeaderValue::from_static(
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn root_paths(kinds: &[Arc<Kind>]) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/healthz",
        "/healthz/log",
        "/healthz/ping",
        "/livez",
        "/livez/ping",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/readyz",
        "/readyz/ping",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for kind in kinds.iter().filter(|kind| !kind.group.is_empty()) {
        paths.push(format!("/apis/{}", kind.group));
        paths.push(format!("/apis/{}/{}", kind.group, kind.version));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// The groups with their versions, in the order of upstream: built-in ones by their weight, custom ones by name.
fn grouped(kinds: &[Arc<Kind>], core: bool) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, bool, Vec<String>)> = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group.is_empty() == core) {
        let version = kind.version.to_string();
        match groups.iter_mut().find(|(group, _, _)| **group == *kind.group) {
            Some((_, _, versions)) if versions.contains(&version) => {}
            Some((_, _, versions)) => versions.push(version),
            None => groups.push((kind.group.to_string(), kind.is_custom(), vec![version])),
        }
    }
    const ORDER: [&str; 17] = [
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
    ];
    groups.sort_by_key(|(group, custom, _)| {
        (*custom, ORDER.iter().position(|one| one == group).unwrap_or(ORDER.len()), group.clone())
    });
    groups
        .into_iter()
        .map(|(group, _, mut versions)| {
            versions.sort_by(|a, b| version_order(a, b));
            (group, versions)
        })
        .collect()
}

fn groups(kinds: &[Arc<Kind>]) -> Vec<Value> {
    let show = |group: &str, version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    grouped(kinds, false)
        .into_iter()
        .map(|(group, versions)| {
            let shown: Vec<Value> = versions.iter().map(|version| show(&group, version)).collect();
            json!({"name": group, "versions": shown, "preferredVersion": shown[0]})
        })
        .collect()
}

fn resources(server: &Server, target: &Path, style: Style) -> Result<Response<Body>, Refusal> {
    let kinds = server.registry.all();
    let of_version: Vec<&Arc<Kind>> = kinds
        .iter()
        .filter(|kind| *kind.group == *target.group && *kind.version == *target.version)
        .collect();
    if of_version.is_empty() {
        let known = target.group.is_empty()
            || kinds.iter().any(|kind| *kind.group == *target.group && !kind.is_custom());
        return if known { Err(Status::no_such_resource()) } else { Ok(answer::no_page()) };
    }
    let mut resources: Vec<Value> =
        of_version.iter().flat_map(|kind| resource_entries(kind)).collect();
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = if target.group.is_empty() {
        target.version.clone()
    } else {
        format!("{}/{}", target.group, target.version)
    };
    Ok(answer::value(
        200,
        style,
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    ))
}

/// Tells clients when the stored version changes.
fn storage_hash(kind: &Kind) -> String {
    let storage = format!("{}/{}/{}", kind.storage.group, kind.storage.version, kind.kind);
    STANDARD.encode(&Sha256::digest(storage.as_bytes())[..8])
}

fn sorted(verbs: &[&'static str]) -> Vec<&'static str> {
    let mut verbs = verbs.to_vec();
    verbs.sort_unstable();
    verbs
}

fn resource_entries(kind: &Kind) -> Vec<Value> {
    let mut entries = Vec::new();
    if !kind.verbs.is_empty() {
        let mut entry = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": sorted(&kind.verbs)});
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        if kind.verbs.contains(&"list") {
            entry["storageVersionHash"] = storage_hash(kind).into();
        }
        entries.push(entry);
    }
    for sub in &kind.subresources {
        let mut entry = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sorted(&sub.verbs)});
        if *sub.group != *kind.group || *sub.version != *kind.version {
            if !sub.group.is_empty() {
                entry["group"] = json!(sub.group);
            }
            if !sub.version.is_empty() {
                entry["version"] = json!(sub.version);
            }
        }
        entries.push(entry);
    }
    entries
}

/// Aggregated discovery.
fn all_groups(kinds: &[Arc<Kind>], core: bool) -> Vec<Value> {
    let mut items = Vec::new();
    for (group, versions) in grouped(kinds, core) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let mut of_version: Vec<&Arc<Kind>> = kinds
                    .iter()
                    .filter(|kind| *kind.group == *group && **version == *kind.version)
                    .collect();
                of_version.sort_by(|a, b| a.plural.cmp(&b.plural));
                let resources: Vec<Value> = of_version
                    .iter()
                    .filter(|kind| !kind.verbs.is_empty())
                    .map(|kind| aggregated_entry(kind))
                    .collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    items
}

fn aggregated_entry(kind: &Kind) -> Value {
    // Built-in kinds of the path's own version leave its group out; custom ones say it.
    let response_kind = if kind.is_custom() {
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
    } else {
        json!({"group": "", "version": "", "kind": kind.kind})
    };
    let mut entry = json!({
        "resource": kind.plural, "responseKind": response_kind, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": sorted(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let mut subresources: Vec<&Subresource> = kind.subresources.iter().collect();
        subresources.sort_by(|a, b| a.name.cmp(&b.name));
        let subresources: Vec<Value> = subresources
            .into_iter()
            .map(|sub| {
                let own = *sub.group == *kind.group && *sub.version == *kind.version;
                let (group, version) = if own && !kind.is_custom() { ("", "") } else { (&*sub.group, &*sub.version) };
                json!({"subresource": sub.name, "responseKind": {"group": group, "version": version, "kind": sub.kind}, "verbs": sorted(&sub.verbs)})
            })
            .collect();
        entry["subresources"] = subresources.into();
    }
    entry
}
