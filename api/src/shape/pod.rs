//! The shape of the part of a pod's spec that revisions may have.
//!
//! Pure: tables. Source: kubernetes/api `core/v1/types.go`; what the CRD shows of it: knative/serving
//! `cmd/schema-tweak`.

use super::{
    BOOL_POINTER, INT32_POINTER, INT64_POINTER, Kind, Struct, TEXT, TEXT_MAP, TEXTS, embedded,
    field, meta::OBJECT_META,
};

/// A pod's spec. Hidden fields are pruned before anyone can see them; open ones hide behind a flag.
pub static POD_SPEC: Struct = Struct {
    go: "v1.PodSpec",
    fields: &[
        field("Volumes", "volumes", Kind::List(&Kind::Struct(&VOLUME)))
            .keyed("name")
            .doc("Volumes that containers mount."),
        field("InitContainers", "initContainers", Kind::List(&Kind::Struct(&CONTAINER))).open(),
        field("Containers", "containers", Kind::List(&Kind::Struct(&CONTAINER))).required().doc(
            "The containers. One of them takes the requests: the only one, or the one with a port.",
        ),
        field("RestartPolicy", "restartPolicy", Kind::Text("v1.RestartPolicy")).hidden(),
        field("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds", INT64_POINTER)
            .hidden(),
        field("ActiveDeadlineSeconds", "activeDeadlineSeconds", INT64_POINTER).hidden(),
        field("DNSPolicy", "dnsPolicy", Kind::Text("v1.DNSPolicy")),
        field("NodeSelector", "nodeSelector", TEXT_MAP).atomic_map(),
        field("ServiceAccountName", "serviceAccountName", TEXT)
            .doc("The service account that the pods run as."),
        field("AutomountServiceAccountToken", "automountServiceAccountToken", BOOL_POINTER),
        field("NodeName", "nodeName", TEXT).hidden(),
        field("HostNetwork", "hostNetwork", Kind::Bool),
        field("HostPID", "hostPID", Kind::Bool),
        field("HostIPC", "hostIPC", Kind::Bool),
        field("ShareProcessNamespace", "shareProcessNamespace", BOOL_POINTER),
        field(
            "SecurityContext",
            "securityContext",
            Kind::Pointer(&Kind::Struct(&POD_SECURITY_CONTEXT)),
        )
        .open(),
        field(
            "ImagePullSecrets",
            "imagePullSecrets",
            Kind::List(&Kind::Struct(&LOCAL_OBJECT_REFERENCE)),
        )
        .keyed("name"),
        field("Hostname", "hostname", TEXT).hidden(),
        field("Subdomain", "subdomain", TEXT).hidden(),
        field("Affinity", "affinity", Kind::Any).open(),
        field("SchedulerName", "schedulerName", TEXT),
        field("Tolerations", "tolerations", Kind::List(&Kind::Any)).open(),
        field("HostAliases", "hostAliases", Kind::List(&Kind::Any)).open(),
        field("PriorityClassName", "priorityClassName", TEXT),
        field("DNSConfig", "dnsConfig", Kind::Any).open(),
        field("RuntimeClassName", "runtimeClassName", Kind::Pointer(&TEXT)),
        field("EnableServiceLinks", "enableServiceLinks", BOOL_POINTER),
        field("TopologySpreadConstraints", "topologySpreadConstraints", Kind::List(&Kind::Any))
            .open(),
        field("EphemeralContainers", "ephemeralContainers", Kind::Any).hidden(),
        field("HostUsers", "hostUsers", Kind::Any).hidden(),
        field("HostnameOverride", "hostnameOverride", Kind::Any).hidden(),
        field("OS", "os", Kind::Any).hidden(),
        field("Overhead", "overhead", Kind::Any).hidden(),
        field("PreemptionPolicy", "preemptionPolicy", Kind::Any).hidden(),
        field("Priority", "priority", Kind::Any).hidden(),
        field("ReadinessGates", "readinessGates", Kind::Any).hidden(),
        field("ResourceClaims", "resourceClaims", Kind::Any).hidden(),
        field("Resources", "resources", Kind::Any).hidden(),
        field("SchedulingGates", "schedulingGates", Kind::Any).hidden(),
        field("SetHostnameAsFQDN", "setHostnameAsFQDN", Kind::Any).hidden(),
        field("DeprecatedServiceAccount", "serviceAccount", Kind::Any).hidden(),
    ],
};

static LOCAL_OBJECT_REFERENCE: Struct =
    Struct { go: "v1.LocalObjectReference", fields: &[field("Name", "name", TEXT).default("")] };

/// A container, with the fields that only init containers can bring this far.
pub static CONTAINER: Struct = Struct {
    go: "v1.Container",
    fields: &[
        field("Name", "name", TEXT).kept().doc("Name of the container; given when it has none."),
        field("Image", "image", TEXT).doc("The image that runs."),
        field("Command", "command", TEXTS).atomic(),
        field("Args", "args", TEXTS).atomic(),
        field("WorkingDir", "workingDir", TEXT),
        field("Ports", "ports", Kind::List(&Kind::Struct(&CONTAINER_PORT)))
            .doc("The port that takes requests, if it is not 8080; one at most."),
        field("EnvFrom", "envFrom", Kind::List(&Kind::Struct(&ENV_FROM_SOURCE))).atomic(),
        field("Env", "env", Kind::List(&Kind::Struct(&ENV_VAR))).keyed("name"),
        field("Resources", "resources", Kind::Struct(&RESOURCE_REQUIREMENTS)),
        field("ResizePolicy", "resizePolicy", Kind::List(&Kind::Any)).hidden(),
        field("RestartPolicy", "restartPolicy", Kind::Pointer(&TEXT)).hidden(),
        field("VolumeMounts", "volumeMounts", Kind::List(&Kind::Struct(&VOLUME_MOUNT)))
            .keyed("mountPath"),
        field("VolumeDevices", "volumeDevices", Kind::List(&Kind::Any)).hidden(),
        field("LivenessProbe", "livenessProbe", Kind::Pointer(&Kind::Struct(&PROBE))),
        field("ReadinessProbe", "readinessProbe", Kind::Pointer(&Kind::Struct(&PROBE))),
        field("StartupProbe", "startupProbe", Kind::Pointer(&Kind::Struct(&PROBE))),
        field("Lifecycle", "lifecycle", Kind::Any).hidden(),
        field("TerminationMessagePath", "terminationMessagePath", TEXT),
        field(
            "TerminationMessagePolicy",
            "terminationMessagePolicy",
            Kind::Text("v1.TerminationMessagePolicy"),
        ),
        field("ImagePullPolicy", "imagePullPolicy", Kind::Text("v1.PullPolicy")),
        field(
            "SecurityContext",
            "securityContext",
            Kind::Pointer(&Kind::Struct(&SECURITY_CONTEXT)),
        ),
        field("Stdin", "stdin", Kind::Bool).hidden(),
        field("StdinOnce", "stdinOnce", Kind::Bool).hidden(),
        field("TTY", "tty", Kind::Bool).hidden(),
        field("RestartPolicyRules", "restartPolicyRules", Kind::Any).hidden(),
    ],
};

static CONTAINER_PORT: Struct = Struct {
    go: "v1.ContainerPort",
    fields: &[
        field("Name", "name", TEXT).doc("Empty, http1 or h2c."),
        field("HostPort", "hostPort", Kind::Int32).hidden(),
        field("ContainerPort", "containerPort", Kind::Int32).kept(),
        field("Protocol", "protocol", Kind::Text("v1.Protocol")).default("TCP"),
        field("HostIP", "hostIP", TEXT).hidden(),
    ],
};

static ENV_VAR: Struct = Struct {
    go: "v1.EnvVar",
    fields: &[
        field("Name", "name", TEXT).required(),
        field("Value", "value", TEXT),
        field("ValueFrom", "valueFrom", Kind::Pointer(&Kind::Struct(&ENV_VAR_SOURCE))),
    ],
};

static ENV_VAR_SOURCE: Struct = Struct {
    go: "v1.EnvVarSource",
    fields: &[
        field("FieldRef", "fieldRef", Kind::Pointer(&Kind::Struct(&FIELD_SELECTOR)))
            .open()
            .atomic_map(),
        field(
            "ResourceFieldRef",
            "resourceFieldRef",
            Kind::Pointer(&Kind::Struct(&RESOURCE_FIELD_SELECTOR)),
        )
        .open()
        .atomic_map(),
        field(
            "ConfigMapKeyRef",
            "configMapKeyRef",
            Kind::Pointer(&Kind::Struct(&CONFIG_MAP_KEY_SELECTOR)),
        )
        .atomic_map(),
        field("SecretKeyRef", "secretKeyRef", Kind::Pointer(&Kind::Struct(&SECRET_KEY_SELECTOR)))
            .atomic_map(),
        field("FileKeyRef", "fileKeyRef", Kind::Any).hidden(),
    ],
};

static CONFIG_MAP_KEY_SELECTOR: Struct = Struct {
    go: "v1.ConfigMapKeySelector",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Key", "key", TEXT).required(),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static SECRET_KEY_SELECTOR: Struct = Struct {
    go: "v1.SecretKeySelector",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Key", "key", TEXT).required(),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static ENV_FROM_SOURCE: Struct = Struct {
    go: "v1.EnvFromSource",
    fields: &[
        field("Prefix", "prefix", TEXT),
        field("ConfigMapRef", "configMapRef", Kind::Pointer(&Kind::Struct(&CONFIG_MAP_ENV_SOURCE)))
            .atomic_map(),
        field("SecretRef", "secretRef", Kind::Pointer(&Kind::Struct(&SECRET_ENV_SOURCE)))
            .atomic_map(),
    ],
};

static CONFIG_MAP_ENV_SOURCE: Struct = Struct {
    go: "v1.ConfigMapEnvSource",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static SECRET_ENV_SOURCE: Struct = Struct {
    go: "v1.SecretEnvSource",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

const RESOURCE_LIST: Kind = Kind::Map("v1.ResourceList", &Kind::Quantity);

static RESOURCE_REQUIREMENTS: Struct = Struct {
    go: "v1.ResourceRequirements",
    fields: &[
        field("Limits", "limits", RESOURCE_LIST),
        field("Requests", "requests", RESOURCE_LIST),
        field("Claims", "claims", Kind::List(&Kind::Any)).hidden(),
    ],
};

static VOLUME_MOUNT: Struct = Struct {
    go: "v1.VolumeMount",
    fields: &[
        field("Name", "name", TEXT).required(),
        field("ReadOnly", "readOnly", Kind::Bool),
        field("RecursiveReadOnly", "recursiveReadOnly", Kind::Pointer(&TEXT)).hidden(),
        field("MountPath", "mountPath", TEXT).required(),
        field("SubPath", "subPath", TEXT),
        field("MountPropagation", "mountPropagation", Kind::Pointer(&TEXT)),
        field("SubPathExpr", "subPathExpr", TEXT).hidden(),
    ],
};

static PROBE: Struct = Struct {
    go: "v1.Probe",
    fields: &[
        embedded("ProbeHandler", &PROBE_HANDLER),
        field("InitialDelaySeconds", "initialDelaySeconds", Kind::Int32),
        field("TimeoutSeconds", "timeoutSeconds", Kind::Int32),
        field("PeriodSeconds", "periodSeconds", Kind::Int32),
        field("SuccessThreshold", "successThreshold", Kind::Int32),
        field("FailureThreshold", "failureThreshold", Kind::Int32),
        field("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds", INT64_POINTER)
            .hidden(),
    ],
};

static PROBE_HANDLER: Struct = Struct {
    go: "v1.ProbeHandler",
    fields: &[
        field("Exec", "exec", Kind::Pointer(&Kind::Struct(&EXEC_ACTION))),
        field("HTTPGet", "httpGet", Kind::Pointer(&Kind::Struct(&HTTP_GET_ACTION))),
        field("TCPSocket", "tcpSocket", Kind::Pointer(&Kind::Struct(&TCP_SOCKET_ACTION))),
        field("GRPC", "grpc", Kind::Pointer(&Kind::Struct(&GRPC_ACTION))),
    ],
};

static EXEC_ACTION: Struct =
    Struct { go: "v1.ExecAction", fields: &[field("Command", "command", TEXTS).atomic()] };

static HTTP_GET_ACTION: Struct = Struct {
    go: "v1.HTTPGetAction",
    fields: &[
        field("Path", "path", TEXT),
        field("Port", "port", Kind::IntOrString).kept(),
        field("Host", "host", TEXT),
        field("Scheme", "scheme", Kind::Text("v1.URIScheme")),
        field("HTTPHeaders", "httpHeaders", Kind::List(&Kind::Struct(&HTTP_HEADER))).atomic(),
    ],
};

static HTTP_HEADER: Struct = Struct {
    go: "v1.HTTPHeader",
    fields: &[field("Name", "name", TEXT).required(), field("Value", "value", TEXT).required()],
};

static TCP_SOCKET_ACTION: Struct = Struct {
    go: "v1.TCPSocketAction",
    fields: &[field("Port", "port", Kind::IntOrString).kept(), field("Host", "host", TEXT)],
};

static GRPC_ACTION: Struct = Struct {
    go: "v1.GRPCAction",
    fields: &[
        field("Port", "port", Kind::Int32).kept(),
        field("Service", "service", Kind::Pointer(&TEXT)).kept().default(""),
    ],
};

static SECURITY_CONTEXT: Struct = Struct {
    go: "v1.SecurityContext",
    fields: &[
        field("Capabilities", "capabilities", Kind::Pointer(&Kind::Struct(&CAPABILITIES))),
        field("Privileged", "privileged", BOOL_POINTER),
        field("SELinuxOptions", "seLinuxOptions", Kind::Any).hidden(),
        field("WindowsOptions", "windowsOptions", Kind::Any).hidden(),
        field("RunAsUser", "runAsUser", INT64_POINTER),
        field("RunAsGroup", "runAsGroup", INT64_POINTER),
        field("RunAsNonRoot", "runAsNonRoot", BOOL_POINTER),
        field("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", BOOL_POINTER),
        field("AllowPrivilegeEscalation", "allowPrivilegeEscalation", BOOL_POINTER),
        field("ProcMount", "procMount", Kind::Pointer(&TEXT)).hidden(),
        field("SeccompProfile", "seccompProfile", Kind::Pointer(&Kind::Struct(&SECCOMP_PROFILE))),
        field("AppArmorProfile", "appArmorProfile", Kind::Any).hidden(),
    ],
};

static CAPABILITIES: Struct = Struct {
    go: "v1.Capabilities",
    fields: &[
        field("Add", "add", Kind::List(&Kind::Text("v1.Capability"))).atomic(),
        field("Drop", "drop", Kind::List(&Kind::Text("v1.Capability"))).atomic(),
    ],
};

static SECCOMP_PROFILE: Struct = Struct {
    go: "v1.SeccompProfile",
    fields: &[
        field("Type", "type", Kind::Text("v1.SeccompProfileType")).required(),
        field("LocalhostProfile", "localhostProfile", Kind::Pointer(&TEXT)),
    ],
};

static POD_SECURITY_CONTEXT: Struct = Struct {
    go: "v1.PodSecurityContext",
    fields: &[
        field("SELinuxOptions", "seLinuxOptions", Kind::Any),
        field("WindowsOptions", "windowsOptions", Kind::Any),
        field("RunAsUser", "runAsUser", INT64_POINTER),
        field("RunAsGroup", "runAsGroup", INT64_POINTER),
        field("RunAsNonRoot", "runAsNonRoot", BOOL_POINTER),
        field("SupplementalGroups", "supplementalGroups", Kind::List(&Kind::Int64)),
        field("SupplementalGroupsPolicy", "supplementalGroupsPolicy", Kind::Pointer(&TEXT)),
        field("FSGroup", "fsGroup", INT64_POINTER),
        field("Sysctls", "sysctls", Kind::List(&Kind::Any)),
        field("FSGroupChangePolicy", "fsGroupChangePolicy", Kind::Pointer(&TEXT)),
        field("SeccompProfile", "seccompProfile", Kind::Pointer(&Kind::Struct(&SECCOMP_PROFILE))),
        field("AppArmorProfile", "appArmorProfile", Kind::Any),
        field("SELinuxChangePolicy", "seLinuxChangePolicy", Kind::Pointer(&TEXT)),
    ],
};

static VOLUME: Struct = Struct {
    go: "v1.Volume",
    fields: &[field("Name", "name", TEXT).required(), embedded("VolumeSource", &VOLUME_SOURCE)],
};

static VOLUME_SOURCE: Struct = Struct {
    go: "v1.VolumeSource",
    fields: &[
        field("HostPath", "hostPath", Kind::Any).open(),
        field("EmptyDir", "emptyDir", Kind::Pointer(&Kind::Struct(&EMPTY_DIR))).open(),
        field("Secret", "secret", Kind::Pointer(&Kind::Struct(&SECRET_VOLUME))),
        field("PersistentVolumeClaim", "persistentVolumeClaim", CLAIM_POINTER).open(),
        field("ConfigMap", "configMap", Kind::Pointer(&Kind::Struct(&CONFIG_MAP_VOLUME)))
            .atomic_map(),
        field("Projected", "projected", Kind::Pointer(&Kind::Struct(&PROJECTED_VOLUME))),
        field("CSI", "csi", Kind::Any).open(),
        field("Ephemeral", "ephemeral", Kind::Pointer(&Kind::Struct(&EPHEMERAL_VOLUME))).open(),
        field("Image", "image", Kind::Any).open(),
        field("AWSElasticBlockStore", "awsElasticBlockStore", Kind::Any).hidden(),
        field("AzureDisk", "azureDisk", Kind::Any).hidden(),
        field("AzureFile", "azureFile", Kind::Any).hidden(),
        field("CephFS", "cephfs", Kind::Any).hidden(),
        field("Cinder", "cinder", Kind::Any).hidden(),
        field("DownwardAPI", "downwardAPI", Kind::Any).hidden(),
        field("FC", "fc", Kind::Any).hidden(),
        field("FlexVolume", "flexVolume", Kind::Any).hidden(),
        field("Flocker", "flocker", Kind::Any).hidden(),
        field("GCEPersistentDisk", "gcePersistentDisk", Kind::Any).hidden(),
        field("GitRepo", "gitRepo", Kind::Any).hidden(),
        field("Glusterfs", "glusterfs", Kind::Any).hidden(),
        field("ISCSI", "iscsi", Kind::Any).hidden(),
        field("NFS", "nfs", Kind::Any).hidden(),
        field("PhotonPersistentDisk", "photonPersistentDisk", Kind::Any).hidden(),
        field("PortworxVolume", "portworxVolume", Kind::Any).hidden(),
        field("Quobyte", "quobyte", Kind::Any).hidden(),
        field("RBD", "rbd", Kind::Any).hidden(),
        field("ScaleIO", "scaleIO", Kind::Any).hidden(),
        field("StorageOS", "storageos", Kind::Any).hidden(),
        field("VsphereVolume", "vsphereVolume", Kind::Any).hidden(),
    ],
};

const CLAIM_POINTER: Kind = Kind::Pointer(&Kind::Struct(&PERSISTENT_VOLUME_CLAIM));

static PERSISTENT_VOLUME_CLAIM: Struct = Struct {
    go: "v1.PersistentVolumeClaimVolumeSource",
    fields: &[
        field("ClaimName", "claimName", TEXT).kept(),
        field("ReadOnly", "readOnly", Kind::Bool),
    ],
};

static EPHEMERAL_VOLUME: Struct = Struct {
    go: "v1.EphemeralVolumeSource",
    fields: &[field(
        "VolumeClaimTemplate",
        "volumeClaimTemplate",
        Kind::Pointer(&Kind::Struct(&CLAIM_TEMPLATE)),
    )],
};

static CLAIM_TEMPLATE: Struct = Struct {
    go: "v1.PersistentVolumeClaimTemplate",
    fields: &[
        field("ObjectMeta", "metadata", Kind::Struct(&OBJECT_META)),
        field("Spec", "spec", Kind::Struct(&CLAIM_SPEC)),
    ],
};

static CLAIM_SPEC: Struct = Struct {
    go: "v1.PersistentVolumeClaimSpec",
    fields: &[
        field("AccessModes", "accessModes", TEXTS),
        field("Selector", "selector", Kind::Any),
        field("Resources", "resources", Kind::Struct(&CLAIM_RESOURCES)),
        field("VolumeName", "volumeName", TEXT),
        field("StorageClassName", "storageClassName", Kind::Pointer(&TEXT)),
        field("VolumeMode", "volumeMode", Kind::Pointer(&TEXT)),
        field("DataSource", "dataSource", Kind::Any),
        field("DataSourceRef", "dataSourceRef", Kind::Any),
        field("VolumeAttributesClassName", "volumeAttributesClassName", Kind::Pointer(&TEXT)),
    ],
};

static CLAIM_RESOURCES: Struct = Struct {
    go: "v1.VolumeResourceRequirements",
    fields: &[
        field("Limits", "limits", RESOURCE_LIST),
        field("Requests", "requests", RESOURCE_LIST),
    ],
};

static EMPTY_DIR: Struct = Struct {
    go: "v1.EmptyDirVolumeSource",
    fields: &[
        field("Medium", "medium", Kind::Text("v1.StorageMedium")),
        field("SizeLimit", "sizeLimit", Kind::Pointer(&Kind::Quantity)),
    ],
};

static KEY_TO_PATH: Struct = Struct {
    go: "v1.KeyToPath",
    fields: &[
        field("Key", "key", TEXT).required(),
        field("Path", "path", TEXT).required(),
        field("Mode", "mode", INT32_POINTER),
    ],
};

const ITEMS: Kind = Kind::List(&Kind::Struct(&KEY_TO_PATH));

static SECRET_VOLUME: Struct = Struct {
    go: "v1.SecretVolumeSource",
    fields: &[
        field("SecretName", "secretName", TEXT),
        field("Items", "items", ITEMS).atomic(),
        field("DefaultMode", "defaultMode", INT32_POINTER),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static CONFIG_MAP_VOLUME: Struct = Struct {
    go: "v1.ConfigMapVolumeSource",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Items", "items", ITEMS).atomic(),
        field("DefaultMode", "defaultMode", INT32_POINTER),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static PROJECTED_VOLUME: Struct = Struct {
    go: "v1.ProjectedVolumeSource",
    fields: &[
        field("Sources", "sources", Kind::List(&Kind::Struct(&VOLUME_PROJECTION))).kept().atomic(),
        field("DefaultMode", "defaultMode", INT32_POINTER),
    ],
};

static VOLUME_PROJECTION: Struct = Struct {
    go: "v1.VolumeProjection",
    fields: &[
        field("Secret", "secret", Kind::Pointer(&Kind::Struct(&SECRET_PROJECTION))).atomic_map(),
        field("DownwardAPI", "downwardAPI", Kind::Pointer(&Kind::Struct(&DOWNWARD_PROJECTION))),
        field("ConfigMap", "configMap", Kind::Pointer(&Kind::Struct(&CONFIG_MAP_PROJECTION)))
            .atomic_map(),
        field(
            "ServiceAccountToken",
            "serviceAccountToken",
            Kind::Pointer(&Kind::Struct(&TOKEN_PROJECTION)),
        ),
        field("ClusterTrustBundle", "clusterTrustBundle", Kind::Any).hidden(),
        field("PodCertificate", "podCertificate", Kind::Any).hidden(),
    ],
};

static SECRET_PROJECTION: Struct = Struct {
    go: "v1.SecretProjection",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Items", "items", ITEMS).atomic(),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static CONFIG_MAP_PROJECTION: Struct = Struct {
    go: "v1.ConfigMapProjection",
    fields: &[
        embedded("LocalObjectReference", &LOCAL_OBJECT_REFERENCE),
        field("Items", "items", ITEMS).atomic(),
        field("Optional", "optional", BOOL_POINTER),
    ],
};

static TOKEN_PROJECTION: Struct = Struct {
    go: "v1.ServiceAccountTokenProjection",
    fields: &[
        field("Audience", "audience", TEXT),
        field("ExpirationSeconds", "expirationSeconds", INT64_POINTER),
        field("Path", "path", TEXT).required(),
    ],
};

static DOWNWARD_PROJECTION: Struct = Struct {
    go: "v1.DownwardAPIProjection",
    fields: &[field("Items", "items", Kind::List(&Kind::Struct(&DOWNWARD_FILE))).atomic()],
};

static DOWNWARD_FILE: Struct = Struct {
    go: "v1.DownwardAPIVolumeFile",
    fields: &[
        field("Path", "path", TEXT).required(),
        field("FieldRef", "fieldRef", Kind::Pointer(&Kind::Struct(&FIELD_SELECTOR))).atomic_map(),
        field(
            "ResourceFieldRef",
            "resourceFieldRef",
            Kind::Pointer(&Kind::Struct(&RESOURCE_FIELD_SELECTOR)),
        )
        .atomic_map(),
        field("Mode", "mode", INT32_POINTER),
    ],
};

static FIELD_SELECTOR: Struct = Struct {
    go: "v1.ObjectFieldSelector",
    fields: &[
        field("APIVersion", "apiVersion", TEXT),
        field("FieldPath", "fieldPath", TEXT).required(),
    ],
};

static RESOURCE_FIELD_SELECTOR: Struct = Struct {
    go: "v1.ResourceFieldSelector",
    fields: &[
        field("ContainerName", "containerName", TEXT),
        field("Resource", "resource", TEXT).required(),
        field("Divisor", "divisor", Kind::Quantity),
    ],
};
