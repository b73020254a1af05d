//! The `/dev` of containers: the devices that every program may count on, and none of the machine's own.
//!
//! Source: opencontainers/runtime-spec `config-linux.md`, “Default Devices” and “Dev symbolic links”.

use std::{ffi::CStr, fs, io, os::unix::fs::symlink, path::Path};

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// The file that a termination message is mounted upon.
pub const LAST_WORDS: &str = "/dev/termination-log";
/// The memory that programs of one container share, as container engines give it.
const SHARED_MEMORY: &CStr = c"mode=1777,size=64m";
/// Terminals of the containers' own, which anybody there may open.
const TERMINALS: &CStr = c"newinstance,ptmxmode=0666,mode=0620";

/// Makes a `/dev` at `place`, an empty folder, in the calling thread's mount namespace.
pub fn make(place: &Path) -> io::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", place, "tmpfs", quiet, c"mode=755,size=64k")?;
    for device in DEVICES {
        let (from, to) = (Path::new("/dev").join(device), place.join(device));
        if from.exists() {
            fs::write(&to, "")?;
            mount_bind(&from, &to)?;
        }
    }
    for (name, target) in LINKS {
        symlink(target, place.join(name))?;
    }
    for folder in ["pts", "shm"] {
        fs::create_dir(place.join(folder))?;
    }
    let terminals = place.join("pts");
    if mount("devpts", &terminals, "devpts", quiet, TERMINALS).is_err() {
        mount_bind_recursive("/dev/pts", &terminals)?;
    }
    fs::write(place.join("termination-log"), "")?;
    // Devices can be written to all the same.
    Ok(mount_remount(place, MountFlags::BIND | MountFlags::RDONLY | quiet, "")?)
}

/// Gives a container, whose `/dev` is `devices`, shared memory of its own.
pub fn share_memory(devices: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    Ok(mount("tmpfs", devices.join("shm"), "tmpfs", flags, SHARED_MEMORY)?)
}
