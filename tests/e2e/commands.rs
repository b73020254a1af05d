//! The other commands of `weft`, as people type them.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::{
    eventually::eventually,
    parts,
    platform::{Platform, Settings},
};
use tokio::io::{AsyncBufReadExt, BufReader};

const FREE: [&str; 2] = ["--api-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"];
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed, if it succeeded.
#[track_caller]
fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {out}{err}");
    out.into_owned()
}

/// What a command complained about, if it failed.
#[track_caller]
fn err(mut command: Command) -> String {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?} succeeded");
    assert!(!err.contains("panicked"), "{err}");
    err
}

/// Runs the line with curl that a command printed, as it is.
#[track_caller]
fn call(printed: &str) -> String {
    let line = printed.lines().map(str::trim).find(|line| line.starts_with("curl "));
    let line = line.unwrap_or_else(|| panic!("no line with curl in\n{printed}"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{line} --silent --show-error --fail")]);
    ok(shell)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_lives_in_the_background() {
    let platform = Platform::prepare(Settings::default()).with_turn().await;
    let weft = |arguments: &[&str]| platform.weft(arguments);
    assert!(ok(weft(&["status"])).contains("no platform runs"));
    assert!(ok(weft(&["down"])).contains("no platform runs"));

    let sample = parts::root().join("deploy/samples/hello.yaml");
    let sample = sample.to_str().unwrap();
    let image = format!("dev.local/mine:v1={}", parts::weft().display());
    let up = ["up", "--detach", "--apply", sample, "--image", &image, FREE[0], FREE[1]];
    let said = ok(weft(&up));
    for part in ["Weft is ready", "KUBECONFIG=", "kubectl apply", "curl -H", "weft down"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert!(!said.contains('\x1b'), "no colour where there is no terminal:\n{said}");
    // What was to be applied is there, and the line that was printed calls it.
    let mut kubectl = platform.kubectl().clone();
    kubectl.kubeconfig = platform.data_dir().join("kubeconfig");
    eventually(PATIENCE, "the manifest is applied", || async {
        kubectl.run("get ksvc hello").await.result()
    })
    .await;
    kubectl.run("wait ksvc/hello --for=condition=Ready --timeout=60s").await.ok();
    assert_eq!(call(&said), "Hello World!\n");

    let status = ok(weft(&["status"]));
    for part in ["weft runs (process ", "default/hello  ready", "http://hello.default.localhost"] {
        assert!(status.contains(part), "{part} is missing in\n{status}");
    }
    assert_eq!(call(&status), "Hello World!\n");
    assert!(ok(weft(&["logs", "hello"])).contains("listening on port"));
    let explained = ok(weft(&["explain", "hello"]));
    assert!(explained.starts_with("hello-00001\n"), "{explained}");
    assert!(explained.lines().count() > 1, "there are decisions:\n{explained}");
    let decisions: Value =
        serde_json::from_str(&ok(weft(&["explain", "hello", "-o", "json"]))).unwrap();
    assert!(decisions.as_array().is_some_and(|it| !it.is_empty()), "{decisions}");
    let unknown = err(weft(&["explain", "nobody"]));
    assert!(unknown.contains("nobody"), "{unknown}");
    assert!(ok(weft(&["image", "ls"])).contains("weft.dev/samples/hello"));

    let again = err(weft(&["up", "--detach", FREE[0], FREE[1]]));
    assert!(again.contains("one runs already"), "{again}");
    assert!(ok(weft(&["down"])).contains("stopped"));
    assert!(ok(weft(&["status"])).contains("no platform runs"));
    assert_eq!(platform.processes(), [""; 0], "left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_may_be_named_while_the_platform_runs() {
    let platform = Platform::start().await;
    let weft = |arguments: &[&str]| platform.weft(arguments);
    let manifest = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: app}
spec:
  template:
    spec:
      containers:
      - {image: 'dev.local/app:v2', args: [sample, hello], env: [{name: TARGET, value: App}]}
";
    let program = parts::weft();
    let program = program.to_str().unwrap();
    assert!(ok(weft(&["image", "add", "dev.local/app:v2", program])).contains("dev.local/app:v2"));
    assert!(ok(weft(&["image", "ls"])).contains(&format!("dev.local/app:v2  {program}")));
    platform.apply(manifest).await;
    platform.ready("app").await;
    let host = platform.host("app").await;
    assert_eq!(platform.get(&host, "/").await.unwrap().ok().unwrap(), "Hello App!\n");

    assert!(ok(weft(&["image", "rm", "dev.local/app:v2"])).contains("forgotten"));
    assert!(!ok(weft(&["image", "ls"])).contains("dev.local/app"));
    platform.get(&host, "/").await.unwrap().ok().unwrap();
    let error = err(weft(&["image", "rm", "dev.local/app:v2"]));
    assert!(error.contains("was not added"), "{error}");
    let error = err(weft(&["image", "add", "dev.local/app:v3", "/nowhere/at/all"]));
    assert!(error.contains("/nowhere/at/all"), "{error}");
    let error = err(weft(&["image", "add", "no spaces", program]));
    assert!(error.contains("no spaces"), "{error}");

    // A pod that waits for its image starts when that is named.
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: waits}, spec: {restartPolicy: Never,
        containers: [{name: main, image: dev.local/late, args: [-c, 'echo at last']}]}}";
    platform.apply(pod).await;
    eventually(PATIENCE, "the pod says what it lacks", || async {
        let table = platform.kubectl().run("get pod waits --no-headers").await.result()?;
        match table.contains("ErrImage") || table.contains("ImagePullBackOff") {
            true => Ok(()),
            false => Err(table),
        }
    })
    .await;
    ok(weft(&["image", "add", "dev.local/late", "/bin/sh"]));
    eventually(PATIENCE, "the pod runs", || async {
        let log = platform.kubectl().run("logs waits").await.result()?;
        if log == "at last\n" { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_a_service_across_zero() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let mut follow = platform.weft(&["logs", "hello", "-f"]);
    follow.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follow = tokio::process::Command::from(follow).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut pods = Vec::new();
    for _ in 0..2 {
        platform.get(&host, "/").await.unwrap().ok().unwrap();
        let line = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it goes on");
                if line.contains("listening on port") {
                    return line;
                }
            }
        };
        let line = tokio::time::timeout(PATIENCE, line).await.expect("it prints what a pod says");
        pods.push(line.split(':').next().unwrap().to_owned());
        platform.at_zero("hello").await;
    }
    assert_ne!(pods[0], pods[1], "the second is another pod");
    follow.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_read_json() {
    let platform = Platform::prepare(Settings::default()).with_turn().await;
    let sample = parts::root().join("deploy/samples/hello.yaml");
    let bad = platform.home().join("bad.yaml");
    fs::write(&bad, "apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n").unwrap();
    let mut up = platform.weft(&["--log-format", "json", "--log", "info", "up", FREE[0], FREE[1]]);
    up.arg("--apply").arg(&sample).arg("--apply").arg(&bad);
    let (mut output, writer) = std::io::pipe().unwrap();
    up.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = up.spawn().unwrap();
    // Its end of the pipe is the only one, so that reading ends with it.
    drop(up);
    let kubectl = platform.kubectl();
    eventually(PATIENCE, "the manifests are applied", || async {
        kubectl.run("get ksvc hello").await.result()
    })
    .await;
    ok(platform.weft(&["down"]));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let mut messages = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        messages.push(line);
    }
    let ready =
        messages.iter().find(|it| it["message"] == "ready").expect("it says that it is ready");
    for key in ["api", "gateway", "kubeconfig", "pods", "tookMs"] {
        assert!(!ready[key].is_null(), "{key} is missing in {ready}");
    }
    let says = |part: &str| messages.iter().any(|it| it.to_string().contains(part));
    assert!(says("services/hello") && says("Nothing"), "{text}");

    // An error is JSON too.
    let wrong = platform.weft(&["--log-format", "json", "image", "rm", "nobody"]);
    let wrong: Value = serde_json::from_str(err(wrong).trim()).unwrap();
    assert!(wrong["message"].as_str().unwrap().contains("was not added"), "{wrong}");
}
