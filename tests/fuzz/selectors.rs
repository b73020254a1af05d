//! Selectors: what is written is read back, and decides as its requirements say.

use std::collections::BTreeMap;

use local::selector::{Fields, Labels, Operator, Requirement, parse_labels};
use tests::random::{Random, cases};

const KEYS: [&str; 5] = ["app", "tier", "example.com/x", "in", "notin"];
const VALUES: [&str; 6] = ["", "a", "b", "in", "7", "9"];

fn requirement(random: &mut Random) -> Requirement {
    let key = (*random.pick(&KEYS)).to_owned();
    let values = |random: &mut Random| {
        let mut values: Vec<String> =
            random.some(&VALUES).into_iter().map(|it| (*it).to_owned()).collect();
        values.sort();
        // One value at least, as the grammar has it.
        if values.is_empty() { vec!["a".to_owned()] } else { values }
    };
    let operator = match random.below(6) {
        0 => Operator::In(values(random)),
        1 => Operator::NotIn(values(random)),
        2 => Operator::Exists,
        3 => Operator::Absent,
        4 => Operator::Above(random.below(10) as i64),
        _ => Operator::Below(random.below(10) as i64),
    };
    Requirement { key, operator }
}

/// One of the ways to write a requirement.
fn written(random: &mut Random, it: &Requirement) -> String {
    let space = if random.once_in(2) { " " } else { "" };
    let key = &it.key;
    match &it.operator {
        Operator::In(values) if values.len() == 1 && random.once_in(2) => {
            let equal = if random.once_in(2) { "=" } else { "==" };
            format!("{key}{space}{equal}{space}{}", values[0])
        }
        Operator::NotIn(values) if values.len() == 1 && random.once_in(2) => {
            format!("{key}{space}!={space}{}", values[0])
        }
        Operator::In(values) => format!("{key} in ({})", values.join(&format!(",{space}"))),
        Operator::NotIn(values) => format!("{key} notin ({})", values.join(&format!(",{space}"))),
        Operator::Exists => key.clone(),
        Operator::Absent => format!("!{space}{key}"),
        Operator::Above(bound) => format!("{key}{space}>{space}{bound}"),
        Operator::Below(bound) => format!("{key}{space}<{space}{bound}"),
    }
}

/// What the requirement means, in the plainest words.
fn meets(it: &Requirement, labels: &BTreeMap<&str, &str>) -> bool {
    let value = labels.get(&*it.key).copied();
    let number = value.and_then(|it| it.parse::<i64>().ok());
    match &it.operator {
        Operator::In(values) => value.is_some_and(|value| values.iter().any(|it| it == value)),
        Operator::NotIn(values) => !value.is_some_and(|value| values.iter().any(|it| it == value)),
        Operator::Exists => value.is_some(),
        Operator::Absent => value.is_none(),
        Operator::Above(bound) => number.is_some_and(|it| it > *bound),
        Operator::Below(bound) => number.is_some_and(|it| it < *bound),
    }
}

#[test]
fn label_selectors_are_read_as_they_are_meant() {
    cases("label_selectors", |random| {
        let mut wanted: Vec<_> = (0..random.below(4)).map(|_| requirement(random)).collect();
        let terms: Vec<_> = wanted.iter().map(|it| written(random, it)).collect();
        let text = terms.join(if random.once_in(2) { "," } else { " , " });
        let selector = parse_labels(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        wanted.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(selector, Labels(wanted.clone()), "{text:?}");
        let labels: BTreeMap<_, _> =
            random.some(&KEYS).into_iter().map(|key| (*key, *random.pick(&VALUES))).collect();
        let all = wanted.iter().all(|it| meets(it, &labels));
        assert_eq!(selector.matches(|key| labels.get(key).copied()), all, "{text:?} {labels:?}");
        let sorted: Vec<(Box<str>, Box<str>)> =
            labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        assert_eq!(selector.match_sorted(&sorted), all, "{text:?} {labels:?}");

        let damaged = random.damaged(text.as_bytes());
        let _ = parse_labels(&String::from_utf8_lossy(&damaged));
        let _ = parse_labels(&random.text("a=!(),<> in\t\\é/.", 40));
    });
}

#[test]
fn field_selectors_are_read_as_they_are_meant() {
    cases("field_selectors", |random| {
        let mut wanted = Vec::new();
        for _ in 0..=random.below(3) {
            let key = *random.pick(&["metadata.name", "status.phase", "a"]);
            wanted.push((key.to_owned(), random.once_in(2), random.text("ab,=\\!é ", 6)));
        }
        let terms: Vec<String> = wanted
            .iter()
            .map(|(key, is_equal, value)| {
                let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
                let operator = match is_equal {
                    // Without a second sign an equal sign could be taken for the operator's.
                    true => "==",
                    false => "!=",
                };
                format!("{key}{operator}{value}")
            })
            .collect();
        let text = terms.join(",");
        let found = Fields::parse(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert_eq!(found, Fields(wanted), "{text:?}");

        let damaged = random.damaged(text.as_bytes());
        let _ = Fields::parse(&String::from_utf8_lossy(&damaged));
    });
}
