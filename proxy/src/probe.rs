//! Asks a container whether it is ready, in the ways that Kubernetes knows.
//!
//! Source: knative/serving `pkg/queue/readiness`, `pkg/queue/health`.

use std::{
    io,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use api::headers;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::{
    api::core::v1::{GRPCAction, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    body::Body,
    h1::client,
    hop::{Dial, Protocol},
    pulse::Pulse,
    stream::Stream,
    upstream,
};

/// How long one run of an eager probe tries. Source: upstream's `PollTimeout`.
const EAGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for one attempt of an eager probe. Source: upstream's `aggressiveProbeTimeout`.
const EAGER_ATTEMPT: Duration = Duration::from_millis(100);
/// Wait between the attempts of an eager probe: at first this, since what is left of it when the container listens is
/// part of a cold start, and an attempt that is refused costs some 30 µs …
const EAGER_FIRST: Duration = Duration::from_micros(300);
/// … and for an application that starts slowly at most this. Source: upstream's `aggressivePollInterval`.
const EAGER_LAST: Duration = Duration::from_millis(50);
/// The share of the time since the first attempt that the wait may be: it adds at most so much to a
/// start, and a thousand starting pods do not ask a million times a second.
const EAGER_SHARE: u32 = 20;
/// Largest answer to a gRPC health check that is read.
const GRPC_ANSWER: usize = 1024;

/// What a container speaks on its port: told, or learned from its answers to probes.
#[derive(Debug)]
pub struct Language {
    known: AtomicU8,
}

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const H2C: u8 = 2;

impl Language {
    /// What the container's author says.
    pub fn told(protocol: Protocol) -> Language {
        let known = if protocol == Protocol::H2c { H2C } else { HTTP1 };
        Language { known: AtomicU8::new(known) }
    }

    /// To be learned from a probe over HTTP that passes: HTTP/2 is tried first.
    /// Source: knative/serving `pkg/queue/health/probe.go`, which learns it anew each time.
    pub fn to_learn() -> Language {
        Language { known: AtomicU8::new(UNKNOWN) }
    }

    /// None while it is not known.
    pub fn get(&self) -> Option<Protocol> {
        match self.known.load(Ordering::Relaxed) {
            UNKNOWN => None,
            HTTP1 => Some(Protocol::Http1),
            _ => Some(Protocol::H2c),
        }
    }

    fn learn(&self, protocol: Protocol) {
        let known = if protocol == Protocol::H2c { H2C } else { HTTP1 };
        self.known.store(known, Ordering::Relaxed);
    }
}

/// Whether `probe` passes: at once, or within ten seconds if it asks for the fastest answer.
/// A port of 0 is `user_port`.
pub async fn passes(probe: &Probe, user_port: u16, language: &Language, dial: &dyn Dial) -> bool {
    if probe.period_seconds.unwrap_or(0) > 0 {
        let seconds = probe.timeout_seconds.unwrap_or(1).max(1).unsigned_abs();
        let timeout = Duration::from_secs(u64::from(seconds));
        return attempt(probe, user_port, language, dial, timeout).await;
    }
    let begun = Instant::now();
    // Without one the runtime's clock has to do, which counts in milliseconds.
    let mut pulse = Pulse::every(EAGER_FIRST).ok();
    let wanted = probe.success_threshold.unwrap_or(1).max(1);
    let mut passed = 0;
    loop {
        if attempt(probe, user_port, language, dial, EAGER_ATTEMPT).await {
            passed += 1;
            if passed >= wanted {
                return true;
            }
        } else {
            passed = 0;
        }
        let elapsed = begun.elapsed();
        if elapsed >= EAGER_TIMEOUT {
            return false;
        }
        let wait = (elapsed / EAGER_SHARE).clamp(EAGER_FIRST, EAGER_LAST);
        match &pulse {
            Some(pulse) if wait < Duration::from_millis(1) && pulse.beat().await.is_ok() => {}
            _ => {
                pulse = None;
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn attempt(
    probe: &Probe,
    user_port: u16,
    language: &Language,
    dial: &dyn Dial,
    timeout: Duration,
) -> bool {
    if let Some(action) = &probe.http_get {
        let port = port(&action.port, user_port);
        let told = language.get();
        let all = [Protocol::H2c, Protocol::Http1];
        for protocol in all.into_iter().filter(|it| told.is_none_or(|told| told == *it)) {
            let asking = async { http_get(action, dial.dial(port).await?, protocol).await };
            // Each has the whole time: who does not know HTTP/2 may not answer at all.
            if matches!(tokio::time::timeout(timeout, asking).await, Ok(Ok(true))) {
                // What other containers of the pod speak says nothing of this one.
                if told.is_none() && port == user_port {
                    language.learn(protocol);
                }
                return true;
            }
        }
        return false;
    }
    let attempt = async {
        if let Some(action) = &probe.grpc {
            let port = u16::try_from(action.port).ok().filter(|port| *port > 0);
            grpc(action, dial.dial(port.unwrap_or(user_port)).await?).await
        } else {
            // Commands run in the container, where the queue is not: it looks at the port instead.
            let port = probe.tcp_socket.as_ref().map(|action| port(&action.port, user_port));
            dial.dial(port.unwrap_or(user_port)).await.map(|_| true)
        }
    };
    matches!(tokio::time::timeout(timeout, attempt).await, Ok(Ok(true)))
}

async fn http_get(
    action: &HTTPGetAction,
    stream: TcpStream,
    protocol: Protocol,
) -> io::Result<bool> {
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let host = action.host.as_deref().unwrap_or("localhost");
    let mut request = Request::get(path)
        .header(header::USER_AGENT, headers::PROBER_AGENTS[0])
        .header(header::ACCEPT, "*/*");
    let given = action.http_headers.as_deref().unwrap_or_default();
    if !given.iter().any(|given| given.name.eq_ignore_ascii_case("host")) {
        request = request.header(header::HOST, host);
    }
    for given in given {
        request = request.header(&given.name, &given.value);
    }
    let mut request = request.body(Body::empty()).map_err(io::Error::other)?;
    let response = match protocol {
        Protocol::Http1 => {
            let connection =
                Box::new(client::Connection::new(Stream::Plain(stream), Instant::now()));
            client::send(connection, &mut request, None).await.map_err(|failure| failure.cause)?
        }
        Protocol::H2c => upstream::over_h2(Stream::Plain(stream), request).await?,
    };
    Ok((200..400).contains(&response.status().as_u16()))
}

/// Calls `grpc.health.v1.Health/Check`; its messages have one field each, so they are written by hand.
async fn grpc(action: &GRPCAction, stream: TcpStream) -> io::Result<bool> {
    const SERVING: [u8; 2] = [0x08, 0x01];
    let service = action.service.as_deref().unwrap_or("").as_bytes();
    // One byte of a variable-length integer carries 7 bits.
    let Some(length) = u8::try_from(service.len()).ok().filter(|length| *length < 126) else {
        return Err(io::Error::other("the name of the service is too long"));
    };
    let mut message = Vec::with_capacity(service.len() + 7);
    let body_length = if service.is_empty() { 0 } else { length + 2 };
    message.extend_from_slice(&[0, 0, 0, 0, body_length]);
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a, length]);
        message.extend_from_slice(service);
    }
    let request = Request::post("/grpc.health.v1.Health/Check")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, headers::PROBER_AGENTS[0])
        .body(Body::full(Bytes::from(message)))
        .map_err(io::Error::other)?;
    let response = upstream::over_h2(Stream::Plain(stream), request).await?;
    if response.status() != StatusCode::OK {
        return Ok(false);
    }
    let answer = http_body_util::Limited::new(response.into_body(), GRPC_ANSWER).collect();
    let answer = answer.await.map_err(io::Error::other)?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let bytes = answer.to_bytes();
    Ok(status.is_some_and(|status| status == "0") && bytes.get(5..7) == Some(&SERVING[..]))
}

fn port(port: &IntOrString, user_port: u16) -> u16 {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|port| *port > 0),
        IntOrString::String(name) => name.parse().ok(),
    }
    .unwrap_or(user_port)
}
