//! One Service from its manifest to its answer, to zero and back.

use std::{process::Stdio, time::Duration};

use tests::{eventually::eventually, kubectl::Version, platform::Platform};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn serves_goes_to_zero_and_comes_back() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let reply = platform.get(&host, "/").await.unwrap();
    assert_eq!(reply.ok().unwrap().trim(), "Hello World!");

    let mut watch = platform
        .kubectl()
        .command(&["get", "pods", "-w", "--no-headers", "-l", "serving.knative.dev/service=hello"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut wait_for = async |wanted: &str| {
        let seen = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return line;
                }
            }
            panic!("the watch ended before {wanted}");
        };
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
        seen.unwrap_or_else(|_| panic!("the watch does not show {wanted}"))
    };
    wait_for("Running").await;
    wait_for("Terminating").await;
    platform.at_zero("hello").await;

    let reply = platform.get(&host, "/").await.unwrap();
    assert_eq!(
        reply.ok().unwrap().trim(),
        "Hello World!",
        "the first request at zero waits for its pod"
    );
    let line = wait_for("Running").await;
    assert!(line.starts_with("hello-00001-deployment-"), "{line}");
    watch.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_tell_of_pods_that_are_gone_and_go_on_across_zero() {
    let platform = super::kubectl::with_shell().await;
    let manifest = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
      - image: dev.local/own-sh
        args: [-c, 'echo begun; exec \"$0\" sample hello > /dev/null 2>&1', WEFT]
";
    let weft = platform.weft(&[]).get_program().to_str().unwrap().to_owned();
    platform.add_image("dev.local/own-sh", "/bin/sh".as_ref(), weft.as_ref());
    platform.apply(&manifest.replace("WEFT", &weft)).await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    platform.at_zero("hello").await;

    let printed = |arguments: &[&str]| {
        let output = platform.weft(&[&["logs", "hello"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let once = printed(&[]);
    assert!(once.starts_with("hello-00001-deployment-"), "{once}");
    assert!(once.lines().all(|line| line.ends_with(": begun")), "{once}");
    let pods = once.lines().count();
    assert_eq!(printed(&["--tail", "0"]), "");

    let mut follow = platform.weft(&["logs", "hello", "-f"]);
    follow.stdout(Stdio::piped());
    let mut follow = tokio::process::Command::from(follow).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for turn in 0..pods + 2 {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("line {turn} does not come")).unwrap().unwrap();
        assert!(line.ends_with(": begun"), "{line}");
        if turn + 1 >= pods {
            platform.at_zero("hello").await;
            platform.get(&host, "/").await.unwrap().ok().unwrap();
        }
    }
    follow.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_columns_of_knative() {
    let platform = Platform::start().await;
    // It keeps its pod, so that there is one to list however long this takes.
    let manifest = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: '1'}}
    spec:
      containers:
      - {image: weft.dev/samples/hello}
";
    platform.apply(manifest).await;
    platform.ready("hello").await;
    // Source: the printer columns of serving's CRDs, and those of kubectl's own kinds.
    let wanted = [
        ("ksvc", "NAME URL LATESTCREATED LATESTREADY READY REASON"),
        ("configuration", "NAME LATESTCREATED LATESTREADY READY REASON"),
        ("revision", "NAME CONFIG NAME GENERATION READY REASON ACTUAL REPLICAS DESIRED REPLICAS"),
        ("route", "NAME URL READY REASON"),
        ("kpa", "NAME DESIREDSCALE ACTUALSCALE READY REASON"),
        ("king", "NAME READY REASON"),
        ("sks", "NAME MODE ACTIVATORS SERVICENAME PRIVATESERVICENAME READY REASON"),
        ("deploy", "NAME READY UP-TO-DATE AVAILABLE AGE"),
        ("pods", "NAME READY STATUS RESTARTS AGE"),
    ];
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        for (kind, header) in wanted {
            let table = kubectl.run(&format!("get {kind}")).await.ok();
            let found: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(found.join(" "), header, "{kind} with {version:?}");
        }
        // All at once: a table for each kind, with the same columns, in the order that was asked for.
        let line = "get ksvc,revision,route,configuration,kpa,king,deploy,pods";
        let tables = kubectl.run(line).await.ok();
        let headers = tables.lines().filter(|line| line.starts_with("NAME "));
        let headers: Vec<String> =
            headers.map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let order = ["ksvc", "revision", "route", "configuration", "kpa", "king", "deploy", "pods"];
        let expected = order.map(|kind| wanted.iter().find(|it| it.0 == kind).unwrap().1);
        assert_eq!(headers, expected, "{version:?}");
        assert!(tables.contains("service.serving.knative.dev/hello"), "{tables}");
    }
    let row = platform.kubectl().run("get ksvc hello --no-headers").await.ok();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row[0], "hello");
    assert_eq!(row[2..], ["hello-00001", "hello-00001", "True"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_takes_everything_with_it() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    platform.kubectl().run("delete ksvc hello").await.ok();
    let kinds = "ksvc,configuration,revision,route,kpa,king,sks,deploy,rs,pods";
    eventually(Duration::from_secs(60), "nothing is left", || async {
        let left = platform.kubectl().run(&format!("get {kinds} -o name")).await.result()?;
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
