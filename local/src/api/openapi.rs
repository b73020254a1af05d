//! The OpenAPI documents that kubectl validates and explains with.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Server;
use super::answer::{self, Body, Style};
use super::query::Query;
use super::status::Refusal;
use crate::kinds::Kind;
use crate::schema::openapi::{self, Form};

/// What kubectl asks for: the document of version 2 in protobuf.
const WIRE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Answers a path below `/openapi`.
pub fn answer(server: &Server, parts: &Parts, query: &Query) -> Result<Response<Body>, Refusal> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Ok(answer::no_page());
    }
    let path = parts.uri.path().trim_end_matches('/');
    let all = || -> Vec<Arc<Kind>> { server.registry.all() };
    if path == "/openapi/v2" {
        let document = openapi::document(&all(), Form::V2);
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if accept.contains("proto-openapi") || accept.contains("protobuf") {
            return Ok(answer::bytes(200, WIRE, openapi::wire::document(&document).into()));
        }
        return Ok(json(&document));
    }
    if path == "/openapi/v3" {
        return Ok(json(&index(&all())));
    }
    let Some(place) = path.strip_prefix("/openapi/v3/") else { return Ok(answer::no_page()) };
    let kinds: Vec<Arc<Kind>> = all().into_iter().filter(|kind| place_of(kind) == place).collect();
    if kinds.is_empty() {
        return Ok(answer::no_page());
    }
    let hash = hash(&kinds);
    if query.get("hash").is_some_and(|asked| asked != hash) {
        let mut response = answer::bytes(301, "text/plain", Bytes::new());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(location) = HeaderValue::from_str(&format!("{path}?hash={hash}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    Ok(json(&openapi::document(&kinds, Form::V3)))
}

fn json(document: &Value) -> Response<Body> {
    answer::value(200, Style::default(), document)
}

/// `api/v1` or `apis/apps/v1`.
fn place_of(kind: &Kind) -> String {
    if kind.group.is_empty() { format!("api/{}", kind.version) } else { format!("apis/{}/{}", kind.group, kind.version) }
}

/// Where the document of each group and version is, with a hash that changes when it does.
fn index(kinds: &[Arc<Kind>]) -> Value {
    let mut places: Vec<(String, Vec<Arc<Kind>>)> = Vec::new();
    for kind in kinds {
        let place = place_of(kind);
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, kinds)) => kinds.push(Arc::clone(kind)),
            None => places.push((place, vec![Arc::clone(kind)])),
        }
    }
    let paths: Map<String, Value> = places
        .into_iter()
        .map(|(place, kinds)| {
            let url = format!("/openapi/v3/{place}?hash={}", hash(&kinds));
            (place, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// Of all that a document is made of: built-in kinds change with the program alone.
fn hash(kinds: &[Arc<Kind>]) -> String {
    let mut digest = Sha256::new();
    for kind in kinds {
        digest.update(kind.plural.as_bytes());
        digest.update(kind.verbs.len().to_le_bytes());
        if let Some(written) = kind.written_schema() {
            digest.update(written.to_string().as_bytes());
        }
    }
    digest.update(env!("CARGO_PKG_VERSION").as_bytes());
    digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}
