//! Hosts of one's own: mapped, contested, and freed.

use std::time::Duration;

use http::StatusCode;
use tests::{eventually::eventually, kubectl::Version, platform::Platform};

const HOST: &str = "mine.example.org";

/// A mapping of [`HOST`] in a namespace.
fn mapping(namespace: &str, reference: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {{name: {HOST}, namespace: {namespace}}}
spec:
  ref: {reference}
"
    )
}

/// A service that greets `who`.
pub fn greeter(namespace: &str, name: &str, who: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  template:
    spec:
      containers:
      - image: weft.dev/samples/hello
        env: [{{name: TARGET, value: {who}}}]
"
    )
}

const TO_HELLO: &str = "{apiVersion: serving.knative.dev/v1, kind: Service, name: hello}";

async fn wait(platform: &Platform, what: &str, condition: &str) {
    let line = format!("wait {what} --for=condition={condition} --timeout=60s");
    platform.kubectl().run(&line).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_whoever_claimed_it_first() {
    let platform = Platform::start().await;
    let kubectl = platform.kubectl();
    kubectl.run("create namespace other").await.ok();
    let all = [
        greeter("default", "hello", "Default"),
        greeter("other", "hello", "Other"),
        mapping("default", TO_HELLO),
    ];
    platform.apply(&all.join("---")).await;

    // Nobody may take a host unless it is claimed for the namespace.
    let mine = format!("dm/{HOST}");
    wait(&platform, &mine, "DomainClaimed=False").await;
    let patch = r#"{"data":{"autocreate-cluster-domain-claims":"true"}}"#;
    let words = ["patch", "cm", "config-network", "-n", "knative-serving", "--type", "merge", "-p"];
    kubectl.run_words(&[&words[..], &[patch]].concat(), "").await.ok();
    wait(&platform, &mine, "Ready").await;
    let found = platform.object(&mine).await.unwrap();
    let port = platform.gateway().port();
    assert_eq!(found["status"]["url"], format!("http://{HOST}:{port}"));
    assert_eq!(found["status"]["address"]["url"], found["status"]["url"]);
    let claims = "get cdc -o jsonpath={.items[*].metadata.name}={.items[*].spec.namespace}";
    assert_eq!(kubectl.run(claims).await.ok(), format!("{HOST}=default"));
    let get = || async { platform.get(HOST, "/").await.unwrap() };
    assert_eq!(get().await.ok().unwrap(), "Hello Default!\n");
    for version in Version::ALL {
        let table = platform.kubectl_of(version).run("get dm").await.ok();
        let words: Vec<Vec<&str>> =
            table.lines().map(|it| it.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["NAME", "URL", "READY", "REASON"]);
        assert_eq!(words[1], [HOST, &format!("http://{HOST}:{port}"), "True"]);
    }

    // The second in another namespace changes nothing.
    platform.apply(&mapping("other", TO_HELLO)).await;
    let theirs = format!("dm/{HOST} -n other");
    wait(&platform, &theirs, "Ready=False").await;
    let reason = "-o jsonpath={.status.conditions[?(@.type==\"DomainClaimed\")].reason}";
    let reason = kubectl.run(&format!("get {theirs} {reason}")).await.ok();
    assert_eq!(reason, "DomainAlreadyClaimed");
    wait(&platform, "ksvc/hello -n other", "Ready").await;
    assert_eq!(kubectl.run("get king -n other -o name").await.ok().lines().count(), 1);
    assert_eq!(get().await.ok().unwrap(), "Hello Default!\n");

    // It gets the host as soon as that is free.
    kubectl.run(&format!("delete {mine}")).await.ok();
    wait(&platform, &theirs, "Ready").await;
    assert_eq!(get().await.ok().unwrap(), "Hello Other!\n");
    assert_eq!(kubectl.run(claims).await.ok(), format!("{HOST}=other"));

    kubectl.run(&format!("delete {theirs}")).await.ok();
    assert_eq!(kubectl.run("get cdc,dm -A -o name").await.ok(), "");
    eventually(Duration::from_secs(30), "the host is gone", || async {
        match get().await.status {
            StatusCode::NOT_FOUND => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_follows_what_it_names() {
    let platform = Platform::start().await;
    let kubectl = platform.kubectl();
    let claim = format!(
        "
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ClusterDomainClaim
metadata: {{name: {HOST}}}
spec: {{namespace: default}}
"
    );
    // The mapping comes before what it names.
    platform.apply(&[claim, mapping("default", TO_HELLO)].join("---")).await;
    let mine = format!("dm/{HOST}");
    wait(&platform, &mine, "ReferenceResolved=False").await;
    let message = "-o jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
    let message = kubectl.run(&format!("get {mine} {message}")).await.ok();
    let expected =
        "failed to get object default/hello: services.serving.knative.dev \"hello\" not found";
    assert_eq!(message, expected);
    let both = [greeter("default", "hello", "First"), greeter("default", "second", "Second")];
    platform.apply(&both.join("---")).await;
    wait(&platform, &mine, "Ready").await;
    let get = || async { platform.get(HOST, "/").await.unwrap().ok().unwrap() };
    assert_eq!(get().await, "Hello First!\n");

    let route = "{apiVersion: serving.knative.dev/v1, kind: Route, name: second}";
    platform.ready("second").await;
    platform.apply(&mapping("default", route)).await;
    eventually(Duration::from_secs(30), "the host leads to the Route", || async {
        match get().await {
            text if text == "Hello Second!\n" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    wait(&platform, &mine, "Ready").await;
    // From zero as well.
    platform.at_zero("second").await;
    assert_eq!(get().await, "Hello Second!\n");

    // The claim is the administrator's, so it outlives the mapping.
    kubectl.run(&format!("delete {mine}")).await.ok();
    assert_eq!(kubectl.run("get cdc,dm -A -o name").await.ok().lines().count(), 1);
}
