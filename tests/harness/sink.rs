//! A subscriber in the test's own process: what came to which path, and what it is answered.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use proxy::{
    body::Body,
    drain,
    hop::Reply,
    serve::{Settings, serve},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// One request that came.
#[derive(Clone, Debug)]
pub struct Came {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Decides on the answer to a request.
pub type Answer = Box<dyn Fn(&Came) -> Response<Body> + Send + Sync>;

/// Takes requests on an address of its own until it is dropped.
pub struct Sink {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    came: Mutex<Vec<Came>>,
    answer: Mutex<Answer>,
}

impl Sink {
    /// Answers 202 to everything.
    pub async fn start() -> Sink {
        Sink::answering(|_| accepted()).await
    }

    /// Answers as `answer` says.
    pub async fn answering(
        answer: impl Fn(&Came) -> Response<Body> + Send + Sync + 'static,
    ) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared =
            Arc::new(Shared { came: Mutex::default(), answer: Mutex::new(Box::new(answer)) });
        let its = shared.clone();
        let handler = Arc::new(move |request: Request<Body>, _| -> Reply {
            let shared = its.clone();
            Box::pin(async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else { return accepted() };
                let (path, headers) = (head.uri.path().to_owned(), head.headers);
                let came = Came { path, headers, body: body.to_bytes() };
                let answer = (shared.answer.lock())(&came);
                shared.came.lock().push(came);
                answer
            })
        });
        let serving = serve(listener, handler, Settings::default(), drain::Count::default());
        Sink { address, shared, task: tokio::spawn(serving) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers differently from now on.
    pub fn answer(&self, answer: impl Fn(&Came) -> Response<Body> + Send + Sync + 'static) {
        *self.shared.answer.lock() = Box::new(answer);
    }

    /// What came to a path, in its order.
    pub fn came(&self, path: &str) -> Vec<Came> {
        self.shared.came.lock().iter().filter(|it| it.path == path).cloned().collect()
    }

    /// The header of each request that came to a path.
    pub fn headers(&self, path: &str, name: &str) -> Vec<String> {
        self.came(path).iter().map(|it| it.header(name).to_owned()).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Came {
    /// A header's text, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }
}

/// What a subscriber answers that takes an event.
pub fn accepted() -> Response<Body> {
    status(202)
}

/// An answer without a body.
pub fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}
