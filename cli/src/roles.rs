//! One role a process, against any cluster.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ::config::Config;
use activator::serve::{Activator, Settings, Sink};
use anyhow::{Context, bail};
use api::queue::TlsLimits;
use autoscaler::drive::{self, Autoscaler};
use controller::revision::registry::Registries;
use mesh::{
    ack::{self, Domains},
    gateway::{Door, Gateway, HTTPS},
    peers::Peers,
};
use proxy::{
    drain,
    hop::Backend,
    queue,
    serve::{self, Handler, serve},
    tls::Server,
    upstream::Pool,
};
use runtime::{
    admin::{self, Readiness},
    clock::Clock,
    cluster::{Cluster, connect},
    config as live,
    events::Recorder,
    lease::{self, Campaign, Leader},
    metrics::Metrics,
    telemetry::Levels,
    trust::{self, Trust},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::args;

/// The domain of the cluster's names.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Shortest time between tries to take or to keep a lease.
const SHORTEST_RETRY: Duration = Duration::from_millis(500);
/// Why a leader ends. Starting anew is the one way to be sure that nothing of it goes on.
const LOST: &str = "lost the lease: another process leads now; this one ends, to be started again";

/// The roles that look at Eventing's ConfigMaps.
const READ_EVENTING: [&str; 2] = ["weft-controller", "weft-broker"];

/// What a role finds when it starts.
struct Surroundings {
    cluster: Cluster,
    config: watch::Receiver<Arc<Config>>,
    recorder: Recorder,
    metrics: Metrics,
    readiness: Readiness,
    stop: CancellationToken,
    system_namespace: String,
}

impl Surroundings {
    /// Runs for the role's lease.
    fn campaign(&self, lease: &str, identity: &str) -> Campaign {
        let election = self.config.borrow().leader_election.clone();
        let lease = election.map_lease_prefix.get(lease).map_or(lease, String::as_str);
        let times = lease::Times {
            lease: election.lease_duration,
            renew: election.renew_deadline,
            // Each try is a request; a cluster that is configured to 0 means soon, not at once.
            retry: election.retry_period.max(SHORTEST_RETRY),
        };
        let namespace = &self.system_namespace;
        Campaign::start(&self.cluster, namespace, lease, identity, times)
    }

    /// TLS with the platform's other parts.
    fn trust(&self) -> Trust {
        trust::follow(&self.cluster, &self.system_namespace, self.config.clone())
    }
}

/// `weft queue`: serves the pod it runs in until SIGTERM, then what is in flight.
pub async fn queue() -> anyhow::Result<()> {
    let variable = api::queue::ENV;
    let text = config::env::text(variable).with_context(|| {
        format!("read {variable}: the controller sets it in the queue's container")
    })?;
    let settings = serde_json::from_str(&text).with_context(|| format!("read {variable}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    queue::role::run(settings, Path::new(api::queue::CERTIFICATES), stop)
        .await
        .context("serve the pod's ports")
}

/// `weft controller`: of its processes one works, and the others wait to take over.
pub async fn controller(role: args::Role, levels: Levels) -> anyhow::Result<()> {
    let context = start(&role, "weft-controller", levels).await?;
    let options = controller::Options {
        resolver: Arc::new(Registries::new(context.cluster.client().clone())),
        system_namespace: role.system_namespace.as_str().into(),
        certificate_classes: &[api::keys::networking::WEFT_CERTIFICATE_CLASS],
    };
    let campaign = context.campaign("weft-controller", &process_name());
    context.readiness.set(true);
    if campaign.won().await {
        tokio::select! {
            () = controller::run(context.cluster.clone(), context.config.clone(), options) => {}
            () = campaign.lost() => bail!(LOST),
        }
    }
    context.cluster.stopped().await;
    campaign.resign().await;
    Ok(())
}

/// `weft autoscaler`: of its processes one decides, and the others pass reports on to it.
pub async fn autoscaler(role: args::AutoscalerRole, levels: Levels) -> anyhow::Result<()> {
    let context = start(&role.role, "weft-autoscaler", levels).await?;
    let listener = listen(role.addr).await?;
    let at = reachable_at(listener.local_addr().context("read the autoscaler's address")?);
    let campaign = context.campaign("weft-autoscaler", &format!("{}_{at}", process_name()));
    let upstream = Arc::new(Pool::new(Default::default()));
    let (sender, leader) = watch::channel(autoscaler::serve::Leader::Nobody);
    context.cluster.spawn(follow(campaign.leader(), sender.clone()));
    let stop = context.stop.clone();
    let serving = autoscaler::serve::serve(listener, leader, upstream.clone(), stop);
    let serving = tokio::spawn(serving);
    context.readiness.set(true);
    if campaign.won().await {
        let autoscaler = Autoscaler::start(
            &context.cluster,
            context.config.clone(),
            &context.recorder,
            &context.metrics,
            drive::Settings {
                system_namespace: role.role.system_namespace,
                path: drive::Path::Probed(autoscaler::probe::over_http(upstream, CLUSTER_DOMAIN)),
            },
        );
        sender.send_replace(autoscaler::serve::Leader::Here(autoscaler));
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = campaign.lost() => bail!(LOST),
        }
    }
    serving.await.context("serve the autoscaler's port")??;
    context.cluster.stopped().await;
    campaign.resign().await;
    Ok(())
}

/// Keeps the address of the autoscaler that leads, while it is another process.
async fn follow(
    mut election: watch::Receiver<Leader>,
    sender: watch::Sender<autoscaler::serve::Leader>,
) {
    loop {
        let elsewhere = match &*election.borrow_and_update() {
            // From here on this process says so itself.
            Leader::Here => return,
            Leader::Nobody => None,
            // As in its identity; another program's lease has none.
            Leader::Elsewhere(identity) => {
                identity.rsplit_once('_').and_then(|(_, address)| address.parse().ok())
            }
        };
        sender.send_replace(match elsewhere {
            Some(address) => autoscaler::serve::Leader::Elsewhere(address),
            None => autoscaler::serve::Leader::Nobody,
        });
        if election.changed().await.is_err() {
            return;
        }
    }
}

/// `weft activator`.
pub async fn activator(role: args::ActivatorRole, levels: Levels) -> anyhow::Result<()> {
    let context = start(&role.role, "weft-activator", levels).await?;
    let (http, h2c) = (listen(role.addr).await?, listen(role.h2c_addr).await?);
    let secure = listen(role.tls_addr).await?;
    let trust = context.trust();
    let activator = hold(&context, &role.autoscaler, &trust)?;
    let handler = activator::role::handler(activator, context.readiness.clone(), CLUSTER_DOMAIN);
    context.readiness.set(true);
    let plain = serve::Settings::default();
    let in_tls = Server::showing(trust.shown, &TlsLimits::default());
    let in_tls = serve::Settings { tls: Some(in_tls), ..plain.clone() };
    let ports = [(http, plain.clone()), (h2c, plain), (secure, in_tls)];
    let ports = ports.map(|(listener, settings)| (listener, handler.clone(), settings));
    forward(&context, ports.into()).await;
    Ok(())
}

/// `weft gateway`: holds requests itself, with the activator as a library.
pub async fn gateway(role: args::GatewayRole, levels: Levels) -> anyhow::Result<()> {
    let context = start(&role.role, "weft-gateway", levels).await?;
    let (outside, inside) = (listen(role.addr).await?, listen(role.local_addr).await?);
    let (secure, inside_secure) =
        (listen(role.https_addr).await?, listen(role.local_https_addr).await?);
    let trust = context.trust();
    let backend: Option<Arc<dyn Backend>> = match role.endpoints_only {
        true => None,
        false => Some(Arc::new(hold(&context, &role.autoscaler, &trust)?)),
    };
    let upstream = Arc::new(Pool::new(Default::default()));
    let gateway = Gateway::new(&context.cluster, backend, upstream.clone(), Some(trust));
    let domains = Domains::new(&role.role.system_namespace, CLUSTER_DOMAIN);
    let certificates = gateway.certificates();
    let peers = Peers::new(&context.cluster, &role.role.system_namespace, upstream);
    ack::start(&context.cluster, domains, certificates, Some(peers), context.recorder.clone());
    gateway.synced().await;
    context.readiness.set(true);
    let plain = serve::Settings::default();
    let in_tls = |door| serve::Settings { tls: Some(gateway.tls(door)), ..plain.clone() };
    let ports = vec![
        (outside, gateway.handler(Door::Plain { https: HTTPS }), plain.clone()),
        (secure, gateway.handler(Door::Tls), in_tls(Door::Tls)),
        (inside_secure, gateway.handler(Door::InsideTls), in_tls(Door::InsideTls)),
        (inside, gateway.handler(Door::Inside), plain.clone()),
    ];
    forward(&context, ports).await;
    Ok(())
}

/// An activator that sends to pods over the network and reports to the autoscaler at `url`.
fn hold(context: &Surroundings, url: &str, trust: &Trust) -> anyhow::Result<Activator> {
    let upstream = Arc::new(Pool::new(Default::default()));
    let sink: Sink = activator::report::over_http(&context.cluster, url, upstream.clone())?;
    Ok(Activator::start(
        &context.cluster,
        context.config.clone(),
        upstream,
        sink,
        Settings { trust: Some(trust.clone()), ..Settings::new(process_name()) },
    ))
}

/// Serves until the role is told to stop, then lets what is in flight finish.
async fn forward(context: &Surroundings, ports: Vec<(TcpListener, Handler, serve::Settings)>) {
    let open = drain::Count::default();
    let mut serving = tokio::task::JoinSet::new();
    for (listener, handler, settings) in ports {
        serving.spawn(serve(listener, handler, settings, open.clone()));
    }
    context.stop.cancelled().await;
    open.close();
    while serving.join_next().await.is_some() {}
    context.cluster.stopped().await;
}

/// Connects to the cluster and serves the admin port; ends the role at SIGTERM and SIGINT.
async fn start(
    role: &args::Role,
    component: &'static str,
    levels: Levels,
) -> anyhow::Result<Surroundings> {
    let client = connect::client(role.kubeconfig.as_deref()).await?;
    let stop = CancellationToken::new();
    let cluster = Cluster::new(client, Clock::start(), stop.clone());
    let (metrics, readiness) = (cluster.metrics().clone(), Readiness::default());
    let listener = listen(role.admin_addr).await?;
    let admin = admin::serve(listener, readiness.clone(), metrics.clone(), stop.clone());
    cluster.spawn(async move {
        if let Err(error) = admin.await {
            tracing::error!("{error:#}");
        }
    });
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (told, draining) = (stop.clone(), readiness.clone());
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        draining.set(false);
        told.cancel();
    });
    let recorder = Recorder::start(&cluster, component);
    // Other roles have nothing to look up there.
    let eventing = READ_EVENTING.contains(&component).then_some(role.eventing_namespace.as_str());
    let config = live::watch(&cluster, &role.system_namespace, eventing, &recorder).await;
    metrics.describe(component, &process_name(), config.clone());
    cluster.spawn(levels.follow(config.clone()));
    let system_namespace = role.system_namespace.clone();
    Ok(Surroundings { cluster, config, recorder, metrics, readiness, stop, system_namespace })
}

/// The name of this process among those of its role: its pod's, or the machine's with its number.
fn process_name() -> String {
    config::env::text("POD_NAME").unwrap_or_else(|| {
        let machine = rustix::system::uname();
        format!("{}-{}", machine.nodename().to_string_lossy(), std::process::id())
    })
}

/// Where other processes of the role reach a listener of this one.
fn reachable_at(listener: SocketAddr) -> SocketAddr {
    let pod = config::env::text("POD_IP").and_then(|it| it.parse().ok());
    let here = || match listener.ip() {
        // Without a pod the role's processes are on one machine.
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(pod.unwrap_or_else(here), listener.port())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}
