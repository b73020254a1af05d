//! Logs in files that were cut off, damaged or removed.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::log::suite::{self, SMALL, all};

#[tokio::test(start_paused = true)]
async fn files() {
    let folder = tempfile::tempdir().unwrap();
    suite::run(async |clock| Files::open(folder.path(), clock).unwrap()).await;
}

/// A log with these records, closed; its folder.
async fn written(records: &[Vec<u8>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = opened(&folder).await;
    for record in records {
        log.append(vec![record.clone().into()], Durability::Disk).await.unwrap();
    }
    folder
}

async fn opened(folder: &tempfile::TempDir) -> Arc<dyn Log> {
    let store = Files::open(folder.path(), Clock::start()).unwrap();
    store.open("log", SMALL).await.unwrap()
}

fn segments(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path().join("log")).unwrap();
    let mut paths: Vec<_> = files.map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths
}

fn bytes(log: &[Record]) -> Vec<&[u8]> {
    log.iter().map(|it| &it.bytes[..]).collect()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let records: Vec<_> = (0..100_u8).map(|it| vec![it; 300]).collect();
    let folder = written(&records).await;
    assert!(segments(&folder).len() > 3);
    let log = opened(&folder).await;
    assert_eq!(bytes(&all(&log, 0).await), records);
    assert_eq!(bytes(&all(&log, 57).await), records[57..]);
    let next = log.append(vec!["next".into()], Durability::Disk).await.unwrap();
    assert_eq!(next, 100);
    assert_eq!(bytes(&all(&log, 99).await), [&records[99][..], b"next"]);
}

/// Wherever the last write was torn off, all records before it are read, and the next takes its place.
#[tokio::test]
async fn a_write_torn_at_any_byte_loses_only_itself() {
    let records = [vec![1; 50], vec![2; 70], vec![3; 90]];
    let folder = written(&records).await;
    let path = segments(&folder).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = records
        .iter()
        .scan(frame::MAGIC.len(), |end, it| {
            *end += frame::HEAD + it.len();
            Some(*end)
        })
        .collect();
    for cut in ends[1]..ends[2] {
        for tail in [&[][..], &[0; 200]] {
            let torn = [&whole[..cut], tail].concat();
            fs::write(&path, torn).unwrap();
            let log = opened(&folder).await;
            assert_eq!(bytes(&all(&log, 0).await), records[..2], "cut at {cut}");
            let next = log.append(vec!["new".into()], Durability::Disk).await.unwrap();
            assert_eq!(next, 2, "cut at {cut}");
            assert_eq!(bytes(&all(&log, 2).await), [b"new"], "cut at {cut}");
        }
    }
}

/// What is damaged in the middle is counted and left out, all others are read, and nothing is numbered anew.
#[tokio::test]
async fn a_damaged_place_costs_only_the_records_in_it() {
    let records: Vec<_> = (0..60_u8).map(|it| vec![it; 200]).collect();
    for (segment, place, lost) in [
        (0, 300, 1..2),  // a record's bytes
        (0, 8, 0..1),    // the first record's length
        (1, 10, 18..19), // in a later file
        (0, 0, 0..0),    // the magic
    ] {
        let folder = written(&records).await;
        let path = &segments(&folder)[segment];
        let mut file = fs::read(path).unwrap();
        file[place] ^= 0x55;
        fs::write(path, file).unwrap();
        let log = opened(&folder).await;
        let found: Vec<_> = all(&log, 0).await.iter().map(|it| it.offset).collect();
        let wanted: Vec<_> = (0..60).filter(|it| !lost.contains(it)).collect();
        assert_eq!(found, wanted, "damage at {place} of {segment}");
        let batch = log.read(lost.start, 1).await.unwrap();
        assert_eq!(batch.damaged, lost.end - lost.start, "damage at {place} of {segment}");
        assert_eq!(log.append(vec!["x".into()], Durability::Disk).await.unwrap(), 60);
    }
}

#[tokio::test]
async fn a_damaged_end_keeps_the_records_behind_the_damage() {
    let records: Vec<_> = (0..5_u8).map(|it| vec![it; 200]).collect();
    let folder = written(&records).await;
    let path = segments(&folder).pop().unwrap();
    let mut file = fs::read(&path).unwrap();
    file[frame::MAGIC.len() + 2 * (frame::HEAD + 200) + 30] ^= 1;
    fs::write(&path, file).unwrap();
    let log = opened(&folder).await;
    let found: Vec<_> = all(&log, 0).await.iter().map(|it| it.offset).collect();
    assert_eq!(found, [0, 1, 3, 4]);
}

#[tokio::test]
async fn a_file_that_ends_early_is_told_and_passed_over() {
    let records: Vec<_> = (0..60_u8).map(|it| vec![it; 200]).collect();
    let folder = written(&records).await;
    let paths = segments(&folder);
    fs::write(&paths[1], b"weft").unwrap();
    let log = opened(&folder).await;
    let found: Vec<_> = all(&log, 0).await.iter().map(|it| it.offset).collect();
    let lost = Segment::base_of(paths[1].file_name().unwrap().to_str().unwrap()).unwrap()
        ..Segment::base_of(paths[2].file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!(found, (0..60).filter(|it| !lost.contains(it)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = opened(&folder).await;
    let large = vec![0; RECORD_LIMIT + 1];
    let refused = log.append(vec![large.into()], Durability::System).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    assert_eq!(*log.end().borrow(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes in the place of any file are opened and read to the end.
    #[test]
    fn whatever_lies_in_a_file_is_survived(
        which in 0_usize..3, place in 0_usize..4096, junk in proptest::collection::vec(any::<u8>(), 1..300)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let records: Vec<_> = (0..50_u8).map(|it| vec![it; 200]).collect();
            let folder = written(&records).await;
            let path = &segments(&folder)[which];
            let mut file = fs::read(path).unwrap();
            let place = place % file.len();
            let end = (place + junk.len()).min(file.len());
            file[place..end].copy_from_slice(&junk[..end - place]);
            fs::write(path, &file).unwrap();
            let log = opened(&folder).await;
            let read = all(&log, 0).await;
            for record in &read {
                assert_eq!(&record.bytes[..], &records[record.offset as usize][..]);
            }
            let touched = junk.len() / (200 + frame::HEAD) + 2;
            assert!(read.len() + touched >= 50, "{} of 50 are left", read.len());
        });
    }
}
