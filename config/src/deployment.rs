//! `config-deployment`: how a revision's Deployment and its queue container are made.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/deployment/config.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use api::go::{SECOND, format_duration, quote};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{
    Error,
    read::{Data, nanos, selection, span, yaml},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-deployment";

/// Image of the queue container where nothing else is installed: this binary.
pub const QUEUE_IMAGE: &str = "dev.local/weft";

/// The values of `config-deployment`.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Never empty.
    pub queue_sidecar_image: String,
    /// Hosts of registries whose tags are used as they are.
    pub registries_skipping_tag_resolving: BTreeSet<String>,
    /// Above 0.
    pub digest_resolution_timeout: Duration,
    /// Above 0, whole seconds.
    pub progress_deadline: Duration,
    pub queue_sidecar_cpu_request: Option<Quantity>,
    pub queue_sidecar_cpu_limit: Option<Quantity>,
    pub queue_sidecar_memory_request: Option<Quantity>,
    pub queue_sidecar_memory_limit: Option<Quantity>,
    pub queue_sidecar_ephemeral_storage_request: Option<Quantity>,
    pub queue_sidecar_ephemeral_storage_limit: Option<Quantity>,
    pub queue_sidecar_token_audiences: BTreeSet<String>,
    pub queue_sidecar_rootca: String,
    pub queue_sidecar_tls_min_version: String,
    pub queue_sidecar_tls_max_version: String,
    pub queue_sidecar_tls_cipher_suites: String,
    pub queue_sidecar_tls_curve_preferences: String,
    pub default_affinity_type: Affinity,
    /// Runtime classes by name, with the labels that a revision must have to get them.
    pub runtime_class_name: BTreeMap<String, BTreeMap<String, String>>,
    pub pod_is_always_schedulable: bool,
}

/// What is said to the scheduler about a revision's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Nothing.
    None,
    /// Prefers a node of its own for each pod of a revision.
    PreferSpreadRevisionOverNodes,
}

impl Default for Deployment {
    fn default() -> Self {
        Deployment {
            queue_sidecar_image: QUEUE_IMAGE.to_string(),
            registries_skipping_tag_resolving: ["kind.local", "ko.local", "dev.local"]
                .map(String::from)
                .into(),
            digest_resolution_timeout: Duration::from_secs(10),
            progress_deadline: Duration::from_secs(600),
            queue_sidecar_cpu_request: Some(Quantity("25m".to_string())),
            queue_sidecar_cpu_limit: None,
            queue_sidecar_memory_request: None,
            queue_sidecar_memory_limit: None,
            queue_sidecar_ephemeral_storage_request: None,
            queue_sidecar_ephemeral_storage_limit: None,
            queue_sidecar_token_audiences: BTreeSet::new(),
            queue_sidecar_rootca: String::new(),
            queue_sidecar_tls_min_version: String::new(),
            queue_sidecar_tls_max_version: String::new(),
            queue_sidecar_tls_cipher_suites: String::new(),
            queue_sidecar_tls_curve_preferences: String::new(),
            default_affinity_type: Affinity::PreferSpreadRevisionOverNodes,
            runtime_class_name: BTreeMap::new(),
            pod_is_always_schedulable: false,
        }
    }
}

impl Deployment {
    /// Reads and checks the ConfigMap; the first mistake is the error. The queue's image must be there.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Deployment, Error> {
        let data = Data(data);
        let mut read = Deployment { queue_sidecar_image: String::new(), ..Deployment::default() };
        let mut deadline = nanos(read.progress_deadline);
        let mut digest = nanos(read.digest_resolution_timeout);
        let mut runtime_classes = String::new();

        // The old spellings come first, so that the new ones win.
        for keys in [&OLD_KEYS, &KEYS] {
            data.text(keys.image, &mut read.queue_sidecar_image);
            data.nanos(keys.deadline, &mut deadline)?;
            data.nanos(keys.digest, &mut digest)?;
            data.set(keys.registries, &mut read.registries_skipping_tag_resolving);
            for (key, quantity) in keys.resources.into_iter().zip([
                &mut read.queue_sidecar_cpu_request,
                &mut read.queue_sidecar_memory_request,
                &mut read.queue_sidecar_ephemeral_storage_request,
                &mut read.queue_sidecar_cpu_limit,
                &mut read.queue_sidecar_memory_limit,
                &mut read.queue_sidecar_ephemeral_storage_limit,
            ]) {
                data.quantity(key, quantity)?;
            }
        }
        data.set("queue-sidecar-token-audiences", &mut read.queue_sidecar_token_audiences);
        read.queue_sidecar_token_audiences.remove("");
        for (key, text) in [
            ("queue-sidecar-rootca", &mut read.queue_sidecar_rootca),
            ("queue-sidecar-tls-min-version", &mut read.queue_sidecar_tls_min_version),
            ("queue-sidecar-tls-max-version", &mut read.queue_sidecar_tls_max_version),
            ("queue-sidecar-tls-cipher-suites", &mut read.queue_sidecar_tls_cipher_suites),
            ("queue-sidecar-tls-curve-preferences", &mut read.queue_sidecar_tls_curve_preferences),
            ("runtime-class-name", &mut runtime_classes),
        ] {
            data.text(key, text);
        }
        data.bool("pod-is-always-schedulable", &mut read.pod_is_always_schedulable)?;

        let fail = |text: String| Err(Error::new(text));
        if read.queue_sidecar_image.is_empty() {
            return fail("queue-sidecar-image cannot be empty or unset".to_string());
        }
        let was = format_duration(deadline);
        if deadline <= 0 {
            return fail(format!("progress-deadline cannot be a non-positive duration, was {was}"));
        }
        if deadline % SECOND != 0 {
            return fail(format!(
                "progress-deadline must be rounded to a whole second, was: {was}"
            ));
        }
        if digest <= 0 {
            let was = format_duration(digest);
            return fail(format!(
                "digest-resolution-timeout cannot be a non-positive duration, was {was}"
            ));
        }
        read.progress_deadline = span(deadline);
        read.digest_resolution_timeout = span(digest);
        read.default_affinity_type = match data.get("default-affinity-type") {
            Some("none") => Affinity::None,
            None | Some("prefer-spread-revision-over-nodes") => {
                Affinity::PreferSpreadRevisionOverNodes
            }
            Some(other) => {
                let was = quote(other);
                return fail(format!("unsupported default-affinity-type value: {was}"));
            }
        };
        read.runtime_class_name = classes(&runtime_classes)?;
        Ok(read)
    }

    /// The runtime class of a revision with these labels: the one with the most labels in its selector,
    /// and of several the first by name.
    pub fn runtime_class(&self, labels: &BTreeMap<String, String>) -> Option<&str> {
        let mut best: Option<(&str, usize)> = None;
        for (class, selector) in &self.runtime_class_name {
            let fits = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            if fits && best.is_none_or(|(_, size)| selector.len() > size) {
                best = Some((class, selector.len()));
            }
        }
        best.map(|(class, _)| class).filter(|class| !class.is_empty())
    }
}

/// The spellings of the keys that have two.
struct Keys {
    image: &'static str,
    deadline: &'static str,
    digest: &'static str,
    registries: &'static str,
    resources: [&'static str; 6],
}

const OLD_KEYS: Keys = Keys {
    image: "queueSidecarImage",
    deadline: "progressDeadline",
    digest: "digestResolutionTimeout",
    registries: "registriesSkippingTagResolving",
    resources: [
        "queueSidecarCPURequest",
        "queueSidecarMemoryRequest",
        "queueSidecarEphemeralStorageRequest",
        "queueSidecarCPULimit",
        "queueSidecarMemoryLimit",
        "queueSidecarEphemeralStorageLimit",
    ],
};

const KEYS: Keys = Keys {
    image: "queue-sidecar-image",
    deadline: "progress-deadline",
    digest: "digest-resolution-timeout",
    registries: "registries-skipping-tag-resolving",
    resources: [
        "queue-sidecar-cpu-request",
        "queue-sidecar-memory-request",
        "queue-sidecar-ephemeral-storage-request",
        "queue-sidecar-cpu-limit",
        "queue-sidecar-memory-limit",
        "queue-sidecar-ephemeral-storage-limit",
    ],
};

/// Reads `class: {selector: {label: value}}`.
fn classes(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
    let format = |why: String| {
        Error::new(format!("runtime-class-name cannot be parsed, please check the format: {why}"))
    };
    let value = yaml(text).map_err(|why| format(why.to_string()))?;
    let go = "deployment.RuntimeClassNameLabelSelector";
    let classes = match value {
        serde_json::Value::Null => return Ok(BTreeMap::new()),
        serde_json::Value::Object(classes) => classes,
        // The error of a map of selectors is that of one, but for its type.
        other => {
            let why = selection(&other, &format!("map[string]{go}"));
            return Err(format(why.err().map(|why| why.to_string()).unwrap_or_default()));
        }
    };
    let mut read = BTreeMap::new();
    for (name, class) in classes {
        let class = selection(&class, go).map_err(|why| format(why.to_string()))?;
        let wrong = api::names::dns_subdomain_errors(&name);
        if !wrong.is_empty() {
            return Err(Error::new(format!(
                "runtime-class-name {name} selector not valid DNSSubdomain: [{}]",
                wrong.join(" ")
            )));
        }
        read.insert(name, class.selector);
    }
    Ok(read)
}
