//! Whether the node has room for a pod, and why it has not.
//!
//! Pure: from a pod, the Node object and the pods that the node has.
//! Source: kubernetes `pkg/scheduler/framework/plugins`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{
        Container, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
        PodAffinityTerm, PodSpec, Taint, Toleration,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use runtime::cluster::Key;

use crate::{
    demand::{self, Demand},
    schema::quantity::{Amount, parse},
    storage::plan::claims_of,
    workloads::selector,
};

/// The taint that a node has which takes no new pods.
const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// The pods that have a place on the node, and what they take of it.
#[derive(Default)]
pub struct Room {
    pods: HashMap<Key, (Arc<Pod>, Demand)>,
    taken: Demand,
}

impl Room {
    /// Gives a pod its place. `is_ours` picks the containers that the platform runs itself, which take nothing.
    pub fn enter(&mut self, key: Key, pod: Arc<Pod>, is_ours: &dyn Fn(&Container) -> bool) {
        self.leave(&key);
        let demand = wanted(&pod, is_ours);
        demand::add(&mut self.taken, &demand);
        self.pods.insert(key, (pod, demand));
    }

    /// Takes a pod's place away; false when it had none.
    pub fn leave(&mut self, key: &Key) -> bool {
        let Some((_, demand)) = self.pods.remove(key) else { return false };
        for (name, amount) in demand {
            if let Some(taken) = self.taken.get_mut(&name) {
                *taken = taken.less(amount);
            }
        }
        true
    }

    /// Whether a pod of the namespace that has its place uses that claim.
    pub fn has_claim(&self, namespace: &str, claim: &str) -> bool {
        let mut pods = self.pods.iter().filter(|(key, _)| &*key.namespace == namespace);
        pods.any(|(_, (pod, _))| claims_of(pod).any(|it| it == claim))
    }

    /// Why the pod cannot be on the node now; none when it can.
    pub fn refusal(
        &self,
        pod: &Pod,
        node: &Node,
        is_ours: &dyn Fn(&Container) -> bool,
    ) -> Option<String> {
        let spec = pod.spec.as_ref()?;
        let mut reasons = not_for(spec, node).map_or_else(Vec::new, |it| vec![it]);
        if reasons.is_empty() && self.has_port_of(spec) {
            reasons.push("node(s) didn't have free ports for the requested pod ports".to_owned());
        }
        if reasons.is_empty() {
            reasons = self.insufficient(&wanted(pod, is_ours), node);
        }
        if reasons.is_empty() {
            reasons.extend(self.bad_company(pod, node).map(str::to_owned));
        }
        if reasons.is_empty() {
            return None;
        }
        reasons.sort();
        let counted: Vec<String> = reasons.iter().map(|it| format!("1 {it}")).collect();
        Some(format!("0/1 nodes are available: {}.", counted.join(", ")))
    }

    fn insufficient(&self, demand: &Demand, node: &Node) -> Vec<String> {
        let offered = node.status.as_ref().and_then(|it| it.allocatable.as_ref());
        let most = offered.and_then(|it| it.get("pods")).and_then(|it| parse(&it.0).ok());
        let most = most.and_then(|it| usize::try_from(it.units()).ok());
        let has_no_place = most.is_some_and(|most| self.pods.len() >= most);
        let is_too_much = |(name, wanted): &(&String, &Amount)| {
            let offered = offered.and_then(|it| it.get(*name));
            let offered = offered.and_then(|it| parse(&it.0).ok()).unwrap_or(Amount::ZERO);
            let taken = self.taken.get(*name).copied().unwrap_or(Amount::ZERO);
            **wanted > Amount::ZERO && taken.plus(**wanted) > offered
        };
        let too_much = demand.iter().filter(is_too_much);
        let too_much = too_much.map(|(name, _)| format!("Insufficient {name}"));
        too_much.chain(has_no_place.then(|| "Too many pods".to_owned())).collect()
    }

    fn has_port_of(&self, spec: &PodSpec) -> bool {
        let wanted: Vec<_> = ports(spec).collect();
        !wanted.is_empty()
            && self.pods.values().filter_map(|(pod, _)| pod.spec.as_ref()).any(|other| {
                ports(other).any(|taken| {
                    wanted.iter().any(|it| {
                        let meets = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
                        (it.0, it.1) == (taken.0, taken.1)
                            && (it.2 == taken.2 || meets(it.2) || meets(taken.2))
                    })
                })
            })
    }

    /// What pods want of each other: of a node there is one, so all are together.
    fn bad_company(&self, pod: &Pod, node: &Node) -> Option<&'static str> {
        let others = || self.pods.values().map(|(pod, _)| &**pod);
        let minds = |one: &Pod, other: &Pod| {
            terms_against(one).any(|term| is_in(term, node) && is_meant(term, one, other))
        };
        let affinity = pod.spec.as_ref().and_then(|it| it.affinity.as_ref());
        let wanted = affinity.and_then(|it| it.pod_affinity.as_ref());
        let wanted =
            wanted.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
        let misses = |term: &PodAffinityTerm| {
            // The first of pods that want to be together may come alone.
            !is_in(term, node)
                || !others().any(|other| is_meant(term, pod, other)) && !is_meant(term, pod, pod)
        };
        if others().any(|other| minds(other, pod)) {
            Some("node(s) didn't satisfy existing pods anti-affinity rules")
        } else if wanted.into_iter().flatten().any(misses) {
            Some("node(s) didn't match pod affinity rules")
        } else if others().any(|other| minds(pod, other)) {
            Some("node(s) didn't match pod anti-affinity rules")
        } else {
            let spread =
                pod.spec.iter().flat_map(|it| it.topology_spread_constraints.iter().flatten());
            let mut hard = spread.filter(|it| it.when_unsatisfiable == "DoNotSchedule");
            let lacks = hard.any(|it| label(node, &it.topology_key).is_none());
            lacks.then_some(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            )
        }
    }
}

fn wanted(pod: &Pod, is_ours: &dyn Fn(&Container) -> bool) -> Demand {
    pod.spec.as_ref().map(|it| demand::requests(it, is_ours)).unwrap_or_default()
}

/// Why the node is not for such pods at all.
fn not_for(spec: &PodSpec, node: &Node) -> Option<String> {
    let state = node.spec.as_ref();
    let tolerates = |taint: &Taint| spec.tolerations.iter().flatten().any(|it| bears(it, taint));
    let cordoned =
        Taint { key: CORDONED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    if state.is_some_and(|it| it.unschedulable == Some(true)) && !tolerates(&cordoned) {
        return Some("node(s) were unschedulable".to_owned());
    }
    let taints = state.iter().flat_map(|it| it.taints.iter().flatten());
    let mut taints = taints.filter(|it| matches!(&*it.effect, "NoSchedule" | "NoExecute"));
    if let Some(taint) = taints.find(|it| !tolerates(it)) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    let mut pairs = spec.node_selector.iter().flatten();
    let required = spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref());
    let required =
        required.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let is_selected = pairs.all(|(key, value)| label(node, key) == Some(value))
        && required.is_none_or(|it| is_chosen(it, node));
    (!is_selected).then(|| "node(s) didn't match Pod's node affinity/selector".to_owned())
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    let value = match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => text(&toleration.value) == text(&taint.value),
    };
    (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key) && value
}

/// Whether the node is what one of a selector's terms asks for.
pub fn is_chosen(by: &NodeSelector, node: &Node) -> bool {
    by.node_selector_terms.iter().any(|it| fits(it, node))
}

/// Whether the node is what a term asks for. A term that asks for nothing gets nothing.
fn fits(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = || term.match_expressions.iter().flatten();
    let fields = || term.match_fields.iter().flatten();
    let name = node.metadata.name.as_ref();
    let of_field = |key: &str| name.filter(|_| key == "metadata.name");
    labels().chain(fields()).next().is_some()
        && labels().all(|it| holds(it, label(node, &it.key)))
        && fields().all(|it| holds(it, of_field(&it.key)))
}

fn holds(rule: &NodeSelectorRequirement, found: Option<&String>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let number = |it: &String| it.parse::<i64>().ok();
    let numbers = || Some((number(found?)?, number(values.first()?)?));
    match &*rule.operator {
        "In" => found.is_some_and(|it| values.contains(it)),
        "NotIn" => !found.is_some_and(|it| values.contains(it)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => numbers().is_some_and(|(found, wanted)| found > wanted),
        "Lt" => numbers().is_some_and(|(found, wanted)| found < wanted),
        _ => false,
    }
}

fn terms_against(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|it| it.affinity.as_ref());
    let against = affinity.and_then(|it| it.pod_anti_affinity.as_ref());
    let terms =
        against.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    terms.into_iter().flatten()
}

/// Whether the node belongs to one of the places that a term tells apart.
fn is_in(term: &PodAffinityTerm, node: &Node) -> bool {
    label(node, &term.topology_key).is_some()
}

/// Whether a term of `of` is about the pod `other`. Of namespaces only their names are known here.
fn is_meant(term: &PodAffinityTerm, of: &Pod, other: &Pod) -> bool {
    let namespace = |pod: &Pod| pod.metadata.namespace.clone().unwrap_or_default();
    let its = namespace(other);
    let named = term.namespaces.as_deref().unwrap_or_default();
    let is_named = named.contains(&its)
        || named.is_empty() && term.namespace_selector.is_none() && namespace(of) == its;
    let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), its)]);
    let is_selected = |selector: &LabelSelector| all_or_matching(selector, &labels);
    let labels_of = other.metadata.labels.clone().unwrap_or_default();
    (is_named || term.namespace_selector.as_ref().is_some_and(is_selected))
        && term.label_selector.as_ref().is_some_and(|it| all_or_matching(it, &labels_of))
}

fn all_or_matching(wanted: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    *wanted == LabelSelector::default() || selector::matches(wanted, labels)
}

/// The ports of the machine that a pod wants: protocol, number and address.
fn ports(spec: &PodSpec) -> impl Iterator<Item = (&str, i32, &str)> {
    let ports = spec.containers.iter().flat_map(|it| it.ports.iter().flatten());
    ports.filter_map(|it| {
        let number = it.host_port.filter(|it| *it > 0)?;
        let protocol = it.protocol.as_deref().unwrap_or("TCP");
        Some((protocol, number, it.host_ip.as_deref().unwrap_or_default()))
    })
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(key)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(more: Value) -> Node {
        let mut node = json!({
            "metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n", "size": "3"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}},
        });
        node["spec"] = more;
        serde_json::from_value(node).unwrap()
    }

    fn pod(name: &str, spec: Value) -> Arc<Pod> {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        let metadata = json!({"name": name, "namespace": "ns", "labels": {"app": name}});
        let pod = json!({"metadata": metadata, "spec": spec});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn asking(requests: Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
    }

    fn is_queue(container: &Container) -> bool {
        container.name == "queue"
    }

    #[test]
    fn pods_wait_until_others_have_left() {
        let (mut room, node) = (Room::default(), node(Value::Null));
        let key = |name: &str| Key::new("ns", name);
        let check = |room: &Room, spec: Value, expected: Option<&str>| {
            let found = room.refusal(&pod("new", spec.clone()), &node, &is_queue);
            let expected = expected.map(|it| format!("0/1 nodes are available: {it}."));
            assert_eq!(found, expected, "{spec}");
        };
        check(&room, asking(json!({"cpu": "2", "memory": "1Gi"})), None);
        check(&room, asking(json!({"cpu": "2001m"})), Some("1 Insufficient cpu"));
        let both = asking(json!({"cpu": "50", "memory": "2Gi"}));
        check(&room, both, Some("1 Insufficient cpu, 1 Insufficient memory"));
        check(&room, asking(json!({"example.com/gpu": 1})), Some("1 Insufficient example.com/gpu"));
        // What the platform does itself takes no room.
        let queue = json!({"name": "queue", "resources": {"requests": {"cpu": "9"}}});
        check(&room, json!({"containers": [queue]}), None);

        room.enter(key("a"), pod("a", asking(json!({"cpu": "1500m"}))), &is_queue);
        check(&room, asking(json!({"cpu": "500m"})), None);
        check(&room, asking(json!({"cpu": "501m"})), Some("1 Insufficient cpu"));
        check(&room, asking(json!({"cpu": "0", "memory": "1Gi"})), None);
        // The same pod once more takes its room once.
        room.enter(key("a"), pod("a", asking(json!({"cpu": "1500m"}))), &is_queue);
        check(&room, asking(json!({"cpu": "500m"})), None);
        assert!(room.leave(&key("a")) && !room.leave(&key("a")));
        check(&room, asking(json!({"cpu": "2"})), None);
    }

    #[test]
    fn a_node_has_only_so_many_pods() {
        let mut full = node(Value::Null);
        let status = full.status.as_mut().unwrap();
        let most = serde_json::from_value(json!({"cpu": "2", "pods": "2"})).unwrap();
        status.allocatable = Some(most);
        let mut room = Room::default();
        let check = |room: &Room, cpu: &str, expected: Option<&str>| {
            let found = room.refusal(&pod("new", asking(json!({"cpu": cpu}))), &full, &is_queue);
            assert_eq!(found.as_deref(), expected, "{cpu}");
        };
        for name in ["a", "b"] {
            check(&room, "0", None);
            room.enter(Key::new("ns", name), pod(name, json!({})), &is_queue);
        }
        check(&room, "0", Some("0/1 nodes are available: 1 Too many pods."));
        let both = "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods.";
        check(&room, "3", Some(both));
        room.leave(&Key::new("ns", "a"));
        check(&room, "2", None);
    }

    #[test]
    fn a_node_is_for_those_that_it_suits() {
        let check = |of: &Node, spec: Value, expected: Option<&str>| {
            let found = Room::default().refusal(&pod("new", spec.clone()), of, &is_queue);
            let expected = expected.map(|it| format!("0/1 nodes are available: 1 {it}."));
            assert_eq!(found, expected, "{spec}");
        };
        let plain = node(Value::Null);
        const NO: Option<&str> = Some("node(s) didn't match Pod's node affinity/selector");
        check(&plain, json!({"nodeSelector": {"size": "3"}}), None);
        check(&plain, json!({"nodeSelector": {"size": "3", "disk": "fast"}}), NO);
        let affinity = |rule: Value| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [rule]},
            }}})
        };
        let rule = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        check(&plain, affinity(rule("size", "In", &["2", "3"])), None);
        check(&plain, affinity(rule("size", "NotIn", &["2", "3"])), NO);
        check(&plain, affinity(rule("size", "Gt", &["2"])), None);
        check(&plain, affinity(rule("size", "Lt", &["3"])), NO);
        check(&plain, affinity(rule("disk", "Exists", &[])), NO);
        check(&plain, affinity(rule("disk", "DoesNotExist", &[])), None);
        check(&plain, affinity(json!({})), NO);
        let named = json!([{"key": "metadata.name", "operator": "In", "values": ["n"]}]);
        check(&plain, affinity(json!({"matchFields": named})), None);

        let taint = json!({"key": "only", "value": "mine", "effect": "NoSchedule"});
        let tainted = node(json!({"taints": [taint]}));
        let bear = |it: Value| json!({"tolerations": [it]});
        const TAINTED: Option<&str> = Some("node(s) had untolerated taint {only: mine}");
        check(&tainted, json!({}), TAINTED);
        check(&tainted, bear(json!({"key": "only", "value": "other"})), TAINTED);
        check(&tainted, bear(json!({"key": "only", "value": "mine"})), None);
        check(&tainted, bear(json!({"operator": "Exists"})), None);
        check(&tainted, bear(json!({"operator": "Exists", "effect": "NoExecute"})), TAINTED);
        let cordoned = node(json!({"unschedulable": true}));
        check(&cordoned, json!({}), Some("node(s) were unschedulable"));
        check(&cordoned, bear(json!({"key": CORDONED, "operator": "Exists"})), None);
    }

    #[test]
    fn pods_choose_their_company() {
        let node = node(Value::Null);
        let term = |app: &str| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": app}},
            }]})
        };
        let check = |there: Value, spec: Value, expected: Option<&str>| {
            let mut room = Room::default();
            room.enter(Key::new("ns", "old"), pod("old", there), &is_queue);
            let found = room.refusal(&pod("new", spec.clone()), &node, &is_queue);
            let expected = expected.map(|it| format!("0/1 nodes are available: 1 node(s) {it}."));
            assert_eq!(found, expected, "{spec}");
        };
        let with = |app: &str| json!({"affinity": {"podAffinity": term(app)}});
        let without = |app: &str| json!({"affinity": {"podAntiAffinity": term(app)}});
        check(json!({}), with("old"), None);
        check(json!({}), with("nobody"), Some("didn't match pod affinity rules"));
        check(json!({}), with("new"), None);
        check(json!({}), without("old"), Some("didn't match pod anti-affinity rules"));
        check(json!({}), without("new"), None);
        let theirs = Some("didn't satisfy existing pods anti-affinity rules");
        check(without("new"), json!({}), theirs);
        let port = |protocol: &str| {
            let port = json!({"containerPort": 80, "hostPort": 80, "protocol": protocol});
            json!({"containers": [{"name": "c", "ports": [port]}]})
        };
        let taken = Some("didn't have free ports for the requested pod ports");
        check(port("TCP"), port("TCP"), taken);
        check(port("TCP"), port("UDP"), None);
        let spread = |key: &str| {
            json!({"topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"},
            ]})
        };
        check(json!({}), spread("kubernetes.io/hostname"), None);
        let lacks = "didn't match pod topology spread constraints (missing required label)";
        check(json!({}), spread("zone"), Some(lacks));
    }
}
