//! Get and list.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use http::Response;
use serde_json::json;

use super::answer::Body;
use super::call::Call;
use super::status::{Cause, Refusal, Status};
use super::{key_of, resource_of, view};
use crate::kinds::Kind;
use crate::selector::{self, Fields, Labels};
use crate::store::{self, Object};

/// How long a read waits for a revision that has not come yet, as upstream.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);

/// Which objects are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub labels: Labels,
    pub fields: Fields,
}

impl Filter {
    /// Reads the selectors of a request. A path to one object selects it.
    pub fn of(call: &Call<'_>) -> Result<Filter, Refusal> {
        let labels = selector::parse_labels(call.query.text("labelSelector"))
            .map_err(Status::bad_request)?;
        let mut fields =
            Fields::parse(call.query.text("fieldSelector")).map_err(Status::bad_request)?;
        let probe = json!({"metadata": {}});
        for (field, _, _) in &fields.0 {
            if call.kind.selectable(&probe, field).is_none() {
                return Err(Status::bad_request(unsupported_field(&call.kind, field)));
            }
        }
        if !call.path.name.is_empty() {
            if fields.required("metadata.name").is_some_and(|name| name != call.path.name) {
                return Err(Status::bad_request(
                    "field selector metadata.name does not match the name in the path",
                ));
            }
            fields.0.push(("metadata.name".into(), true, call.path.name.clone()));
        }
        Ok(Filter { labels, fields })
    }

    /// Whether everything is wanted.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.0.is_empty()
    }

    /// Whether an object is wanted.
    pub fn takes(&self, kind: &Kind, object: &Object) -> bool {
        if !self.labels.match_sorted(&object.labels) {
            return false;
        }
        let mut value = None;
        self.fields.0.iter().all(|(field, equal, wanted)| {
            let same = match field.as_str() {
                "metadata.name" => object.name() == wanted,
                "metadata.namespace" => object.namespace() == wanted,
                _ => {
                    let value = value.get_or_insert_with(|| view::value_of(kind, object));
                    kind.selectable(value, field).is_some_and(|found| found == *wanted)
                }
            };
            same == *equal
        })
    }
}

fn unsupported_field(kind: &Kind, field: &str) -> String {
    let special =
        ["pods", "events", "secrets", "namespaces", "nodes", "replicationcontrollers", "services"];
    if kind.group.is_empty() && special.contains(&&*kind.plural) || kind.is_custom() {
        return format!("field label not supported: {field}");
    }
    format!(
        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    )
}

/// Get of one object.
pub async fn get(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    if call.query.get("export").is_some() {
        return Err(Status::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    let wanted = call.query.text("resourceVersion");
    if !wanted.is_empty() {
        let parsed: u64 = wanted.parse().map_err(|_| {
            let message = format!("resourceVersion: Invalid value: {wanted:?}: strconv.ParseUint: parsing {wanted:?}: invalid syntax");
            Status::other(500, "", message, None)
        })?;
        wait_for(call.server, parsed).await?;
    }
    let object = call
        .server
        .store
        .get(&resource_of(&call.kind), &call.key())
        .ok_or_else(|| call.not_found())?;
    view::object(call, 200, &object)
}

/// Waits a little for a revision of the future.
pub async fn wait_for(server: &super::Server, revision: u64) -> Result<(), Refusal> {
    if server.store.revision() >= revision {
        return Ok(());
    }
    let end = tokio::time::Instant::now() + WAIT_FOR_REVISION;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if server.store.revision() >= revision {
            return Ok(());
        }
    }
    Err(Status::too_large_revision(revision, server.store.revision()))
}

/// Go's decoder takes bits that stand for nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a list goes on.
struct Continue {
    revision: u64,
    /// Keys from here on, without the namespace of the request.
    start: String,
}

fn parse_continue(token: &str) -> Result<Continue, Refusal> {
    let refuse = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = LENIENT.decode(token);
    let bytes = bytes.map_err(|_| refuse("illegal base64 data".into()))?;
    let value = crate::json::parse(&bytes).map_err(refuse)?.value;
    match value["v"].as_str().unwrap_or_default() {
        "meta.k8s.io/v1" => {}
        other => {
            return Err(refuse(format!("server does not recognize this encoded version {other}")));
        }
    }
    let revision = value["rv"].as_i64().unwrap_or(0);
    if revision == 0 {
        return Err(refuse(
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into(),
        ));
    }
    let start = value["start"].as_str().unwrap_or_default();
    if start.is_empty() {
        return Err(refuse("encoded start key empty (version meta.k8s.io/v1)".into()));
    }
    if start.contains("../") {
        return Err(refuse(start.to_owned()));
    }
    // Negative revisions say: whatever is now.
    Ok(Continue { revision: u64::try_from(revision).unwrap_or(0), start: start.to_owned() })
}

fn write_continue(revision: u64, last: &str) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{last}\0")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// What a list's `resourceVersion` and its match ask for.
enum Wanted {
    Now,
    NotOlder(u64),
    Exact(u64),
}

fn wanted(call: &Call<'_>, continued: bool) -> Result<Wanted, Refusal> {
    let (version, matching) =
        (call.query.text("resourceVersion"), call.query.text("resourceVersionMatch"));
    let mut causes = Vec::new();
    if !matching.is_empty() {
        let field = "resourceVersionMatch";
        if continued {
            causes.push(Cause::forbidden(field, "resourceVersionMatch is forbidden for continue"));
        }
        if version.is_empty() {
            causes.push(Cause::forbidden(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        } else if !matches!(matching, "Exact" | "NotOlderThan") {
            causes.push(Cause::unsupported(
                field,
                &json!(matching),
                &["Exact", "NotOlderThan", ""],
            ));
        } else if matching == "Exact" && version == "0" {
            causes.push(Cause::forbidden(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if call.query.get("sendInitialEvents").is_some() {
        causes
            .push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if !causes.is_empty() {
        return Err(Status::invalid_options("ListOptions", causes));
    }
    if version.is_empty() || version == "0" {
        return Ok(Wanted::Now);
    }
    let revision = parse_revision(version)?;
    let paged = call.query.number("limit")?.unwrap_or(0) > 0;
    Ok(match matching {
        "Exact" => Wanted::Exact(revision),
        "" if paged => Wanted::NotOlder(revision),
        _ => Wanted::NotOlder(revision),
    })
}

/// A list's or watch's revision.
pub fn parse_revision(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// List of a collection.
pub async fn list(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let limit = call.query.number("limit")?.filter(|limit| *limit > 0).map(|limit| limit as usize);
    call.query.number("timeoutSeconds")?;
    let token = call.query.text("continue").to_owned();
    let filter = Filter::of(call)?;
    let wanted = wanted(call, !token.is_empty())?;
    let continued = if token.is_empty() { None } else { Some(parse_continue(&token)?) };
    if continued.is_some() && !matches!(call.query.text("resourceVersion"), "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let at = match (&continued, wanted) {
        (Some(Continue { revision: 0, .. }), _) | (None, Wanted::Now) => None,
        (Some(continued), _) => Some(continued.revision),
        (None, Wanted::NotOlder(revision)) => {
            wait_for(call.server, revision).await?;
            None
        }
        (None, Wanted::Exact(revision)) => {
            wait_for(call.server, revision).await?;
            Some(revision)
        }
    };
    let page = call
        .server
        .store
        .list(&resource_of(&call.kind), &call.path.namespace, at)
        .map_err(|error| expired(&error, &token))?;
    let served_from_cache = call.query.text("resourceVersion") == "0"
        && call.query.text("resourceVersionMatch").is_empty();
    let limit = limit.filter(|_| !served_from_cache);
    let prefix = if call.path.namespace.is_empty() {
        String::new()
    } else {
        key_of(&call.path.namespace, "")
    };
    let start =
        continued.map(|continued| format!("{prefix}{}", continued.start)).unwrap_or_default();
    let mut objects: Vec<Arc<Object>> = page
        .objects
        .into_iter()
        .filter(|object| *object.key >= *start && filter.takes(&call.kind, object))
        .collect();
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if call.kind.is_custom() {
        // Lists of custom resources are written without leaving out what is empty.
        metadata["continue"] = "".into();
    }
    if let Some(limit) = limit.filter(|limit| *limit < objects.len()) {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            metadata["continue"] = write_continue(page.revision, &last.key[prefix.len()..]).into();
        }
        if filter.is_everything() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok(view::list(call, objects, metadata))
}

fn expired(error: &store::Error, token: &str) -> Refusal {
    if token.is_empty() {
        return Status::expired(format!(
            "The resourceVersion for the provided list is too old. ({error})"
        ));
    }
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
}

/// Whether an object is a value of one of the selectors' fields; used by collections that are deleted.
pub fn matching(call: &Call<'_>) -> Result<Vec<Arc<Object>>, Refusal> {
    let filter = Filter::of(call)?;
    let page = call
        .server
        .store
        .list(&resource_of(&call.kind), &call.path.namespace, None)
        .map_err(Status::internal)?;
    Ok(page.objects.into_iter().filter(|object| filter.takes(&call.kind, object)).collect())
}
