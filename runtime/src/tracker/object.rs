//! What of an object matters to those who refer to it: that it is there, where it takes events, whether it is ready, and of
//! a channel who is subscribed.
//!
//! Pure: JSON in, values out. A field of another type than expected is as good as absent: the object may be of any kind.
//! Source: knative.dev/pkg `apis/duck/v1`, knative/eventing `pkg/apis/duck/v1/channelable_types.go`.

use std::collections::BTreeMap;

use api::{condition::Condition, duck::Addressable};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::cluster::Key;

/// An object that others refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Where it is.
    pub key: Key,
    /// Its resource version.
    pub version: String,
    /// Tells it from another of its name.
    pub uid: String,
    /// Grows when its spec changes; 0 for kinds that do not count.
    pub generation: i64,
    /// By which it can be picked.
    pub labels: BTreeMap<String, String>,
    /// UID of the object that controls it; empty where none does.
    pub owner: String,
    /// Whether it is on its way out.
    pub is_deleted: bool,
    /// What its controller says of it; absent when it says nothing that matters.
    pub status: Option<Box<Status>>,
    /// What a channel is asked to do; absent for all else.
    pub channel: Option<Box<Channel>>,
}

/// What the controller of an object says of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Where it takes events.
    #[serde(deserialize_with = "lenient")]
    pub address: Option<Addressable>,
    /// All the places where it does.
    #[serde(deserialize_with = "lenient")]
    pub addresses: Vec<Addressable>,
    /// The generation that all this is about.
    #[serde(deserialize_with = "lenient")]
    pub observed_generation: i64,
    /// Only the one that says whether it is ready.
    #[serde(rename = "conditions", deserialize_with = "ready")]
    pub ready: Option<Condition>,
    /// Of a channel: how far its subscribers are taken in.
    #[serde(deserialize_with = "lenient")]
    pub subscribers: Vec<Value>,
    /// Where what cannot be delivered goes.
    #[serde(deserialize_with = "lenient")]
    pub dead_letter_sink_uri: Option<String>,
    /// Whose certificates are trusted there.
    #[serde(rename = "deadLetterSinkCACerts", deserialize_with = "lenient")]
    pub dead_letter_sink_ca_certs: Option<String>,
    /// For whom tokens are made there.
    #[serde(deserialize_with = "lenient")]
    pub dead_letter_sink_audience: Option<String>,
    /// Of a Channel: a reference to the one behind it.
    #[serde(deserialize_with = "lenient")]
    pub channel: Option<Value>,
}

/// What a channel is asked to do, as it is written: others may know fields of it that are not known here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// Who wants its events.
    #[serde(deserialize_with = "lenient")]
    pub subscribers: Vec<Value>,
    /// How they are delivered unless a subscriber says so.
    #[serde(deserialize_with = "lenient")]
    pub delivery: Option<Value>,
}

#[derive(Deserialize)]
struct Read {
    metadata: Meta,
    spec: Option<Channel>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    generation: i64,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl Object {
    /// Reads an object of any kind.
    pub fn read(text: &str) -> Result<Object, serde_json::Error> {
        let Read { metadata, spec, status } = serde_json::from_str(text)?;
        let owners = metadata.owner_references.unwrap_or_default();
        let owner = owners.into_iter().find(|it| it.controller == Some(true));
        Ok(Object {
            key: Key::new(&metadata.namespace, &metadata.name),
            version: metadata.resource_version,
            uid: metadata.uid,
            generation: metadata.generation,
            labels: metadata.labels.unwrap_or_default(),
            owner: owner.map(|it| it.uid).unwrap_or_default(),
            is_deleted: metadata.deletion_timestamp.is_some(),
            status: status.filter(|it| *it != Status::default()).map(Box::new),
            channel: spec.filter(|it| *it != Channel::default()).map(Box::new),
        })
    }

    /// Whether nothing differs but the resource version: what changed matters to nobody who refers to it.
    pub fn says_the_same(&self, other: &Object) -> bool {
        let Object { key, version: _, uid, generation, labels, owner, is_deleted, status, channel } =
            self;
        (key, uid, generation, labels, owner, is_deleted, status, channel)
            == (
                &other.key,
                &other.uid,
                &other.generation,
                &other.labels,
                &other.owner,
                &other.is_deleted,
                &other.status,
                &other.channel,
            )
    }

    /// Whether this is the same object, as it was before.
    pub fn is_older_than(&self, other: &Object) -> bool {
        let version = |it: &Object| it.version.parse::<u64>().ok();
        self.uid == other.uid && version(self).zip(version(other)).is_some_and(|(a, b)| a < b)
    }

    /// Whether its controller says that it is ready; nothing where it does not say.
    pub fn ready(&self) -> Option<&Condition> {
        self.status.as_ref()?.ready.as_ref()
    }
}

/// A value of that type, or its default.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

fn ready<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Condition>, D::Error> {
    let conditions: Vec<Condition> = lenient(from)?;
    Ok(conditions.into_iter().find(|it| it.type_ == api::condition::READY))
}
