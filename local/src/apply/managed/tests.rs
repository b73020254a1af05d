//! Tests of owners: applies and updates in turn, as a client sees them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Applier, Error, apply, on_update};
use crate::kinds::{Kind, Registry};

fn config_map() -> std::sync::Arc<Kind> {
    Registry::new().find("", "v1", "configmaps").unwrap()
}

fn object(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn applier(manager: &str, force: bool) -> Applier<'_> {
    Applier { manager, subresource: "", force, now: Timestamp::UNIX_EPOCH }
}

fn stored() -> Value {
    let kind = config_map();
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let mut made =
        apply(&kind, &empty, &object(json!({"k": "v", "l": "w"})), &applier("m1", false))
            .unwrap()
            .unwrap();
    made["metadata"]["uid"] = "u".into();
    made
}

fn owners(value: &Value) -> Vec<String> {
    let list = value["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["manager"].as_str().unwrap(),
                entry["operation"].as_str().unwrap(),
                entry["fieldsV1"]
            )
        })
        .collect()
}

#[test]
fn an_applier_owns_what_it_says_and_gives_it_up_by_silence() {
    let kind = config_map();
    let first = stored();
    assert_eq!(owners(&first), [r#"m1 Apply {"f:data":{"f:k":{},"f:l":{}}}"#]);
    let again =
        apply(&kind, &first, &object(json!({"k": "v", "l": "w"})), &applier("m1", false)).unwrap();
    assert_eq!(again, None);
    let less =
        apply(&kind, &first, &object(json!({"k": "v"})), &applier("m1", false)).unwrap().unwrap();
    assert_eq!(less["data"], json!({"k": "v"}));
    assert_eq!(owners(&less), [r#"m1 Apply {"f:data":{"f:k":{}}}"#]);
}

#[test]
fn another_value_is_a_conflict_unless_forced() {
    let kind = config_map();
    let first = stored();
    let error =
        apply(&kind, &first, &object(json!({"k": "x"})), &applier("m2", false)).unwrap_err();
    let Error::Conflicts(conflicts) = error else { panic!("{error:?}") };
    assert_eq!((conflicts[0].with.as_str(), conflicts[0].field.as_str()), ("\"m1\"", ".data.k"));
    let forced =
        apply(&kind, &first, &object(json!({"k": "x"})), &applier("m2", true)).unwrap().unwrap();
    assert_eq!(forced["data"], json!({"k": "x", "l": "w"}));
    assert_eq!(
        owners(&forced),
        [r#"m1 Apply {"f:data":{"f:l":{}}}"#, r#"m2 Apply {"f:data":{"f:k":{}}}"#]
    );
}

#[test]
fn shared_fields_stay_while_one_owner_is_left() {
    let kind = config_map();
    let shared = apply(&kind, &stored(), &object(json!({"k": "v"})), &applier("m2", false))
        .unwrap()
        .unwrap();
    let left =
        apply(&kind, &shared, &object(json!({"l": "w"})), &applier("m1", false)).unwrap().unwrap();
    assert_eq!(left["data"], json!({"k": "v", "l": "w"}));
}

#[test]
fn an_update_takes_what_it_changes() {
    let kind = config_map();
    let first = stored();
    let mut new = first.clone();
    new["data"] = json!({"k": "changed"});
    on_update(&kind, Some(&first), &mut new, "upd", "", Timestamp::UNIX_EPOCH);
    assert_eq!(owners(&new), [r#"upd Update {"f:data":{"f:k":{}}}"#]);
    let error = apply(&kind, &new, &object(json!({"k": "v"})), &applier("m1", false)).unwrap_err();
    let Error::Conflicts(conflicts) = error else { panic!("{error:?}") };
    assert_eq!(conflicts[0].with, "\"upd\" using v1");
}

#[test]
fn a_create_owns_maps_too() {
    let kind = config_map();
    let mut new = object(json!({"k": "v"}));
    on_update(&kind, None, &mut new, "creator", "", Timestamp::UNIX_EPOCH);
    assert_eq!(owners(&new), [r#"creator Update {"f:data":{".":{},"f:k":{}}}"#]);
}

#[test]
fn entries_of_updates_are_bounded() {
    let kind = config_map();
    let mut value = object(json!({}));
    value["metadata"]["uid"] = "u".into();
    on_update(&kind, None, &mut value, "m", "", Timestamp::UNIX_EPOCH);
    for turn in 0..30 {
        let old = value.clone();
        value["data"][format!("k{turn}")] = "x".into();
        on_update(
            &kind,
            Some(&old),
            &mut value,
            &format!("m{turn}"),
            "",
            Timestamp::from_second(turn).unwrap(),
        );
    }
    assert!(value["metadata"]["managedFields"].as_array().unwrap().len() <= 11);
}
