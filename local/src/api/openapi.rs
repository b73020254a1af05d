//! The OpenAPI documents on their paths.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer::{self, Body, Style};
use super::query::Query;
use super::status::Refusal;
use super::{Server, path};
use crate::openapi::{self, Served, binary};

/// Answers a path below `/openapi`.
pub fn answer(server: &Server, parts: &Parts, query: &Query) -> Result<Response<Body>, Refusal> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Ok(answer::no_page());
    }
    match parts.uri.path().trim_end_matches('/') {
        "/openapi/v2" => Ok(old(server, parts)),
        "/openapi/v3" => Ok(index(server)),
        other => {
            let Some(place) = other.strip_prefix("/openapi/v3/") else {
                return Ok(answer::no_page());
            };
            Ok(document(server, place, query))
        }
    }
}

/// What is served in a group and version, or everything.
fn served(server: &Server, only: Option<(&str, &str)>) -> Vec<Served> {
    let kinds = server.registry.all().into_iter();
    let kinds = kinds.filter(|kind| {
        only.is_none_or(|(group, version)| *kind.group == *group && *kind.version == *version)
    });
    kinds
        .map(|kind| {
            let custom = kind.is_custom().then(|| {
                let name = format!("{}.{}", kind.plural, kind.group);
                let definition = server
                    .store
                    .get("apiextensions.k8s.io/customresourcedefinitions", &name)
                    .map(|object| object.value());
                let versions = definition
                    .as_ref()
                    .and_then(|definition| definition["spec"]["versions"].as_array());
                let version =
                    versions.into_iter().flatten().find(|version| version["name"] == *kind.version);
                version
                    .map(|version| version["schema"]["openAPIV3Schema"].clone())
                    .unwrap_or_else(|| json!({"type": "object"}))
            });
            Served { kind, custom }
        })
        .collect()
}

/// Changes when the document of a group and version may have changed.
fn hash(server: &Server, group: &str, version: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(env!("CARGO_PKG_VERSION"));
    for kind in server
        .registry
        .all()
        .iter()
        .filter(|kind| *kind.group == *group && *kind.version == *version)
    {
        digest.update(kind.kind.as_bytes());
        if kind.is_custom() {
            let name = format!("{}.{}", kind.plural, kind.group);
            let definition =
                server.store.get("apiextensions.k8s.io/customresourcedefinitions", &name);
            let generation = definition.map(|object| {
                object.value()["metadata"]["generation"].to_string()
                    + &object.value()["metadata"]["uid"].to_string()
            });
            digest.update(generation.unwrap_or_default());
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn places(server: &Server) -> Vec<(String, String, String)> {
    let mut places: Vec<(String, String, String)> = server
        .registry
        .all()
        .iter()
        .map(|kind| {
            let (group, version) = (kind.group.to_string(), kind.version.to_string());
            let place = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            (place, group, version)
        })
        .collect();
    places.sort();
    places.dedup();
    places
}

fn index(server: &Server) -> Response<Body> {
    let paths: Map<String, Value> = places(server)
        .into_iter()
        .map(|(place, group, version)| {
            let url = format!("/openapi/v3/{place}?hash={}", hash(server, &group, &version));
            (place, json!({"serverRelativeURL": url}))
        })
        .collect();
    answer::value(200, Style::default(), &json!({"paths": paths}))
}

fn document(server: &Server, place: &str, query: &Query) -> Response<Body> {
    let Some(target) =
        path::parse(&format!("/{place}")).filter(|target| target.resource.is_empty())
    else {
        return answer::no_page();
    };
    let served = served(server, Some((&target.group, &target.version)));
    if served.is_empty() {
        return answer::no_page();
    }
    let hash = hash(server, &target.group, &target.version);
    if let Some(asked) = query.get("hash").filter(|asked| *asked != hash) {
        tracing::debug!(asked, "a stale OpenAPI hash");
        let mut response = answer::bytes(301, "text/html; charset=utf-8", Bytes::new());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{place}?hash={hash}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return response;
    }
    let mut response = answer::value(200, Style::default(), &openapi::document(&served));
    if query.get("hash").is_some() {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn old(server: &Server, parts: &Parts) -> Response<Body> {
    let document = openapi::old_document(&served(server, None));
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    if accept.contains("proto-openapi.spec.v2") {
        return answer::bytes(200, binary::MEDIA_TYPE, binary::encode(&document).into());
    }
    answer::value(200, Style::default(), &document)
}
