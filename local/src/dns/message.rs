//! DNS messages, as much of them as a name server for addresses needs.
//!
//! Pure: bytes in, bytes out.
//! Source: RFC 1035 sections 4.1 and 4.2.

use std::net::Ipv4Addr;

const ADDRESS: u16 = 1;
const ALIAS: u16 = 5;
const ANY: u16 = 255;
/// Seconds for which an answer may be kept: Services come and go.
const KEEP_S: u32 = 5;
/// Largest answer over UDP that every client takes; longer lists of addresses are cut.
const MOST_ADDRESSES: usize = 24;

/// A question about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// In lower case, without a final dot.
    pub name: String,
    kind: u16,
    id: [u8; 2],
    recursion_desired: bool,
    /// The question as it was asked, to be repeated in the answer.
    question: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name does not exist.
    Missing,
    /// The name's addresses; none for a name that exists without.
    Addresses(Vec<Ipv4Addr>),
    /// Another name, and its addresses.
    Alias(String, Vec<Ipv4Addr>),
}

impl Query {
    /// Reads a standard query with one question; none for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..12)?;
        let is_response = header[2] & 0x80 != 0;
        let is_standard = header[2] & 0x78 == 0;
        if is_response || !is_standard || header[4..6] != [0, 1] {
            return None;
        }
        let (name, end) = read_name(bytes, 12)?;
        let kind = bytes.get(end..end + 2)?;
        let question = bytes.get(12..end + 4)?.to_vec();
        Some(Self {
            name: name.to_ascii_lowercase(),
            kind: u16::from_be_bytes([kind[0], kind[1]]),
            id: [header[0], header[1]],
            recursion_desired: header[2] & 1 != 0,
            question,
        })
    }

    /// The message that answers the query.
    pub fn answer(&self, answer: &Answer) -> Vec<u8> {
        const AUTHORITATIVE: u8 = 4;
        let mut records = Vec::new();
        let mut count = 0u16;
        let code = if *answer == Answer::Missing { 3 } else { 0 };
        // The name that was asked for is at offset 12 of the message.
        let asked = [0xc0, 12];
        let mut add = |owner: &[u8], kind: u16, data: &[u8]| {
            records.extend_from_slice(owner);
            records.extend_from_slice(&kind.to_be_bytes());
            records.extend_from_slice(&[0, 1]);
            records.extend_from_slice(&KEEP_S.to_be_bytes());
            records.extend_from_slice(&(data.len() as u16).to_be_bytes());
            records.extend_from_slice(data);
            count += 1;
        };
        let wanted = matches!(self.kind, ADDRESS | ANY);
        match answer {
            Answer::Missing => {}
            Answer::Addresses(addresses) if wanted => {
                for address in addresses.iter().take(MOST_ADDRESSES) {
                    add(&asked, ADDRESS, &address.octets());
                }
            }
            Answer::Addresses(_) => {}
            Answer::Alias(name, addresses) => {
                let target = write_name(name);
                add(&asked, ALIAS, &target);
                for address in addresses.iter().take(if wanted { MOST_ADDRESSES } else { 0 }) {
                    add(&target, ADDRESS, &address.octets());
                }
            }
        }
        self.message(AUTHORITATIVE, code, count, &records)
    }

    /// The message that says that no answer can be had now.
    pub fn failed(&self) -> Vec<u8> {
        self.message(0, 2, 0, &[])
    }

    /// The same query for another name.
    pub fn asking_for(&self, name: &str) -> Vec<u8> {
        let mut bytes = vec![self.id[0], self.id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(write_name(name));
        bytes.extend(&self.question[self.question.len() - 4..]);
        bytes
    }

    fn message(&self, flags: u8, code: u8, records: u16, bytes: &[u8]) -> Vec<u8> {
        const RESPONSE: u8 = 0x80;
        const RECURSION_AVAILABLE: u8 = 0x80;
        let mut message = vec![self.id[0], self.id[1]];
        message.push(RESPONSE | flags | u8::from(self.recursion_desired));
        message.extend([RECURSION_AVAILABLE | code, 0, 1]);
        message.extend(records.to_be_bytes());
        message.extend([0; 4]);
        message.extend(&self.question);
        message.extend(bytes);
        message
    }
}

/// The addresses in a server's answer.
pub fn addresses(answer: &[u8]) -> Vec<Ipv4Addr> {
    read_addresses(answer).unwrap_or_default()
}

fn read_addresses(bytes: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let header = bytes.get(..12)?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut at = 12;
    for _ in 0..number(4) {
        at = read_name(bytes, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6) {
        at = read_name(bytes, at)?.1;
        let fixed = bytes.get(at..at + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = bytes.get(at + 10..at + 10 + length)?;
        if let ([0, 1], [a, b, c, d]) = (&fixed[..2], data) {
            found.push(Ipv4Addr::new(*a, *b, *c, *d));
        }
        at += 10 + length;
    }
    Some(found)
}

/// Reads the name at `at`: the name, and where what follows it begins.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut end = None;
    // Each step reads a label or follows a pointer; a name has at most 127 labels.
    for _ in 0..255 {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..64 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                if !name.is_empty() {
                    name.push('.');
                }
                // Bytes that are no text cannot be part of a name that is known here.
                name.push_str(&String::from_utf8_lossy(label));
                at += 1 + length;
            }
            192.. => {
                let low = usize::from(*bytes.get(at + 1)?);
                end.get_or_insert(at + 2);
                at = (length & 0x3f) << 8 | low;
            }
            _ => return None,
        }
    }
    None
}

fn write_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.trim_end_matches('.').split('.').filter(|it| !it.is_empty()) {
        // Longer labels cannot be asked for; what is left of one is a name that does not exist.
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(write_name(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn answers_carry_the_question_and_the_addresses() {
        let query = Query::read(&query("Hello.Default", ADDRESS)).unwrap();
        assert_eq!(query.name, "hello.default");
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let answer = query.answer(&Answer::Addresses(vec![one, two]));
        assert_eq!(answer[..8], [7, 8, 0x85, 0x80, 0, 1, 0, 2]);
        assert_eq!(addresses(&answer), [one, two]);
        let alias = query.answer(&Answer::Alias("example.com".to_owned(), vec![two]));
        assert_eq!(addresses(&alias), [two]);
        assert_eq!(query.answer(&Answer::Missing)[3], 0x83);
        assert_eq!(query.failed()[3], 0x82);
        let other = Query::read(&query.asking_for("example.com")).unwrap();
        assert_eq!((other.name.as_str(), other.kind), ("example.com", ADDRESS));
    }

    #[test]
    fn other_types_of_a_name_exist_and_are_empty() {
        let query = Query::read(&query("a.b", 28)).unwrap();
        let answer = query.answer(&Answer::Addresses(vec![Ipv4Addr::LOCALHOST]));
        assert_eq!((answer[3], &answer[6..8]), (0x80, [0, 0].as_slice()));
    }

    #[test]
    fn nonsense_is_no_query() {
        let good = query("a.b", ADDRESS);
        for end in 0..good.len() {
            assert_eq!(Query::read(&good[..end]), None);
        }
        let mut circle = good.clone();
        circle[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(Query::read(&circle), None);
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(Query::read(&response), None);
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] = 0xff;
            // Must not panic, whatever it makes of it.
            let _ = Query::read(&bad).map(|it| it.answer(&Answer::Missing));
            let _ = addresses(&bad);
        }
    }
}
