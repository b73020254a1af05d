//! One request for a resource: what it is for and what it carries.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, header};
use jiff::Timestamp;
use serde_json::Value;

use super::answer::{self, Body, Style};
use super::negotiate::{self, Form, View};
use super::path::Path;
use super::query::{FieldValidation, Query};
use super::status::{Refusal, Status};
use super::user::User;
use super::{Server, create, delete, pods, read, reviews, scale, tokens, update, usage, watch};
use crate::kinds::Kind;
use crate::{json, protobuf};

/// A request with its kind.
pub struct Call<'a> {
    pub server: &'a Server,
    pub user: User,
    pub kind: Arc<Kind>,
    pub path: Path,
    pub query: Query,
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub now: Timestamp,
    pub form: Form,
    pub pretty: bool,
    /// Go out as headers.
    pub warnings: Vec<String>,
}

/// What a path leads to.
pub enum Found<'a> {
    /// A kind.
    Call(Box<Call<'a>>),
    /// Nothing that is served.
    Nothing(Response<Body>),
}

/// Whether a client reads answers itself, as upstream guesses it.
pub fn pretty(parts: &Parts) -> bool {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    if let Some(flag) = query.get("pretty") {
        return matches!(flag.to_ascii_lowercase().as_str(), "1" | "t" | "true");
    }
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}

impl<'a> Call<'a> {
    /// Finds the kind of a path and the form of its answer.
    pub fn find(
        server: &'a Server,
        user: User,
        path: Path,
        parts: Parts,
        query: Query,
        body: Bytes,
    ) -> Result<Found<'a>, Refusal> {
        let Some(kind) = server.registry.find(&path.group, &path.version, &path.resource) else {
            let builtin = path.group.is_empty()
                || server
                    .registry
                    .all()
                    .iter()
                    .any(|kind| *kind.group == *path.group && !kind.is_custom());
            return if builtin {
                Err(Status::no_such_resource())
            } else {
                Ok(Found::Nothing(answer::no_page()))
            };
        };
        let refusal = || {
            if kind.is_custom() {
                Ok(Found::Nothing(answer::no_page()))
            } else {
                Err(Status::no_such_resource())
            }
        };
        if kind.namespaced
            && path.namespace.is_empty()
            && (!path.name.is_empty() || parts.method == Method::POST)
        {
            return refusal();
        }
        if !kind.namespaced && path.namespaced {
            return refusal();
        }
        if let Some(subresource) = path.subresource.first() {
            let known = path.subresource.len() == 1 && kind.subresource(subresource).is_some();
            if !known {
                return if kind.is_custom() {
                    Err(Status::not_found(&kind.group, &kind.plural, &path.name))
                } else {
                    Err(Status::no_such_resource())
                };
            }
        }
        let accept = parts
            .headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default();
        let watching = path.watch || query.flag("watch").unwrap_or(false) && path.name.is_empty();
        let binary = || {
            !watching
                && !kind.is_custom()
                && protobuf::knows(&kind.api_version(), &kind.kind)
                && protobuf::knows(&kind.api_version(), &kind.list_kind)
        };
        let form = negotiate::choose(accept, binary, |view| match view {
            View::Table { .. } | View::Metadata { .. } | View::MetadataList { .. } => {
                path.subresource.is_empty()
            }
            _ => false,
        })?;
        let included = query.text("includeObject");
        if matches!(form.view, View::Table { .. })
            && !matches!(included, "" | "None" | "Metadata" | "Object")
        {
            return Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {included:?}: must be 'Metadata', 'Object', 'None', or empty"
            )));
        }
        let pretty = pretty(&parts) || form.pretty;
        let warnings = kind.deprecation.iter().map(|text| text.to_string()).collect();
        let now = server.clock.now();
        let call = Call {
            server,
            user,
            kind,
            path,
            query,
            method: parts.method,
            headers: parts.headers,
            body,
            now,
            form,
            pretty,
            warnings,
        };
        Ok(Found::Call(Box::new(call)))
    }

    /// Does what is asked.
    pub async fn run(&mut self, shared: &Arc<Server>) -> Result<Response<Body>, Refusal> {
        let subresource = self.path.subresource.first().cloned();
        if let Some(subresource) = subresource {
            return self.run_subresource(&subresource, shared).await;
        }
        let watch = self.path.watch || self.query.flag("watch").unwrap_or(false);
        let named = !self.path.name.is_empty();
        let verb = match (self.method.as_str(), named) {
            ("GET" | "HEAD", false) if watch => "watch",
            ("GET" | "HEAD", true) if self.path.watch => "watch",
            ("GET" | "HEAD", false) => "list",
            ("GET" | "HEAD", true) => "get",
            ("POST", false) => "create",
            ("PUT", true) => "update",
            ("PATCH", true) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            ("POST", true) if self.kind.is_custom() => "create",
            ("PUT" | "PATCH", false) if self.kind.is_custom() => {
                return Err(Status::bad_request("name must be provided"));
            }
            (other, _) if self.kind.is_custom() => {
                let known = matches!(other, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE");
                let verb = if known { other.to_lowercase() } else { String::new() };
                return Err(Status::verb_not_supported(&verb, &self.kind.group, &self.kind.plural));
            }
            _ => return Err(Status::method_not_allowed()),
        };
        if !self.kind.verbs.contains(&verb) {
            return Err(Status::method_not_allowed());
        }
        if reviews::is_review(&self.kind) {
            return reviews::answer(self);
        }
        if usage::is_usage(&self.kind) {
            return usage::answer(self).await;
        }
        match verb {
            "watch" => watch::watch(self, shared).await,
            "list" => read::list(self).await,
            "get" => read::get(self).await,
            "create" => create::create(self),
            "update" => update::update(self),
            "patch" => update::patch(self),
            "delete" => delete::delete(self),
            _ => delete::delete_collection(self),
        }
    }

    async fn run_subresource(
        &mut self,
        name: &str,
        shared: &Arc<Server>,
    ) -> Result<Response<Body>, Refusal> {
        let kind = self.kind.clone();
        let verbs = kind.subresource(name).map(|sub| sub.verbs.as_slice()).unwrap_or_default();
        let verb = match self.method.as_str() {
            "GET" | "HEAD" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        };
        if !verbs.contains(&verb) {
            if kind.is_custom() {
                return Err(Status::verb_not_supported(verb, &kind.group, &kind.plural));
            }
            return Err(Status::method_not_allowed());
        }
        match (name, verb) {
            ("scale", _) => scale::answer(self),
            ("log", _) => pods::log(self, shared).await,
            ("binding", _) => pods::bind(self),
            ("eviction", _) => pods::evict(self),
            ("token", _) => tokens::request(self),
            (_, "get") => read::get(self).await,
            (_, "update") => update::update(self),
            (_, "patch") => update::patch(self),
            _ => Err(Status::other(
                501,
                "NotImplemented",
                format!("{name} is not served by this server"),
                None,
            )),
        }
    }

    /// The subresource's name, or nothing.
    pub fn subresource(&self) -> &str {
        self.path.subresource.first().map(String::as_str).unwrap_or_default()
    }

    /// How values that are not objects are written.
    pub fn style(&self) -> Style {
        Style { encoding: self.form.encoding, pretty: self.pretty }
    }

    /// The object's key in the store.
    pub fn key(&self) -> String {
        super::key_of(&self.path.namespace, &self.path.name)
    }

    /// 404 of the object that the path names.
    pub fn not_found(&self) -> Refusal {
        Status::not_found(&self.kind.group, &self.kind.plural, &self.path.name)
    }

    /// The manager of the fields that this request sets.
    pub fn manager(&self, given: Option<&str>) -> String {
        if let Some(given) = given {
            return given.to_owned();
        }
        let agent = self
            .headers
            .get(header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or("unknown");
        let product = agent.split('/').next().unwrap_or_default();
        let mut name: String = product.chars().filter(|letter| !letter.is_control()).collect();
        let mut end = name.len().min(128);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        if name.is_empty() { "unknown".to_owned() } else { name }
    }

    /// Reads the request's body as an object of a kind (as errors name it), without looking at its fields yet.
    pub fn body_value(&self, expected: &str) -> Result<(Value, Vec<String>), Refusal> {
        let content_type = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let unrecognized = |why: String| {
            let shown = shown_bytes(&self.body, media_type);
            Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {expected}): {why} ({shown})"
            ))
        };
        match media_type {
            "" | "application/json" => {
                let document = json::parse(&self.body).map_err(|error| {
                    unrecognized(format!("couldn't get version/kind; json parse error: {error}"))
                })?;
                Ok((document.value, document.duplicates))
            }
            "application/yaml" | "application/x-yaml" | "text/yaml" => {
                let text = String::from_utf8_lossy(&self.body);
                super::yaml::read(&text).map_err(unrecognized)
            }
            "application/vnd.kubernetes.protobuf" if !self.kind.is_custom() => {
                let value = protobuf::decode(&self.body).map_err(unrecognized)?;
                Ok((value, Vec::new()))
            }
            other => {
                let offers =
                    if self.kind.is_custom() { &negotiate::ALL[..2] } else { &negotiate::ALL[..] };
                Err(Status::unsupported_media_type(format!(
                    "the body of the request was in an unknown format - accepted media types include: {}",
                    offers.join(", ")
                )))
                .inspect_err(|_| tracing::debug!(content_type = other, "a body of unknown format"))
            }
        }
    }

    /// Checks a body's `apiVersion` and `kind`, decodes it by the kind's schema, and says or refuses what does not fit.
    pub fn decoded(
        &mut self,
        kind: &Arc<Kind>,
        mut value: Value,
        duplicates: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Value, Refusal> {
        check_type(self.server, kind, &mut value, &self.body)?;
        let decoded = kind.decode(value).map_err(|error| {
            Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                kind.kind, kind.version, kind.kind
            ))
        })?;
        let mut problems = duplicates;
        problems.extend(unknown_in_order(kind, decoded.unknown, &self.body));
        self.strict(kind, problems, validation)?;
        Ok(decoded.value)
    }

    /// Tells or refuses what strict decoding found.
    pub fn strict(
        &mut self,
        kind: &Kind,
        problems: Vec<String>,
        validation: FieldValidation,
    ) -> Result<(), Refusal> {
        if problems.is_empty() || validation == FieldValidation::Ignore {
            return Ok(());
        }
        let yaml = |text: &str| text.starts_with("line ");
        let texts: Vec<String> = problems.iter().map(|problem| problem_text(problem)).collect();
        if validation == FieldValidation::Strict {
            let texts: Vec<String> =
                texts
                    .into_iter()
                    .map(|text| {
                        if yaml(&text) {
                            format!("yaml: unmarshal errors:\n  {text}")
                        } else {
                            text
                        }
                    })
                    .collect();
            let text = texts.join(", ");
            return Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {text}",
                kind.kind, kind.version, kind.kind
            )));
        }
        self.warnings.extend(texts);
        Ok(())
    }
}

/// Duplicates come as paths, unknown fields and YAML's complaints as they are told.
pub fn problem_text(problem: &str) -> String {
    if problem.starts_with("unknown field")
        || problem.starts_with("json patch unknown field")
        || problem.starts_with("line ")
    {
        problem.to_owned()
    } else {
        format!("duplicate field {problem:?}")
    }
}

/// Unknown fields of built-in kinds are told in the order of the document, those of custom kinds sorted.
fn unknown_in_order(kind: &Kind, mut unknown: Vec<String>, body: &[u8]) -> Vec<String> {
    if unknown.len() > 1 {
        if kind.is_custom() {
            unknown.sort();
        } else {
            let order = json::order(body);
            unknown
                .sort_by_key(|path| order.iter().position(|one| one == path).unwrap_or(usize::MAX));
        }
    }
    unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect()
}

/// Fills in or checks what a body says it is.
fn check_type(server: &Server, kind: &Kind, value: &mut Value, body: &[u8]) -> Result<(), Refusal> {
    let expected = kind.api_version();
    let shown = || shown_bytes(body, "application/json");
    let Value::Object(map) = value else {
        let text = "couldn't get version/kind; json parse error: json: cannot unmarshal";
        let what = match value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            _ => {
                return Err(Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in 'null' ({})",
                    kind.kind,
                    shown()
                )));
            }
        };
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {text} {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} ({})",
            kind.kind,
            shown()
        )));
    };
    let text = |map: &serde_json::Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (api_version, name) = (text(map, "apiVersion"), text(map, "kind"));
    if kind.is_custom() && (name.is_empty() || api_version.is_empty()) {
        let what = if name.is_empty() { "Kind" } else { "apiVersion" };
        let raw = String::from_utf8_lossy(body);
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object '{what}' is missing in '{}' ({})",
            kind.kind,
            raw.trim_end(),
            shown()
        )));
    }
    let api_version = if api_version.is_empty() { expected.clone() } else { api_version };
    let name = if name.is_empty() { kind.kind.to_string() } else { name };
    if api_version != expected || name != *kind.kind {
        return Err(Status::bad_request(other_type(server, kind, &api_version, &name)));
    }
    map.insert("apiVersion".into(), expected.into());
    map.insert("kind".into(), name.into());
    Ok(())
}

/// What is said of a body that is of another type than its path.
fn other_type(server: &Server, kind: &Kind, api_version: &str, name: &str) -> String {
    let expected = kind.api_version();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if kind.is_custom() {
        if name == &*kind.kind {
            return format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            );
        }
        let show =
            |group: &str, version: &str, kind: &str| format!("{group}/{version}, Kind={kind}");
        let (found, wanted) =
            (show(group, version, name), show(&kind.group, &kind.version, &kind.kind));
        return format!(
            "{name} is not a {}: the kind in the data ({found}) does not match the expected kind ({wanted})",
            kind.kind
        );
    }
    let why = if server
        .registry
        .find_kind(group, version, name)
        .is_some_and(|found| !found.is_custom())
    {
        let package = if kind.group.is_empty() {
            "core"
        } else {
            kind.group.split('.').next().unwrap_or_default()
        };
        format!("converting ({version}.{name}) to ({package}.{}): unknown conversion", kind.kind)
    } else {
        format!(
            "no kind {name:?} is registered for version {api_version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    format!("{name} in version {version:?} cannot be handled as a {}: {why}", kind.kind)
}

/// The beginning of a body, as errors show it: text as it is, bytes in hex.
fn shown_bytes(body: &[u8], media_type: &str) -> String {
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let readable = media_type != "application/vnd.kubernetes.protobuf"
        && std::str::from_utf8(body).is_ok_and(|text| {
            !text.contains(|letter: char| letter.is_control() && !letter.is_whitespace())
        });
    if readable {
        return String::from_utf8_lossy(body).into_owned();
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if body.len() > 30 { format!("{} ...", hex(&body[..30])) } else { hex(body) }
}
