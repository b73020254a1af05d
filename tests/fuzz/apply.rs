//! Server-side apply by several managers in any order: what is applied is there, and owners are told truly.

use jiff::Timestamp;
use local::{
    apply::{
        compare,
        managed::{self, Applier, Error},
        set::Set,
    },
    kinds::Registry,
};
use serde_json::{Value, json};
use tests::random::cases;

use super::objects;

fn applier(manager: &str, force: bool) -> Applier<'_> {
    Applier { manager, subresource: "", force, now: Timestamp::UNIX_EPOCH }
}

fn without_owners(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("uid");
    }
    object
}

/// Whether the objects and lists of `part` are in `whole`; elements of lists of objects are told by any equal key.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|it| holds(it, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|it| holds(it, part)))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn what_is_applied_is_there_and_has_its_owner() {
    let registry = Registry::new();
    let kind = registry.find("apps", "v1", "deployments").unwrap();
    let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}});
    cases("apply", |random| {
        let mut object = empty.clone();
        for _ in 0..=random.below(5) {
            let manager = *random.pick(&["m1", "m2", "m3"]);
            let wanted = objects::deployment(random);
            if random.once_in(4) && object != empty {
                // A replace by someone: it is what was sent, whoever owned what.
                let mut new = wanted.clone();
                new["metadata"]["uid"] = "u".into();
                managed::on_update(
                    &kind,
                    Some(&object),
                    &mut new,
                    manager,
                    "",
                    Timestamp::UNIX_EPOCH,
                );
                assert_eq!(without_owners(&new), wanted);
                object = new;
            } else {
                let force = random.once_in(2);
                let made = match managed::apply(&kind, &object, &wanted, &applier(manager, force)) {
                    Ok(made) => made.unwrap_or_else(|| object.clone()),
                    Err(Error::Conflicts(conflicts)) => {
                        assert!(!force && !conflicts.is_empty(), "{conflicts:?}");
                        continue;
                    }
                    Err(Error::Invalid(why)) => panic!("{why}: {wanted}"),
                };
                assert!(holds(&made, &wanted), "{wanted} is not in {made}");
                let again = managed::apply(&kind, &made, &wanted, &applier(manager, false));
                assert_eq!(again, Ok(None), "a second time changes nothing: {wanted} on {made}");
                object = made;
                object["metadata"]["uid"] = "u".into();
            }
            check_owners(&object);
        }
    });
}

/// The owned fields can be read, are written as they were read, and no manager is there twice.
#[track_caller]
fn check_owners(object: &Value) {
    let mut seen = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let fields = &entry["fieldsV1"];
        let set = Set::parse(fields).unwrap_or_else(|| panic!("no set of fields: {fields}"));
        assert_eq!(set.write(), *fields);
        let who = (entry["manager"].clone(), entry["operation"].clone());
        assert!(!seen.contains(&who), "{who:?} is there twice: {object}");
        seen.push(who);
    }
}

#[test]
fn who_applies_alone_gets_what_was_applied() {
    let registry = Registry::new();
    let kind = registry.find("apps", "v1", "deployments").unwrap();
    let root = kind.schema().root();
    let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}});
    cases("apply_alone", |random| {
        let (a, b) = (objects::deployment(random), objects::deployment(random));
        let apply = |old: &Value, new: &Value| {
            let made = managed::apply(&kind, old, new, &applier("m", false)).unwrap();
            let mut made = made.unwrap_or_else(|| old.clone());
            made["metadata"]["uid"] = "u".into();
            made
        };
        let first = apply(&empty, &a);
        assert_eq!(without_owners(&first), a);
        let second = apply(&first, &b);
        assert_eq!(without_owners(&second), b, "{b} after {a}");
        let difference = compare::compare(&b, &without_owners(&second), Some(root));
        assert_eq!(difference, compare::Difference::default());
    });
}

#[test]
fn no_object_confuses_apply() {
    let registry = Registry::new();
    let recorded = objects::recorded();
    cases("apply_anything", |random| {
        let a = random.pick(&recorded).clone();
        let b = random.pick(&recorded).clone();
        let version = a["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let Some(kind) = registry.find_kind(group, version, a["kind"].as_str().unwrap_or_default())
        else {
            return;
        };
        let mut old = objects::mixed(random, &a, &b);
        let new = objects::mixed(random, &a, &b);
        if !new.is_object() || !old.is_object() {
            return;
        }
        if !old["metadata"].is_object() {
            old["metadata"] = json!({});
        }
        if let Ok(Some(made)) = managed::apply(&kind, &old, &new, &applier("m", random.once_in(2)))
        {
            check_owners(&made);
        }
        let mut replaced = new;
        if replaced["metadata"].is_object() {
            managed::on_update(&kind, Some(&old), &mut replaced, "m", "", Timestamp::UNIX_EPOCH);
        }
    });
}
