//! Sends numbered events to a broker at a rate, takes them back as its subscriber, and tells how long each was on its way.
//!
//! `event-load --broker ADDR --host HOST --path PATH --sink ADDR [--rate N] [--connections N] [--seconds N]`; without a
//! rate as fast as the broker answers. It prints one JSON object. One thread, so that it takes little from what it measures.

use std::{cell::RefCell, collections::HashMap, io::Write, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// How long it waits for events after the last was sent.
const WAIT: Duration = Duration::from_secs(60);

struct Load {
    begin: Instant,
    /// Nanoseconds on the way, of those that arrived for the first time.
    delays: RefCell<Vec<u32>>,
    seen: RefCell<Vec<bool>>,
    again: RefCell<u64>,
    /// Nanoseconds until the broker answered.
    answers: RefCell<Vec<u32>>,
    refused: RefCell<u64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pairs =
        arguments.chunks(2).map(|it| (it[0].trim_start_matches("--").to_owned(), it[1].clone()));
    let given: HashMap<String, String> = pairs.collect();
    let number =
        |name: &str, usual: u64| given.get(name).map_or(usual, |it| it.parse().expect(name));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let load = Rc::new(Load {
            begin: Instant::now(),
            delays: RefCell::default(),
            seen: RefCell::default(),
            again: RefCell::default(),
            answers: RefCell::default(),
            refused: RefCell::default(),
        });
        let sink = TcpListener::bind(&given["sink"]).await.expect("bind the sink");
        tokio::task::spawn_local(take_all(load.clone(), sink));
        let (rate, connections) = (number("rate", 0), number("connections", 64));
        let seconds = number("seconds", 10);
        let next = Rc::new(RefCell::new(0_u64));
        let begin = Instant::now();
        let end = begin + Duration::from_secs(seconds);
        let senders = (0..connections).map(|_| {
            let (load, next) = (load.clone(), next.clone());
            let (broker, host, path) =
                (given["broker"].clone(), given["host"].clone(), given["path"].clone());
            let size = number("bytes", 1024);
            tokio::task::spawn_local(async move {
                let mut stream = TcpStream::connect(&broker).await.expect("connect to the broker");
                stream.set_nodelay(true).expect("a socket");
                let body = "x".repeat(usize::try_from(size).expect("a size"));
                let (mut request, mut answer) = (Vec::new(), vec![0; 4096]);
                loop {
                    let number = next.replace_with(|it| *it + 1);
                    let mut due = Instant::now();
                    if let Some(nanos) = (number * 1_000_000_000).checked_div(rate) {
                        due = begin + Duration::from_nanos(nanos);
                        if due < end {
                            tokio::time::sleep_until(due).await;
                        }
                    }
                    if due >= end {
                        return;
                    }
                    let sent = (due - load.begin).as_nanos();
                    request.clear();
                    write!(
                        request,
                        "POST {path} HTTP/1.1\r\nhost: {host}\r\nce-specversion: 1.0\r\nce-type: bench\r\n\
                         ce-source: /load\r\nce-id: {number}-{sent}\r\ncontent-type: text/plain\r\n\
                         content-length: {size}\r\n\r\n{body}"
                    )
                    .expect("memory takes everything");
                    stream.write_all(&request).await.expect("send an event");
                    let mut read = 0;
                    while !ends(&answer[..read]) {
                        let more = stream.read(&mut answer[read..]).await.expect("read the answer");
                        assert!(more > 0, "the broker closed the connection");
                        read += more;
                    }
                    let took = u32::try_from(due.elapsed().as_nanos()).unwrap_or(u32::MAX);
                    load.answers.borrow_mut().push(took);
                    if !answer.starts_with(b"HTTP/1.1 202") {
                        *load.refused.borrow_mut() += 1;
                    }
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.expect("a sender");
        }
        let sending = begin.elapsed().as_secs_f64();
        let wanted = load.answers.borrow().len() as u64 - *load.refused.borrow();
        let last = Instant::now() + WAIT;
        while (load.delays.borrow().len() as u64) < wanted && Instant::now() < last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let through = begin.elapsed().as_secs_f64();
        let ms = |times: &RefCell<Vec<u32>>, part: f64| {
            let mut times = times.borrow_mut();
            times.sort_unstable();
            let at = (times.len() as f64 * part) as usize;
            f64::from(*times.get(at.min(times.len().saturating_sub(1))).unwrap_or(&0)) / 1e6
        };
        let (refused, again) = (*load.refused.borrow(), *load.again.borrow());
        let delivered = load.delays.borrow().len();
        println!(
            "{{\"accepted\": {wanted}, \"refused\": {}, \"delivered\": {}, \"again\": {}, \
             \"accepted_per_second\": {:.0}, \"delivered_per_second\": {:.0}, \
             \"answer_p50_ms\": {:.3}, \"answer_p99_ms\": {:.3}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \
             \"p999_ms\": {:.3}}}",
            refused,
            delivered,
            again,
            wanted as f64 / sending,
            delivered as f64 / through,
            ms(&load.answers, 0.5),
            ms(&load.answers, 0.99),
            ms(&load.delays, 0.5),
            ms(&load.delays, 0.99),
            ms(&load.delays, 0.999),
        );
    });
}

fn ends(head: &[u8]) -> bool {
    // Answers to events have no body when they are good, and one that fits when they are not.
    let Some(at) = head.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&head[..at]).to_ascii_lowercase();
    let length =
        text.split("content-length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
    head.len() >= at + 4 + length.unwrap_or(0)
}

async fn take_all(load: Rc<Load>, sink: TcpListener) {
    loop {
        let Ok((stream, _)) = sink.accept().await else { continue };
        tokio::task::spawn_local(take(load.clone(), stream));
    }
}

/// Answers each request with 202 and notes when its event came.
async fn take(load: Rc<Load>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true); // It works without.
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some((id, length)) = one(&buffer) {
            if let Some((number, sent)) = id {
                let now = u64::try_from(load.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let number = usize::try_from(number).expect("a count");
                let mut seen = load.seen.borrow_mut();
                if seen.len() <= number {
                    seen.resize(number + 4096, false);
                }
                if std::mem::replace(&mut seen[number], true) {
                    *load.again.borrow_mut() += 1;
                } else {
                    let delay = u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX);
                    load.delays.borrow_mut().push(delay);
                }
            }
            buffer.drain(..length);
            if stream
                .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// The number and the time in the id of the first request, and the request's length.
fn one(buffer: &[u8]) -> Option<(Option<(u64, u64)>, usize)> {
    let head = buffer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let (mut id, mut length) = (None, 0);
    for line in buffer[..head].split(|it| *it == b'\n') {
        let line = std::str::from_utf8(line).ok()?.trim_end();
        if let Some(value) = line.strip_prefix("ce-id: ") {
            id = value.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let whole = head + 4 + length;
    (buffer.len() >= whole).then_some((id, whole))
}
