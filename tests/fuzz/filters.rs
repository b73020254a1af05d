//! Filters of subscribers: an index finds those that would be found by asking each of them.

use std::collections::BTreeSet;

use api::eventing::Filter as Written;
use eventing::filter::{Filter, compile, index::Index};
use serde_json::{Map, Value, json};
use tests::random::{Random, cases};

use super::cesql;

fn texts(random: &mut Random) -> Value {
    let names = ["type", "source", "ext", "n", "dataschema"];
    let texts = random.some(&names).into_iter().take(2);
    let texts: Vec<_> = texts.map(|name| (*name).to_owned()).collect();
    texts
        .into_iter()
        .map(|name| (name, random.text("ab0é", 3).into()))
        .collect::<Map<_, _>>()
        .into()
}

fn written(random: &mut Random, depth: usize) -> Value {
    let several = |random: &mut Random| -> Value {
        (0..random.below(4)).map(|_| written(random, depth - 1)).collect()
    };
    match random.below(if depth == 0 { 5 } else { 8 }) {
        0 | 1 => json!({"exact": texts(random)}),
        2 => json!({"prefix": texts(random)}),
        3 => json!({"suffix": texts(random)}),
        4 => json!({"cesql": cesql::expression(random, 3)}),
        5 => json!({"all": several(random)}),
        6 => json!({"any": several(random)}),
        _ => json!({"not": written(random, depth - 1)}),
    }
}

fn filter(random: &mut Random) -> Filter {
    if random.once_in(5) {
        let older = serde_json::from_value(json!({"attributes": texts(random)})).unwrap();
        return compile(Some(&older), &[]).filter;
    }
    let filters: Vec<Written> =
        (0..random.below(3)).map(|_| serde_json::from_value(written(random, 2)).unwrap()).collect();
    compile(None, &filters).filter
}

#[test]
fn an_index_finds_what_asking_finds() {
    cases("filters", |random| {
        let filters: Vec<Filter> = (0..random.below(30)).map(|_| filter(random)).collect();
        let index = Index::new(filters.iter().cloned().enumerate());
        for _ in 0..5 {
            let event = cesql::event(random);
            let (mut found, mut failed) = (BTreeSet::new(), BTreeSet::new());
            let asked = index.find(&event, |subscribers, verdict| {
                for subscriber in subscribers {
                    let is_new = !verdict.passes || found.insert(*subscriber);
                    assert!(is_new, "{subscriber} is told of twice");
                    if verdict.failure.is_some() {
                        failed.insert(*subscriber);
                    }
                }
            });
            assert!(asked <= filters.len());
            for (at, filter) in filters.iter().enumerate() {
                let verdict = filter.check(&event);
                assert_eq!(found.contains(&at), verdict.passes, "{filter:?}");
                // What is not asked does not fail.
                assert!(verdict.failure.is_some() || !failed.contains(&at), "{filter:?}");
            }
        }
    });
}
