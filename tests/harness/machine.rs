//! What the machine that runs the tests allows.

use std::{fs, process::Command};

/// Numbers of capabilities in `/proc/self/status`. Source: `linux/capability.h`.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

/// Whether this user may give pods networks of their own. Root in a container of most CI services may not.
pub fn may_isolate() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells of this process");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;
    has(NET_ADMIN) && has(SYS_ADMIN) && is_granted("--net") && is_granted("--mount")
}

/// A filter of system calls may forbid what the capabilities allow.
fn is_granted(namespace: &str) -> bool {
    let tried = Command::new("unshare").args([namespace, "true"]).output();
    tried.is_ok_and(|it| it.status.success())
}
