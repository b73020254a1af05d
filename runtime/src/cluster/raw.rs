//! Objects as the API sent them, so that one watch is compiled for all kinds and each kind adds only its reading.

use std::borrow::Cow;

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    core::ApiResource,
    runtime::{
        WatchStreamExt,
        watcher::{Config, DefaultBackoff, Error, Event, watcher},
    },
};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// The text of an object, and what a watch has to know of it.
///
/// It is taken as it comes, so it is read from JSON only, and in an event only behind the event's type: Kubernetes' API
/// sends them in that order. Source: Kubernetes `apimachinery/pkg/apis/meta/v1/watch.go`, `WatchEvent`.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its resource version, and nothing else.
    meta: ObjectMeta,
    text: Box<RawValue>,
}

/// What happens to the objects of a kind, without end; after an error it goes on by itself, later and later.
pub fn watch(
    client: Client,
    kind: &ApiResource,
    namespace: Option<&str>,
    config: Config,
) -> BoxStream<'static, Result<Event<Raw>, Error>> {
    let api = match namespace {
        None => Api::all_with(client, kind),
        Some(namespace) => Api::namespaced_with(client, namespace, kind),
    };
    watcher(api, config).backoff(DefaultBackoff::default()).boxed()
}

/// As [`watch`], for the objects of `K`. Those that cannot be read are as if they were not there,
/// and the log says so.
pub fn watch_kind<K: super::Kind>(
    client: Client,
    namespace: Option<&str>,
    config: Config,
) -> BoxStream<'static, Result<Event<K>, Error>> {
    let kind = ApiResource::erase::<K>(&());
    let events = watch(client, &kind, namespace, config);
    let read = move |raw: Raw| {
        let read = serde_json::from_str(raw.text());
        read.inspect_err(|error| tracing::warn!(kind = kind.kind, %error, "read an object")).ok()
    };
    let events = events.filter_map(move |event| {
        let event = event.map(|event| {
            Some(match event {
                Event::Apply(it) => Event::Apply(read(it)?),
                Event::Delete(it) => Event::Delete(read(it)?),
                Event::InitApply(it) => Event::InitApply(read(it)?),
                Event::Init => Event::Init,
                Event::InitDone => Event::InitDone,
            })
        });
        std::future::ready(event.transpose())
    });
    events.boxed()
}

impl Raw {
    /// The object in JSON.
    pub fn text(&self) -> &str {
        self.text.get()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Raw, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta {
            resource_version: Option<String>,
        }
        let text = Box::<RawValue>::deserialize(from)?;
        let object: Object = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        let resource_version = object.metadata.resource_version;
        Ok(Raw { meta: ObjectMeta { resource_version, ..ObjectMeta::default() }, text })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        (&*of.kind).into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        (&*of.group).into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        (&*of.version).into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        (&*of.plural).into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    #[test]
    fn events_and_lists_are_read_as_they_come() {
        let object = r#"{"metadata":{"name":"a","resourceVersion":"7"},"spec":{"b":[1, 2]}}"#;
        let event = format!(r#"{{"type":"ADDED","object":{object}}}"#);
        match serde_json::from_str(&event).unwrap() {
            WatchEvent::<Raw>::Added(it) => {
                assert_eq!(it.text(), object);
                assert_eq!(it.meta().resource_version.as_deref(), Some("7"));
            }
            other => panic!("{other:?}"),
        }
        let list = format!(r#"{{"metadata":{{"resourceVersion":"9"}},"items":[{object}]}}"#);
        let list: ObjectList<Raw> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.items[0].text(), object);
    }
}
