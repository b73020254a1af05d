//! An event: one run of bytes that is what is stored, what filters look at, and what deliveries are cut from.
//!
//! Pure: bytes to values and back.
//! Source: CloudEvents 1.0.2 and 0.3 (`spec.md`, HTTP protocol binding, JSON event format).
//!
//! # What the value of an attribute is
//! It is the text that the producer sent, byte for byte: nothing is decoded, normalised or trimmed, so that a
//! subscriber gets the identical header, and a filter compares with what upstream's filter compares with. Upstream's
//! SDK neither decodes nor encodes header values, against the letter of the HTTP binding; a filter on the source
//! `/a%20b` therefore matches an event whose header says `/a%20b`. Only a value that no header can hold (it came in a
//! JSON envelope and has control characters, other than ASCII, or blanks at an end) is percent-encoded on its way into a
//! header, as the binding says; filters and JSON envelopes see it as it is.

use std::{borrow::Cow, ops::Range};

use api::cesql::Attributes;
use bytes::{Bytes, BytesMut};

use draft::{Draft, Origin};
use record::{Field, Kind};

mod check;
pub mod decode;
mod draft;
pub mod encode;
mod media;
mod record;

/// The attribute that counts how often an event may still pass a broker; see [`Event::hops`].
pub const HOPS: &str = "knativebrokerttl";
/// The attribute that says when a broker took the event.
pub const ARRIVAL: &str = "knativearrivaltime";
/// The attribute of a dead letter that says where it could not be delivered.
pub const ERROR_DESTINATION: &str = "knativeerrordest";
/// The attribute of a dead letter that holds the status of the last try.
pub const ERROR_CODE: &str = "knativeerrorcode";
/// The attribute of a dead letter that holds the begin of the last answer's body, in Base64.
pub const ERROR_DATA: &str = "knativeerrordata";

/// One event. A clone is cheap and shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A record that [`record`] wrote or checked.
    bytes: Bytes,
}

/// The version of the specification that an event is written in; it leaves in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecVersion {
    /// `0.3`: `schemaurl` and `datacontentencoding` are attributes of the core, `dataschema` is none.
    V03,
    /// `1.0`.
    V1,
}

/// The value of an attribute, with the type it has in a JSON envelope. What came in a header is always a string.
pub type Value<'a> = api::cesql::Value<'a>;

/// Why bytes are no stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It was written by a later release.
    #[error(
        "the stored event has format {0}, which this release does not know: use the release that wrote it"
    )]
    Format(u8),
    /// It is not what was written.
    #[error("the stored event is damaged: {0}")]
    Record(&'static str),
}

/// Why something is no event: a sentence for the one who sent it, which says what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

impl Event {
    /// An event from attributes (`type`, `source` and `id` among them; `specversion` is 1.0) and data.
    ///
    /// The attributes are held to the rules for what comes from outside.
    pub fn new(attributes: &[(&str, Value<'_>)], data: Option<&[u8]>) -> Result<Event, Rejected> {
        let mut draft = Draft::new(SpecVersion::V1, Origin::Given);
        draft.data = data.map(Cow::Borrowed);
        for (name, value) in attributes {
            draft.set(name, *value);
        }
        draft.finish()
    }

    /// The event that [`Event::stored_bytes`] gave. Everything is checked here, once: no later access can fail.
    pub fn stored(bytes: Bytes) -> Result<Event, Damaged> {
        record::check(&bytes)?;
        Ok(Event { bytes })
    }

    /// What to store: the whole event.
    pub fn stored_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The version of the specification.
    pub fn spec_version(&self) -> SpecVersion {
        record::spec_version(&self.bytes)
    }

    /// The attribute `type`.
    pub fn kind(&self) -> &str {
        self.field(0)
    }

    /// The attribute `source`.
    pub fn source(&self) -> &str {
        self.field(1)
    }

    /// The attribute `id`.
    pub fn id(&self) -> &str {
        self.field(2)
    }

    /// The attribute of such a name, `specversion` among them; absent ones, [`HOPS`] and `data` have none. What came in a
    /// header is a string, what came in an envelope has the type it had there.
    pub fn attribute(&self, name: &str) -> Option<Value<'_>> {
        if name == "specversion" {
            return Some(Value::String(self.spec_version().text()));
        }
        let mut fields = record::attributes(&self.bytes);
        fields.find(|it| it.name == name.as_bytes()).map(|it| value(&it))
    }

    /// All attributes: `specversion`, `type`, `source`, `id`, and then the others.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let version = ("specversion", Value::String(self.spec_version().text()));
        let fields = record::attributes(&self.bytes).map(|it| (text(it.name), value(&it)));
        std::iter::once(version).chain(fields)
    }

    /// The data, not copied. There is none in a binary event with an empty body and in an envelope without `data`.
    pub fn data(&self) -> Option<Bytes> {
        record::data(&self.bytes).map(|range| self.bytes.slice(range))
    }

    /// The HTTP headers that go along with the event, in the order in which they came; a name may come again.
    pub fn passed(&self) -> impl Iterator<Item = (&str, &[u8])> {
        record::passed(&self.bytes).map(|it| (text(it.name), it.value))
    }

    /// How often the event may still pass a broker; nothing if its sender did not say it, or not as a number.
    /// Numbers below 0 are 0, above 255 they are 255.
    ///
    /// It comes and goes as the attribute [`HOPS`], which is never among [`Event::attributes`].
    pub fn hops(&self) -> Option<u8> {
        record::hops(&self.bytes)
    }

    /// The event with another number of hops. The bytes are changed in place if nobody else has them.
    pub fn with_hops(self, hops: Option<u8>) -> Event {
        let mut bytes = self.bytes.try_into_mut().unwrap_or_else(|it| BytesMut::from(&it[..]));
        record::set_hops(&mut bytes, hops);
        Event { bytes: bytes.freeze() }
    }

    /// The event with these attributes as well; one that it has gets the new value.
    pub fn with(&self, attributes: &[(&str, Value<'_>)]) -> Result<Event, Rejected> {
        let mut draft = self.draft();
        for (name, value) in attributes {
            draft.set(name, *value);
        }
        draft.finish()
    }

    /// The event without these attributes; it must keep those that every event has.
    pub fn without(&self, names: &[&str]) -> Result<Event, Rejected> {
        let mut draft = self.draft();
        draft.attributes.retain(|it| !names.contains(&&*it.name));
        draft.finish()
    }

    fn draft(&self) -> Draft<'_> {
        let mut draft = Draft::new(self.spec_version(), Origin::Given);
        draft.hops = self.hops();
        draft.notes = record::notes(&self.bytes);
        draft.data = record::data(&self.bytes).map(|range| Cow::Borrowed(&self.bytes[range]));
        draft.passed.extend(self.passed());
        draft.attributes.extend(record::attributes(&self.bytes).map(|it| draft::Attribute {
            name: Cow::Borrowed(text(it.name)),
            value: Cow::Borrowed(text(it.value)),
            kind: it.kind,
        }));
        draft
    }

    /// The value of the attribute at such a place, which is one of the first three.
    fn field(&self, place: usize) -> &str {
        record::attributes(&self.bytes).nth(place).map_or("", |it| text(it.value))
    }

    /// A run of the stored bytes, for a header's value.
    fn slice(&self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }
}

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        Event::attribute(self, name)
    }
}

impl SpecVersion {
    /// As the attribute `specversion` has it.
    pub fn text(self) -> &'static str {
        match self {
            SpecVersion::V03 => "0.3",
            SpecVersion::V1 => "1.0",
        }
    }

    /// The version of such a text.
    pub fn parse(text: &str) -> Option<SpecVersion> {
        match text {
            "0.3" => Some(SpecVersion::V03),
            "1.0" => Some(SpecVersion::V1),
            _ => None,
        }
    }
}

fn value<'a>(field: &Field<'a>) -> Value<'a> {
    let text = text(field.value);
    match field.kind {
        Kind::Plain | Kind::Encoded => Value::String(text),
        Kind::Boolean => Value::Boolean(text == "true"),
        Kind::Integer => Value::Integer(text.parse().unwrap_or_default()),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("texts were checked when the record was made or read")
}
