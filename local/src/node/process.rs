//! Processes: started without forking this one, held by descriptor, ended as a group.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;

use crate::node::{
    first::{self, Program},
    identity::Identity,
    network::PodNetwork,
    root::{self, Root},
    thread::Threads,
};

/// What to run, and where.
pub struct Launch {
    /// A path as the process sees it, or a name to be found in the `PATH` of `env`.
    pub program: OsString,
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    /// Where standard output and standard error go, both.
    pub output: OwnedFd,
    /// The pod's network and the name of its host; none in host mode.
    pub network: Option<(Arc<PodNetwork>, String)>,
    /// The file system and the processes that the process sees; none for the machine's.
    pub root: Option<Arc<Root>>,
    /// Who it is; none for who starts it.
    pub identity: Option<Identity>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The exit code as shells and Kubernetes write it: 128 and the signal's number for a signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// A child of this process, the leader of its own process group.
pub struct Process {
    pid: Pid,
    /// Readable when the process has ended.
    handle: AsyncFd<OwnedFd>,
    /// Whether it is the first of a namespace of processes, whom the kernel keeps from signals.
    is_first: bool,
    /// What it was killed for.
    killed_for: OnceLock<Signal>,
}

impl Process {
    fn new(pid: Pid, is_first: bool) -> io::Result<Self> {
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        #[allow(
            deprecated,
            reason = "the safe form; an owned descriptor keeps its meaning while registered"
        )]
        let handle = AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)?;
        Ok(Self { pid, handle, is_first, killed_for: OnceLock::new() })
    }

    /// The process's number. It names this process only until [`Process::wait`] has returned.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Waits for the end of the process, kills what it left behind in its group, and removes it from the
    /// process table. May be given up and called again until it has returned.
    pub async fn wait(&self) -> io::Result<Exit> {
        let look = |options| {
            rustix::process::waitid(WaitId::PidFd(self.handle.get_ref().as_fd()), options)
        };
        loop {
            let mut ready = self.handle.readable().await?;
            let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match look(ended | WaitIdOptions::NOWAIT)? {
                None => ready.clear_ready(),
                Some(status) => {
                    // Before it is removed, so that its number still is its group's.
                    self.kill_group();
                    look(ended)?;
                    let killed_for = self.killed_for.get().map(|it| it.as_raw());
                    let signal = status.terminating_signal();
                    let signal = signal.map(|it| Exit::Signal(killed_for.unwrap_or(it)));
                    let exit = signal.or_else(|| status.exit_status().map(Exit::Code));
                    return Ok(exit.unwrap_or(Exit::Code(255)));
                }
            }
        }
    }

    /// Sends a signal to the process itself. One that would end others ends a container's first process too, which
    /// the kernel spares as long as it has no handler.
    pub fn signal(&self, signal: Signal) {
        let ends = self.is_first && signal != Signal::KILL && !minds(self.pid(), signal);
        let signal = if ends {
            // Told twice is told.
            let _ = self.killed_for.set(signal);
            Signal::KILL
        } else {
            signal
        };
        // The process may have ended meanwhile; then there is nobody to tell.
        let _ = rustix::process::pidfd_send_signal(self.handle.get_ref(), signal);
    }

    /// Kills the process and all others of its group. Not after [`Process::wait`] has returned: the number may
    /// be another's by then.
    pub fn kill_group(&self) {
        // Nobody left in the group is as good.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
    }
}

/// Whether a process handles, ignores or holds back a signal; true when that cannot be told.
fn minds(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut sets = status.lines().filter_map(|line| line.split_once(":\t")).filter_map(
        |(name, set)| match name {
            "SigCgt" | "SigIgn" | "SigBlk" => Some(u64::from_str_radix(set, 16)),
            _ => None,
        },
    );
    let bit = 1 << (signal.as_raw() - 1);
    status.is_empty() || sets.any(|set| set.is_ok_and(|set| set & bit != 0))
}

/// When a process started, in clock ticks since the machine did: together with the process's number and the
/// machine's boot it names a process for good.
pub fn started_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbers.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

impl Launch {
    /// Starts the process.
    pub async fn start(self, threads: &Threads) -> io::Result<Process> {
        let (pid, is_first) = threads.run(move || self.start_here()).await?;
        Process::new(pid, is_first).inspect_err(|_| {
            // Without its handle nobody would ever end it.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        })
    }

    /// Starts it from the calling thread, which becomes what the process is to be.
    fn start_here(&self) -> io::Result<(Pid, bool)> {
        if let Some((network, hostname)) = &self.network {
            network.enter(hostname)?;
        }
        let first_in = match &self.root {
            Some(root) if root.enter()? => Some(root),
            _ => None,
        };
        let take_identity = || self.identity.as_ref().map_or(Ok(()), Identity::take);
        if first_in.is_none() {
            take_identity()?;
        }
        let program = self.find()?;
        let explained = |error| self.explained(&program, error);
        let Some(root) = first_in else {
            return self.spawn(&program).map(|pid| (pid, false)).map_err(explained);
        };
        let whole = Program::new(&program, &self.args, &self.env, &self.directory)?;
        let pid = first::start(&whole, self.output.as_fd(), &|| {
            root::show_processes()?;
            take_identity()
        });
        let pid = pid.map_err(explained)?;
        // Without it nothing else can be run in the container.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => root.started(handle),
            Err(error) => tracing::warn!(%error, "hold a container's first process"),
        }
        Ok((pid, true))
    }

    /// The path of the program: as it is when it has a slash, else the first in `PATH` that may be executed.
    fn find(&self) -> io::Result<PathBuf> {
        let executable = |path: &Path| {
            rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
        };
        let program = Path::new(&self.program);
        if self.program.as_encoded_bytes().contains(&b'/') {
            // Relative to the container's directory.
            return Ok(self.directory.join(program));
        }
        let path = self.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
        let mut found = path.into_iter().flat_map(std::env::split_paths).map(|it| it.join(program));
        found.find(|it| it.is_absolute() && executable(it)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "executable file not found in $PATH")
        })
    }

    /// Nothing here may make the standard library fork: no user or group, no `pre_exec`, no name to look up.
    fn spawn(&self, program: &Path) -> io::Result<Pid> {
        let mut command = Command::new(program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::from(self.output.try_clone()?))
            .stderr(Stdio::from(self.output.try_clone()?))
            .process_group(0);
        let child = command.spawn()?;
        Ok(Pid::from_child(&child))
    }

    /// An error of the kernel's with what it does not say.
    fn explained(&self, program: &Path, error: io::Error) -> io::Error {
        let seen = if self.root.is_some() { "in the container" } else { "there" };
        let why = match error.kind() {
            io::ErrorKind::NotFound if !self.directory.is_dir() => {
                format!("its working directory {} is not {seen}", self.directory.display())
            }
            io::ErrorKind::NotFound if program.exists() => {
                format!("the interpreter that {} names is not {seen}", program.display())
            }
            io::ErrorKind::PermissionDenied => match &self.identity {
                Some(identity) => format!("user {} may not execute it", identity.user),
                None => return error,
            },
            _ => return error,
        };
        io::Error::new(error.kind(), format!("{error}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;
    use crate::node::{
        netlink::Range,
        network::Network,
        root::{Additions, Template},
    };

    fn launch(script: &str) -> (Launch, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let launch = Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("A".into(), "1".into())],
            directory: "/tmp".into(),
            output: writer.into(),
            network: None,
            root: None,
            identity: None,
        };
        (launch, reader)
    }

    async fn run(threads: &Threads, script: &str) -> (Exit, String) {
        let (launch, mut reader) = launch(script);
        let process = launch.start(threads).await.unwrap();
        let exit = process.wait().await.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (exit, text)
    }

    #[tokio::test]
    async fn runs_with_what_it_is_given_and_nothing_else() {
        let threads = Threads::new(false);
        let script = "echo $A; pwd; cat; echo bad >&2; env | grep -c HOME; exit 3";
        let (exit, text) = run(&threads, script).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(3), "1\n/tmp\nbad\n0\n"));
        assert_eq!(run(&threads, "kill -TERM $$").await.0, Exit::Signal(15));
        let (mut missing, _reader) = launch("");
        missing.program = "/nowhere".into();
        assert!(missing.start(&threads).await.is_err());
    }

    /// The pipe ends only when its last writer has: so the test would not end if the child were left.
    #[tokio::test]
    async fn what_a_process_leaves_in_its_group_ends_with_it() {
        let threads = Threads::new(false);
        let (_, text) = run(&threads, "sleep 600 & echo done").await;
        assert_eq!(text, "done\n");
    }

    #[tokio::test]
    async fn a_containers_processes_are_its_own_and_end_with_its_first() {
        let folder = std::env::temp_dir().join(format!("weft-first-{}", uuid::Uuid::new_v4()));
        let threads = Threads::new(rustix::process::geteuid().is_root());
        let template = match Template::make(&threads, &folder).await {
            Ok(template) => template,
            Err(error) => {
                // What a user without the right to make namespaces gets: this error, and host mode.
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                return fs::remove_dir_all(folder).unwrap();
            }
        };
        let root = async |shares_processes| {
            let additions = Additions { shares_processes, ..Additions::default() };
            template.root(&threads, additions).await.unwrap()
        };
        let start = async |root: &Arc<Root>, script: &str| {
            let (mut launch, reader) = launch(script);
            launch.root = Some(root.clone());
            (launch.start(&threads).await, reader)
        };
        let end = async |(process, mut reader): (io::Result<Process>, io::PipeReader)| {
            let exit = process.unwrap().wait().await.unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            (exit, text)
        };
        // The pipe ends only when its last writer has: the sleeper, which has left the group, ends too.
        let ours = "echo $$ $PPID $A; (setsid sleep 600 &); cat /proc/1/comm; exit 3";
        let (exit, text) = end(start(&root(false).await, ours).await).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(3), "1 0 1\nsh\n"));
        let (_, text) = end(start(&root(true).await, "echo $$").await).await;
        assert_ne!(text, "1\n");

        // Signals do what they do to other processes, with a handler and without.
        for (script, expected) in [
            ("echo; exec sleep 600", Exit::Signal(15)),
            ("trap 'exit 7' TERM; echo; while :; do sleep 0.01; done", Exit::Code(7)),
        ] {
            let (process, mut reader) = start(&root(false).await, script).await;
            reader.read_exact(&mut [0]).unwrap();
            let process = process.unwrap();
            process.signal(Signal::TERM);
            assert_eq!(process.wait().await.unwrap(), expected, "{script}");
        }

        // Commands run later are among the container's processes, as long as it runs.
        let container = root(false).await;
        let first = start(&container, "exec sleep 600").await;
        let beside = "[ $$ != 1 ] && until grep -q sleep /proc/1/comm; do :; done; echo $PPID";
        let (exit, text) = end(start(&container, beside).await).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(0), "0\n"));
        first.0.as_ref().unwrap().signal(Signal::KILL);
        assert_eq!(end(first).await.0, Exit::Signal(9));
        assert!(start(&container, "").await.0.is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn two_pods_listen_on_one_port_and_reach_the_router() {
        let services = Range { address: "10.96.0.0".parse().unwrap(), prefix: 16 };
        let network = match Network::start(services).await {
            Ok(network) => network,
            Err(error) => {
                // What a user without the right to make namespaces gets: this error, and host mode.
                let refused = error.kind() == io::ErrorKind::PermissionDenied;
                assert!(refused, "{error}");
                return;
            }
        };
        let threads = Threads::new(true);
        let (one, two) = (network.pod().await.unwrap(), network.pod().await.unwrap());
        assert_ne!(one.address, two.address);
        let _listeners = [&one, &two].map(|pod| {
            pod.visit(|| TcpListener::bind("0.0.0.0:80")).expect("each has its own ports")
        });
        let from_machine = std::net::TcpStream::connect_timeout(
            &(one.address, 80).into(),
            std::time::Duration::from_secs(10),
        );
        assert!(from_machine.is_ok(), "{from_machine:?}");
        let service = network.visit(|| TcpListener::bind("0.0.0.0:81")).unwrap();
        let address = service.local_addr().unwrap();
        let (mut launch, mut reader) = launch("hostname");
        launch.network = Some((Arc::new(one), "a-pod".to_owned()));
        let process = launch.start(&threads).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), Exit::Code(0));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a-pod\n");

        // Its hardware address stays, whichever pods come and go.
        let [a, b, c, d] = network.router.octets();
        let hardware_address = format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        let neighbours = two.visit(|| {
            std::net::TcpStream::connect((network.router, address.port())).map(drop)?;
            std::fs::read_to_string("/proc/thread-self/net/arp")
        });
        let neighbours = neighbours.unwrap();
        assert!(neighbours.contains(&hardware_address), "{neighbours}");
        drop(service.accept().unwrap());

        // The way a pod's program goes: to an address of a Service that nobody has set up.
        let to = std::net::SocketAddr::from(([10, 96, 7, 9], address.port()));
        let client = two.visit(|| std::net::TcpStream::connect(to)).unwrap();
        let (server, from) = service.accept().unwrap();
        assert_eq!(server.local_addr().unwrap(), to);
        assert_eq!(from.ip(), two.address);
        assert_eq!(client.peer_addr().unwrap(), to);
    }
}
