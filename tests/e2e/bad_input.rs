//! Wrong manifests, callers and requests: a clear answer, and nothing lost.

use std::{fs, time::Duration};

use anyhow::bail;
use serde_json::{Value, json};
use tests::{
    eventually::{always, eventually},
    http,
    kubectl::Version,
    platform::Platform,
};

/// A Service whose container and annotations are as given.
fn service(name: &str, annotations: &str, container: &str, rest: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{annotations: {{{annotations}}}}}
    spec:
      containers:
      - {{{container}}}{rest}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_in_the_words_of_knative() {
    let platform = Platform::start().await;
    let image = "image: weft.dev/samples/hello";
    let cases = [
        (
            service("a", "", "image: ''", ""),
            "validation failed: missing field(s): spec.template.spec.containers[0].image",
        ),
        (
            service("a", "autoscaling.knative.dev/min-scale: '-1'", image, ""),
            "expected 0 <= -1 <= 2147483647: spec.template.metadata.annotations.autoscaling.knative.dev/min-scale",
        ),
        (
            service(
                "a",
                "autoscaling.knative.dev/class: ''",
                &format!("{image}, ports: [{{containerPort: 70000}}]"),
                "",
            ),
            "expected 0 <= 70000 <= 65535: spec.template.spec.containers[0].ports.containerPort",
        ),
        (
            service("a", "", image, "\n  traffic: [{latestRevision: true, percent: 90}]"),
            "validation failed: Traffic targets sum to 90, want 100: spec.traffic",
        ),
        (service("A_b", "", image, ""), "metadata.name"),
        (
            service("a", "", &format!("{image}, lifecycle: {{}}"), ""),
            "unknown field \"spec.template.spec.containers[0].lifecycle\"",
        ),
    ];
    for (manifest, wanted) in &cases {
        let error = platform.kubectl().run_with("create -f -", manifest).await.err();
        assert!(
            error.contains(wanted),
            "{manifest}\nis refused with\n{error}\ninstead of\n{wanted}"
        );
    }
    let unknown = service("a", "", &format!("{image}, imagee: x"), "");
    for version in Version::ALL {
        let error = platform.kubectl_of(version).run_with("create -f -", &unknown).await.err();
        assert!(error.contains("imagee"), "{version:?}: {error}");
    }
    assert_eq!(platform.kubectl().run("get ksvc -o name").await.ok(), "", "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_to_a_missing_revision_is_said_once_and_served_when_it_comes() {
    let platform = Platform::start().await;
    let image = "image: weft.dev/samples/hello";
    let traffic = "\n  traffic: [{revisionName: pinned-later, percent: 100}]";
    platform.apply(&service("pinned", "", image, traffic)).await;
    let says = |object: &Value, condition: &str, expected: [&str; 3]| {
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|it| it["type"] == condition);
        let text = |key: &str| found.and_then(|it| it[key].as_str()).unwrap_or_default();
        if [text("status"), text("reason"), text("message")] != expected {
            bail!("{condition} of {}: {all:?}", object["kind"]);
        }
        Ok(())
    };
    let message = "Revision \"pinned-later\" referenced in traffic not found.";
    let missing = ["False", "RevisionMissing", message];
    eventually(Duration::from_secs(60), "both say what is missing", || async {
        let (service, route) =
            (platform.object("ksvc pinned").await?, platform.object("route pinned").await?);
        says(&route, "AllTrafficAssigned", missing)?;
        says(&route, "Ready", missing)?;
        says(&service, "ConfigurationsReady", ["True", "", ""])?;
        says(&service, "RoutesReady", missing)?;
        says(&service, "Ready", missing)
    })
    .await;
    // The annotation of the Configuration is the Service's word, and nobody takes it back.
    let before = platform.object("configuration pinned").await.unwrap();
    assert_eq!(before["metadata"]["annotations"]["serving.knative.dev/routes"], "pinned");
    always(Duration::from_secs(2), "nothing more is written", || async {
        let now = platform.object("configuration pinned").await?;
        match now["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"] {
            true => Ok(()),
            false => bail!("{}", now["metadata"]),
        }
    })
    .await;

    let patch = r#"{"spec":{"template":{"metadata":{"name":"pinned-later"}}}}"#;
    let words = ["patch", "ksvc", "pinned", "--type", "merge", "-p", patch];
    platform.kubectl().run_words(&words, "").await.ok();
    platform.ready("pinned").await;
    let host = platform.host("pinned").await;
    platform.get(&host, "/").await.unwrap().ok().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_wants_its_token() {
    let platform = Platform::start().await;
    let api = format!("https://{}", platform.running().api_addr);
    let server = format!("--server={api}");
    let words = [
        "--kubeconfig=/dev/null",
        "--insecure-skip-tls-verify",
        &server,
        "--token=wrong",
        "get",
        "--raw",
        "/api/v1/pods",
    ];
    let error = platform.kubectl().run_words(&words, "").await.err();
    assert!(error.contains("Unauthorized") || error.contains("must be logged in"), "{error}");

    let curl = |path: &str, headers: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sk", "-w", "\n%{http_code}"]).arg(format!("{api}{path}"));
        for header in headers {
            command.args(["-H", header]);
        }
        let output = command.output().expect("curl is needed to call the API; install it");
        let text = String::from_utf8(output.stdout).expect("the API answers with text");
        let (body, code) = text.rsplit_once('\n').expect("the code comes last");
        (code.to_owned(), body.to_owned())
    };
    let wrong = ["Authorization: Bearer wrong"];
    let refused: [(&str, &[&str]); 7] = [
        ("/api/v1/pods", &[]),
        ("/api/v1/pods", &wrong),
        ("/api/v1/pods", &["Authorization: Basic YWRtaW46YWRtaW4="]),
        ("/api", &[]),
        ("/nowhere", &[]),
        ("/version", &wrong),
        ("/healthz", &wrong),
    ];
    for (path, headers) in refused {
        let (code, body) = curl(path, headers);
        assert_eq!(code, "401", "{path} with {headers:?}: {body}");
        let status: Value = serde_json::from_str(&body).expect("a refusal is a Status");
        let wanted = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
        });
        assert_eq!(status, wanted, "{path} with {headers:?}");
    }
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        assert_eq!(curl(path, &[]).0, "200", "{path} is open to everyone");
    }
    assert!(platform.running().api_addr.ip().is_loopback());
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(platform.data_dir().join("kubeconfig")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_reach_nobody() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let long = "x".repeat(1 << 20);
    let cases = [
        (
            "two lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"
            ),
        ),
        (
            "length and chunks",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "a bad chunk",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"
            ),
        ),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other\r\n\r\n")),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("an unknown host", "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n".to_owned()),
        (
            "a space before the colon",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nA : b\r\nConnection: close\r\n\r\n"),
        ),
        (
            "a folded line",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: b\r\n c\r\nConnection: close\r\n\r\n"),
        ),
        ("a long header", format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: {long}\r\n\r\n")),
        ("no HTTP", "\u{16}\u{3}\u{1}hello".to_owned()),
    ];
    for (what, bytes) in cases {
        let answer = http::raw(platform.gateway(), bytes.as_bytes(), Duration::from_secs(3)).await;
        // A closed connection is an answer too.
        let answer = answer.unwrap_or_default();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let is_refused =
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4");
        assert!(is_refused, "{what}: {text}");
    }
    platform.get(&host, "/").await.unwrap().ok().unwrap();
}
