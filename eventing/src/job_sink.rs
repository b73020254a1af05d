//! JobSink: makes a Job of each event that is sent to one.
//!
//! Pure: an event and a JobSink in, a Job and the Secret with the event out. Who takes requests is [`serve`].
//! Source: knative/eventing `cmd/jobsink/main.go`.

use std::collections::BTreeMap;

use api::{
    keys::eventing,
    names::{child_name, hex_sum},
    sinks::JobSink,
};
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::Job,
        core::v1::{EnvVar, Secret, SecretVolumeSource, Volume, VolumeMount},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use runtime::plan::owner;

use crate::event::Event;

pub mod serve;

/// The volume with the event.
const VOLUME: &str = "jobsink-event";
/// Where it is mounted unless a container says where.
const FOLDER: &str = "/etc/jobsink-event";

/// An event of which a Job is to be made, by what makes it another than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Namespace of the JobSink.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The event's source.
    pub source: String,
    /// The event's identifier.
    pub id: String,
}

impl Which {
    /// Name of the Job and of the Secret.
    pub fn job_name(&self) -> String {
        let sum = hex_sum(&format!("{}{}", self.source, self.id));
        child_name(&format!("{}-", self.name), &sum)
    }

    /// The path at which one can ask how the Job does.
    pub fn location(&self) -> String {
        format!(
            "/namespaces/{}/name/{}/sources/{}/ids/{}",
            escaped(&self.namespace),
            escaped(&self.name),
            escaped(&self.source),
            escaped(&self.id)
        )
    }

    /// What such a path is about.
    pub fn at(path: &str) -> Option<Which> {
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        let ["", "namespaces", namespace, "name", name, "sources", source, "ids", id] = parts[..]
        else {
            return None;
        };
        Some(Which {
            namespace: unescaped(namespace)?,
            name: unescaped(name)?,
            source: unescaped(source)?,
            id: unescaped(id)?,
        })
    }
}

/// The Job for an event.
pub fn job(sink: &JobSink, which: &Which) -> Job {
    let its_name = which.job_name();
    let mut job = sink.spec.job.clone().unwrap_or_default();
    job.status = None;
    let meta = &mut job.metadata;
    meta.name = Some(its_name.clone());
    meta.namespace = Some(which.namespace.clone());
    meta.labels.get_or_insert_default().extend(labels(which));
    let of = OwnerReference { block_owner_deletion: Some(false), ..owner(sink) };
    meta.owner_references.get_or_insert_default().push(of);
    let pod = job.spec.get_or_insert_default().template.spec.get_or_insert_default();
    for container in &mut pod.containers {
        let mounts = container.volume_mounts.get_or_insert_default();
        let folder = mounts.iter().find(|it| it.name == VOLUME).map(|it| it.mount_path.clone());
        let folder = folder.unwrap_or_else(|| {
            mounts.push(VolumeMount {
                name: VOLUME.to_owned(),
                mount_path: FOLDER.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            });
            FOLDER.to_owned()
        });
        container.env.get_or_insert_default().push(EnvVar {
            name: "K_EVENT_PATH".to_owned(),
            value: Some(folder),
            value_from: None,
        });
    }
    let volumes = pod.volumes.get_or_insert_default();
    if !volumes.iter().any(|it| it.name == VOLUME) {
        let secret = SecretVolumeSource { secret_name: Some(its_name), ..Default::default() };
        volumes.push(Volume { name: VOLUME.to_owned(), secret: Some(secret), ..Volume::default() });
    }
    job
}

/// The Secret with the event, which goes when the Job goes.
pub fn secret(job: &Job, which: &Which, event: &Event) -> Secret {
    let data = crate::event::encode::structured(event);
    Secret {
        metadata: ObjectMeta {
            name: Some(which.job_name()),
            namespace: Some(which.namespace.clone()),
            labels: Some(labels(which)),
            owner_references: Some(vec![OwnerReference {
                block_owner_deletion: Some(false),
                ..owner(job)
            }]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([("event".to_owned(), ByteString(data))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn labels(which: &Which) -> BTreeMap<String, String> {
    BTreeMap::from([
        (eventing::JOB_SINK_ID.to_owned(), which.job_name()),
        (eventing::JOB_SINK_NAME.to_owned(), which.name.clone()),
    ])
}

/// A text as a segment of a path.
/// Source: Go's `net/url`, `PathEscape`.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+=:@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |it: Option<u8>| char::from(it?).to_digit(16);
        bytes.push(match byte {
            b'%' => (digit(rest.next())? * 16 + digit(rest.next())?) as u8,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Value;

    #[test]
    fn an_event_becomes_a_job_that_finds_it_in_a_file() {
        let sink: JobSink = serde_json::from_value(json!({
            "metadata": { "name": "js", "namespace": "ns", "uid": "u" },
            "spec": { "job": { "spec": { "template": { "spec": { "containers": [
                { "name": "a" },
                { "name": "b", "volumeMounts": [{ "name": VOLUME, "mountPath": "/mine" }] },
            ] } } } } },
        }))
        .unwrap();
        let which = Which {
            namespace: "ns".to_owned(),
            name: "js".to_owned(),
            source: "/a b/c".to_owned(),
            id: "1".to_owned(),
        };
        assert_eq!(which.location(), "/namespaces/ns/name/js/sources/%2Fa%20b%2Fc/ids/1");
        assert_eq!(Which::at(&which.location()), Some(which.clone()));
        assert_eq!(Which::at("/namespaces/ns/name/js"), None);

        let mut job = job(&sink, &which);
        let its_name = format!("js-{}", hex_sum("/a b/c1"));
        assert_eq!(job.metadata.name.as_deref(), Some(&*its_name));
        let pod = job.spec.clone().unwrap().template.spec.unwrap();
        let folder = |place: usize| pod.containers[place].env.clone().unwrap()[0].value.clone();
        assert_eq!(
            (folder(0).unwrap(), folder(1).unwrap()),
            (FOLDER.to_owned(), "/mine".to_owned())
        );
        assert_eq!(pod.volumes.unwrap()[0].secret.clone().unwrap().secret_name, Some(its_name));

        job.metadata.uid = Some("j".to_owned());
        let text = Value::String;
        let attributes = [("id", text("1")), ("source", text("/a b/c")), ("type", text("t"))];
        let event = Event::new(&attributes, Some(b"hi")).unwrap();
        let secret = secret(&job, &which, &event);
        assert_eq!(secret.metadata.owner_references.unwrap()[0].uid, "j");
        let data = secret.data.unwrap()["event"].0.clone();
        let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(data["id"], "1");
    }
}
