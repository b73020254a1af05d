//! LimitRanges: what containers get that ask for nothing, and what they may ask for.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/admission/limitranger`.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::Server;
use super::status::{Refusal, Status};
use crate::kinds::Kind;
use crate::schema::quantity;

/// Fills in and checks a new pod's resources.
pub fn before_create(server: &Server, kind: &Kind, pod: &mut Value) -> Result<(), Refusal> {
    if !kind.group.is_empty() || &*kind.plural != "pods" {
        return Ok(());
    }
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let Ok(page) = server.store.list("/limitranges", namespace, None) else { return Ok(()) };
    let mut set = Vec::new();
    for range in page.objects {
        let range = range.value();
        for limit in range["spec"]["limits"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|limit| limit["type"] == "Container")
        {
            for list in ["initContainers", "containers"] {
                for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                    fill(container, limit, &mut set);
                }
            }
        }
        check(pod, &range)?;
    }
    if !set.is_empty() {
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] =
            format!("LimitRanger plugin set: {}", set.join("; ")).into();
    }
    Ok(())
}

fn fill(container: &mut Value, limit: &Value, set: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    for (field, defaults, word) in
        [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
    {
        let mut added = Vec::new();
        for (resource, amount) in limit[defaults].as_object().into_iter().flatten() {
            if container["resources"][field].get(resource).is_none() {
                if !container["resources"].is_object() {
                    container["resources"] = json!({});
                }
                if !container["resources"][field].is_object() {
                    container["resources"][field] = json!({});
                }
                container["resources"][field][resource] = amount.clone();
                added.push(resource.as_str());
            }
        }
        if !added.is_empty() {
            added.sort_unstable();
            set.push(format!("{} {word} for container {name}", added.join(", ")));
        }
    }
}

fn check(pod: &Value, range: &Value) -> Result<(), Refusal> {
    let refuse = |why: String| {
        Err(Status::forbidden(
            "",
            "pods",
            pod["metadata"]["name"].as_str().unwrap_or_default(),
            &why,
        ))
    };
    let containers = || {
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for limit in range["spec"]["limits"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|limit| limit["type"] == "Container")
    {
        for container in containers() {
            let (requests, limits) =
                (&container["resources"]["requests"], &container["resources"]["limits"]);
            for (resource, least) in limit["min"].as_object().into_iter().flatten() {
                let least = text(least);
                match requests.get(resource).map(text) {
                    None => {
                        return refuse(format!(
                            "minimum {resource} usage per Container is {least}.  No request is specified"
                        ));
                    }
                    Some(asked) if quantity::compare(&asked, &least) == Ordering::Less => {
                        return refuse(format!(
                            "minimum {resource} usage per Container is {least}, but request is {asked}"
                        ));
                    }
                    Some(_) => {}
                }
            }
            for (resource, most) in limit["max"].as_object().into_iter().flatten() {
                let most = text(most);
                match limits.get(resource).map(text) {
                    None => {
                        return refuse(format!(
                            "maximum {resource} usage per Container is {most}.  No limit is specified"
                        ));
                    }
                    Some(asked) if quantity::compare(&asked, &most) == Ordering::Greater => {
                        return refuse(format!(
                            "maximum {resource} usage per Container is {most}, but limit is {asked}"
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    Ok(())
}
