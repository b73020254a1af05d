//! What is appended, as it comes: a consumer on the server brings each new record once, whoever appended it.
//!
//! Somebody follows a log only to read it, so the records themselves are brought and kept in memory for those who read as
//! fast as others append: they ask the server for nothing. Where none are to be held, only the news is brought. A poll
//! would ask all the time while nothing happens, and still tell late.

use std::{io, time::Duration};

use async_nats::{
    Message,
    jetstream::{self, consumer},
};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::{Arc, Shared, failed, millis};
use crate::log::{Offset, Record};

/// How often the server says that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Wait before following again after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// The status of what is not a record but a heartbeat, or asks for a sign that more may come.
const IDLE: u16 = 100;

/// Follows the log from `from` on, for ever.
pub async fn run(log: Arc<Shared>, from: Offset) {
    let mut next = from;
    loop {
        if let Err(error) = follow(&log, &mut next).await {
            tracing::warn!(stream = log.name, %error, "follow events; trying again");
            sleep(PAUSE).await;
        }
    }
}

/// Follows until the connection has been made anew.
async fn follow(log: &Shared, next: &mut Offset) -> io::Result<()> {
    let (client, context) = (&log.connection.client, &log.connection.context);
    let failed = |it: &dyn std::fmt::Display| failed("follow", &log.name, it);
    let mut connected = log.connection.connected.clone();
    connected.mark_unchanged();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|it| failed(&it))?;
    let config = consumer::push::Config {
        deliver_subject: inbox,
        deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: *next + 1 },
        ack_policy: consumer::AckPolicy::None,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        headers_only: log.layout.tail_bytes == 0,
        memory_storage: true,
        num_replicas: 1,
        ..consumer::push::Config::default()
    };
    let made = context.create_consumer_on_stream(config, &log.name).await;
    made.map_err(|it| failed(&it))?;
    let mut expected = 1;
    loop {
        let message = tokio::select! {
            message = timeout(HEARTBEAT * 3, messages.next()) => message,
            // The consumer went with the connection.
            changed = connected.changed() => return changed.map_err(|it| failed(&it)),
        };
        let message = message.map_err(|_| failed(&"the server has gone silent"))?;
        let message = message.ok_or_else(|| failed(&"the connection is closed"))?;
        if let Some(status) = message.status {
            if status.as_u16() == IDLE {
                let last = header(&message, "Nats-Last-Consumer");
                if last.is_some_and(|it| it.parse() != Ok(expected - 1)) {
                    return Err(failed(&"records were lost on their way"));
                }
                let stalled = header(&message, "Nats-Consumer-Stalled").map(str::to_owned);
                if let Some(reply) = message.reply.map(|it| it.to_string()).or(stalled) {
                    client.publish(reply, Bytes::new()).await.map_err(|it| failed(&it))?;
                }
            }
            continue;
        }
        let message = jetstream::Message { message, context: context.clone() };
        let info = message.info().map_err(|it| failed(&it))?;
        if info.consumer_sequence != expected {
            return Err(failed(&"records were lost on their way"));
        }
        expected += 1;
        let offset = info.stream_sequence.saturating_sub(1);
        if log.layout.tail_bytes > 0 {
            let time_ms = millis(info.published.unix_timestamp_nanos());
            // A slice would hold all that was received with it.
            let bytes = Bytes::copy_from_slice(&message.payload);
            log.tail.lock().push(Record { offset, time_ms, bytes }, log.layout.tail_bytes);
        }
        *next = offset + 1;
        log.raise(*next);
        log.followed.send_replace(Some(*next));
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
