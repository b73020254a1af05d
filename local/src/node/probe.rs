//! Asks containers whether they have started, are ready, are alive.
//!
//! Source: kubernetes `pkg/kubelet/prober`, `pkg/probe`.

use std::{sync::Arc, time::Duration};

use api::headers;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use proxy::{
    body::Body,
    hop::{Boxed, Protocol, SendError},
    queue::Queue,
    upstream,
};

use tokio::time::Instant;

use crate::node::reach::Door;

/// First wait between tries before a container has ever answered: a cold start waits for its end, and a
/// refused connection costs microseconds.
const FIRST_STEP: Duration = Duration::from_millis(1);
/// Tries at the first step; then the steps grow by half to `SLOWEST_STEP`.
const FIRST_STEPS: u32 = 60;
/// Between tries of a queue's probe that has not passed for long, so that a container which takes minutes
/// costs nothing to speak of.
const SLOWEST_STEP: Duration = Duration::from_millis(50);
/// Who asks, as kubelet says it.
const AGENT: &str = "kube-probe/1.36";
/// Most bytes of an answer that are read: only the status counts, and gRPC health fits.
const LARGEST_ANSWER: usize = 10 << 10;

/// Runs a command in a container: Ok when it exits with 0, else its output.
pub type Execute = Arc<dyn Fn(ExecAction) -> Boxed<Result<(), String>> + Send + Sync>;

/// What is asked, and whom.
#[derive(Clone)]
pub struct Target {
    pub door: Arc<Door>,
    pub execute: Execute,
    /// Resolves names of ports.
    pub container: Arc<Container>,
}

/// How often and how patiently to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub successes: u32,
    pub failures: u32,
}

impl Pace {
    /// The probe's own numbers, or the API's defaults.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(default),
            )
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(default)
        };
        Self {
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }
}

/// What a [`Watch`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer settled: true after enough successes in a row, false after enough failures.
    Settled(bool),
    /// A failure that counts.
    Failed(String),
}

/// Asks a container for as long as someone listens.
pub struct Watch {
    target: Target,
    probe: Probe,
    pace: Pace,
    settled: Option<bool>,
    successes: u32,
    failures: u32,
    /// Wait before the next try. Until the first success it is shorter than the period, so that the success
    /// is seen soon; the failures in between do not count.
    step: Duration,
    next_counts: Instant,
}

impl Watch {
    /// Begins after the probe's delay.
    pub fn new(target: Target, probe: Probe) -> Self {
        let pace = Pace::of(&probe);
        Self {
            target,
            probe,
            pace,
            settled: None,
            successes: 0,
            failures: 0,
            step: pace.delay,
            next_counts: Instant::now() + pace.delay,
        }
    }

    /// Waits for the next thing to tell.
    pub async fn next(&mut self) -> Heard {
        if self.failures >= self.pace.failures && self.settled != Some(false) {
            self.settled = Some(false);
            return Heard::Settled(false);
        }
        loop {
            tokio::time::sleep(self.step).await;
            let asked = tokio::time::timeout(self.pace.timeout, once(&self.target, &self.probe));
            let answer = asked
                .await
                .unwrap_or_else(|_| Err(format!("probe timed out after {:?}", self.pace.timeout)));
            let now = Instant::now();
            let counts = now >= self.next_counts;
            if counts {
                self.next_counts = now + self.pace.period;
            }
            self.step = match (&answer, self.settled) {
                (_, Some(true)) => self.pace.period,
                (Ok(()), _) if self.successes + 1 >= self.pace.successes => self.pace.period,
                _ => (self.step * 2).clamp(FIRST_STEP * 10, self.pace.period),
            };
            match answer {
                Ok(()) => {
                    (self.successes, self.failures) = (self.successes + 1, 0);
                    if self.successes >= self.pace.successes && self.settled != Some(true) {
                        self.settled = Some(true);
                        return Heard::Settled(true);
                    }
                }
                Err(why) if counts => {
                    (self.successes, self.failures) = (0, self.failures + 1);
                    return Heard::Failed(why);
                }
                Err(_) => self.successes = 0,
            }
        }
    }
}

/// Asks a pod's queue, which runs in this process, for as long as someone listens: readiness is seen at once.
pub struct QueueWatch {
    queue: Arc<Queue>,
    pace: Pace,
    ready: bool,
}

impl QueueWatch {
    /// Begins at once.
    pub fn new(queue: Arc<Queue>, probe: Option<Probe>) -> Self {
        Self { queue, pace: Pace::of(&probe.unwrap_or_default()), ready: false }
    }

    /// Waits for the answer to change.
    pub async fn next(&mut self) -> bool {
        if self.ready {
            let mut failures = 0;
            while failures < self.pace.failures {
                tokio::time::sleep(self.pace.period).await;
                // An eager probe tries for ten seconds: that is for a start, and this one has a period.
                let asked = tokio::time::timeout(self.pace.timeout, answers(&self.queue));
                failures = if asked.await.unwrap_or(false) { 0 } else { failures + 1 };
            }
        } else {
            let (mut step, mut tries) = (FIRST_STEP, 0);
            while !answers(&self.queue).await {
                tokio::time::sleep(step).await;
                tries += 1;
                if tries > FIRST_STEPS {
                    step = (step * 3 / 2).min(SLOWEST_STEP);
                }
            }
        }
        self.ready = !self.ready;
        self.ready
    }
}

/// Asks a queue of this process as the node asks others, so that its request log can tell of it.
async fn answers(queue: &Arc<Queue>) -> bool {
    let request = Request::get("/")
        .header(header::USER_AGENT, AGENT)
        .header(headers::PROBE, headers::PROBE_QUEUE)
        .body(Body::empty())
        .expect("all of it is well formed");
    queue.handle(request).await.status() == StatusCode::OK
}

/// Asks once; the error says what was answered.
pub async fn once(target: &Target, probe: &Probe) -> Result<(), String> {
    let port = |port: &IntOrString| port_number(&target.container, port);
    if let Some(exec) = &probe.exec {
        return (target.execute)(exec.clone()).await;
    }
    if let Some(http) = &probe.http_get {
        let port = port(&http.port)?;
        let path = http.path.as_deref().unwrap_or("/");
        let headers = http.http_headers.iter().flatten();
        let headers = headers.map(|it| (it.name.as_str(), it.value.as_str()));
        return get(&target.door, port, path, headers).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port(&tcp.port)?;
        return target
            .door
            .connect(port)
            .await
            .map(drop)
            .map_err(|error| format!("dial tcp {}:{port}: {error}", target.door.address));
    }
    if let Some(grpc) = &probe.grpc {
        let port = u16::try_from(grpc.port).map_err(|_| format!("bad port {}", grpc.port))?;
        return health(&target.door, port, grpc.service.as_deref().unwrap_or_default()).await;
    }
    Ok(())
}

/// The number of a container's port, given by number or name.
pub fn port_number(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|it| it.name.as_ref() == Some(name)).map(|it| it.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|it| u16::try_from(it).ok()).ok_or_else(|| format!("no port {port:?}"))
}

/// A GET whose status is from 200 to 399.
pub async fn get<'a>(
    door: &Arc<Door>,
    port: u16,
    path: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    let url = format!("http://{}:{port}{path}", door.address);
    let told = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(path).body(Body::empty()).map_err(|error| told(&error))?;
    let fields = request.headers_mut();
    let own_host = header::HeaderValue::from_str(&format!("{}:{port}", door.address));
    fields.insert(header::HOST, own_host.map_err(|error| told(&error))?);
    for (name, value) in [("user-agent", AGENT), ("accept", "*/*"), ("connection", "close")]
        .into_iter()
        .chain(headers)
    {
        let name = header::HeaderName::from_bytes(name.as_bytes()).map_err(|error| told(&error))?;
        let value = header::HeaderValue::from_str(value).map_err(|error| told(&error))?;
        fields.insert(name, value);
    }
    let sent = door.peer(port, once_only()).send(Protocol::Http1, request).await;
    let response = sent.map_err(|error| match error {
        SendError::NotSent { cause, .. } => {
            told(&format!("dial tcp {}:{port}: connect: {}", door.address, plain(&cause)))
        }
        SendError::Lost { cause } => told(&cause),
    })?;
    match response.status().as_u16() {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// A probe is on a connection of its own: whether new ones are accepted is part of the question.
fn once_only() -> upstream::Settings {
    upstream::Settings { idle_timeout: Duration::ZERO, ..upstream::Settings::default() }
}

/// The text of an error of the system, as other programs write it.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Asks the gRPC health service about `service`.
///
/// Source: grpc.health.v1 `Health/Check`: one string in, one enum out, where 1 is SERVING.
async fn health(door: &Arc<Door>, port: u16, service: &str) -> Result<(), String> {
    let length = u8::try_from(service.len()).map_err(|_| "service name too long".to_owned())?;
    let mut message = Vec::with_capacity(service.len() + 7);
    if length > 0 {
        message.extend([0x0a, length]);
        // A length of 128 and more takes two bytes.
        if length >= 128 {
            message.pop();
            message.extend([length, 1]);
        }
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let request =
        Request::post(format!("http://{}:{port}/grpc.health.v1.Health/Check", door.address))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, AGENT)
            .body(Body::full(Bytes::from(frame)))
            .map_err(|error| error.to_string())?;
    let failed =
        |why: String| format!("failed to connect service \"{}:{port}\": {why}", door.address);
    let sent = door.peer(port, once_only()).send(Protocol::H2c, request).await;
    let response = sent.map_err(|error| failed(error.to_string()))?;
    let answer = http_body_util::Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| failed(error.to_string()))?
        .to_bytes();
    match answer.get(5..7) {
        Some([0x08, 1]) => Ok(()),
        _ => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
    };

    use api::queue::Settings;
    use proxy::hop::Dial;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A container that listens until it is told not to.
    struct Listens(TcpListener, AtomicBool);

    impl Dial for Listens {
        fn dial(&self, _: u16) -> Boxed<io::Result<TcpStream>> {
            let listens = self.1.load(Ordering::SeqCst);
            let address = self.0.local_addr();
            Box::pin(async move {
                match listens {
                    true => TcpStream::connect(address?).await,
                    false => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            })
        }
    }

    /// The queue's probe has no period when the user's has none: it is eager while the container starts.
    #[tokio::test]
    async fn an_eager_probe_is_not_eager_to_see_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let container = Arc::new(Listens(listener, AtomicBool::new(true)));
        let probe = Probe { period_seconds: Some(0), ..Probe::default() };
        let settings = Settings { readiness: vec![probe.clone()], ..Settings::default() };
        let queue = Queue::new(settings, container.clone());
        let mut watch = QueueWatch::new(queue, Some(probe));
        let begun = Instant::now();
        assert!(watch.next().await);
        container.1.store(false, Ordering::SeqCst);
        tokio::time::pause();
        let before = begun.elapsed();
        assert!(!watch.next().await);
        // Three periods of ten seconds, and three times the second that an answer may take, since the first answer; until
        // then the clock runs.
        let took = begun.elapsed().as_secs_f64();
        assert!(
            (33.0..33.1 + before.as_secs_f64()).contains(&took),
            "{took}, {before:?} of them before"
        );
    }
}
