//! Whether what a pod claims is there for it, and why it is not.
//!
//! Pure: from a pod, the claims and volumes, and the node.
//! Source: kubernetes `pkg/scheduler/framework/plugins/volumebinding`, `volumerestrictions`.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};

use crate::{
    node::room::is_chosen,
    storage::plan::{self, SELECTED_NODE, claims_of},
};

/// Where claims and volumes are found by name.
pub struct Around<'a> {
    /// A claim of the pod's namespace.
    pub claim: &'a dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
    /// A volume.
    pub volume: &'a dyn Fn(&str) -> Option<Arc<PersistentVolume>>,
    /// A class.
    pub class: &'a dyn Fn(&str) -> Option<Arc<StorageClass>>,
    /// Whether another pod on the node uses a claim of the pod's namespace.
    pub is_taken: &'a dyn Fn(&str) -> bool,
}

/// What keeps a pod from being on the node.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Ready,
    /// Somebody has to do something; it says what.
    Refused(String),
    /// Its volumes are on the way; those of the given claims once they know that it will be here.
    Coming(Vec<String>),
}

/// Whether the pod can have what it claims, on that node.
pub fn verdict(pod: &Pod, node: &Node, around: &Around<'_>) -> Verdict {
    let mut coming = None;
    for name in claims_of(pod) {
        match one(&name, pod, node, around) {
            Ok(None) => {}
            Ok(Some(asked)) => coming.get_or_insert_with(Vec::new).extend(asked),
            Err(why) => {
                return Verdict::Refused(format!("0/1 nodes are available: {why}."));
            }
        }
    }
    coming.map_or(Verdict::Ready, Verdict::Coming)
}

/// One claim: none when its volume can be used, else the names of claims that are to be told of the pod.
fn one(
    name: &str,
    pod: &Pod,
    node: &Node,
    around: &Around<'_>,
) -> Result<Option<Option<String>>, String> {
    let is_own = plan::is_own_claim(pod, name);
    let Some(claim) = (around.claim)(name) else {
        if is_own {
            return Ok(Some(None));
        }
        return Err(format!("persistentvolumeclaim \"{name}\" not found"));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    if let Some(why) = plan::not_made_for(pod, &claim).filter(|_| is_own) {
        return Err(why);
    }
    let spec = claim.spec.clone().unwrap_or_default();
    let volume = spec.volume_name.unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
    if phase == "Lost" {
        let message = format!(
            "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
        );
        return Err(message);
    }
    if phase == "Bound" {
        let Some(volume) = (around.volume)(&volume) else {
            let message =
                "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
            return Err(message.to_owned());
        };
        let wanted = volume.spec.as_ref().and_then(|it| it.node_affinity.as_ref());
        let wanted = wanted.and_then(|it| it.required.as_ref());
        if wanted.is_some_and(|it| !is_chosen(it, node)) {
            return Err("1 node(s) had volume node affinity conflict".to_owned());
        }
        let mut modes = spec.access_modes.iter().flatten();
        if modes.any(|it| it == "ReadWriteOncePod") && (around.is_taken)(name) {
            let message = "1 node has pod using PersistentVolumeClaim with the same name and \
                           ReadWriteOncePod access mode";
            return Err(message.to_owned());
        }
        return Ok(None);
    }
    let class = spec.storage_class_name.as_deref().and_then(|it| (around.class)(it));
    match class {
        Some(class) if plan::is_delayed(&class) => {
            let annotations = claim.metadata.annotations.as_ref();
            let is_told = annotations.is_some_and(|it| it.contains_key(SELECTED_NODE));
            Ok(Some((!is_told).then(|| name.to_owned())))
        }
        Some(class) if plan::is_coming(&claim, &class) => Ok(Some(None)),
        _ => Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[track_caller]
    fn check(claim: Option<Value>, expected: Verdict) {
        let claim = claim.map(read::<PersistentVolumeClaim>);
        let pod: Arc<Pod> =
            read(json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [
                {"name": "none", "emptyDir": {}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
            ]}}));
        let node: Arc<Node> =
            read(json!({"metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n"}}}));
        let volume = |name: &str| {
            let at = |host: &str| {
                json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]},
                ]}]}})
            };
            let affinity = if name == "far" { at("elsewhere") } else { at("n") };
            (name != "none").then(|| {
                read(json!({"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}}))
            })
        };
        let class = |name: &str| {
            let mode = if name == "late" { "WaitForFirstConsumer" } else { "Immediate" };
            let provisioner = if name == "other" { "example.com/x" } else { plan::PROVISIONER };
            let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
            (name != "none").then(|| read(class))
        };
        let around = Around {
            claim: &|_| claim.clone(),
            volume: &volume,
            class: &class,
            is_taken: &|_| true,
        };
        assert_eq!(verdict(&pod, &node, &around), expected);
    }

    fn refused(why: &str) -> Verdict {
        Verdict::Refused(format!("0/1 nodes are available: {why}."))
    }

    #[test]
    fn pods_wait_for_what_they_claim() {
        let bound = |volume: &str, mode: &str| {
            Some(json!({
                "metadata": {"name": "c"}, "status": {"phase": "Bound"},
                "spec": {"volumeName": volume, "accessModes": [mode]},
            }))
        };
        check(bound("near", "ReadWriteOnce"), Verdict::Ready);
        check(
            bound("near", "ReadWriteOncePod"),
            refused(
                "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
        );
        check(
            bound("far", "ReadWriteOnce"),
            refused("1 node(s) had volume node affinity conflict"),
        );
        check(
            bound("none", "ReadWriteOnce"),
            refused("1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        );
        check(None, refused("persistentvolumeclaim \"c\" not found"));
        let at = "2026-01-01T00:00:00Z";
        let going = json!({"metadata": {"name": "c", "deletionTimestamp": at}, "status": {"phase": "Bound"}});
        check(Some(going), refused("persistentvolumeclaim \"c\" is being deleted"));
        let lost = json!({"metadata": {"name": "c"}, "spec": {"volumeName": "v"}, "status": {"phase": "Lost"}});
        let why = "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"";
        check(Some(lost), refused(why));

        let pending = |class: Option<&str>, annotations: Value| {
            Some(json!({
                "metadata": {"name": "c", "annotations": annotations},
                "spec": {"storageClassName": class}, "status": {"phase": "Pending"},
            }))
        };
        let none = || Value::Null;
        let unbound = || refused("pod has unbound immediate PersistentVolumeClaims");
        check(pending(None, none()), unbound());
        check(pending(Some("none"), none()), unbound());
        check(pending(Some("other"), none()), unbound());
        check(pending(Some("ours"), none()), Verdict::Coming(Vec::new()));
        check(pending(Some("late"), none()), Verdict::Coming(vec!["c".to_owned()]));
        let told = json!({SELECTED_NODE: "n"});
        check(pending(Some("late"), told), Verdict::Coming(Vec::new()));
    }
}
