//! `weft event tail`: prints the events of a topic, as they come.

use std::{fmt::Write, time::Duration};

use anyhow::Context;
use eventing::admin::Shown;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Method;
use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Map, Value};

use super::{ask, open};
use crate::args::event::{Form, Tail};

/// Wait before a connection that broke off is made again.
const AGAIN: Duration = Duration::from_secs(1);

pub async fn run(tail: Tail) -> anyhow::Result<()> {
    let (client, path) = open(&tail.topic).await?;
    let mut left = tail.count;
    let mut from = tail.from.clone();
    loop {
        let before = from.clone();
        let ended = print(&client, &path, &tail, &mut from, &mut left).await;
        if left == Some(0) || tail.no_follow {
            return ended;
        }
        // The cluster says that there is no such topic, or nothing came at all.
        if let Err(error) = ended
            && before == from
        {
            return Err(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Prints what one connection brings; `from` and `left` become what is still wanted.
async fn print(
    client: &Client,
    path: &str,
    tail: &Tail,
    from: &mut Option<String>,
    left: &mut Option<u64>,
) -> anyhow::Result<()> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("follow", if tail.no_follow { "false" } else { "true" });
    for (name, value) in [("from", from.clone()), ("filter", tail.filter.clone())] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    if let Some(left) = left {
        query.append_pair("limit", &left.to_string());
    }
    let path = format!("{path}/events?{}", query.finish());
    let answer = ask(client, Method::GET, &path, Vec::new()).await?;
    let body = answer.into_body().into_data_stream().map_err(std::io::Error::other);
    let mut lines = body.into_async_read().lines();
    while let Some(line) = lines.try_next().await.context("read the events")? {
        let shown: Shown = serde_json::from_str(&line).context("read an event")?;
        *from = Some((shown.offset + 1).to_string());
        if let Some(left) = left {
            *left = left.saturating_sub(1);
        }
        match tail.output {
            Form::Json => println!("{line}"),
            Form::Pretty => println!("{}", pretty(&shown)),
        }
    }
    Ok(())
}

/// An event for people: what it is in a line, then its other attributes, then its data.
fn pretty(shown: &Shown) -> String {
    let mut event: Map<String, Value> = serde_json::from_str(shown.event.get()).unwrap_or_default();
    event.remove("specversion");
    let mut take = |name: &str| match event.remove(name) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (kind, source, id) = (take("type"), take("source"), take("id"));
    let mut text = format!("{}  {:.3}  {kind}  from {source}  id {id}\n", shown.offset, shown.time);
    let data = event.remove("data").or_else(|| event.remove("data_base64"));
    for (name, value) in &event {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "    {name}: {value}"); // Into memory.
    }
    let data = match data {
        None => return text,
        Some(Value::String(data)) => data,
        Some(data) => serde_json::to_string_pretty(&data).unwrap_or_default(),
    };
    for line in data.lines() {
        let _ = writeln!(text, "  {line}"); // As above.
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_printed_for_people() {
        let shown = r#"{"offset": 7, "time": "2026-01-31T12:00:00Z", "event": {"specversion": "1.0",
            "type": "t", "source": "/s", "id": "1", "subject": "x", "n": 5, "data": {"a": 1}}}"#;
        let shown: Shown = serde_json::from_str(shown).unwrap();
        let wanted = "7  2026-01-31T12:00:00.000Z  t  from /s  id 1\n    n: 5\n    subject: x\n  {\n    \"a\": 1\n  }\n";
        assert_eq!(pretty(&shown), wanted);
    }
}
