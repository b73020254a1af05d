//! The bytes of an event: their layout, how they are written, and the check of what comes from a disk.
//!
//! Pure: bytes to values and back.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | format, which is 1 |
//! | 1 | flags |
//! | 2 | hops, if a flag says so |
//! | 3 | number of attributes |
//! | 4–7 | where the headers that pass through begin, little-endian |
//! | 8–11 | where the data begins, little-endian |
//! | 12– | the attributes: `type`, `source`, `id`, then the others |
//!
//! An attribute and a header is a byte for its kind, one for the length of its name, two for the length of its value,
//! the name, the value. A release that changes this must take another format, and read this one as well.

use std::ops::Range;

use super::{Damaged, SpecVersion};

/// The format that is written.
const FORMAT: u8 = 1;
/// What is before the attributes.
const HEAD: usize = 12;
/// What is before the name of a field.
const FIELD_HEAD: usize = 4;
/// Longest name of a field, for its length is one byte.
pub const NAME_LIMIT: usize = u8::MAX as usize;
/// Longest value of a field, for its length is two bytes.
pub const VALUE_LIMIT: usize = u16::MAX as usize;
/// Most attributes, for their number is one byte.
pub const ATTRIBUTES_LIMIT: usize = u8::MAX as usize;
/// Longest record, for places in it are four bytes.
pub const LIMIT: usize = u32::MAX as usize;

/// The version of the specification is 0.3.
const V03: u8 = 1;
/// There is data.
const DATA: u8 = 2;
/// There is a number of hops.
const HOPS: u8 = 4;
/// See [`Notes::binary`].
const BINARY: u8 = 8;
/// See [`Notes::implied_json`].
const IMPLIED_JSON: u8 = 16;
const ALL_FLAGS: u8 = V03 | DATA | HOPS | BINARY | IMPLIED_JSON;

/// What the envelope in which an event came said besides its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The data came as `data_base64`, and goes so into the next envelope.
    pub binary: bool,
    /// The data is JSON, and no attribute says so, for in an envelope none need.
    pub implied_json: bool,
}

/// What a value is, and how it goes into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string that a header can hold.
    Plain = 0,
    /// A string that must be percent-encoded for a header.
    Encoded = 1,
    /// `true` or `false`.
    Boolean = 2,
    /// Digits of an `i32`, perhaps behind a minus sign.
    Integer = 3,
}

/// An attribute or a header in a record.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub kind: Kind,
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// Where the value is in the record.
    pub place: Range<usize>,
}

/// The fields between two places of a record.
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.at >= self.end {
            return None;
        }
        let [kind, name, low, high] = *self.bytes[..self.end].get(self.at..)?.first_chunk()?;
        let kind = match kind {
            0 => Kind::Plain,
            1 => Kind::Encoded,
            2 => Kind::Boolean,
            3 => Kind::Integer,
            _ => return None,
        };
        let name_at = self.at + FIELD_HEAD;
        let value_at = name_at + name as usize;
        let end = value_at + u16::from_le_bytes([low, high]) as usize;
        if end > self.end {
            return None;
        }
        self.at = end;
        let (name, value) = (&self.bytes[name_at..value_at], &self.bytes[value_at..end]);
        Some(Field { kind, name, value, place: value_at..end })
    }
}

/// What a record is written from; all lengths are within the limits.
pub struct Parts<'a, A, P> {
    pub version: SpecVersion,
    pub hops: Option<u8>,
    pub notes: Notes,
    /// `type`, `source` and `id` are the first.
    pub attributes: A,
    pub passed: P,
    pub data: Option<&'a [u8]>,
}

/// Writes a record into memory of exactly its size.
pub fn write<'a, A, P>(parts: Parts<'a, A, P>) -> Vec<u8>
where
    A: Iterator<Item = (Kind, &'a str, &'a [u8])> + Clone,
    P: Iterator<Item = (Kind, &'a str, &'a [u8])> + Clone,
{
    let size = |fields: &mut dyn Iterator<Item = (Kind, &'a str, &'a [u8])>| -> usize {
        fields.map(|it| FIELD_HEAD + it.1.len() + it.2.len()).sum()
    };
    let count = parts.attributes.clone().count();
    let passed_at = HEAD + size(&mut parts.attributes.clone());
    let data_at = passed_at + size(&mut parts.passed.clone());
    let mut out = Vec::with_capacity(data_at + parts.data.map_or(0, <[u8]>::len));
    let flags = [
        (V03, parts.version == SpecVersion::V03),
        (DATA, parts.data.is_some()),
        (HOPS, parts.hops.is_some()),
        (BINARY, parts.notes.binary),
        (IMPLIED_JSON, parts.notes.implied_json),
    ];
    let flags = flags.iter().filter(|it| it.1).fold(0, |sum, it| sum | it.0);
    out.extend_from_slice(&[FORMAT, flags, parts.hops.unwrap_or(0), count as u8]);
    out.extend_from_slice(&(passed_at as u32).to_le_bytes());
    out.extend_from_slice(&(data_at as u32).to_le_bytes());
    for (kind, name, value) in parts.attributes.chain(parts.passed) {
        let [low, high] = (value.len() as u16).to_le_bytes();
        out.extend_from_slice(&[kind as u8, name.len() as u8, low, high]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(parts.data.unwrap_or_default());
    out
}

/// Says whether the other functions of this module may be asked about such bytes, and all names and values of
/// attributes are texts of their kinds.
pub fn check(bytes: &[u8]) -> Result<(), Damaged> {
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return Err(Damaged::Record("it is shorter than the head of one"));
    };
    if head[0] != FORMAT {
        return Err(Damaged::Format(head[0]));
    }
    if head[1] & !ALL_FLAGS != 0 {
        return Err(Damaged::Record("it has unknown flags"));
    }
    let (passed_at, data_at) = places(bytes);
    if passed_at < HEAD || data_at < passed_at || bytes.len() < data_at {
        return Err(Damaged::Record("its parts are out of order"));
    }
    if head[1] & DATA == 0 && bytes.len() != data_at {
        return Err(Damaged::Record("it has data and says that it has none"));
    }
    let mut fields = attributes(bytes);
    let mut count = 0;
    for field in &mut fields {
        let (Ok(name), Ok(value)) =
            (std::str::from_utf8(field.name), std::str::from_utf8(field.value))
        else {
            return Err(Damaged::Record("an attribute is no text"));
        };
        if let Some(wanted) = ["type", "source", "id"].get(count)
            && (name != *wanted || !matches!(field.kind, Kind::Plain | Kind::Encoded))
        {
            return Err(Damaged::Record("type, source and id are not the first attributes"));
        }
        let is_of_kind = match field.kind {
            Kind::Plain | Kind::Encoded => true,
            Kind::Boolean => matches!(value, "true" | "false"),
            Kind::Integer => value.parse::<i32>().is_ok(),
        };
        let is_name = name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
        if !is_of_kind || name.is_empty() || !is_name {
            return Err(Damaged::Record("an attribute is malformed"));
        }
        count += 1;
    }
    if fields.at != fields.end || count != head[3] as usize || count < 3 {
        return Err(Damaged::Record("its attributes are cut off"));
    }
    let mut fields = passed(bytes);
    for field in &mut fields {
        if field.name.is_empty() || !field.name.is_ascii() {
            return Err(Damaged::Record("a header is malformed"));
        }
    }
    if fields.at != fields.end {
        return Err(Damaged::Record("its headers are cut off"));
    }
    Ok(())
}

pub fn spec_version(bytes: &[u8]) -> SpecVersion {
    if bytes[1] & V03 == 0 { SpecVersion::V1 } else { SpecVersion::V03 }
}

pub fn notes(bytes: &[u8]) -> Notes {
    Notes { binary: bytes[1] & BINARY != 0, implied_json: bytes[1] & IMPLIED_JSON != 0 }
}

pub fn hops(bytes: &[u8]) -> Option<u8> {
    (bytes[1] & HOPS != 0).then_some(bytes[2])
}

pub fn set_hops(bytes: &mut [u8], hops: Option<u8>) {
    bytes[1] = if hops.is_some() { bytes[1] | HOPS } else { bytes[1] & !HOPS };
    bytes[2] = hops.unwrap_or(0);
}

pub fn attributes(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: HEAD, end: places(bytes).0 }
}

pub fn passed(bytes: &[u8]) -> Fields<'_> {
    let (at, end) = places(bytes);
    Fields { bytes, at, end }
}

/// Where the data is.
pub fn data(bytes: &[u8]) -> Option<Range<usize>> {
    (bytes[1] & DATA != 0).then(|| places(bytes).1..bytes.len())
}

/// Where the headers that pass through begin, and where the data does.
fn places(bytes: &[u8]) -> (usize, usize) {
    let place = |at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    };
    (place(4), place(8))
}
