//! One revision that has requests: its pods, who waits for them, and its load.
//!
//! All of it is behind one lock, taken twice a request for as long as it takes to compare a few
//! numbers.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::load::PodLoad;
use http::StatusCode;
use parking_lot::Mutex;
use proxy::{hop::Protocol, tls::client::Identity};
use runtime::cluster::{Cluster, Key};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    assign::{Asked, Assign, PodId, Ticket},
    backends::{Backends, Probe, Seen},
    load::{Load, Taken},
    telling::OfRevision,
    way::Way,
};

/// Where a pod's queue listens, and what it speaks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub at: SocketAddr,
    pub protocol: Protocol,
}

/// What a revision says about its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Requests that one pod may have in flight; none is no limit.
    pub limit: Option<u32>,
    /// Longest time that a request may take, waiting included.
    pub timeout: Duration,
    /// Longest time until the response starts, waiting included.
    pub response_start: Option<Duration>,
    /// Whether pods may be asked before Kubernetes calls them ready.
    pub may_ask: bool,
}

/// A revision that has, or had a moment ago, requests in flight.
pub struct Revision {
    pub key: Key,
    pub facts: Facts,
    told: Arc<OfRevision>,
    /// Who its queues are, once that was asked for.
    identity: OnceLock<Identity>,
    /// The moment from which its load counts time.
    began: Instant,
    state: Mutex<State>,
}

/// A request in flight or waiting, until dropped.
pub struct Flight {
    revision: Arc<Revision>,
    place: Place,
    method: &'static str,
    arrived: Instant,
    /// What the client was answered.
    pub code: StatusCode,
}

/// Too many requests wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

struct State {
    assign: Assign<oneshot::Sender<PodId>, Address>,
    backends: Backends<Address>,
    load: Load,
    /// When the first request came that found no pod, while none has been found since.
    cold_since: Option<Instant>,
    /// Set when the revision was idle and is not to be found any more.
    retired: bool,
}

enum Place {
    Pod(PodId, Address),
    Queue(Ticket, oneshot::Receiver<PodId>),
    Nowhere,
}

/// Longest wait for the answer to a probe: longer than a queue tries when its probe is eager.
const PROBE_TIMEOUT: Duration = Duration::from_secs(11);
/// Shortest time between two probes of a pod.
const PROBE_OFTEN: Duration = Duration::from_millis(2);
/// Longest time between two probes of a pod that may become ready at any moment.
const PROBE_SOON: Duration = Duration::from_millis(10);
/// Time between two probes of a pod that has not become ready for long. Source: upstream's period.
const PROBE_LATE: Duration = Duration::from_millis(200);
/// When a pod has not become ready for long.
const LATE: Duration = Duration::from_secs(10);

impl Revision {
    /// A revision without pods or requests, of which at most `waiting` wait at a time.
    pub fn new(key: Key, facts: Facts, waiting: usize, told: Arc<OfRevision>) -> Revision {
        Revision {
            key,
            facts,
            told,
            identity: OnceLock::new(),
            began: Instant::now(),
            state: Mutex::new(State {
                assign: Assign::new(facts.limit, waiting),
                backends: Backends::new(facts.may_ask),
                load: Load::default(),
                cold_since: None,
                retired: false,
            }),
        }
    }

    /// Lets a request in. The second value is true when it is the first after an idle time. None when
    /// the revision is retired: look it up again.
    pub fn enter(
        self: &Arc<Self>,
        method: &'static str,
        arrived: Instant,
    ) -> Option<(Result<Flight, Full>, bool)> {
        let now = self.now();
        let mut state = self.state.lock();
        if state.retired {
            return None;
        }
        let first = state.load.enter(now);
        let place = state.ask();
        if place.is_none() {
            state.load.leave(now);
        }
        drop(state);
        // What there is when the client leaves before there is an answer.
        let code = StatusCode::BAD_GATEWAY;
        let flight =
            place.map(|place| Flight { revision: self.clone(), place, method, arrived, code });
        Some((flight.ok_or(Full), first))
    }

    /// Takes the endpoints as they are now, and probes pods that are new and not ready.
    pub fn observe(self: &Arc<Self>, all: &[Seen<Address>], way: &Arc<Way>, cluster: &Cluster) {
        let probes = {
            let mut state = self.state.lock();
            let State { assign, backends, .. } = &mut *state;
            let probes = backends.observe(all, assign);
            state.grant();
            probes
        };
        for probe in probes {
            self.probe(probe, way, cluster);
        }
    }

    /// What to report. A revision that was idle since the last report is retired.
    pub fn take_load(&self) -> Taken {
        let mut state = self.state.lock();
        let taken = state.load.take(self.now());
        state.retired |= taken.idle;
        taken
    }

    /// The pods that have requests in flight. Empty for a single pod: nobody chooses among one.
    pub fn busy_pods(&self) -> Vec<PodLoad> {
        let state = self.state.lock();
        if state.backends.len() < 2 {
            return Vec::new();
        }
        let pods = state.backends.names().map(|(pod, name)| PodLoad {
            pod: name.to_owned(),
            in_flight: state.assign.in_flight(pod),
        });
        pods.filter(|it| it.in_flight > 0 && !it.pod.is_empty()).collect()
    }

    /// Who its queues are.
    pub fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| Identity::queue(&self.key.namespace))
    }

    /// What is measured of it.
    pub fn told(&self) -> &OfRevision {
        &self.told
    }

    /// Requests that wait for a pod.
    pub fn waiting(&self) -> usize {
        self.state.lock().assign.waiting()
    }

    /// Requests in flight, those that wait included.
    pub fn in_flight(&self) -> u32 {
        self.state.lock().load.in_flight()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks the pod until it is ready, or gone, or not asked any more.
    fn probe(self: &Arc<Self>, probe: Probe<Address>, way: &Arc<Way>, cluster: &Cluster) {
        let (revision, who) = (Arc::downgrade(self), Identity::queue(&self.key.namespace));
        let way = way.clone();
        cluster.spawn(async move {
            let began = Instant::now();
            while revision.upgrade().is_some_and(|revision| revision.is_asked(probe)) {
                let asked = Instant::now();
                let answer = way.probe(probe.address, || &who);
                if let Ok(true) = tokio::time::timeout(PROBE_TIMEOUT, answer).await {
                    if let Some(revision) = revision.upgrade() {
                        revision.answered(probe.pod);
                    }
                    return;
                }
                tokio::time::sleep_until(asked + probe_period(began.elapsed())).await;
            }
        });
    }

    fn is_asked(&self, probe: Probe<Address>) -> bool {
        let state = self.state.lock();
        !state.retired && state.backends.is_asked(probe)
    }

    fn answered(&self, pod: PodId) {
        let mut state = self.state.lock();
        let State { assign, backends, .. } = &mut *state;
        backends.answered(pod, assign);
        state.grant();
    }
}

impl Flight {
    /// The revision that the request is for.
    pub fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    /// The pod that the request may use, if it need not wait.
    pub fn address(&self) -> Option<Address> {
        match self.place {
            Place::Pod(_, address) => Some(address),
            _ => None,
        }
    }

    /// Notes that the request waits, if that is because there is no pod.
    pub fn held(&self) {
        let mut state = self.revision.state.lock();
        if !state.assign.is_open() {
            state.cold_since.get_or_insert(self.arrived);
        }
    }

    /// Notes that the request has waited and goes to a pod; the first to do so ends a cold start.
    pub fn released(&self) {
        let cold = self.revision.state.lock().cold_since.take();
        if let Some(since) = cold {
            self.revision.told.warmed(since.elapsed());
        }
    }

    /// Waits for a pod. Endless without one: the caller bounds it, and dropping the flight gives the
    /// place in the queue up.
    pub async fn wait(&mut self) -> Address {
        loop {
            match &mut self.place {
                Place::Pod(_, address) => return *address,
                Place::Queue(_, granted) => match granted.await {
                    Ok(pod) => {
                        let address = self.revision.state.lock().assign.address(pod);
                        self.place = Place::Pod(pod, address);
                    }
                    // The sender is dropped only with the revision, which this flight keeps.
                    Err(_) => std::future::pending().await,
                },
                Place::Nowhere => std::future::pending().await,
            }
        }
    }

    /// Gives the pod back because it took no connection, and asks for another. The pod gets nothing
    /// until it answers a probe.
    pub fn refused(&mut self, way: &Arc<Way>, cluster: &Cluster) -> Result<(), Full> {
        let Place::Pod(pod, _) = std::mem::replace(&mut self.place, Place::Nowhere) else {
            return Ok(());
        };
        let probe = {
            let mut state = self.revision.state.lock();
            let State { assign, backends, .. } = &mut *state;
            let probe = backends.refused(pod, assign);
            assign.release(pod);
            state.grant();
            let place = state.ask();
            self.place = place.ok_or(Full)?;
            probe
        };
        if let Some(probe) = probe {
            self.revision.probe(probe, way, cluster);
        }
        Ok(())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // One look at the clock for both.
        let now = Instant::now();
        self.revision.told.ended(self.method, self.code, now - self.arrived);
        let now = now - self.revision.began;
        let mut state = self.revision.state.lock();
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Pod(pod, _) => state.assign.release(pod),
            Place::Queue(ticket, mut granted) => {
                // Without the place a pod was granted that nobody came for.
                if state.assign.leave(ticket).is_none()
                    && let Ok(pod) = granted.try_recv()
                {
                    state.assign.release(pod);
                }
            }
            Place::Nowhere => {}
        }
        state.load.leave(now);
        state.grant();
    }
}

impl State {
    fn ask(&mut self) -> Option<Place> {
        let mut receiver = None;
        let asked = self.assign.ask(|| {
            let (sender, granted) = oneshot::channel();
            receiver = Some(granted);
            sender
        });
        match asked {
            Asked::Pod(pod) => Some(Place::Pod(pod, self.assign.address(pod))),
            Asked::Wait(ticket) => Some(Place::Queue(ticket, receiver?)),
            Asked::Full => None,
        }
    }

    /// Hands pods that have room to those who wait.
    fn grant(&mut self) {
        while let Some((waiter, pod)) = self.assign.grant() {
            if waiter.send(pod).is_err() {
                self.assign.release(pod);
            }
        }
    }
}

/// Time between two probes of a pod that has been starting for `elapsed`: a twentieth of it, so that
/// the answer is at most that much late, within bounds.
fn probe_period(elapsed: Duration) -> Duration {
    if elapsed < LATE { (elapsed / 20).clamp(PROBE_OFTEN, PROBE_SOON) } else { PROBE_LATE }
}
