//! Events that nobody took, with the reason: kept until they are sent again or too old.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use runtime::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    log::{AppendError, Durability, Keep, Layout, Log, Offset, Store},
    state::Reason,
};

/// Dead letters are few, or something is very wrong.
const LAYOUT: Layout = Layout { segment_bytes: 8 << 20, tail_bytes: 0 };
/// How long, and how much of them, are kept. Somebody should look within this time.
const KEEP: (Duration, u64) = (Duration::from_secs(7 * 24 * 3600), 256 << 20);
/// Bytes that are read at once.
const READ: usize = 256 << 10;

/// The dead letters of a topic.
#[derive(Clone)]
pub struct Dead {
    log: Arc<dyn Log>,
    clock: Clock,
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its place among the dead letters.
    pub number: Offset,
    /// When it was given up, in milliseconds since 1970.
    pub time_ms: i64,
    /// What is known of it.
    pub about: About,
    /// The event as it was taken in.
    pub event: Event,
}

/// What is known of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name for all time of the subscriber that should have got it.
    pub subscriber: String,
    /// The subscriber's namespace and name.
    pub label: String,
    /// Its place in the topic.
    pub offset: Offset,
    /// Why it was given up.
    pub reason: Reason,
}

/// What a record says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    /// The event follows.
    Letter(About),
    /// The dead letter of that number was delivered after all.
    Sent(Offset),
}

impl Dead {
    /// Opens the dead letters of that name, which may be new.
    pub async fn open(store: &dyn Store, name: &str, clock: Clock) -> io::Result<Dead> {
        Ok(Dead { log: store.open(name, LAYOUT).await?, clock })
    }

    /// Keeps an event. Answered when it is on disk.
    pub async fn keep(&self, about: &About, event: &Event) -> Result<Offset, AppendError> {
        let number = self.append(&Entry::Letter(about.clone()), event.stored_bytes()).await?;
        let age_ms = i64::try_from(KEEP.0.as_millis()).unwrap_or(i64::MAX);
        let since_ms = self.clock.now().as_millisecond().saturating_sub(age_ms);
        if let Err(error) = self.log.trim(number, Keep { bytes: KEEP.1, since_ms }).await {
            tracing::warn!(%error, "forget old dead letters");
        }
        Ok(number)
    }

    /// Notes that a dead letter was delivered after all.
    pub async fn sent(&self, number: Offset) -> Result<(), AppendError> {
        self.append(&Entry::Sent(number), &[]).await.map(drop)
    }

    /// All dead letters, oldest first, that have not been delivered after all.
    pub async fn letters(&self) -> io::Result<Vec<Letter>> {
        let mut letters = Vec::new();
        let mut next = self.log.start();
        loop {
            let batch = self.log.read(next, READ).await?;
            for record in &batch.records {
                match read(&record.bytes) {
                    Some((Entry::Letter(about), Ok(event))) => {
                        let (number, time_ms) = (record.offset, record.time_ms);
                        letters.push(Letter { number, time_ms, about, event });
                    }
                    Some((Entry::Sent(number), _)) => letters.retain(|it| it.number != number),
                    _ => tracing::error!(offset = record.offset, "pass over a dead letter"),
                }
            }
            if batch.next == next {
                return Ok(letters);
            }
            next = batch.next;
        }
    }

    async fn append(&self, entry: &Entry, event: &[u8]) -> Result<Offset, AppendError> {
        let entry = serde_json::to_vec(entry).expect("offsets and texts are JSON");
        let length = u32::try_from(entry.len()).expect("reasons are short").to_le_bytes();
        let record = [&length[..], &entry, event].concat();
        self.log.append(vec![record.into()], Durability::Disk).await
    }
}

fn read(bytes: &Bytes) -> Option<(Entry, Result<Event, crate::event::Damaged>)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let entry = serde_json::from_slice(rest.get(..length)?).ok()?;
    Some((entry, Event::stored(bytes.slice(4 + length..))))
}
