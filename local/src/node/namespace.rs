//! Linux namespaces held by file descriptors, and how a thread visits one.

use std::{fs::File, io, os::fd::AsFd, os::fd::OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// What a thread moves into and out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Network,
    Hostname,
    Mount,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Kind::Network => "/proc/thread-self/ns/net",
            Kind::Hostname => "/proc/thread-self/ns/uts",
            Kind::Mount => "/proc/thread-self/ns/mnt",
        }
    }

    fn link(self) -> LinkNameSpaceType {
        match self {
            Kind::Network => LinkNameSpaceType::Network,
            Kind::Hostname => LinkNameSpaceType::HostNameAndNISDomainName,
            Kind::Mount => LinkNameSpaceType::Mount,
        }
    }
}

/// A namespace; it lives as long as this does, or a process is in it.
#[derive(Debug)]
pub struct Namespace {
    kind: Kind,
    fd: OwnedFd,
}

impl Namespace {
    /// The one that the calling thread is in.
    pub fn current(kind: Kind) -> io::Result<Self> {
        Ok(Self { kind, fd: File::open(kind.file())?.into() })
    }

    /// Moves the calling thread into this namespace. For [`Kind::Mount`] the thread must have called
    /// [`detach_file_system`] before.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.fd.as_fd(), Some(self.kind.link()))?)
    }

    /// Runs `act` with the calling thread in this namespace, and brings the thread back to `home`.
    ///
    /// `act` must be short and must not panic: other work of this thread waits for it.
    pub fn visit<T>(&self, home: &Namespace, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.enter()?;
        let result = act();
        if let Err(error) = home.enter() {
            // A worker thread in a pod's namespace would open everyone's sockets there.
            tracing::error!(%error, "cannot leave a pod's namespace");
            std::process::abort();
        }
        result
    }

    /// The descriptor, to name the namespace to the kernel.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

/// Moves the calling thread into new namespaces of its own.
#[allow(
    deprecated,
    reason = "the safe form; none of the flags used here can invalidate descriptors"
)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    Ok(rustix::thread::unshare(flags)?)
}

/// Moves the calling thread into a new network namespace, without links.
pub fn new_network() -> io::Result<Namespace> {
    unshare(UnshareFlags::NEWNET)?;
    Namespace::current(Kind::Network)
}

/// Moves the calling thread into a new host name namespace.
pub fn new_hostname() -> io::Result<Namespace> {
    unshare(UnshareFlags::NEWUTS)?;
    Namespace::current(Kind::Hostname)
}

/// What the calling thread starts next is the first process of a new namespace of processes, and what it starts after
/// that is in it too.
pub fn new_processes() -> io::Result<()> {
    unshare(UnshareFlags::NEWPID)
}

/// What the calling thread starts is in the namespace of processes of the process that `handle`, a pidfd, holds.
pub fn join_processes(handle: &OwnedFd) -> io::Result<()> {
    use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
    Ok(move_into_thread_name_spaces(handle.as_fd(), ThreadNameSpaceType::PROCESS_ID)?)
}

/// Moves the calling thread into a copy of its mount namespace, from which nothing travels back.
pub fn new_mount() -> io::Result<Namespace> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    Namespace::current(Kind::Mount)
}

/// Gives the calling thread a working directory and root of its own, so that it may enter mount namespaces.
pub fn detach_file_system() -> io::Result<()> {
    unshare(UnshareFlags::FS)
}
