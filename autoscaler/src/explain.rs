//! Keeps the last decisions of each revision with their reasons, for those who ask why.
//!
//! Pure: who records says when.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use jiff::Timestamp;
use runtime::cluster::Key;
use serde::{Deserialize, Serialize};

use crate::{decide, path::Mode, plan::Outcome, policy::Metric, zero};

/// A decision that differs from the one before it, and what led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was made.
    pub at: Timestamp,
    /// What the load asked for, and why; absent while nothing is known of the load.
    pub load: Option<Load>,
    /// Pods wanted after all bounds; absent while nothing is known.
    pub pods: Option<u32>,
    /// What changed the number, or keeps it from being applied.
    pub held: Option<zero::Held>,
    /// Whether requests go through the activator.
    pub proxied: bool,
    /// Pods that were ready.
    pub ready_pods: u32,
}

/// What the load of a revision asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// What is counted: `concurrency` or `rps`.
    pub metric: MetricName,
    /// Pods that the decision asked for before its bounds.
    pub pods: u32,
    /// What led to it.
    #[serde(flatten)]
    pub reason: decide::Reason,
}

/// The name of a metric, as the annotation spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricName {
    Concurrency,
    Rps,
}

/// The last decisions of all revisions.
#[derive(Debug, Default)]
pub struct Histories {
    of: HashMap<Key, VecDeque<Entry>>,
}

/// Decisions kept of one revision: a scale-up and the way back to zero take about ten.
const KEPT: usize = 20;

impl From<Metric> for MetricName {
    fn from(metric: Metric) -> MetricName {
        match metric {
            Metric::Concurrency => MetricName::Concurrency,
            Metric::Rate => MetricName::Rps,
        }
    }
}

impl Entry {
    /// The entry for a decision and what became of it.
    pub fn new(
        at: Timestamp,
        metric: Metric,
        decision: Option<&decide::Decision>,
        outcome: &Outcome,
    ) -> Entry {
        let load =
            decision.map(|it| Load { metric: metric.into(), pods: it.pods, reason: it.reason });
        Entry {
            at,
            load,
            pods: outcome.scale.pods,
            held: outcome.scale.held,
            proxied: outcome.mode == Mode::Proxy,
            ready_pods: outcome.ready_pods,
        }
    }

    /// Whether both decide the same for the same reason; numbers observed may differ.
    fn decides_like(&self, other: &Entry) -> bool {
        let essence = |it: &Entry| {
            let load = it.load.map(|load| (load.pods, load.reason.panicking, load.reason.held));
            (load, it.pods, it.held, it.proxied)
        };
        essence(self) == essence(other)
    }
}

impl Histories {
    /// Keeps `entry` if it differs from the last one of the revision; the oldest goes.
    pub fn record(&mut self, key: &Key, entry: Entry) {
        let history = self.of.entry(key.clone()).or_default();
        if history.back().is_some_and(|last| last.decides_like(&entry)) {
            return;
        }
        if history.len() == KEPT {
            history.pop_front();
        }
        history.push_back(entry);
    }

    /// The last decisions for a revision, oldest first.
    pub fn of(&self, key: &Key) -> Vec<Entry> {
        self.of.get(key).map(|it| it.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a revision.
    pub fn forget(&mut self, key: &Key) {
        self.of.remove(key);
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}  ", self.at)?;
        match self.pods {
            Some(1) => write!(f, "1 pod")?,
            Some(pods) => write!(f, "{pods} pods")?,
            None => write!(f, "as it is")?,
        }
        write!(f, " ({} ready, requests go ", self.ready_pods)?;
        f.write_str(if self.proxied { "through the activator" } else { "straight to the pods" })?;
        f.write_str(")")?;
        match &self.load {
            None => write!(f, ": nothing is known of the load yet")?,
            Some(load) => write!(f, ": {load}")?,
        }
        match self.held {
            Some(held) => write!(f, "; {held}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = &self.reason;
        let unit = match self.metric {
            MetricName::Concurrency => "in flight",
            MetricName::Rps => "a second",
        };
        write!(
            f,
            "{:.2} {unit} (lately {:.2}), target {} a pod, asks for {}",
            reason.observed.stable, reason.observed.panic, reason.target, self.pods
        )?;
        if reason.panicking {
            f.write_str(", panicking")?;
        }
        match reason.held {
            Some(held) => write!(f, ", {held}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for decide::Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use decide::Held;
        f.write_str(match self {
            Held::ScaleUpRate => "held back by max-scale-up-rate",
            Held::ScaleDownRate => "held up by max-scale-down-rate",
            Held::ActivationScale => "raised to activation-scale",
            Held::Panic => "no shrinking while panicking",
            Held::ScaleDownDelay => "held up by scale-down-delay",
        })
    }
}

impl fmt::Display for zero::Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use zero::Held;
        f.write_str(match self {
            Held::MinScale => "raised to min-scale",
            Held::MaxScale => "held back by max-scale",
            Held::InitialScale => "raised to initial-scale, until that was reached once",
            Held::ZeroDisabled => "enable-scale-to-zero is off",
            Held::Starting => "the revision is starting",
            Held::StableWindow => "the last pod stays until the revision was active for its window",
            Held::Deactivating => "the activator takes over before the last pod goes",
            Held::PathNotProven => {
                "the last pod stays until a request is seen to reach the activator"
            }
            Held::Grace => "the last pod stays for scale-to-zero-grace-period",
            Held::Retention => "the last pod stays for scale-to-zero-pod-retention-period",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, pods: Option<u32>, load_pods: u32) -> Entry {
        let observed = decide::Observation { stable: 123.4, panic: 210.0, ready_pods: 1 };
        let reason = decide::Reason {
            observed,
            target: 70.0,
            stable_pods: 2,
            panic_pods: 3,
            panicking: true,
            held: None,
        };
        Entry {
            at: Timestamp::from_second(1_795_250_000 + second).unwrap(),
            load: Some(Load { metric: MetricName::Concurrency, pods: load_pods, reason }),
            pods,
            held: Some(zero::Held::MaxScale),
            proxied: true,
            ready_pods: 1,
        }
    }

    #[test]
    fn keeps_the_last_changes() {
        let key = Key::new("default", "hello-00001");
        let mut histories = Histories::default();
        histories.record(&key, entry(0, Some(1), 1));
        histories.record(&key, entry(2, Some(1), 1));
        assert_eq!(histories.of(&key).len(), 1, "the same again is no news");
        for second in 0..30 {
            histories.record(&key, entry(second, Some(second as u32 + 2), 1));
        }
        let kept = histories.of(&key);
        assert_eq!((kept.len(), kept[0].pods, kept[19].pods), (20, Some(12), Some(31)));
        histories.forget(&key);
        assert!(histories.of(&key).is_empty());
    }

    #[test]
    fn says_in_a_sentence_what_was_decided_and_why() {
        assert_eq!(
            entry(0, Some(2), 3).to_string(),
            "2026-11-21T08:33:20Z  2 pods (1 ready, requests go through the activator): 123.40 in \
             flight (lately 210.00), target 70 a pod, asks for 3, panicking; held back by max-scale"
        );
        let none = Entry { load: None, held: None, ..entry(0, None, 0) };
        assert_eq!(
            none.to_string(),
            "2026-11-21T08:33:20Z  as it is (1 ready, requests go through the activator): nothing is \
             known of the load yet"
        );
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let text = serde_json::to_string(&[entry(0, Some(2), 3)]).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).unwrap(), [entry(0, Some(2), 3)]);
    }
}
