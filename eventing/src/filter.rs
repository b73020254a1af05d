//! Filters of subscribers, compiled once: whether an event passes, and what must be for it to pass.
//!
//! Pure: filters and attributes in, verdicts out.
//! Source: knative/eventing `pkg/eventfilter`, `pkg/broker/filter/filter_handler.go`; the CloudEvents subscriptions API.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use api::{
    cesql::{Attributes, Expression, Failure, Need, Value, Wanted},
    eventing::{self, AttributesFilter},
};

pub mod index;
#[cfg(test)]
mod tests;

/// A filter. A clone is cheap; two are equal when they are written alike, and then they pass the same events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Nothing to ask for: everything passes.
    test: Option<Arc<Test>>,
}

/// A filter as it was written, made ready.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What is left of it.
    pub filter: Filter,
    /// Parts that cannot be, each with its place: they are left out, as if they passed. Admission lets none in.
    pub problems: Vec<String>,
    /// What is allowed and hardly meant, each with its place.
    pub doubts: Vec<String>,
}

/// What a filter says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether the subscriber gets it.
    pub passes: bool,
    /// The first expression that failed on it. Such a part does not pass, but what is around it may.
    pub failure: Option<Failure<'a>>,
}

/// Something that is asked of an event.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Test {
    /// There is such an attribute, and it is not empty.
    Present(Name),
    /// It is this string; a number or a boolean is none, whatever it looks like.
    Same(Name, Box<str>),
    /// Its value, as text, is this.
    Exact(Name, Box<str>),
    /// Its value, as text, begins so.
    Prefix(Name, Box<str>),
    /// Its value, as text, ends so.
    Suffix(Name, Box<str>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Sql(Box<Expression>),
}

/// What filters call an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Attribute(Box<str>),
    /// `dataschema`, which is `schemaurl` in events of version 0.3; each name finds both.
    Schema,
    /// `datamediatype`: `datacontenttype` without its parameters.
    MediaType,
}

/// What must be for an event to pass, as an index looks for it: one of several is enough.
#[derive(Clone, Debug)]
struct Key<'f> {
    need: Need<'f>,
    /// Without the attribute the filter fails, which is to be told.
    is_expression: bool,
}

impl Filter {
    /// The filter that everything passes.
    pub fn everything() -> Filter {
        Filter { test: None }
    }

    /// What it says of an event.
    pub fn check<'a>(&'a self, event: &'a dyn Attributes) -> Verdict<'a> {
        let mut failure = None;
        let passes = self.test.as_ref().is_none_or(|test| test.passes(event, &mut failure));
        Verdict { passes, failure }
    }

    /// Ways to find it: of each, one key must be met for an event to pass. Nothing if no way is known.
    fn keys(&self) -> Vec<Vec<Key<'_>>> {
        self.test.as_ref().map(|it| it.keys()).unwrap_or_default()
    }
}

/// The filter of a Trigger. `filters` replaces `filter` if there are any; all of them must pass.
pub fn compile(filter: Option<&AttributesFilter>, filters: &[eventing::Filter]) -> Compiled {
    let mut compiler = Compiler::default();
    let tests = match (filters, filter) {
        ([], None) => Vec::new(),
        ([], Some(filter)) => filter.attributes.iter().map(same).collect(),
        (filters, _) => compiler.each("filters", filters),
    };
    Compiled {
        filter: Filter { test: all(tests).map(Arc::new) },
        problems: compiler.problems,
        doubts: compiler.doubts,
    }
}

/// The older filter of one attribute.
fn same((name, value): (&String, &String)) -> Test {
    match value.as_str() {
        "" => Test::Present(Name::new(name)),
        value => Test::Same(Name::new(name), value.into()),
    }
}

/// All of several; nothing if there is none.
fn all(mut tests: Vec<Test>) -> Option<Test> {
    match tests.len() {
        0 | 1 => tests.pop(),
        _ => Some(Test::All(tests)),
    }
}

fn any(mut tests: Vec<Test>) -> Option<Test> {
    match tests.len() {
        0 | 1 => tests.pop(),
        _ => Some(Test::Any(tests)),
    }
}

/// Gathers what is wrong on the way.
#[derive(Default)]
struct Compiler {
    problems: Vec<String>,
    doubts: Vec<String>,
}

impl Compiler {
    /// Those of a list that ask for something.
    fn each(&mut self, path: &str, filters: &[eventing::Filter]) -> Vec<Test> {
        let tests = filters.iter().enumerate();
        tests.filter_map(|(at, filter)| self.test(&format!("{path}[{at}]"), filter)).collect()
    }

    /// What a filter asks for; nothing if it is empty, or cannot be. Of several dialects the first one counts.
    fn test(&mut self, path: &str, filter: &eventing::Filter) -> Option<Test> {
        if !filter.exact.is_empty() {
            self.texts(path, "exact", &filter.exact, Test::Exact)
        } else if !filter.prefix.is_empty() {
            self.texts(path, "prefix", &filter.prefix, Test::Prefix)
        } else if !filter.suffix.is_empty() {
            self.texts(path, "suffix", &filter.suffix, Test::Suffix)
        } else if !filter.all.is_empty() {
            all(self.each(&format!("{path}.all"), &filter.all))
        } else if !filter.any.is_empty() {
            any(self.each(&format!("{path}.any"), &filter.any))
        } else if let Some(not) = &filter.not {
            self.test(&format!("{path}.not"), not).map(|it| Test::Not(Box::new(it)))
        } else {
            self.expression(path, filter.cesql.as_deref().unwrap_or_default())
        }
    }

    fn texts(
        &mut self,
        path: &str,
        dialect: &str,
        texts: &BTreeMap<String, String>,
        test: fn(Name, Box<str>) -> Test,
    ) -> Option<Test> {
        if texts.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            self.problems.push(format!("{path}.{dialect}: neither names nor values may be empty"));
            return None;
        }
        let tests = texts.iter().map(|(name, value)| test(Name::new(name), value.as_str().into()));
        all(tests.collect())
    }

    fn expression(&mut self, path: &str, text: &str) -> Option<Test> {
        if text.is_empty() {
            return None;
        }
        let expression = Expression::parse(text)
            .map_err(|error| self.problems.push(format!("{path}.cesql: {error}")))
            .ok()?;
        for doubt in expression.doubts() {
            self.doubts.push(format!("{path}.cesql: {doubt}"));
        }
        Some(Test::Sql(Box::new(expression)))
    }
}

impl Test {
    fn passes<'a>(&'a self, event: &'a dyn Attributes, failure: &mut Option<Failure<'a>>) -> bool {
        match self {
            Test::Present(name) => name.text(event).is_some_and(|it| !it.is_empty()),
            Test::Same(name, text) => name.string(event).is_some_and(|it| it == **text),
            Test::Exact(name, text) => name.text(event).is_some_and(|it| it == **text),
            Test::Prefix(name, text) => name.text(event).is_some_and(|it| it.starts_with(&**text)),
            Test::Suffix(name, text) => name.text(event).is_some_and(|it| it.ends_with(&**text)),
            Test::All(tests) => tests.iter().all(|it| it.passes(event, failure)),
            Test::Any(tests) => tests.iter().any(|it| it.passes(event, failure)),
            Test::Not(test) => !test.passes(event, failure),
            Test::Sql(expression) => match expression.matches(event) {
                Ok(is_true) => is_true,
                Err(found) => {
                    failure.get_or_insert(found);
                    false
                }
            },
        }
    }

    fn keys(&self) -> Vec<Vec<Key<'_>>> {
        match self {
            Test::Same(name, text) | Test::Exact(name, text) => name.key(Wanted::OneOf(vec![text])),
            Test::Prefix(name, text) => name.key(Wanted::Prefix(text)),
            Test::Suffix(name, text) => name.key(Wanted::Suffix(text)),
            Test::All(tests) => tests.iter().flat_map(Test::keys).collect(),
            // Each must be found in some way of its own, or all are to be asked.
            Test::Any(tests) => {
                let fewest = |ways: Vec<Vec<_>>| ways.into_iter().min_by_key(Vec::len);
                let ways: Option<Vec<_>> = tests.iter().map(|it| fewest(it.keys())).collect();
                ways.map(|it| it.concat()).into_iter().collect()
            }
            Test::Sql(expression) => {
                let key = |need| vec![Key { need, is_expression: true }];
                expression.needs().into_iter().map(key).collect()
            }
            Test::Present(_) | Test::Not(_) => Vec::new(),
        }
    }
}

impl Name {
    fn new(name: &str) -> Name {
        match name {
            "dataschema" | "schemaurl" => Name::Schema,
            "datamediatype" => Name::MediaType,
            name => Name::Attribute(name.into()),
        }
    }

    /// The value as text.
    fn text<'a>(&self, event: &'a dyn Attributes) -> Option<Cow<'a, str>> {
        match self {
            Name::Attribute(name) => event.attribute(name).map(Value::text),
            _ => self.string(event),
        }
    }

    /// The value, if it is a string.
    fn string<'a>(&self, event: &'a dyn Attributes) -> Option<Cow<'a, str>> {
        let found = match self {
            Name::Attribute(name) => event.attribute(name),
            Name::Schema => event.attribute("dataschema").or_else(|| event.attribute("schemaurl")),
            Name::MediaType => event.attribute("datacontenttype"),
        };
        let Some(Value::String(text)) = found else { return None };
        if *self != Name::MediaType {
            return Some(Cow::Borrowed(text));
        }
        let (media, _) = text.split_once(';').unwrap_or((text, ""));
        let media = media.trim();
        Some(match media.bytes().any(|it| it.is_ascii_uppercase()) {
            true => Cow::Owned(media.to_ascii_lowercase()),
            false => Cow::Borrowed(media),
        })
    }

    /// The only way to find what asks this of an attribute; none, if it goes by several names.
    fn key<'f>(&'f self, wanted: Wanted<'f>) -> Vec<Vec<Key<'f>>> {
        match self {
            Name::Attribute(attribute) => {
                vec![vec![Key { need: Need { attribute, wanted }, is_expression: false }]]
            }
            Name::Schema | Name::MediaType => Vec::new(),
        }
    }
}
