//! One run of one container: from its image and environment to its process's end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{self as k8s, ExecAction, LifecycleHandler};
use kube::{Api, api::Resource};
use proxy::{
    hop::Boxed,
    queue::{Queue, request_log::Lines},
    tls::Shown,
};
use runtime::cluster::cache::Cache;
use rustix::process::Signal;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::node::{
    Shared, Source,
    environment::{self, Facts, Sources},
    identity::{self, Identity},
    leftovers,
    machine::{Ended, Event},
    output::{Output, Place},
    probe::{self, Heard, QueueWatch, Target, Watch},
    process::{Exit, Launch, Process},
    reach::{Queued, Reach},
    root::Root,
    secure,
    volumes::{self, PodVolumes},
};

/// What a container is stopped by: a moment after which it is killed, which may still come nearer.
pub type Stop = watch::Receiver<Option<Instant>>;

/// Lines that a queue tells besides its requests and that wait to be written: it says one when its certificate changes.
const NEWS: usize = 8;
/// How long after a container the queue may be told that the pod goes. Source: knative/serving
/// `pkg/queue/sharedmain/handlers.go`.
const TOLD_TOGETHER: Duration = Duration::from_secs(1);
/// Bytes of a termination message that a container wrote, as kubelet has it.
const LONGEST_MESSAGE: usize = 4096;
/// Bytes of the messages of all containers of a pod, as kubelet has it.
const LONGEST_MESSAGES: usize = 12 << 10;
/// Bytes of a termination message that comes from the log, as kubelet has it.
const LONGEST_FROM_LOG: usize = 2048;
/// Wait for output after the process ended: what it started itself may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// Output of a probe's command that is kept for its message.
const PROBE_OUTPUT: usize = 10 << 10;

/// The pod that a run belongs to.
pub struct PodContext {
    pub node: Arc<Shared>,
    pub pod: Arc<k8s::Pod>,
    pub reach: Arc<Reach>,
    /// The pod's small files: its names, messages, and what finds its processes after a crash.
    pub folder: PathBuf,
    /// Its volumes that end with it, made when the first is asked for.
    pub volumes_folder: PathBuf,
    /// Cancelled when the queue begins to finish its requests; there without a queue too, and unused.
    pub draining: CancellationToken,
    /// Cancelled when the queue has finished its last request.
    pub drained: CancellationToken,
    pub has_queue: bool,
    /// Whether requests come as soon as the queue says that the pod is ready, whatever its status says.
    pub is_asked: bool,
    pub volumes: PodVolumes,
}

/// One run.
pub struct Run {
    pub context: Arc<PodContext>,
    pub container: Arc<k8s::Container>,
    pub index: usize,
    pub attempt: u32,
    pub events: mpsc::Sender<Event>,
    pub stop: Stop,
}

/// Why a container does not run.
enum Failure {
    /// A later try may do better.
    Blocked { reason: &'static str, message: String, back_off: bool },
    /// The process could not be started: counts as a run that failed.
    NotStarted(String),
}

impl PodContext {
    /// Records an event about the pod or one of its containers.
    pub fn event(
        &self,
        container: Option<&str>,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let mut about = self.pod.object_ref(&());
        about.field_path = container.map(|name| {
            let spec = self.pod.spec.as_ref();
            let mut main = spec.iter().flat_map(|it| &it.containers);
            let list = if main.any(|it| it.name == name) { "containers" } else { "initContainers" };
            format!("spec.{list}{{{name}}}")
        });
        let event = runtime::plan::Event { warning, reason, message };
        self.node.tell(about, Source::Kubelet, event);
    }

    fn meta(
        &self,
        field: fn(&k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> &Option<String>,
    ) -> &str {
        field(&self.pod.metadata).as_deref().unwrap_or_default()
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        self.meta(|it| &it.namespace)
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        self.meta(|it| &it.name)
    }

    /// The pod's UID.
    pub fn uid(&self) -> &str {
        self.meta(|it| &it.uid)
    }

    /// Calls `with` with what the downward API knows.
    pub fn with_facts<T>(&self, with: impl FnOnce(&Facts) -> T) -> T {
        let address = self.reach.door.address.to_string();
        with(&Facts {
            pod: &self.pod,
            pod_ip: &address,
            host_ip: &self.node.host_ip,
            node: &self.node.settings.name,
            cpu_count: self.node.machine.cpu_count,
            memory_bytes: self.node.machine.memory_bytes,
        })
    }
}

impl Run {
    /// Runs the container to its end and reports what happens.
    pub async fn go(self) {
        if self.context.has_queue
            && self.container.name == api::queue::CONTAINER
            && let Some(settings) = self.queue_settings().await
        {
            return self.queue(settings).await;
        }
        match self.prepare().await {
            Ok((process, pipe, output)) => self.attend(process, pipe, output).await,
            Err(Failure::Blocked { reason, message, back_off }) => {
                let name = &self.container.name;
                self.context.event(Some(name), true, "Failed", format!("Error: {message}"));
                self.tell(Event::Blocked {
                    index: self.index,
                    reason: reason.to_owned(),
                    message,
                    back_off,
                })
                .await;
            }
            Err(Failure::NotStarted(message)) => {
                let name = &self.container.name;
                self.context.event(Some(name), true, "Failed", format!("Error: {message}"));
                let ended = Ended {
                    code: 128,
                    signal: None,
                    reason: "StartError".to_owned(),
                    message: Some(message),
                    started: None,
                    finished: self.context.node.now(),
                    attempt: self.attempt,
                };
                self.tell(Event::Ended { index: self.index, ended }).await;
            }
        }
    }

    async fn tell(&self, event: Event) {
        // The worker may be gone; then nobody wants to know.
        let _ = self.events.send(event).await;
    }

    /// The settings in the environment of a container that is Weft's own queue; none for another program
    /// of that name.
    async fn queue_settings(&self) -> Option<api::queue::Settings> {
        let variables = self.variables(BTreeMap::new()).await.ok()?;
        let mut settings: api::queue::Settings =
            serde_json::from_str(variables.get(api::queue::ENV)?).ok()?;
        settings.pod = self.context.name().to_owned();
        settings.pod_ip = self.context.reach.door.address.to_string();
        Some(settings)
    }

    /// Runs the pod's queue in this process until it is stopped and has finished its requests.
    async fn queue(mut self, settings: api::queue::Settings) {
        let context = self.context.clone();
        let mut lines = None;
        let queue = context.reach.queue.get_or_init(|| {
            let (queue, log) = Queue::logging(settings, context.reach.door.clone());
            lines = log;
            queue
        });
        let queue = queue.clone();
        let (end_of_log, ends) = oneshot::channel();
        let (told, news) = mpsc::channel(NEWS);
        if secure::is_wanted(&self.container) {
            let shown = context.reach.shown.get_or_init(Shown::default).clone();
            let context = context.clone();
            tokio::spawn(async move {
                let (node, namespace) = (&context.node, context.namespace());
                node.certificates.follow(&node.cluster, namespace, &shown, told).await;
            });
        }
        let is_told = lines.is_some() || secure::is_wanted(&self.container);
        let logging = is_told.then(|| self.write_log(lines, news, ends));
        if let Err(error) = context.reach.open_metrics() {
            // Requests are more than what is told of them.
            tracing::warn!(pod = context.name(), %error, "listen for Prometheus");
        }
        context.node.pods.add(context.reach.clone());
        let told = Queued {
            settings: queue.settings(),
            address: context.reach.door.address,
            pod_uid: context.uid(),
        };
        // What a container says of itself is believed where the pod's own labels, by which Services choose it, say it too.
        let labels = context.pod.metadata.labels.as_ref();
        let revision = labels.and_then(|it| it.get(api::keys::serving::REVISION));
        let is_told = told.settings.namespace == context.namespace()
            && revision == Some(&told.settings.revision);
        let tell = |runs| is_told.then(|| context.node.pods.tell(&told, runs));
        tell(true);
        let started = context.node.now();
        self.tell(Event::Started { index: self.index }).await;
        let mut watch = QueueWatch::new(queue.clone(), self.container.readiness_probe.clone());
        let index = self.index;
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                ready = watch.next() => {
                    tracing::debug!(pod = context.name(), ready, "queue");
                    self.tell(Event::Readiness { index, ready }).await;
                }
                () = stopped(&mut stop) => break,
            }
        }
        tell(false);
        context.draining.cancel();
        let drained = async {
            queue.drain().await;
            // From here on requests go to other pods; the few that came in between are finished.
            context.node.pods.remove(&context.reach);
            queue.drain().await;
        };
        tokio::select! {
            () = drained => {}
            () = deadline(&mut self.stop) => {}
        }
        context.node.pods.remove(&context.reach);
        drop(end_of_log);
        if let Some(logging) = logging {
            // Files do not wait. A task that panicked has said so.
            let _ = logging.await;
        }
        context.drained.cancel();
        let ended = Ended {
            code: 0,
            signal: None,
            reason: "Completed".to_owned(),
            message: None,
            started: Some(started),
            finished: context.node.now(),
            attempt: self.attempt,
        };
        self.tell(Event::Ended { index: self.index, ended }).await;
    }

    /// Writes the queue's request log and what else there is to tell as the output of its container, until `ends` is
    /// dropped.
    fn write_log(
        &self,
        mut lines: Option<Lines>,
        mut news: mpsc::Receiver<String>,
        mut ends: oneshot::Receiver<()>,
    ) -> JoinHandle<()> {
        let labels = self.context.pod.metadata.labels.as_ref();
        let mut output = self.context.node.outputs.begin(&self.place(), labels, self.attempt);
        tokio::spawn(async move {
            loop {
                let next = async {
                    match &mut lines {
                        Some(lines) => lines.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    text = next => match text {
                        Some(text) => output.write(text.as_bytes()),
                        None => return,
                    },
                    Some(text) = news.recv() => output.write(text.as_bytes()),
                    _ = &mut ends => break,
                }
            }
            let Some(mut lines) = lines else { return };
            lines.close();
            while let Some(text) = lines.next().await {
                output.write(text.as_bytes());
            }
        })
    }

    /// Everything up to the running process.
    async fn prepare(&self) -> Result<(Process, std::os::fd::OwnedFd, Output), Failure> {
        let node = &self.context.node;
        let name = self.container.image.as_deref().unwrap_or_default();
        let Some(image) = node.settings.images.resolve(name) else {
            let reason = match self.container.image_pull_policy.as_deref() {
                Some("Never") => "ErrImageNeverPull",
                _ if self.attempt == 0 && self.context.pod.status.is_none() => "ErrImagePull",
                _ => "ImagePullBackOff",
            };
            let message = node.settings.images.unknown(name);
            return Err(Failure::Blocked { reason, message, back_off: true });
        };
        self.context.event(
            Some(&self.container.name),
            false,
            "Pulled",
            format!("Container image \"{name}\" already present on machine"),
        );
        let mut variables = self.default_variables(&image.env).await;
        let blocked = |reason| move |message| Failure::Blocked { reason, message, back_off: false };
        variables =
            self.variables(variables).await.map_err(blocked("CreateContainerConfigError"))?;
        self.give_port(&mut variables).map_err(|error| Failure::NotStarted(error.to_string()))?;

        let own = (image.path.to_string_lossy().into_owned(), image.args.as_slice());
        let (program, args) = environment::command_line(&self.container, own, &variables);
        let not_started = |error: io::Error| {
            Failure::NotStarted(format!("failed to start \"{program}\": {error}"))
        };
        let identity = identity::wanted(&self.context.pod, &self.container)
            .map_err(blocked("CreateContainerConfigError"))?;
        volumes::begin_message(&self.context, &self.container);
        let root = volumes::root(&self.context, &self.container, &image, identity.user, &variables)
            .await
            .map_err(|(reason, message)| blocked(reason)(message))?;
        let (pipe, writer) = io::pipe().map_err(not_started)?;
        let labels = self.context.pod.metadata.labels.as_ref();
        let output = node.outputs.begin(&self.place(), labels, self.attempt);
        let launch = self.launch((program.clone(), args), variables, (root, identity), writer);
        let name = &self.container.name;
        tracing::debug!(pod = self.context.name(), container = name, "start the process");
        let process = launch.start(&node.threads).await.map_err(not_started)?;
        tracing::debug!(pod = self.context.name(), container = name, "started");
        leftovers::note(&self.context.folder, name, process.pid(), &node.boot);
        self.context.event(Some(name), false, "Created", format!("Created container: {name}"));
        self.context.event(Some(name), false, "Started", format!("Started container {name}"));
        Ok((process, pipe.into(), output))
    }

    /// A start of a program in the container, with the given root and as the given user.
    fn launch(
        &self,
        (program, args): (String, Vec<String>),
        variables: BTreeMap<String, String>,
        (root, identity): (Option<Arc<Root>>, Identity),
        output: io::PipeWriter,
    ) -> Launch {
        let directory = self.container.working_dir.as_deref().unwrap_or("/");
        Launch {
            program: program.into(),
            args: args.into_iter().map(OsString::from).collect(),
            env: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            directory: Path::new("/").join(directory),
            output: output.into(),
            network: self.network(),
            // On the machine's own files a process is who runs the platform, whom they belong to.
            identity: root.is_some().then_some(identity),
            root,
        }
    }

    fn network(&self) -> Option<(Arc<crate::node::network::PodNetwork>, String)> {
        let network = self.context.reach.door.network.clone()?;
        let spec = self.context.pod.spec.as_ref();
        let hostname = spec.and_then(|it| it.hostname.clone());
        let mut hostname = hostname.unwrap_or_else(|| self.context.name().to_owned());
        hostname.truncate(63);
        Some((network, hostname))
    }

    fn place(&self) -> Place {
        Place {
            namespace: self.context.namespace().to_owned(),
            pod: self.context.name().to_owned(),
            uid: self.context.uid().to_owned(),
            container: self.container.name.clone(),
        }
    }

    /// What every container finds in its environment.
    async fn default_variables(
        &self,
        image: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut variables = self.context.node.settings.environment.clone();
        variables.insert("HOSTNAME".to_owned(), self.context.name().to_owned());
        if self.context.node.template.is_some() {
            // As container engines have it for users who are not in the image's list.
            variables.insert("HOME".to_owned(), "/".to_owned());
        }
        variables.extend(image.iter().map(|(name, value)| (name.clone(), value.clone())));
        variables.extend(self.service_variables().await);
        variables
    }

    /// Where the Services of the pod's namespace are, if it wants to know, and in any case where the API is.
    async fn service_variables(&self) -> BTreeMap<String, String> {
        const API: (&str, &str) = ("default", "kubernetes");
        let context = &self.context;
        if context.node.network.is_none() {
            // Nobody answers at the addresses of Services on the machine's own network.
            return BTreeMap::new();
        }
        let services: Cache<k8s::Service> = context.node.cluster.cache();
        services.synced().await;
        let spec = context.pod.spec.as_ref();
        let mut told: Vec<_> = services.get(API.0, API.1).into_iter().collect();
        if spec.and_then(|it| it.enable_service_links) != Some(false) {
            // One of the namespace that is called as the API's counts more.
            told.extend(services.list(context.namespace()));
        }
        environment::services(told.iter().map(|it| &**it))
    }

    async fn variables(
        &self,
        defaults: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        let needs = environment::needs(&self.container);
        let mut sources = Sources::default();
        let client = self.context.node.cluster.client();
        let namespace = self.context.namespace();
        for name in needs.config_maps {
            let api: Api<k8s::ConfigMap> = Api::namespaced(client.clone(), namespace);
            if let Some(found) = api.get_opt(&name).await.map_err(|error| error.to_string())? {
                sources.config_maps.insert(name, found.data.unwrap_or_default());
            }
        }
        for name in needs.secrets {
            let api: Api<k8s::Secret> = Api::namespaced(client.clone(), namespace);
            if let Some(found) = api.get_opt(&name).await.map_err(|error| error.to_string())? {
                let data = found.data.unwrap_or_default().into_iter();
                let data =
                    data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()));
                sources.secrets.insert(name, data.collect());
            }
        }
        self.context
            .with_facts(|facts| environment::variables(&self.container, &sources, facts, defaults))
    }

    /// In host mode, tells the container a port that no other pod has.
    fn give_port(&self, variables: &mut BTreeMap<String, String>) -> io::Result<()> {
        if self.context.reach.door.network.is_some() {
            return Ok(());
        }
        let named = variables.get("PORT").and_then(|it| it.parse().ok());
        let declared = self.container.ports.iter().flatten().map(|it| it.container_port);
        let declared = declared.filter_map(|it| u16::try_from(it).ok()).next();
        if let Some(port) = named.or(declared) {
            let given = self.context.reach.door.give_port(port)?;
            variables.insert("PORT".to_owned(), given.to_string());
        }
        Ok(())
    }

    /// Looks after a running process: its output, its probes, its end.
    async fn attend(mut self, process: Process, pipe: std::os::fd::OwnedFd, mut output: Output) {
        let context = self.context.clone();
        let process = Arc::new(process);
        let started = context.node.now();
        context.node.cgroups.add(&context, &self.container, process.pid());
        let _watch = context.node.meter.watch(
            [context.namespace(), context.name(), &self.container.name],
            process.pid(),
            context.node.cgroups.counters(&context, &self.container),
        );
        self.tell(Event::Started { index: self.index }).await;
        let mut tasks = JoinSet::new();
        self.probe(&mut tasks);
        if let Some(hook) = self.container.lifecycle.as_ref().and_then(|it| it.post_start.clone()) {
            let (target, events, index) = (self.target(), self.events.clone(), self.index);
            tasks.spawn(async move {
                if let Err(why) = perform(&target, &hook).await {
                    tracing::info!(why, "a postStart hook failed");
                    let _ = events.send(Event::Unhealthy { index }).await;
                }
            });
        }
        let exit = {
            let copied = output.copy(pipe);
            let mut copied = std::pin::pin!(copied);
            let ending = self.end(&process);
            let mut ending = std::pin::pin!(ending);
            let (exit, all_copied) = tokio::select! {
                exit = &mut ending => (exit, false),
                // Closed its output, or cannot be read: it runs on all the same.
                _ = &mut copied => (ending.await, true),
            };
            drop(tasks);
            if !all_copied {
                let _ = tokio::time::timeout(LAST_OUTPUT, copied).await;
            }
            exit
        };
        let (code, signal) = match exit {
            Exit::Code(code) => (code, None),
            // As container runtimes report it: the code tells the signal.
            Exit::Signal(_) => (exit.code(), None),
        };
        let oom = context.node.cgroups.ran_out_of_memory(&context, &self.container);
        let reason = match code {
            0 => "Completed",
            _ if oom => "OOMKilled",
            _ => "Error",
        };
        let message = self.message(code, &mut output);
        drop(output);
        leftovers::forget(&context.folder, &self.container.name);
        let ended = Ended {
            code,
            signal,
            reason: reason.to_owned(),
            message,
            started: Some(started),
            finished: context.node.now(),
            attempt: self.attempt,
        };
        self.tell(Event::Ended { index: self.index, ended }).await;
    }

    /// What the container said at its end: in its file, or by its last lines.
    fn message(&self, code: i32, output: &mut Output) -> Option<String> {
        let spec = self.context.pod.spec.as_ref();
        let containers = spec
            .map_or(1, |it| it.containers.len() + it.init_containers.as_ref().map_or(0, Vec::len));
        let limit = LONGEST_MESSAGE.min(LONGEST_MESSAGES / containers.max(1));
        let policy = self.container.termination_message_policy.as_deref();
        let told = match volumes::message(&self.context, &self.container, limit) {
            Some(told) => Some(told),
            None if policy == Some("FallbackToLogsOnError") && code != 0 => {
                Some(output.tail(LONGEST_FROM_LOG.min(limit)))
            }
            None => None,
        };
        told.filter(|it| !it.is_empty())
    }

    /// Waits for the process to end: by itself, or because it is told to.
    async fn end(&mut self, process: &Arc<Process>) -> Exit {
        let unknown = |error: io::Error| {
            tracing::error!(%error, container = self.container.name, "wait for a process");
            Exit::Code(255)
        };
        let mut stop = self.stop.clone();
        tokio::select! {
            exit = process.wait() => return exit.unwrap_or_else(unknown),
            () = stopped(&mut stop) => {}
        }
        let polite = async {
            self.before_stop().await;
            process.signal(Signal::TERM);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = process.wait() => return exit.unwrap_or_else(unknown),
            () = polite => {}
            () = deadline(&mut stop) => {}
        }
        process.kill_group();
        process.signal(Signal::KILL);
        process.wait().await.unwrap_or_else(unknown)
    }

    /// What comes before SIGTERM: the queue's last request, then the container's own hook.
    async fn before_stop(&self) {
        if self.context.has_queue && self.context.reach.queue.get().is_some() {
            // The queue of a pod that goes is told at the same time; a container that only starts again stops alone.
            let draining = self.context.draining.cancelled();
            if tokio::time::timeout(TOLD_TOGETHER, draining).await.is_ok() {
                self.context.drained.cancelled().await;
            }
        }
        let hook = self.container.lifecycle.as_ref().and_then(|it| it.pre_stop.as_ref());
        let Some(hook) = hook else { return };
        // The queue's own hook has been waited for above.
        let waits_for_queue = self.context.has_queue
            && hook
                .http_get
                .as_ref()
                .is_some_and(|it| it.path.as_deref() == Some("/wait-for-drain"));
        if !waits_for_queue && let Err(why) = perform(&self.target(), hook).await {
            let name = &self.container.name;
            self.context.event(
                Some(name),
                true,
                "FailedPreStopHook",
                format!("PreStopHook failed: {why}"),
            );
        }
    }

    fn target(&self) -> Target {
        let (context, container) = (self.context.clone(), self.container.clone());
        let execute: probe::Execute =
            Arc::new(move |action| execute(context.clone(), container.clone(), action));
        Target { door: self.context.reach.door.clone(), execute, container: self.container.clone() }
    }

    /// Starts the container's probes; they end when the set is dropped.
    fn probe(&self, tasks: &mut JoinSet<()>) {
        let (passed, started) = watch::channel(self.container.startup_probe.is_none());
        let index = self.index;
        if let Some(probe) = self.container.startup_probe.clone() {
            let hears = Prober::new(self, "Startup", "startup");
            let mut watch = Watch::new(self.target(), probe);
            tasks.spawn(async move {
                loop {
                    match watch.next().await {
                        Heard::Failed(why) => hears.failed(&why),
                        Heard::Settled(false) => hears.unhealthy().await,
                        Heard::Settled(true) => {
                            hears.tell(Event::StartupPassed { index }).await;
                            passed.send_replace(true);
                            // Passed once is passed for this run.
                            return;
                        }
                    }
                }
            });
        }
        if let Some(probe) = self.container.readiness_probe.clone() {
            let hears = Prober::new(self, "Readiness", "readiness");
            let (target, mut started) = (self.target(), started.clone());
            tasks.spawn(async move {
                if started.wait_for(|it| *it).await.is_err() {
                    return;
                }
                let mut watch = Watch::new(target, probe);
                loop {
                    match watch.next().await {
                        Heard::Failed(why) => hears.failed(&why),
                        Heard::Settled(ready) => {
                            hears.tell(Event::Readiness { index, ready }).await
                        }
                    }
                }
            });
        }
        if let Some(probe) = self.container.liveness_probe.clone() {
            let hears = Prober::new(self, "Liveness", "liveness");
            let (target, mut started) = (self.target(), started);
            tasks.spawn(async move {
                if started.wait_for(|it| *it).await.is_err() {
                    return;
                }
                let mut watch = Watch::new(target, probe);
                loop {
                    match watch.next().await {
                        Heard::Failed(why) => hears.failed(&why),
                        Heard::Settled(false) => hears.unhealthy().await,
                        Heard::Settled(true) => {}
                    }
                }
            });
        }
    }
}

/// Tells what a probe hears.
struct Prober {
    context: Arc<PodContext>,
    container: String,
    index: usize,
    events: mpsc::Sender<Event>,
    /// The probe's kind at the beginning of a sentence, and within one.
    kind: (&'static str, &'static str),
}

impl Prober {
    fn new(run: &Run, first: &'static str, within: &'static str) -> Self {
        Self {
            context: run.context.clone(),
            container: run.container.name.clone(),
            index: run.index,
            events: run.events.clone(),
            kind: (first, within),
        }
    }

    async fn tell(&self, event: Event) {
        // The worker may be gone; then nobody wants to know.
        let _ = self.events.send(event).await;
    }

    fn failed(&self, why: &str) {
        let message = format!("{} probe failed: {why}", self.kind.0);
        self.context.event(Some(&self.container), true, "Unhealthy", message);
    }

    async fn unhealthy(&self) {
        let (container, kind) = (&self.container, self.kind.1);
        let message = format!("Container {container} failed {kind} probe, will be restarted");
        self.context.event(Some(container), false, "Killing", message);
        self.tell(Event::Unhealthy { index: self.index }).await;
    }
}

/// Waits until a stop is asked for; for ever when nobody can ask any more.
async fn stopped(stop: &mut Stop) {
    if stop.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the moment of the kill, which may be brought forward meanwhile.
async fn deadline(stop: &mut Stop) {
    loop {
        let at = *stop.borrow_and_update();
        let wait = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => return,
            changed = stop.changed() => if changed.is_err() {
                // The worker is gone: nobody will move the deadline.
                if let Some(at) = at { tokio::time::sleep_until(at).await }
                return;
            },
        }
    }
}

/// Performs a lifecycle hook.
async fn perform(target: &Target, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        return (target.execute)(exec.clone()).await;
    }
    if let Some(http) = &hook.http_get {
        let port = probe::port_number(&target.container, &http.port)?;
        let headers = http.http_headers.iter().flatten();
        let headers = headers.map(|it| (it.name.as_str(), it.value.as_str()));
        return probe::get(&target.door, port, http.path.as_deref().unwrap_or("/"), headers).await;
    }
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    Ok(())
}

/// Runs a command beside the container's process, in the same network and files.
fn execute(
    context: Arc<PodContext>,
    container: Arc<k8s::Container>,
    action: ExecAction,
) -> Boxed<Result<(), String>> {
    Box::pin(async move {
        let command = action.command.unwrap_or_default();
        let [program, args @ ..] = command.as_slice() else {
            return Err("no command".to_owned());
        };
        let (_stop, stop) = watch::channel(None);
        let (events, _) = mpsc::channel(1);
        let run = Run {
            context: context.clone(),
            container: container.clone(),
            index: 0,
            attempt: 0,
            events,
            stop,
        };
        let mut variables = run.variables(run.default_variables(&BTreeMap::new()).await).await?;
        run.give_port(&mut variables).map_err(|error| error.to_string())?;
        let told = |error: io::Error| format!("exec {program}: {error}");
        let (pipe, writer) = io::pipe().map_err(told)?;
        let place = (
            volumes::present_root(&context, &container),
            identity::wanted(&context.pod, &container)?,
        );
        let launch = run.launch((program.clone(), args.to_vec()), variables, place, writer);
        let process = launch.start(&context.node.threads).await.map_err(told)?;
        // A probe that times out is dropped here: its process must not stay.
        let process = Killed(Some(process));
        let mut text = Vec::new();
        let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe.into()).map_err(told)?;
        let mut pipe = tokio::io::AsyncReadExt::take(pipe, PROBE_OUTPUT as u64);
        let (_, exit) = tokio::join!(
            tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut text),
            process.wait()
        );
        match exit.map_err(told)?.code() {
            0 => Ok(()),
            _ => Err(String::from_utf8_lossy(&text).into_owned()),
        }
    })
}

/// A process that is killed when nobody waits for it any more.
struct Killed(Option<Process>);

impl Killed {
    async fn wait(mut self) -> io::Result<Exit> {
        let exit = match &self.0 {
            Some(process) => process.wait().await,
            None => Ok(Exit::Code(255)),
        };
        self.0 = None;
        exit
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.kill_group();
            // Ends at once: the process is dead, and only its entry is left to remove.
            tokio::spawn(async move { process.wait().await });
        }
    }
}
