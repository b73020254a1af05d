//! `weft pod-exec`: sets up what the standard library's way of starting processes cannot, then becomes the
//! container's program.

use std::{ffi::OsString, io, os::unix::process::CommandExt, path::Path, process::Command};

use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::{fs::Gid, process::Uid, thread};
use serde::{Deserialize, Serialize};

use crate::node::process::Launch;

/// The subcommand of the binary that calls [`run`].
pub const COMMAND: &str = "pod-exec";

/// What is to be set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    user: Option<u32>,
    group: Option<u32>,
    groups: Vec<u32>,
    no_new_privileges: bool,
}

/// What the pod and the container ask for; none when nothing of it needs this detour.
pub fn wanted(pod: &Pod, container: &Container) -> Option<Wanted> {
    let pod = pod.spec.as_ref().and_then(|it| it.security_context.as_ref());
    let own = container.security_context.as_ref();
    let number = |value: Option<i64>| value.and_then(|it| u32::try_from(it).ok());
    let user = number(own.and_then(|it| it.run_as_user).or(pod.and_then(|it| it.run_as_user)));
    let group = number(own.and_then(|it| it.run_as_group).or(pod.and_then(|it| it.run_as_group)));
    let more = pod.and_then(|it| it.supplemental_groups.as_ref()).into_iter().flatten().copied();
    let groups: Vec<u32> =
        more.chain(pod.and_then(|it| it.fs_group)).filter_map(|it| number(Some(it))).collect();
    if user.is_none() && group.is_none() && groups.is_empty() {
        return None;
    }
    let no_new_privileges = own.and_then(|it| it.allow_privilege_escalation) == Some(false);
    // Who leaves root without saying for which group leaves root's group too.
    let group = group.or_else(|| user.filter(|it| *it != 0));
    Some(Wanted { user, group, groups, no_new_privileges })
}

/// The same launch by way of [`run`]; as an ordinary user nothing of it can be set up, and the launch stays.
pub fn wrap(mut launch: Launch, wanted: &Wanted, binary: &Path) -> Launch {
    if !rustix::process::geteuid().is_root() {
        return launch;
    }
    let wanted = serde_json::to_string(wanted).expect("numbers are JSON");
    let before = [COMMAND.into(), wanted.into(), launch.program.into_os_string()];
    launch.args.splice(0..0, before);
    launch.program = binary.to_owned();
    launch
}

/// Becomes the program: `args` are those after `pod-exec`. Returns only if it cannot.
pub fn run(mut args: impl Iterator<Item = OsString>) -> io::Error {
    let wanted = args.next().unwrap_or_default();
    let wanted: Wanted = match serde_json::from_slice(wanted.as_encoded_bytes()) {
        Ok(wanted) => wanted,
        Err(error) => return io::Error::new(io::ErrorKind::InvalidInput, error),
    };
    let Some(program) = args.next() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program given");
    };
    match set_up(&wanted) {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    }
}

/// This process has one thread still, so what is set for the thread is set for the process.
fn set_up(wanted: &Wanted) -> io::Result<()> {
    let groups: Vec<Gid> = wanted.groups.iter().copied().map(Gid::from_raw).collect();
    thread::set_thread_groups(&groups)?;
    if let Some(group) = wanted.group.map(Gid::from_raw) {
        thread::set_thread_res_gid(group, group, group)?;
    }
    if let Some(user) = wanted.user.map(Uid::from_raw) {
        thread::set_thread_res_uid(user, user, user)?;
    }
    if wanted.no_new_privileges {
        thread::set_no_new_privs(true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn takes_the_detour_only_where_it_must() {
        check(json!({}), json!({}), None);
        check(json!({}), json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true}), None);
        check(
            json!({"runAsUser": 1, "fsGroup": 9, "supplementalGroups": [7]}),
            json!({"runAsUser": 2, "allowPrivilegeEscalation": false}),
            Some(Wanted {
                user: Some(2),
                group: Some(2),
                groups: vec![7, 9],
                no_new_privileges: true,
            }),
        );
        check(
            json!({"runAsUser": 0, "runAsGroup": 5}),
            json!({}),
            Some(Wanted { user: Some(0), group: Some(5), ..Wanted::default() }),
        );
    }

    #[track_caller]
    fn check(pod: Value, container: Value, expected: Option<Wanted>) {
        let container = json!({"name": "c", "securityContext": container});
        let pod = json!({"spec": {"securityContext": pod, "containers": [container]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(wanted(&pod, &pod.spec.as_ref().unwrap().containers[0]), expected);
    }
}
