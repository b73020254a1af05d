//! What every store does, whatever it is made of. Stores that need a server are tested in the package `tests`, which
//! includes this file.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use runtime::clock::Clock;

use super::{Durability, Keep, Layout, Log, Record, Store};

/// Small segments, so that tests see many.
pub const SMALL: Layout = Layout { segment_bytes: 4 << 10, tail_bytes: 1 << 10 };

/// Time between records whose dates must differ. It passes at once where tokio's clock is paused.
const STEP: Duration = Duration::from_millis(10);

/// Runs the suite. `open` opens the store, which has no logs, on the suite's clock.
pub async fn run<S: Store>(open: impl AsyncFn(Clock) -> S) {
    let clock = Clock::start();
    let store = open(clock).await;
    appends_are_read_in_order(&store).await;
    many_records_come_in_pieces(&store).await;
    readers_learn_of_new_records(&store).await;
    records_are_found_by_their_date(&store, clock).await;
    what_nobody_needs_goes(&store, clock).await;
    logs_have_names(&store).await;
    drop(store);
}

async fn appends_are_read_in_order(store: &impl Store) {
    let log = store.open("order", SMALL).await.unwrap();
    assert_eq!((log.start(), *log.end().borrow()), (0, 0));
    assert_eq!(log.append(vec!["a".into()], Durability::Disk).await.unwrap(), 0);
    let two = vec!["b".into(), Bytes::new()];
    assert_eq!(log.append(two, Durability::System).await.unwrap(), 1);
    assert_eq!(*log.end().borrow(), 3);
    assert_eq!(texts(&all(&log, 0).await), ["a", "b", ""]);
    assert_eq!(texts(&all(&log, 2).await), [""]);
    assert!(all(&log, 3).await.is_empty());
    // Appends made at once are answered in their order.
    let many = (0..100).map(|it| log.append(vec![format!("{it}").into()], Durability::Disk));
    let answers = futures::future::join_all(many).await;
    let offsets: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(offsets, (3..103).collect::<Vec<_>>());
    assert_eq!(texts(&all(&log, 100).await), ["97", "98", "99"]);
}

async fn many_records_come_in_pieces(store: &impl Store) {
    let log = store.open("pieces", SMALL).await.unwrap();
    for number in 0..200_u32 {
        let bytes = vec![u8::try_from(number % 251).unwrap(); 10 + number as usize * 7];
        log.append(vec![bytes.into()], Durability::System).await.unwrap();
    }
    for start in [0, 1, 50, 199] {
        let records = all(&log, start).await;
        assert_eq!(records.len() as u64, 200 - start);
        for (at, record) in records.iter().enumerate() {
            let number = start as usize + at;
            assert_eq!(record.offset, number as u64);
            let byte = u8::try_from(number % 251).unwrap();
            assert_eq!(record.bytes, vec![byte; 10 + number * 7]);
        }
    }
    let batch = log.read(10, 1).await.unwrap();
    assert!(batch.records[0].offset == 10 && batch.next > 10, "one at the least");
    log.release(200);
    assert_eq!(all(&log, 0).await.len(), 200, "what is released is not gone");
}

async fn readers_learn_of_new_records(store: &impl Store) {
    let log = store.open("news", SMALL).await.unwrap();
    let mut end = log.end();
    let waits = async {
        end.changed().await.unwrap();
        *end.borrow()
    };
    let (seen, _) = tokio::join!(waits, log.append(vec!["x".into()], Durability::Disk));
    assert_eq!(seen, 1);
}

async fn records_are_found_by_their_date(store: &impl Store, clock: Clock) {
    let log = store.open("dates", SMALL).await.unwrap();
    let dates = append_with_dates(&log, clock, 40).await;
    for (offset, date) in dates.iter().enumerate() {
        assert_eq!(log.at(*date).await.unwrap(), offset as u64);
        assert_eq!(log.at(*date - 1).await.unwrap(), offset as u64);
        assert_eq!(log.at(*date + 1).await.unwrap(), offset as u64 + 1);
    }
    assert_eq!(log.at(0).await.unwrap(), 0);
}

/// Appends records of 500 bytes and returns their dates, which are at least `STEP` apart.
async fn append_with_dates(log: &Arc<dyn Log>, clock: Clock, count: usize) -> Vec<i64> {
    let mut bounds = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(STEP).await;
        let before = clock.now().as_millisecond();
        log.append(vec![vec![1; 500].into()], Durability::System).await.unwrap();
        bounds.push((before, clock.now().as_millisecond()));
    }
    let dates: Vec<_> = all(log, 0).await.iter().map(|it| it.time_ms).collect();
    assert_eq!(dates.len(), count);
    for ((before, after), date) in bounds.iter().zip(&dates) {
        // Another process reads another clock, whose milliseconds begin elsewhere.
        let slack = i64::from(before != after);
        assert!((before - slack..=after + slack).contains(date), "{before} {date} {after}");
    }
    dates
}

async fn what_nobody_needs_goes(store: &impl Store, clock: Clock) {
    let log = store.open("trim", SMALL).await.unwrap();
    let dates = append_with_dates(&log, clock, 100).await;
    let all_of_it = log.bytes();
    log.trim(0, Keep::NOTHING).await.unwrap();
    assert_eq!(log.start(), 0, "what is needed stays");
    let keep = Keep { bytes: u64::MAX, since_ms: 0 };
    log.trim(100, keep).await.unwrap();
    assert_eq!(log.start(), 0, "what is to be kept stays");
    log.trim(100, Keep { bytes: u64::MAX, since_ms: dates[79] }).await.unwrap();
    let start = log.start();
    assert!((70..=79).contains(&start), "the old is gone: {start}");
    log.trim(100, Keep { bytes: 6_000, since_ms: 0 }).await.unwrap();
    let start = log.start();
    assert!((85..=95).contains(&start) && log.bytes() < all_of_it, "so is the large: {start}");
    log.trim(start + 2, Keep::NOTHING).await.unwrap();
    let from_before = all(&log, 0).await;
    assert_eq!(from_before.first().unwrap().offset, log.start(), "who asks for the gone goes on");
    assert_eq!(from_before.last().unwrap().offset, 99);
    log.trim(100, Keep::NOTHING).await.unwrap();
    let next = log.append(vec!["more".into()], Durability::Disk).await.unwrap();
    assert_eq!(next, 100, "no offset is used twice");
}

async fn logs_have_names(store: &impl Store) {
    let names = ["dates", "news", "order", "pieces", "trim"];
    assert_eq!(store.names().await.unwrap(), names);
    store.remove("news").await.unwrap();
    assert_eq!(store.names().await.unwrap(), ["dates", "order", "pieces", "trim"]);
    let log = store.open("news", SMALL).await.unwrap();
    assert_eq!(*log.end().borrow(), 0, "what was removed does not come back");
}

/// All records from `from` on.
pub async fn all(log: &Arc<dyn Log>, from: u64) -> Vec<Record> {
    let (mut records, mut next) = (Vec::new(), from);
    loop {
        let batch = log.read(next, 2_000).await.unwrap();
        if batch.records.is_empty() && batch.next == next {
            return records;
        }
        next = batch.next;
        records.extend(batch.records);
    }
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|it| std::str::from_utf8(&it.bytes).unwrap()).collect()
}
