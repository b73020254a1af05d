//! What the subscribers of a topic have got, as it is written down: a record tells what has changed since the one
//! before, and now and then one tells everything.
//!
//! Pure: records to state, state to records.
//!
//! Everything before a subscriber's place is done with, except what is *open*: under way, waiting to be tried again,
//! or on its way to a dead letter sink. A subscriber that keeps up has the topic's place; one that does not has its
//! own. What is not written down when the process is killed is done once more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log::Offset;

/// What is known of all subscribers of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The topic's place: the first event that has not been shown to those who keep up.
    pub at: Offset,
    /// By subscriber, in their names for all time.
    pub subscribers: BTreeMap<String, Progress>,
}

/// What one subscriber has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its own place, if it does not keep up with the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Offset>,
    /// Events before its place that are not done with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<Offset, Open>,
}

/// How far an event is that is not done with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Tries that failed, since it was last sent somewhere else.
    #[serde(default, rename = "n", skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When to try again, in milliseconds since 1970; 0 for at once.
    #[serde(default, rename = "due", skip_serializing_if = "is_zero")]
    pub due_ms: i64,
    /// Why it goes to the dead letter sink instead, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Reason>,
}

/// Why an event was given up: what its dead letter says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who did not take it, as a URL.
    pub destination: String,
    /// The last status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The beginning of the last answer, in Base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data: String,
}

/// One record of what changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Everything before this record is void: what follows is all there is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// The topic's place.
    pub at: Offset,
    /// What changed of whom.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subscribers: BTreeMap<String, Update>,
    /// Subscribers that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

/// What changed of a subscriber, which may be new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Its own place now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Offset>,
    /// What is open now, and was not or differently.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<Offset, Open>,
    /// What was open and is done with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Offset>,
}

impl State {
    /// The state with one more change.
    pub fn apply(&mut self, change: Change) {
        if change.whole {
            *self = State::default();
        }
        self.at = change.at;
        for name in change.gone {
            self.subscribers.remove(&name);
        }
        for (name, update) in change.subscribers {
            let progress = self.subscribers.entry(name).or_default();
            progress.behind = update.behind;
            progress.open.extend(update.open);
            for offset in update.done {
                progress.open.remove(&offset);
            }
        }
    }

    /// The record that says all of it.
    pub fn whole(self) -> Change {
        let update = |it: Progress| Update { behind: it.behind, open: it.open, done: Vec::new() };
        let subscribers = self.subscribers.into_iter().map(|(name, it)| (name, update(it)));
        Change { whole: true, at: self.at, subscribers: subscribers.collect(), gone: Vec::new() }
    }

    /// The first event that anybody still needs.
    pub fn needed(&self) -> Offset {
        let own = self.subscribers.values().map(|it| it.needed(self.at));
        own.min().unwrap_or(self.at).min(self.at)
    }
}

impl Progress {
    /// The first event that it still needs, on a topic that is at `at`.
    pub fn needed(&self, at: Offset) -> Offset {
        let open = self.open.keys().next().copied();
        self.behind.unwrap_or(at).min(open.unwrap_or(Offset::MAX))
    }
}

impl Change {
    /// The change in a record.
    pub fn read(bytes: &[u8]) -> serde_json::Result<Change> {
        serde_json::from_slice(bytes)
    }

    /// The record of it.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("offsets and texts are JSON")
    }
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(records: &[&str], wanted: &str) {
        let mut state = State::default();
        for record in records {
            state.apply(Change::read(record.as_bytes()).unwrap());
        }
        assert_eq!(serde_json::to_string(&state).unwrap(), wanted);
        let mut again = State::default();
        again.apply(Change::read(&state.clone().whole().bytes()).unwrap());
        assert_eq!(again, state, "the whole record says the same");
    }

    #[test]
    fn changes_add_up() {
        check(&[r#"{"at":3}"#], r#"{"at":3,"subscribers":{}}"#);
        check(
            &[
                r#"{"at":3,"subscribers":{"a":{"open":{"1":{},"2":{"n":2,"due":9}}}}}"#,
                r#"{"at":7,"subscribers":{"a":{"open":{"5":{}},"done":[1]},"b":{"behind":4}}}"#,
            ],
            r#"{"at":7,"subscribers":{"a":{"open":{"2":{"n":2,"due":9},"5":{}}},"b":{"behind":4}}}"#,
        );
        check(
            &[
                r#"{"at":3,"subscribers":{"a":{"behind":1},"b":{}}}"#,
                r#"{"at":3,"subscribers":{"a":{}},"gone":["b"]}"#,
            ],
            r#"{"at":3,"subscribers":{"a":{}}}"#,
        );
        check(
            &[r#"{"at":9,"subscribers":{"a":{}}}"#, r#"{"whole":true,"at":4}"#],
            r#"{"at":4,"subscribers":{}}"#,
        );
    }

    #[test]
    fn what_is_needed_is_the_oldest_that_is_not_done_with() {
        let needed = |record: &str| {
            let mut state = State::default();
            state.apply(Change::read(record.as_bytes()).unwrap());
            state.needed()
        };
        assert_eq!(needed(r#"{"at":8}"#), 8);
        assert_eq!(needed(r#"{"at":8,"subscribers":{"a":{"open":{"5":{}}},"b":{"behind":6}}}"#), 5);
        assert_eq!(needed(r#"{"at":8,"subscribers":{"a":{"open":{"7":{}}},"b":{"behind":6}}}"#), 6);
    }
}
