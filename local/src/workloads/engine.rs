//! One task that takes in what happened, makes the plans it concerns, and has them carried out.
//!
//! For each object at most one plan is on its way. What a write returned is taken in before the next plan is made, so
//! plans never work on less than what they wrote themselves.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use kube::{Client, Error};
use runtime::clock::Clock;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    feed::{self, Seen},
    horizontal::Figures,
    namespaces,
    objects::{Key, Meta, Object, Owner, Uid},
    owners::Verdict,
    requests::{self, Answer},
    resources::{Kind, Note, Part, Plan, Resource, Write, status_patch},
    world::{Work, World},
};

/// News on the way to the engine; a feed waits when it is full. One page of a list fits.
const NEWS: usize = 512;
/// Events that wait to be recorded: a few for each of hundreds of pods; more are dropped.
const EVENTS: usize = 1024;
/// Plans that are carried out at the same time, so that a thousand new objects do not become a thousand open requests.
const AT_ONCE: usize = 32;
/// Writes of one plan that are sent at the same time.
const WRITES_AT_ONCE: usize = 16;
/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The least time between two writes of an object's status that nothing else goes with. Counts of pods change
/// several times while a pod starts, and nobody waits for those in between.
const STATUS_PAUSE: Duration = Duration::from_millis(20);
/// How long after the last change of what runs pods a status that may wait is written: whoever waits for a pod that is to
/// start comes first.
const QUIET: Duration = Duration::from_millis(200);
/// How long it waits for that at most.
const QUIET_WAIT: Duration = Duration::from_secs(2);
/// How long events wait: their objects' pods start meanwhile.
const EVENTS_WAIT: Duration = Duration::from_secs(1);
/// The least time between two counts of what is used of a quota: of many objects that come or go at once each
/// changes it.
const COUNT_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two looks at a namespace that is being emptied.
const NAMESPACE_PAUSE: Duration = Duration::from_secs(1);

/// What reaches the engine.
enum News {
    Seen(Resource, Seen),
    /// The text of an object's pod template.
    Template(Kind, Key, Arc<str>),
    /// A write of `Work` deleted the object.
    Removed(Uid),
    /// Whether an owner exists.
    Learned(Uid, bool),
    /// What the pods around an autoscaler use.
    Figures(Key, Result<Vec<Figures>, String>),
    /// A plan was carried out, or failed.
    Done(Work, Result<(), String>),
}

struct Failure {
    count: u32,
    message: String,
}

pub struct Engine {
    client: Client,
    clock: Clock,
    certificate: String,
    world: World,
    /// Kinds by group and kind name.
    known: HashMap<(Box<str>, Box<str>), Resource>,
    feeds: HashMap<Resource, AbortHandle>,
    feeding: JoinSet<()>,
    /// Kinds whose first list has not ended.
    unlisted: BTreeSet<Resource>,
    /// What a list that has not ended named so far.
    listing: HashMap<Resource, HashSet<Uid>>,
    queue: VecDeque<Work>,
    queued: HashSet<Work>,
    busy: HashSet<Work>,
    later: BTreeSet<(Instant, Work)>,
    due: HashMap<Work, Instant>,
    failures: HashMap<Work, Failure>,
    /// When statuses were written last.
    told: HashMap<Work, Instant>,
    /// Since when statuses wait that may, and when they are to be written at the earliest.
    waiting: HashMap<Work, (Instant, Instant)>,
    /// When something that runs pods was changed last.
    changed: Instant,
    /// When namespaces that go away were looked at last.
    visits: HashMap<Key, Instant>,
    actions: JoinSet<()>,
    news: mpsc::Sender<News>,
    seen: mpsc::Sender<(Resource, Seen)>,
    /// Events to record.
    events: mpsc::Sender<Write>,
}

/// Runs the controllers until `stop`.
pub async fn run(client: Client, clock: Clock, certificate: String, stop: CancellationToken) {
    let (news, mut incoming) = mpsc::channel(NEWS);
    let (seen, mut fed) = mpsc::channel(NEWS);
    let (events, noted) = mpsc::channel(EVENTS);
    let recorded = tokio::spawn(record(client.clone(), noted));
    let mut engine = Engine {
        client,
        clock,
        certificate,
        world: World::default(),
        known: HashMap::new(),
        feeds: HashMap::new(),
        feeding: JoinSet::new(),
        unlisted: BTreeSet::new(),
        listing: HashMap::new(),
        queue: VecDeque::new(),
        queued: HashSet::new(),
        busy: HashSet::new(),
        later: BTreeSet::new(),
        due: HashMap::new(),
        failures: HashMap::new(),
        told: HashMap::new(),
        waiting: HashMap::new(),
        changed: Instant::now(),
        visits: HashMap::new(),
        actions: JoinSet::new(),
        news,
        seen,
        events,
    };
    tokio::select! {
        () = stop.cancelled() => return,
        () = engine.begin() => {}
    }
    loop {
        engine.work();
        let due = engine.later.first().map(|(at, _)| *at);
        let wake = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(news) = incoming.recv() => engine.take(news),
            Some((resource, seen)) = fed.recv() => engine.take(News::Seen(resource, seen)),
            Some(_) = engine.actions.join_next() => {}
            () = wake => engine.wake(),
        }
        // Take all that is there before planning once.
        for _ in 0..NEWS {
            match (incoming.try_recv(), fed.try_recv()) {
                (Err(_), Err(_)) => break,
                (news, seen) => {
                    news.into_iter().for_each(|it| engine.take(it));
                    seen.into_iter().for_each(|(of, it)| engine.take(News::Seen(of, it)));
                }
            }
        }
    }
    engine.feeding.shutdown().await;
    engine.actions.shutdown().await;
    // Events of the last second are lost; the objects that they tell of stop too.
    recorded.abort();
    let _ = recorded.await;
}

/// Records events, some time after they happened.
async fn record(client: Client, mut noted: mpsc::Receiver<Write>) {
    while let Some(first) = noted.recv().await {
        tokio::time::sleep(EVENTS_WAIT).await;
        let mut next = Some(first);
        while let Some(event) = next {
            if let Err(error) = requests::send(&client, &event).await {
                tracing::debug!(%error, "record an event");
            }
            next = noted.try_recv().ok();
        }
    }
}

impl Engine {
    /// Makes the first namespaces and starts watching every kind, again until the API server answers.
    async fn begin(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_begin().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "start the workload controllers"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_begin(&mut self) -> Result<(), Error> {
        for name in namespaces::FIRST {
            let resource = Kind::Namespace.resource();
            let write =
                Write::Create { resource, namespace: "".into(), body: namespaces::namespace(name) };
            match requests::send(&self.client, &write).await {
                Err(Error::Api(status)) if status.is_already_exists() => {}
                other => drop(other?),
            }
        }
        for resource in requests::discover(&self.client).await? {
            self.feed(resource);
        }
        Ok(())
    }

    fn feed(&mut self, resource: Resource) {
        if self.feeds.contains_key(&resource) {
            return;
        }
        let kind = (resource.group().into(), resource.kind().into());
        self.known.insert(kind, resource.clone());
        self.unlisted.insert(resource.clone());
        let run = feed::run(self.client.clone(), resource.clone(), self.seen.clone());
        let handle = self.feeding.spawn(run);
        self.feeds.insert(resource, handle);
    }

    fn unfeed(&mut self, resource: &Resource) {
        if let Some(handle) = self.feeds.remove(resource) {
            handle.abort();
        }
        self.unlisted.remove(resource);
        self.known.remove(&(resource.group().into(), resource.kind().into()));
        let gone: Vec<Uid> = self.world.graph.of_kind(resource).cloned().collect();
        self.forget(gone);
    }

    fn take(&mut self, news: News) {
        match news {
            News::Seen(resource, seen) => self.see(resource, seen),
            News::Template(kind, key, text) => {
                let work = self.world.keep_template(kind, key, text);
                self.enqueue_all(work.into_iter().collect());
            }
            News::Removed(uid) => self.forget(vec![uid]),
            News::Learned(uid, exists) => self.world.graph.learn(uid, exists),
            News::Figures(key, figures) => {
                self.world.decide(&key, Some(figures), self.clock.now());
                self.enqueue(Work::Horizontal(key));
            }
            News::Done(work, result) => self.finish(work, result),
        }
    }

    fn see(&mut self, resource: Resource, seen: Seen) {
        match seen {
            Seen::Begin => drop(self.listing.insert(resource, HashSet::new())),
            Seen::Object(object) => {
                if let Some(listed) = self.listing.get_mut(&resource) {
                    listed.insert(object.meta().uid.clone());
                }
                if let Object::Definition(it) = &*object
                    && it.meta.deleted.is_none()
                    && let Some(serves) = it.serves.clone()
                {
                    self.feed(serves);
                }
                let mut todo = Vec::new();
                self.world.put(resource, *object, &mut todo);
                self.enqueue_all(todo);
            }
            Seen::End => {
                self.unlisted.remove(&resource);
                let listed = self.listing.remove(&resource).unwrap_or_default();
                let known = self.world.graph.of_kind(&resource);
                let gone: Vec<Uid> = known.filter(|uid| !listed.contains(*uid)).cloned().collect();
                self.forget(gone);
                let unsure: Vec<_> = self.world.graph.unsure().cloned().map(Work::Owners).collect();
                self.enqueue_all(unsure);
            }
            Seen::Gone(object) => {
                if let Object::Definition(it) = &*object
                    && let Some(serves) = &it.serves
                {
                    self.unfeed(serves);
                }
                self.forget(vec![object.meta().uid.clone()]);
            }
        }
    }

    fn forget(&mut self, uids: Vec<Uid>) {
        let mut todo = Vec::new();
        for uid in uids {
            self.world.remove(&uid, &mut todo);
        }
        self.enqueue_all(todo);
    }

    fn enqueue_all(&mut self, all: Vec<Work>) {
        for work in all {
            self.enqueue(work);
        }
    }

    fn enqueue(&mut self, work: Work) {
        if self.queued.insert(work.clone()) {
            self.queue.push_back(work);
        }
    }

    fn enqueue_at(&mut self, at: Instant, work: Work) {
        if let Some(before) = self.due.get(&work) {
            if *before <= at {
                return;
            }
            self.later.remove(&(*before, work.clone()));
        }
        self.due.insert(work.clone(), at);
        self.later.insert((at, work));
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((at, work)) = self.later.pop_first() {
            if at > now {
                self.later.insert((at, work));
                break;
            }
            self.due.remove(&work);
            self.enqueue(work);
        }
    }

    /// Makes and starts the plans that can be made now.
    fn work(&mut self) {
        let mut waiting = VecDeque::new();
        while self.actions.len() < AT_ONCE {
            let Some(work) = self.queue.pop_front() else { break };
            if self.busy.contains(&work) || !self.is_informed(&work) {
                waiting.push_back(work);
                continue;
            }
            self.queued.remove(&work);
            self.start(work);
        }
        waiting.append(&mut self.queue);
        self.queue = waiting;
    }

    /// True when nothing that the plan depends on is still being listed for the first time.
    fn is_informed(&self, work: &Work) -> bool {
        match work {
            // A missing owner may be of any kind.
            Work::Owners(_) | Work::Namespace(_) | Work::Quota(_) => self.unlisted.is_empty(),
            _ => !self.unlisted.iter().any(|it| Kind::PLANNED.iter().any(|kind| kind.is(it))),
        }
    }

    fn start(&mut self, work: Work) {
        if let Work::Owners(uid) = &work {
            self.start_owners(uid.clone());
            return;
        }
        if let Work::Quota(key) = &work {
            self.start_quota(key.clone());
            return;
        }
        if let Work::Namespace(key) = &work
            && let Some(namespace) = self.world.namespaces.get(key)
            && namespace.meta.deleted.is_some()
        {
            self.start_namespace(key.clone());
            return;
        }
        let now = self.clock.now();
        if let Work::Horizontal(key) = &work
            && self.world.is_due(key, now)
        {
            if !self.world.is_new(key) {
                self.start_figures(key.clone());
                return;
            }
            self.world.decide(key, None, now);
        }
        let failure = self.failures.get(&work).map(|it| it.message.as_str());
        let planned = self.world.plan(&work, failure, &self.certificate, now);
        let Some((kind, meta, mut plan)) = planned else {
            self.failures.remove(&work);
            self.told.remove(&work);
            self.waiting.remove(&work);
            return;
        };
        let meta = meta.clone();
        // A failure that repeats itself is not told again.
        let is_first = failure.is_none();
        if let Some(moment) = plan.again {
            let wait = Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO);
            self.enqueue_at(Instant::now() + wait, work.clone());
        }
        if plan.writes.is_empty() && !plan.needs_template {
            if plan.status.is_none() {
                self.waiting.remove(&work);
                return;
            }
            let now = Instant::now();
            let pause = self.told.get(&work).map(|at| *at + STATUS_PAUSE);
            let until = now + plan.status_wait;
            let (since, at) = self.waiting.entry(work.clone()).or_insert((now, until));
            *at = until.min(*at);
            let quiet = (self.changed + QUIET).min(*since + QUIET_WAIT);
            let next = if plan.status_wait.is_zero() { *at } else { quiet.max(*at) };
            if let Some(next) = pause.max(Some(next)).filter(|next| now < *next) {
                self.enqueue_at(next, work);
                return;
            }
        }
        // Where the writes failed before, the status is what tells why.
        let runs_pods = matches!(work, Work::Deployment(_) | Work::ReplicaSet(_));
        if is_first && runs_pods && !plan.writes.is_empty() {
            self.changed = Instant::now();
            if !plan.status_wait.is_zero() && plan.status.take().is_some() {
                self.enqueue_at(self.changed + plan.status_wait, work.clone());
            }
        }
        if plan.status.is_some() {
            self.told.insert(work.clone(), Instant::now());
            self.waiting.remove(&work);
        }
        let (client, news, clock) = (self.client.clone(), self.news.clone(), self.clock);
        let events = self.events.clone();
        self.busy.insert(work.clone());
        let more = self.world.writing(&work, &plan.writes);
        self.enqueue_all(more);
        self.actions.spawn(async move {
            let told = carry_out(&client, &news, kind, &meta, plan).await;
            let (result, notes) = match told {
                Ok(notes) => (Ok(()), notes),
                Err((error, notes)) => (Err(error), if is_first { notes } else { Vec::new() }),
            };
            // The receiver is gone only when everything stops.
            let _ = news.send(News::Done(work, result)).await;
            for note in notes {
                let event = requests::event(kind, &meta, &note, clock.now());
                if events.try_send(event).is_err() {
                    tracing::debug!(object = %meta.key.name, reason = note.reason, "too many events");
                }
            }
        });
    }

    fn start_owners(&mut self, uid: Uid) {
        let verdict = self.world.graph.examine(&uid);
        let work = Work::Owners(uid.clone());
        let (client, news) = (self.client.clone(), self.news.clone());
        match verdict {
            Verdict::Leave => drop(self.failures.remove(&work)),
            Verdict::Write(writes) => {
                self.busy.insert(work.clone());
                self.actions.spawn(async move {
                    let plan = Plan { writes, ..Plan::default() };
                    let result = send_all(&client, &news, plan.writes).await.map(drop);
                    let _ = news.send(News::Done(work, result.map_err(|(error, _)| error))).await;
                });
            }
            Verdict::Ask(owners) => {
                let Some(node) = self.world.graph.get(&uid) else { return };
                let namespace = node.key.namespace.clone();
                let asked: Option<Vec<(Owner, Resource)>> = owners
                    .into_iter()
                    .map(|owner| self.resource_of(&owner).map(|resource| (owner, resource)))
                    .collect();
                // A kind that nobody serves may be served again: its objects are not known to be gone.
                let Some(asked) = asked else { return };
                self.busy.insert(work.clone());
                self.actions.spawn(async move {
                    let result = ask(&client, &news, &namespace, asked).await;
                    let _ = news.send(News::Done(work, result)).await;
                });
            }
        }
    }

    fn resource_of(&self, owner: &Owner) -> Option<Resource> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        self.known.get(&(group.into(), owner.kind.clone())).cloned()
    }

    fn start_quota(&mut self, key: Key) {
        let work = Work::Quota(key.clone());
        let Some(quota) = self.world.quotas.get(&key) else {
            self.failures.remove(&work);
            self.told.remove(&work);
            return;
        };
        let now = Instant::now();
        let pause = self.told.get(&work).map(|at| *at + COUNT_PAUSE);
        if let Some(next) = pause.filter(|next| now < *next) {
            self.enqueue_at(next, work);
            return;
        }
        self.told.insert(work.clone(), now);
        let is_counted = |resource: &&Resource| {
            let mut counted = quota.counted.iter();
            counted.any(|(group, plural)| resource.group() == group && resource.plural() == plural)
        };
        let counted: Vec<Resource> = self.feeds.keys().filter(is_counted).cloned().collect();
        let (client, news) = (self.client.clone(), self.news.clone());
        self.busy.insert(work.clone());
        self.actions.spawn(async move {
            let result = match requests::recount(&client, &key, &counted).await {
                Ok(true) => Ok(()),
                // Its change has been, or will be, seen; this makes sure that it is counted again.
                Ok(false) => Err("the quota changed".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let _ = news.send(News::Done(work, result)).await;
        });
    }

    fn start_namespace(&mut self, key: Key) {
        let work = Work::Namespace(key.clone());
        let count = self.world.graph.count_in(&key.name);
        let since = self.visits.get(&key).copied();
        let now = Instant::now();
        if let Some(next) =
            since.map(|it| it + NAMESPACE_PAUSE).filter(|next| count > 0 && now < *next)
        {
            self.enqueue_at(next, work);
            return;
        }
        let Some(namespace) = self.world.namespaces.get(&key) else { return };
        self.visits.insert(key.clone(), now);
        let holders: Vec<String> =
            namespace.holders.iter().filter(|it| *it != namespaces::HOLDER).cloned().collect();
        let current = namespace.conditions.clone();
        let mut resources: Vec<Resource> = self.feeds.keys().cloned().collect();
        resources.push(Kind::Event.resource());
        resources.sort();
        let (client, news, clock) = (self.client.clone(), self.news.clone(), self.clock);
        self.busy.insert(work.clone());
        self.actions.spawn(async move {
            let emptied = requests::empty_namespace(&client, &resources, &key.name).await;
            let (remaining, failure) = match emptied {
                Ok(remaining) => (remaining, None),
                Err(error) => (Default::default(), Some(error.to_string())),
            };
            let result = if remaining.kinds.is_empty() && failure.is_none() {
                let done = requests::finalize_namespace(&client, &key.name, &holders).await;
                done.map_err(|error| error.to_string())
            } else {
                let conditions =
                    namespaces::conditions(&current, &remaining, failure.as_deref(), clock.now());
                let told = match conditions == current {
                    true => Ok(()),
                    false => tell_namespace(&client, &news, &key, conditions).await,
                };
                failure.map_or(told, Err)
            };
            let _ = news.send(News::Done(work, result)).await;
        });
    }

    /// Asks what the pods around an autoscaler use.
    fn start_figures(&mut self, key: Key) {
        let (client, news) = (self.client.clone(), self.news.clone());
        let work = Work::Horizontal(key.clone());
        self.busy.insert(work.clone());
        self.actions.spawn(async move {
            let figures = requests::figures(&client, &key.namespace).await;
            let figures = figures.map_err(|error| match error {
                Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            });
            // The receiver is gone only when everything stops.
            let _ = news.send(News::Figures(key, figures)).await;
            let _ = news.send(News::Done(work, Ok(()))).await;
        });
    }

    fn finish(&mut self, work: Work, result: Result<(), String>) {
        self.busy.remove(&work);
        let more = self.world.written(&work);
        self.enqueue_all(more);
        if let Work::Namespace(key) = &work
            && !self.world.namespaces.contains_key(key)
        {
            self.visits.remove(key);
        }
        let Err(message) = result else {
            let had_failed = self.failures.remove(&work).is_some();
            // Owners are examined until there is nothing to do; the others are brought back by what they wrote.
            if had_failed || matches!(work, Work::Owners(_)) {
                self.enqueue(work);
            }
            return;
        };
        let failure = self
            .failures
            .entry(work.clone())
            .or_insert(Failure { count: 0, message: String::new() });
        let is_new = failure.message != message;
        failure.message = message;
        failure.count += 1;
        let pause = FIRST_PAUSE * 2u32.saturating_pow((failure.count - 1).min(16));
        tracing::debug!(?work, message = failure.message, "plan again after a failure");
        let at = Instant::now() + pause.min(LONGEST_PAUSE);
        self.enqueue_at(at, work.clone());
        if is_new && !matches!(work, Work::Quota(_)) {
            // The failure belongs in the status at once.
            self.enqueue(work);
        }
    }
}

/// Sends a plan's writes, then its status. Returns what to tell people, also when it failed.
async fn carry_out(
    client: &Client,
    news: &mpsc::Sender<News>,
    kind: Kind,
    meta: &Meta,
    plan: Plan,
) -> Result<Vec<Note>, (String, Vec<Note>)> {
    let mut notes = plan.notes;
    if plan.needs_template {
        let text = requests::template(client, &kind.resource(), &meta.key).await;
        let text = text.map_err(|error| (error.to_string(), Vec::new()))?;
        let _ = news.send(News::Template(kind, meta.key.clone(), text.into())).await;
    }
    let told = send_all(client, news, plan.writes).await;
    let failed = match told {
        Ok(told) => {
            notes.extend(told);
            None
        }
        Err((error, told)) => {
            notes = told;
            Some(error)
        }
    };
    if let Some(status) = plan.status {
        send_all(client, news, vec![status]).await.map_err(|(error, _)| (error, Vec::new()))?;
    }
    match failed {
        None => Ok(notes),
        Some(error) => Err((error, notes)),
    }
}

/// Sends writes that do not depend on each other, and passes on what came back.
async fn send_all(
    client: &Client,
    news: &mpsc::Sender<News>,
    writes: Vec<Write>,
) -> Result<Vec<Note>, (String, Vec<Note>)> {
    let sent = stream::iter(writes).map(|write| async move {
        let answer = requests::send(client, &write).await;
        let is_pod = match &write {
            Write::Create { resource, .. } => Kind::Pod.is(resource),
            _ => false,
        };
        match answer {
            Ok(Answer::Now(object)) => {
                let name = object.meta().key.name.clone();
                let resource = match write {
                    Write::Create { resource, .. }
                    | Write::Merge { resource, .. }
                    | Write::Delete { resource, .. } => resource,
                };
                see(news, resource, object).await;
                let note = Note::normal("SuccessfulCreate", format!("Created pod: {name}"));
                Ok(is_pod.then_some(note))
            }
            Ok(Answer::Gone) => {
                if let Write::Delete { uid, .. } = write {
                    let _ = news.send(News::Removed(uid)).await;
                }
                Ok(None)
            }
            Err(error) if is_overtaken(&write, &error) => Ok(None),
            Err(error) => {
                let error = match error {
                    Error::Api(status) => status.message.clone(),
                    other => other.to_string(),
                };
                let message = format!("Error creating: {error}");
                let note = Note { is_warning: true, reason: "FailedCreate", message };
                Err((error, is_pod.then_some(note)))
            }
        }
    });
    let results: Vec<_> = sent.buffer_unordered(WRITES_AT_ONCE).collect().await;
    let mut notes = Vec::new();
    let mut failed = None;
    for result in results {
        match result {
            Ok(note) => notes.extend(note),
            Err((error, note)) => {
                if failed.is_none() {
                    notes.extend(note);
                }
                failed.get_or_insert(error);
            }
        }
    }
    match failed {
        None => Ok(notes),
        Some(error) => Err((error, notes)),
    }
}

/// True when the write came too late to matter: the object went, or another one took its place, or its namespace goes.
/// What happened will be seen; then a new plan is made.
fn is_overtaken(write: &Write, error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    match write {
        Write::Create { .. } => {
            let causes = status.details.iter().flat_map(|it| &it.causes);
            causes.into_iter().any(|it| it.reason == "NamespaceTerminating")
        }
        Write::Merge { .. } => status.is_not_found() || status.is_conflict(),
        Write::Delete { .. } => status.is_not_found() || status.is_conflict(),
    }
}

async fn ask(
    client: &Client,
    news: &mpsc::Sender<News>,
    namespace: &str,
    owners: Vec<(Owner, Resource)>,
) -> Result<(), String> {
    for (owner, resource) in owners {
        let place = if resource.is_namespaced() { namespace } else { "" };
        let found = requests::get(client, &resource, &Key::new(place, &owner.name)).await;
        let found = found.map_err(|error| error.to_string())?;
        let exists = found.is_some_and(|it| it.meta().uid == owner.uid);
        let _ = news.send(News::Learned(owner.uid, exists)).await;
    }
    Ok(())
}

async fn tell_namespace(
    client: &Client,
    news: &mpsc::Sender<News>,
    key: &Key,
    conditions: Vec<k8s_openapi::api::core::v1::NamespaceCondition>,
) -> Result<(), String> {
    let status = serde_json::json!({ "conditions": conditions });
    let write = Write::Merge {
        resource: Kind::Namespace.resource(),
        key: key.clone(),
        part: Part::Status,
        body: status_patch(&status, &[]),
    };
    send_all(client, news, vec![write]).await.map(drop).map_err(|(error, _)| error)
}

async fn see(news: &mpsc::Sender<News>, resource: Resource, object: Box<Object>) {
    // The receiver is gone only when everything stops.
    let _ = news.send(News::Seen(resource, Seen::Object(object))).await;
}
