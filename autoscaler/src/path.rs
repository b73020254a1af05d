//! Decides whether requests go straight to the pods or through the activator, and through which.
//!
//! Pure: numbers and names in, a choice out.
//! Source: knative/serving `pkg/reconciler/autoscaling/kpa/kpa.go`, knative.dev/pkg `hash/hash.go`.

use std::collections::BTreeMap;

use crate::policy::Policy;

/// The way of a revision's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Straight to the pods.
    Serve,
    /// Through the activator.
    Proxy,
}

/// Fewest activators for a revision: one may fail.
const FEWEST_ACTIVATORS: f64 = 2.0;
/// Angles of the ring on which activators are chosen.
const ANGLES: u64 = 1 << 11;

impl Mode {
    /// As ServerlessService spells it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Serve => "Serve",
            Mode::Proxy => "Proxy",
        }
    }
}

/// Straight to the pods when some are wanted and they can take a burst; `pods` is none while
/// nothing is known of the load, and then there are the fewest that there must be.
pub fn mode(pods: Option<u32>, fewest: u32, excess_burst_capacity: i32) -> Mode {
    if pods.unwrap_or(fewest) > 0 && excess_burst_capacity >= 0 { Mode::Serve } else { Mode::Proxy }
}

/// The way that requests can take: without ready pods only the activator, without it only the pods.
pub fn possible(mode: Mode, ready_pods: usize, activators: usize) -> Mode {
    match (mode, ready_pods, activators) {
        (_, _, 0) => Mode::Serve,
        (_, 0, _) => Mode::Proxy,
        (mode, ..) => mode,
    }
}

/// Excess burst capacity of a revision before its first decision.
pub fn initial_excess_burst_capacity(policy: &Policy) -> i32 {
    match policy.burst_capacity {
        None => -1,
        Some(0.0) => 0,
        Some(burst) => (f64::from(policy.initial_scale) * policy.capacity - burst) as i32,
    }
}

/// Activators that carry a revision with that many ready pods.
pub fn activators(ready_pods: u32, policy: &Policy) -> u32 {
    let burst = match policy.burst_capacity {
        Some(0.0) => return FEWEST_ACTIVATORS as u32,
        burst => burst.unwrap_or(0.0),
    };
    let capacity = f64::from(ready_pods) * policy.capacity + burst;
    (capacity / policy.activator_capacity).ceil().max(FEWEST_ACTIVATORS) as u32
}

/// Chooses `count` of `names` for `target`: the same choice each time, evenly spread over targets,
/// and few changes when names come and go. `names` are unique; 0 chooses all.
pub fn subset<'a>(names: &[&'a str], count: usize, target: &str) -> Vec<&'a str> {
    if count == 0 || names.len() <= count || names.len() as u64 > ANGLES {
        return names.to_vec();
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let mut ring = BTreeMap::new();
    for name in sorted {
        let mut text = format!("{name}{target}");
        let mut hash = fnv1a(&text);
        while ring.contains_key(&(hash % ANGLES)) {
            text.push_str(&format!("{hash:x}"));
            hash = fnv1a(&text);
        }
        ring.insert(hash % ANGLES, name);
    }
    let mut angle = fnv1a(&format!("{target}start-angle-salt")) % ANGLES;
    let step = fnv1a(&format!("{target}step-angle-salt")) % ANGLES;
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        // A chosen name leaves the ring, so the next one clockwise is the next that is free.
        let found = ring.range(angle..).next().or_else(|| ring.iter().next()).map(|(at, _)| *at);
        let found = found.expect("fewer are chosen than there are");
        chosen.extend(ring.remove(&found));
        angle = (angle + step) % ANGLES;
    }
    chosen
}

/// FNV-1a, 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_straight_to_pods_that_can_take_a_burst() {
        assert_eq!(mode(Some(1), 0, 0), Mode::Serve);
        assert_eq!(mode(Some(1), 0, -1), Mode::Proxy);
        assert_eq!(mode(Some(0), 1, 5), Mode::Proxy);
        assert_eq!(mode(None, 0, 5), Mode::Proxy);
        assert_eq!(mode(None, 1, 0), Mode::Serve);
        assert_eq!(mode(None, 1, -1), Mode::Proxy);
    }

    #[test]
    fn requests_go_where_somebody_is() {
        assert_eq!(possible(Mode::Serve, 1, 1), Mode::Serve);
        assert_eq!(possible(Mode::Serve, 0, 1), Mode::Proxy);
        assert_eq!(possible(Mode::Proxy, 1, 1), Mode::Proxy);
        assert_eq!(possible(Mode::Proxy, 1, 0), Mode::Serve);
        assert_eq!(possible(Mode::Proxy, 0, 0), Mode::Serve);
    }

    #[test]
    fn activators_follow_the_capacity_to_cover() {
        let policy = |burst_capacity, capacity| Policy {
            burst_capacity,
            capacity,
            activator_capacity: 100.0,
            ..Policy::default()
        };
        assert_eq!(activators(0, &policy(Some(211.0), 100.0)), 3);
        assert_eq!(activators(1, &policy(Some(211.0), 100.0)), 4);
        assert_eq!(activators(3, &policy(Some(211.0), 100.0)), 6);
        assert_eq!(activators(50, &policy(Some(0.0), 100.0)), 2);
        assert_eq!(activators(1, &policy(None, 100.0)), 2);
        assert_eq!(activators(5, &policy(None, 100.0)), 5);
        assert_eq!(initial_excess_burst_capacity(&policy(Some(211.0), 100.0)), -111);
        assert_eq!(initial_excess_burst_capacity(&policy(Some(0.0), 100.0)), 0);
        assert_eq!(initial_excess_burst_capacity(&policy(None, 100.0)), -1);
    }

    #[test]
    fn a_subset_is_stable_and_spread() {
        let names: Vec<String> = (0..40).map(|it| format!("10.0.0.{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(subset(&names, 0, "a").len(), 40);
        assert_eq!(subset(&names, 40, "a").len(), 40);
        let chosen = subset(&names, 5, "a");
        let mut unique = chosen.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 5);
        let mut reversed = names.clone();
        reversed.reverse();
        assert_eq!(subset(&reversed, 5, "a"), chosen, "the order does not matter");
        // One name gone: at most one of the five changes, apart from what moves up behind it.
        let fewer: Vec<&str> = names.iter().copied().filter(|it| *it != chosen[0]).collect();
        let again = subset(&fewer, 5, "a");
        assert!(again.iter().filter(|it| chosen.contains(it)).count() >= 3, "{chosen:?} {again:?}");
        // Over many targets each name gets its share of 40 × 5 / 40.
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for target in 0..400 {
            for name in subset(&names, 5, &format!("revision-{target}")) {
                *counts.entry(name).or_default() += 1;
            }
        }
        assert!(
            counts.len() == 40 && counts.values().all(|it| (20..=90).contains(it)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(""), 0xcbf29ce484222325);
        assert_eq!(fnv1a("a"), 0xaf63dc4c8601ec8c);
    }
}
