//! What filters let pass, and what an index has to ask for that.

use std::{cell::Cell, collections::BTreeMap};

use serde_json::{Value as Json, json};

use super::{index::Index, *};

/// An event of attributes that counts how often it is asked for one.
struct Event {
    attributes: BTreeMap<String, Json>,
    asked: Cell<usize>,
}

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.asked.set(self.asked.get() + 1);
        Some(match self.attributes.get(name)? {
            Json::Bool(truth) => Value::Boolean(*truth),
            Json::Number(number) => Value::Integer(number.as_i64()? as i32),
            other => Value::String(other.as_str()?),
        })
    }
}

fn event(more: Json) -> Event {
    let mut attributes =
        json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"});
    let all = attributes.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    Event { attributes: all.clone().into_iter().collect(), asked: Cell::new(0) }
}

fn compiled(spec: &Json) -> Compiled {
    let filter = spec.get("filter").map(|it| serde_json::from_value(it.clone()).expect("a filter"));
    let filters = spec.get("filters").cloned().unwrap_or(json!([]));
    let filters: Vec<eventing::Filter> = serde_json::from_value(filters).expect("filters");
    compile(filter.as_ref(), &filters)
}

/// Whether the filter of a Trigger passes an event, which has these attributes besides the usual ones.
#[track_caller]
fn check(spec: Json, attributes: Json, passes: bool) {
    let event = event(attributes);
    let compiled = compiled(&spec);
    assert_eq!(compiled.filter.check(&event).passes, passes, "{spec}");
    // An index finds it exactly then.
    let index = Index::new([(1, compiled.filter)]);
    let mut found = 0;
    index.find(&event, |subscribers, verdict| {
        found += if verdict.passes { subscribers.len() } else { 0 };
    });
    assert_eq!(found, usize::from(passes), "{spec}");
}

#[test]
fn attributes_are_compared_as_strings() {
    let attributes = |it: Json| json!({"filter": {"attributes": it}});
    check(json!({}), json!({}), true);
    check(json!({"filter": {}}), json!({}), true);
    check(attributes(json!({})), json!({}), true);
    check(attributes(json!({"type": "order"})), json!({}), true);
    check(attributes(json!({"type": "order", "source": "/other"})), json!({}), false);
    check(attributes(json!({"type": "orders"})), json!({}), false);
    check(attributes(json!({"type": "Order"})), json!({}), false);
    // Empty is any value, but there must be one.
    check(attributes(json!({"type": "", "source": "/shop"})), json!({}), true);
    check(attributes(json!({"subject": ""})), json!({}), false);
    check(attributes(json!({"subject": ""})), json!({"subject": ""}), false);
    check(attributes(json!({"subject": ""})), json!({"subject": "x"}), true);
    check(attributes(json!({"count": ""})), json!({"count": 0}), true);
    // What is no string equals none.
    check(attributes(json!({"count": "12"})), json!({"count": "12"}), true);
    check(attributes(json!({"count": "12"})), json!({"count": 12}), false);
    check(attributes(json!({"urgent": "true"})), json!({"urgent": true}), false);
}

#[test]
fn attributes_have_other_names_too() {
    let attributes = |it: Json| json!({"filter": {"attributes": it}});
    let schema = json!({"dataschema": "http://x"});
    check(attributes(json!({"schemaurl": "http://x"})), schema.clone(), true);
    check(attributes(json!({"dataschema": "http://x"})), schema, true);
    check(attributes(json!({"dataschema": "http://x"})), json!({"schemaurl": "http://x"}), true);
    let media = json!({"datacontenttype": "Application/JSON; charset=utf-8"});
    check(attributes(json!({"datamediatype": "application/json"})), media.clone(), true);
    check(attributes(json!({"datacontenttype": "application/json"})), media.clone(), false);
    check(attributes(json!({"datamediatype": ""})), media.clone(), true);
    check(attributes(json!({"datamediatype": ""})), json!({}), false);
    check(json!({"filters": [{"prefix": {"datamediatype": "application/"}}]}), media, true);
}

#[test]
fn dialects_compare_texts() {
    let one = |it: Json| json!({"filters": [it]});
    check(one(json!({"exact": {"type": "order"}})), json!({}), true);
    check(one(json!({"exact": {"type": "order", "id": "2"}})), json!({}), false);
    check(
        one(json!({"exact": {"count": "12", "urgent": "true"}})),
        json!({"count": 12, "urgent": true}),
        true,
    );
    check(one(json!({"exact": {"subject": "x"}})), json!({}), false);
    check(one(json!({"prefix": {"type": "or", "source": "/"}})), json!({}), true);
    check(one(json!({"prefix": {"type": "orders"}})), json!({}), false);
    check(one(json!({"prefix": {"count": "1"}})), json!({"count": 12}), true);
    check(one(json!({"prefix": {"subject": "x"}})), json!({}), false);
    check(one(json!({"prefix": {"subject": "a"}})), json!({"subject": "ä"}), false);
    check(one(json!({"suffix": {"type": "der", "source": "shop"}})), json!({}), true);
    check(one(json!({"suffix": {"subject": "h"}})), json!({"subject": "näh"}), true);
    check(one(json!({"suffix": {"subject": "xh"}})), json!({"subject": "äh"}), false);
    check(one(json!({"suffix": {"type": "x"}})), json!({}), false);
    check(one(json!({"cesql": "type = 'order' AND urgent"})), json!({"urgent": true}), true);
    check(one(json!({"cesql": "type = 'order' AND urgent"})), json!({"urgent": false}), false);
    check(one(json!({"cesql": "count"})), json!({"count": 5}), true);
}

#[test]
fn filters_are_joined_and_turned_over() {
    let all = |it: Json| json!({"filters": it});
    let (yes, no) = (json!({"exact": {"type": "order"}}), json!({"exact": {"type": "x"}}));
    check(all(json!([yes, yes])), json!({}), true);
    check(all(json!([yes, no])), json!({}), false);
    check(all(json!([{"all": [yes, yes]}])), json!({}), true);
    check(all(json!([{"all": [yes, no]}])), json!({}), false);
    check(all(json!([{"any": [no, yes]}])), json!({}), true);
    check(all(json!([{"any": [no, no]}])), json!({}), false);
    check(all(json!([{"any": [no, {"not": no}]}])), json!({}), true);
    check(all(json!([{"not": yes}])), json!({}), false);
    check(all(json!([{"not": no}])), json!({}), true);
    check(all(json!([{"not": {"not": yes}}])), json!({}), true);
    check(all(json!([{"not": {"any": [yes, no]}}])), json!({}), false);
    // The newer filters replace the older one.
    let older = json!({"attributes": {"type": "x"}});
    check(json!({"filter": older, "filters": [yes]}), json!({}), true);
    check(json!({"filter": older, "filters": []}), json!({}), false);
}

#[test]
fn what_asks_for_nothing_is_left_out() {
    let all = |it: Json| json!({"filters": it});
    let no = json!({"exact": {"type": "x"}});
    for empty in [
        json!({}),
        json!({"all": []}),
        json!({"any": []}),
        json!({"all": [{}]}),
        json!({"not": {}}),
        json!({"not": {"all": [{}]}}),
        json!({"cesql": ""}),
        json!({"exact": {}}),
        json!({"exact": {"type": ""}}),
        json!({"prefix": {"": "x"}}),
        json!({"cesql": "(("}),
    ] {
        check(all(json!([empty])), json!({}), true);
        check(all(json!([empty, no])), json!({}), false);
        check(all(json!([{"any": [empty, no]}])), json!({}), false);
    }
}

#[test]
fn what_cannot_be_and_what_is_hardly_meant_is_told_with_its_place() {
    let compiled = compiled(&json!({"filters": [
        {"exact": {"type": ""}},
        {"all": [{"not": {"suffix": {"": "x"}}}, {"cesql": "type == 1"}]},
        {"cesql": "NOT type LIKE 'a%'"},
    ]}));
    let problems = [
        "filters[0].exact: neither names nor values may be empty",
        "filters[1].all[0].not.suffix: neither names nor values may be empty",
        "filters[1].all[1].cesql: column 6: `==` is no operator: write `=`",
    ];
    assert_eq!(compiled.problems, problems);
    let doubts = [
        "filters[2].cesql: column 1: NOT is taken before the operator that follows: write NOT (…) around it all",
    ];
    assert_eq!(compiled.doubts, doubts);
}

#[test]
fn an_expression_that_fails_does_not_pass_and_is_told() {
    let told = |spec: Json| {
        let event = event(json!({}));
        let index = Index::new([(1, compiled(&spec).filter)]);
        let mut told = Vec::new();
        index.find(&event, |_, verdict| {
            told.push((verdict.passes, verdict.failure.map(|it| it.to_string())));
        });
        told
    };
    let lacks = "the event has no attribute `ext`: EXISTS ext asks for it";
    let at = |column| Some(format!("column {column}: {lacks}"));
    let sql = |text: &str| json!({"filters": [{"cesql": text}]});
    assert_eq!(told(sql("ext = 'x'")), [(false, at(1))]);
    assert_eq!(told(sql("type = 'order' AND ext = 'x'")), [(false, at(20))]);
    assert_eq!(told(sql("type = 'other' AND ext = 'x'")), []);
    assert_eq!(
        told(sql("NOPE(type)")),
        [(false, Some("column 1: there is no function NOPE for 1 arguments".to_owned()))]
    );
    // Around it only that counts that it does not pass.
    assert_eq!(told(json!({"filters": [{"not": {"cesql": "ext = 'x'"}}]})), [(true, at(1))]);
    let any = json!({"filters": [{"any": [{"cesql": "ext = 'x'"}, {"exact": {"type": "order"}}]}]});
    assert_eq!(told(any), [(true, at(1))]);
}

/// How many filters are asked, and how many attributes, for an event of one of a thousand subscribers, who have filters
/// by their number.
#[track_caller]
fn effort(spec: impl Fn(usize) -> Json, event: &Event) -> (usize, usize) {
    let all = (0..1000).map(|number| (number, compiled(&spec(number)).filter));
    let index = Index::new(all);
    let mut found = Vec::new();
    event.asked.set(0);
    let asked = index.find(event, |subscribers, verdict| {
        assert_eq!(verdict.failure, None);
        found.extend_from_slice(subscribers);
    });
    assert_eq!(found, [517]);
    (asked, event.asked.get())
}

#[test]
fn a_thousand_filters_of_which_one_passes_cost_what_one_costs() {
    let order =
        event(json!({"type": "t517", "source": "/shop/517", "subject": "s517", "ext": 517}));
    // One look-up in the table, and the filter itself.
    let attributes = |it: Json| json!({"filter": {"attributes": it}});
    assert_eq!(effort(|at| attributes(json!({"type": format!("t{at}")})), &order), (1, 2));
    assert_eq!(effort(|at| attributes(json!({"source": format!("/shop/{at}")})), &order), (1, 2));
    // The attribute by which they differ is found.
    let same_type = |at| attributes(json!({"source": format!("/shop/{at}"), "type": "t517"}));
    assert_eq!(effort(same_type, &order), (1, 3));
    let same_both =
        |at| json!({"filters": [{"exact": {"subject": format!("s{at}"), "type": "t517"}}]});
    assert_eq!(effort(same_both, &order), (1, 3));
    let ext = |at: usize| json!({"filters": [{"exact": {"ext": at.to_string(), "type": "t517"}}]});
    assert_eq!(effort(ext, &order), (1, 3));
    let any = |at| json!({"filters": [{"any": [{"exact": {"type": format!("t{at}")}}, {"exact": {"id": format!("-{at}")}}]}]});
    assert_eq!(effort(any, &order), (1, 3));
    let suffix = |at| json!({"filters": [{"suffix": {"source": format!("p/{at}")}}]});
    assert_eq!(effort(suffix, &order), (1, 2));
    let prefix = |at| json!({"filters": [{"prefix": {"source": format!("/shop/{at:03}")}}]});
    assert_eq!(effort(prefix, &order), (1, 2));
    let sql =
        |at| json!({"filters": [{"cesql": format!("type = 't{at}' AND LENGTH(source) > 3")}]});
    assert_eq!(effort(sql, &order), (1, 3));
    let list = |at| json!({"filters": [{"cesql": format!("source LIKE '/shop/%' AND type IN ('a{at}', 't{at}')")}]});
    assert_eq!(effort(list, &order), (1, 3));
    let like = |at| json!({"filters": [{"cesql": format!("source LIKE '/shop/{at:03}%'")}]});
    assert_eq!(effort(like, &order), (1, 2));
    // Of these nothing is known but by asking.
    let not = |at| json!({"filters": [{"not": {"cesql": format!("type != 't{at}'")}}]});
    assert_eq!(effort(not, &order), (1000, 1000));
}

#[test]
fn filters_that_are_alike_are_asked_once() {
    let one = compiled(&json!({"filters": [{"cesql": "LENGTH(type) > 3"}]})).filter;
    let again = compiled(&json!({"filters": [{"all": [{"cesql": "LENGTH(type) > 3"}]}]})).filter;
    let index =
        Index::new((0..1000).map(|at| (at, if at < 500 { one.clone() } else { again.clone() })));
    let order = event(json!({}));
    let mut found = 0;
    assert_eq!(index.find(&order, |subscribers, _| found += subscribers.len()), 1);
    assert_eq!((found, order.asked.get()), (1000, 1));
    let index = Index::new((0..1000).map(|at| (at, Filter::everything())));
    let mut found = 0;
    assert_eq!(index.find(&order, |subscribers, _| found += subscribers.len()), 1);
    assert_eq!(found, 1000);
}
