//! What was written last, as values.
//!
//! The start of a pod is a dozen writes of the same few objects within a second: each reads what the one before it
//! left, which need not be parsed again.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::store::Object;

/// Values that are kept: those of some twenty pods that start at once.
const MOST: usize = 256;
/// Longer objects are not kept: they are few, and the bound is to hold in bytes too.
const LONGEST: usize = 64 << 10;
/// How long a value is kept at least, and half of what it is kept at most: they are several times larger than their
/// text.
const KEPT: Duration = Duration::from_secs(2);

/// Values by the revision that wrote them.
#[derive(Default)]
pub struct Recent {
    values: Arc<Mutex<VecDeque<Entry>>>,
}

struct Entry {
    revision: u64,
    written: Instant,
    value: Arc<Value>,
}

impl Recent {
    /// Keeps an object that has just been written, as the kind's version shows it. Needs a tokio runtime.
    pub fn put(&self, object: &Object, value: Value) {
        if object.body.len() > LONGEST {
            return;
        }
        let revision = object.revision;
        let now = Instant::now();
        let entry = Entry { revision, written: now, value: Arc::new(value) };
        let mut values = self.values.lock();
        let is_first = values.is_empty();
        values.push_back(entry);
        let too_many = if values.len() > MOST { values.pop_front() } else { None };
        drop(values);
        // Large values take a while to drop: not while others wait.
        drop(too_many);
        if is_first {
            tokio::spawn(forget(Arc::downgrade(&self.values)));
        }
    }

    /// What a revision wrote, if that was a moment ago and in that version.
    pub fn get(&self, revision: u64, api_version: &str) -> Option<Arc<Value>> {
        let values = self.values.lock();
        let found = values.iter().rev().find(|it| it.revision == revision)?;
        (found.value["apiVersion"] == *api_version).then(|| found.value.clone())
    }
}

/// Drops values that are old, until there are none: apart from writes, of which the first after a pause would else drop
/// all that there were before it.
async fn forget(values: Weak<Mutex<VecDeque<Entry>>>) {
    loop {
        tokio::time::sleep(KEPT).await;
        let Some(values) = values.upgrade() else { return };
        let now = Instant::now();
        let old: VecDeque<Entry> = {
            let mut values = values.lock();
            let count = values.partition_point(|it| now.duration_since(it.written) >= KEPT);
            let kept = values.split_off(count);
            std::mem::replace(&mut *values, kept)
        };
        drop(old);
        if values.lock().is_empty() {
            return;
        }
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
        // The clock of a test goes on when nothing else can.
        tokio::time::sleep(KEPT * 3).await;
        assert_eq!(recent.get(256, "v1"), None);
        put(1000, LONGEST);
        put(1001, LONGEST + 1);
        assert_eq!(recent.get(1000, "v1").as_deref(), Some(&value(1000)));
        assert_eq!(recent.get(1001, "v1"), None);
    }
}
