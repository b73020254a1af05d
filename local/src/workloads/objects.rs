//! What the workload controllers remember of each object: only what their plans read.
//!
//! Pure: conversions from the Kubernetes types. A thousand Deployments keep their pod templates as digests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::quantity::Amount;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1 as apps, autoscaling::v2 as autoscaling, batch::v1 as batch, core::v1 as core,
        discovery::v1 as discovery, policy::v1 as policy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube::core::PartialObjectMeta;
use serde::Serialize;

use super::resources::Resource;
use crate::quota;

/// The label that tells the pods of one ReplicaSet of a Deployment from another's.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// Where an object is; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// An object's unique id.
pub type Uid = Arc<str>;

/// An object that another depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: Uid,
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    /// True for the one owner that manages the object.
    pub is_controller: bool,
    /// True when the owner's foreground deletion waits for the object.
    pub blocks_deletion: bool,
}

/// The metadata that plans read.
#[derive(Clone, Debug)]
pub struct Meta {
    pub key: Key,
    pub uid: Uid,
    /// The resource version as a number: later writes have larger ones.
    pub version: u64,
    pub generation: i64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owners: Box<[Owner]>,
    pub finalizers: Box<[String]>,
    pub created: Timestamp,
    /// When the object goes away, once its deletion was asked for.
    pub deleted: Option<Timestamp>,
}

impl Meta {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.is_controller)
    }
}

/// An object of a kind that has a plan here, or the metadata of any other.
#[derive(Debug)]
pub enum Object {
    Namespace(Namespace),
    Node(Meta),
    Pod(Pod),
    Service(Service),
    Endpoints(Endpoints),
    Slice(Slice),
    Deployment(Deployment),
    ReplicaSet(ReplicaSet),
    Job(Job),
    Budget(Budget),
    Quota(Quota),
    Horizontal(Horizontal),
    Definition(Definition),
    Other(Resource, Meta),
}

impl Object {
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(it) => &it.meta,
            Self::Node(it) | Self::Other(_, it) => it,
            Self::Pod(it) => &it.meta,
            Self::Service(it) => &it.meta,
            Self::Endpoints(it) => &it.meta,
            Self::Slice(it) => &it.meta,
            Self::Deployment(it) => &it.meta,
            Self::ReplicaSet(it) => &it.meta,
            Self::Job(it) => &it.meta,
            Self::Budget(it) => &it.meta,
            Self::Quota(it) => &it.meta,
            Self::Horizontal(it) => &it.meta,
            Self::Definition(it) => &it.meta,
        }
    }
}

#[derive(Debug)]
pub struct Namespace {
    pub meta: Meta,
    /// `spec.finalizers`: what still has to empty the namespace.
    pub holders: Vec<String>,
    pub conditions: Vec<core::NamespaceCondition>,
}

/// A pod template: its digest, and its text while somebody is about to need it.
#[derive(Clone, Debug)]
pub struct Template {
    /// Of the canonical text without the label [`TEMPLATE_HASH`].
    pub digest: u64,
    pub text: Option<Arc<str>>,
}

impl Template {
    fn new(template: core::PodTemplateSpec, keep: bool) -> Self {
        let mut bare = template.clone();
        if let Some(labels) = bare.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(TEMPLATE_HASH);
        }
        Self { digest: digest(&bare), text: keep.then(|| text(&template).into()) }
    }
}

#[derive(Debug)]
pub struct Deployment {
    pub meta: Meta,
    pub replicas: i32,
    pub selector: LabelSelector,
    pub template: Template,
    /// `None` for the strategy Recreate.
    pub rolling: Option<Rolling>,
    pub min_ready_s: i32,
    pub history_limit: Option<i32>,
    pub is_paused: bool,
    /// `None` when progress is not watched.
    pub deadline_s: Option<i32>,
    pub status: apps::DeploymentStatus,
}

/// The bounds of a rolling update.
#[derive(Clone, Debug)]
pub struct Rolling {
    pub max_surge: IntOrString,
    pub max_unavailable: IntOrString,
}

#[derive(Debug)]
pub struct ReplicaSet {
    pub meta: Meta,
    pub replicas: i32,
    pub selector: LabelSelector,
    pub template: Template,
    pub min_ready_s: i32,
    pub status: apps::ReplicaSetStatus,
}

#[derive(Debug)]
pub struct Pod {
    pub meta: Meta,
    pub phase: Phase,
    pub node: Option<Box<str>>,
    pub hostname: Option<Box<str>>,
    pub subdomain: Option<Box<str>>,
    pub ips: Box<[Box<str>]>,
    /// The state of the condition Ready and since when it has it.
    pub is_ready: bool,
    pub ready_since: Option<Timestamp>,
    /// Restarts of the container that restarted most.
    pub restarts: i32,
    /// Named container ports.
    pub ports: Box<[NamedPort]>,
    /// When its node took it.
    pub started: Option<Timestamp>,
    /// What its containers request.
    pub requests: Box<[Requests]>,
}

/// What a container requests, in thousandths.
#[derive(Debug)]
pub struct Requests {
    pub container: Box<str>,
    pub cpu_milli: Option<i64>,
    pub memory_milli: Option<i64>,
}

/// Name, protocol, number.
pub type NamedPort = (Box<str>, Box<str>, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

impl Pod {
    /// True until every container has ended for good.
    pub fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// True when the pod counts for its owner: neither finished nor on its way out.
    pub fn is_active(&self) -> bool {
        self.is_live() && self.meta.deleted.is_none()
    }

    /// When the pod has been, or will have been, ready for `min_ready_s`; `None` while it is not ready.
    pub fn available_at(&self, min_ready_s: i32) -> Option<Timestamp> {
        if !self.is_ready {
            return None;
        }
        let since = self.ready_since.unwrap_or(Timestamp::UNIX_EPOCH);
        Some(later(since, min_ready_s))
    }
}

#[derive(Debug)]
pub struct Service {
    pub meta: Meta,
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<core::ServicePort>,
    pub is_external_name: bool,
    pub is_headless: bool,
    pub is_ipv6: bool,
    pub publishes_not_ready: bool,
}

#[derive(Debug)]
pub struct Endpoints {
    pub meta: Meta,
    /// Of the subsets.
    pub digest: u64,
    /// The subsets, for Endpoints that somebody else writes.
    pub subsets: Option<Vec<core::EndpointSubset>>,
}

#[derive(Debug)]
pub struct Slice {
    pub meta: Meta,
    /// Of address type, endpoints and ports.
    pub digest: u64,
}

#[derive(Debug)]
pub struct Job {
    pub meta: Meta,
    pub spec: JobSpec,
    pub status: batch::JobStatus,
    pub template: Template,
}

/// What a plan reads of a Job's spec.
#[derive(Clone, Debug, Default)]
pub struct JobSpec {
    pub parallelism: i32,
    pub completions: Option<i32>,
    pub backoff_limit: i32,
    pub deadline_s: Option<i64>,
    pub ttl_s: Option<i32>,
    pub is_suspended: bool,
}

#[derive(Debug)]
pub struct Budget {
    pub meta: Meta,
    pub min_available: Option<IntOrString>,
    pub max_unavailable: Option<IntOrString>,
    pub selector: Option<LabelSelector>,
    pub status: policy::PodDisruptionBudgetStatus,
}

#[derive(Debug)]
pub struct Quota {
    pub meta: Meta,
    /// The kinds whose objects it counts.
    pub counted: BTreeSet<quota::Counted>,
}

#[derive(Debug)]
pub struct Horizontal {
    pub meta: Meta,
    pub spec: autoscaling::HorizontalPodAutoscalerSpec,
    pub status: autoscaling::HorizontalPodAutoscalerStatus,
}

/// A custom kind, once its name was accepted.
#[derive(Debug)]
pub struct Definition {
    pub meta: Meta,
    /// `None` until it is served.
    pub serves: Option<Resource>,
}

/// A moment some seconds after `from`, never past the end of time.
pub fn later(from: Timestamp, seconds: impl Into<i64>) -> Timestamp {
    from.checked_add(jiff::SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// A 64-bit FNV-1a digest of the JSON text of `value`.
pub fn digest(value: &impl Serialize) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text(value).bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("Kubernetes types have text keys only")
}

fn meta(from: ObjectMeta) -> Meta {
    let owner = |it: OwnerReference| Owner {
        uid: it.uid.into(),
        api_version: it.api_version.into(),
        kind: it.kind.into(),
        name: it.name.into(),
        is_controller: it.controller == Some(true),
        blocks_deletion: it.block_owner_deletion == Some(true),
    };
    Meta {
        key: Key::new(
            from.namespace.as_deref().unwrap_or_default(),
            from.name.as_deref().unwrap_or_default(),
        ),
        uid: from.uid.unwrap_or_default().into(),
        version: from.resource_version.and_then(|it| it.parse().ok()).unwrap_or(0),
        generation: from.generation.unwrap_or(0),
        labels: from.labels.unwrap_or_default(),
        annotations: from.annotations.unwrap_or_default(),
        owners: from.owner_references.unwrap_or_default().into_iter().map(owner).collect(),
        finalizers: from.finalizers.unwrap_or_default().into(),
        created: from.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |it| it.0),
        deleted: from.deletion_timestamp.map(|it| it.0),
    }
}

/// Metadata without labels and annotations, which nobody reads of this kind.
fn bare_meta(from: ObjectMeta) -> Meta {
    meta(ObjectMeta { labels: None, annotations: None, ..from })
}

impl From<core::Namespace> for Object {
    fn from(it: core::Namespace) -> Self {
        Self::Namespace(Namespace {
            meta: bare_meta(it.metadata),
            holders: it.spec.and_then(|spec| spec.finalizers).unwrap_or_default(),
            conditions: it.status.and_then(|status| status.conditions).unwrap_or_default(),
        })
    }
}

impl From<PartialObjectMeta<core::Node>> for Object {
    fn from(it: PartialObjectMeta<core::Node>) -> Self {
        Self::Node(bare_meta(it.metadata))
    }
}

impl From<core::Pod> for Object {
    fn from(it: core::Pod) -> Self {
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let ip = |it: core::PodIP| Box::from(it.ip);
        let mut ips: Box<[Box<str>]> =
            status.pod_ips.unwrap_or_default().into_iter().map(ip).collect();
        if ips.is_empty() {
            ips = status.pod_ip.into_iter().map(Box::from).collect();
        }
        let named = |port: core::ContainerPort| {
            let protocol = port.protocol.unwrap_or_else(|| "TCP".into());
            Some((port.name?.into(), protocol.into(), port.container_port))
        };
        let requests = |it: &core::Container| {
            let requests = it.resources.as_ref().and_then(|it| it.requests.as_ref());
            let milli = |name| {
                let amount = Amount::parse(&requests?.get(name)?.0).ok()?;
                Some(amount.milli())
            };
            Requests {
                container: it.name.as_str().into(),
                cpu_milli: milli("cpu"),
                memory_milli: milli("memory"),
            }
        };
        let requests = spec.containers.iter().map(requests).collect();
        let sidecars = spec.init_containers.unwrap_or_default().into_iter();
        let sidecars = sidecars.filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let ports =
            spec.containers.into_iter().chain(sidecars).flat_map(|it| it.ports.unwrap_or_default());
        let mut meta = meta(it.metadata);
        meta.annotations.retain(|key, _| key == super::replica_set::DELETION_COST);
        Self::Pod(Pod {
            meta,
            phase: match status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                Some("Unknown") => Phase::Unknown,
                _ => Phase::Pending,
            },
            node: spec.node_name.filter(|it| !it.is_empty()).map(Box::from),
            hostname: spec.hostname.map(Box::from),
            subdomain: spec.subdomain.map(Box::from),
            ips,
            is_ready: ready.is_some_and(|it| it.status == "True"),
            ready_since: ready.and_then(|it| it.last_transition_time.as_ref()).map(|it| it.0),
            restarts: status
                .container_statuses
                .iter()
                .flatten()
                .map(|it| it.restart_count)
                .max()
                .unwrap_or(0),
            ports: ports.filter_map(named).collect(),
            started: status.start_time.map(|it| it.0),
            requests,
        })
    }
}

impl From<core::Service> for Object {
    fn from(it: core::Service) -> Self {
        let spec = it.spec.unwrap_or_default();
        let mut meta = meta(it.metadata);
        meta.annotations.clear();
        Self::Service(Service {
            meta,
            selector: spec.selector.unwrap_or_default(),
            ports: spec.ports.unwrap_or_default(),
            is_external_name: spec.type_.as_deref() == Some("ExternalName"),
            is_headless: spec.cluster_ip.as_deref() == Some("None"),
            is_ipv6: spec
                .ip_families
                .and_then(|it| it.into_iter().next())
                .is_some_and(|it| it == "IPv6"),
            publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
        })
    }
}

impl From<core::Endpoints> for Object {
    fn from(it: core::Endpoints) -> Self {
        let subsets = it.subsets.unwrap_or_default();
        let mut meta = meta(it.metadata);
        let is_ours = meta.labels.contains_key(super::endpoints::MANAGED_BY);
        meta.annotations.retain(|key, _| key.starts_with("control-plane.alpha.kubernetes.io/"));
        let digest = digest(&subsets);
        Self::Endpoints(Endpoints { meta, digest, subsets: (!is_ours).then_some(subsets) })
    }
}

impl From<discovery::EndpointSlice> for Object {
    fn from(it: discovery::EndpointSlice) -> Self {
        let mut meta = meta(it.metadata);
        meta.annotations.clear();
        let digest = super::endpoints::slice_digest(&it.address_type, &it.endpoints, &it.ports);
        Self::Slice(Slice { meta, digest })
    }
}

impl From<apps::Deployment> for Object {
    fn from(it: apps::Deployment) -> Self {
        let spec = it.spec;
        let status = it.status.unwrap_or_default();
        let strategy = spec.strategy.unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let quarter = || IntOrString::String("25%".into());
        let mut meta = meta(it.metadata);
        meta.annotations.remove(super::deployment::LAST_APPLIED);
        // A spec that was acted on needs its template no more.
        let keep = status.observed_generation != Some(meta.generation);
        Self::Deployment(Deployment {
            meta,
            replicas: spec.replicas.unwrap_or(1),
            selector: spec.selector,
            template: Template::new(spec.template, keep),
            rolling: (strategy.type_.as_deref() != Some("Recreate")).then(|| Rolling {
                max_surge: rolling.max_surge.unwrap_or_else(quarter),
                max_unavailable: rolling.max_unavailable.unwrap_or_else(quarter),
            }),
            min_ready_s: spec.min_ready_seconds.unwrap_or(0),
            history_limit: spec.revision_history_limit,
            is_paused: spec.paused == Some(true),
            deadline_s: spec.progress_deadline_seconds.filter(|it| *it != i32::MAX),
            status,
        })
    }
}

impl From<apps::ReplicaSet> for Object {
    fn from(it: apps::ReplicaSet) -> Self {
        let spec = it.spec;
        let status = it.status.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let template = spec.template.unwrap_or_default();
        Self::ReplicaSet(ReplicaSet {
            meta: meta(it.metadata),
            replicas,
            selector: spec.selector,
            template: Template::new(template, replicas > status.replicas),
            min_ready_s: spec.min_ready_seconds.unwrap_or(0),
            status,
        })
    }
}

impl From<batch::Job> for Object {
    fn from(it: batch::Job) -> Self {
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        let mut meta = meta(it.metadata);
        meta.annotations.clear();
        Self::Job(Job {
            meta,
            spec: JobSpec {
                parallelism: spec.parallelism.unwrap_or(1),
                completions: spec.completions,
                backoff_limit: spec.backoff_limit.unwrap_or(6),
                deadline_s: spec.active_deadline_seconds,
                ttl_s: spec.ttl_seconds_after_finished,
                is_suspended: spec.suspend == Some(true),
            },
            template: Template::new(spec.template, status.completion_time.is_none()),
            status,
        })
    }
}

impl From<policy::PodDisruptionBudget> for Object {
    fn from(it: policy::PodDisruptionBudget) -> Self {
        let spec = it.spec.unwrap_or_default();
        Self::Budget(Budget {
            meta: bare_meta(it.metadata),
            min_available: spec.min_available,
            max_unavailable: spec.max_unavailable,
            selector: spec.selector,
            status: it.status.unwrap_or_default(),
        })
    }
}

impl From<core::ResourceQuota> for Object {
    fn from(it: core::ResourceQuota) -> Self {
        let spec = it.spec.unwrap_or_default();
        let counted = quota::counted(spec.hard.unwrap_or_default().keys());
        Self::Quota(Quota { meta: bare_meta(it.metadata), counted })
    }
}

impl From<autoscaling::HorizontalPodAutoscaler> for Object {
    fn from(it: autoscaling::HorizontalPodAutoscaler) -> Self {
        Self::Horizontal(Horizontal {
            meta: bare_meta(it.metadata),
            spec: it.spec,
            status: it.status.unwrap_or_default(),
        })
    }
}

impl From<CustomResourceDefinition> for Object {
    fn from(it: CustomResourceDefinition) -> Self {
        let is_established = it.status.is_some_and(|status| {
            let mut conditions = status.conditions.into_iter().flatten();
            conditions
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
        });
        let spec = it.spec;
        let version = spec.versions.iter().find(|it| it.served && it.storage);
        let version = version.or_else(|| spec.versions.iter().find(|it| it.served));
        let serves = version.filter(|_| is_established).map(|version| {
            Resource::new(
                &spec.group,
                &version.name,
                &spec.names.plural,
                &spec.names.kind,
                spec.scope == "Namespaced",
            )
        });
        Self::Definition(Definition { meta: bare_meta(it.metadata), serves })
    }
}

/// An object of a kind without a plan here.
pub fn other(resource: Resource, metadata: ObjectMeta) -> Object {
    Object::Other(resource, bare_meta(metadata))
}
