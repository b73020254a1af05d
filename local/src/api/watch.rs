//! Watches: what is there, then what changes, as a stream of lines.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{self, Body};
use super::call::Call;
use super::negotiate::{Encoding, View};
use super::read::{self, Filter};
use super::status::{Cause, Refusal, Status};
use super::{Server, resource_of, view};
use crate::kinds::Kind;
use crate::store::{Change, Event, Object, restamped};
use runtime::clock::Clock;

/// Events read from the store at a time: enough for a burst, few enough that the lock is held for microseconds.
const BATCH: usize = 100;
/// A bookmark comes after so long, so that a quiet watcher's revision stays in the history.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after so long, as upstream (which takes 30 to 60 minutes).
const LONGEST: Duration = Duration::from_secs(40 * 60);

/// Answers a watch.
pub async fn watch(call: &mut Call<'_>, shared: &Arc<Server>) -> Result<Response<Body>, Refusal> {
    let filter = Filter::of(call)?;
    let initial = check_initial(call)?;
    let version = call.query.text("resourceVersion").to_owned();
    let bookmarks = call.query.flag("allowWatchBookmarks").unwrap_or(false);
    let timeout = call
        .query
        .number("timeoutSeconds")?
        .filter(|seconds| *seconds > 0)
        .map_or(LONGEST, |seconds| Duration::from_secs(seconds as u64));
    let resource = resource_of(&call.kind);
    let news = call.server.store.news(&resource);
    let current = call.server.store.revision();
    let (revision, synthetic) = match (version.as_str(), initial) {
        (_, Some(true)) => {
            let wanted = if version.is_empty() { 0 } else { read::parse_revision(&version)? };
            read::wait_for(call.server, wanted).await?;
            (current, true)
        }
        ("", Some(false)) => (current, false),
        ("" | "0", _) => (current, true),
        (version, _) => (read::parse_revision(version)?, false),
    };
    let mut state = Watch {
        server: shared.clone(),
        kind: call.kind.clone(),
        clock: call.server.clock,
        resource,
        namespace: call.path.namespace.clone(),
        filter,
        news,
        revision,
        initial: Vec::new().into_iter(),
        close_initial: None,
        bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        end: Instant::now() + timeout,
        view: call.form.view,
        is_slim: call.form.is_slim,
        yaml: call.form.encoding == Encoding::Yaml,
        table: match call.form.view {
            View::Table { beta } => Some(view::Table::new(call, beta)),
            _ => None,
        },
        done: false,
    };
    if synthetic {
        let page = call
            .server
            .store
            .list(&state.resource, &state.namespace, None)
            .map_err(Status::internal)?;
        state.revision = page.revision;
        state.initial = page.objects.into_iter();
        if initial == Some(true) && bookmarks {
            state.close_initial = Some(page.revision);
        }
    } else if state.revision < current {
        // Too old is told by the status of the answer only where the watch has not begun yet; upstream sends an event.
        if let Err(error) = call.server.store.events(&state.resource, state.revision, 0) {
            let status = Status::expired(format!(
                "too old resource version: {} ({})",
                state.revision,
                oldest(&error)
            ));
            let event = json!({"type": "ERROR", "object": *status});
            return Ok(stream(call, futures::stream::iter([view::line(&event)])));
        }
    }
    let lines = futures::stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((bytes, state))
    });
    Ok(stream(call, lines))
}

fn oldest(error: &crate::store::Error) -> u64 {
    match error {
        crate::store::Error::TooOld(oldest) => *oldest,
        _ => 0,
    }
}

fn stream(
    call: &Call<'_>,
    lines: impl futures::Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let content_type = match call.form.encoding {
        Encoding::Yaml => "application/yaml;stream=watch",
        _ if call.form.view == View::Object => "application/json",
        _ => "application/json",
    };
    let mut response = answer::bytes(200, content_type, Bytes::new());
    *response.body_mut() = Body::Stream(Box::pin(lines));
    response
}

/// What the request says of initial events, checked as upstream.
fn check_initial(call: &Call<'_>) -> Result<Option<bool>, Refusal> {
    let initial = call.query.flag("sendInitialEvents");
    let matching = call.query.text("resourceVersionMatch");
    let mut causes = Vec::new();
    if initial.is_some() && matching != "NotOlderThan" {
        let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden("resourceVersionMatch", text));
    }
    if initial.is_none() && !matching.is_empty() {
        causes.push(Cause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if causes.is_empty() {
        Ok(initial)
    } else {
        Err(Status::invalid_options("ListOptions", causes))
    }
}

struct Watch {
    server: Arc<Server>,
    kind: Arc<Kind>,
    clock: Clock,
    resource: String,
    namespace: String,
    filter: Filter,
    news: tokio::sync::watch::Receiver<u64>,
    /// Everything up to here has been told.
    revision: u64,
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The bookmark that ends the initial objects is still to come, with this revision.
    close_initial: Option<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    view: View,
    is_slim: bool,
    yaml: bool,
    table: Option<view::Table>,
    done: bool,
}

impl Watch {
    /// The next lines; none at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while !self.done {
            while let Some(object) = self.initial.next() {
                if self.filter.takes(&self.kind, &object) {
                    self.tell("ADDED", &object, &mut out);
                    if out.len() > 64 << 10 {
                        return Some(out.freeze());
                    }
                }
            }
            if let Some(revision) = self.close_initial.take() {
                self.bookmark(revision, true, &mut out);
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            self.news.mark_unchanged();
            match self.server.store.events(&self.resource, self.revision, BATCH) {
                Ok((events, reached)) => {
                    // A watch of the future stays silent until its revision has come.
                    self.revision = self.revision.max(reached);
                    for event in &events {
                        self.change(event, &mut out);
                    }
                    if !out.is_empty() {
                        return Some(out.freeze());
                    }
                    if !events.is_empty() {
                        continue;
                    }
                }
                Err(error) => {
                    // The watcher was slower than the history is long: it must list again.
                    let status = Status::expired(format!(
                        "too old resource version: {} ({})",
                        self.revision,
                        oldest(&error)
                    ));
                    self.done = true;
                    return Some(view::line(&json!({"type": "ERROR", "object": *status})));
                }
            }
            let wake = if self.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
            tokio::select! {
                news = self.news.changed() => {
                    if news.is_err() {
                        return None;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= self.end {
                        return None;
                    }
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    let revision = self.server.store.revision().max(self.revision);
                    self.bookmark(revision, false, &mut out);
                    return Some(out.freeze());
                }
            }
        }
        None
    }

    fn change(&mut self, event: &Event, out: &mut BytesMut) {
        if !self.namespace.is_empty() && event.object.namespace() != self.namespace {
            return;
        }
        let now = event.change != Change::Deleted && self.filter.takes(&self.kind, &event.object);
        let before =
            event.before.as_ref().is_some_and(|before| self.filter.takes(&self.kind, before));
        match (before, now) {
            (false, true) => self.tell("ADDED", &event.object, out),
            (true, true) => self.tell("MODIFIED", &event.object, out),
            (true, false) if event.change == Change::Deleted => {
                self.tell("DELETED", &event.object, out)
            }
            (true, false) => {
                if let Some(before) = &event.before {
                    // It left the selection: its last selected state, at the revision of the change.
                    self.tell("DELETED", &restamped(before, event.object.revision), out);
                }
            }
            (false, false) => {}
        }
    }

    fn tell(&mut self, what: &str, object: &Object, out: &mut BytesMut) {
        if self.view == View::Object && !self.yaml {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(what.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            view::whole(&self.kind, object, self.is_slim, out);
            out.extend_from_slice(b"}\n");
            return;
        }
        let value = view::value_of(&self.kind, object);
        let shown = match &mut self.table {
            Some(table) => {
                let version = value["metadata"]["resourceVersion"].clone();
                let row = table.row(&self.kind, value, self.clock.now());
                table.finish(vec![row], json!({"resourceVersion": version}))
            }
            None if self.view != View::Object => view::metadata(value, false),
            None => value,
        };
        self.line(&json!({"type": what, "object": shown}), out);
    }

    fn bookmark(&mut self, revision: u64, ends_initial: bool, out: &mut BytesMut) {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.view {
            View::Table { .. } => {
                let mut value = json!({"metadata": metadata.clone()});
                value["metadata"]["creationTimestamp"] = Value::Null;
                match &mut self.table {
                    Some(table) => {
                        table.finish(Vec::new(), json!({"resourceVersion": revision.to_string()}))
                    }
                    None => value,
                }
            }
            View::Metadata { .. } | View::MetadataList { .. } => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => {
                metadata["creationTimestamp"] = Value::Null;
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
        };
        self.line(&json!({"type": "BOOKMARK", "object": object}), out);
    }

    fn line(&self, event: &Value, out: &mut BytesMut) {
        if self.yaml {
            out.extend_from_slice(super::yaml::write(event).as_bytes());
            out.extend_from_slice(b"---\n");
        } else {
            out.extend_from_slice(&view::line(event));
        }
    }
}
