//! What containers see of the file system besides the machine's own: the cluster's name server, their service
//! account's files, volumes, the image's program, and the file for their last words.
//!
//! Pods of a node that runs as root see them in a root of their own. As an ordinary user nothing can be mounted; then
//! the pod's events say which paths are missing.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{self as k8s, Container, KeyToPath},
};
use kube::{
    Api,
    api::{ApiResource, PostParams},
    runtime::watcher,
};
use parking_lot::Mutex;
use runtime::cluster::raw;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{
    images::{self, Image},
    node::{
        account, environment,
        root::{self, Additions, Mount, Root},
        run::PodContext,
    },
    storage::plan,
};

pub mod ownership;
pub mod projection;
pub mod sub_path;

use ownership::Access;
use projection::File;

const RESOLVER: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// Where containers find their image's program, whatever it is called on the machine: where `ko` puts it.
const PROGRAMS: &str = "/ko-app";
/// Permissions of projected files whose volume names none, as the API's default.
const FILE_MODE: i32 = 0o644;

/// One pod's volumes.
#[derive(Default)]
pub struct PodVolumes {
    sources: OnceCell<HashMap<String, VolumeSource>>,
    /// Who writes the files of one.
    turn: tokio::sync::Mutex<()>,
    /// The root of each container's present run.
    roots: Mutex<HashMap<String, Arc<Root>>>,
}

/// Where a volume is on the machine.
struct VolumeSource {
    path: PathBuf,
    /// Whether containers may only read it, whatever their mounts say.
    read_only: bool,
}

/// Why a container cannot have its files: a reason and a message for its status.
pub type Failure = (&'static str, String);

const BAD_CONFIG: &str = "CreateContainerConfigError";
const NOT_CREATED: &str = "CreateContainerError";

impl PodVolumes {
    /// Lets go of the containers' roots: they end with their last process.
    pub fn forget(&self) {
        self.roots.lock().clear();
    }
}

/// A root for a run of a container whose image is `image` and whose user is `user`; none for the machine's own.
/// `variables` are the container's.
pub async fn root(
    pod: &PodContext,
    container: &Container,
    image: &Image,
    user: u32,
    variables: &BTreeMap<String, String>,
) -> Result<Option<Arc<Root>>, Failure> {
    let (Some(network), Some(template)) = (&pod.node.network, &pod.node.template) else {
        for mount in container.volume_mounts.iter().flatten() {
            let message = format!(
                "volume \"{}\" is not at {}: nothing can be mounted here; run as root for volumes",
                mount.name, mount.mount_path
            );
            pod.event(Some(&container.name), true, "FailedMount", message);
        }
        return Ok(None);
    };
    let told = |error: io::Error| (NOT_CREATED, error.to_string());
    let own = volume_mounts(pod, container, variables).await?;
    let mut last = vec![Mount { source: hosts(pod).map_err(told)?, ..Mount::at(HOSTS) }];
    if let Some(target) = &container.termination_message_path {
        last.push(Mount { source: message_file(pod, container), ..Mount::at(target) });
    }
    if let Some(source) = resolver(pod, network.router).map_err(told)? {
        last.push(Mount { source, ..Mount::at(RESOLVER) });
    }
    if let Some(source) = account::folder(pod).await.map_err(|it| (NOT_CREATED, it))? {
        last.push(Mount { source, read_only: true, ..Mount::at(account::PLACE) });
    }
    // What the container itself mounts at such a place counts more.
    last.retain(|it| own.iter().all(|own| own.target != it.target));
    let mut mounts = program(container, image, user);
    mounts.extend(own);
    mounts.extend(last);
    let context = container.security_context.as_ref();
    let additions = Additions {
        mounts,
        group: pod.node.cgroups.group(pod, container),
        read_only: context.and_then(|it| it.read_only_root_filesystem) == Some(true),
        shares_processes: shares_processes(pod),
        size_bytes: storage(container),
    };
    let root = template.root(&pod.node.threads, additions).await.map_err(told)?;
    pod.volumes.roots.lock().insert(container.name.clone(), root.clone());
    Ok(Some(root))
}

/// The root of the container's present run.
pub fn present_root(pod: &PodContext, container: &Container) -> Option<Arc<Root>> {
    pod.volumes.roots.lock().get(&container.name).cloned()
}

/// Whether the pod's containers see processes that are not their own.
fn shares_processes(pod: &PodContext) -> bool {
    let spec = pod.pod.spec.as_ref();
    let is = |field: Option<bool>| field == Some(true);
    spec.is_some_and(|it| is(it.share_process_namespace) || is(it.host_pid))
}

/// The image's program where it is, and where containers look for it.
fn program(container: &Container, image: &Image, user: u32) -> Vec<Mount> {
    let name = images::short_name(container.image.as_deref().unwrap_or_default());
    let folders = root::home_of(&image.path, user).into_iter().chain(image.with.iter().cloned());
    let mut mounts: Vec<Mount> = folders.map(Mount::same).collect();
    let target = Path::new(PROGRAMS).join(name);
    mounts.push(Mount { source: image.path.clone(), read_only: true, ..Mount::at(target) });
    mounts
}

/// What the container mounts of the pod's volumes, those within others after them.
async fn volume_mounts(
    pod: &PodContext,
    container: &Container,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, Failure> {
    let wanted = container.volume_mounts.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let sources = pod.volumes.sources.get_or_try_init(|| sources(pod)).await;
    let sources = sources.map_err(|why| (NOT_CREATED, why))?;
    let mut mounts = Vec::new();
    for mount in wanted {
        let name = &mount.name;
        let source =
            sources.get(name).ok_or_else(|| (NOT_CREATED, format!("no volume \"{name}\"")))?;
        let part = sub_path::wanted(mount, variables).map_err(|why| (BAD_CONFIG, why))?;
        // Seen from within a container a link would lead elsewhere.
        let path = match &*part {
            "" => fs::canonicalize(&source.path)
                .map_err(|error| (NOT_CREATED, format!("{}: {error}", source.path.display())))?,
            part => sub_path::find(&source.path, part).map_err(|error| {
                // What is wrong would tell containers of the machine's files.
                tracing::warn!(pod = pod.name(), volume = name, part, %error, "find a part of a volume");
                let of = &container.name;
                let message = format!(
                    "failed to prepare subPath for volumeMount \"{name}\" of container \"{of}\""
                );
                (BAD_CONFIG, message)
            })?,
        };
        let target = Path::new("/").join(&mount.mount_path);
        let read_only = source.read_only || mount.read_only == Some(true);
        mounts.push(Mount { source: path, target, read_only });
    }
    mounts.sort_by_key(|it| it.target.components().count());
    Ok(mounts)
}

/// The most that a container's own files may take.
fn storage(container: &Container) -> Option<u64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    let milli = environment::thousandths(limits.get("ephemeral-storage")?)?;
    u64::try_from(milli / 1000).ok()
}

/// The file that names the name server to the pod: the cluster's, or the machine's; none where the machine has none.
fn resolver(pod: &PodContext, router: std::net::Ipv4Addr) -> io::Result<Option<PathBuf>> {
    let spec = pod.pod.spec.as_ref();
    let is_own = matches!(
        spec.and_then(|it| it.dns_policy.as_deref()),
        None | Some("ClusterFirst" | "ClusterFirstWithHostNet")
    );
    if !is_own {
        return Ok(fs::canonicalize(RESOLVER).ok());
    }
    let namespace = pod.namespace();
    let file = pod.node.mounts_folder.join(format!("{namespace}.resolv.conf"));
    let domain = &pod.node.settings.cluster_domain;
    let host = fs::read_to_string(RESOLVER).unwrap_or_default();
    let searched =
        host.lines().rev().find_map(|line| line.strip_prefix("search ")).unwrap_or_default();
    let text = format!(
        "nameserver {router}\nsearch {namespace}.svc.{domain} svc.{domain} {domain} {searched}\noptions ndots:5\n"
    );
    write_once(&file, &text)?;
    Ok(Some(file))
}

/// Writes a file unless it has that text: running containers read it, so it is not emptied for nothing.
fn write_once(file: &Path, text: &str) -> io::Result<()> {
    if fs::read(file).ok().as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    fs::write(file, text)
}

/// The file that tells the pod its own name. Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `managedHostsFileContent`.
fn hosts(pod: &PodContext) -> io::Result<PathBuf> {
    let file = pod.folder.join("hosts");
    let spec = pod.pod.spec.as_ref();
    let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n"
        .to_owned();
    let name = spec.and_then(|it| it.hostname.as_deref()).unwrap_or(pod.name());
    text += &format!("{}\t{name}\n", pod.reach.door.address);
    for alias in spec.iter().flat_map(|it| it.host_aliases.iter().flatten()) {
        let names = alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t");
        text += &format!("{}\t{names}\n", alias.ip);
    }
    fs::create_dir_all(&pod.folder)?;
    write_once(&file, &text)?;
    Ok(file)
}

fn message_file(pod: &PodContext, container: &Container) -> PathBuf {
    pod.folder.join("messages").join(&container.name)
}

/// Empties the file for a container's termination message, before a run.
pub fn begin_message(pod: &PodContext, container: &Container) {
    if pod.node.network.is_none() {
        return;
    }
    let file = message_file(pod, container);
    let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        fs::write(&file, "")?;
        // The container's user may be anybody.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))
    });
    if let Err(error) = made {
        tracing::warn!(%error, file = %file.display(), "make the file for a termination message");
    }
}

/// The end of the termination message that a container wrote, at most `limit` bytes; none if it wrote none.
pub fn message(pod: &PodContext, container: &Container, limit: usize) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(message_file(pod, container)).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit as u64))).ok()?;
    let mut text = Vec::new();
    file.take(limit as u64).read_to_end(&mut text).ok()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Makes the pod's volumes: where each of them is on the machine.
async fn sources(pod: &PodContext) -> Result<HashMap<String, VolumeSource>, String> {
    let mut sources = HashMap::new();
    for volume in pod.pod.spec.iter().flat_map(|it| it.volumes.iter().flatten()) {
        let failed = |why: String| {
            format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name)
        };
        let path = source(pod, volume).await.map_err(failed)?;
        let claim = volume.persistent_volume_claim.as_ref();
        let read_only = match claim {
            Some(claim) => claim.read_only == Some(true),
            None => {
                let is_data = volume.empty_dir.is_some() || volume.ephemeral.is_some();
                !is_data && volume.host_path.is_none()
            }
        };
        sources.insert(volume.name.clone(), VolumeSource { path, read_only });
    }
    Ok(sources)
}

/// The group that the pod wants its files to have.
fn group(pod: &PodContext) -> Option<u32> {
    let context = pod.pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|it| u32::try_from(it).ok())
}

/// The user whom all containers of the pod name, if it is one.
fn only_user(pod: &PodContext) -> Option<u32> {
    let spec = pod.pod.spec.as_ref()?;
    let common = spec.security_context.as_ref().and_then(|it| it.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users =
        containers.map(|it| it.security_context.as_ref().and_then(|it| it.run_as_user).or(common));
    let first = users.next()??;
    users.all(|it| it == Some(first)).then_some(u32::try_from(first).ok()?)
}

/// The folder of what a pod claims.
async fn claimed(pod: &PodContext, name: &str, read_only: bool) -> Result<PathBuf, String> {
    let namespace = pod.namespace();
    let cluster = &pod.node.cluster;
    let claim = cluster.cache::<k8s::PersistentVolumeClaim>().get(namespace, name);
    let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    let is_own = plan::is_own_claim(&pod.pod, name);
    if let Some(why) = plan::not_made_for(&pod.pod, &claim).filter(|_| is_own) {
        return Err(why);
    }
    let phase = claim.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
    let volume = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref()).unwrap_or_default();
    if phase != "Bound" || volume.is_empty() {
        return Err(format!(
            "PVC {namespace}/{name} has non-bound phase (\"{phase}\") or empty pvc.Spec.VolumeName (\"{volume}\")"
        ));
    }
    let found = cluster.cache::<k8s::PersistentVolume>().get("", volume);
    let found = found.ok_or_else(|| format!("persistentvolume \"{volume}\" not found"))?;
    let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let spec = found.spec.as_ref();
    if let Some(host) = spec.and_then(|it| it.host_path.as_ref()) {
        return machines_own(host);
    }
    let folder = if plan::is_own(&found) {
        let folder = plan::folder_of(&pod.node.volumes_folder, volume);
        if !folder.exists() {
            let made = fs::create_dir_all(&folder)
                .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)));
            made.map_err(|error| told(&folder, error))?;
        }
        folder
    } else if let Some(local) = spec.and_then(|it| it.local.as_ref()) {
        PathBuf::from(&local.path)
    } else {
        return Err("this kind of volume cannot be had on this node".to_owned());
    };
    if let Some(group) = group(pod) {
        let access = if read_only { Access::Read } else { Access::Write };
        let context = pod.pod.spec.as_ref().and_then(|it| it.security_context.as_ref());
        let policy = context.and_then(|it| it.fs_group_change_policy.as_deref());
        let is_lazy = policy == Some("OnRootMismatch");
        let place = folder.clone();
        let given = tokio::task::spawn_blocking(move || {
            if is_lazy && ownership::is_given(&fs::metadata(&place)?, group, access) {
                return Ok(());
            }
            ownership::give(&place, group, access)
        });
        let given = given.await.map_err(|error| error.to_string())?;
        given.map_err(|error| told(&folder, error))?;
    }
    Ok(folder)
}

/// What of the machine a volume shows as it is.
fn machines_own(host: &k8s::HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&host.path);
    if matches!(host.type_.as_deref(), Some("DirectoryOrCreate")) {
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(path)
}

async fn source(pod: &PodContext, volume: &k8s::Volume) -> Result<PathBuf, String> {
    let _turn = pod.volumes.turn.lock().await;
    let folder = pod.volumes_folder.join(&volume.name);
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    if let Some(host) = &volume.host_path {
        return machines_own(host);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return claimed(pod, &claim.claim_name, claim.read_only == Some(true)).await;
    }
    if volume.ephemeral.is_some() {
        return claimed(pod, &plan::own_claim(&pod.pod, &volume.name), false).await;
    }
    let group = group(pod);
    fs::create_dir_all(&folder).map_err(told)?;
    if volume.empty_dir.is_some() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).map_err(told)?;
        if let Some(group) = group {
            ownership::give(&folder, group, Access::Write).map_err(told)?;
        }
        return Ok(folder);
    }
    let mut files = Vec::new();
    if let Some(from) = &volume.config_map {
        files.extend(
            config_map(pod, &from.name, from.optional, from.items.as_deref(), from.default_mode)
                .await?,
        );
    } else if let Some(from) = &volume.secret {
        let name = from.secret_name.as_deref().unwrap_or_default();
        files.extend(
            secret(pod, name, from.optional, from.items.as_deref(), from.default_mode).await?,
        );
    } else if let Some(from) = &volume.downward_api {
        files.extend(downward(pod, from.items.as_deref(), from.default_mode)?);
    } else if let Some(from) = &volume.projected {
        let mode = from.default_mode;
        for part in from.sources.iter().flatten() {
            if let Some(from) = &part.config_map {
                let found = config_map(pod, &from.name, from.optional, from.items.as_deref(), mode);
                files.extend(found.await?);
            }
            if let Some(from) = &part.secret {
                let found = secret(pod, &from.name, from.optional, from.items.as_deref(), mode);
                files.extend(found.await?);
            }
            if let Some(from) = &part.downward_api {
                files.extend(downward(pod, from.items.as_deref(), mode)?);
            }
            if let Some(from) = &part.service_account_token {
                let bytes = token(pod, from).await?.into_bytes();
                // Its user's alone, where it is known who that is.
                let owner = only_user(pod);
                let is_private = owner.is_some() || group.is_some();
                let mode = if is_private { 0o600 } else { mode.unwrap_or(FILE_MODE) };
                files.push(File { path: from.path.clone(), bytes, mode, owner });
            }
        }
    } else {
        return Err("this kind of volume cannot be had on this node".to_owned());
    }
    projection::replace(&folder, &files, group).map_err(told)?;
    Ok(folder)
}

/// Keeps the files of a pod's volumes as the objects are that they come from, and its tokens fresh. Without end; the
/// caller gives it up with the pod.
pub async fn follow(pod: Arc<PodContext>) {
    let volumes: Vec<&k8s::Volume> = changing(&pod.pod).collect();
    let mut changes = futures::stream::SelectAll::new();
    for (kind, name) in volumes.iter().flat_map(|it| objects(it)) {
        changes.push(match kind {
            Kind::ConfigMap => watched::<k8s::ConfigMap>(&pod, name),
            Kind::Secret => watched::<k8s::Secret>(&pod, name),
        });
    }
    let life = volumes
        .iter()
        .flat_map(|it| tokens(it))
        .map(|it| it.expiration_seconds.unwrap_or(3600))
        .min();
    // As kubelet: when a fifth of its life is left.
    let renewal = life.map(|it| Duration::from_secs(it.unsigned_abs() * 4 / 5));
    loop {
        let renewed = async {
            match renewal {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = changes.next() => {}
            () = renewed => {}
        }
        for volume in &volumes {
            if let Err(why) = source(&pod, volume).await {
                // What was there stays, as kubelet has it.
                tracing::debug!(
                    pod = pod.name(),
                    volume = volume.name,
                    why,
                    "bring a volume up to date"
                );
            }
        }
    }
}

/// Whether there is anything to [`follow`].
pub fn may_change(pod: &k8s::Pod) -> bool {
    changing(pod).next().is_some()
}

/// The volumes that show what is in other objects.
fn changing(pod: &k8s::Pod) -> impl Iterator<Item = &k8s::Volume> {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes.filter(|it| it.config_map.is_some() || it.secret.is_some() || it.projected.is_some())
}

#[derive(Clone, Copy)]
enum Kind {
    ConfigMap,
    Secret,
}

/// The objects whose data a volume shows.
fn objects(volume: &k8s::Volume) -> Vec<(Kind, &str)> {
    let parts = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
    let mut found: Vec<(Kind, &str)> = Vec::new();
    for part in parts {
        found.extend(part.config_map.as_ref().map(|it| (Kind::ConfigMap, it.name.as_str())));
        found.extend(part.secret.as_ref().map(|it| (Kind::Secret, it.name.as_str())));
    }
    found.extend(volume.config_map.as_ref().map(|it| (Kind::ConfigMap, it.name.as_str())));
    let secret = volume.secret.as_ref().and_then(|it| it.secret_name.as_deref());
    found.extend(secret.map(|it| (Kind::Secret, it)));
    found
}

fn tokens(volume: &k8s::Volume) -> impl Iterator<Item = &k8s::ServiceAccountTokenProjection> {
    let parts = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
    parts.filter_map(|it| it.service_account_token.as_ref())
}

/// Tells whenever the object of that kind and name is seen, at first and when it changed.
fn watched<K: kube::Resource<DynamicType = ()>>(
    pod: &PodContext,
    name: &str,
) -> BoxStream<'static, ()> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (client, kind) = (pod.node.cluster.client().clone(), ApiResource::erase::<K>(&()));
    let events = raw::watch(client, &kind, Some(pod.namespace()), config);
    let seen = events.filter_map(async |event| match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::InitApply(_)) => Some(()),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "watch what a volume shows; trying again");
            None
        }
    });
    seen.boxed()
}

async fn config_map(
    pod: &PodContext,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<Vec<File>, String> {
    let api: Api<k8s::ConfigMap> =
        Api::namespaced(pod.node.cluster.client().clone(), pod.namespace());
    let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
    let data = found.map(|found| {
        let text =
            found.data.unwrap_or_default().into_iter().map(|(key, it)| (key, it.into_bytes()));
        let bytes = found.binary_data.unwrap_or_default().into_iter().map(|(key, it)| (key, it.0));
        text.chain(bytes).collect()
    });
    chosen("configmap", name, data, optional, items, mode)
}

async fn secret(
    pod: &PodContext,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<Vec<File>, String> {
    let api: Api<k8s::Secret> = Api::namespaced(pod.node.cluster.client().clone(), pod.namespace());
    let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
    let data = found
        .map(|it| it.data.unwrap_or_default().into_iter().map(|(key, it)| (key, it.0)).collect());
    chosen("secret", name, data, optional, items, mode)
}

/// The files that a volume makes of an object's data: all keys, or those that it names.
fn chosen(
    kind: &str,
    name: &str,
    data: Option<BTreeMap<String, Vec<u8>>>,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<Vec<File>, String> {
    let mode = mode.unwrap_or(FILE_MODE);
    let optional = optional == Some(true);
    let Some(mut data) = data else {
        return if optional { Ok(Vec::new()) } else { Err(format!("{kind} \"{name}\" not found")) };
    };
    let Some(items) = items.filter(|it| !it.is_empty()) else {
        return Ok(data
            .into_iter()
            .map(|(path, bytes)| File { path, bytes, mode, owner: None })
            .collect());
    };
    let mut files = Vec::new();
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => {
                files.push(File {
                    path: item.path.clone(),
                    bytes,
                    mode: item.mode.unwrap_or(mode),
                    owner: None,
                });
            }
            None if optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward(
    pod: &PodContext,
    items: Option<&[k8s::DownwardAPIVolumeFile]>,
    mode: Option<i32>,
) -> Result<Vec<File>, String> {
    let value = |item: &k8s::DownwardAPIVolumeFile| {
        pod.with_facts(|facts| match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => environment::field_value(field, facts)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path)),
            (None, Some(resource)) => {
                let name = resource.container_name.as_deref().unwrap_or_default();
                let mut containers = facts.pod.spec.iter().flat_map(|it| &it.containers);
                let container = containers.find(|it| it.name == name);
                let container = container.ok_or_else(|| format!("container {name} not found"))?;
                environment::resource_value(resource, container, facts)
            }
            (None, None) => Ok(String::new()),
        })
    };
    let file = |item: &k8s::DownwardAPIVolumeFile| {
        let mode = item.mode.or(mode).unwrap_or(FILE_MODE);
        Ok(File { path: item.path.clone(), bytes: value(item)?.into_bytes(), mode, owner: None })
    };
    items.unwrap_or_default().iter().map(file).collect()
}

/// A token for the pod's service account, bound to the pod.
async fn token(
    pod: &PodContext,
    wanted: &k8s::ServiceAccountTokenProjection,
) -> Result<String, String> {
    let spec = pod.pod.spec.as_ref();
    let account = spec.and_then(|it| it.service_account_name.as_deref()).unwrap_or("default");
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": wanted.audience.iter().collect::<Vec<_>>(),
            "expirationSeconds": wanted.expiration_seconds.unwrap_or(3600),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()},
        },
    });
    let api: Api<k8s::ServiceAccount> =
        Api::namespaced(pod.node.cluster.client().clone(), pod.namespace());
    let answer: TokenRequest = api
        .create_subresource("token", account, &PostParams::default(), &request)
        .await
        .map_err(|error| format!("failed to fetch token: {error}"))?;
    Ok(answer.status.and_then(|it| it.token).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_files() {
        let item = |key: &str| KeyToPath {
            key: key.to_owned(),
            path: format!("to/{key}"),
            mode: Some(0o400),
            ..KeyToPath::default()
        };
        let data = || Some(BTreeMap::from([("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]));
        let show = |found: Result<Vec<File>, String>| match found {
            Ok(files) => {
                let files =
                    files.iter().map(|it| format!("{}:{:o}={}", it.path, it.mode, it.bytes[0]));
                files.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error,
        };
        let (none, all): (Option<&[KeyToPath]>, _) = (None, data());
        assert_eq!(show(chosen("secret", "s", all, None, none, None)), "a:644=1 b:644=2");
        let one = [item("b")];
        assert_eq!(show(chosen("secret", "s", data(), None, Some(&one), None)), "to/b:400=2");
        let missing = [item("c")];
        let found = chosen("configmap", "s", data(), None, Some(&missing), None);
        assert_eq!(show(found), "references non-existent configmap key: c");
        assert_eq!(show(chosen("configmap", "s", data(), Some(true), Some(&missing), None)), "");
        assert_eq!(
            show(chosen("configmap", "s", None, None, none, None)),
            "configmap \"s\" not found"
        );
        assert_eq!(show(chosen("configmap", "s", None, Some(true), none, None)), "");
    }
}
