//! Everything the controllers know, and which plans a change concerns.
//!
//! Pure: fed by the engine; plans are made from what is here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    budget, deployment, endpoints,
    horizontal::{self, Figures, Scaler, Target},
    job,
    namespaces::{self, ROOT_CERTIFICATE},
    objects::{
        Budget, Deployment, Endpoints, Horizontal, Job, Key, Meta, Namespace, Object, Owner, Pod,
        Quota, ReplicaSet, Service, Slice, Uid, later,
    },
    owners::Graph,
    replica_set,
    resources::{Deletion, Kind, Part, Plan, Resource, Write},
    selector,
};

/// How long a pod may name a node that does not exist. Upstream's quarantine.
const NODELESS_S: i64 = 40;

/// One plan to make.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    Deployment(Key),
    ReplicaSet(Key),
    Job(Key),
    Service(Key),
    Budget(Key),
    Quota(Key),
    Horizontal(Key),
    Pod(Key),
    Namespace(Key),
    /// What owners mean for the object with that id.
    Owners(Uid),
}

type Table<T> = BTreeMap<Key, T>;

/// The objects by kind and place.
#[derive(Default)]
pub struct World {
    pub graph: Graph,
    pub namespaces: Table<Namespace>,
    nodes: BTreeSet<Key>,
    pods: Table<Pod>,
    services: Table<Service>,
    endpoints: Table<Endpoints>,
    slices: Table<Slice>,
    deployments: Table<Deployment>,
    sets: Table<ReplicaSet>,
    /// ReplicaSets that are being made larger by a write on its way: for which Deployment, and how large.
    growing: Table<(Key, i32)>,
    jobs: Table<Job>,
    budgets: Table<Budget>,
    pub quotas: Table<Quota>,
    horizontals: Table<Horizontal>,
    /// What is remembered of those that were looked at.
    scalers: Table<Scaler>,
    /// Services by namespace and the last pair of their selector.
    selected: HashMap<(Key, String), BTreeSet<Key>>,
    /// Slices by the Service that they name.
    slices_of: HashMap<Key, BTreeSet<Key>>,
    /// Service accounts `default` and ConfigMaps with the root certificate.
    basics: BTreeSet<(Kind, Key)>,
}

impl World {
    /// Takes in an object as it is now, and notes in `todo` what that concerns.
    pub fn put(&mut self, resource: Resource, object: Object, todo: &mut Vec<Work>) {
        if !self.graph.is_news(object.meta()) {
            return;
        }
        if let Some(uid) = self.uid_at(&resource, &object.meta().key)
            && uid != object.meta().uid
        {
            self.remove(&uid, todo);
        }
        let is_known = self.graph.get(&object.meta().uid).is_some();
        if !is_known || self.may_use_otherwise(&object) {
            self.recount(&resource, &object.meta().key.namespace, todo);
        }
        let affected = self.graph.add(resource, object.meta());
        todo.extend(affected.into_iter().map(Work::Owners));
        let key = object.meta().key.clone();
        match object {
            Object::Namespace(it) => {
                todo.push(Work::Namespace(key.clone()));
                self.namespaces.insert(key, it);
            }
            Object::Node(_) => drop(self.nodes.insert(key)),
            Object::Pod(it) => {
                self.pod_changed(self.pods.get(&key), Some(&it), todo);
                self.pods.insert(key, it);
            }
            Object::Service(it) => {
                todo.push(Work::Service(key.clone()));
                self.unselect(&key);
                if let Some((name, value)) = it.selector.last_key_value() {
                    let place = (Key::new(&key.namespace, name), value.clone());
                    self.selected.entry(place).or_default().insert(key.clone());
                }
                self.services.insert(key, it);
            }
            Object::Endpoints(it) => {
                todo.push(Work::Service(key.clone()));
                self.endpoints.insert(key, it);
            }
            Object::Slice(it) => {
                self.unslice(&key, todo);
                if let Some(service) = service_of(&it.meta) {
                    todo.push(Work::Service(service.clone()));
                    self.slices_of.entry(service).or_default().insert(key.clone());
                }
                self.slices.insert(key, it);
            }
            Object::Deployment(it) => {
                todo.push(Work::Deployment(key.clone()));
                if !self.deployments.contains_key(&key) {
                    self.target_appeared(Kind::Deployment, &key, todo);
                }
                self.deployments.insert(key, it);
            }
            Object::ReplicaSet(it) => {
                todo.push(Work::ReplicaSet(key.clone()));
                if !self.sets.contains_key(&key) {
                    self.target_appeared(Kind::ReplicaSet, &key, todo);
                }
                self.set_changed(&it.meta, todo);
                self.sets.insert(key, it);
            }
            Object::Job(it) => {
                todo.push(Work::Job(key.clone()));
                self.jobs.insert(key, it);
            }
            Object::Budget(it) => {
                todo.push(Work::Budget(key.clone()));
                self.budgets.insert(key, it);
            }
            Object::Quota(it) => {
                todo.push(Work::Quota(key.clone()));
                self.quotas.insert(key, it);
            }
            Object::Horizontal(it) => {
                todo.push(Work::Horizontal(key.clone()));
                if self.horizontals.get(&key).is_some_and(|before| before.spec != it.spec)
                    && let Some(scaler) = self.scalers.get_mut(&key)
                {
                    scaler.next = Timestamp::MIN;
                }
                self.horizontals.insert(key, it);
            }
            Object::Definition(_) => {}
            Object::Other(resource, meta) => {
                if let Some(basic) = basic(&resource, &meta) {
                    self.basics.insert(basic);
                }
            }
        }
    }

    /// Forgets an object, and notes in `todo` what that concerns.
    pub fn remove(&mut self, uid: &Uid, todo: &mut Vec<Work>) {
        let Some(node) = self.graph.get(uid) else {
            self.graph.remove(uid);
            return;
        };
        let (resource, key) = (node.resource.clone(), node.key.clone());
        todo.extend(self.graph.remove(uid).into_iter().map(Work::Owners));
        self.recount(&resource, &key.namespace, todo);
        let namespace = Key::new("", &key.namespace);
        if self.namespaces.get(&namespace).is_some_and(|it| it.meta.deleted.is_some()) {
            todo.push(Work::Namespace(namespace.clone()));
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.is(&resource)) else { return };
        match kind {
            Kind::Namespace => drop(self.namespaces.remove(&key)),
            Kind::Node => {
                self.nodes.remove(&key);
                let named =
                    self.pods.values().filter(|pod| pod.node.as_deref() == Some(&*key.name));
                todo.extend(named.map(|pod| Work::Pod(pod.meta.key.clone())));
            }
            Kind::Pod => {
                let pod = self.pods.remove(&key);
                self.pod_changed(pod.as_ref(), None, todo);
            }
            Kind::Service => {
                self.unselect(&key);
                self.services.remove(&key);
                todo.push(Work::Service(key));
            }
            Kind::Endpoints => {
                self.endpoints.remove(&key);
                todo.push(Work::Service(key));
            }
            Kind::Slice => {
                self.unslice(&key, todo);
                self.slices.remove(&key);
            }
            Kind::Deployment => drop(self.deployments.remove(&key)),
            Kind::ReplicaSet => {
                if let Some(set) = self.sets.remove(&key) {
                    self.set_changed(&set.meta, todo);
                }
            }
            Kind::Job => drop(self.jobs.remove(&key)),
            Kind::Budget => drop(self.budgets.remove(&key)),
            Kind::Quota => drop(self.quotas.remove(&key)),
            Kind::Horizontal => {
                self.horizontals.remove(&key);
                self.scalers.remove(&key);
            }
            Kind::ServiceAccount | Kind::ConfigMap => {
                if self.basics.remove(&(kind, key)) {
                    todo.push(Work::Namespace(namespace));
                }
            }
            Kind::Definition | Kind::Event => {}
        }
    }

    /// Remembers the text of a pod template until news of the object come, and returns the plan that waits for it.
    pub fn keep_template(&mut self, kind: Kind, key: Key, text: Arc<str>) -> Option<Work> {
        let (template, work) = match kind {
            Kind::Deployment => {
                (&mut self.deployments.get_mut(&key)?.template, Work::Deployment(key))
            }
            Kind::ReplicaSet => (&mut self.sets.get_mut(&key)?.template, Work::ReplicaSet(key)),
            Kind::Job => (&mut self.jobs.get_mut(&key)?.template, Work::Job(key)),
            _ => return None,
        };
        template.text = Some(text).filter(|it| !it.is_empty());
        template.text.is_some().then_some(work)
    }

    /// Takes note of writes of `work` that are sent now. Gives the plans that need not wait for their end: the pods of a
    /// ReplicaSet that grows are made while its size is still being written.
    pub fn writing(&mut self, work: &Work, writes: &[Write]) -> Vec<Work> {
        let Work::Deployment(deployment) = work else { return Vec::new() };
        let mut todo = Vec::new();
        for write in writes {
            let Write::Merge { resource, key, part: Part::Main, body } = write else { continue };
            let size = body["spec"]["replicas"].as_i64().and_then(|it| i32::try_from(it).ok());
            if let Some(size) = size.filter(|_| Kind::ReplicaSet.is(resource))
                && self.sets.get(key).is_some_and(|set| set.replicas < size)
            {
                self.growing.insert(key.clone(), (deployment.clone(), size));
                todo.push(Work::ReplicaSet(key.clone()));
            }
        }
        todo
    }

    /// The writes of `work` have been answered, and what they changed has been taken in. Gives the plans to look at
    /// again: if one of the writes failed, there may be too many pods.
    pub fn written(&mut self, work: &Work) -> Vec<Work> {
        let Work::Deployment(deployment) = work else { return Vec::new() };
        let ended = self.growing.extract_if(.., |_, (of, _)| of == deployment);
        ended.map(|(key, _)| Work::ReplicaSet(key)).collect()
    }

    /// What to do about `work`. `failure` is what the last attempt failed with, `certificate` what pods trust.
    pub fn plan<'a>(
        &'a self,
        work: &Work,
        failure: Option<&str>,
        certificate: &str,
        now: Timestamp,
    ) -> Option<(Kind, &'a Meta, Plan)> {
        match work {
            Work::Deployment(key) => {
                let it = self.deployments.get(key)?;
                let sets = self.owned(&it.meta.uid, &self.sets, |set| &set.meta);
                let orphans = unowned(in_namespace(&self.sets, &key.namespace), |set| &set.meta);
                let has_pods = |set: &ReplicaSet| {
                    self.owned(&set.meta.uid, &self.pods, |it| &it.meta)
                        .iter()
                        .any(|pod| pod.is_live())
                };
                let seen = deployment::Seen { sets, orphans, has_pods: &has_pods, failure };
                Some((Kind::Deployment, &it.meta, deployment::plan(it, &seen, now)))
            }
            Work::ReplicaSet(key) => {
                let it = self.sets.get(key)?;
                let pods = self.owned(&it.meta.uid, &self.pods, |it| &it.meta);
                let orphans = unowned(in_namespace(&self.pods, &key.namespace), |pod| &pod.meta);
                let crowd = |node: &str| self.crowd(it, node);
                let growing = self.growing.get(key).map(|(_, size)| *size);
                let seen = replica_set::Seen { pods, orphans, growing, crowd: &crowd, failure };
                Some((Kind::ReplicaSet, &it.meta, replica_set::plan(it, &seen, now)))
            }
            Work::Job(key) => {
                let it = self.jobs.get(key)?;
                let pods = self.owned(&it.meta.uid, &self.pods, |it| &it.meta);
                Some((Kind::Job, &it.meta, job::plan(it, &pods, now)))
            }
            Work::Service(key) => {
                let service = self.services.get(key);
                let endpoints = self.endpoints.get(key);
                let slices = self.slices_of.get(key).into_iter().flatten();
                let slices: Vec<&Slice> = slices.filter_map(|it| self.slices.get(it)).collect();
                let meta = service.map(|it| &it.meta).or(endpoints.map(|it| &it.meta));
                let meta = meta.or(slices.first().map(|it| &it.meta))?;
                let pods = || in_namespace(&self.pods, &key.namespace).collect();
                let seen = endpoints::Seen { service, endpoints, slices, pods: &pods };
                Some((Kind::Service, meta, endpoints::plan(key, &seen)))
            }
            Work::Budget(key) => {
                let it = self.budgets.get(key)?;
                let pods: Vec<&Pod> = in_namespace(&self.pods, &key.namespace).collect();
                let wanted = self.wanted_pods(it, &pods);
                Some((Kind::Budget, &it.meta, budget::plan(it, &pods, wanted, now)))
            }
            Work::Horizontal(key) => {
                let (it, scaler) = (self.horizontals.get(key)?, self.scalers.get(key)?);
                let name = &it.spec.scale_target_ref.name;
                let target = self.target(it).ok();
                let target =
                    target.map(|at| (at.kind, Key::new(&key.namespace, name), at.replicas));
                let plan = horizontal::plan(it, scaler, target, failure);
                Some((Kind::Horizontal, &it.meta, plan))
            }
            Work::Pod(key) => {
                let it = self.pods.get(key)?;
                Some((Kind::Pod, &it.meta, self.collect_pod(it, now)))
            }
            Work::Namespace(key) => {
                let it = self.namespaces.get(key)?;
                Some((Kind::Namespace, &it.meta, self.furnish(it, certificate)))
            }
            // These are not made from what is here alone.
            Work::Quota(_) | Work::Owners(_) => None,
        }
    }

    /// Whether it is time to look at what the pods of an autoscaler's target use.
    pub fn is_due(&self, key: &Key, now: Timestamp) -> bool {
        let is_live = self.horizontals.get(key).is_some_and(|it| it.meta.deleted.is_none());
        is_live && self.scalers.get(key).is_none_or(|it| it.next <= now)
    }

    /// Whether nobody has looked at an autoscaler's target yet: who waits for its replicas to be counted need not wait
    /// for figures as well.
    pub fn is_new(&self, key: &Key) -> bool {
        let is_counted = |it: &Horizontal| it.status.current_replicas.is_some();
        !self.scalers.contains_key(key) && !self.horizontals.get(key).is_some_and(is_counted)
    }

    /// Decides how many pods the target of an autoscaler should have. The next look follows at once where there were
    /// no figures yet.
    pub fn decide(
        &mut self,
        key: &Key,
        figures: Option<Result<Vec<Figures>, String>>,
        now: Timestamp,
    ) {
        let Some(it) = self.horizontals.get(key) else { return };
        let target = self.target(it);
        let selector = target.as_ref().ok().map(|it| it.selector);
        let pods = in_namespace(&self.pods, &key.namespace).filter(|pod| {
            selector.is_some_and(|selector| selector::matches(selector, &pod.meta.labels))
        });
        let next = if figures.is_some() { horizontal::next(now) } else { now };
        let seen = horizontal::Seen {
            pods: pods.collect(),
            target,
            figures: figures.unwrap_or(Ok(Vec::new())),
        };
        let memory = self.scalers.get(key).map(|it| it.memory.clone()).unwrap_or_default();
        let (memory, decision) = horizontal::decide(it, &seen, memory, now);
        self.scalers.insert(key.clone(), Scaler { memory, decision, next });
    }

    /// What an autoscaler scales, or why it cannot.
    fn target(&self, it: &Horizontal) -> Result<Target<'_>, String> {
        let target = &it.spec.scale_target_ref;
        let api_version = target.api_version.as_deref().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let key = Key::new(&it.meta.key.namespace, &target.name);
        let found = match (group, &*target.kind) {
            ("apps", "Deployment") => self.deployments.get(&key).map(|it| Target {
                kind: Kind::Deployment,
                replicas: it.replicas,
                selector: &it.selector,
            }),
            ("apps", "ReplicaSet") => self.sets.get(&key).map(|it| Target {
                kind: Kind::ReplicaSet,
                replicas: it.replicas,
                selector: &it.selector,
            }),
            (group, kind) => {
                return Err(format!("no matches for kind {kind:?} in group {group:?}"));
            }
        };
        let plural = target.kind.to_lowercase();
        found.ok_or_else(|| format!("{plural}s.{group} {:?} not found", target.name))
    }

    /// Looks again at the autoscalers that could not find what has appeared.
    fn target_appeared(&mut self, kind: Kind, key: &Key, todo: &mut Vec<Work>) {
        let kind = kind.resource();
        for it in in_namespace(&self.horizontals, &key.namespace) {
            let target = &it.spec.scale_target_ref;
            if target.kind == kind.kind() && target.name == *key.name {
                if let Some(scaler) = self.scalers.get_mut(&it.meta.key) {
                    scaler.next = Timestamp::MIN;
                }
                todo.push(Work::Horizontal(it.meta.key.clone()));
            }
        }
    }

    /// Deletes a pod that no node will end: never bound, or bound to a node that is not there.
    fn collect_pod(&self, pod: &Pod, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let is_stuck = match &pod.node {
            None => pod.meta.deleted.is_some(),
            Some(node) if self.nodes.contains(&Key::new("", node)) => false,
            Some(_) => {
                let due = later(pod.meta.created, NODELESS_S);
                if due > now {
                    plan.again_at(due);
                }
                due <= now
            }
        };
        if is_stuck {
            plan.writes.push(Write::Delete {
                resource: Kind::Pod.resource(),
                key: pod.meta.key.clone(),
                uid: pod.meta.uid.clone(),
                with: Deletion::Force,
            });
        }
        plan
    }

    /// Gives a namespace what each has.
    fn furnish(&self, namespace: &Namespace, certificate: &str) -> Plan {
        let mut plan = Plan::default();
        if namespace.meta.deleted.is_some() {
            return plan;
        }
        let name = &namespace.meta.key.name;
        for (kind, own, body) in [
            (Kind::ServiceAccount, "default", namespaces::service_account()),
            (Kind::ConfigMap, ROOT_CERTIFICATE, namespaces::root_certificate(certificate)),
        ] {
            if !self.basics.contains(&(kind, Key::new(name, own))) {
                let resource = kind.resource();
                plan.writes.push(Write::Create { resource, namespace: name.clone(), body });
            }
        }
        plan
    }

    /// The objects of `table` whose controller is `uid`.
    fn owned<'a, T>(&'a self, uid: &str, table: &'a Table<T>, meta: fn(&T) -> &Meta) -> Vec<&'a T> {
        let nodes = self.graph.dependents(uid).filter_map(|it| Some((it, self.graph.get(it)?)));
        let found = nodes.filter_map(|(id, node)| {
            table.get(&node.key).filter(|it| {
                meta(it).uid == *id && meta(it).controller().is_some_and(|it| *it.uid == *uid)
            })
        });
        found.collect()
    }

    /// Active pods on `node` of the ReplicaSets that share `set`'s owner.
    fn crowd(&self, set: &ReplicaSet, node: &str) -> usize {
        let family = match set.meta.controller() {
            Some(owner) => self.owned(&owner.uid, &self.sets, |it| &it.meta),
            None => vec![set],
        };
        let pods =
            family.iter().flat_map(|set| self.owned(&set.meta.uid, &self.pods, |it| &it.meta));
        pods.filter(|pod| pod.is_active() && pod.node.as_deref() == Some(node)).count()
    }

    /// How many pods the controllers of a budget's pods want.
    fn wanted_pods(&self, budget: &Budget, pods: &[&Pod]) -> i32 {
        let Some(selector) = &budget.selector else { return 0 };
        let mine = pods.iter().filter(|pod| selector::matches(selector, &pod.meta.labels));
        let mut wanted = 0;
        let mut counted = BTreeSet::new();
        for pod in mine {
            let Some(owner) = pod.meta.controller() else {
                wanted += 1;
                continue;
            };
            let set = self.sets.get(&Key::new(&pod.meta.key.namespace, &owner.name));
            let top = set.and_then(|set| set.meta.controller());
            let scale = top.and_then(|top| {
                self.deployments.get(&Key::new(&pod.meta.key.namespace, &top.name))
            });
            let (uid, replicas) = match (scale, set) {
                (Some(it), _) => (&it.meta.uid, it.replicas),
                (None, Some(it)) => (&it.meta.uid, it.replicas),
                (None, None) => (&pod.meta.uid, 1),
            };
            if counted.insert(uid.clone()) {
                wanted += replicas;
            }
        }
        wanted
    }

    fn pod_changed(&self, before: Option<&Pod>, after: Option<&Pod>, todo: &mut Vec<Work>) {
        let Some(pod) = after.or(before) else { return };
        let namespace = &pod.meta.key.namespace;
        let owners = |it: Option<&Pod>| it.and_then(|it| it.meta.controller()).cloned();
        let owners: [Option<Owner>; 2] = [owners(before), owners(after)];
        for owner in owners.iter().flatten() {
            let key = Key::new(namespace, &owner.name);
            match &*owner.kind {
                "ReplicaSet" => {
                    let set = self.sets.get(&key);
                    let top = set.and_then(|set| set.meta.controller()).filter(|_| after.is_none());
                    todo.extend(top.map(|it| Work::Deployment(Key::new(namespace, &it.name))));
                    todo.push(Work::ReplicaSet(key));
                }
                "Job" => todo.push(Work::Job(key)),
                _ => {}
            }
        }
        if after.is_some_and(|it| it.meta.controller().is_none()) {
            let sets = in_namespace(&self.sets, namespace);
            let sets = sets.filter(|set| selector::matches(&set.selector, &pod.meta.labels));
            todo.extend(sets.map(|set| Work::ReplicaSet(set.meta.key.clone())));
        }
        for labels in [before, after].into_iter().flatten().map(|it| &it.meta.labels) {
            for (name, value) in labels {
                let place = (Key::new(namespace, name), value.clone());
                let services = self.selected.get(&place).into_iter().flatten();
                let services = services.filter(|key| {
                    self.services.get(key).is_some_and(|it| selector::has_all(labels, &it.selector))
                });
                todo.extend(services.cloned().map(Work::Service));
            }
        }
        let budgets = in_namespace(&self.budgets, namespace).filter(|it| {
            let selector = it.selector.as_ref();
            selector.is_some_and(|it| selector::matches(it, &pod.meta.labels))
        });
        todo.extend(budgets.map(|it| Work::Budget(it.meta.key.clone())));
        let may_be_stuck = |it: &Pod| match &it.node {
            None => it.meta.deleted.is_some(),
            Some(node) => !self.nodes.contains(&Key::new("", node)),
        };
        if after.is_some_and(may_be_stuck) {
            todo.push(Work::Pod(pod.meta.key.clone()));
        }
    }

    /// Whether a change of a known object may change what it uses of a quota.
    fn may_use_otherwise(&self, object: &Object) -> bool {
        match object {
            Object::Pod(it) => {
                self.pods.get(&it.meta.key).is_some_and(|before| before.is_live() != it.is_live())
            }
            Object::Service(_) => true,
            Object::Other(resource, _) => {
                resource.group().is_empty() && resource.plural() == "persistentvolumeclaims"
            }
            _ => false,
        }
    }

    /// Notes the quotas of a namespace that count objects of a kind.
    fn recount(&self, resource: &Resource, namespace: &str, todo: &mut Vec<Work>) {
        if self.quotas.is_empty() {
            return;
        }
        let is_counted = |quota: &&Quota| {
            let mut all = quota.counted.iter();
            all.any(|(group, plural)| resource.group() == group && resource.plural() == plural)
        };
        let concerned = in_namespace(&self.quotas, namespace).filter(is_counted);
        todo.extend(concerned.map(|it| Work::Quota(it.meta.key.clone())));
    }

    fn set_changed(&self, set: &Meta, todo: &mut Vec<Work>) {
        let namespace = &set.key.namespace;
        match set.controller() {
            Some(owner) if &*owner.kind == "Deployment" => {
                todo.push(Work::Deployment(Key::new(namespace, &owner.name)));
            }
            Some(_) => {}
            None => {
                let all = in_namespace(&self.deployments, namespace);
                let all = all.filter(|it| selector::matches(&it.selector, &set.labels));
                todo.extend(all.map(|it| Work::Deployment(it.meta.key.clone())));
            }
        }
        // One that was let go must be planned without its owner as well.
        let before = self.sets.get(&set.key).and_then(|it| it.meta.controller());
        todo.extend(before.map(|it| Work::Deployment(Key::new(namespace, &it.name))));
    }

    fn unselect(&mut self, key: &Key) {
        let Some(service) = self.services.get(key) else { return };
        let Some((name, value)) = service.selector.last_key_value() else { return };
        let place = (Key::new(&key.namespace, name), value.clone());
        if let Some(keys) = self.selected.get_mut(&place) {
            keys.remove(key);
            if keys.is_empty() {
                self.selected.remove(&place);
            }
        }
    }

    fn unslice(&mut self, key: &Key, todo: &mut Vec<Work>) {
        let Some(service) = self.slices.get(key).and_then(|it| service_of(&it.meta)) else {
            return;
        };
        if let Some(keys) = self.slices_of.get_mut(&service) {
            keys.remove(key);
            if keys.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        todo.push(Work::Service(service));
    }

    /// The id of the known object of a kind at a place.
    fn uid_at(&self, resource: &Resource, key: &Key) -> Option<Uid> {
        let kind = Kind::PLANNED.into_iter().find(|kind| kind.is(resource))?;
        let meta = match kind {
            Kind::Namespace => &self.namespaces.get(key)?.meta,
            Kind::Pod => &self.pods.get(key)?.meta,
            Kind::Service => &self.services.get(key)?.meta,
            Kind::Endpoints => &self.endpoints.get(key)?.meta,
            Kind::Slice => &self.slices.get(key)?.meta,
            Kind::Deployment => &self.deployments.get(key)?.meta,
            Kind::ReplicaSet => &self.sets.get(key)?.meta,
            Kind::Job => &self.jobs.get(key)?.meta,
            Kind::Budget => &self.budgets.get(key)?.meta,
            Kind::Quota => &self.quotas.get(key)?.meta,
            Kind::Horizontal => &self.horizontals.get(key)?.meta,
            _ => return None,
        };
        Some(meta.uid.clone())
    }
}

fn in_namespace<'a, T>(table: &'a Table<T>, namespace: &str) -> impl Iterator<Item = &'a T> {
    let first = Key::new(namespace, "");
    let namespace = first.namespace.clone();
    table.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, it)| it)
}

fn unowned<'a, T>(all: impl Iterator<Item = &'a T>, meta: impl Fn(&T) -> &Meta) -> Vec<&'a T> {
    all.filter(|it| meta(it).controller().is_none()).collect()
}

fn service_of(slice: &Meta) -> Option<Key> {
    let name = slice.labels.get(endpoints::SERVICE_NAME)?;
    Some(Key::new(&slice.key.namespace, name))
}

fn basic(resource: &Resource, meta: &Meta) -> Option<(Kind, Key)> {
    let wanted = [(Kind::ServiceAccount, "default"), (Kind::ConfigMap, ROOT_CERTIFICATE)];
    let (kind, _) =
        wanted.into_iter().find(|(kind, name)| kind.is(resource) && *name == &*meta.key.name)?;
    Some((kind, meta.key.clone()))
}
