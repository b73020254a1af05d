//! Knows the pods of one revision and which of them can take requests.
//!
//! Pure: endpoints, answers to probes and failed connections in; pods to open, close and probe out.
//! Source: knative/serving `pkg/activator/net/revision_backends.go`, and better: a pod that comes back
//! keeps its count, and one that refuses connections is out at once.

use crate::assign::{Assign, PodId};

/// One endpoint of a revision's private Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<A> {
    /// Where the pod's queue listens.
    pub address: A,
    /// The pod's UID: another pod may later get the same address.
    pub uid: String,
    /// The pod's name; may be empty.
    pub name: String,
    /// Whether Kubernetes calls the pod ready.
    pub ready: bool,
    /// Whether the pod is on its way out.
    pub terminating: bool,
}

/// A pod that is to be asked until it answers that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe<A> {
    pub pod: PodId,
    pub address: A,
}

/// The pods of one revision. Each is known by address and UID as long as its endpoint exists.
#[derive(Debug)]
pub struct Backends<A> {
    /// Whether a pod that Kubernetes does not call ready may be asked for itself. Not so for pods
    /// whose readiness only the kubelet can tell (exec and startup probes).
    may_ask: bool,
    pods: Vec<Pod<A>>,
}

#[derive(Debug)]
struct Pod<A> {
    id: PodId,
    seen: Seen<A>,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// Takes requests.
    Good,
    /// Not ready, and being probed.
    Asked,
    /// Not ready, and only Kubernetes can tell when it is.
    Awaited,
}

impl<A: Copy + PartialEq> Backends<A> {
    /// No pods.
    pub fn new(may_ask: bool) -> Backends<A> {
        Backends { may_ask, pods: Vec::new() }
    }

    /// Takes the endpoints as they are now, all of them, and returns the pods to begin to probe.
    pub fn observe<W>(&mut self, all: &[Seen<A>], assign: &mut Assign<W, A>) -> Vec<Probe<A>> {
        self.pods.retain(|pod| {
            let exists = all.iter().any(|seen| pod.is(seen));
            if !exists {
                assign.forget(pod.id);
            }
            exists
        });
        let mut probes = Vec::new();
        for seen in all {
            let known = self.pods.iter().position(|pod| pod.is(seen));
            let index = known.unwrap_or_else(|| {
                let before = Seen { ready: false, ..seen.clone() };
                self.pods.push(Pod {
                    id: assign.add(seen.address),
                    seen: before,
                    health: Health::Awaited,
                });
                self.pods.len() - 1
            });
            let pod = &mut self.pods[index];
            let was_ready = std::mem::replace(&mut pod.seen, seen.clone()).ready;
            let health = match (was_ready, seen.ready) {
                // Being ready on and on says nothing new of a pod that refused connections since.
                (false, true) => Health::Good,
                (true, true) => pod.health,
                (true, false) => Health::Awaited,
                (false, false) => pod.health,
            };
            let ask = health == Health::Awaited && !seen.ready && self.may_ask && !seen.terminating;
            pod.health = if ask { Health::Asked } else { health };
            pod.apply(assign);
            if ask {
                probes.push(pod.probe());
            }
        }
        probes
    }

    /// Takes a good answer of `pod` to a probe.
    pub fn answered<W>(&mut self, pod: PodId, assign: &mut Assign<W, A>) {
        if let Some(pod) = self.find(pod) {
            pod.health = Health::Good;
            pod.apply(assign);
        }
    }

    /// Takes that a connection to `pod` failed: it gets nothing more until it answers the probe that
    /// is returned. None when the pod is gone or being probed already.
    pub fn refused<W>(&mut self, pod: PodId, assign: &mut Assign<W, A>) -> Option<Probe<A>> {
        let pod = self.find(pod).filter(|it| it.health == Health::Good)?;
        pod.health = Health::Asked;
        pod.apply(assign);
        Some(pod.probe())
    }

    /// Whether `probe` is still worth asking: its pod is there, not on its way out, and not yet ready.
    pub fn is_asked(&self, probe: Probe<A>) -> bool {
        self.pods
            .iter()
            .any(|pod| pod.probe() == probe && pod.health == Health::Asked && !pod.seen.terminating)
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether there is no pod.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// The pods with their names.
    pub fn names(&self) -> impl Iterator<Item = (PodId, &str)> {
        self.pods.iter().map(|pod| (pod.id, pod.seen.name.as_str()))
    }

    fn find(&mut self, pod: PodId) -> Option<&mut Pod<A>> {
        self.pods.iter_mut().find(|it| it.id == pod)
    }
}

impl<A: Copy + PartialEq> Pod<A> {
    fn is(&self, seen: &Seen<A>) -> bool {
        self.seen.address == seen.address && self.seen.uid == seen.uid
    }

    fn probe(&self) -> Probe<A> {
        Probe { pod: self.id, address: self.seen.address }
    }

    fn apply<W>(&self, assign: &mut Assign<W, A>) {
        if self.health == Health::Good && !self.seen.terminating {
            assign.open(self.id);
        } else {
            assign.close(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Revision {
        backends: Backends<u8>,
        assign: Assign<(), u8>,
    }

    /// `r`eady, `n`ot ready, `t`erminating; the number is both address and UID.
    fn seen(text: &str) -> Vec<Seen<u8>> {
        text.split_whitespace()
            .map(|word| {
                let (state, number) = word.split_at(1);
                Seen {
                    address: number.parse().unwrap(),
                    uid: number.to_owned(),
                    name: format!("pod-{number}"),
                    ready: state == "r",
                    terminating: state == "t",
                }
            })
            .collect()
    }

    impl Revision {
        fn new(may_ask: bool) -> Revision {
            Revision { backends: Backends::new(may_ask), assign: Assign::new(Some(100), 10) }
        }

        /// Observes, compares what is to be probed and what is open; returns what is to be probed.
        #[track_caller]
        fn observe(&mut self, text: &str, probed: &str, open: &str) -> Vec<Probe<u8>> {
            let probes = self.backends.observe(&seen(text), &mut self.assign);
            let words: Vec<String> = probes.iter().map(|it| it.address.to_string()).collect();
            assert_eq!(words.join(" "), probed, "probed after {text}");
            self.check_open(open);
            probes
        }

        #[track_caller]
        fn check_open(&mut self, expected: &str) {
            let mut open = Vec::new();
            for pod in &self.backends.pods {
                // A pod is open when a queue of one drains into it.
                if pod.health == Health::Good && !pod.seen.terminating {
                    open.push(pod.seen.address.to_string());
                }
            }
            assert_eq!(open.join(" "), expected);
            assert_eq!(self.assign.is_open(), !expected.is_empty());
        }
    }

    #[test]
    fn ready_pods_take_requests_and_others_are_asked() {
        let mut revision = Revision::new(true);
        let probes = revision.observe("r1 n2 t3", "2", "1");
        assert!(revision.backends.is_asked(probes[0]));
        revision.observe("r1 n2 t3", "", "1"); // asked once
        revision.backends.answered(probes[0].pod, &mut revision.assign);
        assert!(!revision.backends.is_asked(probes[0]));
        revision.check_open("1 2");
        revision.observe("r1 n2", "", "1 2"); // a good answer outlives endpoints that lag
        revision.observe("r1 r2", "", "1 2");
        revision.observe("r1 n2", "2", "1"); // ready and then not: ask again
        revision.observe("r1 t2", "", "1");
        revision.observe("r1", "", "1");
        revision.observe("", "", "");
    }

    #[test]
    fn only_kubernetes_can_tell_of_some_pods() {
        let mut revision = Revision::new(false);
        revision.observe("n1", "", "");
        revision.observe("r1", "", "1");
        revision.observe("n1", "", "");
    }

    #[test]
    fn a_pod_that_refuses_connections_is_out_until_it_answers() {
        let mut revision = Revision::new(true);
        revision.observe("r1 r2", "", "1 2");
        let pod = revision.backends.pods[0].id;
        let probe = revision.backends.refused(pod, &mut revision.assign).unwrap();
        revision.check_open("2");
        assert_eq!(revision.backends.refused(pod, &mut revision.assign), None, "asked once");
        revision.observe("r1 r2", "", "2"); // Kubernetes has not noticed
        assert!(revision.backends.is_asked(probe));
        revision.backends.answered(pod, &mut revision.assign);
        revision.check_open("1 2");
    }

    #[test]
    fn a_flap_keeps_the_count_and_another_pod_at_the_address_begins_anew() {
        let mut revision = Revision::new(true);
        revision.observe("r1", "", "1");
        let pod = revision.backends.pods[0].id;
        revision.assign.ask(|| ());
        revision.observe("n1", "1", "");
        revision.observe("r1", "", "1");
        assert_eq!((revision.backends.pods[0].id, revision.assign.in_flight(pod)), (pod, 1));
        let other = Seen { uid: "other".to_owned(), ..seen("r1").remove(0) };
        revision.backends.observe(&[other], &mut revision.assign);
        let id = revision.backends.pods[0].id;
        assert_ne!(id, pod);
        assert_eq!(revision.assign.in_flight(id), 0);
    }
}
