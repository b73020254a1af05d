//! Tables of claims and volumes, and what is done about them.

use serde::de::DeserializeOwned;

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A claim of the standard class, with more or other fields.
fn claim_with(more: Value) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": {"name": "data", "namespace": "ns", "uid": "u-1", "annotations": {WANTED_OF: PROVISIONER},
            "finalizers": [CLAIM_PROTECTION]},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    read(merged(claim, more))
}

/// A volume of 2 GiB of an administrator's, with more or other fields.
fn volume_with(name: &str, more: Value) -> PersistentVolume {
    let volume = json!({
        "metadata": {"name": name, "uid": format!("u-{name}")},
        "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "2Gi"},
            "storageClassName": "manual", "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    read(merged(volume, more))
}

fn merged(mut value: Value, patch: Value) -> Value {
    match (&mut value, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (name, patch) in patch {
                let before = fields.remove(&name).unwrap_or(Value::Null);
                fields.insert(name, merged(before, patch));
            }
            value
        }
        (_, patch) => patch,
    }
}

fn classes() -> Vec<Arc<StorageClass>> {
    let class = |name: &str, more: Value| {
        let class = json!({"metadata": {"name": name}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete"});
        Arc::new(read(merged(class, more)))
    };
    let mut standard = standard_class();
    standard.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    vec![
        Arc::new(standard),
        class("late", json!({"volumeBindingMode": "WaitForFirstConsumer"})),
        class("foreign", json!({"provisioner": "example.com/disk"})),
    ]
}

/// Each write and event of a plan in one line.
fn lines<N>(plan: &Plan<N>) -> Vec<String> {
    let event = |it: &runtime::plan::Event| {
        format!("{} {}: {}", if it.warning { "!" } else { "·" }, it.reason, it.message)
    };
    let write = |it: &Write| {
        let (verb, body) = (it.verb, &it.body);
        let told = it.event.as_ref().map(|it| format!(" {}", it.reason)).unwrap_or_default();
        format!("{verb:?} {} {body}{told}", it.key)
    };
    plan.writes.iter().chain(&plan.status).map(write).chain(plan.events.iter().map(event)).collect()
}

#[track_caller]
fn check(
    of: &PersistentVolumeClaim,
    volumes: Vec<PersistentVolume>,
    pods: &[Value],
    expected: &[&str],
) {
    let volumes: Vec<_> = volumes.into_iter().map(Arc::new).collect();
    let pods: Vec<_> = pods.iter().map(|it| Arc::new(read(it.clone()))).collect();
    let seen = Seen {
        volumes: &volumes,
        classes: &classes(),
        pods: &pods,
        node: "n",
        folder: Path::new("/data/volumes"),
    };
    let found = lines(&claim(of, &seen));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found} is not {expected}");
    }
}

#[test]
fn claims_of_our_classes_get_new_volumes() {
    let new = concat!(
        r#"Create pvc-u-1 {"apiVersion":"v1","kind":"PersistentVolume","metadata":{"annotations":"#,
        r#"{"pv.kubernetes.io/provisioned-by":"weft.dev/folder"},"name":"pvc-u-1"},"spec":{"accessModes":["ReadWriteOnce"],"#,
        r#""capacity":{"storage":"1Gi"},"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"data","#,
        r#""namespace":"ns","uid":"u-1"},"local":{"path":"/data/volumes/pvc-u-1"},"nodeAffinity":{"required":"#,
        r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["n"]}]}]}},"#,
        r#""persistentVolumeReclaimPolicy":"Delete","storageClassName":"standard","volumeMode":"Filesystem"}} ProvisioningSucceeded"#,
    );
    check(&claim_with(json!({})), vec![], &[], &[new]);
    let nameless = json!({"spec": {"storageClassName": null}});
    let named = r#"Merge ns/data {"spec":{"storageClassName":"standard"}}"#;
    check(&claim_with(nameless), vec![], &[], &[named]);
    let unmarked = json!({"metadata": {"annotations": null}});
    check(
        &claim_with(unmarked),
        vec![],
        &[],
        &[r#"{"annotations":{"volume.kubernetes.io/storage-provisioner":"weft.dev/folder"}}"#],
    );

    let late = json!({"spec": {"storageClassName": "late"}});
    let waits = "· WaitForFirstConsumer: waiting for first consumer to be created before binding";
    check(&claim_with(late.clone()), vec![], &[], &[waits]);
    let told = merged(late, json!({"metadata": {"annotations": {SELECTED_NODE: "n"}}}));
    check(&claim_with(told), vec![], &[], &["Create pvc-u-1"]);

    // Made before, then the claim is told of it, then tells of it itself.
    let made = || {
        volume_with(
            "pvc-u-1",
            json!({
                "metadata": {"annotations": {PROVISIONED_BY: PROVISIONER}},
                "spec": {"storageClassName": "standard", "capacity": {"storage": "1Gi"},
                    "claimRef": {"name": "data", "namespace": "ns", "uid": "u-1"}},
            }),
        )
    };
    check(&claim_with(json!({})), vec![made()], &[], &[r#""spec":{"volumeName":"pvc-u-1"}"#]);
    let bound = json!({
        "metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "pvc-u-1"},
    });
    let status = concat!(
        r#"MergeStatus ns/data {"status":{"accessModes":["ReadWriteOnce","ReadOnlyMany"],"#,
        r#""capacity":{"storage":"1Gi"},"phase":"Bound"}}"#
    );
    check(&claim_with(bound.clone()), vec![made()], &[], &[status]);
    let told = merged(
        bound.clone(),
        json!({"status": {
            "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        }}),
    );
    check(&claim_with(told.clone()), vec![made()], &[], &[]);
    let more =
        merged(told.clone(), json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}));
    let grown = r#"Merge pvc-u-1 {"spec":{"capacity":{"storage":"3Gi"}}}"#;
    check(&claim_with(more), vec![made()], &[], &[grown]);
    check(
        &claim_with(told),
        vec![],
        &[],
        &[r#"{"status":{"phase":"Lost"}}"#, "! ClaimLost: Bound claim has lost"],
    );
}

#[test]
fn claims_say_why_they_wait() {
    let class = |name: &str| claim_with(json!({"spec": {"storageClassName": name}}));
    check(
        &class("nothing"),
        vec![],
        &[],
        &["! ProvisioningFailed: storageclass.storage.k8s.io \"nothing\" not found"],
    );
    let none = "· FailedBinding: no persistent volumes available for this claim and no storage class is set";
    check(&class(""), vec![], &[], &[none]);
    check(
        &class("foreign"),
        vec![],
        &[],
        &[r#"{"annotations":{"volume.kubernetes.io/storage-provisioner":"example.com/disk"}}"#],
    );
    let asked = json!({
        "metadata": {"annotations": {WANTED_OF: "example.com/disk"}},
        "spec": {"storageClassName": "foreign"},
    });
    let waits = "· ExternalProvisioning: Waiting for a volume to be created either by the external provisioner \
                 'example.com/disk' or manually by the system administrator.";
    check(&claim_with(asked), vec![], &[], &[waits]);
    let block = json!({"spec": {"volumeMode": "Block"}});
    let why = "! ProvisioningFailed: failed to provision volume with StorageClass \"standard\": block volume";
    check(&claim_with(block), vec![], &[], &[why]);
    let taken = volume_with("a", json!({"spec": {"claimRef": {"name": "x", "namespace": "ns"}}}));
    let named = claim_with(json!({"spec": {"volumeName": "a"}}));
    let why = "! FailedBinding: volume \"a\" already bound to a different claim.";
    check(&named, vec![taken], &[], &[why]);
    check(&named, vec![], &[], &[]);
}

#[test]
fn claims_take_what_an_administrator_made() {
    let manual =
        |more: Value| claim_with(merged(json!({"spec": {"storageClassName": "manual"}}), more));
    let sized = |name: &str, size: &str| {
        volume_with(name, json!({"spec": {"capacity": {"storage": size}}}))
    };
    let (take_b, name_b) = (
        r#"Merge b {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":null},"spec":{"claimRef":{"apiVersion":"v1""#,
        r#""spec":{"volumeName":"b"}"#,
    );
    let three = || vec![sized("a", "5Gi"), sized("b", "1Gi"), sized("c", "1023Mi")];
    check(&manual(json!({})), three(), &[], &[take_b, name_b]);
    let missing = &["! ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found"];
    let check_misfit = |claim: Value, volume: Value| {
        check(&manual(claim), vec![volume_with("b", volume)], &[], missing);
    };
    check_misfit(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), json!({}));
    check_misfit(json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}), json!({}));
    check_misfit(json!({}), json!({"spec": {"volumeMode": "Block"}}));
    check_misfit(json!({}), json!({"spec": {"storageClassName": "other"}}));
    check_misfit(json!({}), json!({"spec": {"claimRef": {"name": "x", "namespace": "ns"}}}));
    let selector = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}});
    check_misfit(selector.clone(), json!({}));
    let labelled = volume_with("b", json!({"metadata": {"labels": {"a": "b"}}}));
    check(&manual(selector), vec![labelled], &[], &[take_b, name_b]);
    // Kept for it, whatever else it is.
    let kept = volume_with(
        "b",
        json!({"spec": {"storageClassName": "x", "claimRef": {"name": "data", "namespace": "ns"}}}),
    );
    let take =
        r#"Merge b {"metadata":{"resourceVersion":null},"spec":{"claimRef":{"apiVersion":"v1""#;
    check(&manual(json!({})), vec![kept], &[], &[take, name_b]);
}

#[test]
fn claims_stay_while_pods_use_them() {
    let going = claim_with(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let pod = |claim: &str, node: Option<&str>, refused: bool| {
        let status = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
        json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": node, "containers": [],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
            "status": if refused { status } else { json!({}) },
        })
    };
    let gone = r#"Merge ns/data {"metadata":{"finalizers":[],"resourceVersion":null}}"#;
    check(&going, vec![], &[], &[gone]);
    check(&going, vec![], &[pod("other", Some("n"), false)], &[gone]);
    check(&going, vec![], &[pod("data", Some("n"), false)], &[]);
    check(&going, vec![], &[pod("data", None, false)], &[]);
    check(&going, vec![], &[pod("data", None, true)], &[gone]);
}

#[test]
fn volumes_go_when_nobody_claims_them() {
    let of = json!({"claimRef": {"name": "data", "namespace": "ns", "uid": "u-1"}});
    let policy =
        |policy: &str| merged(of.clone(), json!({"persistentVolumeReclaimPolicy": policy}));
    let own =
        json!({"annotations": {PROVISIONED_BY: PROVISIONER}, "finalizers": [VOLUME_PROTECTION]});
    let at = "2026-01-01T00:00:00Z";
    let deleted = json!({"deletionTimestamp": at, "finalizers": [VOLUME_PROTECTION]});
    let check = |metadata: &Value,
                 spec: Value,
                 phase: &str,
                 claimed: bool,
                 is_cleared,
                 expected: &[&str]| {
        let it = json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}});
        let claim = claim_with(json!({"spec": {"volumeName": "v"}}));
        let claim = claimed.then_some(&claim);
        let plan = volume(&volume_with("v", it), claim, is_cleared, Timestamp::UNIX_EPOCH);
        let mut found = lines(&plan);
        found.extend(plan.need.iter().map(|it| format!("remove {} of {:?}", it.volume, it.claim)));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} is not {expected}");
        }
    };
    let none = json!({});
    check(&none, json!({}), "Pending", false, false, &[r#""phase":"Available""#]);
    let kept = json!({"claimRef": {"name": "data", "namespace": "ns"}});
    check(&none, kept, "Available", true, false, &[]);
    check(
        &none,
        of.clone(),
        "Available",
        true,
        false,
        &[r#"{"status":{"lastPhaseTransitionTime":"1970-01-01T00:00:00Z","phase":"Bound"}}"#],
    );
    let other = json!({"claimRef": {"name": "data", "namespace": "ns", "uid": "u-2"}});
    check(&none, other, "Bound", true, false, &[r#""phase":"Released""#]);
    check(&own, policy("Retain"), "Released", false, false, &[]);
    let removal = r#"remove v of ("ns", "data", "u-1")"#;
    check(&own, policy("Delete"), "Bound", true, false, &[]);
    check(&own, policy("Delete"), "Bound", false, false, &[r#""phase":"Released""#, removal]);
    check(&own, policy("Delete"), "Released", false, true, &["Delete v "]);
    let going = merged(own.clone(), deleted.clone());
    check(&going, policy("Delete"), "Bound", true, false, &[]);
    check(&going, policy("Delete"), "Released", false, false, &[removal]);
    check(&going, policy("Delete"), "Released", false, true, &[r#"{"finalizers":[]"#]);
    check(&deleted, json!({}), "Available", false, false, &[r#"{"finalizers":[]"#]);
    // What others made is for others to take away.
    let foreign = json!({"annotations": {PROVISIONED_BY: "example.com/disk"}});
    check(&foreign, policy("Delete"), "Released", false, false, &[]);
    let why =
        "! VolumeFailedDelete: error getting deleter volume plugin for volume \"v\": no deletable";
    check(&none, policy("Delete"), "Bound", false, false, &[r#""phase":"Failed""#, why]);
}

#[test]
fn pods_get_claims_of_their_own() {
    let asked = |more: Value| {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u-p"},
            "spec": {"containers": [], "volumes": [
                {"name": "own", "ephemeral": {"volumeClaimTemplate": template}},
                {"name": "other", "persistentVolumeClaim": {"claimName": "x"}},
            ]},
        });
        read::<Pod>(merged(pod, more))
    };
    let new = concat!(
        r#"Create ns/p-own {"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"labels":{"a":"b"},"name":"p-own","#,
        r#""namespace":"ns","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Pod","#,
        r#""name":"p","uid":"u-p"}]},"spec":{"accessModes":["ReadWriteOnce"]}}"#
    );
    assert_eq!(lines(&pod(&asked(json!({})), |_| false)), [new]);
    assert_eq!(lines(&pod(&asked(json!({})), |name| name == "p-own")), [""; 0]);
    assert_eq!(lines(&pod(&asked(json!({"status": {"phase": "Failed"}})), |_| false)), [""; 0]);
    let asked = asked(json!({}));
    assert_eq!(claims_of(&asked).collect::<Vec<_>>(), ["p-own", "x"]);
    let mut claim = claim_with(json!({"metadata": {"name": "p-own"}}));
    let why = "PVC \"ns/p-own\" was not created for pod \"ns/p\" (pod is not the owner)";
    assert_eq!(not_made_for(&asked, &claim).as_deref(), Some(why));
    claim.metadata.owner_references = Some(vec![runtime::plan::owner(&asked)]);
    assert_eq!(not_made_for(&asked, &claim), None);
}
