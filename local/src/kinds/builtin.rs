//! The built-in kinds: one row of facts each.
//!
//! Source: Kubernetes' discovery documents and its registries under `pkg/registry`.

use std::sync::Arc;

use super::meta::NameRule;
use super::{Kind, ScalePaths, Source, Storage, Subresource};
use crate::schema::Schema;
use crate::schema::builtin::Library;
use strategy::Strategy;

mod config_kinds;
mod container_check;
mod convert;
mod cron;
mod definition;
mod internal;
mod job;
mod network_kinds;
mod pod;
mod pod_update;
mod pod_warnings;
mod policy_kinds;
mod resource_check;
mod rule_check;
mod service;
mod spec_check;
pub(super) mod strategy;
mod structural_check;
pub(super) mod table;
mod volume_check;
mod workload;

/// What is known of one version of a built-in kind.
pub(super) struct Facts {
    /// The full name of its type.
    name: &'static str,
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
    subresources: &'static [Sub],
    generation: bool,
    pub(super) names: NameRule,
    /// Whether a replacement must say which version it replaces.
    needs_version: bool,
    /// Group, plural and version of what is kept, where that is not itself.
    storage: Option<(&'static str, &'static str, &'static str)>,
    /// Fields for selectors besides name and namespace, with the pointer to each.
    pub(super) selectable: &'static [(&'static str, &'static str)],
    pub(super) convert: Option<&'static Convert>,
    pub(super) strategy: &'static Strategy,
}

/// How a view of objects kept in another version translates.
pub(super) struct Convert {
    pub(super) from_storage: fn(&mut serde_json::Value),
    pub(super) to_storage: fn(&mut serde_json::Value),
}

enum Sub {
    /// `status` and others that take the object itself.
    Itself(&'static str, &'static [&'static str]),
    /// The scale at `.spec.replicas`.
    Scale,
    /// Another kind: name, group, version, kind, verbs.
    Other(&'static str, &'static str, &'static str, &'static str, &'static [&'static str]),
}

const ALL: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const EDIT: &[&str] = &["get", "patch", "update"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const STATUS: Sub = Sub::Itself("status", EDIT);

const fn of(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    name: &'static str,
) -> Facts {
    Facts {
        name,
        group,
        version,
        plural,
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        generation: false,
        names: NameRule::Subdomain,
        needs_version: false,
        storage: None,
        selectable: &[],
        convert: None,
        strategy: &strategy::PLAIN,
    }
}

impl Facts {
    const fn short(mut self, names: &'static [&'static str]) -> Facts {
        self.short_names = names;
        self
    }
    const fn in_all(mut self) -> Facts {
        self.categories = &["all"];
        self
    }
    const fn categories(mut self, categories: &'static [&'static str]) -> Facts {
        self.categories = categories;
        self
    }
    const fn cluster(mut self) -> Facts {
        self.namespaced = false;
        self
    }
    const fn verbs(mut self, verbs: &'static [&'static str]) -> Facts {
        self.verbs = verbs;
        self
    }
    const fn sub(mut self, subresources: &'static [Sub]) -> Facts {
        self.subresources = subresources;
        self
    }
    const fn generation(mut self) -> Facts {
        self.generation = true;
        self
    }
    const fn names(mut self, names: NameRule) -> Facts {
        self.names = names;
        self
    }
    const fn needs_version(mut self) -> Facts {
        self.needs_version = true;
        self
    }
    const fn converts(mut self, convert: &'static Convert) -> Facts {
        self.convert = Some(convert);
        self
    }
    const fn with(mut self, strategy: &'static Strategy) -> Facts {
        self.strategy = strategy;
        self
    }
    const fn stored(
        mut self,
        group: &'static str,
        plural: &'static str,
        version: &'static str,
    ) -> Facts {
        self.storage = Some((group, plural, version));
        self
    }
    const fn selectable(mut self, fields: &'static [(&'static str, &'static str)]) -> Facts {
        self.selectable = fields;
        self
    }
}

pub(super) const FACTS: &[Facts] = &[
    // Core.
    of("", "v1", "bindings", "io.k8s.api.core.v1.Binding").verbs(CREATE),
    of("", "v1", "componentstatuses", "io.k8s.api.core.v1.ComponentStatus")
        .cluster()
        .short(&["cs"])
        .verbs(&["get", "list"]),
    of("", "v1", "configmaps", "io.k8s.api.core.v1.ConfigMap")
        .with(&config_kinds::CONFIG_MAP)
        .short(&["cm"]),
    of("", "v1", "endpoints", "io.k8s.api.core.v1.Endpoints")
        .with(&network_kinds::ENDPOINTS)
        .short(&["ep"]),
    of("", "v1", "events", "io.k8s.api.core.v1.Event")
        .with(&policy_kinds::EVENT)
        .names(NameRule::PathSegment)
        .short(&["ev"])
        .selectable(&[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
            ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
            ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
            ("reason", "/reason"),
            ("reportingComponent", "/reportingComponent"),
            ("source", "/source/component"),
            ("type", "/type"),
        ]),
    of("", "v1", "limitranges", "io.k8s.api.core.v1.LimitRange")
        .with(&config_kinds::LIMIT_RANGE)
        .short(&["limits"]),
    of("", "v1", "namespaces", "io.k8s.api.core.v1.Namespace")
        .names(NameRule::Label)
        .with(&config_kinds::NAMESPACE)
        .cluster()
        .short(&["ns"])
        .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .sub(&[Sub::Itself("finalize", &["update"]), STATUS])
        .selectable(&[("name", "/metadata/name"), ("status.phase", "/status/phase")]),
    of("", "v1", "nodes", "io.k8s.api.core.v1.Node")
        .with(&config_kinds::NODE)
        .cluster()
        .short(&["no"])
        .sub(&[Sub::Other("proxy", "", "v1", "NodeProxyOptions", PROXY), STATUS])
        .selectable(&[("spec.unschedulable", "/spec/unschedulable")]),
    of("", "v1", "persistentvolumeclaims", "io.k8s.api.core.v1.PersistentVolumeClaim")
        .with(&config_kinds::CLAIM)
        .short(&["pvc"])
        .sub(&[STATUS]),
    of("", "v1", "persistentvolumes", "io.k8s.api.core.v1.PersistentVolume")
        .with(&config_kinds::VOLUME)
        .cluster()
        .short(&["pv"])
        .sub(&[STATUS]),
    of("", "v1", "pods", "io.k8s.api.core.v1.Pod")
        .with(&pod::POD)
        .short(&["po"])
        .in_all()
        .generation()
        .sub(&[
            Sub::Other("attach", "", "v1", "PodAttachOptions", &["create", "get"]),
            Sub::Other("binding", "", "v1", "Binding", CREATE),
            Sub::Itself("ephemeralcontainers", EDIT),
            Sub::Other("eviction", "policy", "v1", "Eviction", CREATE),
            Sub::Other("exec", "", "v1", "PodExecOptions", &["create", "get"]),
            Sub::Itself("log", &["get"]),
            Sub::Other("portforward", "", "v1", "PodPortForwardOptions", &["create", "get"]),
            Sub::Other("proxy", "", "v1", "PodProxyOptions", PROXY),
            Sub::Itself("resize", EDIT),
            STATUS,
        ])
        .selectable(&[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("spec.schedulerName", "/spec/schedulerName"),
            ("spec.serviceAccountName", "/spec/serviceAccountName"),
            ("spec.hostNetwork", "/spec/hostNetwork"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
            ("status.nominatedNodeName", "/status/nominatedNodeName"),
        ]),
    of("", "v1", "podtemplates", "io.k8s.api.core.v1.PodTemplate")
        .generation()
        .with(&pod::POD_TEMPLATE),
    of("", "v1", "replicationcontrollers", "io.k8s.api.core.v1.ReplicationController")
        .with(&workload::REPLICATION_CONTROLLER)
        .short(&["rc"])
        .in_all()
        .generation()
        .sub(&[Sub::Scale, STATUS])
        .selectable(&[("status.replicas", "/status/replicas")]),
    of("", "v1", "resourcequotas", "io.k8s.api.core.v1.ResourceQuota")
        .with(&config_kinds::RESOURCE_QUOTA)
        .short(&["quota"])
        .sub(&[STATUS]),
    of("", "v1", "secrets", "io.k8s.api.core.v1.Secret")
        .with(&config_kinds::SECRET)
        .selectable(&[("type", "/type")]),
    of("", "v1", "serviceaccounts", "io.k8s.api.core.v1.ServiceAccount")
        .with(&config_kinds::SERVICE_ACCOUNT)
        .short(&["sa"])
        .sub(&[Sub::Other("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)]),
    of("", "v1", "services", "io.k8s.api.core.v1.Service")
        .names(NameRule::Label)
        .with(&service::SERVICE)
        .short(&["svc"])
        .in_all()
        .sub(&[Sub::Other("proxy", "", "v1", "ServiceProxyOptions", PROXY), STATUS])
        .selectable(&[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")]),
    // Workloads.
    of("apps", "v1", "controllerrevisions", "io.k8s.api.apps.v1.ControllerRevision")
        .with(&policy_kinds::REVISION),
    of("apps", "v1", "daemonsets", "io.k8s.api.apps.v1.DaemonSet")
        .with(&workload::DAEMON_SET)
        .short(&["ds"])
        .in_all()
        .generation()
        .sub(&[STATUS]),
    of("apps", "v1", "deployments", "io.k8s.api.apps.v1.Deployment")
        .with(&workload::DEPLOYMENT)
        .short(&["deploy"])
        .in_all()
        .generation()
        .sub(&[Sub::Scale, STATUS]),
    of("apps", "v1", "replicasets", "io.k8s.api.apps.v1.ReplicaSet")
        .with(&workload::REPLICA_SET)
        .short(&["rs"])
        .in_all()
        .generation()
        .sub(&[Sub::Scale, STATUS])
        .selectable(&[("status.replicas", "/status/replicas")]),
    of("apps", "v1", "statefulsets", "io.k8s.api.apps.v1.StatefulSet")
        .with(&workload::STATEFUL_SET)
        .short(&["sts"])
        .in_all()
        .generation()
        .sub(&[Sub::Scale, STATUS]),
    of("batch", "v1", "cronjobs", "io.k8s.api.batch.v1.CronJob")
        .with(&job::CRON_JOB)
        .short(&["cj"])
        .in_all()
        .generation()
        .sub(&[STATUS]),
    of("batch", "v1", "jobs", "io.k8s.api.batch.v1.Job")
        .with(&job::JOB)
        .in_all()
        .generation()
        .sub(&[STATUS])
        .selectable(&[("status.successful", "/status/succeeded")]),
    of(
        "autoscaling",
        "v1",
        "horizontalpodautoscalers",
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    )
    .with(&policy_kinds::AUTOSCALER_V1)
    .converts(&convert::AUTOSCALER_V1)
    .short(&["hpa"])
    .in_all()
    .sub(&[STATUS])
    .stored("autoscaling", "horizontalpodautoscalers", "v2"),
    of(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    )
    .with(&policy_kinds::AUTOSCALER)
    .short(&["hpa"])
    .in_all()
    .sub(&[STATUS]),
    of("policy", "v1", "poddisruptionbudgets", "io.k8s.api.policy.v1.PodDisruptionBudget")
        .needs_version()
        .with(&policy_kinds::BUDGET)
        .short(&["pdb"])
        .generation()
        .sub(&[STATUS]),
    // Network.
    of("discovery.k8s.io", "v1", "endpointslices", "io.k8s.api.discovery.v1.EndpointSlice")
        .with(&network_kinds::SLICE)
        .generation(),
    of("networking.k8s.io", "v1", "ingressclasses", "io.k8s.api.networking.v1.IngressClass")
        .cluster()
        .generation(),
    of("networking.k8s.io", "v1", "ingresses", "io.k8s.api.networking.v1.Ingress")
        .with(&network_kinds::INGRESS)
        .short(&["ing"])
        .generation()
        .sub(&[STATUS]),
    of("networking.k8s.io", "v1", "ipaddresses", "io.k8s.api.networking.v1.IPAddress")
        .cluster()
        .short(&["ip"]),
    of("networking.k8s.io", "v1", "networkpolicies", "io.k8s.api.networking.v1.NetworkPolicy")
        .with(&network_kinds::NETWORK_POLICY)
        .short(&["netpol"])
        .generation(),
    of("networking.k8s.io", "v1", "servicecidrs", "io.k8s.api.networking.v1.ServiceCIDR")
        .cluster()
        .sub(&[STATUS]),
    // Coordination and events.
    of("coordination.k8s.io", "v1", "leases", "io.k8s.api.coordination.v1.Lease")
        .needs_version()
        .with(&network_kinds::LEASE),
    of("events.k8s.io", "v1", "events", "io.k8s.api.events.v1.Event")
        .converts(&convert::EVENT)
        .names(NameRule::PathSegment)
        .short(&["ev"])
        .stored("", "events", "v1")
        .selectable(&[
            ("regarding.kind", "/regarding/kind"),
            ("regarding.namespace", "/regarding/namespace"),
            ("regarding.name", "/regarding/name"),
            ("regarding.uid", "/regarding/uid"),
            ("regarding.apiVersion", "/regarding/apiVersion"),
            ("regarding.resourceVersion", "/regarding/resourceVersion"),
            ("regarding.fieldPath", "/regarding/fieldPath"),
            ("reason", "/reason"),
            ("reportingController", "/reportingController"),
            ("type", "/type"),
        ]),
    // Access.
    of(
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "io.k8s.api.authentication.v1.SelfSubjectReview",
    )
    .cluster()
    .verbs(CREATE),
    of("authentication.k8s.io", "v1", "tokenreviews", "io.k8s.api.authentication.v1.TokenReview")
        .cluster()
        .verbs(CREATE),
    of(
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    )
    .verbs(CREATE),
    of(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    )
    .cluster()
    .verbs(CREATE),
    of(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    )
    .cluster()
    .verbs(CREATE),
    of(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    )
    .cluster()
    .verbs(CREATE),
    of(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    )
    .names(NameRule::PathSegment)
    .with(&policy_kinds::BINDING)
    .cluster(),
    of("rbac.authorization.k8s.io", "v1", "clusterroles", "io.k8s.api.rbac.v1.ClusterRole")
        .names(NameRule::PathSegment)
        .with(&policy_kinds::CLUSTER_ROLE)
        .cluster(),
    of("rbac.authorization.k8s.io", "v1", "rolebindings", "io.k8s.api.rbac.v1.RoleBinding")
        .names(NameRule::PathSegment)
        .with(&policy_kinds::BINDING),
    of("rbac.authorization.k8s.io", "v1", "roles", "io.k8s.api.rbac.v1.Role")
        .names(NameRule::PathSegment)
        .with(&policy_kinds::ROLE),
    of(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
    )
    .cluster()
    .short(&["csr"])
    .sub(&[Sub::Itself("approval", EDIT), STATUS])
    .selectable(&[("spec.signerName", "/spec/signerName")]),
    // Extension.
    of(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    )
    .with(&definition::DEFINITION)
    .needs_version()
    .cluster()
    .short(&["crd", "crds"])
    .categories(&["api-extensions"])
    .generation()
    .sub(&[STATUS]),
    of(
        "apiregistration.k8s.io",
        "v1",
        "apiservices",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    )
    .needs_version()
    .cluster()
    .categories(&["api-extensions"])
    .sub(&[STATUS]),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicies",
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation(),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicybindings",
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation(),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation(),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation()
    .sub(&[STATUS]),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation(),
    of(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    )
    .cluster()
    .categories(&["api-extensions"])
    .generation(),
    // Scheduling, nodes, storage: kept, and used by nobody here.
    of("scheduling.k8s.io", "v1", "priorityclasses", "io.k8s.api.scheduling.v1.PriorityClass")
        .generation()
        .with(&policy_kinds::PRIORITY_CLASS)
        .cluster()
        .short(&["pc"]),
    of("node.k8s.io", "v1", "runtimeclasses", "io.k8s.api.node.v1.RuntimeClass").cluster(),
    of("storage.k8s.io", "v1", "csidrivers", "io.k8s.api.storage.v1.CSIDriver").cluster(),
    of("storage.k8s.io", "v1", "csinodes", "io.k8s.api.storage.v1.CSINode").cluster(),
    of("storage.k8s.io", "v1", "csistoragecapacities", "io.k8s.api.storage.v1.CSIStorageCapacity"),
    of("storage.k8s.io", "v1", "storageclasses", "io.k8s.api.storage.v1.StorageClass")
        .with(&policy_kinds::STORAGE_CLASS)
        .cluster()
        .short(&["sc"]),
    of("storage.k8s.io", "v1", "volumeattachments", "io.k8s.api.storage.v1.VolumeAttachment")
        .cluster()
        .sub(&[STATUS]),
    // Measured when they are asked for, and stored nowhere.
    of(USAGE, "v1beta1", "nodes", "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics")
        .cluster()
        .verbs(&["get", "list"]),
    of(USAGE, "v1beta1", "pods", "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics")
        .verbs(&["get", "list"]),
];

/// The group of what pods and nodes use.
pub const USAGE: &str = "metrics.k8s.io";

const ENDPOINTS_DEPRECATED: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// The kind of one row.
pub(super) fn kind(facts: &'static Facts, library: &Arc<Library>) -> Kind {
    let kind = facts.name.rsplit('.').next().expect("a full name has a last part");
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.into()).collect();
    let storage = facts.storage.unwrap_or((facts.group, facts.plural, facts.version));
    Kind {
        group: facts.group.into(),
        version: facts.version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: facts.plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: texts(facts.short_names),
        categories: texts(facts.categories),
        namespaced: facts.namespaced,
        verbs: facts.verbs.to_vec(),
        subresources: facts.subresources.iter().map(|sub| subresource(facts, kind, sub)).collect(),
        storage: Storage {
            group: storage.0.into(),
            plural: storage.1.into(),
            version: storage.2.into(),
        },
        has_generation: facts.generation,
        deprecation: (facts.name == "io.k8s.api.core.v1.Endpoints")
            .then(|| ENDPOINTS_DEPRECATED.into()),
        needs_version: facts.needs_version,
        source: Source::Builtin(facts),
        schema: Default::default(),
        library: Arc::clone(library),
    }
}

/// The schema of one row. The table of types has every name used above: a test checks it.
pub(super) fn schema(facts: &'static Facts, library: &Arc<Library>) -> Schema {
    Schema::builtin(library, facts.name).expect("the table of types has every built-in kind")
}

/// What every name column says.
pub(super) const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// What every age column says.
pub(super) const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn subresource(facts: &Facts, kind: &str, sub: &Sub) -> Subresource {
    let path = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<Box<str>>>();
    let (name, group, version, kind, verbs, scale) = match *sub {
        Sub::Itself(name, verbs) => (name, facts.group, facts.version, kind, verbs, None),
        Sub::Other(name, group, version, kind, verbs) => (name, group, version, kind, verbs, None),
        Sub::Scale => {
            let scale = ScalePaths {
                spec_replicas: path(&["spec", "replicas"]),
                status_replicas: path(&["status", "replicas"]),
                selector: Some(path(&["spec", "selector"])),
            };
            ("scale", "autoscaling", "v1", "Scale", EDIT, Some(scale))
        }
    };
    Subresource {
        name: name.into(),
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: verbs.to_vec(),
        scale,
    }
}
