//! What a topic delivers, to whom and how often.

use std::collections::BTreeSet;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use proxy::body::Body;

use super::*;
use crate::{
    deliver::{Format, Target},
    event::{Value, decode, encode},
    filter::{Filter, compile},
    ledger::HELD_LIMIT,
    log::memory::Memory,
    policy::{Backoff, Policy},
    state::Reason,
    subscriber::Reply,
};

/// A day: whatever happens, happens before.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// One request that arrived.
#[derive(Clone, Debug)]
struct Arrived {
    host: String,
    event: Event,
    at: Instant,
}

type Script = Box<dyn Fn(&str, &Event) -> Boxed<Response<Body>> + Send + Sync>;

/// Answers requests by a script and remembers them.
struct Post {
    arrived: Mutex<Vec<Arrived>>,
    news: Notify,
    busy: AtomicU64,
    most: AtomicU64,
    script: Mutex<Script>,
}

impl Courier for Arc<Post> {
    fn send(&self, to: &Target, request: Request<Body>) -> Boxed<io::Result<Response<Body>>> {
        let (post, host) = (self.clone(), to.host.to_string());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let event = decode::one(&head.headers, &body, None).map_err(io::Error::other)?;
            let arrived = Arrived { host: host.clone(), event: event.clone(), at: Instant::now() };
            post.arrived.lock().push(arrived);
            post.news.notify_waiters();
            let busy = post.busy.fetch_add(1, Ordering::Relaxed) + 1;
            post.most.fetch_max(busy, Ordering::Relaxed);
            let answer = (post.script.lock())(&host, &event);
            let answer = answer.await;
            post.busy.fetch_sub(1, Ordering::Relaxed);
            if answer.status() == StatusCode::GONE {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(answer)
        })
    }
}

struct World {
    with: Surroundings,
    post: Arc<Post>,
    topic: Option<Topic>,
}

impl World {
    async fn new() -> World {
        let clock = Clock::start();
        let post = Arc::new(Post {
            arrived: Mutex::default(),
            news: Notify::new(),
            busy: AtomicU64::new(0),
            most: AtomicU64::new(0),
            script: Mutex::new(Box::new(|_, _| status(202))),
        });
        let store = Arc::new(Memory::new(clock));
        let courier: Arc<dyn Courier> = Arc::new(post.clone());
        let runtime = Handle::current();
        let with = Surroundings { store, courier, clock, runtime };
        let topic = Some(Topic::open(&with, "ns.b").await.unwrap());
        World { with, post, topic }
    }

    fn topic(&self) -> &Topic {
        self.topic.as_ref().unwrap()
    }

    fn answer(
        &self,
        script: impl Fn(&str, &Event) -> Boxed<Response<Body>> + Send + Sync + 'static,
    ) {
        *self.post.script.lock() = Box::new(script);
    }

    async fn subscribe(&self, subscribers: &[Subscriber]) {
        self.topic().subscribe(subscribers.to_vec()).await.unwrap();
    }

    async fn publish(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.topic().publish(vec![numbered(number)]).await.unwrap();
        }
    }

    /// Waits until `host` got `count` requests; returns the ids of their events.
    async fn got(&self, host: &str, count: usize) -> Vec<u32> {
        let waited = tokio::time::timeout(LONG, async {
            loop {
                let news = self.post.news.notified();
                let ids = self.ids(host);
                if ids.len() >= count {
                    return ids;
                }
                news.await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{host} got {:?}", self.ids(host)))
    }

    fn ids(&self, host: &str) -> Vec<u32> {
        let arrived = self.post.arrived.lock();
        let its = arrived.iter().filter(|it| it.host == host);
        its.map(|it| it.event.id().parse().unwrap()).collect()
    }

    /// Waits until nothing is open or behind any more.
    async fn settled(&self) {
        for _ in 0..100_000 {
            let lags = self.topic().lags();
            if lags.iter().all(|it| it.open == 0 && it.at == it.end) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("still open: {:?}", self.topic().lags());
    }

    async fn reopen(&mut self) {
        self.topic.take().unwrap().close().await;
        self.topic = Some(Topic::open(&self.with, "ns.b").await.unwrap());
    }
}

fn status(code: u16) -> Boxed<Response<Body>> {
    let mut response = Response::new(Body::full(format!("says {code}")));
    if code < 300 {
        response = Response::new(Body::empty());
    }
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    Box::pin(std::future::ready(response))
}

fn replying(event: &Event) -> Boxed<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.body_mut() = Body::full(encode::binary(event, response.headers_mut()));
    Box::pin(std::future::ready(response))
}

fn event_of(kind: &str, id: u32, more: &[(&str, Value<'_>)], data: usize) -> Event {
    let id = id.to_string();
    let text = |it| Value::String(it);
    let mut attributes = vec![("type", text(kind)), ("source", text("/test")), ("id", text(&id))];
    attributes.extend(more);
    Event::new(&attributes, Some(&vec![b'x'; data])).unwrap()
}

fn numbered(id: u32) -> Event {
    event_of("t", id, &[], 10)
}

fn sql(expression: &str) -> Filter {
    let cesql = Some(expression.to_owned());
    compile(None, &[api::eventing::Filter { cesql, ..Default::default() }]).filter
}

fn target(host: &str) -> Target {
    Target::lenient(&format!("http://{host}/"), None)
}

fn subscriber(host: &str) -> Subscriber {
    Subscriber {
        name: format!("uid-{host}"),
        label: format!("ns/{host}"),
        namespace: "ns".to_owned(),
        filter: Filter::everything(),
        target: Some(target(host)),
        reply: Reply::Topic,
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

fn patient(host: &str, retries: u32) -> Subscriber {
    let delay = Duration::from_millis(200);
    let policy = Policy { retries, backoff: Backoff::Exponential, delay, ..Policy::default() };
    Subscriber { policy, ..subscriber(host) }
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn each_gets_what_it_wants() {
    let world = World::new().await;
    let (all, some) = (subscriber("all"), subscriber("even"));
    world.subscribe(&[all, Subscriber { filter: sql("INT(id) % 2 = 0"), ..some }]).await;
    world.publish(0..10).await;
    assert_eq!(sorted(world.got("all", 10).await), (0..10).collect::<Vec<_>>());
    assert_eq!(sorted(world.got("even", 5).await), [0, 2, 4, 6, 8]);
    world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_when_it_is_time() {
    let world = World::new().await;
    let tries = Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    world.answer(move |_, _| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => status(500),
        1 => status(410), // No connection, by the script.
        2 => status(429),
        _ => status(200),
    });
    world.subscribe(&[patient("a", 5)]).await;
    world.publish(0..1).await;
    world.got("a", 4).await;
    let arrived = world.post.arrived.lock().clone();
    let waits: Vec<_> = arrived.windows(2).map(|it| (it[1].at - it[0].at).as_millis()).collect();
    assert_eq!(waits, [200, 400, 800]);
    world.settled().await;
    let lag = world.topic().lags().remove(0);
    assert_eq!((lag.delivered, lag.failed, lag.dead, lag.failure), (1, 3, 0, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_goes_to_the_dead_letter_sink_with_the_reason() {
    let world = World::new().await;
    world.answer(|host, _| if host == "sink" { status(200) } else { status(500) });
    let sink = Some(target("sink"));
    world.subscribe(&[Subscriber { dead_letter_sink: sink, ..patient("a", 2) }]).await;
    world.publish(7..8).await;
    world.got("sink", 1).await;
    assert_eq!(world.ids("a"), [7, 7, 7]);
    let letter = world.post.arrived.lock().last().unwrap().event.clone();
    let says = |name| letter.attribute(name);
    assert_eq!(says("knativeerrordest"), Some(Value::String("http://a/")));
    assert_eq!(says("knativeerrorcode"), Some(Value::String("500")), "in a header all are texts");
    assert_eq!(says("knativeerrordata"), Some(Value::String("c2F5cyA1MDA=")));
    world.settled().await;
    assert!(world.topic().shared().dead.letters().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_kept() {
    let mut world = World::new().await;
    world.answer(|host, event| match (host, event.id()) {
        ("sink", _) => status(503),
        (_, "1") => status(400),
        _ => status(200),
    });
    let sink = Some(target("sink"));
    let with_sink = Subscriber { dead_letter_sink: sink, ..patient("b", 1) };
    world.subscribe(&[subscriber("a"), with_sink]).await;
    world.publish(0..3).await;
    world.got("sink", 2).await;
    world.settled().await;
    world.reopen().await;
    let dead = &world.topic().shared().dead;
    let letters = dead.letters().await.unwrap();
    let about: Vec<_> = letters.iter().map(|it| (&*it.about.label, it.event.id())).collect();
    assert_eq!(about, [("ns/a", "1"), ("ns/b", "1")]);
    let data = "c2F5cyA0MDA=".to_owned();
    let wanted = Reason { destination: "http://a/".to_owned(), code: Some(400), data };
    assert_eq!(letters[0].about.reason, wanted);
    dead.sent(letters[0].number).await.unwrap();
    assert_eq!(dead.letters().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_delays_nobody_and_loses_nothing() {
    let world = World::new().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let its = gate.clone();
    world.answer(move |host, _| {
        let (gate, is_slow) = (its.clone(), host == "slow");
        Box::pin(async move {
            if is_slow {
                gate.acquire().await.unwrap().forget();
            }
            status(200).await
        })
    });
    world.subscribe(&[subscriber("fast"), subscriber("slow")]).await;
    let large = HELD_LIMIT / 20;
    for id in 0..60 {
        world.topic().publish(vec![event_of("t", id, &[], large)]).await.unwrap();
    }
    assert_eq!(world.got("fast", 60).await.len(), 60);
    let lag = world.topic().lags().into_iter().find(|it| it.label == "ns/slow").unwrap();
    assert!(lag.open <= 20, "what it holds is bounded: {lag:?}");
    assert!(lag.at < 25, "it is behind: {lag:?}");
    gate.add_permits(1000);
    assert_eq!(sorted(world.got("slow", 60).await), (0..60).collect::<Vec<_>>());
    // It has caught up and gets what is new like everybody else.
    world.settled().await;
    world.publish(60..61).await;
    assert_eq!(world.got("slow", 61).await.last(), Some(&60));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_under_way_than_may_be() {
    let world = World::new().await;
    world.answer(|_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            status(200).await
        })
    });
    world.subscribe(&[Subscriber { in_flight: 3, ..subscriber("a") }]).await;
    world.publish(0..50).await;
    world.got("a", 50).await;
    assert_eq!(world.post.most.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn events_of_one_key_keep_their_order() {
    let world = World::new().await;
    // Every third try fails, and some take longer than others.
    let tries = Arc::new(AtomicU64::new(0));
    let taken = Arc::new(Mutex::new(Vec::new()));
    let its = taken.clone();
    world.answer(move |_, event| {
        let number = tries.fetch_add(1, Ordering::Relaxed);
        let id: u32 = event.id().parse().unwrap();
        let taken = its.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(number * 7 % 50)).await;
            if number.is_multiple_of(3) {
                return status(500).await;
            }
            taken.lock().push(id);
            status(200).await
        })
    });
    let order_key = Some("partitionkey".to_owned());
    world.subscribe(&[Subscriber { order_key, ..patient("a", 20) }]).await;
    for id in 0..100 {
        let key = format!("k{}", id % 4);
        let event = event_of("t", id, &[("partitionkey", Value::String(&key))], 1);
        world.topic().publish(vec![event]).await.unwrap();
    }
    world.settled().await;
    let taken = taken.lock().clone();
    for key in 0..4 {
        let its: Vec<_> = taken.iter().filter(|it| *it % 4 == key).copied().collect();
        assert_eq!(its, (0..100).filter(|it| it % 4 == key).collect::<Vec<_>>());
    }
    assert_ne!(taken, sorted(taken.clone()), "other keys do not wait");
}

#[tokio::test(start_paused = true)]
async fn answers_are_events_for_everybody_until_they_have_gone_round_too_often() {
    let world = World::new().await;
    world.answer(|host, event| match host {
        "echo" => replying(&event_of("u", event.id().parse::<u32>().unwrap() + 1, &[], 1)),
        "plain" => Box::pin(std::future::ready(Response::new(Body::full("thanks")))),
        _ => status(202),
    });
    let end = Subscriber { filter: sql("type = 'u'"), ..subscriber("end") };
    world.subscribe(&[subscriber("echo"), end]).await;
    world.topic().publish(vec![numbered(0).with_hops(Some(5))]).await.unwrap();
    assert_eq!(world.got("end", 4).await, [1, 2, 3, 4]);
    world.settled().await;
    assert_eq!(world.ids("end").len(), 4, "the fifth goes no further");
    let arrived = world.post.arrived.lock().clone();
    let answer = arrived.iter().find(|it| it.host == "end").unwrap();
    assert!(answer.event.attribute("knativearrivaltime").is_some());
    assert_eq!(answer.event.attribute("knativebrokerttl"), None);
    // What is neither an event nor nothing is no good answer.
    world.subscribe(&[Subscriber { filter: sql("type = 't'"), ..subscriber("plain") }]).await;
    world.publish(9..10).await;
    world.got("plain", 1).await;
    world.settled().await;
    let letters = world.topic().shared().dead.letters().await.unwrap();
    assert_eq!(letters[0].about.reason.code, Some(502));
}

#[tokio::test(start_paused = true)]
async fn everything_goes_on_after_a_restart() {
    let mut world = World::new().await;
    world.answer(|host, _| if host == "down" { status(500) } else { status(200) });
    let both = [subscriber("up"), patient("down", 100)];
    world.subscribe(&both).await;
    world.publish(0..20).await;
    world.got("up", 20).await;
    world.got("down", 40).await;
    world.reopen().await;
    world.answer(|_, _| status(200));
    world.post.arrived.lock().clear();
    world.publish(20..25).await;
    world.subscribe(&both).await;
    assert_eq!(sorted(world.got("up", 5).await), [20, 21, 22, 23, 24], "once is enough");
    assert_eq!(sorted(world.got("down", 25).await), (0..25).collect::<Vec<_>>());
    world.settled().await;
    // Who is not named any more is forgotten, and a new one of that name is new.
    world.subscribe(&both[..1]).await;
    world.publish(25..30).await;
    world.subscribe(&both).await;
    world.post.arrived.lock().clear();
    world.publish(30..31).await;
    assert_eq!(world.got("down", 1).await, [30]);
}

#[tokio::test(start_paused = true)]
async fn order_holds_across_a_restart() {
    let mut world = World::new().await;
    world.answer(|_, _| status(500));
    let order_key = Some("partitionkey".to_owned());
    let ordered = [Subscriber { order_key, ..patient("a", 100) }];
    world.subscribe(&ordered).await;
    for id in 0..5 {
        let event = event_of("t", id, &[("partitionkey", Value::String("k"))], 1);
        world.topic().publish(vec![event]).await.unwrap();
    }
    world.got("a", 3).await;
    world.reopen().await;
    world.answer(|_, _| status(200));
    world.post.arrived.lock().clear();
    world.subscribe(&ordered).await;
    assert_eq!(world.got("a", 5).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_may_begin_earlier_and_go_back() {
    let world = World::new().await;
    world.subscribe(&[subscriber("a")]).await;
    world.publish(0..5).await;
    world.got("a", 5).await;
    let since = world.with.clock.now().as_millisecond() + 1;
    tokio::time::advance(Duration::from_secs(1)).await;
    world.publish(5..8).await;
    world.got("a", 8).await;
    let starts = [
        ("latest", Start::Latest, 0),
        ("earliest", Start::Earliest, 8),
        ("offset", Start::Offset(6), 2),
        ("time", Start::Time(since), 3),
    ];
    let new = starts.map(|(host, start, _)| Subscriber { start, ..subscriber(host) });
    world.subscribe(&[&[subscriber("a")], &new[..]].concat()).await;
    for (host, _, count) in starts {
        let wanted: Vec<_> = (8 - count..8).collect();
        assert_eq!(sorted(world.got(host, count as usize).await), wanted, "{host}");
    }
    world.settled().await;
    assert_eq!(world.topic().move_to("uid-a", Start::Offset(5)).await.unwrap(), 5);
    assert_eq!(sorted(world.got("a", 11).await), [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_keeps_everything() {
    let world = World::new().await;
    let paused = Subscriber { paused: true, ..subscriber("a") };
    world.subscribe(&[paused]).await;
    world.publish(0..5).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(world.ids("a"), [0_u32; 0]);
    world.subscribe(&[subscriber("a")]).await;
    assert_eq!(sorted(world.got("a", 5).await), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_hangs_is_given_up_in_time() {
    let world = World::new().await;
    world.answer(|_, _| Box::pin(std::future::pending()));
    let timeout = Duration::from_secs(3);
    let policy = Policy { timeout, ..Policy::default() };
    world.subscribe(&[Subscriber { policy, ..subscriber("a") }]).await;
    let begin = Instant::now();
    world.publish(0..1).await;
    world.settled().await;
    assert!(begin.elapsed() < Duration::from_secs(4));
    let letters = world.topic().shared().dead.letters().await.unwrap();
    assert_eq!(letters[0].about.reason.code, None);
}

/// A batch is one append: all of it is there, in its order.
#[tokio::test(start_paused = true)]
async fn a_batch_is_taken_as_one() {
    let world = World::new().await;
    world.subscribe(&[Subscriber { in_flight: 1, ..subscriber("a") }]).await;
    let first = world.topic().publish((0..10).map(numbered).collect()).await.unwrap();
    assert_eq!(first, 0);
    assert_eq!(world.got("a", 10).await, (0..10).collect::<Vec<_>>());
    let unique: BTreeSet<_> = world.ids("a").into_iter().collect();
    assert_eq!(unique.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_fails_on_an_event_is_told_and_does_not_match() {
    let world = World::new().await;
    let picky = Subscriber { filter: sql("missing = 'x'"), ..subscriber("a") };
    world.subscribe(&[picky]).await;
    world.publish(0..3).await;
    world.settled().await;
    let lag = world.topic().lags().remove(0);
    assert_eq!((lag.delivered, lag.unfiltered), (0, 3));
    assert!(lag.stumbled.unwrap().contains("missing"));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_be_reached_for_waits() {
    let world = World::new().await;
    world.subscribe(&[Subscriber { target: None, ..subscriber("a") }]).await;
    world.publish(0..3).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(world.ids("a"), [0_u32; 0]);
    world.subscribe(&[subscriber("a")]).await;
    assert_eq!(sorted(world.got("a", 3).await), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_again_is_left_out_also_after_a_restart() {
    let mut world = World::new().await;
    let deduplicate = Some(Duration::from_secs(60));
    let once = [Subscriber { deduplicate, ..subscriber("a") }];
    world.subscribe(&once).await;
    world.publish(0..3).await;
    world.publish(1..4).await;
    world.settled().await;
    assert_eq!(sorted(world.ids("a")), [0, 1, 2, 3]);
    assert_eq!(world.topic().lags()[0].again, 2);
    world.reopen().await;
    world.subscribe(&once).await;
    world.publish(3..5).await;
    world.settled().await;
    assert_eq!(sorted(world.ids("a")), [0, 1, 2, 3, 4]);
    tokio::time::advance(Duration::from_secs(61)).await;
    world.publish(4..5).await;
    world.settled().await;
    assert_eq!(sorted(world.ids("a")), [0, 1, 2, 3, 4, 4], "the window is over");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_can_be_sent_to_is_a_failure_like_others() {
    let world = World::new().await;
    let (bad, sink) = (Some(Target::lenient("bad://uri", None)), Some(target("sink")));
    let lost = Subscriber { target: bad, dead_letter_sink: sink, ..patient("a", 1) };
    world.subscribe(&[lost]).await;
    world.publish(0..1).await;
    assert_eq!(world.got("sink", 1).await, [0]);
    let letter = world.post.arrived.lock()[0].event.clone();
    assert_eq!(letter.attribute("knativeerrordest"), Some(Value::String("bad://uri")));
}
