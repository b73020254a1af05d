//! The store's files cut, changed and prolonged: what is recovered is what was there after some write, or an error.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use local::store::{
    Store, disk,
    frame::{self, Read, Record},
};
use serde_json::{Value, json};
use tests::random::{Random, cases};

const RESOURCES: [&str; 2] = ["configmaps", "apps/deployments"];

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("weft-fuzz-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is below the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every object by resource and key, as its bytes.
type Objects = BTreeMap<(String, String), Vec<u8>>;

fn objects(store: &Store) -> Objects {
    let mut found = Objects::new();
    for resource in RESOURCES {
        for object in store.list(resource, "", None).unwrap().objects {
            found.insert((resource.to_owned(), object.key.to_string()), object.body.to_vec());
        }
    }
    found
}

/// Writes at random; gives the state after each revision.
fn write(store: &Store, random: &mut Random, states: &mut BTreeMap<u64, Objects>) {
    for _ in 0..random.below(30) {
        let resource = *random.pick(&RESOURCES);
        let name = *random.pick(&["a", "b", "c", "d"]);
        let key = format!("n/{name}");
        let mut value =
            json!({"metadata": {"name": name, "namespace": "n"}, "data": random.json(3)});
        match store.get(resource, &key) {
            None => drop(store.create(resource, &key, &mut value).unwrap()),
            Some(old) if random.once_in(3) => {
                drop(store.delete(resource, &key, old.revision).unwrap());
            }
            Some(old) => drop(store.update(resource, &key, &mut value, old.revision).unwrap()),
        }
        states.insert(store.revision(), objects(store));
    }
}

#[test]
fn what_is_recovered_was_there_after_some_write() {
    let folder = Folder::new("store");
    cases("store", |random| {
        fs::remove_dir_all(&folder.0).unwrap();
        let mut states = BTreeMap::from([(1, Objects::new())]);
        for _ in 0..=random.below(2) {
            let store = Store::open(&folder.0).unwrap();
            assert_eq!(
                objects(&store),
                states[&store.revision()],
                "a start brings everything back"
            );
            write(&store, random, &mut states);
        }
        let file = folder.0.join("0.log");
        let whole = fs::read(&file).unwrap();
        let ends = ends(&whole);
        assert_eq!(ends.len() + 1, states.len(), "a record for each write");
        for _ in 0..8 {
            let (bytes, cut) = harm(random, &whole);
            fs::write(&file, &bytes).unwrap();
            match Store::open(&folder.0) {
                Ok(store) => {
                    let revision = store.revision();
                    assert_eq!(Some(&objects(&store)), states.get(&revision), "at {revision}");
                    if let Some(cut) = cut {
                        // No write is lost that was wholly there.
                        let written = ends.iter().filter(|end| **end <= cut).count();
                        assert_eq!(revision, states.keys().nth(written).copied().unwrap());
                    }
                }
                Err(error) => {
                    assert!(cut.is_none(), "a file cut short is no damage: {error}");
                    assert!(matches!(error, disk::Error::Damaged { .. }), "{error}");
                    assert_eq!(fs::read(&file).unwrap(), bytes, "a damaged file is left as it is");
                }
            }
        }
    });
}

/// Where each record of a file ends.
fn ends(file: &[u8]) -> Vec<usize> {
    let file = Bytes::copy_from_slice(file);
    let mut ends = Vec::new();
    let mut at = 0;
    while let Read::Record(_, next) = frame::read(&file, at) {
        ends.push(next);
        at = next;
    }
    assert_eq!(at, file.len());
    ends
}

/// The bytes as an accident leaves them; the second value is set when they were only cut, and perhaps filled with zeros.
fn harm(random: &mut Random, whole: &[u8]) -> (Vec<u8>, Option<usize>) {
    let cut = random.below(whole.len() + 1);
    match random.below(4) {
        0 => (whole[..cut].to_vec(), Some(cut)),
        1 => {
            // A file system may have grown the file before the data came.
            let zeros = vec![0; random.below(5000)];
            ([whole, &zeros].concat(), Some(whole.len()))
        }
        2 if !whole.is_empty() => {
            let mut bytes = whole.to_vec();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            (bytes, None)
        }
        _ => (random.damaged(whole), None),
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    cases("records", |random| {
        let records: Vec<Record> = (0..random.below(5))
            .map(|_| Record {
                revision: random.below(1 << 40) as u64,
                resource: random.text("a/é", 8).into(),
                key: random.text("b/é", 8).into(),
                body: (!random.once_in(3)).then(|| random.json(3).to_string().into()),
            })
            .collect();
        let mut file = Vec::new();
        records.iter().for_each(|it| frame::write(it, &mut file));
        assert_eq!(read_all(&file.clone().into()), (records.clone(), true));
        let (found, _) = read_all(&random.damaged(&file).into());
        // Checksums: whatever was read before the damage was found was written.
        for it in &found {
            assert!(records.contains(it), "{it:?}");
        }
    });
}

/// The records up to the first that cannot be read, and whether that is the end.
fn read_all(file: &Bytes) -> (Vec<Record>, bool) {
    let (mut records, mut at) = (Vec::new(), 0);
    loop {
        match frame::read(file, at) {
            Read::Record(record, next) => {
                assert!(
                    at < next && next <= file.len(),
                    "a record has a length and is in the file"
                );
                records.push(record);
                at = next;
            }
            other => return (records, other == Read::End),
        }
    }
}

/// The names in the data directory say nothing to the store but `N.log` and `N.snapshot`.
#[test]
fn other_files_are_let_be() {
    let folder = Folder::new("others");
    let others =
        ["x.log", "1.log.bak", "-1.log", "snapshot.tmp", "1.txt", "99999999999999999999999.log"];
    for name in others {
        fs::write(folder.0.join(name), "not the store's").unwrap();
    }
    let count = |path: &Path| fs::read_dir(path).unwrap().count();
    let mut value: Value = json!({"metadata": {"name": "a", "namespace": "n"}});
    Store::open(&folder.0).unwrap().create(RESOURCES[0], "n/a", &mut value).unwrap();
    assert!(Store::open(&folder.0).unwrap().get(RESOURCES[0], "n/a").is_some());
    assert_eq!(count(&folder.0), others.len() + 2, "the log and the lock are new");
}
