//! The objects that people write become objects that the cluster runs.
//!
//! Each kind has a module whose `plan` decides; here is what they read, and what makes them plan.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::config::Config;
use api::{
    autoscaling::PodAutoscaler,
    keys::{networking, serving},
    networking::{Certificate, ClusterDomainClaim, Ingress},
    serving::{Configuration, DomainMapping, Revision, Route, Service},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{self as core, ConfigMap, Endpoints, Namespace, Pod, Secret},
};
use parking_lot::Mutex;
use runtime::{
    clock::Clock,
    cluster::{
        Cluster, Key, Kind,
        cache::{Cache, Change},
        index::Index,
    },
    events::Recorder,
    plan::{Plan, controller_of},
    queue::Queue,
    reconcile::{Controller, PlanFn, Reconcile},
};
use tokio::sync::watch;

pub mod admission;
pub mod certificate;
pub mod configuration;
pub mod domain_mapping;
pub mod eventing;
pub mod gc;
pub mod image;
pub mod ingress;
pub mod internal;
pub mod issuer;
pub mod labels;
pub mod metadata;
pub mod revision;
pub mod route;
pub mod service;
pub mod wildcard;

use metadata::{get, name, namespace};
use revision::digest::{self, Resolver};
use route::traffic::Lookup;

/// Shortest time until an image that nobody knows is asked for again; it doubles with each failure.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Longest such time: what is asked costs a registry something.
/// Source: knative/serving `pkg/reconciler/revision/controller.go`.
const ASK_AGAIN_MOST: Duration = Duration::from_secs(1000);

/// What the controllers need besides the cluster.
#[derive(Clone)]
pub struct Options {
    /// Knows the images.
    pub resolver: Arc<dyn Resolver>,
    /// Namespace of the platform's own objects.
    pub system_namespace: Arc<str>,
    /// The classes of Certificates that are issued here; those of others are left alone.
    pub certificate_classes: &'static [&'static str],
}

/// Runs all controllers until the cluster stops.
pub async fn run(cluster: Cluster, config: watch::Receiver<Arc<Config>>, options: Options) {
    let recorder = Recorder::start(&cluster, "service-controller");
    let world = World::new(&cluster, config);
    tokio::join!(
        services(&world, recorder.clone()),
        configurations(&world, recorder.named("configuration-controller")),
        revisions(&world, recorder.named("revision-controller"), &options),
        routes(&world, recorder.named("route-controller")),
        domain_mappings(&world, recorder.named("domainmapping-controller")),
        certificates(&world, recorder.named("certificate-controller"), &options),
        namespaces(&world, recorder.named("namespace-controller"), &options),
        route_labels(&world, recorder.named("route-controller")),
        garbage(&world, recorder.named("revision-gc-controller")),
        eventing::run(
            cluster.clone(),
            recorder.clone(),
            world.config.clone(),
            ::config::EVENTING_NAMESPACE,
        ),
    );
}

/// What several controllers read.
struct World {
    cluster: Cluster,
    config: watch::Receiver<Arc<Config>>,
    configurations: Cache<Configuration>,
    revisions: Cache<Revision>,
    /// DomainMappings by the names of what they lead to.
    mappings_to: Index<DomainMapping>,
    /// Routes by what they refer to.
    routes_to: Index<Route>,
    /// Revisions by the Routes that use them.
    revisions_of: Index<Revision>,
    /// Configurations by the Routes that use them.
    configurations_of: Index<Configuration>,
}

impl World {
    fn new(cluster: &Cluster, config: watch::Receiver<Arc<Config>>) -> World {
        let (configurations, revisions) = (cluster.cache(), cluster.cache());
        World {
            cluster: cluster.clone(),
            config,
            // Made before anybody listens, so that they are never behind who does.
            mappings_to: Index::new(&cluster.cache(), domain_mapping::target::references),
            routes_to: Index::new(&cluster.cache(), route::traffic::references),
            revisions_of: Index::new(&revisions, |it| labels::routes_of(&it.metadata)),
            configurations_of: Index::new(&configurations, |it| labels::routes_of(&it.metadata)),
            configurations,
            revisions,
        }
    }

    /// Plans the Routes that refer to a Revision, a Configuration, or a Revision's Configuration that
    /// changes.
    fn on_targets(&self, controller: &mut Controller) {
        let index = self.routes_to.clone();
        controller.on_change::<Revision>(move |change, plan| {
            let meta = &change.last().metadata;
            let configuration = get(&meta.labels, serving::CONFIGURATION);
            for term in [name(meta), configuration] {
                index.keys(namespace(meta), term).into_iter().for_each(&mut *plan);
            }
            // A pinned Route does not refer to new Revisions, which yet think that it uses them.
            for route in labels::routes_of(meta) {
                plan(Key::new(namespace(meta), &route));
            }
        });
        let index = self.routes_to.clone();
        controller.on_change::<Configuration>(move |change, plan| {
            let meta = &change.last().metadata;
            index.keys(namespace(meta), name(meta)).into_iter().for_each(plan);
        });
    }

    /// Plans the DomainMappings that may lead to an object of that kind that changes.
    fn on_mapped<K: Kind>(&self, controller: &mut Controller) -> Cache<K> {
        let index = self.mappings_to.clone();
        controller.on_change::<K>(move |change, plan| {
            let meta = change.last().meta();
            index.keys(namespace(meta), name(meta)).into_iter().for_each(plan);
        })
    }
}

async fn services(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let services = controller.plans::<Service>();
    let configurations = controller.on_owned::<Configuration>("Service");
    let routes = controller.on_owned::<Route>("Service");
    let revisions = controller.reads::<Revision>();
    let cluster = world.cluster.clone();
    let plan = move |key: &Key, now: Timestamp| {
        let Some(service) = services.at(key) else { return Plan::nothing() };
        let template = service.spec.template.metadata.name.as_deref().unwrap_or_default();
        let (configuration, route) = (configurations.at(key), routes.at(key));
        let revision = revisions.get(&key.namespace, template);
        let seen = service::Seen {
            is_futile: &|write| cluster.is_futile(write),
            configuration: configuration.as_deref(),
            route: route.as_deref(),
            named_revision: revision.as_deref(),
        };
        service::plan(&service, seen, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn configurations(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let configurations = controller.plans::<Configuration>();
    let revisions = controller.on_owned::<Revision>("Configuration");
    let plan = move |key: &Key, now: Timestamp| {
        let Some(configuration) = configurations.at(key) else { return Plan::nothing() };
        let named = configuration::template_name(&configuration)
            .and_then(|name| revisions.get(&key.namespace, name));
        let its = revisions.labelled(&key.namespace, serving::CONFIGURATION, &key.name);
        let seen = configuration::Seen { named: named.as_ref(), revisions: &its };
        configuration::plan(&configuration, seen, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn routes(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let routes = controller.plans::<Route>();
    let ingresses = controller.on_owned::<Ingress>("Route");
    let services = controller.on_owned::<core::Service>("Route");
    let endpoints = world.cluster.selected::<Endpoints>("serving.knative.dev/route");
    let certificates = controller.on_owned::<Certificate>("Route");
    let all = routes.clone();
    controller.on_change::<Certificate>(move |change, plan| {
        // It may be for any Route of its namespace.
        let meta = &change.last().metadata;
        if !get(&meta.labels, networking::WILDCARD_DOMAIN).is_empty() {
            all.list(namespace(meta)).iter().for_each(|it| plan(Key::of(&**it)));
        }
    });
    controller.on_config::<Route>(world.config.clone());
    world.on_targets(&mut controller);
    endpoints.synced().await;

    let config = world.config.clone();
    let (configurations, revisions) = (world.configurations.clone(), world.revisions.clone());
    let plan = move |key: &Key, now: Timestamp| {
        let Some(route) = routes.at(key) else { return Plan::nothing() };
        let namespace = &*key.namespace;
        let ingress = ingresses.get(namespace, &route::ingress::ingress_name(&route));
        let seen = route::Seen {
            lookup: Lookup {
                configuration: &|name| configurations.get(namespace, name),
                revision: &|name| revisions.get(namespace, name),
            },
            service: &|name| services.get(namespace, name),
            placeholders: &services.labelled(namespace, serving::ROUTE, &key.name),
            endpoints: &|name| endpoints.get(namespace, name),
            certificate: &|name| certificates.get(namespace, name),
            certificates: &certificates.labelled(namespace, serving::ROUTE, &key.name),
            wildcards: &|domain| {
                certificates.labelled(namespace, networking::WILDCARD_DOMAIN, domain)
            },
            ingress: ingress.as_deref(),
        };
        let config = config.borrow().clone();
        route::plan(&route, seen, &config, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn domain_mappings(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let mappings = controller.plans::<DomainMapping>();
    let certificates = controller.on_owned::<Certificate>("DomainMapping");
    let ingresses = controller.on_owned::<Ingress>("DomainMapping");
    controller.on_config::<DomainMapping>(world.config.clone());
    let services = world.on_mapped::<Service>(&mut controller);
    let routes = world.on_mapped::<Route>(&mut controller);
    let plain = world.on_mapped::<core::Service>(&mut controller);
    let all = mappings.clone();
    let claims = controller.on_change::<ClusterDomainClaim>(move |change, plan| {
        let host = name(&change.last().metadata);
        let holder = |it: &Arc<ClusterDomainClaim>| it.spec.namespace.clone();
        let (old, new) = (change.old.map(holder), change.new.map(holder));
        new.iter().for_each(|it| plan(Key::new(it, host)));
        if old.is_some() && old != new {
            // It is free, or another's: who had it and who waits for it may be in any namespace.
            let same = all.all().into_iter().filter(|it| name(&it.metadata) == host);
            same.for_each(|it| plan(Key::of(&*it)));
        }
    });

    let config = world.config.clone();
    let plan = move |key: &Key, now: Timestamp| {
        let Some(mapping) = mappings.at(key) else { return Plan::nothing() };
        let claim = claims.get("", &key.name);
        let children = domain_mapping::children_name(&mapping);
        let certificate = certificates.get(&key.namespace, &children);
        let ingress = ingresses.get(&key.namespace, &children);
        let seen = domain_mapping::Seen {
            claim: claim.as_deref(),
            lookup: domain_mapping::target::Lookup {
                service: &|namespace, name| services.get(namespace, name),
                route: &|namespace, name| routes.get(namespace, name),
                plain: &|namespace, name| plain.get(namespace, name),
            },
            certificate: certificate.as_deref(),
            ingress: ingress.as_deref(),
        };
        let config = config.borrow().clone();
        domain_mapping::plan(&mapping, seen, &config, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn certificates(world: &World, recorder: Recorder, options: &Options) {
    let mut controller = Controller::new(&world.cluster);
    let certificates = controller.plans::<Certificate>();
    controller.on_config::<Certificate>(world.config.clone());
    let secrets = world.cluster.cache_where::<Secret>(issuer::SECRETS);
    let (all, queue, system) =
        (certificates.clone(), controller.queue().clone(), options.system_namespace.clone());
    let config = world.config.clone();
    secrets.on_change(move |change: &Change<Secret>| {
        let meta = &change.last().metadata;
        let of = config.borrow().certmanager.clone();
        let own = [of.external, of.cluster_local, of.system_internal];
        let mut authorities = own.iter().flatten().map(String::as_str).chain([issuer::AUTHORITY]);
        if *namespace(meta) == *system && authorities.any(|it| it == name(meta)) {
            all.all().iter().for_each(|it| queue.add(Key::of(&**it)));
        } else if let Some(owner) = controller_of(meta, "Certificate") {
            queue.add(Key::new(namespace(meta), &owner.name));
        }
    });
    let bundles = world.cluster.selected::<ConfigMap>(networking::TRUST_BUNDLE);
    let (all, queue, system) =
        (certificates.clone(), controller.queue().clone(), options.system_namespace.clone());
    bundles.on_change(move |change: &Change<ConfigMap>| {
        let meta = &change.last().metadata;
        if *name(meta) == *issuer::BUNDLE && *namespace(meta) == *system {
            all.all().iter().for_each(|it| queue.add(Key::of(&**it)));
        }
    });
    secrets.synced().await;
    bundles.synced().await;
    let issuer = issuer::Issuer::new(
        certificates,
        secrets,
        bundles,
        world.config.clone(),
        world.cluster.clock(),
        options,
    );
    controller.run(issuer, recorder).await;
}

async fn namespaces(world: &World, recorder: Recorder, options: &Options) {
    let mut controller = Controller::new(&world.cluster);
    let namespaces = controller.plans::<Namespace>();
    let certificates = controller.on_change::<Certificate>(|change, plan| {
        let meta = &change.last().metadata;
        let is_wildcard = !get(&meta.labels, networking::WILDCARD_DOMAIN).is_empty();
        if is_wildcard || internal::is_one(name(meta)) {
            plan(Key::new("", namespace(meta)));
        }
    });
    let config = world.config.clone();
    let revisions = controller.on_change::<Revision>(move |change, plan| {
        if change.old.is_none() && config.borrow().network.system_internal_tls {
            plan(Key::new("", namespace(&change.last().metadata)));
        }
    });
    controller.on_config::<Namespace>(world.config.clone());
    let (config, system_namespace) = (world.config.clone(), options.system_namespace.clone());
    let plan = move |key: &Key, _: Timestamp| {
        let Some(namespace) = namespaces.at(key) else { return Plan::nothing() };
        let mut found = certificates.list(&key.name);
        found.retain(|it| !get(&it.metadata.labels, networking::WILDCARD_DOMAIN).is_empty());
        let config = config.borrow().clone();
        let mut plan = wildcard::plan(&namespace, &found, &config);
        let is_on = config.network.system_internal_tls;
        let seen = internal::Seen {
            is_system: *key.name == *system_namespace,
            has_revisions: is_on && !revisions.list(&key.name).is_empty(),
            certificate: &|its_name| certificates.get(&key.name, its_name),
        };
        internal::plan(&namespace, seen, &config, &mut plan);
        plan
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn route_labels(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let routes = controller.plans::<Route>();
    world.on_targets(&mut controller);
    let (configurations, revisions) = (world.configurations.clone(), world.revisions.clone());
    let (configurations_of, revisions_of) =
        (world.configurations_of.clone(), world.revisions_of.clone());
    let plan = move |key: &Key, now: Timestamp| {
        let Some(route) = routes.at(key) else { return Plan::nothing() };
        let namespace = &*key.namespace;
        let seen = labels::Seen {
            lookup: Lookup {
                configuration: &|name| configurations.get(namespace, name),
                revision: &|name| revisions.get(namespace, name),
            },
            revisions: &revisions_of.get(namespace, &key.name),
            configurations: &configurations_of.get(namespace, &key.name),
        };
        labels::plan(&route, seen, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn garbage(world: &World, recorder: Recorder) {
    let mut controller = Controller::new(&world.cluster);
    let configurations = controller.plans::<Configuration>();
    let revisions = controller.on_owned::<Revision>("Configuration");
    controller.on_config::<Configuration>(world.config.clone());
    let config = world.config.clone();
    let plan = move |key: &Key, now: Timestamp| {
        let Some(configuration) = configurations.at(key) else { return Plan::nothing() };
        let its = revisions.labelled(&key.namespace, serving::CONFIGURATION, &key.name);
        let config = config.borrow().clone();
        gc::plan(&configuration, &its, &config.gc, now)
    };
    controller.run(PlanFn(plan), recorder).await;
}

async fn revisions(world: &World, recorder: Recorder, options: &Options) {
    let mut controller = Controller::new(&world.cluster);
    let revisions = controller.plans::<Revision>();
    let deployments = controller.on_owned::<Deployment>("Revision");
    let autoscalers = controller.on_owned::<PodAutoscaler>("Revision");
    controller.on_config::<Revision>(world.config.clone());
    let pods = world.cluster.selected::<Pod>(serving::REVISION_UID);
    let queue = controller.queue().clone();
    pods.on_change(move |change: &Change<Pod>| {
        let meta = &change.last().metadata;
        let revision = get(&meta.labels, serving::REVISION);
        if !revision.is_empty() {
            queue.add(Key::new(namespace(meta), revision));
        }
    });
    pods.synced().await;
    let secrets = world.cluster.cache_where::<Secret>(issuer::SECRETS);
    let (all, queue) = (revisions.clone(), controller.queue().clone());
    secrets.on_change(move |change: &Change<Secret>| {
        let meta = &change.last().metadata;
        if name(meta) == api::queue::CERTIFICATE {
            all.list(namespace(meta)).iter().for_each(|it| queue.add(Key::of(&**it)));
        }
    });
    secrets.synced().await;

    let planner = Revisions {
        revisions,
        secrets,
        deployments,
        autoscalers,
        pods,
        config: world.config.clone(),
        options: options.clone(),
        clock: world.cluster.clock(),
        asked: Arc::default(),
    };
    if let Some(news) = planner.options.resolver.news() {
        let (asked, queue) = (planner.asked.clone(), controller.queue().clone());
        world.cluster.spawn(ask_again(news, asked, queue));
    }
    controller.run(planner, recorder).await;
}

/// Forgets the images that nobody knew whenever new ones have come.
async fn ask_again(
    mut news: watch::Receiver<u64>,
    asked: Arc<Mutex<HashMap<Key, Asked>>>,
    queue: Arc<Queue<Key>>,
) {
    while news.changed().await.is_ok() {
        let keys: HashSet<Key> = asked
            .lock()
            .iter_mut()
            .filter_map(|(key, asked)| asked.forget_failures().then(|| key.clone()))
            .collect();
        keys.into_iter().for_each(|key| queue.add(key));
    }
}

struct Revisions {
    revisions: Cache<Revision>,
    deployments: Cache<Deployment>,
    autoscalers: Cache<PodAutoscaler>,
    pods: Cache<Pod>,
    secrets: Cache<Secret>,
    config: watch::Receiver<Arc<Config>>,
    options: Options,
    clock: Clock,
    /// By Revision, while its digests are not in its status; so it is as bounded as the Revisions.
    asked: Arc<Mutex<HashMap<Key, Asked>>>,
}

/// What was asked of registries for one Revision.
#[derive(Default)]
struct Asked {
    answers: digest::Answers,
    /// Images that are being asked for.
    open: HashSet<String>,
    failures: u32,
    /// When to forget the failures and ask again.
    again_at: Option<Timestamp>,
}

impl Asked {
    /// Says whether there was a failure.
    fn forget_failures(&mut self) -> bool {
        self.again_at = None;
        let before = self.answers.len();
        self.answers.retain(|_, answer| answer.is_ok());
        self.answers.len() < before
    }

    fn answer(&mut self, image: String, answer: Result<Option<String>, String>, now: Timestamp) {
        if answer.is_err() {
            let delay = (ASK_AGAIN * 2u32.saturating_pow(self.failures)).min(ASK_AGAIN_MOST);
            self.failures = (self.failures + 1).min(16); // 2^16 s is past the longest.
            self.again_at = now.checked_add(delay).ok();
        }
        self.open.remove(&image);
        self.answers.insert(image, answer);
    }
}

impl Revisions {
    /// The answers for a Revision, and how long until failures are forgotten.
    fn answers(&self, key: &Key, now: Timestamp) -> (digest::Answers, Option<Duration>) {
        let mut asked = self.asked.lock();
        let Some(asked) = asked.get_mut(key) else { return Default::default() };
        if asked.again_at.is_some_and(|it| it <= now) {
            asked.forget_failures();
        }
        let again = asked.again_at.and_then(|it| Duration::try_from(it.duration_since(now)).ok());
        (asked.answers.clone(), again)
    }
}

impl Reconcile for Revisions {
    type Need = digest::Question;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<digest::Question> {
        let Some(revision) = self.revisions.at(key) else {
            self.asked.lock().remove(key);
            return Plan::nothing();
        };
        let (answers, again) = self.answers(key, now);
        let deployment =
            self.deployments.get(&key.namespace, &revision::deployment_name(&revision));
        let autoscaler = self.autoscalers.at(key);
        let pods = self.pods.labelled(&key.namespace, serving::REVISION, &key.name);
        let config = self.config.borrow().clone();
        let seen = revision::Seen {
            deployment: deployment.as_deref(),
            pod: revision::any_pod(&pods),
            autoscaler: autoscaler.as_deref(),
            digests: &answers,
            has_certificate: config.network.system_internal_tls
                && self
                    .secrets
                    .get(&key.namespace, api::queue::CERTIFICATE)
                    .is_some_and(|it| internal::is_whole(&it)),
            system_namespace: &self.options.system_namespace,
        };
        let mut plan = revision::plan(&revision, seen, &config, now);
        if let Some(again) = again {
            plan.again_after(again);
        }

        let mut asked = self.asked.lock();
        if revision.status.as_ref().is_some_and(|it| !it.container_statuses.is_empty()) {
            asked.remove(key);
        }
        if !plan.need.is_empty() {
            let open = &mut asked.entry(key.clone()).or_default().open;
            plan.need.retain(|it| open.insert(it.image.clone()));
        }
        plan
    }

    fn fetch(self: Arc<Self>, need: digest::Question) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let config = self.config.borrow().clone();
        let (key, image) = (need.revision.clone(), need.image.clone());
        let answer = self.options.resolver.resolve(need, config);
        Box::pin(async move {
            let answer = answer.await;
            let now = self.clock.now();
            self.asked.lock().entry(key).or_default().answer(image, answer, now);
        })
    }
}
