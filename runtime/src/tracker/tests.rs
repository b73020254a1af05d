//! What is looked up and followed, against an API that is ours.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;

/// An API with brokers in the namespace `ns`, which counts what it is asked and whose watches never tell anything but what
/// they are sent.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    watches: Arc<Mutex<Vec<tokio::sync::mpsc::UnboundedSender<String>>>>,
}

impl Fake {
    fn cluster(&self) -> Cluster {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = fake.answer(&request);
            async move { Ok::<_, std::io::Error>(answer) }
        });
        Cluster::new(Client::new(service, "default"), Clock::start(), CancellationToken::new())
    }

    fn answer(&self, request: &Request<Body>) -> Response<Answer> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        self.asked.lock().push(path.clone());
        if path.contains("/nothings") {
            let status = r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"no"}"#;
            return Response::builder().status(404).body(whole(status.to_owned())).unwrap();
        }
        if path.contains("watch=true") {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            self.watches.lock().push(sender);
            let lines = futures::stream::poll_fn(move |it| receiver.poll_recv(it));
            let lines = lines.map(|it: String| Ok(Frame::data(it.into())));
            return Response::new(StreamBody::new(lines).boxed_unsync());
        }
        let list = format!(
            r#"{{"kind":"List","metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
            broker("a", "1", "http://a")
        );
        Response::new(whole(list))
    }
}

type Answer = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(text: String) -> Answer {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn broker(name: &str, version: &str, url: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"ns","uid":"{name}","resourceVersion":"{version}"}},"status":{{"address":{{"url":"{url}"}}}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_up_is_followed_until_nobody_does() {
    let fake = Fake::default();
    let cluster = fake.cluster();
    let queue: Arc<Queue<Key>> = Arc::default();
    let references = References::new(&cluster, &queue);
    let key = Key::new("ns", "trigger");
    let kind = ObjectKind::new("eventing.knative.dev/v1", "Broker");
    let planned = |name: &'static str| {
        let mut url = None;
        let plan: Plan = references.plan(&key, |lookup| {
            let mut plan = Plan::nothing();
            if let Found::Here(object) = (lookup.object)(&kind, &Key::new("ns", name)) {
                url = object.status.as_ref().and_then(|it| it.address.clone()?.url);
            }
            plan.normal("Planned", "");
            plan
        });
        (url, !plan.events.is_empty())
    };
    // Nothing is known, so nothing is planned until something is.
    assert_eq!(planned("a"), (None, false));
    assert_eq!(queue.next().await, key);
    queue.done(&key);
    assert_eq!(planned("a"), (Some("http://a".to_owned()), true));

    // Something changes that matters.
    let changed = format!(r#"{{"type":"MODIFIED","object":{}}}"#, broker("a", "2", "http://b"));
    while fake.watches.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    fake.watches.lock()[0].send(changed + "\n").unwrap();
    assert_eq!(queue.next().await, key);
    queue.done(&key);
    assert_eq!(planned("a"), (Some("http://b".to_owned()), true));
    assert_eq!(planned("other"), (None, true));
    assert_eq!(cluster.tracked().lock().kinds.len(), 1);

    // Nobody refers to it any more.
    let _: Plan = references.plan(&key, |_| Plan::nothing());
    assert!(cluster.tracked().lock().kinds.is_empty());
    assert!(cluster.tracked().lock().looked_up.is_empty());
    cluster.stop().cancel();
    cluster.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_kind_that_does_not_exist_nothing_exists() {
    let fake = Fake::default();
    let cluster = fake.cluster();
    let queue: Arc<Queue<Key>> = Arc::default();
    let references = References::new(&cluster, &queue);
    let key = Key::new("ns", "trigger");
    let look = || {
        let mut is_missing = None;
        let _: Plan = references.plan(&key, |lookup| {
            let kind = ObjectKind::new("example.org/v1", "Nothing");
            is_missing =
                Some(matches!((lookup.object)(&kind, &Key::new("ns", "x")), Found::Missing));
            Plan::nothing()
        });
        is_missing
    };
    look();
    assert_eq!(queue.next().await, key);
    queue.done(&key);
    assert_eq!(look(), Some(true));
    cluster.stop().cancel();
    cluster.stopped().await;
}

#[test]
fn plurals_are_guessed() {
    for (kind, plural) in [
        ("Service", "services"),
        ("EventPolicy", "eventpolicies"),
        ("Ingress", "ingresses"),
        ("Endpoints", "endpoints"),
    ] {
        assert_eq!(ObjectKind::new("v1", kind).plural(), plural);
    }
}
