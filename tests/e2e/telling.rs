//! What the data plane tells of requests: the lines of its log, and numbers for Prometheus.

use std::time::Duration;

use anyhow::{Result, bail};
use tests::{eventually::eventually, machine::may_isolate, platform::Platform};

use super::protocols::{origin, with_python};

/// The longest that something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Sets keys of `config-observability`.
async fn observe(platform: &Platform, data: serde_json::Value) -> Result<String, String> {
    let patch = serde_json::json!({ "data": data }).to_string();
    let words =
        ["patch", "cm", "config-observability", "-n", "knative-serving", "--type=merge", "-p"];
    platform.kubectl().run_words(&[&words[..], &[&patch]].concat(), "").await.result()
}

/// What the queues of the service's pods have written.
async fn queue_log(platform: &Platform, service: &str) -> Result<String> {
    let mut text = String::new();
    for pod in platform.pods(service).await? {
        let log = platform.kubectl().run(&format!("logs {pod} -c queue-proxy")).await;
        text += &log.result().unwrap_or_default();
    }
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_log_is_the_output_of_the_queue() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    platform.get(&host, "/before").await.unwrap().ok().unwrap();

    let refused =
        observe(&platform, serde_json::json!({ "logging.request-log-template": "{{" })).await;
    let why = refused.expect_err("the template is not one");
    assert!(why.contains("template: requestLog:1: unclosed action"), "{why}");
    let template = "{{.Request.Method}} {{.Request.URL}} {{.Response.Code}} {{.Request.Host}} \
                    {{.Revision.Name}} {{.Request.Header.Get \"x-id\"}}";
    let data = serde_json::json!({
        "logging.enable-request-log": "true",
        "logging.request-log-template": template,
    });
    observe(&platform, data).await.unwrap();

    // Pods that were there give way to others that log.
    let line = format!("GET /after?a=b 200 {host} hello-00001 \n");
    eventually(PATIENCE, "a request is logged", || async {
        platform.get(&host, "/after?a=b").await?.ok()?;
        match queue_log(&platform, "hello").await? {
            log if log.contains(&line) => {
                assert!(!log.contains("/before") && !log.contains("probe"), "{log}");
                Ok(())
            }
            log => bail!("the log is {log:?}"),
        }
    })
    .await;

    // The node's own questions only if somebody wants to read them. They name no host.
    let data = serde_json::json!({ "logging.enable-probe-request-log": "true" });
    observe(&platform, data).await.unwrap();
    let line = "GET / 200  hello-00001 \n";
    eventually(PATIENCE, "a probe is logged", || async {
        let log = queue_log(&platform, "hello").await?;
        anyhow::ensure!(log.contains(line), "the log is {log:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_what_was_measured() {
    let platform = Platform::start().await;
    with_python(&platform);
    let data = serde_json::json!({
        "request-metrics-protocol": "prometheus",
        "logging.enable-request-log": "true",
    });
    observe(&platform, data).await.unwrap();
    platform.apply(&origin("told", "initial-scale: \"0\"")).await;
    platform.ready("told").await;
    let host = platform.host("told").await;
    // The first is a cold start.
    for _ in 0..3 {
        platform.get(&host, "/").await.unwrap().ok().unwrap();
    }
    let labels = "k8s_namespace_name=\"default\",kn_configuration_name=\"told\",\
                  kn_revision_name=\"told-00001\",kn_service_name=\"told\"";
    let wanted = [
        format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"GET\",http_response_status_code=\"200\",{labels}}} 3\n"
        ),
        format!("kn_revision_cold_start_duration_seconds_count{{{labels}}} 1\n"),
        format!("kn_revision_pods_desired{{{labels}}} 1\n"),
        format!("kn_revision_pods_requested{{{labels}}} 1\n"),
        "kn_workqueue_depth{name=\"revision-controller\"} ".to_owned(),
        "kn_workqueue_process_duration_seconds_count{name=\"revision-controller\"} ".to_owned(),
        "target_info{".to_owned(),
    ];
    let raw = "get --raw /api/v1/namespaces/knative-serving/services/autoscaler:9090/proxy/metrics";
    eventually(PATIENCE, "the platform tells of the requests", || async {
        let text = platform.kubectl().run(raw).await.ok();
        match wanted.iter().find(|line| !text.contains(*line)) {
            None => Ok(()),
            Some(line) => bail!("{line} is not in {text}"),
        }
    })
    .await;
    if may_isolate() {
        reads_another(&platform, &host).await;
    } else {
        println!("no namespaces are allowed here: pods have no addresses of their own");
    }
    let text = platform.kubectl().run(raw).await.ok();
    assert!(!text.contains("activator_request_count"), "{text}");
    observe(&platform, serde_json::json!({ "metrics.opencensus-names": "true" })).await.unwrap();
    let old = "activator_request_count{http_request_method=\"GET\",response_code=\"200\",\
               response_code_class=\"2xx\",namespace_name=\"default\",configuration_name=\"told\",\
               revision_name=\"told-00001\",service_name=\"told\"} ";
    eventually(PATIENCE, "old names are there too", || async {
        let text = platform.kubectl().run(raw).await.ok();
        if text.contains(old) { Ok(()) } else { bail!("{old} is not in {text}") }
    })
    .await;
}

/// The queue tells of itself at the pod's address, to a pod that asks there.
async fn reads_another(platform: &Platform, host: &str) {
    let reads = r#"
import sys, time, urllib.request
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode(), flush=True)
    except OSError as error:
        print(error, flush=True)
    time.sleep(1)
"#;
    let pods = platform.pods("told").await.unwrap();
    let pod = platform.object(&format!("pod {}", pods.last().unwrap())).await.unwrap();
    let at = format!("http://{}:9091/metrics", pod["status"]["podIP"].as_str().unwrap());
    let reader = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"},
        "spec": {"containers": [{
            "name": "main", "image": "dev.local/python", "args": ["-c", reads, at],
        }]},
    });
    platform.apply(&reader.to_string()).await;
    eventually(PATIENCE, "a pod reads the metrics of another", || async {
        platform.get(host, "/").await?.ok()?;
        let text = platform.kubectl().run("logs reader --tail=200").await.result();
        let text = text.unwrap_or_default();
        let line =
            "kn_serving_invocation_duration_seconds_count{http_response_status_code=\"200\"} ";
        if text.contains(line) { Ok(()) } else { bail!("it read {text:?}") }
    })
    .await;
}
