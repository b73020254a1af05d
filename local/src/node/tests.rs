//! Pods with real processes, through the API server, as an ordinary user's node and as root's.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf,
    sync::Arc, time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Event, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use proxy::{body::Body, hop::Protocol};
use runtime::{clock::Clock, cluster::Cluster};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    images::{Image, Images},
    logs::Logs as _,
    node::{Mode, Node, Settings, netlink::Range, output::Outputs},
};

/// Longest wait for anything here; only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(20);
/// An HTTP server on `$PORT` which answers with its pod's name, slowly where the path says so.
const SERVER: &str = "
import http.server, os, socketserver, time, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self):
        if self.path == '/slow': time.sleep(0.5)
        body = os.environ['HOSTNAME'].encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
def end(*_): print('terminated', flush=True); os._exit(0)
signal.signal(signal.SIGTERM, end)
server = Server(('0.0.0.0', int(os.environ['PORT'])), Handler)
print('listening', flush=True)
server.serve_forever()
";

struct Scene {
    folder: PathBuf,
    api: crate::api::Api,
    cluster: Cluster,
    node: Node,
    outputs: Outputs,
    stop: CancellationToken,
}

impl Scene {
    async fn start(mode: Mode) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-node-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        let options = crate::api::Options::in_memory(Clock::start());
        let api = crate::api::Api::open(options).unwrap();
        Self::start_in(folder, api, mode).await
    }

    async fn start_in(folder: PathBuf, api: crate::api::Api, mode: Mode) -> Self {
        let clock = Clock::start();
        let stop = CancellationToken::new();
        let cluster = Cluster::new(api.client(), clock, stop.clone());
        let outputs = Outputs::open(folder.join("logs"), clock).unwrap();
        let image = |path: &str| Image {
            path: path.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            with: Vec::new(),
        };
        let images = [("sh", image("/bin/sh")), ("python", image("/usr/bin/python3"))];
        let images = images.map(|(name, image)| (name.to_owned(), image)).into();
        let settings = Settings {
            data_dir: folder.clone(),
            mode,
            images: Arc::new(Images::open(&folder, images)),
            outputs: outputs.clone(),
            name: "weft".to_owned(),
            services: Range { address: "10.96.0.0".parse().unwrap(), prefix: 16 },
            max_pods: 110,
            cluster_domain: "cluster.local".to_owned(),
            certificate: "certificate".to_owned(),
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        };
        let node = Node::start(cluster.clone(), settings).await.unwrap();
        Self { folder, api, cluster, node, outputs, stop }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client().clone(), "default")
    }

    async fn create(&self, name: &str, spec: Value) {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    async fn put<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.cluster.client().clone(), "default");
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Waits until the pod is as `wanted` has it; absent pods are not.
    async fn until(&self, name: &str, wanted: impl Fn(&Pod) -> bool) -> Arc<Pod> {
        let cache = self.cluster.cache::<Pod>();
        let mut changes = cache.changes();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(pod) = cache.get("default", name).filter(|it| wanted(it)) {
                    return pod;
                }
                changes.next().await;
            }
        });
        match found.await {
            Ok(pod) => pod,
            Err(_) => {
                panic!("{name} is {:#?}", cache.get("default", name).map(|it| it.status.clone()))
            }
        }
    }

    async fn gone(&self, name: &str) {
        let cache = self.cluster.cache::<Pod>();
        let mut changes = cache.changes();
        let gone = async {
            while cache.get("default", name).is_some() {
                changes.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the pod goes");
    }

    async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
        self.gone(name).await;
    }

    async fn get(&self, pod: &Pod, path: &str) -> Result<String, String> {
        let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
        let to: SocketAddr = format!("{ip}:8012").parse().unwrap();
        let request = Request::get(path).header("host", "x").body(Body::empty()).unwrap();
        let sent = self.node.upstream().send(to, Protocol::Http1, request).await;
        let response = sent.map_err(|error| error.to_string())?;
        let status = response.status();
        let body =
            response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&body)))
    }

    async fn log(&self, pod: &Pod, container: &str) -> String {
        let pod = serde_json::to_value(pod).unwrap();
        let options =
            crate::logs::Options { container: container.to_owned(), ..Default::default() };
        let mut text = Vec::new();
        let mut pieces = self.outputs.read(&pod, options).await.unwrap();
        while let Some(piece) = futures::StreamExt::next(&mut pieces).await {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    /// Waits until an event of that reason is told about the pod; gives its message.
    async fn event(&self, pod: &str, reason: &str) -> String {
        let cache = self.cluster.cache::<Event>();
        let mut changes = cache.changes();
        let told = async {
            loop {
                let mut all = cache.list("default").into_iter();
                let found = all.find(|it| {
                    it.reason.as_deref() == Some(reason)
                        && it.involved_object.name.as_deref() == Some(pod)
                });
                if let Some(event) = found {
                    return event.message.clone().unwrap_or_default();
                }
                changes.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("the event is told")
    }

    async fn end(self) {
        self.node.shutdown().await;
        self.stop.cancel();
        let left = fs::read_dir(self.folder.join("pods")).unwrap().count();
        assert_eq!(left, 0, "folders of pods are left");
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
    conditions.is_some_and(|it| it.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}

fn container(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn waiting(pod: &Pod) -> Option<(&str, &str)> {
    let waiting = container(pod)?.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.as_deref()?, waiting.message.as_deref().unwrap_or_default()))
}

/// A revision's pod as the controller makes it, as far as the node is concerned.
fn revision_pod() -> Value {
    let settings = json!({"namespace": "default", "revision": "r", "userPort": 8080,
        "readiness": [{"tcpSocket": {"port": 0}}]});
    json!({
        "terminationGracePeriodSeconds": 20,
        "containers": [
            {
                "name": "user-container", "image": "python", "args": ["-u", "-c", SERVER],
                "ports": [{"containerPort": 8080, "name": "user-port"}],
                "env": [{"name": "PORT", "value": "8080"}],
                "lifecycle": {"preStop": {"httpGet": {"port": 8022, "path": "/wait-for-drain"}}},
            },
            {
                "name": "queue-proxy", "image": "queue",
                "env": [{"name": "QUEUE_SETTINGS", "value": settings.to_string()}],
                "readinessProbe": {"httpGet": {"port": 8012}},
            },
        ],
    })
}

/// Both kinds of node; the second is the first again where the machine does not let us isolate pods.
const MODES: [Mode; 2] = [Mode::Host, Mode::Auto];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revisions_pod_serves_and_finishes_its_requests() {
    for mode in MODES {
        let scene = Scene::start(mode).await;
        let says_why = scene.node.notes.iter().any(|it| it.starts_with("host mode ("));
        assert_eq!(scene.node.isolated(), !says_why, "{:?}", scene.node.notes);
        assert!(mode == Mode::Auto || !scene.node.isolated());
        // Two, which listen on the same port.
        for name in ["one", "two"] {
            scene.create(name, revision_pod()).await;
        }
        for name in ["one", "two"] {
            let pod = scene.until(name, ready).await;
            assert_eq!(scene.get(&pod, "/").await.unwrap(), format!("200 {name}"));
            assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("weft"));
        }
        let pod = scene.until("one", ready).await;
        let slow = async { scene.get(&pod, "/slow").await.unwrap() };
        let deleted = async {
            // Once the request is on its way.
            tokio::task::yield_now().await;
            scene.delete("one").await;
        };
        let (answer, ()) = tokio::join!(slow, deleted);
        assert_eq!(answer, "200 one");
        assert!(scene.get(&pod, "/").await.is_err());
        assert_eq!(scene.log(&pod, "user-container").await, "listening\nterminated\n");
        scene.event("one", "Started").await;
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_leave_their_last_words() {
    let scene = Scene::start(Mode::Auto).await;
    if !scene.node.isolated() {
        // On the machine's own files nothing can be mounted for one container alone.
        return scene.end().await;
    }
    let both = "echo from the log; echo from the file > $0; exit $1";
    let none = "echo from the log; exit $1";
    let (usual, own) = ("/dev/termination-log", "/tmp/weft-last/words");
    let logs = "FallbackToLogsOnError";
    let cases = [
        ("file", both, usual, "File", "3", "from the file\n"),
        ("success", both, usual, "File", "0", "from the file\n"),
        ("own-path", both, own, "File", "3", "from the file\n"),
        ("silent", none, usual, "File", "3", ""),
        ("file-first", both, usual, logs, "3", "from the file\n"),
        ("log", none, usual, logs, "3", "from the log\n"),
        ("no-error", none, usual, logs, "0", ""),
    ];
    for (name, script, path, policy, code, _) in cases {
        let spec = json!({"restartPolicy": "Never", "containers": [{
            "name": "c", "image": "sh", "args": ["-c", script, path, code],
            "terminationMessagePath": path, "terminationMessagePolicy": policy,
        }]});
        scene.create(name, spec).await;
    }
    for (name, .., wanted) in cases {
        let ended = |pod: &Pod| {
            let state = container(pod).and_then(|it| it.state.as_ref());
            state.is_some_and(|it| it.terminated.is_some())
        };
        let pod = scene.until(name, ended).await;
        let state = container(&pod).unwrap().state.as_ref().unwrap();
        let message = state.terminated.as_ref().unwrap().message.as_deref();
        assert_eq!(message.unwrap_or_default(), wanted, "{name}");
    }
    let left = std::fs::read_to_string(usual).unwrap_or_default();
    assert_eq!(left, "", "the machine's own file stays empty");
    scene.end().await;
}

/// Tells what it finds, and fails the first time.
const EXPLORER: &str = r#"#!/bin/sh
echo user $(id -u):$(id -g)
echo rights $(grep CapBnd /proc/self/status)
test -x /ko-app/app && echo program
cat "$(dirname "$0")/beside" "$1"
test -e "$2" && echo sees too much
test -e /tmp/mine && echo stale files
touch /tmp/mine && echo temporary
touch /usr/mine 2>/dev/null && echo writes to the system
ls /etc/added/k /etc/passwd /usr/share/added/k
grep -c "[[:space:]]$HOSTNAME$" /etc/hosts
test -e /kept/seen && exec sleep 600
touch /kept/seen
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_see_a_root_of_their_own() {
    let scene = Scene::start(Mode::Auto).await;
    if !scene.node.isolated() {
        // On the machine's own files nothing can be mounted for one container alone.
        return scene.end().await;
    }
    let home = std::env::temp_dir().join(format!("weft-home-{}", uuid::Uuid::new_v4()));
    let (app, secret) = (home.join("bin/app"), home.join("secret"));
    fs::create_dir_all(app.parent().unwrap()).unwrap();
    for (file, text) in [
        (&app, EXPLORER),
        (&app.with_file_name("beside"), "beside\n"),
        (&home.join("asked-for"), "asked for\n"),
        (&secret, "secret\n"),
    ] {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let with = [home.join("asked-for")];
    Images::open(&scene.folder, BTreeMap::new()).add("me/app:v1", &app, &with).unwrap();
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "value"}});
    scene.put::<ConfigMap>(map).await;
    let spec = json!({
        "volumes": [{"name": "m", "configMap": {"name": "m"}}, {"name": "kept", "emptyDir": {}}],
        "containers": [{"name": "c", "image": "me/app:v1", "args": [&with[0], &secret],
            "volumeMounts": [
                {"name": "m", "mountPath": "/etc/added"},
                {"name": "m", "mountPath": "/usr/share/added"},
                {"name": "kept", "mountPath": "/kept"},
            ]}],
    });
    scene.create("p", spec).await;
    let again = |pod: &Pod| container(pod).is_some_and(|it| it.restart_count == 1) && ready(pod);
    let pod = scene.until("p", again).await;
    let want = "user 65532:65532\nrights CapBnd: 00000000a80425fb\nprogram\nbeside\nasked for\n\
        temporary\n/etc/added/k\n/etc/passwd\n/usr/share/added/k\n1\n";
    let told = async {
        loop {
            let text = scene.log(&pod, "c").await;
            if text.len() >= want.len() {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, told).await.unwrap(), want);
    assert!(!PathBuf::from("/etc/added").exists(), "the machine stays as it was");
    scene.end().await;
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_as_kubelet_tells_it() {
    for mode in MODES {
        let scene = Scene::start(mode).await;
        let crash = json!({"containers": [{
            "name": "c", "image": "sh", "args": ["-c", "echo broken >&2; exit 3"],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }]});
        scene.create("crash", crash).await;
        let unknown = json!({"containers": [{"name": "c", "image": "example.com/no:v1"}]});
        scene.create("unknown", unknown).await;
        let missing = json!({"containers": [{"name": "c", "image": "sh",
            "command": ["sh", "-c", "echo $K; sleep 600"],
            "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}]});
        scene.create("missing", missing).await;
        let no_program = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "sh", "command": ["none"]}]});
        scene.create("no-program", no_program).await;
        let job = json!({"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "sh", "args": ["-c", "true"]}]});
        scene.create("job", job).await;

        let pod = scene
            .until("crash", |pod| waiting(pod).is_some_and(|it| it.0 == "CrashLoopBackOff"))
            .await;
        let status = container(&pod).unwrap();
        assert_eq!(status.restart_count, 1);
        let last = status.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
        assert_eq!(last.message.as_deref(), Some("broken\n"));
        assert!(!ready(&pod));

        let pod = scene
            .until("unknown", |pod| waiting(pod).is_some_and(|it| it.0.contains("Image")))
            .await;
        assert!(waiting(&pod).unwrap().1.contains("weft image add example.com/no:v1=PATH"));
        assert_eq!(container(&pod).unwrap().restart_count, 0);

        let pod = scene
            .until("missing", |pod| {
                waiting(pod).is_some_and(|it| it.0 == "CreateContainerConfigError")
            })
            .await;
        assert_eq!(waiting(&pod).unwrap().1, "configmap \"m\" not found");
        let maps: Api<ConfigMap> = Api::namespaced(scene.cluster.client().clone(), "default");
        let map = json!({"metadata": {"name": "m"}, "data": {"k": "found"}});
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
        scene.until("missing", ready).await;

        let phase = |wanted: &'static str| {
            move |pod: &Pod| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some(wanted)
        };
        let pod = scene.until("no-program", phase("Failed")).await;
        let ended = container(&pod).unwrap().state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (128, Some("StartError")));
        scene.until("job", phase("Succeeded")).await;
        scene.delete("job").await;
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_there_or_missed_aloud() {
    for mode in MODES {
        let scene = Scene::start(mode).await;
        let maps: Api<ConfigMap> = Api::namespaced(scene.cluster.client().clone(), "default");
        let map = json!({"metadata": {"name": "m"}, "data": {"k": "value"}});
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
        let at = format!("/tmp/weft-mounted-{}/deep", uuid::Uuid::new_v4());
        let script = format!("cat {at}/k; echo x > {at}/k; cat /etc/resolv.conf; exec sleep 600");
        let spec = json!({
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "containers": [{"name": "c", "image": "sh", "args": ["-c", script],
                "volumeMounts": [{"name": "v", "mountPath": at, "readOnly": true}]}],
        });
        scene.create("p", spec).await;
        let pod = scene.until("p", ready).await;
        let log = async {
            loop {
                let text = scene.log(&pod, "c").await;
                if text.contains("nameserver") {
                    return text;
                }
                tokio::task::yield_now().await;
            }
        };
        let log = tokio::time::timeout(PATIENCE, log).await.unwrap();
        if scene.node.isolated() {
            assert!(log.starts_with("value"), "{log}");
            assert!(log.contains("Read-only file system"), "{log}");
            let router = scene.node.router().unwrap();
            assert!(log.contains(&format!("nameserver {router}")), "{log}");
            assert!(log.contains("search default.svc.cluster.local svc.cluster.local"), "{log}");
        } else {
            assert!(scene.event("p", "FailedMount").await.contains("run as root"));
        }
        scene.end().await;
        assert!(!PathBuf::from(at).parent().unwrap().exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_volumes_follow_their_objects() {
    let scene = Scene::start(Mode::Auto).await;
    if !scene.node.isolated() {
        // On the machine's own files nothing can be mounted for one container alone.
        return scene.end().await;
    }
    scene
        .put::<ConfigMap>(json!({"metadata": {"name": "m"}, "data": {"k": "old", "gone": ""}}))
        .await;
    // Only the new value makes it ready.
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "m"}}]}}],
        "containers": [{"name": "c", "image": "sh", "args": ["-c", "exec sleep 600"],
            "readinessProbe": {"exec": {"command":
                ["sh", "-c", "test $(cat /v/k) = new && test -e /v/more && test ! -e /v/gone"]},
                "periodSeconds": 1},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    });
    scene.create("p", spec).await;
    scene.event("p", "Unhealthy").await;
    let maps: Api<ConfigMap> = Api::namespaced(scene.cluster.client().clone(), "default");
    let change = json!({"data": {"k": "new", "more": "", "gone": null}});
    maps.patch("m", &Default::default(), &kube::api::Patch::Merge(change)).await.unwrap();
    scene.until("p", ready).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_runs_its_pods_again() {
    for mode in MODES {
        let scene = Scene::start(mode).await;
        scene.create("p", revision_pod()).await;
        let before = scene.until("p", ready).await;
        scene.node.shutdown().await;
        scene.stop.cancel();
        assert!(scene.get(&before, "/").await.is_err());
        let scene = Scene::start_in(scene.folder, scene.api, mode).await;
        let again =
            |pod: &Pod| ready(pod) && container(pod).is_some_and(|it| it.restart_count == 1);
        let pod = scene.until("p", again).await;
        assert_eq!(pod.metadata.uid, before.metadata.uid);
        assert_eq!(scene.get(&pod, "/").await.unwrap(), "200 p");
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unhealthy_containers_start_again_and_stubborn_ones_are_killed() {
    for mode in MODES {
        let scene = Scene::start(mode).await;
        let spec = json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "sh",
                "args": ["-c", "trap '' TERM; echo run; while :; do sleep 600; done"],
                "livenessProbe": {"exec": {"command": ["false"]}, "failureThreshold": 1, "periodSeconds": 1}}],
        });
        scene.create("p", spec).await;
        let again = |pod: &Pod| container(pod).is_some_and(|it| it.restart_count >= 1);
        let pod = scene.until("p", again).await;
        let last =
            container(&pod).unwrap().last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(last.exit_code, 137);
        assert!(scene.event("p", "Killing").await.contains("failed liveness probe"));
        let all = scene.pods().list(&ListParams::default()).await.unwrap();
        assert_eq!(all.items.len(), 1);
        scene.delete("p").await;
        scene.end().await;
    }
}

/// A pod's containers finish its requests before they stop, but one that starts again has none to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_container_beside_a_queue_starts_again_at_once() {
    let scene = Scene::start(Mode::Auto).await;
    let mut spec = revision_pod();
    spec["terminationGracePeriodSeconds"] = json!(600);
    spec["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "failureThreshold": 1, "periodSeconds": 1});
    scene.create("p", spec).await;
    scene.until("p", |pod| container(pod).is_some_and(|it| it.restart_count >= 1)).await;
    scene.delete("p").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_find_services_by_name_and_reach_them() {
    let scene = Scene::start(Mode::Auto).await;
    let Some(router) = scene.node.router() else {
        // Without networks of their own pods have the machine's names, and the node says so.
        assert!(
            scene.node.notes.iter().any(|it| it.contains("names of the cluster do not resolve"))
        );
        assert!(scene.node.listen(80).unwrap().is_none());
        return scene.end().await;
    };
    scene.create("revision", revision_pod()).await;
    let mut plain = revision_pod();
    plain["containers"].as_array_mut().unwrap().pop();
    scene.create("plain", plain).await;
    let address = |pod: &Pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    let plain = address(&*scene.until("plain", ready).await);
    let revision = address(&*scene.until("revision", ready).await);
    for (name, ip, port, pod) in [
        ("plain", None, 8080, &plain),
        ("queue", None, 8012, &revision),
        ("pods", Some("None"), 8080, &plain),
    ] {
        let spec = json!({"clusterIP": ip, "ports": [{"port": 80, "targetPort": port}]});
        scene.put::<Service>(json!({"metadata": {"name": name}, "spec": spec})).await;
        let labels = json!({"kubernetes.io/service-name": name});
        scene
            .put::<EndpointSlice>(
                json!({"metadata": {"name": name, "labels": labels}, "addressType": "IPv4",
                "endpoints": [{"addresses": [pod]}], "ports": [{"name": "", "port": port}]}),
            )
            .await;
    }
    let host = json!({"type": "ExternalName", "externalName": "gateway.example.com"});
    let labels = json!({"serving.knative.dev/route": "hello"});
    scene
        .put::<Service>(json!({"metadata": {"name": "hello", "labels": labels}, "spec": host}))
        .await;
    let script = "
import socket, time, urllib.request
def get(url):
    for _ in range(100):
        try: return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError as error: last = error; time.sleep(0.05)
    return repr(last)
print(get('http://plain'), get('http://queue.default.svc.cluster.local/x'))
print(socket.gethostbyname('pods.default'), socket.gethostbyname('hello'))
print(socket.gethostbyname(socket.gethostname()))
";
    let client = json!({"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "python", "args": ["-u", "-c", script]}]});
    scene.create("client", client).await;
    let over = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let client = scene.until("client", over).await;
    let log = scene.log(&client, "c").await;
    assert_eq!(log, format!("plain revision\n{plain} {router}\n{}\n", address(&client)));
    scene.end().await;
}
