//! The parts of the platform, put together in one process. It reads as the table of contents.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use activator::{backends::Seen, revision::Address, serve::Activator};
use anyhow::Context;
use api::{
    keys::networking::{CERT_MANAGER_CLASS, WEFT_CERTIFICATE_CLASS},
    queue::{H2C_PORT, HTTP_PORT, TLS_PORT, TlsLimits},
};
use autoscaler::drive::{self, Autoscaler};
use config::Config;
use controller::revision::digest::{Question, Resolver};
use eventing::{
    admin::Admin,
    courier::Network,
    deliver::Courier,
    dispatcher::Dispatcher,
    ingress::{BODY_LIMIT, Ingress},
    job_sink::serve::JobSinks,
    log::file::Files,
    threads::Thread,
    topic::Surroundings,
};
use kube::Client;
use local::{
    api::{Api, Options, admit::Admission},
    images::{Image, Images, registry},
    node::{self, Node, netlink::Range, output::Outputs},
    serve::{self, Certificate},
    workloads,
};
use mesh::{
    ack::{self, Domains},
    gateway::{Door, Gateway, HTTPS},
};
use proxy::{
    drain,
    hop::{Backend, Protocol},
    serve::{Settings as Serving, Shards, serve_on},
    tls::Server,
};
use runtime::{
    admin::Readiness,
    clock::Clock,
    cluster::{Cluster, Key},
    config as live,
    events::Recorder,
    telemetry::Levels,
    trust,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    api_service, asked,
    events::{self, Ways},
    install,
    services::{self, HTTP},
};
use crate::{command::image, place};

/// The one node's name.
const NODE: &str = "weft";
/// Addresses of Services, as kubeadm's default has them.
const SERVICES: Range = Range { address: Ipv4Addr::new(10, 96, 0, 0), prefix: 16 };
/// The domain of the cluster's names.
const CLUSTER_DOMAIN: &str = "cluster.local";
/// How long requests in flight may go on when the platform stops: people wait for it.
const DRAIN: Duration = Duration::from_secs(5);
/// Where programs are looked for in containers, as in most images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a platform runs.
pub struct Settings {
    /// Objects, logs and the kubeconfig; nobody else writes there.
    pub data_dir: PathBuf,
    /// Where the Kubernetes API is served.
    pub api: TcpListener,
    /// Where requests from outside come in.
    pub gateway: TcpListener,
    /// Where they come in by TLS, if anywhere on the machine's own addresses.
    pub secure_gateway: Option<TcpListener>,
    /// Programs for image names, besides the samples.
    pub images: Vec<(String, PathBuf)>,
    /// Pods share the machine's network.
    pub host_network: bool,
    /// Pods that run at the same time, at most.
    pub max_pods: u16,
}

/// A platform that runs. Any number can run in one process.
pub struct Platform {
    cluster: Cluster,
    config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
    api: tokio::task::JoinHandle<()>,
    workloads: workloads::Handle,
    node: Node,
    /// The gateway's connections.
    open: drain::Count,
    listeners: JoinSet<()>,
    /// Outlives all that delivers events.
    _deliveries: Thread,
}

impl Platform {
    /// Starts every part; when it returns, the API answers and requests are routed.
    pub async fn start(settings: Settings) -> anyhow::Result<Platform> {
        let clock = Clock::start();
        let stop = CancellationToken::new();
        let data_dir = &settings.data_dir;
        let api_addr = settings.api.local_addr().context("read the API's address")?;
        let http_addr = settings.gateway.local_addr().context("read the gateway's address")?;
        let https_port = match &settings.secure_gateway {
            Some(it) => Some(it.local_addr().context("read the gateway's address")?.port()),
            None => None,
        };

        // The Kubernetes API, in this process and on its port.
        let api = open_api(data_dir, clock)?;
        let outputs = Outputs::open(place::logs(data_dir), clock)
            .with_context(|| format!("open the logs in {}", data_dir.display()))?;
        api.set_logs(Arc::new(outputs.clone()));
        let certificate = Certificate::open(Some(data_dir))?;
        let kubeconfig = serve::kubeconfig(&api, &certificate, api_addr);
        serve::private_file(&place::kubeconfig(data_dir), &kubeconfig)?;
        let cluster = Cluster::new(api.client(), clock, stop.clone());
        let system = config::env::system_namespace();
        let eventing = config::env::eventing_namespace();
        install::install(cluster.client(), &system, http_addr.port(), https_port).await?;
        install::install_eventing(cluster.client(), &eventing).await?;
        api_service::install(cluster.client()).await?;
        let recorder = Recorder::start(&cluster, "weft");
        let live = live::watch(&cluster, &system, Some(&eventing), &recorder).await;

        let (defaulting, validating, trying, asking) =
            (live.clone(), live.clone(), live.clone(), live.clone());
        api.set_admission(Admission {
            default: Arc::new(move |request| {
                controller::admission::default(request, &defaulting.borrow())
            }),
            validate: Arc::new(move |request| {
                controller::admission::validate(request, &validating.borrow())
            }),
            pod: Arc::new(move |request| controller::admission::pod(request, &trying.borrow())),
            job: Arc::new(controller::admission::job),
            access: Arc::new(move |request| {
                controller::admission::access(request, &asking.borrow())
            }),
        });

        // What a cluster runs besides: controllers of workloads, and a node.
        let workloads = workloads::start(api.client(), clock, certificate.pem().to_owned());
        let images = Arc::new(Images::open(data_dir, images(settings.images)?));
        let node = Node::start(
            cluster.clone(),
            node::Settings {
                data_dir: data_dir.clone(),
                mode: if settings.host_network { node::Mode::Host } else { node::Mode::Auto },
                images: images.clone(),
                outputs,
                name: NODE.to_owned(),
                cluster_domain: CLUSTER_DOMAIN.to_owned(),
                certificate: certificate.pem().to_owned(),
                services: SERVICES,
                max_pods: settings.max_pods,
                environment: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
            },
        )
        .await
        .context("start the node")?;

        api.set_figures(Arc::new(node.meter()));

        // The roles, which meet in the API, in headers and in load reports.
        let metrics = cluster.metrics().clone();
        metrics.describe("weft", NODE, live.clone());
        tokio::spawn(controller::run(
            cluster.clone(),
            live.clone(),
            controller::Options {
                resolver: Arc::new(LocalImages(images)),
                system_namespace: system.as_str().into(),
                // Nobody else is here to do it.
                certificate_classes: &[WEFT_CERTIFICATE_CLASS, CERT_MANAGER_CLASS],
            },
        ));
        let autoscaler = Autoscaler::start(
            &cluster,
            live.clone(),
            &recorder,
            &metrics,
            drive::Settings { system_namespace: system.clone(), path: drive::Path::Here },
        );
        let reports = autoscaler.reports();
        // On the machine's network queues are called in this process and never over a wire.
        let trust = node.isolated().then(|| trust::follow(&cluster, &system, live.clone()));
        let activator = Activator::start(
            &cluster,
            live.clone(),
            node.upstream(),
            Arc::new(move |report| reports.send(report)),
            activator::serve::Settings {
                trust: trust.clone(),
                ..activator::serve::Settings::new(NODE)
            },
        );
        expect_pods(&node, &activator);
        let inside = node.router().map(IpAddr::from);
        services::activator(cluster.client(), &system, inside).await?;
        let held: Arc<dyn Backend> = Arc::new(activator.clone());
        let gateway = Gateway::new(&cluster, Some(held), node.upstream(), trust.clone());
        // Brokers and channels, at the gateway's own ports.
        let home: Arc<str> = eventing.as_str().into();
        let job_sinks = JobSinks::new(&cluster, home.clone());
        let ways = Ways::new(&gateway, Network::new(&[]), &job_sinks);
        let courier: Arc<dyn Courier> = Arc::new(ways.clone());
        let store = Files::open(&place::events(data_dir), clock)
            .with_context(|| format!("open the events in {}", data_dir.display()))?;
        eventing::sources::start(&cluster, &recorder, &courier);
        let deliveries = Thread::start("deliveries").context("start the thread that delivers")?;
        let runtime = deliveries.handle().clone();
        let with = Surroundings { store: Arc::new(store), courier, clock, runtime };
        let dispatcher = Dispatcher::start(&cluster, with, &recorder.named("weft-broker"), &home);
        let admin = Admin::of(&dispatcher);
        let ingress = Ingress::new(dispatcher, clock, home.clone(), BODY_LIMIT);
        ways.open(&ingress);
        api.set_services(asked::services(asked::Parts {
            system: system.clone(),
            eventing: home.clone(),
            metrics,
            autoscaler,
            ingress: ingress.clone(),
            admin,
        }));
        services::events(cluster.client(), &home, inside).await?;
        let domains = Domains::new(&system, CLUSTER_DOMAIN);
        let certificates = gateway.certificates();
        // The only gateway of this cluster.
        ack::start(&cluster, domains, certificates, None, recorder.named("weft-gateway"));
        gateway.synced().await;
        let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
        let shards = Arc::new(Shards::start(cores).context("start the gateway's threads")?);
        let open = drain::Count::default();
        let in_tls = |door| Serving { tls: Some(gateway.tls(door)), ..Serving::default() };
        let (plain, inside_tls) = (Serving::default(), in_tls(Door::InsideTls));
        let in_tls = in_tls(Door::Tls);
        let door = Door::Plain { https: https_port.unwrap_or(HTTPS) };
        let mut ports = vec![(
            settings.gateway,
            events::before(&ingress, &job_sinks, gateway.handler(door)),
            plain.clone(),
        )];
        if let Some(secure) = settings.secure_gateway {
            ports.push((secure, gateway.handler(Door::Tls), in_tls.clone()));
        }
        let at = match node.outside() {
            Some(it) => {
                services::Gateway { outside: it.into(), http: HTTP, https: Some(HTTPS), inside }
            }
            None => services::Gateway {
                outside: http_addr.ip(),
                http: http_addr.port(),
                https: https_port,
                inside,
            },
        };
        services::gateway(cluster.client(), &system, &at).await?;
        for (port, door, serving) in
            [(HTTP, Door::Inside, &plain), (HTTPS, Door::InsideTls, &inside_tls)]
        {
            let inside = node.listen(port).context("open the gateway for pods")?;
            let handler = events::before(&ingress, &job_sinks, gateway.handler(door));
            ports.extend(inside.map(|it| (it, handler, serving.clone())));
        }
        for (port, door, serving) in
            [(HTTP, Door::Plain { https: HTTPS }, &plain), (HTTPS, Door::Tls, &in_tls)]
        {
            let outside = node.listen_outside(port).context("open the gateway's own address")?;
            let handler = events::before(&ingress, &job_sinks, gateway.handler(door));
            ports.extend(outside.map(|it| (it, handler, serving.clone())));
        }
        // The public Service of a revision leads here while requests are to be held.
        let readiness = Readiness::default();
        readiness.set(true);
        let held = activator::role::handler(activator, readiness, CLUSTER_DOMAIN);
        let shown = trust.unwrap_or_default().shown;
        let in_tls = Serving {
            tls: Some(Server::showing(shown, &TlsLimits::default())),
            ..Serving::default()
        };
        for (port, serving) in [(HTTP_PORT, &plain), (H2C_PORT, &plain), (TLS_PORT, &in_tls)] {
            let inside = node.listen(port).context("open the activator for pods")?;
            ports.extend(inside.map(|it| (it, held.clone(), serving.clone())));
        }
        let mut listeners = JoinSet::new();
        for (listener, handler, serving) in ports {
            listeners.spawn(serve_on(shards.clone(), listener, handler, serving, open.clone()));
        }

        // The API on its port, and once more where pods reach it.
        let for_pods = node.listen(api_service::PORT).context("open the API for pods")?;
        if let Some(router) = node.router() {
            api_service::publish(cluster.client(), router).await?;
        }
        let api = {
            let stop = stop.clone();
            tokio::spawn(async move {
                let inside = async {
                    if let Some(listener) = for_pods {
                        serve::serve(api.clone(), &certificate, listener, stop.clone()).await;
                    }
                };
                tokio::join!(
                    serve::serve(api.clone(), &certificate, settings.api, stop.clone()),
                    inside,
                );
            })
        };
        Ok(Platform {
            cluster,
            config: live,
            stop,
            api,
            workloads,
            node,
            open,
            listeners,
            _deliveries: deliveries,
        })
    }

    /// Writes the lines of log that the platform's configuration asks for, as long as it runs.
    pub fn follow(&self, levels: Levels) {
        self.cluster.spawn(levels.follow(self.config.clone()));
    }

    /// A client of the platform's API, as the platform itself.
    pub fn client(&self) -> &Client {
        self.cluster.client()
    }

    /// How pods run, for people.
    pub fn pods(&self) -> &'static str {
        if self.node.isolated() {
            "processes, each pod with its own network and address"
        } else {
            "processes that share this machine's network; each listens on the PORT it is given"
        }
    }

    /// Ends the pods and every part; the objects stay for the next start.
    pub async fn shutdown(mut self) {
        self.open.close();
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        // What is still in flight then ends with its pod.
        let _ = tokio::time::timeout(DRAIN, drained).await;
        self.node.shutdown().await;
        self.workloads.shutdown().await;
        self.stop.cancel();
        self.cluster.stopped().await;
        // The server's task ends with the token; a panic in it has been reported by then.
        let _ = self.api.await;
    }
}

/// Tells the activator of pods as soon as they run: held requests need not wait until the API tells so.
fn expect_pods(node: &Node, activator: &Activator) {
    let expect = activator.expect();
    node.on_queue(move |queue, runs| {
        let settings = queue.settings;
        let (port, protocol) = match settings.user_h2c {
            true => (settings.ports.h2c, Protocol::H2c),
            false => (settings.ports.http, Protocol::Http1),
        };
        let pod = Seen {
            address: Address { at: (queue.address, port).into(), protocol },
            uid: queue.pod_uid.to_owned(),
            name: settings.pod.clone(),
            ready: false,
            terminating: false,
        };
        let revision = Key::new(settings.namespace.as_str(), &settings.revision);
        expect(&revision, pod, runs);
    });
}

fn open_api(data_dir: &Path, clock: Clock) -> anyhow::Result<Api> {
    let mut options = Options::in_memory(clock);
    options.data = Some(data_dir.to_owned());
    options.service_network = (SERVICES.address, SERVICES.prefix);
    Ok(Api::open(options)?)
}

fn images(named: Vec<(String, PathBuf)>) -> anyhow::Result<BTreeMap<String, Image>> {
    let mut images = image::samples();
    for (name, path) in named {
        let (name, image) = local::images::parse(&format!("{name}={}", path.display()))
            .with_context(|| format!("use --image {name}={}", path.display()))?;
        images.insert(name, image);
    }
    Ok(images)
}

/// Knows the images of the node: each is pinned to the executable that it stands for, and a tag that is not there
/// is an error that says what to do. What is pinned already is for the node to find.
struct LocalImages(Arc<Images>);

impl Resolver for LocalImages {
    fn resolve(
        &self,
        question: Question,
        config: Arc<config::Config>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>> {
        let image = question.image;
        let skipped = &config.deployment.registries_skipping_tag_resolving;
        let answer = if image.contains("@sha256:") {
            Ok(Some(image))
        } else {
            match self.0.pinned(&image) {
                None => Err(self.0.unknown(&image)),
                Some(_) if skipped.contains(registry(&image)) => Ok(None),
                pinned => Ok(pinned),
            }
        };
        Box::pin(std::future::ready(answer))
    }
}
