//! The node of the embedded cluster: runs pods as processes.
//!
//! As root on Linux each pod has a network, an address, a host name and control groups of its own; as an
//! ordinary user pods share the machine's network and each is told a port of its own in `PORT`. A pod's
//! queue runs inside this process, so that a request passes from the gateway to the container in one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::{core::v1 as k8s, storage::v1::StorageClass};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use proxy::hop::Upstream;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    dns,
    images::Images,
    node::{
        account::Accounts,
        cgroup::Groups,
        claims::{Around, Verdict},
        netlink::Range,
        network::Network,
        output::Outputs,
        reach::{Pods, Queued},
        room::Room,
        root::Template,
        thread::Threads,
        usage::Meter,
    },
    storage,
};

pub mod account;
pub mod cgroup;
pub mod claims;
pub mod devices;
pub mod environment;
pub mod first;
pub mod identity;
pub mod kept;
pub mod leftovers;
pub mod machine;
pub mod memory;
pub mod namespace;
pub mod netlink;
pub mod network;
pub mod output;
pub mod probe;
pub mod process;
pub mod reach;
pub mod room;
pub mod root;
pub mod run;
pub mod secure;
pub mod services;
pub mod spare;
pub mod status;
pub mod thread;
pub mod usage;
pub mod volumes;
pub mod worker;

/// Between signs of life of the node, as kubelet's status reports without changes.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// Most pods of a node. Pods with networks of their own are ports of one bridge, and Linux joins 1,023 to one; of these
/// some are for networks made ahead and for pods that are still ending. Kubelet's default of 110 is for what it costs
/// there to watch over containers, and the addresses of its node, neither of which holds here.
pub const MOST_PODS: u16 = 960;

/// The taint of nodes that are not ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Events that wait to be recorded: several for each of hundreds of pods that start at once; more are
/// dropped.
const NEWS: usize = 4096;
/// The folder of the running pods' small files, in the node's.
const RUNNING: &str = "running";
/// How much later than it happened an event is recorded.
const TELL_LATER: Duration = Duration::from_secs(1);

/// How pods are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Networks of their own where the process may make them, else the machine's.
    #[default]
    Auto,
    /// Networks of their own, or no node.
    Isolated,
    /// The machine's network.
    Host,
}

/// How a node runs.
pub struct Settings {
    /// Where the node keeps its files; nobody else writes to `pods` in it.
    pub data_dir: PathBuf,
    pub mode: Mode,
    pub images: Arc<Images>,
    /// Where containers' output goes; the API server reads it from there.
    pub outputs: Outputs,
    /// The Node object's name.
    pub name: String,
    /// Addresses of Services, all of which pods can reach.
    pub services: Range,
    /// Pods that have a place on the node at the same time; the others wait. [`MOST_PODS`] at most.
    pub max_pods: u16,
    /// The domain of the cluster's names, `cluster.local`.
    pub cluster_domain: String,
    /// What pods trust when they call the API, as PEM.
    pub certificate: String,
    /// What every container finds in its environment, below its own: `PATH` at least.
    pub environment: BTreeMap<String, String>,
}

/// What the machine offers.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub cpu_count: u64,
    pub memory_bytes: u64,
}

/// What all pods of a node share.
pub struct Shared {
    pub cluster: Cluster,
    pub settings: Settings,
    pub threads: Threads,
    /// What containers see of the machine; none where they see all of it.
    pub template: Option<Arc<Template>>,
    /// Files that are mounted in containers of several pods.
    pub mounts_folder: PathBuf,
    pub network: Option<Network>,
    pub pods: Arc<Pods>,
    /// How many pods start; told when none does any more.
    pub starts: Arc<watch::Sender<usize>>,
    pub outputs: Outputs,
    pub cgroups: Groups,
    pub meter: Arc<Meter>,
    pub accounts: Accounts,
    /// Of the queues in this process.
    pub certificates: secure::Certificates,
    pub machine: Machine,
    /// The address of the machine as pods see it.
    pub host_ip: String,
    /// Volumes that end with their pods.
    pub pods_folder: PathBuf,
    /// Small files of pods that run, in memory if possible.
    pub running_folder: PathBuf,
    /// The data of persistent volumes.
    pub volumes_folder: PathBuf,
    /// What tells this boot of the machine from others.
    pub boot: String,
    news: mpsc::Sender<News>,
    last_host_address: AtomicU32,
}

/// In whose name an event is told.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Kubelet,
    Scheduler,
}

/// An event that waits to be recorded.
struct News {
    about: k8s::ObjectReference,
    source: Source,
    event: runtime::plan::Event,
    at: Timestamp,
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// What people should know about how this node runs, one sentence each.
    pub notes: Vec<String>,
}

impl Shared {
    /// The date.
    pub fn now(&self) -> Timestamp {
        self.cluster.now()
    }

    /// Records that the pod was given to this node.
    pub fn scheduled(&self, pod: &k8s::Pod, message: String) {
        self.tell(
            pod.object_ref(&()),
            Source::Scheduler,
            runtime::plan::Event { warning: false, reason: "Scheduled", message },
        );
    }

    /// Records an event, a little later.
    pub fn tell(&self, about: k8s::ObjectReference, source: Source, event: runtime::plan::Event) {
        if self.news.try_send(News { about, source, event, at: self.now() }).is_err() {
            tracing::debug!("event dropped: too many wait");
        }
    }

    /// An address that names a pod in host mode; nothing listens there.
    fn next_host_address(&self) -> Ipv4Addr {
        // 127.88.0.0/16, in a circle: an address that is used again has long been forgotten.
        let next = self.last_host_address.fetch_add(1, Ordering::Relaxed) % 65_000 + 2;
        Ipv4Addr::from(u32::from_be_bytes([127, 88, 0, 0]) + next)
    }
}

impl Node {
    /// Ends what an earlier run left behind, announces the node and runs its pods until
    /// [`Node::shutdown`].
    pub async fn start(cluster: Cluster, settings: Settings) -> anyhow::Result<Node> {
        raise_limits();
        let boot = leftovers::boot();
        let pods_folder = settings.data_dir.join("pods");
        fs::create_dir_all(&pods_folder)
            .with_context(|| format!("make the folder {}", pods_folder.display()))?;
        let running = settings.data_dir.join(RUNNING);
        let killed = leftovers::clear(&running, &boot) + leftovers::clear(&pods_folder, &boot);
        if killed > 0 {
            tracing::info!(killed, "ended processes that an earlier run had left behind");
        }
        let running_folder = memory::folder(&running)
            .with_context(|| format!("make the folder {}", running.display()))?;
        let mut notes = Vec::new();
        let network = network(&settings, &mut notes).await?;
        let threads = Threads::new(network.is_some());
        let mounts_folder = settings.data_dir.join("mounts");
        fs::create_dir_all(&mounts_folder)
            .with_context(|| format!("make the folder {}", mounts_folder.display()))?;
        let template = match network {
            None => None,
            Some(_) => Template::make(&threads, &mounts_folder)
                .await
                .inspect_err(|error| {
                    notes.push(format!("containers see all of the machine's files: {error}"));
                })
                .ok(),
        };
        let (cgroups, warning) = Groups::open(&group_name(&settings.data_dir));
        notes.extend(warning);
        for note in &notes {
            tracing::warn!("{note}");
        }
        let machine = machine();
        let recorder = Recorder::start(&cluster, "kubelet");
        let volumes_folder = fs::canonicalize(&settings.data_dir)
            .unwrap_or_else(|_| settings.data_dir.clone())
            .join("volumes");
        let (news, waiting) = mpsc::channel(NEWS);
        let shared = Arc::new(Shared {
            news,
            threads,
            template,
            mounts_folder,
            pods: Arc::new(Pods::new()),
            starts: Arc::default(),
            outputs: settings.outputs.clone(),
            cgroups,
            meter: Meter::new(cluster.clone(), &settings.name),
            accounts: Accounts::open(settings.data_dir.join("accounts"))
                .context("make the folder of service accounts")?,
            certificates: secure::Certificates::default(),
            machine,
            host_ip: network
                .as_ref()
                .map_or_else(|| Ipv4Addr::LOCALHOST.to_string(), |it| it.router.to_string()),
            network,
            pods_folder,
            running_folder,
            volumes_folder: volumes_folder.clone(),
            boot,
            last_host_address: AtomicU32::new(0),
            cluster,
            settings,
        });
        let node = Node {
            shared: shared.clone(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            notes,
        };
        if shared.network.is_some() {
            node.serve_names().context("start the cluster's name server")?;
            node.tasks.spawn(services::serve(shared.clone(), node.stop.clone()));
        }
        announce(&shared).await.context("announce the node")?;
        node.spawn(heartbeat(shared.clone()));
        node.spawn(account::renew(shared.clone()));
        shared.cluster.spawn(storage::serve(
            shared.cluster.clone(),
            shared.settings.name.clone(),
            volumes_folder,
            recorder.named("persistentvolume-controller"),
        ));
        node.spawn(record(recorder, waiting));
        node.tasks.spawn(watch_pods(shared, node.tasks.clone(), node.stop.clone()));
        Ok(node)
    }

    /// Sends requests to the node's pods.
    pub fn upstream(&self) -> Arc<dyn Upstream> {
        self.shared.pods.clone()
    }

    /// Measures what the node and its containers use.
    pub fn meter(&self) -> Arc<Meter> {
        self.shared.meter.clone()
    }

    /// Tells `listener` of each pod's queue when it begins to run (true), long before the API can tell of the pod,
    /// and when it takes no more requests. Of all calls, the first counts.
    pub fn on_queue(&self, listener: impl Fn(&Queued, bool) + Send + Sync + 'static) {
        self.shared.pods.on_queue(listener);
    }

    /// Whether pods have networks of their own.
    pub fn isolated(&self) -> bool {
        self.shared.network.is_some()
    }

    /// The address at which pods reach what [`Node::listen`] listens on; none in host mode.
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.shared.network.as_ref().map(|it| it.router)
    }

    /// Listens on `port` of the router's address, where pods can reach it; none in host mode.
    pub fn listen(&self, port: u16) -> io::Result<Option<TcpListener>> {
        let Some(network) = &self.shared.network else { return Ok(None) };
        network.listen(network.router, port).map(Some)
    }

    /// The address for clients outside the cluster, which pods and the machine reach; none in host mode.
    pub fn outside(&self) -> Option<Ipv4Addr> {
        self.shared.network.as_ref().map(|it| it.outside)
    }

    /// Listens on `port` of [`Node::outside`]; none in host mode.
    pub fn listen_outside(&self, port: u16) -> io::Result<Option<TcpListener>> {
        let Some(network) = &self.shared.network else { return Ok(None) };
        network.listen(network.outside, port).map(Some)
    }

    /// Answers pods' questions for names.
    fn serve_names(&self) -> io::Result<()> {
        let Some(network) = &self.shared.network else { return Ok(()) };
        let udp = network.visit(|| std::net::UdpSocket::bind((network.router, 53)))?;
        udp.set_nonblocking(true)?;
        let udp = UdpSocket::from_std(udp)?;
        let tcp = network.listen(network.router, 53)?;
        let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let settings = dns::Settings {
            domain: self.shared.settings.cluster_domain.clone(),
            gateway: network.router,
            forward_to: dns::name_servers(&machine),
        };
        let (cluster, stop) = (self.shared.cluster.clone(), self.stop.clone());
        self.tasks.spawn(async move { dns::serve(&cluster, settings, udp, tcp, stop).await });
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Ends every pod's processes at once; when it returns, nothing of the node is left on the machine but
    /// its files. The pods stay in the API, and the next start runs them again.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.shared.cgroups.close();
        memory::remove(&self.shared.settings.data_dir.join(RUNNING));
    }
}

async fn network(settings: &Settings, notes: &mut Vec<String>) -> anyhow::Result<Option<Network>> {
    if settings.mode == Mode::Host {
        notes.push(host_mode("asked for"));
        return Ok(None);
    }
    match Network::start(settings.services).await {
        Ok(network) => {
            if let Err(why) = &network.internet {
                notes.push(format!("pods cannot reach the internet: {why}"));
            }
            Ok(Some(network))
        }
        Err(error) if settings.mode == Mode::Auto => {
            let root = rustix::process::geteuid().is_root();
            let why = match root {
                true => format!("networks for pods are not allowed here: {error}"),
                false => "not root".to_owned(),
            };
            notes.push(host_mode(&why));
            Ok(None)
        }
        Err(error) => Err(error).context("give pods networks of their own"),
    }
}

fn host_mode(why: &str) -> String {
    format!(
        "host mode ({why}): pods share this machine's network and file system, each container must listen \
         on the port in PORT, and names of the cluster do not resolve inside pods"
    )
}

/// The name of a platform's control groups: the same for each run with one data directory.
fn group_name(data_dir: &std::path::Path) -> String {
    use sha2::{Digest, Sha256};
    let full = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let sum = Sha256::digest(full.as_os_str().as_encoded_bytes());
    let short: String = sum.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("weft-{short}")
}

fn machine() -> Machine {
    let cpu_count = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let memory_bytes = rustix::system::sysinfo();
    // On 64-bit kernels the unit is one byte.
    let memory_bytes = memory_bytes.totalram as u64 * u64::from(memory_bytes.mem_unit);
    Machine { cpu_count, memory_bytes }
}

/// Lets this process hold as many files as the machine allows it: each pod takes half a dozen.
fn raise_limits() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "raise the limit on open files");
    }
}

/// Writes the Node object as it is now.
async fn announce(node: &Shared) -> Result<(), kube::Error> {
    let api: Api<k8s::Node> = Api::all(node.cluster.client().clone());
    let name = &node.settings.name;
    let labels = BTreeMap::from([
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("node-role.kubernetes.io/control-plane", ""),
    ]);
    let object =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    let object: k8s::Node = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
    }
    let status = node_status(node);
    let patch = Patch::Merge(json!({ "status": status }));
    let found = api.patch_status(name, &PatchParams::default(), &patch).await?;
    // The API keeps pods from new nodes until somebody finds these ready, as it is with the condition above.
    let taints = found.spec.and_then(|it| it.taints).unwrap_or_default();
    let left: Vec<_> = taints.iter().filter(|it| it.key != NOT_READY).collect();
    if left.len() == taints.len() {
        return Ok(());
    }
    let patch = Patch::Merge(json!({ "spec": { "taints": left } }));
    api.patch(name, &PatchParams::default(), &patch).await.map(drop)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn node_status(node: &Shared) -> serde_json::Value {
    let Machine { cpu_count, memory_bytes } = node.machine;
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(node.now());
    let amounts = json!({
        "cpu": cpu_count.to_string(),
        "memory": format!("{}Ki", memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", disk_bytes(&node.settings.data_dir) / 1024),
        "pods": node.settings.max_pods.to_string(),
    });
    let condition = |name: &str, holds: bool, reason: &str, message: &str| {
        json!({
            "type": name, "status": if holds { "True" } else { "False" }, "reason": reason,
            "message": message, "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let system = rustix::system::uname();
    json!({
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        ],
        "addresses": [
            {"type": "InternalIP", "address": node.host_ip},
            {"type": "Hostname", "address": node.settings.name},
        ],
        "nodeInfo": {
            "architecture": architecture(),
            "bootID": node.boot,
            "containerRuntimeVersion": concat!("weft://", env!("CARGO_PKG_VERSION")),
            "kernelVersion": system.release().to_string_lossy(),
            "kubeProxyVersion": "",
            "kubeletVersion": concat!("v1.36.0-weft.", env!("CARGO_PKG_VERSION")),
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "Weft",
            "systemUUID": "",
        },
    })
}

/// The size of the disk that holds a folder; none when it cannot be read.
fn disk_bytes(folder: &std::path::Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |it| it.f_blocks * it.f_frsize)
}

/// Renews the node's signs of life; nothing in the platform reads them, so it does so rarely.
async fn heartbeat(node: Arc<Shared>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if let Err(error) = announce(&node).await {
            tracing::warn!(%error, "renew the node's status");
        }
    }
}

/// Records what happened a moment ago: writing down a start must not take time from the start itself.
async fn record(recorder: Recorder, mut waiting: mpsc::Receiver<News>) {
    let scheduler = recorder.named("default-scheduler");
    while let Some(first) = waiting.recv().await {
        tokio::time::sleep(TELL_LATER).await;
        let mut next = Some(first);
        while let Some(News { about, source, event, at }) = next {
            match source {
                Source::Kubelet => recorder.record_at(&about, &event, at),
                Source::Scheduler => scheduler.record_at(&about, &event, at),
            }
            next = waiting.try_recv().ok();
        }
    }
}

/// Runs a worker for each pod of this node, and for each that has none yet.
async fn watch_pods(node: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    let cache: Cache<k8s::Pod> = node.cluster.cache();
    let mut changes = cache.changes();
    let itself: Cache<k8s::Node> = node.cluster.cache();
    let mut news_of_itself = itself.changes();
    let storage = Storage::of(&node.cluster);
    let mut news_of_storage = storage.claims.changes();
    news_of_storage.also(&storage.volumes);
    news_of_storage.also(&storage.classes);
    tokio::select! {
        () = async { tokio::join!(itself.synced(), storage.synced()); } => {}
        () = stop.cancelled() => return,
    }
    let mut workers: HashMap<Key, Worker> = HashMap::new();
    let mut room = Room::default();
    // Pods that have no room, and why.
    let mut waiting: BTreeMap<Key, String> = BTreeMap::new();
    loop {
        let mut keys = tokio::select! {
            keys = changes.next() => keys,
            // Its labels, taints and resources decide what it has room for.
            _ = news_of_itself.next() => waiting.keys().cloned().collect(),
            // As does what is there of the volumes that pods claim.
            _ = news_of_storage.next() => waiting.keys().cloned().collect(),
            () = stop.cancelled() => return,
        };
        if keys.is_empty() {
            continue;
        }
        let is_over = |pod: &k8s::Pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let gone = keys.iter().filter(|key| cache.at(key).is_none_or(|pod| is_over(&pod)));
        if gone.filter(|key| room.leave(key)).count() > 0 {
            let others = waiting.keys().filter(|key| !keys.contains(key)).cloned();
            keys.extend(others.collect::<Vec<_>>());
        }
        for key in in_line(keys, &cache) {
            let pod = cache.at(&key);
            let uid = pod.as_ref().and_then(|it| it.metadata.uid.clone());
            if let Some(worker) = workers.get(&key) {
                if worker.uid == uid {
                    // A worker that has ended wants no news.
                    let _ = worker.news.send(pod);
                    continue;
                }
                let _ = worker.news.send(None);
                workers.remove(&key);
                room.leave(&key);
            }
            let Some(pod) = pod else {
                waiting.remove(&key);
                continue;
            };
            let Some(bind) = ours(&pod, &node.settings.name) else { continue };
            let is_ours = |container: &k8s::Container| worker::has_queue(&node, container);
            let this = itself.get("", &node.settings.name).filter(|_| bind);
            let refusal = this.and_then(|this| match storage.verdict(&pod, &this, &room) {
                Verdict::Refused(why) => Some((why, Vec::new())),
                // It is told only when it stays so.
                Verdict::Coming(claims) => Some((String::new(), claims)),
                Verdict::Ready => room.refusal(&pod, &this, &is_ours).map(|why| (why, Vec::new())),
            });
            if let Some((why, claims)) = refusal {
                for claim in claims {
                    tasks.spawn(select_node(node.clone(), key.namespace.clone(), claim));
                }
                let is_news = waiting.insert(key, why.clone()).is_none_or(|before| before != why);
                if !why.is_empty()
                    && let Some(telling) = unschedulable(&node, &pod, why, is_news)
                {
                    tasks.spawn(telling);
                }
                continue;
            }
            waiting.remove(&key);
            if !is_over(&pod) {
                room.enter(key.clone(), pod.clone(), &is_ours);
            }
            let (news, receiver) = watch::channel(Some(pod.clone()));
            workers.insert(key, Worker { uid, news });
            tasks.spawn(worker::run(node.clone(), pod, receiver, bind, stop.clone()));
        }
    }
}

/// What is there of the volumes that pods claim.
struct Storage {
    claims: Cache<k8s::PersistentVolumeClaim>,
    volumes: Cache<k8s::PersistentVolume>,
    classes: Cache<StorageClass>,
}

impl Storage {
    fn of(cluster: &Cluster) -> Storage {
        Storage { claims: cluster.cache(), volumes: cluster.cache(), classes: cluster.cache() }
    }

    async fn synced(&self) {
        tokio::join!(self.claims.synced(), self.volumes.synced(), self.classes.synced());
    }

    fn verdict(&self, pod: &k8s::Pod, node: &k8s::Node, room: &Room) -> Verdict {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let around = Around {
            claim: &|name| self.claims.get(namespace, name),
            volume: &|name| self.volumes.get("", name),
            class: &|name| self.classes.get("", name),
            is_taken: &|name| room.has_claim(namespace, name),
        };
        claims::verdict(pod, node, &around)
    }
}

/// Tells a claim that waits for its first pod that the pod will be on this node.
async fn select_node(node: Arc<Shared>, namespace: Arc<str>, claim: String) {
    let api: Api<k8s::PersistentVolumeClaim> =
        Api::namespaced(node.cluster.client().clone(), &namespace);
    let annotations = json!({storage::plan::SELECTED_NODE: node.settings.name});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    match api.patch(&claim, &PatchParams::default(), &patch).await {
        Ok(claim) => node.cluster.wrote(claim),
        Err(error) => tracing::warn!(claim, %error, "tell a claim of its first pod"),
    }
}

/// The pods that go first in front: by priority, then by age.
fn in_line(keys: BTreeSet<Key>, cache: &Cache<k8s::Pod>) -> Vec<Key> {
    let mut keys: Vec<Key> = keys.into_iter().collect();
    if keys.len() < 2 {
        return keys;
    }
    let place = |key: &Key| {
        let pod = cache.at(key);
        let pod = pod.as_ref();
        let priority = pod.and_then(|it| it.spec.as_ref()?.priority).unwrap_or_default();
        let created = pod.and_then(|it| it.metadata.creation_timestamp.clone());
        (std::cmp::Reverse(priority), created.map(|it| it.0))
    };
    keys.sort_by_cached_key(place);
    keys
}

/// Tells that a pod waits for room, unless its status says so. The status is written only as long as the pod is as it
/// was seen; who changes it brings it here again.
fn unschedulable(
    node: &Arc<Shared>,
    pod: &Arc<k8s::Pod>,
    why: String,
    is_news: bool,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    if is_news {
        let event = runtime::plan::Event {
            warning: true,
            reason: "FailedScheduling",
            message: why.clone(),
        };
        node.tell(pod.object_ref(&()), Source::Scheduler, event);
    }
    let conditions = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
    let mut told = conditions.filter(|it| it.type_ == "PodScheduled");
    if told.any(|it| it.message.as_ref() == Some(&why)) {
        return None;
    }
    let (node, pod) = (node.clone(), pod.clone());
    Some(async move {
        let key = Key::of(&*pod);
        let api: Api<k8s::Pod> = Api::namespaced(node.cluster.client().clone(), &key.namespace);
        let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(node.now());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastProbeTime": null, "lastTransitionTime": at,
        });
        let patch = Patch::Strategic(json!({
            "metadata": {"resourceVersion": pod.metadata.resource_version},
            "status": {"conditions": [condition]},
        }));
        let parameters = PatchParams {
            field_manager: Some("kube-scheduler".to_owned()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch_status(&key.name, &parameters, &patch).await {
            tracing::debug!(pod = %key, %error, "tell that a pod waits for room");
        }
    })
}

struct Worker {
    uid: Option<String>,
    news: watch::Sender<Option<Arc<k8s::Pod>>>,
}

/// Whether the pod is this node's: none if not, true when it has to be bound first.
fn ours(pod: &k8s::Pod, name: &str) -> Option<bool> {
    let spec = pod.spec.as_ref()?;
    match spec.node_name.as_deref().unwrap_or_default() {
        "" => {
            let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
            let gated = spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty());
            let doomed = pod.metadata.deletion_timestamp.is_some();
            (scheduler == "default-scheduler" && !gated && !doomed).then_some(true)
        }
        node => (node == name).then_some(false),
    }
}

#[cfg(test)]
mod tests;
