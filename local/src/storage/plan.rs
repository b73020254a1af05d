//! Which volume each claim gets, and what becomes of volumes that nobody claims any more.
//!
//! Pure: plans from what was seen.
//! Source: kubernetes `pkg/controller/volume/persistentvolume/pv_controller.go`, `pkg/controller/volume/pvcprotection`,
//! `pkg/controller/volume/pvprotection`; kubernetes-sigs/sig-storage-lib-external-provisioner `controller/controller.go`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{
            LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
            ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod,
            VolumeNodeAffinity,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta, Time},
    },
};
use runtime::plan::{Plan, Write, whole_seconds};
use serde_json::{Value, json};

use crate::{
    schema::quantity::{Amount, parse},
    workloads::selector,
};

/// Who makes the volumes of classes whose volumes are folders in the data directory.
pub const PROVISIONER: &str = "weft.dev/folder";
/// The class of claims that name none, until somebody says otherwise. Called as minikube and kind call theirs.
pub const STANDARD: &str = "standard";
/// Marks the class of claims that name none.
pub const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// Says of a claim that a pod which wants it has been given to a node.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What of a volume may be asked for: how much there is of it.
pub const SIZE: &str = "storage";

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY: &str = "pv.kubernetes.io/bound-by-controller";
const WANTED_OF: &str = "volume.kubernetes.io/storage-provisioner";
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// What is around a claim.
pub struct Seen<'a> {
    /// All volumes.
    pub volumes: &'a [Arc<PersistentVolume>],
    /// All classes.
    pub classes: &'a [Arc<StorageClass>],
    /// The pods of the claim's namespace.
    pub pods: &'a [Arc<Pod>],
    /// The node's name.
    pub node: &'a str,
    /// The folder that holds the volumes' folders.
    pub folder: &'a Path,
}

/// What is needed before a volume may go: that its folder is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The volume's UID.
    pub uid: String,
    /// The volume's name, which is its folder's.
    pub volume: String,
    /// The claim that had it: namespace, name and UID.
    pub claim: (String, String, String),
}

/// Whose a volume is, as a claim sees it.
#[derive(Clone, Copy, PartialEq)]
enum Hold {
    /// The claim's.
    Its,
    /// Kept for the claim, or nobody's.
    Free,
    Others,
}

/// The class of claims that name none: the newest of those that are marked.
pub fn default_class(classes: &[Arc<StorageClass>]) -> Option<&StorageClass> {
    let marked = classes.iter().filter(|it| annotation(&it.metadata, IS_DEFAULT) == "true");
    // Of equally old ones the first by name.
    let newest = marked.min_by_key(|it| {
        let created = it.metadata.creation_timestamp.as_ref().map(|it| it.0);
        (std::cmp::Reverse(created), it.metadata.name.clone())
    });
    newest.map(|it| &**it)
}

/// The class of claims that name none, as it is made when there is none of that name.
pub fn standard_class() -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            name: Some(STANDARD.to_owned()),
            annotations: Some(BTreeMap::from([(IS_DEFAULT.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        // On one node there is nothing to wait for: whoever makes a claim sees that it can be had.
        volume_binding_mode: Some("Immediate".to_owned()),
        allow_volume_expansion: Some(true),
        ..StorageClass::default()
    }
}

/// Whether claims of a class wait for the first pod that wants them.
pub fn is_delayed(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Whether the volume's data is a folder that this platform made for it.
pub fn is_own(volume: &PersistentVolume) -> bool {
    annotation(&volume.metadata, PROVISIONED_BY) == PROVISIONER
}

/// Whether a claim will have a volume in a moment, without anybody's help.
pub fn is_coming(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    class.provisioner == PROVISIONER && unfit(claim).is_none()
}

/// The names of the claims that a pod's volumes are of.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = Cow<'_, str>> {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes.filter_map(|it| match (&it.persistent_volume_claim, &it.ephemeral) {
        (Some(claim), _) => Some(Cow::from(&claim.claim_name)),
        (None, Some(_)) => Some(own_claim(pod, &it.name).into()),
        (None, None) => None,
    })
}

/// The name of the claim that is made for a volume of the pod's own (`ephemeral`).
pub fn own_claim(pod: &Pod, volume: &str) -> String {
    format!("{}-{volume}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// Whether the pod has such a volume whose claim is called so.
pub fn is_own_claim(pod: &Pod, claim: &str) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes.any(|it| it.ephemeral.is_some() && own_claim(pod, &it.name) == claim)
}

/// Why a claim cannot be that of a volume of the pod's own; none when it was made for it.
pub fn not_made_for(pod: &Pod, claim: &PersistentVolumeClaim) -> Option<String> {
    if runtime::plan::is_controlled_by(claim, pod) {
        return None;
    }
    let shown = |meta: &ObjectMeta| {
        let [namespace, name] =
            [&meta.namespace, &meta.name].map(|it| it.as_deref().unwrap_or_default());
        format!("\"{namespace}/{name}\"")
    };
    let (claim, pod) = (shown(&claim.metadata), shown(&pod.metadata));
    Some(format!("PVC {claim} was not created for pod {pod} (pod is not the owner)"))
}

/// The claims that a pod's volumes of its own need: they go with the pod. `exists` knows claims by name.
pub fn pod(pod: &Pod, exists: impl Fn(&str) -> bool) -> Plan {
    let mut plan = Plan::about(pod);
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return plan;
    }
    for volume in pod.spec.iter().flat_map(|it| it.volumes.iter().flatten()) {
        let template = volume.ephemeral.as_ref().and_then(|it| it.volume_claim_template.as_ref());
        let name = own_claim(pod, &volume.name);
        let Some(template) = template.filter(|_| !exists(&name)) else { continue };
        let given = template.metadata.clone().unwrap_or_default();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: pod.metadata.namespace.clone(),
                labels: given.labels,
                annotations: given.annotations,
                owner_references: Some(vec![runtime::plan::owner(pod)]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec.clone()),
            status: None,
        };
        plan.writes.push(Write::create(&claim).with_context("ephemeral volume"));
    }
    plan
}

/// What to do about a claim.
pub fn claim(claim: &PersistentVolumeClaim, seen: &Seen<'_>) -> Plan {
    let mut plan = Plan::about(claim);
    if claim.metadata.deletion_timestamp.is_some() {
        let left = without(&claim.metadata, CLAIM_PROTECTION);
        if let Some(left) = left.filter(|_| !is_used(claim, seen.pods)) {
            plan.writes.push(release(claim, left));
        }
        return plan;
    }
    let Some(spec) = &claim.spec else { return plan };
    match spec.volume_name.as_deref().filter(|it| !it.is_empty()) {
        Some(name) => {
            let volume = seen.volumes.iter().find(|it| it.metadata.name.as_deref() == Some(name));
            named(&mut plan, claim, volume.map(|it| &**it));
        }
        None => unbound(&mut plan, claim, seen),
    }
    plan
}

/// A claim with the volume that it names.
fn named(plan: &mut Plan, claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) {
    let was_bound = annotation(&claim.metadata, BIND_COMPLETED) == "yes";
    let mut lost = |reason: &'static str, message: &str| {
        if phase(claim) != "Lost" {
            plan.warn(reason, message);
            tell(plan, claim, "Lost", None);
        }
    };
    let Some(volume) = volume else {
        if was_bound {
            lost(
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            );
        }
        return;
    };
    match hold(volume, claim) {
        Hold::Others if was_bound => lost(
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        ),
        Hold::Others => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let message = format!("volume \"{name}\" already bound to a different claim.");
            plan.warn("FailedBinding", message);
        }
        Hold::Free => plan.writes.push(take(volume, claim)),
        Hold::Its if !was_bound => {
            let patch = json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}});
            plan.writes.push(Write::merge(claim, &patch));
        }
        Hold::Its => {
            let (wanted, has) = (wanted(claim), size(volume));
            if wanted > has && is_own(volume) {
                // A folder has room for as much as there is on the disk.
                let amount = requested(claim);
                let patch = json!({"spec": {"capacity": {SIZE: amount}}});
                plan.writes.push(Write::merge(volume, &patch));
                return;
            }
            tell(plan, claim, "Bound", Some(volume));
        }
    }
}

/// A claim without a volume.
fn unbound(plan: &mut Plan, claim: &PersistentVolumeClaim, seen: &Seen<'_>) {
    let wanted = claim.spec.as_ref().and_then(|it| it.storage_class_name.as_deref());
    if wanted.is_none()
        && let Some(class) = default_class(seen.classes)
    {
        let patch = json!({"spec": {"storageClassName": class.metadata.name}});
        plan.writes.push(Write::merge(claim, &patch));
        return;
    }
    let wanted = wanted.unwrap_or_default();
    let class = seen.classes.iter().find(|it| it.metadata.name.as_deref() == Some(wanted));
    let is_kept = |it: &&Arc<PersistentVolume>| {
        let names_it = it.spec.as_ref().is_some_and(|it| it.claim_ref.is_some());
        names_it && hold(it, claim) != Hold::Others
    };
    let waits = class.is_some_and(|it| is_delayed(it))
        && annotation(&claim.metadata, SELECTED_NODE).is_empty();
    let fitting = || {
        let fits = seen.volumes.iter().filter(|it| is_match(it, claim));
        fits.min_by_key(|it| (size(it), it.metadata.name.clone()))
    };
    let volume = seen.volumes.iter().find(is_kept).or_else(|| (!waits).then(fitting).flatten());
    if let Some(volume) = volume {
        if hold(volume, claim) == Hold::Free {
            plan.writes.push(take(volume, claim));
        }
        plan.writes.push(Write::merge(
            claim,
            &json!({
                "metadata": {
                    "resourceVersion": claim.metadata.resource_version,
                    "annotations": {BIND_COMPLETED: "yes", BOUND_BY: "yes"},
                },
                "spec": {"volumeName": volume.metadata.name},
            }),
        ));
        return;
    }
    if wanted.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        plan.normal("FailedBinding", message);
        return;
    }
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io \"{wanted}\" not found");
        plan.warn("ProvisioningFailed", message);
        return;
    };
    if waits {
        let message = "waiting for first consumer to be created before binding";
        plan.normal("WaitForFirstConsumer", message);
        return;
    }
    let provisioner = &class.provisioner;
    if annotation(&claim.metadata, WANTED_OF) != provisioner {
        let patch = json!({"metadata": {"annotations": {WANTED_OF: provisioner}}});
        plan.writes.push(Write::merge(claim, &patch));
        return;
    }
    if provisioner != PROVISIONER {
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
             the system administrator. If volume creation is delayed, please verify that the provisioner is running \
             and correctly registered."
        );
        plan.normal("ExternalProvisioning", message);
        return;
    }
    if let Some(why) = unfit(claim) {
        let message = format!("failed to provision volume with StorageClass \"{wanted}\": {why}");
        plan.warn("ProvisioningFailed", message);
        return;
    }
    let volume = provisioned(claim, class, seen);
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Successfully provisioned volume {name}");
    let told = runtime::plan::Event::normal("ProvisioningSucceeded", message);
    plan.writes.push(Write::create(&volume).with_event(told));
}

/// Why no folder can be what the claim asks for.
fn unfit(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let spec = claim.spec.as_ref()?;
    if spec.volume_mode.as_deref() == Some("Block") {
        return Some("block volume provisioning is not supported");
    }
    if spec.selector.is_some() {
        return Some("claim Selector is not supported");
    }
    (spec.data_source.is_some() || spec.data_source_ref.is_some())
        .then_some("data sources are not supported")
}

/// A new volume for a claim.
fn provisioned(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    seen: &Seen<'_>,
) -> PersistentVolume {
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default());
    let here = NodeSelectorTerm {
        match_expressions: Some(vec![NodeSelectorRequirement {
            key: "kubernetes.io/hostname".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![seen.node.to_owned()]),
        }]),
        ..NodeSelectorTerm::default()
    };
    let size = requested(claim).cloned().unwrap_or_default();
    PersistentVolume {
        spec: Some(PersistentVolumeSpec {
            access_modes: claim.spec.as_ref().and_then(|it| it.access_modes.clone()),
            capacity: Some(BTreeMap::from([(SIZE.to_owned(), size)])),
            claim_ref: Some(reference(claim)),
            local: Some(LocalVolumeSource {
                path: folder_of(seen.folder, &name).display().to_string(),
                fs_type: None,
            }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![here] }),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([(
                PROVISIONED_BY.to_owned(),
                PROVISIONER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        status: None,
    }
}

/// Where the data of a volume is that this platform made, in the folder of all.
pub fn folder_of(folder: &Path, volume: &str) -> PathBuf {
    folder.join(volume)
}

/// What to do about a volume. `claim` is the one of the name that the volume names; `is_cleared` says that its folder
/// is gone.
pub fn volume(
    volume: &PersistentVolume,
    claim: Option<&PersistentVolumeClaim>,
    is_cleared: bool,
    now: Timestamp,
) -> Plan<Removal> {
    let mut plan = Plan::about(volume);
    let Some(spec) = &volume.spec else { return plan };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let holder =
        spec.claim_ref.as_ref().filter(|it| it.uid.as_deref().is_some_and(|it| !it.is_empty()));
    let is_claimed = |claim: &PersistentVolumeClaim| {
        let named = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref());
        holder.is_some_and(|it| it.uid == claim.metadata.uid)
            && named.is_none_or(|it| it.is_empty() || it == name)
    };
    let deletes = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let is_foreign = annotation(&volume.metadata, PROVISIONED_BY).is_empty();
    let mut status = volume.status.clone().unwrap_or_default();
    let message = format!(
        "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
    );
    let (phase, message) = match holder {
        None => ("Available", None),
        Some(_) if claim.is_some_and(is_claimed) => ("Bound", None),
        Some(_) if deletes && is_foreign => ("Failed", Some(message)),
        Some(_) => ("Released", None),
    };
    if status.phase.as_deref() != Some(phase) {
        if let Some(message) = &message {
            plan.warn("VolumeFailedDelete", message);
        }
        status.last_phase_transition_time = Some(Time(whole_seconds(now)));
        status.phase = Some(phase.to_owned());
        status.message = message;
        plan.set_status(volume, volume.status.as_ref(), &status);
    }
    if let (Some(holder), "Released", true, true) = (holder, phase, deletes, is_own(volume)) {
        if !is_cleared {
            let text = |it: &Option<String>| it.clone().unwrap_or_default();
            plan.need.push(Removal {
                uid: text(&volume.metadata.uid),
                volume: name.to_owned(),
                claim: (text(&holder.namespace), text(&holder.name), text(&holder.uid)),
            });
            return plan;
        }
        if volume.metadata.deletion_timestamp.is_none() {
            plan.writes.push(Write::delete(volume));
            return plan;
        }
    }
    let left = without(&volume.metadata, VOLUME_PROTECTION);
    if let Some(left) = left.filter(|_| phase != "Bound")
        && volume.metadata.deletion_timestamp.is_some()
    {
        plan.writes.push(release(volume, left));
        plan.status = None;
    }
    plan
}

/// Whether a claim's data may be in use: by any pod that has, or may any moment have, a node.
fn is_used(claim: &PersistentVolumeClaim, pods: &[Arc<Pod>]) -> bool {
    let name = claim.metadata.name.as_deref();
    let is_kept_out = |pod: &Pod| {
        let has_node = pod.spec.as_ref().is_some_and(|it| it.node_name.is_some());
        let conditions = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
        let mut refused =
            conditions.filter(|it| it.type_ == "PodScheduled" && it.status == "False");
        !has_node && refused.next().is_some()
    };
    pods.iter().any(|pod| claims_of(pod).any(|it| Some(&*it) == name) && !is_kept_out(pod))
}

/// Whether a volume that is free is what the claim asks for.
fn is_match(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(spec), Some(asked)) = (&volume.spec, &claim.spec) else { return false };
    let mode = |it: &Option<String>| it.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let offers = |it: &String| spec.access_modes.iter().flatten().any(|mode| mode == it);
    let none = BTreeMap::new();
    let labels = volume.metadata.labels.as_ref().unwrap_or(&none);
    let selects =
        |it: &LabelSelector| *it == LabelSelector::default() || selector::matches(it, labels);
    spec.claim_ref.is_none()
        && volume.metadata.deletion_timestamp.is_none()
        && spec.storage_class_name.as_deref().unwrap_or_default()
            == asked.storage_class_name.as_deref().unwrap_or_default()
        && mode(&spec.volume_mode) == mode(&asked.volume_mode)
        && asked.access_modes.iter().flatten().all(offers)
        && asked.selector.as_ref().is_none_or(selects)
        && size(volume) >= wanted(claim)
}

fn hold(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Hold {
    let Some(of) = volume.spec.as_ref().and_then(|it| it.claim_ref.as_ref()) else {
        return Hold::Free;
    };
    let meta = &claim.metadata;
    if of.name != meta.name || of.namespace != meta.namespace {
        return Hold::Others;
    }
    match of.uid.as_deref().unwrap_or_default() {
        "" => Hold::Free,
        uid if Some(uid) == meta.uid.as_deref() => Hold::Its,
        _ => Hold::Others,
    }
}

/// Makes a volume the claim's, unless it has changed meanwhile.
fn take(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Write {
    let mut patch = json!({
        "metadata": {"resourceVersion": volume.metadata.resource_version},
        "spec": {"claimRef": reference(claim)},
    });
    if volume.spec.as_ref().is_some_and(|it| it.claim_ref.is_none()) {
        patch["metadata"]["annotations"] = json!({BOUND_BY: "yes"});
    }
    Write::merge(volume, &patch)
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference { field_path: None, ..runtime::plan::reference(claim) }
}

/// The claim's status with that phase, and what it has of a volume.
fn tell(
    plan: &mut Plan,
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) {
    let mut status = claim.status.clone().unwrap_or_default();
    status.phase = Some(phase.to_owned());
    if let Some(spec) = volume.and_then(|it| it.spec.as_ref()) {
        status.access_modes = spec.access_modes.clone();
        let size = spec.capacity.as_ref().and_then(|it| it.get(SIZE));
        status.capacity = size.map(|it| BTreeMap::from([(SIZE.to_owned(), it.clone())]));
    }
    plan.set_status(claim, claim.status.as_ref(), &status);
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default()
}

/// The finalizers without one of them; none where it is not among them.
fn without(meta: &ObjectMeta, finalizer: &str) -> Option<Vec<String>> {
    let all = meta.finalizers.as_ref().filter(|it| it.iter().any(|it| it == finalizer))?;
    Some(all.iter().filter(|it| *it != finalizer).cloned().collect())
}

fn release<K: runtime::cluster::Kind>(object: &K, left: Vec<String>) -> Write {
    let version: Value = json!(object.meta().resource_version);
    let patch = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
    Write::merge(object, &patch)
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get(SIZE)
}

fn wanted(claim: &PersistentVolumeClaim) -> Amount {
    amount(requested(claim))
}

fn size(volume: &PersistentVolume) -> Amount {
    amount(volume.spec.as_ref().and_then(|it| it.capacity.as_ref()?.get(SIZE)))
}

fn amount(quantity: Option<&Quantity>) -> Amount {
    quantity.and_then(|it| parse(&it.0).ok()).unwrap_or(Amount::ZERO)
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> &'a str {
    meta.annotations.as_ref().and_then(|it| it.get(name)).map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
