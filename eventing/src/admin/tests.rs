//! What people are told of topics, and what they do to them.

use std::{
    io,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
};

use runtime::{clock::Clock, cluster::Key};
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    deliver::{Courier, Format, Target},
    event::{Event, Value},
    filter::Filter,
    log::{Boxed, memory::Memory},
    policy::Policy,
    subscriber::{Reply as Answer, Subscriber},
    topic::Surroundings,
};

/// Answers each event with the same status.
struct Fixed {
    status: AtomicU16,
    count: AtomicUsize,
}

impl Courier for Fixed {
    fn send(&self, _: &Target, _: Request<Body>) -> Boxed<io::Result<Response<Body>>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let code = StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap();
        Box::pin(std::future::ready(Ok(plain(code, "as it is set".to_owned()))))
    }
}

struct World {
    admin: Arc<Admin>,
    topic: Arc<Topic>,
    courier: Arc<Fixed>,
}

impl World {
    async fn new(status: u16) -> World {
        let clock = Clock::start();
        let courier = Arc::new(Fixed { status: status.into(), count: 0.into() });
        let with = Surroundings {
            store: Arc::new(Memory::new(clock)),
            courier: courier.clone(),
            clock,
            runtime: tokio::runtime::Handle::current(),
        };
        let topic = Arc::new(Topic::open(&with, "b").await.unwrap());
        let name = Name { kind: Kind::Broker, key: Key::new("ns", "b") };
        let topics = BTreeMap::from([(name, topic.clone())]);
        let admin = Admin::new(Arc::new(move || topics.clone()));
        topic.subscribe(vec![subscriber()]).await.unwrap();
        World { admin, topic, courier }
    }

    async fn publish(&self, kind: &str, id: &str) {
        let text = |it| Value::String(it);
        let attributes = [("type", text(kind)), ("source", text("/s")), ("id", text(id))];
        let event = Event::new(&attributes, Some(b"{\"a\": 1}")).unwrap();
        self.topic.publish(vec![event]).await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(path);
        self.admin.answer(request.body(Body::full(body.to_owned())).unwrap()).await
    }

    /// The answer to a question that is answered.
    async fn told(&self, method: Method, path: &str, body: &str) -> String {
        let response = self.ask(method, path, body).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        text(response).await
    }

    async fn json(&self, path: &str) -> Json {
        serde_json::from_str(&self.told(Method::GET, path, "").await).unwrap()
    }

    /// Waits until all events are done with.
    async fn settled(&self) {
        let settled = async {
            while self.topic.lags().iter().any(|it| it.open > 0 || it.at < it.end) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let day = std::time::Duration::from_secs(24 * 3600);
        tokio::time::timeout(day, settled).await.unwrap();
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn subscriber() -> Subscriber {
    Subscriber {
        name: "uid-t".to_owned(),
        label: "ns/t".to_owned(),
        namespace: "ns".to_owned(),
        filter: Filter::everything(),
        target: Some(Target::new("http://t.example/", None).unwrap()),
        reply: Answer::Nothing,
        dead_letter_sink: None,
        policy: Policy::default(),
        format: Format::Binary,
        in_flight: 10,
        order_key: None,
        deduplicate: None,
        paused: false,
        start: Start::Latest,
    }
}

#[tokio::test(start_paused = true)]
async fn topics_tell_of_their_subscribers() {
    let world = World::new(202).await;
    world.publish("a", "1").await;
    world.settled().await;
    let told = world.json("/topics").await;
    assert_eq!(told[0], world.json("/brokers/ns/b").await);
    let wanted = json!({"kind": "broker", "namespace": "ns", "name": "b", "start": 0, "end": 1});
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&told[0][key], value, "{key}");
    }
    let lag = &told[0]["subscribers"][0];
    assert_eq!(
        (&lag["label"], &lag["delivered"], &lag["at"]),
        (&json!("ns/t"), &json!(1), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_shown_and_sent_once_more() {
    let world = World::new(400).await;
    world.publish("a", "1").await;
    world.publish("a", "2").await;
    world.settled().await;
    let listed = world.json("/brokers/ns/b/dead").await;
    let all = listed.as_array().unwrap();
    assert_eq!(all.len(), 2);
    let first = all.iter().find(|it| it["id"] == "1").unwrap();
    assert_eq!(
        (&first["subscriber"], &first["code"], &first["answer"], first.get("event")),
        (&json!("ns/t"), &json!(400), &json!("as it is set"), None)
    );
    let path = format!("/brokers/ns/b/dead/{}", first["number"]);
    assert_eq!(world.json(&path).await["event"]["data"], json!({"a": 1}));

    let send = format!("{path}/send");
    let refused = world.ask(Method::POST, &send, "").await;
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    let why = text(refused).await;
    assert!(why.contains("http://t.example/ answered 400: as it is set"), "{why}");

    world.courier.status.store(200, Ordering::Relaxed);
    world.told(Method::POST, &send, "").await;
    let left = world.json("/brokers/ns/b/dead").await;
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &json!("2")));
    assert_eq!(world.ask(Method::POST, &send, "").await.status(), StatusCode::NOT_FOUND);

    world.topic.subscribe(Vec::new()).await.unwrap();
    let send = format!("/brokers/ns/b/dead/{}/send", left[0]["number"]);
    assert_eq!(world.ask(Method::POST, &send, "").await.status(), StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn subscribers_go_back_and_forth() {
    let world = World::new(202).await;
    for id in ["1", "2", "3"] {
        world.publish("a", id).await;
    }
    world.settled().await;
    for (who, from, offset, count) in [
        ("ns/t", "earliest", 0, 6),
        ("uid-t", "2", 2, 7),
        ("ns/t", "latest", 3, 7),
        ("ns/t", "1h", 0, 10),
    ] {
        let asked = json!({"subscriber": who, "from": from}).to_string();
        let moved = world.told(Method::POST, "/brokers/ns/b/move", &asked).await;
        assert_eq!(moved, format!(r#"{{"offset":{offset},"end":3}}"#), "{from}");
        world.settled().await;
        assert_eq!(world.courier.count.load(Ordering::Relaxed), count, "{from}");
    }
    for (body, code, part) in [
        (r#"{"subscriber": "ns/u", "from": "0"}"#, 404, "but ns/t"),
        (r#"{"subscriber": "ns/t", "from": "soon"}"#, 400, "write earliest, latest"),
        ("x", 400, "the question is not"),
    ] {
        let refused = world.ask(Method::POST, "/brokers/ns/b/move", body).await;
        assert_eq!(refused.status().as_u16(), code, "{body}");
        let why = text(refused).await;
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_shown_from_a_place_on_and_through_a_filter() {
    let world = World::new(202).await;
    for (kind, id) in [("a", "1"), ("b", "2"), ("a", "3")] {
        world.publish(kind, id).await;
    }
    for (query, wanted) in [
        ("", vec![0, 1, 2]),
        ("?from=1", vec![1, 2]),
        ("?from=latest", vec![]),
        ("?filter=type+%3D+%27a%27", vec![0, 2]),
        ("?limit=2", vec![0, 1]),
        ("?filter=missing+%3D+1", vec![]),
    ] {
        let lines = world.told(Method::GET, &format!("/brokers/ns/b/events{query}"), "").await;
        let shown: Vec<Shown> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(shown.iter().map(|it| it.offset).collect::<Vec<_>>(), wanted, "{query}");
        assert!(shown.iter().all(|it| it.event.get().contains("\"data\":{\"a\": 1}")));
    }
    for query in ["?from=soon", "?filter=type+%3D", "?limit=x", "?other=1"] {
        let refused = world.ask(Method::GET, &format!("/brokers/ns/b/events{query}"), "").await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_sees_events_as_they_come_until_the_topic_ends() {
    let world = World::new(202).await;
    world.publish("a", "1").await;
    let response = world.ask(Method::GET, "/brokers/ns/b/events?follow=true", "").await;
    let mut body = response.into_body();
    for (offset, kind) in [(1, "b"), (2, "c")] {
        world.publish(kind, "2").await;
        let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let shown: Shown = serde_json::from_slice(&line).unwrap();
        assert_eq!(shown.offset, offset);
    }
    world.topic.close().await;
    drop(world);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn questions_that_make_no_sense_get_a_sentence() {
    let world = World::new(202).await;
    for (method, path, code) in [
        (Method::GET, "/", 404),
        (Method::GET, "/brokers/ns", 404),
        (Method::GET, "/brokers/ns/other", 404),
        (Method::GET, "/channels/ns/b", 404),
        (Method::POST, "/brokers/ns/b", 405),
        (Method::GET, "/brokers/ns/b/move", 405),
        (Method::GET, "/brokers/ns/b/dead/x", 400),
        (Method::GET, "/brokers/ns/b/dead/0", 404),
        (Method::GET, "/brokers/ns/b/more", 404),
    ] {
        let refused = world.ask(method, path, "").await;
        assert_eq!(refused.status().as_u16(), code, "{path}");
        assert!(text(refused).await.len() > 20, "{path}");
    }
}
