//! What makes Brokers, Triggers and InMemoryChannels be planned: their changes, those of what they refer to, and what the
//! dispatcher takes in.

use std::sync::Arc;

use api::{
    duck::Subscriber,
    eventing::{Broker, Trigger},
    messaging::InMemoryChannel,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use runtime::{
    cluster::{Cluster, Key, index::Index},
    events::Recorder,
    plan::{Plan, controller_of},
    queue::Queue,
    reconcile::{Controller, PlanFn},
    resolve,
    tracker::References,
};

use crate::{broker, channel, trigger};

/// What the dispatcher has taken in, asked whenever something is planned; who takes in more adds its key to the [`Queues`].
pub trait Taken: Send + Sync + 'static {
    /// Whether the log of a Broker is open.
    fn broker(&self, broker: &Broker) -> bool;
    /// Whether a Trigger, as its spec and status are, has its place in the Broker's log.
    fn trigger(&self, trigger: &Trigger) -> bool;
    /// Whether the log of a channel is open.
    fn channel(&self, channel: &InMemoryChannel) -> bool;
    /// Whether a subscriber, as it is written there, has its place in the channel's log.
    fn subscriber(&self, channel: &InMemoryChannel, subscriber: &Subscriber) -> bool;
}

/// Keys added here are planned again.
#[derive(Clone, Default)]
pub struct Queues {
    /// Brokers.
    pub brokers: Arc<Queue<Key>>,
    /// Triggers.
    pub triggers: Arc<Queue<Key>>,
    /// InMemoryChannels.
    pub channels: Arc<Queue<Key>>,
}

/// Keeps the statuses of Brokers, Triggers and InMemoryChannels, and the Services of the last, until the cluster stops.
pub fn start(
    cluster: &Cluster,
    recorder: &Recorder,
    taken: &Arc<dyn Taken>,
    system_namespace: &Arc<str>,
) -> Queues {
    let controller = || Controller::new(cluster);
    let (brokers, triggers, channels) = (controller(), controller(), controller());
    let queues = Queues {
        brokers: brokers.queue().clone(),
        triggers: triggers.queue().clone(),
        channels: channels.queue().clone(),
    };
    let own = |component| (cluster.clone(), recorder.named(component), taken.clone());
    let (of_brokers, of_triggers, of_channels) =
        (own("broker-controller"), own("trigger-controller"), own("inmemorychannel-controller"));
    let (system, for_channels) = (system_namespace.clone(), system_namespace.clone());
    cluster.spawn(run_brokers(brokers, of_brokers, system));
    cluster.spawn(run_triggers(triggers, of_triggers));
    cluster.spawn(run_channels(channels, of_channels, for_channels));
    queues
}

/// What each of them needs: the cluster, who tells of events, and the dispatcher.
type Own = (Cluster, Recorder, Arc<dyn Taken>);

async fn run_brokers(mut controller: Controller, own: Own, system_namespace: Arc<str>) {
    let (cluster, recorder, taken) = own;
    let brokers = controller.plans::<Broker>();
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(broker) = brokers.at(key) else { return Plan::nothing() };
            let registered = taken.broker(&broker);
            let seen = broker::Seen { lookup, registered, system_namespace: &system_namespace };
            broker::plan(&broker, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn run_triggers(mut controller: Controller, own: Own) {
    let (cluster, recorder, taken) = own;
    let triggers = controller.plans::<Trigger>();
    let by_broker = Index::new(&triggers, |it| it.spec.broker.iter().cloned().collect());
    let all = triggers.clone();
    let brokers = controller.on_change::<Broker>(move |change, plan| {
        let broker = Key::of(&**change.last());
        by_broker.keys(&broker.namespace, &broker.name).into_iter().for_each(&mut *plan);
        for trigger in all.all() {
            let own = trigger.metadata.namespace.as_deref().unwrap_or_default();
            let leads_here = trigger.spec.broker_ref.as_ref().is_some_and(|it| {
                it.name == *broker.name && resolve::namespace_of(it, own) == &*broker.namespace
            });
            if leads_here {
                plan(Key::of(&*trigger));
            }
        }
    });
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(trigger) = triggers.at(key) else { return Plan::nothing() };
            let its = trigger::broker_key(&trigger);
            let broker = brokers.at(&its);
            let registered = taken.trigger(&trigger);
            let seen = trigger::Seen { broker: broker.as_deref(), lookup, registered };
            trigger::plan(&trigger, &its, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn run_channels(mut controller: Controller, own: Own, system_namespace: Arc<str>) {
    let (cluster, recorder, taken) = own;
    let channels = controller.plans::<InMemoryChannel>();
    // Only the Services of channels.
    let services = cluster.selected::<Service>("messaging.knative.dev/role=in-memory-channel");
    let queue = controller.queue().clone();
    services.on_change(move |change| {
        let meta = &change.last().metadata;
        if let Some(owner) = controller_of(meta, "InMemoryChannel") {
            queue.add(Key::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name));
        }
    });
    services.synced().await;
    let references = References::new(&cluster, controller.queue());
    let plan = move |key: &Key, now: Timestamp| {
        references.plan(key, |lookup| {
            let Some(channel) = channels.at(key) else { return Plan::nothing() };
            let service = services.get(&key.namespace, &channel::service_name(&key.name));
            let seen = channel::Seen {
                lookup,
                registered: taken.channel(&channel),
                subscribed: &|it| taken.subscriber(&channel, it),
                service: service.as_deref(),
                system_namespace: &system_namespace,
            };
            channel::plan(&channel, seen, now)
        })
    };
    controller.run(PlanFn(plan), recorder).await;
}
