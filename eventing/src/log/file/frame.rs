//! How a record lies in a file: its length, a checksum, its offset, its date, its bytes.
//!
//! Pure: bytes in, bytes and places out. Numbers are little endian. The checksum (CRC-32C) covers all that follows
//! it. The offset is written out so that the records behind a damaged place can be found again, and told from what an
//! earlier use of the same blocks left there.

use std::ops::Range;

use crate::log::{Offset, RECORD_LIMIT};

/// Bytes before a record's own.
pub const HEAD: usize = 24;
/// Begins each file.
pub const MAGIC: [u8; 8] = *b"weftlog1";

/// A record found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its offset in the log.
    pub offset: Offset,
    /// When it was appended, in milliseconds since 1970.
    pub time_ms: i64,
    /// Where its bytes lie.
    pub bytes: Range<usize>,
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole record.
    Whole(Frame),
    /// The beginning of what may be a record, which needs this many bytes from its place on.
    Partial(usize),
    /// Nothing was ever written here.
    Blank,
    /// Something else.
    Damaged,
}

/// Adds a record to `out`.
pub fn push(out: &mut Vec<u8>, offset: Offset, time_ms: i64, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("records are within their limit");
    let mut rest = [0; HEAD - 8];
    rest[..8].copy_from_slice(&offset.to_le_bytes());
    rest[8..].copy_from_slice(&time_ms.to_le_bytes());
    out.reserve(HEAD + bytes.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(&rest, bytes).to_le_bytes());
    out.extend_from_slice(&rest);
    out.extend_from_slice(bytes);
}

/// What lies at `place` in `file`, or in the beginning of one.
pub fn at(file: &[u8], place: usize) -> Found {
    let rest = &file[place.min(file.len())..];
    let Some((head, after)) = rest.split_first_chunk::<HEAD>() else {
        return if rest.iter().all(|it| *it == 0) { Found::Blank } else { Found::Partial(HEAD) };
    };
    let length = u32::from_le_bytes(head[..4].try_into().expect("4 bytes")) as usize;
    if head.iter().all(|it| *it == 0) {
        return Found::Blank;
    }
    if length > RECORD_LIMIT {
        return Found::Damaged;
    }
    let Some(bytes) = after.get(..length) else { return Found::Partial(HEAD + length) };
    let claimed = u32::from_le_bytes(head[4..8].try_into().expect("4 bytes"));
    if checksum(&head[8..], bytes) != claimed {
        return Found::Damaged;
    }
    Found::Whole(Frame {
        offset: u64::from_le_bytes(head[8..16].try_into().expect("8 bytes")),
        time_ms: i64::from_le_bytes(head[16..].try_into().expect("8 bytes")),
        bytes: place + HEAD..place + HEAD + length,
    })
}

/// The first place from `place` on where a whole record lies whose offset is within `offsets`.
pub fn find(file: &[u8], place: usize, offsets: &Range<Offset>) -> Option<usize> {
    (place..file.len().saturating_sub(HEAD - 1)).find(|&place| {
        // The offset is looked at first: it is cheap, and hardly anything passes by chance.
        let offset = u64::from_le_bytes(file[place + 8..place + 16].try_into().expect("8 bytes"));
        offsets.contains(&offset) && matches!(at(file, place), Found::Whole(_))
    })
}

fn checksum(rest: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(rest), bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in records.iter().enumerate() {
            push(&mut out, 7 + number as u64, 1000 + number as i64, bytes);
        }
        out
    }

    #[test]
    fn a_record_is_found_as_it_was_written() {
        let file = file(&[b"one", b"", b"three"]);
        let mut place = 0;
        for (number, bytes) in [&b"one"[..], b"", b"three"].iter().enumerate() {
            let Found::Whole(frame) = at(&file, place) else { panic!("record {number}") };
            assert_eq!((frame.offset, frame.time_ms), (7 + number as u64, 1000 + number as i64));
            assert_eq!(&file[frame.bytes.clone()], *bytes);
            place = frame.bytes.end;
        }
        assert_eq!(at(&file, place), Found::Blank);
    }

    #[test]
    fn blank_space_is_no_record() {
        assert_eq!(at(&[0; 100], 3), Found::Blank);
        assert_eq!(at(&[0; 5], 0), Found::Blank);
    }

    proptest! {
        #[test]
        fn a_torn_record_is_never_taken_for_a_whole_one(
            bytes in proptest::collection::vec(any::<u8>(), 1..200), cut in 0_usize..1000, fill: bool
        ) {
            let whole = file(&[&bytes]);
            let cut = cut % whole.len();
            let mut torn = whole[..cut].to_vec();
            if fill {
                torn.resize(whole.len() + 50, 0);
            }
            // A record that ends in zeros is whole where zeros follow.
            if torn.get(..whole.len()) != Some(&whole[..]) {
                prop_assert!(!matches!(at(&torn, 0), Found::Whole(_)));
            }
        }

        #[test]
        fn a_changed_bit_is_noticed_and_the_next_record_found(
            first in proptest::collection::vec(any::<u8>(), 0..100), bit in 0_usize..10_000
        ) {
            let mut bytes = file(&[&first, b"second"]);
            let length = HEAD + first.len();
            let bit = bit % (length * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(at(&bytes, 0), Found::Whole(_)));
            prop_assert_eq!(find(&bytes, 1, &(8..9)), Some(length));
        }
    }
}
