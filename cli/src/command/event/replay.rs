//! `weft event replay`: shows a trigger once more what came from some place on.

use eventing::admin::{Move, Moved};
use http::Method;

use super::{Named, open, told};
use crate::args::event::Replay;

pub async fn run(replay: Replay) -> anyhow::Result<()> {
    let (client, path) = open(&replay.topic).await?;
    let namespace = Named::parse(&replay.topic.topic)?.namespace();
    let subscriber = match replay.trigger.contains('/') {
        true => replay.trigger.clone(),
        false => format!("{namespace}/{}", replay.trigger),
    };
    let asked = serde_json::to_vec(&Move { subscriber, from: replay.from })?;
    let moved: Moved = told(&client, Method::POST, &format!("{path}/move"), asked).await?;
    let count = moved.end.saturating_sub(moved.offset);
    println!(
        "{} goes on at offset {}, {count} events before the end",
        replay.trigger, moved.offset
    );
    Ok(())
}
