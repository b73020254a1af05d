//! Takes the bytes of a body out of what was read, as its framing says.
//!
//! Pure: the caller reads the socket.
//! Source: RFC 9112 §6 and §7.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::head::Bad;

/// Longest line that announces a chunk: 16 digits, and room for extensions that nobody uses.
const SIZE_LINE: usize = 256;
/// Largest trailer section; gRPC sends a status and a message.
const TRAILERS: usize = 16 * 1024;
/// Most fields in a trailer section.
const TRAILER_COUNT: usize = 64;

/// What is left of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// Nothing.
    Done,
    /// So many bytes; at least 1.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All until the other side closes.
    Close,
}

/// Where in the chunks the reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before the line with a chunk's size.
    Size,
    /// So many bytes before the end of a chunk.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd,
    /// After the last chunk.
    Trailers,
}

/// What a step found.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Bytes of the body; not empty.
    Data(Bytes),
    /// Trailers, after which the body has ended; not empty.
    Trailers(HeaderMap),
    /// The end.
    End,
    /// More must be read first.
    More,
}

impl Decoder {
    /// The decoder for a body of `length` bytes.
    pub fn length(length: u64) -> Decoder {
        if length == 0 { Decoder::Done } else { Decoder::Length(length) }
    }

    /// The decoder for a chunked body.
    pub fn chunked() -> Decoder {
        Decoder::Chunked(Chunk::Size)
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        *self == Decoder::Done
    }

    /// How many bytes are left, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Decoder::Done => Some(0),
            Decoder::Length(length) => Some(*length),
            Decoder::Chunked(_) | Decoder::Close => None,
        }
    }

    /// Takes the next piece out of `read`; `eof` when nothing will follow what is in it.
    pub fn step(&mut self, read: &mut BytesMut, eof: bool) -> Result<Step, Bad> {
        let step = match self {
            Decoder::Done => Step::End,
            Decoder::Length(left) => match take(read, *left) {
                Some(data) => {
                    *left -= data.len() as u64;
                    if *left == 0 {
                        *self = Decoder::Done;
                    }
                    Step::Data(data)
                }
                None => Step::More,
            },
            Decoder::Close => match take(read, u64::MAX) {
                Some(data) => Step::Data(data),
                None if eof => {
                    *self = Decoder::Done;
                    Step::End
                }
                None => Step::More,
            },
            Decoder::Chunked(chunk) => {
                let step = chunk.step(read)?;
                if matches!(step, Step::End | Step::Trailers(_)) {
                    *self = Decoder::Done;
                }
                step
            }
        };
        match step {
            Step::More if eof => Err(Bad::Malformed("the body ended early")),
            step => Ok(step),
        }
    }
}

impl Chunk {
    fn step(&mut self, read: &mut BytesMut) -> Result<Step, Bad> {
        loop {
            match self {
                Chunk::Size => {
                    let Some(end) = memchr::memchr(b'\n', read) else {
                        return more(read.len(), SIZE_LINE, "a chunk's size line is too long");
                    };
                    let size = size(&read[..end])?;
                    read.advance(end + 1);
                    *self = if size == 0 { Chunk::Trailers } else { Chunk::Data(size) };
                }
                Chunk::Data(left) => {
                    let Some(data) = take(read, *left) else { return Ok(Step::More) };
                    *left -= data.len() as u64;
                    if *left == 0 {
                        *self = Chunk::DataEnd;
                        // The usual case: the line end is there already.
                        if read.starts_with(b"\r\n") {
                            read.advance(2);
                            *self = Chunk::Size;
                        }
                    }
                    return Ok(Step::Data(data));
                }
                Chunk::DataEnd => {
                    if read.len() < 2 {
                        return Ok(Step::More);
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(Bad::Malformed("a chunk is longer than its size"));
                    }
                    read.advance(2);
                    *self = Chunk::Size;
                }
                Chunk::Trailers => {
                    if read.starts_with(b"\r\n") {
                        read.advance(2);
                        return Ok(Step::End);
                    }
                    let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") else {
                        return more(read.len(), TRAILERS, "the trailers are too large");
                    };
                    let section = read.split_to(end + 4).freeze();
                    let trailers = trailers(&section)?;
                    return Ok(if trailers.is_empty() {
                        Step::End
                    } else {
                        Step::Trailers(trailers)
                    });
                }
            }
        }
    }
}

/// Up to `most` bytes of `read`, if there are any.
fn take(read: &mut BytesMut, most: u64) -> Option<Bytes> {
    if read.is_empty() {
        return None;
    }
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(read.len());
    Some(read.split_to(count).freeze())
}

fn more(have: usize, limit: usize, why: &'static str) -> Result<Step, Bad> {
    if have > limit { Err(Bad::Malformed(why)) } else { Ok(Step::More) }
}

/// The size in a chunk's line, which is given without its `\n`.
fn size(line: &[u8]) -> Result<u64, Bad> {
    let bad = Err(Bad::Malformed("a chunk has a bad size"));
    let Some(line) = line.strip_suffix(b"\r") else { return bad };
    if line.len() > SIZE_LINE {
        return bad;
    }
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at(digits);
    // 15 digits hold any body that will ever be sent, and cannot overflow.
    if digits == 0 || digits > 15 || rest.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return bad;
    }
    if !rest.is_empty() && rest[0] != b';' {
        return bad;
    }
    Ok(number.iter().fold(0, |size, digit| {
        let digit = (*digit as char).to_digit(16).expect("only hexadecimal digits were counted");
        size * 16 + u64::from(digit)
    }))
}

fn trailers(section: &Bytes) -> Result<HeaderMap, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_COUNT];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields)
    else {
        return Err(Bad::Malformed("the trailers are malformed"));
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_maybe_shared(section.slice_ref(field.value)),
        ) else {
            return Err(Bad::Malformed("the trailers are malformed"));
        };
        // A trailer must not change how the message was framed or routed.
        if ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::TRAILER]
            .contains(&name)
        {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `input` given `piece` bytes at a time.
    fn decode(
        mut decoder: Decoder,
        input: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, HeaderMap), Bad> {
        let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut read = BytesMut::new();
        let mut pieces = input.chunks(piece.max(1));
        let mut eof = false;
        loop {
            match decoder.step(&mut read, eof)? {
                Step::Data(bytes) => data.extend_from_slice(&bytes),
                Step::Trailers(found) => {
                    trailers = found;
                    return Ok((data, trailers));
                }
                Step::End => return Ok((data, trailers)),
                Step::More => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => eof = true,
                },
            }
        }
    }

    #[test]
    fn reads_chunks_and_refuses_what_is_ambiguous() {
        let ok = |input: &str, data: &str| {
            for piece in [1, 2, 3, 1000] {
                let found = decode(Decoder::chunked(), input.as_bytes(), piece);
                assert_eq!(found.expect(input).0, data.as_bytes(), "{input:?}");
            }
        };
        ok("0\r\n\r\n", "");
        ok("5\r\nhello\r\n0\r\n\r\n", "hello");
        ok("5\r\nhello\r\n6;name=value\r\n world\r\n00\r\n\r\n", "hello world");
        ok("A\r\n0123456789\r\n0\r\nx: y\r\n\r\n", "0123456789");
        for input in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "-1\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello",
            "ffffffffffffffff\r\nhello",
            "5\r\nhel",
            "5\r\nhello\r\n0\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "0\r\nbad name: x\r\n\r\n",
        ] {
            for piece in [1, 1000] {
                let found = decode(Decoder::chunked(), input.as_bytes(), piece);
                assert!(found.is_err(), "{input:?} {found:?}");
            }
        }
    }

    #[test]
    fn gives_trailers_but_not_those_that_frame() {
        let input = b"0\r\ngrpc-status: 0\r\nContent-Length: 5\r\n\r\n";
        let (_, trailers) = decode(Decoder::chunked(), input, 7).expect("well formed");
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["grpc-status"], "0");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_bytes(data: Vec<u8>, size in 1usize..50, piece in 1usize..50) {
            let mut input = Vec::new();
            for chunk in data.chunks(size) {
                input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            let found = decode(Decoder::chunked(), &input, piece).expect("well formed");
            prop_assert_eq!(found.0, data);
        }

        #[test]
        fn no_input_panics_or_yields_more_than_it_holds(input: Vec<u8>, piece in 1usize..20, length: u64) {
            for decoder in [Decoder::chunked(), Decoder::length(length), Decoder::Close] {
                if let Ok((data, _)) = decode(decoder, &input, piece) {
                    prop_assert!(data.len() <= input.len());
                }
            }
        }
    }
}
