//! The queue as a role: [`Queue`] on the ports of a pod.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use api::{
    load::{Report, RevisionLoad},
    queue::Settings,
};
use http::{Method, Request, Response, StatusCode, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{Queue, certificate, request_log::Lines};
use crate::{
    body::Body,
    drain,
    hop::{Boxed, Dial, Protocol, Reply, SendError, plain},
    serve,
    tls::{self, Shown},
    upstream,
};

/// How often load is reported. Source: upstream's `reportingPeriod`.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for the autoscaler to take a report; the next one follows soon.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// After the last request in flight the queue listens this long for those that are on their way,
/// since routers hear of a pod's end late. Upstream waits 30 s without a request, whatever is known.
const QUIET: Duration = Duration::from_secs(3);
/// Longest wait for the last lines of the request log to be read.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Connections at once; a pod has hundreds of requests in flight, not thousands.
const CONNECTIONS: usize = 4096;

/// Connects to the loopback address of this process's own network.
pub struct Loopback;

impl Dial for Loopback {
    fn dial(&self, port: u16) -> Boxed<io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))))
    }
}

/// Serves a pod's requests until `stop` completes, and then those that are in flight; also in TLS, if there is a
/// certificate in the folder `certificates`. Fails when a port cannot be bound.
pub async fn run(
    settings: Settings,
    certificates: &Path,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let ports = settings.ports;
    let listen = async |port| {
        TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await.map_err(|error| {
            io::Error::new(error.kind(), format!("listen on port {port}: {error}"))
        })
    };
    let plain = serve::Settings { connections: CONNECTIONS, ..serve::Settings::default() };
    let mut data =
        vec![(listen(ports.http).await?, plain.clone()), (listen(ports.h2c).await?, plain.clone())];
    let shown = Shown::default();
    let is_secured = certificate::is_there(certificates);
    if is_secured {
        let in_tls = server(shown.clone(), &settings);
        let in_tls = serve::Settings { tls: Some(in_tls), ..plain };
        data.push((listen(ports.tls).await?, in_tls));
    }
    let (admin, stat) = (listen(ports.admin).await?, listen(ports.stat).await?);
    let measured = settings.request_metrics.then_some(ports.metrics);
    let metrics = match measured {
        Some(port) => Some(listen(port).await?),
        None => None,
    };
    let (queue, lines) = Queue::logging(settings, Arc::new(Loopback));
    let logging = lines.map(|lines| tokio::spawn(write(lines)));
    let serving = serve_on(queue, data, admin, stat, metrics, stop);
    let following = async {
        match is_secured {
            true => certificate::follow(certificates, &shown, tell_reloaded).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => {}
        () = following => {}
    }
    if let Some(logging) = logging {
        // The queue is gone, and what is left of its log is little.
        let _ = tokio::time::timeout(LAST_LINES, logging).await;
    }
    Ok(())
}

/// What shakes hands for a queue. Its requests say so to the request log, if there is one.
pub fn server(shown: Shown, settings: &Settings) -> tls::Server {
    let mut server = tls::Server::showing(shown, &settings.tls);
    server.tells = !settings.request_log_template.is_empty();
    server
}

/// Says in this process's output that the certificate was read: tools wait for that, whatever the level of the log is.
fn tell_reloaded() {
    tokio::task::spawn_blocking(|| {
        let mut out = io::stdout().lock();
        // Whoever read it is gone, and with them the reason to write.
        let _ = writeln!(out, "{}", certificate::RELOADED).and_then(|()| out.flush());
    });
}

/// Writes the request log to this process's output, where a slow reader holds up nothing but the log.
async fn write(mut lines: Lines) {
    while let Some(text) = lines.next().await {
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        // Whoever read it is gone, and with them the reason to write.
        let Ok(Ok(())) = writing.await else { return };
    }
}

async fn serve_on(
    queue: Arc<Queue>,
    data: Vec<(TcpListener, serve::Settings)>,
    admin: TcpListener,
    stat: TcpListener,
    metrics: Option<TcpListener>,
    stop: impl Future<Output = ()>,
) {
    let (drained, watch_drained) = watch::channel(false);
    let (open, servers) = (
        drain::Count::default(),
        serve::Settings { connections: CONNECTIONS, ..serve::Settings::default() },
    );
    let mut serving = tokio::task::JoinSet::new();
    for (listener, settings) in data {
        let queue = queue.clone();
        let handler: serve::Handler =
            Arc::new(move |request, from| queue.handle_from(request, from));
        serving.spawn(serve::serve(listener, handler, settings, open.clone()));
    }
    let admin_handler: serve::Handler = Arc::new({
        let queue = queue.clone();
        move |request, _| answer_admin(&queue, watch_drained.clone(), request)
    });
    serving.spawn(serve::serve(admin, admin_handler, servers.clone(), open.clone()));
    let stat_handler: serve::Handler = Arc::new({
        let queue = queue.clone();
        move |request, _| answer_stat(&queue, &request)
    });
    serving.spawn(serve::serve(stat, stat_handler, servers.clone(), open.clone()));
    if let Some(metrics) = metrics {
        let queue = queue.clone();
        let handler: serve::Handler = Arc::new(move |request, _| queue.answer_metrics(&request));
        serving.spawn(serve::serve(metrics, handler, servers, open.clone()));
    }
    let reporting = tokio::spawn(report(queue.clone()));

    stop.await;
    // Not ready from here on; requests that still come are served.
    queue.drain().await;
    loop {
        let seen = queue.arrived();
        tokio::time::sleep(QUIET).await;
        if queue.in_flight() == 0 && queue.arrived() == seen {
            break;
        }
    }
    drained.send_replace(true);
    open.close();
    while serving.join_next().await.is_some() {}
    reporting.abort();
}

/// `/wait-for-drain` keeps the user container from ending before its last request has.
fn answer_admin(
    queue: &Arc<Queue>,
    mut drained: watch::Receiver<bool>,
    request: Request<Body>,
) -> Reply {
    let known = request.method() == Method::GET && request.uri().path() == "/wait-for-drain";
    let queue = queue.clone();
    Box::pin(async move {
        if !known {
            return plain(StatusCode::NOT_FOUND, "only GET /wait-for-drain is known here".into());
        }
        // The kubelet asks this and stops the queue at the same time. Who asks without that is
        // restarting the container alone, and must not wait. Source: upstream's `drainer.go`.
        let stopping = tokio::time::timeout(Duration::from_secs(1), queue.in_flight.closed());
        if stopping.await.is_ok() {
            let _ = drained.wait_for(|drained| *drained).await; // An end is an end.
        }
        plain(StatusCode::OK, "drained".into())
    })
}

/// The load since the last question, for an autoscaler that asks.
fn answer_stat(queue: &Arc<Queue>, request: &Request<Body>) -> Reply {
    let response = if request.uri().path() == "/metrics" {
        let body = serde_json::to_vec(&report_of(queue)).expect("a report is plain data");
        let mut response = Response::new(Body::full(body));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    } else {
        plain(StatusCode::NOT_FOUND, "only /metrics is known here".into())
    };
    Box::pin(async move { response })
}

fn report_of(queue: &Queue) -> Report {
    let (settings, taken) = (queue.settings(), queue.take_load());
    Report {
        reporter: settings.pod.clone(),
        revisions: vec![RevisionLoad {
            namespace: settings.namespace.clone(),
            revision: settings.revision.clone(),
            concurrency: taken.concurrency,
            proxied_concurrency: taken.proxied_concurrency,
            requests: taken.requests,
            proxied_requests: taken.proxied_requests,
            // Whoever balances requests over pods knows better.
            busy_pods: Vec::new(),
        }],
    }
}

/// Pushes the load once a second while there is some, and once more when there is none.
async fn report(queue: Arc<Queue>) {
    let to = queue.settings().report_to.clone();
    let Some(authority) = to.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        return;
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + REPORT_PERIOD, REPORT_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let autoscaler = upstream::Peer::new(upstream::Settings::default(), {
        let authority = authority.to_owned();
        move || Box::pin(TcpStream::connect(authority.clone()))
    });
    let mut idle = true;
    loop {
        ticks.tick().await;
        let report = report_of(&queue);
        let quiet =
            report.revisions.iter().all(|load| load.requests == 0.0 && load.concurrency == 0.0);
        if quiet && idle {
            continue;
        }
        idle = quiet;
        let sending = push(&autoscaler, authority, &report);
        match tokio::time::timeout(REPORT_TIMEOUT, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, to, "push a load report"),
            Err(_) => tracing::debug!(to, "push a load report: no answer"),
        }
    }
}

async fn push(
    autoscaler: &Arc<upstream::Peer>,
    authority: &str,
    report: &Report,
) -> io::Result<()> {
    let body = serde_json::to_vec(report).expect("a report is plain data");
    let request = Request::post(api::load::PATH)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::full(body))
        .map_err(io::Error::other)?;
    let response =
        autoscaler.send(Protocol::Http1, request).await.map_err(SendError::into_cause)?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the autoscaler answered {}", response.status())))
    }
}
