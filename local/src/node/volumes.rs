//! What containers see of the file system besides the machine's own: the cluster's name server, their service
//! account's files, volumes, and the file for their last words.
//!
//! Pods of a node that runs as root see the machine's files through mount namespaces: each container has one, made
//! from one that all pods of a service account share. As an ordinary user nothing can be mounted; then the pod's
//! events say which paths are missing.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{self as k8s, Container, KeyToPath},
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use rustix::mount::{MountFlags, mount_bind_recursive, mount_remount};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::node::{
    account, devices, environment,
    namespace::{self, Namespace},
    run::PodContext,
};

const RESOLVER: &str = "/etc/resolv.conf";
/// Where file systems are put together before they are moved to their place; seen by nobody else.
const STAGING: &str = "staging";
/// Permissions of projected files whose volume names none, as the API's default.
const FILE_MODE: i32 = 0o644;

/// The mounts of all pods.
pub struct Volumes {
    /// Where resolver files are, and the note of what was made on the machine to mount upon.
    folder: PathBuf,
    /// By Kubernetes namespace, service account and whether it has the cluster's name server: as many as there are.
    bases: tokio::sync::Mutex<HashMap<Base, Arc<Namespace>>>,
    /// Folders and files made to mount upon, with how many pods use them.
    made: Mutex<BTreeMap<PathBuf, usize>>,
}

/// What pods share that see the same files.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Base {
    namespace: String,
    /// The files of the service account.
    account: Option<PathBuf>,
    has_resolver: bool,
}

/// One pod's volumes.
#[derive(Default)]
pub struct PodVolumes {
    sources: OnceCell<HashMap<String, PathBuf>>,
    /// By container.
    mounted: tokio::sync::Mutex<HashMap<String, Arc<Namespace>>>,
    /// What this pod counts for in [`Volumes::made`].
    uses: Mutex<Vec<PathBuf>>,
}

/// A file of a volume.
struct Projected {
    path: String,
    bytes: Vec<u8>,
    mode: i32,
}

impl Volumes {
    /// Keeps its files in `folder`; removes what an earlier run had made to mount upon.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let note = folder.join("made");
        let text = fs::read_to_string(&note).unwrap_or_default();
        for path in text.lines().rev() {
            unmake(Path::new(path));
        }
        fs::write(note, "")?;
        Ok(Self { folder, bases: Default::default(), made: Mutex::default() })
    }

    /// Forgets a pod's mounts, and removes what was made for them alone.
    pub fn remove(&self, pod: &PodContext) {
        let mut made = self.made.lock();
        for path in pod.volumes.uses.lock().drain(..).rev() {
            if let Some(count) = made.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    made.remove(&path);
                    unmake(&path);
                }
            }
        }
    }

    /// Makes sure that something can be mounted upon `target`.
    fn prepare_target(&self, pod: &PodVolumes, target: &Path, folder: bool) -> io::Result<()> {
        let mut made = self.made.lock();
        let mut ancestors: Vec<&Path> = target.ancestors().collect();
        ancestors.reverse();
        for path in ancestors {
            match made.get_mut(path) {
                Some(count) => *count += 1,
                None if path.exists() => continue,
                None => {
                    let mut note =
                        fs::OpenOptions::new().append(true).open(self.folder.join("made"))?;
                    io::Write::write_all(&mut note, format!("{}\n", path.display()).as_bytes())?;
                    if folder || path != target {
                        fs::create_dir(path)?;
                    } else {
                        fs::write(path, "")?;
                    }
                    made.insert(path.to_owned(), 1);
                }
            }
            pod.uses.lock().push(path.to_owned());
        }
        Ok(())
    }
}

/// Removes an empty folder or file; others have put something there, or it is gone: then it stays so.
fn unmake(path: &Path) {
    if fs::remove_dir(path).is_err()
        && fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() == 0)
    {
        let _ = fs::remove_file(path);
    }
}

/// The file system for a container; none for the machine's own. The error is for the container's status.
pub async fn mounts(
    pod: &PodContext,
    container: &Container,
) -> Result<Option<Arc<Namespace>>, String> {
    let wanted = container.volume_mounts.as_deref().unwrap_or_default();
    let Some(router) = pod.node.network.as_ref().map(|it| it.router) else {
        for mount in wanted {
            let message = format!(
                "volume \"{}\" is not at {}: in host mode nothing can be mounted; run as root for volumes",
                mount.name, mount.mount_path
            );
            pod.event(Some(&container.name), true, "FailedMount", message);
        }
        return Ok(None);
    };
    let mut mounted = pod.volumes.mounted.lock().await;
    if let Some(mounts) = mounted.get(&container.name) {
        return Ok(Some(mounts.clone()));
    }
    let spec = pod.pod.spec.as_ref();
    let own_resolver = matches!(
        spec.and_then(|it| it.dns_policy.as_deref()),
        None | Some("ClusterFirst" | "ClusterFirstWithHostNet")
    );
    let base = Base {
        namespace: pod.namespace().to_owned(),
        account: account::folder(pod).await?,
        has_resolver: own_resolver,
    };
    let base = shared(pod, base, router).await.map_err(|error| error.to_string())?;
    let none = HashMap::new();
    let sources = match wanted {
        [] => &none,
        _ => pod.volumes.sources.get_or_try_init(|| sources(pod)).await?,
    };
    let mut plan = Vec::new();
    for mount in wanted {
        let source =
            sources.get(&mount.name).ok_or_else(|| format!("no volume \"{}\"", mount.name))?;
        let sub = mount.sub_path.as_deref().unwrap_or_default();
        let source = inside(source, sub).ok_or_else(|| format!("bad subPath \"{sub}\""))?;
        if !source.exists() {
            fs::create_dir_all(&source)
                .map_err(|error| format!("{}: {error}", source.display()))?;
        }
        let target = PathBuf::from(&mount.mount_path);
        pod.node
            .volumes
            .prepare_target(&pod.volumes, &target, source.is_dir())
            .map_err(|error| format!("make {} to mount upon: {error}", target.display()))?;
        plan.push((source, target, mount.read_only == Some(true)));
    }
    let last_words = last_words(pod, container);
    let group = pod.node.cgroups.group(pod, container);
    let staging = pod.node.volumes.folder.join(STAGING);
    let mounting = pod.node.spawner.run(move |home| {
        let made = (|| {
            base.enter()?;
            let namespace = namespace::new_mount()?;
            devices::share_memory()?;
            if let Some(group) = group {
                group.show(&staging).map_err(|error| {
                    io::Error::other(format!("mount the container's control group: {error}"))
                })?;
            }
            for (source, target, read_only) in plan {
                let told = |error: rustix::io::Errno| {
                    io::Error::other(format!("mount {}: {error}", target.display()))
                };
                mount_bind_recursive(&source, &target).map_err(told)?;
                if read_only {
                    mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, "")
                        .map_err(told)?;
                }
            }
            if let Some((source, target)) = last_words
                && let Err(error) = mount_bind_recursive(&source, &target)
            {
                // The container runs without it all the same.
                tracing::debug!(%error, target = %target.display(), "mount a termination message");
            }
            Ok(Arc::new(namespace))
        })();
        home.enter()?;
        made
    });
    let namespace = mounting.await.map_err(|error| error.to_string())?;
    mounted.insert(container.name.clone(), namespace.clone());
    Ok(Some(namespace))
}

/// `folder` with `path` below it; none if that leads out of it.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let stays = path.components().all(|it| matches!(it, Component::Normal(_) | Component::CurDir));
    stays.then(|| if path.as_os_str().is_empty() { folder.to_owned() } else { folder.join(path) })
}

/// The machine's files with what `wanted` adds.
async fn shared(
    pod: &PodContext,
    wanted: Base,
    router: std::net::Ipv4Addr,
) -> io::Result<Arc<Namespace>> {
    let mut bases = pod.node.volumes.bases.lock().await;
    if let Some(base) = bases.get(&wanted) {
        return Ok(base.clone());
    }
    let mut mounts: Vec<(PathBuf, &str)> = Vec::new();
    if wanted.has_resolver && Path::new(RESOLVER).exists() {
        mounts.push((resolver(pod, router)?, RESOLVER));
    }
    if let Some(account) = &wanted.account {
        // It stays: other platforms on this machine mount upon it too, and it goes with the machine's next boot.
        match fs::create_dir_all(account::PLACE) {
            Ok(()) => mounts.push((account.clone(), account::PLACE)),
            Err(error) => {
                tracing::warn!(%error, "pods get no token: make {} to mount upon", account::PLACE);
            }
        }
    }
    let staging = pod.node.volumes.folder.join(STAGING);
    let making = pod.node.spawner.run(move |home| {
        let made = (|| {
            let base = namespace::new_mount()?;
            fs::create_dir_all(&staging)?;
            devices::replace(&staging)
                .map_err(|error| io::Error::other(format!("mount a /dev of its own: {error}")))?;
            for (source, target) in mounts {
                mount_bind_recursive(&source, target)
                    .map_err(|error| io::Error::other(format!("mount {target}: {error}")))?;
            }
            Ok(Arc::new(base))
        })();
        home.enter()?;
        made
    });
    let base = making.await?;
    bases.insert(wanted, base.clone());
    Ok(base)
}

/// The file that names the cluster's name server to the pods of a namespace.
fn resolver(pod: &PodContext, router: std::net::Ipv4Addr) -> io::Result<PathBuf> {
    let namespace = pod.namespace();
    let file = pod.node.volumes.folder.join(format!("{namespace}.resolv.conf"));
    let domain = &pod.node.settings.cluster_domain;
    let host = fs::read_to_string(RESOLVER).unwrap_or_default();
    let searched =
        host.lines().rev().find_map(|line| line.strip_prefix("search ")).unwrap_or_default();
    let text = format!(
        "nameserver {router}\nsearch {namespace}.svc.{domain} svc.{domain} {domain} {searched}\noptions ndots:5\n"
    );
    fs::write(&file, text)?;
    Ok(file)
}

/// The file for a container's termination message and where the container sees it; none where that cannot be.
fn last_words(pod: &PodContext, container: &Container) -> Option<(PathBuf, PathBuf)> {
    let target = PathBuf::from(container.termination_message_path.as_deref()?);
    let made = match target.to_str() {
        Some(devices::LAST_WORDS) => Ok(()),
        _ => pod.node.volumes.prepare_target(&pod.volumes, &target, false),
    };
    match made {
        Ok(()) => Some((message_file(pod, container), target)),
        Err(error) => {
            tracing::debug!(%error, target = %target.display(), "make a file to mount upon");
            None
        }
    }
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
async fn sources(pod: &PodContext) -> Result<HashMap<String, PathBuf>, String> {
    let mut sources = HashMap::new();
    for volume in pod.pod.spec.iter().flat_map(|it| it.volumes.iter().flatten()) {
        let failed = |why: String| {
            format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name)
        };
        let path = source(pod, volume).await.map_err(failed)?;
        sources.insert(volume.name.clone(), path);
    }
    Ok(sources)
}

async fn source(pod: &PodContext, volume: &k8s::Volume) -> Result<PathBuf, String> {
    let folder = pod.folder.join("volumes").join(&volume.name);
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    if let Some(host) = &volume.host_path {
        let path = PathBuf::from(&host.path);
        if matches!(host.type_.as_deref(), Some("DirectoryOrCreate")) {
            fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        return Ok(path);
    }
    fs::create_dir_all(&folder).map_err(told)?;
    if volume.empty_dir.is_some() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).map_err(told)?;
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
                files.push(Projected {
                    path: from.path.clone(),
                    bytes,
                    mode: mode.unwrap_or(FILE_MODE),
                });
            }
        }
    } else {
        return Err("this kind of volume cannot be had on this node".to_owned());
    }
    for file in files {
        let path =
            inside(&folder, &file.path).ok_or_else(|| format!("bad path \"{}\"", file.path))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(told)?;
        }
        fs::write(&path, file.bytes).map_err(told)?;
        let mode = fs::Permissions::from_mode(u32::try_from(file.mode).unwrap_or(0o644));
        fs::set_permissions(&path, mode).map_err(told)?;
    }
    Ok(folder)
}

async fn config_map(
    pod: &PodContext,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<Vec<Projected>, String> {
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
) -> Result<Vec<Projected>, String> {
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
) -> Result<Vec<Projected>, String> {
    let mode = mode.unwrap_or(FILE_MODE);
    let optional = optional == Some(true);
    let Some(mut data) = data else {
        return if optional { Ok(Vec::new()) } else { Err(format!("{kind} \"{name}\" not found")) };
    };
    let Some(items) = items.filter(|it| !it.is_empty()) else {
        return Ok(data.into_iter().map(|(path, bytes)| Projected { path, bytes, mode }).collect());
    };
    let mut files = Vec::new();
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => {
                files.push(Projected {
                    path: item.path.clone(),
                    bytes,
                    mode: item.mode.unwrap_or(mode),
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
) -> Result<Vec<Projected>, String> {
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
        Ok(Projected { path: item.path.clone(), bytes: value(item)?.into_bytes(), mode })
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
    fn paths_stay_in_their_volume() {
        for (path, found) in [
            ("", Some("/v")),
            ("a/b", Some("/v/a/b")),
            ("../x", None),
            ("/etc", None),
            ("a/../../x", None),
        ] {
            assert_eq!(inside(Path::new("/v"), path), found.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn keys_become_files() {
        let item = |key: &str| KeyToPath {
            key: key.to_owned(),
            path: format!("to/{key}"),
            mode: Some(0o400),
            ..KeyToPath::default()
        };
        let data = || Some(BTreeMap::from([("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]));
        let show = |found: Result<Vec<Projected>, String>| match found {
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
