//! Tests of strategic merge: the schema of Deployments gives the keys.

use serde_json::Value;

use crate::kinds::Registry;

#[track_caller]
fn check(target: &str, patch: &str, expected: Result<&str, &str>) {
    let registry = Registry::new();
    let kind = registry.find("apps", "v1", "deployments").unwrap();
    let mut value: Value = serde_json::from_str(target).unwrap();
    let result =
        super::merge(&mut value, &serde_json::from_str(patch).unwrap(), Some(kind.schema().root()));
    match (result, expected) {
        (Ok(()), Ok(expected)) => {
            assert_eq!(value, serde_json::from_str::<Value>(expected).unwrap(), "{patch}")
        }
        (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
        (result, _) => panic!("{result:?} {value}"),
    }
}

fn pod(containers: &str) -> String {
    format!(r#"{{"spec":{{"template":{{"spec":{{"containers":{containers}}}}}}}}}"#)
}

#[test]
fn containers_merge_by_name() {
    let two = pod(
        r#"[{"name":"a","image":"1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"2"}]"#,
    );
    check(
        &two,
        &pod(r#"[{"name":"b","image":"3"}]"#),
        Ok(&pod(
            r#"[{"name":"a","image":"1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"3"}]"#,
        )),
    );
    check(
        &two,
        &pod(r#"[{"name":"a","$patch":"delete"}]"#),
        Ok(&pod(r#"[{"name":"b","image":"2"}]"#)),
    );
    check(
        &two,
        &pod(r#"[{"name":"c","image":"9"},{"$patch":"replace"}]"#),
        Ok(&pod(r#"[{"name":"c","image":"9"}]"#)),
    );
    check(
        &two,
        &pod(r#"[{"name":"c","image":"9","command":null}]"#),
        Ok(&pod(
            r#"[{"name":"c","image":"9"},{"name":"a","image":"1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"2"}]"#,
        )),
    );
    check(&two, &pod(r#"[{"image":"9"}]"#), Err("does not contain declared merge key: name"));
    check(
        &two,
        &pod(r#"[{"name":"a","env":[{"name":"Y","value":"2"}]}]"#),
        Ok(&pod(
            r#"[{"name":"a","image":"1","env":[{"name":"Y","value":"2"},{"name":"X","value":"1"}]},{"name":"b","image":"2"}]"#,
        )),
    );
}

#[test]
fn order_is_what_the_patch_says() {
    let two = pod(r#"[{"name":"a"},{"name":"b"}]"#);
    let patch = r#"{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}}}}"#;
    check(&two, patch, Ok(&pod(r#"[{"name":"b"},{"name":"a"}]"#)));
    let bad = r#"{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a","image":"1"}]}}}}"#;
    check(&two, bad, Err("doesn't match $setElementOrder list"));
}

#[test]
fn maps_and_plain_lists() {
    check(
        r#"{"metadata":{"labels":{"a":"1"}}}"#,
        r#"{"metadata":{"labels":{"a":null,"b":"2"}}}"#,
        Ok(r#"{"metadata":{"labels":{"b":"2"}}}"#),
    );
    check(
        r#"{"metadata":{"finalizers":["a","b"]}}"#,
        r#"{"metadata":{"finalizers":["c"],"$deleteFromPrimitiveList/finalizers":["a"]}}"#,
        Ok(r#"{"metadata":{"finalizers":["c","b"]}}"#),
    );
    check(
        r#"{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}"#,
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#,
        Ok(r#"{"spec":{"strategy":{"type":"Recreate"}}}"#),
    );
    check(
        r#"{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}"#,
        r#"{"spec":{"strategy":{"$patch":"replace","type":"Recreate"}}}"#,
        Ok(r#"{"spec":{"strategy":{"type":"Recreate"}}}"#),
    );
}
