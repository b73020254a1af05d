//! The Deployment of a Revision: the user's containers, changed where the platform must, and the queue.
//!
//! Pure: a Revision and the configuration in, an object out.
//! Source: knative/serving `pkg/reconciler/revision/resources/deploy.go`, `meta.go`.

use api::{
    keys::{autoscaling, serving},
    queue::{CERTIFICATE, CERTIFICATES},
    serving::{Revision, RevisionSpec, RevisionStatus},
};
use config::{Config, deployment::Affinity, features::Flag};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            self as core, Container, ContainerPort, EnvVar, HTTPGetAction, Lifecycle,
            LifecycleHandler, Pod, PodSpec, PodTemplateSpec, Probe, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use runtime::plan::owner;

use super::{deployment_name, queue_container, serving_container};
use crate::metadata::{self, Map, name, uid};

/// The label that groups a revision's pods for people's tools.
const APP: &str = "app";
/// Names the container that kubectl means when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The port that is served when the Revision names none.
const DEFAULT_PORT: i32 = 8080;
const POD_INFO: &str = "features.knative.dev/queueproxy-podinfo";
const LAST_PINNED: &str = "serving.knative.dev/lastPinned";
/// How long a token for the queue is good, in seconds.
const TOKEN_S: i64 = 3600;

/// The Deployment of a Revision, as it is made.
pub fn deployment(
    revision: &Revision,
    status: &RevisionStatus,
    config: &Config,
    system_namespace: &str,
) -> Deployment {
    let annotation = |keys: &[&str]| metadata::first(&revision.metadata.annotations, keys);
    // Admission has checked both.
    let replicas = annotation(autoscaling::INITIAL_SCALE)
        .map_or(config.autoscaler.initial_scale, |it| it.parse().unwrap_or_default());
    let deadline = match annotation(&[serving::PROGRESS_DEADLINE]) {
        Some(text) => api::go::parse_duration(text).unwrap_or_default() / api::go::SECOND,
        None => config.deployment.progress_deadline.as_secs() as i64,
    };
    let mut pod_annotations = metadata::without(&revision.metadata.annotations, stays_off_pods);
    if let Some(container) = serving_container(revision).filter(|it| !it.name.is_empty()) {
        pod_annotations.insert(DEFAULT_CONTAINER.to_owned(), container.name.clone());
    }
    let mut made = Deployment {
        metadata: ObjectMeta {
            name: Some(deployment_name(revision)),
            namespace: revision.metadata.namespace.clone(),
            labels: Some(labels(revision)),
            annotations: metadata::some(metadata::without(
                &revision.metadata.annotations,
                stays_off_pods,
            )),
            owner_references: Some(vec![owner(revision)]),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(Map::from([(
                    serving::REVISION_UID.to_owned(),
                    uid(&revision.metadata).to_owned(),
                )])),
                ..LabelSelector::default()
            },
            progress_deadline_seconds: i32::try_from(deadline).ok(),
            revision_history_limit: Some(0),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: None,
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(revision)),
                    annotations: metadata::some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(revision, status, config, system_namespace)),
            },
            ..DeploymentSpec::default()
        },
        status: None,
    };
    let hash = hash(&made);
    let labels = made.metadata.labels.get_or_insert_default();
    labels.insert(serving::DEPLOYMENT_HASH.to_owned(), hash);
    made
}

/// The pod of a Revision that there is not yet, without its queue: for trying whether it could be made.
pub fn sample(spec: RevisionSpec, namespace: &str, config: &Config) -> Pod {
    let metadata = ObjectMeta {
        generate_name: Some("dry-run-validation".to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    let mut revision = Revision::new("", spec);
    revision.metadata = metadata.clone();
    let mut pod = revision.spec.pod.clone();
    pod.containers = user_containers(&revision, &RevisionStatus::default(), config);
    pod.termination_grace_period_seconds = revision.spec.timeout_seconds;
    Pod { metadata, spec: Some(pod), status: None }
}

/// The Deployment that `found` should become, where it was made otherwise than `wanted` is. Its scale
/// stays, and so do labels and annotations of others.
pub fn changed(found: &Deployment, wanted: Deployment) -> Option<Deployment> {
    let hash =
        |it: &Deployment| metadata::get(&it.metadata.labels, serving::DEPLOYMENT_HASH).to_owned();
    if hash(found) == hash(&wanted) {
        return None;
    }
    let mut changed = found.clone();
    let (before, mut spec) = (found.spec.clone(), wanted.spec);
    spec.replicas = before.replicas;
    spec.selector = before.selector;
    let meta = spec.template.metadata.get_or_insert_default();
    let before = before.template.metadata.unwrap_or_default();
    meta.labels = merged(&before.labels, &meta.labels);
    meta.annotations = merged(&before.annotations, &meta.annotations);
    changed.spec = spec;
    changed.metadata.labels = merged(&found.metadata.labels, &wanted.metadata.labels);
    changed.metadata.annotations =
        merged(&found.metadata.annotations, &wanted.metadata.annotations);
    Some(changed)
}

/// The labels of what belongs to a Revision.
pub fn labels(revision: &Revision) -> Map {
    let stays = |key: &str| key == serving::ROUTE || key == serving::ROUTING_STATE;
    let mut labels = metadata::with(
        metadata::without(&revision.metadata.labels, stays),
        [
            (serving::REVISION, name(&revision.metadata)),
            (serving::REVISION_UID, uid(&revision.metadata)),
        ],
    );
    labels.entry(APP.to_owned()).or_insert_with(|| name(&revision.metadata).to_owned());
    labels
}

/// Whether an annotation of a Revision says something about the Revision alone.
pub fn stays_on_revision(key: &str) -> bool {
    [LAST_PINNED, serving::NO_GC, serving::ROUTING_STATE_MODIFIED, serving::ROUTES].contains(&key)
}

/// The port that the user's container serves.
pub fn user_port(revision: &Revision) -> i32 {
    let ports = serving_container(revision).and_then(|it| it.ports.as_deref());
    let port = ports.and_then(<[_]>::first).map_or(0, |it| it.container_port);
    if port == 0 { DEFAULT_PORT } else { port }
}

fn stays_off_pods(key: &str) -> bool {
    stays_on_revision(key) || key.starts_with(autoscaling::GROUP)
}

/// What is Knative's is as wanted; what is others' stays.
fn merged(found: &Option<Map>, wanted: &Option<Map>) -> Option<Map> {
    let is_ours = |key: &str| key == APP || key.contains("knative.dev/");
    metadata::union(&metadata::some(metadata::without(found, is_ours)), wanted)
}

/// Tells whether the configuration or this code would make the Deployment otherwise now: FNV-1a of
/// its text, in base 36.
fn hash(deployment: &Deployment) -> String {
    let text = serde_json::to_string(deployment).expect("objects are plain data");
    let sum = text
        .bytes()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let (mut rest, mut digits) = (sum, Vec::new());
    while rest > 0 || digits.is_empty() {
        digits.push(char::from_digit(rest % 36, 36).expect("below 36"));
        rest /= 36;
    }
    digits.iter().rev().collect()
}

fn pod_spec(
    revision: &Revision,
    status: &RevisionStatus,
    config: &Config,
    system_namespace: &str,
) -> PodSpec {
    let mut queue = queue_container::container(revision, config, system_namespace);
    let mut volumes: Vec<Volume> = Vec::new();
    let mut mount = |volume: Volume, mount_path: &str, read_only: Option<bool>| {
        queue.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: volume.name.clone(),
            mount_path: mount_path.to_owned(),
            read_only,
            ..VolumeMount::default()
        });
        volumes.push(volume);
    };
    let asks_for_info =
        metadata::get(&revision.metadata.annotations, POD_INFO).eq_ignore_ascii_case("Enabled");
    match config.features.queueproxy_mount_podinfo {
        Flag::Enabled => mount(pod_info(), "/etc/podinfo", Some(true)),
        Flag::Allowed if asks_for_info => mount(pod_info(), "/etc/podinfo", Some(true)),
        _ => {}
    }
    if !config.deployment.queue_sidecar_token_audiences.is_empty() {
        mount(tokens(config), "/var/run/secrets/tokens", None);
    }
    if config.network.system_internal_tls {
        let secret = core::SecretVolumeSource {
            secret_name: Some(CERTIFICATE.to_owned()),
            ..Default::default()
        };
        let volume =
            Volume { name: "server-certs".to_owned(), secret: Some(secret), ..Volume::default() };
        mount(volume, CERTIFICATES, Some(true));
    }

    let mut pod = revision.spec.pod.clone();
    pod.containers = user_containers(revision, status, config);
    pod.containers.push(queue);
    pod.termination_grace_period_seconds = revision.spec.timeout_seconds;
    pod.enable_service_links = pod.enable_service_links.or(config.defaults.enable_service_links);
    if !volumes.is_empty() {
        pod.volumes.get_or_insert_default().extend(volumes);
    }
    if pod.runtime_class_name.is_none() {
        let labels = revision.metadata.labels.clone().unwrap_or_default();
        pod.runtime_class_name = config.deployment.runtime_class(&labels).map(str::to_owned);
    }
    if config.observability.logging_enable_var_log_collection {
        collect_logs(&mut pod);
    }
    if config.deployment.default_affinity_type == Affinity::PreferSpreadRevisionOverNodes
        && pod.affinity.is_none()
    {
        pod.affinity = Some(spread(name(&revision.metadata)));
    }
    pod
}

fn user_containers(
    revision: &Revision,
    status: &RevisionStatus,
    config: &Config,
) -> Vec<Container> {
    let containers = &revision.spec.pod.containers;
    let keeps_ports = config.features.multi_container_probing == Flag::Enabled;
    let is_only = containers.len() == 1;
    let user_container = |(place, container): (usize, &Container)| {
        let mut container = container.clone();
        let serves = is_only || container.ports.as_ref().is_some_and(|it| !it.is_empty());
        if serves {
            let port = user_port(revision);
            container.ports = Some(vec![ContainerPort {
                name: Some("user-port".to_owned()),
                container_port: port,
                ..ContainerPort::default()
            }]);
            container.env.get_or_insert_default().push(variable("PORT", port.to_string()));
            if let Some(probe) = &mut container.liveness_probe {
                aim(probe, port, keeps_ports);
            }
        }
        rewrite(&mut container, revision);
        let digest = status.container_statuses.get(place).and_then(|it| it.image_digest.clone());
        if digest.as_deref().is_some_and(|it| !it.is_empty()) {
            container.image = digest;
        }
        container
    };
    containers.iter().enumerate().map(user_container).collect()
}

/// Changes that each container of the user's needs.
fn rewrite(container: &mut Container, revision: &Revision) {
    // The hook asks the queue, which answers when no request is in flight any more: so the container
    // lives as long as its requests.
    container.lifecycle = Some(Lifecycle {
        pre_stop: Some(LifecycleHandler {
            http_get: Some(HTTPGetAction {
                path: Some("/wait-for-drain".to_owned()),
                port: IntOrString::Int(api::queue::ADMIN_PORT.into()),
                ..HTTPGetAction::default()
            }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    });
    let label = |key| metadata::get(&revision.metadata.labels, key).to_owned();
    container.env.get_or_insert_default().extend([
        variable("K_REVISION", name(&revision.metadata).to_owned()),
        variable("K_CONFIGURATION", label(serving::CONFIGURATION)),
        variable("K_SERVICE", label(serving::SERVICE)),
    ]);
    container.stdin = None;
    container.tty = None;
    let policy = container.termination_message_policy.take().filter(|it| !it.is_empty());
    container.termination_message_policy =
        policy.or_else(|| Some("FallbackToLogsOnError".to_owned()));
    // The queue probes over the network, faster than a kubelet can; commands stay the kubelet's.
    let is_queues =
        |it: &mut Probe| it.http_get.is_some() || it.tcp_socket.is_some() || it.grpc.is_some();
    container.readiness_probe.take_if(is_queues);
}

/// A variable with a value; Kubernetes keeps no empty ones.
pub fn variable(name: &str, value: String) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: (!value.is_empty()).then_some(value),
        ..EnvVar::default()
    }
}

/// Points a probe at the port that serves, unless it may name another and does.
fn aim(probe: &mut Probe, port: i32, keeps_ports: bool) {
    let is_absent = |port: &IntOrString| matches!(port, IntOrString::Int(0));
    if let Some(it) = &mut probe.http_get
        && (!keeps_ports || is_absent(&it.port))
    {
        it.port = IntOrString::Int(port);
    } else if let Some(it) = &mut probe.tcp_socket
        && (!keeps_ports || is_absent(&it.port))
    {
        it.port = IntOrString::Int(port);
    }
}

fn pod_info() -> Volume {
    Volume {
        name: "pod-info".to_owned(),
        downward_api: Some(core::DownwardAPIVolumeSource {
            items: Some(vec![core::DownwardAPIVolumeFile {
                path: "annotations".to_owned(),
                field_ref: Some(core::ObjectFieldSelector {
                    field_path: "metadata.annotations".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Volume::default()
    }
}

fn tokens(config: &Config) -> Volume {
    let token = |audience: &String| core::VolumeProjection {
        service_account_token: Some(core::ServiceAccountTokenProjection {
            audience: Some(audience.clone()),
            expiration_seconds: Some(TOKEN_S),
            path: audience.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let audiences = &config.deployment.queue_sidecar_token_audiences;
    Volume {
        name: "knative-token-volume".to_owned(),
        projected: Some(core::ProjectedVolumeSource {
            sources: Some(audiences.iter().map(token).collect()),
            ..Default::default()
        }),
        ..Volume::default()
    }
}

/// Gives each user container a directory for logs that the node's collector finds.
fn collect_logs(pod: &mut PodSpec) {
    const VOLUME: &str = "knative-var-log";
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(queue_container::field(path)),
        ..EnvVar::default()
    };
    pod.volumes.get_or_insert_default().push(Volume {
        name: VOLUME.to_owned(),
        empty_dir: Some(Default::default()),
        ..Volume::default()
    });
    for container in &mut pod.containers {
        if container.name == api::queue::CONTAINER {
            continue;
        }
        let place =
            format!("$(K_INTERNAL_POD_NAMESPACE)_$(K_INTERNAL_POD_NAME)_{}", container.name);
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: "/var/log".to_owned(),
            sub_path_expr: Some(place),
            ..VolumeMount::default()
        });
        container.env.get_or_insert_default().extend([
            field("K_INTERNAL_POD_NAME", "metadata.name"),
            field("K_INTERNAL_POD_NAMESPACE", "metadata.namespace"),
        ]);
    }
}

fn spread(revision: &str) -> core::Affinity {
    let selector = LabelSelector {
        match_labels: Some(Map::from([(serving::REVISION.to_owned(), revision.to_owned())])),
        ..LabelSelector::default()
    };
    let term = core::WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: core::PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".to_owned(),
            label_selector: Some(selector),
            ..Default::default()
        },
    };
    core::Affinity {
        pod_anti_affinity: Some(core::PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
