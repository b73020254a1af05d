//! Finds the subscribers of a topic that want an event, without asking all of them.
//!
//! Pure: filters and attributes in, subscribers out.
//!
//! Filters that are written alike are asked once. Of each, what is most selective for it (a value that an attribute must
//! have, or a beginning or an end of one) is looked up in a table, so that filters which cannot pass cost nothing; those
//! of which nothing of that kind is known are asked for each event. When subscribers change, the index is made anew.

use std::collections::{BTreeMap, HashMap, hash_map};

use api::cesql::{Attributes, Wanted};
use smallvec::SmallVec;

use super::{Filter, Key, Verdict};

/// The filters of a topic's subscribers.
#[derive(Debug)]
pub struct Index<S> {
    entries: Vec<Entry<S>>,
    /// Those that no table has.
    asked: Vec<Number>,
    tables: Vec<Table>,
}

/// The place of an entry in its list.
type Number = u32;

/// Filters that are alike.
#[derive(Debug)]
struct Entry<S> {
    filter: Filter,
    subscribers: Vec<S>,
}

/// Entries by what they want one attribute to be.
#[derive(Debug, Default)]
struct Table {
    attribute: Box<str>,
    exact: HashMap<Box<str>, Vec<Number>>,
    prefixes: Affixes,
    suffixes: Affixes,
    /// Those with an expression that fails without the attribute.
    absent: Vec<Number>,
}

/// Entries by beginnings or ends.
#[derive(Debug, Default)]
struct Affixes {
    /// The lengths that there are, ascending.
    lengths: Vec<usize>,
    by_text: HashMap<Box<str>, Vec<Number>>,
}

/// Entries that may pass; more than these are rare.
type Candidates = SmallVec<[Number; 32]>;

/// Filters that share a place in a table are all asked. So few cost no more than another table, which is looked up for
/// each event.
const FEW: usize = 8;

impl<S> Index<S> {
    /// The index of such subscribers. Takes time and memory for each of them, some microseconds and half a kilobyte.
    pub fn new(subscribers: impl IntoIterator<Item = (S, Filter)>) -> Index<S> {
        let mut entries: Vec<Entry<S>> = Vec::new();
        let mut known = HashMap::new();
        for (subscriber, filter) in subscribers {
            match known.entry(filter) {
                hash_map::Entry::Occupied(found) => {
                    let entry: &mut Entry<S> = &mut entries[*found.get()];
                    entry.subscribers.push(subscriber);
                }
                hash_map::Entry::Vacant(vacant) => {
                    let filter = vacant.key().clone();
                    vacant.insert(entries.len());
                    entries.push(Entry { filter, subscribers: vec![subscriber] });
                }
            }
        }
        let (asked, tables) = arrange(&entries);
        Index { entries, asked, tables }
    }

    /// Tells of the subscribers that want an event, and of those whose filter fails on it; each subscriber once.
    ///
    /// Returns how many filters were asked. An expression that cannot be true for the value that an attribute has is not
    /// asked, and so does not fail either; one that needs an attribute which the event lacks is asked, and fails.
    pub fn find<'a>(
        &'a self,
        event: &'a dyn Attributes,
        mut tell: impl FnMut(&'a [S], Verdict<'a>),
    ) -> usize {
        let mut candidates: Candidates = self.asked.iter().copied().collect();
        for table in &self.tables {
            table.candidates(event, &mut candidates);
        }
        // One that is found in several ways is asked once.
        candidates.sort_unstable();
        candidates.dedup();
        for number in &candidates {
            let entry = &self.entries[*number as usize];
            let verdict = entry.filter.check(event);
            if verdict.passes || verdict.failure.is_some() {
                tell(&entry.subscribers, verdict);
            }
        }
        candidates.len()
    }
}

impl Table {
    fn candidates(&self, event: &dyn Attributes, found: &mut Candidates) {
        let Some(value) = event.attribute(&self.attribute) else {
            found.extend_from_slice(&self.absent);
            return;
        };
        let text = &*value.text();
        found.extend_from_slice(numbers(&self.exact, text));
        for length in self.prefixes.within(text) {
            // What is cut within a character begins with no text.
            let beginning = text.get(..*length).unwrap_or_default();
            found.extend_from_slice(numbers(&self.prefixes.by_text, beginning));
        }
        for length in self.suffixes.within(text) {
            let end = text.get(text.len() - length..).unwrap_or_default();
            found.extend_from_slice(numbers(&self.suffixes.by_text, end));
        }
    }

    fn add(&mut self, key: &Key<'_>, number: Number) {
        match &key.need.wanted {
            Wanted::OneOf(texts) => {
                for text in texts {
                    add(&mut self.exact, text, number);
                }
            }
            Wanted::Prefix(text) => self.prefixes.add(text, number),
            Wanted::Suffix(text) => self.suffixes.add(text, number),
        }
        if key.is_expression {
            self.absent.push(number);
        }
    }
}

impl Affixes {
    /// The lengths that a text has.
    fn within(&self, text: &str) -> &[usize] {
        &self.lengths[..self.lengths.partition_point(|it| *it <= text.len())]
    }

    fn add(&mut self, text: &str, number: Number) {
        if let Err(at) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(at, text.len());
        }
        add(&mut self.by_text, text, number);
    }
}

/// The entries that are asked for each event, and the tables for all others.
fn arrange<S>(entries: &[Entry<S>]) -> (Vec<Number>, Vec<Table>) {
    let ways: Vec<_> = entries.iter().map(|it| it.filter.keys()).collect();
    // How many ways lead over a place: those that share one are asked together.
    let mut shared: HashMap<Place<'_>, usize> = HashMap::new();
    for place in ways.iter().flatten().flatten().flat_map(places) {
        *shared.entry(place).or_default() += 1;
    }
    let (mut asked, mut tables) = (Vec::new(), BTreeMap::new());
    for (number, ways) in ways.iter().enumerate() {
        // There are far fewer subscribers than that in the memory of any machine.
        let number = number as Number;
        let Some(way) = ways.iter().min_by_key(|way| cost(way, &shared)) else {
            asked.push(number);
            continue;
        };
        for key in way {
            let attribute = key.need.attribute;
            let table = tables
                .entry(attribute)
                .or_insert_with(|| Table { attribute: attribute.into(), ..Table::default() });
            table.add(key, number);
        }
    }
    (asked, tables.into_values().collect())
}

/// A place in a table: the attribute, where in its table, and the text.
type Place<'f> = (&'f str, u8, &'f str);

fn places<'k>(key: &'k Key<'_>) -> impl Iterator<Item = Place<'k>> {
    let (at, texts) = match &key.need.wanted {
        Wanted::OneOf(texts) => (0, &texts[..]),
        Wanted::Prefix(text) => (1, std::slice::from_ref(text)),
        Wanted::Suffix(text) => (2, std::slice::from_ref(text)),
    };
    texts.iter().map(move |text| (key.need.attribute, at, *text))
}

/// What orders the ways to find a filter, the best first: the one that it shares with the fewest others; among those that
/// it shares with few, a whole value before a part of one, then an attribute whose table is likely to be there for others.
fn cost(way: &[Key<'_>], shared: &HashMap<Place<'_>, usize>) -> (usize, bool, usize) {
    let others = way.iter().flat_map(places).map(|it| shared[&it]).max().unwrap_or_default();
    let is_part = way.iter().any(|it| !matches!(it.need.wanted, Wanted::OneOf(_)));
    let rank = way.iter().map(|it| match it.need.attribute {
        "type" => 0,
        "source" => 1,
        "subject" => 2,
        _ => 3,
    });
    (others.max(FEW), is_part, rank.max().unwrap_or_default())
}

fn numbers<'t>(by_text: &'t HashMap<Box<str>, Vec<Number>>, text: &str) -> &'t [Number] {
    by_text.get(text).map(|it| &it[..]).unwrap_or_default()
}

fn add(by_text: &mut HashMap<Box<str>, Vec<Number>>, text: &str, number: Number) {
    let numbers = by_text.entry(text.into()).or_default();
    // A list may have a text twice.
    if numbers.last() != Some(&number) {
        numbers.push(number);
    }
}
