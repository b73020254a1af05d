//! Processes: started without forking this one, held by descriptor, ended as a group.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::{io::unix::AsyncFd, sync::oneshot};

use crate::node::{
    namespace::{self, Kind, Namespace},
    network::PodNetwork,
};

/// What to run, and where.
pub struct Launch {
    /// An absolute path: looking a name up in another `PATH` would make the standard library fork.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    pub directory: Option<PathBuf>,
    /// Where standard output and standard error go, both.
    pub output: OwnedFd,
    /// The pod's network and the name of its host; none in host mode.
    pub network: Option<(Arc<PodNetwork>, String)>,
    /// The file system that the process sees; none for the machine's.
    pub mounts: Option<Arc<Namespace>>,
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

type Job = Box<dyn FnOnce(&Home) + Send>;

/// Starts processes, one at a time, from a thread that may move into pods' namespaces.
pub struct Spawner {
    jobs: mpsc::SyncSender<Job>,
    /// Whether the thread may enter mount namespaces.
    pub can_mount: bool,
}

/// The namespaces that the spawning thread comes from and returns to.
pub struct Home {
    spaces: Vec<Namespace>,
}

impl Home {
    /// Leaves whatever namespaces the thread is in.
    pub fn enter(&self) -> io::Result<()> {
        self.spaces.iter().try_for_each(Namespace::enter)
    }
}

/// Launches that wait for the thread: as many as pods may start at once on one machine; a caller beyond that
/// waits for its turn.
const WAITING: usize = 1024;

impl Spawner {
    /// Starts the thread. `isolate` asks for the ability to enter namespaces.
    pub async fn start(isolate: bool) -> io::Result<Self> {
        let (jobs, work) = mpsc::sync_channel::<Job>(WAITING);
        let (tell, ready) = oneshot::channel();
        std::thread::Builder::new().name("weft-spawner".to_owned()).spawn(move || {
            let found = if isolate { home() } else { Ok(Home { spaces: Vec::new() }) };
            match found {
                Err(error) => drop(tell.send(Err(error))),
                Ok(home) => {
                    drop(tell.send(Ok(())));
                    while let Ok(job) = work.recv() {
                        job(&home);
                    }
                }
            }
        })?;
        ready.await.map_err(|_| gone())??;
        Ok(Self { jobs, can_mount: isolate })
    }

    /// Runs `act` on the thread; it must leave the thread in its own namespaces.
    pub async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Home) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (tell, done) = oneshot::channel();
        let job: Job = Box::new(move |home| drop(tell.send(act(home))));
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => {
                io::Error::other(format!("{WAITING} processes already wait to be started"))
            }
            mpsc::TrySendError::Disconnected(_) => gone(),
        })?;
        done.await.map_err(|_| gone())?
    }

    /// Starts a process.
    pub async fn spawn(&self, launch: Launch) -> io::Result<Process> {
        let pid = self
            .run(move |home| {
                let entered = enter(&launch);
                let spawned = entered.and_then(|()| spawn(&launch));
                if let Err(error) = home.enter() {
                    tracing::error!(%error, "the spawning thread cannot leave a pod's namespaces");
                    std::process::abort();
                }
                spawned
            })
            .await?;
        Process::new(pid).inspect_err(|_| {
            // Without its handle nobody would ever end it.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        })
    }
}

fn gone() -> io::Error {
    io::Error::other("the spawning thread ended")
}

fn home() -> io::Result<Home> {
    namespace::detach_file_system()?;
    let spaces = [Kind::Network, Kind::Hostname, Kind::Mount].map(Namespace::current);
    Ok(Home { spaces: spaces.into_iter().collect::<io::Result<_>>()? })
}

fn enter(launch: &Launch) -> io::Result<()> {
    if let Some((network, hostname)) = &launch.network {
        network.enter(hostname)?;
    }
    launch.mounts.as_ref().map_or(Ok(()), |mounts| mounts.enter())
}

/// Spawns in the calling thread's namespaces. Nothing here may make the standard library fork: no user or
/// group, no `pre_exec`, no name to look up; what needs those goes through the `pod-exec` command.
fn spawn(launch: &Launch) -> io::Result<Pid> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::from(launch.output.try_clone()?))
        .stderr(Stdio::from(launch.output.try_clone()?))
        .process_group(0);
    if let Some(directory) = &launch.directory {
        command.current_dir(directory);
    }
    let child = command.spawn()?;
    Ok(Pid::from_child(&child))
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
            directory: Some("/tmp".into()),
            output: writer.into(),
            network: None,
            mounts: None,
        };
        (launch, reader)
    }

    async fn run(spawner: &Spawner, script: &str) -> (Exit, String) {
        let (launch, mut reader) = launch(script);
        let process = spawner.spawn(launch).await.unwrap();
        let exit = process.wait().await.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (exit, text)
    }

    #[tokio::test]
    async fn runs_with_what_it_is_given_and_nothing_else() {
        let spawner = Spawner::start(false).await.unwrap();
        let script = "echo $A; pwd; cat; echo bad >&2; env | grep -c HOME; exit 3";
        let (exit, text) = run(&spawner, script).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(3), "1\n/tmp\nbad\n0\n"));
        assert_eq!(run(&spawner, "kill -TERM $$").await.0, Exit::Signal(15));
        let (mut missing, _reader) = launch("");
        missing.program = "/nowhere".into();
        assert!(spawner.spawn(missing).await.is_err());
    }

    /// The pipe ends only when its last writer has: so the test would not end if the child were left.
    #[tokio::test]
    async fn what_a_process_leaves_in_its_group_ends_with_it() {
        let spawner = Spawner::start(false).await.unwrap();
        let (_, text) = run(&spawner, "sleep 600 & echo done").await;
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
                assert!(Spawner::start(false).await.is_ok());
                return;
            }
        };
        let spawner = Spawner::start(true).await.unwrap();
        let (one, two) = (network.pod().await.unwrap(), network.pod().await.unwrap());
        assert_ne!(one.address, two.address);
        let _listeners = [&one, &two].map(|pod| {
            pod.visit(|| TcpListener::bind("0.0.0.0:80")).expect("each has its own ports")
        });
        let service = network.visit(|| TcpListener::bind("0.0.0.0:81")).unwrap();
        let address = service.local_addr().unwrap();
        let (mut launch, mut reader) = launch("hostname");
        launch.network = Some((Arc::new(one), "a-pod".to_owned()));
        let process = spawner.spawn(launch).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), Exit::Code(0));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a-pod\n");

        // The way a pod's program goes: to an address of a Service that nobody has set up.
        let to = std::net::SocketAddr::from(([10, 96, 7, 9], address.port()));
        let client = two.visit(|| std::net::TcpStream::connect(to)).unwrap();
        let (server, from) = service.accept().unwrap();
        assert_eq!(server.local_addr().unwrap(), to);
        assert_eq!(from.ip(), two.address);
        assert_eq!(client.peer_addr().unwrap(), to);
    }
}
