//! `config-features`: what revisions may use beyond the common part of a pod's spec.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/apis/config/features.go`.

use std::collections::BTreeMap;

use crate::Error;

/// Name of the ConfigMap.
pub const NAME: &str = "config-features";

/// Whether something optional may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// It is used, or may be.
    Enabled,
    /// It may be used, where the object asks for it.
    Allowed,
    /// It may not be used.
    Disabled,
}

impl Flag {
    /// True unless it is [`Flag::Disabled`].
    pub fn is_on(self) -> bool {
        self != Flag::Disabled
    }
}

/// How far containers get a restricted security context by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurePodDefaults {
    /// Not at all.
    Disabled,
    /// Restricted, but root is not forbidden.
    AllowRootBounded,
    /// Restricted, and never root.
    Enabled,
}

/// The flags, named as their keys without `kubernetes.`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    pub secure_pod_defaults: SecurePodDefaults,
    pub multi_container: Flag,
    pub multi_container_probing: Flag,
    pub podspec_affinity: Flag,
    pub podspec_topologyspreadconstraints: Flag,
    pub podspec_hostaliases: Flag,
    pub podspec_fieldref: Flag,
    pub podspec_nodeselector: Flag,
    pub podspec_runtimeclassname: Flag,
    pub podspec_securitycontext: Flag,
    pub podspec_shareprocessnamespace: Flag,
    pub podspec_hostipc: Flag,
    pub podspec_hostpid: Flag,
    pub podspec_hostnetwork: Flag,
    pub podspec_priorityclassname: Flag,
    pub podspec_schedulername: Flag,
    pub containerspec_addcapabilities: Flag,
    pub podspec_tolerations: Flag,
    pub podspec_volumes_emptydir: Flag,
    pub podspec_volumes_hostpath: Flag,
    pub podspec_volumes_mount_propagation: Flag,
    pub podspec_volumes_csi: Flag,
    pub podspec_volumes_ephemeral: Flag,
    pub podspec_volumes_image: Flag,
    pub podspec_persistent_volume_claim: Flag,
    pub podspec_persistent_volume_write: Flag,
    pub podspec_init_containers: Flag,
    pub podspec_dnspolicy: Flag,
    pub podspec_dnsconfig: Flag,
    pub queueproxy_mount_podinfo: Flag,
    pub queueproxy_resource_defaults: Flag,
    pub tag_header_based_routing: Flag,
    pub autodetect_http2: Flag,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            secure_pod_defaults: SecurePodDefaults::Disabled,
            multi_container: Flag::Enabled,
            multi_container_probing: Flag::Disabled,
            podspec_affinity: Flag::Disabled,
            podspec_topologyspreadconstraints: Flag::Disabled,
            podspec_hostaliases: Flag::Disabled,
            podspec_fieldref: Flag::Disabled,
            podspec_nodeselector: Flag::Disabled,
            podspec_runtimeclassname: Flag::Disabled,
            podspec_securitycontext: Flag::Disabled,
            podspec_shareprocessnamespace: Flag::Disabled,
            podspec_hostipc: Flag::Disabled,
            podspec_hostpid: Flag::Disabled,
            podspec_hostnetwork: Flag::Disabled,
            podspec_priorityclassname: Flag::Disabled,
            podspec_schedulername: Flag::Disabled,
            containerspec_addcapabilities: Flag::Disabled,
            podspec_tolerations: Flag::Disabled,
            podspec_volumes_emptydir: Flag::Enabled,
            podspec_volumes_hostpath: Flag::Disabled,
            podspec_volumes_mount_propagation: Flag::Disabled,
            podspec_volumes_csi: Flag::Disabled,
            podspec_volumes_ephemeral: Flag::Disabled,
            podspec_volumes_image: Flag::Disabled,
            podspec_persistent_volume_claim: Flag::Disabled,
            podspec_persistent_volume_write: Flag::Disabled,
            podspec_init_containers: Flag::Disabled,
            podspec_dnspolicy: Flag::Disabled,
            podspec_dnsconfig: Flag::Disabled,
            queueproxy_mount_podinfo: Flag::Disabled,
            queueproxy_resource_defaults: Flag::Disabled,
            tag_header_based_routing: Flag::Disabled,
            autodetect_http2: Flag::Disabled,
        }
    }
}

impl Features {
    /// Reads the flags. A value that is none of the known ones leaves the default, as upstream; so this
    /// never fails, and has the shape of the others.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Features, Error> {
        let mut read = Features::default();
        if let Some(text) = data.get("secure-pod-defaults") {
            match text.to_ascii_lowercase().as_str() {
                "disabled" => read.secure_pod_defaults = SecurePodDefaults::Disabled,
                "allowrootbounded" => {
                    read.secure_pod_defaults = SecurePodDefaults::AllowRootBounded;
                }
                "enabled" => read.secure_pod_defaults = SecurePodDefaults::Enabled,
                _ => {}
            }
        }
        for (key, flag) in [
            ("multi-container", &mut read.multi_container),
            ("multi-container-probing", &mut read.multi_container_probing),
            ("kubernetes.podspec-affinity", &mut read.podspec_affinity),
            (
                "kubernetes.podspec-topologyspreadconstraints",
                &mut read.podspec_topologyspreadconstraints,
            ),
            ("kubernetes.podspec-hostaliases", &mut read.podspec_hostaliases),
            ("kubernetes.podspec-fieldref", &mut read.podspec_fieldref),
            ("kubernetes.podspec-nodeselector", &mut read.podspec_nodeselector),
            ("kubernetes.podspec-runtimeclassname", &mut read.podspec_runtimeclassname),
            ("kubernetes.podspec-securitycontext", &mut read.podspec_securitycontext),
            ("kubernetes.podspec-shareprocessnamespace", &mut read.podspec_shareprocessnamespace),
            ("kubernetes.podspec-hostipc", &mut read.podspec_hostipc),
            ("kubernetes.podspec-hostpid", &mut read.podspec_hostpid),
            ("kubernetes.podspec-hostnetwork", &mut read.podspec_hostnetwork),
            ("kubernetes.podspec-priorityclassname", &mut read.podspec_priorityclassname),
            ("kubernetes.podspec-schedulername", &mut read.podspec_schedulername),
            ("kubernetes.containerspec-addcapabilities", &mut read.containerspec_addcapabilities),
            ("kubernetes.podspec-tolerations", &mut read.podspec_tolerations),
            ("kubernetes.podspec-volumes-emptydir", &mut read.podspec_volumes_emptydir),
            ("kubernetes.podspec-volumes-hostpath", &mut read.podspec_volumes_hostpath),
            (
                "kubernetes.podspec-volumes-mount-propagation",
                &mut read.podspec_volumes_mount_propagation,
            ),
            ("kubernetes.podspec-volumes-csi", &mut read.podspec_volumes_csi),
            ("kubernetes.podspec-volumes-ephemeral", &mut read.podspec_volumes_ephemeral),
            ("kubernetes.podspec-volumes-image", &mut read.podspec_volumes_image),
            (
                "kubernetes.podspec-persistent-volume-claim",
                &mut read.podspec_persistent_volume_claim,
            ),
            (
                "kubernetes.podspec-persistent-volume-write",
                &mut read.podspec_persistent_volume_write,
            ),
            ("kubernetes.podspec-init-containers", &mut read.podspec_init_containers),
            ("kubernetes.podspec-dnspolicy", &mut read.podspec_dnspolicy),
            ("kubernetes.podspec-dnsconfig", &mut read.podspec_dnsconfig),
            ("queueproxy.mount-podinfo", &mut read.queueproxy_mount_podinfo),
            ("queueproxy.resource-defaults", &mut read.queueproxy_resource_defaults),
            ("tag-header-based-routing", &mut read.tag_header_based_routing),
            ("autodetect-http2", &mut read.autodetect_http2),
        ] {
            match data.get(key).map(|text| text.to_ascii_lowercase()).as_deref() {
                Some("enabled") => *flag = Flag::Enabled,
                Some("allowed") => *flag = Flag::Allowed,
                Some("disabled") => *flag = Flag::Disabled,
                _ => {}
            }
        }
        Ok(read)
    }
}
