//! `weft event dead`: the events that nobody took.

use anyhow::bail;
use eventing::admin::DeadLetter;
use http::Method;

use super::{open, told};
use crate::{
    args::{Output, event::Dead},
    command::table::table,
};

/// Letters of an answer that a line shows.
const ANSWER: usize = 60;

pub async fn run(dead: Dead) -> anyhow::Result<()> {
    match dead {
        Dead::Ls { topic, output } => {
            let (client, path) = open(&topic).await?;
            let letters: Vec<DeadLetter> =
                told(&client, Method::GET, &format!("{path}/dead"), Vec::new()).await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string(&letters)?),
                Output::Text => print!("{}", list(&letters)),
            }
            Ok(())
        }
        Dead::Show { topic, number } => {
            let (client, path) = open(&topic).await?;
            let letter: serde_json::Value =
                told(&client, Method::GET, &format!("{path}/dead/{number}"), Vec::new()).await?;
            println!("{}", serde_json::to_string_pretty(&letter)?);
            Ok(())
        }
        Dead::Resend { topic, numbers, all } => {
            let (client, path) = open(&topic).await?;
            let numbers = match all {
                false => numbers,
                true => {
                    let letters: Vec<DeadLetter> =
                        told(&client, Method::GET, &format!("{path}/dead"), Vec::new()).await?;
                    letters.iter().map(|it| it.number).collect()
                }
            };
            let mut failed = 0;
            for number in &numbers {
                let path = format!("{path}/dead/{number}/send");
                match told::<DeadLetter>(&client, Method::POST, &path, Vec::new()).await {
                    Ok(letter) => {
                        println!("{number}: {} took the event {}", letter.subscriber, letter.id);
                    }
                    Err(error) => {
                        failed += 1;
                        eprintln!("{number}: {error:#}");
                    }
                }
            }
            if failed > 0 {
                bail!("{failed} of {} dead letters stay", numbers.len());
            }
            Ok(())
        }
    }
}

fn list(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let rows = letters.iter().map(|it| {
        let answer: String = it
            .answer
            .chars()
            .map(|it| if it.is_control() { ' ' } else { it })
            .take(ANSWER)
            .collect();
        let code = it.code.map_or("-".to_owned(), |it| it.to_string());
        [
            it.number.to_string(),
            format!("{:.0}", it.time),
            it.subscriber.clone(),
            it.kind.clone(),
            it.id.clone(),
            code,
            answer.trim().to_owned(),
        ]
    });
    table(["NUMBER", "GIVEN UP", "SUBSCRIBER", "TYPE", "ID", "CODE", "ANSWER"], rows)
}
