//! Stops, crashes and what a next start finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use tests::{
    eventually::eventually,
    machine::may_isolate,
    platform::{Platform, parent_and_start},
};

/// The ids of what people made, by kind and name.
async fn ids(platform: &Platform) -> BTreeMap<String, String> {
    let format =
        "-o jsonpath={range.items[*]}{.kind}/{.metadata.name}={.metadata.uid}{\"\\n\"}{end}";
    let line =
        format!("get ksvc,configuration,revision,route,configmap,secret,namespace -A {format}");
    let text = platform.kubectl().run(&line).await.ok();
    let entries = text.lines().filter_map(|line| line.split_once('='));
    entries.map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect()
}

/// What a run has of the kernel's.
#[derive(Debug)]
struct Traces {
    /// Its processes and its pods', and whoever else is in or holds a network namespace of theirs: number and start.
    processes: BTreeSet<(i32, u64)>,
    /// Network namespaces of its pods.
    networks: BTreeSet<PathBuf>,
    /// The link by which its pods reach the machine: name and number, which is given out once.
    links: Vec<(String, String)>,
    /// Control groups of its containers, in every hierarchy.
    groups: BTreeSet<PathBuf>,
}

impl Traces {
    async fn of(platform: &Platform) -> Traces {
        let mut processes = BTreeSet::new();
        let mut networks = BTreeSet::new();
        let mut names = BTreeSet::new();
        for line in platform.processes() {
            let pid = line.split(' ').next().unwrap();
            let process = Path::new("/proc").join(pid);
            let pid = pid.parse().unwrap();
            processes.extend(parent_and_start(pid).map(|(_, start)| (pid, start)));
            // One that has just ended is in nothing any more.
            networks.extend(fs::read_link(process.join("ns/net")));
            let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            let of_weft = groups.lines().filter_map(|line| line.split_once("/weft-"));
            names.extend(of_weft.map(|(_, rest)| format!("weft-{rest}")));
        }
        networks.remove(&fs::read_link("/proc/self/ns/net").unwrap());
        for process in fs::read_dir("/proc").unwrap().flatten().map(|it| it.path()) {
            let Some(pid) = process.file_name().and_then(|it| it.to_str()?.parse().ok()) else {
                continue;
            };
            let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            let held = fds.map(|it| it.path()).chain([process.join("ns/net")]);
            let mut held = held.filter_map(|it| fs::read_link(it).ok());
            if held.any(|it| networks.contains(&it)) {
                processes.extend(parent_and_start(pid).map(|(_, start)| (pid, start)));
            }
        }
        let places = hierarchies();
        let groups = names.iter().flat_map(|name| places.iter().map(move |it| it.join(name)));
        let groups = groups.filter(|it| it.exists()).collect();
        let line = "get pods -o jsonpath={.items[*].status.podIP}";
        let addresses = platform.kubectl().run(line).await.ok();
        let links = addresses.split(' ').filter_map(|it| link_to(it.parse().ok()?)).collect();
        Traces { processes, networks, links, groups }
    }

    /// Panics when something of it stays.
    async fn are_gone(&self) {
        // The kernel takes networks down a moment after their last process.
        eventually(Duration::from_secs(10), "nothing of the run is left", || async {
            match self.left() {
                left if left.is_empty() => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
    }

    /// What is still there.
    fn left(&self) -> Vec<String> {
        let groups = self.groups.iter().filter(|it| it.exists());
        let mut left: Vec<String> = groups.map(|it| it.display().to_string()).collect();
        let is_same = |it: &&(i32, u64)| parent_and_start(it.0).is_some_and(|now| now.1 == it.1);
        left.extend(self.processes.iter().filter(is_same).map(|it| format!("process {}", it.0)));
        let links = self.links.iter().filter(|it| index(&it.0).as_ref() == Some(&it.1));
        left.extend(links.map(|it| format!("the link {}", it.0)));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let is_mounted = |it: &&PathBuf| mounts.contains(&*it.to_string_lossy());
        left.extend(self.networks.iter().filter(is_mounted).map(|it| it.display().to_string()));
        left
    }
}

/// The link that packets to an address leave by, unless it is a default route.
fn link_to(address: Ipv4Addr) -> Option<(String, String)> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let name = routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Addresses are in the byte order of the machine.
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (to, mask) = (number(1)?, number(7)?);
        (mask != 0 && u32::from_ne_bytes(address.octets()) & mask == to).then_some(fields[0])
    })?;
    Some((name.to_owned(), index(name)?))
}

/// The number of a link.
fn index(link: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()
}

/// Where control groups are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let groups = fields.filter(|it| it.len() > 2 && it[2].starts_with("cgroup"));
    groups.map(|it| PathBuf::from(it[1])).collect()
}

async fn answers(platform: &Platform, host: &str) {
    eventually(Duration::from_secs(60), "the service answers", || async {
        platform.get(host, "/").await?.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_objects_and_nothing_else() {
    let mut platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.kubectl().run("create configmap mine --from-literal=a=b").await.ok();
    platform.kubectl().run("create secret generic mine --from-literal=a=b").await.ok();
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let name = host.split(':').next().unwrap().to_owned();
    answers(&platform, &name).await;
    let before = ids(&platform).await;
    let traces = Traces::of(&platform).await;
    let is_told = !traces.networks.is_empty() && !traces.links.is_empty();
    assert!(is_told || !may_isolate(), "pods have networks of their own: {traces:?}");
    assert!(traces.processes.len() > 1, "the platform has a pod: {traces:?}");

    let status = platform.stop().await;
    assert!(status.success(), "it ends with {status}");
    assert_eq!(platform.processes(), [""; 0], "left behind");
    traces.are_gone().await;
    assert!(!platform.data_dir().join("running.json").exists(), "it says that it runs no more");

    platform.up().await;
    let after = ids(&platform).await;
    for (object, uid) in &before {
        assert_eq!(after.get(object), Some(uid), "{object}");
    }
    answers(&platform, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_under_load_loses_no_object_and_leaves_no_process() {
    let mut platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.apply_sample("slow.yaml").await;
    platform.ready("hello").await;
    platform.ready("slow").await;
    let host = platform.host("slow").await;
    let name = host.split(':').next().unwrap().to_owned();
    let before = ids(&platform).await;
    let load: Vec<_> = (0..20)
        .map(|_| {
            let (to, name) = (platform.gateway(), name.clone());
            tokio::spawn(async move { tests::http::get(to, &name, "/?sleep=5000").await })
        })
        .collect();
    eventually(Duration::from_secs(30), "pods are busy", || async {
        match platform.pods("slow").await {
            Ok(pods) if pods.len() > 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    // Containers without limits get their control group a moment after they start.
    let traces = eventually(Duration::from_secs(30), "pods have control groups", || async {
        let traces = Traces::of(&platform).await;
        let is_told = platform.log().contains("limits on CPU and memory are not enforced");
        match traces.groups.is_empty() && !is_told && rustix::process::geteuid().is_root() {
            true => Err("none has one"),
            false => Ok(traces),
        }
    })
    .await;

    platform.kill().await;
    for request in load {
        // They end with the connection; what matters is what comes after.
        drop(request.await.unwrap());
    }
    platform.up().await;
    traces.are_gone().await;
    let after = ids(&platform).await;
    for (object, uid) in &before {
        assert_eq!(after.get(object), Some(uid), "{object}");
    }
    answers(&platform, &name).await;
    let hello = platform.host("hello").await;
    answers(&platform, hello.split(':').next().unwrap()).await;

    let traces = Traces::of(&platform).await;
    platform.stop().await;
    assert_eq!(platform.processes(), [""; 0], "left behind");
    traces.are_gone().await;
}
