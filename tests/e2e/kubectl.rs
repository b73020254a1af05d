//! Every command of kubectl that people use, with the oldest and the newest version.

use std::time::Duration;

use tests::{
    eventually::eventually,
    kubectl::{Kubectl, Version},
    platform::{Platform, Settings},
};
use tokio::io::{AsyncBufReadExt, BufReader};

const CONFIG: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: demo}}
data: {colour: blue}
";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: dev.local/sh, args: [-c, 'echo main speaks; sleep 1000']}
      - {name: side, image: dev.local/sh, args: [-c, 'echo side speaks; sleep 1000']}
";

/// A platform on which the image `dev.local/sh` is the shell.
pub async fn with_shell() -> Platform {
    Platform::start_with(Settings::images(&["dev.local/sh=/bin/sh"])).await
}

/// Runs each line of `lines` and looks for the text after ` => ` in what it prints. Descriptions have events in them,
/// which come a moment after what they tell of.
async fn check(kubectl: &Kubectl, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, wanted) = line.split_once(" => ").expect("a command and what it prints");
        let words: Vec<&str> = command.split_whitespace().collect();
        let look = async || {
            let printed = kubectl.run_words(&words, "").await.ok();
            let flat = printed.split_whitespace().collect::<Vec<_>>().join(" ");
            let missing = || format!("`kubectl {command}` prints\n{printed}\nwithout {wanted}");
            if flat.contains(wanted) { Ok(()) } else { Err(missing()) }
        };
        match command.starts_with("describe ") {
            true => eventually(Duration::from_secs(30), command, look).await,
            false => look().await.unwrap_or_else(|missing| panic!("{missing}")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_read_changed_and_deleted() {
    let platform = with_shell().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        assert!(
            kubectl
                .run_with("apply -f -", CONFIG)
                .await
                .ok()
                .contains("configmap/settings created")
        );
        assert!(kubectl.run_with("apply -f -", CONFIG).await.ok().contains("unchanged"));
        let red = CONFIG.replace("blue", "red");
        let diff = kubectl.run_with("diff -f -", &red).await;
        assert_eq!(diff.code, Some(1), "{}", diff.stderr);
        assert!(diff.stdout.contains("+  colour: red"), "{}", diff.stdout);
        assert!(
            kubectl
                .run_with("apply --dry-run=server -f -", &red)
                .await
                .ok()
                .contains("(server dry run)")
        );
        check(kubectl, "get configmap settings -o jsonpath={.data.colour} => blue").await;
        assert!(kubectl.run_with("apply -f -", &red).await.ok().contains("configured"));
        let other = "apply --server-side --field-manager=other -f -";
        let conflict = kubectl.run_with(other, CONFIG).await.err();
        assert!(conflict.contains("conflict"), "{conflict}");
        let forced = kubectl.run_with(&format!("{other} --force-conflicts"), CONFIG).await.ok();
        assert!(forced.contains("serverside-applied"), "{forced}");

        check(
            kubectl,
            "
            create configmap made --from-literal=a=b => configmap/made created
            create secret generic made --from-literal=a=b => secret/made created
            create serviceaccount made => serviceaccount/made created
            get configmap settings -o yaml => colour: blue
            get configmap settings -o json => \"colour\": \"blue\"
            get configmap settings -o name => configmap/settings
            get configmap settings -o wide => NAME DATA AGE
            get configmap -o custom-columns=N:.metadata.name,C:.data.colour => settings blue
            get configmap -A => kube-system
            get configmap -l app=demo -o name => configmap/settings
            get configmap --field-selector=metadata.name=made -o name => configmap/made
            describe configmap settings => colour: ---- blue
            patch configmap settings -p {\"data\":{\"colour\":\"green\"}} => patched
            patch configmap settings --type merge -p {\"data\":{\"size\":\"1\"}} => patched
            patch configmap settings --type json -p [{\"op\":\"remove\",\"path\":\"/data/size\"}] => patched
            get configmap settings -o jsonpath={.data} => {\"colour\":\"green\"}
            label configmap settings tier=front => labeled
            label configmap settings tier=back --overwrite => labeled
            get configmap -l tier=back -o name => configmap/settings
            annotate configmap settings note=here => annotated
            get configmap settings -o jsonpath={.metadata.annotations.note} => here
            explain configmap.data => DESCRIPTION
            explain ksvc.spec.template => template
            api-resources --api-group=serving.knative.dev => ksvc
            api-versions => serving.knative.dev/v1
            auth can-i create ksvc => yes
            version => Server Version
            cluster-info => is running at
            get --raw /readyz => ok
            delete configmap made => deleted
            delete secret made => deleted
            delete serviceaccount made => deleted
            ",
        )
        .await;
        let mut edit = kubectl.command(&["edit", "configmap", "settings"]);
        let edited = edit.env("KUBE_EDITOR", "sed -i s/green/yellow/").output().await.unwrap();
        assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
        check(kubectl, "get configmap settings -o jsonpath={.data.colour} => yellow").await;
        kubectl.run("delete configmap settings").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_takes_over_from_client_side_apply_and_gives_back() {
    let platform = Platform::start().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        // In turn, without a word of conflicts; what a turn does not name any more is gone after it.
        let turns = [
            ("apply -f -", "{colour: blue}", "{\"colour\":\"blue\"}"),
            (
                "apply --server-side -f -",
                "{colour: red, size: big}",
                "{\"colour\":\"red\",\"size\":\"big\"}",
            ),
            ("apply -f -", "{colour: green}", "{\"colour\":\"green\"}"),
            ("apply --server-side -f -", "{colour: yellow}", "{\"colour\":\"yellow\"}"),
            ("apply --server-side -f -", "{size: big}", "{\"size\":\"big\"}"),
        ];
        for (turn, (line, data, wanted)) in turns.into_iter().enumerate() {
            kubectl.run_with(line, &CONFIG.replace("{colour: blue}", data)).await.ok();
            let got = kubectl.run("get configmap settings -o jsonpath={.data}").await.ok();
            assert_eq!(got, wanted, "{version:?}, turn {turn}: {line}");
        }
        kubectl.run("delete configmap settings").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_scaled_rolled_and_deleted() {
    let platform = with_shell().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        kubectl.run_with("apply -f -", DEPLOYMENT).await.ok();
        check(
            kubectl,
            "
            rollout status deployment/demo --timeout=60s => successfully rolled out
            wait deployment/demo --for=condition=Available --timeout=30s => condition met
            describe deployment demo => ScalingReplicaSet
            scale deployment demo --replicas=1 => scaled
            rollout status deployment/demo --timeout=60s => successfully rolled out
            get deployment demo --no-headers => demo 1/1 1 1
            logs deployment/demo -c main => main speaks
            logs deployment/demo -c side => side speaks
            rollout restart deployment/demo => restarted
            rollout status deployment/demo --timeout=60s => successfully rolled out
            rollout history deployment/demo => REVISION
            rollout undo deployment/demo => rolled back
            rollout status deployment/demo --timeout=60s => successfully rolled out
            ",
        )
        .await;
        let events = match version {
            Version::Oldest => "get events",
            Version::Newest => "events",
        };
        eventually(Duration::from_secs(30), "events are told", || async {
            let told = kubectl.run(events).await.result()?;
            if told.contains("SuccessfulCreate") { Ok(()) } else { Err(told) }
        })
        .await;
        let pod =
            kubectl.run("get pods -l app=demo -o jsonpath={.items[0].metadata.name}").await.ok();
        let described = kubectl.run(&format!("describe pod {pod}")).await.ok();
        assert!(described.contains("Controlled By:  ReplicaSet/demo-"), "{described}");

        let described = kubectl.run("describe rs -l app=demo").await.ok();
        assert!(described.contains("Controlled By:  Deployment/demo"), "{described}");

        // The pods of an orphaned ReplicaSet stay; then they go with it.
        kubectl.run("delete deployment demo --cascade=orphan").await.ok();
        let set = kubectl.run("get rs -l app=demo -o name").await.ok();
        assert!(set.lines().count() >= 1, "the ReplicaSets stay");
        for set in set.lines() {
            kubectl.run(&format!("delete {set} --cascade=foreground")).await.ok();
        }
        assert_eq!(kubectl.run("get pods -l app=demo -o name").await.ok(), "");

        // In the background they go too, only later.
        kubectl.run_with("apply -f -", DEPLOYMENT).await.ok();
        kubectl.run("delete deployment demo --cascade=background").await.ok();
        eventually(Duration::from_secs(30), "the pods go after their owner", || async {
            let left = kubectl.run("get rs,pods -l app=demo -o name").await.result()?;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_worked_on_like_any_object() {
    let platform = Platform::start().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        platform.apply_sample("hello.yaml").await;
        platform.ready("hello").await;
        let pod = platform.pods("hello").await.unwrap().remove(0);
        check(
            kubectl,
            &format!(
                "
                describe ksvc hello => Latest Ready Revision Name: hello-00001
                describe ksvc hello => Events:
                describe revision hello-00001 => Container Statuses:
                describe route hello => Traffic:
                describe pod {pod} => user-container:
                describe pod {pod} => Successfully assigned default/{pod}
                describe pod {pod} => Started container user-container
                describe pod {pod} => queue-proxy:
                logs {pod} -c user-container => listening on port
                get ksvc -A -o wide => default hello http://
                get kservice hello -o jsonpath={{.status.latestReadyRevisionName}} => hello-00001
                get ksvc -o custom-columns=N:.metadata.name,G:.metadata.generation => hello 1
                get rev -l serving.knative.dev/service=hello -o name => revision.serving.knative.dev/hello-00001
                get ksvc --field-selector=metadata.name=hello -o name => service.serving.knative.dev/hello
                get all => service.serving.knative.dev/hello
                label ksvc hello team=blue => labeled
                annotate ksvc hello example.com/note=x => annotated
                patch ksvc hello --type json -p [{{\"op\":\"add\",\"path\":\"/metadata/labels/x\",\"value\":\"y\"}}] => patched
                get ksvc -l team=blue,x=y -o name => service.serving.knative.dev/hello
                wait ksvc/hello --for=condition=RoutesReady --timeout=10s => condition met
                explain ksvc.spec.template.spec.containerConcurrency => containerConcurrency
                api-resources --namespaced => serving.knative.dev
                auth can-i delete revisions.serving.knative.dev => yes
                auth can-i --list => *.*
                "
            ),
        )
        .await;
        // A change of the template by each way of patching and by an editor makes one more revision.
        let patch =
            r#"{"spec":{"template":{"metadata":{"annotations":{"example.com/turn":"1"}}}}}"#;
        let words = ["patch", "ksvc", "hello", "--type", "merge", "-p", patch];
        kubectl.run_words(&words, "").await.ok();
        platform.ready("hello").await;
        let mut edit = kubectl.command(&["edit", "ksvc", "hello"]);
        let edited = edit.env("KUBE_EDITOR", "sed -i s/World/Editor/").output().await.unwrap();
        assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
        let wanted = "wait ksvc/hello --for=condition=Ready --timeout=30s";
        eventually(Duration::from_secs(30), "the edit is served", || async {
            kubectl.run(wanted).await.result()?;
            let host = platform.host("hello").await;
            let text = platform.get(&host, "/").await.and_then(|it| it.ok());
            let text = text.map_err(|error| error.to_string())?;
            if text == "Hello Editor!\n" { Ok(()) } else { Err(text) }
        })
        .await;
        check(kubectl, "get revisions -o name => revision.serving.knative.dev/hello-00003").await;
        // Revisions do not change, also not by kubectl.
        let patch = r#"{"spec":{"containerConcurrency":7}}"#;
        let words = ["patch", "revision", "hello-00001", "--type", "merge", "-p", patch];
        let error = kubectl.run_words(&words, "").await.err();
        assert!(error.contains("Immutable fields changed"), "{error}");
        kubectl.run("delete ksvc hello --cascade=foreground").await.ok();
        assert_eq!(kubectl.run("get revisions,routes,configurations -o name").await.ok(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_each_change_as_it_comes() {
    let platform = Platform::start().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        kubectl.run("create configmap watched --from-literal=a=b").await.ok();
        let format = "custom-columns=A:.data.a";
        let words = ["get", "configmap", "watched", "-w", "--no-headers", "-o", format];
        let mut watch = kubectl.command(&words).spawn().unwrap();
        let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let mut next = async || {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
            line.expect("the watch prints").unwrap().expect("the watch goes on")
        };
        assert_eq!(next().await.trim(), "b", "{version:?}");
        for value in ["c", "d"] {
            let patch = format!("patch configmap watched -p {{\"data\":{{\"a\":\"{value}\"}}}}");
            kubectl.run(&patch).await.ok();
            assert_eq!(next().await.trim(), value, "{version:?}");
        }
        kubectl.run("delete configmap watched").await.ok();
        assert_eq!(next().await.trim(), "d", "{version:?}: the last state of what is gone");
        watch.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_and_kept_across_a_restart() {
    let platform = with_shell().await;
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: dev.local/sh
    args: [-c, 'for i in 1 2 3; do echo line $i; sleep 0.7; done; exit 3']
";
    platform.apply(pod).await;
    eventually(Duration::from_secs(30), "the pod runs", || async {
        platform.kubectl().run("logs talker").await.result()
    })
    .await;
    let follow = |version: Version| {
        let mut follow = platform.kubectl_of(version).command(&["logs", "-f", "talker"]);
        let mut child = follow.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        async move {
            let mut seen = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                seen.push(line);
            }
            // It ends with the container.
            assert!(seen.contains(&"line 3".to_owned()), "{version:?}: {seen:?}");
            child.wait().await.unwrap();
        }
    };
    tokio::join!(follow(Version::Oldest), follow(Version::Newest));
    eventually(Duration::from_secs(60), "the container restarts", || async {
        let pod = platform.object("pod talker").await?;
        match pod["status"]["containerStatuses"][0]["restartCount"].as_i64() {
            Some(1..) => anyhow::Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
    for version in Version::ALL {
        let previous = platform.kubectl_of(version).run("logs talker --previous").await.ok();
        assert!(previous.contains("line 3"), "{version:?}: {previous}");
    }
    platform.kubectl().run("delete pod talker --grace-period=0 --force").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_and_namespaces_empty_themselves() {
    let platform = Platform::start().await;
    for version in Version::ALL {
        let kubectl = platform.kubectl_of(version);
        check(
            kubectl,
            "
            create namespace held => namespace/held created
            create configmap held -n held --from-literal=a=b => configmap/held created
            patch configmap held -n held -p {\"metadata\":{\"finalizers\":[\"example.com/hold\"]}} => patched
            delete namespace held --wait=false => deleted
            get namespace held -o jsonpath={.status.phase} => Terminating
            ",
        )
        .await;
        eventually(Duration::from_secs(30), "the namespace says what holds it", || async {
            let text = kubectl.run("get namespace held -o json").await.result()?;
            match text.contains("example.com/hold in 1 resource instances") {
                true => Ok(()),
                false => Err(text),
            }
        })
        .await;
        let words = ["patch", "configmap", "held", "-n", "held", "--type=merge", "-p"];
        let patch = "{\"metadata\":{\"finalizers\":null}}";
        kubectl.run_words(&[&words[..], &[patch]].concat(), "").await.ok();
        kubectl.run("wait namespace/held --for=delete --timeout=30s").await.result().ok();
        eventually(Duration::from_secs(30), "the namespace is gone", || async {
            let output = kubectl.run("get namespace held").await;
            match output.stderr.contains("NotFound") {
                true => Ok(()),
                false => Err(output.stdout),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_only_for_whom_it_was_made() {
    let platform = Platform::start().await;
    let kubectl = platform.kubectl_of(Version::Newest);
    let line = "create token default --audience shop --audience bank";
    let token = kubectl.run(line).await.ok().trim().to_owned();
    let review = async |audiences: &[&str]| {
        let review = serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}});
        let answer = kubectl.run_with("create -o json -f -", &review.to_string()).await.ok();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["status"].clone()
    };
    let status = review(&["park", "shop"]).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], serde_json::json!(["shop"]));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    for others in [&["park"][..], &[]] {
        let status = review(others).await;
        assert_ne!(status["authenticated"], true, "{others:?}: {status}");
    }
    let denied = kubectl.run_words(&["--token", &token, "get", "pods"], "").await.err();
    assert!(denied.contains("Unauthorized") || denied.contains("logged in"), "{denied}");
}
