//! Appends: one task sends the records of all logs in the order in which they were handed in, and each append waits for
//! the acknowledgements of its own. As many are on their way at a time as there are, so that the server's time to keep
//! one is not the time of all.

use std::{
    error::Error,
    io,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_nats::{
    Subject,
    jetstream::{
        self, Context, ErrorCode,
        context::{PublishAckFuture, PublishError, PublishErrorKind},
    },
};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{APPEND_LIMIT, Connection, WAITING_LIMIT};
use crate::log::AppendError;

/// Records to send.
pub struct Publish {
    subject: Subject,
    records: Vec<Bytes>,
    /// After this nobody waits any more.
    deadline: Instant,
    sent: oneshot::Sender<Result<Vec<PublishAckFuture>, PublishError>>,
}

/// Records on their way.
pub struct Answer {
    sent: oneshot::Receiver<Result<Vec<PublishAckFuture>, PublishError>>,
    deadline: Instant,
    _reserved: Reserved,
}

/// A part of what may be on its way.
struct Reserved {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Answer {
    /// Hands in records that take `bytes`, behind all that were handed in before.
    pub fn ask(
        connection: &Connection,
        subject: Subject,
        records: Vec<Bytes>,
        bytes: usize,
    ) -> Result<Answer, AppendError> {
        let before = connection.waiting.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Reserved { waiting: connection.waiting.clone(), bytes };
        if before > 0 && before + bytes > WAITING_LIMIT {
            return Err(AppendError::Busy { waiting: before });
        }
        let (done, sent) = oneshot::channel();
        let deadline = Instant::now() + APPEND_LIMIT;
        let publish = Publish { subject, records, deadline, sent: done };
        connection.publisher.send(publish).map_err(|_| AppendError::Closed)?;
        Ok(Answer { sent, deadline, _reserved: reserved })
    }

    /// The sequences of the records, from the first to the last, when all are acknowledged; nothing if there were none.
    pub async fn wait(self) -> Result<Option<RangeInclusive<u64>>, AppendError> {
        let acknowledged = async {
            let acks = self.sent.await.map_err(|_| AppendError::Closed)?.map_err(refused)?;
            let mut sequences: Option<RangeInclusive<u64>> = None;
            for ack in acks {
                let sequence = ack.await.map_err(refused)?.sequence;
                let first = sequences.map_or(sequence, |it| *it.start());
                sequences = Some(first..=sequence);
            }
            Ok(sequences)
        };
        timeout_at(self.deadline, acknowledged).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Sends what is asked until nobody can ask any more.
pub async fn run(context: Context, mut asked: mpsc::UnboundedReceiver<Publish>) {
    // Its length is bounded by the bytes that may be on their way.
    while let Some(publish) = asked.recv().await {
        let Publish { subject, records, deadline, sent } = publish;
        if sent.is_closed() {
            continue;
        }
        let send = async {
            let mut acks = Vec::with_capacity(records.len());
            for record in records {
                acks.push(context.publish(subject.clone(), record).await?);
            }
            Ok(acks)
        };
        let Ok(result) = timeout_at(deadline, send).await else { continue };
        let _ = sent.send(result); // Who asked may have gone.
    }
}

fn late() -> AppendError {
    let text = format!("the server did not acknowledge within {} s", APPEND_LIMIT.as_secs());
    AppendError::Failed(Arc::new(io::Error::new(io::ErrorKind::TimedOut, text)))
}

fn refused(error: PublishError) -> AppendError {
    let its = error.source().and_then(|it| it.downcast_ref::<jetstream::Error>());
    let is_full = its.is_some_and(|it| {
        let text = it.to_string();
        match it.error_code() {
            ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED => true,
            // The server has one code for all that its storage says.
            ErrorCode::STREAM_STORE_FAILED => {
                ["maximum bytes", "maximum messages", "no space"].iter().any(|it| text.contains(it))
            }
            _ => false,
        }
    });
    let text = match error.kind() {
        PublishErrorKind::TimedOut => return late(),
        PublishErrorKind::StreamNotFound => {
            "no stream takes it: it was removed, or its servers have no leader yet".to_owned()
        }
        _ => error.to_string(),
    };
    if is_full {
        return AppendError::Full(Arc::new(io::Error::new(io::ErrorKind::StorageFull, text)));
    }
    AppendError::Failed(Arc::new(io::Error::other(text)))
}
