//! Brokers and Triggers as people use them: events in by HTTP, and out to everybody who wants them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use proxy::body::Body;
use serde_json::{Value, json};
use tests::{
    eventually::eventually,
    http::{Connection, Reply},
    platform::Platform,
    random::Random,
    sink::{Came, Sink, accepted, status},
};

/// A Broker, Triggers or a Service, ready.
const READY: Duration = Duration::from_secs(20);
/// Everything that was sent, delivered.
const DELIVERED: Duration = Duration::from_secs(60);
const HOST: &str = "broker-ingress.knative-eventing.svc.cluster.local";

async fn ready(platform: &Platform, what: &str) {
    eventually(READY, &format!("{what} is ready"), || async {
        let object = platform.object(what).await?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|it| it["type"] == "Ready");
        ensure!(ready.is_some_and(|it| it["status"] == "True"), "{conditions:?}");
        anyhow::Ok(())
    })
    .await;
}

async fn apply(platform: &Platform, objects: &[Value]) {
    let manifest: Vec<_> = objects.iter().map(Value::to_string).collect();
    platform.apply(&manifest.join("\n---\n")).await;
    for object in objects {
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        ready(platform, &format!("{kind} {}", object["metadata"]["name"].as_str().unwrap())).await;
    }
}

fn broker(name: &str) -> Value {
    json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": name}})
}

fn trigger(name: &str, subscriber: &str, more: Value) -> Value {
    let mut trigger = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": name},
        "spec": {"broker": "b", "subscriber": {"uri": subscriber}},
    });
    merge(&mut trigger, more);
    trigger
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// A request that brings an event in binary mode.
fn event(id: &str, kind: &str, more: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::post("/default/b")
        .header("host", HOST)
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header("ce-source", "/test")
        .header("ce-type", kind)
        .header("content-type", "application/json");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(Full::new(format!(r#"{{"number": "{id}"}}"#).into())).unwrap()
}

async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply> {
    Connection::open(to).await?.send(request).await
}

async fn accepted_by(platform: &Platform, request: Request<Full<Bytes>>) {
    let reply = send(platform.gateway(), request).await.unwrap();
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text());
}

async fn got(sink: &Sink, path: &str, ids: &[&str]) {
    let wanted: BTreeSet<_> = ids.iter().map(ToString::to_string).collect();
    eventually(DELIVERED, &format!("{path} gets {wanted:?}"), || async {
        let ids: BTreeSet<_> = sink.headers(path, "ce-id").into_iter().collect();
        ensure!(ids == wanted, "it has {ids:?}");
        anyhow::Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trigger_gets_what_it_asks_for_and_answers_are_events() {
    let platform = Platform::start().await;
    let sink = Sink::answering(|came| {
        if came.path != "/orders" {
            return accepted();
        }
        let mut answer = status(200);
        for (name, value) in [("specversion", "1.0"), ("type", "paid"), ("source", "/shop")] {
            answer.headers_mut().insert(
                http::HeaderName::try_from(format!("ce-{name}")).unwrap(),
                value.parse().unwrap(),
            );
        }
        let id = format!("paid-{}", came.header("ce-id"));
        answer.headers_mut().insert("ce-id", id.parse().unwrap());
        *answer.body_mut() = Body::full("thanks");
        answer
    })
    .await;
    let of = |kind: &str| json!({"spec": {"filter": {"attributes": {"type": kind}}}});
    let sql = json!({"spec": {"filters": [{"cesql": "type LIKE 'order%' AND EXISTS region"}]}});
    apply(
        &platform,
        &[
            broker("b"),
            trigger("orders", &sink.url("/orders"), of("order")),
            trigger("paid", &sink.url("/paid"), of("paid")),
            trigger("regional", &sink.url("/regional"), sql),
        ],
    )
    .await;
    accepted_by(&platform, event("1", "order", &[])).await;
    accepted_by(&platform, event("2", "order", &[("ce-region", "eu")])).await;
    accepted_by(&platform, event("3", "visit", &[("ce-region", "eu")])).await;
    got(&sink, "/orders", &["1", "2"]).await;
    got(&sink, "/paid", &["paid-1", "paid-2"]).await;
    got(&sink, "/regional", &["2"]).await;
    let came = sink.came("/regional").remove(0);
    assert_eq!(came.body, r#"{"number": "2"}"#);
    assert_eq!(came.header("content-type"), "application/json");
    assert_eq!(came.header("kn-namespace"), "default");
    assert_eq!(came.header("prefer"), "reply");
    assert_eq!(came.header("ce-region"), "eu");
    assert_eq!(came.header("ce-knativebrokerttl"), "");
    assert_ne!(came.header("ce-knativearrivaltime"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_waits_and_then_goes_to_the_dead_letter_sink() {
    let platform = Platform::start().await;
    let sink = Sink::answering(|came| match came.path.as_str() {
        "/dead" => accepted(),
        _ => {
            let mut answer = status(500);
            *answer.body_mut() = Body::full("out of order");
            answer
        }
    })
    .await;
    let quick = json!({"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"});
    let mut buried = json!({"spec": {"delivery": quick}});
    buried["spec"]["delivery"]["deadLetterSink"] = json!({"uri": sink.url("/dead")});
    let patient = json!({"spec": {"delivery": {"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"}}});
    apply(
        &platform,
        &[
            broker("b"),
            trigger("never", &sink.url("/never"), buried),
            trigger("later", &sink.url("/later"), patient),
        ],
    )
    .await;
    accepted_by(&platform, event("1", "t", &[])).await;
    got(&sink, "/dead", &["1"]).await;
    assert_eq!(sink.came("/never").len(), 3);
    let letter = sink.came("/dead").remove(0);
    assert_eq!(letter.header("ce-knativeerrordest"), sink.url("/never"));
    assert_eq!(letter.header("ce-knativeerrorcode"), "500");
    assert_eq!(letter.header("ce-knativeerrordata"), "b3V0IG9mIG9yZGVy");
    sink.answer(|_| accepted());
    eventually(DELIVERED, "the event is taken", || async {
        let tries = sink.came("/later").len();
        ensure!(tries > 3, "{tries} tries");
        anyhow::Ok(())
    })
    .await;
}

/// How often the platform is killed: enough to hit it while it writes, and no more than half a minute.
const KILLS: usize = 8;
/// Producers, each of which sends one event after the other.
const PRODUCERS: usize = 4;

/// What one producer was promised: the numbers of its events that were answered with 202.
async fn produce(
    to: SocketAddr,
    producer: usize,
    from: usize,
    promised: Arc<Mutex<Vec<(usize, usize)>>>,
) -> usize {
    let mut number = from;
    let Ok(mut connection) = Connection::open(to).await else { return number };
    loop {
        let (id, key) = (format!("{producer}-{number}"), format!("p{producer}"));
        let request = event(&id, "t", &[("ce-partitionkey", &key)]);
        match connection.send(request).await {
            Ok(reply) if reply.status == StatusCode::ACCEPTED => {
                promised.lock().push((producer, number))
            }
            Ok(_) => {}
            Err(_) => return number + 1,
        }
        number += 1;
    }
}

fn identity(came: &Came) -> (usize, usize) {
    let (producer, number) = came.header("ce-id").split_once('-').unwrap();
    (producer.parse().unwrap(), number.parse().unwrap())
}

/// Whatever moment the platform is killed in, what it has answered with 202 reaches every subscriber; and in its order
/// where that was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_when_the_platform_is_killed() {
    let seed = std::process::id().into();
    let mut random = Random::new(seed);
    let mut platform = Platform::start().await;
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let sink = Sink::answering(move |came| {
        let number = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        status(if came.path == "/shaky" && number.is_multiple_of(7) { 503 } else { 202 })
    })
    .await;
    let ordered = json!({"metadata": {"annotations": {"eventing.weft.dev/order": "key"}}});
    let retried = json!({"spec": {"delivery":
        {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.02S"}}});
    apply(
        &platform,
        &[
            broker("b"),
            trigger("all", &sink.url("/all"), json!({})),
            trigger("ordered", &sink.url("/ordered"), ordered),
            trigger("shaky", &sink.url("/shaky"), retried),
        ],
    )
    .await;
    let promised = Arc::new(Mutex::new(Vec::new()));
    let mut next = [0; PRODUCERS];
    for _ in 0..KILLS {
        let to = platform.gateway();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|it| tokio::spawn(produce(to, it, next[it], promised.clone())))
            .collect();
        // Until some more were promised: any moment after that.
        let (before, more) = (promised.lock().len(), 20 + random.below(400));
        eventually(READY, "events are accepted", || async {
            let now = promised.lock().len() - before;
            ensure!(now >= more, "{now} were");
            anyhow::Ok(())
        })
        .await;
        platform.kill().await;
        for (at, producer) in producers.into_iter().enumerate() {
            next[at] = producer.await.unwrap();
        }
        platform.up().await;
    }
    let promised: BTreeSet<_> = promised.lock().iter().copied().collect();
    for path in ["/all", "/ordered", "/shaky"] {
        eventually(DELIVERED, &format!("{path} gets what was promised (seed {seed})"), || async {
            let came: BTreeSet<_> = sink.came(path).iter().map(identity).collect();
            match promised.difference(&came).collect::<Vec<_>>() {
                missing if missing.is_empty() => anyhow::Ok(()),
                missing => {
                    bail!("{} of {} are missing: {missing:?}", missing.len(), promised.len())
                }
            }
        })
        .await;
        let came = sink.came(path);
        let once: BTreeSet<_> = came.iter().map(identity).collect();
        println!(
            "{path}: {} events promised, {} delivered, {} of them again",
            promised.len(),
            once.len(),
            came.len() - once.len()
        );
    }
    let mut last = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (producer, number) in sink.came("/ordered").iter().map(identity) {
        if seen.insert((producer, number)) {
            let before = last.insert(producer, number);
            assert!(before < Some(number), "{producer}: {number} after {before:?} (seed {seed})");
        }
    }
}
