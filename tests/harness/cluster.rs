//! The embedded cluster alone, in this process: a Kubernetes API, its controllers and a node. The
//! platform's roles run in its pods, each a process of the real binary, as on any other cluster.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use api::crd;
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use local::{
    api::{self as server, admit::Admission},
    images::{Image, Images},
    node::{self, Node, netlink::Range, output::Outputs},
    serve::{self, Certificate},
    workloads,
};
use proxy::{body::Body, hop::Protocol};
use runtime::{clock::Clock, cluster::Cluster as Seen, config as live, events::Recorder};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    kubectl::{Kubectl, Version},
    parts, platform,
};

/// Namespace that the platform is installed in.
pub const SYSTEM: &str = "knative-serving";
const SERVICES: Range = Range { address: Ipv4Addr::new(10, 96, 0, 0), prefix: 16 };
/// Where pods reach the API, on the address of the router of their network.
const API_PORT: u16 = 6443;
/// Longest time for one answer through the gateway.
const ANSWER: Duration = Duration::from_secs(60);

/// A cluster without the platform.
pub struct Cluster {
    home: PathBuf,
    kubectl: Kubectl,
    seen: Seen,
    workloads: workloads::Handle,
    node: Node,
    stop: CancellationToken,
    api: Mutex<Server>,
    _turn: File,
}

/// The API for other processes.
struct Server {
    api: server::Api,
    certificate: Arc<Certificate>,
    /// Where it is on this machine.
    at: SocketAddr,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Server {
    async fn start(&mut self, node: &Node) {
        let outside = TcpListener::bind(self.at).await.expect("the address is free");
        self.at = outside.local_addr().expect("it is bound");
        let inside = node.listen(API_PORT).expect("the router's port is free");
        let inside = inside.expect("pods have networks of their own");
        self.stop = CancellationToken::new();
        for listener in [outside, inside] {
            let (api, certificate) = (self.api.clone(), self.certificate.clone());
            let stop = self.stop.clone();
            self.tasks.spawn(async move { serve::serve(api, &certificate, listener, stop).await });
        }
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Cluster {
    /// Starts it in `home`, with the platform's definitions and ConfigMaps, to which `config` adds data,
    /// and with the platform's admission. Needs root, for pods with networks of their own.
    pub async fn start(home: PathBuf, config: &[(&str, &[(&str, &str)])]) -> Cluster {
        let turn = tokio::task::spawn_blocking(platform::turn).await;
        let turn = turn.expect("waiting for a turn does not panic");
        let clock = Clock::start();
        let mut options = server::Options::in_memory(clock);
        options.service_network = (SERVICES.address, SERVICES.prefix);
        let api = server::Api::open(options).expect("memory needs no opening");
        let outputs = Outputs::open(home.join("logs"), clock).expect("home can be written");
        api.set_logs(Arc::new(outputs.clone()));
        let certificate = Certificate::open(Some(&home)).expect("a certificate can be made");
        let certificate = Arc::new(certificate);
        let stop = CancellationToken::new();
        let seen = Seen::new(api.client(), clock, stop.clone());
        install(seen.client(), config).await.expect("the platform's objects can be installed");
        let recorder = Recorder::start(&seen, "cluster");
        let live = live::watch(&seen, SYSTEM, None, &recorder).await;
        let (defaulting, validating, trying) = (live.clone(), live.clone(), live);
        api.set_admission(Admission {
            default: Arc::new(move |it| controller::admission::default(it, &defaulting.borrow())),
            validate: Arc::new(move |it| controller::admission::validate(it, &validating.borrow())),
            pod: Arc::new(move |it| controller::admission::pod(it, &trying.borrow())),
            job: Arc::new(controller::admission::job),
            access: Arc::new(|_| None),
        });

        let workloads = workloads::start(api.client(), clock, certificate.pem().to_owned());
        let weft = parts::weft();
        let image = |args: &[&str]| Image {
            path: weft.clone(),
            args: args.iter().map(|it| (*it).to_owned()).collect(),
            env: BTreeMap::new(),
            with: Vec::new(),
        };
        let mut images = local::images::samples(&weft);
        images.insert("dev.local/weft".to_owned(), image(&[]));
        let settings = node::Settings {
            data_dir: home.clone(),
            mode: node::Mode::Isolated,
            images: Arc::new(Images::open(&home, images)),
            outputs,
            name: "node".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            certificate: certificate.pem().to_owned(),
            services: SERVICES,
            max_pods: node::MOST_PODS,
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        };
        let node = Node::start(seen.clone(), settings).await.expect("the node starts");

        let (tasks, at) = (JoinSet::new(), (Ipv4Addr::LOCALHOST, 0).into());
        let mut server = Server {
            api: api.clone(),
            certificate: certificate.clone(),
            at,
            tasks,
            stop: CancellationToken::new(),
        };
        server.start(&node).await;
        let kubeconfig = serve::kubeconfig(&api, &certificate, server.at);
        fs::write(home.join("kubeconfig"), kubeconfig).expect("home can be written");
        let router = node.router().expect("pods have networks of their own");
        let kubeconfig = serve::kubeconfig(&api, &certificate, (router, API_PORT).into());
        // The certificate knows the API by its names.
        let named =
            kubeconfig.replace("    server:", "    tls-server-name: localhost\n    server:");
        fs::write(home.join("kubeconfig.pods"), named).expect("home can be written");
        let kubectl = Kubectl {
            program: Version::Newest.path(),
            kubeconfig: home.join("kubeconfig"),
            home: home.clone(),
        };
        let api = Mutex::new(server);
        Cluster { home, kubectl, seen, workloads, node, stop, api, _turn: turn }
    }

    /// Ends the API's server and every connection to it, as the end of its process does. What is in this process, the
    /// node among it, reaches its API all the same.
    pub async fn lose_api(&self) {
        self.api.lock().await.stop().await;
    }

    /// Starts it again at the same places.
    pub async fn find_api(&self) {
        self.api.lock().await.start(&self.node).await;
    }

    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub fn client(&self) -> &Client {
        self.seen.client()
    }

    /// The kubeconfig with which pods reach the API as its owner.
    pub fn kubeconfig_of_pods(&self) -> String {
        self.home.join("kubeconfig.pods").display().to_string()
    }

    /// The pods of a namespace with these labels.
    pub async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), namespace);
        Ok(pods.list(&ListParams::default().labels(labels)).await?.items)
    }

    /// One GET to a port of a pod, as a client beside it would send it: the status and the body.
    pub async fn get(&self, to: SocketAddr, host: &str, path: &str) -> Result<(u16, String)> {
        let request = Request::get(path).header("host", host).body(Body::empty())?;
        let exchange = async {
            let response = self.node.upstream().send(to, Protocol::Http1, request).await;
            let response = response.map_err(proxy::hop::SendError::into_cause)?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::time::timeout(ANSWER, exchange).await.context("no answer in time")?
    }

    /// Installs a role as its manifest in `deploy/roles` does, with so many pods. They reach the API with the account of
    /// the manifest, by a kubeconfig of their own.
    pub async fn install_role(&self, name: &str, replicas: u32) {
        let manifest = parts::root().join(format!("deploy/roles/{name}.yaml"));
        let manifest = fs::read_to_string(manifest).expect("each role has a manifest");
        // Its pods come when they can find the API.
        let waiting = manifest.replace("  replicas: 2\n", "  replicas: 0\n");
        assert_ne!(waiting, manifest, "there are to be two of each");
        self.kubectl.run_with("apply -f -", &waiting).await.ok();
        let token = format!("create token weft-{name} -n {SYSTEM}");
        let token = self.kubectl.run(&token).await.ok();
        let kubeconfig = fs::read_to_string(self.home.join("kubeconfig.pods"));
        let kubeconfig = kubeconfig.expect("it was written");
        let lines = kubeconfig.lines().map(|line| match line.split_once("token: ") {
            Some((before, _)) => format!("{before}token: {}\n", token.trim()),
            None => format!("{line}\n"),
        });
        // The role runs as another user.
        let folder = self.home.join("kubeconfigs");
        fs::create_dir_all(&folder).expect("home can be written");
        let file = folder.join(name);
        fs::write(&file, lines.collect::<String>()).expect("home can be written");
        for (path, mode) in [(&folder, 0o755), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let pod = "/spec/template/spec";
        let container = format!("{pod}/containers/0");
        let volume = json!({"name": "kubeconfigs", "hostPath": {"path": folder}});
        let mount = json!({"name": "kubeconfigs", "mountPath": folder, "readOnly": true});
        let patch = json!([
            {"op": "add", "path": format!("{pod}/volumes"), "value": [volume]},
            {"op": "add", "path": format!("{container}/volumeMounts"), "value": [mount]},
            {"op": "add", "path": format!("{container}/args/-"), "value": "--kubeconfig"},
            {"op": "add", "path": format!("{container}/args/-"), "value": file},
            // Tests end sooner than requests may take.
            {"op": "replace", "path": format!("{pod}/terminationGracePeriodSeconds"), "value": 10},
            {"op": "replace", "path": "/spec/replicas", "value": replicas},
        ]);
        let deployment = format!("weft-{name}");
        let words = [
            "patch",
            "deployment",
            &deployment,
            "-n",
            SYSTEM,
            "--type",
            "json",
            "-p",
            &patch.to_string(),
        ];
        self.kubectl.run_words(&words, "").await.ok();
    }

    /// Ends everything, and waits for it.
    pub async fn stop(self) {
        self.lose_api().await;
        self.node.shutdown().await;
        self.workloads.shutdown().await;
        self.stop.cancel();
        self.seen.stopped().await;
        // What cannot be removed is below the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.home);
    }
}

async fn install(client: &Client, config: &[(&str, &[(&str, &str)])]) -> Result<()> {
    let parameters = PostParams::default();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": SYSTEM}}))?;
    Api::all(client.clone()).create(&parameters, &namespace).await?;
    for definition in crd::crds() {
        Api::all(client.clone()).create(&parameters, &definition).await?;
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM);
    for mut map in config::install::config_maps() {
        let name = map.metadata.name.clone().unwrap_or_default();
        let more = config.iter().filter(|(of, _)| *of == name).flat_map(|(_, data)| *data);
        let more = more.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        map.data.get_or_insert_default().extend(more);
        map.metadata.namespace = Some(SYSTEM.to_owned());
        maps.create(&parameters, &map).await?;
    }
    Ok(())
}

/// The objects of a role without a manifest: a Deployment, and a Service where it has ports. The pods see the folder `home`.
pub fn role(
    name: &str,
    replicas: u32,
    home: &str,
    arguments: &[&str],
    ports: &[(&str, u16, u16)],
) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 10,
                "volumes": [{"name": "home", "hostPath": {"path": home}}], "containers": [{
                "name": name, "image": "dev.local/weft", "args": arguments,
                "volumeMounts": [{"name": "home", "mountPath": home}],
                "env": [{"name": "POD_NAME", "valueFrom": field("metadata.name")},
                        {"name": "POD_IP", "valueFrom": field("status.podIP")}],
                "readinessProbe":
                    {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
            }]},
        }},
    });
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target}))
        .collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name,
            "namespace": SYSTEM},
        "spec": {"selector": labels, "ports": ports},
    });
    let items = if ports.is_empty() { vec![deployment] } else { vec![deployment, service] };
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
