//! What was written last, as values.
//!
//! The start of a pod is a dozen writes of the same few objects within a second: each reads what the one before it
//! left, which need not be parsed again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::store::Object;

/// Values that are kept: those of some twenty pods that start at once.
const MOST: usize = 256;
/// Longer objects are not kept: they are few, and the bound is to hold in bytes too.
const LONGEST: usize = 64 << 10;
/// How long a value is kept, counted when the next comes: they are several times larger than their text.
const KEPT: Duration = Duration::from_secs(2);

/// Values by the revision that wrote them.
#[derive(Default)]
pub struct Recent {
    values: Mutex<VecDeque<Entry>>,
}

struct Entry {
    revision: u64,
    written: Instant,
    value: Arc<Value>,
}

impl Recent {
    /// Keeps an object that has just been written, as the kind's version shows it.
    pub fn put(&self, object: &Object, value: Value) {
        if object.body.len() > LONGEST {
            return;
        }
        let revision = object.revision;
        let now = Instant::now();
        let entry = Entry { revision, written: now, value: Arc::new(value) };
        let mut values = self.values.lock();
        values.push_back(entry);
        let is_old = |it: &Entry| now.duration_since(it.written) > KEPT;
        let mut dropped = Vec::new();
        while values.len() > MOST || values.front().is_some_and(is_old) {
            dropped.extend(values.pop_front());
        }
        // Large values take a while to drop: not while others wait.
        drop(values);
    }

    /// What a revision wrote, if that was a moment ago and in that version.
    pub fn get(&self, revision: u64, api_version: &str) -> Option<Arc<Value>> {
        let values = self.values.lock();
        let found = values.iter().rev().find(|it| it.revision == revision)?;
        (found.value["apiVersion"] == *api_version).then(|| found.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keeps_a_bounded_number_for_a_bounded_time() {
        let recent = Recent::default();
        let value =
            |revision: u64| json!({"apiVersion": "v1", "metadata": {"name": revision.to_string()}});
        let put = |revision: u64, length: usize| {
            let object = Object {
                key: "a".into(),
                revision,
                body: vec![0; length].into(),
                labels: Box::default(),
                fields: 1..1,
            };
            recent.put(&object, value(revision));
        };
        for revision in 0..=MOST as u64 {
            put(revision, 1);
        }
        assert_eq!(recent.get(0, "v1"), None);
        assert_eq!(recent.get(1, "v1").as_deref(), Some(&value(1)));
        assert_eq!(recent.get(1, "v2"), None);
        tokio::time::advance(KEPT * 2).await;
        put(1000, LONGEST);
        put(1001, LONGEST + 1);
        assert_eq!(recent.get(1, "v1"), None);
        assert_eq!(recent.get(1000, "v1").as_deref(), Some(&value(1000)));
        assert_eq!(recent.get(1001, "v1"), None);
    }
}
