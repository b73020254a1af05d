//! Compares objects with recorded ones, in which `<uid1>` and the like stand for what differs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Kinds that exist in the recording only: caches of images, and what our autoscaler has no use for.
const NOT_OURS: &[&str] = &["Image", "Metric"];

/// Tells what is different. `bound` holds what each placeholder stood for so far.
pub fn compare(
    recorded: &[Value],
    found: &[Value],
    events: Option<&[Value]>,
    bound: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let is_object = |it: &&Value| {
        it["kind"] != "Event" && !NOT_OURS.contains(&it["kind"].as_str().unwrap_or_default())
    };
    // Owners first, so that placeholders of names with UIDs are known.
    let mut left: Vec<&Value> = found.iter().collect();
    for object in recorded.iter().filter(is_object) {
        let place = left.iter().position(|it| is_same_object(object, it, bound));
        match place {
            None => differences.push(format!("{} is missing", title(object))),
            Some(place) if object["varies"] == true => {
                left.remove(place);
            }
            Some(place) => {
                let mut found = left.remove(place).clone();
                let mut object = object.clone();
                trim(&mut object);
                trim(&mut found);
                let path = title(&object);
                differ(&object, &found, &path, bound, &mut differences);
            }
        }
    }
    // Between steps only some kinds were recorded.
    if let Some(events) = events {
        differences.extend(left.iter().map(|it| format!("{} should not be there", title(it))));
        compare_events(recorded, events, &mut differences);
    }
    differences
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}/{}",
        text(&object["apiVersion"]),
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

fn is_same_object(recorded: &Value, found: &Value, bound: &BTreeMap<String, String>) -> bool {
    let name = |it: &Value| it["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    recorded["kind"] == found["kind"]
        && recorded["apiVersion"] == found["apiVersion"]
        && matches(&name(recorded), &name(found), &mut bound.clone())
}

/// Leaves out what need not be the same.
fn trim(object: &mut Value) {
    let is = |kind: &str| object["kind"] == kind;
    let (is_deployment, is_endpoints) = (is("Deployment"), is("Endpoints"));
    let is_scaled = is("PodAutoscaler") || is("Revision");
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        meta.remove("managedFields");
    }
    if is_deployment {
        trim_deployment(object);
    }
    if is_scaled && let Some(status) = object["status"].as_object_mut() {
        // No load was reported in the recording, so nothing was desired.
        status.remove("desiredScale");
        status.remove("desiredReplicas");
    }
    if is_endpoints {
        // The order of ports follows from a hash.
        for subset in object["subsets"].as_array_mut().into_iter().flatten() {
            if let Some(ports) = subset["ports"].as_array_mut() {
                ports.sort_by_key(|it| it["name"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    drop_empty(object);
}

fn trim_deployment(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove("deployment.kubernetes.io/revision");
    }
    let containers = &mut object["spec"]["template"]["spec"]["containers"];
    for container in containers.as_array_mut().into_iter().flatten() {
        for variable in container["env"].as_array_mut().into_iter().flatten() {
            // The order inside of JSON has no meaning.
            let json = variable["value"].as_str().filter(|it| it.starts_with(['{', '[']));
            if let Some(json) = json.and_then(|it| serde_json::from_str(it).ok()) {
                variable["value"] = json;
            }
        }
        if let Some(variables) = container["env"].as_array_mut() {
            // What our queue reads in place of all others.
            variables.retain(|it| it["name"] != "QUEUE_SETTINGS");
        }
        // Our image is the whole platform; upstream's is the queue alone.
        if container["name"] == "queue-proxy" && container["args"] == serde_json::json!(["queue"]) {
            container.as_object_mut().expect("containers are objects").remove("args");
        }
    }
}

/// Empty maps of metadata are absent in one and there in the other, which means the same.
fn drop_empty(object: &mut Value) {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|_, value| !value.as_object().is_some_and(serde_json::Map::is_empty));
    }
}

/// Adds what is different below `path`.
pub fn differ(
    recorded: &Value,
    found: &Value,
    path: &str,
    bound: &mut BTreeMap<String, String>,
    differences: &mut Vec<String>,
) {
    match (recorded, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => differ(one, other, &path, bound, differences),
                    (Some(one), None) => differences.push(format!("{path}: no {one}")),
                    (None, Some(other)) => differences.push(format!("{path}: has {other}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (place, (one, other)) in one.iter().zip(other).enumerate() {
                differ(one, other, &format!("{path}[{place}]"), bound, differences);
            }
        }
        (Value::String(pattern), found) => {
            let text = match found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if !matches(pattern, &text, bound) {
                differences.push(format!("{path}: {text:?} instead of {pattern:?}"));
            }
        }
        (one, other) if one == other => {}
        (one, other) => differences.push(format!("{path}: {other} instead of {one}")),
    }
}

/// Whether `text` is what `pattern` says; what placeholders stand for is kept.
fn matches(pattern: &str, text: &str, bound: &mut BTreeMap<String, String>) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else { return pattern == text };
    let Some((placeholder, after)) = rest.split_once('>') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let end = match after.split('<').next() {
        Some("") | None if after.is_empty() => text.len(),
        Some("") | None => return false,
        Some(next) => match text.find(next) {
            Some(end) => end,
            None => return false,
        },
    };
    let (stands_for, rest) = text.split_at(end);
    let kind = placeholder.trim_end_matches(|it: char| it.is_ascii_digit());
    let is_right = match kind {
        "time" => stands_for.contains('T') && stands_for.ends_with('Z'),
        "n" | "nanos" => stands_for.parse::<u128>().is_ok(),
        "uid" => match bound.get(placeholder) {
            Some(before) => before == stands_for,
            None => {
                bound.insert(placeholder.to_owned(), stands_for.to_owned());
                stands_for.len() == 36
            }
        },
        _ => !stands_for.is_empty(),
    };
    is_right && matches(after, rest, bound)
}

/// Events have no order and count once; those that came in one of two recordings only are free.
fn compare_events(recorded: &[Value], found: &[Value], differences: &mut Vec<String>) {
    let text = |it: &Value| {
        format!(
            "{} {} {}: {} ({}/{})",
            it["source"].as_str().unwrap_or_default(),
            it["type"].as_str().unwrap_or_default(),
            it["reason"].as_str().unwrap_or_default(),
            it["message"].as_str().unwrap_or_default(),
            it["involvedObject"]["kind"].as_str().unwrap_or_default(),
            it["involvedObject"]["name"].as_str().unwrap_or_default(),
        )
    };
    let is_event = |it: &&Value| it["kind"] == "Event";
    let wanted: BTreeMap<String, bool> = recorded
        .iter()
        .filter(is_event)
        .map(|it| (text(it), it["transient"] == true || is_race(it)))
        .collect();
    let found: BTreeSet<String> = found.iter().map(text).collect();
    for (event, is_free) in &wanted {
        if !is_free && !found.contains(event) {
            differences.push(format!("no event {event}"));
        }
    }
    // What a predecessor of the same name leaves behind is in the way until it is collected.
    let is_in_the_way = |event: &str| event.contains(" does not own ");
    for event in found.iter().filter(|it| !wanted.contains_key(*it) && !is_in_the_way(it)) {
        differences.push(format!("event {event} should not be there"));
    }
}

/// Errors of the original that only tell that one of its caches was behind another.
fn is_race(event: &Value) -> bool {
    let message = event["message"].as_str().unwrap_or_default();
    event["reason"] == "InternalError" && message.ends_with(" not found")
        || event["source"] == "ipallocator-repair-controller"
}
