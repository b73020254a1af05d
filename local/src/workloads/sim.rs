//! The controllers against objects in memory: plans are made and their writes applied until nothing is left to do.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    horizontal::Figures,
    objects::Key,
    owners::Verdict,
    requests,
    resources::{Deletion, Kind, Part, Plan, Resource, Write},
    world::{Work, World},
};

/// Most plans until a test counts as one that never settles.
const PLANS: usize = 5000;

struct Sim {
    world: World,
    objects: BTreeMap<(Resource, Key), Value>,
    writes: u64,
    now: Timestamp,
    todo: Vec<Work>,
    again: BTreeMap<Work, Timestamp>,
    /// Called after each write: what must always hold.
    check: fn(&Sim),
}

impl Sim {
    fn new() -> Self {
        Self {
            world: World::default(),
            objects: BTreeMap::new(),
            writes: 0,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            todo: Vec::new(),
            again: BTreeMap::new(),
            check: |_| {},
        }
    }

    fn create(&mut self, kind: Kind, body: Value) {
        let namespace = if kind.resource().is_namespaced() { "ns" } else { "" };
        self.apply(Write::Create { resource: kind.resource(), namespace: namespace.into(), body });
        self.settle();
    }

    fn merge(&mut self, kind: Kind, name: &str, part: Part, body: Value) {
        let key = Key::new("ns", name);
        self.apply(Write::Merge { resource: kind.resource(), key, part, body });
        self.settle();
    }

    fn delete(&mut self, kind: Kind, name: &str, with: Deletion) {
        let key = Key::new("ns", name);
        let uid = self.get(kind, name)["metadata"]["uid"].as_str().unwrap().into();
        self.apply(Write::Delete { resource: kind.resource(), key, uid, with });
        self.settle();
    }

    fn get(&self, kind: Kind, name: &str) -> Value {
        self.find(kind, name).unwrap_or_else(|| panic!("no {kind:?} {name}"))
    }

    fn find(&self, kind: Kind, name: &str) -> Option<Value> {
        self.objects.get(&(kind.resource(), Key::new("ns", name))).cloned()
    }

    fn all(&self, kind: Kind) -> Vec<&Value> {
        let all = self.objects.iter().filter(|((resource, _), _)| kind.is(resource));
        all.map(|(_, it)| it).collect()
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        self.all(kind).iter().map(|it| it["metadata"]["name"].as_str().unwrap().into()).collect()
    }

    /// Pods that are not on their way out.
    fn pods(&self) -> Vec<&Value> {
        let mut pods = self.all(Kind::Pod);
        pods.retain(|it| it["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// Makes a pod run; or waits, if it is not to be ready.
    fn run_pod(&mut self, name: &str, ready: bool) {
        // No node of that name is known for 40 s, which is longer than the tests let it be.
        self.merge(Kind::Pod, name, Part::Main, json!({"spec": {"nodeName": "n"}}));
        let state = if ready { "True" } else { "False" };
        let since = self.now.to_string();
        let ip = format!("10.0.0.{}", self.writes % 250);
        let conditions = json!([{"type": "Ready", "status": state, "lastTransitionTime": since}]);
        self.merge(
            Kind::Pod,
            name,
            Part::Status,
            json!({"status": {"phase": "Running", "podIP": ip, "startTime": since,
                "conditions": conditions}}),
        );
    }

    fn run_all_pods(&mut self) {
        while let Some(name) = self.names(Kind::Pod).into_iter().find(|name| {
            let pod = self.get(Kind::Pod, name);
            pod["status"]["phase"].is_null() && pod["metadata"]["deletionTimestamp"].is_null()
        }) {
            self.run_pod(&name, true);
        }
    }

    /// Pods that were asked to go are gone, as a node would have it.
    fn end_pods(&mut self) {
        while let Some(name) = self
            .names(Kind::Pod)
            .into_iter()
            .find(|name| !self.get(Kind::Pod, name)["metadata"]["deletionTimestamp"].is_null())
        {
            self.delete(Kind::Pod, &name, Deletion::Force);
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let due: Vec<Work> =
            self.again.iter().filter(|(_, at)| **at <= self.now).map(|it| it.0.clone()).collect();
        for work in due {
            self.again.remove(&work);
            self.todo.push(work);
        }
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..PLANS {
            let Some(work) = self.todo.pop() else { return };
            self.todo.retain(|it| *it != work);
            let plan = match &work {
                Work::Owners(uid) => match self.world.graph.examine(uid) {
                    Verdict::Leave => Plan::default(),
                    Verdict::Write(writes) => {
                        self.todo.push(work.clone());
                        Plan { writes, ..Plan::default() }
                    }
                    Verdict::Ask(owners) => {
                        for owner in owners {
                            self.world.graph.learn(owner.uid, false);
                        }
                        self.todo.push(work.clone());
                        Plan::default()
                    }
                },
                _ => match self.world.plan(&work, None, "certificate", self.now) {
                    Some((kind, meta, plan)) => {
                        if plan.needs_template {
                            let key = meta.key.clone();
                            let object = &self.objects[&(kind.resource(), key.clone())];
                            let text = object["spec"]["template"].to_string();
                            self.todo.extend(self.world.keep_template(kind, key, text.into()));
                        }
                        plan
                    }
                    None => Plan::default(),
                },
            };
            if let Some(at) = plan.again {
                self.again.insert(work, at);
            }
            for write in plan.writes.into_iter().chain(plan.status) {
                self.apply(write);
            }
        }
        panic!("it does not settle: {:?}", self.todo);
    }

    fn apply(&mut self, write: Write) {
        self.writes += 1;
        let version = self.writes;
        let (place, mut object) = match write {
            Write::Create { resource, namespace, body } => {
                let mut body = body;
                body["apiVersion"] = json!(resource.api_version());
                body["kind"] = json!(resource.kind());
                let meta = &mut body["metadata"];
                if let Some(prefix) = meta["generateName"].as_str() {
                    meta["name"] = json!(format!("{prefix}{version:05}"));
                }
                let name = meta["name"].as_str().unwrap().to_owned();
                meta["namespace"] = json!(&*namespace);
                meta["uid"] = json!(format!("uid-{version}"));
                meta["generation"] = json!(1);
                meta["creationTimestamp"] = json!(self.now.to_string());
                let place = (resource, Key::new(&namespace, &name));
                assert!(!self.objects.contains_key(&place), "{place:?} exists");
                (place, body)
            }
            Write::Merge { resource, key, part, body } => {
                let place = (resource, key);
                let Some(mut object) = self.objects.get(&place).cloned() else { return };
                let spec = object["spec"].clone();
                merge(&mut object, body);
                if part == Part::Main && object["spec"] != spec {
                    let generation = object["metadata"]["generation"].as_i64().unwrap() + 1;
                    object["metadata"]["generation"] = json!(generation);
                }
                (place, object)
            }
            Write::Delete { resource, key, uid, with } => {
                let is_pod = Kind::Pod.is(&resource);
                let place = (resource, key);
                let Some(mut object) = self.objects.get(&place).cloned() else { return };
                assert_eq!(object["metadata"]["uid"], *uid, "the wrong object goes");
                let is_running =
                    is_pod && with != Deletion::Force && object["status"]["phase"] == "Running";
                let finalizers = &mut object["metadata"]["finalizers"];
                if finalizers.is_null() {
                    *finalizers = json!([]);
                }
                let finalizers = finalizers.as_array_mut().unwrap();
                match with {
                    Deletion::Foreground => finalizers.push(json!("foregroundDeletion")),
                    Deletion::Orphan => finalizers.push(json!("orphan")),
                    Deletion::Background | Deletion::Force => {}
                }
                if finalizers.is_empty() && !is_running {
                    self.gone(place);
                    return;
                }
                object["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
                (place, object)
            }
        };
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let is_held = object["metadata"]["finalizers"].as_array().is_some_and(|it| !it.is_empty());
        let is_deleted = !object["metadata"]["deletionTimestamp"].is_null();
        let is_running = object["kind"] == "Pod" && object["status"]["phase"] == "Running";
        self.objects.insert(place.clone(), object.clone());
        if is_deleted && !is_held && !is_running {
            self.gone(place);
            return;
        }
        let seen = requests::object(&place.0, &object.to_string()).unwrap();
        self.world.put(place.0, seen, &mut self.todo);
        (self.check)(self);
    }

    fn gone(&mut self, place: (Resource, Key)) {
        let object = self.objects.remove(&place).unwrap();
        let uid = object["metadata"]["uid"].as_str().unwrap().into();
        self.world.remove(&uid, &mut self.todo);
        (self.check)(self);
    }
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let fields = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(&key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn deployment(replicas: i32, strategy: Value) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 60,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template("one"),
        },
    })
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    })
}

fn set_image(sim: &mut Sim, image: &str) {
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"template": template(image)}}));
}

fn condition(object: &Value, kind: &str) -> (String, String) {
    let all = object["status"]["conditions"].as_array().unwrap();
    let it = all.iter().find(|it| it["type"] == kind).unwrap();
    let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn images(sim: &Sim) -> Vec<String> {
    let image = |pod: &&Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let mut images: Vec<_> = sim.pods().iter().map(image).collect();
    images.sort();
    images
}

/// What each pod uses, in thousandths of a processor, and looks at it.
fn look(sim: &mut Sim, name: &str, cpu_milli: i64) {
    let figures = sim.names(Kind::Pod).into_iter().map(|pod| Figures {
        pod,
        at: sim.now,
        window: std::time::Duration::from_secs(10),
        containers: [("main".to_owned(), [("cpu".to_owned(), cpu_milli)].into())].into(),
    });
    let (key, figures) = (Key::new("ns", name), figures.collect());
    assert!(sim.world.is_due(&key, sim.now));
    sim.world.decide(&key, Some(Ok(figures)), sim.now);
    sim.todo.push(Work::Horizontal(key));
    sim.settle();
}

#[test]
fn a_busy_deployment_grows_and_an_idle_one_shrinks_after_five_minutes() {
    let mut sim = Sim::new();
    let hpa = json!({"metadata": {"name": "web"}, "spec": {"minReplicas": 1, "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": 50}}}]}});
    sim.create(Kind::Horizontal, hpa);
    let reason = |sim: &Sim, type_: &str| {
        let object = sim.get(Kind::Horizontal, "web");
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let found = conditions.into_iter().find(|it| it["type"] == type_).unwrap();
        found["reason"].as_str().unwrap().to_owned()
    };
    let key = Key::new("ns", "web");
    assert!(sim.world.is_new(&key));
    look(&mut sim, "web", 0);
    assert_eq!(reason(&sim, "AbleToScale"), "FailedGetScale");

    let mut web = deployment(1, json!({"type": "Recreate"}));
    web["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "100m"}});
    sim.create(Kind::Deployment, web);
    sim.run_all_pods();
    sim.pass(30);
    look(&mut sim, "web", 100);
    assert_eq!(reason(&sim, "ScalingActive"), "ValidMetricFound");
    assert_eq!(sim.get(Kind::Deployment, "web")["spec"]["replicas"], 2);
    let status = sim.get(Kind::Horizontal, "web")["status"].clone();
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(1), &json!(2)));
    assert_eq!(status["currentMetrics"][0]["resource"]["current"]["averageUtilization"], 100);
    assert_eq!(status["lastScaleTime"], json!(sim.now.to_string()));

    sim.run_all_pods();
    let writes = sim.writes;
    sim.todo.push(Work::Horizontal(key.clone()));
    sim.settle();
    assert_eq!(sim.writes, writes, "what was decided is done once");
    assert!(!sim.world.is_due(&key, sim.now));
    sim.pass(15);
    look(&mut sim, "web", 1);
    assert_eq!(reason(&sim, "AbleToScale"), "ScaleDownStabilized");
    assert_eq!(sim.get(Kind::Deployment, "web")["spec"]["replicas"], 2);
    // Pods of an unknown node do not stay for so long.
    sim.pass(280);
    sim.run_all_pods();
    sim.pass(30);
    look(&mut sim, "web", 1);
    assert_eq!(sim.get(Kind::Deployment, "web")["spec"]["replicas"], 1);
    sim.delete(Kind::Horizontal, "web", Deletion::Background);
    sim.pass(60);
    assert!(!sim.world.is_due(&key, sim.now));
}

#[test]
fn a_deployment_becomes_pods_and_says_when_they_serve() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(2, Value::Null));
    assert_eq!(sim.pods().len(), 2);
    let web = sim.get(Kind::Deployment, "web");
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(condition(&web, "Available").1, "MinimumReplicasUnavailable");
    assert_eq!(condition(&web, "Progressing").1, "ReplicaSetUpdated");
    sim.run_all_pods();
    let web = sim.get(Kind::Deployment, "web");
    assert_eq!(web["status"]["availableReplicas"], 2);
    assert_eq!(web["status"]["observedGeneration"], 1);
    assert_eq!(condition(&web, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition(&web, "Progressing").1, "NewReplicaSetAvailable");
    let set = sim.all(Kind::ReplicaSet)[0];
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert!(sim.pods().iter().all(|pod| pod["metadata"]["labels"]["pod-template-hash"] == hash));
}

#[test]
fn scaling_to_zero_and_back_takes_one_write_a_stage() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(0, Value::Null));
    assert_eq!(sim.pods().len(), 0);
    assert_eq!(
        condition(&sim.get(Kind::Deployment, "web"), "Progressing").1,
        "NewReplicaSetAvailable"
    );
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"replicas": 1}}));
    assert_eq!(sim.pods().len(), 1);
    sim.run_all_pods();
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"replicas": 0}}));
    sim.end_pods();
    assert_eq!(sim.pods().len(), 0);
    assert_eq!(sim.all(Kind::ReplicaSet).len(), 1);
    assert_eq!(sim.get(Kind::Deployment, "web")["status"]["availableReplicas"], Value::Null);
}

#[test]
fn pods_of_a_replica_set_that_grows_do_not_wait_for_it() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(0, json!({"type": "RollingUpdate"})));
    let set = Key::new("ns", &sim.names(Kind::ReplicaSet)[0]);
    // Seen, and not yet followed.
    let key = Key::new("ns", "web");
    let body = json!({"spec": {"replicas": 2}});
    let part = Part::Main;
    let resource = Kind::Deployment.resource();
    sim.apply(Write::Merge { resource, key: key.clone(), part, body });
    sim.todo.clear();
    let plan = |sim: &Sim, work| sim.world.plan(work, None, "certificate", sim.now).unwrap().2;
    let (deployment, pods) = (Work::Deployment(key), Work::ReplicaSet(set.clone()));
    let writes = plan(&sim, &deployment).writes;
    assert_eq!(sim.world.writing(&deployment, &writes), std::slice::from_ref(&pods));

    let text =
        sim.objects[&(Kind::ReplicaSet.resource(), set.clone())]["spec"]["template"].to_string();
    sim.world.keep_template(Kind::ReplicaSet, set, text.into());
    let creates = plan(&sim, &pods).writes;
    assert!(creates.iter().all(|it| matches!(it, Write::Create { .. })));
    assert_eq!(creates.len(), 2);
    creates.into_iter().for_each(|it| sim.apply(it));
    assert_eq!(plan(&sim, &pods).writes.len(), 0, "neither more nor fewer");

    // The write failed: the size is what it was.
    assert_eq!(sim.world.written(&deployment), std::slice::from_ref(&pods));
    let writes = plan(&sim, &pods).writes;
    assert!(writes.len() == 2 && writes.iter().all(|it| matches!(it, Write::Delete { .. })));
}

#[test]
fn a_rolling_update_stays_within_its_bounds() {
    let mut sim = Sim::new();
    let bounds =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    sim.create(Kind::Deployment, deployment(4, bounds));
    sim.run_all_pods();
    sim.check = |sim| {
        let sets = sim.all(Kind::ReplicaSet);
        let wanted: i64 = sets.iter().filter_map(|it| it["spec"]["replicas"].as_i64()).sum();
        assert!(wanted <= 5, "more than four and the surge: {wanted}");
        let is_ready = |pod: &&&Value| pod["status"]["conditions"][0]["status"] == "True";
        let ready = sim.pods().iter().filter(is_ready).count();
        assert!(ready >= 3, "more than one is missing: {ready}");
    };
    set_image(&mut sim, "two");
    for _ in 0..20 {
        sim.end_pods();
        let pending = sim.names(Kind::Pod).into_iter().find(|name| {
            let pod = sim.get(Kind::Pod, name);
            pod["status"]["phase"].is_null() && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let Some(pending) = pending else { break };
        sim.run_pod(&pending, true);
    }
    assert_eq!(images(&sim), ["two"; 4]);
    let web = sim.get(Kind::Deployment, "web");
    assert_eq!(web["status"]["updatedReplicas"], 4);
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
}

#[test]
fn recreate_never_mixes_two_templates() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(2, json!({"type": "Recreate"})));
    sim.run_all_pods();
    sim.check = |sim| {
        let image = |pod: &&Value| pod["spec"]["containers"][0]["image"].clone().to_string();
        let images: std::collections::BTreeSet<_> = sim.all(Kind::Pod).iter().map(image).collect();
        assert!(images.len() <= 1, "{images:?} at once");
    };
    set_image(&mut sim, "two");
    assert_eq!(sim.pods().len(), 0, "the new ones wait for the old ones to end");
    sim.end_pods();
    assert_eq!(images(&sim), ["two"; 2]);
}

#[test]
fn a_template_that_comes_back_takes_its_old_replica_set() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(0, Value::Null));
    for image in ["two", "three", "four", "five"] {
        sim.pass(1);
        set_image(&mut sim, image);
    }
    // The current one and as many as the history limit.
    assert_eq!(sim.all(Kind::ReplicaSet).len(), 3);
    let four = sim.names(Kind::ReplicaSet).into_iter().find(|name| {
        sim.get(Kind::ReplicaSet, name)["spec"]["template"]["spec"]["containers"][0]["image"]
            == "four"
    });
    let four = four.expect("the last but one is kept");
    set_image(&mut sim, "four");
    let annotations = sim.get(Kind::ReplicaSet, &four)["metadata"]["annotations"].clone();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "6");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "4");
}

#[test]
fn a_rollout_that_stands_still_says_so_in_time() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(1, Value::Null));
    sim.pass(50);
    assert_eq!(condition(&sim.get(Kind::Deployment, "web"), "Progressing").0, "True");
    sim.pass(15);
    let web = sim.get(Kind::Deployment, "web");
    assert_eq!(condition(&web, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    sim.run_all_pods();
    assert_eq!(
        condition(&sim.get(Kind::Deployment, "web"), "Progressing").1,
        "NewReplicaSetAvailable"
    );
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(1, Value::Null));
    sim.run_all_pods();
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"paused": true}}));
    set_image(&mut sim, "two");
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"replicas": 3}}));
    assert_eq!(images(&sim), ["one"; 3]);
    assert_eq!(condition(&sim.get(Kind::Deployment, "web"), "Progressing").1, "DeploymentPaused");
    sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"paused": false}}));
    for _ in 0..6 {
        sim.run_all_pods();
        sim.end_pods();
    }
    assert_eq!(images(&sim), ["two"; 3]);
}

#[test]
fn the_pod_that_is_missed_least_goes_first() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(4, Value::Null));
    let names = sim.names(Kind::Pod);
    for (at, name) in names.iter().enumerate() {
        sim.pass(1);
        sim.run_pod(name, at != 2);
    }
    let cost =
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}});
    sim.merge(Kind::Pod, &names[0], Part::Main, cost);
    // Not ready; cheap; then the one that became ready last.
    for (left, gone) in [(3, 2), (2, 0), (1, 3)] {
        sim.merge(Kind::Deployment, "web", Part::Main, json!({"spec": {"replicas": left}}));
        sim.end_pods();
        assert_eq!(sim.find(Kind::Pod, &names[gone]), None, "{left} left");
        assert_eq!(sim.pods().len(), left);
    }
}

#[test]
fn a_pod_that_matches_no_more_is_replaced_and_one_that_matches_is_taken_over() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(1, Value::Null));
    let first = sim.names(Kind::Pod)[0].clone();
    sim.merge(Kind::Pod, &first, Part::Main, json!({"metadata": {"labels": {"app": "debug"}}}));
    assert_eq!(sim.pods().len(), 2);
    assert_eq!(sim.get(Kind::Pod, &first)["metadata"]["ownerReferences"], json!([]));
    sim.run_all_pods();
    sim.merge(Kind::Pod, &first, Part::Main, json!({"metadata": {"labels": {"app": "web"}}}));
    sim.end_pods();
    assert_eq!(sim.pods().len(), 1);
}

#[test]
fn endpoints_follow_pods_from_the_first_address_to_the_last() {
    let mut sim = Sim::new();
    let spec = json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    sim.create(Kind::Service, json!({"metadata": {"name": "s"}, "spec": spec}));
    let told = |sim: &Sim| {
        let subsets = sim.get(Kind::Endpoints, "s")["subsets"].clone();
        let count = |key: &str| subsets[0][key].as_array().map_or(0, Vec::len);
        let slice = sim.all(Kind::Slice)[0];
        let conditions: Vec<String> = slice["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                let on = |key: &str| it["conditions"][key] == true;
                let names = ["ready", "serving", "terminating"];
                names.into_iter().filter(|it| on(it)).collect::<Vec<_>>().join("+")
            })
            .collect();
        (count("addresses"), count("notReadyAddresses"), conditions)
    };
    assert_eq!(told(&sim), (0, 0, vec![]), "an empty slice says that there are none");
    let pod = json!({
        "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main"}]},
    });
    sim.create(Kind::Pod, pod);
    assert_eq!(told(&sim), (0, 0, vec![]), "without an address");
    sim.run_pod("p", false);
    assert_eq!(told(&sim), (0, 1, vec![String::new()]));
    sim.run_pod("p", true);
    assert_eq!(told(&sim), (1, 0, vec!["ready+serving".into()]));
    sim.delete(Kind::Pod, "p", Deletion::Background);
    assert_eq!(told(&sim), (0, 0, vec!["serving+terminating".into()]));
    sim.delete(Kind::Pod, "p", Deletion::Force);
    assert_eq!(told(&sim), (0, 0, vec![]));
    sim.delete(Kind::Service, "s", Deletion::Background);
    assert_eq!(sim.find(Kind::Endpoints, "s"), None);
    assert_eq!(sim.all(Kind::Slice).len(), 0);
}

#[test]
fn endpoints_of_people_are_mirrored() {
    let mut sim = Sim::new();
    sim.create(
        Kind::Service,
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}),
    );
    let subsets =
        json!([{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"name": "http", "port": 8012}]}]);
    sim.create(Kind::Endpoints, json!({"metadata": {"name": "s"}, "subsets": subsets}));
    let slice = sim.all(Kind::Slice)[0].clone();
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "s");
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.1.1.1"]));
    assert_eq!(slice["ports"][0]["port"], 8012);
    sim.merge(Kind::Endpoints, "s", Part::Main, json!({"subsets": null}));
    assert_eq!(sim.all(Kind::Slice).len(), 0);
}

#[test]
fn what_nobody_owns_any_more_goes() {
    let mut sim = Sim::new();
    let owned = |name: &str, owners: &[(&str, &str)]| {
        let owners: Vec<_> = owners
            .iter()
            .map(|(name, uid)| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true})
            })
            .collect();
        json!({"metadata": {"name": name, "ownerReferences": owners}})
    };
    let plain = |name: &str| json!({"metadata": {"name": name}});
    for name in ["a", "b"] {
        sim.create(Kind::ConfigMap, plain(name));
    }
    sim.create(Kind::ConfigMap, owned("both", &[("a", "uid-1"), ("b", "uid-2")]));
    sim.create(Kind::ConfigMap, owned("missing", &[("never", "no-such-uid")]));
    assert_eq!(sim.names(Kind::ConfigMap), ["a", "b", "both"]);

    sim.delete(Kind::ConfigMap, "a", Deletion::Background);
    let both = sim.get(Kind::ConfigMap, "both");
    assert_eq!(both["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    sim.delete(Kind::ConfigMap, "b", Deletion::Background);
    assert_eq!(sim.names(Kind::ConfigMap), [""; 0]);

    sim.create(Kind::ConfigMap, plain("top"));
    let uid = sim.get(Kind::ConfigMap, "top")["metadata"]["uid"].as_str().unwrap().to_owned();
    sim.create(Kind::ConfigMap, owned("kept", &[("top", &uid)]));
    sim.delete(Kind::ConfigMap, "top", Deletion::Orphan);
    assert_eq!(sim.names(Kind::ConfigMap), ["kept"]);
    assert_eq!(sim.get(Kind::ConfigMap, "kept")["metadata"]["ownerReferences"], json!([]));
}

#[test]
fn foreground_deletion_ends_with_the_owner() {
    let mut sim = Sim::new();
    sim.create(Kind::Deployment, deployment(2, Value::Null));
    sim.run_all_pods();
    sim.delete(Kind::Deployment, "web", Deletion::Foreground);
    assert!(sim.find(Kind::Deployment, "web").is_some(), "its pods are still ending");
    sim.end_pods();
    assert_eq!(sim.objects.len(), 0);
}

#[test]
fn a_job_counts_each_pod_once() {
    let mut sim = Sim::new();
    let spec = json!({
        "completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 30,
        "template": {"metadata": {"labels": {"app": "j"}}, "spec": {"containers": [{"name": "main"}]}},
    });
    sim.create(Kind::Job, json!({"metadata": {"name": "j"}, "spec": spec}));
    assert_eq!(sim.pods().len(), 2);
    for _ in 0..3 {
        let name = sim
            .names(Kind::Pod)
            .into_iter()
            .find(|name| sim.get(Kind::Pod, name)["status"]["phase"].is_null());
        sim.merge(
            Kind::Pod,
            &name.unwrap(),
            Part::Status,
            json!({"status": {"phase": "Succeeded"}}),
        );
    }
    let job = sim.get(Kind::Job, "j");
    assert_eq!(job["status"]["succeeded"], 3);
    assert_eq!(condition(&job, "Complete"), ("True".into(), "CompletionsReached".into()));
    sim.pass(31);
    assert_eq!(sim.objects.len(), 0, "it goes with its pods");
}

#[test]
fn a_job_gives_up_after_its_retries() {
    let mut sim = Sim::new();
    let spec = json!({
        "completions": 1, "backoffLimit": 1,
        "template": {"metadata": {"labels": {"app": "j"}}, "spec": {"containers": [{"name": "main"}]}},
    });
    sim.create(Kind::Job, json!({"metadata": {"name": "j"}, "spec": spec}));
    for pods in [1, 2] {
        let name = sim.names(Kind::Pod).pop().unwrap();
        assert_eq!(sim.names(Kind::Pod).len(), pods);
        sim.merge(Kind::Pod, &name, Part::Status, json!({"status": {"phase": "Failed"}}));
        assert_eq!(sim.names(Kind::Pod).len(), pods, "the next try waits");
        sim.pass(11);
    }
    let job = sim.get(Kind::Job, "j");
    assert_eq!(job["status"]["failed"], 2);
    assert_eq!(condition(&job, "Failed").1, "BackoffLimitExceeded");
}

#[test]
fn a_budget_counts_what_may_go() {
    let mut sim = Sim::new();
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    sim.create(Kind::Deployment, deployment(2, Value::Null));
    sim.create(Kind::Budget, json!({"metadata": {"name": "b"}, "spec": spec}));
    assert_eq!(sim.get(Kind::Budget, "b")["status"]["disruptionsAllowed"], 0);
    sim.run_all_pods();
    let status = sim.get(Kind::Budget, "b")["status"].clone();
    assert_eq!(status["currentHealthy"], 2);
    assert_eq!(status["disruptionsAllowed"], 1);
}

#[test]
fn a_namespace_gets_what_each_has() {
    let mut sim = Sim::new();
    let body = json!({"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}});
    sim.create(Kind::Namespace, body);
    assert_eq!(sim.names(Kind::ServiceAccount), ["default"]);
    assert_eq!(sim.get(Kind::ConfigMap, "kube-root-ca.crt")["data"]["ca.crt"], "certificate");
    sim.delete(Kind::ConfigMap, "kube-root-ca.crt", Deletion::Background);
    assert_eq!(sim.names(Kind::ConfigMap), ["kube-root-ca.crt"]);
}
