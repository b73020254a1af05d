//! HTTP/1.1: what is taken for a request is one to anybody, and what we write we read the same.

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header};
use proxy::h1::{
    chunk::{Decoder, Step},
    head::{self, Framing, RequestHead},
};
use tests::random::{Random, cases};

/// Pieces that heads are made of, those that are wrong among them.
const LINES: [&str; 28] = [
    "Host: a",
    "Host: b",
    "host:a:80",
    "Content-Length: 3",
    "Content-Length: 0",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "content-length:\t5 ",
    "Content-Length : 3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked ",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding\t: chunked",
    "Connection: close, x-a",
    "Connection: keep-alive, content-length, host, transfer-encoding",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "X-A: b",
    "X-A:",
    " X-Folded: c",
    "X-B: \u{e9}\t \"quoted\"",
    "TE: trailers",
    "Trailer: x",
    "Keep-Alive: 5",
    "X-C: a\rHost: c",
];

fn head_text(random: &mut Random) -> Vec<u8> {
    let first = [
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1",
        "GET http://x:80/y HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET / HTTP/1.0",
        "PURGE /%2e%2e/ HTTP/1.1",
        "GET  / HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "GET / HTTP/2.0",
    ];
    let mut text = format!("{}\r\n", random.pick(&first));
    if !random.once_in(6) {
        text += "Host: a\r\n";
    }
    for _ in 0..random.below(6) {
        text.push_str(random.pick::<&str>(&LINES));
        text += if random.once_in(8) { "\n" } else { "\r\n" };
    }
    text += "\r\n";
    match random.once_in(2) {
        true => text.into_bytes(),
        false => random.damaged(text.as_bytes()),
    }
}

/// The header fields as a simple parser sees them, which splits lines and asks no questions.
fn fields(head: &[u8]) -> Vec<(String, String)> {
    let text: String = head.iter().map(|byte| *byte as char).collect();
    let lines = text.split('\n').skip(1).map(|line| line.strip_suffix('\r').unwrap_or(line));
    let fields = lines.filter(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
    });
    fields.collect()
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|it| it.0 == name).map(|it| it.1.as_str()).collect()
}

#[test]
fn a_request_that_is_taken_is_one_to_anybody() {
    cases("requests", |random| {
        let text = head_text(random);
        // Empty lines before a request are nothing; then the connection cuts heads at the first empty line.
        let begin = text.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
        let text = &text[begin..];
        let Some(end) = head::end(text, 0) else { return };
        let bytes = Bytes::copy_from_slice(&text[..end]);
        let Ok(found) = head::request(&bytes) else { return };
        let shown = String::from_utf8_lossy(&bytes).into_owned();

        // Another parser takes it too, and it ends for that one where it ends for us.
        let mut room = [httparse::EMPTY_HEADER; 64];
        let mut theirs = httparse::Request::new(&mut room);
        assert_eq!(theirs.parse(&bytes), Ok(httparse::Status::Complete(end)), "{shown:?}");
        // Nobody can see other lines in it than we did.
        for (at, byte) in bytes.iter().enumerate() {
            assert!(*byte != 0, "{shown:?}");
            assert!(*byte != b'\r' || bytes[at + 1] == b'\n', "a carriage return alone: {shown:?}");
            let folds = at > 0 && bytes[at - 1] == b'\n' && (*byte == b' ' || *byte == b'\t');
            assert!(!folds, "a folded line: {shown:?}");
        }
        let simple = fields(&bytes);
        assert!(simple.iter().all(|it| !it.0.contains([' ', '\t'])), "{shown:?}");
        // How long it is follows from one field, which everybody reads alike.
        let lengths = values(&simple, "content-length");
        let encodings = values(&simple, "transfer-encoding");
        match found.body {
            Decoder::Done => {
                assert!(encodings.is_empty() && lengths.iter().all(|it| it.parse() == Ok(0)))
            }
            Decoder::Length(length) => {
                assert!(encodings.is_empty(), "{shown:?}");
                let is_plain = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
                assert!(
                    matches!(lengths[..], [it] if is_plain(it) && it.parse() == Ok(length)),
                    "{shown:?}"
                );
            }
            Decoder::Chunked(_) => {
                assert!(lengths.is_empty(), "{shown:?}");
                assert!(
                    matches!(encodings[..], [it] if it.eq_ignore_ascii_case("chunked")),
                    "{shown:?}"
                );
            }
            Decoder::Close => panic!("a request does not end with the connection: {shown:?}"),
        }
        // Whom it is for is one name.
        let hosts = values(&simple, "host");
        let named: Vec<_> = found.request.headers().get_all(header::HOST).iter().collect();
        assert!(hosts.len() <= 1 && named.len() <= 1, "{shown:?}");
        if found.request.version() == http::Version::HTTP_11 {
            assert_eq!(named.len(), 1, "{shown:?}");
        }
        reads_the_same(&found, &shown);
    });
}

/// Writes the request as the next hop gets it, and reads that.
fn reads_the_same(found: &RequestHead, shown: &str) {
    let framing = match found.body {
        _ if found.upgrade => Framing::Upgrade,
        Decoder::Done => Framing::Absent,
        Decoder::Length(length) => Framing::Length(length),
        _ => Framing::Chunked,
    };
    let mut out = Vec::new();
    head::write_request(&mut out, &found.request, framing);
    let end = head::end(&out, 0);
    assert_eq!(end, Some(out.len()), "the head ends where it ends: {shown:?}");
    let sent = String::from_utf8_lossy(&out).into_owned();
    let again =
        head::request(&out.into()).unwrap_or_else(|bad| panic!("{bad}: {sent:?} for {shown:?}"));
    assert_eq!(again.body, found.body, "{sent:?} for {shown:?}");
    assert_eq!(again.upgrade, found.upgrade, "{sent:?} for {shown:?}");
    assert_eq!(again.request.method(), found.request.method());
    let path =
        |head: &RequestHead| head.request.uri().path_and_query().map(|it| it.as_str().to_owned());
    assert_eq!(
        path(&again).as_deref().unwrap_or("/"),
        path(found).as_deref().unwrap_or("/"),
        "{sent:?}"
    );
    let mut wanted = found.request.headers().clone();
    let mut have = again.request.headers().clone();
    for framing in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        wanted.remove(&framing);
        have.remove(&framing);
    }
    if found.request.version() != http::Version::HTTP_11 && !wanted.contains_key(header::HOST) {
        have.remove(header::HOST);
    }
    assert_eq!(have, wanted, "{sent:?} for {shown:?}");
}

#[test]
fn a_response_is_read_as_it_is_written() {
    cases("responses", |random| {
        let mut text = format!(
            "{}\r\n",
            random.pick(&[
                "HTTP/1.1 200 OK",
                "HTTP/1.1 404",
                "HTTP/1.0 200 Fine",
                "HTTP/1.1 204 x",
                "HTTP/1.1 101 y",
                "HTTP/1.1 999 z"
            ])
        );
        for _ in 0..random.below(5) {
            text.push_str(random.pick::<&str>(&LINES));
            text += "\r\n";
        }
        text += "\r\n";
        let bytes =
            if random.once_in(2) { text.into_bytes() } else { random.damaged(text.as_bytes()) };
        let Some(end) = head::end(&bytes, 0) else { return };
        let to_head = random.once_in(4);
        let Ok(found) = head::response(&Bytes::copy_from_slice(&bytes[..end]), to_head) else {
            return;
        };
        let status = found.response.status();
        let framing = match found.body {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => Framing::Upgrade,
            Decoder::Done
                if to_head
                    || status == StatusCode::NO_CONTENT
                    || status == StatusCode::NOT_MODIFIED
                    || status.is_informational() =>
            {
                Framing::Absent
            }
            Decoder::Done => Framing::Length(0),
            Decoder::Length(length) => Framing::Length(length),
            Decoder::Chunked(_) => Framing::Chunked,
            Decoder::Close => Framing::Close,
        };
        let mut out = Vec::new();
        head::write_response(
            &mut out,
            status,
            found.response.headers(),
            framing,
            !found.keep_alive,
        );
        assert_eq!(head::end(&out, 0), Some(out.len()));
        let shown = String::from_utf8_lossy(&out).into_owned();
        let again =
            head::response(&out.into(), to_head).unwrap_or_else(|bad| panic!("{bad}: {shown:?}"));
        assert_eq!(again.body, found.body, "{shown:?}");
        assert_eq!(again.response.status(), status);
        let names = |response: &Response<()>| {
            let framing = [
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::CONNECTION,
                header::PROXY_AUTHENTICATE,
            ];
            let mut headers = response.headers().clone();
            framing.iter().for_each(|it| drop(headers.remove(it)));
            headers
        };
        assert_eq!(names(&again.response), names(&found.response), "{shown:?}");
    });
}

/// Decodes what comes in pieces of such a length: the data, the trailers as text, and what is left for the next message.
fn decode(
    mut decoder: Decoder,
    input: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, String, Vec<u8>), ()> {
    let (mut read, mut data) = (BytesMut::new(), Vec::new());
    let mut pieces = input.chunks(piece.max(1));
    let mut eof = false;
    loop {
        match decoder.step(&mut read, eof).map_err(drop)? {
            Step::Data(bytes) => data.extend_from_slice(&bytes),
            Step::More => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => eof = true,
            },
            end => {
                pieces.for_each(|it| read.extend_from_slice(it));
                let trailers = match end {
                    Step::Trailers(trailers) => format!("{trailers:?}"),
                    _ => String::new(),
                };
                return Ok((data, trailers, read.to_vec()));
            }
        }
    }
}

#[test]
fn a_body_is_the_same_however_it_arrives() {
    cases("bodies", |random| {
        let mut input = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..random.below(4) {
            let data = random.text("abc\r\n0;", 40).into_bytes();
            if data.is_empty() {
                continue;
            }
            let extension = random.pick(&["", "", ";x", ";x=\"y\""]);
            input.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            input.extend_from_slice(&data);
            input.extend_from_slice(b"\r\n");
            wanted.extend_from_slice(&data);
        }
        input.extend_from_slice(b"0\r\n");
        if random.once_in(2) {
            input.extend_from_slice(b"x-check: 1\r\ncontent-length: 9\r\n");
        }
        input.extend_from_slice(b"\r\n");
        let length = input.len();
        input.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let (data, _, rest) = decode(Decoder::chunked(), &input, input.len()).expect("well formed");
        assert_eq!(data, wanted);
        assert_eq!(rest, input[length..], "the next request is whole");

        let odd = random.damaged(&input);
        for decoder in [Decoder::chunked(), Decoder::length(random.below(60) as u64)] {
            let whole = decode(decoder.clone(), &odd, odd.len());
            let pieces = decode(decoder, &odd, 1 + random.below(9));
            assert_eq!(whole, pieces, "{:?}", String::from_utf8_lossy(&odd));
        }
    });
}
