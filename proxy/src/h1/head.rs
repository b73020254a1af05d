//! Heads of HTTP/1.1 messages: read strictly, written plainly.
//!
//! Pure: bytes to values and back.
//! Source: RFC 9112, RFC 9110 §7.6.1 (hop-by-hop headers).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};

use super::chunk::Decoder;

/// Largest head of a message. Go's servers take 1 MiB; nobody sends 128 KiB who means well, and each
/// connection may make us hold one.
pub const LIMIT: usize = 128 * 1024;
/// Header fields that are parsed on the stack.
const USUAL_COUNT: usize = 64;
/// Most header fields.
const COUNT_LIMIT: usize = 1024;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It is not HTTP, or leaves open where it ends.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its head is larger than [`LIMIT`] or has too many fields.
    #[error("the request's headers are too large")]
    TooLarge,
    /// It asks for something that this hop does not do.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It is of another version of HTTP.
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
}

impl Bad {
    /// The status that says so to a client.
    pub fn status(self) -> StatusCode {
        match self {
            Bad::Malformed(_) => StatusCode::BAD_REQUEST,
            Bad::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Bad::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Bad::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// A request's head: what the request says, and what the connection must know.
#[derive(Debug)]
pub struct RequestHead {
    /// The request without hop-by-hop headers; its target has a path and no authority, and one `Host`
    /// header says whom it is for (HTTP/1.0 may have none).
    pub request: Request<()>,
    /// How its body is framed.
    pub body: Decoder,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client asks to speak another protocol; the `Upgrade` header is then kept.
    pub upgrade: bool,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The response without hop-by-hop headers, except `Upgrade` on 101.
    pub response: Response<()>,
    /// How its body is framed.
    pub body: Decoder,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
}

/// How a written body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, and nothing is said about it.
    Absent,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection.
    Close,
    /// Another protocol follows.
    Upgrade,
}

/// The end of the head in `read`, of which the first `seen` bytes were looked at before.
pub fn end(read: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr::memchr_iter(b'\n', &read[from..]).find_map(|at| {
        let rest = &read[from + at + 1..];
        match rest {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }
    })
}

/// Reads a request's head, which is all of `head`.
pub fn request(head: &Bytes) -> Result<RequestHead, Bad> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_COUNT];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut usual) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![MaybeUninit::uninit(); COUNT_LIMIT];
            let mut parsed = httparse::Request::new(&mut []);
            let status = parsed.parse_with_uninit_headers(head, &mut many);
            finish_request(head, status, &parsed)
        }
        status => finish_request(head, status, &parsed),
    }
}

fn finish_request(
    head: &Bytes,
    status: httparse::Result<usize>,
    parsed: &httparse::Request<'_, '_>,
) -> Result<RequestHead, Bad> {
    complete(status)?;
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| Bad::Malformed("the method is malformed"))?;
    if method == Method::CONNECT {
        return Err(Bad::Unsupported("this is not a forward proxy"));
    }
    let target = head.slice_ref(parsed.path.unwrap_or_default().as_bytes());
    let mut uri = Uri::from_maybe_shared(target)
        .map_err(|_| Bad::Malformed("the request target is malformed"))?;
    let fields = fields(head, parsed.headers)?;
    let mut headers = fields.headers;

    if fields.hosts > 1 || (fields.hosts == 0 && version == Version::HTTP_11) {
        return Err(Bad::Malformed("a request needs one Host header"));
    }
    if let Some(authority) = uri.authority() {
        // A target with an authority overrides Host (RFC 9112 §3.2.2).
        if uri.scheme().is_none() {
            return Err(Bad::Malformed("the request target is malformed"));
        }
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| Bad::Malformed("the request target is malformed"))?;
        headers.insert(header::HOST, host);
        uri = match uri.path_and_query() {
            Some(path) if path.as_str().starts_with('/') => path.clone().into(),
            // A query may follow the authority at once; as a path it needs one (RFC 9112 §3.2.1).
            Some(query) => Uri::try_from(format!("/{}", query.as_str()))
                .map_err(|_| Bad::Malformed("the request target is malformed"))?,
            None => Uri::from_static("/"),
        };
    } else if let Some(host) = headers.get(header::HOST)
        && !host.as_bytes().iter().all(|byte| is_host(*byte))
    {
        return Err(Bad::Malformed("the Host header is malformed"));
    }

    let body = match (fields.transfer_encodings, fields.content_length) {
        (0, None) => Decoder::Done,
        (0, Some(length)) => Decoder::length(length),
        (_, Some(_)) => {
            return Err(Bad::Malformed("a request has Content-Length or Transfer-Encoding"));
        }
        (1, None) if fields.chunked && version == Version::HTTP_11 => Decoder::chunked(),
        _ => return Err(Bad::Malformed("only the transfer encoding chunked is understood")),
    };
    let keep_alive = match version {
        Version::HTTP_11 => !fields.close,
        _ => fields.keep_alive && !fields.close,
    };
    let upgrade = fields.upgrade
        && version == Version::HTTP_11
        && body.is_done()
        // An offer of HTTP/2 may be declined; who knows that we speak it opens with its preface.
        && headers.get(header::UPGRADE).is_some_and(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c"));
    if !upgrade && fields.offers_upgrade {
        headers.remove(header::UPGRADE);
    }
    let expects_continue = fields.expect && version == Version::HTTP_11 && !body.is_done();

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(RequestHead { request, body, keep_alive, expects_continue, upgrade })
}

/// Reads a response's head, which is all of `head`. `to_head` says that it answers a HEAD request.
pub fn response(head: &Bytes, to_head: bool) -> Result<ResponseHead, Bad> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_COUNT];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut usual) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![MaybeUninit::uninit(); COUNT_LIMIT];
            let mut parsed = httparse::Response::new(&mut []);
            let status = config.parse_response_with_uninit_headers(&mut parsed, head, &mut many);
            finish_response(head, status, &parsed, to_head)
        }
        status => finish_response(head, status, &parsed, to_head),
    }
}

fn finish_response(
    head: &Bytes,
    status: httparse::Result<usize>,
    parsed: &httparse::Response<'_, '_>,
    to_head: bool,
) -> Result<ResponseHead, Bad> {
    complete(status)?;
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|_| Bad::Malformed("the status is malformed"))?;
    let fields = fields(head, parsed.headers)?;
    let mut headers = fields.headers;
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    if fields.offers_upgrade && !switching {
        headers.remove(header::UPGRADE);
    }
    let bodiless = to_head
        || (status.is_informational() && !switching)
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let mut keep_alive = match parsed.version {
        Some(1) => !fields.close,
        _ => fields.keep_alive && !fields.close,
    };
    let body = match (fields.transfer_encodings, fields.content_length) {
        _ if switching => Decoder::Close,
        _ if bodiless => Decoder::Done,
        (0, Some(length)) => Decoder::length(length),
        (0, None) => Decoder::Close,
        (1, length) if fields.chunked => {
            // Both: the encoding counts, and the connection is not trusted further.
            if length.is_some() {
                headers.remove(header::CONTENT_LENGTH);
                keep_alive = false;
            }
            Decoder::chunked()
        }
        _ => return Err(Bad::Unsupported("only the transfer encoding chunked is understood")),
    };
    keep_alive &= body != Decoder::Close;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(ResponseHead { response, body, keep_alive })
}

/// Appends the head of `request` to `out`. Headers that frame the body are `framing`'s business.
pub fn write_request<B>(out: &mut Vec<u8>, request: &Request<B>, framing: Framing) {
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    match request.uri().path_and_query() {
        Some(path) if !path.as_str().is_empty() => out.extend_from_slice(path.as_str().as_bytes()),
        _ => out.push(b'/'),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !request.headers().contains_key(header::HOST) {
        // HTTP/1.1 needs the header, and a client of HTTP/1.0 need not have sent one.
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        write_field(out, b"host", authority.as_bytes());
    }
    write_fields(out, request.headers(), framing);
    match framing {
        Framing::Absent | Framing::Close => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Upgrade => out.extend_from_slice(b"connection: upgrade\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a response to `out`. With [`Framing::Absent`], a `Content-Length` among the
/// headers is kept: it tells what a GET would have had.
pub fn write_response(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    close: bool,
) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write_fields(out, headers, framing);
    match framing {
        Framing::Absent => {
            if let Some(length) = headers.get(header::CONTENT_LENGTH) {
                write_field(out, b"content-length", length.as_bytes());
            }
        }
        Framing::Close => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Upgrade => out.extend_from_slice(b"connection: upgrade\r\n"),
    }
    if close && framing != Framing::Upgrade {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body with `trailers`.
pub fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    write_fields(out, trailers, Framing::Chunked);
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before a chunk of `length` bytes.
pub fn write_chunk_size(out: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(DIGITS[length >> (place * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap, framing: Framing) {
    for (name, value) in headers {
        match *name {
            header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::CONNECTION
            | header::PROXY_AUTHENTICATE => continue,
            header::UPGRADE if framing != Framing::Upgrade => continue,
            _ => write_field(out, name.as_str().as_bytes(), value.as_bytes()),
        }
    }
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), length);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

fn complete(status: httparse::Result<usize>) -> Result<(), Bad> {
    match status {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Ok(httparse::Status::Partial) => Err(Bad::Malformed("the head is malformed")),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::TooLarge),
        Err(httparse::Error::Version) => Err(Bad::Version),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            Err(Bad::Malformed("a header is malformed"))
        }
        Err(_) => Err(Bad::Malformed("the head is malformed")),
    }
}

/// Header fields, without those that end at this hop, and what those said.
#[derive(Default)]
struct Fields {
    headers: HeaderMap,
    hosts: usize,
    content_length: Option<u64>,
    transfer_encodings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    offers_upgrade: bool,
    expect: bool,
}

fn fields(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<Fields, Bad> {
    let mut fields =
        Fields { headers: HeaderMap::with_capacity(parsed.len() + 4), ..Fields::default() };
    // Names that a Connection header makes hop-by-hop; rarely any.
    let mut listed: Vec<HeaderName> = Vec::new();
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Bad::Malformed("a header is malformed"))?;
        match name {
            header::CONNECTION => {
                for token in field.value.split(|byte| *byte == b',') {
                    let token = token.trim_ascii();
                    if token.eq_ignore_ascii_case(b"keep-alive") {
                        fields.keep_alive = true;
                    } else if token.eq_ignore_ascii_case(b"close") {
                        fields.close = true;
                    } else if token.eq_ignore_ascii_case(b"upgrade") {
                        fields.upgrade = true;
                    } else if let Ok(name) = HeaderName::from_bytes(token)
                        && listed.len() < USUAL_COUNT
                    {
                        listed.push(name);
                    }
                }
                continue;
            }
            header::TRANSFER_ENCODING => {
                fields.transfer_encodings += 1;
                fields.chunked = field.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                continue;
            }
            header::TE => {
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"trailers") {
                    continue;
                }
            }
            header::CONTENT_LENGTH => {
                if fields.content_length.is_some() {
                    return Err(Bad::Malformed("there is more than one Content-Length"));
                }
                fields.content_length = Some(length(field.value)?);
            }
            header::PROXY_AUTHORIZATION | header::PROXY_AUTHENTICATE => continue,
            header::HOST => fields.hosts += 1,
            header::UPGRADE => fields.offers_upgrade = true,
            header::EXPECT => {
                if field.value.eq_ignore_ascii_case(b"100-continue") {
                    fields.expect = true;
                }
            }
            _ => {
                if matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings") {
                    continue;
                }
            }
        }
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| Bad::Malformed("a header is malformed"))?;
        fields.headers.try_append(name, value).map_err(|_| Bad::TooLarge)?;
    }
    for name in listed {
        // What frames and routes the message stays, whatever the list says.
        if ![header::HOST, header::CONTENT_LENGTH, header::TE].contains(&name) {
            fields.headers.remove(name);
        }
    }
    Ok(fields)
}

/// Digits and nothing else: no sign, no list, no overflow.
fn length(value: &[u8]) -> Result<u64, Bad> {
    let bad = Bad::Malformed("Content-Length is not a number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(bad)
}

/// Characters of a host and port (RFC 3986 §3.2.2), without user information.
fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(head: &str) -> Result<RequestHead, Bad> {
        request(&Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn refuses_what_could_be_smuggled() {
        for (head, status) in [
            // Two lengths, or a length and an encoding: who is behind us may take the other.
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            // Encodings that are not exactly chunked.
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer\tEncoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: y\0\r\n\r\n", 400),
            // Hosts.
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
            // Lines.
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 505),
            ("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 505),
            ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ] {
            match read(head) {
                Err(bad) => assert_eq!(bad.status(), status, "{head:?} {bad:?}"),
                Ok(found) => panic!("{head:?} became {found:?}"),
            }
        }
    }

    #[test]
    fn ends_hop_by_hop_headers_here() {
        let head = read(
            "GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: x-mine, close\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             TE: gzip\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\nX-Other: 2\r\n\r\n",
        )
        .expect("well formed");
        let mut names: Vec<_> = head.request.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "x-other"]);
        assert!(!head.keep_alive && !head.upgrade);
    }

    #[test]
    fn knows_how_long_a_connection_lasts() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(read(head).expect(head).keep_alive, keep_alive, "{head:?}");
        }
    }

    #[test]
    fn takes_the_host_from_an_absolute_target() {
        let head = read("GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n\r\n").expect("well formed");
        assert_eq!(head.request.headers()["host"], "b:80");
        assert_eq!(head.request.uri(), "/c?d");
        for (target, path) in [("http://b", "/"), ("http://b?d", "/?d"), ("http://b/", "/")] {
            let head = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let mut out = Vec::new();
            write_request(&mut out, &head.expect("well formed").request, Framing::Absent);
            let wanted = format!("GET {path} HTTP/1.1\r\nhost: b\r\n\r\n");
            assert_eq!(String::from_utf8(out).expect("text"), wanted, "{target}");
        }
    }

    #[test]
    fn keeps_an_upgrade_whole() {
        let head = read(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .expect("well formed");
        assert!(head.upgrade);
        let mut out = Vec::new();
        write_request(&mut out, &head.request, Framing::Upgrade);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        );
    }

    #[test]
    fn frames_responses() {
        for (head, to_head, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, Ok(Decoder::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, Ok(Decoder::Done)),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, Ok(Decoder::Done)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, Ok(Decoder::Done)),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Ok(Decoder::Close)),
            ("HTTP/1.1 200\r\n\r\n", false, Ok(Decoder::Close)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
                Ok(Decoder::chunked()),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, Err(())),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", false, Err(())),
            ("HTTP/1.1 99 Odd\r\n\r\n", false, Err(())),
        ] {
            let found = response(&Bytes::copy_from_slice(head.as_bytes()), to_head);
            assert_eq!(found.map(|head| head.body).map_err(|_| ()), body, "{head:?}");
        }
    }

    #[test]
    fn writes_sizes_in_hexadecimal() {
        for length in [0, 1, 9, 10, 15, 16, 255, 256, 65535, 1 << 40] {
            let mut out = Vec::new();
            write_chunk_size(&mut out, length);
            assert_eq!(String::from_utf8(out).expect("text"), format!("{length:x}\r\n"));
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(mut input: Vec<u8>) {
            input.extend_from_slice(b"\r\n\r\n");
            let input = Bytes::from(input);
            let _ = request(&input);
            let _ = response(&input, false);
        }

        #[test]
        fn what_is_written_reads_the_same(path in "/[a-z0-9]{0,20}", value in "[ -~]{0,40}", length: u64) {
            let mut request = Request::new(());
            *request.uri_mut() = path.parse().expect("a path");
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("a"));
            request.headers_mut().insert("x-value", HeaderValue::from_str(value.trim()).expect("visible"));
            let mut out = Vec::new();
            let length = length / 2;
            write_request(&mut out, &request, Framing::Length(length));
            let found = super::request(&Bytes::from(out)).expect("we read what we write");
            prop_assert_eq!(found.request.uri().path(), path);
            prop_assert_eq!(&found.request.headers()["x-value"], value.trim());
            prop_assert_eq!(found.body, Decoder::length(length));
        }

        #[test]
        fn finds_the_end_however_it_arrives(text in "[ab:\r\n]{0,60}", cut in 0usize..60) {
            let whole = end(text.as_bytes(), 0);
            let cut = cut.min(text.len());
            let found = end(&text.as_bytes()[..cut], 0).or_else(|| end(text.as_bytes(), cut));
            prop_assert_eq!(found, whole);
        }
    }
}
