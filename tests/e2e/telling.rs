//! What the data plane tells of requests: the lines of its log.

use std::time::Duration;

use anyhow::{Result, bail};
use tests::{eventually::eventually, platform::Platform};

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
}
