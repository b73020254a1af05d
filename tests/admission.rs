//! Knative's admission as recorded, against the embedded API server that asks our own.
//!
//! `knative-cases/known-differences.txt` lists the cases that do not pass, with the reason; the list is exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use config::{Config, eventing, install};
use controller::admission;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use local::api::{Api, Options, admit::Admission, user::User};
use parking_lot::RwLock;
use runtime::clock::Clock;
use serde_json::{Value, json};
use tests::{
    parts,
    replay::{self, Outcome},
    same::Bindings,
};

#[path = "admission/keys.rs"]
mod keys;

const CONFIG_MAPS: &str = "/api/v1/namespaces/knative-serving/configmaps";
const EVENTING_CONFIG_MAPS: &str = "/api/v1/namespaces/knative-eventing/configmaps";

/// An API server with Knative's kinds and ConfigMaps.
struct Server {
    api: Api,
    config: Arc<RwLock<Config>>,
}

struct Answer {
    status: u16,
    warnings: Vec<String>,
    body: Value,
}

impl Server {
    async fn start() -> Server {
        let api = Api::open(Options::in_memory(Clock::start())).unwrap();
        let config = Arc::new(RwLock::new(Config::default()));
        let (for_default, for_validate) = (config.clone(), config.clone());
        let (for_pod, for_access) = (config.clone(), config.clone());
        api.set_admission(Admission {
            default: Arc::new(move |request| admission::default(request, &for_default.read())),
            validate: Arc::new(move |request| admission::validate(request, &for_validate.read())),
            pod: Arc::new(move |request| admission::pod(request, &for_pod.read())),
            job: Arc::new(admission::job),
            access: Arc::new(move |request| admission::access(request, &for_access.read())),
        });
        let server = Server { api, config };
        for crd in api::crd::crds() {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            server.create(path, json!(crd)).await;
        }
        for namespace in ["kn-a", "kn-c", "knative-serving", "knative-eventing"] {
            server.create("/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await;
        }
        for map in install::config_maps() {
            server.create(CONFIG_MAPS, json!(map)).await;
        }
        for map in eventing::install::config_maps() {
            server.create(EVENTING_CONFIG_MAPS, json!(map)).await;
        }
        server
    }

    async fn create(&self, path: &str, body: Value) {
        let answer = self.ask("POST", path, "kn-admin", &json!({}), Some(body.to_string())).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        user: &str,
        headers: &Value,
        body: Option<String>,
    ) -> Answer {
        let groups = vec!["system:masters".to_owned(), "system:authenticated".to_owned()];
        let user = User { name: user.to_owned(), groups, ..User::default() };
        self.ask_as(user, method, path, headers, body).await
    }

    async fn ask_as(
        &self,
        user: User,
        method: &str,
        path: &str,
        headers: &Value,
        body: Option<String>,
    ) -> Answer {
        let mut request = Request::builder().method(Method::try_from(method).unwrap()).uri(path);
        for (name, value) in headers.as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap());
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap();
        let response = self.api.as_user(user).handle(request).await;
        let status = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|it| it.to_str().unwrap().to_owned()).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, warnings, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// Reads the ConfigMaps, as the platform does when they change.
    async fn reload(&self) {
        let mut config = Config::default();
        for path in [CONFIG_MAPS, EVENTING_CONFIG_MAPS] {
            let list = self.ask("GET", path, "kn-admin", &json!({}), None).await.body;
            for map in list["items"].as_array().unwrap() {
                let data: BTreeMap<String, String> =
                    serde_json::from_value(map["data"].clone()).unwrap_or_default();
                let name = map["metadata"]["name"].as_str().unwrap();
                match path {
                    CONFIG_MAPS => config.read(name, &data).unwrap(),
                    _ => config.eventing.read(name, &data).unwrap(),
                }
            }
        }
        *self.config.write() = config;
    }

    /// Runs the steps of a case; says what differs from the record.
    async fn replay(&self, case: &Value) -> Vec<String> {
        let mut differences = Vec::new();
        let mut bindings = Bindings::default();
        let mut changed_maps = Vec::new();
        let mut collections = BTreeSet::new();
        for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let request = &step["request"];
            let method = request["method"].as_str().unwrap();
            let path = bindings.fill(request["path"].as_str().unwrap());
            let plain = path.split('?').next().unwrap().to_owned();
            let is_config_map = is_config_map(&plain);
            if is_config_map && !path.contains("dryRun") {
                let map = self.ask("GET", &plain, "kn-admin", &json!({}), None).await.body;
                changed_maps.push((plain.clone(), map));
            } else if !plain.starts_with("/api/") {
                let is_collection = method == "POST";
                let end = if is_collection { plain.len() } else { plain.rfind('/').unwrap() };
                collections.insert(plain[..end].to_owned());
            }
            let body = match &request["body"] {
                Value::Null => request["bodyText"].as_str().map(str::to_owned),
                body => Some(body.to_string()),
            };
            let body = body.map(|body| bindings.fill(&body));
            let user = request["user"].as_str().unwrap_or("kn-admin");
            let mut answer = self.ask(method, &path, user, &request["headers"], body).await;
            if is_config_map {
                self.reload().await;
            }
            let recorded = &step["response"];
            if recorded["status"] != answer.status {
                let message = answer.body["message"].as_str().unwrap_or_default();
                differences.push(format!(
                    "step {at}: {} {message}, recorded {} {}",
                    answer.status, recorded["status"], recorded["body"]["message"]
                ));
                continue;
            }
            if step["setup"] == true {
                continue;
            }
            let warnings = recorded.get("warning").cloned().unwrap_or(json!([]));
            let found = bindings.differences(
                &json!({ "warnings": warnings }),
                &json!({
                    "warnings": answer.warnings
                }),
            );
            differences.extend(found.into_iter().map(|it| format!("step {at}{it}")));
            if let Some(recorded) = recorded.get("body") {
                ours_to_recorded(&mut answer.body, recorded);
                let found = bindings.differences(recorded, &answer.body);
                differences.extend(found.into_iter().map(|it| format!("step {at}{it}")));
            }
        }
        for (path, mut map) in changed_maps.into_iter().rev() {
            map["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            let answer =
                self.ask("PUT", &path, "kn-admin", &json!({}), Some(map.to_string())).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            self.reload().await;
        }
        for collection in collections {
            self.ask("DELETE", &collection, "kn-admin", &json!({}), None).await;
        }
        differences
    }
}

fn is_config_map(path: &str) -> bool {
    path.starts_with(CONFIG_MAPS) || path.starts_with(EVENTING_CONFIG_MAPS)
}

/// Our ConfigMaps have their own documentation and image; what else they hold is compared.
fn ours_to_recorded(found: &mut Value, recorded: &Value) {
    for path in ["/metadata/annotations/knative.dev~1example-checksum", "/data/queue-sidecar-image"]
    {
        if let (Some(found), Some(recorded)) = (found.pointer_mut(path), recorded.pointer(path))
            && recorded.is_string()
        {
            *found = recorded.clone();
        }
    }
}

#[tokio::test]
async fn answers_as_the_recorded_webhooks_of_serving() {
    answers_as_recorded("serving-admission").await;
}

#[tokio::test]
async fn answers_as_the_recorded_webhooks_of_eventing() {
    answers_as_recorded("eventing-admission").await;
}

async fn answers_as_recorded(file: &str) {
    let folder = parts::root().join("tests/knative-cases");
    let text = std::fs::read(folder.join(format!("{file}.json"))).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let server = Server::start().await;
    let mut outcome = Outcome::default();
    let mut replayed = BTreeSet::new();
    for case in &cases {
        let name = format!("{file}/{}", case["name"].as_str().unwrap());
        let differences = server.replay(case).await;
        // By kind, which names begin with.
        let kind = case["name"].as_str().unwrap().split('-').next().unwrap();
        let (all, passed) = outcome.areas.entry(kind.to_owned()).or_default();
        *all += 1;
        *passed += usize::from(differences.is_empty());
        if !differences.is_empty() {
            outcome.failures.insert(name.clone(), differences.join("; "));
        }
        replayed.insert(name);
    }
    for (kind, (all, passed)) in &outcome.areas {
        println!("{kind:14} {passed:4} / {all}");
    }
    let known = replay::known(&folder.join("known-differences.txt"));
    replay::compare(&outcome, &known, &replayed);
}

#[tokio::test]
async fn a_dry_run_tries_the_pod() {
    let server = Server::start().await;
    let services = "/apis/serving.knative.dev/v1/namespaces/kn-a/services";
    let service = |name: &str, container: &str| {
        let container = json!({ "name": container, "image": "dev.local/hello:v1" });
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": { "name": name },
            "spec": { "template": { "spec": { "containers": [container] } } },
        })
    };
    let ask = async |method: &str, path: String, body: Value| {
        server.ask(method, &path, "kn-admin", &json!({}), Some(body.to_string())).await
    };
    let dry = format!("{services}?dryRun=All");
    let answer = ask("POST", dry.clone(), service("good", "main")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let refused = |answer: Answer| {
        let message = answer.body["message"].as_str().unwrap_or_default();
        let begin = "admission webhook \"validation.webhook.serving.knative.dev\" denied the \
                     request: validation callback failed: dry run failed with Pod \
                     \"dry-run-validation";
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(message.starts_with(begin), "{message}");
        assert!(message.contains("spec.containers[0].name: Invalid value"), "{message}");
        assert!(message.ends_with(": spec.template"), "{message}");
    };
    refused(ask("POST", dry, service("bad", "&InvalidValue")).await);
    // Of an update too; what is not a dry run fails later, as its revision says.
    let answer = ask("POST", services.to_owned(), service("there", "main")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mut changed = answer.body;
    changed["spec"]["template"]["spec"]["containers"][0]["name"] = json!("&InvalidValue");
    let there = format!("{services}/there");
    refused(ask("PUT", format!("{there}?dryRun=All"), changed.clone()).await);
    let answer = ask("PUT", there, changed).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A quota is part of what decides.
    let quotas = "/api/v1/namespaces/kn-a/resourcequotas";
    let hard = json!({ "pods": "0" });
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } });
    server.create(quotas, quota).await;
    let status = json!({ "status": { "hard": hard, "used": { "pods": "0" } } });
    let headers = json!({ "content-type": "application/merge-patch+json" });
    let path = format!("{quotas}/none/status");
    server.ask("PATCH", &path, "kn-admin", &headers, Some(status.to_string())).await;
    let answer = ask("POST", format!("{services}?dryRun=All"), service("good", "main")).await;
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("exceeded quota: none, requested: pods=1"), "{message}");
}

/// A user without any group.
async fn as_nobody(server: &Server, method: &str, path: &str, body: Value) -> Answer {
    let user = User { name: "ann".to_owned(), ..User::default() };
    server.ask_as(user, method, path, &json!({}), Some(body.to_string())).await
}

#[tokio::test]
async fn event_types_are_the_same_in_all_versions() {
    let server = Server::start().await;
    let path =
        |version: &str| format!("/apis/eventing.knative.dev/{version}/namespaces/kn-a/eventtypes");
    let ask = async |method: &str, path: String, headers: Value, body: Option<Value>| {
        server.ask(method, &path, "kn-admin", &headers, body.map(|body| body.to_string())).await
    };
    let old = json!({
        "apiVersion": "eventing.knative.dev/v1beta1",
        "kind": "EventType",
        "metadata": { "name": "old" },
        "spec": { "type": "a.b", "source": "http://s", "broker": "default" },
    });
    let answer = ask("POST", path("v1beta1"), json!({}), Some(old)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.warnings.iter().any(|it| it.contains("v1beta1 EventType is deprecated")));
    assert_eq!(answer.body["apiVersion"], "eventing.knative.dev/v1beta1");
    let reference =
        json!({ "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default" });
    let attributes = json!([
        { "name": "specversion", "required": true },
        { "name": "id", "required": true },
        { "name": "type", "required": true, "value": "a.b" },
        { "name": "source", "required": true, "value": "http://s" },
    ]);
    let one = |version: &str| format!("{}/old", path(version));
    let kept = ask("GET", one("v1beta2"), json!({}), None).await.body;
    assert_eq!(
        kept["spec"],
        json!({ "type": "a.b", "source": "http://s", "reference": reference })
    );
    let newest = ask("GET", one("v1beta3"), json!({}), None).await.body;
    assert_eq!(newest["spec"], json!({ "attributes": attributes, "reference": reference }));
    // What is written in the newest version is read in the older ones; what they do not know is lost.
    let mut changed = newest.clone();
    changed["spec"]["attributes"][2]["value"] = json!("c.d");
    changed["spec"]["attributes"].as_array_mut().unwrap().push(json!({ "name": "more" }));
    let answer = ask("PUT", one("v1beta3"), json!({}), Some(changed)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["spec"]["attributes"].as_array().unwrap().len(), 4);
    assert_eq!(ask("GET", one("v1beta1"), json!({}), None).await.body["spec"]["type"], "c.d");
    // Lists, and columns.
    let list = ask("GET", path("v1beta3"), json!({}), None).await.body;
    assert_eq!(list["items"][0]["spec"]["attributes"][2]["value"], "c.d");
    let table = json!({ "accept": "application/json;as=Table;v=v1;g=meta.k8s.io" });
    for version in ["v1beta1", "v1beta2", "v1beta3"] {
        let rows = ask("GET", path(version), table.clone(), None).await.body;
        assert_eq!(rows["rows"][0]["cells"][1], "c.d", "{version}: {rows}");
    }
}

#[tokio::test]
async fn a_job_sink_is_tried_before_it_is_stored() {
    let server = Server::start().await;
    let path = "/apis/sinks.knative.dev/v1alpha1/namespaces/kn-a/jobsinks";
    let sink = |pod: Value| {
        json!({
            "apiVersion": "sinks.knative.dev/v1alpha1",
            "kind": "JobSink",
            "metadata": { "name": "sink" },
            "spec": { "job": { "spec": { "template": { "spec": pod } } } },
        })
    };
    let container = json!({ "name": "main", "image": "dev.local/hello:v1" });
    let ask = async |body: Value| {
        server.ask("POST", path, "kn-admin", &json!({}), Some(body.to_string())).await
    };
    let answer = ask(sink(json!({ "containers": [container] }))).await;
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(message.contains("validation failed: Job.batch \"sink"), "{message}");
    assert!(message.contains("spec.template.spec.restartPolicy"), "{message}");
    assert!(message.ends_with(": spec.job"), "{message}");
    let answer = ask(sink(json!({ "containers": [container], "restartPolicy": "Never" }))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let jobs = "/apis/batch/v1/namespaces/kn-a/jobs";
    let jobs = server.ask("GET", jobs, "kn-admin", &json!({}), None).await.body;
    assert_eq!(jobs["items"], json!([]));
}

#[tokio::test]
async fn who_subscribes_to_another_namespace_needs_a_right_there() {
    let server = Server::start().await;
    let features = format!("{EVENTING_CONFIG_MAPS}/config-features");
    let headers = json!({ "content-type": "application/merge-patch+json" });
    let on = json!({ "data": { "cross-namespace-event-links": "enabled" } }).to_string();
    server.ask("PATCH", &features, "kn-admin", &headers, Some(on)).await;
    server.reload().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces";
    let role = |namespace: &str, rule: Value| {
        (
            format!("{roles}/{namespace}"),
            json!({ "metadata": { "name": "ann" }, "rules": [rule] }),
            json!({
                "metadata": { "name": "ann" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ann" },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann" }],
            }),
        )
    };
    let grant = async |namespace: &str, rule: Value| {
        let (path, role, binding) = role(namespace, rule);
        server.create(&format!("{path}/roles"), role).await;
        server.create(&format!("{path}/rolebindings"), binding).await;
    };
    let groups = json!(["eventing.knative.dev"]);
    grant("kn-a", json!({ "apiGroups": groups, "resources": ["triggers"], "verbs": ["create"] }))
        .await;
    let trigger = json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": { "name": "t" },
        "spec": {
            "brokerRef": { "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
                "name": "b", "namespace": "kn-c" },
            "subscriber": { "uri": "http://x" },
        },
    });
    let path = "/apis/eventing.knative.dev/v1/namespaces/kn-a/triggers";
    let answer = as_nobody(&server, "POST", path, trigger.clone()).await;
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        message.ends_with(
            "validation failed: user ann is not authorized to get target resource in namespace: kn-c: \
             spec.BrokerNamespace"
        ),
        "{message}"
    );
    grant(
        "kn-c",
        json!({ "apiGroups": groups, "resources": ["brokers"], "verbs": ["knsubscribe"] }),
    )
    .await;
    let answer = as_nobody(&server, "POST", path, trigger).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}
