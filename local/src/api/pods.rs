//! What only pods have: binding, eviction, logs.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::answer::{self, Body};
use super::call::Call;
use super::create::store_refusal;
use super::delete::{self};
use super::query::{self, DeleteOptions};
use super::seconds;
use super::status::{Cause, Refusal, Status};
use super::{Server, view};
use crate::kinds::Kind;
use crate::logs;
use crate::selector::Labels;

/// The resource of budgets in the store.
const BUDGETS: &str = "policy/poddisruptionbudgets";
/// An eviction is tried so often while others change its budget, as upstream's retries on conflict.
const BUDGET_ATTEMPTS: usize = 20;

/// Whether a kind is Pod.
fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "pods"
}

/// What the server sets in a new pod besides its defaults.
pub fn before_create(server: &Server, kind: &Kind, value: &mut Value) -> Result<(), Refusal> {
    let Some(class) = value["spec"]["priorityClassName"]
        .as_str()
        .filter(|class| is_pod(kind) && !class.is_empty())
    else {
        return Ok(());
    };
    let builtin = match class {
        "system-cluster-critical" => Some(2_000_000_000),
        "system-node-critical" => Some(2_000_001_000),
        _ => None,
    };
    if let Some(priority) = builtin {
        value["spec"]["priority"] = priority.into();
        return Ok(());
    }
    let Some(found) = server.store.get("scheduling.k8s.io/priorityclasses", class) else {
        let why = format!("no PriorityClass with name {class} was found");
        return Err(Status::forbidden(
            "",
            "pods",
            value["metadata"]["name"].as_str().unwrap_or_default(),
            &why,
        ));
    };
    let found = found.value();
    value["spec"]["priority"] = found["value"].clone();
    if found["preemptionPolicy"].is_string() {
        value["spec"]["preemptionPolicy"] = found["preemptionPolicy"].clone();
    }
    Ok(())
}

/// What the server keeps in a changed pod.
pub fn before_update(_kind: &Kind, _new: &mut Value, _old: &Value) {}

/// Subresources that change one part of an object: everything else stays.
pub fn prepare_subresource(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "ephemeralcontainers" if is_pod(kind) => {
            let containers = new["spec"].get("ephemeralContainers").cloned();
            let metadata = new["metadata"].take();
            *new = old.clone();
            new["metadata"]["managedFields"] = metadata["managedFields"].clone();
            if let Some(containers) = containers {
                new["spec"]["ephemeralContainers"] = containers;
            }
            count_generation(new, old);
        }
        "resize" if is_pod(kind) => {
            let wanted = new["spec"]["containers"].clone();
            let metadata = new["metadata"].take();
            *new = old.clone();
            new["metadata"]["managedFields"] = metadata["managedFields"].clone();
            for container in new["spec"]["containers"].as_array_mut().into_iter().flatten() {
                let same = wanted
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|one| one["name"] == container["name"]);
                if let Some(resources) = same.and_then(|one| one.get("resources")) {
                    container["resources"] = resources.clone();
                }
            }
            count_generation(new, old);
        }
        // Namespaces: only their own finalizers.
        "finalize" => {
            let finalizers = new["spec"].get("finalizers").cloned();
            let metadata = new["metadata"].take();
            *new = old.clone();
            new["metadata"]["managedFields"] = metadata["managedFields"].clone();
            match finalizers {
                Some(finalizers) => new["spec"]["finalizers"] = finalizers,
                None => {
                    if let Some(spec) = new["spec"].as_object_mut() {
                        spec.remove("finalizers");
                    }
                }
            }
        }
        _ => kind.prepare_update(new, old),
    }
    if new["metadata"]["managedFields"].is_null()
        && let Some(metadata) = new["metadata"].as_object_mut()
    {
        metadata.remove("managedFields");
    }
}

fn count_generation(new: &mut Value, old: &Value) {
    if new["spec"] != old["spec"] {
        new["metadata"]["generation"] =
            (old["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
    }
}

/// Answers a binding below a pod.
pub fn bind(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = query::write_options(&call.query, "CreateOptions")?;
    let (value, _) = call.body_value("Binding")?;
    if value["metadata"]["name"].as_str().unwrap_or_default() != call.path.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind_value(call, &value, options.dry_run)
}

/// Puts a pod on a node.
pub fn bind_value(
    call: &mut Call<'_>,
    binding: &Value,
    dry_run: bool,
) -> Result<Response<Body>, Refusal> {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    if !matches!(kind, "" | "Node") {
        causes.push(Cause::unsupported("target.kind", &json!(kind), &["Node", "<empty>"]));
    }
    if node.is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    if !causes.is_empty() {
        return Err(Status::invalid("", "Binding", &call.path.name, causes));
    }
    for _ in 0..5 {
        let object = call
            .server
            .store
            .get("/pods", &call.key())
            .ok_or_else(|| Status::not_found("", "pods", &call.path.name))?;
        let mut pod = object.value();
        let refuse = |why: String| Err(Status::conflict("", "pods/binding", &call.path.name, &why));
        if pod["metadata"].get("deletionTimestamp").is_some() {
            return refuse(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                call.path.name
            ));
        }
        if let Some(assigned) =
            pod["spec"]["nodeName"].as_str().filter(|assigned| !assigned.is_empty())
        {
            return refuse(format!(
                "pod {} is already assigned to node {assigned:?}",
                call.path.name
            ));
        }
        pod["spec"]["nodeName"] = node.into();
        for (key, text) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
            pod["metadata"]["annotations"][key] = text.clone();
        }
        let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": seconds(call.now)});
        match pod["status"]["conditions"].as_array_mut() {
            Some(conditions) => {
                conditions.retain(|one| one["type"] != "PodScheduled");
                conditions.push(condition);
            }
            None => pod["status"]["conditions"] = json!([condition]),
        }
        let success = Status::success(None, 201);
        if dry_run {
            return Ok(answer::status(call.style(), &success));
        }
        match call.server.store.update("/pods", &call.key(), &mut pod, object.revision) {
            Ok(_) => return Ok(answer::status(call.style(), &success)),
            Err(error) if super::update::lost_race(&error) => {}
            Err(error) => return Err(store_refusal(&call.kind, &call.path.name, &error)),
        }
    }
    Err(Status::conflict("", "pods/binding", &call.path.name, super::create::CHANGED))
}

/// Answers an eviction: a deletion that a disruption budget may refuse.
pub fn evict(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    let options = query::write_options(&call.query, "CreateOptions")?;
    let (value, _) = call.body_value("Eviction")?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    if name != call.path.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let object = call
        .server
        .store
        .get("/pods", &call.key())
        .ok_or_else(|| Status::not_found("", "pods", &call.path.name))?;
    let pod = view::value_of(&call.kind, &object);
    check_budgets(call, &pod, options.dry_run)?;
    let given = &value["deleteOptions"];
    let mut delete_options = if given.is_object() {
        query::delete_options(&query::Query::default(), Some(given))?
    } else {
        DeleteOptions::default()
    };
    delete_options.dry_run |= options.dry_run;
    delete::delete_object(call, &object, &delete_options)?;
    Ok(answer::status(call.style(), &Status::success(None, 201)))
}

/// Refuses what a budget does not allow, and counts what it does: the next eviction may come before the budget's
/// controller has seen this one.
fn check_budgets(call: &Call<'_>, pod: &Value, dry_run: bool) -> Result<(), Refusal> {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending") | None)
        || pod["metadata"].get("deletionTimestamp").is_some()
    {
        return Ok(());
    }
    let Ok(page) = call.server.store.list(BUDGETS, &call.path.namespace, None) else {
        return Ok(());
    };
    for budget in page.objects {
        let mut budget = budget;
        let selector = super::scale::selector_text(&budget.value()["spec"]["selector"]);
        let Ok(selector) = crate::selector::parse_labels(&selector) else { continue };
        if !selector.matches(|key| pod["metadata"]["labels"][key].as_str()) {
            continue;
        }
        for attempt in 1.. {
            let mut value = budget.value();
            let healthy = healthy_pods(call, &selector);
            check_budget(budget.name(), &value, healthy)?;
            if dry_run {
                break;
            }
            let allowed = value["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            value["status"]["disruptionsAllowed"] = (allowed - 1).into();
            let key = super::key_of(&call.path.namespace, budget.name());
            match call.server.store.update(BUDGETS, &key, &mut value, budget.revision) {
                Ok(_) => break,
                Err(error) if attempt == BUDGET_ATTEMPTS => {
                    return Err(store_refusal(&call.kind, &call.path.name, &error));
                }
                Err(_) => match call.server.store.get(BUDGETS, &key) {
                    Some(now) => budget = now,
                    // Gone meanwhile, and with it its word.
                    None => break,
                },
            }
        }
    }
    Ok(())
}

/// Pods of the request's namespace that a budget counts as healthy: ready, and not on their way out.
fn healthy_pods(call: &Call<'_>, selector: &Labels) -> i64 {
    let Ok(page) = call.server.store.list("/pods", &call.path.namespace, None) else { return 0 };
    let is_healthy = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        pod["metadata"].get("deletionTimestamp").is_none()
            && conditions
                .into_iter()
                .flatten()
                .any(|it| it["type"] == "Ready" && it["status"] == "True")
    };
    let mine = page.objects.iter().filter(|pod| selector.match_sorted(&pod.labels));
    mine.filter(|pod| is_healthy(&pod.value())).count() as i64
}

/// Whether a budget lets one more of so many healthy pods go.
fn check_budget(name: &str, budget: &Value, healthy: i64) -> Result<(), Refusal> {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let status = &budget["status"];
    let desired = number(&status["desiredHealthy"]);
    let is_stale =
        number(&status["observedGeneration"]) < number(&budget["metadata"]["generation"]);
    if !is_stale && number(&status["disruptionsAllowed"]) > 0 && healthy > desired {
        return Ok(());
    }
    let message = if is_stale {
        format!("The disruption budget {name} is still being processed by the server.")
    } else {
        format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
    };
    let cause = Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
    Err(Status::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        0,
        vec![cause],
    ))
}

/// Answers with the output of a container.
pub async fn log(call: &mut Call<'_>, shared: &Arc<Server>) -> Result<Response<Body>, Refusal> {
    let object = call.server.store.get("/pods", &call.key()).ok_or_else(|| call.not_found())?;
    let pod = view::value_of(&call.kind, &object);
    let options = log_options(call)?;
    let container = container_of(&pod, &options.container, &call.path.name)?;
    let assigned = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let reader = shared.logs.read().clone();
    let (true, Some(reader)) = (assigned, reader) else {
        return Ok(answer::bytes(204, "text/plain", Bytes::new()));
    };
    let output =
        reader.read(&pod, logs::Options { container, ..options }).await.map_err(|refusal| {
            if refusal.internal {
                Status::internal(refusal.message)
            } else {
                Status::bad_request(refusal.message)
            }
        })?;
    let mut response = answer::bytes(200, "text/plain", Bytes::new());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    *response.body_mut() = Body::Stream(output);
    Ok(response)
}

fn log_options(call: &Call<'_>) -> Result<logs::Options, Refusal> {
    let query = &call.query;
    let mut causes = Vec::new();
    let positive =
        |key: &str, causes: &mut Vec<Cause>, least: i64| -> Result<Option<u64>, Refusal> {
            let number = query.number(key)?;
            if let Some(number) = number.filter(|number| *number < least) {
                let text = if least == 0 {
                    "must be greater than or equal to 0"
                } else {
                    "must be greater than 0"
                };
                causes.push(Cause::invalid(key, &json!(number), text));
            }
            Ok(number.and_then(|number| u64::try_from(number).ok()))
        };
    let tail_lines = positive("tailLines", &mut causes, 0)?;
    let limit_bytes = positive("limitBytes", &mut causes, 1)?;
    let since_seconds = positive("sinceSeconds", &mut causes, 1)?;
    let since_time = query.get("sinceTime").and_then(|time| time.parse().ok());
    if since_seconds.is_some() && since_time.is_some() {
        causes.push(Cause::forbidden(
            "[]",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if !causes.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", &call.path.name, causes));
    }
    let since = since_time
        .or(since_seconds.map(|seconds| call.now - SignedDuration::from_secs(seconds as i64)));
    Ok(logs::Options {
        container: query.text("container").to_owned(),
        follow: query.flag("follow").unwrap_or(false),
        previous: query.flag("previous").unwrap_or(false),
        tail_lines,
        since,
        timestamps: query.flag("timestamps").unwrap_or(false),
        limit_bytes,
        stream: query.get("stream").unwrap_or("All").to_owned(),
    })
}

/// The container that is meant, as upstream chooses it.
fn container_of(pod: &Value, given: &str, pod_name: &str) -> Result<String, Refusal> {
    let names = |field: &str| -> Vec<String> {
        pod["spec"][field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if given.is_empty() {
        let default =
            pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        if let Some(default) = default.filter(|default| main.iter().any(|name| name == default)) {
            return Ok(default.to_owned());
        }
        return match main.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod_name}"
            ))),
            many => {
                let mut text = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    many.join(" ")
                );
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                if !ephemeral.is_empty() {
                    text.push_str(&format!(
                        " or one of the ephemeral containers: [{}]",
                        ephemeral.join(" ")
                    ));
                }
                Err(Status::bad_request(text))
            }
        };
    }
    if main.iter().chain(&init).chain(&ephemeral).any(|name| name == given) {
        return Ok(given.to_owned());
    }
    Err(Status::bad_request(format!("container {given} is not valid for pod {pod_name}")))
}
