//! The autoscaler's port: takes load reports, answers why. A process that does not lead passes both on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use api::load::{self, Report};
use axum::{
    Extension, Json, Router,
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt, Limited};
use proxy::hop::{Protocol, SendError, Upstream};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{drive::Autoscaler, explain::Entry};

/// Largest report that is read: ten thousand revisions at a few hundred bytes each.
const LARGEST_REPORT: usize = 8 << 20;
/// Largest answer that is passed on: the last decisions of one revision.
const LARGEST_ANSWER: usize = 1 << 20;
/// Longest time to pass a request on; reports come each second.
const PASS_ON: Duration = Duration::from_secs(3);
/// Marks a request that was passed on: two processes that each take the other for the leader, for a
/// moment, do not send it to and fro.
const PASSED_ON: &str = "weft-passed-on";

/// Who decides.
#[derive(Clone)]
pub enum Leader {
    /// Nobody, for the moment.
    Nobody,
    /// The autoscaler of this process.
    Here(Autoscaler),
    /// That of the process which listens there.
    Elsewhere(SocketAddr),
}

#[derive(Clone)]
struct Server {
    leader: watch::Receiver<Leader>,
    upstream: Arc<dyn Upstream>,
}

/// Answers on `listener` until `stop`: a POST at [`load::PATH`] takes a [`Report`],
/// `GET /explain/NAMESPACE/REVISION` gives a list of [`Entry`], oldest first. What another process has to
/// answer goes there through `upstream`.
pub async fn serve(
    listener: TcpListener,
    leader: watch::Receiver<Leader>,
    upstream: Arc<dyn Upstream>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(listener, routes(Server { leader, upstream }))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("serve the autoscaler's port")
}

fn routes(server: Server) -> Router {
    Router::new()
        .route(load::PATH, post(report).layer(DefaultBodyLimit::max(LARGEST_REPORT)))
        .route("/explain/{namespace}/{revision}", get(explain))
        .layer(middleware::from_fn_with_state(server, by_leader))
}

async fn report(
    Extension(autoscaler): Extension<Autoscaler>,
    Json(report): Json<Report>,
) -> StatusCode {
    autoscaler.reports().send(report);
    StatusCode::ACCEPTED
}

async fn explain(
    Extension(autoscaler): Extension<Autoscaler>,
    Path((namespace, revision)): Path<(String, String)>,
) -> Json<Vec<Entry>> {
    Json(autoscaler.explain(&namespace, &revision))
}

/// Answers with the autoscaler that leads, wherever it is.
async fn by_leader(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    let leader = server.leader.borrow().clone();
    match leader {
        Leader::Here(autoscaler) => {
            request.extensions_mut().insert(autoscaler);
            next.run(request).await
        }
        Leader::Elsewhere(to) if !request.headers().contains_key(PASSED_ON) => {
            let passed = pass_on(&*server.upstream, to, request);
            match tokio::time::timeout(PASS_ON, passed).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    tracing::debug!(%to, "pass a request on to the autoscaler that leads: {error:#}");
                    nobody()
                }
                Err(_) => nobody(),
            }
        }
        _ => nobody(),
    }
}

/// A new leader is there within seconds.
fn nobody() -> Response {
    let again = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, again, "no autoscaler leads at the moment\n").into_response()
}

async fn pass_on(
    upstream: &dyn Upstream,
    to: SocketAddr,
    request: Request,
) -> anyhow::Result<Response> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_REPORT).await.context("read the request")?;
    head.headers.insert(PASSED_ON, HeaderValue::from_static("1"));
    let request = Request::from_parts(head, proxy::body::Body::full(body));
    let response = upstream.send(to, Protocol::Http1, request).await;
    let (head, body) = response.map_err(SendError::into_cause)?.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).context("read the answer")?.to_bytes();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = head.status;
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use proxy::{drain, hop::plain, upstream::Pool};

    use super::*;

    /// A process of the role that sees `leader` lead.
    async fn process(leader: Leader) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(leader);
        let upstream = Arc::new(Pool::new(Default::default()));
        tokio::spawn(async move {
            let _lives_as_long = sender;
            serve(listener, receiver, upstream, CancellationToken::new()).await
        });
        address
    }

    /// One that leads, played: it answers with what it was asked.
    async fn leading() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: proxy::serve::Handler = Arc::new(|request, _| {
            Box::pin(async move {
                let what = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let text = format!("{what} {}", String::from_utf8_lossy(&body));
                plain(StatusCode::ACCEPTED, text)
            })
        });
        let open = drain::Count::default();
        tokio::spawn(proxy::serve::serve(listener, handler, Default::default(), open));
        address
    }

    async fn ask(to: SocketAddr, method: Method, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "autoscaler")
            .header(header::CONTENT_TYPE, "application/json")
            .body(proxy::body::Body::full(body.to_owned()))
            .unwrap();
        let response = Pool::new(Default::default()).send(to, Protocol::Http1, request).await;
        let response = response.map_err(SendError::into_cause).unwrap();
        let status = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test]
    async fn who_does_not_lead_passes_on_to_who_does() {
        let to = process(Leader::Elsewhere(leading().await)).await;
        let report = r#"{"reporter":"a","revisions":[]}"#;
        let passed = ask(to, Method::POST, load::PATH, report).await;
        assert_eq!(passed, (202, format!("POST {} {report}", load::PATH)));
        let passed = ask(to, Method::GET, "/explain/ns/hello-00001", "").await;
        assert_eq!(passed, (202, "GET /explain/ns/hello-00001 ".to_owned()));
    }

    #[tokio::test]
    async fn without_a_leader_the_answer_is_to_come_again() {
        let none = process(Leader::Nobody).await;
        assert_eq!(ask(none, Method::GET, "/explain/ns/hello-00001", "").await.0, 503);
        // One that takes another for the leader, which does not lead either.
        let to = process(Leader::Elsewhere(none)).await;
        assert_eq!(ask(to, Method::POST, load::PATH, "{}").await.0, 503);
        let nobody: SocketAddr = ([127, 0, 0, 1], 1).into();
        let to = process(Leader::Elsewhere(nobody)).await;
        assert_eq!(ask(to, Method::POST, load::PATH, "{}").await.0, 503);
    }

    #[tokio::test]
    async fn a_request_is_passed_on_once() {
        let first = process(Leader::Elsewhere(([127, 0, 0, 1], 1).into())).await;
        let to = process(Leader::Elsewhere(first)).await;
        let (status, text) = ask(to, Method::GET, "/explain/ns/hello-00001", "").await;
        assert_eq!((status, text.as_str()), (503, "no autoscaler leads at the moment\n"));
    }
}
