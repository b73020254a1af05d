//! Conditions: what a controller says of an object, and how `Ready` follows from the others.
//!
//! Pure: who marks a condition says what time it is.
//! Source: knative.dev/pkg `apis/condition_set.go`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// One statement about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When `status`, `reason` or `message` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// One word for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Empty for conditions that `Ready` depends on, `Info` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The condition's name.
    #[serde(rename = "type")]
    pub type_: String,
}

/// `status` of a condition that holds.
pub const TRUE: &str = "True";
/// `status` of a condition that does not hold.
pub const FALSE: &str = "False";
/// `status` of a condition that is not decided yet.
pub const UNKNOWN: &str = "Unknown";
/// The condition that follows from the others.
pub const READY: &str = "Ready";

/// Which conditions a kind has: [`READY`] follows from `dependents`, all others are information.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// The conditions that must all hold for the object to be ready; may be empty.
    pub dependents: &'static [&'static str],
}

impl Condition {
    /// Whether the condition holds.
    pub fn is_true(&self) -> bool {
        self.status == TRUE
    }

    /// Whether the condition does not hold.
    pub fn is_false(&self) -> bool {
        self.status == FALSE
    }

    /// Whether nobody can tell yet.
    pub fn is_unknown(&self) -> bool {
        self.status == UNKNOWN
    }

    /// The reason, or nothing.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// The message, or nothing.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Whether both say the same, whenever they began to.
    pub fn says_the_same(&self, other: &Condition) -> bool {
        self.type_ == other.type_
            && self.status == other.status
            && self.severity == other.severity
            && self.reason() == other.reason()
            && self.message() == other.message()
    }
}

/// The condition of that type, where there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|it| it.type_ == type_)
}

/// Whether there is a condition of that type that holds.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(Condition::is_true)
}

/// Whether there is a condition of that type that does not hold.
pub fn is_false(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(Condition::is_false)
}

impl Set {
    /// Before a reconciler looks at an object: adds what is missing, and takes `Ready` back when the
    /// object's generation was not observed yet.
    ///
    /// Source: knative.dev/pkg `reconciler/reconcile_common.go`, `PreProcessReconcile`.
    pub fn begin(
        self,
        conditions: &mut Vec<Condition>,
        generation: Option<i64>,
        observed: Option<i64>,
        now: Timestamp,
    ) {
        self.initialize(conditions, now);
        if generation.unwrap_or_default() != observed.unwrap_or_default() {
            self.mark_unknown(
                conditions,
                READY,
                "NewObservedGenFailure",
                "unsuccessfully observed a new generation",
                now,
            );
        }
    }

    /// After a reconciler looked at an object: what did not change keeps its time.
    ///
    /// Source: knative.dev/pkg `reconciler/reconcile_common.go`, `PostProcessReconcile`.
    pub fn end(self, conditions: &mut [Condition], before: &[Condition]) {
        for condition in conditions {
            if let Some(old) = find(before, &condition.type_)
                && condition.says_the_same(old)
            {
                condition.last_transition_time = old.last_transition_time.clone();
            }
        }
    }

    /// Adds the conditions that are missing: dependents hold when `Ready` holds, else nobody knows.
    pub fn initialize(self, conditions: &mut Vec<Condition>, now: Timestamp) {
        if find(conditions, READY).is_none() {
            self.set(conditions, READY, UNKNOWN, "", "", now);
        }
        let status = if is_true(conditions, READY) { TRUE } else { UNKNOWN };
        for &dependent in self.dependents {
            if find(conditions, dependent).is_none() {
                self.set(conditions, dependent, status, "", "", now);
            }
        }
    }

    /// Says that `type_` holds.
    pub fn mark_true(self, conditions: &mut Vec<Condition>, type_: &str, now: Timestamp) {
        self.mark_true_because(conditions, type_, "", "", now);
    }

    /// Says that `type_` holds, and why.
    pub fn mark_true_because(
        self,
        conditions: &mut Vec<Condition>,
        type_: &str,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) {
        self.set(conditions, type_, TRUE, reason, message, now);
        if let Some((status, reason, message)) = self.worst_dependent(conditions) {
            self.set(conditions, READY, status, &reason, &message, now);
        } else if type_ != READY {
            self.set(conditions, READY, TRUE, "", "", now);
        }
    }

    /// Says that nobody knows whether `type_` holds; `Ready` follows unless a dependent is false.
    pub fn mark_unknown(
        self,
        conditions: &mut Vec<Condition>,
        type_: &str,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) {
        self.set(conditions, type_, UNKNOWN, reason, message, now);
        let failed = self
            .dependents
            .iter()
            .find_map(|dependent| find(conditions, dependent).filter(|it| it.is_false()).cloned());
        if let Some(failed) = failed {
            if !is_false(conditions, READY) {
                self.set(conditions, READY, FALSE, failed.reason(), failed.message(), now);
            }
        } else if self.dependents.contains(&type_) {
            self.set(conditions, READY, UNKNOWN, reason, message, now);
        }
    }

    /// Says that `type_` does not hold; neither does `Ready` when it depends on it.
    pub fn mark_false(
        self,
        conditions: &mut Vec<Condition>,
        type_: &str,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) {
        self.set(conditions, type_, FALSE, reason, message, now);
        if self.dependents.contains(&type_) {
            self.set(conditions, READY, FALSE, reason, message, now);
        }
    }

    /// Says nothing about `type_` any more; it must not be one that `Ready` depends on.
    pub fn clear(self, conditions: &mut Vec<Condition>, type_: &str) {
        debug_assert!(!self.is_terminal(type_));
        conditions.retain(|it| it.type_ != type_);
    }

    fn is_terminal(self, type_: &str) -> bool {
        type_ == READY || self.dependents.contains(&type_)
    }

    fn set(
        self,
        conditions: &mut Vec<Condition>,
        type_: &str,
        status: &str,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let condition = Condition {
            last_transition_time: Some(Time(now)),
            message: text(message),
            reason: text(reason),
            severity: (!self.is_terminal(type_)).then(|| "Info".to_owned()),
            status: status.to_owned(),
            type_: type_.to_owned(),
        };
        match conditions.iter_mut().find(|it| it.type_ == type_) {
            Some(old) if old.says_the_same(&condition) => {}
            Some(old) => *old = condition,
            None => {
                conditions.push(condition);
                conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
            }
        }
    }

    /// What keeps `Ready` from holding: the newest dependent that is false, else the newest that is
    /// unknown, else one that is missing.
    fn worst_dependent(self, conditions: &[Condition]) -> Option<(&'static str, String, String)> {
        let mut dependents: Vec<&Condition> = conditions
            .iter()
            .filter(|it| it.type_ != READY && self.dependents.contains(&it.type_.as_str()))
            .collect();
        dependents.sort_by_key(|it| {
            std::cmp::Reverse(it.last_transition_time.as_ref().map(|time| time.0.as_second()))
        });
        for (status, word) in [(FALSE, "False"), (UNKNOWN, "Unknown")] {
            if let Some(worst) = dependents.iter().find(|it| it.status == status) {
                return Some((word, worst.reason().to_owned(), worst.message().to_owned()));
            }
        }
        (dependents.len() < self.dependents.len()).then(|| (UNKNOWN, String::new(), String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Set = Set { dependents: &["A", "B"] };

    #[test]
    fn ready_follows_from_the_worst_dependent() {
        let says = |moves: &[(&str, &str, &str)], ready: (&str, &str)| {
            let mut conditions = Vec::new();
            SET.initialize(&mut conditions, at(0));
            for (second, (type_, status, reason)) in moves.iter().enumerate() {
                let now = at(second as i64 + 1);
                match *status {
                    TRUE => SET.mark_true(&mut conditions, type_, now),
                    FALSE => SET.mark_false(&mut conditions, type_, reason, "", now),
                    _ => SET.mark_unknown(&mut conditions, type_, reason, "", now),
                }
            }
            let found = find(&conditions, READY).unwrap();
            assert_eq!((found.status.as_str(), found.reason()), ready, "{moves:?}");
            assert!(conditions.is_sorted_by(|a, b| a.type_ < b.type_));
        };
        says(&[], (UNKNOWN, ""));
        says(&[("A", TRUE, "")], (UNKNOWN, ""));
        says(&[("A", TRUE, ""), ("B", TRUE, "")], (TRUE, ""));
        says(&[("A", TRUE, ""), ("B", TRUE, ""), ("B", FALSE, "Broke")], (FALSE, "Broke"));
        says(&[("A", FALSE, "Broke"), ("B", UNKNOWN, "Waits")], (FALSE, "Broke"));
        says(&[("A", UNKNOWN, "Waits"), ("B", TRUE, "")], (UNKNOWN, "Waits"));
        says(&[("Other", FALSE, "Idle"), ("A", TRUE, ""), ("B", TRUE, "")], (TRUE, ""));
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let mut conditions = Vec::new();
        SET.begin(&mut conditions, Some(1), None, at(1));
        SET.mark_true(&mut conditions, "A", at(1));
        SET.mark_true(&mut conditions, "B", at(1));
        let before = conditions.clone();
        SET.begin(&mut conditions, Some(2), Some(1), at(2));
        assert!(find(&conditions, READY).unwrap().is_unknown());
        SET.mark_true(&mut conditions, "A", at(2));
        SET.end(&mut conditions, &before);
        assert_eq!(conditions, before);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
}
