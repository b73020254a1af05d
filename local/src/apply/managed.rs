//! Reads and writes `metadata.managedFields`.
//!
//! Pure: values, and the time as an argument.
//! Source: k8s.io/apimachinery `pkg/util/managedfields/internal`, sigs.k8s.io/structured-merge-diff `merge/update.go`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::compare::{self, Difference};
use super::merge;
use super::set::{self, Set};
use crate::kinds::Kind;
use crate::schema::Node;

/// Entries of updates beyond this are put together, so that an object's owners do not grow without end.
const MOST_UPDATE_ENTRIES: usize = 10;
/// Whose fields they are then.
const ANCIENT: &str = "ancient-changes";
/// Who owned the fields of an object from before anything was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// A field that someone else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Such as `"m1"` or `"m1" using v1`.
    pub with: String,
    /// Such as `.spec.replicas`.
    pub field: String,
}

/// Why apply failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Others own what would change.
    Conflicts(Vec<Conflict>),
    /// The applied object has no place in its schema.
    Invalid(String),
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: Option<String>,
    fields: Set,
}

impl Entry {
    /// Appliers are told apart without the version, updaters with it.
    fn is(&self, manager: &str, apply: bool, api_version: &str, subresource: &str) -> bool {
        self.manager == manager
            && self.apply == apply
            && self.subresource == subresource
            && (apply || self.api_version == api_version)
    }

    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.apply {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// Reads the entries; none when they are not valid.
fn read(list: &Value) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in list.as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let apply = match entry["operation"].as_str() {
            Some("Apply") => true,
            Some("Update") => false,
            _ => return None,
        };
        if text("fieldsType") != "FieldsV1" || text("apiVersion").is_empty() {
            return None;
        }
        let fields = match &entry["fieldsV1"] {
            Value::Null => Set::default(),
            fields => Set::parse(fields)?,
        };
        entries.push(Entry {
            manager: text("manager"),
            apply,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: entry["time"].as_str().map(str::to_owned),
            fields,
        });
    }
    Some(entries)
}

/// The entries as they are written.
fn listed(entries: Vec<Entry>) -> Vec<Value> {
    let kept = entries.into_iter().filter(|entry| entry.apply || !entry.fields.is_empty());
    let mut list: Vec<Value> = kept.map(listed_one).collect();
    sort(&mut list);
    list
}

fn listed_one(entry: Entry) -> Value {
    let mut map = Map::new();
    map.insert("manager".into(), entry.manager.into());
    map.insert("operation".into(), if entry.apply { "Apply" } else { "Update" }.into());
    map.insert("apiVersion".into(), entry.api_version.into());
    if let Some(time) = entry.time {
        map.insert("time".into(), time.into());
    }
    map.insert("fieldsType".into(), "FieldsV1".into());
    map.insert("fieldsV1".into(), entry.fields.write());
    if !entry.subresource.is_empty() {
        map.insert("subresource".into(), entry.subresource.into());
    }
    Value::Object(map)
}

/// Appliers first, then by time and name.
fn sort(list: &mut [Value]) {
    list.sort_by(|a, b| {
        let order = |entry: &'_ Value| entry["operation"] != "Apply";
        order(a).cmp(&order(b)).then_with(|| {
            let keys = ["time", "manager", "apiVersion", "subresource"];
            keys.map(|key| a[key].as_str()).cmp(&keys.map(|key| b[key].as_str()))
        })
    });
}

/// Writes the entries into an object.
fn write(object: &mut Value, list: Vec<Value>) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if list.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), list.into());
    }
}

/// Takes what nobody owns out of a set, and what this path cannot write.
fn strip(set: &mut Set, kind: &Kind, subresource: &str) {
    for path in [&["f:apiVersion"][..], &["f:kind"], &["f:metadata"]] {
        set.remove(path);
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.remove(&["f:metadata", &format!("f:{field}")]);
    }
    match subresource {
        "" if kind.has_status() => set.remove_all(&["f:status"]),
        "status" if kind.is_custom() => set.retain(|step| step == "f:status"),
        "status" => {
            set.remove_all(&["f:spec"]);
            set.remove_all(&["f:metadata", "f:labels"]);
            set.remove(&["f:metadata"]);
        }
        _ => {}
    }
}

fn differences(kind: &Kind, old: &Value, new: &Value, subresource: &str) -> Difference {
    let mut difference = compare::compare(old, new, Some(kind.schema().root()));
    for set in [&mut difference.added, &mut difference.modified, &mut difference.removed] {
        strip(set, kind, subresource);
    }
    difference
}

/// Records who set which fields by a create, a replace or a patch.
pub fn on_update(
    kind: &Kind,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    now: Timestamp,
) {
    let before = old.map(|old| &old["metadata"]["managedFields"]).unwrap_or(&Value::Null);
    let given = new["metadata"]
        .as_object_mut()
        .and_then(|metadata| metadata.remove("managedFields"))
        .unwrap_or(Value::Null);
    let live = || before.as_array().cloned().unwrap_or_default();
    let is_reset = given
        .as_array()
        .is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty));
    let mut list = match given {
        // As most writers leave it: it need not be read.
        Value::Array(list) if before.as_array() == Some(&list) => list,
        _ if !subresource.is_empty() => live(),
        _ if is_reset => Vec::new(),
        given => match read(&given) {
            Some(entries) if !entries.is_empty() => listed(entries),
            _ => live(),
        },
    };
    if old.is_some() && list.is_empty() {
        // Nobody's fields are recorded: they stay so until the first apply.
        return;
    }
    let empty = json!({});
    let difference = differences(kind, old.unwrap_or(&empty), new, subresource);
    record(&mut list, difference, kind, manager, subresource, now);
    write(new, list);
}

/// Gives what changed to a manager and takes it from all others. Reads no more of the entries than what changed:
/// most of them are long, and most writes are of a status.
fn record(
    list: &mut Vec<Value>,
    difference: Difference,
    kind: &Kind,
    manager: &str,
    subresource: &str,
    now: Timestamp,
) {
    let Difference { added: mut taken, modified, removed } = difference;
    taken.union(&modified);
    list.retain_mut(|entry| {
        let fields = entry.get_mut("fieldsV1").and_then(Value::as_object_mut);
        fields.is_some_and(|fields| {
            set::take_out(fields, &taken);
            set::take_out(fields, &removed);
            !fields.is_empty()
        })
    });
    if taken.is_empty() {
        return;
    }
    let api_version = kind.api_version();
    let time = crate::api::seconds(now);
    let is_mine = |entry: &Value| {
        entry["manager"] == manager
            && entry["operation"] == "Update"
            && entry["apiVersion"] == *api_version
            && entry["subresource"].as_str().unwrap_or_default() == subresource
    };
    match list.iter_mut().find(|entry| is_mine(entry)) {
        Some(entry) => {
            let mut fields = Set::parse(&entry["fieldsV1"]).unwrap_or_default();
            fields.union(&taken);
            entry["fieldsV1"] = fields.write();
            entry["time"] = time.into();
        }
        None => list.push(listed_one(Entry {
            manager: manager.to_owned(),
            apply: false,
            api_version,
            subresource: subresource.to_owned(),
            time: Some(time),
            fields: taken,
        })),
    }
    if list.iter().filter(|entry| entry["operation"] == "Update").count() > MOST_UPDATE_ENTRIES {
        let mut entries = read(&Value::Array(std::mem::take(list))).unwrap_or_default();
        cap(&mut entries);
        *list = listed(entries);
    }
    sort(list);
}

/// Puts the oldest updates, of which there are too many, together.
fn cap(entries: &mut Vec<Entry>) {
    let (mut updates, mut kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|entry| !entry.apply);
    updates.sort_by(|a, b| a.time.cmp(&b.time));
    let surplus = updates.len() - MOST_UPDATE_ENTRIES + 1;
    let recent = updates.split_off(surplus);
    for old in updates {
        match kept.iter_mut().find(|entry| {
            !entry.apply && entry.manager == ANCIENT && entry.api_version == old.api_version
        }) {
            Some(ancient) => {
                ancient.fields.union(&old.fields);
                ancient.time = ancient.time.clone().max(old.time);
            }
            None => {
                kept.push(Entry { manager: ANCIENT.to_owned(), subresource: String::new(), ..old })
            }
        }
    }
    kept.extend(recent);
    *entries = kept;
}

/// An apply by a manager.
pub struct Applier<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
    /// Takes over what others own.
    pub force: bool,
    pub now: Timestamp,
}

/// Merges an applied object into a stored one. None when nothing changes, not even an owner.
pub fn apply(
    kind: &Kind,
    old: &Value,
    config: &Value,
    applier: &Applier<'_>,
) -> Result<Option<Value>, Error> {
    let node = Some(kind.schema().root());
    let mut live = old.clone();
    let stored = live["metadata"]
        .as_object_mut()
        .and_then(|metadata| metadata.remove("managedFields"))
        .unwrap_or(Value::Null);
    let mut entries = read(&stored).unwrap_or_default();
    if entries.is_empty() {
        let empty = json!({});
        let fields = differences(kind, &empty, &live, "").added;
        let is_new = live["metadata"]["uid"].as_str().unwrap_or_default().is_empty();
        if !is_new && !fields.is_empty() {
            entries.push(Entry {
                manager: BEFORE_FIRST_APPLY.to_owned(),
                apply: false,
                api_version: kind.api_version(),
                subresource: String::new(),
                time: Some(crate::api::seconds(applier.now)),
                fields,
            });
        }
    }
    let before = entries.clone();
    let said = compare::fields(config, node).map_err(Error::Invalid)?;
    let mut fields = said.clone();
    strip(&mut fields, kind, applier.subresource);
    let merged = merge::merge(&live, config, node);
    let mine = |entry: &Entry| entry.is(applier.manager, true, "", applier.subresource);
    let last = entries
        .iter()
        .find(|entry| mine(entry))
        .map(|entry| (entry.fields.clone(), entry.time.clone()));
    entries.retain(|entry| !mine(entry));
    let owned_by_others = entries.clone();
    let merged = match &last {
        Some((last, _)) if !last.is_empty() => prune(&merged, last, &said, &owned_by_others, node),
        _ => merged,
    };
    let mut difference = differences(kind, &live, &merged, applier.subresource);
    settle(&mut entries, &mut difference, applier.force)?;
    let changed = !is_same(&live, &merged);
    let time = if changed {
        Some(crate::api::seconds(applier.now))
    } else {
        last.as_ref().and_then(|(_, time)| time.clone())
    };
    entries.push(Entry {
        manager: applier.manager.to_owned(),
        apply: true,
        api_version: kind.api_version(),
        subresource: applier.subresource.to_owned(),
        time,
        fields,
    });
    // An applier that says nothing any more is forgotten.
    entries.retain(|entry| !entry.fields.is_empty());
    if !changed && same_entries(&before, &entries) {
        return Ok(None);
    }
    let mut object = if changed { merged } else { live };
    write(&mut object, listed(entries));
    Ok(Some(object))
}

/// Finds conflicts with what others own, or takes it from them.
fn settle(entries: &mut Vec<Entry>, difference: &mut Difference, force: bool) -> Result<(), Error> {
    let mut wanted = difference.modified.clone();
    wanted.union(&difference.added);
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut() {
        let both = entry.fields.intersection(&wanted);
        if !both.is_empty() {
            let with = entry.shown();
            conflicts.extend(
                both.paths().into_iter().map(|field| Conflict { with: with.clone(), field }),
            );
            entry.fields = entry.fields.difference(&both);
        }
        entry.fields = entry.fields.difference(&difference.removed);
    }
    if !force && !conflicts.is_empty() {
        return Err(Error::Conflicts(conflicts));
    }
    entries.retain(|entry| !entry.fields.is_empty());
    Ok(())
}

/// Removes what this applier said before and says no more, unless someone else owns it.
fn prune(
    merged: &Value,
    last: &Set,
    fields: &Set,
    others: &[Entry],
    node: Option<Node<'_>>,
) -> Value {
    let Ok(all) = compare::fields(merged, node) else { return merged.clone() };
    let all = all.with_named_fields(node);
    let last = last.with_named_fields(node);
    let mut owned = fields.clone();
    for entry in others {
        owned.union(&entry.fields);
    }
    let owned = owned.with_named_fields(node);
    let said = |value: &Value| {
        compare::fields(value, node).map(|set| set.with_named_fields(node)).unwrap_or_default()
    };
    let first = merge::without(merged, &last, node);
    let mut kept = said(&first);
    kept.union(&owned);
    let second = merge::without(merged, &all.difference(&kept), node);
    merge::without(merged, &all.difference(&said(&second)).intersection(&last), node)
}

/// A write of one field by apply, as the scale subresource makes it: checks its owners and records the new one.
pub fn apply_field(
    kind: &Kind,
    old: &Value,
    new: &mut Value,
    path: &[Box<str>],
    applier: &Applier<'_>,
) -> Result<(), Error> {
    let mut entries = read(&old["metadata"]["managedFields"]).unwrap_or_default();
    let mut fields = Set::default();
    let steps: Vec<Box<str>> = path.iter().map(|step| super::item::field(step)).collect();
    fields.insert(&steps);
    entries.retain(|entry| !entry.is(applier.manager, true, "", applier.subresource));
    let mut difference = differences(kind, old, new, applier.subresource);
    settle(&mut entries, &mut difference, applier.force)?;
    let time = Some(crate::api::seconds(applier.now));
    entries.push(Entry {
        manager: applier.manager.to_owned(),
        apply: true,
        api_version: kind.api_version(),
        subresource: applier.subresource.to_owned(),
        time,
        fields,
    });
    write(new, listed(entries));
    Ok(())
}

fn same_entries(a: &[Entry], b: &[Entry]) -> bool {
    a.len() == b.len()
        && a.iter().all(|one| {
            b.iter().any(|other| {
                Entry { time: None, ..one.clone() } == Entry { time: None, ..other.clone() }
            })
        })
}

/// Values that differ only in nulls are the same to a client.
fn is_same(a: &Value, b: &Value) -> bool {
    a == b
}

/// Whether two lists of managed fields differ in no more than times.
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return false };
    let rest = |entry: &Value| -> Vec<(String, Value)> {
        entry
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "time")
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    a.len() == b.len() && a.iter().all(|one| b.iter().any(|other| rest(one) == rest(other)))
}

#[cfg(test)]
mod tests;
