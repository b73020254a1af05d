//! Assigns requests to pods: which pod is next, who waits, who is next when room appears.
//!
//! Pure: who waits is a value of the caller's, handed back with the pod that it may use.
//! Source: knative/serving `pkg/activator/net/{throttler,lb_policy}.go`, with bounds.

use std::collections::BTreeMap;

/// The pods of one revision, where each is, what each has in flight, and who waits for room. First
/// come, first served.
#[derive(Debug)]
pub struct Assign<W, A> {
    /// Requests that one pod may have in flight; none is no limit.
    limit: Option<u32>,
    /// Most requests that may wait.
    bound: usize,
    slots: Vec<Slot<A>>,
    /// Where the search for the pod with the fewest requests begins, so that equals take turns.
    turn: usize,
    waiting: BTreeMap<Ticket, W>,
    next: Ticket,
}

/// A pod that requests were assigned to. Holds as long as one of them is in flight, or the pod is
/// not [forgotten](Assign::forget).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(u32);

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// This pod, which now has one request more in flight.
    Pod(PodId),
    /// Room later.
    Wait(Ticket),
    /// Too many wait.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Slot<A> {
    address: A,
    state: State,
    in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Takes requests.
    Open,
    /// Takes none for now: not ready, or on its way out.
    Closed,
    /// Does not exist any more; requests in flight may still end well.
    Gone,
}

/// Up to this limit requests are packed on the first pods that have room, so that the others stay
/// idle and can go; above it they are spread.
const PACKED_LIMIT: u32 = 3;

impl<W, A: Copy> Assign<W, A> {
    /// No pods, nobody waiting.
    pub fn new(limit: Option<u32>, bound: usize) -> Assign<W, A> {
        Assign {
            limit,
            bound,
            slots: Vec::new(),
            turn: 0,
            waiting: BTreeMap::new(),
            next: Ticket(0),
        }
    }

    /// A pod for one more request, or a place in the queue, where `waiter` is kept until a pod is
    /// handed to it.
    pub fn ask(&mut self, waiter: impl FnOnce() -> W) -> Asked {
        // Nobody overtakes those who wait.
        if self.waiting.is_empty()
            && let Some(pod) = self.take()
        {
            return Asked::Pod(pod);
        }
        if self.waiting.len() >= self.bound {
            return Asked::Full;
        }
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.waiting.insert(ticket, waiter());
        Asked::Wait(ticket)
    }

    /// Gives up a place in the queue. None when a pod was already handed to it.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        self.waiting.remove(&ticket)
    }

    /// Ends a request on `pod`.
    pub fn release(&mut self, pod: PodId) {
        let slot = &mut self.slots[pod.0 as usize];
        debug_assert!(slot.in_flight > 0, "a request ends once");
        slot.in_flight = slot.in_flight.saturating_sub(1);
    }

    /// The first who waits, with the pod that now has room for it. Call until none: after each
    /// [`Assign::release`], [`Assign::open`] and [`Assign::set_limit`].
    pub fn grant(&mut self) -> Option<(W, PodId)> {
        if self.waiting.is_empty() {
            return None;
        }
        let pod = self.take()?;
        let (_, waiter) = self.waiting.pop_first()?;
        Some((waiter, pod))
    }

    /// Adds a pod, which takes no requests yet.
    pub fn add(&mut self, address: A) -> PodId {
        let slot = Slot { address, state: State::Closed, in_flight: 0 };
        let unused = |it: &Slot<A>| it.state == State::Gone && it.in_flight == 0;
        let index = self.slots.iter().position(unused).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        self.slots[index] = slot;
        PodId(index as u32)
    }

    /// Lets `pod` take requests.
    pub fn open(&mut self, pod: PodId) {
        self.slots[pod.0 as usize].state = State::Open;
    }

    /// Gives `pod` no further requests.
    pub fn close(&mut self, pod: PodId) {
        self.slots[pod.0 as usize].state = State::Closed;
    }

    /// Gives `pod` no further requests and forgets it once its last has ended.
    pub fn forget(&mut self, pod: PodId) {
        self.slots[pod.0 as usize].state = State::Gone;
        while self.slots.last().is_some_and(|it| it.state == State::Gone && it.in_flight == 0) {
            self.slots.pop();
        }
    }

    /// Changes how many requests one pod may have in flight.
    pub fn set_limit(&mut self, limit: Option<u32>) {
        self.limit = limit;
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Where `pod` is reached; also when it is forgotten, as long as a request is in flight.
    pub fn address(&self, pod: PodId) -> A {
        self.slots[pod.0 as usize].address
    }

    /// Requests in flight on `pod`.
    pub fn in_flight(&self, pod: PodId) -> u32 {
        self.slots.get(pod.0 as usize).map_or(0, |it| it.in_flight)
    }

    /// Whether some pod takes requests.
    pub fn is_open(&self) -> bool {
        self.slots.iter().any(|it| it.state == State::Open)
    }

    /// Counts one more request on the best pod that has room.
    fn take(&mut self) -> Option<PodId> {
        let index = match self.limit {
            Some(limit) if limit <= PACKED_LIMIT => {
                self.slots.iter().position(|it| it.state == State::Open && it.in_flight < limit)?
            }
            limit => self.least(limit.unwrap_or(u32::MAX))?,
        };
        self.slots[index].in_flight += 1;
        Some(PodId(index as u32))
    }

    /// The pod with the fewest requests in flight, if that is less than `limit`.
    fn least(&mut self, limit: u32) -> Option<usize> {
        let count = self.slots.len();
        // Pods may have been forgotten since.
        let turn = if self.turn < count { self.turn } else { 0 };
        let mut best: Option<(usize, u32)> = None;
        for step in 0..count {
            let index = if turn + step < count { turn + step } else { turn + step - count };
            let slot = self.slots[index];
            if slot.state != State::Open || slot.in_flight >= best.map_or(limit, |(_, least)| least)
            {
                continue;
            }
            best = Some((index, slot.in_flight));
            if slot.in_flight == 0 {
                break; // None is better.
            }
        }
        let (index, _) = best?;
        self.turn = if index + 1 < count { index + 1 } else { 0 };
        Some(index)
    }
}

/// The pods that one of several activators uses, so that together they respect each pod's limit.
///
/// `pods` are sorted; the answer is a part of them. `mine` is this activator's place among `all`
/// that carry the revision; none (not listed yet) uses all pods.
pub fn share<P: Copy>(pods: &[P], mine: Option<usize>, all: usize) -> Vec<P> {
    let Some(mine) = mine.filter(|_| all > 1 && pods.len() > 1) else { return pods.to_vec() };
    if all > pods.len() {
        return vec![pods[mine % pods.len()]];
    }
    let each = pods.len() / all;
    let left = pods.len() % all;
    let mut share = pods[mine * each..(mine + 1) * each].to_vec();
    if mine < left {
        share.push(pods[pods.len() - left + mine]);
    }
    share
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pods(limit: Option<u32>, count: usize) -> (Assign<u32, ()>, Vec<PodId>) {
        let mut assign = Assign::new(limit, 3);
        let pods: Vec<PodId> = (0..count).map(|_| assign.add(())).collect();
        pods.iter().for_each(|pod| assign.open(*pod));
        (assign, pods)
    }

    /// The pods, by number, that requests asked for in a row get; `-` waits, `x` is refused.
    #[track_caller]
    fn check(limit: Option<u32>, count: usize, asked: usize, expected: &str) {
        let (mut assign, _) = pods(limit, count);
        let found: Vec<String> = (0..asked)
            .map(|it| match assign.ask(|| it as u32) {
                Asked::Pod(pod) => pod.0.to_string(),
                Asked::Wait(_) => "-".to_owned(),
                Asked::Full => "x".to_owned(),
            })
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn packs_small_limits_and_spreads_large_ones() {
        check(Some(1), 3, 5, "0 1 2 - -");
        check(Some(2), 2, 5, "0 0 1 1 -");
        check(Some(4), 2, 9, "0 1 0 1 0 1 0 1 -");
        check(None, 3, 7, "0 1 2 0 1 2 0");
        check(None, 0, 5, "- - - x x");
        check(Some(1), 1, 6, "0 - - - x x");
    }

    #[test]
    fn the_least_busy_pod_is_next() {
        let (mut assign, pods) = pods(None, 3);
        for _ in 0..6 {
            assign.ask(|| 0);
        }
        assign.release(pods[1]);
        assert_eq!(assign.ask(|| 0), Asked::Pod(pods[1]));
    }

    #[test]
    fn who_waits_is_served_in_order_and_nobody_overtakes() {
        let (mut assign, pods) = pods(Some(1), 1);
        assert_eq!(assign.ask(|| 0), Asked::Pod(pods[0]));
        let Asked::Wait(second) = assign.ask(|| 2) else { panic!() };
        let Asked::Wait(_) = assign.ask(|| 3) else { panic!() };
        assert_eq!(assign.grant(), None);
        assert_eq!(assign.leave(second), Some(2));
        assert_eq!(assign.leave(second), None);
        assign.release(pods[0]);
        assert!(matches!(assign.ask(|| 4), Asked::Wait(_)), "the pod is promised to another");
        assert_eq!(assign.grant(), Some((3, pods[0])));
        assert_eq!(assign.grant(), None);
        assert_eq!(assign.waiting(), 1);
    }

    #[test]
    fn a_pod_that_closes_gets_nothing_and_keeps_its_count() {
        let (mut assign, pods) = pods(Some(2), 1);
        assign.ask(|| 0);
        assign.close(pods[0]);
        assert!(matches!(assign.ask(|| 1), Asked::Wait(_)));
        assign.open(pods[0]);
        assert_eq!(assign.in_flight(pods[0]), 1);
        assert_eq!(assign.grant(), Some((1, pods[0])));
        assert!(matches!(assign.ask(|| 2), Asked::Wait(_)), "the limit holds over the flap");
    }

    #[test]
    fn a_forgotten_pod_leaves_its_place_when_its_last_request_ends() {
        let (mut assign, pods) = pods(Some(1), 2);
        assign.ask(|| 0);
        assign.forget(pods[0]);
        assert_eq!(assign.add(()), PodId(2), "the place is in use");
        assign.release(pods[0]);
        assert_eq!(assign.add(()), pods[0]);
    }

    #[test]
    fn activators_share_the_pods_of_a_revision() {
        let pods = [0, 1, 2, 3, 4];
        for (mine, all, expected) in [
            (None, 3, vec![0, 1, 2, 3, 4]),
            (Some(0), 1, vec![0, 1, 2, 3, 4]),
            (Some(0), 2, vec![0, 1, 4]),
            (Some(1), 2, vec![2, 3]),
            (Some(1), 3, vec![1, 4]),
            (Some(6), 7, vec![1]),
        ] {
            assert_eq!(share(&pods, mine, all), expected, "{mine:?} of {all}");
        }
        assert_eq!(share(&[9], Some(2), 3), [9]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask,
        Leave(usize),
        Release(usize),
        Toggle(usize),
        Replace(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Ask),
            1 => (0..8usize).prop_map(Step::Leave),
            3 => (0..8usize).prop_map(Step::Release),
            1 => (0..4usize).prop_map(Step::Toggle),
            1 => (0..4usize).prop_map(Step::Replace),
        ]
    }

    proptest! {
        /// Whatever happens: no pod has more in flight than its limit, closed pods get nothing, the
        /// queue is served in order, and nobody waits while an open pod has room.
        #[test]
        fn the_limit_holds_and_nobody_waits_beside_room(
            limit in prop_oneof![Just(None), (1..6u32).prop_map(Some)],
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut assign = Assign::new(limit, 20);
            let mut pods: Vec<(PodId, bool)> = (0..4).map(|_| (assign.add(()), false)).collect();
            let mut running: Vec<PodId> = Vec::new();
            let mut waiting: Vec<(Ticket, u32)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Ask => match assign.ask(|| number as u32) {
                        Asked::Pod(pod) => {
                            prop_assert!(waiting.is_empty());
                            prop_assert!(pods.contains(&(pod, true)));
                            running.push(pod);
                        }
                        Asked::Wait(ticket) => waiting.push((ticket, number as u32)),
                        Asked::Full => prop_assert_eq!(waiting.len(), 20),
                    },
                    Step::Leave(it) if it < waiting.len() => {
                        let (ticket, waiter) = waiting.remove(it);
                        prop_assert_eq!(assign.leave(ticket), Some(waiter));
                    }
                    Step::Release(it) if it < running.len() => assign.release(running.remove(it)),
                    Step::Toggle(it) => {
                        let (pod, open) = &mut pods[it];
                        *open = !*open;
                        if *open { assign.open(*pod) } else { assign.close(*pod) }
                    }
                    Step::Replace(it) => {
                        assign.forget(pods[it].0);
                        pods[it] = (assign.add(()), false);
                    }
                    _ => {}
                }
                while let Some((waiter, pod)) = assign.grant() {
                    prop_assert_eq!(waiter, waiting.remove(0).1);
                    prop_assert!(pods.contains(&(pod, true)));
                    running.push(pod);
                }
                for (pod, open) in &pods {
                    let in_flight = assign.in_flight(*pod);
                    prop_assert!(limit.is_none_or(|limit| in_flight <= limit));
                    let room = *open && limit.is_none_or(|limit| in_flight < limit);
                    prop_assert!(!room || waiting.is_empty());
                }
            }
        }
    }
}
