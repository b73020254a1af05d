//! Watches one kind and tells the engine what changes.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::{
    api::{
        apps::v1 as apps, autoscaling::v2 as autoscaling, batch::v1 as batch, core::v1 as core,
        discovery::v1 as discovery, policy::v1 as policy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::ApiResource,
    core::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{Config, Error, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{
    objects::{Object, other},
    resources::{Kind, Resource},
};

/// What a feed or an action tells the engine.
#[derive(Debug)]
pub enum Seen {
    /// A full list of the kind begins.
    Begin,
    /// An object is as told.
    Object(Box<Object>),
    /// The full list has ended: what it did not name is gone.
    End,
    /// The object was deleted.
    Gone(Box<Object>),
}

/// Sends everything that happens to objects of a kind, until the receiver is gone.
pub async fn run(client: Client, resource: Resource, to: mpsc::Sender<(Resource, Seen)>) {
    let planned = Kind::PLANNED.into_iter().find(|kind| kind.is(&resource));
    match planned {
        Some(Kind::Namespace) => typed::<core::Namespace>(client, resource, to).await,
        Some(Kind::Node) => typed::<PartialObjectMeta<core::Node>>(client, resource, to).await,
        Some(Kind::Pod) => typed::<core::Pod>(client, resource, to).await,
        Some(Kind::Service) => typed::<core::Service>(client, resource, to).await,
        Some(Kind::Endpoints) => typed::<core::Endpoints>(client, resource, to).await,
        Some(Kind::Slice) => typed::<discovery::EndpointSlice>(client, resource, to).await,
        Some(Kind::Deployment) => typed::<apps::Deployment>(client, resource, to).await,
        Some(Kind::ReplicaSet) => typed::<apps::ReplicaSet>(client, resource, to).await,
        Some(Kind::Job) => typed::<batch::Job>(client, resource, to).await,
        Some(Kind::Budget) => typed::<policy::PodDisruptionBudget>(client, resource, to).await,
        Some(Kind::Quota) => typed::<core::ResourceQuota>(client, resource, to).await,
        Some(Kind::Horizontal) => {
            typed::<autoscaling::HorizontalPodAutoscaler>(client, resource, to).await;
        }
        Some(Kind::Definition) => typed::<CustomResourceDefinition>(client, resource, to).await,
        _ => {
            let kind = ApiResource {
                group: resource.group().to_owned(),
                version: resource.version().to_owned(),
                api_version: resource.api_version(),
                kind: resource.kind().to_owned(),
                plural: resource.plural().to_owned(),
            };
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &kind);
            let as_object = |resource: &Resource, it: PartialObjectMeta<DynamicObject>| {
                other(resource.clone(), it.metadata)
            };
            forward(watcher(api, Config::default()), resource, to, as_object).await;
        }
    }
}

async fn typed<K>(client: Client, resource: Resource, to: mpsc::Sender<(Resource, Seen)>)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Into<Object>
        + 'static,
{
    let events = watcher(Api::<K>::all(client), Config::default());
    forward(events, resource, to, |_, it| it.into()).await;
}

async fn forward<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, Error>> + Send,
    resource: Resource,
    to: mpsc::Sender<(Resource, Seen)>,
    as_object: fn(&Resource, K) -> Object,
) {
    let mut events = std::pin::pin!(events.default_backoff());
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Init) => Seen::Begin,
            Ok(Event::InitApply(it) | Event::Apply(it)) => {
                Seen::Object(Box::new(as_object(&resource, it)))
            }
            Ok(Event::InitDone) => Seen::End,
            Ok(Event::Delete(it)) => Seen::Gone(Box::new(as_object(&resource, it))),
            Err(error) => {
                tracing::debug!(kind = resource.kind(), %error, "watch again");
                continue;
            }
        };
        if to.send((resource.clone(), seen)).await.is_err() {
            return;
        }
    }
}
