//! Who owns whom over all kinds, and what has to go because its owner went.
//!
//! Pure: the graph is fed with what watches saw; `examine` says what to write about one object.
//! Source: kubernetes `pkg/controller/garbagecollector` (`garbagecollector.go`, `graph_builder.go`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde_json::json;

use super::{
    objects::{Key, Meta, Owner, Uid},
    resources::{Deletion, Part, Resource, Write},
    selector,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Most owners remembered as absent, and most removed objects remembered against late news. A forgotten one is asked
/// for again.
const MEMORY: usize = 1024;

/// Every object of every watched kind, by its unique id.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
    /// Owners that the API server knows although no watch has told of them yet.
    assumed: HashSet<Uid>,
    absent: Recent,
    removed: Recent,
}

/// What the graph keeps of an object.
#[derive(Debug)]
pub struct Node {
    pub resource: Resource,
    pub key: Key,
    pub version: u64,
    owners: Box<[Owner]>,
    finalizers: Box<[String]>,
    is_deleted: bool,
}

impl Node {
    fn waits_for_dependents(&self) -> bool {
        self.is_deleted && self.finalizers.iter().any(|it| it == FOREGROUND)
    }

    fn orphans_dependents(&self) -> bool {
        self.is_deleted && self.finalizers.iter().any(|it| it == ORPHAN)
    }
}

/// What to do about an object.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Leave,
    /// Ask the API server whether these owners exist, then examine again.
    Ask(Vec<Owner>),
    Write(Vec<Write>),
}

impl Graph {
    /// The object with that id.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The ids of what names `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Uid> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// The ids of all objects of a kind.
    pub fn of_kind(&self, resource: &Resource) -> impl Iterator<Item = &Uid> {
        self.nodes.iter().filter(move |(_, node)| node.resource == *resource).map(|(uid, _)| uid)
    }

    /// How many objects are in a namespace.
    pub fn count_in(&self, namespace: &str) -> usize {
        self.nodes.values().filter(|node| &*node.key.namespace == namespace).count()
    }

    /// Objects with owners that no watch has told of.
    pub fn unsure(&self) -> impl Iterator<Item = &Uid> {
        let is_unsure =
            |node: &Node| node.owners.iter().any(|it| !self.nodes.contains_key(&it.uid));
        self.nodes.iter().filter(move |(_, node)| is_unsure(node)).map(|(uid, _)| uid)
    }

    /// False when `meta` is older than what is known of the object already.
    pub fn is_news(&self, meta: &Meta) -> bool {
        !self.removed.contains(&meta.uid)
            && self.nodes.get(&meta.uid).is_none_or(|node| node.version < meta.version)
    }

    /// Takes in an object, and returns the ids of those to examine.
    pub fn add(&mut self, resource: Resource, meta: &Meta) -> Vec<Uid> {
        let node = Node {
            resource,
            key: meta.key.clone(),
            version: meta.version,
            owners: meta.owners.clone(),
            finalizers: meta.finalizers.clone(),
            is_deleted: meta.deleted.is_some(),
        };
        self.assumed.remove(&meta.uid);
        let mut affected = vec![];
        if !node.owners.is_empty() || node.waits_for_dependents() || node.orphans_dependents() {
            affected.push(meta.uid.clone());
        }
        if node.waits_for_dependents() {
            affected.extend(self.dependents(&meta.uid).cloned());
        }
        let owners: BTreeSet<Uid> = node.owners.iter().map(|it| it.uid.clone()).collect();
        let before = self.nodes.insert(meta.uid.clone(), node);
        for owner in before.iter().flat_map(|node| &node.owners) {
            if !owners.contains(&owner.uid) {
                affected.extend(self.unlink(&meta.uid, &owner.uid));
            }
        }
        for owner in owners {
            self.dependents.entry(owner).or_default().insert(meta.uid.clone());
        }
        affected
    }

    /// Forgets an object that is gone, and returns the ids of those to examine.
    pub fn remove(&mut self, uid: &Uid) -> Vec<Uid> {
        self.removed.insert(uid.clone());
        self.absent.insert(uid.clone());
        self.assumed.remove(uid);
        let mut affected: Vec<Uid> = self.dependents(uid).cloned().collect();
        if let Some(node) = self.nodes.remove(uid) {
            for owner in &node.owners {
                affected.extend(self.unlink(uid, &owner.uid));
            }
        }
        affected
    }

    /// Remembers what the API server said about an owner.
    pub fn learn(&mut self, owner: Uid, exists: bool) {
        if exists {
            self.assumed.insert(owner);
        } else {
            self.absent.insert(owner);
        }
    }

    /// Removes the edge, and returns the owner if it waits for its dependents.
    fn unlink(&mut self, dependent: &Uid, owner: &Uid) -> Option<Uid> {
        let dependents = self.dependents.get_mut(owner)?;
        dependents.remove(dependent);
        if dependents.is_empty() {
            self.dependents.remove(owner);
        }
        let node = self.nodes.get(owner)?;
        (node.waits_for_dependents() || node.orphans_dependents()).then(|| owner.clone())
    }

    /// What has to be done about the object `uid`.
    pub fn examine(&self, uid: &Uid) -> Verdict {
        let Some(node) = self.nodes.get(uid) else { return Verdict::Leave };
        if node.orphans_dependents() {
            return self.orphan(uid, node);
        }
        if node.waits_for_dependents() {
            return self.delete_dependents(uid, node);
        }
        if node.is_deleted || node.owners.is_empty() {
            return Verdict::Leave;
        }
        self.follow_owners(uid, node)
    }

    fn orphan(&self, uid: &Uid, node: &Node) -> Verdict {
        let mut writes = Vec::new();
        for dependent in self.dependents(uid).filter_map(|it| Some((it, self.nodes.get(it)?))) {
            writes.push(disown(dependent.0, dependent.1, &BTreeSet::from([uid.clone()])));
        }
        if writes.is_empty() {
            writes.push(without_finalizer(uid, node, ORPHAN));
        }
        Verdict::Write(writes)
    }

    fn delete_dependents(&self, uid: &Uid, node: &Node) -> Verdict {
        let blocks = |it: &Node| it.owners.iter().any(|it| it.uid == *uid && it.blocks_deletion);
        let mut blockers = self.dependents(uid).filter_map(|it| self.nodes.get(it));
        if blockers.any(blocks) {
            // Each dependent is examined by itself; the last one to go brings this object back here.
            return Verdict::Leave;
        }
        Verdict::Write(vec![without_finalizer(uid, node, FOREGROUND)])
    }

    fn follow_owners(&self, uid: &Uid, node: &Node) -> Verdict {
        let mut solid = 0;
        let mut waiting = BTreeSet::new();
        let mut dangling = BTreeSet::new();
        let mut unknown = Vec::new();
        for owner in &node.owners {
            match self.nodes.get(&owner.uid) {
                Some(it) if it.waits_for_dependents() => {
                    waiting.insert(owner.uid.clone());
                }
                Some(_) => solid += 1,
                None if self.assumed.contains(&owner.uid) => solid += 1,
                None if self.absent.contains(&owner.uid) => {
                    dangling.insert(owner.uid.clone());
                }
                None => unknown.push(owner.clone()),
            }
        }
        if !unknown.is_empty() {
            return Verdict::Ask(unknown);
        }
        if solid > 0 {
            let gone: BTreeSet<Uid> = waiting.union(&dangling).cloned().collect();
            if gone.is_empty() {
                return Verdict::Leave;
            }
            return Verdict::Write(vec![disown(uid, node, &gone)]);
        }
        let has_dependents = self.dependents(uid).next().is_some();
        let has = |finalizer: &str| node.finalizers.iter().any(|it| it == finalizer);
        let with = if !waiting.is_empty() && has_dependents {
            Deletion::Foreground
        } else if has(ORPHAN) {
            Deletion::Orphan
        } else if has(FOREGROUND) {
            Deletion::Foreground
        } else {
            Deletion::Background
        };
        Verdict::Write(vec![Write::Delete {
            resource: node.resource.clone(),
            key: node.key.clone(),
            uid: uid.clone(),
            with,
        }])
    }
}

fn disown(uid: &Uid, node: &Node, gone: &BTreeSet<Uid>) -> Write {
    let left = node.owners.iter().filter(|owner| !gone.contains(&owner.uid));
    let left: Vec<_> = left.map(selector::reference).collect();
    Write::Merge {
        resource: node.resource.clone(),
        key: node.key.clone(),
        part: Part::Main,
        body: json!({"metadata": {"uid": &**uid, "ownerReferences": left}}),
    }
}

fn without_finalizer(uid: &Uid, node: &Node, finalizer: &str) -> Write {
    let left: Vec<_> = node.finalizers.iter().filter(|it| *it != finalizer).collect();
    Write::Merge {
        resource: node.resource.clone(),
        key: node.key.clone(),
        part: Part::Main,
        body: json!({"metadata": {"uid": &**uid, "finalizers": left}}),
    }
}

/// The last ids that were put in.
#[derive(Default)]
struct Recent {
    ids: HashSet<Uid>,
    order: VecDeque<Uid>,
}

impl Recent {
    fn contains(&self, uid: &Uid) -> bool {
        self.ids.contains(uid)
    }

    fn insert(&mut self, uid: Uid) {
        if self.ids.insert(uid.clone()) {
            self.order.push_back(uid);
            if self.order.len() > MEMORY {
                let oldest = self.order.pop_front().expect("it holds more than MEMORY ids");
                self.ids.remove(&oldest);
            }
        }
    }
}

/// How many objects are left in a namespace, by kind, and which finalizers hold them.
#[derive(Debug, Default, PartialEq)]
pub struct Remaining {
    /// By plural and group.
    pub kinds: BTreeMap<(String, String), usize>,
    pub finalizers: BTreeMap<String, usize>,
}
