//! The request log: a line for each request that the queue answered, as a template says.
//!
//! Requests never wait for it. When one ends, what the template may look at goes into a bounded line to whoever writes
//! the log, who fills the template in; what does not fit is left out and counted.
//! Source: knative/serving `pkg/http/request_log.go`, `pkg/http/trace.go`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::{
    go::{
        format_float,
        template::{HEADER, Object, Template, Value, canonical, owned, text},
    },
    queue::Settings,
};
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version, header};
use tokio::{sync::mpsc, time::Instant};

use super::{FORWARDED_FOR, is_probe, prepare};
use crate::{body::Body, tls::Session};

/// Requests that may wait to be written: a second's worth for most services, a few MB at the worst.
const WAITING: usize = 512;
/// Bytes after which lines are handed out together.
const BATCH: usize = 32 << 10;
/// Between two warnings that lines were left out.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// Go's type of what was agreed on in TLS.
const AGREED: &str = "*tls.ConnectionState";
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");

/// Where a queue's requests go when they have ended.
pub(super) struct RequestLog {
    probes: bool,
    ended: mpsc::Sender<Box<Entry>>,
    left_out: Arc<AtomicU64>,
}

/// The lines of a queue's request log. Dropped, or not read, it only means that lines are left out.
pub struct Lines {
    template: Template,
    settings: Settings,
    ended: mpsc::Receiver<Box<Entry>>,
    left_out: Arc<AtomicU64>,
    /// What was left out when that was last said, and when.
    said: (u64, Option<Instant>),
}

/// What the template may look at.
#[derive(Debug)]
pub(super) struct Entry {
    method: Method,
    target: Uri,
    version: Version,
    headers: HeaderMap,
    /// Bytes of the request's body; −1 when nobody knew.
    length: i64,
    remote: Option<SocketAddr>,
    tls: Option<Arc<Session>>,
    code: u16,
    size: u64,
    latency: Duration,
}

#[derive(Debug)]
struct Url<'e>(&'e Uri);

/// What was agreed on in TLS, as Go's `tls.ConnectionState` shows it.
#[derive(Debug)]
struct Agreed<'e>(&'e Session);

/// A log and its lines, if `settings` want one.
pub(super) fn open(settings: &Settings) -> Option<(Arc<RequestLog>, Lines)> {
    let mut source = settings.request_log_template.clone();
    if source.is_empty() {
        return None;
    }
    if !source.ends_with('\n') {
        source.push('\n');
    }
    let template = match Template::parse("requestLog", &source) {
        Ok(template) => template,
        Err(error) => {
            // Admission refuses such a template; requests are more than their log.
            tracing::error!(%error, revision = settings.revision, "no request log");
            return None;
        }
    };
    let (sender, ended) = mpsc::channel(WAITING);
    let left_out = Arc::<AtomicU64>::default();
    let log = RequestLog { probes: settings.log_probes, ended: sender, left_out: left_out.clone() };
    let settings = settings.clone();
    Some((Arc::new(log), Lines { template, settings, ended, left_out, said: (0, None) }))
}

impl RequestLog {
    /// Notes a request that arrives, unless it is one that is not logged.
    pub(super) fn begin(
        &self,
        request: &Request<Body>,
        remote: Option<SocketAddr>,
    ) -> Option<Box<Entry>> {
        if !self.probes && is_probe(request.headers()) {
            return None;
        }
        let length = request.body().exact().map(|length| i64::try_from(length).unwrap_or(i64::MAX));
        Some(Box::new(Entry {
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            length: length.unwrap_or(-1),
            remote,
            tls: request.extensions().get().cloned(),
            code: 0,
            size: 0,
            latency: Duration::ZERO,
        }))
    }

    /// Takes a request that has ended, with its response.
    pub(super) fn ended(&self, mut entry: Box<Entry>, code: u16, size: u64, latency: Duration) {
        (entry.code, entry.size, entry.latency) = (code, size, latency);
        if self.ended.try_send(entry).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were left out, as the log was not written fast enough.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

impl Lines {
    /// Waits for the next lines, and takes those that are there together. None when the queue is gone and all its lines
    /// were given out.
    pub async fn next(&mut self) -> Option<String> {
        let first = self.ended.recv().await?;
        let mut lines = String::new();
        self.add(*first, &mut lines);
        while lines.len() < BATCH
            && let Ok(entry) = self.ended.try_recv()
        {
            self.add(*entry, &mut lines);
        }
        let left_out = self.left_out.load(Ordering::Relaxed);
        let (said, when) = self.said;
        if left_out > said && when.is_none_or(|when| when.elapsed() >= WARN_PERIOD) {
            self.said = (left_out, Some(Instant::now()));
            let (lines, Settings { revision, pod, .. }) = (left_out - said, &self.settings);
            tracing::warn!(
                revision,
                pod,
                lines,
                "left out of the request log: it is not written fast enough"
            );
        }
        Some(lines)
    }

    /// No more lines come from now on, but those that are there.
    pub fn close(&mut self) {
        self.ended.close();
    }

    fn add(&self, mut entry: Entry, to: &mut String) {
        // As the container sees them.
        let host = entry.headers.get(header::HOST).cloned();
        prepare(&mut entry.headers);
        let host = entry.headers.remove(header::HOST).or(host);
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let request = Shown {
            entry: &entry,
            url: Url(&entry.target),
            tls: entry.tls.as_deref().map(Agreed),
            host: host.unwrap_or_default(),
        };
        let settings = &self.settings;
        let latency = entry.latency.as_secs_f64();
        let code = i64::from(entry.code);
        let input = Value::Struct(
            "*http.RequestLogTemplateInput",
            vec![
                ("Request", Value::Object(&request)),
                (
                    "Response",
                    Value::Struct(
                        "*http.RequestLogResponse",
                        vec![
                            ("Code", Value::Int(code)),
                            ("Size", Value::Int(i64::try_from(entry.size).unwrap_or(i64::MAX))),
                            ("Latency", Value::Float(latency)),
                        ],
                    ),
                ),
                (
                    "Revision",
                    Value::Struct(
                        "*http.RequestLogRevision",
                        vec![
                            ("Name", text(&settings.revision)),
                            ("Namespace", text(&settings.namespace)),
                            ("Service", text(&settings.service)),
                            ("Configuration", text(&settings.configuration)),
                            ("PodName", text(&settings.pod)),
                            ("PodIP", text(&settings.pod_ip)),
                        ],
                    ),
                ),
                ("TraceID", text(trace_id(&entry.headers))),
            ],
        );
        match self.template.render(&input) {
            Ok(line) => to.push_str(&line),
            Err(_) => to.push_str(&format!(
                "Invalid request log template: method: {}, response code: {code}, latency: {}, url: {}\n",
                entry.method,
                format_float(latency),
                entry.target
            )),
        }
    }
}

/// A request as Go's `http.Request` shows it.
#[derive(Debug)]
struct Shown<'e> {
    entry: &'e Entry,
    url: Url<'e>,
    tls: Option<Agreed<'e>>,
    host: String,
}

impl Shown<'_> {
    fn header(&self, name: HeaderName) -> Value<'_> {
        text(word(&self.entry.headers, name))
    }
}

impl Object for Shown<'_> {
    fn kind(&self) -> &'static str {
        "*http.Request"
    }

    fn get<'v>(&'v self, name: &str, arguments: &[Value<'v>]) -> Option<Result<Value<'v>, String>> {
        let entry = self.entry;
        let (proto, major, minor) = match entry.version {
            Version::HTTP_2 => ("HTTP/2.0", 2, 0),
            Version::HTTP_10 => ("HTTP/1.0", 1, 0),
            _ => ("HTTP/1.1", 1, 1),
        };
        let none = || Value::Lists("url.Values", Arc::default());
        Some(Ok(match (name, arguments) {
            ("Method", []) => text(entry.method.as_str()),
            ("URL", []) => Value::Object(&self.url),
            ("RequestURI", []) => owned(entry.target.to_string()),
            ("Proto", []) => text(proto),
            ("ProtoMajor", []) => Value::Int(major),
            ("ProtoMinor", []) => Value::Int(minor),
            ("ProtoAtLeast", [Value::Int(wanted), Value::Int(least)]) => {
                Value::Bool((major, minor) >= (*wanted, *least))
            }
            ("Host", []) => text(&self.host),
            ("Header", []) => lists(&entry.headers),
            ("ContentLength", []) => Value::Int(entry.length),
            ("TransferEncoding", []) if entry.length < 0 => Value::List(vec![text("chunked")]),
            ("TransferEncoding", []) => Value::List(Vec::new()),
            ("RemoteAddr", []) => match entry.remote {
                Some(remote) => owned(remote.to_string()),
                // Within one process the client of the gateway is the client of the queue.
                None => text(last_hop(&entry.headers)),
            },
            ("UserAgent", []) => self.header(header::USER_AGENT),
            ("Referer", []) => self.header(header::REFERER),
            ("FormValue" | "PostFormValue", [key]) => {
                let found = query(entry.target.query().unwrap_or_default());
                let found = found.get(&key.to_string()).and_then(|values| values.first());
                let found = found.filter(|_| name == "FormValue");
                owned(found.map_or("", String::as_str))
            }
            ("Form" | "PostForm", []) => none(),
            ("Trailer", []) => Value::Lists(HEADER, Arc::default()),
            ("Close", []) => Value::Bool(false),
            ("Pattern", []) => text(""),
            ("TLS", []) => match &self.tls {
                Some(agreed) => Value::Object(agreed),
                None => Value::Nil(AGREED),
            },
            ("MultipartForm" | "Response" | "Cancel", []) => Value::Missing,
            _ => return None,
        }))
    }

    fn shown(&self) -> String {
        format!("{} {}", self.entry.method, self.entry.target)
    }
}

impl Object for Url<'_> {
    fn kind(&self) -> &'static str {
        "*url.URL"
    }

    fn get<'v>(&'v self, name: &str, arguments: &[Value<'v>]) -> Option<Result<Value<'v>, String>> {
        let raw = self.0.query().unwrap_or_default();
        Some(Ok(match (name, arguments) {
            ("Path", []) => owned(unescaped(self.0.path(), false)),
            ("EscapedPath", []) => text(self.0.path()),
            ("RawQuery", []) => text(raw),
            ("Query", []) => Value::Lists("url.Values", Arc::new(query(raw))),
            ("String" | "RequestURI", []) => owned(self.shown()),
            // Requests name a path; their host is theirs.
            ("Scheme" | "Host" | "Hostname" | "Port" | "Fragment" | "RawPath" | "Opaque", []) => {
                text("")
            }
            _ => return None,
        }))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Object for Agreed<'_> {
    fn kind(&self) -> &'static str {
        AGREED
    }

    fn get<'v>(&'v self, name: &str, arguments: &[Value<'v>]) -> Option<Result<Value<'v>, String>> {
        Some(Ok(match (name, arguments) {
            ("Version", []) => Value::Int(self.0.version.into()),
            ("HandshakeComplete" | "NegotiatedProtocolIsMutual", []) => Value::Bool(true),
            ("DidResume", []) => Value::Bool(self.0.is_resumed),
            ("CipherSuite", []) => Value::Int(self.0.suite.into()),
            ("NegotiatedProtocol", []) => text(&self.0.protocol),
            ("ServerName", []) => text(&self.0.server_name),
            _ => return None,
        }))
    }

    fn shown(&self) -> String {
        let Session { version, suite, protocol, server_name, is_resumed } = self.0;
        // Clients show no certificates.
        format!("{{{version} true {is_resumed} {suite} {protocol} true {server_name} [] []}}")
    }
}

fn lists(headers: &HeaderMap) -> Value<'static> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        lists.entry(canonical(name.as_str())).or_default().push(value);
    }
    Value::Lists(HEADER, Arc::new(lists))
}

/// The values of a query by name.
fn query(raw: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.entry(unescaped(name, true)).or_default().push(unescaped(value, true));
    }
    found
}

/// `%41` as `A`; in queries also `+` as a space. What is not valid stays as it is.
fn unescaped(text: &str, in_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                &after[2..]
            }
            (b'+', _) if in_query => {
                bytes.push(b' ');
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text of a header; nothing when it is absent or no text.
fn word(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn last_hop(headers: &HeaderMap) -> &str {
    word(headers, FORWARDED_FOR).rsplit(',').next().unwrap_or_default().trim()
}

/// Of W3C's trace context, or else of B3's.
fn trace_id(headers: &HeaderMap) -> &str {
    match word(headers, TRACE_PARENT).split('-').nth(1) {
        Some(id) => id,
        None => word(headers, B3_TRACE),
    }
}
