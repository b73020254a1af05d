//! Stops, crashes and what a next start finds.

use std::{collections::BTreeMap, time::Duration};

use tests::{eventually::eventually, platform::Platform};

/// The ids of what people made, by kind and name.
async fn ids(platform: &Platform) -> BTreeMap<String, String> {
    let format =
        "-o jsonpath={range.items[*]}{.kind}/{.metadata.name}={.metadata.uid}{\"\\n\"}{end}";
    let line =
        format!("get ksvc,configuration,revision,route,configmap,secret,namespace -A {format}");
    let text = platform.kubectl().run(&line).await.ok();
    let entries = text.lines().filter_map(|line| line.split_once('='));
    entries.map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect()
}

async fn answers(platform: &Platform, host: &str) {
    eventually(Duration::from_secs(60), "the service answers", || async {
        platform.get(host, "/").await?.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_objects_and_nothing_else() {
    let mut platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.kubectl().run("create configmap mine --from-literal=a=b").await.ok();
    platform.kubectl().run("create secret generic mine --from-literal=a=b").await.ok();
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let name = host.split(':').next().unwrap().to_owned();
    answers(&platform, &name).await;
    let before = ids(&platform).await;

    let status = platform.stop().await;
    assert!(status.success(), "it ends with {status}");
    assert_eq!(platform.processes(), [""; 0], "left behind");

    platform.up().await;
    let after = ids(&platform).await;
    for (object, uid) in &before {
        assert_eq!(after.get(object), Some(uid), "{object}");
    }
    answers(&platform, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_under_load_loses_no_object_and_leaves_no_process() {
    let mut platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.apply_sample("slow.yaml").await;
    platform.ready("hello").await;
    platform.ready("slow").await;
    let host = platform.host("slow").await;
    let name = host.split(':').next().unwrap().to_owned();
    let before = ids(&platform).await;
    let load: Vec<_> = (0..20)
        .map(|_| {
            let (to, name) = (platform.gateway(), name.clone());
            tokio::spawn(async move { tests::http::get(to, &name, "/?sleep=5000").await })
        })
        .collect();
    eventually(Duration::from_secs(30), "pods are busy", || async {
        match platform.pods("slow").await {
            Ok(pods) if pods.len() > 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    platform.kill().await;
    for request in load {
        // They end with the connection; what matters is what comes after.
        drop(request.await.unwrap());
    }
    platform.up().await;
    let after = ids(&platform).await;
    for (object, uid) in &before {
        assert_eq!(after.get(object), Some(uid), "{object}");
    }
    answers(&platform, &name).await;
    let hello = platform.host("hello").await;
    answers(&platform, hello.split(':').next().unwrap()).await;

    platform.stop().await;
    assert_eq!(platform.processes(), [""; 0], "left behind");
}
