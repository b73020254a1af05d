//! The bytes of one record in a store file: length, checksum of the length, checksum of the content, content.
//!
//! Pure: bytes in, records out.

use bytes::Bytes;

/// Bytes before a record's content.
pub const HEADER: usize = 12;
/// A record cannot be longer: requests are bounded by 3 MiB, and an object that grew past that is not accepted.
pub const LONGEST: usize = 64 << 20;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The revision of the write.
    pub revision: u64,
    /// The resource, such as `apps/deployments`.
    pub resource: Box<str>,
    /// The object.
    pub key: Box<str>,
    /// The object's JSON; absent for a deletion.
    pub body: Option<Bytes>,
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// A record, and where the next begins.
    Record(Record, usize),
    /// The end of the file.
    End,
    /// The last record was not written wholly.
    Torn,
    /// What stands here is not what was written.
    Damaged,
}

/// Appends a record to a buffer.
pub fn write(record: &Record, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(&record.revision.to_le_bytes());
    for text in [&record.resource, &record.key] {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    match &record.body {
        Some(body) => {
            out.push(1);
            out.extend_from_slice(body);
        }
        None => out.push(0),
    }
    let length = (out.len() - begin - HEADER) as u32;
    let content = crc32c::crc32c(&out[begin + HEADER..]);
    let length = length.to_le_bytes();
    out[begin..begin + 4].copy_from_slice(&length);
    out[begin + 4..begin + 8].copy_from_slice(&crc32c::crc32c(&length).to_le_bytes());
    out[begin + 8..begin + 12].copy_from_slice(&content.to_le_bytes());
}

/// Reads the record at a place of a file.
pub fn read(file: &Bytes, at: usize) -> Read {
    let rest = &file[at..];
    if rest.is_empty() {
        return Read::End;
    }
    // A file system may have grown the file before the data came: zeros up to the end were never written by us.
    if rest.iter().all(|byte| *byte == 0) {
        return Read::Torn;
    }
    if rest.len() < HEADER {
        return Read::Torn;
    }
    let word = |from: usize| {
        u32::from_le_bytes([rest[from], rest[from + 1], rest[from + 2], rest[from + 3]])
    };
    let length = word(0) as usize;
    if crc32c::crc32c(&rest[..4]) != word(4) || length > LONGEST {
        return Read::Damaged;
    }
    let end = HEADER + length;
    if rest.len() < end {
        return Read::Torn;
    }
    if crc32c::crc32c(&rest[HEADER..end]) != word(8) {
        return if rest.len() == end { Read::Torn } else { Read::Damaged };
    }
    content(&file.slice(at + HEADER..at + end))
        .map_or(Read::Damaged, |record| Read::Record(record, at + end))
}

fn content(bytes: &Bytes) -> Option<Record> {
    let revision = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let mut at = 8;
    let mut text = || {
        let length = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        let text = std::str::from_utf8(bytes.get(at + 4..at + 4 + length)?).ok()?;
        at += 4 + length;
        Some(Box::<str>::from(text))
    };
    let resource = text()?;
    let key = text()?;
    let body = match bytes.get(at)? {
        0 => None,
        // Copied, so that an object does not keep the whole file in memory.
        _ => Some(Bytes::copy_from_slice(&bytes[at + 1..])),
    };
    Some(Record { revision, resource, key, body })
}
