//! The platform of one case: the embedded API, its workload controllers, and ours.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use local::api::{Api, Options, user::User};
use runtime::{clock::Clock, cluster::Cluster, events::Recorder, metrics::Metrics};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stand_ins;

const SYSTEM: &str = "knative-serving";
const EVENTING: &str = config::EVENTING_NAMESPACE;
/// The class of ingresses that Knative has unless it is configured.
const ISTIO: &str = "istio.ingress.networking.knative.dev";
/// Lists of the objects that a case may tell of, by path before and after the namespace.
const LISTS: &[(&str, &str)] = &[
    ("/apis/serving.knative.dev/v1", "services"),
    ("/apis/serving.knative.dev/v1", "configurations"),
    ("/apis/serving.knative.dev/v1", "revisions"),
    ("/apis/serving.knative.dev/v1", "routes"),
    ("/apis/serving.knative.dev/v1beta1", "domainmappings"),
    ("/apis/autoscaling.internal.knative.dev/v1alpha1", "podautoscalers"),
    ("/apis/networking.internal.knative.dev/v1alpha1", "ingresses"),
    ("/apis/networking.internal.knative.dev/v1alpha1", "serverlessservices"),
    ("/apis/apps/v1", "deployments"),
    ("/api/v1", "services"),
    ("/api/v1", "endpoints"),
];
/// Who records events besides Kubernetes' own controllers.
const RECORDERS: &[&str] = &[
    "service-controller",
    "configuration-controller",
    "revision-controller",
    "route-controller",
    "domainmapping-controller",
    "serverlessservice-controller",
];

/// A running platform.
pub struct Platform {
    api: Api,
    namespace: String,
    stop: CancellationToken,
    cluster: Cluster,
    workloads: local::workloads::Handle,
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    /// The texts of its `Warning` headers.
    pub warnings: Vec<String>,
    pub body: Value,
}

/// The namespace that a case's paths name.
pub fn namespace(case: &Value) -> String {
    let steps = case["steps"].as_array().into_iter().flatten();
    let paths = steps.filter_map(|step| step["request"]["path"].as_str());
    let mut names = paths.filter_map(|path| path.split("/namespaces/").nth(1)?.split('/').next());
    names.find(|it| *it != SYSTEM).expect("a case has a namespace").to_owned()
}

impl Platform {
    /// Starts everything and waits until it is installed.
    pub async fn start(namespace: &str, case: &Value, cases: &[Value]) -> Platform {
        // At the beginning of a second: of two failures the newer shows, by the second, so that it must not depend on the
        // moment of the test which of them that is.
        let second = Clock::start().now().as_second();
        let clock = Clock::start_at(Timestamp::from_second(second).expect("it is one of today"));
        let api = Api::open(Options::in_memory(clock)).expect("memory needs no opening");
        let stop = CancellationToken::new();
        let cluster = Cluster::new(api.client(), clock, stop.clone());
        let platform = Platform {
            workloads: local::workloads::start(api.client(), clock, String::new()),
            namespace: namespace.to_owned(),
            api,
            stop,
            cluster: cluster.clone(),
        };
        platform.install(case).await;

        let recorder = Recorder::start(&cluster, "platform");
        let config = runtime::config::watch(&cluster, SYSTEM, Some(EVENTING), &recorder).await;
        let (default, validate, pod) = (config.clone(), config.clone(), config.clone());
        platform.api.set_admission(local::api::admit::Admission {
            default: Arc::new(move |it| controller::admission::default(it, &default.borrow())),
            validate: Arc::new(move |it| controller::admission::validate(it, &validate.borrow())),
            pod: Arc::new(move |it| controller::admission::pod(it, &pod.borrow())),
            job: Arc::new(controller::admission::job),
            access: Arc::new(|_| None),
        });
        autoscaler::drive::Autoscaler::start(
            &cluster,
            config.clone(),
            &recorder,
            &Metrics::default(),
            autoscaler::drive::Settings {
                system_namespace: SYSTEM.to_owned(),
                path: autoscaler::drive::Path::Here,
            },
        );
        let options = controller::Options {
            resolver: Arc::new(stand_ins::Registry::of(cases)),
            system_namespace: SYSTEM.into(),
            certificate_classes: &[],
        };
        cluster.spawn(controller::run(cluster.clone(), config, options));
        cluster.spawn(stand_ins::node(cluster.clone()));
        cluster.spawn(stand_ins::gateway(cluster.clone()));
        platform
    }

    /// Stops everything and waits for it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.cluster.stopped().await;
        self.workloads.shutdown().await;
    }

    /// Sends a request of a case.
    pub async fn send(&self, step: &Value) -> Answer {
        let request = &step["request"];
        let user = request["user"].as_str().unwrap_or("kn-admin");
        let text = |value: &Value| value.as_str().expect("a request has text").to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            headers.push((name.clone(), text(value)));
        }
        let body = request.get("body").filter(|it| !it.is_null());
        let body = body.map(Value::to_string).unwrap_or_default();
        self.call(user, &text(&request["method"]), &text(&request["path"]), &headers, body).await
    }

    /// Opens a watch, whose body is its events.
    pub async fn watch(&self, path: &str) -> local::api::answer::Body {
        let user = User {
            name: "kn-admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let request = Request::get(path).body(Full::new(Bytes::new())).expect("a path of a case");
        let answer = self.api.as_user(user).handle(request).await;
        assert_eq!(answer.status(), 200, "GET {path}");
        answer.into_body()
    }

    /// The newest version of anything; the same when nothing has changed.
    pub async fn version(&self) -> String {
        // Versions are those of the store, so each list has the newest.
        let answer = self.get("/apis/serving.knative.dev/v1/services").await;
        answer["metadata"]["resourceVersion"].as_str().expect("a list has a version").to_owned()
    }

    /// All objects of the case's namespace that a case may tell of.
    pub async fn objects(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        for (before, kind) in LISTS {
            let path = format!("{before}/namespaces/{}/{kind}", self.namespace);
            let list = self.get(&path).await;
            let of = list["kind"].as_str().unwrap_or_default().trim_end_matches("List").to_owned();
            for mut object in list["items"].as_array().cloned().unwrap_or_default() {
                object["apiVersion"] = list["apiVersion"].clone();
                object["kind"] = json!(of);
                objects.push(object);
            }
        }
        objects
    }

    /// The events of the case's namespace, as the recording has them.
    pub async fn events(&self) -> Vec<Value> {
        let list = self.get(&format!("/api/v1/namespaces/{}/events", self.namespace)).await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let reduced = |it: &Value| {
            json!({
                "source": it["source"]["component"],
                "type": it["type"],
                "reason": it["reason"],
                "message": it["message"],
                "involvedObject": it["involvedObject"],
            })
        };
        let is_ours = |it: &Value| RECORDERS.contains(&it["source"].as_str().unwrap_or_default());
        items.iter().map(reduced).filter(is_ours).collect()
    }

    async fn install(&self, case: &Value) {
        for namespace in [SYSTEM, EVENTING, &self.namespace] {
            let body = json!({ "metadata": { "name": namespace } });
            self.create("/api/v1/namespaces", &body).await;
        }
        for definition in api::crd::crds() {
            let body = serde_json::to_value(&definition).expect("CRDs are plain data");
            self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &body).await;
        }
        let without_domain = case["name"].as_str().is_some_and(|it| it.ends_with("-no-domain"));
        for map in config::install::config_maps() {
            let mut body = serde_json::to_value(&map).expect("ConfigMaps are plain data");
            body["metadata"]["namespace"] = json!(SYSTEM);
            // As in the recording, where Knative's own defaults hold.
            match body["metadata"]["name"].as_str().unwrap_or_default() {
                "config-domain" if without_domain => body["data"] = json!({}),
                "config-domain" => body["data"] = json!({ "example.com": "" }),
                "config-deployment" => {
                    body["data"] = json!({ "queue-sidecar-image": "dev.local/serving/cmd/queue" });
                }
                "config-network" => body["data"] = json!({ "ingress-class": ISTIO }),
                _ => body["data"] = json!({}),
            }
            self.create(&format!("/api/v1/namespaces/{SYSTEM}/configmaps"), &body).await;
        }
        for map in config::eventing::install::config_maps() {
            let body = serde_json::to_value(&map).expect("ConfigMaps are plain data");
            self.create(&format!("/api/v1/namespaces/{EVENTING}/configmaps"), &body).await;
        }
        stand_ins::activators(&self.cluster, SYSTEM).await;
    }

    /// Makes an object, which must be taken.
    pub async fn create(&self, path: &str, body: &Value) {
        let answer = self.call("system:admin", "POST", path, &[], body.to_string()).await;
        assert!(answer.status < 300, "POST {path} {body}: {}", answer.body);
    }

    /// Changes an object by a JSON patch, which must be taken.
    pub async fn patch(&self, path: &str, body: &Value) {
        let kind = [("content-type".to_owned(), "application/json-patch+json".to_owned())];
        let answer = self.call("system:admin", "PATCH", path, &kind, body.to_string()).await;
        assert_eq!(answer.status, 200, "PATCH {path} {body}: {}", answer.body);
    }

    /// Deletes an object that is there.
    pub async fn delete(&self, path: &str) {
        let answer = self.call("system:admin", "DELETE", path, &[], String::new()).await;
        assert_eq!(answer.status, 200, "DELETE {path}: {}", answer.body);
    }

    /// An object, or a list, that is there.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call("system:admin", "GET", path, &[], String::new()).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    async fn call(
        &self,
        user: &str,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Answer {
        let user = User {
            name: user.to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            ..User::default()
        };
        let mut request = Request::builder().method(method).uri(path);
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("cases are valid requests");
        let answer = self.api.as_user(user).handle(request).await;
        let status = answer.status().as_u16();
        let warnings = answer.headers().get_all("warning").iter();
        let warnings = warnings.filter_map(|it| it.to_str().ok()?.strip_prefix("299 - \""));
        let warnings = warnings.map(|it| it.trim_end_matches('"').to_owned()).collect();
        let body = answer.into_body().collect().await.expect("bodies in memory are whole");
        Answer {
            status,
            warnings,
            body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        }
    }
}
