//! What accepts events and hands them to its subscribers: a broker's, or a channel's.
//!
//! A topic has three logs: its events, what its subscribers have got, and the events that nobody took. One task goes
//! through the events once for all subscribers that keep up; each subscriber has a task of its own that delivers
//! ([`crate::subscriber`]). Who is slow costs the others nothing.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use runtime::clock::Clock;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    dead::Dead,
    deliver::Courier,
    event::Event,
    filter::index::Index,
    log::{AppendError, Batch, Boxed, Durability, Keep, Layout, Log, Offset, Store},
    state::{Change, State, Update},
    subscriber::{Member, Start, Subscriber},
};

/// Events, in files that are small enough to be forgotten one by one. What is in memory besides goes as soon as it has
/// been handed on.
const EVENTS: Layout = Layout { segment_bytes: 32 << 20, tail_bytes: 4 << 20 };
/// Changes of state are small, and a record of all of it makes those before it void.
const STATE: Layout = Layout { segment_bytes: 1 << 20, tail_bytes: 0 };
/// How long a change of state may not be written down: what is done in this time is done again after a crash.
const WRITE_STATE: Duration = Duration::from_millis(20);
/// Bytes of changes after which all of the state is written, so that those before can go.
const STATE_LIMIT: u64 = 4 << 20;
/// How often it is looked for what can be forgotten.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// Bytes of events that are read at once.
const READ: usize = 256 << 10;
/// Requests to the topic's task that may wait: one of each subscriber's task at most, which then waits.
const COMMANDS: usize = 64;

/// A topic that is open. It ends when [`Topic::close`] returns, or some time after it is dropped.
pub struct Topic {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    /// Ends when the task has ended.
    ended: watch::Receiver<()>,
}

/// What makes topics.
#[derive(Clone)]
pub struct Surroundings {
    /// Where logs are.
    pub store: Arc<dyn Store>,
    /// Sends requests.
    pub courier: Arc<dyn Courier>,
    /// Tells the date.
    pub clock: Clock,
    /// Where topics and their subscribers have their tasks.
    pub runtime: Handle,
}

/// What a topic's tasks share.
pub struct Shared {
    /// For people and for logs.
    pub name: String,
    /// The events.
    pub events: Arc<dyn Log>,
    /// Events that nobody took.
    pub dead: Dead,
    /// Sends requests.
    pub courier: Arc<dyn Courier>,
    /// Tells the date.
    pub clock: Clock,
    /// By the subscribers' names.
    members: RwLock<BTreeMap<String, Arc<Member>>>,
    /// Members whose account changed since it was written down.
    dirty: Mutex<Vec<Arc<Member>>>,
    changed: Notify,
    /// The topic's place.
    at: AtomicU64,
}

/// How long events stay that everybody has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So long.
    pub age: Duration,
    /// So much of them.
    pub bytes: u64,
}

/// What a topic's task is asked to do.
pub enum Command {
    /// These are all subscribers from now on. Answered when their places are on disk.
    Subscribe(Vec<Subscriber>, oneshot::Sender<io::Result<()>>),
    /// A subscriber has read everything up to there for itself and wants what follows from the topic.
    KeepUp(Arc<Member>, Offset),
    /// How long events stay.
    Retain(Retention),
    /// A subscriber goes back, or forth, to there. Answered when that is on disk.
    Move(String, Start, oneshot::Sender<io::Result<Offset>>),
}

/// Where a subscriber is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// The subscriber's name for all time.
    pub name: String,
    /// Its namespace and name.
    pub label: String,
    /// The offset that the next event gets.
    pub end: Offset,
    /// The first event that it has not been shown.
    pub at: Offset,
    /// Events that it was shown and that are not done with.
    pub open: usize,
    /// Events delivered since the process began.
    pub delivered: u64,
    /// Tries that failed since then.
    pub failed: u64,
    /// Events given up since then, to the dead letter sink or into the topic's own dead letters.
    pub dead: u64,
    /// Events left out since then because the same came lately.
    pub again: u64,
    /// Why the last try failed, if the subscriber took nothing since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Events on which its filter failed since the process began; it does not get those.
    pub unfiltered: u64,
    /// Why, of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stumbled: Option<String>,
}

impl Default for Retention {
    /// A day of what is usual on one machine.
    fn default() -> Retention {
        Retention { age: Duration::from_secs(24 * 3600), bytes: 256 << 20 }
    }
}

impl Topic {
    /// Opens the topic of that name, which may be new, as it was when it was closed or when the process ended.
    pub async fn open(with: &Surroundings, name: &str) -> io::Result<Topic> {
        let events = with.store.open(&format!("{name}.events"), EVENTS).await?;
        let written = with.store.open(&format!("{name}.state"), STATE).await?;
        let dead = Dead::open(&*with.store, &format!("{name}.dead"), with.clock).await?;
        let mut state = read_state(&*written).await?;
        // After the loss of power the state may be older than the events, never younger; after the loss of the
        // events it may be.
        state.at = state.at.min(*events.end().borrow());
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            events,
            dead,
            courier: with.courier.clone(),
            clock: with.clock,
            members: RwLock::default(),
            dirty: Mutex::default(),
            changed: Notify::new(),
            at: state.at.into(),
        });
        let stop = CancellationToken::new();
        let (commands, asked) = mpsc::channel(COMMANDS);
        let router = Router {
            shared: shared.clone(),
            written,
            at: state.at,
            index: Index::new([]),
            waiting: state.subscribers,
            commands: commands.downgrade(),
            tasks: HashMap::new(),
            gone: Vec::new(),
            is_told: false,
            writing: None,
            must_write_whole: true,
            retention: Retention::default(),
            trimmed: Instant::now(),
            stop: stop.clone(),
        };
        let (runs, ended) = watch::channel(());
        with.runtime.spawn(async move {
            router.run(asked).await;
            drop(runs);
        });
        Ok(Topic { shared, commands, stop, ended })
    }

    /// Removes what a topic left behind that is not open.
    pub async fn remove(with: &Surroundings, name: &str) -> io::Result<()> {
        for kind in ["events", "state", "dead"] {
            match with.store.remove(&format!("{name}.{kind}")).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Names of the topics that there are, open or not.
    pub async fn names(store: &dyn Store) -> io::Result<Vec<String>> {
        let names = store.names().await?.into_iter();
        Ok(names.filter_map(|it| Some(it.strip_suffix(".events")?.to_owned())).collect())
    }

    /// Takes events in, all or none. Answered when they are on disk.
    pub fn publish(&self, events: Vec<Event>) -> Boxed<Result<Offset, AppendError>> {
        self.shared.publish(events)
    }

    /// Says who the subscribers are. When it returns, each of them gets every event that is taken in from now on. Until
    /// it is said for the first time nothing is delivered.
    pub async fn subscribe(&self, subscribers: Vec<Subscriber>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Subscribe(subscribers, done)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Says how long events stay that everybody has got.
    pub async fn retain(&self, retention: Retention) -> io::Result<()> {
        self.ask(Command::Retain(retention)).await
    }

    /// Shows a subscriber once more what comes from `start` on, or passes over what comes before. Returns the offset.
    pub async fn move_to(&self, subscriber: &str, start: Start) -> io::Result<Offset> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Move(subscriber.to_owned(), start, done)).await?;
        answer.await.map_err(|_| closed())?
    }

    async fn ask(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).await.map_err(|_| closed())
    }

    /// Where the subscribers are.
    pub fn lags(&self) -> Vec<Lag> {
        let members: Vec<_> = self.shared.members.read().values().cloned().collect();
        let at = self.shared.at.load(Ordering::Relaxed);
        let end = *self.shared.events.end().borrow();
        members.iter().map(|it| it.lag(at, end)).collect()
    }

    /// What the topic's tasks share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends deliveries and writes down how far they are.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the sender goes with the task.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    /// Takes events in, all or none.
    pub fn publish(&self, events: Vec<Event>) -> Boxed<Result<Offset, AppendError>> {
        let records = events.into_iter().map(|it| it.stored_bytes().clone()).collect();
        self.events.append(records, Durability::Disk)
    }

    /// The first event that has not been shown to those who keep up.
    pub fn place(&self) -> Offset {
        self.at.load(Ordering::Relaxed)
    }

    /// The subscriber of that name for all time, as it is now.
    pub fn subscriber(&self, name: &str) -> Option<Arc<Subscriber>> {
        self.members.read().get(name).map(|it| it.subscriber())
    }

    /// Notes that a member's account changed, which had not since it was written down.
    pub fn note(&self, member: &Arc<Member>) {
        self.dirty.lock().push(member.clone());
        self.changed.notify_one();
    }
}

/// The task of a topic.
struct Router {
    shared: Arc<Shared>,
    written: Arc<dyn Log>,
    at: Offset,
    /// Who wants what.
    index: Index<Arc<Member>>,
    /// What is known of subscribers that nobody has told of yet since the start.
    waiting: BTreeMap<String, crate::state::Progress>,
    commands: mpsc::WeakSender<Command>,
    tasks: HashMap<String, (CancellationToken, JoinHandle<()>)>,
    gone: Vec<String>,
    /// Who subscribes is known: before that nothing can be handed on.
    is_told: bool,
    /// A record of state on its way.
    writing: Option<Boxed<Written>>,
    /// Changes were lost on their way, or there have been too many.
    must_write_whole: bool,
    retention: Retention,
    trimmed: Instant,
    stop: CancellationToken,
}

/// How the write of a record of state ended.
struct Written {
    result: Result<Offset, AppendError>,
    whole: bool,
    /// The first event that somebody needed when it was made.
    needed: Offset,
}

impl Router {
    async fn run(mut self, mut asked: mpsc::Receiver<Command>) {
        let mut end = self.shared.events.end();
        let mut write_at: Option<Instant> = None;
        let shared = self.shared.clone();
        loop {
            while let Ok(command) = asked.try_recv() {
                self.obey(command).await;
            }
            if self.stop.is_cancelled() {
                break;
            }
            if write_at.is_some_and(|it| it <= Instant::now()) && self.writing.is_none() {
                write_at = None;
                self.write();
            }
            if self.is_told && self.at < *end.borrow_and_update() {
                self.route().await;
                write_at.get_or_insert_with(|| Instant::now() + WRITE_STATE);
                // Others have their turn, too, while much comes in.
                tokio::task::yield_now().await;
                self.poll_written();
                continue;
            }
            let is_free = self.writing.is_none();
            let written = async {
                match &mut self.writing {
                    Some(writing) => writing.await,
                    None => std::future::pending().await,
                }
            };
            let due = async {
                match write_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = end.changed() => if changed.is_err() { break },
                command = asked.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                written = written => { self.writing = None; self.was_written(written).await; }
                () = due, if is_free => {}
                () = shared.changed.notified(), if write_at.is_none() => {
                    write_at = Some(Instant::now() + WRITE_STATE);
                }
                () = self.stop.cancelled() => break,
            }
        }
        self.end().await;
    }

    /// Hands the next events to those who keep up and want them.
    async fn route(&mut self) {
        let batch = match self.shared.events.read(self.at, READ).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(topic = self.shared.name, %error, "read events; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                return;
            }
        };
        for (offset, event) in events(&self.shared.name, &batch) {
            self.index.find(&event, |members, verdict| {
                for member in members {
                    if verdict.passes {
                        member.take(&self.shared, offset, &event);
                    } else if let Some(failure) = &verdict.failure {
                        member.stumble(|| failure.to_string());
                    }
                }
            });
        }
        self.at = batch.next;
        self.shared.at.store(self.at, Ordering::Relaxed);
        self.shared.events.release(self.at);
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe(subscribers, done) => {
                let result = self.subscribe(subscribers).await;
                let _ = done.send(result); // Who asked may have gone.
            }
            Command::KeepUp(member, seen) => {
                if seen >= self.at {
                    member.keep_up(&self.shared, seen);
                }
                member.wake();
            }
            Command::Retain(retention) => self.retention = retention,
            Command::Move(name, start, done) => {
                let result = self.move_to(&name, start).await;
                let _ = done.send(result); // As above.
            }
        }
    }

    async fn subscribe(&mut self, subscribers: Vec<Subscriber>) -> io::Result<()> {
        let mut members = BTreeMap::new();
        let before = self.shared.members.read().clone();
        let mut is_new = false;
        for subscriber in subscribers {
            let name = subscriber.name.clone();
            let member = match before.get(&name) {
                Some(member) => {
                    member.change(subscriber);
                    member.clone()
                }
                None => {
                    let known = self.waiting.remove(&name);
                    is_new |= known.is_none();
                    let progress = match known {
                        Some(progress) => progress,
                        None => crate::state::Progress {
                            behind: Some(place(&*self.shared.events, subscriber.start).await?),
                            ..Default::default()
                        },
                    };
                    // Before anything new is added to it.
                    let open = progress.open.iter().map(|(at, it)| (*at, it.due_ms)).collect();
                    let member = Member::new(subscriber, progress);
                    let stop = self.stop.child_token();
                    let task = crate::subscriber::run(
                        self.shared.clone(),
                        member.clone(),
                        open,
                        self.commands.clone(),
                        stop.clone(),
                    );
                    self.tasks.insert(name.clone(), (stop, tokio::spawn(task)));
                    member
                }
            };
            members.insert(name, member);
        }
        let gone = before.keys().filter(|it| !members.contains_key(*it)).cloned();
        // Those who were known and are not named any more have left while nobody looked.
        let gone: Vec<_> = gone.chain(std::mem::take(&mut self.waiting).into_keys()).collect();
        for name in &gone {
            if let Some((stop, task)) = self.tasks.remove(name) {
                stop.cancel();
                let _ = task.await; // As above.
            }
        }
        let is_less = !gone.is_empty();
        self.gone.extend(gone);
        let filters = members.values().map(|it| (it.clone(), it.subscriber().filter.clone()));
        self.index = Index::new(filters);
        *self.shared.members.write() = members;
        if is_new || is_less {
            self.write_now().await?;
        }
        self.is_told = true;
        Ok(())
    }

    async fn move_to(&mut self, name: &str, start: Start) -> io::Result<Offset> {
        let member = self.shared.members.read().get(name).cloned();
        let Some(member) = member else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no subscriber {name}")));
        };
        let place = place(&*self.shared.events, start).await?;
        member.move_to(&self.shared, place);
        self.write_now().await?;
        member.wake();
        Ok(place)
    }

    /// A record of what changed, or of everything.
    fn change(&mut self) -> (Change, Offset) {
        let whole = std::mem::take(&mut self.must_write_whole);
        let mut change = Change { whole, at: self.at, ..Change::default() };
        let dirty = std::mem::take(&mut *self.shared.dirty.lock());
        let gone = std::mem::take(&mut self.gone);
        let members = self.shared.members.read();
        let mut needed = self.at;
        if whole {
            for (name, member) in &*members {
                let mut ledger = member.ledger();
                change.subscribers.insert(name.clone(), ledger.whole());
            }
            for (name, progress) in &self.waiting {
                let (behind, open) = (progress.behind, progress.open.clone());
                let update = Update { behind, open, done: Vec::new() };
                change.subscribers.insert(name.clone(), update);
            }
        } else {
            for member in dirty {
                let name = member.name();
                if members.contains_key(name) {
                    change.subscribers.insert(name.to_owned(), member.ledger().update());
                }
            }
            change.gone = gone;
        }
        for member in members.values() {
            needed = needed.min(member.ledger().needed(self.at));
        }
        for progress in self.waiting.values() {
            needed = needed.min(progress.needed(self.at));
        }
        (change, needed)
    }

    /// Begins to write down what changed.
    fn write(&mut self) {
        let (change, needed) = self.change();
        let whole = change.whole;
        let append = self.written.append(vec![change.bytes().into()], Durability::System);
        self.writing = Some(Box::pin(async move {
            let result = append.await;
            Written { result, whole, needed }
        }));
    }

    /// Writes down what changed, on disk.
    async fn write_now(&mut self) -> io::Result<()> {
        if let Some(writing) = self.writing.take() {
            let written = writing.await;
            self.was_written(written).await;
        }
        let (change, needed) = self.change();
        let whole = change.whole;
        let result = self.written.append(vec![change.bytes().into()], Durability::Disk).await;
        let failed = result.as_ref().err().map(|it| io::Error::other(it.to_string()));
        self.was_written(Written { result, whole, needed }).await;
        failed.map_or(Ok(()), Err)
    }

    /// Looks whether the last record is written, without waiting for it.
    fn poll_written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let now = futures::FutureExt::now_or_never(writing);
        if let Some(written) = now {
            self.writing = None;
            self.after_write(&written);
        }
    }

    async fn was_written(&mut self, written: Written) {
        self.after_write(&written);
        if self.trimmed.elapsed() >= TRIM_EVERY && written.result.is_ok() {
            self.trimmed = Instant::now();
            self.trim(&written).await;
        }
    }

    fn after_write(&mut self, written: &Written) {
        match &written.result {
            Ok(_) => self.must_write_whole |= self.written.bytes() > STATE_LIMIT && !written.whole,
            Err(error) => {
                // Nothing is lost but time: what is not written down is done again after a restart.
                tracing::error!(topic = self.shared.name, %error, "write down what was delivered");
                self.must_write_whole = true;
            }
        }
    }

    /// Forgets what nobody needs and nobody wants to keep.
    async fn trim(&mut self, written: &Written) {
        let age_ms = i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX);
        let since_ms = self.shared.clock.now().as_millisecond().saturating_sub(age_ms);
        let keep = Keep { bytes: self.retention.bytes, since_ms };
        let events = self.shared.events.trim(written.needed, keep).await;
        let state = match (&written.result, written.whole) {
            (Ok(offset), true) => self.written.trim(*offset, Keep::NOTHING).await,
            _ => Ok(()),
        };
        if let Err(error) = events.and(state) {
            tracing::warn!(topic = self.shared.name, %error, "forget old events");
        }
    }

    async fn end(mut self) {
        for (_, (stop, task)) in std::mem::take(&mut self.tasks) {
            stop.cancel();
            let _ = task.await; // As above.
        }
        if let Err(error) = self.write_now().await {
            tracing::error!(topic = self.shared.name, %error, "write down what was delivered");
        }
    }
}

/// The offset that `start` means.
pub async fn place(events: &dyn Log, start: Start) -> io::Result<Offset> {
    let end = *events.end().borrow();
    Ok(match start {
        Start::Latest => end,
        Start::Earliest => events.start(),
        Start::Offset(offset) => offset.clamp(events.start(), end),
        Start::Time(time_ms) => events.at(time_ms).await?,
    })
}

/// The events of a batch that can be read.
pub fn events(topic: &str, batch: &Batch) -> impl Iterator<Item = (Offset, Event)> {
    batch.records.iter().filter_map(move |record| match event(record.bytes.clone()) {
        Ok(event) => Some((record.offset, event)),
        Err(error) => {
            tracing::error!(topic, offset = record.offset, %error, "pass over a stored event");
            None
        }
    })
}

/// The event in a record.
pub fn event(bytes: Bytes) -> Result<Event, crate::event::Damaged> {
    Event::stored(bytes)
}

async fn read_state(written: &dyn Log) -> io::Result<State> {
    let mut state = State::default();
    let mut next = written.start();
    loop {
        let batch = written.read(next, READ).await?;
        for record in &batch.records {
            match Change::read(&record.bytes) {
                Ok(change) => state.apply(change),
                Err(error) => tracing::error!(%error, "pass over a record of what was delivered"),
            }
        }
        if batch.next == next {
            return Ok(state);
        }
        next = batch.next;
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the topic is closed")
}

#[cfg(test)]
mod tests;
