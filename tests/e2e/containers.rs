//! Containers that misbehave: what the objects, the events and the logs say of them.

use std::{fs, time::Duration};

use anyhow::{Result, bail};
use serde_json::Value;
use tests::{eventually::eventually, kubectl::Version, platform::Platform};

use super::protocols::{origin, with_python};

/// The longest that a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

async fn with_programs() -> Platform {
    let platform = super::kubectl::with_shell().await;
    with_python(&platform);
    platform
}

/// A Service that runs the shell; it has three seconds to become ready.
fn shell(name: &str, script: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{annotations: {{serving.knative.dev/progress-deadline: 3s}}}}
    spec:
      containers:
      - image: dev.local/sh
        args: [-c, '{script}']
"
    )
}

/// Fails unless the object's condition is as given; the message need only contain the text.
async fn condition(
    platform: &Platform,
    object: &str,
    kind: &str,
    (status, reason, message): (&str, &str, &str),
) -> Result<()> {
    let found = platform.object(object).await?;
    let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let it = conditions.iter().find(|it| it["type"] == kind);
    let text = |key: &str| it.and_then(|it| it[key].as_str()).unwrap_or_default();
    if (text("status"), text("reason")) != (status, reason) || !text("message").contains(message) {
        bail!("{object} has {conditions:?}");
    }
    Ok(())
}

/// The reasons of the events about a pod.
async fn events(platform: &Platform, pod: &str) -> Result<Vec<String>> {
    let line = format!("events --field-selector=involvedObject.name={pod}");
    let list = platform.object(&line).await?;
    let reason = |it: &Value| it["reason"].as_str().unwrap_or_default().to_owned();
    Ok(list["items"].as_array().into_iter().flatten().map(reason).collect())
}

async fn has_event(platform: &Platform, pod: &str, reason: &str) {
    eventually(PATIENCE, &format!("{pod} has the event {reason}"), || async {
        match events(platform, pod).await? {
            events if events.iter().any(|it| it == reason) => Ok(()),
            events => bail!("there are {events:?}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_says_why_it_is_not_ready() {
    let platform = with_programs().await;
    let unknown = shell("unknown", "true").replace("dev.local/sh", "dev.local/never");
    let cases = [
        ("unknown", unknown, "ContainerMissing", "weft image add dev.local/never=PATH"),
        (
            "exits",
            shell("exits", "echo boom >&2; exit 7"),
            "ExitCode7",
            "Container failed with: boom",
        ),
        ("silent", shell("silent", "sleep 1000"), "ProgressDeadlineExceeded", ""),
        (
            "elsewhere",
            shell("elsewhere", "exec python3 -m http.server 9999")
                .replace("dev.local/sh", "dev.local/python")
                .replace("-c, 'exec python3 -m http.server 9999'", "-m, http.server, \"9999\""),
            "ProgressDeadlineExceeded",
            "",
        ),
    ];
    for (_, manifest, ..) in &cases {
        platform.apply(manifest).await;
    }
    for (name, _, reason, message) in &cases {
        eventually(PATIENCE, &format!("{name} says why"), || async {
            let revision = format!("revision {name}-00001");
            condition(&platform, &revision, "Ready", ("False", reason, message)).await?;
            // Service and Configuration tell which revision it is.
            let wanted = ("False", "RevisionFailed", &*format!("{name}-00001"));
            condition(&platform, &format!("configuration {name}"), "Ready", wanted).await?;
            condition(&platform, &format!("ksvc {name}"), "ConfigurationsReady", wanted).await
        })
        .await;
    }
    // The one with an image that nobody knows was never tried.
    assert_eq!(platform.pods("unknown").await.unwrap(), [""; 0]);
    // kubectl shows the same reason in its table.
    let row = platform.kubectl().run("get revision exits-00001 --no-headers").await.ok();
    assert!(row.contains("False") && row.contains("ExitCode7"), "{row}");

    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: loops}, spec: {containers: [
        {name: main, image: dev.local/sh, args: [-c, "echo again; exit 9"]}]}}"#;
    platform.apply(pod).await;
    has_event(&platform, "loops", "BackOff").await;
    let table = platform.kubectl().run("get pod loops --no-headers").await.ok();
    assert!(table.contains("CrashLoopBackOff") || table.contains("Error"), "{table}");
    let pod = platform.object("pod loops").await.unwrap();
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&9.into(), &"Error".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_crashes_later_comes_back() {
    let platform = with_programs().await;
    platform.apply(&origin("fragile", "min-scale: \"1\"")).await;
    platform.ready("fragile").await;
    let host = platform.host("fragile").await;
    platform.get(&host, "/").await.unwrap().ok().unwrap();
    let [pod] = &platform.pods("fragile").await.unwrap()[..] else { panic!("one pod is wanted") };
    let reply = platform.get(&host, "/crash").await.unwrap();
    assert!(reply.status.is_server_error(), "{reply:?}");
    eventually(PATIENCE, "it answers again", || async { platform.get(&host, "/").await?.ok() })
        .await;
    eventually(PATIENCE, "the pod tells of it", || async {
        let found = platform.object(&format!("pod {pod}")).await?;
        let statuses = found["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let user = statuses.iter().find(|it| it["name"] == "user-container");
        let last = user.map(|it| &it["lastState"]["terminated"]["exitCode"]);
        match (user.and_then(|it| it["restartCount"].as_i64()), last) {
            (Some(1), Some(code)) if *code == 3 => Ok(()),
            _ => bail!("{statuses:?}"),
        }
    })
    .await;
    condition(&platform, "ksvc fragile", "Ready", ("True", "", "")).await.unwrap();
    has_event(&platform, pod, "Started").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_of_output_are_kept_within_bounds() {
    let platform = with_programs().await;
    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: flood}, spec: {
        terminationGracePeriodSeconds: 1, containers: [{name: main, image: dev.local/sh,
        args: [-c, "yes 0123456789012345678901234567890123456789 | head -c 30000000 >&2; echo; echo the end; sleep 1000"]}]}}"#;
    platform.apply(pod).await;
    for version in Version::ALL {
        eventually(PATIENCE, "all of it is read", || async {
            let last = platform.kubectl_of(version).run("logs flood --tail=1").await.result()?;
            if last == "the end\n" { Ok(()) } else { Err(last) }
        })
        .await;
    }
    let mut kept = 0;
    let mut folders = vec![platform.data_dir().join("logs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.metadata().unwrap() {
                it if it.is_dir() => folders.push(entry.path()),
                it => kept += it.len(),
            }
        }
    }
    assert!((5 << 20..21 << 20).contains(&kept), "{kept} bytes are kept");
    let memory = fs::read_to_string(format!("/proc/{}/status", platform.running().pid)).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 400 << 10, "{peak} kB were needed to keep the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_its_end_is_killed_after_the_grace() {
    let platform = with_programs().await;
    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: deaf}, spec: {
        terminationGracePeriodSeconds: 2, containers: [{name: main, image: dev.local/sh,
        args: [-c, "trap '' TERM; echo up; while true; do sleep 1; done"]}]}}"#;
    platform.apply(pod).await;
    eventually(PATIENCE, "it runs", || async {
        let text = platform.kubectl().run("logs deaf").await.result()?;
        if text.contains("up") { Ok(()) } else { Err(text) }
    })
    .await;
    let begun = tokio::time::Instant::now();
    platform.kubectl().run("delete pod deaf --timeout=20s").await.ok();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2), "its grace was cut to {took:?}");
    has_event(&platform, "deaf", "Killing").await;
    let left = platform.processes().into_iter().filter(|it| it.contains("trap")).count();
    assert_eq!(left, 0, "its processes are gone");
}
