//! The topics of a cluster: one for each Broker and each InMemoryChannel, with the subscribers that objects say.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::{
    duck,
    eventing::{Broker, Trigger},
    messaging::{InMemoryChannel, Subscription},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    queue::Queue,
    resolve,
};

use crate::{
    broker,
    objects::{self, Queues, Taken},
    spec,
    subscriber::Subscriber,
    topic::{Retention, Surroundings, Topic},
    trigger,
};

/// Wait before a topic is opened again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// What accepts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Broker.
    Broker,
    /// An InMemoryChannel.
    Channel,
}

/// A topic by its object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The kind of the object.
    pub kind: Kind,
    /// Where the object is.
    pub key: Key,
}

/// The topics of a cluster.
pub struct Dispatcher {
    with: Surroundings,
    brokers: Cache<Broker>,
    triggers: Cache<Trigger>,
    channels: Cache<InMemoryChannel>,
    subscriptions: Cache<Subscription>,
    dirty: Arc<Queue<Name>>,
    /// Those that are open. Readers never wait.
    topics: ArcSwap<HashMap<Name, Arc<Opened>>>,
    queues: OnceLock<Queues>,
}

/// A topic that is open.
pub struct Opened {
    /// The UID of its object.
    uid: String,
    /// Where events go.
    pub topic: Arc<Topic>,
    /// What was taken in of subscribers, by UID: a hash of what their objects say.
    taken: Mutex<HashMap<String, u64>>,
}

impl Dispatcher {
    /// Opens the topics of `cluster`, and tells in the statuses of objects what it has.
    pub fn start(
        cluster: &Cluster,
        with: Surroundings,
        recorder: &Recorder,
        system_namespace: &Arc<str>,
    ) -> Arc<Dispatcher> {
        let dispatcher = Arc::new(Dispatcher {
            with,
            brokers: cluster.cache(),
            triggers: cluster.cache(),
            channels: cluster.cache(),
            subscriptions: cluster.cache(),
            dirty: Arc::default(),
            topics: ArcSwap::default(),
            queues: OnceLock::new(),
        });
        let dirty = dispatcher.dirty.clone();
        dispatcher.brokers.on_change(move |change| {
            dirty.add(Name { kind: Kind::Broker, key: Key::of(&**change.last()) });
        });
        let dirty = dispatcher.dirty.clone();
        dispatcher.channels.on_change(move |change| {
            dirty.add(Name { kind: Kind::Channel, key: Key::of(&**change.last()) });
        });
        let dirty = dispatcher.dirty.clone();
        dispatcher.triggers.on_change(move |change| {
            for trigger in change.old.into_iter().chain(change.new) {
                dirty.add(Name { kind: Kind::Broker, key: trigger::broker_key(trigger) });
            }
        });
        let dirty = dispatcher.dirty.clone();
        dispatcher.subscriptions.on_change(move |change| {
            // What it says comes to the channel's spec, but for its annotations.
            let annotations = |it: &Arc<Subscription>| it.metadata.annotations.clone();
            if change.old.map(annotations) != change.new.map(annotations) {
                let subscription = change.last();
                let own = subscription.metadata.namespace.as_deref().unwrap_or_default();
                let channel = &subscription.spec.channel;
                let key = Key::new(resolve::namespace_of(channel, own), &channel.name);
                dirty.add(Name { kind: Kind::Channel, key });
            }
        });
        let taken: Arc<dyn Taken> = dispatcher.clone();
        let queues = objects::start(cluster, recorder, &taken, system_namespace);
        // Nobody else sets them.
        let _ = dispatcher.queues.set(queues);
        cluster.spawn(dispatcher.clone().keep(cluster.clone()));
        dispatcher
    }

    /// Waits until all objects are known; topics open after that.
    pub async fn synced(&self) {
        self.brokers.synced().await;
        self.triggers.synced().await;
        self.channels.synced().await;
        self.subscriptions.synced().await;
    }

    /// The topic of that name, if it is open.
    pub fn topic(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Opened>> {
        let name = Name { kind, key: Key::new(namespace, name) };
        self.topics.load().get(&name).cloned()
    }

    /// All topics that are open.
    pub fn topics(&self) -> BTreeMap<Name, Arc<Opened>> {
        self.topics.load().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect()
    }

    /// Opens and closes topics as objects come and go, until the cluster stops.
    async fn keep(self: Arc<Self>, cluster: Cluster) {
        let stop = cluster.stop().clone();
        let work = async {
            self.synced().await;
            self.tidy().await;
            loop {
                let name = self.dirty.next().await;
                if let Err(error) = self.sync(&name).await {
                    tracing::error!(topic = %name.key, %error, "open the log of a broker or channel");
                    self.dirty.add_after(name.clone(), AGAIN);
                }
                self.dirty.done(&name);
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
        let topics = self.topics.swap(Arc::default());
        for opened in topics.values() {
            opened.topic.close().await;
        }
    }

    /// Removes the logs of what went while nobody looked.
    async fn tidy(&self) {
        let brokers = self.brokers.all().into_iter().filter_map(|it| it.metadata.uid.clone());
        let channels = self.channels.all().into_iter().filter_map(|it| it.metadata.uid.clone());
        let known: Vec<_> = brokers.chain(channels).collect();
        let tidied = async {
            for name in Topic::names(&*self.with.store).await? {
                if !known.iter().any(|it| name.ends_with(it.as_str())) {
                    Topic::remove(&self.with, &name).await?;
                }
            }
            io::Result::Ok(())
        };
        if let Err(error) = tidied.await {
            tracing::warn!(%error, "remove the logs of what is gone");
        }
    }

    async fn sync(&self, name: &Name) -> io::Result<()> {
        let wanted = self.wanted(name);
        let before = self.topics.load().get(name).cloned();
        let uid = wanted.as_ref().map(|(uid, _)| uid.clone());
        let (kept, gone) = match before {
            Some(opened) if Some(&opened.uid) == uid.as_ref() => (Some(opened), None),
            other => (None, other),
        };
        if let Some(gone) = gone {
            self.topics.rcu(|topics| {
                let mut topics = (**topics).clone();
                topics.remove(name);
                topics
            });
            gone.topic.close().await;
            Topic::remove(&self.with, &log_name(name, &gone.uid)).await?;
        }
        let Some((uid, subscribers)) = wanted else { return Ok(()) };
        let hashes: HashMap<_, _> =
            subscribers.iter().map(|(it, hash)| (it.name.clone(), *hash)).collect();
        let subscribers = subscribers.into_iter().map(|(it, _)| it).collect();
        let opened = match kept {
            Some(opened) => {
                opened.topic.subscribe(subscribers).await?;
                *opened.taken.lock() = hashes;
                opened
            }
            None => {
                let topic = Arc::new(Topic::open(&self.with, &log_name(name, &uid)).await?);
                topic.subscribe(subscribers).await?;
                let opened = Arc::new(Opened { uid, topic, taken: Mutex::new(hashes) });
                self.topics.rcu(|topics| {
                    let mut topics = (**topics).clone();
                    topics.insert(name.clone(), opened.clone());
                    topics
                });
                opened
            }
        };
        opened.topic.retain(self.retention(name)).await?;
        self.tell(name, &opened);
        Ok(())
    }

    /// Lets the objects be planned that a topic is for.
    fn tell(&self, name: &Name, opened: &Opened) {
        let Some(queues) = self.queues.get() else { return };
        match name.kind {
            Kind::Channel => queues.channels.add(name.key.clone()),
            Kind::Broker => {
                queues.brokers.add(name.key.clone());
                let taken = opened.taken.lock();
                for trigger in self.triggers_of(&name.key) {
                    if taken.contains_key(trigger.metadata.uid.as_deref().unwrap_or_default()) {
                        queues.triggers.add(Key::of(&*trigger));
                    }
                }
            }
        }
    }

    /// What a topic should be: the UID of its object, and its subscribers with a hash of what their objects say.
    fn wanted(&self, name: &Name) -> Option<(String, Vec<(Subscriber, u64)>)> {
        match name.kind {
            Kind::Broker => {
                let broker = self.brokers.at(&name.key).filter(|it| broker::is_ours(it))?;
                let triggers = self.triggers_of(&name.key);
                let subscribers =
                    triggers.iter().map(|it| (spec::trigger(it, &broker), hash_of_trigger(it)));
                Some((broker.metadata.uid.clone()?, subscribers.collect()))
            }
            Kind::Channel => {
                let channel = self.channels.at(&name.key)?;
                let all = channel.spec.subscribers.iter();
                let subscribers = all.map(|it| {
                    let annotations = self.annotations_of(it.uid.as_deref().unwrap_or_default());
                    (spec::subscriber(&channel, it, &annotations), hash_of_subscriber(it))
                });
                Some((channel.metadata.uid.clone()?, subscribers.collect()))
            }
        }
    }

    /// How long a topic keeps its events.
    fn retention(&self, name: &Name) -> Retention {
        let annotations = match name.kind {
            Kind::Broker => self.brokers.at(&name.key).map(|it| it.metadata.annotations.clone()),
            Kind::Channel => self.channels.at(&name.key).map(|it| it.metadata.annotations.clone()),
        };
        spec::retention(&annotations.flatten().unwrap_or_default())
    }

    fn annotations_of(&self, subscription: &str) -> BTreeMap<String, String> {
        let all = self.subscriptions.all();
        let its = all.iter().find(|it| it.metadata.uid.as_deref() == Some(subscription));
        its.and_then(|it| it.metadata.annotations.clone()).unwrap_or_default()
    }

    fn triggers_of(&self, broker: &Key) -> Vec<Arc<Trigger>> {
        let mut triggers = self.triggers.all();
        triggers.retain(|it| trigger::broker_key(it) == *broker);
        triggers
    }
}

impl Taken for Dispatcher {
    fn broker(&self, broker: &Broker) -> bool {
        let key = Key::of(broker);
        let opened = self.topic(Kind::Broker, &key.namespace, &key.name);
        opened.is_some_and(|it| Some(&it.uid) == broker.metadata.uid.as_ref())
    }

    fn trigger(&self, trigger: &Trigger) -> bool {
        let broker = trigger::broker_key(trigger);
        let Some(opened) = self.topic(Kind::Broker, &broker.namespace, &broker.name) else {
            return false;
        };
        let uid = trigger.metadata.uid.as_deref().unwrap_or_default();
        opened.taken.lock().get(uid) == Some(&hash_of_trigger(trigger))
    }

    fn channel(&self, channel: &InMemoryChannel) -> bool {
        let key = Key::of(channel);
        let opened = self.topic(Kind::Channel, &key.namespace, &key.name);
        opened.is_some_and(|it| Some(&it.uid) == channel.metadata.uid.as_ref())
    }

    fn subscriber(&self, channel: &InMemoryChannel, subscriber: &duck::Subscriber) -> bool {
        let key = Key::of(channel);
        let Some(opened) = self.topic(Kind::Channel, &key.namespace, &key.name) else {
            return false;
        };
        let uid = subscriber.uid.as_deref().unwrap_or_default();
        opened.taken.lock().get(uid) == Some(&hash_of_subscriber(subscriber))
    }
}

/// The name of a topic's logs: no object has the same UID ever again.
fn log_name(name: &Name, uid: &str) -> String {
    let kind = match name.kind {
        Kind::Broker => "broker",
        Kind::Channel => "channel",
    };
    format!("{kind}-{}-{}-{uid}", name.key.namespace, name.key.name)
}

/// What of a Trigger makes a difference to its deliveries.
fn hash_of_trigger(trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    trigger.metadata.generation.hash(&mut hasher);
    trigger.status.as_ref().map(|it| &it.subscriber_uri).hash(&mut hasher);
    trigger.status.as_ref().map(|it| &it.dead_letter_sink_uri).hash(&mut hasher);
    hasher.finish()
}

/// What of a channel's subscriber makes a difference to its deliveries.
fn hash_of_subscriber(subscriber: &duck::Subscriber) -> u64 {
    let mut hasher = DefaultHasher::new();
    subscriber.generation.hash(&mut hasher);
    subscriber.subscriber_uri.hash(&mut hasher);
    subscriber.reply_uri.hash(&mut hasher);
    hasher.finish()
}
