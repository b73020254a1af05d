//! Throws random schemas, objects and selectors at what walks them: nothing may panic, and all must end soon.

use local::schema::builtin::Library;
use local::schema::{cel, prune, structural, validate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Schemas in the words of definitions, sensible or not.
fn any_schema() -> impl Strategy<Value = Value> {
    let kinds = ["object", "array", "string", "integer", "number", "boolean", "nonsense"];
    let leaf = (prop::sample::select(kinds.to_vec()), any::<u8>(), any_value()).prop_map(
        |(kind, bits, default)| {
            let mut schema = json!({"type": kind});
            let words = [
                ("nullable", json!(true)),
                ("default", default),
                ("minimum", json!(3)),
                ("maxLength", json!(2)),
                ("pattern", json!("^[a-z]+$")),
                ("enum", json!(["a", 1, null])),
                ("x-kubernetes-preserve-unknown-fields", json!(true)),
                (
                    "x-kubernetes-validations",
                    json!([{"rule": "self == oldSelf || size(self) > 1"}]),
                ),
            ];
            for (bit, (word, value)) in words.into_iter().enumerate() {
                if bits & (1 << bit) != 0 {
                    schema[word] = value;
                }
            }
            schema
        },
    );
    leaf.prop_recursive(4, 24, 3, |inner| {
        (prop::collection::btree_map("[a-c]", inner.clone(), 0..3), inner, any::<u8>()).prop_map(
            |(properties, other, bits)| match bits % 4 {
                0 => json!({"type": "object", "properties": properties}),
                1 => json!({"type": "array", "items": other, "x-kubernetes-list-type": "set"}),
                2 => json!({"type": "object", "additionalProperties": other}),
                _ => json!({"type": "object", "properties": properties, "anyOf": [other], "not": {"required": ["a"]}}),
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn walks_of_random_objects_beside_random_schemas_end(schema in any_schema(), object in any_value(), old in any_value()) {
        let library = Arc::new(Library::default());
        let root = json!({"type": "object", "properties": {"spec": schema}});
        let schema = structural::schema(&root, &library);
        let document = json!({"metadata": {"name": "x"}, "spec": object});
        let before = json!({"metadata": {"name": "x"}, "spec": old});
        let mut pruned = prune::prune(document, schema.root()).expect("metadata is well-formed").value;
        prune::default(&mut pruned, schema.root());
        let again = prune::prune(pruned.clone(), schema.root()).expect("metadata is well-formed");
        // What stays is known, but for what defaults brought in.
        prop_assert_eq!(&again.value["metadata"], &pruned["metadata"]);
        validate::validate(&pruned, Some(&before), schema.root(), "");
        cel::validate(&pruned, Some(&before), schema.root());
    }

    #[test]
    fn expressions_from_anyone_compile_or_not_in_bounded_time(text in "[a-z0-9!().\\[\\]'\"+*/<>=&|? ]{0,160}") {
        // The first argument is what drives a parser to its worst.
        let _ = cel::compile(&text);
        let _ = cel::compile(&"!!(".repeat(text.len()));
    }
}
