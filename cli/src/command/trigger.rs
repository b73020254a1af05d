//! `weft trigger`: how far triggers are with the events of their brokers.

use anyhow::{Context, bail};
use eventing::{admin::Told, topic::Lag};
use http::Method;

use super::{event, table::table};
use crate::{
    args::{Output, event::Trigger},
    connect,
};

/// Letters of a failure that a line shows.
const FAILURE: usize = 80;

pub async fn run(command: Trigger) -> anyhow::Result<()> {
    let Trigger::Lag { broker, output, cluster } = command;
    let client = connect::cluster(&cluster).await?;
    let answer = event::ask(&client, Method::GET, "/topics", Vec::new()).await?;
    let bytes = answer.into_body().collect_bytes().await.context("read the answer")?;
    let mut topics: Vec<Told> = serde_json::from_slice(&bytes).context("read the answer")?;
    topics.retain(|it| it.kind == "broker");
    if let Some(broker) = &broker {
        let event::Named::Broker(namespace, name) = event::Named::parse(broker)? else {
            bail!("{broker} is no broker: channels have subscriptions, not triggers");
        };
        topics.retain(|it| it.namespace == namespace && it.name == name);
        if topics.is_empty() {
            bail!("there is no broker {namespace}/{name} that is ready");
        }
    }
    match output {
        Output::Json => println!("{}", serde_json::to_string(&topics)?),
        Output::Text => print!("{}", text(&topics)),
    }
    Ok(())
}

fn text(topics: &[Told]) -> String {
    let lags = topics.iter().flat_map(|topic| topic.subscribers.iter().map(move |it| (topic, it)));
    let rows: Vec<_> = lags.map(|(topic, lag)| row(topic, lag)).collect();
    if rows.is_empty() {
        return "no triggers\n".to_owned();
    }
    let head =
        ["BROKER", "TRIGGER", "BEHIND", "OPEN", "DELIVERED", "FAILED", "DEAD", "LAST FAILURE"];
    table(head, rows)
}

fn row(topic: &Told, lag: &Lag) -> [String; 8] {
    // A filter that fails is told where no delivery failed.
    let failure = lag.failure.as_ref().or(lag.stumbled.as_ref());
    let failure = failure.map_or("-", |it| it.lines().next().unwrap_or_default());
    [
        format!("{}/{}", topic.namespace, topic.name),
        lag.label.clone(),
        lag.end.saturating_sub(lag.at).to_string(),
        lag.open.to_string(),
        lag.delivered.to_string(),
        lag.failed.to_string(),
        lag.dead.to_string(),
        failure.chars().take(FAILURE).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_trigger() {
        let told = r#"[{"kind": "broker", "namespace": "ns", "name": "b", "start": 0, "end": 9, "bytes": 1,
            "subscribers": [{"name": "uid", "label": "ns/t", "end": 9, "at": 4, "open": 2, "delivered": 3,
            "failed": 1, "dead": 0, "failure": "http://t answered 500: no\nmore", "unfiltered": 0, "again": 0}]}]"#;
        let topics: Vec<Told> = serde_json::from_str(told).unwrap();
        let text = text(&topics);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let failure = ["http://t", "answered", "500:", "no"];
        assert_eq!(line, [&["ns/b", "ns/t", "5", "2", "3", "1", "0"][..], &failure].concat());
    }
}
