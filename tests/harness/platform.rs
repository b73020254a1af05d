//! A real `weft up` on free ports with a data directory of its own, gone without a trace when it is dropped.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, geteuid, kill_process},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    eventually::eventually,
    http::{self, Reply},
    kubectl::{Kubectl, Version},
    parts,
};

/// A start takes a third of a second when the machine is idle; tests run many at once, unoptimised.
const START: Duration = Duration::from_secs(60);
/// Pods get their grace, then the platform ends.
const STOP: Duration = Duration::from_secs(60);
/// Platforms that run at the same time on one machine.
const AT_ONCE: u32 = 2;

/// Windows as short as Knative allows, so that tests see pods go; and services that begin at zero for those that ask.
const SHORT_WINDOWS: &str = r#"{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s",
    "allow-zero-initial-scale":"true"}}"#;
/// Who an ordinary user is where the tests themselves run as root: `nobody`.
pub const ORDINARY: u32 = 65534;

/// What `weft up` notes of itself in the data directory.
#[derive(Clone, Debug, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub api_addr: SocketAddr,
    pub http_addr: SocketAddr,
    pub https_addr: Option<SocketAddr>,
}

/// How to start a platform.
#[derive(Default)]
pub struct Settings {
    /// More arguments of `weft up`.
    pub arguments: Vec<String>,
    /// As an ordinary user, also where the tests run as root.
    pub ordinary_user: bool,
    /// What comes before `weft` on the command line and becomes it, such as a shell that sets a limit.
    pub wrapper: Vec<String>,
}

impl Settings {
    /// A platform that knows these images, as `NAME=PATH`.
    pub fn images(images: &[&str]) -> Settings {
        let arguments = images.iter().flat_map(|it| ["--image".to_owned(), (*it).to_owned()]);
        Settings { arguments: arguments.collect(), ..Settings::default() }
    }
}

/// A running platform.
pub struct Platform {
    home: PathBuf,
    weft: PathBuf,
    kubectl: [Kubectl; 2],
    settings: Settings,
    child: Option<Child>,
    running: Running,
    /// Held for its lock.
    turn: Option<File>,
}

impl Platform {
    /// Starts a platform as most tests want it.
    pub async fn start() -> Platform {
        Platform::start_with(Settings::default()).await
    }

    /// Starts a platform that shares the turn of the test with others.
    pub async fn start_beside() -> Platform {
        Platform::prepare(Settings::default()).begin().await
    }

    /// Starts a platform with short windows, and waits until it is ready.
    pub async fn start_with(settings: Settings) -> Platform {
        Platform::prepare(settings).with_turn().await.begin().await
    }

    /// Waits until few enough platforms of other tests run.
    pub async fn with_turn(mut self) -> Platform {
        let turn = tokio::task::spawn_blocking(turn).await;
        self.turn = Some(turn.expect("waiting for a turn does not panic"));
        self
    }

    async fn begin(self) -> Platform {
        let mut platform = self;
        platform.up().await;
        let patch =
            ["patch", "configmap", "config-autoscaler", "-n", "knative-serving", "--type", "merge"];
        platform.kubectl().run_words(&[&patch[..], &["-p", SHORT_WINDOWS]].concat(), "").await.ok();
        platform
    }

    /// Makes the place of a platform, which does not run yet.
    pub fn prepare(settings: Settings) -> Platform {
        let home = new_home();
        let mut weft = parts::weft();
        if settings.ordinary_user && geteuid().is_root() {
            // The folders above may be root's alone.
            let copy = home.join("weft");
            fs::copy(&weft, &copy).expect("the program can be copied");
            weft = copy;
            std::os::unix::fs::chown(&home, Some(ORDINARY), Some(ORDINARY))
                .expect("root gives a folder away");
        }
        let kubectl = Version::ALL.map(|version| Kubectl {
            program: version.path(),
            kubeconfig: home.join("data/kubeconfig"),
            home: home.clone(),
        });
        let nothing: SocketAddr = ([127, 0, 0, 1], 0).into();
        let running = Running { pid: 0, api_addr: nothing, http_addr: nothing, https_addr: None };
        Platform { home, weft, kubectl, settings, child: None, running, turn: None }
    }

    /// Starts the process, again after [`Platform::kill`] or [`Platform::stop`].
    pub async fn up(&mut self) {
        let anywhere = ["--api-addr", "--http-addr", "--https-addr"].map(|it| [it, "127.0.0.1:0"]);
        let mut up = self.weft(&[&["up"], anywhere.as_flattened()].concat());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("home can be written");
        let err = log.try_clone().expect("a file can be shared");
        let child =
            up.args(&self.settings.arguments).stdout(log).stderr(err).spawn().expect("weft runs");
        let pid = child.id();
        self.child = Some(child);
        let end = Instant::now() + START;
        self.running = loop {
            if let Ok(running) = self.noted()
                && running.pid == pid
            {
                break running;
            }
            let ended = self.child.as_mut().and_then(|it| it.try_wait().ok().flatten());
            assert!(ended.is_none(), "weft up ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < end, "weft up is not ready within {START:?}:\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        };
        let kubeconfig = self.seen_data_dir().join("kubeconfig");
        for kubectl in &mut self.kubectl {
            kubectl.kubeconfig = kubeconfig.clone();
        }
    }

    /// Starts the next process without the wrapper.
    pub fn unwrap(&mut self) {
        self.settings.wrapper.clear();
    }

    /// The data directory as the platform sees it, which may be a mount of its own.
    pub fn seen_data_dir(&self) -> PathBuf {
        match &self.child {
            Some(child) if !self.settings.wrapper.is_empty() => {
                format!("/proc/{}/root{}", child.id(), self.data_dir().display()).into()
            }
            _ => self.data_dir(),
        }
    }

    fn noted(&self) -> Result<Running> {
        let text = fs::read(self.seen_data_dir().join("running.json")).context("read the note")?;
        serde_json::from_slice(&text).context("parse the note")
    }

    /// The command `weft` with the platform's data directory.
    pub fn weft(&self, arguments: &[&str]) -> Command {
        self.weft_in(&self.data_dir(), arguments)
    }

    /// The command `weft` with another data directory.
    pub fn weft_in(&self, data_dir: &Path, arguments: &[&str]) -> Command {
        let mut command = match self.settings.wrapper.split_first() {
            Some((wrapper, rest)) => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(&self.weft);
                command
            }
            None => Command::new(&self.weft),
        };
        command.args(arguments).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
        command.env("HOME", &self.home).current_dir(&self.home);
        if self.settings.ordinary_user && geteuid().is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    }

    /// Makes an image run a program of this machine; its containers see `with` too.
    pub fn add_image(&self, name: &str, program: &Path, with: &Path) {
        let [program, with] = [program, with].map(|it| it.to_str().expect("paths here are text"));
        let output = self.weft(&["image", "add", name, program, "--with", with]).output();
        let output = output.expect("the program can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// A folder that goes with the platform.
    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn running(&self) -> &Running {
        &self.running
    }

    pub fn gateway(&self) -> SocketAddr {
        self.running.http_addr
    }

    /// The newest kubectl.
    pub fn kubectl(&self) -> &Kubectl {
        self.kubectl_of(Version::Newest)
    }

    pub fn kubectl_of(&self, version: Version) -> &Kubectl {
        match version {
            Version::Oldest => &self.kubectl[0],
            Version::Newest => &self.kubectl[1],
        }
    }

    /// What the platform printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("up.log")
    }

    /// Applies a manifest.
    pub async fn apply(&self, manifest: &str) {
        self.kubectl().run_with("apply -f -", manifest).await.ok();
    }

    /// Applies one of the samples.
    pub async fn apply_sample(&self, name: &str) {
        let file = parts::root().join("deploy/samples").join(name);
        let words = ["apply", "-f", file.to_str().expect("paths are text")];
        self.kubectl().run_words(&words, "").await.ok();
    }

    /// An object as JSON.
    pub async fn object(&self, what: &str) -> Result<Value> {
        let text = self.kubectl().run(&format!("get {what} -o json")).await.result();
        Ok(serde_json::from_str(&text.map_err(anyhow::Error::msg)?)?)
    }

    /// Waits until a Knative Service is ready.
    pub async fn ready(&self, service: &str) {
        let line = format!("wait ksvc/{service} --for=condition=Ready --timeout=60s");
        self.kubectl().run(&line).await.ok();
    }

    /// The host of a Service's URL, with its port if it has one.
    pub async fn host(&self, service: &str) -> String {
        let line = format!("get ksvc {service} -o jsonpath={{.status.url}}");
        let url = self.kubectl().run(&line).await.ok();
        url.trim_start_matches("http://").to_owned()
    }

    /// One GET through the gateway.
    pub async fn get(&self, host: &str, path: &str) -> Result<Reply> {
        http::get(self.gateway(), host, path).await
    }

    /// The names of a Service's pods, those on their way out too.
    pub async fn pods(&self, service: &str) -> Result<Vec<String>> {
        let pods = self.object(&format!("pods -l serving.knative.dev/service={service}")).await?;
        let name = |it: &Value| it["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(pods["items"].as_array().into_iter().flatten().map(name).collect())
    }

    /// Waits until a Service has no pods.
    pub async fn at_zero(&self, service: &str) {
        eventually(Duration::from_secs(60), &format!("{service} goes to zero"), || async {
            match self.pods(service).await? {
                pods if pods.is_empty() => anyhow::Ok(()),
                pods => bail!("there are {pods:?}"),
            }
        })
        .await;
    }

    /// Ends the platform as a user would, and returns how it ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Ends the platform's process without a warning.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|it| Pid::from_raw(it.id() as i32));
        if let Some(pid) = pid {
            // It may have ended by itself; `ended` tells.
            let _ = kill_process(pid, signal);
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the platform runs");
        let end = Instant::now() + STOP;
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if Instant::now() > end {
                // The clean-up of `drop` takes what is left.
                self.child = Some(child);
                panic!("weft up does not end within {STOP:?}:\n{}", self.log());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The platform's processes and its pods', each as its number and command line: those whose command line,
    /// environment or folder names the home, those that the node has noted, and all that these have started.
    pub fn processes(&self) -> Vec<String> {
        let home = self.home.display().to_string();
        let noted = self.noted_processes();
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<i32>().ok()) else {
                continue;
            };
            let text = |file: &str| {
                let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            // One that has ended meanwhile has none.
            let Some((parent, started)) = parent_and_start(pid) else { continue };
            let line = text("cmdline");
            let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let is_ours = line.contains(&home)
                || folder.starts_with(&self.home)
                || noted.contains(&(pid, started))
                || text("environ").contains(&home);
            all.push((pid, parent, is_ours, line));
        }
        let mut ours: Vec<i32> = all.iter().filter(|it| it.2).map(|it| it.0).collect();
        let mut at = 0;
        while at < ours.len() {
            let children = all.iter().filter(|it| it.1 == ours[at] && !ours.contains(&it.0));
            let children: Vec<i32> = children.map(|it| it.0).collect();
            ours.extend(children);
            at += 1;
        }
        let found = all.iter().filter(|it| ours.contains(&it.0));
        found.map(|it| format!("{} {}", it.0, it.3)).collect()
    }

    /// The processes of containers that the node has noted: number and start.
    fn noted_processes(&self) -> Vec<(i32, u64)> {
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let files = folders(&self.seen_data_dir().join("pods")).flat_map(|it| folders(&it.path()));
        let notes = files.filter(|it| it.path().extension().is_some_and(|it| it == "process"));
        let texts = notes.filter_map(|it| fs::read_to_string(it.path()).ok());
        let numbers = texts.filter_map(|it| {
            let mut words = it.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        });
        numbers.collect()
    }

    /// Prints what helps to understand a failure.
    fn report(&self) {
        for line in [
            "get ksvc,route,configuration,revision,kpa,king,sks,deploy,rs,pods,svc,endpoints -A -o wide",
            "get events -A --sort-by=.lastTimestamp",
            "describe pods -A",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let kubectl = &self.kubectl[1];
            let run = Command::new(&kubectl.program)
                .args(words)
                .arg("--request-timeout=5s")
                .env("KUBECONFIG", &kubectl.kubeconfig)
                .env("HOME", &kubectl.home)
                .output();
            if let Ok(output) = run {
                eprintln!(
                    "== kubectl {line}\n{}",
                    last(&String::from_utf8_lossy(&output.stdout), 200)
                );
            }
        }
        eprintln!("== weft up\n{}", last(&self.log(), 200));
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
        self.signal(Signal::TERM);
        if let Some(mut child) = self.child.take() {
            let mut waited = Duration::ZERO;
            let pause = Duration::from_millis(20);
            while child.try_wait().ok().flatten().is_none() {
                if waited > STOP {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(pause);
                waited += pause;
            }
        }
        for line in self.processes() {
            eprintln!("left behind: {line}");
            let pid = line.split(' ').next().and_then(|it| it.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // What cannot be removed is below the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// The parent of a process, and its start in clock ticks since boot; none when it has ended.
pub fn parent_and_start(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; fields 3 and following of proc(5) come after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let is_over = matches!(fields.first(), Some(&"Z" | &"X"));
    (!is_over).then(|| Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?)))?
}

/// A folder that no other test has.
pub fn new_home() -> PathBuf {
    let name = |at: u32| format!("weft-{}-{at}", std::process::id());
    let mut homes = (0..100_000).map(|at| std::env::temp_dir().join(name(at)));
    homes.find(|home| fs::create_dir(home).is_ok()).expect("one of the numbers is free")
}

/// Waits for one of the few turns on this machine; it ends when the file is closed.
pub fn turn() -> File {
    let folder = parts::root().join("target");
    fs::create_dir_all(&folder).expect("target can be written");
    let open = |at: u32| {
        let file = folder.join(format!(".platform-{at}"));
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(file)
            .expect("target can be written")
    };
    for at in 0..AT_ONCE {
        let file = open(at);
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return file;
        }
    }
    let file = open(std::process::id() % AT_ONCE);
    flock(&file, FlockOperation::LockExclusive).expect("a lock can be waited for");
    file
}

fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
