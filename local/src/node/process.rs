//! Processes: started without forking this one, held by descriptor, ended as a group.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;

use crate::node::{identity::Identity, namespace::Namespace, network::PodNetwork, thread::Threads};

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
    /// The file system that the process sees; none for the machine's.
    pub root: Option<Arc<Namespace>>,
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
}

impl Process {
    fn new(pid: Pid) -> io::Result<Self> {
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        #[allow(
            deprecated,
            reason = "the safe form; an owned descriptor keeps its meaning while registered"
        )]
        let handle = AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)?;
        Ok(Self { pid, handle })
    }

    /// The process's number. It names this process only until [`Process::wait`] has returned.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Waits for the end of the process, kills what it left behind in its group, and removes it from the
    /// process table. May be given up and called again until it has returned.
    pub async fn wait(&self) -> io::Result<Exit> {
        use std::os::fd::AsFd;
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
                    let signal = status.terminating_signal().map(Exit::Signal);
                    let exit = signal.or_else(|| status.exit_status().map(Exit::Code));
                    return Ok(exit.unwrap_or(Exit::Code(255)));
                }
            }
        }
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) {
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
        let pid = threads.run(move || self.start_here()).await?;
        Process::new(pid).inspect_err(|_| {
            // Without its handle nobody would ever end it.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        })
    }

    /// Starts it from the calling thread, which becomes what the process is to be.
    fn start_here(&self) -> io::Result<Pid> {
        if let Some((network, hostname)) = &self.network {
            network.enter(hostname)?;
        }
        if let Some(root) = &self.root {
            root.enter()?;
        }
        if let Some(identity) = &self.identity {
            identity.take()?;
        }
        let program = self.find()?;
        self.spawn(&program).map_err(|error| self.explained(&program, error))
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
    use crate::node::{netlink::Range, network::Network};

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
