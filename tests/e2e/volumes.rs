//! Volumes: what outlives pods, parts of volumes, and whose their files are.

use std::{fs, time::Duration};

use anyhow::{Result, bail};
use serde_json::Value;
use tests::{eventually::eventually, machine::may_isolate, platform::Platform};

use super::{kubectl::with_shell, pods::prints, protocols::with_python};

/// The longest that a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn claim(name: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}{more}}}
"
    )
}

/// A pod that runs a script to its end with a claim at `/data`.
fn pod(name: &str, claim: &str, script: &str) -> String {
    let mounted = ", volumeMounts: [{name: data, mountPath: /data}]";
    let volumes = format!("[{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]");
    super::pods::script(name, script, mounted) + &format!("  volumes: {volumes}\n")
}

/// Waits until what kubectl prints has a text in it; runs of spaces count as one.
async fn shows(platform: &Platform, line: &str, wanted: &str) {
    eventually(PATIENCE, &format!("`kubectl {line}` shows {wanted}"), || async {
        let printed = platform.kubectl().run(line).await.result()?;
        let flat = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        if flat.contains(wanted) { Ok(()) } else { Err(printed) }
    })
    .await;
}

/// Waits until a pod's condition PodScheduled is False for that reason.
async fn waits(platform: &Platform, pod: &str, why: &str) {
    eventually(PATIENCE, &format!("{pod} waits: {why}"), || async {
        let found = platform.object(&format!("pod {pod}")).await?;
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let it =
            conditions.iter().find(|it| it["type"] == "PodScheduled" && it["status"] == "False");
        let message = it.and_then(|it| it["message"].as_str()).unwrap_or_default();
        if message == format!("0/1 nodes are available: {why}.") {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{}", found["status"]))
        }
    })
    .await;
}

/// The names of the folders that volumes have.
fn folders(platform: &Platform) -> Vec<String> {
    let entries = fs::read_dir(platform.data_dir().join("volumes")).into_iter().flatten().flatten();
    entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_claimed_outlives_pods_and_the_platform() {
    let mut platform = with_shell().await;
    let class = "standard (default) weft.dev/folder Delete Immediate true";
    shows(&platform, "get sc", class).await;
    let script = "echo kept > /data/file && echo written by $(id -u); sleep 1000";
    platform.apply(&(claim("data", "") + "---" + &pod("writer", "data", script))).await;
    shows(&platform, "get pvc data", "data Bound pvc-").await;
    shows(&platform, "get pvc data", " 1Gi RWO standard <unset> ").await;
    shows(&platform, "get pv", " 1Gi RWO Delete Bound default/data standard <unset> ").await;
    shows(&platform, "describe pvc data", "Successfully provisioned volume pvc-").await;
    if !may_isolate() {
        println!("no namespaces are allowed here: nothing can be mounted");
        return;
    }
    prints(&platform, "writer", "written by 65532").await;
    assert_eq!(folders(&platform).len(), 1);
    platform.kubectl().run("delete pod writer").await.ok();
    platform.stop().await;
    platform.up().await;
    platform.apply(&pod("reader", "data", "cat /data/file; sleep 1000")).await;
    prints(&platform, "reader", "kept").await;

    // As long as a pod uses it, it stays; no other pod may begin to.
    platform.kubectl().run("delete pvc data --wait=false").await.ok();
    shows(&platform, "get pvc data", "data Terminating pvc-").await;
    platform.apply(&pod("late", "data", "true")).await;
    waits(&platform, "late", "persistentvolumeclaim \"data\" is being deleted").await;
    assert_eq!(folders(&platform).len(), 1);
    platform.kubectl().run("delete pod reader").await.ok();
    waits(&platform, "late", "persistentvolumeclaim \"data\" not found").await;
    eventually(PATIENCE, "the volume goes with its folder", || async {
        let left = platform.kubectl().run("get pv -o name").await.result()?;
        let folders = folders(&platform);
        if left.is_empty() && folders.is_empty() {
            Ok(())
        } else {
            Err(format!("{left}{folders:?}"))
        }
    })
    .await;
    // It begins anew with the next claim of the name.
    platform.apply(&claim("data", "")).await;
    shows(&platform, "get pod late", "Completed").await;

    // A volume of a pod's own is claimed for it, and goes with it.
    let template = "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], \
                    resources: {requests: {storage: 1Mi}}}}}";
    let own = pod("owner", "none", "echo mine > /data/mine && cat /data/mine; sleep 1000");
    let own = own.replace("persistentVolumeClaim: {claimName: none}", template);
    platform.apply(&own).await;
    prints(&platform, "owner", "mine").await;
    shows(&platform, "get pvc owner-data", "owner-data Bound pvc-").await;
    platform.kubectl().run("delete pod owner").await.ok();
    platform.kubectl().run("wait --for=delete pvc/owner-data --timeout=60s").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_wait_for_what_they_claim_and_say_so() {
    let platform = with_shell().await;
    platform.apply(&pod("early", "later", "echo begun")).await;
    waits(&platform, "early", "persistentvolumeclaim \"later\" not found").await;
    shows(&platform, "describe pod early", "FailedScheduling").await;
    platform.apply(&claim("later", ", storageClassName: fast")).await;
    waits(&platform, "early", "pod has unbound immediate PersistentVolumeClaims").await;
    shows(&platform, "get pvc later", "later Pending fast").await;
    let why = "storageclass.storage.k8s.io \"fast\" not found";
    shows(&platform, "describe pvc later", why).await;
    let class = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, \
                 provisioner: weft.dev/folder, volumeBindingMode: WaitForFirstConsumer}";
    platform.apply(class).await;
    prints(&platform, "early", "begun").await;
    shows(&platform, "get pvc later", "later Bound pvc-").await;
    // What nobody wants yet waits for somebody.
    platform.apply(&claim("unwanted", ", storageClassName: fast")).await;
    let why = "waiting for first consumer to be created before binding";
    shows(&platform, "describe pvc unwanted", why).await;

    // A claim may ask for more later, if its class allows it, and for nothing else.
    let kubectl = platform.kubectl();
    let grow = "patch pvc later -p {\"spec\":{\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}";
    let refused = kubectl.run(grow).await.err();
    let why = "persistentvolumeclaims \"later\" is forbidden: only dynamically provisioned pvc can be resized";
    assert!(refused.contains(why), "{refused}");
    kubectl.run("patch sc fast -p {\"allowVolumeExpansion\":true}").await.ok();
    kubectl.run(grow).await.ok();
    shows(&platform, "get pvc later", " 2Gi RWO fast").await;
    let shrunk = kubectl.run(&grow.replace("2Gi", "1Gi")).await.err();
    assert!(shrunk.contains("field can not be less than status.capacity"), "{shrunk}");
    let changed = "patch pvc later -p {\"spec\":{\"accessModes\":[\"ReadWriteMany\"]}}";
    let changed = kubectl.run(changed).await.err();
    assert!(changed.contains("spec is immutable after creation"), "{changed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_volume_is_bound_and_kept() {
    let platform = with_shell().await;
    let place = platform.home().join("disk");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("file"), "from the machine\n").unwrap();
    let volume = format!(
        "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: disk}}, spec: {{storageClassName: manual, \
          capacity: {{storage: 5Gi}}, accessModes: [ReadWriteOnce], hostPath: {{path: {}}}}}}}",
        place.display()
    );
    platform.apply(&volume).await;
    shows(&platform, "get pv disk", "disk 5Gi RWO Retain Available manual").await;
    platform.apply(&claim("mine", ", storageClassName: manual")).await;
    shows(&platform, "get pvc mine", "mine Bound disk 5Gi RWO manual").await;
    if may_isolate() {
        platform.apply(&pod("reader", "mine", "cat /data/file")).await;
        prints(&platform, "reader", "from the machine").await;
        platform.kubectl().run("delete pod reader").await.ok();
    }
    platform.kubectl().run("delete pvc mine").await.ok();
    shows(&platform, "get pv disk", "disk 5Gi RWO Retain Released default/mine manual").await;
    assert!(place.join("file").exists());
}

/// One container of each case of [`parts_and_owners`]; the volumes are of every kind that containers write to or read.
const PARTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {one: "1", two: "2"}
---
apiVersion: v1
kind: Pod
metadata: {name: parts}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4321}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: settings, configMap: {name: settings, defaultMode: 0400}}
  - {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}
  containers:
  - name: main
    image: dev.local/sh
    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    args:
    - -c
    - |
      echo a > /scratch/a && echo b > /data/b && echo c > /whole/by-$WHO/c && echo groups $(id -G)
      echo file $(cat /one) $(cat /settings/two)
      echo d 2>/dev/null > /settings/d || echo sealed
      echo e 2>/dev/null > /read/e || echo read $(cat /read/b)
      stat -c "%n %g %a" /scratch /scratch/a /data /whole /data/b /settings/two -L
      stat -L -c "%n %u %g %a" /token/token
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: data, mountPath: /data, subPath: deep/part}
    - {name: data, mountPath: /read, subPath: deep/part, readOnly: true}
    - {name: data, mountPath: /whole}
    - {name: data, mountPath: /own, subPathExpr: by-$(WHO)}
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /one, subPath: one}
    - {name: token, mountPath: /token}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_volumes_and_whose_they_are() {
    if !may_isolate() {
        println!("no namespaces are allowed here: nothing can be mounted");
        return;
    }
    let platform = with_shell().await;
    platform.apply(&(claim("data", "") + "---" + PARTS)).await;
    for wanted in [
        "groups 65532 4321",
        "file 1 2",
        "sealed",
        "read b",
        "/scratch 4321 2777\n/scratch/a 4321 644\n/data 4321 2777\n/whole 4321 2777\n/data/b 4321 644\n",
        "/settings/two 4321 440\n",
        "/token/token 0 4321 640\n",
    ] {
        prints(&platform, "parts", wanted).await;
    }
    // The next pod with that group finds its files given to it as well, also those of others.
    let next = pod("next", "data", "stat -c \"%n %g %a\" /data/deep/part/b")
        .replace("spec:\n", "spec:\n  securityContext: {fsGroup: 5432}\n");
    platform.apply(&next).await;
    prints(&platform, "next", "/data/deep/part/b 5432 664").await;

    let bad = |name: &str, part: &str, script: &str| {
        let mount = format!("mountPath: /part, {part}}}, {{name: data, mountPath: /data}}]");
        pod(name, "data", script).replace("mountPath: /data}]", &mount)
    };
    platform.apply(&pod("linker", "data", "ln -s /etc /data/out && echo linked")).await;
    prints(&platform, "linker", "linked").await;
    for (name, part, why) in [
        ("unknown", "subPathExpr: $(NONE)", "missing value for NONE"),
        (
            "escaping",
            "subPath: out/ssl",
            "failed to prepare subPath for volumeMount \"data\" of container \"main\"",
        ),
    ] {
        platform.apply(&bad(name, part, "true")).await;
        eventually(PATIENCE, &format!("{name} says why"), || async {
            let found = platform.object(&format!("pod {name}")).await?;
            let waiting = &found["status"]["containerStatuses"][0]["state"]["waiting"];
            let told = ["reason", "message"].map(|it| waiting[it].as_str().unwrap_or_default());
            if told == ["CreateContainerConfigError", why] { Ok(()) } else { bail!("{waiting}") }
        })
        .await;
    }
    let refused = platform.kubectl().run_with("apply -f -", &bad("up", "subPath: ../up", "")).await;
    let refused = refused.err();
    assert!(refused.contains("must not contain '..'"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_a_claim_when_its_operators_allow_it() {
    let platform = with_shell().await;
    with_python(&platform);
    let service = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: files}
spec:
  template:
    spec:
      securityContext: {fsGroup: 65532}
      volumes: [{name: data, persistentVolumeClaim: {claimName: data, readOnly: false}}]
      containers:
      - image: dev.local/python
        args: [-m, http.server, '8080', --directory, /data/public]
        volumeMounts: [{name: data, mountPath: /data}]
";
    let refused = platform.kubectl().run_with("apply -f -", service).await.err();
    let why = "Persistent volume claim support is disabled, but found persistent volume claim data";
    assert!(refused.contains(why), "{refused}");
    let features = ["persistent-volume-claim", "persistent-volume-write", "securitycontext"]
        .map(|it| format!("\"kubernetes.podspec-{it}\":\"enabled\""))
        .join(",");
    let patch = format!("{{\"data\":{{{features}}}}}");
    let words = ["patch", "configmap", "config-features", "-n", "knative-serving", "-p", &patch];
    platform.kubectl().run_words(&words, "").await.ok();
    // The change takes effect a moment later.
    eventually(PATIENCE, "the Service is taken", || async {
        platform.kubectl().run_with("apply -f -", service).await.result().map(drop)
    })
    .await;
    let why = "persistentvolumeclaim \"data\" not found";
    eventually(PATIENCE, "the revision says what is missing", || async {
        let found: Result<Value> = platform.object("revision files-00001").await;
        let text = found?["status"]["conditions"].to_string();
        if text.contains(&why.replace('"', "\\\"")) { Ok(()) } else { bail!("{text}") }
    })
    .await;
    platform.apply(&claim("data", "")).await;
    if !may_isolate() {
        println!("no namespaces are allowed here: nothing can be mounted");
        return;
    }
    let script = "mkdir -p /data/public; echo kept > /data/public/file; echo written";
    platform.apply(&pod("writer", "data", script)).await;
    prints(&platform, "writer", "written").await;
    platform.ready("files").await;
    let host = platform.host("files").await;
    let text = platform.get(&host, "/file").await.unwrap().ok().unwrap();
    assert_eq!(text, "kept\n");
}
