//! Events as people use them: the samples, and the commands that send, watch and look after events.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{eventually::eventually, parts, platform::Platform};
use tokio::io::{AsyncBufReadExt, BufReader};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command of `weft` printed, if it succeeded.
async fn weft(platform: &Platform, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::from(platform.weft(arguments)).output().await?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "weft {arguments:?}: {err}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the log of a service has `part`.
async fn logged(platform: &Platform, service: &str, part: &str) {
    eventually(PATIENCE, &format!("{service} prints {part}"), || async {
        let log = weft(platform, &["logs", service]).await?;
        ensure!(log.contains(part), "{log}");
        Ok(())
    })
    .await;
}

async fn wait(platform: &Platform, what: &str) {
    let line = format!("wait {what} --for=condition=Ready --timeout=60s");
    platform.kubectl().run(&line).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_events_work_as_they_say() {
    let platform = Platform::start().await;
    for sample in ["display", "pipeline", "dead-letters"] {
        platform.apply_sample(&format!("events/{sample}.yaml")).await;
    }
    for service in ["display", "first-step", "second-step", "refuser", "undertaker"] {
        platform.ready(service).await;
    }
    wait(&platform, "broker --all").await;
    wait(&platform, "trigger --all").await;
    tokio::join!(display(&platform), pipeline(&platform), dead_letters(&platform));
    platform.apply_sample("events/cron.yaml").await;
    platform.ready("ticks").await;
    logged(&platform, "ticks", "\"text\": \"tick\"").await;
}

async fn display(platform: &Platform) {
    platform.at_zero("display").await;
    let send = ["event", "send", "default", r#"{"text": "hi"}"#, "--type", "sample.hello"];
    let sent = weft(platform, &[&send[..], &["--id", "one", "--ext", "mine=yes"]].concat()).await;
    assert_eq!(sent.unwrap(), "202 one sample.hello default\n");
    logged(platform, "display", "\"text\": \"hi\"").await;
    logged(platform, "display", "mine: yes").await;

    // The line that the status prints sends one, too.
    let status = weft(platform, &["status"]).await.unwrap();
    let line = status.lines().find(|it| it.contains("curl") && it.contains("/default/default "));
    let line = line.unwrap_or_else(|| panic!("no line for the broker in\n{status}"));
    let mut shell = Command::new("sh");
    let curl = shell.args(["-c", &format!("{line} --silent --show-error --fail")]);
    assert!(curl.stdout(Stdio::null()).status().unwrap().success(), "{line}");
    logged(platform, "display", "event 1 of type hello").await;

    let refused = weft(platform, &["event", "send", "none"]).await.unwrap_err().to_string();
    assert!(refused.contains("there is no broker none"), "{refused}");
    let refused = weft(platform, &["event", "send", "default", "--type", ""]).await;
    assert!(refused.unwrap_err().to_string().contains("400"));
}

async fn pipeline(platform: &Platform) {
    let arguments = ["event", "tail", "pipeline", "--from", "earliest", "-n", "2", "-o", "json"];
    let mut tail = tokio::process::Command::from(platform.weft(&arguments));
    let mut tail = tail.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let sent = ["event", "send", "pipeline", r#"{"order": 7}"#, "--type", "sample.order.placed"];
    weft(platform, &[&sent[..], &["--structured"]].concat()).await.unwrap();
    for kind in ["sample.order.placed", "sample.order.checked"] {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap();
        let shown: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        assert_eq!(shown["event"]["type"], kind);
        assert_eq!(shown["event"]["data"]["order"], 7);
    }
    assert!(tokio::time::timeout(PATIENCE, tail.wait()).await.unwrap().unwrap().success());
    logged(platform, "second-step", "of type sample.order.checked").await;
    let filter = ["--filter", "type = 'sample.order.checked'", "--no-follow"];
    let shown = weft(platform, &[&["event", "tail", "pipeline"][..], &filter].concat()).await;
    let shown = shown.unwrap();
    assert!(shown.contains("from first-step") && !shown.contains("placed"), "{shown}");
    let refused = weft(platform, &["event", "tail", "pipeline", "--filter", "type ="]).await;
    assert!(refused.unwrap_err().to_string().contains("the filter"));

    // Once more: the second event is the first's, and there is one answer more.
    let replay = ["event", "replay", "pipeline", "first-step", "--from", "earliest"];
    let moved = weft(platform, &replay).await.unwrap();
    assert!(moved.contains("goes on at offset 0, 2 events before the end"), "{moved}");
    eventually(PATIENCE, "the trigger has them once more", || async {
        let told = weft(platform, &["trigger", "lag", "pipeline", "-o", "json"]).await?;
        let told: Value = serde_json::from_str(&told)?;
        ensure!(told[0]["end"] == 3, "{told}");
        Ok(())
    })
    .await;
}

async fn dead_letters(platform: &Platform) {
    for kind in ["sample.lost", "sample.kept"] {
        weft(platform, &["event", "send", "letters", "{}", "--type", kind, "--id", kind])
            .await
            .unwrap();
    }
    logged(platform, "undertaker", "knativeerrorcode: 500").await;
    let listed = eventually(PATIENCE, "there is a dead letter", || async {
        let listed = weft(platform, &["event", "dead", "ls", "letters"]).await?;
        ensure!(listed.contains("default/kept") && listed.contains("sample.kept"), "{listed}");
        Ok(listed)
    })
    .await;
    assert!(!listed.contains("sample.lost"), "{listed}");
    let lag = weft(platform, &["trigger", "lag", "letters"]).await.unwrap();
    assert!(lag.contains("default/lost") && lag.contains("answered 500"), "{lag}");
    let number = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    let shown = weft(platform, &["event", "dead", "show", "letters", number]).await.unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["code"], &shown["event"]["id"]), (&500.into(), &"sample.kept".into()));

    let stays = weft(platform, &["event", "dead", "resend", "letters", number]).await;
    assert!(stays.unwrap_err().to_string().contains("was not taken"));
    // Somebody mends the trigger, and sends it again.
    let patch = r#"{"spec":{"subscriber":{"ref":{"name":"undertaker"}}}}"#;
    let words = ["patch", "trigger", "kept", "--type=merge", "-p", patch];
    platform.kubectl().run_words(&words, "").await.ok();
    eventually(PATIENCE, "the mended trigger takes it", || async {
        weft(platform, &["event", "dead", "resend", "letters", "--all"]).await?;
        let left = weft(platform, &["event", "dead", "ls", "letters"]).await?;
        ensure!(left == "no dead letters\n", "{left}");
        Ok(())
    })
    .await;
    logged(platform, "undertaker", "of type sample.kept").await;
}

#[test]
fn each_sample_of_events_is_tried() {
    let folder = parts::root().join("deploy/samples/events");
    let names = std::fs::read_dir(folder).unwrap().flatten().map(|it| it.file_name());
    let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["cron.yaml", "dead-letters.yaml", "display.yaml", "pipeline.yaml"]);
}
