//! HTTP messages to events: binary, structured and batched mode.
//!
//! How long a body may be is for the caller to say before it reads one: everything here is linear in its length.
//!
//! Pure: bytes to values.
//! Source: CloudEvents HTTP protocol binding, JSON event format, JSON batch format; sdk-go `event`, `protocol/http`.

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{
    ARRIVAL, Event, Rejected, SpecVersion,
    draft::{Draft, Origin, kind_of, shortened, twice},
    media::{self, Envelope},
    record::Kind,
};

/// The header that says that a message carries an event.
const SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");
/// Most events of a batch. Large producers send batches of up to 5000, and each event keeps the headers of all.
const BATCH_LIMIT: usize = 5000;
/// Most members of the JSON object of an event: more are no attributes, which says [`Draft::finish`] better.
const MEMBERS_LIMIT: usize = 256;
/// Base64 as Go's decoder takes it, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a message carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in headers, data in the body.
    Binary,
    /// One event as a JSON object in the body.
    Structured,
    /// Events as a JSON array in the body.
    Batched,
}

/// How a message with such headers carries events; nothing if it carries none.
///
/// An envelope wins over headers. An envelope in another format than JSON is none, but may be data in binary mode.
pub fn mode(headers: &HeaderMap) -> Option<Mode> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match media::envelope(content_type.unwrap_or_default()) {
        Some(Envelope::One) => Some(Mode::Structured),
        Some(Envelope::Batch) => Some(Mode::Batched),
        None => headers.contains_key(SPEC_VERSION).then_some(Mode::Binary),
    }
}

/// The event of a message in binary or structured mode. `now` becomes its [`ARRIVAL`].
pub fn one(headers: &HeaderMap, body: &[u8], now: Option<Timestamp>) -> Result<Event, Rejected> {
    let arrival = Arrival::new(now);
    match mode(headers) {
        Some(Mode::Binary) => binary(headers, body, arrival.text()),
        Some(Mode::Structured) => {
            let members = serde_json::from_str(json_text(body)?).map_err(not_json)?;
            structured(headers, members, arrival.text())
        }
        Some(Mode::Batched) => Err(Rejected(
            "one event is expected here, and the header content-type says that there is a batch of them".to_owned(),
        )),
        None => Err(Rejected(
            "this is no CloudEvent: it has neither a header ce-specversion nor the content-type \
             application/cloudevents+json"
                .to_owned(),
        )),
    }
}

/// The events of a message in any mode: all of them are good, or nothing is taken. `now` becomes their [`ARRIVAL`].
pub fn batch(
    headers: &HeaderMap,
    body: &[u8],
    now: Option<Timestamp>,
) -> Result<Vec<Event>, Rejected> {
    if mode(headers) != Some(Mode::Batched) {
        return Ok(vec![one(headers, body, now)?]);
    }
    let arrival = Arrival::new(now);
    let Batch(events) = serde_json::from_str(json_text(body)?).map_err(not_json)?;
    let events = events.into_iter().enumerate().map(|(at, members)| {
        structured(headers, members, arrival.text())
            .map_err(|why| Rejected(format!("event {at} of the batch (the first is 0): {why}")))
    });
    events.collect()
}

fn binary(headers: &HeaderMap, body: &[u8], arrival: Option<&str>) -> Result<Event, Rejected> {
    let version = headers.get(SPEC_VERSION).map_or(&b""[..], |it| it.as_bytes());
    let version = std::str::from_utf8(version).unwrap_or_default();
    let mut draft = Draft::new(spec_version(version, Origin::Headers)?, Origin::Headers);
    draft.data = (!body.is_empty()).then_some(Cow::Borrowed(body));
    let (mut versions, mut content_types) = (0, 0);
    for (name, value) in headers {
        let attribute = match name.as_str().strip_prefix("ce-") {
            Some("specversion") => {
                versions += 1;
                continue;
            }
            Some("datacontenttype") => {
                return Err(Rejected(
                    "the header ce-datacontenttype must not be there: content-type says it"
                        .to_owned(),
                ));
            }
            Some(ARRIVAL) if arrival.is_some() => continue,
            Some(attribute) => attribute,
            None if *name == header::CONTENT_TYPE => {
                content_types += 1;
                // An empty one says nothing, for HTTP and for upstream.
                if value.is_empty() {
                    continue;
                }
                "datacontenttype"
            }
            None => {
                if is_passed(name) {
                    draft.passed.push((name.as_str(), value.as_bytes()));
                }
                continue;
            }
        };
        let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
            let place = Origin::Headers.place(shortened(attribute));
            return Err(Rejected(format!("{place} is not UTF-8")));
        };
        draft.add(Cow::Borrowed(attribute), Cow::Borrowed(text), Kind::Plain);
    }
    if versions > 1 {
        return Err(twice(Origin::Headers, "specversion"));
    }
    if content_types > 1 {
        return Err(twice(Origin::Headers, "datacontenttype"));
    }
    arrived(&mut draft, arrival);
    draft.finish()
}

fn structured(
    headers: &HeaderMap,
    Members(members): Members<'_>,
    arrival: Option<&str>,
) -> Result<Event, Rejected> {
    let version = members.iter().find(|it| it.0.0 == "specversion");
    let version = match version {
        Some((_, raw)) => string("specversion", raw)?,
        None => return Err(Rejected("the member \"specversion\" is missing".to_owned())),
    };
    let version = spec_version(&version, Origin::Members)?;
    let mut draft = Draft::new(version, Origin::Members);
    draft.passed.extend(
        headers.iter().filter(|it| is_passed(it.0)).map(|it| (it.0.as_str(), it.1.as_bytes())),
    );
    let (mut data, mut base64, mut versions) = (None, None, 0);
    for (Key(name), raw) in members {
        let place = match &*name {
            "data" => &mut data,
            "data_base64" if version == SpecVersion::V1 && raw.get() == "null" => continue,
            "data_base64" if version == SpecVersion::V1 => &mut base64,
            "specversion" => {
                versions += 1;
                continue;
            }
            ARRIVAL if arrival.is_some() => continue,
            _ => {
                attribute(&mut draft, name, raw)?;
                continue;
            }
        };
        if place.replace(raw).is_some() {
            return Err(twice(Origin::Members, &name));
        }
    }
    if versions > 1 {
        return Err(twice(Origin::Members, "specversion"));
    }
    arrived(&mut draft, arrival);
    match (data, base64) {
        // Some write `null` for what is not there.
        (Some(raw), Some(_)) if raw.get() != "null" => {
            return Err(Rejected(
                "the members \"data\" and \"data_base64\" are both there".to_owned(),
            ));
        }
        (_, Some(raw)) => {
            draft.data = Some(from_base64("data_base64", raw)?);
            draft.notes.binary = true;
        }
        (Some(raw), None) => envelope_data(&mut draft, raw)?,
        (None, None) => {}
    }
    draft.finish()
}

/// Takes the member `data`, whose meaning depends on what the attributes say.
fn envelope_data<'a>(draft: &mut Draft<'a>, raw: &'a RawValue) -> Result<(), Rejected> {
    let is_encoded =
        draft.version == SpecVersion::V03 && draft.text("datacontentencoding").is_some();
    let content_type = draft.text("datacontenttype");
    let is_json = content_type.is_none_or(media::is_json);
    let is_implied = content_type.is_none();
    if is_encoded {
        draft.data = Some(from_base64("data", raw)?);
    } else if is_json {
        // The text itself: numbers, blanks and the order of members stay as they are.
        draft.data = Some(Cow::Borrowed(raw.get().as_bytes()));
        draft.notes.implied_json = is_implied;
    } else if raw.get() != "null" {
        draft.data = Some(match string("data", raw) {
            Ok(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            Err(why) => {
                return Err(Rejected(format!(
                    "{why}, for \"datacontenttype\" says that it is not JSON"
                )));
            }
        });
    }
    Ok(())
}

/// Takes a member that is an attribute; `null` is as good as none.
fn attribute<'a>(
    draft: &mut Draft<'a>,
    name: Cow<'a, str>,
    raw: &'a RawValue,
) -> Result<(), Rejected> {
    // Upstream's SDK takes capitals in the names of extensions, and makes them small.
    let name = match name.bytes().any(|it| it.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => name,
    };
    let (value, kind) = match raw.get().as_bytes() {
        [b'n', ..] => return Ok(()),
        [b'"', ..] => {
            let text = string(&name, raw)?;
            let kind = kind_of(&text);
            (text, kind)
        }
        [b't' | b'f', ..] => (Cow::Borrowed(raw.get()), Kind::Boolean),
        [b'-' | b'0'..=b'9', ..] => (integer(&name, raw.get())?, Kind::Integer),
        _ => {
            let place = Origin::Members.place(shortened(&name));
            return Err(Rejected(format!(
                "{place} must be a string, a boolean or an integer, as all attributes"
            )));
        }
    };
    draft.add(name, value, kind);
    Ok(())
}

fn arrived<'a>(draft: &mut Draft<'a>, arrival: Option<&'a str>) {
    if let Some(text) = arrival {
        draft.add(Cow::Borrowed(ARRIVAL), Cow::Borrowed(text), Kind::Plain);
    }
}

fn spec_version(text: &str, origin: Origin) -> Result<SpecVersion, Rejected> {
    SpecVersion::parse(text).ok_or_else(|| {
        let place = origin.place("specversion");
        Rejected(format!("{place} must be 1.0 or 0.3 (it is {:?})", shortened(text)))
    })
}

/// Headers that go along with an event. Source: eventing `pkg/kncloudevents` (`x-request-id`, `retry-after`, `knative-`,
/// `x-b3-`); the others are those of W3C Trace Context and Baggage, which upstream's tracing passes on.
fn is_passed(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.as_bytes()[0] {
        b'k' => name.starts_with("knative-"),
        b'x' => name.starts_with("x-b3-") || name == "x-request-id",
        b't' => matches!(name, "traceparent" | "tracestate"),
        b'b' => name == "baggage",
        b'r' => name == "retry-after",
        _ => false,
    }
}

/// The value of a member that must be a string, not copied where it has no escapes.
fn string<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Rejected> {
    let place = |why: &str| {
        let place = Origin::Members.place(shortened(name));
        Rejected(format!("{place} {why}"))
    };
    let Some(inner) = raw.get().strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
        return Err(place("must be a string"));
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let text: Result<String, _> = serde_json::from_str(raw.get());
    text.map(Cow::Owned).map_err(|_| place("has an escape that is no character"))
}

/// The text of a number that is one of 32 bits.
fn integer<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, Rejected> {
    if text.parse::<i32>().is_ok_and(|it| it != 0) || text == "0" {
        return Ok(Cow::Borrowed(text));
    }
    let number = text.parse::<f64>().unwrap_or(f64::NAN);
    let is_integer =
        number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    match is_integer {
        true => Ok(Cow::Owned((number as i32).to_string())),
        false => {
            let place = Origin::Members.place(shortened(name));
            Err(Rejected(format!(
                "{place} is a number that is no integer of 32 bits (it is {})",
                shortened(text)
            )))
        }
    }
}

fn from_base64<'a>(name: &str, raw: &RawValue) -> Result<Cow<'a, [u8]>, Rejected> {
    let text = string(name, raw)?;
    let data = BASE64.decode(&*text).map_err(|why| {
        let place = Origin::Members.place(name);
        Rejected(format!("{place} is not Base64: {why}"))
    })?;
    Ok(Cow::Owned(data))
}

fn json_text(body: &[u8]) -> Result<&str, Rejected> {
    std::str::from_utf8(body).map_err(|why| Rejected(format!("the body is not UTF-8: {why}")))
}

fn not_json(why: serde_json::Error) -> Rejected {
    Rejected(format!("the body is not what its content-type says: {why}"))
}

/// The time of arrival as text.
struct Arrival {
    text: [u8; Arrival::LONGEST],
    length: usize,
}

impl Arrival {
    /// `-009999-01-01T00:00:00.000000000Z` and a little more.
    const LONGEST: usize = 40;

    fn new(now: Option<Timestamp>) -> Arrival {
        let mut arrival = Arrival { text: [0; Arrival::LONGEST], length: 0 };
        if let Some(now) = now {
            fmt::Write::write_fmt(&mut arrival, format_args!("{now}"))
                .expect("a timestamp is shorter than this");
        }
        arrival
    }

    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.text[..self.length]).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Write for Arrival {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.text.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A name in a JSON object, not copied where it has no escapes.
struct Key<'a>(Cow<'a, str>);

/// The members of a JSON object, their values as the text they are.
struct Members<'a>(SmallVec<[(Key<'a>, &'a RawValue); 24]>);

/// The elements of a JSON array.
struct Batch<'a>(Vec<Members<'a>>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an event, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = SmallVec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MEMBERS_LIMIT {
                        return Err(de::Error::custom("an event has too many members"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch<'de>, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Batch<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a batch of events, which is an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Batch<'de>, A::Error> {
                let mut events = Vec::new();
                while let Some(event) = seq.next_element()? {
                    if events.len() == BATCH_LIMIT {
                        return Err(de::Error::custom(format_args!(
                            "a batch has at most {BATCH_LIMIT} events"
                        )));
                    }
                    events.push(event);
                }
                Ok(Batch(events))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}
