//! Sends what the plans wrote, and reads what came back.

use std::{collections::BTreeMap, time::Duration};

use http::Request;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1 as apps, autoscaling::v2 as autoscaling, batch::v1 as batch, core::v1 as core,
        discovery::v1 as discovery, policy::v1 as policy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use kube::{
    Client, Error,
    core::{ObjectList, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    horizontal::Figures,
    objects::{Key, Meta, Object, digest, other},
    owners::Remaining,
    resources::{Deletion, Kind, Note, Part, Resource, Write},
};
use crate::{demand, quota, schema::quantity::Amount};

/// The field manager of everything that is written here.
const MANAGER: &str = "kube-controller-manager";

/// What the API server answered to a write.
#[derive(Debug)]
pub enum Answer {
    /// The object as it is now.
    Now(Box<Object>),
    /// The object is gone.
    Gone,
}

/// Sends one write.
pub async fn send(client: &Client, write: &Write) -> Result<Answer, Error> {
    let (resource, request) = match write {
        Write::Create { resource, namespace, body } => {
            let path = format!("{}?fieldManager={MANAGER}", resource.path(namespace));
            (
                resource,
                Request::post(path).header("content-type", "application/json").body(bytes(body)),
            )
        }
        Write::Merge { resource, key, part, body } => {
            let part = match part {
                Part::Main => "",
                Part::Status => "/status",
            };
            let path = format!("{}{part}?fieldManager={MANAGER}", path(resource, key));
            let request =
                Request::patch(path).header("content-type", "application/merge-patch+json");
            (resource, request.body(bytes(body)))
        }
        Write::Delete { resource, key, uid, with } => {
            let mut options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"uid": &**uid},
            });
            match with {
                Deletion::Background => options["propagationPolicy"] = json!("Background"),
                Deletion::Foreground => options["propagationPolicy"] = json!("Foreground"),
                Deletion::Orphan => options["propagationPolicy"] = json!("Orphan"),
                Deletion::Force => options["gracePeriodSeconds"] = json!(0),
            }
            let request =
                Request::delete(path(resource, key)).header("content-type", "application/json");
            (resource, request.body(bytes(&options)))
        }
    };
    let text = client.request_text(request.map_err(Error::HttpError)?).await?;
    let is_delete = matches!(write, Write::Delete { .. });
    match read(resource, &text)? {
        Some(object) if !is_delete || object.meta().deleted.is_some() => {
            Ok(Answer::Now(Box::new(object)))
        }
        _ => Ok(Answer::Gone),
    }
}

/// Reads one object.
pub async fn get(client: &Client, resource: &Resource, key: &Key) -> Result<Option<Object>, Error> {
    let request = Request::get(path(resource, key)).body(Vec::new()).map_err(Error::HttpError)?;
    match client.request_text(request).await {
        Ok(text) => read(resource, &text),
        Err(Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of the pod template of an object; empty if the object is gone.
pub async fn template(client: &Client, resource: &Resource, key: &Key) -> Result<String, Error> {
    let request = Request::get(path(resource, key)).body(Vec::new()).map_err(Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(mut object) => Ok(object["spec"]["template"].take().to_string()),
        Err(Error::Api(status)) if status.is_not_found() => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// What the pods of a namespace use.
pub async fn figures(client: &Client, namespace: &str) -> Result<Vec<Figures>, Error> {
    #[derive(serde::Deserialize)]
    struct Measured {
        metadata: ObjectMeta,
        timestamp: Time,
        window: String,
        containers: Vec<Container>,
    }
    #[derive(serde::Deserialize)]
    struct Container {
        name: String,
        usage: BTreeMap<String, Quantity>,
    }
    #[derive(serde::Deserialize)]
    struct List {
        items: Vec<Measured>,
    }
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = Request::get(path).body(Vec::new()).map_err(Error::HttpError)?;
    let list: List = client.request(request).await?;
    let read = |it: Container| {
        let usage = it.usage.into_iter();
        let usage = usage.filter_map(|(name, it)| {
            Some((name, api::quantity::Amount::parse(&it.0).ok()?.milli()))
        });
        (it.name, usage.collect())
    };
    let pods = list.items.into_iter().map(|it| Figures {
        pod: it.metadata.name.unwrap_or_default(),
        at: it.timestamp.0,
        window: Duration::from_nanos(
            api::go::parse_duration(&it.window).ok().and_then(|it| it.try_into().ok()).unwrap_or(0),
        ),
        containers: it.containers.into_iter().map(read).collect(),
    });
    Ok(pods.collect())
}

/// The metadata of all objects of a kind in a namespace.
pub async fn list(
    client: &Client,
    resource: &Resource,
    namespace: &str,
) -> Result<Vec<PartialObjectMeta>, Error> {
    let request = Request::get(resource.path(namespace))
        .header("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        .body(Vec::new())
        .map_err(Error::HttpError)?;
    let list: ObjectList<PartialObjectMeta> = client.request(request).await?;
    Ok(list.items)
}

/// Deletes what is in a namespace, and tells what is left.
pub async fn empty_namespace(
    client: &Client,
    resources: &[Resource],
    namespace: &str,
) -> Result<Remaining, Error> {
    let mut remaining = Remaining::default();
    for resource in resources.iter().filter(|it| it.is_namespaced()) {
        let mut left = 0;
        for item in list(client, resource, namespace).await? {
            let meta = item.metadata;
            let name = meta.name.unwrap_or_default();
            let key = Key::new(namespace, &name);
            let mut is_gone = false;
            if meta.deletion_timestamp.is_none() {
                let uid = meta.uid.unwrap_or_default().into();
                let with = Deletion::Background;
                let write = Write::Delete { resource: resource.clone(), key, uid, with };
                is_gone = match send(client, &write).await {
                    Ok(answer) => matches!(answer, Answer::Gone),
                    Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                        true
                    }
                    Err(error) => return Err(error),
                };
            }
            if !is_gone {
                left += 1;
                for finalizer in meta.finalizers.into_iter().flatten() {
                    *remaining.finalizers.entry(finalizer).or_default() += 1;
                }
            }
        }
        if left > 0 {
            let kind = (resource.plural().to_owned(), resource.group().to_owned());
            remaining.kinds.insert(kind, left);
        }
    }
    Ok(remaining)
}

/// Takes the last hold off an empty namespace.
pub async fn finalize_namespace(
    client: &Client,
    name: &str,
    holders: &[String],
) -> Result<(), Error> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": holders},
    });
    let request = Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header("content-type", "application/json")
        .body(bytes(&body))
        .map_err(Error::HttpError)?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Counts what the objects of `counted` in a quota's namespace use, and writes that where the status says otherwise.
/// False when the quota changed meanwhile.
pub async fn recount(client: &Client, key: &Key, counted: &[Resource]) -> Result<bool, Error> {
    let quotas = Kind::Quota.resource();
    let request = Request::get(path(&quotas, key)).body(Vec::new()).map_err(Error::HttpError)?;
    let mut quota: Value = match client.request(request).await {
        Ok(quota) => quota,
        Err(Error::Api(status)) if status.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut sums = quota::Usage::new();
    for resource in counted {
        let request = Request::get(resource.path(&key.namespace)).body(Vec::new());
        let list: Value = client.request(request.map_err(Error::HttpError)?).await?;
        for object in list["items"].as_array().into_iter().flatten() {
            let (group, plural) = (resource.group(), resource.plural());
            if quota::applies(&quota, group, plural, object) {
                demand::add(&mut sums, &quota::usage(group, plural, object));
            }
        }
    }
    let hard = quota["spec"]["hard"].clone();
    let names = hard.as_object().into_iter().flat_map(serde_json::Map::keys);
    let used = |name: &String| sums.get(name).copied().unwrap_or(Amount::ZERO).to_string();
    let used: Value = names.map(|name| (name.clone(), json!(used(name)))).collect();
    if quota["status"]["hard"] == hard && quota["status"]["used"] == used {
        return Ok(true);
    }
    quota["status"] = json!({ "hard": hard, "used": used });
    let path = format!("{}/status?fieldManager={MANAGER}", path(&quotas, key));
    let request = Request::put(path).header("content-type", "application/json");
    match client.request_text(request.body(bytes(&quota)).map_err(Error::HttpError)?).await {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.is_conflict() => Ok(false),
        Err(Error::Api(status)) if status.is_not_found() => Ok(true),
        Err(error) => Err(error),
    }
}

/// The kinds that can be watched, listed and deleted, but for events, which own nothing and nobody owns.
pub async fn discover(client: &Client) -> Result<Vec<Resource>, Error> {
    let mut lists = vec![("".to_owned(), client.list_core_api_resources("v1").await?)];
    for group in client.list_api_groups().await?.groups {
        let version = group.preferred_version.or_else(|| group.versions.first().cloned());
        let Some(version) = version else { continue };
        match client.list_api_group_resources(&version.group_version).await {
            Ok(list) => lists.push((group.name, list)),
            // The group went while it was asked for.
            Err(Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let mut resources = Vec::new();
    for (group, list) in lists {
        let version = list.group_version.rsplit('/').next().unwrap_or_default();
        for it in list.resources {
            let can = |verb| it.verbs.iter().any(|it| it == verb);
            let is_event = it.kind == "Event";
            if can("list") && can("watch") && can("delete") && !is_event && !it.name.contains('/') {
                resources.push(Resource::new(&group, version, &it.name, &it.kind, it.namespaced));
            }
        }
    }
    Ok(resources)
}

/// An event as it is stored.
pub fn event(kind: Kind, meta: &Meta, note: &Note, now: Timestamp) -> Write {
    let component = match kind {
        Kind::Deployment => "deployment-controller",
        Kind::ReplicaSet => "replicaset-controller",
        Kind::Job => "job-controller",
        Kind::Horizontal => "horizontal-pod-autoscaler",
        _ => MANAGER,
    };
    let resource = kind.resource();
    // Told apart from others about the object by what and when.
    let mark = digest(&(&*meta.uid, note.reason, &note.message, now.to_string()));
    let name = format!("{}.{mark:016x}", meta.key.name);
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Write::Create {
        resource: Kind::Event.resource(),
        namespace: meta.key.namespace.clone(),
        body: json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": resource.api_version(),
                "kind": resource.kind(),
                "namespace": &*meta.key.namespace,
                "name": &*meta.key.name,
                "uid": &*meta.uid,
                "resourceVersion": meta.version.to_string(),
            },
            "reason": note.reason,
            "message": note.message,
            "type": if note.is_warning { "Warning" } else { "Normal" },
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }),
    }
}

fn path(resource: &Resource, key: &Key) -> String {
    format!("{}/{}", resource.path(&key.namespace), key.name)
}

fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).expect("JSON values have text keys only")
}

/// The object in `text`, which may be a `Status` instead.
fn read(resource: &Resource, text: &str) -> Result<Option<Object>, Error> {
    if is_status(text) {
        return Ok(None);
    }
    object(resource, text).map(Some).map_err(Error::SerdeError)
}

/// The object in `text`.
///
/// # Errors
/// When it is not an object of that kind.
pub fn object(resource: &Resource, text: &str) -> serde_json::Result<Object> {
    let planned = Kind::PLANNED.into_iter().find(|kind| kind.is(resource));
    match planned {
        Some(Kind::Namespace) => parse::<core::Namespace>(text),
        Some(Kind::Node) => parse::<PartialObjectMeta<core::Node>>(text),
        Some(Kind::Pod) => parse::<core::Pod>(text),
        Some(Kind::Service) => parse::<core::Service>(text),
        Some(Kind::Endpoints) => parse::<core::Endpoints>(text),
        Some(Kind::Slice) => parse::<discovery::EndpointSlice>(text),
        Some(Kind::Deployment) => parse::<apps::Deployment>(text),
        Some(Kind::ReplicaSet) => parse::<apps::ReplicaSet>(text),
        Some(Kind::Job) => parse::<batch::Job>(text),
        Some(Kind::Budget) => parse::<policy::PodDisruptionBudget>(text),
        Some(Kind::Quota) => parse::<core::ResourceQuota>(text),
        Some(Kind::Horizontal) => parse::<autoscaling::HorizontalPodAutoscaler>(text),
        Some(Kind::Definition) => parse::<CustomResourceDefinition>(text),
        _ => {
            let it: PartialObjectMeta = serde_json::from_str(text)?;
            Ok(other(resource.clone(), it.metadata))
        }
    }
}

fn parse<K: DeserializeOwned + Into<Object>>(text: &str) -> serde_json::Result<Object> {
    serde_json::from_str::<K>(text).map(Into::into)
}

fn is_status(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Types<'a> {
        kind: Option<&'a str>,
    }
    serde_json::from_str::<Types>(text).is_ok_and(|it| it.kind == Some("Status"))
}
