//! Logs in JetStream, on real servers: the suite of all stores, restarts, several processes, and what is refused.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use eventing::log::{
    AppendError, Durability, Keep, Layout, Log, Record, Store,
    jetstream::{JetStream, Settings},
};
use futures::StreamExt;
use tests::nats::Nats;
use tokio::time::timeout;

#[path = "../eventing/src/log/suite.rs"]
mod suite;

/// The newest that there is, and the oldest that many have.
const SERVERS: &[&str] = &["nats-server", "nats-server-2.9"];
/// Long enough for anything to come that comes.
const BOUND: Duration = Duration::from_secs(60);
const LARGE: Layout = Layout { segment_bytes: 1 << 20, tail_bytes: 1 << 20 };
const UNHELD: Layout = Layout { segment_bytes: 1 << 20, tail_bytes: 0 };

async fn connect(nats: &Nats) -> JetStream {
    JetStream::connect(Settings::new(vec![nats.url()])).await.unwrap()
}

#[tokio::test]
async fn jetstream_does_what_every_store_does() {
    for server in SERVERS {
        let nats = Nats::start(server, "").await;
        suite::run(async |_| connect(&nats).await).await;
    }
}

#[tokio::test]
async fn what_was_answered_is_there_for_the_next_process() {
    let nats = Nats::start(SERVERS[0], "").await;
    {
        let log = connect(&nats).await.open("log", LARGE).await.unwrap();
        for number in 0..10 {
            log.append(vec![format!("{number}").into()], Durability::Disk).await.unwrap();
        }
        log.trim(4, Keep::NOTHING).await.unwrap();
    }
    let log = connect(&nats).await.open("log", LARGE).await.unwrap();
    assert_eq!((log.start(), *log.end().borrow()), (4, 10));
    assert_eq!(suite::all(&log, 0).await.len(), 6);
    assert_eq!(log.append(vec!["next".into()], Durability::Disk).await.unwrap(), 10);
    log.trim(11, Keep::NOTHING).await.unwrap();
    let again = connect(&nats).await.open("log", LARGE).await.unwrap();
    assert_eq!((again.start(), *again.end().borrow()), (11, 11), "also when nothing is left");
    assert_eq!(again.append(vec!["more".into()], Durability::Disk).await.unwrap(), 11);
}

/// Two processes append to one log, and a third that only reads learns of all of it, with and without a tail.
#[tokio::test]
async fn several_processes_share_a_log() {
    for (server, layout) in [(SERVERS[0], LARGE), (SERVERS[0], UNHELD), (SERVERS[1], LARGE)] {
        let nats = Nats::start(server, "").await;
        let reader = connect(&nats).await.open("log", layout).await.unwrap();
        let mut end = reader.end();
        let writers = [connect(&nats).await, connect(&nats).await];
        let writers = futures::future::join_all(writers.iter().map(|it| it.open("log", layout)));
        let writers: Vec<_> = writers.await.into_iter().map(Result::unwrap).collect();
        let appends = (0..200)
            .map(|it| writers[it % 2].append(vec![format!("{it}").into()], Durability::Disk));
        let offsets = futures::future::join_all(appends).await;
        let offsets: BTreeSet<_> = offsets.into_iter().map(Result::unwrap).collect();
        assert_eq!(offsets, (0..200).collect(), "each has an offset of its own");
        let arrival = end.wait_for(|it| *it == 200);
        timeout(BOUND, arrival).await.expect("the reader is told").unwrap();
        let seen = suite::all(&reader, 0).await;
        let texts: BTreeSet<_> = seen.iter().map(|it| it.bytes.clone()).collect();
        assert_eq!((seen.len(), texts.len()), (200, 200));
        writers[0].trim(150, Keep::NOTHING).await.unwrap();
        assert_eq!(suite::all(&reader, 0).await.last().unwrap().offset, 199);
    }
}

/// The server is killed again and again while records come in and are read. All that was acknowledged is read, in the
/// order in which it was appended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_record_is_lost_when_the_server_is_killed() {
    const WRITERS: usize = 8;
    const KILLS: usize = 3;
    /// Records that each writer must get in between two kills.
    const BETWEEN: usize = 100;
    for server in SERVERS {
        let mut nats = Nats::start(server, "").await;
        let store = connect(&nats).await;
        let log = store.open("log", LARGE).await.unwrap();
        let read = tokio::spawn(read_up(log.clone()));
        let (told, mut count) = tokio::sync::watch::channel(0);
        let told = Arc::new(told);
        let stop = tokio_util::sync::CancellationToken::new();
        let writers = (0..WRITERS)
            .map(|writer| tokio::spawn(write_on(log.clone(), writer, told.clone(), stop.clone())));
        let writers: Vec<_> = writers.collect();
        for kill in 1..=KILLS {
            let enough = count.wait_for(|it| *it >= kill * BETWEEN * WRITERS);
            timeout(BOUND, enough).await.expect("appends go on").unwrap();
            nats.kill().await;
            nats.start_again().await;
        }
        let enough = count.wait_for(|it| *it >= (KILLS + 1) * BETWEEN * WRITERS);
        timeout(BOUND, enough).await.expect("appends go on").unwrap();
        stop.cancel();
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(timeout(BOUND, writer).await.expect("writers end").unwrap());
        }
        let last = log.append(vec!["end".into()], Durability::Disk).await.unwrap();
        let records = timeout(BOUND, read).await.expect("the reader goes on").unwrap();
        assert_eq!(records.last().unwrap().offset, last);
        assert!(records.is_sorted_by(|a, b| a.offset < b.offset && a.time_ms <= b.time_ms));
        for (offset, text) in &acknowledged {
            let at = records.binary_search_by_key(offset, |it| it.offset);
            assert_eq!(records[at.expect("acknowledged and read")].bytes, *text);
        }
        assert_eq!(suite::all(&log, 0).await, records, "a second look sees the same");
    }
}

/// Reads as a topic does until it has seen the record `end`.
async fn read_up(log: Arc<dyn Log>) -> Vec<Record> {
    let mut end = log.end();
    let (mut next, mut records) = (0, Vec::new());
    loop {
        if *end.borrow_and_update() <= next {
            end.changed().await.unwrap();
            continue;
        }
        // Who reads while the server is away tries again, as a topic does.
        let Ok(batch) = log.read(next, 10_000).await else { continue };
        next = batch.next;
        records.extend(batch.records);
        if records.last().is_some_and(|it| it.bytes == "end") {
            return records;
        }
    }
}

/// Appends until it is told to stop; returns what was acknowledged.
async fn write_on(
    log: Arc<dyn Log>,
    writer: usize,
    told: Arc<tokio::sync::watch::Sender<usize>>,
    stop: tokio_util::sync::CancellationToken,
) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    let mut number = 0;
    while !stop.is_cancelled() {
        let text = format!("{writer}-{number}");
        number += 1;
        if let Ok(offset) = log.append(vec![text.clone().into()], Durability::Disk).await {
            acknowledged.push((offset, text));
            told.send_modify(|it| *it += 1);
        }
    }
    acknowledged
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_the_reason() {
    for server in SERVERS {
        let nats = Nats::start(server, "max_file_store: 1MB").await;
        let log = connect(&nats).await.open("log", UNHELD).await.unwrap();
        let large = log.append(vec![vec![0; (1 << 20) + 1].into()], Durability::Disk).await;
        assert!(matches!(large, Err(AppendError::TooLarge { limit: 1_048_576, .. })), "{large:?}");
        let appends = futures::stream::repeat(())
            .then(|()| log.append(vec![vec![0; 100_000].into()], Durability::Disk));
        let refused = appends.take(30).filter_map(async |it| it.err());
        let refused = std::pin::pin!(refused).next().await;
        assert!(matches!(refused, Some(AppendError::Full(_))), "{refused:?}");
        let end = *log.end().borrow();
        log.trim(end, Keep::NOTHING).await.unwrap();
        let after = log.append(vec!["small".into()], Durability::Disk).await;
        assert_eq!(after.unwrap(), end, "there is room again");
        // Too much at a time is refused at once, and what came before it is not.
        let many: Vec<_> =
            (0..200).map(|_| log.append(vec![vec![0; 900_000].into()], Durability::Disk)).collect();
        let busy = futures::future::join_all(many).await;
        let is_busy = |it: &&Result<u64, _>| matches!(it, Err(AppendError::Busy { .. }));
        assert!((100..200).contains(&busy.iter().filter(is_busy).count()));
    }
}

#[tokio::test]
async fn who_cannot_reach_a_server_is_told_within_a_bound() {
    let refused = JetStream::connect(Settings::new(vec!["nats://127.0.0.1:1".to_owned()])).await;
    let error = refused.err().expect("nobody listens there").to_string();
    assert!(error.starts_with("connect to NATS at nats://127.0.0.1:1: "), "{error}");
    let mut nats = Nats::start(SERVERS[0], "").await;
    let log = connect(&nats).await.open("log", LARGE).await.unwrap();
    nats.kill().await;
    let late = log.append(vec!["x".into()], Durability::Disk).await;
    assert!(late.unwrap_err().to_string().contains("did not acknowledge within"));
}
