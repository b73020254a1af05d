//! Volumes that outlive pods: binds claims to volumes, makes volumes for claims of our classes, and takes both away.
//!
//! The data of a volume that is made here is a folder in the data directory; the node makes it when a pod first mounts
//! it. Its size is what the claim asked for, and nobody measures it.

use std::{
    collections::HashSet, fs, future::Future, io, path::PathBuf, pin::Pin, sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use runtime::{
    cluster::{Cluster, Key, cache::Cache},
    events::Recorder,
    plan::Plan,
    reconcile::{Controller, PlanFn, Reconcile},
};

use plan::{Removal, Seen};

pub mod plan;

/// Before it is tried again to remove a folder, or to be sure that it may be removed.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks after claims and volumes until the cluster stops. `node` is the name of the node whose folder this is.
pub async fn serve(cluster: Cluster, node: String, folder: PathBuf, recorder: Recorder) {
    let classes: Cache<StorageClass> = cluster.cache();
    classes.synced().await;
    if classes.get("", plan::STANDARD).is_none() {
        let api: Api<StorageClass> = Api::all(cluster.client().clone());
        match api.create(&PostParams::default(), &plan::standard_class()).await {
            Ok(made) => cluster.wrote(made),
            Err(error) => tracing::warn!(%error, "make the default storage class"),
        }
    }
    let claims = bind(&cluster, node, folder.clone(), recorder.clone());
    let volumes = reclaim(&cluster, folder, recorder.clone());
    let pods = claim(&cluster, recorder.named("ephemeral_volume"));
    tokio::join!(claims, volumes, pods);
}

/// Makes the claims of pods that have volumes of their own.
fn claim(cluster: &Cluster, recorder: Recorder) -> impl Future<Output = ()> + use<> {
    let mut controller = Controller::new(cluster);
    let pods = controller.on_change::<Pod>(|change, plan| {
        let mut volumes = change.last().spec.iter().flat_map(|it| it.volumes.iter().flatten());
        if volumes.any(|it| it.ephemeral.is_some()) {
            plan(Key::of(&**change.last()));
        }
    });
    let claims: Cache<PersistentVolumeClaim> = controller.on_owned("Pod");
    let plan = move |key: &Key, _: Timestamp| {
        let Some(pod) = pods.at(key) else { return Plan::nothing() };
        plan::pod(&pod, |name| claims.get(&key.namespace, name).is_some())
    };
    controller.run(PlanFn(plan), recorder)
}

/// Gives claims their volumes.
fn bind(
    cluster: &Cluster,
    node: String,
    folder: PathBuf,
    recorder: Recorder,
) -> impl Future<Output = ()> + use<> {
    let mut controller = Controller::new(cluster);
    let claims: Cache<PersistentVolumeClaim> = controller.plans();
    let others = claims.clone();
    let each_unbound = move |plan: &mut dyn FnMut(Key)| {
        let has_none = |it: &&Arc<PersistentVolumeClaim>| {
            let named = it.spec.as_ref().and_then(|it| it.volume_name.as_deref());
            named.unwrap_or_default().is_empty()
        };
        others.all().iter().filter(has_none).for_each(|it| plan(Key::of(&**it)));
    };
    let waiting = each_unbound.clone();
    let volumes: Cache<PersistentVolume> = controller.on_change(move |change, plan| {
        for volume in change.old.into_iter().chain(change.new) {
            match holder(volume) {
                Some(key) => plan(key),
                None => waiting(plan),
            }
        }
    });
    let classes: Cache<StorageClass> = controller.on_change(move |_, plan| each_unbound(plan));
    let pods: Cache<Pod> = controller.on_change(|change, plan| {
        for name in plan::claims_of(change.last()) {
            let namespace = change.last().metadata.namespace.as_deref().unwrap_or_default();
            plan(Key::new(namespace, &name));
        }
    });
    let plan = move |key: &Key, _: Timestamp| {
        let Some(claim) = claims.at(key) else { return Plan::nothing() };
        let seen = Seen {
            volumes: &volumes.all(),
            classes: &classes.all(),
            pods: &pods.list(&key.namespace),
            node: &node,
            folder: &folder,
        };
        plan::claim(&claim, &seen)
    };
    controller.run(PlanFn(plan), recorder)
}

/// Tells of volumes whose they are, and takes away those that nobody wants any more.
fn reclaim(
    cluster: &Cluster,
    folder: PathBuf,
    recorder: Recorder,
) -> impl Future<Output = ()> + use<> {
    let mut controller = Controller::new(cluster);
    let volumes: Cache<PersistentVolume> = controller.plans();
    let all = volumes.clone();
    let claims: Cache<PersistentVolumeClaim> = controller.on_change(move |change, plan| {
        let key = Key::of(&**change.last());
        let its = all.all().into_iter().filter(|it| holder(it).as_ref() == Some(&key));
        its.for_each(|it| plan(Key::of(&*it)));
    });
    let reclaim =
        Reclaim { cluster: cluster.clone(), volumes, claims, folder, cleared: Mutex::default() };
    controller.run(reclaim, recorder)
}

/// Where the claim is, or would be, that a volume names.
fn holder(volume: &PersistentVolume) -> Option<Key> {
    let of = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(Key::new(of.namespace.as_deref()?, of.name.as_deref()?))
}

struct Reclaim {
    cluster: Cluster,
    volumes: Cache<PersistentVolume>,
    claims: Cache<PersistentVolumeClaim>,
    folder: PathBuf,
    /// UIDs of volumes whose folders are gone and which may still be there themselves.
    cleared: Mutex<HashSet<String>>,
}

impl Reconcile for Reclaim {
    type Need = Removal;

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Removal> {
        let mut cleared = self.cleared.lock();
        let Some(volume) = self.volumes.at(key) else {
            if self.volumes.is_empty() {
                cleared.clear();
            }
            return Plan::nothing();
        };
        let claim = holder(&volume).and_then(|it| self.claims.at(&it));
        let is_cleared = volume.metadata.uid.as_ref().is_some_and(|it| cleared.contains(it));
        plan::volume(&volume, claim.as_deref(), is_cleared, now)
    }

    fn fetch(self: Arc<Self>, need: Removal) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match self.remove(&need).await {
                Ok(true) => drop(self.cleared.lock().insert(need.uid)),
                // The news of the claim are on their way.
                Ok(false) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    tracing::warn!(volume = need.volume, %error, "remove a volume's folder; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        })
    }
}

impl Reclaim {
    /// Removes the folder of a volume; not if the claim is there after all: what is lost is lost for good.
    async fn remove(&self, need: &Removal) -> anyhow::Result<bool> {
        let (namespace, name, uid) = &need.claim;
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.cluster.client().clone(), namespace);
        let found = api.get_opt(name).await?;
        if found.is_some_and(|it| it.metadata.uid.as_ref() == Some(uid)) {
            return Ok(false);
        }
        let folder = plan::folder_of(&self.folder, &need.volume);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await?;
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(true),
        }
    }
}
