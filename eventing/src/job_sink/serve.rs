//! Takes the events of JobSinks in by HTTP.

use std::sync::Arc;

use api::sinks::JobSink;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::{batch::v1::Job, core::v1::Secret};
use kube::{Api, api::PostParams};
use proxy::{
    body::Body,
    hop::{Reply, plain},
};
use runtime::cluster::{Cluster, cache::Cache};

use super::{Which, job, secret};
use crate::event::decode;

/// The Service of JobSinks.
pub const JOB_SINKS: &str = "job-sink";
/// Largest body: a Secret, where the event is kept for its Job, holds 1 MiB, and in Base64 inside of JSON data needs a third
/// more.
const BODY_LIMIT: usize = 700 << 10;
const REASON: HeaderName = HeaderName::from_static("reason");

/// Makes Jobs of the events that are sent to JobSinks.
pub struct JobSinks {
    cluster: Cluster,
    sinks: Cache<JobSink>,
    /// Namespace of Eventing's own objects.
    namespace: Arc<str>,
}

/// A status, and what is wrong.
type Refusal = (StatusCode, String);

impl JobSinks {
    /// Makes Jobs in `cluster`.
    pub fn new(cluster: &Cluster, namespace: Arc<str>) -> Arc<JobSinks> {
        let sinks = cluster.cache();
        Arc::new(JobSinks { cluster: cluster.clone(), sinks, namespace })
    }

    /// Whether requests to a host are for this.
    pub fn serves(&self, host: &str) -> bool {
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let mut parts = host.splitn(4, '.');
        parts.next() == Some(JOB_SINKS)
            && parts.next() == Some(&self.namespace)
            && parts.next() == Some("svc")
    }

    /// Answers one request.
    pub fn answer(self: &Arc<Self>, request: Request<Body>) -> Reply {
        let sinks = self.clone();
        Box::pin(async move {
            let answered = match *request.method() {
                Method::GET => sinks.tell(request.uri().path()).await,
                Method::POST => sinks.take(request).await,
                _ => {
                    let text = "events are sent with POST, and Jobs asked about with GET";
                    Err((StatusCode::BAD_REQUEST, text.to_owned()))
                }
            };
            answered.unwrap_or_else(|(code, text)| {
                let mut answer = plain(code, format!("{text}\n"));
                if let Ok(reason) = HeaderValue::from_str(&text) {
                    answer.headers_mut().insert(REASON, reason);
                }
                answer
            })
        })
    }

    async fn take(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let bad = |text: String| (StatusCode::BAD_REQUEST, text);
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        let ["", namespace, name] = parts[..] else {
            return Err(bad("events are sent to /NAMESPACE/NAME of a JobSink".to_owned()));
        };
        let sink = self.sink(namespace, name)?;
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|why| bad(format!("read the body: {why}")))?.to_bytes();
        let event = decode::one(&head.headers, &body, None).map_err(|why| bad(why.to_string()))?;
        let which = Which {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source: event.source().to_owned(),
            id: event.id().to_owned(),
        };
        let client = self.cluster.client().clone();
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let its_name = which.job_name();
        let failed = |what: &str, error: kube::Error| {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{what} {its_name}: {error}"))
        };
        let params = PostParams::default();
        // The same event again, or one whose Secret was not written: what is missing is made.
        let made = match jobs.create(&params, &job(&sink, &which)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                jobs.get(&its_name).await.map_err(|it| failed("read the Job", it))?
            }
            made => made.map_err(|it| failed("make the Job", it))?,
        };
        match secrets.create(&params, &secret(&made, &which, &event)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            made => {
                made.map_err(|it| failed("make the Secret", it))?;
            }
        }
        Ok(accepted(&which))
    }

    /// Tells how a Job does.
    async fn tell(&self, path: &str) -> Result<Response<Body>, Refusal> {
        let which = Which::at(path).ok_or_else(|| {
            let text = format!("the path {path} is not one that a JobSink has given");
            (StatusCode::BAD_REQUEST, text)
        })?;
        self.sink(&which.namespace, &which.name)?;
        let jobs: Api<Job> = Api::namespaced(self.cluster.client().clone(), &which.namespace);
        let found = jobs.get(&which.job_name()).await;
        let found = found.map_err(|why| (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))?;
        let conditions = found.status.and_then(|it| it.conditions).unwrap_or_default();
        let holds =
            |type_: &str| conditions.iter().any(|it| it.type_ == type_ && it.status == "True");
        if holds("Failed") {
            return Err((StatusCode::BAD_REQUEST, "Failed".to_owned()));
        }
        if holds("Complete") {
            let mut answer = Response::new(Body::empty());
            answer.headers_mut().insert(REASON, HeaderValue::from_static("Complete"));
            return Ok(answer);
        }
        Ok(accepted(&which))
    }

    fn sink(&self, namespace: &str, name: &str) -> Result<Arc<JobSink>, Refusal> {
        self.sinks.get(namespace, name).ok_or_else(|| {
            let text = format!("there is no JobSink {name} in the namespace {namespace}");
            (StatusCode::BAD_REQUEST, text)
        })
    }
}

fn accepted(which: &Which) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::ACCEPTED;
    if let Ok(location) = HeaderValue::from_str(&which.location()) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}
