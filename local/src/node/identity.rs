//! Who a container's process is: user, groups and rights.
//!
//! Source: kubernetes `pkg/securitycontext`, containerd `pkg/oci` (default capabilities).

use std::io;

use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::{
    fs::Gid,
    process::Uid,
    thread::{self, CapabilitySet},
};

/// The user and group of containers that name none: that of the images which `ko` builds, `nonroot`.
pub const NONROOT: u32 = 65532;

/// What root may still do in a container that asks for nothing else.
const USUAL: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// What is set before a container's program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: u32,
    pub group: u32,
    pub groups: Vec<u32>,
    pub no_new_privileges: bool,
    /// What the program and its children can ever get.
    pub capabilities: CapabilitySet,
}

/// Who the container asks to be. The error is for the container's status.
pub fn wanted(pod: &Pod, container: &Container) -> Result<Identity, String> {
    let pod = pod.spec.as_ref().and_then(|it| it.security_context.as_ref());
    let own = container.security_context.as_ref();
    let number = |value: Option<i64>| value.and_then(|it| u32::try_from(it).ok());
    let asked = number(own.and_then(|it| it.run_as_user).or(pod.and_then(|it| it.run_as_user)));
    let user = asked.unwrap_or(NONROOT);
    let not_root = own.and_then(|it| it.run_as_non_root).or(pod.and_then(|it| it.run_as_non_root));
    if not_root == Some(true) && user == 0 {
        return Err("container's runAsUser breaks non-root policy".to_owned());
    }
    let group = number(own.and_then(|it| it.run_as_group).or(pod.and_then(|it| it.run_as_group)));
    let more = pod.and_then(|it| it.supplemental_groups.as_ref()).into_iter().flatten().copied();
    let groups = more.chain(pod.and_then(|it| it.fs_group)).filter_map(|it| number(Some(it)));
    let capabilities = match own.and_then(|it| it.privileged) {
        Some(true) => CapabilitySet::all(),
        _ => capabilities(container),
    };
    Ok(Identity {
        user,
        // Who leaves root without saying for which group leaves root's group too.
        group: group.unwrap_or(user),
        groups: groups.collect(),
        no_new_privileges: own.and_then(|it| it.allow_privilege_escalation) == Some(false),
        capabilities,
    })
}

/// The usual ones with those that the container adds, without those that it drops.
fn capabilities(container: &Container) -> CapabilitySet {
    let asked = container.security_context.as_ref().and_then(|it| it.capabilities.as_ref());
    let set = |names: Option<&Vec<String>>| {
        let names = names.into_iter().flatten();
        names.fold(CapabilitySet::empty(), |set, name| {
            let name = name.strip_prefix("CAP_").unwrap_or(name);
            set | match name {
                "ALL" => CapabilitySet::all(),
                _ => CapabilitySet::from_name(name).unwrap_or(CapabilitySet::empty()),
            }
        })
    };
    let (add, drop) =
        (set(asked.and_then(|it| it.add.as_ref())), set(asked.and_then(|it| it.drop.as_ref())));
    let drops_all = asked.is_some_and(|it| it.drop.iter().flatten().any(|it| it == "ALL"));
    // What is added by its name stays when all is dropped.
    if drops_all { add } else { (USUAL | add) - drop }
}

impl Identity {
    /// Makes the calling thread this identity, for good; what it starts has it too.
    pub fn take(&self) -> io::Result<()> {
        for capability in CapabilitySet::all() - self.capabilities {
            match thread::remove_capability_from_bounding_set(capability) {
                // One that this kernel has not.
                Err(rustix::io::Errno::INVAL) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        thread::set_thread_groups(&groups)?;
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        thread::set_thread_res_gid(group, group, group)?;
        thread::set_thread_res_uid(user, user, user)?;
        if self.no_new_privileges {
            thread::set_no_new_privs(true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn containers_are_whom_they_ask_to_be() {
        let usual = Identity {
            user: 65532,
            group: 65532,
            groups: Vec::new(),
            no_new_privileges: false,
            capabilities: USUAL,
        };
        check(json!({}), json!({}), Ok(usual.clone()));
        check(json!({"runAsNonRoot": true}), json!({}), Ok(usual.clone()));
        check(
            json!({"runAsNonRoot": true}),
            json!({"runAsUser": 0}),
            Err("container's runAsUser breaks non-root policy".to_owned()),
        );
        check(
            json!({"runAsUser": 1, "fsGroup": 9, "supplementalGroups": [7]}),
            json!({"runAsUser": 2, "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
            Ok(Identity {
                user: 2,
                group: 2,
                groups: vec![7, 9],
                no_new_privileges: true,
                capabilities: CapabilitySet::NET_ADMIN,
            }),
        );
        check(
            json!({"runAsUser": 0, "runAsGroup": 5}),
            json!({"capabilities": {"drop": ["KILL", "CAP_CHOWN", "?"], "add": ["SYS_TIME"]}}),
            Ok(Identity {
                user: 0,
                group: 5,
                capabilities: (USUAL | CapabilitySet::SYS_TIME)
                    - (CapabilitySet::KILL | CapabilitySet::CHOWN),
                ..usual.clone()
            }),
        );
        check(
            json!({}),
            json!({"privileged": true}),
            Ok(Identity { capabilities: CapabilitySet::all(), ..usual }),
        );
    }

    #[track_caller]
    fn check(pod: Value, container: Value, expected: Result<Identity, String>) {
        let container = json!({"name": "c", "securityContext": container});
        let pod = json!({"spec": {"securityContext": pod, "containers": [container]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(wanted(&pod, &pod.spec.as_ref().unwrap().containers[0]), expected);
    }
}
