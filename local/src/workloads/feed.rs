//! Watches one kind and tells the engine what changes.

use futures::StreamExt;
use kube::{
    Client,
    api::ApiResource,
    runtime::watcher::{Config, Event},
};
use runtime::cluster::raw::{self, Raw};
use tokio::sync::mpsc;

use super::{objects::Object, requests, resources::Resource};

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
    let kind = ApiResource {
        group: resource.group().to_owned(),
        version: resource.version().to_owned(),
        api_version: resource.api_version(),
        kind: resource.kind().to_owned(),
        plural: resource.plural().to_owned(),
    };
    let mut events = raw::watch(client, &kind, None, Config::default());
    while let Some(event) = events.next().await {
        match event.map(|event| seen(&resource, event)) {
            Ok(Ok(seen)) => {
                if to.send((resource.clone(), seen)).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tracing::warn!(kind = kind.kind, %error, "read an object"),
            Err(error) => tracing::debug!(kind = kind.kind, %error, "watch again"),
        }
    }
}

fn seen(resource: &Resource, event: Event<Raw>) -> serde_json::Result<Seen> {
    let object = |it: Raw| requests::object(resource, it.text()).map(Box::new);
    Ok(match event {
        Event::Init => Seen::Begin,
        Event::InitApply(it) | Event::Apply(it) => Seen::Object(object(it)?),
        Event::InitDone => Seen::End,
        Event::Delete(it) => Seen::Gone(object(it)?),
    })
}
