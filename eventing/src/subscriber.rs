//! Who gets a topic's events, and the task that brings them: a bound on what is under way, tries again, order, and the
//! way of what is not taken into dead letters.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    dead::About,
    deliver::{Answers, Format, Manner, Target, offer},
    event::{self, Event, Value},
    filter::Filter,
    ledger::Ledger,
    log::{Batch, Boxed, Offset},
    policy::{Failure, Next, Policy, after},
    recent::{self, Recent},
    state::{Open, Progress, Reason},
    topic::{Command, Lag, Shared, event, events},
};

/// Bytes that a subscriber which does not keep up reads at once.
const READ: usize = 128 << 10;
/// Wait before something is tried again that failed in the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Who gets events, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The name under which is written down what it has got: no other may ever have it. A UID.
    pub name: String,
    /// Namespace and name, for people.
    pub label: String,
    /// On whose behalf events are sent.
    pub namespace: String,
    /// Which events it wants.
    pub filter: Filter,
    /// Where they go. Absent while nobody knows; until then they wait.
    pub target: Option<Target>,
    /// Where events in answers go.
    pub reply: Reply,
    /// Where events go that it did not take; without, they are kept among the topic's dead letters.
    pub dead_letter_sink: Option<Target>,
    /// How often it is tried, also to send to the dead letter sink.
    pub policy: Policy,
    /// In what form events are sent.
    pub format: Format,
    /// Events under way at a time, at most; at least 1.
    pub in_flight: usize,
    /// The attribute whose value tells events apart that may overtake each other.
    pub order_key: Option<String>,
    /// For how long an event is left out whose `source` and `id` came before.
    pub deduplicate: Option<Duration>,
    /// Nothing is delivered until this is over; nothing is lost meanwhile.
    pub paused: bool,
    /// Where it begins when it is new.
    pub start: Start,
}

/// Where events in answers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nowhere.
    Nothing,
    /// Into the topic itself. An answer that is neither empty nor an event is a failure.
    Topic,
    /// To somebody else.
    To(Target),
}

/// Where a new subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Latest,
    /// With the oldest that is still there.
    Earliest,
    /// With this one.
    Offset(Offset),
    /// With the first that was taken in then or later, in milliseconds since 1970.
    Time(i64),
}

/// A subscriber at work.
pub struct Member {
    name: String,
    subscriber: ArcSwap<Subscriber>,
    ledger: Mutex<Ledger>,
    wake: Notify,
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    again: AtomicU64,
    failure: Mutex<Option<String>>,
    unfiltered: AtomicU64,
    stumbled: Mutex<Option<String>>,
}

impl Subscriber {
    /// Whether nothing can be delivered for now.
    fn is_idle(&self) -> bool {
        self.paused || self.target.is_none()
    }
}

impl Member {
    /// A subscriber that has got that far.
    pub fn new(subscriber: Subscriber, progress: Progress) -> Arc<Member> {
        Arc::new(Member {
            name: subscriber.name.clone(),
            subscriber: ArcSwap::from_pointee(subscriber),
            ledger: Mutex::new(Ledger::new(progress)),
            wake: Notify::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            again: AtomicU64::new(0),
            failure: Mutex::default(),
            unfiltered: AtomicU64::new(0),
            stumbled: Mutex::default(),
        })
    }

    /// Its name for all time.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes what it wants and where it gets it. What is under way goes on as it was.
    pub fn change(&self, subscriber: Subscriber) {
        if **self.subscriber.load() != subscriber {
            self.subscriber.store(Arc::new(subscriber));
            self.wake.notify_one();
        }
    }

    /// What it has still to get.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Who it is.
    pub fn subscriber(&self) -> Arc<Subscriber> {
        self.subscriber.load_full()
    }

    /// Notes that its filter failed on an event, which it does not get then.
    pub fn stumble(&self, why: impl FnOnce() -> String) {
        // Of many the first are told, and then ever fewer: it may happen with each event.
        let count = self.unfiltered.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            *self.stumbled.lock() = Some(why());
        }
    }

    /// Gives it an event of the topic's that it wants.
    pub fn take(self: &Arc<Self>, topic: &Shared, offset: Offset, event: &Event) {
        if self.account(topic, |ledger| ledger.take(offset, event)) {
            self.wake.notify_one();
        }
    }

    /// Does something to its account, and notes it if it changed, as `act` says. Returns the same.
    fn account(self: &Arc<Self>, topic: &Shared, act: impl FnOnce(&mut Ledger) -> bool) -> bool {
        let (changed, is_first) = {
            let mut ledger = self.ledger.lock();
            let changed = act(&mut ledger);
            (changed, changed && ledger.touch())
        };
        if is_first {
            topic.note(self);
        }
        changed
    }

    /// Lets it have from the topic what comes from `seen` on.
    pub fn keep_up(self: &Arc<Self>, topic: &Shared, seen: Offset) {
        self.account(topic, |ledger| {
            // It may have been sent somewhere else meanwhile.
            let is_there = ledger.behind() == Some(seen);
            if is_there {
                ledger.keep_up(seen);
            }
            is_there
        });
    }

    /// Lets it read for itself from `place` on.
    pub fn move_to(self: &Arc<Self>, topic: &Shared, place: Offset) {
        self.account(topic, |ledger| {
            ledger.move_to(place);
            true
        });
    }

    /// Lets its task look again.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Where it is.
    pub fn lag(&self, at: Offset, end: Offset) -> Lag {
        let ledger = self.ledger.lock();
        Lag {
            name: self.name.clone(),
            label: self.subscriber.load().label.clone(),
            end,
            at: ledger.behind().unwrap_or(at),
            open: ledger.open_count(),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            again: self.again.load(Ordering::Relaxed),
            failure: self.failure.lock().clone(),
            unfiltered: self.unfiltered.load(Ordering::Relaxed),
            stumbled: self.stumbled.lock().clone(),
        }
    }
}

/// What became of a try.
struct Tried {
    offset: Offset,
    /// Bytes of the event, if the account counts them as held.
    held: usize,
    verdict: Verdict,
}

enum Verdict {
    Done,
    /// It is open again, in this way.
    Open(Open),
}

/// The task of one subscriber.
struct Work {
    topic: Arc<Shared>,
    member: Arc<Member>,
    commands: mpsc::WeakSender<Command>,
    flights: FuturesUnordered<Boxed<Tried>>,
    /// What waits for its next try, by the date.
    waits: BTreeSet<(i64, Offset)>,
    /// Events that may not overtake one that is open, by the hash of their key. A key is there while one is open.
    keys: HashMap<u64, VecDeque<(Offset, Event)>>,
    key_of: HashMap<Offset, u64>,
    reading: Option<(Offset, Boxed<io::Result<Batch>>)>,
    /// What came lately, where what comes again is left out.
    recent: Option<(Duration, Recent)>,
    /// The topic was asked to hand on what comes.
    asked: Option<Offset>,
}

/// Delivers to `member` until `stop`, first what was `open` when the process ended: offsets and when they are due.
pub async fn run(
    topic: Arc<Shared>,
    member: Arc<Member>,
    open: Vec<(Offset, i64)>,
    commands: mpsc::WeakSender<Command>,
    stop: CancellationToken,
) {
    let mut work = Work {
        topic,
        member,
        commands,
        flights: FuturesUnordered::new(),
        waits: BTreeSet::new(),
        keys: HashMap::new(),
        key_of: HashMap::new(),
        reading: None,
        recent: None,
        asked: None,
    };
    tokio::select! {
        () = work.run(open) => {}
        () = stop.cancelled() => {}
    }
}

impl Work {
    async fn run(&mut self, open: Vec<(Offset, i64)>) {
        self.resume(open).await;
        let mut end = self.topic.events.end();
        let member = self.member.clone();
        loop {
            let subscriber = member.subscriber.load_full();
            let reached = *end.borrow_and_update();
            let is_behind = self.catch_up(reached).await;
            self.start(&subscriber);
            let due = match self.waits.first() {
                Some((due_ms, _)) if !subscriber.is_idle() => {
                    let wait = due_ms - self.topic.clock.now().as_millisecond();
                    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
                }
                _ => None,
            };
            let is_full = self.flights.len() >= subscriber.in_flight;
            let due = async {
                match due {
                    Some(wait) if !is_full => tokio::time::sleep(wait).await,
                    _ => std::future::pending().await,
                }
            };
            let read = async {
                match &mut self.reading {
                    Some((_, reading)) => reading.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(tried) = self.flights.next() => self.land(tried),
                read = read => self.was_read(read, &subscriber).await,
                () = member.wake.notified() => {}
                () = due => {}
                changed = end.changed(), if is_behind => if changed.is_err() { return },
            }
        }
    }

    /// Takes up what was open when the process ended.
    async fn resume(&mut self, open: Vec<(Offset, i64)>) {
        self.remember().await;
        let order_key = self.member.subscriber.load().order_key.clone();
        for (offset, due_ms) in open {
            if let Some(order_key) = &order_key {
                // Its key must be known before anything else begins.
                if let Some(event) = read_one(&self.topic, offset).await
                    && let Some(key) = key(&event, order_key)
                {
                    if let Some(waiting) = self.keys.get_mut(&key) {
                        waiting.push_back((offset, event));
                        continue;
                    }
                    self.keys.insert(key, VecDeque::new());
                    self.key_of.insert(offset, key);
                }
            }
            self.waits.insert((due_ms, offset));
        }
    }

    /// Learns from the log what came lately, if that makes a difference. Where it cannot be read, events may come again.
    async fn remember(&mut self) {
        let subscriber = self.member.subscriber();
        let Some(window) = subscriber.deduplicate else { return };
        let (log, now_ms) = (&self.topic.events, self.topic.clock.now().as_millisecond());
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let end = self.topic.place();
        let end = self.member.ledger().behind().unwrap_or(end);
        let mut recent = Recent::new(window);
        let mut next = log.at(now_ms.saturating_sub(window_ms)).await.unwrap_or(end);
        next = next.max(end.saturating_sub(recent::LIMIT as Offset));
        while next < end {
            let Ok(batch) = log.read(next, READ).await else { break };
            for record in batch.records.iter().take_while(|it| it.offset < end) {
                if let Ok(event) = event(record.bytes.clone())
                    && subscriber.filter.check(&event).passes
                {
                    recent.is_first(&event, record.offset, record.time_ms);
                }
            }
            if batch.next == next {
                break;
            }
            next = batch.next;
        }
        self.recent = Some((window, recent));
    }

    /// Whether an event came lately that is the same, and is to be left out.
    fn is_again(&mut self, subscriber: &Subscriber, offset: Offset, event: &Event) -> bool {
        let Some(window) = subscriber.deduplicate else {
            self.recent = None;
            return false;
        };
        if self.recent.as_ref().is_none_or(|(its, _)| *its != window) {
            self.recent = Some((window, Recent::new(window)));
        }
        let now_ms = self.topic.clock.now().as_millisecond();
        self.recent.as_mut().is_some_and(|(_, it)| !it.is_first(event, offset, now_ms))
    }

    /// Begins as many tries as may be under way.
    fn start(&mut self, subscriber: &Arc<Subscriber>) {
        if subscriber.is_idle() {
            return;
        }
        while self.flights.len() < subscriber.in_flight {
            if let Some((due_ms, offset)) = self.waits.first().copied()
                && due_ms <= self.topic.clock.now().as_millisecond()
            {
                self.waits.pop_first();
                self.fly(subscriber, offset, None);
                continue;
            }
            let Some((offset, event)) = self.member.ledger().pop() else { return };
            if self.is_again(subscriber, offset, &event) {
                self.member.again.fetch_add(1, Ordering::Relaxed);
                let held = event.stored_bytes().len();
                self.land(Tried { offset, held, verdict: Verdict::Done });
                continue;
            }
            if let Some(key) = subscriber.order_key.as_deref().and_then(|it| key(&event, it)) {
                if let Some(waiting) = self.keys.get_mut(&key) {
                    waiting.push_back((offset, event));
                    continue;
                }
                self.keys.insert(key, VecDeque::new());
                self.key_of.insert(offset, key);
            }
            self.fly(subscriber, offset, Some(event));
        }
    }

    fn fly(&mut self, subscriber: &Arc<Subscriber>, offset: Offset, event: Option<Event>) {
        let Some(open) = self.member.ledger().get(offset).cloned() else { return };
        let held = event.as_ref().map_or(0, |it| it.stored_bytes().len());
        let (topic, member, subscriber) =
            (self.topic.clone(), self.member.clone(), subscriber.clone());
        self.flights.push(Box::pin(async move {
            let event = match event {
                Some(event) => Some(event),
                None => read_one(&topic, offset).await,
            };
            let verdict = match event {
                Some(event) => attempt(&topic, &member, &subscriber, offset, open, event).await,
                // It was told when it was read.
                None => Verdict::Done,
            };
            Tried { offset, held, verdict }
        }));
    }

    /// Takes note of what became of a try.
    fn land(&mut self, tried: Tried) {
        let Tried { offset, held, verdict } = tried;
        if let Verdict::Open(open) = verdict {
            self.waits.insert((open.due_ms, offset));
            self.member.account(&self.topic, |ledger| {
                ledger.release(held);
                ledger.set(offset, open);
                true
            });
            return;
        }
        self.member.account(&self.topic, |ledger| {
            ledger.release(held);
            ledger.finish(offset);
            true
        });
        let Some(key) = self.key_of.remove(&offset) else { return };
        let Some((offset, event)) = self.keys.get_mut(&key).and_then(VecDeque::pop_front) else {
            self.keys.remove(&key);
            return;
        };
        self.key_of.insert(offset, key);
        let subscriber = self.member.subscriber.load_full();
        self.fly(&subscriber, offset, Some(event));
    }

    /// Reads on for who does not keep up; returns whether it is one.
    async fn catch_up(&mut self, end: Offset) -> bool {
        let (behind, has_room) = {
            let ledger = self.member.ledger();
            (ledger.behind(), ledger.has_room())
        };
        let Some(place) = behind else { return false };
        if self.reading.is_some() || !has_room {
            return true;
        }
        if place < end {
            self.asked = None;
            self.reading = Some((place, self.topic.events.read(place, READ)));
        } else if self.asked != Some(place)
            && let Some(commands) = self.commands.upgrade()
        {
            self.asked = Some(place);
            let command = Command::KeepUp(self.member.clone(), place);
            let _ = commands.send(command).await; // The topic may have ended, and so will this.
        }
        true
    }

    async fn was_read(&mut self, read: io::Result<Batch>, subscriber: &Subscriber) {
        let Some((place, _)) = self.reading.take() else { return };
        let batch = match read {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(topic = self.topic.name, %error, "read events; trying again");
                tokio::time::sleep(STORE_PAUSE).await;
                return;
            }
        };
        let member = &self.member;
        member.account(&self.topic, |ledger| {
            if ledger.behind() != Some(place) {
                return false; // It was sent somewhere else meanwhile.
            }
            let mut reached = batch.next;
            for (offset, event) in events(&self.topic.name, &batch) {
                let verdict = subscriber.filter.check(&event);
                if let Some(failure) = verdict.failure {
                    member.stumble(|| failure.to_string());
                }
                if verdict.passes
                    && ledger.get(offset).is_none()
                    && !ledger.take_own(offset, &event)
                {
                    reached = offset;
                    break;
                }
            }
            ledger.move_to(reached);
            true
        });
    }
}

/// The event at `offset`; nothing if it cannot be read, which was told then.
async fn read_one(topic: &Shared, offset: Offset) -> Option<Event> {
    loop {
        match topic.events.read(offset, 1).await {
            Ok(batch) => {
                let record = batch.records.into_iter().find(|it| it.offset == offset);
                return record.and_then(|it| event(it.bytes).ok());
            }
            Err(error) => {
                tracing::error!(topic = topic.name, offset, %error, "read an event; trying again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}

/// Tries once to deliver an open event to whom it goes now.
async fn attempt(
    topic: &Shared,
    member: &Member,
    subscriber: &Subscriber,
    offset: Offset,
    open: Open,
    event: Event,
) -> Verdict {
    let tried = match &open.dead {
        None => deliver(topic, subscriber, &event).await,
        Some(reason) => bury(topic, subscriber, &event, reason).await,
    };
    let failure = match tried {
        Ok(()) => {
            if open.dead.is_none() {
                member.delivered.fetch_add(1, Ordering::Relaxed);
                if member.failed.load(Ordering::Relaxed) > 0 {
                    *member.failure.lock() = None;
                }
            }
            return Verdict::Done;
        }
        Err(failure) => failure,
    };
    member.failed.fetch_add(1, Ordering::Relaxed);
    let now_ms = topic.clock.now().as_millisecond();
    tracing::debug!(
        topic = topic.name, subscriber = subscriber.label, offset,
        id = event.id(), source = event.source(), failure = %describe(&failure),
        "an event was not taken"
    );
    *member.failure.lock() = Some(describe(&failure));
    let failures = open.failures + 1;
    if let Next::Again(wait) = after(&subscriber.policy, failures, &failure) {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let due_ms = now_ms.saturating_add(wait_ms);
        return Verdict::Open(Open { failures, due_ms, dead: open.dead });
    }
    if open.dead.is_none() {
        member.dead.fetch_add(1, Ordering::Relaxed);
        if subscriber.dead_letter_sink.is_some() {
            let dead = Some(reason(&failure));
            return Verdict::Open(Open { failures: 0, due_ms: 0, dead });
        }
    }
    // Why the subscriber did not take it says more than why the sink did not.
    let reason = open.dead.clone().unwrap_or_else(|| reason(&failure));
    let about = About {
        subscriber: subscriber.name.clone(),
        label: subscriber.label.clone(),
        offset,
        reason,
    };
    match topic.dead.keep(&about, &event).await {
        Ok(_) => Verdict::Done,
        Err(error) => {
            tracing::error!(topic = topic.name, %error, "keep a dead letter; trying again");
            let pause_ms = i64::try_from(STORE_PAUSE.as_millis()).unwrap_or(i64::MAX);
            Verdict::Open(Open { due_ms: now_ms.saturating_add(pause_ms), ..open })
        }
    }
}

/// Sends the event to the subscriber, and the event in its answer on.
pub async fn deliver(
    topic: &Shared,
    subscriber: &Subscriber,
    event: &Event,
) -> Result<(), Failure> {
    let manner = Manner {
        namespace: &subscriber.namespace,
        format: subscriber.format,
        timeout: subscriber.policy.timeout,
        answer: match subscriber.reply {
            Reply::Topic => Answers::EventOrNothing,
            Reply::To(_) | Reply::Nothing => Answers::Event,
        },
    };
    let courier = &*topic.courier;
    let Some(target) = &subscriber.target else {
        // It was known when this try began to wait for its turn.
        return Err(Failure {
            destination: subscriber.label.clone(),
            code: None,
            data: b"the address of the subscriber is not known".to_vec(),
            retry_after: None,
        });
    };
    let Some(answer) = offer(courier, target, event, &manner).await? else {
        return Ok(());
    };
    match &subscriber.reply {
        Reply::Nothing => Ok(()),
        Reply::Topic => {
            // Answers to answers end some time.
            let hops = event.hops().unwrap_or(u8::MAX).saturating_sub(1);
            if hops == 0 {
                tracing::warn!(
                    topic = topic.name,
                    subscriber = subscriber.label,
                    id = answer.id(),
                    "an answer goes no further: too many brokers have passed on what it answers"
                );
                return Ok(());
            }
            let answer = with_arrival(answer.with_hops(Some(hops)), topic);
            topic.publish(vec![answer]).await.map(drop).map_err(|error| Failure {
                destination: topic.name.clone(),
                code: Some(503),
                data: error.to_string().into_bytes(),
                retry_after: None,
            })
        }
        Reply::To(target) => {
            let manner = Manner { answer: Answers::Nothing, ..manner };
            offer(courier, target, &answer, &manner).await.map(drop)
        }
    }
}

fn with_arrival(event: Event, topic: &Shared) -> Event {
    let now = topic.clock.now().to_string();
    let stamped = event.with(&[(event::ARRIVAL, Value::String(&now))]);
    stamped.unwrap_or(event)
}

/// Sends the event to the dead letter sink.
async fn bury(
    topic: &Shared,
    subscriber: &Subscriber,
    event: &Event,
    reason: &Reason,
) -> Result<(), Failure> {
    let Some(sink) = &subscriber.dead_letter_sink else {
        // It had one; what is left is to keep the event.
        return Err(Failure {
            destination: reason.destination.clone(),
            code: Some(410),
            data: Vec::new(),
            retry_after: None,
        });
    };
    let manner = Manner {
        namespace: &subscriber.namespace,
        format: subscriber.format,
        timeout: subscriber.policy.timeout,
        answer: Answers::Nothing,
    };
    let code = i32::from(reason.code.unwrap_or(500));
    let mut extensions = vec![
        (event::ERROR_DESTINATION, Value::String(&reason.destination)),
        (event::ERROR_CODE, Value::Integer(code)),
    ];
    if !reason.data.is_empty() {
        extensions.push((event::ERROR_DATA, Value::String(&reason.data)));
    }
    let letter = event.with(&extensions).unwrap_or_else(|error| {
        tracing::warn!(topic = topic.name, %error, "a dead letter cannot say why it is one");
        event.clone()
    });
    offer(&*topic.courier, sink, &letter, &manner).await.map(drop)
}

fn reason(failure: &Failure) -> Reason {
    Reason {
        destination: failure.destination.clone(),
        code: failure.code,
        data: BASE64_STANDARD.encode(&failure.data),
    }
}

/// A failure in words.
pub fn describe(failure: &Failure) -> String {
    let text = String::from_utf8_lossy(&failure.data);
    match failure.code {
        Some(code) => format!("{} answered {code}: {}", failure.destination, text.trim()),
        None => format!("{}: {}", failure.destination, text.trim()),
    }
}

/// The hash of what an event may not be overtaken by.
fn key(event: &Event, attribute: &str) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match event.attribute(attribute)? {
        Value::String(text) => text.hash(&mut hasher),
        Value::Boolean(value) => value.hash(&mut hasher),
        Value::Integer(value) => value.hash(&mut hasher),
    }
    Some(hasher.finish())
}
