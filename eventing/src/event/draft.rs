//! What was gathered for an event, until it is known to be one.
//!
//! Pure: values to values.

use std::borrow::Cow;

use api::cesql::Value;
use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Event, HOPS, Rejected, SpecVersion,
    check::{self, Core},
    record::{self, Kind, Notes, Parts},
};

/// Attributes that are gathered without asking for memory; events have about eight.
const USUAL_ATTRIBUTES: usize = 24;
/// Passed headers that are gathered without asking for memory.
const USUAL_PASSED: usize = 12;
/// Most attributes of an event from outside: with what a delivery adds they are within the 100 header fields that common
/// servers take.
const ATTRIBUTES_LIMIT: usize = 80;
/// Longest name of an attribute from outside. The specification asks for 20 at most; nobody means more than this.
const NAME_LIMIT: usize = 128;
/// Most bytes of all attributes from outside, names and values: the specification promises delivery only up to 64 KiB
/// for a whole event, and common servers take no larger heads.
const ATTRIBUTES_BYTES: usize = 60 * 1024;
/// Most headers that pass through: tracing needs about ten.
const PASSED_LIMIT: usize = 32;
/// Most bytes of the headers that pass through. Each event of a batch keeps its own copy of them.
const PASSED_BYTES: usize = 8 * 1024;

/// The attributes that every event has, in the order of a record.
const FIRST: [(Core, &str); 3] = [(Core::Type, "type"), (Core::Source, "source"), (Core::Id, "id")];

pub struct Draft<'a> {
    pub version: SpecVersion,
    pub attributes: SmallVec<[Attribute<'a>; USUAL_ATTRIBUTES]>,
    pub passed: SmallVec<[(&'a str, &'a [u8]); USUAL_PASSED]>,
    pub hops: Option<u8>,
    pub notes: Notes,
    pub data: Option<Cow<'a, [u8]>>,
    origin: Origin,
}

pub struct Attribute<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
    pub kind: Kind,
}

/// Where the attributes come from, which says how to name their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// HTTP headers.
    Headers,
    /// The members of a JSON object.
    Members,
    /// Our own code: the limits for what comes from outside are not for it.
    Given,
}

impl Origin {
    /// The place of an attribute, as the begin of a sentence.
    pub fn place(self, name: &str) -> String {
        match (self, name) {
            (Origin::Headers, "datacontenttype") => "the header content-type".to_owned(),
            (Origin::Headers, _) => format!("the header ce-{name}"),
            (Origin::Members, _) => format!("the member {name:?}"),
            (Origin::Given, _) => format!("the attribute {name}"),
        }
    }
}

impl<'a> Draft<'a> {
    pub fn new(version: SpecVersion, origin: Origin) -> Draft<'a> {
        Draft {
            version,
            attributes: SmallVec::new(),
            passed: SmallVec::new(),
            hops: None,
            notes: Notes::default(),
            data: None,
            origin,
        }
    }

    /// Takes an attribute as it came; a second one of the same name is found in the end.
    pub fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>, kind: Kind) {
        match &*name {
            HOPS => self.hops = hops(&value),
            _ => self.attributes.push(Attribute { name, value, kind }),
        }
    }

    /// Sets an attribute of our own.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) {
        self.attributes.retain(|it| it.name != name);
        let (value, kind) = match value {
            Value::String(text) => (Cow::Borrowed(text), kind_of(text)),
            Value::Boolean(true) => (Cow::Borrowed("true"), Kind::Boolean),
            Value::Boolean(false) => (Cow::Borrowed("false"), Kind::Boolean),
            Value::Integer(number) => (Cow::Owned(number.to_string()), Kind::Integer),
        };
        self.add(Cow::Borrowed(name), value, kind);
    }

    /// The text of an attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|it| it.name == name).map(|it| &*it.value)
    }

    /// The event, if it is one.
    pub fn finish(mut self) -> Result<Event, Rejected> {
        self.check_attributes()?;
        self.check_sizes()?;
        let attributes = self.attributes.iter();
        let bytes = record::write(Parts {
            version: self.version,
            hops: self.hops,
            notes: self.notes,
            attributes: attributes.map(|it| (it.kind, &*it.name, it.value.as_bytes())),
            passed: self.passed.iter().map(|it| (Kind::Plain, it.0, it.1)),
            data: self.data.as_deref(),
        });
        Ok(Event { bytes: Bytes::from(bytes) })
    }

    /// Checks the attributes, and puts those first that every event has.
    fn check_attributes(&mut self) -> Result<(), Rejected> {
        let mut seen = 0u16;
        let mut first = [usize::MAX; 3];
        for (at, attribute) in self.attributes.iter().enumerate() {
            let core = Core::of(self.version, &attribute.name);
            let is_again = match core {
                Some(core) => seen & 1 << core as u16 != 0,
                None => self.attributes[..at].iter().any(|it| it.name == attribute.name),
            };
            if is_again {
                return Err(twice(self.origin, &attribute.name));
            }
            self.check(attribute, core).map_err(|why| self.wrong(attribute, why))?;
            if let Some(core) = core {
                seen |= 1 << core as u16;
                if let Some(place) = FIRST.iter().position(|it| it.0 == core) {
                    first[place] = at;
                }
            }
        }
        for (place, (_, name)) in FIRST.iter().enumerate() {
            let at = first[place];
            if at == usize::MAX {
                return Err(Rejected(format!("{} is missing", self.origin.place(name))));
            }
            self.attributes.swap(place, at);
            // What was at this place is now where that one was.
            first.iter_mut().filter(|it| **it == place).for_each(|it| *it = at);
        }
        Ok(())
    }

    fn check(&self, attribute: &Attribute<'_>, core: Option<Core>) -> Result<(), &'static str> {
        let Attribute { name, value, kind } = attribute;
        match core {
            Some(_) if matches!(kind, Kind::Boolean | Kind::Integer) => {
                return Err("must be a string");
            }
            Some(core) => core.check(value)?,
            None if !check::is_name(name) => {
                return Err(
                    "is no attribute's: names are of the letters a to z and digits, and not data",
                );
            }
            None => {}
        }
        let longest = if self.origin == Origin::Given { record::NAME_LIMIT } else { NAME_LIMIT };
        if name.len() > longest {
            return Err("has too long a name");
        }
        if value.len() > record::VALUE_LIMIT {
            return Err("is too long: at most 65535 bytes are taken");
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Rejected> {
        let (count, bytes) = match self.origin {
            // As many as the specification promises of, and what dead letters add to them.
            Origin::Given => (record::ATTRIBUTES_LIMIT, 2 * ATTRIBUTES_BYTES),
            _ => (ATTRIBUTES_LIMIT, ATTRIBUTES_BYTES),
        };
        if self.attributes.len() > count {
            return Err(Rejected(format!("the event has more than {count} attributes")));
        }
        let sum = self.attributes.iter().map(|it| it.name.len() + it.value.len()).sum::<usize>();
        if sum > bytes {
            return Err(Rejected(format!(
                "the attributes are {sum} bytes long, and at most {bytes} are taken: put into the data what is long"
            )));
        }
        let sum = self.passed.iter().map(|it| it.0.len() + it.1.len()).sum::<usize>();
        if self.passed.len() > PASSED_LIMIT || sum > PASSED_BYTES {
            return Err(Rejected(format!(
                "the headers that go along with the event (knative-*, x-b3-*, tracing) are more than {PASSED_LIMIT}, \
                 or longer than {PASSED_BYTES} bytes"
            )));
        }
        // Attributes and headers are within their limits, which leaves room for them in a record.
        if self.data.as_ref().is_some_and(|it| it.len() > record::LIMIT / 2) {
            return Err(Rejected("the data is longer than 2 GiB".to_owned()));
        }
        Ok(())
    }

    fn wrong(&self, attribute: &Attribute<'_>, why: &str) -> Rejected {
        let place = self.origin.place(shortened(&attribute.name));
        match &*attribute.value {
            "" => Rejected(format!("{place} {why}")),
            value => Rejected(format!("{place} {why} (it is {:?})", shortened(value))),
        }
    }
}

/// What is wrong with an attribute that came again.
pub fn twice(origin: Origin, name: &str) -> Rejected {
    Rejected(format!("{} is there twice", origin.place(shortened(name))))
}

/// Whether a header can hold the text.
pub fn kind_of(text: &str) -> Kind {
    let is_plain = text.bytes().all(|it| matches!(it, b' '..=b'~'));
    match is_plain && !text.starts_with(' ') && !text.ends_with(' ') {
        true => Kind::Plain,
        false => Kind::Encoded,
    }
}

/// The number of hops that a text says, read as upstream reads it.
fn hops(text: &str) -> Option<u8> {
    let number: f64 = text.parse().ok()?;
    let is_integer = number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX);
    is_integer.then_some(number as u8)
}

/// As much of a text as an answer should repeat.
pub fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(60).map_or(text.len(), |it| it.0);
    &text[..end]
}
