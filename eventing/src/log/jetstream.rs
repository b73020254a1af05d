//! Logs in NATS JetStream, for brokers whose events outlive their machines: each log is a stream, each record a message.
//!
//! An offset is the server's sequence less one, the date is the server's. The server never uses a sequence twice, also
//! when all records before it are gone. Several processes may append to one log; each learns of the others' records
//! from the call of [`Log::end`] on.
//!
//! An append is answered when the server has acknowledged all its records, which then are where the stream's replicas
//! and the server's `sync_interval` put them: on one server, `sync_interval: always` is what [`Durability::Disk`] asks
//! for; with three replicas, two have them. An append that fails may have left some of its records or all of them in
//! the log, and those of another process may lie between the records of one append. So events come at least once.
//! While a server is away appends wait, [`APPEND_LIMIT`] at most, and then fail.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{
        Context, ContextBuilder, ErrorCode,
        context::{DeleteStreamErrorKind, GetStreamErrorKind},
        stream,
    },
};
use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    AppendError, Batch, Boxed, Durability, Keep, Layout, Log, Offset, RECORD_LIMIT, Record, Store,
    tail::Tail,
};
use publish::{Answer, Publish};

mod follow;
mod get;
mod names;
mod publish;

/// How long an append may take before it fails: a server restarts within this time, and whoever sends an event hears
/// soon enough that it should try again.
pub const APPEND_LIMIT: Duration = Duration::from_secs(5);
/// How long any other question to a server may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Wait before the next try to connect, at most; the first come sooner.
const RECONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of records that may wait for acknowledgement, over all logs, with [`RECORD_COST`] for each record.
const WAITING_LIMIT: usize = 64 << 20;
/// What a record on its way takes in memory besides its bytes.
const RECORD_COST: usize = 512;
/// What a record takes on the server besides its bytes, about: its subject, its date and its sum.
const STORED_COST: usize = 64;
/// How long a read of a record that is on its way waits for it before it asks for it.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// Of what is over a bound of bytes, half goes so many times: the server tells bytes of all records only, and more may
/// stay than must.
const TRIM_ROUNDS: usize = 4;

/// How to reach the servers, and how to keep events there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// URLs of servers of one cluster, at least one: `nats://host:4222`, or `tls://` to insist on TLS. A name and a
    /// password or a token may be in them. Others of the cluster are found through these.
    pub servers: Vec<String>,
    /// A file with a JWT and the seed of a key, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// A file with certificates in PEM of the authorities to trust; without, those of the system.
    pub authorities: Option<PathBuf>,
    /// Files with the client's certificate and its key in PEM, if servers ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The JetStream domain, if it is not that of the servers.
    pub domain: Option<String>,
    /// What names of streams and subjects begin with: platforms that share an account have one each. Letters and digits.
    pub prefix: String,
    /// How many servers keep each record: 1, 3 or 5. Streams that there are stay as they are.
    pub replicas: usize,
}

impl Settings {
    /// One server's or one cluster's usual settings.
    pub fn new(servers: Vec<String>) -> Settings {
        Settings {
            servers,
            credentials: None,
            authorities: None,
            certificate: None,
            domain: None,
            prefix: "weft".to_owned(),
            replicas: 1,
        }
    }
}

/// Logs in JetStream. Clones share the connection.
#[derive(Clone)]
pub struct JetStream(Arc<Connection>);

struct Connection {
    client: Client,
    context: Context,
    settings: Settings,
    /// How often a connection was made.
    connected: watch::Receiver<u64>,
    publisher: mpsc::UnboundedSender<Publish>,
    /// Bytes that wait for acknowledgement.
    waiting: Arc<AtomicUsize>,
}

struct StreamLog {
    shared: Arc<Shared>,
    /// Follows what others append, once somebody has asked for the end.
    follower: Mutex<Option<Follower>>,
}

/// A task that ends when this is dropped.
struct Follower(JoinHandle<()>);

struct Shared {
    connection: Arc<Connection>,
    /// The stream's name.
    name: String,
    subject: async_nats::Subject,
    layout: Layout,
    start: AtomicU64,
    bytes: AtomicU64,
    end: watch::Sender<Offset>,
    tail: Mutex<Tail>,
    /// Up to where the follower has come, if there is one.
    followed: watch::Sender<Option<Offset>>,
}

impl JetStream {
    /// Connects to one of the servers. Fails when none answers or JetStream is not enabled there; afterwards it
    /// connects again as often as it must.
    pub async fn connect(settings: Settings) -> io::Result<JetStream> {
        let at = settings.servers.join(",");
        let failed = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("connect to NATS at {at}: {error}"))
        };
        let connects = watch::Sender::new(0);
        let connected = connects.subscribe();
        let options = options(&settings, connects).await.map_err(|it| failed(&it))?;
        let client = options.connect(&settings.servers).await.map_err(|it| failed(&it))?;
        let builder = ContextBuilder::new();
        let builder = match &settings.domain {
            Some(domain) => builder.domain(domain).timeout(REQUEST_LIMIT),
            None => builder.timeout(REQUEST_LIMIT),
        };
        // What is on its way is bounded by its bytes already.
        let builder = builder.max_ack_inflight(WAITING_LIMIT / RECORD_COST + 1);
        let context = builder.ack_timeout(APPEND_LIMIT).build(client.clone());
        // As text: what servers tell of an account differs from version to version.
        let told: serde_json::Value = context.request("INFO", &()).await.map_err(|error| {
            failed(&format!("{error}; is JetStream enabled there (`jetstream {{}}`)?"))
        })?;
        if let Some(refusal) = told["error"]["description"].as_str() {
            return Err(failed(&format!("{refusal}; is JetStream enabled for this account?")));
        }
        let (publisher, asked) = mpsc::unbounded_channel();
        tokio::spawn(publish::run(context.clone(), asked));
        let waiting = Arc::default();
        let connection = Connection { client, context, settings, connected, publisher, waiting };
        Ok(JetStream(Arc::new(connection)))
    }
}

async fn options(settings: &Settings, connects: watch::Sender<u64>) -> io::Result<ConnectOptions> {
    let mut options = ConnectOptions::new().name("weft");
    if let Some(path) = &settings.credentials {
        options = options.credentials_file(path).await?;
    }
    if let Some(path) = &settings.authorities {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &settings.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let delay = |tries: usize| {
        let tries = u32::try_from(tries).unwrap_or(u32::MAX).min(10);
        Duration::from_millis(10).saturating_mul(1 << tries).min(RECONNECT_LIMIT)
    };
    let told = move |event| {
        match event {
            Event::Connected => connects.send_modify(|it| *it += 1),
            Event::Disconnected => tracing::warn!("lost the connection to NATS; trying again"),
            other => tracing::warn!(event = %other, "NATS"),
        }
        std::future::ready(())
    };
    Ok(options.reconnect_delay_callback(delay).event_callback(told))
}

impl Store for JetStream {
    fn open(&self, name: &str, layout: Layout) -> Boxed<io::Result<Arc<dyn Log>>> {
        let (connection, log) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let settings = &connection.settings;
            let name = names::stream(&settings.prefix, &log);
            let subject = names::subject(&settings.prefix, &log);
            let config = stream::Config {
                name: name.clone(),
                subjects: vec![subject.clone()],
                description: Some(format!("events of Weft: {log}")),
                retention: stream::RetentionPolicy::Limits,
                // Without bounds of its own: Weft forgets what nobody needs. When the account is full, what is new is
                // refused; what was acknowledged stays.
                discard: stream::DiscardPolicy::New,
                storage: stream::StorageType::File,
                num_replicas: settings.replicas,
                allow_direct: true,
                ..stream::Config::default()
            };
            let found = connection.context.get_or_create_stream(config).await;
            let found = found.map_err(|it| failed("open", &name, &it))?;
            let state = &found.cached_info().state;
            let shared = Shared {
                subject: subject.into(),
                layout,
                start: first(state).into(),
                bytes: state.bytes.into(),
                end: watch::Sender::new(state.last_sequence),
                tail: Mutex::default(),
                followed: watch::Sender::new(None),
                name,
                connection,
            };
            let log = StreamLog { shared: Arc::new(shared), follower: Mutex::default() };
            Ok(Arc::new(log) as Arc<dyn Log>)
        })
    }

    fn names(&self) -> Boxed<io::Result<Vec<String>>> {
        let connection = self.0.clone();
        Box::pin(async move {
            let found: Vec<String> = connection
                .context
                .stream_names()
                .try_collect()
                .await
                .map_err(|it| failed("list", "*", &it))?;
            let prefix = &connection.settings.prefix;
            let mut names: Vec<_> = found.iter().filter_map(|it| names::log(prefix, it)).collect();
            names.sort();
            Ok(names)
        })
    }

    fn remove(&self, name: &str) -> Boxed<io::Result<()>> {
        let connection = self.0.clone();
        let name = names::stream(&connection.settings.prefix, name);
        Box::pin(async move {
            let Err(error) = connection.context.delete_stream(&name).await else { return Ok(()) };
            if let DeleteStreamErrorKind::JetStream(its) = error.kind()
                && its.error_code() == ErrorCode::STREAM_NOT_FOUND
            {
                return Err(io::Error::new(io::ErrorKind::NotFound, its));
            }
            Err(failed("remove", &name, &error))
        })
    }
}

impl Log for StreamLog {
    fn append(&self, records: Vec<Bytes>, _: Durability) -> Boxed<Result<Offset, AppendError>> {
        let connection = &self.shared.connection;
        let limit = connection.client.max_payload().min(RECORD_LIMIT);
        if let Some(large) = records.iter().find(|it| it.len() > limit) {
            let error = AppendError::TooLarge { bytes: large.len(), limit };
            return Box::pin(std::future::ready(Err(error)));
        }
        let sum: usize = records.iter().map(Bytes::len).sum();
        // Until the server is asked again this is about what it stores.
        let stored = sum + records.len() * STORED_COST;
        let bytes = sum + records.len() * RECORD_COST;
        let shared = self.shared.clone();
        let answer = Answer::ask(connection, shared.subject.clone(), records, bytes);
        Box::pin(async move {
            let Some(sequences) = answer?.wait().await? else { return Ok(*shared.end.borrow()) };
            shared.raise(*sequences.end());
            shared.bytes.fetch_add(stored as u64, Ordering::Relaxed);
            Ok(sequences.start() - 1)
        })
    }

    fn read(&self, from: Offset, most: usize) -> Boxed<io::Result<Batch>> {
        let end = *self.shared.end.borrow();
        if from >= end {
            let batch = Batch { next: from, ..Batch::default() };
            return Box::pin(std::future::ready(Ok(batch)));
        }
        if let Some(batch) = self.shared.tail.lock().read(from, most) {
            return Box::pin(std::future::ready(Ok(batch)));
        }
        let shared = self.shared.clone();
        Box::pin(async move { shared.read(from, end, most).await })
    }

    fn end(&self) -> watch::Receiver<Offset> {
        let mut follower = self.follower.lock();
        if follower.is_none() {
            let from = *self.shared.end.borrow();
            self.shared.followed.send_replace(Some(from));
            *follower = Some(Follower(tokio::spawn(follow::run(self.shared.clone(), from))));
        }
        self.shared.end.subscribe()
    }

    fn start(&self) -> Offset {
        self.shared.start.load(Ordering::Relaxed)
    }

    fn at(&self, time_ms: i64) -> Boxed<io::Result<Offset>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let state = shared.state().await?;
            shared.seek(&state, time_ms).await
        })
    }

    fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn release(&self, before: Offset) {
        self.shared.tail.lock().release(before);
    }

    fn trim(&self, before: Offset, keep: Keep) -> Boxed<io::Result<()>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.trim(before, keep).await })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// Notes that there are records before `end`, whose append the server has acknowledged.
    fn raise(&self, end: Offset) {
        self.end.send_if_modified(|it| {
            let is_more = end > *it;
            *it = end.max(*it);
            is_more
        });
    }

    async fn read(&self, from: Offset, end: Offset, most: usize) -> io::Result<Batch> {
        let on_its_way = |followed: &Option<Offset>| followed.is_some_and(|it| it <= from);
        let mut followed = self.followed.subscribe();
        if on_its_way(&followed.borrow_and_update()) {
            // The acknowledgement came before the record itself, which is but a moment later.
            let arrival = followed.wait_for(|it| !on_its_way(it));
            if tokio::time::timeout(ON_ITS_WAY, arrival).await.is_ok()
                && let Some(batch) = self.tail.lock().read(from, most)
            {
                return Ok(batch);
            }
        }
        let count = end - from;
        let mut records = self.patient(|| get::records(self, from, count, most)).await?;
        if records.is_empty() {
            return self.ask_leader(from).await;
        }
        records.retain(|it| it.offset < end);
        self.pass_over(from, records.first().map(|it| it.offset));
        let next = records.last().map_or(end, |it| it.offset + 1);
        Ok(Batch { records, next, damaged: 0 })
    }

    /// Reads one record from the stream's leader: a replica that has none may have not got it yet.
    async fn ask_leader(&self, from: Offset) -> io::Result<Batch> {
        // Asked before: what is appended after this is not passed over.
        let state = self.state().await?;
        let records: Vec<Record> = get::from_leader(self, from).await?.into_iter().collect();
        self.pass_over(from, Some(first(&state)));
        let next = records.first().map_or(state.last_sequence.max(from), |it| it.offset + 1);
        Ok(Batch { records, next, damaged: 0 })
    }

    /// Learns from a read at `from` what the oldest record is: another process may have trimmed the log.
    fn pass_over(&self, from: Offset, first: Option<Offset>) {
        if let Some(first) = first
            && from <= self.start.load(Ordering::Relaxed)
        {
            self.start.fetch_max(first, Ordering::Relaxed);
        }
    }

    /// Asks again what the server did not answer because the connection was lost.
    async fn patient<T, F: Future<Output = io::Result<T>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> io::Result<T> {
        let mut connected = self.connection.connected.clone();
        connected.mark_unchanged();
        tokio::select! {
            answer = ask() => return answer,
            Ok(()) = connected.changed() => {}
        }
        ask().await
    }

    async fn state(&self) -> io::Result<stream::State> {
        let found = self.patient(|| async {
            self.connection.context.get_stream(&self.name).await.map_err(|error| {
                let gone = matches!(error.kind(), GetStreamErrorKind::JetStream(it)
                    if it.error_code() == ErrorCode::STREAM_NOT_FOUND);
                let error = failed("ask for", &self.name, &error);
                if gone { io::Error::new(io::ErrorKind::NotFound, error) } else { error }
            })
        });
        Ok(found.await?.cached_info().state.clone())
    }

    /// The first offset whose record, or the one after it that is there, has that date or a later one.
    async fn seek(&self, state: &stream::State, time_ms: i64) -> io::Result<Offset> {
        let (mut low, end) = (first(state), state.last_sequence);
        if state.messages == 0 || millis(state.last_timestamp.unix_timestamp_nanos()) < time_ms {
            return Ok(end);
        }
        if millis(state.first_timestamp.unix_timestamp_nanos()) >= time_ms {
            return Ok(low);
        }
        // The last record has the date or a later one.
        let mut high = end - 1;
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.patient(|| get::records(self, middle, 1, 1)).await?.pop();
            let found = match found {
                Some(record) => Some(record),
                None => get::from_leader(self, middle).await?,
            };
            match found {
                Some(record) if record.time_ms < time_ms => low = record.offset + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    async fn trim(&self, before: Offset, keep: Keep) -> io::Result<()> {
        let mut state = self.state().await?;
        let before = before.min(state.last_sequence);
        let old = self.seek(&state, keep.since_ms).await?.min(before);
        if old > first(&state) {
            state = self.purge(old).await?;
        }
        for _ in 0..TRIM_ROUNDS {
            let excess = state.bytes.saturating_sub(keep.bytes);
            let average = (state.bytes / state.messages.max(1)).max(1);
            let start = first(&state);
            let end = start.saturating_add(excess / average / 2).min(before);
            if end <= start {
                break;
            }
            state = self.purge(end).await?;
        }
        self.start.store(first(&state), Ordering::Relaxed);
        self.bytes.store(state.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Removes what is before `before`.
    async fn purge(&self, before: Offset) -> io::Result<stream::State> {
        let context = &self.connection.context;
        let purged = self.patient(|| async {
            let stream = context.get_stream_no_info(&self.name).await;
            let stream = stream.map_err(|it| failed("trim", &self.name, &it))?;
            let purge = stream.purge().sequence(before + 1);
            purge.await.map_err(|it| failed("trim", &self.name, &it))
        });
        purged.await?;
        self.state().await
    }
}

/// The offset of the oldest record, or the end.
fn first(state: &stream::State) -> Offset {
    match state.messages {
        0 => state.last_sequence,
        _ => state.first_sequence.saturating_sub(1),
    }
}

fn millis(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds.div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

fn failed(what: &str, stream: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what} the stream {stream}: {error}"))
}
