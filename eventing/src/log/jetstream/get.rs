//! Reads of what is not in memory: direct gets, which any replica answers and which leave nothing behind on the server.
//!
//! A server of version 2.11 or later sends many records for one question, bounded by their bytes. An earlier one sends
//! one for each, so a few questions are asked at a time.

use std::{io, time::Duration};

use async_nats::{Message, StatusCode, header, jetstream::stream::RawMessageErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::timeout;

use super::{REQUEST_LIMIT, Shared, failed};
use crate::log::{Offset, Record};

/// Records that are asked for at once where each has its own question: as many of the largest that a server takes by
/// default fill 16 MB.
const WINDOW: u64 = 16;
/// Records in one answer: small ones, since there is a bound of bytes as well.
const MOST: u64 = 4096;
/// The end of an answer of many records.
const END: u16 = 204;

/// At most `count` records from `from` on, about `most` bytes of them, one at least if there is one. Empty also if the
/// replica that answers has not got them yet.
pub async fn records(
    log: &Shared,
    from: Offset,
    count: u64,
    most: usize,
) -> io::Result<Vec<Record>> {
    if log.connection.client.is_server_compatible(2, 11, 0) {
        together(log, from, count.min(MOST), most).await
    } else {
        one_by_one(log, from, count, most).await
    }
}

/// The first record at `from` or after it, from the stream's leader.
pub async fn from_leader(log: &Shared, from: Offset) -> io::Result<Option<Record>> {
    let failed = |it: &dyn std::fmt::Display| failed("read", &log.name, it);
    let stream = log.connection.context.get_stream_no_info(&log.name).await;
    let stream = stream.map_err(|it| failed(&it))?;
    let question = stream.raw_message_builder().sequence(from + 1).next_by_subject(">");
    match question.send().await {
        Ok(message) => Ok(Some(Record {
            offset: message.sequence - 1,
            time_ms: super::millis(message.time.unix_timestamp_nanos()),
            bytes: message.payload,
        })),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

async fn together(log: &Shared, from: Offset, count: u64, most: usize) -> io::Result<Vec<Record>> {
    let failed = |it: &dyn std::fmt::Display| failed("read", &log.name, it);
    let client = &log.connection.client;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|it| failed(&it))?;
    let question = question(from, &format!(r#","batch":{count},"max_bytes":{most}"#));
    let asked = client.publish_with_reply(subject(log), inbox, question).await;
    asked.map_err(|it| failed(&it))?;
    let mut records = Vec::new();
    loop {
        let answer = within(REQUEST_LIMIT, log, answers.next()).await?;
        let answer = answer.ok_or_else(|| failed(&"the connection is closed"))?;
        match record(log, &answer)? {
            Some(record) => records.push(record),
            None => return Ok(records),
        }
    }
}

async fn one_by_one(
    log: &Shared,
    from: Offset,
    count: u64,
    most: usize,
) -> io::Result<Vec<Record>> {
    let client = &log.connection.client;
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    let mut next = from;
    // Who wants one asks once.
    let mut window = if most == 1 { 1 } else { WINDOW };
    while next - from < count && (records.is_empty() || bytes < most) {
        window = window.min(count - (next - from));
        let ask = |at| client.request(subject(log), question(at, ""));
        let answers = futures::future::join_all((next..next + window).map(ask));
        for answer in within(REQUEST_LIMIT, log, answers).await? {
            let answer = answer.map_err(|it| failed("read", &log.name, &it))?;
            let Some(record) = record(log, &answer)? else { return Ok(records) };
            // Over a gap several questions have the same answer.
            if records.last().is_none_or(|it| it.offset < record.offset) {
                bytes += record.bytes.len();
                records.push(record);
            }
        }
        next = records.last().map_or(next, |it| it.offset + 1);
    }
    Ok(records)
}

async fn within<T>(limit: Duration, log: &Shared, work: impl Future<Output = T>) -> io::Result<T> {
    timeout(limit, work).await.map_err(|_| {
        let text = format!("read the stream {}: no answer in {} s", log.name, limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    })
}

fn subject(log: &Shared) -> String {
    match &log.connection.settings.domain {
        Some(domain) => format!("$JS.{domain}.API.DIRECT.GET.{}", log.name),
        None => format!("$JS.API.DIRECT.GET.{}", log.name),
    }
}

/// Asks for the first record at `from` or after it.
fn question(from: Offset, more: &str) -> Bytes {
    format!(r#"{{"seq":{},"next_by_subj":">"{more}}}"#, from + 1).into()
}

/// The record in an answer; nothing at the end of them.
fn record(log: &Shared, answer: &Message) -> io::Result<Option<Record>> {
    match answer.status {
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(StatusCode::NO_RESPONDERS) => {
            let text = "no server answers for it: it was removed, or has no leader yet";
            return Err(failed("read", &log.name, &text));
        }
        Some(status) if status.as_u16() == END => return Ok(None),
        Some(status) => {
            let text = answer.description.as_deref().unwrap_or_default();
            return Err(failed("read", &log.name, &format!("{status} {text}")));
        }
        None => {}
    }
    let headers = answer.headers.as_ref();
    let told = |name| headers.and_then(|it| it.get(name)).map(|it| it.as_str());
    let sequence = told(header::NATS_SEQUENCE).and_then(|it| it.parse::<u64>().ok());
    let time = told(header::NATS_TIME_STAMP).and_then(|it| it.parse::<jiff::Timestamp>().ok());
    match (sequence, time) {
        (Some(sequence @ 1..), Some(time)) => Ok(Some(Record {
            offset: sequence - 1,
            time_ms: time.as_millisecond(),
            // A slice would hold all that was received with it.
            bytes: Bytes::copy_from_slice(&answer.payload),
        })),
        _ => Err(failed("read", &log.name, &"an answer without sequence and date")),
    }
}
