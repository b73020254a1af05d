//! Tests of the store: revisions, the past, and what a crash leaves.

use serde_json::{Value, json};

use super::{Change, Error, Store, disk};

fn object(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "labels": {"app": name}}, "data": {"k": text}})
}

fn names(store: &Store, at: Option<u64>) -> Vec<String> {
    let page = store.list("configmaps", "n", at).unwrap();
    page.objects
        .iter()
        .map(|object| {
            format!("{}={}", object.name(), object.value()["data"]["k"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn the_past_can_be_listed_and_watched() {
    let store = Store::in_memory();
    let a = store.create("configmaps", "n/a", &mut object("a", "1")).unwrap();
    let b = store.create("configmaps", "n/b", &mut object("b", "1")).unwrap();
    let a2 = store.update("configmaps", "n/a", &mut object("a", "2"), a.revision).unwrap();
    let gone = store.delete("configmaps", "n/b", b.revision).unwrap();
    assert_eq!(names(&store, Some(a.revision)), ["a=1"]);
    assert_eq!(names(&store, Some(b.revision)), ["a=1", "b=1"]);
    assert_eq!(names(&store, Some(a2.revision)), ["a=2", "b=1"]);
    assert_eq!(names(&store, None), ["a=2"]);
    let (events, reached) = store.events("configmaps", a.revision, 10).unwrap();
    let changes: Vec<(Change, u64)> =
        events.iter().map(|event| (event.change, event.object.revision)).collect();
    assert_eq!(
        changes,
        [
            (Change::Added, b.revision),
            (Change::Modified, a2.revision),
            (Change::Deleted, gone.revision)
        ]
    );
    assert_eq!(reached, gone.revision);
    assert_eq!(gone.value()["metadata"]["resourceVersion"], gone.revision.to_string());
}

#[test]
fn a_stale_writer_is_refused() {
    let store = Store::in_memory();
    let a = store.create("configmaps", "n/a", &mut object("a", "1")).unwrap();
    assert!(matches!(
        store.create("configmaps", "n/a", &mut object("a", "1")),
        Err(Error::Exists(_))
    ));
    store.update("configmaps", "n/a", &mut object("a", "2"), a.revision).unwrap();
    assert!(matches!(
        store.update("configmaps", "n/a", &mut object("a", "3"), a.revision),
        Err(Error::Changed(_))
    ));
    assert!(matches!(store.delete("configmaps", "n/a", a.revision), Err(Error::Changed(_))));
    assert!(matches!(store.delete("configmaps", "n/zz", 1), Err(Error::Missing(_))));
}

#[test]
fn history_is_bounded_and_says_so() {
    let store = Store::in_memory();
    let mut last = store.create("configmaps", "n/a", &mut object("a", "0")).unwrap();
    for turn in 0..super::HISTORY_EVENTS + 10 {
        last = store
            .update("configmaps", "n/a", &mut object("a", &turn.to_string()), last.revision)
            .unwrap();
    }
    assert!(matches!(store.events("configmaps", 2, 10), Err(Error::TooOld(_))));
    assert!(matches!(store.list("configmaps", "n", Some(2)), Err(Error::TooOld(_))));
    assert_eq!(store.events("configmaps", last.revision - 5, 100).unwrap().0.len(), 5);
}

struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = std::env::temp_dir().join(format!("weft-store-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_restart_brings_everything_back() {
    let directory = Directory::new();
    let revision = {
        let store = Store::open(&directory.0).unwrap();
        let a = store.create("configmaps", "n/a", &mut object("a", "1")).unwrap();
        let b = store.create("configmaps", "n/b", &mut object("b", "1")).unwrap();
        store.update("configmaps", "n/a", &mut object("a", "2"), a.revision).unwrap();
        store.delete("configmaps", "n/b", b.revision).unwrap().revision
    };
    let store = Store::open(&directory.0).unwrap();
    assert_eq!(names(&store, None), ["a=2"]);
    assert_eq!(store.revision(), revision);
    assert_eq!(&*store.get("configmaps", "n/a").unwrap().labels, [("app".into(), "a".into())]);
    assert!(matches!(store.events("configmaps", revision - 1, 10), Err(Error::TooOld(_))));
}

#[test]
fn a_second_run_is_told_who_has_the_directory() {
    let directory = Directory::new();
    let _first = Store::open(&directory.0).unwrap();
    let error = Store::open(&directory.0).err().unwrap();
    assert!(matches!(error, disk::Error::InUse(_)), "{error}");
}

#[test]
fn the_last_record_may_be_cut_at_any_byte() {
    let directory = Directory::new();
    let whole = {
        let store = Store::open(&directory.0).unwrap();
        store.create("configmaps", "n/a", &mut object("a", "1")).unwrap();
        std::fs::metadata(directory.0.join("0.log")).unwrap().len()
    };
    let file = directory.0.join("0.log");
    {
        let store = Store::open(&directory.0).unwrap();
        store.create("configmaps", "n/b", &mut object("b", "1")).unwrap();
    }
    let bytes = std::fs::read(&file).unwrap();
    for end in whole as usize..bytes.len() {
        for filler in [0, 3] {
            std::fs::write(&file, [&bytes[..end], &vec![0; filler]].concat()).unwrap();
            if filler > 0 && end + filler >= bytes.len() {
                continue;
            }
            if filler > 0 && end > whole as usize {
                continue;
            }
            let store = Store::open(&directory.0).unwrap();
            assert_eq!(names(&store, None), ["a=1"], "cut at {end}");
            drop(store);
            assert_eq!(std::fs::metadata(&file).unwrap().len(), whole, "the torn end is cut off");
        }
    }
}

#[test]
fn damage_before_the_end_is_named() {
    let directory = Directory::new();
    {
        let store = Store::open(&directory.0).unwrap();
        store.create("configmaps", "n/a", &mut object("a", "1")).unwrap();
        store.create("configmaps", "n/b", &mut object("b", "1")).unwrap();
    }
    let file = directory.0.join("0.log");
    let bytes = std::fs::read(&file).unwrap();
    for at in [0, 2, 5, 9, 30] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        std::fs::write(&file, &bad).unwrap();
        let error = Store::open(&directory.0).err().unwrap();
        assert!(matches!(error, disk::Error::Damaged { at: 0, .. }), "{at}: {error}");
        assert_eq!(std::fs::read(&file).unwrap(), bad, "a damaged file is left as it is");
    }
}

#[test]
fn a_log_that_grew_is_compacted() {
    let directory = Directory::new();
    let text = "x".repeat(100_000);
    {
        let store = Store::open(&directory.0).unwrap();
        let mut last = store.create("configmaps", "n/a", &mut object("a", "0")).unwrap();
        let mut stays = object("b", "1");
        store.create("configmaps", "n/b", &mut stays).unwrap();
        for turn in 0..400 {
            last = store
                .update(
                    "configmaps",
                    "n/a",
                    &mut object("a", &format!("{turn}{text}")),
                    last.revision,
                )
                .unwrap();
        }
    }
    let total: u64 = std::fs::read_dir(&directory.0)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(total < 30 << 20, "{total} bytes stay of 40 MB");
    let store = Store::open(&directory.0).unwrap();
    assert_eq!(store.get("configmaps", "n/a").unwrap().value()["data"]["k"], format!("399{text}"));
    assert_eq!(names(&store, None)[1], "b=1");
}
