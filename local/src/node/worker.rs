//! The life of one pod on this node: reports what happens to its machine, performs what that decides, and
//! keeps the pod's status current.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use proxy::hop::Boxed;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::node::{
    Shared, Source,
    machine::{Action, Container, Event, Machine, Phase, State},
    reach::Reach,
    run::{PodContext, Run},
    status::{self, Facts},
    volumes::{self, PodVolumes},
};

/// Events of one pod that wait for its worker: more than its containers can cause at once; who sends then
/// waits.
const EVENTS: usize = 64;
/// How long the first status of a pod waits at most for its containers to become ready, and for those of other pods
/// that start at the same time. Most are ready at once and need no status that tells that they are not; and whatever
/// is written while pods start takes the time of somebody who waits for one.
const FIRST_STATUS: Duration = Duration::from_secs(2);
/// How long the first status waits for whoever waited for the pod: the answer to a held request passes first.
const ANSWER_FIRST: Duration = Duration::from_millis(20);
/// Wait before a write that the API refused or lost is tried again.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
/// Wait before a pod's network and folder are tried again: the disk may be full, or every address in use.
const SANDBOX_AGAIN: Duration = Duration::from_secs(5);
/// Between looks for an image that is not known, at one file's date: someone may be waiting who has just
/// added it.
const LOOK_FOR_IMAGE: Duration = Duration::from_secs(1);
/// Tries to remove a pod that has ended, over ten minutes; after that the next start of the node does it.
const REMOVALS: u32 = 1200;
/// Grace of a pod that names none, as the API's default.
const GRACE_S: i64 = 30;

/// What the node tells a worker: the pod as it is now, or that it is gone.
pub type News = watch::Receiver<Option<Arc<k8s::Pod>>>;

/// Runs the pod to its end. `bind` tells that the pod has no node yet.
pub async fn run(
    node: Arc<Shared>,
    pod: Arc<k8s::Pod>,
    mut news: News,
    bind: bool,
    stop: CancellationToken,
) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let ending = pod.metadata.deletion_timestamp.is_some();
    let over = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    if matches!(over, Some("Succeeded" | "Failed")) && !ending {
        // Nothing to do until it is deleted.
        let deleted = news
            .wait_for(|it| it.as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
        let deleted = deleted.await.map(|it| it.clone());
        if let Ok(Some(pod)) = deleted {
            finish(&node, &pod).await;
        }
        return;
    }
    if ending {
        // Its processes ended with the node that ran them.
        finish(&node, &pod).await;
        return;
    }
    tracing::debug!(pod = pod.metadata.name, "make the sandbox");
    let folder = node.running_folder.join(&uid);
    let reach = loop {
        let made = match fs::create_dir_all(&folder) {
            Ok(()) => node.new_reach().await,
            Err(error) => Err(error),
        };
        match made {
            Ok(reach) => break Arc::new(reach),
            Err(error) => {
                let message =
                    format!("Failed to create pod sandbox: {}: {error}", folder.display());
                tracing::error!(pod = pod.metadata.name, "{message}");
                let event = runtime::plan::Event {
                    warning: true,
                    reason: "FailedCreatePodSandBox",
                    message,
                };
                node.tell(pod.object_ref(&()), Source::Kubelet, event);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SANDBOX_AGAIN) => {}
            () = stop.cancelled() => return,
            // Another word about the pod may be that it is gone, and then the sender is too.
            changed = news.changed() => {
                let ending = |pod: &k8s::Pod| pod.metadata.deletion_timestamp.is_some();
                let now = news.borrow_and_update().clone();
                match now {
                    Some(now) if changed.is_ok() && !ending(&now) => {}
                    Some(now) if changed.is_ok() => return finish(&node, &now).await,
                    _ => return,
                }
            }
        }
    };
    let containers: Vec<Arc<k8s::Container>> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
        .cloned()
        .map(Arc::new)
        .collect();
    let context = Arc::new(PodContext {
        node: node.clone(),
        pod: pod.clone(),
        reach,
        folder,
        volumes_folder: node.pods_folder.join(&uid),
        draining: CancellationToken::new(),
        drained: CancellationToken::new(),
        volumes: PodVolumes::default(),
        has_queue: containers.iter().any(|it| has_queue(&node, it)),
        is_asked: containers.iter().any(|it| has_queue(&node, it))
            && !containers.iter().any(|it| only_node_can_tell(it)),
    });
    if !context.has_queue {
        // With a queue it is reachable when that runs.
        node.pods.add(context.reach.clone());
    }
    let mut kept = JoinSet::new();
    if node.template.is_some() && volumes::may_change(&pod) {
        kept.spawn(volumes::follow(context.clone()));
    }
    let (events, happened) = mpsc::channel(EVENTS);
    let (start, starts) = Start::begin(&node.starts);
    let mut worker = Worker {
        machine: Machine::new(&pod, node.now()),
        started: pod
            .status
            .as_ref()
            .and_then(|it| it.start_time.as_ref())
            .map_or_else(|| node.now(), |it| it.0),
        containers,
        context,
        pod,
        events,
        stops: HashMap::new(),
        runs: JoinSet::new(),
        _volumes: kept,
        told_at: Instant::now() + FIRST_STATUS,
        start: Some(start),
        answered: None,
        written: None,
        waits_told: HashMap::new(),
        bind,
    };
    worker.live(happened, news, starts, stop).await;
    worker.close().await;
}

/// Whether the pod's queue runs in this process. It does not where the node knows its image: then that
/// program runs, as on any other cluster, unless pods share the machine's network and so its ports.
pub(super) fn has_queue(node: &Shared, container: &k8s::Container) -> bool {
    let image = container.image.as_deref().unwrap_or_default();
    container.name == api::queue::CONTAINER
        && (node.network.is_none() || node.settings.images.resolve(image).is_none())
}

/// Whether readiness is not to be had by asking the container.
fn only_node_can_tell(container: &k8s::Container) -> bool {
    let readiness = container.readiness_probe.as_ref();
    container.startup_probe.is_some() || readiness.is_some_and(|it| it.exec.is_some())
}

struct Worker {
    context: Arc<PodContext>,
    /// The pod as last seen in the API.
    pod: Arc<k8s::Pod>,
    machine: Machine,
    /// When the node first saw the pod.
    started: Timestamp,
    containers: Vec<Arc<k8s::Container>>,
    events: mpsc::Sender<Event>,
    /// How to stop the runs that there are, by container.
    stops: HashMap<usize, watch::Sender<Option<Instant>>>,
    runs: JoinSet<()>,
    /// What keeps the volumes up to date; it ends with the worker.
    _volumes: JoinSet<()>,
    /// When the first status is written at the latest, once all containers run.
    told_at: Instant,
    /// Held while the pod starts.
    start: Option<Start>,
    /// When whoever waited for the pod has been answered.
    answered: Option<Instant>,
    /// The status as last written.
    written: Option<k8s::PodStatus>,
    /// The run of a container whose wait for the next was told last, by container.
    waits_told: HashMap<usize, u32>,
    /// The pod is still to be bound to this node.
    bind: bool,
}

/// How long a pod's first status is held back.
#[derive(Clone, Copy)]
enum Wait {
    No,
    Until(Instant),
    /// Until no other pod starts any more, or the moment comes.
    ForOthers(Instant),
    /// Until something happens to the pod.
    ForNews,
}

/// Counts a pod as one that starts, until dropped.
struct Start(Arc<watch::Sender<usize>>);

impl Start {
    fn begin(starts: &Arc<watch::Sender<usize>>) -> (Start, watch::Receiver<usize>) {
        // Nobody waits for more of them.
        starts.send_if_modified(|it| {
            *it += 1;
            false
        });
        (Start(starts.clone()), starts.subscribe())
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.0.send_if_modified(|it| {
            *it -= 1;
            *it == 0
        });
    }
}

/// A write on its way: the pod as it is then, or none where the write failed.
type Writing = Boxed<Option<Arc<k8s::Pod>>>;

impl Worker {
    async fn live(
        &mut self,
        mut happened: mpsc::Receiver<Event>,
        mut news: News,
        mut starts: watch::Receiver<usize>,
        stop: CancellationToken,
    ) {
        let mut writing: Option<Writing> = None;
        let mut write_after: Option<Instant> = None;
        let mut is_gone = false;
        loop {
            let now = self.context.node.now();
            for action in self.machine.decide(now) {
                match action {
                    Action::Start { index, attempt } => self.start(index, attempt),
                    Action::Stop { index } => self.stop(index),
                    Action::Finish => {
                        if let Some(writing) = writing.take() {
                            writing.await;
                        }
                        self.write_last(now).await;
                        return;
                    }
                }
            }
            self.tell_waits();
            // Read first: the wait may end this pod's own start, which must not meet a reader.
            let others = *starts.borrow();
            let wait = self.wait(others);
            if writing.is_none() && write_after.is_none() && matches!(wait, Wait::No) {
                writing = self.write(now);
            }
            let held_until = match wait {
                Wait::Until(at) | Wait::ForOthers(at) => Some(at),
                Wait::No | Wait::ForNews => None,
            };
            let wake = self.machine.wake_at().map(|at| {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                // Times in Kubernetes may be cut to the second; a little late is no harm.
                Instant::now() + wait + Duration::from_millis(1)
            });
            tokio::select! {
                event = happened.recv() => {
                    let now = self.context.node.now();
                    let mut next = event;
                    while let Some(event) = next {
                        self.note(event, now);
                        next = happened.try_recv().ok();
                    }
                }
                changed = news.changed(), if !is_gone => {
                    let pod = news.borrow_and_update().clone();
                    match pod {
                        Some(pod) if changed.is_ok() => self.changed(pod),
                        // The API takes a pod without a node away at once; its containers have their time.
                        _ if changed.is_ok() && self.bind => {
                            is_gone = true;
                            self.kill(self.grace());
                            self.machine.happened(Event::Delete, self.context.node.now());
                        }
                        // Gone from the API without us: end the processes at once.
                        _ => {
                            self.kill(Duration::ZERO);
                            self.machine.happened(Event::Delete, self.context.node.now());
                        }
                    }
                    if changed.is_err() {
                        return;
                    }
                }
                written = async { writing.as_mut().expect("checked before").await }, if writing.is_some() => {
                    writing = None;
                    match written {
                        Some(pod) => {
                            self.bind = false;
                            self.changed(pod);
                        }
                        None => {
                            self.written = None;
                            write_after = Some(Instant::now() + WRITE_AGAIN);
                        }
                    }
                }
                index = self.image_added() => {
                    self.machine.happened(Event::Retry { index }, self.context.node.now());
                }
                () = sleep_until(write_after) => write_after = None,
                () = sleep_until(held_until) => {}
                _ = starts.wait_for(|it| *it == 0), if matches!(wait, Wait::ForOthers(_)) => {}
                () = sleep_until(wake) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Tells of each container that waits to be started again, once for each wait.
    fn tell_waits(&mut self) {
        for (index, container) in self.machine.containers.iter().enumerate() {
            let State::Waiting { reason, .. } = &container.state else { continue };
            let Some(last) = container.last.as_ref().filter(|_| reason == "CrashLoopBackOff")
            else {
                continue;
            };
            if self.waits_told.insert(index, last.attempt) == Some(last.attempt) {
                continue;
            }
            let (name, context) = (&container.name, &self.context);
            let message = format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                context.name(),
                context.namespace(),
                context.uid()
            );
            context.event(Some(name), true, "BackOff", message);
        }
    }

    /// Waits until the image that a container lacks has been added; for ever when none lacks its image.
    async fn image_added(&self) -> usize {
        let lacks = |it: &Container| matches!(&it.state, State::Waiting { reason, .. } if reason.contains("Image"));
        let Some(index) = self.machine.containers.iter().position(lacks) else {
            return std::future::pending().await;
        };
        let image = &self.machine.containers[index].image;
        while self.context.node.settings.images.resolve(image).is_none() {
            tokio::time::sleep(LOOK_FOR_IMAGE).await;
        }
        index
    }

    /// How long the first status is held back while `starts` pods start. What starts is told when it runs, with one
    /// write for all.
    fn wait(&mut self, starts: usize) -> Wait {
        let is_starting = |it: &Container| matches!(it.state, State::Starting);
        let is_unready = |it: &Container| matches!(it.state, State::Running { .. }) && !it.ready();
        let containers = &self.machine.containers;
        let now = Instant::now();
        let (wait, is_done) = if self.written.is_some() {
            (Wait::No, true)
        } else if !self.context.is_asked {
            // Whoever waits for the pod waits for its status.
            (if containers.iter().any(is_starting) { Wait::ForNews } else { Wait::No }, true)
        } else if now >= self.told_at {
            (if containers.iter().any(is_starting) { Wait::ForNews } else { Wait::No }, true)
        } else if containers.iter().any(is_starting) || containers.iter().any(is_unready) {
            (Wait::Until(self.told_at), false)
        } else {
            match *self.answered.get_or_insert(now + ANSWER_FIRST) {
                answered if now < answered => (Wait::Until(answered), false),
                // This pod is still counted where it has just got here.
                _ if starts > usize::from(self.start.is_some()) => {
                    (Wait::ForOthers(self.told_at), true)
                }
                _ => (Wait::No, true),
            }
        };
        if is_done {
            self.start = None;
        }
        wait
    }

    fn note(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Ended { index, .. } | Event::Blocked { index, .. } => {
                self.stops.remove(&index);
            }
            _ => {}
        }
        self.machine.happened(event, now);
        // Removes the entries of runs that are over.
        while self.runs.try_join_next().is_some() {}
    }

    fn changed(&mut self, pod: Arc<k8s::Pod>) {
        if pod.metadata.uid != self.pod.metadata.uid {
            return;
        }
        let newly = |pod: &k8s::Pod| {
            let ending = pod.metadata.deletion_timestamp.is_some();
            (ending, pod.metadata.deletion_grace_period_seconds)
        };
        if newly(&pod).0 && newly(&pod) != newly(&self.pod) {
            if !self.machine.deleting() {
                for container in &self.containers {
                    if self.stops.contains_key(&self.index_of(&container.name)) {
                        self.context.event(
                            Some(&container.name),
                            false,
                            "Killing",
                            format!("Stopping container {}", container.name),
                        );
                    }
                }
                self.machine.happened(Event::Delete, self.context.node.now());
            }
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(GRACE_S);
            let deadline = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            // A second request may leave less time.
            let at = Instant::now() + deadline;
            for stop in self.stops.values() {
                stop.send_if_modified(|before| {
                    let nearer = before.is_some_and(|before| at < before);
                    if nearer {
                        *before = Some(at);
                    }
                    nearer
                });
            }
        }
        self.pod = pod;
    }

    fn index_of(&self, name: &str) -> usize {
        self.containers.iter().position(|it| it.name == name).unwrap_or(usize::MAX)
    }

    fn start(&mut self, index: usize, attempt: u32) {
        let (stop, receiver) = watch::channel(None);
        self.stops.insert(index, stop);
        let run = Run {
            context: self.context.clone(),
            container: self.containers[index].clone(),
            index,
            attempt,
            events: self.events.clone(),
            stop: receiver,
        };
        self.runs.spawn(run.go());
    }

    fn stop(&mut self, index: usize) {
        let spec = self.pod.spec.as_ref().and_then(|it| it.termination_grace_period_seconds);
        let grace = self.pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(GRACE_S);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if let Some(stop) = self.stops.get(&index) {
            let at = Instant::now() + grace;
            // One that is to end sooner already stays so.
            stop.send_modify(|before| *before = Some(before.map_or(at, |before| before.min(at))));
        }
    }

    /// The time that the pod asks for when it is stopped.
    fn grace(&self) -> Duration {
        let seconds = self.pod.spec.as_ref().and_then(|it| it.termination_grace_period_seconds);
        Duration::from_secs(u64::try_from(seconds.unwrap_or(GRACE_S)).unwrap_or(0))
    }

    /// Ends all containers within `grace`.
    fn kill(&mut self, grace: Duration) {
        for stop in self.stops.values() {
            stop.send_replace(Some(Instant::now() + grace));
        }
    }

    fn status(&self, now: Timestamp) -> k8s::PodStatus {
        let node = &self.context.node;
        let image_id = |image: &str| {
            node.settings.images.digest(image).map(|it| format!("{image}@{it}")).unwrap_or_default()
        };
        let facts = Facts {
            pod_ip: Some(self.context.reach.door.address.to_string()),
            host_ip: &node.host_ip,
            started: self.started,
            image_id: &image_id,
        };
        status::status(&self.pod, &self.machine, &facts, now)
    }

    /// Binds the pod and writes its status, where that says something new.
    fn write(&mut self, now: Timestamp) -> Option<Writing> {
        let status = self.status(now);
        if self.written.as_ref() == Some(&status) {
            return None;
        }
        self.written = Some(status.clone());
        let (node, pod, bind) = (self.context.node.clone(), self.pod.clone(), self.bind);
        if bind {
            let (namespace, name) = (self.context.namespace(), self.context.name());
            let message =
                format!("Successfully assigned {namespace}/{name} to {}", node.settings.name);
            node.scheduled(&pod, message);
        }
        Some(Box::pin(async move {
            if bind && let Err(error) = bind_pod(&node, &pod).await {
                return give_up("bind a pod", &pod, &error);
            }
            match patch_status(&node, &pod, &status).await {
                Ok(pod) => {
                    node.cluster.wrote(pod.clone());
                    Some(Arc::new(pod))
                }
                Err(error) => give_up("write a pod's status", &pod, &error),
            }
        }))
    }

    /// The pod's last status, and its end in the API.
    async fn write_last(&mut self, now: Timestamp) {
        let status = self.status(now);
        if self.machine.phase() != Phase::Pending
            && let Err(error) = patch_status(&self.context.node, &self.pod, &status).await
        {
            give_up("write a pod's last status", &self.pod, &error);
        }
        finish(&self.context.node, &self.pod).await;
    }

    /// Ends what still runs and removes the pod's files.
    async fn close(mut self) {
        self.kill(Duration::ZERO);
        while self.runs.join_next().await.is_some() {}
        let context = &self.context;
        context.node.pods.remove(&context.reach);
        context.reach.close();
        for container in &self.containers {
            context.node.cgroups.remove(context, container);
        }
        context.volumes.forget();
        for folder in [&context.folder, &context.volumes_folder] {
            if let Err(error) = fs::remove_dir_all(folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, folder = %folder.display(), "remove a pod's folder");
            }
        }
        context.node.outputs.prune();
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn pods(node: &Shared, pod: &k8s::Pod) -> Api<k8s::Pod> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Api::namespaced(node.cluster.client().clone(), namespace)
}

fn name(pod: &k8s::Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

async fn bind_pod(node: &Shared, pod: &k8s::Pod) -> Result<(), kube::Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name(pod), "namespace": pod.metadata.namespace, "uid": pod.metadata.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node.settings.name},
    });
    let bound: Result<Value, _> = pods(node, pod)
        .create_subresource("binding", name(pod), &PostParams::default(), &binding)
        .await;
    match bound {
        Ok(_) => Ok(()),
        // Bound already, by an earlier try whose answer was lost.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

async fn patch_status(
    node: &Shared,
    pod: &k8s::Pod,
    status: &k8s::PodStatus,
) -> Result<k8s::Pod, kube::Error> {
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let params =
        PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
    pods(node, pod).patch_status(name(pod), &params, &Patch::Merge(patch)).await
}

/// Removes the pod from the API: its containers have ended.
async fn finish(node: &Shared, pod: &k8s::Pod) {
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    for _ in 0..REMOVALS {
        match pods(node, pod).delete(name(pod), &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => drop(give_up("remove a pod that has ended", pod, &error)),
        }
        tokio::time::sleep(WRITE_AGAIN).await;
    }
}

fn give_up(what: &str, pod: &k8s::Pod, error: &kube::Error) -> Option<Arc<k8s::Pod>> {
    match error {
        // Removed meanwhile, or another of the same name: the watch will tell.
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => {
            tracing::debug!(pod = name(pod), %error, "{what}");
        }
        _ => tracing::warn!(pod = name(pod), %error, "{what}; trying again"),
    }
    None
}
/// A pod's network or a name for it.
impl Shared {
    /// A network for a new pod.
    pub async fn new_reach(&self) -> std::io::Result<Reach> {
        match &self.network {
            Some(network) => Ok(Reach::isolated(network.pod().await?)),
            None => Ok(Reach::on_host(self.next_host_address())),
        }
    }
}
