//! `metrics.k8s.io`: what pods and nodes use now.
//!
//! Source: kubernetes-sigs/metrics-server `pkg/api`.

use std::collections::BTreeMap;

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{self, Body};
use super::call::Call;
use super::negotiate::View;
use super::read::Filter;
use super::status::Refusal;
use super::{seconds, view};
use crate::figures::{All, ContainerFigures, Span, Usage};
use crate::kinds::{Kind, builtin};
use crate::store::Object;

/// Whether a kind is measured rather than stored.
pub fn is_usage(kind: &Kind) -> bool {
    &*kind.group == builtin::USAGE
}

/// Answers get and list.
pub async fn answer(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let filter = Filter::of(call)?;
    let figures = call.server.figures.read().clone();
    let all = match figures {
        Some(figures) => figures.measure().await,
        None => All::default(),
    };
    // Figures are those of objects that exist and are wanted.
    let of = format!("/{}", call.kind.plural);
    let page = call
        .server
        .store
        .list(&of, &call.path.namespace, None)
        .map_err(super::status::Status::internal)?;
    let objects = page.objects.iter().filter(|object| filter.takes(&call.kind, object));
    let now = call.now;
    let items: Vec<Value> = if &*call.kind.plural == "pods" {
        let mut pods: BTreeMap<(&str, &str), Vec<&ContainerFigures>> = BTreeMap::new();
        for one in &all.containers {
            pods.entry((&one.namespace, &one.pod)).or_default().push(one);
        }
        objects
            .filter_map(|object| {
                let containers = pods.get(&(object.namespace(), object.name()))?;
                pod(object, containers, now)
            })
            .collect()
    } else {
        objects
            .filter_map(|object| {
                let one = all.nodes.iter().find(|one| one.name == object.name())?;
                let mut value = head(object, &one.span, now);
                value["usage"] = usage(&one.usage);
                Some(value)
            })
            .collect()
    };
    if call.path.name.is_empty() {
        return Ok(list(call, items));
    }
    let item = items.into_iter().next().ok_or_else(|| call.not_found())?;
    let mut value = json!({"kind": call.kind.kind, "apiVersion": call.kind.api_version()});
    for (field, part) in item.as_object().into_iter().flatten() {
        value[field] = part.clone();
    }
    view::value(call, 200, value)
}

/// A pod all of whose running containers were measured at one time.
fn pod(object: &Object, containers: &[&ContainerFigures], now: Timestamp) -> Option<Value> {
    let running = running(&object.value());
    if running.iter().any(|name| !containers.iter().any(|it| it.container == *name)) {
        return None;
    }
    let span = &containers.first()?.span;
    let mut value = head(object, span, now);
    let containers =
        containers.iter().map(|one| json!({"name": one.container, "usage": usage(&one.usage)}));
    value["containers"] = containers.collect();
    Some(value)
}

/// Names of the containers that are to run as long as the pod.
fn running(pod: &Value) -> Vec<String> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        containers.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect();
    // The queue of a revision's pod runs in the platform's own process: there is nothing of its own to measure.
    names.retain(|name| name != api::queue::CONTAINER);
    names
}

fn head(object: &Object, span: &Span, now: Timestamp) -> Value {
    let meta = &object.value()["metadata"];
    let mut metadata = json!({"name": meta["name"], "creationTimestamp": seconds(now)});
    for field in ["namespace", "labels"] {
        if !meta[field].is_null() {
            metadata[field] = meta[field].clone();
        }
    }
    let window =
        i64::try_from(span.window.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    json!({
        "metadata": metadata,
        "timestamp": seconds(span.at),
        "window": api::go::format_duration(window),
    })
}

fn usage(usage: &Usage) -> Value {
    let cpu = match usage.cpu_nano {
        0 => "0".to_owned(),
        nano => format!("{nano}n"),
    };
    json!({"cpu": cpu, "memory": format!("{}Ki", usage.memory_bytes / 1024)})
}

fn list(call: &Call<'_>, items: Vec<Value>) -> Response<Body> {
    let value = match call.form.view {
        View::Table { beta } => {
            let mut table = view::Table::new(call, beta);
            let rows = items.into_iter().map(|it| table.row(&call.kind, it, call.now)).collect();
            table.finish(rows, json!({}))
        }
        _ => json!({
            "kind": call.kind.list_kind,
            "apiVersion": call.kind.api_version(),
            "metadata": {},
            "items": items,
        }),
    };
    answer::value(200, call.style(), &value)
}
