//! What people ask of topics, and do to them, by HTTP: how far subscribers are, what nobody took, what passed, once more.
//!
//! Paths begin with `/brokers/NAMESPACE/NAME` or `/channels/NAMESPACE/NAME`; `GET /topics` lists all.
//! - `GET …` tells of the topic and its subscribers ([`Told`]).
//! - `GET …/events?from=&filter=&follow=true&limit=` gives events, a line of JSON each: `offset`, `time` and `event`.
//! - `GET …/dead` lists dead letters ([`DeadLetter`]), `GET …/dead/NUMBER` gives one with its event, and
//!   `POST …/dead/NUMBER/send` delivers it once more, to the subscriber that did not take it.
//! - `POST …/move` with a [`Move`] shows a subscriber once more what comes from there on.
//!
//! Whoever serves this sees to it that not everybody reaches it: it shows all events.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Weak},
};

use api::cesql::Expression;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use jiff::{SignedDuration, Timestamp};
use proxy::{
    body::Body,
    hop::{Reply, plain},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::{
    dead::Letter,
    dispatcher::{Dispatcher, Kind, Name},
    event::encode,
    log::Offset,
    subscriber::{self, Start},
    topic::{Lag, Shared, Topic, event},
};

/// Bytes of events that are read at once, which is also about what is held for a client that reads slowly.
const READ: usize = 128 << 10;
/// Bytes of a question: a name and a place.
const QUESTION_LIMIT: usize = 16 << 10;

/// Where the topics are found that are open.
pub type Topics = Arc<dyn Fn() -> BTreeMap<Name, Arc<Topic>> + Send + Sync>;

/// Answers what people ask.
pub struct Admin {
    topics: Topics,
}

/// A topic and its subscribers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// `broker` or `channel`.
    pub kind: String,
    /// Where its object is.
    pub namespace: String,
    /// The name of its object.
    pub name: String,
    /// The oldest event that is still there.
    pub start: Offset,
    /// The offset that the next event gets.
    pub end: Offset,
    /// Bytes of the events that are there.
    pub bytes: u64,
    /// By their names for all time.
    pub subscribers: Vec<Lag>,
}

/// An event that nobody took.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its place among the topic's dead letters.
    pub number: Offset,
    /// When it was given up.
    pub time: Timestamp,
    /// Namespace and name of the subscriber.
    pub subscriber: String,
    /// The event's place in the topic.
    pub offset: Offset,
    /// Who did not take it, as a URL.
    pub destination: String,
    /// The last status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The beginning of the last answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The event's id.
    pub id: String,
    /// The event's source.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event, as a structured CloudEvent; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
}

/// Where a subscriber is to go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Namespace and name of the subscriber, or its name for all time.
    pub subscriber: String,
    /// `earliest`, `latest`, an offset, a date, or for how long back (`10m`).
    pub from: String,
}

/// Where a subscriber is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The event that it is shown next.
    pub offset: Offset,
    /// The offset that the next event gets.
    pub end: Offset,
}

/// One event of a topic, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its place.
    pub offset: Offset,
    /// When it was taken in.
    pub time: Timestamp,
    /// The event, as a structured CloudEvent.
    pub event: Box<RawValue>,
}

/// Why there is no answer.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Admin {
    /// Answers for these topics.
    pub fn new(topics: Topics) -> Arc<Admin> {
        Arc::new(Admin { topics })
    }

    /// Answers for the topics of `dispatcher`.
    pub fn of(dispatcher: &Arc<Dispatcher>) -> Arc<Admin> {
        let dispatcher = dispatcher.clone();
        Admin::new(Arc::new(move || {
            let topics = dispatcher.topics().into_iter();
            topics.map(|(name, opened)| (name, opened.topic.clone())).collect()
        }))
    }

    /// Answers one request, whose target is a path.
    pub fn answer(self: &Arc<Self>, request: Request<Body>) -> Reply {
        let admin = self.clone();
        Box::pin(async move {
            match admin.ask(request).await {
                Ok(response) => response,
                Err(Refusal(code, text)) => plain(code, format!("{text}\n")),
            }
        })
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (kind, namespace, name, rest) = match &*parts {
            ["topics"] => {
                is(&head.method, Method::GET)?;
                let told: Vec<_> =
                    (self.topics)().iter().map(|(name, it)| tell(name, it)).collect();
                return Ok(json(&told));
            }
            ["brokers", namespace, name, rest @ ..] => (Kind::Broker, namespace, name, rest),
            ["channels", namespace, name, rest @ ..] => (Kind::Channel, namespace, name, rest),
            _ => return Err(nothing_at(path)),
        };
        let name = Name { kind, key: runtime::cluster::Key::new(namespace, name) };
        let topic = (self.topics)().remove(&name).ok_or_else(|| {
            let what = word(kind);
            let text = format!("there is no {what} {} that is ready", name.key);
            Refusal(StatusCode::NOT_FOUND, text)
        })?;
        match *rest {
            [] => {
                is(&head.method, Method::GET)?;
                Ok(json(&tell(&name, &topic)))
            }
            ["events"] => {
                is(&head.method, Method::GET)?;
                events(&topic, head.uri.query().unwrap_or_default()).await
            }
            ["move"] => {
                is(&head.method, Method::POST)?;
                go(&topic, body).await
            }
            ["dead"] => {
                is(&head.method, Method::GET)?;
                let letters = letters(&topic).await?;
                let listed: Vec<_> = letters.iter().map(show).collect();
                Ok(json(&listed))
            }
            ["dead", number] => {
                is(&head.method, Method::GET)?;
                let letter = letter(&topic, number).await?;
                let event = String::from_utf8(encode::structured(&letter.event)).ok();
                let event = event.and_then(|it| RawValue::from_string(it).ok());
                Ok(json(&DeadLetter { event, ..show(&letter) }))
            }
            ["dead", number, "send"] => {
                is(&head.method, Method::POST)?;
                let letter = letter(&topic, number).await?;
                send(&topic, &letter).await?;
                Ok(json(&show(&letter)))
            }
            _ => Err(nothing_at(path)),
        }
    }
}

/// The place that people mean: `earliest`, `latest`, an offset, a date, or for how long back.
pub fn start(text: &str, now: Timestamp) -> Result<Start, String> {
    if let Ok(offset) = text.parse() {
        return Ok(Start::Offset(offset));
    }
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Ok(date) = text.parse::<Timestamp>() {
        return Ok(Start::Time(date.as_millisecond()));
    }
    let back = text.parse::<SignedDuration>().ok().filter(|it| !it.is_negative());
    let date = back.and_then(|it| now.checked_sub(it).ok());
    date.map(|it| Start::Time(it.as_millisecond())).ok_or_else(|| {
        format!(
            "{text:?} is no place in a topic: write earliest, latest, an offset such as 120, a date such as \
             2026-01-31T12:00:00Z, or for how long back, such as 10m"
        )
    })
}

fn tell(name: &Name, topic: &Topic) -> Told {
    let log = &topic.shared().events;
    Told {
        kind: word(name.kind).to_owned(),
        namespace: name.key.namespace.to_string(),
        name: name.key.name.to_string(),
        start: log.start(),
        end: *log.end().borrow(),
        bytes: log.bytes(),
        subscribers: topic.lags(),
    }
}

/// Moves a subscriber.
async fn go(topic: &Topic, body: Body) -> Result<Response<Body>, Refusal> {
    let body = Limited::new(body, QUESTION_LIMIT).collect().await;
    let body = body.map_err(|it| bad(format!("read the question: {it}")))?.to_bytes();
    let asked: Move = serde_json::from_slice(&body).map_err(|it| {
        bad(format!(r#"the question is not {{"subscriber": "…", "from": "…"}}: {it}"#))
    })?;
    let start = start(&asked.from, topic.shared().clock.now()).map_err(bad)?;
    let lags = topic.lags();
    let found = lags.iter().find(|it| [&it.name, &it.label].contains(&&asked.subscriber));
    let Some(found) = found else {
        let known: Vec<_> = lags.iter().map(|it| &*it.label).collect();
        let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
        let text = format!("nobody of the name {} subscribes here, but {known}", asked.subscriber);
        return Err(Refusal(StatusCode::NOT_FOUND, text));
    };
    let offset =
        topic.move_to(&found.name, start).await.map_err(|it| failed("move the subscriber", &it))?;
    let end = *topic.shared().events.end().borrow();
    Ok(json(&Moved { offset, end }))
}

async fn letters(topic: &Topic) -> Result<Vec<Letter>, Refusal> {
    topic.shared().dead.letters().await.map_err(|it| failed("read the dead letters", &it))
}

async fn letter(topic: &Topic, number: &str) -> Result<Letter, Refusal> {
    let wanted: Offset =
        number.parse().map_err(|_| bad(format!("{number:?} is no number of a dead letter")))?;
    let found = letters(topic).await?.into_iter().find(|it| it.number == wanted);
    found.ok_or_else(|| {
        let text = format!(
            "there is no dead letter {wanted}: it was delivered after all, is too old, or never was"
        );
        Refusal(StatusCode::NOT_FOUND, text)
    })
}

/// Delivers a dead letter once more, and notes that if it was taken.
async fn send(topic: &Topic, letter: &Letter) -> Result<(), Refusal> {
    let about = &letter.about;
    let Some(subscriber) = topic.shared().subscriber(&about.subscriber) else {
        let text = format!(
            "{} subscribes here no more: its dead letters can be read, and sent elsewhere",
            about.label
        );
        return Err(Refusal(StatusCode::CONFLICT, text));
    };
    let delivered = subscriber::deliver(topic.shared(), &subscriber, &letter.event).await;
    delivered.map_err(|it| {
        let text = format!(
            "the dead letter {} was not taken: {}",
            letter.number,
            subscriber::describe(&it)
        );
        Refusal(StatusCode::BAD_GATEWAY, text)
    })?;
    topic.shared().dead.sent(letter.number).await.map_err(|it| {
        let text = format!("the event was delivered, and that could not be noted: {it}");
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

/// A dead letter without its event.
fn show(letter: &Letter) -> DeadLetter {
    let reason = &letter.about.reason;
    let answer = BASE64_STANDARD.decode(&reason.data).unwrap_or_default();
    DeadLetter {
        number: letter.number,
        time: Timestamp::from_millisecond(letter.time_ms).unwrap_or_default(),
        subscriber: letter.about.label.clone(),
        offset: letter.about.offset,
        destination: reason.destination.clone(),
        code: reason.code,
        answer: String::from_utf8_lossy(&answer).into_owned(),
        id: letter.event.id().to_owned(),
        source: letter.event.source().to_owned(),
        kind: letter.event.kind().to_owned(),
        event: None,
    }
}

/// Which events are shown.
#[derive(Default)]
struct Wanted {
    from: Option<Start>,
    filter: Option<Expression>,
    follow: bool,
    /// So many, then no more.
    limit: Option<u64>,
}

impl Wanted {
    fn parse(query: &str, now: Timestamp) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "from" => wanted.from = Some(start(&value, now)?),
                "filter" => {
                    let expression = Expression::parse(&value);
                    let expression =
                        expression.map_err(|it| format!("the filter {value:?}: {it}"))?;
                    wanted.filter = Some(expression);
                }
                "follow" => {
                    let follow = value.parse();
                    wanted.follow =
                        follow.map_err(|_| format!("follow={value} is not true or false"))?;
                }
                "limit" => {
                    let limit = value.parse();
                    wanted.limit = Some(limit.map_err(|_| format!("limit={value} is no number"))?);
                }
                other => {
                    return Err(format!(
                        "{other} is not known: there are from, filter, follow and limit"
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

/// The way through a topic's events. It does not keep the topic open.
struct Tail {
    topic: Weak<Shared>,
    end: watch::Receiver<Offset>,
    at: Offset,
    /// Where it ends, if it does not follow.
    until: Option<Offset>,
    filter: Option<Expression>,
    left: u64,
}

async fn events(topic: &Topic, query: &str) -> Result<Response<Body>, Refusal> {
    let shared = topic.shared();
    let wanted = Wanted::parse(query, shared.clock.now()).map_err(bad)?;
    let end = shared.events.end();
    let last = *end.borrow();
    // Who follows wants what comes, and who does not, what is there.
    let first = if wanted.follow { Start::Latest } else { Start::Earliest };
    let at = crate::topic::place(&*shared.events, wanted.from.unwrap_or(first)).await;
    let tail = Tail {
        topic: Arc::downgrade(shared),
        end,
        at: at.map_err(|it| failed("find the place in the topic", &it))?,
        until: (!wanted.follow).then_some(last),
        filter: wanted.filter,
        left: wanted.limit.unwrap_or(u64::MAX),
    };
    let stream = futures::stream::unfold(tail, Tail::next);
    let mut response = Response::new(Body::new(StreamBody::new(stream)));
    let lines = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, lines);
    Ok(response)
}

impl Tail {
    /// The lines of the next events that are wanted.
    async fn next(mut self) -> Option<(std::io::Result<Frame<Bytes>>, Tail)> {
        while self.left > 0 {
            let topic = self.topic.upgrade()?;
            let end = *self.end.borrow_and_update();
            if self.at >= self.until.unwrap_or(end) {
                drop(topic);
                if self.until.is_some() {
                    return None;
                }
                self.end.changed().await.ok()?;
                continue;
            }
            let batch = match topic.events.read(self.at, READ).await {
                Ok(batch) => batch,
                Err(error) => {
                    self.left = 0;
                    return Some((Err(error), self));
                }
            };
            self.at = batch.next;
            let mut lines = Vec::new();
            for record in batch.records {
                if self.left == 0 || self.until.is_some_and(|it| record.offset >= it) {
                    break;
                }
                // What is damaged was told when it was to be delivered.
                let Ok(event) = event(record.bytes) else { continue };
                // An event on which a filter fails is not wanted, as for Triggers.
                let passes = |it: &Expression| it.matches(&event).unwrap_or(false);
                if !self.filter.as_ref().is_none_or(passes) {
                    continue;
                }
                self.left -= 1;
                let time = Timestamp::from_millisecond(record.time_ms).unwrap_or_default();
                let (offset, event) = (record.offset, encode::structured(&event));
                let _ = write!(lines, r#"{{"offset":{offset},"time":"{time}","event":"#); // Into memory.
                lines.extend_from_slice(&event);
                lines.extend_from_slice(b"}\n");
            }
            if !lines.is_empty() {
                return Some((Ok(Frame::data(lines.into())), self));
            }
            // A filter may pass over much.
            tokio::task::yield_now().await;
        }
        None
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Broker => "broker",
        Kind::Channel => "channel",
    }
}

fn is(method: &Method, wanted: Method) -> Result<(), Refusal> {
    if *method == wanted {
        return Ok(());
    }
    let text = format!("this is asked with {wanted}, not with {method}");
    Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, text))
}

fn nothing_at(path: &str) -> Refusal {
    let text = format!(
        "there is nothing at {path}: paths are /topics and /brokers/NAMESPACE/NAME or /channels/NAMESPACE/NAME, and \
         there /events, /move, /dead, /dead/NUMBER and /dead/NUMBER/send"
    );
    Refusal(StatusCode::NOT_FOUND, text)
}

fn bad(text: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text)
}

fn failed(what: &str, error: &std::io::Error) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{what}: {error}"))
}

fn json(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("texts and numbers are JSON");
    let mut response = Response::new(Body::full(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
