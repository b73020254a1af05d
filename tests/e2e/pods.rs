//! What a pod is on this machine: its network, its name service, its user, its limits.

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;

use serde_json::Value;
use tests::{
    eventually::eventually,
    machine::may_isolate,
    platform::{Platform, Settings},
};

/// Two pods that both bind port 8080 of all addresses.
const TWINS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: twins}
spec:
  replicas: 2
  selector: {matchLabels: {app: twins}}
  template:
    metadata: {labels: {app: twins}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: weft.dev/samples/hello
        env: [{name: PORT, value: '8080'}]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
";

/// A Service that is at zero from the beginning.
const SLEEPER: &str = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/initial-scale: '0'}}
    spec:
      containers:
      - {image: weft.dev/samples/hello}
";

/// A pod that runs a shell script to its end; the rest goes into its container.
pub fn script(name: &str, script: &str, rest: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: dev.local/sh, args: [-c, '{script}']{rest}}}
"
    )
}

/// Waits until a pod has printed a text.
pub async fn prints(platform: &Platform, pod: &str, wanted: &str) {
    eventually(Duration::from_secs(60), &format!("{pod} prints {wanted}"), || async {
        let text = platform.kubectl().run(&format!("logs {pod}")).await.result()?;
        if text.contains(wanted) { Ok(()) } else { Err(format!("it printed {text:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_has_a_network_of_its_own_where_the_machine_allows_it() {
    let platform = super::kubectl::with_shell().await;
    if !may_isolate() {
        // Pods then share the machine's network, which is what `ordinary` tests as such a user.
        assert!(platform.log().contains("share this machine's network"), "{}", platform.log());
        return;
    }
    platform.apply(TWINS).await;
    platform.kubectl().run("rollout status deployment/twins --timeout=60s").await.ok();
    let pods = platform.object("pods -l app=twins").await.unwrap();
    let ip = |it: &Value| it["status"]["podIP"].as_str().map(str::to_owned);
    let ips: BTreeSet<_> = pods["items"].as_array().unwrap().iter().filter_map(ip).collect();
    assert_eq!(ips.len(), 2, "{ips:?}");
    for (at, ip) in ips.iter().enumerate() {
        let name = format!("twin-{at}");
        platform.apply(&script(&name, &format!("curl -sS http://{ip}:8080"), "")).await;
        prints(&platform, &name, "Hello World!").await;
    }

    // A service at zero wakes up when a pod calls its name.
    platform.apply(SLEEPER).await;
    platform.ready("hello").await;
    assert_eq!(platform.pods("hello").await.unwrap(), [""; 0]);
    for (name, host) in [("whole", "hello.default.svc.cluster.local"), ("short", "hello.default")] {
        let line = format!("curl -sS --max-time 30 http://{host}");
        platform.apply(&script(name, &line, "")).await;
        prints(&platform, name, "Hello World!").await;
    }
    assert_ne!(platform.pods("hello").await.unwrap(), [""; 0]);

    // At zero a revision's own name leads to the activator, which holds the request.
    platform.at_zero("hello").await;
    let addresses = async |what: &str| {
        let endpoints = platform.object(&format!("endpoints {what}")).await.unwrap();
        let ip = |it: &Value| it["ip"].as_str().map(str::to_owned);
        let all = endpoints["subsets"][0]["addresses"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(ip).collect::<Vec<_>>()
    };
    let activators = addresses("activator-service -n knative-serving").await;
    assert_eq!(activators.len(), 1);
    assert_eq!(addresses("hello-00001").await, activators);
    let line = "curl -sS --max-time 30 http://hello-00001.default.svc.cluster.local";
    platform.apply(&script("own", line, "")).await;
    prints(&platform, "own", "Hello World!").await;
    // Names of the machine are known too, and a host of another pod's is not this one's.
    platform.apply(&script("names", "hostname; getent hosts localhost", "")).await;
    prints(&platform, "names", "names\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_run_as_whom_they_ask_for_within_their_limits() {
    let platform = super::kubectl::with_shell().await;
    if rustix::process::geteuid().is_root() {
        let rest = ", securityContext: {runAsUser: 1234, runAsGroup: 2345}";
        platform.apply(&script("other", "echo $(id -u) $(id -g) $(id -G)", rest)).await;
        prints(&platform, "other", "1234 2345 2345\n").await;
    } else {
        // Who runs the platform runs its pods.
        platform.apply(&script("own", "echo user $(id -u)", "")).await;
        let own = rustix::process::geteuid().as_raw();
        prints(&platform, "own", &format!("user {own}\n")).await;
    }

    // `tail` keeps all of an endless line.
    let rest = ", resources: {limits: {memory: 48Mi}}";
    platform.apply(&script("hungry", "sleep 0.5; exec tail /dev/zero", rest)).await;
    if platform.log().contains("limits on memory are not enforced")
        || platform.log().contains("limits on CPU and memory are not enforced")
    {
        println!("no limits on memory here, and the platform says so");
        platform.kubectl().run("delete pod hungry").await.ok();
        return;
    }
    eventually(Duration::from_secs(60), "the pod has run out of memory", || async {
        let pod = platform.object("pod hungry").await?;
        let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        if (&state["reason"], &state["exitCode"]) != (&"OOMKilled".into(), &137.into()) {
            bail!("{}", pod["status"]);
        }
        anyhow::Ok(())
    })
    .await;
    let row = platform.kubectl().run("get pod hungry --no-headers").await.ok();
    assert!(row.contains("OOMKilled"), "{row}");

    if may_isolate() {
        let line = "cat $(ls /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)";
        platform.apply(&script("limited", line, rest)).await;
        prints(&platform, "limited", &format!("{}\n", 48 << 20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_have_devices_of_their_own() {
    let platform = super::kubectl::with_shell().await;
    if !may_isolate() {
        // They have the machine's then, as the platform says of all that pods share.
        assert!(platform.log().contains("share this machine's network"), "{}", platform.log());
        return;
    }
    let lines = [
        "echo devices $(ls -I tty -I random /dev)",
        "readlink /dev/fd /dev/stdout",
        "echo a > /dev/shm/a && cat /dev/shm/a && echo b > /dev/null && head -c 3 /dev/zero | wc -c",
        "echo x > /dev/mine || echo sealed",
        "echo settings of the kernel: $(grep \" /proc/sys \" /proc/mounts | cut -d \" \" -f 4)",
    ];
    platform.apply(&script("mine", &lines.join("; "), "")).await;
    let devices = "fd full null ptmx pts shm stderr stdin stdout termination-log urandom zero";
    let wanted = format!("devices {devices}\n/proc/self/fd\n/proc/self/fd/1\na\n3\n");
    prints(&platform, "mine", &wanted).await;
    prints(&platform, "mine", "sealed").await;
    prints(&platform, "mine", "settings of the kernel: ro").await;
    // Nobody else sees what one container shares with itself.
    platform.apply(&script("other", "ls -A /dev/shm | wc -l", "")).await;
    prints(&platform, "other", "0\n").await;
}

/// Asks the API for the pods by every way that client libraries know, and tells the codes.
const CALLER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: dev.local/sh
    command: [sh, -c]
    args:
    - |
      files=/var/run/secrets/kubernetes.io/serviceaccount
      ask() {
        curl -sS --max-time 20 -o /dev/null -w "$1 %{http_code}\n" --cacert $files/ca.crt \
          -H "Authorization: Bearer $(cat $files/token)" "$1/api/v1/namespaces/$(cat $files/namespace)/pods" 2>&1
      }
      while true; do
        ask https://kubernetes.default.svc
        ask https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
        sleep 1
      done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_calls_the_api_as_its_service_account() {
    if !may_isolate() {
        println!("no namespaces are allowed here: pods have no files of their own");
        return;
    }
    let mut platform = super::kubectl::with_shell().await;
    platform.apply(CALLER).await;
    let told = async |wanted: &'static str| {
        eventually(Duration::from_secs(60), wanted, || async {
            let text = platform.kubectl().run("logs caller --tail=2").await.result()?;
            let found: Vec<&str> = text.lines().collect();
            let wanted = ["https://kubernetes.default.svc", "https://10.96.0.1:443"]
                .map(|at| format!("{at} {wanted}"));
            match wanted.iter().all(|it| found.contains(&it.as_str())) {
                true => Ok(()),
                false => Err(text),
            }
        })
        .await;
    };
    told("403").await;
    let bind = "create rolebinding callers --clusterrole=view --serviceaccount=default:default";
    platform.kubectl().run(bind).await.ok();
    told("200").await;

    let endpoints = platform.kubectl().run("get endpoints,endpointslices").await.ok();
    assert!(endpoints.contains("endpointslice.discovery.k8s.io/kubernetes "), "{endpoints}");
    platform.stop().await;
    platform.up().await;
    eventually(Duration::from_secs(60), "it calls again after a restart", || async {
        let text = platform.kubectl().run("logs caller --tail=2").await.result()?;
        if text.contains("svc 200") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_wants_no_token_gets_none() {
    if std::path::Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists() {
        println!("this machine is a pod itself, and its pods see its token");
        return;
    }
    let platform = super::kubectl::with_shell().await;
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  containers:
  - name: main
    image: dev.local/sh
    args: [-c, 'if [ -e /var/run/secrets/kubernetes.io/serviceaccount/token ]; then echo given; else echo none; fi']
";
    platform.apply(pod).await;
    eventually(Duration::from_secs(30), "it has looked", || async {
        let text = platform.kubectl().run("logs alone").await.result()?;
        if text.contains("none") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_mode_gives_each_pod_a_port() {
    let arguments = vec!["--host-network".into()];
    let platform = Platform::start_with(Settings { arguments, ..Settings::default() }).await;
    let manifest = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: '2'}}
    spec:
      containers:
      - {image: weft.dev/samples/hello}
";
    platform.apply(manifest).await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    platform.get(&host, "/").await.unwrap().ok().unwrap();
    assert_eq!(platform.pods("hello").await.unwrap().len(), 2);
    assert!(
        platform.log().contains("share this machine's network"),
        "it says so:\n{}",
        platform.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_a_platform_too() {
    let settings = Settings { ordinary_user: true, ..Settings::default() };
    let platform = Platform::start_with(settings).await;
    let said = platform.log();
    assert!(said.contains("share this machine's network"), "it says how pods run:\n{said}");
    assert!(said.contains("PORT"), "and what that asks of them:\n{said}");
    for sample in ["hello.yaml", "slow.yaml"] {
        platform.apply_sample(sample).await;
    }
    // Both run at once, each on a port of its own.
    for (service, path, wanted) in [("hello", "/", "Hello World!"), ("slow", "/?prime=10", "is 7.")]
    {
        platform.ready(service).await;
        let host = platform.host(service).await;
        let text = platform.get(&host, path).await.unwrap().ok().unwrap();
        assert!(text.contains(wanted), "{text}");
        let pods = platform.pods(service).await.unwrap();
        let log = platform.kubectl().run(&format!("logs {} -c user-container", pods[0])).await.ok();
        assert!(log.contains("listening on port "), "{log}");
    }
    platform.at_zero("hello").await;
    let host = platform.host("hello").await;
    let text = platform.get(&host, "/").await.unwrap().ok().unwrap();
    assert_eq!(text, "Hello World!\n", "it comes back from zero");
}
